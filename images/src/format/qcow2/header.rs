//! The header of QCOW2, and the extensions after it.
//!
//! Specification: QEMU, docs/interop/qcow2.txt, "Header" and "Header extensions". Big-endian.
//!
//! | offset | size | field             | rule                                                        |
//! |--------|------|-------------------|-------------------------------------------------------------|
//! | 0x00   | 4    | magic             | `QFI\xFB`                                                   |
//! | 0x04   | 4    | version           | 2 or 3                                                      |
//! | 0x08   | 8    | backing name      | where it is; 0: there is no parent                          |
//! | 0x10   | 4    | its size          | at most 1023; the name ends within the first cluster        |
//! | 0x14   | 4    | cluster bits      | 9 to 21                                                     |
//! | 0x18   | 8    | size              | of the disk in bytes                                        |
//! | 0x20   | 4    | encryption        | 0 none, 1 AES, 2 LUKS                                       |
//! | 0x24   | 4    | L1 entries        | at most 4 Mi                                                |
//! | 0x28   | 8    | L1 table          | where it is; a multiple of the cluster                      |
//! | 0x30   | 12   | refcount table    | not looked at: only who writes needs it                     |
//! | 0x3C   | 4    | snapshots         | how many                                                    |
//! | 0x40   | 8    | snapshot table    | where it is                                                 |
//!
//! Version 2 ends here. Version 3 has more:
//!
//! | offset | size | field             | rule                                                        |
//! |--------|------|-------------------|-------------------------------------------------------------|
//! | 0x48   | 8    | incompatible      | bits: 0 dirty, 1 corrupt, 2 data file, 3 compression, 4 extended L2; no other |
//! | 0x50   | 8    | compatible        | not looked at                                               |
//! | 0x58   | 8    | autoclear         | not looked at: the tables say as much of a raw data file    |
//! | 0x60   | 4    | refcount order    | not looked at                                               |
//! | 0x64   | 4    | header length     | at least 104, within the first cluster                      |
//! | 0x68   | 1    | compression       | 0 zlib; 1 zstd if bit 3 is set                              |
//!
//! Extensions follow until one of type 0, the backing name, or the end of the first cluster: type and
//! length, 4 bytes each, then the data, filled up to 8 bytes. Unknown ones are stepped over. Where the
//! method of encryption is LUKS, the extension 0x0537BE77 has the offset and the length of its header, 8
//! bytes each.

use volfold_block::{
    BlockDevice, BlockError, BlockResult, ByteReader, Span, byte_count, bytes_to_index,
};

/// The first four bytes.
pub(super) const MAGIC: [u8; 4] = *b"QFI\xFB";

/// LIMIT: clusters of 512 bytes to 2 MiB. The specification has no upper one; QEMU has this.
const CLUSTER_BITS: std::ops::RangeInclusive<u32> = 9..=21;

/// LIMIT: entries of an L1 table, 32 MiB. QEMU's own.
pub(super) const MAX_L1: u64 = 4 << 20;

/// LIMIT: bytes of the name of the parent. The specification's.
pub(super) const MAX_NAME: u64 = 1023;

/// LIMIT: bytes of the name of the data file. QEMU's, as of every file.
const MAX_DATA_NAME: usize = 4096;

/// The size of the header of version 2, and the least of version 3.
const V2_BYTES: u64 = 72;
const V3_BYTES: u64 = 104;

const BACKING_FORMAT: u32 = 0xE279_2ACA;
const FEATURE_NAMES: u32 = 0x6803_F857;
const DATA_FILE_NAME: u32 = 0x4441_5441;
const LUKS_HEADER: u32 = 0x0537_BE77;

/// The method of encryption that is LUKS.
const LUKS: u32 = 2;

/// LIMIT: bytes of a header of LUKS. QEMU's has some 2 MiB.
const MAX_LUKS_HEADER: u64 = 64 << 20;

const DIRTY: u64 = 1;
const CORRUPT: u64 = 1 << 1;
const DATA_FILE: u64 = 1 << 2;
const COMPRESSION: u64 = 1 << 3;
const EXTENDED_L2: u64 = 1 << 4;
const KNOWN: u64 = DIRTY | CORRUPT | DATA_FILE | COMPRESSION | EXTENDED_L2;

