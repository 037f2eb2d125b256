//! A hosted sparse extent: a file that holds only the grains that were written.
//!
//! Specification: VMware Virtual Disk Format 5.0, "Hosted sparse extents" and "Stream-optimized
//! compressed sparse extents". The header is in [`super::header`], the tables are in
//! [`super::directory`], compressed grains in [`super::grain`].

use std::sync::Arc;

use crate::format::vmdk::directory::{
    EntryRule, GRAINS_PER_TABLE, Grain, GrainDirectory, Lookup, TableBudget,
};
use crate::format::vmdk::grain::CompressedGrain;
use crate::format::vmdk::header::{DirectoryPlace, HEADER_BYTES, SECTOR, SparseHeader};
use crate::format::vmdk::scan;
use volfold_block::{
    BlockDevice, BlockError, BlockResult, Extent, ExtentKind, Finding, byte_count, bytes_to_index,
    check_range, code,
};

/// LIMIT: how many grain tables one question about an extent may touch. The answer then ends
/// early, and the next question goes on.
const MAX_TABLES_PER_QUESTION: u64 = 16;

/// LIMIT: the same for tables that are known to be absent without a read.
const MAX_ABSENT_TABLES_PER_QUESTION: u64 = 1 << 16;

/// The bytes that show through the holes of a sparse extent.
#[derive(Clone, Copy)]
pub(super) struct Below<'a> {
    /// The parent disk.
    pub(super) parent: Option<&'a dyn BlockDevice>,
    /// Where the extent begins on the disk.
    pub(super) start: u64,
}

impl Below<'_> {
    /// Fills `buf` with what the disk has at `offset` of the extent. Behind the end of a shorter
    /// parent that is zeros.
    fn read(self, offset: u64, buf: &mut [u8]) -> BlockResult<()> {
        let Some(parent) = self.parent else {
            buf.fill(0);
            return Ok(());
        };
        let offset = self.start.saturating_add(offset);
        let inside = parent.size().saturating_sub(offset);
        let inside = bytes_to_index(inside.min(byte_count(buf.len())))?;
        let (front, back) = buf.split_at_mut_checked(inside).unwrap_or_default();
        back.fill(0);
        if front.is_empty() {
            return Ok(());
        }
        parent.read_at(offset, front)
    }

    /// The kind of the bytes at `offset`, for at most `length` bytes.
    fn extent_at(self, offset: u64, length: u64) -> BlockResult<Extent> {
        let offset = self.start.saturating_add(offset);
        match self.parent {
            Some(parent) if offset < parent.size() => {
                let extent = parent.extent_at(offset)?;
                Ok(Extent { kind: extent.kind, length: extent.length.min(length) })
            }
            _ => Ok(Extent { kind: ExtentKind::Zero, length }),
        }
    }
}

/// An opened hosted sparse extent.
pub(super) struct SparseExtent {
    file: Arc<dyn BlockDevice>,
    file_size: u64,
    capacity: u64,
    grain_size: u64,
    compressed: bool,
    directory: GrainDirectory,
    /// Where the knowledge of a file that was cut short ends.
    known: u64,
}

/// A run of bytes of an extent that are found in one way.
#[derive(Clone, Copy)]
struct Run {
    grain: Grain,
    length: u64,
}

