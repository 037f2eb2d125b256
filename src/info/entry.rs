//! What is told of files.

use data_encoding::HEXLOWER;
use serde::Serialize;
use volfold_fs::attributes::each_extended_attribute;
use volfold_fs::{FileKind, FileSystem, FsErrorKind, FsResult, Metadata, NodeId};

use super::path_text;

/// One file or directory, as `volfold ls --json` prints it.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct EntryInfo {
    /// Its path.
    pub path: String,
    /// The exact bytes of a path that is no text.
    pub path_hex: Option<String>,
    /// What it is, as a letter.
    #[serde(rename = "type")]
    pub kind: char,
    /// The size in bytes.
    pub size: u64,
    /// The bytes that it takes on the volume.
    pub allocated: u64,
    /// How many names it has.
    pub links: u32,
    /// When its content was last changed.
    pub modified: String,
    /// When it was last read.
    pub accessed: String,
    /// When its metadata was last changed.
    pub changed: String,
    /// When it was made.
    pub created: Option<String>,
    /// The guest's number of its owner.
    pub uid: Option<u32>,
    /// The guest's number of its group.
    pub gid: Option<u32>,
    /// The guest's permissions, in octal digits.
    pub mode: Option<String>,
    /// DOS attributes.
    pub attributes: Option<u32>,
    /// Where a link leads, as the guest wrote it.
    pub target: Option<String>,
    /// The code of why the content will be refused, where that is known.
    pub unreadable: Option<&'static str>,
    /// Its extended attributes, where they were asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub xattrs: Option<Vec<AttributeInfo>>,
}

/// One extended attribute.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct AttributeInfo {
    /// Its name, with what stands before it: `user.`, `security.`.
    pub name: String,
    /// The exact bytes of a name that is no text.
    pub name_hex: Option<String>,
    /// The bytes of its value, in hexadecimal digits.
    pub value_hex: String,
}

impl EntryInfo {
    /// What is told of what lies at `path` of `tree`.
    pub fn of(tree: &dyn FileSystem, path: &[u8], metadata: &Metadata) -> Self {
        let is_link = metadata.kind == FileKind::Symlink;
        let target = if is_link { tree.read_link(metadata.node).ok() } else { None };
        let (path, path_hex) = path_text(path);
        let times = &metadata.times;
        Self {
            path,
            path_hex,
            kind: kind_letter(metadata.kind),
            size: metadata.size,
            allocated: metadata.allocated,
            links: metadata.links,
            modified: times.modified.to_string(),
            accessed: times.accessed.to_string(),
            changed: times.changed.to_string(),
            created: times.created.map(|time| time.to_string()),
            uid: metadata.owner.map(|owner| owner.uid),
            gid: metadata.owner.map(|owner| owner.gid),
            mode: metadata.owner.map(|owner| format!("{:04o}", owner.mode)),
            attributes: metadata.attributes.map(|attributes| attributes.0),
            target: target.map(|target| path_text(&target.0).0),
            unreadable: metadata.unreadable.map(FsErrorKind::code),
            xattrs: None,
        }
    }

    /// Adds the extended attributes of `node` of `tree`, which the entry is about.
    ///
    /// # Errors
    /// Why one of them cannot be read; those before it are added.
    pub fn add_xattrs(&mut self, tree: &dyn FileSystem, node: NodeId) -> FsResult<()> {
        let all = self.xattrs.insert(Vec::new());
        each_extended_attribute(
            tree,
            node,
            |_| true,
            |name, value| {
                let (name, name_hex) = path_text(&name);
                all.push(AttributeInfo { name, name_hex, value_hex: HEXLOWER.encode(&value) });
            },
        )
    }
}

/// The letter of a kind, as `ls -l` and `find -printf %y` write it.
pub fn kind_letter(kind: FileKind) -> char {
    match kind {
        FileKind::Regular => 'f',
        FileKind::Directory => 'd',
        FileKind::Symlink => 'l',
        FileKind::CharDevice => 'c',
        FileKind::BlockDevice => 'b',
        FileKind::Fifo => 'p',
        FileKind::Socket => 's',
    }
}
