//! `volfold mounts`.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::PathBuf;

use clap::Args;
use serde::Serialize;
use volfold_projector::process::Owner;
use volfold_projector::{PROJECTORS, Projector};

use super::mount_record::{FoundRecord, MountRecord, clear_left};
use super::outcome::Outcome;
use super::text;

/// Show what is mounted now: by this user, and to an administrator of Windows by others too
#[derive(Args)]
#[command(after_help = "Example:\n  volfold mounts --json")]
pub(crate) struct MountsArguments {
    /// Print JSON, version 1
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct MountsJson {
    version: u32,
    mounts: Vec<MountJson>,
}

#[derive(Serialize)]
struct MountJson {
    folder: String,
    images: Vec<String>,
    volumes: Vec<String>,
    paths: BTreeMap<String, Vec<String>>,
    devices: Vec<String>,
    #[serde(skip)]
    attached: bool,
    /// Who mounted: `user` (this one), `service` or `other`.
    mounted_by: &'static str,
    #[serde(skip)]
    owner: Owner,
    pid: u32,
    state: &'static str,
    log: Option<String>,
}

/// The block devices of what `record` tells of, and how it stands with it where that is no mount.
///
/// What serves devices has its files in a folder of ours; those of a mount are never read.
#[cfg(windows)]
fn devices_of(record: &MountRecord) -> (Vec<String>, Option<&'static str>) {
    match record.attached {
        true => super::attach::told_of(record),
        false => (Vec::new(), None),
    }
}

/// The loop devices over files of the folder; the kernel's own list tells of them.
#[cfg(target_os = "linux")]
fn devices_of(record: &MountRecord) -> (Vec<String>, Option<&'static str>) {
    let devices = volfold_projector::block::loop_device::below(&record.folder).into_iter();
    (devices.map(|device| device.path().display().to_string()).collect(), None)
}

/// Other hosts have no block devices of ours.
#[cfg(not(any(target_os = "linux", windows)))]
fn devices_of(_record: &MountRecord) -> (Vec<String>, Option<&'static str>) {
    (Vec::new(), None)
}

/// How it stands with the mount that `record` tells of; `None` if nothing is left of it.
fn state_of(record: &MountRecord, owner: &Owner) -> Option<&'static str> {
    let running = record.is_alive();
    let is_mounted = |projector: &&dyn Projector| projector.is_mounted(&record.folder);
    let mounted = PROJECTORS.first().map(is_mounted).transpose();
    let elsewhere = || {
        let in_its = |way: &&dyn Projector| way.is_mounted_in(record.pid, &record.folder);
        running && PROJECTORS.first().is_some_and(in_its)
    };
    // Others' processes need not answer this one.
    if let (Err(error), Owner::Own | Owner::Service) = (&mounted, owner) {
        text::complain(format_args!("{error}"));
    }
    match (matches!(mounted, Ok(Some(true)) | Err(_)), running) {
        (true, true) => Some("mounted"),
        (false, true) if elsewhere() => Some("elsewhere"),
        (true, false) => Some("dead"),
        (false, true) => Some("ending"),
        (false, false) => None,
    }
}

/// How it stands with what another user wrote down: no file is asked that `record` names.
fn state_of_other(record: &MountRecord) -> Option<&'static str> {
    let state = if record.is_alive() { "mounted" } else { "dead" };
    record.attached.then_some(state)
}

pub(crate) fn run(arguments: &MountsArguments) -> io::Result<Outcome> {
    let mounts = mounts();
    let mut answer = Vec::new();
    if arguments.json {
        serde_json::to_writer_pretty(&mut answer, &MountsJson { version: 1, mounts })?;
        answer.push(b'\n');
    } else {
        for mount in &mounts {
            let log = mount.log.as_deref().unwrap_or("stderr");
            let by = match &mount.owner {
                Owner::Service => "  by the service".to_owned(),
                Owner::Other(user) => format!("  by user {user}"),
                _ => String::new(),
            };
            let folder = text::plain(&mount.folder);
            writeln!(answer, "{folder}  {}  pid {}{by}", mount.state, mount.pid)?;
            for (what, names) in [("images: ", &mount.images), ("volumes:", &mount.volumes)] {
                writeln!(answer, "  {what} {}", text::plain(&names.join(", ")))?;
            }
            writeln!(answer, "  log:     {}", text::plain(log))?;
            let way = match mount.devices.first() {
                Some(device) => {
                    writeln!(answer, "  devices: {}", mount.devices.join(", "))?;
                    format!("volfold detach {device}")
                }
                None if mount.attached => "volfold detach all".to_owned(),
                None => format!("volfold unmount {folder}"),
            };
            if mount.state == "elsewhere" {
                writeln!(answer, "  mounted where process {} sees it, and not here", mount.pid)?;
            }
            if let ("dead", Owner::Other(user)) = (mount.state, &mount.owner) {
                writeln!(
                    answer,
                    "  its process has died; what it left is for user {user} to free"
                )?;
            } else if mount.state == "dead" {
                writeln!(answer, "  its process has died; free it: {way}")?;
            }
        }
    }
    text::answer(&answer)?;
    Ok(Outcome::Done)
}

/// What is mounted; what is not any more is cleared.
fn mounts() -> Vec<MountJson> {
    let mut mounts = Vec::new();
    for found in FoundRecord::all() {
        let is_of_other = found.is_of_other();
        let FoundRecord { record, owner } = found;
        let (devices, told) = match is_of_other {
            true => (Vec::new(), state_of_other(&record)),
            false => devices_of(&record),
        };
        let Some(state) = told.or_else(|| state_of(&record, &owner)) else {
            // Its process was killed and another program freed the folder.
            if let (Some(projector), false) = (PROJECTORS.first(), is_of_other) {
                clear_left(*projector, &record.folder, Some(&record));
            }
            continue;
        };
        let path = |path: &PathBuf| path.display().to_string();
        mounts.push(MountJson {
            folder: path(&record.folder),
            images: record.images.iter().map(path).collect(),
            volumes: record.volumes,
            paths: record.paths,
            devices,
            attached: record.attached,
            mounted_by: match owner {
                Owner::Own => "user",
                Owner::Service => "service",
                _ => "other",
            },
            owner,
            pid: record.pid,
            state,
            log: record.log.as_ref().map(path),
        });
    }
    mounts
}
