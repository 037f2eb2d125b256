//! Opens sets of disk images.
#![forbid(unsafe_code)]
mod discover;
pub mod partition;
mod set;
pub mod volume;

pub use set::{Disk, DiskFailure, DiskSet, OpenOptions, SetVolume};
