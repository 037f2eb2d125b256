//! Volumes, and the managers that lay them out over disks.

#![cfg_attr(
    not(test),
    warn(clippy::arithmetic_side_effects, clippy::as_conversions, clippy::indexing_slicing)
)]

use std::fmt;
use std::sync::Arc;

use serde::Serialize;
use volfold_block::{BlockDevice, BlockResult, Finding};

use crate::partition::{Partition, PartitionType};
use crate::volume::lock::Lock;
use crate::volume::map::Redundancy;
use crate::volume::snapshot::Snapshot;

pub mod basic;
pub mod bitlocker;
pub mod cipher;
mod id;
pub mod ldm;
pub mod lock;
pub mod luks;
pub mod lvm;
pub mod map;
pub mod md;
pub(crate) mod nested;
pub(crate) mod refusal;
pub mod registry;
pub mod snapshot;
pub mod vss;

pub use id::VolumeId;

/// A part of a disk that may be a volume, or a member of one.
#[derive(Clone)]
pub struct Region {
    /// The index of the disk; of a volume that is a member, one beyond those of all disks.
    pub disk: usize,
    /// Its bytes, as far as the disk has them.
    pub device: Arc<dyn BlockDevice>,
    /// The first byte on the disk.
    pub start: u64,
    /// The size in bytes as the partition table says.
    pub size: u64,
    /// What messages call the disk: the image as the user named it.
    pub label: Arc<str>,
    /// The partition it is; `None` for a whole disk.
    pub partition: Option<Partition>,
    /// The id of the partition table: MBR signature or GPT disk GUID.
    pub table_id: Option<String>,
}

/// The group of disks that a manager keeps together, named by its own id.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GroupId(pub String);

/// The partitions of a whole disk that a manager claims which are not to be looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hidden {
    /// Those of these numbers.
    Partitions(Vec<u32>),
    /// All: what looks like a partition table is part of the volume.
    Table,
}

/// What a manager says of a region that is its own.
#[derive(Clone, Debug)]
pub struct Claim {
    /// The group that the region belongs to.
    pub group: GroupId,
    /// Which partitions of the region are not to be looked at.
    pub hides: Hidden,
    /// The sector size of the disk, where the manager can tell.
    pub sector_size: Option<u32>,
    /// What is wrong with the structure that the claim rests on: if it lies in a file system that is sound,
    /// the region is that of the file system.
    pub damage: Option<Damage>,
}

/// A structure by which a manager knows its members, and which cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// Its first byte in the region.
    pub at: u64,
    /// What is wrong with it, a sentence.
    pub reason: String,
}

/// Where a volume comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum VolumeType {
    /// A partition of an MBR.
    Basic,
    /// A partition of a GPT.
    Gpt,
    /// A volume of a group of Windows dynamic disks.
    Dynamic,
    /// A logical volume of an LVM2 volume group.
    Logical,
    /// An array of Linux software RAID (MD).
    Raid,
    /// What an encrypted partition or volume holds.
    Encrypted,
    /// A volume as it was, of which Windows kept what was written since (VSS).
    ShadowCopy,
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
    /// One run of sectors of one disk.
    Simple,
    /// Runs of sectors, one after the other.
    Spanned,
    /// Columns side by side, cut into chunks.
    Striped,
    /// The same bytes more than once.
    Mirrored,
    /// Columns side by side with parity in one of them.
    Raid4,
    /// Columns side by side with parity.
    Raid5,
    /// Columns side by side with two kinds of parity.
    Raid6,
    /// Mirrors side by side, cut into chunks.
    Raid10,
    /// Blocks of a pool, as a table maps them.
    Thin,
    /// Another volume, with the chunks that were saved before they were overwritten.
    Snapshot,
    /// A volume, with a faster one that holds newer blocks of it.
    Cached,
}

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Partition => "partition",
            Self::WholeDisk => "whole-disk",
            Self::Simple => "simple",
            Self::Spanned => "spanned",
            Self::Striped => "striped",
            Self::Mirrored => "mirrored",
            Self::Raid4 => "raid4",
            Self::Raid5 => "raid5",
            Self::Raid6 => "raid6",
            Self::Raid10 => "raid10",
            Self::Thin => "thin",
            Self::Snapshot => "snapshot",
            Self::Cached => "cached",
        })
    }
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

