//! Where the clusters of a volume lie.

use std::ops::Range;

use crate::error::{FsError, FsResult};

/// The clusters of a volume, which are numbered from 2 on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ClusterHeap {
    /// The position of cluster 2.
    pub(crate) start: u64,
    /// Bytes of a cluster, not 0.
    pub(crate) cluster_size: u32,
    /// How many clusters there are, below 2^32 - 2.
    pub(crate) clusters: u32,
}

impl ClusterHeap {
    /// The number after that of the last cluster which begins within `size` bytes.
    pub(crate) fn end_within(&self, size: u64) -> u64 {
        let there = size.saturating_sub(self.start).div_ceil(self.cluster_size.max(1).into());
        there.saturating_add(2).min(self.all_clusters().end.into())
    }

    /// The numbers of the clusters of the volume.
    pub(crate) fn all_clusters(&self) -> Range<u32> {
        2..self.clusters.saturating_add(2)
    }

    /// Whether `cluster` is one of the volume.
    pub(crate) fn has_cluster(&self, cluster: u32) -> bool {
        self.all_clusters().contains(&cluster)
    }

    /// The position of `cluster`.
    ///
    /// # Errors
    /// `Corrupt` if it has none.
    pub(crate) fn position(&self, cluster: u32) -> FsResult<u64> {
        let index = cluster.checked_sub(2).map(u64::from);
        index
            .and_then(|index| index.checked_mul(u64::from(self.cluster_size)))
            .and_then(|offset| self.start.checked_add(offset))
            .ok_or_else(|| FsError::corrupt("cluster lies outside the volume"))
    }

    /// The number of the cluster at `position`.
    pub(crate) fn cluster_at(&self, position: u64) -> Option<u32> {
        let index = position.checked_sub(self.start)?.checked_div(self.cluster_size.into())?;
        u32::try_from(index).ok()?.checked_add(2)
    }
}
