//! The hashes that a header names.
//!
//! Source: LUKS1 On-Disk Format Specification 1.2.3, section 3; LUKS2 On-Disk Format Specification 1.1.3,
//! section 3. `whirlpool` and the like are not read.

use pbkdf2::pbkdf2_hmac;
use ripemd::Ripemd160;
use sha1::Sha1;
use sha2::{Digest, Sha224, Sha256, Sha384, Sha512};
use volfold_block::{BlockError, BlockResult};

use crate::volume::cipher::shown;

/// A hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hash {
    Sha1,
    Sha224,
    Sha256,
    Sha384,
    Sha512,
    Ripemd160,
}

/// `$body` with `$type` for the hash `$hash`.
macro_rules! with_hash {
    ($hash:expr, $type:ident => $body:expr) => {
        match $hash {
            Hash::Sha1 => {
                type $type = Sha1;
                $body
            }
            Hash::Sha224 => {
                type $type = Sha224;
                $body
            }
            Hash::Sha256 => {
                type $type = Sha256;
                $body
            }
            Hash::Sha384 => {
                type $type = Sha384;
                $body
            }
            Hash::Sha512 => {
                type $type = Sha512;
                $body
            }
            Hash::Ripemd160 => {
                type $type = Ripemd160;
                $body
            }
        }
    };
}

impl Hash {
    /// The hash `name`.
    ///
    /// # Errors
    /// `Unsupported` if it is not read, by its name.
    pub(super) fn parse(name: &str) -> BlockResult<Self> {
        Ok(match name.to_ascii_lowercase().as_str() {
            "sha1" => Self::Sha1,
            "sha224" => Self::Sha224,
            "sha256" => Self::Sha256,
            "sha384" => Self::Sha384,
            "sha512" => Self::Sha512,
            "ripemd160" => Self::Ripemd160,
            _ => {
                let line = format!("hash {} is not read", shown(name));
                return Err(BlockError::unsupported(line));
            }
        })
    }

    /// Bytes of a hash.
    pub(super) fn length(self) -> usize {
        with_hash!(self, H => <H as Digest>::output_size())
    }

    /// The hash of `parts`, one after the other.
    pub(super) fn of(self, parts: &[&[u8]]) -> Vec<u8> {
        with_hash!(self, H => {
            let mut hash = H::new();
            parts.iter().for_each(|part| hash.update(part));
            hash.finalize().to_vec()
        })
    }

    /// Fills `out` by PBKDF2.
    pub(super) fn pbkdf2(self, password: &[u8], salt: &[u8], rounds: u32, out: &mut [u8]) {
        with_hash!(self, H => pbkdf2_hmac::<H>(password, salt, rounds, out));
    }
}
