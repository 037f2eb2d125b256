//! One index: its nodes, and the descent to a key.

use std::cmp::Ordering;

use volfold_block::{ByteReader, byte_count, bytes_to_index};

use super::super::record::{FileRecord, FileReference, NAMES_DIRECTORY, kind, undo_fixups};
use super::super::stream::Content;
use super::super::upcase::Upcase;
use super::super::volume::Volume;
use crate::error::{FsError, FsResult};
use crate::extents::Extents;

/// LIMIT: Windows writes index blocks of 4 KiB, or of one cluster of at most 64 KiB.
const BLOCK_SIZES: std::ops::RangeInclusive<u64> = 512..=65536;
/// LIMIT: levels of the tree. A full tree of the smallest blocks has fewer.
pub(super) const MAX_DEPTH: usize = 32;
/// LIMIT: blocks of one index: 16 GiB of it.
pub(super) const MAX_BLOCKS: u64 = 1 << 22;
/// LIMIT: bytes of an index root, which lies in a file record.
const MAX_ROOT: u64 = 4096;

/// `$I30`, the name of the attributes that make a directory.
pub(in crate::ntfs) const I30: &[u8] = b"$\0I\x003\x000\0";

const BLOCK_HEADER: usize = 0x18;
const HAS_NODE_BELOW: u16 = 1;
const IS_LAST: u16 = 2;

/// Which index of a file, and what its keys are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::ntfs) enum Keys {
    /// The names in a directory.
    Names { is_case_sensitive: bool },
    /// `$SII` of `$Secure`: the numbers of security descriptors.
    SecurityIds,
    /// `$O` of `$ObjId`: the object ids of files.
    ObjectIds,
    /// `$R` of `$Reparse`: the tags of reparse points, and the files that have them.
    ReparsePoints,
}

/// `$SII`, `$O` and `$R`, in UTF-16.
const SII: &[u8] = b"$\0S\0I\0I\0";
const O: &[u8] = b"$\0O\0";
const R: &[u8] = b"$\0R\0";

impl Keys {
    /// The name of the index.
    fn name(self) -> &'static [u8] {
        match self {
            Self::Names { .. } => I30,
            Self::SecurityIds => SII,
            Self::ObjectIds => O,
            Self::ReparsePoints => R,
        }
    }

    /// The kind of attribute that is indexed.
    fn kind(self) -> u32 {
        match self {
            Self::Names { .. } => kind::FILE_NAME,
            Self::SecurityIds | Self::ObjectIds | Self::ReparsePoints => 0,
        }
    }
}

/// One index, ready to be searched.
pub(in crate::ntfs) struct Index {
    file: u64,
    keys: Keys,
    root: Vec<u8>,
    root_position: u64,
    pub(super) blocks: Extents,
    pub(super) size: u64,
    pub(super) block_size: u64,
    /// The bytes that one step of a `vcn` means.
    pub(super) unit: u64,
}

/// An entry of an index.
pub(super) struct Entry<'a> {
    pub(super) reference: FileReference,
    raw: &'a [u8],
    pub(super) key: &'a [u8],
    pub(super) below: Option<u64>,
    pub(super) is_last: bool,
}

/// The name in the key of an entry.
#[derive(Clone, Copy)]
pub(super) struct Key<'a> {
    /// UTF-16, little-endian.
    pub(super) name: &'a [u8],
    pub(super) name_space: u8,
    pub(super) is_directory: bool,
}

impl<'a> Key<'a> {
    pub(super) fn parse(bytes: &'a [u8], position: u64) -> FsResult<Self> {
        let mut reader = ByteReader::new("file name of an index", bytes, position);
        reader.skip(0x38)?;
        let attributes = reader.u32_le()?;
        reader.skip(4)?;
        let length = usize::from(reader.u8()?);
        let name_space = reader.u8()?;
        let name = reader.take(length.saturating_mul(2))?;
        Ok(Self { name, name_space, is_directory: attributes & NAMES_DIRECTORY != 0 })
    }
}

/// The entries of one node.
pub(super) struct Entries<'a> {
    bytes: &'a [u8],
    pub(super) position: u64,
    pub(super) next: usize,
}

