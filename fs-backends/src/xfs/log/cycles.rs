//! The cycles of all blocks of the log, which tell where it ends and what of it is damaged.
//!
//! Blocks that were written last have the newest cycle, from block 0 on; those after them have the
//! one before, or 0 if the log was never gone round. Any block may be damaged, so that the newest
//! cycle and the place where it ends are those that the fewest blocks contradict.

use std::collections::BTreeMap;

use volfold_block::{ExtentKind, bytes_to_index};

use super::{BLOCK, Log};
use crate::error::{FsError, FsResult};
use crate::xfs::bytes::be32;

/// LIMIT: runs of blocks of one cycle; an intact log has two, and some more where it was being
/// written.
const MAX_RUNS: usize = 1 << 16;
/// The blocks that are read at once.
const PIECE: u64 = 2048;
const MAGIC: u32 = 0xFEED_BABE;

/// The cycle that `block` of the log has.
pub(super) fn of(block: &[u8]) -> u32 {
    let first = be32(block, 0).unwrap_or_default();
    if first == MAGIC { be32(block, 4).unwrap_or_default() } else { first }
}

/// The cycles of all blocks, as runs: where each begins, and its cycle.
pub(super) struct Cycles {
    runs: Vec<(u64, u32)>,
    blocks: u64,
}

/// Where the newest blocks end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Newest {
    /// Their cycle.
    pub(super) cycle: u32,
    /// The block after the last of them, at least 1.
    pub(super) end: u64,
}

impl Cycles {
    /// Looks at every block of `log`.
    ///
    /// # Errors
    /// `Corrupt` if they are in no order at all, or why they cannot be read.
    pub(super) fn scan(log: &Log) -> FsResult<Self> {
        let mut cycles = Self { runs: Vec::new(), blocks: log.blocks };
        let mut buffer = Vec::new();
        let mut at = 0;
        while at < log.blocks {
            let left = log.blocks.saturating_sub(at);
            let extent = log.device.extent_at(log.position(at))?;
            let zeros = extent.length.checked_div(BLOCK).unwrap_or_default().min(left);
            if extent.kind == ExtentKind::Zero && zeros > 0 {
                cycles.push(at, 0)?;
                at = at.saturating_add(zeros);
                continue;
            }
            let count = left.min(PIECE);
            buffer.resize(bytes_to_index(count.saturating_mul(BLOCK))?, 0);
            log.read(at, &mut buffer)?;
            let (blocks, _) = buffer.as_chunks::<512>();
            for (number, block) in (at..).zip(blocks) {
                cycles.push(number, of(block))?;
            }
            at = at.saturating_add(count);
        }
        Ok(cycles)
    }

    fn push(&mut self, at: u64, cycle: u32) -> FsResult<()> {
        if self.runs.last().is_none_or(|&(_, last)| last != cycle) {
            if self.runs.len() >= MAX_RUNS {
                return Err(FsError::corrupt("blocks of the log are in no order"));
            }
            self.runs.push((at, cycle));
        }
        Ok(())
    }

    /// The runs: where each begins and ends, and its cycle.
    fn each(&self) -> impl Iterator<Item = (u64, u64, u32)> {
        let ends = self.runs.iter().skip(1).map(|&(start, _)| start).chain([self.blocks]);
        self.runs.iter().zip(ends).map(|(&(start, cycle), end)| (start, end, cycle))
    }

    /// Where the newest blocks end; `None` if nothing was ever written.
    pub(super) fn newest(&self) -> Option<Newest> {
        let mut counts: BTreeMap<u32, u64> = BTreeMap::new();
        for (start, end, cycle) in self.each() {
            let count = counts.entry(cycle).or_default();
            *count = count.saturating_add(end.saturating_sub(start));
        }
        let (&most, _) = counts.iter().max_by_key(|&(_, count)| count)?;
        let candidates = [most, most.saturating_add(1)].into_iter().filter(|&cycle| cycle > 0);
        let best = candidates.filter(|cycle| counts.contains_key(cycle));
        let best = best.min_by_key(|&cycle| self.contradictions(cycle))?;
        let last = self.each().filter(|&(_, _, cycle)| cycle == best).last();
        last.map(|(_, end, cycle)| Newest { cycle, end })
    }

    /// How many blocks contradict at least that those of `newest` come first and are followed by
    /// those of the cycle before.
    fn contradictions(&self, newest: u32) -> u64 {
        let old = newest.saturating_sub(1);
        let runs = || self.each().map(|(start, end, cycle)| (end.saturating_sub(start), cycle));
        // With no new block at all every block that is not old is one.
        let mut all: u64 = runs().filter(|&(_, cycle)| cycle != old).map(|(count, _)| count).sum();
        let mut least = u64::MAX;
        for (count, cycle) in runs() {
            if cycle != newest {
                all = all.saturating_add(count);
            }
            if cycle != old {
                all = all.saturating_sub(count);
            }
            least = least.min(all);
        }
        least
    }

    /// Whether every block from `from` up to `to`, both in the ring and the end not below the begin,
    /// has `cycle` or the one before: what of them is old was not written.
    pub(super) fn may_be_unwritten(&self, from: u64, to: u64, cycle: u32) -> bool {
        let parts = self.each().filter(|&(start, end, _)| start < to && end > from);
        let old = cycle.saturating_sub(1);
        parts.into_iter().all(|(_, _, found)| found == cycle || found == old)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn newest(runs: &[(u64, u32)], blocks: u64) -> Option<(u32, u64)> {
        let newest = Cycles { runs: runs.to_vec(), blocks }.newest();
        newest.map(|newest| (newest.cycle, newest.end))
    }

    #[test]
    fn the_newest_blocks_end_where_the_fewest_contradict() {
        assert_eq!(newest(&[(0, 0)], 100), None);
        assert_eq!(newest(&[(0, 1), (10, 0)], 100), Some((1, 10)));
        assert_eq!(newest(&[(0, 5)], 100), Some((5, 100)));
        assert_eq!(newest(&[(0, 5), (3, 4)], 100), Some((5, 3)));
        assert_eq!(newest(&[(0, 5), (80, 4)], 100), Some((5, 80)));
    }

    #[test]
    fn damaged_blocks_do_not_hide_newer_ones() {
        // At the begin, in the middle, and among the old ones.
        assert_eq!(newest(&[(0, 0), (1, 5), (80, 4)], 100), Some((5, 80)));
        assert_eq!(newest(&[(0, 1), (10, 0), (12, 1), (20, 0)], 100), Some((1, 20)));
        assert_eq!(newest(&[(0, 1), (10, 0), (90, 1), (92, 0)], 100), Some((1, 92)));
        assert_eq!(newest(&[(0, 5), (80, 4), (90, 0), (91, 4)], 100), Some((5, 80)));
        assert_eq!(newest(&[(0, 5), (80, 4), (90, 0xFFFF), (91, 4)], 100), Some((5, 80)));
        // Blocks that were being written.
        assert_eq!(newest(&[(0, 5), (7, 4), (9, 5), (11, 4)], 100), Some((5, 11)));
        let cycles = Cycles { runs: vec![(0, 5), (7, 4), (9, 5), (11, 4)], blocks: 100 };
        assert!(cycles.may_be_unwritten(3, 11, 5) && !cycles.may_be_unwritten(3, 11, 6));
        assert!(cycles.may_be_unwritten(7, 9, 5) && cycles.may_be_unwritten(20, 30, 4));
    }
}
