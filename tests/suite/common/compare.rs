//! Compares a file system with a listing.

use std::collections::{BTreeMap, HashSet};
use std::ops::ControlFlow;

use data_encoding::HEXLOWER;
use volfold_fs::{
    DirCursor, FileData, FileKind, FileSystem, FsErrorKind, FsResult, NodeId, StreamName,
};

use super::listing::Row;

/// Directories that one walk may enter: images of a fuzzer have cycles.
const MAX_DIRECTORIES: usize = 20_000;

/// One node as the file system under test shows it.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(crate) node: NodeId,
    pub(crate) kind: FileKind,
}

/// What a comparison says.
#[derive(Debug, Default)]
pub(crate) struct Comparison {
    /// Files whose content is the same.
    pub(crate) same: usize,
    /// Files that were refused: path and code.
    pub(crate) refused: Vec<(String, String)>,
    /// All that differs.
    pub(crate) differences: Vec<String>,
}

impl Comparison {
    /// Stops the test if anything differs.
    pub(crate) fn assert_same(&self, what: &str) {
        let count = self.differences.len();
        let shown: Vec<_> = self.differences.iter().take(20).collect();
        assert!(count == 0, "{what}: {count} differences\n{shown:#?}");
    }
}

/// Everything below the root, by path without a leading `/`.
pub(crate) fn walk(fs: &dyn FileSystem) -> FsResult<BTreeMap<Vec<u8>, Found>> {
    let mut all = BTreeMap::new();
    let mut entered = HashSet::from([fs.root()]);
    let mut open = vec![(Vec::new(), fs.root())];
    while let Some((folder, node)) = open.pop() {
        fs.read_dir(node, DirCursor::START, &mut |entry| {
            let mut path: Vec<u8> = folder.clone();
            if !path.is_empty() {
                path.push(b'/');
            }
            path.extend_from_slice(entry.name.as_bytes());
            let (node, kind) = (entry.node, entry.kind);
            if kind == FileKind::Directory && entered.insert(node) {
                open.push((path.clone(), node));
            }
            all.insert(path, Found { node, kind });
            ControlFlow::Continue(())
        })?;
        assert!(entered.len() < MAX_DIRECTORIES, "the walk does not end");
    }
    Ok(all)
}

/// The SHA-256 of all bytes of `data`.
pub(crate) fn hash(data: &dyn FileData) -> FsResult<String> {
    let mut digest: sha2::Sha256 = sha2::Digest::new();
    let mut buf = vec![0; 256 << 10];
    let mut offset = 0;
    loop {
        let count = data.read_at(offset, &mut buf)?;
        if count == 0 {
            break;
        }
        sha2::Digest::update(&mut digest, &buf[..count]);
        offset += count as u64;
    }
    assert_eq!(offset, data.size(), "the content ends where the size says");
    Ok(HEXLOWER.encode(&sha2::Digest::finalize(digest)))
}

/// Compares `fs` with the rows of a listing: names, kinds, sizes, content and link targets.
///
/// A file that `fs` refuses to read is reported in [`Comparison::refused`], never as a difference:
/// an error is no wrong byte. Rows of alternate streams are compared where `fs` has streams.
pub(crate) fn compare(fs: &dyn FileSystem, rows: &[Row]) -> FsResult<Comparison> {
    let mut found = walk(fs)?;
    let mut result = Comparison::default();
    for row in rows {
        let shown = String::from_utf8_lossy(&row.path).into_owned();
        if row.kind == "ads" {
            compare_stream(fs, row, &mut result);
            continue;
        }
        match found.remove(&row.path) {
            None => result.differences.push(format!("{shown}: not found")),
            Some(node) => compare_node(fs, row, &node, &shown, &mut result),
        }
    }
    // Some tools list no directories.
    let directories = rows.iter().any(|row| row.kind == "d");
    found.retain(|_, node| directories || node.kind != FileKind::Directory);
    for path in found.keys() {
        let shown = String::from_utf8_lossy(path);
        result.differences.push(format!("{shown}: not in the listing"));
    }
    Ok(result)
}

fn compare_node(fs: &dyn FileSystem, row: &Row, found: &Found, shown: &str, out: &mut Comparison) {
    let wanted = match row.kind.as_str() {
        "f" => FileKind::Regular,
        "d" => FileKind::Directory,
        "l" => FileKind::Symlink,
        "p" => FileKind::Fifo,
        "c" => FileKind::CharDevice,
        "b" => FileKind::BlockDevice,
        "s" => FileKind::Socket,
        _ => found.kind,
    };
    if found.kind != wanted {
        let line = format!("{shown}: is {:?}, not {wanted:?}", found.kind);
        out.differences.push(line);
        return;
    }
    match row.kind.as_str() {
        "f" => compare_content(fs, row, found.node, &StreamName::MAIN, shown, out),
        "l" => match fs.read_link(found.node) {
            Ok(target) if target.0 == row.extra => out.same += 1,
            Ok(target) => out.differences.push(format!(
                "{shown}: leads to {}, not {}",
                target.0.escape_ascii(),
                row.extra.escape_ascii()
            )),
            Err(error) => out.differences.push(format!("{shown}: {error}")),
        },
        _ => {}
    }
}

fn compare_stream(fs: &dyn FileSystem, row: &Row, out: &mut Comparison) {
    let shown = String::from_utf8_lossy(&row.path).into_owned();
    let colon = row.path.iter().rposition(|byte| *byte == b':').expect("path:stream");
    let stream = StreamName(row.path[colon + 1..].to_vec());
    match find(fs, &row.path[..colon]) {
        Err(error) => out.differences.push(format!("{shown}: {error}")),
        Ok(node) => match fs.streams(node) {
            Ok(streams) if streams.is_empty() => {}
            Ok(_) => compare_content(fs, row, node, &stream, &shown, out),
            Err(error) => out.differences.push(format!("{shown}: {error}")),
        },
    }
}

/// The node at `path`, found by lookups.
pub(crate) fn find(fs: &dyn FileSystem, path: &[u8]) -> FsResult<NodeId> {
    path.split(|byte| *byte == b'/')
        .filter(|part| !part.is_empty())
        .try_fold(fs.root(), |node, part| fs.lookup(node, volfold_fs::Name::new(&part)))
}

fn compare_content(
    fs: &dyn FileSystem,
    row: &Row,
    node: NodeId,
    stream: &StreamName,
    shown: &str,
    out: &mut Comparison,
) {
    let read = fs.open(node, stream).and_then(|data| Ok((data.size(), hash(&*data)?)));
    match read {
        Err(error) => {
            let code = match error.kind() {
                FsErrorKind::Encrypted => "encrypted".to_owned(),
                FsErrorKind::Undecodable(reason) => reason.code().to_owned(),
                kind => {
                    out.differences.push(format!("{shown}: {error} ({kind:?})"));
                    return;
                }
            };
            out.refused.push((shown.to_owned(), code));
        }
        Ok(_) if row.unreadable => {
            out.differences.push(format!("{shown}: was read though nobody can"));
        }
        Ok((size, digest)) => {
            if row.size.is_some_and(|wanted| wanted != size) {
                let line = format!("{shown}: has {size} bytes, not {:?}", row.size);
                out.differences.push(line);
            } else if row.sha256.as_ref().is_some_and(|wanted| *wanted != digest) {
                out.differences.push(format!("{shown}: has other bytes"));
            } else {
                out.same += 1;
            }
        }
    }
}
