//! The structs that C reads.
//!
//! Those that the library gives out begin with `struct_size`: a field is there if it ends before that.

use std::ffi::{c_char, c_void};
use std::ptr;

use volfold::Stage;
use volfold::fs::{FileExtent, FileExtentKind, FileKind, Metadata, Timestamp};
use volfold_capi_support::Arena;

use crate::status::VolfoldStatus;

/// Options of a set. An opaque handle, and no address.
pub struct VolfoldOptions;

/// A set of disk images. An opaque handle, and no address.
pub struct VolfoldSet;

/// A volume of a set. An opaque handle, and no address.
pub struct VolfoldVolume;

/// An open file. An opaque handle, and no address.
pub struct VolfoldFile;

/// A directory that is being listed, or a tree that is being walked. An opaque handle, and no address.
pub struct VolfoldDirectory;

/// Bytes of text. NULL where there is none; else a NUL follows, which is not counted. Names that come
/// from images need not be UTF-8, and may hold NUL.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct VolfoldText {
    /// The bytes.
    pub bytes: *const c_char,
    /// How many, without the NUL.
    pub length: usize,
}

impl VolfoldText {
    /// No text.
    pub(crate) const NONE: Self = Self { bytes: ptr::null(), length: 0 };
}

/// A list of texts.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct VolfoldTextList {
    /// The size of this struct in bytes.
    pub struct_size: usize,
    /// How many there are.
    pub count: usize,
    /// The texts.
    pub items: *const VolfoldText,
}

/// A point in time, UTC.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VolfoldTime {
    /// Seconds since 1970-01-01T00:00:00Z; negative before.
    pub seconds: i64,
    /// Nanoseconds in that second.
    pub nanoseconds: u32,
    /// 0.
    pub reserved: u32,
}

impl From<Timestamp> for VolfoldTime {
    fn from(time: Timestamp) -> Self {
        Self { seconds: time.seconds, nanoseconds: time.nanoseconds, reserved: 0 }
    }
}

/// What is done at the moment. Later versions may have more.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VolfoldStage {
    /// Images are opened; counts images, and files of folders.
    Images = 0,
    /// Partition tables and volume managers are read; counts disks.
    Disks = 1,
    /// File systems are identified; counts volumes.
    Volumes = 2,
    /// Volumes are looked into for systems; counts volumes.
    Systems = 3,
    /// Something else.
    Other = 4,
}

impl From<Stage> for VolfoldStage {
    fn from(stage: Stage) -> Self {
        match stage {
            Stage::Images => Self::Images,
            Stage::Disks => Self::Disks,
            Stage::Volumes => Self::Volumes,
            Stage::Systems => Self::Systems,
            _ => Self::Other,
        }
    }
}

/// Told that `done` of `total` are done; `total` may grow, and is UINT64_MAX where it is not known. Returns
/// whether to go on.
///
/// It is called on the thread that called volfold_set_open() or volfold_set_systems(), during that call:
/// before each image, disk and volume, at the end of each stage, and while one of them takes long, some ten
/// times a second. `context` is that of volfold_options_set_progress(). It must return: neither longjmp() nor
/// an exception of C++ may leave it.
pub type VolfoldProgressFn = Option<
    unsafe extern "C" fn(context: *mut c_void, stage: VolfoldStage, done: u64, total: u64) -> bool,
>;

/// What a run of bytes is.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VolfoldExtentKind {
    /// Bytes that have to be read.
    Data = 0,
    /// Bytes that read as zero and take no place.
    Zero = 1,
    /// Bytes of a file that will be refused.
    Unreadable = 2,
}

/// A run of bytes of one kind.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct VolfoldExtent {
    /// How many bytes from the offset asked for; at least 1.
    pub length: u64,
    /// What they are.
    pub kind: VolfoldExtentKind,
    /// With VOLFOLD_EXTENT_KIND_UNREADABLE, how reads of them end; else VOLFOLD_STATUS_OK.
    pub status: VolfoldStatus,
}

