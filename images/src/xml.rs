//! Documents in XML: property lists, descriptors, configurations of machines.
//!
//! Specification: W3C, Extensible Markup Language (XML) 1.0, and Namespaces in XML 1.0.

use roxmltree::{Document, ParsingOptions};
use volfold_block::{BlockError, BlockResult};

pub use roxmltree::Node;

/// LIMIT: elements and texts of one document. A machine of 1,000 snapshots has half as many.
const MAX_NODES: u32 = 1 << 20;

/// LIMIT: attributes of one element. The parser compares each with all others.
const MAX_ATTRIBUTES: usize = 64;

/// LIMIT: declarations of namespaces in one document. The parser copies those of the parents for each
/// element that has its own.
const MAX_NAMESPACES: usize = 128;

/// The document in `text`; `what` says in messages what it is.
///
/// # Errors
/// `Corrupt` with the place where it is none, `Unsupported` beyond the limits above and for entities of
/// its own, by which a document grows when it is read.
pub fn document<'input>(what: &str, text: &'input str) -> BlockResult<Document<'input>> {
    let unsupported = |sentence: String| Err(BlockError::unsupported(format!("{what} {sentence}")));
    if text.contains("<!ENTITY") {
        return unsupported("defines entities".to_owned());
    }
    if text.split('<').any(|tag| attributes(tag) > MAX_ATTRIBUTES) {
        return unsupported(format!("has an element of more than {MAX_ATTRIBUTES} attributes"));
    }
    if text.matches("xmlns").nth(MAX_NAMESPACES).is_some() {
        return unsupported(format!("declares more than {MAX_NAMESPACES} namespaces"));
    }
    let options = ParsingOptions { allow_dtd: true, nodes_limit: MAX_NODES, ..Default::default() };
    Document::parse_with_options(text, options)
        .map_err(|error| BlockError::corrupt(format!("{what} is no XML: {error}"), 0, 0))
}

/// How many attributes the tag that begins `tag` has, the `<` left out, which is in no value.
fn attributes(tag: &str) -> usize {
    let (mut count, mut quote) = (0_usize, None);
    for byte in tag.bytes() {
        match quote {
            Some(open) if open == byte => quote = None,
            Some(_) => {}
            None if matches!(byte, b'"' | b'\'') => {
                quote = Some(byte);
                count = count.saturating_add(1);
            }
            None if byte == b'>' => break,
            None => {}
        }
    }
    count
}

/// The text of a document in UTF-8; `what` says in messages what it is.
///
/// # Errors
/// `Unsupported` for other encodings.
pub fn utf8<'a>(what: &str, bytes: &'a [u8]) -> BlockResult<&'a str> {
    let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
    str::from_utf8(bytes)
        .map_err(|_| BlockError::unsupported(format!("{what} is not in UTF-8; save it so")))
}

/// The elements called `name` right below `node`, whatever their namespace.
pub fn children<'a, 'input>(
    node: Node<'a, 'input>,
    name: &'static str,
) -> impl Iterator<Item = Node<'a, 'input>> {
    node.children().filter(move |child| child.is_element() && child.tag_name().name() == name)
}

/// The first of them.
pub fn child<'a, 'input>(node: Node<'a, 'input>, name: &'static str) -> Option<Node<'a, 'input>> {
    children(node, name).next()
}

/// The attribute called `name` of `node`, whatever its namespace.
pub fn attribute<'a>(node: Node<'a, '_>, name: &str) -> Option<&'a str> {
    node.attributes().find(|attribute| attribute.name() == name).map(|found| found.value())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        document("list", text).expect_err(text.get(..40).unwrap_or(text)).message().to_owned()
    }

    #[test]
    fn what_would_take_the_parser_long_is_refused() {
        let element = |count: usize| {
            let attributes: String = (0..count).map(|n| format!(" a{n}='>\"'")).collect();
            format!("<a><b{attributes}/></a>")
        };
        assert!(document("list", &element(MAX_ATTRIBUTES)).is_ok());
        let line = "list has an element of more than 64 attributes";
        assert_eq!(refused(&element(MAX_ATTRIBUTES + 1)), line);
        let nested = |depth: usize| {
            let open: String = (0..depth).map(|n| format!("<a xmlns:n{n}='u{n}'>")).collect();
            open + &"</a>".repeat(depth)
        };
        assert!(document("list", &nested(MAX_NAMESPACES)).is_ok());
        assert_eq!(refused(&nested(MAX_NAMESPACES + 1)), "list declares more than 128 namespaces");
        let entity = "<!DOCTYPE a [<!ENTITY b 'bb'>]><a>&b;</a>";
        assert_eq!(refused(entity), "list defines entities");
        assert!(refused(&"<a>".repeat(1 << 21)).starts_with("list is no XML: "));
    }

    #[test]
    fn many_equals_signs_in_texts_are_no_attributes() {
        let note = format!("<a note='{}'>{}</a>", "x=".repeat(900), "==== \"=\" ".repeat(900));
        assert!(document("list", &note).is_ok());
    }
}
