//! The facade: a set of disk images, opened together.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest, Sha256};
use volfold_block::{
    BlockDevice, BlockError, BlockResult, CachePool, Finding, FindingLog, SectorCache, code,
    error_chain,
};
use volfold_fs::{
    FileSystem, FileSystemDriver, FsError, FsResult, Identity, OtherVolumes, ReadOptions,
    TreeVolume, VolumeReader, VolumeRole, VolumeTree,
};
use volfold_images::{Lineage, host};

use crate::discover::{Discovered, DiskSource, discover, spare_what_no_volume_has};
use crate::image;
use crate::source::{SourceFile, SourceLog};
use crate::volume::lock::{KeyRequest, KeySource};
use crate::volume::registry::MANAGERS;
use crate::volume::{Volume, VolumeExtent, VolumeId, VolumeManager, VolumeType};

/// Bytes of metadata that are read and kept at once.
const METADATA_BLOCK: u32 = 32 << 10;

/// Longest folder name in bytes; hosts allow 255.
const MAX_NAME: usize = 200;

/// How a disk set is opened.
#[derive(Clone)]
#[non_exhaustive]
pub struct OpenOptions {
    /// Folders into which references of images may lead, beside the image's own.
    pub allowed: Vec<PathBuf>,
    /// The bound of all sector caches together, in bytes.
    pub cache_size: u64,
    /// The id of the format that all images have; `None` to find it out from name and content.
    pub format: Option<String>,
    /// How the file systems of the volumes are mounted.
    pub mount: ReadOptions,
    /// Where the keys of locked volumes come from.
    pub keys: Arc<dyn KeySource>,
}

impl OpenOptions {
    /// The default of [`OpenOptions::cache_size`]. ARCHITECTURE.md, section 8, has the reason.
    pub const DEFAULT_CACHE_SIZE: u64 = 64 << 20;
}

impl Default for OpenOptions {
    fn default() -> Self {
        Self {
            allowed: Vec::new(),
            cache_size: Self::DEFAULT_CACHE_SIZE,
            format: None,
            mount: ReadOptions::default(),
            keys: Arc::new(|_: &KeyRequest<'_>| Ok(None)),
        }
    }
}

/// An image that could not be opened.
#[derive(Debug)]
#[non_exhaustive]
pub struct DiskFailure {
    /// The image as the user named it.
    pub path: PathBuf,
    /// Why.
    pub error: BlockError,
}

/// A set in which images are missing, because they could not be opened.
pub struct Incomplete {
    set: Box<DiskSet>,
}

impl Incomplete {
    /// The images that could not be opened.
    pub fn failures(&self) -> &[DiskFailure] {
        &self.set.failures
    }

    /// The set of all others, for a caller that tells of [`DiskSet::failures`].
    pub fn into_set(self) -> DiskSet {
        *self.set
    }
}

impl fmt::Debug for Incomplete {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Incomplete").field("failures", &self.set.failures).finish_non_exhaustive()
    }
}

impl fmt::Display for Incomplete {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, failure) in self.set.failures.iter().enumerate() {
            let separator = if number == 0 { "" } else { "; " };
            write!(f, "{separator}{}: {}", failure.path.display(), error_chain(&failure.error))?;
        }
        Ok(())
    }
}

impl std::error::Error for Incomplete {}

/// One disk of the set.
#[non_exhaustive]
pub struct Disk {
    /// The image as the user named it.
    pub path: PathBuf,
    /// The image format's id.
    pub format: &'static str,
    /// The format's name for the variant.
    pub variant: Option<String>,
    /// The size of the virtual disk in bytes.
    pub size: u64,
    /// The size of a logical sector in bytes.
    pub sector_size: u32,
    /// The files of the snapshot chain, the given image first.
    pub chain: Vec<String>,
    /// The files of the host that it is made of: the image, its extents and parents.
    pub files: Vec<SourceFile>,
    /// The id of the partition scheme, `None` without partitions.
    pub partition_scheme: Option<&'static str>,
    /// The virtual disk.
    pub device: Arc<dyn BlockDevice>,
    /// Whether reads of the device go through the cache.
    cached: bool,
    /// What is noticed while the image is read.
    log: Arc<FindingLog>,
}

