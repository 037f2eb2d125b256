//! `volfold service`: mounts that Windows starts and ends.
//!
//! The service is this program; each mount of its list is a process of its own, started by `mount`
//! and ended by `unmount`, so that one image cannot take the others down.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde::Serialize;
use volfold_projector::process::service::{self, ServiceFacts};

use super::outcome::Outcome;
use super::text;

mod files;
mod list;
mod supervise;

use files::{LIST, LOG, RECORDS, STATUS};
use list::MountList;
use supervise::MountStatus;

/// Mount by a service of Windows, as SYSTEM, from the start of the machine on
#[derive(Args)]
#[command(after_help = "\
Examples:
  volfold service install mounts.toml
  volfold service status
  volfold service uninstall

The list, in TOML; all but disks and one of folder and letter may be left out:

  [[mount]]
  folder = 'C:\\mnt\\web'      # or: letter = 'X:'
  disks = ['D:\\machines\\web.vmdk']
  volumes = ['System']
  access = 'everyone'
  each = false                # and raw, mount_manager, system_files
  allow_path = ['D:\\base']    # and key_file, format, threads, as the options of `mount`

All need an administrator. The list is copied to %ProgramData%\\volfold, where the log is too. A mount
whose process dies is mounted again. To change the list, install it again.")]
pub(crate) struct ServiceArguments {
    #[command(subcommand)]
    command: ServiceCommand,
}

#[derive(Subcommand)]
enum ServiceCommand {
    /// Register and start the service; once more with a list that has changed
    Install {
        /// The list of mounts
        list: PathBuf,
    },
    /// Free all its folders, stop it, and remove it with its list and log
    Uninstall,
    /// Show whether it runs, and how its mounts are; exit code 3 if not all are mounted
    Status {
        /// Print JSON, version 1
        #[arg(long)]
        json: bool,
    },
    /// What Windows starts
    #[command(hide = true)]
    Run,
}

pub(crate) fn run(arguments: &ServiceArguments) -> io::Result<Outcome> {
    let result = match &arguments.command {
        ServiceCommand::Install { list } => install(list),
        ServiceCommand::Uninstall => uninstall(),
        ServiceCommand::Status { json } => return status(*json),
        ServiceCommand::Run => service::run(supervise::serve).map_err(|error| {
            format!("this is what Windows starts, `volfold service install` registers it: {error}")
        }),
    };
    Ok(match result {
        Ok(()) => Outcome::Done,
        Err(line) => {
            text::complain(format_args!("{line}"));
            Outcome::Nothing
        }
    })
}

fn refused(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::PermissionDenied => format!("the service: {error}; run as administrator"),
        _ => format!("the service: {error}"),
    }
}

/// Checks the list, then writes it and starts the service by it; what was there before is there
/// again if that fails.
fn install(list: &Path) -> Result<(), String> {
    MountList::read(list)?;
    let text = fs::read(list).map_err(|error| format!("{}: {error}", list.display()))?;
    let folder = service::system_folder().map_err(|error| refused(&error))?;
    let file = folder.join(LIST);
    let before = fs::read(&file).ok();
    let write = |text: &[u8]| {
        let new = file.with_extension("new");
        fs::write(&new, text).and_then(|()| fs::rename(&new, &file))
    };
    write(&text).map_err(|error| refused(&error))?;
    service::install(vec!["service".into(), "run".into()]).map_err(|error| {
        let _ = match &before {
            Some(before) => write(before),
            None => fs::remove_file(&file),
        };
        refused(&error)
    })
}

/// Removes the service, and what it wrote.
fn uninstall() -> Result<(), String> {
    let is_there = service::facts().map_err(|error| refused(&error))?.is_some();
    if is_there {
        service::uninstall().map_err(|error| refused(&error))?;
    }
    let folder = service::system_path().map_err(|error| refused(&error))?;
    let mut files: Vec<PathBuf> = [LIST, LOG, STATUS].map(|name| folder.join(name)).into();
    let mounts = folder.join(RECORDS);
    let entries = fs::read_dir(&mounts).into_iter().flatten().flatten();
    files.extend(entries.map(|entry| entry.path()));
    for file in files {
        let _ = fs::remove_file(file);
    }
    for folder in [mounts, folder] {
        let _ = fs::remove_dir(folder);
    }
    if is_there { Ok(()) } else { Err("the service: is not installed".to_owned()) }
}

