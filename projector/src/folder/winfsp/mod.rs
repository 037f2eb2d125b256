//! Windows: the set as a volume of WinFsp that is mounted at the folder, its top directories the
//! volumes of the guest; or each of these as a volume of its own.
//!
//! [`abi`] is the DLL as its headers declare it, `library` finds and loads it, [`callbacks`] answer
//! its requests by way of [`super::windows`], `control` is how other processes end a mount.

#![expect(unsafe_code, reason = "WinFsp's DLL is called, and calls back, with raw pointers")]

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use volfold_block::error_chain;
use volfold_fs::{FsError, TreeVolume, VolumeTree};

use crate::error::{ProjectError, ProjectErrorKind, ProjectResult};
use crate::folder::names;
use crate::folder::projector::{Access, MountOptions, Place, Projector};
use crate::folder::windows::{Shown, VolumeServer, security};
use crate::mount::Mount;

pub mod abi;
pub mod callbacks;
mod context;
mod control;
mod host;
mod library;
mod page;
mod stand;
mod volume;

pub use context::VolumeContext;
pub use library::Library;

use control::{Control, End};
use stand::Stand;
use volume::Volume;

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
        let control = Control::new(folder).map_err(|error| match error.kind() {
            // Another process has the first instance of the pipe already.
            io::ErrorKind::PermissionDenied | io::ErrorKind::AlreadyExists => ProjectError::new(
                ProjectErrorKind::Folder,
                format!(
                    "{}: is mounted already, by volfold of this or another user",
                    folder.display()
                ),
            ),
            _ => cannot(folder, &error),
        })?;
        let security =
            security::descriptor(options.access).map_err(|error| cannot(folder, &error))?;
        let (ask, end) = channel();
        let job = Job { folder, options, library, security, ask: &ask };
        let mounted = if options.each || matches!(options.place, Place::Letter(_)) {
            job.each(&volumes)?
        } else {
            vec![job.set(volumes)?]
        };
        control.listen(ask.clone()).map_err(|error| cannot(folder, &error))?;
        Ok(Box::new(Mounted { volumes: mounted, ask, end }))
    }

    fn unmount(&self, folder: &Path, _force: bool) -> ProjectResult<()> {
        control::ask(folder, "unmount").map_err(|error| ask_error(folder, &error))
    }

    fn is_mounted(&self, folder: &Path) -> ProjectResult<bool> {
        match control::ask(folder, "ping") {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(ask_error(folder, &error)),
        }
    }
}

fn cannot(folder: &Path, error: &io::Error) -> ProjectError {
    let line = format!("{}: cannot be mounted: {error}", folder.display());
    ProjectError::new(ProjectErrorKind::Io, line)
}

/// What volumes are mounted with.
struct Job<'a> {
    folder: &'a Path,
    options: &'a MountOptions,
    library: Library,
    security: Vec<u8>,
    ask: &'a Sender<End>,
}

/// A volume and the folder that it is shown as; `None` for all of the set.
struct Named {
    volume: Volume,
    name: Option<Vec<u8>>,
}

impl Job<'_> {
    /// Mounts the set at the folder.
    fn set(&self, volumes: Vec<TreeVolume>) -> ProjectResult<Named> {
        let tree = Arc::new(VolumeTree::new(volumes));
        let (label, serial) = (self.options.label.clone(), self.options.serial);
        let shown = Shown::Set { tree, label, serial };
        let stand = match self.folder.exists() {
            true => Some(Stand::remove(self.folder).map_err(|error| cannot(self.folder, &error))?),
            false => None,
        };
        let point = self.point(self.folder);
        let server = self.server(shown).map_err(|error| not_shown(&point, &error))?;
        let volume = self.mount(server, &point, stand)?;
        Ok(Named { volume, name: None })
    }

    /// Mounts each volume for itself. One that cannot be shown is told to the log, and costs the others
    /// nothing.
    fn each(&self, volumes: &[TreeVolume]) -> ProjectResult<Vec<Named>> {
        let mut mounted = Vec::new();
        let mut first = None;
        for volume in volumes {
            let name = volume.name().to_vec();
            let point = match self.options.place {
                Place::Letter(letter) => PathBuf::from(format!("{letter}:")),
                _ => self.point(&self.folder.join(names::to_host(&name))),
            };
            let shown = volume.open().map(|fs| Shown::Volume { fs, name: name.clone() });
            match shown.and_then(|shown| self.server(shown)) {
                Ok(server) => {
                    let volume = self.mount(server, &point, None)?;
                    mounted.push(Named { volume, name: Some(name) });
                }
                Err(error) => {
                    let error = not_shown(&point, &error);
                    (self.options.log)(&error.to_string());
                    first = first.or(Some(error));
                }
            }
        }
        match first {
            Some(error) if mounted.is_empty() => Err(error),
            _ => Ok(mounted),
        }
    }

    fn server(&self, shown: Shown) -> Result<VolumeServer, FsError> {
        let log = self.options.log.clone();
        let server = VolumeServer::new(shown, &self.options.volumes, self.security.clone(), log)?;
        Ok(server.with_guest_security(self.options.access == Access::Guest))
    }

    fn mount(
        &self,
        server: VolumeServer,
        point: &Path,
        stand: Option<Stand>,
    ) -> ProjectResult<Volume> {
        let ask = self.ask.clone();
        let lost = move || drop(ask.send(End::DriverGone));
        let context = VolumeContext::new(server, self.library.functions(), lost);
        Volume::mount(context, point, stand, self.library, self.options.threads)
    }

    /// `folder` as WinFsp wants it.
    fn point(&self, folder: &Path) -> PathBuf {
        match self.options.place {
            Place::MountManager => {
                let mut point = std::ffi::OsString::from(r"\\.\");
                point.push(folder);
                point.into()
            }
            _ => folder.to_path_buf(),
        }
    }
}

fn not_shown(point: &Path, error: &FsError) -> ProjectError {
    let line = format!("{}: cannot be shown: {}", point.display(), error_chain(error));
    ProjectError::new(ProjectErrorKind::Io, line)
}

fn ask_error(folder: &Path, error: &io::Error) -> ProjectError {
    let shown = folder.display();
    match error.kind() {
        io::ErrorKind::NotFound => {
            ProjectError::new(ProjectErrorKind::NotMounted, format!("{shown}: not a volfold mount"))
        }
        io::ErrorKind::PermissionDenied => ProjectError::new(
            ProjectErrorKind::Io,
            format!("{shown}: is another user's; only they and administrators may free it"),
        ),
        _ => ProjectError::new(ProjectErrorKind::Io, format!("{shown}: {error}")),
    }
}

/// A mounted set.
struct Mounted {
    volumes: Vec<Named>,
    ask: Sender<End>,
    end: Receiver<End>,
}

impl Mount for Mounted {
    fn stopper(&self) -> Box<dyn Fn() + Send + Sync> {
        let ask = self.ask.clone();
        Box::new(move || drop(ask.send(End::Asked(None))))
    }

    fn other_names(&self, volume: &[u8]) -> Vec<String> {
        let below = names::to_host(volume);
        let of_set = |names: Vec<String>| {
            let in_it = |name: String| format!("{name}{}", below.to_string_lossy());
            names.into_iter().map(in_it).collect()
        };
        let is_it = |named: &&Named| named.name.as_deref().is_none_or(|name| name == volume);
        self.volumes.iter().find(is_it).map_or_else(Vec::new, |named| match &named.name {
            Some(_) => named.volume.other_names(),
            None => of_set(named.volume.other_names()),
        })
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
