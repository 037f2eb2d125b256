//! Caches: a faster volume that holds blocks of another one, maybe newer ones.
//!
//! Source: `drivers/md/dm-cache-metadata.c` of Linux. Little-endian, in the first block of the volume of the
//! metadata.
//!
//! | offset | size | field                 | rule                                                       |
//! |--------|------|-----------------------|------------------------------------------------------------|
//! | 0x00   | 4    | `checksum`            | of the rest of the block                                   |
//! | 0x04   | 4    | `flags`               | 1: it was shut down; 2: the metadata needs a check         |
//! | 0x08   | 8    | `block`               | 0                                                          |
//! | 0x10   | 16   | `uuid`                | not looked at                                              |
//! | 0x20   | 8    | `magic`               | 0x18C403                                                   |
//! | 0x28   | 4    | `version`             | 1 or 2                                                     |
//! | 0x2C   | 20   | policy                | not looked at                                              |
//! | 0x40   | 128  | root of the space map | not looked at                                              |
//! | 0xC0   | 8    | `mapping_root`        | an array: for each block of the cache the one of the origin |
//! | 0xC8   | 32   | hints, discards       | not looked at                                              |
//! | 0xE8   | 4    | `data_block_size`     | in sectors, as the group has it                            |
//! | 0xEC   | 4    | `metadata_block_size` | in sectors; 8                                              |
//! | 0xF0   | 4    | `cache_blocks`        | the values of the array                                    |
//! | 0xF4   | 8    | compatible            | not looked at                                              |
//! | 0xFC   | 4    | `incompatible`        | 0                                                          |
//!
//! A value of the array: bits 16 to 63 are the block of the origin, bit 0 says that there is one.
//!
//! What the cache has is never older than the origin, so it is read from there, whether it is marked as
//! dirty or not: the marks of a system that was not shut down are wrong. Only where the cache is passed
//! through is it never asked.

use std::sync::Arc;

use volfold_block::{
    BlockDevice, BlockError, BlockErrorKind, BlockResult, ByteReader, Map, Mapped, Piece, Place,
    Slice,
};

use super::built::{Bodies, Body, Built, worse};
use super::metadata::{LogicalVolume, VolumeGroup};
use super::persistent::{BlockKind, Blocks, read_array};
use super::segment::{Segment, SegmentKind};
use super::write_cache::WriteCache;
use crate::volume::refusal::Refusal;
use crate::volume::{Health, Layout};

/// LIMIT: blocks of a cache, 16 bytes each; lvm2 makes no more than a million by itself.
const MAX_BLOCKS: u64 = 1 << 21;

/// The table of a cache.
struct Table {
    needs_check: bool,
    block_size: u64,
    /// Blocks of the origin, ascending, each with the block of the cache that holds it.
    held: Vec<(u64, u64)>,
}

impl Table {
    fn read(blocks: &Blocks) -> BlockResult<Self> {
        let bytes = blocks.read(0, BlockKind::CacheSuperblock)?;
        let mut reader = ByteReader::new("superblock of the cache", &bytes, 0);
        reader.skip(4)?;
        let flags = reader.u32_le()?;
        reader.skip(8 + 16)?;
        if reader.u64_le()? != 0x0018_C403 {
            return Err(BlockError::corrupt("superblock of the cache has a wrong magic", 0, 0x20));
        }
        let version = reader.u32_le()?;
        if !matches!(version, 1 | 2) {
            return Err(BlockError::unsupported(format!("cache has version {version}")));
        }
        reader.skip(20 + 128)?;
        let root = reader.u64_le()?;
        reader.skip(32)?;
        let block_size = u64::from(reader.u32_le()?).saturating_mul(512);
        let metadata_block_size = reader.u32_le()?;
        let count = u64::from(reader.u32_le()?);
        reader.skip(8)?;
        let incompatible = reader.u32_le()?;
        if metadata_block_size != 8 || incompatible != 0 {
            let line = format!(
                "cache has metadata in blocks of {metadata_block_size} sectors and features \
                 {incompatible:#x}"
            );
            return Err(BlockError::unsupported(line));
        }
        if count > MAX_BLOCKS {
            return Err(BlockError::unsupported(format!("cache has {count} blocks")));
        }
        let mut held = Vec::new();
        read_array(blocks, root, count, &mut |block, value| {
            if value & 1 == 1 {
                held.push((value.wrapping_shr(16), block));
            }
            Ok(())
        })?;
        held.sort_unstable();
        let same = |pair: &[(u64, u64)]| matches!(pair, [(one, _), (next, _)] if one == next);
        if held.windows(2).any(same) {
            let line = "a block of the origin is twice in the cache";
            return Err(BlockError::corrupt(line, 0, 0xC0));
        }
        Ok(Self { needs_check: flags & 2 != 0, block_size, held })
    }
}

