//! Applying the log in memory.
//!
//! As the kernel does it: first all records are read for the buffers that were freed, of which
//! nothing that was logged before is applied; then each committed transaction is applied in order,
//! its buffers first, then its inodes. What is on the volume and newer, by its own log sequence
//! number, stays.

use std::collections::BTreeMap;
use std::sync::Arc;

use volfold_block::{BlockDevice, byte_count};

use super::ends::Dirty;
use super::intents::Intents;
use super::items::{BufferItem, InodeItem, NewInodes, kind};
use super::overlay::{Changed, Overlay};
use super::transactions::{Item, Transaction, Transactions};
use super::walk::{Stopped, Walk};
use super::{BLOCK, Log, apply_inode};
use crate::error::{FsError, FsResult};
use crate::xfs::bytes::{array, be16, be64, put};
use crate::xfs::checksum;
use crate::xfs::inode::CHECKSUM_AT;
use crate::xfs::superblock::Superblock;
use crate::xfs::volume::Doubts;

/// The pieces of a buffer.
const PIECE: usize = 128;
/// LIMIT: buffers of 64 KiB, the largest block of a directory, and clusters of inodes.
const MAX_BUFFER_BLOCKS: u16 = 512;
/// LIMIT: buffers that were freed, 48 MiB of them.
const MAX_CANCELLED: usize = 1 << 20;

/// What the log was found to hold.
pub(in crate::xfs) struct Outcome {
    /// What it changes.
    pub(in crate::xfs) changed: Arc<Changed>,
    /// Transactions that were applied.
    pub(in crate::xfs) transactions: u64,
    /// Blocks of 512 bytes that were changed.
    pub(in crate::xfs) blocks: usize,
    /// Files with a change that was begun and not ended.
    pub(in crate::xfs) doubts: Doubts,
    /// Why what comes after some record was not applied.
    pub(in crate::xfs) stopped: Option<Stopped>,
}

/// Applies the part `ends` of `log` to the volume `device` of `superblock`.
///
/// # Errors
/// Why nothing of it was applied.
pub(in crate::xfs) fn replay(
    log: &Log,
    ends: &Dirty,
    device: &dyn BlockDevice,
    superblock: &Superblock,
) -> FsResult<Outcome> {
    let walk = Walk::new(log, ends)?;
    let mut cancelled = Cancelled::default();
    each_transaction(log, &walk, &mut |transaction| {
        for item in &transaction.items {
            if item.kind() == Some(kind::BUFFER) {
                cancelled.note(&buffer_item(item)?)?;
            }
        }
        Ok(())
    })?;
    let mut replay = Replay {
        superblock,
        overlay: Overlay::new(device),
        cancelled,
        intents: Intents::default(),
        transactions: 0,
    };
    each_transaction(log, &walk, &mut |transaction| replay.apply(&transaction))?;
    Ok(Outcome {
        transactions: replay.transactions,
        blocks: replay.overlay.len(),
        changed: replay.overlay.finish(),
        doubts: replay.intents.doubts(),
        stopped: walk.stopped,
    })
}

fn each_transaction(
    log: &Log,
    walk: &Walk,
    commit: &mut dyn FnMut(Transaction) -> FsResult<()>,
) -> FsResult<()> {
    let mut transactions = Transactions::default();
    walk.each(log, &mut |record, data| transactions.take(record, data, commit))
}

fn buffer_item(item: &Item) -> FsResult<BufferItem<'_>> {
    BufferItem::parse(item).ok_or_else(|| FsError::corrupt("buffer in the log is cut short"))
}

/// Buffers that were freed, by place and length, and how many times that is still to come.
#[derive(Default)]
struct Cancelled(BTreeMap<(u64, u64), u32>);

impl Cancelled {
    /// # Errors
    /// `Unsupported` if they are too many.
    fn note(&mut self, item: &BufferItem<'_>) -> FsResult<()> {
        if item.is_cancelled() {
            let count = self.0.entry((item.number, u64::from(item.length))).or_default();
            *count = count.saturating_add(1);
        }
        if self.0.len() > MAX_CANCELLED {
            return Err(FsError::unsupported("log frees too many buffers"));
        }
        Ok(())
    }

    fn has(&self, number: u64, length: u64) -> bool {
        self.0.contains_key(&(number, length))
    }

    fn has_any_at(&self, number: u64) -> bool {
        self.0.range((number, 0)..=(number, u64::MAX)).next().is_some()
    }

    /// Whether `item` is not to be applied.
    fn meets(&mut self, item: &BufferItem<'_>) -> bool {
        let key = (item.number, u64::from(item.length));
        let Some(count) = self.0.get_mut(&key) else { return false };
        if item.is_cancelled() {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.0.remove(&key);
            }
        }
        true
    }
}

