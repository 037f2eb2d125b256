//! What an exFAT volume records twice, compared over all of it.

use volfold_block::{Finding, code};

use super::entry::{Allocation, EntryType};
use super::mounted::{CHAIN_CODES, Exfat};
use super::region;
use super::volume::Clusters;
use crate::clusters::claims::Claim;
use crate::clusters::content::Teller;
use crate::clusters::finding::finding_of;
use crate::clusters::walk::{Met, walk};
use crate::error::FsResult;
use crate::node::{FileSystem, NodeId, StreamName};

/// Tells the owners of clusters that are no files from those that are.
const NO_FILE: u64 = 1 << 63;

impl Exfat {
    /// Follows every chain, so that each cluster is met once, and compares what was met with the bitmap;
    /// compares the boot regions.
    pub(super) fn check_volume(&self, report: &mut dyn FnMut(Finding)) -> FsResult<()> {
        // What was met before must not look like a second use.
        let fresh = Self::mount(self.volume.reader.clone(), self.options.clone())?;
        fresh.check_regions(report);
        fresh.check_tree(report);
        for finding in fresh.log.all() {
            report(finding);
        }
        fresh.check_bitmap(report)
    }

    /// Compares the boot sector that is used with the copy.
    fn check_regions(&self, report: &mut dyn FnMut(Finding)) {
        let boot = &self.volume.boot;
        let line = match region::copy_of(self.volume.metadata(), boot) {
            Ok(copy) if !copy.has_right_checksum => "backup boot region has a bad checksum".into(),
            Ok(copy) if !copy.boot.is_laid_out_as(boot) => {
                "boot region contradicts its backup; it is used as it is".into()
            }
            Ok(_) => return,
            Err(error) => format!("backup boot region is damaged: {error}"),
        };
        report(Finding::warning(code::EXFAT_BOOT_COPY, line));
    }

    /// Follows the chains of all files and directories.
    fn check_tree(&self, report: &mut dyn FnMut(Finding)) {
        walk(self, &mut |met, path| {
            let line = match met {
                Met::Directory(node) => return self.check_others(node),
                Met::File(node) => {
                    self.check_others(node);
                    return self.check_file(node, report);
                }
                Met::NotListed(error) => error.to_string(),
                Met::TooDeep => "directory lies too deep".to_owned(),
            };
            let finding = Finding::error(code::EXFAT_DIRECTORY, line);
            report(finding.on_path(&String::from_utf8_lossy(path)));
        });
    }

    /// Says of a file what opening it says, in the same words.
    fn check_file(&self, node: NodeId, report: &mut dyn FnMut(Finding)) {
        if let Err(error) = self.open(node, &StreamName::MAIN) {
            let name = self.set(node).map(|set| set.shown()).unwrap_or_default();
            report(finding_of(node, &name, code::EXFAT_CHAIN_SHORT, &error.to_string()));
        }
    }

    /// Takes the clusters of those entries of `node` that nobody but their writer knows.
    fn check_others(&self, node: NodeId) {
        let Ok(entries) = self.entries(node) else { return };
        let name = || self.set(node).map(|set| set.shown()).unwrap_or_default();
        for (entry, number) in entries.iter().zip(0_u64..) {
            let kind = EntryType::of(entry);
            let allocation = Allocation::of_secondary(entry);
            let has_clusters = allocation.is_possible && allocation.length > 0;
            if !kind.is_secondary() || !kind.is_benign() || !has_clusters {
                continue;
            }
            let note = |code, line: &str| {
                let line = format!("entry of the type {:#04X}: {line}", kind.byte());
                self.log.add(finding_of(node, &name(), code, &line));
            };
            let Ok(Clusters { extents, end }) =
                self.volume.clusters(&allocation, allocation.length)
            else {
                continue;
            };
            let teller = Teller { codes: &CHAIN_CODES, note: &note, log: &self.log };
            teller.tell_end(end, extents.end(), allocation.length);
            let owner = NodeId(node.0.saturating_mul(32).saturating_add(number) | NO_FILE);
            let (heap, first) = (&self.volume.boot.heap, allocation.first_cluster);
            if !matches!(self.claims.take(heap, owner, first, &extents), Claim::Whole) {
                note(code::EXFAT_CROSS_LINK, "has the clusters of another");
            }
        }
    }

    /// Compares the clusters that were met with those that the bitmap says are in use.
    fn check_bitmap(self, report: &mut dyn FnMut(Finding)) -> FsResult<()> {
        let Self { volume, claims, bitmap, .. } = self;
        let Some(bitmap) = bitmap else { return Ok(()) };
        let knows_all = !claims.is_full();
        let taken = claims.into_taken();
        let mut table = volume.table();
        let (mut lost, mut first_lost) = (0_u64, None);
        let (mut free, mut first_free) = (0_u64, None);
        bitmap.scan(volume.metadata(), |cluster, is_used| {
            let is_taken = taken.has(cluster);
            if is_taken && !is_used {
                free = free.saturating_add(1);
                first_free.get_or_insert(cluster);
            } else if is_used && !is_taken && !table.is_bad(cluster).unwrap_or(false) {
                lost = lost.saturating_add(1);
                first_lost.get_or_insert(cluster);
            }
        })?;
        if let Some(cluster) = first_free {
            let line = format!("{free} clusters of files are free by the bitmap, first {cluster}");
            report(Finding::warning(code::EXFAT_BITMAP, line));
        }
        if let Some(cluster) = first_lost.filter(|_| knows_all) {
            let line = format!("{lost} clusters in use belong to no file, first {cluster}");
            report(Finding::info(code::EXFAT_LOST_CLUSTERS, line));
        }
        Ok(())
    }
}
