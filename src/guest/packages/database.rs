//! One file with packages, in whichever form.

use std::sync::Arc;

use volfold_fs::{FileData, FsResult};

use super::collector::Collector;
use super::rpm::{berkeley, ndb, sqlite};
use super::{apk, dpkg, pacman};

/// The form of a file with packages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DatabaseFormat {
    /// `status` of dpkg.
    Dpkg,
    /// `installed` of apk.
    Apk,
    /// `desc` of one package of pacman.
    Pacman,
    /// `rpmdb.sqlite` of RPM.
    RpmSqlite,
    /// `Packages.db` of RPM: its own format ndb.
    RpmNdb,
    /// `Packages` of RPM: a hash database of Berkeley DB.
    RpmBerkeley,
}

/// Reads one database; says whether there may be more packages.
pub(super) fn read(
    format: DatabaseFormat,
    file: Arc<dyn FileData>,
    log: Option<Arc<dyn FileData>>,
    into: &mut Collector,
) -> bool {
    let read: FsResult<bool> = match format {
        DatabaseFormat::Dpkg => dpkg::read(file, into).map(|()| true),
        DatabaseFormat::Apk => apk::read(file, into).map(|()| true),
        DatabaseFormat::Pacman => pacman::read(file, into),
        DatabaseFormat::RpmSqlite => sqlite::read(file, log, into).map(|()| true),
        DatabaseFormat::RpmNdb => ndb::read(&*file, into).map(|()| true),
        DatabaseFormat::RpmBerkeley => berkeley::read(&*file, into).map(|()| true),
    };
    read.unwrap_or_else(|error| {
        into.unreadable(&error);
        true
    })
}
