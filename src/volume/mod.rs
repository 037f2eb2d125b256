//! Volumes, and the managers that lay them out over disks.

#![cfg_attr(
    not(test),
    warn(clippy::arithmetic_side_effects, clippy::as_conversions, clippy::indexing_slicing)
)]

use std::fmt;
use std::sync::Arc;

use serde::Serialize;
use volfold_images::{BlockDevice, BlockResult};

use crate::finding::Finding;
use crate::partition::{Partition, PartitionTable};

pub mod basic;
pub mod map;

/// What names a volume, whatever the order of the arguments: `gpt:<partition guid>`,
/// `mbr:<signature>-<first lba>`, else `disk0-p2`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct VolumeId(pub String);

impl fmt::Display for VolumeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A part of a disk that may be a volume, or a member of one.
#[derive(Clone)]
pub struct Region {
    /// The index of the disk.
    pub disk: usize,
    /// Its bytes, as far as the disk has them.
    pub device: Arc<dyn BlockDevice>,
    /// The first byte on the disk.
    pub start: u64,
    /// The size in bytes as the partition table says.
    pub size: u64,
    /// The partition it is; `None` for a whole disk.
    pub partition: Option<Partition>,
    /// The id of the partition table: MBR signature or GPT disk GUID.
    pub table_id: Option<String>,
}

/// The group of disks that a manager keeps together, named by its own id.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GroupId(pub String);

/// What a manager says of a region that is its own.
#[derive(Clone, Debug)]
pub struct Claim {
    /// The group that the region belongs to.
    pub group: GroupId,
    /// A claim of a whole disk: the numbers of the partitions that are not to be looked at.
    pub hides: Vec<u32>,
}

/// Where a volume comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum VolumeType {
    /// A partition of an MBR.
    Basic,
    /// A partition of a GPT.
    Gpt,
    /// A disk without partitions.
    WholeDisk,
}

/// How a volume lies on its disks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Layout {
    /// One partition.
    Partition,
    /// One whole disk.
    WholeDisk,
}

/// Whether all parts of a volume are there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    /// All parts are there.
    Healthy,
    /// Parts are missing, all bytes can be had.
    Degraded,
    /// Parts are missing and with them bytes.
    Failed,
}

/// Bytes of a volume on one disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct VolumeExtent {
    /// The index of the disk.
    pub disk: usize,
    /// The first byte on the disk.
    pub offset: u64,
    /// The size in bytes.
    pub length: u64,
}

/// A volume as its manager laid it out.
#[derive(Clone)]
pub struct Volume {
    /// Its id.
    pub id: VolumeId,
    /// The folder name when the file system has no label.
    pub fallback_name: String,
    /// Where it comes from.
    pub kind: VolumeType,
    /// How it lies on its disks.
    pub layout: Layout,
    /// Whether all parts are there.
    pub health: Health,
    /// The size in bytes; more than the device's where parts are missing at the end.
    pub size: u64,
    /// The bytes that can be had.
    pub device: Arc<dyn BlockDevice>,
    /// Where the bytes lie.
    pub extents: Vec<VolumeExtent>,
    /// The partition it is, where it is one.
    pub partition: Option<Partition>,
}

/// Lays volumes out over disks.
pub trait VolumeManager: Send + Sync {
    /// The lower-case name: `ldm`.
    fn id(&self) -> &'static str;

    /// What it is called in tables.
    fn title(&self) -> &'static str;

    /// Looks whether `region` is one of its members.
    ///
    /// # Errors
    /// Only if the region cannot be read.
    fn claim(&self, region: &Region) -> BlockResult<Option<Claim>>;

    /// Joins the members of one group into volumes. A missing member lowers the health of the
    /// volumes that need it and becomes a finding.
    fn assemble(
        &self,
        group: &GroupId,
        members: &[Region],
        findings: &mut Vec<Finding>,
    ) -> Vec<Volume>;
}

/// Every volume manager of this build, in the order asked. Regions that nobody claims are basic
/// volumes.
pub static MANAGERS: &[&dyn VolumeManager] = &[];

/// The regions of the partitions in `table`, as far as the disk has them, and findings about those
/// that it has not.
pub fn regions(disk: usize, device: &Arc<dyn BlockDevice>, table: &PartitionTable) -> Vec<Region> {
    table
        .partitions
        .iter()
        .map(|partition| Region {
            disk,
            device: basic::present_part(device, partition.start, partition.size),
            start: partition.start,
            size: partition.size,
            partition: Some(partition.clone()),
            table_id: table.disk_id.clone(),
        })
        .collect()
}
