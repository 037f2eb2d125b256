//! The configuration of a machine, given in place of its disks: which files they are.
//!
//! What a configuration names is found as what an image names is: beside it and below its folder, in
//! the folders that the user allowed, nowhere else. Networks and devices that it names are left out and
//! told.

mod libvirt;
mod ovf;
mod proxmox;
mod vbox;
mod vmx;
mod xml;

use std::path::{Path, PathBuf};

use volfold_block::{BlockError, BlockResult, bytes_to_index, keep};
use volfold_images::{FileName, Located, Locator};

/// LIMIT: bytes of a configuration.
const MAX_BYTES: u64 = 8 << 20;

/// LIMIT: disks of one machine.
const MAX_DISKS: usize = 1024;

/// A machine, as its configuration tells.
#[derive(Debug, Default)]
pub(crate) struct Machine {
    /// Its disks, in the order of the configuration.
    pub(crate) disks: Vec<MachineDisk>,
    /// Where disks are attached that are no files, and what they are.
    pub(crate) left_out: Vec<(String, String)>,
    /// Whether the disks are those of the snapshot that was asked for.
    pub(crate) is_snapshot: bool,
}

/// A disk of a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MachineDisk {
    /// Where it is attached: `scsi0:0`.
    pub(crate) slot: String,
    /// Its file.
    pub(crate) file: FileName,
    /// The id of the format that the configuration declares.
    pub(crate) format: Option<&'static str>,
}

impl Machine {
    /// Adds the disk at `slot`, in the file called `name`.
    fn add(&mut self, slot: impl Into<String>, name: &str, format: Option<&'static str>) {
        let spellings = vec![PathBuf::from(name)];
        let file = FileName { shown: name.to_owned(), spellings };
        self.disks.push(MachineDisk { slot: slot.into(), file, format });
    }

    fn leave_out(&mut self, slot: impl Into<String>, reason: impl Into<String>) {
        self.left_out.push((slot.into(), reason.into()));
    }
}

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

/// All bytes of the configuration in `file`.
fn text(file: &Located) -> BlockResult<Vec<u8>> {
    let size = file.device.size();
    if size > MAX_BYTES {
        let line = format!("configuration has {size} bytes; at most {MAX_BYTES} are read");
        return Err(BlockError::unsupported(line));
    }
    let mut bytes = vec![0; bytes_to_index(size)?];
    keep(|| file.device.read_at(0, &mut bytes))?;
    Ok(bytes)
}

/// Opens the first file that `name` may mean, by the policy `files`.
///
/// # Errors
/// Why there is none.
pub(crate) fn open_named(files: &dyn Locator, name: &FileName) -> BlockResult<Located> {
    let mut first = None;
    for spelling in &name.spellings {
        match files.open(spelling) {
            Ok(file) => return Ok(file),
            Err(error) => drop(first.get_or_insert(error)),
        }
    }
    Err(first.unwrap_or_else(|| BlockError::missing("no file is named")))
}
