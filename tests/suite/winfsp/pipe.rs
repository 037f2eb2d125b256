//! The pipe of control, when another process made it first.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::windows::io::{AsRawHandle, FromRawHandle};
use std::path::Path;
use std::process::Stdio;
use std::ptr;
use std::thread;

use windows_sys::Win32::Foundation::INVALID_HANDLE_VALUE;
use windows_sys::Win32::Security::Authorization::{
    ConvertStringSecurityDescriptorToSecurityDescriptorW, SDDL_REVISION_1,
};
use windows_sys::Win32::Security::{
    GetTokenInformation, ImpersonateNamedPipeClient, RevertToSelf, SECURITY_ATTRIBUTES,
    TOKEN_QUERY, TokenImpersonationLevel,
};
use windows_sys::Win32::Storage::FileSystem::PIPE_ACCESS_DUPLEX;
use windows_sys::Win32::System::Pipes::{ConnectNamedPipe, CreateNamedPipeW, PIPE_WAIT};
use windows_sys::Win32::System::Threading::{GetCurrentThread, OpenThreadToken};

use super::program::{Place, kill};
use super::windows::{current_user, is_wine, wide};
use crate::common::fixtures::fixture;
use crate::common::program::{Output, eventually, run};
use crate::harness::{apply, needs, test};

/// A user who is not the one of the tests.
const STRANGER: &str = "S-1-5-21-1-2-3-1001";

/// An instance of the pipe of the mount at `folder`, owned by the user of the tests.
fn pipe(folder: &Path) -> File {
    let folder = folder.to_string_lossy().to_lowercase();
    let fold = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01B3);
    let hash = folder.bytes().fold(0xCBF2_9CE4_8422_2325, fold);
    let name = wide(format!(r"\\.\pipe\volfold-{hash:016x}"));
    let descriptor = wide(format!("O:{}D:P(A;;GA;;;WD)", current_user()));
    let mut attributes = SECURITY_ATTRIBUTES {
        nLength: size_of::<SECURITY_ATTRIBUTES>().try_into().expect("a small number"),
        lpSecurityDescriptor: ptr::null_mut(),
        bInheritHandle: 0,
    };
    // SAFETY: texts end with 0; the descriptor lives until the process ends; the handle is owned.
    unsafe {
        let done = ConvertStringSecurityDescriptorToSecurityDescriptorW(
            descriptor.as_ptr(),
            SDDL_REVISION_1,
            &raw mut attributes.lpSecurityDescriptor,
            ptr::null_mut(),
        );
        assert_ne!(done, 0, "a descriptor");
        let (access, mode) = (PIPE_ACCESS_DUPLEX, PIPE_WAIT);
        let handle = CreateNamedPipeW(name.as_ptr(), access, mode, 255, 512, 512, 0, &attributes);
        assert_ne!(handle, INVALID_HANDLE_VALUE, "a pipe: {}", std::io::Error::last_os_error());
        File::from_raw_handle(handle)
    }
}

/// Waits for a client and gives what it says; then the pipe is closed.
fn hear(mut pipe: File) -> Vec<u8> {
    // SAFETY: the handle is open.
    unsafe { ConnectNamedPipe(pipe.as_raw_handle(), ptr::null_mut()) };
    let mut heard = Vec::new();
    // A client that goes away is the end.
    let _ = pipe.read_to_end(&mut heard);
    heard
}

/// Runs the program as another user than the one who has the pipe, and tells what the pipe heard.
fn as_stranger(place: &Place, instances: usize, arguments: &[&OsStr]) -> (Output, Vec<u8>) {
    let pipes: Vec<File> = (0..instances).map(|_| pipe(&place.folder)).collect();
    let hearing: Vec<_> = pipes.into_iter().map(|pipe| thread::spawn(|| hear(pipe))).collect();
    let mut command = place.command(arguments);
    let output = run(command.env("VOLFOLD_TEST_USER", STRANGER));
    // Those that nobody came to are met here.
    for _ in 0..instances {
        let folder = place.folder.clone();
        drop(thread::spawn(move || connect(&folder)).join());
    }
    (output, hearing.into_iter().flat_map(|thread| thread.join().expect("a thread")).collect())
}

