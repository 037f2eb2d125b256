//! Backups of whole machines: files that hold several disks, which are read where they lie.

#[cfg(feature = "backup")]
mod vma;
#[cfg(feature = "backup")]
mod xva;

#[cfg(feature = "backup")]
#[cfg(test)]
mod testing;

#[cfg(feature = "backup")]
use std::collections::HashSet;
use std::sync::Arc;

use volfold_block::{BlockError, BlockResult, CachePool};

use crate::format::DiskImage;
use crate::locator::Located;

#[cfg(feature = "backup")]
pub(crate) use vma::Vma;
#[cfg(feature = "backup")]
pub(crate) use xva::Xva;

/// A format of files that hold the disks of a machine.
pub trait BackupFormat: Send + Sync {
    /// The lower-case name: `vma`.
    fn id(&self) -> &'static str;

    /// What the format is called in tables: `VMA (Proxmox)`.
    fn title(&self) -> &'static str;

    /// The ends of names that such files have, in lower case and without the dot: `vma`.
    fn extensions(&self) -> &'static [&'static str];

    /// Whether `file` begins as such files do, or may be one by its name.
    ///
    /// # Errors
    /// If it cannot be read.
    fn probe(&self, file: &Located) -> BlockResult<bool>;

    /// The disks in `file`; `pool` is the cache of their set.
    ///
    /// # Errors
    /// Why none of them can be told.
    fn open(&self, file: &Located, pool: &Arc<CachePool>) -> BlockResult<Backup>;
}

/// What is in a backup.
#[derive(Default)]
pub struct Backup {
    /// Its disks, in the order of the file.
    pub disks: Vec<BackupDisk>,
    /// What is wrong with the file, or with its description of the machine. What it means for a disk is
    /// an error or a finding of that one too.
    pub damage: Vec<BlockError>,
}

/// A disk in a backup.
pub struct BackupDisk {
    /// What it is called, in one line and without separators of paths; no two of a backup are called
    /// the same.
    pub name: String,
    /// The disk, or why it cannot be read.
    pub image: BlockResult<DiskImage>,
}

/// LIMIT: characters of the name of a disk; both formats allow more.
#[cfg(feature = "backup")]
const MAX_NAME: usize = 128;

/// `name`, which comes from a backup, as one that can stand in a path and in one line.
#[cfg(feature = "backup")]
fn plain_name(name: &str) -> String {
    let is_odd = |character: char| character.is_control() || matches!(character, '/' | '\\');
    let plain = |character: char| if is_odd(character) { '_' } else { character };
    name.trim().chars().take(MAX_NAME).map(plain).collect()
}

/// `name`, or with a number after it where it is among the `known` ones, which it becomes one of.
#[cfg(feature = "backup")]
fn unique_name(name: &str, known: &mut HashSet<String>) -> String {
    let mut unique = name.to_owned();
    let mut number: u32 = 1;
    while !known.insert(unique.clone()) {
        number = number.saturating_add(1);
        unique = format!("{name} ({number})");
    }
    unique
}
