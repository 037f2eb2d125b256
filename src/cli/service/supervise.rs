//! What the service does: each mount of its list has a thread, which mounts it, looks whether its
//! process lives, mounts it again when it died, and frees it at the end.

use std::ffi::OsString;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use volfold_fs::Timestamp;
use volfold_projector::process::service::{self, ServiceStop};
use volfold_projector::{PROJECTORS, process};

use super::call::{Called, call};
use super::files::{LIST, LOG, RECORDS, STATUS};
use super::list::{ListedMount, MountList};
use crate::cli::mount_record::{FREED, MountRecord, freed_marker_in, read_json};
use crate::cli::text;

/// How often a mount is looked at.
const POLL: Duration = Duration::from_secs(2);

/// How long a mount that fails waits at most; its image may be on a disk that comes later.
const MAX_DELAY: Duration = Duration::from_secs(60);

/// A mount that lived so long is mounted again at once.
const STABLE: Duration = Duration::from_secs(60);

/// How often what will soon be done is looked at.
const MOMENT: Duration = Duration::from_millis(20);

/// How long the service waits for its mounts to end.
const END_TIME: Duration = Duration::from_secs(30);

/// LIMIT: bytes of the log after which it is begun anew.
const MAX_LOG: u64 = 4 << 20;

/// What `service status` shows of a mount.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct MountStatus {
    /// The folder or drive.
    pub(super) place: PathBuf,
    /// `mounted`, `waiting` for the next try, or `freed` by an administrator.
    pub(super) state: String,
    /// Its process.
    pub(super) pid: Option<u32>,
    /// Why it could not be mounted when it was tried last.
    pub(super) error: Option<String>,
}

/// Mounts the list until the service is told to stop. Windows shows the error as the service's own.
///
/// # Errors
/// If there is no list, or a wrong one.
pub(super) fn serve(stop: &mut ServiceStop) -> io::Result<()> {
    let folder = service::system_folder()?;
    let log = Arc::new(Log { path: folder.join(LOG), lock: Mutex::new(()) });
    let list = match MountList::read(&folder.join(LIST)) {
        Ok(list) => list.mount,
        Err(line) => {
            log.line(&line);
            return Err(io::Error::new(io::ErrorKind::InvalidData, line));
        }
    };
    forget_freed(&folder.join(RECORDS));
    end_strays(&folder.join(STATUS), &list, &log);
    let _ = fs::remove_file(folder.join(STATUS));
    let board = Arc::new(Board { file: folder.join(STATUS), mounts: Mutex::default() });
    let mut ends = Vec::new();
    let mut threads = Vec::new();
    for (number, mount) in list.into_iter().enumerate() {
        let (end, ended) = channel();
        let watch = Watch::new(mount, number, &log, &board);
        ends.push(end);
        threads.push(
            thread::Builder::new().name("mount".to_owned()).spawn(move || watch.run(&ended))?,
        );
    }
    while !stop.wait(MAX_DELAY) {}
    log.line("asked to stop");
    end_all(ends, &threads, stop);
    let _ = fs::remove_file(&board.file);
    Ok(())
}

/// Tells all threads to free their mounts, and waits for them, within a bound.
fn end_all(ends: Vec<Sender<()>>, threads: &[JoinHandle<()>], stop: &mut ServiceStop) {
    stop.is_stopping();
    drop(ends);
    let (start, mut told) = (Instant::now(), Instant::now());
    while threads.iter().any(|thread| !thread.is_finished()) && start.elapsed() < END_TIME {
        thread::sleep(MOMENT);
        if told.elapsed() > Duration::from_secs(1) {
            stop.is_stopping();
            told = Instant::now();
        }
    }
}

/// Frees what a service mounted that was ended, and that the list does not have any more.
fn end_strays(status: &Path, list: &[ListedMount], log: &Log) {
    let before: Vec<MountStatus> = read_json(status).unwrap_or_default();
    // A listed one that is dead is mounted again.
    let is_listed = |place: &Path| match list.iter().find(|mount| mount.place() == place) {
        Some(mount) => {
            own_record(place).is_none_or(|record| !record.is_alive() || record.is_of(mount.disks()))
        }
        None => false,
    };
    for MountStatus { place, .. } in before.into_iter().filter(|old| old.state == "mounted") {
        if !is_listed(&place) {
            let (_, said) = call(&unmount(&place), None);
            log.line(&format!("{}: is not in the list any more, freed. {said}", place.display()));
        }
    }
}

