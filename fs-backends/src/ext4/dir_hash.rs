//! The hashes by which directories are searched.
//!
//! Specification: kernel documentation, "ext4 Data Structures and Algorithms", chapter "Hash Tree
//! Directories"; Linux, `fs/ext4/hash.c`. `debugfs` computes them too (`dx_hash`).

use super::superblock::Superblock;

/// What a hash begins with where the file system has no seed.
const NO_SEED: [u32; 4] = [0x6745_2301, 0xEFCD_AB89, 0x98BA_DCFE, 0x1032_5476];
/// No name has this hash: it stands for the end of a directory.
const END: u32 = 0xFFFF_FFFE;

const LEGACY: u8 = 0;
const HALF_MD4: u8 = 1;
const TEA: u8 = 2;
/// Those of bytes without a sign follow, whatever the superblock says of signs.
const LEGACY_UNSIGNED: u8 = 3;
const TEA_UNSIGNED: u8 = 5;
const SIPHASH: u8 = 6;

/// How a hash is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Legacy,
    HalfMd4,
    Tea,
}

/// How the names of one directory are hashed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hasher {
    kind: Kind,
    is_signed: bool,
    seed: [u32; 4],
}

/// What the number of a kind of hash stands for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Version {
    Known(Hasher),
    /// SipHash with a key that is made of that of the directory.
    Keyed,
    Unknown,
}

impl Version {
    /// What `number` stands for in a directory of the file system of `superblock`.
    pub(super) fn of(superblock: &Superblock, number: u8) -> Self {
        let (number, is_signed) = match number.checked_sub(LEGACY_UNSIGNED) {
            None => (number, superblock.hash_is_signed),
            Some(plain) if number <= TEA_UNSIGNED => (plain, false),
            Some(_) => (number, false),
        };
        let kind = match number {
            LEGACY => Kind::Legacy,
            HALF_MD4 => Kind::HalfMd4,
            TEA => Kind::Tea,
            SIPHASH => return Self::Keyed,
            _ => return Self::Unknown,
        };
        let has_seed = superblock.hash_seed != [0; 4];
        let seed = if has_seed { superblock.hash_seed } else { NO_SEED };
        Self::Known(Hasher { kind, is_signed, seed })
    }
}

impl Hasher {
    /// TEA without a seed.
    #[cfg(test)]
    pub(super) fn for_tests() -> Self {
        Self { kind: Kind::Tea, is_signed: true, seed: NO_SEED }
    }

    /// The hash of `name`, an even number.
    pub(super) fn hash(&self, name: &[u8]) -> u32 {
        let hash = match self.kind {
            Kind::Legacy => self.legacy(name),
            Kind::HalfMd4 => {
                let mut state = self.seed;
                for (part, length) in parts(name, 32) {
                    half_md4(&mut state, self.words(part, length));
                }
                let [_, hash, ..] = state;
                hash
            }
            Kind::Tea => {
                let mut state = self.seed;
                for (part, length) in parts(name, 16) {
                    tea(&mut state, self.words(part, length));
                }
                let [hash, ..] = state;
                hash
            }
        };
        match hash & !1 {
            END => END.wrapping_sub(2),
            hash => hash,
        }
    }

    /// A byte as the number that is hashed.
    fn number(&self, byte: u8) -> u32 {
        let upper = if self.is_signed && byte >= 0x80 { 0xFFFF_FF00 } else { 0 };
        u32::from(byte) | upper
    }

    fn legacy(&self, name: &[u8]) -> u32 {
        let (mut hash0, mut hash1) = (0x12A3_FE2D_u32, 0x37AB_E8F9_u32);
        for &byte in name {
            let mixed = hash0 ^ self.number(byte).wrapping_mul(7_152_373);
            let mut hash = hash1.wrapping_add(mixed);
            if hash & 0x8000_0000 != 0 {
                hash = hash.wrapping_sub(0x7FFF_FFFF);
            }
            hash1 = hash0;
            hash0 = hash;
        }
        hash0 << 1
    }

    /// The first bytes of `part` as words, each filled with `length`, that of all that is left.
    fn words<const N: usize>(&self, part: &[u8], length: usize) -> [u32; N] {
        // A name without regard to case may be longer than 255 bytes.
        let length = u32::try_from(length).unwrap_or(u32::MAX);
        let twice = length | (length << 8);
        let fill = twice | (twice << 16);
        let mut words = [fill; N];
        for (word, bytes) in words.iter_mut().zip(part.chunks(4)) {
            for &byte in bytes {
                *word = self.number(byte).wrapping_add(*word << 8);
            }
        }
        words
    }
}

