//! `volfold check`: reads everything, and proves what can be read.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;

use clap::Args;
use indicatif::ProgressBar;
use parking_lot::Mutex;
use serde::Serialize;
use volfold::info::Failure;
use volfold::{DiskSet, SetVolume};
use volfold_block::{Finding, FindingLog, ReadBuffer, code, error_chain};
use volfold_fs::{
    FileExtentKind, FileKind, FileSystem, FsError, FsErrorKind, FsResult, NodeId, StreamName,
};

use super::allocated::Allocated;
use super::content::{PIECE, read_piece};
use super::list::compare;
use super::outcome::Outcome;
use super::paths::not_named;
use super::progress;
use super::recorded;
use super::report::Report;
use super::set::{self, TreeArguments};
use super::text;
use super::walk::{self, Event};

/// Files that wait for a reader.
const QUEUE: usize = 256;

/// Read everything, and tell what can be read, what cannot, and what contradicts itself
#[derive(Args)]
#[command(after_help = "\
Examples:
  volfold check disk.vmdk
  volfold check folder-with-the-disks-of-a-set --json

Reads every file and alternate stream of every volume, compares what the file systems record twice
(tables and their copies, sizes and chains, clusters of two files), and the sides of mirrors and
RAID-5. Where an image keeps a hash of its disk (E01), or a packed machine (OVA) has a manifest, all of
it is read and compared, unless single volumes are asked for. Exit code 0 means that all of it can be
read and agrees.")]
pub(crate) struct CheckArguments {
    /// Disk images that belong together, or a folder with them
    #[arg(required = true, value_name = "DISK")]
    disks: Vec<PathBuf>,
    /// Only this volume (folder name or id); may be given several times
    #[arg(long, value_name = "VOLUME")]
    volume: Vec<String>,
    /// Print JSON, version 1
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    set: TreeArguments,
}

#[derive(Serialize)]
struct CheckJson<'a> {
    version: u32,
    disks: &'a [recorded::DiskJson],
    manifest: &'a [recorded::FileJson],
    volumes: &'a [VolumeJson],
    failures: &'a [Failure],
    findings: &'a [Finding],
}

/// What was compared with hashes that were recorded.
#[derive(Default)]
struct Recorded {
    disks: Vec<recorded::DiskJson>,
    files: Vec<recorded::FileJson>,
}

/// What a volume holds that can be read, and what cannot.
#[derive(Default, Serialize)]
struct VolumeJson {
    id: String,
    name: String,
    file_system: Option<&'static str>,
    /// Why nothing of it was read.
    reason: Option<String>,
    directories: u64,
    /// Files and alternate streams that were read to their end.
    files: u64,
    bytes: u64,
    /// Files and streams that this build cannot read though they may be fine, by code.
    refused: BTreeMap<&'static str, u64>,
    /// Files, streams and directories that are damaged, by code.
    damaged: BTreeMap<&'static str, u64>,
    /// What contradicts itself.
    contradictions: u64,
}

pub(crate) fn run(arguments: &CheckArguments) -> io::Result<Outcome> {
    let (set, report) = set::open(&arguments.disks, &arguments.set.options());
    let mut report = report.with_warnings();
    let progress = progress::spinner();
    report.say_by({
        let progress = progress.clone();
        move |line| progress.suspend(|| text::complain(format_args!("{line}")))
    });
    let named = |volume: &SetVolume| {
        arguments.volume.is_empty() || arguments.volume.iter().any(|name| volume.is_called(name))
    };
    if !arguments.volume.is_empty() {
        report.about_part();
    }
    report.volumes(&set, named);
    let mut is_missing = false;
    for wanted in arguments.volume.iter().filter(|wanted| set.volume(wanted).is_none()) {
        text::complain(format_args!("{}", not_named(&set, wanted)));
        is_missing = true;
    }
    let mut volumes = Vec::new();
    for volume in set.volumes().iter().filter(|volume| named(volume)) {
        progress.set_message(volume.name.clone());
        volumes.push(check(volume, &mut report, &progress));
    }
    let mut recorded = Recorded::default();
    if arguments.volume.is_empty() {
        look_at_tables(&set, &mut report);
        recorded.disks = recorded::compare(&set, &mut report, &progress);
        recorded.files = recorded::compare_files(&set, &mut report, &progress);
    }
    progress.finish_and_clear();
    report.later(&set);
    let outcome = report.end();
    print(arguments, &set, &recorded, &volumes, &report)?;
    Ok(if set.disks().is_empty() || (volumes.is_empty() && recorded.disks.is_empty()) {
        Outcome::Nothing
    } else if is_missing {
        Outcome::Part
    } else {
        outcome
    })
}

