//! The feature words of the superblock, and which kind of ext file system they make.
//!
//! Specification: kernel documentation, "ext4 Data Structures and Algorithms", chapter "Super
//! Block", tables `s_feature_compat`, `s_feature_incompat`, `s_feature_ro_compat`. A read-only
//! reader may ignore unknown bits of `compat` and `ro_compat`, never of `incompat`.

use self::Reading::{NoMatter, Read, Refused};
use crate::error::{FsError, FsResult};

/// One bit of `s_feature_compat`.
#[derive(Clone, Copy)]
pub(super) struct Compat(u32);

impl Compat {
    pub(super) const HAS_JOURNAL: Self = Self(0x0004);
    pub(super) const DIR_INDEX: Self = Self(0x0020);
    pub(super) const SPARSE_SUPER2: Self = Self(0x0200);
    pub(super) const ORPHAN_FILE: Self = Self(0x1000);
}

/// One bit of `s_feature_incompat`.
#[derive(Clone, Copy)]
pub(super) struct Incompat(u32);

impl Incompat {
    pub(super) const FILETYPE: Self = Self(0x0002);
    pub(super) const RECOVER: Self = Self(0x0004);
    pub(super) const JOURNAL_DEV: Self = Self(0x0008);
    pub(super) const META_BG: Self = Self(0x0010);
    pub(super) const BIT64: Self = Self(0x0080);
    pub(super) const MMP: Self = Self(0x0100);
    pub(super) const FLEX_BG: Self = Self(0x0200);
    pub(super) const EA_INODE: Self = Self(0x0400);
    pub(super) const CSUM_SEED: Self = Self(0x2000);
    pub(super) const LARGEDIR: Self = Self(0x4000);
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

/// What becomes of a volume that has a feature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reading {
    /// It is read with regard to it.
    Read,
    /// It changes nothing of what is read.
    NoMatter,
    /// It is refused.
    Refused,
}

