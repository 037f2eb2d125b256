//! Disks and volumes as block devices for others: servers of the network, loop devices, files.
//!
//! An [`Export`] is what all of them show: a device with a name, as it is or with an overlay that
//! takes changes.

#![cfg_attr(
    not(test),
    warn(clippy::arithmetic_side_effects, clippy::as_conversions, clippy::indexing_slicing)
)]

#[cfg(any(feature = "nbd", feature = "iscsi"))]
mod buffer;
mod export;
#[cfg(feature = "iscsi")]
pub mod iscsi;
#[cfg(all(target_os = "linux", feature = "loop"))]
pub mod loop_device;
#[cfg(feature = "nbd")]
pub mod nbd;
mod number;
pub mod overlay;
pub mod raw;
#[cfg(any(feature = "nbd", feature = "iscsi"))]
pub mod serve;

pub use export::{Content, Export};