impl SparseExtent {
    /// Opens the extent with `header` in `file`; sentences about what is wrong go to `findings`.
    ///
    /// # Errors
    /// `Corrupt` or `Unsupported` if the grain directory cannot be used.
    pub(super) fn open(
        file: Arc<dyn BlockDevice>,
        header: SparseHeader,
        budget: &Arc<TableBudget>,
        findings: &mut Vec<Finding>,
    ) -> BlockResult<Self> {
        let file_size = file.size();
        if header.unclean_shutdown {
            findings.push(Finding::warning(
                code::VMDK_UNCLEAN_SHUTDOWN,
                "the file was not closed; the last writes may be missing",
            ));
        }
        let header = match header.directory {
            DirectoryPlace::At(_) => header,
            DirectoryPlace::InFooter => footer(&*file, &header)?.unwrap_or(header),
        };
        let tables = header.capacity.div_ceil(header.grain_size).div_ceil(GRAINS_PER_TABLE);
        let rule = EntryRule { zeroed_grains: header.zeroed_grains, file_size };
        let (directory, known) = if let DirectoryPlace::At(primary) = header.directory {
            let redundant = header.redundant;
            let (directory, replaced) = GrainDirectory::read(
                Arc::clone(&file),
                rule,
                tables,
                primary,
                redundant,
                Arc::clone(budget),
            )?;
            if replaced > 0 {
                findings.push(Finding::warning(
                    code::VMDK_GRAIN_DIRECTORY_DAMAGED,
                    format!(
                        "{replaced} of {tables} entries of the grain \
                     directory were taken from its copy"
                    ),
                ));
            }
            (directory, header.capacity)
        } else {
            scan::rebuild(&file, &header, rule, tables, budget, findings)?
        };
        Ok(Self {
            file,
            file_size,
            capacity: header.capacity,
            grain_size: header.grain_size,
            compressed: header.compressed,
            directory,
            known,
        })
    }

    /// The size of the extent in bytes.
    pub(super) fn size(&self) -> u64 {
        self.capacity
    }

    /// The size of a grain in bytes, if grains are compressed.
    pub(super) fn dear_block(&self) -> Option<u64> {
        self.compressed.then_some(self.grain_size)
    }

    /// Fills `buf` from `offset` of the extent; holes show what is `below`.
    ///
    /// # Errors
    /// `Corrupt` if a table or grain that is needed is not as it must be, and as the file and the
    /// parent fail.
    pub(super) fn read(&self, offset: u64, buf: &mut [u8], below: Below<'_>) -> BlockResult<()> {
        check_range(offset, buf.len(), self.capacity)?;
        let mut lookup = self.directory.lookup();
        let mut rest = buf;
        let mut position = offset;
        while !rest.is_empty() {
            let run = self.run(&mut lookup, position, byte_count(rest.len()))?;
            let part = rest.split_off_mut(..bytes_to_index(run.length)?).unwrap_or_default();
            match run.grain {
                Grain::Hole => below.read(position, part)?,
                Grain::Zeroed => part.fill(0),
                Grain::Stored(at) => self.read_stored(at, position, part)?,
            }
            position = position.saturating_add(run.length);
        }
        Ok(())
    }

    /// Has the stored bytes among the `length` from `offset` on fetched. Compressed grains say their
    /// size only when they are read.
    pub(super) fn will_need(&self, offset: u64, length: u64) {
        let end = offset.saturating_add(length).min(self.capacity);
        let mut lookup = self.directory.lookup();
        let mut position = offset;
        while position < end
            && let Ok(run) = self.run(&mut lookup, position, end.saturating_sub(position))
        {
            if let (Grain::Stored(at), false) = (run.grain, self.compressed) {
                let from = at.saturating_add(self.within_grain(position));
                self.file.will_need(from, run.length);
            }
            position = position.saturating_add(run.length.max(1));
        }
    }

    /// Reads `part` of the grains that are stored from `at` on, the first of them at or before
    /// `position` of the extent.
    fn read_stored(&self, at: u64, position: u64, part: &mut [u8]) -> BlockResult<()> {
        let skip = self.within_grain(position);
        if self.compressed {
            let start = position.saturating_sub(skip);
            let grain = CompressedGrain {
                file: &*self.file,
                at,
                lba: start / SECTOR,
                grain_size: self.grain_size,
                needed: self.capacity.saturating_sub(start).min(self.grain_size),
            };
            return grain.read(skip, part);
        }
        let from = at.saturating_add(skip);
        let end = from.saturating_add(byte_count(part.len()));
        if end > self.file_size {
            let sentence = "grain is cut short by the end of the file";
            return Err(BlockError::corrupt(sentence, from, 0));
        }
        self.file.read_at(from, part)
    }

