//! The pages of a database, the newest of each.
//!
//! Specification: "Database File Format", 1.3. Big-endian; page 1 begins with the header.
//!
//! | offset | size | field           | rule                                               |
//! |--------|------|-----------------|----------------------------------------------------|
//! | 0x00   | 16   | `magic`         | `SQLite format 3`, zero                            |
//! | 0x10   | 2    | `page_size`     | a power of two from 512; 1 stands for 65536        |
//! | 0x13   | 1    | `read_version`  | 1 or 2                                             |
//! | 0x14   | 1    | `reserved`      | bytes at the end of a page; 480 at least are left  |
//! | 0x38   | 4    | `text_encoding` | 1: UTF-8                                           |

use std::sync::Arc;

use volfold_block::{ByteReader, bytes_to_index};
use volfold_fs::{FileData, FsError, FsResult};

use super::super::content::bytes_at;
use super::wal::Wal;

/// Bytes of the header.
const HEADER: u64 = 100;

/// Bytes of a page that are used, at least.
const MIN_USABLE: u32 = 480;

/// The pages of a database.
pub(super) struct Pages {
    file: Arc<dyn FileData>,
    wal: Option<Wal>,
    page_size: u32,
    usable: u32,
    damage: Option<String>,
}

impl Pages {
    /// Opens the database `file` with the write-ahead log `log`.
    ///
    /// # Errors
    /// `Corrupt` if it is none, `Unsupported` if it is of another version, or why it cannot be read.
    pub(super) fn open(file: Arc<dyn FileData>, log: Option<Arc<dyn FileData>>) -> FsResult<Self> {
        let (mut wal, mut damage) = (None, None);
        match log.filter(|log| log.size() > 0).map(Wal::open) {
            Some(Ok(found)) => {
                damage = found.damage();
                wal = Some(found).filter(|wal| wal.has_pages());
            }
            Some(Err(error)) => {
                damage = Some(format!("write-ahead log is not applied: {error}"));
            }
            None => {}
        }
        let first = match &wal {
            Some(wal) => wal.page(1)?,
            None => None,
        };
        let first = match first {
            Some(page) => page,
            None => bytes_at(&*file, 0, HEADER)?,
        };
        let (page_size, usable) = parse_header(&first)?;
        if wal.as_ref().is_some_and(|wal| wal.page_size() != page_size) {
            let line = "write-ahead log has pages of another size than its database";
            return Err(FsError::corrupt(line));
        }
        Ok(Self { file, wal, page_size, usable, damage })
    }

    /// What was odd about the log.
    pub(super) fn damage(&self) -> Option<&str> {
        self.damage.as_deref()
    }

    /// The bytes of a page that are used.
    pub(super) fn usable(&self) -> u32 {
        self.usable
    }

    /// The bytes of all files.
    pub(super) fn size(&self) -> u64 {
        let log = self.wal.as_ref().map_or(0, Wal::size);
        self.file.size().saturating_add(log)
    }

    /// The page `number`, counted from 1: its usable bytes.
    ///
    /// # Errors
    /// `Corrupt` if there is no such page, or why it cannot be read.
    pub(super) fn page(&self, number: u32) -> FsResult<Vec<u8>> {
        let in_log = match &self.wal {
            Some(wal) => wal.page(number)?,
            None => None,
        };
        let mut page = match in_log {
            Some(page) => page,
            None => {
                let index = number.checked_sub(1).ok_or_else(|| {
                    FsError::corrupt("page 0 of the database is named, which there is not")
                })?;
                // Both are below 2^32.
                let offset = u64::from(index).saturating_mul(u64::from(self.page_size));
                bytes_at(&*self.file, offset, u64::from(self.page_size))?
            }
        };
        page.truncate(bytes_to_index(u64::from(self.usable))?);
        Ok(page)
    }
}

/// The size of a page, and how much of it is used.
fn parse_header(bytes: &[u8]) -> FsResult<(u32, u32)> {
    let mut reader = ByteReader::new("header of the database", bytes, 0);
    if reader.take(16)? != b"SQLite format 3\0" {
        return Err(FsError::corrupt("file is not an SQLite database").at(0));
    }
    let page_size = match reader.u16_be()? {
        1 => 65_536,
        size => u32::from(size),
    };
    let (_write, read, reserved) = (reader.u8()?, reader.u8()?, reader.u8()?);
    if page_size < 512 || !page_size.is_power_of_two() {
        return Err(FsError::corrupt("database has an invalid page size").at(0x10));
    }
    if !(1..=2).contains(&read) {
        let line = format!("database has the version {read} of the format");
        return Err(FsError::unsupported(line).at(0x13));
    }
    let usable = page_size.saturating_sub(u32::from(reserved));
    if usable < MIN_USABLE {
        return Err(FsError::corrupt("database has too small pages").at(0x14));
    }
    reader.skip(0x38_usize.saturating_sub(0x15))?;
    // 0 is that of a database without any table.
    if reader.u32_be()? > 1 {
        return Err(FsError::unsupported("text of the database is not UTF-8").at(0x38));
    }
    Ok((page_size, usable))
}
