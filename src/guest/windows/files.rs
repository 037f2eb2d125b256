//! Files of a guest by their paths, without regard to case.

use std::ops::{ControlFlow, Deref};
use std::sync::Arc;

use volfold_block::{Finding, FindingLog, code};
use volfold_fs::{
    CaseRule, DirCursor, FileData, FileSystem, FsError, FsErrorKind, FsResult, Name, NodeId,
    StreamName,
};

use crate::files::read_at_most;
use crate::guest::hive::Hive;

/// The files of a volume.
#[derive(Clone, Copy)]
pub(super) struct Files<'a> {
    pub(super) fs: &'a dyn FileSystem,
}

impl Files<'_> {
    /// The node at `path`, its parts separated by `/` or `\`; `None` if there is none.
    ///
    /// # Errors
    /// Why a directory on the way cannot be read.
    pub(super) fn find(&self, path: &str) -> FsResult<Option<NodeId>> {
        self.find_in(self.fs.root(), path)
    }

    /// The same below `dir`.
    ///
    /// # Errors
    /// As [`Files::find`].
    pub(super) fn find_in(&self, dir: NodeId, path: &str) -> FsResult<Option<NodeId>> {
        let mut node = dir;
        for part in path.split(['/', '\\']).filter(|part| !part.is_empty()) {
            match self.child(node, part)? {
                Some(child) => node = child,
                None => return Ok(None),
            }
        }
        Ok(Some(node))
    }

    fn child(&self, dir: NodeId, name: &str) -> FsResult<Option<NodeId>> {
        match self.fs.lookup(dir, Name::new(name)) {
            Ok(node) => Ok(Some(node)),
            Err(error) => match error.kind() {
                FsErrorKind::NotFound if self.fs.info().case == CaseRule::Sensitive => {
                    self.child_in_any_case(dir, name)
                }
                FsErrorKind::NotFound | FsErrorKind::NotADirectory | FsErrorKind::InvalidName => {
                    Ok(None)
                }
                _ => Err(error),
            },
        }
    }

    fn child_in_any_case(&self, dir: NodeId, name: &str) -> FsResult<Option<NodeId>> {
        let wanted = name.to_lowercase();
        let mut found = None;
        self.fs.read_dir(dir, DirCursor::START, &mut |entry| {
            if entry.name.to_text().to_lowercase() == wanted {
                found = Some(entry.node);
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        })?;
        Ok(found)
    }

    /// The content of the file at `path`; `None` if there is none.
    ///
    /// # Errors
    /// Why it cannot be opened.
    pub(super) fn open(&self, path: &str) -> FsResult<Option<Arc<dyn FileData>>> {
        match self.find(path)? {
            Some(node) => self.fs.open(node, &StreamName::MAIN).map(Some),
            None => Ok(None),
        }
    }

    /// All bytes of the file at `path`, of at most `limit`; `None` if there is none.
    ///
    /// # Errors
    /// `Refused` if it is larger, or why it cannot be read.
    pub(super) fn read(&self, path: &str, limit: u64) -> FsResult<Option<Vec<u8>>> {
        self.open(path)?.map(|file| read_at_most(&*file, limit)).transpose()
    }

    /// The hive at `path` with its logs; `None` if there is none, or if it cannot be opened, which
    /// is told. What the hive noticed is told too.
    pub(super) fn hive<'t>(&self, path: &str, told: &'t FindingLog) -> Option<ToldHive<'t>> {
        let note = Notes { path, told };
        let primary = note.or_none(self.open(path))?;
        let mut logs = Vec::new();
        for extension in ["LOG1", "LOG2", "LOG"] {
            match self.open(&format!("{path}.{extension}")) {
                Ok(log) => logs.extend(log),
                Err(error) => {
                    let line = format!("log {extension} cannot be opened: {error}");
                    told.add(Finding::warning(code::HIVE_LOG_DAMAGED, line).on_path(path));
                }
            }
        }
        let hive = note.or_none(Hive::open(primary, logs).map(Some))?;
        let hive = ToldHive { hive, path: path.to_owned(), told };
        hive.tell();
        Some(hive)
    }
}

/// A hive of which all is told that it notices, also while it is read.
pub(super) struct ToldHive<'t> {
    hive: Hive,
    path: String,
    told: &'t FindingLog,
}

impl ToldHive<'_> {
    fn tell(&self) {
        for finding in self.hive.findings() {
            self.told.add(finding.on_path(&self.path));
        }
    }
}

impl Deref for ToldHive<'_> {
    type Target = Hive;

    fn deref(&self) -> &Hive {
        &self.hive
    }
}

impl Drop for ToldHive<'_> {
    fn drop(&mut self) {
        self.tell();
    }
}

/// What is told about one file of the guest.
#[derive(Clone, Copy)]
pub(super) struct Notes<'a> {
    /// The path of the file.
    pub(super) path: &'a str,
    pub(super) told: &'a FindingLog,
}

impl Notes<'_> {
    /// What was asked for; where it cannot be read, that is told.
    pub(super) fn or_none<T>(&self, result: FsResult<Option<T>>) -> Option<T> {
        match result {
            Ok(found) => found,
            Err(error) => {
                self.unreadable(&error);
                None
            }
        }
    }

    /// Tells of what cannot be read.
    pub(super) fn unreadable(&self, error: &FsError) {
        let finding = Finding::error(code::GUEST_UNREADABLE, error.message().to_owned());
        let finding = match error.position() {
            Some(position) => finding.at(position),
            None => finding,
        };
        self.told.add(finding.on_path(self.path));
    }

    /// Tells of what should be there.
    pub(super) fn missing(&self, what: &str) {
        let line = format!("{what} is missing");
        self.told.add(Finding::warning(code::GUEST_INCOMPLETE, line).on_path(self.path));
    }

    /// Tells of what is there and makes no sense.
    pub(super) fn odd(&self, line: String) {
        self.told.add(Finding::warning(code::GUEST_INCOMPLETE, line).on_path(self.path));
    }
}
