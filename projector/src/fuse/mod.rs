//! Linux: the tree as a FUSE file system, by `/dev/fuse` or fusermount3, without libfuse.

use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use fuser::{Config, Filesystem, MountOption, Session, SessionACL};
use rustix::mount::UnmountFlags;
use volfold_fs::{TreeVolume, VolumeTree};

use crate::export::Export;
use crate::{Log, Mount, MountOptions, ProjectError, ProjectErrorKind, ProjectResult, Projector};

mod block;
mod server;

pub use block::Closed;

use block::BlockServer;
use server::Server;

/// What the source of our mounts begins with in the kernel's table; the type is `fuse`, as others'.
const SOURCE_PREFIX: &str = "volfold:";

/// The helper that mounts for users without rights.
const HELPER: &str = "fusermount3";

/// What `/sys/class/bdi` gets as read-ahead where we may write there.
const READ_AHEAD_KIB: u32 = 1024;

/// Threads that answer requests, at least and at most. One is a little faster when everything is in
/// memory; with two a slow read does not hold the others up. docs/PERFORMANCE.md has the figures.
const THREADS: std::ops::RangeInclusive<usize> = 2..=8;

/// The FUSE projector.
pub struct Fuse;

impl Projector for Fuse {
    fn id(&self) -> &'static str {
        "fuse"
    }

    fn mount(
        &self,
        volumes: Vec<TreeVolume>,
        folder: &Path,
        options: &MountOptions,
    ) -> ProjectResult<Box<dyn Mount>> {
        check_host(options.allow_other)?;
        let mut config = config(&options.source, false, options.threads);
        config.acl = if options.allow_other { SessionACL::All } else { SessionACL::Owner };
        let server = Server::new(Arc::new(VolumeTree::new(volumes)), options);
        start(server, folder, &config)
    }

    fn unmount(&self, folder: &Path, force: bool) -> ProjectResult<()> {
        let flags = if force { UnmountFlags::DETACH } else { UnmountFlags::empty() };
        match rustix::mount::unmount(folder, flags | UnmountFlags::NOFOLLOW) {
            Ok(()) => Ok(()),
            Err(rustix::io::Errno::PERM) => unmount_by_helper(folder, force),
            Err(error) => Err(unmount_error(folder, error.into())),
        }
    }

    fn is_mounted(&self, folder: &Path) -> ProjectResult<bool> {
        let table = std::fs::read("/proc/self/mountinfo").map_err(|error| {
            ProjectError::new(ProjectErrorKind::Io, format!("/proc/self/mountinfo: {error}"))
        })?;
        Ok(parse_mountinfo(&table).iter().any(|mount| mount.folder == folder))
    }
}

/// Shows each of `files` as a file of `folder`, for loop devices. Nobody but this user can enter it.
///
/// Files with an overlay can be written to. `closed` is called when the last open file is closed.
///
/// # Errors
/// Why the host does not do it.
pub fn show_files(
    files: Vec<Arc<Export>>,
    folder: &Path,
    source: &str,
    log: Log,
    closed: Closed,
) -> ProjectResult<Box<dyn Mount>> {
    check_host(false)?;
    let writable = files.iter().any(|file| file.content.overlay().is_some());
    start(BlockServer::new(files, log, closed), folder, &config(source, writable, 0))
}

/// How the kernel is told to mount.
fn config(source: &str, writable: bool, threads: usize) -> Config {
    let mut config = Config::default();
    config.mount_options = vec![
        MountOption::FSName(source_name(source)),
        if writable { MountOption::RW } else { MountOption::RO },
        MountOption::NoSuid,
        MountOption::NoDev,
        MountOption::NoAtime,
        MountOption::DefaultPermissions,
    ];
    config.acl = SessionACL::Owner;
    config.n_threads = Some(match threads {
        0 => std::thread::available_parallelism()
            .map_or(*THREADS.start(), usize::from)
            .clamp(*THREADS.start(), *THREADS.end()),
        wanted => wanted,
    });
    config
}

