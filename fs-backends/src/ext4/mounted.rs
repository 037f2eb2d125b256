//! A mounted ext2, ext3 or ext4.

use std::ops::ControlFlow;
use std::sync::{Arc, OnceLock};

use volfold_block::{Finding, FindingLog, bytes_to_index, code};

use super::attributes::ExtendedAttributes;
use super::dir::{Claims, Directory, Entry, Walked};
use super::features::Incompat;
use super::index::{Indexes, damaged_directory};
use super::inode::{FAST_LINK, Flags, Inode};
use super::superblock::Primary;
use super::twins::Twins;
use super::volume::Volume;
use super::{casefold, check, inline, inode, map, orphans, recovery};
use crate::driver::{ReadOptions, VolumeReader};
use crate::error::{FsError, FsErrorKind, FsResult};
use crate::extents::{BytesFile, ExtentFile};
use crate::node::{
    Deleted, DeletedIn, DirCursor, DirEntry, FileData, FileKind, FileSystem, FsInfo, LinkTarget,
    Metadata, Name, NodeId, StreamName, Usage,
};
use crate::uuid::uuid_text;
use crate::ways::{NameKind, Way, Ways};

/// LIMIT: a link target, far above the 4096 bytes that Linux follows.
const MAX_TARGET: u64 = 65536;
/// In a cursor: part of the directory before it could not be read.
const CURSOR_DAMAGED: u64 = 1 << 62;

/// A mounted volume.
pub(super) struct Ext4 {
    volume: Volume,
    info: FsInfo,
    indexes: Indexes,
    ways: Ways,
    /// The inodes of deleted files that keep their content, once they were asked for.
    orphans: OnceLock<Vec<u32>>,
    /// What was noticed since it was mounted.
    log: FindingLog,
}

impl Ext4 {
    pub(super) fn mount(reader: VolumeReader, options: &ReadOptions) -> FsResult<Self> {
        let device_size = reader.data.size();
        let (volume, findings) = recovery::read(reader, options.as_is)?;
        let info = info(&volume, device_size, findings);
        check_root(&volume)?;
        let ways = Ways::default();
        let root = u64::from(inode::ROOT);
        ways.replace(root, Way { parent: root, position: 0 });
        let (indexes, log) = (Indexes::new()?, FindingLog::new());
        Ok(Self { volume, info, indexes, ways, orphans: OnceLock::new(), log })
    }

    /// The inode of `node`, and its bytes.
    fn inode(&self, node: NodeId) -> FsResult<(Inode, Vec<u8>)> {
        let number = inode_number(node)?;
        let mut bytes = Vec::new();
        let inode = self.volume.read_inode(number, &mut bytes).map_err(|error| {
            let exists = (1..=self.volume.superblock.inodes_count).contains(&number);
            match error.kind() {
                FsErrorKind::NotFound if exists => FsError::corrupt("inode is not in use"),
                _ => error,
            }
        })?;
        Ok((inode, bytes))
    }

    /// The content of `inode`, whose bytes are `bytes`.
    fn open_inode(&self, inode: &Inode, bytes: &[u8]) -> FsResult<Arc<dyn FileData>> {
        match inode.kind {
            FileKind::Regular => {}
            FileKind::Directory => return Err(FsError::is_a_directory()),
            _ => return Err(FsError::unsupported("node has no content")),
        }
        if inode.is_encrypted() {
            return Err(FsError::encrypted());
        }
        if inode.flags.has(Flags::INLINE_DATA) {
            if !inode.size_is_possible {
                return Err(map::impossible_size());
            }
            let bytes = inline::read_file(inode, bytes)?;
            return Ok(Arc::new(BytesFile::padded(bytes, inode.size)));
        }
        let (extents, mapped) = map::read_counted(&self.volume, inode)?;
        if let Some(mapped) = mapped
            && map::has_other_count(&self.volume, inode, mapped)?
        {
            self.log.add(Finding::warning(
                code::EXT4_BLOCK_COUNT,
                format!("inode {} counts other blocks than its map has", inode.number),
            ));
        }
        Ok(Arc::new(ExtentFile::new(self.volume.data(), extents, inode.size, inode.size)?))
    }

