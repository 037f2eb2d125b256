//! What all configurations come to.

use std::path::PathBuf;

use volfold_block::{BlockError, BlockErrorKind, BlockResult, bytes_to_index, keep};
use volfold_images::{FileName, Located};

/// What it is in messages.
pub(super) const CONFIGURATION: &str = "configuration";

/// LIMIT: disks of one machine.
pub(super) const MAX_DISKS: usize = 1024;

/// LIMIT: snapshots of one machine.
pub(super) const MAX_SNAPSHOTS: usize = 1024;

/// LIMIT: bytes of a configuration.
const MAX_BYTES: u64 = 8 << 20;

/// A machine, as its configuration tells.
#[derive(Debug, Default)]
pub(crate) struct Machine {
    /// Its disks, in the order of the configuration.
    pub(crate) disks: Vec<MachineDisk>,
    /// Where disks are attached that are no files, and what they are.
    pub(crate) left_out: Vec<(String, String)>,
    /// Its older states, in the order of the configuration.
    pub(crate) snapshots: Vec<MachineSnapshot>,
    /// The one of them whose disks these are.
    pub(crate) snapshot: Option<MachineSnapshot>,
}

/// An older state of a machine, which its configuration knows.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MachineSnapshot {
    /// What the machine numbers it by.
    pub id: String,
    /// What people call it.
    pub name: String,
}

impl MachineSnapshot {
    /// Which of `snapshots` is meant by `wanted`: the one of this id, with or without braces, or of
    /// this name.
    ///
    /// # Errors
    /// `Refused` if several have the name.
    pub(super) fn find(snapshots: &[Self], wanted: &str) -> BlockResult<Option<usize>> {
        let has_id = |one: &Self| {
            let bare = one.id.trim_matches(['{', '}']);
            one.id.eq_ignore_ascii_case(wanted) || bare.eq_ignore_ascii_case(wanted)
        };
        if let Some(index) = snapshots.iter().position(has_id) {
            return Ok(Some(index));
        }
        let called = snapshots.iter().enumerate().filter(|(_, one)| one.name == wanted);
        match called.collect::<Vec<_>>()[..] {
            [] => Ok(None),
            [(index, _)] => Ok(Some(index)),
            ref several => {
                let ids: Vec<&str> = several.iter().map(|(_, one)| one.id.as_str()).collect();
                let ids = ids.join(", ");
                let line = format!("several snapshots are called {wanted}; give an id: {ids}");
                Err(BlockError::new(BlockErrorKind::Refused, line))
            }
        }
    }
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
    pub(super) fn add(
        &mut self,
        slot: impl Into<String>,
        name: &str,
        format: Option<&'static str>,
    ) {
        let spellings = vec![PathBuf::from(name)];
        let file = FileName { shown: name.to_owned(), spellings };
        self.disks.push(MachineDisk { slot: slot.into(), file, format });
    }

    pub(super) fn leave_out(&mut self, slot: impl Into<String>, reason: impl Into<String>) {
        self.left_out.push((slot.into(), reason.into()));
    }
}

/// All bytes of the configuration in `file`.
pub(super) fn text(file: &Located) -> BlockResult<Vec<u8>> {
    let size = file.device.size();
    if size > MAX_BYTES {
        let line = format!("configuration has {size} bytes; at most {MAX_BYTES} are read");
        return Err(BlockError::unsupported(line));
    }
    let mut bytes = vec![0; bytes_to_index(size)?];
    keep(|| file.device.read_at(0, &mut bytes))?;
    Ok(bytes)
}
