//! Members for the tests of mapping devices.

use std::ops::Range;
use std::sync::Arc;

use volfold_block::{
    BlockDevice, BlockError, BlockErrorKind, BlockResult, Extent, ExtentKind, check_range,
};

use super::Absent;

/// `size` bytes that depend on `seed` and look random.
pub(super) fn contents(seed: u64, size: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0x5DEE_CE66;
    (0..size).map(|_| (next(&mut state) >> 24) as u8).collect()
}

/// The next number of a small generator.
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    *state >> 20
}

/// Bytes in memory, some of which cannot be read.
pub(super) struct Noise {
    bytes: Vec<u8>,
    broken: Range<u64>,
    is_hole: bool,
}

impl Noise {
    pub(super) fn of(bytes: Vec<u8>) -> Arc<dyn BlockDevice> {
        Self::broken_bytes(bytes, 0..0)
    }

    pub(super) fn hole(size: usize) -> Arc<dyn BlockDevice> {
        Arc::new(Self { bytes: vec![0; size], broken: 0..0, is_hole: true })
    }

    pub(super) fn broken(seed: u64, size: usize, broken: Range<u64>) -> Arc<dyn BlockDevice> {
        Self::broken_bytes(contents(seed, size), broken)
    }

    pub(super) fn broken_bytes(bytes: Vec<u8>, broken: Range<u64>) -> Arc<dyn BlockDevice> {
        Arc::new(Self { bytes, broken, is_hole: false })
    }

    pub(super) fn zero(length: u64) -> Extent {
        Extent { kind: ExtentKind::Zero, length }
    }
}

impl BlockDevice for Noise {
    fn size(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> BlockResult<()> {
        check_range(offset, buf.len(), self.size())?;
        // A failed read leaves rubbish behind, as a host may.
        if offset < self.broken.end && offset + buf.len() as u64 > self.broken.start {
            buf.fill(0xEE);
            return Err(BlockError::new(BlockErrorKind::Io, "bad sector"));
        }
        buf.copy_from_slice(&self.bytes[offset as usize..][..buf.len()]);
        Ok(())
    }

    fn extent_at(&self, offset: u64) -> BlockResult<Extent> {
        check_range(offset, 1, self.size())?;
        let kind = if self.is_hole { ExtentKind::Zero } else { ExtentKind::Data };
        Ok(Extent { kind, length: self.size() - offset })
    }
}

pub(super) fn member(seed: u64, size: usize) -> Arc<dyn BlockDevice> {
    Noise::of(contents(seed, size))
}

pub(super) fn missing(size: u64, name: &str) -> Arc<dyn BlockDevice> {
    Arc::new(Absent::new(size, format!("disk {name} is missing")))
}

/// Reads all of `device`, and `reads` random parts of it, and compares with `model`.
pub(super) fn check_against_model(device: &dyn BlockDevice, model: &[u8], reads: usize, seed: u64) {
    assert_eq!(device.size(), model.len() as u64);
    let mut whole = vec![0xAA; model.len()];
    device.read_at(0, &mut whole).unwrap();
    assert!(whole == model, "the whole device differs from the model");
    let mut state = seed;
    for _ in 0..reads {
        let offset = next(&mut state) as usize % model.len();
        let length = next(&mut state) as usize % (model.len() - offset) + 1;
        let mut part = vec![0xAA; length];
        device.read_at(offset as u64, &mut part).unwrap();
        assert!(part == model[offset..offset + length], "{length} bytes at {offset} differ");
        let extent = device.extent_at(offset as u64).unwrap();
        assert!(extent.length > 0 && offset as u64 + extent.length <= device.size());
    }
}
