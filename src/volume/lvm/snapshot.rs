//! Snapshots of the older driver: chunks of a volume that were saved before they were overwritten.
//!
//! Source: `drivers/md/dm-snap-persistent.c` of Linux. Little-endian, at the start of the volume that keeps
//! the chunks. The first chunk is the header; then come areas: a chunk of exceptions, and as many chunks of
//! data as it has places for exceptions.
//!
//! | offset | size | field         | rule                                                          |
//! |--------|------|---------------|---------------------------------------------------------------|
//! | 0x00   | 4    | `magic`       | `SnAp`                                                        |
//! | 0x04   | 4    | `valid`       | 1; 0: the store was full, or a write failed                   |
//! | 0x08   | 4    | `version`     | 1                                                             |
//! | 0x0C   | 4    | `chunk`       | in sectors, as the group has it                               |
//!
//! | offset | size | exception     | rule                                                          |
//! |--------|------|---------------|---------------------------------------------------------------|
//! | 0x00   | 8    | `old`         | the chunk of the origin                                       |
//! | 0x08   | 8    | `new`         | the chunk of the store; 0: there are no more exceptions       |

use std::sync::{Arc, OnceLock};

use volfold_block::{
    BlockDevice, BlockError, BlockErrorKind, BlockResult, ByteReader, Map, Mapped, Piece, Place,
    bytes_to_index, error_chain,
};

use super::built::{Body, Built};
use crate::volume::Layout;

/// The sizes of a chunk that lvm2 allows.
const CHUNKS: std::ops::RangeInclusive<u64> = 4096..=524_288;

/// Bytes of an exception.
const EXCEPTION: u64 = 16;

/// LIMIT: runs of chunks that are kept of a store: 24 MiB.
const MAX_RUNS: usize = 1 << 20;

/// Chunks that lie together, in the origin and in the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Run {
    old: u64,
    new: u64,
    count: u64,
}

/// A store whose header was checked.
struct Store {
    device: Arc<dyn BlockDevice>,
    chunk: u64,
    /// Its exceptions by the chunk of the origin, once they were asked for.
    runs: OnceLock<Result<Vec<Run>, (BlockErrorKind, String)>>,
}

impl Store {
    /// Checks the header of the store on `device`, whose chunks have `chunk` bytes.
    fn open(device: Arc<dyn BlockDevice>, chunk: u64) -> BlockResult<Self> {
        let mut bytes = [0; 16];
        device.read_at(0, &mut bytes)?;
        let mut reader = ByteReader::new("store of the snapshot", &bytes, 0);
        if reader.array::<4>()? != *b"SnAp" {
            return Err(BlockError::corrupt("store of the snapshot has a wrong magic", 0, 0));
        }
        let (valid, version) = (reader.u32_le()?, reader.u32_le()?);
        let found = u64::from(reader.u32_le()?).saturating_mul(512);
        if valid != 1 {
            return Err(BlockError::missing(
                "the snapshot is not valid any more: its store was full, or a write failed",
            ));
        }
        if version != 1 {
            let line = format!("store of the snapshot has version {version}");
            return Err(BlockError::unsupported(line));
        }
        if found != chunk || !CHUNKS.contains(&chunk) || !chunk.is_power_of_two() {
            let line = format!(
                "store of the snapshot has chunks of {found} bytes, the group says {chunk}"
            );
            return Err(BlockError::corrupt(line, 0, 0x0C));
        }
        Ok(Self { device, chunk, runs: OnceLock::new() })
    }

    /// The exceptions, read once.
    fn runs(&self) -> BlockResult<&[Run]> {
        let read = || self.read().map_err(|error| (error.kind(), error_chain(&error)));
        match self.runs.get_or_init(read) {
            Ok(runs) => Ok(runs),
            Err((kind, line)) => Err(BlockError::new(*kind, line.clone())),
        }
    }

