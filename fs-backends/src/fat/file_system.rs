//! FAT as a [`FileSystem`].

use std::ops::ControlFlow;
use std::sync::Arc;

use volfold_block::{Finding, bytes_to_index};

use super::mounted::{FatFileSystem, ROOT};
use super::table::Table;
use crate::clusters::finding::{finding_of, not_whole};
use crate::error::{FsError, FsResult};
use crate::node::{
    Attributes, Deleted, DirCursor, DirEntry, FileData, FileKind, FileSystem, FsInfo, LinkTarget,
    Metadata, Name, NodeId, StreamName, Usage,
};

const DIRECTORY: u32 = 0x10;

impl FileSystem for FatFileSystem {
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
        let free = Table::new(&*self.reader.metadata, &self.boot).count_free()?;
        let used = u64::from(self.boot.clusters.saturating_sub(free));
        let used = used.saturating_mul(u64::from(self.boot.cluster_size));
        Ok(Usage::new(&self.info, used))
    }

    fn root(&self) -> NodeId {
        ROOT
    }

    fn lookup(&self, dir: NodeId, name: Name<'_>) -> FsResult<NodeId> {
        let opened = self.opened(dir)?;
        let found = opened.listing.find(name.as_bytes());
        match (found.and_then(|found| opened.node(found.offset)), &opened.damage) {
            (Some(node), _) => Ok(node),
            (None, None) => Err(FsError::not_found()),
            // It may be one of those that are not listed.
            (None, Some(damage)) => Err(not_whole(damage)),
        }
    }

    fn metadata(&self, node: NodeId) -> FsResult<Metadata> {
        if node != ROOT {
            return Ok(self.describe(node, &self.entry(node)?));
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
        let opened = self.opened(dir)?;
        let start = bytes_to_index(from.0)?;
        let rest = opened.listing.entries.get(start..).unwrap_or_default();
        for (entry, next) in rest.iter().zip(from.0.saturating_add(1)..) {
            let Some(node) = opened.node(entry.offset) else {
                continue;
            };
            let metadata = self.describe(node, &entry.raw);
            let entry = DirEntry {
                name: Name::new(&entry.name),
                node,
                kind: metadata.kind,
                metadata: Some(&metadata),
                next: DirCursor(next),
            };
            if emit(entry).is_break() {
                return Ok(());
            }
        }
        opened.damage.as_ref().map_or(Ok(()), |damage| Err(not_whole(damage)))
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
        let entry = self.entry(node)?;
        if entry.is_directory() {
            return Err(FsError::is_a_directory());
        }
        self.content(node, &entry, &|code, line| {
            self.log.add(finding_of(node, &self.short_name(&entry), code, line));
        })
    }
}
