//! The header of a volume that has shadow copies, and the catalog of them.
//!
//! Source: "Volume Shadow Snapshot (VSS)" by Joachim Metz, sections 2 and 3. The header lies behind the boot
//! code of NTFS:
//!
//! | offset | size | field          | rule                                                         |
//! |--------|------|----------------|--------------------------------------------------------------|
//! | 0x1E00 | 16   | `identifier`   | 3808876b-c176-4e48-b7ae-04046e6cc752                         |
//! | 0x1E10 | 4    | `version`      | 1, 2                                                         |
//! | 0x1E14 | 4    | `record_type`  | 1                                                            |
//! | 0x1E18 | 8    | `current`      | 0x1E00                                                       |
//! | 0x1E30 | 8    | `catalog`      | where the catalog begins; 0: there is none                   |
//! | 0x1E40 | 16   | `volume`       | GUID of this volume                                          |
//! | 0x1E50 | 16   | `storage`      | GUID of the volume with the stores                           |
//!
//! An entry of the catalog has 128 bytes:
//!
//! | offset | size | copy (type 2)                  | store (type 3)                                |
//! |--------|------|--------------------------------|-----------------------------------------------|
//! | 0x00   | 8    | `type`: 2                      | `type`: 3                                     |
//! | 0x08   | 8    | `size` of the volume           | `table`: where the block list begins          |
//! | 0x10   | 16   | `store`: GUID                  | `store`: GUID                                 |
//! | 0x20   | 8    | `position`: 1 for the oldest   | where the header of the store lies; not used  |
//! | 0x28   | 8    | `flags`                        | where the block ranges begin; not used        |
//! | 0x30   | 8    | `created`: FILETIME            | `bitmap`: where the bitmap begins             |
//! | 0x48   | 8    |                                | `previous`: that of the copy before; 0: none  |
//!
//! Type 1 is an entry that is free, and 0 is one that was never used. Entries of one store need not lie
//! together, nor on one volume: where the storage is another volume, the copies are in the catalog of the
//! volume that they are of, and the stores in that of the storage.

use volfold_block::{BlockDevice, BlockError, BlockResult, ByteReader};

use super::block::{Chain, IDENTIFIER, RecordType, VERSIONS};
use crate::partition::Guid;

/// Where the header lies.
const HEADER_AT: u64 = 0x1E00;

/// Bytes of an entry.
const ENTRY: usize = 128;

/// LIMIT: entries of a kind in one catalog. Windows has at most 512 copies on a volume.
const MAX_ENTRIES: usize = 512;

/// LIMIT: blocks of one catalog; Windows makes 4.
const MAX_BLOCKS: usize = 256;

/// The header of a volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct VolumeHeader {
    /// Where the catalog begins; 0: there is none.
    pub(super) catalog: u64,
    /// The volume with the stores.
    pub(super) storage: Guid,
}

impl VolumeHeader {
    /// The header of `device`, if there is one.
    ///
    /// # Errors
    /// If it cannot be read, or says something else than headers do.
    pub(super) fn read(device: &dyn BlockDevice) -> BlockResult<Option<Self>> {
        let mut bytes = [0; 96];
        if device.size() < HEADER_AT.saturating_add(512) {
            return Ok(None);
        }
        device.read_at(HEADER_AT, &mut bytes)?;
        let mut reader = ByteReader::new("header of the shadow copies", &bytes, HEADER_AT);
        if reader.array::<16>()? != IDENTIFIER {
            return Ok(None);
        }
        let (version, record, current) = (reader.u32_le()?, reader.u32_le()?, reader.u64_le()?);
        if record != 1 || current != HEADER_AT {
            return Err(reader.corrupt("is none"));
        }
        if !VERSIONS.contains(&version) {
            let line = format!("header of the shadow copies has version {version}");
            return Err(BlockError::unsupported(line).at(HEADER_AT));
        }
        reader.skip(16)?;
        let catalog = reader.u64_le()?;
        reader.skip(8 + 16)?;
        Ok(Some(Self { catalog, storage: Guid(reader.array()?) }))
    }
}

/// A shadow copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct CopyEntry {
    /// Its store.
    pub(super) store: Guid,
    /// The size of the volume at that time.
    pub(super) size: u64,
    /// Its place among the copies of the volume: a newer one has the next number.
    pub(super) position: u64,
    pub(super) flags: u64,
    /// FILETIME.
    pub(super) created: u64,
}

impl CopyEntry {
    /// Whether Windows shows the copy no more; newer ones may still need its place.
    pub(super) fn is_deleted(&self) -> bool {
        self.flags & 0x100 != 0
    }
}

/// Where the lists of a store lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct StoreEntry {
    pub(super) store: Guid,
    pub(super) table: u64,
    pub(super) bitmap: u64,
    pub(super) previous: u64,
}

/// All entries of a catalog.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Catalog {
    pub(super) copies: Vec<CopyEntry>,
    pub(super) stores: Vec<StoreEntry>,
}

impl Catalog {
    /// The catalog that begins at `first` of `device`; 0: it is empty.
    ///
    /// # Errors
    /// If a block of it cannot be read: what is in the rest is not known then.
    pub(super) fn read(device: &dyn BlockDevice, first: u64) -> BlockResult<Self> {
        let mut chain = Chain::new(device, RecordType::Catalog, first);
        let mut catalog = Self::default();
        for _ in 0..MAX_BLOCKS {
            let Some((at, entries)) = chain.next()? else { return Ok(catalog) };
            for (index, entry) in entries.chunks_exact(ENTRY).enumerate() {
                let at = at.saturating_add(volfold_block::byte_count(index.saturating_mul(ENTRY)));
                catalog.add(&mut ByteReader::new("entry of the catalog", entry, at))?;
            }
        }
        let line = format!("catalog of the shadow copies has more than {MAX_BLOCKS} blocks");
        Err(BlockError::unsupported(line))
    }

    fn add(&mut self, reader: &mut ByteReader<'_>) -> BlockResult<()> {
        match reader.u64_le()? & 0xFFFF_FFFF {
            0 | 1 => return Ok(()),
            2 => {
                let (size, store) = (reader.u64_le()?, Guid(reader.array()?));
                let (position, flags) = (reader.u64_le()?, reader.u64_le()?);
                let created = reader.u64_le()?;
                if self.copies.iter().any(|copy| copy.store == store) {
                    return Err(reader.corrupt("tells of a shadow copy twice"));
                }
                self.copies.push(CopyEntry { store, size, position, flags, created });
            }
            3 => {
                let (table, store) = (reader.u64_le()?, Guid(reader.array()?));
                reader.skip(16)?;
                let bitmap = reader.u64_le()?;
                reader.skip(16)?;
                let previous = reader.u64_le()?;
                if self.stores.iter().any(|known| known.store == store) {
                    return Err(reader.corrupt("tells of a store twice"));
                }
                self.stores.push(StoreEntry { store, table, bitmap, previous });
            }
            other => {
                let line = format!("is of the unknown kind {other}");
                return Err(reader.corrupt(&line));
            }
        }
        if self.copies.len().max(self.stores.len()) > MAX_ENTRIES {
            let line = format!("catalog has more than {MAX_ENTRIES} shadow copies");
            return Err(BlockError::unsupported(line));
        }
        Ok(())
    }
}
