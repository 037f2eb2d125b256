//! The set of images that a command opens, and the arguments for it.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use clap::builder::PossibleValuesParser;
use volfold::files::Found;
use volfold::{DiskSet, Incomplete, OpenOptions, SetVolume};
use volfold_fs::links::{Guest, VolumeNames};
use volfold_fs::{
    CodePage, FileSystem, FsErrorKind, FsResult, NodeId, ReadOptions, TimeZone, VolumeTree,
};
use volfold_images::{BACKUPS, FORMATS};

use super::key_argument::{KeyArgument, KeyParser};
use super::keys::Keys;
use super::outcome::Outcome;
use super::paths::{guest_path, no_volume};
use super::progress;
use super::report::Report;
use super::text;
use super::walk;

/// What is said of a set on which nothing can be shown.
pub(crate) const NO_VOLUME: &str =
    "there is no readable volume; `volfold list` shows what was found";

/// How a set of images is opened; the same for every command that reads images.
#[derive(Args, Clone)]
pub(crate) struct SetArguments {
    /// Take every image as one of this format, whatever its name and content (`volfold formats`)
    #[arg(long, value_name = "FORMAT", value_parser = image_formats(), help_heading = "Images")]
    pub(crate) format: Option<String>,
    #[command(flatten)]
    pub(crate) images: ImageArguments,
}

/// The same, but for the format.
#[derive(Args, Clone)]
pub(crate) struct ImageArguments {
    /// Also let images name files (extents, parents) in this folder; may be given several times
    #[arg(long, value_name = "FOLDER", help_heading = "Images")]
    pub(crate) allow_path: Vec<PathBuf>,
    /// Show the state that the images keep as this snapshot, by its name or id (`volfold list`)
    #[arg(long, value_name = "NAME", help_heading = "Images")]
    pub(crate) snapshot: Option<String>,
    /// Also show the shadow copies that Windows kept of volumes (VSS), each as NAME@TIME
    #[arg(long, help_heading = "Images")]
    pub(crate) snapshots: bool,
    /// Bound of all caches together, in bytes or with K, M, G
    #[arg(long, value_name = "SIZE", default_value = "64M", value_parser = text::parse_size,
          help_heading = "Images")]
    pub(crate) cache_size: u64,
    /// Open locked volumes with the key at PLACE, all or the one named: file:PATH (a password without its
    /// line end, or a key file), env:NAME, prompt, fd:NUMBER; may be given several times
    #[arg(long, value_name = "[VOLUME=]PLACE", value_parser = KeyParser, help_heading = "Images")]
    pub(crate) key: Vec<KeyArgument>,
}

/// The ids of the formats that images, and backups of machines, are read in.
pub(crate) fn image_formats() -> PossibleValuesParser {
    let images = FORMATS.iter().map(|format| format.id());
    images.chain(BACKUPS.iter().map(|format| format.id())).into()
}

impl SetArguments {
    /// Opens `disks` as one set, and tells of the images that cannot be opened and of what was
    /// noticed on the rest. `None` if there are none left.
    pub(crate) fn open(&self, disks: &[PathBuf]) -> Option<(DiskSet, Outcome)> {
        let (set, mut report) = open(disks, &self.options());
        report.about_part();
        report.volumes(&set, |_| true);
        let outcome = report.end();
        (!set.disks().is_empty()).then_some((set, outcome))
    }

    /// How the set is opened.
    pub(crate) fn options(&self) -> OpenOptions {
        self.images.options(self.format.as_deref())
    }
}

impl ImageArguments {
    /// How the set is opened, of which all images are of `format`.
    pub(crate) fn options(&self, format: Option<&str>) -> OpenOptions {
        let mut options = OpenOptions::default();
        options.allowed.clone_from(&self.allow_path);
        options.cache_size = self.cache_size;
        options.format = format.map(str::to_owned);
        options.snapshot.clone_from(&self.snapshot);
        options.snapshots = self.snapshots;
        options.keys = Arc::new(Keys::new(&self.key));
        options
    }
}

/// Opens `disks` as one set, with a report that knows of the images that cannot be opened.
pub(crate) fn open(disks: &[PathBuf], options: &OpenOptions) -> (DiskSet, Report<'static>) {
    let (monitor, progress) = progress::of_set();
    let mut options = options.clone();
    options.monitor = monitor;
    let set = DiskSet::open(disks, &options).unwrap_or_else(Incomplete::into_set);
    progress.finish_and_clear();
    let mut report = Report::default();
    report.images(&set);
    (set, report)
}

/// What all commands that look into volumes share.
#[derive(Args)]
pub(crate) struct TreeArguments {
    /// Also list the files that hold the file system itself (NTFS: $MFT and others)
    #[arg(long, help_heading = "Images")]
    pub(crate) system_files: bool,
    /// Leave journals out: the files of a volume that was not unmounted as they lie there
    #[arg(long, help_heading = "Images")]
    pub(crate) as_is: bool,
    /// Show the files that were deleted in place of those that are there, each volume as NAME@deleted
    #[arg(long, help_heading = "Images", conflicts_with = "system_files")]
    pub(crate) deleted: bool,
    /// The time zone of the clocks whose times a volume keeps without one (FAT): a name as Europe/Berlin, or +02:00
    #[arg(long, value_name = "ZONE", default_value = "UTC", help_heading = "Images")]
    pub(crate) time_zone: TimeZone,
    /// The code page of short names that do not say it (FAT): 437, 850, 852, 866, 932, 1250, 1251, 1252, ...
    #[arg(long, value_name = "NUMBER", default_value = "437", help_heading = "Images")]
    pub(crate) code_page: CodePage,
    #[command(flatten)]
    pub(crate) set: SetArguments,
}

