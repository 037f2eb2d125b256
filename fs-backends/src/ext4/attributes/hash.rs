//! The hashes of attributes.

use super::entries::{Entry, Value};

/// Bits that a hash turns by for each byte of a name, and for each word of a value.
const NAME_TURN: u32 = 5;
const VALUE_TURN: u32 = 16;

/// Whether `entry` has the hash of its name and of its value, which are 32-bit words, the last one
/// filled with 0; of a value in an inode of its own that is the one word `value_hash`.
pub(super) fn is_right(entry: &Entry<'_>, value_hash: u32) -> bool {
    let of_value = |of_name: u32| match entry.value {
        Value::Here(value) => {
            value.chunks(4).fold(of_name, |hash, chunk| turned(hash, word(chunk)))
        }
        Value::Inode { .. } => turned(of_name, value_hash),
    };
    let plain = |hash: u32, byte: &u8| hash.rotate_left(NAME_TURN) ^ u32::from(*byte);
    // QUIRK: Linux before 6.2, where `char` has a sign: bytes above 0x7F count with it.
    let signed = |hash: u32, byte: &u8| {
        let upper = if *byte < 0x80 { 0 } else { 0xFFFF_FF00 };
        hash.rotate_left(NAME_TURN) ^ (u32::from(*byte) | upper)
    };
    let is_plain = of_value(entry.name.iter().fold(0, plain)) == entry.hash;
    is_plain || of_value(entry.name.iter().fold(0, signed)) == entry.hash
}

fn turned(hash: u32, word: u32) -> u32 {
    hash.rotate_left(VALUE_TURN) ^ word
}

fn word(bytes: &[u8]) -> u32 {
    bytes.iter().rev().fold(0, |word, byte| (word << 8) | u32::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_of_name_and_value() {
        let entry = |name, value, hash| Entry { index: 1, name, value, hash };
        let value = Value::Here(b"value");
        // a << 5 ^ b, then two words.
        let hash = (((0x61_u32 << 5) ^ 0x62).rotate_left(16) ^ 0x756C_6176).rotate_left(16) ^ 0x65;
        assert!(is_right(&entry(b"ab", value, hash), 0));
        assert!(!is_right(&entry(b"ab", value, hash ^ 1), 0));
        let in_inode = Value::Inode { number: 12, size: 9 };
        let hash = 0x61_u32.rotate_left(16) ^ 77;
        assert!(is_right(&entry(b"a", in_inode, hash), 77));
        assert!(!is_right(&entry(b"a", in_inode, hash), 78));
    }
}
