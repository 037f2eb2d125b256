//! Marvin32, the hash of the entries of a log.
//!
//! Source: the published constants of .NET's `Marvin`, and the seed that the registry file format
//! specification gives ("Log entries", note 3).

/// The seed of the hashes in logs: the bytes `82 EF 4D 88 7A 4E 55 C5`, the last one lowest.
const SEED: u64 = 0x82EF_4D88_7A4E_55C5;

/// A hash to which bytes are added in pieces.
pub(super) struct Marvin {
    low: u32,
    high: u32,
    /// Bytes that do not make a number yet.
    rest: Vec<u8>,
}

impl Marvin {
    pub(super) fn new() -> Self {
        let [a, b, c, d, e, f, g, h] = SEED.to_le_bytes();
        let (low, high) = (u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h]));
        Self { low, high, rest: Vec::with_capacity(4) }
    }

    /// The hash of `bytes`.
    pub(super) fn of(bytes: &[u8]) -> u64 {
        let mut hash = Self::new();
        hash.update(bytes);
        hash.finish()
    }

    /// Adds `bytes`.
    pub(super) fn update(&mut self, bytes: &[u8]) {
        let mut bytes = bytes;
        if !self.rest.is_empty() {
            let wanted = 4_usize.saturating_sub(self.rest.len()).min(bytes.len());
            let (first, later) = bytes.split_at(wanted);
            self.rest.extend_from_slice(first);
            bytes = later;
            let Ok(number) = <[u8; 4]>::try_from(self.rest.as_slice()) else { return };
            self.rest.clear();
            self.number(u32::from_le_bytes(number));
        }
        let (numbers, rest) = bytes.as_chunks::<4>();
        for number in numbers {
            self.number(u32::from_le_bytes(*number));
        }
        self.rest.extend_from_slice(rest);
    }

    /// The hash of all that was added.
    pub(super) fn finish(mut self) -> u64 {
        // The bytes that are left, 0x80, and zeros.
        let mut last = [0; 4];
        let marked = self.rest.iter().copied().chain([0x80]);
        for (place, byte) in last.iter_mut().zip(marked) {
            *place = byte;
        }
        self.number(u32::from_le_bytes(last));
        self.mix();
        u64::from(self.high) << 32 | u64::from(self.low)
    }

    fn number(&mut self, number: u32) {
        self.low = self.low.wrapping_add(number);
        self.mix();
    }

    fn mix(&mut self) {
        self.high ^= self.low;
        self.low = self.low.rotate_left(20).wrapping_add(self.high);
        self.high = self.high.rotate_left(9) ^ self.low;
        self.low = self.low.rotate_left(27).wrapping_add(self.high);
        self.high = self.high.rotate_left(19);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_hash_as_the_whole() {
        let bytes: Vec<u8> = (0..=255).collect();
        for end in [0, 1, 2, 3, 4, 5, 31, 32, 33, 256] {
            for middle in [0, 1, 2, 3, 5, 17] {
                let (first, second) = bytes[..end].split_at(middle.min(end));
                let mut hash = Marvin::new();
                hash.update(first);
                hash.update(second);
                assert_eq!(hash.finish(), Marvin::of(&bytes[..end]), "{end} {middle}");
            }
        }
    }
}
