//! Which bytes of a device are changed, and where the new ones are.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::BLOCK;

/// Where changed bytes are.
#[derive(Clone, Debug)]
pub(super) enum Place {
    Zero,
    /// One block.
    Memory(Arc<[u8]>),
    /// The position in the sidecar of the byte at `base`.
    File {
        position: u64,
        base: u64,
    },
}

/// Changed blocks that follow each other.
#[derive(Clone, Debug)]
pub(super) struct Run {
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) place: Place,
}

/// All changed blocks. A run costs the same however long it is, so that much that is made zero takes
/// no more memory than little.
#[derive(Default)]
pub(super) struct Changes {
    /// By the first byte; none overlaps another.
    runs: BTreeMap<u64, (u64, Place)>,
    /// How many runs are a block in memory.
    in_memory: u64,
}

impl Changes {
    /// The bytes of memory that a run takes in the map, at most.
    pub(super) const RUN: u64 = 128;

    /// The bytes of memory that all of it takes.
    pub(super) fn memory(&self) -> u64 {
        self.runs.len() as u64 * Self::RUN + self.in_memory * BLOCK
    }

    /// The blocks from `start` to `end` are in `place` from now on.
    pub(super) fn insert(&mut self, start: u64, end: u64, place: Place) {
        self.remove(start, end);
        self.in_memory += u64::from(matches!(place, Place::Memory(_)));
        self.runs.insert(start, (end, place));
    }

    fn remove(&mut self, start: u64, end: u64) {
        if let Some((_, run)) = self.runs.range_mut(..start).next_back()
            && run.0 > start
        {
            let rest = (run.0, run.1.clone());
            run.0 = start;
            if rest.0 > end {
                self.runs.insert(end, rest);
            }
        }
        while let Some((first, _)) = self.runs.range(start..end).next() {
            let first = *first;
            if let Some((last, place)) = self.runs.remove(&first) {
                if last > end {
                    self.runs.insert(end, (last, place));
                } else {
                    self.in_memory -= u64::from(matches!(place, Place::Memory(_)));
                }
            }
        }
    }

    /// The run that holds the byte at `offset`, else the next one.
    pub(super) fn next(&self, offset: u64) -> Option<Run> {
        let before = self.runs.range(..=offset).next_back().filter(|(_, (end, _))| *end > offset);
        let (start, (end, place)) = before.or_else(|| self.runs.range(offset..).next())?;
        Some(Run { start: *start, end: *end, place: place.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_later_change_covers_parts_of_earlier_ones() {
        let mut changes = Changes::default();
        changes.insert(0, 40 * BLOCK, Place::Zero);
        changes.insert(10 * BLOCK, 20 * BLOCK, Place::File { position: 7, base: 10 * BLOCK });
        changes.insert(15 * BLOCK, 16 * BLOCK, Place::Memory(vec![1; 4096].into()));
        let mut at = 0;
        let mut found = Vec::new();
        while let Some(run) = changes.next(at) {
            let kind = match run.place {
                Place::Zero => 'z',
                Place::Memory(_) => 'm',
                Place::File { position: 7, base } if base == 10 * BLOCK => 'f',
                Place::File { .. } => '?',
            };
            found.push((run.start / BLOCK, run.end / BLOCK, kind));
            at = run.end;
        }
        let wanted = [(0, 10, 'z'), (10, 15, 'f'), (15, 16, 'm'), (16, 20, 'f'), (20, 40, 'z')];
        assert_eq!(found, wanted);
        assert_eq!(changes.memory(), 5 * Changes::RUN + BLOCK);
        changes.insert(12 * BLOCK, 50 * BLOCK, Place::Zero);
        assert_eq!(changes.memory(), 3 * Changes::RUN);
        assert_eq!(changes.next(12 * BLOCK).map(|run| run.end), Some(50 * BLOCK));
        assert!(changes.next(50 * BLOCK).is_none());
    }
}
