//! Changes beside an image: reads see them, the image does not.
//!
//! The changed blocks of 4 KiB are kept in memory, or in a sidecar file that is appended to, so that a
//! crash loses no more than what was not flushed. What it lost is told. What was overwritten goes when
//! the file is written anew. The overlay is a [`volfold_block::Map`]: it says which bytes are changed and
//! where they are, and reads go through that.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::{Mutex, RwLock};
use volfold_block::{
    BlockDevice, BlockResult, Extent, Mapped, Span, byte_count, bytes_to_index, check_range,
};
use zerocopy::IntoBytes;

mod below;
mod changed;
mod changes;
mod compact;
mod format;
mod replay;
mod sidecar;
#[cfg(test)]
mod tests;

pub use format::BaseFile;

use below::{Differences, bases_of};
use changed::{BLOCK_BYTES, Changed};
use changes::{BLOCK, Changes, Kept};
use compact::{compact, is_worth_it};
use format::{Base, Header, MAX_DATA, MAX_ZERO_BASES, RECORD_HEADER, Record};
use replay::{Replayed, replay};
use sidecar::Sidecar;

use super::number::to_usize;
use crate::process::ImageFiles;

/// LIMIT: files with torn ends that are kept beside one overlay.
const MAX_TORN: u32 = 1000;

/// The end of the sidecar, which one writer at a time moves.
struct Log {
    end: u64,
    /// The number of the last record.
    sequence: u64,
    /// Until where a record says that all is flushed.
    marked: u64,
    /// How much what is kept in the sidecar and what is known of it in memory may take together.
    limit: u64,
    /// The sidecar is written anew only when it is longer.
    compact_from: u64,
}

/// A device with changes that never reach the device below.
pub struct Overlay {
    device: Mapped<Changed>,
    /// What the sidecar's header says; `None` in memory.
    header: Option<Header>,
    /// What was noticed when the sidecar was taken up again.
    remarks: Vec<String>,
    log: Mutex<Log>,
    /// Held while the host writes back, so that nobody is told that all is well by a call that ran
    /// beside one that failed.
    flushing: Mutex<()>,
    /// Whether the host could not write back, or not undo a part of a record: then it is not known
    /// what is in the file.
    has_failed: AtomicBool,
    /// Whether the sidecar is read on in spite of what is wrong with it; then it is not written anew.
    is_forced: bool,
}

/// A sidecar that is to be begun or taken up again.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct OverlayFile {
    /// Where it is.
    pub path: PathBuf,
    /// What tells the device below from others.
    pub identity: [u8; 32],
    /// The most that changes and what is known of them in memory may take.
    pub limit: u64,
    /// The files that the device below is made of.
    pub files: Vec<BaseFile>,
    /// All files of images, none of which is taken for a sidecar.
    pub images: ImageFiles,
    /// Whether to read on where it does not fit what is below, or is damaged.
    pub force: bool,
}

impl OverlayFile {
    /// The sidecar at `path` of what `identity` names, of at most `limit` bytes.
    pub fn new(path: impl Into<PathBuf>, identity: [u8; 32], limit: u64) -> Self {
        let (files, images) = (Vec::new(), ImageFiles::default());
        Self { path: path.into(), identity, limit, files, images, force: false }
    }
}

fn refused(line: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, line.into())
}

impl Overlay {
    /// Changes in memory, of at most `limit` bytes.
    pub fn in_memory(below: Arc<dyn BlockDevice>, limit: u64) -> Self {
        Self::new(below, None, Replayed::empty(0), limit)
    }

