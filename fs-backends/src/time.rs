//! Points in time.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use volfold_block::date_of_day;

/// A point in time, UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp {
    /// Seconds since 1970-01-01T00:00:00Z; negative before.
    pub seconds: i64,
    /// Nanoseconds in that second, 0 to 999,999,999.
    pub nanoseconds: u32,
}

/// `2026-11-22T04:40:00Z`: ISO 8601, proleptic Gregorian calendar, without the fraction of the second.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = date_of_day(self.seconds.div_euclid(86_400));
        let second = self.seconds.rem_euclid(86_400);
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
    }
}

impl Timestamp {
    /// The same as time of the host; `None` if that cannot hold it.
    pub fn to_system_time(self) -> Option<SystemTime> {
        let whole = Duration::from_secs(self.seconds.unsigned_abs());
        let fraction = Duration::from_nanos(u64::from(self.nanoseconds));
        let second = match self.seconds {
            0.. => UNIX_EPOCH.checked_add(whole),
            _ => UNIX_EPOCH.checked_sub(whole),
        };
        second?.checked_add(fraction)
    }
}

impl From<SystemTime> for Timestamp {
    fn from(time: SystemTime) -> Self {
        let seconds = |duration: Duration| i64::try_from(duration.as_secs()).unwrap_or(i64::MAX);
        match time.duration_since(UNIX_EPOCH) {
            Ok(after) => Self { seconds: seconds(after), nanoseconds: after.subsec_nanos() },
            Err(before) => {
                let before = before.duration();
                let second = seconds(before).saturating_neg();
                match before.subsec_nanos() {
                    0 => Self { seconds: second, nanoseconds: 0 },
                    nanoseconds => Self {
                        seconds: second.saturating_sub(1),
                        nanoseconds: 1_000_000_000_u32.saturating_sub(nanoseconds),
                    },
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_before_and_after_1970_are_civil_dates() {
        let at = |seconds| Timestamp { seconds, nanoseconds: 0 }.to_string();
        assert_eq!(at(0), "1970-01-01T00:00:00Z");
        assert_eq!(at(-1), "1969-12-31T23:59:59Z");
        assert_eq!(at(951_827_696), "2000-02-29T12:34:56Z");
        assert_eq!(at(4_102_444_800), "2100-01-01T00:00:00Z");
    }

    #[test]
    fn a_time_of_the_host_is_the_same_point() {
        for (seconds, nanoseconds) in [(0, 0), (1, 500), (-1, 999_999_900), (-5, 0), (1 << 33, 100)]
        {
            let time = Timestamp { seconds, nanoseconds };
            let host = time.to_system_time().unwrap();
            assert_eq!(Timestamp::from(host), time);
        }
        let ends = [i64::MIN, i64::MAX].map(|seconds| Timestamp { seconds, nanoseconds: 0 });
        // No more than that it does not end the program.
        let _ = ends.map(Timestamp::to_system_time);
    }
}
