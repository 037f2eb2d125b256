//! The Elephant diffuser: whole sectors are mixed, so that a changed bit changes all of one.
//!
//! Source: Niels Ferguson, "AES-CBC + Elephant diffuser: A Disk Encryption Algorithm for Windows Vista"
//! (2006), sections 4.3 to 4.5. The words of a sector are 32 bits, little-endian, and their indices count round it.
//! What CBC gives goes through diffuser B, three times, then through A, five times; then the sector key is
//! mixed in, which is the first byte of the sector, encrypted twice by a key of its own: as it is, and with
//! 0x80 in its last byte.

use cipher::consts::U16;
use cipher::{BlockCipherDecrypt, BlockCipherEncrypt, BlockSizeUser};

use super::cbc::Cbc;
use super::{Block, MAX_SECTOR, SectorCipher, Sectors, numbered};

/// Words of the largest sector.
const MAX_WORDS: usize = MAX_SECTOR / 4;

pub(super) struct Elephant<C> {
    pub(super) data: Cbc<C>,
    pub(super) tweak: C,
}

/// One diffuser: how often, which other words are mixed in, and by how much these are turned.
struct Diffuser {
    cycles: usize,
    /// How far the two other words are; counted from the end of the sector for A.
    steps: fn(usize, usize) -> (usize, usize),
    turns: [u32; 4],
}

const A: Diffuser = Diffuser {
    cycles: 5,
    steps: |index, count| (index + count - 2, index + count - 5),
    turns: [9, 0, 13, 0],
};
const B: Diffuser =
    Diffuser { cycles: 3, steps: |index, _| (index + 2, index + 5), turns: [0, 10, 0, 25] };

impl Diffuser {
    #[expect(
        clippy::indexing_slicing,
        reason = "indices are taken modulo the count, a power of two"
    )]
    fn undo(&self, words: &mut [u32]) {
        let count = words.len();
        let mask = count.wrapping_sub(1);
        for index in (0..self.cycles).flat_map(|_| 0..count) {
            let (near, far) = (self.steps)(index, count);
            let other = words[near & mask] ^ words[far & mask].rotate_left(self.turns[index % 4]);
            words[index] = words[index].wrapping_add(other);
        }
    }
}

impl<C> Elephant<C>
where
    C: BlockCipherEncrypt + BlockSizeUser<BlockSize = U16>,
{
    /// What is mixed into the sector `number`.
    fn sector_key(&self, number: u64) -> [u8; 32] {
        let mut low = Block::from(u128::from(number.wrapping_mul(512)).to_le_bytes());
        let mut high = low;
        if let Some(last) = high.last_mut() {
            *last = 0x80;
        }
        self.tweak.encrypt_block(&mut low);
        self.tweak.encrypt_block(&mut high);
        let mut key = [0; 32];
        key.iter_mut().zip(low.iter().chain(&high)).for_each(|(byte, other)| *byte = *other);
        key
    }
}

impl<C> SectorCipher for Elephant<C>
where
    C: BlockCipherEncrypt + BlockCipherDecrypt + BlockSizeUser<BlockSize = U16> + Send + Sync,
{
    fn sectors(&self) -> Sectors {
        self.data.sectors()
    }

    fn decrypt(&self, first: u64, buf: &mut [u8]) {
        self.data.decrypt(first, buf);
        let mut kept = [0; MAX_WORDS];
        for (number, sector) in numbered(self.sectors(), first, buf) {
            let Some(words) = kept.get_mut(..sector.len() / 4) else { continue };
            let (bytes, _) = sector.as_chunks_mut::<4>();
            words
                .iter_mut()
                .zip(&*bytes)
                .for_each(|(word, four)| *word = u32::from_le_bytes(*four));
            B.undo(words);
            A.undo(words);
            bytes.iter_mut().zip(&*words).for_each(|(four, word)| *four = word.to_le_bytes());
            let key = self.sector_key(number);
            for part in sector.chunks_exact_mut(32) {
                part.iter_mut().zip(&key).for_each(|(byte, other)| *byte ^= other);
            }
        }
    }
}