/// Looks at all tables of the images: what they name twice is noticed where it is looked at.
fn look_at_tables(set: &DiskSet, report: &mut Report<'_>) {
    for (index, disk) in set.disks().iter().enumerate() {
        if let Err(error) = Allocated::of(disk) {
            let line = format!("its tables cannot be read: {}", error_chain(&error));
            report.finding(Finding::error(code::DISK_UNREADABLE, line).on_disk(index));
        }
    }
}

fn check(volume: &SetVolume, report: &mut Report<'_>, progress: &ProgressBar) -> VolumeJson {
    let mut result = VolumeJson {
        id: volume.id().to_owned(),
        name: volume.name.clone(),
        reason: volume.reason.clone(),
        ..VolumeJson::default()
    };
    compare(volume, report);
    if volume.reason.is_some() {
        return result;
    }
    let files = match volume.file_system() {
        Ok(files) => files,
        Err(error) => {
            report.not_entered(volume.id(), &volume.name, &error);
            result.reason = Some(error_chain(&error));
            return result;
        }
    };
    result.file_system = Some(files.info().kind);
    let result = Mutex::new(result);
    let shared = Mutex::new(&mut *report);
    read_all(&files, volume, &result, &shared, progress);
    // A volume may contradict itself without end: each thing once, and a bounded number.
    let contradictions = FindingLog::new();
    let checked = files.check(&mut |finding| contradictions.add(finding));
    let contradictions = contradictions.all();
    for finding in &contradictions {
        shared.lock().contradiction(finding.clone().on_volume(volume.id()));
    }
    let mut result = result.into_inner();
    result.contradictions = contradictions.len() as u64;
    if let Err(error) = checked {
        report.file(format!("/{}", volume.name).as_bytes(), &error);
    }
    report.file_system(volume.id(), &*files);
    result
}

/// A stream of a file that waits for a reader.
struct Job {
    path: Vec<u8>,
    node: NodeId,
    stream: StreamName,
}

/// Reads every file and stream of `files`.
fn read_all(
    files: &Arc<dyn FileSystem>,
    volume: &SetVolume,
    result: &Mutex<VolumeJson>,
    report: &Mutex<&mut Report<'_>>,
    progress: &ProgressBar,
) {
    let fail = |path: &[u8], error: &FsError| {
        let mut result = result.lock();
        let counts =
            if is_refused(error.kind()) { &mut result.refused } else { &mut result.damaged };
        *counts.entry(error.code()).or_default() += 1;
        drop(result);
        report.lock().file(path, error);
    };
    let (jobs, queue) = sync_channel::<Job>(QUEUE);
    let queue = Mutex::new(queue);
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(2, usize::from) {
            scope.spawn(|| read_files(&**files, &queue, result, &fail, progress));
        }
        let root = format!("/{}", volume.name).into_bytes();
        let walked = walk::walk(&**files, files.root(), &root, true, &mut |event| {
            match event {
                Event::Failed(path, error) => fail(path, &error),
                Event::Node(visit) => {
                    let node = visit.metadata.node;
                    match visit.metadata.kind {
                        FileKind::Directory => result.lock().directories += 1,
                        FileKind::Regular => {
                            let path = visit.path.to_vec();
                            // The readers go on until the queue ends.
                            let _ = jobs.send(Job { path, node, stream: StreamName::MAIN });
                        }
                        FileKind::Symlink => {
                            if let Err(error) = files.read_link(node) {
                                fail(visit.path, &error);
                            }
                        }
                        _ => {}
                    }
                    match files.streams(node) {
                        Ok(streams) => {
                            for stream in streams {
                                let path = [visit.path, b":", stream.name.0.as_slice()].concat();
                                let _ = jobs.send(Job { path, node, stream: stream.name });
                            }
                        }
                        Err(error) => fail(visit.path, &error),
                    }
                }
            }
            Ok::<(), std::convert::Infallible>(())
        });
        let Ok(()) = walked;
        drop(jobs);
    });
}

