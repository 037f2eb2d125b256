//! What a mount that goes on in the background needs of the host.

use std::io;
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

/// The number of the user who runs this process.
pub fn user_id() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// Whether a process with this number lives. One that ended and that nobody has waited for, as in
/// containers without an init, does not.
pub fn is_running(pid: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // `pid (name) state ...`; the name may hold anything, also brackets.
    let state = status.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
    state.is_some_and(|state| !matches!(state, 'Z' | 'X'))
}
