//! `Packages`: a hash database of Berkeley DB, whose values are the headers.
//!
//! Source: Berkeley DB's `db_page.h` and `hash.h`, versions 4.2 to 18 (hash versions 7 to 10). Numbers are
//! in the byte order of the machine that wrote it, by which its magic is told.
//!
//! The first page:
//!
//! | offset | size | field         | rule                                               |
//! |--------|------|---------------|----------------------------------------------------|
//! | 0x0C   | 4    | `magic`       | 0x061561                                           |
//! | 0x10   | 4    | `version`     | 7 to 10                                            |
//! | 0x14   | 4    | `page_size`   | a power of two from 512 to 65536                   |
//! | 0x18   | 1    | `encryption`  | 0                                                  |
//! | 0x19   | 1    | `kind`        | 8                                                  |
//! | 0x48   | 4    | `max_bucket`  | the number of the last bucket                      |
//! | 0x60   | 4 n  | `spares`      | what is added to a bucket's number for its page    |
//!
//! Every page:
//!
//! | offset | size | field     | rule                                                   |
//! |--------|------|-----------|--------------------------------------------------------|
//! | 0x08   | 4    | `number`  | its own                                                |
//! | 0x10   | 4    | `next`    | the next page of the bucket or the value, 0 for none   |
//! | 0x14   | 2    | `entries` | of a page of a bucket: twice the pairs                 |
//! | 0x16   | 2    | `end`     | of a page of a value: how many bytes it has            |
//! | 0x19   | 1    | `kind`    | 2 and 13: of a bucket; 7: of a value                   |
//! | 0x1A   | 2 n  | offsets   | where the items are, from the end of the page on       |

use std::collections::HashSet;

use volfold_block::{ByteReader, byte_count, bytes_to_index};
use volfold_fs::{FileData, FsError, FsResult};

use super::content::{Budget, bytes_at};
use super::record;
use crate::guest::packages::collector::Collector;
use crate::guest::packages::lines::check_size;

const MAGIC: u32 = 0x0006_1561;
const HASH_META: u8 = 8;
const HASH_UNSORTED: u8 = 2;
const HASH_SORTED: u8 = 13;
const OVERFLOW: u8 = 7;

/// Bytes of the first page that are looked at.
const META: u64 = 512;
/// Numbers in `spares`.
const SPARES: usize = 32;
/// Bytes of the head of a page.
const PAGE_HEAD: usize = 26;

/// Kinds of items.
const KEY_DATA: u8 = 1;
const OFF_PAGE: u8 = 3;

/// A database.
struct Database<'f> {
    file: &'f dyn FileData,
    is_big_endian: bool,
    page_size: u64,
    max_bucket: u32,
    spares: [u32; SPARES],
}

/// A page, with its head taken apart.
struct Page {
    bytes: Vec<u8>,
    next: u32,
    entries: u16,
    end: u16,
    kind: u8,
}

/// Reads the packages of the database `file`.
///
/// # Errors
/// If it is no such database, or why it cannot be read at all.
pub(in crate::guest::packages) fn read(file: &dyn FileData, into: &mut Collector) -> FsResult<()> {
    check_size(file)?;
    let database = Database::open(file)?;
    let mut budget = Budget::new(file.size());
    // LIMIT: every page of a bucket is read once, so there are no more steps than pages.
    let mut seen = HashSet::new();
    for bucket in 0..=database.max_bucket {
        let mut next = match database.page_of(bucket) {
            Ok(page) => page,
            Err(error) => {
                into.unreadable(&error);
                continue;
            }
        };
        while next != 0 {
            if !seen.insert(next) {
                into.damaged(format!("page {next} is in the buckets of the database twice"));
                break;
            }
            let page = match database.page(next) {
                Ok(page) => page,
                Err(error) => {
                    into.damaged(format!("page {next} of the database: {error}"));
                    break;
                }
            };
            if !matches!(page.kind, HASH_UNSORTED | HASH_SORTED) {
                into.damaged(format!("page {next} of the database is not one of a bucket"));
                break;
            }
            if !database.pairs(next, &page, &mut budget, into) {
                return Ok(());
            }
            next = page.next;
        }
    }
    Ok(())
}

