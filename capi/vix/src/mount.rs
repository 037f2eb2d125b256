//! Mounting volumes, which the program `volfold` does.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use volfold::SetVolume;
use volfold::volume::Health;
use volfold_capi_support::{Handle, MountRequest, Program, ProgramError};

use crate::errors::{
    Done, Failure, VIX_E_MNTAPI_CANT_MAKE_VAR_DIR, VIX_E_MNTAPI_NO_MOUNTABLE_PARTITONS,
    VIX_E_MNTAPI_OPEN_HANDLES, VIX_E_MNTAPI_OS_ERROR, VIX_E_MNTAPI_PARTITION_NOT_FOUND,
    VIX_E_MNTAPI_UMOUNT, VIX_E_MNTAPI_UNSUPPORTED_FT_VOLUME, VIX_E_MNTAPI_VOLUME_ALREADY_MOUNTED,
    VIX_E_MNTAPI_VOLUME_NOT_MOUNTED, VIX_E_MNTAPI_VOLUME_NOT_WRITABLE, VixError, call, code_of,
};
use crate::layout::Bool;
use crate::library::{needs_mount_library, temporary_folder};
use crate::log;
use crate::objects;
use crate::set::{MountableVolume, OpenDiskSet};

/// The folder of a set, removed in the end.
pub(crate) struct MountFolder(PathBuf);

impl MountFolder {
    /// Makes a folder that only this user may enter.
    fn new() -> Done<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        /// LIMIT: names that are tried.
        const TRIES: u32 = 1000;
        let above = temporary_folder();
        let process = std::process::id();
        let mut last = None;
        for _ in 0..TRIES {
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            let path = above.join(format!("volfold-vix-{process}-{number}"));
            match make_private(&path) {
                Ok(()) => return Ok(Self(path)),
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                    last = Some(error);
                }
                Err(error) => {
                    last = Some(error);
                    break;
                }
            }
        }
        let reason = last.map(|error| error.to_string()).unwrap_or_default();
        let line = format!("no folder can be made in {}: {reason}", above.display());
        Err(Failure::new(VIX_E_MNTAPI_CANT_MAKE_VAR_DIR, line))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for MountFolder {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir(&self.0) {
            log::warn(&format!("{}: cannot be removed: {error}", self.0.display()));
        }
    }
}

#[cfg(unix)]
fn make_private(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().mode(0o700).create(path)
}

#[cfg(not(unix))]
fn make_private(path: &Path) -> std::io::Result<()> {
    std::fs::create_dir(path)
}

/// Where a volume is mounted.
pub(crate) struct MountedAt {
    program: Program,
    /// The mount's own folder.
    folder: PathBuf,
    /// The folder of the volume in it, as programs open it.
    pub(crate) link: String,
    /// The set's folder stays as long.
    _above: Arc<MountFolder>,
}

impl MountedAt {
    fn unmount(&self, force: bool) -> Result<(), ProgramError> {
        self.program.unmount(&self.folder, force)?;
        // Where the program did not make it, it does not remove it.
        let _ = std::fs::remove_dir(&self.folder);
        Ok(())
    }
}

impl OpenDiskSet {
    fn mount_folder(&self) -> Done<Arc<MountFolder>> {
        let mut folder = self.folder.lock();
        if let Some(folder) = &*folder {
            return Ok(Arc::clone(folder));
        }
        let made = Arc::new(MountFolder::new()?);
        *folder = Some(Arc::clone(&made));
        Ok(made)
    }
}

impl MountableVolume {
    pub(crate) fn volume(&self) -> Done<&Arc<SetVolume>> {
        let none = || Failure::plain(VIX_E_MNTAPI_PARTITION_NOT_FOUND);
        self.set.set.volume(self.index).ok_or_else(none)
    }