    fn within_grain(&self, position: u64) -> u64 {
        // INVARIANT: `SparseHeader::parse` made sure that the grain size is a power of two.
        position & self.grain_size.saturating_sub(1)
    }

    /// The longest run from `position` that one read below can serve, at most `most` bytes. For
    /// stored grains `Grain::Stored` is where the grain of `position` begins.
    fn run(&self, lookup: &mut Lookup<'_>, position: u64, most: u64) -> BlockResult<Run> {
        if position >= self.known {
            return Err(BlockError::corrupt(
                "grain lies behind the place where the file was cut short",
                self.file_size,
                0,
            ));
        }
        let most = most.min(self.known.saturating_sub(position));
        let first = position >> self.grain_size.trailing_zeros();
        let grain = lookup.grain(first)?;
        let mut number = first;
        let mut last = grain;
        let mut length = self.grain_size.saturating_sub(self.within_grain(position));
        while length < most {
            number = number.saturating_add(1);
            let next = lookup.grain(number)?;
            let goes_on = match (last, next) {
                (Grain::Hole, Grain::Hole) | (Grain::Zeroed, Grain::Zeroed) => true,
                (Grain::Stored(last), Grain::Stored(next)) => {
                    !self.compressed && last.checked_add(self.grain_size) == Some(next)
                }
                _ => false,
            };
            if !goes_on {
                break;
            }
            last = next;
            length = length.saturating_add(self.grain_size);
        }
        Ok(Run { grain, length: length.min(most) })
    }

    /// The kind of the bytes at `offset`, and how far they reach. The work is bounded, so the
    /// answer may end early.
    ///
    /// # Errors
    /// `OutOfRange` behind the end, else as [`Self::read`].
    pub(super) fn extent_at(&self, offset: u64, below: Below<'_>) -> BlockResult<Extent> {
        check_range(offset, 1, self.capacity)?;
        let rest = self.capacity.saturating_sub(offset);
        if offset >= self.known {
            return Ok(Extent { kind: ExtentKind::Data, length: rest });
        }
        let has_parent = below.parent.is_some();
        let mut lookup = self.directory.lookup();
        let first = offset >> self.grain_size.trailing_zeros();
        let kind = Kind::of(lookup.grain(first)?, has_parent);
        let end = self.end_of(&mut lookup, first, kind, has_parent);
        let end = end.saturating_mul(self.grain_size).min(self.known);
        let length = end.saturating_sub(offset).min(rest);
        match kind {
            Kind::Below => below.extent_at(offset, length),
            Kind::Zero => Ok(Extent { kind: ExtentKind::Zero, length }),
            Kind::Data => Ok(Extent { kind: ExtentKind::Data, length }),
        }
    }

    /// The number of the first grain behind `first` that is not of `kind`, or where the search
    /// had to end.
    fn end_of(&self, lookup: &mut Lookup<'_>, first: u64, kind: Kind, has_parent: bool) -> u64 {
        let grains = self.capacity.div_ceil(self.grain_size);
        let hole = Kind::of(Grain::Hole, has_parent);
        let mut tables: u64 = 0;
        let mut absent: u64 = 0;
        let mut number = first.saturating_add(1);
        while number < grains {
            if number.is_multiple_of(GRAINS_PER_TABLE) {
                if lookup.is_absent(number / GRAINS_PER_TABLE) {
                    absent = absent.saturating_add(1);
                    if kind != hole || absent > MAX_ABSENT_TABLES_PER_QUESTION {
                        break;
                    }
                    number = number.saturating_add(GRAINS_PER_TABLE);
                    continue;
                }
                tables = tables.saturating_add(1);
                if tables > MAX_TABLES_PER_QUESTION {
                    break;
                }
            }
            // A damaged table ends the answer; the question about it will get the error.
            match lookup.grain(number) {
                Ok(grain) if Kind::of(grain, has_parent) == kind => {}
                _ => break,
            }
            number = number.saturating_add(1);
        }
        number.min(grains)
    }
}

