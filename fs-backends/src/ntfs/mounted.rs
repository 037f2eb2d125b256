//! A mounted NTFS volume: what it keeps, and how names, metadata and content are found.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock, Weak};

use parking_lot::Mutex;
use quick_cache::Weighter;
use quick_cache::sync::{Cache, GuardResult};
use volfold_block::{BlockDevice, ByteReader, Finding, ahead, byte_count, code};

use super::boot::{self, Boot};
use super::index::{Index, Keys, Listing};
use super::lznt1::Lznt1;
use super::node::Node;
use super::record::{FileName, FileRecord, FileReference, Form, kind};
use super::stream::{Compression, Content, Stream, refusal};
use super::units::{UnitCache, UnitFile};
use super::upcase::{self, Upcase};
use super::volume::Volume;
use super::wof::{self, Wof};
use crate::driver::{ReadOptions, VolumeReader};
use crate::error::{FsError, FsErrorKind, FsResult};
use crate::extents::{BytesFile, ExtentFile};
use crate::node::{CaseRule, FileData, FileKind, FsInfo, Metadata};
use crate::wtf8;

const VOLUME: u64 = 3;
pub(super) const ROOT: u64 = 5;
const UPCASE: u64 = 10;
/// The first record that is not of the file system itself.
const FIRST_USER_RECORD: u64 = 16;

/// LIMIT: bytes of names that a volume keeps of the directories listed last.
const LISTING_CACHE: u64 = 4 << 20;
/// LIMIT: bytes of metadata that a volume keeps of the names listed last.
const METADATA_CACHE: u64 = 4 << 20;
/// LIMIT: bytes of the index roots and run lists of directories that a volume keeps.
const INDEX_CACHE: u64 = 2 << 20;
/// Entries whose file records are fetched together.
pub(super) const PAGE: usize = 128;

/// The volume by its boot sector, or by the copy where that leads nowhere; and what is odd about
/// the two.
pub(super) fn open_volume(reader: VolumeReader) -> FsResult<(Volume, Vec<Finding>)> {
    let open = |boot: Boot| -> FsResult<Volume> {
        let volume = Volume::open(reader.clone(), boot)?;
        if volume.node(ROOT)?.is_directory() {
            Ok(volume)
        } else {
            Err(FsError::corrupt("root directory is a file"))
        }
    };
    let (boot, finding) = read_boot(&*reader.metadata)?;
    if let Some(finding) = finding {
        return Ok((open(boot)?, vec![finding]));
    }
    let copy = boot::read_copy(&*reader.metadata, boot.size);
    let Some(copy) = copy.filter(|copy| !copy.is_laid_out_as(&boot)) else {
        return Ok((open(boot)?, Vec::new()));
    };
    let differ = |line: String| vec![Finding::warning(code::NTFS_BOOT_COPIES_DIFFER, line)];
    match open(boot) {
        Ok(volume) => {
            let line = "boot sector contradicts its copy; it is used as it is".to_owned();
            Ok((volume, differ(line)))
        }
        Err(error) if error.kind() == FsErrorKind::Corrupt => match open(copy) {
            Ok(volume) => {
                let line = format!("boot sector contradicts its copy, which is used: {error}");
                Ok((volume, differ(line)))
            }
            Err(_) => Err(error),
        },
        Err(error) => Err(error),
    }
}

/// The geometry, and why it was taken from the copy, if it was.
fn read_boot(device: &dyn BlockDevice) -> FsResult<(Boot, Option<Finding>)> {
    let damage = match boot::read_primary(device) {
        Ok(Some(boot)) => return Ok((boot, None)),
        Ok(None) => FsError::corrupt("not an NTFS boot sector").at(0),
        Err(error) if error.kind() == FsErrorKind::Corrupt => error,
        Err(error) => return Err(error),
    };
    match boot::read_backup(device)? {
        Some(boot) => Ok((
            boot,
            Some(Finding::warning(code::NTFS_BOOT, format!("the copy is used: {damage}"))),
        )),
        None => Err(damage),
    }
}

