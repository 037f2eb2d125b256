//! Finding the boot sector: at its place, or by its copy on FAT32.

use volfold_block::{BlockDevice, Confidence, Finding, byte_count, code};

use super::boot::{Boot, FatKind};
use super::table::Table;
use crate::clusters::other_content::holds_other;
use crate::error::{FsError, FsResult};

const SECTOR: usize = 512;
/// Where the copy of a boot sector is looked for: sector 6 of 4096 bytes is the last usual place.
const COPIES_END: usize = 7 * 4096;

/// The boot sector of a volume.
pub(super) struct Found {
    pub(super) boot: Boot,
    pub(super) confidence: Confidence,
    /// What is odd about it.
    pub(super) finding: Option<Finding>,
}

/// The boot sector of `volume` if it is one of FAT.
///
/// # Errors
/// If the volume cannot be read.
pub(super) fn find(volume: &dyn BlockDevice) -> FsResult<Option<Found>> {
    let Some(first) = sector_at(volume, 0)? else { return Ok(None) };
    let is_signed = first.ends_with(&[0x55, 0xAA]);
    if let Some(boot) = Boot::parse(&first) {
        let is_marked = boot.is_marked();
        if is_marked
            || (boot.fits && boot.size <= volume.size() && begins_with_media(volume, &boot))
        {
            let confidence = match boot.is_named && is_signed {
                true => Confidence::Certain,
                false => Confidence::Likely,
            };
            return Ok(Some(Found { boot, confidence, finding: None }));
        }
    }
    if let Some(boot) = old_floppy(volume)? {
        return Ok(Some(Found { boot, confidence: Confidence::Likely, finding: None }));
    }
    // A sector with a signature is of something else: a partition table, another file system.
    let is_foreign = is_signed && first.get(0x52..0x57) != Some(b"FAT32");
    if is_foreign || matches!(first.get(3..11), Some(b"NTFS    " | b"EXFAT   " | b"-FVE-FS-")) {
        return Ok(None);
    }
    Ok(copy(volume)?.map(|boot| {
        let line = "sector 0 is not one of FAT; the volume is read by the copy of the boot sector";
        let finding = Finding::warning(code::FAT_BACKUP_BOOT, line).at(0);
        Found { boot, confidence: Confidence::Likely, finding: Some(finding) }
    }))
}

/// The layout of a floppy of DOS 1, whose boot sector has none: the size of the disk and the first byte of its
/// table say which of four it is.
fn old_floppy(volume: &dyn BlockDevice) -> FsResult<Option<Boot>> {
    let found =
        OLD_FLOPPIES.iter().find(|floppy| floppy.sectors.saturating_mul(512) == volume.size());
    let Some(floppy) = found else { return Ok(None) };
    let mut tables = vec![0; floppy.table_sectors.saturating_mul(2 * SECTOR)];
    volume.read_at(byte_count(SECTOR), &mut tables)?;
    let (first, second) = tables.split_at(tables.len() / 2);
    if !first.starts_with(&[floppy.media, 0xFF, 0xFF]) || first != second {
        return Ok(None);
    }
    let mut sector = [0; SECTOR];
    sector[0x0B..0x18].copy_from_slice(&[
        0,
        2,
        floppy.sectors_per_cluster,
        1,
        0,
        2,
        floppy.root_entries,
        0,
        floppy.sectors.to_le_bytes()[0],
        floppy.sectors.to_le_bytes()[1],
        floppy.media,
        floppy.table_sectors.to_le_bytes()[0],
        0,
    ]);
    Ok(Boot::parse(&sector))
}

/// A kind of floppy that DOS 1 wrote.
struct OldFloppy {
    sectors: u64,
    sectors_per_cluster: u8,
    root_entries: u8,
    media: u8,
    table_sectors: usize,
}

