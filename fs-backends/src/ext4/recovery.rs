//! Mounting a volume that was not unmounted: its journal is replayed in memory.

use std::collections::BTreeMap;
use std::sync::Arc;

use volfold_block::{Finding, Mapped, code, error_chain};

use super::features::{Compat, Incompat};
use super::identity::uuid_text;
use super::inode::Inode;
use super::journal::{Journal, JournalCopy, Replay};
use super::journal_device::JournalDevice;
use super::map;
use super::replayed::Replayed;
use super::superblock::Superblock;
use super::volume::Volume;
use crate::driver::VolumeReader;
use crate::error::{FsError, FsErrorKind, FsResult};
use crate::node::FileKind;

/// Reads the volume as it is after recovery, and says what was done.
///
/// A journal that cannot be replayed leaves the volume as it lies there, with a finding.
///
/// # Errors
/// Why the volume cannot be read at all.
pub(super) fn read(reader: VolumeReader) -> FsResult<(Volume, Vec<Finding>)> {
    let volume = Volume::read(reader)?;
    if !is_needed(&volume.superblock) {
        return Ok((volume, Vec::new()));
    }
    match journal(&volume).and_then(|journal| replayed(&volume, &journal)) {
        Ok((None, findings)) => Ok((volume, findings)),
        Ok((Some(volume), findings)) => Ok((volume, findings)),
        Err(error) if error.kind() == FsErrorKind::Io => Err(error),
        Err(error) => {
            let reason = error_chain(&error);
            let finding = Finding::warning(
                code::EXT4_JOURNAL_NOT_REPLAYED,
                format!("{reason}; the newest changes may be missing"),
            );
            Ok((volume, vec![finding]))
        }
    }
}

/// Whether the newest changes may be in the journal alone.
pub(super) fn is_needed(superblock: &Superblock) -> bool {
    // Backups do not say whether the journal is needed.
    let may_need = superblock.is_backup && superblock.features.compat(Compat::HAS_JOURNAL);
    superblock.features.incompat(Incompat::RECOVER) || may_need
}

/// The journal of `volume`: a file of its own, or another volume of the set.
fn journal(volume: &Volume) -> FsResult<Journal> {
    let superblock = &volume.superblock;
    if !superblock.features.compat(Compat::HAS_JOURNAL) {
        return Err(FsError::corrupt("file system needs its journal and has none"));
    }
    if superblock.journal_inode == 0 {
        return external(volume);
    }
    let mut bytes = Vec::new();
    let inode = volume
        .read_inode(superblock.journal_inode, &mut bytes)
        .map_err(|error| FsError::corrupt("journal inode cannot be read").because(error))?;
    check(&inode)?;
    Ok(Journal {
        device: volume.data(),
        extents: map::read(volume, &inode)?,
        size: inode.size,
        block_size: superblock.block_size.get(),
        superblock: 0,
    })
}

/// The journal on a device of its own.
fn external(volume: &Volume) -> FsResult<Journal> {
    let superblock = &volume.superblock;
    let Some(uuid) = uuid_text(&superblock.journal_uuid) else {
        let message = "journal is on another device that has no UUID";
        return Err(FsError::new(FsErrorKind::MissingPart, message));
    };
    let found = volume.reader().others(&uuid);
    let [reader] = found.as_slice() else {
        // Of several it is not known which goes with this state of the file system.
        let message = match found.len() {
            0 => {
                format!("journal is on another volume, with the UUID {uuid}; give its disk as well")
            }
            count => format!(
                "journal is on another volume, and {count} have its UUID {uuid}; give one of them"
            ),
        };
        return Err(FsError::new(FsErrorKind::MissingPart, message));
    };
    match JournalDevice::read(&*reader.metadata)? {
        Some(device) if device.uuid == superblock.journal_uuid => {
            device.journal(reader.data.clone(), superblock.block_size.get())
        }
        _ => Err(FsError::corrupt(format!("volume with the UUID {uuid} is not the journal"))),
    }
}

fn check(inode: &Inode) -> FsResult<()> {
    if inode.kind != FileKind::Regular || inode.is_encrypted() {
        return Err(FsError::corrupt("journal inode is not a file of blocks"));
    }
    Ok(())
}

/// The same volume through the copies in `journal`; `None` if there are none.
fn replayed(volume: &Volume, journal: &Journal) -> FsResult<(Option<Volume>, Vec<Finding>)> {
    let replay: Replay = journal.read()?;
    let mut findings = Vec::new();
    if let Some(why) = replay.stopped {
        findings.push(Finding::warning(
            code::EXT4_JOURNAL_DAMAGED,
            format!("{why}; changes after that may be missing"),
        ));
    }
    if replay.copies.is_empty() {
        return Ok((None, findings));
    }
    let block_size = volume.superblock.block_size.get();
    let copies: Arc<[(u64, JournalCopy)]> = positions(&volume.superblock, &replay.copies)?;
    let from = &journal.device;
    let view = |device| {
        let map = Replayed::new(device, from.clone(), copies.clone(), block_size);
        Arc::new(Mapped::new(map))
    };
    let reader = volume.reader();
    let reader = VolumeReader::new(view(reader.data.clone()), view(reader.metadata.clone()));
    findings.push(Finding::warning(
        code::EXT4_JOURNAL_REPLAYED,
        format!(
            "{} transactions with {} blocks are read from the journal",
            replay.transactions,
            copies.len()
        ),
    ));
    Ok((Some(Volume::read(reader)?), findings))
}

fn positions(
    superblock: &Superblock,
    copies: &BTreeMap<u64, JournalCopy>,
) -> FsResult<Arc<[(u64, JournalCopy)]>> {
    copies
        .iter()
        .map(|(&block, &copy)| match superblock.position(block) {
            Some(position) => Ok((position, copy)),
            None => Err(FsError::corrupt("journal names a block outside the file system")),
        })
        .collect()
}
