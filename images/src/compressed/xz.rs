//! xz files.
//!
//! Specification: "The .xz File Format", version 1.2.1. A file is one stream or several, with zeros
//! between them. A stream has a header, blocks, the index of its blocks and a footer, and so is read
//! from its end. Each block has a check of its own, which the decoder compares.
//!
//! | part   | bytes | content                                                                    |
//! |--------|-------|----------------------------------------------------------------------------|
//! | header | 12    | magic, two bytes of flags, their CRC-32                                    |
//! | index  |       | a zero, the number of blocks, for each its unpadded and decoded size (numbers of 7 bits a byte), zeros up to a multiple of 4, CRC-32 |
//! | footer | 12    | CRC-32 of what follows, size of the index / 4 - 1, the flags, `YZ`          |

use std::io::Read;

use lzma_rust2::XzReader;
use volfold_block::{BlockDevice, BlockError, BlockResult, bytes_to_index};

use super::block::{Block, Blocks, MAX_BLOCKS};

pub(super) const MAGIC: &[u8] = b"\xFD7zXZ\0";

/// LIMIT: KiB of memory that the decoder of a block may take: `xz -9` wants 65 MiB.
const MAX_MEMORY: u32 = 100 << 10;

/// LIMIT: bytes of an index; that many blocks have less.
const MAX_INDEX: u64 = 24 << 20;

/// LIMIT: streams and words of zeros between them.
const MAX_STEPS: usize = 1 << 16;

const TOO_LARGE: &str = "is compressed with xz in blocks of more than 64 MiB, or in one, which is \
    not read in place; unpack it with `xz -dk`, or compress it with `xz -T0 --block-size=16MiB`";

const CUT: &str = "xz file is cut off or damaged at its end; copy it again";

/// The blocks of `file`.
pub(super) fn blocks(file: &dyn BlockDevice) -> BlockResult<Vec<Block>> {
    let mut end = file.size();
    // From the last stream to the first.
    let mut streams = Vec::new();
    let mut count: usize = 0;
    for _ in 0..MAX_STEPS {
        if end == 0 {
            let mut all = Blocks::default();
            for block in streams.into_iter().rev().flatten() {
                all.add(block, TOO_LARGE)?;
            }
            return Ok(all.blocks);
        }
        let mut word = [0; 4];
        let word_at = end.checked_sub(4).ok_or_else(|| BlockError::corrupt(CUT, end, 0))?;
        file.read_at(word_at, &mut word)?;
        if word == [0; 4] {
            end = word_at;
            continue;
        }
        let (found, start) = stream(file, end)?;
        count = count.saturating_add(found.len());
        if count > MAX_BLOCKS {
            let line = format!("file is compressed in more than {MAX_BLOCKS} blocks; unpack it");
            return Err(BlockError::unsupported(line));
        }
        streams.push(found);
        end = start;
    }
    Err(BlockError::unsupported("xz file has too many streams; unpack it with `xz -dk`"))
}

/// The blocks of the stream that ends at `end`, and where it begins.
fn stream(file: &dyn BlockDevice, end: u64) -> BlockResult<(Vec<Block>, u64)> {
    let cut = |at| BlockError::corrupt(CUT, at, 0);
    let footer_at = end.checked_sub(12).ok_or_else(|| cut(end))?;
    let mut footer = [0; 12];
    file.read_at(footer_at, &mut footer)?;
    let [c0, c1, c2, c3, b0, b1, b2, b3, f0, f1, b'Y', b'Z'] = footer else {
        return Err(cut(footer_at));
    };
    let checksum = crc32fast::hash(&[b0, b1, b2, b3, f0, f1]);
    if checksum != u32::from_le_bytes([c0, c1, c2, c3]) {
        return Err(cut(footer_at));
    }
    let index_size = u64::from(u32::from_le_bytes([b0, b1, b2, b3])).saturating_add(1);
    let index_size = index_size.saturating_mul(4);
    let index_at = footer_at.checked_sub(index_size).ok_or_else(|| cut(footer_at))?;
    if index_size > MAX_INDEX {
        let line = format!("file is compressed in more than {MAX_BLOCKS} blocks; unpack it");
        return Err(BlockError::unsupported(line));
    }
    let mut index = vec![0; bytes_to_index(index_size)?];
    file.read_at(index_at, &mut index)?;
    let damaged = || BlockError::corrupt("xz index is damaged; copy the file again", index_at, 0);
    let sizes = parse_index(&index).ok_or_else(damaged)?;
    let sum = sizes.iter().try_fold(0_u64, |sum, (packed, _)| sum.checked_add(*packed));
    let header_at = sum.and_then(|sum| index_at.checked_sub(sum)?.checked_sub(12));
    let header_at = header_at.ok_or_else(damaged)?;
    let mut header = [0; 12];
    file.read_at(header_at, &mut header)?;
    if header != header_of([f0, f1]) {
        let line = "xz stream header is damaged; copy the file again";
        return Err(BlockError::corrupt(line, header_at, 0));
    }
    let mut at = header_at.saturating_add(12);
    let mut blocks = Vec::with_capacity(sizes.len());
    for (packed, size) in sizes {
        blocks.push(Block { at, packed, start: 0, size, flags: f1.into() });
        at = at.saturating_add(packed);
    }
    Ok((blocks, header_at))
}

