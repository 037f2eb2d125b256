//! File systems over crates that others wrote.
//!
//! The names and types of those crates stay in this folder.

#[cfg(feature = "ext4")]
pub mod ext4;
#[cfg(feature = "ntfs")]
pub mod ntfs;