/// One volume of the set, and the way into its file system.
#[non_exhaustive]
pub struct SetVolume {
    /// How it lies on its disks.
    pub volume: Volume,
    /// The name of its folder, unique in the set.
    pub name: String,
    /// What tells it from others; empty where no driver knows the file system.
    pub identity: Identity,
    /// Why it cannot be shown, `None` if a driver knows it.
    pub reason: Option<String>,
    is_left_out: bool,
    driver: Option<&'static dyn FileSystemDriver>,
    reader: VolumeReader,
    options: ReadOptions,
}

impl SetVolume {
    /// Its id, whatever the order of the arguments.
    pub fn id(&self) -> &str {
        &self.volume.id.0
    }

    /// Whether there are files, or may well be, that are not shown: its file system is damaged,
    /// locked, or known and not read by this build. A volume of which nothing is known has a reason
    /// too, and so has swap space, but nothing is left out there.
    pub fn is_left_out(&self) -> bool {
        self.is_left_out
    }

    /// What Windows calls the volume in links, as far as the disks tell: `C:` where a manager keeps
    /// the letter, and `Volume{...}` with the GUID of a GPT partition or dynamic volume, or with the
    /// one that Windows 10 and later make of an MBR's signature and the partition's first byte.
    pub fn guest_names(&self) -> Vec<String> {
        let Volume { id, hint, kind, partition, .. } = &self.volume;
        let letter = hint
            .as_deref()
            .filter(|hint| matches!(hint.as_bytes(), [letter] if letter.is_ascii_alphabetic()));
        let (_, own) = id.0.split_once(':').unwrap_or_default();
        let guid = match (kind, partition) {
            (VolumeType::Gpt, Some(partition)) => partition.guid.map(|guid| guid.to_string()),
            (VolumeType::Basic, Some(partition)) => own.split_once('-').map(|(signature, _)| {
                let [a, b, c, d, e, f, g, h] = partition.start.to_le_bytes();
                format!(
                    "{signature}-0000-0000-{a:02x}{b:02x}-\
                     {c:02x}{d:02x}{e:02x}{f:02x}{g:02x}{h:02x}"
                )
            }),
            (VolumeType::Dynamic, _) => Some(own.to_owned()),
            _ => None,
        };
        let letter = letter.map(|letter| format!("{letter}:"));
        letter.into_iter().chain(guid.map(|guid| format!("Volume{{{guid}}}"))).collect()
    }

    /// Opens the file system.
    ///
    /// # Errors
    /// `Unsupported` where no driver knows it, or why its structures cannot be read.
    pub fn file_system(&self) -> FsResult<Arc<dyn FileSystem>> {
        match self.driver {
            Some(driver) => driver.mount(self.reader.clone(), self.options),
            None => Err(FsError::unsupported(
                self.reason.clone().unwrap_or_else(|| "no known file system".to_owned()),
            )),
        }
    }
}

/// A set of disk images, and all volumes on them.
pub struct DiskSet {
    disks: Vec<Disk>,
    failures: Vec<DiskFailure>,
    volumes: Vec<Arc<SetVolume>>,
    findings: Vec<Finding>,
}

impl DiskSet {
    /// Opens the images at `paths` as one set; a folder stands for the images in it. The order does
    /// not matter: disks are numbered by path.
    ///
    /// # Errors
    /// [`Incomplete`] if an image cannot be opened; it has the set of all others.
    pub fn open<P: AsRef<Path>>(
        paths: impl IntoIterator<Item = P>,
        options: &OpenOptions,
    ) -> Result<Self, Incomplete> {
        Self::open_with(paths, options, MANAGERS)
    }

