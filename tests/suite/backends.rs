//! The conformance suite, run on every file-system driver over every volume it knows.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Instant;

use libtest_mimic::Trial;
use volfold::{DiskSet, Incomplete, OpenOptions};
use volfold_block::{BlockDevice, Confidence, MemoryDevice};
use volfold_fs::{
    DRIVERS, DirCursor, DirEntry, FileKind, FileSystem, FileSystemDriver, Name, NodeId,
    ReadOptions, StreamName, VolumeReader,
};

use crate::common::fixtures::{Fixture, VolumeFacts, fixture, index};
use crate::conformance::{Case, Report, View};
use crate::harness::{apply, made, note, test};

/// Every volume of the fixtures that has a listing, and its bytes.
fn volumes() -> Vec<(&'static Fixture, &'static VolumeFacts, Arc<dyn BlockDevice>)> {
    let mut volumes = Vec::new();
    for fixture in index().fixtures.values() {
        let set = DiskSet::open(fixture.paths(), &OpenOptions::default())
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
fn conform(driver: &dyn FileSystemDriver) {
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
            Err(error) => {
                all.problems.push(format!("{name}: {error}"));
                continue;
            }
        };
        let rows = facts.rows();
        let case = Case { name, fs: &*fs, rows: &rows, errors: &facts.errors, view: View::Whole };
        let report = crate::conformance::run(&case);
        note!("{}: {} ms, {report}", case.name, start.elapsed().as_millis());
        all.add(report);
        runs += 1;
    }
    note!("{}: {runs} volumes", driver.id());
    assert!(runs > 0, "no volume of {}", driver.id());
    all.assert_good();
}

/// One test for each driver of the registry: `NAME_conforms`.
pub(crate) fn every_driver_conforms() -> Vec<Trial> {
    let test = |driver: &'static &'static dyn FileSystemDriver| {
        let name = format!("backends::{}_conforms", driver.id());
        made(name, || conform(*driver))
    };
    DRIVERS.iter().map(test).collect()
}

#[apply(test)]
fn an_image_that_lost_its_end_gives_errors_or_the_right_bytes() {
    let open = |name: &str| {
        let set = DiskSet::open(fixture(name).paths(), &OpenOptions::default())
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
        note!("{cut}: {good} sectors good, {lost} lost");
        assert!(good > 0 && (lost > 0) == loses, "{cut}: {good} good, {lost} lost");
    }
}

#[apply(test)]
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

#[apply(test)]
fn a_volume_is_the_same_node_before_and_after_it_is_opened() {
    let set = DiskSet::open(fixture("ntfs-plain").paths(), &OpenOptions::default())
        .unwrap_or_else(Incomplete::into_set);
    let tree = set.tree(|_| true);
    let mut listed = Vec::new();
    let mut note = |entry: DirEntry<'_>| {
        // What a listing does not tell, the kernel takes for generation 0.
        let generation = entry.metadata.map_or(0, |metadata| metadata.generation);
        listed.push((entry.name.as_bytes().to_vec(), entry.node, generation));
        ControlFlow::Continue(())
    };
    tree.read_dir(tree.root(), DirCursor::START, &mut note).expect("the volumes");
    assert!(!listed.is_empty());
    for (name, node, generation) in listed {
        let found = tree.lookup(tree.root(), Name::new(&name)).expect("a volume");
        let metadata = tree.metadata(found).expect("its root");
        assert_eq!((found, metadata.generation), (node, generation));
    }
}

/// The codes of what is told of fixtures that are in order but for that.
const TOLD: [&str; 4] =
    ["ntfs-dirty", "ext4-journal-replayed", "ext4-journal-not-replayed", "xfs-log-replayed"];

