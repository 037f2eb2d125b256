//! Finding names in large directories: by their hash tree, else by an index in memory that is made at
//! the first look.
//!
//! The index serves ext2 volumes, and a damaged hash tree hides no name. Without checksums a name
//! that the tree does not have is looked for in the index before it is said to be absent.

use std::borrow::Cow;
use std::ops::ControlFlow;
use std::sync::Arc;

use volfold_block::byte_count;

use super::dir::{Directory, Found, Walked};
use super::hash_tree::{self, Answer};
use super::{casefold, checksum};
use crate::error::{FsError, FsResult};
use crate::kept::{Kept, Memory};

/// LIMIT: the memory of all indexes of a volume; one directory of a million names fits.
const CAPACITY: u64 = 8 << 20;
/// LIMIT: the names of one index. A directory with more is walked for every name.
const MAX_NAMES: usize = 1_000_000;
/// Directories of at most so many bytes are walked, which is as fast.
const SMALL: u64 = 8192;

/// A name that is looked for.
struct Wanted<'n> {
    name: &'n [u8],
    /// What it has in common with all names that are the same without regard to case, in a directory
    /// where that does not matter.
    folded: Option<Cow<'n, [u8]>>,
}

impl<'n> Wanted<'n> {
    fn new(directory: &Directory<'_>, name: &'n [u8]) -> Self {
        let folded = directory.folds_case().then(|| casefold::fold(name));
        Self { name, folded }
    }

    /// What hashes are made of.
    fn key(&self) -> &[u8] {
        self.folded.as_deref().unwrap_or(self.name)
    }

    fn matches(&self, name: &[u8]) -> bool {
        let folded = self.folded.as_deref();
        self.name == name || folded.is_some_and(|folded| *casefold::fold(name) == *folded)
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

    /// Where `name` leads in `directory`, whose inode number is `number`. `tell_damage` is called where
    /// its hash tree cannot be used, or does not have a name that is there.
    ///
    /// # Errors
    /// `NotFound`; `Corrupt` if it was not found and part of the directory cannot be read.
    pub(super) fn find(
        &self,
        directory: &Directory<'_>,
        number: u32,
        name: &[u8],
        tell_damage: &dyn Fn(),
    ) -> FsResult<Found> {
        let wanted = Wanted::new(directory, name);
        if directory.size() <= SMALL {
            return walk_for(directory, &wanted);
        }
        let kept = self.0.get(u64::from(number));
        let mut contradicts = false;
        if kept.is_none() && directory.has_hash_tree() {
            // Of names that differ in case alone the one that is spelt so is meant.
            if wanted.folded.is_some()
                && let Answer::Found(found) =
                    hash_tree::find(directory, wanted.key(), &|other| other == name)?
            {
                return Ok(found);
            }
            match hash_tree::find(directory, wanted.key(), &|name| wanted.matches(name))? {
                Answer::Found(found) => return Ok(found),
                Answer::Absent if directory.trusts_hashes() => return Err(FsError::not_found()),
                // Names without regard to case may have been hashed by other rules.
                Answer::Absent => contradicts = !directory.folds_case(),
                Answer::Damaged => tell_damage(),
                Answer::Keyed => {}
            }
        }
        let found = self.find_by_index(directory, number, &wanted, kept);
        if contradicts && found.is_ok() {
            tell_damage();
        }
        found
    }

    fn find_by_index(
        &self,
        directory: &Directory<'_>,
        number: u32,
        wanted: &Wanted<'_>,
        kept: Option<Arc<Index>>,
    ) -> FsResult<Found> {
        let index = match kept {
            Some(index) => index,
            None => match Index::build(directory)? {
                Some(index) => {
                    let index = Arc::new(index);
                    self.0.insert(u64::from(number), index.clone());
                    index
                }
                None => return walk_for(directory, wanted),
            },
        };
        let hash = checksum::sum(wanted.key());
        let first = index.places.partition_point(|&(found, _)| found < hash);
        let places = index.places.get(first..).unwrap_or_default();
        let (mut found, mut is_exact) = (None, false);
        for &(_, place) in places.iter().take_while(|&&(found, _)| found == hash) {
            directory.visit_one(u64::from(place).saturating_mul(4), &mut |entry| {
                is_exact = entry.name == wanted.name;
                if is_exact || (found.is_none() && wanted.matches(entry.name)) {
                    found = Some(Found::of(entry));
                }
                Ok(ControlFlow::Break(()))
            })?;
            if is_exact {
                break;
            }
        }
        found.ok_or_else(|| absent(index.damaged))
    }
}

impl Index {
    /// Walks all of `directory`; `None` if it has too many names.
    fn build(directory: &Directory<'_>) -> FsResult<Option<Self>> {
        let mut places = Vec::new();
        let folds_case = directory.folds_case();
        let walked = directory.walk(0, &mut |entry| {
            let Ok(place) = u32::try_from(entry.position / 4) else {
                return Ok(ControlFlow::Break(()));
            };
            if places.len() >= MAX_NAMES {
                return Ok(ControlFlow::Break(()));
            }
            let hash = match folds_case {
                true => checksum::sum(&casefold::fold(entry.name)),
                false => checksum::sum(entry.name),
            };
            places.push((hash, place));
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

fn walk_for(directory: &Directory<'_>, wanted: &Wanted<'_>) -> FsResult<Found> {
    let mut found = None;
    let walked = directory.walk(0, &mut |entry| {
        let is_exact = entry.name == wanted.name;
        if is_exact || (found.is_none() && wanted.matches(entry.name)) {
            found = Some(Found::of(entry));
        }
        // Another name that differs in case alone may be spelt as it was asked for.
        Ok(if is_exact { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
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
