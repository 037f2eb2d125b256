//! Ciphers by the numbers that BitLocker gives them.

use std::sync::Arc;

use aes::{Aes128, Aes256};
use cipher::consts::U16;
use cipher::{BlockCipherDecrypt, BlockCipherEncrypt, BlockSizeUser, KeyInit};
use volfold_block::{BlockError, BlockResult};

use super::cbc::Cbc;
use super::elephant::Elephant;
use super::iv::Iv;
use super::xts::Xts;
use super::{SectorCipher, Sectors};

/// What a volume is encrypted with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// AES-CBC with the Elephant diffuser, and the bits of the key.
    Diffused(u32),
    /// AES-CBC.
    Cbc(u32),
    /// AES-XTS.
    Xts(u32),
}

impl Method {
    /// The method `number`; `None` if it is none of volumes.
    pub fn of(number: u16) -> Option<Self> {
        Some(match number {
            0x8000 => Self::Diffused(128),
            0x8001 => Self::Diffused(256),
            0x8002 => Self::Cbc(128),
            0x8003 => Self::Cbc(256),
            0x8004 => Self::Xts(128),
            0x8005 => Self::Xts(256),
            _ => return None,
        })
    }

    /// The cipher with `key`, for `sectors`.
    ///
    /// # Errors
    /// `Corrupt` if the key is too short.
    pub fn with_key(self, key: &[u8], sectors: Sectors) -> BlockResult<Arc<dyn SectorCipher>> {
        let made = match self {
            Self::Diffused(128) | Self::Cbc(128) | Self::Xts(128) => {
                self.made::<Aes128>(key, 16, sectors)
            }
            _ => self.made::<Aes256>(key, 32, sectors),
        };
        made.ok_or_else(|| BlockError::corrupt("the key is shorter than its method says", 0, 0))
    }

    fn made<C>(self, key: &[u8], length: usize, sectors: Sectors) -> Option<Arc<dyn SectorCipher>>
    where
        C: KeyInit + BlockCipherEncrypt + BlockCipherDecrypt,
        C: BlockSizeUser<BlockSize = U16> + Send + Sync + 'static,
    {
        let part = |from: usize| {
            let bytes = key.get(from..from.checked_add(length)?)?;
            C::new_from_slice(bytes).ok()
        };
        let cbc = || {
            let own = part(0)?;
            let iv = Iv::Eboiv(Box::new(move |blocks| own.encrypt_blocks(blocks)));
            Some(Cbc { data: part(0)?, iv, sectors })
        };
        Some(match self {
            Self::Cbc(_) => Arc::new(cbc()?),
            // The second key begins in the middle of the 64 bytes, however long it is.
            Self::Diffused(_) => Arc::new(Elephant { data: cbc()?, tweak: part(32)? }),
            Self::Xts(_) => {
                let iv = Iv::Plain64Of(sectors.step);
                Arc::new(Xts { data: part(0)?, tweak: part(length)?, iv, sectors })
            }
        })
    }
}
