//! The header of a hosted sparse extent.
//!
//! Specification: VMware Virtual Disk Format 5.0, "Hosted sparse extents" and "Stream-optimized
//! compressed sparse extents". Little-endian; offsets and sizes on disk are in sectors of 512
//! bytes. A stream-optimized extent may have a second copy, the footer, in the last sector but one.
//!
//! | offset | size | field               | rule                                                |
//! |--------|------|---------------------|-----------------------------------------------------|
//! | 0x00   | 4    | `magic`             | `KDMV`                                              |
//! | 0x04   | 4    | `version`           | 1, 2 (zeroed grains) or 3                           |
//! | 0x08   | 4    | `flags`             | bits below, others not looked at                    |
//! | 0x0C   | 8    | `capacity`          | size of the extent                                  |
//! | 0x14   | 8    | `grain_size`        | power of two, 8 to [`MAX_GRAIN_SECTORS`]            |
//! | 0x1C   | 8    | `descriptor_offset` | 0: no embedded descriptor                           |
//! | 0x24   | 8    | `descriptor_size`   | sectors set aside for it                            |
//! | 0x2C   | 4    | `num_gtes_per_gt`   | 512                                                 |
//! | 0x30   | 8    | `rgd_offset`        | redundant grain directory, if flag bit 1 is set     |
//! | 0x38   | 8    | `gd_offset`         | grain directory; all ones: the footer knows         |
//! | 0x40   | 8    | `over_head`         | sectors before the first grain                      |
//! | 0x48   | 1    | `unclean_shutdown`  | not 0: open when its writer died                    |
//! | 0x49   | 4    | `newline_test`      | `\n \r\n`, if flag bit 0 is set                     |
//! | 0x4D   | 2    | `compress`          | 0: none, 1: deflate (RFC 1950 around RFC 1951)      |
//! | 0x4F   | 433  | `pad`               | not looked at                                       |
//!
//! Flags: bit 0 the newline test is valid, bit 1 the redundant grain directory is kept, bit 2 a
//! grain table entry of 1 is a zeroed grain, bit 16 grains are compressed, bit 17 every block has
//! a marker.

use std::mem::{offset_of, size_of};

use zerocopy::byteorder::{LE, U16, U32, U64};
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

use volfold_block::{BlockError, BlockErrorKind, BlockResult};

/// The unit of every offset and size on disk.
pub(super) const SECTOR: u64 = 512;

/// The first bytes of a hosted sparse extent.
pub(super) const MAGIC: [u8; 4] = *b"KDMV";

/// The first bytes of a sparse extent of ESX.
pub(super) const COWD_MAGIC: [u8; 4] = *b"COWD";

/// LIMIT: no writer goes beyond 2048 sectors; 2^21 (1 GiB) is what other readers accept.
pub(super) const MAX_GRAIN_SECTORS: u64 = 1 << 21;

/// LIMIT: a compressed grain is decoded as a whole in memory, so its bound is lower: 4 MiB.
const MAX_COMPRESSED_GRAIN_SECTORS: u64 = 1 << 13;

/// LIMIT: a disk has at most this many bytes, so that sums of offsets stay far from the end of
/// 64 bits.
pub(super) const MAX_DISK_BYTES: u64 = 1 << 62;

/// `gd_offset` of a header whose footer has the true one.
const DIRECTORY_AT_END: u64 = u64::MAX;

const FLAG_NEWLINE_TEST: u32 = 1 << 0;
const FLAG_REDUNDANT: u32 = 1 << 1;
const FLAG_ZEROED_GRAINS: u32 = 1 << 2;
const FLAG_COMPRESSED: u32 = 1 << 16;
const FLAG_MARKERS: u32 = 1 << 17;

