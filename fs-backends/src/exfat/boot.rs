//! The boot sector of exFAT.
//!
//! Specification: Microsoft, "exFAT file system specification", 3.1. Little-endian. Places and
//! lengths are counted in sectors.
//!
//! | offset | size | field                         | rule                                         |
//! |--------|------|-------------------------------|----------------------------------------------|
//! | 0x000  | 3    | `JumpBoot`                    | not looked at                                |
//! | 0x003  | 8    | `FileSystemName`              | `EXFAT   `                                   |
//! | 0x00B  | 53   | `MustBeZero`                  | zeros, where FAT has its fields              |
//! | 0x040  | 8    | `PartitionOffset`             | not looked at                                |
//! | 0x048  | 8    | `VolumeLength`                | holds the cluster heap                       |
//! | 0x050  | 4    | `FatOffset`                   | at least 24                                  |
//! | 0x054  | 4    | `FatLength`                   | 4 bytes for each cluster, and 8              |
//! | 0x058  | 4    | `ClusterHeapOffset`           | after the tables                             |
//! | 0x05C  | 4    | `ClusterCount`                | 1 to 2^32 - 11                               |
//! | 0x060  | 4    | `FirstClusterOfRootDirectory` | a cluster of the heap                        |
//! | 0x064  | 4    | `VolumeSerialNumber`          |                                              |
//! | 0x068  | 2    | `FileSystemRevision`          | 1 in the high byte                           |
//! | 0x06A  | 2    | `VolumeFlags`                 | bit 0 `ActiveFat`, 1 `VolumeDirty`, 2 `MediaFailure` |
//! | 0x06C  | 1    | `BytesPerSectorShift`         | 9 to 12                                      |
//! | 0x06D  | 1    | `SectorsPerClusterShift`      | clusters of at most 32 MiB                   |
//! | 0x06E  | 1    | `NumberOfFats`                | 1 or 2                                       |
//! | 0x070  | 1    | `PercentInUse`                | not looked at                                |
//! | 0x1FE  | 2    | `BootSignature`               | 0x55, 0xAA                                   |

use std::mem::{offset_of, size_of};

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

use crate::clusters::heap::ClusterHeap;
use crate::error::{FsError, FsResult};

/// The name in the boot sector.
pub(super) const NAME: &[u8; 8] = b"EXFAT   ";
/// The bytes of the sector that have fields, whatever its size.
pub(super) const SECTOR: usize = 512;
/// The shifts that sectors may have.
pub(super) const SECTOR_SHIFTS: std::ops::RangeInclusive<u8> = 9..=12;
/// The sectors of both boot regions.
const BOOT_SECTORS: u32 = 24;
/// The largest cluster has 2^25 bytes.
const MAX_CLUSTER_SHIFT: u8 = 25;
/// The largest number of clusters.
const MAX_CLUSTERS: u32 = u32::MAX - 10;

#[derive(FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawBoot {
    jump: [u8; 3],
    name: [u8; 8],
    zeros: [u8; 53],
    partition_offset: U64,
    volume_length: U64,
    fat_offset: U32,
    fat_length: U32,
    heap_offset: U32,
    cluster_count: U32,
    root_cluster: U32,
    serial: U32,
    revision: U16,
    flags: U16,
    sector_shift: u8,
    cluster_shift: u8,
    fats: u8,
    drive: u8,
    percent_in_use: u8,
    reserved: [u8; 7],
    code: [u8; 390],
    signature: [u8; 2],
}
const _: () = assert!(offset_of!(RawBoot, volume_length) == 0x48);
const _: () = assert!(offset_of!(RawBoot, serial) == 0x64);
const _: () = assert!(offset_of!(RawBoot, sector_shift) == 0x6C);
const _: () = assert!(size_of::<RawBoot>() == SECTOR);

/// A boot sector whose parts fit each other, in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Boot {
    pub(super) sector_shift: u8,
    /// The position of the table that counts.
    pub(super) table: u64,
    /// The length of one table.
    pub(super) table_size: u64,
    pub(super) tables: u8,
    pub(super) heap: ClusterHeap,
    pub(super) root_cluster: u32,
    /// The length of the file system.
    pub(super) size: u64,
    pub(super) serial: u32,
    /// What a writer changes without a new checksum.
    pub(super) flags: VolumeFlags,
}

/// `VolumeFlags`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct VolumeFlags(u16);

impl VolumeFlags {
    /// Which table and which bitmap counts where there are two: 0 or 1.
    pub(super) fn active(self) -> u8 {
        u8::from(self.0 & 1 != 0)
    }

