//! What is given out as a block device: disks and volumes, as they are.

use std::sync::Arc;

use volfold_block::{BlockDevice, BlockError, BlockErrorKind, BlockResult, Extent};

use crate::overlay::Overlay;

/// One block device that clients can ask for.
pub struct Export {
    /// The name that clients use: the id of a volume, or `disk0`.
    pub name: String,
    /// What it is, for people.
    pub description: String,
    /// Its bytes.
    pub content: Content,
}

/// Where the bytes of an export come from, and whether they may change.
#[derive(Clone)]
pub enum Content {
    /// The image, which is never written to.
    ReadOnly(Arc<dyn BlockDevice>),
    /// The image with the changes that clients made beside it.
    Overlay(Arc<Overlay>),
}

impl Content {
    /// The bytes with the changes.
    pub fn device(&self) -> &dyn BlockDevice {
        match self {
            Self::ReadOnly(device) => &**device,
            Self::Overlay(overlay) => &**overlay,
        }
    }

    /// The place for changes; `None` if there are to be none.
    pub fn overlay(&self) -> Option<&Overlay> {
        match self {
            Self::ReadOnly(_) => None,
            Self::Overlay(overlay) => Some(overlay),
        }
    }

    /// The kind of the bytes at `offset`, and how far they reach, at most `limit`.
    ///
    /// # Errors
    /// As [`BlockDevice::extent_at`].
    pub(crate) fn extent(&self, offset: u64, limit: u64) -> BlockResult<Extent> {
        let extent = self.device().extent_at(offset)?;
        match extent.length.min(limit) {
            0 => Err(BlockError::new(
                BlockErrorKind::Corrupt,
                "the image tells of an extent without length",
            )),
            length => Ok(Extent { length, ..extent }),
        }
    }
}
