//! Any bytes as the table and the clusters of a small exFAT volume.
//!
//! An input begins with the table, a byte for each of 64 clusters; then comes what the clusters hold, from that of
//! the root directory on. Checksums, which no fuzzer meets, are made right: of the boot region, of the up-case table,
//! and of the entry sets.

use std::sync::Arc;

use volfold_block::MemoryDevice;
use volfold_fs::exfat::ExfatDriver;

const SECTOR: usize = 512;
const CLUSTERS: usize = 64;
const ENTRY: usize = 32;
/// The clusters of the bitmap, the up-case table and the root directory.
const BITMAP: usize = 2;
const UPCASE: usize = 3;
const ROOT: usize = 4;
const TABLE: usize = 24 * SECTOR;
const HEAP: usize = 25 * SECTOR;
/// The bytes of the first 128 entries of an up-case table.
const UPCASE_SIZE: usize = 256;

/// Turns `sum` of so many bits to the right for each of `bytes`, and adds it.
fn sum<'a>(bits: u32, bytes: impl Iterator<Item = &'a u8>) -> u64 {
    let mask = (1 << bits) - 1;
    bytes.fold(0, |sum: u64, byte| {
        let turned = sum << (bits - 1) & mask | sum >> 1;
        (turned + u64::from(*byte)) & mask
    })
}

fn place(cluster: usize) -> usize {
    HEAP + (cluster - 2) * SECTOR
}

/// The entry of a part of the volume.
fn part(kind: u8, sum: u64, cluster: usize, length: usize) -> [u8; ENTRY] {
    let mut entry = [0; ENTRY];
    entry[0] = kind;
    entry[4..8].copy_from_slice(&(sum as u32).to_le_bytes());
    entry[20] = cluster as u8;
    entry[24..28].copy_from_slice(&(length as u32).to_le_bytes());
    entry
}

/// Makes the checksums of the entry sets in `entries` right.
fn seal(entries: &mut [u8]) {
    let mut at = 0;
    while at + ENTRY <= entries.len() {
        let count = usize::from(entries[at + 1]);
        let end = at + (count + 1) * ENTRY;
        let is_primary = entries[at] & 0xC0 == 0x80;
        let has_sum = !matches!(entries[at], 0x81..=0x83 | 0xA1);
        if is_primary && has_sum && end <= entries.len() {
            let set = entries[at..end].iter().enumerate();
            let covered = set.filter(|(at, _)| !matches!(at, 2 | 3)).map(|(_, byte)| byte);
            let sum = sum(16, covered) as u16;
            entries[at + 2..at + 4].copy_from_slice(&sum.to_le_bytes());
            at = end;
        } else {
            at += ENTRY;
        }
    }
}

fn volume(data: &[u8]) -> Vec<u8> {
    let (links, content) = data.split_at(data.len().min(CLUSTERS));
    let mut image = vec![0; HEAP + CLUSTERS * SECTOR];
    let boot = &mut image[..SECTOR];
    boot[..11].copy_from_slice(b"\xEB\x76\x90EXFAT   ");
    boot[0x48] = (HEAP / SECTOR + CLUSTERS) as u8;
    boot[0x50] = (TABLE / SECTOR) as u8;
    boot[0x54] = 1;
    boot[0x58] = (HEAP / SECTOR) as u8;
    boot[0x5C] = CLUSTERS as u8;
    boot[0x60] = ROOT as u8;
    boot[0x69] = 1;
    boot[0x6C..0x6F].copy_from_slice(&[9, 0, 1]);
    boot[0x1FE..].copy_from_slice(&[0x55, 0xAA]);
    let covered = image[..11 * SECTOR].iter().enumerate();
    let covered = covered.filter(|(at, _)| !matches!(at, 106 | 107 | 112));
    let of_boot = sum(32, covered.map(|(_, byte)| byte)) as u32;
    image[11 * SECTOR..12 * SECTOR].as_chunks_mut::<4>().0.fill(of_boot.to_le_bytes());
    let table = image[TABLE..].as_chunks_mut::<4>().0;
    table[0] = 0xFFFF_FFF8_u32.to_le_bytes();
    for (link, byte) in table[2..].iter_mut().zip(links) {
        let to = match byte {
            0xFF => u32::MAX,
            0xFE => 0xFFFF_FFF7,
            byte => u32::from(*byte),
        };
        *link = to.to_le_bytes();
    }
    for cluster in [BITMAP, UPCASE] {
        table[cluster] = u32::MAX.to_le_bytes();
    }
    let upcase = &mut image[place(UPCASE)..][..UPCASE_SIZE];
    for (unit, byte) in (0..).zip(upcase.iter_mut().step_by(2)) {
        *byte = u8::to_ascii_uppercase(&unit);
    }
    let of_upcase = sum(32, upcase.iter());
    let parts = [part(0x81, 0, BITMAP, CLUSTERS / 8), part(0x82, of_upcase, UPCASE, UPCASE_SIZE)];
    let root = &mut image[place(ROOT)..];
    root[..2 * ENTRY].copy_from_slice(parts.as_flattened());
    let rest = &mut root[2 * ENTRY..];
    let count = content.len().min(rest.len());
    rest[..count].copy_from_slice(&content[..count]);
    seal(rest);
    image
}

/// Mounts the volume that `data` describes, and touches what can be reached.
pub fn run(data: &[u8]) {
    super::volume::touch(&ExfatDriver, Arc::new(MemoryDevice::new(volume(data))));
}
