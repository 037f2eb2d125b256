//! What the description of the machine in an XVA says of its disks.
//!
//! Specification: xen-api, `ocaml/xapi/importexport.ml`: XML-RPC's encoding of a struct whose member
//! `objects` is an array of structs with `class`, `id` and `snapshot`; that one has the fields of the
//! class in the XenAPI reference. The `id` of a `VDI` is the name of its folder in the archive.

use volfold_block::BlockResult;

use crate::xml::{Node, child, children, document, utf8};

/// What messages call it.
const NAME: &str = "ova.xml";

/// A virtual disk, as the description has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Vdi {
    /// What its folder is called: `Ref:12`.
    pub(super) id: String,
    /// What people call it; may be empty.
    pub(super) name: String,
    /// Its size in bytes, if it is told.
    pub(super) size: Option<u64>,
    /// Whether the machine has it as a disk, not as a CD.
    pub(super) is_disk: bool,
}

/// The virtual disks that `bytes` describe.
///
/// # Errors
/// `Corrupt` if they are no XML, `Unsupported` for other encodings and beyond the limits of
/// [`crate::xml`].
pub(super) fn read(bytes: &[u8]) -> BlockResult<Vec<Vdi>> {
    let document = document(NAME, utf8(NAME, bytes)?)?;
    let (mut disks, mut used) = (Vec::new(), Vec::new());
    for object in objects(document.root_element()) {
        let text = |name| member(object, name).map(text_of).unwrap_or_default();
        let fields = member(object, "snapshot").and_then(|fields| child(fields, "struct"));
        let field =
            |name| fields.and_then(|fields| member(fields, name)).map(text_of).unwrap_or_default();
        match text("class").as_str() {
            "VDI" => disks.push(Vdi {
                id: text("id"),
                name: field("name_label"),
                size: field("virtual_size").parse().ok(),
                is_disk: false,
            }),
            "VBD" if field("type") == "Disk" => used.push(field("VDI")),
            _ => {}
        }
    }
    used.sort_unstable();
    for disk in &mut disks {
        disk.is_disk = used.binary_search(&disk.id).is_ok();
    }
    Ok(disks)
}

/// The structs of the array `objects` of the description in `root`.
fn objects<'a, 'input>(root: Node<'a, 'input>) -> impl Iterator<Item = Node<'a, 'input>> {
    let objects = child(root, "struct").and_then(|whole| member(whole, "objects"));
    let array = objects.and_then(|value| child(value, "array"));
    let data = array.and_then(|array| child(array, "data"));
    let values = data.into_iter().flat_map(|data| children(data, "value"));
    values.filter_map(|value| child(value, "struct"))
}

/// The value of the member `name` of `fields`, a struct.
fn member<'a, 'input>(fields: Node<'a, 'input>, name: &str) -> Option<Node<'a, 'input>> {
    let is_it = |member: &Node<'a, 'input>| {
        child(*member, "name").is_some_and(|found| found.text().map(str::trim) == Some(name))
    };
    children(fields, "member").find(is_it).and_then(|member| child(member, "value"))
}

/// The text of `value`, with a type around it or without.
fn text_of(value: Node<'_, '_>) -> String {
    let inner = value.first_element_child().unwrap_or(value);
    inner.text().unwrap_or_default().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backup::testing::description;

    #[test]
    fn disks_have_their_names_and_sizes_and_cds_are_none() {
        let text = description(&[("Ref:3", "root & data", Some(5 << 20))]);
        let cd = "<value><struct><member><name>class</name><value><string>VDI</string></value>\
                  </member><member><name>id</name><value>Ref:9</value></member></struct></value>";
        let text = text.replace("</data>", &format!("{cd}</data>"));
        let disk = Vdi {
            id: "Ref:3".into(),
            name: "root & data".into(),
            size: Some(5 << 20),
            is_disk: true,
        };
        let other = Vdi { id: "Ref:9".into(), ..Vdi::default() };
        assert_eq!(read(text.as_bytes()).unwrap(), [disk, other]);
    }

    #[test]
    fn what_is_no_description_has_no_disks_or_is_an_error() {
        assert_eq!(read(b"<a/>").unwrap(), []);
        assert_eq!(read(b"<value><struct/></value>").unwrap(), []);
        assert!(read(b"<value>").unwrap_err().message().starts_with("ova.xml is no XML"));
        assert!(read(b"\xFF").unwrap_err().message().starts_with("ova.xml is not in UTF-8"));
    }
}