impl TreeArguments {
    /// How the set is opened.
    pub(crate) fn options(&self) -> OpenOptions {
        let mut options = self.set.options();
        options.mount = ReadOptions::default().with_system_files(self.system_files);
        options.mount.time_zone.clone_from(&self.time_zone);
        options.mount.code_page = self.code_page;
        options.mount.as_is = self.as_is;
        options.deleted = self.deleted;
        options
    }

    /// Opens `disks` as one set, with the tree of all readable volumes, and enters those that
    /// `paths` lead into. What is not there, or may be old, is in the report, which is all there is
    /// if there is nothing to show.
    pub(crate) fn open_tree(
        &self,
        disks: &[PathBuf],
        paths: &[OsString],
    ) -> Result<OpenedTree, Box<Report<'static>>> {
        let (set, mut report) = open(disks, &self.options());
        let paths: Vec<Vec<u8>> = paths.iter().map(|path| guest_path(&set, path)).collect();
        // Where nothing can be read, a volume that is asked for may have another name than it would have.
        let is_nothing = set.volumes().iter().all(|volume| volume.reason.is_some());
        let asks = |volume: &SetVolume| {
            is_nothing || paths.iter().any(|path| leads_into(path, &volume.name))
        };
        let is_root = |path: &Vec<u8>| path.iter().all(|byte| *byte == b'/');
        if !paths.iter().any(is_root) {
            report.about_part();
        }
        report.volumes(&set, asks);
        if is_nothing {
            if !set.disks().is_empty() {
                text::complain(format_args!("{NO_VOLUME}"));
            }
            return Err(Box::new(report));
        }
        let tree = set.tree(|_| true);
        let wanted = set.volumes().iter().filter(|volume| asks(volume) && volume.reason.is_none());
        for (number, volume) in wanted.enumerate() {
            look_into(volume, number, || tree.enter(volume.name.as_bytes()), &mut report);
        }
        let volumes = set.volume_names(|_| true);
        Ok(OpenedTree { set, tree, volumes, paths, report })
    }
}

/// Enters `volume`, the `number`th that is looked into, and tells what is noticed at its door; `enter`
/// keeps it open for who comes after.
pub(crate) fn look_into(
    volume: &SetVolume,
    number: usize,
    enter: impl FnOnce() -> Option<FsResult<Arc<dyn FileSystem>>>,
    report: &mut Report<'_>,
) {
    /// LIMIT: volumes that are kept open before anybody enters them.
    const KEPT: usize = 64;
    let kept = if number < KEPT { enter() } else { None };
    match kept.unwrap_or_else(|| volume.file_system()) {
        Ok(files) => report.file_system(volume.id(), &*files),
        Err(error) => report.not_entered(volume.id(), &volume.name, &error),
    }
}

/// Whether `path` begins in the folder `volume`, or is the root above all.
fn leads_into(path: &[u8], volume: &str) -> bool {
    let first = path.split(|byte| *byte == b'/').find(|part| !part.is_empty());
    first.is_none_or(|first| first == volume.as_bytes())
}

/// A set, and the tree of its volumes.
pub(crate) struct OpenedTree {
    pub(crate) set: DiskSet,
    pub(crate) tree: VolumeTree,
    /// What links call the volumes.
    pub(crate) volumes: VolumeNames,
    /// The paths that were asked for, with folder names in place of other names of volumes.
    pub(crate) paths: Vec<Vec<u8>>,
    pub(crate) report: Report<'static>,
}

impl OpenedTree {
    /// What links are resolved in.
    fn guest(&self) -> Guest<'_> {
        Guest::set(&self.tree, &self.volumes)
    }

    /// What is at `path`, one of those that were asked for, in the guest's own spelling; as
    /// [`walk::find`].
    ///
    /// # Errors
    /// Why there is nothing.
    pub(crate) fn find(&self, path: &[u8], follow: bool) -> FsResult<Found> {
        self.by(path, |path| walk::find(self.guest(), path, follow))
    }

    /// What is at each of the paths that were asked for; links at their ends are not followed.
    pub(crate) fn find_all(&self) -> Vec<(Vec<u8>, FsResult<Found>)> {
        self.paths.iter().map(|path| (path.clone(), self.find(path, false))).collect()
    }

    /// As [`Self::find`], for those who tell nobody its path.
    ///
    /// # Errors
    /// Why there is nothing.
    pub(crate) fn resolve(&self, path: &[u8]) -> FsResult<NodeId> {
        self.by(path, |path| walk::resolve(self.guest(), path, true))
    }

    /// What `find` says to `path`, with a better reason where no volume is called as it begins.
    fn by<T>(&self, path: &[u8], find: impl Fn(&[u8]) -> FsResult<T>) -> FsResult<T> {
        find(path).map_err(|error| match error.kind() {
            FsErrorKind::NotFound => no_volume(&self.set, path).unwrap_or(error),
            _ => error,
        })
    }

    /// Takes into the report what the file systems noticed while they were read; how the command
    /// ended.
    pub(crate) fn end(&mut self) -> Outcome {
        for (name, files) in self.tree.opened() {
            let volume = self.set.volumes().iter().find(|volume| volume.name.as_bytes() == name);
            if let Some(volume) = volume {
                self.report.file_system(volume.id(), &**files);
            }
        }
        self.report.later(&self.set);
        self.report.end()
    }
}
