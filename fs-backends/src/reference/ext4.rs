//! ext2, ext3 and ext4 over the crate `ext4-view`: a second opinion for tests.
//!
//! The crate goes by paths and cannot be shared between threads, so it lives on a worker and a
//! node is the number of a path that was seen. It tells no link counts, no change times, no device
//! numbers and no holes; a file is read fastest from front to back.

use std::collections::HashMap;
use std::error::Error;
use std::ops::ControlFlow;
use std::sync::Arc;

use ext4_view::{Ext4, Ext4Error, Ext4Read, File, FileType, Path, PathBuf};
use parking_lot::Mutex;
use volfold_block::{BlockDevice, Confidence, byte_count, bytes_to_index};

use crate::confined::Confined;
use crate::driver::{FileSystemDriver, Identity, ReadOptions, VolumeReader};
use crate::error::{FsError, FsErrorKind, FsResult};
use crate::node::{
    CaseRule, DirCursor, DirEntry, FileData, FileKind, FileSystem, FsInfo, LinkTarget, Metadata,
    Name, NodeId, Owner, StreamName, Times, Timestamp, Usage,
};

/// LIMIT: paths that are remembered; with more the tree is refused.
const MAX_PATHS: usize = 1 << 20;
/// LIMIT: files that are kept open at their position.
const MAX_OPEN: usize = 8;
/// LIMIT: bytes of one read on the worker.
const MAX_READ: usize = 1 << 20;

/// Reads ext volumes with `ext4-view`. Not one of [`crate::DRIVERS`].
#[derive(Debug)]
pub struct Ext4View;

impl FileSystemDriver for Ext4View {
    fn id(&self) -> &'static str {
        "ext4-view"
    }

    fn title(&self) -> &'static str {
        "ext2/3/4 (ext4-view)"
    }

    fn probe(&self, volume: &dyn BlockDevice) -> FsResult<Confidence> {
        crate::ext4::Ext4Driver.probe(volume)
    }

    fn identify(&self, _volume: VolumeReader) -> FsResult<Identity> {
        Ok(Identity::default())
    }

    fn mount(&self, volume: VolumeReader, _options: ReadOptions) -> FsResult<Arc<dyn FileSystem>> {
        let size = volume.data.size();
        let mut log_block_size = [0; 4];
        volume.data.read_at(0x418, &mut log_block_size)?;
        let shift = u32::from_le_bytes(log_block_size);
        // INVARIANT: the numbers of nodes outlive the worker's value, which is built anew after a
        // panic.
        let seen = Arc::new(Mutex::new(Seen::new()));
        let worker = Arc::new(Confined::new("ext4-view", move || {
            let device = Device(volume.data.clone());
            let fs = Ext4::load(Box::new(device)).map_err(convert)?;
            Ok(State { fs, seen: seen.clone(), open: Vec::new() })
        })?);
        let (label, uuid) = worker.run(|state| {
            let label = state.fs.label().to_str().map(str::to_owned).unwrap_or_default();
            Ok((label, state.fs.uuid().to_string()))
        })?;
        let info = FsInfo {
            kind: "ext4",
            label: (!label.is_empty()).then_some(label),
            uuid: Some(uuid),
            case: CaseRule::Sensitive,
            cluster_size: 1024_u32.checked_shl(shift).unwrap_or(1024),
            size,
            findings: Vec::new(),
        };
        Ok(Arc::new(View { worker, info }))
    }
}

/// The volume, as the crate reads it.
struct Device(Arc<dyn BlockDevice>);

impl Ext4Read for Device {
    fn read(
        &mut self,
        start_byte: u64,
        dst: &mut [u8],
    ) -> Result<(), Box<dyn Error + Send + Sync + 'static>> {
        Ok(self.0.read_at(start_byte, dst)?)
    }
}

/// What lives on the worker.
struct State {
    fs: Ext4,
    seen: Arc<Mutex<Seen>>,
    /// The last used comes last.
    open: Vec<(NodeId, File)>,
}

/// The paths that were seen, and their numbers.
struct Seen {
    /// The path of each node, counted from 1.
    paths: Vec<PathBuf>,
    nodes: HashMap<Vec<u8>, NodeId>,
}

