//! Groups that contradict themselves, each in one way.

use std::sync::Arc;

use volfold_block::MemoryDevice;

use super::testing::{GroupBuilder, Side, Written, seal, var, words};
use super::*;
use crate::volume::Health;

fn region(index: usize, bytes: Vec<u8>) -> Region {
    Region {
        disk: index,
        size: bytes.len() as u64,
        device: Arc::new(MemoryDevice::new(bytes)),
        start: 0,
        label: format!("disk{index}.img").into(),
        partition: None,
        table_id: None,
    }
}

fn assemble(disks: Vec<Vec<u8>>) -> (Vec<Volume>, Vec<Finding>) {
    let mut members = Vec::new();
    let mut group = None;
    for (index, bytes) in disks.into_iter().enumerate() {
        let region = region(index, bytes);
        let claim = Ldm.claim(&region).unwrap().expect("a dynamic disk");
        // Without a header nothing else tells what is in the partition.
        assert!(claim.hides == Hidden::Partitions(vec![1]) || claim.sector_size.is_none());
        group.get_or_insert(claim.group);
        members.push(region);
    }
    let mut findings = Vec::new();
    let volumes = Ldm.assemble(&group.expect("a group"), &members, &mut findings);
    (volumes, findings)
}

fn simple<'a>(parts: &'a [(usize, u64, u64, u64, u64)]) -> Side<'a> {
    Side { layout: 2, chunk: 0, columns: 0, parts }
}

fn codes(findings: &[Finding]) -> Vec<&str> {
    findings.iter().map(|finding| finding.code.as_str()).collect()
}

/// The volume of `group` is refused with a sentence that has `words`.
#[track_caller]
fn refused(group: &GroupBuilder, words: &str) {
    let (volumes, findings) = assemble(group.build());
    let finding = findings.iter().find(|finding| finding.code == "ldm-volume-refused");
    let message = &finding.unwrap_or_else(|| panic!("not refused: {findings:?}")).message;
    assert!(message.contains(words), "{message}");
    let id = finding.and_then(|finding| finding.volume.clone()).unwrap();
    let volume = volumes.iter().find(|volume| volume.id.0 == id).unwrap();
    assert_eq!(volume.health, Health::Failed);
    assert!(volume.device.read_at(0, &mut [0]).is_err());
}

/// The group is used, and a finding `code` has `words`.
#[track_caller]
fn noted(group: &GroupBuilder, code: &str, words: &str) {
    let (volumes, findings) = assemble(group.build());
    let found = findings.iter().any(|one| one.code == code && one.message.contains(words));
    assert!(found, "no {code} with {words:?}: {findings:?}");
    assert!(volumes.iter().any(|volume| volume.health == Health::Healthy), "{findings:?}");
}

/// One simple volume of 64 sectors.
fn one() -> GroupBuilder {
    GroupBuilder::new(1).volume(1, 64, &[simple(&[(0, 8, 0, 64, 0)])])
}

fn flags_of(group: &mut GroupBuilder, kind: u8) -> &mut Written {
    group.records.iter_mut().find(|record| record.kind == kind).unwrap()
}

#[test]
fn a_group_in_order_has_no_findings() {
    let (volumes, findings) = assemble(one().build());
    assert!(findings.is_empty(), "{findings:?}");
    assert_eq!(volumes.len(), 1);
    assert_eq!((volumes[0].size, volumes[0].health), (64 * 512, Health::Healthy));
    assert_eq!(volumes[0].extents[0].offset, (63 + 8) * 512);
}

#[test]
fn sizes_that_do_not_fit_are_refused() {
    let group = |size, parts: &[_]| GroupBuilder::new(2).volume(1, size, &[simple(parts)]);
    refused(&group(65, &[(0, 8, 0, 64, 0)]), "larger than component");
    refused(&group(0, &[(0, 8, 0, 64, 0)]), "size is 0");
    refused(&group(64, &[(0, 8, 0, 0, 0)]), "is empty");
    refused(&group(64, &[(0, 8, 1, 64, 0)]), "gap before partition");
    refused(&group(64, &[(0, 8, 0, 32, 0), (1, 8, 40, 32, 0)]), "gap before partition");
    refused(&group(64, &[(0, 4096 - 63, 0, 64, 0)]), "leaves the space of its disk");
    refused(&group(64, &[(0, u64::MAX - 5, 0, 64, 0)]), "too large");
    refused(&group(u64::MAX, &[(0, 8, 0, u64::MAX, 0)]), "too large");
    refused(&group(64, &[]), "has no partition");
    refused(&GroupBuilder::new(1).volume(1, 64, &[]), "has no component");
    noted(&group(60, &[(0, 8, 0, 64, 0)]), "ldm-volume-doubtful", "holds more than the volume");
}

