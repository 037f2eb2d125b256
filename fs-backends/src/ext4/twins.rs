//! Names that a directory has twice, of which only one can be looked up.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};

use volfold_block::{Finding, code};

/// LIMIT: names of a directory that are compared with each other.
const MAX_NAMES: usize = 1 << 20;

/// The names of a directory that were met, by their hashes.
#[derive(Default)]
pub(super) struct Twins(HashSet<u64>);

impl Twins {
    /// Takes `name`; what is to be said if it was met before, of the directory with the inode `number`.
    pub(super) fn take(&mut self, number: u32, name: &[u8]) -> Option<Finding> {
        let mut hasher = DefaultHasher::new();
        name.hash(&mut hasher);
        if self.0.len() >= MAX_NAMES || self.0.insert(hasher.finish()) {
            return None;
        }
        let name = String::from_utf8_lossy(name);
        let line = format!(
            "the directory with inode {number} has {name:?} twice; by its name one of the two is found"
        );
        Some(Finding::warning(code::EXT4_NAME_TWICE, line))
    }
}
