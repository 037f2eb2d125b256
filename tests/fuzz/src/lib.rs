//! The fuzz targets, each a function of bytes. libFuzzer calls them from `fuzz_targets/`; the tests of the
//! workspace call them with the inputs in `regressions/`.
//!
//! `backup`, `image`, `volume`, `partition`, `manager` and `snapshots` serve a whole registry: the first byte of an input picks the entry.

pub mod backup;
pub mod compressed;
pub mod exfat;
pub mod hive;
pub mod image;
pub mod iscsi;
pub mod ldm;
pub mod luks;
pub mod lvm;
pub mod lvm_tables;
pub mod manager;
pub mod map;
pub mod md;
pub mod nbd;
pub mod ntfs_parts;
pub mod overlay;
pub mod packages;
pub mod partition;
pub mod snapshots;
pub mod volume;

/// What is done with an input.
pub type Target = fn(&[u8]);

/// Every target, by the name of its file in `fuzz_targets/`.
pub const TARGETS: &[(&str, Target)] = &[
    ("backup", backup::run),
    ("compressed", compressed::run),
    ("exfat", exfat::run),
    ("hive", hive::run),
    ("image", image::run),
    ("iscsi", iscsi::run),
    ("ldm", ldm::run),
    ("luks", luks::run),
    ("lvm", lvm::run),
    ("lvm-tables", lvm_tables::run),
    ("manager", manager::run),
    ("map", map::run),
    ("md", md::run),
    ("nbd", nbd::run),
    ("ntfs-parts", ntfs_parts::run),
    ("overlay", overlay::run),
    ("packages", packages::run),
    ("partition", partition::run),
    ("snapshots", snapshots::run),
    ("volume", volume::run),
];

/// The entry of `registry` that the first byte of `data` picks, and the rest of `data`.
pub fn pick<'a, T: ?Sized>(registry: &[&'a T], data: &'a [u8]) -> Option<(&'a T, &'a [u8])> {
    let (first, rest) = data.split_first()?;
    let index = usize::from(*first).checked_rem(registry.len())?;
    registry.get(index).map(|entry| (*entry, rest))
}
