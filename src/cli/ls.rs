//! `volfold ls`: what lies in a directory.

use std::ffi::OsString;
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;

use clap::Args;
use volfold::info::{EntryInfo, kind_letter};
use volfold_fs::{FileKind, FileSystem, Metadata, VolumeTree};

use super::outcome::Outcome;
use super::report::Report;
use super::set::TreeArguments;
use super::text;
use super::walk::{self, Event, Visit};

/// Show a directory; without a path the volumes
#[derive(Args)]
#[command(after_help = "\
Examples:
  volfold ls disk.vmdk
  volfold ls disk.vmdk -p /System/Users -l
  volfold ls disk.vmdk -R
  volfold ls disk.vmdk -R --deleted
  volfold ls disk.vmdk -R --bodyfile > body; volfold ls disk.vmdk -R --bodyfile --deleted >> body

Directories end in `/`. -l marks files whose content cannot be read with a code in brackets, which
`volfold explain` explains. With -R every line is a whole path. Tab, line feed, carriage return and \\
in names are written \\t, \\n, \\r and \\\\.")]
pub(crate) struct LsArguments {
    /// Disk images that belong together, or a folder with them
    #[arg(required = true, value_name = "DISK")]
    disks: Vec<PathBuf>,
    /// The directory or file: /<volume>/dir/file
    #[arg(short, long, value_name = "PATH", default_value = "/")]
    path: OsString,
    /// Mode, links, size and time of each entry
    #[arg(short)]
    long: bool,
    /// Everything below
    #[arg(short = 'R', long)]
    recursive: bool,
    /// Print JSON, version 1
    #[arg(long, conflicts_with = "long")]
    json: bool,
    /// With --json: the extended attributes of each entry
    #[arg(long, requires = "json")]
    xattrs: bool,
    /// Print a body file for timelines (The Sleuth Kit 3), as mactime and plaso read it
    #[arg(long, conflicts_with_all = ["long", "json"])]
    bodyfile: bool,
    #[command(flatten)]
    set: TreeArguments,
}

pub(crate) fn run(arguments: &LsArguments) -> io::Result<Outcome> {
    let mut out = BufWriter::with_capacity(1 << 16, io::stdout().lock());
    let paths = std::slice::from_ref(&arguments.path);
    let mut opened = match arguments.set.open_tree(&arguments.disks, paths) {
        Ok(opened) => opened,
        Err(report) => return nothing(arguments, out, *report),
    };
    let path = opened.paths.first().cloned().unwrap_or_default();
    let tree = &opened.tree;
    let start = opened.find(&path, true).and_then(|found| Ok((tree.metadata(found.node)?, found)));
    let (start, path) = match start {
        Ok((start, found)) => (start, found.path),
        Err(error) => {
            opened.report.path(&path, &error);
            return nothing(arguments, out, opened.report);
        }
    };
    let mut printer = Printer { out: &mut out, tree, arguments, first: true };
    printer.begin()?;
    if start.kind == FileKind::Directory {
        let report = &mut opened.report;
        walk::walk(tree, start.node, &path, arguments.recursive, &mut |event| match event {
            Event::Node(visit) => printer.entry(&visit, report),
            Event::Failed(path, error) => {
                report.file(path, &error);
                Ok(())
            }
        })?;
    } else {
        let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
        let visit = Visit { path: &path, name, metadata: &start, depth: 0 };
        printer.entry(&visit, &mut opened.report)?;
    }
    let outcome = opened.end();
    end(arguments, out, &opened.report)?;
    Ok(outcome)
}

/// The answer where nothing can be read.
fn nothing(
    arguments: &LsArguments,
    mut out: impl Write,
    mut report: Report<'_>,
) -> io::Result<Outcome> {
    report.end();
    if arguments.json {
        out.write_all(BEGIN)?;
    }
    end(arguments, out, &report)?;
    Ok(Outcome::Nothing)
}

/// How an answer in JSON begins.
const BEGIN: &[u8] = b"{\"version\":1,\"entries\":[";

/// The end of the answer.
fn end(arguments: &LsArguments, mut out: impl Write, report: &Report<'_>) -> io::Result<()> {
    if arguments.json {
        out.write_all(b"\n],\n\"failures\":")?;
        serde_json::to_writer(&mut out, report.failures())?;
        out.write_all(b",\n\"findings\":")?;
        serde_json::to_writer(&mut out, report.findings())?;
        out.write_all(b"}\n")?;
    }
    out.flush()
}

