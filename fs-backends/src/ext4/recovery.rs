//! Mounting a volume that was not unmounted: its journal is replayed in memory.

use std::collections::BTreeMap;
use std::sync::Arc;

use volfold_block::{Code, Finding, Mapped, code, error_chain};

use super::fast_commit::FastCommits;
use super::features::{Compat, Incompat};
use super::inode::Inode;
use super::journal::{FastArea, Journal, JournalCopy};
use super::journal_device::JournalDevice;
use super::map;
use super::replayed::Replayed;
use super::superblock::Superblock;
use super::volume::Volume;
use crate::driver::{VolumeReader, left_out};
use crate::error::{FsError, FsErrorKind, FsResult};
use crate::node::FileKind;
use crate::uuid::uuid_text;

/// Reads the volume as it is after recovery, and says what was done.
///
/// A journal that cannot be replayed, or is left out because the volume is wanted `as_is`, leaves the volume as it
/// lies there, with a finding.
///
/// # Errors
/// Why the volume cannot be read at all.
pub(super) fn read(reader: VolumeReader, as_is: bool) -> FsResult<(Volume, Vec<Finding>)> {
    let volume = Volume::read(reader)?;
    if !is_needed(&volume.superblock) {
        return Ok((volume, Vec::new()));
    }
    if as_is {
        return Ok((volume, vec![left_out("journal")]));
    }
    let read = journal(&volume).and_then(|journal| Ok((journal.read()?, journal)));
    let (replay, journal) = match read {
        Ok(read) => read,
        Err(error) if error.kind() == FsErrorKind::Io => return Err(error),
        Err(error) => {
            let finding = not_replayed(code::EXT4_JOURNAL_NOT_REPLAYED, &error);
            return Ok((volume, vec![finding]));
        }
    };
    let mut findings = Vec::new();
    if let Some(why) = replay.stopped {
        findings.push(Finding::warning(
            code::EXT4_JOURNAL_DAMAGED,
            format!("{why}; changes after that may be missing"),
        ));
    }
    let mut done = Done { transactions: replay.transactions, ..Done::default() };
    let volume = match with_copies(&volume, &journal, &replay.copies) {
        Ok(None) => volume,
        Ok(Some(replayed)) => {
            done.blocks = replay.copies.len();
            replayed
        }
        Err(error) if error.kind() == FsErrorKind::Io => return Err(error),
        Err(error) => {
            findings.push(not_replayed(code::EXT4_JOURNAL_NOT_REPLAYED, &error));
            return Ok((volume, findings));
        }
    };
    let volume = match replay.fast {
        Some(area) => with_fast_commits(volume, &journal, &area, &mut done, &mut findings)?,
        None => volume,
    };
    findings.extend(done.finding(&volume.superblock, findings.is_empty()));
    Ok((volume, findings))
}

/// What was taken from a journal.
#[derive(Debug, Default)]
struct Done {
    transactions: u64,
    blocks: usize,
    fast_commits: u64,
}

impl Done {
    /// `alone`: nothing was said of the journal yet.
    fn finding(&self, superblock: &Superblock, alone: bool) -> Option<Finding> {
        let mut parts = Vec::new();
        if self.blocks > 0 {
            parts.push(format!("{} transactions with {} blocks", self.transactions, self.blocks));
        }
        if self.fast_commits > 0 {
            parts.push(format!("{} fast commits", self.fast_commits));
        }
        if !parts.is_empty() {
            let line = format!("{} are read from the journal", parts.join(" and "));
            return Some(Finding::warning(code::EXT4_JOURNAL_REPLAYED, line));
        }
        let said = superblock.features.incompat(Incompat::RECOVER);
        let is_empty = alone && said && self.transactions == 0;
        is_empty.then(|| {
            Finding::warning(
                code::EXT4_JOURNAL_EMPTY,
                "the file system was not unmounted, and its journal holds nothing to apply; the \
                 newest changes may be missing",
            )
        })
    }
}

fn not_replayed(code: Code, error: &FsError) -> Finding {
    let reason = error_chain(error);
    Finding::warning(code, format!("{reason}; the newest changes may be missing"))
}

/// Whether the newest changes may be in the journal alone.
pub(super) fn is_needed(superblock: &Superblock) -> bool {
    // Backups do not say whether the journal is needed.
    let may_need =
        superblock.in_place_of.is_some() && superblock.features.compat(Compat::HAS_JOURNAL);
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
        .map_err(|error| FsError::corrupt("journal inode cannot be read").because(error));
    let own = inode.and_then(|inode| file(volume, &inode));
    match (own, superblock.journal_backup) {
        (Err(error), Some((block, size))) if error.kind() != FsErrorKind::Io => {
            let kept = Inode::of_journal(superblock, block, size);
            file(volume, &kept).map_err(|_| error)
        }
        (own, _) => own,
    }
}

/// The journal that is the file `inode`, if it begins as one.
fn file(volume: &Volume, inode: &Inode) -> FsResult<Journal> {
    check(inode)?;
    let journal = Journal {
        device: volume.data(),
        extents: map::read(volume, inode)?,
        size: inode.size,
        block_size: volume.superblock.block_size.get(),
        superblock: 0,
    };
    journal.check()?;
    Ok(journal)
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

/// The volume with `copies` in place of its blocks, `None` if there are none.
fn with_copies(
    volume: &Volume,
    journal: &Journal,
    copies: &BTreeMap<u64, JournalCopy>,
) -> FsResult<Option<Volume>> {
    if copies.is_empty() {
        return Ok(None);
    }
    let block_size = volume.superblock.block_size.get();
    let copies: Arc<[(u64, JournalCopy)]> = positions(&volume.superblock, copies)?;
    let from = &journal.device;
    let view = |device| {
        let map = Replayed::new(device, from.clone(), copies.clone(), block_size);
        Arc::new(Mapped::new(map))
    };
    let reader = volume.reader();
    let reader = VolumeReader::new(view(reader.data.clone()), view(reader.metadata.clone()));
    Volume::read(reader).map(Some)
}

/// The volume with the changes of the fast commits in `area`, if it can be had.
///
/// # Errors
/// If the host cannot read.
fn with_fast_commits(
    volume: Volume,
    journal: &Journal,
    area: &FastArea,
    done: &mut Done,
    findings: &mut Vec<Finding>,
) -> FsResult<Volume> {
    let read = FastCommits::read(journal, area).and_then(|commits| {
        let changes = commits.changes(&volume)?;
        Ok((commits, changes))
    });
    match read {
        Ok((commits, changes)) => {
            if let Some(why) = commits.stopped {
                let line = format!("{why}; changes of fast commits may be missing");
                findings.push(Finding::warning(code::EXT4_FAST_COMMITS_NOT_REPLAYED, line));
            }
            done.fast_commits = commits.count;
            Ok(volume.changed(changes))
        }
        Err(error) if error.kind() == FsErrorKind::Io => Err(error),
        Err(error) => {
            let mut finding = not_replayed(code::EXT4_FAST_COMMITS_NOT_REPLAYED, &error);
            finding.message = format!("fast commits are not read: {}", finding.message);
            findings.push(finding);
            Ok(volume)
        }
    }
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
