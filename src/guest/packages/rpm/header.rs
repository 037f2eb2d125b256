//! The header of a package: tags with values.
//!
//! Specification: RPM's "Package format", "Header structure", without the eight bytes of its magic, which
//! databases leave out. Big-endian.
//!
//! | offset | size | field       | rule                                      |
//! |--------|------|-------------|-------------------------------------------|
//! | 0x00   | 4    | `entries`   | at most what the header has room for      |
//! | 0x04   | 4    | `data_size` | with the entries no more than the header  |
//! | 0x08   | 16 n | the entries | `tag`, `type`, `offset`, `count`, 4 each  |
//! |        |      | the data    | values, at their offsets                  |

use volfold_block::{ByteReader, bytes_to_index};
use volfold_fs::{FsError, FsResult};

const NAME: &str = "package header";

/// Bytes of an entry.
const ENTRY: usize = 16;

/// LIMIT: bytes of a text that is taken.
const MAX_TEXT: usize = 4096;

/// Types of values.
const INT32: u32 = 4;
const STRING: u32 = 6;
const STRING_ARRAY: u32 = 8;
const I18N_STRING: u32 = 9;

/// What a value is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Tag(u32);

impl Tag {
    pub(super) const NAME: Self = Self(1000);
    pub(super) const VERSION: Self = Self(1001);
    pub(super) const RELEASE: Self = Self(1002);
    pub(super) const EPOCH: Self = Self(1003);
    pub(super) const INSTALL_TIME: Self = Self(1008);
    pub(super) const VENDOR: Self = Self(1011);
    pub(super) const PACKAGER: Self = Self(1015);
    pub(super) const ARCHITECTURE: Self = Self(1022);
    pub(super) const SOURCE: Self = Self(1044);
}

/// A header whose parts lie in it.
pub(super) struct Header<'a> {
    entries: &'a [u8],
    data: &'a [u8],
}

/// One value.
struct Entry {
    kind: u32,
    offset: u32,
    count: u32,
}

impl<'a> Header<'a> {
    /// Checks the header in `blob`.
    ///
    /// # Errors
    /// `Corrupt` if its parts do not lie in it.
    pub(super) fn parse(blob: &'a [u8]) -> FsResult<Self> {
        let mut reader = ByteReader::new(NAME, blob, 0);
        let count = bytes_to_index(u64::from(reader.u32_be()?))?;
        let size = bytes_to_index(u64::from(reader.u32_be()?))?;
        let entries =
            count.checked_mul(ENTRY).ok_or_else(|| reader.corrupt("has too many tags"))?;
        let entries = reader.take(entries)?;
        let data = reader.take(size)?;
        Ok(Self { entries, data })
    }

    fn entry(&self, tag: Tag) -> FsResult<Option<Entry>> {
        for entry in self.entries.chunks_exact(ENTRY) {
            let mut reader = ByteReader::new(NAME, entry, 0);
            if reader.u32_be()? == tag.0 {
                let (kind, offset, count) = (reader.u32_be()?, reader.u32_be()?, reader.u32_be()?);
                return Ok(Some(Entry { kind, offset, count }));
            }
        }
        Ok(None)
    }

    /// The bytes of the value of `entry`, and what follows them.
    fn value(&self, tag: Tag, entry: &Entry) -> FsResult<&'a [u8]> {
        let offset = bytes_to_index(u64::from(entry.offset))?;
        let value = self.data.get(offset..).filter(|value| !value.is_empty() && entry.count > 0);
        value.ok_or_else(|| wrong(tag, "lies outside of it"))
    }

    /// The text of `tag`, the first of several; `None` if it has none, or an empty one.
    ///
    /// # Errors
    /// `Corrupt` if it is no text, or lies outside of the header.
    pub(super) fn text(&self, tag: Tag) -> FsResult<Option<String>> {
        let Some(entry) = self.entry(tag)? else { return Ok(None) };
        if !matches!(entry.kind, STRING | STRING_ARRAY | I18N_STRING) {
            return Err(wrong(tag, "is no text"));
        }
        let value = self.value(tag, &entry)?;
        let end = value.iter().take(MAX_TEXT).position(|byte| *byte == 0);
        let text = end.and_then(|end| value.get(..end)).ok_or_else(|| wrong(tag, "has no end"))?;
        let text = str::from_utf8(text).map_err(|_| wrong(tag, "is not UTF-8"))?;
        Ok(Some(text.to_owned()).filter(|text| !text.is_empty()))
    }

    /// The number of `tag`.
    ///
    /// # Errors
    /// `Corrupt` if it is no number of 32 bits, or lies outside of the header.
    pub(super) fn number(&self, tag: Tag) -> FsResult<Option<u32>> {
        let Some(entry) = self.entry(tag)? else { return Ok(None) };
        if entry.kind != INT32 {
            return Err(wrong(tag, "is no number"));
        }
        let mut reader = ByteReader::new(NAME, self.value(tag, &entry)?, 0);
        Ok(Some(reader.u32_be()?))
    }
}

/// The value of `tag` contradicts the specification.
fn wrong(tag: Tag, what: &str) -> FsError {
    FsError::corrupt(format!("value of tag {} of a {NAME} {what}", tag.0))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A header of values: tag, type, bytes.
    pub(in super::super) fn header(values: &[(u32, u32, &[u8])]) -> Vec<u8> {
        let mut data = Vec::new();
        let mut entries = Vec::new();
        for (tag, kind, value) in values {
            let offset = u32::try_from(data.len()).unwrap();
            for number in [*tag, *kind, offset, 1] {
                entries.extend(number.to_be_bytes());
            }
            data.extend(*value);
        }
        let sizes = [values.len(), data.len()].map(|size| u32::try_from(size).unwrap());
        [&sizes.map(u32::to_be_bytes).concat()[..], &entries, &data].concat()
    }

    /// The header of a package `name`, 1.0-2.
    pub(in super::super) fn package(name: &str) -> Vec<u8> {
        let name = [name.as_bytes(), b"\0"].concat();
        header(&[
            (1000, STRING, &name),
            (1001, STRING, b"1.0\0"),
            (1002, STRING, b"2\0"),
            (1008, INT32, &1_714_555_800_u32.to_be_bytes()),
            (1022, STRING, b"noarch\0"),
        ])
    }

    #[test]
    fn values_are_found_by_their_tags() {
        let blob = package("bash");
        let header = Header::parse(&blob).unwrap();
        assert_eq!(header.text(Tag::NAME).unwrap().as_deref(), Some("bash"));
        assert_eq!(header.number(Tag::INSTALL_TIME).unwrap(), Some(1_714_555_800));
        assert_eq!(header.text(Tag::VENDOR).unwrap(), None);
        let error = header.number(Tag::NAME).unwrap_err();
        assert_eq!(error.message(), "value of tag 1000 of a package header is no number");
    }

    #[test]
    fn what_lies_outside_is_corrupt() {
        let blob = package("bash");
        for length in 0..blob.len() {
            assert!(Header::parse(&blob[..length]).is_err(), "{length}");
        }
        let mut outside = blob.clone();
        outside[16..20].copy_from_slice(&[0, 1, 0, 0]);
        assert!(Header::parse(&outside).unwrap().text(Tag::NAME).is_err());
        let endless = header(&[(1000, STRING, b"bash")]);
        assert!(Header::parse(&endless).unwrap().text(Tag::NAME).is_err());
        let huge = [&[0xFF; 8][..], &blob].concat();
        assert!(Header::parse(&huge).is_err());
    }
}
