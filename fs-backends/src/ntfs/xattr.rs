//! What NTFS keeps of a node beside its content, as extended attributes by the names of ntfs-3g.
//!
//! | name                       | value                                                          |
//! |----------------------------|----------------------------------------------------------------|
//! | `system.ntfs_acl`          | the security descriptor                                        |
//! | `system.ntfs_attrib`       | the attributes of Windows, 4 bytes                             |
//! | `system.ntfs_times`        | creation, change of content, access, change of metadata        |
//! | `system.ntfs_crtime`       | creation, 100 ns since 1601                                    |
//! | `system.ntfs_reparse_data` | the reparse buffer                                             |
//! | `system.ntfs_object_id`    | the object id                                                  |
//! | `system.ntfs_dos_name`     | the 8.3 name                                                   |
//! | `system.ntfs_ea`           | the extended attributes of OS/2 and Linux, as stored           |
//! | `system.ntfs_efsinfo`      | the keys of an encrypted file, as stored                       |
//! | `user.STREAM`              | the alternate stream `STREAM`                                  |
//!
//! Numbers are little-endian; `_be` after the name of one gives it big-endian.

use volfold_block::{ByteReader, byte_count, bytes_to_index};

use super::extended::MAX_EA;
use super::index::{Index, Keys};
use super::mounted::NtfsFileSystem;
use super::node;
use super::record::{DOS_NAME_SPACE, FileRecord, Form, kind};
use super::reparse::MAX_REPARSE;
use crate::error::{FsError, FsErrorKind, FsResult};
use crate::wtf8;

/// `$Secure`, the file of all security descriptors.
const SECURE: u64 = 9;
/// `$SDS`, its stream that holds them, in UTF-16.
const SDS: &[u8] = b"$\0S\0D\0S\0";
/// `$EFS`, the name of the attribute with the keys of a file, in UTF-16.
const EFS: &[u8] = b"$\0E\0F\0S\0";
/// What stands before a descriptor in `$SDS`: hash, id, offset and size.
const DESCRIPTOR_HEADER: u32 = 20;
/// LIMIT: bytes of an extended attribute, the bound of Linux.
const MAX_VALUE: u64 = 64 * 1024;
/// LIMIT: bytes of an object id with its three companions.
const MAX_OBJECT_ID: u64 = 64;
/// The way to the file that has the ids which files were born with, and the bytes it has of each.
const OBJECT_DATA: usize = 56;
/// `FILE_ATTRIBUTE_DIRECTORY` and `FILE_ATTRIBUTE_NORMAL` of MS-FSCC.
const DIRECTORY: u32 = 0x10;
const NORMAL: u32 = 0x80;

/// What `$STANDARD_INFORMATION` says.
struct Standard {
    /// Creation, change of content, change of metadata, access.
    times: [u64; 4],
    attributes: u32,
    security_id: u32,
}

fn none() -> FsError {
    FsError::new(FsErrorKind::NotFound, "no such extended attribute")
}

impl NtfsFileSystem {
    /// The names of the extended attributes that `record` has.
    pub(super) fn extended_names(&self, record: &FileRecord<'_>) -> FsResult<Vec<Vec<u8>>> {
        let mut names: Vec<Vec<u8>> = Vec::new();
        let mut add = |name: &str| names.push(name.as_bytes().to_vec());
        let standard = self.standard(record)?;
        for name in ["system.ntfs_attrib", "system.ntfs_times", "system.ntfs_crtime"] {
            add(name);
        }
        let mut has_acl = standard.security_id != 0;
        let (mut others, mut has_dos_name) = (Vec::new(), false);
        self.volume.visit(
            record,
            |entry| entry.kind != kind::DATA && entry.lowest_vcn == 0,
            |attribute| {
                match attribute.kind {
                    kind::SECURITY_DESCRIPTOR => has_acl = true,
                    kind::OBJECT_ID => others.push("system.ntfs_object_id"),
                    kind::REPARSE_POINT => others.push("system.ntfs_reparse_data"),
                    kind::EA => others.push("system.ntfs_ea"),
                    kind::LOGGED_UTILITY_STREAM if attribute.name == EFS => {
                        others.push("system.ntfs_efsinfo");
                    }
                    kind::FILE_NAME => has_dos_name |= dos_name(&attribute.form).is_some(),
                    _ => {}
                }
                Ok(())
            },
        )?;
        if has_acl {
            add("system.ntfs_acl");
        }
        if has_dos_name {
            add("system.ntfs_dos_name");
        }
        for name in others {
            add(name);
        }
        for stream in node::streams(&self.volume, record)? {
            names.push([b"user.", stream.name.0.as_slice()].concat());
        }
        Ok(names)
    }

