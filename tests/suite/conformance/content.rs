//! Reads, extents and refusals.

use std::collections::HashSet;
use std::sync::Arc;
use std::thread;

use volfold_fs::{FileData, FileExtentKind, FsErrorKind, FsResult, StreamName};

use super::{Case, Random, Report, Seen, View};

/// Files of one case that are read in pieces, beside the largest.
const SPREAD: usize = 48;
/// The largest of all.
const LARGEST: usize = 12;
/// Bytes of a file that is held as a whole.
const HELD: u64 = 32 << 20;
/// Reads at random places of one file.
const READS: usize = 24;
/// Readers at once.
const READERS: usize = 8;

/// A file that is open, and all its bytes.
struct Held<'a> {
    seen: &'a Seen,
    data: Arc<dyn FileData>,
    bytes: Vec<u8>,
}

pub(super) fn check(case: &Case<'_>, seen: &[Seen], report: &mut Report) {
    let mut held = Vec::new();
    for one in choose(seen) {
        match hold(case, one) {
            Ok(file) => held.push(file),
            Err(kind) => refused(case, one, kind, report),
        }
    }
    for file in &held {
        edges(case, file, report);
        random(file, report);
        extents(case, file, report);
    }
    together(case, &held, report);
}

/// The largest files, some of all others, and all that are said to be unreadable.
fn choose(seen: &[Seen]) -> Vec<&Seen> {
    let mut files: Vec<&Seen> = seen.iter().filter(|seen| seen.is_file()).collect();
    files.sort_by_key(|seen| std::cmp::Reverse(seen.metadata.size));
    let step = files.len().div_ceil(SPREAD).max(1);
    let mut taken = HashSet::new();
    let unreadable = files.iter().filter(|seen| seen.metadata.unreadable.is_some());
    let chosen = files.iter().take(LARGEST).chain(files.iter().step_by(step)).chain(unreadable);
    chosen.filter(|seen| taken.insert(&seen.path)).copied().collect()
}

fn hold<'a>(case: &Case<'_>, seen: &'a Seen) -> Result<Held<'a>, FsErrorKind> {
    let read = || -> FsResult<Held<'a>> {
        let data = case.fs.open(seen.node, &StreamName::MAIN)?;
        let mut bytes = vec![0xA5; data.size().min(HELD) as usize];
        let count = data.read_at(0, &mut bytes)?;
        bytes.truncate(count);
        Ok(Held { seen, data, bytes })
    };
    read().map_err(|error| error.kind())
}

/// Nothing of a refused file is given, and its metadata may say so before.
fn refused(case: &Case<'_>, seen: &Seen, kind: FsErrorKind, report: &mut Report) {
    let expected = case.errors.iter().any(|error| error.path.as_bytes() == seen.path);
    report.check("refused files", expected, || format!("{}: {kind:?}", seen.shown()));
    if let Some(said) = seen.metadata.unreadable {
        report.check("said to be unreadable", said == kind, || {
            format!("{}: {kind:?}, not {said:?}", seen.shown())
        });
    }
    // What is shown as a hole is not read at all by `tar --sparse` and others: zeros in silence.
    let (size, allocated) = (seen.metadata.size, seen.metadata.allocated);
    let no_hole = allocated >= size || seen.metadata.unreadable.is_some();
    report.check("refused files are no holes", no_hole, || {
        format!("{}: {allocated} of {size} bytes are allocated", seen.shown())
    });
    if let Ok(data) = case.fs.open(seen.node, &StreamName::MAIN) {
        let size = data.size();
        for offset in [0, 1, size / 2, size.saturating_sub(1)] {
            let read = data.read_at(offset, &mut [0; 16]).map_err(|error| error.kind());
            report.check("refused everywhere", offset >= size || read == Err(kind), || {
                format!("{}: {read:?} at {offset}, not {kind:?}", seen.shown())
            });
        }
    }
}

fn read(data: &dyn FileData, offset: u64, length: u64) -> FsResult<Vec<u8>> {
    let mut buf = vec![0xA5; length as usize];
    let count = data.read_at(offset, &mut buf)?;
    buf.truncate(count);
    Ok(buf)
}

/// Compares one read with the slice of the whole file.
fn piece(what: &'static str, file: &Held<'_>, offset: u64, length: u64, report: &mut Report) {
    let size = file.bytes.len() as u64;
    let from = offset.min(size);
    let to = offset.saturating_add(length).min(size);
    let wanted = &file.bytes[from as usize..to as usize];
    let found = read(&*file.data, offset, length);
    let good = found.as_ref().is_ok_and(|found| found == wanted);
    report.check(what, good, || {
        let found = found.map(|bytes| bytes.len()).map_err(|error| error.to_string());
        format!("{}: {found:?} of {length} at {offset}, size {size}", file.seen.shown())
    });
}

