//! Where the clusters of the disk are.
//!
//! Specification: QEMU, docs/interop/qcow2.txt, "Cluster mapping" and "Extended L2 Entries".
//!
//! | bits of an L1 entry   | meaning                                                           |
//! |-----------------------|-------------------------------------------------------------------|
//! | 9-55                  | offset of an L2 table, a multiple of the cluster; 0: there is none |
//! | 63                    | not looked at: whether nobody else uses the table                 |
//!
//! | bits of an L2 entry   | meaning                                                           |
//! |-----------------------|-------------------------------------------------------------------|
//! | 62                    | the cluster is compressed                                         |
//! | 0                     | it reads as zeros; version 3, and not with extended entries       |
//! | 9-55                  | offset of the cluster; 0: the parent shows through                |
//! | 63                    | not looked at, but for an offset of 0 in a data file              |
//! | of a compressed one   |                                                                   |
//! | 0 to 69 - cluster bits| offset of its first byte                                          |
//! | up to 61              | sectors that it has beyond its first one                          |
//!
//! An extended entry has 64 bits more: bits 0-31 say which parts of 32 are in the cluster, bits 32-63
//! which are zeros. All other bits are zero; an entry where they are not is an error, as is one that
//! leads into the header, an L1 table, or out of the file.
//!
//! Version 1 has offsets of 63 bits, and bit 63 for a compressed cluster: its size in bytes in as many
//! bits as a cluster has, below them its offset.

use std::sync::Arc;

use volfold_block::{
    BlockDevice, BlockError, BlockResult, Map, Piece, Place, Span, bytes_to_index,
};

use super::header::Compression;
use super::packed::Packed;
use crate::context::Backing;
use crate::levels::{Levels, Shape};
use crate::table::{BlockPlace, alike};

const OFFSET: u64 = 0x00FF_FFFF_FFFF_FE00;
const ZERO: u64 = 1;
const COMPRESSED: u64 = 1 << 62;
const COPIED: u64 = 1 << 63;

/// In version 1.
const V1_COMPRESSED: u64 = 1 << 63;

/// Parts of a cluster with extended entries.
const PARTS: u64 = 32;

/// How the entries of an image are to be understood.
#[derive(Clone, Debug)]
pub(super) struct Rules {
    pub(super) version: u32,
    pub(super) compression: Compression,
    /// Whether the clusters are in another file, each where it is on the disk.
    pub(super) has_data_file: bool,
    /// Whether the clusters are encrypted; QEMU compresses none of those.
    pub(super) is_encrypted: bool,
    /// What no cluster and no table may lie in: the header, the L1 tables.
    pub(super) reserved: Vec<Span>,
    /// The size of the image's file.
    pub(super) file_size: u64,
}

/// What an entry says of a part of its cluster.
enum Part {
    /// It is in the file, or nowhere.
    Block(BlockPlace),
    /// The cluster is compressed; its entry without flags.
    Packed(u64),
}

/// The virtual disk.
pub(super) struct Qcow2Disk {
    pub(super) levels: Levels,
    /// The file that the clusters are in.
    pub(super) data: Arc<dyn BlockDevice>,
    pub(super) rules: Rules,
    pub(super) below: Backing,
}

fn bad<T>(sentence: &'static str, at: u64) -> BlockResult<T> {
    Err(BlockError::corrupt(sentence, at, 0))
}

impl Qcow2Disk {
    fn shape(&self) -> &Shape {
        self.levels.shape()
    }

    /// Whether the first cluster that is there is compressed, as then most are.
    pub(super) fn is_packed(&self) -> bool {
        let flag = if self.rules.version == 1 { V1_COMPRESSED } else { COMPRESSED };
        self.levels.first_entry(|entry| self.table_at(entry), |entry| entry & flag != 0)
    }

    /// Where the L2 table is that the L1 entry `entry` is about.
    pub(super) fn table_at(&self, entry: u64) -> BlockResult<Option<u64>> {
        let at = match self.rules.version {
            1 => entry,
            _ if entry & !(OFFSET | COPIED) != 0 => {
                return bad("entry of the L1 table has bits that must be zero", entry & OFFSET);
            }
            _ => entry & OFFSET,
        };
        if at == 0 {
            return Ok(None);
        }
        let shape = self.shape();
        if self.rules.version > 1 && at & shape.cluster_size().saturating_sub(1) != 0 {
            return bad("L2 table does not begin at a cluster", at);
        }
        let entries = 1_u64.checked_shl(shape.l2_bits).unwrap_or(u64::MAX);
        let words = u64::try_from(shape.words).unwrap_or(1);
        let size = entries.saturating_mul(8).saturating_mul(words);
        match Span::new(at, size) {
            Some(table) if table.end() <= self.rules.file_size => {
                if self.overlaps(table) {
                    return bad("L2 table lies in the header or an L1 table", at);
                }
                Ok(Some(at))
            }
            _ => bad("L2 table is not in the file", at),
        }
    }

