//! A mounted volume: the answers of the trait.

use std::ops::ControlFlow;
use std::sync::{Arc, OnceLock};

use volfold_block::{Finding, FindingLog, bytes_to_index, code};

use super::attributes::{AttributeFork, RemoteKind, read_remote};
use super::dir::{self, Directory, DirectoryMap, Entry, Walked, damaged_directory};
use super::inode::{Format, Inode};
use super::numbers::Numbers;
use super::volume::Volume;
use super::{acl, groups, identity, map, recovery};
use crate::driver::{ReadOptions, VolumeReader};
use crate::error::{FsError, FsErrorKind, FsResult};
use crate::extents::ExtentFile;
use crate::kept::Kept;
use crate::node::{
    DirCursor, DirEntry, FileData, FileKind, FileSystem, FsInfo, LinkTarget, Metadata, Name,
    NodeId, StreamName, Usage,
};
use crate::ways::{NameKind, Way, Ways};

/// LIMIT: the longest target of the specification.
const MAX_TARGET: u64 = 1024;
/// LIMIT: the blocks of a target, of which each may have a header.
const MAX_TARGET_MAP: u64 = 64 << 10;
/// LIMIT: the names of the attributes of one inode; Linux lists 64 KiB.
const MAX_ATTRIBUTE_NAMES: usize = 1 << 20;
/// LIMIT: the memory of the run lists of directories.
const MAX_MAPS: u64 = 4 << 20;
/// In a cursor: part of the directory before it could not be read.
const CURSOR_DAMAGED: u64 = 1 << 62;

/// A mounted volume.
pub(super) struct Xfs {
    volume: Volume,
    info: FsInfo,
    maps: Kept<DirectoryMap>,
    ways: Ways,
    numbers: Numbers,
    free_blocks: OnceLock<u64>,
    /// What was noticed since it was mounted.
    log: FindingLog,
}

impl Xfs {
    /// Mounts the volume, with its log applied if `options` do not want it as it is.
    pub(super) fn mount(reader: VolumeReader, options: &ReadOptions) -> FsResult<Self> {
        let device_size = reader.data.size();
        let (volume, findings) = recovery::read(reader, options.as_is)?;
        let info = info(&volume, device_size, findings);
        let root = volume.superblock.root_inode;
        match volume.read_inode(root, &mut Vec::new()) {
            Ok(inode) if inode.kind == FileKind::Directory => {}
            Ok(_) => return Err(FsError::corrupt("root inode is not a directory")),
            Err(error) if error.kind() == FsErrorKind::NotFound => {
                return Err(FsError::corrupt("root inode is not in use"));
            }
            Err(error) => return Err(error),
        }
        let ways = Ways::default();
        ways.replace(root, Way { parent: root, position: 0 });
        let log = FindingLog::new();
        let numbers = Numbers::default();
        // So that its node is known whatever comes later.
        numbers.node(root)?;
        let free_blocks = OnceLock::new();
        Ok(Self { volume, info, maps: Kept::new(MAX_MAPS)?, ways, numbers, free_blocks, log })
    }

    /// The inode of `node`, and its bytes.
    fn inode(&self, node: NodeId) -> FsResult<(Inode, Vec<u8>)> {
        self.inode_by_number(self.numbers.inode(node)?)
    }

    fn inode_by_number(&self, number: u64) -> FsResult<(Inode, Vec<u8>)> {
        let mut bytes = Vec::new();
        let inode = self.volume.read_inode(number, &mut bytes).map_err(|error| {
            let exists = self.volume.superblock.inode_position(number).is_some();
            match error.kind() {
                FsErrorKind::NotFound if exists => FsError::corrupt("inode is not in use"),
                _ => error,
            }
        })?;
        Ok((inode, bytes))
    }

    /// The node that a name leads to which has the inode `number`.
    fn node(&self, number: u64) -> FsResult<NodeId> {
        // Numbers that cannot be need no other ones.
        if number >> 47 != 0 && self.volume.superblock.inode_position(number).is_none() {
            return Err(FsError::corrupt("name leads to an invalid inode number"));
        }
        self.numbers.node(number)
    }

