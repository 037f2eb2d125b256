//! `extract --tar`: a POSIX archive, which holds what folders of the host may lose: owners, modes,
//! links, device nodes, extended attributes, exact times.
//!
//! The size of a file stands before its content, so a file that turns out to be unreadable in its
//! middle would spoil the archive. Small files are read before they are written; large ones are read
//! twice.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::path::Path;

use indicatif::ProgressBar;
use tar::{Builder, EntryType, Header};
use volfold::files::Found;
use volfold_block::ReadBuffer;
use volfold_fs::{
    FileData, FileKind, FileSystem, FsError, Metadata, NodeId, StreamName, Timestamp, VolumeTree,
};
use volfold_projector::folder::names;

use super::arguments::{ExtractArguments, LinkStyle};
use super::copy::Reason;
use super::links::Links;
use super::pax::Records;
use super::stop::Stop;
use crate::cli::content::{PIECE, read_piece};
use crate::cli::outcome::Outcome;
use crate::cli::report::Report;
use crate::cli::set::OpenedTree;
use crate::cli::text;
use crate::cli::walk::{self, Event, Visit, outermost};

/// Files up to this size are read whole before they are written.
const SMALL: u64 = 8 << 20;

/// The code of what an archive cannot hold.
const SPECIAL: &str = "special-file";

/// Writes the archive `file`; `-` is stdout.
pub(super) fn run(
    arguments: &ExtractArguments,
    file: &Path,
    mut opened: OpenedTree,
    progress: &ProgressBar,
    stop: &Stop,
) -> io::Result<Outcome> {
    let out: Box<dyn Write> = if file.as_os_str() == "-" {
        Box::new(io::stdout().lock())
    } else {
        match File::create_new(file) {
            Ok(file) => Box::new(file),
            Err(error) => {
                text::complain(format_args!("{}: {error}; give a new file", file.display()));
                return Ok(Outcome::Nothing);
            }
        }
    };
    let found = outermost(opened.find_all());
    let mut archive = Archive {
        builder: Builder::new(BufWriter::with_capacity(1 << 20, out)),
        tree: &opened.tree,
        links: Links::new(arguments, &opened.tree, opened.set.volume_names(|_| true)),
        arguments,
        progress,
        stop,
        report: &mut opened.report,
        first_names: HashMap::new(),
        buf: ReadBuffer::new(PIECE),
        entries: 0,
    };
    let mut written = Ok(());
    for (path, found) in found {
        written = match found {
            Ok(found) => archive.add(&found),
            Err(error) => {
                archive.report.path(&path, &error);
                Ok(())
            }
        };
        if written.is_err() {
            break;
        }
    }
    archive.links.tell(archive.report);
    let entries = archive.entries;
    let written = written.and_then(|()| match stop.reason() {
        Some(reason) => Err(io::Error::new(io::ErrorKind::Interrupted, reason)),
        None => archive.builder.into_inner().and_then(|mut out| out.flush()),
    });
    progress.finish_and_clear();
    let outcome = opened.end();
    match written {
        Ok(()) => Ok(outcome),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(error),
        Err(error) => {
            let line = "the archive has no end and is not whole";
            text::complain(format_args!("{}: {error}; {line}", file.display()));
            Ok(if entries == 0 { Outcome::Nothing } else { Outcome::Part })
        }
    }
}

struct Archive<'a, W: Write> {
    builder: Builder<W>,
    tree: &'a VolumeTree,
    links: Links<'a>,
    arguments: &'a ExtractArguments,
    progress: &'a ProgressBar,
    stop: &'a Stop,
    report: &'a mut Report<'static>,
    /// The first names of files that have several.
    first_names: HashMap<NodeId, Vec<u8>>,
    buf: ReadBuffer,
    entries: u64,
}

/// Why an entry is not in the archive, or why the archive ends.
enum Failed {
    Entry(Reason),
    Archive(io::Error),
}

impl From<FsError> for Failed {
    fn from(error: FsError) -> Self {
        Self::Entry(error.into())
    }
}

impl From<io::Error> for Failed {
    fn from(error: io::Error) -> Self {
        Self::Archive(error)
    }
}

