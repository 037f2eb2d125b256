//! Snapshots: volumes that are another volume as it was at a time, or a copy that was changed since.

use std::fmt;

use serde::{Serialize, Serializer};
use volfold_block::date_of_day;

use super::id::VolumeId;

/// A point in time, UTC, in whole seconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SnapshotTime(pub i64);

/// `2025-06-01T120000Z`: ISO 8601 without colons, which no file name of Windows may have. The year
/// has a sign where it is not of four digits.
impl fmt::Display for SnapshotTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (days, seconds) = (self.0.div_euclid(86_400), self.0.rem_euclid(86_400));
        let (year, month, day) = date_of_day(days);
        let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
        if (0..=9999).contains(&year) {
            write!(f, "{year:04}")?;
        } else {
            write!(f, "{year:+05}")?;
        }
        write!(f, "-{month:02}-{day:02}T{hour:02}{minute:02}{second:02}Z")
    }
}

impl Serialize for SnapshotTime {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// What a volume is a snapshot of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Snapshot {
    /// The id of the volume that it was taken of.
    pub of: VolumeId,
    /// What its manager calls it.
    pub name: Option<String>,
    /// When.
    pub time: Option<SnapshotTime>,
}

impl Snapshot {
    /// What stands after the name of the other volume: its own name, else the time.
    pub fn suffix(&self) -> String {
        match (&self.name, self.time) {
            (Some(name), _) => name.clone(),
            (None, Some(time)) => time.to_string(),
            (None, None) => "snapshot".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_folder_names_can_have_them() {
        for (seconds, text) in [
            (0, "1970-01-01T000000Z"),
            (1_748_779_200, "2025-06-01T120000Z"),
            (951_782_399, "2000-02-28T235959Z"),
            (951_782_400, "2000-02-29T000000Z"),
            (-1, "1969-12-31T235959Z"),
            (-62_167_219_200, "0000-01-01T000000Z"),
            (-62_167_219_201, "-0001-12-31T235959Z"),
            (253_402_300_800, "+10000-01-01T000000Z"),
        ] {
            assert_eq!(SnapshotTime(seconds).to_string(), text);
        }
        let _ = (SnapshotTime(i64::MIN).to_string(), SnapshotTime(i64::MAX).to_string());
    }
}
