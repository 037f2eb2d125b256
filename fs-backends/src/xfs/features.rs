//! The features of a file system, in the words of versions 4 and 5.
//!
//! Specification: "XFS Algorithms & Data Structures", chapter "Superblocks". A reader may ignore
//! unknown bits of `features_compat`, `features_ro_compat` and `features_log_incompat`, never of
//! `features_incompat`.

use crate::error::{FsError, FsResult};

const VERSION_MASK: u16 = 0x000F;
const V4_ATTRIBUTES2_BIT: u16 = 0x8000;
const V4_DIRECTORY_2: u16 = 0x2000;
const V4_ASCII_CI: u16 = 0x4000;
const V4_LOG_2: u16 = 0x0400;
const V4_FTYPE: u32 = 0x0200;

const FTYPE: u32 = 0x001;
const SPARSE_INODES: u32 = 0x002;
const META_UUID: u32 = 0x004;
const BIG_TIME: u32 = 0x008;
const NEEDS_REPAIR: u32 = 0x010;
const LARGE_EXTENT_COUNTS: u32 = 0x020;
const EXCHANGE_RANGE: u32 = 0x040;
const PARENT_POINTERS: u32 = 0x080;
const METADATA_DIRECTORIES: u32 = 0x100;
const ZONED: u32 = 0x200;
const ZONE_GAPS: u32 = 0x400;

/// Every incompatible feature that this build reads; what zones and the metadata directory hold are
/// files of the realtime device and the file system's own.
const READABLE: u32 = FTYPE
    | SPARSE_INODES
    | META_UUID
    | BIG_TIME
    | NEEDS_REPAIR
    | LARGE_EXTENT_COUNTS
    | EXCHANGE_RANGE
    | PARENT_POINTERS
    | METADATA_DIRECTORIES
    | ZONED
    | ZONE_GAPS;

/// The words of a superblock that say what the file system has.
#[derive(Clone, Copy, Debug)]
pub(super) struct FeatureWords {
    /// `versionnum`.
    pub(super) version: u16,
    /// `features2`, of version 4 too.
    pub(super) features2: u32,
    /// `features_incompat` of version 5.
    pub(super) incompat: u32,
}

/// What matters to a reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is one bit of the superblock")]
pub(super) struct Features {
    /// Version 5: every structure describes itself, and has a checksum.
    pub(super) is_v5: bool,
    /// Names say what they name.
    pub(super) has_ftype: bool,
    /// Names differ by more than the case of ASCII and Latin-1 letters.
    pub(super) ascii_ci: bool,
    /// Structures have another UUID than the file system.
    pub(super) has_meta_uuid: bool,
    /// The log may have records of more than 32 KiB.
    pub(super) has_log_v2: bool,
    /// `xfs_repair` was not done.
    pub(super) needs_repair: bool,
}

/// Whether `version` is that of a file system whose structures have checksums.
pub(super) fn is_version_5(version: u16) -> bool {
    version & VERSION_MASK == 5
}

impl Features {
    /// Checks `words`.
    ///
    /// # Errors
    /// `Unsupported` for a version or a feature that is not read, by name or bits.
    pub(super) fn parse(words: FeatureWords) -> FsResult<Self> {
        let FeatureWords { version, features2, incompat } = words;
        let number = version & VERSION_MASK;
        let is_v5 = match number {
            4 => false,
            5 => true,
            _ => {
                let message = format!("XFS of version {number} is not read");
                return Err(FsError::unsupported(message));
            }
        };
        if version & V4_DIRECTORY_2 == 0 {
            return Err(FsError::unsupported("XFS with directories of version 1 is not read"));
        }
        let unknown = if is_v5 { incompat & !READABLE } else { 0 };
        if unknown != 0 {
            let message = format!("file system uses unknown incompatible features {unknown:#x}");
            return Err(FsError::unsupported(message));
        }
        let more = if version & V4_ATTRIBUTES2_BIT == 0 { 0 } else { features2 };
        let v5 = |bit: u32| is_v5 && incompat & bit != 0;
        Ok(Self {
            is_v5,
            has_ftype: v5(FTYPE) || (!is_v5 && more & V4_FTYPE != 0),
            ascii_ci: version & V4_ASCII_CI != 0,
            has_meta_uuid: v5(META_UUID),
            has_log_v2: is_v5 || version & V4_LOG_2 != 0,
            needs_repair: v5(NEEDS_REPAIR),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::FsErrorKind;

    fn parse(version: u16, features2: u32, incompat: u32) -> FsResult<Features> {
        Features::parse(FeatureWords { version, features2, incompat })
    }

    #[test]
    fn the_words_of_each_version_count_in_it_alone() {
        let four = parse(0xB4A4, 0x20A, 0xFFFF_FFFF).unwrap();
        assert!(four.has_ftype && four.has_log_v2 && !four.is_v5 && !four.has_meta_uuid);
        assert!(!parse(0x34A4, 0x20A, 0).unwrap().has_ftype, "features2 is not there");
        let five = parse(0xB4A5, 0x18A, 0x5).unwrap();
        assert!(five.is_v5 && five.has_ftype && five.has_meta_uuid && !five.needs_repair);
        assert!(parse(0xF4A4, 0, 0).unwrap().ascii_ci);
    }

    #[test]
    fn what_cannot_be_read_is_unsupported_and_named() {
        for (version, incompat, text) in [
            (0xB4A5, 0x8000_0001, "0x80000000"),
            (0xB4A3, 0, "version 3"),
            (0x94A4, 0, "directories of version 1"),
        ] {
            let error = parse(version, 0, incompat).unwrap_err();
            assert_eq!(error.kind(), FsErrorKind::Unsupported);
            assert!(error.message().contains(text), "{}", error.message());
        }
    }
}
