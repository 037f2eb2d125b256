//! The names of one directory as Windows sees them.
//!
//! Windows compares names without regard to case, whatever the guest's file system does, and bears
//! fewer names. So every directory that is entered is listed once, its names are made Windows' own
//! ([`names::to_windows`]), twins get a suffix, and lookups and listings are answered from that.

use std::hash::{BuildHasher, RandomState};
use std::ops::ControlFlow;
use std::sync::LazyLock;

use volfold_fs::links::{End, Guest};
use volfold_fs::{
    DirCursor, FileKind, FsError, FsErrorKind, FsResult, Metadata, NodeId, Timestamp,
};

use super::info::FileInfo;
use crate::folder::names::{self, MAX_WINDOWS, fold};

/// LIMIT: names of one directory.
const MAX_NAMES: usize = 4 << 20;

/// LIMIT: links of one directory that are followed to see whether they lead to a directory.
const MAX_FOLLOWED: usize = 4096;

/// `FILE_ATTRIBUTE_*` of MS-FSCC 2.6.
pub(crate) mod attribute {
    pub(crate) const DIRECTORY: u32 = 0x10;
    pub(crate) const NORMAL: u32 = 0x80;
    pub(crate) const REPARSE_POINT: u32 = 0x400;
    /// What a guest's attributes are passed on of: all that say something of the file and do not
    /// make Windows act (recall, integrity streams).
    pub(crate) const PASSED: u32 = 0x0000_FFA7 & !0x8000 & !REPARSE_POINT & !DIRECTORY;
}

/// `IO_REPARSE_TAG_*` of MS-FSCC 2.1.2.1.
pub(crate) mod tag {
    pub(crate) const SYMLINK: u32 = 0xA000_000C;
    pub(crate) const AF_UNIX: u32 = 0x8000_0023;
    pub(crate) const LX_FIFO: u32 = 0x8000_0024;
    pub(crate) const LX_CHR: u32 = 0x8000_0025;
    pub(crate) const LX_BLK: u32 = 0x8000_0026;
}

/// Names that hostile images choose must not all fall into one place.
static HASHER: LazyLock<RandomState> = LazyLock::new(RandomState::new);

/// One name of a directory.
#[derive(Clone, Copy)]
pub(super) struct Entry {
    start: u32,
    length: u16,
    /// The node it names.
    pub(super) node: NodeId,
    /// What Windows is told of it.
    pub(super) info: FileInfo,
}

/// The names of one directory.
pub(super) struct Listing {
    units: Vec<u16>,
    entries: Vec<Entry>,
    /// The hash of each folded name and its place in `entries`, sorted.
    by_name: Vec<(u64, u32)>,
    /// Why the directory could not be read to its end.
    damage: Option<FsErrorKind>,
}

impl Listing {
    /// Lists the directory that `trail` ends with; `trail` begins with the root.
    ///
    /// # Errors
    /// If nothing of the directory can be read, or it has too many names.
    pub(super) fn read(guest: Guest<'_>, trail: &[NodeId]) -> FsResult<Self> {
        let fs = guest.fs();
        let dir = trail.last().copied().unwrap_or_else(|| fs.root());
        let mut raw = Raw::default();
        let read = fs.read_dir(dir, DirCursor::START, &mut |entry| raw.take(&entry));
        let damage = match read {
            Err(error) if raw.entries.is_empty() => return Err(error),
            Err(error) => Some(error.kind()),
            Ok(()) if raw.entries.len() >= MAX_NAMES => {
                return Err(FsError::unsupported("directory has too many names"));
            }
            Ok(()) => None,
        };
        for index in raw.bare {
            let entry = &mut raw.entries[index];
            if let Ok(metadata) = fs.metadata(entry.node) {
                entry.info = file_info(&metadata);
            }
        }
        if guest.is_set() && trail.len() <= 1 {
            // QUIRK: the root of an NTFS volume is hidden and a file of the system, since nothing
            // lists it; here it is listed, and programs would leave the whole volume out.
            for entry in &mut raw.entries {
                entry.info.file_attributes = attribute::DIRECTORY;
            }
        }
        let links = raw.entries.iter_mut().filter(|entry| entry.info.reparse_tag == tag::SYMLINK);
        for entry in links.take(MAX_FOLLOWED) {
            let target = fs.read_link(entry.node);
            let end = target.and_then(|target| Ok(guest.resolve(trail, &target.0, true)?.end));
            if end.is_ok_and(|end| end == End::Here) {
                entry.info.file_attributes |= attribute::DIRECTORY;
            }
        }
        let mut listing =
            Self { units: raw.units, entries: raw.entries, by_name: Vec::new(), damage };
        listing.index();
        if listing.has_twins() {
            listing.disambiguate_case(&raw.guest);
        }
        Ok(listing)
    }