/// One bit: what the kernel or e2fsprogs calls it, and what becomes of it here.
type Known = (u32, &'static str, Reading);

/// Every bit of `s_feature_compat` that Linux 6.18 or e2fsprogs knows.
const COMPAT: [Known; 12] = [
    (0x0001, "dir_prealloc", NoMatter),
    (0x0002, "imagic_inodes", NoMatter),
    (Compat::HAS_JOURNAL.0, "has_journal", Read),
    (0x0008, "ext_attr", Read),
    (0x0010, "resize_inode", NoMatter),
    (Compat::DIR_INDEX.0, "dir_index", Read),
    (0x0040, "lazy_bg", NoMatter),
    (0x0100, "snapshot_bitmap", NoMatter),
    (Compat::SPARSE_SUPER2.0, "sparse_super2", Read),
    (0x0400, "fast_commit", Read),
    (0x0800, "stable_inodes", NoMatter),
    (Compat::ORPHAN_FILE.0, "orphan_file", Read),
];

/// Every bit of `s_feature_incompat`.
const INCOMPAT: [Known; 16] = [
    (0x0001, "compression", Refused),
    (Incompat::FILETYPE.0, "filetype", Read),
    (Incompat::RECOVER.0, "needs_recovery", Read),
    (Incompat::JOURNAL_DEV.0, "journal_dev", Refused),
    (Incompat::META_BG.0, "meta_bg", Read),
    (0x0040, "extent", Read),
    (Incompat::BIT64.0, "64bit", Read),
    (Incompat::MMP.0, "mmp", Read),
    (Incompat::FLEX_BG.0, "flex_bg", Read),
    (Incompat::EA_INODE.0, "ea_inode", Read),
    (0x1000, "dirdata", Refused),
    (Incompat::CSUM_SEED.0, "metadata_csum_seed", Read),
    (Incompat::LARGEDIR.0, "large_dir", Read),
    (0x8000, "inline_data", Read),
    (0x1_0000, "encrypt", Read),
    (Incompat::CASEFOLD.0, "casefold", Read),
];

/// Every bit of `s_feature_ro_compat`.
const RO_COMPAT: [Known; 16] = [
    (RoCompat::SPARSE_SUPER.0, "sparse_super", Read),
    (0x0002, "large_file", Read),
    (0x0004, "btree_dir", NoMatter),
    (RoCompat::HUGE_FILE.0, "huge_file", Read),
    (RoCompat::GDT_CSUM.0, "uninit_bg", Read),
    (0x0020, "dir_nlink", NoMatter),
    (0x0040, "extra_isize", Read),
    (0x0100, "quota", NoMatter),
    (RoCompat::BIGALLOC.0, "bigalloc", Read),
    (RoCompat::METADATA_CSUM.0, "metadata_csum", Read),
    (0x0800, "replica", NoMatter),
    (0x1000, "read-only", NoMatter),
    (0x2000, "project", NoMatter),
    (0x4000, "shared_blocks", NoMatter),
    (0x8000, "verity", Read),
    (RoCompat::ORPHAN_PRESENT.0, "orphan_present", Read),
];

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
        let refused = names(incompat, &INCOMPAT, |reading| reading == Refused);
        if incompat & Incompat::JOURNAL_DEV.0 != 0 {
            return Err(FsError::unsupported("volume is an external journal"));
        }
        if !refused.is_empty() {
            let message = format!("file system uses {}, which is not read", refused.join(" and "));
            return Err(FsError::unsupported(message));
        }
        let unknown = incompat & !all(&INCOMPAT);
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

    /// The bits of `compat` and of `ro_compat` that nobody knew when this was written.
    pub(super) fn unknown(&self) -> (u32, u32) {
        (self.compat & !all(&COMPAT), self.ro_compat & !all(&RO_COMPAT))
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

/// All bits of a table.
const fn all(table: &[Known]) -> u32 {
    let mut bits = 0;
    let mut rest = table;
    while let [(bit, ..), later @ ..] = rest {
        bits |= *bit;
        rest = later;
    }
    bits
}

/// The names of those of `bits` that are in `table` and wanted.
fn names(bits: u32, table: &[Known], wanted: fn(Reading) -> bool) -> Vec<&'static str> {
    let found = table.iter().filter(|(bit, _, reading)| bits & bit != 0 && wanted(*reading));
    found.map(|(_, name, _)| *name).collect()
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
            (0x1002, "dirdata"),
            (0x1003, "compression and dirdata"),
            (0x0802, "0x800"),
            (0x8000_0000, "0x80000000"),
        ] {
            let error = Features::parse(1, 0, bits, 0).unwrap_err();
            assert_eq!(error.kind(), FsErrorKind::Unsupported);
            assert!(error.message().contains(text), "{}", error.message());
        }
    }

    /// The witness is `debugfs`, which names the bits that it is given.
    #[test]
    fn the_names_are_those_of_e2fsprogs() {
        let scratch = crate::testing::Scratch::new("ext4-features");
        std::fs::write(scratch.0.join("image"), vec![0; 1 << 20]).unwrap();
        if !scratch.run("mke2fs", &["-q", "-F", "-t", "ext2", "image"]) {
            return;
        }
        let plain = std::fs::read(scratch.0.join("image")).unwrap();
        for (field, table) in
            [("compat", &COMPAT[..]), ("incompat", &INCOMPAT), ("ro_compat", &RO_COMPAT)]
        {
            // e2fsprogs has no name for that one.
            for &(bit, name, _) in table.iter().filter(|(_, name, _)| *name != "btree_dir") {
                std::fs::write(scratch.0.join("image"), &plain).unwrap();
                let command = format!("features {name}");
                assert!(scratch.run("debugfs", &["-w", "-R", &command, "image"]));
                let image = std::fs::read(scratch.0.join("image")).unwrap();
                let at = match field {
                    "compat" => 0x45C,
                    "incompat" => 0x460,
                    _ => 0x464,
                };
                let bits = u32::from_le_bytes(image[at..at + 4].try_into().unwrap());
                assert!(bits & bit != 0, "{field} {name} is {bit:#x}, and {bits:#x} are set");
            }
        }
    }

    #[test]
    fn no_bit_stands_twice() {
        for table in [&COMPAT[..], &INCOMPAT, &RO_COMPAT] {
            let sum: u64 = table.iter().map(|(bit, ..)| u64::from(*bit)).sum();
            assert_eq!(sum, u64::from(all(table)));
        }
    }

    #[test]
    fn what_nobody_knows_is_told_by_number() {
        let features = Features::parse(1, 0x8000_0020, 2, 0x2000_0001).unwrap();
        assert_eq!(features.unknown(), (0x8000_0000, 0x2000_0000));
    }
}
