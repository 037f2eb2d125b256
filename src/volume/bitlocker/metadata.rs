//! The boot sector of an encrypted volume, and the blocks of metadata that it leads to.
//!
//! Source: "BitLocker Drive Encryption (BDE) format" by Joachim Metz, sections 2 to 4. Little-endian. The boot
//! sector has `-FVE-FS-` at 0x03; To Go has that of FAT with `MSWIN4.1` there, for systems that know nothing of it:
//!
//! | offset | size | field         | rule                                                            |
//! |--------|------|---------------|-----------------------------------------------------------------|
//! | 0x00B  | 2    | `sector`      | bytes of a sector                                               |
//! | 0x00D  | 1    | `cluster`     | sectors of a cluster                                            |
//! | 0x038  | 8    | `block`       | Vista: the cluster of the first block                           |
//! | 0x0A0  | 16   | `identifier`  | Windows 7 and later: 4967d63b-2e29-4ad8-8399-f6a339e3d001       |
//! | 0x0B0  | 3x8  | `blocks`      | where the blocks lie                                            |
//! | 0x1A8  | 16   | `identifier`  | To Go: the same, and then the places                            |
//!
//! A block is there three times:
//!
//! | offset | size | field         | rule                                                            |
//! |--------|------|---------------|-----------------------------------------------------------------|
//! | 0x00   | 8    | `signature`   | `-FVE-FS-`                                                      |
//! | 0x08   | 2    | `size`        | up to the validation, in 16 bytes; version 1: in bytes          |
//! | 0x0A   | 2    | `version`     | 1: Vista, 2: Windows 7 and later                                |
//! | 0x0C   | 2    | `state`       | 1: not encrypted, 2, 5: in part, 3: as it is written, 4: all    |
//! | 0x10   | 8    | `encrypted`   | bytes of the volume that are encrypted                          |
//! | 0x18   | 4    | `converting`  | bytes behind them that are being worked on                      |
//! | 0x1C   | 4    | `headers`     | sectors of the volume that lie elsewhere                        |
//! | 0x20   | 3x8  | `blocks`      | where the blocks lie                                            |
//! | 0x38   | 8    | `header`      | where these sectors lie; version 1: the cluster of the copy of NTFS's file table |
//! | 0x40   | 4    | `length`      | of the metadata that begin here, with 48 bytes of header        |
//! | 0x50   | 16   | `volume`      | GUID                                                            |
//! | 0x60   | 4    | `nonce`       | the next one: grows with each change                            |
//! | 0x64   | 2    | `method`      | of [`Method`]                                                   |
//! | 0x70   |      | `entries`     | see `entry`                                                     |
//!
//! The validation is 2 bytes of size, 2 of version, and the CRC-32 of what comes before it.

use std::collections::BTreeSet;
use std::sync::Arc;

use volfold_block::{BlockDevice, BlockError, BlockResult, ByteReader, error_chain};

use super::entry::{self, Entry, kind, value};
use crate::partition::Guid;
use crate::volume::cipher::bitlocker::Method;

const SIGNATURE: [u8; 8] = *b"-FVE-FS-";

/// What a boot sector of Windows 7 or later has, in the order of the disk.
const IDENTIFIER: [u8; 16] = [
    0x3B, 0xD6, 0x67, 0x49, 0x29, 0x2E, 0xD8, 0x4A, 0x83, 0x99, 0xF6, 0xA3, 0x39, 0xE3, 0xD0, 0x01,
];

/// The same of a volume that is encrypted as it is written.
const ON_WRITE: [u8; 16] = [
    0x3B, 0x4D, 0xA8, 0x92, 0x80, 0xDD, 0x0E, 0x4D, 0x9E, 0x4E, 0xB1, 0xE3, 0x28, 0x4E, 0xAE, 0xD8,
];

/// Bytes of a block.
const BLOCK: u64 = 64 << 10;

/// Bytes of a block of Vista.
const VISTA_BLOCK: u64 = 16 << 10;

/// Where the entries begin in a block.
const ENTRIES: usize = 0x70;

/// What a boot sector says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Boot {
    pub(super) sector_size: u32,
    /// Where blocks lie.
    places: [u64; 3],
}

