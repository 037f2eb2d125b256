//! Trees of extents of every height, built block by block, as version 4 has them.

use std::sync::Arc;

use volfold_block::MemoryDevice;

use super::inode::{Fork, Format};
use super::map;
use super::testing::superblock_v4;
use super::volume::Volume;
use crate::driver::VolumeReader;
use crate::error::{FsErrorKind, FsResult};
use crate::extents::{Extents, Place};

const BLOCK: usize = 512;
/// Extents and children of a block.
const EACH: u64 = 3;
/// The blocks of the volume that trees are put in, and the first of files.
const FIRST: usize = 100;
const DATA: u64 = 1000;

/// A tree over extents of one block at every other block of the file.
struct Tree {
    bytes: Vec<u8>,
    next: usize,
    extents: u64,
    root: Vec<u8>,
    leaves: Vec<usize>,
}

impl Tree {
    fn new(level: u16) -> Self {
        let bytes = vec![0; 4096 * BLOCK];
        let mut tree = Self { bytes, next: FIRST, extents: 0, root: Vec::new(), leaves: vec![] };
        let mut root = vec![0; 156];
        let children = (0..EACH).map(|_| tree.node(level - 1)).collect::<Vec<_>>();
        fill(&mut root, 4, &children);
        root[..2].copy_from_slice(&level.to_be_bytes());
        root[2..4].copy_from_slice(&u16::try_from(children.len()).unwrap().to_be_bytes());
        tree.root = root;
        tree
    }

    /// A block of `level` with what is below it: its key and its number.
    fn node(&mut self, level: u16) -> (u64, u64) {
        let mut block = vec![0; BLOCK];
        block[..4].copy_from_slice(b"BMAP");
        block[4..6].copy_from_slice(&level.to_be_bytes());
        block[6..8].copy_from_slice(&u16::try_from(EACH).unwrap().to_be_bytes());
        let key = self.extents * 2;
        if level == 0 {
            for index in 0..EACH {
                let low = (DATA + self.extents) << 21 | 1;
                let at = 24 + usize::try_from(index).unwrap() * 16;
                block[at..at + 8].copy_from_slice(&((self.extents * 2) << 9).to_be_bytes());
                block[at + 8..at + 16].copy_from_slice(&low.to_be_bytes());
                self.extents += 1;
            }
        } else {
            let children = (0..EACH).map(|_| self.node(level - 1)).collect::<Vec<_>>();
            fill(&mut block, 24, &children);
        }
        let place = self.next;
        self.next += 1;
        self.bytes[place * BLOCK..][..BLOCK].copy_from_slice(&block);
        if level == 0 {
            self.leaves.push(place);
        }
        (key, u64::try_from(place).unwrap())
    }

    /// The run list if the inode says that it has `extents`.
    fn read(&self, extents: u64, end: u64) -> FsResult<Extents> {
        let device = Arc::new(MemoryDevice::new(self.bytes.clone()));
        let volume = Volume::new(VolumeReader::uncached(device), superblock_v4());
        let fork = Fork { format: Format::Tree, extents, area: 0..self.root.len() };
        map::read(&volume, 131, &fork, &self.root, end)
    }
}

/// Puts keys and pointers after a header of `header` bytes.
fn fill(block: &mut [u8], header: usize, children: &[(u64, u64)]) {
    let room = (block.len() - header) / 16;
    for (index, (key, pointer)) in children.iter().enumerate() {
        block[header + index * 8..][..8].copy_from_slice(&key.to_be_bytes());
        block[header + (room + index) * 8..][..8].copy_from_slice(&pointer.to_be_bytes());
    }
}

fn place(extents: &Extents, block: u64) -> Option<Place> {
    extents.at(block * 512).map(|(place, _)| place)
}

#[test]
fn trees_of_every_height_have_all_extents() {
    for level in 1..=5 {
        let tree = Tree::new(level);
        assert_eq!(tree.extents, EACH.pow(u32::from(level) + 1));
        let extents = tree.read(tree.extents, u64::MAX).unwrap();
        for number in 0..tree.extents {
            let stored = Place::At((DATA + number) * 512);
            assert_eq!(place(&extents, number * 2), Some(stored), "{level}: {number}");
            let hole = (number + 1 < tree.extents).then_some(Place::Hole);
            assert_eq!(place(&extents, number * 2 + 1), hole, "{level}: {number}");
        }
    }
}

#[test]
fn another_number_of_extents_than_the_inode_says_is_corrupt() {
    let tree = Tree::new(2);
    for (extents, end) in [(26, u64::MAX), (28, u64::MAX), (26, 512), (u64::MAX, 512)] {
        assert_eq!(tree.read(extents, end).unwrap_err().kind(), FsErrorKind::Corrupt);
    }
    tree.read(27, 512).unwrap();
}

#[test]
fn a_damaged_leaf_hides_what_is_below_it_alone() {
    for damaged in [0, 4, 8] {
        let mut tree = Tree::new(2);
        let at = tree.leaves[damaged] * BLOCK;
        tree.bytes[at..at + 8].fill(0xA5);
        // Directories and attributes have a map of all that there may be.
        for end in [96 << 30, u64::MAX] {
            let extents = tree.read(27, end).unwrap();
            for leaf in 0..9 {
                let first = leaf * EACH * 2;
                let found = place(&extents, first).unwrap();
                let is_refused = found == Place::Refused(FsErrorKind::Corrupt);
                assert_eq!(is_refused, leaf == u64::try_from(damaged).unwrap(), "{leaf}");
            }
        }
    }
}
