//! Run lists: where on the volume the bytes of a file lie, and the file content over them.
//!
//! Every file system decodes its own form of a run list into [`Extents`]; what reads through them
//! is here alone.

use std::sync::Arc;

use volfold_block::{BlockDevice, Span, byte_count, bytes_to_index};

use crate::error::{FsError, FsErrorKind, FsResult};
use crate::node::{FileData, FileExtent, FileExtentKind};

/// LIMIT: runs of one file, 64 MiB of them. NTFS itself ends near 2.5 million runs, where its
/// attribute list reaches 256 KiB.
const MAX_RUNS: usize = 1 << 22;
/// LIMIT: neighbouring runs that are reported as one hole; callers go on from there.
const MAX_JOINED: usize = 1 << 10;

/// Where the bytes of a run are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// On the volume from this offset on.
    At(u64),
    /// Nowhere: they read as zero.
    Hole,
    /// On the volume, but reserved and never written: they read as zero.
    Unwritten,
    /// Not known, or not to be read, and what a read of them is told.
    Refused(FsErrorKind),
}

impl Place {
    /// The offset on the volume, if there is one.
    pub(super) fn offset(self) -> Option<u64> {
        match self {
            Self::At(offset) => Some(offset),
            _ => None,
        }
    }

    /// Whether the bytes read as zero.
    pub(super) fn is_zero(self) -> bool {
        matches!(self, Self::Hole | Self::Unwritten)
    }
}

/// A [`Place`] in 8 bytes: an offset below [`TAG`], or what is not on the volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct PackedPlace(u64);

/// Places have offsets below this one.
const TAG: u64 = 1 << 63;

impl PackedPlace {
    const HOLE: Self = Self(TAG);
    const UNWRITTEN: Self = Self(TAG | 1);
    /// The first of those that are refused; how far another is above it is its index in the table
    /// of reasons.
    const FIRST_REFUSED: u64 = TAG | 2;

    /// The place `skipped` bytes on; `None` if there is none.
    fn skip(self, skipped: u64) -> Option<Self> {
        if self.0 < TAG { self.0.checked_add(skipped).map(Self) } else { Some(self) }
    }

    fn unpack(self, refusals: &[FsErrorKind]) -> Option<Place> {
        match self {
            Self(offset) if offset < TAG => Some(Place::At(offset)),
            Self::HOLE => Some(Place::Hole),
            Self::UNWRITTEN => Some(Place::Unwritten),
            Self(tagged) => {
                let index = usize::try_from(tagged.checked_sub(Self::FIRST_REFUSED)?).ok()?;
                refusals.get(index).copied().map(Place::Refused)
            }
        }
    }
}

/// Where a run of bytes of one place begins in the file; it ends where the next begins.
#[derive(Clone, Copy, Debug)]
struct Run {
    start: u64,
    place: PackedPlace,
}
const _: () = assert!(size_of::<Run>() == 16);

/// The run list of a file, sorted and without gaps from byte 0.
#[derive(Clone, Debug, Default)]
pub(super) struct Extents {
    runs: Vec<Run>,
    /// Why runs are refused, each reason once.
    refusals: Vec<FsErrorKind>,
    end: u64,
}

/// The part of a run that lies in a span of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Piece {
    /// Its bytes in the file, at least one.
    span: Span,
    /// Where its first byte is.
    place: Place,
}

/// The pieces of a span, in order. They end early where the run list does.
#[derive(Clone)]
struct Pieces<'a> {
    runs: &'a [Run],
    refusals: &'a [FsErrorKind],
    /// Where the last run ends.
    list_end: u64,
    wanted: Span,
}

impl Iterator for Pieces<'_> {
    type Item = Piece;

    fn next(&mut self) -> Option<Piece> {
        let (run, later) = self.runs.split_first()?;
        let end = later.first().map_or(self.list_end, |next| next.start);
        let whole = Span::between(run.start, end)?;
        let span = whole.intersection(self.wanted)?;
        let place = run.place.skip(whole.offset_of(span.start())?)?;
        self.runs = later;
        Some(Piece { span, place: place.unpack(self.refusals)? })
    }
}

impl Extents {
    /// The offset after the last run.
    pub(super) fn end(&self) -> u64 {
        self.end
    }