    /// Where the link `inode` leads.
    fn target(&self, inode: &Inode, bytes: &[u8]) -> FsResult<LinkTarget> {
        let target = self.stored_target(inode, bytes)?;
        if target.0.contains(&0) {
            return Err(FsError::corrupt("link target has a zero byte"));
        }
        Ok(target)
    }

    fn stored_target(&self, inode: &Inode, bytes: &[u8]) -> FsResult<LinkTarget> {
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
            return Ok(LinkTarget(inline::read_sized(inode, bytes)?));
        }
        if !inode.has_blocks {
            return match inode.block.get(..size) {
                Some(target) if inode.size < FAST_LINK => Ok(LinkTarget(target.to_vec())),
                _ => Err(FsError::corrupt("link target leaves its inode")),
            };
        }
        let content = map::open(&self.volume, inode)?;
        if content.extent_at(0)?.length < inode.size {
            return Err(FsError::corrupt("link target lies in pieces"));
        }
        let mut target = vec![0; size];
        content.read_at(0, &mut target)?;
        Ok(LinkTarget(target))
    }

    /// The inode of the deleted file `node`, and its bytes.
    fn orphan(&self, node: NodeId) -> FsResult<(Inode, Vec<u8>)> {
        let number = inode_number(node)?;
        let known = match self.orphans.get() {
            Some(known) => known,
            None => {
                let found = orphans::list(&self.volume)?;
                self.orphans.get_or_init(|| found.iter().map(|inode| inode.number).collect())
            }
        };
        if !known.contains(&number) {
            return Err(FsError::not_found());
        }
        let mut bytes = Vec::new();
        Ok((orphans::read(&self.volume, number, &mut bytes)?, bytes))
    }

    fn directory(&self, node: NodeId) -> FsResult<Directory<'_>> {
        let (inode, bytes) = self.inode(node)?;
        Directory::open(&self.volume, inode, &bytes)
    }

    /// Whether the name at `way` leads to the directory `number`; if not, it is noted.
    ///
    /// # Errors
    /// If the host cannot read.
    fn leads_to(&self, number: u32, way: Way) -> FsResult<bool> {
        let parent = || Ok(self.parent_of(number)?.map(u64::from));
        let kind = self.ways.choose(u64::from(number), way, parent)?;
        if kind == NameKind::Only {
            return Ok(true);
        }
        self.log.add(Finding::warning(
            code::EXT4_DIRECTORY_TWICE,
            format!(
                "the directory with inode {number} has a name in the directory with inode {}, and \
                 another one elsewhere",
                way.parent
            ),
        ));
        Ok(kind == NameKind::Better)
    }

    /// What `..` of the directory `number` says.
    fn parent_of(&self, number: u32) -> FsResult<Option<u32>> {
        let walk = || -> FsResult<Option<u32>> {
            let directory = self.directory(NodeId(u64::from(number)))?;
            directory.walk(0, &mut |_| Ok(ControlFlow::Break(())))?;
            Ok(directory.claims().parent)
        };
        match walk() {
            Err(error) if error.kind() == FsErrorKind::Io => Err(error),
            result => Ok(result.ok().flatten()),
        }
    }

    /// Notes what the directory `number` says of itself that is not so.
    fn compare_claims(&self, number: u32, claims: Claims) {
        let reached = self.ways.parent(u64::from(number));
        let expected = [(".", claims.own, Some(u64::from(number))), ("..", claims.parent, reached)];
        for (name, said, expected) in expected {
            if let (Some(said), Some(expected)) = (said, expected)
                && u64::from(said) != expected
            {
                self.log.add(Finding::warning(
                    code::EXT4_DIRECTORY_CONTRADICTION,
                    format!(
                        "`{name}` of the directory with inode {number} is inode {said}, not \
                         {expected}"
                    ),
                ));
            }
        }
    }

    /// Notes what the name `entry` in the directory `dir` says that its inode does not.
    fn compare_entry(&self, dir: u32, entry: &Entry<'_>, inode: &FsResult<Inode>) {
        let place = || format!("{:?} in the directory with inode {dir}", Name::new(entry.name));
        match inode {
            Ok(inode) if inode.is_deleted => self.log.add(Finding::warning(
                code::EXT4_INODE_UNUSED,
                format!("{} leads to inode {}, which says it is deleted", place(), entry.inode),
            )),
            Ok(inode) if entry.kind.is_some_and(|kind| kind != inode.kind) => {
                self.log.add(Finding::warning(
                    code::EXT4_ENTRY_TYPE,
                    format!("{} is recorded as another type than inode {}", place(), entry.inode),
                ));
            }
            Err(error) if error.kind() == FsErrorKind::NotFound => self.log.add(Finding::warning(
                code::EXT4_INODE_UNUSED,
                format!("{} leads to inode {}, which is not in use", place(), entry.inode),
            )),
            _ => {}
        }
    }
}

