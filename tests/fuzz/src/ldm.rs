//! Any bytes as the database of a group of dynamic disks.
//!
//! The input is the `config` region. Private headers and tables of contents have checksums that no
//! fuzzer meets, so they are made here, right, around it: one disk for each GUID in the input.

use std::sync::Arc;

use volfold::volume::ldm::Ldm;
use volfold::volume::{Health, Region, VolumeManager};
use volfold_block::{BlockDevice, BlockResult, check_range};

const SECTOR: usize = 512;
const PUBLIC_START: u64 = 63;
const PUBLIC_SIZE: u64 = 1 << 20;
const CONFIG_START: u64 = PUBLIC_START + PUBLIC_SIZE;
/// Sectors of the private region; the input gets all but the first 17 and the last.
const PRIVATE: u64 = 256;
const MAX_INPUT: usize = (PRIVATE as usize - 18) * SECTOR;
const MAX_DISKS: usize = 4;

/// A disk of zeros but for some parts.
struct Shell {
    parts: Vec<(u64, Vec<u8>)>,
}

impl BlockDevice for Shell {
    fn size(&self) -> u64 {
        (CONFIG_START + PRIVATE) * SECTOR as u64
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> BlockResult<()> {
        check_range(offset, buf.len(), self.size())?;
        buf.fill(0);
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

fn seal(mut sector: Vec<u8>) -> Vec<u8> {
    sector.resize(SECTOR, 0);
    let sum: u32 = sector.iter().map(|byte| u32::from(*byte)).sum();
    sector[8..12].copy_from_slice(&sum.to_be_bytes());
    sector
}

fn big(numbers: &[u64]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_be_bytes()).collect()
}

fn shell(guid: &[u8], data: &[u8]) -> Shell {
    let mut table = vec![0; SECTOR];
    table[446 + 4] = 0x42;
    table[446 + 8..446 + 12].copy_from_slice(&(PUBLIC_START as u32).to_le_bytes());
    table[446 + 12..446 + 16].copy_from_slice(&(PUBLIC_SIZE as u32).to_le_bytes());
    table[510..].copy_from_slice(&[0x55, 0xAA]);
    let mut header = b"PRIVHEAD\0\0\0\0\0\x02\0\x0c".to_vec();
    header.extend(big(&[0, 1, PRIVATE - 1, PRIVATE - 1]));
    header.extend(guid);
    header.resize(0xB0, 0);
    header.extend(data.get(0x35..0x75).unwrap_or_default());
    header.resize(0x10F, 0);
    header.extend([0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    header.extend(big(&[PUBLIC_START, PUBLIC_SIZE, CONFIG_START, PRIVATE, 2, 2]));
    let header = seal(header);
    let mut toc = [b"TOCBLOCK\0\0\0\0".to_vec(), big(&[1]), vec![0; 16]].concat();
    toc.extend(b"config\0\0\0\0");
    toc.extend(big(&[17, PRIVATE - 18, 0]));
    let at = |sector: u64| sector * SECTOR as u64;
    Shell {
        parts: vec![
            (0, table),
            (at(6), header.clone()),
            (at(CONFIG_START + 2), seal(toc)),
            (at(CONFIG_START + 17), data.to_vec()),
            (at(CONFIG_START + PRIVATE - 1), header),
        ],
    }
}

/// The texts in `data` that look like GUIDs.
fn guids(data: &[u8]) -> Vec<&[u8]> {
    let dashes = |part: &&[u8]| [8, 13, 18, 23].iter().all(|at| part[*at] == b'-');
    let mut found: Vec<&[u8]> = data.windows(36).filter(dashes).collect();
    found.sort_unstable();
    found.dedup();
    found.truncate(MAX_DISKS + 1);
    found
}

/// Assembles the group whose database is `data`.
pub fn run(data: &[u8]) {
    let data = data.get(..MAX_INPUT).unwrap_or(data);
    let mut members = Vec::new();
    let mut group = None;
    for (disk, guid) in guids(data).into_iter().enumerate() {
        let device: Arc<dyn BlockDevice> = Arc::new(shell(guid, data));
        let region = Region {
            disk,
            size: device.size(),
            device,
            start: 0,
            label: format!("disk{disk}").into(),
            partition: None,
            table_id: None,
        };
        let claim = Ldm.claim(&region).expect("it can be read").expect("it is dynamic");
        group.get_or_insert(claim.group);
        members.push(region);
    }
    let Some(group) = group else { return };
    let mut findings = Vec::new();
    let volumes = Ldm.assemble(&group, &members, &mut findings);
    for volume in volumes.iter().take(32) {
        let device = &volume.device;
        let mut buf = vec![0; 70_000.min(device.size() as usize)];
        for offset in [0, device.size() / 2, device.size().saturating_sub(buf.len() as u64)] {
            let inside = offset + buf.len() as u64 <= device.size();
            let read = if inside { device.read_at(offset, &mut buf).is_ok() } else { false };
            assert!(read || !inside || volume.health != Health::Healthy, "{:?}", volume.id);
            if offset < device.size()
                && let Ok(extent) = device.extent_at(offset)
            {
                let end = offset.checked_add(extent.length);
                assert!(extent.length > 0 && end.is_some_and(|end| end <= device.size()));
            }
        }
        for extent in &volume.extents {
            assert!(extent.offset >= PUBLIC_START * SECTOR as u64);
            assert!(extent.offset + extent.length <= CONFIG_START * SECTOR as u64);
        }
    }
}
