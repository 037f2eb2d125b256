//! Groups in memory: what is read whole, with disks missing, twice, and of two times.

use volfold_block::{BlockErrorKind, Finding, Severity};

use super::Lvm;
use super::testing::{LINEAR, disk, disk_id, extents, group_text, id_of, region, sized_group_text};
use crate::volume::{Health, Layout, PartState, Region, Volume, VolumeManager};

const STRIPED: &str = "type = \"striped\"\nstripe_count = 2\nstripe_size = 8\n\
    stripes = [\"pv0\", 4, \"pv1\", 6]";

fn assemble(regions: &[Region]) -> (Vec<Volume>, Vec<Finding>) {
    let claim = Lvm.claim(&regions[0]).unwrap().expect("a label");
    let mut findings = Vec::new();
    (Lvm.assemble(&claim.group, regions, &mut findings), findings)
}

/// The disks `numbers` of a group with `text`.
fn disks(numbers: &[usize], text: &str) -> Vec<Region> {
    numbers.iter().map(|number| region(*number, disk(*number, Some(text)))).collect()
}

fn bytes(volume: &Volume) -> Vec<u8> {
    let mut bytes = vec![0; volume.device.size() as usize];
    volume.device.read_at(0, &mut bytes).unwrap();
    bytes
}

fn codes(findings: &[Finding]) -> Vec<&str> {
    findings.iter().map(|finding| finding.code.as_str()).collect()
}

fn named<'a>(volumes: &'a [Volume], name: &str) -> &'a Volume {
    let of = |volume: &&Volume| volume.membership.as_ref().is_some_and(|it| it.name == name);
    volumes.iter().find(of).unwrap_or_else(|| panic!("no volume {name}"))
}

#[test]
fn linear_and_striped_volumes_are_where_the_text_says() {
    let text = group_text(1, 2, &[("lin", LINEAR), ("str", STRIPED)]);
    let (volumes, findings) = assemble(&disks(&[0, 1], &text));
    assert!(findings.is_empty(), "{findings:?}");
    let linear = named(&volumes, "lin");
    assert_eq!(bytes(linear), extents(0)[..4 * 4096]);
    assert_eq!(
        (linear.id.0.as_str(), linear.layout),
        (&*format!("lvm:{}", id_of("lv0")), Layout::Simple)
    );
    assert_eq!(linear.fallback_name, "vg-lin");
    assert_eq!(linear.extents[0].offset, 64 * 512);
    let striped = named(&volumes, "str");
    let (one, two) = (extents(0), extents(1));
    let chunk = |bytes: &[u8], extent: usize| bytes[extent * 4096..][..4096].to_vec();
    let wanted = [chunk(&one, 4), chunk(&two, 6), chunk(&one, 5), chunk(&two, 7)].concat();
    assert_eq!(bytes(striped), wanted);
    assert_eq!((striped.layout, striped.health), (Layout::Striped, Health::Healthy));
}

#[test]
fn a_disk_without_metadata_is_found_by_the_others() {
    let text = group_text(1, 2, &[("str", STRIPED)]);
    let regions = [region(0, disk(0, None)), region(1, disk(1, Some(&text)))];
    let (volumes, findings) = assemble(&regions);
    assert_eq!((volumes[0].health, findings.len()), (Health::Healthy, 0));
    let (volumes, findings) = assemble(&regions[..1]);
    assert!(volumes.is_empty());
    assert_eq!(codes(&findings), ["lvm-no-metadata"]);
}

#[test]
fn a_missing_disk_costs_the_volumes_on_it_and_is_named() {
    let text = group_text(1, 2, &[("lin", LINEAR), ("str", STRIPED)]);
    let (volumes, findings) = assemble(&disks(&[0], &text));
    assert_eq!(named(&volumes, "lin").health, Health::Healthy);
    let striped = named(&volumes, "str");
    assert_eq!(striped.health, Health::Failed);
    let mut chunk = [0; 4096];
    striped.device.read_at(0, &mut chunk).unwrap();
    let error = striped.device.read_at(4096, &mut chunk).unwrap_err();
    assert_eq!(error.kind(), BlockErrorKind::MissingPart);
    assert!(error.message().contains(&format!("pv1 ({}) of group vg is missing", disk_id(1))));
    assert_eq!(codes(&findings), ["lvm-missing-disk"]);
    assert_eq!(findings[0].severity, Severity::Error);
    assert!(findings[0].message.contains("last seen as /dev/sd1"), "{}", findings[0].message);
}

