//! NTFS: directories by the crate `ntfs`, file records and content by own code: a second opinion
//! for tests.
//!
//! The crate walks and searches the B-trees of directories. What it hands out as content cannot
//! be trusted (compressed and encrypted streams as they are stored, bytes behind the initialized
//! size, streams of attribute lists that are empty or joined wrongly), so records, run lists and
//! reparse points are decoded in this folder and each such case is an error with its reason.
//!
//! Boot sector, as far as it is looked at here; the crate reads the rest:
//!
//! | offset | size | field                 | rule                                    |
//! |--------|------|-----------------------|-----------------------------------------|
//! | 0x03   | 8    | `oem`                 | `NTFS` and four spaces                  |
//! | 0x0B   | 2    | `bytes_per_sector`    | a power of two, 256 to 4096             |
//! | 0x0D   | 1    | `sectors_per_cluster` | not 0                                   |
//! | 0x28   | 8    | `sectors`             | not 0                                   |
//! | 0x30   | 8    | `mft_cluster`         | not 0                                   |

use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use ntfs::Ntfs;
use parking_lot::Mutex;
use quick_cache::Weighter;
use quick_cache::sync::Cache;
use volfold_block::{
    BlockDevice, ByteReader, Confidence, Finding, byte_count, bytes_to_index, code,
};

use self::index::{Listing, Upcase, VolumeCursor, from_crate};
use self::node::Node;
use self::record::{FileRecord, Form, kind};
use self::volume::Volume;
use crate::driver::{FileSystemDriver, Identity, ReadOptions, VolumeReader};
use crate::error::{FsError, FsErrorKind, FsResult};
use crate::node::{
    CaseRule, DirCursor, DirEntry, FileData, FileKind, FileSystem, FsInfo, LinkTarget, Metadata,
    Name, NodeId, StreamInfo, StreamName, Usage,
};
use crate::wtf8;

mod index;
mod node;
mod record;
mod reparse;
mod runs;
mod volume;

const ROOT: u64 = 5;
const VOLUME: u64 = 3;
const BITMAP: u64 = 6;
const UPCASE: u64 = 10;

/// Bytes of decoded listings that a volume keeps.
const LISTING_CACHE: u64 = 4 << 20;
/// Bytes of `$Bitmap` that are read at once.
const BITMAP_PIECE: usize = 64 * 1024;

/// NTFS, read with the help of the crate `ntfs`. Not one of [`crate::DRIVERS`].
pub struct NtfsDriver;

impl FileSystemDriver for NtfsDriver {
    fn id(&self) -> &'static str {
        "ntfs-crate"
    }

    fn title(&self) -> &'static str {
        "NTFS by the crate ntfs"
    }

    fn probe(&self, volume: &dyn BlockDevice) -> FsResult<Confidence> {
        if volume.size() < 512 {
            return Ok(Confidence::No);
        }
        let mut sector = [0; 512];
        volume.read_at(0, &mut sector)?;
        Ok(if is_boot_sector(&sector).unwrap_or(false) {
            Confidence::Certain
        } else {
            Confidence::No
        })
    }

    fn identify(&self, volume: VolumeReader) -> FsResult<Identity> {
        let info = NtfsFileSystem::mount(volume)?.info;
        Ok(Identity::new(info.label, info.uuid))
    }

    fn mount(&self, volume: VolumeReader, _options: ReadOptions) -> FsResult<Arc<dyn FileSystem>> {
        Ok(Arc::new(NtfsFileSystem::mount(volume)?))
    }
}

fn is_boot_sector(sector: &[u8]) -> FsResult<bool> {
    let mut reader = ByteReader::new("boot sector", sector, 0);
    reader.skip(3)?;
    let oem = reader.array::<8>()?;
    let bytes_per_sector = reader.u16_le()?;
    let sectors_per_cluster = reader.u8()?;
    reader.skip(0x28 - 0x0E)?;
    let sectors = reader.u64_le()?;
    let mft_cluster = reader.u64_le()?;
    Ok(oem == *b"NTFS    "
        && (256..=4096).contains(&bytes_per_sector)
        && bytes_per_sector.is_power_of_two()
        && sectors_per_cluster != 0
        && sectors != 0
        && mft_cluster != 0)
}

