//! Deleted files of NTFS.
//!
//! Who deletes a file marks its record as not in use, adds 1 to the record's sequence number, and frees the clusters in
//! `$Bitmap`; names, times and run list stay until the record is used again. The directory is that of the name, if
//! its record still has the sequence number that the name has for it, or, deleted too, one more.

use std::collections::HashMap;
use std::ops::{ControlFlow, Range};
use std::sync::Arc;

use volfold_block::{byte_count, bytes_to_index};

use super::mounted::{NtfsFileSystem, ROOT};
use super::node::Node;
use super::record::{FileRecord, FileReference, kind};
use super::stream::{Content, Stream};
use super::volume::Volume;
use super::wof;
use crate::error::{FsError, FsErrorKind, FsResult, Reason};
use crate::node::{Deleted, FileData, FileKind, LinkTarget, NodeId, ORPHANS};
use crate::wtf8;

const BITMAP: u64 = 6;
/// The first record that formatters leave to files.
const FIRST_PLAIN_RECORD: u64 = 24;
/// Records that are fetched together.
const BATCH: u64 = 512;
/// Bytes of `$Bitmap` that are held.
const WINDOW: usize = 4096;
/// LIMIT: how deep directories may lie, and paths of directories that are kept.
const MAX_DEPTH: usize = 256;
const MAX_KEPT: usize = 1 << 16;
/// LIMIT: bytes of `$Bitmap` that are looked at for all files of a volume together.
const MAX_LOOKS: u64 = 1 << 32;

type Path = Vec<Vec<u8>>;

impl NtfsFileSystem {
    /// Gives all that was deleted, and whose record was not used again, to `visit`.
    pub(super) fn each_deleted(
        &self,
        visit: &mut dyn FnMut(Deleted) -> ControlFlow<()>,
    ) -> FsResult<()> {
        // What contradicts itself in a record that nobody uses says nothing of the volume.
        let volume = Volume::open(self.volume.reader.clone(), self.volume.boot.clone())?;
        let mut walk =
            Walk { volume: &volume, free: FreeClusters::open(&volume)?, paths: HashMap::new() };
        let count = volume.records();
        let mut first = FIRST_PLAIN_RECORD;
        while first < count {
            let end = first.saturating_add(BATCH).min(count);
            let numbers: Vec<u64> = (first..end).collect();
            let mut step = Ok(ControlFlow::Continue(()));
            volume.each_record(&numbers, |_, record| {
                if matches!(step, Ok(ControlFlow::Continue(()))) && is_deleted(record) {
                    step = walk
                        .record(record)
                        .map(|found| found.map_or(ControlFlow::Continue(()), &mut *visit));
                }
            });
            if step?.is_break() {
                break;
            }
            first = end;
        }
        Ok(())
    }

    fn deleted_record(&self, node: NodeId) -> FsResult<FileRecord<'static>> {
        let record = self.volume.record(node.0)?;
        if is_deleted(&record) { Ok(record) } else { Err(FsError::not_found()) }
    }

    /// The content of the file that had the record `node`.
    pub(super) fn deleted_content(&self, node: NodeId) -> FsResult<Arc<dyn FileData>> {
        let record = self.deleted_record(node)?;
        let mut free = FreeClusters::open(&self.volume)?;
        for place in places(&self.volume, &record)? {
            if !free.has(&place)? {
                return Err(FsError::undecodable(Reason::OVERWRITTEN));
            }
        }
        self.main_stream(&record)
    }

    /// Where the link that had the record `node` led.
    pub(super) fn deleted_link(&self, node: NodeId) -> FsResult<LinkTarget> {
        match Node::read(&self.volume, &self.deleted_record(node)?)?.target {
            Some(target) => Ok(LinkTarget(target?)),
            None => Err(FsError::not_a_link()),
        }
    }
}

fn is_deleted(record: &FileRecord<'_>) -> bool {
    !record.is_in_use() && record.base().number() == 0
}

/// The places on the volume that the content of `record` had.
fn places(volume: &Volume, record: &FileRecord<'_>) -> FsResult<Vec<Range<u64>>> {
    let mut places = Vec::new();
    for name in [&[][..], wof::STREAM] {
        let Some(Stream { content: Content::Runs(runs), .. }) =
            volume.stream(record, kind::DATA, name)?
        else {
            continue;
        };
        let mut offset: u64 = 0;
        while let Some((place, length)) = runs.at(offset).filter(|(_, length)| *length > 0) {
            if let Some(start) = place.offset() {
                places.push(start..start.saturating_add(length));
            }
            offset = offset.saturating_add(length);
        }
    }
    Ok(places)
}

/// What a walk over the records knows.
struct Walk<'a> {
    volume: &'a Volume,
    free: FreeClusters<'a>,
    paths: HashMap<u64, Option<Arc<Path>>>,
}

