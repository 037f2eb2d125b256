//! Writers of hives and of their logs, for tests.

use std::collections::BTreeMap;
use std::sync::Arc;

use volfold_fs::{FileData, FsResult};

use super::base_block::HEADER_SIZE;
use super::marvin::Marvin;

/// A file in memory.
pub(crate) struct MemoryFile(pub(crate) Vec<u8>);

impl FileData for MemoryFile {
    fn size(&self) -> u64 {
        self.0.len() as u64
    }

    fn memory(&self) -> u64 {
        self.size()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> FsResult<usize> {
        let from = self.0.get(offset as usize..).unwrap_or_default();
        let count = from.len().min(buf.len());
        buf[..count].copy_from_slice(&from[..count]);
        Ok(count)
    }
}

/// `bytes` as an open file.
pub(crate) fn file(bytes: impl Into<Vec<u8>>) -> Arc<dyn FileData> {
    Arc::new(MemoryFile(bytes.into()))
}

/// Text in UTF-16 with a NUL.
pub(crate) fn sz(text: &str) -> Vec<u8> {
    text.encode_utf16().chain([0]).flat_map(u16::to_le_bytes).collect()
}

/// A value: its name, the number of its kind, its data.
pub(crate) type TreeValue = (String, u32, Vec<u8>);

/// A key to be written.
#[derive(Clone, Default)]
pub(crate) struct Tree {
    pub(crate) class: String,
    pub(crate) flags: u16,
    pub(crate) values: Vec<TreeValue>,
    /// By their names in upper case.
    pub(crate) keys: BTreeMap<String, (String, Tree)>,
}

impl Tree {
    /// The key at `path`, made with all above it where it is not there.
    pub(crate) fn at(&mut self, path: &str) -> &mut Tree {
        path.split('\\').filter(|part| !part.is_empty()).fold(self, |key, part| {
            let made = key.keys.entry(part.to_uppercase());
            &mut made.or_insert_with(|| (part.to_owned(), Tree::default())).1
        })
    }

    pub(crate) fn value(&mut self, path: &str, name: &str, kind: u32, data: &[u8]) -> &mut Self {
        self.at(path).values.push((name.to_owned(), kind, data.to_vec()));
        self
    }

    pub(crate) fn sz(&mut self, path: &str, name: &str, text: &str) -> &mut Self {
        self.value(path, name, 1, &sz(text))
    }

    pub(crate) fn dword(&mut self, path: &str, name: &str, number: u32) -> &mut Self {
        self.value(path, name, 4, &number.to_le_bytes())
    }

    /// The hive of version 1.5 with this root.
    pub(crate) fn build(&self) -> Vec<u8> {
        Writer::new(5, *b"lh").build(self)
    }
}

/// Writes hives.
pub(crate) struct Writer {
    minor: u32,
    list: [u8; 2],
    /// Elements of a list, from which on there is a list of lists.
    pub(crate) leaf: usize,
    bins: Vec<u8>,
    /// Where the next cell goes, and where the last bin ends.
    next: usize,
}

impl Writer {
    /// Writes version 1.`minor` with lists of subkeys of the signature `list`.
    pub(crate) fn new(minor: u32, list: [u8; 2]) -> Self {
        Self { minor, list, leaf: 500, bins: Vec::new(), next: 0 }
    }

    /// Makes a cell in use with `content`, and gives its offset.
    pub(crate) fn cell(&mut self, content: &[u8]) -> u32 {
        let size = (content.len() + 4).next_multiple_of(8);
        if self.next + size > self.bins.len() {
            self.close_bin();
            let start = self.bins.len();
            let bin = (size + 32).next_multiple_of(4096);
            self.bins.resize(start + bin, 0);
            self.put(start, b"hbin");
            self.put(start + 4, &(start as u32).to_le_bytes());
            self.put(start + 8, &(bin as u32).to_le_bytes());
            self.put(start + 20, &WRITTEN.to_le_bytes());
            self.next = start + 32;
        }
        let at = self.next;
        self.put(at, &(-(size as i32)).to_le_bytes());
        self.put(at + 4, content);
        self.next += size;
        at as u32
    }

    fn close_bin(&mut self) {
        let left = self.bins.len() - self.next;
        if left > 0 {
            let at = self.next;
            self.put(at, &(left as i32).to_le_bytes());
            self.next = self.bins.len();
        }
    }

    fn put(&mut self, at: usize, bytes: &[u8]) {
        self.bins[at..at + bytes.len()].copy_from_slice(bytes);
    }

    /// Changes the content of the cell at `offset`.
    pub(crate) fn set(&mut self, offset: u32, field: usize, bytes: &[u8]) {
        self.put(offset as usize + 4 + field, bytes);
    }

