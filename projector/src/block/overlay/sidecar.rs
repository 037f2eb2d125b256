//! The file beside an image that holds what was changed.
//!
//! It is only ever appended to: a header that names the set, then records with a checksum each. A
//! record counts when it is there whole, so a crash loses no more than what was not yet flushed. All
//! numbers are little-endian.
//!
//! | offset | size | field of the header | rule                                                 |
//! |--------|------|---------------------|------------------------------------------------------|
//! | 0x00   | 8    | `magic`             | `VOLFOVL1`                                           |
//! | 0x08   | 32   | `identity`          | of what lies below                                   |
//! | 0x28   | 4    | `checksum`          | CRC-32C of the 40 bytes before                       |
//!
//! | offset | size | field of a record   | rule                                                 |
//! |--------|------|---------------------|------------------------------------------------------|
//! | 0x00   | 4    | `magic`             | `RECD`                                               |
//! | 0x04   | 4    | `length`            | of the data; a multiple of 4096, or 0 for zeros      |
//! | 0x08   | 8    | `offset`            | of the first byte in the device; a multiple of 4096  |
//! | 0x10   | 8    | `zeros`             | how many bytes are zero, when there is no data       |
//! | 0x18   | 4    | `checksum`          | CRC-32C of the 24 bytes before and the data          |
//! | 0x1C   |      | data                |                                                      |

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::mem::offset_of;

use volfold_block::{BlockDevice, BlockResult, Span, byte_count};
use zerocopy::byteorder::little_endian::{U32, U64};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::changes::{BLOCK, Changes, Kept};
use crate::block::number::to_usize;

/// LIMIT: bytes of one record's data.
pub(super) const MAX_DATA: u64 = (32 << 20) + 2 * BLOCK;

/// The bytes of a record before its data.
pub(super) const RECORD_HEADER: usize = size_of::<RawRecord>();

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawHeader {
    magic: [u8; 8],
    identity: [u8; 32],
    checksum: U32,
}
const _: () = assert!(offset_of!(RawHeader, identity) == 0x08);
const _: () = assert!(offset_of!(RawHeader, checksum) == 0x28);
const _: () = assert!(size_of::<RawHeader>() == 0x2C);

impl RawHeader {
    const MAGIC: [u8; 8] = *b"VOLFOVL1";

    fn new(identity: &[u8; 32]) -> Self {
        let mut header = Self { magic: Self::MAGIC, identity: *identity, checksum: U32::ZERO };
        header.checksum = header.sum().into();
        header
    }

    fn sum(&self) -> u32 {
        let (summed, _) = self.as_bytes().split_at(offset_of!(Self, checksum));
        crc32c::crc32c(summed)
    }
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawRecord {
    magic: [u8; 4],
    length: U32,
    offset: U64,
    zeros: U64,
    checksum: U32,
}
const _: () = assert!(offset_of!(RawRecord, length) == 0x04);
const _: () = assert!(offset_of!(RawRecord, offset) == 0x08);
const _: () = assert!(offset_of!(RawRecord, zeros) == 0x10);
const _: () = assert!(offset_of!(RawRecord, checksum) == 0x18);
const _: () = assert!(size_of::<RawRecord>() == 0x1C);

impl RawRecord {
    const MAGIC: [u8; 4] = *b"RECD";

    fn sum(&self, data: &[u8]) -> u32 {
        let (summed, _) = self.as_bytes().split_at(offset_of!(Self, checksum));
        crc32c::crc32c_append(crc32c::crc32c(summed), data)
    }

    /// The blocks of a device that ends at `end` which the record is for, if the `left` bytes of the
    /// file from its data on can hold it.
    fn blocks(&self, end: u64, left: u64) -> Option<Span> {
        let length = u64::from(self.length.get());
        let covered = if length == 0 { self.zeros.get() } else { length };
        let blocks = Span::new(self.offset.get(), covered)?;
        let is_sane = self.magic == Self::MAGIC
            && length <= MAX_DATA.min(left)
            && blocks.start().is_multiple_of(BLOCK)
            && covered.is_multiple_of(BLOCK)
            && blocks.end() <= end;
        is_sane.then_some(blocks)
    }
}

/// The header of a record for `blocks` with `data`, or with zeros if that is empty.
pub(super) fn record_header(blocks: Span, data: &[u8]) -> [u8; RECORD_HEADER] {
    let mut record = RawRecord {
        magic: RawRecord::MAGIC,
        // No data reaches 4 GiB.
        length: u32::try_from(data.len()).unwrap_or(u32::MAX).into(),
        offset: blocks.start().into(),
        zeros: if data.is_empty() { blocks.length() } else { 0 }.into(),
        checksum: U32::ZERO,
    };
    record.checksum = record.sum(data).into();
    zerocopy::transmute!(record)
}

/// The sidecar of an overlay.
pub(super) struct Sidecar(File);

/// What was found in a sidecar.
#[derive(Default)]
pub(super) struct Replayed {
    pub(super) changes: Changes,
    /// Where the last whole record ends.
    pub(super) end: u64,
    /// How many bytes came after it.
    pub(super) lost: u64,
}

impl Sidecar {
    /// Begins an empty `file`, or takes up what is in it, for a device of `size` bytes.
    ///
    /// # Errors
    /// If it is of something else than `identity`, damaged in its header, takes more than `limit`
    /// bytes together with what is known of it in memory, or cannot be read or written.
    pub(super) fn open(
        mut file: File,
        identity: &[u8; 32],
        size: u64,
        limit: u64,
    ) -> io::Result<(Self, Replayed)> {
        if file.metadata()?.len() == 0 {
            file.write_all(RawHeader::new(identity).as_bytes())?;
            file.sync_all()?;
            let end = byte_count(size_of::<RawHeader>());
            return Ok((Self(file), Replayed { end, ..Replayed::default() }));
        }
        check_header(&mut file, identity)?;
        let mut replayed = replay(&mut file, size, limit)?;
        // What a crash left after the last whole record.
        replayed.lost = file.metadata()?.len().saturating_sub(replayed.end);
        file.set_len(replayed.end)?;
        Ok((Self(file), replayed))
    }

