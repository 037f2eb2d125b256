//! The databases of RPM: headers of packages, in one of three kinds of file.

pub(super) mod berkeley;
mod content;
mod header;
pub(super) mod ndb;
mod record;
pub(super) mod sqlite;
