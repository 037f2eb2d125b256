//! Sockets that clients connect to, each on a thread of its own, and the orderly end.

use std::collections::HashMap;
use std::fmt;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
#[cfg(unix)]
use std::os::unix::net::{UnixListener, UnixStream};
#[cfg(unix)]
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;
#[cfg(unix)]
use std::time::SystemTime;

use parking_lot::Mutex;
use volfold_block::guard;

use crate::log::Log;

/// LIMIT: clients at once; more are hung up on.
const MAX_CLIENTS: usize = 256;

/// How long a client may take to say what it wants.
const HANDSHAKE_TIME: Duration = Duration::from_secs(30);

/// How long a client may take to accept an answer.
const WRITE_TIME: Duration = Duration::from_secs(60);

/// LIMIT: lines about connections in the log.
const MAX_LOG_LINES: u64 = 10_000;

/// Where a server listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A socket file.
    #[cfg(unix)]
    Unix(PathBuf),
    /// An address of the network.
    Tcp(SocketAddr),
}

impl Address {
    /// Whether only programs of this machine can connect.
    pub fn is_local(&self) -> bool {
        match self {
            #[cfg(unix)]
            Self::Unix(_) => true,
            Self::Tcp(address) => address.ip().is_loopback(),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            #[cfg(unix)]
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Tcp(address) => write!(f, "tcp:{address}"),
        }
    }
}

/// A connection: bytes both ways.
pub trait Stream: Read + Write + Send {
    /// From now on a read fails when the client is silent for `time`; never if `None`.
    ///
    /// # Errors
    /// If the host refuses.
    fn wait(&self, time: Option<Duration>) -> io::Result<()> {
        let _ = time;
        Ok(())
    }

    /// The address of this end, where it has one in the network.
    fn local_address(&self) -> Option<SocketAddr> {
        None
    }
}

/// A client that breaks the protocol; `what` it does.
pub(crate) fn protocol_error(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}

/// A connected socket; a clone is the same connection.
enum Socket {
    #[cfg(unix)]
    Unix(UnixStream),
    Tcp(TcpStream),
}

impl Socket {
    fn try_clone(&self) -> io::Result<Self> {
        Ok(match self {
            #[cfg(unix)]
            Self::Unix(socket) => Self::Unix(socket.try_clone()?),
            Self::Tcp(socket) => Self::Tcp(socket.try_clone()?),
        })
    }

    fn set_timeouts(&self, read: Option<Duration>, write: Option<Duration>) -> io::Result<()> {
        match self {
            #[cfg(unix)]
            Self::Unix(socket) => {
                socket.set_read_timeout(read).and_then(|()| socket.set_write_timeout(write))
            }
            Self::Tcp(socket) => {
                socket.set_read_timeout(read).and_then(|()| socket.set_write_timeout(write))
            }
        }
    }

    fn hang_up(&self) {
        // It may be gone already.
        let _ = match self {
            #[cfg(unix)]
            Self::Unix(socket) => socket.shutdown(Shutdown::Both),
            Self::Tcp(socket) => socket.shutdown(Shutdown::Both),
        };
    }
}

impl Stream for Socket {
    fn wait(&self, time: Option<Duration>) -> io::Result<()> {
        self.set_timeouts(time, Some(WRITE_TIME))
    }

    fn local_address(&self) -> Option<SocketAddr> {
        match self {
            #[cfg(unix)]
            Self::Unix(_) => None,
            Self::Tcp(socket) => socket.local_addr().ok(),
        }
    }
}

impl Read for Socket {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            #[cfg(unix)]
            Self::Unix(socket) => socket.read(buf),
            Self::Tcp(socket) => socket.read(buf),
        }
    }
}

impl Write for Socket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            #[cfg(unix)]
            Self::Unix(socket) => socket.write(bytes),
            Self::Tcp(socket) => socket.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

enum Listener {
    #[cfg(unix)]
    Unix(UnixListener),
    Tcp(TcpListener),
}

