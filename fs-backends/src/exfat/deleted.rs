//! Deleted files of exFAT.
//!
//! Who deletes a file clears the bit `InUse` of its entries and frees its clusters in the bitmap. All else stays, the
//! checksum of the set too, which is that of the entries in use. Of a chain some writers clear the table; then the
//! place is lost, but for a file of one cluster.

use std::collections::HashSet;
use std::ops::{ControlFlow, Range};
use std::sync::Arc;

use volfold_block::{byte_count, bytes_to_index, code};

use super::directory::Directory;
use super::entry::{Entry, EntryType, in_use, is_in_use};
use super::mounted::{Exfat, ROOT, contradiction, with_zeros_from};
use super::record::{FileRecord, FileSet, MAX_DIRECTORY, MAX_SET};
use super::volume::Clusters;
use crate::clusters::chain::{ChainEnd, Link};
use crate::clusters::dig::{Ahead, Digger, MAX_FOUND, Place, dig};
use crate::clusters::finding::ENTRY;
use crate::clusters::set::ClusterSet;
use crate::error::{FsError, FsErrorKind, FsResult, Reason};
use crate::extents::{BytesFile, ExtentFile, Extents};
use crate::node::{Deleted, DeletedIn, FileData, LivingPath, NodeId};
use crate::owners::Owners;
use crate::wtf8;

/// A set that was deleted.
struct Found {
    /// Where it begins, in the directory.
    offset: u64,
    /// The bytes of its entries.
    length: u64,
    set: FileSet,
}

/// The deleted sets of a directory that has these `entries`; if the directory itself `is_deleted`, all of them.
fn parse(entries: &[Entry], is_deleted: bool) -> Vec<Found> {
    let mut found = Vec::new();
    let (mut rest, mut offset) = (entries, 0_u64);
    while let Some((primary, later)) = rest.split_first() {
        if primary[0] == 0 {
            break;
        }
        let set = set_of(primary, later, is_deleted);
        let count = set.as_ref().map_or(1, |(count, _)| *count);
        let length = byte_count(count.saturating_mul(ENTRY));
        if let Some((_, set)) = set {
            found.push(Found { offset, length, set });
        }
        rest = rest.get(count..).unwrap_or_default();
        offset = offset.saturating_add(length);
    }
    found
}

/// The whole set that `primary` begins, and how many entries it has; they may be in use if their directory
/// `is_deleted`.
fn set_of(primary: &Entry, later: &[Entry], is_deleted: bool) -> Option<(usize, FileSet)> {
    let may_be = |entry: &Entry| is_deleted || !is_in_use(entry);
    if EntryType::of(primary) != EntryType::FILE || !may_be(primary) {
        return None;
    }
    let secondaries = later.get(..usize::from(primary[1]))?;
    if secondaries.len() >= MAX_SET || !secondaries.iter().all(may_be) {
        return None;
    }
    let secondaries: Vec<Entry> = secondaries.iter().map(in_use).collect();
    let set = FileSet::parse(&in_use(primary), &secondaries).ok()?;
    Some((secondaries.len().saturating_add(1), set))
}

/// What a walk for deleted files knows.
struct Walk<'a> {
    files: &'a Exfat,
    owners: Owners,
    /// Clusters that may still be followed through the table.
    looks: u64,
    /// The clusters of the deleted directories that were met.
    met: ClusterSet,
    /// The living directories that were met.
    entered: HashSet<NodeId>,
    ahead: Ahead<Extents>,
    found: Vec<(DeletedIn, NodeId, FileSet)>,
    /// What tells one file from another: one that was renamed or moved has left more than one set.
    known: HashSet<(u32, bool, u64, i64, Option<i64>)>,
}

impl Digger for Walk<'_> {
    /// The clusters.
    type Gone = Extents;

    fn ahead(&mut self) -> &mut Ahead<Extents> {
        &mut self.ahead
    }

    fn look_into(&mut self, here: &Place<Extents>, depth: usize) -> FsResult<()> {
        let (is_deleted, parent, extents) = match here {
            Place::Living(dir, path) => {
                let directory = self.files.directory(*dir)?;
                self.keep_living(path, depth, &directory)?;
                (false, DeletedIn::Living(path.clone()), directory.extents.clone())
            }
            Place::Deleted(dir, extents) => (true, DeletedIn::Deleted(*dir), extents.clone()),
        };
        let mut bytes = vec![0; bytes_to_index(extents.end().min(MAX_DIRECTORY))?];
        extents.read(self.files.volume.metadata(), 0, &mut bytes)?;
        let (entries, _) = bytes.as_chunks::<ENTRY>();
        for found in parse(entries, is_deleted) {
            let Some(position) = extents.position(found.offset) else { continue };
            let node = NodeId(position.checked_div(byte_count(ENTRY)).unwrap_or(0));
            self.files.remember_split(node, &extents, found.offset, found.length)?;
            self.claim_deleted(node, &found.set.record, depth)?;
            if self.found.len() >= MAX_FOUND {
                return Err(FsError::unsupported("volume has more deleted entries than are shown"));
            }
            self.found.push((parent.clone(), node, found.set));
        }
        Ok(())
    }
}