/// A mounted NTFS volume.
pub(super) struct NtfsFileSystem {
    /// This value itself, for work ahead; without an owner there is none.
    own: Weak<Self>,
    /// Directories that were listed.
    pub(super) listed: AtomicU32,
    pub(super) volume: Volume,
    pub(super) upcase: Upcase,
    pub(super) info: FsInfo,
    options: ReadOptions,
    indexes: Cache<u64, Arc<Index>, ByMemory>,
    listings: Cache<u64, Arc<Listing>, ByMemory>,
    /// The last listing that is too large for the cache; it is fetched in pieces all the same.
    large_listing: Mutex<Option<(u64, Arc<Listing>)>>,
    pages: Cache<(u64, usize), Arc<Page>, ByMemory>,
    pub(super) units: Arc<UnitCache>,
    /// `$SII`, once a security descriptor was asked for.
    pub(super) security: OnceLock<Index>,
}

impl NtfsFileSystem {
    /// The index of the file `name` in `$Extend`.
    pub(super) fn index_of_extend(&self, name: &str, keys: Keys) -> FsResult<Index> {
        let record = ["$Extend", name].iter().try_fold(ROOT, |dir, name| {
            let units: Vec<u16> = name.encode_utf16().collect();
            let found = self.index(dir)?.find(&self.volume, &self.upcase, &units)?;
            Ok::<_, FsError>(found.number())
        })?;
        Index::open(&self.volume, &self.volume.node(record)?, keys)
    }
}

/// What is known of [`PAGE`] entries of a directory.
pub(super) type Page = [Slot];

/// What is known of an entry of a directory.
#[derive(Clone)]
pub(super) enum Slot {
    Known(Metadata),
    /// The record cannot be read.
    Unknown,
    /// The record is that of another file by now, or of a directory that lies elsewhere.
    Gone,
}

impl Slot {
    pub(super) fn metadata(&self) -> Option<&Metadata> {
        match self {
            Self::Known(metadata) => Some(metadata),
            Self::Unknown | Self::Gone => None,
        }
    }
}

#[derive(Clone)]
struct ByMemory;

impl Weighter<u64, Arc<Listing>> for ByMemory {
    fn weight(&self, _dir: &u64, listing: &Arc<Listing>) -> u64 {
        listing.memory()
    }
}

impl Weighter<u64, Arc<Index>> for ByMemory {
    fn weight(&self, _dir: &u64, index: &Arc<Index>) -> u64 {
        index.memory()
    }
}

impl Weighter<(u64, usize), Arc<Page>> for ByMemory {
    fn weight(&self, _page: &(u64, usize), page: &Arc<Page>) -> u64 {
        const OVERHEAD: u64 = 64;
        byte_count(size_of_val::<Page>(page)).saturating_add(OVERHEAD)
    }
}

impl NtfsFileSystem {
    pub(super) fn mount(reader: VolumeReader, options: ReadOptions) -> FsResult<Self> {
        let volume_size = reader.data.size();
        let (volume, mut findings) = open_volume(reader)?;
        let size = volume.boot.size;
        if size > volume_size {
            findings.push(Finding::warning(
                code::NTFS_TRUNCATED,
                format!("file system has {size} bytes, its volume only {volume_size}"),
            ));
        }
        if let Some(number) = volume.first_mirrored() {
            findings.push(Finding::warning(
                code::NTFS_MIRROR,
                format!("file record {number} is taken from $MFTMirr"),
            ));
        }
        if let Some(number) = volume.first_unlike_mirror() {
            findings.push(Finding::warning(
                code::NTFS_MIRROR_DIFFERS,
                format!("file record {number} and its copy in $MFTMirr differ"),
            ));
        }
        let upcase = read_upcase(&volume).unwrap_or_else(|error| {
            findings
                .push(Finding::warning(code::NTFS_UPCASE, format!("no upper case table: {error}")));
            Upcase::fallback()
        });
        let (label, is_dirty) = read_label(&volume).unwrap_or_else(|error| {
            findings.push(Finding::warning(
                code::NTFS_LABEL,
                format!("$Volume cannot be read: {error}"),
            ));
            (None, false)
        });
        if is_dirty {
            findings.push(Finding::warning(code::NTFS_DIRTY, "volume was not closed cleanly"));
        }
        let cluster_size = u32::try_from(volume.boot.cluster_size).unwrap_or(u32::MAX);
        let info = FsInfo {
            label,
            uuid: Some(format!("{:016X}", volume.boot.serial)),
            case: CaseRule::Insensitive,
            findings,
            ..FsInfo::new("ntfs", cluster_size, size)
        };
        Ok(Self {
            own: Weak::new(),
            listed: AtomicU32::new(0),
            volume,
            upcase,
            info,
            options,
            indexes: Cache::with_weighter(256, INDEX_CACHE, ByMemory),
            listings: Cache::with_weighter(64, LISTING_CACHE, ByMemory),
            large_listing: Mutex::new(None),
            pages: Cache::with_weighter(128, METADATA_CACHE, ByMemory),
            units: UnitCache::new(),
            security: OnceLock::new(),
        })
    }