#[test]
fn overlapping_partitions_are_refused() {
    let both = [simple(&[(0, 8, 0, 64, 0)]), simple(&[(0, 71, 0, 64, 0)])];
    refused(&GroupBuilder::new(1).volume(1, 64, &both), "overlaps");
    let group = one().volume(2, 8, &[simple(&[(0, 40, 0, 8, 0)])]);
    let (volumes, findings) = assemble(group.build());
    assert_eq!(codes(&findings), ["ldm-volume-refused"; 2]);
    assert!(volumes.iter().all(|volume| volume.health == Health::Failed));
}

#[test]
fn impossible_columns_are_refused() {
    let parts = &[(0, 8, 0, 64, 0), (1, 8, 0, 64, 1)];
    let group = |layout, chunk, columns, size| {
        let side = Side { layout, chunk, columns, parts };
        GroupBuilder::new(3).volume(1, size, &[side])
    };
    refused(&group(1, 0, 2, 128), "chunks of no size");
    refused(&group(1, 16, 0, 128), "0 columns");
    refused(&group(1, 16, 257, 128), "257 columns");
    refused(&group(1, 16, 1, 64), "in no column");
    refused(&group(1, 16, 3, 128), "empty column");
    refused(&group(1, 128, 2, 128), "larger than component");
    refused(&group(3, 16, 2, 64), "RAID-5 of 2 columns");
    let (volumes, findings) = assemble(group(1, 16, 2, 128).build());
    assert!(findings.is_empty() && volumes[0].health == Health::Healthy);
    noted(&group(1, 12, 2, 120), "ldm-volume-doubtful", "chunks of 12 sectors");
}

#[test]
fn records_without_their_others_are_told() {
    let mut group = one();
    group.records.retain(|record| record.kind != 0x51);
    let (volumes, findings) = assemble(group.build());
    assert!(volumes.is_empty());
    assert!(findings[0].message.contains("which is not there"), "{findings:?}");
    let mut group = one();
    group.records.retain(|record| record.kind != 0x32);
    refused(&group, "has no component");
    let mut group = one();
    group.records.retain(|record| record.kind != 0x34);
    refused(&group, "a disk without a record");
    let mut group = one();
    group.records.retain(|record| record.kind != 0x35);
    noted(&group, "ldm-database-damaged", "no disk group record");
    let mut group = one();
    group.counts[2] = 7;
    noted(&group, "ldm-database-damaged", "numbers of records");
}

#[test]
fn damaged_and_unknown_records_are_told_and_left_out() {
    let mut group = one();
    group.push(0x36, 0, vec![0; 8]);
    noted(&group, "ldm-database-damaged", "unknown kind 0x36");
    let mut group = one();
    group.push(0x61, 0, vec![0; 8]);
    noted(&group, "ldm-database-damaged", "unknown kind 0x61");
    let mut group = one();
    group.push(0x51, 0, vec![9; 3]);
    noted(&group, "ldm-database-damaged", "more than 8 bytes");
    let mut group = one();
    group.push(0x32, 0, [var(7), words("x"), words("ACTIVE"), vec![4]].concat());
    noted(&group, "ldm-database-damaged", "unknown layout");
    let mut group = one();
    let double = group.records[1].clone();
    group.records.push(double);
    noted(&group, "ldm-database-damaged", "there twice");
    let mut group = one();
    flags_of(&mut group, 0x33).body.push(0);
    noted(&group, "ldm-database-damaged", "left over");
    let mut group = one();
    flags_of(&mut group, 0x33).update = 1;
    noted(&group, "ldm-database-damaged", "marked as changing");
    let mut group = one();
    group.committed = 8;
    group.pending = 8;
    noted(&group, "ldm-database-damaged", "newer than the database");
}

/// Writes `bytes` at `at` in the database of the first disk of `group`.
fn with(group: &GroupBuilder, at: usize, bytes: &[u8]) -> (Vec<Volume>, Vec<Finding>) {
    let mut disks = group.build();
    let start = (63 + group.public + 17) * 512 + at;
    disks[0][start..start + bytes.len()].copy_from_slice(bytes);
    assemble(disks)
}

