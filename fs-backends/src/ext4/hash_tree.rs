//! Finding one name in a large directory by its hash.
//!
//! Specification: kernel documentation, "ext4 Data Structures and Algorithms", chapter "Hash Tree
//! Directories". Little-endian. Block 0 of the directory has, after `.` and `..`:
//!
//! | offset | size | field             | rule                                                  |
//! |--------|------|-------------------|-------------------------------------------------------|
//! | 0x18   | 4    | `reserved`        | 0                                                     |
//! | 0x1C   | 1    | `hash_version`    | see [`super::dir_hash`]                               |
//! | 0x1D   | 1    | `info_length`     | 8                                                     |
//! | 0x1E   | 1    | `indirect_levels` | 0 or 1; with large_dir 2                              |
//! | 0x1F   | 1    | `unused_flags`    | bit 0 is not set                                      |
//! | 0x20   |      | entries           | as many as `limit`                                    |
//!
//! The entries of every other interior block begin at 0x08. An entry is the lowest hash below it and
//! the number of a block of the directory, 4 bytes each; in the place of the first hash are the number
//! of entries that have room (`limit`) and that there are (`count`), 2 bytes each. The lowest bit of a
//! hash says that names with that hash are in the block before as well.

use std::ops::ControlFlow;

use zerocopy::FromBytes;

use super::dir::{Directory, Found};
use super::dir_block::{
    INTERIOR_ENTRY, NODE_COUNTS_AT, ROOT_COUNTS_AT, RawCounts, interior_counts,
};
use super::dir_hash::Version;
use super::features::{Incompat, RoCompat};
use crate::error::{FsError, FsErrorKind, FsResult};

const INFO_AT: usize = 0x18;
/// LIMIT: blocks of names with one hash that are looked at.
const MAX_SAME: u32 = 1024;
const BLOCK_MASK: u32 = 0x0FFF_FFFF;

/// What a hash tree says of a name.
#[derive(Debug)]
pub(super) enum Answer {
    Found(Found),
    /// No name that was looked for has a place in it.
    Absent,
    /// It is hashed with a key that is not known.
    Keyed,
    /// It is damaged, or made in a way that is not known.
    Damaged,
}

/// Whether the name in an entry is the one that is looked for.
pub(super) type Matches<'m> = dyn Fn(&[u8]) -> bool + 'm;

/// Where in `directory` the name is that `matches`; `hashed` is what its hash is made of.
///
/// # Errors
/// If the host cannot read.
pub(super) fn find(
    directory: &Directory<'_>,
    hashed: &[u8],
    matches: &Matches<'_>,
) -> FsResult<Answer> {
    let mut root = directory.volume().block_buffer()?;
    let mut search = Search { directory, path: Vec::new(), leaf: Vec::new() };
    match search.run(&mut root, hashed, matches) {
        Ok(answer) => Ok(answer),
        Err(Stop::Damaged) => Ok(Answer::Damaged),
        Err(Stop::Keyed) => Ok(Answer::Keyed),
        Err(Stop::Failed(error)) if error.kind() == FsErrorKind::Io => Err(error),
        Err(Stop::Failed(_)) => Ok(Answer::Damaged),
    }
}

/// Why a search ends without an answer.
enum Stop {
    Damaged,
    Keyed,
    Failed(FsError),
}

impl From<FsError> for Stop {
    fn from(error: FsError) -> Self {
        Self::Failed(error)
    }
}

/// An interior block, and the entry that was taken.
struct Level {
    block: Vec<u8>,
    counts_at: usize,
    count: usize,
    taken: usize,
}

impl Level {
    /// `None` if its counts are not those that its kind of block has.
    fn new(directory: &Directory<'_>, block: Vec<u8>, counts_at: usize) -> Option<Self> {
        let has_sum = directory.volume().superblock.features.ro_compat(RoCompat::METADATA_CSUM);
        let room = block.len().checked_sub(counts_at)?.checked_div(INTERIOR_ENTRY)?;
        let room = room.saturating_sub(usize::from(has_sum));
        let (counts, _) = RawCounts::ref_from_prefix(block.get(counts_at..)?).ok()?;
        let (limit, count) = (usize::from(counts.limit.get()), usize::from(counts.count.get()));
        let is_sound = limit == room && (1..=limit).contains(&count);
        is_sound.then_some(Self { block, counts_at, count, taken: 0 })
    }

    /// Hash and block number of an entry; the hash of the first one is no hash.
    fn entry(&self, index: usize) -> Option<(u32, u32)> {
        let at = index.checked_mul(INTERIOR_ENTRY)?.checked_add(self.counts_at)?;
        let (hash, rest) = self.block.get(at..)?.split_first_chunk()?;
        let number = u32::from_le_bytes(*rest.first_chunk()?);
        Some((u32::from_le_bytes(*hash), number & BLOCK_MASK))
    }

    /// Takes the last entry whose hash is not above `hash`.
    fn take(&mut self, hash: u32) {
        let (mut low, mut high) = (1, self.count);
        while low < high {
            let middle = low.midpoint(high);
            match self.entry(middle) {
                Some((first, _)) if first <= hash => low = middle.saturating_add(1),
                _ => high = middle,
            }
        }
        self.taken = low.saturating_sub(1);
    }
}

