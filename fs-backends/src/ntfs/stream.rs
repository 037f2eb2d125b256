//! Streams: attributes put together from the pieces of an attribute list.

use volfold_block::byte_count;

use super::record::{Attribute, Form};
use super::runs;
use crate::error::{FsError, FsErrorKind, FsResult, Reason};
use crate::extents::{Extents, Place};

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
    /// The initialized size as it is recorded, for messages.
    pub(super) initialized: u64,
    /// How it is compressed, if it is.
    pub(super) compression: Option<Compression>,
    pub(super) is_encrypted: bool,
    pub(super) content: Content,
    pub(super) faults: Faults,
}

/// What in the records of a stream contradicts itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Faults {
    /// Its sizes do not fit each other or the run list.
    pub(super) has_wrong_sizes: bool,
    /// It has a hole, which is refused, and is not marked as sparse.
    pub(super) has_strange_hole: bool,
    /// Where the first piece that cannot be read begins.
    pub(super) damaged_from: Option<u64>,
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
    /// The bytes that the first piece says all have.
    spanned: u64,
    may_have_holes: bool,
    /// Why the piece after those so far cannot be had.
    damage: Option<FsErrorKind>,
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

    /// Appends a piece. What lies between it and the one before is refused, and so is a later piece
    /// that does not fit.
    ///
    /// # Errors
    /// Why the first piece cannot be read: then nothing of the stream can.
    pub(super) fn add(&mut self, attribute: &Attribute<'_>, cluster_size: u64) -> FsResult<()> {
        let added = self.append(attribute, cluster_size);
        match added {
            Err(error) if self.clusters > 0 => self.lose(&error),
            added => added,
        }
    }

    /// Refuses the piece after those so far, which cannot be read.
    ///
    /// # Errors
    /// `error` if there is none so far: then nothing of the stream can be read.
    pub(super) fn lose(&mut self, error: &FsError) -> FsResult<()> {
        match &mut self.stream {
            Some(stream) if self.clusters > 0 => {
                if let Content::Runs(extents) = &stream.content {
                    stream.faults.damaged_from.get_or_insert(extents.end());
                }
                self.damage = Some(error.kind());
                Ok(())
            }
            _ => Err(FsError::new(error.kind(), error.message().to_owned())
                .at(error.position().unwrap_or(0))),
        }
    }

    fn append(&mut self, attribute: &Attribute<'_>, cluster_size: u64) -> FsResult<()> {
        self.pieces = self.pieces.saturating_add(1);
        let gap = || FsError::undecodable(Reason::ATTRIBUTE_LIST).at(attribute.position);
        let piece = match (&attribute.form, &self.stream) {
            (Form::Resident(value), None) => {
                self.stream = Some(Stream {
                    size: byte_count(value.len()),
                    valid: byte_count(value.len()),
                    initialized: byte_count(value.len()),
                    compression: None,
                    is_encrypted: attribute.is_encrypted,
                    content: Content::Resident(value.to_vec()),
                    faults: Faults::default(),
                });
                return Ok(());
            }
            (Form::Resident(_), Some(_)) => return Err(gap()),
            (Form::NonResident(piece), _) => piece,
        };
        let missing = piece.lowest_vcn.checked_sub(self.clusters).ok_or_else(gap)?;
        if missing > 0 && self.clusters == 0 {
            return Err(gap());
        }
        let compression = Compression::of(attribute, cluster_size);
        let is_first = self.stream.is_none();
        if is_first {
            self.spanned = piece.spanned;
        }
        self.may_have_holes |= attribute.may_have_holes;
        let stream = self.stream.get_or_insert_with(|| Stream {
            size: piece.size,
            valid: piece.initialized.min(piece.size),
            initialized: piece.initialized,
            compression,
            is_encrypted: attribute.is_encrypted,
            content: Content::Runs(Extents::default()),
            faults: Faults { has_wrong_sizes: piece.initialized > piece.size, ..Faults::default() },
        });
        let Content::Runs(extents) = &mut stream.content else {
            return Err(gap());
        };
        // Only the first piece gives the unit; the flag is in all.
        if !is_first && stream.compression.is_some() != (attribute.compression != 0) {
            stream.compression = Some(Compression::Unknown);
        }
        stream.is_encrypted |= attribute.is_encrypted;
        let start = extents.end();
        if missing > 0 {
            let kind = self.damage.unwrap_or(gap().kind());
            stream.faults.damaged_from.get_or_insert(start);
            let length = missing.checked_mul(cluster_size).ok_or_else(gap)?;
            extents.push(Place::Refused(kind), length)?;
        }
        let first = extents.end();
        let hole = match self.may_have_holes {
            true => Place::Hole,
            false => Place::Refused(FsErrorKind::Corrupt),
        };
        let position = attribute.position;
        let clusters = match runs::append(piece.runs, position, cluster_size, hole, extents) {
            Ok(clusters) if clusters == piece.clusters => clusters,
            appended => {
                extents.truncate(start);
                let what = "run list does not have the clusters that its attribute says";
                return Err(appended.err().unwrap_or_else(|| FsError::corrupt(what).at(position)));
            }
        };
        stream.faults.has_strange_hole |= !self.may_have_holes && extents.refuses_from(first);
        self.clusters = piece.lowest_vcn.saturating_add(clusters);
        self.damage = None;
        Ok(())
    }

    /// The stream. What its run list lacks up to its size is refused: as `Corrupt`, or as
    /// `Undecodable` if that is because of a missing piece.
    ///
    /// # Errors
    /// `Corrupt` if there is no piece, or the run list of a compressed stream is too short.
    pub(super) fn finish(self) -> FsResult<Stream> {
        let mut stream = self.stream.ok_or_else(|| FsError::corrupt("attribute is missing"))?;
        let Content::Runs(extents) = &mut stream.content else { return Ok(stream) };
        let end = extents.end();
        // The last unit of a compressed stream may lack its holes.
        let spans = match stream.compression {
            None => end == self.spanned,
            Some(_) => end <= self.spanned,
        };
        if end < stream.size {
            let kind = match self.damage {
                Some(kind) => kind,
                None if self.pieces > 1 => FsErrorKind::Undecodable(Reason::ATTRIBUTE_LIST),
                None => FsErrorKind::Corrupt,
            };
            stream.faults.damaged_from.get_or_insert(end);
            if self.pieces == 1 {
                if stream.compression.is_some() {
                    return Err(FsError::corrupt("run list is shorter than the file"));
                }
                // The size is in doubt, so that what it has more is no zeros that were not written.
                let valid = stream.valid.min(end);
                extents.truncate(valid);
                extents.push(Place::Hole, end.saturating_sub(valid))?;
                stream.valid = stream.size;
            }
            extents.push(Place::Refused(kind), stream.size.saturating_sub(end))?;
        } else if !spans || stream.size > self.spanned {
            stream.faults.has_wrong_sizes = true;
        }
        Ok(stream)
    }
}