    /// The same with other volume managers than those of this build.
    ///
    /// # Errors
    /// As [`DiskSet::open`].
    pub fn open_with<P: AsRef<Path>>(
        paths: impl IntoIterator<Item = P>,
        options: &OpenOptions,
        managers: &[&dyn VolumeManager],
    ) -> Result<Self, Incomplete> {
        let mut ordered: Vec<PathBuf> =
            paths.into_iter().map(|path| path.as_ref().to_path_buf()).collect();
        ordered.sort();
        let set = Self::of(&ordered, options, managers);
        if set.failures.is_empty() { Ok(set) } else { Err(Incomplete { set: Box::new(set) }) }
    }

    /// The set of what can be opened of `paths`.
    fn of(paths: &[PathBuf], options: &OpenOptions, managers: &[&dyn VolumeManager]) -> Self {
        let pool = CachePool::new(options.cache_size);
        let mut opening = Opening::default();
        for path in paths {
            opening.add(path, options, &pool);
        }
        let (mut disks, failures, mut findings) = opening.finish(options);
        let sources: Vec<DiskSource> = disks
            .iter()
            .map(|disk| DiskSource {
                device: disk.device.clone(),
                label: disk.path.display().to_string().into(),
            })
            .collect();
        let discovery = discover(&sources, managers, &*options.keys);
        for (disk, result) in disks.iter_mut().zip(discovery.disks) {
            disk.partition_scheme = result.scheme;
            disk.sector_size = result.sector_size;
        }
        findings.extend(discovery.findings);
        spare_what_no_volume_has(&mut findings, &sources, &discovery.volumes);
        let volumes = name_volumes(discovery.volumes, &disks, &pool, options.mount, &mut findings);
        note_mixed_snapshots(&disks, &volumes, &mut findings);
        Self { disks, failures, volumes, findings }
    }

    /// The disks that could be opened, by number.
    pub fn disks(&self) -> &[Disk] {
        &self.disks
    }

    /// The images that could not be opened.
    pub fn failures(&self) -> &[DiskFailure] {
        &self.failures
    }

    /// All volumes, sorted by disk and place, also those that no driver knows.
    pub fn volumes(&self) -> &[Arc<SetVolume>] {
        &self.volumes
    }

    /// What was noticed on the way.
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// What was noticed since, while the disks were read.
    pub fn later_findings(&self) -> Vec<Finding> {
        let mut found = Vec::new();
        for (index, disk) in self.disks.iter().enumerate() {
            found.extend(disk.log.all().into_iter().map(|finding| finding.on_disk(index)));
        }
        // The code of what was told may have changed since.
        let is_told = |finding: &Finding| {
            self.findings.iter().any(|told| {
                (told.disk, &told.part, &told.message)
                    == (finding.disk, &finding.part, &finding.message)
            })
        };
        found.retain(|finding| !is_told(finding));
        found
    }

    /// The volume that `wanted` names by folder name or id.
    pub fn volume(&self, wanted: &str) -> Option<&Arc<SetVolume>> {
        self.volumes.iter().find(|volume| volume.name == wanted || volume.id() == wanted)
    }

    /// What tells the disk or volume `name` of this set from those of others: a SHA-256 of its name
    /// and size, and of the first and last mebibyte of every disk.
    ///
    /// # Errors
    /// If a disk cannot be read there.
    pub fn identity(&self, name: &str) -> Result<[u8; 32], BlockError> {
        const PIECE: u64 = 1 << 20;
        let mut hash = Sha256::new();
        hash.update(name.as_bytes());
        for disk in &self.disks {
            hash.update(disk.size.to_le_bytes());
            let length = PIECE.min(disk.size);
            let mut piece = vec![0; usize::try_from(length).unwrap_or(0)];
            for start in [0, disk.size - length] {
                disk.device.read_at(start, &mut piece)?;
                hash.update(&piece);
            }
        }
        Ok(hash.finalize().into())
    }

    /// One tree with a directory for every readable volume that `choose` takes.
    pub fn tree(&self, choose: impl Fn(&SetVolume) -> bool) -> VolumeTree {
        VolumeTree::new(self.tree_volumes(choose))
    }

