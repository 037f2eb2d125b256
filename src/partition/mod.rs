//! Partition tables: where the parts of a disk lie.

#![cfg_attr(
    not(test),
    warn(clippy::arithmetic_side_effects, clippy::as_conversions, clippy::indexing_slicing)
)]

use volfold_block::{BlockDevice, BlockResult, Finding};

pub mod gpt;
mod kind;
pub mod mbr;
pub mod registry;

pub use kind::{Guid, PartitionType};

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
    /// The attributes of a GPT entry, 0 for others.
    pub attributes: u64,
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