    /// What is known of `inode`, with what the log has left open of it.
    fn described(&self, inode: &Inode) -> FsResult<Metadata> {
        let mut metadata = inode.metadata();
        metadata.node = self.numbers.node(inode.number)?;
        if let Err(error) = self.volume.check_doubt(inode.number) {
            metadata.unreadable = Some(error.kind());
        }
        Ok(metadata)
    }

    /// The directory with inode `number`.
    fn directory(&self, number: u64) -> FsResult<Directory<'_>> {
        let (inode, bytes) = self.inode_by_number(number)?;
        self.volume.check_doubt(number)?;
        Directory::open(&self.volume, &inode, &bytes, || {
            if let Some(map) = self.maps.get(number) {
                return Ok(map);
            }
            let map = dir::read_map(&self.volume, &inode, &bytes)?;
            self.maps.insert(number, map.clone());
            Ok(map)
        })
    }

    /// Whether the name at `way` leads to the directory `number`; if not, it is noted.
    ///
    /// # Errors
    /// If the host cannot read.
    fn leads_to(&self, number: u64, way: Way) -> FsResult<bool> {
        let kind = self.ways.choose(number, way, || self.parent_of(number))?;
        if kind == NameKind::Only {
            return Ok(true);
        }
        self.log.add(Finding::warning(
            code::XFS_DIRECTORY_TWICE,
            format!(
                "the directory with inode {number} has a name in the directory with inode {}, and \
                 another one elsewhere",
                way.parent
            ),
        ));
        Ok(kind == NameKind::Better)
    }

    /// What `..` of the directory `number` says.
    fn parent_of(&self, number: u64) -> FsResult<Option<u64>> {
        match self.directory(number).and_then(|directory| directory.parent()) {
            Ok(parent) => Ok(Some(parent)),
            Err(error) if error.kind() == FsErrorKind::Io => Err(error),
            Err(_) => Ok(None),
        }
    }

    /// Notes if the names of `directory`, whose inode is `number`, are not those of its index.
    ///
    /// # Errors
    /// If the host cannot read.
    fn compare_index(&self, number: u64, directory: &Directory<'_>) -> FsResult<()> {
        if !directory.agrees_with_index()? {
            let line =
                format!("names of the directory with inode {number} are not those of its index");
            self.log.add(Finding::warning(code::XFS_DIRECTORY_INDEX, line));
        }
        Ok(())
    }

    /// Notes if `..` of `directory`, whose inode is `number`, is not where it was reached from.
    fn compare_parent(&self, number: u64, directory: &Directory<'_>) {
        if let (Some(reached), Ok(said)) = (self.ways.parent(number), directory.parent())
            && said != reached
        {
            let line =
                format!("`..` of the directory with inode {number} is inode {said}, not {reached}");
            self.log.add(Finding::warning(code::XFS_DIRECTORY_CONTRADICTION, line));
        }
    }

    /// Notes what the name `entry` in the directory `dir` says that its inode does not.
    fn compare_entry(&self, dir: u64, entry: &Entry<'_>, inode: &FsResult<Inode>) {
        let place = || format!("{:?} in the directory with inode {dir}", Name::new(entry.name));
        match inode {
            Ok(inode) if entry.kind.is_some_and(|kind| kind != inode.kind) => {
                self.log.add(Finding::warning(
                    code::XFS_ENTRY_TYPE,
                    format!("{} is recorded as another type than inode {}", place(), entry.inode),
                ));
            }
            Err(error) if error.kind() == FsErrorKind::NotFound => self.log.add(Finding::warning(
                code::XFS_INODE_UNUSED,
                format!("{} leads to inode {}, which is not in use", place(), entry.inode),
            )),
            _ => {}
        }
    }
}

impl FileSystem for Xfs {
    fn info(&self) -> &FsInfo {
        &self.info
    }

    fn findings(&self) -> Vec<Finding> {
        let mut findings = self.info.findings.clone();
        findings.extend(self.log.all());
        findings
    }

