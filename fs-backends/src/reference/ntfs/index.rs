//! Directories, by the B-trees of the crate `ntfs`.

use std::cmp::Ordering;
use std::io::{self, Read, Seek, SeekFrom};
use std::panic::{AssertUnwindSafe, catch_unwind};

use ntfs::indexes::NtfsFileNameIndex;
use ntfs::structured_values::{NtfsFileName, NtfsFileNamespace};
use ntfs::{NtfsError, NtfsIndex};
use volfold_block::{BlockDevice, ByteReader, byte_count, bytes_to_index};

use super::record::{FileRecord, FileReference, kind};
use super::volume::Volume;
use crate::error::{FsError, FsErrorKind, FsResult, Reason};
use crate::wtf8;

/// LIMIT: names of one directory, and bytes of all its names: about 96 MiB of a listing.
const MAX_NAMES: usize = 1 << 21;
const MAX_NAME_BYTES: usize = 64 << 20;
/// LIMIT: bad places of one directory before the rest is given up.
const MAX_DAMAGE: usize = 64;
/// LIMIT: bytes that one walk through a directory may read: 16 times its index and this. A tree
/// with a loop ends here.
const BASE_BUDGET: u64 = 16 << 20;
const MAX_BUDGET: u64 = 1 << 30;

const PIECE: usize = 4096;
/// `$I30`, the name of the attributes that make a directory.
pub(super) const I30: &[u8] = b"$\0I\x003\x000\0";

/// The names of a directory, in the order of its index.
pub(super) struct Listing {
    names: Vec<u8>,
    entries: Vec<ListedName>,
    /// What could not be read, if the listing is not whole.
    pub(super) damage: Option<String>,
}

#[derive(Clone, Copy)]
struct ListedName {
    reference: FileReference,
    name_end: u32,
    is_directory: bool,
}

impl Listing {
    fn new() -> Self {
        Self { names: Vec::new(), entries: Vec::new(), damage: None }
    }

    /// What the listing takes in memory.
    pub(super) fn weight(&self) -> u64 {
        let entries = self.entries.len().saturating_mul(size_of::<ListedName>());
        byte_count(entries.saturating_add(self.names.len()))
    }

    /// The name, the record and the kind of entry `index`.
    pub(super) fn get(&self, index: usize) -> Option<(&[u8], FileReference, bool)> {
        let entry = self.entries.get(index)?;
        let start = match index.checked_sub(1) {
            Some(before) => self.entries.get(before)?.name_end,
            None => 0,
        };
        let range = usize::try_from(start).ok()?..usize::try_from(entry.name_end).ok()?;
        let name = self.names.get(range)?;
        Some((name, entry.reference, entry.is_directory))
    }

    fn push(&mut self, name: &NtfsFileName, reference: FileReference) -> FsResult<()> {
        wtf8::encode_to(wtf8::units_le(name.name().0), &mut self.names);
        if self.entries.len() >= MAX_NAMES || self.names.len() > MAX_NAME_BYTES {
            return Err(FsError::unsupported("directory has too many names"));
        }
        self.entries.push(ListedName {
            reference,
            name_end: u32::try_from(self.names.len()).unwrap_or(u32::MAX),
            is_directory: name.is_directory(),
        });
        Ok(())
    }

    fn damaged(&mut self, error: &FsError) {
        self.damage.get_or_insert_with(|| error.to_string());
    }
}

/// Reads all names of the directory `dir`. Damage does not end it where the rest can be read.
///
/// # Errors
/// `NotADirectory`, `Unsupported` for too many names, or why nothing can be read.
pub(super) fn list(volume: &Volume, dir: &FileRecord) -> FsResult<Listing> {
    let mut listing = Listing::new();
    let walk = with_index(volume, dir, |index, cursor| {
        let mut entries = index.entries();
        let mut damage: usize = 0;
        while let Some(entry) = entries.next(cursor) {
            let step = entry.map_err(from_crate).and_then(|entry| {
                let key = entry.key().transpose().map_err(from_crate)?;
                Ok(key.map(|name| (name, file_reference(entry.file_reference()))))
            });
            match step {
                Ok(Some((name, reference))) => {
                    let is_system = reference.number() < 16;
                    if !is_system && name.namespace() != NtfsFileNamespace::Dos {
                        listing.push(&name, reference)?;
                    }
                }
                Ok(None) => {}
                Err(error) => {
                    listing.damaged(&error);
                    damage = damage.saturating_add(1);
                    if damage > MAX_DAMAGE || cursor.is_spent() {
                        break;
                    }
                }
            }
        }
        Ok(())
    });
    match walk {
        Err(error) if listing.entries.is_empty() => return Err(error),
        Err(error) if error.kind() == FsErrorKind::Unsupported => return Err(error),
        Err(error) => listing.damaged(&error),
        Ok(()) => {}
    }
    listing.names.shrink_to_fit();
    listing.entries.shrink_to_fit();
    Ok(listing)
}

