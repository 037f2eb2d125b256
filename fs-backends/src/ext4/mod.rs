//! ext2, ext3 and ext4, read from the structures on disk.
//!
//! Specification: kernel documentation, "ext4 Data Structures and Algorithms".
//!
//! Nothing is locked and nothing seeks: every call reads the inode it is about through the cached
//! view of the volume. A damaged structure harms the calls that need it.

mod block_map;
mod checksum;
mod damage;
mod dir;
mod extent_tree;
mod features;
mod groups;
mod identity;
mod index;
mod inline;
mod inode;
mod journal;
mod journal_device;
mod journal_tags;
mod map;
mod nokey;
mod recovery;
mod replayed;
mod runs;
mod superblock;
mod volume;

#[cfg(test)]
#[cfg(unix)]
mod hostile_tests;
#[cfg(test)]
#[cfg(unix)]
mod tests;

use std::ops::ControlFlow;
use std::sync::Arc;

use volfold_block::{BlockDevice, Confidence, Finding, bytes_to_index, code};

use self::dir::{Directory, Walked};
use self::identity::uuid_text;
use self::index::{Indexes, damaged_directory};
use self::inode::{FAST_LINK, Flags, Inode};
use self::journal_device::JournalDevice;
use self::superblock::{MAGIC, MAGIC_OFFSET, MAX_LOG_BLOCK_SIZE};
use self::volume::Volume;
use crate::driver::{FileSystemDriver, Identity, ReadOptions, VolumeReader, VolumeRole};
use crate::error::{FsError, FsErrorKind, FsResult};
use crate::extents::BytesFile;
use crate::node::{
    DirCursor, DirEntry, FileData, FileKind, FileSystem, FsInfo, LinkTarget, Metadata, Name,
    NodeId, StreamName, Usage,
};

/// LIMIT: a link target, far above the 4096 bytes that Linux follows.
const MAX_TARGET: u64 = 65536;
/// In a cursor: part of the directory before it could not be read.
const CURSOR_DAMAGED: u64 = 1 << 62;

/// Reads ext2, ext3 and ext4.
#[derive(Debug)]
pub struct Ext4Driver;

impl FileSystemDriver for Ext4Driver {
    fn id(&self) -> &'static str {
        "ext4"
    }

    fn title(&self) -> &'static str {
        "ext2/3/4"
    }

    fn probe(&self, volume: &dyn BlockDevice) -> FsResult<Confidence> {
        let mut log_block_size = [0; 4];
        let mut magic = [0; 2];
        if volume.size() < 2048 {
            return Ok(Confidence::No);
        }
        volume.read_at(0x418, &mut log_block_size)?;
        volume.read_at(MAGIC_OFFSET, &mut magic)?;
        let sane = u32::from_le_bytes(log_block_size) <= MAX_LOG_BLOCK_SIZE;
        if u16::from_le_bytes(magic) == MAGIC && sane {
            Ok(Confidence::Certain)
        } else {
            Ok(Confidence::No)
        }
    }

    fn identify(&self, volume: VolumeReader) -> FsResult<Identity> {
        let device = &*volume.metadata;
        if let Some(journal) = JournalDevice::read(device)? {
            let mut identity = Identity::new(journal.label, uuid_text(&journal.uuid));
            identity.role = VolumeRole::Journal;
            return Ok(identity);
        }
        let volume = Volume::read_start(volume)?;
        // A volume that was not unmounted may be damaged until its journal is replayed.
        if !recovery::is_needed(&volume.superblock) {
            check_root(&volume)?;
        }
        let superblock = volume.superblock;
        Ok(Identity::new(superblock.label, uuid_text(&superblock.uuid)))
    }

    fn mount(&self, volume: VolumeReader, _options: ReadOptions) -> FsResult<Arc<dyn FileSystem>> {
        Ok(Arc::new(Ext4::mount(volume)?))
    }
}

/// A mounted volume.
struct Ext4 {
    volume: Volume,
    info: FsInfo,
    indexes: Indexes,
}

impl Ext4 {
    fn mount(reader: VolumeReader) -> FsResult<Self> {
        let device_size = reader.data.size();
        let (volume, findings) = recovery::read(reader)?;
        let info = info(&volume, device_size, findings);
        check_root(&volume)?;
        Ok(Self { volume, info, indexes: Indexes::new()? })
    }

    /// The inode of `node`, and its bytes.
    fn inode(&self, node: NodeId) -> FsResult<(Inode, Vec<u8>)> {
        let number = u32::try_from(node.0).map_err(|_| FsError::not_found())?;
        let mut bytes = Vec::new();
        let inode = self.volume.read_inode(number, &mut bytes)?;
        Ok((inode, bytes))
    }

    fn directory(&self, node: NodeId) -> FsResult<Directory<'_>> {
        let (inode, bytes) = self.inode(node)?;
        Directory::open(&self.volume, inode, &bytes)
    }
}

impl FileSystem for Ext4 {
    fn info(&self) -> &FsInfo {
        &self.info
    }

    fn usage(&self) -> FsResult<Usage> {
        let superblock = &self.volume.superblock;
        let groups = &self.volume.groups;
        let free = groups.free_clusters.saturating_mul(superblock.cluster_size);
        let nodes = u64::from(superblock.inodes_count);
        let mut usage = Usage::new(&self.info, superblock.size().saturating_sub(free));
        usage.nodes = Some((nodes, groups.free_inodes.min(nodes)));
        Ok(usage)
    }

    fn root(&self) -> NodeId {
        NodeId(u64::from(inode::ROOT))
    }

