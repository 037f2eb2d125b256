//! Deleted files of FAT.
//!
//! Who deletes a file writes 0xE5 over the first byte of its entry and of the parts of its long name, and marks its
//! clusters as free in the table. What is lost are the first letter of the short name, which the checksum in the long
//! name gives back, and the chain: the clusters are taken for those after the first, one after the other, if
//! all of them are free. Windows also writes 0 over the upper half of the first cluster on FAT32; where a volume is so
//! large that the half matters, 0 says nothing.

use std::collections::HashSet;
use std::ops::{ControlFlow, Range};
use std::sync::Arc;

use volfold_block::{byte_count, bytes_to_index, code};

use super::dir::{LONG_NAME, LongName, MAX_DIRECTORY, PART, RawEntry, part_of_long_name};
use super::mounted::{FatFileSystem, Opened, ROOT};
use super::names;
use super::table::Table;
use crate::clusters::finding::{ENTRY, finding_of};
use crate::clusters::set::ClusterSet;
use crate::code_page::CodePage;
use crate::error::{FsError, FsErrorKind, FsResult, Reason};
use crate::extents::{BytesFile, ExtentFile, Extents, Place};
use crate::node::{Deleted, FileData, NodeId};
use crate::wtf8;

/// What stands for a first letter that is lost.
const LOST_LETTER: u8 = b'_';
/// LIMIT: how deep directories may lie.
const MAX_DEPTH: usize = 256;
/// LIMIT: clusters that are looked at to see whether they are free, for all files of a volume together.
const MAX_LOOKS: u64 = 1 << 33;

/// An entry that was deleted.
struct Found {
    /// Where it begins, in the directory.
    offset: u64,
    raw: RawEntry,
    /// WTF-8.
    name: Vec<u8>,
}

/// The deleted entries of a directory that has these `bytes`; if the directory itself `is_deleted`, all of them.
fn parse(bytes: &[u8], page: CodePage, is_deleted: bool) -> Vec<Found> {
    let mut found = Vec::new();
    // Parts of a deleted long name, as they stand: the last one first.
    let mut parts: Vec<([u16; PART], u8)> = Vec::new();
    let mut long = LongName::default();
    let (entries, _) = bytes.as_chunks::<ENTRY>();
    for (entry, offset) in entries.iter().zip((0..).step_by(ENTRY)) {
        let is_part = entry[0x0B] == LONG_NAME;
        match entry[0] {
            0 => break,
            RawEntry::DELETED if is_part => parts.extend(part_of_long_name(entry)),
            RawEntry::DELETED => {
                if let Some(raw) = RawEntry::parse_deleted(entry) {
                    let name = name_of(&raw, page, &parts);
                    found.push(Found { offset, raw, name });
                }
                parts.clear();
                long = LongName::default();
            }
            _ if is_part => {
                parts.clear();
                long.add(entry);
            }
            _ => {
                parts.clear();
                let long = std::mem::take(&mut long);
                if let Some(raw) = RawEntry::parse(entry).filter(|raw| is_deleted && !raw.is_dots())
                {
                    let name = long.finish(raw.raw_name()).unwrap_or_else(|| raw.short_units(page));
                    found.push(Found { offset, raw, name: wtf8::encode(name) });
                }
            }
        }
    }
    found
}

/// The long name that `parts` have for the deleted `raw`, or its short name without the first letter.
fn name_of(raw: &RawEntry, page: CodePage, parts: &[([u16; PART], u8)]) -> Vec<u8> {
    let mut short = *raw.raw_name();
    let sum = parts.last().map(|(_, sum)| *sum);
    // Each first letter gives another checksum, so one is right; it need not be one of a name.
    let letter = sum.and_then(|sum| {
        (0x21..=0xFF).chain([0x05]).find(|letter| {
            short[0] = *letter;
            names::checksum(&short) == sum
        })
    });
    if let (Some(_), Some(sum)) = (letter, sum) {
        let own = parts.iter().rev().take_while(|(_, own)| *own == sum);
        let units: Vec<u16> = own.flat_map(|(units, _)| units).copied().collect();
        let end = units.iter().position(|unit| *unit == 0).unwrap_or(units.len());
        let name = units.get(..end).unwrap_or_default();
        let is_whole = end < units.len() || has_extension_of(name, &short);
        if !name.is_empty() && end.saturating_add(PART) > units.len() && is_whole {
            return wtf8::encode(name.iter().copied());
        }
    }
    short[0] = LOST_LETTER;
    wtf8::encode(raw.short_units_of(&short, page))
}