struct Search<'d> {
    directory: &'d Directory<'d>,
    /// From the root to the lowest interior block.
    path: Vec<Level>,
    leaf: Vec<u8>,
}

impl Search<'_> {
    fn run(
        &mut self,
        root: &mut [u8],
        hashed: &[u8],
        matches: &Matches<'_>,
    ) -> Result<Answer, Stop> {
        let (depth, version) = self.read_root(root)?;
        let hash = match version {
            Version::Known(hasher) => hasher.hash(hashed),
            Version::Keyed => return Err(Stop::Keyed),
            Version::Unknown => return Err(Stop::Damaged),
        };
        self.leaf = self.directory.volume().block_buffer()?;
        self.descend(depth, hash)?;
        for _ in 0..MAX_SAME {
            if let Some(found) = self.look(matches)? {
                return Ok(Answer::Found(found));
            }
            if !self.next(depth, hash)? {
                return Ok(Answer::Absent);
            }
        }
        Err(Stop::Damaged)
    }

    /// Reads the root, and gives how many levels are below it and how names are hashed.
    fn read_root(&mut self, block: &mut [u8]) -> Result<(usize, Version), Stop> {
        self.directory.read_block(0, block)?;
        let superblock = &self.directory.volume().superblock;
        let levels = if superblock.features.incompat(Incompat::LARGEDIR) { 3 } else { 2 };
        let info = block.get(INFO_AT..).and_then(<[u8]>::first_chunk::<8>);
        let Some(&[0, 0, 0, 0, version, 8, depth, flags]) = info else {
            return Err(Stop::Damaged);
        };
        let is_root = interior_counts(block) == Some(ROOT_COUNTS_AT);
        if !is_root || depth >= levels || flags & 1 != 0 {
            return Err(Stop::Damaged);
        }
        let version = Version::of(superblock, version);
        let root = Level::new(self.directory, block.to_vec(), ROOT_COUNTS_AT);
        self.path.push(root.ok_or(Stop::Damaged)?);
        Ok((usize::from(depth), version))
    }

    /// Goes down from the last level of the path until it is `depth` blocks below the root, by `hash`.
    fn descend(&mut self, depth: usize, hash: u32) -> Result<(), Stop> {
        loop {
            let level = self.path.last_mut().ok_or(Stop::Damaged)?;
            level.take(hash);
            if self.path.len() > depth {
                return Ok(());
            }
            let number = self.taken()?;
            let mut block = self.directory.volume().block_buffer()?;
            self.directory.read_block(u64::from(number), &mut block)?;
            if interior_counts(&block) != Some(NODE_COUNTS_AT) {
                return Err(Stop::Damaged);
            }
            let level = Level::new(self.directory, block, NODE_COUNTS_AT);
            self.path.push(level.ok_or(Stop::Damaged)?);
        }
    }

    /// The block number of the entry that the last level took.
    fn taken(&self) -> Result<u32, Stop> {
        let level = self.path.last().ok_or(Stop::Damaged)?;
        let entry = level.entry(level.taken);
        entry.map(|(_, number)| number).filter(|number| *number != 0).ok_or(Stop::Damaged)
    }

    /// Looks for the name in the leaf that the path leads to.
    fn look(&mut self, matches: &Matches<'_>) -> Result<Option<Found>, Stop> {
        let number = u64::from(self.taken()?);
        self.directory.read_block(number, &mut self.leaf)?;
        if interior_counts(&self.leaf).is_some_and(|at| self.is_interior(at)) {
            return Err(Stop::Damaged);
        }
        let mut found = None;
        let is_whole = self.directory.visit_block(number, &self.leaf, &mut |entry| {
            if !matches(entry.name) {
                return Ok(ControlFlow::Continue(()));
            }
            found = Some(Found::of(entry));
            Ok(ControlFlow::Break(()))
        })?;
        if found.is_none() && !is_whole { Err(Stop::Damaged) } else { Ok(found) }
    }

    /// Whether a leaf that has no names is an interior block, and not one that is empty.
    fn is_interior(&self, counts_at: usize) -> bool {
        let counts = self.leaf.get(counts_at..).map(RawCounts::ref_from_prefix);
        matches!(counts, Some(Ok((counts, _))) if counts.limit.get() != 0)
            && Level::new(self.directory, self.leaf.clone(), counts_at).is_some()
    }

    /// Goes on to the next leaf, and says whether names with `hash` may be in it.
    fn next(&mut self, depth: usize, hash: u32) -> Result<bool, Stop> {
        while let Some(mut level) = self.path.pop() {
            let later = level.taken.saturating_add(1);
            if later >= level.count {
                continue;
            }
            let (first, _) = level.entry(later).ok_or(Stop::Damaged)?;
            if first & !1 != hash {
                return Ok(false);
            }
            level.taken = later;
            self.path.push(level);
            return self.leftmost(depth).map(|()| true);
        }
        Ok(false)
    }

    /// Goes down to the first leaf below the entry that the last level took.
    fn leftmost(&mut self, depth: usize) -> Result<(), Stop> {
        while self.path.len() <= depth {
            let number = self.taken()?;
            let mut block = self.directory.volume().block_buffer()?;
            self.directory.read_block(u64::from(number), &mut block)?;
            let level = Level::new(self.directory, block, NODE_COUNTS_AT);
            self.path.push(level.ok_or(Stop::Damaged)?);
        }
        Ok(())
    }
}
