//! Which of several systems is started: the hive `BCD` of Vista and later, `boot.ini` before.
//!
//! Sources: Microsoft's documentation of the BCD WMI provider for the objects and elements; the
//! layout of a device element as the boot manager writes it:
//!
//! | offset | size | field         | meaning                                                       |
//! |--------|------|---------------|---------------------------------------------------------------|
//! | 0x00   | 16   | `options`     | object with more options; not looked at                       |
//! | 0x10   | 4    | `kind`        | 0 file or RAM disk, 5 boot device, 6 partition, 8 to be found |
//! | 0x14   | 4    | `flags`       | not looked at                                                 |
//! | 0x18   | 4    | `size`        | of what follows from `kind` on                                |
//! | 0x1C   | 4    | `unknown_1c`  | 0 seen                                                        |
//! | 0x20   | 16   | `partition`   | GUID, or the first byte in 8 bytes                            |
//! | 0x30   | 4    | `medium`      | 0 hard disk                                                   |
//! | 0x34   | 4    | `table`       | 0 GPT, 1 MBR                                                  |
//! | 0x38   | 16   | `disk`        | GUID, or the signature in 4 bytes                             |

use std::mem::{offset_of, size_of};

use volfold_block::FindingLog;
use volfold_fs::FileSystem;
use zerocopy::byteorder::{LE, U32, U64};
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

use crate::guest::hive::{Hive, Key};
use crate::partition::Guid;

use super::devices::DeviceId;
use super::files::{Files, Notes};
use super::section::Section;

/// LIMIT: bytes of a `boot.ini`; Windows reads 64 KiB.
const MAX_BOOT_INI: u64 = 64 << 10;

/// LIMIT: entries of a boot menu that are looked at.
const MAX_ENTRIES: usize = 256;

/// Where a BCD may lie: on a system partition of an MBR disk, and on an EFI system partition.
const STORES: [&str; 2] = ["Boot/BCD", "EFI/Microsoft/Boot/BCD"];

/// The object of the boot manager.
const BOOT_MANAGER: &str = "{9dea862c-5cdd-4e70-acc1-f32b344d4795}";

const DEFAULT_OBJECT: &str = "23000003";
const DISPLAY_ORDER: &str = "24000001";
const DESCRIPTION: &str = "12000004";
const APPLICATION_PATH: &str = "12000002";
const OS_DEVICE: &str = "21000001";
const SYSTEM_ROOT: &str = "22000002";

#[derive(FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawDevice {
    options: [u8; 16],
    kind: U32<LE>,
    flags: U32<LE>,
    size: U32<LE>,
    unknown_1c: U32<LE>,
    partition: [u8; 16],
    medium: U32<LE>,
    table: U32<LE>,
    disk: [u8; 16],
}
const _: () = assert!(offset_of!(RawDevice, partition) == 0x20);
const _: () = assert!(offset_of!(RawDevice, disk) == 0x38);
const _: () = assert!(size_of::<RawDevice>() == 0x48);

/// Where the system of a boot entry lies.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BootDevice {
    /// On the partition that the boot manager itself was loaded from.
    Boot,
    /// On this partition.
    Partition(DeviceId),
    /// On the partition with this number, from 1, of a disk in the order of the firmware.
    Arc {
        /// The number of the disk, from 0.
        disk: u32,
        /// The number of the partition, from 1: first the primary ones, then the logical ones.
        partition: u32,
        /// The signature of the disk, where that tells the disk in the place of its number.
        signature: Option<u32>,
    },
    /// In a file, on the network, or elsewhere: the number of the kind.
    Other(u32),
}

/// A system in a boot menu.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BootEntry {
    /// The GUID of the object in braces, or the ARC path in `boot.ini`.
    pub id: String,
    /// What the menu calls it.
    pub title: Option<String>,
    /// Where it lies.
    pub device: Option<BootDevice>,
    /// Its folder on that partition: `\Windows`.
    pub folder: Option<String>,
    /// The program that is started: `\Windows\system32\winload.efi`.
    pub program: Option<String>,
}

