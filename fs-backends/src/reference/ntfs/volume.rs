//! The volume: file records by number, attributes over attribute lists, and streams.
//!
//! An entry of `$ATTRIBUTE_LIST`, little-endian:
//!
//! | offset | size | field         | rule                                       |
//! |--------|------|---------------|--------------------------------------------|
//! | 0x00   | 4    | `kind`        |                                            |
//! | 0x04   | 2    | `length`      | of the entry                               |
//! | 0x06   | 1    | `name_length` | UTF-16 code units                          |
//! | 0x07   | 1    | `name_offset` | in the entry                               |
//! | 0x08   | 8    | `lowest_vcn`  | of the piece, 0 if there is one piece      |
//! | 0x10   | 8    | `record`      | file reference of the record that holds it |
//! | 0x18   | 2    | `instance`    | which attribute of that record             |

use std::cell::Cell;
use std::sync::Arc;

use ntfs::Ntfs;
use volfold_block::{BlockDevice, ByteReader, byte_count, bytes_to_index};

use super::record::{Attribute, FileRecord, FileReference, Form, kind};
use super::runs;
use crate::driver::VolumeReader;
use crate::error::{FsError, FsErrorKind, FsResult, Reason};
use crate::extents::{BytesFile, ExtentFile, Extents, Place};
use crate::node::FileData;

/// LIMIT: bytes of an attribute list; the bound that Windows keeps.
const MAX_ATTRIBUTE_LIST: u64 = 256 * 1024;
/// LIMIT: bytes of a value that is held in memory as a whole: the largest is the 128 KiB of
/// `$UpCase`.
const MAX_VALUE: u64 = 256 * 1024;

/// The way to every byte of the volume.
pub(super) struct Volume {
    pub(super) reader: VolumeReader,
    pub(super) ntfs: Ntfs,
    pub(super) cluster_size: u64,
    record_size: usize,
    mft: Extents,
    mft_size: u64,
}

/// A stream or another attribute, put together from its pieces.
pub(super) struct Stream {
    pub(super) size: u64,
    pub(super) valid: u64,
    pub(super) is_compressed: bool,
    pub(super) is_encrypted: bool,
    pub(super) content: Content,
}

/// Where the bytes of a [`Stream`] are.
pub(super) enum Content {
    Resident(Vec<u8>),
    Runs(Extents),
}

/// An entry of an attribute list.
pub(super) struct ListEntry<'a> {
    pub(super) kind: u32,
    /// UTF-16, little-endian.
    pub(super) name: &'a [u8],
    pub(super) lowest_vcn: u64,
    record: FileReference,
    instance: u16,
}

impl Volume {
    /// Reads record 0 and takes the run list of the master file table from it.
    ///
    /// # Errors
    /// `Unsupported` if the table has an attribute list; why the record cannot be read.
    pub(super) fn open(reader: VolumeReader, ntfs: Ntfs) -> FsResult<Self> {
        let record_size = bytes_to_index(u64::from(ntfs.file_record_size()))?;
        // LIMIT: Windows writes records of 1024 and 4096 bytes.
        if !(512..=4096).contains(&record_size) || !record_size.is_multiple_of(512) {
            return Err(FsError::unsupported("file record size is none of 512 to 4096 bytes"));
        }
        let mut volume = Self {
            reader,
            cluster_size: u64::from(ntfs.cluster_size()),
            record_size,
            mft: Extents::default(),
            mft_size: byte_count(record_size),
            ntfs,
        };
        let position = volume.ntfs.mft_position().value();
        let position = position
            .ok_or_else(|| FsError::corrupt("boot sector gives no place of the file table"))?;
        volume.mft.push(Place::At(position.get()), byte_count(record_size))?;
        let record = volume.record(0)?;
        for attribute in record.attributes() {
            if attribute?.kind == kind::ATTRIBUTE_LIST {
                return Err(FsError::unsupported(
                    "master file table is spread over several file records ($MFT has an \
                     attribute list)",
                )
                .at(record.position()));
            }
        }
        let table = volume.stream(&record, kind::DATA, &[])?;
        let table = table.ok_or_else(|| FsError::corrupt("master file table has no $DATA"))?;
        let Content::Runs(runs) = table.content else {
            return Err(FsError::corrupt("master file table is resident").at(record.position()));
        };
        if runs.position(0) != Some(position.get()) {
            return Err(FsError::corrupt(
                "master file table lies elsewhere than the boot sector says",
            )
            .at(record.position()));
        }
        volume.mft = runs.finish();
        volume.mft_size = table.valid;
        Ok(volume)
    }

