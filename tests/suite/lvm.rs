//! Logical volumes of LVM2: those that Linux made and read, of the public corpus and of images/recipes, and groups
//! whose metadata lvm2 wrote and whose data images/recipes laid out; whole, with disks missing, and with bits changed.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use volfold::SetVolume;
use volfold::volume::lvm::Lvm;
use volfold::volume::{GroupId, Health, Region, VolumeManager};
use volfold_block::{BlockDevice, Finding, MemoryDevice};

use crate::common::compare::compare;
use crate::common::fixtures::{Fixture, LogicalFacts, fixture, index};
use crate::common::listing;
use crate::common::program::{Scratch, text, volfold};
use crate::common::sets::{bytes_of, check_blocks, codes, find, health, open};
use crate::common::{corpus, sha256};
use crate::harness::{apply, note, test};

fn groups() -> impl Iterator<Item = &'static Fixture> {
    index().fixtures.values().filter(|fixture| !fixture.logical.is_empty())
}

/// The volumes of `fixture` that are read.
fn read(fixture: &Fixture) -> impl Iterator<Item = &LogicalFacts> {
    fixture.logical.iter().filter(|facts| facts.refused.is_none())
}

#[apply(test)]
fn every_layout_gives_the_bytes_that_were_put_in() {
    for fixture in groups() {
        let set = open(&fixture.paths());
        for facts in read(fixture) {
            let place = format!("{} {}", fixture.name, facts.name);
            let volume = &find(&set, &facts.id).volume;
            let membership = volume.membership.as_ref().expect("a group");
            assert_eq!((&membership.group, &membership.name), (&facts.group, &facts.name));
            assert_eq!(volume.layout.to_string(), facts.layout, "{place}");
            assert_eq!(health(volume.health), facts.health, "{place}: {:?}", set.findings());
            assert_eq!((volume.size, volume.device.size()), (facts.size, facts.size), "{place}");
            assert_eq!(sha256(&bytes_of(&*volume.device)), facts.sha256, "{place}");
        }
        let shown = set.volumes().iter().filter(|volume| volume.volume.membership.is_some());
        assert_eq!(
            shown.count(),
            fixture.logical.len(),
            "{}: hidden volumes are parts",
            fixture.name
        );
        let expected = fixture.expect.as_ref().map(|expect| expect.findings.clone());
        for code in expected.iter().flatten() {
            assert!(codes(set.findings()).contains(&code.as_str()), "{}: no {code}", fixture.name);
        }
        if expected.is_none() {
            assert!(set.findings().is_empty(), "{}: {:?}", fixture.name, set.findings());
        }
    }
}

#[apply(test)]
fn a_volume_is_chosen_by_the_name_that_linux_has_for_it() {
    let scratch = Scratch::new("lvm-names");
    let fixture = fixture("lvm-layouts");
    let disks = fixture.paths();
    for facts in read(&fixture).take(2) {
        let (out, name) = (scratch.join(&facts.name), format!("{}/{}", facts.group, facts.name));
        let arguments = ["--volume", &name, "--format", "raw", "-o", text(&out)];
        let disks = disks.iter().map(|disk| text(disk));
        volfold(["convert"].into_iter().chain(disks).chain(arguments)).code(0);
        assert_eq!(sha256(&fs::read(&out).expect("a file")), facts.sha256, "{name}");
    }
}

#[apply(test)]
fn what_is_refused_is_listed_and_says_why() {
    for fixture in groups() {
        let set = open(&fixture.paths());
        for facts in &fixture.logical {
            let Some(reason) = &facts.refused else { continue };
            let volume = find(&set, &facts.id);
            assert_eq!((volume.volume.health, volume.volume.size), (Health::Failed, facts.size));
            let error = volume.volume.device.read_at(0, &mut [0; 512]).expect_err("a refusal");
            assert!(error.message().contains(reason), "{}: {error}", facts.name);
            let about = |finding: &&Finding| finding.volume.as_deref() == Some(&facts.id);
            let finding = set.findings().iter().find(about).expect("a finding");
            assert_eq!(finding.code, "lvm-volume-refused", "{}", facts.name);
            let disks = fixture.paths();
            let listed = volfold(["list"].into_iter().chain(disks.iter().map(|disk| text(disk))));
            assert!(!listed.text().contains(&format!("--volume {}", facts.id)), "it has no bytes");
        }
    }
}

/// Whether an error says what is missing.
fn is_told(line: &str) -> bool {
    line.contains("is missing") || line.contains("not marked as current")
}

