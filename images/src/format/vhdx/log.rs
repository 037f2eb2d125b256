//! The log of a VHDX: what was about to be written when the image was last in use.
//!
//! Specification: MS-VHDX 2.3. Little-endian. The log is a ring of sectors of 4 KiB. An entry is a
//! header with descriptors, in whole sectors, and then one sector for each descriptor of data.
//!
//! | offset | size | field               | rule                                                |
//! |--------|------|---------------------|-----------------------------------------------------|
//! | 0x00   | 4    | signature           | `loge`                                              |
//! | 0x04   | 4    | checksum            | CRC-32C of the entry, this field taken as 0         |
//! | 0x08   | 4    | length              | whole sectors, at most the log                      |
//! | 0x0C   | 4    | tail                | where the oldest entry begins that is still needed  |
//! | 0x10   | 8    | sequence number     | not 0; one more than that of the entry before       |
//! | 0x18   | 4    | descriptors         | fit in the entry                                    |
//! | 0x20   | 16   | log GUID            | that of the header                                  |
//! | 0x30   | 8    | flushed file offset | the file has at least this size                     |
//! | 0x38   | 8    | last file offset    | the file has this size in the end                   |
//! | 0x40   | 32   | descriptor          | see below                                           |
//!
//! A descriptor is `zero`, 0 (4), length (8), file offset (8), sequence number (8); or `desc`, the
//! last 4 and the first 8 bytes of the sector, file offset (8), sequence number (8). A sector of data
//! is `data`, the high half of the sequence number, 4084 bytes, its low half.
//!
//! Entries that follow each other and reach back to the tail of the last one are a sequence; the
//! newest of them is the active one, and the only one that counts. What comes after it was torn.

use volfold_block::{
    BlockDevice, BlockError, BlockErrorKind, BlockResult, ByteReader, byte_count, bytes_to_index,
};

use super::header::LogPlace;
use crate::guid::Guid;

/// A sector of the log, and the unit of what it changes.
pub(super) const SECTOR: u64 = 4096;

/// LIMIT: bytes of a log that is replayed. Hyper-V and QEMU make logs of 1 MiB.
const MAX_LOG: u64 = 16 << 20;

/// LIMIT: how often the bytes of the log are read while its entries are checked. Entries do not
/// overlap; what is left of older ones does, once.
const MAX_PASSES: u64 = 8;

/// LIMIT: descriptors of all entries together; what they change is kept in memory.
pub(super) const MAX_DESCRIPTORS: usize = 64 << 10;

/// The bytes of an entry's header and of a descriptor.
const HEADER_BYTES: u64 = 64;
const DESCRIPTOR_BYTES: u64 = 32;

/// A change of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// `length` bytes from `at` on are zeros.
    Zero { at: u64, length: u64 },
    /// The sector at `at` is the one that lies at `log_at` of the log, between these bytes.
    Data { at: u64, log_at: u64, leading: [u8; 8], trailing: [u8; 4] },
}

/// An entry that is whole.
#[derive(Clone, Debug)]
pub(super) struct LogEntry {
    /// Where it begins in the log.
    at: u64,
    length: u64,
    tail: u64,
    sequence: u64,
    descriptors: u64,
    flushed: u64,
    last: u64,
}

/// Entries that follow each other.
#[derive(Clone, Debug, Default)]
pub(super) struct Sequence {
    /// The oldest that is needed first.
    pub(super) entries: Vec<LogEntry>,
    /// Whether an entry comes after them that is not whole.
    pub(super) is_torn: bool,
}

impl Sequence {
    /// What the size of the file is at least.
    pub(super) fn last_file_offset(&self) -> u64 {
        self.entries.last().map_or(0, |entry| entry.last)
    }
}

/// The log of one file.
pub(super) struct Log<'a> {
    file: &'a dyn BlockDevice,
    place: &'a LogPlace,
    /// How many bytes may still be read to check entries.
    budget: u64,
}

/// The active sequence of the log at `place` of `file`.
///
/// # Errors
/// `Corrupt` if there is none, or if the file is shorter than it was; `Unsupported` if the log is
/// larger than is replayed.
pub(super) fn active_sequence(file: &dyn BlockDevice, place: &LogPlace) -> BlockResult<Sequence> {
    let at = place.span.start();
    if place.span.end() > file.size() {
        return Err(BlockError::corrupt("VHDX log is not in the file", at, 0));
    }
    let length = place.span.length();
    if length > MAX_LOG {
        let line = format!("VHDX log of {length} bytes is not replayed; up to {MAX_LOG} are");
        return Err(BlockError::unsupported(line).at(at));
    }
    let budget = length.saturating_mul(MAX_PASSES);
    let mut log = Log { file, place, budget };
    let sequence = log.find()?.ok_or_else(|| {
        BlockError::corrupt("VHDX log is not empty and has no valid sequence of entries", at, 0)
    })?;
    let flushed = sequence.entries.last().map_or(0, |entry| entry.flushed);
    if file.size() < flushed {
        let size = file.size();
        let line =
            format!("file ends early: it has {size} bytes, and had {flushed} when last used");
        return Err(BlockError::corrupt(line, size, 0));
    }
    Ok(sequence)
}