/// Whether a part of a volume is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum PartState {
    /// It is there.
    Present,
    /// Its disk is not there, or must not be used.
    Missing,
    /// The image ends before the part does.
    CutShort,
    /// It is older than the rest, and is not read.
    Stale,
    /// It is old, and is read because there is nothing newer.
    StaleInUse,
}

impl PartState {
    /// Whether all its bytes are read.
    pub fn is_read(self) -> bool {
        matches!(self, Self::Present | Self::StaleInUse)
    }
}

/// A run of bytes of one disk that is part of a volume.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MembershipPart {
    /// The manager's name for it.
    pub name: String,
    /// Which of the sides of a mirror it is in, from 0.
    pub plex: usize,
    /// Which column it is in, from 0.
    pub column: usize,
    /// The first byte in the column.
    pub column_offset: u64,
    /// The size in bytes.
    pub length: u64,
    /// The index of the disk, `None` if it is missing.
    pub disk: Option<usize>,
    /// The first byte on the disk.
    pub offset: Option<u64>,
    /// The manager's name for the disk.
    pub disk_name: String,
    /// The manager's id of the disk.
    pub disk_id: String,
    /// Whether it is read.
    pub state: PartState,
}

/// How a volume lies in a group of disks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Membership {
    /// The name of the group.
    pub group: String,
    /// The id of the group.
    pub group_id: String,
    /// The manager's name for the volume.
    pub name: String,
    /// How often the volume holds its bytes: the sides of a mirror.
    pub plexes: usize,
    /// The columns of a stripe or RAID-5.
    pub columns: Option<usize>,
    /// The bytes of a chunk of a stripe or RAID-5.
    pub chunk_size: Option<u64>,
    /// All parts, also those that are missing.
    pub parts: Vec<MembershipPart>,
}

/// A volume as its manager laid it out.
#[derive(Clone)]
pub struct Volume {
    /// Its id.
    pub id: VolumeId,
    /// The folder name when the file system has no label.
    pub fallback_name: String,
    /// The drive letter or mount point that the manager's data has, as a folder name.
    pub hint: Option<String>,
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
    /// The group it lies in, where it is of several parts.
    pub membership: Option<Membership>,
    /// Compares what it holds more than once, if it does.
    pub redundancy: Option<Arc<dyn Redundancy>>,
    /// What keeps it locked, if it is; `device` gives no byte then.
    pub lock: Option<Lock>,
    /// What it is a snapshot of, if it is one.
    pub snapshot: Option<Snapshot>,
}

impl Volume {
    /// The partition that it fills, decrypted or as it is, and of which kind of table that is.
    pub fn own_partition(&self) -> Option<(VolumeType, &Partition)> {
        let partition = self.partition.as_ref()?;
        let kind = match partition.kind {
            PartitionType::Mbr(_) => VolumeType::Basic,
            PartitionType::Gpt(_) => VolumeType::Gpt,
        };
        (self.kind == kind || self.kind == VolumeType::Encrypted).then_some((kind, partition))
    }
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

    /// What is odd about `region`, a whole disk that no manager claims: signs of a group that the
    /// partition table knows nothing of.
    fn notice(&self, _region: &Region) -> Vec<Finding> {
        Vec::new()
    }

    /// Joins the members of one group into volumes. A missing member lowers the health of the
    /// volumes that need it and becomes a finding.
    fn assemble(
        &self,
        group: &GroupId,
        members: &[Region],
        findings: &mut Vec<Finding>,
    ) -> Vec<Volume>;
}

/// Finds states of volumes that are kept in volumes.
pub trait SnapshotManager: Send + Sync {
    /// The lower-case name: `vss`.
    fn id(&self) -> &'static str;

    /// What it is called in tables.
    fn title(&self) -> &'static str;

    /// The snapshots of `volumes`, which can be read, that are kept in them. If they are not wanted, that they
    /// are there is a finding of each volume.
    fn find(
        &self,
        volumes: &[&Volume],
        is_wanted: bool,
        findings: &mut Vec<Finding>,
    ) -> Vec<Volume>;
}