    /// The file record `number`, whatever its state.
    ///
    /// # Errors
    /// `NotFound` behind the end of the table; why it cannot be read.
    pub(super) fn record(&self, number: u64) -> FsResult<FileRecord> {
        let offset = self.record_offset(number)?;
        let mut bytes = vec![0; self.record_size];
        self.mft.read(&*self.reader.metadata, offset, &mut bytes)?;
        let place = self.mft.position(offset);
        Ok(FileRecord::parse(number, place.unwrap_or(0), bytes)?)
    }

    /// Where the record `number` begins in the table.
    fn record_offset(&self, number: u64) -> FsResult<u64> {
        let size = byte_count(self.record_size);
        number
            .checked_mul(size)
            .filter(|offset| offset.checked_add(size).is_some_and(|end| end <= self.mft_size))
            .ok_or_else(FsError::not_found)
    }

    /// The stored bytes of the record `number` if they lie in two places, where the crate `ntfs`
    /// would read on behind the first one.
    ///
    /// # Errors
    /// Why they cannot be read.
    pub(super) fn split_record(&self, number: u64) -> FsResult<Option<(u64, Vec<u8>)>> {
        let offset = self.record_offset(number)?;
        match self.mft.at(offset) {
            Some((Place::At(place), length)) if length < byte_count(self.record_size) => {
                let mut bytes = vec![0; self.record_size];
                self.mft.read(&*self.reader.metadata, offset, &mut bytes)?;
                Ok(Some((place, bytes)))
            }
            _ => Ok(None),
        }
    }

    /// The base record of the node `number`.
    ///
    /// # Errors
    /// `NotFound` if the record is not in use or extends another; why it cannot be read.
    pub(super) fn node(&self, number: u64) -> FsResult<FileRecord> {
        let record = self.record(number)?;
        if record.is_in_use() && record.base() == FileReference(0) {
            Ok(record)
        } else {
            Err(FsError::not_found())
        }
    }