impl<'a> Log<'a> {
    /// The log at `place` of `file`, for entries that are known to be whole.
    pub(super) fn of(file: &'a dyn BlockDevice, place: &'a LogPlace) -> Self {
        Self { file, place, budget: u64::MAX }
    }

    /// Walks through the ring as the specification says.
    fn find(&mut self) -> BlockResult<Option<Sequence>> {
        let length = self.place.span.length();
        // What is known of the entry at each sector: not looked at yet, none, or one.
        let mut known: Vec<Option<Option<LogEntry>>> = Vec::new();
        known.resize(bytes_to_index(length.div_ceil(SECTOR))?, None);
        let mut best: Option<Sequence> = None;
        let mut tail = 0;
        loop {
            let (entries, next) = self.walk(tail, &mut known)?;
            let needed = entries
                .last()
                .and_then(|head| entries.iter().position(|entry| entry.at == head.tail));
            let after = match needed {
                Some(_) => next,
                None => tail.saturating_add(SECTOR),
            };
            let newest = |sequence: &Sequence| sequence.entries.last().map(|entry| entry.sequence);
            if let Some(needed) = needed
                && entries.last().map(|entry| entry.sequence) > best.as_ref().and_then(newest)
            {
                let entries = entries.get(needed..).unwrap_or_default();
                let is_torn = self.is_torn(next, entries.last())?;
                best = Some(Sequence { entries: entries.to_vec(), is_torn });
            }
            if after <= tail || after >= length {
                return Ok(best);
            }
            tail = after;
        }
    }

    /// The entries from `tail` on that follow each other, and where the last one ends.
    fn walk(
        &mut self,
        tail: u64,
        known: &mut [Option<Option<LogEntry>>],
    ) -> BlockResult<(Vec<LogEntry>, u64)> {
        let length = self.place.span.length();
        let mut entries: Vec<LogEntry> = Vec::new();
        let mut head = tail;
        while let Some(place) = known.get_mut(bytes_to_index(head / SECTOR)?) {
            let entry = match place {
                Some(entry) => entry.clone(),
                None => place.insert(self.entry(head)?).clone(),
            };
            let Some(entry) = entry else { break };
            let before = entries.last().map(|before| before.sequence);
            if before.is_some_and(|before| before.checked_add(1) != Some(entry.sequence)) {
                break;
            }
            head = head.saturating_add(entry.length);
            entries.push(entry);
            if head >= length {
                head = head.saturating_sub(length);
            }
        }
        Ok((entries, head))
    }

    /// Whether the entry after `head` was begun at `at`: it has two of the three things that it has to
    /// have, so that one of them may be damaged.
    fn is_torn(&self, at: u64, head: Option<&LogEntry>) -> BlockResult<bool> {
        let mut bytes = [0; 64];
        self.read(at, &mut bytes)?;
        let mut reader = ByteReader::new("VHDX log entry", &bytes, at);
        let has_signature = reader.array()? == *b"loge";
        reader.skip(12)?;
        let is_next = head.and_then(|head| head.sequence.checked_add(1)) == Some(reader.u64_le()?);
        reader.skip(8)?;
        let has_guid = Guid(reader.array()?) == self.place.guid;
        let signs = [has_signature, is_next, has_guid];
        // Older entries are there, too, and have another number.
        Ok(signs.into_iter().filter(|sign| *sign).count() >= 2 && (is_next || !has_signature))
    }

    /// Fills `buf` from `at` of the log on, around its end.
    pub(super) fn read(&self, at: u64, buf: &mut [u8]) -> BlockResult<()> {
        let span = self.place.span;
        let length = span.length();
        let at = at.checked_rem(length).unwrap_or(0);
        let first = bytes_to_index(length.saturating_sub(at))?.min(buf.len());
        let (before, after) = buf.split_at_mut(first);
        self.file.read_at(span.start().saturating_add(at), before)?;
        self.file.read_at(span.start(), after)
    }

