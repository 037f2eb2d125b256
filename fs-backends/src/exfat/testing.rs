//! Small exFAT volumes, built in memory one structure at a time.

use std::sync::Arc;

use volfold_block::{BlockDevice, BlockError, BlockResult};

use super::ExfatDriver;
use super::checksum;
use super::entry::Entry;
use super::upcase::Upcase;
use crate::driver::{FileSystemDriver, ReadOptions, VolumeReader};
use crate::error::FsResult;
use crate::node::FileSystem;

/// The clusters that every volume has.
pub(super) const BITMAP: u32 = 2;
pub(super) const UPCASE: u32 = 3;
pub(super) const ROOT: u32 = 4;
pub(super) const END: u32 = u32::MAX;
const SECTOR: u64 = 512;

/// A volume in the making: sectors of 512 bytes, one table.
#[derive(Clone)]
pub(super) struct Builder {
    pub(super) cluster: u64,
    clusters: u32,
    table: u64,
    heap: u64,
    /// What was written, by its place.
    parts: Vec<(u64, Vec<u8>)>,
    root: Vec<Entry>,
    /// Entries of the table.
    links: Vec<(u32, u32)>,
    /// The clusters that the bitmap says are in use.
    pub(super) used: Vec<u32>,
    pub(super) upcase: Vec<u8>,
    pub(super) upcase_length: Option<u64>,
}

/// The set of a file, before its checksum is made.
#[derive(Clone)]
pub(super) struct Set(pub(super) Vec<Entry>);

impl Set {
    /// A file of `size` bytes that begins with `first`, contiguous or by a chain.
    pub(super) fn file(name: &str, first: u32, size: u64, is_contiguous: bool) -> Self {
        let units: Vec<u16> = name.encode_utf16().collect();
        Self::of(&units, first, size, is_contiguous)
    }

    pub(super) fn of(units: &[u16], first: u32, size: u64, is_contiguous: bool) -> Self {
        let mut file = [0; 32];
        file[0] = 0x85;
        file[4] = 0x20;
        let mut stream = [0; 32];
        stream[0] = 0xC0;
        stream[1] = if is_contiguous { 3 } else { 1 };
        stream[3] = units.len() as u8;
        let mut upper = units.to_vec();
        Upcase::given().fold(&mut upper);
        stream[4..6].copy_from_slice(&checksum::of_name(&upper).to_le_bytes());
        stream[8..16].copy_from_slice(&size.to_le_bytes());
        stream[20..24].copy_from_slice(&first.to_le_bytes());
        stream[24..].copy_from_slice(&size.to_le_bytes());
        let mut entries = vec![file, stream];
        for part in units.chunks(15) {
            let mut entry = [0; 32];
            entry[0] = 0xC1;
            for (to, unit) in entry[2..].as_chunks_mut::<2>().0.iter_mut().zip(part) {
                *to = unit.to_le_bytes();
            }
            entries.push(entry);
        }
        Self(entries).sealed()
    }

    /// A directory of one cluster.
    pub(super) fn directory(name: &str, first: u32, builder: &Builder) -> Self {
        Self::file(name, first, builder.cluster, true).with(0, 4, 0x10)
    }

    /// The same with the byte at `at` of the entry `entry` set, and a right checksum.
    pub(super) fn with(mut self, entry: usize, at: usize, byte: u8) -> Self {
        self.0[entry][at] = byte;
        self.sealed()
    }

    /// The same with the bytes at `at` of the Stream Extension set, and a right checksum.
    pub(super) fn with_stream(mut self, at: usize, bytes: &[u8]) -> Self {
        self.0[1][at..at + bytes.len()].copy_from_slice(bytes);
        self.sealed()
    }

    /// The same with another entry at its end.
    pub(super) fn and(mut self, entry: Entry) -> Self {
        self.0.push(entry);
        self.sealed()
    }

    /// The same with the count and the checksum of its entries.
    pub(super) fn sealed(mut self) -> Self {
        self.0[0][1] = (self.0.len() - 1) as u8;
        self.signed()
    }

    /// The same with the checksum of its entries, and the count that it has.
    pub(super) fn signed(mut self) -> Self {
        let (primary, later) = self.0.split_first().unwrap();
        let sum = checksum::of_set(primary, later).to_le_bytes();
        self.0[0][2..4].copy_from_slice(&sum);
        self
    }
}

