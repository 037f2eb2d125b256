//! The serial number of a volume.

/// The serial number as DOS and blkid show it.
pub(crate) fn serial_text(serial: u32) -> String {
    let (high, low) = (serial >> 16, serial & 0xFFFF);
    format!("{high:04X}-{low:04X}")
}