#[derive(FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawHeader {
    magic: [u8; 4],
    version: U32<LE>,
    flags: U32<LE>,
    capacity: U64<LE>,
    grain_size: U64<LE>,
    descriptor_offset: U64<LE>,
    descriptor_size: U64<LE>,
    num_gtes_per_gt: U32<LE>,
    rgd_offset: U64<LE>,
    gd_offset: U64<LE>,
    over_head: U64<LE>,
    unclean_shutdown: u8,
    newline_test: [u8; 4],
    compress: U16<LE>,
    pad: [u8; 433],
}
const _: () = assert!(offset_of!(RawHeader, grain_size) == 0x14);
const _: () = assert!(offset_of!(RawHeader, num_gtes_per_gt) == 0x2C);
const _: () = assert!(offset_of!(RawHeader, gd_offset) == 0x38);
const _: () = assert!(offset_of!(RawHeader, compress) == 0x4D);
const _: () = assert!(size_of::<RawHeader>() == 512);

/// The size of the header in bytes.
pub(super) const HEADER_BYTES: usize = size_of::<RawHeader>();

/// Where the grain directory is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DirectoryPlace {
    /// At this byte of the file.
    At(u64),
    /// The footer says where.
    InFooter,
}

/// A header whose every field is within its bounds. All counts are bytes.
#[derive(Clone, Debug)]
pub(super) struct SparseHeader {
    /// The size of the extent's part of the disk.
    pub(super) capacity: u64,
    /// A power of two.
    pub(super) grain_size: u64,
    /// Offset and size of the embedded descriptor.
    pub(super) descriptor: Option<(u64, u64)>,
    pub(super) directory: DirectoryPlace,
    /// The redundant grain directory.
    pub(super) redundant: Option<u64>,
    /// Where the first grain may begin.
    pub(super) over_head: u64,
    /// A grain table entry of 1 stands for zeros.
    pub(super) zeroed_grains: bool,
    /// Grains are deflated, with a marker before each.
    pub(super) compressed: bool,
    pub(super) unclean_shutdown: bool,
}

/// `sectors` of the field `field` of the header at `at` as bytes.
fn bytes_of(sectors: u64, name: &str, at: u64, field: usize) -> BlockResult<u64> {
    sectors
        .checked_mul(SECTOR)
        .filter(|bytes| *bytes <= MAX_DISK_BYTES)
        .ok_or_else(|| corrupt(format!("sparse header has an impossible {name}"), at, field))
}

fn corrupt(sentence: impl Into<String>, at: u64, field: usize) -> BlockError {
    BlockError::corrupt(sentence.into(), at, volfold_block::byte_count(field))
}

fn unsupported(sentence: impl Into<String>, at: u64, field: usize) -> BlockError {
    let at = at.saturating_add(volfold_block::byte_count(field));
    BlockError::new(BlockErrorKind::Unsupported, sentence.into()).at(at)
}

impl SparseHeader {
    /// Checks the header in `bytes`, which began at `at` in the file.
    ///
    /// # Errors
    /// `Corrupt` for an impossible field, `Unsupported` for one of a later version; both with the
    /// position of the field.
    pub(super) fn parse(bytes: &[u8], at: u64) -> BlockResult<Self> {
        let (raw, _) = RawHeader::ref_from_prefix(bytes)
            .map_err(|_| BlockError::corrupt("sparse header is cut short", at, 0))?;
        if raw.magic != MAGIC {
            let field = offset_of!(RawHeader, magic);
            return Err(corrupt("sparse header has a wrong magic", at, field));
        }
        let version = raw.version.get();
        if !(1..=3).contains(&version) {
            let field = offset_of!(RawHeader, version);
            let sentence = format!("sparse header has the unknown version {version}");
            return Err(unsupported(sentence, at, field));
        }
        let flags = raw.flags.get();
        if flags & FLAG_NEWLINE_TEST != 0 && raw.newline_test != *b"\n \r\n" {
            let field = offset_of!(RawHeader, newline_test);
            let sentence = "sparse header was changed by a transfer as text";
            return Err(corrupt(sentence, at, field));
        }
        if raw.num_gtes_per_gt.get() != 512 {
            let field = offset_of!(RawHeader, num_gtes_per_gt);
            let sentence = "sparse header has grain tables that have not 512 entries";
            return Err(unsupported(sentence, at, field));
        }
        let compressed = raw.compression(at)?;
        let field = offset_of!(RawHeader, capacity);
        let capacity = bytes_of(raw.capacity.get(), "capacity", at, field)?;
        let field = offset_of!(RawHeader, over_head);
        let over_head = bytes_of(raw.over_head.get(), "metadata size", at, field)?;
        Ok(Self {
            capacity,
            grain_size: raw.grain_bytes(compressed, at)?,
            descriptor: raw.descriptor(at)?,
            directory: raw.directory(at)?,
            redundant: raw.redundant(),
            over_head,
            zeroed_grains: flags & FLAG_ZEROED_GRAINS != 0 || version == 2,
            compressed,
            unclean_shutdown: raw.unclean_shutdown != 0,
        })
    }
}

