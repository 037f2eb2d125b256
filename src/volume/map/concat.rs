//! Devices one after the other.

use std::sync::Arc;

use volfold_block::{BlockDevice, BlockError, BlockResult, Map, Mapped, Piece, Place, Span};

use super::member::sector_size;

/// Members one after the other: a spanned volume, or a column of several extents.
pub struct Concat {
    /// Each member with where it lies, ascending and without gaps.
    members: Vec<(Span, Arc<dyn BlockDevice>)>,
    size: u64,
}

impl Concat {
    /// `members` in this order; empty ones are left out.
    ///
    /// # Errors
    /// `Corrupt` if together they have more than 2^64 bytes.
    pub fn new(members: Vec<Arc<dyn BlockDevice>>) -> BlockResult<Self> {
        let mut placed = Vec::with_capacity(members.len());
        let mut size = 0_u64;
        for member in members.into_iter().filter(|member| member.size() > 0) {
            let span = Span::new(size, member.size()).ok_or_else(|| {
                BlockError::corrupt("parts of a volume are together too large", 0, 0)
            })?;
            size = span.end();
            placed.push((span, member));
        }
        Ok(Self { members: placed, size })
    }
}

/// `devices` one after the other; a single one is itself.
///
/// # Errors
/// As [`Concat::new`].
pub(crate) fn one_after_the_other(
    mut devices: Vec<Arc<dyn BlockDevice>>,
) -> BlockResult<Arc<dyn BlockDevice>> {
    match devices.pop() {
        Some(only) if devices.is_empty() => Ok(only),
        last => {
            devices.extend(last);
            Ok(Arc::new(Mapped::new(Concat::new(devices)?)))
        }
    }
}

impl Map for Concat {
    fn size(&self) -> u64 {
        self.size
    }

    fn sector_size(&self) -> u32 {
        sector_size(self.members.iter().map(|(_, member)| member))
    }

    fn locate(&self, offset: u64, _wanted: u64) -> BlockResult<Piece<'_>> {
        let past = self.members.partition_point(|(span, _)| span.start() <= offset);
        let found = past.checked_sub(1).and_then(|index| self.members.get(index));
        let place = found.and_then(|(span, member)| Some((member, span.offset_of(offset)?, span)));
        let out_of_range = || BlockError::out_of_range(offset, 1, self.size);
        let (member, inside, span) = place.ok_or_else(out_of_range)?;
        Ok(Piece::new(Place::At(member, inside), span.length().saturating_sub(inside)))
    }
}

#[cfg(test)]
mod tests {
    use super::super::member::tests::data;
    use super::super::member::tests::missing;
    use super::*;
    use volfold_block::Mapped;
    use volfold_block::testing::{Noise, check_against_model, contents, member};

    fn concat(members: Vec<Arc<dyn BlockDevice>>) -> Mapped<Concat> {
        Mapped::new(Concat::new(members).unwrap())
    }

    #[test]
    fn a_read_across_the_border_of_two_members_joins_them() {
        let device = concat(vec![member(1, 1000), member(2, 3), member(3, 5000)]);
        let model = [contents(1, 1000), contents(2, 3), contents(3, 5000)].concat();
        check_against_model(&device, &model, 400, 1);
        assert!(device.read_at(6003, &mut [0]).is_err());
        assert!(device.extent_at(6003).is_err());
    }

    #[test]
    fn a_missing_member_hurts_its_own_bytes_and_names_itself() {
        let device = concat(vec![member(1, 4096), missing(4096, "Disk2"), member(3, 4096)]);
        let mut buf = [0; 4096];
        device.read_at(0, &mut buf).unwrap();
        device.read_at(8192, &mut buf).unwrap();
        assert_eq!(buf[..], contents(3, 4096));
        let error = device.read_at(4000, &mut buf).unwrap_err();
        assert_eq!(error.message(), "disk Disk2 is missing");
        assert_eq!(device.extent_at(5000).unwrap(), data(8192 - 5000));
    }

    #[test]
    fn holes_of_members_are_holes() {
        let hole = Noise::hole(8192);
        let device = concat(vec![member(1, 4096), hole]);
        assert_eq!(device.extent_at(4096).unwrap(), Noise::zero(8192));
        assert_eq!(device.extent_at(100).unwrap(), data(3996));
    }
}
