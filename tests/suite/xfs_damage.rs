//! XFS with parts of it overwritten: every answer is that of the whole volume, an error, or told of.

use crate::common::damage::{attack, step};
use crate::common::fixtures::fixture;
use crate::conformance::Random;
use crate::harness::{apply, test};

const SECTOR: usize = 512;

/// The sectors of `name` that are no zeros and where `is_wanted` says so.
fn sectors(name: &str, is_wanted: impl Fn(usize, &[u8]) -> bool) -> Vec<usize> {
    let whole = std::fs::read(fixture(name).path()).expect(name);
    let sectors = whole.chunks(SECTOR).enumerate();
    let used = sectors.filter(|(_, sector)| sector.iter().any(|&byte| byte != 0));
    used.map(|(index, sector)| (index * SECTOR, sector))
        .filter(|(at, sector)| is_wanted(*at, sector))
        .map(|(at, _)| at)
        .collect()
}

/// Where the log of the volume lies.
fn log_of(name: &str) -> std::ops::Range<usize> {
    let whole = std::fs::read(fixture(name).path()).expect(name);
    let field = |at: usize, size: usize| {
        whole[at..at + size].iter().fold(0, |number, &byte| number << 8 | usize::from(byte))
    };
    let start = field(0x30, 8);
    let (group, block) = (start >> whole[0x7C], start & ((1 << whole[0x7C]) - 1));
    let first = (group * field(0x54, 4) + block) * field(4, 4);
    first..first + field(0x60, 4) * field(4, 4)
}

#[apply(test)]
fn a_damaged_sector_of_a_dirty_log_is_told() {
    let log = log_of("xfs-dirty-log");
    // It was never gone round, and after the newest records lie such as the kernel wipes.
    let is_new = |sector: &[u8]| sector.starts_with(&[0, 0, 0, 1]) || sector[4..8] == [0, 0, 0, 1];
    let used = sectors("xfs-dirty-log", |at, sector| log.contains(&at) && is_new(sector));
    // A log that is zeros from a record on was not written further, for all that is known.
    let end = used.iter().copied().max().expect("a log");
    let mut places: Vec<(usize, Vec<u8>)> = Vec::new();
    for (index, &at) in used.iter().filter(|&&at| at < end).step_by(step(71)).enumerate() {
        places.push((at, vec![0; SECTOR]));
        match index % 4 {
            0 => places.push((at & !4095, vec![0; 4096])),
            1 => places.push((at, vec![0; (128 << 10).min(end - at)])),
            2 => places.push((at, vec![0xFF; SECTOR])),
            _ => places.push((at + at / 512 % 512, vec![0xA5])),
        }
    }
    let silent = attack("xfs", "xfs-dirty-log", &places);
    assert!(silent.is_empty(), "{}", silent.join("\n"));
}

/// Without checksums nothing tells whether owner, links, size and times of an inode are right, where an
/// extent lies, or the bytes of files; names and counts stand twice.
#[apply(test)]
fn damaged_directories_and_maps_of_version_4_are_told() {
    let log = log_of("xfs-v4");
    let is_directory = |sector: &[u8]| {
        sector.starts_with(b"XD2") || matches!(sector[8..10], [0xD2, 0xF1 | 0xFF] | [0xFE, 0xBE])
    };
    let whole = std::fs::read(fixture("xfs-v4").path()).expect("xfs-v4");
    let blocks = whole.chunks(4096).enumerate().filter(|(_, block)| is_directory(block));
    let directories: Vec<usize> = blocks.map(|(index, _)| index * 4096).collect();
    let mut places: Vec<(usize, Vec<u8>)> = Vec::new();
    let mut random = Random(0x5EED_0003);
    for &block in &directories {
        for _ in 0..if step(0) == 1 { 60 } else { 4 } {
            let at = block + random.below(4096) as usize;
            for byte in [0, 0xFF, whole[at] ^ 1] {
                places.push((at, vec![byte]));
            }
        }
    }
    let inodes = sectors("xfs-v4", |at, sector| !log.contains(&at) && sector.starts_with(b"IN"));
    for at in inodes.into_iter().step_by(step(9)) {
        // Numbers of blocks and extents, and the blocks of an extent.
        for field in [0x40, 0x47, 0x4C, 0x4F, 0x51, 0x71, 0x73] {
            places.push((at + field, vec![whole[at + field] ^ 1]));
            places.push((at + field, vec![0xFF]));
        }
    }
    let silent = attack("xfs", "xfs-v4", &places);
    assert!(silent.is_empty(), "{}", silent.join("\n"));
}
