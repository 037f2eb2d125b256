//! Say where, read once: what an image format, a volume layout or an overlay has to write.
//!
//! A [`Map`] answers one question: where are the bytes at an offset, and how far do they lie
//! together? [`Mapped`] is the device over it. It splits a request at the borders of pieces, joins
//! pieces that follow each other in one device into one request, decodes units once and keeps them
//! in the shared cache, and derives holes and hints from the same answers, so that none of them can
//! disagree with a read.
//!
//! ```text
//!  read_at(offset, buf)
//!    locate -> At(disk 1, 4096), 64 KiB      -+- one vectored read of disk 1
//!    locate -> At(disk 2, 4096), 64 KiB       |  one read of disk 2
//!    locate -> At(disk 1, 69632), 64 KiB     -+
//!    locate -> Zero, 1 MiB                       filled
//!    locate -> Decode { unit: 7, skip: 512 }     from the cache, or decoded into it
//!    locate -> Fail(error)                       the request fails, and nothing else does
//! ```

use crate::device::BlockDevice;
use crate::error::{BlockError, BlockErrorKind, BlockResult};

mod request;
mod slice;
mod units;

use std::sync::Arc;

use crate::bytes::byte_count;
use crate::cache::CachePool;
use crate::device::{Extent, ExtentKind, check_range, total_length};
use request::Request;
use units::Units;

pub use slice::{Slice, SliceOf};

/// LIMIT: pieces of data that one question about an extent joins. The answer then ends early, and
/// the next question goes on.
const MAX_STEPS: u32 = 8192;

/// LIMIT: pieces that one hint looks at.
const MAX_HINTS: u32 = 1024;

/// Where bytes are.
pub enum Place<'a> {
    /// In another device, from this offset on; where that one has holes, they are holes.
    At(&'a (dyn BlockDevice + 'a), u64),
    /// The same, where it is known that they are no hole, so that nobody has to ask.
    Stored(&'a (dyn BlockDevice + 'a), u64),
    /// Nowhere: they are zeros.
    Zero,
    /// In a unit that has to be decoded.
    Decode {
        /// What [`Map::decode`] takes.
        unit: u64,
        /// How many bytes of the decoded unit come before them.
        skip: u64,
    },
    /// Nowhere to be had, and why.
    Fail(BlockError),
}

/// Where bytes are, and how far they lie together.
pub struct Piece<'a> {
    /// Where.
    pub place: Place<'a>,
    /// How many bytes, at least 1; may be more than was asked for.
    pub length: u64,
}

impl<'a> Piece<'a> {
    /// `length` bytes at `place`.
    pub fn new(place: Place<'a>, length: u64) -> Self {
        Self { place, length }
    }
}

/// All that a format, a volume layout or an overlay has to write.
pub trait Map: Send + Sync {
    /// The size of the device in bytes.
    fn size(&self) -> u64;

    /// The size of a logical sector in bytes.
    fn sector_size(&self) -> u32 {
        512
    }

    /// The place of the byte at `offset`, which is inside the device, and how many bytes from there
    /// are in one piece. Of what comes after the first `wanted` bytes nobody needs to know.
    ///
    /// # Errors
    /// Why the place cannot be told. Where it is known how far that reaches, the answer is
    /// [`Place::Fail`].
    fn locate(&self, offset: u64, wanted: u64) -> BlockResult<Piece<'_>>;

    /// The decoded size of `unit` in bytes.
    fn unit_size(&self, _unit: u64) -> usize {
        0
    }

    /// Fills `out`, which has the size of the unit, with the decoded bytes of `unit`.
    ///
    /// # Errors
    /// Why they cannot be had.
    fn decode(&self, unit: u64, _out: &mut [u8]) -> BlockResult<()> {
        let sentence = format!("unit {unit} of a map that has no units was asked for");
        Err(BlockError::new(BlockErrorKind::Internal, sentence))
    }

    /// Whether decoding takes so long that several cores should share a large request.
    fn decodes_slowly(&self) -> bool {
        false
    }

    /// The last word on a failed read of bytes that lie in one piece from `offset` on: fills `buf`
    /// in another way, from a copy or from parity, or says what `error` is about.
    ///
    /// # Errors
    /// Why there is no other way.
    fn rescue(&self, _offset: u64, _buf: &mut [u8], error: BlockError) -> BlockResult<()> {
        Err(error)
    }

