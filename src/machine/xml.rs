//! Configurations in XML.

use roxmltree::{Document, Node, ParsingOptions};

use volfold_block::{BlockError, BlockResult};

/// LIMIT: elements, attributes and texts of one configuration.
const MAX_NODES: u32 = 1 << 20;

/// LIMIT: `=` in one element, which is at least one for each attribute.
const MAX_ATTRIBUTES: usize = 4096;

/// The document in `text`.
///
/// # Errors
/// `Corrupt` with the place where it is none.
pub(super) fn document(text: &str) -> BlockResult<Document<'_>> {
    // The parser compares each attribute of an element with all others. `<` is in no attribute.
    let has_too_many = |element: &str| element.matches('=').nth(MAX_ATTRIBUTES).is_some();
    if text.split('<').any(has_too_many) {
        let line = format!("configuration has an element of more than {MAX_ATTRIBUTES} attributes");
        return Err(BlockError::unsupported(line));
    }
    let options = ParsingOptions { nodes_limit: MAX_NODES, ..ParsingOptions::default() };
    Document::parse_with_options(text, options)
        .map_err(|error| BlockError::corrupt(format!("configuration is no XML: {error}"), 0, 0))
}

/// The text of a configuration in UTF-8.
///
/// # Errors
/// `Unsupported` for other encodings.
pub(super) fn utf8(bytes: &[u8]) -> BlockResult<&str> {
    let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
    str::from_utf8(bytes)
        .map_err(|_| BlockError::unsupported("configuration is not in UTF-8; save it so"))
}

/// The elements called `name` right below `node`, whatever their namespace.
pub(super) fn children<'a, 'input>(
    node: Node<'a, 'input>,
    name: &'static str,
) -> impl Iterator<Item = Node<'a, 'input>> {
    node.children().filter(move |child| child.is_element() && child.tag_name().name() == name)
}

/// The first of them.
pub(super) fn child<'a, 'input>(
    node: Node<'a, 'input>,
    name: &'static str,
) -> Option<Node<'a, 'input>> {
    children(node, name).next()
}

/// The attribute called `name` of `node`, whatever its namespace.
pub(super) fn attribute<'a>(node: Node<'a, '_>, name: &str) -> Option<&'a str> {
    node.attributes().find(|attribute| attribute.name() == name).map(|found| found.value())
}
