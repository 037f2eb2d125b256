//! Devices side by side that hold each chunk several times.

use std::sync::Arc;

use volfold_block::{
    BlockDevice, BlockError, BlockResult, Extent, Map, Piece, Place, byte_count, error_chain,
};

use super::member::{BLOCK, Comparison, Parts, Redundancy, UNIT, in_halves, sector_size, split};

/// Where the copies of a chunk lie: RAID-10 of Linux (`drivers/md/raid10.c`, md(4)).
///
/// *Near* copies lie side by side, going on in the next row. *Far* copies lie in another part of the
/// columns, shifted by the number of near copies; with `is_offset` in the next row of chunks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Raid10Layout {
    /// Copies in one row.
    pub near: u64,
    /// How often that is repeated.
    pub far: u64,
    /// Whether the repetition follows row by row.
    pub is_offset: bool,
    /// Among how many columns the far copies of one are shifted; all of them in the oldest layout.
    pub far_set: u64,
}

/// LIMIT: copies of a chunk; each of them is looked for.
const MAX_COPIES: u64 = 32;

impl Raid10Layout {
    /// The layout that Linux writes as `number`, for `count` columns: near copies in the low byte, far
    /// copies in the next, bit 16 for offset, and above it which columns far copies are shifted among.
    /// `None` if it is none, or `count` columns are too few for it.
    pub fn of(number: u32, count: u64) -> Option<Self> {
        let [near, far, _, _] = number.to_le_bytes().map(u64::from);
        let copies =
            near.checked_mul(far).filter(|copies| (1..=count.min(MAX_COPIES)).contains(copies))?;
        let far_set = match number >> 17 {
            0 => count,
            1 => count.checked_div(far)?,
            2 => copies,
            _ => return None,
        };
        let is_offset = number & (1 << 16) != 0;
        (far_set > 0).then_some(Self { near, far, is_offset, far_set })
    }

    /// How many times each chunk is there.
    fn copies(&self) -> u64 {
        self.near.saturating_mul(self.far)
    }

    /// The column of the far copy after the one in `column`.
    fn shifted(&self, column: u64, count: u64) -> Option<u64> {
        let set = column.checked_div(self.far_set)?;
        let moved = column.checked_add(self.near)?;
        let rest = count.checked_rem(self.far_set)?;
        // What is left over at the end is one larger set with the last whole one.
        let last = count.checked_div(self.far_set)?.checked_sub(1)?.checked_mul(self.far_set)?;
        if rest > 0 && moved > last {
            let size = self.far_set.checked_add(rest)?;
            moved.checked_sub(last)?.checked_rem(size)?.checked_add(last)
        } else {
            let start = set.checked_mul(self.far_set)?;
            moved.checked_rem(self.far_set)?.checked_add(start)
        }
    }

    /// How many chunks of data `count` columns of `rows` chunks hold.
    pub fn data_chunks(&self, rows: u64, count: u64) -> Option<u64> {
        rows.checked_div(self.far)?.checked_mul(count)?.checked_div(self.near)
    }

    /// How many chunks of a column lie before the far copies.
    fn stride(&self, rows: u64, count: u64) -> Option<u64> {
        if self.is_offset {
            return Some(1);
        }
        let chunks = self.data_chunks(rows, count)?.checked_mul(self.copies())?;
        chunks.div_ceil(count.max(1)).checked_div(self.far)
    }
}

/// Columns that hold each chunk several times. The first copy that can be read serves.
pub struct Raid10 {
    columns: Vec<Arc<dyn BlockDevice>>,
    layout: Raid10Layout,
    count: u64,
    chunk: u64,
    /// Chunks between a chunk and its far copy.
    stride: u64,
    size: u64,
}

impl Raid10 {
    /// All that `columns` of `column_size` bytes hold in chunks of `chunk` bytes.
    ///
    /// # Errors
    /// `Corrupt` if they are too few for the layout or smaller, or there are no chunks.
    pub fn new(
        columns: Vec<Arc<dyn BlockDevice>>,
        layout: Raid10Layout,
        chunk: u64,
        column_size: u64,
    ) -> BlockResult<Self> {
        let count = byte_count(columns.len());
        let is_short = columns.iter().any(|column| column.size() < column_size);
        let sizes = || {
            let rows = column_size.checked_div(chunk)?;
            let size = layout.data_chunks(rows, count)?.checked_mul(chunk)?;
            Some((layout.stride(rows, count)?, size))
        };
        match sizes().filter(|_| !is_short && layout.copies() <= count) {
            Some((stride, size)) => Ok(Self { columns, layout, count, chunk, stride, size }),
            None => Err(BlockError::corrupt("RAID-10 is larger than its columns", 0, 0)),
        }
    }

    /// Whether all bytes can be had from the columns that `is_there` says `true` of.
    pub fn is_served_by(&self, is_there: &[bool]) -> bool {
        // After so many chunks the columns come again.
        (0..self.count).all(|number| {
            (0..self.layout.copies()).any(|copy| {
                let place = self.place(number, copy).and_then(|(column, _)| is_there.get(column));
                place.copied().unwrap_or(false)
            })
        })
    }

