//! The logs of a dirty hive, and what of them is applied.
//!
//! Specification: "Format of transaction log files" and "Multiple transaction log files" of the
//! registry file format specification. A log begins with a copy of the base block. In a log of the
//! old form (until Windows 8) follows, in the next sector, a bitmap:
//!
//! | offset | size | field       | rule                                                       |
//! |--------|------|-------------|------------------------------------------------------------|
//! | 0x00   | 4    | `signature` | `DIRT`                                                     |
//! | 0x04   |      | `bitmap`    | a bit for each 512 bytes of the bins, the lowest bit first |
//!
//! and from the next sector on the 512 bytes of each bit that is set. In a log of the new form
//! follow entries, each in sectors of 512 bytes of its own:
//!
//! | offset | size | field       | rule                                                       |
//! |--------|------|-------------|------------------------------------------------------------|
//! | 0x00   | 4    | `signature` | `HvLE`                                                     |
//! | 0x04   | 4    | `size`      | of the entry, a multiple of 512                            |
//! | 0x08   | 4    | `flags`     | transactions; not looked at                                |
//! | 0x0C   | 4    | `sequence`  | one more than the entry before                             |
//! | 0x10   | 4    | `bins_size` | of the hive from now on, a multiple of 4096                |
//! | 0x14   | 4    | `pages`     | how many references follow: offset and size, 4 bytes each  |
//! | 0x18   | 8    | `hash_1`    | Marvin32 of what follows the header                        |
//! | 0x20   | 8    | `hash_2`    | Marvin32 of the first 32 bytes                             |
//!
//! and after the references the pages themselves.

use std::mem::size_of;
use std::sync::Arc;

use volfold_block::{Finding, bytes_to_index, code};
use volfold_fs::{FileData, FsError, FsErrorKind, FsResult};
use zerocopy::byteorder::{LE, U32, U64};
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

use super::base_block::{BASE_BLOCK_SIZE, BaseBlock, is_bins_size};
use super::cell::bin_timestamp;
use super::marvin::Marvin;
use super::overlay::{Overlay, Piece};
use super::pages::exact;

const SECTOR: u64 = 512;

/// LIMIT: bytes of a log that are read for hashes; Windows writes a hive before its log is half as
/// large.
const MAX_LOG: u64 = 256 << 20;

/// Bytes that are read at once for a hash or a bitmap.
const PIECE: usize = 64 << 10;

/// Bytes of the header of an entry, and of a reference to a page.
const HEADER: u64 = 40;
const REFERENCE: u64 = 8;

#[derive(FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawEntry {
    signature: [u8; 4],
    size: U32<LE>,
    flags: U32<LE>,
    sequence: U32<LE>,
    bins_size: U32<LE>,
    pages: U32<LE>,
    hash_1: U64<LE>,
    hash_2: U64<LE>,
}
const _: () = assert!(size_of::<RawEntry>() == 40);

/// A hive as its logs leave it.
pub(super) struct Replay {
    pub(super) base_block: BaseBlock,
    pub(super) overlay: Overlay,
}

impl Replay {
    /// The hive as the primary file has it.
    pub(super) fn none(base_block: BaseBlock) -> Self {
        Self { base_block, overlay: Overlay::default() }
    }
}

/// A log whose base block can be used.
struct Log<'a> {
    number: usize,
    file: &'a dyn FileData,
    base_block: BaseBlock,
}

/// Applies `logs` to the dirty hive with the base block `primary`, the start of `file`. What was
/// done, and what could not be, goes to `findings`.
///
/// # Errors
/// Why a log cannot be read, other than that it is damaged.
pub(super) fn replay(
    primary: &BaseBlock,
    file: &dyn FileData,
    logs: &[Arc<dyn FileData>],
    findings: &mut Vec<Finding>,
) -> FsResult<Replay> {
    let mut usable = Vec::new();
    for (number, log) in logs.iter().enumerate() {
        if let Some(base_block) = log_base_block(&**log, number, findings)? {
            usable.push(Log { number, file: &**log, base_block });
        }
    }
    let (new, old): (Vec<_>, Vec<_>) =
        usable.into_iter().partition(|log| log.base_block.file_type == 6);
    let done = match new.is_empty() {
        false => replay_new(primary, new, findings)?,
        true => replay_old(primary, file, logs, &old, findings)?,
    };
    if let Some(replay) = done {
        return Ok(replay);
    }
    if !primary.is_checksum_right {
        let line = "base block has a bad checksum, and no log has a copy that can be used";
        findings.push(Finding::warning(code::HIVE_HEADER_DAMAGED, line).at(0));
    }
    let line = match logs.iter().all(|log| log.size() == 0) {
        true => "the hive is dirty and has no log",
        false => "the hive is dirty, and no log of it can be applied",
    };
    findings.push(Finding::warning(code::HIVE_DIRTY, line));
    Ok(Replay::none(primary.clone()))
}

