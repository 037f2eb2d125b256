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

/// Other hosts know of the user's own alone.
#[cfg(not(windows))]
pub fn own_kind() -> Owner {
    Owner::Own
}

/// Ends this process at once, whatever its threads do.
#[cfg(not(windows))]
pub fn end_at_once(code: u8) -> ! {
    std::process::exit(code.into())
}

/// Whether a process with this number lives; these hosts give a number again late.
#[cfg(not(windows))]
pub fn is_running_since(pid: u32, _since: std::time::SystemTime) -> bool {
    is_running(pid)
}

/// None: other hosts let only a user into the folders of that user.
#[cfg(not(windows))]
pub fn state_folders_of_others() -> Vec<(Owner, std::path::PathBuf)> {
    Vec::new()
}
