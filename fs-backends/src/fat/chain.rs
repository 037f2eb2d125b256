//! Cluster chains: the clusters of a file or directory, one after the other.

use volfold_block::{BlockDevice, bytes_to_index};

use super::boot::{Boot, Root};
use super::dir::MAX_DIRECTORY;
use super::table::{Compared, Link, Table};
use crate::error::{FsError, FsResult};
use crate::extents::{Extents, Place};

/// A chain as far as it can be followed.
pub(super) struct Chain {
    pub(super) extents: Extents,
    pub(super) end: ChainEnd,
    /// The first cluster whose entries in the two tables differ.
    pub(super) differing: Option<u32>,
    /// Where the table could not be read, so that the other was taken.
    pub(super) replaced: Option<u64>,
}

/// Why a chain was followed no further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ChainEnd {
    /// It has all the bytes wanted, and this comes after them.
    Whole(Link),
    /// It ends before, with this: never `Next`.
    Short(Link),
    /// It comes back to a cluster that it has already.
    Looped,
}

impl ChainEnd {
    /// What is wrong with it, for messages; `None` if it is an end mark.
    pub(super) fn fault(self) -> Option<&'static str> {
        match self {
            Self::Whole(Link::End) | Self::Short(Link::End) => None,
            Self::Whole(Link::Next(_)) | Self::Short(Link::Next(_)) => Some("goes on"),
            Self::Whole(Link::Broken) | Self::Short(Link::Broken) => Some("has no end mark"),
            Self::Whole(Link::Doubtful) | Self::Short(Link::Doubtful) => {
                Some("goes on differently in the two tables")
            }
            Self::Looped => Some("has a loop"),
        }
    }
}

impl Boot {
    /// The chain that begins with `first`, as far as the cluster that has the last of the `wanted`
    /// bytes.
    ///
    /// # Errors
    /// Why the table cannot be read.
    pub(super) fn follow(
        &self,
        device: &dyn BlockDevice,
        compared: &Compared,
        first: u32,
        wanted: u64,
    ) -> FsResult<Chain> {
        let size = u64::from(self.cluster_size);
        let mut table = Table::both(device, self, compared);
        let mut extents = Extents::default();
        let mut link = if self.has_cluster(first) { Link::Next(first) } else { Link::Broken };
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
            extents.push(Place::At(self.position(cluster)?), size)?;
            link = table.next(cluster)?;
        }
        let mut end = end.unwrap_or(ChainEnd::Whole(link));
        if end == ChainEnd::Looped || extents.has_overlap() {
            end = ChainEnd::Looped;
            self.cut_repeats(&mut extents)?;
        }
        let (differing, replaced) = (table.differing, table.replaced);
        Ok(Chain { extents, end, differing, replaced })
    }

    /// The chain of a directory that begins with `first`, as far as [`MAX_DIRECTORY`].
    ///
    /// # Errors
    /// `Corrupt` if there is no first cluster; why the table cannot be read.
    pub(super) fn follow_directory(
        &self,
        device: &dyn BlockDevice,
        compared: &Compared,
        first: u32,
    ) -> FsResult<Chain> {
        if !self.has_cluster(first) {
            return Err(FsError::corrupt("directory begins outside the volume"));
        }
        self.follow(device, compared, first, MAX_DIRECTORY)
    }

    /// Cuts `extents` off before the first cluster that it has twice.
    fn cut_repeats(&self, extents: &mut Extents) -> FsResult<()> {
        let mut seen = ClusterSet::new(self)?;
        if let Some(end) = seen.take(self, extents) {
            extents.truncate(end);
        }
        Ok(())
    }

    /// The number of the cluster at `position`.
    pub(super) fn cluster_at(&self, position: u64) -> Option<u32> {
        let index = position.checked_sub(self.data)?.checked_div(self.cluster_size.into())?;
        u32::try_from(index).ok()?.checked_add(2)
    }
}

/// A set of clusters, a bit for each of the volume.
pub(super) struct ClusterSet(Vec<u64>);

impl ClusterSet {
    /// The empty set.
    ///
    /// # Errors
    /// `Unsupported` if the host has no room for it.
    pub(super) fn new(boot: &Boot) -> FsResult<Self> {
        // LIMIT: 2^28 clusters, 32 MiB. The host gives the pages when they are touched.
        let words = u64::from(boot.clusters).saturating_add(2).div_ceil(64);
        Ok(Self(vec![0; bytes_to_index(words)?]))
    }

    /// Adds the clusters of `extents` up to the first that is in the set already, and says at which
    /// byte of `extents` that begins.
    pub(super) fn take(&mut self, boot: &Boot, extents: &Extents) -> Option<u64> {
        let mut offset: u64 = 0;
        while let Some((place, length)) = extents.at(offset) {
            let first = place.offset().and_then(|position| boot.cluster_at(position));
            let Some(first) = first else {
                offset = offset.saturating_add(length);
                continue;
            };
            let count = length.checked_div(boot.cluster_size.into()).unwrap_or(0);
            for step in 0..u32::try_from(count).unwrap_or(u32::MAX) {
                if !self.insert(first.saturating_add(step)) {
                    let inside = u64::from(step).saturating_mul(boot.cluster_size.into());
                    return Some(offset.saturating_add(inside));
                }
            }
            offset = offset.saturating_add(length);
        }
        None
    }

    /// Adds `cluster`; whether it is new.
    pub(super) fn insert(&mut self, cluster: u32) -> bool {
        let bit = 1_u64.rotate_left(cluster);
        let word = usize::try_from(cluster / 64).ok().and_then(|word| self.0.get_mut(word));
        let Some(word) = word else { return true };
        let is_new = *word & bit == 0;
        *word |= bit;
        is_new
    }

    /// Whether `cluster` is in the set.
    pub(super) fn has(&self, cluster: u32) -> bool {
        let word = usize::try_from(cluster / 64).ok().and_then(|word| self.0.get(word));
        word.is_some_and(|word| word & 1_u64.rotate_left(cluster) != 0)
    }
}

/// The chain of the root directory.
pub(super) fn root_directory(
    device: &dyn BlockDevice,
    boot: &Boot,
    compared: &Compared,
) -> FsResult<Chain> {
    match boot.root {
        Root::Fixed { position, length } => {
            let mut extents = Extents::default();
            extents.push(Place::At(position), length)?;
            let end = ChainEnd::Whole(Link::End);
            Ok(Chain { extents, end, differing: None, replaced: None })
        }
        Root::Chain(first) => boot.follow_directory(device, compared, first),
    }
}
