//! The named pipe by which other processes speak to the one that mounted: only its user, SYSTEM
//! and the administrators may.
//!
//! A client writes one line, `unmount`, `force` or `ping`; the answer is one line, and the end of the
//! pipe when the images are closed. After `force` the process ends within [`GRACE`], whatever it does.
//!
//! The name of the pipe can be computed by anyone, and whoever is first may make it. So a client lets
//! the other side know who it is and no more, and says nothing before it knows whose that side is.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::os::windows::fs::OpenOptionsExt;
use std::os::windows::io::AsRawHandle;
use std::path::Path;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use interprocess::os::windows::named_pipe::{
    DuplexPipeStream, PipeListener, PipeListenerOptions, pipe_mode,
};
use interprocess::os::windows::security_descriptor::SecurityDescriptor;
use widestring::U16CString;
use windows_sys::Win32::Storage::FileSystem::SECURITY_IDENTIFICATION;
use windows_sys::Win32::System::Pipes::GetNamedPipeServerProcessId;

use super::security;
use crate::error::{ProjectError, ProjectErrorKind, ProjectResult};
use crate::process;
use crate::process::security::{ADMINISTRATORS, SYSTEM};
use crate::process::security::{acting_user, is_administrator, pipe_owner, user_of_process};

/// `ERROR_PIPE_BUSY`: all instances of the pipe talk to others.
const PIPE_BUSY: i32 = 231;

/// How long a client waits for its turn, and for an answer.
const ANSWER_TIME: Duration = Duration::from_secs(5);

/// How long `unmount` waits until the images are closed.
const PATIENCE: Duration = Duration::from_secs(20);

/// How long requests may take after `force` until the process ends.
const GRACE: Duration = Duration::from_secs(3);

type Stream = DuplexPipeStream<pipe_mode::Bytes>;

/// Why a mount ends.
pub(crate) enum End {
    /// A client asked, and waits at the pipe.
    Asked(Option<Stream>),
    /// The driver ended a volume by itself.
    DriverGone,
}

/// The pipe of one mount, not yet listening.
pub(crate) struct Control {
    listener: PipeListener<pipe_mode::Bytes, pipe_mode::Bytes>,
}

impl Control {
    /// Makes the pipe of the mount at `folder`.
    ///
    /// # Errors
    /// `Folder` if there is one already, of a mount or of another user's process, or why the host
    /// refuses.
    pub(crate) fn new(folder: &Path) -> ProjectResult<Self> {
        match is_mounted(folder) {
            Ok(false) => {}
            Ok(true) => return Err(taken(folder, "is mounted already")),
            Err(error) => {
                return Err(ProjectError::new(ProjectErrorKind::Folder, error.to_string()));
            }
        }
        Self::listener(folder).map(|listener| Self { listener }).map_err(|error| {
            match error.kind() {
                // Another process made it since.
                io::ErrorKind::PermissionDenied | io::ErrorKind::AlreadyExists => {
                    taken(folder, "is mounted already, by volfold of this or another user")
                }
                _ => {
                    let line = format!("{}: cannot be mounted: {error}", folder.display());
                    ProjectError::new(ProjectErrorKind::Io, line)
                }
            }
        })
    }

    /// The first instance of the pipe: the host gives one to nobody else.
    fn listener(folder: &Path) -> io::Result<PipeListener<pipe_mode::Bytes, pipe_mode::Bytes>> {
        let text = U16CString::from_str(security::private()?).map_err(io::Error::other)?;
        let descriptor = SecurityDescriptor::deserialize(&text)?;
        PipeListenerOptions::new()
            .path(pipe_name(folder))
            .accept_remote(false)
            .security_descriptor(Some(descriptor))
            .create_duplex::<pipe_mode::Bytes>()
    }

