//! The journal of an array with parity: writes that may not be on its devices yet.
//!
//! Source: `drivers/md/raid5-log-format.h` and `raid5-cache.c` of Linux. Little-endian. The log is a ring of
//! blocks of 4 KiB on the data of the journal's device; the superblock has where it begins. A meta block,
//! which the blocks of its entries follow:
//!
//! | offset | size | field       | rule                                                              |
//! |--------|------|-------------|-------------------------------------------------------------------|
//! | 0x00   | 4    | `magic`     | 0x6433c509                                                        |
//! | 0x04   | 4    | `checksum`  | CRC-32C of the UUID of the array and the block, this taken as 0   |
//! | 0x08   | 1    | `version`   | 1                                                                 |
//! | 0x0C   | 4    | `meta_size` | bytes of the block that are used                                  |
//! | 0x10   | 8    | `seq`       | one more than that of the block before                            |
//! | 0x18   | 8    | `position`  | where it is, in sectors after the start of the data               |
//!
//! An entry:
//!
//! | offset | size | field       | rule                                                              |
//! |--------|------|-------------|-------------------------------------------------------------------|
//! | 0x00   | 2    | `type`      | 0 data, 1 parity, 2 stripes that were written to the devices      |
//! | 0x02   | 2    | `flags`     | not looked at                                                     |
//! | 0x04   | 4    | `size`      | in sectors; of type 2 the bytes that follow                       |
//! | 0x08   | 8    | `location`  | sector of the array; of parity not looked at                      |
//! | 0x10   | 4 n  | `checksum`  | of each 4 KiB, as that of the meta block                          |
//!
//! What does not fit ends the log, as Linux has it. Data in the log is as new as, or newer than, that on the
//! devices, and is read from there; parity on the devices may not fit it.

use std::collections::BTreeMap;
use std::sync::Arc;

use volfold_block::{
    BlockDevice, BlockError, BlockResult, ByteReader, Map, Piece, Place, Slice, error_chain,
};

use super::member::Member;
use crate::volume::refusal::Refusal;

/// Bytes of a block of the log, and of a page of the array.
const PAGE: u64 = 4096;

/// The same in memory.
const BLOCK: usize = 4096;

/// LIMIT: blocks of the log that are looked at: 1 GiB, and each block of the ring once.
const MAX_BLOCKS: u64 = 1 << 18;

/// What the log of an array holds.
pub(super) struct Journal {
    log: Arc<dyn BlockDevice>,
    /// By the first byte on the array, the place of the newest page in the log.
    pages: BTreeMap<u64, u64>,
}

impl Journal {
    /// The journals of an array, of which there must be one, as new as `events`.
    ///
    /// # Errors
    /// Why the array must not be read.
    pub(super) fn read(devices: &[&Member<'_>], events: u64) -> Result<Self, Refusal> {
        let [device] = devices else {
            return Err(Refusal::missing(match devices.len() {
                0 => {
                    "has a journal that may hold newer writes, and its device is missing; give its \
                     image with the others"
                }
                _ => "has a journal whose device is given more than once; give only one",
            }));
        };
        let what = device.what();
        if device.superblock.events.saturating_add(1) < events {
            let line = format!("has a journal ({what}) that is older than its devices");
            return Err(Refusal::missing(line));
        }
        Scan::new(device).and_then(Scan::run).map_err(|error| Refusal {
            kind: error.kind(),
            line: format!("has a journal ({what}) that is not read: {}", error_chain(&error)),
        })
    }

    /// Whether it holds nothing.
    pub(super) fn is_empty(&self) -> bool {
        self.pages.is_empty()
    }

    /// `array` with what the journal holds.
    ///
    /// # Errors
    /// `Corrupt` if that is past the end of the array.
    pub(super) fn over(self, array: Arc<dyn BlockDevice>) -> BlockResult<Journaled> {
        let last = self.pages.keys().next_back().and_then(|page| page.checked_add(PAGE));
        if last.is_some_and(|end| end > array.size()) {
            return Err(BlockError::corrupt("journal has data past the end of the array", 0, 0));
        }
        Ok(Journaled { array, journal: self })
    }
}

/// An array with what its journal holds.
pub(super) struct Journaled {
    array: Arc<dyn BlockDevice>,
    journal: Journal,
}

impl Map for Journaled {
    fn size(&self) -> u64 {
        self.array.size()
    }

    fn sector_size(&self) -> u32 {
        self.array.sector_size()
    }

    fn locate(&self, offset: u64, _wanted: u64) -> BlockResult<Piece<'_>> {
        let left = self.array.size().checked_sub(offset).filter(|left| *left > 0);
        let left = left.ok_or_else(|| BlockError::out_of_range(offset, 1, self.array.size()))?;
        let inside = offset & PAGE.saturating_sub(1);
        let page = offset.saturating_sub(inside);
        let pages = &self.journal.pages;
        if let Some(at) = pages.get(&page) {
            let place = Place::At(&self.journal.log, at.saturating_add(inside));
            return Ok(Piece::new(place, left.min(PAGE.saturating_sub(inside))));
        }
        let next = pages.range(page..).next().map(|(next, _)| next.saturating_sub(offset));
        Ok(Piece::new(Place::At(&self.array, offset), next.unwrap_or(left).min(left)))
    }
}

/// What is kept while the log is looked through.
struct Scan {
    log: Arc<dyn BlockDevice>,
    /// Bytes of the ring.
    ring: u64,
    next: u64,
    /// The checksum of the UUID of the array.
    seed: u32,
    pages: BTreeMap<u64, u64>,
    /// Blocks that may still be looked at.
    budget: u64,
}

