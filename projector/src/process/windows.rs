use std::fs::{File, OpenOptions};
use std::io;
use std::os::windows::io::AsRawHandle;
use std::os::windows::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use volfold_block::FileId;

use windows_sys::Win32::Foundation::{
    CloseHandle, ERROR_INVALID_FUNCTION, ERROR_NOT_SUPPORTED, ERROR_PRIVILEGE_NOT_HELD,
    HANDLE_FLAG_INHERIT, STILL_ACTIVE, SetHandleInformation,
};
use windows_sys::Win32::Storage::FileSystem::{
    BY_HANDLE_FILE_INFORMATION, GetFileInformationByHandle,
};
use windows_sys::Win32::System::Console::{
    GetStdHandle, STD_ERROR_HANDLE, STD_INPUT_HANDLE, STD_OUTPUT_HANDLE,
};
use windows_sys::Win32::System::Threading::{
    CREATE_NEW_PROCESS_GROUP, CREATE_NO_WINDOW, GetExitCodeProcess, OpenProcess,
    PROCESS_QUERY_LIMITED_INFORMATION,
};

/// Calls `end` once, on a thread of its own, when the process is asked to end: Ctrl-C, Ctrl-Break,
/// the console closing, the user signing out, the system going down.
///
/// # Errors
/// If the host refuses the handler.
pub fn on_termination(end: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let mut end = Some(end);
    ctrlc::set_handler(move || {
        if let Some(end) = end.take() {
            end();
        }
    })
    .map_err(io::Error::other)
}

/// Makes `command` start apart from the console, so that closing it does not end the process.
///
/// A new process gets every handle that may be inherited, and a reader of what this one prints
/// would wait for the new one as well; so its own are not inherited from here on.
#[expect(unsafe_code, reason = "the host is asked by its own functions")]
pub fn detach(command: &mut Command) {
    command.creation_flags(CREATE_NO_WINDOW | CREATE_NEW_PROCESS_GROUP);
    for number in [STD_INPUT_HANDLE, STD_OUTPUT_HANDLE, STD_ERROR_HANDLE] {
        // SAFETY: takes any handle; one that is none is refused.
        unsafe { SetHandleInformation(GetStdHandle(number), HANDLE_FLAG_INHERIT, 0) };
    }
}

/// Windows keeps a process's working folder for it alone.
pub fn leave_folder() {}

/// Windows has no limit of open files.
pub fn raise_file_limit() {}

/// Other processes are not asked here: mounts are freed through their folders.
///
/// # Errors
/// Always.
pub fn ask_to_end(_pid: u32) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// To open a pipe never waits here.
pub(super) fn never_wait(_options: &mut OpenOptions) {}

/// The numbers of `file`.
#[expect(unsafe_code, reason = "the host is asked by its own functions")]
pub(super) fn file_id(file: &File) -> Option<FileId> {
    let mut facts = BY_HANDLE_FILE_INFORMATION::default();
    // SAFETY: the handle is open as long as `file`, and `facts` is a valid place.
    let told = unsafe { GetFileInformationByHandle(file.as_raw_handle(), &raw mut facts) };
    (told != 0).then(|| FileId {
        device: facts.dwVolumeSerialNumber.into(),
        file: (u64::from(facts.nFileIndexHigh) << 32) | u64::from(facts.nFileIndexLow),
    })
}

/// The numbers of the file at `path`.
pub(super) fn id_at(path: &Path) -> Option<FileId> {
    file_id(&File::open(path).ok()?)
}

/// Leaves the terminal; a process that was started by [`detach`] has none.
pub fn leave_terminal() {}

/// The folder for what is written down of this user's mounts; made if it is not there.
///
/// # Errors
/// If it cannot be made.
pub fn state_folder() -> io::Result<PathBuf> {
    let local = std::env::var_os("LOCALAPPDATA").map(PathBuf::from).or_else(|| {
        std::env::var_os("USERPROFILE").map(|home| PathBuf::from(home).join(r"AppData\Local"))
    });
    let Some(local) = local else {
        return Err(io::Error::new(io::ErrorKind::NotFound, "%LOCALAPPDATA% is not set"));
    };
    let folder = local.join("volfold");
    std::fs::create_dir_all(&folder)?;
    Ok(folder)
}

/// All folders of this user that may hold what was written down.
pub fn state_folders() -> Vec<PathBuf> {
    state_folder().into_iter().collect()
}

/// Whether a process with this number lives.
#[expect(unsafe_code, reason = "the host is asked by its own functions")]
pub fn is_running(pid: u32) -> bool {
    // SAFETY: the handle is closed once, and not used after that.
    unsafe {
        let process = OpenProcess(PROCESS_QUERY_LIMITED_INFORMATION, 0, pid);
        if process.is_null() {
            return false;
        }
        let mut code = 0;
        let told = GetExitCodeProcess(process, &raw mut code);
        CloseHandle(process);
        told != 0 && code == STILL_ACTIVE.cast_unsigned()
    }
}

/// Why there are no symbolic links where one could not be made, if that is what `error` means.
pub fn why_no_links(error: &io::Error) -> Option<&'static str> {
    let code = u32::try_from(error.raw_os_error()?).ok()?;
    match code {
        ERROR_PRIVILEGE_NOT_HELD => {
            Some("only administrators, and users in Developer Mode, may make them")
        }
        ERROR_INVALID_FUNCTION | ERROR_NOT_SUPPORTED => {
            Some("the file system of the folder has none")
        }
        _ => None,
    }
}
