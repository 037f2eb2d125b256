//! The image formats, and what they have in common.

pub(crate) mod image;
pub mod raw;
pub mod vdi;
#[cfg(feature = "vmdk")]
pub mod vmdk;

pub use crate::context::ImageFormat;
pub use image::{DiskImage, InnerSnapshot, Lineage};
