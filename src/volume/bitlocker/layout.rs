//! Where the bytes of an encrypted volume are.
//!
//! Source: "BitLocker Drive Encryption (BDE) format" by Joachim Metz, sections 3 and 4. What the volume was before lies
//! at its place, encrypted, but for its first sectors, which lie elsewhere; with Vista they lie at their place, not
//! encrypted, with two fields of the boot sector changed. Where the metadata and these sectors lie the volume has
//! zeros, as it has in Windows.

use std::collections::BTreeSet;
use std::sync::Arc;

use volfold_block::{BlockDevice, BlockErrorKind, BlockResult, MemoryDevice};

use super::metadata::Metadata;
use crate::volume::cipher::SectorCipher;
use crate::volume::cipher::device::{Decrypted, DecryptedPart};
use crate::volume::map::{Absent, Zeros, one_after_the_other};

/// Bytes at the start that Vista does not encrypt.
const VISTA_HEADER: u64 = 8192;

/// A volume, as its metadata lays it out.
#[derive(Clone)]
pub(super) struct VolumeLayout {
    pub(super) device: Arc<dyn BlockDevice>,
    pub(super) metadata: Metadata,
    /// Where blocks of metadata were read.
    pub(super) read: Vec<u64>,
    pub(super) sector_size: u64,
    /// The size of the volume.
    pub(super) size: u64,
}

impl VolumeLayout {
    /// How many bytes from the start are encrypted.
    fn encrypted(&self) -> u64 {
        match (self.metadata.version, self.metadata.state) {
            (1, _) => self.size,
            (_, 1) => 0,
            _ => self.metadata.encrypted,
        }
    }

    /// Where it begins to be something else, and its end.
    fn borders(&self) -> BTreeSet<u64> {
        let metadata = &self.metadata;
        let grain = self.sector_size;
        // An image may end before the volume does.
        let there = self.device.size().checked_div(grain).unwrap_or(0).saturating_mul(grain);
        let encrypted = self.encrypted();
        let converting = encrypted.saturating_add(metadata.converting);
        let mut borders = BTreeSet::from([0, there, encrypted, converting, self.size]);
        for place in metadata.places {
            borders.extend([place, place.saturating_add(metadata.block_length())]);
        }
        if metadata.version == 1 {
            borders.extend([grain, VISTA_HEADER]);
        } else {
            let end = metadata.header.saturating_add(metadata.header_length);
            borders.extend([metadata.header_length, metadata.header, end]);
            // What begins to be something else there does so in the sectors that lie there, too.
            let inside = [there, encrypted, converting].map(|border| {
                border.checked_sub(metadata.header).filter(|at| *at < metadata.header_length)
            });
            borders.extend(inside.into_iter().flatten());
        }
        borders.into_iter().filter(|border| *border <= self.size).collect()
    }

    /// Whether each border is one of sectors.
    pub(super) fn is_in_sectors(&self) -> bool {
        let grain = self.sector_size;
        self.borders()
            .iter()
            .all(|border| border.checked_rem(grain) == Some(0) || *border == self.size)
    }

    /// The volume, decrypted by `cipher`; `None` where none of it is encrypted.
    ///
    /// # Errors
    /// If its first sector cannot be read.
    pub(super) fn open(
        &self,
        cipher: Option<&Arc<dyn SectorCipher>>,
    ) -> BlockResult<Arc<dyn BlockDevice>> {
        let borders: Vec<u64> = self.borders().into_iter().collect();
        let mut parts = Vec::new();
        for pair in borders.windows(2) {
            if let [start, end] = pair {
                parts.push(self.part(*start, end.saturating_sub(*start), cipher)?);
            }
        }
        one_after_the_other(parts)
    }

    /// The bytes from `start` on, up to a border.
    fn part(
        &self,
        start: u64,
        length: u64,
        cipher: Option<&Arc<dyn SectorCipher>>,
    ) -> BlockResult<Arc<dyn BlockDevice>> {
        let metadata = &self.metadata;
        let lies_in = |at: u64, place: u64, length: u64| {
            at.checked_sub(place).is_some_and(|inside| inside < length)
        };
        let is_in = |place: u64, length: u64| lies_in(start, place, length);
        let block = metadata.places.iter().find(|place| is_in(**place, metadata.block_length()));
        match block {
            Some(place) if self.read.contains(place) => return Ok(Arc::new(Zeros::new(length))),
            Some(_) => {
                let line = "metadata of BitLocker lie here, it is said, and cannot be read";
                return Ok(Arc::new(Absent::corrupt(length, line)));
            }
            None => {}
        }
        let encrypted = self.encrypted();
        let mut place = start;
        if metadata.version == 1 {
            if start == 0 {
                return Ok(Arc::new(MemoryDevice::new(self.vista_sector(length)?)));
            }
        } else if start < metadata.header_length {
            place = metadata.header.saturating_add(start);
        } else if is_in(metadata.header, metadata.header_length) {
            return Ok(Arc::new(Zeros::new(length)));
        }
        if lies_in(place, encrypted, metadata.converting) {
            let line = "was being encrypted or decrypted when the image was made";
            return Ok(Arc::new(Absent::of_kind(length, BlockErrorKind::Unsupported, line)));
        }
        if place.saturating_add(length) > self.device.size() {
            return Ok(Arc::new(Absent::new(length, "the image ends before this")));
        }
        let is_plain = place >= encrypted || (metadata.version == 1 && start < VISTA_HEADER);
        let part = DecryptedPart {
            length,
            offset: place,
            cipher: cipher.filter(|_| !is_plain).cloned(),
            first_sector: place / 512,
        };
        Ok(Arc::new(Decrypted::new(self.device.clone(), vec![part])))
    }

    /// The first sector as it was before Vista encrypted the volume.
    fn vista_sector(&self, length: u64) -> BlockResult<Vec<u8>> {
        let mut sector = vec![0; usize::try_from(length).unwrap_or(0)];
        self.device.read_at(0, &mut sector)?;
        if let Some(name) = sector.get_mut(3..11) {
            name.copy_from_slice(b"NTFS    ");
        }
        if let Some(mirror) = sector.get_mut(0x38..0x40) {
            mirror.copy_from_slice(&self.metadata.header.to_le_bytes());
        }
        Ok(sector)
    }
}