/// The base block of the log with the number `number`, `None` if the log is empty or not to be used.
fn log_base_block(
    log: &dyn FileData,
    number: usize,
    findings: &mut Vec<Finding>,
) -> FsResult<Option<BaseBlock>> {
    let Some(block) = BaseBlock::read(log)? else { return Ok(None) };
    let problem = match &block {
        block if !block.is_checksum_right => "base block has a bad checksum",
        block if block.primary_sequence != block.secondary_sequence => {
            "log was not written to its end"
        }
        block if !matches!(block.file_type, 1 | 2 | 6) => "not a log of a registry hive",
        block if !is_bins_size(block.bins_size) => "base block has an invalid size of bins",
        _ if log.size() > MAX_LOG => "log is larger than is read",
        _ => return Ok(Some(block)),
    };
    findings.push(damaged(number, problem, 0));
    Ok(None)
}

fn damaged(number: usize, problem: &str, position: u64) -> Finding {
    let part = format!("log {}", number.saturating_add(1));
    Finding::warning(code::HIVE_LOG_DAMAGED, problem).within(&part).at(position)
}

fn applied(line: String) -> Finding {
    Finding::info(code::HIVE_LOG_APPLIED, line)
}

/// Logs of the new form: the one with the earlier entries first, then the other from the entry that
/// follows.
fn replay_new(
    primary: &BaseBlock,
    mut logs: Vec<Log<'_>>,
    findings: &mut Vec<Finding>,
) -> FsResult<Option<Replay>> {
    logs.sort_by_key(|log| log.base_block.primary_sequence);
    let mut base_block = primary.clone();
    if !primary.is_checksum_right {
        // Only the log with the newest entries knows what the base block was.
        let newest = logs.pop();
        logs = newest.into_iter().collect();
        if let Some(log) = logs.first() {
            base_block = log.base_block.as_primary();
        }
    }
    let mut replay = Replay::none(base_block);
    let mut expected = None;
    let mut count = 0_u32;
    for log in &logs {
        let first = log.base_block.primary_sequence;
        let follows = match expected {
            Some(expected) => first == expected,
            None => !primary.is_checksum_right || first >= primary.secondary_sequence,
        };
        if follows {
            let before = count;
            let next = apply_entries(log, first, &mut replay, &mut count, findings)?;
            if count > before {
                expected = Some(next);
            }
        } else if expected.is_some_and(|expected| first > expected) {
            let line = "log does not follow the entries that were applied";
            findings.push(damaged(log.number, line, 0));
        }
    }
    if count == 0 {
        return Ok(None);
    }
    findings.push(applied(format!("{count} entries of the log were applied in memory")));
    Ok(Some(replay))
}

/// Applies the entries of `log` from its start, the first of which has the number `first`, until one
/// does not follow; counts them, and gives the number that would come next.
fn apply_entries(
    log: &Log<'_>,
    first: u32,
    replay: &mut Replay,
    count: &mut u32,
    findings: &mut Vec<Finding>,
) -> FsResult<u32> {
    let mut expected = first;
    let mut at = SECTOR;
    // Every entry takes a sector or more of a log of at most MAX_LOG bytes.
    loop {
        let entry = match Entry::read(log.file, at, expected) {
            Ok(Some(entry)) => entry,
            Ok(None) => return Ok(expected),
            Err(error) => {
                findings.push(damage(log.number, error)?);
                return Ok(expected);
            }
        };
        for piece in entry.pieces(log)? {
            replay.overlay.add(piece)?;
        }
        replay.base_block.bins_size = entry.bins_size;
        at = at.saturating_add(entry.size);
        expected = expected.wrapping_add(1);
        *count = count.saturating_add(1);
    }
}

/// `error` as a finding about the log, if it says that the log is damaged.
fn damage(number: usize, error: FsError) -> FsResult<Finding> {
    match error.kind() {
        FsErrorKind::Corrupt => {
            Ok(damaged(number, error.message(), error.position().unwrap_or_default()))
        }
        _ => Err(error),
    }
}

/// An entry whose hashes are right.
struct Entry {
    /// Where it begins in the log.
    at: u64,
    size: u64,
    bins_size: u32,
    pages: u64,
}

