//! What a set is made of, as plain data: what `--json` prints, for programs too.
//!
//! All of it can be serialized. Within a version of the JSON no key is renamed or removed; what is not known
//! is `None`.

mod disk;
mod entry;
mod volume;

use data_encoding::HEXLOWER;
use serde::Serialize;
use volfold_block::{BlockError, Finding, error_chain};
use volfold_fs::FsError;

use crate::DiskSet;

pub use disk::{DiskInfo, HashInfo, MachineInfo, MachineSnapshotInfo, RunInfo, SnapshotInfo};
pub use entry::{EntryInfo, kind_letter};
pub use volume::{
    ComparisonInfo, FileSystemInfo, LockInfo, NOT_READ, PartitionInfo, VolumeInfo, VolumeState,
};

/// What `volfold list --json` prints.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct SetInfo {
    /// The version of the form.
    pub version: u32,
    /// The disks, by number.
    pub disks: Vec<DiskInfo>,
    /// The machines whose configurations were given.
    pub machines: Vec<MachineInfo>,
    /// The volumes, by disk and place.
    pub volumes: Vec<VolumeInfo>,
    /// What could not be had.
    pub failures: Vec<Failure>,
    /// What is odd.
    pub findings: Vec<Finding>,
}

impl Default for SetInfo {
    /// Of nothing, in the form that this build writes.
    fn default() -> Self {
        Self {
            version: 1,
            disks: Vec::new(),
            machines: Vec::new(),
            volumes: Vec::new(),
            failures: Vec::new(),
            findings: Vec::new(),
        }
    }
}

/// One thing that could not be had.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Failure {
    /// The image, as it was given.
    pub disk: Option<String>,
    /// The id of the volume.
    pub volume: Option<String>,
    /// The path of the file or directory.
    pub path: Option<String>,
    /// The exact bytes of a path that is no text.
    pub path_hex: Option<String>,
    /// What kind of failure it is.
    pub code: &'static str,
    /// Why, in words.
    pub reason: String,
}

impl Failure {
    /// The image at `path` could not be opened.
    pub fn of_image(path: String, error: &BlockError) -> Self {
        let disk = Some(path);
        let (code, reason) = (error.kind().code(), error_chain(error));
        Self { disk, volume: None, path: None, path_hex: None, code, reason }
    }

    /// The volume `id` could not be had.
    pub fn of_volume(id: &str, code: &'static str, reason: String) -> Self {
        let volume = Some(id.to_owned());
        Self { disk: None, volume, path: None, path_hex: None, code, reason }
    }

    /// The file or directory at `path` could not be had.
    pub fn of_path(path: &[u8], code: &'static str, reason: String) -> Self {
        let (path, path_hex) = path_text(path);
        Self { disk: None, volume: None, path: Some(path), path_hex, code, reason }
    }

    /// The volume `id` could not be entered.
    pub fn not_entered(id: &str, error: &FsError) -> Self {
        Self::of_volume(id, error.code(), error_chain(error))
    }
}

/// A path as text, and its exact bytes in hexadecimal digits where the text had to be changed.
pub fn path_text(path: &[u8]) -> (String, Option<String>) {
    match std::str::from_utf8(path) {
        Ok(text) => (text.to_owned(), None),
        Err(_) => (String::from_utf8_lossy(path).into_owned(), Some(HEXLOWER.encode(path))),
    }
}

impl DiskSet {
    /// What the set is made of. Asks no volume how full it is, which may take whole bitmaps.
    pub fn info(&self) -> SetInfo {
        let failed = |failure: &crate::DiskFailure| {
            Failure::of_image(failure.path.display().to_string(), &failure.error)
        };
        let mut failures: Vec<Failure> = self.failures().iter().map(failed).collect();
        let mut findings = self.findings().to_vec();
        let mut opened = Vec::new();
        for volume in self.volumes() {
            let files = volume.reason.is_none().then(|| volume.file_system());
            let files = files.map(|files| {
                let files = files?;
                let of_volume = files.findings().into_iter().map(|it| it.on_volume(volume.id()));
                findings.extend(of_volume);
                Ok(FileSystemInfo::of(&*files, false))
            });
            if let Some(Err(error)) = &files {
                failures.push(Failure::not_entered(volume.id(), error));
                let finding = Finding::error(error.kind().code_of_unopened(), error_chain(error));
                findings.push(finding.on_volume(volume.id()));
            }
            if let Some(reason) = volume.reason.clone().filter(|_| volume.is_left_out()) {
                failures.push(Failure::of_volume(volume.id(), NOT_READ, reason));
            }
            opened.push(files);
        }
        findings.extend(self.later_findings());
        let volumes = self.volumes().iter().zip(opened);
        SetInfo {
            disks: self
                .disks()
                .iter()
                .enumerate()
                .map(|(at, disk)| DiskInfo::of(at, disk))
                .collect(),
            machines: self.machines().iter().map(MachineInfo::of).collect(),
            volumes: volumes.map(|(it, files)| VolumeInfo::of(it, files, &findings)).collect(),
            failures,
            findings,
            ..SetInfo::default()
        }
    }
}
