//! `$UpCase`: how the names of a volume compare.

use std::cmp::Ordering;

use crate::error::{FsError, FsResult};
use crate::wtf8;

/// The bytes of the table: two for each UTF-16 code unit.
pub(super) const TABLE_SIZE: u64 = 128 * 1024;

/// The upper case of every UTF-16 code unit, as the volume says.
pub(super) struct Upcase(Box<[u16]>);

impl Upcase {
    /// The table in the content `bytes` of `$UpCase`.
    ///
    /// # Errors
    /// `Corrupt` if it has not 65,536 entries.
    pub(super) fn parse(bytes: &[u8]) -> FsResult<Self> {
        let table: Box<[u16]> = wtf8::units_le(bytes).collect();
        if table.len() == 1 << 16 {
            Ok(Self(table))
        } else {
            Err(FsError::corrupt("upper case table has a wrong size"))
        }
    }

    /// A table after Unicode, for a volume that has lost its own.
    pub(super) fn fallback() -> Self {
        let upper = |unit: u16| {
            let mut upper = char::from_u32(u32::from(unit))?.to_uppercase();
            let single = upper.next().filter(|_| upper.next().is_none())?;
            u16::try_from(u32::from(single)).ok()
        };
        Self((0..=u16::MAX).map(|unit| upper(unit).unwrap_or(unit)).collect())
    }

    fn upper(&self, unit: u16) -> u16 {
        self.0.get(usize::from(unit)).copied().unwrap_or(unit)
    }

    /// The order of file names in an index: by upper case, then by code units. The flag tells
    /// whether the upper case is the same.
    pub(super) fn compare(&self, name: &[u16], other: &[u8]) -> (Ordering, bool) {
        let other = wtf8::units_le(other);
        let upper = name.iter().map(|unit| self.upper(*unit));
        match upper.cmp(other.clone().map(|unit| self.upper(unit))) {
            Ordering::Equal => (name.iter().copied().cmp(other), true),
            order => (order, false),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::FsErrorKind;

    #[test]
    fn names_compare_by_upper_case_first() {
        let upcase = Upcase::fallback();
        let units = |name: &str| name.encode_utf16().collect::<Vec<_>>();
        let bytes = |name: &str| name.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<_>>();
        let compare = |a: &str, b: &str| upcase.compare(&units(a), &bytes(b));
        assert_eq!(compare("abc", "ABC"), (Ordering::Greater, true));
        assert_eq!(compare("ABC", "ABC"), (Ordering::Equal, true));
        assert_eq!(compare("a_", "AB"), (Ordering::Greater, false));
        assert_eq!(compare("\u{e4}", "\u{c4}"), (Ordering::Greater, true));
        assert_eq!(compare("a", "ab"), (Ordering::Less, false));
        assert_eq!(compare("\u{df}", "SS"), (Ordering::Greater, false));
        let error = Upcase::parse(&[0; 100]).err().unwrap();
        assert_eq!(error.kind(), FsErrorKind::Corrupt);
    }
}