    /// Gives the attributes of a node to `visit`. Where there is an attribute list, an attribute
    /// that it names is given if `wanted` says so, and no other.
    ///
    /// # Errors
    /// What `visit` says; why a record or the list cannot be read.
    pub(super) fn visit(
        &self,
        base: &FileRecord,
        wanted: impl Fn(&ListEntry<'_>) -> bool,
        mut visit: impl FnMut(&Attribute<'_>) -> FsResult<()>,
    ) -> FsResult<()> {
        let Some(list) = self.attribute_list(base)? else {
            for attribute in base.attributes() {
                visit(&attribute?)?;
            }
            return Ok(());
        };
        let mut extension: Option<FileRecord> = None;
        let mut entries = ByteReader::new("attribute list", &list, base.position());
        while let Some(entry) = ListEntry::read(&mut entries)? {
            if !wanted(&entry) {
                continue;
            }
            let number = entry.record.number();
            let record = if number == base.number() {
                base
            } else {
                if extension.as_ref().map(FileRecord::number) != Some(number) {
                    extension = Some(self.extension(base, entry.record)?);
                }
                extension.as_ref().unwrap_or(base)
            };
            let attribute = entry.find(record)?;
            visit(&attribute)?;
        }
        Ok(())
    }

    /// Whether the crate `ntfs` joins the pieces of the attribute `kind` with `name` rightly: it
    /// does if there is one, or if none is in the base record and all have one instance number.
    ///
    /// # Errors
    /// Why the attribute list cannot be read.
    pub(super) fn is_joined_by_crate(
        &self,
        base: &FileRecord,
        kind: u32,
        name: &[u8],
    ) -> FsResult<bool> {
        let first = Cell::new(None);
        let is_joined = Cell::new(true);
        let look = |entry: &ListEntry<'_>| {
            if entry.kind == kind && entry.name == name {
                let in_base = entry.record.number() == base.number();
                match first.get() {
                    None => first.set(Some((in_base, entry.instance))),
                    Some(piece) if piece == (false, entry.instance) && !in_base => {}
                    Some(_) => is_joined.set(false),
                }
            }
            false
        };
        self.visit(base, look, |_| Ok(()))?;
        Ok(is_joined.get())
    }

    /// The record `reference`, which has to extend `base`.
    fn extension(&self, base: &FileRecord, reference: FileReference) -> FsResult<FileRecord> {
        let record = self.record(reference.number())?;
        let belongs = record.is_in_use()
            && record.sequence() == reference.sequence()
            && record.base().number() == base.number()
            && record.base().sequence() == base.sequence();
        if belongs {
            Ok(record)
        } else {
            Err(FsError::corrupt("attribute list names a record of another file")
                .at(record.position()))
        }
    }

    /// The bytes of the attribute list, if the node has one.
    fn attribute_list(&self, base: &FileRecord) -> FsResult<Option<Vec<u8>>> {
        for attribute in base.attributes() {
            let attribute = attribute?;
            if attribute.kind == kind::ATTRIBUTE_LIST {
                let mut builder = StreamBuilder::default();
                builder.add(&attribute, self.cluster_size)?;
                let list = builder.finish()?;
                return self.value(list, MAX_ATTRIBUTE_LIST).map(Some);
            }
        }
        Ok(None)
    }

    /// The attribute `kind` with `name` (UTF-16, little-endian), put together from its pieces;
    /// `None` if there is none.
    ///
    /// # Errors
    /// `Undecodable` if the pieces of an attribute list do not fit, `Corrupt` if a run list is
    /// shorter than its stream.
    pub(super) fn stream(
        &self,
        base: &FileRecord,
        kind: u32,
        name: &[u8],
    ) -> FsResult<Option<Stream>> {
        let mut builder = StreamBuilder::default();
        self.visit(
            base,
            |entry| entry.kind == kind && entry.name == name,
            |attribute| {
                if attribute.kind == kind && attribute.name == name {
                    builder.add(attribute, self.cluster_size)
                } else {
                    Ok(())
                }
            },
        )?;
        if builder.is_empty() {
            return Ok(None);
        }
        builder.finish().map(Some)
    }

    /// All bytes of `stream`, which must not be more than `limit`.
    ///
    /// # Errors
    /// `Corrupt` if it is longer; why it cannot be read.
    pub(super) fn value(&self, stream: Stream, limit: u64) -> FsResult<Vec<u8>> {
        if stream.size > limit.min(MAX_VALUE) {
            return Err(FsError::corrupt("attribute is longer than it may be"));
        }
        let mut bytes = vec![0; bytes_to_index(stream.size)?];
        let file = content(stream, &self.reader.metadata)?;
        file.read_at(0, &mut bytes)?;
        Ok(bytes)
    }

    /// `stream` as the content of a file.
    ///
    /// # Errors
    /// `Undecodable` or `Encrypted` if the stored bytes are not the content.
    pub(super) fn file(&self, stream: Stream) -> FsResult<Arc<dyn FileData>> {
        content(stream, &self.reader.data)
    }
}

/// The content of `stream`, whose runs lie on `device`.
fn content(stream: Stream, device: &Arc<dyn BlockDevice>) -> FsResult<Arc<dyn FileData>> {
    if let Some(reason) = stream.refusal() {
        return Err(match reason {
            FsErrorKind::Undecodable(reason) => FsError::undecodable(reason),
            _ => FsError::encrypted(),
        });
    }
    match stream.content {
        Content::Resident(bytes) => Ok(Arc::new(BytesFile::new(bytes))),
        Content::Runs(extents) => {
            let file = ExtentFile::new(device.clone(), extents, stream.size, stream.valid)?;
            Ok(Arc::new(file))
        }
    }
}

impl Stream {
    /// Why the content cannot be handed out, if so.
    pub(super) fn refusal(&self) -> Option<FsErrorKind> {
        refusal(
            self.is_encrypted,
            self.is_compressed && matches!(self.content, Content::Runs(_)),
            self.size,
        )
    }
}

/// Why a stream with these flags cannot be handed out. A resident value is never compressed.
pub(super) fn refusal(is_encrypted: bool, is_compressed: bool, size: u64) -> Option<FsErrorKind> {
    if size == 0 {
        None
    } else if is_encrypted {
        Some(FsErrorKind::Encrypted)
    } else if is_compressed {
        Some(FsErrorKind::Undecodable(Reason::NTFS_COMPRESSED))
    } else {
        None
    }
}

/// Puts the pieces of one attribute together.
#[derive(Default)]
struct StreamBuilder {
    stream: Option<Stream>,
    clusters: u64,
    pieces: u32,
}

impl StreamBuilder {
    fn is_empty(&self) -> bool {
        self.stream.is_none()
    }

