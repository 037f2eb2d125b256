//! Copying a tree into a folder.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::SystemTime;

use indicatif::ProgressBar;
use parking_lot::Mutex;
use volfold::DiskSet;
use volfold::files::Found;
use volfold_block::{ReadBuffer, error_chain};
use volfold_fs::{
    FileData, FileExtentKind, FileKind, FileSystem, FsError, FsResult, Metadata, Name, NodeId,
    StreamName, VolumeTree,
};

use super::arguments::{ExtractArguments, LinkStyle};
use super::links::Links;
use super::output::{Existing, Output};
use super::place::{CopiedLink, Later, Lineage, Link, Place, clashing};
use super::stop::Stop;
use super::times::{file_times, system_time};
use crate::cli::content::PIECE;
use crate::cli::host_names::HostNames;
use crate::cli::report::Report;
use crate::cli::walk::{self, Event, Visit};

/// Files that wait for a writer; each holds a handle of its directory.
const QUEUE: usize = 64;

/// The code of what the host refuses.
pub(super) const HOST: &str = "host";

/// The code of what is left out because of its kind.
const SPECIAL: &str = "special-file";

/// The code of what stood there already.
const EXISTS: &str = "exists";

/// Why something was not copied: a code, and words.
pub(super) struct Reason(pub(super) &'static str, pub(super) String);

impl From<FsError> for Reason {
    fn from(error: FsError) -> Self {
        Self(error.code(), error_chain(&error))
    }
}

/// What stands in the way of a new file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Existed {
    /// Nothing may; the folder was empty.
    Refuse,
    /// It is kept.
    Keep,
    /// It is taken for what is to be copied if size and time are the same.
    Compare,
}

/// A file, or a stream of one, that waits for a writer.
pub(super) struct Job {
    pub(super) dir: Arc<Output>,
    pub(super) name: OsString,
    pub(super) path: Vec<u8>,
    pub(super) stream: StreamName,
    pub(super) metadata: Metadata,
}

/// A run of `extract`.
pub(super) struct Extraction<'a> {
    pub(super) arguments: &'a ExtractArguments,
    pub(super) tree: &'a VolumeTree,
    pub(super) links: Links<'a>,
    pub(super) copies: Mutex<Vec<CopiedLink>>,
    pub(super) existed: Existed,
    progress: &'a ProgressBar,
    pub(super) stop: &'a Stop,
    report: Mutex<Report<'static>>,
    pub(super) later: Mutex<Later>,
    files: Mutex<u64>,
}

impl<'a> Extraction<'a> {
    pub(super) fn new(
        arguments: &'a ExtractArguments,
        set: &DiskSet,
        tree: &'a VolumeTree,
        report: Report<'static>,
        progress: &'a ProgressBar,
        stop: &'a Stop,
    ) -> Self {
        let existed = match (arguments.resume, arguments.merge) {
            (true, _) => Existed::Compare,
            (false, true) => Existed::Keep,
            (false, false) => Existed::Refuse,
        };
        Self {
            arguments,
            tree,
            links: Links::new(arguments, tree, set.volume_names(|_| true)),
            copies: Mutex::default(),
            existed,
            progress,
            stop,
            report: Mutex::new(report),
            later: Mutex::default(),
            files: Mutex::default(),
        }
    }

    /// Copies what was `found` at each of these paths to the guest's own paths below `output`: the
    /// number of files that are complete, and what is to be told.
    pub(super) fn run(
        self,
        output: &Output,
        found: &[(Vec<u8>, FsResult<Found>)],
    ) -> (u64, Report<'static>) {
        for (path, found) in found {
            match found {
                Ok(found) => self.copy(output, &found.real, found.node),
                Err(error) => self.report.lock().path(path, error),
            }
        }
        if !self.stop.is_set() {
            self.finish(output);
        }
        self.links.tell(&mut self.report.lock());
        (self.files.into_inner(), self.report.into_inner())
    }

    pub(super) fn fail(&self, path: &[u8], Reason(code, line): Reason) {
        self.report.lock().refused(path, code, line);
    }

