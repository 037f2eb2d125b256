//! What a mount that goes on in the background needs of the host.

#[cfg(windows)]
pub(crate) mod security;
#[cfg(windows)]
pub mod service;
#[cfg(unix)]
mod unix;
#[cfg(windows)]
mod windows;

#[cfg(unix)]
pub use unix::*;
#[cfg(windows)]
pub use windows::*;
