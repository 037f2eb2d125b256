//! The grain directory and the grain tables of a hosted sparse extent.
//!
//! Specification: VMware Virtual Disk Format 5.0, "Hosted sparse extents". Both are arrays of
//! little-endian 32-bit sector numbers. A grain directory entry names a grain table of 512
//! entries, or is 0 where every grain of that table is absent. A grain table entry is
//!
//! | value | meaning                                                       |
//! |-------|---------------------------------------------------------------|
//! | 0     | hole: the parent's bytes, zeros without a parent              |
//! | 1     | zeroed grain, in extents that have them                       |
//! | other | sector of the grain, or of its marker in a compressed extent  |
//!
//! Most writers keep both twice. The redundant copies stand in, entry by entry, for primary ones
//! that lie outside the file.
//!
//! The directory is read when the extent is opened, a table when a read first touches it. Tables
//! are kept until the [`TableBudget`] of the image is spent; later ones are read on each request,
//! so that memory stays bounded and reads take no lock.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use crate::format::vmdk::header::SECTOR;
use volfold_block::{
    BlockDevice, BlockError, BlockErrorKind, BlockResult, byte_count, bytes_to_index,
};

/// Entries of a grain table.
pub(super) const TABLE_ENTRIES: usize = 512;

/// The same as a count of grains.
pub(super) const GRAINS_PER_TABLE: u64 = 512;

const TABLE_BYTES: usize = 2048;
const ENTRY_BYTES: u64 = 4;

/// LIMIT: grain directory entries of all files of an image, the parents included. Enough for
/// 64 TiB in grains of 64 KiB; costs at most 48 MiB.
const MAX_DIRECTORY_ENTRIES: usize = 1 << 21;

/// LIMIT: grain tables of all files of an image that are kept in memory: 32 MiB.
const MAX_KEPT_TABLES: usize = 1 << 14;

/// LIMIT: markers of all files of an image that are looked at to stand in for a missing footer:
/// 64 GiB of disk in grains of 64 KiB.
const MAX_MARKERS: usize = 1 << 20;

/// How much of the grain directory is read at once.
const DIRECTORY_CHUNK: usize = 64 * 1024;

/// What the tables of all files of one image may still take of memory and time.
pub(super) struct TableBudget {
    directory_entries: AtomicUsize,
    tables: AtomicUsize,
    markers: AtomicUsize,
}

impl TableBudget {
    pub(super) fn new() -> Self {
        Self {
            directory_entries: AtomicUsize::new(MAX_DIRECTORY_ENTRIES),
            tables: AtomicUsize::new(MAX_KEPT_TABLES),
            markers: AtomicUsize::new(MAX_MARKERS),
        }
    }

    #[cfg(test)]
    pub(super) fn with(tables: usize, markers: usize) -> Self {
        Self { tables: AtomicUsize::new(tables), markers: AtomicUsize::new(markers), ..Self::new() }
    }

    /// Takes the grain directory of an extent with `tables` tables.
    pub(super) fn take_directory(&self, tables: u64) -> BlockResult<usize> {
        let too_large = || {
            BlockError::new(
                BlockErrorKind::Unsupported,
                format!("grain directory is too large, {tables} entries"),
            )
        };
        let count = usize::try_from(tables).map_err(|_| too_large())?;
        if take(&self.directory_entries, count) { Ok(count) } else { Err(too_large()) }
    }

    pub(super) fn take_table(&self) -> bool {
        take(&self.tables, 1)
    }

    pub(super) fn take_marker(&self) -> bool {
        take(&self.markers, 1)
    }

    fn give_table_back(&self) {
        self.tables.fetch_add(1, Ordering::Relaxed);
    }
}

fn take(left: &AtomicUsize, count: usize) -> bool {
    left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(count)).is_ok()
}

/// A grain table, decoded.
pub(super) type Table = [u32; TABLE_ENTRIES];

/// Where the bytes of one grain are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Grain {
    /// In the parent, or nowhere.
    Hole,
    /// Nowhere, whatever the parent says.
    Zeroed,
    /// At this byte of the file.
    Stored(u64),
}

/// What the entries of one extent may be.
#[derive(Clone, Copy)]
pub(super) struct EntryRule {
    pub(super) zeroed_grains: bool,
    pub(super) file_size: u64,
}

impl EntryRule {
    /// Whether a grain table entry cannot be true.
    fn is_bad_grain(self, entry: u32) -> bool {
        match entry {
            0 => false,
            1 if self.zeroed_grains => false,
            1 => true,
            _ => u64::from(entry).saturating_mul(SECTOR) >= self.file_size,
        }
    }

