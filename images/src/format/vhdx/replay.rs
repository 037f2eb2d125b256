//! A file as it is once its log is applied.

use std::collections::BTreeMap;
use std::sync::Arc;

use volfold_block::{
    BlockDevice, BlockError, BlockResult, Map, Piece, Place, byte_count, bytes_to_index,
};

use super::header::LogPlace;
use super::log::{Change, Log, MAX_DESCRIPTORS, SECTOR, Sequence, too_many};

/// A sector of the log that takes the place of one of the file.
struct Page {
    log_at: u64,
    leading: [u8; 8],
    trailing: [u8; 4],
}

/// What takes the place of bytes of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Patch {
    Zero,
    /// The page of this number.
    Page(u64),
}

/// The file with what the log changes. Nothing is written.
pub(super) struct Replayed {
    file: Arc<dyn BlockDevice>,
    place: LogPlace,
    size: u64,
    pages: Vec<Page>,
    /// By where they begin: where they end, and what they are. They do not overlap.
    patches: BTreeMap<u64, (u64, Patch)>,
}

impl Replayed {
    /// `file`, to which the entries of `sequence` of the log at `place` are applied.
    ///
    /// # Errors
    /// If the log cannot be read, or changes more than is kept.
    pub(super) fn new(
        file: Arc<dyn BlockDevice>,
        place: &LogPlace,
        sequence: &Sequence,
    ) -> BlockResult<Self> {
        let size = file.size().max(sequence.last_file_offset());
        let (pages, patches) = (Vec::new(), BTreeMap::new());
        let device = Arc::clone(&file);
        let mut replayed = Self { file, place: place.clone(), size, pages, patches };
        let log = Log::of(&*device, place);
        let mut left = MAX_DESCRIPTORS;
        for entry in &sequence.entries {
            log.changes(entry, &mut |change| {
                left = left.checked_sub(1).ok_or_else(too_many)?;
                match change {
                    Some(change) => replayed.apply(change),
                    None => {
                        let sentence = "VHDX log entry changed while it was read";
                        return Err(BlockError::corrupt(sentence, place.span.start(), 0));
                    }
                }
                Ok(())
            })?;
        }
        Ok(replayed)
    }

    fn apply(&mut self, change: Change) {
        let (start, length, patch) = match change {
            Change::Zero { at, length } => (at, length, Patch::Zero),
            Change::Data { at, log_at, leading, trailing } => {
                let number = byte_count(self.pages.len());
                self.pages.push(Page { log_at, leading, trailing });
                (at, SECTOR, Patch::Page(number))
            }
        };
        let end = start.saturating_add(length);
        if end == start {
            return;
        }
        self.size = self.size.max(end);
        // What begins before and reaches in keeps its ends.
        let before = self.patches.range(..start).next_back().map(|(at, patch)| (*at, *patch));
        if let Some((at, (last, old))) = before
            && last > start
        {
            self.patches.insert(at, (start, old));
            if last > end {
                self.patches.insert(end, (last, old));
            }
        }
        let inside: Vec<u64> = self.patches.range(start..end).map(|(at, _)| *at).collect();
        for at in inside {
            if let Some((last, old)) = self.patches.remove(&at)
                && last > end
            {
                self.patches.insert(end, (last, old));
            }
        }
        self.patches.insert(start, (end, patch));
    }
}

impl Map for Replayed {
    fn size(&self) -> u64 {
        self.size
    }

    fn locate(&self, offset: u64, _wanted: u64) -> BlockResult<Piece<'_>> {
        let before = self.patches.range(..=offset).next_back();
        if let Some((start, (end, patch))) = before
            && *end > offset
        {
            let place = match patch {
                Patch::Zero => Place::Zero,
                // Patches of pages are whole: they begin and end at sectors.
                Patch::Page(unit) => {
                    Place::Decode { unit: *unit, skip: offset.saturating_sub(*start) }
                }
            };
            return Ok(Piece::new(place, end.saturating_sub(offset)));
        }
        let next = self.patches.range(offset..).next().map_or(self.size, |(start, _)| *start);
        let left = next.min(self.size).saturating_sub(offset);
        Ok(match self.file.size().checked_sub(offset) {
            Some(there @ 1..) => Piece::new(Place::At(&*self.file, offset), left.min(there)),
            // The file grows as far as the log says.
            _ => Piece::new(Place::Zero, left),
        })
    }

    fn unit_size(&self, _unit: u64) -> usize {
        usize::try_from(SECTOR).unwrap_or(0)
    }

    fn decode(&self, unit: u64, out: &mut [u8]) -> BlockResult<()> {
        let page = self.pages.get(bytes_to_index(unit)?);
        let Some(page) = page else {
            return Err(BlockError::corrupt("VHDX log has no such page", unit, 0));
        };
        Log::of(&*self.file, &self.place).read(page.log_at, out)?;
        if let Some(first) = out.first_chunk_mut() {
            *first = page.leading;
        }
        if let Some(last) = out.last_chunk_mut() {
            *last = page.trailing;
        }
        Ok(())
    }
}
