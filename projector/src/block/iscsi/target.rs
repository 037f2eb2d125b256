//! Targets: one for each disk and volume, with its names and its blocks.

use std::io;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use volfold_block::{BlockResult, ExtentKind, Span, byte_count, guard};

use super::scsi::sense::Sense;
use crate::block::export::Export;
use crate::block::number::{to_u32, to_usize};

/// What every name of ours begins with.
const PREFIX: &str = "iqn.2026-11.io.volfold";

/// LIMIT: bytes of a target's name, from the specification, with room for a port after it.
const MAX_NAME: usize = 200;

/// The size of a logical block where the device tells none that initiators know.
const SECTOR: NonZeroU64 = NonZeroU64::MIN.saturating_add(511);

/// LIMIT: extents that one GET LBA STATUS asks for.
const MAX_EXTENTS: u32 = 4096;

/// A disk or volume as the only logical unit of its target.
pub struct Target {
    /// The name that initiators use.
    pub(super) name: String,
    pub(super) export: Arc<Export>,
    /// What no other disk or volume has.
    pub(super) identity: [u8; 16],
    /// The size of a logical block.
    pub(super) block: NonZeroU64,
    /// How many logical blocks there are, the last one perhaps in part.
    pub(super) blocks: u64,
    /// How often an initiator has reset the unit, which every session is to hear of.
    resets: AtomicU64,
}

/// Blocks of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Provisioning {
    pub(super) lba: u64,
    pub(super) count: u64,
    pub(super) is_mapped: bool,
}

impl Target {
    /// A target for `export`, which belongs to `set`, and which `identity` tells from everything
    /// else that initiators may see. Both are to be the same whenever the same is exported.
    pub fn new(export: Arc<Export>, set: &str, identity: [u8; 16]) -> Self {
        let size = export.content.device().size();
        let sector = export.content.device().sector_size();
        let is_known = sector.is_power_of_two() && (512..=65536).contains(&sector);
        let block = NonZeroU64::new(sector.into()).filter(|_| is_known).unwrap_or(SECTOR);
        let mut name = format!("{PREFIX}:{set}:");
        for byte in export.name.bytes() {
            match byte.to_ascii_lowercase() {
                byte @ (b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b':') => name.push(byte.into()),
                byte => name.push_str(&format!("-{byte:02x}")),
            }
        }
        name.truncate(MAX_NAME);
        // LIMIT: so that the end of the last block is a number too.
        let last = u64::from(!size.is_multiple_of(block.get()));
        let blocks = (size / block).saturating_add(last).min(u64::MAX / block);
        Self { name, export, identity, block, blocks, resets: AtomicU64::new(0) }
    }

    /// The name that initiators use.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What people must know of the last block; `None` if it is whole.
    pub fn remark(&self) -> Option<String> {
        let rest = self.size() % self.block;
        (rest != 0).then(|| {
            format!(
                "the last block of {} bytes holds {rest} bytes of it, the others read as zeros",
                self.block
            )
        })
    }

    pub(super) fn reset(&self) {
        self.resets.fetch_add(1, Ordering::SeqCst);
    }

    pub(super) fn resets(&self) -> u64 {
        self.resets.load(Ordering::SeqCst)
    }

    fn size(&self) -> u64 {
        self.export.content.device().size()
    }

    pub(super) fn is_read_only(&self) -> bool {
        self.export.content.overlay().is_none()
    }

    /// The bytes of `count` blocks from `lba` on.
    ///
    /// # Errors
    /// The sense of commands for blocks that are not there.
    pub(super) fn check(&self, lba: u64, count: u64) -> Result<Span, Sense> {
        let end = lba.checked_add(count).filter(|end| *end <= self.blocks);
        let bytes = |blocks: u64| blocks.checked_mul(self.block.get());
        let span = end.and_then(|end| Span::between(bytes(lba)?, bytes(end)?));
        span.ok_or(Sense::LBA_OUT_OF_RANGE)
    }

    /// The block of the byte at `position`; how many whole blocks that many bytes have.
    pub(super) fn block_of(&self, position: u64) -> u64 {
        position / self.block
    }

    /// How many whole blocks `length` bytes have, as a number of 32 bits.
    pub(super) fn blocks_in(&self, length: u64) -> u32 {
        to_u32(self.block_of(length))
    }

    /// Fills `buf` with the bytes at `offset`; past the end, in the last block, are zeros.
    pub(super) fn read(&self, offset: u64, buf: &mut [u8]) -> BlockResult<()> {
        let there = self.there(offset, buf.len());
        let (inside, past) = buf.split_at_mut(there);
        past.fill(0);
        if inside.is_empty() {
            return Ok(());
        }
        let device = self.export.content.device();
        guard("the device", || device.read_at(offset, inside))
    }

    /// How many bytes in front of the first block that cannot be read, of those at `offset` that did
    /// not go into `buf` as a whole; changes `buf`.
    pub(super) fn good_prefix(&self, offset: u64, buf: &mut [u8]) -> u64 {
        let block = to_usize(self.block.get());
        let mut rest = buf;
        let mut good = 0_u64;
        // INVARIANT: the `good` bytes before `rest` can be read; `rest`, if it is not all that is left,
        // cannot. It is at least one block, the last of which may be good if the parts can be read and
        // the whole could not.
        loop {
            let half = self.block_of(byte_count(rest.len())) / 2;
            if half == 0 {
                return good;
            }
            let (first, second) = rest.split_at_mut(to_usize(half).saturating_mul(block));
            rest = match self.read(offset.saturating_add(good), first) {
                Ok(()) => {
                    good = good.saturating_add(byte_count(first.len()));
                    second
                }
                Err(_) => first,
            };
        }
    }

