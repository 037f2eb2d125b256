//! The systems of a set that are a Windows: what each says of itself, joined with the volumes.

use std::sync::Arc;

use volfold_block::{Finding, FindingLog, code};

use crate::guest::system::{Family, GuestSystem, MountPoint, OsInfo, PackageSystem};
use crate::guest::volume::GuestVolume;
use crate::set::disk::Disk;
use crate::set::volume::SetVolume;
use crate::volume::VolumeType;

use super::boot::{BootDevice, BootEntry, BootMenu, boot_menus};
use super::devices::{MountName, MountedVolume, mounted_volumes, signature, volumes_with_id};
use super::files::{Files, Notes};
use super::{Windows, read_windows, windows_folders};

/// The set that a Windows is joined with.
#[derive(Clone, Copy)]
struct Surroundings<'a> {
    all: &'a [Arc<SetVolume>],
    disks: &'a [Disk],
}

/// Adds every Windows on `volumes` to `info`; `all` are all volumes of the set, also those that
/// cannot be read, and `disks` its disks.
pub(crate) fn find(
    volumes: &[GuestVolume<'_>],
    all: &[Arc<SetVolume>],
    disks: &[Disk],
    info: &mut OsInfo,
) {
    let set = Surroundings { all, disks };
    let mut found = Vec::new();
    let mut starts = Vec::new();
    for volume in volumes {
        let told = FindingLog::new();
        if let Some(index) = set.index_of(volume) {
            for folder in windows_folders(&*volume.files, &told) {
                let windows = read_windows(&*volume.files, &folder, &told);
                let has_hibernated = Files { fs: &*volume.files }.find("hiberfil.sys");
                let notes = Notes { path: "hiberfil.sys", told: &told };
                let has_hibernated = notes.or_none(has_hibernated).is_some();
                let mut system = set.system(index, &windows, has_hibernated, &told);
                let folders = set.folders(&system, &windows, volumes, &told);
                system.mount_points.extend(folders);
                found.push((index, system));
            }
            let menus = boot_menus(&*volume.files, &told);
            starts.extend(menus.iter().map(|menu| set.start(index, menu)));
        }
        let told = told.all().into_iter().map(|finding| finding.on_volume(volume.id().0.as_str()));
        info.findings.extend(told);
    }
    for (index, mut system) in found {
        system.is_default = is_default(&starts, index, &system.folder);
        info.systems.push(system);
    }
}

/// What a boot menu starts: a folder on one volume, or something else.
#[derive(Debug, PartialEq, Eq)]
enum Start {
    /// The index of the volume, and the folder.
    Folder(usize, String),
    /// What cannot be told.
    Unknown,
}

/// Whether the system in `folder` of the volume with the index `index` is started by default;
/// `None` where no menu says it.
fn is_default(starts: &[Start], index: usize, folder: &str) -> Option<bool> {
    let is_it = |start: &Start| match start {
        Start::Folder(volume, own) => *volume == index && own.eq_ignore_ascii_case(folder),
        Start::Unknown => false,
    };
    if starts.iter().any(is_it) {
        return Some(true);
    }
    let is_known = |start: &Start| matches!(start, Start::Folder(..));
    (!starts.is_empty() && starts.iter().all(is_known)).then_some(false)
}

impl Surroundings<'_> {
    fn index_of(&self, volume: &GuestVolume<'_>) -> Option<usize> {
        self.all.iter().position(|other| other.id() == volume.set.id())
    }

    fn id(&self, index: usize) -> Option<String> {
        self.all.get(index).map(|volume| volume.id().to_owned())
    }

    /// The Windows on the volume with the index `index`.
    fn system(
        &self,
        index: usize,
        windows: &Windows,
        has_hibernated: bool,
        told: &FindingLog,
    ) -> GuestSystem {
        let (product, machine) = (&windows.product, &windows.machine);
        let mounted = mounted_volumes(self.disks, self.all, &windows.mounted_devices);
        let doubted = self.doubted_letters(index, windows, &mounted, told);
        let drive = own_drive(&mounted, index, &doubted);
        let mount_points = mounted
            .iter()
            .filter_map(|mounted| self.mount_point(mounted, &doubted, windows, told))
            .collect();
        let update = product.update.map(|update| format!(".{update}")).unwrap_or_default();
        let build = product.build.map(|build| format!("{build}{update}"));
        let zone = machine.time_zone.as_ref();
        let time_zone = zone.and_then(|zone| zone.key.as_ref().or(zone.standard_name.as_ref()));
        let mut swap_files: Vec<String> = machine
            .page_files
            .iter()
            .map(|file| match file.path.strip_prefix("?:") {
                Some(rest) => format!("{drive}{rest}"),
                None => file.path.clone(),
            })
            .collect();
        if has_hibernated {
            swap_files.push(format!(r"{drive}\hiberfil.sys"));
        }
        GuestSystem {
            volume: self.id(index).unwrap_or_default(),
            folder: format!("/{}", windows.folder),
            family: Family::Windows,
            vendor: Some("Microsoft".to_owned()),
            product: product.name.clone(),
            edition: product.edition.clone(),
            version: product.version.map(|(major, minor)| format!("{major}.{minor}")),
            build,
            architecture: machine.architecture.as_deref().map(target),
            host_name: machine.host_name.clone().or_else(|| machine.computer_name.clone()),
            domain: machine.domain.clone(),
            time_zone: time_zone.cloned(),
            installed: product.installed.map(|time| time.to_string()),
            machine_id: windows.machine_guid.clone(),
            package_system: Some(PackageSystem::Windows),
            swap_files,
            mount_points,
            ..GuestSystem::default()
        }
    }

    /// The drive that a letter stands for; other names are no places. A letter that is doubted names no
    /// volume.
    fn mount_point(
        &self,
        mounted: &MountedVolume,
        doubted: &[char],
        windows: &Windows,
        told: &FindingLog,
    ) -> Option<MountPoint> {
        let MountName::Letter(letter) = mounted.name else { return None };
        let (volume, reason) = match mounted.volumes[..] {
            [] => (None, Some("no volume of the set is it".to_owned())),
            [index] if doubted.contains(&letter) => {
                let reason = "the system itself lies on another volume than its table says";
                (self.id(index), Some(reason.to_owned()))
            }
            [index] => (self.id(index), None),
            _ => {
                let names = self.names(&mounted.volumes);
                let line = format!(
                    "{letter}: may be any of {names}, as copies of a disk; none of them is shown as it"
                );
                let finding = Finding::warning(code::GUEST_VOLUME_AMBIGUOUS, line);
                told.add(finding.on_path(&windows.folder));
                (None, Some("several volumes of the set are it, as copies of a disk".to_owned()))
            }
        };
        let source = mounted.id.to_string();
        Some(MountPoint { path: format!("{letter}:"), source, volume, reason })
    }

    /// The directories of the drives of `system` in which it shows other volumes. Links to places of
    /// volumes are none.
    fn folders(
        &self,
        system: &GuestSystem,
        windows: &Windows,
        volumes: &[GuestVolume<'_>],
        told: &FindingLog,
    ) -> Vec<MountPoint> {
        let mounted = mounted_volumes(self.disks, self.all, &windows.mounted_devices);
        let mut points = Vec::new();
        for drive in system.mount_points.iter().filter(|point| point.reason.is_none()) {
            let is_drive =
                |volume: &&GuestVolume<'_>| Some(&volume.id().0) == drive.volume.as_ref();
            let Some(volume) = volumes.iter().find(is_drive) else { continue };
            let notes = Notes { path: r"$Extend\$Reparse", told };
            let folders = notes.or_none(volume.files.mounted_folders().map(Some));
            for folder in folders.unwrap_or_default() {
                let target = String::from_utf8_lossy(&folder.target.0);
                let target = target.trim_end_matches('/');
                let Some(guid) = target.strip_prefix("Volume{").and_then(|it| it.strip_suffix('}'))
                else {
                    continue;
                };
                let below = String::from_utf8_lossy(&folder.path).replace('/', r"\");
                let path = format!("{}{below}", drive.path);
                let (volume, reason) = self.volume_called(guid, &mounted);
                if let Some(reason) = &reason {
                    let line = format!(
                        "the volume {target}, which the system shows in {path}, is missing: {reason}"
                    );
                    told.add(Finding::warning(code::GUEST_VOLUME_MISSING, line));
                }
                points.push(MountPoint { path, source: target.to_owned(), volume, reason });
            }
        }
        points
    }

    /// The volume that a Windows calls `Volume{guid}`, or why there is none: by its own table, else by what
    /// every Windows would call it.
    fn volume_called(
        &self,
        guid: &str,
        mounted: &[MountedVolume],
    ) -> (Option<String>, Option<String>) {
        let name = MountName::Volume(guid.to_ascii_lowercase());
        let listed = mounted.iter().find(|mounted| mounted.name == name);
        let found = match listed {
            Some(listed) => listed.volumes.clone(),
            None => {
                let called = format!("Volume{{{guid}}}");
                let is_it = |volume: &SetVolume| {
                    volume.guest_names().iter().any(|own| own.eq_ignore_ascii_case(&called))
                };
                (0..self.all.len())
                    .filter(|index| self.all.get(*index).is_some_and(|volume| is_it(volume)))
                    .collect()
            }
        };
        match found[..] {
            [index] => (self.id(index), None),
            [] => (None, Some("no volume of the set is it".to_owned())),
            _ => (None, Some(format!("it may be any of {}", self.names(&found)))),
        }
    }

    fn names(&self, indices: &[usize]) -> String {
        let names = indices.iter().filter_map(|index| self.all.get(*index));
        names.map(|volume| volume.name.as_str()).collect::<Vec<_>>().join(", ")
    }

    /// The letters that contradict the drive which the system, on the volume with the index `own`, says to
    /// lie on, as on a disk that was copied and not started since; that is told.
    fn doubted_letters(
        &self,
        own: usize,
        windows: &Windows,
        mounted: &[MountedVolume],
        told: &FindingLog,
    ) -> Vec<char> {
        let root = windows.product.system_root.as_deref().unwrap_or_default();
        let [letter, b':', ..] = root.as_bytes() else { return Vec::new() };
        let letter = char::from(letter.to_ascii_uppercase());
        let named = mounted.iter().find(|mounted| mounted.name == MountName::Letter(letter));
        let tell = |line: String| {
            let line = format!("the system says that it lies in {root}, and its table that {line}");
            told.add(Finding::warning(code::GUEST_INCOMPLETE, line).on_path(&windows.folder));
        };
        let others = mounted.iter().filter_map(|mounted| match mounted.name {
            MountName::Letter(other) if other != letter && mounted.volumes == [own] => Some(other),
            _ => None,
        });
        let mut doubted: Vec<char> = others.collect();
        for other in &doubted {
            tell(format!("its volume is {other}:"));
        }
        match named {
            Some(named) if named.volumes.is_empty() => {
                tell(format!("{letter}: is the {}, which is not in the set", named.id));
            }
            Some(named) if !named.volumes.contains(&own) => {
                tell(format!("{letter}: is another volume, {}", self.names(&named.volumes)));
                doubted.push(letter);
            }
            _ => {}
        }
        doubted
    }

    /// What `menu`, on the volume with the index `own`, starts.
    fn start(&self, own: usize, menu: &BootMenu) -> Start {
        let entry = menu.default.and_then(|index| menu.entries.get(index));
        let folder = entry.and_then(|entry| entry.folder.as_deref());
        let volumes = entry.map(|entry| self.volumes_of(own, entry)).unwrap_or_default();
        match (&volumes[..], folder) {
            ([index], Some(folder)) => {
                let folder = folder.replace('\\', "/");
                Start::Folder(*index, folder.trim_end_matches('/').to_owned())
            }
            _ => Start::Unknown,
        }
    }

    /// The indices of the volumes that may be that of `entry` of a menu on the volume `own`.
    fn volumes_of(&self, own: usize, entry: &BootEntry) -> Vec<usize> {
        match &entry.device {
            Some(BootDevice::Boot) => vec![own],
            Some(BootDevice::Partition(id)) => volumes_with_id(self.disks, self.all, id),
            Some(BootDevice::Arc { disk, partition, signature }) => {
                let disks = self.disks_of(*disk, *signature);
                disks.into_iter().filter_map(|disk| self.arc_partition(disk, *partition)).collect()
            }
            _ => Vec::new(),
        }
    }

    /// The indices of the disks that may be the one with the number `number` in the order of the
    /// firmware, which nothing tells where there are several, or the one with the signature.
    fn disks_of(&self, number: u32, wanted: Option<u32>) -> Vec<usize> {
        match wanted {
            Some(wanted) => {
                let disks = self.disks.iter().enumerate();
                disks
                    .filter(|(_, disk)| signature(&*disk.device) == Some(wanted))
                    .map(|(index, _)| index)
                    .collect()
            }
            None if self.disks.len() == 1 && number == 0 => vec![0],
            None => Vec::new(),
        }
    }

    /// The index of the volume that is the partition with the number `number` of a disk, counted
    /// from 1 as ARC names do: the primary ones in the order of the table, then the logical ones.
    fn arc_partition(&self, disk: usize, number: u32) -> Option<usize> {
        let mut partitions: Vec<(u32, usize)> = Vec::new();
        for (index, volume) in self.all.iter().enumerate() {
            let is_there = volume.volume.extents.first().is_some_and(|extent| extent.disk == disk);
            if let (true, Some((VolumeType::Basic, partition))) =
                (is_there, volume.volume.own_partition())
            {
                partitions.push((partition.number, index));
            }
        }
        partitions.sort_unstable();
        let place = usize::try_from(number).ok()?.checked_sub(1)?;
        partitions.get(place).map(|(_, index)| *index)
    }
}

/// The drive that the system has itself on: `C:`, or `?:` where it does not say.
fn own_drive(mounted: &[MountedVolume], index: usize, doubted: &[char]) -> String {
    let letter = |mounted: &MountedVolume| match mounted.name {
        MountName::Letter(letter)
            if mounted.volumes.contains(&index) && !doubted.contains(&letter) =>
        {
            Some(letter)
        }
        _ => None,
    };
    let letter = mounted.iter().find_map(letter).unwrap_or('?');
    format!("{letter}:")
}

/// What target triples call an architecture of Windows.
fn target(architecture: &str) -> String {
    let names = [
        ("AMD64", "x86_64"),
        ("x86", "i686"),
        ("ARM64", "aarch64"),
        ("ARM", "armv7"),
        ("IA64", "ia64"),
        ("ALPHA", "alpha"),
        ("MIPS", "mips"),
        ("PPC", "powerpc"),
    ];
    let known = names.iter().find(|(name, _)| name.eq_ignore_ascii_case(architecture));
    known.map_or(architecture, |(_, target)| *target).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_system_is_the_default_only_where_every_menu_can_be_followed() {
        let start = |index, folder: &str| Start::Folder(index, folder.to_owned());
        assert_eq!(is_default(&[], 0, "/Windows"), None);
        assert_eq!(is_default(&[start(0, "/WINDOWS")], 0, "/Windows"), Some(true));
        assert_eq!(is_default(&[start(1, "/Windows")], 0, "/Windows"), Some(false));
        assert_eq!(is_default(&[start(1, "/Windows"), Start::Unknown], 0, "/Windows"), None);
    }

    #[test]
    fn architectures_are_named_as_in_target_triples() {
        assert_eq!(
            ["AMD64", "x86", "arm64", "SHX"].map(target),
            ["x86_64", "i686", "aarch64", "SHX"]
        );
    }
}
