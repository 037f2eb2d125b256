//! What `mount` asks for on one host and not on another.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use volfold_projector::{MountOptions, PROJECTORS, Projector};

#[cfg(not(windows))]
pub(crate) const MOUNT_HELP: &str = "\
Examples:
  volfold mount disk.vmdk /mnt/disk
  volfold mount disk1.vmdk disk2.vmdk /mnt/disks --volume System
  volfold mount disk1.vmdk disk2.vmdk /mnt/system --only System
  volfold unmount /mnt/disk

Returns when FOLDER can be read and goes on in the background; messages then go to the log file
that `volfold mounts` names. FOLDER is made if it is not there. Nothing is ever written to an image.

From /etc/fstab, with this program linked as /sbin/mount.volfold (or mount.fuse3 installed, and then
with the type fuse.volfold):
  /srv/disk.vmdk  /mnt/disk  volfold  ro,nofail,volume=System,allow_other  0  0
Options: disk= (one more image), volume=, only=, guest, owner=, links=, allow_other, raw, snapshots,
system_files, allow_path=, cache_size=, key=, snapshot=, threads=.";

#[cfg(windows)]
pub(crate) const MOUNT_HELP: &str = "\
Examples:
  volfold mount disk.vmdk C:\\mnt\\disk
  volfold mount disk1.vmdk disk2.vmdk C:\\mnt\\disks --volume System
  volfold mount disk.vmdk C:\\mnt\\system --only System
  volfold mount disk.vmdk --volume System --letter X:
  volfold unmount C:\\mnt\\disk

Returns when FOLDER can be read and goes on in the background; messages then go to the log file
that `volfold mounts` names. FOLDER is made if it is not there; it must lie on a local NTFS volume.
Nothing is ever written to an image.

Needs WinFsp - Windows File System Proxy, Copyright (C) Bill Zissimopoulos,
https://github.com/winfsp/winfsp - or Dokan, https://github.com/dokan-dev/dokany";

#[cfg(not(windows))]
pub(crate) const UNMOUNT_HELP: &str = "\
Examples:
  volfold unmount /mnt/disk
  volfold unmount /mnt/disk --force
  volfold unmount --all

Also clears a folder whose process was killed.";

#[cfg(windows)]
pub(crate) const UNMOUNT_HELP: &str = "\
Examples:
  volfold unmount C:\\mnt\\disk
  volfold unmount X:
  volfold unmount --all

Programs that have files open in it get errors. Also clears a folder whose process was killed.";

/// Whose files a mount shows.
#[cfg(not(windows))]
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Owner {
    /// The user who mounts; modes 0444 and 0555
    Me,
    /// The guest's own users and modes
    Guest,
}

/// What symbolic links become.
#[cfg(not(windows))]
#[derive(Clone, Copy, Debug, ValueEnum)]
enum LinkStyle {
    /// Links that lead where the guest means, and never out of their volume
    Guest,
    /// Links as they are stored; absolute ones then lead to files of this machine
    Raw,
    /// Nothing
    Hide,
}

/// Who may read a mount.
#[cfg(windows)]
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Readers {
    /// The user who mounts, SYSTEM and administrators
    Me,
    /// All users
    Everyone,
    /// The users whom the guest's own descriptors let in (NTFS)
    Guest,
}

/// What shows folders.
#[cfg(windows)]
#[derive(Clone, Copy, Debug, ValueEnum)]
enum WindowsDriver {
    /// WinFsp, <https://winfsp.dev>
    Winfsp,
    /// Dokan 2, <https://dokan-dev.github.io>
    Dokan,
}

#[cfg(windows)]
impl WindowsDriver {
    fn id(self) -> &'static str {
        match self {
            Self::Winfsp => "winfsp",
            Self::Dokan => "dokan",
        }
    }
}

