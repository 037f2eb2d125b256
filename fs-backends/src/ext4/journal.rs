//! The journal (JBD2): changes that were promised but not yet written to their places.
//!
//! Specification: kernel documentation, "ext4 Data Structures and Algorithms", chapter "Journal
//! (jbd2)". Big-endian. The journal is a file of blocks, or a device of its own; each block that
//! is not a copy begins with
//!
//! | offset | size | field       | rule                                                         |
//! |--------|------|-------------|--------------------------------------------------------------|
//! | 0x00   | 4    | `magic`     | 0xC03B3998                                                   |
//! | 0x04   | 4    | `kind`      | 1 descriptor, 2 commit, 3 and 4 superblock, 5 revocation     |
//! | 0x08   | 4    | `sequence`  | number of the transaction                                    |
//!
//! The superblock is block 0 of a file; on a device it follows the block of the device's own
//! superblock, see [`super::journal_device`]:
//!
//! | offset | size | field       | rule                                                         |
//! |--------|------|-------------|--------------------------------------------------------------|
//! | 0x0C   | 4    | `block_size`| that of the file system                                      |
//! | 0x10   | 4    | `blocks`    | at most those of the file                                    |
//! | 0x14   | 4    | `first`     | first block of the log                                       |
//! | 0x18   | 4    | `sequence`  | of the first transaction                                     |
//! | 0x1C   | 4    | `start`     | where the first transaction begins, 0 if there is none       |
//! | 0x28   | 4    | `incompat`  | feature bits; an unknown one forbids to replay               |
//! | 0x30   | 16   | `uuid`      | checksums begin with it                                      |
//! | 0x40   | 4    | `users`     | on a device: how many file systems share the journal         |
//! | 0x50   | 1    | `checksum_type` | 4, CRC-32C                                               |
//! | 0x54   | 4    | `fast_blocks` | with fast_commit: blocks at the end, see [`super::fast_commit`] |
//! | 0xFC   | 4    | `checksum`  | with checksums: CRC-32C of 1024 bytes, this field taken as 0 |
//!
//! A transaction is a number of descriptors, each followed by the blocks it names, of revocations,
//! and a commit block. What has no commit block did not happen. Nothing is written here: the
//! blocks are served from the journal in place of their old selves, see [`super::replayed`].

use std::collections::BTreeMap;
use std::mem::offset_of;
use std::ops::Range;
use std::sync::Arc;

use volfold_block::{BlockDevice, bytes_to_index};
use zerocopy::byteorder::{BE, U32};
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

use super::checksum;
use super::journal_tags::{self, Layout, Tag};
use crate::error::{FsError, FsResult};
use crate::extents::Extents;

/// What a block of the journal begins with; also put back into blocks that began with it.
pub(super) const MAGIC: u32 = 0xC03B_3998;
/// LIMIT: blocks of the log that are looked at; mke2fs makes at most 2^18 by itself.
const MAX_LOG_BLOCKS: u64 = 1 << 20;
const CHECKSUM_AT: usize = 0xFC;
/// Where a commit block keeps its checksum.
const COMMIT_CHECKSUM_AT: usize = 0x10;
const CHECKSUM_CRC32C: u8 = 4;

/// LIMIT: blocks after the end of the log that are looked at for a transaction that was lost.
const MAX_LOOKED_AT: u64 = 4096;
/// LIMIT: how far the number of a lost transaction is above that of the last.
const MAX_LOST: u32 = 4096;

const COMMIT: u32 = 2;

const REVOKE: u32 = 0x01;
const BIT64: u32 = 0x02;
const ASYNC_COMMIT: u32 = 0x04;
const CSUM_V2: u32 = 0x08;
const CSUM_V3: u32 = 0x10;
const FAST_COMMIT: u32 = 0x20;
const KNOWN: u32 = REVOKE | BIT64 | ASYNC_COMMIT | CSUM_V2 | CSUM_V3 | FAST_COMMIT;

#[derive(FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawHeader {
    magic: U32<BE>,
    kind: U32<BE>,
    sequence: U32<BE>,
}
const _: () = assert!(size_of::<RawHeader>() == 0x0C);

#[derive(FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawSuperblock {
    header: RawHeader,
    block_size: U32<BE>,
    blocks: U32<BE>,
    first: U32<BE>,
    sequence: U32<BE>,
    start: U32<BE>,
    errno: U32<BE>,
    compat: U32<BE>,
    incompat: U32<BE>,
    ro_compat: U32<BE>,
    uuid: [u8; 16],
    users: U32<BE>,
    unread_44: [u8; 0x0C],
    checksum_type: u8,
    unread_51: [u8; 0x03],
    fast_blocks: U32<BE>,
    unread_58: [u8; 0xA4],
    checksum: U32<BE>,
}
const _: () = assert!(offset_of!(RawSuperblock, start) == 0x1C);
const _: () = assert!(offset_of!(RawSuperblock, uuid) == 0x30);
const _: () = assert!(offset_of!(RawSuperblock, checksum_type) == 0x50);
const _: () = assert!(offset_of!(RawSuperblock, checksum) == CHECKSUM_AT);