impl Entry {
    /// The entry with the number `sequence` at `at`, `None` if no entry or another one is there:
    /// what older entries left.
    ///
    /// # Errors
    /// `Corrupt` for an entry of that number that is damaged, or why it cannot be read.
    fn read(log: &dyn FileData, at: u64, sequence: u32) -> FsResult<Option<Self>> {
        let mut bytes = [0; size_of::<RawEntry>()];
        if log.read_at(at, &mut bytes)? < bytes.len() {
            return Ok(None);
        }
        let Ok(raw) = RawEntry::ref_from_bytes(&bytes) else { return Ok(None) };
        if raw.signature != *b"HvLE" || raw.sequence.get() != sequence {
            return Ok(None);
        }
        let corrupt =
            |line: &'static str, field| Err(FsError::corrupt(line).at(at.saturating_add(field)));
        let size = u64::from(raw.size.get());
        let end = at.saturating_add(size);
        if size < HEADER || !size.is_multiple_of(SECTOR) || end > log.size() {
            return corrupt("log entry has an invalid size", 0x04);
        }
        let covered = bytes.get(..32).unwrap_or_default();
        if Marvin::of(covered) != raw.hash_2.get() {
            return corrupt("header of a log entry has a bad hash", 0x20);
        }
        if hash(log, at.saturating_add(HEADER), end)? != raw.hash_1.get() {
            return corrupt("log entry has a bad hash", 0x18);
        }
        let bins_size = raw.bins_size.get();
        if !is_bins_size(bins_size) {
            return corrupt("log entry has an invalid size of bins", 0x10);
        }
        let pages = u64::from(raw.pages.get());
        let entry = Self { at, size, bins_size, pages };
        entry.check_pages(log)?;
        Ok(Some(entry))
    }

    /// Checks that all pages lie in the entry and in the hive.
    fn check_pages(&self, log: &dyn FileData) -> FsResult<()> {
        let mut left = Some(self.size.saturating_sub(HEADER));
        left = left.and_then(|left| left.checked_sub(self.pages.saturating_mul(REFERENCE)));
        for_each_reference(self, log, |at, start, length| {
            let in_hive = length > 0
                && start.is_multiple_of(SECTOR)
                && length.is_multiple_of(SECTOR)
                && start.saturating_add(length) <= self.bins_size.into();
            left = left.and_then(|left| left.checked_sub(length));
            match in_hive && left.is_some() {
                true => Ok(()),
                false => Err(FsError::corrupt("log entry has an invalid page").at(at)),
            }
        })
    }

    /// Where the pages lie in `log`.
    fn pieces(&self, log: &Log<'_>) -> FsResult<Vec<Piece>> {
        let mut pieces: Vec<Piece> = Vec::new();
        let first = self.pages.saturating_mul(REFERENCE).saturating_add(HEADER);
        let mut log_offset = self.at.saturating_add(first);
        for_each_reference(self, log.file, |_, start, length| {
            let end = start.saturating_add(length);
            pieces.push(Piece { start, end, log: log.number, log_offset });
            log_offset = log_offset.saturating_add(length);
            Ok(())
        })?;
        Ok(pieces)
    }
}

/// Gives the position, the offset in the hive and the length of every page reference of `entry` to
/// `visit`.
fn for_each_reference(
    entry: &Entry,
    log: &dyn FileData,
    mut visit: impl FnMut(u64, u64, u64) -> FsResult<()>,
) -> FsResult<()> {
    let mut at = entry.at.saturating_add(HEADER);
    let end = at.saturating_add(entry.pages.saturating_mul(REFERENCE));
    if end > entry.at.saturating_add(entry.size) {
        let position = entry.at.saturating_add(0x14);
        return Err(FsError::corrupt("log entry has too many pages").at(position));
    }
    let mut buf = vec![0; PIECE];
    while at < end {
        let length = bytes_to_index(end.saturating_sub(at))?.min(PIECE);
        let Some(buf) = buf.get_mut(..length) else { break };
        exact(log, at, buf)?;
        let (references, _) = buf.as_chunks::<8>();
        for [a, b, c, d, e, f, g, h] in references {
            let start = u32::from_le_bytes([*a, *b, *c, *d]);
            let length = u32::from_le_bytes([*e, *f, *g, *h]);
            visit(at, start.into(), length.into())?;
            at = at.saturating_add(REFERENCE);
        }
    }
    Ok(())
}

