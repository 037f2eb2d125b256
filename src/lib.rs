//! Opens sets of disk images, finds every volume on them, and reads the files in them.
//!
//! A [`DiskSet`] is what belongs together: all disks of a machine, with the snapshots of each. Its
//! [`SetVolume`]s are found through partition tables and volume managers, also where a volume lies
//! on several disks. Each gives its [`fs::FileSystem`], and [`DiskSet::tree`] gives all of them as
//! one tree. Nothing is mounted, no image is written to, and a set keeps no state outside itself:
//! any number may be open at once, on any threads.
//!
//! ```
//! use std::ops::ControlFlow;
//!
//! use volfold::fs::{DirCursor, FileSystem, Name, StreamName};
//! use volfold::{DiskSet, OpenOptions};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // An image that cannot be opened is an error, which still has the rest of the set.
//! let set = DiskSet::open(["samples/sample.vmdk"], &OpenOptions::default())?;
//! for volume in set.volumes() {
//!     println!("{}: {} bytes", volume.name, volume.volume.size);
//! }
//! let volume = set.volume("linux").ok_or("no such volume")?;
//! let files = volume.file_system()?;
//! files.read_dir(files.root(), DirCursor::START, &mut |entry| {
//!     println!("{}", entry.name.to_text());
//!     ControlFlow::Continue(())
//! })?;
//! let node = files.lookup(files.root(), Name::new("eicar.com"))?;
//! let content = files.open(node, &StreamName::MAIN)?;
//! let mut bytes = [0; 16];
//! let count = content.read_at(0, &mut bytes)?;
//! assert_eq!(count, 16);
//! # Ok(())
//! # }
//! ```
//!
//! Calls block; from async code they belong on a thread for blocking work. Readers of large files
//! start a few threads that work ahead, and [`block::ahead::set_threads`] with 0 forbids that.
//!
//! Without the feature `cli` (`default-features = false`) this is the library alone; each image
//! format and file system is a feature of its own.
#![forbid(unsafe_code)]

mod discover;
pub mod files;
pub mod guest;
mod image;
pub mod info;
mod machine;
pub mod partition;
mod set;
mod signature;
mod source;
pub mod volume;

pub use volfold_block as block;
pub use volfold_fs as fs;
pub use volfold_images as images;

pub use machine::manifest::ManifestFile;
pub use machine::{CONFIGURATIONS, MachineSnapshot};
pub use set::{
    Disk, DiskFailure, DiskSet, Incomplete, MachineStates, Manifest, OpenOptions, SetVolume,
};
pub use source::SourceFile;
