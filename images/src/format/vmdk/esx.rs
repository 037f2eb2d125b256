//! The sparse extents of ESX, which hold what was written since a snapshot.
//!
//! Specification: VMware Virtual Disk Format 5.0, "ESXi Host Sparse Extents", for `VMFSSPARSE`. None for
//! `SESPARSE` (space-efficient, disks of more than 2 TiB, all of VMFS 6); QEMU reads both. Little-endian;
//! sizes and offsets are in sectors. A grain directory names grain tables of 4096 entries.
//!
//! | `VMFSSPARSE`, offset | size | field             | rule                                      |
//! |----------------------|------|-------------------|-------------------------------------------|
//! | 0x00                 | 4    | `magicNumber`     | `COWD`                                    |
//! | 0x04                 | 4    | `version`         | 1                                         |
//! | 0x08                 | 4    | `flags`           | not looked at                             |
//! | 0x0C                 | 4    | `numSectors`      | size of the extent                        |
//! | 0x10                 | 4    | `grainSize`       | power of two, up to 2048                  |
//! | 0x14                 | 4    | `gdOffset`        | directory: 32 bits, a sector each         |
//! | 0x18                 | 4    | `numGDEntries`    | enough for the size                       |
//! | 0x1C                 | 4    | `freeSector`      | not looked at                             |
//!
//! An entry of its tables is the sector of a grain; 0: the parent has it.
//!
//! | `SESPARSE`, offset | size | field                | rule                                     |
//! |--------------------|------|----------------------|------------------------------------------|
//! | 0x00               | 8    | magic                | 0xCAFEBABE                               |
//! | 0x08               | 8    | version              | 0x2_00000001                             |
//! | 0x10               | 8    | capacity             | size of the extent                       |
//! | 0x18               | 8    | grain size           | 8                                        |
//! | 0x20               | 8    | grain table size     | 64                                       |
//! | 0x28               | 8    | flags                | 0                                        |
//! | 0x50               | 8    | volatile header      | where: magic 0xCAFECAFE, and at 0x18     |
//! |                    |      |                      | whether the journal has to be replayed   |
//! | 0x80, 0x88         | 8, 8 | grain directory      | where, and its size                      |
//! | 0x90, 0x98         | 8, 8 | grain tables         | where, and their size                    |
//! | 0xC0, 0xC8         | 8, 8 | grains               | where, and their size                    |
//!
//! An entry of its directory is 0, or 1 in the highest four bits and the number of the table in the
//! lowest 32. An entry of a table has its kind in the highest four bits: 0 the parent has the grain, 1
//! the guest gave it back, which reads as zeros, 2 zeros, 3 it is there; then the number of the grain
//! has its lowest 12 bits in bits 48 to 59, and the others in bits 0 to 47.

use std::ops::RangeInclusive;
use std::sync::Arc;

use crate::format::vmdk::header::{COWD_MAGIC, SECTOR};
use crate::format::vmdk::sparse::Grains;
use crate::table::{BlockPlace, Entry, MAX_LOOK, Tables, alike, blocks_to_look};
use volfold_block::{BlockDevice, BlockError, BlockResult, ByteReader, CachePool, keep};

/// The first bytes of a `SESPARSE` extent.
pub(super) const SE_MAGIC: [u8; 8] = 0xCAFE_BABE_u64.to_le_bytes();

/// The version of `SESPARSE` that is known.
const SE_VERSION: u64 = 0x2_0000_0001;

/// The first number of the volatile header.
const SE_VOLATILE_MAGIC: u64 = 0xCAFE_CAFE;

/// Entries of a grain table.
const TABLE_ENTRIES: u64 = 4096;

/// LIMIT: sectors of a grain.
const GRAIN_SECTORS: RangeInclusive<u64> = 1..=2048;

/// How much of the file is its header.
const HEADER_BYTES: usize = 512;

/// How entries are written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Cowd,
    /// Where the tables and the grains begin, in bytes.
    Se {
        tables_at: u64,
        grains_at: u64,
    },
}

/// An opened extent.
pub(super) struct EsxSparse {
    file: Arc<dyn BlockDevice>,
    tables: Tables,
    kind: Kind,
    capacity: u64,
    /// A power of two.
    grain_size: u64,
    directory_at: u64,
}

/// `sectors` as bytes.
fn bytes(sectors: u64, name: &str) -> BlockResult<u64> {
    let bytes = sectors.checked_mul(SECTOR).filter(|bytes| *bytes < 1 << 62);
    bytes.ok_or_else(|| BlockError::corrupt(format!("header has an impossible {name}"), 0, 0))
}