#[test]
fn damaged_blocks_are_told() {
    for (at, bytes, words) in [
        (512, &b"X"[..], "block 4 has a wrong signature"),
        (512 + 4, &[1], "block 4 has another number"),
        (512 + 12, &[0, 1], "block 4 is an impossible piece"),
        (512 + 14, &[0xFF, 0xFF], "block 4 is an impossible piece"),
        (512 + 14, &[0, 0], "is free and belongs to a record"),
        (512 + 14, &[0, 2], "is not complete"),
        (512 + 8, &[0, 0, 0, 2], "does not belong to its record"),
        (512 + 20, &[0xFF], "is larger than its blocks"),
    ] {
        let (_, findings) = with(&one(), at, bytes);
        let found = findings.iter().any(|finding| finding.message.contains(words));
        assert!(found, "no {words:?}: {findings:?}");
    }
}

#[test]
fn a_damaged_header_of_the_database_leaves_no_volume() {
    for (at, bytes, words) in [
        (0, &b"X"[..], "has no header"),
        (0x12, &[9], "has an unknown version"),
        (0x08, &[1], "impossible block size"),
        (0x08, &[0, 0, 0, 0], "impossible block size"),
        (0x04, &[0xFF], "larger than its place"),
        (0x0C, &[0xFF], "impossible first block"),
        (0x0C, &[0, 0, 0, 0], "impossible first block"),
    ] {
        let (volumes, findings) = with(&one(), at, bytes);
        assert!(volumes.is_empty());
        assert_eq!(codes(&findings), ["ldm-database-damaged", "ldm-no-database"]);
        assert!(findings[0].message.contains(words), "{}", findings[0].message);
    }
}

#[test]
fn states_of_an_update_are_told() {
    for (state, words) in [(2, "being prepared"), (3, "not finished")] {
        let group = GroupBuilder { state, pending: 10, ..one() };
        noted(&group, "ldm-update-unfinished", words);
    }
    for (state, words) in [(4, "taken back"), (6, "stale"), (8, "state is 8")] {
        noted(&GroupBuilder { state, ..one() }, "ldm-update-unfinished", words);
    }
    noted(&GroupBuilder { pending: 10, ..one() }, "ldm-update-unfinished", "speaks of 10");
    noted(&GroupBuilder { log: 2, ..one() }, "ldm-log-dirty", "--verify");
}

/// The disks of two groups that differ in `change`, which is applied to the second disk's copy.
fn two_copies(disks: usize, change: impl Fn(&mut GroupBuilder)) -> Vec<Vec<u8>> {
    let parts: Vec<_> = (0..disks).map(|disk| (disk, 8, disk as u64 * 64, 64, 0)).collect();
    let group = GroupBuilder::new(disks).volume(1, disks as u64 * 64, &[simple(&parts)]);
    let mut other = group.clone();
    change(&mut other);
    let mut built = group.build();
    built[1] = other.build().remove(1);
    built
}

/// Moves the first partition of the group.
fn move_partition(group: &mut GroupBuilder) {
    let body = &mut flags_of(group, 0x33).body;
    let start = body.windows(8).position(|part| part == 8_u64.to_be_bytes()).unwrap();
    body[start + 7] = 9;
}

#[test]
fn copies_that_differ_need_a_majority() {
    let (volumes, findings) = assemble(two_copies(2, move_partition));
    assert_eq!(codes(&findings), ["ldm-copies-differ", "ldm-volume-refused"]);
    assert!(findings[1].message.contains("none has a majority"));
    assert_eq!(volumes[0].health, Health::Failed);
    let (volumes, findings) = assemble(two_copies(3, move_partition));
    assert_eq!(codes(&findings), ["ldm-copies-differ"]);
    assert_eq!(volumes[0].extents[0].offset, (63 + 8) * 512);
}

#[test]
fn a_copy_that_contradicts_itself_loses_against_one_that_does_not() {
    let lose = |group: &mut GroupBuilder| group.records.retain(|record| record.kind != 0x32);
    let (volumes, findings) = assemble(two_copies(2, lose));
    assert_eq!(codes(&findings), ["ldm-database-damaged", "ldm-copies-differ"]);
    assert_eq!(volumes[0].health, Health::Healthy);
}

