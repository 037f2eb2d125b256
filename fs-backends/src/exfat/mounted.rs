//! A mounted exFAT volume: how directories are listed, and content is found.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use volfold_block::{Code, Finding, FindingLog, Span, byte_count, bytes_to_index, code};

use super::bitmap::Bitmap;
use super::directory::{self, Directory, Parts};
use super::entry::{Entry, EntryType, Item, next_item};
use super::listing::ListingReader;
use super::record::{FileRecord, FileSet, MAX_DIRECTORY, MAX_SET};
use super::system::System;
use super::upcase::Upcase;
use super::volume::{Clusters, Volume};
use crate::clusters::chain::{ChainEnd, Link};
use crate::clusters::claims::{Claim, Claims};
use crate::clusters::content::{ChainCodes, Teller};
use crate::clusters::finding::{ENTRY, finding_of};
use crate::clusters::listings::Listings;
use crate::clusters::serial::serial_text;
use crate::driver::{ReadOptions, VolumeReader};
use crate::error::{FsError, FsResult};
use crate::extents::{BytesFile, ExtentFile, Extents, Place};
use crate::node::{Attributes, CaseRule, FileData, FileKind, FsInfo, Metadata, NodeId};

pub(super) const ROOT: NodeId = NodeId(1);
/// LIMIT: entry sets that do not lie together on the volume, some 24 MiB of them.
const MAX_SPLIT: usize = 1 << 18;
/// LIMIT: the end of the last cluster, so that nodes have numbers below 2^48.
const MAX_END: u64 = 1 << 53;
pub(super) const CHAIN_CODES: ChainCodes = ChainCodes {
    long: code::EXFAT_CHAIN_LONG,
    short: code::EXFAT_CHAIN_SHORT,
    crossed: code::EXFAT_CROSS_LINK,
};

/// The entries of a set, as many as it has.
pub(super) type SetEntries = Vec<Entry>;

/// A mounted exFAT volume.
pub(super) struct Exfat {
    pub(super) volume: Volume,
    pub(super) info: FsInfo,
    pub(super) claims: Claims,
    pub(super) upcase: Upcase,
    pub(super) bitmap: Option<Bitmap>,
    /// What was noticed since the volume was mounted.
    pub(super) log: FindingLog,
    pub(super) options: ReadOptions,
    directories: Listings<Directory>,
    /// Where the entries of those nodes lie whose entries do not follow each other on the volume.
    split: Mutex<HashMap<NodeId, Parts>>,
}

impl Exfat {
    pub(super) fn mount(reader: VolumeReader, options: ReadOptions) -> FsResult<Self> {
        let (volume, found) = Volume::open(reader)?;
        let boot = &volume.boot;
        if boot.heap.position(boot.heap.all_clusters().end)? > MAX_END {
            return Err(FsError::unsupported("volume is larger than 8 PiB"));
        }
        let mut findings: Vec<Finding> = found.finding.into_iter().collect();
        note_state(&volume, &mut findings);
        let system = volume.system().unwrap_or_else(|error| {
            let line = format!("root directory cannot be read: {error}");
            findings.push(Finding::warning(code::EXFAT_ROOT, line));
            System::default()
        });
        if system.has_doubles {
            let line = "root directory has two entries for the same part of the volume";
            findings.push(Finding::warning(code::EXFAT_ROOT, line));
        }
        let upcase = open_upcase(&volume, &system, &mut findings);
        let bitmap = open_bitmap(&volume, &system, &mut findings);
        let info = FsInfo {
            label: system.label.clone(),
            uuid: Some(serial_text(boot.serial)),
            case: CaseRule::Insensitive,
            findings,
            ..FsInfo::new("exfat", boot.heap.cluster_size, boot.size)
        };
        let mounted = Self {
            claims: Claims::new(&boot.heap)?,
            volume,
            info,
            upcase,
            bitmap,
            log: FindingLog::new(),
            options,
            directories: Listings::new()?,
            split: Mutex::new(HashMap::new()),
        };
        mounted.claim_system(&system);
        // What is wrong with it was told, or will be when it is listed.
        let _ = mounted.directory(ROOT);
        Ok(mounted)
    }

