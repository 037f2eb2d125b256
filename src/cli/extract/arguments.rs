//! What `extract` is asked for.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{ArgGroup, Args, ValueEnum};

#[cfg(unix)]
use super::keep::KeepArguments;
use crate::cli::set::TreeArguments;

/// Copy files out of the images, with their times and holes
#[derive(Args)]
#[command(group = ArgGroup::new("existing").multiple(true).args(["merge", "resume"]))]
#[command(after_help = "\
Examples:
  volfold extract disk.vmdk -o saved
  volfold extract disk.vmdk -p /System/Users/a -p /System/Users/b -o saved
  volfold extract disk.vmdk -o saved --resume
  volfold extract disk.vmdk -p /linux --tar - | tar -xf - -C restored

The folder must be new or empty, unless --merge or --resume is given. What is at /System/Users/a
comes out as saved/System/Users/a. A file has its name when it is whole: until then it is called
.volfold-*.part. Symbolic links lead where the guest means, and never out of its volumes; where the
host makes none, their number is told. Device nodes, pipes and sockets are named on stderr and left
out, as is what cannot be read; the exit code is then 3. Links that are left out count for it only if
--links asked for them. Links in PATH are followed: what is copied has its own place.")]
pub(crate) struct ExtractArguments {
    /// Disk images that belong together, or a folder with them
    #[arg(required = true, value_name = "DISK")]
    pub(super) disks: Vec<PathBuf>,
    /// What to copy: /<volume>/dir; may be given several times, without it everything
    #[arg(short, long, value_name = "PATH")]
    pub(super) path: Vec<OsString>,
    /// Also copy alternate streams, as files FILE:STREAM beside their file
    #[arg(long)]
    pub(super) streams: bool,
    /// Where to: a new or empty folder
    #[arg(short, long, value_name = "FOLDER", required_unless_present = "tar")]
    pub(super) output: Option<PathBuf>,
    /// Write a tar archive (POSIX, with owners, modes and extended attributes) to this new file, or
    /// to stdout for `-`
    #[arg(long, value_name = "FILE", conflicts_with_all = ["output", "merge", "resume"])]
    pub(super) tar: Option<PathBuf>,
    /// Copy into a folder that is not empty; what is there already is kept, and named
    #[arg(long)]
    pub(super) merge: bool,
    /// With --merge or --resume: replace files that are there already
    #[arg(long, requires = "existing")]
    pub(super) overwrite: bool,
    /// Go on in a folder that a run left which was stopped: files that are there with the same size
    /// and time are whole
    #[arg(long)]
    pub(super) resume: bool,
    /// What symbolic links become
    ///
    /// Without the option: guest, as far as the host makes symbolic links
    #[arg(long, value_enum, value_name = "STYLE")]
    pub(super) links: Option<LinkStyle>,
    #[cfg(unix)]
    #[command(flatten)]
    pub(super) keep: KeepArguments,
    #[command(flatten)]
    pub(super) set: TreeArguments,
}

impl ExtractArguments {
    /// Whether an archive is to hold copies in the place of links, which it does not.
    pub(crate) fn copies_links_into_an_archive(&self) -> bool {
        self.tar.is_some() && self.links == Some(LinkStyle::Files)
    }
}

/// What symbolic links become.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum LinkStyle {
    /// Links that lead where the guest means, and never out of its volumes
    Guest,
    /// Copies of the files and folders that they lead to
    Files,
    /// Links as they are stored
    #[cfg(unix)]
    Raw,
    /// Nothing
    Hide,
}