impl From<FileExtent> for VolfoldExtent {
    fn from(extent: FileExtent) -> Self {
        let (kind, status) = match extent.kind {
            FileExtentKind::Data => (VolfoldExtentKind::Data, VolfoldStatus::Ok),
            FileExtentKind::Hole => (VolfoldExtentKind::Zero, VolfoldStatus::Ok),
            FileExtentKind::Unreadable(kind) => (VolfoldExtentKind::Unreadable, kind.into()),
        };
        Self { length: extent.length, kind, status }
    }
}

/// A run of bytes of one disk.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct VolfoldPlace {
    /// The number of the disk.
    pub disk: u64,
    /// The first byte on it.
    pub offset: u64,
    /// The size in bytes.
    pub length: u64,
}

/// An image that could not be opened.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct VolfoldFailure {
    /// The size of this struct in bytes.
    pub struct_size: usize,
    /// Its path.
    pub path: VolfoldText,
    /// Why, as a status.
    pub status: VolfoldStatus,
    /// Why, as a stable code.
    pub code: VolfoldText,
    /// Why, as a sentence.
    pub message: VolfoldText,
}

/// How much a finding matters.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VolfoldSeverity {
    /// Odd, and all is readable.
    Info = 0,
    /// Something is damaged or doubtful.
    Warning = 1,
    /// Something cannot be read.
    Error = 2,
}

/// One thing that was noticed.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct VolfoldFinding {
    /// The size of this struct in bytes.
    pub struct_size: usize,
    /// How much it matters.
    pub severity: VolfoldSeverity,
    /// Whether what is read may be less, or older, than what there was.
    pub bears_on_content: bool,
    /// Whether `position` is known.
    pub has_position: bool,
    /// The number of the disk it is about; -1 for none.
    pub disk: i64,
    /// The byte position in the part, disk or volume.
    pub position: u64,
    /// What kind of thing it is, one of docs/CODES.md.
    pub code: VolfoldText,
    /// The id of the volume it is about.
    pub volume: VolfoldText,
    /// The part of an image it is about.
    pub part: VolfoldText,
    /// The path on the volume it is about.
    pub path: VolfoldText,
    /// A sentence for people.
    pub message: VolfoldText,
    /// What to do about it; NULL if there is nothing to do.
    pub advice: VolfoldText,
}

/// What was noticed.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct VolfoldFindingList {
    /// The size of this struct in bytes.
    pub struct_size: usize,
    /// How many findings there are.
    pub count: usize,
    /// The findings.
    pub items: *const *const VolfoldFinding,
}

/// A disk of a set.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct VolfoldDiskInfo {
    /// The size of this struct in bytes.
    pub struct_size: usize,
    /// The size of the virtual disk in bytes.
    pub size: u64,
    /// The size of a logical sector in bytes.
    pub sector_size: u32,
    /// The image as it was named.
    pub path: VolfoldText,
    /// The id of its format.
    pub format: VolfoldText,
    /// The format's name for the variant; may be NULL.
    pub variant: VolfoldText,
    /// The id of the partition scheme; NULL without partitions.
    pub partition_scheme: VolfoldText,
    /// How many files the snapshot chain has.
    pub chain_count: usize,
    /// The files of the snapshot chain, the given image first.
    pub chain: *const VolfoldText,
    /// How many files of the host the disk is made of.
    pub file_count: usize,
    /// Their paths.
    pub files: *const VolfoldText,
}

/// Where a volume comes from.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VolfoldVolumeType {
    /// A partition of an MBR.
    Basic = 0,
    /// A partition of a GPT.
    Gpt = 1,
    /// A volume of a group of Windows dynamic disks.
    Dynamic = 2,
    /// A disk without partitions.
    WholeDisk = 3,
    /// A logical volume of an LVM2 volume group.
    Logical = 4,
    /// A volume as it was, of which Windows kept what was written since (VSS).
    ShadowCopy = 5,
    /// What an encrypted partition or volume holds.
    Encrypted = 6,
    /// An array of Linux software RAID (MD).
    Raid = 7,
    /// Something that this version of the interface has no number for.
    Other = 255,
}

