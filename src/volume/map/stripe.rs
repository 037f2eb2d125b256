//! Devices side by side.

use std::sync::Arc;

use volfold_block::{BlockDevice, BlockError, BlockResult, Map, Piece, Place, byte_count};

use super::member::sector_size;

/// Columns that hold chunk after chunk in turn: RAID-0.
pub struct Stripe {
    columns: Vec<Arc<dyn BlockDevice>>,
    count: u64,
    chunk: u64,
    size: u64,
}

impl Stripe {
    /// The first `size` bytes of `columns`, cut into chunks of `chunk` bytes.
    ///
    /// # Errors
    /// `Corrupt` if there are no columns or chunks, or the columns do not hold `size` bytes.
    pub fn new(columns: Vec<Arc<dyn BlockDevice>>, chunk: u64, size: u64) -> BlockResult<Self> {
        let count = byte_count(columns.len());
        let shortest = columns.iter().map(|column| column.size()).min().unwrap_or(0);
        let held = rows(shortest, chunk)
            .and_then(|rows| rows.checked_mul(chunk))
            .and_then(|column| column.checked_mul(count));
        if held.is_none_or(|held| size > held) {
            return Err(BlockError::corrupt("stripe is larger than its columns", 0, 0));
        }
        Ok(Self { columns, count, chunk, size })
    }

    /// The column that holds `offset`, the offset in it, and the bytes to the end of the chunk.
    fn at(&self, offset: u64) -> BlockResult<(usize, u64, u64)> {
        let place = || {
            let number = offset.checked_div(self.chunk)?;
            let inside = offset.checked_rem(self.chunk)?;
            let row = number.checked_div(self.count)?;
            let column = usize::try_from(number.checked_rem(self.count)?).ok()?;
            let at = row.checked_mul(self.chunk)?.checked_add(inside)?;
            let left = self.chunk.checked_sub(inside)?.min(self.size.checked_sub(offset)?);
            (left > 0).then_some((column, at, left))
        };
        place().ok_or_else(|| BlockError::out_of_range(offset, 1, self.size))
    }
}

/// How many whole chunks a column of `size` bytes holds; `None` for an impossible chunk.
pub(super) fn rows(size: u64, chunk: u64) -> Option<u64> {
    size.checked_div(chunk)
}

impl Map for Stripe {
    fn size(&self) -> u64 {
        self.size
    }

    fn sector_size(&self) -> u32 {
        sector_size(self.columns.iter())
    }

    fn locate(&self, offset: u64, _wanted: u64) -> BlockResult<Piece<'_>> {
        let (column, at, left) = self.at(offset)?;
        match self.columns.get(column) {
            Some(column) => Ok(Piece::new(Place::At(column, at), left)),
            None => Err(BlockError::out_of_range(offset, 1, self.size)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::member::tests::data;
    use super::super::member::tests::missing;
    use super::*;
    use volfold_block::Mapped;
    use volfold_block::testing::{Noise, check_against_model, contents, member};

    /// What a stripe is, told byte by byte.
    fn model(columns: &[Vec<u8>], chunk: usize, size: usize) -> Vec<u8> {
        let byte = |at: usize| {
            let (number, inside) = (at / chunk, at % chunk);
            columns[number % columns.len()][number / columns.len() * chunk + inside]
        };
        (0..size).map(byte).collect()
    }

    #[test]
    fn a_read_across_a_stripe_boundary_joins_the_columns() {
        for (count, chunk, length) in [(2, 512, 8192), (3, 4096, 40_000), (5, 1, 77), (1, 7, 100)] {
            let size = length / chunk * chunk * count;
            let columns = (0..count).map(|n| member(n as u64, length)).collect();
            let device = Mapped::new(Stripe::new(columns, chunk as u64, size as u64).unwrap());
            let bytes: Vec<_> = (0..count).map(|n| contents(n as u64, length)).collect();
            check_against_model(&device, &model(&bytes, chunk, size), 300, count as u64);
        }
    }

    #[test]
    fn a_volume_larger_than_its_columns_is_refused() {
        let columns = || vec![member(1, 1023), member(2, 4096)];
        assert!(Stripe::new(columns(), 512, 1024).is_ok());
        assert!(Stripe::new(columns(), 512, 1025).is_err());
        assert!(Stripe::new(columns(), 0, 0).is_err());
        assert!(Stripe::new(columns(), u64::MAX, 1).is_err());
        assert!(Stripe::new(Vec::new(), 512, 1).is_err());
    }

    #[test]
    fn chunks_on_present_columns_are_read_though_another_is_missing() {
        let columns = vec![member(1, 4096), missing(4096, "Disk2")];
        let device = Mapped::new(Stripe::new(columns, 1024, 8192).unwrap());
        let mut buf = [0; 1024];
        device.read_at(2048, &mut buf).unwrap();
        assert_eq!(buf[..], contents(1, 4096)[1024..2048]);
        let error = device.read_at(1000, &mut buf).unwrap_err();
        assert_eq!(error.message(), "disk Disk2 is missing");
    }

    #[test]
    fn a_hole_reaches_to_the_end_of_its_chunk() {
        let device = Mapped::new(
            Stripe::new(vec![Noise::hole(8192), member(2, 8192)], 4096, 16384).unwrap(),
        );
        assert_eq!(device.extent_at(100).unwrap(), Noise::zero(3996));
        assert_eq!(device.extent_at(4096).unwrap(), data(4096));
        assert_eq!(device.extent_at(8192).unwrap(), Noise::zero(4096));
    }
}