impl Listener {
    /// The next client; `WouldBlock` if there is none.
    fn accept(&self) -> io::Result<Socket> {
        Ok(match self {
            #[cfg(unix)]
            Self::Unix(listener) => {
                let socket = listener.accept()?.0;
                socket.set_nonblocking(false)?;
                Socket::Unix(socket)
            }
            Self::Tcp(listener) => {
                let socket = listener.accept()?.0;
                socket.set_nonblocking(false)?;
                socket.set_nodelay(true)?;
                Socket::Tcp(socket)
            }
        })
    }

    /// Makes [`Listener::accept`] return at once.
    fn never_wait(&self) -> io::Result<()> {
        match self {
            #[cfg(unix)]
            Self::Unix(listener) => listener.set_nonblocking(true),
            Self::Tcp(listener) => listener.set_nonblocking(true),
        }
    }

    /// Returns when there is a client, or when the other end of `stop` is closed; clients come by way
    /// of the address, which may be gone by then.
    #[cfg(unix)]
    fn wait(&self, stop: &io::PipeReader) -> io::Result<()> {
        use rustix::event::{PollFd, PollFlags, poll};
        let listener = match self {
            Self::Unix(listener) => PollFd::new(listener, PollFlags::IN),
            Self::Tcp(listener) => PollFd::new(listener, PollFlags::IN),
        };
        match poll(&mut [listener, PollFd::new(stop, PollFlags::IN)], None) {
            Err(rustix::io::Errno::INTR) | Ok(_) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Returns a moment later: sockets and pipes cannot be waited for together here.
    #[cfg(windows)]
    #[expect(clippy::unnecessary_wraps, reason = "other hosts may refuse")]
    fn wait(&self, _stop: &io::PipeReader) -> io::Result<()> {
        thread::sleep(Duration::from_millis(20));
        Ok(())
    }
}

/// What serves one client.
pub type Handler = Arc<dyn Fn(Box<dyn Stream>) -> io::Result<()> + Send + Sync>;

struct Shared {
    stopped: AtomicBool,
    next: AtomicU64,
    logged: AtomicU64,
    clients: Mutex<HashMap<u64, Socket>>,
    handler: Handler,
    log: Log,
}

/// A server that listens; dropping it hangs up on all clients.
pub struct Server {
    shared: Arc<Shared>,
    address: Address,
    /// The socket file as it was made.
    #[cfg(unix)]
    socket: Option<SocketFile>,
    /// Wakes the thread that accepts when it is closed.
    stop: Option<io::PipeWriter>,
    accepting: Option<thread::JoinHandle<()>>,
}

impl Server {
    /// Listens on `address`, and gives every client to `handler`. A socket file that no process listens
    /// on any more is taken over.
    ///
    /// # Errors
    /// If the address is in use or may not be used.
    pub fn listen(address: &Address, handler: Handler, log: Log) -> io::Result<Self> {
        let (listener, address) = match address {
            #[cfg(unix)]
            Address::Unix(path) => (Listener::Unix(bind_unix(path)?), address.clone()),
            Address::Tcp(wanted) => {
                let listener = TcpListener::bind(wanted)?;
                // Port 0 asks for any that is free.
                let address = Address::Tcp(listener.local_addr()?);
                (Listener::Tcp(listener), address)
            }
        };
        listener.never_wait()?;
        #[cfg(unix)]
        let socket = match &address {
            Address::Unix(path) => file_at(path),
            Address::Tcp(_) => None,
        };
        let (stopping, stop) = io::pipe()?;
        let shared = Arc::new(Shared {
            stopped: AtomicBool::new(false),
            next: AtomicU64::new(0),
            logged: AtomicU64::new(0),
            clients: Mutex::new(HashMap::new()),
            handler,
            log,
        });
        let accepting = thread::Builder::new().name("accept".to_owned()).spawn({
            let shared = shared.clone();
            move || shared.accept(&listener, &stopping)
        })?;
        Ok(Self {
            shared,
            address,
            #[cfg(unix)]
            socket,
            stop: Some(stop),
            accepting: Some(accepting),
        })
    }

    /// Where it listens.
    pub fn address(&self) -> &Address {
        &self.address
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        drop(self.stop.take());
        if let Some(accepting) = self.accepting.take() {
            let _ = accepting.join();
        }
        #[cfg(unix)]
        if let Address::Unix(path) = &self.address
            // What came into its place since then is another's.
            && self.socket.is_some()
            && file_at(path) == self.socket
        {
            let _ = std::fs::remove_file(path);
        }
        for socket in self.shared.clients.lock().values() {
            socket.hang_up();
        }
        // Clients in the middle of a request have a moment to end it.
        for _ in 0..100 {
            if self.shared.clients.lock().is_empty() {
                break;
            }
            thread::sleep(Duration::from_millis(20));
        }
    }
}

/// What tells the socket file at `path` from one that takes its place: its numbers, which may be used
/// again, and when it was made.
#[cfg(unix)]
type SocketFile = (u64, u64, Option<SystemTime>);

#[cfg(unix)]
fn file_at(path: &Path) -> Option<SocketFile> {
    use std::os::unix::fs::MetadataExt;
    let facts = std::fs::symlink_metadata(path).ok()?;
    Some((facts.dev(), facts.ino(), facts.modified().ok()))
}

/// Listens at `path`, which only the user can reach.
#[cfg(unix)]
fn bind_unix(path: &Path) -> io::Result<UnixListener> {
    use std::os::unix::fs::{FileTypeExt, PermissionsExt};
    let listener = match UnixListener::bind(path) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            let is_socket = std::fs::symlink_metadata(path)?.file_type().is_socket();
            if !is_socket || UnixStream::connect(path).is_ok() {
                return Err(error);
            }
            std::fs::remove_file(path)?;
            UnixListener::bind(path)?
        }
        other => other?,
    };
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

impl Shared {
    fn note(&self, line: &str) {
        if self.logged.fetch_add(1, Ordering::Relaxed) < MAX_LOG_LINES {
            (self.log)(line);
        }
    }