#[test]
fn an_older_copy_makes_its_disk_stale_and_its_part_unread() {
    let older = |group: &mut GroupBuilder| {
        group.committed = 8;
        group.pending = 8;
    };
    let (volumes, findings) = assemble(two_copies(2, older));
    assert_eq!(codes(&findings), ["ldm-stale-disk", "ldm-part-doubtful"]);
    let device = &volumes[0].device;
    device.read_at(0, &mut [0; 64 * 512]).unwrap();
    let error = device.read_at(64 * 512, &mut [0]).unwrap_err();
    assert!(error.message().contains("Disk1"), "{error}");
    assert!(error.message().contains("is stale (transaction 8, the group is at 9)"), "{error}");
}

#[test]
fn sides_that_are_not_current_are_not_read() {
    let sides = [simple(&[(0, 8, 0, 64, 0)]), simple(&[(1, 8, 0, 64, 0)])];
    let mirror = GroupBuilder::new(2).volume(1, 64, &sides);
    let stale = |group: &GroupBuilder, state: &[u8]| {
        let mut group = group.clone();
        let body = &mut flags_of(&mut group, 0x32).body;
        let at = body.windows(6).position(|part| part == b"ACTIVE").unwrap();
        body[at..at + 6].copy_from_slice(state);
        group
    };
    let mut disks = stale(&mirror, b"STALE!").build();
    disks[1][(63 + 8) * 512..][..512].fill(7);
    let (volumes, findings) = assemble(disks);
    assert_eq!(codes(&findings), ["ldm-part-doubtful"]);
    assert_eq!(volumes[0].health, Health::Degraded);
    let mut buf = [0; 512];
    volumes[0].device.read_at(0, &mut buf).unwrap();
    assert_eq!(buf, [7; 512]);
    // Where there is nothing else, old bytes are better than none, and said to be old.
    let (volumes, findings) = assemble(stale(&one(), b"STALE!").build());
    assert_eq!(codes(&findings), ["ldm-part-doubtful"]);
    volumes[0].device.read_at(0, &mut buf).unwrap();
}

#[test]
fn headers_of_different_updates_are_told_and_the_newer_one_holds() {
    let mut disks = one().build();
    let mut header = disks[0][6 * 512..7 * 512].to_vec();
    header[0x18 + 7] = 2;
    header[0x11B + 7] = 100;
    seal(&mut header);
    disks[0][6 * 512..7 * 512].copy_from_slice(&header);
    let (volumes, findings) = assemble(disks);
    // The other two copies are of update 1.
    assert_eq!(codes(&findings), ["ldm-headers-differ"; 2]);
    assert_eq!(volumes[0].extents[0].offset, (100 + 8) * 512);
}

#[test]
fn headers_that_cannot_be_are_not_used() {
    for (at, value) in [(0x0D, 3), (0x111, 4), (0x12B, 0xFF), (0x133, 0xFF), (0x134, 1)] {
        let mut disks = one().build();
        let mut header = disks[0][6 * 512..7 * 512].to_vec();
        header[at] = value;
        seal(&mut header);
        let last = disks[0].len();
        for place in [6 * 512, last - 1024, last - 512] {
            disks[0][place..place + 512].copy_from_slice(&header);
        }
        let (volumes, findings) = assemble(disks);
        assert!(volumes.is_empty());
        assert!(codes(&findings).contains(&"ldm-no-header"), "{at:#x}: {findings:?}");
    }
}

#[test]
fn many_disks_with_many_volumes_assemble() {
    let mut group = GroupBuilder { public: 16 * 1000 + 64, ..GroupBuilder::new(32) };
    for number in 0..1000 {
        let place =
            |side: usize| (((number + side) % 32), (number * 16 + side * 8) as u64, 0, 8, 0);
        let (one, two) = ([place(0)], [place(1)]);
        group = group.volume(number, 8, &[simple(&one), simple(&two)]);
    }
    let disks = group.build();
    let (volumes, findings) = assemble(disks);
    assert!(findings.is_empty(), "{:?}", findings.first());
    assert_eq!(volumes.len(), 1000);
}

