//! The blocks of a database, and the records they hold.
//!
//! Source: the Linux-NTFS project's LDM documentation. Big-endian, no checksum. A record that does
//! not fit into one block is cut into several, which lie in any order anywhere in the database.
//!
//! | offset | size | field      | rule                                                   |
//! |--------|------|------------|--------------------------------------------------------|
//! | 0x00   | 4    | `magic`    | `VBLK`                                                 |
//! | 0x04   | 4    | `sequence` | number of the block; the header counts as the first    |
//! | 0x08   | 4    | `group`    | the record that the block is of                        |
//! | 0x0C   | 2    | `fragment` | number of the piece, from 0                            |
//! | 0x0E   | 2    | `count`    | pieces of the record; 0: the block is free             |
//! | 0x10   |      | piece      | to the end of the block                                |
//!
//! A record:
//!
//! | offset | size | field    | rule                                                           |
//! |--------|------|----------|----------------------------------------------------------------|
//! | 0x00   | 2    | `update` | 0 in force, 1 about to be deleted, 2 about to be added         |
//! | 0x02   | 1    | `flags`  | which optional fields there are                                |
//! | 0x03   | 1    | `kind`   | low half: 1 volume, 2 component, 3 partition, 4 disk, 5 disk group; high half: revision |
//! | 0x04   | 4    | `size`   | bytes of the body, which follows                               |

use std::collections::BTreeMap;
use std::mem::{offset_of, size_of};

use zerocopy::byteorder::{BE, U16, U32};
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

use super::problems::Problems;

/// LIMIT: pieces of one record; Windows writes two at most.
const MAX_PIECES: u16 = 64;

#[derive(FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawVblk {
    magic: [u8; 4],
    sequence: U32<BE>,
    group: U32<BE>,
    fragment: U16<BE>,
    count: U16<BE>,
}
const _: () = assert!(size_of::<RawVblk>() == 0x10);
const _: () = assert!(offset_of!(RawVblk, fragment) == 0x0C);

#[derive(FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawRecord {
    update: U16<BE>,
    flags: u8,
    kind: u8,
    size: U32<BE>,
}
const _: () = assert!(size_of::<RawRecord>() == 8);

/// A record, joined from its pieces.
#[derive(Debug)]
pub(super) struct RecordBytes {
    pub(super) update: u16,
    pub(super) flags: u8,
    pub(super) kind: u8,
    pub(super) body: Vec<u8>,
}

/// The pieces of one record.
struct Pieces<'a> {
    count: u16,
    found: BTreeMap<u16, &'a [u8]>,
}

/// Joins the records in `blocks`, each of `block_size` bytes, the first of them number `first`.
pub(super) fn join(
    blocks: &[u8],
    block_size: usize,
    first: usize,
    problems: &mut Problems,
) -> Vec<RecordBytes> {
    let mut groups: BTreeMap<u32, Pieces<'_>> = BTreeMap::new();
    for (number, block) in (first..).zip(blocks.chunks_exact(block_size)) {
        let Ok((raw, piece)) = RawVblk::ref_from_prefix(block) else {
            continue;
        };
        if raw.magic != *b"VBLK" {
            problems.add(format!("block {number} has a wrong signature"));
            continue;
        }
        if usize::try_from(raw.sequence.get()).ok() != Some(number) {
            problems.add(format!("block {number} has another number"));
        }
        let (group, count) = (raw.group.get(), raw.count.get());
        if count == 0 {
            if group != 0 {
                problems.add(format!("block {number} is free and belongs to a record"));
            }
            continue;
        }
        if count > MAX_PIECES || raw.fragment.get() >= count {
            problems.add(format!("block {number} is an impossible piece of a record"));
            continue;
        }
        let pieces = groups.entry(group).or_insert(Pieces { count, found: BTreeMap::new() });
        if pieces.count != count || pieces.found.insert(raw.fragment.get(), piece).is_some() {
            problems.add(format!("block {number} does not belong to its record"));
        }
    }
    groups.into_iter().filter_map(|(group, pieces)| record(group, &pieces, problems)).collect()
}

fn record(group: u32, pieces: &Pieces<'_>, problems: &mut Problems) -> Option<RecordBytes> {
    if pieces.found.len() != usize::from(pieces.count) {
        problems.add(format!("record {group} is not complete"));
        return None;
    }
    let bytes: Vec<u8> = pieces.found.values().copied().flatten().copied().collect();
    let Ok((raw, body)) = RawRecord::ref_from_prefix(&bytes) else {
        problems.add(format!("record {group} is cut short"));
        return None;
    };
    let size = usize::try_from(raw.size.get()).unwrap_or(usize::MAX);
    let Some(body) = body.get(..size) else {
        problems.add(format!("record {group} is larger than its blocks"));
        return None;
    };
    Some(RecordBytes {
        update: raw.update.get(),
        flags: raw.flags,
        kind: raw.kind,
        body: body.to_vec(),
    })
}
