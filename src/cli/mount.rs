//! `volfold mount`.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

use clap::Args;
use serde::Serialize;
use volfold::DiskSet;
use volfold::guest::Arrangement;
use volfold::info::Failure;
use volfold_block::Finding;
use volfold_fs::TreeVolume;
use volfold_fs::links::VolumeNames;
use volfold_projector::block::{Export, raw};
use volfold_projector::folder::names;
use volfold_projector::{Log, Mount, MountOptions, PROJECTORS, Projector, process};

use super::background::{self, GRACE, Talk};
use super::devices::Device;
use super::helper;
use super::mount_host::{self, HostArguments};
use super::mount_record::{MountRecord, clear_leftovers, log_file, mount_folder};
use super::mount_set::{Shown, Wanted, label, open_set, raw_files, serial};
use super::outcome::Outcome;
use super::paths::{is_letter, is_letter_free, plain_path};
use super::report::Report;
use super::set::TreeArguments;
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
    /// Show this volume alone, as FOLDER itself; with --guest the volumes of its system are in it
    #[cfg_attr(windows, arg(long, value_name = "VOLUME", conflicts_with_all = ["volume", "raw", "letter", "each", "guest"]))]
    #[cfg_attr(not(windows), arg(long, value_name = "VOLUME", conflicts_with_all = ["volume", "raw"]))]
    only: Option<String>,
    /// Show the bytes of the disk as the file FOLDER/flat, and nothing else
    #[arg(long, hide = true, requires = "raw", conflicts_with_all = ["guest", "only"])]
    flat: bool,
    /// Stay in the foreground; messages go to stderr
    #[arg(long)]
    foreground: bool,
    /// Also show every disk and volume as a file, FOLDER/.raw/NAME.img, whatever is on it
    #[cfg_attr(windows, arg(long, conflicts_with = "letter"))]
    #[cfg_attr(not(windows), arg(long))]
    raw: bool,
    /// Show volumes where the systems on them do (fstab); those that are missing are errors there
    #[cfg_attr(windows, arg(long, conflicts_with_all = ["letter", "each"]))]
    #[cfg_attr(not(windows), arg(long))]
    guest: bool,
    /// Print JSON, version 1: where each volume is, by all the names that programs may use
    #[arg(long)]
    json: bool,
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

    /// Why the arguments contradict each other.
    pub(crate) fn contradiction(&self) -> Option<String> {
        let letter = self.host.letter()?;
        let last = self.paths.last().filter(|_| self.paths.len() > 1)?;
        let is_image = match std::fs::read_dir(last) {
            Ok(mut entries) => entries.next().is_some(),
            Err(error) => error.kind() != io::ErrorKind::NotFound,
        };
        let (letter, last) = (letter.display(), last.display());
        (!is_image).then(|| format!("with --letter {letter} there is no FOLDER; leave out {last}"))
    }

    fn wanted(&self) -> Wanted<'_> {
        Wanted {
            volumes: &self.volume,
            only: self.only.as_deref(),
            raw: self.raw,
            guest: self.guest,
            options: self.set.options(),
        }
    }

    /// How `set` of `disks` is shown, but for what is shown of it.
    fn mount_options(&self, disks: &[PathBuf], set: &DiskSet, talk: &Talk) -> MountOptions {
        let log: Log = Arc::new({
            let talk = talk.clone();
            move |line: &str| talk.note(line)
        });
        let mut options = MountOptions::new(source_of(disks), log);
        options.threads = self.threads;
        options.label = label(disks);
        options.serial = serial(set);
        self.host.apply(&mut options);
        options
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
    background::start(&log, &[], &arguments.set.set.images.key)
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
    if let Some(error) = no_keys(arguments) {
        talk.say(&format!("keys were not handed on: {error}"));
        return Outcome::Nothing;
    }
    let Some(projector) = arguments.host.projector() else {
        talk.say(NO_PROJECTOR);
        return Outcome::Nothing;
    };
    let (disks, folder) = arguments.disks_and_folder();
    let remove_folder = match prepare_folder(projector, &folder) {
        Ok(made) => made,
        Err(line) => {
            not_mounted(arguments, &folder, &line, &mut Report::to(|_| {}), &talk);
            return Outcome::Nothing;
        }
    };
    let outcome = mount_at(projector, arguments, (disks, &folder), remove_folder, &talk);
    if outcome == Outcome::Nothing && remove_folder {
        let _ = std::fs::remove_dir(&folder);
    }
    outcome
}