/// An entry of a meta block.
enum Entry {
    /// Pages of the array from a byte on, with their checksums.
    Data(u64, Vec<u32>),
    /// Pages of parity.
    Parity(Vec<u32>),
    /// Nothing that lies in the log.
    Flush,
}

impl Scan {
    fn new(device: &Member<'_>) -> BlockResult<Self> {
        let own = &device.superblock;
        let ring = own.data_size.saturating_sub(own.data_size & PAGE.saturating_sub(1));
        let disk = device.region.device.clone();
        let log = Arc::new(Slice::part(disk, own.data_offset, ring)?);
        let seed = crc32c::crc32c(&own.array_bytes);
        let (next, pages) = (own.journal_tail, BTreeMap::new());
        let budget = ring.div_euclid(PAGE).min(MAX_BLOCKS);
        Ok(Self { log, ring, next, seed, pages, budget })
    }

    fn run(mut self) -> BlockResult<Journal> {
        let mut sequence = None;
        while let Some((own, entries)) = self.meta_block(sequence)? {
            let mut found = Vec::new();
            let mut is_right = true;
            for entry in entries {
                let (start, sums) = match entry {
                    Entry::Data(start, sums) => (Some(start), sums),
                    Entry::Parity(sums) => (None, sums),
                    Entry::Flush => continue,
                };
                for (number, sum) in (0_u64..).zip(sums) {
                    let at = self.next;
                    is_right =
                        is_right && self.block()?.is_some_and(|block| self.sum(&block) == sum);
                    let page = number.checked_mul(PAGE);
                    let page = start.and_then(|start| start.checked_add(page?));
                    found.extend(page.map(|page| (page, at)));
                }
            }
            // A block that was not written whole ends the log, and its entries do not count.
            if !is_right {
                break;
            }
            self.pages.extend(found);
            sequence = own.checked_add(1);
        }
        Ok(Journal { log: self.log, pages: self.pages })
    }

    fn sum(&self, bytes: &[u8]) -> u32 {
        // Linux leaves out the last inversion.
        !crc32c::crc32c_append(self.seed, bytes)
    }

    /// Why no more blocks are looked at.
    fn out_of_budget(&self) -> BlockError {
        if self.ring > MAX_BLOCKS.saturating_mul(PAGE) {
            let line = "the log has more than 1 GiB; a system that starts the array ends it";
            return BlockError::unsupported(line);
        }
        BlockError::corrupt("the log has more blocks than its ring", self.next, 0)
    }

    /// The next block of the ring; `None` where the log is no ring.
    fn block(&mut self) -> BlockResult<Option<Vec<u8>>> {
        if self.next.checked_add(PAGE).is_none_or(|end| end > self.ring) {
            return Ok(None);
        }
        self.budget = self.budget.checked_sub(1).ok_or_else(|| self.out_of_budget())?;
        let mut bytes = vec![0; BLOCK];
        self.log.read_at(self.next, &mut bytes)?;
        let after = self.next.saturating_add(PAGE);
        self.next = if after >= self.ring { 0 } else { after };
        Ok(Some(bytes))
    }

    /// The number and the entries of the meta block that comes next; `None` at the end of the log.
    fn meta_block(&mut self, sequence: Option<u64>) -> BlockResult<Option<(u64, Vec<Entry>)>> {
        let at = self.next;
        let Some(mut bytes) = self.block()? else {
            return Ok(None);
        };
        let mut reader = ByteReader::new("journal of the MD array", &bytes, at);
        let (magic, sum, version) = (reader.u32_le()?, reader.u32_le()?, reader.u8()?);
        reader.skip(3)?;
        let size = usize::try_from(reader.u32_le()?).unwrap_or(usize::MAX);
        let (own, position) = (reader.u64_le()?, reader.u64_le()?);
        let is_next = sequence.is_none_or(|sequence| sequence == own);
        let is_here = position.checked_mul(512) == Some(at);
        if magic != 0x6433_C509 || version != 1 || !is_next || !is_here {
            return Ok(None);
        }
        if let Some(field) = bytes.get_mut(4..8) {
            field.fill(0);
        }
        let Some(used) = bytes.get(32..size).filter(|_| self.sum(&bytes) == sum) else {
            return Ok(None);
        };
        let mut reader = ByteReader::new("journal of the MD array", used, at.saturating_add(32));
        let mut entries = Vec::new();
        while reader.remaining() > 0 {
            // Linux ends the log at an entry that it does not know.
            match entry(&mut reader)? {
                Some(entry) => entries.push(entry),
                None => return Ok(None),
            }
        }
        Ok(Some((own, entries)))
    }
}

/// The next entry; `None` for one of another type.
fn entry(reader: &mut ByteReader<'_>) -> BlockResult<Option<Entry>> {
    let kind = reader.u16_le()?;
    reader.skip(2)?;
    let size = reader.u32_le()?;
    if kind == 2 {
        reader.skip(usize::try_from(size).unwrap_or(usize::MAX))?;
        return Ok(Some(Entry::Flush));
    }
    let location = reader.u64_le()?;
    let count = usize::try_from(size.div_ceil(8)).unwrap_or(usize::MAX);
    if count > reader.remaining() {
        return Err(reader.corrupt("has an entry that is too large"));
    }
    let sums = (0..count).map(|_| reader.u32_le()).collect::<BlockResult<Vec<u32>>>()?;
    Ok(match kind {
        0 => {
            let start = location.checked_mul(512).filter(|start| start.is_multiple_of(PAGE));
            let start = start.ok_or_else(|| reader.corrupt("has data at an odd place"))?;
            Some(Entry::Data(start, sums))
        }
        1 => Some(Entry::Parity(sums)),
        _ => None,
    })
}
