//! A metadata area: a header, and a ring of texts of which one counts.
//!
//! Source: `lib/format_text/layout.h` of lvm2. Little-endian, 512 bytes at the start of the area.
//!
//! | offset | size | field           | rule                                                       |
//! |--------|------|-----------------|------------------------------------------------------------|
//! | 0x00   | 4    | `checksum`      | of the rest of the 512 bytes                               |
//! | 0x04   | 16   | `magic`         | ` LVM2 x[5A%r0N*>`                                         |
//! | 0x14   | 4    | `version`       | 1                                                          |
//! | 0x18   | 8    | `start`         | where the area begins in the device                        |
//! | 0x20   | 8    | `size`          | of the area in bytes                                       |
//! | 0x28   | 24 n | places of texts | the one that counts, then one that is being written        |
//!
//! The place of a text:
//!
//! | offset | size | field           | rule                                                       |
//! |--------|------|-----------------|------------------------------------------------------------|
//! | 0x00   | 8    | `offset`        | from the start of the area; 0: there is no text            |
//! | 0x08   | 8    | `size`          | in bytes; past the end of the area it goes on at byte 512  |
//! | 0x10   | 4    | `checksum`      | of the text                                                |
//! | 0x14   | 4    | `flags`         | 1: the area is not kept up to date                         |

use std::mem::{offset_of, size_of};

use volfold_block::{BlockDevice, BlockError, BlockResult, bytes_to_index, check_range};
use zerocopy::byteorder::{LE, U32, U64};
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

use super::checksum::checksum;
use super::label::Area;

/// The size of the header, and where the ring begins.
const HEADER: u64 = 512;

/// LIMIT: bytes of a text. A group of 10,000 volumes has some 8 MB.
const MAX_TEXT: u64 = 16 << 20;

/// The flag of a place whose text is not kept up to date.
const IGNORED: u32 = 1;

#[derive(FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawPlace {
    offset: U64<LE>,
    size: U64<LE>,
    checksum: U32<LE>,
    flags: U32<LE>,
}
const _: () = assert!(size_of::<RawPlace>() == 0x18);

#[derive(FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawHeader {
    checksum: U32<LE>,
    magic: [u8; 16],
    version: U32<LE>,
    start: U64<LE>,
    size: U64<LE>,
    committed: RawPlace,
    prepared: RawPlace,
}
const _: () = assert!(offset_of!(RawHeader, committed) == 0x28);

/// What an area holds.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Content {
    /// The text that counts; `None` where there is none, or it is not kept up to date.
    pub(super) text: Option<Vec<u8>>,
    /// Whether another text was being written.
    pub(super) is_being_changed: bool,
}

/// Reads the text of `area`, by its checksums.
///
/// # Errors
/// `Corrupt` where the area contradicts itself, or why it cannot be read.
pub(super) fn read(device: &dyn BlockDevice, area: Area) -> BlockResult<Content> {
    let mut bytes = [0; 512];
    device.read_at(area.offset, &mut bytes)?;
    let corrupt = |line: &'static str, field| BlockError::corrupt(line, area.offset, field);
    let (header, _) = RawHeader::ref_from_prefix(&bytes)
        .map_err(|_| corrupt("LVM2 metadata area is cut short", 0))?;
    if header.magic != *b" LVM2 x[5A%r0N*>" {
        return Err(corrupt("LVM2 metadata area has a wrong signature", 0x04));
    }
    if bytes.get(4..).map(checksum) != Some(header.checksum.get()) {
        return Err(corrupt("LVM2 metadata area has a bad checksum", 0));
    }
    if header.version.get() != 1 {
        let line = format!("LVM2 metadata area has version {}", header.version.get());
        return Err(BlockError::unsupported(line).at(area.offset));
    }
    if header.start.get() != area.offset {
        return Err(corrupt("LVM2 metadata area is of another place", 0x18));
    }
    let size = header.size.get();
    if area.size != 0 && size != area.size {
        return Err(corrupt("LVM2 metadata area has another size than its label says", 0x20));
    }
    let place = &header.committed;
    let is_being_changed = header.prepared.offset.get() != 0 && header.prepared.size.get() != 0;
    if place.offset.get() == 0 || place.flags.get() & IGNORED != 0 {
        return Ok(Content { text: None, is_being_changed });
    }
    let text = read_ring(device, area.offset, size, place)?;
    if checksum(&text) != place.checksum.get() {
        return Err(corrupt("text of the LVM2 metadata has a bad checksum", 0x38));
    }
    Ok(Content { text: Some(text), is_being_changed })
}

