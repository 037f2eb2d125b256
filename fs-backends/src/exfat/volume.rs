//! A volume whose boot sector is known: follows chains, and reads the parts that the root names.

use volfold_block::{BlockDevice, bytes_to_index};

use super::boot::Boot;
use super::entry::Allocation;
use super::record::MAX_DIRECTORY;
use super::system::{System, SystemEntry};
use super::table::Table;
use super::upcase::{MAX_TABLE, Upcase};
use super::{checksum, region};
use crate::clusters::chain::{ChainEnd, Link, follow};
use crate::driver::VolumeReader;
use crate::error::{FsError, FsResult};
use crate::extents::{Extents, Place};
use crate::owners::too_many_clusters;

/// What every part of the driver reads through.
pub(super) struct Volume {
    pub(super) reader: VolumeReader,
    pub(super) boot: Boot,
}

/// The clusters of a file or directory as far as they are known.
pub(super) struct Clusters {
    pub(super) extents: Extents,
    pub(super) end: ChainEnd,
}

impl Volume {
    pub(super) fn open(reader: VolumeReader) -> FsResult<(Self, region::Found)> {
        let found = region::require(&*reader.metadata)?;
        Ok((Self { reader, boot: found.boot.clone() }, found))
    }

    /// The view for structures.
    pub(super) fn metadata(&self) -> &dyn BlockDevice {
        &*self.reader.metadata
    }

    /// A reader of the table.
    pub(super) fn table(&self) -> Table<'_> {
        Table::new(self.metadata(), &self.boot)
    }

    /// The clusters of `allocation`, as far as the one that has the last of the `wanted` bytes.
    ///
    /// # Errors
    /// Why the table cannot be read.
    pub(super) fn clusters(&self, allocation: &Allocation, wanted: u64) -> FsResult<Clusters> {
        self.clusters_within(&mut { u64::MAX }, allocation, wanted)
    }

    /// The same, if no more than `links` of the table are followed, which it takes from that.
    ///
    /// # Errors
    /// As [`Self::clusters`]; `Unsupported` if there are more.
    pub(super) fn clusters_within(
        &self,
        links: &mut u64,
        allocation: &Allocation,
        wanted: u64,
    ) -> FsResult<Clusters> {
        if allocation.is_contiguous {
            return self.contiguous(allocation.first_cluster, wanted);
        }
        let mut table = self.table();
        let first = allocation.first_cluster;
        let (extents, end) = follow(&self.boot.heap, first, wanted, |cluster| {
            *links = links.checked_sub(1).ok_or_else(too_many_clusters)?;
            table.next(cluster)
        })?;
        Ok(Clusters { extents, end })
    }

    /// The clusters from `first` on that have the `wanted` bytes, as far as there are any.
    fn contiguous(&self, first: u32, wanted: u64) -> FsResult<Clusters> {
        let heap = &self.boot.heap;
        let size = u64::from(heap.cluster_size);
        let mut extents = Extents::default();
        if !heap.has_cluster(first) {
            return Ok(Clusters { extents, end: ChainEnd::Outside });
        }
        let there = u64::from(heap.all_clusters().end.saturating_sub(first));
        let count = wanted.div_ceil(size);
        extents.push(Place::At(heap.position(first)?), count.min(there).saturating_mul(size))?;
        let end = if count > there { ChainEnd::Outside } else { ChainEnd::Whole(Link::End) };
        Ok(Clusters { extents, end })
    }

    /// The clusters of the root directory, which has no length.
    ///
    /// # Errors
    /// Why the table cannot be read.
    pub(super) fn root(&self) -> FsResult<Clusters> {
        let allocation = Allocation {
            is_possible: true,
            is_contiguous: false,
            first_cluster: self.boot.root_cluster,
            length: MAX_DIRECTORY,
        };
        self.clusters(&allocation, MAX_DIRECTORY)
    }

    /// What the root directory says of the volume.
    ///
    /// # Errors
    /// Why it cannot be read.
    pub(super) fn system(&self) -> FsResult<System> {
        System::read(self.metadata(), &self.root()?.extents)
    }

    /// The clusters of a part of the volume, which have all its bytes.
    ///
    /// # Errors
    /// `Corrupt` if they do not; why the table cannot be read.
    pub(super) fn part(&self, entry: &SystemEntry) -> FsResult<Extents> {
        let length = entry.allocation.length;
        let clusters = self.clusters(&entry.allocation, length)?;
        match clusters.end {
            ChainEnd::Whole(_) => Ok(clusters.extents),
            end => {
                let fault = end.fault().unwrap_or("ends");
                let stored = clusters.extents.end();
                let line = format!("its cluster chain {fault} after {stored} of {length} bytes");
                Err(FsError::corrupt(line))
            }
        }
    }

    /// The up-case table.
    ///
    /// # Errors
    /// `Corrupt` if it is not what its entry says; why it cannot be read.
    pub(super) fn upcase(&self, entry: &SystemEntry) -> FsResult<Upcase> {
        let length = entry.allocation.length;
        if length == 0 || length > MAX_TABLE {
            return Err(FsError::corrupt(format!("it has {length} bytes")));
        }
        let mut bytes = vec![0; bytes_to_index(length)?];
        self.part(entry)?.read(self.metadata(), 0, &mut bytes)?;
        if checksum::of_table(&bytes) != entry.checksum {
            return Err(FsError::corrupt("it has a bad checksum"));
        }
        Upcase::parse(&bytes)
    }
}
