//! FAT12, FAT16 and FAT32, by own code.
//!
//! The crate gives no position and no cluster of an entry, replaces unpaired surrogates in long
//! names, takes FAT32 volumes with few clusters for FAT16, refuses those with a damaged FSInfo
//! sector, and follows a chain anew for every seek. What is left of FAT without it is small.
//!
//! A [`NodeId`] is the position of the node's short entry in the volume, in units of 32 bytes, so
//! that a node is found again without any table; the root directory is node 1, which no entry can
//! be.

use std::ops::ControlFlow;
use std::sync::Arc;

use parking_lot::Mutex;
use quick_cache::Weighter;
use quick_cache::sync::Cache;
use volfold_block::{BlockDevice, Confidence, Finding, byte_count, bytes_to_index, code};

use self::boot::{Boot, FatKind, Root, label_text};
use self::dir::{ENTRY, Listing, MAX_DIRECTORY, RawEntry};
use self::table::Table;
use crate::driver::{FileSystemDriver, Identity, ReadOptions, VolumeReader};
use crate::error::{FsError, FsResult};
use crate::extents::{BytesFile, ExtentFile, Extents, Place};
use crate::node::{
    Attributes, CaseRule, DirCursor, DirEntry, FileData, FileKind, FileSystem, FsInfo, LinkTarget,
    Metadata, Name, NodeId, StreamName, Usage,
};

mod boot;
mod dir;
mod names;
mod table;

const ROOT: NodeId = NodeId(1);
/// Bytes of decoded listings that a volume keeps.
const LISTING_CACHE: u64 = 4 << 20;
const DIRECTORY: u32 = 0x10;
/// Bytes of the root directory that are read at once when only the label is wanted.
const LABEL_PIECE: usize = 4096;

/// FAT12, FAT16 and FAT32.
pub struct FatDriver;

impl FileSystemDriver for FatDriver {
    fn id(&self) -> &'static str {
        "fat"
    }

    fn title(&self) -> &'static str {
        "FAT"
    }

    fn probe(&self, volume: &dyn BlockDevice) -> FsResult<Confidence> {
        Ok(match read_boot(volume)? {
            Some((boot, is_signed)) if boot.is_named && is_signed => Confidence::Certain,
            Some(_) => Confidence::Likely,
            None => Confidence::No,
        })
    }

    fn identify(&self, volume: VolumeReader) -> FsResult<Identity> {
        let device = &*volume.metadata;
        let boot = require_boot(device)?;
        Ok(Identity::new(label(device, &boot), boot.serial.map(serial_text)))
    }

    fn mount(&self, volume: VolumeReader, _options: ReadOptions) -> FsResult<Arc<dyn FileSystem>> {
        Ok(Arc::new(FatFileSystem::mount(volume)?))
    }
}

/// The boot sector if it is one of FAT, and whether it ends with 0x55 0xAA.
fn read_boot(volume: &dyn BlockDevice) -> FsResult<Option<(Boot, bool)>> {
    let mut sector = [0; 512];
    if volume.size() < byte_count(sector.len()) {
        return Ok(None);
    }
    volume.read_at(0, &mut sector)?;
    let is_signed = sector.ends_with(&[0x55, 0xAA]);
    Ok(Boot::parse(&sector).map(|boot| (boot, is_signed)))
}

/// The boot sector, which has to be one of FAT.
fn require_boot(volume: &dyn BlockDevice) -> FsResult<Boot> {
    let boot = read_boot(volume)?.map(|(boot, _)| boot);
    boot.ok_or_else(|| FsError::corrupt("not a FAT boot sector").at(0))
}

fn serial_text(serial: u32) -> String {
    let (high, low) = (serial >> 16, serial & 0xFFFF);
    format!("{high:04X}-{low:04X}")
}

