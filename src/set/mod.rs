//! The facade: a set of disk images, opened together.

use std::collections::{BTreeSet, HashSet};
use std::fmt;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use sha2::{Digest, Sha256};
use volfold_block::{BlockError, BlockResult, CachePool, Finding, code, error_chain, guard};
use volfold_fs::links::VolumeNames;
use volfold_fs::{DirCursor, FsResult, TreeVolume, VolumeTree};

use crate::discover::{DiskSource, discover, spare_what_no_volume_has};
use crate::files::{GuestPath, SetTree};
use crate::guest::packages::{self, Packages};
use crate::guest::{self, GuestSystem, GuestVolume, OsInfo};
use crate::monitor::{Monitor, Stage};
use crate::volume::registry::MANAGERS;
use crate::volume::{VolumeManager, VolumeType};

mod backup;
pub(crate) mod disk;
mod image_keys;
mod naming;
mod opening;
mod options;
mod ova;
mod paths;
pub(crate) mod volume;

pub use disk::{Disk, DiskFailure, MachineStates, Manifest};
use naming::{guest_name, name_as_guests_do, name_volumes};
use opening::{Found, Opening};
pub use options::OpenOptions;
pub use volume::SetVolume;

/// LIMIT: volumes of a set that are looked into when it is opened, so that they are called as the systems
/// on them call them; they stay open.
const MAX_LOOKED_INTO: usize = 256;

/// A set in which images are missing, because they could not be opened.
pub struct Incomplete {
    set: Box<DiskSet>,
}

impl Incomplete {
    /// Whether there is nothing in the set because it was [stopped](crate::Monitor): then each path that was
    /// given is one of [`Self::failures`].
    pub fn is_stopped(&self) -> bool {
        self.set.monitor.is_stopped()
    }

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

/// A set of disk images, and all volumes on them.
pub struct DiskSet {
    disks: Vec<Disk>,
    failures: Vec<DiskFailure>,
    machines: Vec<MachineStates>,
    manifests: Vec<Manifest>,
    volumes: Vec<Arc<SetVolume>>,
    findings: Vec<Finding>,
    os: OnceLock<OsInfo>,
    /// Names that no volume has by its label, but those of a system.
    taken: HashSet<String>,
    tree: Arc<SetTree>,
    monitor: Monitor,
}

impl DiskSet {
    /// Opens the images at `paths` as one set; a folder stands for the images in it. The order does
    /// not matter: disks are numbered by path.
    ///
    /// # Errors
    /// [`Incomplete`] if an image cannot be opened; it has the set of all others, and none if it was stopped.
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
        // What keys may cost is counted for each set anew.
        let own = OpenOptions { work: Arc::default(), ..options.clone() };
        let opened = options.monitor.long(|| Ok(Self::of(&ordered, &own, managers)));
        let set = opened.unwrap_or_else(|_: BlockError| Self::stopped(ordered, &options.monitor));
        if set.failures.is_empty() { Ok(set) } else { Err(Incomplete { set: Box::new(set) }) }
    }

    /// The set of what can be opened of `paths`.
    fn of(paths: &[PathBuf], options: &OpenOptions, managers: &[&dyn VolumeManager]) -> Self {
        let pool = CachePool::new(options.cache_size);
        let mut opening = Opening::default();
        opening.add_all(paths, options, &pool);
        let Found { mut disks, failures, machines, manifests, mut findings } =
            opening.finish(options);
        let sources: Vec<DiskSource> = disks
            .iter()
            .map(|disk| DiskSource {
                device: disk.device.clone(),
                label: disk.path.display().to_string().into(),
            })
            .collect();
        let monitor = &options.monitor;
        let keys = (&*options.keys, &*options.work);
        let discovery = discover(&sources, managers, options.snapshots, keys, monitor);
        for (disk, result) in disks.iter_mut().zip(discovery.disks) {
            disk.partition_scheme = result.scheme;
            disk.sector_size = result.sector_size;
        }
        findings.extend(discovery.findings);
        spare_what_no_volume_has(&mut findings, &sources, &discovery.volumes);
        let mut volumes =
            name_volumes(discovery.volumes, &disks, &pool, &options.mount, &mut findings);
        let os = OnceLock::new();
        let mut taken = HashSet::new();
        if volumes.len() <= MAX_LOOKED_INTO {
            let info = os.get_or_init(|| os_info(&disks, &volumes, monitor));
            taken = names_of_systems(info, &volumes);
            name_as_guests_do(&mut volumes, &info.systems, &taken);
        }
        if options.deleted {
            // They were made just now, and nobody else has them.
            volumes.iter_mut().filter_map(Arc::get_mut).for_each(SetVolume::show_deleted);
        }
        note_mixed_snapshots(&disks, &volumes, &mut findings);
        let tree = set_tree(&volumes, os.get().and_then(OsInfo::only_default), monitor);
        let monitor = monitor.clone();
        Self { disks, failures, machines, manifests, volumes, findings, os, taken, tree, monitor }
    }

