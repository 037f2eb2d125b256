//! What damage is, and what is only a volume that ends early.

use crate::error::{FsError, FsErrorKind, FsResult};

/// The same error; where the device is smaller than the file system says, `Corrupt`.
pub(super) fn cut_short(error: FsError, position: u64) -> FsError {
    if error.kind() == FsErrorKind::OutOfRange {
        return FsError::corrupt("volume is shorter than its file system")
            .at(position)
            .because(error);
    }
    error
}

/// Whether `result` is good: `false` for damage, and any other error stays one.
pub(super) fn ok_unless_corrupt<T>(result: FsResult<T>) -> FsResult<bool> {
    match result {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == FsErrorKind::Corrupt => Ok(false),
        Err(error) => Err(error),
    }
}
