//! Targets: one for each disk and volume, with its names and its blocks.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use volfold_block::{BlockResult, ExtentKind, guard};

use super::scsi::sense::Sense;
use crate::block::export::Export;

/// What every name of ours begins with.
const PREFIX: &str = "iqn.2026-11.io.volfold";

/// LIMIT: bytes of a target's name, from the specification, with room for a port after it.
const MAX_NAME: usize = 200;

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
    pub(super) block: u64,
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
        let block = match u64::from(export.content.device().sector_size()) {
            block if block.is_power_of_two() && (512..=65536).contains(&block) => block,
            _ => 512,
        };
        let mut name = format!("{PREFIX}:{set}:");
        for byte in export.name.bytes() {
            match byte.to_ascii_lowercase() {
                byte @ (b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b':') => name.push(byte.into()),
                byte => name.push_str(&format!("-{byte:02x}")),
            }
        }
        name.truncate(MAX_NAME);
        // LIMIT: so that the end of the last block is a number too.
        let blocks = size.div_ceil(block).min(u64::MAX / block);
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

    /// The sense of commands for blocks that are not there.
    pub(super) fn check(&self, lba: u64, count: u64) -> Result<(), Sense> {
        match lba.checked_add(count) {
            Some(end) if end <= self.blocks => Ok(()),
            _ => Err(Sense::LBA_OUT_OF_RANGE),
        }
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
        let (mut good, mut bad) = (0, buf.len() as u64 / self.block);
        // INVARIANT: `good` blocks can be read; `bad` blocks, if they are not all, cannot.
        while bad - good > 1 {
            let middle = good + (bad - good) / 2;
            let part = &mut buf[(good * self.block) as usize..(middle * self.block) as usize];
            match self.read(offset + good * self.block, part) {
                Ok(()) => good = middle,
                Err(_) => bad = middle,
            }
        }
        // The last one may be good if the parts can be read and the whole could not.
        good * self.block
    }

    /// How many of `length` bytes at `offset` the image has.
    fn there(&self, offset: u64, length: usize) -> usize {
        let left = self.size().saturating_sub(offset);
        usize::try_from(left).map_or(length, |left| left.min(length))
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
                Some(last) if last.is_mapped == is_mapped => last.count += count,
                _ if is_full => break,
                _ => pieces.push(Provisioning { lba: at, count, is_mapped }),
            }
            at += count;
        }
        pieces
    }

    /// How many blocks at `lba` are of one kind, at least one; whether they are no hole.
    fn extent(&self, lba: u64) -> (u64, bool) {
        let offset = lba * self.block;
        let left = self.size().saturating_sub(offset);
        let content = &self.export.content;
        let extent = guard("the device", || content.extent(offset, left));
        match extent {
            Ok(extent) if extent.kind == ExtentKind::Zero => {
                let count = match extent.length >= left {
                    true => self.blocks - lba,
                    false => extent.length / self.block,
                };
                (count.max(1), count == 0)
            }
            Ok(extent) => (extent.length.div_ceil(self.block).max(1), true),
            // What cannot be told apart is data, which a read will speak about.
            _ => (self.blocks - lba, true),
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
