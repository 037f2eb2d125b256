//! The service by the service manager of wine, with the double in the place of WinFsp.
//!
//! Under wine a service is not SYSTEM's; a variable says so in its place.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use windows_sys::Win32::Foundation::CloseHandle;
use windows_sys::Win32::System::Threading::{OpenProcess, PROCESS_TERMINATE, TerminateProcess};

use super::program::{Place, double, names};
use super::windows::is_wine;
use crate::common::fixtures::fixture;
use crate::common::program::{DEADLINE, Output, eventually, run};
use crate::harness::{apply, needs, test};

/// Where the service of a build for tests finds what its mounts are to have in their environment.
const VARIABLES: &str = "test-variables";

/// There is one service of this name.
static ONE: Mutex<()> = Mutex::new(());

/// The service, which is removed at the end.
struct Service {
    place: Place,
    _one: MutexGuard<'static, ()>,
}

impl Service {
    fn new() -> Self {
        let one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
        let mut place = Place::new("service");
        // As a list has it.
        place.folder = plain(&place.folder).into();
        let service = Self { place, _one: one };
        service.run(&["uninstall"]);
        let (double, hang) = (double(), service.place.scratch.join("hang"));
        let wait = service.place.scratch.join("wait");
        let variables = [
            ("VOLFOLD_TEST_WINFSP", plain(&double)),
            ("VOLFOLD_TEST_ANY_FOLDER", "1".to_owned()),
            ("VOLFOLD_TEST_USER", "S-1-5-18".to_owned()),
            ("VOLFOLD_DOUBLE_HANG", plain(&hang)),
            ("VOLFOLD_DOUBLE_WAIT", plain(&wait)),
        ];
        let lines: String =
            variables.iter().map(|(name, value)| format!("{name}={value}\n")).collect();
        fs::create_dir_all(system_folder()).expect("a folder");
        fs::write(system_folder().join(VARIABLES), lines).expect("a file");
        service
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let all: Vec<&OsStr> =
            ["service"].iter().chain(arguments).map(|argument| OsStr::new(*argument)).collect();
        self.place.run(&all)
    }

    /// Installs a list of mounts, each of one disk.
    fn install(&self, mounts: &[(&Path, &Path)]) -> Output {
        let entry = |(folder, disk): &(&Path, &Path)| {
            format!("[[mount]]\nfolder = '{}'\ndisks = ['{}']\n", plain(folder), plain(disk))
        };
        self.install_text(&mounts.iter().map(entry).collect::<String>())
    }

    fn install_text(&self, text: &str) -> Output {
        let list = self.place.scratch.join("list.toml");
        fs::write(&list, text).expect("a list");
        self.run(&["install", list.to_str().expect("a path of text")])
    }

    fn status(&self) -> Value {
        self.run(&["status", "--json"]).json()
    }

    fn state(&self, number: usize) -> Value {
        self.status()["mounts"][number]["state"].clone()
    }

    fn pid(&self, number: usize) -> u64 {
        let start = Instant::now();
        loop {
            let status = self.status();
            let mount = &status["mounts"][number];
            // What a killed service left has no process here, and goes at once.
            if let (Some("mounted"), Some(pid)) = (mount["state"].as_str(), mount["pid"].as_u64()) {
                return pid;
            }
            assert!(start.elapsed() < DEADLINE, "{status}\n{}", self.log());
        }
    }

    fn log(&self) -> String {
        fs::read_to_string(system_folder().join("service.log")).expect("a log")
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        for name in ["hang", "wait"] {
            let _ = fs::remove_file(self.place.scratch.join(name));
        }
        self.run(&["uninstall"]);
        forget_variables();
    }
}

fn forget_variables() {
    let _ = fs::remove_file(system_folder().join(VARIABLES));
    let _ = fs::remove_dir(system_folder());
}

