//! Disks and volumes for the iSCSI initiator that Windows brings: no driver of ours or of others.
//!
//! A process in the background serves them on the loopback address, to who knows a secret that is made
//! for it. What it serves is written down in its folder before Windows is told, so that the next call
//! can clear away what a killed one left: sessions and the portal.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::windows::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use volfold::DiskSet;
use volfold_projector::block::Export;
use volfold_projector::block::iscsi::{Chap, Iscsi};
use volfold_projector::block::serve::{Address, Server};
use volfold_projector::process::{ImageFiles, open_writable};
use volfold_projector::{Log, process};

use self::initiator::Told;
use super::shared::{
    AttachArguments, DetachArguments, begin, none_is, not_written, outcome_of, outcome_of_count,
    records, still_reads, way,
};
use crate::cli::background::{PATIENCE, Talk};
use crate::cli::devices::Device;
use crate::cli::mount_record::{MountRecord, read_json};
use crate::cli::outcome::Outcome;
use crate::cli::targets::targets;
use crate::cli::text;

mod initiator;

/// The user's name for the login; the secret is another one each time.
const USER: &str = "volfold";

/// How long the process goes on without a session; the initiator comes again within a minute.
const IDLE: Duration = Duration::from_secs(120);

/// How often the process looks whether it is to end.
const MOMENT: Duration = Duration::from_millis(200);

/// How many lines about clients the log takes.
const MAX_LOG_LINES: u64 = 1000;

/// What a process serves, as it is written down.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Served {
    address: String,
    port: u16,
    targets: Vec<ServedTarget>,
}

#[derive(Debug, Serialize, Deserialize)]
struct ServedTarget {
    name: String,
    disk: Option<u32>,
}

impl Served {
    fn read(folder: &Path) -> Option<Self> {
        read_json(&folder.join("iscsi.json"))
    }

    /// Writes it, whole or not at all.
    fn write(&self, folder: &Path) -> io::Result<()> {
        let new = folder.join("iscsi.new");
        fs::write(&new, serde_json::to_vec_pretty(self)?)?;
        fs::rename(new, folder.join("iscsi.json"))
    }

    fn names(&self) -> Vec<&str> {
        self.targets.iter().map(|target| target.name.as_str()).collect()
    }

    fn disks(&self) -> Vec<u32> {
        self.targets.iter().filter_map(|target| target.disk).collect()
    }
}

/// The name of a disk for programs.
fn device(disk: u32) -> String {
    format!(r"\\.\PhysicalDrive{disk}")
}

/// Whether this user may attach is told by Windows, when it is asked.
#[expect(clippy::unnecessary_wraps, reason = "other hosts lack things")]
pub(super) fn check_host() -> Result<(), String> {
    Ok(())
}

/// The file of `folder` that its process keeps open, and nobody else can open: unlike its number it
/// tells for certain whether it lives.
fn lock(folder: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false).share_mode(0);
    open_writable(&folder.join("alive"), &mut options, &ImageFiles::default())
}

/// Whether the process that serves from `folder` lives; until it has begun, the one that started it.
fn is_alive(record: &MountRecord) -> bool {
    match record.folder.join("alive").exists() {
        true => lock(&record.folder).is_err(),
        false => process::is_running(record.pid),
    }
}

/// The disks of `record`, and how it stands with it.
pub(super) fn told_of(record: &MountRecord) -> (Vec<String>, Option<&'static str>) {
    let disks = Served::read(&record.folder).unwrap_or_default().disks();
    let state = if is_alive(record) { "mounted" } else { "dead" };
    (disks.into_iter().map(device).collect(), Some(state))
}

/// The process in the background.
pub(super) fn serve(arguments: &AttachArguments, log: &Path, folder: &Path) -> Outcome {
    let talk = Talk::new(Some(log));
    let alive = match lock(folder) {
        Ok(alive) => alive,
        Err(error) => {
            talk.say(&format!("{}: {error}", folder.display()));
            return Outcome::Nothing;
        }
    };
    let Some((set, devices, record, outcome)) = begin(arguments, folder, log, &talk) else {
        return Outcome::Nothing;
    };
    let (ended, is_clear) = match Serving::begin(arguments, &set, &devices, folder, &talk) {
        Ok(serving) => serving.run(&devices, folder, outcome),
        Err(line) => {
            talk.say(&line);
            (Outcome::Nothing, true)
        }
    };
    drop(alive);
    // Else the next call finds by the record what Windows still has.
    if is_clear {
        clear_files(&record);
        talk.note("detached");
    }
    ended
}