#[derive(Serialize)]
struct StatusJson {
    version: u32,
    installed: bool,
    state: Option<&'static str>,
    pid: Option<u32>,
    mounts: Vec<ListedJson>,
}

#[derive(Serialize)]
struct ListedJson {
    place: String,
    disks: Vec<String>,
    state: String,
    pid: Option<u32>,
    error: Option<String>,
}

fn status(json: bool) -> io::Result<Outcome> {
    let facts = match service::facts() {
        Ok(facts) => facts,
        Err(error) => {
            text::complain(format_args!("{}", refused(&error)));
            return Ok(Outcome::Nothing);
        }
    };
    let runs = facts.is_some_and(|facts| facts.state == "running");
    let mounts = if facts.is_some() { listed(runs) } else { Vec::new() };
    let mut answer = Vec::new();
    if json {
        let state = facts.map(|facts| facts.state);
        let pid = facts.and_then(|facts| facts.pid);
        let status = StatusJson { version: 1, installed: facts.is_some(), state, pid, mounts };
        serde_json::to_writer_pretty(&mut answer, &status)?;
        answer.push(b'\n');
        text::answer(&answer)?;
        return Ok(outcome(runs, &status.mounts));
    }
    match facts {
        None => writeln!(answer, "not installed")?,
        Some(ServiceFacts { state, pid: Some(pid), .. }) => {
            writeln!(answer, "{state}  pid {pid}")?;
        }
        Some(ServiceFacts { state, .. }) => writeln!(answer, "{state}")?,
    }
    for mount in &mounts {
        let pid = mount.pid.map(|pid| format!("  pid {pid}")).unwrap_or_default();
        writeln!(answer, "{}  {}{pid}", text::plain(&mount.place), mount.state)?;
        writeln!(answer, "  disks: {}", text::plain(&mount.disks.join(", ")))?;
        if let Some(error) = &mount.error {
            writeln!(answer, "  error: {}", text::plain(error))?;
        }
    }
    text::answer(&answer)?;
    Ok(outcome(runs, &mounts))
}

fn outcome(runs: bool, mounts: &[ListedJson]) -> Outcome {
    match runs {
        false => Outcome::Nothing,
        true if mounts.iter().all(|mount| mount.state == "mounted" && mount.error.is_none()) => {
            Outcome::Done
        }
        true => Outcome::Part,
    }
}

/// The mounts of the list, with what the service wrote of them if it runs.
fn listed(runs: bool) -> Vec<ListedJson> {
    let folder = match service::system_path() {
        Ok(folder) => folder,
        Err(error) => {
            text::complain(format_args!("{}", refused(&error)));
            return Vec::new();
        }
    };
    let list = match MountList::read(&folder.join(LIST)) {
        Ok(list) => list.mount,
        Err(line) => {
            text::complain(format_args!("the list of mounts cannot be read: {line}"));
            return Vec::new();
        }
    };
    let written = fs::read(folder.join(STATUS)).ok().filter(|_| runs);
    let written: Option<Vec<MountStatus>> =
        written.and_then(|bytes| serde_json::from_slice(&bytes).ok());
    let mut known = written.unwrap_or_default();
    let path = |path: &Path| path.display().to_string();
    let show = |mount: list::ListedMount| {
        let place = mount.place();
        let at = known.iter().position(|status| status.place == place);
        let status = at.map(|at| known.swap_remove(at));
        ListedJson {
            place: path(&place),
            disks: mount.disks().iter().map(|disk| path(disk)).collect(),
            state: status.as_ref().map_or("waiting", |status| status.state.as_str()).to_owned(),
            pid: status.as_ref().and_then(|status| status.pid),
            error: status.and_then(|status| status.error),
        }
    };
    list.into_iter().map(show).collect()
}
