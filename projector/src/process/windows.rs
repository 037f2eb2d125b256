use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::windows::ffi::OsStringExt;
use std::os::windows::io::{AsRawHandle, FromRawHandle, OwnedHandle};
use std::os::windows::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use volfold_block::FileId;

use windows_sys::Win32::Foundation::{
    ERROR_INVALID_FUNCTION, ERROR_NOT_SUPPORTED, ERROR_PRIVILEGE_NOT_HELD, FILETIME,
    HANDLE_FLAG_INHERIT, STILL_ACTIVE, SetHandleInformation, WAIT_OBJECT_0,
};
use windows_sys::Win32::Storage::FileSystem::{
    BY_HANDLE_FILE_INFORMATION, GetFileInformationByHandle, GetLogicalDrives, SYNCHRONIZE,
};
use windows_sys::Win32::System::Console::{
    GetStdHandle, STD_ERROR_HANDLE, STD_INPUT_HANDLE, STD_OUTPUT_HANDLE,
};
use windows_sys::Win32::System::Threading::{
    CREATE_NEW_PROCESS_GROUP, CREATE_NO_WINDOW, GetCurrentProcess, GetExitCodeProcess,
    GetProcessTimes, OpenProcess, PROCESS_QUERY_LIMITED_INFORMATION, PROCESS_TERMINATE,
    QueryFullProcessImageNameW, TerminateProcess, WaitForSingleObject,
};

use super::{Owner, security};

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

/// The letters that drives have, in upper case: also those without a medium, which no file can be
/// asked of.
#[expect(unsafe_code, reason = "the host is asked by its own functions")]
pub fn drive_letters() -> Vec<u8> {
    // SAFETY: takes nothing.
    let drives = unsafe { GetLogicalDrives() };
    (b'A'..=b'Z').filter(|letter| drives >> (letter - b'A') & 1 != 0).collect()
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

/// The folder for what is written down of this user's mounts; made if it is not there. SYSTEM's is
/// where the administrators find it.
///
/// # Errors
/// If it cannot be made.
pub fn state_folder() -> io::Result<PathBuf> {
    if own_kind() == Owner::Service {
        return super::service::records_folder();
    }
    let local = std::env::var_os("LOCALAPPDATA")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("USERPROFILE").map(|home| PathBuf::from(home).join(LOCAL)));
    let Some(local) = local else {
        return Err(io::Error::new(io::ErrorKind::NotFound, "%LOCALAPPDATA% is not set"));
    };
    let folder = local.join("volfold");
    std::fs::create_dir_all(&folder)?;
    Ok(folder)
}

/// Whose mounts the folder of [`state_folder`] tells of.
pub fn own_kind() -> Owner {
    match security::acting_user() {
        Ok(user) if user == security::SYSTEM => Owner::Service,
        _ => Owner::Own,
    }
}

/// All folders of this user that may hold what was written down.
pub fn state_folders() -> Vec<PathBuf> {
    state_folder().into_iter().collect()
}

/// Where a profile has what programs keep for its user.
const LOCAL: &str = r"AppData\Local";

/// The folders of others that this process may read, as one of an administrator.
pub fn state_folders_of_others() -> Vec<(Owner, PathBuf)> {
    if !security::is_administrator() {
        return Vec::new();
    }
    let own = state_folder().ok();
    let system = super::service::trusted_records();
    let mut folders: Vec<_> = system.into_iter().map(|folder| (Owner::Service, folder)).collect();
    let users =
        std::env::var_os("PUBLIC").and_then(|public| Some(Path::new(&public).parent()?.to_owned()));
    for profile in
        users.and_then(|users| std::fs::read_dir(users).ok()).into_iter().flatten().flatten()
    {
        let folder = profile.path().join(LOCAL).join("volfold");
        folders.push((Owner::Other(profile.file_name().display().to_string()), folder));
    }
    folders.retain(|(_, folder)| own.as_ref() != Some(folder) && folder.is_dir());
    folders
}

/// Ends this process at once, whatever its threads do.
#[expect(unsafe_code, reason = "the host is asked by its own functions")]
pub fn end_at_once(code: u8) -> ! {
    // SAFETY: the pseudo handle is always valid. To exit in order would wait for libraries, which may
    // wait for the threads that hang.
    unsafe { TerminateProcess(GetCurrentProcess(), code.into()) };
    std::process::exit(code.into())
}

