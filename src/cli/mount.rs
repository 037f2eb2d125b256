//! `volfold mount`.

use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

use clap::Args;
use volfold::{DiskSet, Incomplete, SetVolume};
use volfold_fs::TreeVolume;
use volfold_projector::block::{Export, raw};
use volfold_projector::{Log, Mount, PROJECTORS, Projector, process};

use super::background::{self, GRACE, Talk};
use super::devices::{self, Device};
use super::helper;
use super::mount_host::{self, HostArguments};
use super::mount_record::{MountRecord, clear_leftovers, log_file, mount_folder};
use super::outcome::Outcome;
use super::paths::{is_letter, is_letter_free, plain_path};
use super::report::Report;
use super::set::{NO_VOLUME, TreeArguments, look_into, volume_names};
use super::text;

/// What is said where folders cannot be shown at all.
pub(super) const NO_PROJECTOR: &str =
    "this system has no way to show folders; `volfold extract` copies files";

/// Show every readable volume as a folder below FOLDER
#[derive(Args)]
#[command(override_usage = "volfold mount [OPTIONS] <DISK>... <FOLDER>")]
#[command(after_help = mount_host::MOUNT_HELP)]
pub(crate) struct MountArguments {
    /// Disk images that belong together, and at the end the folder
    #[arg(required = true, num_args = 1.., value_names = ["DISK", "FOLDER"])]
    paths: Vec<PathBuf>,
    /// Only this volume (folder name or id); may be given several times
    #[arg(long, value_name = "VOLUME")]
    volume: Vec<String>,
    /// Stay in the foreground; messages go to stderr
    #[arg(long)]
    foreground: bool,
    /// Also show every disk and volume as a file, FOLDER/.raw/NAME.img, whatever is on it
    #[cfg_attr(windows, arg(long, conflicts_with = "letter"))]
    #[cfg_attr(not(windows), arg(long))]
    raw: bool,
    #[command(flatten)]
    host: HostArguments,
    /// Threads that answer requests [default: 2 or more, by the number of CPUs]
    #[arg(long, default_value_t = 0, hide_default_value = true)]
    threads: usize,
    #[command(flatten)]
    set: TreeArguments,
    /// The file that the background process writes its messages to
    #[arg(long, hide = true)]
    background_log: Option<PathBuf>,
}

impl MountArguments {
    /// Whether there is nothing to mount, only a place for it.
    pub(crate) fn has_no_disk(&self) -> bool {
        self.disks_and_folder().0.is_empty()
    }

    /// What is mounted, and where, made absolute.
    fn disks_and_folder(&self) -> (&[PathBuf], PathBuf) {
        match (self.host.letter(), self.paths.split_last()) {
            (None, Some((folder, disks))) => (disks, mount_folder(folder)),
            (letter, _) => (&self.paths, letter.unwrap_or_default()),
        }
    }
}

pub(crate) fn run(arguments: &MountArguments) -> io::Result<Outcome> {
    if arguments.foreground || arguments.background_log.is_some() {
        return Ok(serve(arguments));
    }
    let (disks, folder) = arguments.disks_and_folder();
    if helper::is_called_by_mount() && is_as_wanted(disks, &folder) {
        return Ok(Outcome::Done);
    }
    let log = match log_file(&folder) {
        Ok(log) => log,
        Err(error) => {
            text::complain(format_args!("the log file cannot be made: {error}"));
            return Ok(Outcome::Nothing);
        }
    };
    background::start(&log, &[])
}

/// Whether these disks are mounted at `folder` already, as `mount -a` wants it.
fn is_as_wanted(disks: &[PathBuf], folder: &Path) -> bool {
    let is_mounted = PROJECTORS.first().is_some_and(|way| way.is_mounted(folder).unwrap_or(false));
    let wanted: Vec<PathBuf> = disks.iter().map(|disk| plain_path(disk)).collect();
    let is_it = |record: MountRecord| record.images == wanted && process::is_running(record.pid);
    is_mounted && MountRecord::of(folder).is_some_and(is_it)
}