/// The boot menu on a volume.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BootMenu {
    /// The path of the file that it is from.
    pub path: String,
    /// The systems, in the order of the menu.
    pub entries: Vec<BootEntry>,
    /// The index of the one that is started when nobody chooses.
    pub default: Option<usize>,
}

/// The boot menus on the volume of `fs`: a system partition has one, or one for each firmware. What
/// cannot be read is told in `told`.
pub fn boot_menus(fs: &dyn FileSystem, told: &FindingLog) -> Vec<BootMenu> {
    let files = Files { fs };
    let mut menus = Vec::new();
    for path in STORES {
        if let Some(hive) = files.hive(path, told) {
            menus.extend(read_store(&hive, Notes { path, told }));
        }
    }
    let notes = Notes { path: "boot.ini", told };
    if let Some(bytes) = notes.or_none(files.read("boot.ini", MAX_BOOT_INI)) {
        menus.extend(parse_boot_ini(&bytes, notes));
    }
    menus
}

/// The menu in a BCD; `None`, which is told, if the hive has no boot manager.
fn read_store(hive: &Hive, notes: Notes<'_>) -> Option<BootMenu> {
    let path = format!(r"Objects\{BOOT_MANAGER}\Elements");
    let manager = Section::required(hive, &path, notes);
    let elements = manager.key()?;
    let default = element(elements, DEFAULT_OBJECT, notes).text("Element");
    let mut ids = element(elements, DISPLAY_ORDER, notes).texts("Element");
    if let Some(default) = &default
        && !ids.iter().any(|id| id.eq_ignore_ascii_case(default))
    {
        ids.push(default.clone());
    }
    if ids.len() > MAX_ENTRIES {
        notes.odd(format!("boot menu has {} entries", ids.len()));
        ids.truncate(MAX_ENTRIES);
    }
    let entries: Vec<BootEntry> = ids.into_iter().map(|id| entry(hive, id, notes)).collect();
    let is_default = |entry: &BootEntry| {
        default.as_ref().is_some_and(|default| entry.id.eq_ignore_ascii_case(default))
    };
    let default = entries.iter().position(is_default);
    Some(BootMenu { path: notes.path.to_owned(), entries, default })
}

/// The element `number` of an object, which may be missing.
fn element<'h, 'n>(elements: &Key<'h>, number: &str, notes: Notes<'n>) -> Section<'h, 'n> {
    match notes.or_none(elements.subkey(number)) {
        Some(key) => Section::of(key, notes),
        None => Section::none(notes),
    }
}

fn entry(hive: &Hive, id: String, notes: Notes<'_>) -> BootEntry {
    let path = format!(r"Objects\{id}\Elements");
    let section = Section::required(hive, &path, notes);
    let get = |number: &str| section.key().map(|key| element(key, number, notes));
    let text = |number: &str| get(number).and_then(|element| element.text("Element"));
    let device = get(OS_DEVICE).and_then(|element| element.data("Element"));
    let device = device.and_then(|data| {
        let device = parse_device(&data);
        if device.is_none() {
            notes.odd(format!("device of the boot entry {id} is cut short"));
        }
        device
    });
    BootEntry {
        title: text(DESCRIPTION),
        device,
        folder: text(SYSTEM_ROOT),
        program: text(APPLICATION_PATH),
        id,
    }
}