/// The disks of `group` at transaction `time`, with `mark` in every byte for volumes.
fn at_time(group: &GroupBuilder, time: u64, mark: u8) -> Vec<Vec<u8>> {
    let group = GroupBuilder { committed: time, pending: time, ..group.clone() };
    let mut disks = group.build();
    for disk in &mut disks {
        disk[63 * 512..(63 + group.public) * 512].fill(mark);
    }
    disks
}

/// The marks that can be read of `volume`, without repetition, and whether a sector cannot.
fn marks(volume: &Volume) -> (Vec<u8>, bool) {
    let (mut marks, mut failed) = (Vec::new(), false);
    for at in (0..volume.size).step_by(512) {
        let mut sector = [0; 512];
        match volume.device.read_at(at, &mut sector) {
            Ok(()) => marks.extend(sector),
            Err(_) => failed = true,
        }
    }
    marks.sort_unstable();
    marks.dedup();
    (marks, failed)
}

/// Every layout over all of its disks. Four columns of RAID-5 hold their own sum when all bytes are
/// the same.
fn layouts() -> Vec<(&'static str, GroupBuilder)> {
    let spanned: &[_] = &[(0, 8, 0, 64, 0), (1, 8, 64, 64, 0), (2, 8, 128, 64, 0)];
    let columns: &[_] = &[(0, 8, 0, 64, 0), (1, 8, 0, 64, 1), (2, 8, 0, 64, 2), (3, 8, 0, 64, 3)];
    let side = |layout, columns, parts| Side { layout, chunk: 8, columns, parts };
    let group = |disks, size, sides: &[_]| GroupBuilder::new(disks).volume(1, size, sides);
    vec![
        ("simple", group(1, 64, &[simple(&[(0, 8, 0, 64, 0)])])),
        ("spanned", group(3, 192, &[simple(spanned)])),
        ("striped", group(4, 256, &[side(1, 4, columns)])),
        ("mirrored", group(2, 64, &[simple(&[(0, 8, 0, 64, 0)]), simple(&[(1, 8, 0, 64, 0)])])),
        ("raid5", group(4, 192, &[side(3, 4, columns)])),
    ]
}

#[test]
fn disks_of_two_times_give_one_state_or_an_error() {
    for (name, group) in layouts() {
        let (old, new) = (at_time(&group, 9, 0xAA), at_time(&group, 12, 0xBB));
        for mask in 0..1_usize << group.disks {
            let is_old = |index: &usize| mask >> index & 1 == 1;
            let disks = (0..group.disks)
                .map(|index| if is_old(&index) { &old[index] } else { &new[index] }.clone());
            let (volumes, findings) = assemble(disks.collect());
            let (marks, failed) = marks(&volumes[0]);
            assert!(marks.len() <= 1, "{name}, old disks {mask:b}: {marks:x?}");
            let count = (0..group.disks).filter(is_old).count();
            let tells = codes(&findings).contains(&"ldm-stale-disk");
            assert_eq!(tells, count > 0 && count < group.disks, "{name}, {mask:b}: {findings:?}");
            // Whole where one time has all that it needs.
            let whole = match name {
                "mirrored" => true,
                "raid5" => count <= 1 || count == group.disks,
                _ => count == 0 || count == group.disks,
            };
            assert_eq!(!failed, whole, "{name}, old disks {mask:b}");
        }
    }
}

#[test]
fn a_missing_column_is_never_rebuilt_of_what_is_not_current() {
    let (_, mut group) = layouts().pop().unwrap();
    // The component is marked as not regenerated yet.
    let component = flags_of(&mut group, 0x32);
    let at = component.body.windows(6).position(|bytes| bytes == b"ACTIVE").unwrap() + 7;
    component.body[at + 3] |= 0x02;
    let mut disks = at_time(&group, 9, 0xAA);
    let whole = assemble(disks.clone()).0;
    assert_eq!(marks(&whole[0]), (vec![0xAA], false));
    disks.remove(1);
    let (volumes, findings) = assemble(disks);
    let (marks, failed) = marks(&volumes[0]);
    assert_eq!((marks, failed, volumes[0].health), (vec![0xAA], true, Health::Failed));
    assert!(codes(&findings).contains(&"ldm-part-doubtful"), "{findings:?}");
}