    /// Appends a piece, which has to begin where the one before ended.
    fn add(&mut self, attribute: &Attribute<'_>, cluster_size: u64) -> FsResult<()> {
        self.pieces = self.pieces.saturating_add(1);
        let gap = || FsError::undecodable(Reason::ATTRIBUTE_LIST).at(attribute.position);
        let piece = match (&attribute.form, &self.stream) {
            (Form::Resident(value), None) => {
                self.stream = Some(Stream {
                    size: byte_count(value.len()),
                    valid: byte_count(value.len()),
                    is_compressed: attribute.is_compressed,
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
        let stream = self.stream.get_or_insert_with(|| Stream {
            size: piece.size,
            valid: piece.initialized.min(piece.size),
            is_compressed: attribute.is_compressed,
            is_encrypted: attribute.is_encrypted,
            content: Content::Runs(Extents::default()),
        });
        let Content::Runs(extents) = &mut stream.content else {
            return Err(gap());
        };
        stream.is_compressed |= attribute.is_compressed;
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

    fn finish(self) -> FsResult<Stream> {
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

impl<'a> ListEntry<'a> {
    /// The next entry, `None` at the end.
    fn read(reader: &mut ByteReader<'a>) -> FsResult<Option<Self>> {
        // The list is padded to 8 bytes.
        if reader.remaining() < 0x1A {
            return Ok(None);
        }
        let mut head = reader.clone();
        let kind = head.u32_le()?;
        let length = usize::from(head.u16_le()?);
        if length < 0x1A {
            return Err(head.corrupt("has an entry that is too short").into());
        }
        let bytes = reader.take(length)?;
        let name_length = usize::from(head.u8()?);
        let name_start = usize::from(head.u8()?);
        let name_end = name_start.saturating_add(name_length.saturating_mul(2));
        let name = bytes.get(name_start..name_end);
        Ok(Some(Self {
            kind,
            name: match name_length {
                0 => &[],
                _ => name.ok_or_else(|| head.corrupt("has a name that leaves its entry"))?,
            },
            lowest_vcn: head.u64_le()?,
            record: FileReference(head.u64_le()?),
            instance: head.u16_le()?,
        }))
    }

    /// The attribute of `record` that the entry means.
    fn find<'r>(&self, record: &'r FileRecord) -> FsResult<Attribute<'r>> {
        for attribute in record.attributes() {
            let attribute = attribute?;
            let lowest_vcn = match &attribute.form {
                Form::Resident(_) => 0,
                Form::NonResident(piece) => piece.lowest_vcn,
            };
            if attribute.kind == self.kind
                && attribute.instance == self.instance
                && attribute.name == self.name
                && lowest_vcn == self.lowest_vcn
            {
                return Ok(attribute);
            }
        }
        Err(FsError::corrupt("attribute list names an attribute that is not there")
            .at(record.position()))
    }
}
