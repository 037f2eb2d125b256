//! Sets of clusters: a bit for each, in pages that are made when they are needed.

use super::heap::ClusterHeap;
use crate::error::FsResult;
use crate::extents::Extents;
use volfold_block::bytes_to_index;

/// Words of 64 clusters in a page, and its clusters.
const PAGE: usize = 512;
const PAGE_CLUSTERS: u64 = 512 * 64;
/// LIMIT: 32 MiB of pages, which hold all 2^28 clusters that a FAT32 has at most.
const MAX_PAGES: usize = 8192;

/// Some clusters that follow each other.
#[derive(Clone)]
enum Page {
    /// None of them is in the set.
    Empty,
    /// All of them are, by one run.
    Full,
    Bits(Box<[u64; PAGE]>),
}

/// A set of clusters of one volume.
pub(crate) struct ClusterSet {
    pages: Vec<Page>,
    made: usize,
    is_full: bool,
}

impl ClusterSet {
    /// The empty set.
    ///
    /// # Errors
    /// `Unsupported` if the host has no room for it.
    pub(crate) fn new(heap: &ClusterHeap) -> FsResult<Self> {
        // LIMIT: 2^32 clusters, 2 MiB of places for pages.
        let words = u64::from(heap.clusters).saturating_add(2).div_ceil(64);
        let pages = bytes_to_index(words)?.div_ceil(PAGE);
        Ok(Self { pages: vec![Page::Empty; pages], made: 0, is_full: false })
    }

    /// Whether clusters may have been added that are not remembered.
    pub(crate) fn is_full(&self) -> bool {
        self.is_full
    }

    /// Adds the clusters of `extents` up to the first that is in the set already, and says at which
    /// byte of `extents` that begins.
    pub(crate) fn take(&mut self, heap: &ClusterHeap, extents: &Extents) -> Option<u64> {
        let size = u64::from(heap.cluster_size);
        let mut offset: u64 = 0;
        while let Some((place, length)) = extents.at(offset) {
            let first = place.offset().and_then(|position| heap.cluster_at(position));
            let count = length.checked_div(size).unwrap_or(0);
            if let Some(step) = first.and_then(|first| self.take_run(first.into(), count)) {
                return Some(offset.saturating_add(step.saturating_mul(size)));
            }
            offset = offset.saturating_add(length);
        }
        None
    }

    /// Adds `count` clusters from `first` on, up to the first that is in the set already; how many
    /// come before that.
    fn take_run(&mut self, first: u64, count: u64) -> Option<u64> {
        let (mut cluster, end) = (first, first.saturating_add(count));
        while cluster < end {
            let is_whole = cluster.is_multiple_of(PAGE_CLUSTERS)
                && end.saturating_sub(cluster) >= PAGE_CLUSTERS;
            match self.page_mut(cluster / PAGE_CLUSTERS) {
                Some(Page::Full) => return Some(cluster.saturating_sub(first)),
                Some(page @ Page::Empty) if is_whole => {
                    *page = Page::Full;
                    cluster = cluster.saturating_add(PAGE_CLUSTERS);
                    continue;
                }
                _ => {}
            }
            let skipped = cluster % 64;
            let length = 64_u64.saturating_sub(skipped).min(end.saturating_sub(cluster));
            let (skip, cut) =
                (u32::try_from(skipped).ok()?, u32::try_from(64_u64.saturating_sub(length)).ok()?);
            let mask = u64::MAX.checked_shr(cut).unwrap_or(0).rotate_left(skip);
            if let Some(word) = self.word_mut(cluster / 64) {
                let met = *word & mask;
                if met != 0 {
                    let step = met.trailing_zeros();
                    *word |= mask & u64::MAX.checked_shl(step).map_or(0, |later| !later);
                    let there = cluster.saturating_sub(skipped).saturating_add(u64::from(step));
                    return Some(there.saturating_sub(first));
                }
                *word |= mask;
            }
            cluster = cluster.saturating_add(length);
        }
        None
    }

