//! Runs of bytes: the one place where offsets are added up.

use crate::bytes::byte_count;

/// Bytes of a file, device or volume that lie together.
///
/// INVARIANT: the end does not overflow, so no arithmetic below needs a guess.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span {
    start: u64,
    end: u64,
}

impl Span {
    /// The `length` bytes from `start`; `None` if there are no such numbers.
    pub fn new(start: u64, length: u64) -> Option<Self> {
        let end = start.checked_add(length)?;
        Some(Self { start, end })
    }

    /// All bytes below `size`.
    pub fn below(size: u64) -> Self {
        Self { start: 0, end: size }
    }

    /// The bytes from `start` to before `end`; `None` if `end` comes first.
    pub fn between(start: u64, end: u64) -> Option<Self> {
        (start <= end).then_some(Self { start, end })
    }

    /// The bytes that a buffer of `length` bytes at `start` takes.
    pub fn of_buffer(start: u64, length: usize) -> Option<Self> {
        Self::new(start, byte_count(length))
    }

    /// The first byte.
    pub fn start(self) -> u64 {
        self.start
    }

    /// The first byte past it.
    pub fn end(self) -> u64 {
        self.end
    }

    /// How many bytes.
    pub fn length(self) -> u64 {
        // `end` is never below `start`.
        self.end.saturating_sub(self.start)
    }

    /// Whether there is no byte in it.
    pub fn is_empty(self) -> bool {
        self.start == self.end
    }

    /// Whether the byte at `position` is one of them.
    pub fn contains(self, position: u64) -> bool {
        self.start <= position && position < self.end
    }

    /// Whether all bytes of `other` are among them.
    pub fn holds(self, other: Self) -> bool {
        self.start <= other.start && other.end <= self.end
    }

    /// The position of the byte `offset` bytes past the start; `None` past the end.
    pub fn position(self, offset: u64) -> Option<u64> {
        self.start.checked_add(offset).filter(|position| *position < self.end)
    }

    /// How far `position`, one of the bytes, is from the start; `None` for other positions.
    pub fn offset_of(self, position: u64) -> Option<u64> {
        if self.contains(position) { position.checked_sub(self.start) } else { None }
    }

    /// What is left from `offset` bytes past the start on; empty at the end, `None` past it.
    pub fn rest(self, offset: u64) -> Option<Self> {
        Self::between(self.start.checked_add(offset)?, self.end)
    }

    /// The first bytes, at most `length`.
    #[must_use]
    pub fn first(self, length: u64) -> Self {
        let end = self.start.checked_add(length).map_or(self.end, |end| end.min(self.end));
        Self { start: self.start, end }
    }

    /// The bytes that both have; `None` if there are none.
    pub fn intersection(self, other: Self) -> Option<Self> {
        let span = Self::between(self.start.max(other.start), self.end.min(other.end))?;
        (!span.is_empty()).then_some(span)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_never_leaves_the_numbers_there_are() {
        assert_eq!(Span::new(u64::MAX, 1), None);
        assert_eq!(Span::new(1, u64::MAX), None);
        let last = Span::new(u64::MAX - 4, 4).unwrap();
        assert_eq!(
            (last.end(), last.position(3), last.position(4)),
            (u64::MAX, Some(u64::MAX - 1), None)
        );
        assert_eq!(last.rest(4).unwrap().length(), 0);
        assert_eq!(last.rest(5), None);
        assert_eq!(last.first(u64::MAX), last);
    }

    #[test]
    fn parts_of_a_span_are_inside() {
        let span = Span::new(10, 10).unwrap();
        assert_eq!((span.start(), span.end(), span.length(), span.is_empty()), (10, 20, 10, false));
        assert!(span.contains(10) && span.contains(19) && !span.contains(20) && !span.contains(9));
        assert_eq!(
            (span.offset_of(12), span.offset_of(20), span.position(2)),
            (Some(2), None, Some(12))
        );
        assert_eq!(span.rest(4), Span::new(14, 6));
        assert_eq!(span.first(3), Span::new(10, 3).unwrap());
        assert_eq!(span.intersection(Span::below(12)), Span::new(10, 2));
        assert_eq!(span.intersection(Span::below(10)), None);
        assert!(span.holds(Span::new(12, 8).unwrap()) && !span.holds(Span::new(12, 9).unwrap()));
        assert_eq!(Span::of_buffer(3, 4), Span::new(3, 4));
    }
}
