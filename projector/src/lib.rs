//! Shows a file system tree on the host.
//!
//! A [`Projector`] takes any [`FileSystem`] and makes a folder of it:
//! [`fuse`] on Linux. It knows neither image formats nor partitions nor a concrete backend.

// No file here holds an `unsafe` block; the Windows projector will need them in its own folder.
#![deny(unsafe_code)]

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use volfold_fs::FileSystem;

#[cfg(target_os = "linux")]
pub mod fuse;
pub mod names;
#[cfg(target_os = "linux")]
pub mod process;
#[cfg(target_os = "linux")]
pub mod status;

/// What every fallible call of this crate returns.
pub type ProjectResult<T> = Result<T, ProjectError>;

/// What the caller should do about a [`ProjectError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProjectErrorKind {
    /// The host has no way to show folders: no FUSE, no helper program.
    Unavailable,
    /// The folder cannot be used.
    Folder,
    /// The folder is in use.
    Busy,
    /// Nothing is mounted there.
    NotMounted,
    /// The host refused.
    Io,
}

/// Why a tree could not be shown or its folder not be freed.
#[derive(Debug)]
pub struct ProjectError {
    kind: ProjectErrorKind,
    message: String,
}

impl ProjectError {
    /// An error of `kind`; `message` has object, reason and next step.
    pub fn new(kind: ProjectErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }

    /// What the caller should do.
    pub fn kind(&self) -> ProjectErrorKind {
        self.kind
    }
}

impl fmt::Display for ProjectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for ProjectError {}

/// Whose files the folder shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ownership {
    /// The user who mounted, with modes 0444 and 0555.
    #[default]
    MountingUser,
    /// The guest's own users and modes where the file system has them.
    Guest,
}

/// Takes one line for the log.
pub type Log = Arc<dyn Fn(&str) + Send + Sync>;

/// How a tree is shown.
#[derive(Clone)]
pub struct MountOptions {
    /// What `mount` and `df` call the source.
    pub source: String,
    /// Whose files the folder shows.
    pub ownership: Ownership,
    /// Let other users of the host in.
    pub allow_other: bool,
    /// Threads that answer requests; 0: what measured best.
    pub threads: usize,
    /// Where lines about failed requests go.
    pub log: Log,
}

/// A way to show a tree on the host.
pub trait Projector: Send + Sync {
    /// The lower-case name: `fuse`.
    fn id(&self) -> &'static str;

    /// Shows `tree` at `folder`, which must exist and be empty.
    ///
    /// # Errors
    /// Why the host does not do it.
    fn mount(
        &self,
        tree: Arc<dyn FileSystem>,
        folder: &Path,
        options: &MountOptions,
    ) -> ProjectResult<Box<dyn Mount>>;

    /// Frees `folder`; with `force` also while programs have files open in it.
    ///
    /// # Errors
    /// `Busy`, `NotMounted`, or the host's reason.
    fn unmount(&self, folder: &Path, force: bool) -> ProjectResult<()>;

    /// The folders that show a tree of ours now, also those whose process has died.
    ///
    /// # Errors
    /// If the host does not tell.
    fn mounted(&self) -> ProjectResult<Vec<PathBuf>>;
}

/// A tree that is shown.
pub trait Mount: Send {
    /// Answers requests until the folder is freed.
    ///
    /// # Errors
    /// Why the host ended it.
    fn serve(self: Box<Self>) -> ProjectResult<()>;
}

/// Every projector of this build.
pub static PROJECTORS: &[&dyn Projector] = &[
    #[cfg(target_os = "linux")]
    &fuse::Fuse,
];
