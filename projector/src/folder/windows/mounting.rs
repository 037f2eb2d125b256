//! How a set is mounted, whichever driver does it: as one volume of the host, or each volume of the
//! guest for itself.

use std::marker::PhantomData;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use volfold_block::error_chain;
use volfold_fs::{FsError, TreeVolume};

use super::control::{Control, End};
use super::server::{Shown, VolumeServer};
use super::{control, leftovers, place, security};
use crate::error::{ProjectError, ProjectErrorKind, ProjectResult};
use crate::folder::names;
use crate::folder::projector::{Access, MountOptions, Place, Projector};
use crate::mount::Mount;

/// A volume of the host; dropping it takes it away.
pub(crate) trait HostVolume: Send {
    /// The names of its root beside its mount point, each with a separator at its end.
    fn other_names(&self) -> Vec<String>;
}

/// What makes volumes of the host: the library of a driver, loaded.
pub(crate) trait Driver: Sized {
    /// As [`Projector::id`].
    const ID: &'static str;

    /// What messages call it.
    const TITLE: &'static str;

    /// Loads the library.
    ///
    /// # Errors
    /// `Unavailable`, with what to do.
    fn installed() -> ProjectResult<Self>;

    /// As [`Projector::warning`].
    fn warning(&self) -> Option<String> {
        None
    }

    /// Makes a volume that `server` answers for, at `point`: a folder, or a drive as `X:`. `lost` is
    /// called when the driver ends it by itself.
    ///
    /// # Errors
    /// Why the driver or the host refuses.
    fn mount(
        &self,
        server: VolumeServer,
        point: &Path,
        options: &MountOptions,
        lost: Box<dyn Fn() + Send + Sync>,
    ) -> ProjectResult<Box<dyn HostVolume>>;
}

/// The projector of a driver.
pub(crate) struct By<D>(PhantomData<fn() -> D>);

impl<D> By<D> {
    pub(crate) const NEW: Self = Self(PhantomData);
}

impl<D: Driver> Projector for By<D> {
    fn id(&self) -> &'static str {
        D::ID
    }

    fn is_available(&self) -> bool {
        D::installed().is_ok()
    }

    fn warning(&self) -> Option<String> {
        D::installed().ok()?.warning()
    }

    fn mount(
        &self,
        volumes: Vec<TreeVolume>,
        folder: &Path,
        options: &MountOptions,
    ) -> ProjectResult<Box<dyn Mount>> {
        mount(&D::installed()?, volumes, folder, options)
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

/// Mounts `volumes` at `folder` by `driver`.
///
/// # Errors
/// Why the driver or the host refuses, or nothing can be shown.
fn mount<D: Driver>(
    driver: &D,
    volumes: Vec<TreeVolume>,
    folder: &Path,
    options: &MountOptions,
) -> ProjectResult<Box<dyn Mount>> {
    let is_letter = matches!(options.place, Place::Letter(_));
    if (is_letter || options.root.is_some()) && volumes.len() != 1 {
        let what = if is_letter { "a drive letter" } else { "the folder itself" };
        let line = format!("{what} shows one volume; choose it with --volume");
        return Err(ProjectError::new(ProjectErrorKind::Folder, line));
    }
    place::check_folder(folder)?;
    let cannot = |error: std::io::Error| {
        let line = format!("{}: cannot be mounted: {error}", folder.display());
        ProjectError::new(ProjectErrorKind::Io, line)
    };
    let control = Control::new(folder)?;
    let security = security::descriptor(options.access).map_err(cannot)?;
    let (ask, end) = channel();
    let job = Job { driver, folder, options, security, ask: &ask };
    let is_each = options.each || is_letter || options.root.is_some();
    let volumes = if is_each { job.each(&volumes)? } else { vec![job.set(volumes)?] };
    control.listen(ask.clone()).map_err(cannot)?;
    Ok(Box::new(Mounted { driver: D::TITLE, volumes, ask, end }))
}

/// What volumes are mounted with.
struct Job<'a, D> {
    driver: &'a D,
    folder: &'a Path,
    options: &'a MountOptions,
    security: Vec<u8>,
    ask: &'a Sender<End>,
}

/// A volume of the host and the folder of the guest's that it shows; `None` for all of the set.
struct Named {
    volume: Box<dyn HostVolume>,
    name: Option<Vec<u8>>,
}

impl<D: Driver> Job<'_, D> {
    /// Mounts the set at the folder.
    fn set(&self, volumes: Vec<TreeVolume>) -> ProjectResult<Named> {
        let tree = Arc::new(self.options.tree(volumes));
        let (label, serial) = (self.options.label.clone(), self.options.serial);
        let server = self.server(Shown::Set { tree, label, serial });
        let server = server.map_err(|error| not_shown(self.folder, &error))?;
        Ok(Named { volume: self.mount(server, self.folder)?, name: None })
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
                _ if self.options.root.is_some() => self.folder.to_path_buf(),
                _ => self.folder.join(names::to_host(&name)),
            };
            let shown = volume.open().map(|fs| Shown::Volume { fs, name: name.clone() });
            match shown.and_then(|shown| self.server(shown)) {
                Ok(server) => {
                    let volume = self.mount(server, &point)?;
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

    fn mount(&self, server: VolumeServer, point: &Path) -> ProjectResult<Box<dyn HostVolume>> {
        let is_folder = !matches!(self.options.place, Place::Letter(_));
        if is_folder && point.is_symlink() {
            // A driver would take its place, and it could not be made again.
            let shown = point.display();
            let line = format!("{shown}: is a link; give the folder that it leads to");
            return Err(ProjectError::new(ProjectErrorKind::Folder, line));
        }
        let ask = self.ask.clone();
        let lost = Box::new(move || drop(ask.send(End::DriverGone)));
        let volume = self.driver.mount(server, point, self.options, lost)?;
        if self.options.place == Place::MountManager
            && !volume.other_names().iter().any(|name| name.starts_with(r"\\?\Volume{"))
        {
            let shown = point.display();
            (self.options.log)(&format!("{shown}: the Mount Manager tells no name for it"));
        }
        Ok(volume)
    }
}

fn not_shown(point: &Path, error: &FsError) -> ProjectError {
    let line = format!("{}: cannot be shown: {}", point.display(), error_chain(error));
    ProjectError::new(ProjectErrorKind::Io, line)
}

/// A mounted set.
struct Mounted {
    driver: &'static str,
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
        let is_it = |named: &&Named| named.name.as_deref().is_none_or(|name| name == volume);
        let Some(named) = self.volumes.iter().find(is_it) else {
            return Vec::new();
        };
        let mut names = named.volume.other_names();
        if named.name.is_none() {
            for name in &mut names {
                name.push_str(&below.to_string_lossy());
            }
        }
        names
    }

    fn serve(self: Box<Self>) -> ProjectResult<()> {
        let Self { driver, volumes, ask, end } = *self;
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
                format!("{driver}'s driver ended a volume; mount again"),
            )),
        }
    }
}