#[apply(test)]
fn with_each_disk_missing_bytes_are_right_or_an_error_names_the_disk() {
    for fixture in groups() {
        let whole = open(&fixture.paths());
        for left_out in &fixture.open {
            let kept = fixture.paths().into_iter().filter(|path| !path.ends_with(left_out));
            let set = open(&kept.collect::<Vec<PathBuf>>());
            assert!(codes(set.findings()).contains(&"lvm-missing-disk"), "{}", fixture.name);
            for facts in read(fixture) {
                let place = format!("{} {} without {left_out}", fixture.name, facts.name);
                let volume = &find(&set, &facts.id).volume;
                assert_eq!(health(volume.health), facts.without[left_out], "{place}");
                if let Some(other) = facts.otherwise.get(left_out) {
                    assert_eq!(&sha256(&bytes_of(&*volume.device)), other, "{place}");
                    continue;
                }
                let old = |finding: &Finding| {
                    let is_told = finding.message.contains("is read though");
                    is_told && finding.volume.as_deref() == Some(&facts.id)
                };
                if set.findings().iter().any(old) {
                    assert!(facts.name.ends_with("-sync"), "{place}");
                    continue;
                }
                let bytes = bytes_of(&*find(&whole, &facts.id).volume.device);
                let good = check_blocks(&*volume.device, &bytes, &place, is_told);
                if volume.health != Health::Failed {
                    assert_eq!(good, bytes.len().div_ceil(4096), "{place}");
                }
            }
        }
    }
}

#[apply(test)]
fn a_raid6_bears_any_two_missing_disks_and_no_other_layout_gives_wrong_bytes() {
    for name in ["lvm-layouts", "lvm-linux-raid", "lvm-linux-reshaped"] {
        check_without_two(&fixture(name));
    }
}

fn check_without_two(fixture: &Fixture) {
    let paths = fixture.paths();
    let whole = open(&paths);
    for first in 0..paths.len() {
        for second in 0..first {
            let kept = paths.iter().enumerate().filter(|(at, _)| *at != first && *at != second);
            let set = open(&kept.map(|(_, path)| path.clone()).collect::<Vec<_>>());
            for facts in fixture.logical.iter().filter(|facts| !facts.name.ends_with("-sync")) {
                let place = format!("{} {} without {first} and {second}", fixture.name, facts.name);
                let bytes = bytes_of(&*find(&whole, &facts.id).volume.device);
                let volume = &find(&set, &facts.id).volume;
                let good = check_blocks(&*volume.device, &bytes, &place, is_told);
                if facts.layout == "raid6" {
                    assert_eq!(volume.health, Health::Degraded, "{place}");
                    assert_eq!(good, bytes.len().div_ceil(4096), "{place}");
                }
            }
        }
    }
}

#[apply(test)]
fn copies_and_parity_are_compared() {
    let fixture = fixture("lvm-layouts");
    let set = open(&fixture.paths());
    let mut compared = 0;
    for facts in &fixture.logical {
        let volume = &find(&set, &facts.id).volume;
        let Some(redundancy) = &volume.redundancy else { continue };
        let found = redundancy.compare();
        assert_eq!((found.compared, found.differing), (facts.size, 0), "{}", facts.name);
        compared += 1;
    }
    assert_eq!(compared, 12, "all but linear, striped, and mirrors side by side");
}

#[apply(test)]
fn volumes_that_linux_made_are_read_whole_and_without_a_disk() {
    let folder = corpus::needed();
    let manifest = corpus::manifest(&folder);
    let entry =
        manifest.entries.iter().find(|entry| entry.id == "gen-md-lvm-a").expect("the entry");
    let unpacked = corpus::unpack(&folder, entry);
    let paths = ["disk07.img", "disk08.img"].map(|name| unpacked.join(name));
    let set = open(&paths);
    assert!(set.findings().is_empty(), "{:?}", set.findings());
    let mut seen = 0;
    for facts in &entry.volumes {
        let name = facts.volume.as_deref().unwrap_or_default();
        if !["lin", "str"].contains(&name) {
            continue;
        }
        let of = |volume: &&Arc<SetVolume>| {
            volume.group_name().is_some_and(|it| it == format!("vgcorpusa/{name}"))
        };
        let volume = set.volumes().iter().find(of).expect(name);
        let whole = bytes_of(&*volume.volume.device);
        assert_eq!(Some(&sha256(&whole)), facts.content_sha256.as_ref(), "{name}");
        for listing in &facts.listings {
            let files = volume.file_system().expect(name);
            let rows = listing::load(&folder.join(&listing.file));
            compare(&*files, &rows).expect(name).assert_same(name);
        }
        for kept in &paths {
            let set = open(std::slice::from_ref(kept));
            let volume = &find(&set, volume.id()).volume;
            let place = format!("{name} of {} alone", kept.display());
            check_blocks(&*volume.device, &whole, &place, is_told);
        }
        seen += 1;
    }
    assert_eq!(seen, 2);
    note!("kernel-made: {seen} volumes");
}