impl RawHeader {
    fn compression(&self, at: u64) -> BlockResult<bool> {
        let flags = self.flags.get();
        let flagged = flags & FLAG_COMPRESSED != 0;
        let field = offset_of!(RawHeader, compress);
        let compressed = match self.compress.get() {
            0 => false,
            1 => true,
            other => {
                let sentence = format!("sparse header has the unknown compression {other}");
                return Err(unsupported(sentence, at, field));
            }
        };
        if compressed != flagged {
            let sentence = "sparse header contradicts itself about compression";
            return Err(corrupt(sentence, at, field));
        }
        if compressed != (flags & FLAG_MARKERS != 0) {
            let field = offset_of!(RawHeader, flags);
            let sentence = "sparse header has compression without markers or the reverse";
            return Err(unsupported(sentence, at, field));
        }
        Ok(compressed)
    }

    fn grain_bytes(&self, compressed: bool, at: u64) -> BlockResult<u64> {
        let field = offset_of!(RawHeader, grain_size);
        let sectors = self.grain_size.get();
        if !sectors.is_power_of_two() || sectors < 8 {
            let sentence = "sparse header has a grain size that is no power of two of at least 8";
            return Err(corrupt(sentence, at, field));
        }
        let most = if compressed { MAX_COMPRESSED_GRAIN_SECTORS } else { MAX_GRAIN_SECTORS };
        if sectors > most {
            let sentence =
                format!("sparse header has grains of {sectors} sectors, more than {most}");
            return Err(unsupported(sentence, at, field));
        }
        Ok(sectors.saturating_mul(SECTOR))
    }

    fn descriptor(&self, at: u64) -> BlockResult<Option<(u64, u64)>> {
        if self.descriptor_offset.get() == 0 || self.descriptor_size.get() == 0 {
            return Ok(None);
        }
        let field = offset_of!(RawHeader, descriptor_offset);
        let offset = bytes_of(self.descriptor_offset.get(), "descriptor offset", at, field)?;
        let field = offset_of!(RawHeader, descriptor_size);
        let size = bytes_of(self.descriptor_size.get(), "descriptor size", at, field)?;
        Ok(Some((offset, size)))
    }

    fn directory(&self, at: u64) -> BlockResult<DirectoryPlace> {
        let field = offset_of!(RawHeader, gd_offset);
        match self.gd_offset.get() {
            DIRECTORY_AT_END => Ok(DirectoryPlace::InFooter),
            0 => Err(corrupt("sparse header names no grain directory", at, field)),
            sectors => {
                bytes_of(sectors, "grain directory offset", at, field).map(DirectoryPlace::At)
            }
        }
    }

