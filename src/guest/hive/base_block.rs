//! The base block of a hive, and the copy of it at the start of a log.
//!
//! Specification: "Base block" of the registry file format specification. The primary file has
//! 4096 bytes of it, a log the first sector.
//!
//! | offset | size | field              | rule                                                  |
//! |--------|------|--------------------|-------------------------------------------------------|
//! | 0x000  | 4    | `signature`        | `regf`                                                |
//! | 0x004  | 4    | `primary_sequence` | one more at the start of a write                      |
//! | 0x008  | 4    | `secondary_sequence` | the same at its end, else the hive is dirty         |
//! | 0x00C  | 8    | `last_written`     | FILETIME                                              |
//! | 0x014  | 4    | `major`            | 1                                                     |
//! | 0x018  | 4    | `minor`            | 2 to 6                                                |
//! | 0x01C  | 4    | `file_type`        | 0 primary file, 1 and 2 old log, 6 new log            |
//! | 0x020  | 4    | `file_format`      | 1, as in memory                                       |
//! | 0x024  | 4    | `root`             | offset of the cell of the root key                    |
//! | 0x028  | 4    | `bins_size`        | a multiple of 4096, below 2 GiB                       |
//! | 0x02C  | 4    | `clustering`       | bytes of a sector / 512; 1 to 8 in an old log         |
//! | 0x030  | 64   | `file_name`        | UTF-16, for people                                    |
//! | 0x070  | 396  | `reserved`         | transactions; not looked at                           |
//! | 0x1FC  | 4    | `checksum`         | XOR of the 127 numbers before; 0 and -1 are 1 and -2  |

use std::mem::{offset_of, size_of};

use volfold_fs::{FileData, FsError, FsResult, wtf8};
use zerocopy::byteorder::{LE, U32, U64};
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

/// Bytes of the base block of a primary file; the bins come after it.
pub(super) const BASE_BLOCK_SIZE: u64 = 4096;

/// Bytes of a page, of which bins are multiples.
pub(super) const PAGE: u32 = 4096;

/// Bytes of a base block that are looked at, and all that a log has of it.
pub(super) const HEADER_SIZE: usize = 512;

#[derive(FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawBaseBlock {
    signature: [u8; 4],
    primary_sequence: U32<LE>,
    secondary_sequence: U32<LE>,
    last_written: U64<LE>,
    major: U32<LE>,
    minor: U32<LE>,
    file_type: U32<LE>,
    file_format: U32<LE>,
    root: U32<LE>,
    bins_size: U32<LE>,
    clustering: U32<LE>,
    file_name: [u8; 64],
    reserved: [u8; 396],
    checksum: U32<LE>,
}
const _: () = assert!(offset_of!(RawBaseBlock, major) == 0x14);
const _: () = assert!(offset_of!(RawBaseBlock, root) == 0x24);
const _: () = assert!(offset_of!(RawBaseBlock, checksum) == 0x1FC);
const _: () = assert!(size_of::<RawBaseBlock>() == HEADER_SIZE);

/// What a base block says; see [`BaseBlock::check`].
#[derive(Clone, Debug)]
pub(super) struct BaseBlock {
    pub(super) primary_sequence: u32,
    pub(super) secondary_sequence: u32,
    /// FILETIME.
    pub(super) last_written: u64,
    pub(super) major: u32,
    pub(super) minor: u32,
    pub(super) file_type: u32,
    file_format: u32,
    pub(super) root: u32,
    pub(super) bins_size: u32,
    /// Bytes of a sector of the log.
    pub(super) sector_size: u64,
    file_name: [u8; 64],
    pub(super) is_checksum_right: bool,
}

impl BaseBlock {
    /// Reads the base block of the primary file `file`. Only the signature is checked.
    ///
    /// # Errors
    /// `Corrupt` if it is no hive, or why it cannot be read.
    pub(super) fn read_primary(file: &dyn FileData) -> FsResult<Self> {
        match Self::read(file)? {
            Some(block) => Ok(block),
            None => Err(FsError::corrupt("not a registry hive").at(0)),
        }
    }

