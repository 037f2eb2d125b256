//! Run lists: where on the volume the bytes of a file lie, and the file content over them.

use std::sync::Arc;

use volfold_block::{BlockDevice, byte_count, bytes_to_index};

use crate::error::{FsError, FsErrorKind, FsResult};
use crate::node::{FileData, FileExtent, FileExtentKind};

/// LIMIT: runs of one file, 64 MiB of them. NTFS itself ends near 2.5 million runs, where its
/// attribute list reaches 256 KiB.
const MAX_RUNS: usize = 1 << 22;

/// The `place` of a run that takes no place on the volume.
const HOLE: u64 = u64::MAX;

/// Where a run of bytes that lie together, or of a hole, begins; it ends where the next begins.
#[derive(Clone, Copy, Debug)]
struct Run {
    start: u64,
    place: u64,
}

/// The run list of a file, sorted and without gaps from byte 0.
#[derive(Clone, Debug, Default)]
pub(super) struct Extents {
    runs: Vec<Run>,
    end: u64,
}

impl Extents {
    /// The offset behind the last run.
    pub(super) fn end(&self) -> u64 {
        self.end
    }

    /// The bytes of memory that the list takes.
    pub(super) fn memory(&self) -> u64 {
        byte_count(self.runs.capacity().saturating_mul(size_of::<Run>()))
    }

    /// Appends `length` bytes at `place` of the volume, or a hole.
    ///
    /// # Errors
    /// `Corrupt` if the numbers overflow, `Unsupported` if the list grows too long.
    pub(super) fn push(&mut self, place: Option<u64>, length: u64) -> FsResult<()> {
        if length == 0 {
            return Ok(());
        }
        let start = self.end;
        let place = place.unwrap_or(HOLE);
        let end = start
            .checked_add(length)
            .filter(|_| place == HOLE || place.checked_add(length).is_some_and(|end| end != HOLE));
        let end = end.ok_or_else(|| FsError::corrupt("run of a file is too long"))?;
        let joins = self.runs.last().is_some_and(|last| match (last.place, place) {
            (HOLE, HOLE) => true,
            (HOLE, _) | (_, HOLE) => false,
            (before, place) => before.saturating_add(start.saturating_sub(last.start)) == place,
        });
        if !joins {
            if self.runs.len() >= MAX_RUNS {
                return Err(FsError::unsupported("file has too many runs"));
            }
            self.runs.push(Run { start, place });
        }
        self.end = end;
        Ok(())
    }

    /// The list without what it keeps in reserve.
    pub(super) fn finish(mut self) -> Self {
        self.runs.shrink_to_fit();
        self
    }

    /// Whether two runs share bytes of the volume.
    #[cfg(feature = "fat")]
    pub(super) fn has_overlap(&self) -> bool {
        let ends = self.runs.iter().skip(1).map(|run| run.start).chain([self.end]);
        let placed = self.runs.iter().zip(ends).filter(|(run, _)| run.place != HOLE);
        let mut places: Vec<(u64, u64)> =
            placed.map(|(run, end)| (run.place, end.saturating_sub(run.start))).collect();
        places.sort_unstable();
        places
            .array_windows()
            .any(|[(place, length), (next, _)]| place.saturating_add(*length) > *next)
    }

    /// The runs from the one that holds `offset`.
    fn from(&self, offset: u64) -> &[Run] {
        let behind = self.runs.partition_point(|run| run.start <= offset);
        self.runs.get(behind.saturating_sub(1)..).unwrap_or_default()
    }

    /// Where the byte at `offset` lies and how many bytes follow it there; the place is `None` in
    /// a hole, the answer is `None` behind the end.
    pub(super) fn at(&self, offset: u64) -> Option<(Option<u64>, u64)> {
        if offset >= self.end {
            return None;
        }
        let runs = self.from(offset);
        let run = runs.first()?;
        let end = runs.get(1).map_or(self.end, |next| next.start);
        let rest = end.saturating_sub(offset);
        if run.place == HOLE {
            Some((None, rest))
        } else {
            Some((Some(run.place.saturating_add(offset.saturating_sub(run.start))), rest))
        }
    }

    /// Has the bytes of the file from `offset` to `end` fetched, of the runs behind the first
    /// `skip`.
    pub(super) fn will_need(&self, device: &dyn BlockDevice, offset: u64, end: u64, skip: usize) {
        let runs = self.from(offset);
        let ends = runs.iter().skip(1).map(|run| run.start).chain([self.end]);
        for (run, run_end) in runs.iter().zip(ends).skip(skip) {
            if run.start >= end {
                return;
            }
            let start = run.start.max(offset);
            if run.place != HOLE {
                let place = run.place.saturating_add(start.saturating_sub(run.start));
                device.will_need(place, run_end.min(end).saturating_sub(start));
            }
        }
    }

