//! bzip2 files.
//!
//! There is no specification but the sources of bzip2 1.0.8. A file is one stream or several. The blocks
//! of a stream begin at any bit, with a mark, and nothing tells where: the marks are looked for, and
//! every block is decoded once, which tells its size and that it is one. A block is decoded as a stream of
//! its own, which compares its checksum.
//!
//! | part      | bits | content                                                            |
//! |-----------|------|--------------------------------------------------------------------|
//! | header    | 32   | `BZh`, a digit: the block size in 100 kB                           |
//! | block     | 48   | 0x314159265359                                                     |
//! |           | 32   | CRC-32 of its decoded bytes, with the highest bit first            |
//! |           |      | what is compressed                                                 |
//! | end       | 48   | 0x177245385090                                                     |
//! |           | 32   | the checksums of all blocks, each added to the one before, rotated |
//! | filling   |      | zeros up to a whole byte                                           |

use std::num::NonZero;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use bzip2::{Decompress, Status};
use volfold_block::{BlockDevice, BlockError, BlockResult, byte_count, bytes_to_index, guard};

use super::block::{Block, Blocks, MAX_BLOCK, MAX_UNPACKED};

pub(super) const MAGIC: &[u8] = b"BZh";

/// What a block, and the end of a stream, begin with.
const BLOCK: u64 = 0x3141_5926_5359;
const END: u64 = 0x1772_4538_5090;

/// LIMIT: bits of a compressed block: 900 000 symbols of 20 bits, and the tables.
const MAX_BITS: u64 = 20 << 20;

/// LIMIT: marks that are looked past for the end of a block. By chance there is one in 2^47 bits.
const MAX_RETRIES: usize = 4;

/// LIMIT: threads of the first pass; each has 4 MiB and a compressed block.
const MAX_THREADS: usize = 8;

/// Blocks that a thread decodes before their sizes are looked at.
const BATCH: usize = 4;

/// What is read at once to look for marks, and what is decoded at once.
const CHUNK: u64 = 256 << 10;

const TOO_LARGE: &str = "is compressed with bzip2, and too large to be read in place; unpack it with \
    `bunzip2 -k`";

const CUT: &str = "bzip2 file is cut off or damaged; copy it again";

const DAMAGED: &str = "bzip2 block is damaged; copy the file again";

const GARBAGE: &str = "bzip2 file has other bytes after its last stream, which is not read in place; \
    unpack it with `bunzip2 -k`";

/// The blocks of `file`. Decodes all of them.
pub(super) fn blocks(file: &dyn BlockDevice) -> BlockResult<Vec<Block>> {
    let threads = thread::available_parallelism().map_or(1, NonZero::get).min(MAX_THREADS);
    let mut pass = Pass { scan: Scan::new(file), blocks: Blocks::default(), threads };
    let mut at = 0;
    while let Some(level) = header(file, at)? {
        at = pass.stream(at, level)?;
    }
    Ok(pass.blocks.blocks)
}

/// The first bytes of what was compressed: those of the first block, as far as it is decoded easily.
pub(super) fn start(file: &dyn BlockDevice) -> BlockResult<Vec<u8>> {
    let mut scan = Scan::new(file);
    let (Some(level), Some((mark, BLOCK))) = (header(file, 0)?, scan.next_mark(32)?) else {
        return Ok(Vec::new());
    };
    let Some((end, _)) = scan.next_mark(mark.saturating_add(48))? else { return Ok(Vec::new()) };
    let span = Span { start: mark, end, level };
    let mut bytes = Vec::new();
    // The mark at its end may be none; the first pass finds that out.
    let result = span.decode(file, &mut |piece| bytes.extend_from_slice(piece));
    Ok(if result.is_ok() { bytes } else { Vec::new() })
}

