//! Any bytes as the tables of a thin pool, of a cache and of a write cache: blocks of 4096 bytes, whose checksums and
//! numbers are made right here.

use super::lvm::{Shell, parts, read_volumes, region};

const BLOCK: usize = 4096;
const MAX_BLOCKS: usize = 64;
/// Where the first extent is.
const START: u64 = 2 << 20;

const DISK: &str = "pv0000-0000-0000-0000-0000-0000-000000";

/// A group with a thin pool and caches on the same metadata: 64 extents of 4 KiB, then 64 of data.
const TEXT: &str = r#"vg {
id = "vg0000-0000-0000-0000-0000-0000-000000"
seqno = 1
extent_size = 8
physical_volumes { pv0 { id = "pv0000-0000-0000-0000-0000-0000-000000" pe_start = 4096 pe_count = 256 } }
logical_volumes {
meta { id = "lv0000-0000-0000-0000-0000-0000-000000" segment_count = 1
segment1 { start_extent = 0 extent_count = 64 type = "striped" stripe_count = 1 stripes = ["pv0", 0] } }
data { id = "lv0000-0000-0000-0000-0000-0000-000001" segment_count = 1
segment1 { start_extent = 0 extent_count = 64 type = "striped" stripe_count = 1 stripes = ["pv0", 64] } }
pool { id = "lv0000-0000-0000-0000-0000-0000-000002" segment_count = 1
segment1 { start_extent = 0 extent_count = 64 type = "thin-pool" metadata = "meta" pool = "data" transaction_id = 1 chunk_size = 8 } }
thin { id = "lv0000-0000-0000-0000-0000-0000-000003" status = ["VISIBLE"] segment_count = 1
segment1 { start_extent = 0 extent_count = 4096 type = "thin" thin_pool = "pool" transaction_id = 0 device_id = 1 } }
cpool { id = "lv0000-0000-0000-0000-0000-0000-000004" segment_count = 1
segment1 { start_extent = 0 extent_count = 64 type = "cache-pool" metadata = "meta" data = "data" chunk_size = 8 cache_mode = "writeback" } }
origin { id = "lv0000-0000-0000-0000-0000-0000-000005" segment_count = 1
segment1 { start_extent = 0 extent_count = 128 type = "striped" stripe_count = 1 stripes = ["pv0", 128] } }
cached { id = "lv0000-0000-0000-0000-0000-0000-000006" status = ["VISIBLE"] segment_count = 1
segment1 { start_extent = 0 extent_count = 128 type = "cache" cache_pool = "cpool" origin = "origin" } }
written { id = "lv0000-0000-0000-0000-0000-0000-000007" status = ["VISIBLE"] segment_count = 1
segment1 { start_extent = 0 extent_count = 128 type = "writecache" writecache = "meta" origin = "origin" writecache_block_size = 512 } }
} }
contents = "Text Format Volume Group"
version = 1
"#;

/// Gives each block its number and its checksum, by what it looks like.
fn sealed(data: &[u8]) -> Vec<u8> {
    let mut bytes = data.to_vec();
    bytes.resize(data.len().next_multiple_of(BLOCK).max(BLOCK), 0);
    // A write cache has no checksums.
    if bytes.starts_with(&[0x21, 0x93, 0x48, 0x23]) {
        return bytes;
    }
    for (number, block) in (0_u64..).zip(bytes.chunks_exact_mut(BLOCK)) {
        let is_cache = block[32..36] == [0x03, 0xC4, 0x18, 0];
        let is_node = matches!(block[4..8], [1 | 2, 0, 0, 0]);
        let (mix, at) = match (number, is_cache, is_node) {
            (0, true, _) => (9_031_977, 8),
            (0, false, _) => (160_774, 8),
            (_, _, true) => (121_107, 8),
            _ => (595_846_735_u32, 16),
        };
        block[at..at + 8].copy_from_slice(&number.to_le_bytes());
        let sum = !crc32c::crc32c(&block[4..]) ^ mix;
        block[..4].copy_from_slice(&sum.to_le_bytes());
    }
    bytes
}

/// Assembles a group whose tables are `data`.
pub fn run(data: &[u8]) {
    let data = data.get(..MAX_BLOCKS * BLOCK).unwrap_or(data);
    let mut parts = parts(DISK.as_bytes(), TEXT.as_bytes());
    parts.push((START, sealed(data)));
    read_volumes(&[region(0, Shell { parts, rest: vec![7], size: 4 << 20 })]);
}
