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
use crate::clusters::finding::{ENTRY, finding_of};
use crate::clusters::set::ClusterSet;
use crate::error::{FsError, FsErrorKind, FsResult, Reason};
use crate::extents::{BytesFile, ExtentFile, Extents};
use crate::node::{Deleted, FileData, NodeId};
use crate::wtf8;

/// LIMIT: how deep directories may lie.
const MAX_DEPTH: usize = 256;
/// LIMIT: clusters that are looked at to see whether they are free, for all files of a volume together.
const MAX_LOOKS: u64 = 1 << 33;

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

/// A directory that is looked into.
enum Place {
    Living(NodeId),
    /// It was deleted, and these were its clusters.
    Deleted(Extents),
}

/// What a walk for deleted files knows.
struct Walk<'a> {
    files: &'a Exfat,
    looks: u64,
    /// The clusters of the deleted directories that were met.
    met: ClusterSet,
    /// The living directories that were met.
    entered: HashSet<NodeId>,
    ahead: Vec<(Vec<Vec<u8>>, Place)>,
}

impl Walk<'_> {
    /// Gives the deleted entries of the directory `here` at `path` to `visit`, and keeps the directories in it.
    fn step(
        &mut self,
        path: &[Vec<u8>],
        here: Place,
        visit: &mut dyn FnMut(Deleted) -> ControlFlow<()>,
    ) -> FsResult<ControlFlow<()>> {
        let is_deleted = matches!(here, Place::Deleted(_));
        let extents = match here {
            Place::Living(dir) => {
                let directory = self.files.directory(dir)?;
                self.keep_living(path, &directory);
                directory.extents.clone()
            }
            Place::Deleted(extents) => extents,
        };
        let mut bytes = vec![0; bytes_to_index(extents.end().min(MAX_DIRECTORY))?];
        extents.read(self.files.volume.metadata(), 0, &mut bytes)?;
        let (entries, _) = bytes.as_chunks::<ENTRY>();
        for found in parse(entries, is_deleted) {
            let Some(position) = extents.position(found.offset) else { continue };
            let node = NodeId(position.checked_div(byte_count(ENTRY)).unwrap_or(0));
            self.files.remember_split(node, &extents, found.offset, found.length)?;
            let mut own = path.to_vec();
            own.push(wtf8::encode(found.set.name.iter().copied()));
            let deleted = self.describe(node, &found.set.record, &own)?;
            if visit(Deleted { path: own, ..deleted }).is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    fn keep_living(&mut self, path: &[Vec<u8>], directory: &Directory) {
        let listing = &directory.listing;
        for file in listing.files.iter().filter(|file| file.record.is_directory()) {
            if let Some(node) = directory.node(file)
                && path.len() < MAX_DEPTH
                && self.entered.insert(node)
            {
                let own = path.iter().cloned().chain([listing.name(file).to_vec()]).collect();
                self.ahead.push((own, Place::Living(node)));
            }
        }
    }

    /// What is left of what was deleted and has `record` and `path`; a directory is kept if it can be looked into.
    fn describe(
        &mut self,
        node: NodeId,
        record: &FileRecord,
        path: &[Vec<u8>],
    ) -> FsResult<Deleted> {
        let mut metadata = self.files.describe(node, record);
        let mut places = Vec::new();
        let count = record.size().div_ceil(self.files.info.cluster_size.into());
        self.looks =
            self.looks.saturating_add(count.min(self.files.volume.boot.heap.clusters.into()));
        if self.looks > MAX_LOOKS {
            return Err(FsError::unsupported("deleted files have too many clusters to look at"));
        }
        match self.files.free_extents(record) {
            Ok(mut extents) => {
                places = runs_of(&extents);
                if record.is_directory() && path.len() < MAX_DEPTH {
                    let other = self.met.take(&self.files.volume.boot.heap, &extents);
                    extents.truncate(other.unwrap_or(u64::MAX));
                    if extents.end() > 0 {
                        self.ahead.push((path.to_vec(), Place::Deleted(extents)));
                    }
                }
            }
            Err(error) => match error.kind() {
                kind @ (FsErrorKind::Undecodable(_) | FsErrorKind::Corrupt) => {
                    if !record.is_directory() {
                        metadata.unreadable.get_or_insert(kind);
                    }
                }
                _ => return Err(error),
            },
        }
        Ok(Deleted { path: Vec::new(), metadata, places })
    }
}

/// The bytes of the volume that `extents` have.
fn runs_of(extents: &Extents) -> Vec<Range<u64>> {
    let mut runs = Vec::new();
    let mut offset = 0_u64;
    while let Some((place, length)) = extents.at(offset) {
        runs.extend(place.offset().map(|start| start..start.saturating_add(length)));
        offset = offset.saturating_add(length);
    }
    runs
}

impl Exfat {
    /// Gives all that was deleted to `visit`.
    pub(super) fn each_deleted(
        &self,
        visit: &mut dyn FnMut(Deleted) -> ControlFlow<()>,
    ) -> FsResult<()> {
        self.bitmap()?;
        let met = ClusterSet::new(&self.volume.boot.heap)?;
        let ahead = vec![(Vec::new(), Place::Living(ROOT))];
        let mut walk = Walk { files: self, looks: 0, met, entered: HashSet::new(), ahead };
        while let Some((path, here)) = walk.ahead.pop() {
            match walk.step(&path, here, visit) {
                Ok(ControlFlow::Continue(())) => {}
                Ok(ControlFlow::Break(())) => break,
                Err(error) if error.kind() == FsErrorKind::Unsupported => return Err(error),
                Err(error) => {
                    let name = path.last().map_or(&b"root directory"[..], |name| name);
                    let line = format!("not looked into for deleted files: {error}");
                    let name = String::from_utf8_lossy(name);
                    self.log.add(finding_of(ROOT, &name, code::EXFAT_DIRECTORY, &line));
                }
            }
        }
        Ok(())
    }

    /// The clusters that a deleted file had, if all of them are free.
    ///
    /// # Errors
    /// `Undecodable` if they are not known, or one is in use.
    fn free_extents(&self, record: &FileRecord) -> FsResult<Extents> {
        let size = record.size();
        if size == 0 {
            return Ok(Extents::default());
        }
        let Clusters { extents, end } = self.volume.clusters(&record.allocation, size)?;
        let is_one = size <= self.info.cluster_size.into();
        let is_known =
            end == ChainEnd::Whole(Link::End) || is_one && matches!(end, ChainEnd::Whole(_));
        if !is_known {
            return Err(FsError::undecodable(Reason::PLACE_LOST));
        }
        let (heap, bitmap) = (&self.volume.boot.heap, self.bitmap()?);
        for run in runs_of(&extents) {
            let ends = [run.start, run.end].map(|position| heap.cluster_at(position));
            let clusters = ends[0].unwrap_or(0)..ends[1].unwrap_or(0);
            if bitmap.has_used(self.volume.metadata(), clusters)? {
                return Err(FsError::undecodable(Reason::OVERWRITTEN));
            }
        }
        Ok(extents)
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
