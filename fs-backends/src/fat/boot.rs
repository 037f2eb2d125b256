//! The boot sector of FAT12, FAT16 and FAT32.
//!
//! Specification: Microsoft, "FAT: General Overview of On-Disk Format", 1.03. Little-endian.
//!
//! | offset | size | field                 | rule                                             |
//! |--------|------|-----------------------|--------------------------------------------------|
//! | 0x00   | 3    | `jump`                | begins with 0xEB or 0xE9; others are looked into |
//! | 0x03   | 8    | `oem`                 | not that of NTFS, exFAT or BitLocker             |
//! | 0x0B   | 2    | `bytes_per_sector`    | 512, 1024, 2048 or 4096                          |
//! | 0x0D   | 1    | `sectors_per_cluster` | a power of two                                   |
//! | 0x0E   | 2    | `reserved_sectors`    | not 0                                            |
//! | 0x10   | 1    | `tables`              | 1 to 4                                           |
//! | 0x11   | 2    | `root_entries`        | 0 on FAT32                                       |
//! | 0x13   | 2    | `sectors_16`          | 0 if it does not fit                             |
//! | 0x15   | 1    | `media`               | 0xF0, or 0xF8 and above                          |
//! | 0x16   | 2    | `table_sectors_16`    | 0 makes it FAT32                                 |
//! | 0x20   | 4    | `sectors_32`          | used if `sectors_16` is 0                        |
//!
//! From 0x24 on, FAT12 and FAT16 (left) have other fields than FAT32 (right):
//!
//! | offset | size | field       | offset | size | field              | rule                      |
//! |--------|------|-------------|--------|------|--------------------|---------------------------|
//! | 0x25   | 1    | `state`     | 0x41   | 1    | `state`            | bit 0: dirty              |
//! | 0x26   | 1    | `signature` | 0x42   | 1    | `signature`        | 0x28, 0x29: serial is set |
//! | 0x27   | 4    | `serial`    | 0x43   | 4    | `serial`           |                           |
//! | 0x2B   | 11   | `label`     | 0x47   | 11   | `label`            | only with 0x29            |
//! | 0x36   | 8    | `type`      | 0x52   | 8    | `type`             | text that begins with FAT |
//! |        |      |             | 0x24   | 4    | `table_sectors_32` | not 0                     |
//! |        |      |             | 0x28   | 2    | `flags`            | bit 7: one table, bits 0-3|
//! |        |      |             | 0x2C   | 4    | `root_cluster`     |                           |
//! |        |      |             | 0x32   | 2    | `backup`           | the sector of the copy    |

use volfold_block::{BlockResult, ByteReader};

use super::names;
use crate::clusters::heap::ClusterHeap;
use crate::code_page::CodePage;

/// Which of the three layouts a volume has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FatKind {
    Fat12,
    Fat16,
    Fat32,
}

impl FatKind {
    pub(super) fn id(self) -> &'static str {
        match self {
            Self::Fat12 => "fat12",
            Self::Fat16 => "fat16",
            Self::Fat32 => "fat32",
        }
    }
}

/// Where the root directory is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Root {
    /// In a place of its own, with this position and length in bytes.
    Fixed { position: u64, length: u64 },
    /// In a chain that begins with this cluster.
    Chain(u32),
}

/// A boot sector that makes sense, in bytes.
#[derive(Clone, Debug)]
pub(super) struct Boot {
    pub(super) kind: FatKind,
    pub(super) cluster_size: u32,
    /// The position of the table that counts.
    pub(super) table: u64,
    /// The position of a table that has to say the same.
    pub(super) table_copy: Option<u64>,
    /// The length of one table.
    pub(super) table_size: u64,
    pub(super) root: Root,
    /// The position of cluster 2.
    pub(super) data: u64,
    /// How many clusters there are.
    pub(super) clusters: u32,
    /// The length of the file system.
    pub(super) size: u64,
    pub(super) is_dirty: bool,
    pub(super) serial: Option<u32>,
    pub(super) label: Option<String>,
    /// The sector names itself FAT.
    pub(super) is_named: bool,
    /// The sector begins with a jump.
    pub(super) has_jump: bool,
    pub(super) media: u8,
    /// Where the copy of the sector is; FAT32 alone has one.
    pub(super) backup: Option<u64>,
    /// The table has the size that the number of clusters asks for.
    pub(super) fits: bool,
}

