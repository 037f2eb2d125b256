//! The boot sector of NTFS, and its copy past the end of the file system.
//!
//! Source: the public documentation of NTFS ("NTFS partition boot sector"). Little-endian. The copy
//! lies in the last sector of the partition, which the file system does not count as its own.
//!
//! | offset | size | field                 | rule                                              |
//! |--------|------|-----------------------|---------------------------------------------------|
//! | 0x03   | 8    | `oem`                 | `NTFS` and four spaces                            |
//! | 0x0B   | 2    | `bytes_per_sector`    | a power of two, 256 to 4096                       |
//! | 0x0D   | 1    | `sectors_per_cluster` | a power of two; above 0x80: 2 to the power 256-n  |
//! | 0x28   | 8    | `sectors`             | not 0                                             |
//! | 0x30   | 8    | `mft_cluster`         | not 0                                             |
//! | 0x38   | 8    | `mirror_cluster`      | of the copy of the first four file records        |
//! | 0x40   | 1    | `record_size`         | clusters; if negative, 2 to the power -n bytes    |
//! | 0x44   | 1    | `index_size`          | the same; each index says its own, so not used    |
//! | 0x48   | 8    | `serial`              |                                                   |

use std::mem::offset_of;

use volfold_block::{BlockDevice, byte_count, bytes_to_index};
use zerocopy::little_endian::{U16, U64};
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

use crate::error::{FsError, FsResult};

/// LIMIT: the largest cluster that Windows makes.
const MAX_CLUSTER: u64 = 2 << 20;
/// LIMIT: Windows writes file records of 1024 and 4096 bytes.
const RECORD_SIZES: std::ops::RangeInclusive<u64> = 512..=4096;
const SECTOR_SIZES: [u64; 4] = [512, 1024, 2048, 4096];
const OEM: &[u8; 8] = b"NTFS    ";

#[derive(FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawBoot {
    jump: [u8; 3],
    oem: [u8; 8],
    bytes_per_sector: U16,
    sectors_per_cluster: u8,
    unused_0e: [u8; 26],
    sectors: U64,
    mft_cluster: U64,
    mirror_cluster: U64,
    record_size: i8,
    unused_41: [u8; 3],
    index_size: i8,
    unused_45: [u8; 3],
    serial: U64,
}
const _: () = assert!(offset_of!(RawBoot, sectors) == 0x28);
const _: () = assert!(offset_of!(RawBoot, record_size) == 0x40);
const _: () = assert!(offset_of!(RawBoot, serial) == 0x48);

/// The geometry of a volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Boot {
    pub(super) cluster_size: u64,
    pub(super) record_size: usize,
    /// The bytes of the file system.
    pub(super) size: u64,
    /// Where the master file table begins.
    pub(super) mft: u64,
    /// Where the copy of its first records is.
    pub(super) mirror: u64,
    pub(super) serial: u64,
}

impl Boot {
    /// Whether the two boot sectors put everything in the same places.
    pub(super) fn is_laid_out_as(&self, other: &Self) -> bool {
        *self == Self { serial: self.serial, ..other.clone() }
    }

    /// The geometry in the boot sector `bytes`; `None` if it is not one of NTFS.
    ///
    /// # Errors
    /// `Corrupt` for invalid numbers, `Unsupported` for sizes that no system writes.
    pub(super) fn parse(bytes: &[u8]) -> FsResult<Option<Self>> {
        let Ok((raw, _)) = RawBoot::read_from_prefix(bytes) else {
            return Ok(None);
        };
        if raw.oem != *OEM {
            return Ok(None);
        }
        let corrupt = |what: &'static str, at: u64| FsError::corrupt(what).at(at);
        let sector_size = u64::from(raw.bytes_per_sector.get());
        if !(256..=4096).contains(&sector_size) || !sector_size.is_power_of_two() {
            return Err(corrupt("invalid sector size in the boot sector", 0x0B));
        }
        let cluster_size = cluster_size(sector_size, raw.sectors_per_cluster)
            .ok_or_else(|| corrupt("invalid cluster size in the boot sector", 0x0D))?;
        let sectors = raw.sectors.get();
        let size = sectors.checked_mul(sector_size).filter(|size| *size > 0);
        let size = size.ok_or_else(|| corrupt("invalid size in the boot sector", 0x28))?;
        let mft = raw.mft_cluster.get().checked_mul(cluster_size).filter(|mft| *mft > 0);
        let mft =
            mft.ok_or_else(|| corrupt("boot sector gives no place of the file table", 0x30))?;
        let record_size = match u32::try_from(raw.record_size) {
            Ok(clusters) => cluster_size.checked_mul(u64::from(clusters)),
            Err(_) => 1_u64.checked_shl(u32::from(raw.record_size.unsigned_abs())),
        };
        let record_size = record_size
            .filter(|size| RECORD_SIZES.contains(size) && size.is_power_of_two())
            .ok_or_else(|| FsError::unsupported("file record size is none of 512 to 4096 bytes"))?;
        Ok(Some(Self {
            cluster_size,
            record_size: bytes_to_index(record_size)?,
            size,
            mft,
            mirror: raw.mirror_cluster.get().saturating_mul(cluster_size),
            serial: raw.serial.get(),
        }))
    }
}

