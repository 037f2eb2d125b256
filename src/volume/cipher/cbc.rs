//! CBC: each block of a sector is mixed with the encrypted one before it, the first with the
//! initialization vector.
//!
//! Source: NIST SP 800-38A, section 6.2.

use cipher::array::Array;
use cipher::consts::U16;
use cipher::{BlockCipherDecrypt, BlockSizeUser};

use super::iv::{GROUP_BLOCKS, Iv, by_groups};
use super::{Block, SectorCipher, Sectors, mix};

pub(super) struct Cbc<C> {
    pub(super) data: C,
    pub(super) iv: Iv,
    pub(super) sectors: Sectors,
}

impl<C> SectorCipher for Cbc<C>
where
    C: BlockCipherDecrypt + BlockSizeUser<BlockSize = U16> + Send + Sync,
{
    fn sectors(&self) -> Sectors {
        self.sectors
    }

    fn decrypt(&self, first: u64, buf: &mut [u8]) {
        let in_sector = self.sectors.size / 16;
        by_groups((&self.iv, self.sectors), first, buf, |starts, blocks| {
            // What each block is mixed with, before it is overwritten.
            let mut others: [Block; GROUP_BLOCKS] = [Array::default(); GROUP_BLOCKS];
            let by_sector = others.chunks_mut(in_sector).zip(blocks.chunks(in_sector));
            for (start, (others, blocks)) in starts.iter().zip(by_sector) {
                let before = std::iter::once(start).chain(blocks);
                others.iter_mut().zip(before).for_each(|(other, before)| *other = *before);
            }
            self.data.decrypt_blocks(blocks);
            blocks.iter_mut().zip(&others).for_each(|(block, other)| mix(block, other));
        });
    }
}
