//! A set that C has opened.

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;

use volfold::block::{BlockError, BlockResult};
use volfold::files::Search;
use volfold::fs::links::{Guest, VolumeNames};
use volfold::fs::{
    CodePage, FileSystem, FsError, FsErrorKind, FsResult, NodeId, ReadOptions, TimeZone, VolumeTree,
};
use volfold::volume::lock::{Key, KeyRequest};
use volfold::{DiskSet, Incomplete, Monitor, OpenOptions, Progress, SetVolume};

/// What is told how far the work is, and says whether it goes on.
pub type OnProgress = dyn Fn(&Progress) -> ControlFlow<()> + Send + Sync;

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
    /// Whether snapshots that are kept inside volumes (VSS) are volumes of the set too.
    pub snapshots: bool,
    /// Whether the files that hold a file system itself are listed.
    pub system_files: bool,
    /// Whether journals are left out.
    pub as_is: bool,
    /// Whether volumes show what was deleted on them, in place of what is there.
    pub deleted: bool,
    /// The zone of clocks whose times are kept without one (FAT).
    pub time_zone: TimeZone,
    /// The code page of short names that do not say it (FAT).
    pub code_page: CodePage,
    /// The keys that are tried on locked volumes.
    pub keys: Vec<Key>,
    /// The program that mounts; `None` to look for it.
    pub program: Option<PathBuf>,
    /// What is told how far the work of a set is.
    pub on_progress: Option<Arc<OnProgress>>,
}

impl Default for SetOptions {
    fn default() -> Self {
        Self {
            allowed: Vec::new(),
            cache_size: OpenOptions::DEFAULT_CACHE_SIZE,
            format: None,
            snapshot: None,
            snapshots: false,
            system_files: false,
            as_is: false,
            deleted: false,
            time_zone: TimeZone::default(),
            code_page: CodePage::default(),
            keys: Vec::new(),
            program: None,
            on_progress: None,
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
        options.snapshots = self.snapshots;
        options.deleted = self.deleted;
        options.mount = ReadOptions::default().with_system_files(self.system_files);
        options.mount.time_zone.clone_from(&self.time_zone);
        options.mount.code_page = self.code_page;
        options.mount.as_is = self.as_is;
        options.keys = Arc::new(next_key);
        if let Some(tell) = self.on_progress.clone() {
            options.monitor = Monitor::new(move |progress| tell(progress));
        }
        options
    }
}

/// A set, and the tree of its volumes.
pub struct OpenSet {
    /// The set.
    pub set: DiskSet,
    /// The images and folders that it was opened from.
    pub paths: Vec<PathBuf>,
    /// How.
    pub options: SetOptions,
    /// Its volumes, each opened when it is entered and kept open from then on.
    pub tree: VolumeTree,
    /// What links call the volumes.
    names: VolumeNames,
}

/// The bits of a node of [`OpenSet::tree`] that are the volume's own.
const OWN_BITS: u64 = (1 << 48) - 1;

impl OpenSet {
    /// Opens the images at `paths` as one set, as [`DiskSet::open`]; what cannot be opened is in
    /// [`DiskSet::failures`].
    pub fn open(paths: Vec<PathBuf>, options: SetOptions) -> Self {
        let opened = DiskSet::open(&paths, &options.open_options());
        let set = opened.unwrap_or_else(Incomplete::into_set);
        let (tree, names) = (set.tree(|_| true), set.volume_names(|_| true));
        Self { set, paths, options, tree, names }
    }

    /// The volume `index`; `None` if there are not so many.
    pub fn volume(&self, index: usize) -> Option<&Arc<SetVolume>> {
        self.set.volumes().get(index)
    }

    fn readable(&self, index: usize) -> FsResult<&Arc<SetVolume>> {
        let none = || FsError::new(FsErrorKind::OutOfRange, "the set has no such volume");
        let volume = self.volume(index).ok_or_else(none)?;
        match &volume.reason {
            Some(reason) => Err(FsError::unsupported(reason.clone())),
            None => Ok(volume),
        }
    }

    /// The file system of the volume `index`.
    ///
    /// # Errors
    /// Why it cannot be read.
    pub fn file_system(&self, index: usize) -> FsResult<Arc<dyn FileSystem>> {
        let volume = self.readable(index)?;
        let none = || FsError::unsupported("there are more volumes than are entered");
        self.tree.enter(volume.name.as_bytes()).ok_or_else(none)?
    }

    /// What is at `path` of the volume `index`, a node of [`OpenSet::tree`]. Links on the way are
    /// followed as the guest follows them, also to other volumes; one at the end only if `follow`.
    ///
    /// # Errors
    /// `NotFound`, why the volume has no files, or why something on the way cannot be read.
    pub fn find(&self, index: usize, path: &[u8], follow: bool) -> FsResult<NodeId> {
        let volume = self.readable(index)?;
        let whole = [b"/", volume.name.as_bytes(), b"/", path].concat();
        let guest = Guest::set(&self.tree, &self.names);
        Ok(Search::new(guest, &whole).follow(follow).run()?.node)
    }

    /// The number that the file system of its volume has for `node` of [`OpenSet::tree`].
    pub fn own_number(&self, node: NodeId) -> u64 {
        let own = node.0 & OWN_BITS;
        let files = self.tree.volume_name(node).and_then(|name| self.tree.enter(name));
        // The tree gives the root the number 0, and its number to what has that.
        match files {
            Some(Ok(files)) if own == 0 => files.root().0,
            Some(Ok(files)) if own == files.root().0 => 0,
            _ => own,
        }
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