    pub(super) fn is_dirty(self) -> bool {
        self.0 & 2 != 0
    }

    pub(super) fn has_media_failure(self) -> bool {
        self.0 & 4 != 0
    }
}

/// Whether `sector` says that it is one of exFAT.
pub(super) fn is_named(sector: &[u8; SECTOR]) -> bool {
    sector.get(3..11) == Some(NAME)
}

impl Boot {
    /// Reads the boot sector in `bytes`.
    ///
    /// # Errors
    /// `Corrupt` if its parts do not fit, `Unsupported` for another major revision.
    pub(super) fn parse(bytes: &[u8; SECTOR]) -> FsResult<Self> {
        let bad = |field: &str| FsError::corrupt(format!("boot sector has an invalid {field}"));
        let raw = RawBoot::read_from_bytes(bytes).map_err(|_| bad("size"))?;
        if raw.name != *NAME || raw.zeros != [0; 53] || raw.signature != [0x55, 0xAA] {
            return Err(FsError::corrupt("not an exFAT boot sector"));
        }
        if raw.revision.get() >> 8 != 1 {
            let (major, minor) = (raw.revision.get() >> 8, raw.revision.get() & 0xFF);
            let line = format!("exFAT of revision {major}.{minor:02}; this build reads 1.00");
            return Err(FsError::unsupported(line));
        }
        let cluster_shift = raw.sector_shift.saturating_add(raw.cluster_shift);
        if !SECTOR_SHIFTS.contains(&raw.sector_shift) {
            return Err(bad("sector size"));
        }
        if cluster_shift > MAX_CLUSTER_SHIFT {
            return Err(bad("cluster size"));
        }
        if !(1..=2).contains(&raw.fats) {
            return Err(bad("number of file allocation tables"));
        }
        if !(1..=MAX_CLUSTERS).contains(&raw.cluster_count.get()) {
            return Err(bad("number of clusters"));
        }
        let boot = raw.layout(cluster_shift).ok_or_else(|| bad("layout"))?;
        if !boot.heap.has_cluster(boot.root_cluster) {
            return Err(bad("first cluster of the root directory"));
        }
        Ok(boot)
    }

    /// The bytes of a sector.
    pub(super) fn sector(&self) -> u64 {
        1_u64.rotate_left(self.sector_shift.into())
    }

    /// Whether the two boot sectors put everything in the same places; which table counts is not
    /// covered by their checksums.
    pub(super) fn is_laid_out_as(&self, other: &Self) -> bool {
        let places = |boot: &Self| {
            let Self { sector_shift, table_size, tables, heap, root_cluster, size, serial, .. } =
                *boot;
            (sector_shift, table_size, tables, heap, root_cluster, size, serial)
        };
        places(self) == places(other)
    }
}

impl RawBoot {
    /// Lays the volume out; `None` if the parts do not fit.
    fn layout(&self, cluster_shift: u8) -> Option<Boot> {
        let sector = 1_u64.rotate_left(self.sector_shift.into());
        let in_bytes = |sectors: u64| sectors.checked_mul(sector);
        let flags = VolumeFlags(self.flags.get());
        let (tables_start, table_size) =
            (in_bytes(self.fat_offset.get().into())?, in_bytes(self.fat_length.get().into())?);
        let active = if self.fats == 2 { flags.active() } else { 0 };
        let tables_end = tables_start.checked_add(table_size.checked_mul(u64::from(self.fats))?)?;
        let heap = ClusterHeap {
            start: in_bytes(self.heap_offset.get().into())?,
            cluster_size: 1_u32.rotate_left(cluster_shift.into()),
            clusters: self.cluster_count.get(),
        };
        let heap_size = u64::from(heap.clusters).checked_mul(heap.cluster_size.into())?;
        let size = in_bytes(self.volume_length.get())?;
        let entries = u64::from(heap.clusters).checked_add(2)?.checked_mul(4)?;
        let fits = self.fat_offset.get() >= BOOT_SECTORS
            && entries <= table_size
            && tables_end <= heap.start
            && heap.start.checked_add(heap_size)? <= size;
        fits.then_some(Boot {
            sector_shift: self.sector_shift,
            table: tables_start.checked_add(table_size.checked_mul(u64::from(active))?)?,
            table_size,
            tables: self.fats,
            heap,
            root_cluster: self.root_cluster.get(),
            size,
            serial: self.serial.get(),
            flags,
        })
    }
}
