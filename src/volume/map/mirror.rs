//! Devices that hold the same.

use std::sync::Arc;

use volfold_block::{
    BlockDevice, BlockError, BlockResult, Extent, Map, Piece, Place, byte_count, error_chain,
};

use super::member::{BLOCK, Comparison, Parts, Redundancy, UNIT, in_halves, sector_size, split};

/// Sides that hold the same bytes: RAID-1. The first side that can be read serves.
pub struct Mirror {
    sides: Vec<Arc<dyn BlockDevice>>,
    size: u64,
}

impl Mirror {
    /// The first `size` bytes of each of `sides`, in the order in which they are asked.
    ///
    /// # Errors
    /// `Corrupt` if there is no side, or one is smaller.
    pub fn new(sides: Vec<Arc<dyn BlockDevice>>, size: u64) -> BlockResult<Self> {
        if sides.is_empty() || sides.iter().any(|side| side.size() < size) {
            return Err(BlockError::corrupt("mirror is larger than its sides", 0, 0));
        }
        Ok(Self { sides, size })
    }

    fn read_any(&self, offset: u64, buf: &mut [u8]) -> BlockResult<()> {
        let mut errors = Vec::new();
        for side in &self.sides {
            match side.read_at(offset, buf) {
                Ok(()) => return Ok(()),
                Err(error) => errors.push(error),
            }
        }
        let reasons: Vec<String> = errors.iter().map(|error| error_chain(error)).collect();
        let Some(first) = errors.first() else {
            return Err(BlockError::missing("mirror has no side"));
        };
        let sentence = format!("no side of the mirror can be read: {}", reasons.join("; "));
        Err(BlockError::new(first.kind(), sentence).at(offset))
    }
}

impl Map for Mirror {
    fn size(&self) -> u64 {
        self.size
    }

    fn sector_size(&self) -> u32 {
        sector_size(self.sides.iter())
    }

    fn locate(&self, offset: u64, _wanted: u64) -> BlockResult<Piece<'_>> {
        let left = self.size.checked_sub(offset);
        match (self.sides.first(), left) {
            (Some(side), Some(left)) => Ok(Piece::new(Place::At(side, offset), left)),
            _ => Err(BlockError::out_of_range(offset, 1, self.size)),
        }
    }

    fn rescue(&self, offset: u64, buf: &mut [u8], _error: BlockError) -> BlockResult<()> {
        in_halves(offset, buf, &|offset, buf| self.read_any(offset, buf))
    }

    fn rescue_extent(&self, offset: u64) -> Option<Extent> {
        self.sides.iter().skip(1).find_map(|side| side.extent_at(offset).ok())
    }
}

impl Redundancy for Mirror {
    fn compare(&self) -> Comparison {
        let (mut result, mut parts) = (Comparison::default(), Parts::default());
        let Some((first, others)) = self.sides.split_first() else {
            return result;
        };
        let (mut one, mut other) = (vec![0; BLOCK], vec![0; BLOCK]);
        let mut offset = 0;
        while offset < self.size {
            let (one, _) = split(&mut one, self.size.saturating_sub(offset));
            let (other, _) = split(&mut other, byte_count(one.len()));
            let length = byte_count(one.len());
            let mut readable = first.read_at(offset, one).is_ok();
            for side in others {
                readable = readable && side.read_at(offset, other).is_ok();
                if readable {
                    for (at, (a, b)) in
                        (offset..).step_by(UNIT).zip(one.chunks(UNIT).zip(other.chunks(UNIT)))
                    {
                        if a != b {
                            result.differs(at, byte_count(a.len()));
                        }
                    }
                }
            }
            let left = self.size.saturating_sub(offset);
            if !parts.count(&mut result, readable, length, left) {
                break;
            }
            offset = offset.saturating_add(length);
        }
        result
    }
}

#[cfg(test)]
mod tests {
    use super::super::member::tests::missing;
    use super::*;
    use volfold_block::Mapped;
    use volfold_block::testing::{Noise, check_against_model, contents, member};

    fn mirror(sides: Vec<Arc<dyn BlockDevice>>, size: u64) -> Mapped<Mirror> {
        Mapped::new(Mirror::new(sides, size).unwrap())
    }

    #[test]
    fn a_missing_side_costs_nothing() {
        let device = mirror(vec![missing(9000, "Disk1"), member(7, 9000)], 8192);
        check_against_model(&device, &contents(7, 9000)[..8192], 200, 3);
    }

    #[test]
    fn bad_regions_on_both_sides_are_read_from_the_other() {
        let sides = vec![Noise::broken(7, 65536, 1000..3000), Noise::broken(7, 65536, 9000..9001)];
        let device = mirror(sides, 65536);
        check_against_model(&device, &contents(7, 65536), 200, 4);
    }

    #[test]
    fn a_region_that_no_side_has_is_an_error_that_names_all_reasons() {
        let device = mirror(vec![missing(512, "Disk1"), missing(512, "Disk2")], 512);
        let error = device.read_at(0, &mut [0; 512]).unwrap_err();
        assert!(error.message().contains("disk Disk1 is missing; disk Disk2 is missing"));
        assert_eq!(error.kind(), volfold_block::BlockErrorKind::MissingPart);
    }

    #[test]
    fn the_first_side_that_answers_tells_of_holes() {
        let device = mirror(vec![missing(8192, "Disk1"), Noise::hole(8192)], 8000);
        assert_eq!(device.extent_at(0).unwrap(), Noise::zero(8000));
        assert!(device.extent_at(8000).is_err());
    }

    #[test]
    fn sides_are_compared_and_the_first_difference_is_told() {
        let mut other = contents(7, 300_000);
        other[200_000] ^= 1;
        other[299_999] ^= 1;
        let device = mirror(vec![member(7, 300_000), Noise::of(other)], 300_000);
        let wanted = Comparison {
            compared: 300_000,
            differing: 4096 + 300_000 % 4096,
            first: Some(200_000 / 4096 * 4096),
            unreadable: 0,
        };
        assert_eq!(device.map().compare(), wanted);
        let device = mirror(vec![member(7, 5000), missing(5000, "Disk2")], 5000);
        assert_eq!(device.map().compare().unreadable, 5000);
    }
}