/// Whether the long `name` ends as it has to for the short name `raw`: one that fills its parts, and has no end
/// mark, may go on in a part that was overwritten.
fn has_extension_of(name: &[u16], raw: &[u8; 11]) -> bool {
    let dot = name.iter().rposition(|unit| *unit == u16::from(b'.'));
    let long = dot.and_then(|dot| name.get(dot.saturating_add(1)..)).unwrap_or_default();
    let long = long.iter().filter(|unit| **unit != u16::from(b' ')).take(3);
    let (_, short) = raw.split_at(8);
    let short = short.iter().take_while(|byte| **byte != b' ');
    let is_alike = |(unit, byte): (&u16, &u8)| {
        let letter = u8::try_from(*unit).ok().filter(u8::is_ascii_alphanumeric);
        letter.is_none_or(|letter| letter.to_ascii_uppercase() == *byte)
    };
    long.clone().count() == short.clone().count() && long.zip(short).all(is_alike)
}

/// A directory that is looked into.
enum Directory {
    Living(NodeId),
    /// It was deleted, and this was its first cluster.
    Deleted(u32),
}

/// What a walk for deleted files knows.
struct Walk<'a> {
    files: &'a FatFileSystem,
    used: ClusterSet,
    looks: u64,
    /// The first clusters of the deleted directories that were met.
    met: HashSet<u32>,
    ahead: Vec<(Vec<Vec<u8>>, Directory)>,
}

