//! Where bytes are.

use crate::device::{BlockDevice, Extent};
use crate::error::{BlockError, BlockErrorKind, BlockResult};

/// Where bytes are.
pub enum Place<'a> {
    /// In another device, from this offset on; where that one has holes, they are holes.
    At(&'a (dyn BlockDevice + 'a), u64),
    /// The same, where it is known that they are no hole, without asking.
    Stored(&'a (dyn BlockDevice + 'a), u64),
    /// Nowhere: they are zeros.
    Zero,
    /// In a unit that has to be decoded.
    Decode {
        /// What [`Map::decode`] takes.
        unit: u64,
        /// How many bytes of the decoded unit come before them.
        skip: u64,
    },
    /// Nowhere to be had, and why.
    Fail(BlockError),
}

/// Where bytes are, and how far they lie together.
pub struct Piece<'a> {
    /// Where.
    pub place: Place<'a>,
    /// How many bytes, at least 1; may be more than was asked for.
    pub length: u64,
}

impl<'a> Piece<'a> {
    /// `length` bytes at `place`.
    pub fn new(place: Place<'a>, length: u64) -> Self {
        Self { place, length }
    }
}

/// All that a format, a volume layout or an overlay has to write.
pub trait Map: Send + Sync {
    /// The size of the device in bytes.
    fn size(&self) -> u64;

    /// The size of a logical sector in bytes.
    fn sector_size(&self) -> u32 {
        512
    }

    /// The place of the byte at `offset`, which is inside the device, and how many bytes from there
    /// are in one piece. Of what comes after the first `wanted` bytes the answer need not know.
    ///
    /// # Errors
    /// Why the place cannot be told. Where it is known how far that reaches, the answer is
    /// [`Place::Fail`].
    fn locate(&self, offset: u64, wanted: u64) -> BlockResult<Piece<'_>>;

    /// The decoded size of `unit` in bytes.
    fn unit_size(&self, _unit: u64) -> usize {
        0
    }

    /// Fills `out`, which has the size of the unit, with the decoded bytes of `unit`.
    ///
    /// # Errors
    /// Why they cannot be had.
    fn decode(&self, unit: u64, _out: &mut [u8]) -> BlockResult<()> {
        let sentence = format!("unit {unit} of a map that has no units was asked for");
        Err(BlockError::new(BlockErrorKind::Internal, sentence))
    }

    /// Whether decoding takes so long that several cores should share a large request.
    fn decodes_slowly(&self) -> bool {
        false
    }

    /// The last word on a failed read of bytes that lie in one piece from `offset` on: fills `buf`
    /// in another way, from a copy or from parity, or says what `error` is about.
    ///
    /// # Errors
    /// Why there is no other way.
    fn rescue(&self, _offset: u64, _buf: &mut [u8], error: BlockError) -> BlockResult<()> {
        Err(error)
    }

    /// The same for a question about the extent at `offset` that the device there cannot answer;
    /// `None` if there is no other way.
    fn rescue_extent(&self, _offset: u64) -> Option<Extent> {
        None
    }
}

/// The piece of `map` at `offset`, where `left` bytes of the device or of a request follow.
pub(super) fn piece<M: Map>(map: &M, offset: u64, left: u64) -> BlockResult<Piece<'_>> {
    let piece = map.locate(offset, left)?;
    if piece.length == 0 {
        let sentence = "a map answered with an empty piece; this is a bug, please report it";
        return Err(BlockError::new(BlockErrorKind::Internal, sentence).at(offset));
    }
    Ok(Piece { length: piece.length.min(left), ..piece })
}
