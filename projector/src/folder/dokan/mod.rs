//! Windows: the same folders by Dokan, whose library may be shipped with closed programs.
//!
//! [`abi`] is the DLL as its headers declare it, `library` finds and loads it, [`callbacks`] answer
//! its requests by way of [`super::windows`]. Unlike WinFsp, Dokan checks no access and follows no
//! links: `access` and the server do.

#![expect(unsafe_code, reason = "Dokan's DLL is called, and calls back, with raw pointers")]

use std::path::{Path, PathBuf};

use crate::error::{ProjectError, ProjectErrorKind, ProjectResult};
use crate::folder::projector::{MountOptions, Place};
use crate::folder::windows::mounting::{By, Driver, HostVolume};
use crate::folder::windows::{VolumeServer, place};
use crate::wide::wide;

pub mod abi;
mod access;
pub mod callbacks;
mod context;
mod library;

pub use context::VolumeContext;
pub use library::Library;

use abi::{DokanHandle, DokanOptions, Functions, flags, result};

/// LIMIT: units of a mount point with the 0: the driver has 256, and puts `\DosDevices\` in front. One
/// that it cut would not be found when it is to go.
const MAX_POINT: usize = 256 - 12;

/// The Dokan projector.
pub(crate) type Dokan = By<Library>;

impl Driver for Library {
    const ID: &'static str = "dokan";
    const TITLE: &'static str = "Dokan";

    fn installed() -> ProjectResult<Self> {
        Library::installed()
    }

    fn mount(
        &self,
        server: VolumeServer,
        point: &Path,
        options: &MountOptions,
        lost: Box<dyn Fn() + Send + Sync>,
    ) -> ProjectResult<Box<dyn HostVolume>> {
        let context = VolumeContext::new(server, self.functions(), lost);
        Ok(Box::new(Volume::mount(context, point, options.place)?))
    }
}

/// A volume that is shown.
struct Volume {
    handle: DokanHandle,
    functions: Functions,
    point: PathBuf,
    /// A directory that was made for it, and goes with it.
    made: Option<PathBuf>,
    // The DLL uses these until the handle is closed, then they are freed.
    _wide: Vec<u16>,
    options: *mut DokanOptions,
    context: *mut VolumeContext,
}

// SAFETY: the DLL's functions may be called from any thread, and the context is `Send + Sync`.
unsafe impl Send for Volume {}

impl Volume {
    fn mount(context: VolumeContext, point: &Path, place: Place) -> ProjectResult<Self> {
        let shown = point.display();
        let wide = wide(point);
        if wide.len() > MAX_POINT {
            let line = format!("{shown}: is longer than Dokan takes; give a shorter folder");
            return Err(ProjectError::new(ProjectErrorKind::Folder, line));
        }
        let is_folder = !matches!(place, Place::Letter(_));
        // The driver wants a directory that is there.
        let made = (is_folder && !point.exists()).then(|| point.to_path_buf());
        if let Some(folder) = &made {
            std::fs::create_dir(folder).map_err(|error| {
                let line = format!("{shown}: cannot be made: {error}");
                ProjectError::new(ProjectErrorKind::Io, line)
            })?;
        }
        let more = if place == Place::MountManager { flags::MOUNT_MANAGER } else { 0 };
        let functions = context.functions;
        let context = Box::into_raw(Box::new(context));
        // SAFETY: the context was just made.
        let options = Box::into_raw(unsafe { (*context).options(&wide, more) });
        // From here on dropping it undoes all.
        let mut volume = Self {
            handle: std::ptr::null_mut(),
            functions,
            point: point.to_path_buf(),
            made,
            _wide: wide,
            options,
            context,
        };
        // SAFETY: the options live until `volume` has closed the handle; the operations live for ever,
        // and the DLL only reads them.
        let made = unsafe {
            (functions.init)();
            let operations = (&raw const callbacks::OPERATIONS).cast_mut();
            (functions.create_file_system)(options, operations, &raw mut volume.handle)
        };
        match made {
            result::SUCCESS => Ok(volume),
            other => {
                volume.handle = std::ptr::null_mut();
                Err(refused(&shown.to_string(), other))
            }
        }
    }

    /// The device of the volume, as the driver's list of mount points has it.
    fn device(&self) -> Option<String> {
        let mut count = 0;
        // SAFETY: the list has `count` entries and is given back after its last use.
        unsafe {
            let list = (self.functions.get_mount_point_list)(0, &raw mut count);
            if list.is_null() {
                return None;
            }
            let entries = std::slice::from_raw_parts(list, count as usize);
            let text = |units: &[u16]| {
                let end = units.iter().position(|unit| *unit == 0).unwrap_or(units.len());
                String::from_utf16_lossy(&units[..end])
            };
            let own = self.point.to_string_lossy().to_lowercase();
            let is_own = |entry: &&abi::MountPointInfo| {
                let point = text(&entry.mount_point).to_lowercase();
                point.strip_prefix(r"\dosdevices\").unwrap_or(&point).trim_end_matches('\\') == own
            };
            let device = entries.iter().find(is_own).map(|entry| text(&entry.device_name));
            (self.functions.release_mount_point_list)(list);
            device.filter(|device| !device.is_empty())
        }
    }
}

impl HostVolume for Volume {
    fn other_names(&self) -> Vec<String> {
        let point = self.point.to_string_lossy();
        let mut names: Vec<String> = place::volume_guid_path(&point).into_iter().collect();
        names.extend(self.device().map(|device| format!(r"\\?\GLOBALROOT{device}\")));
        names
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        // SAFETY: the handle is closed once, which waits for the last callback; `init` was called.
        // Nothing uses the two boxes any more, which are ours.
        unsafe {
            if !self.handle.is_null() {
                (self.functions.close_handle)(self.handle);
            }
            (self.functions.shutdown)();
            drop(Box::from_raw(self.options));
            drop(Box::from_raw(self.context));
        }
        if let Some(folder) = &self.made {
            let _ = std::fs::remove_dir(folder);
        }
    }
}

/// Why the DLL made no volume.
fn refused(shown: &str, code: i32) -> ProjectError {
    let (kind, reason) = match code {
        result::DRIVE_LETTER_ERROR => (ProjectErrorKind::Folder, "Dokan takes no such drive"),
        result::DRIVER_INSTALL_ERROR | result::START_ERROR => (
            ProjectErrorKind::Unavailable,
            "Dokan's driver does not start; install Dokan again or restart Windows",
        ),
        result::MOUNT_ERROR => {
            (ProjectErrorKind::Folder, "Dokan cannot mount there; take another folder")
        }
        result::MOUNT_POINT_ERROR => (
            ProjectErrorKind::Folder,
            "Dokan takes no such folder; give an empty one on a local NTFS volume",
        ),
        result::VERSION_ERROR => {
            (ProjectErrorKind::Unavailable, "Dokan is of another version; install version 2")
        }
        _ => (ProjectErrorKind::Io, "Dokan cannot mount it"),
    };
    ProjectError::new(kind, format!("{shown}: {reason} ({code})"))
}
