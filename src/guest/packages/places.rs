//! Where the databases of a system are.

use std::collections::HashSet;
use std::sync::Arc;

use volfold_fs::{FileData, FsError, FsErrorKind, FsResult, NodeId};

use super::collector::Collector;
use super::database::{self, DatabaseFormat};
use super::dpkg::{self, Updates};
use crate::guest::merged::MergedTree;

/// LIMIT: files of one directory that are read; the largest systems have some ten thousand packages.
const MAX_FILES: usize = 100_000;

/// LIMIT: bytes of a file with one package; real ones have less than 64 KiB.
const MAX_FILE: u64 = 1 << 20;

/// LIMIT: changes of dpkg that are applied; it writes all into `status` after 250.
const MAX_UPDATES: usize = 1000;

const DPKG: &str = "/var/lib/dpkg/status";
const DPKG_OLD: &str = "/var/lib/dpkg/status-old";
const DPKG_FOLDER: &str = "/var/lib/dpkg/status.d";
const DPKG_UPDATES: &str = "/var/lib/dpkg/updates";
const APK: [&str; 2] = ["/lib/apk/db/installed", "/usr/lib/apk/db/installed"];
const PACMAN: &str = "/var/lib/pacman/local";
const RPM: [&str; 3] = ["/usr/lib/sysimage/rpm", "/var/lib/rpm", "/usr/share/rpm"];

/// The databases of RPM in one directory; of several the first is what RPM itself uses.
const RPM_FILES: [(&str, DatabaseFormat); 3] = [
    ("rpmdb.sqlite", DatabaseFormat::RpmSqlite),
    ("Packages.db", DatabaseFormat::RpmNdb),
    ("Packages", DatabaseFormat::RpmBerkeley),
];

/// Databases that are not read, and whose they are.
const NOT_READ: [(&str, &str); 13] = [
    ("/var/lib/pkgtools/packages", "Slackware's pkgtools"),
    ("/var/log/packages", "Slackware's pkgtools"),
    ("/var/db/pkg", "Gentoo's Portage or pkg of BSD"),
    ("/var/db/xbps", "Void's XBPS"),
    ("/nix/var/nix/db", "Nix"),
    ("/var/guix/db", "Guix"),
    ("/usr/lib/opkg/status", "opkg"),
    ("/usr/lib/opkg/info", "opkg"),
    ("/var/lib/opkg/status", "opkg"),
    ("/usr/share/clear/bundles", "Clear Linux's swupd"),
    ("/var/lib/eopkg/package", "Solus' eopkg"),
    ("/var/lib/pisi/package", "PiSi"),
    ("/var/lib/cards/DB", "cards"),
];

/// Reads the databases of a tree.
pub(super) struct Places<'a> {
    tree: &'a MergedTree,
    into: &'a mut Collector,
    /// The databases that were read: links lead to one by several paths.
    seen: HashSet<NodeId>,
    /// Whether there is a database.
    has_one: bool,
}

impl<'a> Places<'a> {
    /// The databases of `tree`, whose packages go `into`.
    pub(super) fn new(tree: &'a MergedTree, into: &'a mut Collector) -> Self {
        Self { tree, into, seen: HashSet::new(), has_one: false }
    }

    pub(super) fn read(&mut self) {
        self.dpkg();
        self.each_file(DPKG_FOLDER, |name| {
            (!name.ends_with(".md5sums")).then(|| (name.to_owned(), DatabaseFormat::Dpkg))
        });
        for path in APK {
            self.database(path, DatabaseFormat::Apk, None);
        }
        self.each_file(PACMAN, |name| {
            (name != "ALPM_DB_VERSION").then(|| (format!("{name}/desc"), DatabaseFormat::Pacman))
        });
        for folder in RPM {
            self.rpm(folder);
        }
        self.note_others();
    }

    /// Tells of databases that are not read, and where there is none that is.
    fn note_others(&mut self) {
        for (path, owner) in NOT_READ {
            let kind = self.tree.kind(path);
            if let Some(Some(_)) = self.tell(path, kind) {
                self.into.incomplete(format!("the package database of {owner} is not read"));
            }
        }
        if !self.has_one {
            self.into.enter("/");
            self.into.incomplete("no package database that can be read was found".to_owned());
        }
    }

    /// Reads `status` of dpkg, with the changes that are not in it yet.
    fn dpkg(&mut self) {
        let status = self.tree.open(DPKG);
        let status = self.tell(DPKG, status);
        if let Some(None) = status {
            let old = self.tree.has(DPKG_OLD);
            if self.tell(DPKG_OLD, old) == Some(true) {
                self.into.enter(DPKG);
                let line = "file is missing; status-old beside it, which is older, is not read";
                self.into.damaged(line.to_owned());
            }
        }
        let updates = self.dpkg_updates();
        if let Some(Some(status)) = status {
            self.has_one = true;
            self.into.enter(DPKG);
            if let Err(error) = dpkg::read_older(status, &updates, self.into) {
                self.into.unreadable(&error);
            }
        }
        updates.add(self.into);
    }

