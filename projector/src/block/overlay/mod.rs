//! Changes beside an image: reads see them, the image does not.
//!
//! The changed blocks of 4 KiB are kept in memory, or in a sidecar file that is only ever appended
//! to, so that a crash loses no more than what was not flushed. What it lost is told. The overlay is a
//! [`Map`]: it says which bytes are changed and where they are, and reads go through that.

use std::fs::{OpenOptions, TryLockError};
use std::io;
use std::path::Path;
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};
use volfold_block::{
    BlockDevice, BlockError, BlockErrorKind, BlockResult, Extent, Map, Mapped, Piece, Place, Span,
    byte_count, bytes_to_index, check_range,
};

mod changes;
mod sidecar;

use changes::{BLOCK, Changes, Kept, Run};
use sidecar::{MAX_DATA, RECORD_HEADER, Replayed, Sidecar, record_header};

use super::number::to_usize;

/// The end of the sidecar, which one writer at a time moves.
struct Log {
    end: u64,
    /// How much the sidecar and what is known of it in memory may take together.
    limit: u64,
}

/// A device with changes that never reach the device below.
pub struct Overlay {
    device: Mapped<Changed>,
    /// The bytes at the end of the sidecar that were no whole record.
    lost: u64,
    log: Mutex<Log>,
}

/// Where the bytes of an overlay are.
struct Changed {
    below: Arc<dyn BlockDevice>,
    changes: RwLock<Changes>,
    sidecar: Option<Sidecar>,
}

impl Overlay {
    /// Changes in memory, of at most `limit` bytes.
    pub fn in_memory(below: Arc<dyn BlockDevice>, limit: u64) -> Self {
        Self::new(below, None, Replayed::default(), limit)
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
        let file = options.open(path)?;
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => {
                let line = "is in use by another export";
                return Err(io::Error::new(io::ErrorKind::ResourceBusy, line));
            }
            // Where the host has no locks, two exports of one sidecar are the user's mistake.
            Err(TryLockError::Error(_)) | Ok(()) => {}
        }
        let (sidecar, replayed) = Sidecar::open(file, identity, below.size(), limit)?;
        Ok(Self::new(below, Some(sidecar), replayed, limit))
    }

    fn new(
        below: Arc<dyn BlockDevice>,
        sidecar: Option<Sidecar>,
        replayed: Replayed,
        limit: u64,
    ) -> Self {
        let Replayed { changes, end, lost } = replayed;
        let changed = Changed { below, changes: RwLock::new(changes), sidecar };
        Self { device: Mapped::new(changed), lost, log: Mutex::new(Log { end, limit }) }
    }

    fn changed(&self) -> &Changed {
        self.device.map()
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
        // What lies below never changes, so it is read before the lock is taken; what was changed is
        // read under it.
        for block in edges.into_iter().flatten() {
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
        header.copy_from_slice(&record_header(blocks, data));
        self.append(&mut log, blocks, &record)
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
        let mut log = self.log.lock();
        self.reserve(&log, RECORD_HEADER, 1)?;
        if let Some(sidecar) = &self.changed().sidecar {
            let header = record_header(blocks, &[]);
            sidecar.write_at(log.end, &header)?;
            log.end = log.end.saturating_add(byte_count(header.len()));
        }
        self.changed().changes.write().insert(blocks, Kept::Zero);
        Ok(())
    }

    /// Makes sure that what was written is there after a crash.
    ///
    /// # Errors
    /// If the host cannot write.
    pub fn flush(&self) -> io::Result<()> {
        self.changed().sidecar.as_ref().map_or(Ok(()), Sidecar::flush)
    }

    /// Makes sure that `length` bytes and `runs` changes more are within the limit.
    fn reserve(&self, log: &Log, length: usize, runs: u64) -> io::Result<()> {
        let runs = runs.saturating_mul(Changes::RUN);
        let memory = self.changed().changes.read().memory().saturating_add(runs);
        let file = log.end.saturating_add(byte_count(length));
        if file.saturating_add(memory) > log.limit {
            let line = "the overlay has reached its limit; give more with --overlay-limit";
            return Err(io::Error::new(io::ErrorKind::StorageFull, line));
        }
        Ok(())
    }

    /// Adds a record with `blocks`, whole.
    fn append(&self, log: &mut Log, blocks: Span, record: &[u8]) -> io::Result<()> {
        let Some(sidecar) = &self.changed().sidecar else {
            let data = record.get(RECORD_HEADER..).unwrap_or_default();
            let (data, _) = data.as_chunks::<BLOCK_BYTES>();
            self.reserve(log, record.len(), byte_count(data.len()))?;
            let mut changes = self.changed().changes.write();
            let mut rest = Some(blocks);
            for bytes in data {
                let block = rest.map(|rest| rest.first(BLOCK)).unwrap_or_default();
                changes.insert(block, Kept::Memory(bytes[..].into()));
                rest = rest.and_then(|rest| rest.rest(BLOCK));
            }
            return Ok(());
        };
        self.reserve(log, record.len(), 1)?;
        sidecar.write_at(log.end, record)?;
        let position = log.end.saturating_add(byte_count(RECORD_HEADER));
        log.end = log.end.saturating_add(byte_count(record.len()));
        let kept = Kept::File { position, base: blocks.start() };
        self.changed().changes.write().insert(blocks, kept);
        Ok(())
    }

    /// What of the block at `block` is inside the device.
    fn inside(&self, block: u64) -> Option<Span> {
        Span::new(block, BLOCK)?.intersection(Span::below(self.size()))
    }
}

