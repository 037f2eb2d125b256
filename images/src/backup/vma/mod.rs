//! VMA, the backup of a virtual machine that Proxmox VE's `vzdump` makes.
//!
//! Specification: Proxmox, pve-qemu, `vma_spec.txt`; big-endian. A header names the disks, which the
//! format calls devices. Extents follow, each a header of 512 bytes and the data of up to 59 clusters of
//! 64 KiB, of any disks and in any order. Of a cluster only those of its 16 blocks of 4 KiB are stored
//! that are not zeros. Every cluster of a disk is in some extent, so one that is in none was lost.
//!
//! There is no index: the headers of all extents are read when the file is opened.
//!
//! | offset | size | field of the header | rule                                                   |
//! |--------|------|---------------------|--------------------------------------------------------|
//! | 0      | 4    | magic               | `VMA\0`                                                |
//! | 4      | 4    | version             | 1                                                      |
//! | 8      | 16   | UUID                | stands in every extent too                             |
//! | 24     | 8    | time                | not looked at                                          |
//! | 32     | 16   | MD5                 | of the whole header, this field taken as zeros         |
//! | 48     | 4    | blob offset         | of names and configurations                            |
//! | 52     | 4    | blob size           | within the header                                      |
//! | 56     | 4    | header size         | multiple of 512, at least 12,288                       |
//! | 2044   | 2048 | configurations      | not looked at                                          |
//! | 4096   | 8192 | devices             | 256 of 32 bytes: at 0 their name, a blob; at 8 the size in bytes; the first is none |
//!
//! | offset | size | field of an extent  | rule                                                   |
//! |--------|------|---------------------|--------------------------------------------------------|
//! | 0      | 4    | magic               | `VMAE`                                                 |
//! | 6      | 2    | blocks              | how many blocks of 4 KiB follow                        |
//! | 8      | 16   | UUID                | that of the header                                     |
//! | 24     | 16   | MD5                 | of these 512 bytes, this field taken as zeros          |
//! | 40     | 472  | clusters            | 59 of 8 bytes: 2 the mask of stored blocks, the lowest bit the first; 1 not used; 1 the device, 0 for none; 4 the number of the cluster |

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use md5::{Digest, Md5};
use volfold_block::{
    BlockDevice, BlockError, BlockErrorKind, BlockResult, ByteReader, CachePool, Finding, Map,
    Mapped, Piece, Place, byte_count, bytes_to_index, code, keep,
};

use super::{Backup, BackupDisk, BackupFormat, plain_name, unique_name};
use crate::context::ImageContext;
use crate::format::DiskImage;
use crate::locator::Located;

const MAGIC: [u8; 4] = *b"VMA\0";
const EXTENT_MAGIC: [u8; 4] = *b"VMAE";

/// The header without its blobs.
const HEADER_BYTES: u64 = 12_288;

/// LIMIT: bytes of the header. 256 configurations of 64 KiB and their names are 32 MiB.
const MAX_HEADER: u64 = 64 << 20;

const EXTENT_BYTES: usize = 512;
const CLUSTERS: usize = 59;
const CLUSTER: u64 = 64 << 10;
const BLOCK: u64 = 4096;

/// Clusters of one page of a table.
const PAGE: usize = 1 << PAGE_BITS;
const PAGE_BITS: u32 = 9;

/// LIMIT: pages of places in one backup, 4 KiB each: 256 MiB, which are 2 TiB of stored clusters. A page
/// needs at least one stored block of the file, so it is never larger than what it tells of.
const MAX_PLACES: usize = 1 << 16;

/// LIMIT: pages of clusters of zeros alone: some 80 MiB, which are 32 TiB.
const MAX_ZEROS: usize = 1 << 20;

/// Reads VMA backups.
pub(crate) struct Vma;

