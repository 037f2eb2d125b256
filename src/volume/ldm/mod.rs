//! Windows dynamic disks: the Logical Disk Manager (LDM).
//!
//! A dynamic disk belongs to a *disk group*, and every disk of the group holds the group's whole
//! database. In it a *volume* is made of *components* (one, or the sides of a mirror), a component
//! of *partitions* (one after the other, striped, or RAID-5), and a partition is a run of sectors
//! of a disk. The way to it:
//!
//! | module     | structure                                     | found by                              |
//! |------------|-----------------------------------------------|---------------------------------------|
//! | `privhead` | private header, three copies (GPT: two)       | partition types 0x42 or LDM metadata  |
//! | `toc`      | table of contents, four places                | the private header                    |
//! | `vmdb`     | header of the database; log                   | the table of contents                 |
//! | `vblk`     | blocks and the records cut into them          | the header of the database            |
//! | `record`   | volume, component, partition, disk, group     |                                       |
//!
//! `disk` reads one disk, `database` one copy, `plan` makes geometry of records and refuses what
//! contradicts itself, `assemble` chooses among the copies and builds the volumes.
//!
//! Only private headers and tables of contents have checksums. What keeps a damaged record from
//! becoming a wrong mapping is that records must agree with each other (sizes, counts, no gap, no
//! overlap) and that the copies on the disks of a group must agree: where they do not, the majority
//! holds, and without one the volumes in dispute are refused.

use volfold_block::{BlockResult, Finding, code};

use crate::volume::{Claim, GroupId, Hidden, Region, Volume, VolumeManager};

mod assemble;
mod build;
mod database;
mod disk;
mod plan;
mod privhead;
mod problems;
mod record;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod toc;
mod vblk;
mod vmdb;

/// The volume manager for Windows dynamic disks.
pub struct Ldm;

impl VolumeManager for Ldm {
    fn id(&self) -> &'static str {
        "ldm"
    }

    fn title(&self) -> &'static str {
        "Windows dynamic disks (LDM): simple, spanned, striped, mirrored, RAID-5"
    }

    fn claim(&self, region: &Region) -> BlockResult<Option<Claim>> {
        if region.partition.is_some() {
            return Ok(None);
        }
        let Some(found) = disk::DynamicDisk::find(&*region.device) else {
            return Ok(None);
        };
        // A disk that cannot tell its group is one by itself, so that its parts are not taken for
        // volumes.
        let group = match &found.header {
            Some(header) => header.group_guid.clone(),
            None => format!("disk{}", region.disk),
        };
        let sector_size = found.header.map(|header| header.sector_size);
        Ok(Some(Claim {
            group: GroupId(group),
            hides: Hidden::Partitions(found.hides),
            sector_size,
            damage: None,
        }))
    }

    fn notice(&self, region: &Region) -> Vec<Finding> {
        if region.partition.is_some() {
            return Vec::new();
        }
        let Some(header) = disk::leftover(&region.device) else {
            return Vec::new();
        };
        let line = format!(
            "disk has a private header of the dynamic group {}, whose database has volumes on it, and \
             no dynamic partition: what is shown of it may be parts of them",
            header.group_name
        );
        vec![Finding::warning(code::LDM_HEADER_LEFT, line)]
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