/// The arguments that only this host has.
#[derive(Args)]
pub(crate) struct HostArguments {
    /// Whose files they are
    #[cfg(not(windows))]
    #[arg(long, value_enum, default_value_t = Owner::Me)]
    owner: Owner,
    /// What symbolic links become
    #[cfg(not(windows))]
    #[arg(long, value_enum, default_value_t = LinkStyle::Guest)]
    links: LinkStyle,
    /// Let other users of this machine in
    #[cfg(not(windows))]
    #[arg(long)]
    allow_other: bool,
    /// The driver [default: WinFsp if it is installed, else Dokan]
    #[cfg(windows)]
    #[arg(long, value_enum, value_name = "DRIVER")]
    projector: Option<WindowsDriver>,
    /// Who may read
    #[cfg(windows)]
    #[arg(long, value_enum, default_value_t = Readers::Me)]
    access: Readers,
    /// Tell the Mount Manager, so that volumes have a name by GUID; needs an administrator
    #[cfg(windows)]
    #[arg(long, conflicts_with = "letter")]
    mount_manager: bool,
    /// Every volume for itself, with its own label, serial number and size, as a junction in FOLDER
    #[cfg(windows)]
    #[arg(long, conflicts_with = "letter")]
    each: bool,
    /// Show one volume as this drive instead of below a FOLDER
    #[cfg(windows)]
    #[arg(long, value_name = "X:", value_parser = parse_letter)]
    letter: Option<char>,
}

impl HostArguments {
    /// What shows the folders: what is named, else the best of what is installed.
    #[cfg_attr(not(windows), expect(clippy::unused_self, reason = "other hosts have one way"))]
    pub(crate) fn projector(&self) -> Option<&'static dyn Projector> {
        #[cfg(windows)]
        if let Some(named) = self.projector {
            let id = named.id();
            return PROJECTORS.iter().find(|projector| projector.id() == id).copied();
        }
        // Where nothing is installed, the best says what to install.
        let installed = PROJECTORS.iter().find(|projector| projector.is_available());
        installed.or(PROJECTORS.first()).copied()
    }

    /// The drive that takes the place of FOLDER.
    #[cfg_attr(not(windows), expect(clippy::unused_self, reason = "other hosts have no drives"))]
    pub(crate) fn letter(&self) -> Option<PathBuf> {
        #[cfg(windows)]
        return self.letter.map(|letter| PathBuf::from(format!("{letter}:")));
        #[cfg(not(windows))]
        return None;
    }

    /// Writes into `options` how the volumes are shown.
    pub(crate) fn apply(&self, options: &mut MountOptions) {
        #[cfg(windows)]
        {
            use volfold_projector::{Access, Place};
            options.access = match self.access {
                Readers::Me => Access::Me,
                Readers::Everyone => Access::Everyone,
                Readers::Guest => Access::Guest,
            };
            options.place = match (self.letter, self.mount_manager) {
                (Some(letter), _) => Place::Letter(letter),
                (None, true) => Place::MountManager,
                (None, false) => Place::Folder,
            };
            options.each = self.each;
        }
        #[cfg(not(windows))]
        {
            use volfold_projector::{Links, Ownership};
            options.ownership = match self.owner {
                Owner::Me => Ownership::MountingUser,
                Owner::Guest => Ownership::Guest,
            };
            options.links = match self.links {
                LinkStyle::Guest => Links::Guest,
                LinkStyle::Raw => Links::Raw,
                LinkStyle::Hide => Links::Hide,
            };
            options.allow_other = self.allow_other;
        }
    }
}

/// A drive: one letter, with or without a colon.
#[cfg(windows)]
fn parse_letter(text: &str) -> Result<char, String> {
    let mut characters = text.trim_end_matches(['\\', '/']).trim_end_matches(':').chars();
    match (characters.next(), characters.next()) {
        (Some(letter), None) if letter.is_ascii_alphabetic() => Ok(letter.to_ascii_uppercase()),
        _ => Err("give one letter, as in X:".to_owned()),
    }
}
