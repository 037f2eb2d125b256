//! Writes EWF images field by field, as their specification has them.

use flate2::Compression;
use flate2::write::ZlibEncoder;
use std::io::Write;

/// Sectors of a chunk in these images.
pub(crate) const SECTORS_OF_CHUNK: u32 = 2;
pub(crate) const CHUNK: usize = 1024;

/// Adler-32, as RFC 1950 computes it.
pub(crate) fn adler(bytes: &[u8]) -> u32 {
    let (mut low, mut high) = (1_u32, 0_u32);
    for byte in bytes {
        low = (low + u32::from(*byte)) % 65521;
        high = (high + low) % 65521;
    }
    high << 16 | low
}

fn zlib(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// `bytes`, and their checksum.
fn with_sum(mut bytes: Vec<u8>) -> Vec<u8> {
    let sum = adler(&bytes);
    bytes.extend(sum.to_le_bytes());
    bytes
}

/// One file of an image.
pub(crate) struct File {
    pub(crate) bytes: Vec<u8>,
    /// Entries of the chunks that no table has.
    entries: Vec<u32>,
    base: u64,
}

impl File {
    pub(crate) fn new(number: u16) -> Self {
        let mut bytes = b"EVF\x09\x0D\x0A\xFF\0\x01".to_vec();
        bytes.extend(number.to_le_bytes());
        bytes.extend([0, 0]);
        Self { bytes, entries: Vec::new(), base: 0 }
    }

    /// A section with this data.
    pub(crate) fn section(mut self, name: &str, data: &[u8]) -> Self {
        let at = self.bytes.len() as u64;
        let size = 76 + data.len() as u64;
        let is_last = ["next", "done"].contains(&name);
        let mut head = name.as_bytes().to_vec();
        head.resize(16, 0);
        head.extend((if is_last { at } else { at + size }).to_le_bytes());
        head.extend((if is_last { 0 } else { size }).to_le_bytes());
        head.resize(72, 0);
        self.bytes.extend(with_sum(head));
        self.bytes.extend(data);
        self
    }

    /// The section with the shape, in EnCase's form.
    pub(crate) fn shape(self, name: &str, sectors: u64, set: [u8; 16]) -> Self {
        let mut data = vec![1, 0, 0, 0];
        let chunks = sectors.div_ceil(SECTORS_OF_CHUNK.into());
        data.extend(u32::try_from(chunks).unwrap().to_le_bytes());
        data.extend(SECTORS_OF_CHUNK.to_le_bytes());
        data.extend(512_u32.to_le_bytes());
        data.extend(sectors.to_le_bytes());
        data.resize(64, 0);
        data.extend(set);
        data.resize(1048, 0);
        self.section(name, &with_sum(data))
    }

    /// The same in SMART's form.
    pub(crate) fn short_shape(self, sectors: u32) -> Self {
        let mut data = vec![1, 0, 0, 0];
        data.extend(sectors.div_ceil(SECTORS_OF_CHUNK).to_le_bytes());
        data.extend(SECTORS_OF_CHUNK.to_le_bytes());
        data.extend(512_u32.to_le_bytes());
        data.extend(sectors.to_le_bytes());
        data.resize(85, 0);
        data.extend(b"SMART");
        self.section("volume", &with_sum(data))
    }

    /// A section with chunks, compressed or not in turn.
    pub(crate) fn sectors(mut self, disk: &[u8]) -> Self {
        self.base = self.bytes.len() as u64;
        let mut data = Vec::new();
        for (index, chunk) in disk.chunks(CHUNK).enumerate() {
            let offset = u32::try_from(76 + data.len()).unwrap();
            if index % 2 == 0 {
                self.entries.push(offset | 1 << 31);
                data.extend(zlib(chunk));
            } else {
                self.entries.push(offset);
                data.extend(with_sum(chunk.to_vec()));
            }
        }
        self.section("sectors", &data)
    }

    /// The table of the last chunks.
    pub(crate) fn table(self, name: &str) -> Self {
        let mut data = u32::try_from(self.entries.len()).unwrap().to_le_bytes().to_vec();
        data.extend([0; 4]);
        data.extend(self.base.to_le_bytes());
        data.extend([0; 4]);
        let mut data = with_sum(data);
        let entries: Vec<u8> = self.entries.iter().flat_map(|it| it.to_le_bytes()).collect();
        data.extend(with_sum(entries));
        self.section(name, &data)
    }

    /// Chunks in the section of their table, as SMART has them; `is_guarded`: as EnCase 1 has them.
    pub(crate) fn old_table(self, disk: &[u8], is_guarded: bool) -> Self {
        let count = disk.chunks(CHUNK).count();
        let mut data = u32::try_from(count).unwrap().to_le_bytes().to_vec();
        data.extend([0; 16]);
        let mut data = with_sum(data);
        let start = self.bytes.len() + 76 + data.len() + count * 4 + usize::from(is_guarded) * 4;
        let (mut entries, mut chunks) = (Vec::new(), Vec::new());
        for chunk in disk.chunks(CHUNK) {
            let offset = u32::try_from(start + chunks.len()).unwrap();
            entries.extend((offset | 1 << 31).to_le_bytes());
            chunks.extend(zlib(chunk));
        }
        data.extend(if is_guarded { with_sum(entries) } else { entries });
        data.extend(chunks);
        self.section("table", &data)
    }

    /// A list of runs of sectors that could not be read.
    pub(crate) fn errors(self, runs: &[(u32, u32)]) -> Self {
        let mut data = u32::try_from(runs.len()).unwrap().to_le_bytes().to_vec();
        data.resize(516, 0);
        let mut data = with_sum(data);
        let entries = runs
            .iter()
            .flat_map(|(first, count)| [first.to_le_bytes(), count.to_le_bytes()].concat());
        data.extend(with_sum(entries.collect()));
        self.section("error2", &data)
    }

    pub(crate) fn hash(self, md5: [u8; 16]) -> Self {
        let mut data = md5.to_vec();
        data.resize(32, 0);
        self.section("hash", &with_sum(data))
    }

    pub(crate) fn digest(self, md5: [u8; 16], sha1: [u8; 20]) -> Self {
        let mut data = [&md5[..], &sha1].concat();
        data.resize(76, 0);
        self.section("digest", &with_sum(data))
    }

    pub(crate) fn end(self, name: &str) -> Vec<u8> {
        self.section(name, &[]).bytes
    }
}

/// A disk of `sectors` sectors, half text and half noise.
pub(crate) fn disk(sectors: usize) -> Vec<u8> {
    let mut noise = 0x2545_F491_u32;
    (0..sectors * 512)
        .map(|at| {
            noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            if (at / CHUNK).is_multiple_of(2) {
                b"volfold "[at % 8]
            } else {
                noise.to_be_bytes()[0]
            }
        })
        .collect()
}

/// An image of `disk` in one file, as EnCase 6 writes it.
pub(crate) fn image(disk: &[u8]) -> Vec<u8> {
    let sectors = (disk.len() / 512) as u64;
    File::new(1)
        .section("header", &zlib(b"1\nmain\n"))
        .shape("volume", sectors, [7; 16])
        .sectors(disk)
        .table("table")
        .table("table2")
        .shape("data", sectors, [7; 16])
        .digest([1; 16], [2; 20])
        .hash([1; 16])
        .end("done")
}
