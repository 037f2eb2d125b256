//! The label of a physical volume, and the header behind it.
//!
//! Source: `lib/label/label.h` and `lib/format_text/layout.h` of lvm2; the description of the format in
//! libvslvm. Little-endian, in one of the first four sectors of 512 bytes, mostly the second.
//!
//! | offset | size | field           | rule                                                       |
//! |--------|------|-----------------|------------------------------------------------------------|
//! | 0x00   | 8    | `id`            | `LABELONE`                                                 |
//! | 0x08   | 8    | `sector`        | the number of this sector                                  |
//! | 0x10   | 4    | `checksum`      | of the rest of the sector, from `offset` on                |
//! | 0x14   | 4    | `offset`        | where the header is in the sector; 32                      |
//! | 0x18   | 8    | `kind`          | `LVM2 001`                                                 |
//!
//! The header:
//!
//! | offset | size | field           | rule                                                       |
//! |--------|------|-----------------|------------------------------------------------------------|
//! | 0x00   | 32   | `uuid`          | letters and digits                                         |
//! | 0x20   | 8    | `size`          | of the device in bytes                                     |
//! | 0x28   | 16 n | data areas      | offset and size in bytes; an offset of 0 ends the list     |
//! |        | 16 n | metadata areas  | the same                                                   |
//! |        | 4    | `version`       | of what follows, 0 in old headers                          |
//! |        | 4    | `flags`         | 1: belongs to a volume group; from version 2 on            |
//!
//! The places of the physical extents stand in the metadata, so the data areas are not looked at.

use std::mem::{offset_of, size_of};

use volfold_block::{BlockDevice, BlockError, BlockResult, ByteReader};
use zerocopy::byteorder::{LE, U32, U64};
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

use super::checksum::checksum;

/// Bytes of a sector of the label, whatever sectors the disk has.
const SECTOR: usize = 512;

/// Sectors that the label is looked for in.
const SECTORS: usize = 4;

/// LIMIT: areas of each kind; lvm2 makes one of data and two of metadata.
const MAX_AREAS: usize = 16;

/// The flag of a physical volume that belongs to a volume group.
const USED: u32 = 1;

#[derive(FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawLabel {
    id: [u8; 8],
    sector: U64<LE>,
    checksum: U32<LE>,
    offset: U32<LE>,
    kind: [u8; 8],
}
const _: () = assert!(offset_of!(RawLabel, offset) == 0x14);
const _: () = assert!(size_of::<RawLabel>() == 0x20);

/// A run of bytes of the physical volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Area {
    /// The first byte.
    pub(super) offset: u64,
    /// The size in bytes; 0 where it reaches to the end.
    pub(super) size: u64,
}

/// A label and its header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Label {
    /// The UUID as lvm2 writes it, in groups with dashes.
    pub(super) uuid: String,
    /// Where the texts of the metadata are.
    pub(super) metadata_areas: Vec<Area>,
    /// Whether it says that it belongs to a volume group; `None` where it does not say.
    pub(super) is_used: Option<bool>,
}

/// What the first sectors have.
#[derive(Debug)]
pub(super) enum Found {
    /// No label.
    Nothing,
    /// A label.
    Label(Label),
    /// A label that cannot be used, and why.
    Damaged(BlockError),
}

/// Looks for the label of `device`; the first that is right counts.
///
/// # Errors
/// If the first sectors cannot be read.
pub(super) fn find(device: &dyn BlockDevice) -> BlockResult<Found> {
    let there = usize::try_from(device.size()).unwrap_or(usize::MAX).min(SECTOR * SECTORS);
    let mut bytes = vec![0; there];
    device.read_at(0, &mut bytes)?;
    let mut damaged = None;
    for (number, sector) in (0_u64..).zip(bytes.chunks_exact(SECTOR)) {
        match parse(sector, number) {
            Ok(Some(label)) => return Ok(Found::Label(label)),
            Ok(None) => {}
            Err(error) => damaged = damaged.or(Some(error)),
        }
    }
    Ok(damaged.map_or(Found::Nothing, Found::Damaged))
}

