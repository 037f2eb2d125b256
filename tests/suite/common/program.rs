//! The built program, run by tests with a deadline, and folders of their own.

use std::ffi::OsStr;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

/// How long a test waits for anything that a mount may keep from ending.
pub(crate) const DEADLINE: Duration = Duration::from_secs(120);

/// The program under test.
pub(crate) const VOLFOLD: &str = env!("CARGO_BIN_EXE_volfold");

/// A folder that goes with this value.
pub(crate) struct Scratch {
    path: PathBuf,
    _folder: tempfile::TempDir,
}

impl Scratch {
    pub(crate) fn new(name: &str) -> Self {
        let folder = tempfile::Builder::new().prefix(&format!("volfold-{name}-")).tempdir();
        let folder = folder.expect("a folder for the test");
        let path = folder.path().canonicalize().expect("the temporary folder");
        Self { path, _folder: folder }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn join(&self, name: impl AsRef<Path>) -> PathBuf {
        self.path.join(name)
    }

    /// A copy of `file` in the folder.
    pub(crate) fn copy(&self, file: &Path) -> PathBuf {
        let target = self.join(file.file_name().expect("a file name"));
        fs::copy(file, &target).expect("a copy");
        target
    }
}

/// What a program said, and how it ended.
#[derive(Debug)]
pub(crate) struct Output {
    /// The exit code; `None` after a signal.
    pub(crate) code: Option<i32>,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
}

impl Output {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The same output, which ended with `code` and no sign of a crash.
    #[track_caller]
    pub(crate) fn code(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{self:?}");
        let crashed = ["panicked", "gave up", "RUST_BACKTRACE"];
        assert!(!crashed.iter().any(|word| self.stderr.contains(word)), "{}", self.stderr);
        self
    }

    /// The same output, which says `word` on stderr.
    #[track_caller]
    pub(crate) fn says(self, word: &str) -> Self {
        assert!(self.stderr.contains(word), "no {word:?} in {:?}", self.stderr);
        self
    }
}

/// Runs `volfold` with `arguments`.
pub(crate) fn volfold<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>) -> Output {
    run(Command::new(VOLFOLD).args(arguments))
}

/// Runs the program `name` with `arguments`.
pub(crate) fn program(name: &str, arguments: &[&str]) -> Output {
    run(Command::new(name).args(arguments))
}

/// `path` as text.
pub(crate) fn text(path: &Path) -> &str {
    path.to_str().expect("a path of text")
}

/// Runs `command` to its end; one that does not end is killed and fails the test.
pub(crate) fn run(command: &mut Command) -> Output {
    let shown = format!("{command:?}");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = spawn(command).unwrap_or_else(|error| panic!("{shown}: {error}"));
    let stdout = drain(child.stdout.take().expect("stdout"));
    let stderr = drain(child.stderr.take().expect("stderr"));
    let status = wait(&mut child, &shown);
    let take = |thread: thread::JoinHandle<Vec<u8>>| thread.join().expect("a pipe");
    let stderr = String::from_utf8_lossy(&take(stderr)).into_owned();
    Output { code: status, stdout: take(stdout), stderr }
}

/// Starts `command`; again where wine says that it could not, which it does on a busy machine.
fn spawn(command: &mut Command) -> io::Result<Child> {
    const INTERNAL_ERROR: i32 = 1359;
    for _ in 0..3 {
        match command.spawn() {
            Err(error) if cfg!(windows) && error.raw_os_error() == Some(INTERNAL_ERROR) => {
                thread::sleep(Duration::from_secs(1));
            }
            other => return other,
        }
    }
    command.spawn()
}

fn drain(mut pipe: impl Read + Send + 'static) -> thread::JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = pipe.read_to_end(&mut bytes);
        bytes
    })
}

/// The exit code of `child`; kills it and fails the test if it does not end.
pub(crate) fn wait(child: &mut Child, shown: &str) -> Option<i32> {
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait().expect("wait") {
            return status.code();
        }
        if start.elapsed() > DEADLINE {
            let _ = child.kill();
            panic!("{shown} does not end");
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// Runs `work` on a thread of its own and fails the test if it does not end.
pub(crate) fn within<T: Send + 'static>(
    what: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> T {
    let (done, answer) = channel();
    let worker = thread::spawn(move || {
        let _ = done.send(work());
    });
    match answer.recv_timeout(DEADLINE) {
        Ok(value) => value,
        // The thread stays behind; the guard of the mount frees it.
        Err(_) if !worker.is_finished() => panic!("{what} does not end"),
        Err(_) => match worker.join() {
            Err(panic) => std::panic::resume_unwind(panic),
            Ok(()) => panic!("{what} gave nothing"),
        },
    }
}

/// Waits until `good` says so.
#[track_caller]
pub(crate) fn eventually(what: &str, mut good: impl FnMut() -> bool) {
    let start = Instant::now();
    while !good() {
        assert!(start.elapsed() < DEADLINE, "{what} does not happen");
        thread::sleep(Duration::from_millis(10));
    }
}