    /// Takes the clusters of the root directory, of the bitmaps and of the up-case table.
    fn claim_system(&self, system: &System) {
        let heap = &self.volume.boot.heap;
        let Ok(root) = self.volume.root() else { return };
        self.claims.take(heap, ROOT, self.volume.boot.root_cluster, &root.extents);
        for part in system.bitmaps.iter().flatten().chain(&system.upcase) {
            let node = root.extents.position(part.offset).map(|position| position / 32);
            if let Some(node) = node.map(NodeId)
                && let Ok(extents) = self.volume.part(part)
            {
                let claim = self.claims.take(heap, node, part.allocation.first_cluster, &extents);
                if claim != Claim::Whole {
                    let line = "bitmap or up-case table has the clusters of another";
                    self.log.add(finding_of(node, "root directory", code::EXFAT_CROSS_LINK, line));
                }
            }
        }
    }

    /// The entries of the set of `node`, in use or not.
    ///
    /// # Errors
    /// `NotFound` if no set begins there, or one with too many entries.
    pub(super) fn entries(&self, node: NodeId) -> FsResult<SetEntries> {
        let position = node.0.checked_mul(byte_count(ENTRY)).ok_or_else(FsError::not_found)?;
        let mut first = [[0; ENTRY]; 1];
        self.read_entries(position, &mut first)?;
        let [primary] = first;
        let count = usize::from(primary[1]).saturating_add(1);
        if EntryType::of(&primary) != EntryType::FILE || count > MAX_SET {
            return Err(FsError::not_found());
        }
        let mut entries = vec![primary; count];
        let Some(parts) = self.split.lock().get(&node).cloned() else {
            self.read_entries(position, &mut entries)?;
            return Ok(entries);
        };
        let mut left = entries.as_mut_slice();
        for (position, length) in parts {
            let count = bytes_to_index(length)?.checked_div(ENTRY).unwrap_or(0);
            let (part, later) = left.split_at_mut_checked(count).ok_or_else(FsError::not_found)?;
            self.read_entries(position, part)?;
            left = later;
        }
        Ok(entries)
    }

    /// Fills `entries` from `position`, which must be in the cluster heap.
    fn read_entries(&self, position: u64, entries: &mut [Entry]) -> FsResult<()> {
        let device = self.volume.metadata();
        let bytes = entries.as_flattened_mut();
        let is_there = Span::of_buffer(position, bytes.len())
            .is_some_and(|place| Span::below(device.size()).holds(place));
        if !is_there || position < self.volume.boot.heap.start {
            return Err(FsError::not_found());
        }
        Ok(device.read_at(position, bytes)?)
    }

    /// The set of `node`.
    ///
    /// # Errors
    /// As [`Self::entries`]; `Corrupt` if it is damaged.
    pub(super) fn set(&self, node: NodeId) -> FsResult<FileSet> {
        let entries = self.entries(node)?;
        match next_item(&entries, true) {
            Some(Item::Set(primary, secondaries)) => {
                FileSet::parse(primary, secondaries).map_err(|why| {
                    let position = node.0.saturating_mul(byte_count(ENTRY));
                    FsError::corrupt(format!("entry set is damaged: {why}")).at(position)
                })
            }
            _ => Err(FsError::not_found()),
        }
    }

    /// The names of the directory `dir`.
    ///
    /// # Errors
    /// `NotADirectory`; `Corrupt` if its clusters are those of another; why it cannot be read.
    pub(super) fn directory(&self, dir: NodeId) -> FsResult<Arc<Directory>> {
        self.directories.get(dir, || self.read_directory(dir))
    }

