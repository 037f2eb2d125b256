//! The directories in which a Windows mounts volumes, and junctions: by `$Extend\\$Reparse`.
//!
//! Source: the public documentation of NTFS (Linux-NTFS; MS-FSCC 2.1.2.1 for the tags). The index `$R` has for
//! each reparse point of the volume a key of its tag (4 bytes) and its file reference (8), and no data.

use super::index::Keys;
use super::mounted::{NtfsFileSystem, ROOT};
use super::node::Node;
use super::record::FileReference;
use super::reparse::TAG_MOUNT_POINT;
use crate::error::{FsError, FsErrorKind, FsResult};
use crate::node::{LinkTarget, MountedFolder};
use crate::wtf8;

/// LIMIT: junctions and mount points of one volume; each profile of a user has some dozens.
const MAX_POINTS: usize = 1 << 16;
/// LIMIT: directories above one.
const MAX_DEPTH: usize = 256;

impl NtfsFileSystem {
    /// As [`crate::FileSystem::mounted_folders`].
    pub(super) fn mount_points(&self) -> FsResult<Vec<MountedFolder>> {
        let index = match self.index_of_extend("$Reparse", Keys::ReparsePoints) {
            // Volumes of NT 4 have none.
            Err(error) if error.kind() == FsErrorKind::NotFound => return Ok(Vec::new()),
            index => index?,
        };
        let mut points = Vec::new();
        let mut key = [TAG_MOUNT_POINT.to_le_bytes().to_vec(), vec![0; 8]].concat();
        for _ in 0..MAX_POINTS {
            let Some(next) = index.key_after(&self.volume, &key)? else { return Ok(points) };
            let Some((tag, reference)) = next.split_first_chunk::<4>() else {
                return Ok(points);
            };
            if u32::from_le_bytes(*tag) != TAG_MOUNT_POINT {
                return Ok(points);
            }
            if let Some(reference) = reference.first_chunk::<8>() {
                points.extend(self.point(FileReference(u64::from_le_bytes(*reference))));
            }
            key = next;
        }
        Err(FsError::unsupported("volume has too many junctions"))
    }

    /// The directory of the record, if it is what the index says.
    fn point(&self, reference: FileReference) -> Option<MountedFolder> {
        let record = self.volume.node(reference.number()).ok()?;
        if record.sequence() != reference.sequence() || !record.is_directory() {
            return None;
        }
        let target = Node::read(&self.volume, &record).ok()?.target?.ok()?;
        Some(MountedFolder { path: self.path_of(reference)?, target: LinkTarget(target) })
    }

    /// The path from the root of a directory, by the names in the records above it.
    fn path_of(&self, reference: FileReference) -> Option<Vec<u8>> {
        let mut parts = Vec::new();
        let mut at = reference;
        while at.number() != ROOT {
            let record = self.volume.node(at.number()).ok()?;
            if record.sequence() != at.sequence() || parts.len() >= MAX_DEPTH {
                return None;
            }
            let name = record.file_name()?;
            parts.push(wtf8::encode(wtf8::units_le(name.name)));
            at = name.parent;
        }
        let path = parts.iter().rev().flat_map(|part| [b"/", part.as_slice()].concat());
        Some(path.collect())
    }
}
