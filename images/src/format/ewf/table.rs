//! The tables that tell where the chunks of the disk are.
//!
//! Specification: libyal, "Expert Witness Compression Format (EWF)", sections 3.9 and 3.10.
//!
//! | offset | size | field           | rule                                                       |
//! |--------|------|-----------------|------------------------------------------------------------|
//! | 0x00   | 4    | entries         | at most [`MAX_ENTRIES`]                                    |
//! | 0x08   | 8    | base offset     | added to all entries; zero before EnCase 6                 |
//! | 0x14   | 4    | checksum        | Adler-32 of what comes before                              |
//! | 0x18   | 4 each | entries       | bits 0-30: offset of a chunk, bit 31: it is compressed     |
//! |        | 4    | checksum        | Adler-32 of the entries                                    |
//!
//! A chunk ends where the next one begins, the last one where its section does. The chunks are in the
//! section `sectors` before the table, and `table2` is a copy of the table. EnCase 1 and SMART have
//! the chunks in the table's own section, past the entries, and no copy; SMART has no checksum of the
//! entries either, so there each entry has to lie between its neighbours.
//!
//! QUIRK: EnCase 6.7.1 writes sections of more than 2 GiB without a new base. From the entry on that
//! would lead back all 32 bits are the offset, and the chunks are stored.
//!
//! A table is read as a whole once, when a chunk of it is wanted first, to check it; then the entries
//! come out of the cache.

use std::sync::Arc;

use volfold_block::{
    BlockDevice, BlockError, BlockResult, ByteReader, CachePool, Span, bytes_to_index,
};

use super::checksum::Adler32;
use super::segment::Section;
use crate::table::{Entry, Tables};

/// LIMIT: entries of a table. EnCase has up to 65534, EWF-X more.
const MAX_ENTRIES: u64 = 1 << 24;

/// How much of a table is looked at at once.
const PIECE_BYTES: u64 = 16 << 10;

const COMPRESSED: u64 = 1 << 31;
const OFFSET: u64 = COMPRESSED - 1;

/// A table whose head is in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Table {
    entries_at: u64,
    pub(super) count: u64,
    base: u64,
    /// Whether the entries have a checksum.
    is_guarded: bool,
    /// Where its chunks are.
    pub(super) data: Span,
}

impl Table {
    /// Reads the head of the table in `section` of `file`, whose chunks are in `sectors`, or else in the
    /// section itself.
    ///
    /// # Errors
    /// `Corrupt` if it is damaged.
    pub(super) fn read(
        file: &dyn BlockDevice,
        section: &Section,
        sectors: Option<Span>,
    ) -> BlockResult<Self> {
        let at = section.start;
        let corrupt = |sentence: &'static str| Err(BlockError::corrupt(sentence, at, 0));
        let mut head = [0; 24];
        if section.end.saturating_sub(at) < 24 {
            return corrupt("table of chunks is cut short");
        }
        file.read_at(at, &mut head)?;
        let mut reader = ByteReader::new("table of chunks", &head, at);
        let count = u64::from(reader.u32_le()?);
        reader.skip(4)?;
        let base = reader.u64_le()?;
        reader.skip(4)?;
        if reader.u32_le()? != Adler32::of(head.get(..20).unwrap_or_default()) {
            return corrupt("table of chunks has a bad checksum");
        }
        if count > MAX_ENTRIES {
            return corrupt("table of chunks has too many entries");
        }
        let entries_at = at.saturating_add(24);
        // 25 bits times 3.
        let end = entries_at.saturating_add(count.saturating_mul(4));
        if end > section.end || count == 0 {
            return corrupt("table of chunks is cut short");
        }
        if let Some(data) = sectors {
            let is_guarded = end.saturating_add(4) <= section.end;
            return Ok(Self { entries_at, count, base, is_guarded, data });
        }
        let mut first = [0; 4];
        file.read_at(entries_at, &mut first)?;
        let first = base.saturating_add(u64::from(u32::from_le_bytes(first)) & OFFSET);
        let is_guarded = first != end;
        let start = if is_guarded { end.saturating_add(4) } else { end };
        match Span::between(start, section.end) {
            Some(data) => Ok(Self { entries_at, count, base, is_guarded, data }),
            None => corrupt("table of chunks is cut short"),
        }
    }

