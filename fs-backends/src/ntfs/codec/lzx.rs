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
            return Err(Broken("LZX block has an invalid size"));
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
    let symbol = symbol.ok_or(Broken("invalid LZX code length"))?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::noise;

    /// A simple encoder: all words of a code have the same length, so they are the numbers of
    /// their symbols.
    #[derive(Default)]
    struct Encoder {
        bits: Vec<bool>,
        out: Vec<u8>,
        recent: [u32; 3],
        lengths: [u32; 2],
    }

    impl Encoder {
        fn put(&mut self, bits: u32, count: u32) {
            self.bits.extend((0..count).rev().map(|bit| bits >> bit & 1 == 1));
        }

        /// Moves the bits to the output; in whole words, and one more of zeros if there is none.
        fn flush(&mut self, always: bool) {
            if always {
                self.put(0, 16);
            }
            while !self.bits.len().is_multiple_of(16) {
                self.bits.push(false);
            }
            for word in self.bits.chunks(16) {
                let word = word.iter().fold(0_u16, |word, bit| word << 1 | u16::from(*bit));
                self.out.extend(word.to_le_bytes());
            }
            self.bits.clear();
        }

        fn header(&mut self, kind: u32, size: usize) {
            self.put(kind, 3);
            if size == WINDOW {
                self.put(1, 1);
            } else {
                self.put(size as u32, 17);
            }
        }

        /// Lengths `length` for all of `count` symbols, where they were `before`.
        fn code(&mut self, before: u32, length: u32, count: u32) {
            let symbol = (before + 17 - length) % 17;
            for of in 0..20 {
                self.put(u32::from(of == symbol), 4);
            }
            for _ in 0..count {
                self.put(0, 1);
            }
        }

        fn codes(&mut self, is_aligned: bool) {
            if is_aligned {
                for _ in 0..8 {
                    self.put(3, 3);
                }
            }
            let [main, length] = self.lengths;
            self.code(main, 9, 256);
            self.code(main, 9, 240);
            self.code(length, 8, 249);
            self.lengths = [9, 8];
        }

        fn matched(&mut self, distance: u32, length: usize, is_aligned: bool) {
            let header = (length - 2).min(7) as u32;
            let recent = self.recent.iter().position(|recent| *recent == distance);
            let slot = match recent {
                Some(recent) => {
                    self.recent.swap(0, recent);
                    recent
                }
                None => {
                    self.recent = [distance, self.recent[0], self.recent[1]];
                    (0..SLOTS).rfind(|slot| distances(*slot).0 <= distance + 2).unwrap()
                }
            };
            self.put(256 + slot as u32 * 8 + header, 9);
            if header == 7 {
                self.put((length - 9) as u32, 8);
            }
            if recent.is_none() {
                let (base, bits) = distances(slot);
                // Aligned words of 3 bits are plain bits.
                let _ = is_aligned;
                self.put(distance + 2 - base, bits);
            }
        }
    }

    /// Content and its unit: blocks, matches and bytes by chance.
    fn sample(seed: u64) -> (Vec<u8>, Vec<u8>) {
        let size = [1, 700, 20_000, WINDOW][seed as usize % 4];
        let mut content: Vec<u8> = Vec::new();
        let mut encoder = Encoder { recent: [1; 3], ..Encoder::default() };
        let mut choices = noise(8 * 40_000, seed)
            .chunks(8)
            .map(|choice| u64::from_le_bytes(choice.try_into().unwrap()))
            .collect::<Vec<_>>()
            .into_iter();
        while content.len() < size {
            let choice = choices.next().unwrap();
            let kind = (choice % 3) as u32 + 1;
            let left = size - content.len();
            let block = match choice >> 8 & 1 {
                0 => left,
                _ => 1 + (choice >> 32) as usize % left,
            };
            encoder.header(kind, block);
            let end = content.len() + block;
            if kind == 3 {
                encoder.flush(encoder.bits.len().is_multiple_of(16));
                let recent = encoder.recent;
                encoder.out.extend(recent.iter().flat_map(|recent| recent.to_le_bytes()));
                let stored = noise(block, choice);
                encoder.out.extend(&stored);
                content.extend(stored);
                if block % 2 == 1 {
                    encoder.out.push(0);
                }
                continue;
            }
            encoder.codes(kind == 2);
            while content.len() < end {
                let choice = choices.next().unwrap();
                let left = end - content.len();
                if choice & 1 == 0 && !content.is_empty() && left >= 2 {
                    let any = (choice >> 8) as usize % content.len() + 1;
                    let recent = encoder.recent[(choice >> 4 & 1) as usize] as usize;
                    let is_recent = choice & 2 != 0 && recent <= content.len();
                    let distance = if is_recent { recent } else { any };
                    let length = 2 + (choice >> 32) as usize % [6, 256][(choice >> 5 & 1) as usize];
                    let length = length.min(left);
                    encoder.matched(distance as u32, length, kind == 2);
                    for _ in 0..length {
                        content.push(content[content.len() - distance]);
                    }
                } else {
                    // More calls than chance would give.
                    let byte = if choice >> 16 & 63 == 0 { CALL } else { choice as u8 };
                    encoder.put(u32::from(byte), 9);
                    content.push(byte);
                }
            }
        }
        encoder.flush(false);
        turn_calls_back(&mut content);
        (content, encoder.out)
    }

    /// What the decoder has to do at the end, by the words of the specification.
    fn turn_calls_back(bytes: &mut [u8]) {
        let mut at = 0;
        while at + 10 < bytes.len() {
            if bytes[at] == 0xE8 {
                let value = i32::from_le_bytes(bytes[at + 1..at + 5].try_into().unwrap());
                let place = at as i32;
                if value >= -place && value < 12_000_000 {
                    let value = if value >= 0 { value - place } else { value + 12_000_000 };
                    bytes[at + 1..at + 5].copy_from_slice(&value.to_le_bytes());
                }
                at += 4;
            }
            at += 1;
        }
    }

    #[test]
    fn what_was_encoded_comes_back() {
        for seed in 1..80 {
            let (content, unit) = sample(seed);
            let mut out = vec![0xA5; content.len()];
            decode(&unit, &mut out).unwrap();
            assert!(out == content, "{seed}");
        }
    }

    #[test]
    fn a_unit_that_is_cut_short_or_bent_does_no_harm() {
        for seed in 1..20 {
            let (content, unit) = sample(seed);
            let mut out = vec![0; content.len()];
            for length in (0..unit.len().saturating_sub(12)).step_by(1 + unit.len() / 60) {
                assert!(decode(&unit[..length], &mut out).is_err(), "{length}");
            }
            for number in noise(600, seed).chunks(3) {
                let mut bent = unit.clone();
                let at = (usize::from(number[0]) << 8 | usize::from(number[1])) % bent.len();
                bent[at] ^= number[2];
                let _ = decode(&bent, &mut out);
            }
        }
        assert!(decode(&[0; 64], &mut vec![0; WINDOW + 1]).is_err());
    }
}
