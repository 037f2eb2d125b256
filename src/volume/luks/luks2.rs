//! The two binary headers of LUKS2, and which of them counts.
//!
//! Specification: LUKS2 On-Disk Format Specification 1.1.3, section 2. Big-endian. The first is at the
//! start of the device, the second follows the metadata of the first; each is followed by its copy of
//! the metadata, a text of JSON that ends with a zero byte.
//!
//! | offset | size | field         | rule                                                              |
//! |--------|------|---------------|-------------------------------------------------------------------|
//! | 0x000  | 6    | `magic`       | `LUKS`, 0xBA, 0xBE; of the second `SKUL`, 0xBA, 0xBE              |
//! | 0x006  | 2    | `version`     | 2                                                                 |
//! | 0x008  | 8    | `size`        | of header and metadata: 16 KiB to 4 MiB, a power of two           |
//! | 0x010  | 8    | `sequence`    | counts the changes; the larger one counts                         |
//! | 0x018  | 48   | `label`       | not looked at                                                     |
//! | 0x048  | 32   | `hash`        | of the checksum: `sha256`                                         |
//! | 0x068  | 64   | `salt`        | not looked at                                                     |
//! | 0x0A8  | 40   | `uuid`        | text                                                              |
//! | 0x0D0  | 48   | `subsystem`   | not looked at                                                     |
//! | 0x100  | 8    | `offset`      | of this header on the device                                      |
//! | 0x108  | 184  | `padding`     | not looked at                                                     |
//! | 0x1C0  | 64   | `checksum`    | of header and metadata, this field taken as 0                     |

use std::mem::{offset_of, size_of};

use volfold_block::{BlockDevice, BlockError, BlockResult, bytes_to_index};
use zerocopy::byteorder::{BE, U16, U64};
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

use super::hash::Hash;
use super::text::of_field;

/// What the first header begins with.
pub(super) const MAGIC: &[u8; 6] = b"LUKS\xBA\xBE";

/// What the second header begins with.
const SECOND_MAGIC: &[u8; 6] = b"SKUL\xBA\xBE";

/// Bytes of a binary header, after which its metadata begin.
pub(super) const BINARY: u64 = 4096;

/// LIMIT: the specification's own sizes; the second header lies at one of them.
const SIZES: [u64; 9] =
    [0x4000, 0x8000, 0x1_0000, 0x2_0000, 0x4_0000, 0x8_0000, 0x10_0000, 0x20_0000, 0x40_0000];

#[derive(FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawHeader {
    magic: [u8; 6],
    version: U16<BE>,
    size: U64<BE>,
    sequence: U64<BE>,
    label: [u8; 48],
    hash: [u8; 32],
    salt: [u8; 64],
    uuid: [u8; 40],
    subsystem: [u8; 48],
    offset: U64<BE>,
    padding: [u8; 184],
    checksum: [u8; 64],
}
const _: () = assert!(offset_of!(RawHeader, uuid) == 0xA8);
const _: () = assert!(offset_of!(RawHeader, offset) == 0x100);
const _: () = assert!(offset_of!(RawHeader, checksum) == 0x1C0);
const _: () = assert!(size_of::<RawHeader>() == 0x200);

/// A header whose checksum is right.
#[derive(Clone, Debug)]
pub(super) struct BinaryHeader {
    /// Bytes of it and its metadata.
    pub(super) size: u64,
    pub(super) sequence: u64,
    pub(super) uuid: String,
    /// The text of the metadata.
    pub(super) metadata: Vec<u8>,
}