#[apply(test)]
fn a_guest_finds_its_volumes_by_the_names_of_the_device_mapper() {
    let set = open(&fixture("lvm-guest").paths());
    let names: Vec<&str> = set.volumes().iter().map(|volume| volume.name.as_str()).collect();
    let info = set.os_info().expect("the systems");
    let [system] = info.systems.as_slice() else { panic!("one system: {names:?}") };
    let mut points: Vec<(&str, bool)> = system
        .mount_points
        .iter()
        .map(|point| (point.path.as_str(), point.volume.is_some() && point.reason.is_none()))
        .collect();
    points.sort_unstable();
    assert_eq!(points, [("/", true), ("/gone", false), ("/home", true), ("/var/log", true)]);
    for name in ["seed-vg/home", "lvm:lv0000-0000-0000-0000-0000-0000-003001"] {
        assert_eq!(set.volumes_called(name).len(), 1, "{name} of {names:?}");
    }
}

#[apply(test)]
fn snapshots_are_called_as_the_volume_that_they_are_of() {
    for (name, wanted) in [("lvm-snapshot", "base@before"), ("lvm-thin", "thin1@snap")] {
        let set = open(&fixture(name).paths());
        let names: Vec<&str> = set.volumes().iter().map(|volume| volume.name.as_str()).collect();
        assert!(names.contains(&wanted), "{name}: {names:?}");
    }
}

#[apply(test)]
fn two_images_of_one_disk_are_refused_and_both_are_named() {
    let fixture = fixture("lvm-layouts");
    let folder = Scratch::new("lvm-twice");
    let copy = folder.join("snapshot.img");
    let mut given = fixture.paths();
    fs::copy(&given[3], &copy).expect("a copy");
    given.push(copy.clone());
    let set = open(&given);
    let finding = set.findings().iter().find(|finding| finding.code == "lvm-duplicate-disk");
    let finding = finding.expect("a finding");
    assert!(finding.message.contains(&copy.display().to_string()), "{}", finding.message);
    for facts in &fixture.logical {
        let volume = &find(&set, &facts.id).volume;
        assert_eq!(health(volume.health), facts.without["disk3.img"], "{}", facts.name);
    }
}

/// The numbers of the attributes `names` of `element`, a piece of XML.
#[cfg(target_os = "linux")]
fn numbers<const N: usize>(element: &str, names: [&str; N]) -> Option<[u64; N]> {
    let number = |name: &str| {
        let (_, rest) = element.split_once(&format!("{name}=\""))?;
        rest.split_once('"')?.0.parse().ok()
    };
    let found: Vec<u64> = names.iter().filter_map(|name| number(name)).collect();
    found.try_into().ok()
}

#[cfg(target_os = "linux")]
#[apply(test)]
fn thin_volumes_are_where_thin_dump_says() {
    use crate::harness::needs_programs;
    needs_programs(&["thin_dump"]);
    const BLOCK: usize = 64 << 10;
    let fixture = fixture("lvm-thin");
    let disks: Vec<Vec<u8>> =
        fixture.paths().iter().map(|path| fs::read(path).expect("an image")).collect();
    // Behind the external origin are the metadata, and then the first half of the pool.
    let metadata = (1 << 20) + 16 * BLOCK;
    let half = 24 * BLOCK;
    let pool = [&disks[0][metadata + (2 << 20)..][..half], &disks[1][1 << 20..][..half]].concat();
    let folder = Scratch::new("thin-dump");
    let path = folder.join("metadata");
    fs::write(&path, &disks[0][metadata..][..2 << 20]).expect("a file");
    let dump = std::process::Command::new("thin_dump").arg(&path).output().expect("thin_dump");
    let dump = String::from_utf8(dump.stdout).expect("XML");
    let set = open(&fixture.paths());
    let names = ["thin1", "snap", "ext", "many"];
    let (mut device, mut compared) = (0, 0);
    for element in dump.split('<') {
        if let Some([number]) = numbers(element, ["dev_id"]) {
            device = number as usize;
        }
        let range = numbers(element, ["origin_begin", "data_begin", "length"]);
        let single = numbers(element, ["origin_block", "data_block"]);
        let Some([own, data, count]) = range.or(single.map(|[own, data]| [own, data, 1])) else {
            continue;
        };
        let facts = fixture.logical.iter().find(|facts| facts.name == names[device - 1]);
        let volume = &find(&set, &facts.expect("a volume").id).volume;
        for block in 0..count {
            let mut bytes = vec![0; BLOCK];
            volume.device.read_at((own + block) * BLOCK as u64, &mut bytes).expect("a block");
            let at = (data + block) as usize * BLOCK;
            assert!(bytes == pool[at..at + BLOCK], "device {device}, block {}", own + block);
            compared += 1;
        }
    }
    assert!(compared > 640, "{compared} blocks");
}

