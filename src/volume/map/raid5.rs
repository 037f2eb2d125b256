//! Devices side by side with parity.

use std::sync::Arc;

use volfold_block::{
    BlockDevice, BlockError, BlockResult, Extent, ExtentKind, Map, Piece, Place, byte_count,
    error_chain,
};

use super::member::{BLOCK, Comparison, Parts, Redundancy, UNIT, in_halves, sector_size, split};
use super::stripe::rows;

/// In which column of a row the parity lies, and where the data goes around it.
///
/// *Left*: the parity of row `r` of `n` columns is in column `n - 1 - r mod n`; *right*: in `r mod n`.
/// *Symmetric*: the data begins in the column after it, going round; *asymmetric*: in the first
/// column, leaving the parity out. The names are those of Linux (`drivers/md/raid5.h`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Raid5Layout {
    /// What Windows writes, and Linux by default.
    #[default]
    LeftSymmetric,
    /// Parity moves left, data keeps its order.
    LeftAsymmetric,
    /// Parity moves right, data follows it.
    RightSymmetric,
    /// Parity moves right, data keeps its order.
    RightAsymmetric,
    /// Parity in the first column of every row: RAID-4 of the Linux device-mapper.
    ParityFirst,
    /// Parity in the last column of every row: RAID-4 of Linux MD.
    ParityLast,
}

impl Raid5Layout {
    /// The column of the parity in `row` of `count` columns.
    pub(super) fn parity(self, row: u64, count: u64) -> Option<u64> {
        let last = count.checked_sub(1)?;
        let turn = row.checked_rem(count)?;
        match self {
            Self::LeftSymmetric | Self::LeftAsymmetric => last.checked_sub(turn),
            Self::RightSymmetric | Self::RightAsymmetric => Some(turn),
            Self::ParityFirst => Some(0),
            Self::ParityLast => Some(last),
        }
    }

    /// The column of the data chunk `index` of a row of `count` columns whose parity is in `parity`.
    pub(super) fn column(self, index: u64, parity: u64, count: u64) -> Option<u64> {
        match self {
            Self::LeftSymmetric | Self::RightSymmetric => {
                parity.checked_add(1)?.checked_add(index)?.checked_rem(count)
            }
            _ if index >= parity => index.checked_add(1),
            _ => Some(index),
        }
    }
}

/// Columns with one chunk of parity in every row: RAID-5 and RAID-4.
pub struct Raid5 {
    columns: Vec<Arc<dyn BlockDevice>>,
    layout: Raid5Layout,
    count: u64,
    chunk: u64,
    size: u64,
    /// Which columns hold what they should.
    current: Vec<bool>,
    /// How many bytes of each column are in sync.
    synced: u64,
}

/// Where a byte of the volume lies.
struct Chunk {
    column: usize,
    at: u64,
    /// Bytes to the end of the chunk, or of the volume.
    left: u64,
}

impl Raid5 {
    /// The first `size` bytes of data in `columns`, cut into chunks of `chunk` bytes.
    ///
    /// # Errors
    /// `Corrupt` if there are fewer than two columns, no chunks, or the columns do not hold `size`
    /// bytes.
    pub fn new(columns: Vec<Arc<dyn BlockDevice>>, chunk: u64, size: u64) -> BlockResult<Self> {
        let count = byte_count(columns.len());
        let shortest = columns.iter().map(|column| column.size()).min().unwrap_or(0);
        let held = rows(shortest, chunk)
            .and_then(|rows| rows.checked_mul(chunk))
            .and_then(|column| column.checked_mul(count.checked_sub(1)?));
        if count < 2 || held.is_none_or(|held| size > held) {
            return Err(BlockError::corrupt("RAID-5 is larger than its columns", 0, 0));
        }
        let current = vec![true; columns.len()];
        let layout = Raid5Layout::default();
        Ok(Self { columns, layout, count, chunk, size, current, synced: u64::MAX })
    }

