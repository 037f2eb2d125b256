//! From a passphrase to the key of a key slot.
//!
//! Source: RFC 8018, section 5.2 (PBKDF2); RFC 9106 (Argon2, version 0x13).

use std::sync::{Mutex, PoisonError};

use argon2::{Algorithm, Argon2, Params, Version};
use volfold_block::{BlockError, BlockResult, byte_count};
use zeroize::Zeroizing;

use super::hash::Hash;
use crate::volume::cipher::shown;
use crate::volume::lock::WorkBudget;

/// LIMIT: work of one derivation, as [`WorkBudget`] counts: a few minutes. cryptsetup aims at two seconds.
const MAX_WORK: u64 = 1 << 28;

/// LIMIT: memory of Argon2 in KiB: 1 GiB, the most that cryptsetup writes unless it is told to. Freed after each
/// try.
const MAX_MEMORY: u32 = 1 << 20;

/// LIMIT: the same for a key that is given for this volume alone: 4 GiB, the most that cryptsetup writes.
const MAX_MEMORY_WHERE_CHOSEN: u32 = 4 << 20;

/// One derivation with Argon2 at a time: what each of several sets may take, all of them together may not.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// LIMIT: bytes of a salt; cryptsetup writes 32.
const MAX_SALT: usize = 1024;

/// A key derivation function with its parameters.
#[derive(Clone, Debug)]
pub(super) enum Kdf {
    Pbkdf2 { hash: Hash, iterations: u32, salt: Vec<u8> },
    Argon2 { algorithm: Algorithm, time: u32, memory: u32, lanes: u32, salt: Vec<u8> },
}

impl Kdf {
    /// Argon2 by its `name` in LUKS2.
    ///
    /// # Errors
    /// `Unsupported` if there is none.
    pub(super) fn algorithm(name: &str) -> BlockResult<Algorithm> {
        match name {
            "argon2i" => Ok(Algorithm::Argon2i),
            "argon2id" => Ok(Algorithm::Argon2id),
            _ => {
                let line = format!("key derivation {} is not read", shown(name));
                Err(BlockError::unsupported(line))
            }
        }
    }

    /// What it costs to derive `length` bytes.
    pub(super) fn work(&self, length: usize) -> u64 {
        match self {
            Self::Pbkdf2 { hash, iterations, .. } => {
                let blocks = byte_count(length.div_ceil(hash.length().max(1)));
                u64::from(*iterations).saturating_mul(blocks)
            }
            Self::Argon2 { time, memory, .. } => u64::from(*time).saturating_mul((*memory).into()),
        }
    }

    /// Whether `length` bytes can be derived within the bounds.
    ///
    /// # Errors
    /// `Corrupt` if the parameters make no sense, `Refused` if they are out of bounds.
    pub(super) fn check(&self, length: usize) -> BlockResult<()> {
        let (salt, makes_sense) = match self {
            Self::Pbkdf2 { iterations, salt, .. } => (salt, *iterations > 0),
            Self::Argon2 { memory, salt, .. } => {
                if *memory > MAX_MEMORY_WHERE_CHOSEN {
                    let line = format!("key derivation takes {memory} KiB of memory, above 4 GiB");
                    return Err(BlockError::refused(line));
                }
                (salt, salt.len() >= 8 && self.params(length).is_some())
            }
        };
        if !makes_sense || salt.len() > MAX_SALT {
            let line = "parameters of the key derivation make no sense";
            return Err(BlockError::corrupt(line, 0, 0));
        }
        if self.work(length) > MAX_WORK {
            let line = "key derivation takes more work than is allowed for one key";
            return Err(BlockError::refused(line));
        }
        Ok(())
    }

    /// Whether the memory that it takes may be had for a key, which `is_chosen` for its volume or not.
    ///
    /// # Errors
    /// `Refused` if not.
    pub(super) fn allow_memory(&self, is_chosen: bool) -> BlockResult<()> {
        match self {
            Self::Argon2 { memory, .. } if *memory > MAX_MEMORY && !is_chosen => {
                Err(BlockError::refused(format!(
                    "key derivation takes {memory} KiB of memory, above 1 GiB; give the key for this \
                     volume alone (--key VOLUME=PLACE) to allow up to 4 GiB"
                )))
            }
            _ => Ok(()),
        }
    }

    fn params(&self, length: usize) -> Option<Params> {
        match self {
            Self::Pbkdf2 { .. } => None,
            Self::Argon2 { time, memory, lanes, .. } => {
                Params::new(*memory, *time, *lanes, Some(length)).ok()
            }
        }
    }

    /// `length` bytes from `passphrase`, by work from `budget`.
    ///
    /// # Errors
    /// Why they cannot be derived.
    pub(super) fn derive(
        &self,
        passphrase: &[u8],
        length: usize,
        budget: &WorkBudget,
    ) -> BlockResult<Zeroizing<Vec<u8>>> {
        self.check(length)?;
        budget.spend(self.work(length))?;
        let mut key = Zeroizing::new(vec![0; length]);
        match self {
            Self::Pbkdf2 { hash, iterations, salt } => {
                hash.pbkdf2(passphrase, salt, *iterations, &mut key);
            }
            Self::Argon2 { algorithm, memory, salt, .. } => {
                let params = self.params(length).ok_or_else(|| {
                    BlockError::corrupt("parameters of the key derivation make no sense", 0, 0)
                })?;
                let _one = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
                let argon2 = Argon2::new(*algorithm, Version::V0x13, params);
                argon2.hash_password_into(passphrase, salt, &mut key).map_err(|error| {
                    let line = format!("key derivation with {memory} KiB of memory failed");
                    BlockError::refused(line).because(error)
                })?;
            }
        }
        Ok(key)
    }
}