impl BinaryHeader {
    /// Reads the header that begins with `magic` at `offset`.
    ///
    /// # Errors
    /// Why it cannot be used.
    fn read(device: &dyn BlockDevice, offset: u64, magic: &[u8; 6]) -> BlockResult<Self> {
        let corrupt = |line: &'static str, field| BlockError::corrupt(line, offset, field);
        let mut head = [0; size_of::<RawHeader>()];
        device.read_at(offset, &mut head)?;
        let (raw, _) = RawHeader::ref_from_prefix(&head)
            .map_err(|_| corrupt("header of LUKS2 is cut short", 0))?;
        if raw.magic != *magic {
            return Err(corrupt("header of LUKS2 has a wrong signature", 0));
        }
        if raw.version.get() != 2 {
            return Err(BlockError::unsupported(format!(
                "version {} of LUKS is not read",
                raw.version.get()
            )));
        }
        if !SIZES.contains(&raw.size.get()) {
            return Err(corrupt("header of LUKS2 has an invalid size", 0x08));
        }
        if raw.offset.get() != offset {
            return Err(corrupt("header of LUKS2 says that it lies elsewhere", 0x100));
        }
        let mut bytes = vec![0; bytes_to_index(raw.size.get())?];
        device.read_at(offset, &mut bytes)?;
        let wrong = || corrupt("header of LUKS2 has a wrong checksum", 0x1C0);
        let (before, rest) =
            bytes.split_at_checked(offset_of!(RawHeader, checksum)).ok_or_else(wrong)?;
        let after = rest.get(raw.checksum.len()..).ok_or_else(wrong)?;
        let sum = Hash::parse(&of_field(&raw.hash))?.of(&[before, &[0; 64], after]);
        if !raw.checksum.starts_with(&sum) {
            return Err(wrong());
        }
        let metadata = bytes.get(bytes_to_index(BINARY)?..).unwrap_or_default();
        let metadata = metadata.split(|byte| *byte == 0).next().unwrap_or_default();
        Ok(Self {
            size: raw.size.get(),
            sequence: raw.sequence.get(),
            uuid: of_field(&raw.uuid),
            metadata: metadata.to_vec(),
        })
    }
}

/// The header of a device that counts, and what is odd about the two.
#[derive(Debug)]
pub(super) struct Chosen {
    pub(super) header: BinaryHeader,
    /// Why the other one cannot be used.
    pub(super) damaged: Option<BlockError>,
    /// Whether the other one is older.
    pub(super) is_other_older: bool,
}

/// The headers of `device`, which begins with [`MAGIC`].
///
/// # Errors
/// Why neither can be used.
pub(super) fn choose(device: &dyn BlockDevice) -> BlockResult<Chosen> {
    let first = BinaryHeader::read(device, 0, MAGIC);
    let second = match &first {
        Ok(first) => BinaryHeader::read(device, first.size, SECOND_MAGIC),
        Err(_) => find_second(device),
    };
    match (first, second) {
        (Ok(first), Ok(second)) => {
            let is_other_older = first.sequence != second.sequence;
            let header = if second.sequence > first.sequence { second } else { first };
            Ok(Chosen { header, damaged: None, is_other_older })
        }
        (Ok(header), Err(error)) | (Err(error), Ok(header)) => {
            Ok(Chosen { header, damaged: Some(error), is_other_older: false })
        }
        (Err(error), Err(_)) => Err(error),
    }
}

/// The second header, wherever it lies.
fn find_second(device: &dyn BlockDevice) -> BlockResult<BinaryHeader> {
    let mut found = Err(BlockError::corrupt("second header of LUKS2 is missing", 0, 0));
    for offset in SIZES {
        match BinaryHeader::read(device, offset, SECOND_MAGIC) {
            Ok(header) if header.size == offset => return Ok(header),
            Ok(_) => {}
            Err(error) => found = Err(error),
        }
    }
    found
}

/// Whether `device`, which does not begin with [`MAGIC`], is a volume of LUKS2 whose first header was
/// damaged. A second header that was left from before something else does not count: what is in the
/// place of the first has to be of it, or blank.
///
/// # Errors
/// Only if the start of the device cannot be read.
pub(super) fn is_first_damaged(device: &dyn BlockDevice) -> BlockResult<bool> {
    const LOOK: usize = 8192;
    if device.size() < 0x8000 {
        return Ok(false);
    }
    let mut start = vec![0; LOOK];
    device.read_at(0, &mut start)?;
    let (binary, metadata) = start.split_at_checked(LOOK.div_euclid(2)).unwrap_or_default();
    let is_blank = |bytes: &[u8]| bytes.iter().all(|byte| *byte == 0);
    let is_json = |bytes: &[u8]| bytes.starts_with(b"{\"");
    // Cheap, and true of nearly no other device.
    if !is_blank(metadata) && !is_json(metadata) {
        return Ok(false);
    }
    let Ok(second) = find_second(device) else { return Ok(false) };
    let uuid = binary.get(offset_of!(RawHeader, uuid)..).unwrap_or_default();
    let is_same = !second.uuid.is_empty() && uuid.starts_with(second.uuid.as_bytes());
    Ok(is_blank(binary) || is_same)
}
