//! What is known of a file or directory from its file record.

use volfold_block::{ByteReader, byte_count, code};

use super::extended::{self, Lx};
use super::index::I30;
use super::record::{Attribute, FileName, FileRecord, Form, kind};
use super::reparse::{self, Interix, Meaning};
use super::stream::{Compression, refusal};
use super::volume::{ListEntry, Volume};
use super::wof;
use crate::error::{FsError, FsErrorKind, FsResult, Reason};
use crate::node::{
    Attributes, FileKind, Metadata, NodeId, Owner, StreamInfo, StreamName, Times, Timestamp,
};
use crate::wtf8;

/// Seconds from 1601 to 1970.
const UNIX_EPOCH: i64 = 11_644_473_600;
/// `FILE_ATTRIBUTE_SYSTEM`, which every Interix file has.
const SYSTEM: u32 = 0x4;
/// `FILE_ATTRIBUTE_DIRECTORY` of MS-FSCC; NTFS itself keeps it elsewhere.
const DIRECTORY: u32 = 0x10;
/// `FILE_ATTRIBUTE_REPARSE_POINT`.
const REPARSE: u32 = 0x400;
/// `FILE_ATTRIBUTE_OFFLINE`, `..._RECALL_ON_OPEN` and `..._RECALL_ON_DATA_ACCESS`: the content is
/// elsewhere.
const NOT_HERE: u32 = 0x1000 | 0x4_0000 | 0x40_0000;
/// LIMIT: alternate streams of one node.
const MAX_STREAMS: usize = 65536;

/// A node, with what else its record says.
pub(super) struct Node {
    pub(super) metadata: Metadata,
    /// Where it leads, if it is a link.
    pub(super) target: Option<FsResult<Vec<u8>>>,
    /// How its content is compressed in another stream, if it is.
    pub(super) wof: Option<wof::Algorithm>,
    /// Whether names of this directory that differ in case are different names.
    pub(super) is_case_sensitive: bool,
}

/// What is gathered from the attributes of a node.
#[derive(Default)]
struct Gathered {
    times: Times,
    attributes: u32,
    is_case_sensitive: bool,
    names: u32,
    /// A name says that the record is a directory and it is none, or the reverse.
    has_other_kind: bool,
    /// A name lies in a record that cannot be read.
    has_lost_name: bool,
    has_reparse: bool,
    has_ea: bool,
    has_main: bool,
    size: u64,
    allocated: u64,
    wof_allocated: Option<u64>,
    refusal: Option<FsErrorKind>,
}

/// Whether the metadata of a node depends on the attribute that `entry` lists.
fn is_wanted(entry: &ListEntry<'_>) -> bool {
    match entry.kind {
        kind::STANDARD_INFORMATION | kind::FILE_NAME | kind::REPARSE_POINT | kind::EA => true,
        kind::DATA => entry.lowest_vcn == 0 && (entry.name.is_empty() || entry.name == wof::STREAM),
        kind::INDEX_ALLOCATION => entry.lowest_vcn == 0,
        _ => false,
    }
}

impl Node {
    /// Reads the attributes of `record`, a base record.
    ///
    /// # Errors
    /// Why they cannot be read.
    pub(super) fn read(volume: &Volume, record: &FileRecord<'_>) -> FsResult<Self> {
        let is_directory = record.is_directory();
        let cluster_size = volume.boot.cluster_size;
        let mut gathered = Gathered::default();
        volume.visit_each(record, is_wanted, |kind, found| match found {
            Ok(attribute) => gathered.take(attribute, is_directory, cluster_size),
            // The other names of a file are found by their directories.
            Err(_) if kind == kind::FILE_NAME => {
                gathered.has_lost_name = true;
                Ok(())
            }
            Err(error) => Err(error),
        })?;
        let mut attributes = gathered.attributes;
        if is_directory {
            attributes |= DIRECTORY;
        }
        let mut node = Self {
            metadata: Metadata {
                generation: u64::from(record.sequence()),
                size: gathered.size,
                allocated: gathered.allocated,
                links: if is_directory { 1 } else { gathered.names.max(1) },
                times: gathered.times,
                attributes: Some(Attributes(attributes)),
                unreadable: gathered.refusal,
                ..Metadata::new(
                    NodeId(record.number()),
                    if is_directory { FileKind::Directory } else { FileKind::Regular },
                )
            },
            target: None,
            wof: None,
            is_case_sensitive: gathered.is_case_sensitive,
        };
        gathered.note_contradictions(volume, record);
        if gathered.has_reparse {
            // The main stream tells the size; without it, or without the other, nothing is known.
            let wof_allocated = gathered.wof_allocated.filter(|_| gathered.has_main);
            node.apply_reparse(volume, record, wof_allocated)?;
        } else if attributes & SYSTEM != 0
            && !is_directory
            && (9..=reparse::MAX_INTERIX).contains(&gathered.size)
            && gathered.refusal.is_none()
        {
            node.apply_interix(volume, record);
        }
        if !gathered.has_reparse && !is_directory && gathered.is_content_elsewhere() {
            node.metadata.unreadable = Some(FsErrorKind::Corrupt);
        }
        if gathered.has_ea {
            node.apply_lx(volume, record);
        }
        Ok(node)
    }

