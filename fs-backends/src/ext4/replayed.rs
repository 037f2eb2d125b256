//! A volume as it is after its journal was replayed, without writing to it.

use std::sync::Arc;

use volfold_block::{
    BlockDevice, BlockError, BlockResult, Extent, ExtentKind, byte_count, check_range,
};

use super::journal::{JournalCopy, MAGIC};

/// Serves the blocks that the journal has newer copies of from there.
pub(super) struct Replayed {
    device: Arc<dyn BlockDevice>,
    /// The device of the journal; often the same.
    journal: Arc<dyn BlockDevice>,
    /// Position of a block on the volume and where its newest copy lies, in order.
    copies: Arc<[(u64, JournalCopy)]>,
    block_size: u64,
}

impl Replayed {
    /// `copies` are in order of their positions and do not overlap.
    pub(super) fn new(
        device: Arc<dyn BlockDevice>,
        journal: Arc<dyn BlockDevice>,
        copies: Arc<[(u64, JournalCopy)]>,
        block_size: u64,
    ) -> Self {
        Self { device, journal, copies, block_size }
    }

    /// The copy that holds the byte at `offset` or the first one after it, with its position.
    fn copy_from(&self, offset: u64) -> Option<(u64, JournalCopy)> {
        let ends_before = |start: u64| start.saturating_add(self.block_size) <= offset;
        let index = self.copies.partition_point(|&(start, _)| ends_before(start));
        self.copies.get(index).copied()
    }

    /// Fills `part` from byte `into` of a copied block.
    fn read_copy(&self, copy: JournalCopy, into: u64, part: &mut [u8]) -> BlockResult<()> {
        let position = copy.position.checked_add(into).ok_or_else(|| {
            BlockError::out_of_range(copy.position, byte_count(part.len()), self.journal.size())
        })?;
        self.journal.read_at(position, part)?;
        if copy.escaped {
            let magic = MAGIC.to_be_bytes();
            let skip = usize::try_from(into).unwrap_or(usize::MAX);
            for (to, from) in part.iter_mut().zip(magic.iter().skip(skip)) {
                *to = *from;
            }
        }
        Ok(())
    }
}

impl BlockDevice for Replayed {
    fn size(&self) -> u64 {
        self.device.size()
    }

    fn sector_size(&self) -> u32 {
        self.device.sector_size()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> BlockResult<()> {
        check_range(offset, buf.len(), self.size())?;
        let mut rest = buf;
        let mut position = offset;
        while !rest.is_empty() {
            let next = self.copy_from(position);
            let (copied, until) = match next {
                Some((start, copy)) if start <= position => {
                    (Some((start, copy)), start.saturating_add(self.block_size))
                }
                Some((start, _)) => (None, start),
                None => (None, u64::MAX),
            };
            let count = usize::try_from(until.saturating_sub(position)).unwrap_or(usize::MAX);
            let count = count.min(rest.len());
            let (part, behind) = rest.split_at_mut_checked(count).ok_or_else(|| {
                BlockError::out_of_range(position, byte_count(count), self.device.size())
            })?;
            match copied {
                Some((start, copy)) => {
                    self.read_copy(copy, position.saturating_sub(start), part)?;
                }
                None => self.device.read_at(position, part)?,
            }
            position = position.saturating_add(byte_count(count));
            rest = behind;
        }
        Ok(())
    }

    fn will_need(&self, offset: u64, length: u64) {
        self.device.will_need(offset, length);
    }

    fn extent_at(&self, offset: u64) -> BlockResult<Extent> {
        let below = self.device.extent_at(offset)?;
        match self.copy_from(offset) {
            Some((start, _)) if start <= offset => Ok(Extent {
                kind: ExtentKind::Data,
                length: start
                    .saturating_add(self.block_size)
                    .min(self.size())
                    .saturating_sub(offset),
            }),
            Some((start, _)) => Ok(Extent {
                kind: below.kind,
                length: below.length.min(start.saturating_sub(offset)),
            }),
            None => Ok(below),
        }
    }
}

#[cfg(test)]
mod tests {
    use volfold_block::MemoryDevice;

    use super::*;

    #[test]
    fn a_read_across_a_copied_block_joins_old_and_new() {
        let bytes: Vec<u8> = (0..8_u8).flat_map(|block| [block; 1024]).collect();
        let copy = |block: u64, escaped| JournalCopy { position: block * 1024, escaped };
        let copies = [(1024, copy(6, false)), (2048, copy(7, true))];
        let volume = Arc::new(MemoryDevice::new(bytes));
        let device = Replayed::new(volume.clone(), volume, Arc::from(copies.as_slice()), 1024);
        let mut buf = [9; 3072];
        device.read_at(512, &mut buf).unwrap();
        let mut expected = vec![0; 512];
        expected.extend([6; 1024]);
        expected.extend(MAGIC.to_be_bytes());
        expected.extend([7; 1020]);
        expected.extend([3; 512]);
        assert_eq!(buf[..], expected[..]);
        let mut two = [0; 2];
        device.read_at(2050, &mut two).unwrap();
        assert_eq!(two, [0x39, 0x98], "the escape is undone inside the block as well");
        assert_eq!(device.extent_at(0).unwrap().length, 1024);
        assert!(device.read_at(8191, &mut two).is_err());
    }
}
