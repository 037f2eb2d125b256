//! What `attach` is asked for and writes down, on any host.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use clap::Args;
use volfold::{DiskSet, Incomplete};
use volfold_block::error_chain;

use crate::cli::background::{self, Talk};
use crate::cli::devices::{self, Device, OverlayArguments};
use crate::cli::mount_record::MountRecord;
use crate::cli::outcome::Outcome;
use crate::cli::paths::{not_named, plain_path};
use crate::cli::set::SetArguments;
use crate::cli::text;

#[cfg(target_os = "linux")]
const ATTACH_HELP: &str = "\
Examples:
  volfold attach disk.vmdk
  volfold attach disk1.vmdk disk2.vmdk --volume ldm:1b2c3d4e-...
  volfold attach disk.vmdk --volume linux --overlay changes
  volfold detach /dev/loop0

Prints a line for each device, and goes on in the background; `volfold mounts` shows it. Needs root or
the group disk. Disks are looked at for partitions. Nothing is ever written to an image; with --overlay
the devices can be written to, and what is written is kept beside it.";

#[cfg(target_os = "linux")]
const DETACH_HELP: &str = "\
Examples:
  volfold detach /dev/loop0
  volfold detach all

Also clears what a killed process left.";

#[cfg(windows)]
const ATTACH_HELP: &str = "\
Examples:
  volfold attach disk.vmdk
  volfold attach disk1.vmdk disk2.vmdk --volume ldm:1b2c3d4e-...
  volfold attach disk.vmdk --overlay changes
  volfold detach \\\\.\\PhysicalDrive3

Prints a line for each disk and for each way to a volume on it, and goes on in the background; `volfold
mounts` shows it. Needs an administrator: the disks are served to the iSCSI initiator of Windows, on
this machine alone. Nothing is ever written to an image: the disks are write-protected, and with
--overlay they can be written to, and what is written is kept beside it.";

#[cfg(windows)]
const DETACH_HELP: &str = "\
Examples:
  volfold detach \\\\.\\PhysicalDrive3
  volfold detach 3
  volfold detach all

Also clears what a killed process left.";

/// What the names of our folders in the folder of records begin with.
pub(super) const FOLDER: &str = "attach-";

/// Give disks or volumes to the system as block devices
#[derive(Args)]
#[command(after_help = ATTACH_HELP)]
pub(crate) struct AttachArguments {
    /// Disk images that belong together
    #[arg(required = true, value_name = "DISK")]
    pub(super) disks: Vec<PathBuf>,
    /// This disk or volume (disk0, folder name or id) instead of all disks; may be given several times
    #[arg(long, value_name = "VOLUME")]
    pub(super) volume: Vec<String>,
    #[command(flatten)]
    pub(super) overlay: OverlayArguments,
    #[command(flatten)]
    pub(super) set: SetArguments,
    /// The file that the background process writes its messages to
    #[arg(long, hide = true)]
    pub(super) background_log: Option<PathBuf>,
    /// The folder that the background process keeps its files in
    #[arg(long, hide = true)]
    pub(super) background_folder: Option<PathBuf>,
}

/// Free a device that `attach` made; returns when the images are closed
#[derive(Args)]
#[command(after_help = DETACH_HELP)]
pub(crate) struct DetachArguments {
    /// The device, or `all`
    pub(super) device: PathBuf,
    /// Also while it is in use; programs that use it may get errors
    #[arg(long)]
    pub(super) force: bool,
}

pub(super) fn record(
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
        file: None,
    }
}

/// Records of processes that serve devices, or did.
pub(super) fn records() -> impl Iterator<Item = MountRecord> {
    MountRecord::all().into_iter().filter(|record| record.attached)
}

/// Opens the set and chooses from it.
fn open_set(arguments: &AttachArguments, talk: &Talk) -> Option<(DiskSet, Vec<Device>, Outcome)> {
    if let Err(error) = background::take_keys(&arguments.set.images.key) {
        talk.say(&format!("keys were not handed on: {error}"));
        return None;
    }
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

/// Opens the set, chooses from it, and writes down in `folder` what this process serves.
pub(super) fn begin(
    arguments: &AttachArguments,
    folder: &Path,
    log: &Path,
    talk: &Talk,
) -> Option<(DiskSet, Vec<Device>, MountRecord, Outcome)> {
    let (set, devices, outcome) = open_set(arguments, talk)?;
    let images = arguments.disks.iter().map(|disk| plain_path(disk)).collect();
    let ids = devices.iter().map(|device| device.id.clone()).collect();
    let record = record(folder, images, ids, Some(log));
    if let Err(error) = record.write() {
        talk.say(&not_written(&error));
        return None;
    }
    Some((set, devices, record, outcome))
}

/// What is said where a record cannot be written.
pub(super) fn not_written(error: &io::Error) -> String {
    format!("what is attached cannot be written down: {error}")
}

/// How a device is, for its line of the answer.
pub(super) fn way(is_writable: bool) -> &'static str {
    if is_writable { "changes go to the overlay" } else { "read-only" }
}

/// How it ended where `count` of `wanted` devices were attached, and `opened` says how the set is.
pub(super) fn outcome_of_count(count: usize, wanted: usize, opened: Outcome) -> Outcome {
    match count {
        0 => Outcome::Nothing,
        count if count < wanted => Outcome::Part,
        _ => opened,
    }
}

/// Says that nothing attached is what `device` names.
pub(super) fn none_is(device: &Path) -> Outcome {
    let line = match device.as_os_str() == "all" {
        true => "nothing is attached".to_owned(),
        false => {
            format!("{}: was not made by `volfold attach`; see `volfold mounts`", device.display())
        }
    };
    text::complain(format_args!("{line}"));
    Outcome::Nothing
}

/// What is said where the process of `record` does not end in time.
pub(super) fn still_reads(record: &MountRecord) -> String {
    let log = record.log.as_ref().map(|log| log.display().to_string()).unwrap_or_default();
    let pid = record.pid;
    format!("the device is free, but process {pid} still reads the images; see {log}")
}

/// How it ended where something was `done`, and something `failed`.
pub(super) fn outcome_of(done: bool, failed: bool) -> Outcome {
    match (done, failed) {
        (_, false) => Outcome::Done,
        (true, true) => Outcome::Part,
        (false, true) => Outcome::Nothing,
    }
}
