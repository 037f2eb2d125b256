//! Deleted files of NTFS.
//!
//! Who deletes a file marks its record as not in use, adds 1 to the record's sequence number, and frees the clusters in
//! `$Bitmap`; names, times and run list stay until the record is used again. The directory is that of the name, if
//! its record still has the sequence number that the name has for it, or, deleted too, one more.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use volfold_block::bytes_to_index;

use super::mounted::{NtfsFileSystem, ROOT};
use super::node::{self, Node};
use super::record::{FileRecord, FileReference, Form, kind};
use super::runs;
use super::stream::{Content, Stream};
use super::volume::Volume;
use crate::error::{FsError, FsErrorKind, FsResult, Reason};
use crate::extents::{Extents, Place};
use crate::node::{
    Deleted, DeletedIn, FileData, FileKind, LinkTarget, LivingPath, Metadata, NodeId,
};
use crate::owners::{Owners, clusters_of};
use crate::wtf8;

const BITMAP: u64 = 6;
/// The first record that formatters leave to files.
const FIRST_PLAIN_RECORD: u64 = 24;
/// Records that are fetched together.
const BATCH: u64 = 512;
/// Bytes of `$Bitmap` that are read at once.
const PIECE: u64 = 64 << 10;
/// LIMIT: how deep directories may lie, and paths of directories that are kept.
const MAX_DEPTH: usize = 2048;
const MAX_KEPT: usize = 1 << 16;

impl NtfsFileSystem {
    /// Gives all that was deleted, and whose record was not used again, to `visit`.
    pub(super) fn each_deleted(
        &self,
        visit: &mut dyn FnMut(Deleted) -> ControlFlow<()>,
    ) -> FsResult<u64> {
        // What contradicts itself in a record that nobody uses says nothing of the volume.
        let volume = Volume::open(self.volume.reader.clone(), self.volume.boot.clone())?;
        let size = volume.boot.size.min(volume.reader.data.size());
        let clusters = size.checked_div(volume.boot.cluster_size).unwrap_or(0);
        let mut walk = Walk {
            volume: &volume,
            owners: Owners::new(clusters)?,
            paths: HashMap::new(),
            passed_over: 0,
        };
        walk.take_bitmap()?;
        walk.each(0, &mut |walk, record| walk.take(record).map(ControlFlow::Continue))?;
        walk.each(FIRST_PLAIN_RECORD, &mut |walk, record| {
            if !is_deleted(record) {
                return Ok(ControlFlow::Continue(()));
            }
            Ok(walk.describe(record)?.map_or(ControlFlow::Continue(()), &mut *visit))
        })?;
        Ok(walk.passed_over)
    }

    fn deleted_record(&self, node: NodeId) -> FsResult<FileRecord<'static>> {
        let record = self.volume.record(node.0)?;
        if is_deleted(&record) { Ok(record) } else { Err(FsError::not_found()) }
    }

    /// The content of the file that had the record `node`.
    pub(super) fn deleted_content(&self, node: NodeId) -> FsResult<Arc<dyn FileData>> {
        self.main_stream(&self.deleted_record(node)?)
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

/// What is done with each record of the table.
type EachRecord<'v, 'w> =
    dyn FnMut(&mut Walk<'w>, &FileRecord<'_>) -> FsResult<ControlFlow<()>> + 'v;

/// What a walk over the records knows.
struct Walk<'a> {
    volume: &'a Volume,
    owners: Owners,
    paths: HashMap<u64, Option<LivingPath>>,
    /// Deleted records without a name.
    passed_over: u64,
}

impl<'a> Walk<'a> {
    /// Gives the records from `first` on to `each`, those that can be read.
    fn each(&mut self, first: u64, each: &mut EachRecord<'_, 'a>) -> FsResult<()> {
        let (volume, count) = (self.volume, self.volume.records());
        let mut first = first;
        while first < count {
            let end = first.saturating_add(BATCH).min(count);
            let numbers: Vec<u64> = (first..end).collect();
            let mut step = Ok(ControlFlow::Continue(()));
            volume.each_record(&numbers, |_, record| {
                if matches!(step, Ok(ControlFlow::Continue(()))) {
                    step = each(self, record);
                }
            });
            if step?.is_break() {
                break;
            }
            first = end;
        }
        Ok(())
    }

    /// Takes what is in use by `$Bitmap`.
    fn take_bitmap(&mut self) -> FsResult<()> {
        let record = self.volume.node(BITMAP)?;
        let bitmap = self.volume.stream(&record, kind::DATA, &[])?;
        let bitmap = bitmap.ok_or_else(|| FsError::corrupt("$Bitmap has no $DATA"))?;
        if bitmap.size < self.owners.count() / 8 {
            return Err(FsError::corrupt("$Bitmap is shorter than the volume"));
        }
        let mut piece = Vec::new();
        let mut offset: u64 = 0;
        let end = self.owners.count().div_ceil(8).min(bitmap.valid);
        while offset < end {
            let length = end.saturating_sub(offset).min(PIECE);
            piece.resize(bytes_to_index(length)?, 0);
            match &bitmap.content {
                Content::Resident(bytes) => {
                    let rest = bytes.get(bytes_to_index(offset)?..).unwrap_or_default();
                    piece.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
                }
                Content::Runs(runs) => runs.read(&*self.volume.reader.data, offset, &mut piece)?,
            }
            for (bytes, word) in piece.chunks(8).zip(offset / 8..) {
                let mut whole = [0; 8];
                whole.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
                self.owners.take_word(word, u64::from_le_bytes(whole));
            }
            offset = offset.saturating_add(length);
        }
        Ok(())
    }