/// The run list of the root directory.
fn root_directory(device: &dyn BlockDevice, boot: &Boot) -> FsResult<Extents> {
    match boot.root {
        Root::Fixed { position, length } => {
            let mut extents = Extents::default();
            extents.push(Place::At(position), length.min(MAX_DIRECTORY))?;
            Ok(extents)
        }
        Root::Chain(first) => boot.directory_chain(device, first, MAX_DIRECTORY),
    }
}

/// The label of the volume, as a mount gives it.
fn label(device: &dyn BlockDevice, boot: &Boot) -> Option<String> {
    let entry = root_directory(device, boot).and_then(|root| match find_label(device, &root) {
        Ok(entry) => Ok(entry),
        // Then what can be listed of the directory counts.
        Err(_) => list(device, root).map(|root| root.listing.label),
    });
    match entry {
        Ok(entry) => entry.as_ref().and_then(label_text),
        Err(_) => boot.label.clone(),
    }
}

/// The label in the root directory `root`, which is read no further than it.
fn find_label(device: &dyn BlockDevice, root: &Extents) -> FsResult<Option<[u8; 11]>> {
    let end = root.end().min(MAX_DIRECTORY);
    let mut piece = vec![0; LABEL_PIECE];
    let mut offset: u64 = 0;
    while offset < end {
        let left = end.saturating_sub(offset).min(byte_count(piece.len()));
        let bytes = piece.get_mut(..bytes_to_index(left)?).unwrap_or_default();
        root.read(device, offset, bytes)?;
        if let ControlFlow::Break(found) = dir::find_label(bytes) {
            return Ok(found);
        }
        offset = offset.saturating_add(left);
    }
    Ok(None)
}

/// A mounted FAT volume.
struct FatFileSystem {
    reader: VolumeReader,
    boot: Boot,
    info: FsInfo,
    listings: Cache<NodeId, Arc<Opened>, ListingWeight>,
    /// The last listing that is too large for the cache; it is fetched in pieces all the same.
    large_listing: Mutex<Option<(NodeId, Arc<Opened>)>>,
}

/// A directory with its names.
struct Opened {
    extents: Extents,
    listing: Listing,
    /// What could not be read, if the listing is not whole.
    damage: Option<String>,
}

#[derive(Clone)]
struct ListingWeight;

impl Weighter<NodeId, Arc<Opened>> for ListingWeight {
    fn weight(&self, _dir: &NodeId, opened: &Arc<Opened>) -> u64 {
        opened.listing.weight().max(1)
    }
}

impl FatFileSystem {
    fn mount(reader: VolumeReader) -> FsResult<Self> {
        let boot = require_boot(&*reader.metadata)?;
        let mut findings = Vec::new();
        let volume_size = reader.data.size();
        if boot.size > volume_size {
            findings.push(Finding::warning(
                code::FAT_TRUNCATED,
                format!("file system has {} bytes, its volume only {volume_size}", boot.size),
            ));
        }
        let is_closed = is_closed(&reader, &boot).unwrap_or_else(|error| {
            findings
                .push(Finding::warning(code::FAT_TABLE, format!("table cannot be read: {error}")));
            true
        });
        if boot.is_dirty || !is_closed {
            findings.push(Finding::warning(code::FAT_DIRTY, "volume was not closed cleanly"));
        }
        let info = FsInfo {
            uuid: boot.serial.map(serial_text),
            case: CaseRule::Insensitive,
            findings,
            ..FsInfo::new(boot.kind.id(), boot.cluster_size, boot.size)
        };
        let mut mounted = Self {
            reader,
            boot,
            info,
            listings: Cache::with_weighter(64, LISTING_CACHE, ListingWeight),
            large_listing: Mutex::new(None),
        };
        match mounted.opened(ROOT) {
            Ok(root) => {
                // Like Windows and blkid, the label is the one in the root directory; that in the
                // boot sector is what it was when the volume was made.
                mounted.info.label = root.listing.label.as_ref().and_then(label_text);
            }
            Err(error) => {
                let finding = Finding::warning(
                    code::FAT_ROOT,
                    format!("root directory cannot be read: {error}"),
                );
                mounted.info.findings.push(finding);
                mounted.info.label = mounted.boot.label.clone();
            }
        }
        Ok(mounted)
    }

