//! Shadow copies of Windows: those of the public corpus, and volumes whose states images/recipes wrote, whole,
//! without the storage, and as users ask for them.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use volfold::volume::{Health, VolumeType};
use volfold::{DiskSet, Incomplete, OpenOptions, SetVolume};
use volfold_block::{BlockDevice, BlockErrorKind};
use volfold_fs::StreamName;

use crate::common::compare::{hash, walk};
use crate::common::corpus;
use crate::common::fixtures::{CopyFacts, Fixture, fixture, fixtures_folder, index};
use crate::common::listing::{self, Row};
use crate::common::program::{text, volfold};
use crate::common::sha256;
use crate::harness::{apply, test};

const BLOCK: usize = 16 << 10;

fn open(paths: &[PathBuf]) -> DiskSet {
    let mut options = OpenOptions::default();
    options.snapshots = true;
    DiskSet::open(paths, &options).unwrap_or_else(Incomplete::into_set)
}

fn copies(set: &DiskSet) -> Vec<&Arc<SetVolume>> {
    let is_copy = |volume: &&Arc<SetVolume>| volume.volume.kind == VolumeType::ShadowCopy;
    set.volumes().iter().filter(is_copy).collect()
}

fn fixtures() -> impl Iterator<Item = &'static Fixture> {
    index().fixtures.values().filter(|fixture| !fixture.copies.is_empty())
}

/// All bytes of `device`, with zeros for blocks of which nothing was kept, and how many those are.
fn bytes_of(device: &dyn BlockDevice) -> (Vec<u8>, u64) {
    let (mut bytes, mut lost) = (vec![0; device.size() as usize], 0);
    for (index, block) in bytes.chunks_mut(BLOCK).enumerate() {
        if let Err(error) = device.read_at((index * BLOCK) as u64, block) {
            assert_eq!(error.kind(), BlockErrorKind::MissingPart, "{error}");
            block.fill(0);
            lost += 1;
        }
    }
    (bytes, lost)
}

/// Whether the files of `rows` are in `volume`, and no others but the storage's own.
fn check_files(volume: &SetVolume, rows: &[Row]) {
    let files = volume.file_system().expect("a file system");
    let found = walk(&*files).expect("all of it");
    let own = |path: &&Vec<u8>| !path.starts_with(b"System Volume Information");
    assert_eq!(found.keys().filter(own).count(), rows.iter().filter(|row| own(&&row.path)).count());
    for row in rows {
        let node = &found[&row.path].node;
        if row.kind == "f" {
            let data = files.open(*node, &StreamName::MAIN).expect("a file");
            assert_eq!(hash(&*data).ok(), row.sha256, "{}", row.path.escape_ascii());
        }
    }
}

fn check(set: &DiskSet, facts: &CopyFacts, place: &str) {
    let of = |volume: &&&Arc<SetVolume>| volume.id().ends_with(&facts.store);
    let copies = copies(set);
    let volume = copies.iter().find(of).unwrap_or_else(|| panic!("{place}: {:?}", set.findings()));
    let snapshot = volume.volume.snapshot.as_ref().expect("a snapshot");
    assert_eq!(snapshot.time.map(|time| time.0), Some(facts.time), "{place}");
    assert_eq!(
        (volume.volume.health, volume.volume.size),
        (Health::Healthy, facts.size),
        "{place}"
    );
    let (bytes, lost) = bytes_of(&*volume.volume.device);
    assert_eq!((lost, sha256(&bytes)), (facts.lost, facts.sha256.clone()), "{place}");
    check_files(volume, &listing::load(&fixtures_folder().join(&facts.listing)));
}

#[apply(test)]
fn every_copy_is_the_volume_as_it_was() {
    for fixture in fixtures() {
        let mut paths = fixture.paths();
        for _ in 0..2 {
            let set = open(&paths);
            for facts in &fixture.copies {
                check(&set, facts, &format!("{} {}", fixture.name, facts.store));
            }
            assert!(set.findings().is_empty(), "{}: {:?}", fixture.name, set.findings());
            paths.reverse();
        }
    }
}

