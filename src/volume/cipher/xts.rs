//! XTS: each block of a sector is mixed with a tweak before and after the cipher.
//!
//! Source: IEEE Std 1619-2007, section 5. The tweak of the first block is the initialization vector,
//! encrypted by the second half of the key; each next one is the one before times x in GF(2^128), whose
//! polynomial is x^128 + x^7 + x^2 + x + 1. Sectors are whole blocks, so no ciphertext is stolen.

use cipher::array::Array;
use cipher::consts::U16;
use cipher::{BlockCipherDecrypt, BlockCipherEncrypt, BlockSizeUser};

use super::iv::{GROUP_BLOCKS, Iv, by_groups};
use super::{Block, SectorCipher, Sectors, mix};

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
    let lost = 0_u128.wrapping_sub(tweak >> 127);
    (tweak << 1) ^ (lost & FEEDBACK)
}

impl<C> SectorCipher for Xts<C>
where
    C: BlockCipherEncrypt + BlockCipherDecrypt + BlockSizeUser<BlockSize = U16> + Send + Sync,
{
    fn sectors(&self) -> Sectors {
        self.sectors
    }

    fn decrypt(&self, first: u64, buf: &mut [u8]) {
        let in_sector = self.sectors.size / 16;
        by_groups((&self.iv, self.sectors), first, buf, |starts, blocks| {
            self.tweak.encrypt_blocks(starts);
            let mut tweaks: [Block; GROUP_BLOCKS] = [Array::default(); GROUP_BLOCKS];
            let by_sector = tweaks.chunks_mut(in_sector).zip(blocks.chunks_mut(in_sector));
            for (start, (tweaks, blocks)) in starts.iter().zip(by_sector) {
                let mut tweak = u128::from_le_bytes((*start).into());
                for (block, kept) in blocks.iter_mut().zip(tweaks) {
                    *kept = Block::from(tweak.to_le_bytes());
                    mix(block, kept);
                    tweak = times_x(tweak);
                }
            }
            self.data.decrypt_blocks(blocks);
            blocks.iter_mut().zip(&tweaks).for_each(|(block, tweak)| mix(block, tweak));
        });
    }
}
