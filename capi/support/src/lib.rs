//! What the C interfaces of volfold share.
//!
//! C gives pointers and numbers of which nothing is known. [`foreign`] is the one place that follows
//! such pointers. A [`Table`] hands out handles that are numbers and no addresses, so that one that was
//! closed, or never was one, is told from one that is open. [`Blocks`] makes the structs that C reads and
//! frees, each in one allocation that is known until it is freed. [`OpenSet`] is a set as both
//! interfaces keep it, and [`Program`] has the program `volfold` mount.

mod blocks;
pub mod foreign;
mod handles;
mod open_set;
mod program;

pub use blocks::{Arena, Blocks};
pub use foreign::BadArgument;
pub use handles::{Handle, Table};
pub use open_set::{OnProgress, OpenSet, SetOptions};
pub use program::{MountRequest, Mounted, MountedVolume, Program, ProgramError};
