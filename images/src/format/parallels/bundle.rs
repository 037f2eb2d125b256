//! The `.hdd` folder of Parallels Desktop: which of its images is the parent of which.
//!
//! Specification: none; `DiskDescriptor.xml` as Parallels Desktop and `prl_disk_tool` write it. The
//! images carry no ids, so the descriptor beside them is all that tells.
//!
//! | element                             | rule                                              |
//! |-------------------------------------|---------------------------------------------------|
//! | `StorageData/Storage`               | one; a disk that is split into several is refused |
//! | `StorageData/Storage/Image/GUID`    | the id of the state that the image holds          |
//! | `StorageData/Storage/Image/Type`    | `Compressed`: an image of this format; `Plain`: raw |
//! | `StorageData/Storage/Image/File`    | its name, beside the descriptor                   |
//! | `Snapshots/Shot/GUID`, `ParentGUID` | the state before; zeros: there is none            |

use std::path::Path;

use volfold_block::{BlockError, BlockErrorKind, BlockResult, bytes_to_index};

use crate::context::ImageContext;
use crate::format::DiskImage;
use crate::guid::Guid;
use crate::locator::Located;
use crate::xml::{Node, child, children, document, utf8};

/// What the descriptor is called.
const NAME: &str = "DiskDescriptor.xml";

/// LIMIT: bytes of a descriptor. One of 100 snapshots has 60 KiB.
const MAX_BYTES: u64 = 4 << 20;

/// The image that shows through the holes of another one.
pub(super) struct Parent {
    pub(super) file: Located,
    called: String,
    format: &'static str,
}

/// Opens the image below the one in `file`, if the descriptor beside it says that there is one.
pub(super) fn open_parent(
    file: &Located,
    context: &ImageContext,
) -> BlockResult<Option<DiskImage>> {
    let Some(parent) = find_parent(file)? else { return Ok(None) };
    let Parent { file: found, called, format } = parent;
    context.open_parent(file, found, &called, Some(format)).map(Some)
}

/// Finds the file of that image.
///
/// # Errors
/// `Corrupt` if the descriptor says nothing that can be, `MissingPart` if the parent is not there.
pub(super) fn find_parent(file: &Located) -> BlockResult<Option<Parent>> {
    let bytes = match file.files.open(Path::new(NAME)) {
        Ok(descriptor) => bytes_of(&descriptor).map_err(|error| error.within(NAME))?,
        Err(error) => {
            return match error.kind() {
                // Nothing is there, or it is no image that may name others.
                BlockErrorKind::MissingPart | BlockErrorKind::Refused => Ok(None),
                _ => Err(error.within(NAME)),
            };
        }
    };
    let parent = utf8("descriptor", &bytes).and_then(|text| parent_in(text, &file.name));
    let Some((name, format)) = parent.map_err(|error| error.within(NAME))? else {
        return Ok(None);
    };
    let called = format!("parent {name}");
    let found = file.files.open(Path::new(&name)).map_err(|error| error.within(&called))?;
    Ok(Some(Parent { file: found, called, format }))
}

/// The descriptor in `file`.
fn bytes_of(file: &Located) -> BlockResult<Vec<u8>> {
    let size = file.device.size();
    if size > MAX_BYTES {
        let line = format!("descriptor has {size} bytes; at most {MAX_BYTES} are read");
        return Err(BlockError::unsupported(line));
    }
    let mut bytes = vec![0; bytes_to_index(size)?];
    file.device.read_at(0, &mut bytes)?;
    Ok(bytes)
}

/// The name and the format of the parent of the image called `own`, as the descriptor `text` tells;
/// `None` if it has none, or is not of this disk.
fn parent_in(text: &str, own: &str) -> BlockResult<Option<(String, &'static str)>> {
    let corrupt = |line: String| BlockError::corrupt(line, 0, 0);
    let document = document("descriptor", text)?;
    let root = document.root_element();
    let own = file_name(own);
    let storages = || children(root, "StorageData").flat_map(|data| children(data, "Storage"));
    let images = || storages().flat_map(|storage| children(storage, "Image"));
    let Some(image) = images().find(|image| file_name(text_in(*image, "File")) == own) else {
        return Ok(None);
    };
    if storages().nth(1).is_some() {
        return Err(BlockError::unsupported(
            "disk is split into several storages, which is not read; merge it with \
             `prl_disk_tool convert --merge --hdd` on a copy",
        ));
    }
    let id = guid(image, "GUID")?;
    for shot in children(root, "Snapshots").flat_map(|shots| children(shots, "Shot")) {
        if guid(shot, "GUID")? != id {
            continue;
        }
        let Some(parent) = guid(shot, "ParentGUID")?.known() else { return Ok(None) };
        let is_parent = |image: &Node<'_, '_>| guid(*image, "GUID").is_ok_and(|it| it == parent);
        let Some(found) = images().find(is_parent) else {
            return Err(corrupt(format!("descriptor has no image of the parent {{{parent}}}")));
        };
        let format = match text_in(found, "Type") {
            "Plain" => "raw",
            _ => "parallels",
        };
        return Ok(Some((text_in(found, "File").to_owned(), format)));
    }
    Err(corrupt(format!("descriptor has no snapshot {{{id}}}, of which it has the image")))
}

/// The id in the first element called `name` below `node`.
fn guid(node: Node<'_, '_>, name: &'static str) -> BlockResult<Guid> {
    let text = text_in(node, name);
    Guid::parse(text)
        .ok_or_else(|| BlockError::corrupt(format!("descriptor has the {name} {text:?}"), 0, 0))
}

/// The last part of `path`, whichever separator it has.
fn file_name(path: &str) -> &str {
    path.rsplit(['/', '\\']).next().unwrap_or(path)
}

/// The text of the first element called `name` below `node`.
fn text_in<'a>(node: Node<'a, '_>, name: &'static str) -> &'a str {
    child(node, name).and_then(|child| child.text()).unwrap_or_default().trim()
}
