//! QCOW2, version 3, with clusters of 64 KiB.
//!
//! Specification: QEMU, "Qcow2 Image File Format". Big-endian. The file is written once from its
//! begin to its end: the header, the L1 table, then the clusters of the disk, each L2 table after those
//! that it names, in the end the refcounts; the header and the L1 table are filled in last.

use std::io::{self, Seek, SeekFrom, Write};

use super::writer::{BLOCK, Writer};
use volfold_block::{byte_count, bytes_to_index};

/// Entries of an L2 table.
const L2_ENTRIES: u64 = BLOCK / 8;

/// Entries of a block of refcounts, of 16 bits.
const REFCOUNTS: u64 = BLOCK / 2;

/// LIMIT: bytes of a disk; QEMU takes L1 tables of 32 MiB, which are kept in memory here.
pub(super) const MAX_SIZE: u64 = (32 << 20) / 8 * L2_ENTRIES * BLOCK;

/// The bit of an entry for a cluster that nothing else uses.
const COPIED: u64 = 1 << 63;

/// Writes clusters in the order in which they come.
pub(super) struct Qcow2Writer<'a, W> {
    out: &'a mut W,
    size: u64,
    l1: Vec<u64>,
    /// The L2 table that is being filled, and its number.
    l2: Vec<u64>,
    l2_number: u64,
    /// The next cluster of the file.
    next: u64,
    block: usize,
}

impl<'a, W: Write + Seek> Qcow2Writer<'a, W> {
    /// Begins a file of a disk of `size` bytes.
    pub(super) fn new(out: &'a mut W, size: u64) -> io::Result<Self> {
        let block = usize::try_from(BLOCK).map_err(io::Error::other)?;
        let tables = size.div_ceil(BLOCK.saturating_mul(L2_ENTRIES)).max(1);
        let l1 = vec![0; usize::try_from(tables).map_err(io::Error::other)?];
        let l1_clusters = tables.saturating_mul(8).div_ceil(BLOCK);
        let next = l1_clusters.saturating_add(1);
        out.seek(SeekFrom::Start(next.saturating_mul(BLOCK)))?;
        Ok(Self { out, size, l1, l2: Vec::new(), l2_number: 0, next, block })
    }

    /// Writes `bytes` as the next cluster, filled up with zeros; where it is.
    fn append(&mut self, bytes: &[u8]) -> io::Result<u64> {
        let at = self.next.saturating_mul(BLOCK);
        self.out.write_all(bytes)?;
        if let Some(rest @ 1..) = self.block.checked_sub(bytes.len()) {
            self.out.write_all(&vec![0; rest])?;
        }
        self.next = self.next.saturating_add(1);
        Ok(at)
    }

    /// Writes the L2 table, if anything is in it, and goes on with table `number`.
    fn go_to_table(&mut self, number: u64) -> io::Result<()> {
        if !self.l2.is_empty() {
            let bytes: Vec<u8> = self.l2.iter().flat_map(|entry| entry.to_be_bytes()).collect();
            let at = self.append(&bytes)?;
            let place = usize::try_from(self.l2_number).ok().and_then(|it| self.l1.get_mut(it));
            if let Some(place) = place {
                *place = at | COPIED;
            }
            self.l2.clear();
        }
        self.l2_number = number;
        Ok(())
    }

    /// Writes the refcounts of all clusters, which are 1, and the table of them; where it is, and how
    /// many clusters it takes.
    fn refcounts(&mut self) -> io::Result<(u64, u64)> {
        // They count themselves.
        let (mut blocks, mut table) = (0_u64, 0_u64);
        loop {
            let all = self.next.saturating_add(blocks).saturating_add(table);
            let wanted = all.div_ceil(REFCOUNTS);
            let wanted_table = wanted.saturating_mul(8).div_ceil(BLOCK);
            if wanted <= blocks && wanted_table <= table {
                break;
            }
            (blocks, table) = (wanted.max(blocks), wanted_table.max(table));
        }
        let mut left = self.next.saturating_add(blocks).saturating_add(table);
        let mut places = Vec::new();
        for _ in 0..blocks {
            let count = left.min(REFCOUNTS);
            let bytes = bytes_to_index(count).map_err(io::Error::other)?;
            let ones: Vec<u8> = std::iter::repeat_n([0, 1], bytes).flatten().collect();
            places.push(self.append(&ones)?);
            left = left.saturating_sub(count);
        }
        let at = self.next.saturating_mul(BLOCK);
        let bytes: Vec<u8> = places.iter().flat_map(|place| place.to_be_bytes()).collect();
        for cluster in bytes.chunks(self.block) {
            self.append(cluster)?;
        }
        Ok((at, table))
    }

    fn header(&self, refcounts_at: u64, refcount_clusters: u64) -> io::Result<Vec<u8>> {
        let small = |number: u64| u32::try_from(number).map_err(io::Error::other);
        let mut header = b"QFI\xfb".to_vec();
        let mut put = |number: u32| header.extend(number.to_be_bytes());
        put(3);
        // No backing file.
        [0, 0, 0].into_iter().for_each(&mut put);
        put(BLOCK.trailing_zeros());
        header.extend(self.size.to_be_bytes());
        header.extend(0_u32.to_be_bytes());
        header.extend(small(byte_count(self.l1.len()))?.to_be_bytes());
        header.extend(BLOCK.to_be_bytes());
        header.extend(refcounts_at.to_be_bytes());
        header.extend(small(refcount_clusters)?.to_be_bytes());
        // No snapshots, no features.
        header.extend([0; 4 + 8 + 24]);
        // Refcounts of 2^4 bits; the size of the header.
        header.extend(4_u32.to_be_bytes());
        header.extend(104_u32.to_be_bytes());
        // No extension follows.
        header.extend([0; 8]);
        Ok(header)
    }
}

impl<W: Write + Seek> Writer for Qcow2Writer<'_, W> {
    fn block(&mut self, number: u64, bytes: &[u8]) -> io::Result<()> {
        let (table, entry) = (number / L2_ENTRIES, number % L2_ENTRIES);
        if table != self.l2_number {
            self.go_to_table(table)?;
        }
        if self.l2.is_empty() {
            self.l2.resize(usize::try_from(L2_ENTRIES).map_err(io::Error::other)?, 0);
        }
        let at = self.append(bytes)?;
        if let Some(place) = usize::try_from(entry).ok().and_then(|it| self.l2.get_mut(it)) {
            *place = at | COPIED;
        }
        Ok(())
    }

    fn finish(&mut self) -> io::Result<()> {
        self.go_to_table(0)?;
        let (at, clusters) = self.refcounts()?;
        let header = self.header(at, clusters)?;
        self.out.seek(SeekFrom::Start(0))?;
        self.out.write_all(&header)?;
        self.out.seek(SeekFrom::Start(BLOCK))?;
        let l1: Vec<u8> = self.l1.iter().flat_map(|entry| entry.to_be_bytes()).collect();
        self.out.write_all(&l1)?;
        self.out.flush()
    }
}
