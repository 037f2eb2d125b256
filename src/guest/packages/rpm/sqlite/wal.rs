//! The write-ahead log of a database: pages that are newer than those of the file.
//!
//! Specification: "Database File Format", 4. Big-endian.
//!
//! | offset | size | field       | rule                                                   |
//! |--------|------|-------------|--------------------------------------------------------|
//! | 0x00   | 4    | `magic`     | 0x377F0682, or ..83: checksums of big-endian numbers   |
//! | 0x04   | 4    | `version`   | 3007000                                                |
//! | 0x08   | 4    | `page_size` | a power of two from 512 to 65536                       |
//! | 0x10   | 8    | `salt`      | that of every frame that counts                        |
//! | 0x18   | 8    | `checksum`  | of the 24 bytes before it                              |
//! | 0x20   |      | the frames  | a header of 24 bytes, and a page                       |
//!
//! A frame has the number of its page, the pages of the database if it is the last of a transaction, the
//! salt, and the checksum of all up to there. What follows the last such frame that is right is not part
//! of the database.

use std::collections::HashMap;
use std::sync::Arc;

use volfold_block::ByteReader;
use volfold_fs::{FileData, FsError, FsResult};

use super::super::content::bytes_at;

const MAGIC: u32 = 0x377F_0682;
const VERSION: u32 = 3_007_000;
const HEADER: u64 = 32;
const FRAME_HEADER: u64 = 24;

/// LIMIT: frames of a log. SQLite empties one of 1000 pages.
const MAX_FRAMES: u64 = 4 << 20;

/// The newest pages of the transactions in a log.
pub(super) struct Wal {
    file: Arc<dyn FileData>,
    page_size: u32,
    /// Where the newest of each page is.
    pages: HashMap<u32, u64>,
    damage: Option<String>,
}

/// The checksum of a log up to somewhere.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Checksum {
    is_big_endian: bool,
    sums: [u32; 2],
}

impl Checksum {
    fn add(&mut self, bytes: &[u8]) {
        let [mut first, mut second] = self.sums;
        for pair in bytes.chunks_exact(8) {
            let (Some(one), Some(two)) = (pair.first_chunk::<4>(), pair.last_chunk::<4>()) else {
                continue;
            };
            let number = |bytes: [u8; 4]| match self.is_big_endian {
                true => u32::from_be_bytes(bytes),
                false => u32::from_le_bytes(bytes),
            };
            first = first.wrapping_add(number(*one)).wrapping_add(second);
            second = second.wrapping_add(number(*two)).wrapping_add(first);
        }
        self.sums = [first, second];
    }
}

impl Wal {
    /// Reads which pages `file` has.
    ///
    /// # Errors
    /// `Corrupt` if it is no such log, `Unsupported` if it is of another version, or why it cannot be
    /// read.
    pub(super) fn open(file: Arc<dyn FileData>) -> FsResult<Self> {
        let header = bytes_at(&*file, 0, HEADER)?;
        let mut reader = ByteReader::new("write-ahead log", &header, 0);
        let magic = reader.u32_be()?;
        if magic & !1 != MAGIC {
            return Err(FsError::corrupt("write-ahead log has a wrong signature").at(0));
        }
        let version = reader.u32_be()?;
        if version != VERSION {
            return Err(FsError::unsupported(format!("write-ahead log has the version {version}")));
        }
        let page_size = reader.u32_be()?;
        if !(512..=65_536).contains(&page_size) || !page_size.is_power_of_two() {
            return Err(FsError::corrupt("write-ahead log has an invalid page size").at(8));
        }
        reader.skip(4)?;
        let salt: [u8; 8] = reader.array()?;
        let mut checksum = Checksum { is_big_endian: magic & 1 == 1, sums: [0; 2] };
        checksum.add(header.get(..24).unwrap_or_default());
        if [reader.u32_be()?, reader.u32_be()?] != checksum.sums {
            return Err(FsError::corrupt("write-ahead log has a bad checksum").at(0x18));
        }
        let mut wal = Self { file, page_size, pages: HashMap::new(), damage: None };
        wal.read_frames(salt, checksum)?;
        Ok(wal)
    }

    fn read_frames(&mut self, salt: [u8; 8], mut checksum: Checksum) -> FsResult<()> {
        let frame_size = FRAME_HEADER.saturating_add(u64::from(self.page_size));
        let mut transaction = Vec::new();
        let mut at = HEADER;
        for _ in 0..MAX_FRAMES {
            let end = at.saturating_add(frame_size);
            if end > self.file.size() {
                return Ok(());
            }
            let frame = bytes_at(&*self.file, at, frame_size)?;
            let mut reader = ByteReader::new("frame of the write-ahead log", &frame, at);
            let (page, pages) = (reader.u32_be()?, reader.u32_be()?);
            let own_salt: [u8; 8] = reader.array()?;
            let sums = [reader.u32_be()?, reader.u32_be()?];
            if own_salt != salt {
                // What an earlier use of the log left.
                return Ok(());
            }
            checksum.add(frame.get(..8).unwrap_or_default());
            checksum.add(frame.get(24..).unwrap_or_default());
            if sums != checksum.sums || page == 0 {
                let line =
                    format!("frame of the write-ahead log has a bad checksum (at byte {at})");
                self.damage = Some(format!("{line}: what follows it is not applied"));
                return Ok(());
            }
            transaction.push((page, at.saturating_add(FRAME_HEADER)));
            if pages > 0 {
                self.pages.extend(transaction.drain(..));
            }
            at = end;
        }
        Err(FsError::corrupt("write-ahead log has too many frames"))
    }

    /// What was odd about it.
    pub(super) fn damage(&self) -> Option<String> {
        self.damage.clone()
    }

    /// Whether any page is newer than that of the database.
    pub(super) fn has_pages(&self) -> bool {
        !self.pages.is_empty()
    }

    /// The bytes of a page.
    pub(super) fn page_size(&self) -> u32 {
        self.page_size
    }

    /// The bytes of the file.
    pub(super) fn size(&self) -> u64 {
        self.file.size()
    }

    /// The page `number`, `None` if that of the database is the newest.
    ///
    /// # Errors
    /// Why it cannot be read.
    pub(super) fn page(&self, number: u32) -> FsResult<Option<Vec<u8>>> {
        let Some(offset) = self.pages.get(&number) else { return Ok(None) };
        bytes_at(&*self.file, *offset, u64::from(self.page_size)).map(Some)
    }
}