    /// The same laid out as `layout`; without this it is left-symmetric.
    #[must_use]
    pub fn with_layout(self, layout: Raid5Layout) -> Self {
        Self { layout, ..self }
    }

    /// The same with the columns that `current` says `false` of never used to rebuild another: they
    /// are read themselves.
    #[must_use]
    pub fn with_current(self, current: Vec<bool>) -> Self {
        Self { current, ..self }
    }

    /// The same with nothing rebuilt past the first `synced` bytes of the columns: the parity there is
    /// not that of the data.
    #[must_use]
    pub fn with_synced(self, synced: u64) -> Self {
        Self { synced, ..self }
    }

    /// Whether all columns but `lost` hold what they should.
    fn may_rebuild(&self, lost: usize) -> bool {
        let mut others = self.current.iter().enumerate().filter(|(index, _)| *index != lost);
        others.all(|(_, current)| *current)
    }

    fn at(&self, offset: u64) -> BlockResult<Chunk> {
        let place = || {
            let number = offset.checked_div(self.chunk)?;
            let inside = offset.checked_rem(self.chunk)?;
            let data = self.count.checked_sub(1)?;
            let row = number.checked_div(data)?;
            let parity = self.layout.parity(row, self.count)?;
            let column = self.layout.column(number.checked_rem(data)?, parity, self.count)?;
            let column = usize::try_from(column).ok()?;
            let at = row.checked_mul(self.chunk)?.checked_add(inside)?;
            let left = self.chunk.checked_sub(inside)?.min(self.size.checked_sub(offset)?);
            (left > 0).then_some(Chunk { column, at, left })
        };
        place().ok_or_else(|| BlockError::out_of_range(offset, 1, self.size))
    }

    /// Reads inside one chunk of `column`, rebuilding it where it cannot be read.
    fn read_column(&self, column: usize, at: u64, buf: &mut [u8]) -> BlockResult<()> {
        let own = self.columns.get(column).ok_or_else(|| BlockError::missing("no such column"))?;
        let Err(first) = own.read_at(at, buf) else {
            return Ok(());
        };
        self.rebuild(column, at, buf).map_err(|second| {
            let sentence = format!(
                "two columns of the RAID-5 cannot be read: {}; {}",
                error_chain(&first),
                error_chain(&second)
            );
            BlockError::new(first.kind(), sentence)
        })
    }

    /// Fills `buf` with the XOR of all columns but `lost`.
    fn rebuild(&self, lost: usize, at: u64, buf: &mut [u8]) -> BlockResult<()> {
        if !self.may_rebuild(lost) {
            let line = "the other columns are not marked as current, so nothing is rebuilt of them";
            return Err(BlockError::missing(line));
        }
        check_synced(at, buf.len(), self.synced)?;
        // Small enough that the sum stays in the nearest cache.
        const PART: usize = 32 << 10;
        let mut scratch = vec![0; buf.len().min(PART)];
        let mut offset = at;
        for part in buf.chunks_mut(PART) {
            let (scratch, _) = split(&mut scratch, byte_count(part.len()));
            let others = self.columns.iter().enumerate().filter(|(index, _)| *index != lost);
            for (number, (_, column)) in others.enumerate() {
                if number == 0 {
                    column.read_at(offset, part)?;
                } else {
                    column.read_at(offset, scratch)?;
                    xor(part, scratch);
                }
            }
            offset = offset.saturating_add(byte_count(part.len()));
        }
        Ok(())
    }

    /// A rebuilt chunk is a hole if it is one in all other columns.
    fn rebuilt_extent(&self, place: &Chunk) -> Option<Extent> {
        if !self.may_rebuild(place.column) {
            return None;
        }
        check_synced(place.at, 1, self.synced).ok()?;
        let mut length = place.left.min(self.synced.saturating_sub(place.at));
        for (index, column) in self.columns.iter().enumerate() {
            if index == place.column {
                continue;
            }
            match column.extent_at(place.at) {
                Ok(extent) if extent.kind == ExtentKind::Zero => length = length.min(extent.length),
                _ => return None,
            }
        }
        Some(Extent { kind: ExtentKind::Zero, length })
    }
}