    /// The same as a value that several own, one of which works ahead.
    pub(super) fn shared(mut self) -> Arc<Self> {
        Arc::new_cyclic(|own| {
            self.own = own.clone();
            self
        })
    }

    /// The index of the directory `dir`.
    pub(super) fn index(&self, dir: u64) -> FsResult<Arc<Index>> {
        if let Some(index) = self.indexes.get(&dir) {
            return Ok(index);
        }
        let record = self.volume.node(dir)?;
        if !record.is_directory() {
            return Err(FsError::not_a_directory());
        }
        let is_case_sensitive = Node::read(&self.volume, &record)?.is_case_sensitive;
        let keys = Keys::Names { is_case_sensitive };
        let index = Arc::new(Index::open(&self.volume, &record, keys)?);
        self.indexes.insert(dir, index.clone());
        Ok(index)
    }

    pub(super) fn listing(&self, dir: u64) -> FsResult<Arc<Listing>> {
        // A thread that works ahead may be at it.
        let guard = match self.listings.get_value_or_guard(&dir, None) {
            GuardResult::Value(listing) => return Ok(listing),
            GuardResult::Guard(guard) => Some(guard),
            GuardResult::Timeout => None,
        };
        if let Some((large, listing)) = &*self.large_listing.lock()
            && *large == dir
        {
            return Ok(listing.clone());
        }
        let is_shown = |reference: FileReference| {
            let number = reference.number();
            number >= FIRST_USER_RECORD || (self.options.system_files && number != ROOT)
        };
        let listing = Arc::new(self.index(dir)?.list(&self.volume, is_shown)?);
        // The cache shares its room out to shards and would drop what fills one of them.
        if listing.memory() > self.listings.shard_capacity() / 2 {
            *self.large_listing.lock() = Some((dir, listing.clone()));
        } else if let Some(guard) = guard {
            let _ = guard.insert(listing.clone());
        }
        Ok(listing)
    }

    /// The metadata of the entries of `listing` that make the page `number`.
    pub(super) fn page(&self, dir: u64, listing: &Listing, number: usize) -> Arc<Page> {
        let guard = match self.pages.get_value_or_guard(&(dir, number), None) {
            GuardResult::Value(page) => return page,
            GuardResult::Guard(guard) => Some(guard),
            GuardResult::Timeout => None,
        };
        let first = number.saturating_mul(PAGE);
        let references: Vec<FileReference> = (first..first.saturating_add(PAGE))
            .map_while(|index| listing.get(index).map(|(_, reference, _)| reference))
            .collect();
        let mut page = vec![Slot::Unknown; references.len()];
        let mut order: Vec<(u64, usize)> =
            references.iter().zip(0..).map(|(reference, at)| (reference.number(), at)).collect();
        order.sort_unstable();
        let numbers: Vec<u64> = order.iter().map(|(number, _)| *number).collect();
        self.volume.each_record(&numbers, |index, record| {
            let Some((_, at)) = order.get(index) else { return };
            if let Some(slot) = page.get_mut(*at)
                && let Some(listed) = listing.get(first.saturating_add(*at))
            {
                *slot = self.slot(dir, listed, record);
            }
        });
        let page: Arc<Page> = page.into();
        if let Some(guard) = guard {
            let _ = guard.insert(page.clone());
        }
        page
    }

    /// What `record` makes of the entry `listed` of `dir`.
    fn slot(
        &self,
        dir: u64,
        listed: (&[u8], FileReference, bool),
        record: &FileRecord<'_>,
    ) -> Slot {
        let (name, reference, is_directory) = listed;
        if !record.is_node() || record.sequence() != reference.sequence() {
            return Slot::Gone;
        }
        if record.is_directory() != is_directory {
            let line = "record and directory do not agree whether it is a directory";
            self.volume.note(record, code::NTFS_DIRECTORY_FLAG, line);
        }
        // A directory has one name. One that is named elsewhere, too, would be walked through as
        // often as it is named.
        if record.is_directory()
            && self.volume.has_name(record, dir, Some(name)).is_ok_and(|has| !has)
        {
            let line = "a directory names it, and it has no such name";
            self.volume.note(record, code::NTFS_NAME, line);
            return Slot::Gone;
        }
        let is_called = |own: &[u8]| wtf8::is_of(name, wtf8::units_le(own));
        if !record.is_directory() && self.is_of_another_name(dir, record, is_called) {
            return Slot::Gone;
        }
        match Node::read(&self.volume, record) {
            Ok(node) => Slot::Known(node.metadata),
            Err(_) => Slot::Unknown,
        }
    }