/// The bytes of a cluster; `None` if no volume can have such.
fn cluster_size(sector_size: u64, sectors: u8) -> Option<u64> {
    let sectors = if sectors > 0x80 {
        1_u64.checked_shl(u32::from(sectors.wrapping_neg()))?
    } else {
        u64::from(sectors)
    };
    let size = sector_size.checked_mul(sectors)?;
    (sectors.is_power_of_two() && size <= MAX_CLUSTER).then_some(size)
}

/// The first sector of `volume`, if it is large enough.
///
/// # Errors
/// If it cannot be read.
pub(super) fn read_primary(volume: &dyn BlockDevice) -> FsResult<Option<Boot>> {
    read_at(volume, 0)
}

/// Whether the first sector of `volume` is zeros, or still has the name of NTFS. Any other may be of
/// a file system that came later, and a copy at the end a leftover.
///
/// # Errors
/// If the sector cannot be read.
pub(super) fn is_wiped(volume: &dyn BlockDevice) -> FsResult<bool> {
    let mut first = [0; 512];
    if volume.size() < byte_count(first.len()) {
        return Ok(false);
    }
    volume.read_at(0, &mut first)?;
    Ok(first == [0; 512] || first.get(3..11) == Some(OEM.as_slice()))
}

/// The boot sector of `volume` that lies in its last sector.
///
/// # Errors
/// If the sectors cannot be read.
pub(super) fn read_backup(volume: &dyn BlockDevice) -> FsResult<Option<Boot>> {
    for sector in SECTOR_SIZES {
        let Some(position) = volume.size().checked_sub(sector) else {
            continue;
        };
        if let Ok(Some(boot)) = read_at(volume, position)
            && boot.size <= position
        {
            return Ok(Some(boot));
        }
    }
    Ok(None)
}

/// The copy of the boot sector that lies after the `size` bytes of the file system, or at the end
/// of `volume`, if there is one.
pub(super) fn read_copy(volume: &dyn BlockDevice, size: u64) -> Option<Boot> {
    let last = SECTOR_SIZES.iter().filter_map(|sector| volume.size().checked_sub(*sector));
    std::iter::once(size).chain(last).find_map(|position| read_at(volume, position).ok().flatten())
}

fn read_at(volume: &dyn BlockDevice, position: u64) -> FsResult<Option<Boot>> {
    let mut sector = [0; 512];
    if volume.size().saturating_sub(position) < byte_count(sector.len()) {
        return Ok(None);
    }
    volume.read_at(position, &mut sector)?;
    Boot::parse(&sector)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::FsErrorKind;

    fn sector() -> Vec<u8> {
        let mut bytes = vec![0; 512];
        bytes[3..11].copy_from_slice(b"NTFS    ");
        bytes[0x0B..0x0E].copy_from_slice(&[0, 2, 8]);
        bytes[0x28] = 200;
        bytes[0x30] = 4;
        bytes[0x38] = 2;
        bytes[0x40] = 0xF6;
        bytes[0x48] = 9;
        bytes
    }

    #[test]
    fn sizes_are_counts_or_powers_of_two() {
        let boot = Boot::parse(&sector()).unwrap().unwrap();
        let sizes = (boot.cluster_size, boot.record_size, boot.size, boot.mft, boot.mirror);
        assert_eq!(sizes, (4096, 1024, 102_400, 16_384, 8192));
        for (sectors, size) in [(1, 512), (0x80, 65_536), (0xF8, 131_072), (0xF4, 2 << 20)] {
            let mut bytes = sector();
            bytes[0x0D] = sectors;
            assert_eq!(Boot::parse(&bytes).unwrap().unwrap().cluster_size, size);
        }
        for (code, size) in [(1, 4096), (0xF4, 4096), (0xF7, 512)] {
            let mut bytes = sector();
            bytes[0x40] = code;
            assert_eq!(Boot::parse(&bytes).unwrap().unwrap().record_size, size);
        }
    }

    #[test]
    fn numbers_that_cannot_be_are_refused() {
        let corrupt =
            [(0x0C, 3), (0x0C, 0x20), (0x0D, 0), (0x0D, 3), (0x0D, 0xF3), (0x28, 0), (0x30, 0)];
        for (at, value) in corrupt {
            let mut bytes = sector();
            bytes[at] = value;
            let error = Boot::parse(&bytes).unwrap_err();
            assert_eq!(error.kind(), FsErrorKind::Corrupt, "{at:x}");
            assert!(error.position().is_some());
        }
        for code in [0, 2, 0xF3, 0xF8, 0x80] {
            let mut bytes = sector();
            bytes[0x40] = code;
            assert_eq!(Boot::parse(&bytes).unwrap_err().kind(), FsErrorKind::Unsupported);
        }
        assert_eq!(Boot::parse(&[0; 512]).unwrap(), None);
        assert_eq!(Boot::parse(b"short").unwrap(), None);
    }
}
