//! Names, metadata, cursors, links and nodes.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::ops::ControlFlow;

use volfold_fs::{
    CaseRule, DirCursor, FileKind, FileSystem, FsErrorKind, FsResult, Metadata, Name, NodeId,
    StreamName,
};

use super::{Case, Report, Seen, View};

/// Positions of a directory at which a listing is resumed.
const RESUMES: usize = 40;

/// One entry of one directory.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    name: Vec<u8>,
    node: NodeId,
    kind: FileKind,
    metadata: Option<Metadata>,
    next: DirCursor,
}

/// At most `most` entries of `dir` behind `from`.
fn entries(fs: &dyn FileSystem, dir: NodeId, from: DirCursor, most: usize) -> FsResult<Vec<Entry>> {
    let mut found = Vec::new();
    fs.read_dir(dir, from, &mut |entry| {
        found.push(Entry {
            name: entry.name.as_bytes().to_vec(),
            node: entry.node,
            kind: entry.kind,
            metadata: entry.metadata.cloned(),
            next: entry.next,
        });
        if found.len() >= most { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    Ok(found)
}

/// Everything below the root. What entries say is what their nodes say.
pub(super) fn walk(case: &Case<'_>, report: &mut Report) -> Vec<Seen> {
    let mut seen = Vec::new();
    let mut entered = HashSet::from([case.fs.root()]);
    let mut open = vec![(Vec::new(), case.fs.root())];
    while let Some((folder, dir)) = open.pop() {
        let shown = String::from_utf8_lossy(&folder).into_owned();
        let entries = match entries(case.fs, dir, DirCursor::START, usize::MAX) {
            Ok(entries) => entries,
            Err(error) => {
                report.problem("read_dir", &format!("{shown}: {error}"));
                continue;
            }
        };
        let names: HashSet<&[u8]> = entries.iter().map(|entry| entry.name.as_slice()).collect();
        report.check("names differ", names.len() == entries.len(), || shown.clone());
        for entry in entries {
            let path = if folder.is_empty() {
                entry.name.clone()
            } else {
                [&folder, &b"/"[..], &entry.name].concat()
            };
            let Some(metadata) = metadata_of(case, &path, &entry, report) else { continue };
            if metadata.kind == FileKind::Directory && entered.insert(entry.node) {
                open.push((path.clone(), entry.node));
            }
            seen.push(Seen { path, dir, name: entry.name, node: entry.node, metadata });
        }
    }
    listed(case, &seen, report);
    seen
}

fn metadata_of(
    case: &Case<'_>,
    path: &[u8],
    entry: &Entry,
    report: &mut Report,
) -> Option<Metadata> {
    let shown = || String::from_utf8_lossy(path).into_owned();
    let metadata = match case.fs.metadata(entry.node) {
        Ok(metadata) => metadata,
        Err(error) => {
            report.problem("metadata", &format!("{}: {error}", shown()));
            return None;
        }
    };
    let dots = entry.name == b"." || entry.name == b".." || entry.name.is_empty();
    report.check("names", !dots, || format!("{}: an entry of no use", shown()));
    report.check("metadata", metadata.node == entry.node && metadata.kind == entry.kind, || {
        format!("{}: entry {entry:?}, node {metadata:?}", shown())
    });
    if let Some(beside) = &entry.metadata {
        report.check("metadata beside entries", *beside == metadata, || {
            format!("{}: {beside:?} is not {metadata:?}", shown())
        });
    }
    let times = &metadata.times;
    let all = [Some(times.modified), Some(times.accessed), Some(times.changed), times.created];
    report.check(
        "times",
        all.into_iter().flatten().all(|time| time.nanoseconds < 1_000_000_000),
        || format!("{}: {times:?}", shown()),
    );
    Some(metadata)
}

/// Sizes, times and device numbers are those of the listing.
fn listed(case: &Case<'_>, seen: &[Seen], report: &mut Report) {
    let by_path: HashMap<&[u8], &Seen> =
        seen.iter().map(|seen| (seen.path.as_slice(), seen)).collect();
    for row in case.rows {
        let Some(seen) = by_path.get(row.path.as_slice()) else { continue };
        let metadata = &seen.metadata;
        if row.kind == "f" {
            report.check("sizes", row.size == Some(metadata.size), || {
                format!("{}: {} bytes, not {:?}", seen.shown(), metadata.size, row.size)
            });
        }
        if let Some(mtime) = row.mtime {
            let modified = metadata.times.modified;
            report.check("mtime", modified.seconds == mtime, || {
                format!("{}: changed at {modified:?}, not {mtime}", seen.shown())
            });
        }
        if row.kind == "l" {
            report.check("size of links", metadata.size == row.extra.len() as u64, || {
                format!("{}: {}, not {}", seen.shown(), metadata.size, row.extra.len())
            });
        }
        if matches!(row.kind.as_str(), "c" | "b") {
            let device = metadata.device.map(|(major, minor)| format!("{major},{minor}"));
            let wanted = String::from_utf8_lossy(&row.extra);
            report.check("devices", device.as_deref() == Some(&*wanted), || {
                format!("{}: {device:?}, not {wanted}", seen.shown())
            });
        }
    }
}

/// Names lead to their nodes, by the case rule, and nothing else leads anywhere.
pub(super) fn lookups(case: &Case<'_>, seen: &[Seen], report: &mut Report) {
    let fs = case.fs;
    let kind_of = |found: FsResult<NodeId>| found.map_err(|error| error.kind());
    let taken: HashSet<(NodeId, &[u8])> =
        seen.iter().map(|seen| (seen.dir, seen.name.as_slice())).collect();
    let mut alike: HashMap<(NodeId, Vec<u8>), u32> = HashMap::new();
    for one in seen {
        *alike.entry((one.dir, one.name.to_ascii_lowercase())).or_default() += 1;
    }
    for one in seen {
        let found = kind_of(fs.lookup(one.dir, Name::new(&one.name)));
        report.check("lookup", found == Ok(one.node), || {
            format!("{}: {found:?}, not {:?}", one.shown(), one.node)
        });
        let missing = [&one.name, &b".none"[..]].concat();
        if !taken.contains(&(one.dir, &missing)) {
            let found = kind_of(fs.lookup(one.dir, Name::new(&missing)));
            // Names that have become too long are no names.
            let good = matches!(found, Err(FsErrorKind::NotFound | FsErrorKind::InvalidName));
            report.check("lookup of nothing", good, || format!("{}.none: {found:?}", one.shown()));
        }
        let other = other_case(&one.name);
        // Of several names that differ in case only, any may be meant.
        let is_alone = alike[&(one.dir, one.name.to_ascii_lowercase())] == 1;
        if other != one.name && is_alone && !taken.contains(&(one.dir, &other)) {
            let wanted = match fs.info().case {
                CaseRule::Insensitive => Ok(one.node),
                CaseRule::Sensitive => Err(FsErrorKind::NotFound),
            };
            let found = kind_of(fs.lookup(one.dir, Name::new(&other)));
            report.check("case rule", found == wanted, || {
                format!("{}: {found:?}, not {wanted:?}", one.shown())
            });
        }
        if one.is_file() {
            let inside = kind_of(fs.lookup(one.node, Name::new("x")));
            let listed = entries(fs, one.node, DirCursor::START, 1).map_err(|error| error.kind());
            let good = inside == Err(FsErrorKind::NotADirectory)
                && listed == Err(FsErrorKind::NotADirectory);
            report.check("files are no directories", good, || {
                format!("{}: {inside:?}, {listed:?}", one.shown())
            });
        }
        if one.metadata.kind != FileKind::Symlink {
            let target = fs.read_link(one.node).map_err(|error| error.kind());
            let good = target == Err(FsErrorKind::NotALink);
            report.check("others are no links", good, || format!("{}: {target:?}", one.shown()));
        }
        if one.is_directory() {
            let opened = fs.open(one.node, &StreamName::MAIN).err().map(|error| error.kind());
            let good = opened == Some(FsErrorKind::IsADirectory);
            report
                .check("directories are no files", good, || format!("{}: {opened:?}", one.shown()));
        }
    }
    for name in [&b""[..], &[b'n'; 300], b"a/b", b"\xff\xfe", b"x\0", "\u{fffd}".as_bytes()] {
        let found = kind_of(fs.lookup(fs.root(), Name::new(name)));
        let good = matches!(found, Err(FsErrorKind::NotFound | FsErrorKind::InvalidName));
        report.check("strange names", good, || format!("{}: {found:?}", name.escape_ascii()));
    }
}

/// `name` with the case of its ASCII letters turned round.
fn other_case(name: &[u8]) -> Vec<u8> {
    name.iter().map(|byte| if byte.is_ascii_alphabetic() { byte ^ 0x20 } else { *byte }).collect()
}

/// A listing is the same again, and can be resumed behind every entry.
pub(super) fn cursors(case: &Case<'_>, seen: &[Seen], report: &mut Report) {
    let below = seen.iter().filter(|seen| seen.is_directory()).map(|seen| seen.node);
    for dir in std::iter::once(case.fs.root()).chain(below) {
        let list = |from, most| entries(case.fs, dir, from, most).map_err(|e| e.to_string());
        // What a mount says beside an entry depends on what was asked before.
        let Ok(all) = list(DirCursor::START, usize::MAX) else { continue };
        let again = list(DirCursor::START, usize::MAX);
        report.check("same order again", again.as_ref() == Ok(&all), || format!("{dir:?}"));
        let places: BTreeSet<DirCursor> = all.iter().map(|entry| entry.next).collect();
        let unique = places.len() == all.len() && !places.contains(&DirCursor::START);
        report.check("cursors differ", unique, || format!("{dir:?}"));
        let step = all.len().div_ceil(RESUMES).max(1);
        let last = all.len().checked_sub(1);
        for index in (0..all.len()).step_by(step).chain(last) {
            let rest = list(all[index].next, usize::MAX);
            report.check("resumed", rest.as_deref() == Ok(&all[index + 1..]), || {
                format!("{dir:?} behind {:?}", all[index])
            });
            let from = if index == 0 { DirCursor::START } else { all[index - 1].next };
            let one = list(from, 1);
            report.check("stopped", one.as_deref() == Ok(&all[index..=index]), || {
                format!("{dir:?} at {:?}: {one:?}", all[index])
            });
        }
    }
}

/// A node has at least as many links as names in the tree.
pub(super) fn links(seen: &[Seen], report: &mut Report) {
    let mut by_node: BTreeMap<NodeId, Vec<&Seen>> = BTreeMap::new();
    for one in seen {
        by_node.entry(one.node).or_default().push(one);
    }
    for (node, names) in by_node {
        let first = names[0];
        if first.is_directory() {
            report.check("one name of a directory", names.len() == 1, || first.shown());
            continue;
        }
        let links = first.metadata.links;
        let good = links as usize >= names.len();
        report.check("links", good, || {
            format!("{}: {links} links, {} names of {node:?}", first.shown(), names.len())
        });
        if names.len() > 1 {
            let same = names.iter().all(|name| name.metadata == first.metadata);
            report.check("hard links", same, || first.shown());
        }
    }
}

/// Numbers of no node are errors, and the file system's own nodes no reason to fail.
pub(super) fn absent_nodes(case: &Case<'_>, seen: &[Seen], report: &mut Report) {
    if case.view == View::Mount {
        return;
    }
    let fs = case.fs;
    let highest = seen.iter().map(|seen| seen.node.0).max().unwrap_or_default();
    for number in [highest + 1_000_000, (1 << 47) + 5, (1 << 48) - 1, u64::MAX] {
        let node = NodeId(number);
        let errors = [
            fs.metadata(node).is_err(),
            fs.lookup(node, Name::new("x")).is_err(),
            entries(fs, node, DirCursor::START, usize::MAX).is_err(),
            fs.read_link(node).is_err(),
            fs.open(node, &StreamName::MAIN).is_err(),
        ];
        let good = errors.iter().all(|error| *error);
        report.check("absent nodes", good, || format!("{node:?}: errors {errors:?}"));
    }
    for number in 0..64 {
        let node = NodeId(number);
        let _ = fs.metadata(node);
        let _ = fs.lookup(node, Name::new("x"));
        let _ = entries(fs, node, DirCursor(number), 10);
        let _ = fs.read_link(node);
        let _ = fs.streams(node);
        if let Ok(data) = fs.open(node, &StreamName::MAIN) {
            let _ = data.read_at(0, &mut [0; 100]);
        }
        report.check("inner nodes", true, String::new);
    }
}
