//! POSIX access control lists as Linux shows them, whatever a file system keeps.
//!
//! `system.posix_acl_access` and `system.posix_acl_default` are little-endian: the version 2, 4 bytes,
//! and for each entry its tag and its permissions, 2 bytes each, and an id, 4 bytes (acl(5), the header
//! `linux/posix_acl_xattr.h`).

/// What Linux calls the list of a file.
pub(crate) const ACCESS: &[u8] = b"system.posix_acl_access";
/// What Linux calls the list that new files in a directory get.
pub(crate) const DEFAULT: &[u8] = b"system.posix_acl_default";

const VERSION: u32 = 2;

/// What an entry is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tag(pub(crate) u16);

impl Tag {
    /// Whether an entry of this kind has the number of a user or a group.
    pub(crate) fn has_id(self) -> bool {
        matches!(self.0, 0x02 | 0x08)
    }

    /// Whether it is one of those that there are: owner, user, group of the file, group, mask, others.
    #[cfg(feature = "ext4")]
    pub(crate) fn is_known(self) -> bool {
        matches!(self.0, 0x01 | 0x02 | 0x04 | 0x08 | 0x10 | 0x20)
    }
}

/// A list, entry by entry.
pub(crate) struct ShownList(Vec<u8>);

impl ShownList {
    /// One without entries.
    pub(crate) fn new() -> Self {
        Self(VERSION.to_le_bytes().to_vec())
    }

    /// Adds an entry; `id` counts for those alone that have one.
    pub(crate) fn push(&mut self, tag: Tag, permissions: u16, id: Option<u32>) {
        self.0.extend(tag.0.to_le_bytes());
        self.0.extend(permissions.to_le_bytes());
        self.0.extend(id.filter(|_| tag.has_id()).unwrap_or(u32::MAX).to_le_bytes());
    }

    /// The value of the attribute.
    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.0
    }
}
