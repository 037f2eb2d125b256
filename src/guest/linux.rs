//! What the files of a Linux system say of it.

use std::collections::BTreeSet;
use std::sync::Arc;

use volfold_block::{Finding, code};
use volfold_fs::{CaseRule, FileKind, FsResult, TreeVolume};

use super::crypttab;
use super::discoverable;
use super::fstab::{self, Lack};
use super::merged::{MergedTree, missing_volume};
use super::release;
use super::system::{Family, GuestSystem, MountPoint, OsInfo, PackageSystem};
use super::unit;
use super::volume::GuestVolume;
use crate::set::volume::SetVolume;

/// Files of which a root has one, beside `os-release`.
const OLD_RELEASES: [(&str, &str); 9] = [
    ("/etc/redhat-release", "redhat"),
    ("/etc/SuSE-release", "suse"),
    ("/etc/alpine-release", "alpine"),
    ("/etc/debian_version", "debian"),
    ("/etc/slackware-version", "slackware"),
    ("/etc/gentoo-release", "gentoo"),
    ("/etc/arch-release", "arch"),
    ("/etc/mandriva-release", "mandriva"),
    ("/etc/lsb-release", ""),
];

/// Where the administrator of a system keeps units.
const UNITS: &str = "/etc/systemd/system";

/// The volumes of a set.
struct SetParts<'a> {
    /// Those that can be read.
    volumes: &'a [GuestVolume<'a>],
    all: &'a [Arc<SetVolume>],
}

/// Adds the Linux systems, and their relatives, on `volumes` to `info`; `all` are all volumes of the set,
/// also those that cannot be read.
pub(super) fn find(volumes: &[GuestVolume<'_>], all: &[Arc<SetVolume>], info: &mut OsInfo) {
    let set = SetParts { volumes, all };
    for volume in volumes {
        if volume.files.info().case == CaseRule::Insensitive {
            continue;
        }
        let alone = MergedTree::new(vec![volume.directory()], &volume.set.name);
        match is_root(&alone) {
            Ok(true) => {
                let mut reader =
                    Reader { root: alone, volume, opened: Vec::new(), findings: Vec::new() };
                info.systems.push(reader.read(&set));
                info.findings.append(&mut reader.findings);
            }
            Ok(false) => {}
            Err(error) => info.findings.push(volume.unread("/", &error)),
        }
    }
}

/// Whether a volume is the root of a system.
fn is_root(root: &MergedTree) -> FsResult<bool> {
    if root.kind("/etc")? != Some(FileKind::Directory) {
        return Ok(false);
    }
    let signs = ["/etc/os-release", "/usr/lib/os-release", "/etc/fstab", "/etc/passwd"];
    let mut failure = None;
    for path in signs.into_iter().chain(OLD_RELEASES.map(|(path, _)| path)) {
        // A link is a sign too, wherever it leads.
        match root.has(path) {
            Ok(true) => return Ok(true),
            Ok(false) => {}
            Err(error) => {
                failure.get_or_insert(error);
            }
        }
    }
    failure.map_or(Ok(false), Err)
}

/// Reads one system.
struct Reader<'a> {
    root: MergedTree,
    volume: &'a GuestVolume<'a>,
    /// What it opens of encrypted volumes.
    opened: Vec<crypttab::Opened>,
    findings: Vec<Finding>,
}

