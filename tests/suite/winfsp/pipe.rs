//! The pipe of control, when another process made it first.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::windows::io::{AsRawHandle, FromRawHandle};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::ptr;
use std::thread::{self, JoinHandle};

use windows_sys::Win32::Foundation::INVALID_HANDLE_VALUE;
use windows_sys::Win32::Security::{
    GetTokenInformation, RevertToSelf, SECURITY_ATTRIBUTES, TOKEN_QUERY, TokenImpersonationLevel,
};
use windows_sys::Win32::Storage::FileSystem::{FlushFileBuffers, PIPE_ACCESS_DUPLEX};
use windows_sys::Win32::System::Pipes::{
    ConnectNamedPipe, CreateNamedPipeW, DisconnectNamedPipe, ImpersonateNamedPipeClient, PIPE_WAIT,
};
use windows_sys::Win32::System::Threading::{GetCurrentThread, OpenThreadToken};

use super::descriptor::descriptor;
use super::program::{Place, kill};
use super::windows::{current_user, is_administrator, is_wine, wide};
use crate::common::fixtures::fixture;
use crate::common::program::{Output, eventually, run};
use crate::harness::{apply, needs, test};

/// A user who is not the one of the tests.
const STRANGER: &str = "S-1-5-21-1-2-3-1001";

/// The name of the pipe of the mount at `folder`, which has one name whatever its prefix.
fn pipe_name(folder: &Path) -> String {
    let folder = folder.to_string_lossy().to_lowercase();
    let folder = folder.strip_prefix(r"\\?\").unwrap_or(&folder);
    let fold = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01B3);
    format!(r"\\.\pipe\volfold-{:016x}", folder.bytes().fold(0xCBF2_9CE4_8422_2325, fold))
}

/// The pipe of a mount, owned by the user of the tests.
fn pipe(folder: &Path) -> File {
    let name = wide(pipe_name(folder));
    let mut descriptor = descriptor(&format!("O:{}D:P(A;;GA;;;WD)", current_user()));
    let attributes = SECURITY_ATTRIBUTES {
        nLength: size_of::<SECURITY_ATTRIBUTES>().try_into().expect("a small number"),
        lpSecurityDescriptor: descriptor.as_mut_ptr().cast(),
        bInheritHandle: 0,
    };
    // SAFETY: the name ends with 0, the descriptor is whole, the handle is owned.
    unsafe {
        let (access, mode) = (PIPE_ACCESS_DUPLEX, PIPE_WAIT);
        let attributes = &raw const attributes;
        let handle = CreateNamedPipeW(name.as_ptr(), access, mode, 1, 512, 512, 0, attributes);
        assert_ne!(handle, INVALID_HANDLE_VALUE, "a pipe: {}", std::io::Error::last_os_error());
        File::from_raw_handle(handle)
    }
}

/// Says `ok` to everybody who says something, until it goes.
struct Squatter {
    folder: PathBuf,
    heard: JoinHandle<Vec<String>>,
}

impl Squatter {
    fn new(folder: &Path) -> Self {
        let mut pipe = pipe(folder);
        let heard = thread::spawn(move || {
            let mut heard = Vec::new();
            loop {
                // SAFETY: the handle is open.
                unsafe { ConnectNamedPipe(pipe.as_raw_handle(), ptr::null_mut()) };
                let mut line = String::new();
                let mut byte = [0];
                while !line.ends_with('\n') && pipe.read(&mut byte).is_ok_and(|count| count == 1) {
                    line.push(char::from(byte[0]));
                }
                if line == "stop\n" {
                    return heard;
                }
                if !line.is_empty() {
                    heard.push(line);
                    let _ = pipe.write_all(b"ok\n");
                }
                // SAFETY: the handle is open.
                unsafe {
                    FlushFileBuffers(pipe.as_raw_handle());
                    DisconnectNamedPipe(pipe.as_raw_handle());
                }
            }
        });
        Self { folder: folder.to_owned(), heard }
    }

    /// What it heard.
    fn stop(self) -> Vec<String> {
        let mut options = fs::OpenOptions::new();
        options.read(true).write(true);
        eventually("the pipe", || {
            options
                .open(pipe_name(&self.folder))
                .is_ok_and(|mut pipe| pipe.write_all(b"stop\n").is_ok())
        });
        self.heard.join().expect("a thread")
    }
}

fn as_stranger(place: &Place, arguments: &[&OsStr]) -> Output {
    run(place.command(arguments).env("VOLFOLD_TEST_USER", STRANGER))
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
    let squatter = Squatter::new(&place.folder);
    as_stranger(&place, &["unmount".as_ref(), folder]).code(1).says(&line);
    as_stranger(&place, &["mount".as_ref(), disk.as_os_str(), folder]).code(1).says(&line);
    assert!(squatter.stop().is_empty());
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
    let squatter = Squatter::new(&place.folder);
    let output = as_stranger(&place, &["mounts".as_ref(), "--json".as_ref()]).code(0);
    let output = output.says("is answered by another user's process");
    assert_eq!(output.json()["mounts"][0]["state"], "dead");
    assert!(squatter.stop().is_empty());
}

#[apply(test)]
fn an_administrator_can_force_another_users_mount_to_end() {
    let place = Place::new("foreign");
    let squatter = Squatter::new(&place.folder);
    let force = ["unmount".as_ref(), place.folder.as_os_str(), "--force".as_ref()];
    let mut command = place.command(&force);
    command.env("VOLFOLD_TEST_USER", STRANGER);
    run(command.env("VOLFOLD_TEST_NO_ADMINISTRATOR", "1")).code(1).says("another user's process");
    needs("an administrator", is_administrator());
    run(command.env_remove("VOLFOLD_TEST_NO_ADMINISTRATOR")).code(0);
    assert_eq!(squatter.stop(), ["force\n"]);
}

#[apply(test)]
fn the_other_side_learns_who_asks_and_cannot_act_for_them() {
    needs("impersonation by Windows itself", !is_wine());
    let place = Place::new("impersonated");
    let mut pipe = pipe(&place.folder);
    let level = thread::spawn(move || {
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
        level
    });
    place.run(&["unmount".as_ref(), place.folder.as_os_str()]);
    // SecurityIdentification.
    assert_eq!(level.join().expect("a thread"), 1);
}