impl<'a> Entries<'a> {
    /// The node whose header is at the start of `bytes`.
    pub(super) fn parse(bytes: &'a [u8], position: u64) -> FsResult<Self> {
        let mut reader = ByteReader::new("index node", bytes, position);
        let first = bytes_to_index(u64::from(reader.u32_le()?))?;
        let used = bytes_to_index(u64::from(reader.u32_le()?))?;
        let bytes = bytes.get(..used);
        let bytes = bytes.ok_or_else(|| reader.corrupt("uses more bytes than it has"))?;
        Ok(Self { bytes, position, next: first })
    }

    /// The entry at `self.next`, and a step after it.
    pub(super) fn step(&mut self) -> FsResult<Entry<'a>> {
        let bytes = self.bytes.get(self.next..).unwrap_or_default();
        let position = self.position.saturating_add(byte_count(self.next));
        let mut reader = ByteReader::new("index entry", bytes, position);
        let reference = FileReference(reader.u64_le()?);
        let length = usize::from(reader.u16_le()?);
        let key_length = usize::from(reader.u16_le()?);
        let flags = reader.u16_le()?;
        let short = || FsError::corrupt("index entry is cut short").at(position);
        // INVARIANT: every entry is at least 16 bytes long, so the steps come to an end.
        let entry = bytes.get(..length).filter(|_| length >= 0x10).ok_or_else(short)?;
        let is_last = flags & IS_LAST != 0;
        let below = match flags & HAS_NODE_BELOW {
            0 => None,
            _ => Some(u64::from_le_bytes(*entry.last_chunk::<8>().ok_or_else(short)?)),
        };
        let key = match is_last {
            true => &[][..],
            false => entry.get(0x10..0x10_usize.saturating_add(key_length)).ok_or_else(short)?,
        };
        self.next = self.next.saturating_add(length);
        Ok(Entry { reference, raw: entry, key, below, is_last })
    }
}

impl Index {
    /// The index of `file` with `keys`.
    ///
    /// # Errors
    /// `Corrupt` or why it cannot be read.
    pub(in crate::ntfs) fn open(
        volume: &Volume,
        file: &FileRecord<'_>,
        keys: Keys,
    ) -> FsResult<Self> {
        let root = volume
            .stream(file, kind::INDEX_ROOT, keys.name())?
            .ok_or_else(|| FsError::corrupt("index has no root").at(file.position()))?;
        let root = volume.value(root, MAX_ROOT)?;
        let mut reader = ByteReader::new("index root", &root, file.position());
        if reader.u32_le()? != keys.kind() {
            return Err(reader.corrupt("is of another attribute").into());
        }
        reader.skip(4)?;
        let block_size = u64::from(reader.u32_le()?);
        if !BLOCK_SIZES.contains(&block_size) || !block_size.is_power_of_two() {
            return Err(reader.corrupt("has an invalid block size").into());
        }
        let (blocks, size) = match volume.stream(file, kind::INDEX_ALLOCATION, keys.name())? {
            None => (Extents::default(), 0),
            Some(stream) => match stream.content {
                Content::Runs(runs) => (runs.finish(), stream.valid),
                Content::Resident(_) => {
                    let what = "index allocation is resident";
                    return Err(FsError::corrupt(what).at(file.position()));
                }
            },
        };
        let cluster_size = volume.boot.cluster_size;
        Ok(Self {
            file: file.number(),
            keys,
            root,
            root_position: file.position(),
            blocks,
            size,
            block_size,
            unit: if cluster_size <= block_size { cluster_size } else { 512 },
        })
    }

    /// Which blocks are in use, one bit each.
    pub(super) fn bitmap(&self, volume: &Volume) -> FsResult<Vec<u8>> {
        let file = volume.node(self.file)?;
        let bitmap = volume.stream(&file, kind::BITMAP, self.keys.name())?;
        let bitmap = bitmap.ok_or_else(|| FsError::corrupt("index has no bitmap"))?;
        volume.value(bitmap, MAX_BLOCKS / 8)
    }

