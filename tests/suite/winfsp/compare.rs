//! A volume as requests show it, against the listing that an independent tool made.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use data_encoding::HEXLOWER;
use volfold_fs::wtf8;
use volfold_projector::folder::names;
use volfold_projector::folder::winfsp::abi::{FileInfo, NtStatus};
use winfsp_double::{Listed, OPEN_REPARSE_POINT, Requests, list, wide};

use crate::common::fixtures::ExpectedError;
use crate::common::listing::Row;

const DIRECTORY: u32 = 0x10;
const REPARSE_POINT: u32 = 0x400;
const TAG_SYMLINK: u32 = 0xA000_000C;
const SEPARATOR: u16 = b'\\' as u16;

/// Seconds from 1601 to 1970.
const TO_1970: i64 = 11_644_473_600;

/// How often what was compared, and what differs.
#[derive(Default)]
pub(crate) struct Comparison {
    pub(crate) files: usize,
    pub(crate) directories: usize,
    pub(crate) links: usize,
    pub(crate) streams: usize,
    pub(crate) refused: usize,
    pub(crate) problems: Vec<String>,
}

impl Comparison {
    #[cfg(target_env = "gnu")]
    pub(crate) fn add(&mut self, other: Self) {
        self.files += other.files;
        self.directories += other.directories;
        self.links += other.links;
        self.streams += other.streams;
        self.refused += other.refused;
        self.problems.extend(other.problems);
    }
}

/// A file as a walk met it.
struct Seen {
    path: Vec<u16>,
    info: FileInfo,
}

/// Everything below the root by the guest's path.
fn walk(requests: &dyn Requests, page: usize) -> Result<BTreeMap<Vec<u8>, Seen>, NtStatus> {
    let mut all = BTreeMap::new();
    let mut open: Vec<(Vec<u16>, Vec<u8>)> = vec![(wide("\\"), Vec::new())];
    while let Some((path, guest)) = open.pop() {
        let directory = requests.open(&path, 1, 0)?;
        let (records, _) = list(requests, directory.handle, page)?;
        requests.close(directory.handle);
        let is_dots = |record: &Listed| record.name.iter().all(|unit| *unit == u16::from(b'.'));
        let dots = records.iter().filter(|record| is_dots(record)).count();
        assert_eq!(dots, if path.len() == 1 { 0 } else { 2 }, "`.` and `..`");
        let mut folded = BTreeSet::new();
        for record in records.into_iter().filter(|record| !is_dots(record)) {
            let upper = String::from_utf16_lossy(&record.name).to_uppercase();
            assert!(folded.insert(upper), "two names are one to Windows");
            let mut below = path.clone();
            if below.len() > 1 {
                below.push(SEPARATOR);
            }
            below.extend_from_slice(&record.name);
            let mut name = guest.clone();
            if !name.is_empty() {
                name.push(b'/');
            }
            name.extend(guest_name(&record.name));
            if record.info.file_attributes & (DIRECTORY | REPARSE_POINT) == DIRECTORY {
                open.push((below.clone(), name.clone()));
            }
            all.insert(name, Seen { path: below, info: record.info });
        }
    }
    Ok(all)
}

/// The guest's name that is shown as `name`: without the number of a twin, and with the characters
/// back that Windows does not bear.
pub(crate) fn guest_name(name: &[u16]) -> Vec<u8> {
    let is_digit = |unit: &u16| (0xF130..=0xF139).contains(unit);
    let end = name.iter().rposition(|unit| !is_digit(unit)).map_or(0, |at| at + 1);
    let bytes = wtf8::encode(name[..end].iter().copied());
    names::to_guest(&bytes).unwrap_or(bytes)
}

/// Compares all of a volume with `rows`.
pub(crate) fn compare(
    requests: &dyn Requests,
    rows: &[Row],
    errors: &[ExpectedError],
    (page, chunk): (usize, usize),
) -> Comparison {
    let mut out = Comparison::default();
    let mut found = match walk(requests, page) {
        Ok(found) => found,
        Err(status) => {
            out.problems.push(format!("the walk ends with {status:#x}"));
            return out;
        }
    };
    for row in rows {
        let shown = String::from_utf8_lossy(&row.path).into_owned();
        let problem = if row.kind == "ads" {
            compare_stream(requests, row, chunk, &found, &mut out)
        } else {
            match found.get(&row.path) {
                None => Err("not found".to_owned()),
                Some(seen) => {
                    let is_refused = row.unreadable || errors.iter().any(|e| e.path == shown);
                    let case = Case { requests, row, seen, is_refused, chunk };
                    compare_row(&case, rows, &mut out)
                }
            }
        };
        if let Err(problem) = problem {
            out.problems.push(format!("{shown}: {problem}"));
        }
    }
    for row in rows {
        found.remove(&row.path);
    }
    // Some tools list no directories.
    let directories = rows.iter().any(|row| row.kind == "d");
    found.retain(|_, seen| directories || seen.info.file_attributes & DIRECTORY == 0);
    for path in found.keys() {
        out.problems.push(format!("{}: not in the listing", String::from_utf8_lossy(path)));
    }
    out
}

