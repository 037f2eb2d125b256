//! What is known of a file or directory from its file record.

use volfold_block::ByteReader;

use super::index::I30;
use super::record::{Attribute, FileRecord, Form, kind};
use super::reparse::{self, Interix, Meaning};
use super::volume::{Volume, refusal};
use crate::error::{FsError, FsErrorKind, FsResult};
use crate::node::{
    Attributes, FileKind, Metadata, NodeId, StreamInfo, StreamName, Times, Timestamp,
};
use crate::wtf8;

/// Seconds from 1601 to 1970.
const UNIX_EPOCH: i64 = 11_644_473_600;
/// `FILE_ATTRIBUTE_SYSTEM`, which every Interix file has.
const SYSTEM: u32 = 0x4;
/// `FILE_ATTRIBUTE_DIRECTORY` of MS-FSCC; NTFS itself keeps it elsewhere.
const DIRECTORY: u32 = 0x10;
/// The name space of an 8.3 name that stands beside a long one.
const DOS_NAME_SPACE: u8 = 2;
/// LIMIT: alternate streams of one node.
const MAX_STREAMS: usize = 65536;

/// A node, with the target if it is a link.
pub(super) struct Node {
    pub(super) metadata: Metadata,
    pub(super) target: Option<FsResult<Vec<u8>>>,
}

/// What is gathered from the attributes of a node.
#[derive(Default)]
struct Gathered {
    times: Times,
    attributes: u32,
    names: u32,
    has_reparse: bool,
    has_main: bool,
    size: u64,
    allocated: u64,
    refusal: Option<FsErrorKind>,
}

impl Node {
    /// Reads the attributes of `record`, a base record.
    ///
    /// # Errors
    /// Why they cannot be read.
    pub(super) fn read(volume: &Volume, record: &FileRecord) -> FsResult<Self> {
        let is_directory = record.is_directory();
        let mut gathered = Gathered::default();
        volume.visit(
            record,
            |entry| match entry.kind {
                kind::STANDARD_INFORMATION | kind::FILE_NAME | kind::REPARSE_POINT => true,
                kind::DATA => entry.name.is_empty() && entry.lowest_vcn == 0,
                kind::INDEX_ALLOCATION => entry.lowest_vcn == 0,
                _ => false,
            },
            |attribute| gathered.take(attribute, is_directory),
        )?;
        let mut attributes = gathered.attributes;
        if is_directory {
            attributes |= DIRECTORY;
        }
        let mut node = Self {
            metadata: Metadata {
                node: NodeId(record.number()),
                generation: u64::from(record.sequence()),
                kind: match is_directory {
                    true => FileKind::Directory,
                    false => FileKind::Regular,
                },
                size: gathered.size,
                allocated: gathered.allocated,
                links: match is_directory {
                    true => 1,
                    false => gathered.names.max(1),
                },
                times: gathered.times,
                owner: None,
                device: None,
                attributes: Some(Attributes(attributes)),
                unreadable: gathered.refusal,
            },
            target: None,
        };
        if gathered.has_reparse {
            node.apply_reparse(volume, record)?;
        } else if attributes & SYSTEM != 0
            && !is_directory
            && (9..=reparse::MAX_INTERIX).contains(&gathered.size)
            && gathered.refusal.is_none()
        {
            node.apply_interix(volume, record);
        }
        Ok(node)
    }

    fn apply_reparse(&mut self, volume: &Volume, record: &FileRecord) -> FsResult<()> {
        let point = volume.stream(record, kind::REPARSE_POINT, &[])?;
        let Some(point) = point else {
            return Ok(());
        };
        let bytes = volume.value(point, reparse::MAX_REPARSE)?;
        let is_directory = record.is_directory();
        let metadata = &mut self.metadata;
        match reparse::meaning(reparse::tag(&bytes)?) {
            Meaning::Link => {
                let target = reparse::target(&bytes);
                metadata.kind = FileKind::Symlink;
                metadata.size = target.as_ref().map_or(0, |target| length(target));
                metadata.unreadable = target.as_ref().err().map(FsError::kind);
                metadata.links = metadata.links.max(1);
                self.target = Some(target);
            }
            Meaning::Kind(kind) if !is_directory => metadata.kind = kind,
            Meaning::Unreadable(reason) if !is_directory => metadata.unreadable = Some(reason),
            Meaning::Kind(_) | Meaning::Unreadable(_) => {}
        }
        Ok(())
    }

    /// A system file that cannot be read here stays an ordinary file; `open` tells why.
    fn apply_interix(&mut self, volume: &Volume, record: &FileRecord) {
        let content = volume
            .stream(record, kind::DATA, &[])
            .ok()
            .flatten()
            .and_then(|stream| volume.value(stream, reparse::MAX_INTERIX).ok());
        match content.and_then(|content| reparse::interix(&content)) {
            Some(Interix::Link(target)) => {
                self.metadata.kind = FileKind::Symlink;
                self.metadata.size = length(&target);
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
}

impl Gathered {
    fn take(&mut self, attribute: &Attribute<'_>, is_directory: bool) -> FsResult<()> {
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
            }
            (kind::FILE_NAME, Form::Resident(value))
                if value.get(0x41) != Some(&DOS_NAME_SPACE) =>
            {
                self.names = self.names.saturating_add(1);
            }
            (kind::REPARSE_POINT, _) => self.has_reparse = true,
            (kind::DATA, form) if attribute.name.is_empty() && !is_directory => {
                // The first piece has the sizes of all.
                if std::mem::replace(&mut self.has_main, true) {
                    return Ok(());
                }
                match form {
                    Form::Resident(value) => {
                        self.size = length(value);
                        // In the record a value takes whole units of 8 bytes.
                        self.allocated = self.size.checked_next_multiple_of(8).unwrap_or(self.size);
                    }
                    Form::NonResident(piece) => {
                        self.size = piece.size;
                        self.allocated = piece.allocated;
                    }
                }
                let is_compressed = attribute.is_compressed && matches!(form, Form::NonResident(_));
                self.refusal = refusal(attribute.is_encrypted, is_compressed, self.size);
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

/// The alternate streams of `record`, a base record.
///
/// # Errors
/// Why the attributes cannot be read.
pub(super) fn streams(volume: &Volume, record: &FileRecord) -> FsResult<Vec<StreamInfo>> {
    let mut streams = Vec::new();
    volume.visit(
        record,
        |entry| entry.kind == kind::DATA && !entry.name.is_empty() && entry.lowest_vcn == 0,
        |attribute| {
            if attribute.kind != kind::DATA || attribute.name.is_empty() {
                return Ok(());
            }
            if streams.len() >= MAX_STREAMS {
                return Err(FsError::unsupported("node has too many streams"));
            }
            streams.push(StreamInfo {
                name: StreamName(wtf8::encode(wtf8::units_le(attribute.name))),
                size: match &attribute.form {
                    Form::Resident(value) => length(value),
                    Form::NonResident(piece) => piece.size,
                },
            });
            Ok(())
        },
    )?;
    Ok(streams)
}

fn length(bytes: &[u8]) -> u64 {
    volfold_block::byte_count(bytes.len())
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
