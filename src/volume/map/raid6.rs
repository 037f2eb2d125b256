//! Devices side by side with two kinds of parity.

use std::sync::Arc;

use volfold_block::{
    BlockDevice, BlockError, BlockResult, Extent, ExtentKind, Map, Piece, Place, byte_count,
    error_chain,
};

use super::galois::{Multiplier, inverse, power};
use super::member::{BLOCK, Comparison, Parts, Redundancy, UNIT, in_halves, sector_size, split};
use super::raid5::{Raid5Layout, check_synced, xor};
use super::stripe::rows;

/// LIMIT: the field has 255 powers of its generator, so more columns cannot be told apart.
const MAX_COLUMNS: u64 = 255;

/// Bytes that are rebuilt at once: the sums stay in the nearest caches.
const PART: usize = 32 << 10;

/// In which columns of a row the parities P and Q lie, where the data goes around them, and which
/// powers Q is a sum of. The names are those of Linux (`drivers/md/raid5.h`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Raid6Layout {
    /// P and Q move right, Q after P, data keeps its order; DDF, and what LVM makes by default.
    ZeroRestart,
    /// P and Q move left, Q after P, data keeps its order; DDF.
    NRestart,
    /// P and Q move left, Q before P, data follows P; DDF.
    NContinue,
    /// P and Q move left, Q after P, data keeps its order.
    LeftAsymmetric,
    /// P and Q move right, Q after P, data keeps its order.
    RightAsymmetric,
    /// P and Q move left, Q after P, data follows Q; what Linux MD makes by default.
    LeftSymmetric,
    /// P and Q move right, Q after P, data follows Q.
    RightSymmetric,
    /// P in the last column but one, Q in the last.
    ParityLast,
    /// P in the first column, Q in the second.
    ParityFirst,
    /// A RAID-5 in this layout, and Q in one more column.
    AndLast(Raid5Layout),
}

/// A row: where its parities lie.
#[derive(Clone, Copy)]
struct Row {
    p: u64,
    q: u64,
}

impl Raid6Layout {
    fn row(self, row: u64, count: u64) -> Option<Row> {
        let last = count.checked_sub(1)?;
        let turn = row.checked_rem(count)?;
        let after = |p: u64| p.checked_add(1)?.checked_rem(count);
        let p = match self {
            Self::ZeroRestart | Self::RightAsymmetric | Self::RightSymmetric => turn,
            Self::NContinue | Self::LeftAsymmetric | Self::LeftSymmetric => {
                last.checked_sub(turn)?
            }
            Self::NRestart => last.checked_sub(row.checked_add(1)?.checked_rem(count)?)?,
            Self::ParityLast => last.checked_sub(1)?,
            Self::ParityFirst => 0,
            Self::AndLast(layout) => layout.parity(row, last)?,
        };
        let q = match self {
            Self::NContinue => p.checked_add(last)?.checked_rem(count)?,
            Self::ParityLast | Self::AndLast(_) => last,
            _ => after(p)?,
        };
        Some(Row { p, q })
    }

    /// The column of the data chunk `index` of `row`.
    fn column(self, index: u64, row: Row, count: u64) -> Option<u64> {
        let last = count.checked_sub(1)?;
        match self {
            Self::NContinue | Self::LeftSymmetric | Self::RightSymmetric => {
                let first = if self == Self::NContinue { row.p } else { row.q };
                first.checked_add(1)?.checked_add(index)?.checked_rem(count)
            }
            Self::ParityLast => Some(index),
            Self::AndLast(layout) => layout.column(index, row.p, last),
            _ if row.p == last => index.checked_add(1),
            _ if index >= row.p => index.checked_add(2),
            _ => Some(index),
        }
    }

    /// The power of the generator that a data column has in Q: for DDF the number of the column, else
    /// how many columns of data lie between Q and it, going round.
    fn exponent(self, column: u64, row: Row, count: u64) -> Option<u64> {
        if matches!(self, Self::ZeroRestart | Self::NRestart | Self::NContinue) {
            return Some(column);
        }
        let after_q = |column: u64| {
            let turned = column.checked_add(count)?.checked_sub(row.q)?.checked_sub(1)?;
            turned.checked_rem(count)
        };
        let (own, p) = (after_q(column)?, after_q(row.p)?);
        if p < own { own.checked_sub(1) } else { Some(own) }
    }
}