    /// The redundant directory is a help only, so an impossible offset is as good as none.
    fn redundant(&self) -> Option<u64> {
        let kept = self.flags.get() & FLAG_REDUNDANT != 0;
        let offset = self.rgd_offset.get().checked_mul(SECTOR)?;
        (kept && offset != 0 && offset <= MAX_DISK_BYTES).then_some(offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::vmdk::testing::SparseBuilder;

    fn error_of(bend: impl FnOnce(&mut Vec<u8>)) -> (BlockErrorKind, Option<u64>, String) {
        let mut bytes = SparseBuilder::new(1 << 20).build();
        bytes.truncate(512);
        bend(&mut bytes);
        let error = SparseHeader::parse(&bytes, 0x1000).unwrap_err();
        let position = error.position().map(|position| position - 0x1000);
        (error.kind(), position, error.message().to_owned())
    }

    #[track_caller]
    fn check(kind: BlockErrorKind, field: u64, bytes: &[u8]) {
        let bent = error_of(|header| {
            let start = usize::try_from(field).unwrap();
            header[start..start + bytes.len()].copy_from_slice(bytes);
        });
        assert_eq!((bent.0, bent.1), (kind, Some(field)), "{}", bent.2);
    }

    #[test]
    fn every_impossible_field_is_named_with_its_position() {
        use BlockErrorKind::Corrupt;
        check(Corrupt, 0x00, b"KDMW");
        check(Corrupt, 0x0C, &u64::MAX.to_le_bytes());
        check(Corrupt, 0x0C, &(1_u64 << 54).to_le_bytes());
        check(Corrupt, 0x14, &0_u64.to_le_bytes());
        check(Corrupt, 0x14, &4_u64.to_le_bytes());
        check(Corrupt, 0x14, &129_u64.to_le_bytes());
        check(Corrupt, 0x1C, &(u64::MAX / 2).to_le_bytes());
        check(Corrupt, 0x24, &(u64::MAX / 2).to_le_bytes());
        check(Corrupt, 0x38, &0_u64.to_le_bytes());
        check(Corrupt, 0x38, &(u64::MAX - 1).to_le_bytes());
        check(Corrupt, 0x40, &u64::MAX.to_le_bytes());
        check(Corrupt, 0x49, b"\n \n\n");
        check(Corrupt, 0x4D, &1_u16.to_le_bytes());
    }

    #[test]
    fn what_a_later_version_may_mean_is_unsupported() {
        use BlockErrorKind::Unsupported;
        check(Unsupported, 0x04, &0_u32.to_le_bytes());
        check(Unsupported, 0x04, &4_u32.to_le_bytes());
        check(Unsupported, 0x08, &(3_u32 | 1 << 17).to_le_bytes());
        check(Unsupported, 0x14, &(MAX_GRAIN_SECTORS * 2).to_le_bytes());
        check(Unsupported, 0x2C, &511_u32.to_le_bytes());
        check(Unsupported, 0x2C, &1024_u32.to_le_bytes());
        check(Unsupported, 0x4D, &2_u16.to_le_bytes());
    }

    #[test]
    fn a_compressed_grain_has_a_lower_bound_than_a_plain_one() {
        let (kind, position, _) = error_of(|header| {
            header[0x08..0x0C].copy_from_slice(&0x0003_0001_u32.to_le_bytes());
            header[0x4D..0x4F].copy_from_slice(&1_u16.to_le_bytes());
            header[0x14..0x1C].copy_from_slice(&(MAX_COMPRESSED_GRAIN_SECTORS * 2).to_le_bytes());
        });
        assert_eq!((kind, position), (BlockErrorKind::Unsupported, Some(0x14)));
    }

    #[test]
    fn a_short_header_is_corrupt() {
        let (kind, position, _) = error_of(|header| header.truncate(511));
        assert_eq!((kind, position), (BlockErrorKind::Corrupt, Some(0)));
    }

    #[test]
    fn the_newline_test_counts_only_if_its_flag_is_set() {
        let mut bytes = SparseBuilder::new(1 << 20).build();
        bytes[0x08..0x0C].copy_from_slice(&0_u32.to_le_bytes());
        bytes[0x49..0x4D].fill(0);
        let header = SparseHeader::parse(&bytes, 0).unwrap();
        assert_eq!(header.redundant, None);
    }
}