impl Walk<'_> {
    /// Takes the clusters of the files in a directory that is there, and keeps the directories.
    fn keep_living(
        &mut self,
        path: &LivingPath,
        depth: usize,
        directory: &Directory,
    ) -> FsResult<()> {
        self.take(&directory.extents, false)?;
        for file in &directory.listing.files {
            if let Some(clusters) = self.clusters(&file.record)? {
                self.take(&clusters.extents, false)?;
            }
            if file.record.is_directory()
                && let Some(node) = directory.node(file)
                && self.entered.insert(node)
            {
                let below = path.join(directory.listing.name(file));
                self.ahead.push(Place::Living(node, below), depth);
            }
        }
        Ok(())
    }

    /// The clusters of the file with `record`, as far as they are known; `None` if they cannot be.
    fn clusters(&mut self, record: &FileRecord) -> FsResult<Option<Clusters>> {
        let heap = &self.files.volume.boot.heap;
        let count = record.size().div_ceil(heap.cluster_size.into()).min(heap.clusters.into());
        if count == 0 || !heap.has_cluster(record.allocation.first_cluster) {
            return Ok(None);
        }
        let (volume, looks) = (&self.files.volume, &mut self.looks);
        volume.clusters_within(looks, &record.allocation, record.size()).map(Some)
    }

    fn take(&mut self, extents: &Extents, is_deleted: bool) -> FsResult<()> {
        for clusters in self.files.clusters_of(extents) {
            match is_deleted {
                true => self.owners.take_deleted(&clusters)?,
                false => self.owners.take(&clusters)?,
            }
        }
        Ok(())
    }

    /// Takes the clusters that the deleted file with `record` had; a directory is kept if it can be looked into.
    fn claim_deleted(&mut self, node: NodeId, record: &FileRecord, depth: usize) -> FsResult<()> {
        let times = record.times(&self.files.options.time_zone);
        let created = times.created.map(|created| created.seconds);
        let (first, is_contiguous) =
            (record.allocation.first_cluster, record.allocation.is_contiguous);
        if !self.known.insert((
            first,
            is_contiguous,
            record.size(),
            times.modified.seconds,
            created,
        )) {
            return Ok(());
        }
        let Some(clusters) = self.clusters(record)? else { return Ok(()) };
        self.take(&clusters.extents, true)?;
        if record.is_directory() && Ahead::<Extents>::goes_below(depth) {
            let mut extents = clusters.extents;
            let other = self.met.take(&self.files.volume.boot.heap, &extents);
            extents.truncate(other.unwrap_or(u64::MAX));
            if extents.end() > 0 && self.files.are_free(&extents)? {
                self.ahead.push(Place::Deleted(node, extents), depth);
            }
        }
        Ok(())
    }

    /// Whether nobody else has the clusters of the deleted file with `record`.
    ///
    /// # Errors
    /// `Undecodable` if somebody has, or they are not known.
    fn is_left(&mut self, record: &FileRecord) -> FsResult<()> {
        let extents = self.files.place_of_deleted(&mut self.looks, record)?;
        for clusters in self.files.clusters_of(&extents) {
            if !self.owners.are_of_one(&clusters)? {
                return Err(FsError::undecodable(Reason::OVERWRITTEN));
            }
        }
        Ok(())
    }
}

