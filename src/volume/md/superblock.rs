//! What a superblock says, whatever its version.

use std::fmt;

/// The magic number of all versions, as a number.
pub(super) const MAGIC: u32 = 0xA92B_4EFC;

/// Bytes of a superblock of any version, at most.
pub(super) const SUPERBLOCK: usize = 4096;

/// Bit of `features`: the device is being rebuilt.
pub(super) const FEATURE_RECOVERY: u32 = 2;
/// Bit of `features`: the array is being reshaped.
pub(super) const FEATURE_RESHAPE: u32 = 4;
/// Bit of `features`: the log of bad blocks is not empty.
pub(super) const FEATURE_BAD_BLOCKS: u32 = 8;
/// Bit of `features`: the device replaces another one of its role.
pub(super) const FEATURE_REPLACEMENT: u32 = 16;
/// Bit of `features`: several machines write to the array.
pub(super) const FEATURE_CLUSTERED: u32 = 256;
/// Bit of `features`: writes go to a journal first.
pub(super) const FEATURE_JOURNAL: u32 = 512;
/// Bit of `features`: the layout of a RAID-0 is meant.
pub(super) const FEATURE_RAID0_LAYOUT: u32 = 4096;
/// All bits of `features` that Linux has names for.
pub(super) const FEATURES: u32 = 8191;

/// A version of the superblock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    /// 0.90, before the end.
    Old,
    /// 1.0, before the end.
    End,
    /// 1.1, at the start.
    Start,
    /// 1.2, 4 KiB after the start.
    AfterStart,
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Old => "0.90",
            Self::End => "1.0",
            Self::Start => "1.1",
            Self::AfterStart => "1.2",
        })
    }
}

/// What a device is for in its array.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Role {
    /// The column of this number.
    Active(u32),
    /// Nothing yet.
    Spare,
    /// Nothing any more: it failed, or was taken out.
    Faulty,
    /// It keeps writes before they go to the others.
    Journal,
}

/// Where the log of bad blocks is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BadBlockLog {
    /// The first byte on the device.
    pub(super) offset: u64,
    /// The size in bytes.
    pub(super) size: u64,
    /// By how many bits places and counts are to be shifted to be sectors.
    pub(super) shift: u8,
}

/// What all devices of one array agree about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Shape {
    /// The RAID level; linear is -1.
    pub(super) level: i32,
    /// What it means depends on the level.
    pub(super) layout: u32,
    /// The bytes of each device that are used; 0 where each is used whole.
    pub(super) component: u64,
    /// The bytes of a chunk; 0 where there are none.
    pub(super) chunk: u64,
    /// The number of columns.
    pub(super) raid_disks: u32,
}

/// A superblock whose checksum is right. The rest is as the device says, and is checked where it is used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Superblock {
    pub(super) version: Version,
    /// Its first byte on the device.
    pub(super) place: u64,
    /// The UUID of the array as mdadm writes it.
    pub(super) array: String,
    /// The same as it is on the device.
    pub(super) array_bytes: [u8; 16],
    /// The name of the array, mostly with the host before a colon; empty in 0.90.
    pub(super) name: String,
    /// The number of the device node that the array had; of 0.90 alone.
    pub(super) minor: Option<u32>,
    /// When the array was made; of use for comparing only.
    pub(super) created: u64,
    pub(super) shape: Shape,
    /// Bits, of 1.x alone.
    pub(super) features: u32,
    /// The first byte of the data on the device.
    pub(super) data_offset: u64,
    /// The bytes of the device that data may use; the image may end before they do.
    pub(super) data_size: u64,
    /// The number of the device, which it keeps for life.
    pub(super) number: u32,
    /// The UUID of the device; in 0.90 its number.
    pub(super) device: String,
    /// Counts the changes of the state.
    pub(super) events: u64,
    /// Bytes of each device (of the array for RAID-10) that are in sync; `None`: all.
    pub(super) synced: Option<u64>,
    /// Bytes of the data of this device that were rebuilt; `None`: all.
    pub(super) recovered: Option<u64>,
    /// Where the log of the journal begins, in bytes after `data_offset`.
    pub(super) journal_tail: u64,
    pub(super) is_write_mostly: bool,
    pub(super) bad_blocks: Option<BadBlockLog>,
    /// By the numbers of the devices.
    pub(super) roles: Vec<Role>,
}

impl Superblock {
    /// Whether the bit `feature` is set.
    pub(super) fn has(&self, feature: u32) -> bool {
        self.features & feature != 0
    }

    /// The role of the device `number`.
    pub(super) fn role_of(&self, number: u32) -> Role {
        let index = usize::try_from(number).unwrap_or(usize::MAX);
        self.roles.get(index).copied().unwrap_or(Role::Spare)
    }

    /// The role of this device.
    pub(super) fn role(&self) -> Role {
        self.role_of(self.number)
    }

    /// The name of the array without its host; of 0.90 that of its device node.
    pub(super) fn short_name(&self) -> String {
        let short = self.name.split_once(':').map_or(self.name.as_str(), |(_, name)| name);
        match (short, self.minor) {
            ("", Some(minor)) => format!("md{minor}"),
            ("", None) => self.array.get(..8).unwrap_or("array").to_owned(),
            (name, _) => name.to_owned(),
        }
    }
}

/// The groups of eight digits in which mdadm writes a UUID.
pub(super) fn uuid(words: [u32; 4]) -> String {
    words.map(|word| format!("{word:08x}")).join(":")
}
