//! A set that C has opened.

use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;
use volfold::block::{BlockError, BlockResult};
use volfold::fs::{FileSystem, FsError, FsErrorKind, FsResult, ReadOptions};
use volfold::volume::lock::{Key, KeyRequest};
use volfold::{DiskSet, Incomplete, OpenOptions, SetVolume};

/// How a set is opened, and what opens its volumes.
#[derive(Clone)]
pub struct SetOptions {
    /// Folders into which references of images may lead, beside the image's own.
    pub allowed: Vec<PathBuf>,
    /// The bound of all caches of the set together, in bytes.
    pub cache_size: u64,
    /// The id of the format that all images have; `None` to find it out.
    pub format: Option<String>,
    /// The state that is wanted of images that keep several; `None` for the newest.
    pub snapshot: Option<String>,
    /// Whether the files that hold a file system itself are listed.
    pub system_files: bool,
    /// The keys that are tried on locked volumes.
    pub keys: Vec<Key>,
    /// The program that mounts; `None` to look for it.
    pub program: Option<PathBuf>,
}

impl Default for SetOptions {
    fn default() -> Self {
        Self {
            allowed: Vec::new(),
            cache_size: OpenOptions::DEFAULT_CACHE_SIZE,
            format: None,
            snapshot: None,
            system_files: false,
            keys: Vec::new(),
            program: None,
        }
    }
}

impl SetOptions {
    fn open_options(&self) -> OpenOptions {
        let keys = self.keys.clone();
        let next_key = move |request: &KeyRequest<'_>| -> BlockResult<Option<Key>> {
            let mut fitting = keys.iter().filter(|key| request.lock.keys.contains(&key.kind()));
            Ok(fitting.nth(request.attempt).cloned())
        };
        let mut options = OpenOptions::default();
        options.allowed.clone_from(&self.allowed);
        options.cache_size = self.cache_size;
        options.format.clone_from(&self.format);
        options.snapshot.clone_from(&self.snapshot);
        options.mount = ReadOptions::default().with_system_files(self.system_files);
        options.keys = Arc::new(next_key);
        options
    }
}

/// A set, and the file systems of its volumes that were entered.
pub struct OpenSet {
    /// The set.
    pub set: DiskSet,
    /// The images and folders that it was opened from.
    pub paths: Vec<PathBuf>,
    /// How.
    pub options: SetOptions,
    entered: Vec<Mutex<Option<Arc<dyn FileSystem>>>>,
}

impl OpenSet {
    /// Opens the images at `paths` as one set, as [`DiskSet::open`]; what cannot be opened is in
    /// [`DiskSet::failures`].
    pub fn open(paths: Vec<PathBuf>, options: SetOptions) -> Self {
        let opened = DiskSet::open(&paths, &options.open_options());
        let set = opened.unwrap_or_else(Incomplete::into_set);
        let entered = set.volumes().iter().map(|_| Mutex::new(None)).collect();
        Self { set, paths, options, entered }
    }

    /// The volume `index`; `None` if there are not so many.
    pub fn volume(&self, index: usize) -> Option<&Arc<SetVolume>> {
        self.set.volumes().get(index)
    }

    /// The file system of the volume `index`, which is mounted once.
    ///
    /// # Errors
    /// As [`SetVolume::file_system`].
    pub fn file_system(&self, index: usize) -> FsResult<Arc<dyn FileSystem>> {
        let (Some(volume), Some(entered)) = (self.volume(index), self.entered.get(index)) else {
            return Err(FsError::new(FsErrorKind::OutOfRange, "the set has no such volume"));
        };
        let mut entered = entered.lock();
        if let Some(files) = &*entered {
            return Ok(files.clone());
        }
        let files = volume.file_system()?;
        *entered = Some(files.clone());
        Ok(files)
    }

    /// The file system of the volume `index`, if it was entered.
    pub fn entered(&self, index: usize) -> Option<Arc<dyn FileSystem>> {
        self.entered.get(index).and_then(|entered| entered.lock().clone())
    }

    /// Fills `buf` with bytes of the disk `index`, from `offset` on.
    ///
    /// # Errors
    /// `OutOfRange` if there is no such disk, or why the bytes cannot be had.
    pub fn read_disk(&self, index: usize, offset: u64, buf: &mut [u8]) -> BlockResult<()> {
        match self.set.disks().get(index) {
            Some(disk) => disk.device.read_at(offset, buf),
            None => Err(BlockError::out_of_range(offset, 1, 0)),
        }
    }
}
