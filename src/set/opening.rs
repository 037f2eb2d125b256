//! Which files of those that are given are the disks of a set: a folder stands for the images in it,
//! and an image that another one is made of is no disk.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use volfold_block::{BlockError, BlockResult, CachePool, Finding, code};
use volfold_images::{DiskImage, ImageContext, Lineage, Located, Locator, host};

use super::backup::OpenedBackup;
use super::disk::{Disk, DiskFailure, MachineStates, Manifest};
use super::image_keys::ImageKeys;
use super::options::OpenOptions;
use super::ova::Ova;
use crate::image;
use crate::machine::{self, Machine, MachineDisk, manifest};
use crate::monitor::{Monitor, Stage};
use crate::source::{SourceFile, SourceLog, monitored};

/// LIMIT: files of one folder of which it is said that they are no disks.
const MAX_NOT_TAKEN: usize = 100;

/// A file that is an image, while the set is opened.
struct Opened {
    path: PathBuf,
    /// Whether the user named it; else it is of a folder.
    is_given: bool,
    /// Whether the configuration of its machine says that it is the newest state.
    is_newest: bool,
    disk: BlockResult<Disk>,
    findings: Vec<Finding>,
    /// The names of the files that it is made of, and whether as an extent.
    parts: Vec<(String, bool)>,
}

impl Opened {
    fn new(path: &Path, is_given: bool, options: &OpenOptions, pool: &Arc<CachePool>) -> Self {
        let file = host::open_image_file(path, &options.allowed);
        Self::of(path, is_given, file, options, pool)
    }

    /// The image in `file`, which is called `path`.
    fn of(
        path: &Path,
        is_given: bool,
        file: BlockResult<Located>,
        options: &OpenOptions,
        pool: &Arc<CachePool>,
    ) -> Self {
        let format = options.format.as_deref();
        let image = file.and_then(|mut file| {
            let sources = SourceLog::of(&mut file, &options.monitor);
            let keys = ImageKeys { keys: options.keys.clone(), work: options.work.clone() };
            let context = ImageContext::new(pool)
                .with_snapshot(options.snapshot.as_deref())
                .with_decryption(Arc::new(keys));
            let image = image::open(file, path, format, &context)?;
            Ok((image, sources.files()))
        });
        match image {
            Ok((image, mut files)) => {
                // Not what was only looked at to find them.
                let names: HashSet<&String> = image.chain.iter().chain(&image.extents).collect();
                files.retain(|file| names.contains(&file.name));
                Self::image(path, is_given, image, files, &options.monitor)
            }
            Err(error) => {
                // The extents of an image that is refused are no disks either.
                let lineage = lineage(path, options).unwrap_or_default();
                let parts = lineage.extents.into_iter().map(|name| (name, true)).collect();
                Self { parts, ..Self::failed(path, is_given, error) }
            }
        }
    }

    /// The `image`, which is called `path` and made of `files` of the host, and read until `monitor` is
    /// stopped, what is cached of it too.
    fn image(
        path: &Path,
        is_given: bool,
        image: DiskImage,
        files: Vec<SourceFile>,
        monitor: &Monitor,
    ) -> Self {
        let path = path.to_path_buf();
        let chain = image.chain.iter().skip(1).map(|name| (name.clone(), false));
        let extents = image.extents.iter().map(|name| (name.clone(), true));
        let parts = chain.chain(extents).collect();
        let findings = image.log.all();
        let disk = Disk {
            path: path.clone(),
            format: image.format,
            variant: image.variant,
            size: image.device.size(),
            sector_size: image.device.sector_size(),
            chain: image.chain,
            files,
            partition_scheme: None,
            device: monitored(image.device, monitor),
            cached: image.is_decoded,
            log: image.log,
            snapshots: image.snapshots,
            snapshot: image.snapshot,
            recorded_hashes: image.recorded_hashes,
            region_checksums: image.region_checksums,
        };
        Self { path, is_given, is_newest: false, disk: Ok(disk), findings, parts }
    }

    /// An image called `path` that cannot be opened.
    fn failed(path: &Path, is_given: bool, error: BlockError) -> Self {
        let path = path.to_path_buf();
        let (findings, parts) = Default::default();
        Self { path, is_given, is_newest: false, disk: Err(error), findings, parts }
    }

