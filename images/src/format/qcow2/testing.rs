//! Images that are put together field by field, as the specification has them.

use std::io::Write;

use flate2::Compression;
use flate2::write::DeflateEncoder;

/// The header, the L1 table, one L2 table, the table of snapshots, then the clusters.
pub(super) const L1: u64 = 1;
pub(super) const L2: u64 = 2;
pub(super) const SNAPSHOTS: u64 = 3;
pub(super) const DATA: u64 = 4;

/// Where fields of the header are.
pub(super) const VERSION: usize = 4;
pub(super) const NAME_AT: usize = 8;
pub(super) const NAME_SIZE: usize = 16;
pub(super) const CLUSTER_BITS: usize = 20;
pub(super) const SIZE: usize = 24;
pub(super) const ENCRYPTION: usize = 32;
pub(super) const L1_ENTRIES: usize = 36;
pub(super) const L1_AT: usize = 40;
pub(super) const SNAPSHOT_COUNT: usize = 60;
pub(super) const SNAPSHOTS_AT: usize = 64;
pub(super) const FEATURES: usize = 72;
pub(super) const HEADER_LENGTH: usize = 100;
pub(super) const METHOD: usize = 104;

/// An image of version 3 with one L2 table.
#[derive(Clone)]
pub(super) struct Builder {
    pub(super) bits: u32,
    pub(super) words: Vec<u64>,
    pub(super) clusters: Vec<Vec<u8>>,
    extensions: Vec<u8>,
    name: Option<String>,
    patches: Vec<(usize, Vec<u8>)>,
}

impl Builder {
    /// An image with clusters of as many bits, whose L2 table begins with `words`; its disk has a
    /// cluster for each.
    pub(super) fn new(bits: u32, words: &[u64]) -> Self {
        Self {
            bits,
            words: words.to_vec(),
            clusters: Vec::new(),
            extensions: Vec::new(),
            name: None,
            patches: Vec::new(),
        }
    }

    pub(super) fn cluster_size(&self) -> usize {
        1 << self.bits
    }

    /// The offset of the cluster number `index` of those that were added.
    pub(super) fn at(bits: u32, index: u64) -> u64 {
        (DATA + index) << bits
    }

    /// Adds a cluster of `byte`.
    pub(super) fn data(mut self, byte: u8) -> Self {
        self.clusters.push(vec![byte; self.cluster_size()]);
        self
    }

    /// Adds a cluster that begins with `bytes`.
    pub(super) fn bytes(mut self, bytes: &[u8]) -> Self {
        let mut cluster = bytes.to_vec();
        cluster.resize(self.cluster_size(), 0xEE);
        self.clusters.push(cluster);
        self
    }

    pub(super) fn extension(mut self, kind: u32, data: &[u8]) -> Self {
        self.extensions.extend(kind.to_be_bytes());
        self.extensions.extend(u32::try_from(data.len()).unwrap().to_be_bytes());
        self.extensions.extend(data);
        self.extensions.resize(self.extensions.len().next_multiple_of(8), 0);
        self
    }

    pub(super) fn parent(mut self, name: &str) -> Self {
        self.name = Some(name.to_owned());
        self
    }

    /// Other bytes at `at` of the file.
    pub(super) fn patch(mut self, at: usize, bytes: &[u8]) -> Self {
        self.patches.push((at, bytes.to_vec()));
        self
    }

    pub(super) fn u32(self, at: usize, value: u32) -> Self {
        self.patch(at, &value.to_be_bytes())
    }

    pub(super) fn u64(self, at: usize, value: u64) -> Self {
        self.patch(at, &value.to_be_bytes())
    }

    /// The features of the bits in `bits`; the header is as long as newer ones are.
    pub(super) fn features(self, bits: u64) -> Self {
        self.u64(FEATURES, bits)
    }

    /// Snapshots of other L1 tables: id, name, where the L1 table is, size of the disk.
    pub(super) fn snapshots(self, all: &[(&str, &str, u64, u64)]) -> Self {
        let mut table = Vec::new();
        for (id, name, l1_at, size) in all {
            let number = |length: usize| u16::try_from(length).unwrap().to_be_bytes();
            table.extend(l1_at.to_be_bytes());
            table.extend(1_u32.to_be_bytes());
            table.extend(number(id.len()));
            table.extend(number(name.len()));
            table.extend(1_700_000_000_u32.to_be_bytes());
            table.extend([0; 16]);
            table.extend(16_u32.to_be_bytes());
            table.extend([0; 8]);
            table.extend(size.to_be_bytes());
            table.extend(id.as_bytes());
            table.extend(name.as_bytes());
            table.resize(table.len().next_multiple_of(8), 0);
        }
        let at = SNAPSHOTS << self.bits;
        let count = u32::try_from(all.len()).unwrap();
        self.u32(SNAPSHOT_COUNT, count)
            .u64(SNAPSHOTS_AT, at)
            .patch(usize::try_from(at).unwrap(), &table)
    }

    pub(super) fn build(&self) -> Vec<u8> {
        let size = self.cluster_size();
        let words_of_entry = if self.bits >= 14 { 2 } else { 1 };
        let mut file = vec![0; size * usize::try_from(DATA).unwrap()];
        let mut put = |at: usize, bytes: &[u8]| file[at..at + bytes.len()].copy_from_slice(bytes);
        let at = |cluster: u64| usize::try_from(cluster).unwrap() * size;
        put(0, b"QFI\xFB");
        put(VERSION, &3_u32.to_be_bytes());
        put(CLUSTER_BITS, &self.bits.to_be_bytes());
        let disk = (self.words.len() / words_of_entry * size) as u64;
        put(SIZE, &disk.to_be_bytes());
        put(L1_ENTRIES, &1_u32.to_be_bytes());
        put(L1_AT, &(L1 << self.bits).to_be_bytes());
        put(HEADER_LENGTH, &112_u32.to_be_bytes());
        put(112, &self.extensions);
        if let Some(name) = &self.name {
            let start = 112 + self.extensions.len() + 8;
            put(NAME_AT, &(start as u64).to_be_bytes());
            put(NAME_SIZE, &u32::try_from(name.len()).unwrap().to_be_bytes());
            put(start, name.as_bytes());
        }
        put(at(L1), &((L2 << self.bits) | 1 << 63).to_be_bytes());
        for (index, word) in self.words.iter().enumerate() {
            put(at(L2) + index * 8, &word.to_be_bytes());
        }
        for cluster in &self.clusters {
            file.extend(cluster);
        }
        for (at, bytes) in &self.patches {
            file[*at..at + bytes.len()].copy_from_slice(bytes);
        }
        file
    }
}

/// `bytes` as QEMU compresses a cluster with zlib.
pub(super) fn raw_deflate(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// The entry for a compressed cluster of as many bytes at `at`, where clusters have `bits` bits.
pub(super) fn packed(bits: u32, at: u64, length: usize) -> u64 {
    let sectors = (at % 512 + length as u64).div_ceil(512) - 1;
    1 << 62 | sectors << (62 - (bits - 8)) | at
}