/// The fields that all three layouts have.
struct Common {
    jump: u8,
    sector: u64,
    sectors_per_cluster: u8,
    reserved: u64,
    tables: u8,
    root_entries: u16,
    sectors: u64,
    media: u8,
    table_sectors: u16,
}

impl Boot {
    /// Reads the boot sector in `bytes`, at least 512 of them; `None` if it cannot be one of FAT.
    /// Where it [`Self::is_marked`] neither by its jump nor by its type, numbers alone make it one.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let mut reader = ByteReader::new("boot sector", bytes, 0);
        let common = Common::read(&mut reader).ok()??;
        let mut tail = reader.clone();
        let is_fat32 = common.table_sectors == 0;
        let mut boot = common.layout(&mut tail)?;
        reader = ByteReader::new("boot sector", bytes, 0);
        reader.skip(if is_fat32 { 0x41 } else { 0x25 }).ok()?;
        boot.is_dirty = reader.u8().ok()? & 1 != 0;
        let signature = reader.u8().ok()?;
        let serial = reader.u32_le().ok()?;
        let label = reader.array::<11>().ok()?;
        let kind = reader.array::<8>().ok()?;
        boot.serial = matches!(signature, 0x28 | 0x29).then_some(serial);
        if signature == 0x29 && label != *b"NO NAME    " {
            boot.label = label_text(&label);
        }
        boot.is_named = kind.starts_with(b"FAT");
        Some(boot)
    }

    /// Where the clusters lie.
    pub(super) fn heap(&self) -> ClusterHeap {
        let Self { data, cluster_size, clusters, .. } = *self;
        ClusterHeap { start: data, cluster_size, clusters }
    }

    /// Whether the sector says that it is a boot sector.
    pub(super) fn is_marked(&self) -> bool {
        self.is_named || self.has_jump
    }

    /// Whether the two boot sectors put everything in the same places.
    pub(super) fn is_laid_out_as(&self, other: &Self) -> bool {
        let places = |boot: &Self| {
            let tables = (boot.table, boot.table_copy, boot.table_size);
            (boot.kind, boot.cluster_size, tables, boot.root, boot.data, boot.clusters, boot.size)
        };
        places(self) == places(other)
    }
}

/// The text of a volume label, `None` if it is empty.
pub(super) fn label_text(raw: &[u8; 11]) -> Option<String> {
    let label = names::decode_padded(raw, CodePage::default());
    let label = String::from_utf16_lossy(&label);
    let label = label.trim_matches('\0');
    (!label.is_empty()).then(|| label.to_owned())
}

impl Common {
    /// `Ok(None)` if a field is out of its range.
    fn read(reader: &mut ByteReader<'_>) -> BlockResult<Option<Self>> {
        let [jump, _, _] = reader.array()?;
        let oem = reader.array::<8>()?;
        let sector = reader.u16_le()?;
        let sectors_per_cluster = reader.u8()?;
        let reserved = reader.u16_le()?;
        let tables = reader.u8()?;
        let root_entries = reader.u16_le()?;
        let sectors_16 = reader.u16_le()?;
        let media = reader.u8()?;
        let table_sectors = reader.u16_le()?;
        reader.skip(8)?;
        let sectors_32 = reader.u32_le()?;
        let sectors = match sectors_16 {
            0 => u64::from(sectors_32),
            sectors => u64::from(sectors),
        };
        let is_sane = !matches!(&oem, b"NTFS    " | b"EXFAT   " | b"-FVE-FS-")
            && (512..=4096).contains(&sector)
            && sector.is_power_of_two()
            && sectors_per_cluster.is_power_of_two()
            && reserved != 0
            && (1..=4).contains(&tables)
            && (media == 0xF0 || media >= 0xF8)
            && sectors != 0;
        Ok(is_sane.then_some(Self {
            jump,
            sector: u64::from(sector),
            sectors_per_cluster,
            reserved: u64::from(reserved),
            tables,
            root_entries,
            sectors,
            media,
            table_sectors,
        }))
    }

