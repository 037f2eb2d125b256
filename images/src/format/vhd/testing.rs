//! A writer of VHD images that follows the specification field by field; it knows nothing of the
//! reader. The tests of the crate and the witness tests share it.

use std::collections::BTreeMap;

/// An image, block by block.
#[derive(Clone)]
pub(crate) struct VhdBuilder {
    pub(crate) kind: u32,
    pub(crate) creator: [u8; 4],
    pub(crate) geometry: [u8; 4],
    pub(crate) uuid: [u8; 16],
    pub(crate) size: u64,
    pub(crate) block_size: usize,
    pub(crate) parent: [u8; 16],
    pub(crate) parent_time: u32,
    /// The parent's name in the header.
    pub(crate) parent_name: String,
    /// Locators: their codes, and the bytes that they are to.
    pub(crate) locators: Vec<([u8; 4], Vec<u8>)>,
    /// For each block that is there its bitmap and its bytes.
    pub(crate) blocks: BTreeMap<usize, (Vec<u8>, Vec<u8>)>,
}

fn put(bytes: &mut [u8], at: usize, field: &[u8]) {
    bytes[at..at + field.len()].copy_from_slice(field);
}

/// Writes the checksum of `bytes` to `at`: the sum of all bytes but its own, all bits turned.
pub(crate) fn put_checksum(bytes: &mut [u8], at: usize) {
    put(bytes, at, &[0; 4]);
    let sum: u32 = bytes.iter().map(|byte| u32::from(*byte)).sum();
    put(bytes, at, &(!sum).to_be_bytes());
}

pub(crate) fn utf16_le(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

impl VhdBuilder {
    /// An empty dynamic image of `size` bytes.
    pub(crate) fn new(size: u64, block_size: usize) -> Self {
        Self {
            kind: 3,
            creator: *b"win ",
            geometry: [0; 4],
            uuid: [1; 16],
            size,
            block_size,
            parent: [0; 16],
            parent_time: 0,
            parent_name: String::new(),
            locators: Vec::new(),
            blocks: BTreeMap::new(),
        }
    }

    /// An empty differencing image over `parent`, which is called `name` and lies beside it.
    pub(crate) fn over(parent: &Self, name: &str, uuid: u8) -> Self {
        Self {
            kind: 4,
            uuid: [uuid; 16],
            parent: parent.uuid,
            parent_name: name.to_owned(),
            locators: vec![
                (*b"W2ku", utf16_le(&format!("C:\\disks\\{name}"))),
                (*b"W2ru", utf16_le(&format!(".\\{name}"))),
            ],
            ..Self::new(parent.size, parent.block_size)
        }
    }

    /// Writes whole sectors, as a guest does.
    pub(crate) fn write(&mut self, offset: usize, bytes: &[u8]) {
        assert!(offset.is_multiple_of(512) && bytes.len().is_multiple_of(512));
        for (index, sector) in bytes.chunks(512).enumerate() {
            let at = offset + index * 512;
            let (block, within) = (at / self.block_size, at % self.block_size);
            let bitmap = self.block_size.div_ceil(512 * 8).next_multiple_of(512);
            let size = self.block_size;
            let empty = || (vec![0; bitmap], vec![0; size]);
            let (bits, data) = self.blocks.entry(block).or_insert_with(empty);
            bits[within / 512 / 8] |= 0x80 >> (within / 512 % 8);
            put(data, within, sector);
        }
    }

    pub(crate) fn footer(&self) -> Vec<u8> {
        let mut footer = vec![0; 512];
        put(&mut footer, 0x00, b"conectix");
        put(&mut footer, 0x08, &2_u32.to_be_bytes());
        put(&mut footer, 0x0C, &0x0001_0000_u32.to_be_bytes());
        let data_offset = if self.kind == 2 { u64::MAX } else { 512 };
        put(&mut footer, 0x10, &data_offset.to_be_bytes());
        put(&mut footer, 0x18, &0x2718_0000_u32.to_be_bytes());
        put(&mut footer, 0x1C, &self.creator);
        put(&mut footer, 0x20, &0x000A_0000_u32.to_be_bytes());
        put(&mut footer, 0x24, b"Wi2k");
        put(&mut footer, 0x28, &self.size.to_be_bytes());
        put(&mut footer, 0x30, &self.size.to_be_bytes());
        put(&mut footer, 0x38, &self.geometry);
        put(&mut footer, 0x3C, &self.kind.to_be_bytes());
        put(&mut footer, 0x44, &self.uuid);
        put_checksum(&mut footer, 0x40);
        footer
    }

    /// The file of a fixed image of `disk`.
    pub(crate) fn fixed(mut self, disk: &[u8]) -> Vec<u8> {
        self.kind = 2;
        [disk, &self.footer()].concat()
    }

    pub(crate) fn build(&self) -> Vec<u8> {
        let entries = usize::try_from(self.size).unwrap().div_ceil(self.block_size);
        let table_at = 1536;
        let mut at = table_at + (entries * 4).next_multiple_of(512);
        let mut header = vec![0; 1024];
        put(&mut header, 0x00, b"cxsparse");
        put(&mut header, 0x08, &u64::MAX.to_be_bytes());
        put(&mut header, 0x10, &u64::try_from(table_at).unwrap().to_be_bytes());
        put(&mut header, 0x18, &0x0001_0000_u32.to_be_bytes());
        put(&mut header, 0x1C, &u32::try_from(entries).unwrap().to_be_bytes());
        put(&mut header, 0x20, &u32::try_from(self.block_size).unwrap().to_be_bytes());
        put(&mut header, 0x28, &self.parent);
        put(&mut header, 0x38, &self.parent_time.to_be_bytes());
        let name: Vec<u8> = self.parent_name.encode_utf16().flat_map(u16::to_be_bytes).collect();
        put(&mut header, 0x40, &name);
        let mut names = Vec::new();
        for (index, (code, bytes)) in self.locators.iter().enumerate() {
            let entry = 0x240 + index * 24;
            put(&mut header, entry, code);
            put(&mut header, entry + 4, &512_u32.to_be_bytes());
            put(&mut header, entry + 8, &u32::try_from(bytes.len()).unwrap().to_be_bytes());
            let place = u64::try_from(at + names.len()).unwrap();
            put(&mut header, entry + 16, &place.to_be_bytes());
            names.extend_from_slice(bytes);
            names.resize(names.len().next_multiple_of(512), 0);
        }
        put_checksum(&mut header, 0x24);
        let mut table = vec![0xFF; (entries * 4).next_multiple_of(512)];
        at += names.len();
        let mut blocks = Vec::new();
        for (block, (bitmap, data)) in &self.blocks {
            let sector = u32::try_from((at + blocks.len()) / 512).unwrap();
            put(&mut table, block * 4, &sector.to_be_bytes());
            blocks.extend_from_slice(bitmap);
            blocks.extend_from_slice(data);
        }
        [self.footer(), header, table, names, blocks, self.footer()].concat()
    }
}