    /// The base block at the start of `file`, `None` if there is none.
    ///
    /// # Errors
    /// Why it cannot be read.
    pub(super) fn read(file: &dyn FileData) -> FsResult<Option<Self>> {
        let mut bytes = [0; HEADER_SIZE];
        let count = file.read_at(0, &mut bytes)?;
        Ok((count == HEADER_SIZE).then(|| Self::parse(&bytes)).flatten())
    }

    fn parse(bytes: &[u8; HEADER_SIZE]) -> Option<Self> {
        let raw = RawBaseBlock::ref_from_bytes(bytes).ok()?;
        (raw.signature == *b"regf").then(|| Self {
            primary_sequence: raw.primary_sequence.get(),
            secondary_sequence: raw.secondary_sequence.get(),
            last_written: raw.last_written.get(),
            major: raw.major.get(),
            minor: raw.minor.get(),
            file_type: raw.file_type.get(),
            file_format: raw.file_format.get(),
            root: raw.root.get(),
            bins_size: raw.bins_size.get(),
            sector_size: u64::from(raw.clustering.get()).saturating_mul(512),
            file_name: raw.file_name,
            is_checksum_right: checksum(bytes) == raw.checksum.get(),
        })
    }

    /// The base block of the primary file that this one of a log is a copy of.
    pub(super) fn as_primary(&self) -> Self {
        Self { file_type: 0, ..self.clone() }
    }

    /// Whether the hive was not closed cleanly.
    pub(super) fn is_dirty(&self) -> bool {
        !self.is_checksum_right || self.primary_sequence != self.secondary_sequence
    }

    /// Checks what reading the hive depends on.
    ///
    /// # Errors
    /// `Corrupt` for a size of bins that cannot be or the base block of a log, `Unsupported` for
    /// another version.
    pub(super) fn check(&self) -> FsResult<()> {
        let at = |error: FsError, field: u64| Err(error.at(field));
        if self.major != 1 || !(2..=6).contains(&self.minor) {
            let line = format!("registry hive has the version {}.{}", self.major, self.minor);
            return at(FsError::unsupported(line), 0x14);
        }
        match self.file_type {
            0 => {}
            1 | 2 | 6 => return at(FsError::corrupt("not a registry hive but a log of one"), 0x1C),
            kind => {
                let line = format!("registry hive has the unknown file type {kind}");
                return at(FsError::unsupported(line), 0x1C);
            }
        }
        if self.file_format != 1 {
            let line = format!("registry hive has the unknown format {}", self.file_format);
            return at(FsError::unsupported(line), 0x20);
        }
        if !is_bins_size(self.bins_size) {
            return at(FsError::corrupt("base block has an invalid size of bins"), 0x28);
        }
        Ok(())
    }

    pub(super) fn file_name(&self) -> String {
        let units = wtf8::units_le(&self.file_name).take_while(|unit| *unit != 0);
        let characters = char::decode_utf16(units);
        characters.map(|unit| unit.unwrap_or(char::REPLACEMENT_CHARACTER)).collect()
    }
}

/// Whether a hive can have bins of `size` bytes: the top bit of an offset means a volatile cell.
pub(super) fn is_bins_size(size: u32) -> bool {
    size != 0 && size.is_multiple_of(PAGE) && size < 1 << 31
}

fn checksum(bytes: &[u8; HEADER_SIZE]) -> u32 {
    let (numbers, _) = bytes.as_chunks::<4>();
    let covered = numbers.iter().take(offset_of!(RawBaseBlock, checksum) / 4);
    match covered.fold(0, |sum, number| sum ^ u32::from_le_bytes(*number)) {
        0 => 1,
        u32::MAX => u32::MAX - 1,
        sum => sum,
    }
}