    /// The bytes of memory that the list takes.
    pub(super) fn memory(&self) -> u64 {
        let runs = self.runs.capacity().saturating_mul(size_of::<Run>());
        let refusals = self.refusals.capacity().saturating_mul(size_of::<FsErrorKind>());
        byte_count(runs.saturating_add(refusals))
    }

    /// Appends `length` bytes that are at `place`.
    ///
    /// # Errors
    /// `Corrupt` if the numbers overflow, `Unsupported` if the list grows too long.
    pub(super) fn push(&mut self, place: Place, length: u64) -> FsResult<()> {
        if length == 0 {
            return Ok(());
        }
        let too_long = || FsError::corrupt("run of a file is too long");
        let start = self.end;
        let end = Span::new(start, length).ok_or_else(too_long)?.end();
        if let Place::At(offset) = place {
            // INVARIANT: a run ends below `TAG`, so that no sum looks like another place.
            Span::new(offset, length).filter(|span| span.end() < TAG).ok_or_else(too_long)?;
        }
        let place = self.pack(place)?;
        let follows = self.runs.last().and_then(|last| {
            let before = start.checked_sub(last.start)?;
            last.place.skip(before)
        });
        if follows != Some(place) {
            if self.runs.len() >= MAX_RUNS {
                return Err(FsError::unsupported("file has too many runs"));
            }
            self.runs.push(Run { start, place });
        }
        self.end = end;
        Ok(())
    }

    /// Drops what comes from the byte `end` of the file on.
    #[cfg(any(feature = "ntfs", feature = "fat", feature = "exfat"))]
    pub(super) fn truncate(&mut self, end: u64) {
        let kept = self.runs.partition_point(|run| run.start < end);
        self.runs.truncate(kept);
        self.end = self.end.min(end);
    }

    /// Whether there is a run that is refused after the byte `start` of the file.
    #[cfg(feature = "ntfs")]
    pub(super) fn refuses_from(&self, start: u64) -> bool {
        let Some(rest) = Span::between(start, self.end) else { return false };
        !self.refusals.is_empty()
            && self.pieces(rest).any(|piece| matches!(piece.place, Place::Refused(_)))
    }

    /// Appends a hole up to the byte `end` of the file, if the list ends before it.
    ///
    /// # Errors
    /// As [`Self::push`].
    #[cfg(any(feature = "ext4", feature = "xfs"))]
    pub(super) fn push_hole_to(&mut self, end: u64) -> FsResult<()> {
        self.push(Place::Hole, end.saturating_sub(self.end))
    }

    fn pack(&mut self, place: Place) -> FsResult<PackedPlace> {
        Ok(match place {
            Place::At(offset) => PackedPlace(offset),
            Place::Hole => PackedPlace::HOLE,
            Place::Unwritten => PackedPlace::UNWRITTEN,
            Place::Refused(kind) => {
                let known = self.refusals.iter().position(|known| *known == kind);
                let index = known.unwrap_or(self.refusals.len());
                if known.is_none() {
                    self.refusals.push(kind);
                }
                let place = PackedPlace::FIRST_REFUSED.checked_add(byte_count(index));
                PackedPlace(place.ok_or_else(|| FsError::corrupt("run of a file is too long"))?)
            }
        })
    }

    /// The list without what it keeps in reserve.
    pub(super) fn finish(mut self) -> Self {
        self.runs.shrink_to_fit();
        self.refusals.shrink_to_fit();
        self
    }

    /// Whether two runs share bytes of the volume.
    #[cfg(any(feature = "fat", feature = "exfat", feature = "ext4", feature = "xfs"))]
    pub(super) fn has_overlap(&self) -> bool {
        if self.runs.len() < 2 {
            return false;
        }
        let pieces = self.pieces(Span::below(self.end));
        let mut places: Vec<Span> = pieces
            .filter_map(|piece| Span::new(piece.place.offset()?, piece.span.length()))
            .collect();
        places.sort_unstable();
        places.array_windows().any(|[place, next]| place.end() > next.start())
    }