fn inode_number(node: NodeId) -> FsResult<u32> {
    u32::try_from(node.0).map_err(|_| FsError::not_found())
}

impl FileSystem for Ext4 {
    fn info(&self) -> &FsInfo {
        &self.info
    }

    fn findings(&self) -> Vec<Finding> {
        let mut findings = self.info.findings.clone();
        findings.extend(self.log.all());
        findings
    }

    fn check(&self, report: &mut dyn FnMut(Finding)) -> FsResult<()> {
        check::run(&self.volume, report)
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
        let number = inode_number(dir)?;
        let tell_damage = || {
            self.log.add(Finding::warning(
                code::EXT4_HASH_TREE,
                format!(
                    "the hash tree of the directory with inode {number} cannot be used; its names are \
                     searched one by one"
                ),
            ));
        };
        let found = self.indexes.find(&directory, number, name.as_bytes(), &tell_damage)?;
        let way = Way { parent: u64::from(number), position: found.position };
        match self.volume.read_inode(found.inode, &mut Vec::new()) {
            Ok(inode) if inode.kind != FileKind::Directory => {}
            Ok(_) if self.leads_to(found.inode, way)? => {}
            Ok(_) => return Err(FsError::corrupt("directory has a second name")),
            Err(error) if error.kind() == FsErrorKind::Io => return Err(error),
            Err(_) => {}
        }
        Ok(NodeId(u64::from(found.inode)))
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
        let number = inode_number(dir)?;
        let before = from.0 & CURSOR_DAMAGED;
        let start = from.0 & !CURSOR_DAMAGED;
        let mut scratch = Vec::new();
        let mut refused = false;
        let mut twins = Twins::default();
        let walked = directory.walk(start, &mut |entry| {
            if let Some(finding) = twins.take(number, entry.name) {
                self.log.add(finding);
            }
            let inode = self.volume.read_inode(entry.inode, &mut scratch);
            self.compare_entry(number, entry, &inode);
            let metadata = match inode {
                Ok(inode) => Some(inode.metadata()),
                Err(error) if error.kind() == FsErrorKind::Io => return Err(error),
                Err(_) => None,
            };
            let kind = metadata.as_ref().map(|metadata| metadata.kind).or(entry.kind);
            let way = Way { parent: u64::from(number), position: entry.position };
            if kind == Some(FileKind::Directory) && !self.leads_to(entry.inode, way)? {
                refused = true;
                return Ok(ControlFlow::Continue(()));
            }
            let damaged = entry.after_damage || refused;
            Ok(emit(DirEntry {
                name: Name::new(entry.name),
                node: NodeId(u64::from(entry.inode)),
                kind: kind.unwrap_or(FileKind::Regular),
                metadata: metadata.as_ref(),
                next: DirCursor(entry.next | if damaged { CURSOR_DAMAGED } else { before }),
            }))
        })?;
        if start == 0 {
            self.compare_claims(number, directory.claims());
            if directory.lacks_dots() {
                self.log.add(Finding::warning(
                    code::EXT4_DIRECTORY_CONTRADICTION,
                    format!("the directory with inode {number} does not begin with `.`"),
                ));
            }
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
        self.target(&inode, &bytes)
    }

    fn has_extended_attributes(&self) -> bool {
        true
    }

    fn extended_attributes(&self, node: NodeId) -> FsResult<Vec<Vec<u8>>> {
        let (inode, bytes) = self.inode(node)?;
        ExtendedAttributes::open(&self.volume, &inode, &bytes)?.names()
    }

    fn extended_attribute(&self, node: NodeId, name: &[u8]) -> FsResult<Vec<u8>> {
        let (inode, bytes) = self.inode(node)?;
        ExtendedAttributes::open(&self.volume, &inode, &bytes)?.value(name)
    }

    fn deleted(&self, visit: &mut dyn FnMut(Deleted) -> ControlFlow<()>) -> FsResult<u64> {
        for inode in orphans::list(&self.volume)? {
            let name = format!("inode-{}", inode.number).into_bytes();
            let mut metadata = inode.metadata();
            if orphans::is_changed(&self.volume, inode.number) {
                metadata.unreadable.get_or_insert(FsErrorKind::Unsupported);
            }
            let found = Deleted { parent: DeletedIn::Unknown, name, metadata };
            if visit(found).is_break() {
                break;
            }
        }
        Ok(0)
    }

    fn open_deleted(&self, node: NodeId) -> FsResult<Arc<dyn FileData>> {
        let (inode, bytes) = self.orphan(node)?;
        self.open_inode(&inode, &bytes)
    }

    fn read_deleted_link(&self, node: NodeId) -> FsResult<LinkTarget> {
        let (inode, bytes) = self.orphan(node)?;
        self.target(&inode, &bytes)
    }

    fn open(&self, node: NodeId, stream: &StreamName) -> FsResult<Arc<dyn FileData>> {
        let (inode, bytes) = self.inode(node)?;
        if *stream != StreamName::MAIN {
            return Err(FsError::not_found());
        }
        self.open_inode(&inode, &bytes)
    }
}

/// # Errors
/// `Corrupt` if the root is no directory.
pub(super) fn check_root(volume: &Volume) -> FsResult<()> {
    match volume.read_inode(inode::ROOT, &mut Vec::new()) {
        Ok(root) if root.kind == FileKind::Directory => Ok(()),
        Ok(_) => Err(FsError::corrupt("root inode is not a directory")),
        Err(error) if error.kind() == FsErrorKind::NotFound => {
            Err(FsError::corrupt("root inode is not in use"))
        }
        Err(error) => Err(error),
    }
}

/// How much of a file system is there, in the largest unit that shows a difference.
fn cut_short(there: u64, whole: u64) -> String {
    for (shift, unit) in [(30, "GiB"), (20, "MiB"), (10, "KiB")] {
        if whole >> shift >= 10 && there >> shift < whole >> shift {
            return format!("cut short: {} of {} {unit}", there >> shift, whole >> shift);
        }
    }
    format!("cut short: {there} of {whole} bytes")
}

fn info(volume: &Volume, device_size: u64, mut findings: Vec<Finding>) -> FsInfo {
    let superblock = &volume.superblock;
    if let Some(primary) = superblock.in_place_of {
        let (code, what) = match primary {
            Primary::Damaged => (code::EXT4_BACKUP_SUPERBLOCK, "is damaged"),
            Primary::Gone => (code::EXT4_SUPERBLOCK_GONE, "is gone"),
        };
        let group = superblock.own_group;
        let line = format!("the primary superblock {what}; the backup in group {group} is used");
        findings.push(Finding::warning(code, line));
    }
    if superblock.has_errors {
        findings.push(Finding::warning(
            code::EXT4_ERRORS,
            "the file system is marked as having errors",
        ));
    }
    let (compat, ro_compat) = superblock.features.unknown();
    for (word, bits) in [("compatible", compat), ("read-only compatible", ro_compat)] {
        if bits != 0 {
            findings.push(Finding::warning(
                code::EXT4_UNKNOWN_FEATURES,
                format!("the file system has unknown {word} features {bits:#x}"),
            ));
        }
    }
    if superblock.features.incompat(Incompat::CASEFOLD)
        && superblock.encoding != casefold::UTF8_12_1
    {
        let line = format!(
            "the encoding of names, {}, is not known; capitals count in all directories",
            superblock.encoding
        );
        findings.push(Finding::warning(code::EXT4_UNKNOWN_FEATURES, line));
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
    if volume.groups.from_copies > 0 {
        findings.push(Finding::warning(
            code::EXT4_BACKUP_DESCRIPTORS,
            format!(
                "{} of {} group descriptors are taken from a copy",
                volume.groups.from_copies, superblock.group_count
            ),
        ));
    }
    if superblock.size() > device_size {
        findings.push(Finding::warning(
            code::EXT4_CUT_SHORT,
            cut_short(device_size, superblock.size()),
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
