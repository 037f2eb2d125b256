//! Dates and times of DOS: 16 bits each.
//!
//! A date has years from 1980 in 7 bits, the month in 4, the day in 5; a time has hours in 5 bits,
//! minutes in 6, and units of two seconds in 5.

use crate::time::Timestamp;

/// Days before a month, by its number; the numbers that are no month count as the first day.
const DAYS_BEFORE: [i64; 16] = [0, 0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334, 0, 0, 0];

/// The point in time of a date and a time of DOS, taken for UTC, with `hundredths` of a second
/// from 0 to 199.
pub(crate) fn timestamp(date: u16, time: u16, hundredths: u8) -> Timestamp {
    let year = i64::from(date >> 9);
    let month = usize::from(date >> 5 & 0x0F);
    let day = i64::from((date & 0x1F).max(1)).saturating_sub(1);
    // 1980 is a leap year, 2100 (year 120) is not; the format ends in 2107.
    let mut leap_days = year.saturating_add(3) / 4;
    if year > 120 {
        leap_days = leap_days.saturating_sub(1);
    }
    if year % 4 == 0 && year != 120 && (3..=12).contains(&month) {
        leap_days = leap_days.saturating_add(1);
    }
    let days = year
        .saturating_mul(365)
        .saturating_add(leap_days)
        .saturating_add(DAYS_BEFORE.get(month).copied().unwrap_or(0))
        .saturating_add(day)
        .saturating_add(3652);
    let minutes =
        i64::from(time >> 11).saturating_mul(60).saturating_add(i64::from(time >> 5 & 0x3F));
    let seconds = minutes
        .saturating_mul(60)
        .saturating_add(i64::from(time & 0x1F).saturating_mul(2))
        .saturating_add(i64::from(hundredths / 100));
    Timestamp {
        seconds: days.saturating_mul(86_400).saturating_add(seconds),
        nanoseconds: u32::from(hundredths % 100).saturating_mul(10_000_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_count_from_1980_to_2107() {
        let at = |date, time, hundredths| timestamp(date, time, hundredths);
        assert_eq!(at(0x21, 0, 0).seconds, 315_532_800);
        assert_eq!(at(0, 0, 0).seconds, 315_532_800);
        // 2000-03-01 12:34:57.5
        let time = at(20 << 9 | 3 << 5 | 1, 12 << 11 | 34 << 5 | 28, 150);
        assert_eq!((time.seconds, time.nanoseconds), (951_914_097, 500_000_000));
        // 2100-03-01 and 2107-12-31
        assert_eq!(at(120 << 9 | 3 << 5 | 1, 0, 0).seconds, 4_107_542_400);
        assert_eq!(at(127 << 9 | 12 << 5 | 31, 0, 0).seconds, 4_354_732_800);
    }
}
