//! Any bytes as the metadata of LUKS2, and as a header of LUKS1.
//!
//! The binary header of LUKS2 has a checksum that no fuzzer meets, so it is made here, right, around an input
//! that begins as JSON does. What can be opened with little work is tried with a key, and read, if it opens.

use sha2::{Digest, Sha256};
use volfold::volume::VolumeManager;
use volfold::volume::lock::{Key, KeyKind, WorkBudget};
use volfold::volume::luks::Luks;

use super::lvm::{Shell, region};

const SIZE: u64 = 1 << 22;
const HEADER: usize = 0x1_0000;
const BINARY: usize = 0x1000;
/// What a key may cost here.
const WORK: u64 = 1 << 12;

/// A binary header with `metadata`.
fn header(metadata: &[u8]) -> Vec<u8> {
    let mut bytes = b"LUKS\xBA\xBE\0\x02".to_vec();
    bytes.extend((HEADER as u64).to_be_bytes());
    bytes.extend(1_u64.to_be_bytes());
    bytes.resize(0x48, 0);
    bytes.extend(b"sha256");
    bytes.resize(0xA8, 0);
    bytes.extend(b"10c50000-0000-4000-8000-000000000001");
    bytes.resize(BINARY, 0);
    bytes.extend(metadata);
    bytes.resize(HEADER, 0);
    let sum = Sha256::digest(&bytes);
    bytes[0x1C0..0x1C0 + sum.len()].copy_from_slice(&sum);
    bytes
}

/// Opens a volume whose header is `data`.
pub fn run(data: &[u8]) {
    let start = match data.first() {
        Some(b'{') => header(data.get(..HEADER - BINARY - 1).unwrap_or(data)),
        _ => [b"LUKS\xBA\xBE\0\x01".as_slice(), data.get(..4096).unwrap_or(data)].concat(),
    };
    let rest = data.get(..4096).unwrap_or(data).to_vec();
    let region = region(0, Shell { parts: vec![(0, start)], rest, size: SIZE });
    let claim = Luks.claim(&region).expect("it can be read").expect("it has a header");
    let mut findings = Vec::new();
    for volume in Luks.assemble(&claim.group, std::slice::from_ref(&region), &mut findings) {
        let device = &volume.device;
        let _ = device.read_at(0, &mut [0; 512]);
        for extent in &volume.extents {
            assert!(extent.offset.checked_add(extent.length).is_some());
        }
        let Some(lock) = &volume.lock else { continue };
        let key = Key::new(KeyKind::Password, "key");
        let opened = match lock.is_detached {
            true => lock
                .unlock
                .unlock_detached(&key, &WorkBudget::new(WORK))
                .and_then(|opener| opener.map(|it| it.over(&region.device, SIZE)).transpose()),
            false => lock.unlock.unlock(&key, &WorkBudget::new(WORK)),
        };
        if let Ok(Some(device)) = opened {
            let mut buf = vec![0; 70_000.min(device.size() as usize)];
            let _ = device.read_at(0, &mut buf);
        }
    }
}
