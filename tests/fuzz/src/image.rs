//! Any bytes as a disk image of the format that the first byte picks; every extent and parent that it names is
//! the input again, or nothing.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use volfold_block::{BlockDevice, BlockError, BlockResult, CachePool, MemoryDevice};
use volfold_images::{FORMATS, ImageContext, Located, Locator};

const MIB: u64 = 1 << 20;

/// Gives the same bytes for each reference, as long as `depth` lasts.
struct SameBytes {
    bytes: Arc<[u8]>,
    depth: u32,
}

impl SameBytes {
    fn located(&self, name: String) -> Located {
        Located {
            device: Arc::new(MemoryDevice::new(Arc::clone(&self.bytes))),
            name,
            files: Arc::new(Self {
                bytes: Arc::clone(&self.bytes),
                depth: self.depth.saturating_sub(1),
            }),
        }
    }
}

impl Locator for SameBytes {
    fn open(&self, reference: &Path) -> BlockResult<Located> {
        if self.depth == 0 {
            return Err(BlockError::missing("there is no such file"));
        }
        Ok(self.located(format!("{} {}", reference.display(), self.depth)))
    }

    fn neighbours(&self, extension: &str, visit: &mut dyn FnMut(Located) -> ControlFlow<()>) {
        if self.depth > 0 {
            let _ = visit(self.located(format!("{extension} {}", self.depth)));
        }
    }
}

/// Reads here and there in `device`.
pub fn visit(device: &dyn BlockDevice) {
    let size = device.size();
    let mut buf = vec![0; 1 << 20];
    for start in [0, size / 2, size.saturating_sub(MIB)] {
        let length = size.saturating_sub(start).min(MIB);
        if let Some(part) = usize::try_from(length).ok().and_then(|end| buf.get_mut(..end)) {
            let _ = device.read_at(start, part);
        }
    }
    for step in 0..64 {
        let offset = (size / 64).saturating_mul(step).saturating_add(step);
        let mut small = [0; 777];
        let _ = device.read_at(offset, &mut small);
        if let Ok(extent) = device.extent_at(offset) {
            let end = offset.checked_add(extent.length);
            assert!(extent.length > 0 && end.is_some_and(|end| end <= size));
        }
    }
    assert!(device.read_at(size, &mut [0]).is_err());
    assert!(device.extent_at(size).is_err());
}

/// Opens the rest of `data` in the format that its first byte picks, and reads here and there.
pub fn run(data: &[u8]) {
    let Some((format, data)) = super::pick(FORMATS, data) else { return };
    for depth in [0, 2] {
        let files = SameBytes { bytes: data.into(), depth };
        let file = files.located("image".to_owned());
        let _ = format.probe(&*file.device);
        if let Ok(image) = format.open(&file, &ImageContext::new(&CachePool::new(1 << 20))) {
            visit(&*image.device);
        }
    }
}