    /// The value of the extended attribute `name` of `record`.
    pub(super) fn extended_value(&self, record: &FileRecord<'_>, name: &[u8]) -> FsResult<Vec<u8>> {
        if let Some(stream) = name.strip_prefix(b"user.") {
            return self.stream_value(record, stream);
        }
        let name = name.strip_prefix(b"system.ntfs_").ok_or_else(none)?;
        let (name, is_big) = match name.strip_suffix(b"_be") {
            Some(name) => (name, true),
            None => (name, false),
        };
        let number = |number: u64| if is_big { number.to_be_bytes() } else { number.to_le_bytes() };
        let value = |kind, limit| self.volume.attribute(record, kind, limit)?.ok_or_else(none);
        match (name, is_big) {
            (b"attrib", _) => {
                let attributes = self.standard(record)?.attributes & !DIRECTORY;
                let attributes = match (record.is_directory(), attributes) {
                    (true, attributes) => attributes | DIRECTORY,
                    (false, 0) => NORMAL,
                    (false, attributes) => attributes,
                };
                let bytes =
                    if is_big { attributes.to_be_bytes() } else { attributes.to_le_bytes() };
                Ok(bytes.to_vec())
            }
            (b"crtime", _) => {
                let [created, ..] = self.standard(record)?.times;
                Ok(number(created).to_vec())
            }
            (b"times", _) => {
                let [created, modified, changed, accessed] = self.standard(record)?.times;
                Ok([created, modified, accessed, changed].map(number).concat())
            }
            (b"acl" | b"security", false) => self.descriptor(record),
            (b"reparse_data", false) => value(kind::REPARSE_POINT, MAX_REPARSE),
            (b"object_id", false) => {
                let own = value(kind::OBJECT_ID, MAX_OBJECT_ID)?;
                Ok(self.with_birth_ids(own))
            }
            (b"ea", false) => value(kind::EA, MAX_EA),
            (b"dos_name", false) => self.dos_name(record),
            (b"efsinfo", false) => {
                let stream = self.volume.stream(record, kind::LOGGED_UTILITY_STREAM, EFS)?;
                self.volume.value(stream.ok_or_else(none)?, MAX_VALUE)
            }
            _ => Err(none()),
        }
    }

    fn standard(&self, record: &FileRecord<'_>) -> FsResult<Standard> {
        const MAX_STANDARD: u64 = 0x100;
        let value = self.volume.attribute(record, kind::STANDARD_INFORMATION, MAX_STANDARD)?;
        let value = value.ok_or_else(|| FsError::corrupt("file has no standard information"))?;
        let mut reader = ByteReader::new("standard information", &value, record.position());
        let mut times = [0; 4];
        for time in &mut times {
            *time = reader.u64_le()?;
        }
        let attributes = reader.u32_le()?;
        // NTFS before version 3 ends before the security id.
        let security_id = reader.skip(0x10).and_then(|()| reader.u32_le()).unwrap_or(0);
        Ok(Standard { times, attributes, security_id })
    }

