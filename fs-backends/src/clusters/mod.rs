//! What FAT and exFAT have in common: a heap of clusters, chains through a table, and directories
//! that are decoded as a whole.

pub(super) mod chain;
pub(super) mod claims;
pub(super) mod content;
pub(super) mod dig;
pub(super) mod dos_time;
pub(super) mod finding;
pub(super) mod heap;
pub(super) mod listings;
pub(super) mod name_index;
pub(super) mod other_content;
pub(super) mod serial;
pub(super) mod set;
pub(super) mod twins;
pub(super) mod walk;
