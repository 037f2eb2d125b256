//! The names of a directory by their hash.

use std::hash::{DefaultHasher, Hash, Hasher};

/// Names in the form in which they compare, each with the index of its entry.
#[derive(Default)]
pub(crate) struct NameIndex {
    /// Hashes with indices; sorted once it is finished.
    hashes: Vec<(u32, u32)>,
}

impl NameIndex {
    /// Adds the name `units` of the entry `index`; the same name of the same entry counts once.
    pub(crate) fn add(&mut self, units: &[u16], index: u32) {
        let key = (hash(units), index);
        if self.hashes.last() != Some(&key) {
            self.hashes.push(key);
        }
    }

    /// Makes it ready for [`Self::candidates`].
    pub(crate) fn finish(&mut self) {
        self.hashes.sort_unstable();
        self.hashes.shrink_to_fit();
    }

    /// The entries that may have the name `units`, in their order.
    pub(crate) fn candidates(&self, units: &[u16]) -> impl Iterator<Item = usize> {
        let key = hash(units);
        let start = self.hashes.partition_point(|(hash, _)| *hash < key);
        let later = self.hashes.get(start..).unwrap_or_default();
        later
            .iter()
            .take_while(move |(hash, _)| *hash == key)
            .filter_map(|(_, index)| usize::try_from(*index).ok())
    }

    /// The indices of entries whose names have the same hash as the one before.
    pub(crate) fn doubles(&self) -> impl Iterator<Item = (usize, usize)> {
        let same = self.hashes.array_windows().filter(|[one, other]| one.0 == other.0);
        same.filter_map(|[one, other]| {
            Some((usize::try_from(one.1).ok()?, usize::try_from(other.1).ok()?))
        })
    }
}

fn hash(units: &[u16]) -> u32 {
    let mut hasher = DefaultHasher::new();
    units.hash(&mut hasher);
    u32::try_from(hasher.finish() >> 32).unwrap_or_default()
}
