//! Why a manager gives no byte of a volume.

use std::sync::Arc;

use volfold_block::{BlockDevice, BlockError, BlockErrorKind, error_chain};

use super::map::Absent;

/// Why a volume is not read at all: what a [`BlockError`] says, for all who ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) kind: BlockErrorKind,
    /// A sentence without its object.
    pub(crate) line: String,
}

impl Refusal {
    /// What contradicts itself.
    pub(crate) fn corrupt(line: impl Into<String>) -> Self {
        Self { kind: BlockErrorKind::Corrupt, line: line.into() }
    }

    /// What this build does not lay out.
    pub(crate) fn unsupported(line: impl Into<String>) -> Self {
        Self { kind: BlockErrorKind::Unsupported, line: line.into() }
    }

    /// What needs something that is not there.
    pub(crate) fn missing(line: impl Into<String>) -> Self {
        Self { kind: BlockErrorKind::MissingPart, line: line.into() }
    }

    /// What a volume of `size` bytes gives for it: each read is this refusal, told as `line`.
    pub(crate) fn device(&self, size: u64, line: String) -> Arc<dyn BlockDevice> {
        let kind = match self.kind {
            // What another part needs is not what the caller can mend by asking again.
            BlockErrorKind::OutOfRange => BlockErrorKind::Corrupt,
            kind => kind,
        };
        Arc::new(Absent::of_kind(size, kind, line))
    }
}

impl From<BlockError> for Refusal {
    fn from(error: BlockError) -> Self {
        Self { kind: error.kind(), line: error_chain(&error) }
    }
}
