//! Times of the guest as times of the host.

use std::fs::FileTimes;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use volfold_fs::{Metadata, Timestamp};

pub(super) fn file_times(metadata: &Metadata) -> FileTimes {
    FileTimes::new()
        .set_modified(system_time(metadata.times.modified))
        .set_accessed(system_time(metadata.times.accessed))
}

pub(super) fn system_time(time: Timestamp) -> SystemTime {
    let seconds = Duration::from_secs(time.seconds.unsigned_abs());
    let whole = if time.seconds < 0 {
        UNIX_EPOCH.checked_sub(seconds)
    } else {
        UNIX_EPOCH.checked_add(seconds)
    };
    let nanoseconds = Duration::from_nanos(time.nanoseconds.into());
    whole.and_then(|whole| whole.checked_add(nanoseconds)).unwrap_or(UNIX_EPOCH)
}
