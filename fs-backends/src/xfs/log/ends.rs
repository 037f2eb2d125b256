//! Where the log begins and ends.
//!
//! Blocks that were written last have the newest cycle, from block 0 on; those after them have the
//! one before, or 0 if the log was never gone round. The last writes may have come in any order and
//! in part, so that the newest blocks are looked at again, and a record that is not there as a whole
//! is none. A log whose last record says that the volume was unmounted is clean.

use super::record::Record;
use super::{BLOCK, Log};
use crate::error::{FsError, FsResult};
use crate::xfs::bytes::be32;

/// The blocks that may be under way at once: 8 buffers of 256 KiB.
const UNDER_WAY: u64 = 8 * 512;
/// The longest record, with its headers.
const LONGEST: u64 = 512 + 8;
const MAGIC: u32 = 0xFEED_BABE;
/// In the flags of the one operation of a record.
const UNMOUNT: u8 = 0x20;

/// The part of the log that counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::xfs) enum Ends {
    /// There is nothing to apply.
    Clean,
    /// From the block of the oldest record to the block after the newest one.
    Dirty { tail: u64, head: u64 },
}

impl Ends {
    /// Finds the ends of `log`, and the number of its last record; 0 if it has none.
    ///
    /// # Errors
    /// `Corrupt` if there are none.
    pub(in crate::xfs) fn find(log: &Log) -> FsResult<(Self, u64)> {
        let Some(head) = head(log)? else { return Ok((Self::Clean, 0)) };
        let head = log.wrap(cut_partial(log, head)?);
        let last = last_record(log, head, log.blocks)?
            .ok_or_else(|| FsError::corrupt("log has no record"))?;
        if last.end(log) == head && last.operations == 1 && is_unmount(log, &last)? {
            return Ok((Self::Clean, last.lsn));
        }
        let tail = last.tail_lsn & u64::from(u32::MAX);
        if tail >= log.blocks {
            return Err(FsError::corrupt("record of the log names a tail outside the log"));
        }
        Ok((Self::Dirty { tail, head }, last.lsn))
    }
}

/// The cycle of block `at`.
fn cycle(log: &Log, at: u64) -> FsResult<u32> {
    let mut block = [0; 8];
    log.device.read_at(log.position(at), &mut block)?;
    Ok(cycle_of(&block))
}

fn cycle_of(block: &[u8]) -> u32 {
    let first = be32(block, 0).unwrap_or_default();
    if first == MAGIC { be32(block, 4).unwrap_or_default() } else { first }
}

/// The first block from `from` to `to` whose cycle is `wanted`, where those before it are newer.
fn first_of(log: &Log, from: u64, to: u64, wanted: u32) -> FsResult<u64> {
    let (mut low, mut high) = (from, to);
    while low < high {
        let middle = low.midpoint(high);
        if cycle(log, middle)? == wanted {
            high = middle;
        } else {
            low = middle.saturating_add(1);
        }
    }
    Ok(low)
}

/// The first block in the blocks from `from` to `to` with the cycle `wanted`.
fn seek(log: &Log, from: u64, to: u64, wanted: u32) -> FsResult<Option<u64>> {
    let blocks = to.saturating_sub(from).min(UNDER_WAY);
    let mut buffer = vec![0; volfold_block::bytes_to_index(blocks.saturating_mul(BLOCK))?];
    log.read(from, &mut buffer)?;
    let (all, _) = buffer.as_chunks::<512>();
    let found = all.iter().zip(from..).find(|(block, _)| cycle_of(*block) == wanted);
    Ok(found.map(|(_, at)| at))
}

/// The block after the newest, as the cycles tell; `None` if nothing was ever written.
fn head(log: &Log) -> FsResult<Option<u64>> {
    let end = log.blocks;
    let (first, last) = (cycle(log, 0)?, cycle(log, end.saturating_sub(1))?);
    if first == 0 {
        return Ok(None);
    }
    let (head, old) = if first == last {
        (end, first.saturating_sub(1))
    } else {
        (first_of(log, 0, end, last)?, last)
    };
    if head >= UNDER_WAY || old == 0 {
        let from = head.saturating_sub(UNDER_WAY);
        return Ok(Some(seek(log, from, head, old)?.unwrap_or(head)));
    }
    // The blocks that may be under way go back round the end.
    let from = end.saturating_sub(UNDER_WAY.saturating_sub(head)).max(head);
    if let Some(found) = seek(log, from, end, old.saturating_sub(1))? {
        return Ok(Some(found));
    }
    Ok(Some(seek(log, 0, head, old)?.unwrap_or(head)))
}

/// `head`, or the block where the last record begins if it is not there as a whole.
fn cut_partial(log: &Log, head: u64) -> FsResult<u64> {
    match last_record(log, head, LONGEST)? {
        Some(last) if last.blocks() != log.distance(last.at, log.wrap(head)) => Ok(last.at),
        _ => Ok(head),
    }
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

fn is_unmount(log: &Log, record: &Record) -> FsResult<bool> {
    Ok(record.first_flags(log)?.is_some_and(|flags| flags & UNMOUNT != 0))
}
