//! Sidecars of overlays: records with right sums and arbitrary fields, and arbitrary bytes behind them.
//! What is taken up reads the same when it is taken up again.

use std::sync::Arc;

use volfold_block::{BlockDevice, MemoryDevice};
use volfold_projector::block::overlay::{Overlay, OverlayFile};

const SIZE: usize = 100_000;
const IDENTITY: [u8; 32] = [7; 32];
const SALT: [u8; 16] = [5; 16];

/// A header without files.
fn header() -> Vec<u8> {
    let mut header = b"VOLFOVL2".to_vec();
    header.extend(SALT);
    header.extend(IDENTITY);
    header.extend((SIZE as u64).to_le_bytes());
    header.extend([0; 8]);
    header.extend(crc32c::crc32c(&header).to_le_bytes());
    header
}

/// A record, from 12 bytes: its length and place in blocks, or what they are made odd by.
fn record(fields: &[u8; 12], sequence: u64) -> Vec<u8> {
    let [length, block, zeros, odd, rest @ ..] = *fields;
    let mut data = vec![odd; usize::from(length % 8) * 4096];
    let mut offset = u64::from(block % 32) * 4096;
    let mut zeros = u64::from(zeros) * 4096;
    let mut bases = Vec::new();
    let mut sequence = sequence;
    match odd {
        1 => offset = u64::from_le_bytes(rest),
        2 => zeros = u64::from_le_bytes(rest),
        3 => data.push(0),
        4 => bases.extend(rest),
        5 => bases.extend([0, 0, 0, 0].into_iter().chain(crc32c::crc32c(&[9; 4096]).to_le_bytes())),
        6 => sequence = u64::from_le_bytes(rest),
        _ => {}
    }
    let mut record = b"RECD".to_vec();
    record.extend((data.len() as u32).to_le_bytes());
    record.extend(offset.to_le_bytes());
    record.extend(zeros.to_le_bytes());
    record.extend(sequence.to_le_bytes());
    record.extend((bases.len() as u32 / 8).to_le_bytes());
    record.extend(crc32c::crc32c(&data).to_le_bytes());
    record.extend(crc32c::crc32c(&bases).to_le_bytes());
    record.extend(crc32c::crc32c_append(crc32c::crc32c(&SALT), &record).to_le_bytes());
    if odd == 7
        && let Some(byte) = record.get_mut(usize::from(rest[0]))
    {
        *byte ^= rest[1];
    }
    record.extend(data);
    record.extend(bases);
    record
}

/// The bytes; those of a damaged record are errors.
fn contents(overlay: &Overlay) -> Vec<Option<[u8; 16]>> {
    let mut pieces = Vec::new();
    for place in (0..SIZE as u64).step_by(16) {
        let mut bytes = [0; 16];
        pieces.push(overlay.read_at(place, &mut bytes).ok().map(|()| bytes));
    }
    let mut offset = 0;
    while offset < SIZE as u64 {
        offset += overlay.extent_at(offset).expect("an extent").length;
    }
    pieces
}

/// Takes up the sidecar that `data` describes.
pub fn run(data: &[u8]) {
    let mut sidecar = header();
    let (records, tail) = data.as_chunks::<12>();
    for (fields, sequence) in records.iter().take(64).zip(1..) {
        sidecar.extend(record(fields, sequence));
    }
    sidecar.extend(tail);
    let folder = std::env::temp_dir().join(format!("volfold-fuzz-overlay-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let path = folder.join("changes");
    for force in [false, true] {
        std::fs::write(&path, &sidecar).expect("a sidecar");
        let mut wanted = OverlayFile::new(&path, IDENTITY, 1 << 20);
        wanted.force = force;
        let open = || Overlay::in_file(Arc::new(MemoryDevice::new(vec![9; SIZE])), &wanted);
        match open() {
            Ok(overlay) => {
                let _ = overlay.write_zeroes(100, 20_000);
                let _ = overlay.write(5000, &[3; 5000]);
                let _ = overlay.flush();
                let before = contents(&overlay);
                assert!(force || before.iter().all(Option::is_some));
                drop(overlay);
                let again = open().expect("the same sidecar");
                assert!(!again.remarks().iter().any(|line| line.contains("not written whole")));
                assert!(contents(&again) == before);
            }
            Err(_) => assert!(std::fs::read(&path).expect("the sidecar") == sidecar),
        }
    }
    let _ = std::fs::remove_dir_all(&folder);
}