/// Columns with two chunks of parity in every row, P and Q: RAID-6. Any two columns may be missing.
pub struct Raid6 {
    columns: Vec<Arc<dyn BlockDevice>>,
    layout: Raid6Layout,
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
    row: u64,
    column: usize,
    at: u64,
    /// Bytes to the end of the chunk, or of the volume.
    left: u64,
}

impl Raid6 {
    /// The first `size` bytes of data in `columns`, cut into chunks of `chunk` bytes.
    ///
    /// # Errors
    /// `Corrupt` if there are fewer than three columns or more than 255, no chunks, or the columns do
    /// not hold `size` bytes.
    pub fn new(
        columns: Vec<Arc<dyn BlockDevice>>,
        layout: Raid6Layout,
        chunk: u64,
        size: u64,
    ) -> BlockResult<Self> {
        let count = byte_count(columns.len());
        let shortest = columns.iter().map(|column| column.size()).min().unwrap_or(0);
        let held = rows(shortest, chunk)
            .and_then(|rows| rows.checked_mul(chunk))
            .and_then(|column| column.checked_mul(count.checked_sub(2)?));
        if !(3..=MAX_COLUMNS).contains(&count) || held.is_none_or(|held| size > held) {
            return Err(BlockError::corrupt("RAID-6 is larger than its columns", 0, 0));
        }
        let current = vec![true; columns.len()];
        Ok(Self { columns, layout, count, chunk, size, current, synced: u64::MAX })
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

    fn at(&self, offset: u64) -> BlockResult<Chunk> {
        let place = || {
            let number = offset.checked_div(self.chunk)?;
            let inside = offset.checked_rem(self.chunk)?;
            let data = self.count.checked_sub(2)?;
            let row = number.checked_div(data)?;
            let parities = self.layout.row(row, self.count)?;
            let column = self.layout.column(number.checked_rem(data)?, parities, self.count)?;
            let column = usize::try_from(column).ok()?;
            let at = row.checked_mul(self.chunk)?.checked_add(inside)?;
            let left = self.chunk.checked_sub(inside)?.min(self.size.checked_sub(offset)?);
            (left > 0).then_some(Chunk { row, column, at, left })
        };
        place().ok_or_else(|| BlockError::out_of_range(offset, 1, self.size))
    }

    /// The column of a parity, as an index and as a device.
    fn parity(&self, column: u64) -> BlockResult<(usize, &Arc<dyn BlockDevice>)> {
        let index = usize::try_from(column).unwrap_or(usize::MAX);
        let device = self.columns.get(index);
        Ok((index, device.ok_or_else(|| BlockError::missing("no such column"))?))
    }

    /// Reads inside one chunk, rebuilding it where it cannot be read.
    fn read_chunk(&self, chunk: &Chunk, at: u64, buf: &mut [u8]) -> BlockResult<()> {
        let own = self.columns.get(chunk.column);
        let own = own.ok_or_else(|| BlockError::missing("no such column"))?;
        let Err(first) = own.read_at(at, buf) else {
            return Ok(());
        };
        let mut offset = at;
        for part in buf.chunks_mut(PART) {
            self.rebuild(chunk, offset, part).map_err(|second| {
                let sentence = format!(
                    "too many columns of the RAID-6 cannot be read: {}; {}",
                    error_chain(&first),
                    error_chain(&second)
                );
                BlockError::new(first.kind(), sentence)
            })?;
            offset = offset.saturating_add(byte_count(part.len()));
        }
        Ok(())
    }

    fn rebuild(&self, chunk: &Chunk, at: u64, buf: &mut [u8]) -> BlockResult<()> {
        let mut others = self.current.iter().enumerate().filter(|(at, _)| *at != chunk.column);
        if !others.all(|(_, current)| *current) {
            let line = "the other columns are not marked as current, so nothing is rebuilt of them";
            return Err(BlockError::missing(line));
        }
        check_synced(at, buf.len(), self.synced)?;
        let row = self.layout.row(chunk.row, self.count);
        let row = row.ok_or_else(|| BlockError::missing("no such row"))?;
        self.by_p(chunk, row, at, buf).or_else(|_| self.by_q(chunk, row, at, buf))
    }

    /// Fills `buf` with the XOR of P and all other data.
    fn by_p(&self, chunk: &Chunk, row: Row, at: u64, buf: &mut [u8]) -> BlockResult<()> {
        let (_, p) = self.parity(row.p)?;
        let (q, _) = self.parity(row.q)?;
        p.read_at(at, buf)?;
        let mut scratch = vec![0; buf.len()];
        let (p, _) = self.parity(row.p)?;
        for (index, column) in self.columns.iter().enumerate() {
            if ![chunk.column, p, q].contains(&index) {
                column.read_at(at, &mut scratch)?;
                xor(buf, &scratch);
            }
        }
        Ok(())
    }

    /// Fills `buf` by Q, and by P too if another column of data is lost.
    fn by_q(&self, chunk: &Chunk, row: Row, at: u64, buf: &mut [u8]) -> BlockResult<()> {
        let ((p, p_device), (q, q_device)) = (self.parity(row.p)?, self.parity(row.q)?);
        let factor = |column: usize| {
            let exponent = self.layout.exponent(byte_count(column), row, self.count);
            exponent.map(power).ok_or_else(|| BlockError::missing("no such column"))
        };
        let mut scratch = vec![0; buf.len()];
        let mut sum_of_p = vec![0; buf.len()];
        q_device.read_at(at, buf)?;
        let mut second = None;
        for (index, column) in self.columns.iter().enumerate() {
            if [chunk.column, p, q].contains(&index) {
                continue;
            }
            match column.read_at(at, &mut scratch) {
                Ok(()) => {
                    xor(&mut sum_of_p, &scratch);
                    Multiplier::new(factor(index)?).add(buf, &scratch);
                }
                Err(error) if second.is_some() => return Err(error),
                Err(_) => second = Some(index),
            }
        }
        let own = factor(chunk.column)?;
        let Some(second) = second else {
            Multiplier::new(inverse(own)).scale(buf);
            return Ok(());
        };
        // P = own + other, Q = g * own + h * other; so own = (Q + h * P) / (g + h).
        p_device.read_at(at, &mut scratch)?;
        xor(&mut sum_of_p, &scratch);
        let other = factor(second)?;
        Multiplier::new(other).add(buf, &sum_of_p);
        Multiplier::new(inverse(own ^ other)).scale(buf);
        Ok(())
    }

    /// A rebuilt chunk is a hole if it is one in all other columns.
    fn rebuilt_extent(&self, place: &Chunk) -> Option<Extent> {
        let mut length = place.left;
        for (index, column) in self.columns.iter().enumerate() {
            if index == place.column {
                continue;
            }
            match column.extent_at(place.at) {
                Ok(extent) if extent.kind == ExtentKind::Zero => length = length.min(extent.length),
                _ => return None,
            }
        }
        let is_synced = check_synced(place.at, 1, self.synced).is_ok();
        let is_current = is_synced && self.current.iter().all(|current| *current);
        let length = length.min(self.synced.saturating_sub(place.at));
        is_current.then_some(Extent { kind: ExtentKind::Zero, length })
    }

    /// Whether P and Q of the bytes from `at` on in `row` are what the data gives; the offsets of
    /// units that are not are given to `differs`. `None` if a column cannot be read.
    fn compare_part(
        &self,
        row: Row,
        at: u64,
        length: usize,
        differs: &mut dyn FnMut(usize),
    ) -> Option<()> {
        let ((p, _), (q, _)) = (self.parity(row.p).ok()?, self.parity(row.q).ok()?);
        let (mut sum_of_p, mut sum_of_q) = (vec![0; length], vec![0; length]);
        let mut bytes = vec![0; length];
        for (index, column) in self.columns.iter().enumerate() {
            column.read_at(at, &mut bytes).ok()?;
            if index == q {
                xor(&mut sum_of_q, &bytes);
                continue;
            }
            xor(&mut sum_of_p, &bytes);
            if index != p {
                let exponent = self.layout.exponent(byte_count(index), row, self.count)?;
                Multiplier::new(power(exponent)).add(&mut sum_of_q, &bytes);
            }
        }
        for (p, q) in sum_of_p.chunks(UNIT).zip(sum_of_q.chunks(UNIT)) {
            if p.iter().chain(q).any(|byte| *byte != 0) {
                differs(p.len());
            }
        }
        Some(())
    }
}

impl Map for Raid6 {
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
        in_halves(place.at, buf, &|at, part| self.read_chunk(&place, at, part))
    }

