//! The device over a map.

use std::sync::Arc;

use smallvec::SmallVec;

use super::place::{Map, Piece, Place, piece};
use super::request::{Reader, is_same};
use super::units::Units;
use crate::bytes::byte_count;
use crate::cache::CachePool;
use crate::device::{BlockDevice, Extent, ExtentKind, check_range, total_length};
use crate::error::BlockResult;

/// LIMIT: pieces of data that one question about an extent joins. The answer then ends early, and
/// the next question goes on.
const MAX_STEPS: u32 = 8192;

/// LIMIT: pieces that one hint looks at.
const MAX_HINTS: u32 = 1024;

/// The device over a [`Map`].
pub struct Mapped<M> {
    map: Arc<M>,
    units: Option<Units<M>>,
}

impl<M: Map> Mapped<M> {
    /// The device that `map` describes; what it decodes is decoded for each request anew.
    pub fn new(map: M) -> Self {
        Self::over(Arc::new(map))
    }

    /// The same over a map that others hold too.
    pub fn over(map: Arc<M>) -> Self {
        Self { map, units: None }
    }

    /// The map.
    pub fn map(&self) -> &Arc<M> {
        &self.map
    }

    fn reader(&self) -> Reader<'_, M> {
        Reader { map: &self.map, units: self.units.as_ref() }
    }

    /// The kind of the piece at `offset`, and how many of its bytes are of it.
    fn kind(&self, piece: &Piece<'_>, offset: u64) -> Extent {
        let told = match &piece.place {
            Place::Zero => Some(Extent { kind: ExtentKind::Zero, length: piece.length }),
            Place::At(device, at) => match device.extent_at(*at) {
                Ok(below) => Some(below),
                Err(_) => self.map.rescue_extent(offset),
            },
            Place::Stored(..) | Place::Decode { .. } | Place::Fail(_) => None,
        };
        match told {
            Some(Extent { kind, length: length @ 1.. }) => {
                Extent { kind, length: length.min(piece.length) }
            }
            // What cannot be told is data: a read will speak about it.
            _ => Extent { kind: ExtentKind::Data, length: piece.length },
        }
    }
}

/// Whether the bytes are known to be no hole without asking anybody.
fn is_known_data(place: &Place<'_>) -> bool {
    matches!(place, Place::Stored(..) | Place::Decode { .. } | Place::Fail(_))
}

impl<M: Map + 'static> Mapped<M> {
    /// The device that `map` describes; units are kept decoded in `pool`.
    pub fn cached(map: M, pool: &Arc<CachePool>) -> Self {
        let map = Arc::new(map);
        let units = Units::new(map.clone(), pool);
        Self { map, units: Some(units) }
    }
}

impl<M: Map> BlockDevice for Mapped<M> {
    fn size(&self) -> u64 {
        self.map.size()
    }

    fn sector_size(&self) -> u32 {
        self.map.sector_size()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> BlockResult<()> {
        check_range(offset, buf.len(), self.size())?;
        if buf.is_empty() {
            return Ok(());
        }
        let wanted = byte_count(buf.len());
        let first = piece(&*self.map, offset, wanted)?;
        if first.length == wanted {
            return self.reader().fill(first.place, offset, buf);
        }
        self.reader().read(offset, first, &mut [buf])
    }

    fn read_vectored_at(&self, offset: u64, bufs: &mut [&mut [u8]]) -> BlockResult<()> {
        let wanted = total_length(bufs);
        check_range(offset, wanted, self.size())?;
        if wanted == 0 {
            return Ok(());
        }
        let first = piece(&*self.map, offset, byte_count(wanted))?;
        if first.length == byte_count(wanted)
            && let Place::At(device, at) | Place::Stored(device, at) = first.place
            && device.read_vectored_at(at, bufs).is_ok()
        {
            return Ok(());
        }
        // Buffer by buffer where that failed, so that each can be rescued.
        let first = piece(&*self.map, offset, byte_count(wanted))?;
        self.reader().read(offset, first, bufs)
    }

    fn extent_at(&self, offset: u64) -> BlockResult<Extent> {
        check_range(offset, 1, self.size())?;
        let left = self.size().saturating_sub(offset);
        let first = piece(&*self.map, offset, left)?;
        let mut found = self.kind(&first, offset);
        if !is_known_data(&first.place) {
            return Ok(found);
        }
        for _ in 0..MAX_STEPS {
            let Some(at) = offset.checked_add(found.length) else { break };
            let Some(rest @ 1..) = left.checked_sub(found.length) else { break };
            // What cannot be told now is the answer of the next question.
            let Ok(next) = piece(&*self.map, at, rest) else { break };
            if !is_known_data(&next.place) {
                break;
            }
            found.length = found.length.saturating_add(next.length);
        }
        Ok(found)
    }

    fn will_need(&self, offset: u64, length: u64) {
        let mut at = offset;
        let mut left = length.min(self.size().saturating_sub(offset));
        // Joined as a read joins them, whatever lies between them.
        let mut hints: SmallVec<[(&dyn BlockDevice, u64, u64); 8]> = SmallVec::new();
        for _ in 0..MAX_HINTS {
            if left == 0 {
                break;
            }
            let Ok(found) = piece(&*self.map, at, left) else { break };
            if let Place::At(device, from) | Place::Stored(device, from) = found.place {
                let end = from.saturating_add(found.length);
                let mut known = hints.iter_mut().rev();
                match known.find(|(before, _, last)| *last == from && is_same(*before, device)) {
                    Some((_, _, last)) => *last = end,
                    None => hints.push((device, from, end)),
                }
            }
            at = at.saturating_add(found.length);
            left = left.saturating_sub(found.length);
        }
        for (device, start, end) in hints {
            device.will_need(start, end.saturating_sub(start));
        }
    }
}