    /// The same image, which lies in the files `sources` of the host.
    fn also_of(mut self, sources: &[SourceFile]) -> Self {
        if let Ok(disk) = &mut self.disk {
            disk.files.extend_from_slice(sources);
        }
        self
    }

    /// Whether it can be hidden by an image that could not be opened: what is a disk by itself stays
    /// one then.
    fn is_mere_part(&self) -> bool {
        self.disk.as_ref().map_or(true, |disk| disk.format == "raw")
    }
}

/// What there is among the files that were given.
pub(super) struct Found {
    pub(super) disks: Vec<Disk>,
    pub(super) failures: Vec<DiskFailure>,
    pub(super) machines: Vec<MachineStates>,
    pub(super) manifests: Vec<Manifest>,
    pub(super) findings: Vec<Finding>,
}

/// Images in the order of their paths, while they are opened.
#[derive(Default)]
pub(super) struct Opening {
    opened: Vec<Opened>,
    failures: Vec<DiskFailure>,
    findings: Vec<Finding>,
    machines: Vec<MachineStates>,
    manifests: Vec<Manifest>,
    seen: HashSet<PathBuf>,
    /// Images, and files of folders, that were looked at, and that are known of.
    done: usize,
    total: usize,
}

impl Opening {
    /// Adds the images and folders at `paths`, until that is stopped.
    pub(super) fn add_all(
        &mut self,
        paths: &[PathBuf],
        options: &OpenOptions,
        pool: &Arc<CachePool>,
    ) {
        self.total = paths.len();
        for path in paths {
            if !self.goes_on(&options.monitor) {
                return;
            }
            self.add(path, options, pool);
            self.done += 1;
        }
        self.goes_on(&options.monitor);
    }

    /// Tells how far it is; whether to go on.
    fn goes_on(&self, monitor: &Monitor) -> bool {
        monitor.stage(Stage::Images, self.done, self.total)
    }

    /// Adds the image or the folder at `path`.
    fn add(&mut self, path: &Path, options: &OpenOptions, pool: &Arc<CachePool>) {
        if !self.is_new(path) {
            let line = format!("{} is given twice; once is enough", path.display());
            self.findings.push(Finding::warning(code::DISK_GIVEN_TWICE, line));
            return;
        }
        let added = match host::files_of_folder(path) {
            Ok(Some(_)) if is_sparse_bundle(path) => Err(BlockError::unsupported(
                "Apple sparse bundle is not read; convert it with `hdiutil convert -format UDZO`",
            )),
            Ok(None) => self.add_file(path, options, pool),
            Ok(Some(files)) => {
                let open = |path: &Path| Opened::new(path, false, options, pool);
                self.add_folder("folder", &files, &options.monitor, &open)
            }
            Err(error) => Err(error),
        };
        if let Err(error) = added {
            self.failures.push(DiskFailure { path: path.to_path_buf(), error });
        }
    }

    /// Adds the image at `path`, or the disks of the machine that it describes.
    fn add_file(
        &mut self,
        path: &Path,
        options: &OpenOptions,
        pool: &Arc<CachePool>,
    ) -> BlockResult<()> {
        if let Some(ova) = Ova::at(path, options, pool) {
            return self.add_ova(path, ova?, options, pool);
        }
        if let Some(backup) = OpenedBackup::at(path, options, pool) {
            self.add_backup(path, backup?, options);
            return Ok(());
        }
        match machine_at(path, options) {
            Some(machine) => {
                let (machine, file) = machine?;
                let open = |file: Located, options: &OpenOptions| {
                    Opened::new(Path::new(&file.name), true, options, pool)
                };
                self.add_machine(path, &machine, &file, options, &open);
            }
            None => self.opened.push(Opened::new(path, true, options, pool)),
        }
        Ok(())
    }

    fn is_new(&mut self, path: &Path) -> bool {
        // Two names of one file are one.
        self.seen
            .insert(host::real_path(&std::path::absolute(path).unwrap_or_else(|_| path.into())))
    }

