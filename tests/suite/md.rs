//! Arrays of Linux software RAID (MD): those that Linux made, of the public corpus, and those that
//! images/recipes laid out and mdadm examined; whole, with devices missing, and with bytes changed.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use volfold::SetVolume;
use volfold::volume::md::Md;
use volfold::volume::{Health, PartState, Region, VolumeManager};
use volfold_block::{BlockDevice, Finding, MemoryDevice};

use crate::common::compare::compare;
use crate::common::fixtures::{Fixture, LogicalFacts, fixture, index};
use crate::common::program::Scratch;
use crate::common::sets::{bytes_of, check_blocks, codes, find, health, open};
use crate::common::{corpus, listing, sha256};
use crate::harness::{apply, note, test};

fn sets() -> impl Iterator<Item = &'static Fixture> {
    index().fixtures.values().filter(|fixture| !fixture.arrays.is_empty())
}

/// The arrays of `fixture` that are read.
fn read(fixture: &Fixture) -> impl Iterator<Item = &LogicalFacts> {
    fixture.arrays.iter().filter(|facts| facts.refused.is_none())
}

#[apply(test)]
fn every_layout_gives_the_bytes_that_were_put_in() {
    for fixture in sets() {
        // The order in which images are given is of no account.
        for is_turned in [false, true] {
            let mut paths = fixture.paths();
            if is_turned {
                paths.reverse();
            }
            let set = open(&paths);
            for facts in read(fixture) {
                let place = format!("{} {}", fixture.name, facts.name);
                let volume = &find(&set, &facts.id).volume;
                let membership = volume.membership.as_ref().expect("a group");
                assert_eq!((&membership.group, &membership.name), (&facts.group, &facts.name));
                assert_eq!(volume.layout.to_string(), facts.layout, "{place}");
                assert_eq!(health(volume.health), facts.health, "{place}: {:?}", set.findings());
                assert_eq!(
                    (volume.size, volume.device.size()),
                    (facts.size, facts.size),
                    "{place}"
                );
                assert_eq!(sha256(&bytes_of(&*volume.device)), facts.sha256, "{place}");
            }
            let shown = set.volumes().iter().filter(|volume| volume.volume.membership.is_some());
            assert_eq!(shown.count(), fixture.arrays.len(), "{}", fixture.name);
            let expected = fixture.expect.as_ref().map(|expect| expect.findings.clone());
            for code in expected.iter().flatten() {
                let found = codes(set.findings());
                assert!(found.contains(&code.as_str()), "{}: no {code}", fixture.name);
            }
            if expected.is_none() {
                assert!(set.findings().is_empty(), "{}: {:?}", fixture.name, set.findings());
            }
        }
    }
}

#[apply(test)]
fn what_is_refused_is_listed_and_says_why() {
    for fixture in sets() {
        let set = open(&fixture.paths());
        for facts in &fixture.arrays {
            let Some(reason) = &facts.refused else { continue };
            let volume = find(&set, &facts.id);
            assert_eq!(volume.volume.health, Health::Failed, "{}", facts.name);
            let error = volume.volume.device.read_at(0, &mut [0; 512]).expect_err("a refusal");
            assert!(error.message().contains(reason), "{}: {error}", facts.name);
            let about = |finding: &&Finding| finding.volume.as_deref() == Some(&facts.id);
            let finding = set.findings().iter().find(about).expect("a finding");
            assert_eq!(finding.code, "md-volume-refused", "{}", facts.name);
        }
    }
}

/// Reads `device` in small blocks, which may be shorter than `whole` where its devices are not there.
fn check_array(device: &dyn BlockDevice, whole: &[u8], place: &str) -> usize {
    let is_unknown =
        ["lin", "r0-orig", "r0-alt", "journal"].iter().any(|name| place.contains(name));
    assert!(device.size() == whole.len() as u64 || is_unknown, "{place}");
    let whole = &whole[..whole.len().min(device.size() as usize)];
    let told = ["missing", "stale", "had failed", "rebuilt", "log of bad blocks"];
    check_blocks(device, whole, place, |line| told.iter().any(|word| line.contains(word)))
}

