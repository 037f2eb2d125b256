//! The snapshots that an image keeps in its own file.
//!
//! Specification: QEMU, docs/interop/qcow2.txt, "Snapshots". Entries of varying length follow each
//! other, each filled up to 8 bytes. Big-endian.
//!
//! | offset | size | field       | rule                                                      |
//! |--------|------|-------------|-----------------------------------------------------------|
//! | 0x00   | 8    | L1 table    | where it is                                               |
//! | 0x08   | 4    | L1 entries  |                                                           |
//! | 0x0C   | 2    | id size     |                                                           |
//! | 0x0E   | 2    | name size   |                                                           |
//! | 0x10   | 4    | time        | seconds since 1970                                        |
//! | 0x14   | 16   |             | not looked at: nanoseconds, clock and memory of the guest |
//! | 0x24   | 4    | extra size  | bytes of what follows                                     |
//! | 0x28   | 8    |             | not looked at: memory of the guest                        |
//! | 0x30   | 8    | disk size   | if it is there; else that of the disk now                 |
//! |        |      | id, name    | after the extra bytes                                     |

use volfold_block::{
    BlockDevice, BlockError, BlockResult, ByteReader, CachePool, SectorCache, bytes_to_index,
};

use std::sync::Arc;

use super::header::{Header, corrupt, text_of};
use crate::format::InnerSnapshot;

/// LIMIT: snapshots of an image. QEMU's own.
const MAX_SNAPSHOTS: u32 = 65_536;

/// LIMIT: bytes of the table. QEMU writes about 100 for each.
const MAX_TABLE: u64 = 16 << 20;

/// LIMIT: extra bytes of a snapshot. QEMU's own.
const MAX_EXTRA: u64 = 1024;

/// The part of an entry that each has.
const FIXED_BYTES: u64 = 40;

/// One snapshot.
#[derive(Clone, Debug)]
pub(super) struct Snapshot {
    pub(super) shown: InnerSnapshot,
    pub(super) l1_at: u64,
    pub(super) l1_entries: u64,
}

/// Reads the snapshots of the image with `header` in `file`, the oldest first.
///
/// # Errors
/// `Corrupt` if their table contradicts itself or is not in the file.
pub(super) fn read(
    file: &Arc<dyn BlockDevice>,
    header: &Header,
    cache: &Arc<CachePool>,
) -> BlockResult<Vec<Snapshot>> {
    let mut found = Vec::new();
    if header.snapshots == 0 {
        return Ok(found);
    }
    if header.snapshots > MAX_SNAPSHOTS {
        return corrupt(format!("QCOW2 header has {} snapshots", header.snapshots), 0x3C);
    }
    let table = SectorCache::new(cache, Arc::clone(file), 16 << 10);
    let mut at = header.snapshots_at;
    let end = at.saturating_add(MAX_TABLE);
    for _ in 0..header.snapshots {
        let (snapshot, size) = read_one(&table, at, header)?;
        found.push(snapshot);
        at = at.saturating_add(size);
        if at > end {
            return corrupt("table of snapshots is too long", header.snapshots_at);
        }
    }
    Ok(found)
}

/// The bytes of the table at `at`.
fn bytes_at(table: &SectorCache, at: u64, size: u64) -> BlockResult<Vec<u8>> {
    let is_there = at.checked_add(size).is_some_and(|end| end <= table.size());
    if !is_there {
        return corrupt("table of snapshots is not in the file", at);
    }
    let mut bytes = vec![0; bytes_to_index(size)?];
    table.read_at(at, &mut bytes)?;
    Ok(bytes)
}

/// The snapshot whose entry is at `at`, and the size of the entry.
fn read_one(table: &SectorCache, at: u64, header: &Header) -> BlockResult<(Snapshot, u64)> {
    let fixed = bytes_at(table, at, FIXED_BYTES)?;
    let mut reader = ByteReader::new("QCOW2 snapshot", &fixed, at);
    let (l1_at, l1_entries) = (reader.u64_be()?, u64::from(reader.u32_be()?));
    let (id_size, name_size) = (reader.u16_be()?, reader.u16_be()?);
    let time = reader.u32_be()?;
    reader.skip(16)?;
    let extra_size = u64::from(reader.u32_be()?);
    if extra_size > MAX_EXTRA {
        let line = format!("QCOW2 snapshot has {extra_size} extra bytes");
        return Err(BlockError::corrupt(line, at, 0x24));
    }
    let (id_size, name_size) = (usize::from(id_size), usize::from(name_size));
    let names = u64::try_from(id_size.saturating_add(name_size)).unwrap_or(u64::MAX);
    let rest_at = at.saturating_add(FIXED_BYTES);
    let rest = bytes_at(table, rest_at, extra_size.saturating_add(names))?;
    let mut reader = ByteReader::new("QCOW2 snapshot", &rest, rest_at);
    let extra = reader.take(bytes_to_index(extra_size)?)?;
    let (id, name) = (text_of(reader.take(id_size)?), text_of(reader.take(name_size)?));
    let size = extra.get(8..16).and_then(|size| <[u8; 8]>::try_from(size).ok());
    let size = size.map_or(header.size, u64::from_be_bytes);
    let shown = InnerSnapshot { id, name, time: Some(i64::from(time)), size };
    let used = FIXED_BYTES.saturating_add(extra_size).saturating_add(names);
    Ok((Snapshot { shown, l1_at, l1_entries }, used.next_multiple_of(8)))
}