impl Reader<'_> {
    fn read(&mut self, set: &SetParts<'_>) -> GuestSystem {
        let (mount_points, swap_files) = self.mount_points(set);
        let mut system = GuestSystem {
            volume: self.volume.id().0.clone(),
            folder: "/".to_owned(),
            family: Family::Linux,
            mount_points,
            swap_files,
            ..GuestSystem::default()
        };
        self.release(&mut system);
        self.names(&mut system);
        system.time_zone = self.time_zone();
        system.machine_id = self.first_line(&["/etc/machine-id", "/var/lib/dbus/machine-id"]);
        system.architecture = self.architecture();
        system.kernels = self.kernels();
        system.package_system = self.package_system();
        system
    }

    /// What `read` gives; why it cannot is told as being about `what`.
    fn tell<T>(&mut self, what: &str, read: FsResult<Option<T>>) -> Option<T> {
        read.unwrap_or_else(|error| {
            self.findings.push(self.volume.unread(what, &error));
            None
        })
    }

    fn text(&mut self, path: &str) -> Option<Vec<u8>> {
        let read = self.root.read(path);
        self.tell(path, read)
    }

    /// The content of a file that counts; a link to nothing, or in a circle, is told.
    fn linked_text(&mut self, path: &str) -> Option<Vec<u8>> {
        let text = self.root.read(path);
        if matches!(text, Ok(None)) {
            let is_there = self.root.has(path).map(Some);
            if self.tell(path, is_there) == Some(true) {
                self.findings.push(
                    self.odd(format!("{path} is a link that leads to nothing, or in a circle")),
                );
            }
        }
        self.tell(path, text)
    }

    fn kind(&mut self, path: &str) -> Option<FileKind> {
        let kind = self.root.kind(path);
        self.tell(path, kind)
    }

    fn list(&mut self, path: &str) -> Vec<String> {
        let names = self.root.names(path).map(Some);
        self.tell(path, names).unwrap_or_default()
    }

    /// The first line of the first of `paths` that has one.
    fn first_line(&mut self, paths: &[&str]) -> Option<String> {
        paths.iter().find_map(|path| {
            let text = self.text(path)?;
            let text = String::from_utf8_lossy(&text);
            let line = text.lines().map(str::trim);
            line.filter(|line| !line.is_empty() && !line.starts_with('#')).map(str::to_owned).next()
        })
    }

    /// Where the system shows volumes, which are put there, and its swap space.
    fn mount_points(&mut self, set: &SetParts<'_>) -> (Vec<MountPoint>, Vec<String>) {
        let volumes = set.volumes;
        let (table, has_more) =
            self.linked_text("/etc/fstab").map(|text| fstab::parse(&text)).unwrap_or_default();
        if has_more {
            self.cut("lines of /etc/fstab");
        }
        let opened = self.text("/etc/crypttab").map(|text| crypttab::parse(&text));
        self.opened = opened.unwrap_or_default();
        let swap = table.iter().filter(|line| line.is_swap()).map(|line| line.source.clone());
        let swap = swap.collect();
        for line in table.iter().filter(|line| line.is_odd()) {
            let line = format!("a line of /etc/fstab for {} is not understood", line.source);
            self.findings.push(self.odd(line));
        }
        let units = self.units();
        // What the administrator wrote as a unit counts before the line of the table.
        let is_unit =
            |line: &fstab::Line| units.iter().any(|unit| unit.directory == line.directory);
        let of_table = table.iter().filter(|line| !is_unit(line)).cloned();
        let lines: Vec<fstab::Line> =
            of_table.chain(units.iter().cloned()).filter(fstab::Line::shows_files).collect();
        let root = lines.iter().find(|line| line.directory == "/");
        let root_disk = root.and_then(fstab::Line::disk);
        let mut points: Vec<MountPoint> =
            lines.into_iter().map(|line| self.point(line, volumes, root_disk)).collect();
        let named: Vec<fstab::Line> = table.into_iter().chain(units).collect();
        points.extend(self.discovered(&named, set));
        // A directory above comes before what lies in it; lines of one directory stay in their order.
        points.sort_by_key(|point| match &*point.path {
            "/" => 0,
            path => path.matches('/').count(),
        });
        let known: Vec<bool> = points.iter().map(|point| point.reason.is_none()).collect();
        self.root = tree_of(&self.volume.set.name, volumes, &mut points);
        for (point, _) in points.iter().zip(known).filter(|(_, is_known)| *is_known) {
            let told = point.reason.as_ref().map(|reason| {
                let MountPoint { path, source, .. } = point;
                self.odd(format!("the volume {source} is not shown in {path}: {reason}"))
            });
            self.findings.extend(told);
        }
        (points, swap)
    }

    /// What the units that the administrator enabled show.
    fn units(&mut self) -> Vec<fstab::Line> {
        let mut names = BTreeSet::new();
        for folder in self.list(UNITS) {
            if folder.ends_with(".wants") || folder.ends_with(".requires") {
                let enabled = self.list(&format!("{UNITS}/{folder}"));
                let is_one =
                    |name: &String| Some(format!("{}.mount", name.strip_suffix(".mount")?));
                let waits =
                    |name: &String| Some(format!("{}.mount", name.strip_suffix(".automount")?));
                names
                    .extend(enabled.iter().filter_map(|name| is_one(name).or_else(|| waits(name))));
            }
        }
        if names.len() > fstab::MAX_LINES {
            self.cut("units of systemd");
        }
        names.iter().take(fstab::MAX_LINES).filter_map(|name| self.unit(name)).collect()
    }

    /// Tells that more of `what` show volumes than are looked at.
    fn cut(&mut self, what: &str) {
        let line = format!("only the first {} {what} are looked at", fstab::MAX_LINES);
        let finding = Finding::warning(code::GUEST_VOLUME_MISSING, line);
        self.findings.push(finding.on_volume(self.volume.set.id()));
    }

    /// What the unit `name` shows, unless it is masked.
    fn unit(&mut self, name: &str) -> Option<fstab::Line> {
        let own = format!("{UNITS}/{name}");
        let target = self.root.link(&own);
        if self.tell(&own, target).is_some_and(|target| target == b"/dev/null") {
            return None;
        }
        let changes = format!("{own}.d");
        if !self.list(&changes).is_empty() {
            self.findings
                .push(self.odd(format!("{changes} changes a unit, which is not looked at")));
        }
        let folders = [UNITS, "/usr/lib/systemd/system", "/lib/systemd/system"];
        let found = folders.iter().find_map(|folder| self.text(&format!("{folder}/{name}")));
        let line = found.as_deref().and_then(unit::parse);
        if line.is_none() {
            let what = if found.is_some() { "does not say what is shown" } else { "is missing" };
            self.findings.push(self.odd(format!("the enabled unit {name} {what}")));
        }
        line
    }

    /// What is shown by the types of partitions, where no line of `named` is about the directory.
    fn discovered(&mut self, named: &[fstab::Line], set: &SetParts<'_>) -> Vec<MountPoint> {
        let id = self.first_line(&["/etc/machine-id"]);
        let all = set.all.iter().map(|volume| &**volume);
        let mut points = Vec::new();
        for (directory, volume) in discoverable::find(all, self.volume.set, id.as_deref()) {
            let has_files = !self.list(directory).is_empty();
            if has_files || named.iter().any(|line| line.directory == directory) {
                continue;
            }
            let source = "gpt-auto".to_owned();
            let line =
                fstab::Line { source, directory: directory.to_owned(), ..Default::default() };
            let is_read = set.volumes.iter().any(|other| other.id().0 == volume.id());
            let mut reason = None;
            if !is_read {
                let why = volume.reason.as_deref().unwrap_or("it cannot be read");
                reason = Some(format!("the volume {}: {why}", volume.name));
                let lack = Lack::from(reason.as_deref().unwrap_or_default());
                self.findings.push(self.lacks(&line, &lack));
            }
            let volume = Some(volume.id().to_owned());
            points.push(MountPoint { path: line.directory, source: line.source, volume, reason });
        }
        points
    }

    /// Where `line` shows which volume; what is odd about it is told.
    fn point(
        &mut self,
        line: fstab::Line,
        volumes: &[GuestVolume<'_>],
        root_disk: Option<usize>,
    ) -> MountPoint {
        let is_root = line.directory == "/";
        // The root is known by what is on it, whatever the table calls it.
        let found = match line.why_no_volume() {
            _ if is_root => Ok(self.volume),
            Some(reason) => Err(Lack::from(reason)),
            None => match crypttab::find(&self.opened, &line.source) {
                Some(opened) => fstab::opened_of(&opened.source, volumes, self.volume.set),
                None => fstab::volume_of(&line.source, volumes, self.volume.set, root_disk),
            },
        };
        let (volume, reason) = match found {
            Ok(volume) if !is_root && line.disk().is_some() && line.disk() != root_disk => {
                self.findings.push(self.may_be(&line, volume));
                let reason =
                    "its disk is named by its place alone, which the set may have elsewhere";
                (Some(volume.id().0.clone()), Some(reason.to_owned()))
            }
            Ok(volume) => (Some(volume.id().0.clone()), None),
            Err(lack) => {
                // What lies elsewhere by its nature is not missing from the set.
                if (!line.may_fail() || lack.is_ambiguous) && line.why_no_volume().is_none() {
                    self.findings.push(self.lacks(&line, &lack));
                }
                (None, Some(lack.reason))
            }
        };
        if is_root && line.contradicts(self.volume.set) {
            let line = format!("the table of the system names {} for its root", line.source);
            self.findings.push(self.odd(line));
        }
        MountPoint { path: line.directory, source: line.source, volume, reason }
    }

    fn odd(&self, line: String) -> Finding {
        Finding::warning(code::GUEST_INCOMPLETE, line).on_volume(self.volume.set.id())
    }

    /// Tells that the volume of `line` is not there, and why.
    fn lacks(&self, line: &fstab::Line, lack: &Lack) -> Finding {
        let (source, directory) = (&line.source, &line.directory);
        let (code, what) = match lack.is_ambiguous {
            true => (code::GUEST_VOLUME_AMBIGUOUS, "is not shown"),
            false => (code::GUEST_VOLUME_MISSING, "is missing"),
        };
        let line = format!(
            "the volume {source}, which the system shows in {directory}, {what}: {}",
            lack.reason
        );
        Finding::warning(code, line).on_volume(self.volume.set.id())
    }

    /// Tells that `volume` may be that of `line`, which names a disk by its place alone.
    fn may_be(&self, line: &fstab::Line, volume: &GuestVolume<'_>) -> Finding {
        let (source, directory, id) = (&line.source, &line.directory, volume.id());
        let line = format!(
            "the volume {source}, which the system shows in {directory}, may be {id}, by the order of the \
             disks in the set"
        );
        Finding::warning(code::GUEST_VOLUME_GUESSED, line).on_volume(self.volume.set.id())
    }

    fn release(&mut self, system: &mut GuestSystem) {
        let text = ["/etc/os-release", "/usr/lib/os-release"];
        let found = text.into_iter().find_map(|path| Some((path, self.linked_text(path)?)));
        let Some((path, text)) = found else {
            return self.old_release(system);
        };
        let mut variables = release::parse(&text);
        if !["ID", "NAME", "PRETTY_NAME"].iter().any(|name| variables.contains_key(*name)) {
            self.findings.push(self.odd(format!("{path} names no system")));
        }
        let mut take = |name: &str| variables.remove(name).filter(|value| !value.is_empty());
        system.vendor = take("ID");
        system.version = take("VERSION_ID");
        system.edition = take("VARIANT_ID");
        system.build = take("BUILD_ID");
        let name = take("NAME").map(|name| match take("VERSION") {
            Some(version) => format!("{name} {version}"),
            None => name,
        });
        system.product = take("PRETTY_NAME").or(name);
        if system.vendor.as_deref().is_some_and(|id| id.ends_with("bsd") || id == "dragonfly") {
            system.family = Family::Bsd;
        }
    }

    /// What systems from before 2012 tell.
    fn old_release(&mut self, system: &mut GuestSystem) {
        for (path, id) in OLD_RELEASES {
            let Some(text) = self.linked_text(path) else { continue };
            if id.is_empty() {
                let mut variables = release::parse(&text);
                system.vendor = variables.remove("DISTRIB_ID").map(|id| id.to_lowercase());
                system.version = variables.remove("DISTRIB_RELEASE");
                system.product = variables.remove("DISTRIB_DESCRIPTION");
                return;
            }
            let text = String::from_utf8_lossy(&text);
            let line = text.lines().next().unwrap_or_default().trim().to_owned();
            system.vendor = Some(id.to_owned());
            system.version = version_in(&line);
            let is_number_alone = matches!(id, "debian" | "alpine");
            system.product = match (is_number_alone, line.is_empty()) {
                (_, true) => None,
                (true, _) => Some(format!("{id} {line}")),
                (false, _) => Some(line),
            };
            return;
        }
    }

    fn names(&mut self, system: &mut GuestSystem) {
        let mut name = self.first_line(&["/etc/hostname", "/etc/HOSTNAME"]);
        for (path, variable) in
            [("/etc/sysconfig/network", "HOSTNAME"), ("/etc/conf.d/hostname", "hostname")]
        {
            if name.is_none() {
                let text = self.text(path);
                name = text.and_then(|text| release::parse(&text).remove(variable));
            }
        }
        let (host, domain) = match name {
            Some(name) => match name.split_once('.') {
                Some((host, domain)) => (Some(host.to_owned()), Some(domain.to_owned())),
                None => (Some(name), None),
            },
            None => (None, None),
        };
        system.host_name = host.filter(|host| !host.is_empty());
        system.domain = domain.filter(|domain| !domain.is_empty());
    }

    fn time_zone(&mut self) -> Option<String> {
        let target = self.root.link("/etc/localtime");
        let target = self.tell("/etc/localtime", target).unwrap_or_default();
        let target = String::from_utf8_lossy(&target);
        let zone = target.split_once("zoneinfo/").map(|(_, zone)| zone.to_owned());
        zone.or_else(|| self.first_line(&["/etc/timezone"])).or_else(|| {
            let text = self.text("/etc/sysconfig/clock")?;
            let mut variables = release::parse(&text);
            variables.remove("ZONE").or_else(|| variables.remove("TIMEZONE"))
        })
    }

    /// What the header of the shell says.
    fn architecture(&mut self) -> Option<String> {
        for path in ["/bin/sh", "/bin/bash", "/bin/busybox", "/sbin/init"] {
            let file = self.root.open(path);
            let Some(file) = self.tell(path, file) else { continue };
            let mut header = [0; 20];
            let read = file.read_at(0, &mut header).map(Some);
            if self.tell(path, read).is_some()
                && let Some(architecture) = elf_architecture(&header)
            {
                return Some(architecture);
            }
        }
        None
    }

    /// The kernels in `/boot`, else those that have modules.
    fn kernels(&mut self) -> Vec<String> {
        let files = self.list("/boot");
        let mut kernels: Vec<String> = files
            .iter()
            .filter_map(|name| {
                let names = ["vmlinuz-", "vmlinux-", "kernel-"];
                names.iter().find_map(|prefix| name.strip_prefix(prefix))
            })
            .map(str::to_owned)
            .collect();
        if kernels.is_empty() {
            kernels = self.list("/lib/modules");
        }
        kernels
    }

    fn package_system(&mut self) -> Option<PackageSystem> {
        const PLACES: [(&str, PackageSystem); 9] = [
            ("/var/lib/dpkg/status", PackageSystem::Dpkg),
            ("/var/lib/dpkg/status.d", PackageSystem::Dpkg),
            ("/usr/lib/sysimage/rpm", PackageSystem::Rpm),
            ("/var/lib/rpm/rpmdb.sqlite", PackageSystem::Rpm),
            ("/var/lib/rpm/Packages.db", PackageSystem::Rpm),
            ("/var/lib/rpm/Packages", PackageSystem::Rpm),
            ("/lib/apk/db/installed", PackageSystem::Apk),
            ("/usr/lib/apk/db/installed", PackageSystem::Apk),
            ("/var/lib/pacman/local", PackageSystem::Pacman),
        ];
        PLACES.into_iter().find(|(path, _)| self.kind(path).is_some()).map(|(_, system)| system)
    }
}