impl Seen {
    fn new() -> Self {
        Self { paths: vec![PathBuf::new("/")], nodes: HashMap::from([(b"/".to_vec(), NodeId(1))]) }
    }
}

impl State {
    fn path(&self, node: NodeId) -> FsResult<PathBuf> {
        let index = node.0.checked_sub(1).ok_or_else(FsError::not_found)?;
        let seen = self.seen.lock();
        seen.paths.get(bytes_to_index(index)?).cloned().ok_or_else(FsError::not_found)
    }

    fn node(&mut self, path: PathBuf) -> FsResult<NodeId> {
        let mut seen = self.seen.lock();
        let bytes: &[u8] = path.as_ref();
        if let Some(&node) = seen.nodes.get(bytes) {
            return Ok(node);
        }
        if seen.paths.len() >= MAX_PATHS {
            return Err(FsError::unsupported("tree has too many paths"));
        }
        let bytes = bytes.to_vec();
        seen.paths.push(path);
        let node = NodeId(byte_count(seen.paths.len()));
        seen.nodes.insert(bytes, node);
        Ok(node)
    }

    fn metadata(&self, node: NodeId) -> FsResult<Metadata> {
        let found = self.fs.symlink_metadata(self.path(node)?.as_path()).map_err(convert)?;
        let modified = timestamp(found.modified());
        Ok(Metadata {
            node,
            generation: 0,
            kind: kind(found.file_type()),
            size: found.len(),
            allocated: found.len(),
            links: 1,
            times: Times {
                modified,
                accessed: timestamp(found.accessed()),
                changed: modified,
                created: found.created().map(timestamp),
            },
            owner: Some(Owner { uid: found.uid(), gid: found.gid(), mode: found.mode() }),
            device: None,
            attributes: None,
            unreadable: None,
        })
    }

    fn list(&mut self, dir: NodeId) -> FsResult<Vec<(Vec<u8>, NodeId, FileKind)>> {
        if self.metadata(dir)?.kind != FileKind::Directory {
            return Err(FsError::not_a_directory());
        }
        let entries = self.fs.read_dir(self.path(dir)?.as_path()).map_err(convert)?;
        let mut list = Vec::new();
        // INVARIANT: every entry takes one of the paths, which are bounded.
        for entry in entries {
            let entry = entry.map_err(convert)?;
            let name = entry.file_name();
            if matches!(name.as_ref(), b"." | b"..") {
                continue;
            }
            let node = self.node(entry.path())?;
            let kind = kind(entry.file_type().map_err(convert)?);
            list.push((name.as_ref().to_vec(), node, kind));
        }
        Ok(list)
    }

    fn read(&mut self, node: NodeId, offset: u64, length: usize) -> FsResult<Vec<u8>> {
        let index = self.open.iter().position(|(open, _)| *open == node);
        let mut file = match index {
            Some(index) => self.open.remove(index).1,
            None => self.fs.open(self.path(node)?.as_path()).map_err(convert)?,
        };
        if file.position() != offset {
            file.seek_to(offset).map_err(convert)?;
        }
        let mut bytes = vec![0; length.min(MAX_READ)];
        let mut filled = 0_usize;
        while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match file.read_bytes(rest).map_err(convert)? {
                0 => break,
                count => filled = filled.saturating_add(count),
            }
        }
        bytes.truncate(filled);
        if self.open.len() >= MAX_OPEN {
            self.open.remove(0);
        }
        self.open.push((node, file));
        Ok(bytes)
    }
}

/// A mounted volume.
struct View {
    worker: Arc<Confined<State>>,
    info: FsInfo,
}

impl FileSystem for View {
    fn info(&self) -> &FsInfo {
        &self.info
    }

    fn usage(&self) -> FsResult<Usage> {
        Err(FsError::unsupported("ext4-view does not tell what is free"))
    }

    fn root(&self) -> NodeId {
        NodeId(1)
    }

    fn lookup(&self, dir: NodeId, name: Name<'_>) -> FsResult<NodeId> {
        let name = name.as_bytes().to_vec();
        // The crate goes by paths; these would be paths of another node.
        if name.is_empty() || name.contains(&b'/') {
            return Err(FsError::not_found());
        }
        self.worker.run(move |state| {
            if state.metadata(dir)?.kind != FileKind::Directory {
                return Err(FsError::not_a_directory());
            }
            let path = Path::try_from(name.as_slice()).map_err(|_| FsError::not_found())?;
            let path = state.path(dir)?.join(path);
            state.fs.symlink_metadata(&path).map_err(convert)?;
            state.node(path)
        })
    }

