//! Units that lie packed in a file, with a buffer that a thread keeps for the next one.

use std::cell::Cell;

use volfold_block::{BlockDevice, BlockResult, bytes_to_index};

thread_local! {
    /// Taken while in use: the device below may need a unit of another image.
    static PACKED: Cell<Option<Vec<u8>>> = const { Cell::new(None) };
}

/// Calls `work` with the `length` bytes of `file` at `at`. The caller has bounded `length`.
///
/// # Errors
/// If they cannot be read, and what `work` returns.
pub(crate) fn with_bytes<T>(
    file: &dyn BlockDevice,
    at: u64,
    length: u64,
    work: impl FnOnce(&[u8]) -> BlockResult<T>,
) -> BlockResult<T> {
    let kept = PACKED.try_with(Cell::take);
    let mut packed = kept.ok().flatten().unwrap_or_default();
    packed.resize(bytes_to_index(length)?, 0);
    let result = file.read_at(at, &mut packed).and_then(|()| work(&packed));
    // A thread that is about to end keeps nothing.
    let _ = PACKED.try_with(|kept| kept.set(Some(packed)));
    result
}
