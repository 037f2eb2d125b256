//! The one error of this crate.

use std::fmt;

/// What every fallible call of this crate returns.
pub type ProjectResult<T> = Result<T, ProjectError>;

/// What the caller should do about a [`ProjectError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
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
