//! `volfold extract`: files out of the images, with their times and holes.
//!
//! Everything is created below one folder ([`Output`]), from names made legal for the host, in a
//! folder that was empty; links are made last. So no name and no link of a guest can lead outside.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::FileTimes;
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::Args;
use indicatif::ProgressBar;
use parking_lot::Mutex;
use volfold_block::error_chain;
use volfold_fs::{
    FileData, FileExtentKind, FileKind, FileSystem, FsResult, Metadata, NodeId, StreamName,
    Timestamp,
};

use super::content::PIECE;
use super::host_names::HostNames;
use super::outcome::Outcome;
use super::output::Output;
use super::paths::{name_of_volume, path_bytes};
use super::set::TreeArguments;
use super::text;
use super::walk::{self, Event, Visit};

/// Files that wait for a writer; each holds a handle of its directory.
const QUEUE: usize = 64;

/// Copy files out of the images, with their times and holes
#[derive(Args)]
#[command(after_help = "\
Examples:
  volfold extract disk.vmdk -o saved
  volfold extract disk.vmdk -p /System/Users/a -p /System/Users/b -o saved

The folder must be new or empty. What is at /System/Users/a comes out as saved/System/Users/a.
Device nodes, pipes and sockets (on Windows also symbolic links) are named on stderr and left out;
the exit code is then 3.")]
pub(crate) struct ExtractArguments {
    /// Disk images that belong together, or a folder with them
    #[arg(required = true, value_name = "DISK")]
    disks: Vec<PathBuf>,
    /// What to copy: /<volume>/dir; may be given several times, without it everything
    #[arg(short, long, value_name = "PATH")]
    path: Vec<OsString>,
    /// Also copy alternate streams, as files FILE:STREAM beside their file
    #[arg(long)]
    streams: bool,
    /// Where to: a new or empty folder
    #[arg(short, long, value_name = "FOLDER")]
    output: PathBuf,
    #[command(flatten)]
    set: TreeArguments,
}

pub(crate) fn run(arguments: &ExtractArguments) -> io::Result<Outcome> {
    let Some((set, tree, outcome)) = arguments.set.open_tree(&arguments.disks) else {
        return Ok(Outcome::Nothing);
    };
    let mut paths: Vec<Vec<u8>> =
        arguments.path.iter().map(|path| name_of_volume(&set, &path_bytes(path))).collect();
    if paths.is_empty() {
        paths.push(b"/".to_vec());
    }
    let output = match empty_folder(&arguments.output) {
        Ok(output) => output,
        Err(error) => {
            text::complain(format_args!("{}: {error}", arguments.output.display()));
            return Ok(Outcome::Nothing);
        }
    };
    let extraction = Extraction::new(&tree, arguments.streams);
    for path in &paths {
        match walk::resolve(&tree, path, false) {
            Ok(node) => extraction.copy(&output, path, node),
            Err(error) => extraction.fail(&walk::path_error(path, &error)),
        }
    }
    let (files, failures) = extraction.finish(&output);
    Ok(match (failures, files) {
        (0, _) => outcome,
        (_, 0) => Outcome::Nothing,
        _ => Outcome::Part,
    })
}

/// The folder `folder`, made if it is not there.
fn empty_folder(folder: &Path) -> io::Result<Output> {
    let output = Output::open(folder)?;
    if !output.is_empty()? {
        return Err(io::Error::other("is not empty; give a new or empty folder"));
    }
    Ok(output)
}

/// A directory of the output.
struct Place {
    path: PathBuf,
    dir: Arc<Output>,
    names: HostNames,
}

/// A file, or a stream of one, that waits for a writer.
struct Job {
    dir: Arc<Output>,
    name: OsString,
    path: Vec<u8>,
    stream: StreamName,
    metadata: Metadata,
}

/// What can only be made when all files are there.
#[derive(Default)]
struct Later {
    links: Vec<(Arc<Output>, OsString, Vec<u8>)>,
    twins: Vec<(PathBuf, PathBuf)>,
    directory_times: Vec<(PathBuf, Metadata)>,
    first_names: HashMap<NodeId, PathBuf>,
}

