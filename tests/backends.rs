//! The conformance suite, run on every file-system driver over every volume it knows.

#![allow(
    clippy::allow_attributes,
    clippy::expect_used,
    clippy::panic,
    reason = "a test stops by a panic"
)]

mod common;
mod conformance;

use std::sync::Arc;
use std::time::Instant;

use common::fixtures::{Fixture, VolumeFacts, fixture, index};
use conformance::{Case, Report, View};
use volfold::{DiskSet, Incomplete, OpenOptions};
use volfold_block::{BlockDevice, Confidence};
use volfold_fs::reference::ext4::Ext4View;
use volfold_fs::reference::ntfs::NtfsDriver as NtfsCrate;
use volfold_fs::{
    DRIVERS, FileSystem, FileSystemDriver, FsErrorKind, Metadata, NodeId, ReadOptions, Reason,
    VolumeReader,
};

/// What the reference refuses as a whole.
const GAPS: [(&str, &str); 2] =
    [("ext4-view", "ext4-inline-data"), ("ntfs-crate", "ntfs-mft-fragmented")];

/// Every volume of the fixtures that has a listing, and its bytes.
fn volumes() -> Vec<(&'static Fixture, &'static VolumeFacts, Arc<dyn BlockDevice>)> {
    let mut volumes = Vec::new();
    for fixture in index().fixtures.values() {
        let set = DiskSet::open(&fixture.paths(), &OpenOptions::default())
            .unwrap_or_else(Incomplete::into_set);
        for facts in fixture.volumes.iter().filter(|facts| facts.listing.is_some()) {
            let place = format!("{} at {}", fixture.name, facts.offset);
            let volume = set.volumes().iter().find(|volume| {
                let first = volume.volume.extents.first();
                first.is_some_and(|extent| extent.offset == facts.offset)
            });
            let volume = volume.unwrap_or_else(|| panic!("{place}: no volume"));
            volumes.push((fixture, facts, volume.volume.device.clone()));
        }
    }
    volumes
}

/// Runs the suite with `driver` on all volumes that it knows.
fn conform(driver: &dyn FileSystemDriver, view: View) {
    let mut all = Report::default();
    let mut runs = 0;
    for (fixture, facts, device) in volumes() {
        let known = driver.probe(&*device).expect("the first sectors can be read");
        if known == Confidence::No {
            continue;
        }
        let name = format!("{} on {} at {}", driver.id(), fixture.name, facts.offset);
        let start = Instant::now();
        let fs = match driver.mount(VolumeReader::uncached(device), ReadOptions::default()) {
            Ok(fs) => fs,
            Err(error) if GAPS.contains(&(driver.id(), &fixture.name)) => {
                println!("{name}: refused: {error}");
                continue;
            }
            Err(error) => {
                all.problems.push(format!("{name}: {error}"));
                continue;
            }
        };
        let rows = facts.rows();
        let case = Case { name, fs: &*fs, rows: &rows, errors: &facts.errors, view };
        let report = conformance::run(&case);
        println!("{}: {} ms, {report}", case.name, start.elapsed().as_millis());
        all.add(report);
        runs += 1;
    }
    println!("{}: {runs} volumes", driver.id());
    assert!(runs > 0, "no volume of {}", driver.id());
    all.assert_good();
}

fn driver(id: &str) -> &'static dyn FileSystemDriver {
    *DRIVERS.iter().find(|driver| driver.id() == id).expect("a driver of this build")
}

#[test]
fn ntfs_conforms() {
    conform(driver("ntfs"), View::Whole);
}

#[test]
fn the_reference_of_ntfs_conforms() {
    conform(&NtfsCrate, View::Reference);
}

/// What one reader of NTFS says of a node, as far as the reference is able to say it: it knows no
/// owner and no device of the Windows subsystem for Linux, and decodes nothing.
fn said_of(fs: &dyn FileSystem, node: NodeId) -> String {
    let known = |mut metadata: Metadata| {
        metadata.unreadable = metadata.unreadable.filter(|kind| !is_compressed(*kind));
        (metadata.owner, metadata.device) = (None, None);
        format!("{metadata:?}")
    };
    let text = |result: volfold_fs::FsResult<String>| match result {
        Ok(text) => text,
        Err(error) => format!("{:?}", error.kind()),
    };
    let metadata = text(fs.metadata(node).map(known));
    let streams = text(fs.streams(node).map(|streams| format!("{streams:?}")));
    let link = fs.read_link(node).map_err(|error| error.kind());
    format!("{metadata}; {streams}; {link:?}")
}

fn is_compressed(kind: FsErrorKind) -> bool {
    let reasons = [Reason::NTFS_COMPRESSED, Reason::WOF, Reason::WOF_WIM];
    reasons.iter().any(|reason| kind == FsErrorKind::Undecodable(*reason))
}

