//! Whose the clusters are that were met while the volume was read.
//!
//! A cluster belongs to one file or directory. The first that is met keeps it; for any other it is
//! a cross-link, and what comes from there on is refused. So no tree that a volume can show is
//! larger than the volume, whatever its directories say.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use parking_lot::Mutex;

use super::heap::ClusterHeap;
use super::set::ClusterSet;
use crate::error::FsResult;
use crate::extents::Extents;
use crate::node::NodeId;

/// LIMIT: chains whose owner is kept, some 48 MiB of them.
const MAX_OWNERS: usize = 1_800_000;
/// LIMIT: cross-links whose place is kept; more files with one are refused as a whole.
const MAX_CROSSED: usize = 65_536;

/// The clusters that were met.
pub(crate) struct Claims(Mutex<State>);

struct State {
    taken: ClusterSet,
    /// The owner of a chain by its first cluster.
    owners: HashMap<u32, Owner>,
    /// From which byte on the chain of a node is another's.
    crossed: HashMap<NodeId, u64>,
}

struct Owner {
    node: NodeId,
    /// The first cluster of the directory that names it; 0 is the root, which may have none.
    #[cfg_attr(
        not(feature = "fat"),
        expect(dead_code, reason = "only directories of FAT name their parents themselves")
    )]
    parent: Option<u32>,
    /// Its clusters are taken.
    is_met: bool,
}

/// How much of a chain is its node's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Claim {
    /// All of it.
    Whole,
    /// What comes before this byte.
    UpTo(u64),
    /// Nothing: it is the chain of another.
    Foreign,
    /// Nothing is known, as too many were met.
    TooMany,
}

impl Claims {
    /// Nothing was met yet.
    ///
    /// # Errors
    /// `Unsupported` if the host has no room for it.
    pub(crate) fn new(heap: &ClusterHeap) -> FsResult<Self> {
        Ok(Self(Mutex::new(State {
            taken: ClusterSet::new(heap)?,
            owners: HashMap::new(),
            crossed: HashMap::new(),
        })))
    }

    /// Notes that the directory beginning with `parent` has the directory `node`, whose chain
    /// begins with `first`. False if that chain is another's.
    pub(crate) fn name_directory(&self, node: NodeId, first: u32, parent: u32) -> bool {
        let owners = &mut self.0.lock().owners;
        if owners.len() >= MAX_OWNERS {
            return true;
        }
        let owner = Owner { node, parent: Some(parent), is_met: false };
        owners.entry(first).or_insert(owner).node == node
    }

    /// Gives the chain that begins with `first` to the directory `node`, if the one that was named
    /// before is in another directory and has not taken its clusters.
    #[cfg(feature = "fat")]
    pub(crate) fn rename_directory(&self, node: NodeId, first: u32, parent: u32) -> bool {
        match self.0.lock().owners.get_mut(&first) {
            Some(owner) if !owner.is_met && owner.parent.is_some_and(|old| old != parent) => {
                *owner = Owner { node, parent: Some(parent), is_met: false };
                true
            }
            _ => false,
        }
    }

    /// The first cluster of the directory that names `node`, whose chain begins with `first`.
    #[cfg(feature = "fat")]
    pub(crate) fn parent_of(&self, node: NodeId, first: u32) -> Option<u32> {
        let state = self.0.lock();
        state.owners.get(&first).filter(|owner| owner.node == node)?.parent
    }

    /// Takes the clusters in `extents` for `node`, whose chain begins with `first`. The answer is
    /// the same each time.
    pub(crate) fn take(
        &self,
        heap: &ClusterHeap,
        node: NodeId,
        first: u32,
        extents: &Extents,
    ) -> Claim {
        let mut state = self.0.lock();
        let State { taken, owners, crossed } = &mut *state;
        let is_full = owners.len() >= MAX_OWNERS || taken.is_full();
        let owner = match owners.entry(first) {
            Entry::Occupied(owner) => owner.into_mut(),
            Entry::Vacant(_) if is_full => return Claim::TooMany,
            Entry::Vacant(place) => place.insert(Owner { node, parent: None, is_met: false }),
        };
        if owner.node != node {
            return Claim::Foreign;
        }
        if owner.is_met {
            return crossed.get(&node).copied().map_or(Claim::Whole, Claim::UpTo);
        }
        owner.is_met = true;
        match taken.take(heap, extents) {
            None if taken.is_full() => Claim::TooMany,
            None => Claim::Whole,
            Some(offset) if crossed.len() < MAX_CROSSED => {
                crossed.insert(node, offset);
                Claim::UpTo(offset)
            }
            Some(_) => {
                // Another owner than any node is for ever foreign.
                owner.node = NodeId(u64::MAX);
                Claim::Foreign
            }
        }
    }

    /// Whether chains may have been met that are not kept.
    pub(crate) fn is_full(&self) -> bool {
        let state = self.0.lock();
        state.owners.len() >= MAX_OWNERS || state.taken.is_full()
    }

    /// The clusters that were met.
    pub(crate) fn into_taken(self) -> ClusterSet {
        self.0.into_inner().taken
    }
}
