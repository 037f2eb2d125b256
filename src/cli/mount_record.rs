//! What is written down of a mount, so that other processes of the user find it.
//!
//! One JSON file per mount, in a folder that only the user can enter.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use volfold_projector::Projector;
use volfold_projector::block::raw;
use volfold_projector::process::{self, ImageFiles, Owner};
use volfold_projector::process::{open_writable, state_folder, state_folders};

use super::paths::{is_letter, plain_path};

/// LIMIT: links that are followed on the way to a folder, as in Linux.
const MAX_LINKS: usize = 40;

/// LIMIT: bytes of what is written down of one mount; those of a thousand volumes have room.
const MAX_RECORD: u64 = 16 << 20;

/// One mount.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct MountRecord {
    /// Where the volumes are.
    pub(crate) folder: PathBuf,
    /// The images as the user named them, made absolute.
    pub(crate) images: Vec<PathBuf>,
    /// The names of the volumes.
    pub(crate) volumes: Vec<String>,
    /// What programs may use for each of them: its folder, and other names of it.
    #[serde(default)]
    pub(crate) paths: BTreeMap<String, Vec<String>>,
    /// The process that answers.
    pub(crate) pid: u32,
    /// Where its messages go; `None` in the foreground.
    pub(crate) log: Option<PathBuf>,
    /// Whether the folder was made for the mount and goes with it.
    pub(crate) remove_folder: bool,
    /// Whether it is there for block devices alone.
    #[serde(default)]
    pub(crate) attached: bool,
    /// Where this was read; `None` for what this process writes down itself.
    #[serde(skip)]
    pub(crate) file: Option<PathBuf>,
}

/// What is written down in `file`; `None` where that is no file, or wrong, or too large.
pub(crate) fn read_json<T: DeserializeOwned>(file: &Path) -> Option<T> {
    // A pipe would not answer, and a link leads anywhere.
    fs::symlink_metadata(file).ok()?.is_file().then_some(())?;
    let mut bytes = Vec::new();
    let read = File::open(file).ok()?.take(MAX_RECORD + 1).read_to_end(&mut bytes).ok()?;
    (u64::try_from(read).ok()? <= MAX_RECORD).then_some(())?;
    serde_json::from_slice(&bytes).ok()
}

/// `folder` without regard to case where the host has none.
pub(crate) fn same_case(folder: &Path) -> PathBuf {
    match folder.to_str() {
        Some(text) if cfg!(windows) => PathBuf::from(text.to_lowercase()),
        _ => folder.to_path_buf(),
    }
}

/// A file name for the mount at `folder`: FNV-1a of its path.
fn stem(folder: &Path) -> String {
    let mut hash: u64 = 0xCBF2_9CE4_8422_2325;
    for byte in same_case(folder).as_os_str().as_encoded_bytes() {
        hash = (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01B3);
    }
    format!("{hash:016x}")
}

/// The log file of the mount at `folder`.
///
/// # Errors
/// As [`state_folder`].
pub(crate) fn log_file(folder: &Path) -> io::Result<PathBuf> {
    Ok(state_folder()?.join(format!("{}.log", stem(folder))))
}

/// The record that this process writes of its mount at `folder`.
fn own_file(folder: &Path) -> io::Result<PathBuf> {
    Ok(state_folder()?.join(format!("{}.json", stem(folder))))
}

/// The folder that `path` means, by way of links too. Only the links are asked: a dead mount would not
/// answer. On Windows a mounted folder is a link itself.
pub(crate) fn mount_folder(path: &Path) -> PathBuf {
    let mut folder = plain_path(path);
    let links = if cfg!(windows) { 0 } else { MAX_LINKS };
    for _ in 0..links {
        let Ok(target) = fs::read_link(&folder) else {
            break;
        };
        let beside = folder.parent().map(Path::to_path_buf).unwrap_or_default();
        folder = plain_path(&beside.join(target));
    }
    folder
}