/// The bytes of the text at `place` of the area of `size` bytes at `start`.
fn read_ring(
    device: &dyn BlockDevice,
    start: u64,
    size: u64,
    place: &RawPlace,
) -> BlockResult<Vec<u8>> {
    let corrupt = |line: &'static str| BlockError::corrupt(line, start, 0x28);
    let (offset, length) = (place.offset.get(), place.size.get());
    let ring = size.saturating_sub(HEADER);
    if !(HEADER..size).contains(&offset) || length > ring {
        return Err(corrupt("text of the LVM2 metadata lies outside of its area"));
    }
    if length > MAX_TEXT {
        let line = format!("text of the LVM2 metadata has more than {MAX_TEXT} bytes");
        return Err(BlockError::unsupported(line).at(start));
    }
    let first = length.min(size.saturating_sub(offset));
    let at = start.checked_add(offset).ok_or_else(|| corrupt("LVM2 metadata area is too large"))?;
    let again = start.saturating_add(HEADER);
    let second = length.saturating_sub(first);
    // Nothing is allocated for what the device does not have.
    check_range(at, bytes_to_index(first)?, device.size())?;
    check_range(again, bytes_to_index(second)?, device.size())?;
    let mut text = vec![0; bytes_to_index(length)?];
    if let Some((front, back)) = text.split_at_mut_checked(bytes_to_index(first)?) {
        device.read_at(at, front)?;
        device.read_at(again, back)?;
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use volfold_block::{BlockErrorKind, MemoryDevice};

    use super::super::testing;
    use super::*;

    const AREA: Area = Area { offset: 4096, size: 4096 };

    fn read_of(bytes: Vec<u8>) -> BlockResult<Content> {
        read(&MemoryDevice::new(bytes), AREA)
    }

    #[test]
    fn a_text_is_read_where_it_lies_and_around_the_end_of_the_ring() {
        let text: Vec<u8> = (0..3000_u32).map(|number| number as u8).collect();
        for offset in [512, 1000, 1096, 1097, 4000, 4095] {
            let mut bytes = vec![0; 8192];
            testing::write_area(&mut bytes, (4096, 4096), offset, &text);
            let content = read_of(bytes).unwrap();
            assert_eq!(content.text.as_deref(), Some(text.as_slice()), "at {offset}");
        }
    }

    #[test]
    fn every_changed_bit_of_header_and_text_is_noticed() {
        let mut bytes = vec![0; 8192];
        testing::write_area(&mut bytes, (4096, 4096), 512, b"a = 1\n");
        for bit in 4096 * 8..(4096 + 512 + 6) * 8 {
            let mut changed = bytes.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            let error = read_of(changed).unwrap_err();
            assert_eq!(error.kind(), BlockErrorKind::Corrupt, "bit {bit}");
        }
    }

    #[test]
    fn a_text_that_leaves_its_area_is_refused_before_anything_is_allocated() {
        for (offset, size) in [(511, 10), (4096, 10), (512, 3585), (512, u64::MAX)] {
            let mut bytes = vec![0; 8192];
            testing::write_area_header(&mut bytes, (4096, 4096), (offset, size, 0), 0);
            let error = read_of(bytes).unwrap_err();
            assert!(error.message().contains("outside of its area"), "{error}");
        }
        let mut bytes = vec![0; 8192];
        testing::write_area_header(&mut bytes, (4096, 1 << 40), (512, 1 << 30, 0), 0);
        let area = Area { offset: 4096, size: 1 << 40 };
        let error = read(&MemoryDevice::new(bytes), area).unwrap_err();
        assert_eq!(error.kind(), BlockErrorKind::Unsupported);
    }

    #[test]
    fn an_area_that_is_not_kept_up_to_date_has_no_text() {
        let mut bytes = vec![0; 8192];
        testing::write_area_header(&mut bytes, (4096, 4096), (512, 10, 0), 1);
        assert_eq!(read_of(bytes).unwrap().text, None);
        let mut bytes = vec![0; 8192];
        testing::write_area_header(&mut bytes, (4096, 4096), (0, 0, 0), 0);
        assert_eq!(read_of(bytes).unwrap().text, None);
    }
}
