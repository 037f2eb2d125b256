//! The built program with the double in the place of WinFsp: mounting, what is mounted, freeing.
//!
//! The double makes a directory at the mount point as WinFsp does, and walks the volume on four
//! threads, which write what they saw into files.
#![cfg(debug_assertions)]

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::common::fixtures::fixture;
use crate::common::program::{Output, Scratch, VOLFOLD, eventually, run, wait};
use crate::harness::{apply, test};

/// The DLL that was built with the tests.
pub(super) fn double() -> PathBuf {
    let exe = std::env::current_exe().expect("the test program");
    let folders = exe.ancestors().skip(1).take(2);
    let mut found = folders.map(|folder| folder.join("winfsp_double.dll"));
    found.find(|path| path.is_file()).expect("winfsp_double.dll beside the test program")
}

/// A folder for one test, with a state folder of its own.
pub(super) struct Place {
    pub(super) scratch: Scratch,
    pub(super) folder: PathBuf,
}

impl Place {
    pub(super) fn new(name: &str) -> Self {
        let scratch = Scratch::new(name);
        let folder = scratch.join("mount");
        Self { scratch, folder }
    }

    pub(super) fn command(&self, arguments: &[&OsStr]) -> Command {
        let mut command = Command::new(VOLFOLD);
        command
            .args(arguments)
            .env("VOLFOLD_TEST_WINFSP", double())
            .env("VOLFOLD_DOUBLE_REPORT", self.scratch.join("report"))
            .env("VOLFOLD_TEST_ANY_FOLDER", "1")
            .env("LOCALAPPDATA", self.scratch.path())
            .env("CI", "");
        command
    }

    pub(super) fn run(&self, arguments: &[&OsStr]) -> Output {
        run(&mut self.command(arguments))
    }

    pub(super) fn mount(&self, disks: &[PathBuf]) -> Output {
        self.mount_with(disks, &[])
    }

    fn mount_with(&self, disks: &[PathBuf], arguments: &[&str]) -> Output {
        let disks = disks.iter().map(|disk| disk.as_os_str());
        let all: Vec<&OsStr> = [OsStr::new("mount")]
            .into_iter()
            .chain(disks)
            .chain([self.folder.as_os_str()])
            .chain(arguments.iter().map(OsStr::new))
            .collect();
        self.run(&all)
    }

    pub(super) fn unmount(&self) -> Output {
        self.run(&[OsStr::new("unmount"), self.folder.as_os_str()])
    }

    pub(super) fn mounts(&self) -> serde_json::Value {
        self.run(&[OsStr::new("mounts"), OsStr::new("--json")]).code(0).json()["mounts"].take()
    }

    /// The mount points as WinFsp was told them.
    fn points(&self) -> Vec<String> {
        let text = fs::read_to_string(self.scratch.join("report.points")).expect("mount points");
        let mut points: Vec<String> = text.lines().map(str::to_owned).collect();
        points.sort();
        points
    }

