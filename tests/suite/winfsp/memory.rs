//! A file system in memory, which fails where a test wants it.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use volfold_fs::{
    CaseRule, DirCursor, DirEntry, FileData, FileKind, FileSystem, FsError, FsInfo, FsResult,
    LinkTarget, Metadata, Name, NodeId, StreamInfo, StreamName, Times, Timestamp, Usage,
};

/// A node: what it is, and what it holds.
enum Node {
    Directory(Vec<(Vec<u8>, NodeId)>),
    File(Arc<[u8]>, BTreeMap<Vec<u8>, Arc<[u8]>>),
    Link(Vec<u8>),
}

/// Requests that fail: one of `every`, chosen by `seed`; some of them panic.
#[derive(Clone, Copy)]
pub(crate) struct Faults {
    pub(crate) seed: u64,
    pub(crate) every: u64,
}

pub(crate) struct MemoryFs {
    nodes: Vec<Node>,
    info: FsInfo,
    faults: Option<Faults>,
    asked: Arc<AtomicU64>,
    /// The descriptors of nodes that have their own.
    descriptors: BTreeMap<u64, Vec<u8>>,
}

/// The next of a row of numbers that look like chance.
pub(crate) fn chance(state: u64) -> u64 {
    // splitmix64
    let mut z = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

impl MemoryFs {
    pub(crate) fn new() -> Self {
        let mut info = FsInfo::new("ext4", 4096, 1 << 30);
        info.label = Some("memory".to_owned());
        info.uuid = Some("5eed0001-0000-4000-8000-0000deadbeef".to_owned());
        let nodes = vec![Node::Directory(Vec::new())];
        Self { nodes, info, faults: None, asked: Arc::default(), descriptors: BTreeMap::new() }
    }

    /// As one of Windows: its links may begin with drive letters.
    pub(crate) fn with_drives(mut self) -> Self {
        self.info.case = CaseRule::Insensitive;
        self
    }

    pub(crate) fn with_faults(mut self, faults: Faults) -> Self {
        self.faults = Some(faults);
        self
    }

    fn add(&mut self, dir: NodeId, name: &[u8], node: Node) -> NodeId {
        let id = NodeId(self.nodes.len() as u64);
        self.nodes.push(node);
        let Node::Directory(entries) = &mut self.nodes[dir.0 as usize] else {
            panic!("not a directory");
        };
        entries.push((name.to_vec(), id));
        id
    }

    pub(crate) fn directory(&mut self, dir: NodeId, name: &[u8]) -> NodeId {
        self.add(dir, name, Node::Directory(Vec::new()))
    }

    pub(crate) fn file(&mut self, dir: NodeId, name: &[u8], bytes: &[u8]) -> NodeId {
        self.add(dir, name, Node::File(bytes.into(), BTreeMap::new()))
    }

    pub(crate) fn link(&mut self, dir: NodeId, name: &[u8], target: &[u8]) -> NodeId {
        self.add(dir, name, Node::Link(target.to_vec()))
    }

    pub(crate) fn stream(&mut self, file: NodeId, name: &[u8], bytes: &[u8]) {
        if let Node::File(_, streams) = &mut self.nodes[file.0 as usize] {
            streams.insert(name.to_vec(), bytes.into());
        }
    }

    #[cfg(target_env = "gnu")]
    pub(crate) fn descriptor(&mut self, node: NodeId, bytes: &[u8]) {
        self.descriptors.insert(node.0, bytes.to_vec());
    }

    /// Fails, if it is time to.
    fn fault(&self) -> FsResult<()> {
        fault(self.faults, &self.asked)
    }
}

fn fault(faults: Option<Faults>, asked: &AtomicU64) -> FsResult<()> {
    let Some(Faults { seed, every }) = faults else { return Ok(()) };
    let number = chance(seed ^ asked.fetch_add(1, Ordering::Relaxed));
    match number % every {
        0 if (number >> 32).is_multiple_of(4) => panic!("a backend gives up, as the test wants"),
        0 => Err(FsError::corrupt("a bad block, as the test wants")),
        _ => Ok(()),
    }
}

impl FileSystem for MemoryFs {
    fn info(&self) -> &FsInfo {
        &self.info
    }

    fn usage(&self) -> FsResult<Usage> {
        Ok(Usage::new(&self.info, 1 << 20))
    }

    fn root(&self) -> NodeId {
        NodeId(0)
    }

    fn lookup(&self, dir: NodeId, name: Name<'_>) -> FsResult<NodeId> {
        self.fault()?;
        let Node::Directory(entries) = &self.nodes[dir.0 as usize] else {
            return Err(FsError::not_a_directory());
        };
        let found = entries.iter().find(|(own, _)| own == name.as_bytes());
        found.map(|(_, node)| *node).ok_or_else(FsError::not_found)
    }

    fn metadata(&self, node: NodeId) -> FsResult<Metadata> {
        if node.0 != 0 {
            self.fault()?;
        }
        let (kind, size) = match &self.nodes[node.0 as usize] {
            Node::Directory(_) => (FileKind::Directory, 0),
            Node::File(bytes, _) => (FileKind::Regular, bytes.len() as u64),
            Node::Link(target) => (FileKind::Symlink, target.len() as u64),
        };
        let time = Timestamp { seconds: 1_700_000_000, nanoseconds: 123_456_700 };
        let mut metadata = Metadata::new(node, kind);
        metadata.size = size;
        metadata.allocated = size.next_multiple_of(4096);
        metadata.times = Times { modified: time, accessed: time, changed: time, created: None };
        Ok(metadata)
    }

    fn read_dir(
        &self,
        dir: NodeId,
        from: DirCursor,
        emit: &mut dyn FnMut(DirEntry<'_>) -> ControlFlow<()>,
    ) -> FsResult<()> {
        let Node::Directory(entries) = &self.nodes[dir.0 as usize] else {
            return Err(FsError::not_a_directory());
        };
        self.fault()?;
        for ((name, node), next) in entries.iter().zip(1..).skip(from.0 as usize) {
            let kind = match &self.nodes[node.0 as usize] {
                Node::Directory(_) => FileKind::Directory,
                Node::File(..) => FileKind::Regular,
                Node::Link(_) => FileKind::Symlink,
            };
            let next = DirCursor(next);
            let entry = DirEntry { name: Name::new(name), node: *node, kind, metadata: None, next };
            if emit(entry).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn read_link(&self, node: NodeId) -> FsResult<LinkTarget> {
        self.fault()?;
        match &self.nodes[node.0 as usize] {
            Node::Link(target) => Ok(LinkTarget(target.clone())),
            _ => Err(FsError::not_a_link()),
        }
    }

    fn has_extended_attributes(&self) -> bool {
        true
    }

    fn extended_attribute(&self, node: NodeId, name: &[u8]) -> FsResult<Vec<u8>> {
        let own = self.descriptors.get(&node.0).filter(|_| name == b"system.ntfs_acl");
        own.cloned().ok_or_else(FsError::not_found)
    }

    fn streams(&self, node: NodeId) -> FsResult<Vec<StreamInfo>> {
        self.fault()?;
        let Node::File(_, streams) = &self.nodes[node.0 as usize] else { return Ok(Vec::new()) };
        let info = |(name, bytes): (&Vec<u8>, &Arc<[u8]>)| StreamInfo {
            name: StreamName(name.clone()),
            size: bytes.len() as u64,
        };
        Ok(streams.iter().map(info).collect())
    }

    fn open(&self, node: NodeId, stream: &StreamName) -> FsResult<Arc<dyn FileData>> {
        self.fault()?;
        let Node::File(bytes, streams) = &self.nodes[node.0 as usize] else {
            return Err(FsError::is_a_directory());
        };
        let bytes = match stream.0.as_slice() {
            b"" => bytes,
            name => streams.get(name).ok_or_else(FsError::not_found)?,
        };
        let (faults, asked) = (self.faults, self.asked.clone());
        Ok(Arc::new(MemoryData { bytes: bytes.clone(), faults, asked }))
    }
}

struct MemoryData {
    bytes: Arc<[u8]>,
    faults: Option<Faults>,
    asked: Arc<AtomicU64>,
}

impl FileData for MemoryData {
    fn size(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn memory(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> FsResult<usize> {
        fault(self.faults, &self.asked)?;
        let rest = self.bytes.get(offset as usize..).unwrap_or_default();
        let count = rest.len().min(buf.len());
        buf[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }
}
