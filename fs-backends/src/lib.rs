//! File systems as trees of names and bytes, read-only.
//!
//! A [`FileSystemDriver`] mounts the volume behind a [`VolumeReader`] and gives a [`FileSystem`].
//! Nothing here knows where a volume comes from, or what the host calls anything.

#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    warn(clippy::arithmetic_side_effects, clippy::as_conversions, clippy::indexing_slicing)
)]

#[cfg(feature = "ntfs")]
mod ahead;
pub mod driver;
pub mod error;
#[cfg(feature = "ext4")]
pub mod ext4;
#[cfg(any(feature = "ntfs", feature = "fat"))]
mod extents;
#[cfg(feature = "fat")]
pub mod fat;
pub mod node;
#[cfg(feature = "ntfs")]
pub mod ntfs;
#[cfg(test)]
mod testing;
pub mod tree;
pub mod wtf8;

pub use driver::{DRIVERS, FileSystemDriver, Identity, MountOptions, VolumeReader, detect};
pub use error::{FsError, FsErrorKind, FsResult, Reason};
pub use node::{
    Attributes, CaseRule, DirCursor, DirEntry, FileData, FileExtent, FileExtentKind, FileKind,
    FileSystem, FsInfo, FsStatistics, LinkTarget, Metadata, Name, NodeId, Owner, StreamInfo,
    StreamName, Times, Timestamp, Usage,
};
pub use tree::{TreeVolume, VolumeTree};