struct Printer<'a, W: Write> {
    out: W,
    tree: &'a VolumeTree,
    arguments: &'a LsArguments,
    first: bool,
}

impl<W: Write> Printer<'_, W> {
    fn begin(&mut self) -> io::Result<()> {
        if self.arguments.json { self.out.write_all(BEGIN) } else { Ok(()) }
    }

    fn entry(&mut self, visit: &Visit<'_>, report: &mut Report<'_>) -> io::Result<()> {
        if self.arguments.json {
            return self.entry_json(visit, report);
        }
        if self.arguments.bodyfile {
            return self.entry_body(visit);
        }
        let metadata = visit.metadata;
        if self.arguments.long {
            write!(
                self.out,
                "{} {:>3} {:>12} {} ",
                text::mode(metadata),
                metadata.links,
                metadata.size,
                metadata.times.modified,
            )?;
        }
        let shown = if self.arguments.recursive { visit.path } else { visit.name };
        self.out.write_all(&text::field(shown))?;
        match metadata.kind {
            FileKind::Directory => self.out.write_all(b"/")?,
            FileKind::Symlink if self.arguments.long => {
                self.out.write_all(b" -> ")?;
                self.out.write_all(&text::field(&self.target(metadata).unwrap_or_default()))?;
            }
            _ => {}
        }
        if let (true, Some(kind)) = (self.arguments.long, metadata.unreadable) {
            write!(self.out, "  [{}]", kind.code())?;
        }
        self.out.write_all(b"\n")
    }

    /// `MD5|name|inode|mode|UID|GID|size|atime|mtime|ctime|crtime`, without the MD5.
    fn entry_body(&mut self, visit: &Visit<'_>) -> io::Result<()> {
        let metadata = visit.metadata;
        let mut name = text::field(visit.path).into_owned();
        if metadata.kind == FileKind::Symlink {
            name.extend(b" -> ");
            name.extend_from_slice(&text::field(&self.target(metadata).unwrap_or_default()));
        }
        self.out.write_all(b"0|")?;
        for part in name.split_inclusive(|byte| *byte == b'|') {
            match part.strip_suffix(b"|") {
                Some(part) => {
                    self.out.write_all(part)?;
                    self.out.write_all(b"\\x7c")?;
                }
                None => self.out.write_all(part)?,
            }
        }
        if self.arguments.set.deleted {
            self.out.write_all(b" (deleted)")?;
        }
        let mode = text::mode(metadata);
        let kind = match kind_letter(metadata.kind) {
            'f' => 'r',
            's' => 'h',
            letter => letter,
        };
        let (uid, gid) = metadata.owner.map_or((0, 0), |owner| (owner.uid, owner.gid));
        let times = &metadata.times;
        // FAT and exFAT keep no such time.
        let has_changed = !self.tree.kind(metadata.node).is_some_and(|kind| kind.contains("fat"));
        let changed = if has_changed { times.changed.seconds } else { 0 };
        let created = times.created.map_or(0, |time| time.seconds);
        writeln!(
            self.out,
            "|{}|{kind}/{kind}{}|{uid}|{gid}|{}|{}|{}|{}|{created}",
            self.tree.own_number(metadata.node),
            mode.get(1..).unwrap_or_default(),
            metadata.size,
            times.accessed.seconds,
            times.modified.seconds,
            changed,
        )
    }

    fn target(&self, metadata: &Metadata) -> Option<Vec<u8>> {
        self.tree.read_link(metadata.node).ok().map(|target| target.0)
    }

    fn entry_json(&mut self, visit: &Visit<'_>, report: &mut Report<'_>) -> io::Result<()> {
        let mut entry = EntryInfo::of(self.tree, visit.path, visit.metadata);
        if self.arguments.xattrs
            && let Err(error) = entry.add_xattrs(self.tree, visit.metadata.node)
        {
            report.file(visit.path, &error);
        }
        self.out.write_all(if self.first { b"\n" } else { b",\n" })?;
        self.first = false;
        serde_json::to_writer(&mut self.out, &entry)?;
        Ok(())
    }
}