/// What a grain means to a question about an extent.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Data,
    Zero,
    Below,
}

impl Kind {
    fn of(grain: Grain, has_parent: bool) -> Self {
        match grain {
            Grain::Stored(_) => Self::Data,
            Grain::Hole if has_parent => Self::Below,
            Grain::Hole | Grain::Zeroed => Self::Zero,
        }
    }
}

/// The footer of a stream-optimized extent: a header in the last sector but one. `None` if there
/// is none, which is how a file that was cut short or padded looks.
///
/// # Errors
/// `Corrupt` if there is one that does not go with `header`.
fn footer(file: &dyn BlockDevice, header: &SparseHeader) -> BlockResult<Option<SparseHeader>> {
    let Some(at) = file.size().checked_sub(2 * SECTOR).filter(|at| *at > 0) else {
        return Ok(None);
    };
    footer_at(file, at, header)
}

/// The footer at `at`, if there is one.
///
/// # Errors
/// As [`footer`].
pub(super) fn footer_at(
    file: &dyn BlockDevice,
    at: u64,
    header: &SparseHeader,
) -> BlockResult<Option<SparseHeader>> {
    let mut bytes = [0; HEADER_BYTES];
    file.read_at(at, &mut bytes)?;
    if !bytes.starts_with(&super::header::MAGIC) {
        return Ok(None);
    }
    let footer = SparseHeader::parse(&bytes, at)?;
    let is_same = footer.capacity == header.capacity
        && footer.grain_size == header.grain_size
        && footer.compressed == header.compressed;
    if !is_same {
        let sentence = "footer of the sparse extent contradicts its header";
        return Err(BlockError::corrupt(sentence, at, 0));
    }
    Ok(match footer.directory {
        DirectoryPlace::At(_) => Some(footer),
        DirectoryPlace::InFooter => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::vmdk::header::MAX_DISK_BYTES;
    use crate::format::vmdk::testing::{
        DIRECTORY, Files, GRAIN, REDUNDANT_DIRECTORY, REDUNDANT_TABLE, Recorder, SparseBuilder,
        TABLE, read,
    };
    use volfold_block::BlockErrorKind;

    const CAPACITY: u64 = 4 << 20;

    fn three_grains() -> SparseBuilder {
        SparseBuilder::new(CAPACITY).grain(0, 0xA0).grain(1, 0xA1).grain(600, 0xA2)
    }

    fn put(bytes: &mut [u8], at: usize, value: u32) {
        bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
    }

    #[track_caller]
    fn read_error(bytes: Vec<u8>, offset: u64) -> (BlockErrorKind, Option<u64>, String) {
        let image = Files::default().with("self.vmdk", bytes).open("self.vmdk").unwrap();
        let error = read(&*image.device, offset, GRAIN).unwrap_err();
        (error.kind(), error.position(), error.message().to_owned())
    }

    #[test]
    fn a_read_joins_grains_and_holes() {
        let files = Files::default().with("self.vmdk", three_grains().build());
        let image = files.open("self.vmdk").unwrap();
        assert_eq!(image.device.size(), CAPACITY);
        assert!(image.findings.is_empty());
        let bytes = read(&*image.device, 100, 3 * GRAIN).unwrap();
        assert!(bytes[..GRAIN - 100].iter().all(|byte| *byte == 0xA0));
        assert!(bytes[GRAIN - 100..2 * GRAIN - 100].iter().all(|byte| *byte == 0xA1));
        assert!(bytes[2 * GRAIN - 100..].iter().all(|byte| *byte == 0));
        let bytes = read(&*image.device, 599 * 4096, 3 * GRAIN).unwrap();
        assert_eq!((bytes[GRAIN - 1], bytes[GRAIN], bytes[2 * GRAIN]), (0, 0xA2, 0));
    }

    #[test]
    fn grains_that_follow_each_other_are_one_read() {
        let file = Arc::new(Recorder::new(three_grains().build()));
        let files = Files::default().with_device("self.vmdk", file.clone());
        let image = files.open("self.vmdk").unwrap();
        read(&*image.device, 10, GRAIN).unwrap();
        file.reads.lock().unwrap().clear();
        read(&*image.device, 10, 2 * GRAIN - 10).unwrap();
        assert_eq!(file.reads.lock().unwrap().as_slice(), [(32 * 512 + 10, 2 * GRAIN - 10)]);
    }

    #[test]
    fn tables_beyond_the_budget_are_read_again_with_the_same_bytes() {
        let file: Arc<dyn BlockDevice> = Arc::new(Recorder::new(three_grains().build()));
        let mut start = [0; HEADER_BYTES];
        file.read_at(0, &mut start).unwrap();
        let header = SparseHeader::parse(&start, 0).unwrap();
        let budget = Arc::new(TableBudget::with(0, 0));
        let extent = SparseExtent::open(file, header, &budget, &mut Vec::new()).unwrap();
        let below = Below { parent: None, start: 0 };
        for _ in 0..2 {
            let mut bytes = vec![0; 700 * GRAIN];
            extent.read(0, &mut bytes, below).unwrap();
            assert_eq!((bytes[0], bytes[GRAIN], bytes[2 * GRAIN]), (0xA0, 0xA1, 0));
            assert_eq!(bytes[600 * GRAIN], 0xA2);
        }
    }

    #[test]
    fn many_readers_of_one_extent_see_the_same_bytes() {
        let mut builder = SparseBuilder::new(16 << 20);
        for number in (0..4096).step_by(3) {
            builder = builder.grain(number, number.to_le_bytes()[0] | 1);
        }
        let files = Files::default().with("self.vmdk", builder.build());
        let device = files.open("self.vmdk").unwrap().device;
        std::thread::scope(|scope| {
            for first in 0..4_u64 {
                let device = &device;
                scope.spawn(move || {
                    for number in (first..4096).step_by(5) {
                        let bytes = read(&**device, number * 4096, 8).unwrap();
                        let is_stored = number % 3 == 0;
                        let wanted = if is_stored { number.to_le_bytes()[0] | 1 } else { 0 };
                        assert_eq!(bytes, [wanted; 8]);
                    }
                });
            }
        });
    }

    #[test]
    fn a_damaged_grain_table_entry_is_taken_from_the_copy() {
        let mut bytes = three_grains().build();
        put(&mut bytes, TABLE + 4, u32::MAX);
        let files = Files::default().with("self.vmdk", bytes);
        let image = files.open("self.vmdk").unwrap();
        assert_eq!(read(&*image.device, 4096, 1).unwrap(), [0xA1]);
    }

    #[test]
    fn a_grain_outside_the_file_harms_only_its_own_reads() {
        let mut bytes = three_grains().build();
        put(&mut bytes, TABLE + 4, 0x1000_0000);
        put(&mut bytes, REDUNDANT_TABLE + 4, 0x1000_0000);
        let files = Files::default().with("self.vmdk", bytes.clone());
        let image = files.open("self.vmdk").unwrap();
        assert_eq!(read(&*image.device, 0, 1).unwrap(), [0xA0]);
        assert_eq!(image.device.extent_at(0).unwrap().length, 4096);
        let error = read_error(bytes, 4096);
        assert_eq!((error.0, error.1), (BlockErrorKind::Corrupt, Some(0x20_0000_0000)));
    }

    #[test]
    fn an_entry_of_one_without_zeroed_grains_is_corrupt() {
        let mut bytes = three_grains().build();
        put(&mut bytes, TABLE + 4, 1);
        put(&mut bytes, REDUNDANT_TABLE + 4, 1);
        let error = read_error(bytes, 4096);
        assert_eq!((error.0, error.1), (BlockErrorKind::Corrupt, Some(512)));
    }

    #[test]
    fn a_grain_cut_short_by_the_end_of_the_file_is_corrupt() {
        let mut bytes = three_grains().build();
        let end = bytes.len() - 512;
        bytes.truncate(end);
        let error = read_error(bytes.clone(), 600 * 4096);
        let start = u64::try_from(end).unwrap() - 4096 + 512;
        assert_eq!((error.0, error.1), (BlockErrorKind::Corrupt, Some(start)));
        assert_eq!(error.2, "grain is cut short by the end of the file");
        let image = Files::default().with("self.vmdk", bytes).open("self.vmdk").unwrap();
        assert_eq!(read(&*image.device, 600 * 4096, 3584).unwrap(), [0xA2; 3584]);
    }

    #[test]
    fn a_damaged_grain_directory_is_taken_from_its_copy_with_a_finding() {
        for damage in [0, u32::MAX] {
            let mut bytes = three_grains().build();
            put(&mut bytes, DIRECTORY + 4, damage);
            let image = Files::default().with("self.vmdk", bytes).open("self.vmdk").unwrap();
            assert_eq!(read(&*image.device, 600 * 4096, 1).unwrap(), [0xA2]);
            assert_eq!(image.findings.len(), 1);
            assert!(
                image.findings[0].code == "vmdk-grain-directory-damaged"
                    && image.findings[0].to_string().starts_with("1 of 2 ")
            );
        }
        let mut bytes = three_grains().build();
        bytes[0x38..0x40].copy_from_slice(&0x0100_0000_u64.to_le_bytes());
        let image = Files::default().with("self.vmdk", bytes).open("self.vmdk").unwrap();
        assert_eq!(read(&*image.device, 0, 1).unwrap(), [0xA0]);
        assert!(
            image.findings[0].code == "vmdk-grain-directory-damaged"
                && image.findings[0].to_string().starts_with("2 of 2 ")
        );
    }

    #[test]
    fn a_grain_table_outside_the_file_without_a_copy_is_corrupt() {
        let mut bytes = three_grains().build();
        put(&mut bytes, DIRECTORY + 4, 0x1000_0000);
        put(&mut bytes, REDUNDANT_DIRECTORY + 4, 0);
        let error = read_error(bytes, 600 * 4096);
        assert_eq!((error.0, error.1), (BlockErrorKind::Corrupt, Some(0x20_0000_0000)));
        assert_eq!(error.2, "grain table is not inside the file");
    }

    #[test]
    fn grain_directories_outside_the_file_are_corrupt() {
        let mut bytes = three_grains().build();
        bytes[0x30..0x38].copy_from_slice(&0x0100_0000_u64.to_le_bytes());
        bytes[0x38..0x40].copy_from_slice(&0x0200_0000_u64.to_le_bytes());
        let error = Files::default().with("self.vmdk", bytes).error("self.vmdk");
        assert_eq!((error.0, error.1), (BlockErrorKind::Corrupt, Some(0x4_0000_0000)));
    }

    #[test]
    fn a_capacity_beyond_the_file_allocates_nothing() {
        let mut bytes = three_grains().build();
        bytes[0x0C..0x14].copy_from_slice(&(MAX_DISK_BYTES / 512).to_le_bytes());
        let error = Files::default().with("self.vmdk", bytes).error("self.vmdk");
        assert_eq!(error.0, BlockErrorKind::Corrupt);
        assert_eq!(error.2, "grain directory is not inside the file");
    }

    #[test]
    fn a_directory_beyond_the_budget_is_unsupported() {
        let budget = TableBudget::new();
        assert_eq!(budget.take_directory(1 << 20).unwrap(), 1 << 20);
        let error = budget.take_directory((1 << 20) + 1).unwrap_err();
        assert_eq!(error.kind(), BlockErrorKind::Unsupported);
        assert!(budget.take_directory(u64::MAX).is_err());
        assert!(budget.take_directory(1 << 20).is_ok());
    }

    #[test]
    fn an_image_that_was_not_closed_has_a_finding() {
        let mut bytes = three_grains().build();
        bytes[0x48] = 1;
        let image = Files::default().with("self.vmdk", bytes).open("self.vmdk").unwrap();
        assert!(image.findings[0].code == "vmdk-unclean-shutdown");
    }

    #[test]
    fn zeroed_grains_hide_the_parent_and_holes_do_not() {
        let parent = SparseBuilder::new(CAPACITY / 2).grain(0, 1).grain(1, 2).grain(2, 3);
        let child = SparseBuilder::new(CAPACITY).parent(1, "p.vmdk").grain(0, 9).zeroed(1);
        let files =
            Files::default().with("self.vmdk", child.build()).with("p.vmdk", parent.build());
        let image = files.open("self.vmdk").unwrap();
        let bytes = read(&*image.device, 0, 4 * GRAIN).unwrap();
        let seen: Vec<_> = bytes.chunks(GRAIN).map(|grain| grain[GRAIN / 2]).collect();
        assert_eq!(seen, [9, 0, 3, 0]);
        // Behind the end of the parent there are zeros, also in a read across the end.
        let bytes = read(&*image.device, CAPACITY / 2 - 512, 1024).unwrap();
        assert_eq!(bytes, [0; 1024]);
        let kinds: Vec<_> =
            (0..4).map(|grain| image.device.extent_at(grain * 4096).unwrap().kind).collect();
        use ExtentKind::{Data, Zero};
        assert_eq!(kinds, [Data, Zero, Data, Zero]);
    }

    #[test]
    fn an_extent_reaches_over_its_neighbours_of_one_kind() {
        let files = Files::default().with("self.vmdk", three_grains().zeroed(5).build());
        let device = files.open("self.vmdk").unwrap().device;
        let extent = device.extent_at(1000).unwrap();
        assert_eq!((extent.kind, extent.length), (ExtentKind::Data, 2 * 4096 - 1000));
        let extent = device.extent_at(2 * 4096 + 1).unwrap();
        assert_eq!((extent.kind, extent.length), (ExtentKind::Zero, 598 * 4096 - 1));
        let extent = device.extent_at(601 * 4096).unwrap();
        assert_eq!((extent.kind, extent.length), (ExtentKind::Zero, CAPACITY - 601 * 4096));
        let error = device.extent_at(CAPACITY).unwrap_err();
        assert_eq!(error.kind(), BlockErrorKind::OutOfRange);
    }

    #[test]
    fn one_question_about_an_extent_touches_a_bounded_number_of_tables() {
        let file = Arc::new(Recorder::new(SparseBuilder::new(200 << 20).build()));
        let files = Files::default().with_device("self.vmdk", file.clone());
        let device = files.open("self.vmdk").unwrap().device;
        file.reads.lock().unwrap().clear();
        let extent = device.extent_at(0).unwrap();
        assert_eq!(extent.kind, ExtentKind::Zero);
        assert_eq!(extent.length, (MAX_TABLES_PER_QUESTION + 1) * 512 * 4096);
        assert!(file.reads.lock().unwrap().len() <= 17);
    }

    #[test]
    fn absent_tables_are_stepped_over_without_a_read() {
        let mut bytes = SparseBuilder::new(200 << 20).build();
        let tables = 100;
        for directory in [DIRECTORY, REDUNDANT_DIRECTORY] {
            bytes[directory..directory + 4 * tables].fill(0);
        }
        let file = Arc::new(Recorder::new(bytes));
        let files = Files::default().with_device("self.vmdk", file.clone());
        let device = files.open("self.vmdk").unwrap().device;
        file.reads.lock().unwrap().clear();
        assert_eq!(device.extent_at(5).unwrap().length, (200 << 20) - 5);
        assert_eq!(read(&*device, 100 << 20, 8).unwrap(), [0; 8]);
        assert_eq!(file.reads.lock().unwrap().len(), 0);
    }
}
