//! Windows: every volume as a volume of WinFsp, mounted as a directory below the folder.
//!
//! [`abi`] is the DLL as its headers declare it, `library` finds and loads it, [`callbacks`] and
//! `server` answer its requests from a file system, `control` is how other processes end a mount.

#![expect(unsafe_code, reason = "WinFsp's DLL is called, and calls back, with raw pointers")]

use std::ffi::c_void;
use std::io;
use std::os::windows::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};

use volfold_block::error_chain;
use volfold_fs::TreeVolume;

use crate::error::{ProjectError, ProjectErrorKind, ProjectResult};
use crate::folder::names;
use crate::folder::projector::{Access, MountOptions, Place, Projector};
use crate::mount::Mount;

pub mod abi;
pub mod callbacks;
mod control;
mod host;
mod leftovers;
mod library;
mod listing;
mod page;
mod reparse;
mod security;
mod server;

pub use library::Library;
pub use server::VolumeServer;

use abi::{FileSystemPtr, NtStatus};
use control::{Control, End};

/// The WinFsp projector.
pub struct WinFsp;

impl Projector for WinFsp {
    fn id(&self) -> &'static str {
        "winfsp"
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
        let library = Library::installed()?;
        if let Place::Letter(_) = options.place
            && volumes.len() != 1
        {
            return Err(ProjectError::new(
                ProjectErrorKind::Folder,
                "a drive letter shows one volume; choose it with --volume",
            ));
        }
        host::check_folder(folder)?;
        let cannot = |error: io::Error| {
            let line = format!("{}: cannot be mounted: {error}", folder.display());
            ProjectError::new(ProjectErrorKind::Io, line)
        };
        let control = Control::new(folder)?;
        let security = security::descriptor(options.access).map_err(cannot)?;
        let (ask, end) = channel();
        let mut mounted = Vec::new();
        for volume in &volumes {
            mounted.push(Volume::mount(volume, folder, options, library, &security, &ask)?);
        }
        control.listen(ask.clone()).map_err(cannot)?;
        Ok(Box::new(Mounted { volumes: mounted, ask, end }))
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

/// A volume that is shown.
struct Volume {
    fs: FileSystemPtr,
    library: Library,
    /// What the callbacks use; freed after the last of them.
    server: *mut VolumeServer,
}

// SAFETY: the DLL's functions on a file system may be called from any thread, and the server is
// `Send + Sync`.
unsafe impl Send for Volume {}

impl Volume {
    fn mount(
        volume: &TreeVolume,
        folder: &Path,
        options: &MountOptions,
        library: Library,
        security: &[u8],
        ask: &Sender<End>,
    ) -> ProjectResult<Self> {
        let place = mount_point(volume.name(), folder, options.place);
        let shown = place.display().to_string();
        let server = volume.open().and_then(|fs| {
            let ask = ask.clone();
            let lost = move || drop(ask.send(End::DriverGone));
            let log = options.log.clone();
            let server = VolumeServer::new(fs, security.to_vec(), library.functions(), log, lost)?;
            let server = server.with_names(volume.name(), &options.volumes);
            Ok(server.with_guest_security(options.access == Access::Guest))
        });
        let server = server.map_err(|error| {
            let line = format!("{shown}: cannot be shown: {}", error_chain(&error));
            ProjectError::new(ProjectErrorKind::Io, line)
        })?;
        let params = server.params();
        let server = Box::into_raw(Box::new(server));
        let wide = |text: &Path| text.as_os_str().encode_wide().chain([0]).collect::<Vec<u16>>();
        let device = wide(Path::new("WinFsp.Disk"));
        let mut fs: FileSystemPtr = std::ptr::null_mut();
        // SAFETY: names end with 0, the parameters are complete, the interface lives for ever.
        let status = unsafe {
            let create = library.functions().create;
            create(device.as_ptr(), &raw const params, &raw const callbacks::INTERFACE, &raw mut fs)
        };
        if status < 0 {
            // SAFETY: made by `Box::into_raw` above, and nothing uses it.
            drop(unsafe { Box::from_raw(server) });
            return Err(host::driver_error(&shown, status));
        }
        // From here on dropping it undoes all.
        let volume = Self { fs, library, server };
        let point = wide(&place);
        let threads = u32::try_from(options.threads).unwrap_or(0);
        // SAFETY: `fs` was made above. Its context is set before anything is dispatched.
        let status = unsafe {
            (*fs).user_context = server.cast::<c_void>();
            let functions = library.functions();
            match (functions.set_mount_point_ex)(fs, point.as_ptr(), std::ptr::null_mut()) {
                status if status < 0 => Err((host::mount_point_error(&shown, status), status)),
                _ => match (functions.start_dispatcher)(fs, threads) {
                    status if status < 0 => Err((host::driver_error(&shown, status), status)),
                    _ => Ok(()),
                },
            }
        };
        status.map_err(|(error, _): (ProjectError, NtStatus)| error)?;
        Ok(volume)
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        // SAFETY: the file system is ours; after these two no callback runs, so the server goes.
        unsafe {
            (self.library.functions().stop_dispatcher)(self.fs);
            (self.library.functions().delete)(self.fs);
            drop(Box::from_raw(self.server));
        }
    }
}

/// Where the volume called `name` is mounted.
fn mount_point(name: &[u8], folder: &Path, place: Place) -> PathBuf {
    match place {
        Place::Folder => folder.join(names::to_host(name)),
        Place::MountManager => Path::new(r"\\.\").join(folder).join(names::to_host(name)),
        Place::Letter(letter) => PathBuf::from(format!("{letter}:")),
    }
}

/// A mounted set.
struct Mounted {
    volumes: Vec<Volume>,
    ask: Sender<End>,
    end: Receiver<End>,
}

impl Mount for Mounted {
    fn stopper(&self) -> Box<dyn Fn() + Send + Sync> {
        let ask = self.ask.clone();
        Box::new(move || drop(ask.send(End::Asked(None))))
    }

    fn serve(self: Box<Self>) -> ProjectResult<()> {
        let Self { volumes, ask, end } = *self;
        // The sender is kept, so there is always one to wait for.
        let end = end.recv().unwrap_or(End::Asked(None));
        drop(volumes);
        drop(ask);
        match end {
            End::Asked(client) => {
                drop(client);
                Ok(())
            }
            End::DriverGone => Err(ProjectError::new(
                ProjectErrorKind::Io,
                "WinFsp's driver was unloaded; mount again when it is back",
            )),
        }
    }
}