    /// Changes in a sidecar; made if it is not there, and otherwise taken up where it ends.
    ///
    /// # Errors
    /// If it is no regular file, no sidecar, an image, in use, of something else than its identity, of
    /// a device or files that were changed since, damaged, larger than its limit, or cannot be written.
    pub fn in_file(below: Arc<dyn BlockDevice>, wanted: &OverlayFile) -> io::Result<Self> {
        let file = sidecar::open(&wanted.path, &wanted.images)?;
        if file.metadata()?.len() == 0 {
            let header = Header::new(wanted.identity, below.size(), wanted.files.clone())?;
            let bytes = header.to_bytes()?;
            let begun = sidecar::write_at(&file, 0, &bytes).and_then(|()| file.sync_all());
            if let Err(error) = begun {
                // Not a part of a header, which nobody could take up.
                let _ = file.set_len(0);
                return Err(error);
            }
            let replayed = Replayed::empty(byte_count(bytes.len()));
            let sidecar = Sidecar::new(&wanted.path, file, header.salt);
            return Ok(Self::new(below, Some((sidecar, header)), replayed, wanted.limit));
        }
        let (header, start) = Header::read(&mut &file)?;
        if header.size != below.size() {
            return Err(refused("belongs to another volume or to other images; take another file"));
        }
        if header.identity != wanted.identity && !wanted.force {
            return Err(refused(
                "belongs to another volume or to other images, or the beginning or end of this one was \
                 changed since; take another file, or --overlay-force, which reads on",
            ));
        }
        let mut replayed = replay(&file, &header, start, &*below)?;
        let mut remarks = judge(&replayed, &header, wanted)?;
        let is_forced = !remarks.is_empty();
        let live = replayed.changes.memory().saturating_add(replayed.changes.in_file());
        if live > wanted.limit {
            let line = format!("holds {live} bytes, more than --overlay-limit allows; give more");
            return Err(io::Error::new(io::ErrorKind::StorageFull, line));
        }
        remarks.extend(replayed.harmless_damage());
        remarks.extend(keep_torn(&file, &replayed, wanted)?);
        replayed.torn = 0;
        let sidecar = Sidecar::new(&wanted.path, file, header.salt);
        let mut overlay = Self::new(below, Some((sidecar, header)), replayed, wanted.limit);
        overlay.is_forced = is_forced;
        if let Err(error) = overlay.compact_if_worth(false) {
            remarks.push(format!("what was overwritten still takes place in it: {error}"));
        }
        overlay.remarks = remarks;
        Ok(overlay)
    }

    fn new(
        below: Arc<dyn BlockDevice>,
        sidecar: Option<(Sidecar, Header)>,
        replayed: Replayed,
        limit: u64,
    ) -> Self {
        let Replayed { changes, end, sequence, .. } = replayed;
        let (sidecar, header) = sidecar.unzip();
        let changed = Changed { below, changes: RwLock::new(changes), sidecar };
        let log = Log { end, sequence, marked: end, limit, compact_from: 0 };
        Self {
            device: Mapped::new(changed),
            header,
            remarks: Vec::new(),
            log: Mutex::new(log),
            flushing: Mutex::new(()),
            has_failed: AtomicBool::new(false),
            is_forced: false,
        }
    }

    fn changed(&self) -> &Changed {
        self.device.map()
    }

    /// Which file the sidecar is now.
    fn file_number(&self) -> u8 {
        self.changed().sidecar.as_ref().map_or(0, Sidecar::number)
    }

    /// What was noticed when the sidecar was taken up again: bytes at its end that were not written
    /// whole, and where they are kept; what was forced.
    pub fn remarks(&self) -> &[String] {
        &self.remarks
    }