/// The label in `sector`, the one of this `number`; `None` if there is none.
///
/// # Errors
/// `Corrupt` if a label is there and contradicts itself.
fn parse(sector: &[u8], number: u64) -> BlockResult<Option<Label>> {
    let at = number.saturating_mul(512);
    let Ok((raw, _)) = RawLabel::ref_from_prefix(sector) else {
        return Ok(None);
    };
    if raw.id != *b"LABELONE" || raw.kind != *b"LVM2 001" {
        return Ok(None);
    }
    if raw.sector.get() != number {
        return Err(BlockError::corrupt("LVM2 label names another sector", at, 0x08));
    }
    let sum = sector.get(offset_of!(RawLabel, offset)..).map(checksum);
    if sum != Some(raw.checksum.get()) {
        return Err(BlockError::corrupt("LVM2 label has a bad checksum", at, 0x10));
    }
    let header = usize::try_from(raw.offset.get()).ok().and_then(|offset| sector.get(offset..));
    let header =
        header.ok_or_else(|| BlockError::corrupt("LVM2 header is not in its sector", at, 0x14))?;
    let place = at.saturating_add(u64::from(raw.offset.get()));
    let mut reader = ByteReader::new("LVM2 physical volume header", header, place);
    let uuid = uuid(&reader.array::<32>()?)
        .ok_or_else(|| BlockError::corrupt("LVM2 physical volume has no valid UUID", place, 0))?;
    reader.u64_le()?;
    areas(&mut reader)?;
    let metadata_areas = areas(&mut reader)?;
    // Headers that were written before there were extensions have zeros there.
    let version = reader.u32_le().unwrap_or(0);
    let flags = reader.u32_le().unwrap_or(0);
    let is_used = (version >= 2).then_some(flags & USED != 0);
    Ok(Some(Label { uuid, metadata_areas, is_used }))
}

fn areas(reader: &mut ByteReader<'_>) -> BlockResult<Vec<Area>> {
    let mut areas = Vec::new();
    loop {
        let (offset, size) = (reader.u64_le()?, reader.u64_le()?);
        if offset == 0 {
            return Ok(areas);
        }
        if areas.len() >= MAX_AREAS {
            return Err(reader.corrupt("has too many areas"));
        }
        areas.push(Area { offset, size });
    }
}

/// The UUID of 32 letters and digits, in the groups of lvm2; `None` if they are something else.
pub(super) fn uuid(letters: &[u8]) -> Option<String> {
    const GROUPS: [usize; 7] = [6, 4, 4, 4, 4, 4, 6];
    let mut text = String::with_capacity(38);
    let mut rest = letters;
    for length in GROUPS {
        let (group, after) = rest.split_at_checked(length)?;
        if !text.is_empty() {
            text.push('-');
        }
        let valid = |letter: &u8| letter.is_ascii_alphanumeric() || matches!(letter, b'!' | b'#');
        if !group.iter().all(valid) {
            return None;
        }
        text.extend(group.iter().map(|letter| char::from(*letter)));
        rest = after;
    }
    rest.is_empty().then_some(text)
}

#[cfg(test)]
mod tests {
    use volfold_block::{BlockErrorKind, MemoryDevice};

    use super::super::testing;
    use super::*;

    #[test]
    fn a_label_is_found_in_each_of_four_sectors() {
        for number in 0..4 {
            let mut bytes = vec![0; 4096];
            let label = testing::label(number, "Ab3", &[(4096, 8192)], 1);
            let at = number as usize * 512;
            bytes[at..at + 512].copy_from_slice(&label);
            let Ok(Found::Label(label)) = find(&MemoryDevice::new(bytes)) else {
                panic!("no label in sector {number}")
            };
            assert_eq!(label.uuid, "000000-0000-0000-0000-0000-0000-000Ab3");
            assert_eq!(label.metadata_areas, [Area { offset: 4096, size: 8192 }]);
            assert_eq!(label.is_used, Some(true));
        }
        assert!(matches!(find(&MemoryDevice::new(vec![0; 4096])), Ok(Found::Nothing)));
        assert!(matches!(find(&MemoryDevice::new(vec![0; 100])), Ok(Found::Nothing)));
    }

    #[test]
    fn every_changed_bit_of_a_label_is_damage_or_no_label() {
        let label = testing::label(1, "Ab3", &[(4096, 8192)], 1);
        for bit in 0..label.len() * 8 {
            let mut changed = label.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            let is_name = (0..8).contains(&(bit / 8)) || (24..32).contains(&(bit / 8));
            match parse(&changed, 1) {
                Ok(None) => assert!(is_name, "bit {bit}"),
                Err(error) => assert_eq!(error.kind(), BlockErrorKind::Corrupt),
                Ok(Some(_)) => panic!("bit {bit} is not noticed"),
            }
        }
    }

    #[test]
    fn a_list_of_areas_without_end_is_refused() {
        let areas = vec![(4096, 8192); 17];
        let error = parse(&testing::label(1, "a", &areas, 1), 1).unwrap_err();
        assert_eq!(error.message(), "LVM2 physical volume header has too many areas");
        let error = parse(&testing::label(1, "%", &[], 1), 1).unwrap_err();
        assert_eq!(error.message(), "LVM2 physical volume has no valid UUID");
    }
}
