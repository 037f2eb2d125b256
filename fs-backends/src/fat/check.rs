//! What a FAT volume records twice, compared over all of it.

use volfold_block::{Finding, code};

use super::mounted::FatFileSystem;
use super::table::Table;
use crate::clusters::finding::finding_of;
use crate::clusters::walk::{Met, walk};
use crate::error::FsResult;
use crate::node::{FileSystem, NodeId, StreamName};

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
        walk(self, &mut |met, path| {
            let line = match met {
                Met::File(node) => return self.check_file(node, report),
                Met::Directory(_) => return,
                Met::NotListed(error) => error.to_string(),
                Met::TooDeep => "directory lies too deep".to_owned(),
            };
            let finding = Finding::error(code::FAT_DIRECTORY, line);
            report(finding.on_path(&String::from_utf8_lossy(path)));
        });
    }

    /// Says of a file what opening it says, in the same words.
    fn check_file(&self, node: NodeId, report: &mut dyn FnMut(Finding)) {
        if let Err(error) = self.open(node, &StreamName::MAIN) {
            let name = self.entry(node).map(|entry| self.short_name(&entry)).unwrap_or_default();
            report(finding_of(node, &name, code::FAT_CHAIN_SHORT, &error.to_string()));
        }
    }
}
