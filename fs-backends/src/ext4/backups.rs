//! The superblock or, where that is damaged, a backup of it: where backups are, when nothing else is
//! known.
//!
//! Specification: kernel documentation, "ext4 Data Structures and Algorithms", chapters "Layout"
//! and "Super Block". A backup begins the first block of its group. Groups have as many blocks as
//! one block of bitmap has bits, fewer if the maker was told so, and with bigalloc that many
//! clusters.
//!
//! A backup says which group it is of. One that does not lie where that group begins, counted
//! from the start of the volume, is a copy inside something else and not a backup of this volume.

use std::num::NonZeroU64;

use volfold_block::{BlockDevice, Confidence};

use super::superblock::{
    COPIES, MAX_LOG_BLOCK_SIZE, Primary, SUPERBLOCK_OFFSET, SUPERBLOCK_SIZE, Superblock,
};
use crate::error::{FsError, FsErrorKind, FsResult};

/// LIMIT: the smallest group that mke2fs makes, in blocks.
const SMALLEST_GROUP: u64 = 256;
/// LIMIT: clusters of so many blocks and less are thought of, in powers of two; mke2fs makes 16.
const MAX_LOG_CLUSTER: u32 = 8;

/// Reads and checks the primary superblock of `volume`; if it is damaged, a backup.
///
/// # Errors
/// What is wrong with the primary one, if there is no backup either.
pub(super) fn read_superblock(volume: &dyn BlockDevice) -> FsResult<Superblock> {
    let mut bytes = [0; SUPERBLOCK_SIZE];
    if volume.size() < SUPERBLOCK_OFFSET.saturating_mul(2) {
        let error = FsError::corrupt("volume is too small for a superblock");
        return Err(error.at(SUPERBLOCK_OFFSET));
    }
    // A sector that cannot be read is no reason to give up: there are backups.
    let read = volume.read_at(SUPERBLOCK_OFFSET, &mut bytes).map_err(FsError::from);
    let error = match read.and_then(|()| Superblock::parse(&bytes)) {
        Err(error) if matches!(error.kind(), FsErrorKind::Corrupt | FsErrorKind::Io) => error,
        other => return other,
    };
    let Some(backup) = find(volume, &bytes)? else {
        return Err(error);
    };
    let is_ours = Superblock::uuid_in(&bytes) == Some(backup.uuid);
    let primary = if is_ours { Primary::Damaged } else { Primary::Gone };
    Ok(Superblock { in_place_of: Some(primary), ..backup })
}

/// A backup of a volume whose superblock, or what is in its place, is `primary`.
///
/// # Errors
/// `Refused` if there are backups of two file systems: what a file of a guest holds may look like
/// one, and nothing tells which is right.
fn find(volume: &dyn BlockDevice, primary: &[u8]) -> FsResult<Option<Superblock>> {
    let hint = Geometry::hint(primary);
    let usual = (0..=MAX_LOG_BLOCK_SIZE).filter_map(Geometry::usual);
    let size = volume.size();
    let first = hint.into_iter().chain(usual).flat_map(|geometry| geometry.places(size));
    let rest = (0..=MAX_LOG_BLOCK_SIZE).flat_map(Geometry::unusual);
    let rest = rest.filter_map(|geometry| geometry.place(1));
    let mut bytes = [0; SUPERBLOCK_SIZE];
    let mut backups = first.chain(rest).filter_map(|position| {
        volume.read_at(position, &mut bytes).ok()?;
        let found = Superblock::parse(&bytes).ok()?;
        let own = found.position(found.group_start(found.own_group))?;
        let fits = own == position && found.own_group != 0 && found.has_copy(found.own_group);
        fits.then_some(found)
    });
    let Some(backup) = backups.next() else { return Ok(None) };
    if Superblock::uuid_in(primary) == Some(backup.uuid) {
        return Ok(Some(backup));
    }
    if backups.any(|other| other.uuid != backup.uuid || other.block_size != backup.block_size) {
        let line = "superblock is gone, and there are backups of two file systems";
        return Err(FsError::new(FsErrorKind::Refused, line));
    }
    Ok(Some(backup))
}

/// How sure it is that `volume` has a file system whose superblock is gone.
pub(super) fn probe(volume: &dyn BlockDevice) -> Confidence {
    match find(volume, &[]) {
        Ok(Some(_)) | Err(_) => Confidence::Likely,
        Ok(None) => Confidence::No,
    }
}

