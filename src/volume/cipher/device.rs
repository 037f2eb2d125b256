//! A device whose bytes are decrypted as they are read.
//!
//! Nothing is kept: with the processor's own instructions a sector is decrypted in less time than a cache
//! takes to find it, and what a file system reads again and again is kept above. A large read is one read
//! of the device below, into the caller's memory, where it is decrypted on the caller's thread: readers have several,
//! and one more for a part of a read costs more than it gains while others work.

use std::sync::Arc;

use volfold_block::{
    BlockDevice, BlockError, BlockResult, byte_count, bytes_to_index, check_range,
};

use super::{MAX_SECTOR, SectorCipher};
use crate::volume::map::split;

/// A run of the volume.
pub struct DecryptedPart {
    /// The bytes: whole sectors of the cipher.
    pub length: u64,
    /// The first byte in the device below.
    pub offset: u64,
    /// What it is encrypted with; `None` for bytes that are not.
    pub cipher: Option<Arc<dyn SectorCipher>>,
    /// The number that the cipher has for the sector at `offset`, counted in 512 bytes.
    pub first_sector: u64,
}

/// The bytes of encrypted parts of a device, one after the other.
pub struct Decrypted {
    device: Arc<dyn BlockDevice>,
    /// With the first byte of each in the volume.
    parts: Vec<(u64, DecryptedPart)>,
    size: u64,
    sector_size: u32,
}

impl Decrypted {
    /// The `parts` of `device`, one after the other.
    pub fn new(device: Arc<dyn BlockDevice>, parts: Vec<DecryptedPart>) -> Self {
        let sectors = parts.iter().filter_map(|part| part.cipher.as_ref());
        let largest = sectors.map(|cipher| cipher.sectors().size()).max().unwrap_or(0);
        let own = if largest == MAX_SECTOR { 4096 } else { 512 };
        let mut size = 0_u64;
        let parts = parts.into_iter().map(|part| {
            let start = size;
            size = size.saturating_add(part.length);
            (start, part)
        });
        let parts = parts.collect();
        Self { sector_size: device.sector_size().max(own), device, parts, size }
    }

    /// The part that has the byte `offset`, and where it begins in the volume.
    fn part_at(&self, offset: u64) -> Option<(u64, &DecryptedPart)> {
        let index = self.parts.partition_point(|(start, _)| *start <= offset).checked_sub(1)?;
        self.parts.get(index).map(|(start, part)| (*start, part))
    }

    /// Fills `buf` from `within` of `part`.
    fn read_part(&self, part: &DecryptedPart, within: u64, buf: &mut [u8]) -> BlockResult<()> {
        let Some(cipher) = &part.cipher else {
            return self.device.read_at(part.offset.saturating_add(within), buf);
        };
        let size = byte_count(cipher.sectors().size());
        let skip = within.checked_rem(size).unwrap_or(0);
        if skip == 0 && byte_count(buf.len()).checked_rem(size) == Some(0) {
            return self.read_sectors(part, &**cipher, within, buf);
        }
        let (head, rest) = match skip {
            0 => (Default::default(), buf),
            skip => split(buf, size.saturating_sub(skip)),
        };
        self.read_inside(part, &**cipher, within, head)?;
        let within = within.saturating_add(byte_count(head.len()));
        let tail = byte_count(rest.len()).checked_rem(size).unwrap_or(0);
        let whole = byte_count(rest.len()).saturating_sub(tail);
        let (middle, tail) = split(rest, whole);
        self.read_sectors(part, &**cipher, within, middle)?;
        self.read_inside(part, &**cipher, within.saturating_add(whole), tail)
    }

    /// Fills `buf`, whole sectors, from `within` of `part`.
    fn read_sectors(
        &self,
        part: &DecryptedPart,
        cipher: &dyn SectorCipher,
        within: u64,
        buf: &mut [u8],
    ) -> BlockResult<()> {
        if buf.is_empty() {
            return Ok(());
        }
        self.device.read_at(part.offset.saturating_add(within), buf)?;
        let first = part.first_sector.wrapping_add(within.div_euclid(512));
        cipher.decrypt(first, buf);
        Ok(())
    }

    /// Fills `buf`, bytes inside of one sector, from `within` of `part`.
    fn read_inside(
        &self,
        part: &DecryptedPart,
        cipher: &dyn SectorCipher,
        within: u64,
        buf: &mut [u8],
    ) -> BlockResult<()> {
        if buf.is_empty() {
            return Ok(());
        }
        let size = cipher.sectors().size();
        let skip = within.checked_rem(byte_count(size)).unwrap_or(0);
        let mut sector = [0; MAX_SECTOR];
        let outside = || BlockError::out_of_range(within, byte_count(size), part.length);
        let sector = sector.get_mut(..size).ok_or_else(outside)?;
        self.read_sectors(part, cipher, within.saturating_sub(skip), sector)?;
        let wanted = sector.get(bytes_to_index(skip)?..).and_then(|left| left.get(..buf.len()));
        buf.copy_from_slice(wanted.ok_or_else(outside)?);
        Ok(())
    }
}

