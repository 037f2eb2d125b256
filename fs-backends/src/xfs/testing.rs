//! Builders for the tests of this driver.

#[cfg(unix)]
use volfold_block::{BlockDevice, BlockResult};

use super::bytes::put;
use super::checksum;
use super::superblock::Superblock;

const BLOCK: usize = 512;

/// An operation of a record: number of its transaction, flags, region.
pub(super) type Operation = (u32, u8, Vec<u8>);

/// A log, record by record.
pub(super) struct LogBuilder {
    pub(super) bytes: Vec<u8>,
    uuid: [u8; 16],
    cycle: u32,
    at: usize,
    /// What records name as the tail: the first of them, if nothing else is said.
    pub(super) tail: u64,
}

impl LogBuilder {
    /// A log of `blocks` blocks in which the next record begins at block `at` in round `cycle`.
    pub(super) fn new(blocks: usize, uuid: [u8; 16], (cycle, at): (u32, usize)) -> Self {
        let mut bytes = vec![0; blocks * BLOCK];
        for (index, block) in bytes.chunks_mut(BLOCK).enumerate() {
            let round = if index < at { cycle } else { cycle - 1 };
            put(block, 0, &round.to_be_bytes()).unwrap();
        }
        let tail = lsn(cycle, at);
        Self { bytes, uuid, cycle, at, tail }
    }

    /// The block where the next record begins.
    pub(super) fn next(&self) -> usize {
        self.at
    }

    /// Appends a record, and tells where it begins.
    pub(super) fn record(&mut self, operations: &[Operation]) -> usize {
        let mut data = Vec::new();
        for (number, flags, region) in operations {
            data.extend(number.to_be_bytes());
            data.extend(u32::try_from(region.len()).unwrap().to_be_bytes());
            data.extend([0x69, *flags, 0, 0]);
            data.extend(region);
        }
        data.resize(data.len().next_multiple_of(BLOCK), 0);
        let begin = self.at;
        let mut header = vec![0; BLOCK];
        let fields: [(usize, &[u8]); 10] = [
            (0x00, &0xFEED_BABE_u32.to_be_bytes()),
            (0x04, &self.cycle.to_be_bytes()),
            (0x08, &2_u32.to_be_bytes()),
            (0x0C, &u32::try_from(data.len()).unwrap().to_be_bytes()),
            (0x10, &lsn(self.cycle, begin).to_be_bytes()),
            (0x18, &self.tail.to_be_bytes()),
            (0x28, &u32::try_from(operations.len()).unwrap().to_be_bytes()),
            (0x12C, &1_u32.to_be_bytes()),
            (0x130, &self.uuid),
            (0x140, &32768_u32.to_be_bytes()),
        ];
        for (at, field) in fields {
            put(&mut header, at, field).unwrap();
        }
        self.step();
        let mut places = Vec::new();
        for (index, block) in data.chunks_mut(BLOCK).enumerate() {
            put(&mut header, 0x2C + index * 4, &block[..4]).unwrap();
            put(block, 0, &self.cycle.to_be_bytes()).unwrap();
            places.push(self.at);
            self.step();
        }
        let sum = crc32c::crc32c_append(checksum::of(&header[..328], 0x20).unwrap(), &data);
        put(&mut header, 0x20, &sum.to_le_bytes()).unwrap();
        self.block(begin).copy_from_slice(&header);
        for (place, block) in places.into_iter().zip(data.chunks(BLOCK)) {
            self.block(place).copy_from_slice(block);
        }
        begin
    }

    /// Appends the record that says that the volume was unmounted.
    pub(super) fn unmount(&mut self) -> usize {
        self.record(&[(1, 0x20, vec![0; 8])])
    }

    /// The bytes of block `at`.
    pub(super) fn block(&mut self, at: usize) -> &mut [u8] {
        &mut self.bytes[at * BLOCK..][..BLOCK]
    }

    fn step(&mut self) {
        self.at += 1;
        if self.at * BLOCK == self.bytes.len() {
            (self.at, self.cycle) = (0, self.cycle + 1);
        }
    }
}

pub(super) fn lsn(cycle: u32, block: usize) -> u64 {
    u64::from(cycle) << 32 | u64::try_from(block).unwrap()
}

/// The operations of a transaction of one region in each of `items`.
pub(super) fn transaction(number: u32, items: &[Vec<u8>]) -> Vec<Operation> {
    let mut header = b"NART".to_vec();
    header.resize(16, 0);
    let mut all = vec![(number, 0x01, Vec::new()), (number, 0, header)];
    all.extend(items.iter().map(|item| (number, 0, item.clone())));
    all.push((number, 0x02, Vec::new()));
    all
}

/// An item of one region: its type, how many regions, and what comes after.
#[cfg(unix)]
pub(super) fn item(kind: u16, rest: &[u8]) -> Vec<u8> {
    [&kind.to_le_bytes()[..], &1_u16.to_le_bytes(), rest].concat()
}

/// A superblock of version 4: one group of 4096 blocks of 512 bytes, inodes of 256.
pub(super) fn superblock_v4() -> Superblock {
    let mut bytes = vec![0; BLOCK];
    let fields: [(usize, &[u8]); 10] = [
        (0x00, b"XFSB"),
        (0x04, &512_u32.to_be_bytes()),
        (0x08, &4096_u64.to_be_bytes()),
        (0x54, &4096_u32.to_be_bytes()),
        (0x58, &1_u32.to_be_bytes()),
        (0x64, &0xB4A4_u16.to_be_bytes()),
        (0x66, &512_u16.to_be_bytes()),
        (0x68, &256_u16.to_be_bytes()),
        (0x78, &[9, 9, 8, 1, 12]),
        (0xC8, &0x0A_u32.to_be_bytes()),
    ];
    for (at, field) in fields {
        put(&mut bytes, at, field).unwrap();
    }
    Superblock::parse(&bytes, 0).unwrap()
}

/// A large device of zeros but for some pieces.
#[cfg(unix)]
pub(super) struct SparseDevice {
    pub(super) size: u64,
    pub(super) pieces: Vec<(u64, Vec<u8>)>,
}

#[cfg(unix)]
impl BlockDevice for SparseDevice {
    fn size(&self) -> u64 {
        self.size
    }

    fn sector_size(&self) -> u32 {
        512
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> BlockResult<()> {
        let end = offset + u64::try_from(buf.len()).unwrap();
        assert!(end <= self.size, "a read of {offset} to {end}");
        buf.fill(0);
        for (start, bytes) in &self.pieces {
            let (from, to) = (offset.max(*start), end.min(*start + bytes.len() as u64));
            if from < to {
                let part = |origin: u64| (from - origin) as usize..(to - origin) as usize;
                buf[part(offset)].copy_from_slice(&bytes[part(*start)]);
            }
        }
        Ok(())
    }
}
