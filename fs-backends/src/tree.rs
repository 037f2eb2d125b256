//! The tree of volumes: a file system whose top directories are other file systems.
//!
//! A volume is opened when it is entered, not before. A panic inside a backend is an error of
//! the request that met it. As in the systems that the volumes come from, one may be in the place of a
//! directory of another.

use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;
use std::sync::{Arc, OnceLock};

use volfold_block::guard;

use crate::error::{FsError, FsErrorKind, FsResult};
use crate::node::{
    CaseRule, DirCursor, DirEntry, FileData, FileKind, FileSystem, FsInfo, LinkTarget, Metadata,
    Name, NodeId, StreamInfo, StreamName, Usage,
};

/// The bits of a [`NodeId`] that are the volume's own; above them is the number of the volume.
const VOLUME_SHIFT: u32 = 48;

/// LIMIT: volumes of one tree, so that the number of the volume fits above the shift.
const MAX_VOLUMES: usize = 0x7FFF;

/// The root of the tree.
const ROOT: NodeId = NodeId(1);

type Opener = Box<dyn Fn() -> FsResult<Arc<dyn FileSystem>> + Send + Sync>;

/// One top directory, and how to open what is below it.
pub struct TreeVolume {
    name: Vec<u8>,
    open: Opener,
    opened: OnceLock<Arc<dyn FileSystem>>,
}

impl TreeVolume {
    /// A directory called `name`; `open` is called when it is entered, and again while it fails.
    pub fn new(
        name: impl Into<Vec<u8>>,
        open: impl Fn() -> FsResult<Arc<dyn FileSystem>> + Send + Sync + 'static,
    ) -> Self {
        Self { name: name.into(), open: Box::new(open), opened: OnceLock::new() }
    }

    /// The name of the directory.
    pub fn name(&self) -> &[u8] {
        &self.name
    }

    /// The file system below it, opened at the first call.
    ///
    /// # Errors
    /// Why it cannot be opened.
    pub fn open(&self) -> FsResult<Arc<dyn FileSystem>> {
        self.get().cloned()
    }

    fn get(&self) -> FsResult<&Arc<dyn FileSystem>> {
        if let Some(opened) = self.opened.get() {
            return Ok(opened);
        }
        // Two threads may open at once; the first to end wins, the other's copy is dropped.
        let opened = guarded(|| (self.open)())?;
        Ok(self.opened.get_or_init(|| opened))
    }
}

/// A file system made of other file systems.
pub struct VolumeTree {
    info: FsInfo,
    volumes: Vec<TreeVolume>,
    usage: OnceLock<Usage>,
    /// The root of a volume that is in the place of a directory.
    covers: HashMap<NodeId, NodeId>,
    /// The volumes that have no directory of their own.
    hidden: HashSet<usize>,
}

impl VolumeTree {
    /// A tree of `volumes`, in this order; names must differ. More than 32,767 are left out.
    pub fn new(mut volumes: Vec<TreeVolume>) -> Self {
        volumes.truncate(MAX_VOLUMES);
        Self {
            info: FsInfo::new("volumes", 4096, 0),
            volumes,
            usage: OnceLock::new(),
            covers: HashMap::new(),
            hidden: HashSet::new(),
        }
    }

    /// Puts the root of the volume `name` in the place of the directory `place`, which may also be a
    /// link that stands for it; nothing of what was there is seen any more.
    ///
    /// # Errors
    /// `NotFound` if there is no such volume.
    pub fn cover(&mut self, place: NodeId, name: &[u8]) -> FsResult<()> {
        let over = volume_root(self.index_of(name)?);
        // What is in the place of a root is in the place of what that one is in the place of.
        let place = self.covers.iter().find(|(_, over)| **over == place).map_or(place, |it| *it.0);
        if place != over {
            self.covers.insert(place, over);
        }
        Ok(())
    }

    /// Leaves out the directory of the volume `name`, which is seen where it covers another.
    ///
    /// # Errors
    /// `NotFound` if there is no such volume.
    pub fn hide(&mut self, name: &[u8]) -> FsResult<()> {
        let index = self.index_of(name)?;
        self.hidden.insert(index);
        Ok(())
    }

    fn index_of(&self, name: &[u8]) -> FsResult<usize> {
        self.volumes.iter().position(|volume| volume.name == name).ok_or_else(FsError::not_found)
    }

    /// `node`, or the root that is in its place.
    fn seen(&self, node: NodeId) -> NodeId {
        self.covers.get(&node).copied().unwrap_or(node)
    }

