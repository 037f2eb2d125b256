//! Volumes as folders of the host, served by threads of this process.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use volfold_projector::{MountOptions, PROJECTORS, ProjectError, ProjectErrorKind, ProjectResult};

use crate::{DiskSet, SetVolume};

/// Volumes that are shown as folders, as long as this lives.
pub struct Mounted {
    folder: PathBuf,
    stop: Box<dyn Fn() + Send + Sync>,
    server: Option<JoinHandle<ProjectResult<()>>>,
}

impl DiskSet {
    /// Shows each readable volume that `choose` takes as a folder in `folder`, which must exist and be
    /// empty: by FUSE, WinFsp or Dokan, without the rights of an administrator. Requests are answered
    /// by threads of this process; `log` is told of those that failed.
    ///
    /// # Errors
    /// Why the host does not do it; `Unavailable` where it has no way to show folders.
    pub fn mount(
        &self,
        folder: impl AsRef<Path>,
        choose: impl Fn(&SetVolume) -> bool,
        log: impl Fn(&str) + Send + Sync + 'static,
    ) -> ProjectResult<Mounted> {
        let folder = folder.as_ref();
        let Some(projector) = PROJECTORS.iter().find(|projector| projector.is_available()) else {
            let line = "this system has no way to show folders";
            return Err(ProjectError::new(ProjectErrorKind::Unavailable, line));
        };
        let volumes = self.tree_volumes(choose);
        let names: Vec<Vec<u8>> = volumes.iter().map(|volume| volume.name().to_vec()).collect();
        let sources: Vec<String> =
            self.disks().iter().map(|disk| disk.path.display().to_string()).collect();
        let mut options = MountOptions::new(sources.join(":"), Arc::new(log));
        options.volumes =
            self.volume_names(|name| names.iter().any(|shown| shown == name.as_bytes()));
        let mount = projector.mount(volumes, folder, &options)?;
        let stop = mount.stopper();
        let server = thread::Builder::new().name("volfold mount".to_owned());
        let server = match server.spawn(move || mount.serve()) {
            Ok(server) => server,
            Err(error) => {
                stop();
                let line = format!("no thread can be started: {error}");
                return Err(ProjectError::new(ProjectErrorKind::Io, line));
            }
        };
        Ok(Mounted { folder: folder.to_path_buf(), stop, server: Some(server) })
    }
}

impl Mounted {
    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Frees the folder, whether programs have files open in it or not, and returns when the last request
    /// is answered.
    ///
    /// # Errors
    /// Why the host ended it before.
    pub fn unmount(mut self) -> ProjectResult<()> {
        self.end()
    }

    fn end(&mut self) -> ProjectResult<()> {
        let Some(server) = self.server.take() else {
            return Ok(());
        };
        (self.stop)();
        match server.join() {
            Ok(ended) => ended,
            Err(_) => {
                let line =
                    "internal error while the mount was served; this is a bug, please report it";
                Err(ProjectError::new(ProjectErrorKind::Io, line))
            }
        }
    }
}

/// The folder is free then.
impl Drop for Mounted {
    fn drop(&mut self) {
        // There is nobody to tell.
        let _ = self.end();
    }
}

impl std::fmt::Debug for Mounted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mounted").field("folder", &self.folder).finish_non_exhaustive()
    }
}
