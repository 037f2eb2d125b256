//! ext2, ext3 and ext4, read from the structures on disk.
//!
//! Specification: kernel documentation, "ext4 Data Structures and Algorithms".
//!
//! Nothing is locked and nothing seeks: every call reads the inode it is about through the cached
//! view of the volume. A damaged structure harms the calls that need it.

mod attributes;
mod backups;
mod block_map;
mod casefold;
mod changes;
mod changes_builder;
mod check;
mod checksum;
mod damage;
mod descriptor;
mod dir;
mod dir_block;
mod dir_hash;
mod extent_tree;
mod fast_commit;
mod features;
mod groups;
mod hash_tree;
mod identity;
mod index;
mod inline;
mod inode;
mod inode_bytes;
mod journal;
mod journal_device;
mod journal_tags;
mod map;
mod mounted;
mod nokey;
mod orphans;
mod recovery;
mod replayed;
mod runs;
mod superblock;
mod system_blocks;
mod twins;
mod volume;

#[cfg(test)]
#[cfg(unix)]
mod contradiction_tests;
#[cfg(test)]
#[cfg(unix)]
mod fast_commit_tests;
#[cfg(test)]
#[cfg(unix)]
mod hostile_tests;
#[cfg(test)]
#[cfg(unix)]
mod search_tests;
#[cfg(test)]
#[cfg(unix)]
mod tests;

use std::sync::Arc;

use volfold_block::{BlockDevice, Confidence};

use self::journal_device::JournalDevice;
use self::mounted::{Ext4, check_root};
use self::superblock::{MAGIC, MAGIC_OFFSET, MAX_LOG_BLOCK_SIZE};
use self::volume::Volume;
use crate::driver::{FileSystemDriver, Identity, ReadOptions, VolumeReader, VolumeRole};
use crate::error::FsResult;
use crate::node::FileSystem;
use crate::uuid::uuid_text;

/// Reads ext2, ext3 and ext4.
#[derive(Debug)]
pub struct Ext4Driver;

impl FileSystemDriver for Ext4Driver {
    fn id(&self) -> &'static str {
        "ext4"
    }

    fn title(&self) -> &'static str {
        "ext2/3/4"
    }

    fn probe(&self, volume: &dyn BlockDevice) -> FsResult<Confidence> {
        let mut log_block_size = [0; 4];
        let mut magic = [0; 2];
        if volume.size() < 2048 {
            return Ok(Confidence::No);
        }
        volume.read_at(0x418, &mut log_block_size)?;
        volume.read_at(MAGIC_OFFSET, &mut magic)?;
        let sane = u32::from_le_bytes(log_block_size) <= MAX_LOG_BLOCK_SIZE;
        if u16::from_le_bytes(magic) == MAGIC && sane {
            Ok(Confidence::Certain)
        } else {
            Ok(Confidence::No)
        }
    }

    fn probe_backup(&self, volume: &dyn BlockDevice) -> FsResult<Confidence> {
        Ok(backups::probe(volume))
    }

    fn identify(&self, volume: VolumeReader) -> FsResult<Identity> {
        let device = &*volume.metadata;
        if let Some(journal) = JournalDevice::read(device)? {
            let mut identity = Identity::new(journal.label, uuid_text(&journal.uuid));
            identity.role = VolumeRole::Journal;
            return Ok(identity);
        }
        let volume = Volume::read_start(volume)?;
        // A volume that was not unmounted may be damaged until its journal is replayed.
        if !recovery::is_needed(&volume.superblock) {
            check_root(&volume)?;
        }
        let superblock = volume.superblock;
        Ok(Identity::new(superblock.label, uuid_text(&superblock.uuid)))
    }

    fn mount(&self, volume: VolumeReader, options: ReadOptions) -> FsResult<Arc<dyn FileSystem>> {
        Ok(Arc::new(Ext4::mount(volume, &options)?))
    }
}