    /// The short entry of `node`.
    fn entry(&self, node: NodeId) -> FsResult<RawEntry> {
        let position = node
            .0
            .checked_mul(byte_count(ENTRY))
            .filter(|position| self.can_hold_entries(*position))
            .ok_or_else(FsError::not_found)?;
        let mut bytes = [0; ENTRY];
        self.reader.metadata.read_at(position, &mut bytes)?;
        RawEntry::parse(&bytes).ok_or_else(FsError::not_found)
    }

    fn can_hold_entries(&self, position: u64) -> bool {
        let in_root = match self.boot.root {
            Root::Fixed { position: start, length } => {
                position.checked_sub(start).is_some_and(|offset| offset < length)
            }
            Root::Chain(_) => false,
        };
        let end = position.saturating_add(byte_count(ENTRY));
        (in_root || position >= self.boot.data) && end <= self.reader.metadata.size()
    }

    fn is_fat32(&self) -> bool {
        self.boot.kind == FatKind::Fat32
    }

    /// The run list of the directory `dir`.
    fn directory(&self, dir: NodeId) -> FsResult<Extents> {
        let device = &*self.reader.metadata;
        if dir == ROOT {
            return root_directory(device, &self.boot);
        }
        let entry = self.entry(dir)?;
        if !entry.is_directory() {
            return Err(FsError::not_a_directory());
        }
        self.boot.directory_chain(device, entry.first_cluster(self.is_fat32()), MAX_DIRECTORY)
    }

    fn opened(&self, dir: NodeId) -> FsResult<Arc<Opened>> {
        if let Some(opened) = self.listings.get(&dir) {
            return Ok(opened);
        }
        if let Some((large, opened)) = &*self.large_listing.lock()
            && *large == dir
        {
            return Ok(opened.clone());
        }
        let extents = self.directory(dir)?;
        let opened = Arc::new(list(&*self.reader.metadata, extents)?);
        // The cache shares its room out to shards and would drop what fills one of them.
        if opened.listing.weight() > self.listings.shard_capacity() / 2 {
            *self.large_listing.lock() = Some((dir, opened.clone()));
        } else {
            self.listings.insert(dir, opened.clone());
        }
        Ok(opened)
    }

    fn describe(&self, node: NodeId, entry: &RawEntry) -> Metadata {
        let size = if entry.is_directory() { 0 } else { entry.size() };
        let cluster = u64::from(self.boot.cluster_size);
        Metadata {
            size,
            allocated: size.checked_next_multiple_of(cluster).unwrap_or(size),
            times: entry.times(),
            attributes: Some(Attributes(entry.attributes())),
            ..Metadata::new(node, kind(entry))
        }
    }
}

/// Reads the directory in `extents`. Where a part of it cannot be read, the names before that
/// part are listed.
fn list(device: &dyn BlockDevice, extents: Extents) -> FsResult<Opened> {
    // LIMIT: a chain ends with the cluster that reaches `MAX_DIRECTORY`.
    let length = extents.end().min(MAX_DIRECTORY);
    let mut bytes = vec![0; bytes_to_index(length)?];
    let mut damage = None;
    if let Err(error) = extents.read(device, 0, &mut bytes) {
        let sector = 512;
        let mut readable: usize = 0;
        for (piece, offset) in bytes.chunks_mut(sector).zip((0..).step_by(sector)) {
            if extents.read(device, offset, piece).is_err() {
                break;
            }
            readable = readable.saturating_add(piece.len());
        }
        bytes.truncate(readable);
        damage = Some(error);
    }
    let listing = Listing::parse(&bytes);
    if listing.entries.is_empty()
        && !listing.is_ended
        && let Some(error) = damage
    {
        return Err(error);
    }
    let damage = damage.filter(|_| !listing.is_ended);
    Ok(Opened { extents, listing, damage: damage.map(|error| error.to_string()) })
}