#[test]
fn an_older_disk_is_read_where_its_own_database_has_the_volume() {
    let simple_at = |start| GroupBuilder::new(2).volume(1, 64, &[simple(&[(0, start, 0, 64, 0)])]);
    // Disk 1 holds nothing and is of today, disk 0 is of last week.
    let of = |then: &GroupBuilder| {
        vec![at_time(then, 9, 0xAA).remove(0), at_time(&simple_at(8), 12, 0xBB).remove(1)]
    };
    let (volumes, findings) = assemble(of(&simple_at(8)));
    assert_eq!(marks(&volumes[0]), (vec![0xAA], false));
    assert!(codes(&findings).contains(&"ldm-part-doubtful"), "{findings:?}");
    // At that place lay another volume, or the volume lay elsewhere, or it was not there.
    let other = GroupBuilder::new(2).volume(2, 64, &[simple(&[(0, 8, 0, 64, 0)])]);
    for then in [other, simple_at(100), GroupBuilder::new(2)] {
        let (volumes, _) = assemble(of(&then));
        assert_eq!(marks(&volumes[0]), (vec![], true));
        assert_eq!(volumes[0].health, Health::Failed);
    }
}

#[test]
fn disks_of_two_older_times_are_not_mixed() {
    let spanned: &[_] = &[(0, 8, 0, 64, 0), (1, 8, 64, 64, 0)];
    let group = GroupBuilder::new(3).volume(1, 128, &[simple(spanned)]);
    let disks = vec![
        at_time(&group, 9, 0xAA).remove(0),
        at_time(&group, 10, 0xBB).remove(1),
        at_time(&group, 12, 0xCC).remove(2),
    ];
    let (volumes, _) = assemble(disks);
    assert_eq!(marks(&volumes[0]), (vec![0xBB], true));
}

#[test]
fn a_disk_that_moved_away_is_a_set_of_its_own() {
    let before = GroupBuilder::new(2).volume(1, 64, &[simple(&[(0, 8, 0, 64, 0)])]).volume(
        2,
        64,
        &[simple(&[(1, 8, 0, 64, 0)])],
    );
    // Today's database knows disk 0 alone.
    let today = GroupBuilder::new(1).volume(3, 64, &[simple(&[(0, 8, 0, 64, 0)])]);
    let disks = vec![at_time(&today, 12, 0xBB).remove(0), at_time(&before, 9, 0xAA).remove(1)];
    let (volumes, findings) = assemble(disks);
    let names: Vec<&str> = volumes.iter().map(|volume| volume.fallback_name.as_str()).collect();
    assert_eq!(names, ["ldm-Volume3", "ldm-Volume2"]);
    assert_eq!(marks(&volumes[0]), (vec![0xBB], false));
    assert_eq!(marks(&volumes[1]), (vec![0xAA], false));
    assert!(codes(&findings).contains(&"ldm-foreign-disk"), "{findings:?}");
}

#[test]
fn a_header_without_a_dynamic_partition_is_noticed() {
    let mut disk = one().build().remove(0);
    disk[446 + 4] = 0x07;
    let found = region(0, disk.clone());
    assert!(Ldm.claim(&found).unwrap().is_none());
    assert_eq!(codes(&Ldm.notice(&found)), ["ldm-header-left"]);
    // What is left of a group without volumes here tells nothing.
    let mut empty = GroupBuilder::new(1).build().remove(0);
    empty[446 + 4] = 0x07;
    assert!(Ldm.notice(&region(0, empty)).is_empty());
}

#[test]
fn an_image_without_its_last_sectors_is_read() {
    let mut disk = at_time(&one(), 9, 0xAA).remove(0);
    disk.truncate(disk.len() - 512);
    let (volumes, findings) = assemble(vec![disk]);
    assert_eq!(marks(&volumes[0]), (vec![0xAA], false));
    assert!(codes(&findings).contains(&"ldm-cut-short"), "{findings:?}");
}

#[test]
fn a_header_of_a_dead_group_does_not_beat_the_disks_own() {
    let mut disk = at_time(&one(), 9, 0xAA).remove(0);
    let last = disk.len() - 512;
    let mut dead = disk[last..].to_vec();
    // A later update of another group.
    dead[0x18..0x20].copy_from_slice(&99_u64.to_be_bytes());
    dead[0xB0..0xB8].copy_from_slice(b"deadbeef");
    seal(&mut dead);
    disk[last..].copy_from_slice(&dead);
    let (volumes, findings) = assemble(vec![disk]);
    assert_eq!(marks(&volumes[0]), (vec![0xAA], false));
    assert_eq!(codes(&findings), ["ldm-headers-differ"]);
}