/// How compressed clusters are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Compression {
    /// Raw deflate.
    Zlib,
    /// A frame of Zstandard.
    Zstd,
}

/// A header whose every field is within its bounds.
#[derive(Clone, Debug)]
pub(super) struct Header {
    pub(super) version: u32,
    pub(super) cluster_bits: u32,
    pub(super) size: u64,
    pub(super) l1_at: u64,
    pub(super) l1_entries: u64,
    pub(super) snapshots: u32,
    pub(super) snapshots_at: u64,
    pub(super) is_dirty: bool,
    pub(super) is_corrupt: bool,
    pub(super) has_extended_l2: bool,
    pub(super) compression: Compression,
    /// What the image calls its parent, and the format that it says that one has.
    pub(super) backing: Option<String>,
    pub(super) backing_format: Option<String>,
    /// Whether the clusters are in another file, and what the image calls that.
    pub(super) has_data_file: bool,
    pub(super) data_file: Option<String>,
    /// Where the header of LUKS is in the file, if the clusters are encrypted with it.
    pub(super) luks: Option<Span>,
}

/// What the extensions say.
#[derive(Debug, Default)]
struct Extensions {
    backing_format: Option<String>,
    data_file: Option<String>,
    feature_names: Vec<u8>,
    /// The offset and length of the header of LUKS.
    luks: Option<(u64, u64)>,
}

impl Header {
    /// Reads the header of the image in `file`.
    ///
    /// # Errors
    /// `Corrupt` with the field that cannot be, `Unsupported` for what is not read.
    pub(super) fn read(file: &dyn BlockDevice) -> BlockResult<Self> {
        let mut first = vec![0; bytes_to_index(V3_BYTES.min(file.size()))?];
        file.read_at(0, &mut first)?;
        let mut reader = ByteReader::new("QCOW2 header", &first, 0);
        if reader.array()? != MAGIC {
            return corrupt("QCOW2 header has another signature", 0);
        }
        let version = reader.u32_be()?;
        if !(2..=3).contains(&version) {
            let line = format!("QCOW2 of version {version} is not read; 1 to 3 are");
            return Err(BlockError::unsupported(line).at(4));
        }
        reader.skip(12)?;
        let cluster_bits = reader.u32_be()?;
        if !CLUSTER_BITS.contains(&cluster_bits) {
            let line = format!("QCOW2 header has clusters of {cluster_bits} bits");
            return match cluster_bits {
                22..=62 => Err(BlockError::unsupported(line).at(0x14)),
                _ => corrupt(line, 0x14),
            };
        }
        // The whole first cluster, where the header and all names are.
        let cluster_size = 1_u64.checked_shl(cluster_bits).unwrap_or_default();
        let mut bytes = vec![0; bytes_to_index(cluster_size.min(file.size()))?];
        file.read_at(0, &mut bytes)?;
        Self::parse(&bytes, version, cluster_bits)
    }