    /// Makes sure that what was written is there after a crash.
    ///
    /// # Errors
    /// If the host cannot write.
    pub(super) fn flush(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    /// Writes `bytes` at `position`.
    ///
    /// # Errors
    /// If the host cannot write.
    #[cfg(unix)]
    pub(super) fn write_at(&self, position: u64, bytes: &[u8]) -> io::Result<()> {
        std::os::unix::fs::FileExt::write_all_at(&self.0, bytes, position)
    }

    /// Writes `bytes` at `position`.
    ///
    /// # Errors
    /// If the host cannot write.
    #[cfg(windows)]
    pub(super) fn write_at(&self, mut position: u64, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let count = std::os::windows::fs::FileExt::seek_write(&self.0, bytes, position)?;
            position = position.saturating_add(byte_count(count));
            bytes = bytes.get(count..).unwrap_or_default();
        }
        Ok(())
    }
}

/// The bytes of the file. Blocks that are changed lie in it where they were written.
impl BlockDevice for Sidecar {
    fn size(&self) -> u64 {
        self.0.metadata().map_or(0, |facts| facts.len())
    }

    #[cfg(unix)]
    fn read_at(&self, position: u64, buf: &mut [u8]) -> BlockResult<()> {
        Ok(std::os::unix::fs::FileExt::read_exact_at(&self.0, buf, position)?)
    }

    #[cfg(windows)]
    fn read_at(&self, mut position: u64, mut buf: &mut [u8]) -> BlockResult<()> {
        while !buf.is_empty() {
            let count = std::os::windows::fs::FileExt::seek_read(&self.0, buf, position)?;
            if count == 0 {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
            position = position.saturating_add(byte_count(count));
            buf = buf.get_mut(count..).unwrap_or_default();
        }
        Ok(())
    }
}

fn check_header(file: &mut File, identity: &[u8; 32]) -> io::Result<()> {
    let invalid = |line: &str| io::Error::new(io::ErrorKind::InvalidData, line);
    let mut header = RawHeader::new_zeroed();
    file.seek(SeekFrom::Start(0))?;
    let read = file.read_exact(header.as_mut_bytes());
    if read.is_err() || header.magic != RawHeader::MAGIC {
        return Err(invalid("not a volfold overlay"));
    }
    if header.sum() != header.checksum.get() {
        return Err(invalid("its header is damaged"));
    }
    if header.identity != *identity {
        return Err(invalid("belongs to another volume or to other images; take another file"));
    }
    Ok(())
}

/// Takes up the records of `file`, whose header was read.
fn replay(file: &mut File, size: u64, limit: u64) -> io::Result<Replayed> {
    let length = file.metadata()?.len();
    let mut reader = io::BufReader::with_capacity(1 << 20, &mut *file);
    let mut replayed = Replayed { end: byte_count(size_of::<RawHeader>()), ..Replayed::default() };
    reader.seek(SeekFrom::Start(replayed.end))?;
    let last_block = size.checked_next_multiple_of(BLOCK).unwrap_or(u64::MAX);
    loop {
        let position = replayed.end.saturating_add(byte_count(RECORD_HEADER));
        let Some(left) = length.checked_sub(position) else {
            return Ok(replayed);
        };
        let mut record = RawRecord::new_zeroed();
        reader.read_exact(record.as_mut_bytes())?;
        let Some(blocks) = record.blocks(last_block, left) else {
            return Ok(replayed);
        };
        let mut data = vec![0; to_usize(record.length.get().into())];
        reader.read_exact(&mut data)?;
        if record.sum(&data) != record.checksum.get() {
            return Ok(replayed);
        }
        let kept = match data.is_empty() {
            true => Kept::Zero,
            false => Kept::File { position, base: blocks.start() },
        };
        if !blocks.is_empty() {
            replayed.changes.insert(blocks, kept);
        }
        replayed.end = position.saturating_add(byte_count(data.len()));
        if replayed.end.saturating_add(replayed.changes.memory()) > limit {
            let line = "holds more than --overlay-limit allows; give more";
            return Err(io::Error::new(io::ErrorKind::StorageFull, line));
        }
    }
}
