//! An opened image, and what one says of itself.

use std::sync::Arc;

use volfold_block::{BlockDevice, FindingLog, Span};

/// An opened disk image.
pub struct DiskImage {
    /// The virtual disk.
    pub device: Arc<dyn BlockDevice>,
    /// The [`super::ImageFormat::id`].
    pub format: &'static str,
    /// The format's own name for the variant, `monolithicSparse` for example.
    pub variant: Option<String>,
    /// The names of the files of a snapshot chain, the given image first, then its parents.
    /// Just the image where there is no parent.
    pub chain: Vec<String>,
    /// The names of the other files that hold bytes of the image or of its parents: extents.
    pub extents: Vec<String>,
    /// Whether most of its bytes are decoded, and come out of the cache when they are read again.
    pub is_decoded: bool,
    /// The states of the disk that the image itself keeps, the oldest first.
    pub snapshots: Vec<InnerSnapshot>,
    /// The one of them that is shown; `None` for the newest state.
    pub snapshot: Option<InnerSnapshot>,
    /// The hashes of the disk that the image keeps, as they were when it was made.
    pub recorded_hashes: Vec<RecordedHash>,
    /// The checksums of regions of the disk that the image keeps.
    pub region_checksums: Vec<RegionChecksum>,
    /// What is wrong with the image though it could be opened, and what is noticed while it is read.
    pub log: Arc<FindingLog>,
}

impl DiskImage {
    /// The same image, the parent of which is `parent`, if it has one.
    #[must_use]
    pub fn over(mut self, parent: Option<&Self>) -> Self {
        if let Some(parent) = parent {
            self.chain.extend(parent.chain.iter().cloned());
            self.extents.extend(parent.extents.iter().cloned());
            self.is_decoded |= parent.is_decoded;
        }
        self
    }

    /// The same image, whose files also are `extents`.
    #[must_use]
    pub fn with_extents(mut self, extents: impl IntoIterator<Item = String>) -> Self {
        self.extents.extend(extents);
        self
    }

    /// The same image, as the variant that its format calls `variant`.
    #[must_use]
    pub fn with_variant(mut self, variant: impl Into<String>) -> Self {
        self.variant = Some(variant.into());
        self
    }

    /// The same image, most of whose bytes are decoded.
    #[must_use]
    pub fn decoded(mut self, is_decoded: bool) -> Self {
        self.is_decoded |= is_decoded;
        self
    }
}

/// A hash of the whole disk that an image keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordedHash {
    /// `md5` or `sha1`.
    pub algorithm: &'static str,
    /// Its digits, in lower case.
    pub value: String,
}

/// A checksum of a region of the disk that an image keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegionChecksum {
    /// The pieces of the region that it is about, one after the other; not none, and none is empty.
    pub pieces: Vec<Span>,
    /// The CRC-32 (as zlib and PNG have it) of these bytes.
    pub crc32: u32,
}

/// A state of the disk that an image keeps in the file that has the newest one too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InnerSnapshot {
    /// What the image numbers it by.
    pub id: String,
    /// What people call it.
    pub name: String,
    /// When it was taken, in seconds since 1970.
    pub time: Option<i64>,
    /// The size of the disk then.
    pub size: u64,
}

/// What an image says of itself, its parts and its parent, without its parent being opened.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Lineage {
    /// The [`crate::Located::name`] of each extent that is there.
    pub extents: Vec<String>,
    /// The [`crate::Located::name`] of each file that may be the parent, by its name.
    pub parents: Vec<String>,
    /// Whether the parent was in the same folder.
    pub parent_was_beside: bool,
    /// The content id that the parent had when this child was made.
    pub parent_cid: Option<u32>,
    /// The id of the parent.
    pub parent_uuid: Option<String>,
    /// The content id.
    pub cid: Option<u32>,
    /// The id.
    pub uuid: Option<String>,
}

impl Lineage {
    /// Whether this image is a snapshot of the one in the file `name`, which has the lineage
    /// `base`: it has its id, or it names that file. Where the parent was in another folder, a file
    /// of its name is the parent only if it has the content id that is wanted.
    pub fn is_child_of(&self, name: &str, base: &Self) -> bool {
        let by_id = self.parent_uuid.is_some() && self.parent_uuid == base.uuid;
        let is_same = self.parent_cid.is_some() && self.parent_cid == base.cid;
        let is_named = self.parents.iter().any(|parent| parent == name);
        by_id || (is_named && (is_same || self.parent_was_beside))
    }
}
