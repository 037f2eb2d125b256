//! No two places of a disk are one place of the file.
//!
//! Where the tables of an image say so, at most one of the two is right, and nothing tells which. So
//! both are refused. What the tables say is noted when the image is opened, up to a bound, and the rest
//! when it is asked for.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::RwLock;
use volfold_block::{
    BlockDevice, BlockError, BlockResult, Extent, Finding, Map, Piece, Place, byte_count, code,
};

use crate::note::PartLog;

/// LIMIT: looks at the tables when an image is opened; each takes in up to 64 entries that go on.
const MAX_LOOKS: usize = 1 << 13;

/// Granules of a page.
const PAGE: usize = 512;

/// LIMIT: pages that a file may have; of what lies behind nothing is known.
const MAX_PAGES: usize = 1 << 17;

/// LIMIT: pages that are kept of these: 16 MiB, which are about 64 GiB in clusters of 64 KiB.
const MAX_KEPT: usize = 4096;

/// LIMIT: blocks that are known to be of several places; with more of them the whole file is.
const MAX_CONTESTED: usize = 1 << 12;

type Granules = [AtomicU64; PAGE];

/// A map whose pieces that are stored lie in one file, each in a place of its own.
pub(crate) struct Exclusive<M> {
    map: M,
    file: Arc<dyn BlockDevice>,
    log: PartLog,
    /// The size of a block; each begins at a multiple of it on the disk.
    block: u64,
    /// Bytes of the file that are noted together; every block has one to itself.
    granule: u64,
    pages: Box<[OnceLock<Box<Granules>>]>,
    kept: AtomicUsize,
    /// Where blocks begin and end in the file that have several places on the disk.
    contested: RwLock<Vec<(u64, u64)>>,
    has_contested: AtomicBool,
}

impl<M: Map> Exclusive<M> {
    /// The places that `map` gives in `file`, in blocks of `block` bytes; what is wrong goes to `log`.
    pub(crate) fn new(map: M, file: &Arc<dyn BlockDevice>, block: u64, log: PartLog) -> Self {
        // Wherever a block begins, half of its size fits into it between two multiples of that.
        let (block, granule) = (block.max(512), (block / 2).max(512));
        let pages = file.size().div_ceil(granule.saturating_mul(byte_count(PAGE)));
        let pages = usize::try_from(pages).unwrap_or(MAX_PAGES).min(MAX_PAGES);
        let pages = std::iter::repeat_with(OnceLock::new).take(pages).collect();
        let file = Arc::clone(file);
        let (contested, kept) = (RwLock::default(), AtomicUsize::new(0));
        let has_contested = AtomicBool::new(false);
        let whole = Self { map, file, log, block, granule, pages, kept, contested, has_contested };
        whole.look();
        whole
    }

    /// Notes what the tables say, from the begin of the disk on.
    fn look(&self) {
        let (size, mut offset) = (self.map.size(), 0);
        for _ in 0..MAX_LOOKS {
            let Some(left @ 1..) = size.checked_sub(offset) else { return };
            // What cannot be read tells so when it is asked for.
            let Ok(piece) = self.map.locate(offset, left) else { return };
            let length = piece.length.clamp(1, left);
            if let Some(at) = self.place_in_file(&piece.place) {
                self.contested(offset, at, length);
            }
            offset = offset.saturating_add(length);
        }
    }

    /// The position in the file, if `place` is one of it.
    fn place_in_file(&self, place: &Place<'_>) -> Option<u64> {
        match place {
            Place::Stored(device, at) | Place::At(device, at) => {
                let own = Arc::as_ptr(&self.file);
                std::ptr::addr_eq(std::ptr::from_ref(*device), own).then_some(*at)
            }
            _ => None,
        }
    }

    fn granule(&self, granule: u64) -> Option<&AtomicU64> {
        let granule = usize::try_from(granule).ok()?;
        let page = self.pages.get(granule / PAGE)?;
        if page.get().is_none() && self.kept.fetch_add(1, Ordering::Relaxed) >= MAX_KEPT {
            return None;
        }
        let page = page.get_or_init(|| Box::new(std::array::from_fn(|_| AtomicU64::new(0))));
        page.get(granule % PAGE)
    }

    /// Notes that the `length` bytes of the disk at `offset` are at `at` of the file. The first part of
    /// them that is of another place of the disk too, as its begin and its end within them.
    fn contested(&self, offset: u64, at: u64, length: u64) -> Option<(u64, u64)> {
        let end = at.saturating_add(length);
        // The same for all bytes of a block, and never 0.
        let own = offset.wrapping_sub(at).wrapping_add(1);
        let last = end.checked_div(self.granule).unwrap_or_default();
        for granule in at.div_ceil(self.granule)..last {
            let Some(place) = self.granule(granule).filter(|_| own != 0) else { break };
            let noted = place.compare_exchange(0, own, Ordering::Relaxed, Ordering::Relaxed);
            if let Err(other) = noted
                && other != own
            {
                let position = granule.saturating_mul(self.granule);
                self.contest([own, other], position);
            }
        }
        if !self.has_contested.load(Ordering::Acquire) {
            return None;
        }
        let all = self.contested.read();
        if all.len() >= MAX_CONTESTED {
            return Some((0, length));
        }
        let within = all.iter().filter(|(start, stop)| *start < end && *stop > at);
        let within = within
            .map(|(start, stop)| (start.saturating_sub(at), stop.saturating_sub(at).min(length)));
        within.min()
    }