impl Walk<'_> {
    /// Gives the deleted entries of the directory `here` at `path` to `visit`, and keeps the directories in it.
    fn step(
        &mut self,
        path: &[Vec<u8>],
        here: &Directory,
        visit: &mut dyn FnMut(Deleted) -> ControlFlow<()>,
    ) -> FsResult<ControlFlow<()>> {
        let is_deleted = matches!(here, Directory::Deleted(_));
        let (bytes, extents) = match here {
            Directory::Living(dir) => {
                let opened = self.files.opened(*dir)?;
                self.keep_living(path, &opened);
                let mut bytes = vec![0; bytes_to_index(opened.extents.end().min(MAX_DIRECTORY))?];
                opened.extents.read(&*self.files.reader.metadata, 0, &mut bytes)?;
                (bytes, opened.extents.clone())
            }
            Directory::Deleted(first) => {
                let size = u64::from(self.files.boot.cluster_size);
                let mut extents = Extents::default();
                extents.push(Place::At(self.files.boot.heap().position(*first)?), size)?;
                let mut bytes = vec![0; bytes_to_index(size)?];
                extents.read(&*self.files.reader.metadata, 0, &mut bytes)?;
                (bytes, extents)
            }
        };
        for found in parse(&bytes, self.files.options.code_page, is_deleted) {
            let Some(position) = extents.position(found.offset) else { continue };
            let node = NodeId(position.checked_div(byte_count(ENTRY)).unwrap_or(0));
            let mut own = path.to_vec();
            own.push(found.name);
            let deleted = self.describe(node, &found.raw, &own)?;
            if visit(Deleted { path: own, ..deleted }).is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    fn keep_living(&mut self, path: &[Vec<u8>], opened: &Opened) {
        for entry in opened.listing.entries.iter().filter(|entry| entry.raw.is_directory()) {
            if let Some(node) = opened.node(entry.offset)
                && path.len() < MAX_DEPTH
            {
                let own = path.iter().cloned().chain([entry.name.to_vec()]).collect();
                self.ahead.push((own, Directory::Living(node)));
            }
        }
    }

    /// What is left of the deleted `raw`, whose path is `path`; a directory is kept if it can be looked into.
    fn describe(&mut self, node: NodeId, raw: &RawEntry, path: &[Vec<u8>]) -> FsResult<Deleted> {
        let files = self.files;
        let boot = &files.boot;
        let mut metadata = files.describe(node, raw);
        let mut places = Vec::new();
        if raw.is_directory() {
            // The upper half may be lost, but a directory names its first cluster itself.
            let low = raw.first_cluster(files.is_fat32());
            let halves = if low <= 0xFFFF && files.is_fat32() {
                boot.heap().all_clusters().end >> 16
            } else {
                0
            };
            self.looks = self.looks.saturating_add(u64::from(halves) << 16);
            let first = (0..=halves).map(|half| half << 16 | low).find(|first| {
                boot.heap().has_cluster(*first)
                    && !self.used.has(*first)
                    && files.is_directory_at(*first)
            });
            if let Some(first) = first
                && path.len() < MAX_DEPTH
                && self.met.insert(first)
            {
                let start = boot.heap().position(first)?;
                places.push(start..start.saturating_add(boot.cluster_size.into()));
                self.ahead.push((path.to_vec(), Directory::Deleted(first)));
            }
        } else {
            match files.place_of_deleted(raw) {
                Ok(clusters) => {
                    self.looks = self.looks.saturating_add(byte_count(clusters.len()));
                    if self.looks > MAX_LOOKS {
                        return Err(FsError::unsupported(
                            "deleted files have too many clusters to look at",
                        ));
                    }
                    if clusters.clone().any(|cluster| self.used.has(cluster)) {
                        metadata.unreadable = Some(FsErrorKind::Undecodable(Reason::OVERWRITTEN));
                    } else if !clusters.is_empty() {
                        places.push(files.bytes_of(&clusters)?);
                    }
                }
                Err(error) => metadata.unreadable = Some(error.kind()),
            }
        }
        Ok(Deleted { path: Vec::new(), metadata, places })
    }
}

impl FatFileSystem {
    /// Gives all that was deleted to `visit`.
    pub(super) fn each_deleted(
        &self,
        visit: &mut dyn FnMut(Deleted) -> ControlFlow<()>,
    ) -> FsResult<()> {
        let mut used = ClusterSet::new(&self.boot.heap())?;
        let table = Table::both(&*self.reader.metadata, &self.boot, &self.compared);
        table.scan(|cluster, entry, other| {
            if entry != 0 || other.is_some_and(|other| other != 0) {
                used.insert(cluster);
            }
        })?;
        let ahead = vec![(Vec::new(), Directory::Living(ROOT))];
        let mut walk = Walk { files: self, used, looks: 0, met: HashSet::new(), ahead };
        while let Some((path, here)) = walk.ahead.pop() {
            match walk.step(&path, &here, visit) {
                Ok(ControlFlow::Continue(())) => {}
                Ok(ControlFlow::Break(())) => break,
                Err(error) if error.kind() == FsErrorKind::Unsupported => return Err(error),
                Err(error) => {
                    let name = path.last().map_or(&b"root directory"[..], |name| name);
                    let line = format!("not looked into for deleted files: {error}");
                    let name = String::from_utf8_lossy(name);
                    self.log.add(finding_of(ROOT, &name, code::FAT_DIRECTORY, &line));
                }
            }
        }
        Ok(())
    }

    /// The clusters that the deleted file `raw` had, if it had one after the other.
    ///
    /// # Errors
    /// `Undecodable` if they are not known.
    fn place_of_deleted(&self, raw: &RawEntry) -> FsResult<Range<u32>> {
        let lost = || FsError::undecodable(Reason::PLACE_LOST);
        let count = raw.size().div_ceil(self.boot.cluster_size.into());
        let count = u32::try_from(count).map_err(|_| lost())?;
        if count == 0 {
            return Ok(0..0);
        }
        let first = raw.first_cluster(self.is_fat32());
        let all = self.boot.heap().all_clusters();
        let may_be_cut = self.is_fat32() && first <= 0xFFFF && all.end > 0x1_0000;
        let end = first.checked_add(count).filter(|end| *end <= all.end);
        match end {
            Some(end) if first >= all.start && !may_be_cut => Ok(first..end),
            _ => Err(lost()),
        }
    }

    fn bytes_of(&self, clusters: &Range<u32>) -> FsResult<Range<u64>> {
        let start = self.boot.heap().position(clusters.start)?;
        let length = byte_count(clusters.len()).saturating_mul(self.boot.cluster_size.into());
        Ok(start..start.saturating_add(length))
    }

    /// The content of the deleted file whose entry is `node`.
    pub(super) fn deleted_content(&self, node: NodeId) -> FsResult<Arc<dyn FileData>> {
        let raw = RawEntry::any(&self.entry_bytes(node)?).ok_or_else(FsError::not_found)?;
        let clusters = self.place_of_deleted(&raw)?;
        if clusters.is_empty() {
            return Ok(Arc::new(BytesFile::new(Vec::new())));
        }
        let mut table = Table::both(&*self.reader.metadata, &self.boot, &self.compared);
        for cluster in clusters.clone() {
            if !table.is_free(cluster)? {
                return Err(FsError::undecodable(Reason::OVERWRITTEN));
            }
        }
        let place = self.bytes_of(&clusters)?;
        let mut extents = Extents::default();
        extents.push(Place::At(place.start), place.end.saturating_sub(place.start))?;
        let (data, size) = (self.reader.data.clone(), raw.size());
        Ok(Arc::new(ExtentFile::new(data, extents, size, size)?))
    }
}