impl Walk<'_> {
    /// What is left of the deleted `record`; `None` if it has no name.
    fn record(&mut self, record: &FileRecord<'_>) -> FsResult<Option<Deleted>> {
        let Some(name) = record.file_name() else { return Ok(None) };
        let own = wtf8::encode(wtf8::units_le(name.name));
        let mut path = self
            .directory(name.parent)
            .map_or_else(|| vec![ORPHANS.to_vec()], |path| path.to_vec());
        path.push(own);
        // What cannot be read of a record that nobody uses is lost, and harms nothing else.
        let Ok(Node { mut metadata, .. }) = Node::read(self.volume, record) else {
            return Ok(None);
        };
        metadata.links = 1;
        let mut taken = Vec::new();
        if metadata.kind != FileKind::Directory && metadata.unreadable.is_none() {
            match places(self.volume, record) {
                Ok(places) => {
                    let mut is_free = true;
                    for place in &places {
                        is_free = is_free && self.free.has(place)?;
                    }
                    if is_free {
                        taken = places;
                    } else {
                        metadata.unreadable = Some(FsErrorKind::Undecodable(Reason::OVERWRITTEN));
                    }
                }
                Err(_) => metadata.unreadable = Some(FsErrorKind::Undecodable(Reason::PLACE_LOST)),
            }
        }
        Ok(Some(Deleted { path, metadata, places: taken }))
    }

    /// The path of the directory that `reference` meant; `None` if it is not known any more.
    fn directory(&mut self, reference: FileReference) -> Option<Arc<Path>> {
        let mut parts: Path = Vec::new();
        let mut chain: Vec<u64> = Vec::new();
        let mut here = reference;
        let mut base = loop {
            let (number, sequence) = (here.number(), here.sequence());
            if number == ROOT {
                break Some(Arc::default());
            }
            if chain.len() >= MAX_DEPTH {
                break None;
            }
            let record = self.volume.record(number).ok();
            let is_same = |record: &FileRecord<'_>| {
                let is_own = match record.is_in_use() {
                    true => record.sequence() == sequence,
                    // 0 is left out.
                    false => record.sequence() == sequence.wrapping_add(1).max(1),
                };
                is_own && record.is_directory() && record.base().number() == 0
            };
            let Some(record) = record.filter(is_same) else { break None };
            if let Some(known) = self.paths.get(&number) {
                break known.clone();
            }
            let Some(name) = record.file_name() else { break None };
            parts.push(wtf8::encode(wtf8::units_le(name.name)));
            chain.push(number);
            here = name.parent;
        };
        for (number, name) in chain.into_iter().zip(parts).rev() {
            base = base.map(|base| {
                let mut path = base.to_vec();
                path.push(name);
                Arc::new(path)
            });
            if self.paths.len() < MAX_KEPT {
                self.paths.insert(number, base.clone());
            }
        }
        base
    }
}

/// Which clusters are free by `$Bitmap`.
struct FreeClusters<'a> {
    volume: &'a Volume,
    bitmap: Stream,
    window: Vec<u8>,
    /// Where the window begins; past every bitmap if there is none.
    start: u64,
    looks: u64,
}

impl<'a> FreeClusters<'a> {
    fn open(volume: &'a Volume) -> FsResult<Self> {
        let record = volume.node(BITMAP)?;
        let bitmap = volume.stream(&record, kind::DATA, &[])?;
        let bitmap = bitmap.ok_or_else(|| FsError::corrupt("$Bitmap has no $DATA"))?;
        Ok(Self { volume, bitmap, window: Vec::new(), start: u64::MAX, looks: 0 })
    }

    /// Whether all clusters of the bytes `place` are free.
    fn has(&mut self, place: &Range<u64>) -> FsResult<bool> {
        let size = self.volume.boot.cluster_size;
        let cluster = |position: u64| position.checked_div(size).unwrap_or(0);
        let (mut bit, end) =
            (cluster(place.start), cluster(place.end.saturating_add(size).saturating_sub(1)));
        while bit < end {
            self.looks = self.looks.saturating_add(1);
            if self.looks > MAX_LOOKS {
                return Err(FsError::unsupported(
                    "deleted files have too many clusters to look at",
                ));
            }
            let byte = self.byte(bit / 8)?;
            let first = u32::try_from(bit % 8).unwrap_or(0);
            let count = end.saturating_sub(bit).min(u64::from(8_u32.saturating_sub(first)));
            let mask = 0xFF_u16 >> u32::try_from(8_u64.saturating_sub(count)).unwrap_or(0);
            if u16::from(byte) >> first & mask != 0 {
                return Ok(false);
            }
            bit = bit.saturating_add(count);
        }
        Ok(true)
    }

    /// The byte `number` of the bitmap; past its end everything is in use.
    fn byte(&mut self, number: u64) -> FsResult<u8> {
        if number >= self.bitmap.valid {
            return Ok(0xFF);
        }
        if let Content::Resident(bytes) = &self.bitmap.content {
            return Ok(bytes.get(bytes_to_index(number)?).copied().unwrap_or(0xFF));
        }
        let size = byte_count(WINDOW);
        let start = number.checked_div(size).unwrap_or(0).saturating_mul(size);
        if start != self.start {
            let length = self.bitmap.valid.saturating_sub(start).min(size);
            self.window.resize(bytes_to_index(length)?, 0xFF);
            self.start = u64::MAX;
            if let Content::Runs(runs) = &self.bitmap.content {
                runs.read(&*self.volume.reader.metadata, start, &mut self.window)?;
            }
            self.start = start;
        }
        let inside = bytes_to_index(number.saturating_sub(start))?;
        Ok(self.window.get(inside).copied().unwrap_or(0xFF))
    }
}