/// Whether all parts of a volume are there.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VolfoldHealth {
    /// All parts are there.
    Healthy = 0,
    /// Parts are missing, all bytes can be had.
    Degraded = 1,
    /// Parts are missing and with them bytes.
    Failed = 2,
}

/// A volume of a set.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct VolfoldVolumeInfo {
    /// The size of this struct in bytes.
    pub struct_size: usize,
    /// Its number in the set.
    pub index: usize,
    /// The size in bytes.
    pub size: u64,
    /// Where it comes from.
    pub kind: VolfoldVolumeType,
    /// Whether all parts are there.
    pub health: VolfoldHealth,
    /// Whether its files can be read.
    pub readable: bool,
    /// Whether there are files, or may well be, that are not shown.
    pub left_out: bool,
    /// Whether it is locked, and no key opened it.
    pub locked: bool,
    /// Its id, which does not depend on the order of the images.
    pub id: VolfoldText,
    /// The name of its folder, unique in the set.
    pub name: VolfoldText,
    /// How it lies on its disks: "partition", "simple", "spanned", "striped", "mirrored", "raid5".
    pub layout: VolfoldText,
    /// The kind of its file system, "ntfs"; NULL if it cannot be read.
    pub file_system: VolfoldText,
    /// Its label; may be NULL.
    pub label: VolfoldText,
    /// Serial number or UUID of its file system; may be NULL.
    pub uuid: VolfoldText,
    /// Why its files cannot be read; NULL if they can.
    pub reason: VolfoldText,
    /// The id of the volume that it is a snapshot of; NULL if it is none.
    pub snapshot_of: VolfoldText,
    /// When the snapshot was taken, in seconds since 1970; 0 where that is not known.
    pub snapshot_time: i64,
    /// The allocation unit of its file system in bytes; 0 if it cannot be read.
    pub cluster_size: u32,
    /// How many names Windows has for it.
    pub guest_name_count: usize,
    /// What Windows calls it, as far as the disks tell: "C:", "Volume{...}".
    pub guest_names: *const VolfoldText,
    /// How many runs of bytes it lies in.
    pub place_count: usize,
    /// Where its bytes lie.
    pub places: *const VolfoldPlace,
}

/// How large a file system is, and how full.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct VolfoldUsage {
    /// The size of the file system in bytes.
    pub size: u64,
    /// Bytes in use.
    pub used: u64,
}

/// What a file is.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VolfoldFileKind {
    /// A regular file.
    Regular = 0,
    /// A directory.
    Directory = 1,
    /// A symbolic link, or a junction.
    Symlink = 2,
    /// A character device node.
    CharDevice = 3,
    /// A block device node.
    BlockDevice = 4,
    /// A named pipe.
    Fifo = 5,
    /// A Unix socket.
    Socket = 6,
}

impl From<FileKind> for VolfoldFileKind {
    fn from(kind: FileKind) -> Self {
        match kind {
            FileKind::Regular => Self::Regular,
            FileKind::Directory => Self::Directory,
            FileKind::Symlink => Self::Symlink,
            FileKind::CharDevice => Self::CharDevice,
            FileKind::BlockDevice => Self::BlockDevice,
            FileKind::Fifo => Self::Fifo,
            FileKind::Socket => Self::Socket,
        }
    }
}

/// VolfoldStat.known: `created` is.
pub const VOLFOLD_KNOWS_CREATED: u32 = 1;
/// VolfoldStat.known: `uid`, `gid` and `mode` are.
pub const VOLFOLD_KNOWS_OWNER: u32 = 2;
/// VolfoldStat.known: `device_major` and `device_minor` are.
pub const VOLFOLD_KNOWS_DEVICE: u32 = 4;
/// VolfoldStat.known: `attributes` are.
pub const VOLFOLD_KNOWS_ATTRIBUTES: u32 = 8;

