//! Streams: attributes put together from the pieces of an attribute list.

use volfold_block::byte_count;

use super::record::{Attribute, Form};
use super::runs;
use crate::error::{FsError, FsErrorKind, FsResult, Reason};
use crate::extents::Extents;

/// The one compression format that NTFS itself writes.
const LZNT1: u8 = 1;
/// LIMIT: clusters of a compression unit, as a power of two, and its bytes. Windows makes units of
/// 16 clusters, and compresses volumes with clusters of up to 4 KiB; others may go further.
const MAX_UNIT_SHIFT: u8 = 8;
const MAX_UNIT: u64 = 1 << 20;

/// A stream or another attribute.
pub(super) struct Stream {
    pub(super) size: u64,
    pub(super) valid: u64,
    /// How it is compressed, if it is.
    pub(super) compression: Option<Compression>,
    pub(super) is_encrypted: bool,
    pub(super) content: Content,
}

/// Where the bytes of a [`Stream`] are.
pub(super) enum Content {
    Resident(Vec<u8>),
    Runs(Extents),
}

/// How a stream is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Compression {
    /// LZNT1 in units of this many bytes.
    Lznt1 { unit: u64 },
    /// In a way that is not known.
    Unknown,
}

impl Compression {
    /// What the flags and the unit of `attribute` say, on a volume with clusters of `cluster_size`.
    pub(super) fn of(attribute: &Attribute<'_>, cluster_size: u64) -> Option<Self> {
        let Form::NonResident(piece) = &attribute.form else {
            // A resident value is never compressed, whatever the flags say.
            return None;
        };
        match (attribute.compression, piece.compression_unit) {
            (0, _) => None,
            (LZNT1, 1..=MAX_UNIT_SHIFT) => {
                let clusters = 1_u64.checked_shl(u32::from(piece.compression_unit));
                let unit = clusters.and_then(|clusters| clusters.checked_mul(cluster_size));
                let unit = unit.filter(|unit| *unit <= MAX_UNIT);
                Some(unit.map_or(Self::Unknown, |unit| Self::Lznt1 { unit }))
            }
            _ => Some(Self::Unknown),
        }
    }
}

/// Why a stream of `size` bytes cannot be handed out, if so.
pub(super) fn refusal(
    is_encrypted: bool,
    compression: Option<Compression>,
    size: u64,
) -> Option<FsErrorKind> {
    if size == 0 {
        None
    } else if is_encrypted {
        Some(FsErrorKind::Encrypted)
    } else if compression == Some(Compression::Unknown) {
        Some(FsErrorKind::Undecodable(Reason::NTFS_COMPRESSED))
    } else {
        None
    }
}

/// Puts the pieces of one attribute together.
#[derive(Default)]
pub(super) struct StreamBuilder {
    stream: Option<Stream>,
    clusters: u64,
    pieces: u32,
}

impl StreamBuilder {
    pub(super) fn is_empty(&self) -> bool {
        self.stream.is_none()
    }

    /// The runs so far.
    pub(super) fn extents(&self) -> Option<&Extents> {
        match &self.stream {
            Some(Stream { content: Content::Runs(extents), .. }) => Some(extents),
            _ => None,
        }
    }

    /// Moves the runs so far to `to`, to be read through until [`Self::take_back`].
    pub(super) fn lend(&mut self, to: &mut Extents) {
        if let Some(Stream { content: Content::Runs(extents), .. }) = &mut self.stream {
            *to = std::mem::take(extents);
        }
    }

    /// Undoes [`Self::lend`].
    pub(super) fn take_back(&mut self, from: &mut Extents) {
        if let Some(Stream { content: Content::Runs(extents), .. }) = &mut self.stream {
            *extents = std::mem::take(from);
        }
    }

    /// Appends a piece, which has to begin where the one before ended.
    ///
    /// # Errors
    /// `Undecodable` if it does not fit, `Corrupt` for a bad run list.
    pub(super) fn add(&mut self, attribute: &Attribute<'_>, cluster_size: u64) -> FsResult<()> {
        self.pieces = self.pieces.saturating_add(1);
        let gap = || FsError::undecodable(Reason::ATTRIBUTE_LIST).at(attribute.position);
        let piece = match (&attribute.form, &self.stream) {
            (Form::Resident(value), None) => {
                self.stream = Some(Stream {
                    size: byte_count(value.len()),
                    valid: byte_count(value.len()),
                    compression: None,
                    is_encrypted: attribute.is_encrypted,
                    content: Content::Resident(value.to_vec()),
                });
                return Ok(());
            }
            (Form::Resident(_), Some(_)) => return Err(gap()),
            (Form::NonResident(piece), _) => piece,
        };
        if piece.lowest_vcn != self.clusters {
            return Err(gap());
        }
        let compression = Compression::of(attribute, cluster_size);
        let is_first = self.stream.is_none();
        let stream = self.stream.get_or_insert_with(|| Stream {
            size: piece.size,
            valid: piece.initialized.min(piece.size),
            compression,
            is_encrypted: attribute.is_encrypted,
            content: Content::Runs(Extents::default()),
        });
        let Content::Runs(extents) = &mut stream.content else {
            return Err(gap());
        };
        // Only the first piece gives the unit; the flag is in all.
        if !is_first && stream.compression.is_some() != (attribute.compression != 0) {
            stream.compression = Some(Compression::Unknown);
        }
        stream.is_encrypted |= attribute.is_encrypted;
        let clusters = runs::append(piece.runs, attribute.position, cluster_size, extents)?;
        if clusters != piece.clusters {
            return Err(FsError::corrupt(
                "run list does not have the clusters that its attribute says",
            )
            .at(attribute.position));
        }
        self.clusters = self.clusters.saturating_add(clusters);
        Ok(())
    }

    /// The whole stream.
    ///
    /// # Errors
    /// `Corrupt` if the run list is shorter than the stream, `Undecodable` if that is because of a
    /// missing piece.
    pub(super) fn finish(self) -> FsResult<Stream> {
        let stream = self.stream.ok_or_else(|| FsError::corrupt("attribute is missing"))?;
        if let Content::Runs(extents) = &stream.content
            && extents.end() < stream.size
        {
            return Err(if self.pieces > 1 {
                FsError::undecodable(Reason::ATTRIBUTE_LIST)
            } else {
                FsError::corrupt("run list is shorter than the file")
            });
        }
        Ok(stream)
    }
}
