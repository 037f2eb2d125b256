//! Takes up the records of a file.
//!
//! What is not whole is never taken for something else. At the end it is what a crash left, if no
//! whole record follows: the records before it are the state, and the rest is kept aside. In front of
//! whole ones it is damage: a change is lost that was there.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};

use volfold_block::{BlockDevice, Span, byte_count};
use zerocopy::FromBytes;

use super::below::Differences;
use super::changes::{BLOCK, Changes, Kept};
use super::format::{BASE, Base, Header, RECORD_HEADER, Record, Salt};
use super::sidecar::read_at;
use crate::block::number::to_usize;

/// The bytes that are searched at once for the next record.
const SEARCH: usize = 1 << 20;

/// LIMIT: damaged places that are named.
const MAX_NAMED: usize = 4;

/// What was found in a file.
pub(super) struct Replayed {
    pub(super) changes: Changes,
    /// Where the last whole record ends.
    pub(super) end: u64,
    /// How many bytes come after it.
    pub(super) torn: u64,
    /// The number of the last record.
    pub(super) sequence: u64,
    /// Where records are damaged that whole ones follow.
    damaged: Vec<Span>,
    /// How many records are damaged whose blocks are known.
    bent: u64,
    /// What is not below any more.
    pub(super) differences: Differences,
}

/// A record that is not whole, and may be the first of what a crash left.
struct Broken {
    span: Span,
    blocks: Option<Span>,
}

impl Replayed {
    /// The file has nothing but its header of `end` bytes.
    pub(super) fn empty(end: u64) -> Self {
        Self {
            changes: Changes::default(),
            end,
            torn: 0,
            sequence: 0,
            damaged: Vec::new(),
            bent: 0,
            differences: Differences::default(),
        }
    }

    /// A line about damaged records of which nothing is wanted any more.
    pub(super) fn harmless_damage(&self) -> Option<String> {
        let is_harmless = self.bent > 0 && self.damage().is_none();
        is_harmless.then(|| {
            let count = self.bent;
            format!("{count} of its records are damaged; their bytes were all written again since")
        })
    }

    /// A line about damaged records that whole ones follow, as far as it matters; `None` if there are
    /// none.
    pub(super) fn damage(&self) -> Option<String> {
        let lost = self.changes.runs().filter(|run| matches!(run.kept, Kept::Lost));
        let lost = lost.fold(0_u64, |sum, run| sum.saturating_add(run.span.length()));
        if self.damaged.is_empty() && lost == 0 {
            return None;
        }
        let mut parts = Vec::new();
        for span in self.damaged.iter().take(MAX_NAMED) {
            parts.push(format!("its bytes {} to {} are damaged", span.start(), span.end()));
        }
        if self.damaged.len() > MAX_NAMED {
            parts.push("and others are".to_owned());
        }
        if lost > 0 {
            parts.push(format!("records of {lost} bytes of the device are damaged"));
        }
        Some(format!("{}, and whole records follow", parts.join(", ")))
    }
}

