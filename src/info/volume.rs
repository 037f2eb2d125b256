//! What is told of volumes.

use serde::Serialize;
use volfold_block::{Code, Finding, code, error_chain};
use volfold_fs::{FileSystem, FsResult};

use crate::SetVolume;
use crate::volume::lock::{KeyKind, Lock};
use crate::volume::snapshot::Snapshot;
use crate::volume::{Health, Layout, Membership, VolumeExtent, VolumeId, VolumeType};

/// The code of a volume that is not read, where its findings have none.
pub const NOT_READ: &str = "volume-not-read";

/// One volume of a set.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct VolumeInfo {
    /// Its id.
    pub id: VolumeId,
    /// The name of its folder.
    pub name: String,
    /// Where it comes from.
    #[serde(rename = "type")]
    pub kind: VolumeType,
    /// How it lies on its disks.
    pub layout: Layout,
    /// How well it can be read, as a word; `None` where nobody knows what is there.
    pub health: Option<&'static str>,
    /// The same with its numbers.
    #[serde(skip)]
    pub state: Option<VolumeState>,
    /// The size in bytes.
    pub size: u64,
    /// Where its bytes lie.
    pub extents: Vec<VolumeExtent>,
    /// The partition it is, where it is one.
    pub partition: Option<PartitionInfo>,
    /// The group it lies in, where it is of several parts.
    pub membership: Option<Membership>,
    /// Its file system, if it can be read.
    pub file_system: Option<FileSystemInfo>,
    /// What a comparison of its copies found, if that was asked for.
    pub comparison: Option<ComparisonInfo>,
    /// What keeps it locked.
    pub locked: Option<LockInfo>,
    /// What it is a snapshot of.
    pub snapshot: Option<Snapshot>,
    /// Whether its files can be read.
    pub readable: bool,
    /// Why not.
    pub reason: Option<String>,
    /// Where it is mounted now, by all the names that programs may use, if that was looked for.
    pub mounted_as: Vec<String>,
}

/// What keeps a volume locked.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct LockInfo {
    /// The kind of lock.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// The kinds of key that open it.
    pub keys: Vec<KeyKind>,
    /// More for a person who looks for the key: `2 key slots`; empty if there is no more.
    pub detail: String,
}

impl LockInfo {
    fn of(lock: &Lock) -> Self {
        Self { kind: lock.kind, keys: lock.keys.clone(), detail: lock.detail.clone() }
    }
}

/// What comparing the copies in a volume found.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct ComparisonInfo {
    /// Bytes that were compared.
    pub compared: u64,
    /// Bytes that differ.
    pub differing: u64,
    /// The first that does.
    pub first_difference: Option<u64>,
    /// Bytes that could not be compared.
    pub unreadable: u64,
}

/// The partition that a volume is.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct PartitionInfo {
    /// Its number in the table.
    pub number: u32,
    /// Its first sector.
    pub first_lba: u64,
    /// Its type, as the table writes it.
    #[serde(rename = "type")]
    pub kind: String,
    /// What that means.
    pub type_name: Option<&'static str>,
    /// Its name in the table.
    pub name: Option<String>,
}

/// The file system of a volume.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct FileSystemInfo {
    /// What it is: `ntfs`, `ext4`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// The label.
    pub label: Option<String>,
    /// Serial number or UUID.
    pub uuid: Option<String>,
    /// The allocation unit in bytes.
    pub cluster_size: u32,
    /// The size in bytes.
    pub size: u64,
    /// The bytes in use, if that was asked for and can be told.
    pub used: Option<u64>,
}

impl FileSystemInfo {
    /// What is told of `files`; how much is used takes whole bitmaps.
    pub fn of(files: &dyn FileSystem, with_usage: bool) -> Self {
        let info = files.info();
        let usage = if with_usage { files.usage().ok() } else { None };
        Self {
            kind: info.kind,
            label: info.label.clone(),
            uuid: info.uuid.clone(),
            cluster_size: info.cluster_size,
            size: info.size,
            used: usage.map(|usage| usage.used),
        }
    }
}

