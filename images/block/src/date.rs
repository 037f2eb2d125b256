//! The calendar.

/// Year, month and day of the day `days` after 1970-01-01, by the Gregorian calendar.
///
/// Source: "chrono-Compatible Low-Level Date Algorithms", `civil_from_days`: a year begins in
/// March, so that the leap day is its last, and 400 years have 146,097 days.
#[expect(
    clippy::arithmetic_side_effects,
    reason = "64 bits of seconds are 48 bits of days, far from the ends of 128 bits"
)]
pub fn date_of_day(days: i64) -> (i128, i128, i128) {
    let days = i128::from(days) + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (year_of_era + era * 400 + i128::from(month <= 2), month, day)
}