#[test]
fn the_newest_metadata_counts_and_older_disks_are_told() {
    let old = group_text(1, 2, &[("lin", LINEAR)]);
    let new = group_text(2, 2, &[("lin", LINEAR), ("str", STRIPED)]);
    let regions = [region(0, disk(0, Some(&old))), region(1, disk(1, Some(&new)))];
    let (volumes, findings) = assemble(&regions);
    assert!(codes(&findings).contains(&"lvm-stale-disk"));
    // Where both agree, the bytes are read and told as doubtful; where they do not, they are not.
    let linear = named(&volumes, "lin");
    assert_eq!(bytes(linear), extents(0)[..4 * 4096]);
    assert_eq!(linear.membership.as_ref().unwrap().parts[0].state, PartState::StaleInUse);
    let striped = named(&volumes, "str");
    assert_eq!(striped.health, Health::Failed);
    let error = striped.device.read_at(0, &mut [0; 512]).unwrap_err();
    assert!(error.message().contains("its own metadata has this volume not there"), "{error}");
}

#[test]
fn two_images_of_one_disk_are_not_read() {
    let text = group_text(1, 2, &[("lin", LINEAR)]);
    let mut regions = disks(&[0, 1], &text);
    regions.push(region(2, disk(0, Some(&text))));
    let (volumes, findings) = assemble(&regions);
    assert_eq!(volumes[0].health, Health::Failed);
    assert_eq!(codes(&findings), ["lvm-duplicate-disk"]);
    let error = volumes[0].device.read_at(0, &mut [0; 512]).unwrap_err();
    assert!(error.message().contains("is given twice: disk0.img and disk2.img"), "{error}");
}

#[test]
fn metadata_of_one_change_that_differs_is_told() {
    let one = group_text(1, 3, &[("lin", LINEAR)]);
    let other = one.replace("stripes = [\"pv0\", 0]", "stripes = [\"pv1\", 0]");
    let texts = [&other, &one, &one];
    let regions: Vec<Region> = texts
        .iter()
        .enumerate()
        .map(|(number, text)| region(number, disk(number, Some(text))))
        .collect();
    let (volumes, findings) = assemble(&regions);
    assert_eq!(codes(&findings), ["lvm-copies-differ"]);
    assert_eq!(bytes(&volumes[0]), extents(0)[..4 * 4096]);
}

#[test]
fn without_a_majority_only_what_both_sides_say_is_read() {
    let one = group_text(1, 2, &[("lin", LINEAR), ("str", STRIPED)]);
    let other = one.replace("stripes = [\"pv0\", 0]", "stripes = [\"pv0\", 10]");
    for (first, second) in [(&one, &other), (&other, &one)] {
        let regions = [region(0, disk(0, Some(first))), region(1, disk(1, Some(second)))];
        let (volumes, findings) = assemble(&regions);
        assert_eq!(codes(&findings), ["lvm-copies-differ", "lvm-volume-refused"]);
        assert_eq!(named(&volumes, "str").health, Health::Healthy);
        let error = named(&volumes, "lin").device.read_at(0, &mut [0; 512]).unwrap_err();
        assert!(error.message().contains("differs about lin"), "{error}");
    }
}