impl BackupFormat for Vma {
    fn id(&self) -> &'static str {
        "vma"
    }

    fn title(&self) -> &'static str {
        "VMA (backup of Proxmox VE)"
    }

    fn extensions(&self) -> &'static [&'static str] {
        &["vma"]
    }

    fn probe(&self, file: &Located) -> BlockResult<bool> {
        let mut bytes = [0; 4];
        if file.device.size() < 4 {
            return Ok(false);
        }
        file.device.read_at(0, &mut bytes)?;
        Ok(bytes == MAGIC)
    }

    fn open(&self, file: &Located, pool: &Arc<CachePool>) -> BlockResult<Backup> {
        let header = Header::read(&*file.device)?;
        let mut scan = Scan::new(&*file.device, header);
        let damage = keep(|| scan.run()).err();
        let named = names(&scan.header);
        let disks = scan.disks.into_iter().zip(named);
        let disks = disks.filter_map(|((id, clusters), name)| {
            let device = scan.header.devices.get(&id).filter(|device| !device.is_memory())?;
            let image = open_disk(file, &name, device.size, clusters, pool);
            Some(BackupDisk { name, image: Ok(image) })
        });
        Ok(Backup { disks: disks.collect(), damage: damage.into_iter().collect() })
    }
}

/// The disk of `size` bytes whose clusters are where `clusters` says.
fn open_disk(
    file: &Located,
    name: &str,
    size: u64,
    clusters: Clusters,
    pool: &Arc<CachePool>,
) -> DiskImage {
    let context = ImageContext::of(&[], pool);
    let (all, lost) = (clusters.count, clusters.count.saturating_sub(clusters.seen));
    if lost > 0 {
        let line = format!("{lost} of its {all} clusters are not in the backup; these are errors");
        context.log().add(Finding::error(code::BACKUP_BLOCKS_MISSING, line));
    }
    if clusters.has_repeated {
        let line = "the backup has clusters of it more than once; these are errors";
        context.log().add(Finding::error(code::BACKUP_BLOCKS_REPEATED, line));
    }
    let disk = VmaDisk { file: Arc::clone(&file.device), size, clusters };
    let part = Located {
        device: Arc::clone(&file.device),
        name: format!("{}/{name}", file.name),
        files: Arc::clone(&file.files),
    };
    DiskImage::new("vma", Arc::new(Mapped::new(disk)), &part, &context)
}

/// What the devices of `header` are called, in their order.
fn names(header: &Header) -> Vec<String> {
    let mut known = HashSet::new();
    let names = header.devices.values().map(|device| plain_name(&device.name));
    names.map(|name| unique_name(&name, &mut known)).collect()
}

/// A disk as the header names it.
#[derive(Debug)]
struct Device {
    name: String,
    size: u64,
}

impl Device {
    /// Whether it is the memory of the machine, which the specification calls so.
    fn is_memory(&self) -> bool {
        self.name == "vmstate"
    }
}

/// A header whose checksum fits.
#[derive(Debug)]
struct Header {
    uuid: [u8; 16],
    size: u64,
    devices: BTreeMap<u8, Device>,
}

impl Header {
    /// Reads the header of the backup in `file`.
    ///
    /// # Errors
    /// `Corrupt` with the field that cannot be, `Unsupported` for other versions than 1.
    fn read(file: &dyn BlockDevice) -> BlockResult<Self> {
        let mut fixed = vec![0; bytes_to_index(HEADER_BYTES.min(file.size()))?];
        keep(|| file.read_at(0, &mut fixed))?;
        let corrupt = |line: String, at| Err(BlockError::corrupt(line, at, 0));
        let mut reader = ByteReader::new("VMA header", &fixed, 0);
        if reader.array()? != MAGIC {
            return corrupt("VMA header has another magic".to_owned(), 0);
        }
        let version = reader.u32_be()?;
        if version != 1 {
            let line = format!("VMA of version {version} is not read; 1 is");
            return Err(BlockError::unsupported(line).at(4));
        }
        let uuid = reader.array()?;
        reader.skip(24)?;
        let (blobs_at, blob_bytes) = (u64::from(reader.u32_be()?), u64::from(reader.u32_be()?));
        let size = u64::from(reader.u32_be()?);
        if !(HEADER_BYTES..=MAX_HEADER).contains(&size) || size % 512 != 0 {
            return corrupt(format!("VMA header says that it has {size} bytes"), 56);
        }
        if size > file.size() {
            return corrupt("VMA header is cut short; copy the file again".to_owned(), file.size());
        }
        let mut bytes = vec![0; bytes_to_index(size)?];
        keep(|| file.read_at(0, &mut bytes))?;
        if !has_its_sum(&mut bytes, 32) {
            return corrupt("VMA header has a bad checksum".to_owned(), 32);
        }
        let blobs_end = blobs_at.saturating_add(blob_bytes);
        if blobs_at < HEADER_BYTES || blobs_end > size {
            return corrupt("VMA header has its blobs outside of it".to_owned(), 48);
        }
        let blobs = bytes.get(bytes_to_index(blobs_at)?..bytes_to_index(blobs_end)?);
        let devices = devices(&bytes, blobs.unwrap_or_default())?;
        Ok(Self { uuid, size, devices })
    }
}

