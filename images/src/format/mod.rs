//! The image formats, and what they have in common.

#[cfg(feature = "dmg")]
pub mod dmg;
#[cfg(feature = "ewf")]
pub mod ewf;
pub(crate) mod image;
pub mod parallels;
#[cfg(feature = "qcow2")]
pub mod qcow2;
#[cfg(feature = "qcow2")]
pub mod qed;
pub mod raw;
pub mod vdi;
pub mod vhd;
pub mod vhdx;
#[cfg(feature = "vmdk")]
pub mod vmdk;

pub use crate::context::ImageFormat;
pub use image::{DiskImage, InnerSnapshot, Lineage, RecordedHash, RegionChecksum};