/// What a process of SYSTEM wrote down of its mount at `place`: no one else's word counts.
fn own_record(place: &Path) -> Option<MountRecord> {
    MountRecord::in_folder(&service::system_path().ok()?.join(RECORDS), place)
}

fn unmount(place: &Path) -> [OsString; 4] {
    ["unmount".into(), "--force".into(), "--".into(), place.into()]
}

/// What an administrator freed is mounted again when the service starts.
fn forget_freed(records: &Path) {
    let entries = fs::read_dir(records).into_iter().flatten().flatten();
    for entry in entries.filter(|entry| entry.path().extension() == Some(FREED.as_ref())) {
        let _ = fs::remove_file(entry.path());
    }
}

/// How long to wait after so many failures in a row: not at all, then 1 s, 2 s, 4 s up to a minute.
fn delay(failures: u32) -> Duration {
    let seconds = match failures {
        0 => 0,
        more => 1_u64.checked_shl(more - 1).unwrap_or(u64::MAX),
    };
    Duration::from_secs(seconds).min(MAX_DELAY)
}

enum State {
    Waiting,
    Mounted(Instant),
    Freed,
}

/// One mount of the list, watched.
struct Watch {
    mount: ListedMount,
    place: PathBuf,
    number: usize,
    state: State,
    failures: u32,
    /// What was written to the log last, which is not written twice.
    said: String,
    log: Arc<Log>,
    board: Arc<Board>,
}

impl Watch {
    fn new(mount: ListedMount, number: usize, log: &Arc<Log>, board: &Arc<Board>) -> Self {
        Self {
            place: mount.place(),
            mount,
            number,
            state: State::Waiting,
            failures: 0,
            said: String::new(),
            log: Arc::clone(log),
            board: Arc::clone(board),
        }
    }

    fn run(mut self, ended: &Receiver<()>) {
        let mut pause = Duration::ZERO;
        while ended.recv_timeout(pause) == Err(RecvTimeoutError::Timeout) {
            pause = match self.state {
                State::Waiting => self.try_to_mount(ended),
                State::Mounted(since) => self.look(since),
                State::Freed => MAX_DELAY,
            };
        }
        if matches!(self.state, State::Mounted(_)) {
            let (_, said) = call(&unmount(&self.place), None);
            self.say(&format!("freed. {said}"));
        }
    }

    fn say(&mut self, line: &str) {
        if self.said != line {
            self.log.line(&format!("{}: {}", self.place.display(), line.trim_end()));
            line.clone_into(&mut self.said);
        }
    }

    /// Mounts, unless it is `ended` before; how long to wait until the next look.
    fn try_to_mount(&mut self, ended: &Receiver<()>) -> Duration {
        if self.is_freed() {
            return MAX_DELAY;
        }
        let own = own_record(&self.place).filter(MountRecord::is_alive);
        let was = own.is_some_and(|record| record.is_of(self.mount.disks()));
        let (done, said) = match was && is_mounted(&self.place) {
            // Of a service that was ended, and whose mounts went on.
            true => (Called::All, "was mounted before".to_owned()),
            false => call(&self.mount.arguments(), Some(ended)),
        };
        if done == Called::BrokenOff {
            // It may have been ready in its last moment; its process has written that down then.
            if own_record(&self.place).is_some_and(|record| record.is_alive()) {
                call(&unmount(&self.place), None);
            }
            self.say("was being mounted, and is not: the service stops");
            return Duration::ZERO;
        }
        if done != Called::Nothing {
            self.say(&format!("mounted. {said}"));
            self.state = State::Mounted(Instant::now());
            self.forget_stale_mark();
            // What is missing on it stays told.
            self.post("mounted", (done == Called::Part).then_some(said));
            return POLL;
        }
        self.say(&format!("not mounted: {said}"));
        self.failures = self.failures.saturating_add(1);
        self.post("waiting", Some(said));
        delay(self.failures)
    }

