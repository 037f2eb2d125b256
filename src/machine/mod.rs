//! The configuration of a machine, given in place of its disks: which files they are.
//!
//! What a configuration names is found as what an image names is: beside it and below its folder, in
//! the folders that the user allowed, nowhere else. Networks and devices that it names are left out and
//! told.

mod config;
mod libvirt;
pub(crate) mod manifest;
mod ovf;
mod proxmox;
mod vbox;
mod vmx;

use std::path::Path;

use volfold_block::{BlockError, BlockErrorKind, BlockResult};
use volfold_images::{FileName, Located, Locator};

pub use config::MachineSnapshot;
use config::{MAX_DISKS, text};
pub(crate) use config::{Machine, MachineDisk};

/// The configurations of machines that are read: ids and titles.
pub const CONFIGURATIONS: &[(&str, &str)] = &[
    ("vmx", "VMware, with its snapshots (.vmsd)"),
    ("ovf", "OVF, with its manifest (.mf)"),
    ("vbox", "VirtualBox"),
    ("xml", "libvirt"),
    ("conf", "Proxmox VE"),
];

/// Whether the file at `path` is called as configurations are.
pub(crate) fn is_called_so(path: &Path) -> bool {
    let extension = path.extension().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    ["vmx", "vmtx", "ovf", "vbox", "vbox-prev", "xml", "conf", "vmcx"].contains(&extension.as_str())
}

/// The machine whose configuration is in `file`, which lies at `path`, in the state that is called
/// `snapshot`, if there is one of that name. `None` if it is no configuration.
///
/// # Errors
/// Why it cannot be read, or that it names no disk.
pub(crate) fn read(
    file: &Located,
    path: &Path,
    snapshot: Option<&str>,
) -> Option<BlockResult<Machine>> {
    let extension = path.extension()?.to_str()?.to_ascii_lowercase();
    let machine = match extension.as_str() {
        "vmx" | "vmtx" => text(file).and_then(|bytes| vmx::read(&bytes, file, path, snapshot)),
        "ovf" => text(file).and_then(|bytes| ovf::read(&bytes)),
        "vbox" | "vbox-prev" => text(file).and_then(|bytes| vbox::read(&bytes, snapshot)),
        "xml" => text(file).and_then(|bytes| libvirt::read(&bytes)).transpose()?,
        "conf" => text(file).map(|bytes| proxmox::read(&bytes)).transpose()?,
        "vmcx" => Err(BlockError::unsupported(
            "is the configuration of a Hyper-V machine in a binary form that is not read; give its \
             .vhdx files, or their folder",
        )),
        _ => return None,
    };
    Some(machine.and_then(checked))
}

/// The machine, if it has disks.
fn checked(machine: Machine) -> BlockResult<Machine> {
    match machine.disks.len() {
        0 if machine.left_out.is_empty() => {
            Err(BlockError::missing("is the configuration of a machine, and names no disk"))
        }
        0..=MAX_DISKS => Ok(machine),
        count => Err(BlockError::unsupported(format!(
            "is the configuration of a machine of {count} disks; at most {MAX_DISKS} are taken"
        ))),
    }
}

/// Opens the first file that `name` may mean, by the policy `files`.
///
/// # Errors
/// Why there is none.
pub(crate) fn open_named(files: &dyn Locator, name: &FileName) -> BlockResult<Located> {
    let is_missing = |error: &BlockError| error.kind() == BlockErrorKind::MissingPart;
    let mut first = None;
    for spelling in &name.spellings {
        match files.open(spelling) {
            Ok(file) => return Ok(file),
            // One that is there and cannot be opened is what was meant.
            Err(error) if first.as_ref().is_none_or(is_missing) => first = Some(error),
            Err(_) => {}
        }
    }
    Err(match first {
        // Of an archive the reason is another one.
        Some(error) if !error.message().ends_with("put it beside the image") => error,
        _ => BlockError::missing(format!(
            "{} is missing; put it beside the configuration, or allow its folder with --allow-path",
            name.shown
        )),
    })
}
