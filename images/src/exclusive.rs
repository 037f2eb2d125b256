//! No two places of a disk are one place of the file.
//!
//! Where the tables of an image say so, at most one of the two is right, and nothing tells which. So
//! both are refused. What a look at the tables takes in is noted when the image is opened, up to a bound,
//! and the rest when it is read.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use parking_lot::RwLock;
use volfold_block::{BlockError, BlockResult, Extent, Finding, Map, Piece, Place, code};

use crate::note::PartLog;

/// LIMIT: looks at the tables when an image is opened.
const MAX_LOOKS: usize = 1 << 15;

/// LIMIT: granules of a file that are noted, 8 bytes each; of what lies behind nothing is known.
const MAX_GRANULES: u64 = 1 << 26;

/// LIMIT: pages of them that are kept: 16 MiB.
const MAX_PAGES: usize = 4096;

/// Granules of a page.
const PAGE: usize = 512;

/// LIMIT: blocks that are known to be of several places; with more of them the whole file is.
const MAX_CONTESTED: usize = 1 << 16;

type Granules = [AtomicU64; PAGE];

/// A map whose stored pieces lie in one file, each in a place of its own.
pub(crate) struct Exclusive<M> {
    map: M,
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
    /// The places that `map` gives, in blocks of `block` bytes, in a file of `file_size` bytes; what is
    /// wrong goes to `log`.
    pub(crate) fn new(map: M, file_size: u64, block: u64, log: PartLog) -> Self {
        // Wherever a block begins, half of its size fits into it between two multiples of that.
        let (block, granule) = (block.max(512), (block / 2).max(512));
        let granules = file_size.div_ceil(granule).min(MAX_GRANULES);
        let pages = usize::try_from(granules.div_ceil(512)).unwrap_or_default();
        let pages = std::iter::repeat_with(OnceLock::new).take(pages).collect();
        let (contested, kept) = (RwLock::default(), AtomicUsize::new(0));
        let has_contested = AtomicBool::new(false);
        let whole = Self { map, log, block, granule, pages, kept, contested, has_contested };
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
            if let Place::Stored(_, at) = piece.place {
                self.contested(offset, at, length);
            }
            offset = offset.saturating_add(length);
        }
    }

    fn place(&self, granule: u64) -> Option<&AtomicU64> {
        let granule = usize::try_from(granule).ok()?;
        let page = self.pages.get(granule / PAGE)?;
        if page.get().is_none() && self.kept.fetch_add(1, Ordering::Relaxed) >= MAX_PAGES {
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
            let Some(place) = self.place(granule).filter(|_| own != 0) else { break };
            let known = place.compare_exchange(0, own, Ordering::Relaxed, Ordering::Relaxed);
            if known.is_err_and(|known| known != own) {
                self.contest(offset, at, granule.saturating_mul(self.granule));
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

    /// Notes that the block at `position` of the file, which the disk has at the place that begins at
    /// `offset` of it and `at` of the file, has another place too.
    fn contest(&self, offset: u64, at: u64, position: u64) {
        let on_disk = offset.saturating_add(position.saturating_sub(at));
        let skip = on_disk.checked_rem(self.block).unwrap_or_default();
        let start = position.saturating_sub(skip);
        let block = (start, start.saturating_add(self.block));
        let mut all = self.contested.write();
        if all.len() < MAX_CONTESTED && !all.contains(&block) {
            all.push(block);
        }
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
        let Place::Stored(_, at) = piece.place else { return Ok(piece) };
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