/// Where the newest copy of a block lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct JournalCopy {
    /// The position of the copy on the device of the journal.
    pub(super) position: u64,
    /// Whether the first four bytes are [`MAGIC`] and were taken out.
    pub(super) escaped: bool,
}

/// What the journal holds that is not in its place.
#[derive(Debug, Default)]
pub(super) struct Replay {
    /// By block of the file system.
    pub(super) copies: BTreeMap<u64, JournalCopy>,
    pub(super) transactions: u64,
    /// Where fast commits may follow.
    pub(super) fast: Option<FastArea>,
    /// Why the log was not read further, if it did not end as logs do.
    pub(super) stopped: Option<String>,
}

/// Where fast commits may be.
#[derive(Clone, Debug)]
pub(super) struct FastArea {
    /// Blocks of the journal.
    pub(super) blocks: Range<u64>,
    /// The number of the transaction that the commits are a part of.
    pub(super) sequence: u32,
}

/// Where a journal lies.
pub(super) struct Journal {
    /// The device that it is read from, and its copies later.
    pub(super) device: Arc<dyn BlockDevice>,
    /// Where its blocks are on that device.
    pub(super) extents: Extents,
    /// The bytes of all its blocks.
    pub(super) size: u64,
    /// That of the file system.
    pub(super) block_size: u64,
    /// The number of the block that begins with the journal's superblock.
    pub(super) superblock: u64,
}

impl Journal {
    /// Reads all committed transactions.
    ///
    /// # Errors
    /// `Corrupt` if the journal is damaged inside a committed transaction, `Unsupported` if it is
    /// of an unknown kind.
    pub(super) fn read(&self) -> FsResult<Replay> {
        let mut block = self.block_buffer()?;
        self.read_block(self.superblock, &mut block)?;
        let Some(mut log) = Log::open(self, &block)? else {
            return Ok(Replay::default());
        };
        // Each turn takes at least one block of the budget.
        while log.step(&mut block)? {}
        log.look_after_the_end(&mut block)?;
        Ok(log.replay)
    }

    /// # Errors
    /// `Corrupt` if it does not begin with the superblock of a journal.
    pub(super) fn check(&self) -> FsResult<()> {
        let mut block = self.block_buffer()?;
        self.read_block(self.superblock, &mut block)?;
        superblock(&block).map(|_| ())
    }

    /// A buffer of one block.
    pub(super) fn block_buffer(&self) -> FsResult<Vec<u8>> {
        Ok(vec![0; bytes_to_index(self.block_size)?])
    }

    /// Where the block `number` begins in the journal.
    fn offset(&self, number: u64) -> FsResult<u64> {
        let offset = number.checked_mul(self.block_size);
        let end = offset.and_then(|offset| offset.checked_add(self.block_size));
        offset
            .filter(|_| end.is_some_and(|end| end <= self.size))
            .ok_or_else(|| FsError::corrupt("journal is cut short"))
    }

    /// Fills `block` with the block `number`.
    ///
    /// # Errors
    /// `Corrupt` if the journal has no such block; why it cannot be read.
    pub(super) fn read_block(&self, number: u64, block: &mut [u8]) -> FsResult<()> {
        self.extents.read(&*self.device, self.offset(number)?, block)
    }

    /// Where the block `number` lies on the device.
    fn position(&self, number: u64) -> FsResult<u64> {
        let position = self.extents.position(self.offset(number)?);
        position.ok_or_else(|| FsError::corrupt("journal file has holes"))
    }
}

struct Log<'a> {
    journal: &'a Journal,
    layout: Layout,
    first: u64,
    end: u64,
    next: u64,
    sequence: u32,
    budget: u64,
    /// The blocks of fast commits.
    fast: Range<u64>,
    replay: Replay,
    /// The blocks of the transaction that is being read.
    pending: Vec<(u64, JournalCopy)>,
    revoked: Vec<u64>,
    /// Whether a copy in that transaction has a bad checksum.
    bad_copy: bool,
}

