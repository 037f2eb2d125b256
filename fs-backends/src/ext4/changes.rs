//! What fast commits have changed: inodes, ranges of blocks and names, over those on the volume.
//!
//! Linux writes these changes into inodes, extent trees and directories when it mounts. Here they
//! are kept beside them, and looked at first.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Range;

/// All that was changed.
#[derive(Debug, Default)]
pub(super) struct Changes {
    pub(super) inodes: HashMap<u32, ChangedInode>,
    pub(super) ranges: HashMap<u32, ChangedRanges>,
    pub(super) directories: HashMap<u32, ChangedDirectory>,
}

/// An inode as it is now.
#[derive(Clone, Debug, Default)]
pub(super) struct ChangedInode {
    /// As many as an inode has; the checksum is that of its old self.
    pub(super) bytes: Vec<u8>,
    /// The bytes of content that it was given.
    pub(super) added: u64,
}

/// Where blocks of a file are now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// In the blocks of the file system from this one on.
    At(u64),
    /// Reserved and never written.
    Unwritten,
    /// Nowhere.
    Hole,
}

impl Place {
    fn skip(self, blocks: u64) -> Self {
        match self {
            Self::At(first) => Self::At(first.saturating_add(blocks)),
            other => other,
        }
    }
}

/// Ranges of blocks of a file that were mapped anew, by their first block; they are apart.
#[derive(Clone, Debug, Default)]
pub(super) struct ChangedRanges(BTreeMap<u64, (u64, Place)>);

/// Names that were added to a directory, and names that are gone from it.
#[derive(Debug, Default)]
pub(super) struct ChangedDirectory {
    /// Whether there is nothing on the volume yet.
    pub(super) is_new: bool,
    /// Names on the volume that do not count.
    pub(super) removed: HashSet<Vec<u8>>,
    /// Names that are not on the volume, and their inodes.
    pub(super) added: Vec<(Vec<u8>, u32)>,
}

impl Changes {
    /// The inode `number`, if it was changed.
    pub(super) fn inode(&self, number: u32) -> Option<&ChangedInode> {
        self.inodes.get(&number)
    }

    /// The numbers of all inodes that were changed, in order.
    pub(super) fn inode_numbers(&self) -> Vec<u32> {
        let mut numbers: Vec<u32> = self.inodes.keys().copied().collect();
        numbers.sort_unstable();
        numbers
    }

    /// The ranges of the inode `number`, if any were changed.
    pub(super) fn ranges(&self, number: u32) -> Option<&ChangedRanges> {
        self.ranges.get(&number)
    }

    /// The names in the directory `number`, if any were changed.
    pub(super) fn directory(&self, number: u32) -> Option<&ChangedDirectory> {
        self.directories.get(&number)
    }

    /// Whether nothing was changed.
    pub(super) fn is_empty(&self) -> bool {
        self.inodes.is_empty() && self.ranges.is_empty() && self.directories.is_empty()
    }
}

impl ChangedRanges {
    /// From now on the blocks `range` of the file are at `place`.
    pub(super) fn set(&mut self, range: Range<u64>, place: Place) {
        if range.is_empty() {
            return;
        }
        let before = self.0.range(..range.start).next_back();
        let before = before.map(|(&start, &(end, place))| (start, end, place));
        if let Some((start, end, old)) = before.filter(|(_, end, _)| *end > range.start) {
            self.0.insert(start, (range.start, old));
            self.rest(start..end, old, range.end);
        }
        while let Some((&start, &(end, old))) = self.0.range(range.clone()).next() {
            self.0.remove(&start);
            self.rest(start..end, old, range.end);
        }
        self.0.insert(range.start, (range.end, place));
    }

    /// Keeps what of an old range lies from `from` on.
    fn rest(&mut self, old: Range<u64>, place: Place, from: u64) {
        if old.end > from {
            let skipped = from.saturating_sub(old.start);
            self.0.insert(from, (old.end, place.skip(skipped)));
        }
    }

    /// How many blocks are mapped and were written.
    pub(super) fn blocks(&self) -> u64 {
        let written = self.0.iter().filter(|(_, (_, place))| matches!(place, Place::At(_)));
        written
            .fold(0, |sum: u64, (start, (end, _))| sum.saturating_add(end.saturating_sub(*start)))
    }

    /// All ranges and their places, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Range<u64>, Place)> {
        self.0.iter().map(|(&start, &(end, place))| (start..end, place))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(ranges: &[(Range<u64>, Place)]) -> Vec<(u64, u64, Place)> {
        let mut all = ChangedRanges::default();
        for (range, place) in ranges {
            all.set(range.clone(), *place);
        }
        all.iter().map(|(range, place)| (range.start, range.end, place)).collect()
    }

    #[test]
    fn a_later_range_takes_the_place_of_what_it_covers() {
        use Place::{At, Hole, Unwritten};
        assert_eq!(
            set(&[(0..10, At(100)), (3..5, Hole)]),
            [(0, 3, At(100)), (3, 5, Hole), (5, 10, At(105))]
        );
        assert_eq!(
            set(&[(5..10, At(100)), (12..14, Unwritten), (7..13, At(7)), (0..0, Hole)]),
            [(5, 7, At(100)), (7, 13, At(7)), (13, 14, Unwritten)]
        );
        assert_eq!(set(&[(5..10, At(100)), (0..20, Hole)]), [(0, 20, Hole)]);
        assert_eq!(set(&[(5..10, At(9)), (5..7, Hole)]), [(5, 7, Hole), (7, 10, At(11))]);
    }
}