    /// Mounts the volume, and gives what is to be told of that.
    fn mount(&self) -> Done<Vec<String>> {
        let volume = self.volume()?;
        // One that mounts the same volume waits, and finds it mounted.
        let mut mounted = self.mounted.lock();
        if mounted.is_some() {
            return Err(Failure::plain(VIX_E_MNTAPI_VOLUME_ALREADY_MOUNTED));
        }
        if let Some(reason) = &volume.reason {
            let code = match volume.volume.health {
                Health::Failed => VIX_E_MNTAPI_UNSUPPORTED_FT_VOLUME,
                _ => VIX_E_MNTAPI_NO_MOUNTABLE_PARTITONS,
            };
            return Err(Failure::new(code, format!("{}: {reason}", volume.id())));
        }
        let above = self.set.mount_folder()?;
        let folder = above.path().join(self.index.to_string());
        let set = &self.set.set;
        let program = Program::find(set.options.program.as_deref())?;
        let volumes = [volume.id().to_owned()];
        let request = MountRequest {
            paths: &set.paths,
            options: &set.options,
            volumes: &volumes,
            folder: &folder,
        };
        let done = program.mount(&request)?;
        let shown = done.volumes.first().and_then(|volume| volume.paths.first());
        let Some(link) = shown.map(|path| with_separator(path)) else {
            // A mount without the volume is of no use to anybody.
            let _ = program.unmount(&folder, true);
            return Err(Failure::new(VIX_E_MNTAPI_OS_ERROR, done.talk));
        };
        let mut lines = vec![format!("mounted {} at {link}", volume.id())];
        lines.extend(done.is_part.then(|| format!("{}: {}", volume.id(), done.talk)));
        *mounted = Some(MountedAt { program, folder, link, _above: above });
        Ok(lines)
    }

    fn dismount(&self, force: bool) -> Done {
        let mut mounted = self.mounted.lock();
        let Some(at) = &*mounted else {
            return Err(Failure::plain(VIX_E_MNTAPI_VOLUME_NOT_MOUNTED));
        };
        at.unmount(force).map_err(|error| match error {
            ProgramError::Failed(said) if !force => Failure::new(VIX_E_MNTAPI_OPEN_HANDLES, said),
            ProgramError::Failed(said) => Failure::new(VIX_E_MNTAPI_UMOUNT, said),
            other => Failure::from(other),
        })?;
        *mounted = None;
        Ok(())
    }

    /// Dismounts by force, if it is mounted; what fails is told to the log.
    pub(crate) fn dismount_at_last(&self) {
        if self.mounted.lock().is_some() {
            let _ = code_of(self.dismount(true));
        }
    }
}

impl Drop for MountableVolume {
    fn drop(&mut self) {
        self.dismount_at_last();
    }
}

/// `path` as programs of Windows append to it at once.
fn with_separator(path: &str) -> String {
    match cfg!(windows) && !path.ends_with('\\') {
        true => format!("{path}\\"),
        false => path.to_owned(),
    }
}

/// Mounts the volume for reading, as a folder, which VixMntapi_GetVolumeInfo names.
/// VIX_E_MNTAPI_VOLUME_NOT_WRITABLE unless `readOnly`.
#[unsafe(no_mangle)]
pub extern "C" fn VixMntapi_MountVolume(volumeHandle: Handle, readOnly: Bool) -> VixError {
    call(|| {
        needs_mount_library()?;
        let volume = objects::volume(volumeHandle)?;
        if readOnly == 0 {
            return Err(Failure::new(
                VIX_E_MNTAPI_VOLUME_NOT_WRITABLE,
                "volumes are mounted for reading only",
            ));
        }
        // A callback may ask for the volume, so it is called without the lock.
        volume.mount()?.iter().for_each(|line| log::info(line));
        Ok(())
    })
}

/// Dismounts the volume; with `force` also while files of it are open, which get errors.
#[unsafe(no_mangle)]
pub extern "C" fn VixMntapi_DismountVolume(volumeHandle: Handle, force: Bool) -> VixError {
    call(|| objects::volume(volumeHandle)?.dismount(force != 0))
}
