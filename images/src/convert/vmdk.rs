//! VMDK, `monolithicSparse`, with grains of 64 KiB.
//!
//! Specification: VMware Virtual Disk Format 5.0, "Hosted sparse extents". Little-endian; places are
//! in sectors. Both grain directories and all grain tables lie before the first grain, so their places
//! are known from the size of the disk; a table is written when its grains are.

use std::io::{self, Seek, SeekFrom, Write};

use super::writer::{BLOCK, Writer};
use volfold_block::{BlockError, BlockErrorKind, BlockResult, byte_count};

const SECTOR: u64 = 512;

/// Sectors of a grain.
const GRAIN_SECTORS: u64 = BLOCK / SECTOR;

/// Entries of a grain table, and its sectors.
const TABLE_ENTRIES: u64 = 512;
const TABLE_SECTORS: u64 = 4;

/// Where the descriptor is, and its size.
const DESCRIPTOR_SECTOR: u64 = 1;
const DESCRIPTOR_SECTORS: u64 = 20;

/// Where the first directory is.
const DIRECTORY_SECTOR: u64 = DESCRIPTOR_SECTOR + DESCRIPTOR_SECTORS;

/// LIMIT: places have 32 bits, of sectors, so the file has less than 2 TiB; and so the disk.
const MAX_SECTORS: u64 = 0xFF00_0000;

/// Writes grains in the order in which they come.
pub(super) struct VmdkWriter<'a, W> {
    out: &'a mut W,
    layout: Layout,
    descriptor: Vec<u8>,
    /// The entries of the table that is being filled, and its number.
    table: Vec<u32>,
    table_number: u64,
    /// The sector of the next grain.
    next: u64,
}

/// Where things are, in sectors.
#[derive(Clone, Copy)]
struct Layout {
    capacity: u64,
    tables: u64,
    directory_sectors: u64,
    overhead: u64,
}

impl Layout {
    fn new(size: u64) -> Self {
        let capacity = size.div_ceil(SECTOR);
        let tables = capacity.div_ceil(GRAIN_SECTORS.saturating_mul(TABLE_ENTRIES)).max(1);
        let directory_sectors = tables.saturating_mul(4).div_ceil(SECTOR);
        let half = directory_sectors.saturating_add(tables.saturating_mul(TABLE_SECTORS));
        let end = DIRECTORY_SECTOR.saturating_add(half.saturating_mul(2));
        let overhead = end.next_multiple_of(GRAIN_SECTORS);
        Self { capacity, tables, directory_sectors, overhead }
    }

    /// Where the directory, or its copy, is.
    fn directory(self, is_copy: bool) -> u64 {
        let half = self.directory_sectors.saturating_add(self.tables.saturating_mul(TABLE_SECTORS));
        DIRECTORY_SECTOR.saturating_add(if is_copy { 0 } else { half })
    }

    /// Where table `number`, or its copy, is.
    fn table(self, number: u64, is_copy: bool) -> u64 {
        let first = self.directory(is_copy).saturating_add(self.directory_sectors);
        first.saturating_add(number.saturating_mul(TABLE_SECTORS))
    }
}

/// A number of a disk that fits into 32 bits, as [`VmdkWriter::new`] made sure.
fn small(sector: u64) -> io::Result<u32> {
    u32::try_from(sector).map_err(io::Error::other)
}

impl<'a, W: Write + Seek> VmdkWriter<'a, W> {
    /// Begins a file called `name`, of a disk of `size` bytes.
    pub(super) fn new(out: &'a mut W, size: u64, name: &str) -> BlockResult<Self> {
        let layout = Layout::new(size);
        if layout.capacity.saturating_add(layout.overhead) > MAX_SECTORS {
            let line = "disk is too large for a VMDK in one file, which has less than 2 TiB; take \
                        --format qcow2 or raw";
            return Err(BlockError::unsupported(line));
        }
        let descriptor = descriptor(layout.capacity, name);
        if byte_count(descriptor.len()) > DESCRIPTOR_SECTORS.saturating_mul(SECTOR) {
            return Err(BlockError::new(
                BlockErrorKind::Unsupported,
                "name is too long for a VMDK",
            ));
        }
        let next = layout.overhead;
        Ok(Self { out, layout, descriptor, table: Vec::new(), table_number: 0, next })
    }

    fn write_at(&mut self, sector: u64, bytes: &[u8]) -> io::Result<()> {
        self.out.seek(SeekFrom::Start(sector.saturating_mul(SECTOR)))?;
        self.out.write_all(bytes)
    }

