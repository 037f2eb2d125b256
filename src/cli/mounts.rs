//! `volfold mounts`.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;
use volfold_projector::process::Owner;
use volfold_projector::{PROJECTORS, Projector};

use super::mount_record::{FoundRecord, MountRecord, clear_leftovers};
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

/// The loop devices over files in `folder`.
#[cfg(target_os = "linux")]
fn devices_over(folder: &Path) -> Vec<String> {
    let devices = volfold_projector::block::loop_device::below(folder).into_iter();
    devices.map(|device| device.path().display().to_string()).collect()
}

/// The disks that Windows has of what is served from `folder`.
#[cfg(windows)]
fn devices_over(folder: &Path) -> Vec<String> {
    MountRecord::of(folder).map(|record| super::attach::told_of(&record).0).unwrap_or_default()
}

/// Other hosts have no block devices of ours.
#[cfg(not(any(target_os = "linux", windows)))]
fn devices_over(_folder: &Path) -> Vec<String> {
    Vec::new()
}

/// How it stands with what `record` tells of, where that is no mount.
#[cfg(windows)]
fn attached_state(record: &MountRecord) -> Option<&'static str> {
    record.attached.then(|| super::attach::told_of(record).1).flatten()
}

/// What is attached here is mounted as well.
#[cfg(not(windows))]
fn attached_state(_record: &MountRecord) -> Option<&'static str> {
    None
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
            if mount.state == "dead" {
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
    for FoundRecord { record, owner, .. } in FoundRecord::all() {
        let running = record.is_alive();
        let is_mounted = |projector: &&dyn Projector| projector.is_mounted(&record.folder);
        let mounted = PROJECTORS.first().map(is_mounted).transpose();
        let elsewhere = || {
            let in_its = |way: &&dyn Projector| way.is_mounted_in(record.pid, &record.folder);
            running && PROJECTORS.first().is_some_and(in_its)
        };
        // Others' processes need not answer this one.
        if let (Err(error), Owner::Own | Owner::Service) = (&mounted, &owner) {
            text::complain(format_args!("{error}"));
        }
        let state = match (matches!(mounted, Ok(Some(true)) | Err(_)), running) {
            _ if attached_state(&record).is_some() => attached_state(&record).unwrap_or_default(),
            (true, true) => "mounted",
            (false, true) if elsewhere() => "elsewhere",
            (true, false) => "dead",
            (false, true) => "ending",
            // Its process was killed and another program freed the folder.
            (false, false) => {
                if let Some(projector) = PROJECTORS.first() {
                    clear_leftovers(*projector, &record.folder);
                }
                continue;
            }
        };
        let path = |path: &PathBuf| path.display().to_string();
        mounts.push(MountJson {
            folder: path(&record.folder),
            images: record.images.iter().map(path).collect(),
            volumes: record.volumes,
            paths: record.paths,
            devices: devices_over(&record.folder),
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
