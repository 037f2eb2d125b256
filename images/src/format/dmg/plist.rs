//! The property list: XML, in which the tables are text of base64.
//!
//! Specification: Apple, `PropertyList-1.0.dtd`; RFC 4648, section 4. The tables are in
//! `resource-fork` / `blkx` / each / `Data`.

use roxmltree::{Document, Node, ParsingOptions};
use volfold_block::{BlockError, BlockResult};

/// LIMIT: elements and texts of the list. Each partition has some twenty.
const MAX_NODES: u32 = 100_000;

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
    let text = text.trim_end_matches('\0');
    // Entities of its own are the one way in which a list grows when it is read.
    if text.contains("<!ENTITY") {
        return Err(corrupt("property list of the DMG defines entities"));
    }
    let options =
        ParsingOptions { allow_dtd: true, nodes_limit: MAX_NODES, ..ParsingOptions::default() };
    let document = Document::parse_with_options(text, options)
        .map_err(|error| corrupt("property list of the DMG is no XML").because(error))?;
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
    let mut bytes = Vec::new();
    let (mut bits, mut count, mut padding) = (0_u32, 0_u32, 0_u32);
    for digit in text.bytes().filter(|digit| !digit.is_ascii_whitespace()) {
        let value = match digit {
            b'=' => {
                padding = padding.checked_add(1).filter(|padding| *padding <= 2)?;
                continue;
            }
            _ if padding > 0 => return None,
            b'A'..=b'Z' => digit.wrapping_sub(b'A'),
            b'a'..=b'z' => digit.wrapping_sub(b'a').wrapping_add(26),
            b'0'..=b'9' => digit.wrapping_sub(b'0').wrapping_add(52),
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(value);
        count = count.wrapping_add(1);
        if count == 4 {
            bytes.extend(bits.to_be_bytes().get(1..)?);
            (bits, count) = (0, 0);
        }
    }
    match (count, padding) {
        (0, 0) => {}
        (2, 2) => bytes.extend((bits << 12).to_be_bytes().get(1..2)?),
        (3, 1) => bytes.extend((bits << 6).to_be_bytes().get(1..3)?),
        _ => return None,
    }
    Some(bytes)
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
        for text in ["Z", "Zg", "Zg=", "Zg===", "Zg==Zg==", "Z-8="] {
            assert_eq!(decode_base64(text), None, "{text}");
        }
    }
}
