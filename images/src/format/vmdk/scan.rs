//! The markers of a stream-optimized extent whose footer is missing.
//!
//! Specification: VMware Virtual Disk Format 5.0, "Stream-optimized compressed sparse extents".
//! Every block begins at a sector with a marker: a grain's (see [`super::grain`]), or one with
//! `size` 0, whose `lba` counts the sectors that follow and whose third field is the type.
//!
//! | offset | size | field     | rule                                                   |
//! |--------|------|-----------|--------------------------------------------------------|
//! | 0x00   | 8    | `sectors` | of the metadata after this sector                     |
//! | 0x08   | 4    | `size`    | 0                                                      |
//! | 0x0C   | 4    | `type`    | 0 end, 1 grain table, 2 grain directory, 3 footer      |
//!
//! A stream is written in the order of the disk. So in a file that was cut short each grain before
//! the last one found is known, as a grain or as a hole; after it nothing is.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::{Arc, OnceLock};

use crate::format::vmdk::directory::{GrainDirectory, Layout, TableBudget};
use crate::format::vmdk::footer::footer_at;
use crate::format::vmdk::grain::{GrainMarker, MARKER_BYTES};
use crate::format::vmdk::header::{SECTOR, SparseHeader};
use crate::format::vmdk::table::{GRAINS_PER_TABLE, TABLE_ENTRIES, Table};
use crate::note::PartLog;
use volfold_block::{BlockDevice, BlockError, BlockResult, Finding, bytes_to_index, code};

const TYPE_END: u32 = 0;
const TYPE_FOOTER: u32 = 3;

/// What the markers said.
enum Outcome {
    /// A footer, in front of bytes that do not belong to the stream.
    Footer(SparseHeader),
    /// The stream ended where this grain would follow.
    Cut(u64),
}

/// Finds the grain directory of the extent in `file` by its markers, and where the knowledge of
/// the extent ends.
///
/// # Errors
/// `Corrupt` if there is no footer and the markers are no stream in the order of the disk.
pub(super) fn rebuild(
    file: &Arc<dyn BlockDevice>,
    header: &SparseHeader,
    budget: &Arc<TableBudget>,
    log: &PartLog,
) -> BlockResult<(GrainDirectory, u64)> {
    if !header.compressed {
        let sentence = "sparse extent has neither a footer nor markers";
        return Err(BlockError::corrupt(sentence, 0, 0x38));
    }
    let mut found = BTreeMap::new();
    match walk(&**file, header, budget, &mut found)? {
        Outcome::Footer(footer) => {
            let Some(layout) = Layout::of(&footer, file.size()) else {
                return Err(BlockError::corrupt("footer names no grain directory", 0, 0x38));
            };
            let file = Arc::clone(file);
            let directory = GrainDirectory::read(file, &layout, Arc::clone(budget), log)?;
            Ok((directory, header.capacity))
        }
        Outcome::Cut(0) => {
            let sentence = "sparse extent has neither a footer nor a whole grain";
            Err(BlockError::corrupt(sentence, 0, 0x38))
        }
        Outcome::Cut(next_grain) => {
            let known = next_grain.saturating_mul(header.grain_size).min(header.capacity);
            log.add(Finding::warning(
                code::VMDK_CUT_SHORT,
                format!(
                    "the file has no footer; only the first {known} of {} bytes \
                 can be read",
                    header.capacity
                ),
            ));
            let layout = Layout::without_directory(header, file.size());
            let count = budget.take_directory(layout.tables)?;
            let mut slots: Vec<OnceLock<Box<Table>>> = Vec::with_capacity(count);
            slots.resize_with(count, OnceLock::new);
            for (index, table) in found {
                if let Some(slot) = slots.get_mut(bytes_to_index(index)?) {
                    *slot = OnceLock::from(table);
                }
            }
            let (file, budget) = (Arc::clone(file), Arc::clone(budget));
            let directory = GrainDirectory::from_tables(file, &layout, slots.into(), budget, log);
            Ok((directory, known))
        }
    }
}