    fn read(&self) -> BlockResult<Vec<Run>> {
        let chunks = self.device.size().checked_div(self.chunk).unwrap_or(0);
        let in_area = self.chunk.checked_div(EXCEPTION).unwrap_or(0);
        let mut runs: Vec<Run> = Vec::new();
        let mut bytes = vec![0; bytes_to_index(self.chunk)?];
        let mut area = 1_u64;
        // LIMIT: each step goes on in the store, which has an end.
        'areas: while area < chunks {
            let at = area.saturating_mul(self.chunk);
            self.device.read_at(at, &mut bytes)?;
            let mut reader = ByteReader::new("exceptions of the snapshot", &bytes, at);
            for _ in 0..in_area {
                let (old, new) = (reader.u64_le()?, reader.u64_le()?);
                if new == 0 {
                    break 'areas;
                }
                let is_of_exceptions =
                    new.checked_sub(1).and_then(|new| new.checked_rem(in_area.saturating_add(1)))
                        == Some(0);
                if new >= chunks || is_of_exceptions {
                    let line = "an exception of the snapshot has a chunk that is none of its data";
                    return Err(BlockError::corrupt(line, at, 0));
                }
                push(&mut runs, old, new)?;
            }
            area = area.saturating_add(in_area).saturating_add(1);
        }
        let mut kept: Vec<(u64, u64)> = runs.iter().map(|run| (run.new, run.count)).collect();
        kept.sort_unstable();
        let is_shared = |pair: &[(u64, u64)]| match pair {
            [(one, count), (next, _)] => one.checked_add(*count).is_none_or(|end| end > *next),
            _ => false,
        };
        if kept.windows(2).any(is_shared) {
            let line = "two chunks of the snapshot were saved in the same place";
            return Err(BlockError::corrupt(line, 0, 0));
        }
        runs.sort_unstable();
        let overlaps = |pair: &[Run]| match pair {
            [one, next] => one.old.checked_add(one.count).is_none_or(|end| end > next.old),
            _ => false,
        };
        if runs.windows(2).any(overlaps) {
            return Err(BlockError::corrupt("a chunk of the snapshot was saved twice", 0, 0));
        }
        Ok(runs)
    }
}

/// Adds an exception, to the last run if it goes on there.
fn push(runs: &mut Vec<Run>, old: u64, new: u64) -> BlockResult<()> {
    if let Some(last) = runs.last_mut()
        && last.old.checked_add(last.count) == Some(old)
        && last.new.checked_add(last.count) == Some(new)
    {
        last.count = last.count.saturating_add(1);
        return Ok(());
    }
    if runs.len() >= MAX_RUNS {
        return Err(BlockError::unsupported(format!("the snapshot has more than {MAX_RUNS} runs")));
    }
    runs.push(Run { old, new, count: 1 });
    Ok(())
}

/// The volume as it was.
struct SnapshotMap {
    origin: Arc<dyn BlockDevice>,
    store: Store,
    size: u64,
}

impl Map for SnapshotMap {
    fn size(&self) -> u64 {
        self.size
    }

    fn sector_size(&self) -> u32 {
        self.origin.sector_size().max(self.store.device.sector_size())
    }

    fn locate(&self, offset: u64, _wanted: u64) -> BlockResult<Piece<'_>> {
        let (runs, size) = (self.store.runs()?, self.store.chunk);
        let place = || Some((offset.checked_div(size)?, offset.checked_rem(size)?));
        let (chunk, inside) =
            place().ok_or_else(|| BlockError::out_of_range(offset, 1, self.size))?;
        let after = runs.partition_point(|run| run.old <= chunk);
        let until = |chunk: u64| chunk.saturating_mul(size).min(self.size).saturating_sub(offset);
        let run = after.checked_sub(1).and_then(|before| runs.get(before));
        if let Some(run) = run
            && let Some(ahead) = chunk.checked_sub(run.old).filter(|ahead| *ahead < run.count)
        {
            let new = run.new.saturating_add(ahead);
            let at = new.saturating_mul(size).saturating_add(inside);
            let end = run.old.saturating_add(run.count);
            return Ok(Piece::new(Place::At(&self.store.device, at), until(end)));
        }
        let next = runs.get(after).map_or(u64::MAX, |next| next.old);
        let there = self.origin.size().saturating_sub(offset);
        if there == 0 {
            let line = "the snapshot is larger than its origin and has not saved this";
            return Err(BlockError::missing(line).at(offset));
        }
        Ok(Piece::new(Place::At(&self.origin, offset), until(next).min(there)))
    }
}

/// The bytes of the snapshot of `origin` whose chunks of `chunk` bytes are in `store`, of `size` bytes.
///
/// # Errors
/// Why it is not read.
pub(super) fn volume(origin: &Body, store: &Body, chunk: u64, size: u64) -> Built<Body> {
    let map = SnapshotMap {
        origin: origin.device.clone(),
        store: Store::open(store.device.clone(), chunk)?,
        size,
    };
    let mut body = Body::plain(Arc::new(Mapped::new(map)), Layout::Snapshot);
    body.chunk = Some(chunk);
    body.take(origin);
    body.take(store);
    Ok(body)
}