/// How a file system may be divided into groups.
#[derive(Clone, Copy, Debug)]
struct Geometry {
    block_size: u64,
    first_data_block: u64,
    blocks_per_group: NonZeroU64,
}

impl Geometry {
    fn new(log_block_size: u32, blocks_per_group: u64) -> Option<Self> {
        let block_size = 1024_u64.checked_shl(log_block_size)?;
        let blocks_per_group = NonZeroU64::new(blocks_per_group)?;
        Some(Self {
            block_size,
            first_data_block: u64::from(log_block_size == 0),
            blocks_per_group,
        })
    }

    /// Groups as large as one block of bitmap allows.
    fn usual(log_block_size: u32) -> Option<Self> {
        Self::new(log_block_size, 8192_u64.checked_shl(log_block_size)?)
    }

    /// Smaller groups, and those of bigalloc.
    fn unusual(log_block_size: u32) -> impl Iterator<Item = Self> {
        let usual = 8192_u64.checked_shl(log_block_size).unwrap_or(u64::MAX);
        let smaller = (1..).map_while(move |shift| {
            usual.checked_shr(shift).filter(|&blocks| blocks >= SMALLEST_GROUP)
        });
        let larger = (1..=MAX_LOG_CLUSTER).filter_map(move |shift| usual.checked_shl(shift));
        let counted = smaller.filter_map(move |blocks| Self::new(log_block_size, blocks));
        let clusters = larger.filter_map(move |blocks| Self::new(log_block_size, blocks));
        // QUIRK: bigalloc volumes of mke2fs with blocks of 1 KiB count from block 0.
        counted.chain(clusters.map(|geometry| Self { first_data_block: 0, ..geometry }))
    }

    /// What a damaged superblock says of itself.
    fn hint(primary: &[u8]) -> Option<Self> {
        let word = |at: usize| {
            let bytes = primary.get(at..)?.first_chunk()?;
            Some(u32::from_le_bytes(*bytes))
        };
        let log_block_size = word(0x18).filter(|&log| log <= MAX_LOG_BLOCK_SIZE)?;
        let blocks_per_group = word(0x20).map(u64::from)?;
        let first_data_block = word(0x14).map(u64::from).filter(|&first| first <= 1)?;
        Some(Self { first_data_block, ..Self::new(log_block_size, blocks_per_group)? })
    }

    /// The byte at which `group` begins.
    fn place(self, group: u64) -> Option<u64> {
        let block = group.checked_mul(self.blocks_per_group.get())?;
        block.checked_add(self.first_data_block)?.checked_mul(self.block_size)
    }

    /// Where backups begin on a volume of `size` bytes.
    fn places(self, size: u64) -> impl Iterator<Item = u64> {
        // With sparse_super2 the second backup is in the last group.
        let blocks = size.checked_div(self.block_size).unwrap_or(0);
        let blocks = blocks.saturating_sub(self.first_data_block);
        let last = blocks.saturating_sub(1) / self.blocks_per_group;
        let fits = move |place: &u64| *place < size;
        COPIES.into_iter().chain([last]).filter_map(move |group| self.place(group)).filter(fits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_begin_where_mke2fs_says() {
        let place = |log, group| Geometry::usual(log).unwrap().place(group).unwrap();
        assert_eq!(place(0, 1), 8193 * 1024);
        assert_eq!(place(2, 1), 32768 * 4096);
        assert_eq!(place(2, 3), 98304 * 4096);
        assert_eq!(place(6, 1), 524_288 * 65536);
        let unusual: Vec<_> = Geometry::unusual(0).filter_map(|it| it.place(1)).collect();
        assert!(unusual.contains(&(257 * 1024)) && unusual.contains(&(131_072 * 1024)));
    }

    #[test]
    fn a_damaged_superblock_may_still_say_how_large_groups_are() {
        let mut primary = [0; SUPERBLOCK_SIZE];
        primary[0x14] = 1;
        primary[0x20..0x24].copy_from_slice(&5000_u32.to_le_bytes());
        assert_eq!(Geometry::hint(&primary).unwrap().place(1), Some(5001 * 1024));
        primary[0x18] = 9;
        assert!(Geometry::hint(&primary).is_none());
    }
}
