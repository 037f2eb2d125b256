//! Cluster chains of FAT: what the two tables say of them, and that of the root directory.

use volfold_block::BlockDevice;

use super::boot::{Boot, Root};
use super::dir::MAX_DIRECTORY;
use super::table::{Compared, Table};
use crate::clusters::chain::{ChainEnd, Link, follow};
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
        let mut table = Table::both(device, self, compared);
        let (extents, end) = follow(&self.heap(), first, wanted, |cluster| table.next(cluster))?;
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
        if !self.heap().has_cluster(first) {
            return Err(FsError::corrupt("directory begins outside the volume"));
        }
        self.follow(device, compared, first, MAX_DIRECTORY)
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
