//! The virtual disk: extents side by side, over the parent.

use std::sync::Arc;

use crate::format::vmdk::sparse::{Below, SparseExtent};
use volfold_block::{
    BlockDevice, BlockError, BlockErrorKind, BlockResult, Extent, ExtentKind, byte_count,
    bytes_to_index, check_range, data_to_the_end,
};

/// Where the bytes of an extent come from.
pub(super) enum Source {
    /// They stand in a file as they are, from `offset` on.
    Flat {
        /// The file.
        file: Arc<dyn BlockDevice>,
        /// Where the extent begins in it.
        offset: u64,
    },
    /// They stand in grains.
    Sparse(SparseExtent),
    /// They are zeros.
    Zero,
    /// The descriptor forbids them.
    NoAccess,
}

/// One extent in its place.
pub(super) struct DiskExtent {
    /// Where it begins on the disk.
    pub(super) start: u64,
    /// Its size on the disk.
    pub(super) size: u64,
    /// What messages call it; empty if it is the image itself.
    pub(super) name: String,
    pub(super) source: Source,
}

impl DiskExtent {
    /// Fills `buf` from `offset` of the extent.
    fn read(
        &self,
        offset: u64,
        buf: &mut [u8],
        parent: Option<&dyn BlockDevice>,
    ) -> BlockResult<()> {
        let result = match &self.source {
            Source::Flat { file, offset: at } => read_flat(&**file, at.saturating_add(offset), buf),
            Source::Sparse(extent) => {
                let end = offset.saturating_add(byte_count(buf.len()));
                if end > extent.size() {
                    let sentence = "sparse extent is smaller than its descriptor says";
                    Err(BlockError::corrupt(sentence, extent.size(), 0))
                } else {
                    extent.read(offset, buf, self.below(parent))
                }
            }
            Source::Zero => {
                buf.fill(0);
                Ok(())
            }
            Source::NoAccess => Err(BlockError::refused("is marked NOACCESS")),
        };
        result.map_err(|error| self.named(error))
    }

    /// The kind of the bytes at `offset` of the extent.
    fn extent_at(&self, offset: u64, parent: Option<&dyn BlockDevice>) -> BlockResult<Extent> {
        let rest = self.size.saturating_sub(offset);
        let result = match &self.source {
            Source::Flat { file, offset: at } => match at.checked_add(offset) {
                Some(at) if at < file.size() => file.extent_at(at),
                _ => data_to_the_end(offset, self.size),
            },
            Source::Sparse(extent) if offset < extent.size() => {
                extent.extent_at(offset, self.below(parent))
            }
            Source::Sparse(_) | Source::NoAccess => data_to_the_end(offset, self.size),
            Source::Zero => Ok(Extent { kind: ExtentKind::Zero, length: rest }),
        };
        let extent = result.map_err(|error| self.named(error))?;
        Ok(Extent { kind: extent.kind, length: extent.length.min(rest) })
    }

    /// As [`BlockDevice::will_need`], of the extent's own file.
    fn will_need(&self, offset: u64, length: u64) {
        match &self.source {
            Source::Flat { file, offset: at } => {
                file.will_need(at.saturating_add(offset), length);
            }
            Source::Sparse(extent) => extent.will_need(offset, length),
            Source::Zero | Source::NoAccess => {}
        }
    }

    fn below<'a>(&self, parent: Option<&'a dyn BlockDevice>) -> Below<'a> {
        Below { parent, start: self.start }
    }

    fn named(&self, error: BlockError) -> BlockError {
        if self.name.is_empty() {
            return error;
        }
        error.within(&self.name)
    }
}

fn read_flat(file: &dyn BlockDevice, at: u64, buf: &mut [u8]) -> BlockResult<()> {
    let end = at.saturating_add(byte_count(buf.len()));
    if end > file.size() {
        let sentence = "flat extent is cut short by the end of its file";
        return Err(BlockError::corrupt(sentence, file.size(), 0));
    }
    file.read_at(at, buf)
}

/// A VMDK's virtual disk.
pub(super) struct VmdkDisk {
    /// INVARIANT: none is empty, and they follow each other without gaps from 0 on.
    extents: Vec<DiskExtent>,
    size: u64,
    parent: Option<Arc<dyn BlockDevice>>,
}

impl VmdkDisk {
    /// The disk of `size` bytes that `extents` make up, over `parent`.
    pub(super) fn new(
        extents: Vec<DiskExtent>,
        size: u64,
        parent: Option<Arc<dyn BlockDevice>>,
    ) -> Self {
        Self { extents, size, parent }
    }

    /// The extent at `offset`, which is inside the disk.
    fn extent(&self, offset: u64) -> BlockResult<&DiskExtent> {
        let behind = self.extents.partition_point(|extent| extent.start <= offset);
        let extent = behind.checked_sub(1).and_then(|index| self.extents.get(index));
        extent.ok_or_else(|| {
            BlockError::new(BlockErrorKind::OutOfRange, "disk has no extent here").at(offset)
        })
    }
}

impl BlockDevice for VmdkDisk {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> BlockResult<()> {
        check_range(offset, buf.len(), self.size)?;
        let mut rest = buf;
        let mut position = offset;
        while !rest.is_empty() {
            let extent = self.extent(position)?;
            let within = position.saturating_sub(extent.start);
            let length = extent.size.saturating_sub(within).min(byte_count(rest.len()));
            let part = rest.split_off_mut(..bytes_to_index(length)?);
            extent.read(within, part.unwrap_or_default(), self.parent.as_deref())?;
            position = position.saturating_add(length);
        }
        Ok(())
    }

    fn extent_at(&self, offset: u64) -> BlockResult<Extent> {
        check_range(offset, 1, self.size)?;
        let extent = self.extent(offset)?;
        extent.extent_at(offset.saturating_sub(extent.start), self.parent.as_deref())
    }

    fn will_need(&self, mut offset: u64, mut length: u64) {
        while length > 0
            && let Ok(extent) = self.extent(offset)
        {
            let within = offset.saturating_sub(extent.start);
            let count = extent.size.saturating_sub(within).min(length);
            if count == 0 {
                return;
            }
            extent.will_need(within, count);
            offset = offset.saturating_add(count);
            length = length.saturating_sub(count);
        }
    }
}