impl Builder {
    /// A volume of `clusters` clusters of `cluster` bytes without files.
    pub(super) fn new(cluster: u64, clusters: u32) -> Self {
        let table = 24 * SECTOR;
        let table_size = ((u64::from(clusters) + 2) * 4).next_multiple_of(SECTOR);
        let given = (0..128_u8).flat_map(|unit| [unit.to_ascii_uppercase(), 0]);
        Self {
            cluster,
            clusters,
            table,
            heap: table + table_size,
            parts: Vec::new(),
            root: Vec::new(),
            links: vec![(0, 0xFFFF_FFF8), (1, END)],
            used: vec![BITMAP, UPCASE, ROOT],
            upcase: given.collect(),
            upcase_length: None,
        }
        .chain(&[BITMAP])
        .chain(&[UPCASE])
        .chain(&[ROOT])
    }

    /// Where `cluster` lies.
    pub(super) fn place(&self, cluster: u32) -> u64 {
        self.heap + u64::from(cluster - 2) * self.cluster
    }

    /// Sets an entry of the table.
    pub(super) fn link(mut self, cluster: u32, to: u32) -> Self {
        self.links.push((cluster, to));
        self
    }

    /// A chain of these clusters.
    pub(super) fn chain(mut self, clusters: &[u32]) -> Self {
        let next = clusters.iter().skip(1).copied().chain([END]);
        self.links.extend(clusters.iter().copied().zip(next));
        self.used(clusters)
    }

    /// Marks these clusters in the bitmap.
    pub(super) fn used(mut self, clusters: &[u32]) -> Self {
        self.used.extend(clusters);
        self
    }

    /// Writes `bytes` from the beginning of `cluster` on.
    pub(super) fn fill(mut self, cluster: u32, bytes: &[u8]) -> Self {
        self.parts.push((self.place(cluster), bytes.to_vec()));
        self.used(&[cluster])
    }

    /// Writes the sets from the beginning of `cluster` on.
    pub(super) fn directory(self, cluster: u32, sets: &[Set]) -> Self {
        let bytes: Vec<u8> = sets.iter().flat_map(|set| set.0.as_flattened()).copied().collect();
        self.fill(cluster, &bytes)
    }

    /// Adds a set to the root directory, which has one cluster unless it is given a chain.
    pub(super) fn add(mut self, set: Set) -> Self {
        self.root.extend(set.0);
        self
    }

    /// Adds an entry to the root directory.
    pub(super) fn entry(mut self, entry: Entry) -> Self {
        self.root.push(entry);
        self
    }

    /// The volume.
    pub(super) fn build(mut self) -> Sparse {
        let clusters = self.clusters;
        let mut bits = vec![0_u8; clusters.div_ceil(8) as usize];
        for cluster in &self.used {
            bits[(cluster - 2) as usize / 8] |= 1 << ((cluster - 2) % 8);
        }
        let bitmap = part(0x81, 0, BITMAP, u64::from(clusters.div_ceil(8)));
        let length = self.upcase_length.unwrap_or(self.upcase.len() as u64);
        let upcase = part(0x82, checksum::of_table(&self.upcase), UPCASE, length);
        let mut root = vec![label("A label"), bitmap, upcase];
        root.append(&mut self.root);
        let mut parts = self.boot();
        parts.extend(self.links.iter().map(|(cluster, to)| {
            (self.table + u64::from(*cluster) * 4, to.to_le_bytes().to_vec())
        }));
        parts.push((self.place(BITMAP), bits));
        parts.push((self.place(UPCASE), self.upcase.clone()));
        let bytes = root.as_flattened();
        let mut cluster = ROOT;
        for piece in bytes.chunks(self.cluster as usize) {
            parts.push((self.place(cluster), piece.to_vec()));
            let next = self.links.iter().rev().find(|(from, _)| *from == cluster);
            cluster = next.map_or(END, |(_, to)| *to).clamp(2, clusters + 1);
        }
        parts.append(&mut self.parts);
        let size = self.heap + u64::from(clusters) * self.cluster;
        Sparse { size, parts }
    }

