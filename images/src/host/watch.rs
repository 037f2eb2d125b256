//! Whether a file is still the one that was opened.
//!
//! Its size and the time of its last change are compared with those of the open handle, so that it
//! does not matter what its name means by now. QUIRK: some network file systems tell a time that is
//! some seconds old, and Windows tells a write that came through another handle late; a change is
//! noticed that much later there. A writer that puts the old time back is not noticed.

use std::fs::{File, Metadata};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use volfold_block::{BlockError, BlockErrorKind, BlockResult};

/// How long an answer of the host is good. A question costs as much as a small read.
const INTERVAL: Duration = Duration::from_millis(5);

/// Where the host answers slowly, at most one part in so many of the time is spent on asking.
const SHARE: u32 = 50;

/// What the host says of a file.
#[derive(PartialEq, Eq)]
struct Stamp {
    size: u64,
    changed: Option<SystemTime>,
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        Self { size: metadata.len(), changed: metadata.modified().ok() }
    }
}

/// Looks for changes of one open file.
pub(super) struct Watch {
    stamp: Stamp,
    opened: Instant,
    /// When the host is asked next, in microseconds since `opened`.
    due: AtomicU64,
    has_changed: AtomicBool,
}

impl Watch {
    /// Watches the file whose handle gave `metadata`.
    pub(super) fn new(metadata: &Metadata) -> Self {
        Self {
            stamp: Stamp::of(metadata),
            opened: Instant::now(),
            due: AtomicU64::new(0),
            has_changed: AtomicBool::new(false),
        }
    }

    /// Whether all that was read of `file` until the host was asked last is of the file that was
    /// opened. It is asked now if the last answer is old, and `always` otherwise too.
    ///
    /// # Errors
    /// `Io` if the file was changed, once and for all, or if the host does not know.
    pub(super) fn check(&self, file: &File, always: bool) -> BlockResult<()> {
        if self.has_changed.load(Ordering::Relaxed) {
            return Err(changed());
        }
        let before = self.opened.elapsed();
        if !always && micros(before) < self.due.load(Ordering::Relaxed) {
            return Ok(());
        }
        let metadata = file.metadata()?;
        let after = self.opened.elapsed();
        let rest = INTERVAL.max(after.saturating_sub(before).saturating_mul(SHARE));
        self.due.store(micros(after.saturating_add(rest)), Ordering::Relaxed);
        if Stamp::of(&metadata) == self.stamp {
            return Ok(());
        }
        self.has_changed.store(true, Ordering::Relaxed);
        Err(changed())
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

fn changed() -> BlockError {
    let sentence = "image file was changed by another program while it was open; open it again";
    BlockError::new(BlockErrorKind::Io, sentence)
}
