//! A hosted sparse extent: a file that holds only the grains that were written.
//!
//! Specification: VMware Virtual Disk Format 5.0, "Hosted sparse extents" and "Stream-optimized
//! compressed sparse extents". The header is in [`super::header`], the tables are in
//! [`super::directory`], compressed grains in [`super::grain`].

use std::sync::Arc;

use crate::format::vmdk::directory::{Grain, GrainDirectory, Layout, Lookup, TableBudget};
use crate::format::vmdk::grain::CompressedGrain;
use crate::format::vmdk::header::{DirectoryPlace, SECTOR, SparseHeader};
use crate::format::vmdk::table::GRAINS_PER_TABLE;
use crate::format::vmdk::{footer, scan};
use crate::note::PartLog;
use volfold_block::{BlockDevice, BlockError, BlockResult, Finding, code};

/// LIMIT: how many grain tables one answer of [`SparseExtent::locate`] may touch; it then ends early.
const MAX_TABLES_PER_ANSWER: u64 = 16;

/// LIMIT: the same for tables that are known to be absent without a read.
const MAX_ABSENT_TABLES_PER_ANSWER: u64 = 1 << 16;

/// Where bytes of a sparse extent are.
pub(super) enum Grains {
    /// Where the parent has them, or zeros without one.
    Hole,
    /// Nowhere, whatever the parent says.
    Zeroed,
    /// In the file, as they are, from this byte on.
    Stored(u64),
    /// In the compressed grain with this number.
    Compressed(u64),
    /// Nowhere to be had.
    Lost(BlockError),
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

impl SparseExtent {
    /// Opens the extent with `header` in `file`; what is wrong with it goes to `log`.
    ///
    /// # Errors
    /// `Corrupt` or `Unsupported` if the grain directory cannot be used.
    pub(super) fn open(
        file: Arc<dyn BlockDevice>,
        header: SparseHeader,
        budget: &Arc<TableBudget>,
        log: &PartLog,
    ) -> BlockResult<Self> {
        let file_size = file.size();
        if header.unclean_shutdown {
            log.add(Finding::warning(
                code::VMDK_UNCLEAN_SHUTDOWN,
                "the file was not closed; the last writes may be missing",
            ));
        }
        let header = match header.directory {
            DirectoryPlace::At(_) => header,
            DirectoryPlace::InFooter => footer::footer(&*file, &header)?.unwrap_or(header),
        };
        let (directory, known) = match Layout::of(&header, file_size) {
            Some(layout) => {
                let file = Arc::clone(&file);
                let directory = GrainDirectory::read(file, &layout, Arc::clone(budget), log)?;
                (directory, header.capacity)
            }
            None => scan::rebuild(&file, &header, budget, log)?,
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

    /// The file that grains are stored in.
    pub(super) fn file(&self) -> &dyn BlockDevice {
        &*self.file
    }

    /// The size of a grain in bytes.
    pub(super) fn grain_size(&self) -> u64 {
        self.grain_size
    }

    /// Whether grains are compressed.
    pub(super) fn is_compressed(&self) -> bool {
        self.compressed
    }

    /// How many bytes of its grain come before `position`.
    pub(super) fn within_grain(&self, position: u64) -> u64 {
        // INVARIANT: `SparseHeader::parse` made sure that the grain size is a power of two.
        position & self.grain_size.saturating_sub(1)
    }

    /// Where the bytes at `position` are, and how many lie together; what comes after `wanted` of
    /// them is not looked at. Where there is no parent, holes and zeroed grains are one.
    ///
    /// # Errors
    /// Why the grain table cannot be read, `OutOfRange` past the end.
    pub(super) fn locate(
        &self,
        position: u64,
        wanted: u64,
        has_parent: bool,
    ) -> BlockResult<(Grains, u64)> {
        let left = self.capacity.checked_sub(position).filter(|left| *left > 0);
        let left = left.ok_or_else(|| BlockError::out_of_range(position, 1, self.capacity))?;
        if position >= self.known {
            let sentence = "grain lies past the place where the file was cut short";
            let error = BlockError::corrupt(sentence, self.file_size, 0);
            return Ok((Grains::Lost(error), left));
        }
        let left = left.min(self.known.saturating_sub(position));
        let skip = self.within_grain(position);
        let first = position >> self.grain_size.trailing_zeros();
        let mut lookup = self.directory.lookup();
        let same = |grain| if has_parent || grain != Grain::Zeroed { grain } else { Grain::Hole };
        let grain = match lookup.grain(first)? {
            Ok(grain) => same(grain),
            Err(error) => {
                let length = self.grain_size.saturating_sub(skip).min(left);
                return Ok((Grains::Lost(error), length));
            }
        };
        let one = self.grain_size.saturating_sub(skip);
        match grain {
            Grain::Stored(_) if self.compressed => Ok((Grains::Compressed(first), one.min(left))),
            Grain::Stored(at) => {
                let length = self.joined(lookup, (first, grain), skip, wanted, same).min(left);
                let from = at.saturating_add(skip);
                Ok(match self.file_size.checked_sub(from) {
                    Some(stored @ 1..) => (Grains::Stored(from), length.min(stored)),
                    _ => {
                        let sentence = "grain is cut short by the end of the file";
                        let error = BlockError::corrupt(sentence, from, 0);
                        (Grains::Lost(error), one.min(left))
                    }
                })
            }
            Grain::Hole | Grain::Zeroed => {
                let length = self.joined(lookup, (first, grain), skip, wanted, same).min(left);
                let place = if grain == Grain::Hole { Grains::Hole } else { Grains::Zeroed };
                Ok((place, length))
            }
        }
    }

    /// How many bytes from `skip` bytes into the grain number `first`, which is at `grain`, lie
    /// together, until they are `wanted` or the search has to end; `same` says what counts as one.
    fn joined(
        &self,
        mut lookup: Lookup<'_>,
        (first, grain): (u64, Grain),
        skip: u64,
        wanted: u64,
        same: impl Fn(Grain) -> Grain,
    ) -> u64 {
        let grains = self.capacity.div_ceil(self.grain_size);
        let (mut tables, mut absent) = (0_u64, 0_u64);
        let (mut last, mut number) = (grain, first.saturating_add(1));
        let mut length = self.grain_size.saturating_sub(skip);
        while number < grains && length < wanted {
            let mut step = 1;
            if number.is_multiple_of(GRAINS_PER_TABLE) {
                if lookup.is_absent(number / GRAINS_PER_TABLE) {
                    absent = absent.saturating_add(1);
                    if grain != Grain::Hole || absent > MAX_ABSENT_TABLES_PER_ANSWER {
                        break;
                    }
                    step = GRAINS_PER_TABLE;
                } else {
                    tables = tables.saturating_add(1);
                    if tables > MAX_TABLES_PER_ANSWER {
                        break;
                    }
                }
            }
            if step == 1 {
                // Damage ends the answer; the question about it will get the error.
                let Ok(Ok(next)) = lookup.grain(number) else { break };
                let next = same(next);
                let goes_on = match (last, next) {
                    (Grain::Stored(last), Grain::Stored(next)) => {
                        last.checked_add(self.grain_size) == Some(next)
                    }
                    (last, next) => last == next,
                };
                if !goes_on {
                    break;
                }
                last = next;
            }
            number = number.saturating_add(step);
            length = length.saturating_add(self.grain_size.saturating_mul(step));
        }
        length
    }

    /// Fills `out`, which has the size of a grain, with the bytes of the compressed grain number
    /// `number`.
    ///
    /// # Errors
    /// Why they cannot be had.
    pub(super) fn inflate(&self, number: u64, out: &mut [u8]) -> BlockResult<()> {
        let at = match self.directory.lookup().grain(number)?? {
            Grain::Stored(at) => at,
            Grain::Hole | Grain::Zeroed => {
                out.fill(0);
                return Ok(());
            }
        };
        let start = number.saturating_mul(self.grain_size);
        let grain = CompressedGrain {
            file: &*self.file,
            at,
            lba: start / SECTOR,
            grain_size: self.grain_size,
            needed: self.capacity.saturating_sub(start).min(self.grain_size),
        };
        grain.read(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::vmdk::header::MAX_DISK_BYTES;
    use crate::format::vmdk::open_with;
    use crate::format::vmdk::testing::{
        DIRECTORY, GRAIN, REDUNDANT_DIRECTORY, REDUNDANT_TABLE, SparseBuilder, TABLE,
    };
    use crate::testing::{Files, Recorder, context, read};
    use volfold_block::{BlockErrorKind, Extent, ExtentKind};

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
        assert!(image.log.all().is_empty());
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
        let files = Files::default().with("self.vmdk", three_grains().build());
        let budget = Arc::new(TableBudget::with(0, 0));
        let image = open_with(&files.located("self.vmdk"), &budget, &context()).unwrap();
        for _ in 0..2 {
            let bytes = read(&*image.device, 0, 700 * GRAIN).unwrap();
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

    #[track_caller]
    fn check_codes(image: &crate::format::DiskImage, wanted: &[&str]) {
        let codes: Vec<_> = image.log.all().iter().map(|it| it.code.as_str()).collect();
        assert_eq!(codes, wanted);
    }

    #[test]
    fn a_grain_in_doubt_is_an_error_and_its_neighbours_are_not() {
        for (place, value) in [(TABLE, 0), (REDUNDANT_TABLE, 0), (TABLE, 1600), (TABLE, 1)] {
            let mut bytes = three_grains().zeroed(9).build();
            bytes.resize(2000 * 512, 0);
            put(&mut bytes, place + 4, value);
            let files = Files::default().with("self.vmdk", bytes);
            let image = files.open("self.vmdk").unwrap();
            assert_eq!(read(&*image.device, 0, 1).unwrap(), [0xA0]);
            let error = read(&*image.device, 4096, 1).unwrap_err();
            assert_eq!(error.kind(), BlockErrorKind::Corrupt);
            assert!(error.message().contains("and its copy differ"), "{error}");
            assert_eq!(read(&*image.device, 2 * 4096, 1).unwrap(), [0]);
            check_codes(&image, &["vmdk-grain-tables-differ"]);
            assert_eq!(image.device.extent_at(4096).unwrap().kind, ExtentKind::Data);
        }
    }

    #[test]
    fn a_damaged_copy_of_a_table_is_told_and_costs_nothing() {
        let mut bytes = three_grains().build();
        bytes[REDUNDANT_TABLE..REDUNDANT_TABLE + 8].fill(0xEE);
        let files = Files::default().with("self.vmdk", bytes);
        let image = files.open("self.vmdk").unwrap();
        for _ in 0..2 {
            assert_eq!(read(&*image.device, 4095, 2).unwrap(), [0xA0, 0xA1]);
            check_codes(&image, &["vmdk-grain-table-damaged"]);
        }
    }

    #[test]
    fn entries_that_point_into_the_metadata_are_refused() {
        for value in [2, 4, 9, 20, 31] {
            let mut bytes = three_grains().build();
            put(&mut bytes, TABLE + 4, value);
            put(&mut bytes, REDUNDANT_TABLE + 4, value);
            let error = read_error(bytes, 4096);
            assert_eq!((error.0, error.1), (BlockErrorKind::Corrupt, Some(u64::from(value) * 512)));
            assert_eq!(error.2, "grain table entry points into the metadata of the file");
        }
    }

    #[test]
    fn a_wrong_metadata_size_refuses_no_grain() {
        for over_head in [0_u64, 1 << 40] {
            let mut bytes = three_grains().build();
            bytes[0x40..0x48].copy_from_slice(&over_head.to_le_bytes());
            let image = Files::default().with("self.vmdk", bytes).open("self.vmdk").unwrap();
            assert_eq!(read(&*image.device, 4095, 2).unwrap(), [0xA0, 0xA1]);
            check_codes(&image, &[]);
        }
    }

    #[test]
    fn grains_of_one_place_are_errors_also_across_tables() {
        let tables = 2 * 4096;
        let second = [TABLE + tables / 2, REDUNDANT_TABLE + tables / 2];
        let mut bytes = three_grains().build();
        for table in second {
            put(&mut bytes, table + 4 * (601 - 512), 40);
        }
        let image = Files::default().with("self.vmdk", bytes).open("self.vmdk").unwrap();
        // Alone it looks right.
        assert_eq!(read(&*image.device, 4096, 1).unwrap(), [0xA1]);
        let error = read(&*image.device, 601 * 4096, 1).unwrap_err();
        assert!(error.message().contains("another grain has too"), "{error}");
        check_codes(&image, &["vmdk-grains-overlap"]);
        assert!(read(&*image.device, 4096, 1).is_err());
        assert_eq!(read(&*image.device, 600 * 4096, 1).unwrap(), [0xA2]);
        assert_eq!(read(&*image.device, 0, 1).unwrap(), [0xA0]);
    }

    #[test]
    fn tables_that_are_not_kept_claim_their_places_once() {
        let files = Files::default().with("self.vmdk", three_grains().build());
        let budget = Arc::new(TableBudget::with(0, 0));
        let image = open_with(&files.located("self.vmdk"), &budget, &context()).unwrap();
        for _ in 0..3 {
            read(&*image.device, 0, 700 * GRAIN).unwrap();
        }
        check_codes(&image, &[]);
    }

    #[test]
    fn shared_places_stay_errors_however_many_there_are() {
        // Tables 10 to 19 name the places of tables 0 to 9: 5120 places. None of them is kept.
        let grains = 10 * 512;
        let builder = (0..grains)
            .fold(SparseBuilder::new(40 << 20), |builder, grain| builder.grain(grain, 0xC0));
        let mut bytes = builder.build();
        let tables = 10 * 4096;
        bytes.copy_within(REDUNDANT_TABLE..REDUNDANT_TABLE + tables, REDUNDANT_TABLE + tables);
        let files = Files::default().with("self.vmdk", bytes);
        for tables in [0, 1000] {
            let budget = Arc::new(TableBudget::with(tables, 0));
            let image = open_with(&files.located("self.vmdk"), &budget, &context()).unwrap();
            for table in 0..20 {
                let _ = read(&*image.device, table * 512 * 4096, 1);
            }
            for grain in 0..2 * grains {
                let error = read(&*image.device, grain * 4096, 1).unwrap_err();
                assert!(error.message().contains("another grain has too"), "{grain}: {error}");
            }
        }
    }

    #[test]
    fn an_odd_directory_entry_that_no_copy_confirms_is_told() {
        let mut bytes = eight_tables().build();
        let place = u32::from_le_bytes(bytes[DIRECTORY + 4..][..4].try_into().unwrap());
        put(&mut bytes, DIRECTORY + 4 * 5, place);
        for copy in [0, u32::MAX] {
            put(&mut bytes, REDUNDANT_DIRECTORY + 4 * 5, copy);
            let image =
                Files::default().with("self.vmdk", bytes.clone()).open("self.vmdk").unwrap();
            let findings: Vec<String> =
                image.log.all().iter().map(|finding| finding.message.clone()).collect();
            let told = |line: &&String| line.contains("are not where all others are");
            assert_eq!(findings.iter().filter(told).count(), 1, "{findings:?}");
        }
    }

    /// Eight tables, so that their places show a pattern.
    fn eight_tables() -> SparseBuilder {
        (0..8).fold(SparseBuilder::new(16 << 20), |builder, table| {
            builder.grain(table * 512, 0xB0 + u8::try_from(table).unwrap())
        })
    }

    #[test]
    fn a_directory_entry_that_breaks_the_pattern_is_taken_from_the_copy() {
        // Another table, a grain, the descriptor: all of it is in the file.
        for (directory, value) in [
            (DIRECTORY, 20),
            (DIRECTORY, 90),
            (DIRECTORY, 1),
            (DIRECTORY, 0),
            (REDUNDANT_DIRECTORY, 16),
            (REDUNDANT_DIRECTORY, 90),
            (REDUNDANT_DIRECTORY, 0),
        ] {
            let mut bytes = eight_tables().build();
            put(&mut bytes, directory + 4 * 5, value);
            let image = Files::default().with("self.vmdk", bytes).open("self.vmdk").unwrap();
            check_codes(&image, &["vmdk-grain-directory-damaged"]);
            for table in 0..8 {
                let wanted = 0xB0 + u8::try_from(table).unwrap();
                assert_eq!(read(&*image.device, table * 512 * 4096, 1).unwrap(), [wanted]);
            }
            check_codes(&image, &["vmdk-grain-directory-damaged"]);
        }
    }

    #[test]
    fn a_grain_outside_the_file_harms_only_its_own_reads() {
        let mut bytes = three_grains().build();
        put(&mut bytes, TABLE + 4, 0x1000_0000);
        put(&mut bytes, REDUNDANT_TABLE + 4, 0x1000_0000);
        let files = Files::default().with("self.vmdk", bytes.clone());
        let image = files.open("self.vmdk").unwrap();
        assert_eq!(read(&*image.device, 0, 1).unwrap(), [0xA0]);
        // What cannot be had has to be read, so that it is reported.
        let lost = Extent { kind: ExtentKind::Data, length: 2 * 4096 };
        assert_eq!(image.device.extent_at(0).unwrap(), lost);
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
        let end = u64::try_from(end).unwrap();
        assert_eq!((error.0, error.1), (BlockErrorKind::Corrupt, Some(end)));
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
            assert_eq!(image.log.all().len(), 1);
            assert!(
                image.log.all()[0].code == "vmdk-grain-directory-damaged"
                    && image.log.all()[0].to_string().starts_with("1 of 2 ")
            );
        }
        let mut bytes = three_grains().build();
        bytes[0x38..0x40].copy_from_slice(&0x0100_0000_u64.to_le_bytes());
        let image = Files::default().with("self.vmdk", bytes).open("self.vmdk").unwrap();
        assert_eq!(read(&*image.device, 0, 1).unwrap(), [0xA0]);
        assert!(
            image.log.all()[0].code == "vmdk-grain-directory-damaged"
                && image.log.all()[0].to_string().starts_with("2 of 2 ")
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
        assert!(image.log.all()[0].code == "vmdk-unclean-shutdown");
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
        // Past the end of the parent there are zeros, also in a read across the end.
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
        assert_eq!(extent.length, (MAX_TABLES_PER_ANSWER + 1) * 512 * 4096);
        // Each of them once, and its copy.
        assert!(file.reads.lock().unwrap().len() <= 2 * 17);
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