/// The record that `name` names in `dir`: the very name first, then one that differs in case.
///
/// # Errors
/// `NotFound`, `NotADirectory`, or why the directory cannot be read.
pub(super) fn find(
    volume: &Volume,
    upcase: &Upcase,
    dir: &FileRecord,
    name: &[u16],
) -> FsResult<FileReference> {
    with_index(volume, dir, |index, cursor| {
        for exact in [true, false] {
            let mut finder = index.finder();
            let found = finder
                .find(cursor, |entry| upcase.compare(name, wtf8::units_le(entry.name().0), exact));
            if let Some(entry) = found {
                let entry = entry.map_err(from_crate)?;
                return Ok(file_reference(entry.file_reference()));
            }
        }
        Err(FsError::not_found())
    })
}

fn file_reference(reference: ntfs::NtfsFileReference) -> FileReference {
    let sequence = u64::from(reference.sequence_number());
    FileReference(sequence << 48 | reference.file_record_number())
}

/// Gives the index of `dir` to `work`. A panic of the crate is `Corrupt`.
fn with_index<R>(
    volume: &Volume,
    dir: &FileRecord,
    work: impl FnOnce(&NtfsIndex<'_, '_, NtfsFileNameIndex>, &mut VolumeCursor<'_>) -> FsResult<R>,
) -> FsResult<R> {
    if !dir.is_directory() {
        return Err(FsError::not_a_directory());
    }
    let budget = check_index(volume, dir)?;
    let split = volume.split_record(dir.number())?;
    let guarded = AssertUnwindSafe(|| {
        let mut cursor = VolumeCursor::new(&*volume.reader.metadata, budget);
        cursor.split = split;
        let file = volume.ntfs.file(&mut cursor, dir.number()).map_err(from_crate)?;
        let index = file.directory_index(&mut cursor).map_err(from_crate)?;
        work(&index, &mut cursor)
    });
    catch_unwind(guarded).unwrap_or_else(|_| {
        Err(FsError::corrupt("directory index made the reader fail").at(dir.position()))
    })
}

/// Checks what the crate takes from the index root without a bound, and gives the budget of a
/// walk.
fn check_index(volume: &Volume, dir: &FileRecord) -> FsResult<u64> {
    let root = volume
        .stream(dir, kind::INDEX_ROOT, I30)?
        .ok_or_else(|| FsError::corrupt("directory has no index root").at(dir.position()))?;
    let root = volume.value(root, 4096)?;
    let mut reader = ByteReader::new("index root", &root, dir.position());
    reader.skip(8)?;
    let record_size = reader.u32_le()?;
    // LIMIT: Windows writes index records of 4 KiB, or of one cluster of at most 64 KiB.
    if !(512..=65536).contains(&record_size) || !record_size.is_power_of_two() {
        return Err(reader.corrupt("has an index record size that cannot be").into());
    }
    if !volume.is_joined_by_crate(dir, kind::INDEX_ALLOCATION, I30)? {
        return Err(FsError::new(
            FsErrorKind::Undecodable(Reason::ATTRIBUTE_LIST),
            "directory index is spread over several file records",
        )
        .at(dir.position()));
    }
    let index = volume.stream(dir, kind::INDEX_ALLOCATION, I30)?;
    let size = index.map_or(0, |index| index.size.min(volume.reader.metadata.size()));
    Ok(size.saturating_mul(16).saturating_add(BASE_BUDGET).min(MAX_BUDGET))
}

/// What the crate says, as an error of ours; an error of the device comes back as it was.
pub(super) fn from_crate(error: NtfsError) -> FsError {
    let error = match error {
        NtfsError::Io(error) => match error.downcast::<FsError>() {
            Ok(error) => return error,
            Err(error) => NtfsError::Io(error),
        },
        error => error,
    };
    FsError::corrupt("NTFS structure is damaged").because(error)
}

/// The upper case of every UTF-16 code unit, as the volume says.
pub(super) struct Upcase(Vec<u16>);

impl Upcase {
    /// The table in the content `bytes` of `$UpCase`.
    ///
    /// # Errors
    /// `Corrupt` if it has not 65,536 entries.
    pub(super) fn parse(bytes: &[u8]) -> FsResult<Self> {
        let table: Vec<u16> = wtf8::units_le(bytes).collect();
        if table.len() == 1 << 16 {
            Ok(Self(table))
        } else {
            Err(FsError::corrupt("upper case table has a wrong size"))
        }
    }

    /// A table after Unicode, for a volume that has lost its own.
    pub(super) fn fallback() -> Self {
        let upper = |unit: u16| {
            let mut upper = char::from_u32(u32::from(unit))?.to_uppercase();
            let single = upper.next().filter(|_| upper.next().is_none())?;
            u16::try_from(u32::from(single)).ok()
        };
        Self((0..=u16::MAX).map(|unit| upper(unit).unwrap_or(unit)).collect())
    }

    fn upper(&self, unit: u16) -> u16 {
        self.0.get(usize::from(unit)).copied().unwrap_or(unit)
    }

    /// The order of file names in an index: by upper case, and if `exact` equals then by code
    /// units.
    fn compare(
        &self,
        name: &[u16],
        other: impl Iterator<Item = u16> + Clone,
        exact: bool,
    ) -> Ordering {
        let upper = name.iter().map(|unit| self.upper(*unit));
        let order = upper.cmp(other.clone().map(|unit| self.upper(unit)));
        if exact && order == Ordering::Equal { name.iter().copied().cmp(other) } else { order }
    }
}

/// A cursor over the volume for the crate, with a small buffer and a budget.
pub(super) struct VolumeCursor<'a> {
    device: &'a dyn BlockDevice,
    position: u64,
    piece: Vec<u8>,
    piece_start: u64,
    budget: u64,
    /// What a read of the file record at this place gets, see [`Volume::split_record`].
    split: Option<(u64, Vec<u8>)>,
}

