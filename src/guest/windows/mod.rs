//! What a Windows on a volume says of itself, in its hives and boot menus.
//!
//! Sources: Microsoft's documentation of the registry keys that are named here, and hives of Windows
//! NT 4 to Server 2025.
//!
//! Nothing is guessed: what a hive does not have is `None`, and what it has and cannot be read is a
//! finding that names the hive and the key.

#![cfg_attr(
    not(test),
    warn(clippy::arithmetic_side_effects, clippy::as_conversions, clippy::indexing_slicing)
)]

use std::ops::ControlFlow;

use volfold_block::{Finding, FindingLog, code};
use volfold_fs::{DirCursor, FileKind, FileSystem, NodeId};

mod boot;
mod devices;
mod files;
mod join;
mod machine;
mod product;
mod programs;
mod section;

#[cfg(test)]
mod tests;

pub use boot::{BootDevice, BootEntry, BootMenu, boot_menus};
pub use devices::{
    DeviceId, MountName, MountedDevice, MountedVolume, mounted_volumes, volumes_with_id,
};
use files::{Files, Notes};
pub(crate) use join::find;
pub use machine::{ControlSets, Machine, PageFile, TimeZone};
pub use product::{Product, ProductRole};
pub use programs::{Program, ProgramScope};
use section::Section;

/// LIMIT: folders of a root that are looked into for a Windows.
const MAX_FOLDERS: usize = 4096;

/// A Windows on a volume.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Windows {
    /// The name of its folder at the root of the volume.
    pub folder: String,
    /// Which Windows it is.
    pub product: Product,
    /// How it is set up.
    pub machine: Machine,
    /// Which letters it gives to which volumes; see [`mounted_volumes`].
    pub mounted_devices: Vec<MountedDevice>,
    /// `MachineGuid`: the id that it gives itself.
    pub machine_guid: Option<String>,
}

impl Windows {
    /// For what it is, as far as it says.
    pub fn role(&self) -> Option<ProductRole> {
        self.machine.role().or(self.product.role)
    }
}

/// Files of which a folder of Windows has one at least, whatever else was lost.
const SIGNS: [&str; 3] =
    ["System32/config/SOFTWARE", "System32/config/SYSTEM", "System32/ntoskrnl.exe"];

/// The folders at the root of `fs` that hold a Windows: those with a hive in `System32/config`, or with a
/// kernel, in the order of the directory. What cannot be read is told in `told`.
pub fn windows_folders(fs: &dyn FileSystem, told: &FindingLog) -> Vec<String> {
    let mut folders: Vec<(String, NodeId)> = Vec::new();
    let mut has_more = false;
    let listed = fs.read_dir(fs.root(), DirCursor::START, &mut |entry| {
        if entry.kind != FileKind::Directory {
            return ControlFlow::Continue(());
        }
        // A folder of Windows has a name that its own programs can write.
        if let Ok(name) = std::str::from_utf8(entry.name.as_bytes()) {
            has_more = folders.len() >= MAX_FOLDERS;
            if has_more {
                return ControlFlow::Break(());
            }
            folders.push((name.to_owned(), entry.node));
        }
        ControlFlow::Continue(())
    });
    let root = Notes { path: "/", told };
    root.or_none(listed.map(Some));
    if has_more {
        root.odd(format!("only {MAX_FOLDERS} folders were looked into for a Windows"));
    }
    let files = Files { fs };
    let has_sign = |(name, node): &(String, NodeId)| {
        let notes = Notes { path: name, told };
        SIGNS.iter().any(|sign| notes.or_none(files.find_in(*node, sign)).is_some())
    };
    folders.into_iter().filter(has_sign).map(|(name, _)| name).collect()
}

/// What the Windows in `folder` of `fs` says of itself. What cannot be read is told in `told`, by the
/// hive and the key.
pub fn read_windows(fs: &dyn FileSystem, folder: &str, told: &FindingLog) -> Windows {
    let files = Files { fs };
    let software = format!("{folder}/System32/config/SOFTWARE");
    let system = format!("{folder}/System32/config/SYSTEM");
    let mut windows = Windows {
        folder: folder.to_owned(),
        product: Product::default(),
        machine: Machine::default(),
        mounted_devices: Vec::new(),
        machine_guid: None,
    };
    match files.hive(&software, told) {
        Some(hive) => {
            let notes = Notes { path: &software, told };
            windows.product = Product::read(&hive, notes);
            let section = Section::open(&hive, r"Microsoft\Cryptography", notes);
            windows.machine_guid = section.text("MachineGuid");
        }
        None => note_missing(files, &software, told),
    }
    match files.hive(&system, told) {
        Some(hive) => {
            let notes = Notes { path: &system, told };
            windows.machine = Machine::read(&hive, notes);
            windows.mounted_devices = MountedDevice::read_all(&hive, notes);
        }
        None => note_missing(files, &system, told),
    }
    windows
}

/// The programs that are installed in the Windows in `folder` of `fs`, for all users and for each
/// whose profile is on the same volume. What cannot be read is told in `told`.
pub fn installed_programs(fs: &dyn FileSystem, folder: &str, told: &FindingLog) -> Vec<Program> {
    let software = format!("{folder}/System32/config/SOFTWARE");
    match (Files { fs }).hive(&software, told) {
        Some(hive) => programs::read(fs, &hive, Notes { path: &software, told }),
        None => {
            note_missing(Files { fs }, &software, told);
            Vec::new()
        }
    }
}

/// Tells that a hive is not there, unless it is and was told of already.
fn note_missing(files: Files<'_>, path: &str, told: &FindingLog) {
    if matches!(files.find(path), Ok(None)) {
        let line = "hive is missing";
        told.add(Finding::warning(code::GUEST_INCOMPLETE, line).on_path(path));
    }
}
