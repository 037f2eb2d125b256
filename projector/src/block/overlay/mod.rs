//! Changes beside an image: reads see them, the image does not.
//!
//! The changed blocks of 4 KiB are kept in memory, or in a sidecar file that is only ever appended
//! to: a header that names the set, then records with a checksum each. A record counts when it is
//! there whole, so a crash loses no more than what was not yet flushed. What it lost is told.
//!
//! ```text
//! header  0   8  "VOLFOVL1"
//!         8  32  identity of what lies below
//!        40   4  CRC-32C of the 40 bytes before
//! record  0   4  "RECD"
//!         4   4  length of the data; a multiple of 4096, or 0 for zeros
//!         8   8  offset of the first byte in the device; a multiple of 4096
//!        16   8  number of bytes that are zero, when there is no data
//!        24   4  CRC-32C of the 24 bytes before and the data
//!        28  ..  data
//! ```
//!
//! All numbers are little-endian.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};
use volfold_block::{
    BlockDevice, BlockError, BlockErrorKind, BlockResult, Extent, ExtentKind, check_range,
};

mod changes;

use changes::{Changes, Place, Run};

/// The size of a block that is changed as a whole.
const BLOCK: u64 = 4096;

/// LIMIT: bytes of one record's data.
const MAX_RECORD: u64 = 32 << 20;

const MAGIC: &[u8; 8] = b"VOLFOVL1";
const RECORD: &[u8; 4] = b"RECD";
const HEADER: usize = 44;
const RECORD_HEADER: usize = 28;

/// The end of the sidecar, which one writer at a time moves.
struct Log {
    end: u64,
    /// How much the sidecar and what is known of it in memory may take together.
    limit: u64,
}

/// A device with changes that never reach the device below.
pub struct Overlay {
    below: Arc<dyn BlockDevice>,
    changes: RwLock<Changes>,
    /// The bytes at the end of the sidecar that were no whole record.
    lost: u64,
    file: Option<File>,
    log: Mutex<Log>,
}

impl Overlay {
    /// Changes in memory, of at most `limit` bytes.
    pub fn in_memory(below: Arc<dyn BlockDevice>, limit: u64) -> Self {
        let log = Mutex::new(Log { end: 0, limit });
        Self { below, changes: RwLock::default(), lost: 0, file: None, log }
    }

