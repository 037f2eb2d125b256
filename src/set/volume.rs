//! The volumes of a set.

use std::sync::{Arc, OnceLock, Weak};

use volfold_fs::{
    DeletedTree, FileSystem, FileSystemDriver, FsError, FsErrorKind, FsResult, Identity,
    ReadOptions, VolumeReader,
};

use crate::files::{DeviceReader, GuestPath, SetTree};
use crate::volume::{Membership, Volume, VolumeType};

/// What ends the name of a volume that shows what was deleted on it.
const DELETED: &str = "@deleted";

/// One volume of the set, and the way into its file system.
#[non_exhaustive]
pub struct SetVolume {
    /// How it lies on its disks.
    pub volume: Volume,
    /// The name of its folder, unique in the set.
    pub name: String,
    /// What tells it from others; empty where no driver knows the file system.
    pub identity: Identity,
    /// Why it cannot be shown, `None` if a driver knows it.
    pub reason: Option<String>,
    pub(super) is_left_out: bool,
    pub(super) driver: Option<&'static dyn FileSystemDriver>,
    pub(super) reader: VolumeReader,
    pub(super) options: ReadOptions,
    /// Whether it shows what was deleted, in place of what is there.
    pub(super) is_deleted: bool,
    /// The letter that the system on the set gives it, with its colon.
    pub(super) letter: Option<String>,
    /// What systems on the set call it in the directories that stand for it: `Volume{...}`.
    pub(super) called: Vec<String>,
    /// The file system, once it is opened for all.
    pub(super) opened: OnceLock<Arc<dyn FileSystem>>,
    /// The tree of the set that the volume is of.
    pub(super) tree: OnceLock<Weak<SetTree>>,
}

impl SetVolume {
    /// Its id, whatever the order of the arguments.
    pub fn id(&self) -> &str {
        &self.volume.id.0
    }

    /// Whether `name` is its folder name, its id, what Windows calls it (`C:`, `Volume{...}`), or what
    /// Linux calls it (`vg/lv`, which two groups of one name may both have), without regard to case: no two
    /// volumes of a set have folder names or ids that differ in case only.
    pub fn is_called(&self, name: &str) -> bool {
        let folded = name.to_lowercase();
        let plain = self.name.strip_suffix(DELETED).filter(|_| self.is_deleted);
        self.name.to_lowercase() == folded
            || plain.is_some_and(|plain| plain.to_lowercase() == folded)
            || self.id().to_lowercase() == folded
            || self.guest_names().iter().any(|own| own.eq_ignore_ascii_case(name))
            || self.group_name().is_some_and(|own| own.to_lowercase() == folded)
    }

    /// What Linux calls a logical volume: `vg/lv`.
    pub fn group_name(&self) -> Option<String> {
        let of = |membership: &Membership| format!("{}/{}", membership.group, membership.name);
        let is_logical = self.volume.kind == VolumeType::Logical;
        self.volume.membership.as_ref().filter(|_| is_logical).map(of)
    }

    /// Whether its label is `label`, without regard to case.
    pub(super) fn has_label(&self, label: &str) -> bool {
        let own = self.identity.label.as_ref();
        own.is_some_and(|own| own.to_lowercase() == label.to_lowercase())
    }

    /// Shows what was deleted from now on, and is called so.
    pub(super) fn show_deleted(&mut self) {
        self.is_deleted = true;
        self.name.push_str(DELETED);
        self.opened = OnceLock::new();
    }

    /// Opens the file system for all who want it from now on.
    pub(super) fn open(&self) -> FsResult<Arc<dyn FileSystem>> {
        let files = self.file_system()?;
        Ok(self.opened.get_or_init(|| files).clone())
    }

    /// Whether there are files, or may well be, that are not shown: its file system is damaged,
    /// locked, or known and not read by this build. A volume of which nothing is known has a reason
    /// too, and so has swap space, but nothing is left out there.
    pub fn is_left_out(&self) -> bool {
        self.is_left_out
    }

    /// What Windows calls the volume in links, as far as the disks tell: `C:` where a system on the set
    /// or a manager keeps the letter, and `Volume{...}` with the GUID that a system on the set has for it, or
    /// that of a GPT partition or dynamic volume, or the one that Windows 10 and later make of an MBR's
    /// signature and the partition's first byte.
    pub fn guest_names(&self) -> Vec<String> {
        let Volume { id, hint, kind, partition, .. } = &self.volume;
        let letter = hint
            .as_deref()
            .filter(|hint| matches!(hint.as_bytes(), [letter] if letter.is_ascii_alphabetic()));
        let (_, own) = id.0.split_once(':').unwrap_or_default();
        let guid = match (kind, partition) {
            (VolumeType::Gpt | VolumeType::Encrypted, Some(partition)) => {
                partition.guid.map(|guid| guid.to_string())
            }
            (VolumeType::Basic, Some(partition)) => own.split_once('-').map(|(signature, _)| {
                let [a, b, c, d, e, f, g, h] = partition.start.to_le_bytes();
                format!(
                    "{signature}-0000-0000-{a:02x}{b:02x}-\
                     {c:02x}{d:02x}{e:02x}{f:02x}{g:02x}{h:02x}"
                )
            }),
            (VolumeType::Dynamic, _) => Some(own.to_owned()),
            _ => None,
        };
        let letter = self.letter.clone().or(letter.map(|letter| format!("{letter}:")));
        let guid = guid.map(|guid| format!("Volume{{{guid}}}"));
        let mut names: Vec<String> = letter.into_iter().chain(guid).collect();
        for called in &self.called {
            if !names.iter().any(|name| name.eq_ignore_ascii_case(called)) {
                names.push(called.clone());
            }
        }
        names
    }

    /// The path `below` in the volume: `/Windows/win.ini`.
    ///
    /// # Errors
    /// Why the volume has no files, or `Refused` when its set was dropped.
    pub fn path(&self, below: impl AsRef<[u8]>) -> FsResult<GuestPath> {
        if let Some(reason) = &self.reason {
            return Err(FsError::unsupported(format!(
                "volume {} has no files: {reason}",
                self.name
            )));
        }
        let tree = self.tree.get().and_then(Weak::upgrade);
        let tree = tree.ok_or_else(|| {
            FsError::new(FsErrorKind::Refused, "the set of the volume was closed")
        })?;
        Ok(GuestPath::new(tree, [b"/", self.name.as_bytes()].concat()).join(below))
    }

    /// The bytes of the volume as a stream.
    pub fn reader(&self) -> DeviceReader {
        DeviceReader::new(self.volume.device.clone())
    }

    /// Opens the file system.
    ///
    /// # Errors
    /// `Unsupported` where no driver knows it, or why its structures cannot be read.
    pub fn file_system(&self) -> FsResult<Arc<dyn FileSystem>> {
        if let Some(opened) = self.opened.get() {
            return Ok(opened.clone());
        }
        match self.driver {
            Some(driver) => {
                let files = driver.mount(self.reader.clone(), self.options.clone())?;
                if self.is_deleted { Ok(Arc::new(DeletedTree::new(files)?)) } else { Ok(files) }
            }
            None => Err(FsError::unsupported(
                self.reason.clone().unwrap_or_else(|| "no known file system".to_owned()),
            )),
        }
    }
}
