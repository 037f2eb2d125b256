//! The names of a directory, by a walk through all of its index.

use volfold_block::{byte_count, bytes_to_index};

use super::super::record::{DOS_NAME_SPACE, FileReference};
use super::super::volume::Volume;
use super::tree::{Entries, Entry, Index, Key, MAX_BLOCKS, MAX_DEPTH};
use crate::error::{FsError, FsErrorKind, FsResult};
use crate::wtf8;

/// LIMIT: names of one directory, and bytes of all its names: about 96 MiB of a listing.
const MAX_NAMES: usize = 1 << 21;
const MAX_NAME_BYTES: usize = 64 << 20;
/// An index of at most this many bytes is fetched by one read to be listed.
const WHOLE: u64 = 1 << 20;

impl Index {
    /// Reads all names. Damage does not end it where the rest can be read. `is_shown` says which
    /// records are listed.
    ///
    /// # Errors
    /// `Unsupported` for too many names, or why nothing can be read.
    pub(in super::super) fn list(
        &self,
        volume: &Volume,
        is_shown: impl Fn(FileReference) -> bool,
    ) -> FsResult<Listing> {
        let blocks = self.size.checked_div(self.block_size).unwrap_or(0);
        if blocks > MAX_BLOCKS {
            return Err(FsError::unsupported("index is too large"));
        }
        let mut whole = Vec::new();
        if self.size <= WHOLE {
            whole.resize(bytes_to_index(self.size)?, 0);
            // A bad block must not harm the others: then they are read one by one.
            if self.blocks.read(&*volume.reader.metadata, 0, &mut whole).is_err() {
                whole.clear();
            }
        }
        let mut walk = Walk {
            index: self,
            volume,
            whole,
            seen: vec![false; bytes_to_index(blocks)?],
            listing: Listing::default(),
        };
        let walked = self.root_entries().and_then(|root| walk.run(root, &is_shown));
        match walked {
            Err(error) if error.kind() == FsErrorKind::Unsupported => return Err(error),
            Err(error) => walk.listing.damaged(&error),
            Ok(()) => {}
        }
        if walk.listing.damage.is_some() {
            walk.rest(&is_shown)?;
        }
        let mut listing = walk.listing;
        listing.names.shrink_to_fit();
        listing.entries.shrink_to_fit();
        Ok(listing)
    }
}

/// A walk through all nodes of an index, in the order of names.
struct Walk<'a> {
    index: &'a Index,
    volume: &'a Volume,
    whole: Vec<u8>,
    /// Which blocks were entered. INVARIANT: each is entered once, so a loop comes to an end.
    seen: Vec<bool>,
    listing: Listing,
}

/// A node that is being walked through.
struct Level {
    vcn: u64,
    block: Vec<u8>,
    /// The place of the current entry in the node.
    next: usize,
    /// Whether the node below the current entry was walked through.
    is_below_done: bool,
}

impl Level {
    fn entries(&self, index: &Index) -> FsResult<(Entries<'_>, u64)> {
        let mut entries = index.entries(self.vcn, &self.block)?;
        entries.next = self.next;
        let position = entries.position;
        Ok((entries, position))
    }
}

