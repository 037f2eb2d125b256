//! `volfold ls`: what lies in a directory.

use std::ffi::OsString;
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;

use clap::Args;
use serde::Serialize;
use volfold_block::error_chain;
use volfold_fs::{FileKind, FileSystem, Metadata};

use super::outcome::Outcome;
use super::paths::{name_of_volume, path_bytes};
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

Directories end in `/`. With -R every line is a whole path. Tab, line feed, carriage return and \\
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
    #[command(flatten)]
    set: TreeArguments,
}

#[derive(Serialize)]
struct EntryJson {
    path: String,
    path_hex: Option<String>,
    #[serde(rename = "type")]
    kind: char,
    size: u64,
    allocated: u64,
    links: u32,
    modified: String,
    accessed: String,
    changed: String,
    created: Option<String>,
    uid: Option<u32>,
    gid: Option<u32>,
    mode: Option<String>,
    attributes: Option<u32>,
    target: Option<String>,
}

pub(crate) fn run(arguments: &LsArguments) -> io::Result<Outcome> {
    let Some((set, tree, mut outcome)) = arguments.set.open_tree(&arguments.disks) else {
        return Ok(Outcome::Nothing);
    };
    let path = path_bytes(&arguments.path);
    let path = name_of_volume(&set, &path);
    let start = walk::resolve(&tree, &path, true).and_then(|node| tree.metadata(node));
    let start = match start {
        Ok(start) => start,
        Err(error) => {
            text::complain(format_args!("{}", walk::path_error(&path, &error)));
            return Ok(Outcome::Nothing);
        }
    };
    let mut printer = Printer {
        out: BufWriter::with_capacity(1 << 16, io::stdout().lock()),
        tree: &tree,
        arguments,
        first: true,
    };
    printer.begin()?;
    if start.kind == FileKind::Directory {
        walk::walk(&tree, start.node, &path, arguments.recursive, &mut |event| match event {
            Event::Node(visit) => printer.entry(&visit),
            Event::Failed(path, error) => {
                outcome = Outcome::Part;
                let shown = String::from_utf8_lossy(path);
                text::complain(format_args!("{shown}: {}", error_chain(&error)));
                Ok(())
            }
        })?;
    } else {
        let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
        printer.entry(&Visit { path: &path, name, metadata: &start, depth: 0 })?;
    }
    printer.end()?;
    Ok(outcome)
}

struct Printer<'a, W: Write> {
    out: W,
    tree: &'a dyn FileSystem,
    arguments: &'a LsArguments,
    first: bool,
}

impl<W: Write> Printer<'_, W> {
    fn begin(&mut self) -> io::Result<()> {
        if self.arguments.json {
            self.out.write_all(b"{\"version\":1,\"entries\":[")
        } else {
            Ok(())
        }
    }

    fn end(&mut self) -> io::Result<()> {
        if self.arguments.json {
            self.out.write_all(b"\n]}\n")?;
        }
        self.out.flush()
    }

    fn entry(&mut self, visit: &Visit<'_>) -> io::Result<()> {
        if self.arguments.json {
            return self.entry_json(visit);
        }
        let metadata = visit.metadata;
        if self.arguments.long {
            write!(
                self.out,
                "{} {:>3} {:>12} {} ",
                text::mode(metadata),
                metadata.links,
                metadata.size,
                text::time(metadata.times.modified),
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
        self.out.write_all(b"\n")
    }

    fn target(&self, metadata: &Metadata) -> Option<Vec<u8>> {
        self.tree.read_link(metadata.node).ok().map(|target| target.0)
    }

    fn entry_json(&mut self, visit: &Visit<'_>) -> io::Result<()> {
        let metadata = visit.metadata;
        let (path, path_hex) = text::json_path(visit.path);
        let target = if metadata.kind == FileKind::Symlink { self.target(metadata) } else { None };
        let times = &metadata.times;
        let entry = EntryJson {
            path,
            path_hex,
            kind: text::kind_letter(metadata.kind),
            size: metadata.size,
            allocated: metadata.allocated,
            links: metadata.links,
            modified: text::time(times.modified),
            accessed: text::time(times.accessed),
            changed: text::time(times.changed),
            created: times.created.map(text::time),
            uid: metadata.owner.map(|owner| owner.uid),
            gid: metadata.owner.map(|owner| owner.gid),
            mode: metadata.owner.map(|owner| format!("{:04o}", owner.mode)),
            attributes: metadata.attributes.map(|attributes| attributes.0),
            target: target.map(|target| text::json_path(&target).0),
        };
        self.out.write_all(if self.first { b"\n" } else { b",\n" })?;
        self.first = false;
        serde_json::to_writer(&mut self.out, &entry)?;
        Ok(())
    }
}
