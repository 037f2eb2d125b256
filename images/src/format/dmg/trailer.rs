//! The trailer in the last 512 bytes, which makes a file a DMG.
//!
//! | offset | size | field              | rule                                                   |
//! |--------|------|--------------------|--------------------------------------------------------|
//! | 0x000  | 4    | signature          | `koly`                                                 |
//! | 0x004  | 4    | version            | 4                                                      |
//! | 0x008  | 4    | header size        | 512                                                    |
//! | 0x018  | 8    | data fork offset   | added to the places of all runs                        |
//! | 0x028  | 8    | resource fork      | offset; used where there is no property list           |
//! | 0x030  | 8    | its length         | 0: there is none                                       |
//! | 0x038  | 4    | segment number     | 0 or 1                                                 |
//! | 0x03C  | 4    | segments           | 0 or 1                                                 |
//! | 0x0D8  | 8    | property list      | offset                                                 |
//! | 0x0E0  | 8    | its length         | 0: there is none                                       |
//! | 0x1EC  | 8    | sectors            | of 512 bytes; 0: as the runs say                       |
//!
//! An encrypted image begins with `encrcdsa`, or with its first version ends with `cdsaencr`.

use volfold_block::{BlockDevice, BlockError, BlockResult, ByteReader, Span};

const TRAILER_BYTES: u64 = 512;

/// A trailer whose fields are possible.
#[derive(Clone, Copy, Debug)]
pub(super) struct Trailer {
    /// Where it is.
    pub(super) at: u64,
    pub(super) data_at: u64,
    pub(super) list: Option<Span>,
    pub(super) fork: Option<Span>,
    /// The size of the disk in bytes.
    pub(super) size: Option<u64>,
}

fn place(file: &dyn BlockDevice) -> Option<u64> {
    file.size().checked_sub(TRAILER_BYTES)
}

/// Whether `file` ends as a DMG does.
pub(super) fn is_there(file: &dyn BlockDevice) -> BlockResult<bool> {
    let Some(at) = place(file) else { return Ok(false) };
    let mut bytes = [0; 12];
    file.read_at(at, &mut bytes)?;
    Ok(bytes == *b"koly\0\0\0\x04\0\0\x02\0")
}

/// Whether `file` is an encrypted image.
pub(super) fn is_encrypted(file: &dyn BlockDevice) -> BlockResult<bool> {
    let mut bytes = [0; 8];
    let Some(last) = file.size().checked_sub(8) else { return Ok(false) };
    file.read_at(0, &mut bytes)?;
    if bytes == *b"encrcdsa" {
        return Ok(true);
    }
    file.read_at(last, &mut bytes)?;
    Ok(bytes == *b"cdsaencr")
}

impl Trailer {
    /// Reads the trailer of `file`.
    ///
    /// # Errors
    /// `Corrupt` with the field that cannot be, `Unsupported` for an image in several files.
    pub(super) fn read(file: &dyn BlockDevice) -> BlockResult<Self> {
        let missing = || BlockError::corrupt("file does not end with the trailer of a DMG", 0, 0);
        let at = place(file).ok_or_else(missing)?;
        if !is_there(file)? {
            return Err(missing());
        }
        let mut bytes = [0; 512];
        file.read_at(at, &mut bytes)?;
        let mut reader = ByteReader::new("DMG trailer", &bytes, at);
        reader.skip(0x18)?;
        let data_at = reader.u64_be()?;
        reader.skip(8)?;
        let fork = (reader.u64_be()?, reader.u64_be()?);
        let (number, segments) = (reader.u32_be()?, reader.u32_be()?);
        reader.skip(0xD8 - 0x40)?;
        let list = (reader.u64_be()?, reader.u64_be()?);
        reader.skip(0x1EC - 0xE8)?;
        let sectors = reader.u64_be()?;
        if number > 1 || segments > 1 {
            let line = format!(
                "DMG in {segments} files (.dmgpart) is not read; join them with `hdiutil convert`"
            );
            return Err(BlockError::unsupported(line));
        }
        let span = |(start, length): (u64, u64), field| match length {
            0 => Ok(None),
            _ => Span::new(start, length).map(Some).ok_or_else(|| {
                BlockError::corrupt("DMG trailer has tables outside the file", at, field)
            }),
        };
        let size = sectors.checked_mul(512);
        let size = size.ok_or_else(|| {
            let line = format!("DMG trailer has a disk of {sectors} sectors");
            BlockError::corrupt(line, at, 0x1EC)
        })?;
        Ok(Self {
            at,
            data_at,
            list: span(list, 0xD8)?,
            fork: span(fork, 0x28)?,
            size: Some(size).filter(|size| *size > 0),
        })
    }
}
