//! The checksum of LVM2: CRC-32 with a start value of its own and without the last inversion.

use crc32fast::Hasher;

/// What LVM2 starts from.
const START: u32 = 0xF597_A6CF;

/// The checksum of `bytes`.
///
/// Source: `lib/misc/crc.c` of lvm2; polynomial 0xEDB88320, as zlib has it.
pub(super) fn checksum(bytes: &[u8]) -> u32 {
    let mut hasher = Hasher::new_with_initial(!START);
    hasher.update(bytes);
    !hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checksum_is_that_of_the_definition() {
        let mut sum = START;
        for byte in b"LVM2 001" {
            sum ^= u32::from(*byte);
            for _ in 0..8 {
                sum = if sum & 1 == 1 { (sum >> 1) ^ 0xEDB8_8320 } else { sum >> 1 };
            }
        }
        assert_eq!(checksum(b"LVM2 001"), sum);
        assert_eq!(checksum(b""), START);
    }
}
