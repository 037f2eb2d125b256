//! Where the log begins and ends.
//!
//! The newest blocks end where the record that was written last does. The last writes may have come
//! in any order and in part: the last record that is there as a whole says where the log begins, and
//! what comes after it is left to [`super::replay`]. A log whose last record says that the volume was
//! unmounted is clean.

use super::cycles::{self, Cycles};
use super::record::Record;
use super::{BLOCK, Log, UNDER_WAY};
use crate::error::{FsError, FsResult};

/// The longest record, with its headers.
const LONGEST: u64 = 512 + 8;
/// LIMIT: records at the end of the log that are not whole.
const MAX_BAD: usize = 64;
/// In the flags of the one operation of a record.
const UNMOUNT: u8 = 0x20;

/// The part of the log that counts.
pub(in crate::xfs) enum Ends {
    /// There is nothing to apply.
    Clean,
    /// There is.
    Dirty(Dirty),
}

/// The part of a log that was not emptied.
pub(in crate::xfs) struct Dirty {
    /// The block of the oldest record.
    pub(super) tail: u64,
    /// The block after the last that has the newest cycle.
    pub(super) head: u64,
    /// The block after the last record that is whole.
    pub(super) whole_to: u64,
    /// The cycle of the newest blocks.
    pub(super) cycle: u32,
    pub(super) cycles: Cycles,
}

impl Ends {
    /// Finds the ends of `log`, and a log sequence number that is not below that of its last record.
    ///
    /// # Errors
    /// `Corrupt` if there are none.
    pub(in crate::xfs) fn find(log: &Log) -> FsResult<(Self, u64)> {
        if let Some(lsn) = clean(log)? {
            return Ok((Self::Clean, lsn));
        }
        let cycles = Cycles::scan(log)?;
        let newest = cycles.newest();
        let newest = newest.ok_or_else(|| FsError::corrupt("log was wiped, it has no record"))?;
        let head = log.wrap(newest.end);
        let last = last_good(log, newest.end)?;
        let lsn = u64::from(newest.cycle) << 32 | newest.end;
        let is_unmount = is_unmount(log, &last)?;
        if is_unmount && last.end(log) == head {
            return Ok((Self::Clean, lsn));
        }
        // What was logged before the volume was unmounted is in its places.
        let tail = if is_unmount { last.end(log) } else { tail(log, &last)? };
        let whole_to = last.end(log);
        Ok((Self::Dirty(Dirty { tail, head, whole_to, cycle: newest.cycle, cycles }), lsn))
    }
}

/// The tail that `last` names.
fn tail(log: &Log, last: &Record) -> FsResult<u64> {
    let corrupt = |what: &str| FsError::corrupt(format!("record of the log names a tail {what}"));
    let (cycle, tail) = (last.tail_lsn >> 32, last.tail_lsn & u64::from(u32::MAX));
    if tail >= log.blocks {
        return Err(corrupt("outside the log"));
    }
    let own = last.lsn >> 32;
    // A round later it would have been overwritten.
    let is_before = cycle == own && tail <= last.at;
    let is_round_before = own.checked_sub(1) == Some(cycle) && tail > last.at;
    if !is_before && !is_round_before || tail == last.end(log) {
        return Err(corrupt("that is not before it"));
    }
    Ok(tail)
}

/// The number of the last record if the log is plainly clean: the cycles have one step, as far as
/// is seen without reading all of them, and before it says a record that the volume was unmounted.
fn clean(log: &Log) -> FsResult<Option<u64>> {
    let end = log.blocks;
    let (first, last) = (cycle(log, 0)?, cycle(log, end.saturating_sub(1))?);
    if first == 0 || first != last && first.checked_sub(1) != Some(last) {
        return Ok(None);
    }
    let (mut low, mut high) = (0, end);
    while first != last && low < high {
        let middle = low.midpoint(high);
        match cycle(log, middle)? {
            found if found == last => high = middle,
            found if found == first => low = middle.saturating_add(1),
            _ => return Ok(None),
        }
    }
    let head = if first == last { end } else { low };
    let (from, to) = (head.saturating_sub(UNDER_WAY), head.saturating_add(UNDER_WAY).min(end));
    let mut buffer =
        vec![0; volfold_block::bytes_to_index(to.saturating_sub(from).saturating_mul(BLOCK))?];
    log.read(from, &mut buffer)?;
    let (blocks, _) = buffer.as_chunks::<512>();
    let mut numbered = (from..).zip(blocks);
    let expected = |at: u64| if at < head { first } else { last };
    if !numbered.all(|(at, block)| cycles::of(block) == expected(at)) {
        return Ok(None);
    }
    let Some(last) = last_record(log, head, LONGEST)? else { return Ok(None) };
    let is_clean =
        last.end(log) == log.wrap(head) && is_good(log, &last)? && is_unmount(log, &last)?;
    Ok(is_clean.then_some(last.lsn))
}

fn cycle(log: &Log, at: u64) -> FsResult<u32> {
    let mut block = [0; 8];
    log.device.read_at(log.position(at), &mut block)?;
    Ok(cycles::of(&block))
}

/// The last record before block `end` that is whole.
fn last_good(log: &Log, end: u64) -> FsResult<Record> {
    let corrupt = || FsError::corrupt("log has no whole record");
    let (mut end, mut left) = (end, log.blocks);
    for _ in 0..MAX_BAD {
        let last = last_record(log, end, left)?.ok_or_else(corrupt)?;
        if is_good(log, &last)? {
            return Ok(last);
        }
        left = left.saturating_sub(log.distance(last.at, log.wrap(end)));
        end = last.at;
    }
    Err(corrupt())
}

/// Whether `record` is whole. `mkfs.xfs` gives the one record that it writes no checksum.
fn is_good(log: &Log, record: &Record) -> FsResult<bool> {
    if log.has_checksums && record.is_unsummed() {
        return is_unmount(log, record);
    }
    Ok(record.data(log)?.is_some())
}

/// The last record that begins in the `most` blocks before `head`.
fn last_record(log: &Log, head: u64, most: u64) -> FsResult<Option<Record>> {
    const PIECE: u64 = 128;
    let mut left = most.min(log.blocks);
    let mut end = head.saturating_add(log.blocks);
    let mut buffer = Vec::new();
    while left > 0 {
        let count = left.min(PIECE);
        let start = end.saturating_sub(count);
        buffer.resize(volfold_block::bytes_to_index(count.saturating_mul(BLOCK))?, 0);
        log.read(start, &mut buffer)?;
        let (blocks, _) = buffer.as_chunks::<512>();
        let records = blocks.iter().zip(start..);
        let records = records.filter_map(|(block, at)| Record::parse(log, block, log.wrap(at)));
        if let Some(record) = records.last() {
            return Ok(Some(record));
        }
        end = start;
        left = left.saturating_sub(count);
    }
    Ok(None)
}

/// Whether `record` says that the volume was unmounted.
fn is_unmount(log: &Log, record: &Record) -> FsResult<bool> {
    let flags = if record.operations == 1 { record.first_flags(log)? } else { None };
    Ok(flags.is_some_and(|flags| flags & UNMOUNT != 0))
}