    /// Looks whether the mount is there; how long to wait until the next look.
    fn look(&mut self, since: Instant) -> Duration {
        let lives = match own_record(&self.place) {
            Some(record) => record.is_alive(),
            None => is_mounted(&self.place),
        };
        if lives {
            return POLL;
        }
        if self.is_freed() {
            return MAX_DELAY;
        }
        self.say("its process has ended; it is mounted again");
        self.state = State::Waiting;
        self.failures = if since.elapsed() > STABLE { 0 } else { self.failures.saturating_add(1) };
        self.post("waiting", Some("its process has ended".to_owned()));
        // The first time at once.
        delay(self.failures.saturating_sub(1))
    }

    /// The file by which an administrator tells that it was freed.
    fn mark(&self) -> Option<PathBuf> {
        let records = service::system_path().ok()?.join(RECORDS);
        Some(freed_marker_in(&records, &self.place))
    }

    /// Whether an administrator freed it; then that is told, and it stays so.
    fn is_freed(&mut self) -> bool {
        if !self.mark().is_some_and(|mark| mark.exists()) {
            return false;
        }
        self.state = State::Freed;
        self.say("was freed by an administrator; the next start of the service mounts it");
        self.post("freed", None);
        true
    }

    /// Removes the mark of one who freed what had died while it was being mounted again.
    fn forget_stale_mark(&self) {
        if own_record(&self.place).is_some_and(|record| record.is_alive()) {
            let _ = self.mark().map(fs::remove_file);
        }
    }

    fn post(&self, state: &str, error: Option<String>) {
        let record = (state == "mounted").then(|| own_record(&self.place)).flatten();
        self.board.post(
            self.number,
            MountStatus {
                place: self.place.clone(),
                state: state.to_owned(),
                pid: record.map(|record| record.pid),
                error,
            },
        );
    }
}

fn is_mounted(place: &Path) -> bool {
    PROJECTORS.first().is_some_and(|projector| projector.is_mounted(place).unwrap_or(false))
}

/// What all threads know, as `service status` reads it.
struct Board {
    file: PathBuf,
    mounts: Mutex<Vec<(usize, MountStatus)>>,
}

impl Board {
    /// A state that cannot be written is not shown.
    fn post(&self, number: usize, status: MountStatus) {
        let mut mounts = self.mounts.lock();
        mounts.retain(|(other, _)| *other != number);
        mounts.push((number, status));
        mounts.sort_by_key(|(number, _)| *number);
        let all: Vec<&MountStatus> = mounts.iter().map(|(_, status)| status).collect();
        let Ok(bytes) = serde_json::to_vec(&all) else { return };
        let new = self.file.with_extension("new");
        // Who reads it just now may keep it from being replaced.
        for _ in 0..50 {
            if fs::write(&new, &bytes).and_then(|()| fs::rename(&new, &self.file)).is_ok() {
                return;
            }
            thread::sleep(MOMENT);
        }
    }
}

/// The service's log file; a line that cannot be written is lost.
struct Log {
    path: PathBuf,
    lock: Mutex<()>,
}

impl Log {
    fn line(&self, line: &str) {
        let _one_at_a_time = self.lock.lock();
        if fs::metadata(&self.path).is_ok_and(|metadata| metadata.len() > MAX_LOG) {
            let _ = fs::remove_file(&self.path);
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let seconds = i64::try_from(now.as_secs()).unwrap_or_default();
        let time = Timestamp { seconds, nanoseconds: 0 };
        let mut options = fs::OpenOptions::new();
        let options = options.create(true).append(true);
        let opened = process::open_writable(&self.path, options, &process::ImageFiles::default());
        if let Ok(mut file) = opened {
            let _ = writeln!(file, "{time} {}", text::plain(line));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_tried_again_at_once_and_then_ever_later_up_to_a_minute() {
        let seconds = |failures| delay(failures).as_secs();
        assert_eq!(
            [0, 1, 2, 3, 6, 7, 64, 65, u32::MAX].map(seconds),
            [0, 1, 2, 4, 32, 60, 60, 60, 60]
        );
    }
}