impl<W: Write> Archive<'_, W> {
    /// Adds what was `found`, and all below it.
    ///
    /// # Errors
    /// If the archive cannot be written.
    fn add(&mut self, found: &Found) -> io::Result<()> {
        let (tree, path) = (self.tree, found.real.as_slice());
        let start = match tree.metadata(found.node) {
            Ok(start) => start,
            Err(error) => {
                self.report.path(path, &error);
                return Ok(());
            }
        };
        let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
        let base = archive_path(path);
        if !name.is_empty() {
            self.visit(&Visit { path, name, metadata: &start, depth: 0 }, &base)?;
        }
        if start.kind != FileKind::Directory {
            return Ok(());
        }
        // The directories above, as the archive has them: a name may have a separator of paths in it.
        let mut above = vec![base];
        walk::walk(tree, start.node, path, true, &mut |event| match event {
            _ if self.stop.is_set() => Ok(()),
            Event::Failed(path, error) => {
                self.report.file(path, &error);
                Ok(())
            }
            Event::Node(visit) => {
                above.truncate(visit.depth + 1);
                let own = below(above.last().map_or(&[][..], Vec::as_slice), visit.name);
                self.visit(&visit, &own)?;
                if visit.metadata.kind == FileKind::Directory {
                    above.push(own);
                }
                Ok(())
            }
        })
    }

    /// Adds what a walk met, as `path`.
    fn visit(&mut self, visit: &Visit<'_>, path: &[u8]) -> io::Result<()> {
        match self.entry(visit, path) {
            Ok(()) => {}
            Err(Failed::Entry(Reason(code, line))) => self.report.refused(visit.path, code, line),
            Err(Failed::Archive(error)) => return Err(error),
        }
        if !self.arguments.streams {
            return Ok(());
        }
        let streams = match self.tree.streams(visit.metadata.node) {
            Ok(streams) => streams,
            Err(error) => {
                self.report.file(visit.path, &error);
                return Ok(());
            }
        };
        for stream in streams {
            let name = [b":", stream.name.0.as_slice()].concat();
            let own = [path, names::to_host(&name).as_encoded_bytes()].concat();
            let told = [visit.path, &*name].concat();
            let added = self.content(visit.metadata, &told, &own, &stream.name);
            match added {
                Ok(()) => {}
                Err(Failed::Entry(Reason(code, line))) => self.report.refused(&told, code, line),
                Err(Failed::Archive(error)) => return Err(error),
            }
        }
        Ok(())
    }

    fn entry(&mut self, visit: &Visit<'_>, path: &[u8]) -> Result<(), Failed> {
        let metadata = visit.metadata;
        match metadata.kind {
            FileKind::Regular => {
                if metadata.links > 1
                    && let Some(first) = self.first_names.get(&metadata.node).cloned()
                {
                    let entry =
                        Entry { link: Some(first), ..Entry::new(metadata, EntryType::Link) };
                    return self.append(path, &entry, io::empty());
                }
                self.content(metadata, visit.path, path, &StreamName::MAIN)?;
                if metadata.links > 1 {
                    self.first_names.insert(metadata.node, path.to_vec());
                }
                Ok(())
            }
            FileKind::Directory => {
                self.append(path, &Entry::new(metadata, EntryType::Directory), io::empty())
            }
            FileKind::Symlink if self.links.style() == LinkStyle::Hide => Ok(()),
            FileKind::Symlink => {
                let target = match self.links.posix_target(visit.path, metadata.node) {
                    Err(error) if self.links.is_unasked(visit.path, &error) => return Ok(()),
                    target => target?,
                };
                let entry =
                    Entry { link: Some(target), ..Entry::new(metadata, EntryType::Symlink) };
                self.append(path, &entry, io::empty())
            }
            FileKind::CharDevice | FileKind::BlockDevice | FileKind::Fifo => {
                let kind = match metadata.kind {
                    FileKind::CharDevice => EntryType::Char,
                    FileKind::BlockDevice => EntryType::Block,
                    _ => EntryType::Fifo,
                };
                self.append(path, &Entry::new(metadata, kind), io::empty())
            }
            FileKind::Socket => {
                let line = "is a socket; left out".to_owned();
                Err(Failed::Entry(Reason(SPECIAL, line)))
            }
        }
    }

    /// Adds a stream of a file.
    fn content(
        &mut self,
        metadata: &Metadata,
        shown: &[u8],
        path: &[u8],
        stream: &StreamName,
    ) -> Result<(), Failed> {
        let data = self.tree.open(metadata.node, stream)?;
        let size = data.size();
        if size <= SMALL {
            let mut bytes = vec![0; usize::try_from(size).unwrap_or_default()];
            let (done, buf) = (read_all(&*data, &mut bytes), &bytes[..]);
            done?;
            let entry = Entry { size, ..Entry::new(metadata, EntryType::Regular) };
            self.append(path, &entry, buf)?;
            self.progress.inc(size);
        } else {
            let mut offset = 0;
            while offset < size {
                if self.stop.is_set() {
                    return Ok(());
                }
                offset += read_piece(&*data, offset, &mut self.buf)?.len() as u64;
            }
            let entry = Entry { size, ..Entry::new(metadata, EntryType::Regular) };
            let (progress, stop) = (self.progress, self.stop);
            let reader = Content { data: &*data, offset: 0, progress, stop };
            self.append(path, &entry, reader).map_err(|failed| match failed {
                Failed::Archive(error) => {
                    let shown = String::from_utf8_lossy(shown);
                    io::Error::new(error.kind(), format!("{shown}: {error}")).into()
                }
                other => other,
            })?;
        }
        Ok(())
    }

    /// Adds one entry, after what POSIX keeps in a record of its own: long names, exact times,
    /// extended attributes.
    fn append(&mut self, path: &[u8], entry: &Entry<'_>, content: impl Read) -> Result<(), Failed> {
        let metadata = entry.metadata;
        let mut header = Header::new_ustar();
        header.set_entry_type(entry.kind);
        header.set_size(entry.size);
        let owner = metadata.owner;
        let is_directory = metadata.kind == FileKind::Directory;
        header.set_mode(owner.map_or(if is_directory { 0o755 } else { 0o644 }, |o| o.mode.into()));
        header.set_uid(owner.map_or(0, |owner| owner.uid.into()));
        header.set_gid(owner.map_or(0, |owner| owner.gid.into()));
        let modified = metadata.times.modified;
        header.set_mtime(u64::try_from(modified.seconds).unwrap_or(0));
        if matches!(entry.kind, EntryType::Char | EntryType::Block) {
            let (major, minor) = metadata.device.unwrap_or_default();
            header.set_device_major(major)?;
            header.set_device_minor(minor)?;
        }
        let mut records = Records::default();
        let mut name = path.to_vec();
        if is_directory {
            name.push(b'/');
        }
        let old = header.as_old_mut();
        if !put(&mut old.name, &name) {
            records.add(b"path", &name);
        }
        if let Some(link) = &entry.link
            && !put(&mut old.linkname, link)
        {
            records.add(b"linkpath", link);
        }
        records.add(b"mtime", pax_time(modified).as_bytes());
        records.add(b"atime", pax_time(metadata.times.accessed).as_bytes());
        #[cfg(unix)]
        if entry.kind != EntryType::Link {
            let attributes = super::keep::attributes(self.tree, metadata);
            let attributes = attributes.map_err(|line| Failed::Entry(Reason("corrupt", line)))?;
            for (name, value) in attributes {
                records.add_attribute(&name, &value);
            }
        }
        let (of_records, records) = records.finish();
        self.builder.append(&of_records, records.as_slice())?;
        header.set_cksum();
        self.builder.append(&header, content)?;
        self.entries += 1;
        Ok(())
    }
}