    fn usage(&self) -> FsResult<Usage> {
        let superblock = &self.volume.superblock;
        let free = match self.free_blocks.get() {
            Some(free) => *free,
            None => *self.free_blocks.get_or_init({
                let free = groups::free_blocks(&self.volume)?;
                move || free
            }),
        };
        let used = superblock.data_blocks.saturating_sub(free);
        Ok(Usage::new(&self.info, superblock.bytes(used).unwrap_or(u64::MAX)))
    }

    fn root(&self) -> NodeId {
        let root = self.volume.superblock.root_inode;
        // It was given one when the volume was mounted.
        self.numbers.node(root).unwrap_or(NodeId(root))
    }

    fn lookup(&self, dir: NodeId, name: Name<'_>) -> FsResult<NodeId> {
        let parent = self.numbers.inode(dir)?;
        let directory = self.directory(parent)?;
        self.compare_index(parent, &directory)?;
        let found = directory.find(name.as_bytes())?;
        let way = Way { parent, position: found.position };
        match self.volume.read_inode(found.inode, &mut Vec::new()) {
            Ok(inode) if inode.kind != FileKind::Directory => {}
            Ok(_) if self.leads_to(found.inode, way)? => {}
            Ok(_) => return Err(FsError::corrupt("directory has a second name")),
            Err(error) if error.kind() == FsErrorKind::Io => return Err(error),
            Err(_) => {}
        }
        self.node(found.inode)
    }

    fn metadata(&self, node: NodeId) -> FsResult<Metadata> {
        self.described(&self.inode(node)?.0)
    }