fn connect(folder: &Path) {
    let folder = folder.to_string_lossy().to_lowercase();
    let fold = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01B3);
    let hash = folder.bytes().fold(0xCBF2_9CE4_8422_2325, fold);
    let name = format!(r"\\.\pipe\volfold-{hash:016x}");
    drop(fs::OpenOptions::new().read(true).write(true).open(name));
}

#[apply(test)]
fn nothing_is_said_to_another_users_pipe() {
    let place = Place::new("squatter");
    let disk = fixture("fat12").path();
    let folder = place.folder.as_os_str();
    let line = format!(
        "is answered by another user's process (pid {}, user {}); not volfold's mount",
        std::process::id(),
        current_user()
    );
    for arguments in
        [vec![OsStr::new("unmount"), folder], vec![OsStr::new("mount"), disk.as_os_str(), folder]]
    {
        let (output, heard) = as_stranger(&place, 4, &arguments);
        output.code(1).says(&line);
        assert!(heard.is_empty(), "{:?}", String::from_utf8_lossy(&heard));
    }
    assert!(!place.folder.exists());
}

#[apply(test)]
fn mounts_tells_of_another_users_pipe() {
    let place = Place::new("squatted");
    let disk = fixture("fat12").path();
    let arguments =
        ["mount".as_ref(), disk.as_os_str(), place.folder.as_os_str(), "--foreground".as_ref()];
    let mut command = place.command(&arguments);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().expect("volfold starts");
    eventually("the mount", || place.mounts()[0]["state"] == "mounted");
    kill(&mut child);
    let (output, heard) = as_stranger(&place, 1, &["mounts".as_ref(), "--json".as_ref()]);
    let output = output.code(0).says("is answered by another user's process");
    assert_eq!(output.json()["mounts"][0]["state"], "dead");
    assert!(heard.is_empty(), "{:?}", String::from_utf8_lossy(&heard));
}

#[apply(test)]
fn an_administrator_can_force_another_users_mount_to_end() {
    let place = Place::new("foreign");
    let waiting = pipe(&place.folder);
    let answering = thread::spawn(move || {
        let mut pipe = waiting;
        // SAFETY: the handle is open.
        unsafe { ConnectNamedPipe(pipe.as_raw_handle(), ptr::null_mut()) };
        let mut line = [0; 6];
        pipe.read_exact(&mut line).expect("a line");
        pipe.write_all(b"ok\n").expect("an answer");
        line
    });
    let arguments = ["unmount".as_ref(), place.folder.as_os_str(), "--force".as_ref()];
    // The first is asked whether it is mounted, and hangs up.
    let asked = pipe(&place.folder);
    let hearing = thread::spawn(|| hear(asked));
    let output = run(place.command(&arguments).env("VOLFOLD_TEST_USER", STRANGER));
    connect(&place.folder);
    let heard = hearing.join().expect("a thread");
    if output.code == Some(0) {
        assert_eq!(&answering.join().expect("a thread"), b"force\n");
        assert!(heard.is_empty(), "{heard:?}");
    } else {
        // The other instance was met first; then the first heard it, and did not answer.
        assert_eq!(heard, b"force\n");
    }
}

#[apply(test)]
fn the_other_side_learns_who_asks_and_cannot_act_for_them() {
    needs("impersonation by Windows itself", !is_wine());
    let place = Place::new("impersonated");
    let waiting = pipe(&place.folder);
    let level = thread::spawn(move || {
        let mut pipe = waiting;
        let (mut token, mut level, mut size) = (ptr::null_mut(), 0_u32, 0);
        // SAFETY: handles are open, places valid, and the size is that of the level.
        unsafe {
            ConnectNamedPipe(pipe.as_raw_handle(), ptr::null_mut());
            // A client is impersonated after something was read from it.
            pipe.read_exact(&mut [0; 5]).expect("a line");
            assert_ne!(ImpersonateNamedPipeClient(pipe.as_raw_handle()), 0, "impersonation");
            let opened = OpenThreadToken(GetCurrentThread(), TOKEN_QUERY, 1, &raw mut token);
            let place = (&raw mut level).cast();
            let told = GetTokenInformation(token, TokenImpersonationLevel, place, 4, &raw mut size);
            RevertToSelf();
            assert!(opened != 0 && told != 0, "the level");
        }
        pipe.write_all(b"ok\n").expect("an answer");
        level
    });
    place.run(&["unmount".as_ref(), place.folder.as_os_str()]);
    // SecurityIdentification.
    assert_eq!(level.join().expect("a thread"), 1);
}