fn kind(entry: &RawEntry) -> FileKind {
    if entry.is_directory() { FileKind::Directory } else { FileKind::Regular }
}

/// Whether the second entry of the table says that the volume was closed and read without errors.
fn is_closed(reader: &VolumeReader, boot: &Boot) -> FsResult<bool> {
    let flags = Table::new(&*reader.metadata, boot).entry(1)?;
    Ok(match boot.kind {
        FatKind::Fat12 => true,
        FatKind::Fat16 => flags & 0x8000 != 0,
        FatKind::Fat32 => flags & 0x0800_0000 != 0,
    })
}

impl Opened {
    /// The node whose short entry is at `offset` of the directory.
    fn node(&self, offset: u64) -> Option<NodeId> {
        self.extents.position(offset)?.checked_div(byte_count(ENTRY)).map(NodeId)
    }
}

impl FileSystem for FatFileSystem {
    fn info(&self) -> &FsInfo {
        &self.info
    }

    fn usage(&self) -> FsResult<Usage> {
        let free = Table::new(&*self.reader.metadata, &self.boot).count_free()?;
        let used = u64::from(self.boot.clusters.saturating_sub(free));
        let used = used.saturating_mul(u64::from(self.boot.cluster_size));
        Ok(Usage::new(&self.info, used))
    }

    fn root(&self) -> NodeId {
        ROOT
    }

    fn lookup(&self, dir: NodeId, name: Name<'_>) -> FsResult<NodeId> {
        let opened = self.opened(dir)?;
        let found = opened.listing.find(name.as_bytes());
        let found = found.ok_or_else(FsError::not_found)?;
        opened.node(found.offset).ok_or_else(FsError::not_found)
    }

    fn metadata(&self, node: NodeId) -> FsResult<Metadata> {
        if node != ROOT {
            return Ok(self.describe(node, &self.entry(node)?));
        }
        Ok(Metadata {
            attributes: Some(Attributes(DIRECTORY)),
            ..Metadata::new(node, FileKind::Directory)
        })
    }

    fn read_dir(
        &self,
        dir: NodeId,
        from: DirCursor,
        emit: &mut dyn FnMut(DirEntry<'_>) -> ControlFlow<()>,
    ) -> FsResult<()> {
        let opened = self.opened(dir)?;
        let start = bytes_to_index(from.0)?;
        let rest = opened.listing.entries.get(start..).unwrap_or_default();
        for (entry, next) in rest.iter().zip(from.0.saturating_add(1)..) {
            let Some(node) = opened.node(entry.offset) else {
                continue;
            };
            let metadata = self.describe(node, &entry.raw);
            let entry = DirEntry {
                name: Name::new(&entry.name),
                node,
                kind: metadata.kind,
                metadata: Some(&metadata),
                next: DirCursor(next),
            };
            if emit(entry).is_break() {
                return Ok(());
            }
        }
        match &opened.damage {
            None => Ok(()),
            Some(damage) => {
                Err(FsError::corrupt(format!("directory can be listed in part only: {damage}")))
            }
        }
    }

    fn read_link(&self, _node: NodeId) -> FsResult<LinkTarget> {
        Err(FsError::not_a_link())
    }

    fn open(&self, node: NodeId, stream: &StreamName) -> FsResult<Arc<dyn FileData>> {
        if !stream.0.is_empty() {
            return Err(FsError::not_found());
        }
        if node == ROOT {
            return Err(FsError::is_a_directory());
        }
        let entry = self.entry(node)?;
        if entry.is_directory() {
            return Err(FsError::is_a_directory());
        }
        let size = entry.size();
        if size == 0 {
            return Ok(Arc::new(BytesFile::new(Vec::new())));
        }
        let first = entry.first_cluster(self.is_fat32());
        let extents = self.boot.chain(&*self.reader.metadata, first, size)?;
        let file = ExtentFile::new(self.reader.data.clone(), extents, size, size)?;
        Ok(Arc::new(file))
    }
}

#[cfg(test)]
mod tests;
