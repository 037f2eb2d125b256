//! exFAT, read from the structures on disk.
//!
//! Specification: Microsoft, "exFAT file system specification", revision 1.00.
//!
//! A [`NodeId`](crate::NodeId) is the position of the node's File entry in the volume, in units of 32
//! bytes; the root directory is node 1, which no entry can be. The entries of a set follow each other
//! in their directory and mostly on the volume; where they do not, their places are remembered when
//! the directory is listed.

use std::sync::Arc;

use volfold_block::{BlockDevice, Confidence};

use self::mounted::Exfat;
use self::volume::Volume;
use crate::clusters::serial::serial_text;
use crate::driver::{FileSystemDriver, Identity, ReadOptions, VolumeReader};
use crate::error::FsResult;
use crate::node::FileSystem;

mod bitmap;
mod boot;
mod check;
mod checksum;
mod deleted;
mod directory;
mod entry;
mod file_system;
mod listing;
mod mounted;
mod record;
mod region;
mod system;
mod table;
mod upcase;
mod volume;

#[cfg(test)]
mod deleted_tests;
#[cfg(test)]
mod hostile_tests;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

/// Reads exFAT.
#[derive(Debug)]
pub struct ExfatDriver;

impl FileSystemDriver for ExfatDriver {
    fn id(&self) -> &'static str {
        "exfat"
    }

    fn title(&self) -> &'static str {
        "exFAT"
    }

    fn probe(&self, volume: &dyn BlockDevice) -> FsResult<Confidence> {
        region::probe(volume)
    }

    fn probe_backup(&self, volume: &dyn BlockDevice) -> FsResult<Confidence> {
        Ok(region::probe_backup(volume))
    }

    fn identify(&self, volume: VolumeReader) -> FsResult<Identity> {
        let (volume, _) = Volume::open(volume)?;
        let label = volume.system().ok().and_then(|system| system.label);
        Ok(Identity::new(label, Some(serial_text(volume.boot.serial))))
    }

    fn mount(&self, volume: VolumeReader, options: ReadOptions) -> FsResult<Arc<dyn FileSystem>> {
        Ok(Arc::new(Exfat::mount(volume, options)?))
    }
}
