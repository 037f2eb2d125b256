//! NTFS, read whole: directories by their B-trees, content with its compressions.
//!
//! What decides whether bytes may be handed out is all looked at here: initialized size, pieces of
//! attribute lists, compression units, reparse points. What cannot be decoded is an error with its
//! reason.
//!
//! A [`NodeId`] is the number of a file record.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock, Weak};

use parking_lot::Mutex;
use quick_cache::Weighter;
use quick_cache::sync::{Cache, GuardResult};
use volfold_block::{
    BlockDevice, ByteReader, Confidence, Finding, byte_count, bytes_to_index, code,
};

use self::boot::Boot;
use self::index::{Index, Keys, Listing};
use self::lznt1::Lznt1;
use self::node::Node;
use self::record::{FileRecord, FileReference, Form, kind};
use self::stream::{Compression, Content, Stream, refusal};
use self::units::{UnitCache, UnitFile};
use self::upcase::Upcase;
use self::volume::Volume;
use self::wof::Wof;
use crate::ahead;
use crate::driver::{FileSystemDriver, Identity, MountOptions, VolumeReader};
use crate::error::{FsError, FsErrorKind, FsResult};
use crate::extents::{BytesFile, ExtentFile};
use crate::node::{
    CaseRule, DirCursor, DirEntry, FileData, FileKind, FileSystem, FsInfo, LinkTarget, Metadata,
    Name, NodeId, StreamInfo, StreamName, Usage,
};
use crate::wtf8;

mod boot;
mod codec;
mod extended;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod index;
mod lznt1;
mod node;
mod record;
mod reparse;
mod runs;
mod stream;
mod units;
mod upcase;
mod volume;
mod wof;
mod xattr;

const VOLUME: u64 = 3;
const ROOT: u64 = 5;
const BITMAP: u64 = 6;
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
const PAGE: usize = 128;
/// Bytes of `$Bitmap` that are read at once.
const BITMAP_PIECE: usize = 256 * 1024;

/// NTFS, read by our own code.
#[derive(Clone, Copy, Debug, Default)]
pub struct NtfsDriver;

impl FileSystemDriver for NtfsDriver {
    fn id(&self) -> &'static str {
        "ntfs"
    }

    fn title(&self) -> &'static str {
        "NTFS"
    }

    fn probe(&self, volume: &dyn BlockDevice) -> FsResult<Confidence> {
        match boot::read_primary(volume) {
            Ok(Some(_)) => return Ok(Confidence::Certain),
            Err(error) if error.kind() == FsErrorKind::Unsupported => {
                return Ok(Confidence::Certain);
            }
            Err(error) if error.kind() == FsErrorKind::Io => return Err(error),
            Ok(None) | Err(_) => {}
        }
        // The copy alone may be what another file system left over; so the table has to be there.
        let backup = boot::read_backup(volume)?;
        let has_table = |boot: Boot| {
            let mut bytes = vec![0; boot.record_size];
            volume.read_at(boot.mft, &mut bytes).is_ok()
                && FileRecord::parse(0, boot.mft, bytes).is_ok_and(|record| record.is_node())
        };
        Ok(if backup.is_some_and(has_table) { Confidence::Likely } else { Confidence::No })
    }

    fn identify(&self, reader: VolumeReader) -> FsResult<Identity> {
        let (boot, _) = read_boot(&*reader.metadata)?;
        let uuid = Some(format!("{:016X}", boot.serial));
        let volume = Volume::open(reader, boot)?;
        if !volume.node(ROOT)?.is_directory() {
            return Err(FsError::corrupt("root directory is a file"));
        }
        // A damaged label is a finding of the mounted volume, and no reason to give it up.
        let label = read_label(&volume).map(|(label, _)| label).unwrap_or_default();
        Ok(Identity { label, uuid })
    }

    fn mount(&self, volume: VolumeReader) -> FsResult<Arc<dyn FileSystem>> {
        self.mount_with(volume, MountOptions::default())
    }

    fn mount_with(
        &self,
        volume: VolumeReader,
        options: MountOptions,
    ) -> FsResult<Arc<dyn FileSystem>> {
        let mut file_system = NtfsFileSystem::mount(volume, options)?;
        Ok(Arc::new_cyclic(|own| {
            file_system.own = own.clone();
            file_system
        }))
    }
}

