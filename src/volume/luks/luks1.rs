//! The header of LUKS1.
//!
//! Specification: LUKS On-Disk Format Specification 1.2.3, section 2. Big-endian, at the start of the
//! device; sectors have 512 bytes. It has no checksum.
//!
//! | offset | size | field             | rule                                                        |
//! |--------|------|-------------------|-------------------------------------------------------------|
//! | 0x000  | 6    | `magic`           | `LUKS`, 0xBA, 0xBE                                          |
//! | 0x006  | 2    | `version`         | 1                                                           |
//! | 0x008  | 32   | `cipher_name`     | `aes`                                                       |
//! | 0x028  | 32   | `cipher_mode`     | `xts-plain64`                                               |
//! | 0x048  | 32   | `hash`            | of PBKDF2 and of the splitter                               |
//! | 0x068  | 4    | `payload_offset`  | in sectors; 0: the header is detached                       |
//! | 0x06C  | 4    | `key_bytes`       | length of the volume key                                    |
//! | 0x070  | 20   | `digest`          | PBKDF2 of the volume key                                    |
//! | 0x084  | 32   | `digest_salt`     |                                                             |
//! | 0x0A4  | 4    | `digest_rounds`   |                                                             |
//! | 0x0A8  | 40   | `uuid`            | text                                                        |
//! | 0x0D0  | 8x48 | `slots`           | active (0x00AC71F3), rounds, salt, sector of the material, stripes |

use std::mem::{offset_of, size_of};

use volfold_block::{BlockDevice, BlockError, BlockResult, byte_count};
use zerocopy::byteorder::{BE, U16, U32};
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

use super::container::{DataPlace, Encryption, HEADER_ALONE, Header, Segment, VolumeKey, no_slot};
use super::hash::Hash;
use super::kdf::Kdf;
use super::slot::{KeyDigest, KeySlot};
use super::text::of_field;
use crate::volume::cipher::Sectors;
use crate::volume::cipher::named::NamedCipher;

/// What marks a slot that holds the volume key.
const ACTIVE: u32 = 0x00AC_71F3;

const SECTOR: u64 = 512;

/// The slot whose salt lies where a partition table has its mark, at byte 510.
pub(super) const SLOT_OF_MARK: usize = 6;

#[derive(FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawSlot {
    active: U32<BE>,
    rounds: U32<BE>,
    salt: [u8; 32],
    material_sector: U32<BE>,
    stripes: U32<BE>,
}
const _: () = assert!(size_of::<RawSlot>() == 48);

#[derive(FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawHeader {
    magic: [u8; 6],
    version: U16<BE>,
    cipher_name: [u8; 32],
    cipher_mode: [u8; 32],
    hash: [u8; 32],
    payload_offset: U32<BE>,
    key_bytes: U32<BE>,
    digest: [u8; 20],
    digest_salt: [u8; 32],
    digest_rounds: U32<BE>,
    uuid: [u8; 40],
    slots: [RawSlot; 8],
}
const _: () = assert!(offset_of!(RawHeader, payload_offset) == 0x68);
const _: () = assert!(offset_of!(RawHeader, uuid) == 0xA8);
const _: () = assert!(size_of::<RawHeader>() == 592);

impl RawHeader {
    /// The slot `number`, which is `raw`; `None` if it holds nothing.
    fn slot(&self, number: u32, raw: &RawSlot) -> BlockResult<Option<KeySlot>> {
        if raw.active.get() != ACTIVE {
            return Ok(None);
        }
        let hash = Hash::parse(&of_field(&self.hash))?;
        let slot = KeySlot {
            number,
            kdf: Kdf::Pbkdf2 { hash, iterations: raw.rounds.get(), salt: raw.salt.to_vec() },
            key_length: usize::try_from(self.key_bytes.get()).unwrap_or(usize::MAX),
            stripes: raw.stripes.get(),
            hash,
            offset: u64::from(raw.material_sector.get()).saturating_mul(SECTOR),
            cipher: self.cipher()?,
        };
        slot.check()?;
        Ok(Some(slot))
    }

