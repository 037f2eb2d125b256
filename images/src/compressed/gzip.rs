//! gzip files.
//!
//! Specification: RFC 1952, and RFC 1951 for the bytes within. A file is one member or several. Nothing
//! in it tells where decoding may begin, so it is inflated once from its begin to its end, which
//! compares the checksum and the size of each member. On the way the state of the inflater is kept every
//! few MiB, with the 32 KiB before, which what follows may refer to; from there a piece is inflated again.
//!
//! | part    | bytes | content                                                               |
//! |---------|-------|-----------------------------------------------------------------------|
//! | magic   | 3     | 0x1F8B, and 8 for deflate                                             |
//! | flags   | 1     | 2: a checksum of the header; 4: extra fields; 8: a name; 16: a comment |
//! | others  | 6     | time, level, system                                                   |
//! | extra   |       | a size of 2 bytes, and as many                                        |
//! | name    |       | up to a zero                                                          |
//! | comment |       | up to a zero                                                          |
//! | CRC-16  | 2     | the low half of the CRC-32 of the header                              |
//! | data    |       | a deflate stream                                                      |
//! | CRC-32  | 4     | of the inflated bytes                                                 |
//! | size    | 4     | of the inflated bytes, modulo 2^32                                    |

use std::io::{Read, Write};

use crc32fast::Hasher;
use flate2::Compression;
use flate2::read::ZlibDecoder;
use flate2::write::ZlibEncoder;
use miniz_oxide::inflate::TINFLStatus;
use miniz_oxide::inflate::core::inflate_flags::{
    TINFL_FLAG_HAS_MORE_INPUT, TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF,
};
use miniz_oxide::inflate::core::{DecompressorOxide, decompress};
use volfold_block::{BlockDevice, BlockError, BlockResult, ByteReader, byte_count, bytes_to_index};

use super::block::{Block, Blocks, MAX_BLOCK, MAX_UNPACKED};

pub(super) const MAGIC: &[u8] = b"\x1F\x8B\x08";

/// How far back a match may begin.
const WINDOW: usize = 32 << 10;

/// What is inflated at once. Pieces are multiples of it, but for the last one.
const CHUNK: usize = 1 << 20;

/// What is read at once.
const READ: usize = 256 << 10;

/// LIMIT: bytes of the header of a member. The extra fields have 64 KiB at most.
const MAX_HEADER: usize = 128 << 10;

/// The size of a piece of a small file.
const FIRST_SPACING: u64 = 4 << 20;

/// So many points are kept before pieces double in size, as long as that is allowed.
const MANY_POINTS: usize = 2048;

/// LIMIT: bytes of all points. Each has 42 KiB at most, so pieces of 64 MiB make 750 GiB or more.
const MAX_MEMORY: usize = 512 << 20;

const TOO_LARGE: &str = "is compressed with gzip, and too large to be read in place; unpack it with \
    `gunzip -k`";

const CUT: &str = "gzip file is cut off; copy it again";

const DAMAGED: &str = "gzip file is damaged; copy it again";

const GARBAGE: &str = "gzip file has other bytes after its last member, which is not read in place; \
    unpack it with `gunzip -k`";

/// A place where inflating can begin.
pub(super) struct Point {
    /// `None` before a member.
    inflater: Option<Box<DecompressorOxide>>,
    /// The bytes of the member before the place, of which there are no more than may be referred to;
    /// compressed.
    window: Vec<u8>,
    window_size: usize,
    /// The CRC-32 of the bytes up to the next point.
    checksum: u32,
}

impl Point {
    /// Bytes of memory.
    fn memory(&self) -> usize {
        let inflater = self.inflater.as_ref().map_or(0, |_| size_of::<DecompressorOxide>());
        inflater.saturating_add(self.window.capacity())
    }
}

/// What is inflated from one point to the next.
struct Piece {
    block: Block,
    point: Point,
    sum: Hasher,
}

/// The pieces of `file`, and where each begins. Inflates all of it.
pub(super) fn blocks(file: &dyn BlockDevice) -> BlockResult<(Vec<Block>, Vec<Point>)> {
    blocks_of(file, FIRST_SPACING, MANY_POINTS)
}

