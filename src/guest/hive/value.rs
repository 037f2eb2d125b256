//! Values.
//!
//! Specification: "Key value" and "Big data" of the registry file format specification.
//!
//! | offset | size | field         | rule                                                       |
//! |--------|------|---------------|------------------------------------------------------------|
//! | 0x00   | 2    | `signature`   | `vk`                                                       |
//! | 0x02   | 2    | `name_length` | in bytes                                                   |
//! | 0x04   | 4    | `size`        | of the data; with the top bit the data is in `data`        |
//! | 0x08   | 4    | `data`        | offset, or up to 4 bytes of data                           |
//! | 0x0C   | 4    | `kind`        |                                                            |
//! | 0x10   | 2    | `flags`       | 0x1 name in Latin-1, 0x2 deleted from the layer below      |
//! | 0x12   | 2    | `spare`       | not looked at                                              |
//! | 0x14   |      | `name`        |                                                            |
//!
//! Since version 1.4 data of more than 16344 bytes lies in segments of as many, and `data` leads to:
//!
//! | offset | size | field       | rule                                                         |
//! |--------|------|-------------|--------------------------------------------------------------|
//! | 0x00   | 2    | `signature` | `db`                                                         |
//! | 0x02   | 2    | `segments`  | how many                                                     |
//! | 0x04   | 4    | `list`      | offset of a cell with their offsets                          |

use std::fmt;
use std::mem::size_of;

use volfold_fs::{FsError, FsResult, wtf8};
use zerocopy::byteorder::{LE, U16, U32};
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

use super::cell::Cell;
use super::name;
use super::store::{Store, within};

/// LIMIT: bytes of the data of one value that are read; Windows allows 1 MiB up to version 1.3 and
/// advises against more than 2 KiB.
const MAX_DATA: u32 = 16 << 20;

/// LIMIT: bytes of the name of a value, as in Windows: 16,383 characters.
const MAX_NAME: u16 = 32_766;

/// Bytes of every segment but the last.
const SEGMENT: u32 = 16_344;

const IN_PLACE: u32 = 1 << 31;
const IS_LATIN_1: u16 = 0x1;
const IS_TOMBSTONE: u16 = 0x2;

#[derive(FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawValue {
    signature: [u8; 2],
    name_length: U16<LE>,
    size: U32<LE>,
    data: [u8; 4],
    kind: U32<LE>,
    flags: U16<LE>,
    spare: U16<LE>,
}
const _: () = assert!(size_of::<RawValue>() == 0x14);

/// Where the name begins.
const NAME_AT: u64 = 0x14;

/// What the data of a value is said to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ValueKind {
    /// Bytes of no kind.
    None,
    /// Text.
    Sz,
    /// Text with names of environment variables between `%`.
    ExpandSz,
    /// Bytes.
    Binary,
    /// A number of 4 bytes.
    Dword,
    /// A number of 4 bytes, big-endian.
    DwordBigEndian,
    /// Where a link leads.
    Link,
    /// Several texts.
    MultiSz,
    /// Resources of a driver.
    ResourceList,
    /// Resources of a device.
    FullResourceDescriptor,
    /// Resources that a driver may use.
    ResourceRequirementsList,
    /// A number of 8 bytes.
    Qword,
    /// Another one: programs may use any number.
    Other(u32),
}

impl ValueKind {
    /// The kind with this number.
    pub fn new(number: u32) -> Self {
        match number {
            0 => Self::None,
            1 => Self::Sz,
            2 => Self::ExpandSz,
            3 => Self::Binary,
            4 => Self::Dword,
            5 => Self::DwordBigEndian,
            6 => Self::Link,
            7 => Self::MultiSz,
            8 => Self::ResourceList,
            9 => Self::FullResourceDescriptor,
            10 => Self::ResourceRequirementsList,
            11 => Self::Qword,
            other => Self::Other(other),
        }
    }
}

