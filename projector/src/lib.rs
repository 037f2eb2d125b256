//! Shows what is on disk images to the host and to others.
//!
//! Two wings that share [`process`] and little else: [`folder`] makes folders of volumes, each a
//! [`volfold_fs::FileSystem`], by a [`Projector`]; [`block`] gives disks and volumes out as block
//! devices, by NBD, iSCSI, loop devices and files. Neither knows image formats, partitions or a
//! concrete backend.
//!
//! Features, all on by default: `fuse`, `loop` (Linux), `winfsp` (Windows), `nbd`, `tls` (of NBD),
//! `iscsi`.

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

pub use error::{ProjectError, ProjectErrorKind, ProjectResult};
#[cfg(windows)]
pub use folder::projector::{Access, Place};
#[cfg(target_os = "linux")]
pub use folder::projector::{Links, Ownership};
pub use folder::projector::{MountOptions, Projector};
pub use folder::volume_names::VolumeNames;
pub use log::Log;
pub use mount::Mount;
pub use registry::PROJECTORS;