impl EsxSparse {
    /// Opens the extent in `file`, of the kind that its first bytes tell.
    ///
    /// # Errors
    /// `Corrupt` if it cannot be one, `Unsupported` if its journal would have to be replayed.
    pub(super) fn open(file: &Arc<dyn BlockDevice>, cache: &Arc<CachePool>) -> BlockResult<Self> {
        let mut header = [0; HEADER_BYTES];
        if file.size() < SECTOR {
            return Err(BlockError::corrupt("header is cut short", 0, 0));
        }
        keep(|| file.read_at(0, &mut header))?;
        if header.starts_with(&COWD_MAGIC) {
            Self::open_cowd(file, &header, cache)
        } else if header.starts_with(&SE_MAGIC) {
            Self::open_se(file, &header, cache)
        } else {
            Err(BlockError::corrupt("header has none of the signatures of ESX", 0, 0))
        }
    }

    fn open_cowd(
        file: &Arc<dyn BlockDevice>,
        header: &[u8],
        cache: &Arc<CachePool>,
    ) -> BlockResult<Self> {
        let mut reader = ByteReader::new("COWD header", header, 0);
        reader.skip(4)?;
        let version = reader.u32_le()?;
        if version != 1 {
            let line = format!("COWD of version {version} is not read; 1 is");
            return Err(BlockError::unsupported(line).at(4));
        }
        reader.skip(4)?;
        let sectors = u64::from(reader.u32_le()?);
        let grain_sectors = u64::from(reader.u32_le()?);
        let directory_at = bytes(reader.u32_le()?.into(), "place of the grain directory")?;
        let entries = u64::from(reader.u32_le()?);
        let extent = Self {
            file: Arc::clone(file),
            tables: Tables::new(Arc::clone(file), Entry::U32Le, cache),
            kind: Kind::Cowd,
            capacity: bytes(sectors, "size")?,
            grain_size: bytes(grain_sectors, "size of a grain")?,
            directory_at,
        };
        extent.check(entries.saturating_mul(Entry::U32Le.size()))
    }

    fn open_se(
        file: &Arc<dyn BlockDevice>,
        header: &[u8],
        cache: &Arc<CachePool>,
    ) -> BlockResult<Self> {
        let mut reader = ByteReader::new("seSparse header", header, 0);
        reader.skip(8)?;
        let version = reader.u64_le()?;
        let capacity = bytes(reader.u64_le()?, "size")?;
        let (grain_sectors, table_sectors) = (reader.u64_le()?, reader.u64_le()?);
        let flags = reader.u64_le()?;
        // Nothing is told of what others mean, so they are not guessed at.
        if (version, grain_sectors, table_sectors, flags) != (SE_VERSION, 8, 64, 0) {
            let line = format!(
                "seSparse of version {version:#x} with grains of {grain_sectors} and tables of \
                 {table_sectors} sectors and flags {flags:#x} is not read"
            );
            return Err(BlockError::unsupported(line).at(8));
        }
        reader.skip(0x50 - 0x30)?;
        let volatile_at = bytes(reader.u64_le()?, "place of the volatile header")?;
        reader.skip(0x80 - 0x58)?;
        let directory_at = bytes(reader.u64_le()?, "place of the grain directory")?;
        let directory_size = bytes(reader.u64_le()?, "size of the grain directory")?;
        let tables_at = bytes(reader.u64_le()?, "place of the grain tables")?;
        reader.skip(0xC0 - 0x98)?;
        let grains_at = bytes(reader.u64_le()?, "place of the grains")?;
        check_journal(&**file, volatile_at)?;
        let extent = Self {
            file: Arc::clone(file),
            tables: Tables::new(Arc::clone(file), Entry::U64Le, cache),
            kind: Kind::Se { tables_at, grains_at },
            capacity,
            grain_size: bytes(grain_sectors, "size of a grain")?,
            directory_at,
        };
        extent.check(directory_size)
    }

    /// The extent, if its grains can be and its directory, of `directory_size` bytes, is in the file
    /// and has an entry for each.
    fn check(self, directory_size: u64) -> BlockResult<Self> {
        let corrupt = |line: &str| Err(BlockError::corrupt(line.to_owned(), 0, 0));
        let grain_sectors = self.grain_size / SECTOR;
        if !GRAIN_SECTORS.contains(&grain_sectors) || !grain_sectors.is_power_of_two() {
            return corrupt("header has an impossible size of a grain");
        }
        let tables = self.capacity.div_ceil(self.grain_size.saturating_mul(TABLE_ENTRIES));
        let entry = match self.kind {
            Kind::Cowd => Entry::U32Le,
            Kind::Se { .. } => Entry::U64Le,
        };
        if tables.saturating_mul(entry.size()) > directory_size {
            return corrupt("grain directory is too small for the size of the extent");
        }
        let end = self.directory_at.saturating_add(directory_size);
        if self.directory_at < SECTOR || end > self.file.size() {
            return corrupt("grain directory is not in the file");
        }
        Ok(self)
    }