    fn overlaps(&self, span: Span) -> bool {
        let mut reserved = self.rules.reserved.iter();
        reserved.any(|other| span.start() < other.end() && other.start() < span.end())
    }

    /// What `entry`, with `bitmap` if it is an extended one, says of the part `part` of the cluster
    /// that is at `disk_offset` of the disk.
    fn part(
        &self,
        entry: u64,
        bitmap: Option<u64>,
        part: u64,
        disk_offset: u64,
    ) -> BlockResult<Part> {
        if self.rules.version == 1 {
            return self.part_of_version_1(entry);
        }
        if entry & COMPRESSED != 0 {
            if self.rules.has_data_file {
                return bad("compressed cluster in an image with a data file", disk_offset);
            }
            if self.rules.is_encrypted {
                return bad("compressed cluster in an image that is encrypted", disk_offset);
            }
            if bitmap.is_some_and(|bitmap| bitmap != 0) {
                return bad("compressed cluster is said to have parts", disk_offset);
            }
            return Ok(Part::Packed(entry & !(COMPRESSED | COPIED)));
        }
        let at = entry & OFFSET;
        let has_zero_flag = self.rules.version > 2 && bitmap.is_none();
        let flags = if has_zero_flag { COPIED | ZERO } else { COPIED };
        if entry & !(OFFSET | flags) != 0 {
            return bad("entry of an L2 table has bits that must be zero", at);
        }
        let is_there = at != 0 || (self.rules.has_data_file && entry & COPIED != 0);
        let is_stored = match bitmap {
            None if entry & ZERO != 0 => return Ok(Part::Block(BlockPlace::Zero)),
            None => is_there,
            Some(bitmap) => {
                let (stored, zero) = (bitmap & 0xFFFF_FFFF, bitmap >> 32);
                if stored & zero != 0 || (stored != 0 && !is_there) {
                    return bad("entry of an L2 table contradicts itself", disk_offset);
                }
                let has = |bits: u64| (bits >> part.min(31)) & 1 == 1;
                if has(zero) {
                    return Ok(Part::Block(BlockPlace::Zero));
                }
                has(stored)
            }
        };
        if !is_stored {
            return Ok(Part::Block(BlockPlace::Hole));
        }
        let size = self.shape().cluster_size();
        if at & size.saturating_sub(1) != 0 {
            return bad("cluster does not begin at a multiple of its size", at);
        }
        if self.rules.has_data_file {
            if at != disk_offset {
                return bad("cluster is not where it has to be in the data file", disk_offset);
            }
        } else if Span::new(at, size).is_none_or(|cluster| self.overlaps(cluster)) {
            return bad("cluster lies in the header or an L1 table", at);
        }
        let within = self.part_size(bitmap.is_some()).saturating_mul(part);
        Ok(Part::Block(BlockPlace::Stored(at.saturating_add(within))))
    }

    fn part_of_version_1(&self, entry: u64) -> BlockResult<Part> {
        if entry & V1_COMPRESSED != 0 {
            return Ok(Part::Packed(entry & !V1_COMPRESSED));
        }
        if entry == 0 {
            return Ok(Part::Block(BlockPlace::Hole));
        }
        if entry & 511 != 0 {
            return bad("cluster does not begin at a sector", entry);
        }
        if Span::new(entry, self.shape().cluster_size()).is_none_or(|it| self.overlaps(it)) {
            return bad("cluster lies in the header or an L1 table", entry);
        }
        Ok(Part::Block(BlockPlace::Stored(entry)))
    }

    /// The size of the parts that entries are about.
    fn part_size(&self, is_extended: bool) -> u64 {
        let size = self.shape().cluster_size();
        if is_extended { size / PARTS } else { size }
    }