#[apply(test)]
fn with_each_disk_missing_bytes_are_right_or_an_error_says_what_is_missing() {
    for fixture in sets() {
        let whole = open(&fixture.paths());
        for left_out in &fixture.open {
            let kept = fixture.paths().into_iter().filter(|path| !path.ends_with(left_out));
            let set = open(&kept.collect::<Vec<PathBuf>>());
            // The array is not read without its journal.
            let is_told = |code: &&str| ["md-missing-device", "md-volume-refused"].contains(code);
            assert!(codes(set.findings()).iter().any(is_told), "{}", fixture.name);
            for facts in read(fixture) {
                let place = format!("{} {} without {left_out}", fixture.name, facts.name);
                let volume = &find(&set, &facts.id).volume;
                let bytes = bytes_of(&*find(&whole, &facts.id).volume.device);
                // What the newest device said of the others may be missing with it.
                if !place.contains("-stale") && !place.contains("-faulty") {
                    assert_eq!(health(volume.health), facts.without[left_out], "{place}");
                }
                let good = check_array(&*volume.device, &bytes, &place);
                if volume.health != Health::Failed {
                    assert_eq!(good, bytes.len().div_ceil(4096), "{place}");
                }
            }
        }
    }
}

#[apply(test)]
fn a_raid6_bears_any_two_missing_disks_and_no_other_layout_gives_wrong_bytes() {
    let fixture = fixture("md-layouts");
    let paths = fixture.paths();
    let whole = open(&paths);
    for first in 0..paths.len() {
        for second in 0..first {
            let kept = paths.iter().enumerate().filter(|(at, _)| *at != first && *at != second);
            let set = open(&kept.map(|(_, path)| path.clone()).collect::<Vec<_>>());
            for facts in &fixture.arrays {
                let place = format!("{} without {first} and {second}", facts.name);
                let found = set.volumes().iter().find(|volume| volume.id() == facts.id);
                // Of some arrays no device is left.
                let Some(found) = found else { continue };
                let bytes = bytes_of(&*find(&whole, &facts.id).volume.device);
                let volume = &found.volume;
                let good = check_array(&*volume.device, &bytes, &place);
                if facts.layout == "raid6" {
                    assert_eq!(volume.health, Health::Degraded, "{place}");
                }
                if volume.health != Health::Failed {
                    assert_eq!(good, bytes.len().div_ceil(4096), "{place}");
                }
            }
        }
    }
}

#[apply(test)]
fn copies_and_parity_are_compared() {
    let fixture = fixture("md-layouts");
    let set = open(&fixture.paths());
    let mut compared = 0;
    for facts in &fixture.arrays {
        let volume = &find(&set, &facts.id).volume;
        let Some(redundancy) = &volume.redundancy else {
            assert!(["spanned", "striped"].contains(&facts.layout.as_str()), "{}", facts.name);
            continue;
        };
        let found = redundancy.compare();
        assert_eq!((found.compared, found.differing), (facts.size, 0), "{}", facts.name);
        compared += 1;
    }
    assert_eq!(compared, fixture.arrays.len() - 5);
}

#[apply(test)]
fn devices_that_must_not_be_read_are_told_and_not_read() {
    let set = open(&fixture("md-states").paths());
    for (name, state) in [
        ("r1-stale", PartState::Stale),
        ("r5-stale", PartState::Stale),
        ("r1-faulty", PartState::Stale),
        ("r1-late", PartState::Stale),
    ] {
        let of = |volume: &&Arc<SetVolume>| {
            volume.volume.membership.as_ref().is_some_and(|it| it.name == name)
        };
        let volume = set.volumes().iter().find(of).expect(name);
        let parts = &volume.volume.membership.as_ref().expect(name).parts;
        assert_eq!(parts[1].state, state, "{name}");
    }
}

#[apply(test)]
fn a_guest_finds_its_volumes_by_the_names_of_arrays() {
    let set = open(&fixture("md-guest").paths());
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
}

#[apply(test)]
fn two_images_of_one_device_are_refused_and_both_are_named() {
    let fixture = fixture("md-lvm");
    let folder = Scratch::new("md-twice");
    let copy = folder.join("snapshot.img");
    let mut given = fixture.paths();
    fs::copy(&given[3], &copy).expect("a copy");
    given.push(copy.clone());
    let set = open(&given);
    let finding = set.findings().iter().find(|finding| finding.code == "md-duplicate-device");
    let finding = finding.expect("a finding");
    assert!(finding.message.contains(&copy.display().to_string()), "{}", finding.message);
    let facts = &fixture.arrays[0];
    let volume = &find(&set, &facts.id).volume;
    assert_eq!(sha256(&bytes_of(&*volume.device)), facts.sha256, "rebuilt without either");
}

