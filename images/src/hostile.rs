//! Damage, for the tests of all formats: an image that is cut off, or of which one byte is another.

use std::sync::Arc;

use crate::format::ImageFormat;
use crate::testing::{Files, context};
use volfold_block::{BlockDevice, BlockResult, byte_count, check_range};

/// Bytes that are cut off at `size`, of which one may be another. Copies share them.
#[derive(Clone)]
pub(crate) struct Bent {
    bytes: Arc<[u8]>,
    size: usize,
    change: Option<(usize, u8)>,
}

impl Bent {
    pub(crate) fn new(bytes: &[u8]) -> Self {
        Self { bytes: bytes.into(), size: bytes.len(), change: None }
    }

    pub(crate) fn cut(&self, size: usize) -> Self {
        Self { size, ..self.clone() }
    }

    /// The same whose byte at `at` is turned by `mask`.
    pub(crate) fn changed(&self, at: usize, mask: u8) -> Self {
        Self { change: Some((at, self.bytes[at] ^ mask)), ..self.clone() }
    }
}

impl BlockDevice for Bent {
    fn size(&self) -> u64 {
        byte_count(self.size)
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> BlockResult<()> {
        check_range(offset, buf.len(), self.size())?;
        let at = usize::try_from(offset).unwrap();
        buf.copy_from_slice(&self.bytes[at..at + buf.len()]);
        if let Some((place, value)) = self.change
            && let Some(byte) = place.checked_sub(at).and_then(|index| buf.get_mut(index))
        {
            *byte = value;
        }
        Ok(())
    }
}

/// What became of a damaged image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The disk is what it was.
    Same,
    /// It cannot be opened, or not be read.
    Error,
    /// It is another disk, and a finding that bears on content says so.
    Told,
    /// It is another disk, and nothing says so.
    Silent,
}

/// What becomes of the disk `wanted` if the image `name` of `files` is `bent`.
pub(crate) fn outcome(
    format: &dyn ImageFormat,
    files: &Files,
    name: &str,
    bent: Bent,
    wanted: &[u8],
) -> Outcome {
    let files = files.clone().with_device(name, Arc::new(bent));
    let Ok(image) = format.open(&files.located(name), &context()) else { return Outcome::Error };
    let size = usize::try_from(image.device.size()).unwrap_or(usize::MAX);
    let mut is_same = size == wanted.len();
    // In pieces, as large buffers are slow under wine.
    let mut piece = [0xEE; 1 << 16];
    for (at, wanted) in (0..).step_by(piece.len()).zip(wanted.chunks(piece.len())) {
        let Some(left) = size.checked_sub(at).filter(|left| *left > 0) else { break };
        let length = wanted.len().min(left);
        if image.device.read_at(byte_count(at), &mut piece[..length]).is_err() {
            return Outcome::Error;
        }
        is_same &= piece[..length] == wanted[..length];
    }
    if image.device.extent_at(0).is_err() {
        return Outcome::Error;
    }
    // Where the disk has become larger its end has to be an answer as well.
    let _ = image.device.read_at(image.device.size() - 1, &mut [0]);
    match is_same {
        true => Outcome::Same,
        false if image.log.all().iter().any(|one| one.code.bears_on_content()) => Outcome::Told,
        false => Outcome::Silent,
    }
}
