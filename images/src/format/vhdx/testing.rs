//! A writer of VHDX images that follows the specification field by field; it knows nothing of the
//! reader. The tests of the crate and the witness tests share it.

use std::collections::BTreeMap;

pub(crate) const MIB: usize = 1 << 20;

/// Where the structures are that the specification gives no place.
pub(crate) const LOG_AT: usize = MIB;
pub(crate) const METADATA_AT: usize = 2 * MIB;
pub(crate) const BAT_AT: usize = 3 * MIB;
pub(crate) const BLOCKS_AT: usize = 4 * MIB;

/// The bytes of the log.
pub(crate) const LOG_BYTES: usize = MIB;

/// An image, block by block.
#[derive(Clone)]
pub(crate) struct VhdxBuilder {
    pub(crate) size: u64,
    pub(crate) block_size: usize,
    pub(crate) sector_size: usize,
    pub(crate) is_fixed: bool,
    pub(crate) data_write: [u8; 16],
    /// Keys and values of the parent locator.
    pub(crate) parent: Option<Vec<(String, String)>>,
    /// For each block that is there its state, its bytes, and which of its sectors were written.
    pub(crate) blocks: BTreeMap<usize, (u64, Vec<u8>, Vec<bool>)>,
    /// The states of blocks that are not there.
    pub(crate) states: BTreeMap<usize, u64>,
    /// The GUID and the bytes of the log.
    pub(crate) log: Option<([u8; 16], Vec<u8>)>,
}

pub(crate) fn put(bytes: &mut [u8], at: usize, field: &[u8]) {
    bytes[at..at + field.len()].copy_from_slice(field);
}

/// Writes the CRC-32C of `bytes` to `at`, which counts as 0.
pub(crate) fn put_checksum(bytes: &mut [u8], at: usize) {
    put(bytes, at, &[0; 4]);
    let sum = crc32c::crc32c(bytes);
    put(bytes, at, &sum.to_le_bytes());
}

/// The bytes of the GUID that is written so.
pub(crate) fn guid(text: &str) -> [u8; 16] {
    let digits: String = text.chars().filter(char::is_ascii_hexdigit).collect();
    let mut bytes = u128::from_str_radix(&digits, 16).unwrap().to_be_bytes();
    bytes[0..4].reverse();
    bytes[4..6].reverse();
    bytes[6..8].reverse();
    bytes
}