struct Case<'a> {
    requests: &'a dyn Requests,
    row: &'a Row,
    seen: &'a Seen,
    is_refused: bool,
    chunk: usize,
}

fn compare_row(case: &Case<'_>, rows: &[Row], out: &mut Comparison) -> Result<(), String> {
    let Case { requests, row, seen, .. } = *case;
    let info = &seen.info;
    let kind = info.file_attributes & (DIRECTORY | REPARSE_POINT);
    check_open(requests, seen)?;
    match row.kind.as_str() {
        "d" if kind == DIRECTORY && info.file_size == 0 => out.directories += 1,
        "f" if kind == 0 => {
            check_time(row, info)?;
            if row.size.is_some_and(|size| size != info.file_size) {
                return Err(format!("{} bytes, not {:?}", info.file_size, row.size));
            }
            match content(requests, &seen.path, case.chunk) {
                Err(_) if case.is_refused => out.refused += 1,
                Err(status) => return Err(format!("status {status:#x}")),
                // What some readers refuse may be read, if the bytes are right.
                Ok(_) if case.is_refused && row.sha256.is_none() => {
                    return Err("was read though nobody can".to_owned());
                }
                Ok((_, digest)) if row.sha256.as_ref().is_some_and(|wanted| *wanted != digest) => {
                    return Err("has other bytes".to_owned());
                }
                Ok(_) => out.files += 1,
            }
        }
        "l" if kind & REPARSE_POINT != 0 && info.reparse_tag == TAG_SYMLINK => {
            check_link(case, rows)?;
            out.links += 1;
        }
        "p" | "c" | "b" | "s" if kind == REPARSE_POINT && info.reparse_tag != 0 => {}
        "reparse" => match content(requests, &seen.path, case.chunk) {
            Ok(_) => return Err("was read though nobody can".to_owned()),
            Err(_) => out.refused += 1,
        },
        other => return Err(format!("is of kind {kind:#x}, not {other}")),
    }
    Ok(())
}

/// What an open and a query tell is what the listing told, by a name in any case.
fn check_open(requests: &dyn Requests, seen: &Seen) -> Result<(), String> {
    let status = |status: NtStatus| format!("open: status {status:#x}");
    let opened = requests.open(&seen.path, 0x80, OPEN_REPARSE_POINT).map_err(status)?;
    let info = requests.info(opened.handle).map_err(status);
    requests.close(opened.handle);
    if info? != seen.info || opened.info != seen.info {
        return Err("open, query and listing differ".to_owned());
    }
    if !opened.name.is_empty() && opened.name != seen.path {
        return Err("the normalized name is another".to_owned());
    }
    let ascii_upper = |unit: &u16| match u8::try_from(*unit) {
        Ok(byte) => u16::from(byte.to_ascii_uppercase()),
        Err(_) => *unit,
    };
    let other_case: Vec<u16> = seen.path.iter().map(ascii_upper).collect();
    let opened = requests.open(&other_case, 0x80, OPEN_REPARSE_POINT).map_err(status)?;
    requests.close(opened.handle);
    if opened.info != seen.info || (!opened.name.is_empty() && opened.name != seen.path) {
        return Err("the name in upper case opens another file".to_owned());
    }
    Ok(())
}

fn check_time(row: &Row, info: &FileInfo) -> Result<(), String> {
    let Some(wanted) = row.mtime else { return Ok(()) };
    let seconds = i64::try_from(info.last_write_time / 10_000_000).unwrap_or(i64::MAX) - TO_1970;
    if seconds == wanted || (wanted < -TO_1970 && info.last_write_time == 0) {
        Ok(())
    } else {
        Err(format!("was written at {seconds}, not {wanted}"))
    }
}

/// A link leads to the file that the rows say, or to none.
fn check_link(case: &Case<'_>, rows: &[Row]) -> Result<(), String> {
    let Case { requests, row, seen, .. } = *case;
    let status = |status: NtStatus| format!("link: status {status:#x}");
    let opened = requests.open(&seen.path, 0x80, OPEN_REPARSE_POINT).map_err(status)?;
    let data = requests.reparse_point(opened.handle, &seen.path);
    requests.close(opened.handle);
    let target = follow(&row.path, &row.extra, rows);
    let data = match data {
        // What would lead Windows to another file has no text.
        Err(_) if target.is_none() => return Ok(()),
        data => data.map_err(status)?,
    };
    // MS-FSCC 2.1.2.4: the flag at 16 says that the target is relative.
    if data.get(..4) != Some(&TAG_SYMLINK.to_le_bytes()) || data.get(16) != Some(&1) {
        return Err("the reparse data is no relative link".to_owned());
    }
    let is_file = |path: &Vec<u8>| rows.iter().find(|row| row.path == *path && row.kind == "f");
    match (requests.open(&seen.path, 1, 0), target) {
        (Ok(opened), target) => {
            requests.close(opened.handle);
            let target = target.ok_or_else(|| {
                let path = String::from_utf16_lossy(&opened.path);
                format!("leads to {path} though its target is not there")
            })?;
            if let Some(file) = is_file(&target) {
                let read = content(requests, &seen.path, case.chunk);
                let digest = read.map_err(status)?.1;
                if file.sha256.as_ref().is_some_and(|wanted| *wanted != digest) {
                    return Err("leads to other bytes".to_owned());
                }
            }
            Ok(())
        }
        (Err(_), None) => Ok(()),
        (Err(status), Some(target)) => {
            let mut line = format!("status {status:#x}, but it leads to ");
            let _ = write!(line, "{}", String::from_utf8_lossy(&target));
            Err(line)
        }
    }
}

