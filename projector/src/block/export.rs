//! What all servers of block devices show: disks and volumes, as they are.

use std::sync::Arc;

use volfold_block::BlockDevice;
#[cfg(any(feature = "nbd", feature = "iscsi"))]
use volfold_block::{BlockError, BlockErrorKind, BlockResult, Extent};

use super::overlay::Overlay;

/// A block device with a name.
#[derive(Clone)]
#[non_exhaustive]
pub struct Export {
    /// The name that clients use: the id of a volume, `disk0`, or the name of a file.
    pub name: String,
    /// What it is, for people.
    pub description: String,
    /// Its bytes.
    pub content: Content,
}

impl Export {
    /// The bytes of `content` under `name`; `description` is for people.
    pub fn new(name: impl Into<String>, description: impl Into<String>, content: Content) -> Self {
        Self { name: name.into(), description: description.into(), content }
    }

    /// `device` as it is, under `name`.
    pub fn read_only(name: impl Into<String>, device: Arc<dyn BlockDevice>) -> Self {
        Self::new(name, "", Content::ReadOnly(device))
    }
}

/// Where the bytes of an export come from, and whether they may change.
#[derive(Clone)]
#[non_exhaustive]
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
    #[cfg(any(feature = "nbd", feature = "iscsi"))]
    pub(crate) fn extent(&self, offset: u64, limit: u64) -> BlockResult<Extent> {
        let extent = self.device().extent_at(offset)?;
        match extent.length.min(limit) {
            0 => Err(BlockError::new(BlockErrorKind::Internal, "device reported an empty extent")),
            length => Ok(Extent { length, ..extent }),
        }
    }
}