/// Why what the command in the foreground read of the keys did not come.
fn no_keys(arguments: &MountArguments) -> Option<io::Error> {
    arguments.background_log.as_ref()?;
    background::take_keys(&arguments.set.set.images.key).err()
}

fn mount_at(
    projector: &dyn Projector,
    arguments: &MountArguments,
    (disks, folder): (&[PathBuf], &Path),
    remove_folder: bool,
    talk: &Talk,
) -> Outcome {
    // The keys go with what was wanted, once the set is open.
    let (mut report, shown) = open_set(&arguments.wanted(), disks, talk);
    let Some(Shown { set, mut volumes, files, arrangement, only, outcome }) = shown else {
        if arguments.json {
            answer_json(&MountJson::nothing(&report), talk);
        }
        return Outcome::Nothing;
    };
    let names: Vec<String> =
        volumes.iter().map(|volume| String::from_utf8_lossy(volume.name()).into_owned()).collect();
    volumes.extend(arrangement.missing());
    let mut root = only.clone().map(String::into_bytes);
    if arguments.flat {
        volumes = flat(files);
        root = Some(raw::FOLDER.into());
    } else if arguments.raw {
        volumes.push(raw::volume(raw_files(files)));
    }
    let shown_at = |name: &String| shown_at(name, &arrangement, only.as_deref());
    let folders: Vec<PathBuf> = names.iter().map(shown_at).collect();
    let mut options = arguments.mount_options(disks, &set, talk);
    options.volumes = links_of(&set, &names, only.as_deref(), arguments.guest);
    options.root = root;
    options.arrange = Some(Arc::new({
        let talk = talk.clone();
        move |tree| arrangement.apply(tree).iter().for_each(|line| talk.say(line))
    }));
    let mounted = match projector.mount(volumes, folder, &options) {
        Ok(mounted) => mounted,
        Err(error) => {
            not_mounted(arguments, folder, &error.to_string(), &mut report, talk);
            return Outcome::Nothing;
        }
    };
    if let Some(warning) = projector.warning() {
        talk.say(&warning);
    }
    let paths = paths(&*mounted, folder, names.iter().zip(&folders), &arguments.host);
    if arguments.json {
        let log = arguments.background_log.as_deref();
        let volumes = mounted_volumes(&set, &paths);
        answer_json(&MountJson::new(folder, log, volumes, &report), talk);
    }
    drop(report);
    // Of a set that is shown whole there is nothing to say.
    let tells = outcome == Outcome::Part && !arguments.json;
    for shown in folders.iter().filter(|_| tells) {
        talk.answer(&path_in(folder, shown).display().to_string());
    }
    let record = MountRecord {
        folder: folder.to_path_buf(),
        images: disks.iter().map(|disk| plain_path(disk)).collect(),
        volumes: names,
        paths,
        pid: std::process::id(),
        log: arguments.background_log.clone(),
        remove_folder,
        attached: false,
        file: None,
    };
    if let Err(error) = record.write() {
        talk.say(&format!("`volfold mounts` will not show this mount: {error}"));
    }
    serve_until_freed(mounted, &record, outcome, talk)
}

/// What is answered of a mount.
#[derive(Serialize)]
struct MountJson<'a> {
    version: u32,
    /// `null` where nothing was mounted.
    folder: Option<String>,
    log: Option<String>,
    volumes: Vec<MountedVolumeJson<'a>>,
    failures: &'a [Failure],
    findings: &'a [Finding],
}

#[derive(Serialize)]
struct MountedVolumeJson<'a> {
    id: &'a str,
    name: &'a str,
    /// Its folder, then what else it may be called.
    paths: &'a [String],
}

/// The volumes of `set` that are shown by `paths`.
fn mounted_volumes<'a>(
    set: &'a DiskSet,
    paths: &'a BTreeMap<String, Vec<String>>,
) -> Vec<MountedVolumeJson<'a>> {
    let shown = set.volumes().iter().filter_map(|volume| {
        let paths = paths.get(&volume.name)?;
        Some(MountedVolumeJson { id: volume.id(), name: &volume.name, paths })
    });
    shown.collect()
}

