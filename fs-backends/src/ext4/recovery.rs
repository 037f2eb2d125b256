//! Mounting a volume that was not unmounted: its journal is replayed in memory.

use std::collections::BTreeMap;
use std::sync::Arc;

use volfold_block::{Finding, code, error_chain};

use super::dir;
use super::features::{Compat, Incompat};
use super::inode::Inode;
use super::journal::{self, Copy, Replay};
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
    let superblock = &volume.superblock;
    // Backups do not say whether the journal is needed.
    let has_journal = superblock.features.compat(Compat::HAS_JOURNAL);
    let may_need = superblock.is_backup && has_journal;
    if !superblock.features.incompat(Incompat::RECOVER) && !may_need {
        return Ok((volume, Vec::new()));
    }
    match replay(&volume).and_then(|replay| replayed(&volume, replay)) {
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

fn replay(volume: &Volume) -> FsResult<Replay> {
    let superblock = &volume.superblock;
    if !superblock.features.compat(Compat::HAS_JOURNAL) {
        return Err(FsError::corrupt("file system needs its journal and has none"));
    }
    if superblock.journal_inode == 0 {
        let message = "journal is on another device";
        return Err(FsError::new(FsErrorKind::MissingPart, message));
    }
    let mut bytes = Vec::new();
    let inode = volume
        .read_inode(superblock.journal_inode, &mut bytes)
        .map_err(|error| FsError::corrupt("journal inode cannot be read").because(error))?;
    check(&inode)?;
    let content = dir::content(volume, &inode)?;
    journal::read(volume, &content)
}

fn check(inode: &Inode) -> FsResult<()> {
    if inode.kind != FileKind::Regular || inode.is_encrypted() {
        return Err(FsError::corrupt("journal inode is not a file of blocks"));
    }
    Ok(())
}

/// The same volume through the copies of `replay`; `None` if there are none.
fn replayed(volume: &Volume, replay: Replay) -> FsResult<(Option<Volume>, Vec<Finding>)> {
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
    let copies: Arc<[(u64, Copy)]> = positions(&volume.superblock, &replay.copies)?;
    let view = |device| Arc::new(Replayed::new(device, copies.clone(), block_size));
    let reader = volume.reader();
    let reader =
        VolumeReader { data: view(reader.data.clone()), metadata: view(reader.metadata.clone()) };
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
    copies: &BTreeMap<u64, Copy>,
) -> FsResult<Arc<[(u64, Copy)]>> {
    copies
        .iter()
        .map(|(&block, &copy)| match superblock.position(block) {
            Some(position) => Ok((position, copy)),
            None => Err(FsError::corrupt("journal names a block outside the file system")),
        })
        .collect()
}