    /// Whether the file `record` is named in `dir` by an entry that is not its own: none of its names
    /// is so called there, and one of them leads to it elsewhere. A name in the record that leads
    /// to nothing may be the damaged one.
    ///
    /// Files whose record is extended are not looked at: their names may lie in any of its parts.
    pub(super) fn is_of_another_name(
        &self,
        dir: u64,
        record: &FileRecord<'_>,
        is_called: impl Fn(&[u8]) -> bool,
    ) -> bool {
        for attribute in record.attributes().map_while(Result::ok) {
            match (attribute.kind, &attribute.form) {
                (kind::ATTRIBUTE_LIST, _) => return false,
                (kind::FILE_NAME, Form::Resident(value)) => {
                    let own = FileName::parse(value).filter(|own| own.parent.number() == dir);
                    if own.is_some_and(|own| is_called(own.name)) {
                        return false;
                    }
                }
                _ => {}
            }
        }
        let Some(own) = record.file_name() else { return false };
        let units: Vec<u16> = wtf8::units_le(own.name).collect();
        let found = self
            .index(own.parent.number())
            .and_then(|index| index.find(&self.volume, &self.upcase, &units));
        let is_elsewhere = found.is_ok_and(|found| {
            found.number() == record.number() && found.sequence() == record.sequence()
        });
        let line = if is_elsewhere {
            "a directory has another name for it, too, which is not its own"
        } else {
            "a directory has another name for it than it has itself"
        };
        self.volume.note(record, code::NTFS_NAME, line);
        is_elsewhere
    }

    /// Compares the names that the records have with the directories that should list them, over all
    /// of the volume: what a damaged index no longer lists is not lost in silence.
    pub(super) fn check_names(&self, report: &mut dyn FnMut(Finding)) {
        /// Records that are fetched together.
        const BATCH: u64 = 512;
        let count = self.volume.records();
        let mut first: u64 = 0;
        while first < count {
            let end = first.saturating_add(BATCH).min(count);
            let numbers: Vec<u64> = (first..end).collect();
            self.volume.each_record(&numbers, |_, record| {
                if record.is_in_use() && record.is_node() {
                    self.check_names_of(record, report);
                }
            });
            first = end;
        }
    }

    fn check_names_of(&self, record: &FileRecord<'_>, report: &mut dyn FnMut(Finding)) {
        for attribute in record.attributes().map_while(Result::ok) {
            let (kind::FILE_NAME, Form::Resident(value)) = (attribute.kind, &attribute.form) else {
                continue;
            };
            let Some(own) = FileName::parse(value) else { continue };
            // A directory that cannot be read is told of by itself.
            let Ok(index) = self.index(own.parent.number()) else { continue };
            let units: Vec<u16> = wtf8::units_le(own.name).collect();
            let found = index.find(&self.volume, &self.upcase, &units);
            let is_there = match &found {
                Ok(found) => {
                    found.number() == record.number() && found.sequence() == record.sequence()
                }
                Err(error) => error.kind() != FsErrorKind::NotFound,
            };
            if !is_there {
                let name = String::from_utf16_lossy(&units);
                let line = format!(
                    "record {} is called {name:?} in directory {}, which does not list it",
                    record.number(),
                    own.parent.number()
                );
                report(Finding::warning(code::NTFS_NAME, line));
            }
        }
    }

    /// Has the small directories in `page` listed: a walk enters them next.
    pub(super) fn walk_ahead(&self, page: &Page) {
        /// A program that lists so few directories does not walk.
        const WALK: u32 = 3;
        /// LIMIT: directories of one page.
        const AT_ONCE: usize = 16;
        /// The size of the index of a small directory.
        const SMALL: u64 = 512 * 1024;
        if self.listed.load(Ordering::Relaxed) < WALK {
            return;
        }
        let below = page
            .iter()
            .filter_map(Slot::metadata)
            .filter(|metadata| metadata.kind == FileKind::Directory && metadata.size <= SMALL);
        for metadata in below.take(AT_ONCE) {
            let (own, dir) = (self.own.clone(), metadata.node.0);
            ahead::spawn(move || {
                if let Some(own) = own.upgrade()
                    && let Ok(listing) = own.listing(dir)
                {
                    own.page(dir, &listing, 0);
                }
            });
        }
    }

