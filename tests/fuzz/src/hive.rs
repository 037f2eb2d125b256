//! Any bytes as a registry hive and its logs.
//!
//! The input begins with the length of the hive and of the first log, 4 bytes each, little-endian; the second
//! log has the rest. Checksums and hashes are what no fuzzer meets, so they are made right here, unless the top bit
//! of the first length is set.

use std::sync::Arc;

use volfold::fs::{FileData, FsResult};
use volfold::guest::hive::Hive;

/// Keys that are read of one hive.
const MAX_KEYS: usize = 1000;

struct Bytes(Vec<u8>);

impl FileData for Bytes {
    fn size(&self) -> u64 {
        self.0.len() as u64
    }

    fn memory(&self) -> u64 {
        0
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> FsResult<usize> {
        let from = usize::try_from(offset).ok().and_then(|offset| self.0.get(offset..));
        let from = from.unwrap_or_default();
        let count = from.len().min(buf.len());
        buf[..count].copy_from_slice(&from[..count]);
        Ok(count)
    }
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4).map(|bytes| u32::from_le_bytes(bytes.try_into().expect("4 bytes")))
}

/// Makes the checksum of a base block right.
fn seal(file: &mut [u8]) {
    if file.len() < 512 {
        return;
    }
    let sum = (0..508).step_by(4).filter_map(|at| number(file, at)).fold(0, |sum, next| sum ^ next);
    let sum = match sum {
        0 => 1,
        u32::MAX => u32::MAX - 1,
        sum => sum,
    };
    file[508..512].copy_from_slice(&sum.to_le_bytes());
}

fn marvin(bytes: &[u8]) -> [u8; 8] {
    let (mut low, mut high) = (0x7A4E_55C5_u32, 0x82EF_4D88_u32);
    let mut mix = |number: u32| {
        low = low.wrapping_add(number);
        high ^= low;
        low = low.rotate_left(20).wrapping_add(high);
        high = high.rotate_left(9) ^ low;
        low = low.rotate_left(27).wrapping_add(high);
        high = high.rotate_left(19);
    };
    // All that is hashed has a length that 4 divides.
    bytes.chunks_exact(4).for_each(|bytes| mix(number(bytes, 0).unwrap_or_default()));
    mix(0x80);
    mix(0);
    (u64::from(high) << 32 | u64::from(low)).to_le_bytes()
}

/// Makes the hashes of the entries of a log right.
fn seal_entries(log: &mut [u8]) {
    let mut at = 512;
    while let Some(size) = number(log, at + 4).map(|size| size as usize) {
        if log[at..at + 4] != *b"HvLE" || size < 40 || size % 4 != 0 || at + size > log.len() {
            return;
        }
        let hash = marvin(&log[at + 40..at + size]);
        log[at + 24..at + 32].copy_from_slice(&hash);
        let hash = marvin(&log[at..at + 32]);
        log[at + 32..at + 40].copy_from_slice(&hash);
        at += size;
    }
}

/// Opens the hive in `data` and reads what it has, within bounds.
pub fn run(data: &[u8]) {
    let (Some(first), Some(second)) = (number(data, 0), number(data, 4)) else { return };
    let rest = &data[8..];
    let length = (first & 0x7FFF_FFFF) as usize;
    let (hive, logs) = rest.split_at(length.min(rest.len()));
    let (one, two) = logs.split_at((second as usize).min(logs.len()));
    let mut files = [hive.to_vec(), one.to_vec(), two.to_vec()];
    if first & 1 << 31 == 0 {
        files.iter_mut().for_each(|file| seal(file));
        files[1..].iter_mut().for_each(|log| seal_entries(log));
    }
    let [hive, one, two] = files.map(|file| -> Arc<dyn FileData> { Arc::new(Bytes(file)) });
    let Ok(hive) = Hive::open(hive, vec![one, two]) else { return };
    let Ok(root) = hive.root() else { return };
    let mut open = vec![root];
    let mut left = MAX_KEYS;
    while let Some(key) = open.pop() {
        let _ = (key.class_name(), key.link_target(), key.last_written());
        for value in key.values().take(50).flatten() {
            assert!(
                value.data().is_ok_and(|data| data.len() == value.size() as usize) || {
                    let _ = (value.text(), value.texts(), value.number());
                    true
                }
            );
        }
        for child in key.subkeys() {
            let Some(fewer) = left.checked_sub(1) else { return };
            left = fewer;
            if let Ok(child) = child {
                // Other keys may have the name too, but one is found.
                assert!(
                    !matches!(key.subkey(&child.name()), Ok(None))
                        || child.name().contains('\u{fffd}')
                );
                open.push(child);
            }
        }
    }
}