    /// Both boot regions.
    fn boot(&self) -> Vec<(u64, Vec<u8>)> {
        let mut region = vec![0; 12 * SECTOR as usize];
        let size = self.heap + u64::from(self.clusters) * self.cluster;
        region[..11].copy_from_slice(b"\xEB\x76\x90EXFAT   ");
        let sectors = |bytes: u64| u32::try_from(bytes / SECTOR).unwrap().to_le_bytes();
        region[0x48..0x50].copy_from_slice(&(size / SECTOR).to_le_bytes());
        region[0x50..0x54].copy_from_slice(&sectors(self.table));
        region[0x54..0x58].copy_from_slice(&sectors(self.heap - self.table));
        region[0x58..0x5C].copy_from_slice(&sectors(self.heap));
        region[0x5C..0x60].copy_from_slice(&self.clusters.to_le_bytes());
        region[0x60..0x64].copy_from_slice(&ROOT.to_le_bytes());
        region[0x64..0x6A].copy_from_slice(&[0xCD, 0xAB, 0x34, 0x12, 0, 1]);
        let shift = (self.cluster / SECTOR).trailing_zeros() as u8;
        region[0x6C..0x6F].copy_from_slice(&[9, shift, 1]);
        region[0x1FE..0x200].copy_from_slice(&[0x55, 0xAA]);
        sign(&mut region);
        vec![(0, region.clone()), (12 * SECTOR, region)]
    }
}

/// Fills the last sector of a boot region with its checksum.
pub(super) fn sign(region: &mut [u8]) {
    let (sectors, sums) = region.split_at_mut(11 * SECTOR as usize);
    let sum = checksum::of_boot_region(sectors).to_le_bytes();
    sums.as_chunks_mut::<4>().0.fill(sum);
}

/// The entry of a part of the volume.
pub(super) fn part(kind: u8, sum: u32, first: u32, length: u64) -> Entry {
    let mut entry = [0; 32];
    entry[0] = kind;
    entry[4..8].copy_from_slice(&sum.to_le_bytes());
    entry[20..24].copy_from_slice(&first.to_le_bytes());
    entry[24..].copy_from_slice(&length.to_le_bytes());
    entry
}

fn label(text: &str) -> Entry {
    let mut entry = [0; 32];
    entry[0] = 0x83;
    entry[1] = text.len() as u8;
    for (to, unit) in entry[2..].as_chunks_mut::<2>().0.iter_mut().zip(text.encode_utf16()) {
        *to = unit.to_le_bytes();
    }
    entry
}

/// A device that has only the bytes that were written to it; a later part hides an earlier one.
#[derive(Clone)]
pub(super) struct Sparse {
    pub(super) size: u64,
    parts: Vec<(u64, Vec<u8>)>,
}

impl Sparse {
    /// The same with `bytes` at `place`.
    pub(super) fn with(mut self, place: u64, bytes: &[u8]) -> Self {
        self.parts.push((place, bytes.to_vec()));
        self
    }

    /// All bytes.
    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.size as usize];
        self.read_at(0, &mut bytes).unwrap();
        bytes
    }

    /// The volume of these bytes, mounted.
    pub(super) fn mount(self) -> FsResult<Arc<dyn FileSystem>> {
        ExfatDriver.mount(VolumeReader::uncached(Arc::new(self)), ReadOptions::default())
    }
}

impl BlockDevice for Sparse {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> BlockResult<()> {
        let length = buf.len() as u64;
        if offset.checked_add(length).is_none_or(|end| end > self.size) {
            return Err(BlockError::out_of_range(offset, length, self.size));
        }
        buf.fill(0);
        for (place, bytes) in &self.parts {
            let (from, to) =
                (offset.max(*place), (offset + length).min(place + bytes.len() as u64));
            if from < to {
                let part = &bytes[(from - place) as usize..(to - place) as usize];
                buf[(from - offset) as usize..(to - offset) as usize].copy_from_slice(part);
            }
        }
        Ok(())
    }
}

/// The codes of what was noticed up to now.
pub(super) fn codes(fs: &dyn FileSystem) -> Vec<&'static str> {
    fs.findings().iter().map(|finding| finding.code.as_str()).collect()
}

/// The codes of what `check` reports.
pub(super) fn checked(fs: &dyn FileSystem) -> Vec<&'static str> {
    let mut codes = Vec::new();
    fs.check(&mut |finding| codes.push(finding.code.as_str())).unwrap();
    codes
}
