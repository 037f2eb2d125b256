//! XFS of versions 4 and 5, read from the structures on disk.
//!
//! Specification: "XFS Algorithms & Data Structures", 3rd edition, of the kernel's documentation.
//!
//! Nothing is locked and nothing seeks: every call reads the inode it is about through the cached
//! view of the volume. A damaged structure harms the calls that need it. A log that was not emptied
//! is applied in memory.

mod acl;
mod attributes;
mod backups;
mod block_header;
mod bytes;
mod checksum;
mod dir;
mod features;
mod groups;
mod hash_tree;
mod identity;
mod inode;
mod log;
mod map;
mod mounted;
mod numbers;
mod recovery;
mod superblock;
mod volume;

#[cfg(test)]
#[cfg(unix)]
mod geometry_tests;
#[cfg(test)]
mod map_tests;
#[cfg(test)]
#[cfg(unix)]
mod recovery_tests;
#[cfg(test)]
mod testing;
#[cfg(test)]
#[cfg(unix)]
mod tests;

use std::sync::Arc;

use volfold_block::{BlockDevice, Confidence};

use self::log::device;
use self::superblock::MAGIC;
use crate::driver::{FileSystemDriver, Identity, ReadOptions, VolumeReader};
use crate::error::FsResult;
use crate::node::FileSystem;

/// Reads XFS.
#[derive(Debug)]
pub struct XfsDriver;

impl FileSystemDriver for XfsDriver {
    fn id(&self) -> &'static str {
        "xfs"
    }

    fn title(&self) -> &'static str {
        "XFS"
    }

    fn probe(&self, volume: &dyn BlockDevice) -> FsResult<Confidence> {
        let mut magic = [0; 4];
        if volume.size() < 4096 {
            return Ok(Confidence::No);
        }
        volume.read_at(0, &mut magic)?;
        let is_known = magic == MAGIC || device::owner(volume)?.is_some();
        Ok(if is_known { Confidence::Certain } else { Confidence::No })
    }

    fn probe_backup(&self, volume: &dyn BlockDevice) -> FsResult<Confidence> {
        if device::owner_by_search(volume)?.is_some() {
            return Ok(Confidence::Likely);
        }
        Ok(backups::probe(volume))
    }

    fn identify(&self, volume: VolumeReader) -> FsResult<Identity> {
        match backups::read_superblock(&*volume.metadata) {
            Ok(superblock) => Ok(identity::of(&superblock)),
            Err(error) => {
                let owner = device::owner_by_search(&*volume.metadata)?;
                owner.map(|owner| identity::of_log(&owner)).ok_or(error)
            }
        }
    }

    fn mount(&self, volume: VolumeReader, options: ReadOptions) -> FsResult<Arc<dyn FileSystem>> {
        Ok(Arc::new(mounted::Xfs::mount(volume, &options)?))
    }
}
