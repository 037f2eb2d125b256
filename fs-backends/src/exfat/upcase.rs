//! The up-case table: how the names of a volume compare.
//!
//! Specification: Microsoft, "exFAT file system specification", 7.2. Two bytes for each UTF-16 code
//! unit from 0 on; 0xFFFF and a number stand for so many units which are their own upper case. The
//! first 128 units have the same upper case on every volume.

use crate::error::{FsError, FsResult};
use crate::wtf8;

/// The largest table has a unit for each.
pub(super) const MAX_TABLE: u64 = 128 * 1024;
/// Stands before the number of units that are their own upper case.
const RUN: u16 = 0xFFFF;
/// The units whose upper case the specification gives.
const GIVEN: u16 = 128;

/// The upper case of every code unit.
pub(super) struct Upcase {
    /// `None`: only of those that are the same on every volume.
    table: Option<Box<[u16]>>,
}

impl Upcase {
    /// What holds for every volume.
    pub(super) fn given() -> Self {
        Self { table: None }
    }

    /// The table that is stored as `bytes`.
    ///
    /// # Errors
    /// `Corrupt` if it goes past the last unit, ends within a run, or contradicts what holds for every
    /// volume.
    pub(super) fn parse(bytes: &[u8]) -> FsResult<Self> {
        let mut table: Vec<u16> = (0..=u16::MAX).collect();
        let units = table.len();
        let mut at: usize = 0;
        let mut stored = wtf8::units_le(bytes);
        while let Some(upper) = stored.next() {
            // The last unit of all is its own upper case, and no run.
            let run = if upper == RUN && at != usize::from(RUN) { stored.next() } else { None };
            match (run, table.get_mut(at)) {
                (Some(run), _) => at = at.saturating_add(run.into()),
                (None, _) if upper == RUN && at != usize::from(RUN) => {
                    return Err(FsError::corrupt("up-case table ends within a run"));
                }
                (None, Some(place)) => {
                    *place = upper;
                    at = at.saturating_add(1);
                }
                (None, None) => at = usize::MAX,
            }
            if at > units {
                return Err(FsError::corrupt("up-case table has too many entries"));
            }
        }
        let is_as_given = |unit: u16| table.get(usize::from(unit)) == Some(&upper_of_given(unit));
        if !bytes.len().is_multiple_of(2) || !(0..GIVEN).all(is_as_given) {
            return Err(FsError::corrupt("up-case table contradicts its first 128 entries"));
        }
        Ok(Self { table: Some(table.into_boxed_slice()) })
    }

    /// Whether it is that of the volume.
    pub(super) fn is_own(&self) -> bool {
        self.table.is_some()
    }

    fn upper(&self, unit: u16) -> u16 {
        match &self.table {
            Some(table) => table.get(usize::from(unit)).copied().unwrap_or(unit),
            None => upper_of_given(unit),
        }
    }

    /// Gives `units` the form in which names compare.
    pub(super) fn fold(&self, units: &mut [u16]) {
        for unit in units {
            *unit = self.upper(*unit);
        }
    }

    /// The WTF-8 `name` in the form in which names compare; `None` if it is no WTF-8.
    pub(super) fn folded(&self, name: &[u8]) -> Option<Vec<u16>> {
        let mut units = wtf8::decode(name)?;
        self.fold(&mut units);
        Some(units)
    }
}

/// The upper case of a unit below [`GIVEN`].
fn upper_of_given(unit: u16) -> u16 {
    match u8::try_from(unit) {
        Ok(byte) if byte.is_ascii() => byte.to_ascii_uppercase().into(),
        _ => unit,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::FsErrorKind;
    use crate::testing::kind_of;

    /// The first 128 entries as they are given.
    fn given() -> Vec<u16> {
        (0..GIVEN).map(upper_of_given).collect()
    }

    fn bytes(units: &[u16]) -> Vec<u8> {
        units.iter().flat_map(|unit| unit.to_le_bytes()).collect()
    }

    #[test]
    fn a_table_is_read_with_and_without_runs() {
        let plain: Vec<u16> = (0..=u16::MAX).collect();
        let mut folded: Vec<u16> = given();
        folded.extend(&plain[128..]);
        folded[0xE4] = 0xC4;
        let mut short = given();
        short.extend([RUN, 0xE4 - 128, 0xC4, RUN, 0xFFFF - 0xE5]);
        let mut whole = short.clone();
        whole.push(0xFFFF);
        for table in [&folded, &short, &whole] {
            let upcase = Upcase::parse(&bytes(table)).unwrap();
            assert!(upcase.is_own());
            let name = "\u{e4}bC \u{f6}\u{ffff}";
            let upper: Vec<u16> = "\u{c4}BC \u{f6}\u{ffff}".encode_utf16().collect();
            assert_eq!(upcase.folded(name.as_bytes()).unwrap(), upper);
        }
        assert_eq!(Upcase::given().folded("\u{e4}b".as_bytes()).unwrap(), [0xE4, 0x42]);
        assert_eq!(Upcase::given().folded(b"\xFF"), None);
    }

    #[test]
    fn a_table_that_cannot_be_is_refused() {
        let mut too_long = given();
        too_long.extend([RUN, 0xFFFF - 127, 0x41, 0x41]);
        let mut far = given();
        far.extend([RUN, 0xFFFF, RUN, 0xFFFF]);
        let mut cut = given();
        cut.push(RUN);
        let mut wrong = given();
        wrong[0x61] = 0x61;
        for table in [too_long, far, cut, wrong, Vec::new()] {
            // Without entries the letters would have no upper case.
            assert_eq!(kind_of(Upcase::parse(&bytes(&table))), FsErrorKind::Corrupt);
        }
        let mut odd = bytes(&given());
        odd.push(0);
        assert_eq!(kind_of(Upcase::parse(&odd)), FsErrorKind::Corrupt);
    }
}