    /// Changes the bytes at `offset`.
    ///
    /// # Errors
    /// `StorageFull` if the limit is reached, or why the sidecar cannot be written.
    pub fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        check_range(offset, bytes.len(), self.size()).map_err(io::Error::other)?;
        if bytes.is_empty() {
            return Ok(());
        }
        let too_long = || io::Error::new(io::ErrorKind::InvalidInput, "write is too long");
        let span = Span::of_buffer(offset, bytes.len()).ok_or_else(too_long)?;
        let blocks = blocks_around(span).ok_or_else(too_long)?;
        if blocks.length() > MAX_DATA {
            return Err(too_long());
        }
        // The header of a record, and the whole blocks.
        let length = bytes_to_index(blocks.length()).map_err(io::Error::other)?;
        let mut record = vec![0; RECORD_HEADER.saturating_add(length)];
        let (header, data) = record.split_at_mut(RECORD_HEADER);
        let edges = partial_edges(span, blocks);
        self.check()?;
        // What lies below never changes, so it is read before the lock is taken; what was changed is
        // read under it, and stays changed.
        let bases = self.bases(blocks);
        let is_changed = |block: &u64| self.changed().at(*block).is_some();
        for block in edges.into_iter().flatten().filter(|block| !is_changed(block)) {
            let there = part(data, blocks, self.inside(block))?;
            self.changed().below.read_at(block, there).map_err(io::Error::other)?;
        }
        let mut log = self.log.lock();
        for block in edges.into_iter().flatten() {
            if let Some(run) = self.changed().at(block) {
                let whole = part(data, blocks, Span::new(block, BLOCK))?;
                self.changed().read(&run, block, whole).map_err(io::Error::other)?;
            }
        }
        let new = part(data, blocks, Some(span))?;
        new.copy_from_slice(bytes);
        let Some(sidecar) = &self.changed().sidecar else {
            return self.keep_in_memory(&log, blocks, data);
        };
        self.reserve(&log, blocks, blocks.length(), 1)?;
        log.sequence = log.sequence.saturating_add(1);
        header.copy_from_slice(&Record::header(
            &sidecar.salt(),
            log.sequence,
            blocks,
            data,
            &bases,
        ));
        record.extend_from_slice(bases.as_bytes());
        let place = self.append(sidecar, &mut log, &record)?;
        let position = sidecar.position(place.saturating_add(byte_count(RECORD_HEADER)));
        let kept = Kept::File { position, base: blocks.start() };
        self.changed().changes.write().insert(blocks, kept);
        drop(log);
        // Without room it goes on to grow; that is not this request's failure.
        let _ = self.compact_if_worth(true);
        Ok(())
    }

    /// The checksums of what is below `blocks`, where it was not changed yet.
    fn bases(&self, blocks: Span) -> Vec<Base> {
        let mut bases = Vec::new();
        if self.changed().sidecar.is_some() {
            let gaps = self.changed().changes.read().gaps(blocks);
            for gap in gaps {
                bases_of(&*self.changed().below, gap, blocks, &mut bases);
            }
        }
        bases
    }

    /// Makes `length` bytes at `offset` zero.
    ///
    /// # Errors
    /// As [`Overlay::write`].
    pub fn write_zeroes(&self, offset: u64, length: u64) -> io::Result<()> {
        let span = Span::new(offset, length).filter(|span| span.end() <= self.size());
        let whole = span.map(|span| (span, self.whole_blocks(span)));
        match whole {
            None => Err(io::Error::new(io::ErrorKind::InvalidInput, "request leaves the device")),
            Some((span, None)) => self.write_zero_bytes(Some(span)),
            Some((span, Some(blocks))) => {
                self.write_zero_bytes(Span::between(span.start(), blocks.start()))?;
                self.write_zero_bytes(Span::between(blocks.end(), span.end()))?;
                self.append_zeros(blocks)
            }
        }
    }

    /// The blocks that lie in `span` whole; that at the end of the device counts as whole.
    fn whole_blocks(&self, span: Span) -> Option<Span> {
        let start = span.start().checked_next_multiple_of(BLOCK)?;
        let end = match span.end() == self.size() {
            true => span.end().checked_next_multiple_of(BLOCK)?,
            false => block_of(span.end()),
        };
        Span::between(start, end).filter(|blocks| !blocks.is_empty())
    }

    /// Writes zeros as data, where no whole block is to be zero.
    fn write_zero_bytes(&self, span: Option<Span>) -> io::Result<()> {
        let Some(span) = span else { return Ok(()) };
        let length = bytes_to_index(span.length()).map_err(io::Error::other)?;
        self.write(span.start(), &vec![0; length])
    }

    fn append_zeros(&self, blocks: Span) -> io::Result<()> {
        self.check()?;
        let bases = self.bases(blocks.first(MAX_ZERO_BASES.saturating_mul(BLOCK)));
        let mut log = self.log.lock();
        self.reserve(&log, blocks, 0, 1)?;
        if let Some(sidecar) = &self.changed().sidecar {
            log.sequence = log.sequence.saturating_add(1);
            // A place of a base in the record is that in its first blocks.
            let header = Record::header(&sidecar.salt(), log.sequence, blocks, &[], &bases);
            let mut record = header.to_vec();
            record.extend_from_slice(bases.as_bytes());
            self.append(sidecar, &mut log, &record)?;
        }
        self.changed().changes.write().insert(blocks, Kept::Zero);
        Ok(())
    }

    /// Makes sure that what was written is there after a crash.
    ///
    /// # Errors
    /// If the host cannot write; and from then on always, for it does not tell twice what it lost.
    pub fn flush(&self) -> io::Result<()> {
        let Some(sidecar) = &self.changed().sidecar else { return Ok(()) };
        let _one_at_a_time = self.flushing.lock();
        self.check()?;
        let end = self.log.lock().end;
        if let Err(error) = sidecar.flush() {
            self.has_failed.store(true, Ordering::SeqCst);
            return Err(error);
        }
        let mut log = self.log.lock();
        if log.marked < end && log.end == end {
            // So that damage of what was flushed is told from what a crash left at the end. It need
            // not be there, so no room for it is no failure.
            log.sequence = log.sequence.saturating_add(1);
            let none = Span::default();
            let mark = Record::header(&sidecar.salt(), log.sequence, none, &[], &[]);
            let _ = self.append(sidecar, &mut log, &mark);
            log.marked = log.end;
        }
        drop(log);
        // It goes on to grow if there is no room; that is not the flush's failure.
        let _ = self.compact_if_worth(true);
        Ok(())
    }

    /// Refuses once the host failed to write back.
    fn check(&self) -> io::Result<()> {
        if self.has_failed.load(Ordering::SeqCst) {
            let line = "changes could not be written to the overlay, and it is not known which; \
                        end the export and look at the disk that holds it";
            return Err(io::Error::other(line));
        }
        Ok(())
    }

    /// Writes the sidecar anew if it has much that was overwritten.
    fn compact_if_worth(&self, in_use: bool) -> io::Result<()> {
        let (Some(sidecar), Some(header)) = (&self.changed().sidecar, &self.header) else {
            return Ok(());
        };
        let mut log = self.log.lock();
        let is_worth = is_worth_it(&self.changed().changes.read(), log.end, in_use);
        if self.is_forced || !is_worth || log.end < log.compact_from {
            return Ok(());
        }
        match compact(self.changed(), sidecar, header, log.end) {
            Ok(compacted) => {
                log.end = compacted.end;
                log.marked = compacted.end;
                log.sequence = compacted.sequence;
                Ok(())
            }
            Err(error) => {
                // Not again with every flush.
                log.compact_from = log.end.saturating_mul(2);
                Err(error)
            }
        }
    }

    /// Makes sure that a change of `blocks`, which takes `length` bytes and `runs` runs, is within
    /// the limit.
    fn reserve(&self, log: &Log, blocks: Span, length: u64, runs: u64) -> io::Result<()> {
        let changes = self.changed().changes.read();
        let live = changes.memory().saturating_add(changes.in_file());
        let live = live.saturating_sub(changes.held(blocks));
        let runs = runs.saturating_mul(Changes::RUN);
        if live.saturating_add(length).saturating_add(runs) > log.limit {
            let line = "the overlay has reached its limit; give more with --overlay-limit";
            return Err(io::Error::new(io::ErrorKind::StorageFull, line));
        }
        Ok(())
    }

    /// Adds a record; where it begins.
    fn append(&self, sidecar: &Sidecar, log: &mut Log, record: &[u8]) -> io::Result<u64> {
        let place = log.end;
        self.check()?;
        if let Err(error) = sidecar.write_at(place, record) {
            // What was refused must not be there when the file is taken up again.
            if sidecar.cut(place).is_err() {
                self.has_failed.store(true, Ordering::SeqCst);
            }
            return Err(error);
        }
        log.end = place.saturating_add(byte_count(record.len()));
        Ok(place)
    }

    fn keep_in_memory(&self, log: &Log, blocks: Span, data: &[u8]) -> io::Result<()> {
        let (data, _) = data.as_chunks::<BLOCK_BYTES>();
        self.reserve(log, blocks, blocks.length(), byte_count(data.len()))?;
        let mut changes = self.changed().changes.write();
        let mut rest = Some(blocks);
        for bytes in data {
            let block = rest.map(|rest| rest.first(BLOCK)).unwrap_or_default();
            changes.insert(block, Kept::Memory(bytes[..].into()));
            rest = rest.and_then(|rest| rest.rest(BLOCK));
        }
        Ok(())
    }

    /// What of the block at `block` is inside the device.
    fn inside(&self, block: u64) -> Option<Span> {
        Span::new(block, BLOCK)?.intersection(Span::below(self.size()))
    }
}