    /// Fills all of `buf` from `offset` of the file.
    ///
    /// # Errors
    /// `Corrupt` where a run leaves `device` or the list ends; what `device` says.
    pub(super) fn read(
        &self,
        device: &dyn BlockDevice,
        offset: u64,
        buf: &mut [u8],
    ) -> FsResult<()> {
        let mut rest = buf;
        let mut offset = offset;
        let mut runs = self.from(offset).iter().peekable();
        while let Some(run) = runs.next() {
            let end = runs.peek().map_or(self.end, |next| next.start);
            if rest.is_empty() || offset >= end {
                break;
            }
            let skipped = offset.saturating_sub(run.start);
            let length = end.saturating_sub(offset);
            let count = bytes_to_index(length.min(byte_count(rest.len())))?;
            let (part, behind) = rest.split_at_mut(count);
            if run.place == HOLE {
                part.fill(0);
            } else {
                let place = run.place.saturating_add(skipped);
                let end = place.saturating_add(byte_count(count));
                if end > device.size() {
                    return Err(FsError::corrupt("run of the file leaves the volume").at(place));
                }
                device.read_at(place, part)?;
            }
            offset = offset.saturating_add(byte_count(count));
            rest = behind;
        }
        if rest.is_empty() {
            Ok(())
        } else {
            Err(FsError::corrupt("run list of the file ends early"))
        }
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
            let end = offset.saturating_add(byte_count(stored.len()));
            self.extents.will_need(&*self.device, offset, end, 1);
            self.extents.read(&*self.device, offset, stored)?;
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
        match place {
            Some(place) => {
                let on_volume = self.device.size().saturating_sub(place);
                let (kind, length) = if on_volume == 0 {
                    let kind = FileExtentKind::Unreadable(FsErrorKind::Corrupt);
                    (kind, length)
                } else {
                    (FileExtentKind::Data, length.min(on_volume))
                };
                Ok(FileExtent { kind, length: length.min(valid) })
            }
            None => Ok(FileExtent { kind: FileExtentKind::Hole, length: length.min(left) }),
        }
    }
}

/// The content of a small file, held in memory.
pub(super) struct BytesFile(pub(super) Vec<u8>);

impl FileData for BytesFile {
    fn size(&self) -> u64 {
        byte_count(self.0.len())
    }

    fn memory(&self) -> u64 {
        byte_count(self.0.capacity().saturating_add(size_of::<Self>()))
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> FsResult<usize> {
        let start = bytes_to_index(offset.min(self.size()))?;
        let bytes = self.0.get(start..).unwrap_or_default();
        let count = bytes.len().min(buf.len());
        for (to, from) in buf.iter_mut().zip(bytes) {
            *to = *from;
        }
        Ok(count)
    }
}

/// How many bytes of a file of `size` bytes follow `offset`.
pub(super) fn inside(size: u64, offset: u64) -> FsResult<u64> {
    match size.checked_sub(offset) {
        None | Some(0) => {
            let message = "offset is behind the end of the file";
            Err(FsError::new(FsErrorKind::OutOfRange, message).at(offset))
        }
        Some(left) => Ok(left),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use volfold_block::MemoryDevice;

    fn device() -> Arc<dyn BlockDevice> {
        Arc::new(MemoryDevice::new((0..=255).collect::<Vec<u8>>()))
    }

    fn extents(runs: &[(Option<u64>, u64)]) -> Extents {
        let mut extents = Extents::default();
        for (place, length) in runs {
            extents.push(*place, *length).unwrap();
        }
        extents
    }

    #[test]
    fn a_read_crosses_runs_holes_and_the_valid_length() {
        let extents = extents(&[(Some(16), 4), (None, 2), (Some(100), 2), (Some(102), 8)]);
        assert_eq!(extents.runs.len(), 3, "neighbours are joined");
        let file = ExtentFile::new(device(), extents, 14, 10).unwrap();
        let mut buf = [9; 20];
        assert_eq!(file.read_at(0, &mut buf).unwrap(), 14);
        assert_eq!(buf[..14], [16, 17, 18, 19, 0, 0, 100, 101, 102, 103, 0, 0, 0, 0]);
        assert_eq!(file.read_at(5, &mut buf[..2]).unwrap(), 2);
        assert_eq!(buf[..2], [0, 100]);
        assert_eq!(file.read_at(14, &mut buf).unwrap(), 0);
        let kinds: Vec<_> = [0, 5, 6, 11]
            .iter()
            .map(|offset| file.extent_at(*offset).unwrap())
            .map(|extent| (extent.kind, extent.length))
            .collect();
        let (data, hole) = (FileExtentKind::Data, FileExtentKind::Hole);
        assert_eq!(kinds, [(data, 4), (hole, 1), (data, 4), (hole, 3)]);
        assert_eq!(file.extent_at(14).unwrap_err().kind(), FsErrorKind::OutOfRange);
    }

    #[test]
    fn a_run_that_leaves_the_volume_harms_only_its_part() {
        let extents = extents(&[(Some(0), 8), (Some(250), 16)]);
        let file = ExtentFile::new(device(), extents, 24, 24).unwrap();
        let mut buf = [0; 8];
        assert_eq!(file.read_at(0, &mut buf).unwrap(), 8);
        let error = file.read_at(8, &mut buf).unwrap_err();
        assert_eq!((error.kind(), error.position()), (FsErrorKind::Corrupt, Some(250)));
    }

    #[test]
    fn a_run_list_shorter_than_the_file_is_corrupt() {
        let error = ExtentFile::new(device(), extents(&[(Some(0), 8)]), 9, 9).err().unwrap();
        assert_eq!(error.kind(), FsErrorKind::Corrupt);
        let error = Extents::default().push(Some(u64::MAX - 4), 8).err().unwrap();
        assert_eq!(error.kind(), FsErrorKind::Corrupt);
    }
}