    fn rescue_extent(&self, offset: u64) -> Option<Extent> {
        self.at(offset).ok().and_then(|place| self.rebuilt_extent(&place))
    }
}

impl Redundancy for Raid6 {
    fn compare(&self) -> Comparison {
        let (mut result, mut parts) = (Comparison::default(), Parts::default());
        let data = self.chunk.saturating_mul(self.count.saturating_sub(2));
        for number in 0..self.size.div_ceil(data.max(1)) {
            let start = number.saturating_mul(self.chunk);
            let volume_offset = number.saturating_mul(data);
            let length = data.min(self.size.saturating_sub(volume_offset));
            let row = self.layout.row(number, self.count);
            let (mut is_readable, mut done, mut room) = (row.is_some(), 0, vec![0; BLOCK]);
            while let Some(row) = row.filter(|_| is_readable && done < self.chunk) {
                let (part, _) = split(&mut room, self.chunk.saturating_sub(done));
                let mut differs = |unit: usize| result.differs(volume_offset, byte_count(unit));
                let at = start.saturating_add(done);
                is_readable = self.compare_part(row, at, part.len(), &mut differs).is_some();
                done = done.saturating_add(byte_count(part.len()));
            }
            let left = self.size.saturating_sub(volume_offset);
            if !parts.count(&mut result, is_readable, length, left) {
                break;
            }
        }
        result
    }
}

