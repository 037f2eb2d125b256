//! FUSE mounts of Linux, by `/dev/fuse` or fusermount3, without libfuse: how they begin and end.
//!
//! What answers the requests is a server of either wing: of trees, or of block devices.

use std::collections::HashSet;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use fuser::{Config, Filesystem, MountOption, Session, SessionACL};
use rustix::mount::UnmountFlags;

use crate::error::{ProjectError, ProjectErrorKind, ProjectResult};
use crate::mount::Mount;

pub(crate) mod mountinfo;

use mountinfo::MountLine;

/// Nothing changes while mounted.
pub(crate) const FOREVER: Duration = Duration::from_secs(10 * 365 * 86_400);

/// The largest read that the kernel asks for.
pub(crate) const MAX_READ: u32 = 1 << 20;

/// LIMIT: lines that failed requests write into the log of one mount.
pub(crate) const MAX_LOG_LINES: u32 = 10_000;

/// What the source of our mounts begins with in the kernel's table; the type is `fuse`, as others'.
const SOURCE_PREFIX: &str = "volfold:";

/// The helper that mounts for users without rights.
const HELPER: &str = "fusermount3";

/// What `/sys/class/bdi` gets as read-ahead where we may write there.
const READ_AHEAD_KIB: u32 = 1024;

/// Threads that answer requests, at least and at most. One is a little faster when everything is in
/// memory; with two a slow read does not hold the others up. docs/PERFORMANCE.md has the figures.
const THREADS: std::ops::RangeInclusive<usize> = 2..=8;

/// How the kernel is told to mount.
pub(crate) fn config(source: &str, writable: bool, threads: usize) -> Config {
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

/// Mounts `server` at `folder`.
///
/// # Errors
/// Why the host does not do it.
pub(crate) fn start<S: Filesystem + 'static>(
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
            if unmount(&folder, false).is_err() {
                // Files that are still open get errors when the process ends.
                let _ = unmount(&folder, true);
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

/// Whether FUSE can be used here.
///
/// # Errors
/// `Unavailable`, with the reason and what to do.
pub(crate) fn check_host(allow_other: bool) -> ProjectResult<()> {
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
        _ if is_in_user_namespace() => {
            "; here only who has mounts of their own may mount: begin with `unshare -Urm`, or use \
             `volfold extract`"
        }
        io::ErrorKind::PermissionDenied if allow_other => "; try without --allow-other",
        io::ErrorKind::PermissionDenied => "; is /dev/fuse open to all users (mode 0666)?",
        _ => "",
    };
    ProjectError::new(
        ProjectErrorKind::Io,
        format!("{}: cannot be mounted: {reason}{hint}", folder.display()),
    )
}

/// Whether the users here are not those of the machine, as after `unshare -r` and in containers.
fn is_in_user_namespace() -> bool {
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    let words: Vec<&str> = map.split_whitespace().collect();
    !matches!(words[..], [] | ["0", "0", "4294967295"])
}

/// Frees `folder`, whichever process mounted it; with `force` also while programs have files open.
///
/// # Errors
/// `Busy`, `NotMounted`, or the host's reason.
pub(crate) fn unmount(folder: &Path, force: bool) -> ProjectResult<()> {
    let flags = if force { UnmountFlags::DETACH } else { UnmountFlags::empty() };
    match rustix::mount::unmount(folder, flags | UnmountFlags::NOFOLLOW) {
        Ok(()) => Ok(()),
        Err(rustix::io::Errno::PERM) => unmount_by_helper(folder, force),
        Err(error) => Err(unmount_error(folder, error.into())),
    }
}

/// Whether a mount of ours is at `folder`, also one whose process died.
///
/// # Errors
/// If the host does not tell.
pub(crate) fn is_mounted(folder: &Path) -> ProjectResult<bool> {
    let lines = mountinfo::read().map_err(|error| {
        ProjectError::new(ProjectErrorKind::Io, format!("/proc/self/mountinfo: {error}"))
    })?;
    Ok(ours(lines).any(|mount| mount.folder == folder))
}

/// Whether a mount of ours is at `folder` where the process `pid` sees it.
pub(crate) fn is_mounted_in(pid: u32, folder: &Path) -> bool {
    let lines = mountinfo::read_of(pid).unwrap_or_default();
    ours(lines).any(|mount| mount.folder == folder)
}

/// One process of each other mount namespace that has the mount at `folder`, as far as this user may
/// look.
pub(crate) fn holders(folder: &Path) -> Vec<u32> {
    let lines = mountinfo::read().unwrap_or_default();
    let Some(device) = ours(lines).rev().find(|mount| mount.folder == folder) else {
        return Vec::new();
    };
    let namespace = |pid: &str| std::fs::read_link(format!("/proc/{pid}/ns/mnt")).ok();
    let mut seen: HashSet<PathBuf> = namespace("self").into_iter().collect();
    let mut found = Vec::new();
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    for pid in entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok()) {
        if namespace(&pid.to_string()).is_some_and(|namespace| seen.insert(namespace)) {
            let lines = mountinfo::read_of(pid).unwrap_or_default();
            if ours(lines).any(|mount| mount.device == device.device) {
                found.push(pid);
            }
        }
    }
    found
}

/// Where mounts of ours are.
pub(crate) fn mounted() -> Vec<PathBuf> {
    ours(mountinfo::read().unwrap_or_default()).map(|mount| mount.folder).collect()
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
/// The device number comes from the table of mounts: no process answers a `stat` of the folder yet.
fn raise_read_ahead(folder: &Path) {
    let lines = mountinfo::read().unwrap_or_default();
    let folder = absolute(folder);
    let device = ours(lines).rev().find(|mount| mount.folder == folder);
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

/// Our mounts among `lines`.
fn ours(lines: Vec<MountLine>) -> impl DoubleEndedIterator<Item = MountLine> {
    lines.into_iter().filter(|line| {
        let source = line.source.as_os_str().as_bytes();
        line.kind.starts_with(b"fuse") && source.starts_with(SOURCE_PREFIX.as_bytes())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_of_others_are_not_ours() {
        let table = b"22 1 254:0 / / rw - ext4 /dev/vda rw\n\
            40 22 0:40 / /mnt/a ro,nosuid shared:1 - fuse volfold:a.vmdk ro\n\
            41 22 0:41 / /mnt/other ro - fuse.sshfs volfold@host: ro\n";
        let folders: Vec<PathBuf> = ours(mountinfo::parse(table)).map(|line| line.folder).collect();
        assert_eq!(folders, [PathBuf::from("/mnt/a")]);
    }
}
