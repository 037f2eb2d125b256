//! Volumes with a bit of their structures changed: each answer is that of the whole volume, an error, or told of.

use std::ops::Range;

use super::image;
use crate::common::damage::attack;
use crate::conformance::Random;
use crate::harness::{apply, test};

fn number(bytes: &[u8], at: usize, size: usize) -> usize {
    bytes[at..at + size].iter().rev().fold(0, |number, &byte| number << 8 | usize::from(byte))
}

/// The structures of a volume of one group: superblock, descriptors, inodes, and blocks that begin as one of
/// names, extents or attributes.
fn structures(bytes: &[u8]) -> Vec<Range<usize>> {
    let block = 1024 << number(bytes, 0x418, 4);
    let descriptors = if block == 1024 { 2 * block } else { block };
    let inodes = number(bytes, descriptors + 8, 4) * block;
    let size = number(bytes, 0x428, 4) * number(bytes, 0x458, 2);
    let mut found = vec![1024..2048, descriptors..descriptors + 64];
    let used = |range: &Range<usize>| bytes[range.clone()].iter().any(|&byte| byte != 0);
    found.extend((inodes..inodes + size).step_by(256).map(|at| at..at + 256).filter(used));
    let blocks = (0..bytes.len()).step_by(block).map(|at| at..at + block);
    found.extend(blocks.filter(|range| {
        let start = &bytes[range.clone()];
        let is_directory = start[4..9] == [12, 0, 1, 2, b'.'];
        is_directory || start.starts_with(&[0x0A, 0xF3]) || start.starts_with(&[0, 0, 2, 0xEA])
    }));
    found
}

#[apply(test)]
fn a_changed_bit_of_a_volume_with_checksums_is_never_other_bytes() {
    for (name, tries) in
        [("ext4-attributes", 400), ("ext4-inline-data", 250), ("ext4-bigalloc", 250)]
    {
        let bytes = image(name);
        let structures = structures(&bytes);
        let mut random = Random(0x5EED_0005);
        let mut places: Vec<(usize, Vec<u8>)> = Vec::new();
        for _ in 0..tries {
            let range = &structures[random.below(structures.len() as u64) as usize];
            let at = range.start + random.below(range.len() as u64) as usize;
            places.push((at, vec![bytes[at] ^ (1 << random.below(8))]));
        }
        let silent = attack("ext4", name, &places);
        assert!(silent.is_empty(), "{}", silent.join("\n"));
    }
}