    /// Answers clients on threads of its own; `end` gets what they ask for.
    ///
    /// # Errors
    /// If the host gives no thread.
    pub(crate) fn listen(self, end: Sender<End>) -> io::Result<()> {
        thread::Builder::new().name("control".to_owned()).spawn(move || {
            for client in self.listener.incoming().flatten() {
                let end = end.clone();
                let _ = thread::Builder::new()
                    .name("control client".to_owned())
                    .spawn(move || serve(client, &end));
            }
        })?;
        Ok(())
    }
}

fn taken(folder: &Path, reason: &str) -> ProjectError {
    ProjectError::new(ProjectErrorKind::Folder, format!("{}: {reason}", folder.display()))
}

fn serve(client: Stream, end: &Sender<End>) {
    let mut line = String::new();
    let mut reader = BufReader::new(io::Read::take(client, 64));
    if reader.read_line(&mut line).is_err() {
        return;
    }
    let mut client = reader.into_inner().into_inner();
    let question = line.trim_end();
    let known = matches!(question, "unmount" | "force" | "ping");
    let _ = client.write_all(if known { b"ok\n" } else { b"unknown\n" });
    let _ = client.flush();
    if question == "unmount" || question == "force" {
        // The pipe ends with the mount, which tells the client that the images are closed.
        let _ = end.send(End::Asked(Some(client)));
    }
    if question == "force" {
        // The DLL waits for requests that run without an end, and one to an image on a share that
        // is gone has none. The client clears the record.
        thread::sleep(GRACE);
        process::end_at_once(3);
    }
}

/// Frees what is mounted at `folder`, and waits until the images are closed; with `force` its process
/// ends even if requests do not.
///
/// # Errors
/// `NotMounted`; `Busy` if requests still run after a while; `Io` if it is another user's, or the host
/// refuses.
pub(crate) fn unmount(folder: &Path, force: bool) -> ProjectResult<()> {
    let (question, patience) = match force {
        true => ("force", patience().min(GRACE + ANSWER_TIME)),
        false => ("unmount", patience()),
    };
    ask(folder, question, patience).map_err(|error| ask_error(folder, force, &error))
}

/// Whether a process of this user, SYSTEM or an administrator shows volumes at `folder`.
///
/// # Errors
/// `Io` if it is another user's, or does not answer.
pub(crate) fn is_mounted(folder: &Path) -> ProjectResult<bool> {
    match ask(folder, "ping", Duration::ZERO) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(ask_error(folder, false, &error)),
    }
}

fn ask_error(folder: &Path, force: bool, error: &io::Error) -> ProjectError {
    let shown = folder.display();
    match error.kind() {
        io::ErrorKind::NotFound => {
            ProjectError::new(ProjectErrorKind::NotMounted, format!("{shown}: not a volfold mount"))
        }
        io::ErrorKind::TimedOut if force => {
            let line = format!("{shown}: its process does not end");
            ProjectError::new(ProjectErrorKind::Busy, line)
        }
        io::ErrorKind::TimedOut => ProjectError::new(
            ProjectErrorKind::Busy,
            format!(
                "{shown}: is still closing, because reads of its images do not end; `volfold \
                 unmount {shown} --force` ends its process"
            ),
        ),
        // The host's own refusal; that of a stranger has its words.
        io::ErrorKind::PermissionDenied if error.get_ref().is_none() => ProjectError::new(
            ProjectErrorKind::Io,
            format!("{shown}: is another user's; only they and administrators may free it"),
        ),
        _ => ProjectError::new(ProjectErrorKind::Io, format!("{shown}: {error}")),
    }
}

