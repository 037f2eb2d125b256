//! A directory with the names in it, and where its entries lie on the volume.

use volfold_block::{BlockDevice, byte_count, bytes_to_index};

use super::listing::{ListedFile, Listing, ListingReader};
use crate::clusters::finding::ENTRY;
use crate::error::FsResult;
use crate::extents::Extents;
use crate::kept::Memory;
use crate::node::NodeId;

/// Bytes of a directory that are read at once.
const PIECE: usize = 128 << 10;
/// What is read at once where that failed.
const SECTOR: usize = 512;

/// Positions and lengths of pieces of the volume.
pub(super) type Parts = Box<[(u64, u64)]>;

/// A directory with its names.
pub(super) struct Directory {
    pub(super) extents: Extents,
    pub(super) listing: Listing,
    /// Why the listing is not whole, if it is not.
    pub(super) damage: Option<String>,
}

impl Memory for Directory {
    fn memory(&self) -> u64 {
        self.listing.memory().saturating_add(self.extents.memory())
    }
}

impl Directory {
    /// Reads the `length` bytes of the directory in `extents`. What cannot be read is passed over.
    ///
    /// # Errors
    /// Why not even the first of it can be read.
    pub(super) fn read(
        device: &dyn BlockDevice,
        extents: Extents,
        length: u64,
        mut reader: ListingReader<'_>,
    ) -> FsResult<Self> {
        let mut piece = vec![0; PIECE];
        let (mut offset, mut damage, mut was_read) = (0_u64, None, false);
        while offset < length {
            let count = length.saturating_sub(offset).min(byte_count(PIECE));
            let bytes = piece.get_mut(..bytes_to_index(count)?).unwrap_or_default();
            if extents.read(device, offset, bytes).is_ok() {
                reader.take(bytes);
                was_read = true;
            } else {
                for (part, at) in bytes.chunks_mut(SECTOR).zip((offset..).step_by(SECTOR)) {
                    match extents.read(device, at, part) {
                        Ok(()) => {
                            reader.take(part);
                            was_read = true;
                        }
                        Err(error) => {
                            reader.pass(byte_count(part.len()));
                            damage = damage.or(Some(error));
                        }
                    }
                }
            }
            offset = offset.saturating_add(count);
        }
        if let Some(error) = damage.take_if(|_| !was_read) {
            return Err(error);
        }
        let listing = reader.finish();
        let damage = damage.map(|error| error.to_string());
        let damage = damage.filter(|_| listing.lacks_some);
        let faulty = listing.lacks_some.then(|| "entries of it are damaged".to_owned());
        Ok(Self { extents, listing, damage: damage.or(faulty) })
    }

    /// The node of `file`.
    pub(super) fn node(&self, file: &ListedFile) -> Option<NodeId> {
        let position = self.extents.position(file.offset())?;
        position.checked_div(byte_count(ENTRY)).map(NodeId)
    }
}

/// Where the `length` bytes from `offset` of the directory in `extents` lie, if they do not follow each other.
pub(super) fn split(extents: &Extents, offset: u64, length: u64) -> Option<Parts> {
    let (_, together) = extents.at(offset)?;
    if together >= length {
        return None;
    }
    let (mut offset, mut left) = (offset, length);
    let mut parts = Vec::new();
    while left > 0 {
        let (place, length) = extents.at(offset)?;
        let length = length.min(left);
        parts.push((place.offset()?, length));
        offset = offset.saturating_add(length);
        left = left.saturating_sub(length);
    }
    Some(parts.into_boxed_slice())
}
