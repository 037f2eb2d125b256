//! The blocks that the log has changed, in memory, and the volume with them in place.

use std::collections::BTreeMap;
use std::sync::Arc;

use volfold_block::{
    BlockDevice, BlockError, BlockResult, Map, MemoryDevice, Piece, Place, Span, bytes_to_index,
};

use super::BLOCK;
use crate::error::{FsError, FsResult};

/// LIMIT: the changed bytes that are kept.
const MAX_BLOCKS: usize = 256 << 11;
const BYTES: usize = 512;

/// The changed blocks of 512 bytes of a volume.
pub(super) struct Overlay<'a> {
    device: &'a dyn BlockDevice,
    blocks: BTreeMap<u64, Box<[u8; BYTES]>>,
}

impl<'a> Overlay<'a> {
    pub(super) fn new(device: &'a dyn BlockDevice) -> Self {
        Self { device, blocks: BTreeMap::new() }
    }

    /// How many blocks were changed.
    pub(super) fn len(&self) -> usize {
        self.blocks.len()
    }

    /// The bytes of `count` blocks from block `first` on, as they are now.
    ///
    /// # Errors
    /// `Corrupt` if they leave the volume.
    pub(super) fn read(&self, first: u64, count: u64) -> FsResult<Vec<u8>> {
        let span = first.checked_mul(BLOCK).zip(count.checked_mul(BLOCK));
        let span = span.and_then(|(start, length)| Span::new(start, length));
        let span = span.filter(|span| Span::below(self.device.size()).holds(*span));
        let span =
            span.ok_or_else(|| FsError::corrupt("log changes a block outside the volume"))?;
        let mut bytes = vec![0; bytes_to_index(span.length())?];
        self.device.read_at(span.start(), &mut bytes)?;
        let (blocks, _) = bytes.as_chunks_mut::<BYTES>();
        for (number, block) in (first..).zip(blocks) {
            if let Some(changed) = self.blocks.get(&number) {
                *block = **changed;
            }
        }
        Ok(bytes)
    }

    /// Puts `bytes`, whole blocks, in the place of those from block `first` on.
    ///
    /// # Errors
    /// `Unsupported` if too many are changed.
    pub(super) fn write(&mut self, first: u64, bytes: &[u8]) -> FsResult<()> {
        let (blocks, _) = bytes.as_chunks::<BYTES>();
        for (number, block) in (first..).zip(blocks) {
            self.blocks.insert(number, Box::new(*block));
        }
        if self.blocks.len() > MAX_BLOCKS {
            return Err(FsError::unsupported("log changes more than is kept in memory"));
        }
        Ok(())
    }

    /// The changed bytes, for views of the volume.
    pub(super) fn finish(self) -> Arc<Changed> {
        let mut bytes = Vec::with_capacity(self.blocks.len().saturating_mul(BYTES));
        let mut runs: Vec<Span> = Vec::new();
        for (number, block) in self.blocks {
            let Some(span) = number.checked_mul(BLOCK).and_then(|start| Span::new(start, BLOCK))
            else {
                continue;
            };
            bytes.extend_from_slice(&*block);
            match runs.last_mut() {
                Some(last) if last.end() == span.start() => {
                    *last = Span::between(last.start(), span.end()).unwrap_or(*last);
                }
                _ => runs.push(span),
            }
        }
        let mut from = 0_u64;
        let mut placed = Vec::with_capacity(runs.len());
        for run in runs {
            placed.push((run, from));
            from = from.saturating_add(run.length());
        }
        Arc::new(Changed { runs: placed, bytes: MemoryDevice::new(bytes) })
    }
}

/// Changed bytes of a volume.
pub(in crate::xfs) struct Changed {
    /// Where they belong, in order, and where they are in `bytes`.
    runs: Vec<(Span, u64)>,
    bytes: MemoryDevice,
}

/// A volume with changed bytes in their places, without writing to it.
pub(in crate::xfs) struct Replayed {
    device: Arc<dyn BlockDevice>,
    changed: Arc<Changed>,
}

impl Replayed {
    pub(in crate::xfs) fn new(device: Arc<dyn BlockDevice>, changed: Arc<Changed>) -> Self {
        Self { device, changed }
    }
}

impl Map for Replayed {
    fn size(&self) -> u64 {
        self.device.size()
    }

    fn sector_size(&self) -> u32 {
        self.device.sector_size()
    }

    fn locate(&self, offset: u64, _wanted: u64) -> BlockResult<Piece<'_>> {
        let runs = &self.changed.runs;
        let later = runs.partition_point(|(run, _)| run.start() <= offset);
        let last = later.checked_sub(1).and_then(|last| runs.get(last));
        if let Some((run, from)) = last
            && let Some(into) = run.offset_of(offset)
            && let Some(rest) = run.rest(into).filter(|rest| !rest.is_empty())
        {
            let place = Place::Stored(&self.changed.bytes, from.saturating_add(into));
            return Ok(Piece::new(place, rest.length()));
        }
        let next = runs.get(later).map_or(self.size(), |(run, _)| run.start());
        let rest = Span::between(offset, next).filter(|rest| !rest.is_empty());
        let rest = rest.ok_or_else(|| BlockError::out_of_range(offset, 1, self.size()))?;
        Ok(Piece::new(Place::At(&self.device, offset), rest.length()))
    }
}

#[cfg(test)]
mod tests {
    use volfold_block::Mapped;

    use super::*;

    #[test]
    fn a_read_across_changed_blocks_joins_old_and_new() {
        let device =
            MemoryDevice::new((0..8_u8).flat_map(|block| [block; 512]).collect::<Vec<u8>>());
        let mut overlay = Overlay::new(&device);
        overlay.write(2, &[0xAA; 1024]).unwrap();
        overlay.write(6, &[0xBB; 512]).unwrap();
        let mut expected = vec![1; 512];
        expected.extend([0xAA; 1024]);
        expected.extend([4; 512]);
        assert_eq!(overlay.read(1, 4).unwrap(), expected);
        assert!(overlay.read(7, 2).is_err());
        let changed = overlay.finish();
        let whole = Mapped::new(Replayed::new(Arc::new(device), changed));
        let mut bytes = vec![0; 2048];
        whole.read_at(512, &mut bytes).unwrap();
        assert_eq!(bytes, expected);
        whole.read_at(2600, &mut bytes[..1300]).unwrap();
        assert_eq!(
            (bytes[0], bytes[471], bytes[472], bytes[983], bytes[984]),
            (5, 5, 0xBB, 0xBB, 7)
        );
    }
}
