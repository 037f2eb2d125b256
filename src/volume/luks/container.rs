//! A volume of LUKS as its header describes it, and how a key opens it.

use std::sync::Arc;

use volfold_block::{BlockDevice, BlockError, BlockResult};
use zeroize::Zeroizing;

use super::slot::{KeyDigest, KeySlot};
use crate::volume::cipher::Sectors;
use crate::volume::cipher::device::{Decrypted, DecryptedPart};
use crate::volume::cipher::named::NamedCipher;
use crate::volume::lock::{Key, Opener, Unlock, WorkBudget};

/// A volume key: what it is known by, and the slots that hold it, in the order tried.
#[derive(Clone, Debug)]
pub(super) struct VolumeKey {
    pub(super) digest: KeyDigest,
    pub(super) slots: Vec<KeySlot>,
}

/// What a segment is encrypted with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Encryption {
    pub(super) cipher: NamedCipher,
    pub(super) sectors: Sectors,
    /// The number of the first sector, in 512 bytes.
    pub(super) first_sector: u64,
    /// Which of the volume keys it has.
    pub(super) key: usize,
}

/// A run of the volume.
#[derive(Clone, Debug)]
pub(super) struct Segment {
    /// The first byte on the device.
    pub(super) offset: u64,
    pub(super) length: u64,
    /// `None` for bytes that are not encrypted.
    pub(super) encryption: Option<Encryption>,
}

/// What a header says.
#[derive(Clone, Debug)]
pub(super) struct Header {
    /// `LUKS1` or `LUKS2`.
    pub(super) kind: &'static str,
    /// The volume, from its start on.
    pub(super) segments: Vec<Segment>,
    /// Those that the segments need, each with at least one slot.
    pub(super) keys: Vec<VolumeKey>,
    /// The slots that are not tried, and why.
    pub(super) refused: Vec<(u32, String)>,
    /// The types of the tokens, which are not read.
    pub(super) tokens: Vec<String>,
}

impl Header {
    /// Bytes of the volume.
    pub(super) fn size(&self) -> u64 {
        self.segments.iter().fold(0, |sum: u64, segment| sum.saturating_add(segment.length))
    }

    /// How many slots are tried.
    pub(super) fn slots(&self) -> usize {
        self.keys.iter().map(|key| key.slots.len()).sum()
    }
}

/// What is said of a device that ends before its data begin.
pub(super) const HEADER_ALONE: &str = "device ends before its data begin, as the backup of a header does; \
    `cryptsetup luksHeaderRestore` writes it to a copy of its disk";

/// What is said where no slot can be tried, of which `refused` has those that hold something.
pub(super) fn no_slot(refused: &[(u32, String)]) -> BlockError {
    match refused.first() {
        Some((number, reason)) => {
            BlockError::unsupported(format!("no key slot can be tried: slot {number}: {reason}"))
        }
        None => BlockError::missing("no key slot holds its key"),
    }
}

/// Where the data of a header are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DataPlace {
    /// After the header, on its device.
    Here,
    /// On another device, from its start on: the header is detached.
    Elsewhere,
}

impl DataPlace {
    /// Checks that data may begin at `offset` of their device.
    ///
    /// # Errors
    /// If they would have to be elsewhere.
    pub(super) fn check(self, offset: u64) -> BlockResult<()> {
        match (self, offset) {
            (Self::Here, 0) => Err(BlockError::missing(
                "header is detached: its data lie on another disk, which is to be given with it",
            )),
            (Self::Elsewhere, 1..) => Err(BlockError::corrupt("header is not detached", 0, 0)),
            _ => Ok(()),
        }
    }
}

type VolumeKeys = Vec<Zeroizing<Vec<u8>>>;

/// What a header says where its data are a device of so many bytes.
pub(super) type LayOut = dyn Fn(u64) -> BlockResult<Header> + Send + Sync;

/// A header on its device.
pub(super) struct Container {
    /// What the key material lies on.
    pub(super) device: Arc<dyn BlockDevice>,
    /// What the segments lie on.
    pub(super) data: Arc<dyn BlockDevice>,
    pub(super) header: Header,
}

/// A header whose data lie on another device.
pub(super) struct Detached {
    /// What the key material lies on.
    pub(super) device: Arc<dyn BlockDevice>,
    /// For a device without end.
    pub(super) header: Header,
    pub(super) lay_out: Arc<LayOut>,
}