/// Asks the process that mounted at `folder`, and after the answer waits for its end for `patience`.
///
/// # Errors
/// `NotFound` if there is no such process, `PermissionDenied` if it is another user's, `TimedOut` if
/// it does not end or not answer.
fn ask(folder: &Path, question: &'static str, patience: Duration) -> io::Result<()> {
    let pipe = connect(folder)?;
    check_server(&pipe, question)?;
    let (tell, told) = channel();
    // The host has no time limit for these reads; a thread that waits for ever goes with the process.
    thread::Builder::new().name("pipe".to_owned()).spawn(move || {
        let mut lines = BufReader::new(pipe);
        let _ = tell.send(answer(&mut lines, question));
        // The other side going away is what is waited for, in whatever form it shows.
        let _ = io::copy(&mut lines, &mut io::sink());
    })?;
    match told.recv_timeout(ANSWER_TIME) {
        Ok(answer) => answer?,
        Err(_) => {
            let line = "its process does not answer";
            return Err(io::Error::new(io::ErrorKind::WouldBlock, line));
        }
    }
    match told.recv_timeout(patience) {
        Err(RecvTimeoutError::Timeout) if !patience.is_zero() => {
            Err(io::ErrorKind::TimedOut.into())
        }
        _ => Ok(()),
    }
}

fn answer(pipe: &mut BufReader<File>, question: &str) -> io::Result<()> {
    let file = pipe.get_mut();
    file.write_all(question.as_bytes())?;
    file.write_all(b"\n")?;
    let mut answer = String::new();
    pipe.read_line(&mut answer)?;
    match answer.trim_end() {
        "ok" => Ok(()),
        other => Err(io::Error::other(format!("the process of the mount answers {other:?}"))),
    }
}

/// How long `unmount` waits; tests have less patience.
fn patience() -> Duration {
    #[cfg(debug_assertions)]
    if let Some(seconds) = std::env::var("VOLFOLD_TEST_PATIENCE").ok().and_then(|s| s.parse().ok())
    {
        return Duration::from_secs(seconds);
    }
    PATIENCE
}

/// Makes sure that the other side of `pipe` is not a stranger's, whose answers mean nothing. The owner
/// of the pipe counts: its process can be any.
///
/// # Errors
/// `PermissionDenied` if it is; an administrator may force also a stranger's to end.
#[expect(unsafe_code, reason = "the host is asked by its own functions")]
fn check_server(pipe: &File, question: &str) -> io::Result<()> {
    let mut pid = 0;
    // SAFETY: the handle is open as long as `pipe`, and `pid` is a valid place.
    unsafe { GetNamedPipeServerProcessId(pipe.as_raw_handle(), &raw mut pid) };
    let owner = pipe_owner(pipe).or_else(|_| user_of_process(pid));
    let owner = owner.unwrap_or_else(|_| "unknown".to_owned());
    if is_trusted(&owner, &acting_user()?) || question == "force" && is_administrator() {
        return Ok(());
    }
    let line = format!(
        "is answered by another user's process (pid {pid}, user {owner}); not volfold's mount"
    );
    Err(io::Error::new(io::ErrorKind::PermissionDenied, line))
}

/// Whether `user` is served by what `owner` owns.
fn is_trusted(owner: &str, user: &str) -> bool {
    [SYSTEM, ADMINISTRATORS, user].contains(&owner)
}

/// Opens the pipe. Its server may know who asks, but not act for them.
fn connect(folder: &Path) -> io::Result<File> {
    let start = Instant::now();
    let mut options = OpenOptions::new();
    options.read(true).write(true).security_qos_flags(SECURITY_IDENTIFICATION);
    loop {
        match options.open(pipe_name(folder)) {
            Err(error)
                if error.raw_os_error() == Some(PIPE_BUSY) && start.elapsed() < ANSWER_TIME =>
            {
                thread::sleep(Duration::from_millis(20));
            }
            other => return other,
        }
    }
}

/// The pipe of the mount at `folder`: by its path without regard to case, since Windows has none.
fn pipe_name(folder: &Path) -> String {
    let path = folder.to_string_lossy().to_lowercase();
    // FNV-1a.
    let hash = path.bytes().fold(0xCBF2_9CE4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01B3)
    });
    format!(r"\\.\pipe\volfold-{hash:016x}")
}
