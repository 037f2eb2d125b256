//! NTFS as a [`FileSystem`].

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use volfold_block::{Finding, byte_count, bytes_to_index};

use super::check;
use super::mounted::{NtfsFileSystem, PAGE, ROOT, Slot};
use super::node::{self, Node};
use super::volume::{GONE, GONE_SENTENCE};
use super::wof;
use crate::error::{FsError, FsResult};
use crate::node::{
    Deleted, DirCursor, DirEntry, FileData, FileKind, FileSystem, FsInfo, LinkTarget, Metadata,
    MountedFolder, Name, NodeId, StreamInfo, StreamName, Usage,
};
use crate::wtf8;

const BITMAP: u64 = 6;
/// Bytes of `$Bitmap` that are read at once.
const BITMAP_PIECE: usize = 256 * 1024;

impl FileSystem for NtfsFileSystem {
    fn info(&self) -> &FsInfo {
        &self.info
    }

    fn findings(&self) -> Vec<Finding> {
        let mut findings = self.info.findings.clone();
        findings.extend(self.volume.log.all());
        findings
    }

    fn check(&self, report: &mut dyn FnMut(Finding)) -> FsResult<()> {
        check::check_volume(&self.volume, report)?;
        self.check_names(report);
        Ok(())
    }

    fn usage(&self) -> FsResult<Usage> {
        let record = self.volume.node(BITMAP)?;
        let bitmap = self.stream(&record, &[])?;
        let cluster_size = self.volume.boot.cluster_size;
        let clusters = self.info.size.checked_div(cluster_size).unwrap_or(0);
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
            let (words, rest) = piece.as_chunks::<8>();
            let of_words = words.iter().map(|word| u64::from_le_bytes(*word).count_ones());
            let of_rest = rest.iter().map(|byte| byte.count_ones());
            let ones: u64 = of_words.chain(of_rest).map(u64::from).sum();
            used = used.saturating_add(ones);
            offset = offset.saturating_add(count);
        }
        if tail > 0 {
            let mut last = [0];
            bitmap.read_at(whole, &mut last)?;
            let mask = !0xFF_u8.checked_shl(tail).unwrap_or(0);
            let bits = last.iter().map(|byte| u64::from((byte & mask).count_ones()));
            used = used.saturating_add(bits.sum());
        }
        Ok(Usage::new(&self.info, used.saturating_mul(cluster_size)))
    }

    fn root(&self) -> NodeId {
        NodeId(ROOT)
    }

    fn lookup(&self, dir: NodeId, name: Name<'_>) -> FsResult<NodeId> {
        let index = self.index(dir.0)?;
        let units = wtf8::decode(name.as_bytes()).ok_or_else(FsError::not_found)?;
        let found = index.find(&self.volume, &self.upcase, &units)?;
        let record = self.volume.record(found.number())?;
        let is_gone = !record.is_in_use()
            || record.sequence() != found.sequence()
            || (record.is_directory()
                && self.volume.has_name(&record, dir.0, None).is_ok_and(|has| !has))
            || (!record.is_directory()
                && self
                    .is_of_another_name(dir.0, &record, |own| self.upcase.compare(&units, own).1));
        if is_gone {
            return Err(FsError::corrupt(GONE_SENTENCE).at(record.position()));
        }
        Ok(NodeId(found.number()))
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
        let listing = self.listing(dir.0)?;
        let mut index = bytes_to_index(from.0)?;
        if index == 0 {
            self.listed.fetch_add(1, Ordering::Relaxed);
        }
        while index < listing.len() {
            let number = index.checked_div(PAGE).unwrap_or(0);
            let page = self.page(dir.0, &listing, number);
            if index.is_multiple_of(PAGE) {
                self.walk_ahead(&page);
            }
            let skip = index.saturating_sub(number.saturating_mul(PAGE));
            for slot in page.iter().skip(skip) {
                let Some((name, reference, is_directory)) = listing.get(index) else { break };
                index = index.saturating_add(1);
                // A record that cannot be read, or is none of the entry, harms its own name only,
                // which is then given without metadata.
                let metadata = slot.metadata();
                let number = match slot {
                    Slot::Gone => reference.number() | GONE,
                    _ => reference.number(),
                };
                let listed = if is_directory { FileKind::Directory } else { FileKind::Regular };
                let entry = DirEntry {
                    name: Name::new(name),
                    node: NodeId(number),
                    kind: metadata.map_or(listed, |metadata| metadata.kind),
                    metadata,
                    next: DirCursor(byte_count(index)),
                };
                if emit(entry).is_break() {
                    return Ok(());
                }
            }
        }
        match &listing.damage {
            None => Ok(()),
            Some(damage) => {
                Err(FsError::corrupt(format!("directory can be listed in part only: {damage}")))
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

    fn mounted_folders(&self) -> FsResult<Vec<MountedFolder>> {
        self.mount_points()
    }

    fn streams(&self, node: NodeId) -> FsResult<Vec<StreamInfo>> {
        let record = self.volume.node(node.0)?;
        let mut streams = node::streams(&self.volume, &record)?;
        if Node::read(&self.volume, &record)?.wof.is_some() {
            let hidden = wtf8::encode(wtf8::units_le(wof::STREAM));
            streams.retain(|stream| stream.name.0 != hidden);
        }
        Ok(streams)
    }

    fn has_extended_attributes(&self) -> bool {
        true
    }

    fn extended_attributes(&self, node: NodeId) -> FsResult<Vec<Vec<u8>>> {
        self.extended_names(&self.volume.node(node.0)?)
    }

    fn extended_attribute(&self, node: NodeId, name: &[u8]) -> FsResult<Vec<u8>> {
        self.extended_value(&self.volume.node(node.0)?, name)
    }

    fn deleted(&self, visit: &mut dyn FnMut(Deleted) -> ControlFlow<()>) -> FsResult<u64> {
        self.each_deleted(visit)
    }

    fn open_deleted(&self, node: NodeId) -> FsResult<Arc<dyn FileData>> {
        self.deleted_content(node)
    }

    fn read_deleted_link(&self, node: NodeId) -> FsResult<LinkTarget> {
        self.deleted_link(node)
    }

    fn open(&self, node: NodeId, stream: &StreamName) -> FsResult<Arc<dyn FileData>> {
        let record = self.volume.node(node.0)?;
        if stream.0.is_empty() {
            return self.main_stream(&record);
        }
        let units = wtf8::decode(&stream.0).ok_or_else(FsError::not_found)?;
        let name: Vec<u8> = units.into_iter().flat_map(u16::to_le_bytes).collect();
        self.stream(&record, &name)
    }
}