/// The sizes of all blocks of the index in `bytes`, each padded and decoded.
fn parse_index(bytes: &[u8]) -> Option<Vec<(u64, u64)>> {
    let (content, checksum) = bytes.split_last_chunk::<4>()?;
    if crc32fast::hash(content) != u32::from_le_bytes(*checksum) {
        return None;
    }
    let mut rest = content.strip_prefix(b"\0")?;
    let count = number(&mut rest)?;
    let mut sizes = Vec::new();
    // Each takes a byte at least, so `content` bounds this.
    for _ in 0..count {
        let packed = number(&mut rest)?.checked_next_multiple_of(4)?;
        sizes.push((packed, number(&mut rest)?));
    }
    (rest.len() < 4 && rest.iter().all(|byte| *byte == 0)).then_some(sizes)
}

/// Takes a number of variable length off `bytes`.
fn number(bytes: &mut &[u8]) -> Option<u64> {
    let mut value: u64 = 0;
    for shift in (0..63_u32).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7F) << shift;
        if byte & 0x80 == 0 {
            return (*byte != 0 || shift == 0).then_some(value);
        }
    }
    None
}

/// The header of a stream with these flags.
fn header_of(flags: [u8; 2]) -> [u8; 12] {
    let [c0, c1, c2, c3] = crc32fast::hash(&flags).to_le_bytes();
    let [f0, f1] = flags;
    let [m0, m1, m2, m3, m4, m5] = *b"\xFD7zXZ\0";
    [m0, m1, m2, m3, m4, m5, f0, f1, c0, c1, c2, c3]
}

/// A stream of the block `packed` alone, whose checks are of the kind `flags`.
fn stream_of(packed: &[u8], flags: u8) -> Vec<u8> {
    // The decoder counts the records, and no more. One block of sizes that are not said.
    let index = [0, 1, 1, 1];
    let index_checksum = crc32fast::hash(&index).to_le_bytes();
    let end = [1, 0, 0, 0, 0, flags];
    let end_checksum = crc32fast::hash(&end).to_le_bytes();
    let header = header_of([0, flags]);
    [&header[..], packed, &index, &index_checksum, &end_checksum, &end, b"YZ"].concat()
}

/// Fills `out` with the block in `packed`.
pub(super) fn decode(packed: &[u8], block: Block, out: &mut [u8]) -> BlockResult<()> {
    let Block { at, flags, .. } = block;
    let [_, flags] = flags.to_be_bytes();
    let stream = stream_of(packed, flags);
    let mut reader = XzReader::new_mem_limit(&stream[..], false, MAX_MEMORY);
    let damaged = |line, error: std::io::Error| BlockError::corrupt(line, at, 0).because(error);
    reader.read_exact(out).map_err(|error| match error.kind() {
        std::io::ErrorKind::OutOfMemory | std::io::ErrorKind::Unsupported => {
            let line = "xz block needs a decoder that is not here; unpack the file with `xz -dk`";
            BlockError::unsupported(line).at(at).because(error)
        }
        _ => damaged("xz block is damaged; copy the file again", error),
    })?;
    // The check comes after the last byte.
    let more = reader
        .read(&mut [0])
        .map_err(|error| damaged("xz block has a bad checksum; copy the file again", error))?;
    match (more, reader.inner().is_empty()) {
        (0, true) => Ok(()),
        _ => Err(BlockError::corrupt("xz block has another size than the index says", at, 0)),
    }
}
