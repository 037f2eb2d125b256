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
//! Most writers keep both twice. The copies are compared when they are read: the directory when the
//! extent is opened, a table when a read first touches it (see [`super::table`]). A directory entry
//! that is impossible is taken from the redundant directory. Two copies of a directory name different
//! tables; an entry is impossible if its table is not in the file, or not where the pattern of all
//! others wants it, since every writer puts its tables side by side.
//!
//! Tables are kept until the [`TableBudget`] of the image is spent; later ones are read on each
//! request, so that memory stays bounded and reads take no lock. Such a table is compared once.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;

use crate::format::vmdk::header::{DirectoryPlace, SECTOR, SparseHeader};
use crate::format::vmdk::table::{
    Entries, EntryRule, GRAINS_PER_TABLE, Refusal, TABLE_BYTES, TABLE_ENTRIES, Table,
};
use crate::note::PartLog;
use volfold_block::{
    BlockDevice, BlockError, BlockErrorKind, BlockResult, Finding, byte_count, bytes_to_index,
    code, keep,
};

const ENTRY_BYTES: u64 = 4;

/// The size of a table.
const TABLE_SECTORS: u32 = 4;

/// LIMIT: grain directory entries of all files of an image, the parents included. Enough for
/// 64 TiB in grains of 64 KiB; costs at most 56 MiB.
const MAX_DIRECTORY_ENTRIES: usize = 1 << 21;

/// LIMIT: grain tables of all files of an image that are kept in memory: 32 MiB.
const MAX_KEPT_TABLES: usize = 1 << 14;

/// LIMIT: markers of all files of an image that are looked at to stand in for a missing footer:
/// 64 GiB of disk in grains of 64 KiB.
const MAX_MARKERS: usize = 1 << 20;

/// LIMIT: places of grains of all files of an image that are compared across their tables: 8 MiB,
/// for 4 TiB in grains of 64 KiB; twice that where two grains have one place.
const MAX_COMPARED_PLACES: usize = 1 << 26;

/// How much of the grain directory is read at once.
const DIRECTORY_CHUNK: usize = 64 * 1024;

/// What the tables of all files of one image may still take of memory and time.
pub(super) struct TableBudget {
    directory_entries: AtomicUsize,
    tables: AtomicUsize,
    markers: AtomicUsize,
    places: AtomicUsize,
}