/// The boot sector of `device`, if it is one of BitLocker.
///
/// # Errors
/// If it cannot be read, or is of a kind that is not.
pub(super) fn boot(device: &dyn BlockDevice) -> BlockResult<Option<Boot>> {
    let mut bytes = [0; 512];
    if device.size() < 4096 {
        return Ok(None);
    }
    device.read_at(0, &mut bytes)?;
    let mut reader = ByteReader::new("boot sector of BitLocker", &bytes, 0);
    let skipped = |count: usize| -> BlockResult<ByteReader<'_>> {
        let mut reader = ByteReader::new("boot sector of BitLocker", &bytes, 0);
        reader.skip(count)?;
        Ok(reader)
    };
    reader.skip(3)?;
    let name = reader.array::<8>()?;
    let (sector_size, cluster) = (u32::from(reader.u16_le()?), reader.u8()?);
    let is_to_go = name == *b"MSWIN4.1";
    if name != SIGNATURE && !is_to_go {
        return Ok(None);
    }
    let mut reader = skipped(if is_to_go { 0x1A8 } else { 0xA0 })?;
    let identifier = reader.array::<16>()?;
    let places = match identifier {
        IDENTIFIER => [reader.u64_le()?, reader.u64_le()?, reader.u64_le()?],
        ON_WRITE => {
            let line = "a volume that is encrypted as it is written is not read";
            return Err(BlockError::unsupported(line));
        }
        _ if is_to_go => return Ok(None),
        _ => {
            let place = skipped(0x38)?.u64_le()?;
            let place = place.checked_mul(u64::from(cluster));
            let place = place.and_then(|place| place.checked_mul(u64::from(sector_size)));
            [place.ok_or_else(|| reader.corrupt("has an invalid place"))?; 3]
        }
    };
    if !sector_size.is_power_of_two() || !(512..=4096).contains(&sector_size) {
        let line = format!("sectors of {sector_size} bytes are not read");
        return Err(BlockError::unsupported(line));
    }
    Ok(Some(Boot { sector_size, places }))
}

/// What a block says.
#[derive(Clone)]
pub(super) struct Metadata {
    pub(super) version: u16,
    pub(super) state: u16,
    pub(super) encrypted: u64,
    pub(super) converting: u64,
    /// Bytes of the volume that lie elsewhere.
    pub(super) header_length: u64,
    /// Where they lie; of version 1 a cluster.
    pub(super) header: u64,
    pub(super) places: [u64; 3],
    pub(super) volume: Guid,
    nonce: u32,
    pub(super) method: u16,
    bytes: Arc<[u8]>,
    /// Of all that it says.
    checked: u32,
}

/// The blocks of a volume.
pub(super) struct Found {
    /// The newest.
    pub(super) metadata: Metadata,
    /// Where those lie that can be read.
    pub(super) read: Vec<u64>,
    /// Why others cannot.
    pub(super) damaged: Vec<String>,
}

impl Metadata {
    /// The block that lies at `at` of `device`.
    fn read(device: &dyn BlockDevice, sector_size: u32, at: u64) -> BlockResult<Self> {
        let what = "metadata of BitLocker";
        let length = BLOCK.min(device.size().saturating_sub(at));
        if length == 0 {
            return Err(BlockError::missing(format!("the image ends before {what}")).at(at));
        }
        let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
        device.read_at(at, &mut bytes).map_err(|error| error.within(what))?;
        let mut reader = ByteReader::new(what, &bytes, at);
        if reader.array::<8>()? != SIGNATURE {
            return Err(BlockError::corrupt(format!("no {what} lies here"), at, 0));
        }
        let (size, version) = (u64::from(reader.u16_le()?), reader.u16_le()?);
        let state = reader.u16_le()?;
        reader.skip(2)?;
        let (encrypted, converting) = (reader.u64_le()?, u64::from(reader.u32_le()?));
        let headers = u64::from(reader.u32_le()?);
        let places = [reader.u64_le()?, reader.u64_le()?, reader.u64_le()?];
        let header = reader.u64_le()?;
        let size = match version {
            1 => size,
            2 => size.saturating_mul(16),
            other => {
                let line = format!("{what} of version {other} is not read");
                return Err(BlockError::unsupported(line));
            }
        };
        let length = reader.u32_le()?;
        reader.skip(12)?;
        let (volume, nonce, method) = (Guid(reader.array()?), reader.u32_le()?, reader.u16_le()?);
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        let (checked, mut rest) = match bytes.split_at_checked(size) {
            Some((checked, rest)) => (checked, ByteReader::new(what, rest, at)),
            None => return Err(BlockError::corrupt(format!("{what} is cut short"), at, 8)),
        };
        rest.skip(4)?;
        let sum = crc32fast::hash(checked);
        if rest.u32_le()? != sum {
            return Err(BlockError::corrupt(format!("{what} has a wrong checksum"), at, 0));
        }
        let end = usize::try_from(length).ok().and_then(|length| length.checked_add(64));
        let entries = end.and_then(|end| checked.get(ENTRIES..end));
        let entries = entries.ok_or_else(|| reader.corrupt("has an invalid length"))?;
        entry::list(entries, at)?;
        // Version 1 has nothing of the kind.
        let own = |value: u64| if version == 1 { 0 } else { value };
        Ok(Self {
            version,
            state,
            encrypted: own(encrypted),
            converting: own(converting),
            header_length: own(headers.saturating_mul(u64::from(sector_size))),
            header,
            places,
            volume,
            nonce,
            method,
            bytes: entries.into(),
            checked: sum,
        })
    }

