//! The private header of a dynamic disk: who the disk is, and where its database lies.
//!
//! Source: the Linux-NTFS project's LDM documentation; the names of the fields at 0x18 to 0x28,
//! 0x10F to 0x119 and 0x13B to 0x143 as Microsoft's `dmdiag` reports them. Big-endian, 512 bytes in
//! a sector of its own. Positions count sectors of the disk.
//!
//! | offset | size | field                  | rule                                                   |
//! |--------|------|------------------------|--------------------------------------------------------|
//! | 0x000  | 8    | `magic`                | `PRIVHEAD`                                             |
//! | 0x008  | 4    | `checksum`             | sum of the 512 bytes, this field taken as 0            |
//! | 0x00C  | 2    | `major`                | 2                                                      |
//! | 0x00E  | 2    | `minor`                | 11 (Windows 2000, XP, 2003) or 12 (Vista and later)    |
//! | 0x010  | 8    | `updated`              | FILETIME; not looked at                                |
//! | 0x018  | 8    | `sequence`             | of the last update; that of the newest table of contents |
//! | 0x020  | 8    | `header_1`             | this header, from `config_start`                       |
//! | 0x028  | 8    | `header_2`             | its copy, from `config_start`                          |
//! | 0x030  | 64   | `disk_guid`            | text, filled with NUL                                  |
//! | 0x070  | 64   | `host_guid`            | text; not looked at                                    |
//! | 0x0B0  | 64   | `group_guid`           | text                                                   |
//! | 0x0F0  | 31   | `group_name`           | text                                                   |
//! | 0x10F  | 4    | `sector_size`          | in bytes                                               |
//! | 0x113  | 4    | `flags`                | 1 shared, 2 no automatic import; not looked at         |
//! | 0x117  | 2    | `public_slice`         | not looked at; 0 seen                                  |
//! | 0x119  | 2    | `private_slice`        | not looked at; 0 seen                                  |
//! | 0x11B  | 8    | `public_start`         | where the volumes' space begins                        |
//! | 0x123  | 8    | `public_size`          |                                                        |
//! | 0x12B  | 8    | `config_start`         | where the database begins                              |
//! | 0x133  | 8    | `config_size`          | at most [`MAX_CONFIG`] bytes                           |
//! | 0x13B  | 8    | `toc_1`                | table of contents, from `config_start`                 |
//! | 0x143  | 8    | `toc_2`                | its copy                                               |
//! | 0x14B  | 4    | `configs`              | not looked at; 1 seen                                  |
//! | 0x14F  | 4    | `logs`                 | not looked at; 1 seen                                  |
//! | 0x153  | 8    | `config_length`        | not looked at: the table of contents says it           |
//! | 0x15B  | 8    | `log_length`           | not looked at                                          |
//! | 0x163  | 4    | `signature`            | not looked at                                          |
//! | 0x167  | 16   | `set_guid`             | not looked at; 0 seen in the first copy                |
//! | 0x177  | 16   | `set_guid_2`           | not looked at                                          |
//! | 0x187  | 121  | `unknown_187`          | zeros seen                                             |
//!
//! A disk with an MBR has copies in sector 6, in the last sector of the disk and near the end of
//! the database; one with a GPT has the last two, inside its LDM metadata partition.

use std::mem::{offset_of, size_of};

use volfold_block::BlockDevice;
use zerocopy::byteorder::{BE, U16, U32, U64};
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

use super::problems::text;

/// LIMIT: bytes of the database of one disk; Windows makes 1 MiB.
const MAX_CONFIG: u64 = 8 << 20;

/// Bytes that a checksum covers, whatever the sector size.
pub(super) const CHECKED: usize = 512;