#[apply(test)]
fn copies_are_told_always_and_shown_on_request() {
    let image = fixture("vss-local").path();
    let image = text(&image);
    let told = volfold(["list", image]).code(0).text();
    assert!(told.contains("has 2 shadow copies, which --snapshots shows: 2026-01-01T080000Z"));
    let names = ["Server@2026-01-01T080000Z", "Server@2026-01-02T080000Z"];
    let listed = volfold(["list", "--snapshots", "--json", image]).code(0).json();
    let volumes = listed["volumes"].as_array().expect("volumes");
    let found: Vec<_> = volumes.iter().filter_map(|volume| volume["name"].as_str()).collect();
    assert_eq!(found, ["Server", names[0], names[1]]);
    assert_eq!(volumes[1]["type"], "shadow-copy");
    let name = format!("{}/new.bin", names[1]);
    volfold(["cat", image, "-p", &name]).code(1);
    volfold(["cat", "--snapshots", image, "-p", &name]).code(0);
    volfold(["cat", "--snapshots", image, "-p", "Server/new.bin"]).code(1);
    let all = volfold(["hash", image]).code(0).text();
    assert!(!all.contains('@'));
    let shown = volfold(["ls", "--snapshots", image, "-p", names[0]]).code(0).text();
    assert!(shown.contains("same.bin"));
    // Blocks that nobody used then are no zeros.
    let out = std::env::temp_dir().join(format!("volfold-vss-{}.raw", std::process::id()));
    volfold(["convert", "--snapshots", "--volume", names[0], "-o", text(&out), image])
        .code(1)
        .says("the shadow copy kept nothing of this block");
    assert!(!out.exists());
}

#[apply(test)]
fn without_the_other_volume_its_copies_are_errors_and_the_volume_is_whole() {
    let paths = fixture("vss-redirected").paths();
    let volume = paths.iter().find(|path| path.ends_with("volume.img")).expect("the volume");
    let told = volfold(["list", text(volume)]).code(0).text();
    assert!(told.contains("what 2 of them kept is not in the set"));
    let set = open(std::slice::from_ref(volume));
    assert_eq!(copies(&set).len(), 2);
    for copy in copies(&set) {
        assert_eq!(copy.volume.health, Health::Failed);
        let error = copy.volume.device.read_at(0, &mut [0; 512]).expect_err("a reason");
        assert!(error.message().contains("6a1c0de1-0000-11ee-8000-000000000002"), "{error}");
    }
    volfold(["hash", "--snapshots", text(volume)]).code(3).says("give its disk too");
    volfold(["hash", text(volume)]).code(0);
    // Two copies of the other volume.
    let other = paths.iter().find(|path| path.ends_with("storage.img")).expect("the storage");
    let again = other.with_file_name("storage-again.img");
    fs::copy(other, &again).expect("a copy");
    let told = volfold(["list", "--snapshots", text(volume), text(other), text(&again)]).code(3);
    assert!(told.text().contains("several volumes have what it kept"));
    fs::remove_file(again).expect("the copy");
}

#[apply(test)]
fn the_public_corpus_gives_the_files_of_libvshadow() {
    let folder = corpus::needed();
    let manifest = corpus::manifest(&folder);
    let entry = |id: &str| manifest.entries.iter().find(|entry| entry.id == id).expect("an entry");
    let unpacked = corpus::unpack(&folder, entry("vss-plaso-vsstest"));
    let set = open(&[unpacked.join("vsstest.qcow2")]);
    for (number, copy) in copies(&set).iter().enumerate() {
        let listing = format!("expected/vss-plaso-vsstest.vss{}.tsv", number + 1);
        check_files(copy, &listing::load(&folder.join(listing)));
    }
    assert_eq!(copies(&set).len(), 2);
    // Their storage is on a volume that is not in the corpus.
    let unpacked = corpus::unpack(&folder, entry("vss-1-vol"));
    let set = open(&[unpacked.join("vss_1_vol.qcow2")]);
    assert_eq!(copies(&set).len(), 2);
    assert!(copies(&set).iter().all(|copy| copy.volume.health == Health::Failed));
}

#[apply(test)]
fn a_changed_bit_in_a_list_costs_no_more_than_the_copies() {
    let bytes = fs::read(fixture("vss-local").path()).expect("the image");
    let blocks = bytes.chunks(BLOCK).enumerate();
    let is_list = |block: &[u8]| block.starts_with(&bytes[0x1E00..0x1E10]);
    let lists: Vec<_> =
        blocks.filter(|(_, block)| is_list(block)).map(|(at, _)| at * BLOCK).collect();
    let scratch = crate::common::program::Scratch::new("vss-bits");
    let image = scratch.join("disk.img");
    let changes = (0x1E00..0x1E60).chain(lists.iter().flat_map(|at| (*at..at + 320).step_by(13)));
    for at in changes {
        let mut changed = bytes.clone();
        changed[at] ^= 0x10;
        fs::write(&image, &changed).expect("an image");
        let set = open(std::slice::from_ref(&image));
        let whole = set.volumes().first().expect("the volume");
        assert_eq!(whole.reason, None, "{at:#x}");
        for copy in copies(&set) {
            let mut block = vec![0; BLOCK];
            // A size may be any.
            for offset in (0..copy.volume.device.size()).step_by(BLOCK).take(400) {
                let _ = copy.volume.device.read_at(offset, &mut block);
            }
        }
    }
}
