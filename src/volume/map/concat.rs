//! Devices one behind the other.

use std::sync::Arc;

use volfold_block::{BlockDevice, BlockError, BlockResult, Extent, byte_count, check_range};

use super::{must_be_read, sector_size, split};

/// Members one behind the other: a spanned volume, or a column of several extents.
pub struct Concat {
    /// Each member with the offset it begins at, ascending.
    members: Vec<(u64, Arc<dyn BlockDevice>)>,
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
            let end = size.checked_add(member.size()).ok_or_else(|| {
                BlockError::corrupt("parts of a volume are together too large", 0, 0)
            })?;
            placed.push((size, member));
            size = end;
        }
        Ok(Self { members: placed, size })
    }

    /// The member that holds `offset`, the offset in it, and its bytes from there.
    fn at(&self, offset: u64) -> BlockResult<(&Arc<dyn BlockDevice>, u64, u64)> {
        let behind = self.members.partition_point(|(start, _)| *start <= offset);
        let found = behind.checked_sub(1).and_then(|index| self.members.get(index));
        let (start, member) =
            found.ok_or_else(|| BlockError::out_of_range(offset, 1, self.size))?;
        let inside = offset.saturating_sub(*start);
        match member.size().checked_sub(inside) {
            None | Some(0) => Err(BlockError::out_of_range(offset, 1, self.size)),
            Some(left) => Ok((member, inside, left)),
        }
    }
}

impl BlockDevice for Concat {
    fn size(&self) -> u64 {
        self.size
    }

    fn sector_size(&self) -> u32 {
        sector_size(self.members.iter().map(|(_, member)| member))
    }

    fn read_at(&self, mut offset: u64, mut buf: &mut [u8]) -> BlockResult<()> {
        check_range(offset, buf.len(), self.size)?;
        while !buf.is_empty() {
            let (member, inside, left) = self.at(offset)?;
            let (part, rest) = split(buf, left);
            offset = offset.saturating_add(byte_count(part.len()));
            member.read_at(inside, part)?;
            buf = rest;
        }
        Ok(())
    }

    fn extent_at(&self, offset: u64) -> BlockResult<Extent> {
        let (member, inside, left) = self.at(offset)?;
        Ok(member.extent_at(inside).unwrap_or_else(|_| must_be_read(left)))
    }

    fn will_need(&self, mut offset: u64, mut length: u64) {
        while let Ok((member, inside, left)) = self.at(offset)
            && length > 0
        {
            let count = left.min(length);
            member.will_need(inside, count);
            offset = offset.saturating_add(count);
            length = length.saturating_sub(count);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Noise, check_against_model, contents, member, missing};
    use super::*;

    #[test]
    fn a_read_across_the_border_of_two_members_joins_them() {
        let device = Concat::new(vec![member(1, 1000), member(2, 3), member(3, 5000)]).unwrap();
        let model = [contents(1, 1000), contents(2, 3), contents(3, 5000)].concat();
        check_against_model(&device, &model, 400, 1);
        assert!(device.read_at(6003, &mut [0]).is_err());
        assert!(device.extent_at(6003).is_err());
    }

    #[test]
    fn a_missing_member_hurts_its_own_bytes_and_names_itself() {
        let device = Concat::new(vec![member(1, 4096), missing(4096, "Disk2"), member(3, 4096)]);
        let device = device.unwrap();
        let mut buf = [0; 4096];
        device.read_at(0, &mut buf).unwrap();
        device.read_at(8192, &mut buf).unwrap();
        assert_eq!(buf[..], contents(3, 4096));
        let error = device.read_at(4000, &mut buf).unwrap_err();
        assert_eq!(error.message(), "disk Disk2 is missing");
        assert_eq!(device.extent_at(5000).unwrap(), must_be_read(8192 - 5000));
    }

    #[test]
    fn holes_of_members_are_holes() {
        let hole = Noise::hole(8192);
        let device = Concat::new(vec![member(1, 4096), hole]).unwrap();
        assert_eq!(device.extent_at(4096).unwrap(), Noise::zero(8192));
        assert_eq!(device.extent_at(100).unwrap(), must_be_read(3996));
    }
}
