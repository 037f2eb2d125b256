//! Windows: the set as a volume of WinFsp that is mounted at the folder, its top directories the
//! volumes of the guest; or each of these as a volume of its own.
//!
//! [`abi`] is the DLL as its headers declare it, `library` finds and loads it, [`callbacks`] answer
//! its requests by way of [`super::windows`].

#![expect(unsafe_code, reason = "WinFsp's DLL is called, and calls back, with raw pointers")]

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use volfold_fs::TreeVolume;

use crate::error::{ProjectError, ProjectErrorKind, ProjectResult};
use crate::folder::projector::{MountOptions, Place, Projector};
use crate::folder::windows::mounting::{self, Driver, HostVolume};
use crate::folder::windows::{VolumeServer, control, leftovers};
use crate::mount::Mount;

pub mod abi;
pub mod callbacks;
mod context;
mod host;
mod library;
mod page;
mod stand;
mod volume;

pub use context::VolumeContext;
pub use library::Library;

use stand::Stand;
use volume::Volume;

/// The WinFsp projector.
pub struct WinFsp;

impl Projector for WinFsp {
    fn id(&self) -> &'static str {
        "winfsp"
    }

    fn is_available(&self) -> bool {
        Library::installed().is_ok()
    }

    fn warning(&self) -> Option<String> {
        Library::installed().ok()?.warning()
    }

    fn mount(
        &self,
        volumes: Vec<TreeVolume>,
        folder: &Path,
        options: &MountOptions,
    ) -> ProjectResult<Box<dyn Mount>> {
        mounting::mount(&Library::installed()?, volumes, folder, options)
    }

    fn unmount(&self, folder: &Path, force: bool) -> ProjectResult<()> {
        control::unmount(folder, force)
    }

    fn is_mounted(&self, folder: &Path) -> ProjectResult<bool> {
        control::is_mounted(folder)
    }

    fn clear_leftovers(&self, folder: &Path, volumes: &[String]) -> usize {
        leftovers::clear(folder, volumes)
    }
}

impl Driver for Library {
    fn title(&self) -> &'static str {
        "WinFsp"
    }

    fn mount(
        &self,
        server: VolumeServer,
        point: &Path,
        options: &MountOptions,
        lost: Box<dyn Fn() + Send + Sync>,
    ) -> ProjectResult<Box<dyn HostVolume>> {
        let is_folder = !matches!(options.place, Place::Letter(_));
        // The DLL makes the directory itself.
        let stand = (is_folder && point.exists()).then(|| Stand::remove(point)).transpose();
        let stand = stand.map_err(|error| {
            let line = format!("{}: cannot be mounted: {error}", point.display());
            ProjectError::new(ProjectErrorKind::Io, line)
        })?;
        let context = VolumeContext::new(server, self.functions(), lost);
        let told = match options.place {
            Place::MountManager => mount_manager_form(point),
            _ => point.to_path_buf(),
        };
        let volume = Volume::mount(context, &told, stand, *self, options.threads)?;
        if options.place == Place::MountManager
            && !volume.other_names().iter().any(|name| name.starts_with(r"\\?\Volume{"))
        {
            let shown = point.display();
            (options.log)(&format!("{shown}: the Mount Manager tells no name for it"));
        }
        Ok(Box::new(volume))
    }
}

/// `point` as the DLL wants it to tell the Mount Manager of it.
fn mount_manager_form(point: &Path) -> PathBuf {
    let mut form = OsString::from(r"\\.\");
    form.push(point);
    form.into()
}
