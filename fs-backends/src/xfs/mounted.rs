//! A mounted volume: the answers of the trait.

use std::ops::ControlFlow;
use std::sync::{Arc, OnceLock};

use quick_cache::sync::{Cache, DefaultLifecycle};
use quick_cache::{DefaultHashBuilder, OptionsBuilder, Weighter};
use volfold_block::{Finding, FindingLog, bytes_to_index, code};

use super::attributes::{AttributeFork, RemoteKind, read_remote};
use super::dir::{self, Directory, Entry, Walked, damaged_directory};
use super::inode::{Format, Inode};
use super::volume::Volume;
use super::{acl, groups, identity, map, recovery};
use crate::driver::VolumeReader;
use crate::error::{FsError, FsErrorKind, FsResult};
use crate::extents::{ExtentFile, Extents};
use crate::node::{
    DirCursor, DirEntry, FileData, FileKind, FileSystem, FsInfo, LinkTarget, Metadata, Name,
    NodeId, StreamName, Usage,
};
use crate::ways::{Known, Way, Ways};

/// LIMIT: the longest target of the specification.
const MAX_TARGET: u64 = 1024;
/// LIMIT: the names of the attributes of one inode; Linux lists 64 KiB.
const MAX_ATTRIBUTE_NAMES: usize = 1 << 20;
/// LIMIT: the memory of the run lists of directories.
const MAX_MAPS: u64 = 4 << 20;
/// In a cursor: part of the directory before it could not be read.
const CURSOR_DAMAGED: u64 = 1 << 62;
/// Numbers of nodes are below this.
const NODES: u64 = 1 << 48;

#[derive(Clone)]
struct ByBytes;

impl Weighter<u64, Arc<Extents>> for ByBytes {
    fn weight(&self, _: &u64, extents: &Arc<Extents>) -> u64 {
        extents.memory().saturating_add(64)
    }
}

/// The run lists of the directories that were used last, by inode number.
type Maps =
    Cache<u64, Arc<Extents>, ByBytes, DefaultHashBuilder, DefaultLifecycle<u64, Arc<Extents>>>;

fn maps() -> FsResult<Maps> {
    // One shard, because a shard admits nothing above its part of the capacity.
    let options = OptionsBuilder::new()
        .estimated_items_capacity(256)
        .weight_capacity(MAX_MAPS)
        .shards(1)
        .build()
        .map_err(|error| {
            FsError::new(FsErrorKind::Io, "no cache for directories").because(error.to_string())
        })?;
    let (hasher, lifecycle) = (DefaultHashBuilder::default(), DefaultLifecycle::default());
    Ok(Cache::with_options(options, ByBytes, hasher, lifecycle))
}

/// A mounted volume.
pub(super) struct Xfs {
    volume: Volume,
    info: FsInfo,
    maps: Maps,
    ways: Ways,
    free_blocks: OnceLock<u64>,
    /// What was noticed since it was mounted.
    log: FindingLog,
}

impl Xfs {
    /// Mounts the volume, with its log applied.
    pub(super) fn mount(reader: VolumeReader) -> FsResult<Self> {
        let device_size = reader.data.size();
        let (volume, findings) = recovery::read(reader)?;
        let info = info(&volume, device_size, findings);
        let root = volume.superblock.root_inode;
        match volume.read_inode(root, &mut Vec::new()) {
            Ok(inode) if inode.kind == FileKind::Directory && root < NODES => {}
            Ok(_) => return Err(FsError::corrupt("root inode is not a directory")),
            Err(error) if error.kind() == FsErrorKind::NotFound => {
                return Err(FsError::corrupt("root inode is not in use"));
            }
            Err(error) => return Err(error),
        }
        let ways = Ways::default();
        ways.replace(root, Way { parent: root, position: 0 });
        let log = FindingLog::new();
        Ok(Self { volume, info, maps: maps()?, ways, free_blocks: OnceLock::new(), log })
    }

    /// The inode of `node`, and its bytes.
    fn inode(&self, node: NodeId) -> FsResult<(Inode, Vec<u8>)> {
        let mut bytes = Vec::new();
        let inode = self.volume.read_inode(node.0, &mut bytes).map_err(|error| {
            let exists = self.volume.superblock.inode_position(node.0).is_some();
            match error.kind() {
                FsErrorKind::NotFound if exists => FsError::corrupt("inode is not in use"),
                _ => error,
            }
        })?;
        Ok((inode, bytes))
    }