impl<'a> Log<'a> {
    /// Checks the journal superblock in `block`; `None` if the journal is empty.
    fn open(journal: &'a Journal, block: &[u8]) -> FsResult<Option<Self>> {
        let raw = superblock(block)?;
        if u64::from(raw.block_size.get()) != journal.block_size {
            return Err(FsError::corrupt("journal has a wrong block size"));
        }
        // A superblock of version 1 has no features.
        let has_features = raw.header.kind.get() == 4;
        let incompat = if has_features { raw.incompat.get() } else { 0 };
        check_features(incompat)?;
        let layout = Layout {
            bit64: incompat & BIT64 != 0,
            csum_v2: incompat & CSUM_V2 != 0,
            csum_v3: incompat & CSUM_V3 != 0,
            seed: checksum::sum(&raw.uuid),
        };
        if has_features && raw.users.get() > 1 {
            return Err(FsError::unsupported("journal is shared by several file systems"));
        }
        check_sum(raw, &layout, block)?;
        if raw.start.get() == 0 {
            return Ok(None);
        }
        let fast = match incompat & FAST_COMMIT {
            0 => 0,
            // 0 stands for 256.
            _ if raw.fast_blocks.get() == 0 => 256,
            _ => u64::from(raw.fast_blocks.get()),
        };
        let blocks = u64::from(raw.blocks.get());
        let end = blocks.saturating_sub(fast);
        let first = u64::from(raw.first.get());
        let start = u64::from(raw.start.get());
        if blocks > journal.size.div_ceil(journal.block_size)
            || first <= journal.superblock
            || start < first
            || start >= end
        {
            return Err(FsError::corrupt("journal superblock has invalid bounds"));
        }
        Ok(Some(Self {
            journal,
            layout,
            first,
            end,
            next: start,
            sequence: raw.sequence.get(),
            budget: end.saturating_sub(first).min(MAX_LOG_BLOCKS),
            // QUIRK: Linux leaves one block free between the log and the fast commits.
            fast: if fast > 0 { end.saturating_add(1)..blocks } else { 0..0 },
            replay: Replay::default(),
            pending: Vec::new(),
            revoked: Vec::new(),
            bad_copy: false,
        }))
    }

    /// Takes in the next block of the log, with the blocks that it names; false at the end.
    fn step(&mut self, block: &mut [u8]) -> FsResult<bool> {
        let Some(number) = self.advance() else {
            self.stop("the log runs around in a circle");
            return Ok(false);
        };
        self.journal.read_block(number, block)?;
        let (header, _) = RawHeader::ref_from_prefix(block)
            .map_err(|_| FsError::corrupt("journal block is cut short"))?;
        if header.magic.get() != MAGIC || header.sequence.get() != self.sequence {
            return Ok(false);
        }
        match header.kind.get() {
            1 => self.descriptor(block),
            COMMIT => self.commit(block),
            5 => self.revocation(block),
            _ => Ok(false),
        }
    }

    fn descriptor(&mut self, block: &[u8]) -> FsResult<bool> {
        if !self.tail_is_good(block) {
            self.stop("a descriptor block has a bad checksum");
            return Ok(false);
        }
        let Some(tags) = journal_tags::parse(&self.layout, block) else {
            self.stop("a descriptor block is damaged");
            return Ok(false);
        };
        let mut copy = self.journal.block_buffer()?;
        for tag in tags {
            let Some(number) = self.advance() else {
                self.stop("the log runs around in a circle");
                return Ok(false);
            };
            self.copy(&tag, number, &mut copy)?;
        }
        Ok(true)
    }

    fn copy(&mut self, tag: &Tag, number: u64, bytes: &mut [u8]) -> FsResult<()> {
        let position = self.journal.position(number)?;
        if self.layout.has_sums() {
            self.journal.read_block(number, bytes)?;
            let sum = checksum::update(self.layout.seed, &self.sequence.to_be_bytes());
            if !tag.sum_is(checksum::update(sum, bytes)) {
                self.bad_copy = true;
            }
        }
        let copy = JournalCopy { position, escaped: tag.escaped };
        self.pending.push((tag.block, copy));
        Ok(())
    }

    fn revocation(&mut self, block: &[u8]) -> FsResult<bool> {
        if !self.tail_is_good(block) {
            self.stop("a revocation block has a bad checksum");
            return Ok(false);
        }
        match journal_tags::parse_revocation(&self.layout, block) {
            Some(blocks) => {
                self.revoked.extend(blocks);
                Ok(true)
            }
            None => {
                self.stop("a revocation block is damaged");
                Ok(false)
            }
        }
    }