/// As Windows writes it: `REG_SZ`.
impl fmt::Display for ValueKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "REG_NONE",
            Self::Sz => "REG_SZ",
            Self::ExpandSz => "REG_EXPAND_SZ",
            Self::Binary => "REG_BINARY",
            Self::Dword => "REG_DWORD",
            Self::DwordBigEndian => "REG_DWORD_BIG_ENDIAN",
            Self::Link => "REG_LINK",
            Self::MultiSz => "REG_MULTI_SZ",
            Self::ResourceList => "REG_RESOURCE_LIST",
            Self::FullResourceDescriptor => "REG_FULL_RESOURCE_DESCRIPTOR",
            Self::ResourceRequirementsList => "REG_RESOURCE_REQUIREMENTS_LIST",
            Self::Qword => "REG_QWORD",
            Self::Other(number) => return write!(f, "{number:#x}"),
        })
    }
}

/// A value of a key.
#[derive(Clone)]
pub struct Value<'h> {
    store: &'h Store,
    cell: Cell,
    key_path: String,
    name: Vec<u16>,
    kind: ValueKind,
    flags: u16,
    size: u32,
    data: [u8; 4],
    is_in_place: bool,
}

impl<'h> Value<'h> {
    /// The value in the cell at `offset`, of the key at `key_path`.
    pub(super) fn read(store: &'h Store, offset: u32, key_path: &str) -> FsResult<Self> {
        let cell = Cell::locate(store, offset)?;
        let mut bytes = [0; size_of::<RawValue>()];
        cell.read(store, 0, &mut bytes)?;
        let raw = match RawValue::ref_from_bytes(&bytes) {
            Ok(raw) if raw.signature == *b"vk" => raw,
            _ => return Err(cell.corrupt("value has a wrong signature", 0)),
        };
        let name_length = raw.name_length.get();
        if name_length > MAX_NAME {
            return Err(cell.corrupt("value has a name that is too long", 0x02));
        }
        let flags = raw.flags.get();
        let name = cell.bytes(store, NAME_AT, name_length.into())?;
        let name = name::decode(&name, flags & IS_LATIN_1 != 0)
            .map_err(|error| cell.corrupt(error.message().to_owned(), NAME_AT))?;
        let size = raw.size.get();
        Ok(Self {
            store,
            cell,
            key_path: key_path.to_owned(),
            name,
            kind: ValueKind::new(raw.kind.get()),
            flags,
            size: size & !IN_PLACE,
            data: raw.data,
            is_in_place: size & IN_PLACE != 0,
        })
    }

    /// Its name, empty for the default value of the key; unpaired surrogates are replaced.
    pub fn name(&self) -> String {
        name::to_text(&self.name)
    }

    /// The UTF-16 code units of its name.
    pub fn name_units(&self) -> &[u16] {
        &self.name
    }

    /// What the data is said to be.
    pub fn kind(&self) -> ValueKind {
        self.kind
    }

    /// The bytes of its data.
    pub fn size(&self) -> u32 {
        self.size
    }

    /// Whether it has no data but says that the value of this name in the hive below is deleted: in
    /// hives of containers, that lie over others.
    pub fn is_tombstone(&self) -> bool {
        self.flags & IS_TOMBSTONE != 0
    }

    /// Its data.
    ///
    /// # Errors
    /// `Corrupt` if it does not lie where it should, `Unsupported` if it is more than 16 MiB, or why
    /// it cannot be read.
    pub fn data(&self) -> FsResult<Vec<u8>> {
        self.read_data().map_err(|error| self.error(error))
    }

    fn error(&self, error: FsError) -> FsError {
        let name = match self.name.is_empty() {
            true => "default value".to_owned(),
            false => format!("value {}", self.name()),
        };
        match self.key_path.as_str() {
            "" => within(&format!("root key: {name}"), error),
            path => within(&format!("key {path}: {name}"), error),
        }
    }

    fn read_data(&self) -> FsResult<Vec<u8>> {
        let size = self.size;
        if self.is_in_place {
            let data = usize::try_from(size).ok().and_then(|size| self.data.get(..size));
            let line = "data in place of its offset is longer than 4 bytes";
            return data.map(<[u8]>::to_vec).ok_or_else(|| self.cell.corrupt(line, 0x04));
        }
        if size == 0 {
            return Ok(Vec::new());
        }
        if size > MAX_DATA {
            return Err(FsError::unsupported(format!("data of {size} bytes is not read")));
        }
        let offset = u32::from_le_bytes(self.data);
        if size > SEGMENT && self.store.base_block.minor > 3 {
            return self.read_segments(offset);
        }
        Cell::locate(self.store, offset)?.bytes(self.store, 0, size.into())
    }