/// Refuses to rebuild `length` bytes from `at` on of a column whose first `synced` bytes are in sync.
pub(super) fn check_synced(at: u64, length: usize, synced: u64) -> BlockResult<()> {
    if at.checked_add(byte_count(length)).is_some_and(|end| end <= synced) {
        return Ok(());
    }
    let line = "parity there was not written with the data, so nothing is rebuilt of it";
    Err(BlockError::missing(line))
}

/// `into ^= with`, byte by byte; the compiler makes wide instructions of it.
pub(super) fn xor(into: &mut [u8], with: &[u8]) {
    for (a, b) in into.iter_mut().zip(with) {
        *a ^= b;
    }
}

impl Map for Raid5 {
    fn size(&self) -> u64 {
        self.size
    }

    fn sector_size(&self) -> u32 {
        sector_size(self.columns.iter())
    }

    fn locate(&self, offset: u64, _wanted: u64) -> BlockResult<Piece<'_>> {
        let place = self.at(offset)?;
        match self.columns.get(place.column) {
            Some(column) => Ok(Piece::new(Place::At(column, place.at), place.left)),
            None => Err(BlockError::missing("no such column")),
        }
    }

    fn rescue(&self, offset: u64, buf: &mut [u8], _error: BlockError) -> BlockResult<()> {
        let place = self.at(offset)?;
        in_halves(place.at, buf, &|at, part| self.read_column(place.column, at, part))
    }

    fn rescue_extent(&self, offset: u64) -> Option<Extent> {
        self.at(offset).ok().and_then(|place| self.rebuilt_extent(&place))
    }
}

impl Redundancy for Raid5 {
    fn compare(&self) -> Comparison {
        let (mut result, mut parts) = (Comparison::default(), Parts::default());
        let row = self.chunk.saturating_mul(self.count.saturating_sub(1));
        let rows = self.size.div_ceil(row.max(1));
        let (mut sum, mut scratch) = (vec![0; BLOCK], vec![0; BLOCK]);
        for number in 0..rows {
            let start = number.saturating_mul(self.chunk);
            let volume_offset = number.saturating_mul(row);
            let length = row.min(self.size.saturating_sub(volume_offset));
            let mut readable = true;
            let mut done = 0;
            while done < self.chunk && readable {
                let (sum, _) = split(&mut sum, self.chunk.saturating_sub(done));
                let (scratch, _) = split(&mut scratch, byte_count(sum.len()));
                sum.fill(0);
                for column in &self.columns {
                    readable =
                        readable && column.read_at(start.saturating_add(done), scratch).is_ok();
                    xor(sum, scratch);
                }
                for unit in sum.chunks(UNIT).filter(|_| readable) {
                    if unit.iter().any(|byte| *byte != 0) {
                        result.differs(volume_offset, byte_count(unit.len()));
                    }
                }
                done = done.saturating_add(byte_count(sum.len()));
            }
            let left = self.size.saturating_sub(volume_offset);
            if !parts.count(&mut result, readable, length, left) {
                break;
            }
        }
        result
    }
}

#[cfg(test)]
mod tests {
    use super::super::member::tests::data;
    use super::super::member::tests::missing;
    use super::*;
    use volfold_block::Mapped;
    use volfold_block::testing::{Noise, check_against_model, contents};

    /// `data` laid out on columns as the documentation of `left-symmetric` draws it: parity moves
    /// left from the last column, and the data follows it, going round.
    fn columns(data: &[u8], count: usize, chunk: usize) -> Vec<Vec<u8>> {
        let mut columns = vec![Vec::new(); count];
        for (row, bytes) in data.chunks(chunk * (count - 1)).enumerate() {
            let mut parity = vec![0; chunk];
            let parity_column = count - 1 - row % count;
            for (number, part) in bytes.chunks(chunk).enumerate() {
                let mut part = part.to_vec();
                part.resize(chunk, 0);
                parity.iter_mut().zip(&part).for_each(|(sum, byte)| *sum ^= byte);
                columns[(parity_column + 1 + number) % count].extend(part);
            }
            columns[parity_column].extend(parity);
            let length = columns.iter().map(Vec::len).max().unwrap();
            columns.iter_mut().for_each(|column| column.resize(length, 0));
        }
        columns
    }