    /// The reason that the host gives; one that all later writes will meet ends the run.
    pub(super) fn host(&self, error: &io::Error) -> Reason {
        self.stop.by_host(error);
        Reason(HOST, error.to_string())
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
            if let Err(reason) = self.feed(output, path, node, &jobs) {
                self.fail(path, reason);
            }
            self.copy_links(&jobs);
            drop(jobs);
        });
    }

    fn feed(
        &self,
        output: &Output,
        path: &[u8],
        node: NodeId,
        jobs: &SyncSender<Job>,
    ) -> Result<(), Reason> {
        let metadata = self.tree.metadata(node)?;
        let parts: Vec<&[u8]> =
            path.split(|b| *b == b'/').filter(|part| !part.is_empty()).collect();
        let is_directory = metadata.kind == FileKind::Directory;
        let (parents, last) = match parts.split_last() {
            Some((last, parents)) if !is_directory => (parents, Some(*last)),
            _ => (parts.as_slice(), None),
        };
        let mut place = PathBuf::new();
        let mut names = HostNames::of(self.tree, self.tree.root());
        let mut lineage = None;
        let mut parent = self.tree.root();
        let below = |place: &Path| output.below(place).map_err(|error| self.host(&error));
        for part in parents {
            let clashes = clashing(self.tree, parent, &below(&place)?);
            if clashes.map_err(|error| self.host(&error))?.contains(*part) {
                return Err(clash());
            }
            place.push(names.get(part));
            // It was found, so it is the guest's own name: as an argument it could mean another one.
            let dir = self.tree.lookup(parent, Name::new(part))?;
            names = HostNames::of(self.tree, dir);
            lineage = Lineage::new(dir, lineage);
            parent = dir;
        }
        let dir = Arc::new(below(&place)?);
        let clashing = self.clashing(parent, &dir)?;
        if let Some(name) = last {
            let visit = Visit { path, name, metadata: &metadata, depth: 0 };
            let mut above = vec![Arc::new(Place {
                path: place,
                dir,
                names,
                lineage,
                clashing,
                is_copy: false,
            })];
            self.node(&mut above, &visit, jobs);
            return Ok(());
        }
        if let (true, Some(name), Some(parent)) =
            (self.arguments.streams, parts.last(), place.parent())
        {
            let dir = Arc::new(below(parent)?);
            let (path_of, names) = (parent.to_path_buf(), HostNames::default());
            let (lineage, clashing) = (None, HashSet::new());
            let parent = Place { path: path_of, dir, names, lineage, clashing, is_copy: false };
            let visit = Visit { path, name, metadata: &metadata, depth: 0 };
            self.take_streams(&parent, &visit, false, jobs);
        }
        self.prepare(&dir)?;
        self.later.lock().directories.push((place.clone(), metadata));
        self.copy_below(
            Place { path: place, dir, names, lineage, clashing, is_copy: false },
            node,
            path,
            jobs,
        );
        Ok(())
    }

    /// Copies all that is in the directory `node` at `path` to `place`.
    pub(super) fn copy_below(
        &self,
        place: Place,
        node: NodeId,
        path: &[u8],
        jobs: &SyncSender<Job>,
    ) {
        let mut above = vec![Arc::new(place)];
        let walked = walk::walk(self.tree, node, path, true, &mut |event| {
            if self.stop.is_set() {
                return Err(());
            }
            match event {
                Event::Failed(path, error) => self.fail(path, error.into()),
                Event::Node(visit) => {
                    above.truncate(visit.depth + 1);
                    self.node(&mut above, &visit, jobs);
                }
            }
            Ok(())
        });
        // Why the walk was broken off is told at the end.
        let _ = walked;
    }

    /// The directory `name` of `place`, which is that of `metadata`.
    pub(super) fn enter(
        &self,
        place: &Place,
        name: &OsStr,
        metadata: &Metadata,
    ) -> Result<Place, Reason> {
        let dir = place.dir.enter(name, self.existed != Existed::Refuse);
        let dir = dir.map_err(|error| self.host(&error))?;
        self.prepare(&dir)?;
        let path = place.path.join(name);
        self.later.lock().directories.push((path.clone(), metadata.clone()));
        let names = HostNames::of(self.tree, metadata.node);
        let lineage = Lineage::new(metadata.node, place.lineage.clone());
        let clashing = self.clashing(metadata.node, &dir)?;
        Ok(Place { path, dir: Arc::new(dir), names, lineage, clashing, is_copy: place.is_copy })
    }

    /// The names of `dir` that the host takes for others, where it would not refuse the second.
    fn clashing(&self, dir: NodeId, output: &Output) -> Result<HashSet<Vec<u8>>, Reason> {
        match self.existed {
            Existed::Refuse => Ok(HashSet::new()),
            _ => clashing(self.tree, dir, output).map_err(|error| self.host(&error)),
        }
    }

    /// Removes from a directory what a stopped run left in it.
    fn prepare(&self, dir: &Output) -> Result<(), Reason> {
        if self.existed != Existed::Compare {
            return Ok(());
        }
        dir.remove_temporary().map_err(|error| self.host(&error))
    }

    /// One node of the walk; `above` ends with the directory that it lies in.
    fn node(&self, above: &mut Vec<Arc<Place>>, visit: &Visit<'_>, jobs: &SyncSender<Job>) {
        // A directory that could not be made was complained of; what lies in it has no place.
        let Some(place) = above.get(visit.depth).cloned() else {
            return;
        };
        if place.clashing.contains(visit.name) {
            return self.fail(visit.path, clash());
        }
        if visit.metadata.kind != FileKind::Directory {
            return self.take(&place, visit, jobs);
        }
        self.take_streams(&place, visit, place.is_copy, jobs);
        // Copies of what links lead to have an end.
        if place.is_copy && !self.links.may_copy(visit.path, 0) {
            return;
        }
        match self.enter(&place, &place.names.get(visit.name), visit.metadata) {
            Ok(place) => above.push(Arc::new(place)),
            Err(reason) => self.fail(visit.path, reason),
        }
    }

    /// A node that is no directory.
    fn take(&self, place: &Arc<Place>, visit: &Visit<'_>, jobs: &SyncSender<Job>) {
        let name = place.names.get(visit.name);
        match visit.metadata.kind {
            FileKind::Regular => {
                if place.is_copy && !self.links.may_copy(visit.path, visit.metadata.size) {
                    return;
                }
                if visit.metadata.links > 1 && !place.is_copy {
                    let here = place.path.join(&name);
                    let mut later = self.later.lock();
                    if let Some(first) = later.first_names.get(&visit.metadata.node).cloned() {
                        later.twins.push((first, here, visit.path.to_vec()));
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
                self.send(jobs, job);
                self.take_streams(place, visit, place.is_copy, jobs);
            }
            FileKind::Symlink => self.take_link(place, name, visit),
            _ => self.fail(visit.path, special()),
        }
    }

    fn take_link(&self, place: &Arc<Place>, name: OsString, visit: &Visit<'_>) {
        let path = visit.path.to_vec();
        match self.links.style() {
            LinkStyle::Hide => {}
            LinkStyle::Files => {
                self.copies.lock().push(CopiedLink { place: place.clone(), name, path });
            }
            _ => match self.links.host_link(visit.path, visit.metadata.node) {
                Ok(link) => {
                    let dir = place.dir.clone();
                    self.later.lock().links.push(Link { dir, name, path, link });
                }
                Err(error) if self.links.is_unasked(visit.path, &error) => {}
                Err(error) => self.fail(visit.path, error.into()),
            },
        }
    }

    pub(super) fn send(&self, jobs: &SyncSender<Job>, job: Job) {
        if let Err(unsent) = jobs.send(job) {
            let line = "no writer is left".to_owned();
            self.fail(&unsent.0.path, Reason("internal", line));
        }
    }

    /// The alternate streams of a node, if they are wanted.
    pub(super) fn take_streams(
        &self,
        place: &Place,
        visit: &Visit<'_>,
        is_copy: bool,
        jobs: &SyncSender<Job>,
    ) {
        if !self.arguments.streams {
            return;
        }
        let streams = match self.tree.streams(visit.metadata.node) {
            Ok(streams) => streams,
            Err(error) => return self.fail(visit.path, error.into()),
        };
        for stream in streams {
            let suffix = [b":", stream.name.0.as_slice()].concat();
            if is_copy && !self.links.may_copy(visit.path, stream.size) {
                continue;
            }
            let job = Job {
                dir: place.dir.clone(),
                name: place.names.get(&[visit.name, &suffix].concat()),
                path: [visit.path, &suffix].concat(),
                stream: stream.name,
                metadata: visit.metadata.clone(),
            };
            self.send(jobs, job);
        }
    }

    fn write_files(&self, queue: &Mutex<Receiver<Job>>) {
        let mut buf = ReadBuffer::new(PIECE);
        loop {
            let next = queue.lock().recv();
            let Ok(job) = next else { return };
            if self.stop.is_set() {
                continue;
            }
            match self.write_file(&job, &mut buf) {
                Ok(true) => *self.files.lock() += 1,
                Ok(false) => {}
                Err(reason) => self.fail(&job.path, reason),
            }
        }
    }

    /// Copies one file; whether it was, and not stopped.
    fn write_file(&self, job: &Job, buf: &mut [u8]) -> Result<bool, Reason> {
        let data = self.tree.open(job.metadata.node, &job.stream)?;
        let time = system_time(job.metadata.times.modified);
        if self.is_there(&job.dir, &job.name, Some((data.size(), time)))? {
            return Ok(true);
        }
        let (temporary, mut file) =
            job.dir.create_temporary().map_err(|error| self.host(&error))?;
        let written = self
            .copy_content(&*data, &mut file, buf)
            .and_then(|is_whole| self.keep(&file, job).map(|()| is_whole))
            .and_then(|is_whole| {
                drop(file);
                if is_whole {
                    let renamed = if self.arguments.overwrite {
                        job.dir.rename(&temporary, &job.name)
                    } else {
                        job.dir.rename_new(&temporary, &job.name)
                    };
                    renamed.map_err(|error| match error.kind() {
                        io::ErrorKind::AlreadyExists => {
                            Reason(EXISTS, "another entry has this name".to_owned())
                        }
                        _ => self.host(&error),
                    })?;
                }
                Ok(is_whole)
            });
        if !matches!(written, Ok(true)) {
            // Nothing half-written stays; if it cannot be removed, its name says what it is.
            let _ = job.dir.remove_file(&temporary);
        }
        written
    }

    /// Whether what is to be called `name` is there already; an error where something else is.
    pub(super) fn is_there(
        &self,
        dir: &Output,
        name: &OsStr,
        wanted: Option<(u64, SystemTime)>,
    ) -> Result<bool, Reason> {
        let existing = dir.existing(name).map_err(|error| self.host(&error))?;
        let Some(existing) = existing else {
            return Ok(false);
        };
        let is_same = match (existing, wanted) {
            (Existing::File(size, Some(time)), Some((wanted, wanted_time))) => {
                size == wanted && is_same_time(time, wanted_time)
            }
            _ => false,
        };
        let Existed::Refuse = self.existed else {
            if is_same && self.existed == Existed::Compare {
                return Ok(true);
            }
            if self.arguments.overwrite && existing != Existing::Folder {
                return Ok(false);
            }
            let line = match self.existed {
                Existed::Compare => "is there already, and is not the same; kept",
                _ => "is there already; kept",
            };
            return Err(Reason(EXISTS, line.to_owned()));
        };
        Err(Reason(EXISTS, "is there already".to_owned()))
    }

    /// Sets on a new file what is kept.
    fn keep(&self, file: &File, job: &Job) -> Result<(), Reason> {
        #[cfg(unix)]
        self.arguments
            .keep
            .apply(self.tree, &job.metadata, file)
            .map_err(|line| Reason(HOST, line))?;
        file.set_times(file_times(&job.metadata)).map_err(|error| self.host(&error))
    }

    /// Writes what `data` holds into the new `file`; holes stay holes. Whether all was written, and
    /// not stopped.
    fn copy_content(
        &self,
        data: &dyn FileData,
        file: &mut File,
        buf: &mut [u8],
    ) -> Result<bool, Reason> {
        let size = data.size();
        let mut offset = 0;
        while offset < size {
            if self.stop.is_set() {
                return Ok(false);
            }
            let extent = data.extent_at(offset)?;
            let end = offset.saturating_add(extent.length.max(1)).min(size);
            if extent.kind == FileExtentKind::Hole {
                file.seek(SeekFrom::Start(end)).map_err(|error| self.host(&error))?;
            } else if !self.copy_range(data, file, offset, end, buf)? {
                return Ok(false);
            }
            offset = end;
        }
        file.set_len(size).map_err(|error| self.host(&error))?;
        Ok(true)
    }

    fn copy_range(
        &self,
        data: &dyn FileData,
        file: &mut File,
        from: u64,
        to: u64,
        buf: &mut [u8],
    ) -> Result<bool, Reason> {
        let mut offset = from;
        while offset < to {
            if self.stop.is_set() {
                return Ok(false);
            }
            let wanted = to.saturating_sub(offset).min(buf.len() as u64) as usize;
            let piece: FsResult<usize> = data.read_at(offset, &mut buf[..wanted]);
            if piece? < wanted {
                let line = "content ends before the size of the file";
                return Err(FsError::corrupt(line).into());
            }
            file.write_all(&buf[..wanted]).map_err(|error| self.host(&error))?;
            offset += wanted as u64;
            self.progress.inc(wanted as u64);
        }
        Ok(true)
    }
}

/// Why what is no file, directory or link is left out.
fn clash() -> Reason {
    let line = "this folder takes it for another name that differs in case only; extract it to \
                another folder";
    Reason(EXISTS, line.to_owned())
}

pub(super) fn special() -> Reason {
    Reason(SPECIAL, "is a device node, pipe or socket; left out".to_owned())
}

/// Hosts keep times as coarse as two seconds.
fn is_same_time(one: SystemTime, other: SystemTime) -> bool {
    let distance = one.duration_since(other).or_else(|_| other.duration_since(one));
    distance.is_ok_and(|distance| distance.as_secs() < 2)
}
