//! Windows dynamic disks: Windows' own of the public corpus, and groups that images/recipes wrote
//! and ldmtool confirmed; whole, with each disk missing, and with bits changed.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use volfold::volume::ldm::Ldm;
use volfold::volume::{GroupId, Health, MembershipPart, PartState, Region, Volume, VolumeManager};
use volfold::{DiskSet, SetVolume};
use volfold_block::{BlockDevice, Finding, MemoryDevice};

use crate::common::compare::compare;
use crate::common::corpus;
use crate::common::fixtures::{DynamicFacts, Fixture, fixture, index};
use crate::common::listing;
use crate::common::program::Scratch;
use crate::common::sets::{bytes_of, check_blocks, codes, find, health, open};
use crate::harness::{apply, note, test};

fn groups() -> impl Iterator<Item = &'static Fixture> {
    index().fixtures.values().filter(|fixture| !fixture.dynamic.is_empty())
}

fn check_files(volume: &SetVolume, facts: &DynamicFacts, place: &str) {
    let fs = volume.file_system().unwrap_or_else(|error| panic!("{place}: {error}"));
    let result = compare(&*fs, &facts.rows()).expect(place);
    result.assert_same(place);
    assert!(result.refused.is_empty() && result.same > 0, "{place}: {:?}", result.refused);
}

