//! CBC: each block of a sector is mixed with the encrypted one before it, the first with the
//! initialization vector.
//!
//! Source: NIST SP 800-38A, section 6.2.

use cipher::array::Array;
use cipher::consts::U16;
use cipher::{BlockCipherDecrypt, BlockSizeUser};

use super::iv::Iv;
use super::{Block, RUN, SectorCipher, Sectors, mix, numbered};

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
        for (number, sector) in numbered(self.sectors, first, buf) {
            let mut before = self.iv.of(number);
            let (blocks, _) = Block::slice_as_chunks_mut(sector);
            for run in blocks.chunks_mut(RUN) {
                // What each block is mixed with, before it is overwritten.
                let mut others: [Block; RUN] = [Array::default(); RUN];
                for (block, other) in run.iter().zip(&mut others) {
                    *other = before;
                    before = *block;
                }
                self.data.decrypt_blocks(run);
                run.iter_mut().zip(&others).for_each(|(block, other)| mix(block, other));
            }
        }
    }
}