    /// The directories of [`DiskSet::tree`].
    pub fn tree_volumes(&self, choose: impl Fn(&SetVolume) -> bool) -> Vec<TreeVolume> {
        let readable = |volume: &&Arc<SetVolume>| volume.reason.is_none() && choose(volume);
        let volumes = self.volumes.iter().filter(readable).map(|volume| {
            let name = volume.name.clone();
            let volume = volume.clone();
            TreeVolume::new(name, move || volume.file_system())
        });
        volumes.collect()
    }
}

/// LIMIT: files of one folder of which it is said that they are no disks.
const MAX_NOT_TAKEN: usize = 100;

/// A file that is an image, while the set is opened.
struct Opened {
    path: PathBuf,
    /// Whether the user named it; else it is of a folder.
    is_given: bool,
    disk: BlockResult<Disk>,
    findings: Vec<Finding>,
    /// The names of the files that it is made of, and whether as an extent.
    parts: Vec<(String, bool)>,
}

impl Opened {
    fn new(path: &Path, is_given: bool, options: &OpenOptions, pool: &Arc<CachePool>) -> Self {
        let format = options.format.as_deref();
        let image = host::open_image_file(path, &options.allowed).and_then(|mut file| {
            let sources = SourceLog::of(&mut file);
            let image = image::open(file, path, format, pool)?;
            Ok((image, sources.files()))
        });
        let path = path.to_path_buf();
        match image {
            Ok((image, files)) => {
                let chain = image.chain.iter().skip(1).map(|name| (name.clone(), false));
                let extents = image.extents.iter().map(|name| (name.clone(), true));
                let parts = chain.chain(extents).collect();
                let disk = Disk {
                    path: path.clone(),
                    format: image.format,
                    variant: image.variant,
                    size: image.device.size(),
                    sector_size: image.device.sector_size(),
                    chain: image.chain,
                    files,
                    partition_scheme: None,
                    device: image.device,
                    cached: image.is_decoded,
                    log: image.log,
                };
                Self { path, is_given, disk: Ok(disk), findings: image.findings, parts }
            }
            Err(error) => {
                // The extents of an image that is refused are no disks either.
                let lineage = lineage(&path, options).unwrap_or_default();
                let parts = lineage.extents.into_iter().map(|name| (name, true)).collect();
                Self { path, is_given, disk: Err(error), findings: Vec::new(), parts }
            }
        }
    }

    /// Whether it can be hidden by an image that could not be opened: what is a disk by itself stays
    /// one then.
    fn is_mere_part(&self) -> bool {
        self.disk.as_ref().map_or(true, |disk| disk.format == "raw")
    }
}

/// Images in the order of their paths, while they are opened.
#[derive(Default)]
struct Opening {
    opened: Vec<Opened>,
    failures: Vec<DiskFailure>,
    findings: Vec<Finding>,
    seen: HashSet<PathBuf>,
}

impl Opening {
    /// Adds the image or the folder at `path`.
    fn add(&mut self, path: &Path, options: &OpenOptions, pool: &Arc<CachePool>) {
        if !self.is_new(path) {
            let line = format!("{} is given twice; once is enough", path.display());
            self.findings.push(Finding::warning(code::DISK_GIVEN_TWICE, line));
            return;
        }
        let added = match host::files_of_folder(path) {
            Ok(None) => {
                self.opened.push(Opened::new(path, true, options, pool));
                Ok(())
            }
            Ok(Some(files)) => self.add_folder(&files, options, pool),
            Err(error) => Err(error),
        };
        if let Err(error) = added {
            self.failures.push(DiskFailure { path: path.to_path_buf(), error });
        }
    }

    fn is_new(&mut self, path: &Path) -> bool {
        // Two names of one file are one.
        self.seen
            .insert(host::real_path(&std::path::absolute(path).unwrap_or_else(|_| path.into())))
    }

    /// Adds the images among `files`: those of a known format, and raw ones that hold something.
    fn add_folder(
        &mut self,
        files: &[PathBuf],
        options: &OpenOptions,
        pool: &Arc<CachePool>,
    ) -> BlockResult<()> {
        let mut is_empty = true;
        let mut not_taken = Vec::new();
        for path in files {
            if !self.is_new(path) {
                is_empty = false;
                continue;
            }
            let opened = Opened::new(path, false, options, pool);
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
            let line = format!("{more} more files of the folder were left out");
            self.findings.push(Finding::info(code::FILE_NOT_TAKEN, line));
        }
        if is_empty {
            return Err(BlockError::missing("folder holds no disk image"));
        }
        Ok(())
    }

