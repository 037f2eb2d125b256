//! Where the newest bytes of a dirty hive lie in its logs.

use std::collections::BTreeMap;

use volfold_fs::{FsError, FsResult};

/// LIMIT: pieces of one overlay, some 64 bytes of memory each. Windows writes an hour's changes of a
/// hive at most; 65,536 single pages are 256 MiB of them.
const MAX_PIECES: usize = 1 << 16;

/// Bytes of the bins that a log has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    /// The first byte, and the first after it, counted as offsets in the hive are.
    pub(super) start: u64,
    pub(super) end: u64,
    /// The number of the log, and the position of the bytes in it.
    pub(super) log: usize,
    pub(super) log_offset: u64,
}

impl Piece {
    /// The part of the piece from `start` to `end`, which lie in it.
    fn part(self, start: u64, end: u64) -> Self {
        let skipped = start.saturating_sub(self.start);
        Self { start, end, log_offset: self.log_offset.saturating_add(skipped), ..self }
    }

    /// Whether `next` goes on where this piece ends, in the hive and in the log.
    fn is_followed_by(&self, next: &Self) -> bool {
        let length = self.end.saturating_sub(self.start);
        self.end == next.start
            && self.log == next.log
            && self.log_offset.saturating_add(length) == next.log_offset
    }
}

/// Pieces that do not overlap; what is added hides what was there.
#[derive(Debug, Default)]
pub(super) struct Overlay {
    /// By their first byte.
    pieces: BTreeMap<u64, Piece>,
}

impl Overlay {
    /// Adds `piece`.
    ///
    /// # Errors
    /// `Unsupported` where that are too many.
    pub(super) fn add(&mut self, piece: Piece) -> FsResult<()> {
        if piece.start >= piece.end {
            return Ok(());
        }
        while let Some((_, old)) = self.pieces.range(..piece.end).next_back()
            && old.end > piece.start
        {
            let old = *old;
            self.pieces.remove(&old.start);
            if old.start < piece.start {
                self.pieces.insert(old.start, old.part(old.start, piece.start));
            }
            if old.end > piece.end {
                self.pieces.insert(piece.end, old.part(piece.end, old.end));
            }
        }
        match self.pieces.range_mut(..piece.start).next_back() {
            Some((_, before)) if before.is_followed_by(&piece) => before.end = piece.end,
            _ => {
                self.pieces.insert(piece.start, piece);
            }
        }
        if self.pieces.len() > MAX_PIECES {
            return Err(FsError::unsupported("registry log changes too many parts of its hive"));
        }
        Ok(())
    }

    /// The pieces that have bytes from `start` to `end`, cut to them, in order.
    pub(super) fn within(&self, start: u64, end: u64) -> Vec<Piece> {
        let before = self.pieces.range(..start).next_back().map(|(_, piece)| *piece);
        let later = self.pieces.range(start..end.max(start)).map(|(_, piece)| *piece);
        let all = before.into_iter().chain(later).filter(|piece| piece.end > start);
        all.map(|piece| piece.part(piece.start.max(start), piece.end.min(end))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(start: u64, end: u64, log_offset: u64) -> Piece {
        Piece { start, end, log: 0, log_offset }
    }

    /// For each of 100 bytes, where it lies.
    fn places(overlay: &Overlay) -> Vec<Option<u64>> {
        let mut places = vec![None; 100];
        for piece in overlay.within(0, 100) {
            for at in piece.start..piece.end {
                assert_eq!(places[at as usize], None);
                places[at as usize] = Some(piece.log_offset + at - piece.start);
            }
        }
        places
    }

    #[test]
    fn what_is_added_hides_what_was_there() {
        let mut overlay = Overlay::default();
        let mut expected = vec![None; 100];
        let mut state = 7_u64;
        for number in 0..500 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let start = (state >> 33) % 90;
            let end = start + 1 + (state >> 50) % 10;
            let at = number * 1000;
            overlay.add(piece(start, end, at)).unwrap();
            for place in start..end {
                expected[place as usize] = Some(at + place - start);
            }
            assert_eq!(places(&overlay), expected);
        }
        let inner = overlay.within(33, 44);
        let found = inner.iter().map(|piece| piece.end - piece.start).sum::<u64>();
        assert_eq!(found, expected[33..44].iter().flatten().count() as u64);
    }

    #[test]
    fn pieces_that_follow_each_other_are_one() {
        let mut overlay = Overlay::default();
        for number in 0..10 {
            overlay.add(piece(number * 8, number * 8 + 8, 512 + number * 8)).unwrap();
        }
        assert_eq!(overlay.within(0, 80), [piece(0, 80, 512)]);
    }

    #[test]
    fn too_many_pieces_are_refused() {
        let mut overlay = Overlay::default();
        let mut add = |number: u64| overlay.add(piece(number * 8, number * 8 + 4, 0));
        for number in 0..MAX_PIECES as u64 {
            add(number).unwrap();
        }
        assert!(add(MAX_PIECES as u64).is_err());
    }
}