    /// The bytes that a table for `clusters` has at most. Writers round it up, to a cluster at most,
    /// and estimate it a few sectors too long.
    fn longest_table(&self, kind: FatKind, clusters: u64, cluster_size: u64) -> Option<u64> {
        let entries = clusters.checked_add(2)?;
        let wanted = match kind {
            FatKind::Fat12 => entries.checked_add(1)?.checked_mul(3)? / 2,
            FatKind::Fat16 => entries.checked_mul(2)?,
            FatKind::Fat32 => entries.checked_mul(4)?,
        };
        let rounded = cluster_size.checked_add(self.sector.checked_mul(8)?)?;
        wanted.checked_add(wanted / 4)?.checked_add(rounded)
    }

    /// Lays the volume out; `tail` is at 0x24. `None` if the parts do not fit.
    fn layout(&self, tail: &mut ByteReader<'_>) -> Option<Boot> {
        let is_fat32 = self.table_sectors == 0;
        let (mut table_sectors, mut active, mut root_cluster) =
            (u64::from(self.table_sectors), 0, 0);
        let mut is_mirrored = self.tables > 1;
        let mut backup = None;
        if is_fat32 {
            table_sectors = u64::from(tail.u32_le().ok()?);
            let flags = tail.u16_le().ok()?;
            tail.skip(2).ok()?;
            root_cluster = tail.u32_le().ok()?;
            tail.skip(2).ok()?;
            let sector = u64::from(tail.u16_le().ok()?);
            backup = (1..self.reserved).contains(&sector).then_some(sector);
            let is_single = flags & 0x80 != 0;
            active = match u8::try_from(flags & 0x0F) {
                Ok(table) if is_single && table < self.tables => table,
                _ => 0,
            };
            is_mirrored &= !is_single;
        }
        let table_size = table_sectors.checked_mul(self.sector).filter(|size| *size > 0)?;
        let tables_start = self.reserved.checked_mul(self.sector)?;
        let root_start =
            tables_start.checked_add(table_size.checked_mul(u64::from(self.tables))?)?;
        let root_length =
            u64::from(self.root_entries).checked_mul(32)?.checked_next_multiple_of(self.sector)?;
        let data = root_start.checked_add(root_length)?;
        let size = self.sectors.checked_mul(self.sector)?;
        let cluster_size = self.sector.checked_mul(u64::from(self.sectors_per_cluster))?;
        let by_size = size.checked_sub(data)?.checked_div(cluster_size)?;
        // QUIRK: like the Linux driver, the layout is FAT32 by its empty 16-bit table length and
        // not by the number of clusters: mkfs.fat and Windows write FAT32 with few clusters.
        let kind = match (is_fat32, by_size) {
            (true, _) => FatKind::Fat32,
            (false, 0..=4084) => FatKind::Fat12,
            (false, _) => FatKind::Fat16,
        };
        let entries = match kind {
            FatKind::Fat12 => table_size.checked_mul(2)?.checked_div(3)?,
            FatKind::Fat16 => table_size.checked_div(2)?,
            FatKind::Fat32 => (table_size / 4).min(0x0FFF_FFF7),
        };
        let clusters = by_size.min(entries.checked_sub(2)?);
        let root = match kind {
            FatKind::Fat32 => Root::Chain(root_cluster),
            _ => Root::Fixed {
                position: root_start,
                length: u64::from(self.root_entries).checked_mul(32)?,
            },
        };
        Some(Boot {
            kind,
            cluster_size: u32::try_from(cluster_size).ok()?,
            table_copy: tables_start.checked_add(table_size).filter(|_| is_mirrored),
            table: tables_start.checked_add(table_size.checked_mul(u64::from(active))?)?,
            table_size,
            root,
            data,
            clusters: u32::try_from(clusters).ok().filter(|clusters| *clusters > 0)?,
            size,
            is_dirty: false,
            serial: None,
            label: None,
            is_named: false,
            has_jump: matches!(self.jump, 0xEB | 0xE9),
            media: self.media,
            backup: backup.and_then(|sector| sector.checked_mul(self.sector)),
            fits: clusters == by_size
                && table_size <= self.longest_table(kind, by_size, cluster_size)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn floppy() -> Vec<u8> {
        let mut bytes = vec![0; 512];
        bytes[0] = 0xEB;
        bytes[0x0B..0x18].copy_from_slice(&[0, 2, 1, 1, 0, 2, 224, 0, 0x40, 0x0B, 0xF0, 9, 0]);
        bytes
    }

    #[test]
    fn a_floppy_without_a_type_is_laid_out() {
        let boot = Boot::parse(&floppy()).unwrap();
        assert_eq!(boot.kind, FatKind::Fat12);
        assert_eq!((boot.table, boot.table_size), (512, 9 * 512));
        let root = Root::Fixed { position: 19 * 512, length: 14 * 512 };
        assert_eq!((boot.root, boot.data), (root, 33 * 512));
        assert_eq!((boot.clusters, boot.size), (2847, 2880 * 512));
        assert!(!boot.is_named && boot.has_jump && boot.fits);
        assert_eq!((boot.table_copy, boot.backup), (Some(10 * 512), None));
    }

    #[test]
    fn fat32_with_few_clusters_stays_fat32() {
        let mut bytes = floppy();
        bytes[0x11..0x13].fill(0);
        bytes[0x16] = 0;
        bytes[0x24] = 23;
        bytes[0x28] = 0x81;
        bytes[0x2C] = 2;
        bytes[0x0E] = 8;
        bytes[0x32] = 6;
        let boot = Boot::parse(&bytes).unwrap();
        assert_eq!((boot.kind, boot.root), (FatKind::Fat32, Root::Chain(2)));
        assert_eq!(boot.table, 31 * 512, "the second table is the active one");
        assert_eq!((boot.table_copy, boot.backup), (None, Some(6 * 512)));
    }

    #[test]
    fn what_is_not_fat_is_refused() {
        for (at, value) in
            [(0x0C, 3), (0x0D, 3), (0x0E, 0), (0x10, 0), (0x10, 9), (0x15, 0x12), (0x16, 0)]
        {
            let mut bytes = floppy();
            bytes[at] = value;
            assert!(Boot::parse(&bytes).is_none(), "{at:x}");
        }
        for oem in [b"NTFS    ", b"EXFAT   ", b"-FVE-FS-"] {
            let mut bytes = floppy();
            bytes[3..11].copy_from_slice(oem);
            assert!(Boot::parse(&bytes).is_none());
        }
        assert!(Boot::parse(&floppy()[..0x30]).is_none());
    }

    #[test]
    fn without_jump_and_type_a_sector_is_not_marked() {
        let mut bytes = floppy();
        bytes[0] = 0x60;
        assert!(!Boot::parse(&bytes).unwrap().is_marked());
        bytes[0x36..0x39].copy_from_slice(b"FAT");
        assert!(Boot::parse(&bytes).unwrap().is_marked());
    }

    #[test]
    fn a_cluster_size_that_does_not_fit_the_table_is_seen() {
        let mut bytes = floppy();
        // 65,535 sectors in clusters of 4, with the table for them; then in clusters of 2 and 16.
        bytes[0x13..0x15].fill(0xFF);
        for (sectors, fits) in [(4, true), (2, false), (16, false)] {
            bytes[0x0D] = sectors;
            bytes[0x16] = 64;
            assert_eq!(Boot::parse(&bytes).unwrap().fits, fits, "{sectors}");
        }
    }
}