    fn raid5(
        data: &[u8],
        count: usize,
        chunk: usize,
        change: impl Fn(usize, Vec<u8>) -> Arc<dyn BlockDevice>,
    ) -> Mapped<Raid5> {
        let columns = columns(data, count, chunk).into_iter().enumerate();
        let columns = columns.map(|(index, bytes)| change(index, bytes)).collect();
        Mapped::new(Raid5::new(columns, chunk as u64, data.len() as u64).unwrap())
    }

    #[test]
    fn the_first_rows_lie_as_windows_writes_them() {
        let data: Vec<u8> = (0..12).collect();
        let columns = columns(&data, 3, 2);
        assert_eq!(columns[0], [0, 1, 6, 7, 8 ^ 10, 9 ^ 11]);
        assert_eq!(columns[1], [2, 3, 4 ^ 6, 5 ^ 7, 8, 9]);
        assert_eq!(columns[2], [2, 2, 4, 5, 10, 11]);
    }

    #[test]
    fn every_layout_lies_as_the_kernel_draws_it() {
        // Data chunks by number, parity as P: drivers/md/raid5.c, `raid5_compute_sector`.
        for (layout, rows) in [
            (Raid5Layout::LeftSymmetric, ["012P", "45P3", "8P67", "P9ab"]),
            (Raid5Layout::LeftAsymmetric, ["012P", "34P5", "6P78", "P9ab"]),
            (Raid5Layout::RightSymmetric, ["P012", "5P34", "78P6", "9abP"]),
            (Raid5Layout::RightAsymmetric, ["P012", "3P45", "67P8", "9abP"]),
            (Raid5Layout::ParityFirst, ["P012", "P345", "P678", "P9ab"]),
            (Raid5Layout::ParityLast, ["012P", "345P", "678P", "9abP"]),
        ] {
            let data: Vec<u8> = (0..12).collect();
            let mut columns = vec![Vec::new(); 4];
            for (row, text) in rows.iter().enumerate() {
                let parity = data[row * 3] ^ data[row * 3 + 1] ^ data[row * 3 + 2];
                for (column, letter) in text.chars().enumerate() {
                    columns[column].push(letter.to_digit(16).map_or(parity, |it| it as u8));
                }
            }
            for lost in 0..=4 {
                let devices = columns.iter().enumerate().map(|(index, bytes)| {
                    if index == lost { missing(4, "Disk") } else { Noise::of(bytes.clone()) }
                });
                let raid5 = Raid5::new(devices.collect(), 1, 12).unwrap().with_layout(layout);
                let device = Mapped::new(raid5);
                check_against_model(&device, &data, 30, 8);
                if lost == 4 {
                    assert_eq!(device.map().compare().differing, 0, "{layout:?}");
                }
            }
        }
    }

    #[test]
    fn whole_and_with_any_column_missing_the_bytes_are_the_same() {
        for (count, chunk, size) in [(3, 512, 20_000), (5, 4096, 100_000), (3, 1, 50), (2, 64, 999)]
        {
            let data = contents(9, size);
            let whole = raid5(&data, count, chunk, |_, bytes| Noise::of(bytes));
            check_against_model(&whole, &data, 200, 5);
            for lost in 0..count {
                let degraded = raid5(&data, count, chunk, |index, bytes| {
                    if index == lost {
                        missing(bytes.len() as u64, "Disk1")
                    } else {
                        Noise::of(bytes)
                    }
                });
                check_against_model(&degraded, &data, 100, 6);
            }
        }
    }

