//! Disks and volumes as loop devices of Linux.
//!
//! A process in the background shows them as files of a folder that only this user can enter, and a
//! loop device is set over each. It ends when the last of the devices is let go, by any program.
//! What a killed process left is found by its record and by `/sys/block`.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use volfold::DiskSet;
use volfold_projector::block::Export;
use volfold_projector::block::loop_device::{self, LoopDevice, LoopOptions};
use volfold_projector::{Log, Mount, ProjectResult, process};

use super::shared::{
    AttachArguments, DetachArguments, FOLDER, begin, none_is, outcome_of, outcome_of_count,
    records, still_reads, way,
};
use crate::cli::background::{GRACE, PATIENCE, Talk};
use crate::cli::devices::Device;
use crate::cli::mount_record::MountRecord;
use crate::cli::outcome::Outcome;
use crate::cli::text;

/// How old a folder without a record is before no process can be about to write one.
const ORPHAN: Duration = Duration::from_secs(60);

/// Whether this host lets this user attach.
///
/// # Errors
/// What is missing.
pub(super) fn check_host() -> ProjectResult<()> {
    loop_device::check_host()
}

/// What the serving process is told.
enum Event {
    /// The host asks it to end.
    Asked,
    /// The last open file was closed.
    Closed,
    /// The folder was freed.
    Freed,
}

/// The process in the background.
pub(super) fn serve(arguments: &AttachArguments, log: &Path, folder: &Path) -> Outcome {
    process::leave_terminal();
    let talk = Talk::new(Some(log));
    let Some((set, devices, record, outcome)) = begin(arguments, folder, log, &talk) else {
        return Outcome::Nothing;
    };
    let (events, told) = channel();
    let (stop, server) = match show(arguments, &set, &devices, folder, &talk, &events) {
        Ok(shown) => shown,
        Err(line) => {
            talk.say(&line);
            return Outcome::Nothing;
        }
    };
    let asked = events.clone();
    if let Err(error) = process::on_termination(move || drop(asked.send(Event::Asked))) {
        talk.note(&format!("no signal handler: SIGTERM will not detach cleanly: {error}"));
    }
    let count = attach_all(arguments, &devices, folder, &talk);
    let outcome = outcome_of_count(count, devices.len(), outcome);
    if outcome != Outcome::Nothing {
        process::leave_folder();
        talk.ready(outcome);
        wait_for_end(folder, &told, &talk);
    }
    stop();
    end(server, &record, &talk);
    outcome
}

type Shown = (Box<dyn Fn() + Send + Sync>, JoinHandle<ProjectResult<()>>);

/// Shows `devices` as files of `folder`: what ends that, and the thread that answers.
fn show(
    arguments: &AttachArguments,
    set: &DiskSet,
    devices: &[Device],
    folder: &Path,
    talk: &Talk,
    events: &Sender<Event>,
) -> Result<Shown, String> {
    arguments.overlay.check(devices.len())?;
    let say = |line: &str| talk.say(line);
    let file =
        |device: &Device| arguments.overlay.export(set, device, device.file_name.clone(), &say);
    let files = devices.iter().map(file).collect::<Result<Vec<Arc<Export>>, String>>()?;
    let log: Log = Arc::new({
        let talk = talk.clone();
        move |line: &str| talk.note(line)
    });
    let source = devices.iter().map(|device| device.id.as_str()).collect::<Vec<_>>().join("+");
    let closed = events.clone();
    let closed = Box::new(move || drop(closed.send(Event::Closed)));
    let mounted = loop_device::show_files(files, folder, &source, log, closed);
    let mounted: Box<dyn Mount> = mounted.map_err(|error| error.to_string())?;
    let stop = mounted.stopper();
    let freed = events.clone();
    let server = thread::Builder::new().name("fuse".to_owned()).spawn(move || {
        let served = mounted.serve();
        let _ = freed.send(Event::Freed);
        served
    });
    Ok((stop, server.map_err(|error| error.to_string())?))
}

/// Sets up a loop device over each file and tells of it; how many there are.
fn attach_all(
    arguments: &AttachArguments,
    devices: &[Device],
    folder: &Path,
    talk: &Talk,
) -> usize {
    let mut count = 0;
    for device in devices {
        let mut options = LoopOptions::default();
        options.writable = arguments.overlay.is_given();
        options.sector_size = device.sector_size;
        options.partitions = device.is_partitioned;
        match loop_device::attach(&folder.join(&device.file_name), &options) {
            Err(error) => talk.say(&error.to_string()),
            Ok(attached) => {
                count += 1;
                let path = attached.path();
                let way = way(options.writable);
                talk.answer(&format!("{}  {}, {way}", path.display(), device.description));
                for partition in attached.partitions() {
                    talk.answer(&partition.display().to_string());
                }
                talk.note(&format!("attached as {}", path.display()));
                let rest = device.device.size() % u64::from(device.sector_size);
                if rest > 0 {
                    let path = path.display();
                    talk.say(&format!("{path}: lacks the last {rest} bytes, which are no sector"));
                }
            }
        }
    }
    count
}