struct Extraction<'a> {
    tree: &'a dyn FileSystem,
    streams: bool,
    progress: ProgressBar,
    later: Mutex<Later>,
    counts: Mutex<(u64, u64)>,
}

impl<'a> Extraction<'a> {
    fn new(tree: &'a dyn FileSystem, streams: bool) -> Self {
        let progress = ProgressBar::new_spinner();
        let style = indicatif::ProgressStyle::with_template(
            "{spinner} {bytes} at {bytes_per_sec}  {wide_msg}",
        );
        let progress = match style {
            Ok(style) => progress.with_style(style),
            Err(_) => progress,
        };
        Self { tree, streams, progress, later: Mutex::default(), counts: Mutex::default() }
    }

    fn fail(&self, line: &str) {
        self.counts.lock().1 += 1;
        self.progress.suspend(|| text::complain(format_args!("{line}")));
    }

    fn fail_at(&self, path: &[u8], reason: &str) {
        self.fail(&format!("{}: {reason}", String::from_utf8_lossy(path)));
    }

    /// Copies the node at `path` and all below it to the same path below `output`.
    fn copy(&self, output: &Output, path: &[u8], node: NodeId) {
        let (jobs, queue) = sync_channel::<Job>(QUEUE);
        let queue = Mutex::new(queue);
        let workers = thread::available_parallelism().map_or(2, usize::from).max(2);
        thread::scope(|scope| {
            for _ in 0..workers {
                scope.spawn(|| self.write_files(&queue));
            }
            // The queue ends with this call, and the writers with the queue.
            self.feed(output, path, node, jobs);
        });
    }

    fn feed(&self, output: &Output, path: &[u8], node: NodeId, jobs: SyncSender<Job>) {
        let metadata = match self.tree.metadata(node) {
            Ok(metadata) => metadata,
            Err(error) => return self.fail_at(path, &error_chain(&error)),
        };
        let mut place = PathBuf::new();
        let parts: Vec<&[u8]> =
            path.split(|b| *b == b'/').filter(|part| !part.is_empty()).collect();
        let is_directory = metadata.kind == FileKind::Directory;
        let (parents, last) = match parts.split_last() {
            Some((last, parents)) if !is_directory => (parents, Some(*last)),
            _ => (parts.as_slice(), None),
        };
        let mut names = HostNames::of(self.tree, self.tree.root());
        let mut above = Vec::new();
        for part in parents {
            place.push(names.get(part));
            above.extend([b"/", *part].concat());
            // What is not there has no twins; the walk then tells what is wrong.
            names = match walk::resolve(self.tree, &above, true) {
                Ok(dir) => HostNames::of(self.tree, dir),
                Err(_) => HostNames::default(),
            };
        }
        let dir = match output.below(&place) {
            Ok(dir) => Arc::new(dir),
            Err(error) => return self.fail_at(path, &error.to_string()),
        };
        if let Some(name) = last {
            let visit = Visit { path, name, metadata: &metadata, depth: 0 };
            return self.take(&Place { path: place, dir, names }, &visit, &jobs);
        }
        if let (true, Some(name), Some(parent)) = (self.streams, parts.last(), place.parent()) {
            match output.below(parent) {
                Ok(dir) => {
                    let (path_of, dir) = (parent.to_path_buf(), Arc::new(dir));
                    let parent = Place { path: path_of, dir, names: HostNames::default() };
                    let visit = Visit { path, name, metadata: &metadata, depth: 0 };
                    self.take_streams(&parent, &visit, &jobs);
                }
                Err(error) => self.fail_at(path, &error.to_string()),
            }
        }
        self.later.lock().directory_times.push((place.clone(), metadata));
        let mut above = vec![Arc::new(Place { path: place, dir, names })];
        let walked = walk::walk(self.tree, node, path, true, &mut |event| {
            match event {
                Event::Failed(path, error) => self.fail_at(path, &error_chain(&error)),
                Event::Node(visit) => {
                    above.truncate(visit.depth + 1);
                    self.node(&mut above, &visit, &jobs);
                }
            }
            Ok::<(), std::convert::Infallible>(())
        });
        let Ok(()) = walked;
    }