/// What is known of a file without its content.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct VolfoldStat {
    /// The size of this struct in bytes: set by the program before volfold_stat(), which writes no more.
    pub struct_size: usize,
    /// The file system's own number of the file.
    pub node: u64,
    /// Tells two files apart that had the same number at different times; 0 where unknown.
    pub generation: u64,
    /// The size of the content in bytes; of a link's target for links.
    pub size: u64,
    /// The bytes that the content takes on the volume.
    pub allocated: u64,
    /// Last change of the content.
    pub modified: VolfoldTime,
    /// Last read of the content.
    pub accessed: VolfoldTime,
    /// Last change of the metadata.
    pub changed: VolfoldTime,
    /// Creation.
    pub created: VolfoldTime,
    /// What it is.
    pub kind: VolfoldFileKind,
    /// How many names it has.
    pub links: u32,
    /// Which of the fields below, and of `created`, are known: VOLFOLD_KNOWS_...
    pub known: u32,
    /// User number.
    pub uid: u32,
    /// Group number.
    pub gid: u32,
    /// Permission bits.
    pub mode: u32,
    /// Major number of a device node.
    pub device_major: u32,
    /// Minor number of a device node.
    pub device_minor: u32,
    /// DOS attributes, as FAT and NTFS write them.
    pub attributes: u32,
    /// How reads of the content will end, where that is known; else VOLFOLD_STATUS_OK.
    pub unreadable: VolfoldStatus,
}

impl VolfoldStat {
    /// The struct of `metadata`, of which the volume's own number is `node`.
    pub(crate) fn of(metadata: &Metadata, node: u64) -> Self {
        let Metadata { generation, kind, size, allocated, links, times, .. } = *metadata;
        let known = [
            (VOLFOLD_KNOWS_CREATED, times.created.is_some()),
            (VOLFOLD_KNOWS_OWNER, metadata.owner.is_some()),
            (VOLFOLD_KNOWS_DEVICE, metadata.device.is_some()),
            (VOLFOLD_KNOWS_ATTRIBUTES, metadata.attributes.is_some()),
        ];
        let (device_major, device_minor) = metadata.device.unwrap_or_default();
        Self {
            struct_size: size_of::<Self>(),
            node,
            generation,
            size,
            allocated,
            modified: times.modified.into(),
            accessed: times.accessed.into(),
            changed: times.changed.into(),
            created: times.created.unwrap_or_default().into(),
            kind: kind.into(),
            links,
            known: known.iter().filter(|(_, is)| *is).fold(0, |all, (bit, _)| all | bit),
            uid: metadata.owner.map_or(0, |owner| owner.uid),
            gid: metadata.owner.map_or(0, |owner| owner.gid),
            mode: metadata.owner.map_or(0, |owner| owner.mode.into()),
            device_major,
            device_minor,
            attributes: metadata.attributes.map_or(0, |attributes| attributes.0),
            unreadable: metadata.unreadable.map_or(VolfoldStatus::Ok, VolfoldStatus::from),
        }
    }
}

/// An entry of a directory, or of a tree.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct VolfoldEntry {
    /// The size of this struct in bytes.
    pub struct_size: usize,
    /// VOLFOLD_STATUS_OK; else why `path`, a directory or an entry of one, cannot be read.
    pub status: VolfoldStatus,
    /// What it is; of no meaning with another status.
    pub kind: VolfoldFileKind,
    /// The file system's own number of it.
    pub node: u64,
    /// Its name, the last part of its path.
    pub name: VolfoldText,
    /// Its path from the root of the volume on, below the path that was given.
    pub path: VolfoldText,
    /// With another status, why, as a sentence; else NULL.
    pub message: VolfoldText,
    /// What else is known of it; NULL with another status.
    pub stat: *const VolfoldStat,
}

