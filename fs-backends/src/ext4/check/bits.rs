//! A set of numbers that are mostly neighbours, in about one bit for each.

use std::collections::HashMap;

/// Numbers of one chunk.
const CHUNK: u64 = 1 << 15;
const WORDS: usize = 512;
/// LIMIT: chunks of one set, 512 MiB: 2^32 numbers.
const MAX_CHUNKS: usize = 1 << 17;

/// A set that takes memory only where it has numbers.
#[derive(Default)]
pub(super) struct Bits {
    chunks: HashMap<u64, Box<[u64; WORDS]>>,
    /// Whether numbers were left out.
    is_full: bool,
}

impl Bits {
    /// Adds `number`; whether it was there already.
    pub(super) fn add(&mut self, number: u64) -> bool {
        let chunk = number / CHUNK;
        if self.chunks.len() >= MAX_CHUNKS && !self.chunks.contains_key(&chunk) {
            self.is_full = true;
            return false;
        }
        let words = self.chunks.entry(chunk).or_insert_with(|| Box::new([0; WORDS]));
        let (index, bit) = place(number);
        let Some(word) = words.get_mut(index) else {
            return false;
        };
        let was_there = *word & bit != 0;
        *word |= bit;
        was_there
    }

    /// Whether it has `number`.
    pub(super) fn has(&self, number: u64) -> bool {
        let (index, bit) = place(number);
        let words = self.chunks.get(&(number / CHUNK));
        words.and_then(|words| words.get(index)).is_some_and(|word| word & bit != 0)
    }

    /// All numbers, in order.
    pub(super) fn numbers(&self) -> impl Iterator<Item = u64> + '_ {
        let mut chunks: Vec<u64> = self.chunks.keys().copied().collect();
        chunks.sort_unstable();
        chunks.into_iter().flat_map(move |chunk| {
            let first = chunk.saturating_mul(CHUNK);
            (first..first.saturating_add(CHUNK)).filter(move |&number| self.has(number))
        })
    }

    /// Whether there were more numbers than fit.
    pub(super) fn is_full(&self) -> bool {
        self.is_full
    }
}

/// The word of a number in its chunk, and its bit there.
fn place(number: u64) -> (usize, u64) {
    let within = number % CHUNK;
    let index = usize::try_from(within / 64).unwrap_or(0);
    let shift = u32::try_from(within % 64).unwrap_or(0);
    (index, 1_u64.checked_shl(shift).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_there_once_it_was_added() {
        let mut bits = Bits::default();
        for number in [0, 63, 64, CHUNK - 1, CHUNK, 1 << 47] {
            assert!(!bits.has(number));
            assert!(!bits.add(number), "{number}");
            assert!(bits.add(number) && bits.has(number), "{number}");
        }
        assert!(!bits.has(65) && !bits.is_full());
        let numbers: Vec<u64> = bits.numbers().collect();
        assert_eq!(numbers, [0, 63, 64, CHUNK - 1, CHUNK, 1 << 47]);
    }
}
