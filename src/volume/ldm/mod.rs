//! Windows dynamic disks: the Logical Disk Manager (LDM).
//!
//! A dynamic disk belongs to a *disk group*, and every disk of the group holds the group's whole
//! database. In it a *volume* is made of *components* (one, or the sides of a mirror), a component
//! of *partitions* (one behind the other, striped, or RAID-5), and a partition is a run of sectors
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

use volfold_block::{BlockResult, Finding};

use super::{Claim, GroupId, Region, Volume, VolumeManager};

mod assemble;
mod build;
mod database;
mod disk;
mod plan;
mod privhead;
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
        // A disk that cannot tell its group is one by itself, so that nobody takes its parts for
        // volumes.
        let group = match &found.header {
            Some(header) => header.group_guid.clone(),
            None => format!("disk{}", region.disk),
        };
        let sector_size = found.header.map(|header| header.sector_size);
        Ok(Some(Claim { group: GroupId(group), hides: found.hides, sector_size }))
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

/// What is odd about one copy of a database.
#[derive(Debug, Default)]
struct Problems {
    lines: Vec<String>,
    more: usize,
}

impl Problems {
    /// LIMIT: lines that are kept; a database of rubbish has one for each of its blocks.
    const KEPT: usize = 8;

    fn add(&mut self, line: String) {
        if self.lines.len() < Self::KEPT {
            self.lines.push(line);
        } else {
            self.more = self.more.saturating_add(1);
        }
    }

    fn count(&self) -> usize {
        self.lines.len().saturating_add(self.more)
    }

    /// All in one sentence; `None` if there are none.
    fn sentence(&self) -> Option<String> {
        let more = match self.more {
            0 => String::new(),
            more => format!("; and {more} more"),
        };
        (!self.lines.is_empty()).then(|| format!("{}{more}", self.lines.join("; ")))
    }
}

/// The text in a field that is filled up with NUL; control characters become `?`.
fn text(bytes: &[u8]) -> String {
    let bytes = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
    let shown = String::from_utf8_lossy(bytes);
    shown.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}