/// The devices in the header `bytes`, whose names are in `blobs`.
fn devices(bytes: &[u8], blobs: &[u8]) -> BlockResult<BTreeMap<u8, Device>> {
    let mut devices = BTreeMap::new();
    let mut reader = ByteReader::new("VMA header", bytes, 0);
    reader.skip(4096 + 32)?;
    for id in 1..=u8::MAX {
        let at = reader.position();
        let name = u64::from(reader.u32_be()?);
        reader.skip(4)?;
        let size = reader.u64_be()?;
        reader.skip(16)?;
        if name == 0 || size == 0 {
            continue;
        }
        let Some(name) = blob_text(blobs, name) else {
            let line = format!("VMA header names device {id} by a blob that is none");
            return Err(BlockError::corrupt(line, at, 0));
        };
        if size.div_ceil(CLUSTER) > 1 << 32 {
            let line = format!("VMA header has a device {id} of {size} bytes");
            return Err(BlockError::corrupt(line, at, 8));
        }
        devices.insert(id, Device { name, size });
    }
    if devices.is_empty() {
        return Err(BlockError::missing("VMA backup holds no disk"));
    }
    Ok(devices)
}

/// The text in the blob at `at` of `blobs`.
fn blob_text(blobs: &[u8], at: u64) -> Option<String> {
    let (length, rest) = blobs.get(usize::try_from(at).ok()?..)?.split_first_chunk::<2>()?;
    // QUIRK: the length alone is little-endian, in what QEMU of Proxmox reads and writes.
    let text = rest.get(..usize::from(u16::from_le_bytes(*length)))?.strip_suffix(&[0])?;
    Some(String::from_utf8_lossy(text).into_owned())
}

/// Whether the MD5 at `at` of `bytes`, which is set to zeros, is that of the whole.
fn has_its_sum(bytes: &mut [u8], at: usize) -> bool {
    let Some(field) = bytes.get_mut(at..).and_then(|rest| rest.first_chunk_mut::<16>()) else {
        return false;
    };
    let sum = std::mem::take(field);
    <[u8; 16]>::from(Md5::digest(bytes)) == sum
}

/// Clusters that follow each other in a table.
enum Page {
    /// Those that are zeros, a bit each; no other one is known.
    Zeros([u64; PAGE / 64]),
    Places(Box<[u64; PAGE]>),
}

/// Of a cluster nothing is known.
const UNKNOWN: u64 = 0;

/// The backup has a cluster more than once.
const REPEATED: u64 = u64::MAX;

/// Where the clusters of one disk are.
///
/// An entry has the place of the first stored block, as a number of sectors of 512 bytes, above the 16
/// bits of the mask. No place is 0, for the header is there.
struct Clusters {
    /// How many the disk has.
    count: u64,
    /// How many of them are somewhere.
    seen: u64,
    has_repeated: bool,
    pages: BTreeMap<u64, Page>,
}

impl Clusters {
    fn of(size: u64) -> Self {
        let count = size.div_ceil(CLUSTER);
        Self { count, seen: 0, has_repeated: false, pages: BTreeMap::new() }
    }

    /// The number of the page that has cluster `number`, and the place in that.
    fn page(number: u64) -> (u64, usize) {
        let page = number >> PAGE_BITS;
        let place = number.saturating_sub(page << PAGE_BITS);
        (page, usize::try_from(place).unwrap_or(0))
    }

    /// The entry of cluster `number`.
    fn get(&self, number: u64) -> u64 {
        let (page, place) = Self::page(number);
        match self.pages.get(&page) {
            None => UNKNOWN,
            Some(Page::Places(places)) => places.get(place).copied().unwrap_or(UNKNOWN),
            Some(Page::Zeros(bits)) => zero_entry(bits, place),
        }
    }

