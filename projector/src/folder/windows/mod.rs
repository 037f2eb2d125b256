//! A file system as Windows wants to see it: names without regard to case, links, streams, security
//! descriptors, statuses. What every driver for Windows shares; each adds how it is asked.

mod info;
mod links;
pub(crate) mod listing;
mod reparse;
pub(crate) mod security;
mod server;

pub use info::FileInfo;
pub(crate) use server::{Handle, Lost, Page};
pub use server::{Shown, VolumeServer};