impl Header {
    /// The volume keys that `passphrase` gives, with the key material on `device`; `None` if it opens no slot.
    fn volume_keys(
        &self,
        device: &dyn BlockDevice,
        passphrase: &Key,
        work: &WorkBudget,
    ) -> BlockResult<Option<VolumeKeys>> {
        let mut keys = Vec::new();
        for wanted in &self.keys {
            match wanted.open(device, passphrase, work)? {
                Some(key) => keys.push(key),
                None => return Ok(None),
            }
        }
        Ok(Some(keys))
    }

    /// The volume on `data`, decrypted by `keys`.
    fn decrypted(
        &self,
        data: &Arc<dyn BlockDevice>,
        keys: &VolumeKeys,
    ) -> BlockResult<Arc<dyn BlockDevice>> {
        let mut parts = Vec::new();
        for segment in &self.segments {
            let part = segment.part(data.size(), keys)?;
            let is_cut = part.length < segment.length;
            parts.push(part);
            if is_cut {
                break;
            }
        }
        Ok(Arc::new(Decrypted::new(data.clone(), parts)))
    }
}

impl VolumeKey {
    /// The volume key that `passphrase` gives, with the key material on `device`; `None` if it opens no slot.
    ///
    /// # Errors
    /// Why the first slot that cannot be tried is not, if no other one opens.
    fn open(
        &self,
        device: &dyn BlockDevice,
        passphrase: &Key,
        work: &WorkBudget,
    ) -> BlockResult<Option<Zeroizing<Vec<u8>>>> {
        let open = |slot: &KeySlot| {
            let key = slot.open(device, passphrase, work)?;
            Ok(self.digest.is_of(&key, work)?.then_some(key))
        };
        let mut failed = None;
        for slot in &self.slots {
            match open(slot) {
                Ok(Some(key)) => return Ok(Some(key)),
                Ok(None) => {}
                // Another slot may still be whole.
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        failed.map_or(Ok(None), Err)
    }
}

impl Segment {
    /// It, as far as a device of `size` bytes has it, with the cipher that `keys` give.
    fn part(&self, size: u64, keys: &VolumeKeys) -> BlockResult<DecryptedPart> {
        let Self { offset, length, encryption } = self;
        let mut part =
            DecryptedPart { length: *length, offset: *offset, cipher: None, first_sector: 0 };
        let mut grain = 512;
        if let Some(encryption) = encryption {
            let key = keys.get(encryption.key).ok_or_else(|| {
                BlockError::corrupt("a segment names a volume key that is not there", 0, 0)
            })?;
            part.cipher = Some(encryption.cipher.with_key(key, encryption.sectors)?);
            part.first_sector = encryption.first_sector;
            grain = encryption.sectors.size();
        }
        // An image may end before the volume does.
        let there = size.saturating_sub(*offset);
        let over = there.checked_rem(u64::try_from(grain).unwrap_or(512)).unwrap_or(0);
        part.length = (*length).min(there.saturating_sub(over));
        Ok(part)
    }
}

impl Unlock for Container {
    fn unlock(&self, key: &Key, work: &WorkBudget) -> BlockResult<Option<Arc<dyn BlockDevice>>> {
        let keys = self.header.volume_keys(&*self.device, key, work)?;
        keys.map(|keys| self.header.decrypted(&self.data, &keys)).transpose()
    }
}

impl Unlock for Detached {
    fn unlock(&self, _key: &Key, _work: &WorkBudget) -> BlockResult<Option<Arc<dyn BlockDevice>>> {
        Err(BlockError::missing("header is detached"))
    }

    fn unlock_detached(
        &self,
        key: &Key,
        work: &WorkBudget,
    ) -> BlockResult<Option<Box<dyn Opener>>> {
        let keys = self.header.volume_keys(&*self.device, key, work)?;
        let lay_out = &self.lay_out;
        Ok(keys.map(|keys| -> Box<dyn Opener> {
            Box::new(DetachedKeys { keys, lay_out: lay_out.clone() })
        }))
    }
}

/// The keys of a volume, whose header is on no device of its own.
struct DetachedKeys {
    keys: VolumeKeys,
    lay_out: Arc<LayOut>,
}

impl Opener for DetachedKeys {
    fn over(&self, data: &Arc<dyn BlockDevice>, size: u64) -> BlockResult<Arc<dyn BlockDevice>> {
        (self.lay_out)(size)?.decrypted(data, &self.keys)
    }
}