/// The block size of the stream at `at`; `None` if there are only zeros from there on.
fn header(file: &dyn BlockDevice, mut at: u64) -> BlockResult<Option<u8>> {
    let left = file.size().saturating_sub(at);
    let mut first = vec![0; bytes_to_index(left.min(4))?];
    file.read_at(at, &mut first)?;
    if let [b'B', b'Z', b'h', digit @ b'1'..=b'9'] = first[..] {
        return Ok(Some(digit));
    }
    if at == 0 {
        return Err(BlockError::corrupt(CUT, at, 0));
    }
    while at < file.size() {
        let mut bytes = vec![0; bytes_to_index(file.size().saturating_sub(at).min(CHUNK))?];
        file.read_at(at, &mut bytes)?;
        if bytes.iter().any(|byte| *byte != 0) {
            return Err(BlockError::corrupt(GARBAGE, at, 0));
        }
        at = at.saturating_add(byte_count(bytes.len()));
    }
    Ok(None)
}

/// The first pass over a file.
struct Pass<'a> {
    scan: Scan<'a>,
    blocks: Blocks,
    threads: usize,
}

impl Pass<'_> {
    /// Adds the blocks of the stream that begins at `at`, with blocks of the size `level`; where it ends.
    fn stream(&mut self, at: u64, level: u8) -> BlockResult<u64> {
        let mut bit = at.saturating_add(4).saturating_mul(8);
        let mut sum = 0_u32;
        loop {
            let cut = || BlockError::corrupt(CUT, bit / 8, 0);
            match self.scan.bits(bit, 48)? {
                Some(BLOCK) => {}
                Some(END) => {
                    let stored = self.scan.bits(bit.saturating_add(48), 32)?.ok_or_else(cut)?;
                    if stored != u64::from(sum) {
                        let line = "bzip2 file has a bad checksum; copy it again";
                        return Err(BlockError::corrupt(line, bit / 8, 0));
                    }
                    return Ok(bit.saturating_add(80).div_ceil(8));
                }
                _ => return Err(cut()),
            }
            let spans = self.batch(bit, level)?;
            if spans.is_empty() {
                return Err(cut());
            }
            let sizes = sizes(self.scan.file, &spans, self.threads);
            for (mut span, size) in spans.into_iter().zip(sizes) {
                let is_one = size.is_ok();
                let size = size.or_else(|error| self.retry(&mut span, error))?;
                let checksum = self.scan.bits(span.start.saturating_add(48), 32)?.unwrap_or(0);
                sum = sum.rotate_left(1) ^ u32::try_from(checksum).unwrap_or(0);
                self.blocks.add(span.block(size), TOO_LARGE)?;
                if self.blocks.size > MAX_UNPACKED {
                    return Err(BlockError::unsupported(TOO_LARGE).at(bit / 8));
                }
                bit = span.end;
                if !is_one {
                    // The others begin at marks that are none.
                    break;
                }
            }
        }
    }

    /// What lies between the marks from `bit` on, some of which may be none: blocks of one stream.
    fn batch(&mut self, mut bit: u64, level: u8) -> BlockResult<Vec<Span>> {
        let mut spans = Vec::new();
        for _ in 0..self.threads.saturating_mul(BATCH) {
            let Some((end, mark)) = self.scan.next_mark(bit.saturating_add(48))? else { break };
            spans.push(Span { start: bit, end, level });
            bit = end;
            if mark == END {
                break;
            }
        }
        Ok(spans)
    }

    /// Looks for another end of the block `span`, which could not be decoded because of `error`: the
    /// mark there may be a part of it. The size of the block.
    fn retry(&mut self, span: &mut Span, error: BlockError) -> BlockResult<u64> {
        for _ in 0..MAX_RETRIES {
            let Some((end, _)) = self.scan.next_mark(span.end.saturating_add(1))? else { break };
            span.end = end;
            if let Ok(size) = span.size(self.scan.file) {
                return Ok(size);
            }
        }
        Err(error)
    }
}

/// The sizes of the blocks `spans`, decoded by some threads.
fn sizes(file: &dyn BlockDevice, spans: &[Span], threads: usize) -> Vec<BlockResult<u64>> {
    let sizes: Vec<OnceLock<BlockResult<u64>>> = spans.iter().map(|_| OnceLock::new()).collect();
    let next = AtomicUsize::new(0);
    let work = || {
        while let Some((span, place)) = {
            let index = next.fetch_add(1, Ordering::Relaxed);
            spans.get(index).zip(sizes.get(index))
        } {
            let _ = place.set(guard("a block of bzip2", || span.size(file)));
        }
    };
    thread::scope(|scope| {
        for _ in 1..threads.min(spans.len()) {
            // Where there are no more threads this one does the work.
            let _ = thread::Builder::new().spawn_scoped(scope, work);
        }
        work();
    });
    let size = |size: OnceLock<_>| size.into_inner();
    let lost = || Err(BlockError::corrupt(DAMAGED, 0, 0));
    sizes.into_iter().map(|one| size(one).unwrap_or_else(lost)).collect()
}