fn start<S: Filesystem + 'static>(
    server: S,
    folder: &Path,
    config: &Config,
) -> ProjectResult<Box<dyn Mount>> {
    let open_to_others = config.acl == SessionACL::All;
    let session = Session::new(server, folder, config)
        .map_err(|error| mount_error(folder, open_to_others, &error))?;
    raise_read_ahead(folder);
    Ok(Box::new(Mounted { session, folder: folder.to_path_buf() }))
}

/// A mounted session.
struct Mounted<S: Filesystem> {
    session: Session<S>,
    folder: PathBuf,
}

impl<S: Filesystem + 'static> Mount for Mounted<S> {
    fn stopper(&self) -> Box<dyn Fn() + Send + Sync> {
        let folder = self.folder.clone();
        Box::new(move || {
            if Fuse.unmount(&folder, false).is_err() {
                // Files that are still open get errors when the process ends.
                let _ = Fuse.unmount(&folder, true);
            }
        })
    }

    fn serve(self: Box<Self>) -> ProjectResult<()> {
        self.session.run().map_err(|error| {
            ProjectError::new(
                ProjectErrorKind::Io,
                format!("{}: FUSE ended: {error}", self.folder.display()),
            )
        })
    }
}

/// Commas would end the option, and the kernel cuts long ones.
fn source_name(source: &str) -> String {
    format!("{SOURCE_PREFIX}{source}")
        .chars()
        .map(|c| if c == ',' || c.is_control() { '_' } else { c })
        .take(200)
        .collect()
}

fn check_host(allow_other: bool) -> ProjectResult<()> {
    if !Path::new("/dev/fuse").exists() {
        return Err(ProjectError::new(
            ProjectErrorKind::Unavailable,
            "/dev/fuse is missing; load it with `modprobe fuse`, or give the container the device \
             (--device /dev/fuse)",
        ));
    }
    let root = rustix::process::geteuid().is_root();
    if !root && helper().is_none() {
        return Err(ProjectError::new(
            ProjectErrorKind::Unavailable,
            format!("{HELPER} is missing; install the package fuse3, or mount as root"),
        ));
    }
    if allow_other && !root && !user_allow_other() {
        return Err(ProjectError::new(
            ProjectErrorKind::Unavailable,
            "--allow-other is not allowed; put the line user_allow_other into /etc/fuse.conf",
        ));
    }
    Ok(())
}

fn helper() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_else(|| "/usr/bin:/bin".into());
    std::env::split_paths(&path).map(|folder| folder.join(HELPER)).find(|file| file.is_file())
}

fn user_allow_other() -> bool {
    let text = std::fs::read_to_string("/etc/fuse.conf").unwrap_or_default();
    text.lines().any(|line| line.trim() == "user_allow_other")
}

fn mount_error(folder: &Path, allow_other: bool, error: &io::Error) -> ProjectError {
    let reason = error.to_string();
    let reason =
        reason.trim().trim_start_matches("fusermount3: ").trim_start_matches("fusermount: ");
    let hint = match error.kind() {
        io::ErrorKind::PermissionDenied if allow_other => "; try without --allow-other",
        io::ErrorKind::PermissionDenied => "; is /dev/fuse open to all users (mode 0666)?",
        _ => "",
    };
    ProjectError::new(
        ProjectErrorKind::Io,
        format!("{}: cannot be mounted: {reason}{hint}", folder.display()),
    )
}

fn unmount_error(folder: &Path, error: io::Error) -> ProjectError {
    let shown = folder.display();
    match error.kind() {
        io::ErrorKind::ResourceBusy => ProjectError::new(
            ProjectErrorKind::Busy,
            format!("{shown}: is in use; end the programs that use it, or add --force"),
        ),
        io::ErrorKind::InvalidInput => ProjectError::new(
            ProjectErrorKind::NotMounted,
            format!("{shown}: nothing is mounted there"),
        ),
        _ => ProjectError::new(ProjectErrorKind::Io, format!("{shown}: {error}")),
    }
}