#[apply(test)]
fn every_generated_layout_gives_the_bytes_that_were_put_in() {
    for fixture in groups() {
        let set = open(&fixture.paths());
        for facts in &fixture.dynamic {
            let place = format!("{} {}", fixture.name, facts.name);
            let volume = find(&set, &facts.id);
            let laid_out = &volume.volume;
            let membership = laid_out.membership.as_ref().expect("a group");
            assert_eq!(laid_out.layout.to_string(), facts.layout, "{place}");
            assert_eq!(health(laid_out.health), facts.health, "{place}: {:?}", set.findings());
            assert_eq!(
                (laid_out.size, laid_out.device.size()),
                (facts.size, facts.size),
                "{place}"
            );
            assert_eq!((&membership.group, &membership.name), (&facts.group, &facts.name));
            assert_eq!(membership.plexes, facts.plexes, "{place}");
            assert_eq!(membership.columns, facts.columns, "{place}");
            assert_eq!(membership.chunk_size, facts.chunk_size, "{place}");
            if let Some(hint) = &facts.hint {
                let letter = hint.trim_end_matches(':');
                assert!(volume.name.starts_with(letter), "{place}: {}", volume.name);
            }
            assert_eq!(
                crate::common::sha256(&bytes_of(&*laid_out.device)),
                facts.sha256,
                "{place}"
            );
            check_files(volume, facts, &place);
        }
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
fn with_each_disk_missing_bytes_are_right_or_an_error_names_the_disk() {
    for fixture in groups() {
        let whole = open(&fixture.paths());
        for left_out in &fixture.open {
            let kept = fixture.paths().into_iter().filter(|path| !path.ends_with(left_out));
            let kept: Vec<PathBuf> = kept.collect();
            if kept.is_empty() {
                continue;
            }
            let set = open(&kept);
            for facts in fixture.dynamic.iter().filter(|facts| !facts.without.is_empty()) {
                let place = format!("{} {} without {left_out}", fixture.name, facts.name);
                let reference = find(&whole, &facts.id);
                // A disk of another group; or the only one with a readable database.
                let Some(expected) = facts.without.get(left_out) else {
                    let bytes = bytes_of(&*find(&set, &facts.id).volume.device);
                    assert_eq!(crate::common::sha256(&bytes), facts.sha256, "{place}");
                    continue;
                };
                let Some(volume) = set.volumes().iter().find(|one| one.volume.id.0 == facts.id)
                else {
                    assert!(codes(set.findings()).contains(&"ldm-no-database"), "{place}");
                    continue;
                };
                assert_eq!(health(volume.volume.health), expected, "{place}");
                let bytes = bytes_of(&*reference.volume.device);
                let device = &volume.volume.device;
                if expected == "failed" {
                    let parts = &volume.volume.membership.as_ref().expect("a group").parts;
                    let missing = parts.iter().filter(|part| part.state == PartState::Missing);
                    let names: Vec<&str> = missing.map(|part| part.disk_id.as_str()).collect();
                    let good = check_blocks(&**device, &bytes, &place, |line| {
                        line.contains("is missing") && names.iter().any(|disk| line.contains(disk))
                    });
                    assert!(good > 0 && good * 4096 < bytes.len(), "{place}: {good} blocks");
                } else {
                    assert_eq!(
                        crate::common::sha256(&bytes_of(&**device)),
                        facts.sha256,
                        "{place}"
                    );
                    check_files(volume, facts, &place);
                }
                if expected != "healthy" {
                    assert!(codes(set.findings()).contains(&"ldm-missing-disk"), "{place}");
                }
            }
        }
    }
}

#[apply(test)]
fn files_on_the_disks_that_are_there_are_read_and_others_name_the_missing_one() {
    // The first disk of the set holds the end of the volume, the second its beginning.
    let fixture = fixture("ldm-spanned");
    let paths = fixture.paths();
    let set = open(&paths[1..]);
    let volume = find(&set, &fixture.dynamic[0].id);
    assert_eq!(volume.volume.health, Health::Failed);
    let fs = volume.file_system().expect("NTFS begins on the disk that is there");
    let result = compare(&*fs, &fixture.dynamic[0].rows()).expect("the root");
    assert!(result.same == 3 && result.refused.is_empty(), "{result:?}");
    let [big] = result.differences.as_slice() else { panic!("{result:?}") };
    let wanted = "big.bin: disk Disk1 (5eed0004-0002-4000-8000-000000000001) of group Server-Dg0";
    assert!(big.starts_with(wanted) && big.contains("is missing"), "{big}");
    let set = open(&paths[..1]);
    let volume = find(&set, &fixture.dynamic[0].id);
    let reason = volume.reason.as_deref().expect("the beginning is missing");
    assert!(reason.contains("disk Disk2 (5eed0004-0002-4000-8000-000000000002)"), "{reason}");
}

#[apply(test)]
fn any_order_and_the_folder_itself_give_the_same_set() {
    for name in ["ldm-raid5", "ldm-two-groups", "ldm-4kn"] {
        let fixture = fixture(name);
        let shown = |set: &DiskSet| -> Vec<(String, String, u64)> {
            let volumes = set.volumes().iter();
            volumes
                .map(|one| (one.volume.id.0.clone(), one.name.clone(), one.volume.size))
                .collect()
        };
        let wanted = shown(&open(&fixture.paths()));
        let mut turned = fixture.paths();
        turned.reverse();
        assert_eq!(shown(&open(&turned)), wanted, "{name}");
        let folder = Scratch::new(name);
        for path in fixture.paths() {
            folder.copy(&path);
        }
        fs::write(folder.join("notes.txt"), "not a disk\n").expect("a file");
        fs::write(folder.join("zeros.bin"), vec![0; 1 << 20]).expect("a file");
        let set = open(&[folder.path().to_path_buf()]);
        assert_eq!(shown(&set), wanted, "{name}: {:?}", set.findings());
        assert_eq!(set.disks().len(), fixture.open.len());
        let set = open(&[folder.path().to_path_buf(), folder.join("disk1.img")]);
        assert_eq!(shown(&set), wanted, "{name}: a disk of the folder is given too");
        let codes = codes(set.findings());
        assert_eq!(codes, ["file-not-taken", "file-not-taken", "disk-given-twice"], "{name}");
    }
}

#[apply(test)]
fn two_images_of_one_disk_are_refused_and_both_are_named() {
    let fixture = fixture("ldm-mirrored");
    let folder = Scratch::new("twice");
    let paths = fixture.paths();
    let copy = folder.join("snapshot.img");
    fs::copy(&paths[0], &copy).expect("a copy");
    let mut given = paths.clone();
    given.push(copy.clone());
    let set = open(&given);
    let finding = set.findings().iter().find(|finding| finding.code == "ldm-duplicate-disk");
    let finding = finding.expect("a finding");
    for path in [&paths[0], &copy] {
        assert!(finding.message.contains(&path.display().to_string()), "{}", finding.message);
    }
    // The other sides of the mirrors are there.
    for facts in &fixture.dynamic {
        let volume = find(&set, &facts.id);
        assert_eq!(volume.volume.health, Health::Degraded, "{}", facts.name);
        assert_eq!(crate::common::sha256(&bytes_of(&*volume.volume.device)), facts.sha256);
    }
}

#[apply(test)]
fn a_disk_of_another_state_of_its_group_is_no_member() {
    // Disk1 of the raid5 group says that it is of the group of the stripes.
    let (mut parity, stripes) = (fixture("ldm-raid5").paths(), fixture("ldm-striped").paths());
    parity.truncate(1);
    let mut bytes = fs::read(&parity[0]).expect("an image");
    let group = |number: &str| format!("5eed0004-{number}-4000-8000-00000000ffff");
    for at in 0..bytes.len() / 512 {
        let sector = &mut bytes[at * 512..][..512];
        if sector.starts_with(b"PRIVHEAD") {
            assert_eq!(&sector[0xB0..0xB0 + 36], group("0005").as_bytes());
            sector[0xB0..0xB0 + 36].copy_from_slice(group("0003").as_bytes());
            sector[8..12].fill(0);
            let sum: u32 = sector.iter().map(|byte| u32::from(*byte)).sum();
            sector[8..12].copy_from_slice(&sum.to_be_bytes());
        }
    }
    let folder = Scratch::new("foreign");
    let foreign = folder.join("foreign.img");
    fs::write(&foreign, bytes).expect("an image");
    let mut given = stripes;
    given.push(foreign);
    let set = open(&given);
    assert!(codes(set.findings()).contains(&"ldm-foreign-disk"), "{:?}", set.findings());
    for facts in &fixture("ldm-striped").dynamic {
        let volume = find(&set, &facts.id);
        assert_eq!(crate::common::sha256(&bytes_of(&*volume.volume.device)), facts.sha256);
    }
}

#[apply(test)]
fn of_a_dynamic_disk_without_a_header_the_partition_is_shown_and_it_is_told() {
    let fixture = fixture("ldm-simple");
    let mut bytes = fs::read(fixture.path()).expect("an image");
    for at in 0..bytes.len() / 512 {
        if bytes[at * 512..].starts_with(b"PRIVHEAD") {
            bytes[at * 512 + 100] ^= 1;
        }
    }
    let folder = Scratch::new("headless");
    let path = folder.join("disk.img");
    fs::write(&path, bytes).expect("an image");
    let set = open(&[path]);
    assert!(set.volumes().iter().all(|volume| volume.volume.partition.is_some()));
    assert!(codes(set.findings()).contains(&"ldm-no-header"), "{:?}", set.findings());
}

/// The sectors of `disk` that begin with one of the two structures that have a checksum.
fn sealed_sectors(disk: &[u8]) -> Vec<usize> {
    let sealed =
        |at: &usize| disk[*at..].starts_with(b"PRIVHEAD") || disk[*at..].starts_with(b"TOCBLOCK");
    (0..disk.len()).step_by(512).filter(sealed).collect()
}

#[apply(test)]
fn any_one_copy_of_headers_and_tables_is_enough_and_any_damage_is_told() {
    for name in ["ldm-spanned", "ldm-gpt", "ldm-4kn", "ldm-oem-before", "ldm-retained"] {
        let fixture = fixture(name);
        let disks: Vec<Vec<u8>> =
            fixture.paths().iter().map(|path| fs::read(path).expect("an image")).collect();
        let all = |disks: &[Vec<u8>]| -> Vec<Region> {
            disks.iter().enumerate().map(|(index, bytes)| region(index, bytes)).collect()
        };
        let wanted = assemble(&all(&disks));
        assert!(wanted.1.is_empty(), "{name}: {:?}", wanted.1);
        for number in 0..disks.len() {
            let places = sealed_sectors(&disks[number]);
            let is_header = |at: usize| disks[number][at..].starts_with(b"PRIVHEAD");
            let damaged = |hit: &dyn Fn(usize) -> bool| {
                let mut disks = disks.clone();
                for at in places.iter().filter(|at| hit(**at)) {
                    disks[number][at + 0x20] ^= 1;
                }
                assemble(&all(&disks))
            };
            for one in &places {
                let (volumes, findings) = damaged(&|at| at == *one);
                assert_eq!(volumes, wanted.0, "{name}: {one} alone is damaged: {findings:?}");
                let code = if is_header(*one) { "ldm-header-damaged" } else { "ldm-toc-damaged" };
                assert!(codes(&findings).contains(&code), "{name}: {one}: {findings:?}");
                let (volumes, _) = damaged(&|at| at != *one && is_header(at) == is_header(*one));
                assert_eq!(volumes, wanted.0, "{name}: {one} alone is good");
            }
        }
    }
}

#[apply(test)]
fn an_image_that_was_cut_off_is_read_as_far_as_it_goes() {
    let fixture = fixture("ldm-raid5");
    let folder = Scratch::new("cut");
    let paths: Vec<PathBuf> = fixture.paths().iter().map(|path| folder.copy(path)).collect();
    // The header in sector 6 is still there; the database and the end of the second volume are not.
    let file = fs::OpenOptions::new().write(true).open(&paths[0]).expect("a copy");
    file.set_len(2_500_000).expect("a shorter file");
    let set = open(&paths);
    for facts in &fixture.dynamic {
        let volume = find(&set, &facts.id);
        assert_eq!(crate::common::sha256(&bytes_of(&*volume.volume.device)), facts.sha256);
    }
}

#[apply(test)]
fn what_is_held_twice_is_compared() {
    let volume_of = |set: &DiskSet, id: &str| {
        let redundancy = find(set, id).volume.redundancy.clone();
        redundancy.expect("redundancy").compare()
    };
    for name in ["ldm-mirrored", "ldm-raid5", "ldm-complex"] {
        let fixture = fixture(name);
        let folder = Scratch::new(name);
        let paths: Vec<PathBuf> = fixture.paths().iter().map(|path| folder.copy(path)).collect();
        for facts in fixture.dynamic.iter().filter(|one| one.layout != "striped") {
            let result = volume_of(&open(&paths), &facts.id);
            assert_eq!((result.compared, result.differing), (facts.size, 0), "{name}");
        }
        // One byte of the first volume's first part.
        let set = open(&paths);
        let id = &fixture.dynamic[0].id;
        let part = find(&set, id).volume.membership.as_ref().expect("a group").parts[0].clone();
        let path = &paths[part.disk.expect("a disk")];
        let mut bytes = fs::read(path).expect("an image");
        bytes[part.offset.expect("an offset") as usize + 70_000] ^= 4;
        fs::write(path, bytes).expect("an image");
        let result = volume_of(&open(&paths), id);
        assert_eq!(result.differing, 4096, "{name}");
        assert!(result.first.is_some(), "{name}");
    }
}

// The corpus

#[apply(test)]
fn the_disks_of_windows_list_as_ldmtool_says_and_their_files_hash_equal() {
    let folder = corpus::needed();
    let manifest = corpus::manifest(&folder);
    let entries = manifest.entries.iter().filter(|entry| !entry.ldm.is_empty());
    let mut seen = 0;
    for entry in entries {
        let unpacked = corpus::unpack(&folder, entry);
        let paths: Vec<_> = entry.files.iter().map(|file| unpacked.join(&file.name)).collect();
        let set = open(&paths);
        for group in &entry.ldm {
            for facts in &group.volumes {
                check_corpus_volume(&set, group, facts);
                seen += 1;
            }
        }
        for facts in &entry.volumes {
            let place = format!("{} {:?}", entry.id, facts.volume);
            let named = |volume: &&Arc<SetVolume>| {
                let membership = volume.volume.membership.as_ref();
                membership.map(|one| &one.name) == facts.volume.as_ref()
            };
            let volume = set.volumes().iter().find(named).expect(&place);
            let digest = crate::common::sha256(&bytes_of(&*volume.volume.device));
            assert_eq!(Some(&digest), facts.content_sha256.as_ref(), "{place}");
            for expected in &facts.listings {
                let rows = listing::load(&folder.join(&expected.file));
                let fs = volume.file_system().expect(&place);
                let result = compare(&*fs, &rows).expect(&place);
                // A listing made by construction does not list folders.
                let real = |line: &&String| {
                    !(expected.tool.contains("by construction")
                        && line.contains("not in the listing"))
                };
                let wrong: Vec<_> = result.differences.iter().filter(real).collect();
                assert!(wrong.is_empty() && result.same > 0, "{place}: {wrong:#?}");
            }
            check_corpus_without_each(&paths, volume, &digest, &place);
        }
    }
    assert!(seen >= 17, "{seen} volumes");
}

fn check_corpus_volume(
    set: &DiskSet,
    group: &corpus::CorpusGroup,
    facts: &corpus::CorpusDynamicVolume,
) {
    let place = format!("{} {}", group.name, facts.name);
    let volume = find(set, &format!("ldm:{}", facts.guid));
    let membership = volume.volume.membership.as_ref().expect("a group");
    assert_eq!((&membership.group, &membership.group_id), (&group.name, &group.guid), "{place}");
    assert_eq!(volume.volume.layout.to_string(), facts.kind.to_ascii_lowercase(), "{place}");
    assert_eq!(volume.volume.size, facts.size * 512, "{place}");
    let chunk = (facts.chunk_size > 0).then_some(facts.chunk_size * 512);
    assert_eq!(membership.chunk_size, chunk, "{place}");
    let hint = facts.hint.as_deref().map(|hint| hint.trim_end_matches(':'));
    assert_eq!(volume.volume.hint.as_deref(), hint, "{place}");
    let mut parts: Vec<&MembershipPart> = membership.parts.iter().collect();
    assert_eq!(parts.len(), facts.partitions.len(), "{place}");
    if facts.kind == "mirrored" {
        parts.sort_by_key(|part| part.name.clone());
    }
    for (part, wanted) in parts.iter().zip(&facts.partitions) {
        assert_eq!((&part.name, &part.disk_name), (&wanted.name, &wanted.disk), "{place}");
        assert_eq!(part.length, wanted.size * 512, "{place}");
        let missing = facts.missing_disks.contains(&part.disk_name);
        assert_eq!(part.disk.is_none(), missing, "{place}");
    }
    let lost = facts.missing_disks.len();
    let wanted = match (lost, facts.kind.as_str()) {
        (0, _) => Health::Healthy,
        (1, "mirrored" | "RAID5") => Health::Degraded,
        _ => Health::Failed,
    };
    assert_eq!(volume.volume.health, wanted, "{place}");
}

/// A mirror and a RAID-5 of Windows without any one of their disks.
fn check_corpus_without_each(paths: &[PathBuf], volume: &SetVolume, digest: &str, place: &str) {
    if volume.volume.redundancy.is_none() {
        return;
    }
    let membership = volume.volume.membership.as_ref().expect("a group");
    for part in &membership.parts {
        let mut kept = paths.to_vec();
        kept.sort();
        kept.remove(part.disk.expect("a disk"));
        let set = open(&kept);
        let degraded = find(&set, volume.id());
        assert_eq!(degraded.volume.health, Health::Degraded, "{place}");
        let bytes = bytes_of(&*degraded.volume.device);
        assert_eq!(crate::common::sha256(&bytes), digest, "{place} without {}", part.disk_name);
    }
}

// Bits

/// What one assembly gives: the volumes that are not refused with their geometry, and findings.
type Assembled = (Vec<(String, Shown)>, Vec<Finding>);

/// Plex, column, offset in the column, length, disk, offset on the disk.
type Place = (usize, usize, u64, u64, Option<usize>, Option<u64>);

#[derive(Clone, Debug, PartialEq)]
struct Shown {
    hint: Option<String>,
    name: String,
    size: u64,
    layout: String,
    chunk_size: Option<u64>,
    places: Vec<Place>,
}

fn region(index: usize, bytes: &[u8]) -> Region {
    Region {
        disk: index,
        device: Arc::new(MemoryDevice::new(bytes)),
        start: 0,
        size: bytes.len() as u64,
        label: format!("disk{index}.img").into(),
        partition: None,
        table_id: None,
    }
}

fn shown(volume: &Volume) -> (String, Shown) {
    let membership = volume.membership.as_ref().expect("a group");
    let places = membership.parts.iter();
    let places = places.map(|part| {
        (part.plex, part.column, part.column_offset, part.length, part.disk, part.offset)
    });
    let shown = Shown {
        hint: volume.hint.clone(),
        name: membership.name.clone(),
        size: volume.size,
        layout: volume.layout.to_string(),
        chunk_size: membership.chunk_size,
        places: places.collect(),
    };
    (volume.id.0.clone(), shown)
}

/// Claims and assembles the disks by themselves, without looking for file systems.
fn assemble(regions: &[Region]) -> Assembled {
    let mut groups: Vec<(GroupId, Vec<Region>)> = Vec::new();
    for region in regions {
        if let Ok(Some(claim)) = Ldm.claim(region) {
            match groups.iter_mut().find(|(group, _)| *group == claim.group) {
                Some((_, members)) => members.push(region.clone()),
                None => groups.push((claim.group, vec![region.clone()])),
            }
        }
    }
    let (mut volumes, mut findings) = (Vec::new(), Vec::new());
    for (group, members) in groups {
        let found = Ldm.assemble(&group, &members, &mut findings);
        let refused =
            |volume: &Volume| volume.membership.as_ref().is_some_and(|one| one.parts.is_empty());
        volumes.extend(found.iter().filter(|one| !refused(one)).map(shown));
    }
    (volumes, findings)
}

/// The bytes of the disk that hold private data: headers, tables, header of the database, blocks in
/// use and one behind them, the log.
fn database_bytes(disk: &[u8]) -> Vec<usize> {
    let mut places = Vec::new();
    for at in (0..disk.len()).step_by(128) {
        let block = &disk[at..at + 128];
        let in_use = |magic: &[u8]| block.starts_with(magic);
        if in_use(b"PRIVHEAD") || in_use(b"TOCBLOCK") || in_use(b"VMDB") {
            places.extend(at..at + 512);
        } else if in_use(b"KLOG") {
            places.extend(at..at + 140);
        } else if in_use(b"VBLK") && block[14..16] != [0, 0] {
            places.extend(at..at + 128);
        }
    }
    places
}

/// Changes single bits of the database on the first disk and looks what becomes of the volumes.
fn change_bits(name: &str, stride: usize, alone: bool) -> usize {
    let fixture = fixture(name);
    let disks: Vec<Vec<u8>> =
        fixture.paths().iter().map(|path| fs::read(path).expect("an image")).collect();
    let others: Vec<Region> =
        disks.iter().enumerate().skip(1).map(|(index, bytes)| region(index, bytes)).collect();
    let wanted = assemble(&[vec![region(0, &disks[0])], others.clone()].concat());
    assert!(wanted.1.is_empty() && !wanted.0.is_empty(), "{name}: {:?}", wanted.1);
    let mut bytes = disks[0].clone();
    let places = database_bytes(&bytes);
    let bits = places.len() * 8;
    for bit in (0..bits).step_by(stride) {
        let (at, mask) = (places[bit / 8], 1 << (bit % 8));
        bytes[at] ^= mask;
        let regions = [vec![region(0, &bytes)], others.clone()].concat();
        let (volumes, findings) = assemble(&regions);
        bytes[at] ^= mask;
        if findings.is_empty() && !alone {
            assert_eq!(volumes, wanted.0, "{name}: bit {bit} at {at} is silent");
        }
        for (id, volume) in &volumes {
            // Whatever is said, nobody is given bytes from elsewhere. Names need a majority, of three;
            // on a disk that is alone the start of a volume has no second witness either.
            let same = wanted.0.iter().any(|(known, one)| {
                let same_id = known == id || disks.len() < 3;
                same_id && one.size == volume.size && one.places == volume.places
            });
            let start_only = alone
                && wanted.0.iter().any(|(_, one)| {
                    one.places.len() == volume.places.len() && one.size == volume.size
                });
            assert!(same || start_only, "{name}: bit {bit} at {at}: {id} {volume:?} {findings:?}");
        }
    }
    bits / stride
}

/// Changes every bit if `VOLFOLD_ALL_BITS` is set, else one in `stride`.
fn stride(sample: usize) -> usize {
    if std::env::var_os("VOLFOLD_ALL_BITS").is_some() { 1 } else { sample }
}

#[apply(test)]
fn a_changed_bit_on_one_of_several_disks_changes_no_place_and_is_told() {
    for name in ["ldm-spanned", "ldm-raid5", "ldm-gpt"] {
        let count = change_bits(name, stride(307), false);
        note!("{name}: {count} bits");
    }
}

#[apply(test)]
fn a_changed_bit_on_a_single_disk_changes_no_size() {
    let count = change_bits("ldm-simple", stride(97), true);
    note!("ldm-simple: {count} bits");
}

#[apply(test)]
fn folders_stand_for_the_images_in_them() {
    let folder = Scratch::new("empty");
    let set = open(&[folder.path().to_path_buf()]);
    assert_eq!(set.failures().len(), 1);
    assert!(set.failures()[0].error.message().contains("holds no disk image"));
    // An image that cannot be opened is named, extents of one that can are not taken for disks.
    let set = open(&[fixture("vmdk-parent-missing").folder()]);
    assert!(set.disks().is_empty() && set.failures()[0].path.ends_with("child.vmdk"));
    let set = open(&[fixture("vmdk-three-sparse").folder()]);
    assert_eq!((set.disks().len(), set.failures().len(), set.volumes().len()), (1, 0, 1));
    // The parent of a snapshot that does not fit is a disk, and not the newest state.
    let set = open(&[fixture("vmdk-cid-mismatch").folder()]);
    assert!(set.disks().len() == 1 && set.failures()[0].path.ends_with("child.vmdk"));
    assert!(codes(set.findings()).contains(&"snapshot-beside"));
    let set = open(&[fixture("vmdk-chain").folder()]);
    assert!(set.disks().len() == 1 && set.disks()[0].path.ends_with("grandchild.vmdk"));
}