/// The tree that `system` sees, whose root is on `volume`, one of `volumes`.
pub(super) fn tree_of_system(
    volume: &GuestVolume<'_>,
    volumes: &[GuestVolume<'_>],
    system: &GuestSystem,
) -> MergedTree {
    tree_of(&volume.set.name, volumes, &mut system.mount_points.clone())
}

/// The tree whose root is the volume `root`, with those of `volumes` that `points` name in their places,
/// and errors in the places of others. What cannot be put into its place gets the reason.
fn tree_of(root: &str, volumes: &[GuestVolume<'_>], points: &mut [MountPoint]) -> MergedTree {
    let mut directories: Vec<TreeVolume> = volumes.iter().map(GuestVolume::directory).collect();
    let mut names = Vec::new();
    for (number, point) in points.iter().enumerate() {
        let volume = volumes.iter().find(|it| Some(&it.id().0) == point.volume.as_ref());
        names.push(match volume {
            Some(volume) if point.reason.is_none() => volume.set.name.clone(),
            // No folder has a `/` in its name.
            _ => {
                let name = format!("/{number}");
                directories.push(missing_volume(name.clone(), point));
                name
            }
        });
    }
    let mut tree = MergedTree::new(directories, root);
    for (point, name) in points.iter_mut().zip(names) {
        if point.path == "/" {
            continue;
        }
        if let Err(error) = tree.cover(&point.path, &name) {
            point.reason.get_or_insert_with(|| error.to_string());
        }
    }
    tree
}

/// The first number in a line as `CentOS release 6.10 (Final)`.
fn version_in(line: &str) -> Option<String> {
    let words = line.split([' ', '/']);
    let mut numbers = words.filter(|word| word.starts_with(|first: char| first.is_ascii_digit()));
    numbers.next().map(str::to_owned)
}

/// The processor that the ELF file with this `header` is for.
///
/// Specification: ELF, "File header"; machines as the psABIs number them.
fn elf_architecture(header: &[u8; 20]) -> Option<String> {
    let [0x7F, b'E', b'L', b'F', class, order, .., a, b] = *header else {
        return None;
    };
    let machine = match order {
        1 => u16::from_le_bytes([a, b]),
        2 => u16::from_be_bytes([a, b]),
        _ => return None,
    };
    let name = match (machine, class, order) {
        (2, ..) => "sparc",
        (3, ..) => "i686",
        (8, 1, 1) => "mipsel",
        (8, 1, _) => "mips",
        (8, _, 1) => "mips64el",
        (8, ..) => "mips64",
        (15, ..) => "parisc",
        (20, ..) => "powerpc",
        (21, _, 1) => "powerpc64le",
        (21, ..) => "powerpc64",
        (22, 1, _) => "s390",
        (22, ..) => "s390x",
        (40, ..) => "arm",
        (43, ..) => "sparc64",
        (50, ..) => "ia64",
        (62, 1, _) => "x32",
        (62, ..) => "x86_64",
        (183, ..) => "aarch64",
        (243, 1, _) => "riscv32",
        (243, ..) => "riscv64",
        (258, ..) => "loongarch64",
        _ => return Some(format!("elf-machine-{machine}")),
    };
    Some(name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_the_first_number_of_the_line() {
        for (line, version) in [
            ("CentOS release 6.10 (Final)", Some("6.10")),
            ("openSUSE 11.4 (x86_64)", Some("11.4")),
            ("10.13", Some("10.13")),
            ("bookworm/sid", None),
        ] {
            assert_eq!(version_in(line).as_deref(), version, "{line}");
        }
    }

    #[test]
    fn the_processor_comes_from_the_elf_header() {
        let header = |class: u8, order: u8, machine: [u8; 2]| {
            let mut header = [0; 20];
            header[..6].copy_from_slice(&[0x7F, b'E', b'L', b'F', class, order]);
            header[18..].copy_from_slice(&machine);
            elf_architecture(&header)
        };
        assert_eq!(header(2, 1, [62, 0]).as_deref(), Some("x86_64"));
        assert_eq!(header(2, 1, [183, 0]).as_deref(), Some("aarch64"));
        assert_eq!(header(2, 2, [0, 22]).as_deref(), Some("s390x"));
        assert_eq!(header(1, 1, [3, 0]).as_deref(), Some("i686"));
        assert_eq!(header(1, 3, [3, 0]), None);
        assert_eq!(elf_architecture(&[0; 20]), None);
    }
}
