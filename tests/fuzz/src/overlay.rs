//! Sidecars of overlays: records with right sums and arbitrary fields, and arbitrary bytes behind them.
//! What is taken up reads the same when it is taken up again.

use std::sync::Arc;

use volfold_block::{BlockDevice, MemoryDevice};
use volfold_projector::block::overlay::Overlay;

const SIZE: usize = 100_000;

/// A record, from 12 bytes: its length and place in blocks, or what they are made odd by.
fn record(fields: &[u8; 12]) -> Vec<u8> {
    let [length, block, zeros, odd, rest @ ..] = *fields;
    let mut data = vec![odd; usize::from(length % 8) * 4096];
    let mut offset = u64::from(block % 32) * 4096;
    let mut zeros = u64::from(zeros) * 4096;
    match odd {
        1 => offset = u64::from_le_bytes(rest),
        2 => zeros = u64::from_le_bytes(rest),
        3 => data.push(0),
        _ => {}
    }
    let mut record = b"RECD".to_vec();
    record.extend((data.len() as u32).to_le_bytes());
    record.extend(offset.to_le_bytes());
    record.extend(zeros.to_le_bytes());
    record.extend(crc32c::crc32c_append(crc32c::crc32c(&record), &data).to_le_bytes());
    record.extend(data);
    record
}

fn contents(overlay: &Overlay) -> Vec<u8> {
    let mut bytes = vec![0; SIZE];
    overlay.read_at(0, &mut bytes).expect("an overlay that was taken up");
    let mut offset = 0;
    while offset < SIZE as u64 {
        offset += overlay.extent_at(offset).expect("an extent").length;
    }
    bytes
}

/// Takes up the sidecar that `data` describes.
pub fn run(data: &[u8]) {
    let identity = [7; 32];
    let mut sidecar = b"VOLFOVL1".to_vec();
    sidecar.extend(identity);
    sidecar.extend(crc32c::crc32c(&sidecar).to_le_bytes());
    let (records, tail) = data.as_chunks::<12>();
    for fields in records.iter().take(64) {
        sidecar.extend(record(fields));
    }
    sidecar.extend(tail);
    let path = std::env::temp_dir().join(format!("volfold-fuzz-overlay-{}", std::process::id()));
    std::fs::write(&path, &sidecar).expect("a sidecar");
    let open = || {
        let below = Arc::new(MemoryDevice::new(vec![9; SIZE]));
        Overlay::in_file(below, &path, &identity, 1 << 20)
    };
    if let Ok(overlay) = open() {
        let _ = overlay.write_zeroes(100, 20_000);
        let _ = overlay.write(5000, &[3; 5000]);
        let before = contents(&overlay);
        drop(overlay);
        let again = open().expect("the same sidecar");
        assert_eq!(again.lost(), 0);
        assert!(contents(&again) == before);
    }
    let _ = std::fs::remove_file(&path);
}
