//! Where the databases of a system are.

use std::collections::HashSet;

use volfold_fs::{FileKind, FsError, FsErrorKind, FsResult, NodeId};

use super::collector::Collector;
use super::database::{self, DatabaseFormat};
use crate::guest::merged::MergedTree;

/// LIMIT: files of one directory that are read; the largest systems have some ten thousand packages.
const MAX_FILES: usize = 100_000;

/// LIMIT: bytes of a file with one package; real ones have less than 64 KiB.
const MAX_FILE: u64 = 1 << 20;

const DPKG: &str = "/var/lib/dpkg/status";
const DPKG_FOLDER: &str = "/var/lib/dpkg/status.d";
const APK: [&str; 2] = ["/lib/apk/db/installed", "/usr/lib/apk/db/installed"];
const PACMAN: &str = "/var/lib/pacman/local";
const RPM: [&str; 3] = ["/usr/lib/sysimage/rpm", "/var/lib/rpm", "/usr/share/rpm"];

/// The databases of RPM in one directory; of several the first is what RPM itself uses.
const RPM_FILES: [(&str, DatabaseFormat); 3] = [
    ("rpmdb.sqlite", DatabaseFormat::RpmSqlite),
    ("Packages.db", DatabaseFormat::RpmNdb),
    ("Packages", DatabaseFormat::RpmBerkeley),
];

/// Reads the databases of a tree.
pub(super) struct Places<'a> {
    pub(super) tree: &'a MergedTree,
    pub(super) into: &'a mut Collector,
    /// The databases that were read: links lead to one by several paths.
    pub(super) seen: HashSet<NodeId>,
}

impl Places<'_> {
    pub(super) fn read(&mut self) {
        self.database(DPKG, DatabaseFormat::Dpkg, None);
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
    }

    /// What `read` gives; why it cannot is told as being about `path`.
    fn tell<T>(&mut self, path: &str, read: FsResult<T>) -> Option<T> {
        self.into.enter(path);
        read.map_err(|error| self.into.unreadable(&error)).ok()
    }

    /// Reads the database at `path`, if there is one; says whether there may be more packages.
    fn database(&mut self, path: &str, format: DatabaseFormat, log: Option<&str>) -> bool {
        let node = self.tree.node(path);
        let Some(Some(node)) = self.tell(path, node) else { return true };
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
            let is_there = self.is_one(&path);
            match self.tell(&path, is_there) {
                Some(true) if !self.database(&path, format, None) => return,
                Some(false) => self.into.damaged("the file of a package is missing".to_owned()),
                _ => {}
            }
        }
    }

    /// Whether there is a file of one package at `path`.
    ///
    /// # Errors
    /// `Refused` if it is larger than any, or why it cannot be opened.
    fn is_one(&self, path: &str) -> FsResult<bool> {
        let Some(file) = self.tree.open(path)? else { return Ok(false) };
        let size = file.size();
        if size > MAX_FILE {
            let line = format!("file has {size} bytes; at most {MAX_FILE} are looked at");
            return Err(FsError::new(FsErrorKind::Refused, line));
        }
        Ok(true)
    }

    /// Reads the database of RPM in `folder`.
    fn rpm(&mut self, folder: &str) {
        let mut has_one = false;
        for (name, format) in RPM_FILES {
            let path = format!("{folder}/{name}");
            let kind = self.tree.kind(&path);
            let Some(Some(FileKind::Regular)) = self.tell(&path, kind) else { continue };
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
