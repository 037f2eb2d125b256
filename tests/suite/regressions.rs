//! Inputs that once broke something, found by the fuzzer: each must be read without a panic.

use std::fs;
use std::path::{Path, PathBuf};

use volfold::{DiskSet, OpenOptions};
use volfold_fs::{FileKind, StreamName};

use crate::common::compare::{hash, walk};
use crate::harness::{apply, note, test};

/// The inputs below `tests/fuzz/regressions`, of all targets.
fn inputs() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/regressions");
    let folders = fs::read_dir(root).into_iter().flatten().flatten();
    let mut inputs: Vec<PathBuf> = folders
        .filter_map(|folder| fs::read_dir(folder.path()).ok())
        .flat_map(|files| files.flatten().map(|file| file.path()))
        .collect();
    inputs.sort();
    inputs
}

#[apply(test)]
fn inputs_that_broke_something_are_read_or_refused() {
    for input in inputs() {
        note!("{}", input.display());
        let set = DiskSet::open(&[input], &OpenOptions::default());
        for volume in set.volumes() {
            let Ok(fs) = volume.file_system() else {
                continue;
            };
            for (_, found) in walk(&*fs).unwrap_or_default() {
                let _ = fs.metadata(found.node);
                if found.kind == FileKind::Regular
                    && let Ok(data) = fs.open(found.node, &StreamName::MAIN)
                    && data.size() < 64 << 20
                {
                    let _ = hash(&*data);
                }
            }
        }
    }
}