    /// Changes in the sidecar at `path`, of at most `limit` bytes; made if it is not there, and
    /// otherwise taken up where it ends.
    ///
    /// # Errors
    /// If the sidecar is of something else than `identity`, in use, damaged in its header, larger than
    /// `limit`, or cannot be written.
    pub fn in_file(
        below: Arc<dyn BlockDevice>,
        path: &Path,
        identity: &[u8; 32],
        limit: u64,
    ) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(path)?;
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => {
                let line = "is in use by another export";
                return Err(io::Error::new(io::ErrorKind::ResourceBusy, line));
            }
            // Where the host has no locks, two exports of one sidecar are the user's mistake.
            Err(TryLockError::Error(_)) | Ok(()) => {}
        }
        let mut changes = Changes::default();
        let mut lost = 0;
        let end = if file.metadata()?.len() == 0 {
            let mut header = MAGIC.to_vec();
            header.extend(identity);
            header.extend(crc32c::crc32c(&header).to_le_bytes());
            file.write_all(&header)?;
            file.sync_all()?;
            HEADER as u64
        } else {
            check_header(&mut file, identity)?;
            let end = replay(&mut file, below.size(), limit, &mut changes)?;
            // What a crash left after the last whole record.
            lost = file.metadata()?.len().saturating_sub(end);
            file.set_len(end)?;
            end
        };
        let log = Mutex::new(Log { end, limit });
        Ok(Self { below, changes: RwLock::new(changes), lost, file: Some(file), log })
    }

    /// The bytes at the end of the sidecar that were left out when it was taken up again: a record
    /// that was not written whole, and what came after it.
    pub fn lost(&self) -> u64 {
        self.lost
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
        let first = offset / BLOCK * BLOCK;
        let end = offset + bytes.len() as u64;
        let last = end.next_multiple_of(BLOCK);
        let length = last - first;
        if length > MAX_RECORD + 2 * BLOCK {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "write is too long"));
        }
        let mut data = vec![0; length as usize];
        // Only the blocks at the ends can be changed in part. What lies below never changes, so it is
        // read before the lock is taken; what was changed is read under it.
        let mut edges = vec![first, last - BLOCK];
        edges.dedup();
        edges.retain(|block| *block < offset || end < *block + BLOCK);
        for block in &edges {
            let there = (self.size() - block).min(BLOCK) as usize;
            let at = (block - first) as usize;
            self.below.read_at(*block, &mut data[at..at + there]).map_err(io::Error::other)?;
        }
        let mut log = self.log.lock();
        for block in edges {
            let at = (block - first) as usize;
            if let Some(run) = self.next_change(block)
                && run.start <= block
            {
                self.read_change(&run, block, &mut data[at..at + BLOCK as usize])
                    .map_err(io::Error::other)?;
            }
        }
        let at = (offset - first) as usize;
        data[at..at + bytes.len()].copy_from_slice(bytes);
        self.append(&mut log, first, data)
    }

    /// Makes `length` bytes at `offset` zero.
    ///
    /// # Errors
    /// As [`Overlay::write`].
    pub fn write_zeroes(&self, offset: u64, length: u64) -> io::Result<()> {
        let end = offset.checked_add(length).filter(|end| *end <= self.size());
        let Some(end) = end else {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "request leaves the device"));
        };
        let whole = offset.next_multiple_of(BLOCK);
        let whole_end =
            if end == self.size() { end.next_multiple_of(BLOCK) } else { end / BLOCK * BLOCK };
        if whole >= whole_end {
            return self.write(offset, &vec![0; length as usize]);
        }
        self.write(offset, &vec![0; (whole - offset) as usize])?;
        if end > whole_end {
            self.write(whole_end, &vec![0; (end - whole_end) as usize])?;
        }
        let mut log = self.log.lock();
        self.reserve(&log, RECORD_HEADER as u64, 1)?;
        if let Some(file) = &self.file {
            let header = record_header(0, whole, whole_end - whole, &[]);
            write_at(file, log.end, &header)?;
            log.end += header.len() as u64;
        }
        self.changes.write().insert(whole, whole_end, Place::Zero);
        Ok(())
    }

    /// Makes sure that what was written is there after a crash.
    ///
    /// # Errors
    /// If the host cannot write.
    pub fn flush(&self) -> io::Result<()> {
        match &self.file {
            Some(file) => file.sync_data(),
            None => Ok(()),
        }
    }

    /// Makes sure that `length` bytes and `runs` changes more are within the limit.
    fn reserve(&self, log: &Log, length: u64, runs: u64) -> io::Result<()> {
        let memory = self.changes.read().memory().saturating_add(runs * Changes::RUN);
        if log.end.saturating_add(length).saturating_add(memory) > log.limit {
            let line = "the overlay has reached its limit; give more with --overlay-limit";
            return Err(io::Error::new(io::ErrorKind::StorageFull, line));
        }
        Ok(())
    }

    /// Adds whole blocks.
    fn append(&self, log: &mut Log, first: u64, data: Vec<u8>) -> io::Result<()> {
        let length = data.len() as u64;
        let runs = if self.file.is_some() { 1 } else { length / BLOCK };
        self.reserve(log, length + RECORD_HEADER as u64, runs)?;
        match &self.file {
            Some(file) => {
                let mut record = record_header(length, first, 0, &data);
                record.extend(data);
                write_at(file, log.end, &record)?;
                let place = Place::File { position: log.end + RECORD_HEADER as u64, base: first };
                log.end += record.len() as u64;
                self.changes.write().insert(first, first + length, place);
            }
            None => {
                let mut changes = self.changes.write();
                let starts = (first..).step_by(BLOCK as usize);
                for (start, bytes) in starts.zip(data.chunks(BLOCK as usize)) {
                    changes.insert(start, start + BLOCK, Place::Memory(bytes.into()));
                }
            }
        }
        Ok(())
    }

    /// Fills `part` from `offset` on, which is in `run` as a whole.
    fn read_change(&self, run: &Run, offset: u64, part: &mut [u8]) -> BlockResult<()> {
        match &run.place {
            Place::Zero => part.fill(0),
            Place::Memory(bytes) => {
                let inside = (offset - run.start) as usize;
                part.copy_from_slice(&bytes[inside..inside + part.len()]);
            }
            Place::File { position, base } => {
                let file = self.file.as_ref().ok_or_else(|| {
                    BlockError::new(BlockErrorKind::Corrupt, "the overlay has lost its sidecar")
                })?;
                read_at(file, position + (offset - base), part)?;
            }
        }
        Ok(())
    }

    /// The changed run that holds the byte at `offset`, else the next one.
    fn next_change(&self, offset: u64) -> Option<Run> {
        self.changes.read().next(offset)
    }
}

