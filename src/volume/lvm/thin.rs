//! Thin pools: volumes whose blocks a table finds among those of the pool.
//!
//! Source: `drivers/md/dm-thin-metadata.c` and `Documentation/admin-guide/device-mapper/thin-provisioning.rst`
//! of Linux. Little-endian, in the first block of the volume of the metadata.
//!
//! | offset | size | field                 | rule                                                       |
//! |--------|------|-----------------------|------------------------------------------------------------|
//! | 0x000  | 4    | `checksum`            | of the rest of the block                                   |
//! | 0x004  | 4    | `flags`               | 1: the metadata needs a check                              |
//! | 0x008  | 8    | `block`               | 0                                                          |
//! | 0x010  | 16   | `uuid`                | not looked at                                              |
//! | 0x020  | 8    | `magic`               | 27022010                                                   |
//! | 0x028  | 4    | `version`             | 1 or 2                                                     |
//! | 0x02C  | 4    | `time`                | not looked at                                              |
//! | 0x030  | 8    | `transaction`         | as the group has it                                        |
//! | 0x038  | 8    | `held_root`           | not looked at                                              |
//! | 0x040  | 256  | roots of space maps   | not looked at                                              |
//! | 0x140  | 8    | `mapping_root`        | a tree of devices; each value is the root of its blocks    |
//! | 0x148  | 8    | `details_root`        | not looked at                                              |
//! | 0x150  | 4    | `data_block_size`     | in sectors, as the group has it                            |
//! | 0x154  | 4    | `metadata_block_size` | in sectors; 8                                              |
//! | 0x158  | 8    | `metadata_blocks`     | not looked at                                              |
//! | 0x160  | 4    | `compatible`          | not looked at                                              |
//! | 0x164  | 4    | `compatible_read`     | not looked at                                              |
//! | 0x168  | 4    | `incompatible`        | 0                                                          |
//!
//! The value of a block: bits 24 to 63 are its number in the pool, bits 0 to 23 a time.

use std::sync::Arc;

use volfold_block::{BlockDevice, BlockError, BlockResult, ByteReader, Map, Mapped, Piece, Place};

use super::built::{Bodies, Body, Built};
use super::persistent::{BlockKind, Blocks, Found};
use super::segment::SegmentKind;
use crate::volume::Layout;
use crate::volume::refusal::Refusal;

/// The superblock of a pool, as far as it counts.
struct Superblock {
    needs_check: bool,
    transaction: u64,
    mapping_root: u64,
    block_size: u64,
}

impl Superblock {
    fn read(blocks: &Blocks) -> BlockResult<Self> {
        let bytes = blocks.read(0, BlockKind::ThinSuperblock)?;
        let mut reader = ByteReader::new("superblock of the thin pool", &bytes, 0);
        reader.skip(4)?;
        let flags = reader.u32_le()?;
        reader.skip(8 + 16)?;
        if reader.u64_le()? != 27_022_010 {
            return Err(BlockError::corrupt(
                "superblock of the thin pool has a wrong magic",
                0,
                0x20,
            ));
        }
        let version = reader.u32_le()?;
        if !matches!(version, 1 | 2) {
            return Err(BlockError::unsupported(format!("thin pool has version {version}")));
        }
        reader.skip(4)?;
        let transaction = reader.u64_le()?;
        reader.skip(8 + 256)?;
        let mapping_root = reader.u64_le()?;
        reader.skip(8)?;
        let block_size = u64::from(reader.u32_le()?).saturating_mul(512);
        let metadata_block_size = reader.u32_le()?;
        if metadata_block_size != 8 {
            let line = format!("thin pool has metadata in blocks of {metadata_block_size} sectors");
            return Err(BlockError::unsupported(line));
        }
        reader.skip(16)?;
        let incompatible = reader.u32_le()?;
        if incompatible != 0 {
            return Err(BlockError::unsupported(format!(
                "thin pool has features {incompatible:#x}"
            )));
        }
        let needs_check = flags & 1 != 0;
        Ok(Self { needs_check, transaction, mapping_root, block_size })
    }
}

/// A pool that was opened.
pub(super) struct ThinPool {
    blocks: Blocks,
    superblock: Superblock,
    data: Arc<Body>,
    metadata: Arc<Body>,
    /// Why what is read of it may be old.
    doubts: Vec<String>,
    has_messages: bool,
}

/// The blocks of one thin volume.
struct ThinMap {
    pool: Arc<ThinPool>,
    root: u64,
    size: u64,
    /// What is read where the pool has nothing.
    external: Option<Arc<dyn BlockDevice>>,
}

impl ThinMap {
    /// How many bytes from `offset` on lie before the block `end`.
    fn until(&self, offset: u64, end: u64) -> u64 {
        let end = end.saturating_mul(self.pool.superblock.block_size).min(self.size);
        end.saturating_sub(offset)
    }

