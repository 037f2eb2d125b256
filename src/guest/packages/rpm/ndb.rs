//! `Packages.db`: RPM's own database, with a table of slots and a blob for each package.
//!
//! Source: RPM's `lib/backend/ndb/rpmpkg.c`. Little-endian; blocks of 16 bytes.
//!
//! | offset | size | field        | rule                                                 |
//! |--------|------|--------------|------------------------------------------------------|
//! | 0x00   | 4    | `magic`      | `RpmP`                                               |
//! | 0x04   | 4    | `version`    | 0                                                    |
//! | 0x08   | 4    | `generation` | not looked at                                        |
//! | 0x0C   | 4    | `slot_pages` | pages of 4096 bytes with slots, this header included |
//! | 0x20   | 16 n | the slots    | `Slot`, package (0: free), first block, blocks       |
//!
//! A blob is `BlbS`, the package, a generation and the size; the header of the package; zeros up to the
//! last 12 bytes of its blocks: an Adler-32 of all before it, the size again, and `BlbE`.

use volfold_block::{ByteReader, bytes_to_index};
use volfold_fs::{FileData, FsError, FsResult};

use super::content::{Budget, bytes_at};
use super::record;
use crate::guest::packages::collector::Collector;
use crate::guest::packages::lines::check_size;

const PAGE: u64 = 4096;
const BLOCK: u64 = 16;
const HEADER: u64 = 32;
const SLOTS_PER_PAGE: u64 = 256;
/// Slots that the header takes the place of.
const FIRST_SLOT: u64 = 2;
const BLOB_HEAD: u64 = 16;
const BLOB_TAIL: u64 = 12;

/// LIMIT: pages of slots, for a million packages.
const MAX_SLOT_PAGES: u32 = 4096;

/// Where a package is.
struct Slot {
    package: u32,
    block: u32,
    blocks: u32,
}

/// Reads the packages of the database `file`.
///
/// # Errors
/// If it is no such database, or why its slots cannot be read.
pub(in crate::guest::packages) fn read(file: &dyn FileData, into: &mut Collector) -> FsResult<()> {
    check_size(file)?;
    let header = bytes_at(file, 0, HEADER)?;
    let mut reader = ByteReader::new("header of the database", &header, 0);
    if reader.take(4)? != b"RpmP" {
        return Err(FsError::corrupt("database of RPM has a wrong signature").at(0));
    }
    let version = reader.u32_le()?;
    if version != 0 {
        return Err(FsError::unsupported(format!("database of RPM has the version {version}")));
    }
    reader.skip(4)?;
    let pages = reader.u32_le()?;
    if pages == 0 || pages > MAX_SLOT_PAGES {
        return Err(FsError::corrupt("database of RPM has an invalid number of slots").at(12));
    }
    let mut budget = Budget::new(file.size());
    for page in 0..u64::from(pages) {
        let offset = page.saturating_mul(PAGE);
        let slots = bytes_at(file, offset, PAGE)?;
        let skipped = if page == 0 { FIRST_SLOT } else { 0 };
        for index in skipped..SLOTS_PER_PAGE {
            let start = bytes_to_index(index.saturating_mul(BLOCK))?;
            let at = offset.saturating_add(index.saturating_mul(BLOCK));
            let slot = match slot_at(slots.get(start..).unwrap_or_default(), at) {
                Ok(Some(slot)) => slot,
                Ok(None) => continue,
                Err(error) => {
                    into.unreadable(&error);
                    continue;
                }
            };
            match blob(file, &slot, &mut budget) {
                Ok(blob) => {
                    if !record::add(&blob, &format!("of package {}", slot.package), into) {
                        return Ok(());
                    }
                }
                Err(error) => {
                    into.damaged(format!("package {} of the database: {error}", slot.package));
                }
            }
        }
    }
    Ok(())
}

/// The slot at the start of `bytes`, which began at `at`; `None` if it is free.
fn slot_at(bytes: &[u8], at: u64) -> FsResult<Option<Slot>> {
    let mut reader = ByteReader::new("slot of the database", bytes, at);
    if reader.take(4)? != b"Slot" {
        return Err(FsError::corrupt("slot of the database has a wrong signature").at(at));
    }
    let slot =
        Slot { package: reader.u32_le()?, block: reader.u32_le()?, blocks: reader.u32_le()? };
    Ok(Some(slot).filter(|slot| slot.package != 0))
}

