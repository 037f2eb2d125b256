//! Blocks: what the catalog, and all lists of a store, are made of.
//!
//! Source: "Volume Shadow Snapshot (VSS)" by Joachim Metz, sections 3.1 and 4.1. Little-endian, 16 KiB each,
//! chained by their places on the volume.
//!
//! | offset | size | field         | rule                                                          |
//! |--------|------|---------------|---------------------------------------------------------------|
//! | 0x00   | 16   | `identifier`  | 3808876b-c176-4e48-b7ae-04046e6cc752                          |
//! | 0x10   | 4    | `version`     | 1, 2                                                          |
//! | 0x14   | 4    | `record_type` | what the block holds                                          |
//! | 0x18   | 8    | `relative`    | where in its file the block lies; not looked at               |
//! | 0x20   | 8    | `current`     | where on the volume the block lies                            |
//! | 0x28   | 8    | `next`        | where on the volume the next block lies; 0: this is the last  |
//! | 0x80   |      |               | what it holds, up to the end                                  |

use std::collections::HashSet;

use volfold_block::{BlockDevice, BlockError, BlockResult, ByteReader};

/// The GUID at the start of every structure, in the order of the disk.
pub(super) const IDENTIFIER: [u8; 16] = [
    0x6B, 0x87, 0x08, 0x38, 0x76, 0xC1, 0x48, 0x4E, 0xB7, 0xAE, 0x04, 0x04, 0x6E, 0x6C, 0xC7, 0x52,
];

/// Bytes of a block: of the lists, and of the data that is kept.
pub(super) const BLOCK: u64 = 16 << 10;

/// Bytes before what a block of a list holds.
pub(super) const HEADER: usize = 128;

/// The versions that Windows Vista to 11 write.
pub(super) const VERSIONS: std::ops::RangeInclusive<u32> = 1..=2;

/// What a block of a list holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RecordType {
    /// Entries of the catalog.
    Catalog,
    /// Descriptors of blocks.
    Table,
    /// Bits of a bitmap.
    Bitmap,
}

impl RecordType {
    fn number(self) -> u32 {
        match self {
            Self::Catalog => 2,
            Self::Table => 3,
            Self::Bitmap => 6,
        }
    }

    fn title(self) -> &'static str {
        match self {
            Self::Catalog => "catalog of the shadow copies",
            Self::Table => "block list of a shadow copy",
            Self::Bitmap => "bitmap of a shadow copy",
        }
    }
}

/// The blocks of one list, in their order.
pub(super) struct Chain<'a> {
    device: &'a dyn BlockDevice,
    record: RecordType,
    /// Where the next block lies; 0: there is none.
    next: u64,
    /// Where blocks were. LIMIT: no block is read twice, so what is read has an end.
    seen: HashSet<u64>,
    bytes: Vec<u8>,
}

impl<'a> Chain<'a> {
    /// The list of `record` on `device` whose first block lies at `first`; 0: it is empty.
    pub(super) fn new(device: &'a dyn BlockDevice, record: RecordType, first: u64) -> Self {
        Self { device, record, next: first, seen: HashSet::new(), bytes: Vec::new() }
    }

    /// What the next block holds, and where that lies on the volume; `None` behind the last one.
    ///
    /// # Errors
    /// If the block cannot be read or is none of this list: what follows is not known then.
    pub(super) fn next(&mut self) -> BlockResult<Option<(u64, &[u8])>> {
        if self.next == 0 {
            return Ok(None);
        }
        let (at, title) = (self.next, self.record.title());
        if !self.seen.insert(at) {
            return Err(BlockError::corrupt(format!("{title} leads back to itself"), at, 0));
        }
        self.bytes.resize(usize::try_from(BLOCK).unwrap_or(0), 0);
        self.device.read_at(at, &mut self.bytes).map_err(|error| error.within(title))?;
        let mut reader = ByteReader::new(title, &self.bytes, at);
        let identifier = reader.array::<16>()?;
        let (version, record) = (reader.u32_le()?, reader.u32_le()?);
        reader.skip(8)?;
        let (current, next) = (reader.u64_le()?, reader.u64_le()?);
        if identifier != IDENTIFIER || record != self.record.number() || current != at {
            return Err(BlockError::corrupt(format!("no block of the {title} lies here"), at, 0));
        }
        if !VERSIONS.contains(&version) {
            return Err(BlockError::unsupported(format!("{title} has version {version}")).at(at));
        }
        self.next = next;
        let header = u64::try_from(HEADER).unwrap_or(0);
        Ok(self.bytes.get(HEADER..).map(|body| (at.saturating_add(header), body)))
    }
}
