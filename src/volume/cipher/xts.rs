//! XTS: each block of a sector is mixed with a tweak before and after the cipher.
//!
//! Source: IEEE Std 1619-2007, section 5. The tweak of the first block is the initialization vector,
//! encrypted by the second half of the key; each next one is the one before times x in GF(2^128), whose
//! polynomial is x^128 + x^7 + x^2 + x + 1. Sectors are whole blocks, so no ciphertext is stolen.

use cipher::array::Array;
use cipher::consts::U16;
use cipher::{BlockCipherDecrypt, BlockCipherEncrypt, BlockSizeUser};

use super::iv::Iv;
use super::{Block, RUN, SectorCipher, Sectors, mix, numbered};

/// What is added when the highest bit is lost: x^7 + x^2 + x + 1.
const FEEDBACK: u128 = 0x87;

pub(super) struct Xts<C> {
    pub(super) data: C,
    pub(super) tweak: C,
    pub(super) iv: Iv,
    pub(super) sectors: Sectors,
}

/// `tweak` times x.
fn times_x(tweak: u128) -> u128 {
    (tweak << 1) ^ (tweak >> 127).wrapping_mul(FEEDBACK)
}

impl<C> SectorCipher for Xts<C>
where
    C: BlockCipherEncrypt + BlockCipherDecrypt + BlockSizeUser<BlockSize = U16> + Send + Sync,
{
    fn sectors(&self) -> Sectors {
        self.sectors
    }

    fn decrypt(&self, first: u64, buf: &mut [u8]) {
        for (number, sector) in numbered(self.sectors, first, buf) {
            let mut start = self.iv.of(number);
            self.tweak.encrypt_block(&mut start);
            let mut tweak = u128::from_le_bytes(start.into());
            let (blocks, _) = Block::slice_as_chunks_mut(sector);
            for run in blocks.chunks_mut(RUN) {
                let mut tweaks: [Block; RUN] = [Array::default(); RUN];
                for (block, kept) in run.iter_mut().zip(&mut tweaks) {
                    *kept = Block::from(tweak.to_le_bytes());
                    mix(block, kept);
                    tweak = times_x(tweak);
                }
                self.data.decrypt_blocks(run);
                run.iter_mut().zip(&tweaks).for_each(|(block, tweak)| mix(block, tweak));
            }
        }
    }
}