/// As a list has it: with the drive, and without the prefix of the tests' own folder, which a user
/// would not write.
fn plain(path: &Path) -> String {
    let path = std::path::absolute(path).expect("a whole path");
    path.display().to_string().trim_start_matches(r"\\?\").to_owned()
}

fn system_folder() -> PathBuf {
    PathBuf::from(std::env::var_os("ProgramData").expect("ProgramData")).join("volfold")
}

/// Ends a process without giving it a moment.
fn kill(pid: u64) {
    // SAFETY: the handle is closed once.
    unsafe {
        let process = OpenProcess(PROCESS_TERMINATE, 0, pid.try_into().expect("a number"));
        assert!(!process.is_null(), "process {pid}: {}", std::io::Error::last_os_error());
        assert_ne!(TerminateProcess(process, 9), 0);
        CloseHandle(process);
    }
}

#[apply(test)]
fn the_service_mounts_again_what_died_and_takes_a_list_again() {
    needs("wine's service manager", is_wine());
    let service = Service::new();
    service.run(&["status"]).code(1);
    // A list that is wrong changes nothing.
    service.install_text("[[mount]]\nfolder = 'x'\ndisks = ['C:\\d']").code(1).says("whole path");
    assert_eq!(service.status()["installed"], false);

    let (disk, other) = (fixture("sample").path(), fixture("fat12").path());
    let [a, b] = ["a", "b"].map(|name| service.place.folder.with_file_name(name));
    service.install(&[(&a, &disk)]).code(0);
    let first = service.pid(0);
    service.run(&["status"]).code(0);
    assert!(a.is_dir());
    let mounts = service.place.mounts();
    assert_eq!(mounts[0]["mounted_by"], "service");
    assert_eq!(mounts[0]["pid"], first);

    // The double's directories stay, as WinFsp's mount points after a power cut.
    kill(first);
    eventually("another process", || service.pid(0) != first);
    assert!(service.log().contains("its process has ended; it is mounted again"));
    assert!(a.is_dir());

    // A second list takes the place of the first, of which nothing is left.
    let running = service.status()["pid"].clone();
    service.install(&[(&b, &other), (&a, &disk)]).code(0);
    let [of_b, of_a] = [0, 1].map(|number| service.pid(number));
    assert_ne!(service.status()["pid"], running);
    service.install_text("[[mount]]\nfolder = 'C:\\x'\ndisc = 1").code(1).says("unknown field");
    assert_eq!([0, 1].map(|number| service.pid(number)), [of_b, of_a], "as it was");

    // Of a list that cannot be read it is not known whether all is mounted.
    let installed = system_folder().join("service.toml");
    let text = fs::read(&installed).expect("the list");
    fs::write(&installed, "x").expect("a file");
    service.run(&["status"]).code(3).says("the list of mounts cannot be read: ");
    fs::write(&installed, text).expect("a file");
    service.run(&["status"]).code(0);
}

#[apply(test)]
fn mounts_of_a_service_that_was_killed_go_on_or_are_freed_by_the_next() {
    needs("wine's service manager", is_wine());
    let service = Service::new();
    let disk = fixture("fat12").path();
    let [listed, stray] = ["listed", "stray"].map(|name| service.place.folder.with_file_name(name));
    // The service manager of wine does not see that a service was killed, so another process does
    // here what it left.
    for folder in [&listed, &stray] {
        let arguments = ["mount".as_ref(), disk.as_os_str(), folder.as_os_str()];
        let mut command = service.place.command(&arguments);
        run(command.env("VOLFOLD_TEST_USER", "S-1-5-18")).code(0);
    }
    let mounts = service.place.mounts();
    assert_eq!([0, 1].map(|n| mounts[n]["mounted_by"].clone()), ["service", "service"]);
    let status = |place: &Path| json!({"place": plain(place), "state": "mounted", "pid": null, "error": null});
    let left = json!([status(&listed), status(&stray)]);
    fs::write(system_folder().join("status.json"), left.to_string()).expect("a file");
    service.install(&[(&listed, &disk)]).code(0);
    assert_eq!(service.pid(0), mounts[0]["pid"], "{}", service.log());
    assert!(service.log().contains("was mounted before"));
    assert!(service.log().contains("is not in the list any more, freed"));
    assert_eq!(service.place.mounts().as_array().map(Vec::len), Some(1));
    assert!(!stray.exists());
}

#[apply(test)]
fn what_an_administrator_frees_stays_free_until_the_service_starts_again() {
    needs("wine's service manager", is_wine());
    let service = Service::new();
    let disk = fixture("fat12").path();
    let folder = service.place.folder.clone();
    let missing = service.place.scratch.join("missing.img");
    let later = folder.with_file_name("later");
    let list: [(&Path, &Path); 2] = [(&folder, &disk), (&later, &missing)];
    service.install(&list).code(0);
    service.pid(0);

    // An image that comes later.
    eventually("a failure", || !service.status()["mounts"][1]["error"].is_null());
    let error = service.status()["mounts"][1]["error"].to_string();
    assert!(error.contains("missing.img"), "{error}");
    service.run(&["status"]).code(3);
    fs::copy(&disk, &missing).expect("a copy");
    service.pid(1);

    service.place.unmount().code(0);
    eventually("the mark", || service.state(0) == "freed");
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(3) {
        assert_eq!(service.state(0), "freed");
    }
    service.install(&list).code(0);
    service.pid(0);

    // A stop has an end even if reads of an image have none.
    fs::write(service.place.scratch.join("hang"), "").expect("a file");
    service.run(&["uninstall"]).code(0);
    assert_eq!(service.status()["installed"], false);
    assert!(!folder.exists() && !later.exists());
    let left: Vec<_> = names(&system_folder());
    assert_eq!(left, [VARIABLES]);
    service.run(&["uninstall"]).code(1).says("is not installed");
}

#[apply(test)]
fn what_is_being_mounted_when_the_service_stops_is_not_mounted_later() {
    needs("wine's service manager", is_wine());
    let service = Service::new();
    let folder = service.place.folder.clone();
    let wait = service.place.scratch.join("wait");
    fs::write(&wait, "").expect("a file");
    service.install(&[(&folder, &fixture("fat12").path())]).code(0);
    eventually("a mount that waits", || wait.with_extension("met").exists());
    service.run(&["uninstall"]);
    assert_eq!(service.status()["installed"], false);
    fs::remove_file(&wait).expect("the file");
    thread::sleep(Duration::from_secs(3));
    assert!(!folder.exists(), "it ends when it is ready");
    assert_eq!(service.place.mounts(), json!([]));
}

#[apply(test)]
fn what_is_freed_while_it_waits_for_its_image_is_not_mounted_when_that_comes() {
    needs("wine's service manager", is_wine());
    let service = Service::new();
    let (folder, image) = (service.place.folder.clone(), service.place.scratch.join("late.img"));
    service.install(&[(&folder, &image)]).code(0);
    eventually("a failure", || !service.status()["mounts"][0]["error"].is_null());
    // As `unmount` of an administrator leaves it: FNV-1a of the path without case.
    let path = plain(&folder).to_lowercase();
    let fold = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01B3);
    let mark = format!("{:016x}.freed", path.bytes().fold(0xCBF2_9CE4_8422_2325, fold));
    let records = system_folder().join("mounts");
    fs::create_dir_all(&records).expect("a folder");
    fs::write(records.join(mark), "").expect("a file");
    fs::copy(fixture("fat12").path(), &image).expect("a copy");
    eventually("the mark is seen", || service.state(0) == "freed");
    assert!(!folder.exists());
}