/// What an entry is, beside its path and content.
struct Entry<'a> {
    metadata: &'a Metadata,
    kind: EntryType,
    size: u64,
    /// Where a link leads.
    link: Option<Vec<u8>>,
}

impl<'a> Entry<'a> {
    fn new(metadata: &'a Metadata, kind: EntryType) -> Self {
        Self { metadata, kind, size: 0, link: None }
    }
}

/// Puts as much of `text` into a field of a header as has room; whether that is all.
fn put(field: &mut [u8], text: &[u8]) -> bool {
    let length = text.len().min(field.len());
    field[..length].copy_from_slice(&text[..length]);
    length == text.len()
}

/// Seconds as a decimal number, as POSIX writes them.
fn pax_time(time: Timestamp) -> String {
    let Timestamp { seconds, nanoseconds } = time;
    if seconds < 0 && nanoseconds > 0 {
        let (whole, rest) = (seconds.unsigned_abs() - 1, 1_000_000_000 - nanoseconds);
        return format!("-{whole}.{rest:09}");
    }
    format!("{seconds}.{nanoseconds:09}")
}

fn read_all(data: &dyn FileData, bytes: &mut [u8]) -> Result<(), FsError> {
    let mut done = 0;
    while done < bytes.len() {
        done += read_piece(data, done as u64, &mut bytes[done..])?.len();
    }
    Ok(())
}

/// A path of the archive: relative, with names that the host accepts, and with `/` on any host.
fn archive_path(path: &[u8]) -> Vec<u8> {
    let parts = path.split(|byte| *byte == b'/').filter(|part| !part.is_empty());
    parts.map(|part| names::to_host(part).into_encoded_bytes()).collect::<Vec<_>>().join(&b'/')
}

/// The path of the entry `name` of `dir`.
fn below(dir: &[u8], name: &[u8]) -> Vec<u8> {
    let name = names::to_host(name).into_encoded_bytes();
    if dir.is_empty() { name } else { [dir, b"/", &*name].concat() }
}

/// The bytes of a file that was read once already.
struct Content<'a> {
    data: &'a dyn FileData,
    offset: u64,
    progress: &'a ProgressBar,
    stop: &'a Stop,
}

impl Read for Content<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if let Some(reason) = self.stop.reason() {
            return Err(io::Error::other(reason));
        }
        let piece = read_piece(self.data, self.offset, buf).map_err(io::Error::other)?;
        self.offset += piece.len() as u64;
        self.progress.inc(piece.len() as u64);
        Ok(piece.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_have_the_separator_of_archives() {
        assert_eq!(archive_path(b"/linux//a folder/b.txt"), b"linux/a folder/b.txt");
        assert_eq!(archive_path(b"/"), b"");
        assert_eq!(below(b"", b"linux"), b"linux");
        assert!(!below(b"linux", b"a/b").ends_with(b"/b"), "a name is no path");
    }

    #[test]
    fn times_before_1970_are_negative_numbers() {
        let at = |seconds, nanoseconds| pax_time(Timestamp { seconds, nanoseconds });
        assert_eq!(at(5, 20), "5.000000020");
        assert_eq!(at(-1, 0), "-1.000000000");
        assert_eq!(at(-1, 500_000_000), "-0.500000000");
        assert_eq!(at(-2, 250_000_000), "-1.750000000");
    }
}