    /// The same for a question about the extent at `offset` that the device there cannot answer;
    /// `None` if there is nobody else to ask.
    fn rescue_extent(&self, _offset: u64) -> Option<Extent> {
        None
    }
}

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

    /// The piece at `offset`, where `left` bytes of the device or of a request follow.
    fn piece(&self, offset: u64, left: u64) -> BlockResult<Piece<'_>> {
        let piece = self.map.locate(offset, left)?;
        if piece.length == 0 {
            let sentence = "a map answered with an empty piece; this is a bug, please report it";
            return Err(BlockError::new(BlockErrorKind::Internal, sentence).at(offset));
        }
        Ok(Piece { length: piece.length.min(left), ..piece })
    }

    /// Fills `buf` with bytes that lie in one piece at `place`.
    fn fill(&self, place: Place<'_>, offset: u64, buf: &mut [u8]) -> BlockResult<()> {
        match place {
            Place::At(device, at) | Place::Stored(device, at) => {
                device.read_at(at, buf).or_else(|error| self.map.rescue(offset, buf, error))
            }
            Place::Zero => {
                buf.fill(0);
                Ok(())
            }
            Place::Decode { unit, skip } => self.read_unit(unit, skip, buf),
            Place::Fail(error) => Err(error),
        }
    }

    /// Fills `buf` with the bytes of `unit` from `skip` on.
    fn read_unit(&self, unit: u64, skip: u64, buf: &mut [u8]) -> BlockResult<()> {
        match &self.units {
            Some(units) => units::copy(&units.get(unit)?, skip, buf),
            None if skip == 0 && buf.len() == self.map.unit_size(unit) => {
                self.map.decode(unit, buf)
            }
            None => units::copy(&units::decoded(&*self.map, unit)?, skip, buf),
        }
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
        let first = self.piece(offset, wanted)?;
        if first.length == wanted {
            return self.fill(first.place, offset, buf);
        }
        Request::new(self).read(offset, first, &mut [buf])
    }

    fn read_vectored_at(&self, offset: u64, bufs: &mut [&mut [u8]]) -> BlockResult<()> {
        let wanted = total_length(bufs);
        check_range(offset, wanted, self.size())?;
        if wanted == 0 {
            return Ok(());
        }
        let first = self.piece(offset, byte_count(wanted))?;
        if first.length == byte_count(wanted)
            && let Place::At(device, at) | Place::Stored(device, at) = first.place
            && device.read_vectored_at(at, bufs).is_ok()
        {
            return Ok(());
        }
        // Buffer by buffer where that failed, so that each can be rescued.
        let first = self.piece(offset, byte_count(wanted))?;
        Request::new(self).read(offset, first, bufs)
    }

    fn extent_at(&self, offset: u64) -> BlockResult<Extent> {
        check_range(offset, 1, self.size())?;
        let left = self.size().saturating_sub(offset);
        let first = self.piece(offset, left)?;
        let mut found = self.kind(&first, offset);
        if !is_known_data(&first.place) {
            return Ok(found);
        }
        for _ in 0..MAX_STEPS {
            let Some(at) = offset.checked_add(found.length) else { break };
            let Some(rest @ 1..) = left.checked_sub(found.length) else { break };
            // What cannot be told now is the answer of the next question.
            let Ok(next) = self.piece(at, rest) else { break };
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
        // Joined as a read joins them.
        let mut hint: Option<(&dyn BlockDevice, u64, u64)> = None;
        for _ in 0..MAX_HINTS {
            if left == 0 {
                break;
            }
            let Ok(piece) = self.piece(at, left) else { break };
            if let Place::At(device, from) | Place::Stored(device, from) = piece.place {
                let end = from.saturating_add(piece.length);
                hint = match hint {
                    Some((before, start, last))
                        if request::is_same(before, device) && last == from =>
                    {
                        Some((before, start, end))
                    }
                    Some((before, start, last)) => {
                        before.will_need(start, last.saturating_sub(start));
                        Some((device, from, end))
                    }
                    None => Some((device, from, end)),
                };
            }
            at = at.saturating_add(piece.length);
            left = left.saturating_sub(piece.length);
        }
        if let Some((device, start, end)) = hint {
            device.will_need(start, end.saturating_sub(start));
        }
    }
}

#[cfg(test)]
mod tests;