    fn lookup(&self, dir: NodeId, name: Name<'_>) -> FsResult<NodeId> {
        let directory = self.directory(dir)?;
        let number = u32::try_from(dir.0).map_err(|_| FsError::not_found())?;
        let found = self.indexes.find(&directory, number, name.as_bytes())?;
        Ok(NodeId(u64::from(found)))
    }

    fn metadata(&self, node: NodeId) -> FsResult<Metadata> {
        Ok(self.inode(node)?.0.metadata())
    }

    fn read_dir(
        &self,
        dir: NodeId,
        from: DirCursor,
        emit: &mut dyn FnMut(DirEntry<'_>) -> ControlFlow<()>,
    ) -> FsResult<()> {
        let directory = self.directory(dir)?;
        let before = from.0 & CURSOR_DAMAGED;
        let mut scratch = Vec::new();
        let walked = directory.walk(from.0 & !CURSOR_DAMAGED, &mut |entry| {
            let metadata = match self.volume.read_inode(entry.inode, &mut scratch) {
                Ok(inode) => Some(inode.metadata()),
                Err(error) if error.kind() == FsErrorKind::Io => return Err(error),
                Err(_) => None,
            };
            let known = metadata.as_ref().map(|metadata| metadata.kind);
            let damage = if entry.after_damage { CURSOR_DAMAGED } else { before };
            Ok(emit(DirEntry {
                name: Name::new(entry.name),
                node: NodeId(u64::from(entry.inode)),
                kind: known.or(entry.kind).unwrap_or(FileKind::Regular),
                metadata: metadata.as_ref(),
                next: DirCursor(entry.next | damage),
            }))
        })?;
        // Every name that can be read was given; that there were others must not be silent.
        match walked {
            Walked::ToTheEnd { damaged } if damaged || before != 0 => Err(damaged_directory()),
            _ => Ok(()),
        }
    }

    fn read_link(&self, node: NodeId) -> FsResult<LinkTarget> {
        let (inode, bytes) = self.inode(node)?;
        if inode.kind != FileKind::Symlink {
            return Err(FsError::not_a_link());
        }
        if inode.is_encrypted() {
            return Err(FsError::encrypted());
        }
        if inode.size == 0 || inode.size > MAX_TARGET {
            return Err(FsError::corrupt("link target has an invalid length"));
        }
        let size = bytes_to_index(inode.size)?;
        if inode.flags.has(Flags::INLINE_DATA) {
            return Ok(LinkTarget(inline::read_sized(&inode, &bytes)?));
        }
        if !inode.has_blocks {
            return match inode.block.get(..size) {
                Some(target) if inode.size < FAST_LINK => Ok(LinkTarget(target.to_vec())),
                _ => Err(FsError::corrupt("link target leaves its inode")),
            };
        }
        let content = map::open(&self.volume, &inode)?;
        if content.extent_at(0)?.length < inode.size {
            return Err(FsError::corrupt("link target lies in pieces"));
        }
        let mut target = vec![0; size];
        content.read_at(0, &mut target)?;
        Ok(LinkTarget(target))
    }

    fn open(&self, node: NodeId, stream: &StreamName) -> FsResult<Arc<dyn FileData>> {
        let (inode, bytes) = self.inode(node)?;
        if *stream != StreamName::MAIN {
            return Err(FsError::not_found());
        }
        match inode.kind {
            FileKind::Regular => {}
            FileKind::Directory => return Err(FsError::is_a_directory()),
            _ => return Err(FsError::unsupported("node has no content")),
        }
        if inode.is_encrypted() {
            return Err(FsError::encrypted());
        }
        if inode.flags.has(Flags::INLINE_DATA) {
            let bytes = inline::read(&inode, &bytes)?;
            return Ok(Arc::new(BytesFile::padded(bytes, inode.size)));
        }
        Ok(Arc::new(map::open(&self.volume, &inode)?))
    }
}

fn check_root(volume: &Volume) -> FsResult<()> {
    match volume.read_inode(inode::ROOT, &mut Vec::new()) {
        Ok(root) if root.kind == FileKind::Directory => Ok(()),
        Ok(_) => Err(FsError::corrupt("root inode is not a directory")),
        Err(error) if error.kind() == FsErrorKind::NotFound => {
            Err(FsError::corrupt("root inode is not in use"))
        }
        Err(error) => Err(error),
    }
}

fn info(volume: &Volume, device_size: u64, mut findings: Vec<Finding>) -> FsInfo {
    let superblock = &volume.superblock;
    if superblock.is_backup {
        findings.push(Finding::warning(
            code::EXT4_BACKUP_SUPERBLOCK,
            "the primary superblock is damaged",
        ));
    }
    if superblock.has_errors {
        findings.push(Finding::warning(
            code::EXT4_ERRORS,
            "the file system is marked as having errors",
        ));
    }
    if volume.groups.damaged > 0 {
        findings.push(Finding::warning(
            code::EXT4_GROUP_DESCRIPTORS,
            format!(
                "{} of {} block groups have a damaged descriptor",
                volume.groups.damaged, superblock.group_count
            ),
        ));
    }
    if superblock.size() > device_size {
        findings.push(Finding::warning(
            code::EXT4_CUT_SHORT,
            format!("the file system has {} bytes, its volume {device_size}", superblock.size()),
        ));
    }
    let block_size = u32::try_from(superblock.block_size.get()).unwrap_or(u32::MAX);
    FsInfo {
        label: superblock.label.clone(),
        uuid: uuid_text(&superblock.uuid),
        findings,
        ..FsInfo::new(superblock.features.kind(), block_size, superblock.size())
    }
}