/// The device in an element; `None` if it is cut short.
fn parse_device(data: &[u8]) -> Option<BootDevice> {
    let (_, rest) = data.split_at_checked(offset_of!(RawDevice, kind))?;
    let (kind, _) = rest.split_first_chunk::<4>()?;
    match u32::from_le_bytes(*kind) {
        5 => return Some(BootDevice::Boot),
        6 => {}
        other => return Some(BootDevice::Other(other)),
    }
    let (raw, _) = RawDevice::ref_from_prefix(data).ok()?;
    if raw.medium.get() != 0 {
        return Some(BootDevice::Other(6));
    }
    match raw.table.get() {
        0 => Some(BootDevice::Partition(DeviceId::Guid(Guid(raw.partition)))),
        1 => {
            let (offset, _) = U64::<LE>::ref_from_prefix(&raw.partition).ok()?;
            let (signature, _) = U32::<LE>::ref_from_prefix(&raw.disk).ok()?;
            let id = DeviceId::Mbr { signature: signature.get(), offset: offset.get() };
            Some(BootDevice::Partition(id))
        }
        _ => Some(BootDevice::Other(6)),
    }
}

/// The menu in the text of a `boot.ini`; `None`, which is told, if it has no systems.
fn parse_boot_ini(bytes: &[u8], notes: Notes<'_>) -> Option<BootMenu> {
    // In the code page of the system; what is not ASCII is in titles alone.
    let text = String::from_utf8_lossy(bytes);
    let mut section = String::new();
    let mut default = None;
    let mut entries = Vec::new();
    for line in text.split(['\r', '\n', '\u{1a}']).map(str::trim) {
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            section = name.trim().to_ascii_lowercase();
            continue;
        }
        let Some((name, value)) = line.split_once('=').filter(|_| !line.starts_with(';')) else {
            continue;
        };
        let (name, value) = (name.trim(), value.trim());
        match section.as_str() {
            "boot loader" if name.eq_ignore_ascii_case("default") => {
                default = Some(value.to_owned());
            }
            "operating systems" if entries.len() < MAX_ENTRIES => {
                entries.push(arc_entry(name, value));
            }
            _ => {}
        }
    }
    if entries.is_empty() {
        notes.missing("section [operating systems]");
        return None;
    }
    let is_default = |entry: &BootEntry| {
        default.as_ref().is_some_and(|default| entry.id.eq_ignore_ascii_case(default))
    };
    let default_index = entries.iter().position(is_default);
    if default_index.is_none()
        && let Some(default) = default
    {
        notes.odd(format!("default {default} is not in the menu"));
    }
    Some(BootMenu { path: notes.path.to_owned(), entries, default: default_index })
}

/// `multi(0)disk(0)rdisk(0)partition(1)\WINDOWS="Title" /options`, or `C:\="Title"`.
fn arc_entry(name: &str, value: &str) -> BootEntry {
    let title = value.strip_prefix('"').and_then(|rest| rest.split_once('"'));
    let title = title.map(|(title, _)| title.to_owned()).filter(|title| !title.is_empty());
    let (arc, folder) = match name.find('\\') {
        Some(at) => name.split_at_checked(at).unwrap_or((name, "")),
        None => (name, ""),
    };
    let is_folder = arc.ends_with(')') && !folder.is_empty();
    BootEntry {
        id: name.to_owned(),
        title,
        device: parse_arc(arc),
        folder: is_folder.then(|| folder.to_owned()),
        program: None,
    }
}