    /// Notes that the byte at `position` of the file is in two blocks, each of which has `distances`
    /// from its place in the file to that on the disk, and one more.
    fn contest(&self, distances: [u64; 2], position: u64) {
        let mut all = self.contested.write();
        for distance in distances {
            let on_disk = position.wrapping_add(distance.wrapping_sub(1));
            let skip = on_disk.checked_rem(self.block).unwrap_or_default();
            let start = position.saturating_sub(skip);
            let block = (start, start.saturating_add(self.block));
            if all.len() < MAX_CONTESTED && !all.contains(&block) {
                all.push(block);
            }
        }
        drop(all);
        self.has_contested.store(true, Ordering::Release);
        let line =
            "its tables name one place of the file for several of the disk; these are errors";
        self.log.add(Finding::error(code::IMAGE_BLOCKS_OVERLAP, line));
    }
}

impl<M: Map> Map for Exclusive<M> {
    fn size(&self) -> u64 {
        self.map.size()
    }

    fn sector_size(&self) -> u32 {
        self.map.sector_size()
    }

    fn locate(&self, offset: u64, wanted: u64) -> BlockResult<Piece<'_>> {
        let piece = self.map.locate(offset, wanted)?;
        let Some(at) = self.place_in_file(&piece.place) else { return Ok(piece) };
        match self.contested(offset, at, piece.length) {
            None => Ok(piece),
            Some((0, until)) => {
                let line = "the tables name this place for another part of the disk too";
                let error = BlockError::corrupt(line, at, 0);
                Ok(Piece::new(Place::Fail(error), until.max(1)))
            }
            Some((from, _)) => Ok(Piece::new(piece.place, from)),
        }
    }

    fn unit_size(&self, unit: u64) -> usize {
        self.map.unit_size(unit)
    }

    fn decode(&self, unit: u64, out: &mut [u8]) -> BlockResult<()> {
        self.map.decode(unit, out)
    }

    fn decodes_slowly(&self) -> bool {
        self.map.decodes_slowly()
    }

    fn rescue(&self, offset: u64, buf: &mut [u8], error: BlockError) -> BlockResult<()> {
        self.map.rescue(offset, buf, error)
    }

    fn rescue_extent(&self, offset: u64) -> Option<Extent> {
        self.map.rescue_extent(offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use volfold_block::{BlockErrorKind, FindingLog, Mapped, MemoryDevice};

    /// Blocks of 1024 bytes, each at its place, of the file or of another one.
    struct Blocks {
        file: Arc<dyn BlockDevice>,
        other: MemoryDevice,
        places: Vec<u64>,
        is_other: bool,
    }

    impl Map for Blocks {
        fn size(&self) -> u64 {
            self.places.len() as u64 * 1024
        }

        fn locate(&self, offset: u64, _wanted: u64) -> BlockResult<Piece<'_>> {
            let skip = offset % 1024;
            let at = self.places[usize::try_from(offset / 1024).unwrap()] + skip;
            let place = match (self.is_other, offset / 1024 % 2) {
                (true, _) => Place::At(&self.other, at),
                (false, 0) => Place::At(&*self.file, at),
                (false, _) => Place::Stored(&*self.file, at),
            };
            Ok(Piece::new(place, 1024 - skip))
        }
    }

    /// Which of the blocks can be read, and how many findings there are.
    fn readable(places: &[u64], is_other: bool) -> (Vec<bool>, usize) {
        let file: Arc<dyn BlockDevice> = Arc::new(MemoryDevice::new(vec![7; 1 << 16]));
        let other = MemoryDevice::new(vec![8; 1 << 16]);
        let map = Blocks { file: Arc::clone(&file), other, places: places.to_vec(), is_other };
        let log = Arc::new(FindingLog::new());
        let disk = Mapped::new(Exclusive::new(map, &file, 1024, PartLog::new(&log, "")));
        let is_read = |block: usize| {
            let read = disk.read_at(block as u64 * 1024 + 1, &mut [0; 100]);
            assert!(read.as_ref().err().is_none_or(|it| it.kind() == BlockErrorKind::Corrupt));
            read.is_ok()
        };
        ((0..places.len()).map(is_read).collect(), log.all().len())
    }

    #[test]
    fn blocks_that_share_a_byte_are_errors_wherever_they_begin() {
        let all = |count| (vec![true; count], 0);
        assert_eq!(readable(&[0, 1024, 2048], false), all(3));
        assert_eq!(readable(&[5000, 100, 1124, 3000], false), all(4));
        let same = readable(&[100, 4096, 100, 8192], false);
        assert_eq!(same, (vec![false, true, false, true], 1));
        let partly = readable(&[4096, 0, 4096 + 512], false);
        assert!(!partly.0[0] && partly.0[1] && !partly.0[2], "{partly:?}");
        assert_eq!(readable(&[100, 100], true), all(2), "of another file nothing is known");
    }

    #[test]
    fn so_many_that_they_are_not_noted_are_errors_all_the_same() {
        let places: Vec<u64> = (0..12_000_u64).map(|block| block % 6000 * 1024).collect();
        let file: Arc<dyn BlockDevice> = Arc::new(MemoryDevice::new(vec![7; 6000 * 1024]));
        let other = MemoryDevice::new(vec![]);
        let map = Blocks { file: Arc::clone(&file), other, places, is_other: false };
        let log = PartLog::new(&Arc::new(FindingLog::new()), "");
        let disk = Mapped::new(Exclusive::new(map, &file, 1024, log));
        // Those past the looks are noted when they are read.
        for block in (0..12_000_u64).rev() {
            let _ = disk.read_at(block * 1024, &mut [0]);
        }
        for block in [0, 5999, 6000, 11_999] {
            assert!(disk.read_at(block * 1024, &mut [0]).is_err(), "{block}");
        }
    }
}