    fn accept(self: &Arc<Self>, listener: &Listener, stop: &io::PipeReader) {
        loop {
            let waited = listener.wait(stop);
            if self.stopped.load(Ordering::SeqCst) {
                return;
            }
            match waited.and_then(|()| listener.accept()).and_then(|socket| self.begin(socket)) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => {
                    self.note(&format!("cannot serve a client: {error}"));
                    // Without files or threads the next accept fails at once.
                    thread::sleep(Duration::from_millis(20));
                }
            }
        }
    }

    /// Serves one client on a thread of its own.
    fn begin(self: &Arc<Self>, socket: Socket) -> io::Result<()> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let control = socket.try_clone()?;
        control.set_timeouts(Some(HANDSHAKE_TIME), Some(WRITE_TIME))?;
        {
            let mut clients = self.clients.lock();
            if clients.len() >= MAX_CLIENTS {
                return Err(io::Error::other(format!("there are {MAX_CLIENTS} clients already")));
            }
            clients.insert(number, socket.try_clone()?);
        }
        let shared = self.clone();
        let spawned = thread::Builder::new().name("client".to_owned()).spawn(move || {
            // A panic must not leave the client in the list, with its socket open.
            let served = guard("requests of a client", || (shared.handler)(Box::new(socket)));
            control.hang_up();
            shared.clients.lock().remove(&number);
            if let Err(error) = served {
                let gone = [
                    io::ErrorKind::UnexpectedEof,
                    io::ErrorKind::ConnectionReset,
                    io::ErrorKind::BrokenPipe,
                ];
                if !gone.contains(&error.kind()) {
                    shared.note(&format!("a client was hung up on: {error}"));
                }
            }
        });
        if let Err(error) = spawned {
            self.clients.lock().remove(&number);
            return Err(error);
        }
        Ok(())
    }
}
