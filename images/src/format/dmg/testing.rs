//! Writes DMG images field by field, as `hdiutil` does.

use std::io::Write;

use flate2::Compression;
use flate2::write::ZlibEncoder;

/// One run of a table.
#[derive(Clone)]
pub(crate) struct RunOf {
    pub(crate) kind: u32,
    pub(crate) sectors: u64,
    /// What is in the file.
    pub(crate) packed: Vec<u8>,
    /// What is on the disk.
    pub(crate) plain: Vec<u8>,
}

pub(crate) const ZERO: u32 = 0;
pub(crate) const RAW: u32 = 1;
pub(crate) const IGNORED: u32 = 2;
pub(crate) const ADC: u32 = 0x8000_0004;
pub(crate) const ZLIB: u32 = 0x8000_0005;
pub(crate) const BZIP2: u32 = 0x8000_0006;
pub(crate) const LZFSE: u32 = 0x8000_0007;
pub(crate) const LZMA: u32 = 0x8000_0008;

/// `plain` as runs of ADC: bytes as they are, and copies of what came just before.
pub(crate) fn adc(plain: &[u8]) -> Vec<u8> {
    let mut packed = Vec::new();
    let mut at = 0;
    while at < plain.len() {
        let same = plain[at..].iter().take_while(|byte| at > 0 && **byte == plain[at - 1]).count();
        // 8 bytes that were there 600 or 2000 bytes back.
        let far = |back: usize, count: usize| {
            at >= back && at + count <= plain.len() && {
                plain[at..at + count] == plain[at - back..at - back + count]
            }
        };
        if same >= 4 {
            let count = same.min(67);
            packed.extend([0x40 | (count - 4) as u8, 0, 0]);
            at += count;
        } else if far(600, 8) {
            packed.extend([5 << 2 | (599_u32 >> 8) as u8, (599_u32 & 0xFF) as u8]);
            at += 8;
        } else if far(2000, 40) {
            let [high, low] = 1999_u16.to_be_bytes();
            packed.extend([0x40 | 36, high, low]);
            at += 40;
        } else {
            let count = 5.min(plain.len() - at);
            packed.push(0x80 | (count - 1) as u8);
            packed.extend(&plain[at..at + count]);
            at += count;
        }
    }
    packed
}

pub(crate) fn zlib(plain: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(plain).unwrap();
    encoder.finish().unwrap()
}

pub(crate) fn bzip2(plain: &[u8]) -> Vec<u8> {
    let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::best());
    encoder.write_all(plain).unwrap();
    encoder.finish().unwrap()
}

pub(crate) fn lzfse(plain: &[u8]) -> Vec<u8> {
    let mut packed = Vec::new();
    lzfse_rust::encode_bytes(plain, &mut packed).unwrap();
    packed
}

/// A run of `plain` of the kind `kind`.
pub(crate) fn run(kind: u32, plain: &[u8]) -> RunOf {
    let packed = match kind {
        ZERO | IGNORED => Vec::new(),
        RAW => plain.to_vec(),
        ADC => adc(plain),
        ZLIB => zlib(plain),
        BZIP2 => bzip2(plain),
        LZFSE => lzfse(plain),
        other => unreachable!("{other:#x} is not packed here"),
    };
    RunOf { kind, sectors: (plain.len() / 512) as u64, packed, plain: plain.to_vec() }
}

/// A table of runs, as it is in the list, whose data is at the end of `data`.
fn table(first: u64, runs: &[RunOf], data: &mut Vec<u8>) -> Vec<u8> {
    let sectors: u64 = runs.iter().map(|run| run.sectors).sum();
    let mut sum = crc32fast::Hasher::new();
    runs.iter().filter(|run| run.kind != IGNORED).for_each(|run| sum.update(&run.plain));
    let mut table = b"mish\0\0\0\x01".to_vec();
    for number in [first, sectors, 0] {
        table.extend(number.to_be_bytes());
    }
    table.resize(0x40, 0);
    for number in [2, 32, sum.finalize()] {
        table.extend(number.to_be_bytes());
    }
    table.resize(0xC8, 0);
    table.extend((runs.len() as u32 + 1).to_be_bytes());
    let mut next: u64 = 0;
    let mut entry = |kind: u32, start: u64, sectors: u64, at: usize, length: usize| {
        table.extend(kind.to_be_bytes());
        table.extend([0; 4]);
        for number in [start, sectors, at as u64, length as u64] {
            table.extend(number.to_be_bytes());
        }
    };
    for run in runs {
        entry(run.kind, next, run.sectors, data.len(), run.packed.len());
        next += run.sectors;
        data.extend(&run.packed);
    }
    entry(0xFFFF_FFFF, next, 0, data.len(), 0);
    table
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for (index, three) in bytes.chunks(3).enumerate() {
        if index % 13 == 0 {
            text.push_str("\n\t\t\t\t");
        }
        let mut padded = [0; 4];
        padded[1..=three.len()].copy_from_slice(three);
        let bits = u32::from_be_bytes(padded);
        for digit in 0..4 {
            let value = (bits >> (18 - 6 * digit)) as usize & 63;
            text.push(if digit > three.len() { '=' } else { DIGITS[value] as char });
        }
    }
    text
}