    /// What the bytes of `wanted` are made of.
    fn pieces(&self, wanted: Span) -> Pieces<'_> {
        let later = self.runs.partition_point(|run| run.start <= wanted.start());
        Pieces {
            runs: self.runs.get(later.saturating_sub(1)..).unwrap_or_default(),
            refusals: &self.refusals,
            list_end: self.end,
            wanted,
        }
    }

    /// The runs that lie on the volume, in order: where, and how many bytes.
    pub(super) fn places(&self) -> impl Iterator<Item = (u64, u64)> {
        let all = Span::between(0, self.end).map(|all| self.pieces(all));
        all.into_iter()
            .flatten()
            .filter_map(|piece| Some((piece.place.offset()?, piece.span.length())))
    }

    /// Where the byte at `offset` is and how many bytes follow it there; `None` past the end.
    pub(super) fn at(&self, offset: u64) -> Option<(Place, u64)> {
        let piece = self.pieces(Span::between(offset, self.end)?).next()?;
        Some((piece.place, piece.span.length()))
    }

    /// Where the byte at `offset` lies on the volume, if it does.
    pub(super) fn position(&self, offset: u64) -> Option<u64> {
        self.at(offset)?.0.offset()
    }

    /// How many bytes from `offset` on read as zero, as far as it is found out at once.
    fn zeros(&self, offset: u64) -> u64 {
        let Some(rest) = Span::between(offset, self.end) else { return 0 };
        let zeros = self.pieces(rest).take(MAX_JOINED).take_while(|piece| piece.place.is_zero());
        let end = zeros.last().map_or(offset, |last| last.span.end());
        rest.offset_of(end).unwrap_or(rest.length())
    }

    /// Has the bytes of the file from `offset` to `end` fetched.
    #[cfg(feature = "ntfs")]
    pub(super) fn will_need(&self, device: &dyn BlockDevice, offset: u64, end: u64) {
        if let Some(wanted) = Span::between(offset, end) {
            will_need(device, self.pieces(wanted));
        }
    }

    /// Fills all of `buf` from `offset` of the file.
    ///
    /// # Errors
    /// `Corrupt` where a run leaves `device` or the list ends; the reason of a run that is refused;
    /// what `device` says.
    pub(super) fn read(
        &self,
        device: &dyn BlockDevice,
        offset: u64,
        buf: &mut [u8],
    ) -> FsResult<()> {
        read(device, self.pieces(span_of(offset, buf)?), buf)
    }

    /// The same, and has the later runs fetched while the first is read.
    fn read_ahead(&self, device: &dyn BlockDevice, offset: u64, buf: &mut [u8]) -> FsResult<()> {
        let pieces = self.pieces(span_of(offset, buf)?);
        let mut later = pieces.clone();
        later.next();
        will_need(device, later);
        read(device, pieces, buf)
    }
}

fn span_of(offset: u64, buf: &[u8]) -> FsResult<Span> {
    Span::of_buffer(offset, buf.len()).ok_or_else(|| FsError::past_the_end(offset))
}

fn will_need(device: &dyn BlockDevice, pieces: Pieces<'_>) {
    for piece in pieces {
        if let Place::At(place) = piece.place {
            device.will_need(place, piece.span.length());
        }
    }
}

/// Fills `buf` with the bytes of `pieces`: one read for each that is on the volume.
fn read(device: &dyn BlockDevice, pieces: Pieces<'_>, buf: &mut [u8]) -> FsResult<()> {
    let ends_early = || FsError::corrupt("run list of the file ends early");
    let mut rest = buf;
    for piece in pieces {
        let count = bytes_to_index(piece.span.length())?;
        let (part, later) = rest.split_at_mut_checked(count).ok_or_else(ends_early)?;
        match piece.place {
            Place::At(place) => {
                let stored = Span::of_buffer(place, part.len());
                if !stored.is_some_and(|stored| Span::below(device.size()).holds(stored)) {
                    return Err(FsError::corrupt("run of the file leaves the volume").at(place));
                }
                device.read_at(place, part)?;
            }
            Place::Hole | Place::Unwritten => part.fill(0),
            Place::Refused(kind) => return Err(refused(kind, piece.span.start())),
        }
        rest = later;
    }
    if rest.is_empty() { Ok(()) } else { Err(ends_early()) }
}

fn refused(kind: FsErrorKind, offset: u64) -> FsError {
    match kind {
        FsErrorKind::Corrupt => {
            FsError::corrupt(format!("run list of the file is damaged at offset {offset}"))
        }
        FsErrorKind::Encrypted => FsError::encrypted(),
        FsErrorKind::Undecodable(reason) => FsError::undecodable(reason),
        kind => FsError::new(kind, format!("file cannot be read at offset {offset}")),
    }
}

