//! Which volume has which letter: `SYSTEM\MountedDevices`, and the join with the volumes of a set.
//!
//! A value of that key is called `\DosDevices\C:` or `\??\Volume{guid}`, and holds what tells the
//! volume from all others:
//!
//! | bytes                             | what they are                                            |
//! |-----------------------------------|----------------------------------------------------------|
//! | 12                                | signature of the MBR, first byte of the partition        |
//! | `DMIO:ID:` and 16                 | GUID of a GPT partition, or of a dynamic volume          |
//! | text in UTF-16, `\??\` or `_??_`  | the interface of a device: floppy, CD-ROM, USB stick     |

use std::fmt;
use std::sync::Arc;

use volfold_block::BlockDevice;
use volfold_fs::wtf8;

use crate::guest::hive::Hive;
use crate::partition::Guid;
use crate::set::disk::Disk;
use crate::set::volume::SetVolume;
use crate::volume::VolumeType;

use super::files::Notes;
use super::section::Section;

/// LIMIT: values of `MountedDevices` that are looked at; Windows keeps every device that it saw.
const MAX_DEVICES: usize = 16_384;

/// What a Windows calls a volume.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum MountName {
    /// The letter of a drive, upper case.
    Letter(char),
    /// `Volume{guid}`.
    Volume(String),
    /// Another name, as it is written.
    Other(String),
}

impl MountName {
    fn new(name: &str) -> Self {
        let letter = name.strip_prefix(r"\DosDevices\").and_then(|rest| rest.strip_suffix(':'));
        if let Some(letter) = letter
            && let Ok(letter) = letter.parse::<char>()
            && letter.is_ascii_alphabetic()
        {
            return Self::Letter(letter.to_ascii_uppercase());
        }
        let volume = name.strip_prefix(r"\??\Volume{").and_then(|rest| rest.strip_suffix('}'));
        match volume {
            Some(guid) => Self::Volume(guid.to_ascii_lowercase()),
            None => Self::Other(name.to_owned()),
        }
    }
}

/// What tells a volume from all others, as a Windows wrote it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum DeviceId {
    /// A partition of an MBR.
    Mbr {
        /// The signature of the disk.
        signature: u32,
        /// The first byte of the partition.
        offset: u64,
    },
    /// A GPT partition, or a volume of dynamic disks.
    Guid(Guid),
    /// The interface of a device that may come and go.
    Interface(String),
    /// Something else.
    Other(Vec<u8>),
}

/// In words, as messages have it.
impl fmt::Display for DeviceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mbr { signature, offset } => {
                write!(f, "disk {signature:08x}, partition at byte {offset}")
            }
            Self::Guid(guid) => write!(f, "partition or dynamic volume {guid}"),
            Self::Interface(text) => write!(f, "device {text}"),
            Self::Other(bytes) => write!(f, "unknown device in {} bytes", bytes.len()),
        }
    }
}

impl DeviceId {
    /// The id in the value `data`.
    pub(super) fn new(data: &[u8]) -> Self {
        if let Some(([a, b, c, d], offset)) = data.split_first_chunk::<4>()
            && let Ok(offset) = <[u8; 8]>::try_from(offset)
        {
            let signature = u32::from_le_bytes([*a, *b, *c, *d]);
            return Self::Mbr { signature, offset: u64::from_le_bytes(offset) };
        }
        if let Some(guid) = data.strip_prefix(b"DMIO:ID:")
            && let Ok(guid) = <[u8; 16]>::try_from(guid)
        {
            return Self::Guid(Guid(guid));
        }
        let units: Vec<u16> = wtf8::units_le(data).collect();
        match String::from_utf16(&units) {
            Ok(text)
                if data.len().is_multiple_of(2)
                    && (text.starts_with(r"\??\") || text.starts_with("_??_")) =>
            {
                Self::Interface(text.trim_end_matches('\0').to_owned())
            }
            _ => Self::Other(data.to_vec()),
        }
    }
}

/// One value of `MountedDevices`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct MountedDevice {
    /// What the volume is called.
    pub name: MountName,
    /// Which volume it is.
    pub id: DeviceId,
}

impl MountedDevice {
    /// All of them in the hive `system`.
    pub(super) fn read_all(system: &Hive, notes: Notes<'_>) -> Vec<Self> {
        let section = Section::required(system, "MountedDevices", notes);
        let mut devices = Vec::new();
        let values = section.key().into_iter().flat_map(|key| key.values());
        for value in values {
            if devices.len() >= MAX_DEVICES {
                notes.odd("key MountedDevices has more values than are looked at".to_owned());
                break;
            }
            let device = value.and_then(|value| {
                let id = DeviceId::new(&value.data()?);
                Ok(Some(Self { name: MountName::new(&value.name()), id }))
            });
            devices.extend(notes.or_none(device));
        }
        devices
    }
}

/// A name that a Windows has for a volume, and which volumes of the set that is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MountedVolume {
    /// What the volume is called.
    pub name: MountName,
    /// What the system tells it by.
    pub id: DeviceId,
    /// The indices among the volumes of the set: none where the set does not have the volume, more
    /// than one where it has copies of the disk, between which nothing here can choose.
    pub volumes: Vec<usize>,
}

/// Which of `volumes`, all those on `disks`, the system means by each of `devices`. Interfaces of
/// devices are no volumes of a set and are left out.
pub fn mounted_volumes(
    disks: &[Disk],
    volumes: &[Arc<SetVolume>],
    devices: &[MountedDevice],
) -> Vec<MountedVolume> {
    let ids = identities(disks, volumes);
    let known = devices
        .iter()
        .filter(|device| matches!(device.id, DeviceId::Mbr { .. } | DeviceId::Guid(_)));
    known
        .map(|device| MountedVolume {
            name: device.name.clone(),
            id: device.id.clone(),
            volumes: matching(&ids, &device.id),
        })
        .collect()
}

