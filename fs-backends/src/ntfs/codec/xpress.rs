//! XPRESS Huffman, three of the compressions of CompactOS.
//!
//! Specification: MS-XCA 2.2. A unit is 256 bytes with the lengths of 512 words, four bits each,
//! the lower half first, and then bits of little-endian 16-bit words. A symbol below 256 is a byte.
//! Else its bits 0 to 3 are a length less 3, and 4 to 7 the count of bits of a distance after its
//! topmost 1. If the length is 15, a byte more follows, and a 16-bit length in place of both if that
//! is 255. Those bytes lie after the words fetched so far, of which there are always 16 bits.

use super::bits::BitReader;
use super::huffman::Code;
use super::{Broken, copy_match};

const SYMBOLS: usize = 512;

/// Fills `out` with the content of the unit in `bytes`.
///
/// # Errors
/// If the bytes do not give exactly all of `out`.
pub(in super::super) fn decode(bytes: &[u8], out: &mut [u8]) -> Result<(), Broken> {
    let split = bytes.split_first_chunk::<{ SYMBOLS / 2 }>();
    let (packed, rest) = split.ok_or(Broken("XPRESS unit is cut short"))?;
    let mut lengths = [0_u8; SYMBOLS];
    let (pairs, _) = lengths.as_chunks_mut::<2>();
    for (pair, byte) in pairs.iter_mut().zip(packed) {
        *pair = [byte & 0x0F, byte >> 4];
    }
    let mut code = Code::<SYMBOLS, 2048>::new();
    code.build(&lengths)?;
    let mut reader = BitReader::new(rest);
    let mut at: usize = 0;
    while at < out.len() {
        let symbol = code.read(&mut reader)?;
        if let Ok(byte) = u8::try_from(symbol) {
            if let Some(to) = out.get_mut(at) {
                *to = byte;
            }
            at = at.saturating_add(1);
            continue;
        }
        let distance_bits = u32::from(symbol >> 4 & 0x0F);
        let mut length = usize::from(symbol & 0x0F);
        reader.ensure(16)?;
        let low = usize::try_from(reader.take(distance_bits)).unwrap_or(0);
        let distance = 1_usize.wrapping_shl(distance_bits) | low;
        if length == 15 {
            let more = reader.byte()?;
            length = if more < 255 {
                usize::from(more).saturating_add(15)
            } else {
                let long = match reader.u16()? {
                    0 => usize::try_from(reader.u32()?).unwrap_or(usize::MAX),
                    long => usize::from(long),
                };
                if long < 15 {
                    return Err(Broken("XPRESS match has an invalid length"));
                }
                long
            };
        }
        at = copy_match(out, at, distance, length.saturating_add(3))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::noise;

    /// A simple encoder. All 512 symbols have words of 9 bits, which thus are their numbers.
    struct Encoder {
        out: Vec<u8>,
        /// Where the next two words go: the decoder has fetched them when it takes a byte.
        slots: [usize; 2],
        bits: u64,
        count: u32,
    }

    impl Encoder {
        fn new() -> Self {
            let mut out = vec![0x99; 256];
            out.resize(260, 0);
            Self { out, slots: [256, 258], bits: 0, count: 0 }
        }

        fn put(&mut self, bits: u32, count: u32) {
            self.bits = self.bits << count | u64::from(bits);
            self.count += count;
            if self.count > 16 {
                self.count -= 16;
                let word = (self.bits >> self.count) as u16;
                self.out[self.slots[0]..][..2].copy_from_slice(&word.to_le_bytes());
                self.slots = [self.slots[1], self.out.len()];
                self.out.extend([0; 2]);
            }
        }

        fn matched(&mut self, distance: usize, length: usize) {
            let bits = distance.ilog2();
            let short = (length - 3).min(15);
            self.put(256 | bits << 4 | short as u32, 9);
            if short == 15 {
                match length - 18 {
                    more @ ..255 => self.out.push(more as u8),
                    _ if length - 3 <= 65535 => {
                        self.out.push(255);
                        self.out.extend(((length - 3) as u16).to_le_bytes());
                    }
                    _ => {
                        self.out.extend([255, 0, 0]);
                        self.out.extend(((length - 3) as u32).to_le_bytes());
                    }
                }
            }
            self.put(distance as u32 & ((1 << bits) - 1), bits);
        }

        fn finish(mut self) -> Vec<u8> {
            let count = 17 - self.count;
            self.put(0, count);
            self.out
        }
    }

    /// Content and its unit: matches and bytes by chance.
    fn sample(seed: u64) -> (Vec<u8>, Vec<u8>) {
        let mut content: Vec<u8> = Vec::new();
        let mut encoder = Encoder::new();
        let size = [500, 4096, 16_384, 70_000][seed as usize % 4];
        for choice in noise(8 * size, seed).chunks(8) {
            let choice = u64::from_le_bytes(choice.try_into().unwrap());
            let left = size - content.len();
            if choice & 1 == 0 && content.len() > 1 && left >= 3 {
                let distance = (choice >> 8) as usize % content.len().min(65_535) + 1;
                let most = [10, 40, 400, 70_000][(choice >> 1 & 3) as usize].min(left - 2);
                let length = 3 + (choice >> 32) as usize % most;
                encoder.matched(distance, length);
                for _ in 0..length {
                    content.push(content[content.len() - distance]);
                }
            } else if left > 0 {
                encoder.put(u32::from(choice as u8), 9);
                content.push(choice as u8);
            } else {
                break;
            }
        }
        (content, encoder.finish())
    }

    #[test]
    fn what_was_encoded_comes_back() {
        for seed in 1..60 {
            let (content, unit) = sample(seed);
            let mut out = vec![0xA5; content.len()];
            decode(&unit, &mut out).unwrap();
            assert!(out == content, "{seed}");
        }
    }

    #[test]
    fn a_unit_that_is_cut_short_or_bent_does_no_harm() {
        for seed in 1..9 {
            let (content, unit) = sample(seed * 4);
            let mut out = vec![0; content.len()];
            for length in (0..unit.len().saturating_sub(12)).step_by(1 + unit.len() / 60) {
                assert!(decode(&unit[..length], &mut out).is_err(), "{length}");
            }
            for number in noise(900, seed).chunks(3) {
                let mut bent = unit.clone();
                let at = (usize::from(number[0]) << 8 | usize::from(number[1])) % bent.len();
                bent[at] ^= number[2];
                let _ = decode(&bent, &mut out);
            }
        }
    }
}
