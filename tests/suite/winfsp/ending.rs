//! Mounts that do not end by themselves, and what dead ones leave; by the built program with the
//! double in the place of WinFsp.

use std::ffi::OsStr;
use std::fs;
use std::os::windows::fs::OpenOptionsExt;
use std::os::windows::io::AsRawHandle;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::ptr;
use std::time::Duration;

use windows_sys::Win32::Storage::FileSystem::{
    FILE_FLAG_BACKUP_SEMANTICS, FILE_FLAG_OPEN_REPARSE_POINT,
};
use windows_sys::Win32::System::IO::DeviceIoControl;
use windows_sys::Win32::System::Ioctl::FSCTL_SET_REPARSE_POINT;

use super::program::{Place, double, kill, names};
use crate::common::fixtures::fixture;
use crate::common::program::{Output, eventually, run, wait};
use crate::harness::{apply, needs, test};

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
    let arguments = [
        "mount".as_ref(),
        disk,
        place.folder.as_os_str(),
        "--each".as_ref(),
        "--foreground".as_ref(),
    ];
    let mut command = place.command(&arguments);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

#[apply(test)]
fn unmount_does_not_wait_for_ever_and_force_ends_a_mount_whose_requests_hang() {
    let mut hanging = Hanging::new("hanging");
    hanging.unmount(1, &[]).code(1).says("is still closing").says("--force` ends its process");
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

/// Makes a directory at `path` that is a mount point for `target`; whether the host can.
fn mount_point(path: &Path, target: &str) -> bool {
    let name: Vec<u8> = target.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let length = u16::try_from(name.len()).expect("a short name");
    let mut data = 0xA000_0003_u32.to_le_bytes().to_vec();
    for word in [8 + length + 4, 0, 0, length, length + 2, 0] {
        data.extend(word.to_le_bytes());
    }
    data.extend(name);
    data.extend([0; 4]);
    fs::create_dir(path).expect("a directory");
    let mut options = fs::OpenOptions::new();
    let flags = FILE_FLAG_BACKUP_SEMANTICS | FILE_FLAG_OPEN_REPARSE_POINT;
    let directory = options.write(true).custom_flags(flags).open(path).expect("the directory");
    let (size, mut count) = (u32::try_from(data.len()).expect("a short name"), 0);
    // SAFETY: the handle is open, and the size is that of the data.
    let done = unsafe {
        let (handle, data) = (directory.as_raw_handle(), data.as_ptr().cast());
        let (out, wait) = (ptr::null_mut(), ptr::null_mut());
        DeviceIoControl(handle, FSCTL_SET_REPARSE_POINT, data, size, out, 0, &raw mut count, wait)
    };
    done != 0
}

#[apply(test)]
fn mount_points_go_whose_volume_is_gone_and_no_others() {
    const GONE: &str = r"Volume{5e3a9c1f-0000-4000-8000-0123456789ab}\";
    let place = Place::new("points");
    let below = |name: &str| place.folder.join(name);
    fs::create_dir(&place.folder).expect("a folder");
    let can = mount_point(&below("Windows"), &format!(r"\Device\{GONE}"));
    needs("mount points of NTFS", can);
    assert!(mount_point(&below("BOOT"), format!(r"\Device\{GONE}").trim_end_matches('\\')));
    // Of a disk that may be plugged in again, and of a folder.
    assert!(mount_point(&below("usb"), &format!(r"\??\{GONE}")));
    let target = place.scratch.join("target");
    fs::create_dir(&target).expect("a directory");
    let plain = target.display().to_string().trim_start_matches(r"\\?\").to_owned();
    assert!(mount_point(&below("junction"), &format!(r"\??\{plain}")));
    place.unmount().code(0);
    assert_eq!(names(&place.folder), ["junction", "usb"]);
    place.unmount().code(1).says("not a volfold mount");

    // The folder itself.
    let whole = Place::new("point");
    assert!(mount_point(&whole.folder, &format!(r"\Device\{GONE}")));
    let disk = fixture("fat12").path();
    whole.mount(std::slice::from_ref(&disk)).code(0);
    whole.unmount().code(0);
}

#[apply(test)]
fn a_folder_that_is_a_link_is_refused_and_stays() {
    let place = Place::new("link");
    let target = place.scratch.join("target");
    fs::create_dir(&target).expect("a directory");
    let plain = target.display().to_string().trim_start_matches(r"\\?\").to_owned();
    let is_link = || place.folder.is_symlink();
    let can = mount_point(&place.folder, &format!(r"\??\{plain}")) && is_link() || {
        fs::remove_dir(&place.folder).expect("an empty directory");
        std::os::windows::fs::symlink_dir(&target, &place.folder).is_ok() && is_link()
    };
    needs("junctions or links of directories", can);
    let disk = fixture("fat12").path();
    for projector in ["winfsp", "dokan"] {
        let arguments = ["mount".as_ref(), disk.as_os_str(), place.folder.as_os_str()];
        let mut command = place.command(&arguments);
        command.args(["--projector", projector]).env("VOLFOLD_TEST_DOKAN", double());
        run(&mut command).code(1).says("is a link; give the folder that it leads to");
        assert!(is_link() && names(&target).is_empty(), "{projector}");
    }
}
