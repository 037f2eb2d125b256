//! What an image says of its disk: the shape, the hashes, the sectors that could not be read.
//!
//! Specification: libyal, "Expert Witness Compression Format (EWF)", sections 3.5 to 3.7 and 3.16 to
//! 3.18.
//!
//! | offset | size | of `volume`, `disk`, `data`  | rule                                          |
//! |--------|------|------------------------------|-----------------------------------------------|
//! | 0x000  | 4    | media type                   | not looked at                                 |
//! | 0x004  | 4    | chunks                       | not looked at: streams are longer than it says |
//! | 0x008  | 4    | sectors of a chunk           |                                               |
//! | 0x00C  | 4    | bytes of a sector            | 512 to 4096                                   |
//! | 0x010  | 8    | sectors                      | 4 bytes in the short form                     |
//! | 0x040  | 16   | set identifier               | zeros before EnCase 5; not in the short form  |
//! | 0x05A  | 4    | checksum of the short form   | Adler-32; the section has 94 bytes (SMART)    |
//! | 0x418  | 4    | checksum of the long form    | Adler-32; the section has 1052 bytes          |
//!
//! | size | of `hash`        | of `digest`     | of `error2`                                       |
//! |------|------------------|-----------------|---------------------------------------------------|
//! |      | 16 MD5           | 16 MD5          | 4 entries, 512 padding, 4 checksum of both        |
//! |      | 16 not looked at | 20 SHA-1        | for each entry: 4 first sector, 4 sectors         |
//! |      | 4 checksum       | 40 padding, 4 checksum | 4 checksum of the entries                  |

use data_encoding::HEXLOWER;
use volfold_block::{BlockDevice, BlockError, BlockResult, ByteReader, bytes_to_index};

use super::checksum::Adler32;
use super::segment::Section;
use crate::format::RecordedHash;

/// LIMIT: bytes of a chunk. EnCase has up to 32768 sectors of 512.
const MAX_CHUNK: u64 = 32 << 20;

/// LIMIT: entries of a list of read errors.
const MAX_ERRORS: u64 = 1 << 20;

/// The shape of a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    /// The size of the disk in bytes, not 0.
    pub(super) size: u64,
    /// The size of a chunk in bytes, not 0 and at most [`MAX_CHUNK`].
    pub(super) chunk_size: u64,
    pub(super) sector_size: u64,
    /// What all files of the image have in common; zeros if nothing.
    pub(super) set: [u8; 16],
    /// Whether it is of SMART's form.
    pub(super) is_short: bool,
}

impl Shape {
    /// Reads the shape in `section` of `file`.
    ///
    /// # Errors
    /// `Corrupt` with the field that cannot be.
    pub(super) fn read(file: &dyn BlockDevice, section: &Section) -> BlockResult<Self> {
        let at = section.start;
        let size = section.end.saturating_sub(at);
        let is_short = size < 1052;
        let bytes =
            checked(file, at, if is_short { 94 } else { 1052 }, size, "EWF volume section")?;
        let mut reader = ByteReader::new("EWF volume section", &bytes, at);
        reader.skip(8)?;
        let sectors_of_chunk = u64::from(reader.u32_le()?);
        let sector_size = u64::from(reader.u32_le()?);
        let sectors = if is_short { u64::from(reader.u32_le()?) } else { reader.u64_le()? };
        let set = match is_short {
            true => [0; 16],
            false => {
                reader.skip(40)?;
                reader.array()?
            }
        };
        if !(512..=4096).contains(&sector_size) {
            let line = format!("EWF volume section has sectors of {sector_size} bytes");
            return Err(BlockError::corrupt(line, at, 0x0C));
        }
        let chunk_size = sectors_of_chunk.saturating_mul(sector_size);
        if !(1..=MAX_CHUNK).contains(&chunk_size) {
            let line = format!("EWF volume section has chunks of {chunk_size} bytes");
            return Err(BlockError::corrupt(line, at, 0x08));
        }
        match sectors.checked_mul(sector_size) {
            Some(size @ 1..) => Ok(Self { size, chunk_size, sector_size, set, is_short }),
            _ => {
                let line = format!("EWF volume section has a disk of {sectors} sectors");
                Err(BlockError::corrupt(line, at, 0x10))
            }
        }
    }