    /// One node of the walk; `above` ends with the directory that it lies in.
    fn node(&self, above: &mut Vec<Arc<Place>>, visit: &Visit<'_>, jobs: &SyncSender<Job>) {
        // A directory that could not be made was complained of; what lies in it has no place.
        let Some(place) = above.get(visit.depth).cloned() else {
            return;
        };
        if visit.metadata.kind != FileKind::Directory {
            return self.take(&place, visit, jobs);
        }
        self.take_streams(&place, visit, jobs);
        let name = place.names.get(visit.name);
        match place.dir.create_dir(&name) {
            Ok(dir) => {
                let path = place.path.join(&name);
                let mut later = self.later.lock();
                later.directory_times.push((path.clone(), visit.metadata.clone()));
                let names = HostNames::of(self.tree, visit.metadata.node);
                above.push(Arc::new(Place { path, dir: Arc::new(dir), names }));
            }
            Err(error) => self.fail_at(visit.path, &error.to_string()),
        }
    }

    /// A node that is no directory.
    fn take(&self, place: &Place, visit: &Visit<'_>, jobs: &SyncSender<Job>) {
        let name = place.names.get(visit.name);
        match visit.metadata.kind {
            FileKind::Regular => {
                if visit.metadata.links > 1 {
                    let here = place.path.join(&name);
                    let mut later = self.later.lock();
                    if let Some(first) = later.first_names.get(&visit.metadata.node).cloned() {
                        later.twins.push((first, here));
                        return;
                    }
                    later.first_names.insert(visit.metadata.node, here);
                }
                let job = Job {
                    dir: place.dir.clone(),
                    name,
                    path: visit.path.to_vec(),
                    stream: StreamName::MAIN,
                    metadata: visit.metadata.clone(),
                };
                if jobs.send(job).is_err() {
                    self.fail_at(visit.path, "no writer is left");
                }
                self.take_streams(place, visit, jobs);
            }
            FileKind::Symlink if cfg!(not(unix)) => {
                self.fail_at(visit.path, "is a symbolic link; left out on this system");
            }
            FileKind::Symlink => match self.tree.read_link(visit.metadata.node) {
                Ok(target) => self.later.lock().links.push((place.dir.clone(), name, target.0)),
                Err(error) => self.fail_at(visit.path, &error_chain(&error)),
            },
            _ => self.fail_at(visit.path, "is a device node, pipe or socket; left out"),
        }
    }

    /// The alternate streams of a node, if they are wanted.
    fn take_streams(&self, place: &Place, visit: &Visit<'_>, jobs: &SyncSender<Job>) {
        if !self.streams {
            return;
        }
        let streams = match self.tree.streams(visit.metadata.node) {
            Ok(streams) => streams,
            Err(error) => return self.fail_at(visit.path, &error_chain(&error)),
        };
        for stream in streams {
            let suffix = [b":", stream.name.0.as_slice()].concat();
            let job = Job {
                dir: place.dir.clone(),
                name: place.names.get(&[visit.name, &suffix].concat()),
                path: [visit.path, &suffix].concat(),
                stream: stream.name,
                metadata: visit.metadata.clone(),
            };
            if jobs.send(job).is_err() {
                self.fail_at(visit.path, "no writer is left");
            }
        }
    }

    fn write_files(&self, queue: &Mutex<Receiver<Job>>) {
        let mut buf = vec![0; PIECE];
        loop {
            let next = queue.lock().recv();
            let Ok(job) = next else { return };
            match self.write_file(&job, &mut buf) {
                Ok(()) => self.counts.lock().0 += 1,
                Err(reason) => self.fail_at(&job.path, &reason),
            }
        }
    }

