//! A volume as it is after its journal was replayed, without writing to it.

use std::sync::Arc;

use volfold_block::{
    BlockDevice, BlockError, BlockErrorKind, BlockResult, Map, MemoryDevice, Piece, Place, Span,
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
    /// [`MAGIC`], the first bytes of the blocks that are escaped in the journal.
    magic: MemoryDevice,
}

impl Replayed {
    /// `copies` are in order of their positions and do not overlap.
    pub(super) fn new(
        device: Arc<dyn BlockDevice>,
        journal: Arc<dyn BlockDevice>,
        copies: Arc<[(u64, JournalCopy)]>,
        block_size: u64,
    ) -> Self {
        let magic = MemoryDevice::new(MAGIC.to_be_bytes());
        Self { device, journal, copies, block_size, magic }
    }

    /// The bytes of a copied block from `into` on.
    fn copied(&self, copy: JournalCopy, into: u64) -> Option<Piece<'_>> {
        if copy.escaped
            && let Some(escape) = Span::below(self.magic.size()).rest(into)
            && !escape.is_empty()
        {
            return Some(Piece::new(Place::Stored(&self.magic, into), escape.length()));
        }
        let rest = Span::new(copy.position, self.block_size)?.rest(into)?;
        Some(Piece::new(Place::Stored(&self.journal, rest.start()), rest.length()))
    }
}

impl Map for Replayed {
    fn size(&self) -> u64 {
        self.device.size()
    }

    fn sector_size(&self) -> u32 {
        self.device.sector_size()
    }

    fn locate(&self, offset: u64, _wanted: u64) -> BlockResult<Piece<'_>> {
        let later = self.copies.partition_point(|&(start, _)| start <= offset);
        let last = later.checked_sub(1).and_then(|last| self.copies.get(last));
        if let Some(&(start, copy)) = last
            && let Some(block) = Span::new(start, self.block_size)
            && let Some(into) = block.offset_of(offset)
        {
            return self.copied(copy, into).ok_or_else(|| {
                let message = "journal copy lies past the end of its device";
                BlockError::new(BlockErrorKind::Corrupt, message)
            });
        }
        let next = self.copies.get(later).map_or(self.size(), |&(start, _)| start);
        let rest = Span::between(offset, next).filter(|rest| !rest.is_empty());
        let rest = rest.ok_or_else(|| BlockError::out_of_range(offset, 1, self.size()))?;
        Ok(Piece::new(Place::At(&self.device, offset), rest.length()))
    }
}

#[cfg(test)]
mod tests {
    use volfold_block::Mapped;

    use super::*;

    #[test]
    fn a_read_across_a_copied_block_joins_old_and_new() {
        let bytes: Vec<u8> = (0..8_u8).flat_map(|block| [block; 1024]).collect();
        let copy = |block: u64, escaped| JournalCopy { position: block * 1024, escaped };
        let copies = [(1024, copy(6, false)), (2048, copy(7, true))];
        let volume = Arc::new(MemoryDevice::new(bytes));
        let map = Replayed::new(volume.clone(), volume, Arc::from(copies.as_slice()), 1024);
        let device = Mapped::new(map);
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
        assert!(device.extent_at(0).unwrap().length >= 1024);
        assert!(device.read_at(8191, &mut two).is_err());
    }
}