#[apply(test)]
fn arrays_that_linux_made_are_read_whole_and_without_a_disk() {
    let folder = corpus::needed();
    let manifest = corpus::manifest(&folder);
    let entry =
        manifest.entries.iter().find(|entry| entry.id == "gen-md-lvm-a").expect("the entry");
    let unpacked = corpus::unpack(&folder, entry);
    let paths: Vec<PathBuf> = entry.files.iter().map(|file| unpacked.join(&file.name)).collect();
    let set = open(&paths);
    assert!(set.findings().is_empty(), "{:?}", set.findings());
    let mut seen = 0;
    for facts in &entry.volumes {
        let name = facts.volume.as_deref().unwrap_or_default();
        let of = |volume: &&Arc<SetVolume>| {
            let own = volume.volume.membership.as_ref();
            volume.id().starts_with("md:") && own.is_some_and(|it| it.name == name)
        };
        let Some(volume) = set.volumes().iter().find(of) else {
            assert!(["lin", "str"].contains(&name), "no array {name}");
            continue;
        };
        let whole = bytes_of(&*volume.volume.device);
        assert_eq!(Some(&sha256(&whole)), facts.content_sha256.as_ref(), "{name}");
        for listing in &facts.listings {
            let files = volume.file_system().expect(name);
            let rows = listing::load(&folder.join(&listing.file));
            compare(&*files, &rows).expect(name).assert_same(name);
        }
        for left_out in &paths {
            let kept: Vec<PathBuf> =
                paths.iter().filter(|path| *path != left_out).cloned().collect();
            let set = open(&kept);
            let volume = &find(&set, volume.id()).volume;
            let place = format!("{name} without {}", left_out.display());
            let good = check_array(&*volume.device, &whole, &place);
            if volume.health != Health::Failed {
                assert_eq!(good, whole.len().div_ceil(4096), "{place}");
            }
        }
        seen += 1;
    }
    assert_eq!(seen, 3);
    note!("kernel-made: {seen} arrays");
}

/// Joins the first array of `disks`, which are images of whole devices.
fn join(disks: Vec<Vec<u8>>) -> (Vec<volfold::volume::Volume>, Vec<Finding>) {
    let device = |bytes| -> Arc<dyn BlockDevice> { Arc::new(MemoryDevice::new(bytes)) };
    join_devices(disks.into_iter().map(device).collect())
}

/// The same of devices.
fn join_devices(disks: Vec<Arc<dyn BlockDevice>>) -> (Vec<volfold::volume::Volume>, Vec<Finding>) {
    let regions: Vec<Region> = disks
        .into_iter()
        .enumerate()
        .map(|(disk, device)| {
            let label = format!("disk{disk}").into();
            let size = device.size();
            Region { disk, device, start: 0, size, label, partition: None, table_id: None }
        })
        .collect();
    let claims = regions.iter().map(|region| (region, Md.claim(region).expect("a claim")));
    let mut groups = std::collections::BTreeMap::<_, Vec<Region>>::new();
    for (region, claim) in claims {
        if let Some(claim) = claim {
            groups.entry(claim.group).or_default().push(region.clone());
        }
    }
    let mut findings = Vec::new();
    let joined = groups.iter().flat_map(|(group, own)| Md.assemble(group, own, &mut findings));
    let volumes = joined.collect();
    (volumes, findings)
}

