//! The iSCSI initiator of Windows, driven through its PowerShell cmdlets: they take names and give
//! objects, where `iscsicli` takes seventeen stars and gives text in the user's language.
//!
//! The script is on the command line of `powershell.exe`, where every process of the machine can read
//! it. What is asked, with the secret of the login in it, goes by its stdin. An administrator who logs
//! all PowerShell commands with their parameters (module logging) finds the secret in the event log; it
//! is good for one attach, and for a listener on the loopback address that ends with it.

use std::io::{self, Read, Write};
use std::os::windows::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

const SCRIPT: &str = include_str!("initiator.ps1");

/// How long a disk may take to appear after the login; it takes a second or two.
const ARRIVAL: Duration = Duration::from_secs(30);

/// How long PowerShell may take beside: to start, and for each target.
const START: Duration = Duration::from_secs(60);
const EACH: Duration = Duration::from_secs(45);

/// LIMIT: bytes of an answer; a disk has 128 partitions with a few paths each.
const MAX_ANSWER: u64 = 4 << 20;

/// What a process without a window of its own is started with.
const CREATE_NO_WINDOW: u32 = 0x0800_0000;

/// What the script is asked.
#[derive(Serialize)]
pub(super) struct Request<'a> {
    action: &'static str,
    address: &'a str,
    port: u16,
    targets: &'a [&'a str],
    user: &'a str,
    secret: &'a str,
    /// How long a disk may take.
    seconds: u64,
    /// Whether the portal goes too.
    portal: bool,
}

/// What it answers of one target.
#[derive(Debug, Deserialize)]
pub(super) struct Told {
    pub(super) name: String,
    /// The number of the disk.
    #[serde(default)]
    pub(super) disk: Option<u32>,
    /// Letters, folders and `\\?\Volume{...}\`.
    #[serde(default)]
    pub(super) paths: Vec<String>,
    /// Why Windows leaves the disk offline.
    #[serde(default)]
    pub(super) offline: String,
    #[serde(default)]
    pub(super) error: String,
}

#[derive(Deserialize)]
struct Answer {
    targets: Vec<Told>,
    /// What failed, where nothing more was tried.
    #[serde(default)]
    step: String,
    #[serde(default)]
    error: String,
}

/// Why the initiator did not do what it was asked: a line for the user.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) line: String,
    /// Whether Windows may have sessions and a portal of it all the same.
    pub(super) may_leave: bool,
}

impl Failure {
    fn clean(line: impl Into<String>) -> Self {
        Self { line: line.into(), may_leave: false }
    }

    fn unclear(line: String) -> Self {
        Self { line, may_leave: true }
    }
}

/// Logs in to `targets` at a portal.
///
/// # Errors
/// Where none was logged in to, or nobody knows.
pub(super) fn attach(
    address: &str,
    port: u16,
    targets: &[&str],
    (user, secret): (&str, &str),
) -> Result<Vec<Told>, Failure> {
    let seconds = seconds("VOLFOLD_TEST_ARRIVAL", ARRIVAL).as_secs();
    ask(&Request { action: "attach", address, port, targets, user, secret, seconds, portal: true })
}

/// Logs out of `targets`; the portal goes too if `portal`.
///
/// # Errors
/// Where the initiator could not be asked.
pub(super) fn detach(
    address: &str,
    port: u16,
    targets: &[&str],
    portal: bool,
) -> Result<Vec<Told>, Failure> {
    let (user, secret) = ("", "");
    ask(&Request { action: "detach", address, port, targets, user, secret, seconds: 0, portal })
}

fn ask(request: &Request<'_>) -> Result<Vec<Told>, Failure> {
    let each = EACH.saturating_mul(u32::try_from(request.targets.len()).unwrap_or(u32::MAX));
    let bound = seconds("VOLFOLD_TEST_INITIATOR", START.saturating_add(each));
    let said = run(request, bound).map_err(|error| match error.kind() {
        io::ErrorKind::TimedOut => Failure::unclear(format!(
            "the iSCSI initiator of Windows gave no answer in {} s; restart its service: \
             Restart-Service MSiSCSI",
            bound.as_secs()
        )),
        _ => Failure::clean(format!("{}: {error}", powershell().display())),
    })?;
    let line = said.stdout.lines().rev().find_map(|line| line.trim().strip_prefix("volfold:"));
    let answer = line.and_then(|line| serde_json::from_str::<Answer>(line).ok());
    let Some(answer) = answer else {
        let first = said.stderr.lines().find(|line| !line.trim().is_empty());
        let first = first.unwrap_or("it ended without a word");
        // The script always ends with an answer; without any word it did not begin.
        let failure = if said.stdout.trim().is_empty() { Failure::clean } else { Failure::unclear };
        return Err(failure(format!(
            "powershell.exe did not drive the iSCSI initiator: {}; `volfold export --iscsi` serves \
             the disk to any initiator",
            first.trim()
        )));
    };
    let reason = answer.error.trim();
    match answer.step.as_str() {
        "" => Ok(answer.targets),
        "administrator" => Err(Failure::clean(
            "only an administrator may attach and detach; open a terminal with `Run as administrator`",
        )),
        "service" => Err(Failure::clean(format!(
            "the iSCSI service of Windows (MSiSCSI) does not start: {reason}; let it by `Set-Service \
             MSiSCSI -StartupType Manual`"
        ))),
        "portal" => Err(Failure::unclear(format!(
            "the iSCSI initiator of Windows does not take the address {}:{}: {reason}",
            request.address, request.port
        ))),
        step => Err(Failure::unclear(format!(
            "the iSCSI initiator of Windows fails at {step}: {reason}"
        ))),
    }
}

