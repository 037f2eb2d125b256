//! NTFS, read whole: directories by their B-trees, content with its compressions.
//!
//! What decides whether bytes may be handed out is all looked at here: initialized size, pieces of
//! attribute lists, compression units, reparse points. What cannot be decoded is an error with its
//! reason.
//!
//! A [`NodeId`](crate::NodeId) is the number of a file record.

use std::sync::Arc;

use volfold_block::{BlockDevice, Confidence};

use self::boot::Boot;
use self::mounted::{NtfsFileSystem, open_volume, read_label};
use self::record::FileRecord;
use crate::driver::{FileSystemDriver, Identity, ReadOptions, VolumeReader};
use crate::error::{FsErrorKind, FsResult};
use crate::node::FileSystem;

mod boot;
mod check;
mod codec;
mod deleted;
mod extended;
mod file_system;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod index;
mod lznt1;
mod mount_points;
mod mounted;
mod node;
mod record;
mod reparse;
mod runs;
mod stream;
mod units;
mod upcase;
mod volume;
mod wof;
mod xattr;

/// NTFS, read by our own code.
#[derive(Clone, Copy, Debug, Default)]
pub struct NtfsDriver;

impl FileSystemDriver for NtfsDriver {
    fn id(&self) -> &'static str {
        "ntfs"
    }

    fn title(&self) -> &'static str {
        "NTFS"
    }

    fn probe(&self, volume: &dyn BlockDevice) -> FsResult<Confidence> {
        match boot::read_primary(volume) {
            Ok(Some(_)) => return Ok(Confidence::Certain),
            Err(error) if error.kind() == FsErrorKind::Unsupported => {
                return Ok(Confidence::Certain);
            }
            Err(error) if error.kind() == FsErrorKind::Io => return Err(error),
            Ok(None) | Err(_) => {}
        }
        if boot::is_wiped(volume)? { self.probe_backup(volume) } else { Ok(Confidence::No) }
    }

    fn probe_backup(&self, volume: &dyn BlockDevice) -> FsResult<Confidence> {
        // The copy alone may be what another file system left over; so the table has to be there.
        let backup = boot::read_backup(volume)?;
        let has_table = |boot: Boot| {
            let mut bytes = vec![0; boot.record_size];
            volume.read_at(boot.mft, &mut bytes).is_ok()
                && FileRecord::parse(0, boot.mft, bytes).is_ok_and(|record| record.is_node())
        };
        Ok(if backup.is_some_and(has_table) { Confidence::Likely } else { Confidence::No })
    }

    fn identify(&self, reader: VolumeReader) -> FsResult<Identity> {
        let (volume, _) = open_volume(reader)?;
        let uuid = Some(format!("{:016X}", volume.boot.serial));
        // A damaged label is a finding of the mounted volume, and no reason to give it up.
        let label = read_label(&volume).map(|(label, _)| label).unwrap_or_default();
        Ok(Identity::new(label, uuid))
    }

    fn mount(&self, volume: VolumeReader, options: ReadOptions) -> FsResult<Arc<dyn FileSystem>> {
        Ok(NtfsFileSystem::mount(volume, options)?.shared())
    }
}

#[cfg(test)]
mod tests;
