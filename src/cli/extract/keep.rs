//! What is kept of a file beside its content and times, for those who restore: owner, mode, and
//! extended attributes.

use std::fs::{File, Permissions};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;

use clap::Args;
use volfold_fs::attributes::each_extended_attribute;
use volfold_fs::{FileSystem, Metadata, Owner};

/// What is kept.
#[derive(Args, Clone, Copy, Default)]
pub(super) struct KeepArguments {
    /// Give files the guest's user and group numbers; needs root
    #[arg(long)]
    pub(super) owners: bool,
    /// Give files the guest's permission bits; set-user-ID and set-group-ID with --owners alone
    #[arg(long)]
    pub(super) modes: bool,
    /// Copy extended attributes (user.*; other kinds where this user may set them)
    #[arg(long)]
    pub(super) xattrs: bool,
}

impl KeepArguments {
    /// Sets what is kept on `file`.
    ///
    /// # Errors
    /// What was being set, and why it cannot be.
    pub(super) fn apply(
        self,
        tree: &dyn FileSystem,
        metadata: &Metadata,
        file: &File,
    ) -> Result<(), String> {
        self.apply_owner(metadata.owner, file)?;
        if !self.xattrs {
            return Ok(());
        }
        for (name, value) in attributes(tree, metadata)? {
            let flags = rustix::fs::XattrFlags::empty();
            let set = rustix::fs::fsetxattr(file.as_fd(), name.as_slice(), &value, flags);
            set.map_err(|error| {
                let name = String::from_utf8_lossy(&name);
                format!("extended attribute {name} cannot be set: {}", io::Error::from(error))
            })?;
        }
        Ok(())
    }

    /// The owner first: to set it clears bits of the mode.
    fn apply_owner(self, owner: Option<Owner>, file: &File) -> Result<(), String> {
        let Some(owner) = owner else { return Ok(()) };
        if self.owners {
            std::os::unix::fs::fchown(file, Some(owner.uid), Some(owner.gid))
                .map_err(|error| format!("owner cannot be set: {error}"))?;
        }
        if self.modes {
            // A guest's program that runs as its owner must not run as the user who extracts it.
            let mode = if self.owners { owner.mode } else { owner.mode & 0o1777 };
            file.set_permissions(Permissions::from_mode(mode.into()))
                .map_err(|error| format!("mode cannot be set: {error}"))?;
        }
        Ok(())
    }
}

/// An extended attribute: its name and its value.
pub(super) type Attribute = (Vec<u8>, Vec<u8>);

/// The extended attributes that other files can have: those that NTFS itself keeps (`system.ntfs_`) say how the
/// file lies there.
pub(super) fn attributes(
    tree: &dyn FileSystem,
    metadata: &Metadata,
) -> Result<Vec<Attribute>, String> {
    let shown = |error: &volfold_fs::FsError| {
        format!("extended attributes cannot be read: {}", volfold_block::error_chain(error))
    };
    let mut all = Vec::new();
    let wanted = |name: &[u8]| !name.starts_with(b"system.ntfs_");
    let keep = |name, value| all.push((name, value));
    each_extended_attribute(tree, metadata.node, wanted, keep).map_err(|error| shown(&error))?;
    Ok(all)
}