    /// Reads all entries, and gives the number of the first one that has 32 bits of offset; the number
    /// of entries if there is none.
    ///
    /// # Errors
    /// `Corrupt` if their checksum is wrong.
    pub(super) fn check(&self, file: &dyn BlockDevice) -> BlockResult<u64> {
        let (mut sum, mut long) = (Adler32::new(), self.count);
        let (mut index, mut before): (u64, u64) = (0, 0);
        let mut buf = vec![0; bytes_to_index(PIECE_BYTES.min(self.count.saturating_mul(4)))?];
        let mut at = self.entries_at;
        let end = at.saturating_add(self.count.saturating_mul(4));
        while at < end {
            let length = PIECE_BYTES.min(end.saturating_sub(at));
            let piece = buf.get_mut(..bytes_to_index(length)?).unwrap_or_default();
            file.read_at(at, piece)?;
            sum.add(piece);
            for entry in piece.as_chunks::<4>().0 {
                let entry = u64::from(u32::from_le_bytes(*entry));
                let leads_back = entry & OFFSET < before & OFFSET;
                if leads_back && entry & COMPRESSED != 0 && long == self.count {
                    long = index;
                }
                before = entry;
                index = index.saturating_add(1);
            }
            at = at.saturating_add(length);
        }
        if self.is_guarded {
            let mut wanted = [0; 4];
            file.read_at(end, &mut wanted)?;
            if sum.value() != u32::from_le_bytes(wanted) {
                let sentence = "table of chunks has a bad checksum";
                return Err(BlockError::corrupt(sentence, self.entries_at, 0));
            }
        }
        Ok(long)
    }
}

/// The tables of one file, whose entries are kept in the cache.
pub(super) fn tables_of(file: &Arc<dyn BlockDevice>, cache: &Arc<CachePool>) -> Tables {
    Tables::new(Arc::clone(file), Entry::U32Le, cache)
}

/// Where the bytes of a chunk are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Chunk {
    pub(super) place: Span,
    pub(super) is_compressed: bool,
}

impl Table {
    /// Where the chunk is that entry `index` is about; from entry `long` on they have 32 bits of
    /// offset.
    ///
    /// # Errors
    /// `Corrupt` if it lies outside the section.
    pub(super) fn chunk(&self, tables: &Tables, long: u64, index: u64) -> BlockResult<Chunk> {
        let at = self.entries_at.saturating_add(index.saturating_mul(4));
        let offset = |index: u64, entry: u64| {
            let bits = if index < long { entry & OFFSET } else { entry };
            self.base.saturating_add(bits)
        };
        let entry = tables.get(self.entries_at, index)?;
        let start = offset(index, entry);
        let next = index.saturating_add(1);
        let end = match next < self.count {
            true => offset(next, tables.get(self.entries_at, next)?),
            false => self.data.end(),
        };
        let outside = || BlockError::corrupt("entry of a table leads outside the chunks", at, 0);
        if !self.data.contains(start) {
            return Err(outside());
        }
        if !self.is_guarded {
            let before = match index.checked_sub(1) {
                Some(before) => Some(offset(before, tables.get(self.entries_at, before)?)),
                None => None,
            };
            if before.is_some_and(|before| before >= start) || end <= start {
                let sentence = "entry of a table contradicts its neighbours";
                return Err(BlockError::corrupt(sentence, at, 0));
            }
        }
        let end = if end > start { end.min(self.data.end()) } else { self.data.end() };
        let place = Span::between(start, end).ok_or_else(outside)?;
        let is_compressed = index < long && entry & COMPRESSED != 0;
        Ok(Chunk { place, is_compressed })
    }
}