/// Walks over the markers and collects the grains in `found`, by the number of their table.
fn walk(
    file: &dyn BlockDevice,
    header: &SparseHeader,
    budget: &TableBudget,
    found: &mut BTreeMap<u64, Box<Table>>,
) -> BlockResult<Outcome> {
    let file_size = file.size();
    let mut at = header.over_head.max(SECTOR);
    let mut next_grain: u64 = 0;
    while budget.take_marker() {
        let mut bytes = [0; 16];
        let end_of_marker = at.saturating_add(16);
        if end_of_marker > file_size {
            return Ok(Outcome::Cut(next_grain));
        }
        file.read_at(at, &mut bytes)?;
        let Some(marker) = GrainMarker::parse(&bytes) else {
            return Ok(Outcome::Cut(next_grain));
        };
        if marker.size == 0 {
            let (_, kind) = bytes.split_last_chunk::<4>().unwrap_or((&[], &[0; 4]));
            match u32::from_le_bytes(*kind) {
                TYPE_END => return Ok(Outcome::Cut(next_grain)),
                TYPE_FOOTER if at.saturating_add(2 * SECTOR) <= file_size => {
                    let footer = footer_at(file, at.saturating_add(SECTOR), header)?;
                    return Ok(footer.map_or(Outcome::Cut(next_grain), Outcome::Footer));
                }
                _ => {}
            }
            let skipped = marker.lba.saturating_add(1).saturating_mul(SECTOR);
            at = at.saturating_add(skipped);
            continue;
        }
        let end = at.saturating_add(MARKER_BYTES).saturating_add(marker.size);
        if end > file_size {
            return Ok(Outcome::Cut(next_grain));
        }
        let position = marker.lba.saturating_mul(SECTOR);
        let number = position >> header.grain_size.trailing_zeros();
        let is_in_order = position.is_multiple_of(header.grain_size) && number >= next_grain;
        let is_inside = number < header.capacity.div_ceil(header.grain_size);
        if !is_in_order || !is_inside || !marker.has_possible_size(header.grain_size) {
            let sentence = "sparse extent has no footer, and its markers are no stream";
            return Err(BlockError::corrupt(sentence, at, 0));
        }
        note(found, number, at, budget)?;
        next_grain = number.saturating_add(1);
        at = end.checked_next_multiple_of(SECTOR).unwrap_or(u64::MAX);
    }
    let sentence = "sparse extent has no footer and too many blocks to search";
    Err(BlockError::corrupt(sentence, at, 0))
}