    /// Whether a grain directory entry cannot be true.
    fn is_bad_table(self, entry: u32) -> bool {
        let start = u64::from(entry).saturating_mul(SECTOR);
        entry != 0 && start.saturating_add(byte_count(TABLE_BYTES)) > self.file_size
    }
}

/// The grain directory of one extent, and the tables read so far.
pub(super) struct GrainDirectory {
    file: Arc<dyn BlockDevice>,
    rule: EntryRule,
    /// Sectors of the grain tables.
    entries: Box<[u32]>,
    /// One for each of `entries`.
    tables: Box<[OnceLock<Box<Table>>]>,
    /// The redundant grain directory.
    redundant: Option<u64>,
    budget: Arc<TableBudget>,
}

impl GrainDirectory {
    /// Reads the directory of `tables` entries at `primary`, helped by the one at `redundant`.
    /// The number with it says how many entries came from the redundant directory.
    ///
    /// # Errors
    /// `Corrupt` if neither is in the file, `Unsupported` if it is beyond the budget.
    pub(super) fn read(
        file: Arc<dyn BlockDevice>,
        rule: EntryRule,
        tables: u64,
        primary: u64,
        redundant: Option<u64>,
        budget: Arc<TableBudget>,
    ) -> BlockResult<(Self, u64)> {
        let is_inside = |offset: u64| {
            let end = tables.checked_mul(ENTRY_BYTES).and_then(|size| size.checked_add(offset));
            end.is_some_and(|end| end <= rule.file_size)
        };
        // INVARIANT: nothing is allocated for a directory that the file does not hold.
        let redundant = redundant.filter(|offset| is_inside(*offset));
        if !is_inside(primary) && redundant.is_none() {
            let sentence = "grain directory is not inside the file";
            return Err(BlockError::corrupt(sentence, primary, 0));
        }
        let count = budget.take_directory(tables)?;
        let mut entries = if is_inside(primary) {
            read_entries(&*file, primary, count)?
        } else {
            vec![u32::MAX; count]
        };
        let mut replaced: u64 = 0;
        if let Some(offset) = redundant {
            for (entry, copy) in entries.iter_mut().zip(read_entries(&*file, offset, count)?) {
                let lost = *entry == 0 || rule.is_bad_table(*entry);
                if lost && copy != 0 && !rule.is_bad_table(copy) {
                    *entry = copy;
                    replaced = replaced.saturating_add(1);
                }
            }
        }
        let directory = Self {
            file,
            rule,
            tables: entries.iter().map(|_| OnceLock::new()).collect(),
            entries: entries.into(),
            redundant,
            budget,
        };
        Ok((directory, replaced))
    }

    /// A directory whose tables were found in another way; an absent table is all holes.
    pub(super) fn from_tables(
        file: Arc<dyn BlockDevice>,
        rule: EntryRule,
        tables: Box<[OnceLock<Box<Table>>]>,
        budget: Arc<TableBudget>,
    ) -> Self {
        Self { file, rule, entries: vec![0; tables.len()].into(), tables, redundant: None, budget }
    }

    /// A view for the grains of one request.
    pub(super) fn lookup(&self) -> Lookup<'_> {
        Lookup { directory: self, index: u64::MAX, table: Current::Absent }
    }

    /// Loads the table `index`: from memory, or from the file.
    fn table(&self, index: u64) -> BlockResult<Current<'_>> {
        let index = bytes_to_index(index)?;
        let (Some(entry), Some(slot)) = (self.entries.get(index), self.tables.get(index)) else {
            let sentence = "grain lies outside the grain directory";
            return Err(BlockError::new(BlockErrorKind::OutOfRange, sentence));
        };
        if let Some(table) = slot.get() {
            return Ok(Current::Kept(table));
        }
        if *entry == 0 {
            return Ok(Current::Absent);
        }
        let table = self.read_table(index, *entry)?;
        if !self.budget.take_table() {
            return Ok(Current::Own(table));
        }
        // Two readers may come here with one table; the second one's copy is dropped.
        if slot.set(Box::new(table)).is_err() {
            self.budget.give_table_back();
        }
        Ok(slot.get().map_or(Current::Absent, |table| Current::Kept(table)))
    }

    fn read_table(&self, index: usize, entry: u32) -> BlockResult<Table> {
        let at = u64::from(entry).saturating_mul(SECTOR);
        let mut table = if self.rule.is_bad_table(entry) {
            Err(BlockError::corrupt("grain table is not inside the file", at, 0))
        } else {
            read_table(&*self.file, at)
        };
        let is_damaged = match &table {
            Ok(table) => table.iter().any(|entry| self.rule.is_bad_grain(*entry)),
            Err(error) => error.kind() == BlockErrorKind::Corrupt,
        };
        if is_damaged && let Some(copy) = self.read_redundant_table(index)? {
            match &mut table {
                Ok(table) => {
                    let both = table.iter_mut().zip(copy);
                    for (entry, copy) in both.filter(|(e, _)| self.rule.is_bad_grain(**e)) {
                        *entry = copy;
                    }
                }
                Err(_) => table = Ok(copy),
            }
        }
        table
    }

    fn read_redundant_table(&self, index: usize) -> BlockResult<Option<Table>> {
        let Some(directory) = self.redundant else {
            return Ok(None);
        };
        let mut entry = [0; 4];
        let offset = byte_count(index).saturating_mul(ENTRY_BYTES);
        self.file.read_at(directory.saturating_add(offset), &mut entry)?;
        let entry = u32::from_le_bytes(entry);
        if entry == 0 || self.rule.is_bad_table(entry) {
            return Ok(None);
        }
        read_table(&*self.file, u64::from(entry).saturating_mul(SECTOR)).map(Some)
    }
}