    /// Data in segments, which the cell at `offset` counts.
    fn read_segments(&self, offset: u32) -> FsResult<Vec<u8>> {
        let store = self.store;
        let cell = Cell::locate(store, offset)?;
        let mut header = [0; 8];
        cell.read(store, 0, &mut header)?;
        let [a, b, low, high, list @ ..] = header;
        if [a, b] != *b"db" {
            return Err(cell.corrupt("record of large data has a wrong signature", 0));
        }
        let count = u32::from(u16::from_le_bytes([low, high]));
        if count != self.size.div_ceil(SEGMENT) {
            return Err(cell.corrupt("large data has another number of segments than it needs", 2));
        }
        let list = Cell::locate(store, u32::from_le_bytes(list))?;
        let offsets = list.bytes(store, 0, u64::from(count).saturating_mul(4))?;
        let (offsets, _) = offsets.as_chunks::<4>();
        let mut data = Vec::new();
        let mut left = self.size;
        for offset in offsets {
            let length = left.min(SEGMENT);
            let segment = Cell::locate(store, u32::from_le_bytes(*offset))?;
            data.extend(segment.bytes(store, 0, length.into())?);
            left = left.saturating_sub(length);
        }
        Ok(data)
    }

    /// Its data as text, up to the first NUL, which may be missing. An odd byte after the text is
    /// left out.
    ///
    /// # Errors
    /// `Corrupt` if it is no text by its kind or no UTF-16, or why it cannot be read.
    pub fn text(&self) -> FsResult<String> {
        if !matches!(self.kind, ValueKind::Sz | ValueKind::ExpandSz | ValueKind::Link) {
            return Err(self.wrong_kind("a text"));
        }
        let data = self.data()?;
        let mut texts = self.split(&data)?;
        Ok(texts.next().transpose()?.unwrap_or_default())
    }

    /// Its data as texts: several, or the one of [`Value::text`].
    ///
    /// # Errors
    /// As [`Value::text`].
    pub fn texts(&self) -> FsResult<Vec<String>> {
        if self.kind != ValueKind::MultiSz {
            return self.text().map(|text| vec![text]);
        }
        let data = self.data()?;
        let texts = self.split(&data)?;
        let is_text = |text: &FsResult<String>| text.as_ref().map_or(true, |text| !text.is_empty());
        texts.take_while(is_text).collect()
    }

    /// The texts in `data`, each up to a NUL or the end.
    fn split<'a>(
        &'a self,
        data: &'a [u8],
    ) -> FsResult<impl Iterator<Item = FsResult<String>> + 'a> {
        let units: Vec<u16> = wtf8::units_le(data).collect();
        // QUIRK: programs give the length of text with a byte too many or too few, and Windows keeps
        // it; what is cut is the NUL.
        let is_whole =
            data.len().is_multiple_of(2) || units.contains(&0) || data.last() == Some(&0);
        if !is_whole {
            return Err(self.error(self.cell.corrupt("text has an odd length", 0x04)));
        }
        let texts: Vec<FsResult<String>> = units
            .split(|unit| *unit == 0)
            .map(|text| {
                let line = "text is not UTF-16";
                String::from_utf16(text).map_err(|_| self.error(self.cell.corrupt(line, 0x08)))
            })
            .collect();
        Ok(texts.into_iter())
    }

    /// Its data as a number of 4 or 8 bytes.
    ///
    /// # Errors
    /// `Corrupt` if it is no number by its kind or has another length, or why it cannot be read.
    pub fn number(&self) -> FsResult<u64> {
        let data = self.data()?;
        let number = match self.kind {
            ValueKind::Dword => data.try_into().ok().map(|data| u32::from_le_bytes(data).into()),
            ValueKind::DwordBigEndian => {
                data.try_into().ok().map(|data| u32::from_be_bytes(data).into())
            }
            ValueKind::Qword => data.try_into().ok().map(u64::from_le_bytes),
            _ => return Err(self.wrong_kind("a number")),
        };
        number.ok_or_else(|| self.error(self.cell.corrupt("number has an invalid length", 0x04)))
    }

    fn wrong_kind(&self, wanted: &str) -> FsError {
        let line = format!("value is of the kind {} and not {wanted}", self.kind);
        self.error(self.cell.corrupt(line, 0x0C))
    }
}