/// Parts of `size` bytes, the last one shorter, each with the length of what is left from there.
fn parts(name: &[u8], size: usize) -> impl Iterator<Item = (&[u8], usize)> {
    let starts = (0..name.len()).step_by(size);
    name.chunks(size).zip(starts.map(|start| name.len().saturating_sub(start)))
}

fn tea(state: &mut [u32; 4], input: [u32; 4]) {
    let [a, b, c, d] = input;
    let [first, second, ..] = state;
    let (mut b0, mut b1, mut sum) = (*first, *second, 0_u32);
    let mix = |half: u32, sum: u32, left: u32, right: u32| {
        (half << 4).wrapping_add(left) ^ half.wrapping_add(sum) ^ (half >> 5).wrapping_add(right)
    };
    for _ in 0..16 {
        sum = sum.wrapping_add(0x9E37_79B9);
        b0 = b0.wrapping_add(mix(b1, sum, a, b));
        b1 = b1.wrapping_add(mix(b0, sum, c, d));
    }
    *first = first.wrapping_add(b0);
    *second = second.wrapping_add(b1);
}

/// One round of half MD4: what its function is, what is added, which words in which order, and by how
/// much each step turns.
type Round = (fn(u32, u32, u32) -> u32, u32, [usize; 8], [u32; 4]);

const ROUNDS: [Round; 3] = [
    (|x, y, z| z ^ (x & (y ^ z)), 0, [0, 1, 2, 3, 4, 5, 6, 7], [3, 7, 11, 19]),
    (
        |x, y, z| (x & y).wrapping_add((x ^ y) & z),
        0x5A82_7999,
        [1, 3, 5, 7, 0, 2, 4, 6],
        [3, 5, 9, 13],
    ),
    (|x, y, z| x ^ y ^ z, 0x6ED9_EBA1, [3, 7, 2, 6, 1, 5, 0, 4], [3, 9, 11, 15]),
];

fn half_md4(state: &mut [u32; 4], input: [u32; 8]) {
    let [mut a, mut b, mut c, mut d] = *state;
    for (function, added, order, turns) in ROUNDS {
        for (index, turn) in order.into_iter().zip(turns.into_iter().cycle()) {
            let word = input.get(index).copied().unwrap_or_default();
            let sum = a.wrapping_add(function(b, c, d)).wrapping_add(word).wrapping_add(added);
            // The four take turns: the next step is about `d`.
            (a, b, c, d) = (d, sum.rotate_left(turn), b, c);
        }
    }
    for (word, change) in state.iter_mut().zip([a, b, c, d]) {
        *word = word.wrapping_add(change);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The seed that the tests hash with, and as a UUID.
    const SEED: ([u32; 4], &str) = (
        [0x0403_0201, 0x0807_0605, 0x0C0B_0A09, 0x100F_0E0D],
        "01020304-0506-0708-090a-0b0c0d0e0f10",
    );

    /// Names of every length, with bytes of both signs.
    fn names() -> Vec<String> {
        let long = "\u{e4}bcdefghij\u{65e5}lmnopq-\u{ff}stu".repeat(12);
        let ends = long.char_indices().map(|(end, _)| end).take_while(|end| *end < 256);
        ends.filter(|&end| end > 0).map(|end| long[..end].to_owned()).collect()
    }

    /// The witness is `debugfs`, which has the hashes of e2fsprogs; it prints `Hash of N is 0x...`.
    #[test]
    fn hashes_are_those_of_debugfs() {
        let kinds = [("legacy", Kind::Legacy), ("half_md4", Kind::HalfMd4), ("tea", Kind::Tea)];
        let mut wanted = Vec::new();
        let mut commands = String::new();
        for (text, kind) in kinds {
            for (seed, option) in [(SEED.0, format!("-s {} ", SEED.1)), (NO_SEED, String::new())] {
                for name in names() {
                    commands += &format!("dx_hash -h {text} {option}{name}\n");
                    wanted.push((
                        text,
                        Hasher { kind, is_signed: true, seed }.hash(name.as_bytes()),
                        name,
                    ));
                }
            }
        }
        let Some(found) = crate::testing::hashes_of_debugfs("ext4-hashes", &commands) else {
            return;
        };
        assert_eq!(found.len(), wanted.len());
        for (found, (text, hash, name)) in found.into_iter().zip(wanted) {
            assert_eq!(found, hash, "{text} of {name:?}");
        }
    }

    #[test]
    fn no_name_has_the_hash_of_the_end() {
        let numbers = [LEGACY, HALF_MD4, TEA, LEGACY_UNSIGNED, 4, TEA_UNSIGNED];
        assert_eq!(numbers, [0, 1, 2, 3, 4, 5]);
        let hasher = Hasher { kind: Kind::Tea, is_signed: true, seed: NO_SEED };
        assert!((0..2000_u32).all(|number| hasher.hash(&number.to_le_bytes()) % 2 == 0));
    }
}