/// The header in the blob of `slot`.
fn blob(file: &dyn FileData, slot: &Slot, budget: &mut Budget) -> FsResult<Vec<u8>> {
    let at = u64::from(slot.block).saturating_mul(BLOCK);
    let length = u64::from(slot.blocks).saturating_mul(BLOCK);
    budget.take(length)?;
    let mut bytes = bytes_at(file, at, length)?;
    let wrong = |what: &str| FsError::corrupt(format!("blob {what}")).at(at);
    let mut head = ByteReader::new("blob", &bytes, at);
    if head.take(4)? != b"BlbS" || head.u32_le()? != slot.package {
        return Err(wrong("has a wrong signature"));
    }
    head.skip(4)?;
    let size = u64::from(head.u32_le()?);
    let blocks = BLOB_HEAD.saturating_add(size).saturating_add(BLOB_TAIL).div_ceil(BLOCK);
    if blocks != u64::from(slot.blocks) {
        return Err(wrong("has another size than its slot"));
    }
    let tail_at = bytes_to_index(length.saturating_sub(BLOB_TAIL))?;
    let (content, tail) = bytes.split_at_checked(tail_at).ok_or_else(|| wrong("is too small"))?;
    let mut tail = ByteReader::new("end of a blob", tail, at);
    let checksum = tail.u32_le()?;
    if u64::from(tail.u32_le()?) != size || tail.take(4)? != b"BlbE" {
        return Err(wrong("has no valid end"));
    }
    if adler32(content) != checksum {
        return Err(wrong("has a bad checksum"));
    }
    bytes.drain(..bytes_to_index(BLOB_HEAD)?);
    bytes.truncate(bytes_to_index(size)?);
    Ok(bytes)
}

/// The checksum of RFC 1950.
fn adler32(bytes: &[u8]) -> u32 {
    const PRIME: u32 = 65_521;
    let (mut low, mut high) = (1_u32, 0_u32);
    // Sums of this many bytes fit in 32 bits.
    for part in bytes.chunks(5552) {
        for byte in part {
            low = low.wrapping_add(u32::from(*byte));
            high = high.wrapping_add(low);
        }
        low %= PRIME;
        high %= PRIME;
    }
    high << 16 | low
}

#[cfg(test)]
mod tests {
    use super::super::header::tests::package;
    use super::*;
    use crate::guest::packages::lines::tests::Bytes;
    use crate::guest::packages::purl::Distribution;

    fn blob_of(number: u32, header: &[u8]) -> Vec<u8> {
        let size = u32::try_from(header.len()).unwrap().to_le_bytes();
        let mut blob = [b"BlbS", &number.to_le_bytes(), &[9, 0, 0, 0], &size, header].concat();
        blob.resize((blob.len() + 12).next_multiple_of(16) - 12, 0);
        let checksum = adler32(&blob).to_le_bytes();
        blob.extend([checksum.as_slice(), &size, b"BlbE"].concat());
        blob
    }

    fn database(names: &[&str]) -> Vec<u8> {
        let mut file = b"RpmP\0\0\0\0\x05\0\0\0\x01\0\0\0".to_vec();
        file.resize(32, 0);
        let mut blobs = Vec::new();
        for (number, name) in (1..).zip(names) {
            let blob = blob_of(number, &package(name));
            let place = [number, u32::try_from((4096 + blobs.len()) / 16).unwrap()];
            let blocks = u32::try_from(blob.len() / 16).unwrap();
            file.extend(b"Slot");
            file.extend([place[0], place[1], blocks].map(u32::to_le_bytes).concat());
            blobs.extend(blob);
        }
        while file.len() < 4096 {
            file.extend([b"Slot".as_slice(), &[0; 12]].concat());
        }
        [file, blobs].concat()
    }

    fn parse(file: &[u8]) -> FsResult<(Vec<String>, Vec<String>)> {
        let mut into = Collector::new(Distribution::default(), &crate::Monitor::default());
        read(&Bytes(file.to_vec()), &mut into)?;
        let (packages, findings) = into.end();
        let names = packages.into_iter().map(|package| package.name).collect();
        Ok((names, findings.into_iter().map(|finding| finding.message).collect()))
    }

    #[test]
    fn the_checksum_is_that_of_zlib() {
        assert_eq!(adler32(b"Wikipedia"), 0x11E6_0398);
        assert_eq!(adler32(&[0xFF; 100_000]), 0x149A_302C);
    }

    #[test]
    fn packages_are_found_by_their_slots() {
        let (names, findings) = parse(&database(&["bash", "zlib"])).unwrap();
        assert_eq!(names, ["bash", "zlib"]);
        assert_eq!(findings, Vec::<String>::new());
    }

    #[test]
    fn no_changed_byte_of_a_used_slot_or_a_blob_is_taken_in_silence() {
        let good = database(&["bash", "zlib"]);
        for at in (32..64).chain(4096..good.len()) {
            let mut file = good.clone();
            file[at] ^= 0x10;
            let (names, findings) = parse(&file).unwrap();
            // The generation in the slots of blobs counts in the checksum alone.
            assert!(names.len() < 2 && !findings.is_empty(), "{at}: {names:?}");
        }
        for length in 0..good.len() {
            let told = parse(&good[..length]);
            assert!(told.is_err() || told.is_ok_and(|(_, told)| !told.is_empty()), "{length}");
        }
    }
}