    /// The folder as WinFsp is told it: a prefix would be the Mount Manager's form.
    pub(crate) fn plain(&self) -> String {
        let folder = self.folder.display().to_string();
        folder.strip_prefix(r"\\?\").unwrap_or(&folder).to_owned()
    }

    /// What the four threads of the double saw of the directory `volume` of the set.
    fn seen(&self, volume: &str) -> BTreeMap<String, String> {
        let below = format!("\\{volume}\\");
        let inside = |(path, line): (String, String)| {
            Some((format!("\\{}", path.strip_prefix(&below)?), line))
        };
        self.report("mount").into_iter().filter_map(inside).collect()
    }

    /// What the four threads of the double saw of the volume mounted at `volume`, which must be the
    /// same.
    fn report(&self, volume: &str) -> BTreeMap<String, String> {
        let read = |number: u32| {
            let file = self.scratch.join(format!("report.{volume}.{number}"));
            eventually("the report", || file.is_file());
            fs::read_to_string(file).expect("a report")
        };
        let first = read(0);
        for number in 1..4 {
            assert!(read(number) == first, "thread {number} saw something else");
        }
        first
            .lines()
            .map(|line| line.split_once('\t').expect("a path and more"))
            .map(|(path, line)| (path.to_owned(), line.to_owned()))
            .collect()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = self.unmount();
    }
}

pub(super) fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .expect("a folder")
        .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

#[apply(test)]
fn a_mount_shows_each_volume_and_goes_when_it_is_freed() {
    let place = Place::new("mount");
    let sample = fixture("sample");
    place.mount(&sample.paths()).code(0);
    assert_eq!(place.points(), [place.plain()]);
    // The root of an NTFS volume is hidden, and much leaves out what is.
    for (name, line) in place.report("mount").iter().filter(|(path, _)| !path[1..].contains('\\')) {
        assert_eq!(line, "0x10 0", "{name} is a plain directory");
    }
    let mounts = place.mounts();
    assert_eq!(mounts.as_array().expect("mounts").len(), 1);
    assert_eq!(mounts[0]["state"], "mounted");
    assert_eq!(mounts[0]["volumes"].as_array().expect("volumes").len(), 3);
    for facts in sample.volumes.iter().filter(|facts| facts.listing.is_some()) {
        let listing = facts.listing.as_deref().expect("a listing");
        let volume = listing.split('.').nth(1).expect("sample.NAME.tsv");
        let seen = place.seen(volume);
        for row in facts.rows().iter().filter(|row| row.kind == "f") {
            let path = format!("\\{}", String::from_utf8_lossy(&row.path).replace('/', "\\"));
            let line = seen.get(&path).unwrap_or_else(|| panic!("{volume}: {path} is missing"));
            let size = line.split(' ').nth(1).expect("a size").parse().ok();
            assert_eq!(size, row.size, "{volume}: {path}");
        }
    }
    place.unmount().code(0);
    assert!(!place.folder.exists(), "the folder was made by `mount` and goes");
    assert_eq!(place.mounts().as_array().map(Vec::len), Some(0));
    place.unmount().code(1).says("not a volfold mount");
}

#[apply(test)]
fn each_volume_can_be_one_of_the_host() {
    let place = Place::new("each");
    let sample = fixture("sample");
    place.mount_with(&sample.paths(), &["--each"]).code(0);
    assert_eq!(names(&place.folder), ["BOOT", "Windows", "linux"]);
    let wanted = ["BOOT", "Windows", "linux"].map(|name| format!("{}\\{name}", place.plain()));
    assert_eq!(place.points(), wanted);
    assert!(place.report("linux").contains_key("\\eicar.com"), "a volume's files are at its top");
    place.unmount().code(0);
    assert!(!place.folder.exists(), "the folder was made by `mount` and goes");
}

#[apply(test)]
fn a_volume_is_the_folder_itself() {
    let place = Place::new("only");
    let sample = fixture("sample");
    let json = place.mount_with(&sample.paths(), &["--only", "linux", "--json"]).code(0).json();
    assert_eq!(json["volumes"][0]["paths"][0], place.plain());
    assert_eq!(place.points(), [place.plain()]);
    assert!(place.report("mount").contains_key("\\eicar.com"), "a volume's files are at its top");
    place.unmount().code(0);
    assert!(!place.folder.exists(), "the folder was made by `mount` and goes");
}

#[apply(test)]
fn a_drive_shows_one_volume_and_takes_no_folder() {
    let place = Place::new("letter");
    let disk = fixture("fat12").path();
    let mount = |words: &[&str]| {
        let words = words.iter().map(OsStr::new);
        let all: Vec<_> =
            [OsStr::new("mount"), disk.as_os_str()].into_iter().chain(words).collect();
        place.run(&all)
    };
    mount(&["--letter", "C:"]).code(1).says("C: is a drive already; take another letter");
    let folder = place.plain();
    mount(&["--letter", "Y:", &folder]).code(2).says("with --letter Y: there is no FOLDER");
    let json = mount(&["--letter", "Y:", "--json"]).code(0).json();
    let paths = &json["volumes"][0]["paths"];
    assert_eq!(paths[0], r"Y:\");
    assert!(
        paths[1].as_str().is_some_and(|path| path.starts_with(r"\\?\GLOBALROOT\Device\Volume{"))
    );
    assert_eq!(place.points(), ["Y:"]);
    place.run(&[OsStr::new("unmount"), OsStr::new("Y:")]).code(0);
}

#[apply(test)]
fn a_name_with_brackets_is_no_pattern_where_there_is_such_a_file() {
    let mut place = Place::new("brackets");
    let copy = |name: &str, fixture_name: &str| {
        let to = place.scratch.join(name);
        fs::copy(fixture(fixture_name).path(), &to).expect("a copy");
        to
    };
    let disk = copy("disk[1].img", "fat12");
    copy("disk1.img", "sample");
    // What the folder would be taken for.
    copy("m", "sample");
    place.folder = place.scratch.join("[m]");
    let json = place.mount_with(&[disk], &["--json"]).code(0).json();
    assert_eq!(json["folder"], place.plain().as_str());
    assert_eq!(json["volumes"].as_array().map(Vec::len), Some(1), "those of the sample are three");
    place.unmount().code(0);
}

#[apply(test)]
fn every_volume_is_told_by_all_its_names() {
    let place = Place::new("names");
    let sample = fixture("sample");
    let mounted = place.mount_with(&sample.paths(), &["--json"]).code(0).json();
    let folder = place.plain();
    assert_eq!(mounted["folder"], folder.as_str());
    let disk = sample.path();
    let arguments = [OsStr::new("list"), disk.as_os_str(), OsStr::new("--json")];
    let listed = place.run(&arguments).code(0).json();
    let mounts = place.mounts();
    let of = |all: &serde_json::Value, name: &str| {
        let mut volumes = all["volumes"].as_array().expect("volumes").iter();
        volumes.find(|volume| volume["name"] == name).expect("the volume").clone()
    };
    for name in ["BOOT", "Windows", "linux"] {
        let paths = &of(&mounted, name)["paths"];
        assert_eq!(paths[0], format!(r"{folder}\{name}"));
        let device = paths[1].as_str().expect("the device");
        assert!(device.starts_with(r"\\?\GLOBALROOT\Device\Volume{"), "{device}");
        assert!(device.ends_with(&format!(r"}}\{name}")), "{device}");
        assert_eq!(&of(&listed, name)["mounted_as"], paths, "`list` tells the same");
        assert_eq!(&mounts[0]["paths"][name], paths, "`mounts` tells the same");
    }
    place.unmount().code(0);
    let listed = place.run(&arguments).code(0).json();
    assert_eq!(listed["volumes"][0]["mounted_as"].as_array().map(Vec::len), Some(0));
    let nothing = place.mount_with(&[place.scratch.join("no.vmdk")], &["--json"]).code(1).json();
    assert!(nothing["folder"].is_null() && nothing["failures"][0]["reason"].is_string());
}

#[apply(test)]
fn the_mount_manager_is_told_in_its_own_form() {
    let disk = fixture("fat12").paths();
    let place = Place::new("manager");
    place.mount_with(&disk, &["--mount-manager"]).code(0);
    assert_eq!(place.points(), [format!(r"\\.\{}", place.plain())]);
    place.unmount().code(0);
    let place = Place::new("manager-each");
    place.mount_with(&disk, &["--mount-manager", "--each"]).code(0);
    let [point] = &place.points()[..] else { panic!("one mount point") };
    assert!(point.starts_with(&format!(r"\\.\{}\", place.plain())), "{point}");
    place.unmount().code(0);
}

#[apply(test)]
fn disks_and_volumes_are_files_beside_the_volumes() {
    let place = Place::new("raw");
    let fixture = fixture("gpt-512");
    let said = place.mount_with(&fixture.paths(), &["--raw"]).code(0);
    assert!(said.stderr.contains("shown as .raw/"), "{said:?}");
    let seen = place.seen(".raw");
    let disk = fs::read(fixture.path()).expect("the disk");
    let sum = |bytes: &[u8]| {
        let fold = |sum: u64, byte: &u8| (sum ^ u64::from(*byte)).wrapping_mul(0x100_0000_01B3);
        format!("{} {:016x}", bytes.len(), bytes.iter().fold(0xCBF2_9CE4_8422_2325, fold))
    };
    let table = fixture.table.as_ref().expect("a table");
    let mut wanted = vec![sum(&disk)];
    for partition in &table.partitions {
        let [start, size] = [partition.start_lba, partition.sectors].map(|n| n as usize * 512);
        wanted.push(sum(&disk[start..start + size]));
    }
    let after_attributes = |line: &String| line.split_once(' ').expect("more").1.to_owned();
    let mut found: Vec<String> = seen.values().map(after_attributes).collect();
    wanted.sort();
    found.sort();
    assert_eq!(found, wanted, "{seen:?}");
    assert!(seen.contains_key("\\disk0.img") && seen.contains_key("\\INSIDE.img"), "{seen:?}");
    place.unmount().code(0);
}

#[apply(test)]
fn an_empty_folder_of_the_user_stays_and_a_full_one_is_refused() {
    let place = Place::new("empty");
    fs::create_dir(&place.folder).expect("a folder");
    let disk = fixture("fat12").paths();
    place.mount(&disk).code(0);
    place.mount(&disk).code(1).says("is mounted already");
    // By all its names.
    let named = [r"\\?\", r"\\.\", ""].map(|prefix| format!("{prefix}{}", place.plain()));
    for folder in &named[1..] {
        let disk = disk[0].as_os_str();
        let mount = place.run(&[OsStr::new("mount"), disk, OsStr::new(folder)]);
        mount.code(1).says("is mounted already");
    }
    place.run(&[OsStr::new("unmount"), OsStr::new(&named[1])]).code(0);
    assert!(names(&place.folder).is_empty());
    fs::write(place.folder.join("mine"), "x").expect("a file");
    place.mount(&disk).code(1).says("is not empty");
    assert_eq!(names(&place.folder), ["mine"]);
}

#[apply(test)]
fn what_winfsp_refuses_is_said_in_one_line() {
    let disk = fixture("fat12").paths();
    let refused = |variable: &str, value: &str, says: &str| {
        let place = Place::new("refused");
        let disk = disk[0].as_os_str();
        let arguments = [OsStr::new("mount"), disk, place.folder.as_os_str()];
        let output = run(place.command(&arguments).env(variable, value)).code(1).says(says);
        assert_eq!(output.stderr.lines().filter(|line| !line.contains("CVE-")).count(), 1);
        assert!(!place.folder.exists(), "{says}: the folder that was made goes");
    };
    refused("VOLFOLD_TEST_WINFSP", "C:\\no such.dll", "cannot be loaded");
    refused("VOLFOLD_DOUBLE_VERSION", "131072", "WinFsp 2.0 is too old");
    refused("VOLFOLD_DOUBLE_CREATE", "0xc000000e", "driver is not loaded");
    refused("VOLFOLD_DOUBLE_MOUNT_POINT", "0xc0000022", "may not mount there");
    refused("VOLFOLD_DOUBLE_MOUNT_POINT", "0xc0000035", "is there already");
    refused("VOLFOLD_DOUBLE_MOUNT_POINT", "0xc00000ca", "is on a network share");
}

#[apply(test)]
fn a_file_system_without_mount_points_is_refused() {
    let place = Place::new("plain");
    let disk = fixture("fat12").path();
    let arguments = [OsStr::new("mount"), disk.as_os_str(), place.folder.as_os_str()];
    let mut command = place.command(&arguments);
    let output = run(command.env_remove("VOLFOLD_TEST_ANY_FOLDER"));
    // The volumes of wine are of this kind, those of Windows are not.
    if output.code == Some(1) {
        output.says("lies on a file system without mount points; give a folder on a local NTFS");
        assert!(!place.folder.exists());
    }
}

#[apply(test)]
fn without_winfsp_mount_says_where_to_get_it() {
    let place = Place::new("missing");
    let disk = fixture("fat12").path();
    let arguments = [OsStr::new("mount"), disk.as_os_str(), place.folder.as_os_str()];
    let refused = |command: &mut Command| {
        run(command).code(1).says("WinFsp is not installed; get it from https://winfsp.dev/rel/");
        assert!(!place.folder.exists(), "the folder that was made goes");
    };
    refused(place.command(&arguments).env("VOLFOLD_TEST_WINFSP", "none"));
    // Of a machine that has it, its registry cannot be asked for what is missing.
    let programs = std::env::var_os("ProgramFiles(x86)").unwrap_or_default();
    if !Path::new(&programs).join("WinFsp").exists() {
        refused(place.command(&arguments).env_remove("VOLFOLD_TEST_WINFSP"));
    }
}

/// Ends a process without giving it a moment.
pub(super) fn kill(child: &mut Child) {
    child.kill().expect("it runs");
    let _ = wait(child, "a killed process");
}

#[apply(test)]
fn what_a_killed_process_leaves_is_cleared() {
    let place = Place::new("killed");
    let disk = fixture("fat12").path();
    let arguments =
        ["mount".as_ref(), disk.as_os_str(), place.folder.as_os_str(), "--foreground".as_ref()];
    let mut child = place
        .command(&arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("volfold starts");
    eventually("the mount", || place.mounts()[0]["state"] == "mounted");
    kill(&mut child);
    // WinFsp's driver takes the mount points with the process; the double's directory stays.
    for name in names(&place.folder) {
        fs::remove_dir(place.folder.join(name)).expect("an empty directory");
    }
    eventually("the end", || place.mounts().as_array().is_some_and(Vec::is_empty));
    assert!(!place.folder.exists(), "the folder was made by `mount` and goes");
}