/// A server that Windows is to log in to.
struct Serving<'a> {
    talk: &'a Talk,
    is_writable: bool,
    server: Server,
    sessions: Arc<AtomicUsize>,
    served: Served,
    secret: String,
}

impl<'a> Serving<'a> {
    fn begin(
        arguments: &AttachArguments,
        set: &DiskSet,
        devices: &[Device],
        folder: &Path,
        talk: &'a Talk,
    ) -> Result<Self, String> {
        let overlay = &arguments.overlay;
        overlay.check(devices.len())?;
        let say = |line: &str| talk.say(line);
        let export = |device: &Device| overlay.export(set, device, device.id.clone(), &say);
        let exports = devices.iter().map(export).collect::<Result<Vec<Arc<Export>>, String>>()?;
        let targets = targets(set, &exports, overlay.overlay.as_deref(), &say);
        for record in records().filter(|record| record.folder != folder && is_alive(record)) {
            let there = Served::read(&record.folder).unwrap_or_default();
            if let Some(target) = targets.iter().find(|one| there.names().contains(&one.name())) {
                let name = target.name().rsplit(':').next().unwrap_or_default();
                let disks: Vec<String> = there.disks().into_iter().map(device).collect();
                let disks = disks.join(", ");
                return Err(format!("{name}: is attached already: {disks}; see `volfold mounts`"));
            }
        }
        let (chap, secret) = Chap::random(USER).map_err(|error| error.to_string())?;
        let log: Log = Arc::new({
            let (talk, count) = (talk.clone(), AtomicU64::new(0));
            move |line: &str| {
                if count.fetch_add(1, Ordering::Relaxed) < MAX_LOG_LINES {
                    talk.note(line);
                }
            }
        });
        let iscsi = Arc::new(Iscsi::new(targets, Some(chap), log.clone()));
        let sessions = Arc::new(AtomicUsize::new(0));
        let handler = {
            let (iscsi, sessions) = (iscsi.clone(), sessions.clone());
            Arc::new(move |stream| {
                sessions.fetch_add(1, Ordering::SeqCst);
                let served = iscsi.serve(stream);
                sessions.fetch_sub(1, Ordering::SeqCst);
                served
            })
        };
        let any = Address::Tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
        let server = Server::listen(&any, handler, log)
            .map_err(|error| format!("cannot listen on {any}: {error}"))?;
        let Address::Tcp(address) = *server.address();
        let target = |name: &str| ServedTarget { name: name.to_owned(), disk: None };
        let served = Served {
            address: address.ip().to_string(),
            port: address.port(),
            targets: iscsi.targets().iter().map(|one| target(one.name())).collect(),
        };
        // Before Windows is told: what a killed process leaves can be cleared.
        let written = served.write(folder);
        written.map_err(|error| not_written(&error))?;
        Ok(Self { talk, is_writable: overlay.is_given(), server, sessions, served, secret })
    }

    /// Lets Windows log in, tells what came of it, and serves to the end. How it ended, and whether
    /// Windows has nothing of it any more.
    fn run(mut self, devices: &[Device], folder: &Path, outcome: Outcome) -> (Outcome, bool) {
        let (end, asked) = channel();
        if let Err(error) = process::on_termination(move || end.send(()).unwrap_or_default()) {
            self.talk.note(&format!("no signal handler: {error}"));
        }
        let Served { address, port, .. } = &self.served;
        let login = (USER, self.secret.as_str());
        let told = initiator::attach(address, *port, &self.served.names(), login);
        let (count, may_leave) = match told {
            Ok(told) => (self.tell(devices, &told), true),
            Err(failure) => {
                self.talk.say(&failure.line);
                (0, failure.may_leave)
            }
        };
        if let Err(error) = self.served.write(folder) {
            self.talk.note(&not_written(&error));
        }
        let outcome = outcome_of_count(count, devices.len(), outcome);
        let is_logged_out = outcome != Outcome::Nothing && {
            self.talk.ready(outcome);
            self.wait_for_end(folder, &asked)
        };
        let is_clear = is_logged_out || !may_leave || self.log_out();
        drop(self.server);
        (outcome, is_clear)
    }