impl Exfat {
    /// Gives all that was deleted to `visit`.
    pub(super) fn each_deleted(
        &self,
        visit: &mut dyn FnMut(Deleted) -> ControlFlow<()>,
    ) -> FsResult<u64> {
        let heap = &self.volume.boot.heap;
        let mut owners = Owners::new(heap.end_within(self.volume.reader.data.size()))?;
        self.bitmap()?.scan(self.volume.metadata(), |cluster, is_used| {
            if is_used {
                owners.take_word(u64::from(cluster / 64), 1_u64.rotate_left(cluster));
            }
        })?;
        let mut walk = Walk {
            files: self,
            owners,
            looks: u64::from(heap.clusters).saturating_mul(8).saturating_add(1 << 20),
            met: ClusterSet::new(heap)?,
            entered: HashSet::new(),
            ahead: Ahead::from(ROOT),
            found: Vec::new(),
            known: HashSet::new(),
        };
        for extents in self.system_extents() {
            walk.take(&extents, false)?;
        }
        dig(&mut walk, &self.log, code::EXFAT_DIRECTORY)?;
        for (parent, node, set) in std::mem::take(&mut walk.found) {
            let mut metadata = self.describe(node, &set.record);
            if !set.record.is_directory() && metadata.unreadable.is_none() {
                match walk.is_left(&set.record) {
                    Ok(()) => {}
                    Err(error) if error.kind() == FsErrorKind::Unsupported => return Err(error),
                    Err(error) => metadata.unreadable = Some(error.kind()),
                }
            }
            let name = wtf8::encode(set.name.iter().copied());
            if visit(Deleted { parent, name, metadata }).is_break() {
                break;
            }
        }
        Ok(0)
    }

    /// The clusters of the bitmaps and of the up-case table, as far as they are known.
    fn system_extents(&self) -> Vec<Extents> {
        let system = self.volume.system().unwrap_or_default();
        let parts = system.bitmaps.iter().flatten().chain(&system.upcase);
        parts.filter_map(|part| self.volume.part(part).ok()).collect()
    }

    /// The clusters in `extents`.
    fn clusters_of(&self, extents: &Extents) -> Vec<Range<u64>> {
        let heap = &self.volume.boot.heap;
        let run = |(start, length): (u64, u64)| {
            let first = u64::from(heap.cluster_at(start)?);
            Some(first..first.saturating_add(length.div_ceil(heap.cluster_size.into())))
        };
        extents.places().filter_map(run).collect()
    }

    /// The clusters that a deleted file had.
    ///
    /// # Errors
    /// `Undecodable` if they are not known.
    fn place_of_deleted(&self, looks: &mut u64, record: &FileRecord) -> FsResult<Extents> {
        let size = record.size();
        if size == 0 {
            return Ok(Extents::default());
        }
        let Clusters { extents, end } =
            self.volume.clusters_within(looks, &record.allocation, size)?;
        let is_one = size <= self.info.cluster_size.into();
        let is_known =
            end == ChainEnd::Whole(Link::End) || is_one && matches!(end, ChainEnd::Whole(_));
        if is_known { Ok(extents) } else { Err(FsError::undecodable(Reason::PLACE_LOST)) }
    }

    /// Whether the bitmap says that all clusters in `extents` are free.
    fn are_free(&self, extents: &Extents) -> FsResult<bool> {
        let bitmap = self.bitmap()?;
        for run in self.clusters_of(extents) {
            let ends =
                [run.start, run.end].map(|cluster| u32::try_from(cluster).unwrap_or(u32::MAX));
            if bitmap.has_used(self.volume.metadata(), ends[0]..ends[1])? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The same, if all of them are free.
    ///
    /// # Errors
    /// As [`Self::place_of_deleted`]; `Undecodable` if one is in use.
    fn free_extents(&self, record: &FileRecord) -> FsResult<Extents> {
        let extents = self.place_of_deleted(&mut { u64::MAX }, record)?;
        match self.are_free(&extents)? {
            true => Ok(extents),
            false => Err(FsError::undecodable(Reason::OVERWRITTEN)),
        }
    }

    /// The content of the deleted file whose entries are at `node`.
    pub(super) fn deleted_content(&self, node: NodeId) -> FsResult<Arc<dyn FileData>> {
        let entries = self.entries(node)?;
        let (primary, later) = entries.split_first().ok_or_else(FsError::not_found)?;
        let (_, set) = set_of(primary, later, true).ok_or_else(FsError::not_found)?;
        let record = &set.record;
        if record.is_directory() {
            return Err(FsError::is_a_directory());
        }
        if let Some(line) = contradiction(record) {
            return Err(FsError::corrupt(line));
        }
        let (size, extents) = (record.size(), self.free_extents(record)?);
        if size == 0 {
            return Ok(Arc::new(BytesFile::new(Vec::new())));
        }
        let extents = with_zeros_from(&extents, record.valid_length)?;
        Ok(Arc::new(ExtentFile::new(self.volume.reader.data.clone(), extents, size, size)?))
    }
}
