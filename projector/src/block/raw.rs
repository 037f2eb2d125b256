//! Block devices as files: one directory with a file for each.

use std::ops::ControlFlow;
use std::sync::{Arc, OnceLock};

use volfold_block::{BlockDevice, BlockError, BlockErrorKind, ExtentKind};
use volfold_fs::{
    DirCursor, DirEntry, FileData, FileExtent, FileExtentKind, FileKind, FileSystem, FsError,
    FsErrorKind, FsInfo, FsResult, LinkTarget, Metadata, Name, NodeId, StreamName, TreeVolume,
    Usage,
};

use super::export::Export;

/// The directory of a mount in which the files are.
pub const FOLDER: &str = ".raw";

/// LIMIT: extents that are counted for the allocated size of a file. What follows them counts as
/// data.
const MAX_COUNTED: u32 = 1 << 16;

const ROOT: NodeId = NodeId(1);

/// The number of the first file.
const FIRST: u64 = 2;

/// A file, which is called as its device.
struct RawFile {
    content: Arc<RawContent>,
    /// The bytes that are data, counted when they are asked for.
    allocated: OnceLock<u64>,
}

impl RawFile {
    fn new(export: Arc<Export>) -> Self {
        Self { content: Arc::new(RawContent { export }), allocated: OnceLock::new() }
    }

    fn name(&self) -> &[u8] {
        self.content.export.name.as_bytes()
    }
}

/// `files`, whose names must differ, as the directory [`FOLDER`] of a mount.
pub fn volume(files: Vec<Arc<Export>>) -> TreeVolume {
    let files: Arc<dyn FileSystem> = Arc::new(RawFiles::new(files));
    TreeVolume::new(FOLDER, move || Ok(files.clone()))
}

/// The directory of the files.
struct RawFiles {
    info: FsInfo,
    files: Vec<RawFile>,
}

impl RawFiles {
    fn new(files: Vec<Arc<Export>>) -> Self {
        let files: Vec<RawFile> = files.into_iter().map(RawFile::new).collect();
        let sizes = files.iter().map(|file| file.content.size());
        let mut info = FsInfo::new("raw", 4096, sizes.fold(0, u64::saturating_add));
        info.label = Some("raw".to_owned());
        Self { info, files }
    }

    fn file(&self, node: NodeId) -> FsResult<&RawFile> {
        let index = node.0.checked_sub(FIRST).and_then(|index| usize::try_from(index).ok());
        let file = index.and_then(|index| self.files.get(index));
        file.ok_or_else(|| FsError::new(FsErrorKind::NotFound, "no such node"))
    }

    fn numbered(&self) -> impl Iterator<Item = (NodeId, &RawFile)> {
        (FIRST..).map(NodeId).zip(&self.files)
    }
}

impl FileSystem for RawFiles {
    fn info(&self) -> &FsInfo {
        &self.info
    }

    fn usage(&self) -> FsResult<Usage> {
        Ok(Usage::new(&self.info, self.info.size))
    }

    fn root(&self) -> NodeId {
        ROOT
    }

    fn lookup(&self, dir: NodeId, name: Name<'_>) -> FsResult<NodeId> {
        if dir != ROOT {
            return Err(FsError::not_a_directory());
        }
        let found = self.numbered().find(|(_, file)| file.name() == name.as_bytes());
        found.map(|(node, _)| node).ok_or_else(FsError::not_found)
    }

    fn metadata(&self, node: NodeId) -> FsResult<Metadata> {
        let file = if node == ROOT { None } else { Some(self.file(node)?) };
        let allocated = |file: &RawFile| *file.allocated.get_or_init(|| file.content.allocated());
        let kind = if file.is_some() { FileKind::Regular } else { FileKind::Directory };
        let mut metadata = Metadata::new(node, kind);
        metadata.size = file.map_or(0, |file| file.content.size());
        metadata.allocated = file.map_or(0, allocated);
        metadata.links = if file.is_some() { 1 } else { 2 };
        Ok(metadata)
    }

