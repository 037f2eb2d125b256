//! Opens sets of disk images.
#![forbid(unsafe_code)]
pub mod cache;
mod discover;
pub mod finding;
pub mod partition;
pub mod volume;
