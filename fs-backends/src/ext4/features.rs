//! The feature words of the superblock, and which kind of ext file system they make.
//!
//! Specification: kernel documentation, "ext4 Data Structures and Algorithms", chapter "Super
//! Block", tables `s_feature_compat`, `s_feature_incompat`, `s_feature_ro_compat`. A read-only
//! reader may ignore unknown bits of `compat` and `ro_compat`, never of `incompat`.

use crate::error::{FsError, FsResult};

/// One bit of `s_feature_compat`.
#[derive(Clone, Copy)]
pub(super) struct Compat(u32);

impl Compat {
    pub(super) const HAS_JOURNAL: Self = Self(0x0004);
    pub(super) const SPARSE_SUPER2: Self = Self(0x0200);
}

/// One bit of `s_feature_incompat`.
#[derive(Clone, Copy)]
pub(super) struct Incompat(u32);

impl Incompat {
    pub(super) const COMPRESSION: Self = Self(0x0001);
    pub(super) const FILETYPE: Self = Self(0x0002);
    pub(super) const RECOVER: Self = Self(0x0004);
    pub(super) const JOURNAL_DEV: Self = Self(0x0008);
    pub(super) const META_BG: Self = Self(0x0010);
    pub(super) const EXTENTS: Self = Self(0x0040);
    pub(super) const BIT64: Self = Self(0x0080);
    pub(super) const MMP: Self = Self(0x0100);
    pub(super) const FLEX_BG: Self = Self(0x0200);
    pub(super) const EA_INODE: Self = Self(0x0400);
    pub(super) const CSUM_SEED: Self = Self(0x2000);
    pub(super) const LARGEDIR: Self = Self(0x4000);
    pub(super) const INLINE_DATA: Self = Self(0x8000);
    pub(super) const ENCRYPT: Self = Self(0x1_0000);
    pub(super) const CASEFOLD: Self = Self(0x2_0000);
}

/// One bit of `s_feature_ro_compat`.
#[derive(Clone, Copy)]
pub(super) struct RoCompat(u32);

impl RoCompat {
    pub(super) const SPARSE_SUPER: Self = Self(0x0001);
    pub(super) const HUGE_FILE: Self = Self(0x0008);
    pub(super) const GDT_CSUM: Self = Self(0x0010);
    pub(super) const BIGALLOC: Self = Self(0x0200);
    pub(super) const METADATA_CSUM: Self = Self(0x0400);
    /// Files wait for their end in the orphan file.
    pub(super) const ORPHAN_PRESENT: Self = Self(0x1_0000);
}

/// Every incompatible feature that this build reads.
const READABLE: u32 = Incompat::FILETYPE.0
    | Incompat::RECOVER.0
    | Incompat::META_BG.0
    | Incompat::EXTENTS.0
    | Incompat::BIT64.0
    | Incompat::MMP.0
    | Incompat::FLEX_BG.0
    | Incompat::EA_INODE.0
    | Incompat::CSUM_SEED.0
    | Incompat::LARGEDIR.0
    | Incompat::INLINE_DATA.0
    | Incompat::ENCRYPT.0
    | Incompat::CASEFOLD.0;

/// What ext3 knows; anything else makes an ext4, as blkid decides.
const EXT3_INCOMPAT: u32 = Incompat::FILETYPE.0 | Incompat::RECOVER.0 | Incompat::META_BG.0;
const EXT3_RO_COMPAT: u32 = 0x0007;

/// The features of a file system that can be read.
#[derive(Clone, Debug)]
pub(super) struct Features {
    compat: u32,
    incompat: u32,
    ro_compat: u32,
}

impl Features {
    /// Checks the three words, and leaves it to the caller to say where they are; a file system of
    /// revision 0 has no features whatever they say.
    pub(super) fn parse(
        revision: u32,
        compat: u32,
        incompat: u32,
        ro_compat: u32,
    ) -> FsResult<Self> {
        if revision == 0 {
            return Ok(Self { compat: 0, incompat: 0, ro_compat: 0 });
        }
        if incompat & Incompat::JOURNAL_DEV.0 != 0 {
            return Err(FsError::unsupported("volume is an external journal"));
        }
        if incompat & Incompat::COMPRESSION.0 != 0 {
            return Err(FsError::unsupported("file system uses compression (e2compr)"));
        }
        let unknown = incompat & !READABLE;
        if unknown != 0 {
            let message = format!("file system uses unknown incompatible features {unknown:#x}");
            return Err(FsError::unsupported(message));
        }
        Ok(Self { compat, incompat, ro_compat })
    }

    pub(super) fn compat(&self, bit: Compat) -> bool {
        self.compat & bit.0 != 0
    }

    pub(super) fn incompat(&self, bit: Incompat) -> bool {
        self.incompat & bit.0 != 0
    }

    pub(super) fn ro_compat(&self, bit: RoCompat) -> bool {
        self.ro_compat & bit.0 != 0
    }

    /// `ext2`, `ext3` or `ext4`.
    pub(super) fn kind(&self) -> &'static str {
        if self.incompat & !EXT3_INCOMPAT != 0 || self.ro_compat & !EXT3_RO_COMPAT != 0 {
            "ext4"
        } else if self.compat(Compat::HAS_JOURNAL) {
            "ext3"
        } else {
            "ext2"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::FsErrorKind;

    #[test]
    fn the_features_name_the_kind_as_blkid_does() {
        for (compat, incompat, ro_compat, kind) in [
            (0, 0x2, 0x3, "ext2"),
            (0x4, 0x6, 0x3, "ext3"),
            (0x4, 0x2C2, 0x3, "ext4"),
            (0x4, 0x2, 0x10, "ext4"),
            (0, 0x42, 0, "ext4"),
        ] {
            let features = Features::parse(1, compat, incompat, ro_compat).unwrap();
            assert_eq!(features.kind(), kind, "{compat:x} {incompat:x} {ro_compat:x}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_unsupported_and_named() {
        for (bits, text) in [
            (0x8, "external journal"),
            (0x1, "compression"),
            (0x1002, "0x1000"),
            (0x8000_0000, "0x80000000"),
        ] {
            let error = Features::parse(1, 0, bits, 0).unwrap_err();
            assert_eq!(error.kind(), FsErrorKind::Unsupported);
            assert!(error.message().contains(text), "{}", error.message());
        }
    }
}