/// The geometry, and why it was taken from the copy, if it was.
fn read_boot(device: &dyn BlockDevice) -> FsResult<(Boot, Option<Finding>)> {
    let damage = match boot::read_primary(device) {
        Ok(Some(boot)) => return Ok((boot, None)),
        Ok(None) => FsError::corrupt("boot sector is none of NTFS").at(0),
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
struct NtfsFileSystem {
    /// This value itself, for work ahead; without an owner there is none.
    own: Weak<Self>,
    /// Directories that were listed.
    listed: AtomicU32,
    volume: Volume,
    upcase: Upcase,
    info: FsInfo,
    options: MountOptions,
    indexes: Cache<u64, Arc<Index>, ByMemory>,
    listings: Cache<u64, Arc<Listing>, ByMemory>,
    /// The last listing that is too large for the cache; it is fetched in pieces all the same.
    large_listing: Mutex<Option<(u64, Arc<Listing>)>>,
    pages: Cache<(u64, usize), Arc<Page>, ByMemory>,
    units: Arc<UnitCache>,
    /// `$SII`, once a security descriptor was asked for.
    security: OnceLock<Index>,
}

/// The metadata of [`PAGE`] entries of a directory; `None` where the record cannot be read.
type Page = [Option<Metadata>];

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
    fn mount(reader: VolumeReader, options: MountOptions) -> FsResult<Self> {
        let (boot, boot_finding) = read_boot(&*reader.metadata)?;
        let volume_size = reader.data.size();
        let volume = Volume::open(reader, boot)?;
        if !volume.node(ROOT)?.is_directory() {
            return Err(FsError::corrupt("root directory is a file"));
        }
        let mut findings: Vec<Finding> = boot_finding.into_iter().collect();
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
        let info = FsInfo {
            kind: "ntfs",
            label,
            uuid: Some(format!("{:016X}", volume.boot.serial)),
            case: CaseRule::Insensitive,
            cluster_size: u32::try_from(volume.boot.cluster_size).unwrap_or(u32::MAX),
            size,
            findings,
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

    /// The index of the directory `dir`.
    fn index(&self, dir: u64) -> FsResult<Arc<Index>> {
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

    fn listing(&self, dir: u64) -> FsResult<Arc<Listing>> {
        // Whoever works ahead may be at it.
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
    fn page(&self, dir: u64, listing: &Listing, number: usize) -> Arc<Page> {
        let guard = match self.pages.get_value_or_guard(&(dir, number), None) {
            GuardResult::Value(page) => return page,
            GuardResult::Guard(guard) => Some(guard),
            GuardResult::Timeout => None,
        };
        let first = number.saturating_mul(PAGE);
        let references: Vec<FileReference> = (first..first.saturating_add(PAGE))
            .map_while(|index| listing.get(index).map(|(_, reference, _)| reference))
            .collect();
        let mut page = vec![None; references.len()];
        let mut order: Vec<(u64, usize)> =
            references.iter().zip(0..).map(|(reference, at)| (reference.number(), at)).collect();
        order.sort_unstable();
        let numbers: Vec<u64> = order.iter().map(|(number, _)| *number).collect();
        self.volume.each_record(&numbers, |index, record| {
            let Some((_, at)) = order.get(index) else { return };
            let is_meant = references
                .get(*at)
                .is_some_and(|reference| reference.sequence() == record.sequence());
            if record.is_node()
                && is_meant
                && let Ok(node) = Node::read(&self.volume, record)
                && let Some(slot) = page.get_mut(*at)
            {
                *slot = Some(node.metadata);
            }
        });
        let page: Arc<Page> = page.into();
        if let Some(guard) = guard {
            let _ = guard.insert(page.clone());
        }
        page
    }

    /// Has the small directories in `page` listed: a walk enters them next.
    fn walk_ahead(&self, page: &Page) {
        /// One who lists so few directories does not walk.
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
            .flatten()
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
                return Ok(Arc::new(BytesFile(bytes)));
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
    fn stream(&self, record: &FileRecord<'_>, name: &[u8]) -> FsResult<Arc<dyn FileData>> {
        let found = self.volume.stream(record, kind::DATA, name)?;
        self.content(found.ok_or_else(FsError::not_found)?)
    }

    /// The main content of `record`.
    fn main_stream(&self, record: &FileRecord<'_>) -> FsResult<Arc<dyn FileData>> {
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
                    None if record.is_view_index() => Ok(Arc::new(BytesFile(Vec::new()))),
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

impl FileSystem for NtfsFileSystem {
    fn info(&self) -> &FsInfo {
        &self.info
    }

    fn usage(&self) -> FsResult<Usage> {
        let record = self.volume.node(BITMAP)?;
        let bitmap = self.stream(&record, &[])?;
        let cluster_size = self.volume.boot.cluster_size;
        let clusters = self.info.size.checked_div(cluster_size).unwrap_or(0);
        let whole = clusters / 8;
        let tail = u32::try_from(clusters % 8).unwrap_or(0);
        if bitmap.size() < clusters.div_ceil(8) {
            return Err(FsError::corrupt("$Bitmap is shorter than the volume"));
        }
        let mut buf = vec![0; BITMAP_PIECE];
        let mut used: u64 = 0;
        let mut offset: u64 = 0;
        while offset < whole {
            let count = whole.saturating_sub(offset).min(byte_count(buf.len()));
            let piece = buf.get_mut(..bytes_to_index(count)?).unwrap_or_default();
            bitmap.read_at(offset, piece)?;
            let (words, rest) = piece.as_chunks::<8>();
            let of_words = words.iter().map(|word| u64::from_le_bytes(*word).count_ones());
            let of_rest = rest.iter().map(|byte| byte.count_ones());
            let ones: u64 = of_words.chain(of_rest).map(u64::from).sum();
            used = used.saturating_add(ones);
            offset = offset.saturating_add(count);
        }
        if tail > 0 {
            let mut last = [0];
            bitmap.read_at(whole, &mut last)?;
            let mask = !0xFF_u8.checked_shl(tail).unwrap_or(0);
            let bits = last.iter().map(|byte| u64::from((byte & mask).count_ones()));
            used = used.saturating_add(bits.sum());
        }
        Ok(Usage { used: used.saturating_mul(cluster_size), nodes: None })
    }

    fn root(&self) -> NodeId {
        NodeId(ROOT)
    }

    fn lookup(&self, dir: NodeId, name: Name<'_>) -> FsResult<NodeId> {
        let index = self.index(dir.0)?;
        let units = wtf8::decode(name.as_bytes()).ok_or_else(FsError::not_found)?;
        let found = index.find(&self.volume, &self.upcase, &units)?;
        let record = self.volume.record(found.number())?;
        if record.is_in_use() && record.sequence() == found.sequence() {
            Ok(NodeId(found.number()))
        } else {
            Err(FsError::corrupt("directory entry names a file that is gone").at(record.position()))
        }
    }

    fn metadata(&self, node: NodeId) -> FsResult<Metadata> {
        let record = self.volume.node(node.0)?;
        Ok(Node::read(&self.volume, &record)?.metadata)
    }

    fn read_dir(
        &self,
        dir: NodeId,
        from: DirCursor,
        emit: &mut dyn FnMut(DirEntry<'_>) -> ControlFlow<()>,
    ) -> FsResult<()> {
        let listing = self.listing(dir.0)?;
        let mut index = bytes_to_index(from.0)?;
        if index == 0 {
            self.listed.fetch_add(1, Ordering::Relaxed);
        }
        while index < listing.len() {
            let number = index.checked_div(PAGE).unwrap_or(0);
            let page = self.page(dir.0, &listing, number);
            if index.is_multiple_of(PAGE) {
                self.walk_ahead(&page);
            }
            let skip = index.saturating_sub(number.saturating_mul(PAGE));
            for metadata in page.iter().skip(skip) {
                let Some((name, reference, is_directory)) = listing.get(index) else { break };
                index = index.saturating_add(1);
                // A record that cannot be read harms its own name only, which is then given
                // without metadata.
                let listed = if is_directory { FileKind::Directory } else { FileKind::Regular };
                let entry = DirEntry {
                    name: Name::new(name),
                    node: NodeId(reference.number()),
                    kind: metadata.as_ref().map_or(listed, |metadata| metadata.kind),
                    metadata: metadata.as_ref(),
                    next: DirCursor(byte_count(index)),
                };
                if emit(entry).is_break() {
                    return Ok(());
                }
            }
        }
        match &listing.damage {
            None => Ok(()),
            Some(damage) => {
                Err(FsError::corrupt(format!("directory can be listed in part only: {damage}")))
            }
        }
    }

    fn read_link(&self, node: NodeId) -> FsResult<LinkTarget> {
        let record = self.volume.node(node.0)?;
        match Node::read(&self.volume, &record)?.target {
            Some(target) => Ok(LinkTarget(target?)),
            None => Err(FsError::not_a_link()),
        }
    }

    fn streams(&self, node: NodeId) -> FsResult<Vec<StreamInfo>> {
        let record = self.volume.node(node.0)?;
        let mut streams = node::streams(&self.volume, &record)?;
        if Node::read(&self.volume, &record)?.wof.is_some() {
            let hidden = wtf8::encode(wtf8::units_le(wof::STREAM));
            streams.retain(|stream| stream.name.0 != hidden);
        }
        Ok(streams)
    }

    fn has_extended_attributes(&self) -> bool {
        true
    }

    fn extended_attributes(&self, node: NodeId) -> FsResult<Vec<Vec<u8>>> {
        self.extended_names(&self.volume.node(node.0)?)
    }

    fn extended_attribute(&self, node: NodeId, name: &[u8]) -> FsResult<Vec<u8>> {
        self.extended_value(&self.volume.node(node.0)?, name)
    }

    fn open(&self, node: NodeId, stream: &StreamName) -> FsResult<Arc<dyn FileData>> {
        let record = self.volume.node(node.0)?;
        if stream.0.is_empty() {
            return self.main_stream(&record);
        }
        let units = wtf8::decode(&stream.0).ok_or_else(FsError::not_found)?;
        let name: Vec<u8> = units.into_iter().flat_map(u16::to_le_bytes).collect();
        self.stream(&record, &name)
    }
}

fn read_upcase(volume: &Volume) -> FsResult<Upcase> {
    let record = volume.node(UPCASE)?;
    let table = volume.attribute(&record, kind::DATA, upcase::TABLE_SIZE)?;
    Upcase::parse(&table.ok_or_else(|| FsError::corrupt("$UpCase has no $DATA"))?)
}

/// The label, and whether the volume was not closed cleanly.
fn read_label(volume: &Volume) -> FsResult<(Option<String>, bool)> {
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

#[cfg(test)]
mod tests;
