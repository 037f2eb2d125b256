//! What is told of disks and machines.

use serde::Serialize;
use volfold_fs::Timestamp;
use volfold_images::InnerSnapshot;

use crate::{Disk, MachineSnapshot, MachineStates};

/// One disk of a set.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct DiskInfo {
    /// Its number in the set.
    pub index: usize,
    /// The image, as it was given.
    pub path: String,
    /// The id of the image format.
    pub format: &'static str,
    /// The format's name for the variant.
    pub variant: Option<String>,
    /// The size in bytes.
    pub size: u64,
    /// The bytes of a logical sector.
    pub sector_size: u32,
    /// The files of the snapshot chain, the given image first.
    pub chain: Vec<String>,
    /// The states that the image keeps, the oldest first.
    pub snapshots: Vec<SnapshotInfo>,
    /// The one of them that is shown.
    pub snapshot: Option<SnapshotInfo>,
    /// The id of the partition scheme.
    pub partition_scheme: Option<&'static str>,
    /// The hashes of the whole disk that the image keeps.
    pub recorded_hashes: Vec<HashInfo>,
    /// All that is no hole, if that was asked for.
    pub allocated: Option<Vec<RunInfo>>,
}

/// A state of a disk that its image keeps.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct SnapshotInfo {
    /// What the image numbers it by.
    pub id: String,
    /// What people call it.
    pub name: String,
    /// When it was taken.
    pub time: Option<String>,
    /// The size of the disk then.
    pub size: u64,
}

/// A hash of a whole disk that its image keeps.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct HashInfo {
    /// `md5` or `sha1`.
    pub algorithm: &'static str,
    /// Its digits.
    pub value: String,
}

/// A run of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct RunInfo {
    /// The first byte.
    pub offset: u64,
    /// How many there are.
    pub length: u64,
}

/// The older states that the configuration of a machine knows.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct MachineInfo {
    /// The configuration, as it was given.
    pub path: String,
    /// The states, each before those that were made of it.
    pub snapshots: Vec<MachineSnapshotInfo>,
    /// The one of them whose disks are those of the set.
    pub snapshot: Option<MachineSnapshotInfo>,
}

/// A state of a machine.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct MachineSnapshotInfo {
    /// What the configuration numbers it by.
    pub id: String,
    /// What people call it.
    pub name: String,
}

impl DiskInfo {
    /// What is told of `disk`, the one with the number `index`.
    pub fn of(index: usize, disk: &Disk) -> Self {
        let hashes = disk.recorded_hashes.iter();
        Self {
            index,
            path: disk.path.display().to_string(),
            format: disk.format,
            variant: disk.variant.clone(),
            size: disk.size,
            sector_size: disk.sector_size,
            chain: disk.chain.clone(),
            snapshots: disk.snapshots.iter().map(SnapshotInfo::of).collect(),
            snapshot: disk.snapshot.as_ref().map(SnapshotInfo::of),
            partition_scheme: disk.partition_scheme,
            recorded_hashes: hashes
                .map(|hash| HashInfo { algorithm: hash.algorithm, value: hash.value.clone() })
                .collect(),
            allocated: None,
        }
    }
}

impl SnapshotInfo {
    /// What is told of `snapshot`.
    pub fn of(snapshot: &InnerSnapshot) -> Self {
        let time = snapshot.time.map(|seconds| Timestamp { seconds, nanoseconds: 0 }.to_string());
        let InnerSnapshot { id, name, size, .. } = snapshot.clone();
        Self { id, name, time, size }
    }
}

impl MachineInfo {
    /// What is told of `machine`.
    pub fn of(machine: &MachineStates) -> Self {
        Self {
            path: machine.path.display().to_string(),
            snapshots: machine.snapshots.iter().map(MachineSnapshotInfo::of).collect(),
            snapshot: machine.snapshot.as_ref().map(MachineSnapshotInfo::of),
        }
    }
}

impl MachineSnapshotInfo {
    fn of(snapshot: &MachineSnapshot) -> Self {
        Self { id: snapshot.id.clone(), name: snapshot.name.clone() }
    }
}
