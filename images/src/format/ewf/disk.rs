//! The disk: chunks that are inflated or copied, and checked, when they are read.
//!
//! A chunk is a zlib stream, which has a checksum of its own, or it is stored with an Adler-32 past it.
//! So no chunk is given out unchecked, and one that is damaged is an error of its own bytes alone.

use std::sync::OnceLock;

use volfold_block::{
    BlockDevice, BlockError, BlockErrorKind, BlockResult, Finding, Map, Piece, Place,
    bytes_to_index, code,
};

use super::checksum::Adler32;
use super::segment::Segment;
use super::shape::Shape;
use super::table::Table;
use crate::deflate::{Form, inflate};
use crate::note::PartLog;
use crate::packed::with_bytes;
use crate::table::Tables;

/// Chunks that one table is about.
pub(super) struct Group {
    /// The number of the first one.
    pub(super) first: u64,
    pub(super) count: u64,
    /// The index of the file that it is in.
    pub(super) segment: usize,
    /// The table, then its copy; none if they are lost.
    pub(super) tables: Vec<Table>,
    pub(super) state: OnceLock<State>,
}

/// What checking the tables of a group told.
#[derive(Clone, Copy, Debug)]
pub(super) enum State {
    /// The table to use, and the entry from which on they have 32 bits of offset.
    Good(Table, u64),
    /// None can be used.
    Lost,
}

/// The virtual disk.
pub(super) struct EwfDisk {
    pub(super) segments: Vec<Segment>,
    /// Of each segment.
    pub(super) tables: Vec<Tables>,
    pub(super) shape: Shape,
    /// INVARIANT: sorted by the first chunk, without overlaps.
    pub(super) groups: Vec<Group>,
    pub(super) log: PartLog,
}

impl EwfDisk {
    /// The number of the chunk that the byte at `offset` is in, and how many bytes of it come before.
    fn chunk_of(&self, offset: u64) -> (u64, u64) {
        let size = self.shape.chunk_size;
        let number = offset.checked_div(size).unwrap_or_default();
        (number, offset.checked_rem(size).unwrap_or_default())
    }

    /// The group with chunk `number`, or the number of the first one that is in a group again.
    fn group(&self, number: u64) -> Result<&Group, u64> {
        let after = self.groups.partition_point(|group| group.first <= number);
        let group = after.checked_sub(1).and_then(|index| self.groups.get(index));
        match group.filter(|group| number.saturating_sub(group.first) < group.count) {
            Some(group) => Ok(group),
            None => Err(self.groups.get(after).map_or(u64::MAX, |group| group.first)),
        }
    }

    /// The file that `group` is in.
    fn segment(&self, group: &Group) -> BlockResult<(&Segment, &Tables)> {
        let found = self.segments.get(group.segment).zip(self.tables.get(group.segment));
        found.ok_or_else(|| BlockError::new(BlockErrorKind::Internal, "segment is not open"))
    }

    /// Which table of `group` is used; it is checked the first time.
    ///
    /// # Errors
    /// If the tables cannot be read.
    fn state(&self, group: &Group) -> BlockResult<State> {
        if let Some(state) = group.state.get() {
            return Ok(*state);
        }
        let (segment, _) = self.segment(group)?;
        let mut state = State::Lost;
        for (index, table) in group.tables.iter().enumerate() {
            match table.check(&*segment.device) {
                Ok(long) => {
                    if index > 0 {
                        let line = "a table of chunks is damaged; its copy is used";
                        self.note(segment, Finding::warning(code::EWF_COPY_USED, line));
                    }
                    state = State::Good(*table, long);
                    break;
                }
                Err(error) if error.kind() == BlockErrorKind::Corrupt => {}
                Err(error) => return Err(error),
            }
        }
        if matches!(state, State::Lost) && !group.tables.is_empty() {
            let line = lost_sentence(group, self.shape.chunk_size);
            self.note(segment, Finding::error(code::EWF_TABLE_LOST, line));
        }
        Ok(*group.state.get_or_init(|| state))
    }

    fn note(&self, segment: &Segment, finding: Finding) {
        self.log.add(match self.segments.len() {
            0 | 1 => finding,
            _ => finding.within(&format!("segment {}", segment.name)),
        });
    }

