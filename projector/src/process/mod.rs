//! What commands that go on in the background, and those that write files, need of the host.

#[cfg(windows)]
pub(crate) mod security;
#[cfg(windows)]
pub mod service;
#[cfg(unix)]
mod unix;
#[cfg(windows)]
mod windows;
mod writable;

#[cfg(unix)]
pub use unix::*;
#[cfg(windows)]
pub use windows::*;
pub(crate) use writable::is_at;
pub use writable::{ImageFiles, open_writable};