/// [`BLOCK`], as a length in memory.
const BLOCK_BYTES: usize = 4096;

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

impl Changed {
    /// The changed run that holds the byte at `offset`, else the next one.
    fn next(&self, offset: u64) -> Option<Run> {
        self.changes.read().next(offset)
    }

    /// The changed run that holds the byte at `offset`.
    fn at(&self, offset: u64) -> Option<Run> {
        self.next(offset).filter(|run| run.span.contains(offset))
    }

    /// Fills `out` with the bytes from `offset` on, which are in `run` as a whole.
    fn read(&self, run: &Run, offset: u64, out: &mut [u8]) -> BlockResult<()> {
        match &run.kept {
            Kept::Zero => out.fill(0),
            Kept::Memory(bytes) => {
                let skip = run.span.offset_of(offset).map(bytes_to_index).transpose()?;
                let bytes = skip.and_then(|skip| bytes.get(skip..)?.get(..out.len()));
                out.copy_from_slice(bytes.ok_or_else(outside)?);
            }
            Kept::File { position, base } => {
                let (sidecar, position) = self.stored(*position, *base, offset)?;
                sidecar.read_at(position, out)?;
            }
        }
        Ok(())
    }

    /// Where in the sidecar the byte at `offset` is, when that at `base` is at `position`.
    fn stored(&self, position: u64, base: u64, offset: u64) -> BlockResult<(&Sidecar, u64)> {
        let skip = offset.checked_sub(base);
        let position = skip.and_then(|skip| position.checked_add(skip));
        self.sidecar.as_ref().zip(position).ok_or_else(outside)
    }
}

/// A change that is not where it was written down.
fn outside() -> BlockError {
    BlockError::new(BlockErrorKind::Internal, "a change of the overlay is not where it should be")
}

impl Map for Changed {
    fn size(&self) -> u64 {
        self.below.size()
    }

    fn sector_size(&self) -> u32 {
        self.below.sector_size()
    }

    fn locate(&self, offset: u64, wanted: u64) -> BlockResult<Piece<'_>> {
        let run = match self.next(offset) {
            Some(run) if run.span.contains(offset) => run,
            next => {
                let length = next.map_or(wanted, |run| run.span.start().saturating_sub(offset));
                return Ok(Piece::new(Place::At(&*self.below, offset), length));
            }
        };
        let place = match run.kept {
            Kept::Zero => Place::Zero,
            // Asked for again when it is read, for it may have changed by then.
            Kept::Memory(_) => Place::Decode {
                unit: run.span.start(),
                skip: run.span.offset_of(offset).unwrap_or_default(),
            },
            Kept::File { position, base } => {
                let (sidecar, position) = self.stored(position, base, offset)?;
                Place::Stored(sidecar, position)
            }
        };
        Ok(Piece::new(place, run.span.end().saturating_sub(offset)))
    }

    fn unit_size(&self, _unit: u64) -> usize {
        BLOCK_BYTES
    }

    /// The bytes of the changed block at `unit`, as they are now.
    fn decode(&self, unit: u64, out: &mut [u8]) -> BlockResult<()> {
        let run = self.at(unit).ok_or_else(outside)?;
        self.read(&run, unit, out)
    }
}

impl BlockDevice for Overlay {
    fn size(&self) -> u64 {
        self.device.size()
    }

    fn sector_size(&self) -> u32 {
        self.device.sector_size()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> BlockResult<()> {
        self.device.read_at(offset, buf)
    }

    fn read_vectored_at(&self, offset: u64, bufs: &mut [&mut [u8]]) -> BlockResult<()> {
        self.device.read_vectored_at(offset, bufs)
    }

    fn extent_at(&self, offset: u64) -> BlockResult<Extent> {
        self.device.extent_at(offset)
    }

    fn will_need(&self, offset: u64, length: u64) {
        self.device.will_need(offset, length);
    }
}

#[cfg(test)]
mod tests {
    use volfold_block::{ExtentKind, MemoryDevice};

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
