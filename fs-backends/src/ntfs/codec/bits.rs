//! Bits of little-endian 16-bit words, the highest first, with bytes between them.

use super::Broken;

/// Words past the end that may be looked at: a decoder looks further than it takes.
const MAX_OVERRUN: u32 = 2;

const SHORT: Broken = Broken("compressed unit is cut short");

/// A reader of bits and bytes.
pub(super) struct BitReader<'a> {
    bytes: &'a [u8],
    next: usize,
    /// The next bits, from the top.
    bits: u64,
    count: u32,
    overrun: u32,
}

impl<'a> BitReader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, next: 0, bits: 0, count: 0, overrun: 0 }
    }

    /// Fetches words until there are `count` bits, at most 32. Behind the end there are zeros.
    ///
    /// # Errors
    /// If that has gone on for too long.
    #[inline]
    pub(super) fn ensure(&mut self, count: u32) -> Result<(), Broken> {
        while self.count < count {
            let rest = self.bytes.get(self.next..).unwrap_or_default();
            let word = match rest.first_chunk::<2>() {
                Some(word) => {
                    self.next = self.next.saturating_add(2);
                    u16::from_le_bytes(*word)
                }
                None => {
                    self.overrun = self.overrun.saturating_add(1);
                    if self.overrun > MAX_OVERRUN {
                        return Err(SHORT);
                    }
                    0
                }
            };
            let shift = 48_u32.saturating_sub(self.count);
            self.bits |= u64::from(word).wrapping_shl(shift);
            self.count = self.count.saturating_add(16);
        }
        Ok(())
    }

    /// The next 16 bits; those that were not ensured are zeros.
    #[inline]
    pub(super) fn peek16(&self) -> u16 {
        u16::try_from(self.bits >> 48).unwrap_or(0)
    }

    /// Steps over `count` bits that were ensured.
    #[inline]
    pub(super) fn skip(&mut self, count: u32) {
        self.bits = self.bits.wrapping_shl(count);
        self.count = self.count.wrapping_sub(count);
    }

    /// The next `count` bits, at most 16, that were ensured.
    #[inline]
    pub(super) fn take(&mut self, count: u32) -> u32 {
        let bits = u32::from(self.peek16()).wrapping_shr(16_u32.saturating_sub(count));
        self.skip(count);
        if count == 0 { 0 } else { bits }
    }

    /// The next `count` bits, at most 16.
    ///
    /// # Errors
    /// Behind the end.
    #[inline]
    pub(super) fn read(&mut self, count: u32) -> Result<u32, Broken> {
        self.ensure(count)?;
        Ok(self.take(count))
    }

    /// The next byte after the words fetched so far.
    ///
    /// # Errors
    /// Behind the end.
    pub(super) fn byte(&mut self) -> Result<u8, Broken> {
        self.bytes(1).map(|bytes| bytes.first().copied().unwrap_or(0))
    }

    /// The next two bytes after the words fetched so far.
    ///
    /// # Errors
    /// Behind the end.
    pub(super) fn u16(&mut self) -> Result<u16, Broken> {
        let bytes = self.bytes(2)?;
        Ok(bytes.first_chunk::<2>().map_or(0, |bytes| u16::from_le_bytes(*bytes)))
    }

    /// The next four bytes after the words fetched so far.
    ///
    /// # Errors
    /// Behind the end.
    pub(super) fn u32(&mut self) -> Result<u32, Broken> {
        let bytes = self.bytes(4)?;
        Ok(bytes.first_chunk::<4>().map_or(0, |bytes| u32::from_le_bytes(*bytes)))
    }

    /// The next `count` bytes after the words fetched so far.
    ///
    /// # Errors
    /// Behind the end.
    pub(super) fn bytes(&mut self, count: usize) -> Result<&'a [u8], Broken> {
        let end = self.next.saturating_add(count);
        let bytes = self.bytes.get(self.next..end).ok_or(SHORT)?;
        self.next = end;
        Ok(bytes)
    }

    /// Drops the bits up to the next word, at least one of them, so that bytes follow.
    ///
    /// # Errors
    /// Behind the end.
    pub(super) fn align(&mut self) -> Result<(), Broken> {
        self.ensure(1)?;
        if self.overrun > 0 {
            return Err(SHORT);
        }
        // Words that were fetched and not begun are given back, but for the one that is dropped.
        let begun = u32::from(self.count.is_multiple_of(16));
        let fetched = (self.count / 16).saturating_sub(begun);
        let back = usize::try_from(fetched.saturating_mul(2)).unwrap_or(0);
        self.next = self.next.saturating_sub(back);
        self.bits = 0;
        self.count = 0;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_follow_the_word_that_was_begun() {
        let words: Vec<u8> = (1..=20).collect();
        for (taken, next) in [(0, 3), (1, 3), (15, 3), (16, 5), (17, 5), (31, 5), (32, 7)] {
            for ahead in [0, 16, 32] {
                let mut reader = BitReader::new(&words);
                for _ in 0..taken {
                    reader.read(1).unwrap();
                }
                reader.ensure(ahead).unwrap();
                reader.align().unwrap();
                assert_eq!(reader.byte(), Ok(next), "{taken} {ahead}");
            }
        }
        let mut reader = BitReader::new(&words[..2]);
        reader.read(16).unwrap();
        assert!(reader.align().is_err());
    }
}
