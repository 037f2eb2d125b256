//! `volfold cat`: one file to stdout.

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use volfold_block::ReadBuffer;
use volfold_fs::{FileData, FileSystem, FsErrorKind, FsResult, NodeId, StreamName};

use super::content::{PIECE, read_as_far_as_possible};
use super::outcome::Outcome;
use super::set::{OpenedTree, TreeArguments};
use super::{text, walk};

/// Write one file to stdout
#[derive(Args)]
#[command(after_help = "\
Examples:
  volfold cat disk.vmdk -p /System/Users/a/notes.txt > notes.txt
  volfold cat disk.vmdk -p /System/Users/a/setup.exe:Zone.Identifier")]
pub(crate) struct CatArguments {
    /// Disk images that belong together, or a folder with them
    #[arg(required = true, value_name = "DISK")]
    disks: Vec<PathBuf>,
    /// The file: /<volume>/dir/file, or an alternate stream of it: /<volume>/dir/file:stream
    #[arg(short, long, value_name = "PATH")]
    path: OsString,
    #[command(flatten)]
    set: TreeArguments,
}

pub(crate) fn run(arguments: &CatArguments) -> io::Result<Outcome> {
    let paths = std::slice::from_ref(&arguments.path);
    let mut opened = match arguments.set.open_tree(&arguments.disks, paths) {
        Ok(opened) => opened,
        Err(mut report) => {
            report.end();
            return Ok(Outcome::Nothing);
        }
    };
    let path = opened.paths.first().cloned().unwrap_or_default();
    let file = match open(&opened, &path) {
        Ok(file) => file,
        Err(error) => {
            opened.report.path(&path, &error);
            opened.end();
            return Ok(Outcome::Nothing);
        }
    };
    let mut out = io::stdout().lock();
    let mut buf = ReadBuffer::new(PIECE);
    let mut offset = 0;
    while offset < file.size() {
        let (bytes, error) = read_as_far_as_possible(&*file, offset, &mut buf);
        out.write_all(bytes)?;
        offset += bytes.len() as u64;
        if let Some(error) = error {
            out.flush()?;
            let line = walk::path_error(&path, &error);
            text::complain(format_args!("{line}; {offset} bytes were written"));
            opened.end();
            return Ok(if offset == 0 { Outcome::Nothing } else { Outcome::Part });
        }
    }
    out.flush()?;
    Ok(opened.end())
}

/// The file at `path`; if there is none, the stream after the last `:` of the file before it.
fn open(opened: &OpenedTree, path: &[u8]) -> FsResult<Arc<dyn FileData>> {
    let tree = &opened.tree;
    let main = opened.resolve(path);
    let colon = path.iter().rposition(|byte| *byte == b':');
    match (main, colon.and_then(|colon| path.split_at_checked(colon))) {
        (Err(error), Some((file, [_, stream @ ..])))
            if error.kind() == FsErrorKind::NotFound
                && !stream.is_empty()
                && !stream.contains(&b'/') =>
        {
            let node = opened.resolve(file)?;
            open_stream(tree, node, stream)
        }
        (main, _) => tree.open(main?, &StreamName::MAIN),
    }
}

/// The stream `name` of `node`, which NTFS finds without regard to case.
fn open_stream(tree: &dyn FileSystem, node: NodeId, name: &[u8]) -> FsResult<Arc<dyn FileData>> {
    let folded = |name: &[u8]| String::from_utf8_lossy(name).to_lowercase();
    match tree.open(node, &StreamName(name.to_vec())) {
        Err(error) if error.kind() == FsErrorKind::NotFound => {
            let streams = tree.streams(node)?;
            let alike = streams.into_iter().find(|one| folded(&one.name.0) == folded(name));
            tree.open(node, &alike.ok_or(error)?.name)
        }
        opened => opened,
    }
}
