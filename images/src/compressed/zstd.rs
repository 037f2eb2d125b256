//! Zstandard files.
//!
//! Specification: RFC 8878, section 3.1. A file is frames, one after the other, each of which can be
//! decoded alone. Where one ends is told by the headers of its blocks alone, so these are walked
//! through once. `pzstd`, tools that make seekable files, and `cat` of several files make more than
//! one frame; the table of frames that some add, in a frame to be skipped, is not needed.
//!
//! | part         | bytes   | content                                                          |
//! |--------------|---------|------------------------------------------------------------------|
//! | magic        | 4       | 0xFD2FB528; 0x184D2A5x: a size of 4 bytes, and what is skipped    |
//! | descriptor   | 1       | which of the next fields are there, and whether a checksum follows |
//! | window       | 0 or 1  | not where the frame is one segment                                |
//! | dictionary   | 0 to 4  | its id                                                            |
//! | content size | 0 to 8  | of the decoded bytes                                              |
//! | blocks       |         | each with 3 bytes: whether it is the last, its type, its size     |
//! | checksum     | 0 or 4  | the low half of XXH64 of the decoded bytes                        |

use volfold_block::{BlockDevice, BlockError, BlockResult, ByteReader, bytes_to_index};

use super::block::{Block, Blocks, MAX_BLOCK};
use crate::zstd as frame;
pub(super) use crate::zstd::MAGIC;

/// LIMIT: blocks of all frames. With 128 KiB each they make 2 TiB.
const MAX_STEPS: usize = 1 << 24;

/// LIMIT: bytes of the header of a frame.
const MAX_HEADER: u64 = 18;

const TOO_LARGE: &str = "is compressed with Zstandard in frames of more than 64 MiB, or in one, \
    which is not read in place; unpack it with `zstd -dk`, or compress it in pieces with `pzstd`";

const UNKNOWN_SIZE: &str = "is compressed with Zstandard in a frame that does not tell its size, \
    which is not read in place; unpack it with `zstd -dk`";

const CUT: &str = "Zstandard file is cut off or damaged; copy it again";

/// Whether a frame that begins so is to be skipped.
pub(super) fn is_skippable(first: &[u8]) -> bool {
    matches!(first, [0x50..=0x5F, 0x2A, 0x4D, 0x18, ..])
}

/// The frames of `file`.
pub(super) fn blocks(file: &dyn BlockDevice) -> BlockResult<Vec<Block>> {
    let mut all = Blocks::default();
    let (mut at, mut steps) = (0, MAX_STEPS);
    while at < file.size() {
        let left = file.size().saturating_sub(at);
        let mut bytes = vec![0; bytes_to_index(left.min(MAX_HEADER))?];
        file.read_at(at, &mut bytes)?;
        let mut reader = ByteReader::new("Zstandard frame", &bytes, at);
        let magic: [u8; 4] = reader.array()?;
        let end = if is_skippable(&magic) {
            at.saturating_add(8).saturating_add(reader.u32_le()?.into())
        } else if magic == *MAGIC {
            let header = Header::parse(&mut reader, at)?;
            let Some(size) = header.size else {
                return Err(BlockError::unsupported(UNKNOWN_SIZE).at(at));
            };
            if size > MAX_BLOCK {
                return Err(BlockError::unsupported(TOO_LARGE).at(at));
            }
            let end = end_of(file, at.saturating_add(header.length), &mut steps)?;
            let end = end.saturating_add(if header.has_checksum { 4 } else { 0 });
            let packed = end.saturating_sub(at);
            all.add(Block { at, packed, start: 0, size, flags: 0 }, TOO_LARGE)?;
            end
        } else {
            return Err(BlockError::corrupt(CUT, at, 0));
        };
        if end > file.size() {
            return Err(BlockError::corrupt(CUT, file.size(), 0));
        }
        // Frames that are skipped, or empty, take steps as well.
        steps = steps.checked_sub(1).ok_or_else(too_many)?;
        at = end;
    }
    Ok(all.blocks)
}

fn too_many() -> BlockError {
    BlockError::unsupported("Zstandard file has too many blocks; unpack it with `zstd -dk`")
}

/// The header of a frame, after its magic number.
struct Header {
    size: Option<u64>,
    has_checksum: bool,
    /// Bytes, with those of the magic number.
    length: u64,
}

impl Header {
    fn parse(reader: &mut ByteReader<'_>, at: u64) -> BlockResult<Self> {
        let [descriptor] = reader.array()?;
        let is_single = descriptor & 0x20 != 0;
        if descriptor & 0x08 != 0 {
            return Err(BlockError::corrupt(CUT, at, 4));
        }
        let mut length: u64 = 5;
        if !is_single {
            reader.skip(1)?;
            length = length.saturating_add(1);
        }
        let (id, id_length) = match descriptor & 3 {
            0 => (0, 0),
            1 => (u32::from(reader.array::<1>()?[0]), 1),
            2 => (u32::from(u16::from_le_bytes(reader.array()?)), 2),
            _ => (reader.u32_le()?, 4),
        };
        if id != 0 {
            let line = "is compressed with Zstandard and a dictionary, which is not read in place; \
                        unpack it with `zstd -dk -D DICTIONARY`";
            return Err(BlockError::unsupported(line).at(at));
        }
        let (size, size_length) = match descriptor >> 6 {
            0 if is_single => (Some(u64::from(reader.array::<1>()?[0])), 1),
            0 => (None, 0),
            1 => (Some(u64::from(u16::from_le_bytes(reader.array()?)).saturating_add(256)), 2),
            2 => (Some(u64::from(reader.u32_le()?)), 4),
            _ => (Some(reader.u64_le()?), 8),
        };
        let length = length.saturating_add(id_length).saturating_add(size_length);
        Ok(Self { size, has_checksum: descriptor & 4 != 0, length })
    }
}

/// Where the blocks that begin at `at` end.
fn end_of(file: &dyn BlockDevice, mut at: u64, steps: &mut usize) -> BlockResult<u64> {
    loop {
        *steps = steps.checked_sub(1).ok_or_else(too_many)?;
        let mut bytes = [0; 3];
        if file.size().checked_sub(at).is_none_or(|left| left < 3) {
            return Err(BlockError::corrupt(CUT, at, 0));
        }
        file.read_at(at, &mut bytes)?;
        let [low, middle, high] = bytes;
        let header = u32::from_le_bytes([low, middle, high, 0]);
        let length = match header >> 1 & 3 {
            0 | 2 => u64::from(header >> 3),
            1 => 1,
            _ => return Err(BlockError::corrupt(CUT, at, 0)),
        };
        at = at.saturating_add(3).saturating_add(length);
        if header & 1 != 0 {
            return Ok(at);
        }
    }
}

/// Fills `out` with the frame in `data`, which began at `at`.
pub(super) fn decode(data: &[u8], at: u64, out: &mut [u8]) -> BlockResult<()> {
    frame::decode(data, out)?.map_err(|broken| {
        let line = format!("Zstandard frame {}; copy the file again", broken.words());
        BlockError::corrupt(line, at, 0)
    })
}
