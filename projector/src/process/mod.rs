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

/// Whose mounts a state folder tells of.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Owner {
    /// This process's user.
    Own,
    /// SYSTEM, as whom the service mounts.
    Service,
    /// Another user, called so.
    Other(String),
}

/// Other hosts have one user's mounts in reach of that user alone.
#[cfg(not(windows))]
pub fn state_folders_of_others() -> Vec<(Owner, std::path::PathBuf)> {
    Vec::new()
}