impl<'a> MountJson<'a> {
    fn new(
        folder: &Path,
        log: Option<&Path>,
        volumes: Vec<MountedVolumeJson<'a>>,
        report: &'a Report<'_>,
    ) -> Self {
        let shown = |path: &Path| path.display().to_string();
        let (folder, log) = (Some(shown(folder)), log.map(shown));
        Self { folder, log, volumes, ..Self::nothing(report) }
    }

    fn nothing(report: &'a Report<'_>) -> Self {
        let (failures, findings) = (report.failures(), report.findings());
        Self { version: 1, folder: None, log: None, volumes: Vec::new(), failures, findings }
    }
}

/// Says why nothing is mounted at `folder`, after what `report` has.
fn not_mounted(
    arguments: &MountArguments,
    folder: &Path,
    line: &str,
    report: &mut Report<'_>,
    talk: &Talk,
) {
    talk.say(line);
    if arguments.json {
        report.silent().refused(folder.as_os_str().as_encoded_bytes(), "host", line.to_owned());
        answer_json(&MountJson::nothing(report), talk);
    }
}

fn answer_json(json: &MountJson<'_>, talk: &Talk) {
    // Nothing in it can fail to be written.
    let text = serde_json::to_string_pretty(json).unwrap_or_default();
    text.lines().for_each(|line| talk.answer(line));
}

/// What `mount` and `df` call the source.
fn source_of(disks: &[PathBuf]) -> String {
    disks.iter().map(|disk| disk.display().to_string()).collect::<Vec<_>>().join(":")
}

/// What links of the volumes `shown` call them, or of `only` one, in which others lie in a tree of a
/// `guest`.
fn links_of(set: &DiskSet, shown: &[String], only: Option<&str>, guest: bool) -> VolumeNames {
    let all = || set.volume_names(|name| shown.iter().any(|shown| shown == name));
    match only {
        None => all(),
        // No link leads out of it, nor from another volume to its begin by its name.
        Some(_) if guest => VolumeNames::default(),
        Some(only) => all().only(only.as_bytes()),
    }
}

/// The first of `files` alone, as the file `flat`.
fn flat(files: Vec<Device>) -> Vec<TreeVolume> {
    let first = files.into_iter().next();
    let file = first.map(|it| Arc::new(Export::read_only("flat", it.device)));
    vec![raw::volume(file.into_iter().collect())]
}

/// Where the volume `name` is shown below the folder of the mount, which shows all or `only` one.
fn shown_at(name: &str, arrangement: &Arrangement, only: Option<&str>) -> PathBuf {
    let (root, below) = arrangement.place_of(name).unwrap_or((name, ""));
    let parts = below.split('/').filter(|part| !part.is_empty());
    let root = only.is_none().then_some(root);
    root.into_iter().chain(parts).map(|part| names::to_host(part.as_bytes())).collect()
}

/// `below` in `folder`, which it is itself if it has no parts.
fn path_in(folder: &Path, below: &Path) -> PathBuf {
    folder.iter().chain(below).collect()
}

/// The names that programs may use for each volume, of which `shown` has the name and the folder: the
/// folder first.
fn paths<'a>(
    mounted: &dyn Mount,
    folder: &Path,
    shown: impl Iterator<Item = (&'a String, &'a PathBuf)>,
    host: &HostArguments,
) -> BTreeMap<String, Vec<String>> {
    let of = |(name, below): (&String, &PathBuf)| {
        let own = match host.letter() {
            Some(letter) => format!("{}\\", letter.display()),
            None => path_in(folder, below).display().to_string(),
        };
        let mut paths = vec![own];
        paths.extend(mounted.other_names(name.as_bytes()));
        (name.clone(), paths)
    };
    shown.map(of).collect()
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
    let is_wanted = record.log.is_none() || is_waited_for();
    if is_wanted {
        talk.ready(outcome);
    } else {
        talk.note("the command that started it was ended before it was ready; it ends too");
        (mounted.stopper())();
    }
    let served = mounted.serve();
    record.clear();
    match served {
        _ if !is_wanted => Outcome::Nothing,
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

/// Whether the command that started this one in the background waits for it still; what it told its
/// user is then what is there. The record was written before.
fn is_waited_for() -> bool {
    let mut pipe = io::stdout().lock();
    // A line that tells nothing.
    writeln!(pipe).and_then(|()| pipe.flush()).is_ok()
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
            false => Err(format!("{shown} is a drive already; take another letter")),
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