impl BlockDevice for Overlay {
    fn size(&self) -> u64 {
        self.below.size()
    }

    fn sector_size(&self) -> u32 {
        self.below.sector_size()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> BlockResult<()> {
        check_range(offset, buf.len(), self.size())?;
        let end = offset + buf.len() as u64;
        let mut at = offset;
        while at < end {
            let from = (at - offset) as usize;
            match self.next_change(at) {
                Some(run) if run.start <= at => {
                    let count = run.end.min(end) - at;
                    self.read_change(&run, at, &mut buf[from..from + count as usize])?;
                    at += count;
                }
                other => {
                    let until = other.map_or(end, |run| run.start.min(end));
                    let count = (until - at) as usize;
                    self.below.read_at(at, &mut buf[from..from + count])?;
                    at = until;
                }
            }
        }
        Ok(())
    }

    fn extent_at(&self, offset: u64) -> BlockResult<Extent> {
        let below = self.below.extent_at(offset)?;
        Ok(match self.next_change(offset) {
            Some(run) if run.start <= offset => {
                let kind = match run.place {
                    Place::Zero => ExtentKind::Zero,
                    _ => ExtentKind::Data,
                };
                Extent { kind, length: run.end.min(self.size()) - offset }
            }
            Some(run) => Extent { length: below.length.min(run.start - offset), ..below },
            None => below,
        })
    }
}

fn record_header(length: u64, offset: u64, zeros: u64, data: &[u8]) -> Vec<u8> {
    let mut header = RECORD.to_vec();
    header.extend((length as u32).to_le_bytes());
    header.extend(offset.to_le_bytes());
    header.extend(zeros.to_le_bytes());
    let sum = crc32c::crc32c_append(crc32c::crc32c(&header), data);
    header.extend(sum.to_le_bytes());
    header
}

fn check_header(file: &mut File, identity: &[u8; 32]) -> io::Result<()> {
    let invalid = |line: &str| io::Error::new(io::ErrorKind::InvalidData, line);
    let mut header = [0; HEADER];
    file.seek(SeekFrom::Start(0))?;
    file.read_exact(&mut header).map_err(|_| invalid("not a volfold overlay"))?;
    let (head, sum) = header.split_at(40);
    if &head[..8] != MAGIC {
        return Err(invalid("not a volfold overlay"));
    }
    if crc32c::crc32c(head).to_le_bytes() != sum {
        return Err(invalid("its header is damaged"));
    }
    if &head[8..] != identity {
        return Err(invalid("belongs to another volume or to other images; take another file"));
    }
    Ok(())
}

/// Takes up the records of the sidecar; where the last whole one ends.
fn replay(file: &mut File, size: u64, limit: u64, changes: &mut Changes) -> io::Result<u64> {
    let length = file.metadata()?.len();
    let mut reader = io::BufReader::with_capacity(1 << 20, &mut *file);
    reader.seek(SeekFrom::Start(HEADER as u64))?;
    let mut end = HEADER as u64;
    let last_block = size.next_multiple_of(BLOCK);
    loop {
        let mut header = [0; RECORD_HEADER];
        if length - end < RECORD_HEADER as u64 {
            return Ok(end);
        }
        reader.read_exact(&mut header)?;
        let number = |at: usize| {
            let mut bytes = [0; 8];
            bytes.copy_from_slice(&header[at..at + 8]);
            u64::from_le_bytes(bytes)
        };
        let data_length = number(0) >> 32;
        let (offset, zeros) = (number(8), number(16));
        let covered = if data_length == 0 { zeros } else { data_length };
        let is_sane = &header[..4] == RECORD
            && data_length <= MAX_RECORD + 2 * BLOCK
            && offset.is_multiple_of(BLOCK)
            && covered.is_multiple_of(BLOCK)
            && offset.checked_add(covered).is_some_and(|end| end <= last_block)
            && length - end - RECORD_HEADER as u64 >= data_length;
        if !is_sane {
            return Ok(end);
        }
        let mut data = vec![0; data_length as usize];
        reader.read_exact(&mut data)?;
        let sum = crc32c::crc32c_append(crc32c::crc32c(&header[..24]), &data);
        if header[24..] != sum.to_le_bytes() {
            return Ok(end);
        }
        let position = end + RECORD_HEADER as u64;
        let place = match data_length {
            0 => Place::Zero,
            _ => Place::File { position, base: offset },
        };
        if covered > 0 {
            changes.insert(offset, offset + covered, place);
        }
        end = position + data_length;
        if end.saturating_add(changes.memory()) > limit {
            let line = "holds more than --overlay-limit allows; give more";
            return Err(io::Error::new(io::ErrorKind::StorageFull, line));
        }
    }
}

#[cfg(unix)]
fn write_at(file: &File, offset: u64, bytes: &[u8]) -> io::Result<()> {
    std::os::unix::fs::FileExt::write_all_at(file, bytes, offset)
}

#[cfg(unix)]
fn read_at(file: &File, offset: u64, buf: &mut [u8]) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, buf, offset)
}