fn read_files(
    files: &dyn FileSystem,
    queue: &Mutex<Receiver<Job>>,
    result: &Mutex<VolumeJson>,
    fail: &(dyn Fn(&[u8], &FsError) + Sync),
    progress: &ProgressBar,
) {
    let mut buf = ReadBuffer::new(PIECE);
    loop {
        let next = queue.lock().recv();
        let Ok(job) = next else { return };
        match read_file(files, &job, &mut buf, progress) {
            Ok(bytes) => {
                let mut result = result.lock();
                result.files += 1;
                result.bytes += bytes;
            }
            Err(error) => fail(&job.path, &error),
        }
    }
}

fn read_file(
    files: &dyn FileSystem,
    job: &Job,
    buf: &mut [u8],
    progress: &ProgressBar,
) -> FsResult<u64> {
    let data = files.open(job.node, &job.stream)?;
    let mut offset = 0;
    while offset < data.size() {
        let extent = data.extent_at(offset)?;
        // A hole says by itself what it holds, however long it is.
        if extent.kind == FileExtentKind::Hole {
            offset = offset.saturating_add(extent.length.max(1)).min(data.size());
            continue;
        }
        let wanted = extent.length.clamp(1, buf.len() as u64) as usize;
        let count = read_piece(&*data, offset, &mut buf[..wanted])?.len() as u64;
        offset += count;
        progress.inc(count);
    }
    Ok(data.size())
}

/// Whether the content may be fine where somebody can decode it.
fn is_refused(kind: FsErrorKind) -> bool {
    matches!(
        kind,
        FsErrorKind::Encrypted
            | FsErrorKind::Undecodable(_)
            | FsErrorKind::Unsupported
            | FsErrorKind::MissingPart
    )
}

fn print(
    arguments: &CheckArguments,
    set: &DiskSet,
    recorded: &Recorded,
    volumes: &[VolumeJson],
    report: &Report<'_>,
) -> io::Result<()> {
    if arguments.json {
        let (failures, findings) = (report.failures(), report.findings());
        let Recorded { disks, files: manifest } = recorded;
        let json = CheckJson { version: 1, disks, manifest, volumes, failures, findings };
        let mut text = serde_json::to_string_pretty(&json)?;
        text.push('\n');
        return text::answer(text.as_bytes());
    }
    let mut text = String::new();
    for disk in &recorded.disks {
        recorded::human(&mut text, disk);
    }
    for file in &recorded.files {
        recorded::human_file(&mut text, file);
    }
    for volume in volumes {
        human(&mut text, volume);
    }
    if !set.disks().is_empty() {
        let is_any_read = volumes.iter().any(|volume| volume.file_system.is_some());
        let verdict = match (report.is_part(), is_any_read) {
            _ if volumes.is_empty() && recorded.disks.is_empty() => None,
            (false, true) => Some("all that is known can be read, and agrees"),
            (true, true) => Some("not all can be read, or is certain; see the messages"),
            (_, false) => Some("there is nothing that can be read"),
        };
        if let Some(verdict) = verdict {
            let _ = writeln!(text, "{verdict}");
        }
    }
    text::answer(text.as_bytes())
}

fn human(text: &mut String, volume: &VolumeJson) {
    let VolumeJson { name, id, .. } = volume;
    let Some(kind) = volume.file_system else {
        let reason = volume.reason.as_deref().unwrap_or_default();
        let _ = writeln!(text, "{name} ({id}): not read: {reason}");
        return;
    };
    let (bytes, directories) = (text::size(volume.bytes), volume.directories);
    let _ = writeln!(text, "{name} ({id}): {kind}");
    let _ =
        writeln!(text, "  read     {} files, {bytes}, in {directories} directories", volume.files);
    for (word, counts) in [("refused", &volume.refused), ("damaged", &volume.damaged)] {
        for (code, count) in counts {
            let _ = writeln!(text, "  {word}  {count} [{code}]");
        }
    }
    if volume.contradictions > 0 {
        let _ = writeln!(text, "  {} contradictions", volume.contradictions);
    }
}