/// Returns when no device is left, or the host asks.
fn wait_for_end(folder: &Path, told: &Receiver<Event>, talk: &Talk) {
    loop {
        match told.recv() {
            Ok(Event::Closed) => {
                // No file is open; the kernel's own list is a moment behind.
                let start = Instant::now();
                while start.elapsed() < GRACE {
                    if loop_device::below(folder).is_empty() {
                        return;
                    }
                    thread::sleep(Duration::from_millis(5));
                }
            }
            Ok(Event::Asked) => {
                talk.note("asked to end");
                for device in loop_device::below(folder) {
                    if let Err(error) = device.detach(false) {
                        talk.note(&error.to_string());
                        // Goes with its last user, who from now on gets errors.
                        let _ = device.detach(true);
                    }
                }
                return;
            }
            Ok(Event::Freed) | Err(_) => return,
        }
    }
}

/// Waits for the thread that answers, but not for ever: a device may still be in use.
fn end(server: JoinHandle<ProjectResult<()>>, record: &MountRecord, talk: &Talk) {
    let start = Instant::now();
    while !server.is_finished() && start.elapsed() < GRACE {
        thread::sleep(Duration::from_millis(5));
    }
    if server.is_finished()
        && let Ok(Err(error)) = server.join()
    {
        talk.note(&error.to_string());
    }
    record.clear();
    talk.note("detached");
}

/// Frees what `record` tells of, whose process died, as far as it is not in use.
fn clear(record: &MountRecord) {
    let mut left = false;
    for device in loop_device::below(&record.folder) {
        if let Err(error) = device.detach(false) {
            let path = device.path();
            let path = path.display();
            text::complain(format_args!("{error}, and then `volfold detach {path}`"));
            left = true;
        }
    }
    if !left {
        free(record);
    }
}

/// As [`clear`], of a process that told that it could not begin.
pub(super) fn clear_failed(record: &MountRecord) {
    clear(record);
}

/// Frees what killed processes left.
pub(super) fn clear_dead() {
    for record in records().filter(|record| !process::is_running(record.pid)) {
        clear(&record);
    }
    let entries = process::state_folders().into_iter().filter_map(|state| fs::read_dir(state).ok());
    for entry in entries.flatten().flatten() {
        let ours = entry.file_name().to_string_lossy().starts_with(FOLDER);
        let modified = entry.metadata().and_then(|facts| facts.modified());
        let old = modified.is_ok_and(|time| time.elapsed().is_ok_and(|age| age > ORPHAN));
        if ours && old && MountRecord::of(&entry.path()).is_none() {
            // Only an empty folder goes.
            let _ = fs::remove_dir(entry.path());
        }
    }
}

/// Frees the folder of a process that died.
fn free(record: &MountRecord) {
    loop_device::free_folder(&record.folder);
    record.clear();
}

pub(super) fn detach(arguments: &DetachArguments) -> Outcome {
    let all = arguments.device.as_os_str() == "all";
    let chosen: Vec<(MountRecord, Vec<LoopDevice>)> = if all {
        let with_devices = |record: MountRecord| {
            let devices = loop_device::below(&record.folder);
            (record, devices)
        };
        records().map(with_devices).collect()
    } else {
        let device = loop_device::named(&arguments.device);
        let of = |device: &LoopDevice| {
            records().find(|record| device.file().starts_with(&record.folder))
        };
        device.and_then(|device| Some((of(&device)?, vec![device]))).into_iter().collect()
    };
    if chosen.is_empty() {
        return none_is(&arguments.device);
    }
    let (mut done, mut failed) = (false, false);
    for (record, devices) in chosen {
        for device in devices {
            match device.detach(arguments.force) {
                Ok(()) => done = true,
                Err(error) => {
                    text::complain(format_args!("{error}"));
                    failed = true;
                }
            }
        }
        if loop_device::below(&record.folder).is_empty() {
            match wait_for_process(&record) {
                true => done = true,
                false => failed = true,
            }
        }
    }
    outcome_of(done, failed)
}

/// Waits until the process that served `record` has closed the images, and clears what it left.
fn wait_for_process(record: &MountRecord) -> bool {
    let start = Instant::now();
    while process::is_running(record.pid) && MountRecord::of(&record.folder).is_some() {
        if start.elapsed() > PATIENCE {
            text::complain(format_args!("{}", still_reads(record)));
            return false;
        }
        thread::sleep(Duration::from_millis(2));
    }
    while process::is_running(record.pid) && start.elapsed() < GRACE {
        thread::sleep(Duration::from_millis(2));
    }
    free(record);
    true
}