/// The origin, with the blocks that the cache has.
struct CacheMap {
    origin: Arc<dyn BlockDevice>,
    /// The blocks of the cache.
    data: Arc<dyn BlockDevice>,
    block_size: u64,
    /// Blocks of the origin, ascending, each once and with the block of the cache that holds it.
    held: Vec<(u64, u64)>,
    size: u64,
}

impl Map for CacheMap {
    fn size(&self) -> u64 {
        self.size
    }

    fn sector_size(&self) -> u32 {
        self.origin.sector_size().max(self.data.sector_size())
    }

    fn locate(&self, offset: u64, wanted: u64) -> BlockResult<Piece<'_>> {
        let size = self.block_size;
        let place = || Some((offset.checked_div(size)?, offset.checked_rem(size)?));
        let (block, inside) =
            place().ok_or_else(|| BlockError::out_of_range(offset, 1, self.size))?;
        let at = self.held.partition_point(|(own, _)| *own < block);
        let mut held = self.held.get(at..).unwrap_or_default().iter();
        let until = |block: u64| block.saturating_mul(size).min(self.size).saturating_sub(offset);
        match held.next() {
            Some((own, cached)) if *own == block => {
                let start = cached.saturating_mul(size).saturating_add(inside);
                let mut end = block.saturating_add(1);
                // Blocks that go on in the cache are read together.
                while until(end) < wanted
                    && held.next() == Some(&(end, cached.saturating_add(end.saturating_sub(block))))
                {
                    end = end.saturating_add(1);
                }
                let length = until(end);
                if start.saturating_add(length) > self.data.size() {
                    let line = format!("block {cached} of the cache lies outside of it");
                    return Err(BlockError::new(BlockErrorKind::Corrupt, line).at(offset));
                }
                Ok(Piece::new(Place::At(&self.data, start), length))
            }
            next => {
                let end = next.map_or(u64::MAX, |(next, _)| *next);
                Ok(Piece::new(Place::At(&self.origin, offset), until(end)))
            }
        }
    }
}

/// What a cache is made of.
struct Parts {
    data: Arc<dyn BlockDevice>,
    metadata: Arc<dyn BlockDevice>,
    /// The volumes that both are of.
    bodies: Vec<Arc<Body>>,
    chunk: Option<u64>,
}

/// The bytes of the volume with a cache that `segment` describes, of `size` bytes.
///
/// # Errors
/// Why it is not read.
pub(super) fn volume(
    bodies: &mut dyn Bodies<'_>,
    segment: &Segment,
    size: u64,
    below: usize,
) -> Built<Body> {
    let SegmentKind::Cache { origin, .. } = &segment.kind else {
        return Err(Refusal::corrupt("it has no cache"));
    };
    let origin = bodies.volume(origin, below)?;
    if origin.device.size() != size {
        return Err(Refusal::corrupt("it has another size than the volume below its cache"));
    }
    let mode = cache_mode(bodies.group(), segment).map(str::to_owned);
    let mode = mode.as_deref();
    let mut body = Body::plain(origin.device.clone(), Layout::Cached);
    body.take(&origin);
    if mode == Some("passthrough") {
        return Ok(body);
    }
    let opened = cache_parts(bodies, segment, below).and_then(|parts| {
        let blocks = Blocks::new(parts.metadata.clone(), bodies.nodes());
        Ok((Table::read(&blocks)?, parts))
    });
    let is_whole = |parts: &Parts| parts.bodies.iter().all(|it| it.health != Health::Failed);
    let (table, parts) = match opened {
        Ok((table, parts)) if is_whole(&parts) || mode != Some("writethrough") => (table, parts),
        Ok((_, parts)) => {
            // All that is written goes to the origin at once.
            parts.bodies.iter().for_each(|part| body.parts.extend(part.parts.iter().cloned()));
            body.health = worse(body.health, Health::Degraded);
            return Ok(body);
        }
        Err(refusal) if mode == Some("writethrough") => {
            body.health = worse(body.health, Health::Degraded);
            body.doubt(format!("its cache is not read: {}", refusal.line));
            return Ok(body);
        }
        Err(refusal) => {
            let line = format!("its cache may have newer blocks and is not read: {}", refusal.line);
            return Err(Refusal { line, ..refusal });
        }
    };
    if parts.chunk.is_some_and(|chunk| chunk != table.block_size) || table.block_size == 0 {
        return Err(Refusal::corrupt(format!(
            "its cache has blocks of {} bytes, the group says another size",
            table.block_size
        )));
    }
    parts.bodies.iter().for_each(|part| body.take(part));
    if table.needs_check {
        body.doubt("its cache is marked as in need of a check".to_owned());
    }
    body.chunk = Some(table.block_size);
    let Table { block_size, held, .. } = table;
    let map = CacheMap { origin: origin.device.clone(), data: parts.data, block_size, held, size };
    body.device = Arc::new(Mapped::new(map));
    Ok(body)
}

