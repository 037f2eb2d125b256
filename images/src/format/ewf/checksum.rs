//! Adler-32, which guards all structures and stored chunks.
//!
//! Specification: RFC 1950, section 8.2, and 9 for the bound of [`RUN`].

const BASE: u32 = 65521;

/// Bytes that can be summed up before the sums leave 32 bits.
const RUN: usize = 5552;

/// A checksum while it is computed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Adler32 {
    low: u32,
    high: u32,
}

impl Adler32 {
    pub(super) fn new() -> Self {
        Self { low: 1, high: 0 }
    }

    /// The checksum of `bytes`.
    pub(super) fn of(bytes: &[u8]) -> u32 {
        let mut sum = Self::new();
        sum.add(bytes);
        sum.value()
    }

    /// Takes `bytes` in.
    pub(super) fn add(&mut self, bytes: &[u8]) {
        for run in bytes.chunks(RUN) {
            let (mut low, mut high) = (self.low, self.high);
            let (lanes, rest) = run.as_chunks::<16>();
            for lane in lanes {
                // What the bytes add to both sums, so that a compiler can add them up at once.
                let (mut sum, mut weighted) = (0_u32, 0_u32);
                for (byte, weight) in lane.iter().zip((1..=16_u32).rev()) {
                    sum = sum.wrapping_add(u32::from(*byte));
                    weighted = weighted.wrapping_add(u32::from(*byte).wrapping_mul(weight));
                }
                high = high.wrapping_add(low.wrapping_mul(16)).wrapping_add(weighted);
                low = low.wrapping_add(sum);
            }
            for byte in rest {
                low = low.wrapping_add(u32::from(*byte));
                high = high.wrapping_add(low);
            }
            (self.low, self.high) = (low % BASE, high % BASE);
        }
    }

    pub(super) fn value(self) -> u32 {
        self.high << 16 | self.low
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_those_of_the_specification() {
        assert_eq!(Adler32::of(b""), 1);
        assert_eq!(Adler32::of(b"Wikipedia"), 0x11E6_0398);
        let bytes = vec![0xFF; 1 << 20];
        // As `zlib.adler32` of Python says.
        assert_eq!(Adler32::of(&bytes), ADLER_OF_FF);
        let mut parts = Adler32::new();
        for part in bytes.chunks(777) {
            parts.add(part);
        }
        assert_eq!(parts.value(), ADLER_OF_FF);
    }

    const ADLER_OF_FF: u32 = 0x8E88_EF11;
}
