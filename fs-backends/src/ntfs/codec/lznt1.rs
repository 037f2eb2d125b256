//! LZNT1, the compression of NTFS itself.
//!
//! Specification: MS-XCA 2.5. A unit is a row of chunks that give 4096 bytes each. A chunk is a
//! 16-bit header and its data:
//!
//! | bits  | field       | rule                                |
//! |-------|-------------|-------------------------------------|
//! | 0-11  | `size`      | bytes of data, less 1               |
//! | 12-14 | `signature` | 3                                   |
//! | 15    | `compressed`| else the data are the bytes         |
//!
//! A header 0 ends the unit. Compressed data are groups of a byte of flags, lowest first, and eight
//! elements: a byte where the flag is 0, else 16 bits of a match, whose upper bits are the distance
//! less 1 and the lower the length less 3. The distance has 4 bits, and one more each time that
//! the place in the chunk passes 16, 32, 64 and so on.

use super::{Broken, copy_match};

/// The bytes that a chunk gives.
const CHUNK: usize = 4096;

/// Fills `out` with the content of the unit in `bytes`.
///
/// # Errors
/// If the chunks do not give all of `out`.
pub(in super::super) fn decode(bytes: &[u8], out: &mut [u8]) -> Result<(), Broken> {
    const SHORT: Broken = Broken("LZNT1 unit is cut short");
    let mut rest = bytes;
    for chunk in out.chunks_mut(CHUNK) {
        let (header, later) = rest.split_first_chunk::<2>().ok_or(SHORT)?;
        let header = u16::from_le_bytes(*header);
        if header == 0 {
            return Err(Broken("LZNT1 unit ends early"));
        }
        if header >> 12 & 7 != 3 {
            return Err(Broken("LZNT1 chunk has a wrong signature"));
        }
        let size = usize::from(header & 0x0FFF).saturating_add(1);
        let (data, later) = later.split_at_checked(size).ok_or(SHORT)?;
        rest = later;
        if header & 0x8000 != 0 {
            decode_chunk(data, chunk)?;
        } else {
            let data = data.get(..chunk.len()).ok_or(Broken("LZNT1 chunk is too short"))?;
            chunk.copy_from_slice(data);
        }
    }
    Ok(())
}

