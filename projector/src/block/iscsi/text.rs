//! The text of login and text requests: `key=value` pairs, each ended by a zero byte.
//!
//! Specification: RFC 7143, section 6.

use std::io;

use super::pdu::{CONTINUE, Header};
use crate::block::serve::protocol_error;

/// LIMIT: bytes of one text, over all its PDUs.
const MAX_TEXT: usize = 16 << 10;

/// LIMIT: pairs of one text.
const MAX_PAIRS: usize = 128;

/// LIMIT: bytes of a key; the specification's own bound.
const MAX_KEY: usize = 63;

/// A text that comes in parts.
#[derive(Default)]
pub(super) struct Parts(Vec<u8>);

impl Parts {
    /// Adds what came in a PDU; the whole text if this was the last part.
    ///
    /// # Errors
    /// If the text is too long.
    pub(super) fn add(&mut self, header: &Header, data: &[u8]) -> io::Result<Option<Vec<u8>>> {
        if self.0.len().saturating_add(data.len()) > MAX_TEXT {
            return Err(protocol_error("initiator sends too long a text"));
        }
        self.0.extend_from_slice(data);
        Ok(match header.flags & CONTINUE {
            0 => Some(std::mem::take(&mut self.0)),
            _ => None,
        })
    }
}

/// The pairs of `text`; `None` if it is no such text.
pub(super) fn pairs(text: &[u8]) -> Option<Vec<(&str, &str)>> {
    let mut pairs = Vec::new();
    for pair in text.split(|byte| *byte == 0).filter(|pair| !pair.is_empty()) {
        let (key, value) = std::str::from_utf8(pair).ok()?.split_once('=')?;
        if key.is_empty() || key.len() > MAX_KEY || pairs.len() == MAX_PAIRS {
            return None;
        }
        pairs.push((key, value));
    }
    Some(pairs)
}

/// A text that is put together.
#[derive(Default)]
pub(super) struct Text(pub(super) Vec<u8>);

impl Text {
    pub(super) fn add(&mut self, key: &str, value: &str) {
        for part in [key, "=", value, "\0"] {
            self.0.extend(part.as_bytes());
        }
    }
}

/// The number that `value` is, as the specification writes numbers: decimal, or `0x` and hexadecimal.
pub(super) fn number(value: &str) -> Option<u32> {
    let digits = |text: &str, radix| {
        let is_plain = !text.starts_with(['+', '-']);
        u32::from_str_radix(text, radix).ok().filter(|_| is_plain)
    };
    match value.strip_prefix("0x").or_else(|| value.strip_prefix("0X")) {
        Some(hexadecimal) => digits(hexadecimal, 16),
        None => digits(value, 10),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_parted_and_nonsense_is_refused() {
        assert_eq!(pairs(b"a=b\0c=d=e\0"), Some(vec![("a", "b"), ("c", "d=e")]));
        assert_eq!(pairs(b"\0\0a=\0"), Some(vec![("a", "")]));
        let many = b"a=b\0".repeat(129);
        let long = [b"a".repeat(64), b"=b".to_vec()].concat();
        for wrong in [&b"a\0"[..], b"=a\0", b"\xFF=a\0", &many, &long] {
            assert_eq!(pairs(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn numbers_are_decimal_or_hexadecimal() {
        let numbers = ["0", "8192", "0x10", "0XfF", "4294967295"].map(number);
        assert_eq!(numbers, [0, 8192, 16, 255, u32::MAX].map(Some));
        for wrong in ["", "0x", "+1", "-1", "1k", "4294967296", "0x+1", " 1"] {
            assert_eq!(number(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_text_of_many_parts_is_bounded() {
        let mut header = Header::new(super::super::pdu::request::TEXT, 1);
        header.flags = CONTINUE;
        let mut parts = Parts::default();
        for _ in 0..2 {
            assert_eq!(parts.add(&header, &[b'a'; 8192]).unwrap(), None);
        }
        assert!(parts.add(&header, b"a").is_err());
    }
}