    /// How many clusters from `number` on, which is not known, are not either, as far as that is told by
    /// pages that do not exist; at least 1.
    fn unknown_from(&self, number: u64) -> u64 {
        let (page, _) = Self::page(number);
        if self.pages.contains_key(&page) {
            return 1;
        }
        let next = self.pages.range(page..).next().map(|(next, _)| *next << PAGE_BITS);
        next.unwrap_or(u64::MAX).saturating_sub(number).max(1)
    }

    /// Notes that cluster `number`, which the disk has, is what `entry` says. `room` is how many pages of
    /// both kinds there may still be.
    fn note(&mut self, number: u64, entry: u64, room: &mut Room) -> BlockResult<()> {
        let known = self.get(number);
        let entry = match known {
            UNKNOWN => entry,
            _ => REPEATED,
        };
        self.seen = self.seen.saturating_add(u64::from(known == UNKNOWN));
        self.has_repeated |= entry == REPEATED;
        let (page, place) = Self::page(number);
        let is_zero = entry & 0xFFFF == 0;
        if is_zero && !matches!(self.pages.get(&page), Some(Page::Places(_))) {
            if !self.pages.contains_key(&page) {
                take(&mut room.zeros)?;
            }
            let page = self.pages.entry(page).or_insert(Page::Zeros([0; PAGE / 64]));
            if let Page::Zeros(bits) = page
                && let Some(word) = bits.get_mut(place / 64)
            {
                *word |= 1 << (place % 64);
            }
            return Ok(());
        }
        let places = match self.pages.remove(&page) {
            Some(Page::Places(places)) => Some(places),
            other => {
                take(&mut room.places)?;
                let zeros = other.map(|page| match page {
                    Page::Zeros(bits) => Box::new(std::array::from_fn(|at| zero_entry(&bits, at))),
                    Page::Places(places) => places,
                });
                zeros.or_else(|| Some(Box::new([UNKNOWN; PAGE])))
            }
        };
        if let Some(mut places) = places {
            if let Some(field) = places.get_mut(place) {
                *field = entry;
            }
            self.pages.insert(page, Page::Places(places));
        }
        Ok(())
    }
}

/// The entry of a cluster by its bit: zeros somewhere, or unknown.
fn zero_entry(bits: &[u64], place: usize) -> u64 {
    let word = bits.get(place / 64).copied().unwrap_or(0);
    match word & (1 << (place % 64)) {
        0 => UNKNOWN,
        _ => 1 << 16,
    }
}

/// How many pages there may still be.
struct Room {
    places: usize,
    zeros: usize,
}

/// Takes one page of those that are `left`.
fn take(left: &mut usize) -> BlockResult<()> {
    *left = left.checked_sub(1).ok_or_else(|| {
        BlockError::unsupported(
            "VMA backup has more clusters than are kept in memory; extract it with `vma extract`",
        )
    })?;
    Ok(())
}

/// The way through the extents of a backup.
struct Scan<'a> {
    file: &'a dyn BlockDevice,
    header: Header,
    disks: BTreeMap<u8, Clusters>,
    room: Room,
}

impl<'a> Scan<'a> {
    fn new(file: &'a dyn BlockDevice, header: Header) -> Self {
        let disks =
            header.devices.iter().map(|(id, device)| (*id, Clusters::of(device.size))).collect();
        Self { file, header, disks, room: Room { places: MAX_PLACES, zeros: MAX_ZEROS } }
    }

    /// Notes the clusters of all extents, up to the end of the file or to where it is damaged.
    fn run(&mut self) -> BlockResult<()> {
        let mut at = self.header.size;
        while at < self.file.size() {
            at = self.extent(at)?;
        }
        Ok(())
    }

