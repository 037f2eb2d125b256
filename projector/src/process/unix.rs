use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

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

/// Makes `command` start apart from the terminal; it leaves it by itself, by [`leave_terminal`].
pub fn detach(_command: &mut Command) {}

/// The folder for what is written down of this user's mounts, which only the user can enter; made
/// if it is not there.
///
/// # Errors
/// If it cannot be made, or another user made it.
pub fn state_folder() -> io::Result<PathBuf> {
    let user = rustix::process::geteuid().as_raw();
    let folder = match std::env::var_os("XDG_RUNTIME_DIR") {
        Some(runtime) if user != 0 && Path::new(&runtime).is_dir() => {
            PathBuf::from(runtime).join("volfold")
        }
        _ if user == 0 => PathBuf::from("/run/volfold"),
        _ => std::env::temp_dir().join(format!("volfold-{user}")),
    };
    let made = fs::DirBuilder::new().mode(0o700).create(&folder);
    match made {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    // In a folder for all users another one could have been first.
    let metadata = fs::symlink_metadata(&folder)?;
    if !metadata.is_dir() || metadata.uid() != user {
        let line = format!("{} belongs to another user; remove it", folder.display());
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, line));
    }
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o700))?;
    Ok(folder)
}

/// Whether a process with this number lives. One that ended and that no process has waited for, as in
/// containers without an init, does not.
pub fn is_running(pid: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // `pid (name) state ...`; the name may hold anything, also brackets.
    let state = status.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
    state.is_some_and(|state| !matches!(state, 'Z' | 'X'))
}
