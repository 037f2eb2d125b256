//! XPRESS Huffman, three of the compressions of CompactOS.
//!
//! Specification: MS-XCA 2.2. A unit is 256 bytes with the lengths of 512 words, four bits each,
//! the lower half first, and then bits of little-endian 16-bit words. A symbol below 256 is a byte.
//! Else its bits 0 to 3 are a length less 3, and 4 to 7 the count of bits of a distance behind its
//! topmost 1. If the length is 15, a byte more follows, and a 16-bit length in place of both if that
//! is 255. Those bytes lie behind the words fetched so far, of which there are always 16 bits.

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
                    return Err(Broken("XPRESS match has a length that cannot be"));
                }
                long
            };
        }
        at = copy_match(out, at, distance, length.saturating_add(3))?;
    }
    Ok(())
}