    /// How many names of users the root node has.
    #[cfg(test)]
    pub(in crate::ntfs) fn names_in_root(&self) -> i32 {
        let mut entries = self.root_entries().unwrap();
        let mut count = 0;
        loop {
            let entry = entries.step().unwrap();
            if entry.is_last {
                return count;
            }
            count += i32::from(entry.reference.number() >= 16);
        }
    }

    /// The bytes of memory that the index takes.
    pub(in crate::ntfs) fn memory(&self) -> u64 {
        byte_count(self.root.capacity().saturating_add(size_of::<Self>()))
            .saturating_add(self.blocks.memory())
    }

    pub(super) fn root_entries(&self) -> FsResult<Entries<'_>> {
        let bytes = self.root.get(0x10..).unwrap_or_default();
        Entries::parse(bytes, self.root_position)
    }

    /// Where the block `vcn` begins in the index.
    pub(super) fn offset(&self, vcn: u64) -> FsResult<u64> {
        let offset = vcn.checked_mul(self.unit);
        let inside =
            |offset: &u64| offset.checked_add(self.block_size).is_some_and(|end| end <= self.size);
        offset.filter(inside).ok_or_else(|| FsError::corrupt("index names a block past its end"))
    }

    /// Reads the block `vcn` into `block`, from `whole` if that has the index.
    ///
    /// # Errors
    /// `Corrupt` if it is none, or why it cannot be read.
    pub(super) fn read(
        &self,
        volume: &Volume,
        vcn: u64,
        whole: &[u8],
        block: &mut Vec<u8>,
    ) -> FsResult<()> {
        let offset = self.offset(vcn)?;
        let size = bytes_to_index(self.block_size)?;
        block.clear();
        let start = bytes_to_index(offset)?;
        match whole.get(start..start.saturating_add(size)) {
            Some(bytes) => block.extend_from_slice(bytes),
            None => {
                block.resize(size, 0);
                self.blocks.read(&*volume.reader.metadata, offset, block)?;
            }
        }
        check_block(block, vcn, self.position(offset))
    }

    /// The place of the byte `offset` in the volume, for errors.
    pub(super) fn position(&self, offset: u64) -> u64 {
        self.blocks.position(offset).unwrap_or(self.root_position)
    }

    pub(super) fn entries<'b>(&self, vcn: u64, block: &'b [u8]) -> FsResult<Entries<'b>> {
        let position = self.position(vcn.saturating_mul(self.unit));
        let bytes = block.get(BLOCK_HEADER..).unwrap_or_default();
        Entries::parse(bytes, position.saturating_add(byte_count(BLOCK_HEADER)))
    }

    /// The record that `name` names: the very name first, then one that differs in case, where
    /// the directory allows it.
    ///
    /// # Errors
    /// `NotFound`, or why the directory cannot be read.
    pub(in crate::ntfs) fn find(
        &self,
        volume: &Volume,
        upcase: &Upcase,
        name: &[u16],
    ) -> FsResult<FileReference> {
        // Names that differ in case only lie side by side, and the search compares the very name
        // with both its neighbours in the tree, so one descent finds either.
        let (mut exact, mut alike) = (None, None);
        self.descend(volume, |entry, position| {
            let key = Key::parse(entry.key, position)?;
            let (order, is_alike) = upcase.compare(name, key.name);
            if order == Ordering::Equal {
                exact = Some(entry.reference);
            } else if is_alike && alike.is_none() {
                alike = Some(entry.reference);
            }
            Ok(order)
        })?;
        let alike = alike.filter(|_| self.keys != Keys::Names { is_case_sensitive: true });
        exact.or(alike).ok_or_else(FsError::not_found)
    }

    /// The data of the entry with the key `key`, of an index of numbers of 32 bits or rows of them.
    ///
    /// # Errors
    /// `NotFound`, or why the index cannot be read.
    pub(in crate::ntfs) fn data_of(&self, volume: &Volume, key: &[u8]) -> FsResult<Vec<u8>> {
        let mut found = None;
        let wanted = numbers(key);
        self.descend(volume, |entry, position| {
            let order = wanted.cmp(&numbers(entry.key));
            if order == Ordering::Equal {
                let mut reader = ByteReader::new("index entry", entry.raw, position);
                let (offset, length) = (reader.u16_le()?, reader.u16_le()?);
                let mut data = ByteReader::new("data of an index", entry.raw, position);
                data.skip(usize::from(offset))?;
                found = Some(data.take(usize::from(length))?.to_vec());
            }
            Ok(order)
        })?;
        found.ok_or_else(FsError::not_found)
    }

    /// The first key after `key` of an index of rows of numbers of 32 bits.
    ///
    /// # Errors
    /// Why the index cannot be read.
    pub(in crate::ntfs) fn key_after(
        &self,
        volume: &Volume,
        key: &[u8],
    ) -> FsResult<Option<Vec<u8>>> {
        let wanted = numbers(key);
        let mut next = None;
        // The nearest key to the right is met on the way down to where the end of `key` would be.
        self.descend(volume, |entry, _| {
            Ok(match wanted < numbers(entry.key) {
                true => {
                    next = Some(entry.key.to_vec());
                    Ordering::Less
                }
                false => Ordering::Greater,
            })
        })?;
        Ok(next)
    }

    /// Goes down the tree to where a key is or would be. `compare` gives the order of that key to
    /// the key of an entry.
    fn descend(
        &self,
        volume: &Volume,
        mut compare: impl FnMut(&Entry<'_>, u64) -> FsResult<Ordering>,
    ) -> FsResult<()> {
        let mut block = Vec::new();
        let mut next = search(self.root_entries()?, &mut compare)?;
        let mut depth: usize = 0;
        while let Some(vcn) = next {
            depth = depth.saturating_add(1);
            if depth > MAX_DEPTH {
                return Err(FsError::corrupt("index has a loop").at(self.root_position));
            }
            self.read(volume, vcn, &[], &mut block)?;
            next = search(self.entries(vcn, &block)?, &mut compare)?;
        }
        Ok(())
    }
}

