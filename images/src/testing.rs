//! What the tests of all formats share.

use std::collections::BTreeMap;
use std::io::Write;
use std::ops::ControlFlow;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use flate2::Compression;
use flate2::write::ZlibEncoder;

use crate::context::ImageContext;
use crate::format::DiskImage;
use crate::locator::{Located, Locator};
use crate::registry;
use volfold_block::{
    BlockDevice, BlockError, BlockErrorKind, BlockResult, CachePool, MemoryDevice,
};

/// What images are opened with, with a small cache.
pub(crate) fn context() -> ImageContext {
    ImageContext::new(&CachePool::new(1 << 20))
}

pub(crate) fn deflate(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// A folder in memory.
#[derive(Clone, Default)]
pub(crate) struct Files(BTreeMap<String, Arc<dyn BlockDevice>>);

impl Files {
    pub(crate) fn with(self, name: &str, bytes: impl Into<Vec<u8>>) -> Self {
        let bytes: Vec<u8> = bytes.into();
        self.with_device(name, Arc::new(MemoryDevice::new(bytes)))
    }

    pub(crate) fn with_device(mut self, name: &str, device: Arc<dyn BlockDevice>) -> Self {
        self.0.insert(name.to_owned(), device);
        self
    }

    pub(crate) fn located(&self, name: &str) -> Located {
        Locator::open(self, Path::new(name)).unwrap()
    }

    pub(crate) fn open(&self, name: &str) -> BlockResult<DiskImage> {
        registry::open(&self.located(name), &context())
    }

    /// What opening `name` ends with: kind, position and sentence.
    #[track_caller]
    pub(crate) fn error(&self, name: &str) -> (BlockErrorKind, Option<u64>, String) {
        let error = self.open(name).err().expect("an error");
        (error.kind(), error.position(), error.message().to_owned())
    }
}

impl Locator for Files {
    fn open(&self, reference: &Path) -> BlockResult<Located> {
        let name = reference.to_str().unwrap();
        let device = self.0.get(name).ok_or_else(|| BlockError::missing("no such file"))?;
        Ok(Located {
            device: Arc::clone(device),
            name: name.to_owned(),
            files: Arc::new(self.clone()),
        })
    }

    fn neighbours(&self, extension: &str, visit: &mut dyn FnMut(Located) -> ControlFlow<()>) {
        for name in self.0.keys().filter(|name| name.ends_with(extension)) {
            if visit(self.located(name)).is_break() {
                return;
            }
        }
    }
}

/// A device that notes where it was read.
pub(crate) struct Recorder {
    bytes: MemoryDevice,
    pub(crate) reads: Mutex<Vec<(u64, usize)>>,
}

impl Recorder {
    pub(crate) fn new(bytes: Vec<u8>) -> Self {
        Self { bytes: MemoryDevice::new(bytes), reads: Mutex::new(Vec::new()) }
    }
}

impl BlockDevice for Recorder {
    fn size(&self) -> u64 {
        self.bytes.size()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> BlockResult<()> {
        self.reads.lock().unwrap().push((offset, buf.len()));
        self.bytes.read_at(offset, buf)
    }
}

/// The bytes of `device` at `offset`.
pub(crate) fn read(device: &dyn BlockDevice, offset: u64, size: usize) -> BlockResult<Vec<u8>> {
    let mut bytes = vec![0xEE; size];
    device.read_at(offset, &mut bytes)?;
    Ok(bytes)
}

/// The disk that `qemu-img` finds in the file `name` of `files`, which is in its format `format`; `None`
/// where there is no `qemu-img`, which CI has.
#[track_caller]
pub(crate) fn converted_by_qemu(
    files: &[(&str, Vec<u8>)],
    name: &str,
    format: &str,
) -> Option<Vec<u8>> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let folder = format!("volfold-qemu-{}-{number}", std::process::id());
    let folder = std::env::temp_dir().join(folder);
    std::fs::create_dir_all(&folder).unwrap();
    for (name, bytes) in files {
        std::fs::write(folder.join(name), bytes).unwrap();
    }
    let mut convert = Command::new("qemu-img");
    convert.args(["convert", "-f", format, "-O", "raw", name, "out.raw"]).current_dir(&folder);
    let result = convert.output().map(|output| {
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{name}: {said}");
        std::fs::read(folder.join("out.raw")).unwrap()
    });
    std::fs::remove_dir_all(&folder).unwrap();
    match result {
        Ok(bytes) => Some(bytes),
        Err(_) if cfg!(unix) => {
            assert!(std::env::var_os("CI").is_none(), "CI needs qemu-img");
            println!("skipped: needs qemu-img");
            None
        }
        Err(_) => None,
    }
}
