//! Reads whose bytes outlive their request.
//!
//! A file of the host may be changed by another program while it is open. A device looks for that
//! from time to time, not after every read. Bytes that are kept, in a cache or as a table, would
//! stand for the old file long after it is gone, so they are checked each time.

use std::cell::Cell;

thread_local! {
    static KEPT: Cell<bool> = const { Cell::new(false) };
}

/// Sets the mark back, also when the read panics.
struct Restore(bool);

impl Drop for Restore {
    fn drop(&mut self) {
        // A thread that is about to end reads no more.
        let _ = KEPT.try_with(|kept| kept.set(self.0));
    }
}

/// Runs `read`, whose bytes are kept: each device below that can be changed by others makes sure,
/// after it was read, that it was not.
pub fn keep<T>(read: impl FnOnce() -> T) -> T {
    let before = KEPT.try_with(|kept| kept.replace(true)).unwrap_or(true);
    let _restore = Restore(before);
    read()
}

/// Whether the bytes that this thread reads now are kept; see [`keep`].
pub fn is_kept() -> bool {
    KEPT.try_with(Cell::get).unwrap_or(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mark_ends_with_the_read_also_by_a_panic() {
        assert!(!is_kept());
        assert!(keep(|| keep(is_kept) && is_kept()));
        assert!(!is_kept());
        let panicked = std::panic::catch_unwind(|| keep(|| panic!("in a test")));
        assert!(panicked.is_err() && !is_kept());
    }
}