/// What may be a block: the bits from one mark up to another.
#[derive(Clone, Copy)]
struct Span {
    start: u64,
    end: u64,
    level: u8,
}

impl Span {
    /// The block that has `size` bytes when decoded.
    fn block(self, size: u64) -> Block {
        let at = self.start / 8;
        let packed = self.end.div_ceil(8).saturating_sub(at);
        let bits = u16::try_from((self.start % 8) | ((self.end % 8) << 3)).unwrap_or(0);
        Block { at, packed, start: 0, size, flags: bits | u16::from(self.level) << 8 }
    }

    fn size(self, file: &dyn BlockDevice) -> BlockResult<u64> {
        let mut size: u64 = 0;
        self.decode(file, &mut |piece| size = size.saturating_add(byte_count(piece.len())))?;
        Ok(size)
    }

    /// Calls `sink` with the decoded bytes, one part after the other. The span is no longer than
    /// [`Scan::next_mark`] looks, a few times.
    fn decode(self, file: &dyn BlockDevice, sink: &mut dyn FnMut(&[u8])) -> BlockResult<()> {
        let block = self.block(0);
        let mut packed = vec![0; bytes_to_index(block.packed)?];
        file.read_at(block.at, &mut packed)?;
        unpack(&packed, block, sink)
    }
}

/// Fills `out` with the block in `packed`.
pub(super) fn decode(packed: &[u8], block: Block, out: &mut [u8]) -> BlockResult<()> {
    let mut rest = Some(&mut *out);
    unpack(packed, block, &mut |piece| {
        let parts = rest.take().and_then(|rest| rest.split_at_mut_checked(piece.len()));
        rest = parts.map(|(place, after)| {
            place.copy_from_slice(piece);
            after
        });
    })?;
    match rest {
        Some([]) => Ok(()),
        _ => Err(BlockError::corrupt("bzip2 file has changed", block.at, 0)),
    }
}

/// Calls `sink` with the decoded bytes of the block in `packed`.
fn unpack(packed: &[u8], block: Block, sink: &mut dyn FnMut(&[u8])) -> BlockResult<()> {
    let damaged = || BlockError::corrupt(DAMAGED, block.at, 0);
    let stream = stream_of(packed, block.flags).ok_or_else(damaged)?;
    let mut decoder = Decompress::new(false);
    let mut piece = vec![0; bytes_to_index(CHUNK)?];
    loop {
        let (used, made) = (decoder.total_in(), decoder.total_out());
        let rest = stream.get(bytes_to_index(used)?..).unwrap_or_default();
        let status = decoder.decompress(rest, &mut piece);
        let status = status.map_err(|error| damaged().because(error))?;
        let count = decoder.total_out().saturating_sub(made);
        sink(piece.get(..bytes_to_index(count)?).unwrap_or_default());
        let is_used = decoder.total_in() == byte_count(stream.len());
        match status {
            // One block cannot have so many; two between these marks may.
            _ if decoder.total_out() > MAX_BLOCK => return Err(damaged()),
            Status::StreamEnd if is_used => return Ok(()),
            Status::StreamEnd => return Err(damaged()),
            _ if count == 0 && decoder.total_in() == used => return Err(damaged()),
            _ => {}
        }
    }
}