    /// Makes the blocks of the transaction count.
    fn commit(&mut self, block: &[u8]) -> FsResult<bool> {
        if self.layout.has_sums() {
            let stored = block.get(COMMIT_CHECKSUM_AT..).and_then(<[u8]>::first_chunk);
            let sum = sum_without(self.layout.seed, block, COMMIT_CHECKSUM_AT);
            if sum != stored.map(|&bytes| u32::from_be_bytes(bytes)) {
                self.stop("a commit block has a bad checksum");
                return Ok(false);
            }
        }
        if self.bad_copy {
            return Err(FsError::corrupt("journal block has a bad checksum"));
        }
        for (block, copy) in self.pending.drain(..) {
            self.replay.copies.insert(block, copy);
        }
        // A revoked block was freed: older copies, those of this transaction too, must not count.
        for block in self.revoked.drain(..) {
            self.replay.copies.remove(&block);
        }
        self.replay.transactions = self.replay.transactions.saturating_add(1);
        self.sequence = self.sequence.wrapping_add(1);
        Ok(true)
    }

    /// Notes where changes may follow the last transaction, and whether it was the last.
    fn look_after_the_end(&mut self, block: &mut [u8]) -> FsResult<()> {
        if self.replay.stopped.is_some() {
            return Ok(());
        }
        for _ in 0..MAX_LOOKED_AT {
            let Some(number) = self.advance() else { break };
            self.journal.read_block(number, block)?;
            let (header, _) = RawHeader::ref_from_prefix(block)
                .map_err(|_| FsError::corrupt("journal block is cut short"))?;
            // Blocks of older rounds have lower numbers, and copies never begin with the magic.
            let ahead = header.sequence.get().wrapping_sub(self.sequence);
            if header.magic.get() == MAGIC && header.kind.get() == COMMIT && ahead < MAX_LOST {
                self.stop("a transaction that was committed cannot be read");
                return Ok(());
            }
        }
        if !self.fast.is_empty() {
            self.replay.fast =
                Some(FastArea { blocks: self.fast.clone(), sequence: self.sequence });
        }
        Ok(())
    }

    /// The number of the next block of the log, `None` once all were seen.
    fn advance(&mut self) -> Option<u64> {
        self.budget = self.budget.checked_sub(1)?;
        let number = self.next;
        let next = number.saturating_add(1);
        self.next = if next >= self.end { self.first } else { next };
        Some(number)
    }

    fn stop(&mut self, why: &str) {
        self.replay.stopped = Some(why.to_owned());
    }

    /// Whether the checksum in the last four bytes of a descriptor or revocation block holds.
    fn tail_is_good(&self, block: &[u8]) -> bool {
        if !self.layout.has_sums() {
            return true;
        }
        let at = block.len().saturating_sub(4);
        let stored = block.last_chunk().map(|&bytes| u32::from_be_bytes(bytes));
        sum_without(self.layout.seed, block, at) == stored
    }
}

fn superblock(block: &[u8]) -> FsResult<&RawSuperblock> {
    let (raw, _) = RawSuperblock::ref_from_prefix(block)
        .map_err(|_| FsError::corrupt("journal superblock is cut short"))?;
    if raw.header.magic.get() != MAGIC || !matches!(raw.header.kind.get(), 3 | 4) {
        return Err(FsError::corrupt("journal superblock has a wrong signature"));
    }
    Ok(raw)
}

fn check_features(incompat: u32) -> FsResult<()> {
    let unknown = incompat & !KNOWN;
    if unknown != 0 {
        let message = format!("journal uses unknown features {unknown:#x}");
        return Err(FsError::unsupported(message));
    }
    if incompat & ASYNC_COMMIT != 0 && incompat & (CSUM_V2 | CSUM_V3) == 0 {
        // Only sums of version 1 would tell whether all blocks of a transaction arrived.
        return Err(FsError::unsupported("journal has asynchronous commits without checksums"));
    }
    Ok(())
}

/// The sum of `bytes` with the four at `at` taken as 0.
fn sum_without(seed: u32, bytes: &[u8], at: usize) -> Option<u32> {
    let sum = checksum::update(seed, bytes.get(..at)?);
    let sum = checksum::update(sum, &[0; 4]);
    Some(checksum::update(sum, bytes.get(at.checked_add(4)?..)?))
}

fn check_sum(raw: &RawSuperblock, layout: &Layout, block: &[u8]) -> FsResult<()> {
    if !layout.has_sums() {
        return Ok(());
    }
    if raw.checksum_type != CHECKSUM_CRC32C {
        return Err(FsError::unsupported("journal has an unknown kind of checksum"));
    }
    let covered = block.get(..1024).unwrap_or_default();
    if sum_without(u32::MAX, covered, CHECKSUM_AT) != Some(raw.checksum.get()) {
        return Err(FsError::corrupt("journal superblock has a bad checksum"));
    }
    Ok(())
}