impl VolumeInfo {
    /// What is told of `volume`, which may have been `opened`, after all `findings` of its set.
    pub fn of(
        volume: &SetVolume,
        opened: Option<FsResult<FileSystemInfo>>,
        findings: &[Finding],
    ) -> Self {
        let (file_system, error) = match opened {
            Some(Ok(file_system)) => (Some(file_system), None),
            Some(Err(error)) => (None, Some(error_chain(&error))),
            None => (None, None),
        };
        let state = VolumeState::of(volume, file_system.as_ref(), findings);
        let own = &volume.volume;
        let partition = own.partition.as_ref().map(|partition| PartitionInfo {
            number: partition.number,
            first_lba: partition.first_lba,
            kind: partition.kind.to_string(),
            type_name: partition.kind.title(),
            name: partition.name.clone(),
        });
        let lock = own.lock.as_ref();
        Self {
            id: own.id.clone(),
            name: volume.name.clone(),
            kind: own.kind,
            layout: own.layout,
            health: state.map(VolumeState::word),
            state,
            size: own.size,
            extents: own.extents.clone(),
            partition,
            membership: own.membership.clone(),
            readable: file_system.is_some(),
            file_system,
            comparison: None,
            locked: lock.map(LockInfo::of),
            snapshot: own.snapshot.clone(),
            reason: error.or_else(|| volume.reason.clone()),
            mounted_as: Vec::new(),
        }
    }
}

/// How well a volume can be read, as far as the set tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum VolumeState {
    /// All is there.
    Healthy,
    /// Parts are missing, all bytes can be had.
    Degraded,
    /// What is read may be old, or less than there was; findings say why.
    Doubtful,
    /// The image ends before the volume.
    CutShort {
        /// The bytes that there are.
        there: u64,
        /// Those that there were.
        all: u64,
    },
    /// Parts are missing and with them bytes.
    Failed,
}

impl VolumeState {
    /// The state of `volume` with `file_system`; `None` where nothing is known of what is on it.
    pub(super) fn of(
        volume: &SetVolume,
        file_system: Option<&FileSystemInfo>,
        findings: &[Finding],
    ) -> Option<Self> {
        const CUT_SHORT: [Code; 5] = [
            code::EXT4_CUT_SHORT,
            code::FAT_TRUNCATED,
            code::NTFS_TRUNCATED,
            code::PARTITION_PAST_END,
            code::XFS_CUT_SHORT,
        ];
        let id = volume.id();
        let about = |finding: &&Finding| finding.volume.as_deref() == Some(id);
        // What is wrong with the bytes of a disk is wrong with all volumes on it.
        const OF_BYTES: [Code; 14] = [
            code::DISK_UNREADABLE,
            code::NESTED_FORMAT,
            code::QCOW2_CORRUPT,
            code::QCOW2_DIRTY,
            code::QED_NEEDS_CHECK,
            code::SNAPSHOT_BESIDE,
            code::VHD_CHECKSUM,
            code::VHD_FOOTER_DAMAGED,
            code::VHD_FOOTERS_DIFFER,
            code::VHD_SIZES_DIFFER,
            code::VHDX_HEADER_DAMAGED,
            code::VMDK_CUT_SHORT,
            code::VMDK_EXTENT_LOST,
            code::VMDK_EXTENT_SHORT,
        ];
        let lies_on = |disk: usize| volume.volume.extents.iter().any(|extent| extent.disk == disk);
        let is_doubt = |finding: &Finding| {
            let is_here = about(&finding)
                || (finding.volume.is_none()
                    && OF_BYTES.contains(&finding.code)
                    && finding.disk.is_some_and(lies_on));
            is_here && finding.bears_on_content()
        };
        let there = volume.volume.device.size();
        let all = file_system.map_or(0, |files| files.size).max(volume.volume.size);
        let is_cut = findings.iter().filter(about).any(|finding| CUT_SHORT.contains(&finding.code));
        match volume.volume.health {
            Health::Failed if volume.volume.membership.is_some() => Some(Self::Failed),
            // A disk that was cut off has other volumes too, which are whole.
            _ if there < volume.volume.size || (is_cut && there < all) => {
                Some(Self::CutShort { there, all })
            }
            _ if file_system.is_none() && volume.volume.membership.is_none() => None,
            Health::Failed => Some(Self::Failed),
            Health::Degraded => Some(Self::Degraded),
            Health::Healthy if findings.iter().any(is_doubt) => Some(Self::Doubtful),
            Health::Healthy => Some(Self::Healthy),
        }
    }

    /// The state as one word of JSON.
    pub fn word(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Degraded => "degraded",
            Self::Doubtful => "doubtful",
            Self::CutShort { .. } => "cut-short",
            Self::Failed => "failed",
        }
    }
}