/// The indices of those of `volumes`, all on `disks`, that `id` means; see
/// [`MountedVolume::volumes`].
pub fn volumes_with_id(disks: &[Disk], volumes: &[Arc<SetVolume>], id: &DeviceId) -> Vec<usize> {
    matching(&identities(disks, volumes), id)
}

fn identities(disks: &[Disk], volumes: &[Arc<SetVolume>]) -> Vec<VolumeIdentity> {
    volumes.iter().map(|volume| VolumeIdentity::of(disks, volume)).collect()
}

fn matching(ids: &[VolumeIdentity], wanted: &DeviceId) -> Vec<usize> {
    let fits = |(index, own): (usize, &VolumeIdentity)| own.is(wanted).then_some(index);
    ids.iter().enumerate().filter_map(fits).collect()
}

/// What a Windows would write to tell a volume of the set.
#[derive(Clone, Debug, PartialEq, Eq)]
enum VolumeIdentity {
    Mbr {
        signature: u32,
        offset: u64,
    },
    Gpt(Guid),
    /// The GUID as text, without braces.
    Dynamic(String),
    Unknown,
}

impl VolumeIdentity {
    fn of(disks: &[Disk], volume: &SetVolume) -> Self {
        let volume = &volume.volume;
        match volume.own_partition() {
            Some((VolumeType::Gpt, partition)) => partition.guid.map_or(Self::Unknown, Self::Gpt),
            Some((_, partition)) => {
                let disk = volume.extents.first().and_then(|extent| disks.get(extent.disk));
                // The id of a volume has the signature too, but not that of a second copy.
                match disk.and_then(|disk| signature(&*disk.device)) {
                    Some(signature) => Self::Mbr { signature, offset: partition.start },
                    None => Self::Unknown,
                }
            }
            None if volume.kind == VolumeType::Dynamic => {
                let guid = volume.id.0.strip_prefix("ldm:");
                guid.map_or(Self::Unknown, |guid| Self::Dynamic(guid.to_ascii_lowercase()))
            }
            None => Self::Unknown,
        }
    }

    fn is(&self, id: &DeviceId) -> bool {
        match (self, id) {
            (Self::Mbr { signature, offset }, DeviceId::Mbr { signature: wanted, offset: at }) => {
                signature == wanted && offset == at
            }
            (Self::Gpt(own), DeviceId::Guid(wanted)) => own == wanted,
            // The database of dynamic disks keeps the bytes of a GUID in the order of its text.
            (Self::Dynamic(own), DeviceId::Guid(wanted)) => {
                let [a0, a1, a2, a3, b0, b1, c0, c1, d @ ..] = wanted.0;
                let [d0, d1, d2, d3, d4, d5, d6, d7] = d;
                let swapped = [a3, a2, a1, a0, b1, b0, c1, c0, d0, d1, d2, d3, d4, d5, d6, d7];
                *own == wanted.to_string() || *own == Guid(swapped).to_string()
            }
            _ => false,
        }
    }
}

/// The signature in the MBR of `disk`, `None` if it cannot be read or is 0: then it tells nothing.
pub(super) fn signature(disk: &dyn BlockDevice) -> Option<u32> {
    let mut bytes = [0; 512];
    disk.read_at(0, &mut bytes).ok()?;
    let (_, end) = bytes.split_at_checked(440)?;
    let (signature, _) = end.split_first_chunk::<4>()?;
    Some(u32::from_le_bytes(*signature)).filter(|signature| *signature != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_ids_are_told_apart() {
        assert_eq!(MountName::new(r"\DosDevices\c:"), MountName::Letter('C'));
        let guid = "12345678-0000-0000-0000-100000000000";
        let name = MountName::new(&format!(r"\??\Volume{{{guid}}}"));
        assert_eq!(name, MountName::Volume(guid.to_owned()));
        assert_eq!(MountName::new(r"\DosDevices\CD:"), MountName::Other(r"\DosDevices\CD:".into()));
        let mbr = [0x78, 0x56, 0x34, 0x12, 0, 0, 0x10, 0, 0, 0, 0, 0];
        let expected = DeviceId::Mbr { signature: 0x1234_5678, offset: 1 << 20 };
        assert_eq!(DeviceId::new(&mbr), expected);
        let gpt = [&b"DMIO:ID:"[..], &[7; 16]].concat();
        assert_eq!(DeviceId::new(&gpt), DeviceId::Guid(Guid([7; 16])));
        let text = r"\??\FDC#GENERIC_FLOPPY_DRIVE#6&2bc13940&0&0#{53f5630d}";
        let data: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
        assert_eq!(DeviceId::new(&data), DeviceId::Interface(text.to_owned()));
        assert_eq!(DeviceId::new(&[1, 2, 3]), DeviceId::Other(vec![1, 2, 3]));
    }

    #[test]
    fn a_guid_of_a_dynamic_volume_counts_in_either_order_of_its_bytes() {
        let text = "01020304-0506-0708-090a-0b0c0d0e0f10";
        let own = VolumeIdentity::Dynamic(text.to_owned());
        let straight: [u8; 16] = std::array::from_fn(|at| at as u8 + 1);
        assert!(own.is(&DeviceId::Guid(Guid(straight))));
        let windows = [4, 3, 2, 1, 6, 5, 8, 7, 9, 10, 11, 12, 13, 14, 15, 16];
        assert!(own.is(&DeviceId::Guid(Guid(windows))));
        assert!(!own.is(&DeviceId::Guid(Guid([9; 16]))));
        assert!(!VolumeIdentity::Gpt(Guid(straight)).is(&DeviceId::Guid(Guid(windows))));
    }
}
