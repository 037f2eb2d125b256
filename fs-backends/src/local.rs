//! What a volume leaves to who reads it: the zone of its clocks, and the code page of its names.

use std::fmt;
use std::str::FromStr;

use jiff::tz;

use crate::error::{FsError, FsErrorKind};
use crate::time::Timestamp;

/// The time zone of clocks whose file system keeps local time without saying of where (FAT).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimeZone(tz::TimeZone);

impl Default for TimeZone {
    fn default() -> Self {
        Self(tz::TimeZone::UTC)
    }
}

impl FromStr for TimeZone {
    type Err = FsError;

    /// `Europe/Berlin`, a name of the IANA database, which has the summer times of all years; `+02:00` or `-3`,
    /// always so far east of UTC; `UTC`.
    fn from_str(text: &str) -> Result<Self, FsError> {
        let unknown = || {
            FsError::new(
                FsErrorKind::InvalidName,
                format!("{text:?} is no time zone; give a name as Europe/Berlin, or +02:00"),
            )
        };
        if text.starts_with(['+', '-']) {
            let seconds = offset(text).ok_or_else(unknown)?;
            let offset = tz::Offset::from_seconds(seconds).map_err(|_| unknown())?;
            return Ok(Self(tz::TimeZone::fixed(offset)));
        }
        tz::TimeZone::get(text).map(Self).map_err(|_| unknown())
    }
}

/// The seconds of `+02:00`, `+0200` or `+2`, at most 18 hours.
fn offset(text: &str) -> Option<i32> {
    let (sign, digits) = text.split_at_checked(1)?;
    let (hours, minutes) = match digits.split_once(':') {
        Some(parts) => parts,
        None if digits.len() == 4 => digits.split_at_checked(2)?,
        None => (digits, "0"),
    };
    let number = |text: &str, limit: i32| {
        let is_number =
            (1..=2).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse().ok().filter(|number: &i32| is_number && *number <= limit)
    };
    let seconds = number(hours, 18)?
        .saturating_mul(3600)
        .saturating_add(number(minutes, 59)?.saturating_mul(60));
    Some(if sign == "-" { seconds.saturating_neg() } else { seconds })
}

/// As it can be read again.
impl fmt::Display for TimeZone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(name) = self.0.iana_name() {
            return f.write_str(name);
        }
        let seconds = self.0.to_fixed_offset().map_or(0, tz::Offset::seconds);
        let (sign, minutes) = (if seconds < 0 { '-' } else { '+' }, seconds.unsigned_abs() / 60);
        write!(f, "{sign}{:02}:{:02}", minutes / 60, minutes % 60)
    }
}

impl TimeZone {
    /// The point in time at which clocks showed `local`, as if it were UTC. Of an hour that was shown twice the first is
    /// taken; one that was never shown counts from the time before it.
    pub fn to_utc(&self, local: Timestamp) -> Timestamp {
        if self.0 == tz::TimeZone::UTC {
            return local;
        }
        let shown = jiff::Timestamp::from_second(local.seconds).ok();
        let shown = shown.map(|shown| tz::Offset::UTC.to_datetime(shown));
        let utc = shown.and_then(|shown| self.0.to_timestamp(shown).ok());
        match utc {
            Some(utc) => Timestamp { seconds: utc.as_second(), ..local },
            None => local,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn utc(zone: &str, seconds: i64) -> i64 {
        let zone: TimeZone = zone.parse().unwrap();
        zone.to_utc(Timestamp { seconds, nanoseconds: 5 }).seconds
    }

    #[test]
    fn local_times_have_the_summer_time_of_their_year() {
        // 2026-01-15 and 2026-07-15 12:00.
        let (winter, summer) = (1_768_478_400, 1_784_116_800);
        for (zone, in_winter, in_summer) in [
            ("UTC", 0, 0),
            ("Europe/Berlin", 1, 2),
            ("+05:30", 5, 5),
            ("-3", -3, -3),
            ("America/New_York", -5, -4),
        ] {
            let minutes = if zone == "+05:30" { 30 } else { 0 };
            assert_eq!((winter - utc(zone, winter)) / 60, in_winter * 60 + minutes, "{zone}");
            assert_eq!((summer - utc(zone, summer)) / 60, in_summer * 60 + minutes, "{zone}");
        }
        // 2026-03-29 02:30 was shown by no clock of Berlin, 2026-10-25 02:30 twice.
        assert_eq!(utc("Europe/Berlin", 1_774_751_400), 1_774_751_400 - 3600);
        assert_eq!(utc("Europe/Berlin", 1_792_895_400), 1_792_895_400 - 7200);
        assert_eq!(utc("Europe/Berlin", i64::MAX), i64::MAX);
    }

    #[test]
    fn a_zone_is_written_as_it_is_read() {
        for (text, wanted) in [
            ("UTC", "UTC"),
            ("Europe/Berlin", "Europe/Berlin"),
            ("+0530", "+05:30"),
            ("-3", "-03:00"),
            ("+0", "UTC"),
        ] {
            let zone: TimeZone = text.parse().unwrap();
            assert_eq!(zone.to_string(), wanted);
            assert_eq!(wanted.parse::<TimeZone>().unwrap(), zone);
        }
    }

    #[test]
    fn what_is_no_zone_is_refused() {
        for text in ["", "+", "+19", "+1:60", "+1:2:3", "Mars/Olympus", "+٣", "-123"] {
            assert!(text.parse::<TimeZone>().is_err(), "{text}");
        }
    }
}
