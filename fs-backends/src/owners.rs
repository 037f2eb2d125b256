//! Who has each cluster of a volume: a file that is there, one that was deleted, or several of these.

use std::ops::Range;

use volfold_block::bytes_to_index;

use crate::error::{FsError, FsResult};

/// LIMIT: clusters of a volume, three bits each, in pages that the host gives when they are touched.
const MAX_CLUSTERS: u64 = 1 << 33;
/// LIMIT: words of 64 clusters that are looked at for all files together: each of the volume this often, and as many
/// more.
const ROUNDS: u64 = 16;
const MORE: u64 = 1 << 24;

/// Who has the clusters `0..count` of a volume.
pub(super) struct Owners {
    /// In use.
    used: Vec<u64>,
    /// Of one deleted file at least.
    once: Vec<u64>,
    /// Of more.
    twice: Vec<u64>,
    count: u64,
    budget: u64,
}

impl Owners {
    /// Nobody has any.
    ///
    /// # Errors
    /// `Unsupported` if there are too many.
    pub(super) fn new(count: u64) -> FsResult<Self> {
        if count > MAX_CLUSTERS {
            return Err(FsError::unsupported("volume has more clusters than are compared"));
        }
        let words = count.div_ceil(64);
        let budget = words.saturating_mul(ROUNDS).saturating_add(MORE);
        let words = bytes_to_index(words)?;
        // Not copies, of which every page would be there at once.
        let [used, once, twice] = [vec![0; words], vec![0; words], vec![0; words]];
        Ok(Self { used, once, twice, count, budget })
    }

    /// How many clusters the volume has.
    #[cfg(feature = "ntfs")]
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// The words of `clusters`, as far as the volume has them, each with its bits.
    fn words(
        &mut self,
        clusters: &Range<u64>,
    ) -> FsResult<impl Iterator<Item = (usize, u64)> + use<>> {
        let (start, end) = (clusters.start, clusters.end.min(self.count));
        let words = start / 64..if start < end { end.div_ceil(64) } else { start / 64 };
        let looks = words.end.saturating_sub(words.start);
        self.budget = self.budget.checked_sub(looks).ok_or_else(too_many_clusters)?;
        Ok(words.filter_map(move |word| {
            let first = word.saturating_mul(64);
            let skip = u32::try_from(start.saturating_sub(first)).ok()?;
            let cut = first.saturating_add(64).saturating_sub(end);
            let mask =
                u64::MAX.checked_shl(skip)? & u64::MAX.checked_shr(u32::try_from(cut).ok()?)?;
            Some((usize::try_from(word).ok()?, mask))
        }))
    }

    /// Gives `clusters` to a file that is there.
    ///
    /// # Errors
    /// `Unsupported` where the files have too many clusters together.
    pub(super) fn take(&mut self, clusters: &Range<u64>) -> FsResult<()> {
        for (index, mask) in self.words(clusters)? {
            if let Some(word) = self.used.get_mut(index) {
                *word |= mask;
            }
        }
        Ok(())
    }

    /// Says that the bits of `word`, the clusters from `word * 64` on, are in use.
    pub(super) fn take_word(&mut self, word: u64, bits: u64) {
        let word = usize::try_from(word).ok().and_then(|word| self.used.get_mut(word));
        if let Some(word) = word {
            *word |= bits;
        }
    }

    /// Gives `clusters` to a deleted file.
    ///
    /// # Errors
    /// As [`Self::take`].
    pub(super) fn take_deleted(&mut self, clusters: &Range<u64>) -> FsResult<()> {
        for (index, mask) in self.words(clusters)? {
            if let (Some(once), Some(twice)) = (self.once.get_mut(index), self.twice.get_mut(index))
            {
                *twice |= *once & mask;
                *once |= mask;
            }
        }
        Ok(())
    }

    /// Whether one deleted file had `clusters`, which are all there, and nobody else.
    ///
    /// # Errors
    /// As [`Self::take`].
    pub(super) fn are_of_one(&mut self, clusters: &Range<u64>) -> FsResult<bool> {
        if clusters.end > self.count {
            return Ok(false);
        }
        let mut words = self.words(clusters)?;
        let get = |words: &[u64], index: usize| words.get(index).copied().unwrap_or(u64::MAX);
        Ok(words
            .all(|(index, mask)| (get(&self.used, index) | get(&self.twice, index)) & mask == 0))
    }
}

/// Why files are not compared with each other.
pub(super) fn too_many_clusters() -> FsError {
    FsError::unsupported("files of the volume have too many clusters to be compared")
}

/// The clusters of `size` bytes that the bytes `place` lie in.
pub(super) fn clusters_of(place: &Range<u64>, size: u64) -> Range<u64> {
    let first = place.start.checked_div(size).unwrap_or(u64::MAX);
    let end = place.end.saturating_add(size.saturating_sub(1)).checked_div(size);
    first..end.unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clusters_are_of_one_if_nobody_else_has_them() {
        let mut owners = Owners::new(1000).unwrap();
        owners.take(&(100..200)).unwrap();
        for deleted in [10..20, 15..16, 190..210, 300..700, 650..660, 990..1000] {
            owners.take_deleted(&deleted).unwrap();
        }
        for (clusters, wanted) in [
            (10..15, true),
            (10..16, false),
            (16..20, true),
            (190..210, false),
            (200..210, true),
            (300..650, true),
            (300..651, false),
            (660..700, true),
            (990..1000, true),
            (990..1001, false),
            (5..5, true),
        ] {
            assert_eq!(owners.are_of_one(&clusters).unwrap(), wanted, "{clusters:?}");
        }
        owners.take_word(15, 1 << 35);
        assert!(!owners.are_of_one(&(990..1000)).unwrap(), "960 + 35");
    }

    #[test]
    fn work_has_an_end() {
        let mut owners = Owners::new(1 << 20).unwrap();
        let all = 0..u64::MAX;
        let error = (0..10_000_u32).find_map(|_| owners.take_deleted(&all).err());
        assert_eq!(error.unwrap().kind(), crate::error::FsErrorKind::Unsupported);
        assert_eq!(clusters_of(&(4096..4097), 4096), 1..2);
    }
}