    /// The entry that begins at `at` of the log, if there is one and it is whole.
    fn entry(&mut self, at: u64) -> BlockResult<Option<LogEntry>> {
        let mut bytes = [0; 64];
        self.read(at, &mut bytes)?;
        let mut reader = ByteReader::new("VHDX log entry", &bytes, at);
        let (signature, checksum) = (reader.array::<4>()?, reader.u32_le()?);
        let (length, tail) = (u64::from(reader.u32_le()?), u64::from(reader.u32_le()?));
        let sequence = reader.u64_le()?;
        let descriptors = u64::from(reader.u32_le()?);
        reader.skip(4)?;
        let guid = Guid(reader.array()?);
        let (flushed, last) = (reader.u64_le()?, reader.u64_le()?);
        let log_length = self.place.span.length();
        let is_possible = signature == *b"loge"
            && guid == self.place.guid
            && (SECTOR..=log_length).contains(&length)
            && (length | tail) % SECTOR == 0
            && tail < log_length
            && sequence != 0
            && descriptors_end(descriptors) <= length;
        if !is_possible {
            return Ok(None);
        }
        let entry = LogEntry { at, length, tail, sequence, descriptors, flushed, last };
        if self.checksum(&entry)? != checksum {
            return Ok(None);
        }
        let mut is_whole = true;
        self.changes(&entry, &mut |change| {
            is_whole &= change.is_some();
            Ok(())
        })?;
        Ok(is_whole.then_some(entry))
    }

    /// The CRC-32C of `entry`.
    fn checksum(&mut self, entry: &LogEntry) -> BlockResult<u32> {
        self.budget = self.budget.checked_sub(entry.length).ok_or_else(|| {
            let sentence = "VHDX log has entries that overlap too often";
            BlockError::corrupt(sentence, self.place.span.start(), entry.at)
        })?;
        let mut buf = vec![0; bytes_to_index(entry.length.min(64 << 10))?];
        let (mut sum, mut done) = (0, 0);
        while done < entry.length {
            let count = bytes_to_index(entry.length.saturating_sub(done))?.min(buf.len());
            let part = buf.get_mut(..count).unwrap_or_default();
            self.read(entry.at.saturating_add(done), part)?;
            if done == 0 {
                part.get_mut(4..8).unwrap_or_default().fill(0);
            }
            sum = crc32c::crc32c_append(sum, part);
            done = done.saturating_add(byte_count(count));
        }
        Ok(sum)
    }

    /// Shows `visit` what `entry` changes, in order; `None` for what cannot be.
    ///
    /// # Errors
    /// If the log cannot be read, or the first of `visit`.
    pub(super) fn changes(
        &self,
        entry: &LogEntry,
        visit: &mut dyn FnMut(Option<Change>) -> BlockResult<()>,
    ) -> BlockResult<()> {
        let mut data_at = descriptors_end(entry.descriptors);
        for index in 0..entry.descriptors {
            let mut bytes = [0; 32];
            let at = index.saturating_mul(DESCRIPTOR_BYTES).saturating_add(HEADER_BYTES);
            self.read(entry.at.saturating_add(at), &mut bytes)?;
            let mut reader = ByteReader::new("VHDX log descriptor", &bytes, at);
            let signature = reader.array::<4>()?;
            let trailing = reader.array::<4>()?;
            let leading = reader.array::<8>()?;
            let (file_at, sequence) = (reader.u64_le()?, reader.u64_le()?);
            let is_possible = sequence == entry.sequence && file_at % SECTOR == 0;
            let change = match &signature {
                _ if !is_possible => None,
                b"zero" => {
                    let length = u64::from_le_bytes(leading);
                    let is_possible = length % SECTOR == 0 && file_at.checked_add(length).is_some();
                    is_possible.then_some(Change::Zero { at: file_at, length })
                }
                b"desc" => {
                    let log_at = entry.at.saturating_add(data_at);
                    data_at = data_at.saturating_add(SECTOR);
                    let is_there = data_at <= entry.length
                        && file_at.checked_add(SECTOR).is_some()
                        && self.is_data(log_at, sequence)?;
                    is_there.then_some(Change::Data { at: file_at, log_at, leading, trailing })
                }
                _ => None,
            };
            let is_possible = change.is_some();
            visit(change)?;
            if !is_possible {
                break;
            }
        }
        Ok(())
    }

    /// Whether the sector at `at` of the log is one of data of the entry `sequence`.
    fn is_data(&self, at: u64, sequence: u64) -> BlockResult<bool> {
        let (mut head, mut foot) = ([0; 8], [0; 4]);
        self.read(at, &mut head)?;
        self.read(at.saturating_add(SECTOR).saturating_sub(4), &mut foot)?;
        let [low @ .., _, _, _, _] = sequence.to_le_bytes();
        let [_, _, _, _, high @ ..] = sequence.to_le_bytes();
        Ok(head.starts_with(b"data") && head.ends_with(&high) && foot == low)
    }
}

/// Where the sectors of the descriptors of an entry end.
fn descriptors_end(descriptors: u64) -> u64 {
    let bytes = descriptors.saturating_mul(DESCRIPTOR_BYTES).saturating_add(HEADER_BYTES);
    bytes.div_ceil(SECTOR).saturating_mul(SECTOR)
}

/// The error of a log that changes more than is kept.
pub(super) fn too_many() -> BlockError {
    let line = format!("VHDX log has more than {MAX_DESCRIPTORS} changes");
    BlockError::new(BlockErrorKind::Unsupported, line)
}
