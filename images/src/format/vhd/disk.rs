//! The disk in a VHD.

use std::sync::Arc;

use volfold_block::{BlockDevice, BlockError, BlockResult, Map, Piece, Place, Span};

use super::footer::{FOOTER_BYTES, Footer};
use super::header::{HEADER_BYTES, Header};
use crate::bits::{BitOrder, bit_run, has_a_bit};
use crate::context::Backing;
use crate::table::{MAX_LOOK, Tables, blocks_to_look};

/// An entry of the block allocation table for a block that was never written.
const FREE: u64 = 0xFFFF_FFFF;

/// The disk of a fixed image: the file up to its footer.
pub(super) struct FixedDisk {
    pub(super) file: Arc<dyn BlockDevice>,
    pub(super) size: u64,
    pub(super) data_end: u64,
}

impl Map for FixedDisk {
    fn size(&self) -> u64 {
        self.size
    }

    fn locate(&self, offset: u64, _wanted: u64) -> BlockResult<Piece<'_>> {
        let left = self.size.saturating_sub(offset);
        Ok(match self.data_end.checked_sub(offset) {
            // The host may know of holes in the file.
            Some(there @ 1..) => Piece::new(Place::At(&*self.file, offset), there.min(left)),
            _ => {
                let line = format!("file ends early, after {} bytes of the disk", self.data_end);
                Piece::new(Place::Fail(BlockError::corrupt(line, offset, 0)), left)
            }
        })
    }
}

/// The disk of a dynamic or differencing image: a table of blocks, each with a bitmap of its sectors.
pub(super) struct SparseDisk {
    pub(super) file: Arc<dyn BlockDevice>,
    pub(super) tables: Tables,
    pub(super) footer: Footer,
    pub(super) header: Header,
    pub(super) below: Backing,
}

impl SparseDisk {
    /// Why the block with its bitmap cannot be at `span`.
    fn conflict(&self, span: Span) -> Option<&'static str> {
        let Footer { size, data_offset, .. } = self.footer;
        let entries = size.div_ceil(self.header.block_size);
        let table = Span::new(self.header.table_at, entries.saturating_mul(4));
        let header = Span::new(data_offset, HEADER_BYTES);
        let copy = Span::of_buffer(0, FOOTER_BYTES);
        let overlaps = |other: Option<Span>| {
            other.and_then(|other| other.intersection(span)).is_some_and(|both| !both.is_empty())
        };
        if overlaps(header) || overlaps(copy) {
            Some("block lies in the header")
        } else if overlaps(table) {
            Some("block lies in the block allocation table")
        } else {
            None
        }
    }

    /// The bytes from `skip` on of the block with its bitmap at `at`, which is at `offset` of the
    /// disk.
    fn block(&self, at: u64, offset: u64, skip: u64, wanted: u64) -> BlockResult<Piece<'_>> {
        let Header { block_size, bitmap_size, .. } = self.header;
        let left = block_size.saturating_sub(skip);
        let fail =
            |sentence| Ok(Piece::new(Place::Fail(BlockError::corrupt(sentence, at, 0)), left));
        let Some(data_at) = at.checked_add(bitmap_size) else {
            return fail("block lies past the end of the file");
        };
        let span = Span::new(at, bitmap_size.saturating_add(block_size));
        if let Some(sentence) = span.and_then(|span| self.conflict(span)) {
            return fail(sentence);
        }
        let end = self.footer.data_end;
        if data_at >= end {
            return fail("block lies past the end of the file");
        }
        let (sector, within) = (skip >> 9, skip & 511);
        let sectors = wanted.saturating_add(within).min(left.saturating_add(within)).div_ceil(512);
        let bitmaps = self.tables.file();
        let (is_here, run) = bit_run(bitmaps, at, BitOrder::HighFirst, sector, sectors)?;
        let length = run.saturating_mul(512).saturating_sub(within).min(left);
        // QUIRK: the specification has a bitmap in dynamic images, too. VirtualBox, XenServer and
        // DiscUtils set a bit for each sector that was written; QEMU and Hyper-V set all, and do not
        // look; and there are writers that set none. A block is there because something was written to
        // it, so a bitmap without a bit is one that was not kept.
        let is_kept = || has_a_bit(bitmaps, at, block_size.div_ceil(512 * 8));
        if !is_here && (self.below.is_there() || is_kept()?) {
            let (place, length) = self.below.place(offset, length);
            return Ok(Piece::new(place, length));
        }
        let start = data_at.saturating_add(skip);
        match end.checked_sub(start) {
            Some(there @ 1..) => {
                Ok(Piece::new(Place::Stored(&*self.file, start), length.min(there)))
            }
            _ => fail("block lies past the end of the file"),
        }
    }
}

impl Map for SparseDisk {
    fn size(&self) -> u64 {
        self.footer.size
    }

    fn locate(&self, offset: u64, wanted: u64) -> BlockResult<Piece<'_>> {
        let block_size = self.header.block_size;
        let block = offset >> block_size.trailing_zeros();
        let skip = offset & block_size.saturating_sub(1);
        let left = self.footer.size.div_ceil(block_size).saturating_sub(block);
        let count = blocks_to_look(wanted, skip, block_size);
        let count = usize::try_from(left).map_or(count, |left| count.min(left));
        let mut entries = [0; MAX_LOOK];
        let entries = entries.get_mut(..count).unwrap_or_default();
        self.tables.fill(self.header.table_at, block, entries)?;
        match entries.first() {
            None | Some(&FREE) => {
                let free = entries.iter().take_while(|entry| **entry == FREE).count().max(1);
                let blocks = volfold_block::byte_count(free);
                let length = blocks.saturating_mul(block_size).saturating_sub(skip);
                let (place, length) = self.below.place(offset, length);
                Ok(Piece::new(place, length))
            }
            // 32 bits times 9 bits.
            Some(entry) => self.block(entry.saturating_mul(512), offset, skip, wanted),
        }
    }
}