/// A kind of system.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VolfoldFamily {
    /// Windows NT and what came after it.
    Windows = 1,
    /// Linux.
    Linux = 2,
    /// FreeBSD and its relatives.
    Bsd = 5,
    /// Another one.
    Other = 255,
}

/// A place where an installed system shows a volume.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct VolfoldMountPoint {
    /// Where: "C:", "/home".
    pub path: VolfoldText,
    /// What the system's own table names.
    pub source: VolfoldText,
    /// The id of the volume of the set that is meant; NULL if there is none.
    pub volume: VolfoldText,
}

/// A system that is installed on the set. What it does not tell is NULL.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct VolfoldSystem {
    /// The size of this struct in bytes.
    pub struct_size: usize,
    /// What kind of system it is.
    pub family: VolfoldFamily,
    /// Whether it is known to be started when nobody chooses.
    pub is_default: bool,
    /// The id of the volume that its own folder is on.
    pub volume: VolfoldText,
    /// That folder, from the root of the volume.
    pub folder: VolfoldText,
    /// Who made it.
    pub vendor: VolfoldText,
    /// What it calls itself.
    pub product: VolfoldText,
    /// The edition.
    pub edition: VolfoldText,
    /// The version: "10.0", "12".
    pub version: VolfoldText,
    /// The build.
    pub build: VolfoldText,
    /// What the processor is called in target triples: "x86_64".
    pub architecture: VolfoldText,
    /// The name of the machine.
    pub host_name: VolfoldText,
    /// The DNS domain that it is in.
    pub domain: VolfoldText,
    /// The time zone, as the system names it.
    pub time_zone: VolfoldText,
    /// The id that it gives itself.
    pub machine_id: VolfoldText,
    /// How many places it shows volumes at.
    pub mount_point_count: usize,
    /// Where it shows volumes.
    pub mount_points: *const VolfoldMountPoint,
}

/// The systems of a set.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct VolfoldSystemList {
    /// The size of this struct in bytes.
    pub struct_size: usize,
    /// How many there are.
    pub count: usize,
    /// The systems, the one that is started by default first.
    pub items: *const *const VolfoldSystem,
    /// What could not be read of them, or contradicts itself.
    pub findings: VolfoldFindingList,
}

/// A stream of a file beside its main one.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct VolfoldStream {
    /// Its name.
    pub name: VolfoldText,
    /// Its size in bytes.
    pub size: u64,
}

/// The streams of a file beside its main one.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct VolfoldStreamList {
    /// The size of this struct in bytes.
    pub struct_size: usize,
    /// How many there are.
    pub count: usize,
    /// The streams.
    pub items: *const VolfoldStream,
}

/// A volume that is mounted.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct VolfoldMountedVolume {
    /// The size of this struct in bytes.
    pub struct_size: usize,
    /// Its id.
    pub id: VolfoldText,
    /// The name of its folder.
    pub name: VolfoldText,
    /// How many paths it has.
    pub path_count: usize,
    /// Its folder, then what else programs may call it.
    pub paths: *const VolfoldText,
}

/// What was mounted.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct VolfoldMount {
    /// The size of this struct in bytes.
    pub struct_size: usize,
    /// The folder.
    pub folder: VolfoldText,
    /// The log of the process that serves it; may be NULL.
    pub log: VolfoldText,
    /// What the program said of what is missing or odd, in lines; empty if nothing.
    pub talk: VolfoldText,
    /// How many volumes are mounted.
    pub volume_count: usize,
    /// The volumes.
    pub volumes: *const *const VolfoldMountedVolume,
}

/// A list of texts in the block that `arena` lays out.
pub(crate) fn text_list<T: AsRef<[u8]>>(arena: &mut Arena, texts: &[T]) -> VolfoldTextList {
    let items = crate::objects::texts(arena, texts);
    VolfoldTextList { struct_size: size_of::<VolfoldTextList>(), count: texts.len(), items }
}