    /// The bytes it takes.
    pub(super) fn memory(&self) -> u64 {
        let bytes = size_of::<Self>()
            + self.units.capacity() * size_of::<u16>()
            + self.entries.capacity() * size_of::<Entry>()
            + self.by_name.capacity() * size_of::<(u64, u32)>();
        bytes as u64
    }

    /// The entries in the order of the file system.
    pub(super) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The name of `entry`.
    pub(super) fn name(&self, entry: &Entry) -> &[u16] {
        let start = entry.start as usize;
        &self.units[start..start + usize::from(entry.length)]
    }

    /// Why what is listed is not all.
    pub(super) fn damage(&self) -> Option<FsErrorKind> {
        self.damage
    }

    /// The entry that `name` names, in any case.
    ///
    /// # Errors
    /// `NotFound`, or the damage of the directory where the name may have been lost by it.
    pub(super) fn find(&self, name: &[u16]) -> Result<&Entry, FsErrorKind> {
        let hash = hash(name);
        let start = self.by_name.partition_point(|(other, _)| *other < hash);
        self.by_name[start..]
            .iter()
            .take_while(|(other, _)| *other == hash)
            .map(|(_, index)| &self.entries[*index as usize])
            .find(|entry| same(self.name(entry), name))
            .ok_or(self.damage.unwrap_or(FsErrorKind::NotFound))
    }

    /// The name of `node`; of several the first.
    pub(super) fn name_of(&self, node: NodeId) -> Option<&[u16]> {
        self.entries.iter().find(|entry| entry.node == node).map(|entry| self.name(entry))
    }

    fn index(&mut self) {
        let mut by_name = Vec::with_capacity(self.entries.len());
        for (entry, index) in self.entries.iter().zip(0_u32..) {
            by_name.push((hash(self.name(entry)), index));
        }
        by_name.sort_unstable();
        self.by_name = by_name;
    }

    fn has_twins(&self) -> bool {
        self.by_name.windows(2).any(|pair| pair[0].0 == pair[1].0)
            || self.entries.iter().any(|entry| usize::from(entry.length) > MAX_WINDOWS)
    }

    /// Gives every name that Windows would take for another's, or that is too long for it, a suffix
    /// by the order of the guest's bytes.
    fn disambiguate_case(&mut self, guest: &GuestNames) {
        let all: Vec<&[u8]> = (0..self.entries.len()).map(|index| guest.name(index)).collect();
        for (index, new) in names::disambiguate_case(&all) {
            // Offsets were bounded when the names were read; a suffix is short.
            let (Ok(start), Ok(length)) =
                (u32::try_from(self.units.len()), u16::try_from(new.len()))
            else {
                continue;
            };
            (self.entries[index].start, self.entries[index].length) = (start, length);
            self.units.extend(new);
        }
        self.index();
    }
}

/// The guest's own names, needed to part twins only.
#[derive(Default)]
struct GuestNames {
    bytes: Vec<u8>,
    ends: Vec<u32>,
}

impl GuestNames {
    fn name(&self, index: usize) -> &[u8] {
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before] as usize);
        &self.bytes[start..self.ends[index] as usize]
    }
}

/// A listing in the making.
#[derive(Default)]
struct Raw {
    units: Vec<u16>,
    entries: Vec<Entry>,
    guest: GuestNames,
    /// The entries that came without metadata.
    bare: Vec<usize>,
}

