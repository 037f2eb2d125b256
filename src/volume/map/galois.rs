//! Arithmetic in the field of 256 elements that the second parity of a RAID-6 is computed in.
//!
//! Specification: H. Peter Anvin, "The mathematics of RAID-6": polynomial 0x11d, generator 2.

/// `a * b`.
pub(super) fn product(a: u8, b: u8) -> u8 {
    let (mut factor, mut sum) = (a, 0);
    for bit in 0..u8::BITS {
        if b.wrapping_shr(bit) & 1 == 1 {
            sum ^= factor;
        }
        factor = doubled(factor);
    }
    sum
}

fn doubled(a: u8) -> u8 {
    let overflow = if a & 0x80 == 0 { 0 } else { 0x1D };
    a.wrapping_shl(1) ^ overflow
}

/// `2 ^ exponent`.
pub(super) fn power(exponent: u64) -> u8 {
    (0..exponent % 255).fold(1, |power, _| doubled(power))
}

/// The element that gives 1 with `a`; 0 for 0, which has none.
pub(super) fn inverse(a: u8) -> u8 {
    (0..253).fold(a, |power, _| product(power, a))
}

/// All products with one factor.
pub(super) struct Multiplier([u8; 256]);

impl Multiplier {
    /// The products with `factor`.
    pub(super) fn new(factor: u8) -> Self {
        let mut products = [0; 256];
        let mut power = factor;
        for bit in 0..u8::BITS {
            // With the next bit all known products come again, one power more in each.
            let (known, next) = products.split_at_mut(1 << bit);
            next.iter_mut().zip(known).for_each(|(product, known)| *product = *known ^ power);
            power = doubled(power);
        }
        Self(products)
    }

    fn times(&self, other: u8) -> u8 {
        self.0.get(usize::from(other)).copied().unwrap_or_default()
    }

    /// `into ^= factor * with`, byte by byte.
    pub(super) fn add(&self, into: &mut [u8], with: &[u8]) {
        for (sum, byte) in into.iter_mut().zip(with) {
            *sum ^= self.times(*byte);
        }
    }

    /// `bytes *= factor`, byte by byte.
    pub(super) fn scale(&self, bytes: &mut [u8]) {
        for byte in bytes {
            *byte = self.times(*byte);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_generator_meets_every_element_once_and_inverses_are_inverse() {
        let mut met = [false; 256];
        for exponent in 0..255 {
            let element = power(exponent);
            assert!(!std::mem::replace(&mut met[usize::from(element)], true));
            assert_eq!(product(element, inverse(element)), 1);
        }
        assert!(!met[0]);
        assert_eq!((power(8), power(255), product(0x80, 2)), (0x1D, 1, 0x1D));
        for factor in [0, 1, 2, 0x1D, 0xFF] {
            let multiplier = Multiplier::new(factor);
            assert!((0..=255).all(|other| multiplier.times(other) == product(factor, other)));
        }
        let mut bytes = [1, 2, 0x80];
        Multiplier::new(2).scale(&mut bytes);
        assert_eq!(bytes, [2, 4, 0x1D]);
    }
}