    /// Gives the clusters of `record` to its file: also what is not in use by `$Bitmap` may be that of a file that
    /// is there, and what is not content, or not shown, was not that of another.
    fn take(&mut self, record: &FileRecord<'_>) -> FsResult<()> {
        let size = self.volume.boot.cluster_size;
        for attribute in record.attributes().map_while(Result::ok) {
            let Form::NonResident(piece) = &attribute.form else { continue };
            let mut extents = Extents::default();
            // What can be read of a damaged run list counts.
            let _ = runs::append(piece.runs, attribute.position, size, Place::Hole, &mut extents);
            for (start, length) in extents.places() {
                let clusters = clusters_of(&(start..start.saturating_add(length)), size);
                match record.is_in_use() {
                    true => self.owners.take(&clusters)?,
                    false => self.owners.take_deleted(&clusters)?,
                }
            }
        }
        Ok(())
    }

    /// What is left of the deleted `record`; `None` if it has no name.
    fn describe(&mut self, record: &FileRecord<'_>) -> FsResult<Option<Deleted>> {
        let Some(name) = record.file_name() else {
            let has_any = record.attributes().next().is_some();
            self.passed_over = self.passed_over.saturating_add(u64::from(has_any));
            return Ok(None);
        };
        let parent = self.parent(name.parent);
        let name = wtf8::encode(wtf8::units_le(name.name));
        let mut metadata = match Node::read(self.volume, record) {
            Ok(node) => node.metadata,
            // Of a file with more records some may have been used again.
            Err(_) => {
                let kind =
                    if record.is_directory() { FileKind::Directory } else { FileKind::Regular };
                let unreadable = Some(FsErrorKind::Undecodable(Reason::OVERWRITTEN));
                let mut metadata = Metadata::new(NodeId(record.number()), kind);
                node::read_times(record, &mut metadata);
                Metadata {
                    unreadable: unreadable.filter(|_| kind == FileKind::Regular),
                    ..metadata
                }
            }
        };
        metadata.links = 1;
        if metadata.kind != FileKind::Directory && metadata.unreadable.is_none() {
            match self.has_its_clusters(record) {
                Ok(true) => {}
                Ok(false) => {
                    metadata.unreadable = Some(FsErrorKind::Undecodable(Reason::OVERWRITTEN));
                }
                Err(error) if error.kind() == FsErrorKind::Unsupported => return Err(error),
                Err(_) => metadata.unreadable = Some(FsErrorKind::Undecodable(Reason::PLACE_LOST)),
            }
        }
        Ok(Some(Deleted { parent, name, metadata }))
    }

    /// Whether nobody else has the clusters of any attribute of `record`: its content, what it is compressed to, and
    /// where it leads if it is a link.
    fn has_its_clusters(&mut self, record: &FileRecord<'_>) -> FsResult<bool> {
        let mut streams = Vec::new();
        self.volume.visit(
            record,
            |entry| entry.lowest_vcn == 0,
            |attribute| {
                if matches!(attribute.form, Form::NonResident(_)) {
                    streams.push((attribute.kind, attribute.name.to_vec()));
                }
                Ok(())
            },
        )?;
        streams.sort_unstable();
        streams.dedup();
        for (kind, name) in streams.iter().filter(|(kind, _)| *kind != kind::ATTRIBUTE_LIST) {
            let stream = self.volume.stream(record, *kind, name)?;
            let Some(Stream { content: Content::Runs(runs), .. }) = stream else { continue };
            for (start, length) in runs.places() {
                let place = start..start.saturating_add(length);
                if !self.owners.are_of_one(&clusters_of(&place, self.volume.boot.cluster_size))? {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    /// The directory that `reference` meant.
    fn parent(&mut self, reference: FileReference) -> DeletedIn {
        let (number, sequence) = (reference.number(), reference.sequence());
        if number == ROOT {
            return DeletedIn::Living(LivingPath::default());
        }
        let record = self.volume.record(number).ok();
        let record = record.filter(|record| record.is_directory() && record.base().number() == 0);
        match record {
            Some(record) if record.is_in_use() && record.sequence() == sequence => {
                let path = self.living(number);
                path.map_or(DeletedIn::Unknown, DeletedIn::Living)
            }
            // 0 is left out.
            Some(record)
                if !record.is_in_use() && record.sequence() == sequence.wrapping_add(1).max(1) =>
            {
                DeletedIn::Deleted(NodeId(number))
            }
            _ => DeletedIn::Unknown,
        }
    }

    /// The path of the directory `number`, which is there; `None` if it has none.
    fn living(&mut self, number: u64) -> Option<LivingPath> {
        let mut below: Vec<(u64, Vec<u8>)> = Vec::new();
        let mut here = number;
        let mut path = loop {
            if here == ROOT {
                break Some(LivingPath::default());
            }
            if let Some(known) = self.paths.get(&here) {
                break known.clone();
            }
            if below.len() >= MAX_DEPTH {
                // One of those above may be reached from others.
                return None;
            }
            let record = self.volume.node(here).ok();
            let name = record.as_ref().and_then(FileRecord::file_name);
            let Some(name) = name else { break None };
            below.push((here, wtf8::encode(wtf8::units_le(name.name))));
            here = name.parent.number();
        };
        for (number, name) in below.into_iter().rev() {
            path = path.map(|path| path.join(name));
            if self.paths.len() < MAX_KEPT {
                self.paths.insert(number, path.clone());
            }
        }
        path
    }
}