    /// The size of the extent in bytes.
    pub(super) fn size(&self) -> u64 {
        self.capacity
    }

    /// The size of a grain in bytes.
    pub(super) fn grain_size(&self) -> u64 {
        self.grain_size
    }

    /// The file that grains are stored in.
    pub(super) fn file(&self) -> &dyn BlockDevice {
        &*self.file
    }

    /// Where the bytes at `position` are, and how many lie together, as far as `wanted`.
    ///
    /// # Errors
    /// Why the tables cannot be read, `OutOfRange` past the end.
    pub(super) fn locate(&self, position: u64, wanted: u64) -> BlockResult<(Grains, u64)> {
        let left = self.capacity.checked_sub(position).filter(|left| *left > 0);
        let left = left.ok_or_else(|| BlockError::out_of_range(position, 1, self.capacity))?;
        let skip = position & self.grain_size.saturating_sub(1);
        let grain = position >> self.grain_size.trailing_zeros();
        let (table, entry) = (grain / TABLE_ENTRIES, grain % TABLE_ENTRIES);
        let in_table = TABLE_ENTRIES.saturating_sub(entry);
        let Some(table_at) = self.table(self.tables.get(self.directory_at, table)?)? else {
            let length = in_table.saturating_mul(self.grain_size).saturating_sub(skip);
            return Ok((Grains::Hole, length.min(left)));
        };
        let mut entries = [0; MAX_LOOK];
        let grains_left = left.saturating_add(skip).div_ceil(self.grain_size).min(in_table);
        let count = blocks_to_look(wanted, skip, self.grain_size);
        let count = usize::try_from(grains_left).map_or(count, |grains| grains.min(count));
        let entries = entries.get_mut(..count).unwrap_or_default();
        self.tables.fill(table_at, entry, entries)?;
        let first = match self.place(entries.first().copied().unwrap_or_default()) {
            Ok(first) => first,
            Err(error) => {
                let length = self.grain_size.saturating_sub(skip).min(left);
                return Ok((Grains::Lost(error), length));
            }
        };
        let places = entries.iter().map_while(|entry| self.place(*entry).ok());
        let length = alike(places, self.grain_size).saturating_mul(self.grain_size);
        let length = length.saturating_sub(skip).min(left);
        Ok(match first {
            BlockPlace::Hole => (Grains::Hole, length),
            BlockPlace::Zero => (Grains::Zeroed, length),
            BlockPlace::Stored(at) => self.stored(at.saturating_add(skip), length),
        })
    }

    /// The `length` bytes of grains at `at` of the file, as far as they are there.
    fn stored(&self, at: u64, length: u64) -> (Grains, u64) {
        match self.file.size().checked_sub(at) {
            Some(there @ 1..) => (Grains::Stored(at), length.min(there)),
            _ => {
                let line = "grain is cut short by the end of the file";
                (Grains::Lost(BlockError::corrupt(line, at, 0)), length)
            }
        }
    }

    /// Where the table is that `entry` of the directory names, if there is one.
    fn table(&self, entry: u64) -> BlockResult<Option<u64>> {
        if entry == 0 {
            return Ok(None);
        }
        match self.kind {
            Kind::Cowd => bytes(entry, "place of a grain table").map(Some),
            Kind::Se { tables_at, .. } => {
                let number = entry & 0xFFFF_FFFF;
                if entry & !0xFFFF_FFFF != 1 << 60 {
                    let line = format!("grain directory has the unknown entry {entry:#x}");
                    return Err(BlockError::corrupt(line, self.directory_at, 0));
                }
                // 32 bits times a table of 32 KiB.
                let start = number.saturating_mul(TABLE_ENTRIES * 8);
                Ok(Some(tables_at.saturating_add(start)))
            }
        }
    }