#[test]
fn both_readers_of_ntfs_say_the_same_of_every_node() {
    let (mut volumes_seen, mut nodes) = (0, 0);
    for (fixture, facts, device) in volumes() {
        let reader = VolumeReader::uncached(device);
        if NtfsCrate.probe(&*reader.data).expect("the first sectors") == Confidence::No {
            continue;
        }
        let name = format!("{} at {}", fixture.name, facts.offset);
        let ours = driver("ntfs").mount(reader.clone(), ReadOptions::default()).expect(&name);
        if GAPS.contains(&(NtfsCrate.id(), &fixture.name)) {
            continue;
        }
        let theirs = NtfsCrate.mount(reader, ReadOptions::default()).expect(&name);
        let (info, other) = (ours.info(), theirs.info());
        assert_eq!((&info.label, &info.uuid, info.size), (&other.label, &other.uuid, other.size));
        let (used, other) = (ours.usage().expect(&name), theirs.usage().expect(&name));
        assert_eq!(used, other, "{name}");
        let found = common::compare::walk(&*ours).expect(&name);
        let other = common::compare::walk(&*theirs).expect(&name);
        let paths = |found: &std::collections::BTreeMap<Vec<u8>, common::compare::Found>| {
            found.iter().map(|(path, found)| (path.clone(), found.node)).collect::<Vec<_>>()
        };
        assert_eq!(paths(&found), paths(&other), "{name}");
        for found in found.values() {
            let unreadable = theirs.metadata(found.node).ok().and_then(|found| found.unreadable);
            if unreadable == Some(FsErrorKind::Undecodable(Reason::WOF)) {
                continue;
            }
            assert_eq!(said_of(&*ours, found.node), said_of(&*theirs, found.node), "{name}");
            nodes += 1;
        }
        volumes_seen += 1;
    }
    println!("{nodes} nodes of {volumes_seen} volumes");
    assert!(volumes_seen > 10 && nodes > 2000, "{nodes} nodes of {volumes_seen} volumes");
}

#[test]
fn fat_conforms() {
    conform(driver("fat"), View::Whole);
}

#[test]
fn ext4_conforms() {
    conform(driver("ext4"), View::Whole);
}

#[test]
fn the_reference_of_ext4_conforms() {
    conform(&Ext4View, View::Reference);
}

#[test]
fn an_image_that_lost_its_end_gives_errors_or_the_right_bytes() {
    let open = |name: &str| {
        let set = DiskSet::open(&fixture(name).paths(), &OpenOptions::default())
            .unwrap_or_else(Incomplete::into_set);
        set.disks()[0].device.clone()
    };
    // The markers of a stream tell all that its lost tables did.
    for (whole, cut, loses) in [
        ("vmdk-stream-optimized", "vmdk-stream-truncated", false),
        ("vmdk-monolithic-sparse", "vmdk-truncated", true),
    ] {
        let expected = fixture(cut).expect.and_then(|expected| expected.reads);
        assert_eq!(expected.as_deref(), Some("an error or the right bytes"), "{cut}");
        let (whole, cut_device) = (open(whole), open(cut));
        assert_eq!(whole.size(), cut_device.size(), "{cut}");
        let (mut good, mut lost) = (0, 0);
        for offset in (0..whole.size()).step_by(512) {
            let (mut wanted, mut found) = ([0; 512], [0xA5; 512]);
            whole.read_at(offset, &mut wanted).expect("the whole image");
            match cut_device.read_at(offset, &mut found) {
                Ok(()) => {
                    assert_eq!(wanted, found, "{cut} at {offset}");
                    good += 1;
                }
                Err(_) => lost += 1,
            }
        }
        println!("{cut}: {good} sectors good, {lost} lost");
        assert!(good > 0 && (lost > 0) == loses, "{cut}: {good} good, {lost} lost");
    }
}

#[test]
fn every_driver_is_tested_here() {
    let ids: Vec<&str> = DRIVERS.iter().map(|driver| driver.id()).collect();
    assert_eq!(ids, ["ntfs", "fat", "ext4"], "give a new driver its test");
}

#[test]
fn every_fixture_is_identified_as_its_mount_says() {
    let mut count = 0;
    for (fixture, facts, device) in volumes() {
        let Ok(Some(driver)) = volfold_fs::detect(&*device) else { continue };
        let name = format!("{} at {}", fixture.name, facts.offset);
        let reader = VolumeReader::uncached(device);
        let fs = driver.mount(reader.clone(), ReadOptions::default()).expect(&name);
        let identity = driver.identify(reader).expect(&name);
        let info = fs.info();
        assert_eq!((&identity.label, &identity.uuid), (&info.label, &info.uuid), "{name}");
        count += 1;
    }
    assert!(count > 20, "{count} volumes");
}
