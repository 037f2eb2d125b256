//! The boot sector of FAT12, FAT16 and FAT32.
//!
//! Specification: Microsoft, "FAT: General Overview of On-Disk Format", 1.03. Little-endian.
//!
//! | offset | size | field                 | rule                                             |
//! |--------|------|-----------------------|--------------------------------------------------|
//! | 0x00   | 3    | `jump`                | begins with 0xEB or 0xE9 where there is no type  |
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

use volfold_block::{BlockResult, ByteReader};

use super::names;

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
    table_sectors: u16,
}

impl Boot {
    /// Reads the boot sector in `bytes`, at least 512 of them; `None` if it is not one of FAT.
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
        (boot.is_named || matches!(common.jump, 0xEB | 0xE9)).then_some(boot)
    }
}

/// The text of a volume label, `None` if it is empty.
pub(super) fn label_text(raw: &[u8; 11]) -> Option<String> {
    let label = String::from_utf16_lossy(&names::decode_padded(raw));
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
            table_sectors,
        }))
    }

    /// Lays the volume out; `tail` is at 0x24. `None` if the parts do not fit.
    fn layout(&self, tail: &mut ByteReader<'_>) -> Option<Boot> {
        let is_fat32 = self.table_sectors == 0;
        let (mut table_sectors, mut active, mut root_cluster) =
            (u64::from(self.table_sectors), 0, 0);
        if is_fat32 {
            table_sectors = u64::from(tail.u32_le().ok()?);
            let flags = tail.u16_le().ok()?;
            tail.skip(2).ok()?;
            root_cluster = tail.u32_le().ok()?;
            let is_single = flags & 0x80 != 0;
            active = match u8::try_from(flags & 0x0F) {
                Ok(table) if is_single && table < self.tables => table,
                _ => 0,
            };
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
        assert!(!boot.is_named);
    }

    #[test]
    fn fat32_with_few_clusters_stays_fat32() {
        let mut bytes = floppy();
        bytes[0x11..0x13].fill(0);
        bytes[0x16] = 0;
        bytes[0x24] = 23;
        bytes[0x28] = 0x81;
        bytes[0x2C] = 2;
        let boot = Boot::parse(&bytes).unwrap();
        assert_eq!((boot.kind, boot.root), (FatKind::Fat32, Root::Chain(2)));
        assert_eq!(boot.table, 24 * 512, "the second table is the active one");
    }

    #[test]
    fn what_is_not_fat_is_refused() {
        for (at, value) in [
            (0x00, 0x33),
            (0x0C, 3),
            (0x0D, 3),
            (0x0E, 0),
            (0x10, 0),
            (0x10, 9),
            (0x15, 0x12),
            (0x16, 0),
        ] {
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
}