/// The path in `rows` that the target of the link at `path` names, through further links.
pub(crate) fn follow(path: &[u8], target: &[u8], rows: &[Row]) -> Option<Vec<u8>> {
    let split = |path: &[u8]| -> Vec<Vec<u8>> {
        path.split(|byte| *byte == b'/')
            .filter(|part| !part.is_empty() && part != b".")
            .map(<[u8]>::to_vec)
            .collect()
    };
    let mut here = split(path);
    here.pop();
    let mut rest = split(target);
    rest.reverse();
    if matches!(target, [b'/', b'/', ..]) {
        return None;
    }
    match target {
        [b'/', ..] => here.clear(),
        [letter, b':', ..] if letter.is_ascii_alphabetic() => {
            rest.pop();
            here.clear();
        }
        _ => {}
    }
    for _ in 0..1000 {
        let Some(part) = rest.pop() else {
            return Some(here.join(&b'/'));
        };
        if part == b".." {
            here.pop();
            continue;
        }
        here.push(part);
        let row = rows.iter().find(|row| row.path == here.join(&b'/'))?;
        if row.kind == "l" {
            here.pop();
            let mut new = split(&row.extra);
            match row.extra.as_slice() {
                [b'/', ..] => here.clear(),
                [letter, b':', ..] if letter.is_ascii_alphabetic() => {
                    new.remove(0);
                    here.clear();
                }
                _ => {}
            }
            new.reverse();
            rest.extend(new);
        }
    }
    None
}

fn compare_stream(
    requests: &dyn Requests,
    row: &Row,
    chunk: usize,
    found: &BTreeMap<Vec<u8>, Seen>,
    out: &mut Comparison,
) -> Result<(), String> {
    let status = |status: NtStatus| format!("stream: status {status:#x}");
    let colon = row.path.iter().rposition(|byte| *byte == b':').expect("path:stream");
    let (file, name) = (&row.path[..colon], &row.path[colon + 1..]);
    let path = match found.get(file) {
        Some(seen) => seen.path.clone(),
        None if file.is_empty() => wide("\\"),
        None => return Err("its file is not found".to_owned()),
    };
    let name = wtf8::decode(name).ok_or("no text")?;
    let opened = requests.open(&path, 0x80, OPEN_REPARSE_POINT).map_err(status)?;
    let streams = requests.streams(opened.handle, 8192);
    requests.close(opened.handle);
    let streams = streams.map_err(status)?;
    let is_wanted = |(own, size): &(Vec<u16>, u64)| {
        *own == name && row.size.is_none_or(|wanted| wanted == *size)
    };
    if !streams.iter().any(is_wanted) {
        return Err(format!("is not among {streams:?}"));
    }
    let mut path = path;
    path.push(u16::from(b':'));
    path.extend(&name);
    let (size, digest) = content(requests, &path, chunk).map_err(status)?;
    if row.size.is_some_and(|wanted| wanted != size) {
        return Err(format!("{size} bytes, not {:?}", row.size));
    }
    if row.sha256.as_ref().is_some_and(|wanted| *wanted != digest) {
        return Err("has other bytes".to_owned());
    }
    out.streams += 1;
    Ok(())
}

/// The size and the SHA-256 of what is at `path`, read in pieces of `chunk` bytes.
pub(crate) fn content(
    requests: &dyn Requests,
    path: &[u16],
    chunk: usize,
) -> Result<(u64, String), NtStatus> {
    const END_OF_FILE: NtStatus = 0xC000_0011_u32.cast_signed();
    let file = requests.open(path, 1, 0)?;
    let mut digest: sha2::Sha256 = sha2::Digest::new();
    let (mut buf, mut offset) = (vec![0xAA; chunk], 0);
    let result = loop {
        match requests.read(file.handle, offset, &mut buf) {
            Ok(count) => {
                assert!(count > 0, "a read without bytes");
                sha2::Digest::update(&mut digest, &buf[..count]);
                offset += count as u64;
            }
            Err(END_OF_FILE) => break Ok(()),
            Err(status) => break Err(status),
        }
    };
    requests.close(file.handle);
    result?;
    assert_eq!(offset, file.info.file_size, "the content ends where the size says");
    Ok((offset, HEXLOWER.encode(&sha2::Digest::finalize(digest))))
}
