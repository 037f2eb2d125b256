//! Shows what is on disk images to the host and to others.
//!
//! Two wings that share [`process`] and little else: [`folder`] makes folders of volumes, each a
//! [`volfold_fs::FileSystem`], by a [`Projector`]; [`block`] gives disks and volumes out as block
//! devices, by NBD, iSCSI, loop devices and files. Neither knows image formats, partitions or a
//! concrete backend.
//!
//! Features, all on by default: `fuse`, `loop` (Linux), `winfsp`, `dokan` (Windows), `nbd`, `tls` (of
//! NBD), `iscsi`.
//!
//! # Example
//!
//! An export that takes changes, which the device below never sees; and how a name of a guest is
//! written where the host does not bear it.
//!
//! ```
//! use std::sync::Arc;
//!
//! use volfold_block::{BlockDevice, MemoryDevice};
//! use volfold_projector::block::overlay::Overlay;
//! use volfold_projector::block::{Content, Export};
//! use volfold_projector::folder::names;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let disk = Arc::new(MemoryDevice::new(vec![7; 8192]));
//! let overlay = Arc::new(Overlay::in_memory(disk.clone(), 1 << 20));
//! overlay.write(4096, b"new")?;
//! let export = Export::new("disk0", "a small disk", Content::Overlay(overlay));
//!
//! let mut bytes = [0; 4];
//! export.content.device().read_at(4095, &mut bytes)?;
//! assert_eq!(&bytes, b"\x07new");
//! disk.read_at(4095, &mut bytes)?;
//! assert_eq!(bytes, [7; 4]);
//!
//! let escaped = names::to_unix(b"a/b");
//! assert_eq!(&*escaped, "a\u{F02F}b".as_bytes());
//! assert_eq!(names::to_guest(&escaped), Some(b"a/b".to_vec()));
//! # Ok(())
//! # }
//! ```

// Only what calls functions of Windows holds `unsafe` blocks, and says so.
#![deny(unsafe_code)]

pub mod block;
mod error;
pub mod folder;
#[cfg(all(target_os = "linux", any(feature = "fuse", feature = "loop")))]
mod fuse_session;
mod log;
mod mount;
pub mod process;
mod registry;
#[cfg(windows)]
mod wide;

pub use error::{ProjectError, ProjectErrorKind, ProjectResult};
#[cfg(windows)]
pub use folder::projector::{Access, Place};
pub use folder::projector::{Arrange, MountOptions, Projector};
#[cfg(target_os = "linux")]
pub use folder::projector::{Links, Ownership};
pub use log::Log;
pub use mount::Mount;
pub use registry::PROJECTORS;