impl BlockDevice for Decrypted {
    fn size(&self) -> u64 {
        self.size
    }

    fn sector_size(&self) -> u32 {
        self.sector_size
    }

    fn read_at(&self, mut offset: u64, mut buf: &mut [u8]) -> BlockResult<()> {
        check_range(offset, buf.len(), self.size)?;
        while !buf.is_empty() {
            let outside = || BlockError::out_of_range(offset, 1, self.size);
            let (start, part) = self.part_at(offset).ok_or_else(outside)?;
            let within = offset.saturating_sub(start);
            let left = part.length.checked_sub(within).filter(|left| *left > 0);
            let (here, rest) = split(buf, left.ok_or_else(outside)?);
            self.read_part(part, within, here)?;
            offset = offset.saturating_add(byte_count(here.len()));
            buf = rest;
        }
        Ok(())
    }

    fn will_need(&self, offset: u64, length: u64) {
        let Some((start, part)) = self.part_at(offset) else { return };
        let within = offset.saturating_sub(start);
        let length = length.min(part.length.saturating_sub(within));
        self.device.will_need(part.offset.saturating_add(within), length);
    }
}

#[cfg(test)]
mod tests {
    use volfold_block::testing::{Noise, check_against_model, contents};
    use volfold_block::{BlockErrorKind, ExtentKind};

    use super::*;
    use crate::volume::cipher::Sectors;

    /// Mixes each sector with its number.
    struct Numbered(Sectors);

    impl SectorCipher for Numbered {
        fn sectors(&self) -> Sectors {
            self.0
        }

        fn decrypt(&self, first: u64, buf: &mut [u8]) {
            let size = self.0.size();
            assert!(buf.len().is_multiple_of(size), "whole sectors alone");
            let numbers = (first..).step_by(size / 512);
            for (number, sector) in numbers.zip(buf.chunks_mut(size)) {
                sector.iter_mut().for_each(|byte| *byte ^= number as u8);
            }
        }
    }

    fn numbered(size: u32) -> Option<Arc<dyn SectorCipher>> {
        Some(Arc::new(Numbered(Sectors::in_512(size).unwrap())))
    }

    /// Three parts of `bytes`, with sectors of 512 and 4096 bytes and not encrypted, and what they hold.
    fn parts(bytes: &[u8]) -> (Vec<DecryptedPart>, Vec<u8>) {
        let part = |offset, length, cipher, first_sector| DecryptedPart {
            length,
            offset,
            cipher,
            first_sector,
        };
        let parts = vec![
            part(40_960, 5120, numbered(512), 1000),
            part(512, 1024, None, 0),
            part(8192, 3 * 4096, numbered(4096), 7),
        ];
        let mut model = Vec::new();
        for part in &parts {
            let start = part.offset as usize;
            let mut own = bytes[start..start + part.length as usize].to_vec();
            if let Some(cipher) = &part.cipher {
                cipher.decrypt(part.first_sector, &mut own);
            }
            model.extend(own);
        }
        (parts, model)
    }

    #[test]
    fn reads_of_any_length_are_decrypted_across_parts_and_sectors() {
        let bytes = contents(3, 64 << 10);
        let (parts, model) = parts(&bytes);
        let device = Decrypted::new(Noise::of(bytes), parts);
        assert_eq!((device.size(), device.sector_size()), (model.len() as u64, 4096));
        check_against_model(&device, &model, 400, 5);
        let extent = device.extent_at(0).unwrap();
        // What was never written is noise, not a hole.
        assert_eq!((extent.kind, extent.length), (ExtentKind::Data, device.size()));
        device.will_need(0, u64::MAX);
        device.will_need(u64::MAX, 1);
    }

    #[test]
    fn a_sector_that_cannot_be_read_fails_its_requests_alone() {
        let bytes = contents(4, 64 << 10);
        let (parts, model) = parts(&bytes);
        // In the middle of the second sector of the last part.
        let broken = 8192 + 4096 + 100..8192 + 4096 + 101;
        let device = Decrypted::new(Noise::broken_bytes(bytes, broken), parts);
        let start = 5120 + 1024 + 4096;
        let bad = start..start + 4096;
        for offset in (0..model.len()).step_by(256) {
            let mut part = [0; 256];
            match device.read_at(offset as u64, &mut part) {
                Ok(()) => assert!(part == model[offset..offset + 256], "at {offset}"),
                Err(error) => {
                    assert!(bad.contains(&offset), "at {offset}");
                    assert_eq!((error.kind(), error.message()), (BlockErrorKind::Io, "bad sector"));
                }
            }
        }
    }

    #[test]
    fn other_sizes_of_sectors_are_none() {
        for size in [0, 1, 256, 513, 1536, 8192, u32::MAX] {
            assert_eq!(Sectors::in_512(size), None, "{size}");
        }
    }
}
