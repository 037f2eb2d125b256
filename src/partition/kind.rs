//! What a partition is for: type bytes of the MBR, type GUIDs of the GPT.

use std::fmt;

/// What a partition table says a partition is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PartitionType {
    /// The type byte of an MBR entry.
    Mbr(u8),
    /// The type GUID of a GPT entry.
    Gpt(Guid),
}

impl fmt::Display for PartitionType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mbr(byte) => write!(f, "{byte:#04x}"),
            Self::Gpt(guid) => guid.fmt(f),
        }
    }
}

impl PartitionType {
    /// What the type is commonly called, `None` for an unknown one.
    pub fn title(self) -> Option<&'static str> {
        match self {
            Self::Mbr(byte) => mbr_title(byte),
            Self::Gpt(guid) => gpt_title(guid),
        }
    }
}

impl PartitionType {
    /// Whether the type promises files: a known one that is not for swap, boot code or tables.
    pub fn is_for_files(self) -> bool {
        const OTHERS: [&str; 5] = [
            "Linux swap",
            "BIOS boot",
            "Microsoft reserved",
            "Windows LDM metadata",
            "GPT protective",
        ];
        self.title().is_some_and(|title| !OTHERS.contains(&title))
    }
}

/// A GUID in the byte order of Microsoft and UEFI: the first three fields little-endian.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Guid(pub [u8; 16]);

impl fmt::Display for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a0, a1, a2, a3, b0, b1, c0, c1, d0, d1, e @ ..] = self.0;
        let (a, b, c) = (
            u32::from_le_bytes([a0, a1, a2, a3]),
            u16::from_le_bytes([b0, b1]),
            u16::from_le_bytes([c0, c1]),
        );
        write!(f, "{a:08x}-{b:04x}-{c:04x}-{d0:02x}{d1:02x}-")?;
        e.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What the type byte is commonly called.
fn mbr_title(kind: u8) -> Option<&'static str> {
    Some(match kind {
        0x01 => "FAT12",
        0x04 | 0x06 | 0x0E => "FAT16",
        0x07 => "NTFS/exFAT",
        0x0B | 0x0C => "FAT32",
        0x11 | 0x14 | 0x16 | 0x17 | 0x1B | 0x1C | 0x1E => "hidden FAT/NTFS",
        0x27 => "Windows recovery",
        0x42 => "Windows dynamic disk (LDM)",
        0x82 => "Linux swap",
        0x83 => "Linux",
        0x8E => "Linux LVM",
        0xA5 => "FreeBSD",
        0xA6 => "OpenBSD",
        0xA9 => "NetBSD",
        0xAF => "HFS/HFS+",
        0xEE => "GPT protective",
        0xEF => "EFI system",
        0xFB => "VMFS",
        0xFD => "Linux RAID",
        _ => return None,
    })
}

/// What the type GUID is commonly called.
fn gpt_title(kind: Guid) -> Option<&'static str> {
    let text = kind.to_string();
    GPT_TYPES.iter().find(|(guid, _)| *guid == text).map(|(_, title)| *title)
}

static GPT_TYPES: &[(&str, &str)] = &[
    ("c12a7328-f81f-11d2-ba4b-00a0c93ec93b", "EFI system"),
    ("21686148-6449-6e6f-744e-656564454649", "BIOS boot"),
    ("e3c9e316-0b5c-4db8-817d-f92df00215ae", "Microsoft reserved"),
    ("ebd0a0a2-b9e5-4433-87c0-68b6b72699c7", "Windows basic data"),
    ("de94bba4-06d1-4d40-a16a-bfd50179d6ac", "Windows recovery"),
    ("5808c8aa-7e8f-42e0-85d2-e1e90434cfb3", "Windows LDM metadata"),
    ("af9b60a0-1431-4f62-bc68-3311714a69ad", "Windows LDM data"),
    ("e75caf8f-f680-4cee-afa3-b001e56efc2d", "Windows Storage Spaces"),
    ("0fc63daf-8483-4772-8e79-3d69d8477de4", "Linux"),
    ("0657fd6d-a4ab-43c4-84e5-0933c84b4f4f", "Linux swap"),
    ("e6d6d379-f507-44c2-a23c-238f2a3df928", "Linux LVM"),
    ("a19d880f-05fc-4d3b-a006-743f0f84911e", "Linux RAID"),
    ("48465300-0000-11aa-aa11-00306543ecac", "HFS+"),
    ("7c3457ef-0000-11aa-aa11-00306543ecac", "APFS"),
    ("aa31e02a-400f-11db-9590-000c2911d1b8", "VMFS"),
];
