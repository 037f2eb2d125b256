//! Compressed grains.
//!
//! Specification: VMware Virtual Disk Format 5.0, "Stream-optimized compressed sparse extents". A
//! grain begins at a sector, with a marker of 12 bytes before the deflated bytes; little-endian.
//!
//! | offset | size   | field  | rule                                                   |
//! |--------|--------|--------|--------------------------------------------------------|
//! | 0x00   | 8      | `lba`  | first sector of the grain in the extent                |
//! | 0x08   | 4      | `size` | bytes of `data`; 0 marks metadata instead of a grain   |
//! | 0x0C   | `size` | `data` | RFC 1950 stream of the grain's bytes                   |

use std::cell::Cell;
use std::mem::{offset_of, size_of};

use zerocopy::byteorder::{LE, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::deflate::{Form, inflate_some};
use crate::format::vmdk::header::SECTOR;
use volfold_block::{BlockDevice, BlockError, BlockResult, byte_count, bytes_to_index};

#[derive(FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned)]
#[repr(C)]
struct RawMarker {
    lba: U64<LE>,
    size: U32<LE>,
}
const _: () = assert!(offset_of!(RawMarker, size) == 0x08);
const _: () = assert!(size_of::<RawMarker>() == 12);

/// The size of the marker before the deflated bytes.
pub(super) const MARKER_BYTES: u64 = 12;

/// How much is read before the size of a grain is known.
const FIRST_READ: u64 = 16 * 1024;

/// The marker of a grain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct GrainMarker {
    /// The first sector of the grain.
    pub(super) lba: u64,
    /// The deflated size.
    pub(super) size: u64,
}

impl GrainMarker {
    /// The marker at the front of `bytes`; `None` if they are fewer than a marker.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let (raw, _) = RawMarker::ref_from_prefix(bytes).ok()?;
        Some(Self { lba: raw.lba.get(), size: u64::from(raw.size.get()) })
    }

    /// LIMIT: a deflated grain is hardly larger than the grain; a stored block of deflate costs 5
    /// bytes for at most 64 KiB, the stream 6. An eighth and a sector more is far beyond that.
    pub(super) fn has_possible_size(self, grain_size: u64) -> bool {
        let most = grain_size.saturating_add(grain_size / 8).saturating_add(SECTOR);
        self.size != 0 && self.size <= most
    }
}

thread_local! {
    /// Taken while in use: the device below may need a grain of another image.
    static DEFLATED: Cell<Option<Vec<u8>>> = const { Cell::new(None) };
}

/// One compressed grain.
#[derive(Clone, Copy)]
pub(super) struct CompressedGrain<'a> {
    pub(super) file: &'a dyn BlockDevice,
    /// Where its marker is.
    pub(super) at: u64,
    /// What its marker must say.
    pub(super) lba: u64,
    /// The size of every grain.
    pub(super) grain_size: u64,
    /// How many bytes of it are part of the extent; less than `grain_size` in the last.
    pub(super) needed: u64,
}

