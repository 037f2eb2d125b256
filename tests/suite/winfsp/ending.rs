//! Mounts that do not end by themselves, and what dead ones leave; by the built program with the
//! double in the place of WinFsp.

use std::ffi::OsStr;
use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::program::{Place, kill, names};
use crate::common::fixtures::fixture;
use crate::common::program::{Output, eventually, run, wait};
use crate::harness::{apply, test};

/// A mount in the foreground whose requests do not end while a file exists.
struct Hanging {
    place: Place,
    child: Child,
}

impl Hanging {
    fn new(name: &str) -> Self {
        let place = Place::new(name);
        fs::write(place.scratch.join("hang"), "").expect("a file");
        let disk = fixture("fat12").path();
        let mut command = foreground(&place, disk.as_os_str());
        command.env("VOLFOLD_DOUBLE_HANG", place.scratch.join("hang"));
        let child = command.spawn().expect("volfold starts");
        eventually("the mount", || place.mounts()[0]["state"] == "mounted");
        Self { place, child }
    }

    /// `unmount` with `arguments` and less patience than usual.
    fn unmount(&self, patience: u32, arguments: &[&str]) -> Output {
        let folder = [OsStr::new("unmount"), self.place.folder.as_os_str()];
        let mut command = self.place.command(&folder);
        run(command.args(arguments).env("VOLFOLD_TEST_PATIENCE", patience.to_string()))
    }
}

fn foreground(place: &Place, disk: &OsStr) -> Command {
    let arguments = ["mount".as_ref(), disk, place.folder.as_os_str(), "--foreground".as_ref()];
    let mut command = place.command(&arguments);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

#[apply(test)]
fn unmount_does_not_wait_for_ever_and_force_ends_a_mount_whose_requests_hang() {
    let mut hanging = Hanging::new("hanging");
    let start = Instant::now();
    hanging.unmount(1, &[]).code(1).says("is still closing").says("--force` ends its process");
    assert!(start.elapsed() < Duration::from_secs(10));
    assert_eq!(hanging.place.mounts()[0]["state"], "mounted");
    // The process itself ends after its grace.
    let said = hanging.unmount(20, &["--force"]).code(0);
    assert_eq!(said.stderr, "");
    assert_eq!(wait(&mut hanging.child, "a mount that was forced"), Some(3));
    assert_eq!(hanging.place.mounts().as_array().map(Vec::len), Some(0));
    assert!(!hanging.place.folder.exists(), "what it left is cleared");
}

#[apply(test)]
fn a_process_that_does_not_end_when_it_is_forced_to_is_ended() {
    let mut hanging = Hanging::new("deaf");
    // Before the grace of the process itself is over.
    hanging.unmount(1, &["--force"]).code(0).says("was ended");
    assert_eq!(wait(&mut hanging.child, "a mount that was ended"), Some(3));
    assert_eq!(hanging.place.mounts().as_array().map(Vec::len), Some(0));
    assert!(!hanging.place.folder.exists(), "what it left is cleared");
}

#[apply(test)]
fn unmount_waits_for_requests_that_do_end() {
    let mut hanging = Hanging::new("slow");
    let file = hanging.place.scratch.join("hang");
    let end = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_secs(1));
        fs::remove_file(file).expect("the file");
    });
    hanging.unmount(20, &[]).code(0);
    end.join().expect("a thread");
    assert_eq!(wait(&mut hanging.child, "a mount that ends"), Some(0));
}

#[apply(test)]
fn what_a_killed_process_leaves_does_not_keep_the_next_mount_away() {
    let place = Place::new("leftovers");
    let disk = fixture("sample").path();
    fs::create_dir(&place.folder).expect("a folder");
    let mut child = foreground(&place, disk.as_os_str()).spawn().expect("volfold starts");
    eventually("the mount", || place.mounts()[0]["state"] == "mounted");
    kill(&mut child);
    // The double's directories stay as WinFsp's junctions do when the machine stops.
    assert!(!names(&place.folder).is_empty());
    place.mount(std::slice::from_ref(&disk)).code(0);
    assert_eq!(place.mounts()[0]["state"], "mounted");
    place.unmount().code(0);
    assert!(place.folder.exists() && names(&place.folder).is_empty(), "the folder is the user's");
}

#[apply(test)]
fn unmount_clears_what_a_killed_process_left_and_nothing_else() {
    let place = Place::new("cleared");
    let disk = fixture("sample").path();
    let mut child = foreground(&place, disk.as_os_str()).spawn().expect("volfold starts");
    eventually("the mount", || place.mounts()[0]["state"] == "mounted");
    kill(&mut child);
    fs::create_dir(place.folder.join("mine")).expect("a folder");
    place.unmount().code(0);
    assert_eq!(names(&place.folder), ["mine"]);
    place.unmount().code(1).says("not a volfold mount");
}