/// How the GUID in `bytes` is written.
pub(crate) fn written(bytes: [u8; 16]) -> String {
    let mut order = bytes;
    order[0..4].reverse();
    order[4..6].reverse();
    order[6..8].reverse();
    let hex = data_encoding::HEXLOWER.encode(&order);
    format!("{{{}-{}-{}-{}-{}}}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

impl VhdxBuilder {
    /// An empty dynamic image of `size` bytes.
    pub(crate) fn new(size: u64, block_size: usize) -> Self {
        Self {
            size,
            block_size,
            sector_size: 512,
            is_fixed: false,
            data_write: [0x11; 16],
            parent: None,
            blocks: BTreeMap::new(),
            states: BTreeMap::new(),
            log: None,
        }
    }

    /// An empty differencing image over `parent`, which is called `name` and lies beside it.
    pub(crate) fn over(parent: &Self, name: &str, id: u8) -> Self {
        let pairs = [
            ("parent_linkage", written(parent.data_write)),
            ("relative_path", format!(".\\{name}")),
            (
                "volume_path",
                format!("\\\\?\\Volume{{26a21bda-a627-11d7-9931-806e6f6e6963}}\\d\\{name}"),
            ),
            ("absolute_win32_path", format!("\\\\?\\c:\\d\\{name}")),
        ];
        let pairs = pairs.map(|(key, value)| (key.to_owned(), value));
        Self {
            data_write: [id; 16],
            sector_size: parent.sector_size,
            parent: Some(pairs.to_vec()),
            ..Self::new(parent.size, parent.block_size)
        }
    }

    /// Writes whole sectors, as a guest does.
    pub(crate) fn write(&mut self, offset: usize, bytes: &[u8]) {
        let sector_size = self.sector_size;
        assert!(offset.is_multiple_of(sector_size) && bytes.len().is_multiple_of(sector_size));
        for (index, sector) in bytes.chunks(sector_size).enumerate() {
            let at = offset + index * sector_size;
            let (block, within) = (at / self.block_size, at % self.block_size);
            let (size, state) = (self.block_size, if self.parent.is_some() { 7 } else { 6 });
            let empty = || (state, vec![0; size], vec![false; size / sector_size]);
            let (state, data, written) = self.blocks.entry(block).or_insert_with(empty);
            written[within / sector_size] = true;
            put(data, within, sector);
            if written.iter().all(|written| *written) {
                *state = 6;
            }
        }
    }

    fn chunk_ratio(&self) -> usize {
        (1 << 23) * self.sector_size / self.block_size
    }

    /// Where the entry of `block` is in the file.
    pub(crate) fn entry_at(&self, block: usize) -> usize {
        BAT_AT + (block + block / self.chunk_ratio()) * 8
    }

    pub(crate) fn build(&self) -> Vec<u8> {
        let mut file = vec![0; BLOCKS_AT];
        put(&mut file, 0, b"vhdxfile");
        for (at, sequence) in [(64 << 10, 7), (128 << 10, 8)] {
            let header = self.header(sequence);
            put(&mut file, at, &header);
        }
        let table = regions();
        put(&mut file, 192 << 10, &table);
        put(&mut file, 256 << 10, &table);
        if let Some((_, log)) = &self.log {
            put(&mut file, LOG_AT, log);
        }
        put(&mut file, METADATA_AT, &self.metadata());
        for (block, state) in &self.states {
            put(&mut file, self.entry_at(*block), &state.to_le_bytes());
        }
        let ratio = self.chunk_ratio();
        let mut bitmaps: BTreeMap<usize, Vec<u8>> = BTreeMap::new();
        for (block, (state, data, written)) in &self.blocks {
            let at = file.len().next_multiple_of(MIB);
            let entry = u64::try_from(at).unwrap() | state;
            put(&mut file, self.entry_at(*block), &entry.to_le_bytes());
            file.resize(at, 0);
            file.extend_from_slice(data);
            if *state == 7 {
                let bits = bitmaps.entry(block / ratio).or_insert_with(|| vec![0; MIB]);
                let first = block % ratio * written.len();
                for (bit, _) in written.iter().enumerate().filter(|(_, written)| **written) {
                    bits[(first + bit) / 8] |= 1 << ((first + bit) % 8);
                }
            }
        }
        for (chunk, bits) in bitmaps {
            let at = file.len().next_multiple_of(MIB);
            let entry = u64::try_from(at).unwrap() | 6;
            put(&mut file, BAT_AT + ((chunk + 1) * ratio + chunk) * 8, &entry.to_le_bytes());
            file.resize(at, 0);
            file.extend_from_slice(&bits);
        }
        file
    }

    pub(crate) fn header(&self, sequence: u64) -> Vec<u8> {
        let mut header = vec![0; 4096];
        put(&mut header, 0x00, b"head");
        put(&mut header, 0x08, &sequence.to_le_bytes());
        put(&mut header, 0x10, &[0x22; 16]);
        put(&mut header, 0x20, &self.data_write);
        if let Some((guid, _)) = &self.log {
            put(&mut header, 0x30, guid);
        }
        put(&mut header, 0x42, &1_u16.to_le_bytes());
        put(&mut header, 0x44, &u32::try_from(LOG_BYTES).unwrap().to_le_bytes());
        put(&mut header, 0x48, &u64::try_from(LOG_AT).unwrap().to_le_bytes());
        put_checksum(&mut header, 4);
        header
    }

    /// The metadata, as much as is used of its region.
    pub(crate) fn metadata(&self) -> Vec<u8> {
        let flags = u32::from(self.is_fixed) | if self.parent.is_some() { 2 } else { 0 };
        let block_size = u32::try_from(self.block_size).unwrap();
        let sector_size = u32::try_from(self.sector_size).unwrap().to_le_bytes().to_vec();
        let mut items = vec![
            (
                "CAA16737-FA36-4D43-B3B6-33F0AA44E76B",
                4_u32,
                [block_size.to_le_bytes(), flags.to_le_bytes()].concat(),
            ),
            ("2FA54224-CD1B-4876-B211-5DBED83BF4B8", 6, self.size.to_le_bytes().to_vec()),
            ("BECA12AB-B2E6-4523-93EF-C309E000C746", 6, vec![0x33; 16]),
            ("8141BF1D-A96F-4709-BA47-F233A8FAAB5F", 6, sector_size.clone()),
            ("CDA348C7-445D-4471-9CC9-E9885251C556", 6, sector_size),
        ];
        if let Some(pairs) = &self.parent {
            items.push(("A8D35F2D-B30B-454D-ABF7-D3D84834AB0C", 4, locator(pairs)));
        }
        let mut region = vec![0; 64 << 10];
        put(&mut region, 0, b"metadata");
        put(&mut region, 0x0A, &u16::try_from(items.len()).unwrap().to_le_bytes());
        for (index, (id, flags, bytes)) in items.iter().enumerate() {
            let entry = 0x20 + index * 32;
            let at = u32::try_from(region.len()).unwrap();
            put(&mut region, entry, &guid(id));
            put(&mut region, entry + 0x10, &at.to_le_bytes());
            put(&mut region, entry + 0x14, &u32::try_from(bytes.len()).unwrap().to_le_bytes());
            put(&mut region, entry + 0x18, &flags.to_le_bytes());
            region.extend_from_slice(bytes);
        }
        region
    }
}

/// A region table for the places above.
pub(crate) fn regions() -> Vec<u8> {
    let mut table = vec![0; 64 << 10];
    put(&mut table, 0, b"regi");
    put(&mut table, 8, &2_u32.to_le_bytes());
    for (entry, id, at) in [
        (0x10, "2DC27766-F623-4200-9D64-115E9BFD4A08", BAT_AT),
        (0x30, "8B7CA206-4790-4B9A-B8FE-575F050F886E", METADATA_AT),
    ] {
        put(&mut table, entry, &guid(id));
        put(&mut table, entry + 0x10, &u64::try_from(at).unwrap().to_le_bytes());
        put(&mut table, entry + 0x18, &u32::try_from(MIB).unwrap().to_le_bytes());
        put(&mut table, entry + 0x1C, &1_u32.to_le_bytes());
    }
    put_checksum(&mut table, 4);
    table
}

fn locator(pairs: &[(String, String)]) -> Vec<u8> {
    let mut item = vec![0; 20 + pairs.len() * 12];
    put(&mut item, 0, &guid("B04AEFB7-D19E-4A81-B789-25B8E9445913"));
    put(&mut item, 18, &u16::try_from(pairs.len()).unwrap().to_le_bytes());
    for (index, (key, value)) in pairs.iter().enumerate() {
        let entry = 20 + index * 12;
        for (part, text) in [key, value].into_iter().enumerate() {
            let text: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
            let at = u32::try_from(item.len()).unwrap();
            put(&mut item, entry + part * 4, &at.to_le_bytes());
            let length = u16::try_from(text.len()).unwrap();
            put(&mut item, entry + 8 + part * 2, &length.to_le_bytes());
            item.extend_from_slice(&text);
        }
    }
    item
}

/// An entry of a log: what it changes, and where the oldest entry that is needed begins.
pub(crate) struct EntryBuilder {
    pub(crate) guid: [u8; 16],
    pub(crate) sequence: u64,
    pub(crate) tail: u32,
    pub(crate) flushed: u64,
    pub(crate) last: u64,
    /// Places in the file, and the sectors that are written there, or how many zeros.
    pub(crate) changes: Vec<(u64, Result<Vec<u8>, u64>)>,
}

impl EntryBuilder {
    pub(crate) fn build(&self) -> Vec<u8> {
        let mut entry = vec![0; (64 + self.changes.len() * 32).next_multiple_of(4096)];
        let mut sectors = Vec::new();
        for (index, (at, change)) in self.changes.iter().enumerate() {
            let place = 64 + index * 32;
            match change {
                Ok(data) => {
                    put(&mut entry, place, b"desc");
                    put(&mut entry, place + 4, &data[4092..]);
                    put(&mut entry, place + 8, &data[..8]);
                    let sequence = self.sequence.to_le_bytes();
                    sectors.extend_from_slice(b"data");
                    sectors.extend_from_slice(&sequence[4..]);
                    sectors.extend_from_slice(&data[8..4092]);
                    sectors.extend_from_slice(&sequence[..4]);
                }
                Err(length) => {
                    put(&mut entry, place, b"zero");
                    put(&mut entry, place + 8, &length.to_le_bytes());
                }
            }
            put(&mut entry, place + 16, &at.to_le_bytes());
            put(&mut entry, place + 24, &self.sequence.to_le_bytes());
        }
        put(&mut entry, 0x00, b"loge");
        let length = u32::try_from(entry.len() + sectors.len()).unwrap();
        put(&mut entry, 0x08, &length.to_le_bytes());
        put(&mut entry, 0x0C, &self.tail.to_le_bytes());
        put(&mut entry, 0x10, &self.sequence.to_le_bytes());
        put(&mut entry, 0x18, &u32::try_from(self.changes.len()).unwrap().to_le_bytes());
        put(&mut entry, 0x20, &self.guid);
        put(&mut entry, 0x30, &self.flushed.to_le_bytes());
        put(&mut entry, 0x38, &self.last.to_le_bytes());
        entry.extend_from_slice(&sectors);
        put_checksum(&mut entry, 4);
        entry
    }
}