/// A mounted NTFS volume.
struct NtfsFileSystem {
    volume: Volume,
    upcase: Upcase,
    info: FsInfo,
    listings: Cache<u64, Arc<Listing>, ListingWeight>,
    /// The last listing that is too large for the cache; it is fetched in pieces all the same.
    large_listing: Mutex<Option<(u64, Arc<Listing>)>>,
}

#[derive(Clone)]
struct ListingWeight;

impl Weighter<u64, Arc<Listing>> for ListingWeight {
    fn weight(&self, _dir: &u64, listing: &Arc<Listing>) -> u64 {
        listing.weight().max(1)
    }
}

impl NtfsFileSystem {
    fn mount(reader: VolumeReader) -> FsResult<Self> {
        // LIMIT: the boot sector is one small read.
        let guarded = AssertUnwindSafe(|| {
            let mut cursor = VolumeCursor::new(&*reader.metadata, 1 << 20);
            Ntfs::new(&mut cursor).map_err(from_crate)
        });
        let ntfs = catch_unwind(guarded)
            .unwrap_or_else(|_| Err(FsError::corrupt("boot sector made the reader fail")))?;
        let (size, serial) = (ntfs.size(), ntfs.serial_number());
        let volume = Volume::open(reader, ntfs)?;
        if !volume.node(ROOT)?.is_directory() {
            return Err(FsError::corrupt("root directory is a file"));
        }
        let mut findings = Vec::new();
        if size > volume.reader.data.size() {
            findings.push(Finding::warning(
                code::NTFS_TRUNCATED,
                format!(
                    "file system has {size} bytes, its volume only {}",
                    volume.reader.data.size()
                ),
            ));
        }
        let upcase = read_upcase(&volume).unwrap_or_else(|error| {
            findings
                .push(Finding::warning(code::NTFS_UPCASE, format!("no upper case table: {error}")));
            Upcase::fallback()
        });
        let label = read_label(&volume, &mut findings).unwrap_or_else(|error| {
            findings.push(Finding::warning(
                code::NTFS_LABEL,
                format!("$Volume cannot be read: {error}"),
            ));
            None
        });
        let info = FsInfo {
            kind: "ntfs",
            label,
            uuid: Some(format!("{serial:016X}")),
            case: CaseRule::Insensitive,
            cluster_size: volume.ntfs.cluster_size(),
            size,
            findings,
        };
        Ok(Self {
            volume,
            upcase,
            info,
            listings: Cache::with_weighter(64, LISTING_CACHE, ListingWeight),
            large_listing: Mutex::new(None),
        })
    }

    fn listing(&self, dir: &FileRecord) -> FsResult<Arc<Listing>> {
        let number = dir.number();
        if let Some(listing) = self.listings.get(&number) {
            return Ok(listing);
        }
        if let Some((large, listing)) = &*self.large_listing.lock()
            && *large == number
        {
            return Ok(listing.clone());
        }
        let listing = Arc::new(index::list(&self.volume, dir)?);
        // The cache shares its room out to shards and would drop what fills one of them.
        if listing.weight() > self.listings.shard_capacity() / 2 {
            *self.large_listing.lock() = Some((number, listing.clone()));
        } else {
            self.listings.insert(number, listing.clone());
        }
        Ok(listing)
    }

    fn directory(&self, dir: NodeId) -> FsResult<FileRecord> {
        let record = self.volume.node(dir.0)?;
        if record.is_directory() { Ok(record) } else { Err(FsError::not_a_directory()) }
    }
}

impl FileSystem for NtfsFileSystem {
    fn info(&self) -> &FsInfo {
        &self.info
    }

