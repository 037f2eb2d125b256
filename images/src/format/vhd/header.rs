//! The dynamic header of a VHD: where the block allocation table is, and who the parent is.
//!
//! Specification: Virtual Hard Disk Image Format 1.0, "Dynamic Disk Header Format". Big-endian.
//!
//! | offset | size | field          | rule                                                     |
//! |--------|------|----------------|----------------------------------------------------------|
//! | 0x000  | 8    | cookie         | `cxsparse`                                               |
//! | 0x008  | 8    | data offset    | not looked at                                            |
//! | 0x010  | 8    | table offset   | of the block allocation table, in the file               |
//! | 0x018  | 4    | version        | 1.x                                                      |
//! | 0x01C  | 4    | table entries  | enough for the disk; those past it are not looked at     |
//! | 0x020  | 4    | block size     | power of two, 512 to 256 MiB, usually 2 MiB              |
//! | 0x024  | 4    | checksum       | all bits turned of the sum of all other bytes            |
//! | 0x028  | 16   | parent         | its UUID                                                 |
//! | 0x038  | 4    | its time       | when its file was last changed, in seconds since 2000    |
//! | 0x040  | 512  | its name       | UTF-16, the higher byte first                            |
//! | 0x240  | 192  | locators       | eight of 24 bytes: code, space, length, 0, offset (8)    |
//!
//! A locator tells where the parent's name is in the file. Its code tells how it is written:
//! `W2ru` and `W2ku` relative and absolute in UTF-16, the lower byte first; `Wi2r` and `Wi2k` the
//! same in bytes; `MacX` as a URL; `Mac ` as an alias record, which holds no path and is not used.

use volfold_block::{
    BlockDevice, BlockError, BlockResult, ByteReader, Finding, bytes_to_index, code,
};

use super::footer::{Footer, Kind, checksum_of};
use crate::guid::Guid;
use crate::parent::{utf16_be, utf16_le};

/// The bytes of a header.
pub(super) const HEADER_BYTES: u64 = 1024;

/// LIMIT: bytes of a block. The specification wants a power of two, and its own is 2 MiB.
const BLOCK_BYTES: std::ops::RangeInclusive<u32> = 512..=256 << 20;

/// LIMIT: bytes of a name that a locator is to. Windows has paths of at most 64 KiB.
const MAX_NAME: u32 = 64 << 10;

/// 2000-01-01 in seconds since 1970.
const EPOCH: u64 = 946_684_800;

/// A header whose every field is within its bounds.
#[derive(Clone, Debug)]
pub(super) struct Header {
    pub(super) table_at: u64,
    /// A power of two.
    pub(super) block_size: u64,
    /// The bytes of the bitmap before each block, whole sectors.
    pub(super) bitmap_size: u64,
    pub(super) parent: Guid,
    /// When the parent's file was last changed, in seconds since 1970.
    pub(super) parent_time: Option<u64>,
    /// The names that the parent may have, the likeliest first.
    pub(super) parent_names: Vec<String>,
    /// Whether the parent was in the same folder.
    pub(super) was_beside: bool,
    /// What is wrong with it.
    pub(super) findings: Vec<Finding>,
}

impl Header {
    /// Reads the header of the image in `file`, whose footer is `footer`.
    ///
    /// # Errors
    /// `Corrupt` with the field that cannot be, `Unsupported` for versions before 1.
    pub(super) fn read(file: &dyn BlockDevice, footer: &Footer) -> BlockResult<Self> {
        let at = footer.data_offset;
        let corrupt = |sentence: String, field| Err(BlockError::corrupt(sentence, at, field));
        let left = footer.data_end.saturating_sub(at);
        if left < HEADER_BYTES {
            return corrupt("VHD dynamic header is not in the file".to_owned(), 0);
        }
        let mut bytes = vec![0; bytes_to_index(HEADER_BYTES)?];
        file.read_at(at, &mut bytes)?;
        let mut reader = ByteReader::new("VHD dynamic header", &bytes, at);
        if reader.array()? != *b"cxsparse" {
            return corrupt("VHD dynamic header has another cookie".to_owned(), 0);
        }
        reader.skip(8)?;
        let table_at = reader.u64_be()?;
        let version = reader.u32_be()?;
        if version >> 16 != 1 {
            let (major, minor) = (version >> 16, version & 0xFFFF);
            let line = format!("VHD dynamic header of version {major}.{minor} is not read; 1.x is");
            return Err(BlockError::unsupported(line).at(at.saturating_add(0x18)));
        }
        let entries = u64::from(reader.u32_be()?);
        let block_size = reader.u32_be()?;
        if !BLOCK_BYTES.contains(&block_size) || !block_size.is_power_of_two() {
            return corrupt(format!("VHD has blocks of {block_size} bytes"), 0x20);
        }
        let needed = footer.size.div_ceil(block_size.into());
        if entries < needed {
            let size = footer.size;
            let line = format!("VHD has {entries} table entries for a disk of {size} bytes");
            return corrupt(line, 0x1C);
        }
        let table_end = needed.saturating_mul(4).checked_add(table_at);
        if table_end.is_none_or(|end| end > footer.data_end) {
            return corrupt("VHD block allocation table is not in the file".to_owned(), 0x10);
        }
        let checksum = reader.u32_be()?;
        let mut findings = Vec::new();
        if checksum != checksum_of(&bytes, 0x24) {
            let sentence = "the dynamic header has a wrong checksum";
            findings.push(Finding::warning(code::VHD_CHECKSUM, sentence).at(at));
        }
        let parent = Guid::of(u128::from_be_bytes(reader.array()?));
        if footer.kind == Kind::Differencing && parent.known().is_none() {
            return corrupt("VHD is a snapshot and names no parent".to_owned(), 0x28);
        }
        let time = u64::from(reader.u32_be()?);
        reader.skip(4)?;
        let name = utf16_be(reader.take(512)?);
        let located = Located::read_all(&mut reader, file, footer.data_end)?;
        let block_size = u64::from(block_size);
        Ok(Self {
            table_at,
            block_size,
            bitmap_size: block_size.div_ceil(512 * 8).next_multiple_of(512),
            parent,
            parent_time: (time != 0).then(|| time.saturating_add(EPOCH)),
            was_beside: located.was_beside(),
            parent_names: located.names(name),
            findings,
        })
    }
}