struct Replay<'a> {
    superblock: &'a Superblock,
    overlay: Overlay<'a>,
    cancelled: Cancelled,
    intents: Intents,
    transactions: u64,
}

impl Replay<'_> {
    fn apply(&mut self, transaction: &Transaction) -> FsResult<()> {
        self.transactions = self.transactions.saturating_add(1);
        let lsn = transaction.lsn;
        let (mut last, mut others) = (Vec::new(), Vec::new());
        for item in &transaction.items {
            match item.kind() {
                Some(kind::BUFFER) if buffer_item(item)?.is_cancelled() => last.push(item),
                Some(kind::BUFFER) => self.buffer(item, lsn)?,
                Some(kind::NEW_INODES) => self.new_inodes(item)?,
                _ => others.push(item),
            }
        }
        for item in others {
            match item.kind() {
                Some(kind::INODE) => self.inode(item, lsn)?,
                _ => self.intents.take(item)?,
            }
        }
        for item in last {
            self.cancelled.meets(&buffer_item(item)?);
        }
        Ok(())
    }

    fn buffer(&mut self, item: &Item, lsn: u64) -> FsResult<()> {
        let parsed = buffer_item(item)?;
        if self.cancelled.meets(&parsed) || parsed.is_ignored() {
            return Ok(());
        }
        if parsed.length == 0 || parsed.length > MAX_BUFFER_BLOCKS {
            return Err(FsError::corrupt("buffer in the log has an invalid length"));
        }
        let mut bytes = self.overlay.read(parsed.number, u64::from(parsed.length))?;
        if self.superblock.features.is_v5
            && own_lsn(&bytes, &self.superblock.meta_uuid).is_some_and(|own| own >= lsn)
        {
            return Ok(());
        }
        for (index, (first, count)) in parsed.runs().into_iter().enumerate() {
            let region = item.region(index.saturating_add(1));
            let mut write = || {
                let start = first.checked_mul(PIECE)?;
                let length = count.checked_mul(PIECE)?.min(region.len());
                put(&mut bytes, start, region.get(..length)?)
            };
            write().ok_or_else(|| FsError::corrupt("buffer in the log is too long"))?;
        }
        if self.superblock.features.is_v5 {
            sum_again(&mut bytes, self.superblock.sector_size);
        }
        self.overlay.write(parsed.number, &bytes)
    }

    fn inode(&mut self, item: &Item, lsn: u64) -> FsResult<()> {
        let parsed = InodeItem::parse(item);
        let parsed = parsed.ok_or_else(|| FsError::corrupt("inode in the log is cut short"))?;
        if self.cancelled.has(parsed.number, u64::from(parsed.length)) {
            return Ok(());
        }
        let position = self.superblock.inode_position(parsed.inode);
        let position =
            position.ok_or_else(|| FsError::corrupt("log changes an inode that cannot be"))?;
        let size = u64::from(self.superblock.inode_size);
        let (first, count) = blocks_of(position, size);
        let mut bytes = self.overlay.read(first, count)?;
        let start = usize::try_from(position % BLOCK).unwrap_or_default();
        let inode = bytes
            .get_mut(start..)
            .and_then(|rest| rest.get_mut(..usize::from(self.superblock.inode_size)));
        let inode = inode.ok_or_else(|| FsError::corrupt("log changes an inode that cannot be"))?;
        if apply_inode::apply(self.superblock, &parsed, item, lsn, inode)? {
            self.overlay.write(first, &bytes)?;
        }
        Ok(())
    }

    fn new_inodes(&mut self, item: &Item) -> FsResult<()> {
        let invalid = || FsError::corrupt("new inodes in the log do not fit");
        let new = NewInodes::parse(item).ok_or_else(invalid)?;
        let superblock = self.superblock;
        let size = u64::from(superblock.inode_size);
        let bytes = superblock.bytes(u64::from(new.blocks)).ok_or_else(invalid)?;
        let group = superblock.group_position(u64::from(new.group)).ok_or_else(invalid)?;
        let end = u64::from(new.block).checked_add(u64::from(new.blocks));
        // LIMIT: a chunk has 64 inodes, or as many as a block.
        let fits = u64::from(new.inode_size) == size
            && u64::from(new.count).checked_mul(size) == Some(bytes)
            && bytes <= 64 * 2048 + 65536
            && end.is_some_and(|end| end <= superblock.group_blocks(u64::from(new.group)));
        if !fits || !superblock.features.is_v5 {
            return Err(invalid());
        }
        let into = superblock.bytes(u64::from(new.block)).ok_or_else(invalid)?;
        let start = group.checked_add(into).ok_or_else(invalid)?;
        if self.cancelled.has_any_at(start / BLOCK) {
            return Ok(());
        }
        let first = superblock.inode_at(u64::from(new.group), u64::from(new.block));
        let mut number = first.ok_or_else(invalid)?;
        let mut all = Vec::new();
        let mut inode = Vec::new();
        for _ in 0..new.count {
            inode.clear();
            inode.resize(usize::from(superblock.inode_size), 0);
            free_inode(&mut inode, number, new.generation, &superblock.meta_uuid)
                .ok_or_else(invalid)?;
            all.extend_from_slice(&inode);
            number = number.saturating_add(1);
        }
        self.overlay.write(start / BLOCK, &all)
    }
}

