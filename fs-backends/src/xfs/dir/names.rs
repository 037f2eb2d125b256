//! How names are hashed and compared.
//!
//! Specification: "XFS Algorithms & Data Structures", chapter "Directories", "Hash values"; for the
//! case-insensitive form `xfs_ascii_ci_xfrm` in the documentation of its on-disk format: the letters
//! of ASCII and of Latin-1 are taken as lower case.

/// How a directory hashes and compares names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::xfs) enum NameRule {
    /// Byte by byte; attributes always.
    Exact,
    /// `ascii-ci`.
    AsciiCi,
}

impl NameRule {
    /// The hash of `name`.
    pub(in crate::xfs) fn hash(self, name: &[u8]) -> u32 {
        match self {
            Self::Exact => hash(name),
            Self::AsciiCi => {
                name.iter().fold(0, |hash: u32, &byte| u32::from(fold(byte)) ^ hash.rotate_left(7))
            }
        }
    }

    /// Whether both are one name.
    pub(in crate::xfs) fn same(self, one: &[u8], other: &[u8]) -> bool {
        match self {
            Self::Exact => one == other,
            Self::AsciiCi => one.iter().copied().map(fold).eq(other.iter().copied().map(fold)),
        }
    }
}

/// Four bytes at a time; a shift of 7 bits for each byte.
fn hash(name: &[u8]) -> u32 {
    let (words, rest) = name.as_chunks::<4>();
    let whole = words.iter().fold(0, |hash: u32, &[a, b, c, d]| {
        let word = (u32::from(a) << 21) ^ (u32::from(b) << 14) ^ (u32::from(c) << 7) ^ u32::from(d);
        word ^ hash.rotate_left(28)
    });
    match *rest {
        [a, b, c] => {
            (u32::from(a) << 14) ^ (u32::from(b) << 7) ^ u32::from(c) ^ whole.rotate_left(21)
        }
        [a, b] => (u32::from(a) << 7) ^ u32::from(b) ^ whole.rotate_left(14),
        [a] => u32::from(a) ^ whole.rotate_left(7),
        _ => whole,
    }
}

fn fold(byte: u8) -> u8 {
    match byte {
        b'A'..=b'Z' | 0xC0..=0xD6 | 0xD8..=0xDE => byte | 0x20,
        _ => byte,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASHES: [(&str, u32); 7] = [
        ("a", 0x61),
        ("ab", 0x30e2),
        ("abc", 0x187163),
        ("abcd", 0xc38b1e4),
        ("hello.txt", 0x9d168f12),
        ("SGI_ACL_FILE", 0x275b19c4),
        ("file.1000", 0x80ffab1a),
    ];

    #[test]
    fn hashes_are_those_that_xfs_db_gives() {
        // `xfs_db -c 'hash NAME'` of xfsprogs 6.1.
        for (name, hash) in HASHES {
            assert_eq!(NameRule::Exact.hash(name.as_bytes()), hash, "{name}");
        }
    }

    #[test]
    fn names_of_one_case_rule_have_one_hash() {
        let (one, other) = (b"Read\xC9Me.TXT", b"rEAD\xE9mE.txt");
        assert!(NameRule::AsciiCi.same(one, other) && !NameRule::Exact.same(one, other));
        assert_eq!(NameRule::AsciiCi.hash(one), NameRule::AsciiCi.hash(other));
        assert!(!NameRule::AsciiCi.same(b"\xD7", b"\xF7"), "no letters");
    }
}
