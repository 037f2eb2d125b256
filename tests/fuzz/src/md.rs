//! Any bytes as the superblocks of an array of MD, and as what its devices hold.
//!
//! Superblocks have checksums that no fuzzer meets, so they are made right here: the first byte says which
//! version, and each run of bytes after it is the superblock of one device, which holds the input elsewhere.

use std::collections::BTreeMap;

use volfold::volume::md::Md;
use volfold::volume::{Region, VolumeManager};

use super::lvm::{Shell, region};

const SIZE: u64 = 1 << 20;
const MAX_INPUT: usize = 64 << 10;
const MAX_DEVICES: usize = 6;
const MAGIC: u32 = 0xA92B_4EFC;

/// Sets the word at `at` to the checksum of `bytes`.
fn seal(bytes: &mut [u8], at: usize) {
    bytes[at..at + 4].fill(0);
    let mut sum = 0_u64;
    for word in bytes.chunks(4) {
        let mut whole = [0; 4];
        whole[..word.len()].copy_from_slice(word);
        sum += u64::from(u32::from_le_bytes(whole));
    }
    let sum = ((sum & 0xFFFF_FFFF) + (sum >> 32)) as u32;
    bytes[at..at + 4].copy_from_slice(&sum.to_le_bytes());
}

/// A superblock 1.x at `at`, else as `bytes` say.
fn new(bytes: &[u8], at: u64) -> Vec<u8> {
    let mut block = bytes.to_vec();
    block.resize(block.len().max(258), 0);
    block[..4].copy_from_slice(&MAGIC.to_le_bytes());
    block[4..8].copy_from_slice(&1_u32.to_le_bytes());
    block[144..152].copy_from_slice(&(at / 512).to_le_bytes());
    let roles = ((block.len() - 256) / 2) as u32;
    block[220..224].copy_from_slice(&roles.to_le_bytes());
    block.truncate(256 + roles as usize * 2);
    seal(&mut block, 216);
    block
}

/// A superblock 0.90 whose first words, and those of its devices, are those of `bytes`.
fn old(bytes: &[u8]) -> Vec<u8> {
    let mut block = vec![0; 4096];
    let half = bytes.len() / 2;
    block[..half].copy_from_slice(&bytes[..half]);
    block[512..512 + bytes.len() - half].copy_from_slice(&bytes[half..]);
    block[992 * 4] = bytes.first().copied().unwrap_or(0) % 27;
    block[..12].copy_from_slice(&[0xFC, 0x4E, 0x2B, 0xA9, 0, 0, 0, 0, 90, 0, 0, 0]);
    seal(&mut block, 38 * 4);
    block
}

/// Joins the devices that `data` describes, and reads in their arrays.
pub fn run(data: &[u8]) {
    let data = data.get(..MAX_INPUT).unwrap_or(data);
    let Some((version, rest)) = data.split_first() else { return };
    let (at, length) = match version % 4 {
        0 => (0, 280),
        1 => (4096, 280),
        2 => (SIZE - 8192, 280),
        _ => (SIZE - (64 << 10), 512),
    };
    let mut groups: BTreeMap<_, Vec<Region>> = BTreeMap::new();
    for (disk, bytes) in rest.chunks(length).take(MAX_DEVICES).enumerate() {
        let block = if version % 4 == 3 { old(bytes) } else { new(bytes, at) };
        // No table of partitions, which would be older or the array's.
        let parts = vec![(510, vec![0; 2]), (at, block)];
        let region = region(disk, Shell { parts, rest: data.to_vec(), size: SIZE });
        if let Some(claim) = Md.claim(&region).expect("it can be read") {
            groups.entry(claim.group).or_default().push(region);
        }
    }
    for (group, members) in &groups {
        let mut findings = Vec::new();
        for volume in Md.assemble(group, members, &mut findings) {
            let device = &volume.device;
            let mut buf = vec![0; 70_000.min(device.size() as usize)];
            for offset in [0, device.size() / 2, device.size().saturating_sub(buf.len() as u64)] {
                if offset + buf.len() as u64 <= device.size() {
                    let _ = device.read_at(offset, &mut buf);
                }
                if offset < device.size()
                    && let Ok(extent) = device.extent_at(offset)
                {
                    let end = offset.checked_add(extent.length);
                    assert!(extent.length > 0 && end.is_some_and(|end| end <= device.size()));
                }
            }
        }
    }
}
