//! Conversions between the numbers of protocols, of devices and of memory.

/// `count` bytes as a length in memory. What no memory of this host holds becomes the largest number,
/// which no buffer has.
pub(super) fn to_usize(count: u64) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}

/// `count` as a number of 32 bits. What has more becomes the largest number; callers have bounded it
/// before by what the protocol allows.
#[cfg(any(feature = "nbd", feature = "iscsi"))]
pub(super) fn to_u32(count: u64) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// The length of `bytes` as a number of 32 bits; callers have bounded it before.
#[cfg(any(feature = "nbd", all(target_os = "linux", feature = "loop")))]
pub(super) fn length_u32(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).unwrap_or(u32::MAX)
}