    #[test]
    fn nothing_is_rebuilt_past_what_is_in_sync() {
        let data = contents(9, 8192);
        let columns = columns(&data, 3, 512).into_iter().enumerate().map(|(index, bytes)| {
            if index == 0 { missing(bytes.len() as u64, "Disk1") } else { Noise::of(bytes) }
        });
        let raid5 = Raid5::new(columns.collect(), 512, 8192).unwrap().with_synced(1024);
        let device = Mapped::new(raid5);
        let mut buf = [0; 512];
        for (number, wanted) in data.chunks(512).enumerate() {
            // Rows of two chunks; the first column has data in the first two of three rows.
            let (row, index) = (number / 2, number % 2);
            let is_lost = matches!((row % 3, index), (0, 0) | (1, 1));
            match device.read_at(number as u64 * 512, &mut buf) {
                Ok(()) => assert!(buf == wanted && (!is_lost || row < 2), "chunk {number}"),
                Err(error) => {
                    assert!(is_lost && row >= 2, "chunk {number}");
                    assert!(error.message().contains("was not written with the data"), "{error}");
                }
            }
        }
    }

    #[test]
    fn bad_regions_in_two_columns_that_do_not_meet_are_rebuilt() {
        let data = contents(9, 65536);
        let device = raid5(&data, 3, 8192, |index, bytes| match index {
            0 => Noise::broken_bytes(bytes, 1000..1600),
            1 => Noise::broken_bytes(bytes, 3000..3001),
            _ => Noise::of(bytes),
        });
        check_against_model(&device, &data, 200, 7);
    }

    #[test]
    fn two_missing_columns_are_an_error_that_names_both() {
        let data = contents(9, 8192);
        let device = raid5(&data, 3, 512, |index, bytes| match index {
            2 => Noise::of(bytes),
            _ => missing(bytes.len() as u64, if index == 0 { "Disk1" } else { "Disk2" }),
        });
        let error = device.read_at(0, &mut [0; 8192]).unwrap_err();
        assert!(error.message().contains("disk Disk1 is missing; disk Disk2 is missing"));
    }

    #[test]
    fn a_volume_larger_than_its_columns_is_refused() {
        let columns = |count: usize| (0..count).map(|_| Noise::hole(1000)).collect::<Vec<_>>();
        assert!(Raid5::new(columns(3), 500, 2000).is_ok());
        assert!(Raid5::new(columns(3), 500, 2001).is_err());
        assert!(Raid5::new(columns(1), 500, 1).is_err());
        assert!(Raid5::new(columns(3), 0, 1).is_err());
    }

    #[test]
    fn parity_is_compared() {
        let data = contents(9, 100_000);
        let whole = raid5(&data, 4, 8192, |_, bytes| Noise::of(bytes));
        let clean = Comparison { compared: 100_000, ..Comparison::default() };
        assert_eq!(whole.map().compare(), clean);
        let bad = raid5(&data, 4, 8192, |index, mut bytes| {
            if index == 1 {
                bytes[8192 + 5000] ^= 0x80;
            }
            Noise::of(bytes)
        });
        let wanted = Comparison { differing: 4096, first: Some(3 * 8192), ..clean };
        assert_eq!(bad.map().compare(), wanted);
    }

    #[test]
    fn a_rebuilt_hole_needs_holes_in_all_other_columns() {
        let columns = vec![missing(8192, "Disk1"), Noise::hole(8192), Noise::hole(8192)];
        let device = Mapped::new(Raid5::new(columns, 4096, 16384).unwrap());
        assert_eq!(device.extent_at(0).unwrap(), Noise::zero(4096));
        let columns = vec![missing(8192, "Disk1"), Noise::hole(8192), Noise::of(vec![1; 8192])];
        let device = Mapped::new(Raid5::new(columns, 4096, 16384).unwrap());
        assert_eq!(device.extent_at(0).unwrap(), data(4096));
    }
}
