//! The disk: runs one after the other.

use std::sync::Arc;

use volfold_block::{
    BlockDevice, BlockError, BlockErrorKind, BlockResult, Map, Piece, Place, bytes_to_index,
};

use super::runs::{Kind, MAX_UNIT, Run};
use super::unpack::unpack;
use crate::packed::with_bytes;

/// The virtual disk.
pub(super) struct DmgDisk {
    pub(super) file: Arc<dyn BlockDevice>,
    /// INVARIANT: sorted, and without overlaps.
    pub(super) runs: Vec<Run>,
    pub(super) size: u64,
}

impl DmgDisk {
    fn run(&self, unit: u64) -> Option<&Run> {
        bytes_to_index(unit).ok().and_then(|index| self.runs.get(index))
    }

    /// Where the byte is that lies `skip` bytes into `run`, which is number `index`, and how far.
    fn place(&self, run: &Run, index: usize, skip: u64) -> (Place<'_>, u64) {
        let left = run.disk.length().saturating_sub(skip);
        let fail = |error: BlockError| (Place::Fail(error), left);
        let start = run.place.start();
        match run.kind {
            Kind::Zero | Kind::Ignored => (Place::Zero, left),
            Kind::Raw => {
                let there = run.place.end().min(self.file.size());
                let at = start.saturating_add(skip);
                match there.checked_sub(at) {
                    Some(more @ 1..) => (Place::Stored(&*self.file, at), left.min(more)),
                    _ => fail(BlockError::corrupt("run is cut short", at, 0)),
                }
            }
            Kind::Unknown(kind) => {
                let line = format!("run of the DMG is packed in an unknown way ({kind:#010x})");
                fail(BlockError::unsupported(line).at(start))
            }
            _ if run.disk.length() > MAX_UNIT => {
                let line = format!("run of {} bytes is larger than is unpacked", run.disk.length());
                fail(BlockError::unsupported(line).at(start))
            }
            _ => {
                let unit = u64::try_from(index).unwrap_or(u64::MAX);
                (Place::Decode { unit, skip }, left)
            }
        }
    }
}

impl Map for DmgDisk {
    fn size(&self) -> u64 {
        self.size
    }

    fn locate(&self, offset: u64, _wanted: u64) -> BlockResult<Piece<'_>> {
        let after = self.runs.partition_point(|run| run.disk.start() <= offset);
        let index = after.checked_sub(1);
        let run = index.and_then(|index| Some((index, self.runs.get(index)?)));
        let (place, length) = match run.filter(|(_, run)| run.disk.contains(offset)) {
            Some((index, run)) => self.place(run, index, offset.saturating_sub(run.disk.start())),
            None => {
                let next = self.runs.get(after).map_or(self.size, |run| run.disk.start());
                let sentence = "no run of the DMG tells what is there";
                let error = BlockError::new(BlockErrorKind::Corrupt, sentence);
                (Place::Fail(error), next.saturating_sub(offset))
            }
        };
        Ok(Piece::new(place, length.min(self.size.saturating_sub(offset))))
    }

    fn unit_size(&self, unit: u64) -> usize {
        // `locate` gives no larger ones.
        let size = self.run(unit).map_or(0, |run| run.disk.length().min(MAX_UNIT));
        usize::try_from(size).unwrap_or(0)
    }

    fn decode(&self, unit: u64, out: &mut [u8]) -> BlockResult<()> {
        let missing = || BlockError::new(BlockErrorKind::Internal, "run is not there");
        let run = self.run(unit).ok_or_else(missing)?;
        let at = run.place.start();
        // LIMIT: what does not shrink is not packed.
        let most = run.disk.length().saturating_mul(2).saturating_add(4096);
        if run.place.end() > self.file.size() || run.place.length() > most {
            let sentence = "packed run is not in the file, or too large";
            return Err(BlockError::corrupt(sentence, at, 0));
        }
        with_bytes(&*self.file, at, run.place.length(), |packed| {
            unpack(run.kind, packed, out).map_err(|broken| {
                let sentence = match broken.words() {
                    "cannot be inflated" => "packed run cannot be unpacked".to_owned(),
                    words => format!("packed run {words}"),
                };
                BlockError::corrupt(sentence, at, 0)
            })
        })
    }

    fn decodes_slowly(&self) -> bool {
        true
    }
}