fn read_table(file: &dyn BlockDevice, at: u64) -> BlockResult<Table> {
    let mut bytes = [0; TABLE_BYTES];
    file.read_at(at, &mut bytes)?;
    let mut table = [0; TABLE_ENTRIES];
    decode(&bytes, &mut table);
    Ok(table)
}

fn decode(bytes: &[u8], entries: &mut [u32]) {
    let (words, _) = bytes.as_chunks::<4>();
    for (entry, word) in entries.iter_mut().zip(words) {
        *entry = u32::from_le_bytes(*word);
    }
}

/// Reads `count` entries at `offset`; the caller checked that they are inside the file.
fn read_entries(file: &dyn BlockDevice, offset: u64, count: usize) -> BlockResult<Vec<u32>> {
    let mut entries = vec![0; count];
    let mut bytes = vec![0; DIRECTORY_CHUNK.min(count.saturating_mul(4))];
    let mut at = offset;
    for part in entries.chunks_mut(DIRECTORY_CHUNK / 4) {
        let size = part.len().saturating_mul(4);
        let bytes = bytes.get_mut(..size).unwrap_or_default();
        file.read_at(at, bytes)?;
        decode(bytes, part);
        at = at.saturating_add(byte_count(size));
    }
    Ok(entries)
}

/// The table that a request is in.
#[expect(
    clippy::large_enum_variant,
    reason = "lives on the stack of one request; a box would be an allocation per request"
)]
enum Current<'a> {
    Absent,
    Kept(&'a Table),
    Own(Table),
}

/// Finds the grains of one request; loads a table when the request enters it.
pub(super) struct Lookup<'a> {
    directory: &'a GrainDirectory,
    /// The number of the table in `table`; `u64::MAX` before the first.
    index: u64,
    table: Current<'a>,
}

impl Lookup<'_> {
    /// Where the grain number `grain` of the extent is; `Err` inside if its own entry is
    /// impossible.
    ///
    /// # Errors
    /// `Corrupt` if its table is impossible, `OutOfRange` past the last grain.
    pub(super) fn grain(&mut self, grain: u64) -> BlockResult<BlockResult<Grain>> {
        let index = grain / GRAINS_PER_TABLE;
        if index != self.index {
            self.table = self.directory.table(index)?;
            self.index = index;
        }
        let table = match &self.table {
            Current::Absent => return Ok(Ok(Grain::Hole)),
            Current::Kept(table) => *table,
            Current::Own(table) => table,
        };
        let entry = table.get(bytes_to_index(grain % GRAINS_PER_TABLE)?);
        let entry = entry.copied().unwrap_or(0);
        let offset = u64::from(entry).saturating_mul(SECTOR);
        if self.directory.rule.is_bad_grain(entry) {
            let sentence = "grain table entry points outside the grains of the file";
            return Ok(Err(BlockError::corrupt(sentence, offset, 0)));
        }
        Ok(Ok(match entry {
            0 => Grain::Hole,
            1 => Grain::Zeroed,
            _ => Grain::Stored(offset),
        }))
    }

    /// Whether no grain of the table number `index` is in the file, without reading it.
    pub(super) fn is_absent(&self, index: u64) -> bool {
        let Ok(index) = usize::try_from(index) else {
            return false;
        };
        let directory = self.directory;
        directory.entries.get(index) == Some(&0)
            && directory.tables.get(index).is_some_and(|table| table.get().is_none())
    }
}
