//! The facade: a set of disk images, opened together.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use volfold_block::{
    BlockDevice, BlockError, BlockResult, CachePool, Finding, SectorCache, code, error_chain,
};
use volfold_fs::{
    FileSystem, FileSystemDriver, FsError, FsResult, Identity, OtherVolumes, ReadOptions,
    TreeVolume, VolumeReader, VolumeRole, VolumeTree,
};
use volfold_images::{DiskImage, host};
use volfold_images::{Located, Locator};

use crate::discover::{Discovered, DiskSource, discover, holds_something};
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
    driver: Option<&'static dyn FileSystemDriver>,
    reader: VolumeReader,
    options: ReadOptions,
}

impl SetVolume {
    /// Its id, whatever the order of the arguments.
    pub fn id(&self) -> &str {
        &self.volume.id.0
    }

    /// Whether a driver knows the file system and cannot read it: something is lost. A volume that
    /// no driver knows has a reason too, but nothing was promised of it.
    pub fn is_damaged(&self) -> bool {
        self.driver.is_some() && self.reason.is_some()
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
        let Opening { mut disks, failures, mut findings, .. } = opening;
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
        let volumes = name_volumes(discovery.volumes, &disks, &pool, options.mount, &mut findings);
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

/// Disks in the order of their paths, while they are opened.
#[derive(Default)]
struct Opening {
    disks: Vec<Disk>,
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
        let opened = match host::files_of_folder(path) {
            Ok(None) => open_disk(path, options, pool).map(|opened| vec![opened]),
            Ok(Some(files)) => self.open_folder(&files, options, pool),
            Err(error) => Err(error),
        };
        match opened {
            Ok(opened) => {
                for (disk, notes) in opened {
                    let index = self.disks.len();
                    let about = notes.into_iter().map(|finding| finding.on_disk(index));
                    self.findings.extend(about);
                    self.disks.push(disk);
                }
            }
            Err(error) => self.failures.push(DiskFailure { path: path.to_path_buf(), error }),
        }
    }

    fn is_new(&mut self, path: &Path) -> bool {
        self.seen.insert(std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf()))
    }

    /// Opens the images among `files`: those of a known format, and raw ones that hold something. A
    /// file that another image of the folder is made of is no disk by itself.
    fn open_folder(
        &mut self,
        files: &[PathBuf],
        options: &OpenOptions,
        pool: &Arc<CachePool>,
    ) -> BlockResult<Vec<(Disk, Vec<Finding>)>> {
        let mut opened = Vec::new();
        let mut is_empty = true;
        let mut failures = Vec::new();
        let used = Arc::new(Mutex::new(HashSet::new()));
        for path in files {
            if !self.is_new(path) {
                is_empty = false;
                continue;
            }
            match open_disk_using(path, options, pool, Some(&used)) {
                Ok((disk, _)) if disk.format == "raw" && !holds_something(&*disk.device) => {}
                Ok(disk) => opened.push(disk),
                Err(error) => failures.push(DiskFailure { path: path.clone(), error }),
            }
        }
        let used = used.lock();
        let is_used = |path: &Path| used.contains(&host::located_name(path));
        opened.retain(|(disk, _)| !is_used(&disk.path));
        failures.retain(|failure| !is_used(&failure.path));
        if opened.is_empty() && failures.is_empty() && is_empty {
            return Err(BlockError::missing("folder holds no disk image"));
        }
        self.failures.extend(failures);
        Ok(opened)
    }
}

/// Writes down which files images name.
struct Recorder {
    files: Arc<dyn Locator>,
    used: Arc<Mutex<HashSet<String>>>,
}

impl Locator for Recorder {
    fn open(&self, reference: &Path) -> BlockResult<Located> {
        let located = self.files.open(reference)?;
        self.used.lock().insert(located.name.clone());
        let files = Arc::new(Self { files: located.files, used: self.used.clone() });
        Ok(Located { files, ..located })
    }
}

fn open_disk(
    path: &Path,
    options: &OpenOptions,
    pool: &Arc<CachePool>,
) -> BlockResult<(Disk, Vec<Finding>)> {
    open_disk_using(path, options, pool, None)
}

/// The same; `used` takes the names of the files that the image is made of.
fn open_disk_using(
    path: &Path,
    options: &OpenOptions,
    pool: &Arc<CachePool>,
    used: Option<&Arc<Mutex<HashSet<String>>>>,
) -> BlockResult<(Disk, Vec<Finding>)> {
    let mut file = host::open_image_file(path, &options.allowed)?;
    if let Some(used) = used {
        file.files = Arc::new(Recorder { files: file.files, used: used.clone() });
    }
    let sources = SourceLog::of(&mut file);
    let image = volfold_images::open(&file, pool)?;
    let DiskImage { device, format, variant, chain, is_decoded, findings } = image;
    let disk = Disk {
        path: path.to_path_buf(),
        format,
        variant,
        size: device.size(),
        sector_size: device.sector_size(),
        chain,
        files: sources.files(),
        partition_scheme: None,
        device,
        cached: is_decoded,
    };
    Ok((disk, findings))
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
    for Discovered { volume, mut driver, mut reason } in discovered {
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
                }
            }
        }
        let known = volume.hint.as_deref().or(identity.label.as_deref());
        let name = known.map(folder_name).filter(|name| !name.is_empty());
        let name = name.unwrap_or_else(|| folder_name(&volume.fallback_name));
        volumes.push(SetVolume { volume, name, identity, reason, driver, reader, options });
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

/// Twins get `-2`, `-3` ... in the order of their ids; names that differ in case only are twins.
fn make_names_unique(volumes: &mut [SetVolume]) {
    let mut by_name: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for (index, volume) in volumes.iter().enumerate() {
        by_name.entry(volume.name.to_lowercase()).or_default().push(index);
    }
    let mut taken: HashSet<String> = by_name.keys().cloned().collect();
    for mut twins in by_name.into_values() {
        twins.sort_by(|a, b| volumes[*a].volume.id.cmp(&volumes[*b].volume.id));
        for index in twins.into_iter().skip(1) {
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