    fn apply_reparse(
        &mut self,
        volume: &Volume,
        record: &FileRecord<'_>,
        wof_allocated: Option<u64>,
    ) -> FsResult<()> {
        let bytes = volume.attribute(record, kind::REPARSE_POINT, reparse::MAX_REPARSE)?;
        let Some(bytes) = bytes else {
            return Ok(());
        };
        let is_directory = record.is_directory();
        let metadata = &mut self.metadata;
        match reparse::meaning(&bytes)? {
            Meaning::Link => {
                let target = reparse::target(&bytes);
                metadata.kind = FileKind::Symlink;
                metadata.size = target.as_ref().map_or(0, |target| byte_count(target.len()));
                metadata.unreadable = target.as_ref().err().map(FsError::kind);
                metadata.links = metadata.links.max(1);
                self.target = Some(target);
            }
            _ if is_directory => {}
            Meaning::Kind(kind) => metadata.kind = kind,
            Meaning::Unreadable(reason) => metadata.unreadable = Some(reason),
            Meaning::Wof(algorithm) => match wof_allocated {
                Some(allocated) => {
                    metadata.allocated = metadata.allocated.saturating_add(allocated);
                    metadata.unreadable = None;
                    self.wof = Some(algorithm);
                }
                None => metadata.unreadable = Some(FsErrorKind::Corrupt),
            },
            Meaning::Cloud => {
                let attributes = metadata.attributes.unwrap_or_default().0;
                let is_here = attributes & NOT_HERE == 0
                    && metadata.size > 0
                    && metadata.allocated >= metadata.size;
                if !is_here {
                    metadata.unreadable = Some(FsErrorKind::Undecodable(Reason::CLOUD));
                }
            }
        }
        Ok(())
    }

    /// A system file that cannot be read here stays an ordinary file; `open` tells why.
    fn apply_interix(&mut self, volume: &Volume, record: &FileRecord<'_>) {
        let content = volume
            .attribute(record, kind::DATA, reparse::MAX_INTERIX)
            .ok()
            .flatten()
            .and_then(|content| reparse::interix(&content));
        match content {
            Some(Interix::Link(target)) => {
                self.metadata.kind = FileKind::Symlink;
                self.metadata.size = byte_count(target.len());
                self.target = Some(Ok(target));
            }
            Some(Interix::Device(kind, numbers)) => {
                self.metadata.kind = kind;
                self.metadata.size = 0;
                self.metadata.device = Some(numbers);
            }
            None => {}
        }
    }

    /// Takes owner, mode and device number that the Windows subsystem for Linux wrote. What
    /// cannot be read there is as if it were not there: the file is one of Windows all the same.
    fn apply_lx(&mut self, volume: &Volume, record: &FileRecord<'_>) {
        let bytes = volume.attribute(record, kind::EA, extended::MAX_EA).ok().flatten();
        let lx = Lx::parse(&bytes.unwrap_or_default());
        if let (Some(uid), Some(gid), Some(mode)) = (lx.uid, lx.gid, lx.mode) {
            let mode = u16::try_from(mode & 0o7777).unwrap_or(0);
            self.metadata.owner = Some(Owner { uid, gid, mode });
        }
        if matches!(self.metadata.kind, FileKind::CharDevice | FileKind::BlockDevice) {
            self.metadata.device = self.metadata.device.or(lx.device);
        }
    }
}

impl Gathered {
    /// Whether marks say that the main stream is not the content, where there is no reparse point.
    fn is_content_elsewhere(&self) -> bool {
        self.attributes & REPARSE != 0 || self.wof_allocated.is_some()
    }

    fn note_contradictions(&self, volume: &Volume, record: &FileRecord<'_>) {
        let is_marked = self.attributes & REPARSE != 0;
        let line = match (self.has_reparse, is_marked, self.wof_allocated) {
            (true, false, _) => Some("it has a reparse point, and is not marked as one"),
            (false, true, _) => Some("it is marked as a reparse point, and is none"),
            (false, false, Some(_)) => {
                Some("its compressed stream is there, its reparse point not")
            }
            _ => None,
        };
        if let Some(line) = line {
            volume.note(record, code::NTFS_REPARSE, line);
        }
        if self.has_other_kind {
            let line = "record and name do not agree whether it is a directory";
            volume.note(record, code::NTFS_DIRECTORY_FLAG, line);
        }
        if self.has_lost_name {
            let line = "a name lies in a record that cannot be read";
            volume.note(record, code::NTFS_EXTENSION, line);
        }
    }