/// Notes that the grain `number` is at `at`.
fn note(
    found: &mut BTreeMap<u64, Box<Table>>,
    number: u64,
    at: u64,
    budget: &TableBudget,
) -> BlockResult<()> {
    let index = number / GRAINS_PER_TABLE;
    let table = match found.entry(index) {
        Entry::Occupied(entry) => entry.into_mut(),
        Entry::Vacant(entry) => {
            if !budget.take_table() {
                let sentence = "sparse extent has no footer and is too large to search";
                return Err(BlockError::corrupt(sentence, at, 0));
            }
            entry.insert(Box::new(Table::sound([0; TABLE_ENTRIES])))
        }
    };
    let sector = u32::try_from(at / SECTOR)
        .map_err(|_| BlockError::corrupt("grain is past what a grain table can name", at, 0))?;
    if let Some(entry) = table.entries.get_mut(bytes_to_index(number % GRAINS_PER_TABLE)?) {
        *entry = sector;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use crate::format::vmdk::directory::TableBudget;
    use crate::format::vmdk::open_with;
    use crate::format::vmdk::testing::SparseBuilder;
    use crate::testing::{Files, context, read};
    use volfold_block::{BlockErrorKind, ExtentKind};

    const CAPACITY: u64 = 4 << 20;
    const FIRST: usize = 32 * 512;

    fn stream() -> Vec<u8> {
        SparseBuilder::new(CAPACITY).grain(1, 7).grain(3, 8).grain(700, 9).stream().build()
    }

    #[track_caller]
    fn error_of(bytes: Vec<u8>) -> (BlockErrorKind, Option<u64>, String) {
        Files::default().with("s.vmdk", bytes).error("s.vmdk")
    }

    #[test]
    fn a_stream_that_was_cut_short_is_readable_up_to_the_cut() {
        let whole = stream();
        // After the second grain, of one sector each.
        for length in [FIRST + 2 * 512, FIRST + 2 * 512 + 14, FIRST + 2 * 512 + 20] {
            let mut bytes = whole.clone();
            bytes.truncate(length);
            let image = Files::default().with("s.vmdk", bytes).open("s.vmdk").unwrap();
            assert_eq!(image.device.size(), CAPACITY);
            assert!(image.log.all()[0].code == "vmdk-cut-short");
            assert_eq!(read(&*image.device, 2 * 4096 - 1, 2).unwrap(), [7, 0]);
            assert_eq!(read(&*image.device, 4 * 4096 - 1, 1).unwrap(), [8]);
            for (offset, size) in [(4 * 4096, 1), (4 * 4096 - 1, 2), (700 * 4096, 1)] {
                let error = read(&*image.device, offset, size).unwrap_err();
                assert_eq!(error.kind(), BlockErrorKind::Corrupt);
            }
            let kinds: Vec<_> = [0, 1, 2, 4, 701]
                .map(|grain| image.device.extent_at(grain * 4096).unwrap().kind)
                .into();
            use ExtentKind::{Data, Zero};
            assert_eq!(kinds, [Zero, Data, Zero, Data, Data]);
        }
    }

    #[test]
    fn bytes_after_the_stream_do_not_hide_its_footer() {
        let mut bytes = stream();
        bytes.resize(bytes.len() + 5000, 0);
        let image = Files::default().with("s.vmdk", bytes).open("s.vmdk").unwrap();
        assert!(image.log.all().is_empty());
        assert_eq!(read(&*image.device, 700 * 4096, 1).unwrap(), [9]);
        assert_eq!(read(&*image.device, CAPACITY - 1, 1).unwrap(), [0]);
    }

    #[test]
    fn markers_that_are_no_stream_are_corrupt() {
        // Out of order, past the end, inside a grain, of an impossible size.
        for (at, value) in [(0, 24_u32), (0, 1 << 20), (0, 9), (8, 100_000)] {
            let mut bytes = stream();
            bytes[FIRST + at..FIRST + at + 4].copy_from_slice(&value.to_le_bytes());
            bytes.resize(bytes.len() + 200_000, 0);
            let error = error_of(bytes);
            let position = if value == 24 { FIRST + 512 } else { FIRST };
            assert_eq!(error.0, BlockErrorKind::Corrupt);
            assert_eq!(error.1, Some(u64::try_from(position).unwrap()));
        }
    }

    #[test]
    fn an_extent_without_footer_and_grains_is_corrupt() {
        let mut bytes = stream();
        bytes.truncate(FIRST);
        let error = error_of(bytes);
        assert_eq!((error.0, error.1), (BlockErrorKind::Corrupt, Some(0x38)));
    }

    #[test]
    fn a_plain_extent_without_directory_is_corrupt() {
        let mut bytes = SparseBuilder::new(CAPACITY).grain(0, 1).build();
        bytes[0x38..0x40].fill(0xFF);
        let error = error_of(bytes);
        assert_eq!((error.0, error.1), (BlockErrorKind::Corrupt, Some(0x38)));
    }

    #[test]
    fn a_footer_that_contradicts_the_header_is_corrupt() {
        let mut bytes = stream();
        let footer = bytes.len() - 1024;
        bytes[footer + 0x0C] ^= 8;
        let error = error_of(bytes);
        let position = u64::try_from(footer).unwrap();
        assert_eq!((error.0, error.1), (BlockErrorKind::Corrupt, Some(position)));
    }

    #[test]
    fn the_search_spends_no_more_than_its_budget() {
        let mut bytes = stream();
        bytes.truncate(FIRST + 3 * 512);
        let files = Files::default().with("s.vmdk", bytes);
        for (tables, markers, is_enough) in [(9, 4, true), (9, 3, false), (1, 9, false)] {
            let file = files.located("s.vmdk");
            let budget = Arc::new(TableBudget::with(tables, markers));
            let result = open_with(&file, &budget, &context());
            assert_eq!(result.is_ok(), is_enough);
            if let Err(error) = result {
                assert_eq!(error.kind(), BlockErrorKind::Corrupt);
            }
        }
    }

    #[test]
    fn a_footer_that_points_to_itself_ends_the_search() {
        let mut bytes = stream();
        let footer = bytes.len() - 1024;
        bytes[footer + 0x38..footer + 0x40].fill(0xFF);
        let image = Files::default().with("s.vmdk", bytes).open("s.vmdk").unwrap();
        assert_eq!(read(&*image.device, 700 * 4096, 1).unwrap(), [9]);
        assert!(read(&*image.device, 701 * 4096, 1).is_err());
    }
}
