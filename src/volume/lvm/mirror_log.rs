//! The log of a mirror of the older driver: which regions are the same on all sides.
//!
//! Source: `drivers/md/dm-log.c` of Linux. Little-endian, at the start of the volume of the log.
//!
//! | offset | size | field     | rule                                                             |
//! |--------|------|-----------|------------------------------------------------------------------|
//! | 0x00   | 4    | `magic`   | `rRiM`                                                           |
//! | 0x04   | 4    | `version` | 2                                                                |
//! | 0x08   | 8    | `regions` | how many bits follow                                             |
//! | 0x400  | n    | bits      | one for each region, from the lowest of each byte on; 1: in sync |

use volfold_block::{BlockDevice, ByteReader, error_chain};

/// Where the bits begin.
const BITS: u64 = 1024;

/// LIMIT: bytes of bits that are looked at: a mirror of 64 TiB in regions of 2 MiB has 4 MiB.
const MAX_BYTES: usize = 4 << 20;

/// Why the sides of a mirror of `size` bytes in regions of `region` bytes may differ, by its log: a
/// sentence. `None` if all regions are in sync.
pub(super) fn why_not_in_sync(log: &dyn BlockDevice, size: u64, region: u64) -> Option<String> {
    let regions = match regions(log) {
        Ok(regions) => regions,
        Err(reason) => return Some(format!("the log of the mirror says nothing: {reason}")),
    };
    let wanted = size.checked_add(region.saturating_sub(1)).and_then(|sum| sum.checked_div(region));
    if wanted != Some(regions) {
        return Some("the log is of a mirror of another size".to_owned());
    }
    let bytes = usize::try_from(regions.div_ceil(8)).unwrap_or(usize::MAX);
    if bytes > MAX_BYTES {
        return Some("the log of the mirror is too large".to_owned());
    }
    let mut bits = vec![0; bytes];
    if let Err(error) = log.read_at(BITS, &mut bits) {
        return Some(format!("the log of the mirror says nothing: {}", error_chain(&error)));
    }
    let is_set = |number: &u64| {
        let byte = usize::try_from(number.wrapping_shr(3)).ok().and_then(|at| bits.get(at));
        let bit = u32::try_from(number & 7).unwrap_or(0);
        byte.is_some_and(|byte| byte.wrapping_shr(bit) & 1 == 1)
    };
    let differing = (0..regions).filter(|number| !is_set(number)).count();
    (differing > 0)
        .then(|| format!("{differing} of {regions} regions of the mirror are not in sync"))
}

fn regions(log: &dyn BlockDevice) -> Result<u64, String> {
    let mut bytes = [0; 16];
    log.read_at(0, &mut bytes).map_err(|error| error_chain(&error))?;
    let mut reader = ByteReader::new("log of a mirror", &bytes, 0);
    let read = |error: volfold_block::BlockError| error_chain(&error);
    let (magic, version) = (reader.array::<4>().map_err(read)?, reader.u32_le().map_err(read)?);
    // 0x4D695272 in the order of the disk.
    if magic != *b"rRiM" {
        return Err("it has a wrong signature".to_owned());
    }
    if version != 2 {
        return Err(format!("it has version {version}"));
    }
    reader.u64_le().map_err(read)
}

#[cfg(test)]
mod tests {
    use volfold_block::MemoryDevice;

    use super::*;

    fn log(regions: u64, bits: &[u8]) -> MemoryDevice {
        let mut bytes = b"rRiM\x02\0\0\0".to_vec();
        bytes.extend(regions.to_le_bytes());
        bytes.resize(1024, 0);
        bytes.extend(bits);
        bytes.resize(2048, 0);
        MemoryDevice::new(bytes)
    }

    #[test]
    fn every_region_must_be_in_sync() {
        assert_eq!(why_not_in_sync(&log(10, &[0xFF, 0x03]), 10 * 512, 512), None);
        let line = why_not_in_sync(&log(10, &[0xFE, 0x01]), 9 * 512 + 1, 512);
        assert_eq!(line.as_deref(), Some("2 of 10 regions of the mirror are not in sync"));
    }

    #[test]
    fn what_is_no_log_says_nothing() {
        for (bytes, reason) in [
            (vec![0; 2048], "wrong signature"),
            (b"rRiM\x01\0\0\0\0\0\0\0\0\0\0\0".to_vec(), "version 1"),
            (vec![0; 3], "leaves the device"),
        ] {
            let line = why_not_in_sync(&MemoryDevice::new(bytes), 512, 512).unwrap();
            assert!(line.contains(reason), "{line}");
        }
        let other = why_not_in_sync(&log(10, &[0xFF, 0xFF]), 11 * 512, 512).unwrap();
        assert!(other.contains("another size"));
        assert!(why_not_in_sync(&log(10, &[0xFF]), 512, 0).is_some());
        let huge = why_not_in_sync(&log(1 << 40, &[0xFF]), 1 << 49, 512).unwrap();
        assert!(huge.contains("too large"));
    }
}
