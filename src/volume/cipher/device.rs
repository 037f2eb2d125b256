//! A device whose bytes are decrypted as they are read.
//!
//! Nothing is kept: with the processor's own instructions a sector is decrypted in less time than a cache
//! takes to find it, and what a file system reads again and again is kept above. A large read is one read
//! of the device below, into the caller's memory, where it is decrypted.

use std::sync::Arc;

use volfold_block::{
    BlockDevice, BlockError, BlockResult, byte_count, bytes_to_index, check_range,
};

use super::{MAX_SECTOR, SectorCipher};

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
        cipher.decrypt(part.first_sector.wrapping_add(within.div_euclid(512)), buf);
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

/// The first `length` bytes of `buf` or all of it, and the rest.
fn split(buf: &mut [u8], length: u64) -> (&mut [u8], &mut [u8]) {
    let length = usize::try_from(length).unwrap_or(usize::MAX).min(buf.len());
    buf.split_at_mut_checked(length).unwrap_or_default()
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