    /// The disks: each image that no other one is made of.
    fn finish(self, options: &OpenOptions) -> (Vec<Disk>, Vec<DiskFailure>, Vec<Finding>) {
        let Self { opened, mut failures, mut findings, .. } = self;
        let wholes = wholes(&opened);
        let paths: Vec<PathBuf> = opened.iter().map(|image| image.path.clone()).collect();
        let mut beside = Beside::default();
        let mut disks: Vec<Disk> = Vec::new();
        for (image, whole) in opened.into_iter().zip(wholes) {
            let Opened { path, is_given, disk, findings: notes, .. } = image;
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
                    let notes = notes.into_iter().chain(beside.snapshots(&path, options));
                    findings.extend(notes.map(|finding| finding.on_disk(disks.len())));
                    disks.push(disk);
                }
                Err(error) => failures.push(DiskFailure { path, error }),
            }
        }
        failures.sort_by(|a, b| a.path.cmp(&b.path));
        (disks, failures, findings)
    }
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
    /// By folder: the name of each image, and what it says; none if the folder has too many files.
    folders: BTreeMap<PathBuf, Option<Vec<(String, Lineage)>>>,
}

impl Beside {
    /// What lies beside the image at `path` and is newer.
    fn snapshots(&mut self, path: &Path, options: &OpenOptions) -> Vec<Finding> {
        let real = host::real_path(path);
        let folder = real.parent().map(Path::to_path_buf).unwrap_or_default();
        let known = self.folders.entry(folder).or_insert_with(|| {
            let files = host::files_beside(path, "vmdk").ok()?;
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
        let first = Path::new(first).file_name().unwrap_or_default().display();
        let more = match children.len() {
            1 => String::new(),
            count => format!(" and {} more", count - 1),
        };
        let line = format!(
            "its snapshot {first}{more} lies beside it; what was written since is not shown"
        );
        vec![Finding::warning(code::SNAPSHOT_BESIDE, line)]
    }
}

/// The two views of a volume. Decoded blocks are cached below the volume already.
fn reader(volume: &Volume, disks: &[Disk], pool: &Arc<CachePool>) -> VolumeReader {
    let is_cached = |extent: &VolumeExtent| disks.get(extent.disk).is_some_and(|disk| disk.cached);
    let data = volume.device.clone();
    if volume.extents.iter().all(is_cached) {
        VolumeReader::uncached(data)
    } else {
        let metadata = Arc::new(SectorCache::new(pool, data.clone(), METADATA_BLOCK));
        VolumeReader::new(data, metadata)
    }
}

/// Gives every volume its folder name: drive letter, else label, else place; unique by a suffix in
/// the order of ids.
fn name_volumes(
    discovered: Vec<Discovered>,
    disks: &[Disk],
    pool: &Arc<CachePool>,
    options: ReadOptions,
    findings: &mut Vec<Finding>,
) -> Vec<Arc<SetVolume>> {
    let mut volumes: Vec<SetVolume> = Vec::new();
    for Discovered { volume, mut driver, mut reason, mut is_left_out } in discovered {
        let reader = reader(&volume, disks, pool);
        let mut identity = Identity::default();
        if let Some(known) = driver {
            match known.identify(reader.clone()) {
                Ok(found) => {
                    if found.role == VolumeRole::Journal {
                        driver = None;
                        reason = Some("journal of a file system on another volume".to_owned());
                    }
                    identity = found;
                }
                Err(error) => {
                    let line = format!("{} cannot be read: {}", known.title(), error_chain(&error));
                    findings.push(
                        Finding::error(code::FILE_SYSTEM_DAMAGED, line.clone())
                            .on_volume(&volume.id.0),
                    );
                    reason = Some(line);
                    is_left_out = true;
                }
            }
        }
        let known = volume.hint.as_deref().or(identity.label.as_deref());
        let name = known.map(folder_name).filter(|name| !name.is_empty());
        let name = name.unwrap_or_else(|| folder_name(&volume.fallback_name));
        volumes.push(SetVolume {
            volume,
            name,
            identity,
            reason,
            is_left_out,
            driver,
            reader,
            options,
        });
    }
    name_snapshots(&mut volumes);
    make_names_unique(&mut volumes);
    introduce(&mut volumes);
    volumes.into_iter().map(Arc::new).collect()
}

/// The volumes of a set by their UUIDs, for file systems that lie on several.
struct ByUuid(BTreeMap<String, Vec<VolumeReader>>);

impl OtherVolumes for ByUuid {
    fn by_uuid(&self, uuid: &str) -> Vec<VolumeReader> {
        self.0.get(uuid).cloned().unwrap_or_default()
    }
}

/// Lets every volume ask for the others.
fn introduce(volumes: &mut [SetVolume]) {
    let mut known: BTreeMap<String, Vec<VolumeReader>> = BTreeMap::new();
    for volume in volumes.iter() {
        if let Some(uuid) = &volume.identity.uuid {
            known.entry(uuid.clone()).or_default().push(volume.reader.clone());
        }
    }
    let others: Arc<dyn OtherVolumes> = Arc::new(ByUuid(known));
    for volume in volumes {
        volume.reader = volume.reader.clone().with_others(others.clone());
    }
}

/// A snapshot is called as the volume it was taken of, with its time: `NAME@2025-06-01T120000Z`.
fn name_snapshots(volumes: &mut [SetVolume]) {
    let names: BTreeMap<VolumeId, String> =
        volumes.iter().map(|volume| (volume.volume.id.clone(), volume.name.clone())).collect();
    for volume in volumes {
        if let Some(snapshot) = &volume.volume.snapshot {
            let base = names.get(&snapshot.of).unwrap_or(&volume.name);
            volume.name = format!("{base}@{}", snapshot.time);
        }
    }
}

/// A label, or a name of a volume manager, as a folder name that every host accepts.
fn folder_name(label: &str) -> String {
    let mut name = String::new();
    for character in label.trim().chars() {
        let bad = character.is_control() || r#"/\:*?"<>|"#.contains(character);
        if name.len() + character.len_utf8() > MAX_NAME {
            break;
        }
        name.push(if bad { '_' } else { character });
    }
    let name = name.trim_end_matches(['.', ' ']);
    let stem = name.split('.').next().unwrap_or_default().to_ascii_uppercase();
    let taken = ["CON", "PRN", "AUX", "NUL"].contains(&stem.as_str())
        || (stem.len() == 4
            && (stem.starts_with("COM") || stem.starts_with("LPT"))
            && stem.ends_with(|digit: char| digit.is_ascii_digit()));
    // The name of the folder in which a mount shows disks and volumes as files.
    let taken = taken || name.eq_ignore_ascii_case(".raw");
    if taken { format!("{name}_") } else { name.to_owned() }
}

/// Tells of volumes some of whose disks come from snapshots, and others not: parts of two times.
fn note_mixed_snapshots(disks: &[Disk], volumes: &[Arc<SetVolume>], findings: &mut Vec<Finding>) {
    for volume in volumes {
        let own: BTreeSet<usize> = volume.volume.extents.iter().map(|extent| extent.disk).collect();
        let own: Vec<&Disk> = own.iter().filter_map(|index| disks.get(*index)).collect();
        let is_snapshot = |disk: &&&Disk| disk.chain.len() > 1;
        let snapshots = own.iter().filter(is_snapshot).count();
        if snapshots > 0 && snapshots < own.len() {
            let others: Vec<String> = own
                .iter()
                .filter(|disk| !is_snapshot(disk))
                .map(|disk| disk.path.display().to_string())
                .collect();
            let line = format!(
                "lies on snapshots and on disks without one ({}); its parts may be of two times",
                others.join(", ")
            );
            findings.push(Finding::warning(code::SNAPSHOTS_MIXED, line).on_volume(volume.id()));
        }
    }
}

/// Twins get `-2`, `-3` ... in the order of their disks and places; names that differ in case only
/// are twins.
fn make_names_unique(volumes: &mut [SetVolume]) {
    let mut by_name: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for (index, volume) in volumes.iter().enumerate() {
        by_name.entry(volume.name.to_lowercase()).or_default().push(index);
    }
    let mut taken: HashSet<String> = by_name.keys().cloned().collect();
    // What is called like the id of another volume would mean two things.
    let ids: BTreeSet<String> = volumes.iter().map(|volume| volume.id().to_lowercase()).collect();
    taken.extend(ids.iter().cloned());
    for mut twins in by_name.into_values() {
        twins.sort_by_cached_key(|index| {
            let volume = &volumes[*index].volume;
            let first = volume.extents.first().map(|extent| (extent.disk, extent.offset));
            (first.is_none(), first, volume.id.clone())
        });
        let first = twins.first().copied();
        let is_taken = |index: &usize| {
            let name = volumes[*index].name.to_lowercase();
            let is_own = name == volumes[*index].id().to_lowercase();
            !is_own && ids.contains(&name)
        };
        let to_change: Vec<usize> =
            twins.into_iter().filter(|index| Some(*index) != first || is_taken(index)).collect();
        for index in to_change {
            let base = volumes[index].name.clone();
            let free = (2_u32..)
                .map(|n| format!("{base}-{n}"))
                .find(|name| taken.insert(name.to_lowercase()));
            if let Some(name) = free {
                volumes[index].name = name;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_becomes_a_name_that_every_host_accepts() {
        for (label, name) in [
            ("System", "System"),
            ("a/b:c", "a_b_c"),
            ("..", ""),
            ("trailing. ", "trailing"),
            ("con", "con_"),
            ("COM1.x", "COM1.x_"),
            (".Raw", ".Raw_"),
            ("ldm-../x", "ldm-.._x"),
            ("\u{1}\u{202e}x", "_\u{202e}x"),
        ] {
            assert_eq!(folder_name(label), name, "{label:?}");
        }
    }

    use crate::volume::snapshot::{Snapshot, SnapshotTime};
    use crate::volume::{Claim, GroupId, Region};

    /// Two snapshots of one second for every disk.
    struct Camera;

    impl VolumeManager for Camera {
        fn id(&self) -> &'static str {
            "camera"
        }

        fn title(&self) -> &'static str {
            "a manager for tests"
        }

        fn claim(&self, region: &Region) -> BlockResult<Option<Claim>> {
            let group = GroupId(region.disk.to_string());
            let claim = Claim { group, hides: Vec::new(), sector_size: None };
            Ok(region
                .partition
                .is_none()
                .then_some(claim)
                .filter(|_| region.label.ends_with("img")))
        }

        fn assemble(
            &self,
            _group: &GroupId,
            members: &[Region],
            _findings: &mut Vec<Finding>,
        ) -> Vec<Volume> {
            let volume = crate::volume::basic::volume(members[0].clone());
            let snapshot = |number: u32| {
                let time = SnapshotTime(1_748_779_200);
                let mut snapshot = volume.clone();
                snapshot.id = VolumeId(format!("camera:{number}"));
                snapshot.snapshot = Some(Snapshot { of: volume.id.clone(), time });
                snapshot
            };
            vec![volume.clone(), snapshot(1), snapshot(2)]
        }
    }

    #[test]
    fn a_snapshot_is_called_as_its_volume_with_the_time() {
        let folder = tempfile::tempdir().unwrap();
        let image = folder.path().join("disk.img");
        std::fs::write(&image, vec![0; 4096]).unwrap();
        let set = DiskSet::open_with([image], &OpenOptions::default(), &[&Camera]).unwrap();
        let names: Vec<&str> = set.volumes().iter().map(|volume| volume.name.as_str()).collect();
        assert_eq!(names, ["disk0", "disk0@2025-06-01T120000Z", "disk0@2025-06-01T120000Z-2"]);
    }
}