    fn read_directory(&self, dir: NodeId) -> FsResult<Directory> {
        let (name, record) = match dir {
            ROOT => ("root directory".to_owned(), None),
            _ => {
                let set = self.set(dir)?;
                (set.shown(), Some(set.record))
            }
        };
        let note = |code, line: &str| self.log.add(finding_of(dir, &name, code, line));
        let (first, clusters, length) = match &record {
            None => (self.volume.boot.root_cluster, self.volume.root()?, u64::MAX),
            Some(record) if !record.is_directory() => return Err(FsError::not_a_directory()),
            Some(record) => {
                let (clusters, length) = self.clusters_of_directory(record, &note)?;
                (record.allocation.first_cluster, clusters, length)
            }
        };
        let goes_on = matches!(clusters.end, ChainEnd::Whole(Link::Next(_)));
        let mut fault = match clusters.end {
            ChainEnd::Whole(_) if length > MAX_DIRECTORY && (goes_on || record.is_some()) => {
                Some("is longer than 64 MiB")
            }
            ChainEnd::Whole(_) => None,
            ChainEnd::Short(Link::End) if record.is_some() => Some("ends too early"),
            end => end.fault(),
        };
        let mut extents = clusters.extents;
        if first != 0 {
            match self.claims.take(&self.volume.boot.heap, dir, first, &extents) {
                Claim::Whole => {}
                Claim::UpTo(offset) if offset > 0 => {
                    extents.truncate(offset);
                    fault = Some("leads into the clusters of another file");
                    note(code::EXFAT_CROSS_LINK, "cluster chain leads into that of another file");
                }
                Claim::TooMany => {
                    return Err(FsError::unsupported("volume has too many directories"));
                }
                Claim::UpTo(_) | Claim::Foreign => {
                    note(code::EXFAT_CROSS_LINK, "directory has the clusters of another");
                    return Err(FsError::corrupt("directory has the clusters of another"));
                }
            }
        }
        let length = length.min(MAX_DIRECTORY).min(extents.end());
        let reader = ListingReader::new(&self.upcase, dir == ROOT);
        let mut directory = Directory::read(self.volume.metadata(), extents, length, reader)?;
        if let Some(fault) = fault {
            note(code::EXFAT_CHAIN_SHORT, &format!("cluster chain of the directory {fault}"));
            if !directory.listing.is_ended {
                let damage = || format!("its cluster chain {fault}");
                directory.damage.get_or_insert_with(damage);
            }
        }
        self.note_listing(dir, &name, &directory);
        self.remember_entries(first, &directory)?;
        Ok(directory)
    }

    /// The clusters of the directory with `record`, and how many bytes of them count.
    fn clusters_of_directory(
        &self,
        record: &FileRecord,
        note: &dyn Fn(Code, &str),
    ) -> FsResult<(Clusters, u64)> {
        let (allocation, size) = (&record.allocation, record.size());
        if size == 0 && allocation.first_cluster == 0 {
            let end = ChainEnd::Whole(Link::End);
            return Ok((Clusters { extents: Extents::default(), end }, 0));
        }
        if !allocation.is_possible {
            let line = "directory is marked as one that has no clusters";
            note(code::EXFAT_DIRECTORY, line);
            return Err(FsError::corrupt(line));
        }
        if !size.is_multiple_of(self.volume.boot.heap.cluster_size.into()) || size == 0 {
            let line = format!("length of the directory, {size}, is no number of clusters");
            note(code::EXFAT_DIRECTORY, &line);
        }
        if record.valid_length != size {
            let line =
                format!("{} of {size} bytes of the directory are valid", record.valid_length);
            note(code::EXFAT_DIRECTORY, &line);
        }
        let clusters = self.volume.clusters(allocation, size.min(MAX_DIRECTORY))?;
        if let (ChainEnd::Whole(_), Some(fault)) = (clusters.end, clusters.end.fault())
            && size <= MAX_DIRECTORY
        {
            let line = format!("cluster chain {fault} after the {size} bytes of the directory");
            note(code::EXFAT_CHAIN_LONG, &line);
        }
        Ok((clusters, size))
    }

