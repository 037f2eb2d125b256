//! exFAT as a [`FileSystem`].

use std::ops::ControlFlow;
use std::sync::Arc;

use volfold_block::{Finding, bytes_to_index};

use super::mounted::{Exfat, ROOT};
use crate::clusters::finding::{finding_of, not_whole};
use crate::error::{FsError, FsResult};
use crate::node::{
    Attributes, Deleted, DirCursor, DirEntry, FileData, FileKind, FileSystem, FsInfo, LinkTarget,
    Metadata, Name, NodeId, StreamName, Usage,
};

const DIRECTORY: u32 = 0x10;

impl FileSystem for Exfat {
    fn info(&self) -> &FsInfo {
        &self.info
    }

    fn findings(&self) -> Vec<Finding> {
        let mut findings = self.info.findings.clone();
        findings.extend(self.log.all());
        findings
    }

    fn check(&self, report: &mut dyn FnMut(Finding)) -> FsResult<()> {
        self.check_volume(report)
    }

    fn usage(&self) -> FsResult<Usage> {
        let clusters = u64::from(self.volume.boot.heap.clusters);
        let free = clusters.saturating_sub(self.bitmap()?.count(self.volume.metadata())?);
        // All that is not free, the tables and boot regions too.
        let free = free.saturating_mul(self.info.cluster_size.into());
        Ok(Usage::new(&self.info, self.info.size.saturating_sub(free)))
    }

    fn root(&self) -> NodeId {
        ROOT
    }

    fn lookup(&self, dir: NodeId, name: Name<'_>) -> FsResult<NodeId> {
        let directory = self.directory(dir)?;
        let found = directory.listing.find(name.as_bytes(), &self.upcase);
        match (found.and_then(|file| directory.node(file)), &directory.damage) {
            (Some(node), _) => Ok(node),
            (None, None) => Err(FsError::not_found()),
            // It may be one of those that are not listed.
            (None, Some(damage)) => Err(not_whole(damage)),
        }
    }

    fn metadata(&self, node: NodeId) -> FsResult<Metadata> {
        if node != ROOT {
            return Ok(self.describe(node, &self.set(node)?.record));
        }
        Ok(Metadata {
            attributes: Some(Attributes(DIRECTORY)),
            ..Metadata::new(node, FileKind::Directory)
        })
    }

    fn read_dir(
        &self,
        dir: NodeId,
        from: DirCursor,
        emit: &mut dyn FnMut(DirEntry<'_>) -> ControlFlow<()>,
    ) -> FsResult<()> {
        let directory = self.directory(dir)?;
        let start = bytes_to_index(from.0)?;
        let rest = directory.listing.files.get(start..).unwrap_or_default();
        for (file, next) in rest.iter().zip(from.0.saturating_add(1)..) {
            let Some(node) = directory.node(file) else { continue };
            let metadata = self.describe(node, &file.record);
            let entry = DirEntry {
                name: Name::new(directory.listing.name(file)),
                node,
                kind: metadata.kind,
                metadata: Some(&metadata),
                next: DirCursor(next),
            };
            if emit(entry).is_break() {
                return Ok(());
            }
        }
        directory.damage.as_ref().map_or(Ok(()), |damage| Err(not_whole(damage)))
    }

    fn read_link(&self, _node: NodeId) -> FsResult<LinkTarget> {
        Err(FsError::not_a_link())
    }

    fn deleted(&self, visit: &mut dyn FnMut(Deleted) -> ControlFlow<()>) -> FsResult<u64> {
        self.each_deleted(visit)
    }

    fn open_deleted(&self, node: NodeId) -> FsResult<Arc<dyn FileData>> {
        self.deleted_content(node)
    }

    fn open(&self, node: NodeId, stream: &StreamName) -> FsResult<Arc<dyn FileData>> {
        if !stream.0.is_empty() {
            return Err(FsError::not_found());
        }
        if node == ROOT {
            return Err(FsError::is_a_directory());
        }
        let set = self.set(node)?;
        if set.record.is_directory() {
            return Err(FsError::is_a_directory());
        }
        self.content(node, &set.record, &|code, line| {
            self.log.add(finding_of(node, &set.shown(), code, line));
        })
    }
}