    /// The column of a copy of the chunk `number`, and which chunk of the column it is.
    fn place(&self, number: u64, copy: u64) -> Option<(usize, u64)> {
        let layout = &self.layout;
        let (near, far) = (copy.checked_div(layout.far)?, copy.checked_rem(layout.far)?);
        let flat = number.checked_mul(layout.near)?;
        let mut row = flat.checked_div(self.count)?;
        if layout.is_offset {
            row = row.checked_mul(layout.far)?;
        }
        let mut column = flat.checked_rem(self.count)?.checked_add(near)?;
        if column >= self.count {
            column = column.checked_sub(self.count)?;
            row = row.checked_add(1)?;
        }
        for _ in 0..far {
            column = layout.shifted(column, self.count)?;
            row = row.checked_add(self.stride)?;
        }
        Some((usize::try_from(column).ok()?, row))
    }

    /// The column that holds a copy of `offset`, the offset in it, and the bytes to the end of the chunk.
    fn at(&self, offset: u64, copy: u64) -> BlockResult<(&Arc<dyn BlockDevice>, u64, u64)> {
        let place = || {
            let (column, row) = self.place(offset.checked_div(self.chunk)?, copy)?;
            let inside = offset.checked_rem(self.chunk)?;
            let at = row.checked_mul(self.chunk)?.checked_add(inside)?;
            let left = self.chunk.checked_sub(inside)?.min(self.size.checked_sub(offset)?);
            Some((self.columns.get(column)?, at, left)).filter(|_| left > 0)
        };
        place().ok_or_else(|| BlockError::out_of_range(offset, 1, self.size))
    }

    /// Reads inside one chunk, from the first copy that can be read.
    fn read_any(&self, offset: u64, buf: &mut [u8]) -> BlockResult<()> {
        let mut errors = Vec::new();
        for copy in 0..self.layout.copies() {
            let (column, at, _) = self.at(offset, copy)?;
            match column.read_at(at, buf) {
                Ok(()) => return Ok(()),
                Err(error) => errors.push(error),
            }
        }
        let reasons: Vec<String> = errors.iter().map(|error| error_chain(error)).collect();
        let Some(first) = errors.first() else {
            return Err(BlockError::missing("RAID-10 has no copy"));
        };
        let sentence = format!("no copy of the RAID-10 can be read: {}", reasons.join("; "));
        Err(BlockError::new(first.kind(), sentence).at(offset))
    }

    /// Compares the copies of one chunk; `false` if one cannot be read.
    fn compare_chunk(
        &self,
        offset: u64,
        room: (&mut [u8], &mut [u8]),
        result: &mut Comparison,
    ) -> bool {
        let (one, other) = room;
        let length = self.at(offset, 0).map_or(0, |(_, _, left)| left);
        let mut done = 0;
        while done < length {
            let (one, _) = split(one, length.saturating_sub(done));
            let (other, _) = split(other, byte_count(one.len()));
            for copy in 0..self.layout.copies() {
                let Ok((column, at, _)) = self.at(offset, copy) else { return false };
                let into = if copy == 0 { &mut *one } else { &mut *other };
                if column.read_at(at.saturating_add(done), into).is_err() {
                    return false;
                }
                let start = offset.saturating_add(done);
                for (at, (a, b)) in
                    (start..).step_by(UNIT).zip(one.chunks(UNIT).zip(other.chunks(UNIT)))
                {
                    if copy > 0 && a != b {
                        result.differs(at, byte_count(a.len()));
                    }
                }
            }
            done = done.saturating_add(byte_count(one.len()));
        }
        true
    }
}

impl Map for Raid10 {
    fn size(&self) -> u64 {
        self.size
    }

    fn sector_size(&self) -> u32 {
        sector_size(self.columns.iter())
    }

    fn locate(&self, offset: u64, _wanted: u64) -> BlockResult<Piece<'_>> {
        let (column, at, left) = self.at(offset, 0)?;
        Ok(Piece::new(Place::At(column, at), left))
    }

    fn rescue(&self, offset: u64, buf: &mut [u8], _error: BlockError) -> BlockResult<()> {
        in_halves(offset, buf, &|offset, buf| self.read_any(offset, buf))
    }

    fn rescue_extent(&self, offset: u64) -> Option<Extent> {
        let mut copies = (1..self.layout.copies()).filter_map(|copy| self.at(offset, copy).ok());
        copies.find_map(|(column, at, left)| {
            let extent = column.extent_at(at).ok()?;
            Some(Extent { length: extent.length.min(left), ..extent })
        })
    }
}

impl Redundancy for Raid10 {
    fn compare(&self) -> Comparison {
        let (mut result, mut parts) = (Comparison::default(), Parts::default());
        let (mut one, mut other) = (vec![0; BLOCK], vec![0; BLOCK]);
        let mut offset = 0;
        while offset < self.size {
            let length = self.chunk.min(self.size.saturating_sub(offset));
            let is_whole = self.compare_chunk(offset, (&mut one, &mut other), &mut result);
            let left = self.size.saturating_sub(offset);
            if !parts.count(&mut result, is_whole, length, left) {
                break;
            }
            offset = offset.saturating_add(length);
        }
        result
    }
}

