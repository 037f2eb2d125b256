//! The Logical Volume Manager of Linux (LVM2).
//!
//! A *physical volume* is a disk or partition with a label; a *volume group* is some of them, cut into
//! *extents*. The metadata of the group is one text, which most of its physical volumes hold. In it a
//! *logical volume* is made of *segments*, and a segment lies on extents of physical volumes, or in other
//! logical volumes. The way to it:
//!
//! | module       | structure                                        | found by                       |
//! |--------------|--------------------------------------------------|--------------------------------|
//! | `label`      | label and header of a physical volume            | one of the first four sectors  |
//! | `area`       | metadata area: a ring of texts                   | the header                     |
//! | `text`       | the grammar of the text                          | the area                       |
//! | `metadata`   | group, physical and logical volumes              | the text                       |
//! | `segment`    | what lies where                                  | the logical volume             |
//! | `superblock` | the state of a side of a RAID                    | the volume beside the side     |
//! | `mirror_log` | which regions of a mirror are in sync            | the log of the mirror          |
//! | `snapshot`   | header and exceptions of a snapshot              | the volume that keeps them     |
//! | `thin`       | superblock of a thin pool                        | the volume of its metadata     |
//! | `cache`      | superblock of a cache                            | the volume of its metadata     |
//! | `write_cache` | superblock and entries of a write cache         | the volume of the cache        |
//! | `persistent` | trees and arrays of the device-mapper            | the superblock                 |
//!
//! `disk` reads one physical volume, `assemble` chooses among the texts and says what is shown, `build`,
//! `raid` and `side` make devices of segments.
//!
//! Label, area and text have checksums. The text with the highest number of changes counts; a disk whose
//! text is older is read only for volumes that lie there by its own text too.

use volfold_block::{BlockResult, Finding, code, error_chain};

use self::label::Found;
use crate::partition;
use crate::volume::{Claim, Damage, GroupId, Hidden, Region, Volume, VolumeManager};

mod area;
mod assemble;
mod build;
mod built;
mod cache;
mod checksum;
mod disk;
mod label;
mod metadata;
mod mirror_log;
mod needed;
mod persistent;
mod raid;
mod refused;
mod segment;
mod side;
mod snapshot;
mod superblock;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod text;
mod thin;
mod write_cache;

/// The volume manager for LVM2.
pub struct Lvm;

/// Whether `region` is a disk with partitions: a label before them is left from before, and lvm2 does not
/// look at it either.
fn is_partitioned(region: &Region) -> BlockResult<bool> {
    if region.partition.is_some() {
        return Ok(false);
    }
    let device = &*region.device;
    let table = partition::registry::read_table(device, device.sector_size())?;
    Ok(table.is_some_and(|table| !table.partitions.is_empty()))
}

impl VolumeManager for Lvm {
    fn id(&self) -> &'static str {
        "lvm"
    }

    fn title(&self) -> &'static str {
        "Linux logical volumes (LVM2): linear, striped, RAID, thin, snapshots, caches"
    }

    fn claim(&self, region: &Region) -> BlockResult<Option<Claim>> {
        let found = label::find(&*region.device)?;
        if matches!(found, Found::Nothing) || is_partitioned(region)? {
            return Ok(None);
        }
        let damage = match found {
            Found::Damaged(error) => {
                Some(Damage { at: error.position().unwrap_or(0), reason: error_chain(&error) })
            }
            _ => None,
        };
        // A physical volume may have no metadata, so that only the others tell its group: all groups
        // are joined at once.
        let group = GroupId("lvm2".to_owned());
        let hides = Hidden::Partitions(Vec::new());
        Ok(Some(Claim { group, hides, sector_size: None, damage }))
    }

    fn notice(&self, region: &Region) -> Vec<Finding> {
        let is_left = matches!(label::find(&*region.device), Ok(Found::Label(_)));
        if !is_left || !is_partitioned(region).unwrap_or(false) {
            return Vec::new();
        }
        let line = "disk has partitions, and a label of LVM2 before them that is left from before";
        vec![Finding::info(code::LVM_LABEL_LEFT, line)]
    }

    fn assemble(
        &self,
        _group: &GroupId,
        members: &[Region],
        findings: &mut Vec<Finding>,
    ) -> Vec<Volume> {
        assemble::assemble(members, findings)
    }
}
