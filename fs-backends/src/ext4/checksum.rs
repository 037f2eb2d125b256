//! CRC-32C (Castagnoli), the checksum of ext4 metadata and of the journal.
//!
//! ext4 starts at all ones and does not invert the result, so that sums can be chained:
//! `update(update(seed, a), b)`.

/// The sum over `bytes`, continued from `crc`.
pub(super) fn update(crc: u32, bytes: &[u8]) -> u32 {
    // The crate inverts on the way in and out.
    !crc32c::crc32c_append(!crc, bytes)
}

/// The sum over `bytes` from all ones.
pub(super) fn sum(bytes: &[u8]) -> u32 {
    update(u32::MAX, bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_check_value_of_the_catalogue_comes_out() {
        assert_eq!(!sum(b"123456789"), 0xE306_9283);
    }

    #[test]
    fn a_sum_in_parts_is_the_sum_of_the_whole() {
        let bytes: Vec<u8> = (0..=255).collect();
        for cut in [0, 1, 7, 8, 9, 100, 256] {
            assert_eq!(update(sum(&bytes[..cut]), &bytes[cut..]), sum(&bytes));
        }
    }
}