    fn directory(&self, node: NodeId) -> FsResult<Directory<'_>> {
        let (inode, bytes) = self.inode(node)?;
        self.volume.check_doubt(node.0)?;
        Directory::open(&self.volume, &inode, &bytes, || {
            if let Some(map) = self.maps.get(&node.0) {
                return Ok(map);
            }
            let map = dir::read_map(&self.volume, &inode, &bytes)?;
            self.maps.insert(node.0, map.clone());
            Ok(map)
        })
    }

    /// Whether the name at `way` leads to the directory `number`; if not, it is noted.
    ///
    /// # Errors
    /// If the host cannot read.
    fn leads_to(&self, number: u64, way: Way) -> FsResult<bool> {
        let better = match self.ways.note(number, way) {
            Known::Same => return Ok(true),
            Known::Other(known) if known.parent == way.parent => way.position < known.position,
            Known::Other(_) => self.parent_of(number)? == Some(way.parent),
            Known::Forgotten => {
                let parent = self.parent_of(number)?;
                if parent.is_none_or(|parent| parent == way.parent) {
                    return Ok(true);
                }
                false
            }
        };
        if better {
            self.ways.replace(number, way);
        }
        self.log.add(Finding::warning(
            code::XFS_DIRECTORY_TWICE,
            format!(
                "the directory with inode {number} has a name in the directory with inode {}, and \
                 another one elsewhere",
                way.parent
            ),
        ));
        Ok(better)
    }

    /// What `..` of the directory `number` says.
    fn parent_of(&self, number: u64) -> FsResult<Option<u64>> {
        match self.directory(NodeId(number)).and_then(|directory| directory.parent()) {
            Ok(parent) => Ok(Some(parent)),
            Err(error) if error.kind() == FsErrorKind::Io => Err(error),
            Err(_) => Ok(None),
        }
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
        NodeId(self.volume.superblock.root_inode)
    }

    fn lookup(&self, dir: NodeId, name: Name<'_>) -> FsResult<NodeId> {
        let found = self.directory(dir)?.find(name.as_bytes())?;
        if found.inode >= NODES {
            return Err(FsError::corrupt("name leads to an invalid inode number"));
        }
        let way = Way { parent: dir.0, position: found.position };
        match self.volume.read_inode(found.inode, &mut Vec::new()) {
            Ok(inode) if inode.kind != FileKind::Directory => {}
            Ok(_) if self.leads_to(found.inode, way)? => {}
            Ok(_) => return Err(FsError::corrupt("directory has a second name")),
            Err(error) if error.kind() == FsErrorKind::Io => return Err(error),
            Err(_) => {}
        }
        Ok(NodeId(found.inode))
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
        let start = from.0 & !CURSOR_DAMAGED;
        let mut scratch = Vec::new();
        let mut refused = false;
        let walked = directory.walk(start, &mut |entry| {
            if entry.inode >= NODES {
                refused = true;
                return Ok(ControlFlow::Continue(()));
            }
            let inode = self.volume.read_inode(entry.inode, &mut scratch);
            self.compare_entry(dir.0, entry, &inode);
            let metadata = match inode {
                Ok(inode) => Some(inode.metadata()),
                Err(error) if error.kind() == FsErrorKind::Io => return Err(error),
                Err(_) => None,
            };
            let kind = metadata.as_ref().map(|metadata| metadata.kind).or(entry.kind);
            let way = Way { parent: dir.0, position: entry.position };
            if kind == Some(FileKind::Directory) && !self.leads_to(entry.inode, way)? {
                refused = true;
                return Ok(ControlFlow::Continue(()));
            }
            let damaged = entry.after_damage || refused;
            Ok(emit(DirEntry {
                name: Name::new(entry.name),
                node: NodeId(entry.inode),
                kind: kind.unwrap_or(FileKind::Regular),
                metadata: metadata.as_ref(),
                next: DirCursor(entry.next | if damaged { CURSOR_DAMAGED } else { before }),
            }))
        })?;
        if start == 0 {
            self.compare_parent(dir.0, &directory);
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
        self.volume.check_doubt(node.0)?;
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
        let extents = map::read(&self.volume, node.0, &inode.data, &bytes, u64::MAX)?;
        let kind = RemoteKind::LinkTarget;
        let target = read_remote(&self.volume, node.0, &extents, (0, inode.size), kind)?;
        Ok(LinkTarget(target))
    }

    fn has_extended_attributes(&self) -> bool {
        true
    }

    fn extended_attributes(&self, node: NodeId) -> FsResult<Vec<Vec<u8>>> {
        let (inode, bytes) = self.inode(node)?;
        self.volume.check_doubt(node.0)?;
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
        self.volume.check_doubt(node.0)?;
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
        self.volume.check_doubt(node.0)?;
        if inode.is_realtime {
            let message = "content is on the realtime device, which this build does not read";
            return Err(FsError::new(FsErrorKind::MissingPart, message));
        }
        let mut extents = map::read(&self.volume, node.0, &inode.data, &bytes, inode.size)?;
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
