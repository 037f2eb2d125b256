//! The device below with its changes, as a [`Map`].

use std::sync::Arc;

use parking_lot::RwLock;
use volfold_block::{
    BlockDevice, BlockError, BlockErrorKind, BlockResult, Map, Piece, Place, bytes_to_index,
};

use super::changes::{Changes, Kept, Run};
use super::sidecar::Sidecar;

/// The size of a block, as a length in memory.
pub(super) const BLOCK_BYTES: usize = 4096;

/// Where the bytes of an overlay are.
pub(super) struct Changed {
    pub(super) below: Arc<dyn BlockDevice>,
    pub(super) changes: RwLock<Changes>,
    pub(super) sidecar: Option<Sidecar>,
}

impl Changed {
    /// The changed run that holds the byte at `offset`, else the next one.
    pub(super) fn next(&self, offset: u64) -> Option<Run> {
        self.changes.read().next(offset)
    }

    /// The changed run that holds the byte at `offset`.
    pub(super) fn at(&self, offset: u64) -> Option<Run> {
        self.next(offset).filter(|run| run.span.contains(offset))
    }

    /// All runs as they are now.
    pub(super) fn snapshot(&self) -> Vec<Run> {
        self.changes.read().runs().collect()
    }

    /// Fills `out` with the bytes from `offset` on, which are in `run` as a whole.
    pub(super) fn read(&self, run: &Run, offset: u64, out: &mut [u8]) -> BlockResult<()> {
        match &run.kept {
            Kept::Zero => out.fill(0),
            Kept::Lost => return Err(lost()),
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

/// A change that was there, and is damaged.
fn lost() -> BlockError {
    BlockError::new(BlockErrorKind::Corrupt, "the overlay's record of these bytes is damaged")
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
            Kept::Lost => Place::Fail(lost()),
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