#[test]
fn volumes_on_the_same_extents_are_refused_with_what_lies_in_them() {
    let at = |extent: u64| LINEAR.replace("\"pv0\", 0", &format!("\"pv0\", {extent}"));
    let outer = "type = \"striped\"\nstripe_count = 1\nstripes = [\"_in\", 0]";
    let (two, apart) = (at(2), at(6));
    let volumes = [("lin", LINEAR), ("_in", two.as_str()), ("out", outer), ("apart", &apart)];
    let (volumes, findings) = assemble(&disks(&[0], &group_text(1, 1, &volumes)));
    assert_eq!(codes(&findings), ["lvm-volume-refused"; 2]);
    assert!(
        findings.iter().all(|finding| finding.message.contains("_in and lin have the same")
            || finding.message.contains("lin and _in have the same")),
        "{findings:?}"
    );
    assert_eq!(named(&volumes, "apart").health, Health::Healthy);
}

#[test]
fn a_missing_disk_is_needed_by_all_that_lies_in_its_volumes() {
    let on = |disk: usize| LINEAR.replace("pv0", &format!("pv{disk}"));
    let snapshot = "type = \"snapshot\"\nchunk_size = 8\norigin = \"root\"\ncow_store = \"before\"";
    let (one, two) = (on(1), on(2));
    let volumes = [("root", one.as_str()), ("before", &two), ("_snapshot0", snapshot)];
    let text = group_text(1, 4, &volumes);
    for (missing, wanted) in
        [(1, "parts of before, root;"), (2, "parts of before;"), (3, "no volume lies on it")]
    {
        let there: Vec<usize> = (0..4).filter(|number| *number != missing).collect();
        let (_, findings) = assemble(&disks(&there, &text));
        let finding = findings.iter().find(|finding| finding.code.as_str() == "lvm-missing-disk");
        let line = &finding.unwrap_or_else(|| panic!("{missing}: {findings:?}")).message;
        assert!(line.contains(wanted), "{missing}: {line}");
    }
}

#[test]
fn hidden_volumes_are_parts_and_refused_ones_are_named() {
    let outer = "type = \"striped\"\nstripe_count = 1\nstripes = [\"_inner\", 1]";
    let circle =
        |to: &str| format!("type = \"striped\"\nstripe_count = 1\nstripes = [\"{to}\", 0]");
    let text = sized_group_text(
        1,
        1,
        &[
            ("_inner", 4, LINEAR),
            ("outer", 2, outer),
            ("long", 4, outer),
            ("a", 4, &circle("b")),
            ("b", 4, &circle("a")),
            ("far", 16, "type = \"striped\"\nstripe_count = 1\nstripes = [\"pv0\", 4]"),
            ("vdo", 4, "type = \"vdo\""),
            ("nothing", 4, "type = \"zero\""),
            ("errors", 4, "type = \"error\""),
        ],
    );
    let (volumes, findings) = assemble(&disks(&[0], &text));
    assert_eq!(volumes.len(), 8);
    assert_eq!(bytes(named(&volumes, "outer")), extents(0)[4096..3 * 4096]);
    assert!(bytes(named(&volumes, "nothing")).iter().all(|byte| *byte == 0));
    for (name, kind, reason) in [
        ("long", BlockErrorKind::Corrupt, "a segment leaves volume _inner"),
        ("a", BlockErrorKind::Corrupt, "lies in itself"),
        ("b", BlockErrorKind::Corrupt, "lies in itself"),
        ("far", BlockErrorKind::Corrupt, "a segment leaves physical volume pv0"),
        (
            "vdo",
            BlockErrorKind::Unsupported,
            "it has a segment of type vdo, which this build does not read",
        ),
        ("errors", BlockErrorKind::MissingPart, "has a segment of errors"),
    ] {
        let volume = named(&volumes, name);
        assert_eq!(volume.health, Health::Failed, "{name}");
        let error = volume.device.read_at(0, &mut [0; 512]).unwrap_err();
        assert_eq!(error.kind(), kind, "{name}");
        assert!(error.message().contains(reason), "{name}: {error}");
        let told = |finding: &&Finding| finding.volume.as_deref() == Some(volume.id.0.as_str());
        assert_eq!(findings.iter().any(|it| told(&it)), name != "errors", "{name}");
    }
}

