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

use super::Block;

/// Encrypts one block.
pub(super) type EncryptBlock = dyn Fn(&mut Block) + Send + Sync;

/// What makes the initialization vector.
pub(super) enum Iv {
    Plain,
    Plain64,
    Plain64Be,
    /// `plain64`, where this many sectors of 512 bytes are counted as one.
    Plain64Of(u64),
    Essiv(Box<EncryptBlock>),
    Eboiv(Box<EncryptBlock>),
    Null,
}

impl Iv {
    /// The vector of the sector `number`.
    pub(super) fn of(&self, number: u64) -> Block {
        let number = match self {
            Self::Plain => number & u64::from(u32::MAX),
            Self::Plain64Of(count) => number.checked_div(*count).unwrap_or(number),
            Self::Eboiv(_) => number.wrapping_mul(512),
            _ => number,
        };
        let little = Block::from(u128::from(number).to_le_bytes());
        match self {
            Self::Null => Block::default(),
            Self::Plain | Self::Plain64 | Self::Plain64Of(_) => little,
            Self::Plain64Be => Block::from(u128::from(number).to_be_bytes()),
            Self::Essiv(encrypt) | Self::Eboiv(encrypt) => {
                let mut block = little;
                encrypt(&mut block);
                block
            }
        }
    }
}
