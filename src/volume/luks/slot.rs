//! A key slot: the volume key, split and encrypted by a key that comes from a passphrase.
//!
//! Source: LUKS1 On-Disk Format Specification 1.2.3, sections 2.4 (anti-forensic splitter) and 4.1; LUKS2
//! On-Disk Format Specification 1.1.3, section 3.2. The key material is decrypted in sectors of 512 bytes
//! that are counted from 0. It is `stripes` pieces of the length of the key: each is mixed into a sum,
//! which is hashed piece by piece before the next; the last is only mixed in.

use volfold_block::{BlockDevice, BlockError, BlockResult, byte_count};
use zeroize::Zeroizing;

use super::hash::Hash;
use super::kdf::Kdf;
use crate::volume::cipher::Sectors;
use crate::volume::cipher::named::NamedCipher;
use crate::volume::lock::{Key, WorkBudget};

/// LIMIT: bytes of a volume key, that of cryptsetup.
pub(super) const MAX_KEY: usize = 512;

/// LIMIT: bytes of key material that are read at once; 4000 stripes of 64 bytes are usual.
const MAX_MATERIAL: usize = 8 << 20;

/// The sectors that key material is encrypted in.
const SECTOR: usize = 512;

/// A key slot.
#[derive(Clone, Debug)]
pub(super) struct KeySlot {
    /// What the header calls it.
    pub(super) number: u32,
    pub(super) kdf: Kdf,
    /// Bytes of the volume key.
    pub(super) key_length: usize,
    pub(super) stripes: u32,
    /// What the pieces are hashed by.
    pub(super) hash: Hash,
    /// Where the key material lies on the device.
    pub(super) offset: u64,
    /// What it is encrypted with.
    pub(super) cipher: NamedCipher,
}

/// What a volume key is known by.
#[derive(Clone, Debug)]
pub(super) struct KeyDigest {
    pub(super) kdf: Kdf,
    pub(super) digest: Vec<u8>,
}

impl KeyDigest {
    /// Whether `key` is the volume key.
    ///
    /// # Errors
    /// Why that cannot be told.
    pub(super) fn is_of(&self, key: &[u8], work: &WorkBudget) -> BlockResult<bool> {
        Ok(*self.kdf.derive(key, self.digest.len(), work)? == self.digest)
    }
}

impl KeySlot {
    /// Whether it can be tried within the bounds.
    ///
    /// # Errors
    /// Why not.
    pub(super) fn check(&self) -> BlockResult<()> {
        if !(1..=MAX_KEY).contains(&self.key_length) || self.stripes == 0 {
            return Err(BlockError::corrupt("key or stripes have an invalid length", 0, 0));
        }
        if self.material_length().is_none() {
            return Err(BlockError::refused("has more key material than is read"));
        }
        self.kdf.check(self.cipher.key_length())
    }

    /// Bytes of the key material, in whole sectors.
    pub(super) fn material_length(&self) -> Option<usize> {
        let length = self.key_length.checked_mul(usize::try_from(self.stripes).ok()?)?;
        let length = length.checked_next_multiple_of(SECTOR)?;
        (length <= MAX_MATERIAL).then_some(length)
    }

    /// The volume key if `passphrase` is that of this slot, else any bytes.
    ///
    /// # Errors
    /// Why the key material cannot be read.
    pub(super) fn open(
        &self,
        device: &dyn BlockDevice,
        passphrase: &Key,
        work: &WorkBudget,
    ) -> BlockResult<Zeroizing<Vec<u8>>> {
        self.check()?;
        self.kdf.allow_memory(passphrase.is_for_this_volume())?;
        let length = self.material_length().unwrap_or(0);
        let mut material = Zeroizing::new(vec![0; length]);
        device
            .read_at(self.offset, &mut material)
            .map_err(|error| error.within(&format!("key material of slot {}", self.number)))?;
        // Encrypted, it is never that; `cryptsetup erase` and the like leave it so.
        if material.iter().all(|byte| *byte == 0) {
            let line =
                format!("key material of slot {} was erased: all of it is zeros", self.number);
            return Err(BlockError::missing(line));
        }
        let key = self.kdf.derive(passphrase.bytes(), self.cipher.key_length(), work)?;
        let sectors = Sectors::in_512(512);
        let sectors = sectors.ok_or_else(|| BlockError::unsupported("sectors are not read"))?;
        self.cipher.with_key(&key, sectors)?.decrypt(0, &mut material);
        // Joining hashes each stripe, block by block.
        let blocks = self.key_length.div_ceil(self.hash.length().max(1));
        work.spend(u64::from(self.stripes).saturating_mul(byte_count(blocks)))?;
        Ok(self.joined(&material))
    }

    /// The key whose pieces are in `material`.
    fn joined(&self, material: &[u8]) -> Zeroizing<Vec<u8>> {
        let mut sum = Zeroizing::new(vec![0; self.key_length]);
        let stripes = usize::try_from(self.stripes).unwrap_or(0);
        let pieces = material.chunks_exact(self.key_length.max(1)).take(stripes);
        for (index, piece) in pieces.enumerate() {
            if index > 0 {
                self.diffuse(&mut sum);
            }
            sum.iter_mut().zip(piece).for_each(|(byte, other)| *byte ^= other);
        }
        sum
    }

    /// Hashes `sum` block by block, each with its number before it.
    fn diffuse(&self, sum: &mut [u8]) {
        for (number, block) in (0_u32..).zip(sum.chunks_mut(self.hash.length().max(1))) {
            let hashed = Zeroizing::new(self.hash.of(&[&number.to_be_bytes(), block]));
            block.iter_mut().zip(hashed.iter()).for_each(|(byte, other)| *byte = *other);
        }
    }
}
