//! The virtual disk: extents side by side, over the parent.

use std::fmt;
use std::sync::Arc;

use volfold_block::{
    BlockDevice, BlockError, BlockErrorKind, BlockResult, Map, Piece, Place, Span,
};

use crate::format::vmdk::esx::EsxSparse;
use crate::format::vmdk::sparse::{Grains, SparseExtent};

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
    Sparse(Box<SparseExtent>),
    /// They stand in grains of ESX.
    Esx(Box<EsxSparse>),
    /// They are zeros.
    Zero,
    /// The descriptor forbids them.
    NoAccess,
    /// Their file cannot be had.
    Lost(LostExtent),
}

/// Why the bytes of an extent cannot be had.
#[derive(Clone)]
pub(super) struct LostExtent {
    kind: BlockErrorKind,
    sentence: String,
    position: Option<u64>,
}

impl LostExtent {
    /// Remembers `error`, with which opening the extent ended.
    pub(super) fn new(error: &BlockError) -> Self {
        let sentence = match error.kind() {
            BlockErrorKind::MissingPart => "is missing; put it beside the image".to_owned(),
            _ => error.message().to_owned(),
        };
        Self { kind: error.kind(), sentence, position: error.position() }
    }

    /// The error of the image whose only extent, called `name`, was lost by `error`.
    pub(super) fn explain(self, name: &str, error: BlockError) -> BlockError {
        // "extent a: sparse header is cut short", but "extent a is missing".
        if self.sentence.starts_with("is ") {
            let error = BlockError::new(self.kind, format!("{name} {}", self.sentence));
            self.position.into_iter().fold(error, BlockError::at)
        } else {
            error.within(name)
        }
    }

    fn error(&self) -> BlockError {
        let error = BlockError::new(self.kind, self.sentence.clone());
        self.position.into_iter().fold(error, BlockError::at)
    }
}

impl fmt::Display for LostExtent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.sentence)
    }
}

/// One extent in its place.
pub(super) struct DiskExtent {
    /// Where it lies on the disk; not empty.
    pub(super) span: Span,
    /// What messages call it; empty if it is the image itself.
    pub(super) name: String,
    pub(super) source: Source,
}

impl DiskExtent {
    /// Whether its grains have to be inflated.
    pub(super) fn is_compressed(&self) -> bool {
        matches!(&self.source, Source::Sparse(extent) if extent.is_compressed())
    }

    /// Where the bytes at `within` of the extent are, of which `left` follow in it.
    fn locate<'a>(
        &'a self,
        within: u64,
        left: u64,
        wanted: u64,
        parent: Option<&'a dyn BlockDevice>,
    ) -> BlockResult<Piece<'a>> {
        let (place, length) = match &self.source {
            Source::Flat { file, offset } => flat(&**file, *offset, within),
            Source::Sparse(extent) if within >= extent.size() => {
                let sentence = "sparse extent is smaller than its descriptor says";
                (Place::Fail(BlockError::corrupt(sentence, extent.size(), 0)), left)
            }
            Source::Sparse(extent) => match extent.locate(within, wanted, parent.is_some())? {
                (Grains::Stored(at), length) => (Place::Stored(extent.file(), at), length),
                (Grains::Zeroed, length) => (Place::Zero, length),
                (Grains::Lost(error), length) => (Place::Fail(error), length),
                (Grains::Compressed(number), length) => {
                    let grain = number.saturating_mul(extent.grain_size());
                    // The unit is named by where it begins on the disk.
                    let unit = self.span.start().saturating_add(grain);
                    (Place::Decode { unit, skip: extent.within_grain(within) }, length)
                }
                (Grains::Hole, length) => below(self.span.position(within), parent, length),
            },
            Source::Esx(extent) if within >= extent.size() => {
                let sentence = "sparse extent is smaller than its descriptor says";
                (Place::Fail(BlockError::corrupt(sentence, extent.size(), 0)), left)
            }
            Source::Esx(extent) => match extent.locate(within, wanted)? {
                (Grains::Stored(at), length) => (Place::Stored(extent.file(), at), length),
                (Grains::Lost(error), length) => (Place::Fail(error), length),
                (Grains::Hole, length) => below(self.span.position(within), parent, length),
                (Grains::Zeroed | Grains::Compressed(_), length) => (Place::Zero, length),
            },
            Source::Zero => (Place::Zero, left),
            Source::NoAccess => (Place::Fail(BlockError::refused("is marked NOACCESS")), left),
            Source::Lost(lost) => (Place::Fail(lost.error()), left),
        };
        let place = match place {
            Place::Fail(error) => Place::Fail(self.named(error)),
            place => place,
        };
        Ok(Piece::new(place, length.min(left)))
    }

    fn named(&self, error: BlockError) -> BlockError {
        if self.name.is_empty() { error } else { error.within(&self.name) }
    }
}