    /// Checks the header in `bytes`, the first cluster.
    fn parse(bytes: &[u8], version: u32, cluster_bits: u32) -> BlockResult<Self> {
        let mut reader = ByteReader::new("QCOW2 header", bytes, 0);
        reader.skip(8)?;
        let (name_at, name_size) = (reader.u64_be()?, u64::from(reader.u32_be()?));
        reader.skip(4)?;
        let size = reader.u64_be()?;
        let encryption = reader.u32_be()?;
        let l1_entries = u64::from(reader.u32_be()?);
        let l1_at = reader.u64_be()?;
        reader.skip(12)?;
        let (snapshots, snapshots_at) = (reader.u32_be()?, reader.u64_be()?);
        let features = if version >= 3 { Features::parse(&mut reader)? } else { Features::V2 };
        if features.header_length > byte_count(bytes.len()) {
            return corrupt("QCOW2 header is longer than its cluster or the file", 0x64);
        }
        let end = match name_at {
            0 => byte_count(bytes.len()),
            name_at => name_at.min(byte_count(bytes.len())),
        };
        let extensions = extensions(bytes, features.header_length, end)?;
        features.check(&extensions.feature_names)?;
        let luks = match encryption {
            LUKS => Some(luks_header(extensions.luks)?),
            method => check_encryption(method).map(|()| None)?,
        };
        let compression = features.compression(bytes)?;
        if l1_entries > MAX_L1 {
            return corrupt(format!("QCOW2 header has an L1 table of {l1_entries} entries"), 0x24);
        }
        if features.has(EXTENDED_L2) && cluster_bits < 14 {
            return corrupt("QCOW2 header has extended L2 entries for small clusters", 0x48);
        }
        if size == 0 {
            return corrupt("QCOW2 header has a disk of no bytes", 0x18);
        }
        Ok(Self {
            version,
            cluster_bits,
            size,
            l1_at,
            l1_entries,
            snapshots,
            snapshots_at,
            is_dirty: features.has(DIRTY),
            is_corrupt: features.has(CORRUPT),
            has_extended_l2: features.has(EXTENDED_L2),
            compression,
            backing: name_of_parent(bytes, name_at, name_size)?,
            backing_format: extensions.backing_format.filter(|format| !format.is_empty()),
            has_data_file: features.has(DATA_FILE),
            data_file: extensions.data_file.filter(|name| !name.is_empty()),
            luks,
        })
    }

    /// Bits of the number of a cluster that are the index into an L2 table.
    pub(super) fn l2_bits(&self) -> u32 {
        self.cluster_bits.saturating_sub(if self.has_extended_l2 { 4 } else { 3 })
    }
}

pub(super) fn corrupt<T>(sentence: impl Into<String>, at: u64) -> BlockResult<T> {
    Err(BlockError::corrupt(sentence.into(), at, 0))
}

/// Refuses what is encrypted: its bytes would be read as they are stored.
pub(super) fn check_encryption(method: u32) -> BlockResult<()> {
    let by = match method {
        0 => return Ok(()),
        1 => "is encrypted with AES by QEMU".to_owned(),
        2 => "is encrypted with LUKS".to_owned(),
        method => format!("is encrypted by the unknown method {method}"),
    };
    let line = format!("{by}; decrypt it with `qemu-img convert`, which asks for its secret");
    Err(BlockError::unsupported(line).at(0x20))
}

/// Where the header of LUKS is, which lies at `place`.
fn luks_header(place: Option<(u64, u64)>) -> BlockResult<Span> {
    let Some((offset, length)) = place else {
        return corrupt("QCOW2 header does not say where that of LUKS is", 0x20);
    };
    let is_length = (1..=MAX_LUKS_HEADER).contains(&length);
    match Span::new(offset, length).filter(|_| is_length && offset > 0) {
        Some(span) => Ok(span),
        None => corrupt("QCOW2 header has an invalid place for that of LUKS", 0x20),
    }
}

/// The fields that version 2 does not have.
struct Features {
    incompatible: u64,
    header_length: u64,
}

impl Features {
    const V2: Self = Self { incompatible: 0, header_length: V2_BYTES };

    /// Reads the fields after those of version 2.
    fn parse(reader: &mut ByteReader<'_>) -> BlockResult<Self> {
        let incompatible = reader.u64_be()?;
        reader.skip(20)?;
        let header_length = u64::from(reader.u32_be()?);
        if header_length < V3_BYTES || header_length & 7 != 0 {
            return corrupt(format!("QCOW2 header has a length of {header_length}"), 0x64);
        }
        Ok(Self { incompatible, header_length })
    }

    fn has(&self, bit: u64) -> bool {
        self.incompatible & bit != 0
    }

    /// Refuses features that nobody here knows, with the names that the image has for them.
    fn check(&self, names: &[u8]) -> BlockResult<()> {
        let unknown = self.incompatible & !KNOWN;
        if unknown == 0 {
            return Ok(());
        }
        let bits =
            (0..64_u32).filter(|bit| unknown.checked_shr(*bit).is_some_and(|it| it & 1 == 1));
        let named: Vec<String> = bits.map(|bit| feature_name(names, bit)).collect();
        let line = format!("QCOW2 needs a feature that is not read: {}", named.join(", "));
        Err(BlockError::unsupported(line).at(0x48))
    }