    fn data(&mut self, data: &[u8]) -> (u32, [u8; 4]) {
        let size = data.len() as u32;
        if data.len() <= 4 {
            let mut inside = [0; 4];
            inside[..data.len()].copy_from_slice(data);
            return (size | 1 << 31, inside);
        }
        if data.len() <= 16_344 || self.minor <= 3 {
            return (size, self.cell(data).to_le_bytes());
        }
        let segments: Vec<u32> = data.chunks(16_344).map(|segment| self.cell(segment)).collect();
        let list: Vec<u8> = segments.iter().flat_map(|offset| offset.to_le_bytes()).collect();
        let list = self.cell(&list);
        let record = [&b"db"[..], &(segments.len() as u16).to_le_bytes(), &list.to_le_bytes()];
        (size, self.cell(&record.concat()).to_le_bytes())
    }

    fn value(&mut self, (name, kind, data): &TreeValue) -> u32 {
        let (size, data) = self.data(data);
        let (name, is_latin_1) = name_bytes(name);
        let mut value = b"vk".to_vec();
        value.extend((name.len() as u16).to_le_bytes());
        value.extend(size.to_le_bytes());
        value.extend(data);
        value.extend(kind.to_le_bytes());
        value.extend(u32::from(is_latin_1).to_le_bytes());
        value.extend(name);
        self.cell(&value)
    }

    /// Makes the key `name` in `parent`, and all below it.
    pub(crate) fn key(&mut self, name: &str, parent: u32, tree: &Tree) -> u32 {
        let (bytes, is_latin_1) = name_bytes(name);
        let flags = tree.flags | if is_latin_1 { 0x20 } else { 0 };
        let mut key = vec![0; 0x4C];
        key[..2].copy_from_slice(b"nk");
        key[2..4].copy_from_slice(&flags.to_le_bytes());
        key[4..12].copy_from_slice(&WRITTEN.to_le_bytes());
        key[0x10..0x14].copy_from_slice(&parent.to_le_bytes());
        for field in [0x1C, 0x20, 0x28, 0x2C, 0x30] {
            key[field..field + 4].fill(0xFF);
        }
        key[0x48..0x4A].copy_from_slice(&(bytes.len() as u16).to_le_bytes());
        key.extend(bytes);
        let offset = self.cell(&key);
        if !tree.class.is_empty() {
            let class: Vec<u8> = tree.class.encode_utf16().flat_map(u16::to_le_bytes).collect();
            let cell = self.cell(&class);
            self.set(offset, 0x30, &cell.to_le_bytes());
            self.set(offset, 0x4A, &(class.len() as u16).to_le_bytes());
        }
        if !tree.values.is_empty() {
            let values: Vec<u32> = tree.values.iter().map(|value| self.value(value)).collect();
            let list: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
            let list = self.cell(&list);
            self.set(offset, 0x24, &(values.len() as u32).to_le_bytes());
            self.set(offset, 0x28, &list.to_le_bytes());
        }
        let keys: Vec<(u32, String)> = tree
            .keys
            .values()
            .map(|(name, child)| (self.key(name, offset, child), name.clone()))
            .collect();
        if !keys.is_empty() {
            let list = self.subkey_list(&keys);
            self.set(offset, 0x14, &(keys.len() as u32).to_le_bytes());
            self.set(offset, 0x1C, &list.to_le_bytes());
        }
        offset
    }

    fn subkey_list(&mut self, keys: &[(u32, String)]) -> u32 {
        let leaves: Vec<u32> = keys.chunks(self.leaf).map(|keys| self.leaf_list(keys)).collect();
        match leaves[..] {
            [leaf] => leaf,
            _ => {
                let mut list = b"ri".to_vec();
                list.extend((leaves.len() as u16).to_le_bytes());
                list.extend(leaves.iter().flat_map(|leaf| leaf.to_le_bytes()));
                self.cell(&list)
            }
        }
    }

    fn leaf_list(&mut self, keys: &[(u32, String)]) -> u32 {
        let mut list = self.list.to_vec();
        list.extend((keys.len() as u16).to_le_bytes());
        for (offset, name) in keys {
            list.extend(offset.to_le_bytes());
            match &self.list {
                b"lh" => list.extend(hash(name).to_le_bytes()),
                b"lf" => {
                    let mut hint = [0; 4];
                    if name.is_ascii() {
                        let length = name.len().min(4);
                        hint[..length].copy_from_slice(&name.as_bytes()[..length]);
                    }
                    list.extend(hint);
                }
                _ => {}
            }
        }
        self.cell(&list)
    }

    /// The hive whose root is `tree`.
    pub(crate) fn build(mut self, tree: &Tree) -> Vec<u8> {
        let root = Tree { flags: tree.flags | 0x0C, ..tree.clone() };
        let root = self.key("ROOT", u32::MAX, &root);
        self.finish(root)
    }