/// Where the bytes `within` a flat extent are that begins at `offset` of `file`.
fn flat(file: &dyn BlockDevice, offset: u64, within: u64) -> (Place<'_>, u64) {
    match offset.checked_add(within).and_then(|at| Span::between(at, file.size())) {
        Some(span) if !span.is_empty() => (Place::At(file, span.start()), span.length()),
        _ => {
            let sentence = "flat extent is cut short by the end of its file";
            (Place::Fail(BlockError::corrupt(sentence, file.size(), 0)), u64::MAX)
        }
    }
}

/// What shows through a hole at `offset` of the disk. Past the end of a shorter parent that is
/// zeros.
fn below(offset: Option<u64>, parent: Option<&dyn BlockDevice>, length: u64) -> (Place<'_>, u64) {
    let inside = |parent: &dyn BlockDevice| Span::between(offset?, parent.size());
    match parent.and_then(|parent| Some((parent, inside(parent)?))) {
        Some((parent, span)) if !span.is_empty() => {
            (Place::At(parent, span.start()), length.min(span.length()))
        }
        _ => (Place::Zero, length),
    }
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

    /// The extent at `offset`, which is inside the disk, and how far in it that is.
    fn extent(&self, offset: u64) -> BlockResult<(&DiskExtent, u64)> {
        let past = self.extents.partition_point(|extent| extent.span.start() <= offset);
        let extent = past.checked_sub(1).and_then(|index| self.extents.get(index));
        extent.and_then(|extent| Some((extent, extent.span.offset_of(offset)?))).ok_or_else(|| {
            BlockError::new(BlockErrorKind::OutOfRange, "disk has no extent here").at(offset)
        })
    }

    /// The compressed extent at `unit`, and the number of the grain there.
    fn grain(&self, unit: u64) -> BlockResult<(&DiskExtent, &SparseExtent, u64)> {
        let (extent, within) = self.extent(unit)?;
        match &extent.source {
            Source::Sparse(sparse) if sparse.is_compressed() => {
                Ok((extent, sparse, within >> sparse.grain_size().trailing_zeros()))
            }
            _ => Err(BlockError::new(BlockErrorKind::Internal, "grain is not compressed")),
        }
    }
}

impl Map for VmdkDisk {
    fn size(&self) -> u64 {
        self.size
    }

    fn locate(&self, offset: u64, wanted: u64) -> BlockResult<Piece<'_>> {
        let (extent, within) = self.extent(offset)?;
        let left = extent.span.length().saturating_sub(within);
        let found = extent.locate(within, left, wanted.min(left), self.parent.as_deref());
        found.map_err(|error| extent.named(error))
    }

    fn unit_size(&self, unit: u64) -> usize {
        // LIMIT: `SparseHeader::parse` bounds the size of a grain far below 32 bits.
        let size = self.grain(unit).map_or(0, |(_, sparse, _)| sparse.grain_size());
        usize::try_from(size).unwrap_or(0)
    }

    fn decode(&self, unit: u64, out: &mut [u8]) -> BlockResult<()> {
        let (extent, sparse, number) = self.grain(unit)?;
        sparse.inflate(number, out).map_err(|error| extent.named(error))
    }

    fn decodes_slowly(&self) -> bool {
        true
    }

    fn rescue(&self, offset: u64, _buf: &mut [u8], error: BlockError) -> BlockResult<()> {
        let (extent, _) = self.extent(offset)?;
        Err(extent.named(error))
    }
}
