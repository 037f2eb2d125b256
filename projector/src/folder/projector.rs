//! The trait of all ways to show volumes as a folder, and what they are asked for.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use volfold_fs::links::VolumeNames;
use volfold_fs::{TreeVolume, VolumeTree};

use crate::error::ProjectResult;
use crate::log::Log;
use crate::mount::Mount;

/// Whose files the folder shows.
#[cfg(target_os = "linux")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
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
#[non_exhaustive]
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
#[non_exhaustive]
pub enum Access {
    /// The user who mounted.
    #[default]
    Me,
    /// All users.
    Everyone,
    /// The users whom the guest's own descriptors let in, where the file system has them.
    Guest,
}

/// Where the volumes appear.
#[cfg(windows)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Place {
    /// As directories of the folder.
    #[default]
    Folder,
    /// The same, and known to the Mount Manager; needs an administrator.
    MountManager,
    /// One volume as a drive with this letter.
    Letter(char),
}

/// What puts volumes of a tree in the places of directories.
pub type Arrange = Arc<dyn Fn(&mut VolumeTree) + Send + Sync>;

/// How volumes are shown.
#[derive(Clone)]
#[non_exhaustive]
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
    /// Every volume of the guest is a volume of the host for itself.
    #[cfg(windows)]
    pub each: bool,
    /// What the set is called, where the host shows a label.
    pub label: String,
    /// What tells the set from others, where the host shows a serial number.
    pub serial: u32,
    /// What links of the guest call the volumes of the set.
    pub volumes: VolumeNames,
    /// What is done to the tree of the volumes before it is shown: volumes may be put in the places of
    /// directories. Volumes that are shown each for itself are not asked.
    pub arrange: Option<Arrange>,
    /// The volume that the folder itself shows; without one every volume is a directory in it.
    pub root: Option<Vec<u8>>,
    /// Threads that answer requests; 0: 2 or more, by the number of CPUs.
    pub threads: usize,
    /// Where lines about failed requests go.
    pub log: Log,
}

impl MountOptions {
    /// The defaults of this host for volumes of `source`, with `log` for failed requests.
    pub fn new(source: impl Into<String>, log: Log) -> Self {
        Self {
            source: source.into(),
            #[cfg(target_os = "linux")]
            ownership: Ownership::default(),
            #[cfg(target_os = "linux")]
            links: Links::default(),
            #[cfg(target_os = "linux")]
            allow_other: false,
            #[cfg(windows)]
            access: Access::default(),
            #[cfg(windows)]
            place: Place::default(),
            #[cfg(windows)]
            each: false,
            label: String::new(),
            serial: 0,
            volumes: VolumeNames::default(),
            arrange: None,
            root: None,
            threads: 0,
            log,
        }
    }

    /// The tree of `volumes`, arranged.
    pub(crate) fn tree(&self, volumes: Vec<TreeVolume>) -> VolumeTree {
        let mut tree = VolumeTree::new(volumes);
        if let Some(arrange) = &self.arrange {
            arrange(&mut tree);
        }
        tree
    }
}

/// A way to show volumes on the host.
pub trait Projector: Send + Sync {
    /// The lower-case name: `fuse`.
    fn id(&self) -> &'static str;

    /// Whether the host has what it takes.
    fn is_available(&self) -> bool {
        true
    }

    /// What a user should know of the way itself before it is used.
    fn warning(&self) -> Option<String> {
        None
    }

    /// Shows each of `volumes` as a directory in `folder`, which must exist and be empty, or one of them
    /// as the folder itself.
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

    /// Removes what a mount at `folder` left whose process died, or the machine with it: what can only
    /// be of a mount, and empty directories called as `volumes`, which a record says were shown there.
    /// How many there were.
    fn clear_leftovers(&self, _folder: &Path, _volumes: &[String]) -> usize {
        0
    }

    /// Whether `folder` shows volumes of ours now, or did until its process died.
    ///
    /// # Errors
    /// If the host does not tell.
    fn is_mounted(&self, folder: &Path) -> ProjectResult<bool>;

    /// Whether `folder` shows volumes of ours where the process `pid` sees it, as in a container
    /// with mounts of its own.
    fn is_mounted_in(&self, _pid: u32, _folder: &Path) -> bool {
        false
    }

    /// Processes that see what is mounted at `folder` among mounts of their own, one for each such
    /// set of mounts; they hold it when it is freed here.
    fn holders(&self, _folder: &Path) -> Vec<u32> {
        Vec::new()
    }

    /// The folders that show volumes of ours now, as far as the host tells.
    fn mounted(&self) -> Vec<PathBuf> {
        Vec::new()
    }
}
