//! Which bytes of a device are changed, and where the new ones are.

use std::collections::BTreeMap;
use std::sync::Arc;

use volfold_block::{Span, byte_count};

/// The size of a block that is changed as a whole.
pub(super) const BLOCK: u64 = 4096;

/// Where changed bytes are kept.
#[derive(Clone, Debug)]
pub(super) enum Kept {
    Zero,
    /// One block.
    Memory(Arc<[u8]>),
    /// The position in the sidecar of the byte at `base`.
    File {
        position: u64,
        base: u64,
    },
    /// A record for it was there, and is damaged.
    Lost,
}

/// Changed blocks that follow each other.
#[derive(Clone, Debug)]
pub(super) struct Run {
    pub(super) span: Span,
    pub(super) kept: Kept,
}

/// All changed blocks. A run costs the same however long it is, so that much that is made zero takes
/// no more memory than little.
#[derive(Default)]
pub(super) struct Changes {
    /// The end of each run and where it is kept, by its first byte; none overlaps another.
    runs: BTreeMap<u64, (u64, Kept)>,
    /// How many runs are a block in memory.
    in_memory: u64,
    /// How many bytes are kept in the sidecar.
    in_file: u64,
}

impl Changes {
    /// The bytes of memory that a run takes in the map, at most.
    pub(super) const RUN: u64 = 128;

    /// The bytes of memory that all of it takes.
    pub(super) fn memory(&self) -> u64 {
        let runs = byte_count(self.runs.len()).saturating_mul(Self::RUN);
        runs.saturating_add(self.in_memory.saturating_mul(BLOCK))
    }

    /// The bytes of the sidecar that are still wanted.
    pub(super) fn in_file(&self) -> u64 {
        self.in_file
    }

    /// The bytes in memory and in the sidecar that a change of `span` would make free, or more where
    /// it takes a part of what is kept as a whole.
    pub(super) fn held(&self, span: Span) -> u64 {
        let mut held: u64 = 0;
        let mut at = span.start();
        while let Some(run) = self.next(at).filter(|run| run.span.start() < span.end()) {
            let shared = run.span.intersection(span).map_or(0, |shared| shared.length());
            held = held.saturating_add(match run.kept {
                Kept::Memory(_) | Kept::File { .. } => shared,
                Kept::Zero | Kept::Lost => 0,
            });
            at = run.span.end();
        }
        held
    }

    /// All runs, in order.
    pub(super) fn runs(&self) -> impl Iterator<Item = Run> {
        self.runs.iter().filter_map(|(start, (end, kept))| {
            Some(Run { span: Span::between(*start, *end)?, kept: kept.clone() })
        })
    }

    /// The parts of `span` that are not changed.
    pub(super) fn gaps(&self, span: Span) -> Vec<Span> {
        let mut gaps = Vec::new();
        let mut at = span.start();
        while at < span.end() {
            let run = self.next(at).map(|run| run.span).filter(|run| run.start() < span.end());
            let end = run.map_or(span.end(), |run| run.start().max(at));
            gaps.extend(Span::between(at, end).filter(|gap| !gap.is_empty()));
            at = run.map_or(span.end(), |run| run.end());
        }
        gaps
    }

    /// The blocks of `span` are kept there from now on.
    pub(super) fn insert(&mut self, span: Span, kept: Kept) {
        self.remove(span.start(), span.end());
        match kept {
            Kept::Memory(_) => self.in_memory = self.in_memory.saturating_add(1),
            Kept::File { .. } => self.in_file = self.in_file.saturating_add(span.length()),
            Kept::Zero | Kept::Lost => {}
        }
        self.runs.insert(span.start(), (span.end(), kept));
    }

    /// `length` bytes that were kept there are not wanted any more.
    fn forget(&mut self, kept: &Kept, length: u64) {
        match kept {
            // A block is kept as a whole.
            Kept::Memory(_) => self.in_memory = self.in_memory.saturating_sub(1),
            Kept::File { .. } => self.in_file = self.in_file.saturating_sub(length),
            Kept::Zero | Kept::Lost => {}
        }
    }

    fn remove(&mut self, start: u64, end: u64) {
        if let Some((_, run)) = self.runs.range_mut(..start).next_back()
            && run.0 > start
        {
            let (last, kept) = (run.0, run.1.clone());
            run.0 = start;
            self.forget(&kept, last.min(end).saturating_sub(start));
            if last > end {
                self.runs.insert(end, (last, kept));
            }
        }
        while let Some((first, _)) = self.runs.range(start..end).next() {
            let first = *first;
            if let Some((last, kept)) = self.runs.remove(&first) {
                self.forget(&kept, last.min(end).saturating_sub(first));
                if last > end {
                    self.runs.insert(end, (last, kept));
                }
            }
        }
    }

    /// The run that holds the byte at `offset`, else the next one.
    pub(super) fn next(&self, offset: u64) -> Option<Run> {
        let before = self.runs.range(..=offset).next_back().filter(|(_, (end, _))| *end > offset);
        let (start, (end, kept)) = before.or_else(|| self.runs.range(offset..).next())?;
        Some(Run { span: Span::between(*start, *end)?, kept: kept.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_later_change_covers_parts_of_earlier_ones() {
        let mut changes = Changes::default();
        let blocks = |start, end| Span::between(start * BLOCK, end * BLOCK).unwrap();
        changes.insert(blocks(0, 40), Kept::Zero);
        changes.insert(blocks(10, 20), Kept::File { position: 7, base: 10 * BLOCK });
        changes.insert(blocks(15, 16), Kept::Memory(vec![1; 4096].into()));
        let mut at = 0;
        let mut found = Vec::new();
        while let Some(run) = changes.next(at) {
            let kind = match run.kept {
                Kept::Zero => 'z',
                Kept::Memory(_) => 'm',
                Kept::File { position: 7, base } if base == 10 * BLOCK => 'f',
                Kept::File { .. } | Kept::Lost => '?',
            };
            found.push((run.span.start() / BLOCK, run.span.end() / BLOCK, kind));
            at = run.span.end();
        }
        let wanted = [(0, 10, 'z'), (10, 15, 'f'), (15, 16, 'm'), (16, 20, 'f'), (20, 40, 'z')];
        assert_eq!(found, wanted);
        assert_eq!(changes.memory(), 5 * Changes::RUN + BLOCK);
        assert_eq!((changes.in_file(), changes.held(blocks(12, 30))), (9 * BLOCK, 8 * BLOCK));
        assert_eq!(changes.gaps(blocks(30, 50)), [blocks(40, 50)]);
        assert_eq!(changes.gaps(blocks(3, 19)), []);
        changes.insert(blocks(12, 50), Kept::Zero);
        assert_eq!(changes.memory(), 3 * Changes::RUN);
        assert_eq!(changes.next(12 * BLOCK).map(|run| run.span.end()), Some(50 * BLOCK));
        assert_eq!(changes.in_file(), 2 * BLOCK);
        assert!(changes.next(50 * BLOCK).is_none());
    }
}
