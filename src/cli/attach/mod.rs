//! `volfold attach`, `detach`: disks and volumes as block devices of this system.
//!
//! A process in the background serves them: to loop devices of Linux, or to the iSCSI initiator of
//! Windows. It ends when the last of the devices is let go. What a killed process left is found by its
//! record, and cleared by the next call.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use clap::Args;
use volfold::{DiskSet, Incomplete};
use volfold_block::error_chain;
use volfold_projector::process;

use super::background::{self, Talk};
use super::devices::{self, Device, OverlayArguments};
use super::mount_record::{MountRecord, log_file};
use super::outcome::Outcome;
use super::paths::not_named;
use super::set::SetArguments;
use super::text;

#[cfg(target_os = "linux")]
mod linux;
#[cfg(windows)]
mod windows;

#[cfg(target_os = "linux")]
use linux as host;
#[cfg(windows)]
use windows as host;

/// What the names of our folders in the folder of records begin with.
const FOLDER: &str = "attach-";

/// Give disks or volumes to the system as block devices
#[derive(Args)]
#[command(after_help = host::ATTACH_HELP)]
pub(crate) struct AttachArguments {
    /// Disk images that belong together
    #[arg(required = true, value_name = "DISK")]
    disks: Vec<PathBuf>,
    /// This disk or volume (disk0, folder name or id) instead of all disks; may be given several times
    #[arg(long, value_name = "VOLUME")]
    volume: Vec<String>,
    #[command(flatten)]
    overlay: OverlayArguments,
    #[command(flatten)]
    set: SetArguments,
    /// The file that the background process writes its messages to
    #[arg(long, hide = true)]
    background_log: Option<PathBuf>,
    /// The folder that the background process keeps its files in
    #[arg(long, hide = true)]
    background_folder: Option<PathBuf>,
}

/// Free a device that `attach` made; returns when the images are closed
#[derive(Args)]
#[command(after_help = host::DETACH_HELP)]
pub(crate) struct DetachArguments {
    /// The device, or `all`
    device: PathBuf,
    /// Also while it is in use; programs that use it may get errors
    #[arg(long)]
    force: bool,
}

pub(crate) fn run(arguments: &AttachArguments) -> io::Result<Outcome> {
    if let (Some(log), Some(folder)) = (&arguments.background_log, &arguments.background_folder) {
        return Ok(host::serve(arguments, log, folder));
    }
    if let Err(error) = host::check_host() {
        text::complain(format_args!("{error}"));
        return Ok(Outcome::Nothing);
    }
    host::clear_dead();
    let begun = new_folder().and_then(|folder| Ok((log_file(&folder)?, folder)));
    let (log, folder) = match begun {
        Ok(begun) => begun,
        Err(error) => {
            text::complain(format_args!("the folder of the devices cannot be made: {error}"));
            return Ok(Outcome::Nothing);
        }
    };
    let more = ["--background-folder".as_ref(), folder.as_os_str()];
    let started = background::start(&log, &more);
    if !matches!(started, Ok(Outcome::Done | Outcome::Part)) {
        // Its process is gone, also where it could not say so. Until it writes one the record is ours.
        let left = records().filter(|record| record.folder == folder);
        for record in left {
            host::clear_failed(&record);
        }
    }
    started
}

pub(crate) fn detach(arguments: &DetachArguments) -> io::Result<Outcome> {
    Ok(host::detach(arguments))
}

/// The devices that `record` is of, as far as they are there, and what is to be told of it where that
/// is not the state of a mount.
#[cfg(windows)]
pub(crate) fn told_of(record: &MountRecord) -> (Vec<String>, Option<&'static str>) {
    host::told_of(record)
}

/// An empty folder for one process, written down at once under our own number.
fn new_folder() -> io::Result<PathBuf> {
    let state = process::state_folder()?;
    for number in 0_u32.. {
        let folder = state.join(format!("{FOLDER}{number}"));
        match fs::create_dir(&folder) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
            Ok(()) => {
                record(&folder, Vec::new(), Vec::new(), None).write()?;
                return Ok(folder);
            }
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

fn record(
    folder: &Path,
    images: Vec<PathBuf>,
    volumes: Vec<String>,
    log: Option<&Path>,
) -> MountRecord {
    MountRecord {
        folder: folder.to_path_buf(),
        images,
        paths: BTreeMap::new(),
        volumes,
        pid: std::process::id(),
        log: log.map(Path::to_path_buf),
        remove_folder: true,
        attached: true,
    }
}

/// Records of processes that serve devices, or did.
fn records() -> impl Iterator<Item = MountRecord> {
    MountRecord::all().into_iter().filter(|record| record.attached)
}

/// Opens the set and chooses from it.
fn open_set(arguments: &AttachArguments, talk: &Talk) -> Option<(DiskSet, Vec<Device>, Outcome)> {
    let set = DiskSet::open(&arguments.disks, &arguments.set.options())
        .unwrap_or_else(Incomplete::into_set);
    let mut outcome = Outcome::Done;
    for failure in set.failures() {
        talk.say(&format!("{}: {}", failure.path.display(), error_chain(&failure.error)));
        outcome = Outcome::Part;
    }
    let mut devices = devices::devices(&set);
    if arguments.volume.is_empty() {
        devices.truncate(set.disks().len());
    }
    for missing in devices::choose(&mut devices, &arguments.volume) {
        talk.say(&not_named(&set, missing));
        outcome = Outcome::Part;
    }
    (!devices.is_empty()).then_some((set, devices, outcome))
}

/// How it ended where something was `done`, and something `failed`.
fn outcome_of(done: bool, failed: bool) -> Outcome {
    match (done, failed) {
        (_, false) => Outcome::Done,
        (true, true) => Outcome::Part,
        (false, true) => Outcome::Nothing,
    }
}
