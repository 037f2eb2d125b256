//! The volume: file records by number, attributes over attribute lists.
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

use std::sync::atomic::{AtomicU64, Ordering};

use volfold_block::{
    BlockDevice, ByteReader, Code, Finding, FindingLog, byte_count, bytes_to_index, code,
};

use super::boot::Boot;
use super::record::{Attribute, FileName, FileRecord, FileReference, Form, kind};
use super::stream::{Content, Faults, Stream, StreamBuilder};
use super::units::with_scratch;
use crate::driver::VolumeReader;
use crate::error::{FsError, FsErrorKind, FsResult};
use crate::extents::{Extents, Place};
use crate::wtf8;

/// LIMIT: bytes of an attribute list; the bound that Windows keeps.
const MAX_ATTRIBUTE_LIST: u64 = 256 * 1024;
/// LIMIT: bytes of a value that is held in memory as a whole.
const MAX_VALUE: u64 = 1 << 20;
/// `$BadClus`, whose stream of all clusters that are not bad is one hole without a mark.
const BAD_CLUSTERS: u64 = 8;
/// In the number of a node: an entry of a directory has it, whose record is none of it. No table has
/// as many records.
pub(super) const GONE: u64 = 1 << 47;
pub(super) const GONE_SENTENCE: &str =
    "directory entry names a file that is gone or lies elsewhere";
/// The records that `$MFTMirr` has at least.
const MIRRORED: u64 = 4;
/// Records that lie nearer to each other than this are fetched by one read.
const NEAR: u64 = 32 * 1024;
/// LIMIT: bytes of file records that one read fetches.
const BATCH: u64 = 512 * 1024;

/// Reads of as many bytes go by the cache of metadata.
const LARGE: usize = 16 * 1024;

/// Bytes of the master file table that the host is told to fetch at once.
const WINDOW: u64 = 1 << 20;

/// LIMIT: windows that are known to be fetched, 64 in each word: a table of 64 GiB.
const MAX_FETCHED_WORDS: u64 = 1024;

/// The way to every byte of the volume.
pub(super) struct Volume {
    pub(super) reader: VolumeReader,
    pub(super) boot: Boot,
    mft: Extents,
    mft_size: u64,
    fetched: Fetched,
    /// What was noticed while records were read.
    pub(super) log: FindingLog,
}

/// Which windows of the master file table the host was told to fetch, a bit each.
struct Fetched(Box<[AtomicU64]>);

impl Fetched {
    fn new(mft_size: u64) -> Self {
        let words = mft_size.div_ceil(WINDOW).div_ceil(64).min(MAX_FETCHED_WORDS);
        Self((0..words).map(|_| AtomicU64::new(0)).collect())
    }

    /// Marks the window `number`; whether that is new.
    fn mark(&self, number: u64) -> bool {
        let word = usize::try_from(number / 64).ok().and_then(|word| self.0.get(word));
        let bit = 1_u64.rotate_left(u32::try_from(number % 64).unwrap_or(0));
        word.is_some_and(|word| word.fetch_or(bit, Ordering::Relaxed) & bit == 0)
    }
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
    /// Why the record cannot be read.
    pub(super) fn open(reader: VolumeReader, boot: Boot) -> FsResult<Self> {
        let record_size = byte_count(boot.record_size);
        let mut volume = Self {
            reader,
            boot,
            mft: Extents::default(),
            mft_size: record_size,
            fetched: Fetched::new(0),
            log: FindingLog::new(),
        };
        volume.mft.push(Place::At(volume.boot.mft), record_size)?;
        let record = volume.record(0)?;
        let mut table = StreamBuilder::default();
        let list = volume.attribute_list(&record)?;
        for attribute in record.attributes() {
            let attribute = attribute?;
            let is_table = attribute.kind == kind::DATA && attribute.name.is_empty();
            if is_table && attribute.lowest_vcn() == 0 {
                table.add(&attribute, volume.boot.cluster_size)?;
            }
        }
        if table.extents().and_then(|runs| runs.position(0)) != Some(volume.boot.mft) {
            return Err(FsError::corrupt(
                "master file table lies elsewhere than the boot sector says",
            )
            .at(record.position()));
        }
        if let Some(list) = list {
            volume.extend_table(&record, &list, &mut table)?;
        }
        let table = table.finish()?;
        volume.note_faults(&record, &table);
        let Content::Runs(runs) = table.content else {
            return Err(FsError::corrupt("master file table is resident").at(record.position()));
        };
        volume.mft = runs.finish();
        // No table is larger than what holds it.
        volume.mft_size = table.valid.min(volume.reader.data.size());
        volume.fetched = Fetched::new(volume.mft_size);
        Ok(volume)
    }