/// Reads the records of `file`, whose `header` takes `start` bytes, over `below`.
///
/// # Errors
/// If the file cannot be read.
pub(super) fn replay(
    file: &File,
    header: &Header,
    start: u64,
    below: &dyn BlockDevice,
) -> io::Result<Replayed> {
    let length = file.metadata()?.len();
    let last_block = below.size().checked_next_multiple_of(BLOCK).unwrap_or(u64::MAX);
    let mut reader = Reader { reader: io::BufReader::with_capacity(1 << 20, file), at: start };
    reader.seek(start)?;
    let mut replayed = Replayed::empty(start);
    let mut broken: Vec<Broken> = Vec::new();
    let mut buf = Vec::new();
    while reader.at < length {
        let at = reader.at;
        let left = length.saturating_sub(at);
        let mut bytes = [0; RECORD_HEADER];
        let is_there = left >= byte_count(RECORD_HEADER);
        let parsed = if is_there {
            reader.fill(&mut bytes)?;
            Record::parse(&bytes, &header.salt, last_block)
        } else {
            None
        };
        let newer = |record: &Record| record.sequence > replayed.sequence;
        let Some(record) = parsed.filter(newer).filter(|record| record.length() <= left) else {
            let scan = Scan { file, salt: &header.salt, end: last_block, length };
            let next = scan.next(at.saturating_add(1), replayed.sequence)?;
            let end = next.unwrap_or(length);
            broken.extend(Span::between(at, end).map(|span| Broken { span, blocks: None }));
            reader.seek(end)?;
            continue;
        };
        let body = record.length().saturating_sub(byte_count(RECORD_HEADER));
        buf.resize(to_usize(body), 0);
        reader.fill(&mut buf)?;
        let (data, bases) = buf.split_at(to_usize(record.data).min(buf.len()));
        let is_whole = crc32c::crc32c(data) == record.data_checksum
            && crc32c::crc32c(bases) == record.bases_checksum;
        // Its number counts, also if it is damaged: what has a smaller one is older.
        replayed.sequence = record.sequence;
        if !is_whole {
            let blocks = Some(record.blocks);
            broken.extend(Span::between(at, reader.at).map(|span| Broken { span, blocks }));
            continue;
        }
        for Broken { span, blocks } in broken.drain(..) {
            match blocks {
                Some(blocks) if !blocks.is_empty() => {
                    replayed.changes.insert(blocks, Kept::Lost);
                    replayed.bent = replayed.bent.saturating_add(1);
                }
                Some(_) => {}
                None => replayed.damaged.push(span),
            }
        }
        take_up(&mut replayed, &record, at, bases, below);
        replayed.end = reader.at;
    }
    replayed.torn = length.saturating_sub(replayed.end);
    Ok(replayed)
}

/// Adds a whole record, which begins at `at`.
fn take_up(
    replayed: &mut Replayed,
    record: &Record,
    at: u64,
    bases: &[u8],
    below: &dyn BlockDevice,
) {
    let blocks = record.blocks;
    if blocks.is_empty() {
        return;
    }
    let position = at.saturating_add(byte_count(RECORD_HEADER));
    let kept = match record.data {
        0 => Kept::Zero,
        _ => Kept::File { position, base: blocks.start() },
    };
    let whole = bases.len().checked_div(BASE).unwrap_or_default();
    if let Ok((bases, _)) = <[Base]>::ref_from_prefix_with_elems(bases, whole) {
        replayed.differences.compare(below, blocks, bases);
    }
    replayed.changes.insert(blocks, kept);
}

/// Reads a file forwards.
struct Reader<'a> {
    reader: io::BufReader<&'a File>,
    at: u64,
}

impl Reader<'_> {
    fn seek(&mut self, at: u64) -> io::Result<()> {
        self.reader.seek(SeekFrom::Start(at))?;
        self.at = at;
        Ok(())
    }

    fn fill(&mut self, buf: &mut [u8]) -> io::Result<()> {
        self.reader.read_exact(buf)?;
        self.at = self.at.saturating_add(byte_count(buf.len()));
        Ok(())
    }
}

/// The search for the next record after something damaged.
struct Scan<'a> {
    file: &'a File,
    salt: &'a Salt,
    end: u64,
    length: u64,
}

impl Scan<'_> {
    /// Where the next record newer than `sequence` begins, at `from` or later. Without the salt no
    /// bytes that a client wrote pass for one.
    fn next(&self, from: u64, sequence: u64) -> io::Result<Option<u64>> {
        let mut buf = vec![0; SEARCH.saturating_add(RECORD_HEADER)];
        let mut at = from;
        while self.length.saturating_sub(at) >= byte_count(RECORD_HEADER) {
            let count = to_usize(self.length.saturating_sub(at)).min(buf.len());
            let (bytes, _) = buf.split_at_mut(count);
            read_at(self.file, at, bytes)?;
            let headers = bytes.windows(RECORD_HEADER).zip(0_u64..);
            for (header, skip) in headers.filter(|(bytes, _)| bytes.starts_with(&Record::MAGIC)) {
                let place = at.saturating_add(skip);
                let left = self.length.saturating_sub(place);
                let found = Record::parse(header, self.salt, self.end)
                    .filter(|record| record.sequence > sequence && record.length() <= left);
                if found.is_some() {
                    return Ok(Some(place));
                }
            }
            at = at.saturating_add(byte_count(SEARCH));
        }
        Ok(None)
    }
}