impl TableBudget {
    pub(super) fn new() -> Self {
        Self {
            directory_entries: AtomicUsize::new(MAX_DIRECTORY_ENTRIES),
            tables: AtomicUsize::new(MAX_KEPT_TABLES),
            markers: AtomicUsize::new(MAX_MARKERS),
            places: AtomicUsize::new(MAX_COMPARED_PLACES),
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

/// A set of numbers from 0 on that grows while others read it.
struct Bits(Box<[AtomicU64]>);

impl Bits {
    fn new(count: usize) -> Self {
        Self(std::iter::repeat_with(|| AtomicU64::new(0)).take(count.div_ceil(64)).collect())
    }

    fn word(&self, number: usize) -> Option<(&AtomicU64, u64)> {
        let word = self.0.get(number / 64)?;
        Some((word, 1_u64.checked_shl(u32::try_from(number % 64).ok()?)?))
    }

    fn has(&self, number: usize) -> bool {
        self.word(number).is_some_and(|(word, bit)| word.load(Ordering::Acquire) & bit != 0)
    }

    /// Adds `number`; whether it was there before.
    fn add(&self, number: usize) -> bool {
        self.word(number).is_some_and(|(word, bit)| word.fetch_or(bit, Ordering::AcqRel) & bit != 0)
    }
}

/// The places of the grains of all tables that were read so far.
struct Places {
    /// How many the file has room for.
    count: usize,
    taken: OnceLock<Bits>,
    /// Those that two tables name.
    shared: OnceLock<Bits>,
    /// The tables whose places were taken.
    claimed: Bits,
    /// Held while the places of one table are taken.
    claiming: Mutex<()>,
}

impl Places {
    /// `None` where grains are not compared: they are compressed, or they are too many.
    fn new(rule: EntryRule, tables: usize, budget: &TableBudget) -> Option<Self> {
        let sectors = u64::from(rule.grain_sectors).saturating_mul(SECTOR);
        let count = rule.file_size.checked_div(sectors)?.saturating_add(1);
        let count = usize::try_from(count).ok().filter(|count| take(&budget.places, *count))?;
        Some(Self {
            count,
            taken: OnceLock::new(),
            shared: OnceLock::new(),
            claimed: Bits::new(tables),
            claiming: Mutex::new(()),
        })
    }

    /// The number of the place of the grain that `entry` names. Grains lie side by side from the end
    /// of the metadata on; one that does not fit in there overlaps two places, and only its own table
    /// is asked.
    fn place(rule: EntryRule, entry: u32) -> Option<usize> {
        let offset = rule.data_start.checked_rem(rule.grain_sectors)?;
        let from_first = entry.saturating_sub(offset);
        let is_place = rule.is_place(entry) && from_first.is_multiple_of(rule.grain_sectors);
        let place = from_first.checked_div(rule.grain_sectors).filter(|_| is_place)?;
        usize::try_from(place).ok()
    }

    fn is_shared(&self, rule: EntryRule, entry: u32) -> bool {
        let shared = self.shared.get();
        shared.is_some_and(|shared| Self::place(rule, entry).is_some_and(|place| shared.has(place)))
    }

    /// Takes the places of the grains of `table`, the table number `index`; how many another table
    /// has taken.
    fn claim(&self, rule: EntryRule, index: usize, table: &Table) -> usize {
        if self.claimed.has(index) {
            return 0;
        }
        // Who reads the same table meanwhile waits, so that it serves no place that is shared.
        let _one_at_a_time = self.claiming.lock();
        if self.claimed.has(index) {
            return 0;
        }
        let taken = self.taken.get_or_init(|| Bits::new(self.count));
        let entries = table.entries.into_iter().enumerate();
        let used = entries.filter(|(index, _)| table.entry(*index).is_ok());
        let places = used.filter_map(|(_, entry)| Self::place(rule, entry));
        let mut count = 0_usize;
        for place in places.filter(|place| taken.add(*place)) {
            self.shared.get_or_init(|| Bits::new(self.count)).add(place);
            count = count.saturating_add(1);
        }
        self.claimed.add(index);
        count
    }
}

/// Where the parts of an extent are, as its header says.
#[derive(Clone, Copy)]
pub(super) struct Layout {
    /// The grain directory.
    pub(super) primary: u64,
    /// The redundant one.
    pub(super) redundant: Option<u64>,
    /// How many entries it has.
    pub(super) tables: u64,
    /// Where the descriptor ends.
    pub(super) descriptor_end: u64,
    /// Where the header says that the first grain may begin.
    pub(super) over_head: u64,
    pub(super) grain_size: u64,
    pub(super) compressed: bool,
    pub(super) zeroed_grains: bool,
    pub(super) file_size: u64,
}

/// The grain directory of one extent, and the tables read so far.
pub(super) struct GrainDirectory {
    file: Arc<dyn BlockDevice>,
    rule: EntryRule,
    /// Sectors of the grain tables.
    entries: Box<[u32]>,
    /// Sectors of the redundant tables, 0 where there is none; empty or one for each of `entries`.
    copies: Box<[u32]>,
    /// One for each of `entries`.
    tables: Box<[OnceLock<Box<Table>>]>,
    /// The tables that were compared and are sound.
    sound: Bits,
    places: Option<Places>,
    budget: Arc<TableBudget>,
    log: PartLog,
}

impl GrainDirectory {
    /// Reads the directory at `layout.primary`, helped by the redundant one; notes in `log` what
    /// they contradict each other about.
    ///
    /// # Errors
    /// `Corrupt` if neither is in the file, `Unsupported` if it is beyond the budget.
    pub(super) fn read(
        file: Arc<dyn BlockDevice>,
        layout: &Layout,
        budget: Arc<TableBudget>,
        log: &PartLog,
    ) -> BlockResult<Self> {
        let size = layout.tables.checked_mul(ENTRY_BYTES);
        let is_inside = |offset: u64| {
            let end = size.and_then(|size| size.checked_add(offset));
            end.is_some_and(|end| end <= layout.file_size)
        };
        // INVARIANT: nothing is allocated for a directory that the file does not hold.
        let redundant = layout.redundant.filter(|offset| is_inside(*offset));
        let primary = Some(layout.primary).filter(|offset| is_inside(*offset));
        if primary.is_none() && redundant.is_none() {
            let sentence = "grain directory is not inside the file";
            return Err(BlockError::corrupt(sentence, layout.primary, 0));
        }
        let count = budget.take_directory(layout.tables)?;
        let read = |at: Option<u64>| at.map(|at| keep(|| read_entries(&*file, at, count)));
        let (mut entries, mut copies) = match (read(primary), read(redundant)) {
            (Some(entries), copies) => (entries?, copies.transpose()?.unwrap_or_default()),
            (None, copies) => (vec![u32::MAX; count], copies.transpose()?.unwrap_or_default()),
        };
        let mut rule = layout.rule();
        join_directories(rule, &mut entries, &mut copies, log);
        rule.data_start = layout.data_start(rule, &entries, &copies);
        Ok(Self::over(file, rule, entries.into(), copies.into(), None, budget, log))
    }

    /// A directory whose tables were found in another way; an absent table is all holes.
    pub(super) fn from_tables(
        file: Arc<dyn BlockDevice>,
        layout: &Layout,
        tables: Box<[OnceLock<Box<Table>>]>,
        budget: Arc<TableBudget>,
        log: &PartLog,
    ) -> Self {
        let entries = vec![0; tables.len()].into();
        Self::over(file, layout.rule(), entries, Box::default(), Some(tables), budget, log)
    }

    fn over(
        file: Arc<dyn BlockDevice>,
        rule: EntryRule,
        entries: Box<[u32]>,
        copies: Box<[u32]>,
        tables: Option<Box<[OnceLock<Box<Table>>]>>,
        budget: Arc<TableBudget>,
        log: &PartLog,
    ) -> Self {
        let empty = || entries.iter().map(|_| OnceLock::new()).collect();
        Self {
            file,
            rule,
            tables: tables.unwrap_or_else(empty),
            sound: Bits::new(entries.len()),
            places: Places::new(rule, entries.len(), &budget),
            entries,
            copies,
            budget,
            log: log.clone(),
        }
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

    /// Reads the table `index` at the sector `entry`, and compares it with its copy.
    fn read_table(&self, index: usize, entry: u32) -> BlockResult<Table> {
        let at = u64::from(entry).saturating_mul(SECTOR);
        let entries = if self.rule.is_bad_table(entry) {
            Err(BlockError::corrupt("grain table is not inside the file", at, 0))
        } else {
            read_table(&*self.file, at)
        };
        if self.sound.has(index) {
            return entries.map(Table::sound);
        }
        let copy = self.copies.get(index).copied().filter(|copy| *copy != 0);
        let copy = copy.map(|copy| read_table(&*self.file, u64::from(copy).saturating_mul(SECTOR)));
        let (entries, copy) = match (entries, copy) {
            (Ok(entries), Some(Ok(copy))) => (entries, Some(copy)),
            (Ok(entries), copy) => {
                if let Some(Err(error)) = copy {
                    self.note(format!("the copy of grain table {index} cannot be read: {error}"));
                }
                (entries, None)
            }
            (Err(error), Some(Ok(copy))) => {
                self.note(format!("grain table {index} is taken from its copy: {error}"));
                (copy, None)
            }
            (Err(error), _) => return Err(error),
        };
        let note = |finding| self.log.add(finding);
        let table = self.rule.check(index, entries, copy.as_ref(), &note);
        if let Some(places) = &self.places {
            let shared = places.claim(self.rule, index, &table);
            if shared > 0 {
                let line = format!(
                    "{shared} entries of grain table {index} name places that other tables name \
                     too; those grains are errors"
                );
                self.log.add(Finding::error(code::VMDK_GRAINS_OVERLAP, line));
            }
        }
        if table.is_sound() && copy.is_none_or(|copy| copy == table.entries) {
            self.sound.add(index);
        }
        Ok(table)
    }

    /// Whether another grain has the place that `entry` names, as far as tables were read.
    fn is_shared(&self, entry: u32) -> bool {
        self.places.as_ref().is_some_and(|places| places.is_shared(self.rule, entry))
    }

    fn note(&self, line: String) {
        self.log.add(Finding::warning(code::VMDK_GRAIN_TABLE_DAMAGED, line));
    }
}

impl Layout {
    /// The layout that `header` tells, in a file of `file_size` bytes; `None` if the directory is
    /// elsewhere.
    pub(super) fn of(header: &SparseHeader, file_size: u64) -> Option<Self> {
        match header.directory {
            DirectoryPlace::At(primary) => {
                Some(Self { primary, ..Self::without_directory(header, file_size) })
            }
            DirectoryPlace::InFooter => None,
        }
    }

    /// The same of an extent whose directory is nowhere.
    pub(super) fn without_directory(header: &SparseHeader, file_size: u64) -> Self {
        let descriptor_end = header.descriptor.map(|(at, size)| at.saturating_add(size));
        Self {
            primary: 0,
            redundant: header.redundant,
            tables: header.capacity.div_ceil(header.grain_size).div_ceil(GRAINS_PER_TABLE),
            descriptor_end: descriptor_end.filter(|end| *end <= file_size).unwrap_or(0),
            over_head: header.over_head,
            grain_size: header.grain_size,
            compressed: header.compressed,
            zeroed_grains: header.zeroed_grains,
            file_size,
        }
    }

    /// What entries may be, as long as the tables are not known.
    fn rule(&self) -> EntryRule {
        let sectors = self.grain_size / SECTOR;
        EntryRule {
            zeroed_grains: self.zeroed_grains,
            file_size: self.file_size,
            grain_sectors: if self.compressed { 0 } else { u32::try_from(sectors).unwrap_or(0) },
            data_start: 1,
        }
    }

    /// The first sector that can be of a grain. The header says it, and the places of the tables do;
    /// one of them alone is not believed where that would refuse grains.
    fn data_start(&self, rule: EntryRule, entries: &[u32], copies: &[u32]) -> u32 {
        /// What a writer leaves free before the first grain, besides what makes it a multiple.
        const MAX_SLACK: u64 = 1 << 20;
        if self.compressed {
            // Tables follow the grains, and a compressed grain says itself what it is.
            return 1;
        }
        let end_of = |table: u32| {
            let start = u64::from(table).saturating_mul(SECTOR);
            start.saturating_add(byte_count(TABLE_BYTES))
        };
        let tables = entries.iter().chain(copies).filter(|entry| !rule.is_bad_table(**entry));
        let tables = tables.filter(|entry| **entry != 0).copied().map(end_of).max().unwrap_or(0);
        let size = self.tables.saturating_mul(ENTRY_BYTES);
        let directories = self.redundant.into_iter().chain([self.primary]);
        let directories = directories.map(|at| at.saturating_add(size));
        let directories = directories.filter(|end| *end <= self.file_size).max().unwrap_or(0);
        let metadata_end = tables.max(directories).max(self.descriptor_end).max(SECTOR);
        let is_near = self
            .over_head
            .checked_sub(metadata_end)
            .is_some_and(|slack| slack <= self.grain_size.saturating_add(MAX_SLACK));
        let start = if is_near { self.over_head } else { self.over_head.min(metadata_end) };
        u32::try_from(start.max(SECTOR) / SECTOR).unwrap_or(u32::MAX)
    }
}

/// Where the tables of a directory are that lies at equal distances, as all writers put them.
#[derive(Clone, Copy)]
struct Pattern {
    first: u32,
    distance: u32,
}

impl Pattern {
    /// The pattern of `entries`; `None` if not almost all of them follow one.
    fn of(entries: &[u32]) -> Option<Self> {
        let neighbours = entries.iter().zip(entries.iter().skip(1));
        let distance = most_frequent(neighbours.filter_map(|(one, next)| next.checked_sub(*one)))?;
        let distance = Some(distance).filter(|distance| *distance >= TABLE_SECTORS)?;
        let before = |index: usize| u32::try_from(index).ok()?.checked_mul(distance);
        let firsts = entries.iter().zip(0..);
        let first =
            most_frequent(firsts.filter_map(|(entry, index)| entry.checked_sub(before(index)?)))?;
        let pattern = Self { first, distance };
        let fits = |(entry, index): &(&u32, usize)| pattern.entry(*index) == Some(**entry);
        let fitting = entries.iter().zip(0..).filter(fits).count();
        let others = entries.len().saturating_sub(fitting);
        (fitting >= 3 && others.saturating_mul(6) <= fitting).then_some(pattern)
    }

    /// The entry number `index`.
    fn entry(self, index: usize) -> Option<u32> {
        u32::try_from(index).ok()?.checked_mul(self.distance)?.checked_add(self.first)
    }
}

/// The value that more than half of `values` have; any of them if there is none.
fn most_frequent(values: impl Iterator<Item = u32>) -> Option<u32> {
    let (mut best, mut lead) = (None, 0_usize);
    for value in values {
        if lead == 0 {
            best = Some(value);
        }
        let is_best = best == Some(value);
        lead = if is_best { lead.saturating_add(1) } else { lead.saturating_sub(1) };
    }
    best
}

/// Chooses between the entries of two directories; what is left of `copies` are tables to compare
/// with, 0 where there is none.
fn join_directories(rule: EntryRule, entries: &mut [u32], copies: &mut [u32], log: &PartLog) {
    let (ours, theirs) = (Pattern::of(entries), Pattern::of(copies));
    let is_inside = |entry: u32| entry != 0 && !rule.is_bad_table(entry);
    let is_possible = |entry: u32, pattern: Option<Pattern>, index: usize| {
        is_inside(entry) && pattern.is_none_or(|pattern| pattern.entry(index) == Some(entry))
    };
    let has_copies = !copies.is_empty();
    let (mut taken, mut bad_copies, mut odd) = (0_u64, 0_u64, 0_u64);
    for (index, entry) in entries.iter_mut().enumerate() {
        let mut missing = 0;
        let copy = copies.get_mut(index).unwrap_or(&mut missing);
        match (is_possible(*entry, ours, index), is_possible(*copy, theirs, index)) {
            (true, true) => {}
            // A disk that was enlarged has tables elsewhere, and so has its copy.
            (false, false) if is_inside(*entry) && is_inside(*copy) => {}
            (false, true) => {
                *entry = std::mem::take(copy);
                taken = taken.saturating_add(1);
            }
            (is_ours, false) => {
                if !is_ours && is_inside(*entry) {
                    odd = odd.saturating_add(1);
                }
                if *copy != 0 || (is_ours && has_copies) {
                    bad_copies = bad_copies.saturating_add(1);
                }
                *copy = 0;
            }
        }
    }
    let total = entries.len();
    let tell = |count: u64, what: &str| {
        if count > 0 {
            let line = format!("{count} of {total} entries of the {what}");
            log.add(Finding::warning(code::VMDK_GRAIN_DIRECTORY_DAMAGED, line));
        }
    };
    tell(taken, "grain directory were taken from its copy");
    tell(bad_copies, "redundant grain directory are not used");
    tell(
        odd,
        "grain directory are not where all others are, and no copy confirms them; bytes there may be \
         of another place",
    );
}

fn read_table(file: &dyn BlockDevice, at: u64) -> BlockResult<Entries> {
    let mut bytes = [0; TABLE_BYTES];
    keep(|| file.read_at(at, &mut bytes))?;
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
        let entry = match table.entry(bytes_to_index(grain % GRAINS_PER_TABLE)?) {
            Ok(entry) => entry,
            Err(error) => return Ok(Err(error)),
        };
        Ok(match entry {
            0 => Ok(Grain::Hole),
            1 if self.directory.rule.zeroed_grains => Ok(Grain::Zeroed),
            _ if self.directory.is_shared(entry) => Err(Refusal::Shared.error(entry)),
            _ => Ok(Grain::Stored(u64::from(entry).saturating_mul(SECTOR))),
        })
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
