//! The Challenge Handshake Authentication Protocol: an initiator shows that it knows a secret.
//!
//! Specification: RFC 7143, section 12.1.3, and RFC 1994. The answer is the MD5 of the identifier,
//! the secret and the challenge. Only initiators are asked; they cannot ask back.

use std::io;

use data_encoding::{BASE64_NOPAD, Encoding, HEXLOWER, HEXLOWER_PERMISSIVE};
use md5::{Digest, Md5};

/// The only algorithm, MD5, which every initiator has.
pub(super) const ALGORITHM: &str = "5";

/// LIMIT: bytes of a secret, from the specification's least to what keeps answers short.
const SECRET: std::ops::RangeInclusive<usize> = 12..=255;

/// Whom clients must be.
pub struct Chap {
    name: String,
    secret: Vec<u8>,
}

impl Chap {
    /// Initiators must give `name` and show that they know `secret`.
    ///
    /// # Errors
    /// If the secret is shorter than the specification wants, or too long.
    pub fn new(name: &str, secret: &[u8]) -> Result<Self, String> {
        if !SECRET.contains(&secret.len()) {
            return Err(format!(
                "the secret has {} bytes; it needs 12 to 255, and 12 to 16 for Windows",
                secret.len()
            ));
        }
        Ok(Self { name: name.to_owned(), secret: secret.to_vec() })
    }

    /// Initiators must give `name` and show that they know a new secret, which is given too: 16
    /// letters and digits, as many as Windows takes.
    ///
    /// # Errors
    /// If the host has no random numbers.
    pub fn random(name: &str) -> io::Result<(Self, String)> {
        /// As many as six bits count, so that none is more frequent than others.
        const LETTERS: &[u8; 64] =
            b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        let mut random: [u8; 16] = [0; 16];
        getrandom::fill(&mut random).map_err(io::Error::other)?;
        let letter =
            |byte: u8| LETTERS.get(usize::from(byte & 63)).copied().map_or('-', char::from);
        let secret: String = random.into_iter().map(letter).collect();
        let chap = Self { name: name.to_owned(), secret: secret.clone().into_bytes() };
        Ok((chap, secret))
    }
}

/// What an initiator was asked.
pub(super) struct Challenge {
    identifier: u8,
    bytes: [u8; 16],
}

impl Challenge {
    /// A new one, which cannot be known before.
    ///
    /// # Errors
    /// If the host has no random numbers.
    pub(super) fn new() -> io::Result<Self> {
        let mut random: [u8; 17] = [0; 17];
        getrandom::fill(&mut random).map_err(io::Error::other)?;
        let [identifier, bytes @ ..] = random;
        Ok(Self { identifier, bytes })
    }

    /// `CHAP_I`.
    pub(super) fn identifier(&self) -> String {
        self.identifier.to_string()
    }

    /// `CHAP_C`.
    pub(super) fn text(&self) -> String {
        format!("0x{}", HEXLOWER.encode(&self.bytes))
    }

    /// Whether `name` and `response`, the values of `CHAP_N` and `CHAP_R`, are the right answer.
    pub(super) fn is_answered(&self, chap: &Chap, name: &str, response: &str) -> bool {
        let mut hash = Md5::new();
        hash.update([self.identifier]);
        hash.update(&chap.secret);
        hash.update(self.bytes);
        let wanted = hash.finalize();
        let given = binary(response).unwrap_or_default();
        // The time it takes does not depend on where they differ.
        let differs = wanted.iter().zip(&given).fold(0, |sum, (one, other)| sum | (one ^ other));
        given.len() == wanted.len() && differs == 0 && name == chap.name
    }
}

/// The 16 bytes of an answer: `0x` and hexadecimal, or `0b` and Base64.
fn binary(value: &str) -> Option<Vec<u8>> {
    if let Some(digits) = value.strip_prefix("0x").or_else(|| value.strip_prefix("0X")) {
        return decoded(&HEXLOWER_PERMISSIVE, 32, digits);
    }
    let digits = value.strip_prefix("0b").or_else(|| value.strip_prefix("0B"))?;
    decoded(&BASE64_NOPAD, 22, digits.trim_end_matches('='))
}

/// The bytes of `digits` if there are `count`.
fn decoded(encoding: &Encoding, count: usize, digits: &str) -> Option<Vec<u8>> {
    encoding.decode(digits.as_bytes()).ok().filter(|_| digits.len() == count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_right_answer_counts() {
        let chap = Chap::new("user", b"long enough secret").unwrap();
        let challenge = Challenge { identifier: 7, bytes: [9; 16] };
        // By md5sum, of the identifier, the secret and the challenge.
        let text = "0xccddf232818dc8e578060375116fe808";
        assert!(challenge.is_answered(&chap, "user", text));
        assert!(!challenge.is_answered(&chap, "User", text));
        for wrong in ["", "0x", &text[..32], &text.replace('c', "d"), "0b"] {
            assert!(!challenge.is_answered(&chap, "user", wrong), "{wrong}");
        }
        assert_ne!(Challenge::new().unwrap().text(), Challenge::new().unwrap().text());
    }

    #[test]
    fn binary_values_have_two_forms() {
        let bytes: Vec<u8> = (0..16).collect();
        assert_eq!(binary("0x000102030405060708090a0b0c0d0e0F"), Some(bytes.clone()));
        assert_eq!(binary("0bAAECAwQFBgcICQoLDA0ODw=="), Some(bytes));
        for wrong in ["0x+0", "0x0", "00", "0bAAECAwQFBgcICQoLDA0OD!", ""] {
            assert_eq!(binary(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn random_secrets_differ_and_have_the_length_that_windows_takes() {
        let (one, other) = (Chap::random("user").unwrap(), Chap::random("user").unwrap());
        assert_ne!(one.1, other.1);
        assert_eq!((one.1.len(), one.0.secret), (16, one.1.clone().into_bytes()));
    }

    #[test]
    fn secrets_have_the_length_that_initiators_take() {
        assert!(Chap::new("user", b"eleven byte").is_err());
        assert!(Chap::new("user", &[7; 256]).is_err());
    }
}