/// Reads around the end, of nothing, and behind the end.
fn edges(case: &Case<'_>, file: &Held<'_>, report: &mut Report) {
    let size = file.data.size();
    let unreadable = file.seen.metadata.unreadable;
    report.check("one size", size == file.seen.metadata.size, || file.seen.shown());
    report.check("whole", size > HELD || file.bytes.len() as u64 == size, || {
        format!("{}: {} of {size} bytes", file.seen.shown(), file.bytes.len())
    });
    // The first bytes of a file may be fine where the rest is not.
    report.check("readable as said", unreadable.is_none(), || {
        format!("{}: read, but said to be {unreadable:?}", file.seen.shown())
    });
    if size > HELD {
        return;
    }
    let mut places = vec![
        (0, 0),
        (0, 1),
        (0, size + 10),
        (size / 2, 0),
        (size.saturating_sub(1), 10),
        (size, 0),
        (size, 1),
        (size + 1, 7),
        (size + (1 << 40), 4096),
    ];
    if case.view != View::Mount {
        places.push((u64::MAX, 1));
        places.push((u64::MAX - 100, 4096));
    }
    for (offset, length) in places {
        piece("reads at the edges", file, offset, length, report);
    }
}

/// Reads at places that look random, some of them at the borders of sectors and clusters.
fn random(file: &Held<'_>, report: &mut Report) {
    let size = file.data.size();
    if size == 0 || size > HELD {
        return;
    }
    let mut numbers = Random(0x9E37_79B9_7F4A_7C15 ^ size);
    for round in 0..READS {
        let mut offset = numbers.below(size);
        if round % 3 == 0 {
            let unit = 1 << (9 + numbers.below(8));
            offset = (offset / unit * unit + numbers.below(3)).saturating_sub(1);
        }
        let most = if round % 4 == 0 { 300_000 } else { 9_000 };
        let length = numbers.below(most);
        piece("random reads", file, offset, length, report);
    }
}

/// Extents cover the file; holes are zeros, and what is unreadable is not read.
fn extents(case: &Case<'_>, file: &Held<'_>, report: &mut Report) {
    let size = file.bytes.len() as u64;
    let is_hole = file.seen.metadata.allocated == 0;
    let no_data = !is_hole || file.bytes.iter().all(|byte| *byte == 0);
    report.check("files with data are no holes", no_data, || {
        format!("{}: data, and nothing allocated", file.seen.shown())
    });
    let mut at = 0;
    while at < size {
        let extent = match file.data.extent_at(at) {
            Ok(extent) if extent.length > 0 && extent.length <= file.data.size() - at => extent,
            other => {
                return report
                    .problem("extents", &format!("{}: {other:?} at {at}", file.seen.shown()));
            }
        };
        let end = (at + extent.length).min(size);
        let bytes = &file.bytes[at as usize..end as usize];
        let good = match extent.kind {
            FileExtentKind::Data => true,
            FileExtentKind::Hole => bytes.iter().all(|byte| *byte == 0),
            FileExtentKind::Unreadable(_) => false,
        };
        report.check("extents", good, || {
            format!("{}: {extent:?} at {at} is not what is read", file.seen.shown())
        });
        if extent.kind == FileExtentKind::Hole {
            report.check("holes", true, String::new);
        }
        let middle = at + extent.length / 2;
        let inner = file.data.extent_at(middle).map(|extent| extent.kind);
        report.check("inside extents", inner.as_ref().ok() == Some(&extent.kind), || {
            format!("{}: {inner:?} at {middle}, {extent:?} at {at}", file.seen.shown())
        });
        at = end;
    }
    // The kernel does not ask for bytes of an empty file, but for its extents, and may be refused.
    let refused = case.errors.iter().any(|error| error.path.as_bytes() == file.seen.path);
    if refused {
        return;
    }
    let behind = file.data.extent_at(file.data.size()).map_err(|error| error.kind());
    report.check("no extent behind the end", behind == Err(FsErrorKind::OutOfRange), || {
        format!("{}: {behind:?}", file.seen.shown())
    });
}

/// Many readers at once get what one reader gets.
fn together(case: &Case<'_>, held: &[Held<'_>], report: &mut Report) {
    let wrong: Vec<String> = thread::scope(|scope| {
        let readers: Vec<_> =
            (0..READERS).map(|reader| scope.spawn(move || read_all(case, held, reader))).collect();
        readers.into_iter().flat_map(|reader| reader.join().expect("a reader")).collect()
    });
    *report.counts.entry("files read by eight at once").or_default() += held.len() as u64;
    for line in wrong {
        report.problem("at once", &line);
    }
}

/// Reads all files, each reader in an order and in pieces of its own, through handles of its own
/// for every second.
fn read_all(case: &Case<'_>, held: &[Held<'_>], reader: usize) -> Vec<String> {
    let mut wrong = Vec::new();
    let piece = [4096, 65_536, 1000, 131_072, 100_003, 8192, 262_144, 40_000][reader % 8];
    for index in 0..held.len() {
        let file = &held[(index + reader * held.len() / READERS) % held.len()];
        let data = if reader.is_multiple_of(2) {
            file.data.clone()
        } else {
            match case.fs.open(file.seen.node, &StreamName::MAIN) {
                Ok(data) => data,
                Err(error) => {
                    wrong.push(format!("{}: {error}", file.seen.shown()));
                    continue;
                }
            }
        };
        for (number, wanted) in file.bytes.chunks(piece).enumerate() {
            let offset = (number * piece) as u64;
            match read(&*data, offset, wanted.len() as u64) {
                Ok(found) if found == wanted => {}
                Ok(_) => wrong.push(format!("{}: other bytes at {offset}", file.seen.shown())),
                Err(error) => wrong.push(format!("{}: {error}", file.seen.shown())),
            }
        }
    }
    wrong
}