impl CompressedGrain<'_> {
    /// Fills `out`, which has the size of a grain.
    ///
    /// # Errors
    /// `Corrupt` if the marker or the deflated bytes are not those of this grain.
    pub(super) fn read(self, out: &mut [u8]) -> BlockResult<()> {
        let kept = DEFLATED.try_with(Cell::take);
        let mut deflated = kept.ok().flatten().unwrap_or_default();
        let result = self.read_deflated(&mut deflated).and_then(|()| self.inflate(&deflated, out));
        // A thread that is about to end keeps nothing.
        let _ = DEFLATED.try_with(|kept| kept.set(Some(deflated)));
        result
    }

    /// Reads the deflated bytes, without the marker.
    fn read_deflated(self, deflated: &mut Vec<u8>) -> BlockResult<()> {
        let left = self.file.size().saturating_sub(self.at);
        let first = bytes_to_index(left.min(FIRST_READ))?;
        deflated.resize(first, 0);
        self.file.read_at(self.at, deflated)?;
        let Some(marker) = GrainMarker::parse(deflated) else {
            return Err(BlockError::corrupt("grain marker is cut short", self.at, 0));
        };
        if !marker.has_possible_size(self.grain_size) {
            let sentence = format!("grain marker has an impossible size of {}", marker.size);
            return Err(BlockError::corrupt(sentence, self.at, 0x08));
        }
        if marker.lba != self.lba {
            let sentence =
                format!("grain marker is for sector {}, not for sector {}", marker.lba, self.lba);
            return Err(BlockError::corrupt(sentence, self.at, 0x00));
        }
        let whole = MARKER_BYTES.saturating_add(marker.size);
        if whole > left {
            let sentence = "compressed grain is cut short by the end of the file";
            return Err(BlockError::corrupt(sentence, self.at, MARKER_BYTES));
        }
        deflated.resize(bytes_to_index(whole)?, 0);
        if let Some(rest) = deflated.get_mut(first..)
            && !rest.is_empty()
        {
            let at = self.at.saturating_add(byte_count(first));
            self.file.read_at(at, rest)?;
        }
        Ok(())
    }

    /// Inflates `deflated`, which begins with the marker, into a whole grain.
    fn inflate(self, deflated: &[u8], grain: &mut [u8]) -> BlockResult<()> {
        let corrupt = |sentence: String| BlockError::corrupt(sentence, self.at, MARKER_BYTES);
        let data = deflated.get(size_of::<RawMarker>()..).unwrap_or_default();
        let made = inflate_some(Form::Zlib, data, grain)
            .map_err(|broken| corrupt(format!("compressed grain {}", broken.words())))?;
        if byte_count(made) < self.needed {
            let sentence = format!("compressed grain has {made} bytes instead of {}", self.needed);
            return Err(corrupt(sentence));
        }
        // What lies past the end of the disk is zeros, not the last user's bytes.
        if let Some(rest) = grain.get_mut(made..) {
            rest.fill(0);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::vmdk::testing::{GRAIN, SparseBuilder};
    use crate::testing::{Files, deflate, read};
    use volfold_block::BlockErrorKind;

    const CAPACITY: u64 = 4 << 20;
    /// Where the builder puts the first grain of a stream of this capacity.
    const FIRST: usize = 32 * 512;

    fn stream() -> Vec<u8> {
        SparseBuilder::new(CAPACITY).grain(0, 7).grain(3, 8).grain(700, 9).stream().build()
    }

    #[track_caller]
    fn refuses(bytes: Vec<u8>, field: u64) -> String {
        let image = Files::default().with("s.vmdk", bytes).open("s.vmdk").unwrap();
        let error = read(&*image.device, 0, GRAIN).unwrap_err();
        let position = FIRST as u64 + field;
        assert_eq!((error.kind(), error.position()), (BlockErrorKind::Corrupt, Some(position)));
        // The other grains are not harmed.
        assert_eq!(read(&*image.device, 700 * 4096, 1).unwrap(), [9]);
        error.message().to_owned()
    }

    /// The stream with other deflated bytes in its first grain; they have to fit its sector.
    fn with_data(data: &[u8]) -> Vec<u8> {
        let mut bytes = stream();
        let size = u32::try_from(data.len()).unwrap();
        bytes[FIRST + 8..FIRST + 12].copy_from_slice(&size.to_le_bytes());
        bytes[FIRST + 12..FIRST + 12 + data.len()].copy_from_slice(data);
        bytes
    }

    #[test]
    fn grains_and_parts_of_grains_are_inflated() {
        let image = Files::default().with("s.vmdk", stream()).open("s.vmdk").unwrap();

        assert_eq!(read(&*image.device, 0, GRAIN).unwrap(), [7; GRAIN]);
        assert_eq!(read(&*image.device, 4095, 3).unwrap(), [7, 0, 0]);
        let bytes = read(&*image.device, 2 * 4096, 3 * GRAIN).unwrap();
        assert_eq!((bytes[GRAIN - 1], bytes[GRAIN], bytes[2 * GRAIN]), (0, 8, 0));
        assert_eq!(read(&*image.device, 700 * 4096 + 1, 99).unwrap(), [9; 99]);
    }

    #[test]
    fn a_marker_of_another_grain_is_corrupt() {
        let mut bytes = stream();
        bytes[FIRST] = 8;
        let sentence = refuses(bytes, 0);
        assert_eq!(sentence, "grain marker is for sector 8, not for sector 0");
    }

    #[test]
    fn a_marker_with_an_impossible_size_is_corrupt() {
        for size in [0, 4096 + 512 + 512 + 1, u32::MAX] {
            let mut bytes = stream();
            bytes[FIRST + 8..FIRST + 12].copy_from_slice(&size.to_le_bytes());
            let sentence = refuses(bytes, 8);
            assert_eq!(sentence, format!("grain marker has an impossible size of {size}"));
        }
    }

    #[test]
    fn bytes_that_are_no_deflate_stream_are_corrupt() {
        refuses(with_data(&[0xFF; 40]), 12);
        let mut data = deflate(&[7; GRAIN]);
        *data.last_mut().unwrap() ^= 1;
        refuses(with_data(&data), 12);
    }

    #[test]
    fn a_grain_that_inflates_to_another_size_is_corrupt() {
        let sentence = refuses(with_data(&deflate(&[7; GRAIN - 1])), 12);
        assert_eq!(sentence, "compressed grain has 4095 bytes instead of 4096");
        let sentence = refuses(with_data(&deflate(&[7; GRAIN + 1])), 12);
        assert_eq!(sentence, "compressed grain is longer than it should be");
        let data = deflate(&[7; GRAIN]);
        refuses(with_data(&data[..data.len() - 1]), 12);
    }

    #[test]
    fn the_last_grain_may_end_with_the_disk() {
        let capacity = CAPACITY + 1024;
        let mut builder = SparseBuilder::new(capacity);
        builder = builder.grain(1024, 5).stream();
        let image = Files::default().with("s.vmdk", builder.build()).open("s.vmdk").unwrap();
        assert_eq!(read(&*image.device, CAPACITY, 1024).unwrap(), [5; 1024]);
    }

    #[test]
    fn noise_that_does_not_deflate_is_read_in_two_steps() {
        let mut state = 1_u64;
        let noise: Vec<u8> = (0..65536)
            .map(|_| {
                state = state.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(1);
                state.to_be_bytes()[0]
            })
            .collect();
        let mut file = vec![0; 512];
        file.extend(8_u64.to_le_bytes());
        let deflated = deflate(&noise);
        assert!(deflated.len() > 16 * 1024);
        file.extend(u32::try_from(deflated.len()).unwrap().to_le_bytes());
        file.extend(deflated);
        let whole = volfold_block::MemoryDevice::new(file.clone());
        let grain =
            |file| CompressedGrain { file, at: 512, lba: 8, grain_size: 65536, needed: 65536 };
        let mut bytes = vec![0; 65536];
        grain(&whole).read(&mut bytes).unwrap();
        assert!(bytes == noise);

        let cut = volfold_block::MemoryDevice::new(file[..file.len() - 1].to_vec());
        let error = grain(&cut).read(&mut bytes).unwrap_err();
        assert_eq!((error.kind(), error.position()), (BlockErrorKind::Corrupt, Some(524)));
        let cut = volfold_block::MemoryDevice::new(file[..520].to_vec());
        let error = grain(&cut).read(&mut bytes).unwrap_err();
        assert_eq!((error.kind(), error.position()), (BlockErrorKind::Corrupt, Some(512)));
    }
}
