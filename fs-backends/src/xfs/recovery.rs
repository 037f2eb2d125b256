//! Mounting a volume that was not unmounted: its log is applied in memory.

use std::sync::Arc;

use volfold_block::{Finding, Mapped, code, error_chain};

use super::backups;
use super::identity;
use super::log::{self, Ends, Log, Replayed};
use super::superblock::Superblock;
use super::volume::{Doubts, Volume};
use crate::driver::{VolumeReader, left_out};
use crate::error::{FsError, FsErrorKind, FsResult};

/// Reads the volume as it is after recovery, and says what was done.
///
/// A log that cannot be applied, or is left out because the volume is wanted `as_is`, leaves the volume as it lies
/// there, with a finding.
///
/// # Errors
/// Why the volume cannot be read at all.
pub(super) fn read(reader: VolumeReader, as_is: bool) -> FsResult<(Volume, Vec<Finding>)> {
    let superblock = backups::read_superblock(&*reader.metadata)?;
    if as_is {
        let is_clean = find(&reader, &superblock).and_then(|log| Ends::find(&log));
        let is_clean = matches!(is_clean, Ok((Ends::Clean, _)));
        let findings = if is_clean { Vec::new() } else { vec![left_out("log")] };
        return Ok((Volume::new(reader, superblock), findings));
    }
    match replayed(&reader, &superblock) {
        Ok(None) => Ok((Volume::new(reader, superblock), Vec::new())),
        Ok(Some((changed, doubts, findings))) => {
            let superblock = after(&changed, superblock)?;
            Ok((Volume::new(changed, superblock).doubting(doubts), findings))
        }
        Err(error) if matches!(error.kind(), FsErrorKind::Io | FsErrorKind::Stopped) => Err(error),
        Err(error) => {
            let line = format!("{}; the newest changes may be missing", error_chain(&error));
            let finding = Finding::warning(code::XFS_LOG_NOT_REPLAYED, line);
            Ok((Volume::new(reader, superblock), vec![finding]))
        }
    }
}

/// Features of logs: changes of extended attributes that are begun and ended.
const KNOWN_IN_LOG: u32 = 1;

/// The superblock after the log was applied; one that took the place of the primary stays.
fn after(reader: &VolumeReader, before: Superblock) -> FsResult<Superblock> {
    if before.in_place_of_primary.is_some() {
        return Ok(before);
    }
    let mut after = Superblock::read(&*reader.metadata, 0)?;
    after.is_unconfirmed = before.is_unconfirmed;
    Ok(after)
}

/// The volume with its log applied, and what is to be said of that; `None` if the log is clean.
fn replayed(
    reader: &VolumeReader,
    superblock: &Superblock,
) -> FsResult<Option<(VolumeReader, Doubts, Vec<Finding>)>> {
    let log = find(reader, superblock)?;
    let (ends, newest) = Ends::find(&log)?;
    // What is in its place was in the log before.
    let is_v5 = superblock.features.is_v5;
    if is_v5 && log::newest_in_headers(&*reader.metadata, superblock)? > newest {
        let message = "the volume has changes that are newer than its log, which was wiped or is of another time";
        return Err(FsError::corrupt(message));
    }
    let Ends::Dirty(ends) = ends else { return Ok(None) };
    let unknown = superblock.log_incompat & !KNOWN_IN_LOG;
    if unknown != 0 {
        let message = format!("log has unknown features {unknown:#x}");
        return Err(FsError::new(FsErrorKind::Unsupported, message));
    }
    let outcome = log::replay(&log, &ends, &*reader.data, superblock)?;
    let mut findings = Vec::new();
    if let Some(stopped) = outcome.stopped {
        let line = format!("{}; the newest changes may be missing", error_chain(&stopped.why));
        let code = if stopped.is_torn { code::XFS_LOG_TORN } else { code::XFS_LOG_DAMAGED };
        findings.push(Finding::warning(code, line));
    }
    for (inode, why) in sorted(&outcome.doubts) {
        let line = format!("inode {inode} {why}");
        findings.push(Finding::warning(code::XFS_LOG_UNFINISHED, line));
    }
    if outcome.transactions > 0 || findings.is_empty() {
        let kib = outcome.blocks.div_ceil(2);
        let line = format!(
            "{} transactions that change {kib} KiB are read from the log",
            outcome.transactions
        );
        findings.push(Finding::warning(code::XFS_LOG_REPLAYED, line));
    }
    let view = |device| Arc::new(Mapped::new(Replayed::new(device, outcome.changed.clone())));
    let changed = VolumeReader::new(view(reader.data.clone()), view(reader.metadata.clone()));
    Ok(Some((changed, outcome.doubts, findings)))
}

/// The log of the file system: blocks of its own, or another volume of the set.
fn find(reader: &VolumeReader, superblock: &Superblock) -> FsResult<Log> {
    let is_v5 = superblock.features.is_v5;
    if superblock.log_start.is_some() {
        let span = superblock.log_span();
        let span = span.ok_or_else(|| FsError::corrupt("log is outside the file system"))?;
        return Log::new(reader.data.clone(), span, superblock.uuid, is_v5);
    }
    let name = identity::log_name(&superblock.uuid).unwrap_or_default();
    let found = reader.others(&name);
    let [other] = found.as_slice() else {
        // Of several it is not known which goes with this state of the file system.
        let message = match found.len() {
            0 => "log is on another volume, which is missing; give its disk as well",
            _ => "log is on another volume, and there are several of it; give one of them",
        };
        return Err(FsError::new(FsErrorKind::MissingPart, message));
    };
    let size = superblock.bytes(superblock.log_blocks);
    let size = size.ok_or_else(|| FsError::corrupt("log has an invalid size"))?;
    Log::new(other.data.clone(), (0, size), superblock.uuid, is_v5)
}

/// LIMIT: files with an unfinished change that are named.
const MAX_NAMED: usize = 20;

fn sorted(doubts: &Doubts) -> Vec<(u64, &'static str)> {
    let mut all: Vec<_> = doubts.iter().map(|(&inode, &why)| (inode, why)).collect();
    all.sort_unstable();
    all.truncate(MAX_NAMED);
    all
}