/// The blocks of 512 bytes that hold the `size` bytes at `position`: the first, and how many.
fn blocks_of(position: u64, size: u64) -> (u64, u64) {
    let end = position.saturating_add(size).div_ceil(BLOCK);
    let first = position / BLOCK;
    (first, end.saturating_sub(first))
}

fn free_inode(bytes: &mut [u8], number: u64, generation: u32, uuid: &[u8; 16]) -> Option<()> {
    put(bytes, 0, &crate::xfs::inode::MAGIC)?;
    put(bytes, 4, &[3])?;
    put(bytes, 0x5C, &generation.to_be_bytes())?;
    put(bytes, 0x60, &u32::MAX.to_be_bytes())?;
    put(bytes, 0x98, &number.to_be_bytes())?;
    put(bytes, 0xA0, uuid)?;
    checksum::store(bytes, CHECKSUM_AT)
}

/// Where a block of version 5 that begins with some magic number keeps its UUID, its log sequence
/// number and its checksum.
fn header_of(bytes: &[u8]) -> Option<(usize, usize, usize)> {
    Some(match &array(bytes, 0)? {
        b"XDB3" | b"XDD3" | b"XDF3" => (24, 16, 4),
        b"BMA3" => (40, 32, 64),
        b"AB3B" | b"AB3C" | b"IAB3" | b"FIB3" | b"RMB3" | b"R3FC" => (32, 24, 52),
        b"XSLM" | b"XARM" => (16, 48, 12),
        b"XAGF" => (64, 208, 216),
        b"XAGI" => (296, 320, 312),
        b"XAFL" => (8, 24, 32),
        b"XFSB" => (0xF8, 0xF0, 0xE0),
        _ if matches!(be16(bytes, 8)?, 0x3DF1 | 0x3DFF | 0x3EBE | 0x3BEE) => (32, 24, 12),
        _ => return None,
    })
}

/// The log sequence number that the block in `bytes` has, if it is one of the file system with `uuid`.
fn own_lsn(bytes: &[u8], uuid: &[u8; 16]) -> Option<u64> {
    let (uuid_at, lsn_at, _) = header_of(bytes)?;
    // The superblock has a second UUID only with the feature.
    let is_own = array(bytes, uuid_at).as_ref() == Some(uuid) || bytes.starts_with(b"XFSB");
    be64(bytes, lsn_at).filter(|&lsn| is_own && lsn != 0 && lsn != u64::MAX)
}

/// LIMIT: groups whose headers are looked at.
const MAX_GROUPS: u64 = 256;

/// The newest log sequence number in the headers of the groups on `device`.
///
/// # Errors
/// Only if they cannot be read.
pub(in crate::xfs) fn newest_in_headers(
    device: &dyn BlockDevice,
    superblock: &Superblock,
) -> FsResult<u64> {
    let size = superblock.sector_size;
    let mut sector = vec![0; volfold_block::bytes_to_index(size)?];
    let mut newest = 0;
    for group in 0..superblock.ag_count.min(MAX_GROUPS) {
        let Some(start) = superblock.group_position(group) else { break };
        for number in 0..4_u64 {
            let at = start.saturating_add(number.saturating_mul(size));
            if device.read_at(at, &mut sector).is_ok() {
                newest = newest.max(own_lsn(&sector, &superblock.meta_uuid).unwrap_or(0));
            }
        }
    }
    Ok(newest)
}

/// Gives the block in `bytes` the checksum that the kernel gives it when it is written.
fn sum_again(bytes: &mut [u8], sector_size: u64) {
    let Some((_, _, at)) = header_of(bytes) else { return };
    let is_sector = bytes.starts_with(b"XFSB") || bytes.starts_with(b"XAG");
    let covered =
        if is_sector { sector_size.min(byte_count(bytes.len())) } else { byte_count(bytes.len()) };
    let covered = usize::try_from(covered).unwrap_or_default();
    if let Some(covered) = bytes.get_mut(..covered) {
        // A block without room for its checksum has none.
        let _ = checksum::store(covered, at);
    }
}
