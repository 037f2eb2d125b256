//! `volfold unmount`.

use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;
#[cfg(windows)]
use volfold_projector::ProjectError;
#[cfg(windows)]
use volfold_projector::process::Owner;
use volfold_projector::{PROJECTORS, Projector, process};

use super::background::{GRACE, PATIENCE};
use super::mount::NO_PROJECTOR;
use super::mount_host;
use super::mount_record::{FoundRecord, MountRecord, clear_leftovers, mount_folder};
use super::outcome::Outcome;
use super::text;

/// Free a folder again; returns when the images are closed
#[derive(Args)]
#[command(after_help = mount_host::UNMOUNT_HELP)]
pub(crate) struct UnmountArguments {
    /// The folder that was given to `mount`, or a link to it
    #[arg(required_unless_present = "all")]
    folder: Option<PathBuf>,
    /// All folders of this user
    #[arg(long, conflicts_with = "folder")]
    all: bool,
    /// Also while programs have files open in it; they get errors. On Windows its process is ended if
    /// reads of the images do not end
    #[arg(long)]
    force: bool,
}

pub(crate) fn run(arguments: &UnmountArguments) -> io::Result<Outcome> {
    let Some(projector) = PROJECTORS.first() else {
        text::complain(format_args!("{NO_PROJECTOR}"));
        return Ok(Outcome::Nothing);
    };
    let Some(folder) = &arguments.folder else {
        return Ok(unmount_all(*projector, arguments.force));
    };
    // A link may be what a folder was called when it was mounted; then it is gone, or leads there.
    Ok(unmount_one(*projector, &mount_folder(folder), arguments.force))
}

/// Frees all folders of this user's mounts.
fn unmount_all(projector: &dyn Projector, force: bool) -> Outcome {
    let records = MountRecord::all();
    let is_attached =
        |folder: &PathBuf| records.iter().any(|record| record.attached && record.folder == *folder);
    let mut folders: Vec<PathBuf> = records.iter().map(|record| record.folder.clone()).collect();
    folders.extend(projector.mounted());
    folders.retain(|folder| !is_attached(folder));
    folders.sort();
    folders.dedup();
    if folders.is_empty() {
        text::complain(format_args!("nothing is mounted"));
        return Outcome::Nothing;
    }
    // What lies in another one goes first.
    let done: Vec<Outcome> =
        folders.iter().rev().map(|folder| unmount_one(projector, folder, force)).collect();
    match done {
        done if done.iter().all(|one| *one == Outcome::Done) => Outcome::Done,
        done if done.iter().all(|one| *one == Outcome::Nothing) => Outcome::Nothing,
        _ => Outcome::Part,
    }
}

fn unmount_one(projector: &dyn Projector, folder: &Path, force: bool) -> Outcome {
    let found = FoundRecord::of(folder);
    #[cfg(windows)]
    let mark = found.as_ref().and_then(FreedMark::set);
    let outcome = unmount_found(projector, folder, found, force);
    #[cfg(windows)]
    if let (Some(mark), Outcome::Nothing) = (mark, outcome) {
        mark.take_back();
    }
    outcome
}

fn unmount_found(
    projector: &dyn Projector,
    folder: &Path,
    found: Option<FoundRecord>,
    force: bool,
) -> Outcome {
    // What another user wrote down is not acted on.
    let is_believed = found.as_ref().is_some_and(|found| !found.is_of_other());
    let record = found.map(|found| found.record);
    if record.as_ref().is_some_and(|record| record.attached) {
        let shown = folder.display();
        let way = "`volfold detach` frees it with its device; see `volfold mounts`";
        text::complain(format_args!("{shown}: is there for a block device; {way}"));
        return Outcome::Nothing;
    }
    let dead = record.as_ref().is_none_or(|record| !record.is_alive());
    let is_mounted = projector.is_mounted(folder).unwrap_or(true);
    if !is_mounted {
        return match record {
            _ if dead && clear_leftovers(projector, folder) > 0 => Outcome::Done,
            Some(record) if projector.is_mounted_in(record.pid, folder) => {
                end_elsewhere(&record, is_believed)
            }
            _ => {
                let shown = folder.display();
                text::complain(format_args!("{shown}: not a volfold mount; see `volfold mounts`"));
                Outcome::Nothing
            }
        };
    }
    let holders = projector.holders(folder);
    if let Err(error) = projector.unmount(folder, force || (dead && record.is_some())) {
        #[cfg(windows)]
        if let (Some(record), true, false) = (&record, force, dead) {
            return end_process(projector, record, &error);
        }
        text::complain(format_args!("{error}"));
        return Outcome::Nothing;
    }
    match record {
        Some(record) => {
            end_holders(&record, &holders);
            // A process that was ended by force took no leave.
            let cleared = force && !record.is_alive() && clear_leftovers(projector, folder) > 0;
            if cleared { Outcome::Done } else { wait_for_process(&record, is_believed, force) }
        }
        None => Outcome::Done,
    }
}

