//! FILETIME: the times of Windows.

use volfold_fs::Timestamp;

/// Ticks of 100 nanoseconds in a second.
const TICKS: u64 = 10_000_000;
/// Seconds from 1601 to 1970.
const EPOCH: i64 = 11_644_473_600;

/// The point in time of `ticks` of 100 nanoseconds since 1601-01-01T00:00:00Z.
pub fn filetime_to_timestamp(ticks: u64) -> Timestamp {
    // Both are below the bounds of their types: 2^64 / 10^7 and 10^7.
    let seconds = i64::try_from(ticks / TICKS).unwrap_or(i64::MAX);
    let nanoseconds = u32::try_from(ticks % TICKS).unwrap_or(0).saturating_mul(100);
    Timestamp { seconds: seconds.saturating_sub(EPOCH), nanoseconds }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_count_from_1601() {
        let at = |ticks| filetime_to_timestamp(ticks);
        assert_eq!(at(0), Timestamp { seconds: -EPOCH, nanoseconds: 0 });
        assert_eq!(at(116_444_736_000_000_001), Timestamp { seconds: 0, nanoseconds: 100 });
        assert_eq!(at(u64::MAX).seconds, 1_833_029_933_770);
    }
}
