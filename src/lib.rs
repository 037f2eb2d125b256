//! Opens sets of disk images, finds every volume on them, and reads the files in them.
//!
//! A [`DiskSet`] is what belongs together: all disks of a machine, with the snapshots of each. Its
//! [`SetVolume`]s are found through partition tables and volume managers, also where a volume lies
//! on several disks. Each gives its [`fs::FileSystem`], and [`DiskSet::tree`] gives all of them as
//! one tree. Nothing is mounted, no image is written to, and a set keeps no state outside itself:
//! any number may be open at once, on any threads.
//!
//! ```
//! use std::io::Read;
//!
//! use volfold::{DiskSet, OpenOptions};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // An image that cannot be opened is an error, which still has the rest of the set.
//! let set = DiskSet::open(["samples/sample.vmdk"], &OpenOptions::default())?;
//! for volume in set.volumes() {
//!     println!("{}: {} bytes", volume.name, volume.volume.size);
//! }
//! let linux = set.volume("linux").ok_or("no such volume")?;
//! for entry in linux.path("/")?.walk() {
//!     let entry = entry?;
//!     println!("{}: {} bytes", entry.path(), entry.metadata().size);
//! }
//! // Files are read at any position on any thread, and as streams.
//! let mut file = linux.path("/eicar.com")?.open()?;
//! let mut start = [0; 4];
//! assert_eq!(file.read_at(10, &mut start)?, 4);
//! let mut content = Vec::new();
//! file.read_to_end(&mut content)?;
//! assert_eq!(start, content[10..14]);
//! # Ok(())
//! # }
//! ```
//!
//! [`DiskSet::os_info`] tells which systems are installed, [`DiskSet::info`] what a set is made of, as
//! data that can be serialized, and `DiskSet::mount` (feature `mount`) shows volumes as folders.
//!
//! **Errors** are values with a stable code. A panic inside a reader is a fault of ours; it is caught
//! and becomes the error of its request, in all that goes by paths, walks, files and mounts.
//!
//! **Versions.** By semantic versioning: below 1.0 a minor version may change the interface, and
//! CHANGELOG.md says how. The oldest compiler that is supported stands in `Cargo.toml`
//! (`rust-version`); a minor version may raise it to one that is at least half a year old.
//!
//! **Async.** Calls block; from async code they belong on a thread for blocking work:
//! `tokio::task::spawn_blocking(move || path.read())`; paths, files and sets may go to any thread.
//! Walks and reads of a file go step by step, by the program's own loop. What takes long in one call (opening a
//! set, its systems, their packages) tells by a [`Monitor`] how far it is, which also stops it, and every read of
//! the set, from any thread. Readers of large files
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
mod monitor;
#[cfg(feature = "mount")]
mod mount;
pub mod partition;
mod set;
mod signature;
mod source;
pub mod volume;

pub use volfold_block as block;
pub use volfold_fs as fs;
pub use volfold_images as images;
#[cfg(feature = "mount")]
pub use volfold_projector as projector;

pub use machine::manifest::ManifestFile;
#[cfg(feature = "mount")]
pub use mount::Mounted;

pub use machine::{CONFIGURATIONS, MachineSnapshot};
pub use monitor::{Monitor, Progress, Stage};
pub use set::{
    Disk, DiskFailure, DiskSet, Incomplete, MachineStates, Manifest, OpenOptions, SetVolume,
};
pub use source::SourceFile;

/// What the README shows is run as it stands there.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