    /// Notes the clusters of the extent at `at`; where the next one is.
    fn extent(&mut self, at: u64) -> BlockResult<u64> {
        let corrupt = |what: &str| {
            let line =
                format!("VMA extent {what}; what comes after it is lost: copy the file again");
            BlockError::corrupt(line, at, 0)
        };
        let mut bytes = [0; EXTENT_BYTES];
        let size = self.file.size();
        if size.saturating_sub(at) < byte_count(EXTENT_BYTES) {
            return Err(corrupt("header is cut off"));
        }
        self.file.read_at(at, &mut bytes)?;
        let mut reader = ByteReader::new("VMA extent header", &bytes, at);
        if reader.array()? != EXTENT_MAGIC {
            return Err(corrupt("header has another magic"));
        }
        reader.skip(2)?;
        let blocks = u64::from(reader.u16_be()?);
        if reader.array()? != self.header.uuid {
            return Err(corrupt("is of another backup"));
        }
        if !has_its_sum(&mut bytes, 24) {
            return Err(corrupt("header has a bad checksum"));
        }
        let mut place = at.saturating_add(byte_count(EXTENT_BYTES));
        let end = place.saturating_add(blocks.saturating_mul(BLOCK));
        let mut reader = ByteReader::new("VMA extent header", &bytes, at);
        reader.skip(40)?;
        let mut clusters = [(0, 0, 0); CLUSTERS];
        let mut stored: u64 = 0;
        for cluster in &mut clusters {
            let mask = reader.u16_be()?;
            reader.skip(1)?;
            *cluster = (reader.u8()?, u64::from(reader.u32_be()?), mask);
            let is_one = cluster.0 != 0;
            stored = stored.saturating_add(if is_one { mask.count_ones().into() } else { 0 });
        }
        if stored != blocks {
            return Err(corrupt("has other blocks than its clusters"));
        }
        for (id, number, mask) in clusters.into_iter().filter(|(id, ..)| *id != 0) {
            let start = place;
            place = place.saturating_add(u64::from(mask.count_ones()).saturating_mul(BLOCK));
            if self.header.devices.get(&id).is_some_and(Device::is_memory) {
                continue;
            }
            let known = self.disks.get_mut(&id).filter(|disk| number < disk.count);
            let Some(disk) = known else {
                return Err(corrupt("is of a cluster that no disk has"));
            };
            // What the file lacks is unknown.
            if place <= size {
                disk.note(number, entry(start, mask)?, &mut self.room)?;
            }
        }
        if end > size {
            let left = end.saturating_sub(size);
            let line = format!("VMA file is cut off: {left} bytes of an extent are missing");
            return Err(BlockError::new(BlockErrorKind::Corrupt, line).at(at));
        }
        Ok(end)
    }
}

/// The entry for a cluster whose stored blocks, those of `mask`, begin at `start`.
fn entry(start: u64, mask: u16) -> BlockResult<u64> {
    let sector = Some(start / 512).filter(|sector| *sector < (1 << 48) - 1);
    let sector = sector
        .ok_or_else(|| BlockError::unsupported("VMA file is larger than is read").at(start))?;
    Ok(sector << 16 | u64::from(mask))
}

/// A disk in a backup.
struct VmaDisk {
    file: Arc<dyn BlockDevice>,
    size: u64,
    clusters: Clusters,
}

impl Map for VmaDisk {
    fn size(&self) -> u64 {
        self.size
    }

    fn locate(&self, offset: u64, _wanted: u64) -> BlockResult<Piece<'_>> {
        let (number, within) = (offset / CLUSTER, offset % CLUSTER);
        let entry = self.clusters.get(number);
        let lost = |what: &str, clusters: u64| {
            let error =
                BlockError::new(BlockErrorKind::Corrupt, format!("cluster {number} {what}"));
            let length = clusters.saturating_mul(CLUSTER).saturating_sub(within);
            let length = length.min(self.size.saturating_sub(offset));
            Ok(Piece::new(Place::Fail(error), length))
        };
        match entry {
            UNKNOWN => {
                let line = "is not in the VMA backup, which is cut off or damaged";
                return lost(line, self.clusters.unknown_from(number));
            }
            REPEATED => return lost("is in the VMA backup more than once", 1),
            _ => {}
        }
        let (block, skip) = (within / BLOCK, within % BLOCK);
        let mask = entry & 0xFFFF;
        let above = mask >> block;
        let is_stored = above & 1 == 1;
        // Blocks of one kind from here on; past the mask all are of none.
        let run = if is_stored { above.trailing_ones() } else { above.trailing_zeros() };
        let run = u64::from(run).min(16_u64.saturating_sub(block));
        let length = run.saturating_mul(BLOCK).saturating_sub(skip);
        if !is_stored {
            return Ok(Piece::new(Place::Zero, length));
        }
        let before = mask & (1_u64 << block).saturating_sub(1);
        let at = (entry >> 16).saturating_mul(512).saturating_add(skip);
        let at = at.saturating_add(u64::from(before.count_ones()).saturating_mul(BLOCK));
        Ok(Piece::new(Place::Stored(&*self.file, at), length))
    }
}