impl<'a> VolumeCursor<'a> {
    /// A cursor that gives out at most `budget` bytes.
    pub(super) fn new(device: &'a dyn BlockDevice, budget: u64) -> Self {
        Self { device, position: 0, piece: Vec::new(), piece_start: 0, budget, split: None }
    }

    fn is_spent(&self) -> bool {
        self.budget == 0
    }

    /// The buffered bytes from `position` on.
    fn buffered(&self) -> FsResult<&[u8]> {
        match self.position.checked_sub(self.piece_start) {
            Some(skipped) => {
                let skipped = bytes_to_index(skipped)?;
                Ok(self.piece.get(skipped..).unwrap_or_default())
            }
            None => Ok(&[]),
        }
    }

    fn fill(&mut self) -> FsResult<()> {
        let start = self.position & !byte_count(PIECE - 1);
        let length = self.device.size().saturating_sub(start).min(byte_count(PIECE));
        self.piece.resize(bytes_to_index(length)?, 0);
        self.piece_start = start;
        if let Err(error) = self.device.read_at(start, &mut self.piece) {
            self.piece.clear();
            return Err(error.into());
        }
        Ok(())
    }

    fn read_some(&mut self, buf: &mut [u8]) -> FsResult<usize> {
        if self.position >= self.device.size() || buf.is_empty() {
            return Ok(0);
        }
        let bytes = match &self.split {
            Some((place, bytes)) if *place == self.position => bytes,
            _ => {
                if self.buffered()?.is_empty() {
                    self.fill()?;
                }
                self.buffered()?
            }
        };
        let count = bytes.len().min(buf.len());
        for (to, from) in buf.iter_mut().zip(bytes) {
            *to = *from;
        }
        let spent = byte_count(count);
        let left = self.budget.checked_sub(spent);
        self.budget = left.unwrap_or(0);
        if left.is_none() {
            return Err(FsError::corrupt("directory index has a loop").at(self.position));
        }
        self.position = self.position.saturating_add(spent);
        Ok(count)
    }
}

impl Read for VolumeCursor<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.read_some(buf).map_err(io::Error::other)
    }
}

impl Seek for VolumeCursor<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = match to {
            SeekFrom::Start(position) => Some(position),
            SeekFrom::Current(step) => self.position.checked_add_signed(step),
            SeekFrom::End(step) => self.device.size().checked_add_signed(step),
        };
        self.position = position.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        Ok(self.position)
    }
}