/// The content of a file that lies in runs of the volume.
pub(super) struct ExtentFile {
    device: Arc<dyn BlockDevice>,
    extents: Extents,
    size: u64,
    valid: u64,
}

impl ExtentFile {
    /// A file of `size` bytes in `extents` of `device`; bytes from `valid` on read as zero.
    ///
    /// # Errors
    /// `Corrupt` if the run list is shorter than the file.
    pub(super) fn new(
        device: Arc<dyn BlockDevice>,
        extents: Extents,
        size: u64,
        valid: u64,
    ) -> FsResult<Self> {
        if extents.end() < size {
            return Err(FsError::corrupt("run list is shorter than the file"));
        }
        Ok(Self { device, extents: extents.finish(), size, valid: valid.min(size) })
    }
}

impl FileData for ExtentFile {
    fn size(&self) -> u64 {
        self.size
    }

    fn memory(&self) -> u64 {
        self.extents.memory().saturating_add(byte_count(size_of::<Self>()))
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> FsResult<usize> {
        let count = self.size.saturating_sub(offset).min(byte_count(buf.len()));
        let stored = self.valid.saturating_sub(offset).min(count);
        let count = bytes_to_index(count)?;
        let (stored, zero) =
            buf.get_mut(..count).unwrap_or_default().split_at_mut(bytes_to_index(stored)?);
        if !stored.is_empty() {
            self.extents.read_ahead(&*self.device, offset, stored)?;
        }
        zero.fill(0);
        Ok(count)
    }

    fn extent_at(&self, offset: u64) -> FsResult<FileExtent> {
        let left = inside(self.size, offset)?;
        let Some(valid) = self.valid.checked_sub(offset).filter(|valid| *valid > 0) else {
            return Ok(FileExtent { kind: FileExtentKind::Hole, length: left });
        };
        let (place, length) = self
            .extents
            .at(offset)
            .ok_or_else(|| FsError::corrupt("run list of the file ends early"))?;
        let (kind, length) = match place {
            Place::At(place) => match self.device.size().checked_sub(place) {
                None | Some(0) => {
                    (FileExtentKind::Unreadable(FsErrorKind::Corrupt), length.min(valid))
                }
                Some(on_volume) => (FileExtentKind::Data, length.min(on_volume).min(valid)),
            },
            Place::Hole | Place::Unwritten => {
                (FileExtentKind::Hole, self.extents.zeros(offset).min(left))
            }
            Place::Refused(kind) => (FileExtentKind::Unreadable(kind), length.min(valid)),
        };
        Ok(FileExtent { kind, length })
    }
}

/// The content of a small file, held in memory.
#[cfg(any(feature = "ntfs", feature = "fat", feature = "exfat", feature = "ext4"))]
pub(super) struct BytesFile {
    bytes: Vec<u8>,
    size: u64,
}

#[cfg(any(feature = "ntfs", feature = "fat", feature = "exfat", feature = "ext4"))]
impl BytesFile {
    /// A file of `bytes`.
    #[cfg(any(feature = "ntfs", feature = "fat", feature = "exfat"))]
    pub(super) fn new(bytes: Vec<u8>) -> Self {
        let size = byte_count(bytes.len());
        Self { bytes, size }
    }

    /// A file of `size` bytes that begins with `bytes`; what they lack is zeros.
    #[cfg(feature = "ext4")]
    pub(super) fn padded(bytes: Vec<u8>, size: u64) -> Self {
        Self { bytes, size }
    }
}

#[cfg(any(feature = "ntfs", feature = "fat", feature = "exfat", feature = "ext4"))]
impl FileData for BytesFile {
    fn size(&self) -> u64 {
        self.size
    }