    /// `error`, led by the name of the file if there are several.
    fn within(&self, segment: &Segment, error: BlockError) -> BlockError {
        match self.segments.len() {
            0 | 1 => error,
            _ => error.within(&format!("segment {}", segment.name)),
        }
    }

    fn read_chunk(&self, number: u64, out: &mut [u8]) -> BlockResult<()> {
        let lost = || BlockError::new(BlockErrorKind::Corrupt, "chunk has no table");
        let group = self.group(number).map_err(|_| lost())?;
        let (segment, tables) = self.segment(group)?;
        let State::Good(table, long) = self.state(group)? else { return Err(lost()) };
        let index = number.saturating_sub(group.first);
        let mut read = || {
            let chunk = table.chunk(tables, long, index)?;
            let at = chunk.place.start();
            let file = &*segment.device;
            if !chunk.is_compressed {
                return read_stored(file, at, chunk.place.length(), number, out);
            }
            // LIMIT: what does not shrink is stored; SMART packs it anyway, which adds little.
            let most = self.shape.chunk_size.saturating_mul(2).saturating_add(4096);
            with_bytes(file, at, chunk.place.length().min(most), |packed| {
                inflate(Form::Zlib, packed, out).map_err(|broken| {
                    let sentence = format!("chunk {number} {}", broken.words());
                    BlockError::corrupt(sentence, at, 0)
                })
            })
        };
        read().map_err(|error| self.within(segment, error))
    }
}

/// Fills `out` with the chunk that is stored in `length` bytes at `at`.
fn read_stored(
    file: &dyn BlockDevice,
    at: u64,
    length: u64,
    number: u64,
    out: &mut [u8],
) -> BlockResult<()> {
    let needed = out.len().saturating_add(4);
    if bytes_to_index(length)? < needed {
        let sentence = format!("chunk {number} is cut short");
        return Err(BlockError::corrupt(sentence, at, 0));
    }
    let mut sum = [0; 4];
    file.read_vectored_at(at, &mut [&mut *out, &mut sum])?;
    if u32::from_le_bytes(sum) != Adler32::of(out) {
        let sentence = format!("chunk {number} has a bad checksum");
        return Err(BlockError::corrupt(sentence, at, 0));
    }
    Ok(())
}

/// That `group` is lost.
pub(super) fn lost_sentence(group: &Group, chunk_size: u64) -> String {
    let start = group.first.saturating_mul(chunk_size);
    let size = group.count.saturating_mul(chunk_size);
    format!(
        "a table of chunks and its copy are damaged: {size} bytes of the disk from byte {start} on \
         are errors"
    )
}

impl Map for EwfDisk {
    fn size(&self) -> u64 {
        self.shape.size
    }

    fn sector_size(&self) -> u32 {
        if self.shape.sector_size == 4096 { 4096 } else { 512 }
    }

    fn locate(&self, offset: u64, _wanted: u64) -> BlockResult<Piece<'_>> {
        let (number, skip) = self.chunk_of(offset);
        let size = self.shape.chunk_size;
        let fail = |next: u64| {
            let sentence = "the image has no table of chunks that can be used for this place";
            let length = next.saturating_mul(size).min(self.shape.size).saturating_sub(offset);
            Piece::new(Place::Fail(BlockError::new(BlockErrorKind::Corrupt, sentence)), length)
        };
        let group = match self.group(number) {
            Ok(group) => group,
            Err(next) => return Ok(fail(next)),
        };
        if matches!(self.state(group)?, State::Lost) {
            return Ok(fail(group.first.saturating_add(group.count)));
        }
        let left = self.shape.size.saturating_sub(offset);
        let length = size.saturating_sub(skip).min(left);
        Ok(Piece::new(Place::Decode { unit: number, skip }, length))
    }

    fn unit_size(&self, unit: u64) -> usize {
        let start = unit.saturating_mul(self.shape.chunk_size);
        let size = self.shape.size.saturating_sub(start).min(self.shape.chunk_size);
        // A chunk has at most 25 bits.
        usize::try_from(size).unwrap_or(0)
    }

    fn decode(&self, unit: u64, out: &mut [u8]) -> BlockResult<()> {
        self.read_chunk(unit, out)
    }

    fn decodes_slowly(&self) -> bool {
        true
    }
}