#[cfg(test)]
mod tests {
    use super::super::galois::product;
    use super::super::member::tests::missing;
    use super::*;
    use volfold_block::Mapped;
    use volfold_block::testing::{Noise, check_against_model, contents};

    /// Rows of five columns as `raid5_compute_sector` of drivers/md/raid5.c gives them: data chunks by
    /// number, and for each column its power in Q.
    const DRAWN: &[(Raid6Layout, [&str; 5], [&str; 5])] = &[
        (
            Raid6Layout::ZeroRestart,
            ["PQ012", "3PQ45", "67PQ8", "9abPQ", "QcdeP"],
            ["..234", "0..34", "01..4", "012..", ".123."],
        ),
        (
            Raid6Layout::NRestart,
            ["012PQ", "34PQ5", "6PQ78", "PQ9ab", "QcdeP"],
            ["012..", "01..4", "0..34", "..234", ".123."],
        ),
        (
            Raid6Layout::NContinue,
            ["012QP", "45QP3", "8QP67", "QP9ab", "PcdeQ"],
            ["012..", "01..4", "0..34", "..234", ".123."],
        ),
        (
            Raid6Layout::LeftAsymmetric,
            ["Q012P", "345PQ", "67PQ8", "9PQab", "PQcde"],
            [".012.", "012..", "12..0", "2..01", "..012"],
        ),
        (
            Raid6Layout::LeftSymmetric,
            ["Q012P", "345PQ", "78PQ6", "bPQ9a", "PQcde"],
            [".012.", "012..", "12..0", "2..01", "..012"],
        ),
        (
            Raid6Layout::ParityLast,
            ["012PQ", "345PQ", "678PQ", "9abPQ", "cdePQ"],
            ["012..", "012..", "012..", "012..", "012.."],
        ),
        (
            Raid6Layout::ParityFirst,
            ["PQ012", "PQ345", "PQ678", "PQ9ab", "PQcde"],
            ["..012", "..012", "..012", "..012", "..012"],
        ),
        (
            Raid6Layout::RightAsymmetric,
            ["PQ012", "3PQ45", "67PQ8", "9abPQ", "QcdeP"],
            ["..012", "2..01", "12..0", "012..", ".012."],
        ),
        (
            Raid6Layout::RightSymmetric,
            ["PQ012", "5PQ34", "78PQ6", "9abPQ", "QcdeP"],
            ["..012", "2..01", "12..0", "012..", ".012."],
        ),
        (
            Raid6Layout::AndLast(Raid5Layout::LeftAsymmetric),
            ["012PQ", "34P5Q", "6P78Q", "P9abQ", "cdePQ"],
            ["012..", "01.2.", "0.12.", ".012.", "012.."],
        ),
        (
            Raid6Layout::AndLast(Raid5Layout::RightAsymmetric),
            ["P012Q", "3P45Q", "67P8Q", "9abPQ", "PcdeQ"],
            [".012.", "0.12.", "01.2.", "012..", ".012."],
        ),
        (
            Raid6Layout::AndLast(Raid5Layout::LeftSymmetric),
            ["012PQ", "45P3Q", "8P67Q", "P9abQ", "cdePQ"],
            ["012..", "01.2.", "0.12.", ".012.", "012.."],
        ),
        (
            Raid6Layout::AndLast(Raid5Layout::RightSymmetric),
            ["P012Q", "5P34Q", "78P6Q", "9abPQ", "PcdeQ"],
            [".012.", "0.12.", "01.2.", "012..", ".012."],
        ),
        (
            Raid6Layout::AndLast(Raid5Layout::ParityFirst),
            ["P012Q", "P345Q", "P678Q", "P9abQ", "PcdeQ"],
            [".012.", ".012.", ".012.", ".012.", ".012."],
        ),
    ];

