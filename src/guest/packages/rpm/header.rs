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
//!
//! The first entries are the *immutable region*, the header as the package was built: an entry of its own tag
//! whose value, the *trailer* at the end of the region's data, is an entry too and tells how long they are.
//! What rpm adds when it installs the package follows. The digests that the package has of its header
//! ("Header region", `lib/rpmvs.c` and `lib/header.c` of RPM) are of the magic and that region alone.

use data_encoding::HEXLOWER;
use sha1::Sha1;
use sha2::{Digest, Sha256};
use volfold_block::{ByteReader, bytes_to_index};
use volfold_fs::{FsError, FsResult};

const NAME: &str = "package header";

/// Bytes of an entry.
const ENTRY: usize = 16;

/// LIMIT: bytes of a text that is taken.
const MAX_TEXT: usize = 4096;

/// The magic of a header, and four reserved bytes.
const MAGIC: [u8; 8] = [0x8E, 0xAD, 0xE8, 1, 0, 0, 0, 0];

/// Types of values.
const INT32: u32 = 4;
const STRING: u32 = 6;
const BINARY: u32 = 7;
const STRING_ARRAY: u32 = 8;
const I18N_STRING: u32 = 9;

/// What a value is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Tag(u32);

impl Tag {
    const IMMUTABLE: Self = Self(63);
    const SHA1: Self = Self(269);
    const SHA256: Self = Self(273);
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

    /// Compares the digests that the header has of its immutable region.
    ///
    /// # Errors
    /// `Corrupt` if one differs, or if there is one and no region.
    pub(super) fn check(&self) -> FsResult<()> {
        let (sha1, sha256) = (self.text(Tag::SHA1)?, self.text(Tag::SHA256)?);
        if sha1.is_none() && sha256.is_none() {
            return Ok(());
        }
        let (entries, data) = self.region()?;
        let counts = [entries.len() / ENTRY, data.len()].map(|count| u32::try_from(count).ok());
        let [Some(count), Some(size)] = counts else { return Err(no_region()) };
        let parts = [&MAGIC[..], &count.to_be_bytes(), &size.to_be_bytes(), entries, data];
        let differs = |own: Option<String>, digest: &[u8]| {
            own.is_some_and(|own| !own.eq_ignore_ascii_case(&HEXLOWER.encode(digest)))
        };
        for (name, is_wrong) in [
            ("SHA-256", differs(sha256, &digest::<Sha256>(&parts))),
            ("SHA-1", differs(sha1, &digest::<Sha1>(&parts))),
        ] {
            if is_wrong {
                let line = format!("{NAME} has another {name} than it records");
                return Err(FsError::corrupt(line));
            }
        }
        Ok(())
    }

    /// The entries and the data of the immutable region.
    fn region(&self) -> FsResult<(&'a [u8], &'a [u8])> {
        let first = self.entries.get(..ENTRY).ok_or_else(no_region)?;
        let (tag, offset) = region_entry(first)?;
        let end = bytes_to_index(u64::from(offset))?.checked_add(ENTRY).ok_or_else(no_region)?;
        let data = self.data.get(..end).ok_or_else(no_region)?;
        let (_, trailer) =
            data.split_at_checked(data.len().saturating_sub(ENTRY)).ok_or_else(no_region)?;
        // The offset of the trailer leads back over the entries.
        let (own, back) = region_entry(trailer)?;
        let length = bytes_to_index(u64::from(back.wrapping_neg()))?;
        let entries = self.entries.get(..length).filter(|it| it.len().is_multiple_of(ENTRY));
        match entries {
            Some(entries) if tag == Tag::IMMUTABLE && own == tag => Ok((entries, data)),
            _ => Err(no_region()),
        }
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

/// Tag and offset of an entry that is of the type of regions.
fn region_entry(bytes: &[u8]) -> FsResult<(Tag, u32)> {
    let mut reader = ByteReader::new(NAME, bytes, 0);
    let (tag, kind) = (Tag(reader.u32_be()?), reader.u32_be()?);
    let (offset, count) = (reader.u32_be()?, reader.u32_be()?);
    if kind != BINARY || bytes_to_index(u64::from(count))? != ENTRY {
        return Err(no_region());
    }
    Ok((tag, offset))
}

fn no_region() -> FsError {
    FsError::corrupt(format!("{NAME} has a digest, and no region that this could be of"))
}

fn digest<D: Digest>(parts: &[&[u8]]) -> Vec<u8> {
    let mut hash = D::new();
    parts.iter().for_each(|part| hash.update(part));
    hash.finalize().to_vec()
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