/// What is wrong with a sidecar and was forced; nothing if all is well.
///
/// # Errors
/// If something is wrong that is not forced.
fn judge(replayed: &Replayed, header: &Header, wanted: &OverlayFile) -> io::Result<Vec<String>> {
    let files = Differences::of_files(&header.files, &wanted.files).line();
    let is_other = header.identity != wanted.identity;
    let other = is_other.then(|| "its beginning or end holds other bytes now".to_owned());
    let lines = [other, files, replayed.differences.line()];
    let lines: Vec<String> = lines.into_iter().flatten().collect();
    let mut remarks = Vec::new();
    if !lines.is_empty() {
        let lines = lines.join("; ");
        if !wanted.force {
            return Err(refused(format!(
                "is not laid over an image that was changed since: {lines}; --overlay-force reads \
                 on"
            )));
        }
        remarks.push(format!("is laid over an image that was changed since: {lines}"));
    }
    if let Some(damage) = replayed.damage() {
        if !wanted.force {
            return Err(refused(format!(
                "{damage}; nothing of it was changed. Restore it from a copy; --overlay-force \
                 reads what is whole"
            )));
        }
        remarks.push(format!("{damage}; what is whole is read"));
    }
    Ok(remarks)
}

/// Keeps what comes after the last whole record in a file of its own, and cuts it off; a line about
/// it.
///
/// # Errors
/// If it cannot be kept; then nothing is cut.
fn keep_torn(file: &File, replayed: &Replayed, wanted: &OverlayFile) -> io::Result<Option<String>> {
    if replayed.torn == 0 {
        return Ok(None);
    }
    let cannot = |error: io::Error| {
        let line = format!("its last {} bytes cannot be kept aside: {error}", replayed.torn);
        io::Error::new(error.kind(), line)
    };
    let (path, mut kept) = torn_file(&wanted.path).map_err(cannot)?;
    let copied = copy(file, replayed.end, &mut kept).and_then(|()| kept.sync_all());
    if let Err(error) = copied {
        let _ = std::fs::remove_file(&path);
        return Err(cannot(error));
    }
    file.set_len(replayed.end)?;
    file.sync_all()?;
    Ok(Some(format!(
        "the last {} bytes were not written whole, and are left out; they are kept in {}",
        replayed.torn,
        path.display()
    )))
}

