//! Writers of small VMDK files for the tests.

use std::collections::BTreeMap;

use crate::testing::deflate;

/// Sectors of a grain in the files made here.
pub(crate) const GRAIN_SECTORS: u64 = 8;
/// The same in bytes.
pub(crate) const GRAIN: usize = 4096;

/// Writes a hosted sparse extent: header, descriptor at sector 1, redundant directory at sector 4,
/// directory at sector 8, then the tables in pairs (redundant, primary), then the grains.
pub(crate) struct SparseBuilder {
    capacity: u64,
    descriptor: Option<String>,
    grains: BTreeMap<u64, Vec<u8>>,
    zeroed: Vec<u64>,
    version: u32,
    is_stream: bool,
}

/// Where [`SparseBuilder`] puts the redundant grain directory.
pub(crate) const REDUNDANT_DIRECTORY: usize = 4 * 512;
/// Where [`SparseBuilder`] puts the grain directory.
pub(crate) const DIRECTORY: usize = 8 * 512;
/// Where [`SparseBuilder`] puts the first redundant grain table.
pub(crate) const REDUNDANT_TABLE: usize = 16 * 512;
/// Where [`SparseBuilder`] puts the first grain table.
pub(crate) const TABLE: usize = 20 * 512;

impl SparseBuilder {
    /// An empty extent of `capacity` bytes with a descriptor.
    pub(crate) fn new(capacity: u64) -> Self {
        let sectors = capacity / 512;
        Self {
            capacity,
            descriptor: Some(format!(
                "# Disk DescriptorFile\nversion=1\nCID=00000001\nparentCID=ffffffff\n\
                 createType=\"monolithicSparse\"\nRW {sectors} SPARSE \"self.vmdk\"\n"
            )),
            grains: BTreeMap::new(),
            zeroed: Vec::new(),
            version: 1,
            is_stream: false,
        }
    }

    pub(crate) fn descriptor(mut self, text: Option<&str>) -> Self {
        self.descriptor = text.map(str::to_owned);
        self
    }

    /// The same with `parent`, whose content id is `cid`.
    pub(crate) fn parent(self, cid: u32, parent: &str) -> Self {
        let sectors = self.capacity / 512;
        let text = format!(
            "# Disk DescriptorFile\nCID=0000000c\nparentCID={cid:08x}\n\
             parentFileNameHint=\"{parent}\"\nRW {sectors} SPARSE \"self.vmdk\"\n"
        );
        self.descriptor(Some(&text))
    }

    /// The same with an id, and the id of a parent, as VirtualBox writes them.
    pub(crate) fn uuids(self, own: &str, parent: &str) -> Self {
        let sectors = self.capacity / 512;
        let text = format!(
            "# Disk DescriptorFile\nCID=0000000c\nparentCID=ffffffff\n\
             RW {sectors} SPARSE \"self.vmdk\"\nddb.uuid.image=\"{own}\"\n\
             ddb.uuid.parent=\"{parent}\"\n"
        );
        self.descriptor(Some(&text))
    }

    /// The same with a grain full of `byte`.
    pub(crate) fn grain(mut self, number: u64, byte: u8) -> Self {
        self.grains.insert(number, vec![byte; GRAIN]);
        self
    }

    /// The same with a zeroed grain.
    pub(crate) fn zeroed(mut self, number: u64) -> Self {
        self.zeroed.push(number);
        self.version = 2;
        self
    }

    /// The same as a stream: compressed grains, directory after them, footer.
    pub(crate) fn stream(mut self) -> Self {
        self.is_stream = true;
        self.version = 3;
        self
    }

    fn tables(&self) -> u64 {
        self.capacity.div_ceil(512).div_ceil(GRAIN_SECTORS * 512)
    }