fn unmount_by_helper(folder: &Path, force: bool) -> ProjectResult<()> {
    let flags: &[&str] = if force { &["-u", "-z"] } else { &["-u"] };
    let output =
        Command::new(HELPER).args(flags).arg("--").arg(folder).output().map_err(|error| {
            ProjectError::new(ProjectErrorKind::Unavailable, format!("{HELPER}: {error}"))
        })?;
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stderr);
    let kind = if text.contains("busy") {
        io::ErrorKind::ResourceBusy
    } else if text.contains("not found") || text.contains("not mounted") {
        io::ErrorKind::InvalidInput
    } else {
        io::ErrorKind::Other
    };
    Err(unmount_error(folder, io::Error::new(kind, text.trim().to_owned())))
}

/// The kernel reads ahead 128 KiB by default; more pays on large files. Only root may raise it, and
/// without it everything still works.
///
/// The device number comes from the table of mounts: nobody answers a `stat` of the folder yet.
fn raise_read_ahead(folder: &Path) {
    let table = std::fs::read("/proc/self/mountinfo").unwrap_or_default();
    let folder = absolute(folder);
    let device = parse_mountinfo(&table).into_iter().rev().find(|mount| mount.folder == folder);
    if let Some(device) = device.map(|mount| mount.device) {
        let file = format!("/sys/class/bdi/{device}/read_ahead_kb");
        let _ = std::fs::write(file, READ_AHEAD_KIB.to_string());
    }
}

/// `folder` as the kernel's table names it: links above it resolved, the folder itself not asked.
fn absolute(folder: &Path) -> PathBuf {
    match (folder.parent().map(Path::canonicalize), folder.file_name()) {
        (Some(Ok(parent)), Some(name)) => parent.join(name),
        _ => folder.to_path_buf(),
    }
}

/// One line of the table of mounts.
#[derive(Debug, PartialEq, Eq)]
struct MountLine {
    folder: PathBuf,
    /// `major:minor` of the file system.
    device: String,
}

/// Our mount points in the text of `/proc/self/mountinfo`.
///
/// A line: `36 35 98:0 /root /mount\040point options ... - type source options`.
fn parse_mountinfo(table: &[u8]) -> Vec<MountLine> {
    table
        .split(|byte| *byte == b'\n')
        .filter_map(|line| {
            let fields: Vec<&[u8]> = line.split(|byte| *byte == b' ').collect();
            let separator = fields.iter().position(|field| *field == b"-")?;
            let is_fuse = fields.get(separator + 1)?.starts_with(b"fuse");
            let is_ours =
                is_fuse && fields.get(separator + 2)?.starts_with(SOURCE_PREFIX.as_bytes());
            let device = String::from_utf8_lossy(fields.get(2)?).into_owned();
            is_ours.then_some(MountLine { folder: unescape(fields.get(4)?), device })
        })
        .collect()
}

/// Undoes the octal escapes of mountinfo (`\040` for a space).
pub(crate) fn unescape(field: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let [first, tail @ ..] = rest {
        let octal = tail
            .get(..3)
            .filter(|_| *first == b'\\')
            .and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok());
        match octal {
            Some(byte) => {
                bytes.push(byte);
                rest = tail.get(3..).unwrap_or_default();
            }
            None => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    PathBuf::from(std::ffi::OsString::from_vec(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_mount_points_are_found_and_unescaped() {
        let table = b"22 1 254:0 / / rw - ext4 /dev/vda rw\n\
            40 22 0:40 / /mnt/a\\040b\\134c ro,nosuid shared:1 - fuse volfold:a.vmdk ro\n\
            41 22 0:41 / /mnt/other ro - fuse.sshfs volfold@host: ro\n";
        let expected = MountLine { folder: "/mnt/a b\\c".into(), device: "0:40".to_owned() };
        assert_eq!(parse_mountinfo(table), [expected]);
    }
}