/// `bytes` as numbers of 32 bits.
fn numbers(bytes: &[u8]) -> Vec<u32> {
    let (numbers, _) = bytes.as_chunks::<4>();
    numbers.iter().map(|number| u32::from_le_bytes(*number)).collect()
}

/// Checks the block `vcn`, and puts its fixups back.
fn check_block(block: &mut [u8], vcn: u64, position: u64) -> FsResult<()> {
    let mut reader = ByteReader::new("index block", block, position);
    let signature = reader.array::<4>()?;
    let (fixup_offset, fixup_count) = (reader.u16_le()?, reader.u16_le()?);
    reader.skip(8)?;
    let own = reader.u64_le()?;
    if signature != *b"INDX" {
        return Err(FsError::corrupt("index block has a wrong signature").at(position));
    }
    undo_fixups(block, fixup_offset, fixup_count).ok_or_else(|| {
        FsError::corrupt("index block has a torn or wrong update sequence").at(position)
    })?;
    if own == vcn {
        Ok(())
    } else {
        Err(FsError::corrupt("index block lies in the place of another").at(position))
    }
}

/// Goes through `entries` up to the key or the first one after it, and gives the node below, where
/// to go on; `None` if the search has come to its end.
fn search(
    mut entries: Entries<'_>,
    compare: &mut impl FnMut(&Entry<'_>, u64) -> FsResult<Ordering>,
) -> FsResult<Option<u64>> {
    loop {
        let position = entries.position;
        let entry = entries.step()?;
        if entry.is_last {
            return Ok(entry.below);
        }
        match compare(&entry, position)? {
            Ordering::Equal => return Ok(None),
            Ordering::Less => return Ok(entry.below),
            Ordering::Greater => {}
        }
    }
}

/// Goes through `data` as an index block and as a node, for the fuzzer.
#[cfg(feature = "fuzzing")]
pub(in crate::ntfs) fn touch(data: &[u8]) {
    let mut block = data.to_vec();
    let _ = check_block(&mut block, 0, 0);
    for node in [data, block.get(BLOCK_HEADER..).unwrap_or_default()] {
        let Ok(mut entries) = Entries::parse(node, 0) else { continue };
        while let Ok(entry) = entries.step() {
            let _ = Key::parse(entry.key, 0);
            if entry.is_last {
                break;
            }
        }
    }
}
