//! LZX as WIM files and CompactOS have it: units of at most 32 KiB that stand alone.
//!
//! Specification: MS-PATCH 2 for the format, with these differences: there is no header, a block has
//! a bit for the usual size of 32 KiB, and the calls of x86 programs are always turned as if the
//! file had 12,000,000 bytes.
//!
//! A block begins with its kind (3 bits: 1 verbatim, 2 aligned, 3 uncompressed) and its size (a bit
//! 1, or a bit 0 and 16 bits). Verbatim and aligned blocks have codes: eight lengths of 3 bits of the
//! aligned code if there is one, the main code in two parts, the length code. The lengths of a part
//! are given by a code of 20 symbols, whose own have 4 bits, as differences to those of the block
//! before.

use super::bits::BitReader;
use super::huffman::Code;
use super::{Broken, copy_match};

/// The largest unit.
const WINDOW: usize = 32 * 1024;
const LITERALS: usize = 256;
/// Places of a distance for [`WINDOW`].
const SLOTS: usize = 30;
const MAIN_SYMBOLS: usize = LITERALS + SLOTS * 8;
const LENGTH_SYMBOLS: usize = 249;
const PRE_SYMBOLS: usize = 20;
const ALIGNED_SYMBOLS: usize = 8;
/// What turned calls of x86 programs are relative to.
const CALL_FILE_SIZE: i32 = 12_000_000;
/// The first byte of a call, and how many bytes at the end hold no call.
const CALL: u8 = 0xE8;
const CALL_TAIL: usize = 10;

/// The first distance of a slot, and its count of further bits. Two slots each share a count.
fn distances(slot: usize) -> (u32, u32) {
    let slot = u32::try_from(slot).unwrap_or(0);
    match slot {
        0..4 => (slot, 0),
        _ => {
            let bits = (slot / 2).saturating_sub(1);
            (2_u32.saturating_add(slot % 2).wrapping_shl(bits), bits)
        }
    }
}

/// The codes, and the lengths that the next block's are relative to.
struct Codes {
    main: Code<MAIN_SYMBOLS, 2048>,
    length: Code<LENGTH_SYMBOLS, 512>,
    aligned: Code<ALIGNED_SYMBOLS, 128>,
    main_lengths: [u8; MAIN_SYMBOLS],
    length_lengths: [u8; LENGTH_SYMBOLS],
    has_aligned: bool,
}

/// Fills `out` with the content of the unit in `bytes`.
///
/// # Errors
/// If the bytes do not give exactly all of `out`, or `out` is larger than a unit.
pub(in super::super) fn decode(bytes: &[u8], out: &mut [u8]) -> Result<(), Broken> {
    if out.len() > WINDOW {
        return Err(Broken("LZX unit is too large"));
    }
    let mut codes = Codes {
        main: Code::new(),
        length: Code::new(),
        aligned: Code::new(),
        main_lengths: [0; MAIN_SYMBOLS],
        length_lengths: [0; LENGTH_SYMBOLS],
        has_aligned: false,
    };
    let mut reader = BitReader::new(bytes);
    let mut recent = [1_u32; 3];
    let mut at: usize = 0;
    while at < out.len() {
        let kind = reader.read(3)?;
        let size = match reader.read(1)? {
            0 => usize::try_from(reader.read(16)?).unwrap_or(0),
            _ => WINDOW,
        };
        let end = at.saturating_add(size);
        if size == 0 || end > out.len() {
            return Err(Broken("LZX block has a size that cannot be"));
        }
        match kind {
            1 | 2 => {
                codes.read(&mut reader, kind == 2)?;
                codes.block(&mut reader, out, at, end, &mut recent)?;
            }
            3 => {
                reader.align()?;
                for distance in &mut recent {
                    *distance = reader.u32()?;
                }
                let stored = reader.bytes(size)?;
                out.get_mut(at..end).unwrap_or_default().copy_from_slice(stored);
                if size % 2 != 0 {
                    reader.byte()?;
                }
            }
            _ => return Err(Broken("LZX block has an unknown kind")),
        }
        at = end;
    }
    turn_calls(out);
    Ok(())
}

impl Codes {
    fn read(&mut self, reader: &mut BitReader<'_>, has_aligned: bool) -> Result<(), Broken> {
        self.has_aligned = has_aligned;
        if has_aligned {
            let mut lengths = [0; ALIGNED_SYMBOLS];
            for length in &mut lengths {
                *length = u8::try_from(reader.read(3)?).unwrap_or(0);
            }
            self.aligned.build(&lengths)?;
        }
        let (literals, matches) = self.main_lengths.split_at_mut(LITERALS);
        read_lengths(reader, literals)?;
        read_lengths(reader, matches)?;
        self.main.build(&self.main_lengths)?;
        read_lengths(reader, &mut self.length_lengths)?;
        self.length.build(&self.length_lengths)
    }