    /// Logs Windows out; whether it is.
    fn log_out(&self) -> bool {
        match log_out(&self.served, &self.served.names(), true) {
            Ok(()) => true,
            Err(error) => {
                self.talk.note(&error.line(CLOSE));
                false
            }
        }
    }

    /// Tells of the disks that have come, and takes their numbers down; how many there are.
    fn tell(&mut self, devices: &[Device], told: &[Told]) -> usize {
        let mut count = 0;
        for (target, one) in self.served.targets.iter_mut().zip(devices) {
            let Some(answer) = told.iter().find(|answer| answer.name == target.name) else {
                self.talk.say(&format!("{}: Windows did not log in to it", one.id));
                continue;
            };
            let Some(disk) = answer.disk else {
                let reason = answer.error.trim();
                self.talk.say(&format!("{}: Windows does not take it: {reason}", one.id));
                continue;
            };
            count += 1;
            target.disk = Some(disk);
            let way = way(self.is_writable);
            let name = device(disk);
            self.talk.answer(&format!("{name}  disk {disk}: {}, {way}", one.description));
            for path in &answer.paths {
                self.talk.answer(path);
            }
            self.talk.note(&format!("attached as {name}"));
            let reason = [&answer.offline, &answer.error].into_iter().find(|text| !text.is_empty());
            if let Some(reason) = reason {
                let (reason, next) = (reason.trim(), "`Get-Disk` tells more");
                self.talk.say(&format!("{name}: its volumes do not show: {reason}; {next}"));
            }
        }
        count
    }

    /// Returns when the process is to end; whether Windows is logged out already.
    fn wait_for_end(&self, folder: &Path, asked: &Receiver<()>) -> bool {
        let idle = initiator::seconds("VOLFOLD_TEST_IDLE", IDLE);
        let mut since = Instant::now();
        loop {
            match asked.recv_timeout(MOMENT) {
                Err(RecvTimeoutError::Timeout) => {}
                _ => {
                    self.talk.note("asked to end");
                    return false;
                }
            }
            if folder.join("stop").exists() {
                return true;
            }
            if self.sessions.load(Ordering::SeqCst) > 0 {
                since = Instant::now();
            } else if since.elapsed() > idle {
                self.talk.note("no initiator is logged in any more");
                return false;
            }
        }
    }
}

/// Removes the record of a process that has ended, and its files.
fn clear_files(record: &MountRecord) {
    for name in ["iscsi.json", "iscsi.new", "stop", "alive"] {
        let _ = fs::remove_file(record.folder.join(name));
    }
    record.clear();
}

/// Frees what `record` tells of, whose process died, as far as it is not in use.
fn clear(record: &MountRecord) {
    if let Some(served) = Served::read(&record.folder)
        && let Err(error) = log_out(&served, &served.names(), true)
    {
        text::complain(format_args!("{}; and then `volfold detach all`", error.line(CLOSE)));
        return;
    }
    clear_files(record);
}

/// Frees what a process left that told that it could not begin: what Windows may have of it is tried
/// again by the next call, and not at once.
pub(super) fn clear_failed(record: &MountRecord) {
    if Served::read(&record.folder).is_none() {
        clear_files(record);
    }
}

/// Frees what killed processes left.
pub(super) fn clear_dead() {
    for record in records().filter(|record| !is_alive(record)) {
        clear(&record);
    }
}

/// Why Windows is not logged out.
enum NotOut {
    /// Programs use a disk.
    InUse(String),
    /// It is not known what Windows has.
    Failed(String),
}

impl NotOut {
    /// What is told; `next` is what to do where a disk is in use.
    fn line(self, next: &str) -> String {
        match self {
            Self::InUse(line) => format!("{line}; {next}"),
            Self::Failed(line) => line,
        }
    }
}

/// What is to be done with a disk that is in use.
const CLOSE: &str = "close what uses it, or give --force";