impl<'f> Database<'f> {
    fn open(file: &'f dyn FileData) -> FsResult<Self> {
        let meta = bytes_at(file, 0, META)?;
        let mut reader = ByteReader::new("first page of the database", &meta, 0);
        reader.skip(12)?;
        let magic: [u8; 4] = reader.array()?;
        let is_big_endian = match (u32::from_le_bytes(magic), u32::from_be_bytes(magic)) {
            (MAGIC, _) => false,
            (_, MAGIC) => true,
            _ => {
                let line = "file is not a hash database of Berkeley DB";
                return Err(FsError::corrupt(line).at(12));
            }
        };
        let number = |reader: &mut ByteReader<'_>| -> FsResult<u32> {
            Ok(if is_big_endian { reader.u32_be()? } else { reader.u32_le()? })
        };
        let version = number(&mut reader)?;
        if !(7..=10).contains(&version) {
            let line = format!("hash database of Berkeley DB has the version {version}");
            return Err(FsError::unsupported(line).at(16));
        }
        let page_size = number(&mut reader)?;
        if !(512..=65_536).contains(&page_size) || !page_size.is_power_of_two() {
            return Err(FsError::corrupt("database has an invalid page size").at(20));
        }
        if reader.u8()? != 0 {
            return Err(FsError::unsupported("database is encrypted").at(24));
        }
        if reader.u8()? != HASH_META {
            return Err(FsError::corrupt("first page of the database has a wrong type").at(25));
        }
        reader.skip(0x48_usize.saturating_sub(0x1A))?;
        let max_bucket = number(&mut reader)?;
        reader.skip(0x60_usize.saturating_sub(0x4C))?;
        let mut spares = [0; SPARES];
        for spare in &mut spares {
            *spare = number(&mut reader)?;
        }
        let page_size = u64::from(page_size);
        let pages = file.size().checked_div(page_size).unwrap_or(0);
        if u64::from(max_bucket) >= pages {
            return Err(FsError::corrupt("database has more buckets than pages").at(0x48));
        }
        Ok(Self { file, is_big_endian, page_size, max_bucket, spares })
    }

    fn u32(&self, reader: &mut ByteReader<'_>) -> FsResult<u32> {
        Ok(if self.is_big_endian { reader.u32_be()? } else { reader.u32_le()? })
    }

    fn u16(&self, reader: &mut ByteReader<'_>) -> FsResult<u16> {
        Ok(if self.is_big_endian { reader.u16_be()? } else { reader.u16_le()? })
    }

    /// The first page of `bucket`: buckets come in groups that double, each group in pages that follow
    /// each other.
    fn page_of(&self, bucket: u32) -> FsResult<u32> {
        // The power of two that is no less than the number of buckets up to this one.
        let bits = u32::BITS.saturating_sub(bucket.leading_zeros());
        let spare = self.spares.get(bytes_to_index(u64::from(bits))?);
        let page = spare.and_then(|spare| bucket.checked_add(*spare)).filter(|page| *page != 0);
        page.ok_or_else(|| FsError::corrupt(format!("bucket {bucket} of the database has no page")))
    }

    fn page(&self, number: u32) -> FsResult<Page> {
        let at = u64::from(number).saturating_mul(self.page_size);
        let bytes = bytes_at(self.file, at, self.page_size)?;
        let mut reader = ByteReader::new("page of the database", &bytes, at);
        reader.skip(8)?;
        let own = self.u32(&mut reader)?;
        reader.skip(4)?;
        let next = self.u32(&mut reader)?;
        let (entries, end) = (self.u16(&mut reader)?, self.u16(&mut reader)?);
        reader.skip(1)?;
        let kind = reader.u8()?;
        if own != number {
            return Err(FsError::corrupt("page of the database has another number").at(at));
        }
        Ok(Page { bytes, next, entries, end, kind })
    }

    /// Adds the packages of a page; says whether there may be more.
    fn pairs(&self, number: u32, page: &Page, budget: &mut Budget, into: &mut Collector) -> bool {
        if page.entries & 1 != 0 {
            into.damaged(format!("page {number} of the database has a key without a value"));
        }
        for pair in 0..page.entries >> 1 {
            let key = pair << 1;
            let package = self.item(page, key).and_then(|item| match item.split_first() {
                Some((&KEY_DATA, key)) => self.u32(&mut ByteReader::new("key", key, 0)),
                _ => Err(FsError::corrupt("key is not a number")),
            });
            let package = match package {
                // The number of the next package.
                Ok(0) => continue,
                Ok(package) => package,
                Err(error) => {
                    into.damaged(format!("pair {pair} of page {number}: {error}"));
                    continue;
                }
            };
            let value = self.item(page, key | 1).and_then(|item| self.value(item, budget));
            match value {
                Ok(blob) => {
                    if !record::add(&blob, &format!("of package {package}"), into) {
                        return false;
                    }
                }
                Err(error) => into.damaged(format!("package {package} of the database: {error}")),
            }
        }
        true
    }

    /// The item `index` of a page: its kind, and what it has. Items lie from the end of the page on, each
    /// up to the one before it.
    fn item<'p>(&self, page: &'p Page, index: u16) -> FsResult<&'p [u8]> {
        let offset_of = |index: u16| -> FsResult<usize> {
            let at = PAGE_HEAD.saturating_add(usize::from(index).saturating_mul(2));
            let offset = page.bytes.get(at..).unwrap_or_default();
            Ok(usize::from(self.u16(&mut ByteReader::new("page of a bucket", offset, 0))?))
        };
        let start = offset_of(index)?;
        let end = match index.checked_sub(1) {
            Some(before) => offset_of(before)?,
            None => page.bytes.len(),
        };
        let item = page.bytes.get(start..end).filter(|item| !item.is_empty());
        item.ok_or_else(|| FsError::corrupt("item lies outside of its page"))
    }

    /// The value of an item.
    fn value(&self, item: &[u8], budget: &mut Budget) -> FsResult<Vec<u8>> {
        let mut reader = ByteReader::new("item of the database", item, 0);
        match reader.u8()? {
            KEY_DATA => {
                budget.take(byte_count(reader.remaining()))?;
                Ok(reader.take(reader.remaining())?.to_vec())
            }
            OFF_PAGE => {
                reader.skip(3)?;
                let (page, size) = (self.u32(&mut reader)?, self.u32(&mut reader)?);
                self.overflow(page, u64::from(size), budget)
            }
            kind => Err(FsError::unsupported(format!("item has the kind {kind}"))),
        }
    }

    /// The value of `size` bytes that begins on the page `next`.
    fn overflow(&self, mut next: u32, size: u64, budget: &mut Budget) -> FsResult<Vec<u8>> {
        budget.take(size)?;
        let mut value = Vec::with_capacity(bytes_to_index(size)?);
        // Every page adds some bytes, so the chain ends.
        while next != 0 {
            let page = self.page(next)?;
            if page.kind != OVERFLOW || page.end == 0 {
                return Err(FsError::corrupt(format!("page {next} has no part of a value")));
            }
            let part = page.bytes.get(PAGE_HEAD..).unwrap_or_default();
            let part = part.get(..usize::from(page.end));
            let part = part.ok_or_else(|| {
                FsError::corrupt(format!("page {next} has more bytes than it is large"))
            })?;
            if byte_count(value.len()).saturating_add(byte_count(part.len())) > size {
                return Err(FsError::corrupt("value is longer than its size"));
            }
            value.extend(part);
            next = page.next;
        }
        if byte_count(value.len()) != size {
            return Err(FsError::corrupt("value is cut short"));
        }
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use super::super::header::tests::package;
    use super::*;
    use crate::guest::packages::lines::tests::Bytes;
    use crate::guest::packages::purl::Distribution;

    const PAGE: usize = 512;

    /// Writes numbers in one byte order.
    #[derive(Clone, Copy)]
    struct Order {
        is_big_endian: bool,
    }

    impl Order {
        fn u32(self, number: u32) -> [u8; 4] {
            if self.is_big_endian { number.to_be_bytes() } else { number.to_le_bytes() }
        }

        fn u16(self, number: usize) -> [u8; 2] {
            let number = u16::try_from(number).unwrap();
            if self.is_big_endian { number.to_be_bytes() } else { number.to_le_bytes() }
        }

        fn head(self, number: u32, next: u32, sizes: [usize; 2], kind: u8) -> Vec<u8> {
            let mut page = vec![0; 8];
            page.extend([self.u32(number), [0; 4], self.u32(next)].concat());
            page.extend([self.u16(sizes[0]), self.u16(sizes[1])].concat());
            page.extend([0, kind]);
            page
        }

        fn bucket(self, number: u32, next: u32, items: &[Vec<u8>]) -> Vec<u8> {
            let mut page = self.head(number, next, [items.len(), 0], HASH_SORTED);
            page.resize(PAGE, 0);
            let mut end = PAGE;
            for (index, item) in items.iter().enumerate() {
                let at = PAGE_HEAD + index * 2;
                page[end - item.len()..end].copy_from_slice(item);
                end -= item.len();
                page[at..at + 2].copy_from_slice(&self.u16(end));
            }
            page
        }

        fn key(self, number: u32) -> Vec<u8> {
            [vec![KEY_DATA], self.u32(number).to_vec()].concat()
        }

        /// Two buckets: the first goes on in a second page; one value is on pages of its own.
        fn database(self) -> Vec<u8> {
            let mut meta = vec![0; PAGE];
            meta[12..16].copy_from_slice(&self.u32(MAGIC));
            meta[16..20].copy_from_slice(&self.u32(9));
            meta[20..24].copy_from_slice(&self.u32(512));
            meta[25] = HASH_META;
            meta[72..76].copy_from_slice(&self.u32(1));
            meta[96..100].copy_from_slice(&self.u32(1));
            meta[100..104].copy_from_slice(&self.u32(1));
            let data = |name| [vec![KEY_DATA], package(name)].concat();
            let counter = [vec![KEY_DATA], self.u32(4).to_vec()].concat();
            let long = [package("long"), vec![0; 600]].concat();
            let size = u32::try_from(long.len()).unwrap();
            let off = [&[OFF_PAGE, 0, 0, 0][..], &self.u32(4), &self.u32(size)].concat();
            let overflow = |number, next, part: &[u8]| {
                let mut page = self.head(number, next, [1, part.len()], OVERFLOW);
                page.extend(part);
                page.resize(PAGE, 0);
                page
            };
            let (one, two) = long.split_at(PAGE - PAGE_HEAD);
            [
                meta,
                self.bucket(1, 3, &[self.key(0), counter, self.key(1), data("bash")]),
                self.bucket(2, 0, &[self.key(2), off]),
                self.bucket(3, 0, &[self.key(3), data("zlib")]),
                overflow(4, 5, one),
                overflow(5, 0, two),
            ]
            .concat()
        }
    }

    fn parse(file: &[u8]) -> FsResult<(Vec<String>, Vec<String>)> {
        let mut into = Collector::new(Distribution::default(), &crate::Monitor::default());
        read(&Bytes(file.to_vec()), &mut into)?;
        let (packages, findings) = into.end();
        let names = packages.into_iter().map(|package| package.name).collect();
        Ok((names, findings.into_iter().map(|finding| finding.message).collect()))
    }

    #[test]
    fn packages_are_found_in_both_byte_orders() {
        for is_big_endian in [false, true] {
            let (names, findings) = parse(&Order { is_big_endian }.database()).unwrap();
            assert_eq!(names, ["bash", "long", "zlib"]);
            assert_eq!(findings, Vec::<String>::new());
        }
    }

    #[test]
    fn damage_is_told_and_loses_no_other_package() {
        let good = Order { is_big_endian: false }.database();
        let bent = |at: usize, value: u8| {
            let mut file = good.clone();
            file[at] = value;
            parse(&file).unwrap()
        };
        let (names, findings) = bent(5 * PAGE + 25, 0);
        assert_eq!(names, ["bash", "zlib"]);
        assert_eq!(findings, ["package 2 of the database: page 5 has no part of a value"]);
        let (names, findings) = bent(5 * PAGE + 16, 4);
        assert_eq!(names, ["bash", "zlib"]);
        assert_eq!(findings, ["package 2 of the database: value is longer than its size"]);
        let (names, findings) = bent(3 * PAGE + 16, 1);
        assert_eq!(names.len(), 3);
        assert_eq!(findings, ["page 1 is in the buckets of the database twice"]);
        let (names, findings) = bent(2 * PAGE + 8, 7);
        assert_eq!(names, ["bash", "zlib"]);
        assert_eq!(findings.len(), 1);
    }

    #[test]
    fn no_cut_and_no_changed_byte_breaks_it() {
        let good = Order { is_big_endian: true }.database();
        for length in 0..good.len() {
            let told = parse(&good[..length]);
            assert!(told.is_err() || told.is_ok_and(|(_, told)| !told.is_empty()), "{length}");
        }
        for at in 0..good.len() {
            for value in [0, 0x7F, 0xFF] {
                let mut file = good.clone();
                file[at] = value;
                let _ = parse(&file);
            }
        }
    }
}
