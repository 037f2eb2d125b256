//! CRC-32C (Castagnoli), the checksum of all metadata of version 5 and of the log.
//!
//! It covers a whole structure with the four bytes of the sum itself taken as 0, and is stored in
//! little-endian order.

use super::bytes::{array, put};

/// The sum over `bytes` with the four bytes at `at` taken as 0; `None` if they are not there.
pub(super) fn of(bytes: &[u8], at: usize) -> Option<u32> {
    let (before, rest) = bytes.split_at_checked(at)?;
    let (_, after) = rest.split_at_checked(4)?;
    let sum = crc32c::crc32c_append(crc32c::crc32c(before), &[0; 4]);
    Some(crc32c::crc32c_append(sum, after))
}

/// Whether the sum that is stored at `at` is that of `bytes`.
pub(super) fn is_good(bytes: &[u8], at: usize) -> bool {
    let stored = array(bytes, at).map(u32::from_le_bytes);
    // A fuzzer finds no good sums, and so nothing that lies after them.
    stored.is_some() && (cfg!(fuzzing) || stored == of(bytes, at))
}

/// Stores the sum of `bytes` at `at`.
pub(super) fn store(bytes: &mut [u8], at: usize) -> Option<()> {
    let sum = of(bytes, at)?;
    put(bytes, at, &sum.to_le_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stored_sum_is_good_until_a_byte_changes() {
        let mut bytes = b"some structure with ____ in it".to_vec();
        store(&mut bytes, 20).unwrap();
        assert!(is_good(&bytes, 20));
        bytes[3] ^= 1;
        assert!(!is_good(&bytes, 20));
        assert!(!is_good(&bytes, 28) && store(&mut bytes, 28).is_none());
    }
}