#[apply(test)]
fn no_changed_bit_of_a_superblock_gives_a_wrong_byte_in_silence() {
    let fixture = fixture("md-lvm");
    let disks: Vec<Vec<u8>> =
        fixture.paths().iter().map(|path| fs::read(path).expect("an image")).collect();
    let (whole, findings) = join(disks.clone());
    assert!(findings.is_empty(), "{findings:?}");
    let bytes = bytes_of(&*whole[0].device);
    // All of it, and some of what comes after it.
    for bit in 0..(256 + 16) * 8 {
        let mut disks = disks.clone();
        disks[1][4096 + bit / 8] ^= 1 << (bit % 8);
        let (volumes, findings) = join(disks);
        let place = format!("bit {bit}");
        let [volume] = volumes.as_slice() else { panic!("{place}: {findings:?}") };
        assert_eq!(volume.device.size(), whole[0].device.size(), "{place}");
        for offset in (0..volume.size - 4096).step_by(2 << 20) {
            let mut block = [0; 4096];
            volume.device.read_at(offset, &mut block).expect(&place);
            assert!(block == bytes[offset as usize..][..4096], "{place} at {offset}");
        }
        let is_past = bit >= (256 + 8) * 8;
        assert_eq!(volume.health == Health::Healthy, is_past, "{place}: {findings:?}");
        assert_eq!(findings.is_empty(), is_past, "{place}");
    }
}

/// Writes `value` at `at` of `superblock`, one of version 1, and its checksum.
pub(crate) fn change_superblock(superblock: &mut [u8], at: usize, value: &[u8]) {
    superblock[at..at + value.len()].copy_from_slice(value);
    let roles = u32::from_le_bytes(superblock[220..224].try_into().expect("a word")) as usize;
    let all = &mut superblock[..(256 + 2 * roles.min(1920)).min(4096)];
    all[216..220].fill(0);
    let words = all
        .chunks(4)
        .map(|word| word.iter().rev().fold(0_u64, |word, byte| (word << 8) | u64::from(*byte)));
    let sum: u64 = words.sum();
    let sum = (sum & 0xFFFF_FFFF) + (sum >> 32);
    superblock[216..220].copy_from_slice(&sum.to_le_bytes()[..4]);
}

#[apply(test)]
fn a_field_of_a_superblock_that_is_wrong_gives_no_wrong_byte_in_silence() {
    let fixture = fixture("md-lvm");
    let disks: Vec<Vec<u8>> =
        fixture.paths().iter().map(|path| fs::read(path).expect("an image")).collect();
    let device =
        |bytes: &Vec<u8>| -> Arc<dyn BlockDevice> { Arc::new(MemoryDevice::new(bytes.clone())) };
    let devices: Vec<_> = disks.iter().map(device).collect();
    let (whole, _) = join_devices(devices.clone());
    let bytes = bytes_of(&*whole[0].device);
    let fields = (0..256).step_by(4).chain((256..272).step_by(2));
    let mut silent = std::collections::BTreeSet::new();
    for at in fields {
        // Where the data of a device begin only its own superblock says.
        if (0x80..0x88).contains(&at) || at == 216 {
            continue;
        }
        let old = &disks[1][4096 + at..][..if at < 256 { 4 } else { 2 }];
        let mut number = [0; 4];
        number[..old.len()].copy_from_slice(old);
        let number = u32::from_le_bytes(number);
        let others = [number ^ 1, number ^ 0x8000, 0, u32::MAX];
        for value in others {
            let value = &value.to_le_bytes()[..old.len()];
            if value == old {
                continue;
            }
            let mut changed = disks[1].clone();
            change_superblock(&mut changed[4096..8192], at, value);
            let mut devices = devices.clone();
            devices[1] = Arc::new(MemoryDevice::new(changed));
            let place = format!("{at:#x} is {value:x?}");
            let (volumes, findings) = join_devices(devices);
            let of = |volume: &&volfold::volume::Volume| volume.id == whole[0].id;
            let volume = volumes.iter().find(of).unwrap_or_else(|| panic!("{place}: no array"));
            let mut is_same = volume.device.size() == bytes.len() as u64;
            for (offset, wanted) in (0..).step_by(512 << 10).zip(bytes.chunks(512 << 10)) {
                let mut block = vec![0; 4096];
                match volume.device.read_at(offset, &mut block) {
                    Ok(()) => assert!(block == wanted[..4096], "{place}: wrong bytes at {offset}"),
                    Err(_) => is_same = false,
                }
            }
            assert!(is_same || !findings.is_empty(), "{place}: nothing is told");
            if is_same && findings.is_empty() {
                silent.insert(at);
            }
        }
    }
    // What may differ without a word: names and times; what is not looked at; the log of bad blocks where there
    // is none; more in sync, more room and more devices than there are.
    let harmless = |at: &usize| match at {
        0x08 | 0x0C | 0x40 | 0x44 | 0x98..0xA8 | 0xB8 | 0xBC => true,
        0x20..0x40 | 0x60..0x80 | 0x88..0x90 | 0xA8..0xB8 | 0xC0..0xD8 | 0xDC..0x100 => true,
        at => *at >= 256,
    };
    assert!(silent.iter().all(harmless), "{silent:x?}");
}