/// The same with pieces of `spacing` bytes, or of more where there would be `many`.
pub(super) fn blocks_of(
    file: &dyn BlockDevice,
    mut spacing: u64,
    many: usize,
) -> BlockResult<(Vec<Block>, Vec<Point>)> {
    let mut stream = Stream::new(file);
    let mut pieces: Vec<Piece> = Vec::new();
    let (mut memory, mut unpacked) = (0_usize, 0_u64);
    loop {
        let piece = stream.piece(spacing)?;
        if piece.block.size == 0 {
            break;
        }
        memory = memory.saturating_add(piece.point.memory());
        unpacked = unpacked.saturating_add(piece.block.size);
        if memory > MAX_MEMORY || unpacked > MAX_UNPACKED {
            return Err(BlockError::unsupported(TOO_LARGE).at(piece.block.at));
        }
        pieces.push(piece);
        if pieces.len() >= many && spacing < MAX_BLOCK {
            pieces = in_pairs(pieces);
            spacing = spacing.saturating_mul(2);
            memory = pieces.iter().map(|piece| piece.point.memory()).sum();
        }
    }
    let mut all = Blocks::default();
    let mut points = Vec::with_capacity(pieces.len());
    for Piece { block, point, sum } in pieces {
        all.add(block, TOO_LARGE)?;
        points.push(Point { checksum: sum.finalize(), ..point });
    }
    Ok((all.blocks, points))
}

/// Joins each two pieces.
fn in_pairs(pieces: Vec<Piece>) -> Vec<Piece> {
    let mut all = Vec::with_capacity(pieces.len());
    let mut pieces = pieces.into_iter();
    while let Some(mut piece) = pieces.next() {
        if let Some(next) = pieces.next() {
            piece.block.size = piece.block.size.saturating_add(next.block.size);
            piece.block.packed = piece.block.packed.saturating_add(next.block.packed);
            piece.sum.combine(&next.sum);
        }
        all.push(piece);
    }
    all
}

/// Fills `out` with the piece `block` of `file`, which begins at `point`.
pub(super) fn decode(
    file: &dyn BlockDevice,
    block: Block,
    point: &Point,
    out: &mut [u8],
) -> BlockResult<()> {
    let mut stream = Stream::resume(file, block.at, point)?;
    let mut rest = &mut *out;
    while !rest.is_empty() {
        let bytes = stream.next()?;
        // The first pass was here: the file has become another one.
        let changed = || BlockError::corrupt(DAMAGED, block.at, 0);
        if bytes.is_empty() {
            return Err(changed());
        }
        let (place, after) = rest.split_at_mut_checked(bytes.len()).ok_or_else(changed)?;
        place.copy_from_slice(bytes);
        rest = after;
    }
    match crc32fast::hash(out) == point.checksum {
        true => Ok(()),
        false => Err(BlockError::corrupt("gzip file has changed", block.at, 0)),
    }
}

/// The first bytes of what was compressed.
pub(super) fn start(file: &dyn BlockDevice) -> BlockResult<Vec<u8>> {
    Ok(Stream::new(file).next()?.to_vec())
}

/// A member while it is inflated.
struct Member {
    inflater: Box<DecompressorOxide>,
    /// The checksum and the size up to here; `None` if its begin was not seen.
    seen: Option<(Hasher, u32)>,
}

/// A file while it is inflated, from its begin or from a point on.
struct Stream<'a> {
    input: Input<'a>,
    /// `None` between two members.
    member: Option<Member>,
    /// [`WINDOW`] bytes, and what was inflated last.
    buf: Vec<u8>,
    /// Where the bytes begin that the member may refer to, and where all end.
    known: usize,
    made: usize,
}

impl<'a> Stream<'a> {
    fn new(file: &'a dyn BlockDevice) -> Self {
        Self {
            input: Input { file, at: 0, bytes: Vec::new(), used: 0 },
            member: None,
            buf: vec![0; WINDOW.saturating_add(CHUNK)],
            known: WINDOW,
            made: WINDOW,
        }
    }

