//! A writer of groups for the tests: small, in memory, and each test bends the one field it is of.

/// Sectors of the private region.
const PRIVATE: usize = 4096;

/// Sectors of the database in it.
const CONFIG: usize = PRIVATE - 200;

pub(super) fn guid(kind: u32, number: usize) -> String {
    format!("5eed0005-{kind:04x}-4000-8000-{number:012x}")
}

/// One record: kind, flags, update status and body.
#[derive(Clone)]
pub(super) struct Written {
    pub(super) kind: u8,
    pub(super) flags: u8,
    pub(super) update: u16,
    pub(super) body: Vec<u8>,
}

/// A group in the making.
#[derive(Clone)]
pub(super) struct GroupBuilder {
    pub(super) disks: usize,
    /// Sectors for volumes on each disk.
    pub(super) public: usize,
    pub(super) records: Vec<Written>,
    /// Volumes, components, partitions, disks.
    pub(super) counts: [usize; 4],
    pub(super) state: u16,
    pub(super) committed: u64,
    pub(super) pending: u64,
    pub(super) block_size: u32,
    pub(super) log: u8,
}

pub(super) fn var(number: u64) -> Vec<u8> {
    [&[8_u8][..], &number.to_be_bytes()].concat()
}

pub(super) fn words(text: &str) -> Vec<u8> {
    [&[text.len() as u8][..], text.as_bytes()].concat()
}

fn big(numbers: &[u64]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_be_bytes()).collect()
}

/// The checksum is the sum of all other bytes.
pub(super) fn seal(sector: &mut Vec<u8>) {
    sector.resize(512, 0);
    sector[8..12].fill(0);
    let sum: u32 = sector.iter().map(|byte| u32::from(*byte)).sum();
    sector[8..12].copy_from_slice(&sum.to_be_bytes());
}

/// A component: layout (1 striped, 2 spanned, 3 RAID-5), chunk, columns, and its partitions as
/// (disk, start, offset, size, column).
pub(super) struct Side<'a> {
    pub(super) layout: u8,
    pub(super) chunk: u64,
    pub(super) columns: u64,
    pub(super) parts: &'a [(usize, u64, u64, u64, u64)],
}

impl GroupBuilder {
    pub(super) fn new(disks: usize) -> Self {
        let mut group = Self {
            disks,
            public: 4096,
            records: Vec::new(),
            counts: [0; 4],
            state: 1,
            committed: 9,
            pending: 9,
            block_size: 128,
            log: 3,
        };
        let body = [var(1), words("Many-Dg0"), words(&guid(0, 0)), vec![0; 4], big(&[9])];
        group.push(0x35, 0, body.concat());
        for disk in 0..disks {
            let name = format!("Disk{disk}");
            let id = var(2 + disk as u64);
            let body = [id, words(&name), words(&guid(1, disk)), words(""), vec![0; 4], big(&[9])];
            group.push(0x34, 0, body.concat());
        }
        group.counts[3] = disks;
        group
    }

    pub(super) fn push(&mut self, kind: u8, flags: u8, body: Vec<u8>) -> &mut Written {
        self.records.push(Written { kind, flags, update: 0, body });
        self.records.last_mut().unwrap()
    }