impl MountRecord {
    /// Writes the record, whole or not at all.
    ///
    /// # Errors
    /// If the host cannot write.
    pub(crate) fn write(&self) -> io::Result<()> {
        let file = own_file(&self.folder)?;
        let new = file.with_extension("new");
        let mut options = OpenOptions::new();
        let mut written = open_writable(
            &new,
            options.write(true).create(true).truncate(false),
            &ImageFiles::default(),
        )?;
        written.set_len(0)?;
        written.write_all(&serde_json::to_vec_pretty(self)?)?;
        fs::rename(new, file)
    }

    /// Where it is written down.
    fn file(&self) -> Option<PathBuf> {
        self.file.clone().or_else(|| own_file(&self.folder).ok())
    }

    /// Removes the record from where it was read or written, and the folder that was made for the
    /// mount; not what another process wrote in its place since.
    pub(crate) fn clear(&self) {
        if let Some(file) = self.file() {
            match read_json::<Self>(&file) {
                Some(other) if other.pid != self.pid => return,
                _ => drop(fs::remove_file(file)),
            }
        }
        if self.remove_folder {
            // Only an empty folder goes, and what is in it now is not ours.
            let _ = fs::remove_dir(&self.folder);
        } else if cfg!(windows) && !self.attached && !is_letter(&self.folder) {
            // WinFsp takes the place of the user's folder, and a killed process did not make it anew.
            let _ = fs::create_dir(&self.folder);
        }
    }

    /// Whether the process of the mount lives.
    pub(crate) fn is_alive(&self) -> bool {
        match self.written() {
            Some(since) => process::is_running_since(self.pid, since),
            None => process::is_running(self.pid),
        }
    }

    /// When the record was written, which was after its process began.
    fn written(&self) -> Option<SystemTime> {
        fs::metadata(self.file()?).ok()?.modified().ok()
    }

    /// The record of the mount at `folder`.
    pub(crate) fn of(folder: &Path) -> Option<Self> {
        FoundRecord::of(folder).map(|found| found.record)
    }

    /// The same, of those in the folder `records` alone: what the service believes.
    #[cfg(windows)]
    pub(crate) fn in_folder(records: &Path, folder: &Path) -> Option<Self> {
        let records = vec![(Owner::Service, records.to_path_buf())];
        FoundRecord::first_of(records, folder).map(|found| found.record)
    }

    /// Whether it is a mount of these images, in this order, whatever way they are written.
    #[cfg(windows)]
    pub(crate) fn is_of(&self, images: &[PathBuf]) -> bool {
        let plain = |image: &PathBuf| same_case(&plain_path(image));
        self.images.iter().map(plain).eq(images.iter().map(plain))
    }

    /// All records of this user, sorted by folder.
    pub(crate) fn all() -> Vec<Self> {
        let own = own_state_folders().into_iter().flat_map(FoundRecord::in_folder);
        let mut records: Vec<Self> = own.map(|found| found.record).collect();
        records.sort_by(|a, b| a.folder.cmp(&b.folder));
        records
    }
}

/// Where the volumes of the set of `images` are now: for each volume the names that programs may use.
pub(crate) fn mounted_paths(images: &[PathBuf]) -> BTreeMap<String, Vec<String>> {
    let sorted = |images: &[PathBuf]| {
        let mut images: Vec<PathBuf> =
            images.iter().map(|image| same_case(&plain_path(image))).collect();
        images.sort();
        images
    };
    let wanted = sorted(images);
    let mut all: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for FoundRecord { record, owner } in FoundRecord::all() {
        // What another user wrote down is not to be believed.
        let is_strange = matches!(owner, Owner::Other(_));
        if is_strange || record.attached || sorted(&record.images) != wanted || !record.is_alive() {
            continue;
        }
        for (name, paths) in record.paths {
            all.entry(name).or_default().extend(paths);
        }
    }
    all
}

