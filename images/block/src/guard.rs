//! The one place where a panic becomes an error.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::error::{BlockError, BlockErrorKind};

/// A panic in our own code: a bug, never the fault of an image.
#[derive(Clone, Copy, Debug)]
pub struct Panicked<'a> {
    object: &'a str,
}

impl fmt::Display for Panicked<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let object = self.object;
        write!(f, "internal error while reading {object}; this is a bug, please report it")
    }
}

impl From<Panicked<'_>> for BlockError {
    fn from(panicked: Panicked<'_>) -> Self {
        Self::new(BlockErrorKind::Internal, panicked.to_string())
    }
}

impl From<Panicked<'_>> for std::io::Error {
    fn from(panicked: Panicked<'_>) -> Self {
        Self::other(panicked.to_string())
    }
}

/// Does `work` on `object` (`the file`, `the volume`); a panic in it is an `Internal` error of this
/// request alone.
///
/// # Errors
/// What `work` returns, or the panic.
pub fn guard<'a, T, E: From<Panicked<'a>>>(
    object: &'a str,
    work: impl FnOnce() -> Result<T, E>,
) -> Result<T, E> {
    // The panic hook has printed where it happened. No lock of ours is poisoned, and what a reader
    // keeps between requests is whole at every step.
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| Err(Panicked { object }.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::BlockResult;

    #[test]
    fn a_panic_is_an_internal_error_that_asks_for_a_report() {
        let result: BlockResult<()> = guard("the volume", || panic!("a bug"));
        let error = result.unwrap_err();
        assert_eq!(error.kind(), BlockErrorKind::Internal);
        assert_eq!(
            error.message(),
            "internal error while reading the volume; this is a bug, please report it"
        );
    }

    #[test]
    fn what_does_not_panic_passes_unchanged() {
        assert_eq!(guard("it", || BlockResult::Ok(7)).unwrap(), 7);
        let error = guard("it", || BlockResult::<()>::Err(BlockError::missing("gone")));
        assert_eq!(error.unwrap_err().kind(), BlockErrorKind::MissingPart);
    }
}
