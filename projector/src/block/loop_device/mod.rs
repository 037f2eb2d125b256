//! Loop devices of Linux, over files that FUSE shows to the kernel.
//!
//! Set up and undone by `losetup` of util-linux: the requests of loop(4) are ioctls, which no well-kept
//! crate wraps, and every distribution has the program. What there is, `/sys/block` tells, so that
//! nothing needs to be written down.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use super::export::Export;
use crate::error::{ProjectError, ProjectErrorKind, ProjectResult};
use crate::fuse_session::{self, mountinfo};
use crate::log::Log;
use crate::mount::Mount;

mod server;

pub use server::Closed;

use server::BlockServer;

/// What hands out free devices.
const CONTROL: &str = "/dev/loop-control";

/// The program.
const LOSETUP: &str = "losetup";

/// How long a device that is let go may take: other programs look into new devices, shortly.
const PATIENCE: Duration = Duration::from_secs(5);

/// A loop device that has a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoopDevice {
    /// `loop0`.
    name: String,
    /// The file that it shows.
    file: PathBuf,
}

/// How a device is set up.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct LoopOptions {
    /// Whether the device may be written to.
    pub writable: bool,
    /// The size of a logical sector in bytes.
    pub sector_size: u32,
    /// Whether to look for partitions.
    pub partitions: bool,
}

impl Default for LoopOptions {
    /// Read-only, with sectors of 512 bytes, without partitions.
    fn default() -> Self {
        Self { writable: false, sector_size: 512, partitions: false }
    }
}

impl LoopDevice {
    /// `/dev/loop0`.
    pub fn path(&self) -> PathBuf {
        Path::new("/dev").join(&self.name)
    }

    /// The file that it shows.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// Its partitions: `/dev/loop0p1`, in order.
    pub fn partitions(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(Path::new("/sys/block").join(&self.name));
        let names = entries.into_iter().flatten().flatten().map(|entry| entry.file_name());
        let number = |name: &str| name.strip_prefix(&self.name)?.strip_prefix('p')?.parse().ok();
        let mut numbers: Vec<u32> =
            names.filter_map(|name| name.to_str().and_then(number)).collect();
        numbers.sort_unstable();
        numbers.into_iter().map(|p| PathBuf::from(format!("/dev/{}p{p}", self.name))).collect()
    }

    /// Where it or a partition of it is mounted, as far as this process sees.
    pub fn folders(&self) -> Vec<PathBuf> {
        let lines = mountinfo::read().unwrap_or_default();
        let mut devices = self.partitions();
        devices.push(self.path());
        folders_of(lines, &devices)
    }

    /// Whether it still shows its file.
    fn is_there(&self) -> bool {
        backing_file(&self.name).is_some_and(|file| file == self.file)
    }

    /// Makes it free. With `force` also while something is mounted from it; then the kernel frees it
    /// when that ends.
    ///
    /// # Errors
    /// `Busy`, or the host's reason.
    pub fn detach(&self, force: bool) -> ProjectResult<()> {
        let in_use = self.is_in_use();
        if in_use && !force {
            return Err(self.busy());
        }
        run(LOSETUP, &["--detach".into(), self.path()]).map_err(|reason| self.error(&reason))?;
        let start = Instant::now();
        while self.is_there() && !in_use {
            if start.elapsed() > PATIENCE {
                return Err(self.busy());
            }
            thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// Whether something uses it exclusively: a mounted file system, swap, device mapper.
    fn is_in_use(&self) -> bool {
        let exclusive = rustix::fs::OFlags::EXCL.bits().cast_signed();
        let opened: io::Result<File> =
            OpenOptions::new().read(true).custom_flags(exclusive).open(self.path());
        opened.is_err_and(|error| error.kind() == io::ErrorKind::ResourceBusy)
    }

    fn busy(&self) -> ProjectError {
        let shown = self.path().display().to_string();
        let line = match &self.folders()[..] {
            [] => format!("{shown}: is in use; end the programs that use it"),
            [folder, ..] => {
                let folder = folder.display();
                format!("{shown}: is mounted at {folder}; free it with `umount {folder}`")
            }
        };
        ProjectError::new(ProjectErrorKind::Busy, line)
    }

    fn error(&self, reason: &str) -> ProjectError {
        let line = format!("{}: {reason}", self.path().display());
        ProjectError::new(ProjectErrorKind::Io, line)
    }
}

/// Whether loop devices can be set up here.
///
/// # Errors
/// `Unavailable`, with the reason and what to do.
pub fn check_host() -> ProjectResult<()> {
    let unavailable = |line: String| Err(ProjectError::new(ProjectErrorKind::Unavailable, line));
    match OpenOptions::new().read(true).write(true).open(CONTROL) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => unavailable(format!(
            "{CONTROL} is missing; load it with `modprobe loop`, or give the container the device; \
             `volfold export` needs neither"
        )),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => unavailable(format!(
            "{CONTROL} may not be opened; loop devices need root (sudo) or the group disk; \
             `volfold export` needs neither"
        )),
        Err(error) => unavailable(format!("{CONTROL}: {error}; is the module loop loaded?")),
    }
}

/// Shows each of `files` as a file of `folder`, for loop devices. No other user can enter it.
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
    fuse_session::check_host(false)?;
    let writable = files.iter().any(|file| file.content.overlay().is_some());
    let config = fuse_session::config(source, writable, 0);
    fuse_session::start(BlockServer::new(files, log, closed), folder, &config)
}