    /// The security descriptor: of the file's own, or by its number from `$Secure`.
    fn descriptor(&self, record: &FileRecord<'_>) -> FsResult<Vec<u8>> {
        if let Some(own) = self.volume.attribute(record, kind::SECURITY_DESCRIPTOR, MAX_VALUE)? {
            return Ok(own);
        }
        let id = self.standard(record)?.security_id;
        if id == 0 {
            return Err(none());
        }
        let found = self.security_index()?.data_of(&self.volume, &id.to_le_bytes());
        let found = found.map_err(|error| match error.kind() {
            FsErrorKind::NotFound => FsError::corrupt("security descriptor is not in $Secure"),
            _ => error,
        })?;
        let mut reader = ByteReader::new("place of a security descriptor", &found, 0);
        let (hash, own_id) = (reader.u32_le()?, reader.u32_le()?);
        let (offset, size) = (reader.u64_le()?, reader.u32_le()?);
        if u64::from(size) > MAX_VALUE || size < DESCRIPTOR_HEADER || own_id != id {
            return Err(FsError::corrupt("security descriptor has an invalid place"));
        }
        let mut bytes = vec![0; bytes_to_index(u64::from(size))?];
        let descriptors = self.stream(&self.volume.node(SECURE)?, SDS)?;
        let count = descriptors.read_at(offset, &mut bytes)?;
        let mut reader = ByteReader::new("security descriptor", &bytes, 0);
        if count != bytes.len() || (reader.u32_le()?, reader.u32_le()?) != (hash, id) {
            return Err(FsError::corrupt("security descriptor is not where $Secure says"));
        }
        reader.skip(12)?;
        Ok(reader.take(reader.remaining())?.to_vec())
    }

    fn security_index(&self) -> FsResult<&Index> {
        if let Some(index) = self.security.get() {
            return Ok(index);
        }
        let record = self.volume.node(SECURE)?;
        let index = Index::open(&self.volume, &record, Keys::SecurityIds)?;
        Ok(self.security.get_or_init(|| index))
    }

    /// The object id `own` and the three ids that the file was born with, which are in `$ObjId`.
    fn with_birth_ids(&self, own: Vec<u8>) -> Vec<u8> {
        const SIZE: usize = 16;
        // What cannot be found there is as if it were not there.
        let births = || -> FsResult<Vec<u8>> {
            self.index_of_extend("$ObjId", Keys::ObjectIds)?.data_of(&self.volume, &own)
        };
        match births() {
            Ok(data) if own.len() == SIZE && data.len() == OBJECT_DATA => {
                // The data begin with the file reference.
                [&own, data.get(8..).unwrap_or_default()].concat()
            }
            _ => own,
        }
    }

    fn dos_name(&self, record: &FileRecord<'_>) -> FsResult<Vec<u8>> {
        let mut found = None;
        self.volume.visit(
            record,
            |entry| entry.kind == kind::FILE_NAME,
            |attribute| {
                if attribute.kind == kind::FILE_NAME && found.is_none() {
                    found = dos_name(&attribute.form);
                }
                Ok(())
            },
        )?;
        found.ok_or_else(none)
    }

    fn stream_value(&self, record: &FileRecord<'_>, name: &[u8]) -> FsResult<Vec<u8>> {
        let units = wtf8::decode(name).filter(|units| !units.is_empty()).ok_or_else(none)?;
        let name: Vec<u8> = units.into_iter().flat_map(u16::to_le_bytes).collect();
        let stream = self.stream(record, &name)?;
        if stream.size() > MAX_VALUE {
            return Err(FsError::unsupported("stream is too long for an extended attribute"));
        }
        let mut bytes = vec![0; bytes_to_index(stream.size())?];
        let count = stream.read_at(0, &mut bytes)?;
        debug_assert_eq!(byte_count(count), stream.size());
        Ok(bytes)
    }
}

/// The name in the `$FILE_NAME` attribute `form`, if it is one of the 8.3 form.
fn dos_name(form: &Form<'_>) -> Option<Vec<u8>> {
    let Form::Resident(value) = form else { return None };
    let length = usize::from(*value.get(0x40)?);
    let is_dos = value.get(0x41)? & DOS_NAME_SPACE != 0;
    let name = value.get(0x42..)?.get(..length.saturating_mul(2))?;
    is_dos.then(|| wtf8::encode(wtf8::units_le(name)))
}
