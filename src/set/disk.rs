//! The disks of a set.

use std::path::PathBuf;
use std::sync::Arc;

use volfold_block::{BlockDevice, BlockError, FindingLog};
use volfold_images::{InnerSnapshot, RecordedHash, RegionChecksum};

use crate::files::DeviceReader;
use crate::machine::MachineSnapshot;
use crate::machine::manifest::ManifestFile;
use crate::source::SourceFile;

/// An image that could not be opened.
#[derive(Debug)]
#[non_exhaustive]
pub struct DiskFailure {
    /// The image as the user named it.
    pub path: PathBuf,
    /// Why.
    pub error: BlockError,
}

/// What the configuration of a machine, of which disks of the set are, knows of older states.
#[derive(Debug)]
#[non_exhaustive]
pub struct MachineStates {
    /// The configuration as the user named it.
    pub path: PathBuf,
    /// The older states, each before those that were made of it.
    pub snapshots: Vec<MachineSnapshot>,
    /// The one of them whose disks are those of the set; `None` for the newest state.
    pub snapshot: Option<MachineSnapshot>,
}

/// What the manifest of a packed machine says of its files.
#[non_exhaustive]
pub struct Manifest {
    /// The descriptor, or the archive with it, as the user named it.
    pub path: PathBuf,
    /// The files.
    pub files: Vec<ManifestFile>,
    /// How many of its lines are no hash of a file.
    pub other_lines: usize,
}

/// One disk of the set.
#[non_exhaustive]
pub struct Disk {
    /// The image as the user named it.
    pub path: PathBuf,
    /// The image format's id.
    pub format: &'static str,
    /// The format's name for the variant.
    pub variant: Option<String>,
    /// The size of the virtual disk in bytes.
    pub size: u64,
    /// The size of a logical sector in bytes.
    pub sector_size: u32,
    /// The files of the snapshot chain, the given image first.
    pub chain: Vec<String>,
    /// The states of the disk that the image itself keeps, the oldest first.
    pub snapshots: Vec<InnerSnapshot>,
    /// The one of them that is shown; `None` for the newest state.
    pub snapshot: Option<InnerSnapshot>,
    /// The hashes of the whole disk that the image keeps, as they were when it was made.
    pub recorded_hashes: Vec<RecordedHash>,
    /// The checksums of regions of the disk that the image keeps.
    pub region_checksums: Vec<RegionChecksum>,
    /// The files of the host that it is made of: the image, its extents and parents.
    pub files: Vec<SourceFile>,
    /// The id of the partition scheme, `None` without partitions.
    pub partition_scheme: Option<&'static str>,
    /// The virtual disk.
    pub device: Arc<dyn BlockDevice>,
    /// Whether reads of the device go through the cache.
    pub(super) cached: bool,
    /// What is noticed while the image is read.
    pub(super) log: Arc<FindingLog>,
}

impl Disk {
    /// The bytes of the disk as a stream.
    pub fn reader(&self) -> DeviceReader {
        DeviceReader::new(self.device.clone())
    }
}