    /// Adds volume `number` of `size` sectors.
    pub(super) fn volume(mut self, number: usize, size: u64, sides: &[Side<'_>]) -> Self {
        let id = 1000 + number as u64 * 100;
        let name = format!("Volume{number}");
        let hex = guid(2, number).replace('-', "");
        let bytes = (0..16).map(|at| u8::from_str_radix(&hex[at * 2..at * 2 + 2], 16).unwrap());
        let body = [
            [var(id), words(&name), words("gen"), words("")].concat(),
            b"ACTIVE\0\0\0\0\0\0\0\0\x03".to_vec(),
            [var(5), vec![0, 0, 0, 0x11], var(sides.len() as u64)].concat(),
            [big(&[9, 0]), var(size), vec![0, 0, 0, 0, 7], bytes.collect()].concat(),
        ];
        self.push(0x51, 0, body.concat());
        self.counts[0] += 1;
        let mut next = id + 1;
        for (index, side) in sides.iter().enumerate() {
            let component = next;
            let body = [
                [var(component), words(&format!("{name}-{index}")), words("ACTIVE")].concat(),
                [vec![side.layout, 0, 0, 0, 0], var(side.parts.len() as u64), big(&[9, 0])]
                    .concat(),
                [var(id), vec![0], var(side.chunk), var(side.columns)].concat(),
            ];
            self.push(0x32, 0x10, body.concat());
            self.counts[1] += 1;
            for (disk, start, offset, size, column) in side.parts {
                next += 1;
                let body = [
                    [var(next), words(&format!("part{next}")), vec![0; 4]].concat(),
                    [big(&[9, *start, *offset]), var(*size), var(component)].concat(),
                    [var(2 + *disk as u64), var(*column)].concat(),
                ];
                self.push(0x33, 0x08, body.concat());
                self.counts[2] += 1;
            }
            next += 1;
        }
        self
    }

    /// The database, from its header to its last block.
    fn database(&self) -> Vec<u8> {
        let blocks = CONFIG * 4;
        let mut bytes = b"VMDB".to_vec();
        for number in [blocks as u32, self.block_size, 512] {
            bytes.extend(number.to_be_bytes());
        }
        bytes.extend(self.state.to_be_bytes());
        bytes.extend([0, 4, 0, 10]);
        bytes.extend(b"Many-Dg0".iter().chain(&[0; 23]));
        bytes.extend(guid(0, 0).bytes());
        bytes.resize(0x75, 0);
        bytes.extend(big(&[self.committed, self.pending]));
        for _ in 0..2 {
            bytes.extend(self.counts.iter().flat_map(|count| (*count as u32).to_be_bytes()));
            bytes.extend([0; 12]);
        }
        bytes.resize(512, 0);
        for (number, record) in (1_u32..).zip(&self.records) {
            let head = [&record.update.to_be_bytes()[..], &[record.flags, record.kind]].concat();
            let size = (record.body.len() as u32).to_be_bytes();
            let record = [&head[..], &size, &record.body].concat();
            let pieces: Vec<&[u8]> = record.chunks(112).collect();
            for (index, piece) in pieces.iter().enumerate() {
                block(&mut bytes, number, index as u16, pieces.len() as u16, piece);
            }
        }
        while bytes.len() < blocks * 128 {
            block(&mut bytes, 0, 0, 0, &[]);
        }
        bytes
    }

    fn header(&self, number: usize) -> Vec<u8> {
        let config = 63 + self.public;
        let last = PRIVATE as u64 - 1;
        let mut header = b"PRIVHEAD\0\0\0\0\0\x02\0\x0c".to_vec();
        header.extend(big(&[0, 1, last, last - 1]));
        let texts = [(0x30, guid(1, number)), (0xB0, guid(0, 0)), (0xF0, "Many-Dg0".to_owned())];
        for (at, text) in texts {
            header.resize(at, 0);
            header.extend(text.bytes());
        }
        header.resize(0x10F, 0);
        header.extend([0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        header.extend(big(&[63, self.public as u64, config as u64, PRIVATE as u64, 2, last - 2]));
        seal(&mut header);
        header
    }

    /// The bytes of each disk.
    pub(super) fn build(&self) -> Vec<Vec<u8>> {
        let database = self.database();
        let mut toc = [b"TOCBLOCK\0\0\0\0".to_vec(), big(&[1]), vec![0; 16]].concat();
        toc.extend(b"config\0\0\0\0");
        toc.extend(big(&[17, CONFIG as u64, 0]));
        toc.extend(b"log\0\0\0\0\0\0\0");
        toc.extend(big(&[17 + CONFIG as u64, 2, 0]));
        seal(&mut toc);
        let mut log = b"KLOG".to_vec();
        log.resize(0x18, 0);
        log.push(self.log);
        log.resize(512, 0);
        let disk = |number: usize| {
            let mut bytes = vec![0; (63 + self.public + PRIVATE) * 512];
            bytes[446 + 4] = 0x42;
            bytes[446 + 8..446 + 12].copy_from_slice(&63_u32.to_le_bytes());
            bytes[446 + 12..446 + 16].copy_from_slice(&(self.public as u32).to_le_bytes());
            bytes[510..512].copy_from_slice(&[0x55, 0xAA]);
            let header = self.header(number);
            let private = 63 + self.public;
            for (sector, part) in [
                (6, &header),
                (private + PRIVATE - 2, &header),
                (private + PRIVATE - 1, &header),
                (private + 2, &toc),
                (private + PRIVATE - 3, &toc),
                (private + 17, &database),
                (private + 17 + CONFIG, &log),
            ] {
                bytes[sector * 512..][..part.len()].copy_from_slice(part);
            }
            bytes
        };
        (0..self.disks).map(disk).collect()
    }
}

fn block(bytes: &mut Vec<u8>, group: u32, index: u16, count: u16, piece: &[u8]) {
    let number = bytes.len() as u32 / 128;
    bytes.extend(b"VBLK");
    bytes.extend([number.to_be_bytes(), group.to_be_bytes()].concat());
    bytes.extend([index.to_be_bytes(), count.to_be_bytes()].concat());
    bytes.extend(piece);
    bytes.resize((number as usize + 1) * 128, 0);
}