    /// Adds the disks in `ova`, which is the file at `path`.
    fn add_ova(
        &mut self,
        path: &Path,
        ova: Ova,
        options: &OpenOptions,
        pool: &Arc<CachePool>,
    ) -> BlockResult<()> {
        let Ova { archive, damage, sources } = ova;
        if let Some(error) = damage {
            self.failures.push(DiskFailure { path: path.to_path_buf(), error });
        }
        let open = |path: &Path, file: BlockResult<Located>, is_given, options: &OpenOptions| {
            Opened::of(path, is_given, file, options, pool).also_of(&sources)
        };
        let names = archive.names();
        let mut descriptors =
            names.iter().filter(|name| name.to_ascii_lowercase().ends_with(".ovf"));
        let Some(descriptor) = descriptors.next() else {
            let members: Vec<PathBuf> = names.iter().map(|name| path.join(name)).collect();
            return self.add_folder("archive", &members, &options.monitor, &|member| {
                let name = member.strip_prefix(path).unwrap_or(member);
                open(member, archive.open(name), false, options)
            });
        };
        let file = archive.open(Path::new(descriptor))?;
        let read = machine::read(&file, Path::new(descriptor), options.snapshot.as_deref());
        let machine = read.ok_or_else(|| BlockError::missing("archive has no descriptor"))?;
        let machine = machine.map_err(|error| error.within(descriptor))?;
        let given = |file: Located, options: &OpenOptions| {
            open(&PathBuf::from(&file.name), Ok(file), true, options)
        };
        self.add_machine(path, &machine, &file, options, &given);
        Ok(())
    }

    /// Adds the disks of the backup that is the file at `path`.
    fn add_backup(&mut self, path: &Path, opened: OpenedBackup, options: &OpenOptions) {
        let OpenedBackup { backup, sources, is_unpacked } = opened;
        for error in backup.damage {
            self.failures.push(DiskFailure { path: path.to_path_buf(), error });
        }
        for disk in backup.disks {
            let path = path.join(&disk.name);
            let image = match &options.snapshot {
                Some(wanted) => disk.image.and_then(|_| Err(image::no_snapshot(wanted))),
                None => disk.image,
            };
            self.opened.push(match image {
                Ok(image) => {
                    let image = image.decoded(is_unpacked);
                    Opened::image(&path, true, image, sources.clone(), &options.monitor)
                }
                Err(error) => Opened::failed(&path, true, error),
            });
        }
    }

    /// Adds the disks of `machine`, whose configuration is in `file`, at `path`. Their images are
    /// what `open` makes of their files.
    fn add_machine(
        &mut self,
        path: &Path,
        machine: &Machine,
        file: &Located,
        options: &OpenOptions,
        open: &dyn Fn(Located, &OpenOptions) -> Opened,
    ) {
        match manifest::read(file) {
            Ok(None) => {}
            Ok(Some((files, other_lines))) => {
                let path = path.to_path_buf();
                self.manifests.push(Manifest { path, files, other_lines });
            }
            Err(error) => {
                let (path, error) = (path.to_path_buf(), error.within("manifest"));
                self.failures.push(DiskFailure { path, error });
            }
        }
        if !machine.snapshots.is_empty() {
            self.machines.push(MachineStates {
                path: path.to_path_buf(),
                snapshots: machine.snapshots.clone(),
                snapshot: machine.snapshot.clone(),
            });
        }
        for (slot, reason) in &machine.left_out {
            let line = format!("{}: disk {slot} is not given: {reason}", path.display());
            self.findings.push(Finding::warning(code::MACHINE_DISK_LEFT_OUT, line));
        }
        for disk in &machine.disks {
            let error = match machine::open_named(&*file.files, &disk.file) {
                Ok(found) => {
                    let own = PathBuf::from(&found.name);
                    if self.is_new(&own) {
                        let options = of_machine(machine, disk, path, options);
                        let is_newest = machine.snapshot.is_none();
                        self.opened.push(Opened { is_newest, ..open(found, &options) });
                    }
                    continue;
                }
                Err(error) => error.within(&format!("disk {} of {}", disk.slot, path.display())),
            };
            self.failures.push(DiskFailure { path: PathBuf::from(&disk.file.shown), error });
        }
    }