/// What a process said.
struct Said {
    stdout: String,
    stderr: String,
}

/// PowerShell of the system folder, whatever the search path names.
///
/// A debug build takes the program that `VOLFOLD_TEST_POWERSHELL` names instead.
fn powershell() -> PathBuf {
    #[cfg(debug_assertions)]
    if let Some(path) = std::env::var_os("VOLFOLD_TEST_POWERSHELL") {
        return path.into();
    }
    let windows = std::env::var_os("SystemRoot").unwrap_or_else(|| r"C:\Windows".into());
    PathBuf::from(windows).join(r"System32\WindowsPowerShell\v1.0\powershell.exe")
}

/// `usual`, or in a debug build the seconds that the variable `name` holds.
pub(super) fn seconds(name: &str, usual: Duration) -> Duration {
    let told = if cfg!(debug_assertions) { std::env::var(name).ok() } else { None };
    told.and_then(|told| told.parse().ok()).map_or(usual, Duration::from_secs)
}

/// Runs the script, and ends it after `bound`.
fn run(request: &Request<'_>, bound: Duration) -> io::Result<Said> {
    let mut child = Command::new(powershell())
        .args(["-NoLogo", "-NoProfile", "-NonInteractive"])
        .args(["-InputFormat", "Text", "-OutputFormat", "Text", "-EncodedCommand"])
        .arg(encoded(SCRIPT))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .creation_flags(CREATE_NO_WINDOW)
        .spawn()?;
    let stdout = child.stdout.take().map(drain);
    let stderr = child.stderr.take().map(drain);
    let asked = child.stdin.take().map_or(Ok(()), |mut stdin| {
        // ASCII alone: the console's code page is anything. A process that has ended says why itself.
        stdin.write_all(&serde_json::to_vec(request)?).or_else(|error| match error.kind() {
            io::ErrorKind::BrokenPipe => Ok(()),
            _ => Err(error),
        })
    });
    let ended = asked.and_then(|()| wait(&mut child, bound));
    if ended.is_err() {
        let _ = child.kill();
        let _ = child.wait();
        // What it started itself may keep the pipes open.
        ended?;
    }
    let text = |thread: Option<thread::JoinHandle<Vec<u8>>>| {
        let bytes = thread.and_then(|thread| thread.join().ok()).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    };
    Ok(Said { stdout: text(stdout), stderr: text(stderr) })
}

fn wait(child: &mut Child, bound: Duration) -> io::Result<()> {
    let start = Instant::now();
    while child.try_wait()?.is_none() {
        if start.elapsed() > bound {
            return Err(io::ErrorKind::TimedOut.into());
        }
        thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

fn drain(pipe: impl Read + Send + 'static) -> thread::JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        // What came before an error is all there is.
        let _ = pipe.take(MAX_ANSWER).read_to_end(&mut bytes);
        bytes
    })
}

/// `script` as `-EncodedCommand` takes it: UTF-16 in Base64.
fn encoded(script: &str) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    // Remarks are for readers, and a command line has 32,767 units.
    let lines = script.lines().map(str::trim).filter(|line| !line.starts_with('#'));
    let script = lines.filter(|line| !line.is_empty()).collect::<Vec<_>>().join("\n");
    let bytes: Vec<u8> = script.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let value = (0..3)
            .fold(0, |value: u32, at| value << 8 | u32::from(group.get(at).copied().unwrap_or(0)));
        for (at, shift) in [18, 12, 6, 0].into_iter().enumerate() {
            let digit = usize::try_from(value >> shift & 63).ok();
            let digit = digit.and_then(|digit| DIGITS.get(digit)).copied().unwrap_or(b'A');
            text.push(if at <= group.len() { char::from(digit) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_are_encoded_as_powershell_takes_them() {
        // By `printf '...' | iconv -t UTF-16LE | base64`.
        assert_eq!(encoded("dir"), "ZABpAHIA");
        assert_eq!(encoded("# a remark\n  dir 'x'\n\n"), "ZABpAHIAIAAnAHgAJwA=");
        assert_eq!(encoded("ab"), "YQBiAA==");
        assert!(SCRIPT.is_ascii(), "code pages");
        assert!(encoded(SCRIPT).len() < 30_000, "the command line is {}", encoded(SCRIPT).len());
    }
}