    /// The hive with the root key in the cell at `root`.
    pub(crate) fn finish(mut self, root: u32) -> Vec<u8> {
        self.close_bin();
        let mut bytes = vec![0; 4096];
        bytes[..4].copy_from_slice(b"regf");
        let mut put = |at: usize, number: u32| {
            bytes[at..at + 4].copy_from_slice(&number.to_le_bytes());
        };
        put(0x04, 7);
        put(0x08, 7);
        put(0x14, 1);
        put(0x18, self.minor);
        put(0x20, 1);
        put(0x24, root);
        put(0x28, self.bins.len() as u32);
        put(0x2C, 1);
        bytes[0x0C..0x14].copy_from_slice(&WRITTEN.to_le_bytes());
        let name = sz(r"\SystemRoot\config\TEST");
        bytes[0x30..0x30 + name.len()].copy_from_slice(&name);
        bytes.extend(self.bins);
        seal(&mut bytes);
        bytes
    }
}

/// The FILETIME in all that is written: 2024-05-06T09:08:09Z.
pub(crate) const WRITTEN: u64 = 133_594_600_890_000_000;

fn name_bytes(name: &str) -> (Vec<u8>, bool) {
    let latin_1: Option<Vec<u8>> = name.chars().map(|unit| u8::try_from(unit).ok()).collect();
    match latin_1 {
        Some(bytes) => (bytes, true),
        None => (name.encode_utf16().flat_map(u16::to_le_bytes).collect(), false),
    }
}

fn hash(name: &str) -> u32 {
    let step = |sum: u32, unit: u16| sum.wrapping_mul(37).wrapping_add(unit.into());
    name.to_uppercase().encode_utf16().fold(0, step)
}

/// Makes the checksum of the base block at the start of `bytes` right.
pub(crate) fn seal(bytes: &mut [u8]) {
    let (numbers, _) = bytes[..0x1FC].as_chunks::<4>();
    let sum = numbers.iter().fold(0, |sum, number| sum ^ u32::from_le_bytes(*number));
    bytes[0x1FC..HEADER_SIZE].copy_from_slice(&sum.to_le_bytes());
}

/// Sets the two sequence numbers in the base block of `bytes`.
pub(crate) fn set_sequences(bytes: &mut [u8], primary: u32, secondary: u32) {
    bytes[4..8].copy_from_slice(&primary.to_le_bytes());
    bytes[8..12].copy_from_slice(&secondary.to_le_bytes());
    seal(bytes);
}

/// The pages of `after` that differ from those of `before`, or are not there: their numbers.
fn changed_pages(before: &[u8], after: &[u8], page: usize) -> Vec<usize> {
    let old: Vec<&[u8]> = before[4096..].chunks(page).collect();
    let new = after[4096..].chunks(page).enumerate();
    new.filter(|(number, bytes)| old.get(*number) != Some(bytes))
        .map(|(number, _)| number)
        .collect()
}

/// A log entry with the number `sequence` that makes the hive `after` of the hive `before`.
pub(crate) fn log_entry(before: &[u8], after: &[u8], sequence: u32) -> Vec<u8> {
    let pages = changed_pages(before, after, 4096);
    let mut entry = b"HvLE".to_vec();
    entry.resize(40, 0);
    for page in &pages {
        entry.extend((*page as u32 * 4096).to_le_bytes());
        entry.extend(4096_u32.to_le_bytes());
    }
    for page in &pages {
        entry.extend(&after[4096 + page * 4096..][..4096]);
    }
    entry.resize(entry.len().next_multiple_of(512), 0);
    let size = entry.len() as u32;
    let bins = after.len() as u32 - 4096;
    for (at, number) in [(4, size), (12, sequence), (16, bins), (20, pages.len() as u32)] {
        entry[at..at + 4].copy_from_slice(&number.to_le_bytes());
    }
    seal_entry(&mut entry);
    entry
}

/// Makes the hashes of a log entry right.
pub(crate) fn seal_entry(entry: &mut [u8]) {
    let hash = Marvin::of(&entry[40..]);
    entry[24..32].copy_from_slice(&hash.to_le_bytes());
    let hash = Marvin::of(&entry[..32]);
    entry[32..40].copy_from_slice(&hash.to_le_bytes());
}

/// A log of the new form for `hive` with `entries`, the first of which has the number `sequence`.
pub(crate) fn new_log(hive: &[u8], sequence: u32, entries: &[Vec<u8>]) -> Vec<u8> {
    let mut log = hive[..512].to_vec();
    log[0x1C] = 6;
    set_sequences(&mut log, sequence, sequence);
    log.extend(entries.concat());
    log
}

/// A log of the old form that makes the hive `after` of the hive `before`.
pub(crate) fn old_log(before: &[u8], after: &[u8]) -> Vec<u8> {
    let pages = changed_pages(before, after, 512);
    let mut log = after[..512].to_vec();
    log[0x1C] = 1;
    let sequence = u32::from_le_bytes([after[4], after[5], after[6], after[7]]) + 1;
    set_sequences(&mut log, sequence, sequence);
    log.extend(b"DIRT");
    let mut bitmap = vec![0; (after.len() - 4096) / 4096];
    for page in &pages {
        bitmap[page / 8] |= 1 << (page % 8);
    }
    log.extend(bitmap);
    log.resize(log.len().next_multiple_of(512), 0);
    for page in &pages {
        log.extend(&after[4096 + page * 512..][..512]);
    }
    log
}
