//! How far the work of a set is, and how it is stopped: never with a part of the answer.

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use volfold::block::BlockErrorKind;
use volfold::fs::FsErrorKind;
use volfold::{DiskSet, Monitor, OpenOptions, Progress, Stage};

use crate::common::fixtures::fixture;
use crate::harness::{apply, test};

fn options(monitor: &Monitor) -> OpenOptions {
    let mut options = OpenOptions::default();
    options.monitor = monitor.clone();
    options
}

/// What is told while the images at `paths` are opened.
fn told(paths: &[PathBuf]) -> Vec<Progress> {
    let told = Arc::new(Mutex::new(Vec::new()));
    let into = told.clone();
    let monitor = Monitor::new(move |progress| {
        into.lock().expect("a list").push(*progress);
        ControlFlow::Continue(())
    });
    DiskSet::open(paths, &options(&monitor)).expect("a set");
    let told = told.lock().expect("a list");
    // While one image takes long, the same is told again.
    let mut told = told.clone();
    told.dedup();
    told
}

fn names(set: &DiskSet) -> Vec<String> {
    let volumes = set.volumes().iter().map(|volume| volume.name.clone());
    volumes.chain(set.findings().iter().map(ToString::to_string)).collect()
}

#[apply(test)]
fn every_stage_is_told_from_its_beginning_to_its_end() {
    let paths = fixture("ldm-spanned").paths();
    let told = told(&paths);
    let mut stages: Vec<Stage> = told.iter().map(|progress| progress.stage).collect();
    stages.dedup();
    assert_eq!(stages, [Stage::Images, Stage::Disks, Stage::Volumes, Stage::Systems]);
    for stage in stages {
        let of_stage = told.iter().filter(|progress| progress.stage == stage);
        let counts: Vec<(u64, u64)> =
            of_stage.map(|progress| (progress.done, progress.total.expect("a total"))).collect();
        let total = counts[0].1;
        assert!(total > 0, "{stage:?}");
        let expected: Vec<(u64, u64)> = (0..=total).map(|done| (done, total)).collect();
        assert_eq!(counts, expected, "{stage:?}");
    }
}

#[apply(test)]
fn the_files_of_a_folder_are_counted() {
    let paths = fixture("ldm-spanned").paths();
    let told = told(&[paths[0].parent().expect("a folder").to_path_buf()]);
    let last = told.iter().rfind(|progress| progress.stage == Stage::Images).expect("images");
    assert_eq!(Some(last.done), last.total);
    assert!(last.done > u64::try_from(paths.len()).expect("a count"), "{last:?}");
}

#[apply(test)]
fn a_set_that_is_stopped_anywhere_has_nothing_and_says_so() {
    let paths = fixture("ldm-spanned").paths();
    let count = told(&paths).len();
    for stop_at in 0..count {
        let left = Mutex::new(stop_at);
        let monitor = Monitor::new(move |_| {
            let mut left = left.lock().expect("a number");
            match left.checked_sub(1) {
                Some(less) => {
                    *left = less;
                    ControlFlow::Continue(())
                }
                None => ControlFlow::Break(()),
            }
        });
        let incomplete = DiskSet::open(&paths, &options(&monitor)).err().expect("it was stopped");
        assert!(incomplete.is_stopped(), "{stop_at}");
        let failed: Vec<_> = incomplete.failures().iter().map(|it| it.path.clone()).collect();
        assert_eq!(failed, paths);
        let kinds = incomplete.failures().iter().map(|failure| failure.error.kind());
        assert!(kinds.into_iter().all(|kind| kind == BlockErrorKind::Stopped));
        let set = incomplete.into_set();
        assert!(set.disks().is_empty() && set.volumes().is_empty() && set.findings().is_empty());
    }
}

#[apply(test)]
fn a_set_that_another_thread_stops_is_whole_or_stopped() {
    let paths = fixture("sample").paths();
    let whole = names(&DiskSet::open(&paths, &OpenOptions::default()).expect("a set"));
    for delay in 0..60 {
        let monitor = Monitor::default();
        let opened = thread::scope(|scope| {
            scope.spawn(|| {
                thread::sleep(Duration::from_micros(delay * 200));
                monitor.stop();
            });
            DiskSet::open(&paths, &options(&monitor))
        });
        match opened {
            Ok(set) => assert_eq!(names(&set), whole),
            Err(incomplete) => assert!(incomplete.is_stopped(), "{incomplete}"),
        }
    }
}

#[apply(test)]
fn nothing_of_a_stopped_set_is_read() {
    let monitor = Monitor::default();
    let set = DiskSet::open(fixture("sample").paths(), &options(&monitor)).expect("a set");
    let root = set.path("/linux");
    let mut walk = root.walk();
    assert!(walk.next().expect("the root").is_ok());
    let file = root.join("README.txt").open().expect("a file");
    let mut start = [0; 4];
    assert_eq!(file.read_at(0, &mut start).expect("bytes"), 4);
    monitor.stop();
    assert!(set.monitor().is_stopped());
    let stopped = Some(FsErrorKind::Stopped);
    // Also what is in a cache.
    assert_eq!(file.read_at(0, &mut start).err().map(|error| error.kind()), stopped);
    assert_eq!(file.read_at_most(100).err().map(|error| error.kind()), stopped);
    assert_eq!(root.metadata().err().map(|error| error.kind()), stopped);
    assert_eq!(root.join("none").try_exists().err().map(|error| error.kind()), stopped);
    let error = walk.next().expect("an item").expect_err("an error");
    assert_eq!((error.error().code(), walk.next().is_none()), ("stopped", true));
    assert_eq!(set.identity().err().map(|error| error.kind()), Some(BlockErrorKind::Stopped));
    let error = std::io::read_to_string(set.volumes()[0].reader()).expect_err("an error");
    // `Interrupted` would be read again, for ever.
    assert_eq!(error.kind(), std::io::ErrorKind::Other);
    assert!(error.to_string().contains("stopped by the caller"), "{error}");
}