    /// Tells what is wrong in the listing of `dir`.
    fn note_listing(&self, dir: NodeId, name: &str, directory: &Directory) {
        let note = |code, line: &str| self.log.add(finding_of(dir, name, code, line));
        if let Some(damage) = &directory.damage {
            let line = format!("directory can be listed in part only: {damage}");
            note(code::EXFAT_DIRECTORY, &line);
        }
        for fault in &directory.listing.faults {
            let code = if fault.hides { code::EXFAT_ENTRY_SET } else { code::EXFAT_NAME };
            let finding = Finding::warning(code, format!("{name}: {}", fault.line));
            let position = directory.extents.position(fault.offset);
            self.log.add(position.map_or(finding.clone(), |position| finding.at(position)));
        }
        if directory.listing.has_more {
            let line = "entries lie after the end of the directory, and are not listed";
            note(code::EXFAT_DIRECTORY, line);
        }
    }

    /// Notes where the entries in `directory` lie, which begins with `first`, and whose the directories
    /// in it are.
    fn remember_entries(&self, first: u32, directory: &Directory) -> FsResult<()> {
        let listing = &directory.listing;
        for file in &listing.files {
            let Some(node) = directory.node(file) else { continue };
            self.remember_split(node, &directory.extents, file.offset(), file.length())?;
            let below = file.record.allocation.first_cluster;
            if file.record.is_directory()
                && self.volume.boot.heap.has_cluster(below)
                && !self.claims.name_directory(node, below, first)
            {
                let name = String::from_utf8_lossy(listing.name(file));
                let line = "directory has the clusters of another";
                self.log.add(finding_of(node, &name, code::EXFAT_CROSS_LINK, line));
            }
        }
        Ok(())
    }

    /// Notes where the entries of `node` lie, `length` bytes from `offset` of the directory in `extents`, if they
    /// do not follow each other.
    ///
    /// # Errors
    /// `Unsupported` if there are too many of them.
    pub(super) fn remember_split(
        &self,
        node: NodeId,
        extents: &Extents,
        offset: u64,
        length: u64,
    ) -> FsResult<()> {
        let Some(parts) = directory::split(extents, offset, length) else { return Ok(()) };
        let mut split = self.split.lock();
        if split.len() >= MAX_SPLIT && !split.contains_key(&node) {
            let line = "volume has too many entry sets that do not lie together";
            return Err(FsError::unsupported(line));
        }
        // What was listed first counts: a deleted directory may claim the clusters of a living one.
        split.entry(node).or_insert(parts);
        Ok(())
    }

    /// The bitmap.
    ///
    /// # Errors
    /// `Corrupt` if there is none that can be used.
    pub(super) fn bitmap(&self) -> FsResult<&Bitmap> {
        let missing = || FsError::corrupt("allocation bitmap cannot be used");
        self.bitmap.as_ref().ok_or_else(missing)
    }

    /// The content of the file `node`; what is odd about it is given to `note`.
    ///
    /// # Errors
    /// `Corrupt` if its sizes contradict each other; why the table cannot be read.
    pub(super) fn content(
        &self,
        node: NodeId,
        record: &FileRecord,
        note: &dyn Fn(Code, &str),
    ) -> FsResult<Arc<dyn FileData>> {
        let (allocation, size) = (&record.allocation, record.size());
        if let Some(line) = contradiction(record) {
            note(code::EXFAT_SIZES, &line);
            return Err(FsError::corrupt(line));
        }
        let first = allocation.first_cluster;
        if size == 0 {
            if first != 0 {
                note(code::EXFAT_CHAIN_LONG, "file has the size 0, and a first cluster");
            }
            return Ok(Arc::new(BytesFile::new(Vec::new())));
        }
        let Clusters { mut extents, end } = self.volume.clusters(allocation, size)?;
        let teller = Teller { codes: &CHAIN_CODES, note, log: &self.log };
        teller.tell_end(end, extents.end(), size);
        let volume = (&self.claims, &self.volume.boot.heap);
        teller.keep_own(volume, (node, first), &mut extents, size)?;
        let extents = with_zeros_from(&extents, record.valid_length)?;
        Ok(Arc::new(ExtentFile::new(self.volume.reader.data.clone(), extents, size, size)?))
    }