    /// Adds the pieces of the master file table that `list` names. Each record that holds a piece
    /// lies in the pieces before it.
    fn extend_table(
        &mut self,
        base: &FileRecord<'_>,
        list: &[u8],
        table: &mut StreamBuilder,
    ) -> FsResult<()> {
        let mut entries = ByteReader::new("attribute list", list, base.position());
        while let Some(entry) = ListEntry::read(&mut entries)? {
            if entry.kind != kind::DATA || !entry.name.is_empty() || entry.lowest_vcn == 0 {
                continue;
            }
            let extension = if entry.record.number() == base.number() {
                None
            } else {
                table.lend(&mut self.mft);
                self.mft_size = self.mft.end();
                let extension = self.extension(base, entry.record);
                table.take_back(&mut self.mft);
                match extension {
                    Ok(extension) => Some(extension),
                    Err(error) => {
                        table.lose(&error)?;
                        continue;
                    }
                }
            };
            match entry.find(extension.as_ref().unwrap_or(base)) {
                Ok(attribute) => table.add(&attribute, self.boot.cluster_size)?,
                Err(error) => table.lose(&error)?,
            }
        }
        Ok(())
    }

    /// The file record `number`, whatever its state. A damaged one of the first four is taken from
    /// the copy in `$MFTMirr`.
    ///
    /// # Errors
    /// `NotFound` past the end of the table; why it cannot be read.
    pub(super) fn record(&self, number: u64) -> FsResult<FileRecord<'static>> {
        let found = self.record_of_table(number);
        match &found {
            Err(error) if error.kind() == FsErrorKind::Corrupt && number < MIRRORED => {
                self.mirrored(number).or(found)
            }
            _ => found,
        }
    }

    fn record_of_table(&self, number: u64) -> FsResult<FileRecord<'static>> {
        let offset = self.record_offset(number)?;
        let mut bytes = vec![0; self.boot.record_size];
        self.mft.read(&*self.reader.metadata, offset, &mut bytes)?;
        Ok(FileRecord::parse(number, self.place(offset), bytes)?)
    }

    fn place(&self, offset: u64) -> u64 {
        self.mft.position(offset).unwrap_or(0)
    }

    /// The copy of the record `number` in `$MFTMirr`.
    fn mirrored(&self, number: u64) -> FsResult<FileRecord<'static>> {
        let mut bytes = vec![0; self.boot.record_size];
        let position = number
            .checked_mul(byte_count(bytes.len()))
            .and_then(|offset| self.boot.mirror.checked_add(offset))
            .ok_or_else(|| FsError::corrupt("$MFTMirr lies outside the volume"))?;
        self.reader.metadata.read_at(position, &mut bytes)?;
        let record = FileRecord::parse(number, position, bytes)?;
        if record.is_node() { Ok(record) } else { Err(FsError::not_found()) }
    }

    /// The first of the mirrored records that can be read from the mirror only.
    pub(super) fn first_mirrored(&self) -> Option<u64> {
        let is_damaged = |number: &u64| {
            let found = self.record_of_table(*number);
            found.is_err_and(|error| error.kind() == FsErrorKind::Corrupt)
                && self.mirrored(*number).is_ok()
        };
        (0..MIRRORED).find(is_damaged)
    }

    /// Whether `record` says itself that it lies in the directory `dir`, and is called `name` there
    /// if that is given.
    ///
    /// # Errors
    /// Why its names cannot be read.
    pub(super) fn has_name(
        &self,
        record: &FileRecord<'_>,
        dir: u64,
        name: Option<&[u8]>,
    ) -> FsResult<bool> {
        let mut has = false;
        self.visit(
            record,
            |entry| entry.kind == kind::FILE_NAME,
            |attribute| {
                if let (kind::FILE_NAME, Form::Resident(value)) = (attribute.kind, &attribute.form)
                    && let Some(own) = FileName::parse(value)
                {
                    let is_called = |name| wtf8::encode(wtf8::units_le(own.name)) == name;
                    has |= own.parent.number() == dir && name.is_none_or(is_called);
                }
                Ok(())
            },
        )?;
        Ok(has)
    }

    /// The first of the mirrored records whose copy says something else.
    pub(super) fn first_unlike_mirror(&self) -> Option<u64> {
        (0..MIRRORED).find(|number| {
            let pair = (self.record_of_table(*number), self.mirrored(*number));
            matches!(pair, (Ok(record), Ok(copy)) if !record.is_same(&copy))
        })
    }

    /// How many records the table has.
    pub(super) fn records(&self) -> u64 {
        self.mft_size.checked_div(byte_count(self.boot.record_size)).unwrap_or(0)
    }

    /// Notes `line` about the file of the base record `record`.
    pub(super) fn note(&self, record: &FileRecord<'_>, code: Code, line: &str) {
        let name = record.file_name().map(|name| wtf8::encode(wtf8::units_le(name.name)));
        let number = record.number();
        let line = match name {
            Some(name) => format!("{} (record {number}): {line}", String::from_utf8_lossy(&name)),
            None => format!("file record {number}: {line}"),
        };
        self.log.add(Finding::warning(code, line).at(record.position()));
    }

    /// Notes what contradicts itself in `stream`, which is one of `record`.
    fn note_faults(&self, record: &FileRecord<'_>, stream: &Stream) {
        let Faults { has_wrong_sizes, has_strange_hole, damaged_from } = stream.faults;
        if has_wrong_sizes {
            let (size, valid) = (stream.size, stream.initialized);
            let line = format!("size {size}, initialized size {valid} and run list do not fit");
            self.note(record, code::NTFS_SIZES, &line);
        }
        if has_strange_hole && record.number() != BAD_CLUSTERS {
            self.note(record, code::NTFS_SPARSE, "hole in a stream that is not sparse is refused");
        }
        if let Some(from) = damaged_from {
            let line = format!("places of the bytes from {from} of {} on are damaged", stream.size);
            self.note(record, code::NTFS_EXTENSION, &line);
        }
    }

    /// Where the record `number` begins in the table.
    fn record_offset(&self, number: u64) -> FsResult<u64> {
        let size = byte_count(self.boot.record_size);
        number
            .checked_mul(size)
            .filter(|offset| offset.checked_add(size).is_some_and(|end| end <= self.mft_size))
            .ok_or_else(FsError::not_found)
    }

    /// Gives the records `numbers`, which are sorted, to `each` with their place in `numbers`.
    /// Records near each other are fetched by one read. One that cannot be read is left out.
    pub(super) fn each_record(
        &self,
        numbers: &[u64],
        mut each: impl FnMut(usize, &FileRecord<'_>),
    ) {
        let size = byte_count(self.boot.record_size);
        self.fetch(numbers);
        let mut first: usize = 0;
        while let Some(start) = numbers.get(first) {
            let Ok(from) = self.record_offset(*start) else {
                first = first.saturating_add(1);
                continue;
            };
            let mut end = from.saturating_add(size);
            let mut last = first.saturating_add(1);
            while let Some(offset) = numbers.get(last).and_then(|n| self.record_offset(*n).ok())
                && offset <= end.saturating_add(NEAR)
                && offset.saturating_add(size) <= from.saturating_add(BATCH)
            {
                end = offset.saturating_add(size);
                last = last.saturating_add(1);
            }
            let batch = numbers.get(first..last).unwrap_or_default();
            let length = bytes_to_index(end.saturating_sub(from)).unwrap_or(0);
            with_scratch(length, |buf| {
                self.each_of_batch(batch, from, buf, |index, record| {
                    each(first.saturating_add(index), record);
                });
            });
            first = last;
        }
    }

    /// The same for the records `numbers`, which fill `buf` from `from` of the table on.
    fn each_of_batch(
        &self,
        numbers: &[u64],
        from: u64,
        buf: &mut [u8],
        mut each: impl FnMut(usize, &FileRecord<'_>),
    ) {
        // Much of the table at once would only drive other things out of the cache.
        let reader = if buf.len() < LARGE { &self.reader.metadata } else { &self.reader.data };
        let is_read = self.mft.read(&**reader, from, buf).is_ok();
        for (index, number) in numbers.iter().enumerate() {
            let offset = number.saturating_mul(byte_count(self.boot.record_size));
            let inside = usize::try_from(offset.saturating_sub(from)).unwrap_or(usize::MAX);
            let bytes = buf.get_mut(inside..inside.saturating_add(self.boot.record_size));
            if let Some(bytes) = bytes.filter(|_| is_read)
                && let Ok(record) = FileRecord::parse_in_place(*number, self.place(offset), bytes)
            {
                each(index, &record);
            } else if let Ok(record) = self.record(*number) {
                // A neighbour may be the one that cannot be read.
                each(index, &record);
            }
        }
    }

    /// Lets the host fetch the windows of the table in which many records `numbers` lie, and what
    /// is after them: a walk goes there next.
    fn fetch(&self, numbers: &[u64]) {
        /// Fewer records than these are no walk.
        const MANY: usize = 16;
        /// LIMIT: windows that are asked for at once.
        const AT_ONCE: u64 = 16;
        let (Some(first), Some(last)) = (numbers.first(), numbers.last()) else { return };
        if numbers.len() < MANY {
            return;
        }
        let size = byte_count(self.boot.record_size);
        let first = first.saturating_mul(size) / WINDOW;
        let last = last.saturating_mul(size) / WINDOW;
        for window in first..=last.saturating_add(1).min(first.saturating_add(AT_ONCE)) {
            if self.fetched.mark(window) {
                let start = window.saturating_mul(WINDOW);
                let end = start.saturating_add(WINDOW);
                self.mft.will_need(&*self.reader.metadata, start, end);
            }
        }
    }

    /// The base record of the node `number`.
    ///
    /// # Errors
    /// `NotFound` if the record is not in use or extends another, `Corrupt` if it is [`GONE`]; why
    /// it cannot be read.
    pub(super) fn node(&self, number: u64) -> FsResult<FileRecord<'static>> {
        if number & GONE != 0 {
            return Err(FsError::corrupt(GONE_SENTENCE));
        }
        let record = self.record(number)?;
        if record.is_node() { Ok(record) } else { Err(FsError::not_found()) }
    }

    /// Gives the attributes of a node to `visit`. Where there is an attribute list, an attribute
    /// that it names is given if `wanted` says so, and no other.
    ///
    /// # Errors
    /// What `visit` says; why a record or the list cannot be read.
    pub(super) fn visit(
        &self,
        base: &FileRecord<'_>,
        wanted: impl Fn(&ListEntry<'_>) -> bool,
        mut visit: impl FnMut(&Attribute<'_>) -> FsResult<()>,
    ) -> FsResult<()> {
        self.visit_each(base, wanted, |_, found| visit(found?))
    }

    /// As [`Self::visit`], but an attribute of another record that cannot be read is given as an
    /// error, with its kind.
    ///
    /// # Errors
    /// What `visit` says; why the base record or the list cannot be read.
    pub(super) fn visit_each(
        &self,
        base: &FileRecord<'_>,
        wanted: impl Fn(&ListEntry<'_>) -> bool,
        mut visit: impl FnMut(u32, FsResult<&Attribute<'_>>) -> FsResult<()>,
    ) -> FsResult<()> {
        let Some(list) = self.attribute_list(base)? else {
            for attribute in base.attributes() {
                let attribute = attribute?;
                visit(attribute.kind, Ok(&attribute))?;
            }
            return Ok(());
        };
        let mut extension: Option<FileRecord<'_>> = None;
        let mut entries = ByteReader::new("attribute list", &list, base.position());
        while let Some(entry) = ListEntry::read(&mut entries)? {
            if !wanted(&entry) {
                continue;
            }
            let number = entry.record.number();
            if number != base.number() && extension.as_ref().map(FileRecord::number) != Some(number)
            {
                extension = match self.extension(base, entry.record) {
                    Ok(record) => Some(record),
                    Err(error) => {
                        extension = None;
                        visit(entry.kind, Err(error))?;
                        continue;
                    }
                };
            }
            let record = match &extension {
                Some(record) if number != base.number() => record,
                _ => base,
            };
            match entry.find(record) {
                Ok(attribute) => visit(entry.kind, Ok(&attribute))?,
                Err(error) => visit(entry.kind, Err(error))?,
            }
        }
        Ok(())
    }

    /// The record `reference`, which has to extend `base`.
    fn extension(
        &self,
        base: &FileRecord<'_>,
        reference: FileReference,
    ) -> FsResult<FileRecord<'static>> {
        let record = self.record(reference.number())?;
        // Who deletes a file adds 1 to the sequence number of each of its records, but not to what names them.
        let is_of = |now: u16, before: u16| {
            now == before || (!base.is_in_use() && now == before.wrapping_add(1).max(1))
        };
        let belongs = record.is_in_use() == base.is_in_use()
            && is_of(record.sequence(), reference.sequence())
            && record.base().number() == base.number()
            && is_of(base.sequence(), record.base().sequence());
        if belongs {
            Ok(record)
        } else {
            Err(FsError::corrupt("attribute list names a record of another file")
                .at(record.position()))
        }
    }

    /// The bytes of the attribute list, if the node has one.
    fn attribute_list(&self, base: &FileRecord<'_>) -> FsResult<Option<Vec<u8>>> {
        for attribute in base.attributes() {
            let attribute = attribute?;
            if attribute.kind == kind::ATTRIBUTE_LIST {
                let mut builder = StreamBuilder::default();
                builder.add(&attribute, self.boot.cluster_size)?;
                let list = builder.finish()?;
                return self.value(list, MAX_ATTRIBUTE_LIST).map(Some);
            }
            // Attributes are sorted by kind.
            if attribute.kind > kind::ATTRIBUTE_LIST {
                break;
            }
        }
        Ok(None)
    }

    /// The attribute `kind` with `name` (UTF-16, little-endian), put together from its pieces;
    /// `None` if there is none.
    ///
    /// # Errors
    /// `Undecodable` if the pieces of an attribute list do not fit, `Corrupt` if the first of them
    /// cannot be read. What a later one hides is refused by reads.
    pub(super) fn stream(
        &self,
        base: &FileRecord<'_>,
        kind: u32,
        name: &[u8],
    ) -> FsResult<Option<Stream>> {
        let mut builder = StreamBuilder::default();
        self.visit_each(
            base,
            |entry| entry.kind == kind && entry.name == name,
            |_, found| match found {
                Ok(attribute) if attribute.kind == kind && attribute.name == name => {
                    builder.add(attribute, self.boot.cluster_size)
                }
                Ok(_) => Ok(()),
                Err(error) => builder.lose(&error),
            },
        )?;
        if builder.is_empty() {
            return Ok(None);
        }
        let stream = builder.finish()?;
        if stream.faults != Faults::default() {
            self.note_faults(base, &stream);
        }
        Ok(Some(stream))
    }

    /// All bytes of `stream`, which must not be more than `limit`.
    ///
    /// # Errors
    /// `Corrupt` if it is longer; `Unsupported` if it is compressed; why it cannot be read.
    pub(super) fn value(&self, stream: Stream, limit: u64) -> FsResult<Vec<u8>> {
        self.content_of(stream, limit.min(MAX_VALUE))
    }

    /// The same with `limit` as the only bound.
    ///
    /// # Errors
    /// As [`Self::value`].
    pub(super) fn content_of(&self, stream: Stream, limit: u64) -> FsResult<Vec<u8>> {
        if stream.size > limit {
            return Err(FsError::corrupt("attribute is longer than it may be"));
        }
        match stream.content {
            Content::Resident(bytes) => Ok(bytes),
            Content::Runs(_) if stream.compression.is_some() || stream.is_encrypted => {
                Err(FsError::unsupported("value of a file record is compressed or encrypted"))
            }
            Content::Runs(runs) => {
                let mut bytes = vec![0; bytes_to_index(stream.size)?];
                let valid = bytes_to_index(stream.valid)?.min(bytes.len());
                let stored = bytes.get_mut(..valid).unwrap_or_default();
                runs.read(&*self.reader.metadata, 0, stored)?;
                Ok(bytes)
            }
        }
    }

    /// The value of the unnamed attribute `kind`, if there is one of at most `limit` bytes.
    ///
    /// # Errors
    /// As [`Self::stream`] and [`Self::value`].
    pub(super) fn attribute(
        &self,
        base: &FileRecord<'_>,
        kind: u32,
        limit: u64,
    ) -> FsResult<Option<Vec<u8>>> {
        let stream = self.stream(base, kind, &[])?;
        stream.map(|stream| self.value(stream, limit)).transpose()
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
    fn find<'r>(&self, record: &'r FileRecord<'_>) -> FsResult<Attribute<'r>> {
        for attribute in record.attributes() {
            let attribute = attribute?;
            if attribute.kind == self.kind
                && attribute.instance == self.instance
                && attribute.name == self.name
                && attribute.lowest_vcn() == self.lowest_vcn
            {
                return Ok(attribute);
            }
        }
        Err(FsError::corrupt("attribute list names an attribute that is not there")
            .at(record.position()))
    }
}
