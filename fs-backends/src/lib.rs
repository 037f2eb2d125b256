//! File systems as trees of names and bytes, read-only.
//!
//! A [`FileSystemDriver`] mounts the volume of a [`VolumeReader`] and gives a [`FileSystem`].
//! Nothing here knows where a volume comes from, or what the host calls anything.
//!
//! ```
//! use std::ops::ControlFlow;
//! use std::sync::Arc;
//!
//! use volfold_block::MemoryDevice;
//! use volfold_fs::{
//!     DirCursor, FileKind, FileSystem, FsResult, NodeId, ReadOptions, StreamName, VolumeReader,
//!     detect,
//! };
//!
//! /// Prints the path and the size of every file below `dir`.
//! fn walk(fs: &dyn FileSystem, dir: NodeId, path: &str) -> FsResult<()> {
//!     let mut below = Vec::new();
//!     fs.read_dir(dir, DirCursor::START, &mut |entry| {
//!         below.push((entry.node, entry.kind, format!("{path}/{}", entry.name.to_text())));
//!         ControlFlow::Continue(())
//!     })?;
//!     for (node, kind, path) in below {
//!         match kind {
//!             FileKind::Directory => walk(fs, node, &path)?,
//!             FileKind::Regular => {
//!                 let file = fs.open(node, &StreamName::MAIN)?;
//!                 let mut start = [0; 16];
//!                 let count = file.read_at(0, &mut start)?;
//!                 println!("{path}: {} bytes, {:?}", file.size(), &start[..count]);
//!             }
//!             _ => {}
//!         }
//!     }
//!     Ok(())
//! }
//!
//! # fn main() -> FsResult<()> {
//! # let volume_bytes = floppy();
//! let volume = VolumeReader::uncached(Arc::new(MemoryDevice::new(volume_bytes)));
//! let driver = detect(&*volume.data)?.expect("a known file system");
//! let fs = driver.mount(volume, ReadOptions::default())?;
//! println!("{} with the label {:?}", fs.info().kind, fs.info().label);
//! walk(&*fs, fs.root(), "")?;
//! # assert_eq!(fs.info().kind, "fat12");
//! # let file = fs.lookup(fs.root(), volfold_fs::Name::new("hello.txt"))?;
//! # let file = fs.open(file, &StreamName::MAIN)?;
//! # let mut bytes = [0; 9];
//! # assert_eq!((file.read_at(0, &mut bytes)?, &bytes[..5]), (5, &b"hello"[..]));
//! # Ok(())
//! # }
//! #
//! # /// A floppy with the file HELLO.TXT.
//! # fn floppy() -> Vec<u8> {
//! #     let mut bytes = vec![0; 1440 * 1024];
//! #     bytes[..3].copy_from_slice(&[0xEB, 0x3C, 0x90]);
//! #     bytes[0x0B..0x18].copy_from_slice(&[0, 2, 1, 1, 0, 2, 224, 0, 0x40, 0x0B, 0xF0, 9, 0]);
//! #     bytes[510..512].copy_from_slice(&[0x55, 0xAA]);
//! #     bytes[512..517].copy_from_slice(&[0xF0, 0xFF, 0xFF, 0xFF, 0x0F]);
//! #     bytes[19 * 512..][..11].copy_from_slice(b"HELLO   TXT");
//! #     bytes[19 * 512 + 26..][..6].copy_from_slice(&[2, 0, 5, 0, 0, 0]);
//! #     bytes[33 * 512..][..5].copy_from_slice(b"hello");
//! #     bytes
//! # }
//! ```
//!
//! A file system that is spread over volumes asks [`OtherVolumes`] for the others: an ext4 whose
//! journal is on a device of its own.
//!
//! **Threads.** Reads are done on the thread of the caller, but NTFS has compressed files decoded
//! and directories listed ahead of a walk on threads of [`volfold_block::ahead`];
//! [`volfold_block::ahead::set_threads`] bounds them, and with 0 there are none.

#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    warn(clippy::arithmetic_side_effects, clippy::as_conversions, clippy::indexing_slicing)
)]

pub mod attributes;
#[cfg(any(feature = "fat", feature = "exfat"))]
mod clusters;
pub mod code_page;
pub mod deleted;
pub mod driver;
pub mod error;
#[cfg(feature = "exfat")]
pub mod exfat;
#[cfg(feature = "ext4")]
pub mod ext4;
#[cfg(any(
    feature = "ntfs",
    feature = "fat",
    feature = "exfat",
    feature = "ext4",
    feature = "xfs"
))]
mod extents;
#[cfg(feature = "fat")]
pub mod fat;
#[cfg(any(feature = "fat", feature = "exfat", feature = "ext4", feature = "xfs"))]
mod kept;
pub mod links;
pub mod local;
pub mod node;
#[cfg(feature = "ntfs")]
pub mod ntfs;
#[cfg(any(feature = "exfat", feature = "fat", feature = "ntfs"))]
mod owners;
#[cfg(any(feature = "ext4", feature = "xfs"))]
mod posix_acl;
pub mod registry;
#[cfg(test)]
mod testing;
pub mod time;
pub mod tree;
#[cfg(any(feature = "ext4", feature = "xfs"))]
mod uuid;
#[cfg(any(feature = "ext4", feature = "xfs"))]
mod ways;
pub mod wtf8;
#[cfg(feature = "xfs")]
pub mod xfs;

pub use code_page::CodePage;
pub use deleted::DeletedTree;
pub use driver::{FileSystemDriver, Identity, OtherVolumes, ReadOptions, VolumeReader, VolumeRole};
pub use error::{FsError, FsErrorKind, FsResult, Reason};
pub use local::TimeZone;
pub use node::{
    Attributes, CaseRule, Deleted, DeletedIn, DirCursor, DirEntry, FileData, FileExtent,
    FileExtentKind, FileKind, FileSystem, FsInfo, LinkTarget, LivingPath, Metadata, MountedFolder,
    Name, NodeId, Owner, StreamInfo, StreamName, Times, Usage,
};
pub use registry::{DRIVERS, detect};
pub use time::Timestamp;
pub use tree::{TreeVolume, VolumeTree};