#[cfg(target_os = "linux")]
#[apply(test)]
fn lvm2_finds_the_volumes_that_are_listed() {
    use std::process::Command;

    use crate::harness::needs_programs;
    needs_programs(&["pvck"]);
    for fixture in groups() {
        let set = open(&fixture.paths());
        // Not every disk has metadata.
        let mut dumps = fixture.paths().into_iter().rev().map(|path| {
            let arguments = ["--driverloaded", "n", "--dump", "metadata"];
            let pvck = Command::new("pvck").args(arguments).arg(&path).output().expect("pvck");
            String::from_utf8(pvck.stdout).expect("text")
        });
        let dump = dumps.find(|dump| dump.contains("logical_volumes")).expect("metadata");
        let line = |name: &str, value: &str| format!("{name} = {value}");
        for volume in set.volumes().iter().filter(|volume| volume.volume.membership.is_some()) {
            let id = volume.id().trim_start_matches("lvm:");
            assert!(
                dump.contains(&line("id", &format!("\"{id}\""))),
                "{}: {id}: {dump}",
                fixture.name
            );
        }
        let group = &fixture.logical[0].group;
        assert!(dump.contains(&format!("{group} {{")), "{}: {dump}", fixture.name);
    }
}

/// Every bit of the tables of `fixture` that `spoil` picks, changed: the bytes of all volumes stay right, or
/// an error takes their place.
fn check_spoilt(name: &str, disk: usize, places: impl Iterator<Item = usize>) {
    let fixture = fixture(name);
    let disks: Vec<Vec<u8>> =
        fixture.paths().iter().map(|path| fs::read(path).expect("an image")).collect();
    let whole = open(&fixture.paths());
    for place in places {
        let mut disks = disks.clone();
        disks[disk][place / 8] ^= 1 << (place % 8);
        let regions: Vec<Region> = disks
            .into_iter()
            .enumerate()
            .map(|(disk, bytes)| {
                let device: Arc<dyn BlockDevice> = Arc::new(MemoryDevice::new(bytes));
                let label = format!("disk{disk}").into();
                let size = device.size();
                Region { disk, device, start: 0, size, label, partition: None, table_id: None }
            })
            .collect();
        let mut findings = Vec::new();
        for volume in Lvm.assemble(&GroupId("lvm2".to_owned()), &regions, &mut findings) {
            let known = whole.volumes().iter().find(|known| known.id() == volume.id.0);
            let known = known.unwrap_or_else(|| panic!("{} is new", volume.id));
            let mut block = vec![0; 4096.min(volume.size as usize)];
            let mut wanted = block.clone();
            for offset in (0..volume.size).step_by(96 << 10) {
                let is_there = offset + block.len() as u64 <= volume.size;
                if is_there && volume.device.read_at(offset, &mut block).is_ok() {
                    let read = known.volume.device.read_at(offset, &mut wanted);
                    assert!(
                        read.is_ok() && block == wanted,
                        "{name}: bit {place}, {} at {offset}",
                        volume.id
                    );
                }
            }
        }
    }
}

#[apply(test)]
fn no_changed_bit_of_a_thin_pool_s_tables_gives_a_wrong_byte() {
    // Where the blocks of the pool's metadata begin: after the extents of the external origin.
    let metadata = (1 << 20) + (16 << 16);
    let bytes = fs::read(&fixture("lvm-thin").paths()[0]).expect("an image");
    let blocks = (0..512).map(|block| metadata + block * 4096);
    let used = blocks.filter(|at| bytes[*at..*at + 4096].iter().any(|byte| *byte != 0));
    let used: Vec<usize> = used.collect();
    assert!(used.len() > 8, "{}", used.len());
    let places =
        used.iter().flat_map(|at| (0..4096 * 8).step_by(1499).map(move |bit| at * 8 + bit));
    check_spoilt("lvm-thin", 0, places);
}
