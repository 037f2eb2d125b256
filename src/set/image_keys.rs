//! Keys of images that are encrypted.

use std::sync::Arc;

use volfold_block::{BlockDevice, BlockError, BlockResult};
use volfold_images::Decryption;

use crate::volume::lock::{self, KeySource, WorkBudget};
use crate::volume::luks;

/// Opens an image with the keys of the set.
pub(crate) struct ImageKeys {
    pub(crate) keys: Arc<dyn KeySource>,
    /// What the keys of the image may cost.
    pub(crate) work: WorkBudget,
}

impl Decryption for ImageKeys {
    fn luks(
        &self,
        called: &str,
        header: Arc<dyn BlockDevice>,
        file: &Arc<dyn BlockDevice>,
    ) -> BlockResult<Arc<dyn BlockDevice>> {
        let inside = |error: BlockError| error.within("is encrypted with LUKS");
        let (uuid, lock) = luks::of_image(header, file).map_err(inside)?;
        let id = format!("luks:{uuid}");
        let opened = lock::open((&id, called), &lock, &*self.keys, &self.work).map_err(inside)?;
        opened.device.ok_or_else(|| {
            let wrong = opened.wrong.iter().map(|key| format!("; {key} does not open it"));
            let failed = opened.failed.iter().map(|line| format!("; {line}"));
            let told: String = failed.chain(wrong).collect();
            BlockError::refused(format!("is locked ({}){told}", lock.sentence()))
        })
    }
}
