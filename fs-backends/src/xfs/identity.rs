//! What tells one volume from another, as blkid writes it.

use super::superblock::Superblock;
use crate::driver::{Identity, VolumeRole};
use crate::uuid::uuid_text;

/// Label and UUID of the file system.
pub(super) fn of(superblock: &Superblock) -> Identity {
    Identity::new(superblock.label.clone(), uuid_text(&superblock.uuid))
}

/// The identity of the log of the file system with `uuid`, where it is another volume.
pub(super) fn of_log(uuid: &[u8; 16]) -> Identity {
    let mut identity = Identity::new(None, log_name(uuid));
    identity.role = VolumeRole::Journal;
    identity
}

/// By what the log of the file system with `uuid` is found, where it is another volume: it has no
/// UUID of its own.
pub(super) fn log_name(uuid: &[u8; 16]) -> Option<String> {
    uuid_text(uuid).map(|uuid| format!("{uuid}-log"))
}