    /// The changes that dpkg was interrupted in.
    fn dpkg_updates(&mut self) -> Updates {
        let mut updates = Updates::default();
        let names = self.tree.names(DPKG_UPDATES);
        let names = self.tell(DPKG_UPDATES, names).unwrap_or_default();
        let is_change = |name: &String| name.bytes().all(|byte| byte.is_ascii_digit());
        let mut names: Vec<String> = names.into_iter().filter(is_change).collect();
        names.sort_by_key(|name| name.len());
        if names.first().map(String::len) != names.last().map(String::len) {
            self.into
                .damaged("changes have names of different lengths, which dpkg refuses".to_owned());
        }
        if names.len() > MAX_UPDATES {
            self.into.damaged(format!("only {MAX_UPDATES} of {} changes are applied", names.len()));
        }
        for name in names.iter().take(MAX_UPDATES) {
            let path = format!("{DPKG_UPDATES}/{name}");
            let file = self.one(&path);
            if let Some(Some(file)) = self.tell(&path, file) {
                self.has_one = true;
                if let Err(error) = updates.take(&path, file, self.into) {
                    self.into.unreadable(&error);
                }
            }
        }
        updates
    }

    /// What `read` gives; why it cannot is told as being about `path`.
    fn tell<T>(&mut self, path: &str, read: FsResult<T>) -> Option<T> {
        self.into.enter(path);
        read.map_err(|error| self.into.unreadable(&error)).ok()
    }

    /// Reads the database at `path`, if there is one; says whether there may be more packages.
    fn database(&mut self, path: &str, format: DatabaseFormat, log: Option<&str>) -> bool {
        let node = self.tree.node(path);
        let node = self.tell(path, node);
        // What is there and cannot be read is told.
        self.has_one |= node != Some(None);
        let Some(Some(node)) = node else { return true };
        if self.seen.contains(&node) {
            return true;
        }
        let file = self.tree.open(path);
        let Some(Some(file)) = self.tell(path, file) else { return true };
        // One of many files of one package each is in one place.
        if format != DatabaseFormat::Pacman {
            self.seen.insert(node);
        }
        let log = log.and_then(|path| {
            let log = self.tree.open(path);
            self.tell(path, log).flatten()
        });
        self.into.enter(path);
        database::read(format, file, log, self.into)
    }

    /// Reads a database for each name in `folder` that `choose` takes: its path from there, and its form.
    fn each_file(
        &mut self,
        folder: &str,
        choose: impl Fn(&str) -> Option<(String, DatabaseFormat)>,
    ) {
        let names = self.tree.names(folder);
        let Some(names) = self.tell(folder, names) else { return };
        if names.len() > MAX_FILES {
            self.into.damaged(format!("only {MAX_FILES} of {} names are looked at", names.len()));
        }
        for (path, format) in names.iter().take(MAX_FILES).filter_map(|name| choose(name)) {
            let path = format!("{folder}/{path}");
            let file = self.one(&path);
            match self.tell(&path, file) {
                Some(Some(_)) if !self.database(&path, format, None) => return,
                Some(None) => self.into.damaged("the file of a package is missing".to_owned()),
                _ => {}
            }
        }
    }

    /// The file of one package at `path`; `None` if there is none.
    ///
    /// # Errors
    /// `Refused` if it is larger than any, or why it cannot be opened.
    fn one(&self, path: &str) -> FsResult<Option<Arc<dyn FileData>>> {
        let Some(file) = self.tree.open(path)? else { return Ok(None) };
        let size = file.size();
        if size > MAX_FILE {
            let line = format!("file has {size} bytes; at most {MAX_FILE} are looked at");
            return Err(FsError::new(FsErrorKind::Refused, line));
        }
        Ok(Some(file))
    }

    /// Reads the database of RPM in `folder`.
    fn rpm(&mut self, folder: &str) {
        let mut has_one = false;
        for (name, format) in RPM_FILES {
            let path = format!("{folder}/{name}");
            let kind = self.tree.kind(&path);
            let Some(Some(_)) = self.tell(&path, kind) else { continue };
            if has_one {
                let line = "an older database beside the newer one is not read";
                self.into.damaged(line.to_owned());
                continue;
            }
            has_one = true;
            self.note_journal(&format!("{path}-journal"));
            let log = format!("{path}-wal");
            let log = (format == DatabaseFormat::RpmSqlite).then_some(log.as_str());
            self.database(&path, format, log);
        }
    }

    /// Tells of a journal by which a change would be taken back, which is not done.
    fn note_journal(&mut self, path: &str) {
        let journal = self.tree.open(path);
        if let Some(Some(journal)) = self.tell(path, journal) {
            let mut magic = [0; 8];
            let read = journal.read_at(0, &mut magic);
            if self.tell(path, read) == Some(8) && magic == JOURNAL_MAGIC {
                let line = "a change of the database was not finished, and is not taken back";
                self.into.damaged(line.to_owned());
            }
        }
    }
}

/// How a rollback journal of SQLite begins. Specification: "Database File Format", 3.
const JOURNAL_MAGIC: [u8; 8] = [0xD9, 0xD5, 0x05, 0xF9, 0x20, 0xA1, 0x63, 0xD7];