    pub(super) fn describe(&self, node: NodeId, record: &FileRecord) -> Metadata {
        let is_directory = record.is_directory();
        let size = if is_directory { 0 } else { record.size() };
        let kind = if is_directory { FileKind::Directory } else { FileKind::Regular };
        let cluster = u64::from(self.volume.boot.heap.cluster_size);
        let refused = contradiction(record).filter(|_| !is_directory);
        Metadata {
            size,
            allocated: size.checked_next_multiple_of(cluster).unwrap_or(size),
            times: record.times(&self.options.time_zone),
            attributes: Some(Attributes(record.attributes())),
            unreadable: refused.map(|line| FsError::corrupt(line).kind()),
            ..Metadata::new(node, kind)
        }
    }
}

/// What the sizes of a file contradict each other in.
pub(super) fn contradiction(record: &FileRecord) -> Option<String> {
    let (size, valid) = (record.size(), record.valid_length);
    if valid > size {
        return Some(format!("file has {size} bytes, and {valid} of them are valid"));
    }
    let lacks_clusters = !record.allocation.is_possible && size > 0;
    lacks_clusters.then(|| format!("file has {size} bytes, and is marked as one without clusters"))
}

/// The same run list; what lies on the volume from the byte `valid` on was never written.
pub(super) fn with_zeros_from(extents: &Extents, valid: u64) -> FsResult<Extents> {
    if valid >= extents.end() {
        return Ok(extents.clone());
    }
    let mut cut = Extents::default();
    while let Some((place, length)) = extents.at(cut.end()) {
        let written = valid.saturating_sub(cut.end()).min(length);
        if place.offset().is_some() {
            cut.push(place, written)?;
            cut.push(Place::Unwritten, length.saturating_sub(written))?;
        } else {
            cut.push(place, length)?;
        }
    }
    Ok(cut)
}

/// Tells how large the volume is, and what its flags say.
fn note_state(volume: &Volume, findings: &mut Vec<Finding>) {
    let (boot, device_size) = (&volume.boot, volume.reader.data.size());
    if boot.size > device_size {
        let line = format!("file system has {} bytes, its volume only {device_size}", boot.size);
        findings.push(Finding::warning(code::EXFAT_TRUNCATED, line));
    }
    if boot.flags.is_dirty() {
        findings.push(Finding::warning(code::EXFAT_DIRTY, "volume was not closed cleanly"));
    }
    if boot.flags.has_media_failure() {
        let line = "volume is marked as one whose disk failed";
        findings.push(Finding::warning(code::EXFAT_MEDIA_FAILURE, line));
    }
}

/// The up-case table; where it is damaged, what holds for every volume.
fn open_upcase(volume: &Volume, system: &System, findings: &mut Vec<Finding>) -> Upcase {
    let missing = || FsError::corrupt("root directory does not name it");
    let opened = system.upcase.as_ref().ok_or_else(missing).and_then(|entry| volume.upcase(entry));
    opened.unwrap_or_else(|error| {
        let line = format!("up-case table cannot be used: {error}");
        findings.push(Finding::warning(code::EXFAT_UPCASE, line));
        Upcase::given()
    })
}

/// The bitmap that counts.
fn open_bitmap(volume: &Volume, system: &System, findings: &mut Vec<Finding>) -> Option<Bitmap> {
    let is_second = volume.boot.tables == 2 && volume.boot.flags.active() == 1;
    let entry = system.bitmaps.get(usize::from(is_second)).and_then(Option::as_ref);
    let missing = || FsError::corrupt("root directory does not name it");
    match entry.ok_or_else(missing).and_then(|entry| Bitmap::open(volume, entry)) {
        Ok(bitmap) => Some(bitmap),
        Err(error) => {
            let line = format!("allocation bitmap cannot be used: {error}");
            findings.push(Finding::warning(code::EXFAT_BITMAP, line));
            None
        }
    }
}
