//! What is written down of a mount, so that other processes of the user find it.
//!
//! One JSON file per mount, in a folder that only the user can enter.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use volfold_projector::process::{ImageFiles, open_writable, state_folder, state_folders};

use super::paths::plain_path;

/// LIMIT: links that are followed on the way to a folder, as in Linux.
const MAX_LINKS: usize = 40;

/// One mount.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct MountRecord {
    /// Where the volumes are.
    pub(crate) folder: PathBuf,
    /// The images as the user named them, made absolute.
    pub(crate) images: Vec<PathBuf>,
    /// The names of the volumes.
    pub(crate) volumes: Vec<String>,
    /// The process that answers.
    pub(crate) pid: u32,
    /// Where its messages go; `None` in the foreground.
    pub(crate) log: Option<PathBuf>,
    /// Whether the folder was made for the mount and goes with it.
    pub(crate) remove_folder: bool,
    /// Whether it is there for loop devices alone.
    #[serde(default)]
    pub(crate) attached: bool,
}

/// `folder` without regard to case where the host has none.
fn same_case(folder: &Path) -> PathBuf {
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
        let state = state_folder()?;
        let stem = stem(&self.folder);
        let new = state.join(format!("{stem}.new"));
        let mut options = OpenOptions::new();
        let mut file = open_writable(
            &new,
            options.write(true).create(true).truncate(false),
            &ImageFiles::default(),
        )?;
        file.set_len(0)?;
        file.write_all(&serde_json::to_vec_pretty(self)?)?;
        fs::rename(new, state.join(format!("{stem}.json")))
    }

    /// Removes the record, and the folder that was made for the mount.
    pub(crate) fn clear(&self) {
        for state in state_folders() {
            let _ = fs::remove_file(state.join(format!("{}.json", stem(&self.folder))));
        }
        if self.remove_folder {
            // Only an empty folder goes, and what is in it now is not ours.
            let _ = fs::remove_dir(&self.folder);
        }
    }

    /// The record of the mount at `folder`.
    pub(crate) fn of(folder: &Path) -> Option<Self> {
        let name = format!("{}.json", stem(folder));
        let files = state_folders().into_iter().map(|state| state.join(&name));
        let mut records =
            files.filter_map(|file| serde_json::from_slice(&fs::read(file).ok()?).ok());
        records.find(|record: &Self| same_case(&record.folder) == same_case(folder))
    }

    /// All records of this user, sorted by folder.
    pub(crate) fn all() -> Vec<Self> {
        let entries = state_folders().into_iter().filter_map(|state| fs::read_dir(state).ok());
        let mut records: Vec<Self> = entries
            .flatten()
            .flatten()
            .filter(|entry| entry.path().extension().is_some_and(|extension| extension == "json"))
            .filter_map(|entry| serde_json::from_slice(&fs::read(entry.path()).ok()?).ok())
            .collect();
        records.sort_by(|a, b| a.folder.cmp(&b.folder));
        records
    }
}