#[test]
fn a_label_before_partitions_is_left_from_before() {
    let mut bytes = disk(0, Some(&group_text(1, 1, &[])));
    bytes[0x1BE + 4] = 0x83;
    bytes[0x1BE + 8] = 64;
    bytes[0x1BE + 12] = 64;
    bytes[510..512].copy_from_slice(&[0x55, 0xAA]);
    let region = region(0, bytes);
    assert!(Lvm.claim(&region).unwrap().is_none());
    assert_eq!(codes(&Lvm.notice(&region)), ["lvm-label-left"]);
}

#[test]
fn a_damaged_label_or_area_is_told_and_another_is_used() {
    let text = group_text(1, 2, &[("lin", LINEAR)]);
    let mut label = disk(1, Some(&text));
    label[512 + 40] ^= 1;
    let mut area = disk(1, Some(&text));
    area[4096 + 512 + 100] ^= 1;
    for (bytes, code) in [(label, "lvm-label-damaged"), (area, "lvm-area-damaged")] {
        let regions = [region(0, disk(0, Some(&text))), region(1, bytes)];
        let (volumes, findings) = assemble(&regions);
        assert!(codes(&findings).contains(&code), "{findings:?}");
        assert!(bytes_are_of_the_first(&volumes[0]));
    }
}

fn bytes_are_of_the_first(volume: &Volume) -> bool {
    bytes(volume) == extents(0)[..4 * 4096]
}

#[test]
fn a_disk_that_the_group_does_not_know_is_told() {
    let old = group_text(1, 2, &[("lin", LINEAR)]);
    let new = group_text(2, 1, &[("lin", LINEAR)]);
    let regions = [region(0, disk(0, Some(&new))), region(1, disk(1, Some(&old)))];
    let (volumes, findings) = assemble(&regions);
    assert_eq!(codes(&findings), ["lvm-foreign-disk"]);
    assert!(bytes_are_of_the_first(&volumes[0]));
    let empty = region(0, disk(0, None));
    assert_eq!(codes(&assemble(&[empty]).1), ["lvm-no-metadata"]);
}

#[test]
fn a_mirror_reads_its_first_side_and_another_where_its_log_says_so() {
    let mirror = |log: &str, [first, second]: [usize; 2]| {
        format!(
            "type = \"mirror\"\nmirror_count = 2\nregion_size = 8\n{log}\
             mirrors = [\"pv0\", {first}, \"pv1\", {second}]"
        )
    };
    let sides = [("core", [0, 8]), ("logged", [4, 4])];
    let text = sized_group_text(
        1,
        2,
        &[
            ("core", 4, &mirror("", sides[0].1)),
            ("logged", 4, &mirror("mirror_log = \"_log\"\n", sides[1].1)),
            ("_log", 1, "type = \"striped\"\nstripe_count = 1\nstripes = [\"pv1\", 15]"),
        ],
    );
    let with_log = |bits: u8| {
        let mut bytes = disk(1, Some(&text));
        let at = 64 * 512 + 15 * 4096;
        bytes[at..at + 8].copy_from_slice(b"rRiM\x02\0\0\0");
        bytes[at + 8..at + 16].copy_from_slice(&4_u64.to_le_bytes());
        bytes[at + 1024] = bits;
        region(1, bytes)
    };
    let first = region(0, disk(0, Some(&text)));
    let (volumes, findings) = assemble(&[first.clone(), with_log(0x0F)]);
    for (name, [first, _]) in sides {
        assert_eq!(bytes(named(&volumes, name)), extents(0)[first * 4096..][..4 * 4096], "{name}");
    }
    assert_eq!(named(&volumes, "core").health, Health::Degraded);
    assert_eq!(named(&volumes, "logged").health, Health::Healthy);
    assert_eq!(named(&volumes, "logged").layout, Layout::Mirrored);
    assert_eq!(codes(&findings), ["lvm-volume-doubtful"]);
    for (bits, doubts) in [(0x0F, 1), (0x0E, 2)] {
        let (volumes, findings) = assemble(&[with_log(bits)]);
        for (name, [_, second]) in sides {
            let volume = named(&volumes, name);
            assert_eq!(volume.health, Health::Degraded, "{name}: {findings:?}");
            assert_eq!(bytes(volume), extents(1)[second * 4096..][..4 * 4096], "{name}");
        }
        let doubtful =
            codes(&findings).iter().filter(|code| **code == "lvm-volume-doubtful").count();
        assert_eq!(doubtful, doubts, "{findings:?}");
    }
}