    /// The newest of the blocks that can be read, where all of them lie that can, and why others cannot.
    ///
    /// # Errors
    /// If none can be read, or those of one time differ, or contradict the boot sector or themselves.
    pub(super) fn newest(device: &dyn BlockDevice, boot: &Boot) -> BlockResult<Found> {
        let mut found: Vec<(u64, Self)> = Vec::new();
        let mut damaged: Vec<(String, BlockError)> = Vec::new();
        let mut places: BTreeSet<u64> = boot.places.into();
        let mut seen = BTreeSet::new();
        // Vista's boot sector knows the first alone; the blocks know each other.
        while let Some(place) = places.difference(&seen).next().copied().filter(|_| seen.len() < 6)
        {
            seen.insert(place);
            match Self::read(device, boot.sector_size, place) {
                Ok(metadata) => {
                    places.extend(metadata.places);
                    found.push((place, metadata));
                }
                Err(error) => damaged.push((error_chain(&error), error)),
            }
        }
        let read = found.iter().map(|(place, _)| *place).collect();
        let newest = found.iter().map(|(_, metadata)| metadata.nonce).max();
        let mut newest = found.into_iter().filter(|(_, own)| Some(own.nonce) == newest);
        let Some((_, metadata)) = newest.next() else {
            let none = || BlockError::corrupt("no metadata of BitLocker is named", 0, 0);
            return Err(damaged.into_iter().next().map_or_else(none, |(_, error)| error));
        };
        if newest.any(|(_, other)| other.checked != metadata.checked) {
            return Err(BlockError::corrupt("copies of the metadata of one time differ", 0, 0));
        }
        let is_known = |place: &u64| metadata.places.contains(place);
        if !boot.places.iter().all(is_known)
            || (metadata.version == 2 && boot.places != metadata.places)
        {
            let line = "boot sector and metadata do not agree about where the metadata lie";
            return Err(BlockError::corrupt(line, 0, 0));
        }
        let moved = (metadata.header, metadata.header_length);
        if metadata.moved().is_some_and(|other| metadata.version == 2 && other != moved) {
            let line = "metadata contradict themselves about where the first sectors lie";
            return Err(BlockError::corrupt(line, 0, 0x38));
        }
        let damaged = damaged.into_iter().map(|(line, _)| line).collect();
        Ok(Found { metadata, read, damaged })
    }

    /// Where the first sectors lie, as an entry says.
    fn moved(&self) -> Option<(u64, u64)> {
        let entries = self.entries();
        let place = entries.iter().find(|entry| entry.value == value::PLACE)?;
        let (offset, rest) = place.bytes.split_first_chunk::<8>()?;
        Some((u64::from_le_bytes(*offset), u64::from_le_bytes(*rest.first_chunk::<8>()?)))
    }

    /// Bytes that the volume hides where a block lies.
    pub(super) fn block_length(&self) -> u64 {
        if self.version == 1 { VISTA_BLOCK } else { BLOCK }
    }

    /// Its entries.
    pub(super) fn entries(&self) -> Vec<Entry<'_>> {
        entry::list(&self.bytes, 0).unwrap_or_default()
    }

    /// The entries of volume master keys, each with how it is protected; the first [`MAX_PROTECTORS`].
    pub(super) fn protectors(&self) -> Vec<Protector<'_>> {
        let keys = self.entries().into_iter();
        let keys =
            keys.filter(|entry| entry.kind == kind::MASTER_KEY && entry.value == value::MASTER_KEY);
        keys.filter_map(Protector::of).take(MAX_PROTECTORS).collect()
    }

    /// What the volume is encrypted with.
    ///
    /// # Errors
    /// `Unsupported` if that is not read, by its number.
    pub(super) fn method(&self) -> BlockResult<Method> {
        Method::of(self.method).ok_or_else(|| {
            BlockError::unsupported(format!("encryption method {:#06x} is not read", self.method))
        })
    }
}

/// LIMIT: protectors of a volume; each takes a second to try. Windows makes two or three.
const MAX_PROTECTORS: usize = 32;

/// How a volume master key is protected.
pub(super) struct Protector<'a> {
    pub(super) id: Guid,
    pub(super) protection: u16,
    pub(super) entries: Vec<Entry<'a>>,
}

impl<'a> Protector<'a> {
    /// What `entry` says, the entry of a volume master key.
    fn of(entry: Entry<'a>) -> Option<Self> {
        let id = Guid(*entry.bytes.first_chunk::<16>()?);
        let protection = entry.bytes.get(26..28)?.first_chunk::<2>()?;
        let protection = u16::from_le_bytes(*protection);
        Some(Self { id, protection, entries: entry.inner(28) })
    }
}

/// Ways to protect a key.
pub(super) mod protection {
    pub(crate) const CLEAR: u16 = 0;
    pub(crate) const STARTUP_KEY: u16 = 0x0200;
    pub(crate) const RECOVERY_KEY: u16 = 0x0800;
    pub(crate) const PASSWORD: u16 = 0x2000;
}

#[cfg(test)]
impl Metadata {
    /// Of a volume that is encrypted up to `encrypted`, whose first `header_length` bytes lie at `header`.
    pub(super) fn in_part(
        encrypted: u64,
        converting: u64,
        header: u64,
        header_length: u64,
    ) -> Self {
        Self {
            version: 2,
            state: 5,
            encrypted,
            converting,
            header_length,
            header,
            places: [1 << 20, 2 << 20, 3 << 20],
            volume: Guid([0; 16]),
            nonce: 0,
            method: 0x8004,
            bytes: Arc::new([]),
            checked: 0,
        }
    }
}
