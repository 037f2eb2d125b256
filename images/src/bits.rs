//! Bitmaps of sectors, as snapshots keep them.

use volfold_block::{BlockDevice, BlockResult, SectorCache, bytes_to_index};

/// LIMIT: bytes of a bitmap that one look takes in. A request that needs more is several pieces.
const WINDOW: usize = 512;

/// Which bit of a byte is the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BitOrder {
    /// The one of the highest value.
    HighFirst,
    /// The one of the lowest value.
    LowFirst,
}

/// The value of the bit number `from` of the bitmap that begins at `at` of `file`, and how many bits
/// have it from there on, of at most `count`, at least 1.
///
/// # Errors
/// If the bitmap cannot be read, or is not in the file.
pub(crate) fn bit_run(
    file: &SectorCache,
    at: u64,
    order: BitOrder,
    from: u64,
    count: u64,
) -> BlockResult<(bool, u64)> {
    let first = from & 7;
    let length = bytes_to_index(first.saturating_add(count.max(1)).div_ceil(8))?.min(WINDOW);
    let mut window = [0; WINDOW];
    let bytes = window.get_mut(..length).unwrap_or_default();
    file.read_at(at.saturating_add(from >> 3), bytes)?;
    let last = first.saturating_add(count.max(1));
    Ok(run(bytes, order, first, last))
}

/// Whether one of the first `length` bytes of the bitmap that begins at `at` of `file` is not zero.
///
/// # Errors
/// If the bitmap cannot be read, or is not in the file.
pub(crate) fn has_a_bit(file: &SectorCache, at: u64, length: u64) -> BlockResult<bool> {
    let mut window = [0; WINDOW];
    let (mut at, mut left) = (at, length);
    while left > 0 {
        let count = bytes_to_index(left)?.min(WINDOW);
        let bytes = window.get_mut(..count).unwrap_or_default();
        file.read_at(at, bytes)?;
        if bytes.iter().any(|byte| *byte != 0) {
            return Ok(true);
        }
        let step = volfold_block::byte_count(count);
        at = at.saturating_add(step);
        left = left.saturating_sub(step);
    }
    Ok(false)
}

/// The value of the bit `from` of `bytes`, and how many of the bits from there to before `to` have it.
fn run(bytes: &[u8], order: BitOrder, from: u64, to: u64) -> (bool, u64) {
    let byte = |bit: u64| usize::try_from(bit >> 3).ok().and_then(|index| bytes.get(index));
    let is_set = |bit: u64| {
        let mask = match order {
            BitOrder::HighFirst => 0x80_u8 >> (bit & 7),
            BitOrder::LowFirst => 1_u8 << (bit & 7),
        };
        byte(bit).map(|byte| byte & mask != 0)
    };
    let value = is_set(from).unwrap_or_default();
    let all = if value { 0xFF } else { 0 };
    let mut bit = from.saturating_add(1);
    while bit < to {
        if bit & 7 == 0 && byte(bit) == Some(&all) {
            bit = bit.saturating_add(8).min(to);
        } else if is_set(bit) == Some(value) {
            bit = bit.saturating_add(1);
        } else {
            break;
        }
    }
    (value, bit.saturating_sub(from))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use volfold_block::{CachePool, MemoryDevice};

    fn cached(bytes: &[u8]) -> SectorCache {
        SectorCache::new(&CachePool::new(1 << 20), Arc::new(MemoryDevice::new(bytes)), 512)
    }

    #[test]
    fn bits_are_counted_in_the_order_of_the_format() {
        use BitOrder::{HighFirst, LowFirst};
        let bits = [0b1110_0000, 0xFF, 0b0000_0001, 0, 0];
        assert_eq!(run(&bits, HighFirst, 0, 40), (true, 3));
        assert_eq!(run(&bits, HighFirst, 3, 40), (false, 5));
        assert_eq!(run(&bits, HighFirst, 8, 40), (true, 8));
        assert_eq!(run(&bits, HighFirst, 9, 13), (true, 4));
        assert_eq!(run(&bits, LowFirst, 0, 40), (false, 5));
        assert_eq!(run(&bits, LowFirst, 5, 40), (true, 12));
        assert_eq!(run(&bits, LowFirst, 17, 40), (false, 23));
    }

    #[test]
    fn a_look_is_bounded_and_goes_on_where_it_ended() {
        let mut bits = vec![0xFF; 2000];
        bits[1500] = 0x7F;
        let file = cached(&[vec![0; 10], bits].concat());
        let look = |from, count| bit_run(&file, 10, BitOrder::HighFirst, from, count).unwrap();
        assert_eq!(look(0, 16000), (true, 4096));
        assert_eq!(look(11_000, 5000), (true, 1000));
        assert_eq!(look(12_000, 5), (false, 1));
        assert_eq!(look(3, 9), (true, 9));
        assert!(bit_run(&file, 10, BitOrder::HighFirst, 16_000, 8).is_err());
        assert!(bit_run(&file, u64::MAX, BitOrder::HighFirst, 16_000, 8).is_err());
    }

    #[test]
    fn an_empty_bitmap_is_told_from_one_with_a_bit_at_its_end() {
        let mut bits = vec![0; 2000];
        assert!(!has_a_bit(&cached(&bits), 0, 2000).unwrap());
        bits[1999] = 1;
        assert!(has_a_bit(&cached(&bits), 0, 2000).unwrap());
        assert!(!has_a_bit(&cached(&bits), 0, 1999).unwrap());
        assert!(has_a_bit(&cached(&bits[..600]), 0, 2000).is_err());
    }
}