/// The names that locators are to.
#[derive(Default)]
struct Located {
    relative: Vec<String>,
    absolute: Vec<String>,
}

impl Located {
    /// Reads the eight locators that come next. One that leads nowhere says nothing: there are others.
    fn read_all(
        reader: &mut ByteReader<'_>,
        file: &dyn BlockDevice,
        end: u64,
    ) -> BlockResult<Self> {
        let mut found = Self::default();
        for _ in 0..8 {
            let code = reader.array::<4>()?;
            // The space is in bytes or in sectors, by the writer; the length is in bytes.
            reader.skip(4)?;
            let length = reader.u32_be()?.min(MAX_NAME);
            reader.skip(4)?;
            let at = reader.u64_be()?;
            if at.checked_add(length.into()).is_none_or(|last| last > end) {
                continue;
            }
            let mut bytes = vec![0; bytes_to_index(length.into())?];
            match &code {
                b"W2ru" | b"W2ku" | b"Wi2r" | b"Wi2k" | b"MacX" => file.read_at(at, &mut bytes)?,
                _ => continue,
            }
            let plain = || {
                let text = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
                String::from_utf8_lossy(text).into_owned()
            };
            match &code {
                b"W2ru" => found.relative.push(utf16_le(&bytes)),
                b"W2ku" => found.absolute.push(utf16_le(&bytes)),
                b"Wi2r" => found.relative.push(plain()),
                b"Wi2k" => found.absolute.push(plain()),
                _ => found.absolute.extend(path_of_url(&plain())),
            }
        }
        Ok(found)
    }

    /// Whether a relative one leads to the folder of the image itself.
    fn was_beside(&self) -> bool {
        let mut names = self.relative.iter().map(|path| path.trim_start_matches(".\\"));
        names.any(|name| !name.contains(['/', '\\']))
    }

    /// All names, `last` being the one that the header has itself.
    fn names(self, last: String) -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        for name in self.relative.into_iter().chain(self.absolute).chain([last]) {
            if !name.is_empty() && !names.contains(&name) {
                names.push(name);
            }
        }
        names
    }
}

/// The path in the URL `url` of a file: `file://localhost/Users/a/base%20disk.vhd`.
fn path_of_url(url: &str) -> Option<String> {
    let rest = url.strip_prefix("file://")?;
    let path = rest.get(rest.find('/')?..)?;
    let mut bytes = Vec::new();
    let mut rest = path.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        let digits = after.get(..2).and_then(|two| std::str::from_utf8(two).ok());
        let code = digits.and_then(|two| u8::from_str_radix(two, 16).ok());
        match (byte, code) {
            (b'%', Some(code)) => {
                bytes.push(code);
                rest = after.get(2..).unwrap_or_default();
            }
            _ => {
                bytes.push(*byte);
                rest = after;
            }
        }
    }
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_paths() {
        let path = path_of_url("file://localhost/a/base%20disk%C3%A9.vhd");
        assert_eq!(path.as_deref(), Some("/a/base disk\u{E9}.vhd"));
        assert_eq!(path_of_url("file:///a%2").as_deref(), Some("/a%2"));
        assert_eq!((path_of_url("/a"), path_of_url("file://")), (None, None));
    }
}