    /// How clusters are compressed, by the byte after the header of old.
    fn compression(&self, bytes: &[u8]) -> BlockResult<Compression> {
        let at = bytes_to_index(V3_BYTES)?;
        let is_there = self.header_length > V3_BYTES;
        let method = bytes.get(at).copied().filter(|_| is_there).unwrap_or(0);
        match (self.has(COMPRESSION), method) {
            (false, 0) => Ok(Compression::Zlib),
            (true, 1) => Ok(Compression::Zstd),
            (true, 2..) => {
                let line = format!("QCOW2 is compressed by the unknown method {method}");
                Err(BlockError::unsupported(line).at(V3_BYTES))
            }
            _ => corrupt("QCOW2 header contradicts itself about the compression", V3_BYTES),
        }
    }
}

/// What the image calls the incompatible feature `bit`.
fn feature_name(names: &[u8], bit: u32) -> String {
    let (entries, _) = names.as_chunks::<48>();
    let found = entries.iter().find_map(|[kind, number, name @ ..]| {
        (*kind == 0 && u32::from(*number) == bit).then_some(name)
    });
    match found.map(|name| text_of(name)) {
        Some(name) if !name.is_empty() => format!("{name} (bit {bit})"),
        _ => format!("bit {bit}"),
    }
}

/// Bytes that end with the first zero or with themselves, as text for people.
pub(super) fn text_of(bytes: &[u8]) -> String {
    let text = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(text).chars().filter(|it| !it.is_control()).collect()
}

/// A name that is looked for as a file. One that is no UTF-8 cannot be told to every host.
pub(super) fn name_of(bytes: &[u8], at: u64) -> BlockResult<String> {
    let text = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
    let name = std::str::from_utf8(text);
    name.map(str::to_owned).map_err(|_| {
        let name = text_of(text);
        let line = format!("names the file {name}, and the name is not written in UTF-8");
        BlockError::unsupported(line).at(at)
    })
}

/// The name of `size` bytes at `at` of the first cluster.
fn name_of_parent(bytes: &[u8], at: u64, size: u64) -> BlockResult<Option<String>> {
    if at == 0 || size == 0 {
        return Ok(None);
    }
    if size > MAX_NAME {
        return corrupt(format!("QCOW2 header has a parent's name of {size} bytes"), 0x10);
    }
    let (start, size) = (bytes_to_index(at)?, bytes_to_index(size)?);
    match start.checked_add(size).and_then(|end| bytes.get(start..end)) {
        Some(name) => name_of(name, at).map(Some),
        None => corrupt("name of the parent is not in the first cluster", 0x08),
    }
}

/// Reads the extensions between `start` and `end` of the first cluster.
fn extensions(bytes: &[u8], start: u64, end: u64) -> BlockResult<Extensions> {
    let mut found = Extensions::default();
    let area = bytes.get(bytes_to_index(start)?..bytes_to_index(end)?).unwrap_or_default();
    let mut reader = ByteReader::new("QCOW2 header extension", area, start);
    while reader.remaining() >= 8 {
        let at = reader.position();
        let (kind, length) = (reader.u32_be()?, reader.u32_be()?);
        if kind == 0 {
            break;
        }
        let length = bytes_to_index(length.into())?;
        let data = reader.take(length)?;
        let too_long =
            |what: &str| corrupt(format!("QCOW2 header has {what} of {length} bytes"), at);
        match kind {
            BACKING_FORMAT if byte_count(length) > MAX_NAME => {
                return too_long("a parent's format");
            }
            BACKING_FORMAT => found.backing_format = Some(text_of(data)),
            DATA_FILE_NAME if length > MAX_DATA_NAME => return too_long("a data file's name"),
            DATA_FILE_NAME => found.data_file = Some(name_of(data, at)?),
            LUKS_HEADER => {
                let mut place = ByteReader::new("place of the header of LUKS", data, at);
                found.luks = Some((place.u64_be()?, place.u64_be()?));
            }
            FEATURE_NAMES => found.feature_names = data.to_vec(),
            _ => {}
        }
        let padding = length.wrapping_neg() & 7;
        reader.skip(padding.min(reader.remaining()))?;
    }
    Ok(found)
}
