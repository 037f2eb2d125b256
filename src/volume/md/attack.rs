//! Superblocks with a right checksum and one word that is wrong, of one device of an array.

use std::collections::BTreeSet;

use volfold_block::Finding;

use super::Md;
use super::testing::{Device, region, seal};
use crate::volume::{Region, Volume, VolumeManager};

const SIZE: usize = 256 << 10;

/// The data of the three devices of an array: copies where it is one of copies, else parity fits.
fn column(level: i32, number: u32) -> Vec<u8> {
    let own =
        |number: u32| (0..64 << 10).map(move |at: u32| (at / 512 * 7 + at + number * 89) as u8);
    match (level, number) {
        (1 | 10, _) => own(0).collect(),
        (_, 2) => own(0).zip(own(1)).map(|(one, other)| one ^ other).collect(),
        (_, number) => own(number).collect(),
    }
}

/// The devices of an array of `level`, as whole disks.
fn disks(level: i32, minor: Option<u32>) -> Vec<Vec<u8>> {
    let of = |number: u32| Device {
        minor,
        level,
        layout: match level {
            5 => 2,
            10 => 0x103,
            _ => 0,
        },
        chunk: if level == 1 { 0 } else { 4096 },
        component: if level > 0 { 64 << 10 } else { 0 },
        data: column(level, number),
        ..Device::new(number, 3)
    };
    (0..3).map(|number| of(number).bytes(SIZE)).collect()
}

fn join(disks: &[Region]) -> (Vec<Volume>, Vec<Finding>) {
    let mut findings = Vec::new();
    let claims = disks.iter().filter_map(|region| Some((region, Md.claim(region).unwrap()?)));
    let claimed: Vec<_> = claims.collect();
    let Some((_, claim)) = claimed.first() else { return (Vec::new(), findings) };
    let members: Vec<Region> = claimed.iter().map(|(region, _)| (*region).clone()).collect();
    (Md.assemble(&claim.group, &members, &mut findings), findings)
}

/// The bytes of `volume` in blocks of 4 KiB, as far as they can be read.
fn blocks(volume: &Volume) -> Vec<Option<Vec<u8>>> {
    let size = volume.device.size().min(1 << 20);
    let block = |at: u64| {
        let mut bytes = vec![0; 4096.min(size - at) as usize];
        volume.device.read_at(at, &mut bytes).ok().map(|()| bytes)
    };
    (0..size).step_by(4096).map(block).collect()
}

/// Where the superblock lies, and where its checksum is in it.
fn place(minor: Option<u32>) -> (usize, usize, usize) {
    match minor {
        None => (SIZE - (64 << 10), 4096, 38 * 4),
        Some(0) => (SIZE - 8192, 262, 216),
        Some(minor) => ([0, 4096][minor as usize - 1], 262, 216),
    }
}

/// Whether a wrong word there may lay the array out otherwise without a word: only this device knows it.
fn is_its_own(level: i32, minor: Option<u32>, at: usize) -> bool {
    match minor {
        None => false,
        Some(_) if (0x80..0x88).contains(&at) => true,
        Some(_) => level <= 0 && (0x88..0x90).contains(&at),
    }
}

#[test]
fn no_word_of_one_superblock_gives_wrong_bytes_in_silence() {
    let mut wrong = BTreeSet::new();
    for level in [-1, 0, 1, 4, 5, 10] {
        for minor in [None, Some(0), Some(1), Some(2)] {
            let intact = disks(level, minor);
            let regions = |disks: &[Vec<u8>]| -> Vec<Region> {
                disks.iter().enumerate().map(|(disk, it)| region(disk, it.clone())).collect()
            };
            let whole = regions(&intact);
            let (volumes, findings) = join(&whole);
            let [volume] = &volumes[..] else { panic!("{level} {minor:?}: {findings:?}") };
            assert!(findings.is_empty(), "{level} {minor:?}: {findings:?}");
            let right = blocks(volume);
            let (start, length, sum) = place(minor);
            let words = (0..length).step_by(4).filter(|at| *at < 320 || at % 128 < 20);
            for at in words.filter(|at| *at != sum && !is_its_own(level, minor, *at)) {
                for disk in 0..3 {
                    for change in [1, 0x10, 0x8000_0000, u32::MAX] {
                        let mut bytes = intact[disk].clone();
                        let word = &mut bytes[start + at..][..4.min(length - at)];
                        for (byte, change) in word.iter_mut().zip(change.to_le_bytes()) {
                            *byte ^= change;
                        }
                        let all = match minor {
                            None => length,
                            Some(_) => {
                                let roles = bytes[start + 220..][..4].try_into().unwrap();
                                256 + 2 * (u32::from_le_bytes(roles) as usize).min(1024)
                            }
                        };
                        seal(&mut bytes[start..start + all], sum);
                        let mut changed = whole.clone();
                        changed[disk] = region(disk, bytes);
                        let (volumes, findings) = join(&changed);
                        let of = |it: &&Volume| it.id == volume.id;
                        let found = volumes.iter().find(of).map(blocks).unwrap_or_default();
                        let is_same = found == right;
                        let has_wrong = found
                            .iter()
                            .zip(&right)
                            .any(|(found, right)| found.is_some() && found != right);
                        if has_wrong || (!is_same && findings.is_empty()) {
                            wrong.insert((level, minor, at, findings.is_empty()));
                        }
                    }
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:x?}");
}
