//! A mount that a test made, freed whatever the test does.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use super::program::{Output, Scratch, VOLFOLD, eventually, program, run, text, volfold, wait};

/// A folder that may be a mount. When dropped nothing is mounted there, and its process is gone.
pub(crate) struct Folder {
    scratch: Scratch,
    path: PathBuf,
    foreground: Option<Child>,
}

impl Folder {
    /// A folder that is not there yet.
    pub(crate) fn new(name: &str) -> Self {
        let scratch = Scratch::new(name);
        let path = scratch.join("mount");
        Self { scratch, path, foreground: None }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn join(&self, name: impl AsRef<Path>) -> PathBuf {
        self.path.join(name)
    }

    /// `volfold mount DISKS FOLDER ARGUMENTS`.
    pub(crate) fn mount(&self, disks: &[PathBuf], arguments: &[&str]) -> Output {
        volfold(self.command(disks, arguments))
    }

    fn command(&self, disks: &[PathBuf], arguments: &[&str]) -> Vec<OsString> {
        let disks = disks.iter().map(|disk| disk.as_os_str());
        [OsStr::new("mount")]
            .into_iter()
            .chain(disks)
            .chain([self.path.as_os_str()])
            .chain(arguments.iter().map(OsStr::new))
            .map(OsStr::to_os_string)
            .collect()
    }

    /// A folder that shows all volumes of `disks` that can be shown.
    pub(crate) fn mounted(name: &str, disks: &[PathBuf]) -> Self {
        let folder = Self::new(name);
        folder.mount(disks, &[]).code(0);
        assert!(folder.is_mounted(), "{name} is mounted when `mount` returns");
        folder
    }

    /// Starts `volfold mount --foreground` and waits until the folder is mounted.
    pub(crate) fn mount_in_foreground(&mut self, disks: &[PathBuf]) {
        let child = Command::new(VOLFOLD)
            .args(self.command(disks, &["--foreground"]))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("volfold starts");
        self.foreground = Some(child);
        eventually("the mount", || self.is_mounted() && self.record().is_some());
    }

    /// The exit code of the process in the foreground, which must end.
    pub(crate) fn foreground_code(&mut self) -> Option<i32> {
        wait(self.foreground.as_mut().expect("a process"), "volfold mount --foreground")
    }

    /// `volfold unmount FOLDER ARGUMENTS`, again for a second while the folder is in use: a program that
    /// another test starts holds what this process has open until it runs.
    pub(crate) fn unmount(&self, arguments: &[&str]) -> Output {
        let words = [OsStr::new("unmount"), self.path.as_os_str()].into_iter();
        let words: Vec<&OsStr> = words.chain(arguments.iter().map(OsStr::new)).collect();
        for _ in 0..20 {
            let output = volfold(&words);
            if !output.stderr.contains("is in use") {
                return output;
            }
            thread::sleep(Duration::from_millis(50));
        }
        volfold(&words)
    }

    /// Whether the kernel's table has the folder; asks nobody who could hang.
    pub(crate) fn is_mounted(&self) -> bool {
        let table = fs::read("/proc/self/mountinfo").expect("the table of mounts");
        let wanted = self.path.as_os_str().as_bytes();
        table
            .split(|byte| *byte == b'\n')
            .any(|line| line.split(|byte| *byte == b' ').nth(4) == Some(wanted))
    }

    /// What `volfold mounts --json` says of the folder.
    pub(crate) fn record(&self) -> Option<serde_json::Value> {
        let mounts = volfold(["mounts", "--json"]).code(0).json();
        let mounts = mounts["mounts"].as_array().expect("mounts").clone();
        mounts.into_iter().find(|mount| mount["folder"].as_str() == self.path.to_str())
    }

    /// The process that answers.
    pub(crate) fn pid(&self) -> i32 {
        let record = self.record().expect("a record of the mount");
        i32::try_from(record["pid"].as_i64().expect("pid")).expect("a process number")
    }

    /// Sends `signal` to the process that answers.
    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_raw(self.pid()).expect("a process number");
        rustix::process::kill_process(pid, signal).expect("the process lives");
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let pid = self.is_mounted().then(|| self.record()).flatten();
        if self.is_mounted() {
            let _ = Command::new("timeout")
                .args(["-s", "KILL", "10", VOLFOLD, "unmount", "--force"])
                .arg(&self.path)
                .stderr(Stdio::null())
                .status();
        }
        if let Some(child) = &mut self.foreground {
            let _ = child.kill();
            let _ = child.wait();
        }
        let pid = pid.and_then(|record| i32::try_from(record["pid"].as_i64()?).ok());
        if let Some(pid) = pid.and_then(rustix::process::Pid::from_raw)
            && is_ours(pid, &self.path)
        {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
        if self.is_mounted() {
            free(&self.path);
        }
        let _ = &self.scratch;
    }
}

/// Whether the kernel has the file system `name`.
pub(crate) fn kernel_has(name: &str) -> bool {
    let _ = Command::new("modprobe").arg(name).stderr(Stdio::null()).status();
    let known = fs::read_to_string("/proc/filesystems").expect("the kernel's file systems");
    known.lines().any(|line| line.split_whitespace().next_back() == Some(name))
}

/// A file system of the kernel that is mounted; unmounted when dropped.
pub(crate) struct Mounted {
    scratch: Scratch,
}

impl Mounted {
    /// `mount -t KIND -o OPTIONS DEVICE`.
    pub(crate) fn new(kind: &str, options: &str, device: &Path) -> Self {
        let mounted = Self { scratch: Scratch::new("mounted") };
        let arguments = ["-t", kind, "-o", options, text(device), text(mounted.path())];
        program("mount", &arguments).code(0);
        mounted
    }

    pub(crate) fn path(&self) -> &Path {
        self.scratch.path()
    }

    /// Unmounts it, again for a second while it is in use: a program that another test starts holds what
    /// this process has open until it runs.
    pub(crate) fn end(self) {
        let umount = || program("umount", &[text(self.path())]);
        for _ in 0..20 {
            let output = umount();
            if !output.stderr.contains("busy") {
                output.code(0);
                return;
            }
            thread::sleep(Duration::from_millis(50));
        }
        umount().code(0);
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.path()).stderr(Stdio::null()).status();
    }
}

/// Whether `pid` still is the process of the mount at `folder`, not another with its number.
fn is_ours(pid: rustix::process::Pid, folder: &Path) -> bool {
    let command = fs::read(format!("/proc/{}/cmdline", pid.as_raw_nonzero())).unwrap_or_default();
    command.split(|byte| *byte == 0).any(|word| word == folder.as_os_str().as_bytes())
}

/// Takes a dead mount away.
fn free(folder: &Path) {
    for (program, argument) in [("umount", "-l"), ("fusermount3", "-uz")] {
        let _ = Command::new(program).arg(argument).arg(folder).stderr(Stdio::null()).status();
    }
    let _ = run(Command::new(VOLFOLD).arg("unmount").arg(folder));
}