/// How the tables are kept.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keep {
    List,
    Fork,
}

/// An image whose partitions have these runs, one after the other, and the disk that it is of.
pub(crate) fn image(partitions: &[Vec<RunOf>], keep: Keep) -> (Vec<u8>, Vec<u8>) {
    let mut bytes = Vec::new();
    let mut disk = Vec::new();
    let mut tables = Vec::new();
    for runs in partitions {
        tables.push(table((disk.len() / 512) as u64, runs, &mut bytes));
        runs.iter().for_each(|run| disk.extend(&run.plain));
    }
    let data_length = bytes.len() as u64;
    let kept = match keep {
        Keep::List => list(&tables),
        Keep::Fork => fork(&tables),
    };
    let (at, length) = (bytes.len() as u64, kept.len() as u64);
    bytes.extend(kept);
    let mut trailer = b"koly\0\0\0\x04\0\0\x02\0\0\0\0\x01".to_vec();
    let in_fork = if keep == Keep::Fork { (at, length) } else { (0, 0) };
    for number in [0, 0, data_length, in_fork.0, in_fork.1] {
        trailer.extend(number.to_be_bytes());
    }
    trailer.extend([0, 0, 0, 1, 0, 0, 0, 1]);
    trailer.resize(0xD8, 0);
    let in_list = if keep == Keep::List { (at, length) } else { (0, 0) };
    for number in [in_list.0, in_list.1] {
        trailer.extend(number.to_be_bytes());
    }
    trailer.resize(0x1E8, 0);
    trailer.extend(1_u32.to_be_bytes());
    trailer.extend(((disk.len() / 512) as u64).to_be_bytes());
    trailer.resize(512, 0);
    bytes.extend(trailer);
    (bytes, disk)
}

fn list(tables: &[Vec<u8>]) -> Vec<u8> {
    let mut text = String::from(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <!DOCTYPE plist PUBLIC \"-//Apple Computer//DTD PLIST 1.0//EN\" \
         \"http://www.apple.com/DTDs/PropertyList-1.0.dtd\">\n\
         <plist version=\"1.0\">\n<dict>\n\t<key>resource-fork</key>\n\t<dict>\n\
         \t\t<key>blkx</key>\n\t\t<array>\n",
    );
    for (index, table) in tables.iter().enumerate() {
        text.push_str(&format!(
            "\t\t\t<dict>\n\t\t\t\t<key>Attributes</key>\n\t\t\t\t<string>0x0050</string>\n\
             \t\t\t\t<key>Data</key>\n\t\t\t\t<data>{}\n\t\t\t\t</data>\n\
             \t\t\t\t<key>ID</key>\n\t\t\t\t<string>{index}</string>\n\
             \t\t\t\t<key>Name</key>\n\t\t\t\t<string>part {index}</string>\n\t\t\t</dict>\n",
            base64(table)
        ));
    }
    text.push_str("\t\t</array>\n\t</dict>\n</dict>\n</plist>\n");
    text.into_bytes()
}

fn fork(tables: &[Vec<u8>]) -> Vec<u8> {
    let mut data = Vec::new();
    let mut places = Vec::new();
    for table in tables {
        places.push(data.len() as u32);
        data.extend((table.len() as u32).to_be_bytes());
        data.extend(table);
    }
    // Another type first: one resource, the `plst`.
    let plst_at = data.len() as u32;
    data.extend([0, 0, 0, 4, 1, 2, 3, 4]);
    let mut map = vec![0; 24];
    map.extend(28_u16.to_be_bytes());
    map.extend([0; 2]);
    map.extend(1_u16.to_be_bytes());
    map.extend(b"plst");
    map.extend(0_u16.to_be_bytes());
    map.extend(18_u16.to_be_bytes());
    map.extend(b"blkx");
    map.extend((tables.len() as u16 - 1).to_be_bytes());
    map.extend(30_u16.to_be_bytes());
    for at in [plst_at].into_iter().chain(places) {
        map.extend([0, 1, 0xFF, 0xFF, 0x50]);
        map.extend(&at.to_be_bytes()[1..]);
        map.extend([0; 4]);
    }
    let mut fork = 256_u32.to_be_bytes().to_vec();
    fork.extend((256 + data.len() as u32).to_be_bytes());
    fork.extend((data.len() as u32).to_be_bytes());
    fork.extend((map.len() as u32).to_be_bytes());
    fork.resize(256, 0);
    fork.extend(data);
    fork.extend(map);
    fork
}
