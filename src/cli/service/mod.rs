//! `volfold service`: mounts that Windows starts and ends.
//!
//! The service is this program; each mount of its list is a process of its own, started by `mount`
//! and ended by `unmount`, so that one image cannot take the others down.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use clap::{Args, Subcommand};
use serde::Serialize;
use volfold_projector::process::service::{self, ServiceFacts};

use super::mount_record::read_json;
use super::outcome::Outcome;
use super::text;

mod call;
mod files;
mod list;
mod supervise;

use files::{LIST, LOG, RECORDS, STATUS};
use list::MountList;
use supervise::MountStatus;

/// How long `uninstall` waits for mounts that still hold their logs.
const LOG_TIME: Duration = Duration::from_secs(10);

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
  allow_path = ['D:\\base']    # and key, format, threads, as the options of `mount`

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
        ServiceCommand::Install { list } => install(list).map(|()| Outcome::Done),
        ServiceCommand::Uninstall => uninstall(),
        ServiceCommand::Status { json } => return status(*json),
        ServiceCommand::Run => {
            service::run(supervise::serve).map(|()| Outcome::Done).map_err(|error| {
                format!(
                    "this is what Windows starts, `volfold service install` registers it: {error}"
                )
            })
        }
    };
    Ok(result.unwrap_or_else(|line| {
        text::complain(format_args!("{line}"));
        Outcome::Nothing
    }))
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
    let (_, text) = MountList::read_with_text(list)?;
    let was_there = service::facts().map_err(|error| refused(&error))?.is_some();
    let file = service::system_folder().map_err(|error| refused(&error))?.join(LIST);
    let before = list::read_text(&file).ok();
    write_list(&file, &text).map_err(|error| refused(&error))?;
    start().map_err(|error| {
        let undone = undo(&file, before.as_deref(), was_there);
        format!("{}; {undone}", refused(&error))
    })
}

fn start() -> io::Result<()> {
    service::install(vec!["service".into(), "run".into()])
}

fn write_list(file: &Path, text: &str) -> io::Result<()> {
    let new = file.with_extension("new");
    fs::write(&new, text).and_then(|()| fs::rename(&new, file))
}

/// Undoes an installation that failed: with the list of `before` the service runs again, and what was
/// not there goes. How it is now.
fn undo(file: &Path, before: Option<&str>, was_there: bool) -> String {
    let list = match before {
        Some(before) => write_list(file, before),
        None => fs::remove_file(file),
    };
    let undone = list.and_then(|()| match (was_there, before) {
        (true, Some(_)) => start(),
        (true, None) => Ok(()),
        // It may be registered, and only not have started.
        (false, _) => match service::facts()? {
            Some(_) => service::uninstall(),
            None => Ok(()),
        },
    });
    match (undone, was_there, before) {
        (Ok(()), false, _) => "it is not installed".to_owned(),
        (Ok(()), true, Some(_)) => "it runs again with the list that it had".to_owned(),
        (Ok(()), true, None) => "it is installed, without a list".to_owned(),
        (Err(error), ..) => {
            let next = "`volfold service status` shows how it is, and `uninstall` removes it";
            format!("and how it was cannot be restored: {error}; {next}")
        }
    }
}

/// Removes the service, and what it wrote.
fn uninstall() -> Result<Outcome, String> {
    let is_there = service::facts().map_err(|error| refused(&error))?.is_some();
    if is_there {
        service::uninstall().map_err(|error| refused(&error))?;
    }
    let folder = service::system_path().map_err(|error| refused(&error))?;
    let left = remove_all(&folder);
    for (path, error) in &left {
        text::complain(format_args!("{}: cannot be removed: {error}", path.display()));
    }
    match (is_there, left.is_empty()) {
        (false, _) => Err("the service: is not installed".to_owned()),
        (true, true) => Ok(Outcome::Done),
        (true, false) => Ok(Outcome::Part),
    }
}

/// Removes what the service has in `folder`, and it where it is empty then; a mount that is just
/// ending holds its log for a moment. What is left, and why.
fn remove_all(folder: &Path) -> Vec<(PathBuf, io::Error)> {
    let start = Instant::now();
    loop {
        let left = try_to_remove_all(folder);
        if left.is_empty() || start.elapsed() > LOG_TIME {
            // What else there is in it is not ours.
            let _ = fs::remove_dir(folder);
            return left;
        }
        thread::sleep(Duration::from_millis(50));
    }
}

fn try_to_remove_all(folder: &Path) -> Vec<(PathBuf, io::Error)> {
    let mounts = folder.join(RECORDS);
    let entries = fs::read_dir(&mounts).into_iter().flatten().flatten();
    let files = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_file()));
    let named = [LIST, LOG, STATUS].map(|name| folder.join(name));
    let files = files.map(|entry| entry.path()).chain(named);
    let removed: Vec<_> = files.map(|file| (fs::remove_file(&file), file)).collect();
    let last = (fs::remove_dir(&mounts), mounts);
    let is_left = |(removed, path): (io::Result<()>, PathBuf)| match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Some((path, error)),
        _ => None,
    };
    removed.into_iter().chain([last]).filter_map(is_left).collect()
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
    let listed = if facts.is_some() { listed(runs) } else { Ok(Vec::new()) };
    if let Err(line) = &listed {
        text::complain(format_args!("{line}"));
    }
    let is_read = listed.is_ok();
    let mounts = listed.unwrap_or_default();
    let mut answer = Vec::new();
    if json {
        let state = facts.map(|facts| facts.state);
        let pid = facts.and_then(|facts| facts.pid);
        let status = StatusJson { version: 1, installed: facts.is_some(), state, pid, mounts };
        serde_json::to_writer_pretty(&mut answer, &status)?;
        answer.push(b'\n');
        text::answer(&answer)?;
        return Ok(outcome(runs, is_read, &status.mounts));
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
    Ok(outcome(runs, is_read, &mounts))
}

fn outcome(runs: bool, is_read: bool, mounts: &[ListedJson]) -> Outcome {
    let is_whole = |mount: &ListedJson| mount.state == "mounted" && mount.error.is_none();
    match runs {
        false => Outcome::Nothing,
        true if is_read && mounts.iter().all(is_whole) => Outcome::Done,
        true => Outcome::Part,
    }
}

/// The mounts of the list, with what the service wrote of them if it runs.
///
/// # Errors
/// A line that says why the list cannot be read.
fn listed(runs: bool) -> Result<Vec<ListedJson>, String> {
    let folder = service::system_path().map_err(|error| refused(&error))?;
    let list = MountList::read(&folder.join(LIST))
        .map_err(|line| format!("the list of mounts cannot be read: {line}"))?
        .mount;
    let written = runs.then(|| read_json::<Vec<MountStatus>>(&folder.join(STATUS))).flatten();
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
    Ok(list.into_iter().map(show).collect())
}
