//! Keys of images that are encrypted.

use std::sync::Arc;

use volfold_block::{BlockDevice, BlockError, BlockResult};
use volfold_images::Decryption;

use crate::volume::lock::{self, KeySource, WorkBudget};
use crate::volume::luks;

/// LIMIT: how many images share what work is left when one is opened: nobody knows how many more are encrypted.
const AMONG: usize = 8;

/// Opens an image with the keys of the set.
pub(crate) struct ImageKeys {
    pub(crate) keys: Arc<dyn KeySource>,
    /// What the keys of all images and volumes of the set may cost together.
    pub(crate) work: Arc<WorkBudget>,
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
        let work = self.work.part(AMONG);
        let opened = lock::open((&id, called), &lock, &*self.keys, &work);
        self.work.give_back(work);
        if let (None, Some(error)) = (&opened.device, opened.error) {
            return Err(inside(error));
        }
        opened.device.ok_or_else(|| {
            let wrong = opened.wrong.iter().map(|key| format!("; {key} does not open it"));
            let failed = opened.failed.iter().map(|line| format!("; {line}"));
            let told: String = failed.chain(wrong).collect();
            BlockError::refused(format!("is locked ({}){told}", lock.sentence()))
        })
    }
}