/// Sectors of 512 bytes, one of them before the two tables. Source: the manual of PC DOS, "Diskette allocation".
const OLD_FLOPPIES: [OldFloppy; 4] = [
    OldFloppy {
        sectors: 320,
        sectors_per_cluster: 1,
        root_entries: 64,
        media: 0xFE,
        table_sectors: 1,
    },
    OldFloppy {
        sectors: 360,
        sectors_per_cluster: 1,
        root_entries: 64,
        media: 0xFC,
        table_sectors: 2,
    },
    OldFloppy {
        sectors: 640,
        sectors_per_cluster: 2,
        root_entries: 112,
        media: 0xFF,
        table_sectors: 1,
    },
    OldFloppy {
        sectors: 720,
        sectors_per_cluster: 2,
        root_entries: 112,
        media: 0xFD,
        table_sectors: 2,
    },
];

/// The boot sector of `volume` that counts, with what is odd about it.
///
/// # Errors
/// `Corrupt` if there is none; why it cannot be read.
pub(super) fn require(volume: &dyn BlockDevice) -> FsResult<(Boot, Vec<Finding>)> {
    let found = find(volume)?.ok_or_else(|| FsError::corrupt("not a FAT boot sector").at(0))?;
    let boot = found.boot;
    let mut findings: Vec<Finding> = found.finding.into_iter().collect();
    if findings.is_empty()
        && let Some(copy) = copy_of(volume, &boot)
        && !boot.is_laid_out_as(&copy)
    {
        let holds = |boot: &Boot| boot.fits && begins_with_media(volume, boot);
        let is_copy_right = !holds(&boot) && holds(&copy);
        let line = match is_copy_right {
            true => "boot sector contradicts its copy and the table; the copy is used",
            false => "boot sector contradicts its copy; it is used as it is",
        };
        findings.push(Finding::warning(code::FAT_BOOT_COPIES_DIFFER, line).at(0));
        if is_copy_right {
            return Ok((copy, findings));
        }
    }
    if !boot.fits {
        let line = "size of the table does not fit the number of clusters";
        findings.push(Finding::warning(code::FAT_GEOMETRY, line).at(0x0D));
    }
    Ok((boot, findings))
}

/// The copy that `boot` speaks of, if it can be read.
pub(super) fn copy_of(volume: &dyn BlockDevice, boot: &Boot) -> Option<Boot> {
    let sector = sector_at(volume, boot.backup?).ok()??;
    Boot::parse(&sector).filter(|copy| copy.kind == FatKind::Fat32 && copy.is_marked())
}

/// A copy of the boot sector that names its own place, and has its table where it says.
fn copy(volume: &dyn BlockDevice) -> FsResult<Option<Boot>> {
    let length = volume.size().min(byte_count(COPIES_END));
    let mut start = vec![0; volfold_block::bytes_to_index(length)?];
    volume.read_at(0, &mut start)?;
    let (sectors, _) = start.as_chunks::<SECTOR>();
    let places = (0_u64..).step_by(SECTOR);
    let boot = sectors.iter().zip(places).skip(1).find_map(|(sector, position)| {
        let boot = Boot::parse(sector).filter(|_| sector.ends_with(&[0x55, 0xAA]))?;
        let is_copy = boot.kind == FatKind::Fat32 && boot.is_named && boot.fits;
        (is_copy && boot.backup == Some(position)).then_some(boot)
    });
    Ok(boot.filter(|boot| begins_with_media(volume, boot) && !holds_other(volume)))
}

/// Whether the table begins as every writer lets it begin: the media byte, and ones.
fn begins_with_media(volume: &dyn BlockDevice, boot: &Boot) -> bool {
    let ones = match boot.kind {
        FatKind::Fat12 => 0x0F00,
        FatKind::Fat16 => 0xFF00,
        FatKind::Fat32 => 0x0FFF_FF00,
    };
    let first = Table::new(volume, boot).entry(0);
    first.is_ok_and(|entry| entry == ones | u32::from(boot.media))
}

fn sector_at(volume: &dyn BlockDevice, position: u64) -> FsResult<Option<[u8; SECTOR]>> {
    let mut sector = [0; SECTOR];
    if volume.size().saturating_sub(position) < byte_count(SECTOR) {
        return Ok(None);
    }
    volume.read_at(position, &mut sector)?;
    Ok(Some(sector))
}
