//! Registry hives of Windows, read on demand and never written.
//!
//! Specification: M. Suhanov, "Windows registry file format specification"; versions 1.2 (Windows
//! NT 3.5) to 1.6 (Windows 10 and later). Little-endian. A hive is a base block of 4096 bytes and
//! bins of cells; every offset in it counts from the end of the base block, and positions in errors
//! count from the start of the file.
//!
//! A hive that was in use when its disk was imaged is *dirty*: its newest changes are in log files
//! beside it. They are applied in memory, as Windows would at the next start.
//!
//! ```
//! use std::sync::Arc;
//!
//! use volfold::fs::{FileData, FsResult};
//! use volfold::guest::hive::Hive;
//!
//! /// The name of the system whose hive `SOFTWARE` is `software`.
//! fn product_name(software: Arc<dyn FileData>) -> FsResult<Option<String>> {
//!     let hive = Hive::open(software, Vec::new())?;
//!     let Some(key) = hive.key(r"Microsoft\Windows NT\CurrentVersion")? else {
//!         return Ok(None);
//!     };
//!     key.value("ProductName")?.map(|value| value.text()).transpose()
//! }
//! # let _ = product_name;
//! ```

#![cfg_attr(
    not(test),
    warn(clippy::arithmetic_side_effects, clippy::as_conversions, clippy::indexing_slicing)
)]

use std::sync::Arc;

use volfold_block::{Finding, code};
use volfold_fs::{FileData, FsResult, Timestamp};

mod base_block;
mod cell;
mod filetime;
mod key;
mod list;
mod log;
mod marvin;
mod name;
mod overlay;
mod pages;
mod store;
mod value;

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

use base_block::{BASE_BLOCK_SIZE, BaseBlock};
pub use filetime::filetime_to_timestamp;
pub use key::{Key, Subkeys, Values};
use log::Replay;
use pages::Pages;
use store::Store;
pub use value::{Value, ValueKind};

/// A hive: a tree of keys with values.
pub struct Hive {
    store: Store,
    findings: Vec<Finding>,
}

impl Hive {
    /// Opens the hive `primary`; `logs` are its log files in the order `.LOG1`, `.LOG2`, or `.LOG`
    /// alone, as far as they are there. An empty log counts as none.
    ///
    /// A log is read only where the hive is dirty. What was done then, and what could not be, is
    /// told by [`Hive::findings`].
    ///
    /// # Errors
    /// `Corrupt` if `primary` is no hive, `Unsupported` if it is of another version, or why its
    /// first bytes cannot be read.
    pub fn open(primary: Arc<dyn FileData>, logs: Vec<Arc<dyn FileData>>) -> FsResult<Self> {
        let base_block = BaseBlock::read_primary(&*primary)?;
        let mut findings = Vec::new();
        let replay = match base_block.is_dirty() {
            true => log::replay(&base_block, &*primary, &logs, &mut findings)?,
            false => Replay::none(base_block.clone()),
        };
        let Replay { base_block, overlay } = replay;
        base_block.check()?;
        let pages = Pages::new(primary.clone(), logs, overlay, base_block.bins_size);
        let end = BASE_BLOCK_SIZE.saturating_add(u64::from(base_block.bins_size));
        if !pages.reaches_end() {
            let line = format!("file ends early: {} of {end} bytes", primary.size());
            findings.push(Finding::error(code::HIVE_CUT_SHORT, line));
        }
        Ok(Self { store: Store::new(pages, base_block), findings })
    }

    /// The root key.
    ///
    /// # Errors
    /// Why it cannot be read.
    pub fn root(&self) -> FsResult<Key<'_>> {
        Key::root(&self.store)
    }

    /// The key at `path` below the root, its parts separated by `\`, without regard to case; `None`
    /// if there is none.
    ///
    /// # Errors
    /// Why a key on the way cannot be read; `Unsupported` for a path that leads through a link, with
    /// where the link leads.
    pub fn key(&self, path: &str) -> FsResult<Option<Key<'_>>> {
        self.root()?.descendant(path)
    }

    /// What was noticed while the hive was opened, and while it was read up to now.
    pub fn findings(&self) -> Vec<Finding> {
        self.findings.iter().cloned().chain(self.store.told.all()).collect()
    }

    /// Major and minor version of the format.
    pub fn version(&self) -> (u32, u32) {
        (self.store.base_block.major, self.store.base_block.minor)
    }

    /// When the hive was last written.
    pub fn last_written(&self) -> Timestamp {
        filetime_to_timestamp(self.store.base_block.last_written)
    }

    /// The path that the system wrote into the hive as its own, cut to its last 31 characters.
    pub fn file_name(&self) -> String {
        self.store.base_block.file_name()
    }
}
