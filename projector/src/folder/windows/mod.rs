//! A file system as Windows wants to see it: names without regard to case, links, streams, security
//! descriptors, statuses. What every driver for Windows shares; each adds how it is asked.
//!
//! `server` answers requests, `callbacks` bring them to it, `mounting` makes the volumes of a set,
//! `control` is how other processes end a mount.

pub(crate) mod callbacks;
pub(crate) mod control;
mod info;
pub(crate) mod leftovers;
mod links;
pub(crate) mod listing;
pub(crate) mod mounting;
pub(crate) mod place;
mod reparse;
pub(crate) mod security;
mod server;

pub use callbacks::Context;
pub use info::FileInfo;
#[cfg(feature = "winfsp")]
pub(crate) use server::Lost;
pub(crate) use server::{Handle, Page};
pub use server::{Shown, VolumeServer};