/// Mounts and answers requests until the folder is freed.
fn serve(arguments: &MountArguments) -> Outcome {
    if arguments.background_log.is_some() {
        process::leave_terminal();
    }
    let talk = Talk::new(arguments.background_log.as_deref());
    let Some(projector) = PROJECTORS.first() else {
        talk.say(NO_PROJECTOR);
        return Outcome::Nothing;
    };
    if let Some(warning) = projector.warning() {
        talk.say(&warning);
    }
    let (disks, folder) = arguments.disks_and_folder();
    let remove_folder = match prepare_folder(*projector, &folder) {
        Ok(made) => made,
        Err(line) => {
            talk.say(&line);
            return Outcome::Nothing;
        }
    };
    let outcome = mount_at(*projector, arguments, (disks, &folder), remove_folder, &talk);
    if outcome == Outcome::Nothing && remove_folder {
        let _ = std::fs::remove_dir(&folder);
    }
    outcome
}

fn mount_at(
    projector: &dyn Projector,
    arguments: &MountArguments,
    (disks, folder): (&[PathBuf], &Path),
    remove_folder: bool,
    talk: &Talk,
) -> Outcome {
    let Some(Shown { set, mut volumes, files, outcome }) = open_set(arguments, disks, talk) else {
        return Outcome::Nothing;
    };
    let names: Vec<String> =
        volumes.iter().map(|volume| String::from_utf8_lossy(volume.name()).into_owned()).collect();
    if arguments.raw {
        volumes.push(raw::volume(raw_files(files)));
    }
    let log: Log = Arc::new({
        let talk = talk.clone();
        move |line: &str| talk.note(line)
    });
    let source = disks.iter().map(|disk| disk.display().to_string()).collect::<Vec<_>>().join(":");
    let links = volume_names(&set, |name| names.iter().any(|shown| shown == name));
    let options = arguments.host.options(source, links, arguments.threads, log);
    let mounted = match projector.mount(volumes, folder, &options) {
        Ok(mounted) => mounted,
        Err(error) => {
            talk.say(&error.to_string());
            return Outcome::Nothing;
        }
    };
    // Of a set that is shown whole there is nothing to say.
    let shown = if outcome == Outcome::Part { names.as_slice() } else { &[] };
    for name in shown {
        talk.answer(&folder.join(name).display().to_string());
    }
    let record = MountRecord {
        folder: folder.to_path_buf(),
        images: disks.iter().map(|disk| plain_path(disk)).collect(),
        volumes: names,
        pid: std::process::id(),
        log: arguments.background_log.clone(),
        remove_folder,
        attached: false,
    };
    if let Err(error) = record.write() {
        talk.say(&format!("`volfold mounts` will not show this mount: {error}"));
    }
    serve_until_freed(mounted, &record, outcome, talk)
}

/// What a mount shows.
struct Shown {
    set: DiskSet,
    /// The volumes, entered.
    volumes: Vec<TreeVolume>,
    /// What is shown as files.
    files: Vec<Device>,
    outcome: Outcome,
}

