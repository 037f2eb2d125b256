//! The set of images that a command opens, and the arguments for it.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use volfold::{DiskSet, Incomplete, OpenOptions};
use volfold_block::error_chain;
use volfold_fs::{ReadOptions, VolumeTree};

use super::keys::Keys;
use super::outcome::Outcome;
use super::text;

/// What is said of a set on which nothing can be shown.
pub(crate) const NO_VOLUME: &str =
    "there is no readable volume; `volfold list` shows what was found";

/// How a set of images is opened; the same for every command that reads images.
#[derive(Args, Clone)]
pub(crate) struct SetArguments {
    /// Also let images name files (extents, parents) in this folder; may be given several times
    #[arg(long, value_name = "FOLDER", help_heading = "Images")]
    pub(crate) allow_path: Vec<PathBuf>,
    /// Bound of all caches together, in bytes or with K, M, G
    #[arg(long, value_name = "SIZE", default_value = "64M", value_parser = text::parse_size,
          help_heading = "Images")]
    pub(crate) cache_size: u64,
    /// Try the key in this file on locked volumes; may be given several times. No manager of this
    /// build knows a kind of lock yet, so it is not shown.
    #[arg(long, value_name = "FILE", hide = true)]
    pub(crate) key_file: Vec<PathBuf>,
}

impl SetArguments {
    /// Opens `disks` as one set and tells of those that cannot be opened. `None` if there are none
    /// left.
    pub(crate) fn open(&self, disks: &[PathBuf]) -> Option<(DiskSet, Outcome)> {
        open(disks, &self.options())
    }

    /// How the set is opened.
    pub(crate) fn options(&self) -> OpenOptions {
        let mut options = OpenOptions::default();
        options.allowed.clone_from(&self.allow_path);
        options.cache_size = self.cache_size;
        options.keys = Arc::new(Keys::new(self.key_file.clone()));
        options
    }
}

/// Opens `disks` as one set, and tells of those that cannot be opened.
fn open(disks: &[PathBuf], options: &OpenOptions) -> Option<(DiskSet, Outcome)> {
    let set = DiskSet::open(disks, options).unwrap_or_else(Incomplete::into_set);
    for failure in set.failures() {
        text::complain(format_args!("{}: {}", failure.path.display(), error_chain(&failure.error)));
    }
    if set.disks().is_empty() {
        return None;
    }
    let outcome = if set.failures().is_empty() { Outcome::Done } else { Outcome::Part };
    Some((set, outcome))
}

/// What all commands that look into volumes share.
#[derive(Args)]
pub(crate) struct TreeArguments {
    /// Also list the files that hold the file system itself (NTFS: $MFT and others)
    #[arg(long, help_heading = "Images")]
    pub(crate) system_files: bool,
    #[command(flatten)]
    pub(crate) set: SetArguments,
}

impl TreeArguments {
    /// How the set is opened.
    pub(crate) fn options(&self) -> OpenOptions {
        let mount = ReadOptions::default().with_system_files(self.system_files);
        let mut options = self.set.options();
        options.mount = mount;
        options
    }

    /// Opens `disks` as one set, with the tree of all readable volumes; tells of damaged ones.
    /// `None` if there is nothing to show.
    pub(crate) fn open_tree(&self, disks: &[PathBuf]) -> Option<(DiskSet, VolumeTree, Outcome)> {
        let (set, mut outcome) = open(disks, &self.options())?;
        for volume in set.volumes().iter().filter(|volume| volume.is_damaged()) {
            let reason = volume.reason.as_deref().unwrap_or_default();
            text::complain(format_args!("{}: {reason}", volume.volume.id));
            outcome = Outcome::Part;
        }
        if set.volumes().iter().all(|volume| volume.reason.is_some()) {
            text::complain(format_args!("{NO_VOLUME}"));
            return None;
        }
        let tree = set.tree(|_| true);
        Some((set, tree, outcome))
    }
}
