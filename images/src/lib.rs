//! Disk images as block devices.
//!
//! A [`format::ImageFormat`] turns a file of the host into a [`DiskImage`], whose [`BlockDevice`]
//! gives the bytes of the virtual disk. A file that an image names (an extent, a parent) is opened
//! through a [`Locator`] alone. Nothing here knows of partitions, file systems or mounts.

#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    warn(clippy::arithmetic_side_effects, clippy::as_conversions, clippy::indexing_slicing)
)]

pub mod format;
pub mod host;
mod locator;
mod registry;

pub use format::{DiskImage, ImageFormat};
pub use locator::{Located, Locator};
pub use registry::{FORMATS, detect, open};
