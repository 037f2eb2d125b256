//! The property list: XML, in which the tables are text of base64.
//!
//! Specification: Apple, `PropertyList-1.0.dtd`; RFC 4648, section 4. The tables are in
//! `resource-fork` / `blkx` / each / `Data`.

use data_encoding::BASE64;
use volfold_block::{BlockError, BlockResult};

use crate::xml::{Node, document};

/// What it is in messages.
const WHAT: &str = "property list of the DMG";

/// Calls `add` with each table of the list `bytes`, which is at `at` in the file.
///
/// # Errors
/// `Corrupt` if it is no such list, and what `add` returns.
pub(super) fn tables(
    bytes: Vec<u8>,
    at: u64,
    add: &mut dyn FnMut(&[u8]) -> BlockResult<()>,
) -> BlockResult<()> {
    let corrupt = |sentence: &'static str| BlockError::corrupt(sentence, at, 0);
    let text = String::from_utf8(bytes)
        .map_err(|error| corrupt("property list of the DMG is no text").because(error))?;
    let document = document(WHAT, text.trim_end_matches('\0'))?;
    let root = document.root_element().first_element_child();
    let blkx = root.and_then(|root| value(root, "resource-fork"));
    let blkx = blkx.and_then(|fork| value(fork, "blkx"));
    let blkx = blkx.ok_or_else(|| corrupt("property list of the DMG has no tables (blkx)"))?;
    for entry in blkx.children().filter(Node::is_element) {
        let data = value(entry, "Data").and_then(|data| data.text());
        let data = data.ok_or_else(|| corrupt("table in the property list has no data"))?;
        let table = decode_base64(data)
            .ok_or_else(|| corrupt("table in the property list is no base64"))?;
        add(&table)?;
    }
    Ok(())
}

/// The value of `key` in the dictionary `dict`.
fn value<'a, 'input>(dict: Node<'a, 'input>, key: &str) -> Option<Node<'a, 'input>> {
    let mut elements = dict.children().filter(Node::is_element);
    while let Some(name) = elements.next() {
        let value = elements.next()?;
        if name.text() == Some(key) {
            return Some(value);
        }
    }
    None
}

/// The bytes that `text` stands for, spaces left out.
fn decode_base64(text: &str) -> Option<Vec<u8>> {
    let digits: Vec<u8> = text.bytes().filter(|digit| !digit.is_ascii_whitespace()).collect();
    BASE64.decode(&digits).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_read_as_rfc_4648_writes_it() {
        for (text, bytes) in [
            ("", &b""[..]),
            ("Zg==", b"f"),
            ("Zm8=", b"fo"),
            ("Zm9v", b"foo"),
            ("Z m\n9v\tYg = =", b"foob"),
            ("Zm9vYmE=", b"fooba"),
            ("+/+/", &[0xFB, 0xFF, 0xBF]),
        ] {
            assert_eq!(decode_base64(text).as_deref(), Some(bytes), "{text}");
        }
        for text in ["Z", "Zg", "Zg=", "Zg===", "Z-8="] {
            assert_eq!(decode_base64(text), None, "{text}");
        }
    }
}
