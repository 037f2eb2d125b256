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
use crate::clusters::chain::Link;
use crate::clusters::dig::{Ahead, Digger, MAX_FOUND, Place, dig};
use crate::clusters::finding::ENTRY;
use crate::code_page::CodePage;
use crate::error::{FsError, FsErrorKind, FsResult, Reason};
use crate::extents::{self, BytesFile, ExtentFile, Extents};
use crate::node::{Deleted, DeletedIn, FileData, LivingPath, NodeId};
use crate::owners::{Owners, too_many_clusters};
use crate::wtf8;

/// What stands for a first letter that is lost.
const LOST_LETTER: u8 = b'_';
/// LIMIT: clusters that are looked at for the begins of deleted directories.
const MAX_HALVES: u64 = 1 << 20;

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

/// What a short name may begin with.
fn letters_of_short_names() -> impl Iterator<Item = u8> {
    let is_never =
        |letter: &u8| letter.is_ascii_lowercase() || b"\"*+,./:;<=>?[\\]|\x7F\xE5".contains(letter);
    (0x21..=0xFF).chain([0x05]).filter(move |letter| !is_never(letter))
}

/// The long name that `parts` have for the deleted `raw`, or its short name without the first letter.
fn name_of(raw: &RawEntry, page: CodePage, parts: &[([u16; PART], u8)]) -> Vec<u8> {
    let mut short = *raw.raw_name();
    let sum = parts.last().map(|(_, sum)| *sum);
    // Each first letter gives another checksum, so one is right; it need not be one of a name.
    let letter = sum.and_then(|sum| {
        letters_of_short_names().find(|letter| {
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

/// What a walk for deleted files knows.
struct Walk<'a> {
    files: &'a FatFileSystem,
    table: Table<'a>,
    owners: Owners,
    /// Entries of the table that may still be looked at.
    looks: u64,
    /// Clusters that may still be looked at for the begin of a deleted directory.
    halves: u64,
    /// The first clusters of the deleted directories that were met.
    met: HashSet<u32>,
    ahead: Ahead<u32>,
    found: Vec<(DeletedIn, NodeId, RawEntry, Vec<u8>)>,
    /// What tells one file from another: first cluster, size, and times. One that was renamed or moved has left
    /// more than one entry.
    known: HashSet<(u32, u64, i64, Option<i64>)>,
}

impl Digger for Walk<'_> {
    /// The first cluster.
    type Gone = u32;

    fn ahead(&mut self) -> &mut Ahead<u32> {
        &mut self.ahead
    }

    fn look_into(&mut self, here: &Place<u32>, depth: usize) -> FsResult<()> {
        let files = self.files;
        let device = &*files.reader.metadata;
        let (is_deleted, parent, extents) = match here {
            Place::Living(dir, path) => {
                let opened = files.opened(*dir)?;
                self.keep_living(path, depth, &opened)?;
                (false, DeletedIn::Living(path.clone()), opened.extents.clone())
            }
            Place::Deleted(dir, first) => {
                let mut extents = Extents::default();
                let heap = &files.boot.heap();
                extents
                    .push(extents::Place::At(heap.position(*first)?), heap.cluster_size.into())?;
                (true, DeletedIn::Deleted(*dir), extents)
            }
        };
        let mut bytes = vec![0; bytes_to_index(extents.end().min(MAX_DIRECTORY))?];
        extents.read(device, 0, &mut bytes)?;
        for found in parse(&bytes, files.options.code_page, is_deleted) {
            let Some(position) = extents.position(found.offset) else { continue };
            let node = NodeId(position.checked_div(byte_count(ENTRY)).unwrap_or(0));
            self.claim_deleted(node, &found.raw, depth)?;
            if self.found.len() >= MAX_FOUND {
                return Err(FsError::unsupported("volume has more deleted entries than are shown"));
            }
            self.found.push((parent.clone(), node, found.raw, found.name));
        }
        Ok(())
    }
}

impl Walk<'_> {
    /// Takes the clusters of the files in a directory that is there, and keeps the directories.
    fn keep_living(&mut self, path: &LivingPath, depth: usize, opened: &Opened) -> FsResult<()> {
        for (start, length) in opened.extents.places() {
            if let (Some(first), Some(end)) =
                (self.cluster_at(start), self.cluster_at(start.saturating_add(length)))
            {
                self.owners.take(&(first.into()..end.into()))?;
            }
        }
        for entry in &opened.listing.entries {
            self.claim_living(&entry.raw)?;
            if entry.raw.is_directory()
                && let Some(node) = opened.node(entry.offset)
            {
                self.ahead.push(Place::Living(node, path.join(&*entry.name)), depth);
            }
        }
        Ok(())
    }

    fn cluster_at(&self, position: u64) -> Option<u32> {
        self.files.boot.heap().cluster_at(position)
    }

    /// Takes the clusters of `raw`, which is not deleted. Where its chain is lost, what comes after the last
    /// cluster that is known is taken for the rest.
    fn claim_living(&mut self, raw: &RawEntry) -> FsResult<()> {
        let files = self.files;
        let heap = &files.boot.heap();
        let mut cluster = raw.first_cluster(files.is_fat32());
        let count = raw.size().div_ceil(heap.cluster_size.into()).max(1);
        let mut left = count.min(heap.clusters.into());
        if !heap.has_cluster(cluster) {
            return Ok(());
        }
        let mut start = cluster;
        while left > 0 {
            self.looks = self.looks.checked_sub(1).ok_or_else(too_many_clusters)?;
            left = left.saturating_sub(1);
            let end = cluster.saturating_add(1);
            match self.table.next(cluster)? {
                Link::Next(next) if left > 0 => {
                    if next != end {
                        self.owners.take(&(start.into()..end.into()))?;
                        start = next;
                    }
                    cluster = next;
                }
                _ => return self.owners.take(&(start.into()..u64::from(end).saturating_add(left))),
            }
        }
        Ok(())
    }

    /// Takes the clusters that the deleted `raw` may have had; a directory is kept if it can be looked into.
    fn claim_deleted(&mut self, node: NodeId, raw: &RawEntry, depth: usize) -> FsResult<()> {
        let files = self.files;
        let heap = &files.boot.heap();
        let low = raw.first_cluster(files.is_fat32());
        if !raw.is_directory() {
            let count = raw.size().div_ceil(heap.cluster_size.into());
            let times = raw.times(&files.options.time_zone);
            let created = times.created.map(|created| created.seconds);
            let key = (low, raw.size(), times.modified.seconds, created);
            if heap.has_cluster(low) && self.known.insert(key) {
                let first = u64::from(low);
                self.owners.take_deleted(&(first..first.saturating_add(count)))?;
            }
            return Ok(());
        }
        // The upper half may be lost, but a directory names its first cluster itself.
        let halves =
            if low <= 0xFFFF && files.is_fat32() { heap.all_clusters().end >> 16 } else { 0 };
        for half in 0..=halves {
            // Where too many were looked for, a directory is listed, and not looked into.
            let Some(left) = self.halves.checked_sub(1) else { break };
            self.halves = left;
            let first = half << 16 | low;
            // One that is there was moved, and this entry left behind.
            let is_gone = heap.has_cluster(first) && self.table.is_free(first)?;
            if !is_gone || !files.is_directory_at(first) {
                continue;
            }
            if Ahead::<u32>::goes_below(depth) && self.met.insert(first) {
                self.owners.take_deleted(&(first.into()..u64::from(first).saturating_add(1)))?;
                self.ahead.push(Place::Deleted(node, first), depth);
            }
            break;
        }
        Ok(())
    }

    /// Whether nobody else has the clusters of the deleted `raw`.
    ///
    /// # Errors
    /// `Undecodable` if somebody has, or they are not known.
    fn is_left(&mut self, raw: &RawEntry) -> FsResult<()> {
        let clusters = self.files.place_of_deleted(raw)?;
        let (first, end) = (clusters.start.into(), clusters.end.into());
        match self.owners.are_of_one(&(first..end))? {
            true => Ok(()),
            false => Err(FsError::undecodable(Reason::OVERWRITTEN)),
        }
    }
}

impl FatFileSystem {
    /// Gives all that was deleted to `visit`.
    pub(super) fn each_deleted(
        &self,
        visit: &mut dyn FnMut(Deleted) -> ControlFlow<()>,
    ) -> FsResult<u64> {
        let heap = &self.boot.heap();
        let mut owners = Owners::new(heap.end_within(self.reader.data.size()))?;
        let table = || Table::both(&*self.reader.metadata, &self.boot, &self.compared);
        table().scan(|cluster, entry, other| {
            if entry != 0 || other.is_some_and(|other| other != 0) {
                owners.take_word(u64::from(cluster / 64), 1_u64.rotate_left(cluster));
            }
        })?;
        let mut walk = Walk {
            files: self,
            table: table(),
            owners,
            looks: u64::from(heap.clusters).saturating_mul(4).saturating_add(1 << 20),
            halves: MAX_HALVES,
            met: HashSet::new(),
            ahead: Ahead::from(ROOT),
            found: Vec::new(),
            known: HashSet::new(),
        };
        dig(&mut walk, &self.log, code::FAT_DIRECTORY)?;
        for (parent, node, raw, name) in std::mem::take(&mut walk.found) {
            let mut metadata = self.describe(node, &raw);
            if !raw.is_directory() {
                match walk.is_left(&raw) {
                    Ok(()) => {}
                    Err(error) if error.kind() == FsErrorKind::Unsupported => return Err(error),
                    Err(error) => metadata.unreadable = Some(error.kind()),
                }
            }
            if visit(Deleted { parent, name, metadata }).is_break() {
                break;
            }
        }
        Ok(0)
    }

    /// The clusters that the deleted file `raw` had, if it had one after the other.
    ///
    /// # Errors
    /// `Undecodable` if they are not known.
    fn place_of_deleted(&self, raw: &RawEntry) -> FsResult<Range<u32>> {
        let lost = || FsError::undecodable(Reason::PLACE_LOST);
        let heap = &self.boot.heap();
        let count = raw.size().div_ceil(heap.cluster_size.into());
        let count = u32::try_from(count).map_err(|_| lost())?;
        if count == 0 {
            return Ok(0..0);
        }
        let first = raw.first_cluster(self.is_fat32());
        let all = heap.all_clusters();
        let may_be_cut = self.is_fat32() && first <= 0xFFFF && all.end > 0x1_0000;
        let end = first.checked_add(count).filter(|end| *end <= all.end);
        match end {
            Some(end) if first >= all.start && !may_be_cut => Ok(first..end),
            _ => Err(lost()),
        }
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
        let heap = &self.boot.heap();
        let length = byte_count(clusters.len()).saturating_mul(heap.cluster_size.into());
        let mut extents = Extents::default();
        extents.push(extents::Place::At(heap.position(clusters.start)?), length)?;
        let (data, size) = (self.reader.data.clone(), raw.size());
        Ok(Arc::new(ExtentFile::new(data, extents, size, size)?))
    }
}
