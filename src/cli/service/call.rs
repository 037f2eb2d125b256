//! Calls of this program by the service.

use std::ffi::OsString;
#[cfg(debug_assertions)]
use std::fs;
use std::io::{self, Read};
use std::process::{Child, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use volfold_projector::process;
#[cfg(debug_assertions)]
use volfold_projector::process::service;

/// How often a call is looked at.
const MOMENT: Duration = Duration::from_millis(20);

/// LIMIT: bytes of what a call said that are kept.
const MAX_SAID: u64 = 1 << 20;

/// What a call of this program did.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Called {
    All,
    Part,
    Nothing,
    /// It was ended, because the service stops.
    BrokenOff,
}

/// Calls this program, and ends it when the service has `ended` before; what it did, and what it said.
pub(super) fn call(arguments: &[OsString], ended: Option<&Receiver<()>>) -> (Called, String) {
    let run = || {
        let mut command = crate::cli::helper::own_process(arguments)?;
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        #[cfg(debug_assertions)]
        command.envs(test_variables());
        process::detach(&mut command);
        let mut child = command.spawn()?;
        let said = child.stderr.take().map(listen).transpose()?;
        let status = wait(&mut child, ended)?;
        let said = said.and_then(|said| said.join().ok()).unwrap_or_default();
        Ok::<_, io::Error>((status, said))
    };
    match run() {
        Ok((None, _)) => (Called::BrokenOff, String::new()),
        Ok((Some(status), said)) => {
            let said = String::from_utf8_lossy(&said);
            let lines = said.lines().map(|line| line.strip_prefix("volfold: ").unwrap_or(line));
            let said = lines.collect::<Vec<_>>().join("; ");
            match status.code() {
                Some(0) => (Called::All, said),
                Some(3) => (Called::Part, said),
                Some(1 | 2) if !said.is_empty() => (Called::Nothing, said),
                _ => (Called::Nothing, format!("{said} ({status})")),
            }
        }
        Err(error) => (Called::Nothing, error.to_string()),
    }
}

/// Reads to the end of `pipe`, on a thread of its own: a full one would stop who writes.
fn listen(mut pipe: impl Read + Send + 'static) -> io::Result<JoinHandle<Vec<u8>>> {
    thread::Builder::new().name("call".to_owned()).spawn(move || {
        let mut said = Vec::new();
        // What was read until then is told.
        let _ = (&mut pipe).take(MAX_SAID).read_to_end(&mut said);
        let _ = io::copy(&mut pipe, &mut io::sink());
        said
    })
}

/// Waits for the end of `child`; `None` if the service has `ended` before, and so it was ended.
fn wait(child: &mut Child, ended: Option<&Receiver<()>>) -> io::Result<Option<ExitStatus>> {
    let Some(ended) = ended else { return child.wait().map(Some) };
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if ended.recv_timeout(MOMENT) != Err(RecvTimeoutError::Timeout) {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
    }
}

/// What tests want the mounts of the service to find in their environment, for a service manager of
/// wine gives all services that of its own start.
#[cfg(debug_assertions)]
fn test_variables() -> Vec<(String, String)> {
    let file = service::system_path().map(|folder| folder.join("test-variables"));
    let text = file.and_then(fs::read_to_string).unwrap_or_default();
    let pairs = text.lines().filter_map(|line| line.split_once('='));
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}