    fn read_dir(
        &self,
        dir: NodeId,
        from: DirCursor,
        emit: &mut dyn FnMut(DirEntry<'_>) -> ControlFlow<()>,
    ) -> FsResult<()> {
        if dir != ROOT {
            return Err(FsError::not_a_directory());
        }
        // The node's number is also where to go on after the one before it.
        for (node, file) in self.numbered().filter(|(node, _)| node.0 >= from.0) {
            let entry = DirEntry {
                name: Name::new(file.name()),
                node,
                kind: FileKind::Regular,
                metadata: None,
                next: DirCursor(node.0.saturating_add(1)),
            };
            if emit(entry).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn read_link(&self, _node: NodeId) -> FsResult<LinkTarget> {
        Err(FsError::not_a_link())
    }

    fn open(&self, node: NodeId, stream: &StreamName) -> FsResult<Arc<dyn FileData>> {
        if node == ROOT {
            return Err(FsError::is_a_directory());
        }
        if *stream != StreamName::MAIN {
            return Err(FsError::not_found());
        }
        Ok(self.file(node)?.content.clone())
    }
}

/// The bytes of a device as those of a file.
struct RawContent {
    export: Arc<Export>,
}

impl RawContent {
    fn device(&self) -> &dyn BlockDevice {
        self.export.content.device()
    }

    /// The bytes that are data, or may be.
    fn allocated(&self) -> u64 {
        let (mut at, mut data) = (0_u64, 0_u64);
        for _ in 0..MAX_COUNTED {
            let Ok(extent) = self.extent_at(at) else {
                return data;
            };
            if extent.kind == FileExtentKind::Data {
                data = data.saturating_add(extent.length);
            }
            at = at.saturating_add(extent.length);
        }
        data.saturating_add(self.size().saturating_sub(at))
    }
}

/// Whatever is wrong with an image, a program that reads a device knows one error alone. A fault of
/// ours stays one.
fn as_io(error: BlockError) -> FsError {
    if error.kind() == BlockErrorKind::Internal {
        return error.into();
    }
    FsError::new(FsErrorKind::Io, "the device cannot be read").because(error)
}

impl FileData for RawContent {
    fn size(&self) -> u64 {
        self.device().size()
    }

    fn memory(&self) -> u64 {
        // The device belongs to the set.
        u64::try_from(size_of::<Self>()).unwrap_or(u64::MAX)
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> FsResult<usize> {
        let rest = self.size().saturating_sub(offset);
        let count = usize::try_from(rest).unwrap_or(usize::MAX).min(buf.len());
        let (part, _) = buf.split_at_mut(count);
        self.device().read_at(offset, part).map_err(as_io)?;
        Ok(count)
    }

    /// INVARIANT: what cannot be read is no hole, so that programs try to read it and are told.
    fn extent_at(&self, offset: u64) -> FsResult<FileExtent> {
        let rest = self.size().saturating_sub(offset);
        if rest == 0 {
            let line = "offset is past the end of the device";
            return Err(FsError::new(FsErrorKind::OutOfRange, line).at(offset));
        }
        Ok(match self.device().extent_at(offset) {
            Ok(extent) => FileExtent {
                kind: match extent.kind {
                    ExtentKind::Zero => FileExtentKind::Hole,
                    ExtentKind::Data => FileExtentKind::Data,
                },
                length: extent.length.clamp(1, rest),
            },
            Err(_) => FileExtent { kind: FileExtentKind::Data, length: rest },
        })
    }
}

#[cfg(test)]
mod tests {
    use volfold_block::{BlockResult, Extent, MemoryDevice, check_range};

    use super::*;

    /// Data, a hole, and bytes whose kind is not known; 4096 bytes each.
    struct Torn;

    impl BlockDevice for Torn {
        fn size(&self) -> u64 {
            3 * 4096
        }

        fn read_at(&self, offset: u64, buf: &mut [u8]) -> BlockResult<()> {
            check_range(offset, buf.len(), self.size())?;
            if offset + buf.len() as u64 > 8192 {
                return Err(BlockError::corrupt("grain table is torn", offset, 0));
            }
            buf.fill(7);
            Ok(())
        }

        fn extent_at(&self, offset: u64) -> BlockResult<Extent> {
            let kind = match offset / 4096 {
                0 => ExtentKind::Data,
                1 => ExtentKind::Zero,
                _ => return Err(BlockError::corrupt("grain table is torn", offset, 0)),
            };
            Ok(Extent { kind, length: 4096 - offset % 4096 })
        }
    }

    fn files() -> RawFiles {
        let small: Arc<dyn BlockDevice> = Arc::new(MemoryDevice::new(vec![1; 1000]));
        RawFiles::new(vec![
            Arc::new(Export::read_only("torn.img", Arc::new(Torn))),
            Arc::new(Export::read_only("small.img", small)),
        ])
    }

    #[test]
    fn every_file_is_listed_from_any_place_and_found() {
        let files = files();
        let mut seen = Vec::new();
        let mut from = DirCursor::START;
        loop {
            let mut next = None;
            let one = &mut |entry: DirEntry<'_>| {
                seen.push((entry.name.to_text().into_owned(), entry.node));
                next = Some(entry.next);
                ControlFlow::Break(())
            };
            files.read_dir(ROOT, from, one).unwrap();
            match next {
                Some(next) => from = next,
                None => break,
            }
        }
        let names: Vec<&str> = seen.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["torn.img", "small.img"]);
        for (name, node) in &seen {
            assert_eq!(files.lookup(ROOT, Name::new(name)).unwrap(), *node);
        }
        let error = files.lookup(ROOT, Name::new("SMALL.img")).unwrap_err();
        assert_eq!(error.kind(), FsErrorKind::NotFound);
        assert!(files.metadata(NodeId(4)).is_err() && files.metadata(NodeId(0)).is_err());
    }

    #[test]
    fn a_file_has_the_exact_size_and_ends_there() {
        let files = files();
        let node = files.lookup(ROOT, Name::new("small.img")).unwrap();
        assert_eq!(files.metadata(node).unwrap().size, 1000);
        let file = files.open(node, &StreamName::MAIN).unwrap();
        let mut buf = [0; 64];
        assert_eq!(file.read_at(990, &mut buf).unwrap(), 10);
        assert_eq!(file.read_at(1000, &mut buf).unwrap(), 0);
    }

    #[test]
    fn what_cannot_be_read_is_an_error_of_the_device_and_no_hole() {
        let files = files();
        let node = files.lookup(ROOT, Name::new("torn.img")).unwrap();
        assert_eq!(files.metadata(node).unwrap().allocated, 8192);
        let file = files.open(node, &StreamName::MAIN).unwrap();
        let kinds = [0, 4096, 8192].map(|at| file.extent_at(at).unwrap().kind);
        let (data, hole) = (FileExtentKind::Data, FileExtentKind::Hole);
        assert_eq!(kinds, [data, hole, data]);
        assert_eq!(file.extent_at(12288).unwrap_err().kind(), FsErrorKind::OutOfRange);
        let error = file.read_at(8000, &mut [0; 1000]).unwrap_err();
        assert_eq!(error.kind(), FsErrorKind::Io);
    }
}