    /// The number of chunks that the disk needs.
    pub(super) fn chunks(&self) -> u64 {
        self.size.div_ceil(self.chunk_size)
    }

    /// Whether a file with the shape `other` can be of the same image.
    pub(super) fn goes_with(&self, other: &Self) -> bool {
        let is_same_set = self.set == other.set || self.set == [0; 16] || other.set == [0; 16];
        let is_same_chunk =
            self.chunk_size == other.chunk_size && self.sector_size == other.sector_size;
        is_same_set && is_same_chunk && self.size == other.size
    }
}

/// The `length` bytes at `at` of a section of `size` bytes, the last four of which are their checksum.
fn checked(
    file: &dyn BlockDevice,
    at: u64,
    length: u64,
    size: u64,
    name: &str,
) -> BlockResult<Vec<u8>> {
    if size < length {
        return Err(BlockError::corrupt(format!("{name} is cut short"), at, 0));
    }
    let mut bytes = vec![0; bytes_to_index(length)?];
    file.read_at(at, &mut bytes)?;
    match bytes.split_last_chunk::<4>() {
        Some((rest, sum)) if u32::from_le_bytes(*sum) == Adler32::of(rest) => Ok(bytes),
        _ => Err(BlockError::corrupt(format!("{name} has a bad checksum"), at, 0)),
    }
}

/// The hash of `algorithm` with these bytes; `None` if all are zeros, as where there is none.
fn hash(algorithm: &'static str, bytes: &[u8]) -> Option<RecordedHash> {
    let is_there = bytes.iter().any(|byte| *byte != 0);
    is_there.then(|| RecordedHash { algorithm, value: HEXLOWER.encode(bytes) })
}

/// The MD5 in the `hash` section `section`.
///
/// # Errors
/// `Corrupt` if it is damaged.
pub(super) fn read_hash(
    file: &dyn BlockDevice,
    section: &Section,
) -> BlockResult<Vec<RecordedHash>> {
    let size = section.end.saturating_sub(section.start);
    let bytes = checked(file, section.start, 36, size, "EWF hash section")?;
    Ok(hash("md5", bytes.get(..16).unwrap_or_default()).into_iter().collect())
}

/// The hashes in the `digest` section `section`.
///
/// # Errors
/// `Corrupt` if it is damaged.
pub(super) fn read_digest(
    file: &dyn BlockDevice,
    section: &Section,
) -> BlockResult<Vec<RecordedHash>> {
    let size = section.end.saturating_sub(section.start);
    let bytes = checked(file, section.start, 80, size, "EWF digest section")?;
    let md5 = hash("md5", bytes.get(..16).unwrap_or_default());
    let sha1 = hash("sha1", bytes.get(16..36).unwrap_or_default());
    Ok(md5.into_iter().chain(sha1).collect())
}

/// Sectors that could not be read when the image was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct ReadErrors {
    pub(super) runs: u64,
    pub(super) sectors: u64,
    pub(super) first: u64,
}

/// The list of read errors in the `error2` section `section`.
///
/// # Errors
/// `Corrupt` if it is damaged, or too long.
pub(super) fn read_errors(file: &dyn BlockDevice, section: &Section) -> BlockResult<ReadErrors> {
    let (at, name) = (section.start, "EWF error2 section");
    let size = section.end.saturating_sub(at);
    let header = checked(file, at, 520, size, name)?;
    let runs = u64::from(ByteReader::new("EWF error2 section", &header, at).u32_le()?);
    if runs > MAX_ERRORS {
        return Err(BlockError::corrupt(format!("{name} has {runs} entries"), at, 0));
    }
    let start = at.saturating_add(520);
    let length = runs.saturating_mul(8).saturating_add(4);
    let bytes = checked(file, start, length, size.saturating_sub(520), name)?;
    let mut reader = ByteReader::new("EWF error2 section", &bytes, start);
    let mut errors = ReadErrors { runs, sectors: 0, first: u64::MAX };
    for _ in 0..runs {
        errors.first = errors.first.min(reader.u32_le()?.into());
        errors.sectors = errors.sectors.saturating_add(reader.u32_le()?.into());
    }
    Ok(errors)
}