impl Raw {
    fn take(&mut self, entry: &volfold_fs::DirEntry<'_>) -> ControlFlow<()> {
        let start = self.units.len();
        names::to_windows(entry.name.as_bytes(), &mut self.units);
        self.guest.bytes.extend_from_slice(entry.name.as_bytes());
        let (Ok(start), Ok(length), Ok(end)) = (
            u32::try_from(start),
            u16::try_from(self.units.len() - start),
            u32::try_from(self.guest.bytes.len()),
        ) else {
            return ControlFlow::Break(());
        };
        self.guest.ends.push(end);
        let info = match entry.metadata {
            Some(metadata) => file_info(metadata),
            None => {
                self.bare.push(self.entries.len());
                FileInfo {
                    file_attributes: kind_attributes(entry.kind, None),
                    reparse_tag: kind_tag(entry.kind),
                    index_number: entry.node.0,
                    hard_links: 1,
                    ..FileInfo::default()
                }
            }
        };
        self.entries.push(Entry { start, length, node: entry.node, info });
        if self.entries.len() < MAX_NAMES {
            ControlFlow::Continue(())
        } else {
            ControlFlow::Break(())
        }
    }
}

/// What Windows is told of a node.
pub(super) fn file_info(metadata: &Metadata) -> FileInfo {
    let times = &metadata.times;
    let is_file = metadata.kind == FileKind::Regular;
    FileInfo {
        file_attributes: kind_attributes(metadata.kind, metadata.attributes.map(|bits| bits.0)),
        reparse_tag: kind_tag(metadata.kind),
        allocation_size: if is_file { metadata.allocated } else { 0 },
        file_size: if is_file { metadata.size } else { 0 },
        creation_time: file_time(times.created.unwrap_or(times.modified)),
        last_access_time: file_time(times.accessed),
        last_write_time: file_time(times.modified),
        change_time: file_time(times.changed),
        index_number: metadata.node.0,
        hard_links: metadata.links,
        ea_size: 0,
    }
}

fn kind_attributes(kind: FileKind, guest: Option<u32>) -> u32 {
    let own = match kind {
        FileKind::Regular => 0,
        FileKind::Directory => attribute::DIRECTORY,
        _ => attribute::REPARSE_POINT,
    };
    match own | (guest.unwrap_or(0) & attribute::PASSED & !attribute::NORMAL) {
        0 => attribute::NORMAL,
        bits => bits,
    }
}

/// Links are links; what Windows has no files for carries the tags of its Subsystem for Linux.
fn kind_tag(kind: FileKind) -> u32 {
    match kind {
        FileKind::Regular | FileKind::Directory => 0,
        FileKind::Symlink => tag::SYMLINK,
        FileKind::CharDevice => tag::LX_CHR,
        FileKind::BlockDevice => tag::LX_BLK,
        FileKind::Fifo => tag::LX_FIFO,
        FileKind::Socket => tag::AF_UNIX,
    }
}

/// 100-nanosecond steps since 1601; 0, which means unknown, before that.
pub(super) fn file_time(time: Timestamp) -> u64 {
    const SECONDS_TO_1970: i64 = 11_644_473_600;
    let seconds = time.seconds.saturating_add(SECONDS_TO_1970);
    let steps = u64::try_from(seconds).unwrap_or(0).saturating_mul(10_000_000);
    steps.saturating_add(u64::from(time.nanoseconds / 100)).min(i64::MAX as u64)
}

/// Whether two names are one to Windows.
pub(super) fn same(a: &[u16], b: &[u16]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a == b || fold(*a) == fold(*b))
}

fn hash(name: &[u16]) -> u64 {
    use std::hash::Hasher;
    let mut hasher = HASHER.build_hasher();
    let mut folded = [0; 2 * MAX_WINDOWS];
    for part in name.chunks(MAX_WINDOWS) {
        for (unit, bytes) in part.iter().zip(folded.as_chunks_mut::<2>().0) {
            *bytes = fold(*unit).to_le_bytes();
        }
        hasher.write(&folded[..2 * part.len()]);
    }
    hasher.finish()
}
