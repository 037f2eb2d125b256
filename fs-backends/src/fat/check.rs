//! What a FAT volume records twice, compared over all of it.

use std::ops::ControlFlow;

use volfold_block::{Finding, code};

use super::mounted::{FatFileSystem, ROOT, finding_of};
use super::table::Table;
use crate::error::{FsErrorKind, FsResult};
use crate::node::{DirCursor, FileKind, FileSystem, NodeId, StreamName};

/// LIMIT: how deep directories may lie; hosts stop at paths of 4096 bytes.
const MAX_DEPTH: usize = 2048;

struct Child {
    name: Vec<u8>,
    node: NodeId,
    kind: FileKind,
}

impl FatFileSystem {
    /// Follows every chain, so that each cluster is met once, and compares all of the two tables.
    pub(super) fn check_volume(&self, report: &mut dyn FnMut(Finding)) -> FsResult<()> {
        // What was met before must not look like a second use.
        let fresh = Self::mount(self.reader.clone(), self.options.clone())?;
        fresh.check_tree(report);
        for finding in fresh.log.all() {
            report(finding);
        }
        let Self { reader, boot, compared, claims, .. } = fresh;
        let knows_all = !claims.is_full();
        let taken = claims.into_taken();
        let (mut differing, mut first_differing) = (0_u64, None);
        let (mut lost, mut first_lost) = (0_u64, None);
        let table = Table::both(&*reader.metadata, &boot, &compared);
        table.scan(|cluster, entry, other| {
            if other.is_some() {
                differing = differing.saturating_add(1);
                first_differing.get_or_insert(cluster);
            }
            if knows_all && Table::is_in_use(boot.kind, entry) && !taken.has(cluster) {
                lost = lost.saturating_add(1);
                first_lost.get_or_insert(cluster);
            }
        })?;
        if let Some(cluster) = first_differing {
            let line = format!("{differing} entries of the two tables differ, first {cluster}");
            report(Finding::warning(code::FAT_TABLES_DIFFER, line));
        }
        if let Some(cluster) = first_lost {
            let line = format!("{lost} clusters in use belong to no file, first {cluster}");
            report(Finding::info(code::FAT_LOST_CLUSTERS, line));
        }
        Ok(())
    }

    /// Follows the chains of all files and directories.
    fn check_tree(&self, report: &mut dyn FnMut(Finding)) {
        let mut path = Vec::new();
        let mut levels = vec![(self.children(ROOT, &path, report).into_iter(), path.len())];
        while let Some((children, base)) = levels.last_mut() {
            path.truncate(*base);
            let Some(child) = children.next() else {
                levels.pop();
                continue;
            };
            path.push(b'/');
            path.extend(&child.name);
            if child.kind != FileKind::Directory {
                self.check_file(child.node, report);
            } else if levels.len() >= MAX_DEPTH {
                let finding = Finding::error(code::FAT_DIRECTORY, "directory lies too deep");
                report(finding.on_path(&String::from_utf8_lossy(&path)));
            } else {
                let children = self.children(child.node, &path, report).into_iter();
                levels.push((children, path.len()));
            }
        }
    }

    fn children(&self, dir: NodeId, path: &[u8], report: &mut dyn FnMut(Finding)) -> Vec<Child> {
        let mut children = Vec::new();
        let listed = self.read_dir(dir, DirCursor::START, &mut |entry| {
            let name = entry.name.as_bytes().to_vec();
            children.push(Child { name, node: entry.node, kind: entry.kind });
            ControlFlow::Continue(())
        });
        match listed {
            // What contradicts itself was noted by the listing.
            Err(error) if error.kind() != FsErrorKind::Corrupt => {
                let finding = Finding::error(code::FAT_DIRECTORY, error.to_string());
                report(finding.on_path(&String::from_utf8_lossy(path)));
            }
            _ => {}
        }
        children
    }

    /// Says of a file what opening it says, in the same words.
    fn check_file(&self, node: NodeId, report: &mut dyn FnMut(Finding)) {
        if let Err(error) = self.open(node, &StreamName::MAIN) {
            let name = self.entry(node).map(|entry| self.short_name(&entry)).unwrap_or_default();
            report(finding_of(node, &name, code::FAT_CHAIN_SHORT, &error.to_string()));
        }
    }
}
