//! Files by their paths: [`GuestPath`], and what it opens.
//!
//! A path is `/<volume>/dir/file`, as below a mount; links are followed as the guest follows them,
//! also to other volumes of the set, and never out of it. Errors are [`FsError`](crate::fs::FsError)s, which
//! [`std::io::Error`] can be made of.

mod descent;
mod path;
mod reader;
mod search;
mod tree;
mod walk;

pub use descent::{Descent, Step};
pub use path::GuestPath;
pub(crate) use reader::read_at_most;
pub use reader::{DeviceReader, File};
pub(crate) use search::first_part;
pub use search::{Found, LookUp, Search, look_up};
pub(crate) use tree::SetTree;
pub use walk::{FilterEntry, Walk, WalkEntry, WalkError};
