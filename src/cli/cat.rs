//! `volfold cat`: one file to stdout.

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::PathBuf;

use clap::Args;
use volfold::DiskSet;
use volfold_fs::{FileData, FileSystem, FsErrorKind, FsResult, StreamName};

use super::{Outcome, TreeArguments, path_bytes, text, walk};

/// Bytes read at once.
pub(crate) const PIECE: usize = 1 << 20;

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
    let Some((set, tree, outcome)) = arguments.set.open_tree(&arguments.disks) else {
        return Ok(Outcome::Nothing);
    };
    let path = name_of_volume(&set, &path_bytes(&arguments.path));
    let file = match open(&tree, &path) {
        Ok(file) => file,
        Err(error) => {
            text::complain(format_args!("{}", walk::path_error(&path, &error)));
            return Ok(Outcome::Nothing);
        }
    };
    let mut out = io::stdout().lock();
    let mut buf = vec![0; PIECE];
    let mut offset = 0;
    while offset < file.size() {
        match read_piece(&*file, offset, &mut buf) {
            Ok(bytes) => out.write_all(bytes)?,
            Err(error) => {
                out.flush()?;
                let line = walk::path_error(&path, &error);
                text::complain(format_args!("{line}; {offset} bytes were written"));
                return Ok(if offset == 0 { Outcome::Nothing } else { Outcome::Part });
            }
        }
        offset += PIECE as u64;
    }
    out.flush()?;
    Ok(outcome)
}

/// The file at `path`; if there is none, the stream behind the last `:` of the file before it.
fn open(tree: &dyn FileSystem, path: &[u8]) -> FsResult<std::sync::Arc<dyn FileData>> {
    let main = walk::resolve(tree, path, true);
    let colon = path.iter().rposition(|byte| *byte == b':');
    match (main, colon.and_then(|colon| path.split_at_checked(colon))) {
        (Err(error), Some((file, [_, stream @ ..])))
            if error.kind() == FsErrorKind::NotFound
                && !stream.is_empty()
                && !stream.contains(&b'/') =>
        {
            let node = walk::resolve(tree, file, true)?;
            tree.open(node, &StreamName(stream.to_vec()))
        }
        (main, _) => tree.open(main?, &StreamName::MAIN),
    }
}

/// The next piece of `file` at `offset`; a piece that is not whole before the end is an error.
pub(crate) fn read_piece<'a>(
    file: &dyn FileData,
    offset: u64,
    buf: &'a mut [u8],
) -> FsResult<&'a [u8]> {
    let wanted = file.size().saturating_sub(offset).min(buf.len() as u64) as usize;
    let count = file.read_at(offset, &mut buf[..wanted])?;
    if count < wanted {
        return Err(volfold_fs::FsError::corrupt("content ends before the size of the file"));
    }
    Ok(&buf[..wanted])
}

/// `path` with the folder name in place of a volume id.
pub(crate) fn name_of_volume(set: &DiskSet, path: &[u8]) -> Vec<u8> {
    let rest = path.strip_prefix(b"/").unwrap_or(path);
    let end = rest.iter().position(|byte| *byte == b'/').unwrap_or(rest.len());
    let (first, below) = rest.split_at(end);
    let volume = std::str::from_utf8(first).ok().and_then(|wanted| set.volume(wanted));
    let first = volume.map_or(first, |volume| volume.name.as_bytes());
    [b"/", first, below].concat()
}
