use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::{BorrowedFd, RawFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use rustix::process::{Pid, Resource, Rlimit, Signal};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use volfold_block::FileId;

/// LIMIT: open files that are asked for; Linux itself allows as many to one process by default.
const MAX_FILES: u64 = 1 << 20;

/// Calls `end` once, on a thread of its own, when the process is asked to end: `SIGINT`, `SIGTERM`,
/// or `SIGHUP` of a closed terminal.
///
/// # Errors
/// If the host refuses the handlers or the thread.
pub fn on_termination(end: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])?;
    thread::Builder::new().name("signals".to_owned()).spawn(move || {
        if signals.forever().next().is_some() {
            end();
        }
    })?;
    Ok(())
}

/// Leaves the terminal and its session, so that closing it does not end the process.
pub fn leave_terminal() {
    // Fails only for a process that leads a group already, and then there is nothing to leave.
    let _ = rustix::process::setsid();
}

/// Unix has no drives.
pub fn drive_letters() -> Vec<u8> {
    Vec::new()
}

/// Leaves the working folder, so that what it lies on can be unmounted. Paths must be absolute from
/// then on.
pub fn leave_folder() {
    let _ = std::env::set_current_dir("/");
}

/// Makes `command` start apart from the terminal, which it leaves by itself, by [`leave_terminal`];
/// with none of the files that this process was given open, but its three streams, for they would
/// stay open (and locked) as long as the new process lives.
pub fn detach(command: &mut Command) {
    command.arg0("volfold");
    for number in open_files() {
        close_on_exec(number);
    }
}

/// The numbers of the files that this process has open, but its three streams.
fn open_files() -> Vec<RawFd> {
    let listed = ["/proc/self/fd", "/dev/fd"].iter().find_map(|folder| fs::read_dir(folder).ok());
    let numbers: Vec<RawFd> = match listed {
        Some(entries) => entries
            .flatten()
            .filter_map(|entry| entry.file_name().to_str().and_then(|name| name.parse().ok()))
            .collect(),
        // Without `/proc`: what a process may have open at all, within reason.
        None => (0..1 << 16).collect(),
    };
    numbers.into_iter().filter(|number| *number > 2).collect()
}

/// Makes the file `number` stay in this process.
#[expect(unsafe_code, reason = "files that others opened are known by their number alone")]
fn close_on_exec(number: RawFd) {
    // SAFETY: the number is used for one call, which refuses one that names no open file, and it
    // closes nothing. -1, which a borrowed file may not be, is left out by the caller.
    let file = unsafe { BorrowedFd::borrow_raw(number) };
    if let Ok(flags) = rustix::io::fcntl_getfd(file) {
        let _ = rustix::io::fcntl_setfd(file, flags | rustix::io::FdFlags::CLOEXEC);
    }
}

/// Allows this process as many open files as it may allow itself: an image may have thousands of
/// extents.
pub fn raise_file_limit() {
    let Rlimit { current, maximum } = rustix::process::getrlimit(Resource::Nofile);
    let wanted = maximum.unwrap_or(u64::MAX).min(MAX_FILES);
    if current.is_some_and(|current| current < wanted) {
        let limit = Rlimit { current: Some(wanted), maximum };
        // Then it stays as it is, and what is too much is told when it is opened.
        let _ = rustix::process::setrlimit(Resource::Nofile, limit);
    }
}

/// Asks the process to end, as Ctrl-C does.
///
/// # Errors
/// If there is no such process, or it is another user's.
pub fn ask_to_end(pid: u32) -> io::Result<()> {
    let number = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let pid = number.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
    Ok(rustix::process::kill_process(pid, Signal::TERM)?)
}

/// Makes an open of a pipe return at once.
pub(super) fn never_wait(options: &mut OpenOptions) {
    let flags = rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::NOCTTY;
    options.custom_flags(i32::try_from(flags.bits()).unwrap_or(0));
}

/// The numbers of `file`.
pub(super) fn file_id(file: &File) -> Option<FileId> {
    let metadata = file.metadata().ok()?;
    Some(FileId { device: metadata.dev(), file: metadata.ino() })
}

/// The numbers of the file at `path`.
pub(super) fn id_at(path: &Path) -> Option<FileId> {
    let metadata = fs::metadata(path).ok()?;
    Some(FileId { device: metadata.dev(), file: metadata.ino() })
}

/// Where this user's folder may be, the best first.
fn candidates() -> Vec<PathBuf> {
    let user = rustix::process::geteuid().as_raw();
    let mut places = Vec::new();
    if user == 0 {
        places.push(PathBuf::from("/run/volfold"));
    }
    // With `sudo` it may be another user's, who could then not use it any more.
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|runtime| {
        runtime.is_absolute()
            && fs::metadata(runtime).is_ok_and(|facts| facts.is_dir() && facts.uid() == user)
    });
    places.extend(runtime.map(|runtime| runtime.join("volfold")));
    let outside =
        outside_number(user, &fs::read_to_string("/proc/self/uid_map").unwrap_or_default());
    places.push(std::env::temp_dir().join(format!("volfold-{outside}")));
    places
}

