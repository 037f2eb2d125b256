//! Canonical Huffman codes of at most 16 bits.

use super::Broken;
use super::bits::BitReader;

/// The longest code word.
const MAX_LENGTH: usize = 16;

/// A code of at most `SYMBOLS` symbols; words of at most `DIRECT` bits are found by one look, of
/// which there are `TABLE`, 2 to the power `DIRECT`.
pub(super) struct Code<const SYMBOLS: usize, const TABLE: usize> {
    /// Symbol and length, 5 bits, of the word that the index begins with; 0 if it is longer.
    table: [u16; TABLE],
    /// The symbols, sorted by length and number.
    sorted: [u16; SYMBOLS],
    /// Behind the last word of each length, as 16 bits from the top.
    ends: [u32; MAX_LENGTH + 1],
    /// What gives the place in `sorted`, added to a word of each length.
    places: [i32; MAX_LENGTH + 1],
}

const LENGTH_BITS: u32 = 5;

impl<const SYMBOLS: usize, const TABLE: usize> Code<SYMBOLS, TABLE> {
    const DIRECT: u32 = TABLE.trailing_zeros();

    pub(super) const fn new() -> Self {
        Self {
            table: [0; TABLE],
            sorted: [0; SYMBOLS],
            ends: [0; MAX_LENGTH + 1],
            places: [0; MAX_LENGTH + 1],
        }
    }

    /// Makes it the code whose symbols have words of `lengths` bits; 0 is no word. Bits that no
    /// word begins with are an error when they are met.
    ///
    /// # Errors
    /// If there are more words than fit.
    pub(super) fn build(&mut self, lengths: &[u8]) -> Result<(), Broken> {
        const OVERFULL: Broken = Broken("huffman code has too many words");
        let mut counts = [0_u32; MAX_LENGTH + 1];
        for length in lengths {
            let count = counts.get_mut(usize::from(*length)).ok_or(OVERFULL)?;
            *count = count.saturating_add(1);
        }
        let mut next = [0_usize; MAX_LENGTH + 1];
        let (mut word, mut place) = (0_u32, 0_u32);
        let of_lengths = counts.iter().zip(&mut next).zip(&mut self.ends).zip(&mut self.places);
        for (length, (((count, next), end), places)) in (0_u32..).zip(of_lengths).skip(1) {
            // `word` counts in units of the longest words.
            let unit = 1_u32.wrapping_shl(16_u32.saturating_sub(length));
            let first = word.wrapping_shr(16_u32.saturating_sub(length));
            *next = usize::try_from(place).unwrap_or(0);
            *places = place.cast_signed().wrapping_sub(first.cast_signed());
            word = word.saturating_add(count.saturating_mul(unit));
            place = place.saturating_add(*count);
            *end = word;
        }
        if word > 1 << 16 {
            return Err(OVERFULL);
        }
        for (symbol, length) in (0_u16..).zip(lengths).filter(|(_, length)| **length > 0) {
            let next = next.get_mut(usize::from(*length)).ok_or(OVERFULL)?;
            *self.sorted.get_mut(*next).ok_or(OVERFULL)? = symbol;
            *next = next.saturating_add(1);
        }
        self.fill(&counts);
        Ok(())
    }

    /// Fills the table for the words of at most `DIRECT` bits.
    fn fill(&mut self, counts: &[u32; MAX_LENGTH + 1]) {
        let mut sorted = self.sorted.iter();
        let mut rest = self.table.as_mut_slice();
        for (length, count) in (0_u32..=Self::DIRECT).zip(counts).skip(1) {
            let copies = 1_usize.wrapping_shl(Self::DIRECT.saturating_sub(length));
            let length = u16::try_from(length).unwrap_or(0);
            for symbol in sorted.by_ref().take(usize::try_from(*count).unwrap_or(0)) {
                let Some((now, later)) = rest.split_at_mut_checked(copies) else {
                    return;
                };
                now.fill(symbol.wrapping_shl(LENGTH_BITS) | length);
                rest = later;
            }
        }
        rest.fill(0);
    }

    /// The next symbol of `reader`.
    ///
    /// # Errors
    /// Behind the end, and for bits that no word begins with.
    #[inline]
    pub(super) fn read(&self, reader: &mut BitReader<'_>) -> Result<u16, Broken> {
        reader.ensure(16)?;
        let bits = reader.peek16();
        let index = usize::from(bits.wrapping_shr(16_u32.saturating_sub(Self::DIRECT)));
        let entry = self.table.get(index).copied().unwrap_or(0);
        if entry != 0 {
            reader.skip(u32::from(entry & 0x1F));
            return Ok(entry.wrapping_shr(LENGTH_BITS));
        }
        self.read_long(reader, u32::from(bits))
    }

    /// A word that is longer than `DIRECT` bits.
    fn read_long(&self, reader: &mut BitReader<'_>, bits: u32) -> Result<u16, Broken> {
        let of_lengths = (0_u32..).zip(self.ends.iter().zip(&self.places));
        for (length, (end, place)) in of_lengths.skip(1) {
            if bits < *end {
                let word = bits.wrapping_shr(16_u32.saturating_sub(length));
                let place = usize::try_from(word.cast_signed().wrapping_add(*place));
                let symbol = place.ok().and_then(|place| self.sorted.get(place));
                reader.skip(length);
                return symbol.copied().ok_or(Broken("huffman word has no symbol"));
            }
        }
        Err(Broken("huffman word has no symbol"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_canonical_and_long_ones_are_found() {
        // Lengths 1, 2, 3, ... 15, 16, 16: a whole code.
        let mut lengths: Vec<u8> = (1..=16).collect();
        lengths.push(16);
        let mut code = Box::new(Code::<32, 256>::new());
        code.build(&lengths).unwrap();
        let mut bits = String::new();
        for symbol in 0..17 {
            bits.push_str(&"1".repeat(symbol.min(16)));
            if symbol < 16 {
                bits.push('0');
            }
        }
        bits.push_str(&"0".repeat(16 - bits.len() % 16));
        let words: Vec<u8> = bits
            .as_bytes()
            .chunks(16)
            .map(|word| u16::from_str_radix(std::str::from_utf8(word).unwrap(), 2).unwrap())
            .flat_map(u16::to_le_bytes)
            .collect();
        let mut reader = BitReader::new(&words);
        for symbol in 0..17 {
            assert_eq!(code.read(&mut reader), Ok(symbol));
        }
    }

    #[test]
    fn a_code_may_lack_words_but_not_have_too_many() {
        let mut code = Code::<8, 16>::new();
        assert!(code.build(&[1, 1, 1]).is_err());
        assert!(code.build(&[17]).is_err());
        code.build(&[1, 0, 2]).unwrap();
        assert_eq!(code.read(&mut BitReader::new(&[0, 0])), Ok(0));
        assert_eq!(code.read(&mut BitReader::new(&[0, 0x80])), Ok(2));
        assert!(code.read(&mut BitReader::new(&[0, 0xC0])).is_err());
        code.build(&[0; 8]).unwrap();
        assert!(code.read(&mut BitReader::new(&[0, 0])).is_err());
    }
}
