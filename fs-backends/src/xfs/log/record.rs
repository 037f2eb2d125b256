//! A record of the log.
//!
//! | offset | size | field         | rule                                                          |
//! |--------|------|---------------|---------------------------------------------------------------|
//! | 0x000  | 4    | `magic`       | 0xFEEDBABE                                                    |
//! | 0x004  | 4    | `cycle`       |                                                               |
//! | 0x008  | 4    | `version`     | 1 or 2                                                        |
//! | 0x00C  | 4    | `length`      | of the data                                                   |
//! | 0x010  | 8    | `lsn`         | `cycle` and the block that it lies in                         |
//! | 0x018  | 8    | `tail_lsn`    | of the oldest record that is needed                           |
//! | 0x020  | 4    | `checksum`    | little-endian; CRC-32C of the header, up to its padding, and the data |
//! | 0x028  | 4    | `operations`  |                                                               |
//! | 0x02C  | 256  | `cycle_data`  | the first four bytes of each of 64 blocks of data             |
//! | 0x12C  | 4    | `format`      | 1: items are little-endian                                    |
//! | 0x130  | 16   | `uuid`        | of the file system                                            |
//! | 0x140  | 4    | `size`        | version 2: of the writer's buffer; above 32 KiB there is a header block for each 32 KiB |
//!
//! Every other header block has the cycle and 64 more entries of `cycle_data`. In a record that goes on
//! at the begin of the ring the blocks there have the next cycle.

use volfold_block::bytes_to_index;

use super::{BLOCK, Log, cycles};
use crate::error::{FsError, FsResult};
use crate::xfs::bytes::{array, be32, be64, byte, put};

const MAGIC: u32 = 0xFEED_BABE;
/// LIMIT: the largest buffer of the specification.
const MAX_LENGTH: u32 = 256 << 10;
/// The data that one header block keeps the first bytes of.
const PER_HEADER: u64 = 32 << 10;
const ENTRIES: usize = 64;
const LENGTH_OF_BLOCK: usize = 512;
const CHECKSUM_AT: usize = 0x20;
const CYCLE_DATA_AT: usize = 0x2C;
/// The bytes of a header that are summed: as the compilers of 64-bit and 32-bit systems lay it out.
const SUMMED: [usize; 2] = [328, 324];
const SUMMED_MORE: usize = 260;
/// Where an operation has its flags.
const FLAGS_AT: usize = 9;
const FORMAT_LITTLE_ENDIAN: u32 = 1;

/// The header of a record.
#[derive(Clone, Debug)]
pub(super) struct Record {
    /// Its block.
    pub(super) at: u64,
    pub(super) lsn: u64,
    pub(super) tail_lsn: u64,
    pub(super) operations: u32,
    length: u32,
    header_blocks: u64,
    is_little_endian: bool,
    is_unsummed: bool,
}

/// The UUID of the file system that the record with the header in `block` belongs to; `None` if it is
/// no header.
pub(super) fn owner(block: &[u8]) -> Option<[u8; 16]> {
    let is_header = be32(block, 0)? == MAGIC
        && matches!(be32(block, 8)?, 1..=3)
        && be32(block, 0x0C)? <= MAX_LENGTH
        && matches!(be32(block, 0x12C)?, 1..=3);
    if is_header { array(block, 0x130) } else { None }
}

impl Record {
    /// A record of `operations` operations whose data is elsewhere.
    #[cfg(test)]
    pub(super) fn with_operations(lsn: u64, operations: u32) -> Self {
        Self {
            at: 0,
            lsn,
            tail_lsn: lsn,
            operations,
            length: 0,
            header_blocks: 1,
            is_little_endian: true,
            is_unsummed: false,
        }
    }

    /// The record whose header is in `block`, which is block `at`; `None` if it is none of this log.
    pub(super) fn parse(log: &Log, block: &[u8], at: u64) -> Option<Self> {
        if be32(block, 0)? != MAGIC || array(block, 0x130)? != log.uuid {
            return None;
        }
        let (version, length, size) = (be32(block, 8)?, be32(block, 0x0C)?, be32(block, 0x140)?);
        let lsn = be64(block, 0x10)?;
        let own = u64::from(be32(block, 4)?) << 32 | at;
        if !matches!(version, 1..=3) || length > MAX_LENGTH || lsn != own {
            return None;
        }
        let several = version & 2 != 0 && u64::from(size) > PER_HEADER && size <= MAX_LENGTH;
        Some(Self {
            at,
            lsn,
            tail_lsn: be64(block, 0x18)?,
            operations: be32(block, 0x28)?,
            length,
            header_blocks: if several { u64::from(size).div_ceil(PER_HEADER) } else { 1 },
            is_little_endian: be32(block, 0x12C)? == FORMAT_LITTLE_ENDIAN,
            is_unsummed: be32(block, CHECKSUM_AT)? == 0,
        })
    }

