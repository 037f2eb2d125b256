//! The two boot regions, of which the second is a copy: which of them counts.
//!
//! Specification: Microsoft, "exFAT file system specification", 3. Each has 12 sectors: the boot
//! sector, 8 with more boot code, one with parameters of the maker, one reserved, and one that is
//! filled with the checksum of the others.

use volfold_block::{BlockDevice, Confidence, Finding, Span, byte_count, bytes_to_index, code};

use super::boot::{self, Boot, SECTOR, SECTOR_SHIFTS};
use super::checksum;
use super::table::Table;
use crate::clusters::other_content::holds_other;
use crate::error::{FsError, FsErrorKind, FsResult};

/// The sectors of a region, and those of them with a checksum.
const SECTORS: u64 = 12;
const SUMMED: u64 = 11;
/// What the table begins with.
const MEDIA: u32 = 0xFFFF_FFF8;

/// The boot sector of a volume that counts.
pub(super) struct Found {
    pub(super) boot: Boot,
    pub(super) confidence: Confidence,
    /// What is odd about it.
    pub(super) finding: Option<Finding>,
}

/// A region whose boot sector makes sense.
pub(super) struct Region {
    pub(super) boot: Boot,
    pub(super) has_right_checksum: bool,
}

/// How sure it is that `volume` is exFAT by its first sector.
///
/// # Errors
/// If it cannot be read.
pub(super) fn probe(volume: &dyn BlockDevice) -> FsResult<Confidence> {
    if !first_sector(volume)?.as_ref().is_some_and(boot::is_named) {
        return Ok(Confidence::No);
    }
    // What says that it is exFAT and is damaged is refused with the reason.
    Ok(by_name(volume).map_or(Confidence::Likely, |found| found.confidence))
}

/// How sure it is that `volume` is exFAT by the copy alone.
pub(super) fn probe_backup(volume: &dyn BlockDevice) -> Confidence {
    if by_copy(volume).is_some() { Confidence::Likely } else { Confidence::No }
}

/// The boot sector of `volume` that counts.
///
/// # Errors
/// `Corrupt` or `Unsupported` if there is none; why it cannot be read.
pub(super) fn require(volume: &dyn BlockDevice) -> FsResult<Found> {
    if first_sector(volume)?.as_ref().is_some_and(boot::is_named) {
        return by_name(volume);
    }
    by_copy(volume).ok_or_else(|| FsError::corrupt("not an exFAT boot sector").at(0))
}

/// The boot sector of a volume whose first sector says that it is exFAT.
fn by_name(volume: &dyn BlockDevice) -> FsResult<Found> {
    let main = match read(volume, 0) {
        Ok(Region { boot, has_right_checksum: true }) => {
            return Ok(Found { boot, confidence: Confidence::Certain, finding: None });
        }
        Err(error) if error.kind() == FsErrorKind::Unsupported => return Err(error),
        main => main,
    };
    if let Some(boot) = copy(volume) {
        let differs = main.as_ref().is_ok_and(|main| !main.boot.is_laid_out_as(&boot));
        let (code, line) = match differs {
            true => {
                let line = "boot region has a bad checksum and another layout than its backup, which is used";
                (code::EXFAT_BOOT_DIFFERS, line)
            }
            false => (
                code::EXFAT_BACKUP_BOOT,
                "boot region is damaged; the volume is read by its backup",
            ),
        };
        let finding = Finding::warning(code, line).at(0);
        return Ok(Found { boot, confidence: Confidence::Likely, finding: Some(finding) });
    }
    let boot = main?.boot;
    let line = "both boot regions have a bad checksum; the first is used as it is";
    let finding = Finding::warning(code::EXFAT_BOOT_CHECKSUM, line).at(0);
    Ok(Found { boot, confidence: Confidence::Likely, finding: Some(finding) })
}

/// The boot sector of a volume whose first sector tells nothing.
fn by_copy(volume: &dyn BlockDevice) -> Option<Found> {
    let boot = copy(volume).filter(|boot| begins_with_media(volume, boot))?;
    if holds_other(volume) {
        return None;
    }
    let line = "sector 0 is not one of exFAT; the volume is read by its backup boot region";
    let finding = Finding::warning(code::EXFAT_BACKUP_BOOT, line).at(0);
    Some(Found { boot, confidence: Confidence::Likely, finding: Some(finding) })
}

/// Whether the table begins as every writer lets it begin.
fn begins_with_media(volume: &dyn BlockDevice, boot: &Boot) -> bool {
    Table::new(volume, boot).entry(0).is_ok_and(|entry| entry == MEDIA)
}

/// The boot sector of the copy, if it is one with the right checksum in its place.
fn copy(volume: &dyn BlockDevice) -> Option<Boot> {
    SECTOR_SHIFTS.into_iter().find_map(|shift| {
        let position = SECTORS.checked_mul(1_u64.rotate_left(shift.into()))?;
        let region = read(volume, position).ok()?;
        let is_whole = region.has_right_checksum && region.boot.sector_shift == shift;
        is_whole.then_some(region.boot)
    })
}

/// The copy that belongs to `boot`.
///
/// # Errors
/// Why its boot sector makes no sense.
pub(super) fn copy_of(volume: &dyn BlockDevice, boot: &Boot) -> FsResult<Region> {
    read(volume, SECTORS.saturating_mul(boot.sector()))
}

/// The region at `position`.
///
/// # Errors
/// What the volume says; why its boot sector makes no sense.
fn read(volume: &dyn BlockDevice, position: u64) -> FsResult<Region> {
    let first = sector_at(volume, position)?;
    let first = first.ok_or_else(|| FsError::corrupt("volume ends before its boot sector"))?;
    let boot = Boot::parse(&first).map_err(|error| error.at(position))?;
    let length = SECTORS.saturating_mul(boot.sector());
    let mut bytes = vec![0; bytes_to_index(length)?];
    let is_there =
        Span::new(position, length).is_some_and(|region| Span::below(volume.size()).holds(region));
    if !is_there {
        return Ok(Region { boot, has_right_checksum: false });
    }
    volume.read_at(position, &mut bytes)?;
    let summed = bytes_to_index(SUMMED.saturating_mul(boot.sector()))?;
    let (sectors, sums) = bytes.split_at_checked(summed).unwrap_or_default();
    let sum = checksum::of_boot_region(sectors);
    let (sums, _) = sums.as_chunks::<4>();
    let has_right_checksum = sums.iter().all(|stored| u32::from_le_bytes(*stored) == sum);
    Ok(Region { boot, has_right_checksum })
}

fn first_sector(volume: &dyn BlockDevice) -> FsResult<Option<[u8; SECTOR]>> {
    sector_at(volume, 0)
}

fn sector_at(volume: &dyn BlockDevice, position: u64) -> FsResult<Option<[u8; SECTOR]>> {
    let mut sector = [0; SECTOR];
    if volume.size().saturating_sub(position) < byte_count(SECTOR) {
        return Ok(None);
    }
    volume.read_at(position, &mut sector)?;
    Ok(Some(sector))
}