/// The mark by which the service knows that a mount of its list was freed by an administrator, and
/// did not die.
#[cfg(windows)]
struct FreedMark(PathBuf);

#[cfg(windows)]
impl FreedMark {
    fn set(found: &FoundRecord) -> Option<Self> {
        let of_others = found.owner == Owner::Service && process::own_kind() != Owner::Service;
        let mark = of_others.then(|| found.freed_marker())??;
        std::fs::write(&mark, []).ok()?;
        Some(Self(mark))
    }

    fn take_back(self) {
        let _ = std::fs::remove_file(self.0);
    }
}

/// Ends the process of a mount that cannot or does not end by itself, for which `error` is the reason.
#[cfg(windows)]
fn end_process(projector: &dyn Projector, record: &MountRecord, error: &ProjectError) -> Outcome {
    let (shown, pid) = (record.folder.display(), record.pid);
    let file = record.file.as_ref().ok_or_else(|| io::ErrorKind::NotFound.into());
    if let Err(refusal) = file.and_then(|file| process::kill(pid, file)) {
        text::complain(format_args!("{error}"));
        text::complain(format_args!("{shown}: process {pid} cannot be ended: {refusal}"));
        return Outcome::Nothing;
    }
    text::complain(format_args!("{shown}: process {pid} was ended"));
    clear_leftovers(projector, &record.folder);
    Outcome::Done
}

/// Ends the process of a mount that was freed here where others still have it among mounts of their
/// own, as services and containers that began since: it would go on for them.
fn end_holders(record: &MountRecord, holders: &[u32]) {
    let start = Instant::now();
    let moment = Duration::from_millis(300);
    while !holders.is_empty() && process::is_running(record.pid) && start.elapsed() < moment {
        thread::sleep(Duration::from_millis(2));
    }
    let (Some(first), true) = (holders.first(), process::is_running(record.pid)) else {
        return;
    };
    text::complain(format_args!(
        "{}: other mount namespaces still have it ({}; one is that of process {first}); it ends \
         there too",
        record.folder.display(),
        holders.len()
    ));
    // What it does not do by itself is told by who waits for it.
    let _ = process::ask_to_end(record.pid);
}

/// Ends a mount that is in other mounts than this process's, as of a container: only its own process
/// can free it.
fn end_elsewhere(record: &MountRecord, is_believed: bool) -> Outcome {
    if let Err(error) = process::ask_to_end(record.pid) {
        text::complain(format_args!(
            "{}: is mounted where process {} sees it, and not here; it cannot be ended: {error}",
            record.folder.display(),
            record.pid
        ));
        return Outcome::Nothing;
    }
    wait_for_process(record, is_believed, false)
}

/// Waits until the process of a mount that was freed has closed the images, and clears what it left
/// where its record is believed.
fn wait_for_process(record: &MountRecord, is_believed: bool, force: bool) -> Outcome {
    let start = Instant::now();
    while record.is_alive() {
        if start.elapsed() > PATIENCE || (force && start.elapsed() > GRACE) {
            text::complain(format_args!(
                "{}: is free, but programs still read from it; process {} ends with them",
                record.folder.display(),
                record.pid
            ));
            return Outcome::Part;
        }
        thread::sleep(Duration::from_millis(2));
    }
    if is_believed {
        record.clear();
    }
    Outcome::Done
}
