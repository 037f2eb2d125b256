//! Extended attributes.
//!
//! Specification: "XFS Algorithms & Data Structures", chapter "Extended Attributes". Big-endian. In
//! the inode: the size of all, 2 bytes, their number, 1 byte, and 1 of padding, then for each the
//! lengths of name and value, its flags, 1 byte each, name and value. Else a tree of hashes whose
//! leaves have, after a header of 32 bytes (80 in version 5), for each attribute:
//!
//! | offset | size | field    | rule                                                   |
//! |--------|------|----------|--------------------------------------------------------|
//! | 0x00   | 4    | `hash`   | of the name; in order                                  |
//! | 0x04   | 2    | `place`  | in the block: of what follows                          |
//! | 0x06   | 1    | `flags`  | 0x01: the value is here, see [`Flags`]                 |
//!
//! and at `place` the length of the value (2 bytes), that of the name (1 byte), name and value; or,
//! where the value is not here, block and length of the value (4 bytes each), the length of the name
//! (1 byte) and the name. Such a value lies in blocks, of which each begins with 56 bytes in version
//! 5: `XARM`, the offset of its part of the value, its length, and what describes the block.

use std::ops::ControlFlow;

use volfold_block::{ByteReader, byte_count, bytes_to_index};

use super::block_header::{self, REMOTE};
use super::bytes::{be16, be32, byte};
use super::dir::names::NameRule;
use super::hash_tree::{BlockKind, HashBlock, HashTree, LeafAnswer};
use super::inode::{Fork, Format, Inode};
use super::map;
use super::volume::Volume;
use crate::error::{FsError, FsErrorKind, FsResult};
use crate::extents::Extents;

/// LIMIT: the longest value of the specification.
const MAX_VALUE: u64 = 65536;
const LEAF_HEADER_V4: usize = 32;
const LEAF_HEADER_V5: usize = 80;
const REMOTE_HEADER: usize = 56;

/// What kind of attribute it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Flags(u8);

impl Flags {
    const LOCAL: u8 = 0x01;
    const ROOT: u8 = 0x02;
    const SECURE: u8 = 0x04;
    /// A directory that the inode has a name in: the file system's own.
    const PARENT: u8 = 0x08;
    /// It was being written.
    const INCOMPLETE: u8 = 0x80;

    /// What stands before the name where Linux shows it; `None` if it shows none.
    pub(super) fn prefix(self) -> Option<&'static str> {
        if self.0 & (Self::PARENT | Self::INCOMPLETE) != 0 {
            return None;
        }
        match self.0 & (Self::ROOT | Self::SECURE) {
            0 => Some("user."),
            Self::ROOT => Some("trusted."),
            Self::SECURE => Some("security."),
            _ => None,
        }
    }
}

/// Where a value is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Value<'b> {
    Here(&'b [u8]),
    /// In blocks of the fork.
    Remote {
        block: u32,
        length: u32,
    },
}

/// One attribute.
#[derive(Clone, Copy, Debug)]
pub(super) struct Attribute<'b> {
    pub(super) flags: Flags,
    pub(super) name: &'b [u8],
    pub(super) value: Value<'b>,
}

type Visitor<'v> = dyn FnMut(&Attribute<'_>) -> FsResult<ControlFlow<()>> + 'v;

/// The attributes of an inode.
pub(super) struct AttributeFork<'a> {
    volume: &'a Volume,
    number: u64,
    source: Source<'a>,
}

enum Source<'a> {
    Empty,
    Short(&'a [u8]),
    Blocks(Extents),
}

impl<'a> AttributeFork<'a> {
    /// Those of `inode`, whose bytes are `bytes`.
    ///
    /// # Errors
    /// `Corrupt` if their map cannot be read.
    pub(super) fn open(volume: &'a Volume, inode: &Inode, bytes: &'a [u8]) -> FsResult<Self> {
        let source = match &inode.attributes {
            None => Source::Empty,
            Some(fork @ Fork { format: Format::Local, .. }) => Source::Short(fork.bytes(bytes)),
            Some(fork) if fork.format == Format::Extents && fork.extents == 0 => Source::Empty,
            Some(fork) => {
                let end = map::end_of_attributes(volume);
                let extents = map::read(volume, inode.number, fork, bytes, end)?;
                if extents.has_overlap() {
                    let message =
                        format!("attributes of inode {} have a block twice", inode.number);
                    return Err(FsError::corrupt(message));
                }
                Source::Blocks(extents)
            }
        };
        Ok(Self { volume, number: inode.number, source })
    }

    fn corrupt(&self, what: &str) -> FsError {
        FsError::corrupt(format!("attributes of inode {} {what}", self.number))
    }