/// The Marvin32 hash of the bytes of `log` from `start` to `end`.
fn hash(log: &dyn FileData, start: u64, end: u64) -> FsResult<u64> {
    let mut hash = Marvin::new();
    let mut buf = vec![0; PIECE];
    let mut at = start;
    while at < end {
        let length = bytes_to_index(end.saturating_sub(at))?.min(PIECE);
        let Some(buf) = buf.get_mut(..length) else { break };
        exact(log, at, buf)?;
        hash.update(buf);
        at = at.saturating_add(u64::try_from(length).unwrap_or(u64::MAX));
    }
    Ok(hash.finish())
}

/// A log of the old form: the one that was written together with the primary file, else a newer
/// second one.
fn replay_old(
    primary: &BaseBlock,
    file: &dyn FileData,
    logs: &[Arc<dyn FileData>],
    usable: &[Log<'_>],
    findings: &mut Vec<Finding>,
) -> FsResult<Option<Replay>> {
    let written = match primary.is_checksum_right {
        true => Some(primary.last_written),
        false => first_bin_timestamp(file)?,
    };
    let first = logs.iter().position(|log| log.size() > 0);
    let log = match usable {
        [log, ..] if Some(log.base_block.last_written) == written => log,
        [log] if Some(log.number) != first && is_newer(log, written) => log,
        [log, other, ..]
            if other.base_block.last_written > log.base_block.last_written
                && is_newer(other, written) =>
        {
            other
        }
        _ => return Ok(None),
    };
    let mut replay = Replay::none(primary.clone());
    if !primary.is_checksum_right {
        replay.base_block = log.base_block.as_primary();
    }
    replay.base_block.bins_size = log.base_block.bins_size;
    match apply_bitmap(log, &mut replay.overlay) {
        Ok(sectors) => {
            let line = format!("{sectors} sectors of the log were applied in memory");
            findings.push(applied(line));
            Ok(Some(replay))
        }
        Err(error) => {
            findings.push(damage(log.number, error)?);
            Ok(None)
        }
    }
}

/// Whether `log` is not older than the primary file.
fn is_newer(log: &Log<'_>, written: Option<u64>) -> bool {
    written.is_none_or(|written| log.base_block.last_written >= written)
}

fn first_bin_timestamp(file: &dyn FileData) -> FsResult<Option<u64>> {
    let mut bytes = [0; 32];
    let count = file.read_at(BASE_BLOCK_SIZE, &mut bytes)?;
    Ok((count == bytes.len()).then(|| bin_timestamp(&bytes)).flatten())
}

/// Adds the sectors that the bitmap of `log` marks to `overlay`, and counts them.
///
/// # Errors
/// `Corrupt` where the log has no bitmap or ends before the last sector does, or why it cannot be
/// read.
fn apply_bitmap(log: &Log<'_>, overlay: &mut Overlay) -> FsResult<u64> {
    let sector = log.base_block.sector_size;
    if !(SECTOR..=8 * SECTOR).contains(&sector) {
        return Err(FsError::corrupt("base block has an invalid clustering factor").at(0x2C));
    }
    let mut signature = [0; 4];
    exact(log.file, sector, &mut signature)?;
    if signature != *b"DIRT" {
        return Err(FsError::corrupt("log has no bitmap").at(sector));
    }
    // Bins are below 2 GiB, so the bitmap is below 512 KiB.
    let bins_size = u64::from(log.base_block.bins_size);
    let bitmap_start = sector.saturating_add(4);
    let bitmap_end = bitmap_start.saturating_add(bins_size / (SECTOR * 8));
    let mut log_offset = bitmap_end.next_multiple_of(sector);
    let mut buf = vec![0; PIECE];
    let (mut at, mut start, mut count) = (bitmap_start, 0_u64, 0_u64);
    while at < bitmap_end {
        let length = bytes_to_index(bitmap_end.saturating_sub(at))?.min(PIECE);
        let Some(buf) = buf.get_mut(..length) else { break };
        exact(log.file, at, buf)?;
        at = at.saturating_add(u64::try_from(length).unwrap_or(u64::MAX));
        for bit in buf.iter().flat_map(|byte| (0..8).map(move |bit| byte >> bit & 1 == 1)) {
            let end = start.saturating_add(SECTOR);
            if bit {
                overlay.add(Piece { start, end, log: log.number, log_offset })?;
                log_offset = log_offset.saturating_add(SECTOR);
                count = count.saturating_add(1);
            }
            start = end;
        }
    }
    if log_offset > log.file.size() {
        return Err(FsError::corrupt("log ends before its last sector").at(log.file.size()));
    }
    Ok(count)
}