#[apply(test)]
fn nothing_contradicts_itself_on_volumes_in_order() {
    for (fixture, facts, device) in volumes() {
        let Ok(Some(driver)) = volfold_fs::detect(&*device) else { continue };
        let name = format!("{} at {}", fixture.name, facts.offset);
        let reader = VolumeReader::uncached(device);
        let fs = driver.mount(reader, ReadOptions::default()).expect(&name);
        read_all(&*fs, fs.root());
        let mut findings = fs.findings();
        fs.check(&mut |finding| findings.push(finding)).expect(&name);
        findings.retain(|finding| !TOLD.contains(&finding.code.as_str()));
        // Its recipe takes records for the table without marking them in the table's bitmap.
        findings.retain(|finding| {
            fixture.name != "ntfs-mft-fragmented" || finding.code.as_str() != "ntfs-record"
        });
        assert!(findings.is_empty(), "{name}: {findings:?}");
    }
}

/// Opens every file below `dir` and reads its first bytes.
fn read_all(fs: &dyn FileSystem, dir: NodeId) {
    let mut children = Vec::new();
    let listed = fs.read_dir(dir, DirCursor::START, &mut |entry| {
        children.push((entry.node, entry.kind));
        ControlFlow::Continue(())
    });
    listed.expect("a directory");
    for (node, kind) in children {
        match kind {
            FileKind::Directory => read_all(fs, node),
            // What is refused is so by its form.
            _ => {
                let file = fs.open(node, &StreamName::MAIN);
                let _ = file.map(|file| file.read_at(0, &mut [0; 512]));
            }
        }
    }
}

#[apply(test)]
fn a_damaged_extension_record_hides_the_bytes_whose_places_it_holds() {
    let (_, _, device) = volumes()
        .into_iter()
        .find(|(fixture, ..)| fixture.name == "ntfs-fragmented")
        .expect("the fixture");
    let mut image = vec![0; usize::try_from(device.size()).expect("a size")];
    device.read_at(0, &mut image).expect("the image");
    let content = |image: &[u8]| {
        let reader = VolumeReader::uncached(Arc::new(MemoryDevice::new(image)));
        let driver = volfold_fs::detect(&*reader.data).expect("a volume").expect("NTFS");
        let fs = driver.mount(reader, ReadOptions::default()).expect("a file system");
        let node = fs.lookup(fs.root(), Name::new("big.bin")).expect("the file");
        let file = fs.open(node, &StreamName::MAIN).expect("its content");
        let pieces = (0..file.size()).step_by(4096).map(|offset| {
            let mut piece = vec![0; 4096];
            let count = file.read_at(offset, &mut piece).ok()?;
            piece.truncate(count);
            Some(piece)
        });
        let codes: Vec<_> = fs.findings().iter().map(|finding| finding.code.as_str()).collect();
        (pieces.collect::<Vec<_>>(), codes)
    };
    let (whole, codes) = content(&image);
    assert!(whole.iter().all(Option::is_some) && codes.is_empty(), "{codes:?}");
    // A record in use that extends another.
    let extensions = (0..image.len()).step_by(1024).filter(|at| {
        let record = &image[*at..*at + 1024];
        record.starts_with(b"FILE") && record[0x16] & 1 != 0 && record[0x20..0x28] != [0; 8]
    });
    let extensions: Vec<_> = extensions.collect();
    assert!(extensions.len() > 1, "{extensions:?}");
    let mut hidden = vec![0; whole.len()];
    for at in extensions {
        let mut damaged = image.clone();
        damaged[at] = b'X';
        let (pieces, codes) = content(&damaged);
        let mut lost = 0;
        for ((wanted, found), hidden) in whole.iter().zip(&pieces).zip(&mut hidden) {
            match found {
                Some(_) => assert!(wanted == found),
                None => {
                    lost += 1;
                    *hidden += 1;
                }
            }
        }
        note!("record at {at}: {lost} of {} clusters lost", pieces.len());
        assert_eq!(codes, ["ntfs-extension"]);
        // One of the records has a name only, and nothing is lost with it.
        assert!(lost < pieces.len());
    }
    assert!(hidden.iter().all(|times| *times <= 1), "each cluster has its place in one record");
    assert!(hidden.contains(&0) && hidden.contains(&1), "{hidden:?}");
}