    /// Decodes the bytes from `at` to `end` of `out`.
    fn block(
        &self,
        reader: &mut BitReader<'_>,
        out: &mut [u8],
        mut at: usize,
        end: usize,
        recent: &mut [u32; 3],
    ) -> Result<(), Broken> {
        let out = out.get_mut(..end).unwrap_or_default();
        while at < end {
            let symbol = self.main.read(reader)?;
            if let Ok(byte) = u8::try_from(symbol) {
                if let Some(to) = out.get_mut(at) {
                    *to = byte;
                }
                at = at.saturating_add(1);
                continue;
            }
            let symbol = usize::from(symbol).saturating_sub(LITERALS);
            let mut length = symbol % 8;
            if length == 7 {
                length = length.saturating_add(usize::from(self.length.read(reader)?));
            }
            let distance = self.distance(reader, symbol / 8, recent)?;
            let distance = usize::try_from(distance).unwrap_or(usize::MAX);
            at = copy_match(out, at, distance, length.saturating_add(2))?;
        }
        Ok(())
    }

    /// The distance of a match in `slot`. The first three slots are the recent ones.
    fn distance(
        &self,
        reader: &mut BitReader<'_>,
        slot: usize,
        recent: &mut [u32; 3],
    ) -> Result<u32, Broken> {
        let [first, second, third] = *recent;
        *recent = match slot {
            0 => [first, second, third],
            1 => [second, first, third],
            2 => [third, second, first],
            _ => {
                let (base, bits) = distances(slot);
                let more = if self.has_aligned && bits >= 3 {
                    let high = reader.read(bits.saturating_sub(3))?;
                    let low = self.aligned.read(reader)?;
                    high.wrapping_shl(3) | u32::from(low)
                } else {
                    reader.read(bits)?
                };
                let distance = base.saturating_add(more).saturating_sub(2);
                [distance, first, second]
            }
        };
        let [distance, ..] = *recent;
        Ok(distance)
    }
}

/// Reads the lengths of one part of a code, as differences to those that are there.
fn read_lengths(reader: &mut BitReader<'_>, lengths: &mut [u8]) -> Result<(), Broken> {
    const OUTSIDE: Broken = Broken("LZX code lengths leave their code");
    let mut own = [0; PRE_SYMBOLS];
    for length in &mut own {
        *length = u8::try_from(reader.read(4)?).unwrap_or(0);
    }
    let mut code = Code::<PRE_SYMBOLS, 64>::new();
    code.build(&own)?;
    let mut rest = lengths;
    while let Some(before) = rest.first().copied() {
        let symbol = code.read(reader)?;
        let (count, length) = match symbol {
            17 => (reader.read(4)?.saturating_add(4), 0),
            18 => (reader.read(5)?.saturating_add(20), 0),
            19 => {
                let count = reader.read(1)?.saturating_add(4);
                (count, differ(before, code.read(reader)?)?)
            }
            symbol => (1, differ(before, symbol)?),
        };
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        let (now, later) = rest.split_at_mut_checked(count).ok_or(OUTSIDE)?;
        now.fill(length);
        rest = later;
    }
    Ok(())
}

/// The length that is `symbol` less than `before`, in a ring of 17.
fn differ(before: u8, symbol: u16) -> Result<u8, Broken> {
    let symbol = u8::try_from(symbol).ok().filter(|symbol| *symbol < 17);
    let symbol = symbol.ok_or(Broken("LZX code length cannot be"))?;
    let less = before.wrapping_sub(symbol);
    Ok(if symbol > before { less.wrapping_add(17) } else { less })
}

/// Undoes what the encoder did to the calls of x86 programs: their targets were made absolute.
fn turn_calls(out: &mut [u8]) {
    let Some(last) = out.len().checked_sub(CALL_TAIL) else { return };
    let mut at: usize = 0;
    while let Some(found) =
        out.get(at..last).and_then(|bytes| bytes.iter().position(|byte| *byte == CALL))
    {
        let call = at.saturating_add(found);
        let operand = out.get_mut(call.saturating_add(1)..).and_then(<[u8]>::first_chunk_mut::<4>);
        if let Some(operand) = operand {
            let place = i32::try_from(call).unwrap_or(i32::MAX);
            let target = i32::from_le_bytes(*operand);
            if target >= place.wrapping_neg() && target < CALL_FILE_SIZE {
                let turned = match target {
                    0.. => target.wrapping_sub(place),
                    _ => target.wrapping_add(CALL_FILE_SIZE),
                };
                *operand = turned.to_le_bytes();
            }
        }
        at = call.saturating_add(5);
    }
}
