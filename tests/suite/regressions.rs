//! Every fuzz target is run with the inputs in `tests/fuzz/regressions`: what once broke something, and at least
//! one small input that goes some way into the parsers.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::fuzz::TARGETS;
use crate::harness::{apply, note, test};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz")
}

fn names(folder: &Path) -> BTreeSet<String> {
    let entries =
        fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    entries
        .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
        .collect()
}

#[apply(test)]
fn inputs_that_broke_something_are_read_or_refused() {
    let mut inputs = 0;
    for (target, run) in TARGETS {
        let folder = folder().join("regressions").join(target);
        let names = names(&folder);
        assert!(!names.is_empty(), "{target} has no input");
        for name in names {
            note!("{target}: {name}");
            run(&fs::read(folder.join(name)).expect("an input"));
            inputs += 1;
        }
    }
    assert!(inputs >= TARGETS.len());
}

#[apply(test)]
fn every_fuzz_target_is_replayed_and_every_replayed_one_is_a_target() {
    let wanted: BTreeSet<String> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    let files = names(&folder().join("fuzz_targets"));
    let files: BTreeSet<String> =
        files.iter().map(|name| name.trim_end_matches(".rs").to_owned()).collect();
    assert_eq!(files, wanted);
    assert_eq!(names(&folder().join("regressions")), wanted);
}
