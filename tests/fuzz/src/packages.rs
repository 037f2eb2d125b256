//! Any bytes as a database of packages.
//!
//! The first byte of an input picks the format, the next 4 are the length of the database, little-endian; what
//! follows it is the write-ahead log.

use std::sync::Arc;

use volfold::fs::{FileData, FsResult};
use volfold::guest::packages::{DatabaseFormat, read_database};

const FORMATS: [DatabaseFormat; 6] = [
    DatabaseFormat::Dpkg,
    DatabaseFormat::Apk,
    DatabaseFormat::Pacman,
    DatabaseFormat::RpmSqlite,
    DatabaseFormat::RpmNdb,
    DatabaseFormat::RpmBerkeley,
];

struct Bytes(Vec<u8>);

impl FileData for Bytes {
    fn size(&self) -> u64 {
        self.0.len() as u64
    }

    fn memory(&self) -> u64 {
        0
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> FsResult<usize> {
        let from = usize::try_from(offset).ok().and_then(|offset| self.0.get(offset..));
        let from = from.unwrap_or_default();
        let count = from.len().min(buf.len());
        buf[..count].copy_from_slice(&from[..count]);
        Ok(count)
    }
}

/// Reads the packages of the database in `data`.
pub fn run(data: &[u8]) {
    let Some(([format, length @ ..], rest)) = data.split_first_chunk::<5>() else { return };
    let format = FORMATS[usize::from(*format) % FORMATS.len()];
    let length = u32::from_le_bytes(*length) as usize;
    let (file, log) = rest.split_at(length.min(rest.len()));
    let [file, log] =
        [file, log].map(|bytes| -> Arc<dyn FileData> { Arc::new(Bytes(bytes.to_vec())) });
    let read = read_database(format, file, Some(log));
    for package in read.packages {
        assert!(!package.name.is_empty() && package.purl.starts_with("pkg:"));
        let is_plain = |byte: u8| byte.is_ascii_graphic();
        assert!(package.purl.bytes().all(is_plain), "{}", package.purl);
    }
}