    fn page_mut(&mut self, number: u64) -> Option<&mut Page> {
        self.pages.get_mut(usize::try_from(number).ok()?)
    }

    /// The word with this number, in a page that is made if there is room.
    fn word_mut(&mut self, number: u64) -> Option<&mut u64> {
        let number = usize::try_from(number).ok()?;
        let page = self.pages.get_mut(number / PAGE)?;
        if matches!(page, Page::Empty) {
            if self.made >= MAX_PAGES {
                self.is_full = true;
                return None;
            }
            self.made = self.made.saturating_add(1);
            *page = Page::Bits(Box::new([0; PAGE]));
        }
        match page {
            Page::Bits(words) => words.get_mut(number % PAGE),
            _ => None,
        }
    }

    /// Whether `cluster` is in the set.
    pub(crate) fn has(&self, cluster: u32) -> bool {
        let number = usize::try_from(cluster / 64).unwrap_or(usize::MAX);
        match self.pages.get(number / PAGE) {
            None | Some(Page::Empty) => false,
            Some(Page::Full) => true,
            Some(Page::Bits(words)) => {
                let word = words.get(number % PAGE).copied().unwrap_or(0);
                word & 1_u64.rotate_left(cluster) != 0
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::extents::Place;

    #[test]
    fn a_run_is_taken_up_to_the_first_cluster_that_is_another_s() {
        let heap = ClusterHeap { start: 0, cluster_size: 512, clusters: 100_000 };
        let run = |first: u32, count: u64| {
            let mut extents = Extents::default();
            extents.push(Place::At(heap.position(first).unwrap()), count * 512).unwrap();
            extents
        };
        let mut set = ClusterSet::new(&heap).unwrap();
        assert_eq!(set.take(&heap, &run(70, 40_000)), None);
        for (first, count, there) in
            [(2, 100, Some(68)), (64, 6, Some(0)), (50_000, 1, None), (40_060, 9, Some(0))]
        {
            assert_eq!(set.take(&heap, &run(first, count)), there.map(|step: u64| step * 512));
        }
        let (inside, outside) = ([2, 69, 70, 40_069, 50_000], [1, 40_070, 49_999, 50_001, 99_999]);
        assert!(inside.into_iter().all(|cluster| set.has(cluster)));
        assert!(!outside.into_iter().any(|cluster| set.has(cluster)));
        // One by one, the same.
        let mut single = ClusterSet::new(&heap).unwrap();
        for cluster in 3..200 {
            assert_eq!(single.take(&heap, &run(cluster, 1)), None);
        }
        for cluster in 0..300 {
            assert_eq!(single.has(cluster), (3..200).contains(&cluster), "{cluster}");
        }
        assert_eq!(single.take(&heap, &run(2, 700)), Some(512));
        assert!(single.has(2) && !single.is_full());
    }

    #[test]
    fn a_long_run_needs_no_pages_of_its_own() {
        let clusters = u32::MAX - 11;
        let heap = ClusterHeap { start: 0, cluster_size: 512, clusters };
        let mut set = ClusterSet::new(&heap).unwrap();
        let mut all = Extents::default();
        all.push(Place::At(heap.position(3).unwrap()), u64::from(clusters - 1) * 512).unwrap();
        assert_eq!(set.take(&heap, &all), None);
        assert_eq!((set.made, set.is_full()), (2, false));
        for (cluster, is_in) in [(2, false), (3, true), (1 << 20, true), (clusters + 1, true)] {
            assert_eq!(set.has(cluster), is_in, "{cluster}");
        }
        let mut later = Extents::default();
        later.push(Place::At(heap.position(1 << 20).unwrap()), 512).unwrap();
        assert_eq!(set.take(&heap, &later), Some(0));
        // One cluster in each of more pages than there is room for.
        let mut many = ClusterSet::new(&heap).unwrap();
        for page in 0..=u64::try_from(MAX_PAGES).unwrap() {
            assert!(!many.is_full());
            assert_eq!(many.take_run(page * PAGE_CLUSTERS + 5, 1), None);
        }
        assert!(many.is_full());
    }
}
