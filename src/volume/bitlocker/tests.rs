use std::sync::Arc;

use volfold_block::testing::{Noise, contents};
use volfold_block::{BlockErrorKind, MemoryDevice};

use super::BitLocker;
use super::layout::VolumeLayout;
use super::metadata::Metadata;
use crate::volume::cipher::{SectorCipher, Sectors};
use crate::volume::{Region, VolumeManager};

/// Turns each bit.
struct Turned;

impl SectorCipher for Turned {
    fn sectors(&self) -> Sectors {
        Sectors::in_512(512).unwrap()
    }

    fn decrypt(&self, _first: u64, buf: &mut [u8]) {
        buf.iter_mut().for_each(|byte| *byte = !*byte);
    }
}

/// What the sector at `start` of the volume is: decrypted, as it is, zeros, or an error.
fn sectors(metadata: Metadata, bytes: &[u8]) -> Vec<String> {
    let header = (metadata.header, metadata.header_length);
    let layout = VolumeLayout {
        device: Arc::new(MemoryDevice::new(bytes)),
        metadata,
        read: Vec::new(),
        sector_size: 512,
        size: bytes.len() as u64,
    };
    assert!(layout.is_in_sectors());
    let cipher: Arc<dyn SectorCipher> = Arc::new(Turned);
    let device = layout.open(Some(&cipher)).unwrap();
    let told = (0..bytes.len()).step_by(512).map(|start| {
        let mut found = [0; 512];
        if let Err(error) = device.read_at(start as u64, &mut found) {
            assert_eq!(error.kind(), BlockErrorKind::Unsupported);
            return "unknown".to_owned();
        }
        let moved = start + if (start as u64) < header.1 { header.0 as usize } else { 0 };
        let own = &bytes[moved..moved + 512];
        let kind = if found == own {
            "plain"
        } else if found.iter().zip(own).all(|(byte, own)| *byte == !*own) {
            "decrypted"
        } else if found == [0; 512] {
            "zeros"
        } else {
            "other"
        };
        kind.to_owned()
    });
    told.collect()
}

#[test]
fn first_sectors_are_encrypted_where_the_place_is_that_they_lie_in() {
    let bytes = contents(7, 64 * 512);
    // They are 8 sectors, from sector 20 on; the first 24 sectors are encrypted, two more are being.
    let told = sectors(Metadata::in_part(24 * 512, 1024, 20 * 512, 8 * 512), &bytes);
    let of = |range: std::ops::Range<usize>| told[range].join(" ");
    assert_eq!(of(0..8), "decrypted decrypted decrypted decrypted unknown unknown plain plain");
    assert_eq!(of(8..20), ["decrypted"; 12].join(" "));
    assert_eq!(of(20..28), ["zeros"; 8].join(" "));
    assert_eq!(of(28..64), ["plain"; 36].join(" "));
}

#[test]
fn a_volume_whose_start_cannot_be_read_is_none() {
    let device = Noise::broken_bytes(contents(1, 8192), 100..101);
    let region = Region {
        disk: 0,
        size: 8192,
        device,
        start: 0,
        label: "disk".into(),
        partition: None,
        table_id: None,
    };
    assert!(BitLocker.claim(&region).unwrap().is_none());
}