impl Walk<'_> {
    fn run(
        &mut self,
        mut root: Entries<'_>,
        is_shown: &impl Fn(FileReference) -> bool,
    ) -> FsResult<()> {
        loop {
            let position = root.position;
            let entry = root.step()?;
            if let Some(vcn) = entry.below {
                self.below(vcn, is_shown)?;
            }
            if entry.is_last {
                return Ok(());
            }
            self.listing.take(&entry, position, is_shown)?;
        }
    }

    /// Walks through the node `vcn` and all below it. Damage is noted, and what lies below it is
    /// left out.
    fn below(&mut self, vcn: u64, is_shown: &impl Fn(FileReference) -> bool) -> FsResult<()> {
        let mut levels: Vec<Level> = Vec::new();
        let mut spare: Vec<Vec<u8>> = Vec::new();
        self.enter(vcn, &mut levels, &mut spare);
        while let Some(level) = levels.last_mut() {
            let step = level
                .entries(self.index)
                .and_then(|(mut entries, position)| Ok((entries.step()?, entries.next, position)));
            let (entry, next, position) = match step {
                Ok(step) => step,
                Err(error) => {
                    self.listing.damaged(&error);
                    spare.extend(levels.pop().map(|level| level.block));
                    continue;
                }
            };
            if let Some(vcn) = entry.below
                && !level.is_below_done
            {
                level.is_below_done = true;
                self.enter(vcn, &mut levels, &mut spare);
                continue;
            }
            let is_last = entry.is_last;
            if !is_last {
                self.listing.take(&entry, position, is_shown)?;
            }
            level.next = next;
            level.is_below_done = false;
            if is_last {
                spare.extend(levels.pop().map(|level| level.block));
            }
        }
        Ok(())
    }

    /// Pushes the node `vcn`, if it can be read and was not met before.
    fn enter(&mut self, vcn: u64, levels: &mut Vec<Level>, spare: &mut Vec<Vec<u8>>) {
        let mut block = spare.pop().unwrap_or_default();
        match self.read(vcn, &mut block, levels.len()) {
            Ok(next) => levels.push(Level { vcn, block, next, is_below_done: false }),
            Err(error) => {
                self.listing.damaged(&error);
                spare.push(block);
            }
        }
    }

    /// Reads the node `vcn` and gives the place of its first entry.
    fn read(&mut self, vcn: u64, block: &mut Vec<u8>, depth: usize) -> FsResult<usize> {
        let offset = self.index.offset(vcn)?;
        let number = offset.checked_div(self.index.block_size).unwrap_or(0);
        let seen = self.seen.get_mut(bytes_to_index(number)?);
        let is_new = seen.is_some_and(|seen| !std::mem::replace(seen, true));
        if !is_new || depth >= MAX_DEPTH {
            let position = self.index.position(offset);
            return Err(FsError::corrupt("index has a loop").at(position));
        }
        self.index.read(self.volume, vcn, &self.whole, block)?;
        Ok(self.index.entries(vcn, block)?.next)
    }

    /// Lists the names of the blocks that are in use and were not met, because what leads to them
    /// is damaged.
    fn rest(&mut self, is_shown: &impl Fn(FileReference) -> bool) -> FsResult<()> {
        let in_use = match self.index.bitmap(self.volume) {
            Ok(in_use) => in_use,
            Err(error) => {
                self.listing.damaged(&error);
                return Ok(());
            }
        };
        let step = self.index.block_size.checked_div(self.index.unit).unwrap_or(1);
        let mut block = Vec::new();
        for number in 0..self.seen.len() {
            let byte = in_use.get(number / 8).copied().unwrap_or(0);
            if byte.checked_shr(u32::try_from(number % 8).unwrap_or(0)).unwrap_or(0) & 1 == 0
                || self.seen.get(number) != Some(&false)
            {
                continue;
            }
            let vcn = byte_count(number).saturating_mul(step);
            if self.read(vcn, &mut block, 0).is_err() {
                continue;
            }
            let Ok(mut entries) = self.index.entries(vcn, &block) else { continue };
            while let Ok(entry) = entries.step()
                && !entry.is_last
            {
                self.listing.take(&entry, entries.position, is_shown)?;
            }
        }
        Ok(())
    }
}

/// The names of a directory, in the order of its index.
#[derive(Default)]
pub(in super::super) struct Listing {
    names: Vec<u8>,
    entries: Vec<ListedName>,
    /// What could not be read, if the listing is not whole.
    pub(in super::super) damage: Option<String>,
}

/// One name; it begins where the one before ends.
#[derive(Clone, Copy)]
struct ListedName {
    reference: FileReference,
    name_end: u32,
    is_directory: bool,
}

impl Listing {
    /// What the listing takes in memory.
    pub(in super::super) fn memory(&self) -> u64 {
        let entries = self.entries.len().saturating_mul(size_of::<ListedName>());
        byte_count(entries.saturating_add(self.names.len()).saturating_add(size_of::<Self>()))
    }

    pub(in super::super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// The name, the record and the kind of entry `index`.
    pub(in super::super) fn get(&self, index: usize) -> Option<(&[u8], FileReference, bool)> {
        let entry = self.entries.get(index)?;
        let start = match index.checked_sub(1) {
            Some(before) => self.entries.get(before)?.name_end,
            None => 0,
        };
        let range = usize::try_from(start).ok()?..usize::try_from(entry.name_end).ok()?;
        let name = self.names.get(range)?;
        Some((name, entry.reference, entry.is_directory))
    }

    /// Adds the name of `entry`, if it is shown. A name that cannot be is damage.
    fn take(
        &mut self,
        entry: &Entry<'_>,
        position: u64,
        is_shown: &impl Fn(FileReference) -> bool,
    ) -> FsResult<()> {
        let key = match Key::parse(entry.key, position) {
            Ok(key) => key,
            Err(error) => {
                self.damaged(&error);
                return Ok(());
            }
        };
        if key.name_space == DOS_NAME_SPACE || !is_shown(entry.reference) {
            return Ok(());
        }
        wtf8::encode_to(wtf8::units_le(key.name), &mut self.names);
        if self.entries.len() >= MAX_NAMES || self.names.len() > MAX_NAME_BYTES {
            return Err(FsError::unsupported("directory has too many names"));
        }
        self.entries.push(ListedName {
            reference: entry.reference,
            name_end: u32::try_from(self.names.len()).unwrap_or(u32::MAX),
            is_directory: key.is_directory,
        });
        Ok(())
    }

    fn damaged(&mut self, error: &FsError) {
        self.damage.get_or_insert_with(|| error.to_string());
    }
}
