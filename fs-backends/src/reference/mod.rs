//! File systems over crates that others wrote.
//!
//! The names and types of those crates stay in this folder.

#[cfg(feature = "ntfs")]
mod extents;
#[cfg(feature = "ntfs")]
pub mod ntfs;
#[cfg(feature = "ntfs")]
mod wtf8;
