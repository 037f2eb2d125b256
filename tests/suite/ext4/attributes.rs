//! Extended attributes.

use super::{image, mount};
use crate::common::attributes;
use crate::common::damage::attack;
use crate::conformance::Random;
use crate::harness::{apply, test};

const VOLUMES: [&str; 3] = ["ext4-attributes", "ext3-attributes", "ext4-attributes-dirty"];

#[apply(test)]
fn attributes_of_ext_are_those_that_the_kernel_lists() {
    let mut count = 0;
    for name in VOLUMES {
        let fs = mount(&image(name)).expect(name);
        count += attributes::compare(&*fs, name);
    }
    assert!(count > 110, "{count} attributes");
}

/// Where blocks of attributes begin, and those of inodes.
fn places_of_attributes(bytes: &[u8]) -> Vec<usize> {
    let magic = [0, 0, 2, 0xEA];
    (0..bytes.len() - 4).step_by(4).filter(|&at| bytes[at..at + 4] == magic).collect()
}

#[apply(test)]
fn damaged_attributes_of_ext_are_errors() {
    for (name, tries) in [("ext4-attributes", 160), ("ext3-attributes", 160)] {
        let bytes = image(name);
        let starts = places_of_attributes(&bytes);
        assert!(starts.len() > 5, "{name}");
        let mut random = Random(0x5EED_0004);
        let mut places: Vec<(usize, Vec<u8>)> = Vec::new();
        for _ in 0..tries {
            let start = starts[random.below(starts.len() as u64) as usize];
            // The counts and hashes of a block, and 12 bytes that are reserved, say nothing of values.
            let is_block = start.is_multiple_of(1024);
            let (skip, reach) = if is_block { (32, 992) } else { (4, 80) };
            let at = start + skip + random.below(reach) as usize;
            places.push((at, vec![bytes[at] ^ (1 << random.below(8))]));
        }
        let silent = attack("ext4", name, &places);
        assert!(silent.is_empty(), "{}", silent.join("\n"));
    }
}