    fn take(
        &mut self,
        attribute: &Attribute<'_>,
        is_directory: bool,
        cluster_size: u64,
    ) -> FsResult<()> {
        match (attribute.kind, &attribute.form) {
            (kind::STANDARD_INFORMATION, Form::Resident(value)) => {
                let mut reader = ByteReader::new("standard information", value, attribute.position);
                self.times = Times {
                    created: Some(timestamp(reader.u64_le()?)),
                    modified: timestamp(reader.u64_le()?),
                    changed: timestamp(reader.u64_le()?),
                    accessed: timestamp(reader.u64_le()?),
                };
                self.attributes = reader.u32_le()?;
                // QUIRK: Windows 10 keeps the mark of a case-sensitive directory in the version
                // number, where the greatest version number is 0 and versions thus have no use.
                let versions = reader.u32_le().and_then(|most| Ok((most, reader.u32_le()?)));
                self.is_case_sensitive = is_directory && matches!(versions, Ok((0, 1)));
            }
            (kind::FILE_NAME, Form::Resident(value)) => {
                let name = FileName::parse(value);
                if !name.as_ref().is_some_and(|name| name.is_dos) {
                    self.names = self.names.saturating_add(1);
                }
                self.has_other_kind |= name.is_some_and(|name| name.is_directory != is_directory);
            }
            (kind::REPARSE_POINT, _) => self.has_reparse = true,
            (kind::EA, _) => self.has_ea = true,
            // The first piece has the sizes of all.
            (kind::DATA, _) if is_directory || attribute.lowest_vcn() != 0 => {}
            (kind::DATA, _) if attribute.name.is_empty() && !self.has_main => {
                self.has_main = true;
                (self.size, self.allocated) = attribute.sizes();
                let compression = Compression::of(attribute, cluster_size);
                self.refusal = refusal(attribute.is_encrypted, compression, self.size);
            }
            (kind::DATA, _) if attribute.name == wof::STREAM => {
                self.wof_allocated = Some(attribute.sizes().1);
            }
            (kind::INDEX_ALLOCATION, Form::NonResident(piece))
                if is_directory && attribute.name == I30 && piece.lowest_vcn == 0 =>
            {
                self.size = piece.size;
                self.allocated = piece.allocated;
            }
            _ => {}
        }
        Ok(())
    }
}

/// Takes the times from the first attribute of `record`, a base record, alone.
pub(super) fn read_times(record: &FileRecord<'_>, metadata: &mut Metadata) {
    let mut gathered = Gathered::default();
    for attribute in record.attributes().map_while(Result::ok) {
        if attribute.kind == kind::STANDARD_INFORMATION
            && gathered.take(&attribute, record.is_directory(), 0).is_ok()
        {
            metadata.times = gathered.times;
        }
    }
}

/// The alternate streams of `record`, a base record. The one that holds the compressed content of
/// the file itself is none.
///
/// # Errors
/// Why the attributes cannot be read.
pub(super) fn streams(volume: &Volume, record: &FileRecord<'_>) -> FsResult<Vec<StreamInfo>> {
    let mut streams = Vec::new();
    volume.visit(
        record,
        |entry| entry.kind == kind::DATA && !entry.name.is_empty() && entry.lowest_vcn == 0,
        |attribute| {
            if attribute.kind != kind::DATA
                || attribute.name.is_empty()
                || attribute.lowest_vcn() != 0
            {
                return Ok(());
            }
            if streams.len() >= MAX_STREAMS {
                return Err(FsError::unsupported("node has too many streams"));
            }
            streams.push(StreamInfo {
                name: StreamName(wtf8::encode(wtf8::units_le(attribute.name))),
                size: attribute.sizes().0,
            });
            Ok(())
        },
    )?;
    Ok(streams)
}

/// A FILETIME, 100 ns since 1601, as a point in time.
fn timestamp(filetime: u64) -> Timestamp {
    let seconds = i64::try_from(filetime / 10_000_000).unwrap_or(i64::MAX);
    let fraction = u32::try_from(filetime % 10_000_000).unwrap_or(0);
    Timestamp {
        seconds: seconds.saturating_sub(UNIX_EPOCH),
        nanoseconds: fraction.saturating_mul(100),
    }
}