    fn resume(file: &'a dyn BlockDevice, at: u64, point: &Point) -> BlockResult<Self> {
        let mut stream = Self::new(file);
        stream.input.at = at;
        stream.known = WINDOW.saturating_sub(point.window_size);
        let window = stream.buf.get_mut(stream.known..WINDOW).unwrap_or_default();
        let read = ZlibDecoder::new(&point.window[..]).read_exact(window);
        read.map_err(|error| BlockError::corrupt(DAMAGED, at, 0).because(error))?;
        let inflater = point.inflater.clone();
        stream.member = inflater.map(|inflater| Member { inflater, seen: None });
        Ok(stream)
    }

    /// The point that is here.
    fn point(&self) -> BlockResult<Point> {
        let from = self.known.max(self.made.saturating_sub(WINDOW));
        let window = match self.member {
            Some(_) => self.buf.get(from..self.made).unwrap_or_default(),
            None => &[],
        };
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
        let packed = encoder.write_all(window).and_then(|()| encoder.finish());
        let cannot = |error| BlockError::unsupported("window cannot be kept").because(error);
        let mut packed = packed.map_err(cannot)?;
        packed.shrink_to_fit();
        Ok(Point {
            inflater: self.member.as_ref().map(|member| member.inflater.clone()),
            window: packed,
            window_size: window.len(),
            checksum: 0,
        })
    }

    /// Inflates `size` bytes from here on, or as many as there are.
    fn piece(&mut self, size: u64) -> BlockResult<Piece> {
        let (at, point) = (self.input.at, self.point()?);
        let (mut sum, mut made) = (Hasher::new(), 0_u64);
        while made < size {
            let bytes = self.next()?;
            if bytes.is_empty() {
                break;
            }
            sum.update(bytes);
            made = made.saturating_add(byte_count(bytes.len()));
        }
        let packed = self.input.at.saturating_sub(at);
        let block = Block { at, packed, start: 0, size: made, flags: 0 };
        Ok(Piece { block, point, sum })
    }

    /// The next [`CHUNK`] bytes; fewer, or none, at the end of the file.
    fn next(&mut self) -> BlockResult<&[u8]> {
        let past = self.made.saturating_sub(WINDOW);
        self.buf.copy_within(past..self.made, 0);
        self.known = self.known.saturating_sub(past);
        self.made = self.made.saturating_sub(past);
        while self.made < self.buf.len() {
            if self.member.is_none() && !self.begin()? {
                break;
            }
            self.step()?;
        }
        Ok(self.buf.get(WINDOW..self.made).unwrap_or_default())
    }

    /// Inflates what is at hand; ends the member if that is all of it.
    fn step(&mut self) -> BlockResult<()> {
        let at = self.input.at;
        let Some(member) = &mut self.member else { return Ok(()) };
        let file_size = self.input.file.size();
        let bytes = self.input.ahead(1)?;
        let is_last = at.saturating_add(byte_count(bytes.len())) >= file_size;
        let more = if is_last { 0 } else { TINFL_FLAG_HAS_MORE_INPUT };
        // What is before the member is not in `out`, and so cannot be referred to.
        let out = self.buf.get_mut(self.known..).unwrap_or_default();
        let place = self.made.saturating_sub(self.known);
        let flags = TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF | more;
        let (status, used, count) = decompress(&mut member.inflater, bytes, out, place, flags);
        self.input.skip(used);
        let end = self.made.saturating_add(count);
        let fresh = self.buf.get(self.made..end).unwrap_or_default();
        if let Some((sum, size)) = &mut member.seen {
            sum.update(fresh);
            // The size is one modulo 2^32.
            *size = size.wrapping_add(u32::try_from(count).unwrap_or(0));
        }
        self.made = end;
        match status {
            TINFLStatus::Done => self.end(),
            TINFLStatus::NeedsMoreInput | TINFLStatus::HasMoreOutput if used > 0 || count > 0 => {
                Ok(())
            }
            TINFLStatus::FailedCannotMakeProgress => Err(BlockError::corrupt(CUT, file_size, 0)),
            _ => Err(BlockError::corrupt(DAMAGED, at, 0)),
        }
    }