#[cfg(test)]
mod tests {
    use super::super::member::tests::missing;
    use super::*;
    use volfold_block::Mapped;
    use volfold_block::testing::{Noise, check_against_model, contents};

    /// Rows of the columns as md(4) and the pictures in `drivers/md/raid10.c` have them: chunks by
    /// number; a dot is not used.
    const DRAWN: &[(u32, &[&str])] = &[
        // Near copies on four and on five columns.
        (0x102, &["0011", "2233", "4455"]),
        (0x102, &["00112", "23344", "55667"]),
        (0x103, &["00011", "12223", "33444"]),
        // Far copies: shifted by one column in the second half.
        (0x201, &["0123", "4567", "3012", "7456"]),
        (0x201, &["012", "345", "201", "534"]),
        (0x301, &["012", "345", "201", "534", "120", "453"]),
        // Offset: the shifted row follows at once.
        (0x1_0201, &["0123", "3012", "4567", "7456"]),
        (0x1_0201, &["012", "201", "345", "534"]),
        // Two near and two far copies.
        (0x202, &["0011", "2233", "1100", "3322"]),
        (0x1_0202, &["0011", "1100", "2233", "3322"]),
        // Far sets of two columns: copies are swapped in pairs.
        (0x4_0201, &["0123", "4567", "1032", "5476"]),
        // The last set takes the odd column.
        (0x4_0201, &["01234", "56789", "10423", "65978"]),
    ];

    #[test]
    fn every_layout_lies_as_the_kernel_draws_it() {
        for (number, rows) in DRAWN {
            let count = rows[0].len();
            let layout = Raid10Layout::of(*number, count as u64).unwrap();
            let size = layout.data_chunks(rows.len() as u64, count as u64).unwrap() as usize;
            let data = contents(4, size);
            let columns: Vec<Vec<u8>> = (0..count)
                .map(|column| {
                    let chunk = |row: &&str| row[column..=column].parse::<usize>().unwrap();
                    let byte = |number: usize| data.get(number).copied().unwrap_or(0xEE);
                    rows.iter().map(|row| byte(chunk(row))).collect()
                })
                .collect();
            for lost in 0..=count {
                let devices = columns.iter().enumerate().map(|(index, bytes)| {
                    let length = bytes.len() as u64;
                    if index == lost { missing(length, "Disk") } else { Noise::of(bytes.clone()) }
                });
                let rows = rows.len() as u64;
                let raid10 = Raid10::new(devices.collect(), layout, 1, rows).unwrap();
                let is_there: Vec<bool> = (0..count).map(|index| index != lost).collect();
                assert!(raid10.is_served_by(&is_there));
                assert!(!raid10.is_served_by(&vec![false; count]));
                let device = Mapped::new(raid10);
                check_against_model(&device, &data, 30, 8);
                if lost == count {
                    assert_eq!(device.map().compare().differing, 0, "{number:#x}");
                }
            }
        }
    }

    #[test]
    fn a_chunk_without_a_copy_is_an_error_and_others_are_read() {
        let bytes = || Noise::of(contents(1, 1024));
        let columns = vec![missing(1024, "Disk1"), missing(1024, "Disk2"), bytes(), bytes()];
        let layout = Raid10Layout::of(0x102, 4).unwrap();
        let raid10 = Raid10::new(columns, layout, 512, 1024).unwrap();
        assert!(!raid10.is_served_by(&[false, false, true, true]));
        assert!(raid10.is_served_by(&[false, true, true, false]));
        let device = Mapped::new(raid10);
        let mut buf = [0; 512];
        device.read_at(512, &mut buf).unwrap();
        assert_eq!(buf[..], contents(1, 1024)[..512]);
        let error = device.read_at(0, &mut buf).unwrap_err();
        assert!(error.message().contains("disk Disk1 is missing; disk Disk2 is missing"));
        assert_eq!(device.map().compare().unreadable, 1024);
    }

    #[test]
    fn copies_are_compared_and_impossible_layouts_are_refused() {
        let mut other = contents(1, 8192);
        other[5000] ^= 1;
        let columns = || vec![Noise::of(contents(1, 8192)), Noise::of(other.clone())];
        let layout = Raid10Layout::of(0x102, 2).unwrap();
        let found = Raid10::new(columns(), layout, 8192, 8192).unwrap().compare();
        let wanted =
            Comparison { compared: 8192, differing: 4096, first: Some(4096), unreadable: 0 };
        assert_eq!(found, wanted);
        assert!(Raid10::new(columns(), layout, 0, 8192).is_err());
        assert!(Raid10::new(columns(), layout, 512, 8193).is_err());
        for (number, count) in [(0x100, 4), (0x002, 4), (0x102, 1), (0x303, 8), (0x6_0201, 4)] {
            assert!(Raid10Layout::of(number, count).is_none(), "{number:#x}");
        }
    }
}
