//! Linux: the tree as a FUSE file system.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use fuser::SessionACL;
use volfold_fs::{FileSystem, Name, TreeVolume};

use crate::error::{ProjectError, ProjectErrorKind, ProjectResult};
use crate::folder::projector::{MountOptions, Projector};
use crate::fuse_session;
use crate::mount::Mount;

mod places;
mod server;

use server::Server;

/// The FUSE projector.
pub struct Fuse;

impl Projector for Fuse {
    fn id(&self) -> &'static str {
        "fuse"
    }

    fn mount(
        &self,
        volumes: Vec<TreeVolume>,
        folder: &Path,
        options: &MountOptions,
    ) -> ProjectResult<Box<dyn Mount>> {
        fuse_session::check_host(options.allow_other)?;
        let mut config = fuse_session::config(&options.source, false, options.threads);
        config.acl = if options.allow_other { SessionACL::All } else { SessionACL::Owner };
        let tree = Arc::new(options.tree(volumes));
        let root = match &options.root {
            Some(name) => tree.lookup(tree.root(), Name::new(name)),
            None => Ok(tree.root()),
        };
        let root = root.map_err(|error| {
            let line = format!("{}: cannot be shown: {error}", folder.display());
            ProjectError::new(ProjectErrorKind::Folder, line)
        })?;
        let server = Server::new(tree, root, options);
        fuse_session::start(server, folder, &config)
    }

    fn unmount(&self, folder: &Path, force: bool) -> ProjectResult<()> {
        fuse_session::unmount(folder, force)
    }

    fn is_mounted(&self, folder: &Path) -> ProjectResult<bool> {
        fuse_session::is_mounted(folder)
    }

    fn is_mounted_in(&self, pid: u32, folder: &Path) -> bool {
        fuse_session::is_mounted_in(pid, folder)
    }

    fn holders(&self, folder: &Path) -> Vec<u32> {
        fuse_session::holders(folder)
    }

    fn mounted(&self) -> Vec<PathBuf> {
        fuse_session::mounted()
    }
}