#[cfg(test)]
mod tests {
    use super::super::record::NonResident;
    use super::*;

    const CLUSTER: u64 = 4096;

    /// A piece from the cluster `lowest_vcn` on, with `clusters` in `runs`, of a stream of 10.
    fn piece(lowest_vcn: u64, clusters: u64, runs: &[u8]) -> Attribute<'_> {
        let size = 10 * CLUSTER;
        Attribute {
            kind: 0x80,
            instance: 0,
            name: &[],
            compression: 0,
            is_encrypted: false,
            may_have_holes: false,
            form: Form::NonResident(NonResident {
                lowest_vcn,
                clusters,
                compression_unit: 0,
                allocated: size,
                spanned: size,
                size,
                initialized: size,
                runs,
            }),
            position: 0x100,
        }
    }

    fn damage() -> FsError {
        FsError::corrupt("file record is torn").at(7)
    }

    fn runs(stream: &Stream) -> Vec<(Place, u64)> {
        let Content::Runs(extents) = &stream.content else { panic!("it is not resident") };
        let mut runs = Vec::new();
        let mut at = 0;
        while let Some((place, length)) = extents.at(at) {
            runs.push((place, length / CLUSTER));
            at += length;
        }
        runs
    }

    #[test]
    fn a_piece_that_is_lost_hides_its_own_bytes_only() {
        let corrupt = Place::Refused(FsErrorKind::Corrupt);
        let mut builder = StreamBuilder::default();
        builder.add(&piece(0, 4, &[0x11, 4, 20, 0]), CLUSTER).unwrap();
        builder.lose(&damage()).unwrap();
        builder.add(&piece(7, 3, &[0x11, 3, 50, 0]), CLUSTER).unwrap();
        let stream = builder.finish().unwrap();
        let (first, last) = (Place::At(20 * CLUSTER), Place::At(50 * CLUSTER));
        assert_eq!(runs(&stream), [(first, 4), (corrupt, 3), (last, 3)]);
        assert_eq!(stream.faults.damaged_from, Some(4 * CLUSTER));
        assert!(!stream.faults.has_wrong_sizes && !stream.faults.has_strange_hole);
    }

    #[test]
    fn a_later_piece_that_does_not_fit_is_lost() {
        let bad: [&[u8]; 3] = [&[0x11, 5, 50, 0], &[0x11, 6], &[0x11, 3, 50, 0x11, 0, 1]];
        for runs_of_piece in bad {
            let mut builder = StreamBuilder::default();
            builder.add(&piece(0, 4, &[0x11, 4, 20, 0]), CLUSTER).unwrap();
            builder.add(&piece(4, 6, runs_of_piece), CLUSTER).unwrap();
            let stream = builder.finish().unwrap();
            let corrupt = Place::Refused(FsErrorKind::Corrupt);
            assert_eq!(runs(&stream), [(Place::At(20 * CLUSTER), 4), (corrupt, 6)]);
        }
    }

    #[test]
    fn what_a_missing_piece_hides_is_refused_by_its_reason() {
        let mut builder = StreamBuilder::default();
        builder.add(&piece(0, 4, &[0x11, 4, 20, 0]), CLUSTER).unwrap();
        builder.add(&piece(8, 1, &[0x11, 1, 50, 0]), CLUSTER).unwrap();
        let reason = Place::Refused(FsErrorKind::Undecodable(Reason::ATTRIBUTE_LIST));
        let stream = builder.finish().unwrap();
        let (first, last) = (Place::At(20 * CLUSTER), Place::At(50 * CLUSTER));
        assert_eq!(runs(&stream), [(first, 4), (reason, 4), (last, 1), (reason, 1)]);
    }

    #[test]
    fn without_its_first_piece_a_stream_is_an_error() {
        let mut builder = StreamBuilder::default();
        let error = builder.lose(&damage()).unwrap_err();
        assert_eq!((error.kind(), error.position()), (FsErrorKind::Corrupt, Some(7)));
        let mut builder = StreamBuilder::default();
        let error = builder.add(&piece(4, 6, &[0x11, 6, 50, 0]), CLUSTER).unwrap_err();
        assert_eq!(error.kind(), FsErrorKind::Undecodable(Reason::ATTRIBUTE_LIST));
        let mut builder = StreamBuilder::default();
        let error = builder.add(&piece(0, 5, &[0x11, 4, 20, 0]), CLUSTER).unwrap_err();
        assert_eq!(error.kind(), FsErrorKind::Corrupt);
    }
}