#[derive(FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawHeader {
    magic: [u8; 8],
    checksum: U32<BE>,
    major: U16<BE>,
    minor: U16<BE>,
    updated: U64<BE>,
    sequence: U64<BE>,
    header_1: U64<BE>,
    header_2: U64<BE>,
    disk_guid: [u8; 64],
    host_guid: [u8; 64],
    group_guid: [u8; 64],
    group_name: [u8; 31],
    sector_size: U32<BE>,
    flags: U32<BE>,
    public_slice: U16<BE>,
    private_slice: U16<BE>,
    public_start: U64<BE>,
    public_size: U64<BE>,
    config_start: U64<BE>,
    config_size: U64<BE>,
    toc_1: U64<BE>,
    toc_2: U64<BE>,
    configs: U32<BE>,
    logs: U32<BE>,
    config_length: U64<BE>,
    log_length: U64<BE>,
    signature: U32<BE>,
    set_guid: [u8; 16],
    set_guid_2: [u8; 16],
}
const _: () = assert!(size_of::<RawHeader>() == 0x187);
const _: () = assert!(offset_of!(RawHeader, group_name) == 0xF0);
const _: () = assert!(offset_of!(RawHeader, public_start) == 0x11B);
const _: () = assert!(offset_of!(RawHeader, toc_1) == 0x13B);

/// A private header that was checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PrivateHeader {
    pub(super) sequence: u64,
    pub(super) disk_guid: String,
    pub(super) group_guid: String,
    pub(super) group_name: String,
    pub(super) sector_size: u32,
    /// First byte of the space for volumes, and its size in bytes.
    pub(super) public_start: u64,
    pub(super) public_size: u64,
    /// First byte of the database, inside the disk, and its size in bytes, which may leave it.
    pub(super) config_start: u64,
    pub(super) config_size: u64,
    /// Sectors from the start of the database.
    pub(super) copies: [u64; 2],
    pub(super) tocs: [u64; 2],
}

/// Why a structure is not used; `None` if it is not there at all.
pub(super) type Unusable = Option<&'static str>;

impl PrivateHeader {
    /// Checks the header in `bytes`, a sector of `sector_size` bytes of a disk of `disk_size`.
    pub(super) fn parse(bytes: &[u8], sector_size: u32, disk_size: u64) -> Result<Self, Unusable> {
        let (raw, _) = RawHeader::ref_from_prefix(bytes).map_err(|_| None)?;
        if raw.magic != *b"PRIVHEAD" {
            return Err(None);
        }
        if checksum(bytes) != Some(raw.checksum.get()) {
            return Err(Some("has a bad checksum"));
        }
        if raw.major.get() != 2 {
            return Err(Some("has an unknown version"));
        }
        if raw.sector_size.get() != sector_size {
            return Err(Some("is for another sector size"));
        }
        let sector = u64::from(sector_size);
        let bytes_of = |field: &U64<BE>| field.get().checked_mul(sector);
        let header = || {
            let (config_start, config_size) =
                (bytes_of(&raw.config_start)?, bytes_of(&raw.config_size)?);
            let (public_start, public_size) =
                (bytes_of(&raw.public_start)?, bytes_of(&raw.public_size)?);
            public_start.checked_add(public_size)?;
            config_start.checked_add(config_size)?;
            (config_start < disk_size && config_size <= MAX_CONFIG).then(|| Self {
                sequence: raw.sequence.get(),
                disk_guid: text(&raw.disk_guid).to_ascii_lowercase(),
                group_guid: text(&raw.group_guid).to_ascii_lowercase(),
                group_name: text(&raw.group_name),
                sector_size,
                public_start,
                public_size,
                config_start,
                config_size,
                copies: [raw.header_1.get(), raw.header_2.get()],
                tocs: [raw.toc_1.get(), raw.toc_2.get()],
            })
        };
        header().ok_or(Some("places its database outside the disk"))
    }
}

/// The sum of the first [`CHECKED`] bytes without the checksum's own four at offset 8.
pub(super) fn checksum(bytes: &[u8]) -> Option<u32> {
    let bytes = bytes.get(..CHECKED)?;
    let own = 8..12;
    let sum = bytes.iter().enumerate().filter(|(index, _)| !own.contains(index));
    Some(sum.fold(0, |sum: u32, (_, byte)| sum.wrapping_add(u32::from(*byte))))
}

/// The sector `lba` of `device`, if it has one and it can be read.
pub(super) fn read_sector(device: &dyn BlockDevice, lba: u64, sector_size: u32) -> Option<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(sector_size).ok()?];
    device.read_at(lba.checked_mul(sector_size.into())?, &mut bytes).ok()?;
    Some(bytes)
}