    fn header(&self, directory: u64) -> Vec<u8> {
        let mut bytes = b"KDMV".to_vec();
        let flags: u32 = if self.is_stream { 0x0003_0001 } else { 3 };
        bytes.extend(self.version.to_le_bytes());
        bytes.extend(flags.to_le_bytes());
        bytes.extend((self.capacity / 512).to_le_bytes());
        bytes.extend(GRAIN_SECTORS.to_le_bytes());
        let descriptor = u64::from(self.descriptor.is_some());
        bytes.extend(descriptor.to_le_bytes());
        bytes.extend((descriptor * 3).to_le_bytes());
        bytes.extend(512_u32.to_le_bytes());
        bytes.extend(if self.is_stream { 0 } else { 4_u64 }.to_le_bytes());
        bytes.extend(directory.to_le_bytes());
        bytes.extend((16 + 8 * self.tables()).to_le_bytes());
        bytes.push(0);
        bytes.extend(b"\n \r\n");
        bytes.extend(u16::from(self.is_stream).to_le_bytes());
        bytes.resize(512, 0);
        bytes
    }

    pub(crate) fn build(&self) -> Vec<u8> {
        let tables = self.tables();
        let at_end = if self.is_stream { u64::MAX } else { 8 };
        let mut file = self.header(at_end);
        file.extend(self.descriptor.iter().flat_map(|text| text.bytes()));
        file.resize((16 + 8 * usize::try_from(tables).unwrap()) * 512, 0);
        if self.is_stream { self.finish_stream(file) } else { self.finish_plain(file) }
    }

    fn finish_plain(&self, mut file: Vec<u8>) -> Vec<u8> {
        let mut put = |at: usize, value: u64| {
            let value = u32::try_from(value).unwrap();
            file[at..at + 4].copy_from_slice(&value.to_le_bytes());
        };
        for table in 0..self.tables() {
            let entry = 4 * usize::try_from(table).unwrap();
            put(REDUNDANT_DIRECTORY + entry, 16 + 8 * table);
            put(DIRECTORY + entry, 20 + 8 * table);
        }
        let mut put_grain = |number: u64, value: u64| {
            let place = usize::try_from(number / 512 * 4096 + number % 512 * 4).unwrap();
            put(REDUNDANT_TABLE + place, value);
            put(TABLE + place, value);
        };
        for number in &self.zeroed {
            put_grain(*number, 1);
        }
        let first = 16 + 8 * self.tables();
        for (index, number) in self.grains.keys().enumerate() {
            put_grain(*number, first + GRAIN_SECTORS * u64::try_from(index).unwrap());
        }
        for bytes in self.grains.values() {
            file.extend(bytes);
        }
        file
    }

    fn finish_stream(&self, mut file: Vec<u8>) -> Vec<u8> {
        let mut tables = vec![[0_u32; 512]; usize::try_from(self.tables()).unwrap()];
        for (number, bytes) in &self.grains {
            let (table, entry) = (number / 512, number % 512);
            tables[usize::try_from(table).unwrap()][usize::try_from(entry).unwrap()] =
                u32::try_from(file.len() / 512).unwrap();
            put_grain(&mut file, number * GRAIN_SECTORS, bytes);
        }
        let mut directory = Vec::new();
        for table in tables {
            put_marker(&mut file, 4, 1);
            directory.extend(u32::try_from(file.len() / 512).unwrap().to_le_bytes());
            file.extend(table.iter().flat_map(|entry| entry.to_le_bytes()));
        }
        put_marker(&mut file, 1, 2);
        let at = u64::try_from(file.len() / 512).unwrap();
        file.extend(directory);
        file.resize(file.len().next_multiple_of(512), 0);
        put_marker(&mut file, 1, 3);
        file.extend(self.header(at));
        put_marker(&mut file, 0, 0);
        file
    }
}

fn put_marker(file: &mut Vec<u8>, sectors: u64, kind: u32) {
    file.extend(sectors.to_le_bytes());
    file.extend(0_u32.to_le_bytes());
    file.extend(kind.to_le_bytes());
    file.resize(file.len().next_multiple_of(512), 0);
}

fn put_grain(file: &mut Vec<u8>, lba: u64, bytes: &[u8]) {
    let deflated = deflate(bytes);
    file.extend(lba.to_le_bytes());
    file.extend(u32::try_from(deflated.len()).unwrap().to_le_bytes());
    file.extend(deflated);
    file.resize(file.len().next_multiple_of(512), 0);
}