    /// Visits all of them, until `visit` breaks.
    ///
    /// # Errors
    /// What `visit` says, or `Corrupt`.
    pub(super) fn each(&self, visit: &mut Visitor<'_>) -> FsResult<()> {
        match &self.source {
            Source::Empty => Ok(()),
            Source::Short(bytes) => self.each_short(bytes, visit),
            Source::Blocks(extents) => {
                let ended = self.tree(extents).find(0, |leaf| {
                    Ok(match self.each_of_leaf(leaf, 0, visit)? {
                        ControlFlow::Break(()) => LeafAnswer::Absent,
                        ControlFlow::Continue(()) => LeafAnswer::<()>::GoOn,
                    })
                });
                ended.map(|_| ())
            }
        }
    }

    /// The value of the attribute with this name and prefix.
    ///
    /// # Errors
    /// `NotFound`, or why it cannot be read.
    pub(super) fn value(&self, prefix: &str, name: &[u8]) -> FsResult<Vec<u8>> {
        let mut found = None;
        let mut look = |attribute: &Attribute<'_>| {
            if attribute.name != name || attribute.flags.prefix() != Some(prefix) {
                return Ok(ControlFlow::Continue(()));
            }
            found = Some(self.read(attribute.value)?);
            Ok(ControlFlow::Break(()))
        };
        match &self.source {
            Source::Blocks(extents) => {
                let hash = NameRule::Exact.hash(name);
                self.tree(extents).find(hash, |leaf| {
                    Ok(match self.each_of_leaf(leaf, hash, &mut look)? {
                        ControlFlow::Break(()) => LeafAnswer::Found(()),
                        ControlFlow::Continue(()) if last_hash(leaf) > Some(hash) => {
                            LeafAnswer::Absent
                        }
                        ControlFlow::Continue(()) => LeafAnswer::GoOn,
                    })
                })?;
            }
            _ => self.each(&mut look)?,
        }
        found.ok_or_else(|| FsError::new(FsErrorKind::NotFound, "no such extended attribute"))
    }

    fn tree<'t>(&'t self, extents: &'t Extents) -> HashTree<'t> {
        HashTree {
            volume: self.volume,
            owner: self.number,
            extents,
            root: 0,
            block_size: self.volume.superblock.block_size.get(),
        }
    }

    fn each_short(&self, bytes: &[u8], visit: &mut Visitor<'_>) -> FsResult<()> {
        let size = be16(bytes, 0).map(usize::from).and_then(|size| bytes.get(..size));
        let all = size.ok_or_else(|| self.corrupt("leave their inode"))?;
        let mut reader = ByteReader::new("attributes", all, 0);
        reader.skip(2)?;
        let count = reader.u8()?;
        reader.skip(1)?;
        for _ in 0..count {
            let (name_length, value_length) = (reader.u8()?, reader.u8()?);
            let flags = Flags(reader.u8()?);
            let name = reader.take(usize::from(name_length))?;
            let value = Value::Here(reader.take(usize::from(value_length))?);
            if visit(&Attribute { flags, name, value })?.is_break() {
                break;
            }
        }
        Ok(())
    }

    /// Visits those of a leaf whose hash is `hash`, or all if it is 0.
    fn each_of_leaf(
        &self,
        leaf: &HashBlock,
        hash: u32,
        visit: &mut Visitor<'_>,
    ) -> FsResult<ControlFlow<()>> {
        if leaf.kind != BlockKind::AttributeLeaf {
            return Err(self.corrupt("have a foreign leaf"));
        }
        for index in 0..usize::from(leaf.count) {
            let cut = || self.corrupt("have a leaf that is cut short");
            if hash != 0 && hash_of(leaf, index).ok_or_else(cut)? != hash {
                continue;
            }
            let attribute = attribute(leaf, index).ok_or_else(cut)?;
            // Version 5 has checksums, and attributes with hashes of another kind.
            let expected = NameRule::Exact.hash(attribute.name);
            if !leaf.is_v5() && hash_of(leaf, index) != Some(expected) {
                return Err(self.corrupt("have a name that its hash contradicts"));
            }
            if visit(&attribute)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    fn read(&self, value: Value<'_>) -> FsResult<Vec<u8>> {
        match (value, &self.source) {
            (Value::Here(bytes), _) => Ok(bytes.to_vec()),
            (Value::Remote { block, length }, Source::Blocks(extents)) => {
                let length = u64::from(length);
                if length > MAX_VALUE {
                    return Err(self.corrupt("have a value that is too long"));
                }
                let start = self.volume.superblock.bytes(u64::from(block));
                let start = start.ok_or_else(|| self.corrupt("have an invalid block number"))?;
                let kind = RemoteKind::Attribute;
                read_remote(self.volume, self.number, extents, (start, length), kind)
            }
            (Value::Remote { .. }, _) => Err(self.corrupt("have a value outside their inode")),
        }
    }
}

fn entry_at(leaf: &HashBlock, index: usize) -> Option<usize> {
    let header = if leaf.is_v5() { LEAF_HEADER_V5 } else { LEAF_HEADER_V4 };
    header.checked_add(index.checked_mul(8)?)
}

fn hash_of(leaf: &HashBlock, index: usize) -> Option<u32> {
    be32(&leaf.bytes, entry_at(leaf, index)?)
}

fn last_hash(leaf: &HashBlock) -> Option<u32> {
    hash_of(leaf, usize::from(leaf.count).checked_sub(1)?)
}

fn attribute(leaf: &HashBlock, index: usize) -> Option<Attribute<'_>> {
    let bytes = &leaf.bytes;
    let at = entry_at(leaf, index)?;
    let place = usize::from(be16(bytes, at.checked_add(4)?)?);
    let flags = Flags(byte(bytes, at.checked_add(6)?)?);
    let rest = bytes.get(place..)?;
    if flags.0 & Flags::LOCAL != 0 {
        let (value_length, name_length) =
            (usize::from(be16(rest, 0)?), usize::from(byte(rest, 2)?));
        let (name, rest) = rest.get(3..)?.split_at_checked(name_length)?;
        return Some(Attribute { flags, name, value: Value::Here(rest.get(..value_length)?) });
    }
    let value = Value::Remote { block: be32(rest, 0)?, length: be32(rest, 4)? };
    let name_length = usize::from(byte(rest, 8)?);
    Some(Attribute { flags, name: rest.get(9..)?.get(..name_length)?, value })
}