    /// Begins the next member; `false` if there is none.
    fn begin(&mut self) -> BlockResult<bool> {
        let at = self.input.at;
        let bytes = self.input.ahead(MAX_HEADER)?;
        if at > 0 && bytes.first().is_none_or(|first| *first == 0) {
            self.input.skip_zeros()?;
            return Ok(false);
        }
        if at > 0 && !bytes.starts_with(MAGIC) {
            return Err(BlockError::corrupt(GARBAGE, at, 0));
        }
        let length = header(bytes, at)?;
        self.input.skip(length);
        self.known = self.made;
        let seen = Some((Hasher::new(), 0));
        self.member = Some(Member { inflater: Box::default(), seen });
        Ok(true)
    }

    /// Compares what comes after a member.
    fn end(&mut self) -> BlockResult<()> {
        let at = self.input.at;
        let bytes = self.input.ahead(8)?;
        let mut reader = ByteReader::new("gzip file", bytes, at);
        let cut = |_| BlockError::corrupt(CUT, at, 0);
        let stored = (reader.u32_le().map_err(cut)?, reader.u32_le().map_err(cut)?);
        self.input.skip(8);
        let seen = self.member.take().and_then(|member| member.seen);
        match seen.is_none_or(|(sum, size)| (sum.finalize(), size) == stored) {
            true => Ok(()),
            false => Err(BlockError::corrupt("gzip file has a bad checksum; copy it again", at, 0)),
        }
    }
}

/// The length of the header of a member at the start of `bytes`, which began at `at`.
fn header(bytes: &[u8], at: u64) -> BlockResult<usize> {
    let damaged = || BlockError::corrupt("gzip file has a damaged header; copy it again", at, 0);
    let cut = |_| BlockError::corrupt(CUT, at, 0);
    let mut reader = ByteReader::new("gzip file", bytes, at);
    let magic: [u8; 3] = reader.array().map_err(cut)?;
    let flags = reader.u8().map_err(cut)?;
    if magic != *MAGIC || flags & 0xE0 != 0 {
        return Err(damaged());
    }
    reader.skip(6).map_err(cut)?;
    if flags & 4 != 0 {
        let size = reader.u16_le().map_err(cut)?;
        reader.skip(size.into()).map_err(cut)?;
    }
    for flag in [8, 16] {
        while flags & flag != 0 && reader.u8().map_err(cut)? != 0 {}
    }
    let length = |reader: &ByteReader<'_>| bytes.len().saturating_sub(reader.remaining());
    if flags & 2 != 0 {
        let sum = crc32fast::hash(bytes.get(..length(&reader)).unwrap_or_default()) & 0xFFFF;
        if sum != u32::from(reader.u16_le().map_err(cut)?) {
            return Err(damaged());
        }
    }
    Ok(length(&reader))
}

/// A file that is read from one place on.
struct Input<'a> {
    file: &'a dyn BlockDevice,
    /// Where the next byte lies.
    at: u64,
    /// What was read, of which so many bytes are used.
    bytes: Vec<u8>,
    used: usize,
}

impl Input<'_> {
    /// The next bytes: `wanted` at least, which are no more than [`READ`], if the file has them.
    fn ahead(&mut self, wanted: usize) -> BlockResult<&[u8]> {
        let held = self.bytes.len().saturating_sub(self.used);
        let end = self.at.saturating_add(byte_count(held));
        let left = self.file.size().saturating_sub(end);
        if held < wanted && left > 0 {
            self.bytes.drain(..self.used);
            self.used = 0;
            let more = bytes_to_index(left.min(byte_count(READ)))?;
            self.bytes.resize(held.saturating_add(more), 0);
            let place = self.bytes.get_mut(held..).unwrap_or_default();
            self.file.read_at(end, place)?;
        }
        Ok(self.bytes.get(self.used..).unwrap_or_default())
    }

    /// Passes over `count` bytes of those ahead.
    fn skip(&mut self, count: usize) {
        self.used = self.used.saturating_add(count);
        self.at = self.at.saturating_add(byte_count(count));
    }

    /// Passes over zeros up to the end of the file.
    fn skip_zeros(&mut self) -> BlockResult<()> {
        loop {
            let at = self.at;
            let bytes = self.ahead(1)?;
            if bytes.iter().any(|byte| *byte != 0) {
                return Err(BlockError::corrupt(GARBAGE, at, 0));
            }
            let count = bytes.len();
            if count == 0 {
                return Ok(());
            }
            self.skip(count);
        }
    }
}
