//! Shows a file system tree on the host.
//!
//! A [`Projector`] takes volumes, each a [`volfold_fs::FileSystem`], and makes a folder of them:
//! `fuse` on Linux, `winfsp` on Windows. It knows neither image formats nor partitions nor a
//! concrete backend.

// Only what calls functions of Windows holds `unsafe` blocks, and says so.
#![deny(unsafe_code)]

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use volfold_fs::TreeVolume;

pub use links::VolumeNames;

mod buffer;
pub mod export;
#[cfg(target_os = "linux")]
pub mod fuse;
pub mod iscsi;
#[cfg(any(target_os = "linux", windows))]
mod links;
#[cfg(target_os = "linux")]
pub mod loop_device;
pub mod names;
pub mod nbd;
pub mod overlay;
pub mod process;
pub mod raw;
#[cfg(windows)]
mod security;
pub mod serve;
#[cfg(any(target_os = "linux", windows))]
pub mod status;
#[cfg(windows)]
pub mod winfsp;

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
#[cfg(target_os = "linux")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ownership {
    /// The user who mounted, with modes 0444 and 0555.
    #[default]
    MountingUser,
    /// The guest's own users and modes where the file system has them.
    Guest,
}

/// What the guest's symbolic links become.
#[cfg(target_os = "linux")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Links {
    /// Links that lead where the guest means, made relative, and never out of their volume.
    #[default]
    Guest,
    /// Links with the target as it is stored; absolute ones then name places of the host.
    Raw,
    /// Nothing: links are left out.
    Hide,
}

/// Who may read the folder, beside SYSTEM and the administrators.
#[cfg(windows)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Access {
    /// The user who mounted.
    #[default]
    Me,
    /// Everybody.
    Everyone,
    /// Whoever the guest's own descriptors let, where the file system has them.
    Guest,
}

/// Where the volumes appear.
#[cfg(windows)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Place {
    /// As directories below the folder.
    #[default]
    Folder,
    /// The same, and known to the Mount Manager; needs an administrator.
    MountManager,
    /// One volume as a drive with this letter.
    Letter(char),
}

/// Takes one line for the log.
pub type Log = Arc<dyn Fn(&str) + Send + Sync>;

/// How volumes are shown.
#[derive(Clone)]
pub struct MountOptions {
    /// What `mount` and `df` call the source.
    pub source: String,
    /// Whose files the folder shows.
    #[cfg(target_os = "linux")]
    pub ownership: Ownership,
    /// What the guest's links become.
    #[cfg(target_os = "linux")]
    pub links: Links,
    /// Let other users of the host in.
    #[cfg(target_os = "linux")]
    pub allow_other: bool,
    /// Who may read.
    #[cfg(windows)]
    pub access: Access,
    /// Where the volumes appear.
    #[cfg(windows)]
    pub place: Place,
    /// What links of the guest call the volumes of the set.
    pub volumes: VolumeNames,
    /// Threads that answer requests; 0: what measured best.
    pub threads: usize,
    /// Where lines about failed requests go.
    pub log: Log,
}

/// A way to show volumes on the host.
pub trait Projector: Send + Sync {
    /// The lower-case name: `fuse`.
    fn id(&self) -> &'static str;

    /// What a user should know of the way itself before it is used.
    fn warning(&self) -> Option<String> {
        None
    }

    /// Shows each of `volumes` as a directory in `folder`, which must exist and be empty.
    ///
    /// # Errors
    /// Why the host does not do it.
    fn mount(
        &self,
        volumes: Vec<TreeVolume>,
        folder: &Path,
        options: &MountOptions,
    ) -> ProjectResult<Box<dyn Mount>>;

    /// Frees `folder`, whichever process mounted it; with `force` also while programs have files
    /// open in it, where the host makes a difference.
    ///
    /// # Errors
    /// `Busy`, `NotMounted`, or the host's reason.
    fn unmount(&self, folder: &Path, force: bool) -> ProjectResult<()>;

    /// Whether `folder` shows volumes of ours now, or did until its process died.
    ///
    /// # Errors
    /// If the host does not tell.
    fn is_mounted(&self, folder: &Path) -> ProjectResult<bool>;
}

/// Volumes that are shown.
pub trait Mount: Send {
    /// What frees the folder from another thread, whether programs have files open in it or not.
    fn stopper(&self) -> Box<dyn Fn() + Send + Sync>;

    /// Answers requests until the folder is freed.
    ///
    /// # Errors
    /// Why the host ended it.
    fn serve(self: Box<Self>) -> ProjectResult<()>;
}

/// Every projector of this build, the best first; none on hosts without.
pub static PROJECTORS: &[&dyn Projector] = &[
    #[cfg(target_os = "linux")]
    &fuse::Fuse,
    #[cfg(windows)]
    &winfsp::WinFsp,
];