/// A stream of the block in `packed` alone; `None` if that is no block. `flags` are those that
/// [`Span::block`] makes.
fn stream_of(packed: &[u8], flags: u16) -> Option<Vec<u8>> {
    let [level, bits] = flags.to_be_bytes();
    let (first, last) = (u32::from(bits & 7), usize::from(bits >> 3 & 7));
    let unused = if last == 0 { 0 } else { 8_usize.saturating_sub(last) };
    let length = packed.len().checked_mul(8)?.checked_sub(first.try_into().ok()?)?;
    let length = length.checked_sub(unused)?;
    let mut stream = vec![b'B', b'Z', b'h', level];
    let next = packed.iter().skip(1).chain([&0]);
    let moved = packed.iter().zip(next).map(|(high, low)| {
        let [byte, _] = (u16::from_be_bytes([*high, *low]).wrapping_shl(first)).to_be_bytes();
        byte
    });
    stream.extend(moved.take(length.div_ceil(8)));
    // The only block is all that the checksum of the stream is of.
    let checksum = stream.get(10..14)?.try_into().map(u32::from_be_bytes).ok()?;
    let end = u128::from(END) << 32 | u128::from(checksum);
    // The end of the stream goes on in the byte that the block ends in.
    let filled = u32::try_from(length % 8).ok()?;
    if filled == 0 {
        stream.extend_from_slice(end.to_be_bytes().get(6..)?);
    } else {
        let kept = stream.pop()? & u8::MAX.wrapping_shl(8_u32.saturating_sub(filled));
        let end = end.wrapping_shl(8_u32.saturating_sub(filled)).to_be_bytes();
        let (shared, rest) = end.get(5..)?.split_first()?;
        stream.push(kept | shared);
        stream.extend_from_slice(rest);
    }
    Some(stream)
}

/// Looks at the bits of a file.
struct Scan<'a> {
    file: &'a dyn BlockDevice,
    /// What was read last, and where it begins.
    chunk: Vec<u8>,
    at: u64,
}

impl<'a> Scan<'a> {
    fn new(file: &'a dyn BlockDevice) -> Self {
        Self { file, chunk: Vec::new(), at: 0 }
    }

    /// Bytes of the file from `at` on; none at its end.
    fn bytes(&mut self, at: u64) -> BlockResult<&[u8]> {
        let held = at.checked_sub(self.at).filter(|skip| *skip < byte_count(self.chunk.len()));
        if held.is_none() {
            let left = self.file.size().saturating_sub(at);
            self.chunk.resize(bytes_to_index(left.min(CHUNK))?, 0);
            self.at = at;
            self.file.read_at(at, &mut self.chunk)?;
        }
        let skip = bytes_to_index(at.saturating_sub(self.at))?;
        Ok(self.chunk.get(skip..).unwrap_or_default())
    }

    /// The number in the `count` bits at `bit`, 48 at most; `None` if the file ends before.
    fn bits(&self, bit: u64, count: u32) -> BlockResult<Option<u64>> {
        let at = bit / 8;
        let mut bytes = [0; 8];
        let left = self.file.size().saturating_sub(at).min(8);
        let place = bytes.get_mut(..bytes_to_index(left)?).unwrap_or_default();
        self.file.read_at(at, place)?;
        let skip = u32::try_from(bit % 8).unwrap_or(0);
        let word = u64::from_be_bytes(bytes).wrapping_shl(skip);
        let word = word.wrapping_shr(64_u32.saturating_sub(count));
        let is_there = bit.saturating_add(count.into()) <= self.file.size().saturating_mul(8);
        Ok(is_there.then_some(word))
    }

    /// The first mark that begins at `from` or later, as far as a block may reach: its bit, and which
    /// it is.
    fn next_mark(&mut self, from: u64) -> BlockResult<Option<(u64, u64)>> {
        const MASK: u64 = (1 << 48) - 1;
        let mut at = from / 8;
        let mut window: u64 = 0;
        while at.saturating_mul(8).saturating_sub(from) < MAX_BITS {
            let bytes = self.bytes(at)?;
            if bytes.is_empty() {
                break;
            }
            for byte in bytes {
                window = window << 8 | u64::from(*byte);
                at = at.saturating_add(1);
                for shift in (0..8_u32).rev() {
                    let mark = window.wrapping_shr(shift) & MASK;
                    if mark == BLOCK || mark == END {
                        let bits = at.saturating_mul(8).checked_sub(u64::from(shift));
                        let start = bits.and_then(|bits| bits.checked_sub(48));
                        // Before there are not 48 bits the zeros of `window` may look like some.
                        if let Some(start) = start.filter(|start| *start >= from) {
                            return Ok(Some((start, mark)));
                        }
                    }
                }
            }
        }
        Ok(None)
    }
}
