//! Software RAID of Linux (MD).
//!
//! An *array* is made of *devices*: disks, partitions or volumes of other managers. Each has a *superblock*
//! with the shape of the array, the *role* of every device, and how often that changed (*events*). The way
//! to it:
//!
//! | module       | structure                                     | found by                          |
//! |--------------|-----------------------------------------------|-----------------------------------|
//! | `find`       | which version is where, and whose it is       | the start and the end of a device |
//! | `v1`         | superblocks 1.0, 1.1, 1.2                     | the place                         |
//! | `v090`       | superblock 0.90                               | the place                         |
//! | `superblock` | what both say                                 |                                   |
//! | `member`     | the data of a device, its log of bad blocks   | the superblock                    |
//! | `journal`    | writes that may not be on the devices yet     | the device that keeps it          |
//! | `firmware`   | Intel and DDF: named, not read                | the end of a disk                 |
//!
//! `choose` says which devices count, `build` makes devices of columns, `assemble` says what is shown.
//!
//! Superblocks have checksums. The one with the most events counts; a device that is more than one event
//! behind, or that the others say failed, is not read. Bytes of a missing device are rebuilt only where the
//! array says that parity is in sync.

use volfold_block::{BlockResult, Finding, code, error_chain};

use self::find::Found;
use super::{Claim, Damage, GroupId, Hidden, Region, Volume, VolumeManager};

mod assemble;
#[cfg(test)]
mod attack;
mod build;
mod choose;
mod find;
mod firmware;
mod journal;
mod member;
mod superblock;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod v090;
mod v1;

/// The volume manager for MD.
pub struct Md;

impl VolumeManager for Md {
    fn id(&self) -> &'static str {
        "md"
    }

    fn title(&self) -> &'static str {
        "Linux software RAID (MD): linear, RAID-0, 1, 4, 5, 6, 10"
    }

    fn claim(&self, region: &Region) -> BlockResult<Option<Claim>> {
        let (found, hides) = find::find_in(region)?;
        if matches!(found, Found::Nothing) {
            return Ok(None);
        }
        let damage = match found {
            Found::Damaged(error) => {
                Some(Damage { at: error.position().unwrap_or(0), reason: error_chain(&error) })
            }
            _ => None,
        };
        // An array may lie on others: all are joined at once, and then all that lie on those.
        let group = GroupId("md".to_owned());
        Ok(Some(Claim { group, hides: Hidden::Partitions(hides), sector_size: None, damage }))
    }

    fn notice(&self, region: &Region) -> Vec<Finding> {
        let mut findings: Vec<Finding> = firmware::notice(&*region.device).into_iter().collect();
        if find::is_left(region).unwrap_or(false) {
            let line = "disk has partitions, and a superblock of MD that is left from before";
            findings.push(Finding::info(code::MD_SUPERBLOCK_LEFT, line));
        }
        findings
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