    fn memory(&self) -> u64 {
        byte_count(self.bytes.capacity().saturating_add(size_of::<Self>()))
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> FsResult<usize> {
        let count = self.size.saturating_sub(offset).min(byte_count(buf.len()));
        let buf = buf.get_mut(..bytes_to_index(count)?).unwrap_or_default();
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let bytes = self.bytes.get(start..).unwrap_or_default();
        let (stored, zero) = buf.split_at_mut(bytes.len().min(buf.len()));
        for (to, from) in stored.iter_mut().zip(bytes) {
            *to = *from;
        }
        zero.fill(0);
        Ok(buf.len())
    }
}

/// How many bytes of a file of `size` bytes follow `offset`.
pub(super) fn inside(size: u64, offset: u64) -> FsResult<u64> {
    match size.checked_sub(offset) {
        None | Some(0) => Err(FsError::past_the_end(offset)),
        Some(left) => Ok(left),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use volfold_block::MemoryDevice;

    use Place::{At, Hole, Refused, Unwritten};

    const CORRUPT: Place = Refused(FsErrorKind::Corrupt);

    fn device() -> Arc<dyn BlockDevice> {
        Arc::new(MemoryDevice::new((0..=255).collect::<Vec<u8>>()))
    }

    fn extents(runs: &[(Place, u64)]) -> Extents {
        let mut extents = Extents::default();
        for (place, length) in runs {
            extents.push(*place, *length).unwrap();
        }
        extents
    }

    fn kinds(file: &ExtentFile, offsets: &[u64]) -> Vec<(FileExtentKind, u64)> {
        let extents = offsets.iter().map(|offset| file.extent_at(*offset).unwrap());
        extents.map(|extent| (extent.kind, extent.length)).collect()
    }

    #[test]
    fn a_read_crosses_runs_holes_and_the_valid_length() {
        let extents = extents(&[(At(16), 4), (Hole, 2), (At(100), 2), (At(102), 8)]);
        assert_eq!(extents.runs.len(), 3, "neighbours are joined");
        let file = ExtentFile::new(device(), extents, 14, 10).unwrap();
        let mut buf = [9; 20];
        assert_eq!(file.read_at(0, &mut buf).unwrap(), 14);
        assert_eq!(buf[..14], [16, 17, 18, 19, 0, 0, 100, 101, 102, 103, 0, 0, 0, 0]);
        assert_eq!(file.read_at(5, &mut buf[..2]).unwrap(), 2);
        assert_eq!(buf[..2], [0, 100]);
        assert_eq!(file.read_at(14, &mut buf).unwrap(), 0);
        let (data, hole) = (FileExtentKind::Data, FileExtentKind::Hole);
        assert_eq!(kinds(&file, &[0, 5, 6, 11]), [(data, 4), (hole, 1), (data, 4), (hole, 3)]);
        let error = file.extent_at(14).unwrap_err();
        assert_eq!((error.kind(), error.position()), (FsErrorKind::OutOfRange, Some(14)));
    }

    #[test]
    fn what_was_never_written_is_zeros_and_part_of_the_hole() {
        let extents = extents(&[(At(1), 2), (Hole, 2), (Unwritten, 3), (Hole, 1), (At(9), 2)]);
        assert_eq!(extents.at(4), Some((Unwritten, 3)));
        let file = ExtentFile::new(device(), extents, 10, 10).unwrap();
        let mut buf = [7; 10];
        assert_eq!(file.read_at(0, &mut buf).unwrap(), 10);
        assert_eq!(buf, [1, 2, 0, 0, 0, 0, 0, 0, 9, 10]);
        let (data, hole) = (FileExtentKind::Data, FileExtentKind::Hole);
        assert_eq!(kinds(&file, &[0, 2, 5, 8]), [(data, 2), (hole, 6), (hole, 3), (data, 2)]);
    }

    #[test]
    fn a_refused_run_is_an_error_of_the_reads_that_touch_it() {
        let encrypted = Refused(FsErrorKind::Encrypted);
        let extents =
            extents(&[(At(5), 4), (CORRUPT, 8), (encrypted, 4), (CORRUPT, 4), (At(7), 4)]);
        assert_eq!(extents.refusals.len(), 2, "each reason once");
        let file = ExtentFile::new(device(), extents, 24, 24).unwrap();
        let mut buf = [0; 4];
        assert_eq!(file.read_at(0, &mut buf).unwrap(), 4);
        let error = file.read_at(1, &mut buf).unwrap_err();
        assert_eq!(error.kind(), FsErrorKind::Corrupt);
        assert_eq!(error.message(), "run list of the file is damaged at offset 4");
        assert_eq!(file.read_at(12, &mut buf).unwrap_err().kind(), FsErrorKind::Encrypted);
        assert_eq!(file.read_at(20, &mut buf).unwrap(), 4);
        let unreadable = FileExtentKind::Unreadable;
        assert_eq!(
            kinds(&file, &[6, 12, 16]),
            [
                (unreadable(FsErrorKind::Corrupt), 6),
                (unreadable(FsErrorKind::Encrypted), 4),
                (unreadable(FsErrorKind::Corrupt), 4),
            ]
        );
    }

    #[test]
    fn a_run_that_leaves_the_volume_harms_only_its_part() {
        let extents = extents(&[(At(0), 8), (At(250), 16), (At(256), 4)]);
        let file = ExtentFile::new(device(), extents, 28, 28).unwrap();
        let mut buf = [0; 8];
        assert_eq!(file.read_at(0, &mut buf).unwrap(), 8);
        let error = file.read_at(8, &mut buf).unwrap_err();
        assert_eq!((error.kind(), error.position()), (FsErrorKind::Corrupt, Some(250)));
        let corrupt = FileExtentKind::Unreadable(FsErrorKind::Corrupt);
        assert_eq!(kinds(&file, &[8, 24]), [(FileExtentKind::Data, 6), (corrupt, 4)]);
    }

    #[test]
    fn a_run_list_shorter_than_the_file_is_corrupt() {
        let error = ExtentFile::new(device(), extents(&[(At(0), 8)]), 9, 9).err().unwrap();
        assert_eq!(error.kind(), FsErrorKind::Corrupt);
        let mut buf = [0; 4];
        let error = extents(&[(At(0), 8)]).read(&*device(), 6, &mut buf).unwrap_err();
        assert_eq!(error.message(), "run list of the file ends early");
        let error = extents(&[]).read(&*device(), u64::MAX - 1, &mut buf).unwrap_err();
        assert_eq!(error.kind(), FsErrorKind::OutOfRange);
    }

    #[test]
    fn a_run_of_numbers_that_overflow_is_corrupt() {
        for (place, length) in [(At(u64::MAX - 4), 8), (At(TAG), 1), (At(TAG - 4), 4)] {
            let error = Extents::default().push(place, length).unwrap_err();
            assert_eq!(error.kind(), FsErrorKind::Corrupt);
        }
        let mut extents = extents(&[(At(TAG - 5), 4), (Hole, u64::MAX - 4)]);
        assert_eq!(extents.position(3), Some(TAG - 2));
        assert_eq!(extents.push(Hole, 1).unwrap_err().kind(), FsErrorKind::Corrupt);
    }

    #[test]
    fn a_list_that_is_cut_goes_on_where_it_was_cut() {
        let mut extents = extents(&[(At(16), 4), (Hole, 4), (At(64), 8)]);
        extents.truncate(99);
        assert_eq!(extents.end(), 16);
        extents.truncate(6);
        extents.push(CORRUPT, 2).unwrap();
        assert_eq!(extents.at(4), Some((Hole, 2)));
        assert_eq!((extents.at(6), extents.at(8)), (Some((CORRUPT, 2)), None));
    }

    #[test]
    fn files_with_long_run_lists_weigh_what_they_weigh() {
        let runs: u64 = 60_000;
        let files: Vec<ExtentFile> = (0..250)
            .map(|_| {
                let mut extents = Extents::default();
                for run in 0..runs {
                    extents.push(At(run * 8), 4).unwrap();
                }
                ExtentFile::new(device(), extents, runs * 4, runs * 4).unwrap()
            })
            .collect();
        for file in &files {
            assert!((runs * 16..runs * 16 + 256).contains(&file.memory()), "{}", file.memory());
        }
    }

    #[test]
    fn a_file_in_memory_ends_in_zeros() {
        let file = BytesFile { bytes: vec![1, 2, 3], size: 6 };
        let mut buf = [9; 8];
        assert_eq!(file.read_at(1, &mut buf).unwrap(), 5);
        assert_eq!(buf, [2, 3, 0, 0, 0, 9, 9, 9]);
        assert_eq!(file.read_at(4, &mut buf[..1]).unwrap(), 1);
        assert_eq!(buf[0], 0);
        let cut = BytesFile { bytes: vec![1, 2, 3], size: 2 };
        assert_eq!(cut.read_at(0, &mut buf).unwrap(), 2);
        assert_eq!(cut.read_at(7, &mut buf).unwrap(), 0);
    }
}
