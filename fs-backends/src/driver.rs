//! What a file-system driver is, and what it is given: a volume, and the others of its set.

use std::sync::Arc;

use volfold_block::{BlockDevice, Confidence};
#[cfg(any(feature = "ext4", feature = "xfs"))]
use volfold_block::{Finding, code};

use crate::code_page::CodePage;
use crate::error::FsResult;
use crate::local::TimeZone;
use crate::node::FileSystem;

/// The other volumes of the set that a volume belongs to.
///
/// A file system may need more than its own volume: a journal on a device of its own, the other
/// members of a pool. It asks for them when it is mounted, and says what it lacks.
pub trait OtherVolumes: Send + Sync {
    /// The volumes whose [`Identity::uuid`] is `uuid`, in the order of the set; more than one where
    /// there are copies of a disk.
    fn by_uuid(&self, uuid: &str) -> Vec<VolumeReader>;
}

/// Two views of one volume, the same bytes by the way that suits them, and the way to the volumes
/// beside it.
#[derive(Clone)]
#[non_exhaustive]
pub struct VolumeReader {
    /// For file content: large reads, passed through.
    pub data: Arc<dyn BlockDevice>,
    /// For small structures that are read again: cached.
    pub metadata: Arc<dyn BlockDevice>,
    others: Option<Arc<dyn OtherVolumes>>,
}

impl VolumeReader {
    /// A volume by its two views, alone in its set.
    pub fn new(data: Arc<dyn BlockDevice>, metadata: Arc<dyn BlockDevice>) -> Self {
        Self { data, metadata, others: None }
    }

    /// Both views are `device` itself.
    pub fn uncached(device: Arc<dyn BlockDevice>) -> Self {
        Self::new(device.clone(), device)
    }

    /// The same volume in a set with `others`.
    #[must_use]
    pub fn with_others(self, others: Arc<dyn OtherVolumes>) -> Self {
        Self { others: Some(others), ..self }
    }

    /// The volumes of the set whose [`Identity::uuid`] is `uuid`.
    pub fn others(&self, uuid: &str) -> Vec<Self> {
        self.others.as_ref().map(|others| others.by_uuid(uuid)).unwrap_or_default()
    }
}

/// What a volume that a driver knows is good for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum VolumeRole {
    /// It holds a file system, which can be mounted.
    #[default]
    FileSystem,
    /// It holds the journal of a file system on another volume, and cannot be mounted.
    Journal,
}

/// What tells one volume from another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Identity {
    /// The volume label, `None` if empty.
    pub label: Option<String>,
    /// Serial number or UUID, as blkid writes it.
    pub uuid: Option<String>,
    /// What it is good for.
    pub role: VolumeRole,
}

impl Identity {
    /// The identity of a file system.
    pub fn new(label: Option<String>, uuid: Option<String>) -> Self {
        Self { label, uuid, role: VolumeRole::FileSystem }
    }
}

/// Says that the `journal` of a volume was left out, as it was asked for.
#[cfg(any(feature = "ext4", feature = "xfs"))]
pub(crate) fn left_out(journal: &str) -> Finding {
    let line = format!(
        "the {journal} is left out; the newest changes are missing, and what they began may be damaged"
    );
    Finding::info(code::JOURNAL_LEFT_OUT, line)
}

/// What one may choose when a volume is mounted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReadOptions {
    /// Lists the files that hold the file system itself, where it has such: `$MFT` of NTFS and the
    /// others.
    pub system_files: bool,
    /// Leaves the journal of a volume that was not unmounted out: the files are those of its last state that is
    /// whole without it, or are damaged.
    pub as_is: bool,
    /// Where the clocks stood whose times are kept without a zone: those of FAT.
    pub time_zone: TimeZone,
    /// What the bytes of short names mean: those of FAT.
    pub code_page: CodePage,
}

impl ReadOptions {
    /// The same with the files that hold the file system itself listed, or not.
    #[must_use]
    pub fn with_system_files(mut self, system_files: bool) -> Self {
        self.system_files = system_files;
        self
    }
}

/// One kind of file system.
pub trait FileSystemDriver: Send + Sync {
    /// The lower-case name: `ntfs`.
    fn id(&self) -> &'static str;

    /// What it is called in tables: `NTFS`.
    fn title(&self) -> &'static str;

    /// Looks at the first bytes of `volume`.
    ///
    /// # Errors
    /// Only if they cannot be read; a strange volume is [`Confidence::No`].
    fn probe(&self, volume: &dyn BlockDevice) -> FsResult<Confidence>;

    /// Looks for copies of what [`Self::probe`] looks at, in all places where they may be; asked
    /// of volumes that no driver knows.
    ///
    /// # Errors
    /// Only if the volume cannot be read.
    fn probe_backup(&self, _volume: &dyn BlockDevice) -> FsResult<Confidence> {
        Ok(Confidence::No)
    }

    /// Reads label and id, and just the few sectors that hold them: folder names need them before
    /// the volume is entered. No journal is replayed, so it may succeed where
    /// [`Self::mount`] finds damage.
    ///
    /// # Errors
    /// Why they cannot be read.
    fn identify(&self, volume: VolumeReader) -> FsResult<Identity>;

    /// Reads the file system's root structures; a driver heeds those of `options` that mean
    /// something to it.
    ///
    /// # Errors
    /// Why the file system cannot be read.
    fn mount(&self, volume: VolumeReader, options: ReadOptions) -> FsResult<Arc<dyn FileSystem>>;
}