#[cfg(windows)]
fn write_at(file: &File, mut offset: u64, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let count = std::os::windows::fs::FileExt::seek_write(file, bytes, offset)?;
        offset += count as u64;
        bytes = &bytes[count..];
    }
    Ok(())
}

#[cfg(windows)]
fn read_at(file: &File, mut offset: u64, mut buf: &mut [u8]) -> io::Result<()> {
    while !buf.is_empty() {
        let count = std::os::windows::fs::FileExt::seek_read(file, buf, offset)?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        offset += count as u64;
        buf = &mut buf[count..];
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use volfold_block::MemoryDevice;

    use super::*;

    const SIZE: usize = 10 * 4096 + 512;

    fn below() -> Arc<dyn BlockDevice> {
        let bytes: Vec<u8> = (0..SIZE).map(|at| (at * 7 % 251) as u8).collect();
        Arc::new(MemoryDevice::new(bytes))
    }

    fn contents(device: &dyn BlockDevice) -> Vec<u8> {
        let mut bytes = vec![0; device.size() as usize];
        device.read_at(0, &mut bytes).unwrap();
        bytes
    }

    /// Changes at random places, on the overlay and on plain bytes.
    fn change(overlay: &Overlay, model: &mut [u8], rounds: u32) {
        let mut state = 0x9E37_79B9_u64;
        let mut random = |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) % below
        };
        for round in 0..rounds {
            let offset = random(SIZE as u64);
            let length = random(12_000).min(SIZE as u64 - offset);
            let range = offset as usize..(offset + length) as usize;
            if round % 3 == 0 {
                overlay.write_zeroes(offset, length).unwrap();
                model[range].fill(0);
            } else {
                let bytes: Vec<u8> = (0..length).map(|_| random(256) as u8).collect();
                overlay.write(offset, &bytes).unwrap();
                model[range].copy_from_slice(&bytes);
            }
            assert_eq!(contents(overlay), model, "round {round}");
        }
    }

    fn path(name: &str) -> std::path::PathBuf {
        std::env::temp_dir().join(format!("volfold-overlay-{}-{name}", std::process::id()))
    }

    #[test]
    fn reads_see_the_changes_and_the_image_does_not() {
        let below = below();
        let before = contents(&*below);
        let mut model = before.clone();
        change(&Overlay::in_memory(below.clone(), 1 << 30), &mut model, 60);
        assert_eq!(contents(&*below), before);
    }

    #[test]
    fn a_sidecar_is_taken_up_again_and_a_torn_record_is_left_out() {
        let path = path("again");
        let mut model = contents(&*below());
        let overlay = Overlay::in_file(below(), &path, &[7; 32], 1 << 30).unwrap();
        change(&overlay, &mut model, 40);
        let busy = Overlay::in_file(below(), &path, &[7; 32], 1 << 30).err().unwrap();
        assert_eq!(busy.kind(), io::ErrorKind::ResourceBusy);
        let whole = path.metadata().unwrap().len();
        overlay.write(0, &[1; 4096]).unwrap();
        drop(overlay);
        let again = Overlay::in_file(below(), &path, &[7; 32], 1 << 30).unwrap();
        assert_eq!(contents(&again)[..4096], [1; 4096]);
        drop(again);
        // A crash in the middle of the last record.
        OpenOptions::new().write(true).open(&path).unwrap().set_len(whole + 1000).unwrap();
        let torn = Overlay::in_file(below(), &path, &[7; 32], 1 << 30).unwrap();
        assert_eq!((contents(&torn), torn.lost()), (model, 1000));
        drop(torn);
        let other = Overlay::in_file(below(), &path, &[8; 32], 1 << 30).err().unwrap();
        assert!(other.to_string().contains("belongs to another"), "{other}");
        std::fs::write(&path, b"no overlay").unwrap();
        assert!(Overlay::in_file(below(), &path, &[7; 32], 1 << 30).is_err());
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn a_full_overlay_refuses_and_keeps_what_it_has() {
        let overlay = Overlay::in_memory(below(), 3 * 4096);
        overlay.write(0, &[1; 4096]).unwrap();
        overlay.write(0, &[2; 4096]).unwrap();
        overlay.write(8192, &[3; 4096]).unwrap();
        let full = overlay.write(4096, &[4; 4096]).unwrap_err();
        assert_eq!(full.kind(), io::ErrorKind::StorageFull);
        assert_eq!(contents(&overlay)[..4096], [2; 4096]);
    }

    #[test]
    fn zeros_without_end_take_no_memory() {
        let below: Arc<dyn BlockDevice> = Arc::new(Huge);
        let path = path("zeros");
        let overlay = Overlay::in_file(below.clone(), &path, &[7; 32], 64 << 10).unwrap();
        overlay.write_zeroes(0, Huge.size()).unwrap();
        overlay.write(1 << 40, &[9; 4096]).unwrap();
        let one_by_one = (0..4000).map(|block| overlay.write_zeroes(block * 8192, 4096));
        let full = one_by_one.filter_map(Result::err).next().unwrap();
        assert_eq!(full.kind(), io::ErrorKind::StorageFull);
        drop(overlay);
        let small = Overlay::in_file(below.clone(), &path, &[7; 32], 8 << 10).err().unwrap();
        assert_eq!(small.kind(), io::ErrorKind::StorageFull);
        let again = Overlay::in_file(below, &path, &[7; 32], 1 << 20).unwrap();
        let mut buf = [1; 8192];
        again.read_at((1 << 40) - 4096, &mut buf).unwrap();
        assert!(buf[..4096].iter().all(|byte| *byte == 0) && buf[4096..] == [9; 4096]);
        let after = again.extent_at((1 << 40) + 4096).unwrap();
        assert_eq!((after.kind, after.length), (ExtentKind::Zero, Huge.size() - (1 << 40) - 4096));
        std::fs::remove_file(path).unwrap();
    }

    /// Four tebibytes of ones.
    struct Huge;

    impl BlockDevice for Huge {
        fn size(&self) -> u64 {
            4 << 40
        }

        fn read_at(&self, _offset: u64, buf: &mut [u8]) -> BlockResult<()> {
            buf.fill(1);
            Ok(())
        }
    }
}
