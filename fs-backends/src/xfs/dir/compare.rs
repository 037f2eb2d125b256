//! Names of a directory against its hash index.
//!
//! Version 4 has no checksums. There the index is the one other record of the names: a name has an
//! entry with its hash and its place, and each entry has its name.

use std::ops::ControlFlow;

use super::block;
use super::{Directory, SPACE, Source, Walk, Walked};
use crate::error::{FsError, FsErrorKind, FsResult};
use crate::extents::Extents;
use crate::xfs::hash_tree::{BlockKind, LeafAnswer};

/// LIMIT: names that are compared, 32 MiB of them; larger directories are not.
const MAX_NAMES: usize = 1 << 20;
/// Places in the index have units of 8 bytes.
const UNIT: u64 = 8;

/// Hashes and places of names.
type Places = Vec<(u32, u64)>;

impl Directory<'_> {
    /// Whether names and index are the same, as far as both are readable; they are where there is no
    /// index, where there are too many names, and where checksums say that neither is damaged.
    ///
    /// # Errors
    /// If the host cannot read.
    pub(in super::super) fn agrees_with_index(&self) -> FsResult<bool> {
        let Source::Blocks(map) = &self.source else { return Ok(true) };
        if self.volume.superblock.features.is_v5 {
            return Ok(true);
        }
        if let Some(agrees) = map.agrees.get() {
            return Ok(*agrees);
        }
        let agrees = self.compare(&map.extents)?;
        Ok(*map.agrees.get_or_init(|| agrees))
    }

    fn compare(&self, extents: &Extents) -> FsResult<bool> {
        let Some(names) = self.all_names(extents)? else { return Ok(true) };
        let indexed = match self.all_indexed(extents) {
            Ok(indexed) => indexed,
            Err(error) if error.kind() == FsErrorKind::Corrupt => return Ok(false),
            Err(error) => return Err(error),
        };
        let Some(mut indexed) = indexed else { return Ok(true) };
        indexed.sort_unstable_by_key(|&(hash, place)| (place, hash));
        Ok(names == indexed)
    }

    /// The names in order of their places; `None` if they are too many or not all readable, which a
    /// listing tells.
    fn all_names(&self, extents: &Extents) -> FsResult<Option<Places>> {
        let mut names = Places::new();
        let mut walk = Walk { directory: self, from: 0, damaged: 0, with_own: true };
        let walked = walk.blocks(extents, &mut |entry| {
            names.push((self.rule.hash(entry.name), entry.position));
            let is_full = names.len() > MAX_NAMES;
            Ok(if is_full { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        })?;
        Ok((walked == Walked::ToTheEnd { damaged: false }).then_some(names))
    }

    /// The entries of the index; `None` if they are too many.
    fn all_indexed(&self, extents: &Extents) -> FsResult<Option<Places>> {
        if extents.end() <= SPACE {
            return self.indexed_in_block(extents).map(Some);
        }
        let mut indexed = Places::new();
        let out_of_order = || FsError::corrupt("hash tree of a directory is out of order");
        let mut last = 0;
        let full = self.tree(extents).find(0, |leaf| {
            if leaf.kind != BlockKind::DirectoryLeaf {
                return Err(out_of_order());
            }
            for index in 0..usize::from(leaf.count) {
                let (hash, place) = leaf.node_entry(index).ok_or_else(out_of_order)?;
                if hash < last {
                    return Err(out_of_order());
                }
                last = hash;
                if place != 0 {
                    indexed.push((hash, u64::from(place).saturating_mul(UNIT)));
                }
            }
            Ok(if indexed.len() > MAX_NAMES { LeafAnswer::Found(()) } else { LeafAnswer::GoOn })
        })?;
        Ok(full.is_none().then_some(indexed))
    }

    /// The entries of the index at the end of the one block of a directory.
    fn indexed_in_block(&self, extents: &Extents) -> FsResult<Places> {
        let mut bytes = crate::xfs::volume::Volume::buffer(self.block_size())?;
        extents.read(&*self.volume.reader().metadata, 0, &mut bytes)?;
        let entries = block::index(&bytes);
        let entries = entries.ok_or_else(|| FsError::corrupt("directory has an invalid index"))?;
        let in_order = entries.array_windows().all(|[one, next]| one.0 <= next.0);
        if !in_order {
            return Err(FsError::corrupt("index of a directory is out of order"));
        }
        let used = entries.into_iter().filter(|&(_, place)| place != 0);
        Ok(used.map(|(hash, place)| (hash, u64::from(place).saturating_mul(UNIT))).collect())
    }
}