    /// The piece at `offset`, of which the first `wanted` bytes matter, by `words` of the table, the
    /// first of which are of its cluster.
    fn piece(&self, words: &[u64], offset: u64, wanted: u64) -> Piece<'_> {
        let cluster_size = self.shape().cluster_size();
        let is_extended = self.shape().words > 1;
        let part_size = self.part_size(is_extended);
        let within = offset & cluster_size.saturating_sub(1);
        let start = offset.saturating_sub(within);
        let skipped = within.checked_div(part_size).unwrap_or_default();
        let parts = if is_extended { PARTS } else { 1 };
        let (first, rest) = words.split_at(words.len().min(self.shape().words));
        let (entry, bitmap) = (first.first().copied().unwrap_or_default(), first.get(1).copied());
        let cluster_rest = cluster_size.saturating_sub(within);
        let place = match self.part(entry, bitmap, skipped, start) {
            Err(error) => return Piece::new(Place::Fail(error), cluster_rest),
            Ok(Part::Packed(unit)) => {
                return Piece::new(Place::Decode { unit, skip: within }, cluster_rest);
            }
            Ok(Part::Block(place)) => place,
        };
        let own = (skipped.saturating_add(1)..parts)
            .map_while(|part| self.block(entry, bitmap, part, start));
        let more = rest.chunks(self.shape().words.max(1)).zip(1_u64..);
        let more = more.flat_map(|(words, number)| {
            let (entry, bitmap) = (words.first().copied().unwrap_or(0), words.get(1).copied());
            let start = number.saturating_mul(cluster_size).saturating_add(start);
            (0..parts).map(move |part| self.block(entry, bitmap, part, start))
        });
        let more = more.map_while(|place| place);
        let skip = offset & part_size.saturating_sub(1);
        let most = bytes_to_index(wanted.saturating_add(skip).div_ceil(part_size));
        let all = std::iter::once(place).chain(own).chain(more);
        let count = alike(all.take(most.unwrap_or(usize::MAX).max(1)), part_size);
        let length = count.saturating_mul(part_size).saturating_sub(skip);
        let (place, length) = match place {
            BlockPlace::Zero => (Place::Zero, length),
            BlockPlace::Hole => self.below.place(offset, length),
            BlockPlace::Stored(at) => self.stored(at.saturating_add(skip), length),
        };
        Piece::new(place, length)
    }

    /// Where a part is, if it is in the file or nowhere.
    fn block(
        &self,
        entry: u64,
        bitmap: Option<u64>,
        part: u64,
        disk_offset: u64,
    ) -> Option<BlockPlace> {
        match self.part(entry, bitmap, part, disk_offset) {
            Ok(Part::Block(place)) => Some(place),
            Ok(Part::Packed(_)) | Err(_) => None,
        }
    }

    /// The `length` bytes at `at`, as far as they are there.
    fn stored(&self, at: u64, length: u64) -> (Place<'_>, u64) {
        match self.data.size().checked_sub(at) {
            Some(left @ 1..) => {
                // A data file may be a disk with holes of its own.
                let place = match self.rules.has_data_file {
                    true => Place::At(&*self.data, at),
                    false => Place::Stored(&*self.data, at),
                };
                (place, length.min(left))
            }
            _ => {
                let sentence = "cluster lies behind the end of the file";
                (Place::Fail(BlockError::corrupt(sentence, at, 0)), length)
            }
        }
    }

    /// The compressed cluster that an entry without flags is about.
    fn packed(&self, entry: u64) -> BlockResult<Packed<'_>> {
        let cluster_bits = self.shape().cluster_bits;
        let (at, length) = if self.rules.version == 1 {
            let shift = 63_u32.saturating_sub(cluster_bits);
            let (at, size) = split(entry, shift);
            (at, size & self.shape().cluster_size().saturating_sub(1))
        } else {
            let (at, sectors) = split(entry, 70_u32.saturating_sub(cluster_bits));
            let length = sectors.saturating_add(1).saturating_mul(512);
            (at, length.saturating_sub(at & 511))
        };
        if self.rules.version > 1 && at >> 56 != 0 {
            return bad("compressed cluster has an offset of more than 56 bits", at);
        }
        match Span::new(at, length) {
            Some(span) if !span.is_empty() && !self.overlaps(span) => {
                let compression = self.rules.compression;
                Ok(Packed { file: &*self.data, at, length, compression })
            }
            _ => bad("compressed cluster lies in the header or an L1 table", at),
        }
    }
}

/// The lower `bits` of `number`, and those above.
fn split(number: u64, bits: u32) -> (u64, u64) {
    let above = number.checked_shr(bits).unwrap_or(0);
    let mask = 1_u64.checked_shl(bits).map_or(u64::MAX, |end| end.saturating_sub(1));
    (number & mask, above)
}

impl Map for Qcow2Disk {
    fn size(&self) -> u64 {
        self.shape().size
    }

    fn locate(&self, offset: u64, wanted: u64) -> BlockResult<Piece<'_>> {
        let table_at = |entry| self.table_at(entry);
        let found = |words: &[u64]| self.piece(words, offset, wanted);
        self.levels.piece(offset, wanted, table_at, &self.below, found)
    }

    fn unit_size(&self, _unit: u64) -> usize {
        // A cluster has at most 21 bits.
        usize::try_from(self.shape().cluster_size()).unwrap_or(0)
    }

    fn decode(&self, unit: u64, out: &mut [u8]) -> BlockResult<()> {
        self.packed(unit)?.read(out)
    }

    fn decodes_slowly(&self) -> bool {
        true
    }
}