    fn write_file(&self, job: &Job, buf: &mut [u8]) -> Result<(), String> {
        let host = |error: io::Error| error.to_string();
        let data = self
            .tree
            .open(job.metadata.node, &job.stream)
            .map_err(|error| format!("{} [{}]", error_chain(&error), error.code()))?;
        let mut file = job.dir.create_file(&job.name).map_err(host)?;
        self.copy_content(&*data, &mut file, buf)
            .and_then(|()| file.set_times(file_times(&job.metadata)).map_err(host))
            .inspect_err(|_| {
                // Nothing half-written stays under a name that looks whole.
                let _ = job.dir.remove_file(&job.name);
            })
    }

    /// Writes what `data` holds into the new `file`; holes stay holes.
    fn copy_content(
        &self,
        data: &dyn FileData,
        file: &mut std::fs::File,
        buf: &mut [u8],
    ) -> Result<(), String> {
        let host = |error: io::Error| error.to_string();
        let size = data.size();
        let mut offset = 0;
        while offset < size {
            let extent = data
                .extent_at(offset)
                .map_err(|error| format!("{} [{}]", error_chain(&error), error.code()))?;
            let end = offset.saturating_add(extent.length.max(1)).min(size);
            if extent.kind == FileExtentKind::Hole {
                file.seek(SeekFrom::Start(end)).map_err(host)?;
            } else {
                self.copy_range(data, file, offset, end, buf)?;
            }
            offset = end;
        }
        file.set_len(size).map_err(host)
    }

    fn copy_range(
        &self,
        data: &dyn FileData,
        file: &mut std::fs::File,
        from: u64,
        to: u64,
        buf: &mut [u8],
    ) -> Result<(), String> {
        let mut offset = from;
        while offset < to {
            let wanted = to.saturating_sub(offset).min(buf.len() as u64) as usize;
            let piece: FsResult<usize> = data.read_at(offset, &mut buf[..wanted]);
            match piece {
                Ok(count) if count == wanted => {}
                Ok(_) => return Err("content ends before the size of the file".to_owned()),
                Err(error) => return Err(format!("{} [{}]", error_chain(&error), error.code())),
            }
            file.write_all(&buf[..wanted]).map_err(|error| error.to_string())?;
            offset += wanted as u64;
            self.progress.inc(wanted as u64);
        }
        Ok(())
    }

    /// Makes hard links, then symbolic links, then sets the times of directories, deepest first.
    fn finish(self, output: &Output) -> (u64, u64) {
        let later = std::mem::take(&mut *self.later.lock());
        for (first, second) in &later.twins {
            if let Err(error) = output.hard_link(first, second) {
                self.fail(&format!("{}: {error}", second.display()));
            }
        }
        for (dir, name, target) in &later.links {
            if let Err(error) = dir.symlink(name, target) {
                self.fail(&format!("{}: {error}", Path::new(name).display()));
            }
        }
        for (place, metadata) in later.directory_times.iter().rev() {
            // The tree of volumes has no times of its own.
            if place.as_os_str().is_empty() {
                continue;
            }
            // A folder whose time cannot be set is a folder all the same.
            let _ = output.set_times(place, file_times(metadata));
        }
        self.progress.finish_and_clear();
        *self.counts.lock()
    }
}

fn file_times(metadata: &Metadata) -> FileTimes {
    FileTimes::new()
        .set_modified(system_time(metadata.times.modified))
        .set_accessed(system_time(metadata.times.accessed))
}

fn system_time(time: Timestamp) -> SystemTime {
    let seconds = Duration::from_secs(time.seconds.unsigned_abs());
    let whole = if time.seconds < 0 {
        UNIX_EPOCH.checked_sub(seconds)
    } else {
        UNIX_EPOCH.checked_add(seconds)
    };
    let nanoseconds = Duration::from_nanos(time.nanoseconds.into());
    whole.and_then(|whole| whole.checked_add(nanoseconds)).unwrap_or(UNIX_EPOCH)
}
