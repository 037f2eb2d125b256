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

use flate2::{Decompress, FlushDecompress, Status};
use zerocopy::byteorder::{LE, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::bytes::{byte_count, bytes_to_index};
use crate::device::BlockDevice;
use crate::error::{BlockError, BlockResult};
use crate::format::vmdk::header::SECTOR;

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
        Some(Self {
            lba: raw.lba.get(),
            size: u64::from(raw.size.get()),
        })
    }

    /// LIMIT: a deflated grain is hardly larger than the grain; a stored block of deflate costs 5
    /// bytes for at most 64 KiB, the stream 6. An eighth and a sector more is far beyond that.
    pub(super) fn has_possible_size(self, grain_size: u64) -> bool {
        let most = grain_size
            .saturating_add(grain_size / 8)
            .saturating_add(SECTOR);
        self.size != 0 && self.size <= most
    }
}

/// What a thread keeps for the next grain.
#[derive(Default)]
struct Scratch {
    deflated: Vec<u8>,
    grain: Vec<u8>,
    inflater: Option<Decompress>,
}

thread_local! {
    /// Taken while in use: the device below may need a grain of another image.
    static SCRATCH: Cell<Option<Scratch>> = const { Cell::new(None) };
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
    /// Fills `buf` with the bytes from `skip` on.
    ///
    /// # Errors
    /// `Corrupt` if the marker or the deflated bytes are not those of this grain.
    pub(super) fn read(self, skip: u64, buf: &mut [u8]) -> BlockResult<()> {
        let kept = SCRATCH.try_with(Cell::take);
        let mut scratch = kept.ok().flatten().unwrap_or_default();
        let result = self.read_with(&mut scratch, skip, buf);
        // A thread that is about to end keeps nothing.
        let _ = SCRATCH.try_with(|kept| kept.set(Some(scratch)));
        result
    }

    fn read_with(self, scratch: &mut Scratch, skip: u64, buf: &mut [u8]) -> BlockResult<()> {
        let Scratch {
            deflated,
            grain,
            inflater,
        } = scratch;
        self.read_deflated(deflated)?;
        let inflater = inflater.get_or_insert_with(|| Decompress::new(true));
        if skip == 0 && byte_count(buf.len()) == self.grain_size {
            return self.inflate(inflater, deflated, buf);
        }
        grain.resize(bytes_to_index(self.grain_size)?, 0);
        self.inflate(inflater, deflated, grain)?;
        let start = bytes_to_index(skip)?;
        let end = start.saturating_add(buf.len());
        match grain.get(start..end) {
            Some(bytes) => {
                buf.copy_from_slice(bytes);
                Ok(())
            }
            None => Err(BlockError::out_of_range(
                skip,
                byte_count(buf.len()),
                self.grain_size,
            )),
        }
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
            let sentence = format!(
                "grain marker is for sector {}, not for sector {}",
                marker.lba, self.lba
            );
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
    fn inflate(
        self,
        inflater: &mut Decompress,
        deflated: &[u8],
        grain: &mut [u8],
    ) -> BlockResult<()> {
        let data = deflated.get(size_of::<RawMarker>()..).unwrap_or_default();
        inflater.reset(true);
        let status = inflater
            .decompress(data, grain, FlushDecompress::Finish)
            .map_err(|error| {
                BlockError::corrupt("compressed grain cannot be inflated", self.at, MARKER_BYTES)
                    .because(error)
            })?;
        if status != Status::StreamEnd {
            let sentence = "compressed grain does not end where its grain does";
            return Err(BlockError::corrupt(sentence, self.at, MARKER_BYTES));
        }
        let made = inflater.total_out();
        if made < self.needed {
            let sentence = format!(
                "compressed grain has {made} bytes instead of {}",
                self.needed
            );
            return Err(BlockError::corrupt(sentence, self.at, MARKER_BYTES));
        }
        // What lies behind the end of the disk is zeros, not the last user's bytes.
        if let Some(rest) = grain.get_mut(bytes_to_index(made)?..) {
            rest.fill(0);
        }
        Ok(())
    }
}