    /// The name of the volume that `node` lies in; `None` for the root of the tree.
    pub fn volume_name(&self, node: NodeId) -> Option<&[u8]> {
        let index = usize::try_from((node.0 >> VOLUME_SHIFT).checked_sub(1)?).ok()?;
        self.volumes.get(index).map(TreeVolume::name)
    }

    /// The number that `node` has in its volume; 0 for the root of the tree, and where the volume cannot be
    /// opened.
    pub fn own_number(&self, node: NodeId) -> u64 {
        self.inside(node).map_or(0, |(_, volume, own)| volume.number(own))
    }

    /// How the volume that `node` lies in compares names; byte by byte where none does, or it was not
    /// entered yet.
    pub fn case(&self, node: NodeId) -> CaseRule {
        self.info_of(node).map_or(CaseRule::Sensitive, |info| info.case)
    }

    /// The kind of the volume that `node` lies in, if it was entered: `ntfs`, `fat32`.
    pub fn kind(&self, node: NodeId) -> Option<&'static str> {
        self.info_of(node).map(|info| info.kind)
    }

    fn info_of(&self, node: NodeId) -> Option<&FsInfo> {
        let index = usize::try_from((node.0 >> VOLUME_SHIFT).checked_sub(1)?).ok()?;
        Some(self.volumes.get(index)?.opened.get()?.info())
    }

    /// The file systems that were opened up to now, by the names of their directories.
    pub fn opened(&self) -> impl Iterator<Item = (&[u8], &Arc<dyn FileSystem>)> {
        self.volumes.iter().filter_map(|volume| Some((volume.name(), volume.opened.get()?)))
    }

    /// Opens the file system of the directory `name`; `None` if there is no such directory.
    pub fn enter(&self, name: &[u8]) -> Option<FsResult<Arc<dyn FileSystem>>> {
        self.volumes.iter().find(|volume| volume.name == name).map(TreeVolume::open)
    }

    /// The volume that `node` lies in, its number, and the volume's own id of the node.
    fn inside(&self, node: NodeId) -> FsResult<(u64, &Arc<dyn FileSystem>, NodeId)> {
        let number = node.0 >> VOLUME_SHIFT;
        let index = number.checked_sub(1).and_then(|index| usize::try_from(index).ok());
        let volume = index.and_then(|index| self.volumes.get(index)).ok_or_else(no_such_node)?;
        let volume = volume.get()?;
        let own = NodeId(node.0 & ((1 << VOLUME_SHIFT) - 1));
        Ok((number, volume, swap_root(own, volume.root())))
    }
}

fn no_such_node() -> FsError {
    FsError::new(FsErrorKind::NotFound, "no such node")
}

fn guarded<T>(work: impl FnOnce() -> FsResult<T>) -> FsResult<T> {
    guard("the volume", work)
}

/// In the tree every volume's root has the own id 0, known before the volume is opened. The node
/// that has the id 0 in its volume, if there is one, takes the root's number.
fn swap_root(own: NodeId, root: NodeId) -> NodeId {
    if own == root {
        NodeId(0)
    } else if own.0 == 0 {
        root
    } else {
        own
    }
}

fn outer(number: u64, own: NodeId, root: NodeId) -> NodeId {
    NodeId((number << VOLUME_SHIFT) | swap_root(own, root).0)
}

impl FileSystem for VolumeTree {
    fn info(&self) -> &FsInfo {
        &self.info
    }

    /// Of all volumes together that tell; asked for once.
    fn usage(&self) -> FsResult<Usage> {
        let sum = self.usage.get_or_init(|| {
            let mut sum = Usage::new(&self.info, 0);
            for usage in
                self.volumes.iter().filter_map(|volume| guarded(|| volume.get()?.usage()).ok())
            {
                sum.size = sum.size.saturating_add(usage.size);
                sum.used = sum.used.saturating_add(usage.used);
            }
            sum
        });
        Ok(*sum)
    }

    fn statistics(&self, node: NodeId) -> FsResult<Usage> {
        if node == ROOT {
            return self.usage();
        }
        let (_, volume, own) = self.inside(node)?;
        guarded(|| volume.statistics(own))
    }

    fn root(&self) -> NodeId {
        ROOT
    }

    fn lookup(&self, dir: NodeId, name: Name<'_>) -> FsResult<NodeId> {
        if dir == ROOT {
            let index = self.index_of(name.as_bytes())?;
            return match self.hidden.contains(&index) {
                true => Err(FsError::not_found()),
                false => Ok(self.seen(volume_root(index))),
            };
        }
        let (number, volume, own) = self.inside(dir)?;
        Ok(self.seen(outer(number, guarded(|| volume.lookup(own, name))?, volume.root())))
    }

