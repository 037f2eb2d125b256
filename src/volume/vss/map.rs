//! A volume as it was when a shadow copy of it was taken.

use std::sync::Arc;

use volfold_block::{BlockDevice, BlockError, BlockErrorKind, BlockResult, Map, Piece, Place};

use super::block::BLOCK;
use super::store::{Kept, Store, blocks};

/// Bytes of a sector of an overlay.
const SECTOR: u64 = 512;

/// The volume as it was. A block is where the first of these has it: its own store, those of the newer
/// copies, the volume as it is.
pub(super) struct CopyMap {
    /// The volume as it is.
    pub(super) base: Arc<dyn BlockDevice>,
    /// The size of the volume at that time.
    pub(super) size: u64,
    /// Its own store, then those of the newer copies, the next one first.
    pub(super) stores: Vec<Arc<Store>>,
}

/// Where a block is.
enum Spot<'a> {
    Store(&'a Store, u64),
    Base(u64),
    Fail(BlockError),
}

fn contradiction() -> BlockError {
    let line = "the shadow copy contradicts itself about this block";
    BlockError::new(BlockErrorKind::Corrupt, line)
}

impl CopyMap {
    /// Where `block` is, and how many blocks lie together there. An overlay is no matter here.
    fn spot(&self, block: u32) -> BlockResult<(Spot<'_>, u32)> {
        let mut wanted = block;
        let mut together = u32::MAX;
        for (index, store) in self.stores.iter().enumerate() {
            let (kept, count) = store.table()?.find(wanted);
            together = together.min(count);
            match kept {
                Some(Kept::At(place)) => return Ok((Spot::Store(store, place), together)),
                Some(Kept::Moved(target)) => (wanted, together) = (target, 1),
                Some(Kept::Unclear) => {
                    return Ok((Spot::Fail(contradiction()), together));
                }
                None if index == 0 => {
                    let marked = store.marked(blocks(self.size)?)?;
                    let after = marked.partition_point(|(first, _)| *first <= block);
                    let run = after.checked_sub(1).and_then(|before| marked.get(before));
                    if let Some((_, end)) = run.filter(|(_, end)| *end > block) {
                        let count = end.saturating_sub(block);
                        let line = "the shadow copy kept nothing of this block: no file used it then, \
                                    or it was left out of the copy";
                        return Ok((Spot::Fail(BlockError::missing(line)), together.min(count)));
                    }
                    let next = marked.get(after).map_or(u32::MAX, |(first, _)| *first);
                    together = together.min(next.saturating_sub(block));
                }
                None => {}
            }
        }
        Ok((Spot::Base(u64::from(wanted).saturating_mul(BLOCK)), together))
    }
}

impl Map for CopyMap {
    fn size(&self) -> u64 {
        self.size
    }

    fn sector_size(&self) -> u32 {
        self.base.sector_size()
    }

    fn locate(&self, offset: u64, _wanted: u64) -> BlockResult<Piece<'_>> {
        let block = u32::try_from(offset / BLOCK)
            .map_err(|_| BlockError::out_of_range(offset, 1, self.size))?;
        let inside = offset % BLOCK;
        let until = |end: u64| end.min(self.size).saturating_sub(offset);
        let start = offset.saturating_sub(inside);
        // How far the answer below may reach.
        let mut end = u64::MAX;
        if let Some(own) = self.stores.first() {
            match own.table()?.overlay(block) {
                Ok(overlay) => {
                    let sector = inside / SECTOR;
                    let is_written = |sector: u64| overlay.sectors >> sector & 1 == 1;
                    let is_here = is_written(sector);
                    let in_block = BLOCK / SECTOR;
                    let other = (sector..in_block).find(|other| is_written(*other) != is_here);
                    let border = other.unwrap_or(in_block).saturating_mul(SECTOR);
                    end = start.saturating_add(border);
                    if is_here {
                        let place = overlay.place.map_or_else(
                            || Place::Fail(contradiction().at(offset)),
                            |place| Place::At(&own.device, place.saturating_add(inside)),
                        );
                        return Ok(Piece::new(place, until(end)));
                    }
                }
                Err(blocks) => end = start.saturating_add(u64::from(blocks).saturating_mul(BLOCK)),
            }
        }
        let (spot, together) = self.spot(block)?;
        end = end.min(start.saturating_add(u64::from(together).saturating_mul(BLOCK)));
        let length = until(end);
        Ok(match spot {
            Spot::Store(store, place) => {
                Piece::new(Place::At(&store.device, place.saturating_add(inside)), length)
            }
            Spot::Base(place) => {
                let at = place.saturating_add(inside);
                let there = self.base.size().saturating_sub(at);
                if there == 0 {
                    let line = "the volume is smaller now, and the shadow copy has not kept this";
                    Piece::new(Place::Fail(BlockError::missing(line).at(offset)), length)
                } else {
                    Piece::new(Place::At(&self.base, at), length.min(there))
                }
            }
            Spot::Fail(error) => Piece::new(Place::Fail(error.at(offset)), length),
        })
    }
}
