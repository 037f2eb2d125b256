//! Finding names in large directories: an index in memory, made at the first look.
//!
//! The hashed directories of ext4 are not descended: the index serves ext2 volumes as well, and a
//! damaged hash tree hides no name.

use std::ops::ControlFlow;
use std::sync::Arc;

use volfold_block::byte_count;

use super::checksum;
use super::dir::{Directory, Entry, Walked};
use crate::error::{FsError, FsResult};
use crate::kept::{Kept, Memory};

/// LIMIT: the memory of all indexes of a volume; one directory of a million names fits.
const CAPACITY: u64 = 8 << 20;
/// LIMIT: the names of one index. A directory with more is walked for every name.
const MAX_NAMES: usize = 1_000_000;
/// Directories of at most so many bytes are walked, which is as fast.
const SMALL: u64 = 8192;

/// Where a name leads.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found {
    pub(super) inode: u32,
    /// Where the entry begins in the directory.
    pub(super) position: u64,
}

impl Found {
    fn of(entry: &Entry<'_>) -> Self {
        Self { inode: entry.inode, position: entry.position }
    }
}

/// The names of one directory, by hash.
struct Index {
    /// Hash of a name and position of its entry in units of 4 bytes, in order.
    places: Vec<(u32, u32)>,
    /// Whether there may be names that could not be read.
    damaged: bool,
}

impl Memory for Index {
    fn memory(&self) -> u64 {
        byte_count(self.places.len()).saturating_mul(8)
    }
}

/// The indexes of the directories that were used last, by inode number.
pub(super) struct Indexes(Kept<Index>);

impl Indexes {
    pub(super) fn new() -> FsResult<Self> {
        Kept::new(CAPACITY).map(Self)
    }

    /// Where `name` leads in `directory`, whose inode number is `number`.
    ///
    /// # Errors
    /// `NotFound`; `Corrupt` if it was not found and part of the directory cannot be read.
    pub(super) fn find(
        &self,
        directory: &Directory<'_>,
        number: u32,
        name: &[u8],
    ) -> FsResult<Found> {
        if directory.size() <= SMALL {
            return walk_for(directory, name);
        }
        let index = match self.0.get(u64::from(number)) {
            Some(index) => index,
            None => match Index::build(directory)? {
                Some(index) => {
                    let index = Arc::new(index);
                    self.0.insert(u64::from(number), index.clone());
                    index
                }
                None => return walk_for(directory, name),
            },
        };
        let hash = checksum::sum(name);
        let first = index.places.partition_point(|&(found, _)| found < hash);
        let places = index.places.get(first..).unwrap_or_default();
        let mut found = None;
        for &(_, place) in places.iter().take_while(|&&(found, _)| found == hash) {
            directory.visit_one(u64::from(place).saturating_mul(4), &mut |entry| {
                if entry.name == name {
                    found = Some(Found::of(entry));
                }
                Ok(ControlFlow::Break(()))
            })?;
            if let Some(found) = found {
                return Ok(found);
            }
        }
        Err(absent(index.damaged))
    }
}

impl Index {
    /// Walks all of `directory`; `None` if it has too many names.
    fn build(directory: &Directory<'_>) -> FsResult<Option<Self>> {
        let mut places = Vec::new();
        let walked = directory.walk(0, &mut |entry| {
            let Ok(place) = u32::try_from(entry.position / 4) else {
                return Ok(ControlFlow::Break(()));
            };
            if places.len() >= MAX_NAMES {
                return Ok(ControlFlow::Break(()));
            }
            places.push((checksum::sum(entry.name), place));
            Ok(ControlFlow::Continue(()))
        })?;
        let Walked::ToTheEnd { damaged } = walked else {
            return Ok(None);
        };
        places.sort_unstable();
        places.shrink_to_fit();
        Ok(Some(Self { places, damaged }))
    }
}

fn walk_for(directory: &Directory<'_>, name: &[u8]) -> FsResult<Found> {
    let mut found = None;
    let walked = directory.walk(0, &mut |entry| {
        if entry.name != name {
            return Ok(ControlFlow::Continue(()));
        }
        found = Some(Found::of(entry));
        Ok(ControlFlow::Break(()))
    })?;
    found.ok_or_else(|| absent(walked == Walked::ToTheEnd { damaged: true }))
}

fn absent(damaged: bool) -> FsError {
    if damaged { damaged_directory() } else { FsError::not_found() }
}

/// Part of a directory cannot be read.
pub(super) fn damaged_directory() -> FsError {
    FsError::corrupt("directory is damaged, some of its names cannot be read")
}
