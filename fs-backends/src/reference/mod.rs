//! File systems over crates that others wrote.
//!
//! The names and types of those crates stay in this folder.

#[cfg(feature = "ext4")]
pub mod ext4;
#[cfg(any(feature = "ntfs", feature = "fat"))]
mod extents;
#[cfg(feature = "fat")]
pub mod fat;
#[cfg(feature = "ntfs")]
pub mod ntfs;
#[cfg(test)]
#[cfg(any(feature = "ntfs", feature = "fat"))]
mod testing;
#[cfg(any(feature = "ntfs", feature = "fat"))]
mod wtf8;
