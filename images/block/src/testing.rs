//! Devices and a model for the tests of whatever reads through a [`crate::Map`].

#![allow(
    clippy::allow_attributes,
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::indexing_slicing,
    clippy::missing_panics_doc,
    clippy::unwrap_used,
    reason = "for tests, which stop by a panic"
)]

use std::ops::Range;
use std::sync::Arc;

use crate::device::{BlockDevice, Extent, ExtentKind, check_range};
use crate::error::{BlockError, BlockErrorKind, BlockResult};

/// `size` bytes that depend on `seed` and look random.
pub fn contents(seed: u64, size: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0x5DEE_CE66;
    (0..size).map(|_| (next(&mut state) >> 24) as u8).collect()
}

/// The next number of a small generator.
pub fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    *state >> 20
}

/// Bytes in memory, some of which cannot be read.
pub struct Noise {
    bytes: Vec<u8>,
    broken: Range<u64>,
    is_hole: bool,
}

impl Noise {
    /// A device of `bytes`.
    pub fn of(bytes: Vec<u8>) -> Arc<dyn BlockDevice> {
        Self::broken_bytes(bytes, 0..0)
    }

    /// One hole.
    pub fn hole(size: usize) -> Arc<dyn BlockDevice> {
        Arc::new(Self { bytes: vec![0; size], broken: 0..0, is_hole: true })
    }

    /// [`contents`] whose bytes `broken` cannot be read.
    pub fn broken(seed: u64, size: usize, broken: Range<u64>) -> Arc<dyn BlockDevice> {
        Self::broken_bytes(contents(seed, size), broken)
    }

    /// A device of `bytes` of which `broken` cannot be read.
    pub fn broken_bytes(bytes: Vec<u8>, broken: Range<u64>) -> Arc<dyn BlockDevice> {
        Arc::new(Self { bytes, broken, is_hole: false })
    }

    /// The extent of a hole.
    pub fn zero(length: u64) -> Extent {
        Extent { kind: ExtentKind::Zero, length }
    }
}

impl BlockDevice for Noise {
    fn size(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> BlockResult<()> {
        check_range(offset, buf.len(), self.size())?;
        // A failed read leaves rubbish past, as a host may.
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

/// A device of [`contents`].
pub fn member(seed: u64, size: usize) -> Arc<dyn BlockDevice> {
    Noise::of(contents(seed, size))
}

/// Reads all of `device`, and `reads` random parts of it, plainly and in several buffers, and
/// compares with `model`; what the device calls zero has to be zero in the model.
pub fn check_against_model(device: &dyn BlockDevice, model: &[u8], reads: usize, seed: u64) {
    assert_eq!(device.size(), model.len() as u64);
    let mut whole = vec![0xAA; model.len()];
    device.read_at(0, &mut whole).unwrap();
    assert!(whole == model, "the whole device differs from the model");
    if model.is_empty() {
        return;
    }
    let mut state = seed;
    let mut below = |bound: usize| next(&mut state) as usize % bound;
    for _ in 0..reads {
        let offset = below(model.len());
        let length = below(model.len() - offset) + 1;
        let expected = &model[offset..offset + length];
        let mut part = vec![0xAA; length];
        device.read_at(offset as u64, &mut part).unwrap();
        assert!(part == expected, "{length} bytes at {offset} differ");
        part.fill(0x55);
        let (cut, other) = (below(length + 1), below(length + 1));
        let (first, rest) = part.split_at_mut(cut.min(other));
        let (second, third) = rest.split_at_mut(cut.max(other) - cut.min(other));
        device.read_vectored_at(offset as u64, &mut [first, second, third]).unwrap();
        assert!(part == expected, "{length} bytes at {offset} differ in three buffers");
        let extent = device.extent_at(offset as u64).unwrap();
        assert!(extent.length > 0 && offset as u64 + extent.length <= device.size());
        if extent.kind == ExtentKind::Zero {
            let zeros = &model[offset..offset + extent.length as usize];
            assert!(zeros.iter().all(|byte| *byte == 0), "hole at {offset} has bytes");
        }
    }
    assert!(device.extent_at(device.size()).is_err(), "an extent past the end");
    assert!(device.read_at(device.size(), &mut [0]).is_err(), "a read past the end");
}