    fn metadata(&self, node: NodeId) -> FsResult<Metadata> {
        self.worker.run(move |state| state.metadata(node))
    }

    fn read_dir(
        &self,
        dir: NodeId,
        from: DirCursor,
        emit: &mut dyn FnMut(DirEntry<'_>) -> ControlFlow<()>,
    ) -> FsResult<()> {
        let list = self.worker.run(move |state| state.list(dir))?;
        let skip = bytes_to_index(from.0)?;
        for ((name, node, kind), next) in list.iter().zip(1_u64..).skip(skip) {
            let entry = DirEntry {
                name: Name::new(name),
                node: *node,
                kind: *kind,
                metadata: None,
                next: DirCursor(next),
            };
            if emit(entry).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn read_link(&self, node: NodeId) -> FsResult<LinkTarget> {
        self.worker.run(move |state| {
            let target = state.fs.read_link(state.path(node)?.as_path()).map_err(convert)?;
            let bytes: &[u8] = target.as_ref();
            Ok(LinkTarget(bytes.to_vec()))
        })
    }

    fn open(&self, node: NodeId, stream: &StreamName) -> FsResult<Arc<dyn FileData>> {
        if *stream != StreamName::MAIN {
            return Err(FsError::not_found());
        }
        let size = self.worker.run(move |state| {
            if state.metadata(node)?.kind == FileKind::Symlink {
                return Err(FsError::unsupported("node has no content"));
            }
            let file = state.fs.open(state.path(node)?.as_path()).map_err(convert)?;
            Ok(file.metadata().len())
        })?;
        Ok(Arc::new(Content { worker: self.worker.clone(), node, size }))
    }
}

/// An open file.
struct Content {
    worker: Arc<Confined<State>>,
    node: NodeId,
    size: u64,
}

impl FileData for Content {
    fn size(&self) -> u64 {
        self.size
    }

    fn memory(&self) -> u64 {
        1024
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> FsResult<usize> {
        // The crate walks to a position behind the end, however far that is.
        if offset >= self.size {
            return Ok(0);
        }
        let mut position = offset;
        let mut filled = 0_usize;
        for piece in buf.chunks_mut(MAX_READ) {
            let (node, length) = (self.node, piece.len());
            let bytes = self.worker.run(move |state| state.read(node, position, length))?;
            for (to, from) in piece.iter_mut().zip(&bytes) {
                *to = *from;
            }
            filled = filled.saturating_add(bytes.len());
            position = position.saturating_add(byte_count(bytes.len()));
            if bytes.len() < length {
                break;
            }
        }
        Ok(filled)
    }
}

fn kind(file_type: FileType) -> FileKind {
    match file_type {
        FileType::BlockDevice => FileKind::BlockDevice,
        FileType::CharacterDevice => FileKind::CharDevice,
        FileType::Directory => FileKind::Directory,
        FileType::Fifo => FileKind::Fifo,
        FileType::Regular => FileKind::Regular,
        FileType::Socket => FileKind::Socket,
        FileType::Symlink => FileKind::Symlink,
    }
}

fn timestamp(time: ext4_view::Timestamp) -> Timestamp {
    Timestamp { seconds: time.seconds(), nanoseconds: time.nanoseconds() }
}

fn convert(error: Ext4Error) -> FsError {
    let kind = match &error {
        Ext4Error::NotFound => FsErrorKind::NotFound,
        Ext4Error::NotADirectory => FsErrorKind::NotADirectory,
        Ext4Error::IsADirectory => FsErrorKind::IsADirectory,
        Ext4Error::NotASymlink => FsErrorKind::NotALink,
        Ext4Error::Encrypted => FsErrorKind::Encrypted,
        Ext4Error::Io(_) => FsErrorKind::Io,
        Ext4Error::Corrupt(_) => FsErrorKind::Corrupt,
        _ => FsErrorKind::Unsupported,
    };
    FsError::new(kind, "ext4-view could not read").because(error)
}