/// A record, and whose it is.
pub(crate) struct FoundRecord {
    pub(crate) record: MountRecord,
    pub(crate) owner: Owner,
}

impl FoundRecord {
    /// All records that this user may read, sorted by folder; an administrator may read those of
    /// others.
    pub(crate) fn all() -> Vec<Self> {
        let mut found: Vec<Self> =
            all_state_folders().into_iter().flat_map(Self::in_folder).collect();
        found.sort_by(|a, b| a.record.folder.cmp(&b.record.folder));
        found
    }

    /// The record of the mount at `folder`; this user's comes first.
    pub(crate) fn of(folder: &Path) -> Option<Self> {
        Self::first_of(all_state_folders(), folder)
    }

    fn first_of(states: Vec<(Owner, PathBuf)>, folder: &Path) -> Option<Self> {
        let name = format!("{}.json", stem(folder));
        let mut found =
            states.into_iter().filter_map(|(owner, state)| Self::read(owner, &state.join(&name)));
        found.find(|found| same_case(&found.record.folder) == same_case(folder))
    }

    fn in_folder((owner, state): (Owner, PathBuf)) -> Vec<Self> {
        let entries = fs::read_dir(state).into_iter().flatten().flatten();
        let files = entries.map(|entry| entry.path());
        files
            .filter(|file| file.extension().is_some_and(|extension| extension == "json"))
            .filter_map(|file| Self::read(owner.clone(), &file))
            .collect()
    }

    fn read(owner: Owner, file: &Path) -> Option<Self> {
        let record = MountRecord { file: Some(file.to_path_buf()), ..read_json(file)? };
        Some(Self { record, owner })
    }

    /// Whether another user wrote it, who may have written anything.
    pub(crate) fn is_of_other(&self) -> bool {
        matches!(self.owner, Owner::Other(_))
    }

    /// The file that tells the service that its mount was freed and is not to be mounted again.
    #[cfg(windows)]
    pub(crate) fn freed_marker(&self) -> Option<PathBuf> {
        Some(self.record.file.as_ref()?.with_extension(FREED))
    }
}

/// The extension of [`FoundRecord::freed_marker`].
#[cfg(windows)]
pub(crate) const FREED: &str = "freed";

/// Where [`FoundRecord::freed_marker`] is for a mount at `folder` of which `records` tells.
#[cfg(windows)]
pub(crate) fn freed_marker_in(records: &Path, folder: &Path) -> PathBuf {
    records.join(stem(folder)).with_extension(FREED)
}

fn own_state_folders() -> Vec<(Owner, PathBuf)> {
    state_folders().into_iter().map(|folder| (process::own_kind(), folder)).collect()
}

fn all_state_folders() -> Vec<(Owner, PathBuf)> {
    let mut folders = own_state_folders();
    folders.extend(process::state_folders_of_others());
    folders
}

/// Removes what a mount at `folder` left whose process died, and its record; how many things there
/// were. Nothing may be mounted there. What another user wrote down is not believed.
pub(crate) fn clear_leftovers(projector: &dyn Projector, folder: &Path) -> usize {
    let found = FoundRecord::of(folder).filter(|found| !found.is_of_other());
    clear_left(projector, folder, found.map(|found| found.record).as_ref())
}

/// As [`clear_leftovers`], of which `record` tells.
pub(crate) fn clear_left(
    projector: &dyn Projector,
    folder: &Path,
    record: Option<&MountRecord>,
) -> usize {
    let dead = record.filter(|record| !record.attached && !record.is_alive());
    let mut volumes = dead.map(|record| record.volumes.clone()).unwrap_or_default();
    if dead.is_some() {
        volumes.push(raw::FOLDER.to_owned());
    }
    let cleared = projector.clear_leftovers(folder, &volumes);
    if let Some(record) = dead {
        record.clear();
    }
    cleared + usize::from(dead.is_some())
}