#[cfg(test)]
mod tests {
    use volfold_block::MemoryDevice;
    use volfold_block::testing::{Noise, check_against_model, contents, member};

    use super::*;

    const CHUNK: usize = 4096;

    /// A store with `exceptions`, whose chunk `n` holds bytes of `n`.
    fn store(exceptions: &[(u64, u64)], chunks: usize) -> Vec<u8> {
        let mut bytes = vec![0; CHUNK * chunks];
        for (number, chunk) in bytes.chunks_mut(CHUNK).enumerate() {
            chunk.fill(number as u8);
        }
        bytes[..16].copy_from_slice(b"SnAp\x01\0\0\0\x01\0\0\0\x08\0\0\0");
        let per_area = CHUNK / 16;
        for area in (1..chunks).step_by(per_area + 1) {
            bytes[area * CHUNK..(area + 1) * CHUNK].fill(0);
        }
        for (number, (old, new)) in exceptions.iter().enumerate() {
            let at = (1 + number / per_area * (per_area + 1)) * CHUNK + number % per_area * 16;
            bytes[at..at + 8].copy_from_slice(&old.to_le_bytes());
            bytes[at + 8..at + 16].copy_from_slice(&new.to_le_bytes());
        }
        bytes
    }

    fn snapshot(store: Vec<u8>, size: u64) -> BlockResult<Mapped<SnapshotMap>> {
        let store = Store::open(Arc::new(MemoryDevice::new(store)), CHUNK as u64)?;
        Ok(Mapped::new(SnapshotMap { origin: member(5, 300 * CHUNK), store, size }))
    }

    #[test]
    fn saved_chunks_come_from_the_store_and_others_from_the_origin() {
        let few = [(3, 2), (4, 3), (299, 4), (0, 5)];
        let many: Vec<(u64, u64)> =
            (0..280).map(|number| (number, 2 + number + number / 256)).collect();
        for exceptions in [&few[..], &many, &[]] {
            let mut model = contents(5, 300 * CHUNK);
            for (old, new) in exceptions {
                model[*old as usize * CHUNK..][..CHUNK].fill(*new as u8);
            }
            let device = snapshot(store(exceptions, 300), 300 * CHUNK as u64).unwrap();
            check_against_model(&device, &model, 200, 4);
        }
    }

    #[test]
    fn chunks_that_were_saved_in_one_place_contradict_each_other() {
        let device = snapshot(store(&[(1, 2), (2, 2)], 10), 4096 * 8).unwrap();
        let error = device.read_at(4096, &mut [0; 512]).unwrap_err();
        assert!(error.message().contains("in the same place"), "{error}");
    }

    #[test]
    fn a_store_that_is_full_or_of_another_kind_is_refused() {
        for (at, value, kind) in [
            (0, b'X', BlockErrorKind::Corrupt),
            (4, 0, BlockErrorKind::MissingPart),
            (8, 2, BlockErrorKind::Unsupported),
            (12, 16, BlockErrorKind::Corrupt),
        ] {
            let mut bytes = store(&[], 10);
            bytes[at] = value;
            assert_eq!(snapshot(bytes, 4096).err().unwrap().kind(), kind, "{at}");
        }
        assert!(Store::open(Noise::hole(CHUNK), 4096).is_err());
    }

    #[test]
    fn exceptions_that_contradict_each_other_are_errors_at_every_read() {
        for exceptions in [[(1, 2), (1, 3)], [(1, 2), (2, 10)], [(1, 2), (2, 1)]] {
            let device = snapshot(store(&exceptions, 10), 8 * 4096).unwrap();
            for _ in 0..2 {
                let error = device.read_at(0, &mut [0; 512]).unwrap_err();
                assert_eq!(error.kind(), BlockErrorKind::Corrupt, "{exceptions:?}");
            }
        }
    }

    #[test]
    fn what_the_origin_does_not_have_and_nobody_saved_is_an_error() {
        let device = snapshot(store(&[(300, 2)], 10), 302 * 4096).unwrap();
        device.read_at(300 * 4096, &mut [0; 4096]).unwrap();
        let error = device.read_at(301 * 4096, &mut [0; 512]).unwrap_err();
        assert_eq!(error.kind(), BlockErrorKind::MissingPart);
    }
}