    /// What there is of a set that was stopped while `paths` were opened.
    fn stopped(paths: Vec<PathBuf>, monitor: &Monitor) -> Self {
        let failure = |path| DiskFailure { path, error: BlockError::stopped() };
        Self {
            disks: Vec::new(),
            failures: paths.into_iter().map(failure).collect(),
            machines: Vec::new(),
            manifests: Vec::new(),
            volumes: Vec::new(),
            findings: Vec::new(),
            os: OnceLock::new(),
            taken: HashSet::new(),
            tree: set_tree(&[], None, monitor),
            monitor: monitor.clone(),
        }
    }

    /// What stops the set, as it was given by [`OpenOptions::monitor`].
    pub fn monitor(&self) -> &Monitor {
        &self.monitor
    }

    /// The disks that could be opened, by number.
    pub fn disks(&self) -> &[Disk] {
        &self.disks
    }

    /// The images that could not be opened.
    pub fn failures(&self) -> &[DiskFailure] {
        &self.failures
    }

    /// The machines whose configurations were given and know of older states.
    pub fn machines(&self) -> &[MachineStates] {
        &self.machines
    }

    /// The manifests of the packed machines whose descriptors were given.
    pub fn manifests(&self) -> &[Manifest] {
        &self.manifests
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

    /// The volume that `wanted` names, as [`Self::volumes_called`]; `None` also if there are several.
    pub fn volume(&self, wanted: &str) -> Option<&Arc<SetVolume>> {
        match self.volumes_called(wanted)[..] {
            [only] => Some(only),
            _ => None,
        }
    }

    /// The volumes that `wanted` names: the one with this folder name or id, else those with one that
    /// differs in case only, else those that Windows calls so (`C:`, `Volume{...}`), else those with this
    /// label. Copies of a disk have one letter.
    pub fn volumes_called(&self, wanted: &str) -> Vec<&Arc<SetVolume>> {
        let exact = |volume: &&Arc<SetVolume>| volume.name == wanted || volume.id() == wanted;
        if let Some(volume) = self.volumes.iter().find(exact) {
            return vec![volume];
        }
        let called = self.volumes.iter().filter(|volume| volume.is_called(wanted));
        let called: Vec<&Arc<SetVolume>> = called.collect();
        if !called.is_empty() {
            return called;
        }
        // Where a system has a place that is called so, no foreign disk takes it by its label.
        let is_taken = self.taken.contains(&wanted.to_lowercase());
        let labelled = self.volumes.iter().filter(|volume| volume.has_label(wanted));
        labelled.filter(|volume| !is_taken || self.is_of_system(volume.id())).collect()
    }

    /// Whether a system lies on the volume `id`, or shows it.
    fn is_of_system(&self, id: &str) -> bool {
        let systems = self.os.get().map(|info| &info.systems[..]).unwrap_or_default();
        systems.iter().any(|system| {
            system.volume == id
                || system
                    .mount_points
                    .iter()
                    .any(|point| point.reason.is_none() && point.volume.as_deref() == Some(id))
        })
    }

    /// What links of Windows call the volumes, of which those that `shows` names have folders.
    pub fn volume_names(&self, shows: impl Fn(&str) -> bool) -> VolumeNames {
        volume_names(&self.volumes, shows)
    }

    /// A path in the set: `/<volume>/dir/file`, where the volume may also be called by its id, by
    /// its name in other capitals, or as Windows calls it (`C:/Users`).
    ///
    /// Nothing is looked up yet, and a volume is opened when a path leads into it.
    pub fn path(&self, path: impl AsRef<[u8]>) -> GuestPath {
        GuestPath::new(self.tree.clone(), self.spell(path.as_ref()))
    }

    /// What tells this set from others: a SHA-256 of the size, and of the first and last mebibyte, of
    /// every disk.
    ///
    /// # Errors
    /// If a disk cannot be read there.
    pub fn identity(&self) -> Result<[u8; 32], BlockError> {
        const PIECE: u64 = 1 << 20;
        let mut hash = Sha256::new();
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

    /// The systems that are installed on the volumes, as their files tell.
    ///
    /// # Errors
    /// `Stopped`; what cannot be read is a finding.
    pub fn os_info(&self) -> BlockResult<&OsInfo> {
        if let Some(known) = self.os.get() {
            return Ok(known);
        }
        let info = || BlockResult::Ok(os_info(&self.disks, &self.volumes, &self.monitor));
        let info = self.monitor.long(info)?;
        Ok(self.os.get_or_init(|| info))
    }

    /// What tells of volumes that the only system of the set, or the one that is started by default, shows
    /// and the set does not have; nothing where the set was not looked into for systems yet.
    pub fn missing_volumes(&self) -> Vec<&Finding> {
        let Some(info) = self.os.get() else { return Vec::new() };
        let codes =
            [code::GUEST_VOLUME_MISSING, code::GUEST_VOLUME_AMBIGUOUS, code::GUEST_VOLUME_GUESSED];
        let is_one = |finding: &&Finding| codes.contains(&finding.code);
        info.findings.iter().filter(is_one).collect()
    }

    /// What is installed in `system`, one of [`DiskSet::os_info`], as the databases of its package systems
    /// tell. Reads them whole: what is left out because it cannot be read is a finding.
    ///
    /// # Errors
    /// `Stopped`.
    pub fn packages(&self, system: &GuestSystem) -> BlockResult<Packages> {
        let find = || {
            let (volumes, _) = guest_volumes(&self.volumes, |_, _| true);
            FsResult::Ok(packages::find(&volumes, system, &self.monitor))
        };
        self.monitor.long(|| {
            Ok(guard("the packages", find).unwrap_or_else(|error| {
                let finding = Finding::error(code::GUEST_UNREADABLE, error.to_string());
                let mut nothing = Packages::default();
                nothing.findings.push(finding.on_volume(&system.volume));
                nothing
            }))
        })
    }

    /// One tree with a directory for every readable volume that `choose` takes.
    pub fn tree(&self, choose: impl Fn(&SetVolume) -> bool) -> VolumeTree {
        VolumeTree::new(self.tree_volumes(choose))
    }

    /// The directories of [`DiskSet::tree`].
    pub fn tree_volumes(&self, choose: impl Fn(&SetVolume) -> bool) -> Vec<TreeVolume> {
        tree_volumes(&self.volumes, choose)
    }
}

fn tree_volumes(
    volumes: &[Arc<SetVolume>],
    choose: impl Fn(&SetVolume) -> bool,
) -> Vec<TreeVolume> {
    let readable = |volume: &&Arc<SetVolume>| volume.reason.is_none() && choose(volume);
    let volumes = volumes.iter().filter(readable).map(|volume| {
        let name = volume.name.clone();
        let volume = volume.clone();
        TreeVolume::new(name, move || volume.file_system())
    });
    volumes.collect()
}

fn volume_names(volumes: &[Arc<SetVolume>], shows: impl Fn(&str) -> bool) -> VolumeNames {
    let mut names = VolumeNames::default();
    for volume in volumes {
        let folder = shows(&volume.name).then_some(volume.name.as_str());
        for name in volume.guest_names() {
            names.add(&name, folder);
        }
    }
    names
}

/// Those of `volumes` that can be read, opened; what is told of the others. Goes on as long as `goes_on`
/// says, which gets how many were looked at, and how many there are.
fn guest_volumes(
    volumes: &[Arc<SetVolume>],
    goes_on: impl Fn(usize, usize) -> bool,
) -> (Vec<GuestVolume<'_>>, Vec<Finding>) {
    let mut readable = Vec::new();
    let mut findings = Vec::new();
    for (number, set) in volumes.iter().enumerate() {
        if !goes_on(number, volumes.len()) {
            break;
        }
        if set.reason.is_some() {
            continue;
        }
        match guard("the volume", || set.open()) {
            Ok(files) => readable.push(GuestVolume { set, files }),
            Err(error) => findings.push(guest::unread(set, "/", &error)),
        }
    }
    (readable, findings)
}

/// What systems have places for, in lower case: what lies at the root of the one of `info` whose paths need no
/// volume's name, if there is one, and the directories and letters by which any shows volumes. No other volume
/// is called so: the name would mean two things, and a foreign disk could choose which.
fn names_of_systems(info: &OsInfo, volumes: &[Arc<SetVolume>]) -> HashSet<String> {
    /// LIMIT: names that are kept from volumes; roots have some dozens.
    const MAX_NAMES: usize = 10_000;
    let root = info.only_default().and_then(|system| {
        let is_it = |volume: &&Arc<SetVolume>| volume.id() == system.volume;
        volumes.iter().find(is_it)?.opened.get().cloned()
    });
    let mut names = HashSet::new();
    for point in info.systems.iter().flat_map(|system| &system.mount_points) {
        let first = point.path.split('/').find(|part| !part.is_empty());
        names.extend(first.map(|first| first.trim_end_matches(':').to_lowercase()));
        names.insert(guest_name(&point.path).to_lowercase());
    }
    if let Some(files) = root {
        // What cannot be listed is told where it is looked at.
        let _ = guard("the volume", || {
            files.read_dir(files.root(), DirCursor::START, &mut |entry| {
                names.insert(entry.name.to_text().to_lowercase());
                if names.len() < MAX_NAMES {
                    ControlFlow::Continue(())
                } else {
                    ControlFlow::Break(())
                }
            })
        });
    }
    names.remove("");
    names
}

/// The systems on `volumes`, all those of a set, which lie on `disks`.
fn os_info(disks: &[Disk], volumes: &[Arc<SetVolume>], monitor: &Monitor) -> OsInfo {
    let tell = |done, total| monitor.stage(Stage::Systems, done, total);
    // A shadow copy is no volume of a system, though it looks like that which it was taken of.
    let is_own = |volume: &&Arc<SetVolume>| volume.volume.kind != VolumeType::ShadowCopy;
    let volumes: Vec<Arc<SetVolume>> = volumes.iter().filter(is_own).cloned().collect();
    let volumes = volumes.as_slice();
    let (readable, mut findings) = guest_volumes(volumes, tell);
    let found = guard("the systems", || FsResult::Ok(guest::find(&readable, volumes, disks)));
    let mut info = found.unwrap_or_else(|error| {
        findings.push(Finding::error(code::GUEST_UNREADABLE, error.to_string()));
        OsInfo::default()
    });
    tell(volumes.len(), volumes.len());
    findings.append(&mut info.findings);
    info.findings = findings;
    info
}

/// The tree that the paths of the set lead through, told to its volumes.
fn set_tree(
    volumes: &[Arc<SetVolume>],
    system: Option<&GuestSystem>,
    monitor: &Monitor,
) -> Arc<SetTree> {
    let named = volumes.iter().map(|it| (it.name.clone(), it.reason.clone()));
    let missing = system.into_iter().flat_map(|system| &system.mount_points);
    let missing = missing.filter(|point| point.reason.is_some());
    let missing = missing.map(|point| (point.name_of_missing(), Some(point.not_shown())));
    let tree = Arc::new(SetTree {
        files: VolumeTree::new(tree_volumes(volumes, |_| true)),
        names: volume_names(volumes, |_| true),
        volumes: named.chain(missing).collect(),
        monitor: monitor.clone(),
    });
    for volume in volumes {
        // It was made for this set, and has none yet.
        let _ = volume.tree.set(Arc::downgrade(&tree));
    }
    tree
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

#[cfg(test)]
mod tests {
    use volfold_block::BlockResult;

    use super::*;
    use crate::volume::snapshot::{Snapshot, SnapshotTime};
    use crate::volume::{Claim, GroupId, Hidden, Region, Volume, VolumeId};

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
            let hides = Hidden::Partitions(Vec::new());
            let claim = Claim { group, hides, sector_size: None, damage: None };
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
                let time = Some(SnapshotTime(1_748_779_200));
                let mut snapshot = volume.clone();
                snapshot.id = VolumeId(format!("camera:{number}"));
                snapshot.snapshot = Some(Snapshot { of: volume.id.clone(), name: None, time });
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