/// Logs Windows out of the targets `names` of `served`.
fn log_out(served: &Served, names: &[&str], is_last: bool) -> Result<(), NotOut> {
    let told = initiator::detach(&served.address, served.port, names, is_last);
    let told = told.map_err(|failure| NotOut::Failed(failure.line))?;
    let failed = told.iter().find(|one| !one.error.is_empty());
    failed.map_or(Ok(()), |one| {
        let target = served.targets.iter().find(|target| target.name == one.name);
        let shown = target.and_then(|target| target.disk).map_or(one.name.clone(), device);
        Err(NotOut::InUse(format!("{shown}: is in use: {}", one.error.trim())))
    })
}

/// The number of the disk that `device` names: `3`, `\\.\PhysicalDrive3`.
fn disk_number(device: &Path) -> Option<u32> {
    let text = device.to_str()?.to_ascii_lowercase().replace('/', "\\");
    let text = text.strip_prefix(r"\\.\").unwrap_or(&text);
    text.strip_prefix("physicaldrive").unwrap_or(text).parse().ok()
}

pub(super) fn detach(arguments: &DetachArguments) -> Outcome {
    let all = arguments.device.as_os_str() == "all";
    let wanted = disk_number(&arguments.device);
    let is_wanted =
        |served: &Served| all || served.disks().into_iter().any(|disk| Some(disk) == wanted);
    let mut chosen: Vec<(MountRecord, Served)> = records()
        .map(|record| {
            let served = Served::read(&record.folder).unwrap_or_default();
            (record, served)
        })
        .collect();
    chosen.retain(|(_, served)| is_wanted(served));
    if chosen.is_empty() {
        return none_is(&arguments.device);
    }
    let (mut done, mut failed) = (false, false);
    for (record, served) in chosen {
        match detach_one(&record, served, wanted.filter(|_| !all), arguments.force) {
            Ok(()) => done = true,
            Err(line) => {
                text::complain(format_args!("{line}"));
                failed = true;
            }
        }
    }
    outcome_of(done, failed)
}

/// Lets the disk `only`, or all of what `record` tells of, go.
fn detach_one(
    record: &MountRecord,
    mut served: Served,
    only: Option<u32>,
    force: bool,
) -> Result<(), String> {
    let goes = |target: &&ServedTarget| only.is_none() || target.disk == only;
    let names: Vec<&str> =
        served.targets.iter().filter(goes).map(|target| target.name.as_str()).collect();
    let stays = |target: &ServedTarget| target.disk.is_some() && !goes(&target);
    let is_last = !served.targets.iter().any(stays);
    match log_out(&served, &names, is_last) {
        Err(NotOut::InUse(line)) if force && is_last => {
            text::complain(format_args!("{line}; it ends anyway"));
        }
        // Its process serves the others too.
        Err(error) if force => {
            return Err(error.line("`volfold detach all --force` ends all of it"));
        }
        other => other.map_err(|error| error.line(CLOSE))?,
    }
    if !is_last {
        served.targets.retain(stays);
        return served.write(&record.folder).map_err(|error| error.to_string());
    }
    if is_alive(record) {
        fs::write(record.folder.join("stop"), "").map_err(|error| error.to_string())?;
        wait_for_process(record)?;
    }
    clear_files(record);
    Ok(())
}

/// Waits until the process of `record` has closed the images.
fn wait_for_process(record: &MountRecord) -> Result<(), String> {
    let start = Instant::now();
    while record.folder.exists() && is_alive(record) {
        if start.elapsed() > PATIENCE {
            return Err(still_reads(record));
        }
        thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disks_are_named_as_windows_does() {
        for name in ["3", r"\\.\PhysicalDrive3", r"\\.\PHYSICALDRIVE3", "//./physicaldrive3"] {
            assert_eq!(disk_number(Path::new(name)), Some(3), "{name}");
        }
        for name in ["", "all", "X:", r"\\.\PhysicalDrive", "-3", r"\\.\C:"] {
            assert_eq!(disk_number(Path::new(name)), None, "{name}");
        }
        assert_eq!(device(3), r"\\.\PhysicalDrive3");
    }
}