    fn usage(&self) -> FsResult<Usage> {
        let record = self.volume.node(BITMAP)?;
        let stream = self.volume.stream(&record, kind::DATA, &[])?;
        let stream = stream.ok_or_else(|| FsError::corrupt("$Bitmap has no $DATA"))?;
        let bitmap = self.volume.file(stream)?;
        let clusters = self.info.size.checked_div(self.volume.cluster_size).unwrap_or(0);
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
            for byte in piece {
                used = used.saturating_add(u64::from(byte.count_ones()));
            }
            offset = offset.saturating_add(count);
        }
        if tail > 0 {
            let mut last = [0];
            bitmap.read_at(whole, &mut last)?;
            let mask = !0xFF_u8.checked_shl(tail).unwrap_or(0);
            let bits = last.iter().map(|byte| u64::from((byte & mask).count_ones()));
            used = used.saturating_add(bits.sum());
        }
        Ok(Usage::new(&self.info, used.saturating_mul(self.volume.cluster_size)))
    }

    fn root(&self) -> NodeId {
        NodeId(ROOT)
    }

    fn lookup(&self, dir: NodeId, name: Name<'_>) -> FsResult<NodeId> {
        let dir = self.directory(dir)?;
        let units = wtf8::decode(name.as_bytes()).ok_or_else(FsError::not_found)?;
        let found = index::find(&self.volume, &self.upcase, &dir, &units)?;
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
        let dir = self.directory(dir)?;
        let listing = self.listing(&dir)?;
        let mut index = bytes_to_index(from.0)?;
        while let Some((name, reference, is_directory)) = listing.get(index) {
            index = index.saturating_add(1);
            // A record that cannot be read harms its own name only, which is then given without
            // metadata.
            let metadata = self
                .metadata(NodeId(reference.number()))
                .ok()
                .filter(|metadata| metadata.generation == u64::from(reference.sequence()));
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
        match &listing.damage {
            None => Ok(()),
            Some(damage) => {
                Err(FsError::corrupt(format!("directory can be listed in part only: {damage}"))
                    .at(dir.position()))
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
        node::streams(&self.volume, &record)
    }

    fn open(&self, node: NodeId, stream: &StreamName) -> FsResult<Arc<dyn FileData>> {
        let record = self.volume.node(node.0)?;
        if stream.0.is_empty() {
            let summary = Node::read(&self.volume, &record)?.metadata;
            match (summary.kind, summary.unreadable) {
                (FileKind::Directory, _) => return Err(FsError::is_a_directory()),
                (_, Some(FsErrorKind::Undecodable(reason))) => {
                    return Err(FsError::undecodable(reason));
                }
                (_, Some(FsErrorKind::Encrypted)) => return Err(FsError::encrypted()),
                (FileKind::Regular, _) => {}
                _ => return Err(FsError::unsupported("node has no content of its own")),
            }
        }
        let units = wtf8::decode(&stream.0).ok_or_else(FsError::not_found)?;
        let name: Vec<u8> = units.into_iter().flat_map(u16::to_le_bytes).collect();
        let found = self.volume.stream(&record, kind::DATA, &name)?;
        self.volume.file(found.ok_or_else(FsError::not_found)?)
    }
}

fn read_upcase(volume: &Volume) -> FsResult<Upcase> {
    let record = volume.node(UPCASE)?;
    let stream = volume.stream(&record, kind::DATA, &[])?;
    let stream = stream.ok_or_else(|| FsError::corrupt("$UpCase has no $DATA"))?;
    Upcase::parse(&volume.value(stream, 128 * 1024)?)
}

/// The label; tells of a dirty volume on the way.
fn read_label(volume: &Volume, findings: &mut Vec<Finding>) -> FsResult<Option<String>> {
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
    if flags & 1 != 0 {
        findings.push(Finding::warning(code::NTFS_DIRTY, "volume was not closed cleanly"));
    }
    Ok(label.filter(|label| !label.is_empty()))
}

#[cfg(test)]
mod tests;
