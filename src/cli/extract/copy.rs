//! Copying a tree into a folder.

use std::collections::HashMap;
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
use volfold_block::error_chain;
use volfold_fs::{
    FileData, FileExtentKind, FileKind, FileSystem, FsError, FsResult, Metadata, NodeId,
    StreamName, VolumeTree,
};
use volfold_projector::VolumeNames;

use super::arguments::{ExtractArguments, LinkStyle};
use super::output::{Existing, Output};
use super::stop::Stop;
use super::times::{file_times, system_time};
use crate::cli::content::PIECE;
use crate::cli::host_names::HostNames;
use crate::cli::report::Report;
use crate::cli::set::volume_names;
use crate::cli::walk::{self, Event, Visit};

/// Files that wait for a writer; each holds a handle of its directory.
const QUEUE: usize = 64;

/// The code of what the host refuses.
const HOST: &str = "host";

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
enum Existed {
    /// Nothing may; the folder was empty.
    Refuse,
    /// It is kept.
    Keep,
    /// It is taken for what is to be copied if size and time are the same.
    Compare,
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

/// A symbolic link that is made at the end.
struct Link {
    dir: Arc<Output>,
    name: OsString,
    path: Vec<u8>,
    target: Vec<u8>,
}

/// What can only be made when all files are there.
#[derive(Default)]
struct Later {
    links: Vec<Link>,
    twins: Vec<(PathBuf, PathBuf, Vec<u8>)>,
    directories: Vec<(PathBuf, Metadata)>,
    first_names: HashMap<NodeId, PathBuf>,
}

/// A run of `extract`.
pub(super) struct Extraction<'a> {
    arguments: &'a ExtractArguments,
    tree: &'a VolumeTree,
    volumes: VolumeNames,
    existed: Existed,
    progress: &'a ProgressBar,
    stop: &'a Stop,
    report: Mutex<Report<'static>>,
    later: Mutex<Later>,
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
            volumes: volume_names(set, |_| true),
            existed,
            progress,
            stop,
            report: Mutex::new(report),
            later: Mutex::default(),
            files: Mutex::default(),
        }
    }

    /// Copies what is at `paths` to the same paths below `output`: the number of files that are
    /// complete, and what is to be told.
    pub(super) fn run(self, output: &Output, paths: &[Vec<u8>]) -> (u64, Report<'static>) {
        for path in paths {
            match walk::resolve(self.tree, path, false) {
                Ok(node) => self.copy(output, path, node),
                Err(error) => self.report.lock().path(path, &error),
            }
        }
        if !self.stop.is_set() {
            self.finish(output);
        }
        (self.files.into_inner(), self.report.into_inner())
    }

    fn fail(&self, path: &[u8], Reason(code, line): Reason) {
        self.report.lock().refused(path, code, line);
    }

    /// The reason that the host gives; one that all later writes will meet ends the run.
    fn host(&self, error: &io::Error) -> Reason {
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
            if let Err(reason) = self.feed(output, path, node, jobs) {
                self.fail(path, reason);
            }
        });
    }

    fn feed(
        &self,
        output: &Output,
        path: &[u8],
        node: NodeId,
        jobs: SyncSender<Job>,
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
        let below = |place: &Path| output.below(place).map_err(|error| self.host(&error));
        let dir = Arc::new(below(&place)?);
        if let Some(name) = last {
            let visit = Visit { path, name, metadata: &metadata, depth: 0 };
            self.take(&Place { path: place, dir, names }, &visit, &jobs);
            return Ok(());
        }
        if let (true, Some(name), Some(parent)) =
            (self.arguments.streams, parts.last(), place.parent())
        {
            let dir = Arc::new(below(parent)?);
            let parent = Place { path: parent.to_path_buf(), dir, names: HostNames::default() };
            let visit = Visit { path, name, metadata: &metadata, depth: 0 };
            self.take_streams(&parent, &visit, &jobs);
        }
        self.prepare(&dir)?;
        self.later.lock().directories.push((place.clone(), metadata));
        let mut above = vec![Arc::new(Place { path: place, dir, names })];
        let walked = walk::walk(self.tree, node, path, true, &mut |event| {
            if self.stop.is_set() {
                return Err(());
            }
            match event {
                Event::Failed(path, error) => self.fail(path, error.into()),
                Event::Node(visit) => {
                    above.truncate(visit.depth + 1);
                    self.node(&mut above, &visit, &jobs);
                }
            }
            Ok(())
        });
        // Why the walk was broken off is told at the end.
        let _ = walked;
        Ok(())
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
        if visit.metadata.kind != FileKind::Directory {
            return self.take(&place, visit, jobs);
        }
        self.take_streams(&place, visit, jobs);
        let name = place.names.get(visit.name);
        let entered = place
            .dir
            .enter(&name, self.existed != Existed::Refuse)
            .map_err(|error| self.host(&error))
            .and_then(|dir| self.prepare(&dir).map(|()| dir));
        match entered {
            Ok(dir) => {
                let path = place.path.join(&name);
                let mut later = self.later.lock();
                later.directories.push((path.clone(), visit.metadata.clone()));
                let names = HostNames::of(self.tree, visit.metadata.node);
                above.push(Arc::new(Place { path, dir: Arc::new(dir), names }));
            }
            Err(reason) => self.fail(visit.path, reason),
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
                self.take_streams(place, visit, jobs);
            }
            FileKind::Symlink if self.arguments.links() == LinkStyle::Hide => {}
            FileKind::Symlink if cfg!(not(unix)) => {
                let line = "is a symbolic link; left out on this system".to_owned();
                self.fail(visit.path, Reason(SPECIAL, line));
            }
            FileKind::Symlink => match link_target(self.tree, self.arguments, &self.volumes, visit)
            {
                Ok(target) => {
                    let (dir, path) = (place.dir.clone(), visit.path.to_vec());
                    self.later.lock().links.push(Link { dir, name, path, target });
                }
                Err(error) => self.fail(visit.path, error.into()),
            },
            _ => {
                let line = "is a device node, pipe or socket; left out".to_owned();
                self.fail(visit.path, Reason(SPECIAL, line));
            }
        }
    }

    fn send(&self, jobs: &SyncSender<Job>, job: Job) {
        if let Err(unsent) = jobs.send(job) {
            let line = "no writer is left".to_owned();
            self.fail(&unsent.0.path, Reason("internal", line));
        }
    }

    /// The alternate streams of a node, if they are wanted.
    fn take_streams(&self, place: &Place, visit: &Visit<'_>, jobs: &SyncSender<Job>) {
        if !self.arguments.streams {
            return;
        }
        let streams = match self.tree.streams(visit.metadata.node) {
            Ok(streams) => streams,
            Err(error) => return self.fail(visit.path, error.into()),
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
            self.send(jobs, job);
        }
    }

    fn write_files(&self, queue: &Mutex<Receiver<Job>>) {
        let mut buf = vec![0; PIECE];
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
    fn is_there(
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

    /// Makes hard links, then symbolic links, then sets what directories have, deepest first.
    fn finish(&self, output: &Output) {
        let later = std::mem::take(&mut *self.later.lock());
        for (first, second, path) in &later.twins {
            if let Err(reason) = self.hard_link(output, first, second) {
                self.fail(path, reason);
            }
        }
        for link in &later.links {
            if let Err(reason) = self.symlink(link) {
                self.fail(&link.path, reason);
            }
        }
        for (place, metadata) in later.directories.iter().rev() {
            // The tree of volumes has no times of its own.
            if place.as_os_str().is_empty() {
                continue;
            }
            #[cfg(unix)]
            match output.open_folder(place) {
                Ok(folder) => {
                    if let Err(line) = self.arguments.keep.apply(self.tree, metadata, &folder) {
                        self.fail(place.as_os_str().as_encoded_bytes(), Reason(HOST, line));
                    }
                }
                Err(error) => {
                    self.fail(place.as_os_str().as_encoded_bytes(), self.host(&error));
                }
            }
            // A folder whose time cannot be set is a folder all the same.
            let _ = output.set_times(place, file_times(metadata));
        }
    }

    fn hard_link(&self, output: &Output, first: &Path, second: &Path) -> Result<(), Reason> {
        let (Some(parent), Some(name)) = (second.parent(), second.file_name()) else {
            return Ok(());
        };
        let dir = output.below(parent).map_err(|error| self.host(&error))?;
        let wanted = dir.existing(name).ok().flatten().zip(output.existing_at(first));
        if let (Some((here, there)), Existed::Compare) = (wanted, self.existed)
            && here == there
        {
            return Ok(());
        }
        if !self.is_there(&dir, name, None)? && dir.existing(name).is_ok_and(|e| e.is_some()) {
            dir.remove_file(name).map_err(|error| self.host(&error))?;
        }
        output.hard_link(first, second).map_err(|error| self.host(&error))
    }

    fn symlink(&self, link: &Link) -> Result<(), Reason> {
        let there = link.dir.read_link(&link.name).ok();
        if self.existed == Existed::Compare && there.as_ref() == Some(&link.target) {
            return Ok(());
        }
        if !self.is_there(&link.dir, &link.name, None)?
            && link.dir.existing(&link.name).is_ok_and(|existing| existing.is_some())
        {
            link.dir.remove_file(&link.name).map_err(|error| self.host(&error))?;
        }
        link.dir.symlink(&link.name, &link.target).map_err(|error| self.host(&error))
    }
}

/// Hosts keep times as coarse as two seconds.
fn is_same_time(one: SystemTime, other: SystemTime) -> bool {
    let distance = one.duration_since(other).or_else(|_| other.duration_since(one));
    distance.is_ok_and(|distance| distance.as_secs() < 2)
}

/// What the link of `visit` becomes.
pub(super) fn link_target(
    tree: &VolumeTree,
    arguments: &ExtractArguments,
    volumes: &VolumeNames,
    visit: &Visit<'_>,
) -> FsResult<Vec<u8>> {
    let target = tree.read_link(visit.metadata.node)?.0;
    #[cfg(unix)]
    if arguments.links() == LinkStyle::Guest {
        use volfold_projector::folder::target_on_host;
        let parts = visit.path.split(|byte| *byte == b'/').filter(|part| !part.is_empty());
        let own = parts.clone().next().unwrap_or_default();
        // The volume and the link itself are no directories in between.
        let depth = parts.count().saturating_sub(2);
        return Ok(target_on_host((own, tree.case(visit.metadata.node)), depth, &target, volumes));
    }
    #[cfg(not(unix))]
    let _ = (arguments, volumes);
    Ok(target)
}
