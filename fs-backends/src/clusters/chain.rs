//! Cluster chains: the clusters of a file or directory, one after the other.

use super::heap::ClusterHeap;
use super::set::ClusterSet;
use crate::error::FsResult;
use crate::extents::{Extents, Place};

/// What follows a cluster in its chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Link {
    Next(u32),
    End,
    /// Free, bad, reserved, outside the volume, or the cluster itself.
    Broken,
    /// Two tables say different things, and each of them may be.
    #[cfg_attr(not(feature = "fat"), expect(dead_code, reason = "FAT alone has tables that agree"))]
    Doubtful,
}

/// Why a chain was followed no further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ChainEnd {
    /// It has all the bytes wanted, and this comes after them.
    Whole(Link),
    /// It ends before, with this: never `Next`.
    Short(Link),
    /// It comes back to a cluster that it has already.
    Looped,
    /// It ends before, where the clusters of the volume do.
    #[cfg(feature = "exfat")]
    Outside,
}

impl ChainEnd {
    /// What is wrong with it, for messages; `None` if it is an end mark.
    pub(crate) fn fault(self) -> Option<&'static str> {
        match self {
            Self::Whole(Link::End) | Self::Short(Link::End) => None,
            Self::Whole(Link::Next(_)) | Self::Short(Link::Next(_)) => Some("goes on"),
            Self::Whole(Link::Broken) | Self::Short(Link::Broken) => Some("has no end mark"),
            Self::Whole(Link::Doubtful) | Self::Short(Link::Doubtful) => {
                Some("goes on differently in the two tables")
            }
            Self::Looped => Some("has a loop"),
            #[cfg(feature = "exfat")]
            Self::Outside => Some("leaves the volume"),
        }
    }
}

/// The chain that begins with `first`, as far as the cluster that has the last of the `wanted` bytes;
/// `next` says what follows a cluster of the heap.
///
/// # Errors
/// What `next` says.
pub(crate) fn follow(
    heap: &ClusterHeap,
    first: u32,
    wanted: u64,
    mut next: impl FnMut(u32) -> FsResult<Link>,
) -> FsResult<(Extents, ChainEnd)> {
    let size = u64::from(heap.cluster_size);
    let mut extents = Extents::default();
    let mut link = if heap.has_cluster(first) { Link::Next(first) } else { Link::Broken };
    // Brent's algorithm: a chain that meets itself comes back to a mark that moves to the
    // steps 1, 2, 4, 8... It ends a loop early; the check of the run list finds the rest.
    let (mut mark, mut steps, mut limit) = (0, 0_u32, 1_u32);
    let mut end = None;
    while extents.end() < wanted {
        let cluster = match link {
            Link::Next(cluster) => cluster,
            short => {
                end = Some(ChainEnd::Short(short));
                break;
            }
        };
        if cluster == mark {
            end = Some(ChainEnd::Looped);
            break;
        }
        steps = steps.saturating_add(1);
        if steps >= limit {
            mark = cluster;
            limit = limit.saturating_mul(2);
        }
        extents.push(Place::At(heap.position(cluster)?), size)?;
        link = next(cluster)?;
    }
    let mut end = end.unwrap_or(ChainEnd::Whole(link));
    if end == ChainEnd::Looped || extents.has_overlap() {
        end = ChainEnd::Looped;
        // Before the first cluster that it has twice.
        let mut seen = ClusterSet::new(heap)?;
        match seen.take(heap, &extents) {
            Some(repeated) => extents.truncate(repeated),
            None if seen.is_full() => extents.truncate(0),
            None => {}
        }
    }
    Ok((extents, end))
}
