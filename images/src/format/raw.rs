//! The raw image: the file is the disk.

use crate::context::ImageContext;
use crate::format::{DiskImage, ImageFormat};
use crate::locator::Located;
use volfold_block::{BlockDevice, BlockError, BlockErrorKind, BlockResult, Confidence};

/// Reads raw images (`dd`, `.img`, `.raw`, flat extents without their descriptor).
pub struct Raw;

impl ImageFormat for Raw {
    fn id(&self) -> &'static str {
        "raw"
    }

    fn title(&self) -> &'static str {
        "raw (flat, dd)"
    }

    fn extensions(&self) -> &'static [&'static str] {
        &["raw", "img", "dd", "bin", "ima", "flp", "iso", "001"]
    }

    fn probe(&self, _file: &dyn BlockDevice) -> BlockResult<Confidence> {
        Ok(Confidence::Fallback)
    }

    fn open(&self, file: &Located, context: &ImageContext) -> BlockResult<DiskImage> {
        if file.device.size() == 0 {
            return Err(BlockError::new(BlockErrorKind::Corrupt, "image is empty"));
        }
        Ok(DiskImage::new(self.id(), file.device.clone(), file, context))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::locator::Locator;
    use crate::registry;
    use std::path::Path;
    use std::sync::Arc;
    use volfold_block::{CachePool, MemoryDevice};

    struct Nothing;

    impl Locator for Nothing {
        fn open(&self, _reference: &Path) -> BlockResult<Located> {
            Err(BlockError::missing("there is nothing"))
        }
    }

    fn open(bytes: &[u8]) -> BlockResult<DiskImage> {
        let file = Located {
            device: Arc::new(MemoryDevice::new(bytes)),
            name: "disk.img".to_owned(),
            files: Arc::new(Nothing),
        };
        registry::open(&file, &ImageContext::new(&CachePool::new(0)))
    }

    #[test]
    fn a_file_that_no_other_format_knows_is_the_disk_itself() {
        let image = open(b"anything at all").unwrap();
        assert_eq!((image.format, image.variant), ("raw", None));
        assert_eq!(image.chain, ["disk.img"]);
        let mut bytes = [0; 3];
        image.device.read_at(12, &mut bytes).unwrap();
        assert_eq!(&bytes, b"all");
        let error = image.device.read_at(13, &mut bytes).unwrap_err();
        assert_eq!(error.kind(), BlockErrorKind::OutOfRange);
    }

    #[test]
    fn an_empty_file_is_no_disk() {
        let error = open(b"").err().unwrap();
        assert_eq!((error.kind(), error.message()), (BlockErrorKind::Corrupt, "image is empty"));
    }
}
