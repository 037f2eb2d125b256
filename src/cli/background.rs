//! A command that goes on in the background.
//!
//! It is this program again, started anew (a program with threads must not fork). It reports on its
//! stdout, which is a pipe to the parent: lines of talk and of the answer, then `ready` or the exit
//! code. From then on it writes to its log file alone.

use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use volfold_fs::Timestamp;
use volfold_projector::process::{self, ImageFiles, open_writable};

use super::key_argument::KeyArgument;
use super::keys;
use super::outcome::Outcome;
use super::text;

/// How long `unmount` and `detach` wait for the process to close the images.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// How long a process that was told to end goes on for programs that still have files open.
pub(crate) const GRACE: Duration = Duration::from_secs(3);

/// Starts this command again with `--background-log LOG` and `more`, and returns when it is ready or
/// has ended. Of `keys` it is handed what it cannot read itself, by its stdin.
pub(crate) fn start(log: &Path, more: &[&OsStr], keys: &[KeyArgument]) -> io::Result<Outcome> {
    let keys = keys::to_hand_on(keys);
    let mut given = super::helper::arguments().into_iter().skip(1);
    // Before all else, since after `--` it would be one more path.
    let mut arguments = Vec::from_iter(given.next());
    arguments.extend(["--background-log".into(), log.into()]);
    arguments.extend(more.iter().map(|word| (*word).to_owned()));
    arguments.extend(given);
    let mut command = super::helper::own_process(arguments)?;
    let stdin = if keys.is_some() { Stdio::piped() } else { Stdio::null() };
    command.stdin(stdin).stdout(Stdio::piped()).stderr(log_writer(log, true)?);
    process::detach(&mut command);
    let mut child = command.spawn()?;
    if let (Some(keys), Some(stdin)) = (keys, child.stdin.take()) {
        // One that has ended says why on its stdout.
        let _ = keys::hand_on(&keys, stdin);
    }
    let Some(report) = child.stdout.take() else {
        return Ok(Outcome::Nothing);
    };
    for line in BufReader::new(report).lines() {
        match line?.split_once(' ') {
            Some(("say", talk)) => text::complain(format_args!("{talk}")),
            Some(("answer", line)) => {
                // A parent whose output is closed still has what was made.
                let _ = text::answer(format!("{line}\n").as_bytes());
            }
            Some(("ready", code)) => {
                return Ok(if code == "3" { Outcome::Part } else { Outcome::Done });
            }
            _ => {}
        }
    }
    let status = child.wait()?;
    if status.code() != Some(1) {
        text::complain(format_args!(
            "the background process ended ({status}); see {}",
            log.display()
        ));
    }
    Ok(Outcome::Nothing)
}

/// Takes in the keys that [`start`] hands on, before anything else is done.
pub(crate) fn take_keys(arguments: &[KeyArgument]) -> io::Result<()> {
    match arguments.iter().any(|argument| argument.place.is_only_here()) {
        true => keys::take_handed(io::stdin().lock()),
        false => Ok(()),
    }
}

/// One line for the parent; what it tells of may have names with line feeds.
fn report(what: &str, line: &str) {
    let _ = writeln!(io::stdout().lock(), "{what} {}", line.replace(['\n', '\r'], " "));
}

/// Opens the log, which lies in this user's folder; emptied if it is a `new` one.
fn log_writer(log: &Path, new: bool) -> io::Result<File> {
    if !process::state_folders().iter().any(|folder| log.parent() == Some(folder.as_path())) {
        let line = format!("{}: is not in the folder of the logs", log.display());
        return Err(io::Error::new(io::ErrorKind::InvalidInput, line));
    }
    let mut options = OpenOptions::new();
    options.create(true).append(true);
    let file = open_writable(log, &mut options, &ImageFiles::default())?;
    if new {
        file.set_len(0)?;
    }
    Ok(file)
}

/// Where the messages of a mount go: to the parent first, then to the log.
#[derive(Clone)]
pub(crate) struct Talk {
    log: Option<Arc<Mutex<File>>>,
    to_parent: bool,
}

impl Talk {
    pub(crate) fn new(background_log: Option<&Path>) -> Self {
        let log = background_log.and_then(|path| log_writer(path, false).ok());
        Self {
            log: log.map(|file| Arc::new(Mutex::new(file))),
            to_parent: background_log.is_some(),
        }
    }

    pub(crate) fn say(&self, line: &str) {
        if self.to_parent {
            report("say", line);
        }
        self.note(line);
    }

    /// A line for the log alone; in the foreground for stderr.
    pub(crate) fn note(&self, line: &str) {
        match &self.log {
            Some(log) => {
                let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                let seconds = i64::try_from(now.as_secs()).unwrap_or_default();
                let time = Timestamp { seconds, nanoseconds: 0 };
                let _ = writeln!(log.lock(), "{time} {}", text::plain(line));
            }
            None => text::complain(format_args!("{line}")),
        }
    }

    /// A line of the answer.
    pub(crate) fn answer(&self, line: &str) {
        if self.to_parent {
            report("answer", line);
        } else {
            // A reader that is gone wants no answer.
            let _ = text::answer(format!("{line}\n").as_bytes());
        }
    }

    /// Whether there is a log.
    pub(crate) fn has_log(&self) -> bool {
        self.log.is_some()
    }

    /// Lets the parent go.
    pub(crate) fn ready(&self, outcome: Outcome) {
        if self.to_parent {
            let code = if outcome == Outcome::Part { 3 } else { 0 };
            report("ready", &code.to_string());
        }
    }
}