/// Ends the process with this number, of which the file `record` tells: one of this program that began
/// before it was written, since a number is given again to another; and one of its owner, since a user
/// may write anything there.
///
/// # Errors
/// `NotFound` if it is another one, or why the host refuses.
#[expect(unsafe_code, reason = "the host is asked by its own functions")]
pub fn kill(pid: u32, record: &Path) -> io::Result<()> {
    let since = std::fs::metadata(record)?.modified()?;
    let owner = security::owner(record)?;
    let process = open(pid, PROCESS_QUERY_LIMITED_INFORMATION | PROCESS_TERMINATE | SYNCHRONIZE)?;
    let own = std::env::current_exe()?;
    let is_ours = image_of(&process)?.file_name() == own.file_name();
    // What an administrator makes is owned by them all.
    let is_owners = [security::SYSTEM, security::ADMINISTRATORS].contains(&owner.as_str())
        || owner == security::user_of_process(pid)?;
    if !is_ours || !is_owners || began(&process)? > since {
        return Err(io::Error::new(io::ErrorKind::NotFound, "is not the process of the mount"));
    }
    // SAFETY: the handle is open and has these rights.
    unsafe {
        if TerminateProcess(process.as_raw_handle(), 3) == 0 {
            return Err(io::Error::last_os_error());
        }
        // It goes when its requests to the system do, which may take some time.
        match WaitForSingleObject(process.as_raw_handle(), 5000) {
            WAIT_OBJECT_0 => Ok(()),
            _ => {
                let line = "is told to end, and waits for a read that does not";
                Err(io::Error::new(io::ErrorKind::TimedOut, line))
            }
        }
    }
}

/// Opens the process with this number.
#[expect(unsafe_code, reason = "the host is asked by its own functions")]
fn open(pid: u32, rights: u32) -> io::Result<OwnedHandle> {
    // SAFETY: the handle is closed once, by its owner.
    unsafe {
        let process = OpenProcess(rights, 0, pid);
        match process.is_null() {
            true => Err(io::Error::last_os_error()),
            false => Ok(OwnedHandle::from_raw_handle(process)),
        }
    }
}

/// The file of the program that a process runs.
#[expect(unsafe_code, reason = "the host is asked by its own functions")]
fn image_of(process: &OwnedHandle) -> io::Result<PathBuf> {
    let mut units = [0_u16; 1024];
    let mut size = u32::try_from(units.len()).unwrap_or(0);
    // SAFETY: the handle is open, and the size is that of the buffer.
    let told = unsafe {
        QueryFullProcessImageNameW(process.as_raw_handle(), 0, units.as_mut_ptr(), &raw mut size)
    };
    if told == 0 {
        return Err(io::Error::last_os_error());
    }
    let length = usize::try_from(size).unwrap_or(0);
    Ok(OsString::from_wide(units.get(..length).unwrap_or_default()).into())
}

/// When a process began.
#[expect(unsafe_code, reason = "the host is asked by its own functions")]
fn began(process: &OwnedHandle) -> io::Result<SystemTime> {
    /// From 1601 to 1970, in units of 100 ns.
    const UNIX_EPOCH_IN_TICKS: u64 = 116_444_736_000_000_000;
    let [mut began, mut ended, mut kernel, mut user] = [FILETIME::default(); 4];
    // SAFETY: the handle is open, and the places are valid.
    let told = unsafe {
        let (began, ended) = (&raw mut began, &raw mut ended);
        GetProcessTimes(process.as_raw_handle(), began, ended, &raw mut kernel, &raw mut user)
    };
    if told == 0 {
        return Err(io::Error::last_os_error());
    }
    let ticks = u64::from(began.dwHighDateTime) << 32 | u64::from(began.dwLowDateTime);
    let nanoseconds = ticks.saturating_sub(UNIX_EPOCH_IN_TICKS).saturating_mul(100);
    Ok(SystemTime::UNIX_EPOCH + Duration::from_nanos(nanoseconds))
}

/// Whether a process with this number lives that began before `since`; the number of one that ended
/// is given again.
pub fn is_running_since(pid: u32, since: SystemTime) -> bool {
    let process = open(pid, PROCESS_QUERY_LIMITED_INFORMATION);
    process
        .is_ok_and(|process| lives(&process) && began(&process).is_ok_and(|began| began <= since))
}

/// Whether a process with this number lives.
pub fn is_running(pid: u32) -> bool {
    open(pid, PROCESS_QUERY_LIMITED_INFORMATION).is_ok_and(|process| lives(&process))
}

#[expect(unsafe_code, reason = "the host is asked by its own functions")]
fn lives(process: &OwnedHandle) -> bool {
    let mut code = 0;
    // SAFETY: the handle is open, and `code` is a valid place.
    let told = unsafe { GetExitCodeProcess(process.as_raw_handle(), &raw mut code) };
    told != 0 && code == STILL_ACTIVE.cast_unsigned()
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
