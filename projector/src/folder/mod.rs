//! Volumes as folders of the host: FUSE on Linux, WinFsp on Windows, and names and links that the
//! host bears.

#[cfg(all(target_os = "linux", feature = "fuse"))]
pub mod fuse;
#[cfg(any(all(target_os = "linux", feature = "fuse"), all(windows, feature = "winfsp")))]
mod links;
#[cfg(any(all(target_os = "linux", feature = "fuse"), all(windows, feature = "winfsp")))]
pub use links::{target_on_host, way_on_host};
pub mod names;
pub(crate) mod projector;
#[cfg(any(all(target_os = "linux", feature = "fuse"), all(windows, feature = "winfsp")))]
mod status;
pub(crate) mod volume_names;
#[cfg(all(windows, feature = "winfsp"))]
pub mod winfsp;