    fn metadata(&self, node: NodeId) -> FsResult<Metadata> {
        if node == ROOT {
            return Ok(root_metadata(self.volumes.len().saturating_sub(self.hidden.len())));
        }
        let (number, volume, own) = self.inside(node)?;
        let mut metadata = guarded(|| volume.metadata(own))?;
        metadata.node = outer(number, metadata.node, volume.root());
        // INVARIANT: a listing of the tree names a volume's root before the volume is opened, so
        // its generation is 0 there; a kernel that is told another one later takes the root for
        // another node, and its readers get EIO.
        if own == volume.root() {
            metadata.generation = 0;
        }
        Ok(metadata)
    }

    fn read_dir(
        &self,
        dir: NodeId,
        from: DirCursor,
        emit: &mut dyn FnMut(DirEntry<'_>) -> ControlFlow<()>,
    ) -> FsResult<()> {
        if dir == ROOT {
            self.read_root(from, emit);
            return Ok(());
        }
        let (number, volume, own) = self.inside(dir)?;
        let root = volume.root();
        let mut translated = |mut entry: DirEntry<'_>| {
            entry.node = outer(number, entry.node, root);
            let seen = self.seen(entry.node);
            if seen != entry.node {
                let (kind, metadata) = (FileKind::Directory, None);
                return emit(DirEntry { node: seen, kind, metadata, ..entry });
            }
            match entry.metadata {
                None => emit(entry),
                Some(metadata) => {
                    let metadata = Metadata { node: entry.node, ..metadata.clone() };
                    emit(DirEntry { metadata: Some(&metadata), ..entry })
                }
            }
        };
        guarded(|| volume.read_dir(own, from, &mut translated))
    }

    fn read_link(&self, node: NodeId) -> FsResult<LinkTarget> {
        if node == ROOT {
            return Err(FsError::not_a_link());
        }
        let (_, volume, own) = self.inside(node)?;
        guarded(|| volume.read_link(own))
    }

    fn streams(&self, node: NodeId) -> FsResult<Vec<StreamInfo>> {
        if node == ROOT {
            return Ok(Vec::new());
        }
        let (_, volume, own) = self.inside(node)?;
        guarded(|| volume.streams(own))
    }

    fn has_extended_attributes(&self) -> bool {
        let has = |volume: &TreeVolume| {
            volume.opened.get().is_none_or(|opened| opened.has_extended_attributes())
        };
        self.volumes.iter().any(has)
    }

    fn extended_attributes(&self, node: NodeId) -> FsResult<Vec<Vec<u8>>> {
        if node == ROOT {
            return Ok(Vec::new());
        }
        let (_, volume, own) = self.inside(node)?;
        guarded(|| volume.extended_attributes(own))
    }

    fn extended_attribute(&self, node: NodeId, name: &[u8]) -> FsResult<Vec<u8>> {
        if node == ROOT {
            return Err(FsError::not_found());
        }
        let (_, volume, own) = self.inside(node)?;
        guarded(|| volume.extended_attribute(own, name))
    }

    fn open(&self, node: NodeId, stream: &StreamName) -> FsResult<Arc<dyn FileData>> {
        if node == ROOT {
            return Err(FsError::is_a_directory());
        }
        let (_, volume, own) = self.inside(node)?;
        guarded(|| volume.open(own, stream))
    }
}

impl VolumeTree {
    /// Entries of volumes that were not entered yet carry no metadata, so that a listing opens none.
    fn read_root(&self, from: DirCursor, emit: &mut dyn FnMut(DirEntry<'_>) -> ControlFlow<()>) {
        for (index, next) in (0_usize..self.volumes.len()).zip(1_u64..) {
            let is_wanted = next > from.0 && !self.hidden.contains(&index);
            let Some(volume) = self.volumes.get(index).filter(|_| is_wanted) else {
                continue;
            };
            let node = self.seen(volume_root(index));
            let metadata = volume.opened.get().and_then(|_| self.metadata(node).ok());
            let entry = DirEntry {
                name: Name::new(&volume.name),
                node,
                kind: FileKind::Directory,
                metadata: metadata.as_ref(),
                next: DirCursor(next),
            };
            if emit(entry).is_break() {
                return;
            }
        }
    }
}

fn volume_root(index: usize) -> NodeId {
    // `MAX_VOLUMES` keeps the number below the sign bit.
    NodeId(u64::try_from(index).unwrap_or(0).saturating_add(1) << VOLUME_SHIFT)
}

fn root_metadata(volumes: usize) -> Metadata {
    Metadata {
        links: u32::try_from(volumes).unwrap_or(u32::MAX).saturating_add(2),
        ..Metadata::new(ROOT, FileKind::Directory)
    }
}