/// Frees a folder of [`show_files`] whose process died, if it is still mounted.
pub fn free_folder(folder: &Path) {
    if fuse_session::is_mounted(folder).unwrap_or(true) {
        // What is not mounted any more needs no freeing.
        let _ = fuse_session::unmount(folder, true);
    }
}

/// Sets up a device over `file`.
///
/// # Errors
/// Why the host does not do it.
pub fn attach(file: &Path, options: &LoopOptions) -> ProjectResult<LoopDevice> {
    let mut arguments: Vec<PathBuf> = vec!["--find".into(), "--show".into()];
    if !options.writable {
        arguments.push("--read-only".into());
    }
    if options.partitions {
        arguments.push("--partscan".into());
    }
    arguments.push("--sector-size".into());
    arguments.push(options.sector_size.to_string().into());
    arguments.push(file.into());
    let shown = run(LOSETUP, &arguments).map_err(|reason| {
        let line = format!("{}: no loop device: {reason}", file.display());
        ProjectError::new(ProjectErrorKind::Io, line)
    })?;
    let name = shown.trim().trim_start_matches("/dev/").to_owned();
    let device = LoopDevice { name, file: file.to_path_buf() };
    if options.partitions && device.partitions().is_empty() {
        // Kernels without parsers of partition tables exist. What a disk without any says is no
        // error.
        let _ = run("partx", &["--add".into(), device.path()]);
    }
    Ok(device)
}

/// The devices over files in `folder`.
pub fn below(folder: &Path) -> Vec<LoopDevice> {
    let entries = fs::read_dir("/sys/block").into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let mut found: Vec<LoopDevice> = names
        .filter(|name| number(name).is_some())
        .filter_map(|name| Some(LoopDevice { file: backing_file(&name)?, name }))
        .filter(|device| device.file.starts_with(folder))
        .collect();
    found.sort_by_key(|device| number(&device.name));
    found
}

/// The device that `path` names: `/dev/loop0`, or a partition of it.
pub fn named(path: &Path) -> Option<LoopDevice> {
    let path = path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
    let name = path.file_name()?.to_str()?;
    let whole = name.rsplit_once('p').map_or(name, |(whole, _)| whole);
    let name = [name, whole].into_iter().find(|name| number(name).is_some())?;
    Some(LoopDevice { file: backing_file(name)?, name: name.to_owned() })
}

/// The number of a whole device by its name.
fn number(name: &str) -> Option<u32> {
    name.strip_prefix("loop")?.parse().ok()
}

fn backing_file(name: &str) -> Option<PathBuf> {
    let text = fs::read_to_string(format!("/sys/block/{name}/loop/backing_file")).ok()?;
    text.strip_suffix('\n').filter(|path| !path.is_empty()).map(PathBuf::from)
}

/// Where one of `devices` is mounted, by the table of mounts.
fn folders_of(lines: Vec<mountinfo::MountLine>, devices: &[PathBuf]) -> Vec<PathBuf> {
    let of_devices = lines.into_iter().filter(|line| devices.contains(&line.source));
    of_devices.map(|line| line.folder).collect()
}

/// What `program` answers, or why it does not.
fn run(program: &str, arguments: &[PathBuf]) -> Result<String, String> {
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output();
    let output = output.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => {
            format!("{program} is missing; install util-linux (Debian: the package mount)")
        }
        _ => format!("{program}: {error}"),
    })?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let text = String::from_utf8_lossy(&output.stderr);
    Err(match text.trim() {
        "" => format!("{program} ended with {}", output.status),
        text => text.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_of_a_device_are_found_by_their_source() {
        let table = b"22 1 254:0 / / rw - ext4 /dev/vda rw\n\
            40 22 7:0 / /mnt/a\\040b ro shared:1 - ext4 /dev/loop0 ro\n\
            41 22 0:50 / /mnt/c ro - btrfs /dev/loop0p1 ro\n\
            42 22 7:1 / /mnt/d ro - ext4 /dev/loop1 ro\n";
        let devices = ["/dev/loop0p1", "/dev/loop0"].map(PathBuf::from);
        assert_eq!(
            folders_of(mountinfo::parse(table), &devices),
            ["/mnt/a b", "/mnt/c"].map(PathBuf::from)
        );
    }

    #[test]
    fn names_of_devices_have_numbers() {
        assert_eq!([number("loop12"), number("loop"), number("loop1p2")], [Some(12), None, None]);
        assert_eq!(named(Path::new("/dev/null")), None);
    }
}