#[cfg(target_os = "linux")]
#[apply(test)]
fn an_array_lies_over_images_of_several_formats() {
    use crate::harness::needs_programs;
    needs_programs(&["qemu-img"]);
    let fixture = fixture("md-lvm");
    let folder = Scratch::new("md-formats");
    let formats = ["qcow2", "vmdk", "vhdx", "raw"];
    let paths: Vec<PathBuf> = fixture
        .paths()
        .iter()
        .zip(formats)
        .map(|(path, format)| {
            let name = path.file_stem().expect("a name").to_string_lossy();
            let to = folder.join(format!("{name}.{format}"));
            let done = std::process::Command::new("qemu-img")
                .args(["convert", "-O", format])
                .args([path, &to])
                .status();
            assert!(done.expect("qemu-img").success());
            to
        })
        .collect();
    let set = open(&paths);
    assert!(set.findings().is_empty(), "{:?}", set.findings());
    let facts = &fixture.arrays[0];
    assert_eq!(sha256(&bytes_of(&*find(&set, &facts.id).volume.device)), facts.sha256);
}

#[cfg(target_os = "linux")]
#[apply(test)]
fn mdadm_says_of_the_same_superblocks_that_the_array_was_not_stopped() {
    use crate::harness::needs_programs;
    needs_programs(&["mdadm"]);
    let scratch = Scratch::new("md-dirty");
    let path = scratch.join("disk.img");
    let whole = fs::read(&fixture("md-lvm").paths()[0]).expect("an image");
    for (sectors, state, told) in [
        (u64::MAX, "State : clean", None),
        (0, "State : active", Some("was not stopped in order")),
        (16, "State : active", Some("was in sync up to 8192 of")),
    ] {
        let mut bytes = whole.clone();
        change_superblock(&mut bytes[4096..8192], 208, &sectors.to_le_bytes());
        fs::write(&path, &bytes).expect("an image");
        let said = std::process::Command::new("mdadm").arg("--examine").arg(&path).output();
        let said = String::from_utf8(said.expect("mdadm").stdout).expect("text");
        assert!(said.contains(state) && said.contains("- correct"), "{said}");
        let (_, findings) = join(vec![bytes]);
        let doubt = findings.iter().find(|finding| finding.code == "md-volume-doubtful");
        let doubt = doubt.map(|finding| finding.message.as_str());
        assert_eq!(doubt.is_some(), told.is_some(), "{findings:?}");
        assert!(told.is_none_or(|told| doubt.is_some_and(|doubt| doubt.contains(told))));
    }
}

#[cfg(target_os = "linux")]
#[apply(test)]
fn mdadm_knows_the_arrays_that_are_listed() {
    use crate::harness::needs_programs;
    needs_programs(&["mdadm"]);
    let fixture = fixture("md-lvm");
    let path = fixture.paths().remove(2);
    let said = std::process::Command::new("mdadm").arg("--examine").arg(&path).output();
    let said = String::from_utf8(said.expect("mdadm").stdout).expect("text");
    let bytes = fs::read(&path).expect("an image");
    let device: Arc<dyn BlockDevice> = Arc::new(MemoryDevice::new(bytes));
    let (size, label) = (device.size(), "disk2".into());
    let region = Region { disk: 0, device, start: 0, size, label, partition: None, table_id: None };
    let claim = Md.claim(&region).expect("a claim").expect("a member");
    let volumes = Md.assemble(&claim.group, &[region], &mut Vec::new());
    let membership = volumes[0].membership.as_ref().expect("a group");
    for line in [
        format!("Array UUID : {}", membership.group_id),
        format!("Name : {}", membership.group),
        format!("Device UUID : {}", membership.parts[2].disk_id),
        format!("Raid Devices : {}", membership.parts.len()),
        "Raid Level : raid5".to_owned(),
        "Device Role : Active device 2".to_owned(),
    ] {
        assert!(said.contains(&line), "no {line} in\n{said}");
    }
}
