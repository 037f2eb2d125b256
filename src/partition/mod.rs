//! Partition tables: where the parts of a disk lie.

#![cfg_attr(
    not(test),
    warn(clippy::arithmetic_side_effects, clippy::as_conversions, clippy::indexing_slicing)
)]

use std::fmt;

use volfold_block::{BlockDevice, BlockResult, Finding, code};

pub mod gpt;
pub mod mbr;

/// What a partition table says a partition is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PartitionType {
    /// The type byte of an MBR entry.
    Mbr(u8),
    /// The type GUID of a GPT entry.
    Gpt(Guid),
}

impl fmt::Display for PartitionType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mbr(byte) => write!(f, "{byte:#04x}"),
            Self::Gpt(guid) => guid.fmt(f),
        }
    }
}

impl PartitionType {
    /// What the type is commonly called, `None` for an unknown one.
    pub fn title(self) -> Option<&'static str> {
        match self {
            Self::Mbr(byte) => mbr::type_title(byte),
            Self::Gpt(guid) => gpt::type_title(guid),
        }
    }
}

/// A GUID in the byte order of Microsoft and UEFI: the first three fields little-endian.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Guid(pub [u8; 16]);

impl fmt::Display for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a0, a1, a2, a3, b0, b1, c0, c1, d0, d1, e @ ..] = self.0;
        let (a, b, c) = (
            u32::from_le_bytes([a0, a1, a2, a3]),
            u16::from_le_bytes([b0, b1]),
            u16::from_le_bytes([c0, c1]),
        );
        write!(f, "{a:08x}-{b:04x}-{c:04x}-{d0:02x}{d1:02x}-")?;
        e.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// One partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition {
    /// Its number, as the guest's system counts: from 1, logical partitions of an MBR from 5.
    pub number: u32,
    /// The first byte on the disk.
    pub start: u64,
    /// The size in bytes as the table says; may reach past the end of the disk.
    pub size: u64,
    /// The first sector, in sectors of the table.
    pub first_lba: u64,
    /// What it is for.
    pub kind: PartitionType,
    /// The partition's own GUID.
    pub guid: Option<Guid>,
    /// The name in the table.
    pub name: Option<String>,
}

/// The partition table of one disk.
#[derive(Clone, Debug)]
pub struct PartitionTable {
    /// The [`PartitionScheme::id`].
    pub scheme: &'static str,
    /// The sector size that its addresses count in.
    pub sector_size: u32,
    /// The disk's own id: the MBR signature as 8 hex digits, the GPT disk GUID.
    pub disk_id: Option<String>,
    /// The partitions in the order of the table, without containers (extended partitions).
    pub partitions: Vec<Partition>,
    /// What is wrong with the table.
    pub findings: Vec<Finding>,
}

/// One kind of partition table.
pub trait PartitionScheme: Send + Sync {
    /// The lower-case name: `gpt`.
    fn id(&self) -> &'static str;

    /// What it is called in tables: `GPT`.
    fn title(&self) -> &'static str;

    /// Reads the table of `device`, whose addresses count sectors of `sector_size` bytes. `None`
    /// if the device does not carry one.
    ///
    /// # Errors
    /// Only if the device cannot be read; a damaged table has findings.
    fn read(
        &self,
        device: &dyn BlockDevice,
        sector_size: u32,
    ) -> BlockResult<Option<PartitionTable>>;
}

/// Every partition scheme of this build, in the order asked.
pub static SCHEMES: &[&dyn PartitionScheme] = &[&gpt::Gpt, &mbr::Mbr];

/// The first table that a scheme finds on `device`.
///
/// # Errors
/// If the device cannot be read.
pub fn read_table(
    device: &dyn BlockDevice,
    sector_size: u32,
) -> BlockResult<Option<PartitionTable>> {
    for scheme in SCHEMES {
        if let Some(mut table) = scheme.read(device, sector_size)? {
            check_geometry(&mut table, device.size());
            return Ok(Some(table));
        }
    }
    Ok(None)
}

/// Finds overlaps and partitions that leave the disk.
fn check_geometry(table: &mut PartitionTable, disk_size: u64) {
    let mut found = Vec::new();
    for partition in &table.partitions {
        if partition.start.saturating_add(partition.size) > disk_size {
            found.push(Finding::warning(
                code::PARTITION_PAST_END,
                format!("partition {} reaches past the end of the disk", partition.number),
            ));
        }
    }
    let mut ordered: Vec<&Partition> = table.partitions.iter().collect();
    ordered.sort_by_key(|partition| (partition.start, partition.number));
    let mut furthest: Option<&Partition> = None;
    for next in ordered {
        if let Some(before) = furthest
            && next.start < before.start.saturating_add(before.size)
        {
            found.push(Finding::warning(
                code::PARTITIONS_OVERLAP,
                format!("partitions {} and {} overlap", before.number, next.number),
            ));
        }
        let end = |partition: &Partition| partition.start.saturating_add(partition.size);
        if furthest.is_none_or(|before| end(next) > end(before)) {
            furthest = Some(next);
        }
    }
    table.findings.append(&mut found);
}

/// Reads `length` bytes at `offset` if they are on the device.
fn read_bytes(
    device: &dyn BlockDevice,
    offset: u64,
    length: usize,
) -> BlockResult<Option<Vec<u8>>> {
    let end = offset.checked_add(volfold_block::byte_count(length));
    if end.is_none_or(|end| end > device.size()) {
        return Ok(None);
    }
    let mut bytes = vec![0; length];
    device.read_at(offset, &mut bytes)?;
    Ok(Some(bytes))
}