    /// Adds the images among `files` of a folder or the like, as `open` opens them: those of a known
    /// format, and raw ones that hold something.
    fn add_folder(
        &mut self,
        folder: &str,
        files: &[PathBuf],
        monitor: &Monitor,
        open: &dyn Fn(&Path) -> Opened,
    ) -> BlockResult<()> {
        let mut is_empty = true;
        let mut not_taken = Vec::new();
        self.total += files.len();
        for path in files {
            if !self.goes_on(monitor) {
                break;
            }
            self.done += 1;
            if !self.is_new(path) {
                is_empty = false;
                continue;
            }
            let opened = open(path);
            let reason = match &opened.disk {
                Ok(disk) if disk.format == "raw" && !image::may_be_disk(path, &*disk.device) => {
                    Some("it holds no partition table and no known file system".to_owned())
                }
                Ok(_) => None,
                Err(_) if host::is_empty_file(path) && !image::is_called_as_image(path) => {
                    Some("it is empty".to_owned())
                }
                Err(error) => image::is_beside_the_point(path, error),
            };
            match reason {
                Some(reason) => not_taken.push((path, reason)),
                None => {
                    is_empty = false;
                    self.opened.push(opened);
                }
            }
        }
        for (path, reason) in not_taken.iter().take(MAX_NOT_TAKEN) {
            let line = format!("{} was left out: {reason}", path.display());
            self.findings.push(Finding::info(code::FILE_NOT_TAKEN, line));
        }
        if let Some(more @ 1..) = not_taken.len().checked_sub(MAX_NOT_TAKEN) {
            let line = format!("{more} more files of the {folder} were left out");
            self.findings.push(Finding::info(code::FILE_NOT_TAKEN, line));
        }
        if is_empty {
            return Err(BlockError::missing(format!("{folder} holds no disk image")));
        }
        Ok(())
    }

    /// The disks: each image that no other one is made of.
    pub(super) fn finish(self, options: &OpenOptions) -> Found {
        let Self { opened, mut failures, mut findings, machines, manifests, .. } = self;
        let wholes = wholes(&opened);
        let paths: Vec<PathBuf> = opened.iter().map(|image| image.path.clone()).collect();
        let mut beside = Beside::default();
        let mut disks: Vec<Disk> = Vec::new();
        for (image, whole) in opened.into_iter().zip(wholes) {
            if options.monitor.is_stopped() {
                break;
            }
            let Opened { path, is_given, is_newest, disk, findings: notes, .. } = image;
            if let Some((whole, is_extent)) = whole {
                // In a folder that is the rule, but for an image that another one takes as raw.
                let is_odd = is_extent && disk.as_ref().is_ok_and(|disk| disk.format != "raw");
                if is_given || is_odd {
                    let whole = paths.get(whole).map(|path| path.display().to_string());
                    let whole = whole.unwrap_or_default();
                    let line = format!("{} is a part of {whole}, no disk", path.display());
                    findings.push(Finding::info(code::DISK_PART_OF_ANOTHER, line));
                }
                continue;
            }
            match disk {
                Ok(disk) => {
                    // Who asks for an older state knows that there is a newer one.
                    let newer = match options.snapshot {
                        None if !is_newest => beside.snapshots(&path, options),
                        _ => Vec::new(),
                    };
                    let notes = notes.into_iter().chain(newer);
                    findings.extend(notes.map(|finding| finding.on_disk(disks.len())));
                    disks.push(disk);
                }
                Err(error) => failures.push(DiskFailure { path, error }),
            }
        }
        failures.sort_by(|a, b| a.path.cmp(&b.path));
        Found { disks, failures, machines, manifests, findings }
    }
}

/// The machine whose configuration is at `path`, and its file; `None` if there is no configuration.
fn machine_at(path: &Path, options: &OpenOptions) -> Option<BlockResult<(Machine, Located)>> {
    if options.format.is_some() || !machine::is_called_so(path) {
        return None;
    }
    let file = match host::open_image_file(path, &with_own_folder(path, options)) {
        Ok(file) => file,
        Err(error) => return Some(Err(error)),
    };
    let machine = machine::read(&file, path, options.snapshot.as_deref())?;
    Some(machine.map(|machine| (machine, file)))
}

/// The folders that are allowed, and that of the configuration at `path`: a machine keeps its disks
/// below it.
fn with_own_folder(path: &Path, options: &OpenOptions) -> Vec<PathBuf> {
    let mut allowed = options.allowed.clone();
    allowed.extend(host::real_path(path).parent().map(Path::to_path_buf));
    allowed
}

/// How `disk` of the machine at `path` is opened.
fn of_machine(
    machine: &Machine,
    disk: &MachineDisk,
    path: &Path,
    options: &OpenOptions,
) -> OpenOptions {
    let mut options = options.clone();
    options.allowed = with_own_folder(path, &options);
    options.format = disk.format.map(str::to_owned);
    if machine.snapshot.is_some() {
        options.snapshot = None;
    }
    options
}