    /// How many of `length` bytes at `offset` the image has.
    fn there(&self, offset: u64, length: usize) -> usize {
        to_usize(self.size().saturating_sub(offset)).min(length)
    }

    /// Changes the bytes at `offset`.
    ///
    /// # Errors
    /// Why the overlay cannot take them; also if bytes other than zero are for past the end.
    pub(super) fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let Some(overlay) = self.export.content.overlay() else {
            return Err(io::ErrorKind::ReadOnlyFilesystem.into());
        };
        let (inside, past) = bytes.split_at(self.there(offset, bytes.len()));
        if past.iter().any(|byte| *byte != 0) {
            return Err(io::Error::other("the last block has no room for these bytes"));
        }
        overlay.write(offset, inside)
    }

    /// Makes the bytes at `offset` zero.
    ///
    /// # Errors
    /// Why the overlay cannot.
    pub(super) fn write_zeroes(&self, offset: u64, length: u64) -> io::Result<()> {
        let Some(overlay) = self.export.content.overlay() else {
            return Err(io::ErrorKind::ReadOnlyFilesystem.into());
        };
        overlay.write_zeroes(offset, length.min(self.size().saturating_sub(offset)))
    }

    /// Makes sure that what was written is there after a crash.
    ///
    /// # Errors
    /// If the host cannot write.
    pub(super) fn flush(&self) -> io::Result<()> {
        self.export.content.overlay().map_or(Ok(()), |overlay| overlay.flush())
    }

    /// Which blocks from `lba` on are holes, in at most `most` pieces.
    pub(super) fn provisioning(&self, lba: u64, most: usize) -> Vec<Provisioning> {
        let mut pieces: Vec<Provisioning> = Vec::new();
        let mut at = lba;
        for _ in 0..MAX_EXTENTS {
            if at >= self.blocks {
                break;
            }
            let (count, is_mapped) = self.extent(at);
            let is_full = pieces.len() == most;
            match pieces.last_mut() {
                Some(last) if last.is_mapped == is_mapped => {
                    last.count = last.count.saturating_add(count);
                }
                _ if is_full => break,
                _ => pieces.push(Provisioning { lba: at, count, is_mapped }),
            }
            at = at.saturating_add(count);
        }
        pieces
    }

    /// How many blocks at `lba` are of one kind, at least one; whether they are no hole.
    fn extent(&self, lba: u64) -> (u64, bool) {
        let offset = lba.saturating_mul(self.block.get());
        let left = self.size().saturating_sub(offset);
        let blocks_left = self.blocks.saturating_sub(lba).max(1);
        let content = &self.export.content;
        let extent = guard("the device", || content.extent(offset, left));
        match extent {
            Ok(extent) if extent.kind == ExtentKind::Zero => {
                let count = match extent.length >= left {
                    true => blocks_left,
                    false => self.block_of(extent.length),
                };
                (count.max(1), count == 0)
            }
            Ok(extent) => (extent.length.div_ceil(self.block.get()).max(1), true),
            // What cannot be told apart is data, which a read will speak about.
            _ => (blocks_left, true),
        }
    }
}

#[cfg(test)]
mod tests {
    use volfold_block::MemoryDevice;

    use super::*;
    use crate::block::export::Content;
    use crate::block::overlay::Overlay;

    fn target(name: &str, size: usize) -> Target {
        let device = Arc::new(MemoryDevice::new(vec![7; size]));
        let content = Content::Overlay(Arc::new(Overlay::in_memory(device, 1 << 20)));
        let export = Export::new(name, "", content);
        Target::new(Arc::new(export), "set", [1; 16])
    }

    #[test]
    fn names_hold_only_what_initiators_take() {
        assert_eq!(target("GPT:aB-1", 512).name(), "iqn.2026-11.io.volfold:set:gpt:ab-1");
        assert_eq!(target("a b/c", 512).name(), "iqn.2026-11.io.volfold:set:a-20b-2fc");
        assert_eq!(target(&"x".repeat(999), 512).name().len(), MAX_NAME);
    }

    #[test]
    fn the_tail_of_an_odd_size_is_there_and_takes_no_more_than_it_has() {
        let odd = target("odd", 1000);
        assert_eq!((odd.blocks, odd.remark().is_some()), (2, true));
        let mut block = [1; 512];
        odd.read(512, &mut block).unwrap();
        assert_eq!((block[487], block[488], block[511]), (7, 0, 0));
        assert!(odd.write(512, &[9; 512]).is_err());
        block[..488].fill(9);
        odd.write(512, &block).unwrap();
        let mut again = [1; 512];
        odd.read(512, &mut again).unwrap();
        assert_eq!(again, block);
        odd.write_zeroes(512, 512).unwrap();
        assert!(target("even", 1024).remark().is_none());
    }

    #[test]
    fn holes_are_told_in_whole_blocks() {
        let target = target("holes", 16384 + 100);
        target.write_zeroes(4096, 4096).unwrap();
        let piece = |lba, count, is_mapped| Provisioning { lba, count, is_mapped };
        let all = [piece(0, 8, true), piece(8, 8, false), piece(16, 17, true)];
        assert_eq!(target.provisioning(0, 9), all);
        assert_eq!(target.provisioning(9, 1), [piece(9, 7, false)]);
        assert_eq!(target.provisioning(33, 9), []);
    }
}