    /// Reads the header at block `at`; `None` if there is none.
    pub(super) fn read(log: &Log, at: u64) -> FsResult<Option<Self>> {
        let mut block = [0; LENGTH_OF_BLOCK];
        log.read(at, &mut block)?;
        Ok(Self::parse(log, &block, log.wrap(at)))
    }

    /// The blocks of header and data.
    pub(super) fn blocks(&self) -> u64 {
        self.header_blocks.saturating_add(u64::from(self.length).div_ceil(BLOCK))
    }

    /// The block after it.
    pub(super) fn end(&self, log: &Log) -> u64 {
        log.wrap(self.at.saturating_add(self.blocks()))
    }

    /// Whether it has no checksum.
    pub(super) fn is_unsummed(&self) -> bool {
        self.is_unsummed
    }

    /// Whether every one of its blocks was written, as their cycles say.
    pub(super) fn is_written(&self, log: &Log) -> FsResult<bool> {
        Ok(self.has_own_cycles(log, &self.all(log)?))
    }

    /// Whether the blocks of `all` have the cycles that they were written with.
    fn has_own_cycles(&self, log: &Log, all: &[u8]) -> bool {
        let cycle = self.lsn >> 32;
        let (blocks, _) = all.as_chunks::<LENGTH_OF_BLOCK>();
        (self.at..).zip(blocks).all(|(at, block)| {
            let round = u64::from(at >= log.blocks);
            u64::from(cycles::of(block)) == cycle.saturating_add(round)
        })
    }

    /// Its bytes, as they lie in the log.
    fn all(&self, log: &Log) -> FsResult<Vec<u8>> {
        let mut all = vec![0; bytes_to_index(self.blocks().saturating_mul(BLOCK))?];
        log.read(self.at, &mut all)?;
        Ok(all)
    }

    /// The flags of the first operation; `mkfs.xfs` gives the one record that it writes no checksum.
    pub(super) fn first_flags(&self, log: &Log) -> FsResult<Option<u8>> {
        let mut block = [0; LENGTH_OF_BLOCK];
        log.read(self.at.saturating_add(self.header_blocks), &mut block)?;
        Ok(byte(&block, FLAGS_AT))
    }

    /// The data as it was before the log was written; `None` if it is not there as a whole: the
    /// checksum is bad, or a block has another cycle.
    ///
    /// # Errors
    /// If it cannot be read, `Unsupported` if a machine of another kind wrote it.
    pub(super) fn data(&self, log: &Log) -> FsResult<Option<Vec<u8>>> {
        if !self.is_little_endian {
            return Err(FsError::unsupported("log was written by a big-endian machine"));
        }
        let cut = || FsError::corrupt("record of the log is cut short");
        let mut header = self.all(log)?;
        if !self.has_own_cycles(log, &header) {
            return Ok(None);
        }
        let header_size = bytes_to_index(self.header_blocks.saturating_mul(BLOCK))?;
        let mut data = header.split_off(header_size.min(header.len()));
        let length = bytes_to_index(u64::from(self.length))?;
        let is_good = {
            let summed = data.get(..length).ok_or_else(cut)?;
            self.has_good_checksum(log, &header, summed)
        };
        if !is_good {
            return Ok(None);
        }
        for (index, block) in data.chunks_mut(LENGTH_OF_BLOCK).enumerate() {
            let first = first_bytes(&header, index).ok_or_else(cut)?;
            put(block, 0, &first).ok_or_else(cut)?;
        }
        data.truncate(length);
        Ok(Some(data))
    }

    fn has_good_checksum(&self, log: &Log, header: &[u8], data: &[u8]) -> bool {
        let Some(stored) = array(header, CHECKSUM_AT).map(u32::from_le_bytes) else {
            return false;
        };
        if stored == 0 && !log.has_checksums {
            return true;
        }
        // A fuzzer finds no good sums.
        cfg!(fuzzing)
            || SUMMED.iter().any(|&size| self.checksum(header, size, data) == Some(stored))
    }

    fn checksum(&self, header: &[u8], size: usize, data: &[u8]) -> Option<u32> {
        let mut sum = crate::xfs::checksum::of(header.get(..size)?, CHECKSUM_AT)?;
        let more = u64::from(self.length).div_ceil(PER_HEADER);
        let (blocks, _) = header.as_chunks::<LENGTH_OF_BLOCK>();
        for block in blocks.iter().take(usize::try_from(more).ok()?).skip(1) {
            sum = crc32c::crc32c_append(sum, block.get(..SUMMED_MORE)?);
        }
        Some(crc32c::crc32c_append(sum, data))
    }
}

/// What the first four bytes of block `index` of the data were.
fn first_bytes(header: &[u8], index: usize) -> Option<[u8; 4]> {
    let (block, entry) = (index / ENTRIES, index % ENTRIES);
    let start = match block {
        0 => CYCLE_DATA_AT,
        _ => block.checked_mul(LENGTH_OF_BLOCK)?.checked_add(4)?,
    };
    array(header, start.checked_add(entry.checked_mul(4)?)?)
}