/// Whether the folder at `path` is a disk image of macOS.
fn is_sparse_bundle(path: &Path) -> bool {
    let extension = path.extension().unwrap_or_default();
    extension.eq_ignore_ascii_case("sparsebundle") && path.join("bands").is_dir()
}

/// For each of `opened` the one that it is a part of, and whether as an extent.
///
/// The bytes of an extent belong to a guest, so what they name counts for nothing. Images that are
/// made of each other are all wholes: nothing is hidden by a circle.
fn wholes(opened: &[Opened]) -> Vec<Option<(usize, bool)>> {
    let names = opened.iter().map(|image| host::located_name(&image.path));
    let by_name: BTreeMap<String, usize> = names.zip(0..).collect();
    let mut parts: Vec<Vec<(usize, bool)>> = Vec::new();
    for (whole, image) in opened.iter().enumerate() {
        let known = image.parts.iter();
        let known = known.filter_map(|(name, extent)| Some((*by_name.get(name)?, *extent)));
        let can_hide = |(part, _): &(usize, bool)| {
            *part != whole && (image.disk.is_ok() || opened[*part].is_mere_part())
        };
        parts.push(known.filter(can_hide).collect());
    }
    let named: Vec<(usize, bool)> = parts.iter().flatten().copied().collect();
    for (part, is_extent) in named {
        if is_extent {
            parts[part].clear();
        }
    }
    let mut wholes = vec![None; opened.len()];
    for (whole, parts) in parts.iter().enumerate() {
        for (part, is_extent) in parts {
            wholes[*part].get_or_insert((whole, *is_extent));
        }
    }
    wholes
}

/// What the image at `path` says of its parts and its parent; nothing if it cannot be read.
fn lineage(path: &Path, options: &OpenOptions) -> Option<Lineage> {
    if !image::may_name_others(path) {
        return None;
    }
    let file = host::open_image_file(path, &options.allowed).ok()?;
    volfold_images::lineage(&file).ok().flatten()
}

/// What the images beside those of the set say of their parents.
#[derive(Default)]
struct Beside {
    /// By folder and format; none if the folder has too many files.
    folders: BTreeMap<(PathBuf, &'static [&'static str]), Option<Lineages>>,
}

/// The name of each image of a folder, and what it says.
type Lineages = Vec<(String, Lineage)>;

impl Beside {
    /// What lies beside the image at `path` and is newer.
    fn snapshots(&mut self, path: &Path, options: &OpenOptions) -> Vec<Finding> {
        let real = host::real_path(path);
        let folder = real.parent().map(Path::to_path_buf).unwrap_or_default();
        let extensions = image::extensions_of_snapshots(path);
        let known = self.folders.entry((folder, extensions)).or_insert_with(|| {
            let beside = extensions.iter().map(|extension| host::files_beside(path, extension));
            let files = beside.collect::<Result<Vec<_>, _>>().ok()?.concat();
            let lineage =
                |file: &PathBuf| Some((host::located_name(file), lineage(file, options)?));
            Some(files.iter().filter_map(lineage).collect())
        });
        let Some(known) = known else {
            let line = "its folder has too many files to look for a snapshot of it";
            return vec![Finding::info(code::NEIGHBOURS_NOT_READ, line)];
        };
        let name = host::located_name(path);
        // A flat extent alone stands for its image.
        let base = known
            .iter()
            .find(|(file, _)| *file == name)
            .or_else(|| known.iter().find(|(_, lineage)| lineage.extents.contains(&name)));
        let Some((base, lineage)) = base else { return Vec::new() };
        let children =
            known.iter().filter(|(file, child)| file != base && child.is_child_of(base, lineage));
        let children: Vec<&str> = children.map(|(file, _)| file.as_str()).collect();
        let Some(first) = children.first() else { return Vec::new() };
        let first = Path::new(first);
        let folder = Path::new(&name).parent().unwrap_or(Path::new(""));
        let first = first.strip_prefix(folder).unwrap_or(first).display();
        let more = match children.len() {
            1 => String::new(),
            count => format!(" and {} more", count - 1),
        };
        let lie = if children.len() == 1 { "lies" } else { "lie" };
        let line = format!(
            "its snapshot {first}{more} {lie} beside it; what was written since is not shown"
        );
        vec![Finding::warning(code::SNAPSHOT_BESIDE, line)]
    }
}