#[test]
fn extents_that_are_being_moved_are_read_where_they_come_from() {
    let moving = "type = \"mirror\"\nmirror_count = 2\nextents_moved = 2\n\
        mirrors = [\"pv0\", 0, \"pv1\", 8]";
    let inner = "type = \"striped\"\nstripe_count = 1\nstripes = [\"_pvmove0\", 0]";
    let text = sized_group_text(1, 2, &[("_pvmove0", 4, moving), ("lin", 4, inner)]);
    let (volumes, findings) = assemble(&disks(&[0, 1], &text));
    assert!(findings.is_empty(), "{findings:?}");
    assert_eq!(volumes[0].health, Health::Healthy);
    assert!(bytes_are_of_the_first(&volumes[0]));
    let (volumes, _) = assemble(&disks(&[1], &text));
    assert_eq!(volumes[0].health, Health::Failed);
}

/// The metadata of one side of a RAID-5 of three, with a bitmap that says `dirty`.
fn side_metadata(position: u8, dirty: u8) -> Vec<u8> {
    let mut bytes = vec![0; 2 * 4096];
    bytes[..4].copy_from_slice(b"DmRd");
    bytes[0x0C] = position;
    bytes[0x20..0x30].fill(0xFF);
    bytes[0x30] = 5;
    bytes[0x34] = 2;
    bytes[0x38] = 8;
    bytes[4096..4100].copy_from_slice(b"bitm");
    bytes[4096 + 0x28] = 16;
    bytes[4096 + 0x35] = 0x10;
    bytes[4096 + 256] = dirty;
    bytes
}

#[test]
fn what_is_rebuilt_where_writes_were_going_on_is_told() {
    let mut volumes: Vec<(String, u64, String)> = Vec::new();
    for side in 0..3 {
        let area = |extent| {
            format!("type = \"striped\"\nstripe_count = 1\nstripes = [\"pv{side}\", {extent}]")
        };
        volumes.push((format!("_meta{side}"), 2, area(0)));
        volumes.push((format!("_image{side}"), 2, area(4)));
    }
    let raids = "[\"_meta0\", \"_image0\", \"_meta1\", \"_image1\", \"_meta2\", \"_image2\"]";
    let raid = format!("type = \"raid5_ls\"\ndevice_count = 3\nstripe_size = 8\nraids = {raids}");
    volumes.push(("raid".to_owned(), 4, raid));
    let volumes: Vec<(&str, u64, &str)> = volumes
        .iter()
        .map(|(name, extents, body)| (name.as_str(), *extents, body.as_str()))
        .collect();
    let text = sized_group_text(1, 3, &volumes);
    for (dirty, doubts) in [(0, 0), (0b11, 1)] {
        let side = |number: usize| {
            let mut bytes = disk(number, Some(&text));
            bytes[64 * 512..][..8192].copy_from_slice(&side_metadata(number as u8, dirty));
            region(number, bytes)
        };
        let (volumes, findings) = assemble(&[side(0), side(1), side(2)]);
        assert!(findings.is_empty(), "{findings:?}");
        assert_eq!((volumes[0].layout, volumes[0].health), (Layout::Raid5, Health::Healthy));
        let (volumes, findings) = assemble(&[side(0), side(2)]);
        assert_eq!(volumes[0].health, Health::Degraded);
        let told = codes(&findings).iter().filter(|code| **code == "lvm-volume-doubtful").count();
        assert_eq!(told, doubts, "{findings:?}");
    }
}