/// Opens the set and chooses from it, and enters every volume that is shown: what is missing on it,
/// or may be old, is told before the folder is there. `None` if there is nothing to show.
fn open_set(arguments: &MountArguments, disks: &[PathBuf], talk: &Talk) -> Option<Shown> {
    let set = DiskSet::open(disks, &arguments.set.options()).unwrap_or_else(Incomplete::into_set);
    let mut report = Report::to(|line| talk.say(line)).without_left_out();
    report.images(&set);
    let named = |volume: &SetVolume| {
        arguments.volume.is_empty() || arguments.volume.iter().any(|name| volume.is_called(name))
    };
    // With --raw what no driver reads is shown as bytes.
    report.volumes(&set, |volume| named(volume) && !(arguments.raw && volume.is_left_out()));
    let all = devices::devices(&set);
    let volumes: Vec<&SetVolume> =
        set.volumes().iter().map(|volume| &**volume).filter(|volume| named(volume)).collect();
    let mut is_part = false;
    for volume in volumes.iter().filter(|volume| volume.reason.is_some()) {
        let (id, reason) = (volume.id(), volume.reason.as_deref().unwrap_or_default());
        let (file, folder) = (devices::file_name(&all, volume), raw::FOLDER);
        let line = match arguments.raw {
            true => format!("{id}: shown as {folder}/{file} alone: {reason}"),
            false => {
                format!("{id}: not shown: {reason}; with --raw its bytes are {folder}/{file}")
            }
        };
        talk.say(&line);
        is_part |= !arguments.volume.is_empty() && !arguments.raw;
    }
    let mut files = if arguments.raw { all } else { Vec::new() };
    let shown = set.tree_volumes(|volume| named(volume));
    let mut missing = devices::choose(&mut files, &arguments.volume);
    missing.retain(|wanted| set.volume(wanted).is_none());
    for missing in missing {
        talk.say(&format!("{missing}: no such volume; `volfold list` shows names and ids"));
        is_part = true;
    }
    if shown.is_empty() && files.is_empty() {
        if !set.disks().is_empty() && arguments.volume.is_empty() {
            talk.say(NO_VOLUME);
        }
        return None;
    }
    for (number, tree) in shown.iter().enumerate() {
        let volume = volumes.iter().find(|volume| volume.name.as_bytes() == tree.name());
        if let Some(volume) = volume {
            look_into(volume, number, || Some(tree.open()), &mut report);
        }
    }
    report.later(&set);
    let is_part = is_part | (report.end() == Outcome::Part);
    drop(report);
    let outcome = if is_part { Outcome::Part } else { Outcome::Done };
    Some(Shown { set, volumes: shown, files, outcome })
}

/// A disk and the volume that takes all of it are one file.
fn raw_files(devices: Vec<Device>) -> Vec<Arc<Export>> {
    let mut names = HashSet::new();
    let mut files = Vec::new();
    for Device { file_name, device, .. } in devices {
        if names.insert(file_name.clone()) {
            files.push(Arc::new(Export::read_only(file_name, device)));
        }
    }
    files
}

fn serve_until_freed(
    mounted: Box<dyn Mount>,
    record: &MountRecord,
    outcome: Outcome,
    talk: &Talk,
) -> Outcome {
    let ending = process::on_termination({
        let (record, talk, stop) = (record.clone(), talk.clone(), mounted.stopper());
        move || end(&*stop, &record, &talk)
    });
    if let Err(error) = ending {
        talk.note(&format!("no signal handler: SIGTERM will not unmount cleanly: {error}"));
    }
    talk.note(&format!("mounted at {}", record.folder.display()));
    if talk.has_log() {
        process::leave_folder();
    }
    talk.ready(outcome);
    let served = mounted.serve();
    record.clear();
    match served {
        Ok(()) => {
            if talk.has_log() {
                talk.note("unmounted");
            }
            outcome
        }
        Err(error) => {
            talk.note(&error.to_string());
            Outcome::Part
        }
    }
}

/// Frees the folder because the host asks the process to end; programs that still have files open
/// have a moment.
fn end(stop: &dyn Fn(), record: &MountRecord, talk: &Talk) {
    talk.note("asked to end");
    stop();
    thread::sleep(GRACE);
    record.clear();
    process::end_at_once(0);
}

/// Makes sure that `folder` is an empty folder; whether it was made.
fn prepare_folder(projector: &dyn Projector, folder: &Path) -> Result<bool, String> {
    let shown = folder.display();
    if projector.is_mounted(folder).unwrap_or(false) {
        return Err(format!("{shown}: is mounted already; free it with `volfold unmount {shown}`"));
    }
    clear_leftovers(projector, folder);
    if is_letter(folder) {
        return match is_letter_free(folder) {
            true => Ok(false),
            false => Err(format!("{shown}: is a drive already; take another letter")),
        };
    }
    match std::fs::read_dir(folder) {
        Ok(mut entries) => match entries.next() {
            None => Ok(false),
            Some(_) => Err(format!("{shown}: is not empty; give an empty or new folder")),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            std::fs::create_dir(folder).map(|()| true).map_err(|error| match error.kind() {
                io::ErrorKind::NotFound => {
                    format!("{shown}: cannot be made, the folder above it is not there")
                }
                _ => format!("{shown}: cannot be made: {error}"),
            })
        }
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
            Err(format!("{shown}: is not a folder; give an empty or new folder"))
        }
        Err(error) => Err(format!("{shown}: {error}")),
    }
}
