//! FAT12, FAT16 and FAT32, by own code.
//!
//! The crate gives no position and no cluster of an entry, replaces unpaired surrogates in long
//! names, takes FAT32 volumes with few clusters for FAT16, refuses those with a damaged FSInfo
//! sector, and follows a chain anew for every seek. What is left of FAT without it is small.
//!
//! A [`NodeId`](crate::NodeId) is the position of the node's short entry in the volume, in units of
//! 32 bytes, so that a node is found again without any table; the root directory is node 1, which no
//! entry can be.

use std::ops::ControlFlow;
use std::sync::Arc;

use volfold_block::{BlockDevice, Confidence, byte_count, bytes_to_index};

use self::boot::{Boot, label_text};
use self::chain::root_directory;
use self::dir::MAX_DIRECTORY;
use self::mounted::{FatFileSystem, list};
use self::table::Compared;
use crate::clusters::serial::serial_text;
use crate::code_page::CodePage;
use crate::driver::{FileSystemDriver, Identity, ReadOptions, VolumeReader};
use crate::error::FsResult;
use crate::extents::Extents;
use crate::node::FileSystem;

mod boot;
mod chain;
mod check;
mod deleted;
mod dir;
mod file_system;
mod mounted;
mod names;
mod probe;
mod table;

/// Bytes of the root directory that are read at once when only the label is wanted.
const LABEL_PIECE: usize = 4096;

/// FAT12, FAT16 and FAT32.
pub struct FatDriver;

impl FileSystemDriver for FatDriver {
    fn id(&self) -> &'static str {
        "fat"
    }

    fn title(&self) -> &'static str {
        "FAT"
    }

    fn probe(&self, volume: &dyn BlockDevice) -> FsResult<Confidence> {
        Ok(probe::find(volume)?.map_or(Confidence::No, |found| found.confidence))
    }

    fn identify(&self, volume: VolumeReader) -> FsResult<Identity> {
        let device = &*volume.metadata;
        let (boot, _) = probe::require(device)?;
        Ok(Identity::new(label(device, &boot), boot.serial.map(serial_text)))
    }

    fn mount(&self, volume: VolumeReader, options: ReadOptions) -> FsResult<Arc<dyn FileSystem>> {
        Ok(Arc::new(FatFileSystem::mount(volume, options)?))
    }
}

/// The label of the volume, as a mount gives it.
fn label(device: &dyn BlockDevice, boot: &Boot) -> Option<String> {
    let root = root_directory(device, boot, &Compared::new(boot)).map(|root| root.extents);
    let entry = root.and_then(|root| match find_label(device, &root) {
        Ok(entry) => Ok(entry),
        // Then what can be listed of the directory counts.
        Err(_) => list(device, root, CodePage::default()).map(|root| root.listing.label),
    });
    match entry {
        Ok(entry) => entry.as_ref().and_then(label_text),
        Err(_) => boot.label.clone(),
    }
}

/// The label in the root directory `root`, which is read no further than it.
fn find_label(device: &dyn BlockDevice, root: &Extents) -> FsResult<Option<[u8; 11]>> {
    let end = root.end().min(MAX_DIRECTORY);
    let mut piece = vec![0; LABEL_PIECE];
    let mut offset: u64 = 0;
    while offset < end {
        let left = end.saturating_sub(offset).min(byte_count(piece.len()));
        let bytes = piece.get_mut(..bytes_to_index(left)?).unwrap_or_default();
        root.read(device, offset, bytes)?;
        if let ControlFlow::Break(found) = dir::find_label(bytes) {
            return Ok(found);
        }
        offset = offset.saturating_add(left);
    }
    Ok(None)
}

#[cfg(test)]
mod tests;