    fn cipher(&self) -> BlockResult<NamedCipher> {
        let name = format!("{}-{}", of_field(&self.cipher_name), of_field(&self.cipher_mode));
        NamedCipher::parse(&name, usize::try_from(self.key_bytes.get()).unwrap_or(usize::MAX))
    }
}

/// Whether the slot `number` of the header of `device` holds something.
///
/// # Errors
/// Only if the header cannot be read.
pub(super) fn is_slot_used(device: &dyn BlockDevice, number: usize) -> BlockResult<bool> {
    let mut bytes = [0; size_of::<RawHeader>()];
    device.read_at(0, &mut bytes)?;
    let raw = RawHeader::ref_from_prefix(&bytes).ok();
    let slot = raw.and_then(|(raw, _)| raw.slots.get(number));
    Ok(slot.is_some_and(|slot| slot.active.get() == ACTIVE))
}

/// Reads the header of `device`, which may be the begin of a partition of `size` bytes.
///
/// # Errors
/// Why the volume cannot be read.
pub(super) fn read(device: &dyn BlockDevice, size: u64) -> BlockResult<Header> {
    parse(&bytes(device)?, size, DataPlace::Here)
}

/// The bytes of the header of `device`.
///
/// # Errors
/// If they cannot be read.
pub(super) fn bytes(device: &dyn BlockDevice) -> BlockResult<Vec<u8>> {
    let mut bytes = vec![0; size_of::<RawHeader>()];
    device.read_at(0, &mut bytes)?;
    Ok(bytes)
}

/// Checks the header in `bytes`, whose data are in `place`, on a device of `size` bytes.
///
/// # Errors
/// Why the volume cannot be read.
pub(super) fn parse(bytes: &[u8], size: u64, place: DataPlace) -> BlockResult<Header> {
    let (raw, _) = RawHeader::ref_from_prefix(bytes)
        .map_err(|_| BlockError::corrupt("header of LUKS1 is cut short", 0, 0))?;
    let offset = u64::from(raw.payload_offset.get()).saturating_mul(SECTOR);
    place.check(offset)?;
    let length = size.checked_sub(offset).map(|length| length & !(SECTOR.wrapping_sub(1)));
    let length = length
        .filter(|length| *length > 0)
        .ok_or_else(|| BlockError::corrupt(HEADER_ALONE, 0, 0x68))?;
    let hash = Hash::parse(&of_field(&raw.hash))?;
    let cipher = raw.cipher()?;
    let kdf =
        Kdf::Pbkdf2 { hash, iterations: raw.digest_rounds.get(), salt: raw.digest_salt.to_vec() };
    kdf.check(raw.digest.len())?;
    let digest = KeyDigest { kdf, digest: raw.digest.to_vec() };
    let (mut slots, mut refused) = (Vec::new(), Vec::new());
    for (number, slot) in (0..).zip(&raw.slots) {
        match raw.slot(number, slot) {
            Ok(slot) => slots.extend(slot),
            Err(error) => refused.push((number, error.message().to_owned())),
        }
    }
    if slots.is_empty() {
        return Err(no_slot(&refused));
    }
    let ends = |slot: &&KeySlot| {
        let length = slot.material_length().map_or(u64::MAX, byte_count);
        place == DataPlace::Here
            && slot.offset < offset
            && slot.offset.saturating_add(length) > offset
    };
    if let Some(slot) = slots.iter().find(ends) {
        let line = format!("data of LUKS1 begin inside of key slot {}", slot.number);
        return Err(BlockError::corrupt(line, 0, 0x68));
    }
    let sectors = Sectors::in_512(512).ok_or_else(|| BlockError::unsupported("sector size"))?;
    let encryption = Encryption { cipher, sectors, first_sector: 0, key: 0 };
    Ok(Header {
        kind: "LUKS1",
        segments: vec![Segment { offset, length, encryption: Some(encryption) }],
        keys: vec![VolumeKey { digest, slots }],
        refused,
        tokens: Vec::new(),
    })
}