    /// `stream` as the content of a file.
    fn content(&self, stream: Stream) -> FsResult<Arc<dyn FileData>> {
        let runs = match stream.content {
            Content::Resident(bytes) if bytes.is_empty() || !stream.is_encrypted => {
                return Ok(Arc::new(BytesFile::new(bytes)));
            }
            Content::Resident(_) => return Err(FsError::encrypted()),
            Content::Runs(runs) => runs,
        };
        match refusal(stream.is_encrypted, stream.compression, stream.size) {
            Some(FsErrorKind::Undecodable(reason)) => return Err(FsError::undecodable(reason)),
            Some(_) => return Err(FsError::encrypted()),
            None => {}
        }
        let device = self.volume.reader.data.clone();
        Ok(match stream.compression {
            Some(Compression::Lznt1 { unit }) => {
                let source = Lznt1::new(device, runs, unit);
                Arc::new(UnitFile::new(source, stream.size, stream.valid, &self.units))
            }
            _ => Arc::new(ExtentFile::new(device, runs, stream.size, stream.valid)?),
        })
    }

    /// The content of the stream `name` (UTF-16) of `record`.
    pub(super) fn stream(
        &self,
        record: &FileRecord<'_>,
        name: &[u8],
    ) -> FsResult<Arc<dyn FileData>> {
        let found = self.volume.stream(record, kind::DATA, name)?;
        self.content(found.ok_or_else(FsError::not_found)?)
    }

    /// The main content of `record`.
    pub(super) fn main_stream(&self, record: &FileRecord<'_>) -> FsResult<Arc<dyn FileData>> {
        let node = Node::read(&self.volume, record)?;
        let metadata = node.metadata;
        match (metadata.kind, metadata.unreadable) {
            (FileKind::Directory, _) => Err(FsError::is_a_directory()),
            (_, Some(FsErrorKind::Undecodable(reason))) => Err(FsError::undecodable(reason)),
            (_, Some(FsErrorKind::Encrypted)) => Err(FsError::encrypted()),
            (FileKind::Regular, Some(_)) => {
                let what = "file says that its content is in a stream that is not there";
                Err(FsError::corrupt(what).at(record.position()))
            }
            (FileKind::Regular, None) => match node.wof {
                Some(algorithm) => {
                    let stored = self.stream(record, wof::STREAM)?;
                    let source = Wof::new(stored, algorithm, metadata.size);
                    let size = metadata.size;
                    Ok(Arc::new(UnitFile::new(source, size, size, &self.units)))
                }
                None => match self.volume.stream(record, kind::DATA, &[])? {
                    Some(stream) => self.content(stream),
                    None if record.is_view_index() => Ok(Arc::new(BytesFile::new(Vec::new()))),
                    None => {
                        let what = "file has no data stream";
                        Err(FsError::corrupt(what).at(record.position()))
                    }
                },
            },
            _ => Err(FsError::unsupported("node has no content of its own")),
        }
    }
}

fn read_upcase(volume: &Volume) -> FsResult<Upcase> {
    let record = volume.node(UPCASE)?;
    let table = volume.attribute(&record, kind::DATA, upcase::TABLE_SIZE)?;
    Upcase::parse(&table.ok_or_else(|| FsError::corrupt("$UpCase has no $DATA"))?)
}

/// The label, and whether the volume was not closed cleanly.
pub(super) fn read_label(volume: &Volume) -> FsResult<(Option<String>, bool)> {
    let record = volume.node(VOLUME)?;
    let mut label = None;
    let mut flags = 0;
    volume.visit(
        &record,
        |_| true,
        |attribute| {
            match (attribute.kind, &attribute.form) {
                (kind::VOLUME_NAME, Form::Resident(value)) => {
                    let name = wtf8::encode(wtf8::units_le(value));
                    label = Some(String::from_utf8_lossy(&name).into_owned());
                }
                (kind::VOLUME_INFORMATION, Form::Resident(value)) => {
                    let mut reader =
                        ByteReader::new("volume information", value, attribute.position);
                    reader.skip(10)?;
                    flags = reader.u16_le()?;
                }
                _ => {}
            }
            Ok(())
        },
    )?;
    Ok((label.filter(|label| !label.is_empty()), flags & 1 != 0))
}
