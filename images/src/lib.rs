//! Disk images as block devices.
//!
//! A [`format::ImageFormat`] turns a file of the host into a [`DiskImage`], whose [`volfold_block::BlockDevice`]
//! gives the bytes of the virtual disk. A file that an image names (an extent, a parent) is opened
//! through a [`Locator`] alone. Nothing here knows of partitions, file systems or mounts.
//!
//! ```
//! use volfold_block::{BlockDevice, BlockResult, CachePool};
//! use volfold_images::ImageContext;
//!
//! # fn main() -> BlockResult<()> {
//! # let folder = std::env::temp_dir().join(format!("volfold-images-{}", std::process::id()));
//! # std::fs::create_dir_all(&folder)?;
//! # let path = folder.join("disk.img");
//! # std::fs::write(&path, [7; 4096])?;
//! // Files that the image names are opened beside it, and in folders given here.
//! let file = volfold_images::host::open_image_file(&path, &[])?;
//! let image = volfold_images::open(&file, &ImageContext::new(&CachePool::new(16 << 20)))?;
//! let mut sector = [0; 512];
//! image.device.read_at(0, &mut sector)?;
//! assert_eq!((image.format, sector[0]), ("raw", 7));
//! # drop((image, file));
//! # std::fs::remove_dir_all(&folder)?;
//! # Ok(())
//! # }
//! ```

#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    warn(clippy::arithmetic_side_effects, clippy::as_conversions, clippy::indexing_slicing)
)]

mod archive;
mod backup;
mod bits;
#[cfg(feature = "compressed")]
mod compressed;
mod context;
pub mod convert;
#[cfg(any(feature = "dmg", feature = "ewf", feature = "qcow2", feature = "vmdk"))]
mod deflate;
mod exclusive;
pub mod format;
mod guid;
pub mod host;
#[cfg(test)]
mod hostile;
#[cfg(feature = "qcow2")]
mod levels;
mod locator;
mod note;
#[cfg(any(feature = "dmg", feature = "ewf", feature = "qcow2"))]
mod packed;
mod parent;
mod registry;
mod split;
mod table;
#[cfg(test)]
mod testing;
mod text;
pub mod xml;
#[cfg(any(feature = "compressed", feature = "qcow2"))]
mod zstd;

pub use archive::TarArchive;
pub use backup::{Backup, BackupDisk, BackupFormat};
#[cfg(feature = "compressed")]
pub use compressed::unpack;
pub use context::{Backing, Decryption, ImageContext, MAX_CHAIN, NoFiles};
pub use format::{DiskImage, ImageFormat, InnerSnapshot, Lineage, RecordedHash, RegionChecksum};
pub use locator::{Located, Locator};
pub use note::PartLog;
pub use registry::{BACKUPS, COMPRESSIONS, Compression, FORMATS, detect, lineage, open, open_as};
pub use split::{join, without_part_number};
pub use text::{FileName, TextEncoding};