/// Writes an extent of ESX with grains of 4096 bytes.
#[derive(Clone)]
pub(crate) struct EsxBuilder {
    is_se: bool,
    capacity: u64,
    /// The bytes of each; none for zeros.
    grains: BTreeMap<u64, Option<u8>>,
}

impl EsxBuilder {
    /// Where the directory of a `SESPARSE` extent is.
    pub(crate) const SE_DIRECTORY: usize = 4 * 512;
    /// Where its tables are.
    pub(crate) const SE_TABLES: usize = 64 * 512;

    pub(crate) fn new(kind: &str, capacity: u64) -> Self {
        Self { is_se: kind == "seSparse", capacity, grains: BTreeMap::new() }
    }

    pub(crate) fn grain(mut self, number: u64, byte: u8) -> Self {
        self.grains.insert(number, Some(byte));
        self
    }

    /// A grain of zeros, where the kind has such.
    pub(crate) fn zeroed(mut self, number: u64) -> Self {
        if self.is_se {
            self.grains.insert(number, None);
        }
        self
    }

    pub(crate) fn build(&self) -> Vec<u8> {
        if self.is_se { self.build_se() } else { self.build_cowd() }
    }

    fn tables(&self) -> usize {
        usize::try_from(self.capacity.div_ceil(4096 * 4096)).unwrap()
    }

    /// Header, directory at sector 4, tables, grains.
    fn build_cowd(&self) -> Vec<u8> {
        let tables = self.tables();
        let directory_sectors = (tables * 4).div_ceil(512);
        let first_grain = 4 + directory_sectors + tables * 32;
        let mut file = b"COWD".to_vec();
        let fields = [1, 3, self.capacity / 512, 8, 4, tables as u64, 0];
        file.extend(fields.iter().flat_map(|field| (*field as u32).to_le_bytes()));
        file.resize(4 * 512, 0);
        let place = |table: usize| (4 + directory_sectors + table * 32) as u32;
        file.extend((0..tables).flat_map(|table| place(table).to_le_bytes()));
        file.resize(place(0) as usize * 512, 0);
        let mut entries = vec![0_u32; tables * 4096];
        for (index, number) in self.grains.keys().enumerate() {
            entries[*number as usize] = (first_grain + index * 8) as u32;
        }
        file.extend(entries.iter().flat_map(|entry| entry.to_le_bytes()));
        file.extend(self.grains.values().flat_map(|byte| [byte.unwrap(); 4096]));
        file
    }

    /// Header, volatile header, directory, tables (the last one first), grains.
    fn build_se(&self) -> Vec<u8> {
        let tables = self.tables();
        let grains_at = Self::SE_TABLES + tables * 32768;
        let mut file = vec![0; grains_at];
        let mut put = |at: usize, value: u64| {
            file[at..at + 8].copy_from_slice(&value.to_le_bytes());
        };
        put(0x00, 0xCAFE_BABE);
        put(0x08, 0x2_0000_0001);
        put(0x10, self.capacity / 512);
        put(0x18, 8);
        put(0x20, 64);
        put(0x50, 1);
        put(0x58, 1);
        put(0x80, Self::SE_DIRECTORY as u64 / 512);
        put(0x88, (tables as u64 * 8).div_ceil(512));
        put(0x90, Self::SE_TABLES as u64 / 512);
        put(0x98, tables as u64 * 64);
        put(0xC0, grains_at as u64 / 512);
        put(0xC8, self.grains.len() as u64 * 8);
        put(512, 0xCAFE_CAFE);
        for table in 0..tables {
            let number = (tables - 1 - table) as u64;
            put(Self::SE_DIRECTORY + table * 8, 1 << 60 | number);
        }
        let mut stored = 0_u64;
        for (number, byte) in &self.grains {
            let (table, entry) = (*number as usize / 4096, *number as usize % 4096);
            let at = Self::SE_TABLES + (tables - 1 - table) * 32768 + entry * 8;
            match byte {
                Some(_) => {
                    put(at, 3 << 60 | (stored & 0xFFF) << 48 | stored >> 12);
                    stored += 1;
                }
                None => put(at, 2 << 60),
            }
        }
        let data = self.grains.values().flatten();
        file.extend(data.flat_map(|byte| [*byte; 4096]));
        file
    }
}
