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

/// Whether a process with this number lives.
pub fn is_running(pid: u32) -> bool {
    let pid = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw);
    pid.is_some_and(|pid| match rustix::process::test_kill_process(pid) {
        Ok(()) => true,
        Err(error) => error == rustix::io::Errno::PERM,
    })
}
