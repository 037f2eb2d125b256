//! One request that lies in several pieces.

use smallvec::SmallVec;

use super::place::{Map, Piece, Place, piece};
use super::units::{self, Units};
use crate::bytes::{byte_count, bytes_to_index};
use crate::device::{BlockDevice, total_length};
use crate::error::{BlockError, BlockResult};

/// LIMIT: runs that a piece may still join, so that a request of many pieces is not compared with
/// each other; more columns than a stripe has.
const MAX_OPEN_RUNS: usize = 64;

/// Bytes of a request that lie together, and where they go.
struct Part<'b> {
    /// The offset in the device that was asked.
    offset: u64,
    buf: &'b mut [u8],
}

/// Bytes of one device that lie together, though the request may want them in several places.
struct Run<'a, 'b> {
    device: &'a (dyn BlockDevice + 'a),
    at: u64,
    end: u64,
    parts: SmallVec<[Part<'b>; 1]>,
}

/// A part of a unit.
struct UnitPart<'b> {
    unit: u64,
    skip: u64,
    buf: &'b mut [u8],
}

/// What has to be read for one request: nothing is read before it is known that all can be.
struct Request<'a, 'b> {
    runs: SmallVec<[Run<'a, 'b>; 4]>,
    units: SmallVec<[UnitPart<'b>; 1]>,
}

/// A map, and the units of it that are kept.
pub(super) struct Reader<'a, M> {
    pub(super) map: &'a M,
    pub(super) units: Option<&'a Units<M>>,
}

/// Whether both are one device.
pub(super) fn is_same(a: &dyn BlockDevice, b: &dyn BlockDevice) -> bool {
    std::ptr::addr_eq(a, b)
}

/// Where the byte after `length` bytes at `place` would be if the next piece went on there.
fn goes_on(place: &Place<'_>, length: u64, next: &Place<'_>) -> bool {
    match (place, next) {
        (
            Place::At(before, at) | Place::Stored(before, at),
            Place::At(after, next) | Place::Stored(after, next),
        ) => is_same(*before, *after) && at.checked_add(length) == Some(*next),
        (Place::Zero, Place::Zero) => true,
        _ => false,
    }
}

impl<'a, 'b> Request<'a, 'b> {
    /// Notes `part`, which lies `skip` bytes past `place`.
    fn add(&mut self, place: &mut Place<'a>, skip: u64, part: Part<'b>) -> BlockResult<()> {
        match place {
            Place::Zero => part.buf.fill(0),
            Place::Fail(error) => {
                let empty = BlockError::missing("");
                return Err(std::mem::replace(error, empty));
            }
            Place::Decode { unit, skip: before } => {
                let skip = before.saturating_add(skip);
                self.units.push(UnitPart { unit: *unit, skip, buf: part.buf });
            }
            Place::At(device, at) | Place::Stored(device, at) => {
                let length = byte_count(part.buf.len());
                let wraps = || BlockError::out_of_range(*at, length, device.size());
                let at = at.checked_add(skip).ok_or_else(wraps)?;
                let end = at.checked_add(length).ok_or_else(wraps)?;
                let mut runs = self.runs.iter_mut().rev().take(MAX_OPEN_RUNS);
                match runs.find(|run| run.end == at && is_same(run.device, *device)) {
                    Some(run) => {
                        run.parts.push(part);
                        run.end = end;
                    }
                    None => {
                        let parts = SmallVec::from_iter([part]);
                        self.runs.push(Run { device: *device, at, end, parts });
                    }
                }
            }
        }
        Ok(())
    }
}

impl<'a, M: Map> Reader<'a, M> {
    /// Fills `buf` with bytes that lie in one piece at `place`.
    pub(super) fn fill(&self, place: Place<'_>, offset: u64, buf: &mut [u8]) -> BlockResult<()> {
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
        match self.units {
            Some(kept) => units::copy(&kept.get(unit)?, skip, buf),
            None if skip == 0 && buf.len() == self.map.unit_size(unit) => {
                self.map.decode(unit, buf)
            }
            None => units::copy(&units::decoded(self.map, unit)?, skip, buf),
        }
    }

    /// Fills `bufs` one after the other from `offset`, where `first` is the piece.
    pub(super) fn read(
        &self,
        offset: u64,
        first: Piece<'a>,
        bufs: &mut [&mut [u8]],
    ) -> BlockResult<()> {
        let mut request = Request { runs: SmallVec::new(), units: SmallVec::new() };
        let mut left = byte_count(total_length(bufs));
        let mut bufs = bufs.iter_mut().map(|buf| &mut **buf);
        let mut buf: &mut [u8] = &mut [];
        let (mut found, mut at) = (first, offset);
        loop {
            // Neighbours become one piece.
            let mut next = None;
            while found.length < left {
                let start = at.saturating_add(found.length);
                let after = piece(self.map, start, left.saturating_sub(found.length))?;
                if !goes_on(&found.place, found.length, &after.place) {
                    next = Some(after);
                    break;
                }
                found.length = found.length.saturating_add(after.length);
            }
            left = left.saturating_sub(found.length);
            let mut skip: u64 = 0;
            while skip < found.length {
                while buf.is_empty() {
                    let Some(more) = bufs.next() else { break };
                    buf = more;
                }
                let count = found.length.saturating_sub(skip).min(byte_count(buf.len()));
                let Some(part) = buf.split_off_mut(..bytes_to_index(count)?) else { break };
                if part.is_empty() {
                    break;
                }
                request.add(
                    &mut found.place,
                    skip,
                    Part { offset: at.saturating_add(skip), buf: part },
                )?;
                skip = skip.saturating_add(count);
            }
            at = at.saturating_add(found.length);
            match next {
                Some(next) => found = next,
                None => break,
            }
        }
        self.finish(request)
    }

    /// Reads what `request` noted.
    fn finish(&self, mut request: Request<'_, '_>) -> BlockResult<()> {
        let ahead = self.units.map(|units| {
            let numbers: Vec<u64> = request.units.iter().map(|part| part.unit).collect();
            units.ahead(numbers)
        });
        for run in &mut request.runs {
            self.read_run(run)?;
        }
        for (index, part) in request.units.iter_mut().enumerate() {
            match ahead.as_ref().and_then(|ahead| ahead.take(index)) {
                Some(unit) => units::copy(&unit, part.skip, part.buf)?,
                None => self.read_unit(part.unit, part.skip, part.buf)?,
            }
        }
        Ok(())
    }

    /// Reads a run at once; where that fails, piece by piece, so that each can be rescued.
    fn read_run(&self, run: &mut Run<'_, '_>) -> BlockResult<()> {
        let done = match run.parts.as_mut_slice() {
            [only] => run.device.read_at(run.at, only.buf),
            parts => {
                let mut bufs: SmallVec<[&mut [u8]; 16]> =
                    parts.iter_mut().map(|part| &mut *part.buf).collect();
                run.device.read_vectored_at(run.at, &mut bufs)
            }
        };
        if done.is_ok() {
            return Ok(());
        }
        for part in &mut run.parts {
            let (mut at, mut rest) = (part.offset, &mut *part.buf);
            while !rest.is_empty() {
                let found = piece(self.map, at, byte_count(rest.len()))?;
                let Some(buf) = rest.split_off_mut(..bytes_to_index(found.length)?) else { break };
                self.fill(found.place, at, buf)?;
                at = at.saturating_add(found.length);
            }
        }
        Ok(())
    }
}
