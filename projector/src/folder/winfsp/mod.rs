//! Windows: the set as a volume of WinFsp that is mounted at the folder, its top directories the
//! volumes of the guest; or each of these as a volume of its own.
//!
//! [`abi`] is the DLL as its headers declare it, `library` finds and loads it, [`callbacks`] answer
//! its requests by way of [`super::windows`].

#![expect(unsafe_code, reason = "WinFsp's DLL is called, and calls back, with raw pointers")]

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::error::{ProjectError, ProjectErrorKind, ProjectResult};
use crate::folder::projector::{MountOptions, Place};
use crate::folder::windows::VolumeServer;
use crate::folder::windows::mounting::{By, Driver, HostVolume};

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
pub(crate) type WinFsp = By<Library>;

impl Driver for Library {
    const ID: &'static str = "winfsp";
    const TITLE: &'static str = "WinFsp";

    fn installed() -> ProjectResult<Self> {
        Library::installed()
    }

    fn warning(&self) -> Option<String> {
        Library::warning(self)
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
        Ok(Box::new(Volume::mount(context, &told, stand, *self, options.threads)?))
    }
}

/// `point` as the DLL wants it to tell the Mount Manager of it.
fn mount_manager_form(point: &Path) -> PathBuf {
    let mut form = OsString::from(r"\\.\");
    form.push(point);
    form.into()
}