    /// What `entry` of a table says.
    fn place(&self, entry: u64) -> BlockResult<BlockPlace> {
        let Kind::Se { grains_at, .. } = self.kind else {
            return match entry {
                0 => Ok(BlockPlace::Hole),
                _ => bytes(entry, "place of a grain").map(BlockPlace::Stored),
            };
        };
        match entry >> 60 {
            0 if entry == 0 => Ok(BlockPlace::Hole),
            1 | 2 => Ok(BlockPlace::Zero),
            3 => {
                let number = (entry >> 48 & 0xFFF) | (entry & 0xFFFF_FFFF_FFFF) << 12;
                let at = number.checked_mul(self.grain_size);
                let at = at.and_then(|at| grains_at.checked_add(at));
                let at = at.filter(|at| *at < 1 << 62);
                at.map(BlockPlace::Stored).ok_or_else(|| {
                    BlockError::corrupt("grain table has an impossible grain", entry, 0)
                })
            }
            _ => {
                let line = format!("grain table has the unknown entry {entry:#x}");
                Err(BlockError::corrupt(line, self.directory_at, 0))
            }
        }
    }
}

/// Refuses a `SESPARSE` extent in `file` that was not closed.
fn check_journal(file: &dyn BlockDevice, volatile_at: u64) -> BlockResult<()> {
    let mut header = [0; 32];
    keep(|| file.read_at(volatile_at, &mut header))?;
    let mut reader = ByteReader::new("volatile header", &header, volatile_at);
    if reader.u64_le()? != SE_VOLATILE_MAGIC {
        let line = "volatile header has another signature";
        return Err(BlockError::corrupt(line, volatile_at, 0));
    }
    reader.skip(16)?;
    match reader.u64_le()? {
        0 => Ok(()),
        _ => Err(BlockError::unsupported(
            "was not closed, and its journal is not read here; consolidate the snapshot, or copy \
             the disk while it is closed",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::vmdk::testing::{EsxBuilder, SparseBuilder};
    use crate::testing::{Files, converted_by_qemu, read};
    use volfold_block::BlockErrorKind;

    const GRAIN: u64 = 4096;

    fn descriptor(kind: &str, capacity: u64, parent: Option<&str>) -> Vec<u8> {
        let (parent_cid, hint) = match parent {
            Some(name) => ("00000001", format!("parentFileNameHint=\"{name}\"\n")),
            None => ("ffffffff", String::new()),
        };
        let sectors = capacity / 512;
        format!(
            "# Disk DescriptorFile\nversion=1\nCID=00000002\nparentCID={parent_cid}\n{hint}\
             createType=\"{kind}\"\nRW {sectors} {} \"d-delta.vmdk\"\n",
            kind.to_ascii_uppercase()
        )
        .into_bytes()
    }

    /// The first bytes of the grains from `first` on, or why they cannot be had.
    fn seen(files: &Files, name: &str, first: u64, count: u64) -> Vec<Result<u8, String>> {
        let image = files.open(name).unwrap();
        let read = |grain: u64| read(&*image.device, grain * GRAIN, 1);
        let grains = (first..first + count).map(read);
        grains.map(|bytes| bytes.map(|b| b[0]).map_err(|e| e.message().to_owned())).collect()
    }

    #[test]
    fn grains_of_both_kinds_are_found_over_their_parent() {
        let capacity = 5000 * GRAIN;
        for kind in ["vmfsSparse", "seSparse"] {
            let extent = EsxBuilder::new(kind, capacity).grain(1, 7).grain(2, 8).grain(4999, 9);
            let base = SparseBuilder::new(capacity).grain(0, 1).grain(1, 2).grain(3, 3).build();
            let files = Files::default()
                .with("d.vmdk", descriptor(kind, capacity, Some("base.vmdk")))
                .with("d-delta.vmdk", extent.clone().zeroed(3).build())
                .with("base.vmdk", base);
            let zeroed = if kind == "seSparse" { 0 } else { 3 };
            let wanted = [1, 7, 8, zeroed, 0].map(Ok);
            assert_eq!(seen(&files, "d.vmdk", 0, 5), wanted, "{kind}");
            assert_eq!(seen(&files, "d.vmdk", 4997, 3), [0, 0, 9].map(Ok), "{kind}");
            let error = files.error("d-delta.vmdk");
            let line =
                "is an extent of a snapshot of ESX; open its descriptor, the file without -delta";
            assert_eq!((error.0, error.2.as_str()), (BlockErrorKind::Unsupported, line));
        }
    }

    /// The builder's files say what QEMU takes them for.
    #[test]
    fn qemu_reads_the_same_disk() {
        let capacity = 9000 * GRAIN;
        for kind in ["vmfsSparse", "seSparse"] {
            let grains = [0, 1, 2, 7, 4095, 4096, 5000, 8999];
            let extent = EsxBuilder::new(kind, capacity).zeroed(3);
            let extent = grains.iter().fold(extent, |extent, grain| {
                extent.grain(*grain, u8::try_from(grain % 251 + 1).unwrap())
            });
            let base = SparseBuilder::new(capacity).grain(3, 1).grain(4, 2).grain(8000, 3).build();
            let files = [
                ("d.vmdk", descriptor(kind, capacity, Some("base.vmdk"))),
                ("d-delta.vmdk", extent.build()),
                ("base.vmdk", base),
            ];
            let Some(wanted) = converted_by_qemu(&files, "d.vmdk", "vmdk") else { return };
            let [one, two, three] = files;
            let files = Files::default().with(one.0, one.1).with(two.0, two.1);
            let image = files.with(three.0, three.1).open("d.vmdk").unwrap();
            let bytes = read(&*image.device, 0, usize::try_from(capacity).unwrap()).unwrap();
            assert!(bytes == wanted, "{kind}");
        }
    }

    #[test]
    fn damage_is_told_where_it_is() {
        let capacity = 64 * GRAIN;
        let build = |change: &dyn Fn(&mut Vec<u8>)| {
            let mut bytes = EsxBuilder::new("seSparse", capacity).grain(1, 7).grain(2, 8).build();
            change(&mut bytes);
            Files::default()
                .with("d.vmdk", descriptor("seSparse", capacity, None))
                .with("d-delta.vmdk", bytes)
        };
        let put = |at: usize, value: u64| {
            move |bytes: &mut Vec<u8>| bytes[at..at + 8].copy_from_slice(&value.to_le_bytes())
        };
        let (directory, table) = (EsxBuilder::SE_DIRECTORY, EsxBuilder::SE_TABLES);
        let refused = |at, value| build(&put(at, value)).error("d.vmdk").2;
        for (at, value, sentence) in [
            (0x08, 1, "seSparse of version 0x1 with grains of 8 and tables of 64 sectors"),
            (0x18, 16, "seSparse of version 0x200000001 with grains of 16 and"),
            (0x50, 9999, "read of 32 bytes leaves the device"),
            (0x80, 0, "grain directory is not in the file"),
            (0x80, 1 << 60, "header has an impossible place of the grain directory"),
            (0x88, 0, "grain directory is too small for the size of the extent"),
            (512, 1, "volatile header has another signature"),
            (512 + 24, 1, "was not closed, and its journal is not read here"),
        ] {
            let error = refused(at, value);
            assert!(error.contains(sentence), "{at:#x}: {error}");
        }
        let first = |at, value| seen(&build(&put(at, value)), "d.vmdk", 1, 2);
        let told = |seen: Vec<Result<u8, String>>| seen[0].clone().unwrap_err();
        assert!(told(first(directory, 3 << 60)).contains("grain directory has the unknown entry"));
        let damaged = first(table + 8, 5 << 60);
        assert_eq!(damaged[1], Ok(8), "its neighbour is whole");
        assert!(told(damaged).contains("grain table has the unknown entry 0x5"));
        let far = told(first(table + 8, 3 << 60 | 0xFFFF));
        assert!(far.contains("grain is cut short by the end of the file"), "{far}");
        assert_eq!(first(table + 8, 1 << 60)[0], Ok(0), "given back by the guest");
    }

    #[test]
    fn every_cut_and_every_changed_byte_ends_in_an_answer() {
        for kind in ["vmfsSparse", "seSparse"] {
            let whole = EsxBuilder::new(kind, 8 * GRAIN).grain(1, 7).build();
            let files = |bytes: Vec<u8>| {
                let text = descriptor(kind, 8 * GRAIN, None);
                Files::default().with("d.vmdk", text).with("d-delta.vmdk", bytes)
            };
            let look = |bytes: Vec<u8>| {
                if let Ok(image) = files(bytes).open("d.vmdk") {
                    let _ = read(&*image.device, 0, 8 * GRAIN as usize);
                    let _ = image.device.extent_at(0);
                }
            };
            for length in (0..whole.len()).step_by(512) {
                look(whole[..length].to_vec());
            }
            let tables = if kind == "seSparse" { 0..512 } else { 0..64 };
            let later = if kind == "seSparse" { 512..544 } else { 2048..2112 };
            for at in tables.chain(later) {
                for value in [0, 1, 0x7F, 0xFF] {
                    let mut bytes = whole.clone();
                    bytes[at] = value;
                    look(bytes);
                }
            }
        }
    }
}