    /// What the pool does not have.
    fn hole(&self, offset: u64, found: &Found) -> Piece<'_> {
        let length = self.until(offset, found.next());
        match &self.external {
            Some(external) if offset < external.size() => {
                let there = external.size().saturating_sub(offset);
                Piece::new(Place::At(external, offset), length.min(there))
            }
            _ => Piece::new(Place::Zero, length),
        }
    }
}

impl Map for ThinMap {
    fn size(&self) -> u64 {
        self.size
    }

    fn sector_size(&self) -> u32 {
        self.pool.data.device.sector_size()
    }

    fn locate(&self, offset: u64, wanted: u64) -> BlockResult<Piece<'_>> {
        let block_size = self.pool.superblock.block_size;
        let place = || Some((offset.checked_div(block_size)?, offset.checked_rem(block_size)?));
        let (block, inside) =
            place().ok_or_else(|| BlockError::out_of_range(offset, 1, self.size))?;
        let found = self.pool.blocks.find(self.root, block)?;
        let Some(value) = found.exact(block) else {
            return Ok(self.hole(offset, &found));
        };
        let first = value.wrapping_shr(24);
        let mut end = block.saturating_add(1);
        // Blocks that follow each other in both lie in one piece.
        let mut index = found.index.map_or(0, |index| index.saturating_add(1));
        while self.until(offset, end) < wanted
            && found.node.key(index) == Some(end)
            && found.node.number(index).map(|value| value.wrapping_shr(24))
                == first.checked_add(end.saturating_sub(block))
        {
            end = end.saturating_add(1);
            index = index.saturating_add(1);
        }
        let at = first.checked_mul(block_size).and_then(|start| start.checked_add(inside));
        let length = self.until(offset, end);
        let data = &self.pool.data.device;
        match at {
            Some(at) if at.checked_add(length).is_some_and(|end| end <= data.size()) => {
                Ok(Piece::new(Place::At(data, at), length))
            }
            _ => {
                let line = format!("block {block} of the thin volume lies outside of its pool");
                Err(BlockError::new(volfold_block::BlockErrorKind::Corrupt, line).at(offset))
            }
        }
    }
}

/// The bytes of the thin volume `device` of `pool`, of `size` bytes; `external` is read where the pool has
/// nothing.
///
/// # Errors
/// Why it is not read.
pub(super) fn volume(
    pool: &Arc<ThinPool>,
    device: u64,
    external: Option<&Body>,
    size: u64,
) -> Built<Body> {
    let found = pool.blocks.find(pool.superblock.mapping_root, device)?;
    let Some(root) = found.exact(device) else {
        let line = if pool.has_messages {
            format!("its pool has not made the device {device} of it yet")
        } else {
            format!("its pool has no device {device}")
        };
        return Err(Refusal::corrupt(line));
    };
    let map = ThinMap {
        pool: pool.clone(),
        root,
        size,
        external: external.map(|external| external.device.clone()),
    };
    let mut body = Body::plain(Arc::new(Mapped::new(map)), Layout::Thin);
    body.chunk = Some(pool.superblock.block_size);
    body.take(&pool.data);
    body.take(&pool.metadata);
    if let Some(external) = external {
        body.take(external);
    }
    pool.doubts.iter().for_each(|doubt| body.doubt(doubt.clone()));
    Ok(body)
}

impl ThinPool {
    /// Opens the pool `name`; `below` counts the volumes above its own.
    ///
    /// # Errors
    /// Why it is not read.
    pub(super) fn open(bodies: &mut dyn Bodies<'_>, name: &str, below: usize) -> Built<Self> {
        let kind = bodies.group().volumes.get(name).and_then(|volume| volume.only_segment());
        let Some(SegmentKind::ThinPool { data, metadata, chunk, transaction, has_messages }) =
            kind.map(|segment| &segment.kind)
        else {
            return Err(Refusal::corrupt(format!("{name} is no thin pool")));
        };
        let (data, metadata) = (bodies.volume(data, below)?, bodies.volume(metadata, below)?);
        let blocks = Blocks::new(metadata.device.clone(), bodies.nodes());
        let within = |error: BlockError| Refusal::from(error.within(&format!("thin pool {name}")));
        let superblock = Superblock::read(&blocks).map_err(within)?;
        if superblock.block_size != *chunk {
            return Err(Refusal::corrupt(format!(
                "thin pool {name} has blocks of {} bytes, the group says {chunk}",
                superblock.block_size
            )));
        }
        let mut doubts = Vec::new();
        if superblock.needs_check {
            doubts.push(format!("its pool {name} is marked as in need of a check"));
        }
        let found = superblock.transaction;
        let is_pending = *has_messages && found.checked_add(1) == Some(*transaction);
        if found != *transaction && !is_pending {
            doubts.push(format!(
                "its pool {name} is of transaction {found}, the group says {transaction}"
            ));
        }
        let has_messages = *has_messages;
        Ok(Self { blocks, superblock, data, metadata, doubts, has_messages })
    }
}