/// How the cache of `segment` writes, if the group says so.
fn cache_mode<'s>(group: &'s VolumeGroup, segment: &'s Segment) -> Option<&'s str> {
    let SegmentKind::Cache { pool, mode, .. } = &segment.kind else {
        return None;
    };
    let pool = group.volumes.get(pool).and_then(LogicalVolume::only_segment);
    let of_pool = match pool.map(|pool| &pool.kind) {
        Some(SegmentKind::CachePool { mode, .. }) => mode.as_deref(),
        _ => None,
    };
    mode.as_deref().or(of_pool)
}

fn cache_parts(bodies: &mut dyn Bodies<'_>, segment: &Segment, below: usize) -> Built<Parts> {
    let SegmentKind::Cache { pool, in_one, chunk, .. } = &segment.kind else {
        return Err(Refusal::corrupt("it has no cache"));
    };
    if let Some(places) = in_one {
        let body = bodies.volume(pool, below)?;
        let part = |(start, length)| -> Built<Arc<dyn BlockDevice>> {
            let left = |_| Refusal::corrupt(format!("its cache leaves volume {pool}"));
            Ok(Arc::new(Slice::part(body.device.clone(), start, length).map_err(left)?))
        };
        let (data, metadata) = (part(places.data)?, part(places.metadata)?);
        return Ok(Parts { data, metadata, bodies: vec![body], chunk: *chunk });
    }
    let kind = bodies.group().volumes.get(pool).and_then(|pool| pool.only_segment());
    let Some(SegmentKind::CachePool { data, metadata, chunk, .. }) =
        kind.map(|segment| &segment.kind)
    else {
        return Err(Refusal::corrupt(format!("{pool} is no pool of a cache")));
    };
    let (data, metadata) = (bodies.volume(data, below)?, bodies.volume(metadata, below)?);
    Ok(Parts {
        data: data.device.clone(),
        metadata: metadata.device.clone(),
        bodies: vec![data, metadata],
        chunk: Some(*chunk),
    })
}

/// The bytes of `origin`, of `size` bytes, with the blocks that the write cache `cache` holds, of `chunk` bytes as far
/// as the group says so.
///
/// # Errors
/// Why it is not read.
pub(super) fn with_write_cache(
    cache: &Body,
    origin: &Body,
    chunk: Option<u64>,
    size: u64,
) -> Built<Body> {
    if origin.device.size() != size {
        return Err(Refusal::corrupt("it has another size than the volume below its cache"));
    }
    let WriteCache { block_size, data, held } = WriteCache::read(&*cache.device)?;
    if chunk.is_some_and(|chunk| chunk != block_size) {
        return Err(Refusal::corrupt(format!(
            "its write cache has blocks of {block_size} bytes, the group says another size"
        )));
    }
    let mut body = Body::plain(origin.device.clone(), Layout::Cached);
    body.take(origin);
    body.take(cache);
    if !held.is_empty() {
        let left = |_| Refusal::corrupt("its write cache leaves its volume");
        let data: Arc<dyn BlockDevice> =
            Arc::new(Slice::part(cache.device.clone(), data.0, data.1).map_err(left)?);
        let map = CacheMap { origin: origin.device.clone(), data, block_size, held, size };
        body.device = Arc::new(Mapped::new(map));
    }
    Ok(body)
}