/// What a remote value is divided into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RemoteKind {
    /// Blocks of the file system.
    Attribute,
    /// Extents.
    LinkTarget,
}

impl RemoteKind {
    fn magic(self) -> &'static [u8] {
        match self {
            Self::Attribute => b"XARM",
            Self::LinkTarget => b"XSLM",
        }
    }
}

/// The `length` bytes that lie in blocks from byte `start` of a fork of inode `owner` on; `length` was
/// bounded before. In version 5 each part begins with a magic number and what describes it.
///
/// # Errors
/// `Corrupt` if a block is not what it should be.
pub(super) fn read_remote(
    volume: &Volume,
    owner: u64,
    extents: &Extents,
    (start, length): (u64, u64),
    kind: RemoteKind,
) -> FsResult<Vec<u8>> {
    let superblock = &volume.superblock;
    let mut value = Volume::buffer(length)?;
    if !superblock.features.is_v5 {
        return read_plain(volume, extents, start, value);
    }
    let mut block = Vec::new();
    let (mut rest, mut offset) = (value.as_mut_slice(), start);
    while !rest.is_empty() {
        let invalid = || FsError::corrupt(format!("remote value of inode {owner} is invalid"));
        let (place, run) = extents.at(offset).ok_or_else(invalid)?;
        let position = place.offset().ok_or_else(invalid)?;
        let size = match kind {
            RemoteKind::Attribute => superblock.block_size.get(),
            RemoteKind::LinkTarget => run.min(MAX_VALUE),
        };
        block.resize(bytes_to_index(size)?, 0);
        extents.read(&*volume.reader().metadata, offset, &mut block)?;
        block_header::check(superblock, REMOTE, &block, position, owner)?;
        let done = length.saturating_sub(byte_count(rest.len()));
        let part = bytes_to_index(u64::from(be32(&block, 8).ok_or_else(invalid)?))?;
        let is_next =
            block.starts_with(kind.magic()) && be32(&block, 4).map(u64::from) == Some(done);
        let content = block.get(REMOTE_HEADER..).and_then(|content| content.get(..part));
        let content =
            content.filter(|content| is_next && !content.is_empty()).ok_or_else(invalid)?;
        let (to, later) = rest.split_at_mut_checked(part).ok_or_else(invalid)?;
        to.copy_from_slice(content);
        rest = later;
        offset = offset.saturating_add(size);
    }
    Ok(value)
}

fn read_plain(
    volume: &Volume,
    extents: &Extents,
    start: u64,
    mut value: Vec<u8>,
) -> FsResult<Vec<u8>> {
    let hole = || FsError::corrupt("remote value has a hole");
    let (mut rest, mut offset) = (value.as_mut_slice(), start);
    while !rest.is_empty() {
        let (place, length) = extents.at(offset).ok_or_else(hole)?;
        if place.is_zero() {
            return Err(hole());
        }
        let part = bytes_to_index(length.min(byte_count(rest.len())))?;
        let (to, later) = rest.split_at_mut_checked(part).ok_or_else(hole)?;
        extents.read(&*volume.reader().metadata, offset, to)?;
        rest = later;
        offset = offset.saturating_add(length);
    }
    Ok(value)
}