/// The number of `user` outside of the user namespace that has this `map`; there the user of many a
/// namespace is 0.
fn outside_number(user: u32, map: &str) -> u32 {
    let number = |line: &str| {
        let mut words = line.split_whitespace().map(|word| word.parse::<u32>().ok());
        let (inside, outside, count) = (words.next()??, words.next()??, words.next()??);
        let skip = user.checked_sub(inside).filter(|skip| *skip < count)?;
        outside.checked_add(skip)
    };
    map.lines().find_map(number).unwrap_or(user)
}

/// The folder for what is written down of this user's mounts, which only the user can enter; made
/// if it is not there.
///
/// # Errors
/// If none can be made, or others made them: which, and what to do.
pub fn state_folder() -> io::Result<PathBuf> {
    let mut reasons = Vec::new();
    for folder in candidates() {
        match own_folder(&folder) {
            Ok(()) => return Ok(folder),
            Err(error) => reasons.push(format!("{}: {error}", folder.display())),
        }
    }
    let line = format!(
        "{}; set XDG_RUNTIME_DIR or TMPDIR to a folder of yours that can be written, or use \
         --foreground",
        reasons.join("; ")
    );
    Err(io::Error::new(io::ErrorKind::PermissionDenied, line))
}

/// All folders of this user that may hold what was written down.
pub fn state_folders() -> Vec<PathBuf> {
    let user = rustix::process::geteuid().as_raw();
    let is_own = |folder: &PathBuf| {
        fs::symlink_metadata(folder).is_ok_and(|facts| facts.is_dir() && facts.uid() == user)
    };
    candidates().into_iter().filter(is_own).collect()
}

/// Makes `folder` if it is not there; checks that it is the user's, and can be written.
fn own_folder(folder: &Path) -> io::Result<()> {
    let made = fs::DirBuilder::new().mode(0o700).create(folder);
    match made {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    // In a folder for all users another one could have been first.
    let metadata = fs::symlink_metadata(folder)?;
    if !metadata.is_dir() || metadata.uid() != rustix::process::geteuid().as_raw() {
        let line = "belongs to another user; remove it";
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, line));
    }
    if metadata.permissions().mode() & 0o777 != 0o700 {
        fs::set_permissions(folder, fs::Permissions::from_mode(0o700))?;
    }
    Ok(rustix::fs::access(folder, rustix::fs::Access::WRITE_OK)?)
}

/// Whether a process with this number lives. One that ended and that no process has waited for, as in
/// containers without an init, does not.
pub fn is_running(pid: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // `pid (name) state ...`; the name may hold anything, also brackets.
    let state = status.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
    state.is_some_and(|state| !matches!(state, 'Z' | 'X'))
}

/// Why there are no symbolic links where one could not be made, if that is what `error` means.
pub fn why_no_links(error: &io::Error) -> Option<&'static str> {
    use rustix::io::Errno;
    // FAT and others answer with the first.
    let none = [Errno::PERM, Errno::OPNOTSUPP];
    none.iter()
        .any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
        .then_some("the file system of the folder has none")
}

#[cfg(test)]
mod tests {
    use std::os::fd::{AsFd, AsRawFd};

    use super::*;

    #[test]
    fn a_file_system_without_links_is_told_from_other_failures() {
        use rustix::io::Errno;
        let why = |errno: Errno| why_no_links(&io::Error::from(errno));
        assert!(why(Errno::PERM).is_some() && why(Errno::OPNOTSUPP).is_some());
        assert!(why(Errno::NOSPC).is_none() && why(Errno::ACCESS).is_none());
        assert!(why_no_links(&io::Error::other("of ours")).is_none());
    }

    #[test]
    fn a_program_that_is_started_apart_has_no_file_of_this_one() {
        let file = File::open("/dev/null").unwrap();
        rustix::io::fcntl_setfd(file.as_fd(), rustix::io::FdFlags::empty()).unwrap();
        let shown = format!("/proc/self/fd/{}", file.as_raw_fd());
        let is_open = |command: &mut Command| command.args(["-e", &shown]).status().unwrap();
        assert!(is_open(&mut Command::new("test")).success());
        let mut apart = Command::new("test");
        detach(&mut apart);
        assert!(!is_open(&mut apart).success());
    }

    #[test]
    fn a_user_of_a_namespace_has_the_number_outside() {
        assert_eq!(outside_number(1000, "         0          0 4294967295\n"), 1000);
        assert_eq!(outside_number(0, "0 1000 1\n1 100000 65536\n"), 1000);
        assert_eq!(outside_number(5, "0 1000 1\n1 100000 65536\n"), 100_004);
        assert_eq!(outside_number(7, ""), 7);
    }

    #[test]
    fn the_soft_limit_of_open_files_is_raised() {
        raise_file_limit();
        let Rlimit { current, maximum } = rustix::process::getrlimit(Resource::Nofile);
        assert!(current >= maximum.map(|maximum| maximum.min(MAX_FILES)), "{current:?}");
    }
}