/// Fills `out`, a chunk or as much of it as is wanted.
fn decode_chunk(data: &[u8], out: &mut [u8]) -> Result<(), Broken> {
    let mut rest = data;
    let mut at: usize = 0;
    // The bits of a length: those of 16 that the distance leaves.
    let mut length_bits: u32 = 12;
    let mut limit: usize = 16;
    while at < out.len() {
        let (flags, later) = rest.split_first().ok_or(Broken("LZNT1 chunk is too short"))?;
        rest = later;
        if *flags == 0
            && let (Some((bytes, later)), Some(to)) =
                (rest.split_first_chunk::<8>(), out.get_mut(at..at.saturating_add(8)))
        {
            to.copy_from_slice(bytes);
            rest = later;
            at = at.saturating_add(8);
            continue;
        }
        for bit in 0..8_u32 {
            if at >= out.len() {
                break;
            }
            if flags.wrapping_shr(bit) & 1 == 0 {
                let (byte, later) = rest.split_first().ok_or(Broken("LZNT1 chunk is too short"))?;
                rest = later;
                if let Some(to) = out.get_mut(at) {
                    *to = *byte;
                }
                at = at.saturating_add(1);
                continue;
            }
            let (pair, later) =
                rest.split_first_chunk::<2>().ok_or(Broken("LZNT1 chunk is too short"))?;
            rest = later;
            while at > limit {
                limit = limit.saturating_mul(2);
                length_bits = length_bits.saturating_sub(1);
            }
            let pair = u16::from_le_bytes(*pair);
            let distance = usize::from(pair.wrapping_shr(length_bits)).saturating_add(1);
            let mask = 1_u16.wrapping_shl(length_bits).wrapping_sub(1);
            let length = usize::from(pair & mask).saturating_add(3);
            // Only what is wanted of the last match; the whole of it has to stay in the chunk.
            if at.saturating_add(length) > CHUNK {
                return Err(Broken("match leaves the unit"));
            }
            at = copy_match(out, at, distance, length.min(out.len().saturating_sub(at)))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::noise;

    /// A simple encoder: greedy matches at any earlier place of the chunk.
    fn encode(bytes: &[u8]) -> Vec<u8> {
        let mut unit = Vec::new();
        for chunk in bytes.chunks(CHUNK) {
            let mut data = Vec::new();
            let mut at = 0;
            while at < chunk.len() {
                let flags_at = data.len();
                data.push(0);
                for bit in 0..8 {
                    if at >= chunk.len() {
                        break;
                    }
                    let mut length_bits = 12;
                    while at > 16 << (12 - length_bits) {
                        length_bits -= 1;
                    }
                    let longest = (1 << length_bits) + 2;
                    let best = (0..at)
                        .rev()
                        .take(300)
                        .map(|from| {
                            let same = (at..chunk.len())
                                .take(longest)
                                .take_while(|to| chunk[*to] == chunk[from + to - at])
                                .count();
                            (same, at - from)
                        })
                        .max_by_key(|(same, _)| *same);
                    match best {
                        Some((length, distance)) if length >= 3 => {
                            data[flags_at] |= 1 << bit;
                            let pair = (distance - 1) << length_bits | (length - 3);
                            data.extend((pair as u16).to_le_bytes());
                            at += length;
                        }
                        _ => {
                            data.push(chunk[at]);
                            at += 1;
                        }
                    }
                }
            }
            if data.len() >= CHUNK && chunk.len() == CHUNK {
                unit.extend((0x3000 | (CHUNK - 1) as u16).to_le_bytes());
                unit.extend(chunk);
            } else {
                unit.extend((0xB000 | (data.len() - 1) as u16).to_le_bytes());
                unit.extend(data);
            }
        }
        unit
    }

    fn samples() -> Vec<Vec<u8>> {
        let mut samples = vec![vec![0; 65536], noise(65536, 5), b"abc".to_vec(), vec![7; 4097]];
        for round in 1..40_u64 {
            // Bytes of a few values, so that there are matches of all kinds.
            let length = (round * 1733 % 30_000) as usize + 1;
            let values = (round % 7 + 2) as u8;
            let bytes = noise(length, round).iter().map(|byte| byte % values).collect();
            samples.push(bytes);
        }
        samples
    }

    #[test]
    fn what_was_encoded_comes_back() {
        for sample in samples() {
            let unit = encode(&sample);
            let mut out = vec![0xA5; sample.len()];
            decode(&unit, &mut out).unwrap();
            assert!(out == sample, "{} bytes", sample.len());
            let half = sample.len() / 2;
            let mut out = vec![0xA5; half];
            decode(&unit, &mut out).unwrap();
            assert!(out == sample[..half]);
        }
    }

    #[test]
    fn the_example_of_the_specification_is_decoded() {
        // MS-XCA 3.2.
        let text =
            b"F# F# G A A G F# E D D E F# F# E E F# F# G A A G F# E D D E F# E D D E E F# D \
                     E F# G F# D E F# G F# E D E A F# F# G A A G F# E D D E F# E D D\0";
        let unit = [
            0x38, 0xB0, 0x88, 0x46, 0x23, 0x20, 0x00, 0x20, 0x47, 0x20, 0x41, 0x00, 0x10, 0xA2,
            0x47, 0x01, 0xA0, 0x45, 0x20, 0x44, 0x00, 0x08, 0x45, 0x01, 0x50, 0x79, 0x00, 0xC0,
            0x45, 0x20, 0x05, 0x24, 0x13, 0x88, 0x05, 0xB4, 0x02, 0x4A, 0x44, 0xEF, 0x03, 0x58,
            0x02, 0x8C, 0x09, 0x16, 0x01, 0x48, 0x45, 0x00, 0xBE, 0x00, 0x9E, 0x00, 0x04, 0x01,
            0x18, 0x90, 0x00,
        ];
        let mut out = vec![0; text.len()];
        decode(&unit, &mut out).unwrap();
        assert_eq!(out, text);
    }

    #[test]
    fn a_unit_that_is_cut_short_or_bent_is_refused_or_decoded_without_harm() {
        for sample in samples().into_iter().skip(3).step_by(6) {
            let unit = encode(&sample);
            let mut out = vec![0; sample.len()];
            for length in (0..unit.len()).step_by(1 + unit.len() / 50) {
                assert!(decode(&unit[..length], &mut out).is_err(), "{length}");
            }
            for (round, number) in noise(300, 9).chunks(3).enumerate() {
                let mut bent = unit.clone();
                let at = (usize::from(number[0]) << 8 | usize::from(number[1])) % bent.len();
                bent[at] ^= number[2] | (round & 1) as u8;
                let _ = decode(&bent, &mut out);
            }
        }
        let mut out = [0; 8];
        assert!(decode(&[0; 100], &mut out).is_err(), "zeros are no unit");
    }
}
