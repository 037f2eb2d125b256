//! The command line: arguments, messages, exit codes.
//!
//! stdout is the answer, stderr is talk. The commands use the facade of the library alone.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, CommandFactory, Parser, Subcommand};
use volfold::{DiskSet, OpenOptions};
use volfold_block::error_chain;
use volfold_fs::{ReadOptions, VolumeTree};

#[cfg(target_os = "linux")]
mod attach;
mod background;
mod cat;
mod devices;
mod export;
mod extract;
mod formats;
mod hash;
mod host_names;
mod list;
mod ls;
mod mount;
mod mount_host;
mod mount_record;
mod output;
#[cfg(windows)]
mod service;
mod text;
mod walk;

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// All was done.
    Done,
    /// Nothing was done.
    Nothing,
    /// Part was done; the answer or the messages say what is missing.
    Part,
}

impl From<Outcome> for ExitCode {
    fn from(outcome: Outcome) -> Self {
        Self::from(match outcome {
            Outcome::Done => 0,
            Outcome::Nothing => 1,
            Outcome::Part => 3,
        })
    }
}

/// What is said of a set on which nothing can be shown.
pub(crate) const NO_VOLUME: &str =
    "there is no readable volume; `volfold list` shows what was found";

const AFTER_HELP: &str = "\
Examples:
  volfold list disk.vmdk
  volfold mount disk.vmdk /mnt/disk      then: ls /mnt/disk; volfold unmount /mnt/disk
  volfold ls disk.vmdk -p /System/Users
  volfold extract disk.vmdk -p /System/Users -o saved

Exit codes: 0 done, 1 nothing done, 2 wrong usage, 3 done in part.";

/// The licence of WinFsp wants its notice where users see it.
#[cfg(windows)]
const VERSION: &str = concat!(
    env!("CARGO_PKG_VERSION"),
    "\nFolders by WinFsp - Windows File System Proxy, Copyright (C) Bill Zissimopoulos\n",
    "https://github.com/winfsp/winfsp"
);
#[cfg(not(windows))]
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Opens disk images and shows the volumes on them as folders; never writes to an image.
#[derive(Parser)]
#[command(name = "volfold", version = VERSION, after_help = AFTER_HELP, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    List(list::ListArguments),
    Mount(mount::MountArguments),
    Unmount(mount::UnmountArguments),
    Mounts(mount::MountsArguments),
    #[cfg(target_os = "linux")]
    Attach(attach::AttachArguments),
    #[cfg(target_os = "linux")]
    Detach(attach::DetachArguments),
    #[cfg(windows)]
    Service(service::ServiceArguments),
    Ls(ls::LsArguments),
    Cat(cat::CatArguments),
    Extract(extract::ExtractArguments),
    Export(export::ExportArguments),
    Hash(hash::HashArguments),
    Formats(formats::FormatsArguments),
    /// Print a completion script for a shell
    #[command(after_help = "Example:\n  volfold completions bash > ~/.bash_completion.d/volfold")]
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Print the manual page
    #[command(after_help = "Example:\n  volfold man | man -l -")]
    Man,
}

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
}

impl SetArguments {
    /// Opens `disks` as one set and tells of those that cannot be opened. `None` if there are none
    /// left.
    pub(crate) fn open(&self, disks: &[PathBuf]) -> Option<(DiskSet, Outcome)> {
        open(disks, &self.options())
    }

    /// How the set is opened.
    pub(crate) fn options(&self) -> OpenOptions {
        OpenOptions {
            allowed: self.allow_path.clone(),
            cache_size: self.cache_size,
            ..OpenOptions::default()
        }
    }
}

/// Opens `disks` as one set, and tells of those that cannot be opened.
fn open(disks: &[PathBuf], options: &OpenOptions) -> Option<(DiskSet, Outcome)> {
    let set = DiskSet::open(disks, options);
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
        OpenOptions { mount, ..self.set.options() }
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

/// Runs the command that the arguments name.
pub(crate) fn main() -> ExitCode {
    quiet_panics();
    match run(Arguments::parse().command) {
        Ok(outcome) => outcome.into(),
        // The reader of our answer went away (`| head`); that is no failure.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            text::complain(format_args!("the answer could not be written: {error}"));
            ExitCode::from(1)
        }
    }
}

fn run(command: Command) -> std::io::Result<Outcome> {
    match command {
        Command::List(arguments) => list::run(&arguments),
        Command::Mount(arguments) => mount::run(&arguments),
        Command::Unmount(arguments) => mount::unmount(&arguments),
        Command::Mounts(arguments) => mount::mounts(&arguments),
        #[cfg(target_os = "linux")]
        Command::Attach(arguments) => attach::run(&arguments),
        #[cfg(target_os = "linux")]
        Command::Detach(arguments) => attach::detach(&arguments),
        #[cfg(windows)]
        Command::Service(arguments) => service::run(&arguments),
        Command::Ls(arguments) => ls::run(&arguments),
        Command::Cat(arguments) => cat::run(&arguments),
        Command::Export(arguments) => export::run(&arguments),
        Command::Extract(arguments) => extract::run(&arguments),
        Command::Hash(arguments) => hash::run(&arguments),
        Command::Formats(arguments) => formats::run(&arguments),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Arguments::command(), "volfold", &mut script);
            text::answer(&script)?;
            Ok(Outcome::Done)
        }
        Command::Man => {
            let mut page = Vec::new();
            clap_mangen::Man::new(Arguments::command()).render(&mut page)?;
            text::answer(&page)?;
            Ok(Outcome::Done)
        }
    }
}

/// A panic inside a reader is caught and becomes the error of its request; one line is enough.
fn quiet_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        text::complain(format_args!("a reader gave up on structures it cannot handle ({place})"));
    }));
}

/// The bytes of a path argument: as they are on Unix, WTF-8 on Windows, where `\` separates too.
pub(crate) fn path_bytes(path: &OsStr) -> Vec<u8> {
    let mut bytes = path.as_encoded_bytes().to_vec();
    if cfg!(windows) {
        for byte in bytes.iter_mut().filter(|byte| **byte == b'\\') {
            *byte = b'/';
        }
    }
    bytes
}

/// Ends the program as the argument parser does for wrong usage of `command`.
pub(crate) fn usage_error(command: &str, line: &str) -> ! {
    let mut arguments = Arguments::command();
    let known = arguments.find_subcommand_mut(command);
    let error =
        clap::Error::raw(clap::error::ErrorKind::MissingRequiredArgument, format!("{line}\n"));
    match known {
        Some(command) => error.with_cmd(command).exit(),
        None => error.exit(),
    }
}