    fn read_dir(
        &self,
        dir: NodeId,
        from: DirCursor,
        emit: &mut dyn FnMut(DirEntry<'_>) -> ControlFlow<()>,
    ) -> FsResult<()> {
        let parent = self.numbers.inode(dir)?;
        let directory = self.directory(parent)?;
        let before = from.0 & CURSOR_DAMAGED;
        let start = from.0 & !CURSOR_DAMAGED;
        let mut scratch = Vec::new();
        let mut refused = false;
        let walked = directory.walk(start, &mut |entry| {
            let node = match self.node(entry.inode) {
                Ok(node) => node,
                Err(error) if error.kind() == FsErrorKind::Corrupt => {
                    refused = true;
                    return Ok(ControlFlow::Continue(()));
                }
                Err(error) => return Err(error),
            };
            let inode = self.volume.read_inode(entry.inode, &mut scratch);
            self.compare_entry(parent, entry, &inode);
            let metadata = match inode {
                Ok(inode) => Some(self.described(&inode)?),
                Err(error) if error.kind() == FsErrorKind::Io => return Err(error),
                Err(_) => None,
            };
            let kind = metadata.as_ref().map(|metadata| metadata.kind).or(entry.kind);
            let way = Way { parent, position: entry.position };
            if kind == Some(FileKind::Directory) && !self.leads_to(entry.inode, way)? {
                refused = true;
                return Ok(ControlFlow::Continue(()));
            }
            let damaged = entry.after_damage || refused;
            Ok(emit(DirEntry {
                name: Name::new(entry.name),
                node,
                kind: kind.unwrap_or(FileKind::Regular),
                metadata: metadata.as_ref(),
                next: DirCursor(entry.next | if damaged { CURSOR_DAMAGED } else { before }),
            }))
        })?;
        if start == 0 {
            self.compare_parent(parent, &directory);
            self.compare_index(parent, &directory)?;
        }
        // Every name that can be read was given; that there were others must not be silent.
        match walked {
            Walked::ToTheEnd { damaged } if damaged || refused || before != 0 => {
                Err(damaged_directory())
            }
            _ => Ok(()),
        }
    }

    fn read_link(&self, node: NodeId) -> FsResult<LinkTarget> {
        let (inode, bytes) = self.inode(node)?;
        if inode.kind != FileKind::Symlink {
            return Err(FsError::not_a_link());
        }
        self.volume.check_doubt(inode.number)?;
        if inode.size == 0 || inode.size > MAX_TARGET {
            return Err(FsError::corrupt("link target has an invalid length"));
        }
        if inode.data.format == Format::Local {
            let target = inode.data.bytes(&bytes).get(..bytes_to_index(inode.size)?);
            return match target {
                Some(target) => Ok(LinkTarget(target.to_vec())),
                None => Err(FsError::corrupt("link target leaves its inode")),
            };
        }
        let extents = map::read(&self.volume, inode.number, &inode.data, &bytes, MAX_TARGET_MAP)?;
        let kind = RemoteKind::LinkTarget;
        let target = read_remote(&self.volume, inode.number, &extents, (0, inode.size), kind)?;
        Ok(LinkTarget(target))
    }

    fn has_extended_attributes(&self) -> bool {
        true
    }

    fn extended_attributes(&self, node: NodeId) -> FsResult<Vec<Vec<u8>>> {
        let (inode, bytes) = self.inode(node)?;
        self.volume.check_doubt(inode.number)?;
        let (mut names, mut size) = (Vec::new(), 0_usize);
        AttributeFork::open(&self.volume, &inode, &bytes)?.each(&mut |attribute| {
            let Some(prefix) = attribute.flags.prefix() else {
                return Ok(ControlFlow::Continue(()));
            };
            if prefix == TRUSTED {
                names.extend(acl::shown(attribute.name).map(<[u8]>::to_vec));
            }
            let name = [prefix.as_bytes(), attribute.name].concat();
            size = size.saturating_add(name.len()).saturating_add(size_of::<Vec<u8>>());
            if size > MAX_ATTRIBUTE_NAMES {
                return Err(FsError::unsupported("inode has too many extended attributes"));
            }
            names.push(name);
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(names)
    }

    fn extended_attribute(&self, node: NodeId, name: &[u8]) -> FsResult<Vec<u8>> {
        let (inode, bytes) = self.inode(node)?;
        self.volume.check_doubt(inode.number)?;
        let fork = AttributeFork::open(&self.volume, &inode, &bytes)?;
        if let Some(own) = acl::own(name) {
            return acl::convert(&fork.value(TRUSTED, own)?);
        }
        for prefix in ["user.", TRUSTED, "security."] {
            if let Some(rest) = name.strip_prefix(prefix.as_bytes()) {
                return fork.value(prefix, rest);
            }
        }
        Err(FsError::new(FsErrorKind::NotFound, "no such extended attribute"))
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
        self.volume.check_doubt(inode.number)?;
        if inode.is_realtime {
            let message =
                "content is on the realtime device of the volume, which this build does not read";
            return Err(FsError::new(FsErrorKind::MissingPart, message));
        }
        let mut extents = map::read(&self.volume, inode.number, &inode.data, &bytes, inode.size)?;
        extents.push_hole_to(inode.size)?;
        Ok(Arc::new(ExtentFile::new(self.volume.data(), extents, inode.size, inode.size)?))
    }
}

const TRUSTED: &str = "trusted.";

fn info(volume: &Volume, device_size: u64, mut findings: Vec<Finding>) -> FsInfo {
    let superblock = &volume.superblock;
    if let Some(group) = superblock.in_place_of_primary {
        let line = format!("the primary superblock is damaged; the one of group {group} is used");
        findings.push(Finding::warning(code::XFS_BACKUP_SUPERBLOCK, line));
    }
    if superblock.is_unconfirmed {
        let line = "the superblock has no checksum, and no other one was found that confirms it";
        findings.push(Finding::warning(code::XFS_SUPERBLOCK_UNCONFIRMED, line));
    }
    if superblock.features.needs_repair {
        let line = "the file system is marked as in need of `xfs_repair`";
        findings.push(Finding::warning(code::XFS_NEEDS_REPAIR, line));
    }
    if superblock.size() > device_size {
        let line = format!("cut short: {device_size} of {} bytes", superblock.size());
        findings.push(Finding::warning(code::XFS_CUT_SHORT, line));
    }
    let names = identity::of(superblock);
    let block_size = u32::try_from(superblock.block_size.get()).unwrap_or(u32::MAX);
    let mut info = FsInfo::new("xfs", block_size, superblock.size());
    info.label = names.label;
    info.uuid = names.uuid;
    info.findings = findings;
    if superblock.features.ascii_ci {
        info.case = crate::node::CaseRule::Insensitive;
    }
    info
}
