//! The initialization vector of a sector.
//!
//! Source: `drivers/md/dm-crypt.c` of Linux, the comment on IV generators. 16 bytes:
//!
//! | name         | bytes                                                                      |
//! |--------------|----------------------------------------------------------------------------|
//! | `plain`      | the number of the sector, its lower 32 bits, little-endian                 |
//! | `plain64`    | the number of the sector, 64 bits, little-endian                           |
//! | `plain64be`  | the same, big-endian, in the last 8 bytes                                  |
//! | `essiv:HASH` | `plain64`, encrypted by the cipher with the hash of the key as a key       |
//! | `eboiv`      | the first byte of the sector, 64 bits, encrypted by the cipher of the data |
//! | `null`       | zeros                                                                      |
//!
//! Where sectors are counted in their own size (`iv_large_sectors`), the number is divided first.

use cipher::array::Array;

use super::{Block, MAX_SECTOR, Sectors};

/// Bytes that are decrypted at once, whole sectors: far more than processors work on side by side, and little
/// enough to stay in the nearest memory.
const GROUP: usize = MAX_SECTOR;

/// Blocks of [`GROUP`].
pub(super) const GROUP_BLOCKS: usize = GROUP / 16;

/// Sectors of [`GROUP`], if they are the smallest.
const GROUP_SECTORS: usize = GROUP / 512;

/// Encrypts blocks.
pub(super) type EncryptBlocks = dyn Fn(&mut [Block]) + Send + Sync;

/// What makes the initialization vector.
pub(super) enum Iv {
    Plain,
    Plain64,
    Plain64Be,
    /// `plain64`, where this many sectors of 512 bytes are counted as one.
    Plain64Of(u64),
    Essiv(Box<EncryptBlocks>),
    Eboiv(Box<EncryptBlocks>),
    Null,
}

impl Iv {
    /// Makes `vectors` those of sectors from the number `first` on; gives the number of the sector after them.
    pub(super) fn fill(&self, first: u64, sectors: Sectors, vectors: &mut [Block]) -> u64 {
        let mut number = first;
        for vector in &mut *vectors {
            *vector = self.plain(number);
            number = number.wrapping_add(sectors.step);
        }
        if let Self::Essiv(encrypt) | Self::Eboiv(encrypt) = self {
            encrypt(vectors);
        }
        number
    }

    /// What is the vector of the sector `number`, or is encrypted to it.
    fn plain(&self, number: u64) -> Block {
        let number = match self {
            Self::Null => 0,
            Self::Plain => number & u64::from(u32::MAX),
            Self::Plain64Of(count) => number.checked_div(*count).unwrap_or(number),
            Self::Eboiv(_) => number.wrapping_mul(512),
            Self::Plain64 | Self::Plain64Be | Self::Essiv(_) => number,
        };
        match self {
            Self::Plain64Be => Block::from(u128::from(number).to_be_bytes()),
            _ => Block::from(u128::from(number).to_le_bytes()),
        }
    }
}

/// Gives `decrypt` the sectors of `buf`, the first of which has the number `first`, in groups of up to [`GROUP`]
/// bytes, as blocks, with the initialization vector that `iv` makes for each sector.
pub(super) fn by_groups(
    (iv, sectors): (&Iv, Sectors),
    first: u64,
    buf: &mut [u8],
    mut decrypt: impl FnMut(&mut [Block], &mut [Block]),
) {
    let whole = buf.len().saturating_sub(buf.len().checked_rem(sectors.size).unwrap_or(0));
    let buf = buf.get_mut(..whole).unwrap_or_default();
    let mut number = first;
    for group in buf.chunks_mut(GROUP) {
        let count = group.len().checked_div(sectors.size).unwrap_or(0);
        let mut vectors: [Block; GROUP_SECTORS] = [Array::default(); GROUP_SECTORS];
        let vectors = vectors.get_mut(..count).unwrap_or_default();
        number = iv.fill(number, sectors, vectors);
        let (blocks, _) = Block::slice_as_chunks_mut(group);
        decrypt(vectors, blocks);
    }
}
