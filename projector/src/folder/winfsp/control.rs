//! The named pipe by which other processes speak to the one that mounted: only its user, SYSTEM
//! and the administrators may.
//!
//! A client writes one line, `unmount` or `ping`; the answer is one line, and the end of the pipe
//! when the images are closed.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;
use std::sync::mpsc::Sender;
use std::thread;
use std::time::{Duration, Instant};

use interprocess::os::windows::named_pipe::{
    DuplexPipeStream, PipeListener, PipeListenerOptions, pipe_mode,
};
use interprocess::os::windows::security_descriptor::SecurityDescriptor;
use widestring::U16CString;

use crate::folder::windows::security;

/// `ERROR_PIPE_BUSY`: all instances of the pipe talk to others.
const PIPE_BUSY: i32 = 231;

/// How long a client waits for its turn.
const PATIENCE: Duration = Duration::from_secs(5);

type Stream = DuplexPipeStream<pipe_mode::Bytes>;

/// Why a mount ends.
pub(super) enum End {
    /// A client asked, and waits at the pipe.
    Asked(Option<Stream>),
    /// The driver ended a volume by itself.
    DriverGone,
}

/// The pipe of one mount, not yet listening.
pub(super) struct Control {
    listener: PipeListener<pipe_mode::Bytes, pipe_mode::Bytes>,
}

impl Control {
    /// Makes the pipe of the mount at `folder`.
    ///
    /// # Errors
    /// If there is one already, or the host refuses.
    pub(super) fn new(folder: &Path) -> io::Result<Self> {
        let text = U16CString::from_str(security::private()?).map_err(io::Error::other)?;
        let descriptor = SecurityDescriptor::deserialize(&text)?;
        let listener = PipeListenerOptions::new()
            .path(pipe_name(folder))
            .accept_remote(false)
            .security_descriptor(Some(descriptor))
            .create_duplex::<pipe_mode::Bytes>()?;
        Ok(Self { listener })
    }

    /// Answers clients on threads of its own; `end` gets what they ask for.
    ///
    /// # Errors
    /// If the host gives no thread.
    pub(super) fn listen(self, end: Sender<End>) -> io::Result<()> {
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

fn serve(client: Stream, end: &Sender<End>) {
    let mut line = String::new();
    let mut reader = BufReader::new(io::Read::take(client, 64));
    if reader.read_line(&mut line).is_err() {
        return;
    }
    let mut client = reader.into_inner().into_inner();
    let known = matches!(line.trim_end(), "unmount" | "ping");
    let _ = client.write_all(if known { b"ok\n" } else { b"unknown\n" });
    let _ = client.flush();
    if line.trim_end() == "unmount" {
        // The pipe ends with the mount, which tells the client that the images are closed.
        let _ = end.send(End::Asked(Some(client)));
    }
}

/// Asks the process that mounted at `folder`, and waits until it is done: with `unmount` until the
/// images are closed.
///
/// # Errors
/// `NotFound` if there is no such process, `PermissionDenied` if it is another user's.
pub(super) fn ask(folder: &Path, question: &str) -> io::Result<()> {
    let mut pipe = connect(folder)?;
    pipe.write_all(question.as_bytes())?;
    pipe.write_all(b"\n")?;
    let mut lines = BufReader::new(pipe);
    let mut answer = String::new();
    lines.read_line(&mut answer)?;
    if answer.trim_end() != "ok" {
        return Err(io::Error::other(format!("the process of the mount answers {answer:?}")));
    }
    if question == "unmount" {
        // The other side going away is what is waited for, in whatever form it shows.
        let _ = io::copy(&mut lines, &mut io::sink());
    }
    Ok(())
}

fn connect(folder: &Path) -> io::Result<File> {
    let start = Instant::now();
    loop {
        match OpenOptions::new().read(true).write(true).open(pipe_name(folder)) {
            Err(error) if error.raw_os_error() == Some(PIPE_BUSY) && start.elapsed() < PATIENCE => {
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
