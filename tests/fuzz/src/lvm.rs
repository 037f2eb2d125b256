//! Any bytes as the metadata of a volume group of LVM2, and as what its disks hold.
//!
//! Labels and metadata areas have checksums that no fuzzer meets, so they are made here, right, around the
//! input: one disk for each UUID in it. Where a disk holds neither, it holds the input again and again.

use std::sync::Arc;

use volfold::volume::lvm::Lvm;
use volfold::volume::{Region, VolumeManager};
use volfold_block::{BlockDevice, BlockResult, check_range};

const SIZE: u64 = 1 << 24;
const AREA: u64 = 4096;
const AREA_SIZE: u64 = 1 << 20;
const MAX_INPUT: usize = 256 << 10;
const MAX_DISKS: usize = 4;

/// A disk with some parts, and the input everywhere else.
pub(crate) struct Shell {
    pub(crate) parts: Vec<(u64, Vec<u8>)>,
    pub(crate) rest: Vec<u8>,
    pub(crate) size: u64,
}

impl BlockDevice for Shell {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> BlockResult<()> {
        check_range(offset, buf.len(), self.size())?;
        let length = self.rest.len() as u64;
        for (at, byte) in (offset..).zip(buf.iter_mut()) {
            *byte = if length == 0 { 0 } else { self.rest[(at % length) as usize] };
        }
        for (start, bytes) in &self.parts {
            let from = offset.max(*start);
            let to = (offset + buf.len() as u64).min(start + bytes.len() as u64);
            if from < to {
                buf[(from - offset) as usize..(to - offset) as usize]
                    .copy_from_slice(&bytes[(from - start) as usize..(to - start) as usize]);
            }
        }
        Ok(())
    }
}

/// The checksum of LVM2, bit by bit.
fn checksum(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0xF597_A6CF, |mut sum, byte| {
        sum ^= u32::from(*byte);
        for _ in 0..8 {
            sum = if sum & 1 == 1 { (sum >> 1) ^ 0xEDB8_8320 } else { sum >> 1 };
        }
        sum
    })
}

fn little(numbers: &[u64]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_le_bytes()).collect()
}

/// The label of the disk `uuid`, and its metadata area with `text`.
pub(crate) fn parts(uuid: &[u8], text: &[u8]) -> Vec<(u64, Vec<u8>)> {
    let mut label = [b"LABELONE".as_slice(), &little(&[1]), &[0; 4], &[32, 0, 0, 0]].concat();
    label.extend(b"LVM2 001");
    label.extend(uuid.iter().filter(|byte| **byte != b'-'));
    label.extend(little(&[SIZE, 1 << 21, 0, 0, 0, AREA, AREA_SIZE, 0, 0, 2]));
    label.resize(512, 0);
    let sum = checksum(&label[20..]);
    label[16..20].copy_from_slice(&sum.to_le_bytes());
    let mut header = b"\0\0\0\0 LVM2 x[5A%r0N*>\x01\0\0\0".to_vec();
    header.extend(little(&[AREA, AREA_SIZE, 512, text.len() as u64]));
    header.extend(u64::from(checksum(text)).to_le_bytes());
    header.resize(512, 0);
    let sum = checksum(&header[4..]);
    header[..4].copy_from_slice(&sum.to_le_bytes());
    vec![(0, vec![0; 512]), (512, label), (AREA, header), (AREA + 512, text.to_vec())]
}

/// The disk `shell` of a set.
pub(crate) fn region(disk: usize, shell: Shell) -> Region {
    let device: Arc<dyn BlockDevice> = Arc::new(shell);
    let (size, label) = (device.size(), format!("disk{disk}").into());
    Region { disk, device, start: 0, size, label, partition: None, table_id: None }
}

/// Joins the group on `members`, and reads in its volumes.
pub(crate) fn read_volumes(members: &[Region]) {
    let Some(first) = members.first() else { return };
    let claim = Lvm.claim(first).expect("it can be read").expect("it has a label");
    let mut findings = Vec::new();
    for volume in Lvm.assemble(&claim.group, members, &mut findings).iter().take(32) {
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
        for extent in &volume.extents {
            assert!(extent.offset.checked_add(extent.length).is_some());
        }
    }
}

/// The texts in `data` that look like UUIDs of LVM2.
fn uuids(data: &[u8]) -> Vec<&[u8]> {
    let is_uuid = |part: &&[u8]| {
        let dashes = [6, 11, 16, 21, 26, 31];
        (0..38).all(|at| {
            let is_dash = part[at] == b'-';
            if dashes.contains(&at) { is_dash } else { part[at].is_ascii_alphanumeric() }
        })
    };
    let mut found: Vec<&[u8]> = data.windows(38).filter(is_uuid).collect();
    found.sort_unstable();
    found.dedup();
    found.truncate(MAX_DISKS);
    found
}

/// Assembles the group whose metadata is `data`.
pub fn run(data: &[u8]) {
    let data = data.get(..MAX_INPUT).unwrap_or(data);
    let members: Vec<Region> = uuids(data)
        .into_iter()
        .enumerate()
        .map(|(disk, uuid)| {
            let shell = Shell { parts: parts(uuid, data), rest: data.to_vec(), size: SIZE };
            region(disk, shell)
        })
        .collect();
    read_volumes(&members);
}