    #[test]
    fn every_layout_is_read_whole_and_with_any_two_columns_missing() {
        let data = contents(3, 15);
        for (layout, rows, powers) in DRAWN {
            let mut columns = vec![Vec::new(); 5];
            for (row, (text, powers)) in rows.iter().zip(powers).enumerate() {
                let chunk = |letter: char| letter.to_digit(16).map(|number| data[number as usize]);
                let p = data[row * 3] ^ data[row * 3 + 1] ^ data[row * 3 + 2];
                let q = text.chars().zip(powers.chars()).fold(0, |q, (letter, power_of)| {
                    let factor = power_of.to_digit(10).map_or(0, |it| power(u64::from(it)));
                    q ^ product(factor, chunk(letter).unwrap_or(0))
                });
                for (column, letter) in text.chars().enumerate() {
                    let parity = if letter == 'P' { p } else { q };
                    columns[column].push(chunk(letter).unwrap_or(parity));
                }
            }
            for (first, second) in (0..=5).flat_map(|a| (0..=5).map(move |b| (a, b))) {
                let devices = columns.iter().enumerate().map(|(index, bytes)| {
                    let is_lost = index == first || index == second;
                    if is_lost { missing(5, "Disk") } else { Noise::of(bytes.clone()) }
                });
                let raid6 = Raid6::new(devices.collect(), *layout, 1, 15).unwrap();
                let device = Mapped::new(raid6);
                check_against_model(&device, &data, 20, 9);
                let comparison = device.map().compare();
                let unreadable = if (first, second) == (5, 5) { 0 } else { 15 };
                assert_eq!((comparison.differing, comparison.unreadable), (0, unreadable));
            }
        }
    }

    #[test]
    fn a_changed_byte_of_any_column_is_found_by_comparing() {
        for column in 0..5 {
            let devices = (0..5).map(|index| {
                let mut bytes = vec![0; 8192];
                if index == column {
                    bytes[5000] = 1;
                }
                Noise::of(bytes)
            });
            let layout = Raid6Layout::ZeroRestart;
            let raid6 = Raid6::new(devices.collect(), layout, 8192, 3 * 8192).unwrap();
            let wanted = Comparison { differing: 4096, first: Some(0), ..Comparison::default() };
            assert_eq!(raid6.compare(), Comparison { compared: 3 * 8192, ..wanted });
        }
    }

    #[test]
    fn three_missing_columns_are_an_error_and_impossible_sizes_are_refused() {
        let lost = |index: usize| if index < 3 { missing(512, "Disk") } else { Noise::hole(512) };
        let layout = Raid6Layout::NContinue;
        let raid6 = Raid6::new((0..5).map(lost).collect(), layout, 512, 1536).unwrap();
        let error = Mapped::new(raid6).read_at(0, &mut [0; 512]).unwrap_err();
        assert!(error.message().contains("disk Disk is missing; disk Disk is missing"), "{error}");
        let columns = |count: usize| (0..count).map(|_| Noise::hole(1000)).collect::<Vec<_>>();
        assert!(Raid6::new(columns(4), layout, 500, 2000).is_ok());
        assert!(Raid6::new(columns(4), layout, 500, 2001).is_err());
        assert!(Raid6::new(columns(2), layout, 500, 1).is_err());
        assert!(Raid6::new(columns(256), layout, 500, 1).is_err());
        assert!(Raid6::new(columns(4), layout, 0, 1).is_err());
    }
}