/// `multi(0)disk(0)rdisk(1)partition(2)`, or with `signature(8b467c12)` or `scsi(0)` at its start.
fn parse_arc(text: &str) -> Option<BootDevice> {
    let mut rest = text;
    let mut parts = Vec::new();
    while !rest.is_empty() {
        let (name, later) = rest.split_once('(')?;
        let (value, later) = later.split_once(')')?;
        parts.push((name.to_ascii_lowercase(), value));
        rest = later;
    }
    let number = |wanted: &str| {
        let (_, value) = parts.iter().find(|(name, _)| name == wanted)?;
        value.parse::<u32>().ok()
    };
    let (adapter, first) = parts.first()?;
    let (disk, signature) = match adapter.as_str() {
        "multi" => (number("rdisk")?, None),
        // With the driver NTBOOTDD.SYS the number is that of the target on the bus.
        "scsi" => (number("disk")?, None),
        "signature" => (number("rdisk").unwrap_or(0), Some(u32::from_str_radix(first, 16).ok()?)),
        _ => return None,
    };
    Some(BootDevice::Arc { disk, partition: number("partition")?, signature })
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOOT_INI: &[u8] = b"[boot loader]\r\ntimeout=30\r\n\
default=multi(0)disk(0)rdisk(0)partition(2)\\WINNT\r\n[operating systems]\r\n\
multi(0)disk(0)rdisk(0)partition(1)\\WINDOWS=\"Windows XP Professional\" /fastdetect\r\n\
MULTI(0)disk(0)rdisk(0)partition(2)\\WINNT=\"Windows NT Server, Version 4.00\"\r\n\
signature(8b467c12)disk(1)rdisk(0)partition(3)\\W2K=\"Windows 2000\"\r\n\
C:\\=\"MS-DOS\"\r\n";

    #[test]
    fn boot_ini_names_its_default_and_the_partitions() {
        let told = FindingLog::new();
        let menu = parse_boot_ini(BOOT_INI, Notes { path: "boot.ini", told: &told }).unwrap();
        assert_eq!(menu.default, Some(1));
        let titles: Vec<_> = menu.entries.iter().map(|entry| entry.title.as_deref()).collect();
        let expected = [
            "Windows XP Professional",
            "Windows NT Server, Version 4.00",
            "Windows 2000",
            "MS-DOS",
        ];
        assert_eq!(titles, expected.map(Some));
        let arc = |disk, partition, signature| Some(BootDevice::Arc { disk, partition, signature });
        assert_eq!(menu.entries[0].device, arc(0, 1, None));
        assert_eq!(menu.entries[0].folder.as_deref(), Some(r"\WINDOWS"));
        assert_eq!(menu.entries[2].device, arc(0, 3, Some(0x8B46_7C12)));
        assert_eq!((&menu.entries[3].device, &menu.entries[3].folder), (&None, &None));
        assert_eq!(told.all(), []);
    }

    #[test]
    fn a_boot_ini_without_systems_is_told() {
        let told = FindingLog::new();
        let notes = Notes { path: "boot.ini", told: &told };
        assert_eq!(parse_boot_ini(b"[boot loader]\ndefault=x\n", notes), None);
        assert!(told.all()[0].message.contains("[operating systems]"));
        let other = b"[boot loader]\ndefault=x\n[operating systems]\ny=\"Y\"\n";
        assert_eq!(parse_boot_ini(other, notes).unwrap().default, None);
        assert!(told.all()[1].message.contains("default x"));
    }

    #[test]
    fn a_device_is_a_partition_of_either_table() {
        let device = |kind: u32, table: u32| {
            let mut data = vec![0; 0x58];
            data[0x10..0x14].copy_from_slice(&kind.to_le_bytes());
            data[0x20..0x30].copy_from_slice(&[0, 0, 0x50, 6, 0, 0, 0, 0, 9, 9, 9, 9, 9, 9, 9, 9]);
            data[0x34..0x38].copy_from_slice(&table.to_le_bytes());
            data[0x38..0x3C].copy_from_slice(&0x085B_7ABE_u32.to_le_bytes());
            data
        };
        let mbr = DeviceId::Mbr { signature: 0x085B_7ABE, offset: 0x0650_0000 };
        assert_eq!(parse_device(&device(6, 1)), Some(BootDevice::Partition(mbr)));
        let guid = Guid([0, 0, 0x50, 6, 0, 0, 0, 0, 9, 9, 9, 9, 9, 9, 9, 9]);
        let gpt = BootDevice::Partition(DeviceId::Guid(guid));
        assert_eq!(parse_device(&device(6, 0)), Some(gpt));
        assert_eq!(parse_device(&device(5, 0)), Some(BootDevice::Boot));
        assert_eq!(parse_device(&device(8, 0)), Some(BootDevice::Other(8)));
        assert_eq!(parse_device(&device(6, 1)[..0x40]), None);
        assert_eq!(parse_device(&[]), None);
    }
}