    /// Writes the table, if anything is in it, and its copy, and goes on with table `number`.
    fn go_to_table(&mut self, number: u64) -> io::Result<()> {
        if !self.table.is_empty() {
            let bytes: Vec<u8> = self.table.iter().flat_map(|entry| entry.to_le_bytes()).collect();
            for is_copy in [true, false] {
                self.write_at(self.layout.table(self.table_number, is_copy), &bytes)?;
            }
            self.table.clear();
        }
        self.table_number = number;
        Ok(())
    }

    /// Both directories.
    fn directories(&mut self) -> io::Result<()> {
        for is_copy in [true, false] {
            let tables = (0..self.layout.tables).map(|number| self.layout.table(number, is_copy));
            let entries = tables.map(small).collect::<io::Result<Vec<u32>>>()?;
            let bytes: Vec<u8> = entries.iter().flat_map(|entry| entry.to_le_bytes()).collect();
            self.write_at(self.layout.directory(is_copy), &bytes)?;
        }
        Ok(())
    }

    fn header(&self) -> Vec<u8> {
        let mut header = b"KDMV".to_vec();
        // Version 1; the newline test and the copy of the directory are there.
        header.extend([1_u32, 3].iter().flat_map(|number| number.to_le_bytes()));
        for number in [self.layout.capacity, GRAIN_SECTORS, DESCRIPTOR_SECTOR, DESCRIPTOR_SECTORS] {
            header.extend(number.to_le_bytes());
        }
        header.extend(512_u32.to_le_bytes());
        for number in
            [self.layout.directory(true), self.layout.directory(false), self.layout.overhead]
        {
            header.extend(number.to_le_bytes());
        }
        header.push(0);
        header.extend(b"\n \r\n");
        header.extend([0; 2]);
        header.resize(512, 0);
        header
    }
}

/// The text about a disk of `capacity` sectors in the file `name`.
fn descriptor(capacity: u64, name: &str) -> Vec<u8> {
    // Of the size and the name, so that one disk gives one file (FNV-1a).
    let bytes = capacity.to_le_bytes().into_iter().chain(name.bytes());
    let id =
        bytes.fold(0x811C_9DC5_u32, |id, byte| (id ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    let cylinders = (capacity / (16 * 63)).min(16383);
    format!(
        "# Disk DescriptorFile\nversion=1\nencoding=\"UTF-8\"\nCID={id:08x}\nparentCID=ffffffff\n\
         createType=\"monolithicSparse\"\n\n# Extent description\nRW {capacity} SPARSE \"{name}\"\n\n\
         # The Disk Data Base\n#DDB\n\nddb.virtualHWVersion = \"4\"\n\
         ddb.geometry.cylinders = \"{cylinders}\"\nddb.geometry.heads = \"16\"\n\
         ddb.geometry.sectors = \"63\"\nddb.adapterType = \"ide\"\n"
    )
    .into_bytes()
}

impl<W: Write + Seek> Writer for VmdkWriter<'_, W> {
    fn block(&mut self, number: u64, bytes: &[u8]) -> io::Result<()> {
        let (table, entry) = (number / TABLE_ENTRIES, number % TABLE_ENTRIES);
        if table != self.table_number {
            self.go_to_table(table)?;
        }
        if self.table.is_empty() {
            self.table.resize(usize::try_from(TABLE_ENTRIES).map_err(io::Error::other)?, 0);
        }
        self.write_at(self.next, bytes)?;
        let rest = BLOCK.saturating_sub(byte_count(bytes.len()));
        self.out.write_all(&vec![0; usize::try_from(rest).map_err(io::Error::other)?])?;
        let place = usize::try_from(entry).ok().and_then(|entry| self.table.get_mut(entry));
        if let Some(place) = place {
            *place = small(self.next)?;
        }
        self.next = self.next.saturating_add(GRAIN_SECTORS);
        Ok(())
    }

    fn finish(&mut self) -> io::Result<()> {
        self.go_to_table(0)?;
        self.directories()?;
        self.write_at(0, &self.header())?;
        let descriptor = std::mem::take(&mut self.descriptor);
        self.write_at(DESCRIPTOR_SECTOR, &descriptor)?;
        // A disk of zeros has no grain, and all of its tables.
        let last = self.next.saturating_mul(SECTOR).saturating_sub(1);
        if self.next == self.layout.overhead {
            self.out.seek(SeekFrom::Start(last))?;
            self.out.write_all(&[0])?;
        }
        self.out.flush()
    }
}