/// A new file beside the sidecar at `path`.
fn torn_file(path: &Path) -> io::Result<(PathBuf, File)> {
    for number in 1..=MAX_TORN {
        let mut name = path.file_name().unwrap_or_default().to_os_string();
        name.push(format!(".torn-{number}"));
        let path = path.with_file_name(name);
        let mut options = OpenOptions::new();
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        match options.write(true).create_new(true).open(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            opened => return Ok((path, opened?)),
        }
    }
    Err(io::Error::other("there are too many such files; look at them and remove them"))
}

/// Copies what is at `place` of `from` and after it.
fn copy(mut from: &File, place: u64, to: &mut File) -> io::Result<()> {
    io::Seek::seek(&mut from, io::SeekFrom::Start(place))?;
    io::copy(&mut from, to).map(drop)
}

/// Where the block of the byte at `position` begins.
fn block_of(position: u64) -> u64 {
    position.saturating_sub(position % BLOCK)
}

/// The whole blocks that `span` touches.
fn blocks_around(span: Span) -> Option<Span> {
    Span::between(block_of(span.start()), span.end().checked_next_multiple_of(BLOCK)?)
}

/// The first and the last of `blocks`, where `span` changes them in part only.
fn partial_edges(span: Span, blocks: Span) -> [Option<u64>; 2] {
    let first = blocks.start();
    let last = blocks.end().saturating_sub(BLOCK);
    let is_partial = |block: &u64| Span::new(*block, BLOCK).is_some_and(|all| !span.holds(all));
    [Some(first).filter(is_partial), Some(last).filter(|last| *last != first && is_partial(last))]
}

/// The bytes of `data`, which holds `blocks`, that are of `wanted`.
fn part(data: &mut [u8], blocks: Span, wanted: Option<Span>) -> io::Result<&mut [u8]> {
    let start = wanted.and_then(|wanted| blocks.offset_of(wanted.start())).unwrap_or(u64::MAX);
    let (start, length) = (to_usize(start), wanted.map_or(0, |wanted| to_usize(wanted.length())));
    let rest = data.get_mut(start..).and_then(|rest| rest.split_at_mut_checked(length));
    // INVARIANT: `wanted` is inside `blocks`.
    rest.map(|(part, _)| part).ok_or_else(|| io::Error::other("a block outside of its record"))
}

impl BlockDevice for Overlay {
    fn size(&self) -> u64 {
        self.device.size()
    }

    fn sector_size(&self) -> u32 {
        self.device.sector_size()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> BlockResult<()> {
        let number = self.file_number();
        match self.device.read_at(offset, buf) {
            // The sidecar was written anew between the question where and the read.
            Err(_) if number != self.file_number() => self.device.read_at(offset, buf),
            done => done,
        }
    }

    fn read_vectored_at(&self, offset: u64, bufs: &mut [&mut [u8]]) -> BlockResult<()> {
        let number = self.file_number();
        match self.device.read_vectored_at(offset, bufs) {
            Err(_) if number != self.file_number() => self.device.read_vectored_at(offset, bufs),
            done => done,
        }
    }

    fn extent_at(&self, offset: u64) -> BlockResult<Extent> {
        self.device.extent_at(offset)
    }

    fn will_need(&self, offset: u64, length: u64) {
        self.device.will_need(offset, length);
    }
}
