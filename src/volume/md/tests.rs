//! Arrays in memory: what is read whole, with devices missing, twice, and of two times.

use volfold_block::{BlockErrorKind, Finding, Severity};

use super::Md;
use super::testing::{DATA, Device, log, region, seal};
use crate::volume::{Health, Hidden, Layout, PartState, Region, Volume, VolumeManager};

const SIZE: usize = 256 << 10;

fn disks(devices: &[Device]) -> Vec<Region> {
    devices.iter().enumerate().map(|(disk, device)| region(disk, device.bytes(SIZE))).collect()
}

fn assemble(regions: &[Region]) -> (Vec<Volume>, Vec<Finding>) {
    let claim = Md.claim(&regions[0]).unwrap().expect("a superblock");
    let mut findings = Vec::new();
    (Md.assemble(&claim.group, regions, &mut findings), findings)
}

/// The only volume of `devices`.
fn array(devices: &[Device]) -> (Volume, Vec<Finding>) {
    let (mut volumes, findings) = assemble(&disks(devices));
    assert_eq!(volumes.len(), 1, "{findings:?}");
    (volumes.remove(0), findings)
}

fn codes(findings: &[Finding]) -> Vec<&str> {
    findings.iter().map(|finding| finding.code.as_str()).collect()
}

fn first(volume: &Volume) -> Result<u8, String> {
    let mut byte = [0; 512];
    let read = volume.device.read_at(0, &mut byte);
    read.map(|()| byte[0]).map_err(|error| error.message().to_owned())
}

/// Two sides of a RAID-1, the second with other bytes.
fn sides() -> [Device; 2] {
    let other = Device { data: vec![9; 64 << 10], ..Device::new(1, 2) };
    [Device::new(0, 2), other]
}

#[test]
fn every_version_is_found_at_its_place() {
    for minor in [None, Some(0), Some(1), Some(2)] {
        let [one, two] = sides().map(|side| Device { minor, ..side });
        let (volume, findings) = array(&[two, one]);
        assert!(findings.is_empty(), "{minor:?}: {findings:?}");
        assert_eq!((volume.size, volume.layout), (64 << 10, Layout::Mirrored));
        assert_eq!((volume.health, first(&volume)), (Health::Healthy, Ok(7)), "{minor:?}");
        let (name, start) = match minor {
            None => ("md3", 0),
            Some(0) => ("md-mine", 0),
            Some(_) => ("md-mine", DATA as u64),
        };
        assert_eq!((volume.fallback_name.as_str(), volume.extents[0].offset), (name, start));
        assert_eq!(volume.extents.iter().map(|it| it.disk).collect::<Vec<_>>(), [1, 0]);
    }
}

#[test]
fn of_two_superblocks_the_one_of_the_newer_array_counts() {
    let old = Device { minor: Some(0), array: 2, ..Device::new(0, 2) };
    let mut bytes = old.bytes(SIZE);
    let newer = Device { created: 5, ..Device::new(0, 2) }.bytes(SIZE);
    bytes[4096..8192].copy_from_slice(&newer[4096..8192]);
    let (volumes, _) = assemble(&[region(0, bytes)]);
    assert_eq!(volumes[0].id.0, "md:01000000:00000000:00000000:00000000");
}

#[test]
fn a_missing_device_is_told_and_the_other_one_is_read() {
    let (volume, findings) = array(&sides()[1..]);
    assert_eq!((volume.health, first(&volume)), (Health::Degraded, Ok(9)));
    assert_eq!(codes(&findings), ["md-missing-device"]);
    assert_eq!(findings[0].severity, Severity::Error);
    let told = "lacks 1 of 2 devices: column 0 (device 0); give their images with the others";
    assert!(findings[0].message.ends_with(told), "{}", findings[0]);
    let parts = &volume.membership.as_ref().unwrap().parts;
    assert_eq!((parts[0].state, parts[0].disk), (PartState::Missing, None));
    // The one that is there knows that the other one failed.
    let [_, two] = sides();
    let (_, findings) = array(&[Device { roles: vec![0xFFFE, 1], ..two }]);
    assert_eq!(findings[0].severity, Severity::Warning, "{findings:?}");
    let told = "as it did when it was last written to: column 0 (it had failed or was taken out)";
    assert!(findings[0].message.ends_with(told), "{}", findings[0]);
}

/// Three devices of a RAID-0 or linear array, each with its number as its bytes.
fn alone(level: i32) -> Vec<Device> {
    let of = |number: u32| Device {
        level,
        chunk: 4096,
        component: 0,
        data: vec![number as u8 + 1; 16 << 10],
        ..Device::new(number, 3)
    };
    vec![of(0), of(1), of(2)]
}

/// The first byte of each 4 KiB of `volume`, `None` for what cannot be read.
fn chunks(volume: &Volume) -> Vec<Option<u8>> {
    let at = |at| {
        let mut byte = [0; 4096];
        volume.device.read_at(at, &mut byte).ok().map(|()| byte[0])
    };
    (0..volume.device.size()).step_by(4096).map(at).collect()
}

#[test]
fn nothing_of_a_striped_array_has_a_place_without_the_size_of_each_device() {
    for gone in 0..3 {
        let mut devices = alone(0);
        // The smallest one, after which the others go on by themselves.
        devices[gone].data.truncate(8 << 10);
        devices.remove(gone);
        let (volume, findings) = array(&devices);
        assert_eq!(volume.health, Health::Failed);
        assert_eq!(codes(&findings), ["md-missing-device", "md-volume-refused"]);
        assert!(chunks(&volume).iter().all(Option::is_none), "without {gone}");
        let error = volume.device.read_at(0, &mut [0]).unwrap_err();
        assert_eq!(error.kind(), BlockErrorKind::MissingPart);
        assert!(error.message().contains("no other one says how large it is"), "{error}");
    }
    // One that is there and must not be read says it.
    let mut devices = alone(0);
    devices.push(devices[1].clone());
    let (volume, findings) = array(&devices);
    assert_eq!((volume.health, codes(&findings)), (Health::Failed, vec!["md-duplicate-device"]));
    let row = [Some(1), None, Some(3)];
    assert_eq!(chunks(&volume), row.repeat(4));
    // But where its two images say otherwise, nothing is certain.
    devices[3].data.truncate(8 << 10);
    assert!(chunks(&array(&devices).0).iter().all(Option::is_none));
    // One of another time may have had another size.
    let mut devices = alone(0);
    (devices[1].events, devices[1].roles) = (2, vec![0, 5, 2]);
    assert!(chunks(&array(&devices).0).iter().all(Option::is_none));
}

#[test]
fn what_lies_before_a_missing_device_of_a_linear_array_is_read() {
    let of = |numbers: &[u32]| {
        let devices = alone(-1).into_iter().filter(|it| numbers.contains(&it.number));
        chunks(&array(&devices.collect::<Vec<_>>()).0)
    };
    let (one, two, three, none) = ([Some(1); 4], [Some(2); 4], [Some(3); 4], [None; 4]);
    assert_eq!(of(&[0, 1, 2]), [one, two, three].concat());
    assert_eq!(of(&[0, 1]), [one, two, none].concat());
    assert_eq!(of(&[0, 2]), [one, none, none].concat());
    assert_eq!(of(&[1, 2]), [none, none, none].concat());
    // The place of what follows is known where the size of what must not be read is.
    let mut devices = alone(-1);
    devices.push(devices[1].clone());
    assert_eq!(chunks(&array(&devices).0), [one, none, three].concat());
}

#[test]
fn an_array_that_is_not_in_sync_is_told() {
    let told = |level: i32, layout: u32, minor: Option<u32>, synced: u64| {
        let of = |number| Device {
            minor,
            level,
            layout,
            chunk: if level == 1 { 0 } else { 4096 },
            synced,
            ..Device::new(number, 3)
        };
        let (volume, findings) = array(&[of(0), of(1), of(2)]);
        let place = format!("{level} {minor:?} {synced}: {findings:?}");
        assert_eq!((volume.health, first(&volume)), (Health::Healthy, Ok(7)), "{place}");
        assert!(findings.iter().all(|finding| finding.code == "md-volume-doubtful"));
        let about = findings.iter().all(|finding| finding.volume.as_deref() == Some(&volume.id.0));
        assert!(about && findings.len() < 2, "{findings:?}");
        findings.first().map_or_else(String::new, |finding| finding.message.clone())
    };
    let stopped = "was not stopped in order, or was never in sync";
    for minor in [None, Some(0), Some(2)] {
        let copies = format!("{stopped}: its copies may differ");
        assert!(told(1, 0, minor, 0).contains(&copies), "{minor:?}");
        assert!(told(10, 0x102, minor, 0).contains(&copies), "{minor:?}");
        let parity = format!("{stopped}: parity may not fit the data");
        assert!(told(4, 0, minor, 0).contains(&parity), "{minor:?}");
        assert!(told(5, 2, minor, 0).contains(&parity), "{minor:?}");
        assert!(told(1, 0, minor, 16).contains("was in sync up to 8192 of 65536 bytes"));
        for (level, layout) in [(1, 0), (10, 0x102), (5, 2)] {
            assert_eq!(told(level, layout, minor, u64::MAX), "", "{minor:?} {level}");
        }
        assert_eq!(told(1, 0, minor, 128), "", "all of it");
        assert_eq!(told(0, 0, minor, 0), "", "there is nothing to be in sync");
    }
}

#[test]
fn what_one_of_the_newest_superblocks_says_is_not_in_sync_is_not() {
    let [one, two] = sides();
    let (_, findings) = array(&[one.clone(), Device { synced: 0, ..two.clone() }]);
    assert_eq!(codes(&findings), ["md-volume-doubtful"]);
    // An older one does not count.
    let (_, findings) = array(&[one, Device { synced: 0, events: 9, ..two }]);
    assert_eq!(codes(&findings), ["md-stale-device"]);
}

#[test]
fn a_device_that_others_of_its_time_call_failed_is_read_by_no_vote_of_its_own() {
    let gone = vec![0xFFFE, 1, 2];
    let other = |number: u32| Device {
        data: vec![9; 64 << 10],
        roles: gone.clone(),
        ..Device::new(number, 3)
    };
    let (volume, findings) = array(&[Device::new(0, 3), other(1), other(2)]);
    assert_eq!((volume.health, first(&volume)), (Health::Degraded, Ok(9)));
    assert_eq!(codes(&findings), ["md-stale-device"]);
    // One against one: nobody knows.
    let other = Device { roles: vec![0xFFFE, 1], ..sides()[1].clone() };
    let (volume, findings) = array(&[sides()[0].clone(), other]);
    assert_eq!(volume.health, Health::Failed);
    assert!(codes(&findings).contains(&"md-volume-refused"), "{findings:?}");
}

#[test]
fn a_device_one_event_behind_is_read_where_nothing_goes_without_it() {
    let [one, two] = sides().map(|side| Device { level: 0, chunk: 4096, ..side });
    let (volume, findings) = array(&[Device { events: 9, ..one }, two]);
    assert_eq!((volume.health, first(&volume)), (Health::Healthy, Ok(7)));
    assert_eq!(codes(&findings), ["md-volume-doubtful"]);
    assert!(findings[0].message.contains("parts of two times may be mixed"), "{findings:?}");
}

/// `device` as an image that lacks its last bytes, `lost` of them after the data's end.
fn cut(disk: usize, device: &Device, lost: usize) -> Region {
    let mut bytes = device.bytes(SIZE);
    bytes.truncate(DATA + device.data.len() - lost);
    region(disk, bytes)
}

#[test]
fn an_image_that_is_shorter_than_its_superblock_says_is_a_member() {
    for (minor, lost) in [(1, 1), (1, 512), (2, 1), (2, 700), (2, 4096)] {
        let [one, two] = sides().map(|side| Device { minor: Some(minor), ..side });
        let (volumes, findings) = assemble(&[cut(0, &one, lost), cut(1, &two, 0)]);
        let [volume] = volumes.as_slice() else { panic!("{findings:?}") };
        assert_eq!(volume.health, Health::Degraded);
        assert_eq!(codes(&findings), ["md-device-partial"]);
        let parts = &volume.membership.as_ref().unwrap().parts;
        assert_eq!((parts[0].state, parts[1].state), (PartState::CutShort, PartState::Present));
        // What it lacks comes from the other one.
        let mut bytes = vec![0; 64 << 10];
        volume.device.read_at(0, &mut bytes).unwrap();
        assert_eq!((bytes[0], bytes[(64 << 10) - 1]), (9, 9));
        // Alone it lacks its end, and nothing else.
        let (volumes, findings) = assemble(&[cut(0, &one, lost)]);
        assert!(codes(&findings).contains(&"md-device-partial"), "{findings:?}");
        assert_eq!((volumes[0].health, first(&volumes[0])), (Health::Failed, Ok(7)));
        let end = (64 << 10) - 1;
        let error = volumes[0].device.read_at(end, &mut [0]).unwrap_err();
        assert!(error.message().contains("ends before the data"), "{error}");
        assert!(volumes[0].device.read_at(end - 4096, &mut [0; 512]).is_ok() || lost == 4096);
    }
}

#[test]
fn an_image_that_lost_what_came_after_its_superblock_is_whole() {
    for (minor, lost) in [
        (Some(0), 1),
        (Some(0), 4096),
        (Some(0), 7900),
        (None, 1),
        (None, 4096),
        (None, (60 << 10) - 1),
    ] {
        let place = format!("{minor:?} without {lost}");
        let [one, two] = sides().map(|side| Device { minor, ..side });
        let mut bytes = one.bytes(SIZE);
        bytes.truncate(SIZE - lost);
        let (volumes, findings) = assemble(&[region(0, bytes), region(1, two.bytes(SIZE))]);
        let [volume] = volumes.as_slice() else { panic!("{place}: {findings:?}") };
        assert!(findings.is_empty(), "{place}: {findings:?}");
        assert_eq!((volume.health, first(volume)), (Health::Healthy, Ok(7)), "{place}");
    }
}

#[test]
fn a_claim_says_what_is_wrong_with_its_superblock() {
    let damage = |bytes: Vec<u8>| Md.claim(&region(0, bytes)).unwrap().unwrap().damage;
    let mut bytes = Device::new(0, 2).bytes(SIZE);
    assert_eq!(damage(bytes.clone()), None);
    bytes[4096 + 100] ^= 1;
    let damage = damage(bytes).unwrap();
    assert_eq!(damage.at, 4096 + 0xD8);
    assert!(damage.reason.contains("has a bad checksum"), "{}", damage.reason);
}

#[test]
fn a_device_of_another_time_is_not_read() {
    for events in [8, 9] {
        let [one, two] = sides();
        let (volume, findings) = array(&[Device { events, ..one }, two]);
        let parts = &volume.membership.as_ref().unwrap().parts;
        assert_eq!((parts[0].state, first(&volume)), (PartState::Stale, Ok(9)), "{events}");
        assert_eq!(codes(&findings), ["md-stale-device"], "{events}");
        assert_eq!(volume.health, Health::Degraded);
    }
    // The machine may have stopped while the superblocks were written: nothing says which one is right.
    let [one, two] = sides().map(|side| Device { synced: 0, ..side });
    let (volume, findings) = array(&[Device { events: 9, ..one }, two]);
    assert_eq!((volume.health, first(&volume)), (Health::Healthy, Ok(7)));
    assert!(codes(&findings).iter().all(|code| *code == "md-volume-doubtful"), "{findings:?}");
    assert!(findings.iter().any(|it| it.message.contains("one event behind")), "{findings:?}");
    // As new as the other one, which has another shape.
    let [one, two] = sides();
    let three = Device { number: 2, ..two.clone() };
    let other = Device { component: 32 << 10, ..one };
    let roles = vec![0, 1, 2];
    let devices =
        [other, two, three].map(|it| Device { raid_disks: 3, roles: roles.clone(), ..it });
    let (volume, findings) = array(&devices);
    assert_eq!((volume.health, first(&volume)), (Health::Degraded, Ok(9)));
    assert!(findings[0].message.contains("another level, layout or size"), "{findings:?}");
}

#[test]
fn copies_of_a_device_are_told_and_none_is_used() {
    let [one, two] = sides();
    let (volume, findings) = array(&[one.clone(), one.clone(), two]);
    assert_eq!((volume.health, first(&volume)), (Health::Degraded, Ok(9)));
    assert_eq!(codes(&findings), ["md-duplicate-device"]);
    assert!(findings[0].message.contains("disk0 and disk1"));
    let (volume, _) = array(&[one.clone(), one]);
    assert!(first(&volume).unwrap_err().contains("is given more than once"));
}

#[test]
fn a_replacement_is_read_where_the_replaced_device_is_not() {
    let [one, two] = sides();
    let replacement =
        Device { number: 2, features: 16, data: vec![5; 64 << 10], ..Device::new(0, 2) };
    let roles = vec![0, 1, 0];
    let devices = [one, two, replacement].map(|it| Device { roles: roles.clone(), ..it });
    assert_eq!(first(&array(&devices).0), Ok(7));
    assert_eq!(first(&array(&devices[1..]).0), Ok(5));
}

#[test]
fn devices_without_data_make_no_volume() {
    for role in [0xFFFF, 0xFFFE, 0xFFFD] {
        let spare = Device { roles: vec![0, 1, role], number: 2, ..Device::new(0, 2) };
        let (volumes, findings) = assemble(&disks(&[spare]));
        assert!(volumes.is_empty());
        assert_eq!(codes(&findings), ["md-spare"]);
    }
}

#[test]
fn what_is_not_read_says_why() {
    let refused = |change: &dyn Fn(&mut Device)| {
        let devices = sides().map(|mut side| {
            change(&mut side);
            side
        });
        let (volume, findings) = array(&devices);
        assert!(codes(&findings).contains(&"md-volume-refused"), "{findings:?}");
        let error = volume.device.read_at(0, &mut [0; 512]).unwrap_err();
        (error.kind(), error.message().to_owned())
    };
    type Change = fn(&mut Device);
    let cases: [(Change, BlockErrorKind, &str); 12] = [
        (|it| it.features = 4, BlockErrorKind::Unsupported, "is being reshaped"),
        (|it| it.features = 1 << 13, BlockErrorKind::Unsupported, "not known (0x2000)"),
        (|it| it.features = 512, BlockErrorKind::MissingPart, "its device is missing"),
        (|it| it.level = -4, BlockErrorKind::Unsupported, "level multipath"),
        (|it| it.level = -5, BlockErrorKind::Unsupported, "level faulty"),
        (|it| it.level = 7, BlockErrorKind::Unsupported, "the level 7"),
        (|it| (it.level, it.layout) = (6, 7), BlockErrorKind::Unsupported, "layout 7 of RAID-6"),
        (|it| (it.level, it.layout) = (10, 0), BlockErrorKind::Unsupported, "layout 0 of RAID-10"),
        (|it| it.level = 0, BlockErrorKind::Corrupt, "chunks of 0 bytes"),
        (|it| (it.level, it.chunk) = (5, 1536), BlockErrorKind::Corrupt, "chunks of 1536 bytes"),
        (|it| (it.level, it.chunk) = (6, 512), BlockErrorKind::Corrupt, "has 2 devices"),
        (|it| it.component = 0, BlockErrorKind::Corrupt, "uses no byte"),
    ];
    for (change, kind, line) in cases {
        let (found, message) = refused(&change);
        assert!(found == kind && message.contains(line), "{line}: {found:?} {message}");
    }
    let (_, message) = refused(&|it| it.component = 128 << 10);
    assert!(message.contains("has room for 65536 bytes of data"), "{message}");
    let (_, message) =
        refused(&|it| it.roles = if it.number == 0 { vec![0, 0xFFFE] } else { vec![0xFFFE, 1] });
    assert!(message.contains("say of each other that they failed"), "{message}");
    let (_, message) = refused(&|it| it.component -= u64::from(it.number) * 4096);
    assert!(message.contains("do not agree about level"), "{message}");
}

#[test]
fn numbers_that_no_device_bears_are_damage() {
    for (at, value) in [
        (80, u64::MAX),
        (128, u64::MAX >> 9),
        (136, u64::MAX),
        (136, u64::MAX >> 9),
        (220, 1921),
        (220, 0xFFFF_FFFF),
    ] {
        let mut bytes = Device::new(0, 2).bytes(SIZE);
        let field = &mut bytes[4096 + at..][..if at == 220 { 4 } else { 8 }];
        let length = field.len();
        field.copy_from_slice(&value.to_le_bytes()[..length]);
        seal(&mut bytes[4096..4096 + 260], 216);
        let (volumes, findings) = assemble(&[region(0, bytes)]);
        assert!(volumes.is_empty());
        assert_eq!(codes(&findings), ["md-superblock-damaged"], "{at} {value:#x}");
    }
}

#[test]
fn a_huge_array_of_one_device_takes_no_memory() {
    let device = Device { raid_disks: 1920, level: 0, chunk: 512, ..Device::new(0, 1) };
    let (volume, _) = array(&[device]);
    assert_eq!(volume.health, Health::Failed);
    assert_eq!(volume.membership.unwrap().parts.len(), 1920);
    let device = Device { raid_disks: u32::MAX, ..Device::new(0, 1) };
    let (volume, _) = array(&[device]);
    assert!(first(&volume).unwrap_err().contains("has 4294967295 devices"));
}

#[test]
fn an_image_that_ends_early_loses_only_what_it_lacks() {
    let [one, two] = sides();
    let mut regions = disks(&[one, two]);
    let cut = regions[0].device.clone();
    let slice = volfold_block::Slice::part(cut, 0, (DATA + 4096) as u64).unwrap();
    regions[0].device = std::sync::Arc::new(slice);
    let (volumes, _) = assemble(&regions);
    let volume = &volumes[0];
    assert_eq!((volume.health, first(volume)), (Health::Degraded, Ok(9)));
    assert_eq!(volume.membership.as_ref().unwrap().parts[0].state, PartState::CutShort);
}

/// A disk whose only partition begins at 64 KiB and ends at the end, with the bytes of a device.
fn partitioned(device: &Device, before: usize) -> Region {
    let inner = device.bytes(SIZE);
    let mut bytes = vec![0; before];
    bytes[446..462].copy_from_slice(&[0, 0, 2, 0, 0xFD, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    bytes[454..458].copy_from_slice(&(before as u32 / 512).to_le_bytes());
    bytes[458..462].copy_from_slice(&(SIZE as u32 / 512).to_le_bytes());
    bytes[510..512].copy_from_slice(&[0x55, 0xAA]);
    bytes.extend(inner);
    region(0, bytes)
}

#[test]
fn the_superblock_of_the_last_partition_is_not_that_of_the_disk() {
    for minor in [None, Some(0)] {
        let device = Device { minor, ..Device::new(0, 2) };
        let whole = partitioned(&device, 64 << 10);
        assert!(Md.claim(&whole).unwrap().is_none(), "{minor:?}");
        assert!(Md.notice(&whole).is_empty(), "{minor:?}");
        let table = crate::partition::registry::read_table(&*whole.device, 512).unwrap().unwrap();
        let inner = crate::volume::basic::regions(&whole, &table);
        assert!(Md.claim(&inner[0]).unwrap().is_some(), "{minor:?}");
    }
}

#[test]
fn a_table_at_the_start_of_the_data_is_that_of_the_array() {
    for minor in [None, Some(0)] {
        let mut device = Device { minor, ..Device::new(0, 2) };
        device.data[446..462].copy_from_slice(&[0, 0, 2, 0, 0x83, 0, 0, 0, 8, 0, 0, 0, 8, 0, 0, 0]);
        device.data[462..510].fill(0);
        device.data[510..512].copy_from_slice(&[0x55, 0xAA]);
        let claim = Md.claim(&region(0, device.bytes(SIZE))).unwrap().unwrap();
        assert_eq!(claim.hides, Hidden::Partitions(vec![1]), "{minor:?}");
    }
}

#[test]
fn a_superblock_that_was_left_before_the_partitions_is_told() {
    // The disk was a device itself; now its partitions are, of another array.
    let inner = Device { array: 2, ..Device::new(0, 2) };
    let mut bytes = vec![0; SIZE * 2];
    let whole = partitioned(&inner, SIZE);
    whole.device.read_at(0, &mut bytes).unwrap();
    let left = Device::new(0, 2).bytes(SIZE * 2);
    bytes[4096..8192].copy_from_slice(&left[4096..8192]);
    let whole = region(0, bytes);
    assert!(Md.claim(&whole).unwrap().is_none());
    assert_eq!(codes(&Md.notice(&whole)), ["md-superblock-left"]);
}

/// A RAID-5 of three columns, and its journal with `pages` of the array.
fn journaled(pages: &[u64]) -> Vec<Device> {
    let of = |number| Device {
        level: 5,
        layout: 2,
        chunk: 4096,
        features: 512,
        roles: vec![0, 1, 2, 0xFFFD],
        ..Device::new(number, 3)
    };
    let journal = Device { data: log(pages), ..of(3) };
    vec![of(0), of(1), of(2), journal]
}

#[test]
fn what_the_journal_holds_is_newer() {
    let (volume, findings) = array(&journaled(&[1, 31]));
    assert_eq!((volume.health, codes(&findings)), (Health::Healthy, vec!["md-spare"]));
    let mut bytes = vec![0; volume.size as usize];
    volume.device.read_at(0, &mut bytes).unwrap();
    let of_page: Vec<u8> = bytes.chunks(4096).map(|page| page[0]).collect();
    let mut wanted = vec![7; 32];
    (wanted[1], wanted[31]) = (3, 3);
    assert_eq!(of_page, wanted);
    assert_eq!(volume.device.extent_at(100).unwrap().length, 3996);
    // Without a device nothing is rebuilt, for its parity may be older.
    let (volume, findings) = array(&journaled(&[1])[1..]);
    assert_eq!(volume.health, Health::Failed);
    let doubt = findings.iter().find(|finding| finding.code == "md-volume-doubtful").unwrap();
    assert!(doubt.message.contains("has writes in its journal"), "{doubt}");
}

#[test]
fn a_journal_that_does_not_fit_is_a_reason_not_to_read() {
    let refused = |devices: &[Device]| first(&array(devices).0).unwrap_err();
    let mut devices = journaled(&[]);
    assert!(refused(&devices[..3]).contains("its device is missing"));
    devices[3].events = 5;
    assert!(refused(&devices).contains("older than its devices"));
    devices[3].events = 10;
    devices.push(devices[3].clone());
    assert!(refused(&devices).contains("is given more than once"));
    assert!(refused(&journaled(&[32])).contains("past the end of the array"));
    // One that fills all blocks of its ring leaves none for its end.
    let most: Vec<u64> = (0..15).collect();
    assert!(refused(&journaled(&most)).contains("has more blocks than its ring"));
    assert_eq!(first(&array(&journaled(&most[..14])).0), Ok(3));
    // A block that is not whole ends the log.
    let mut devices = journaled(&[0]);
    devices[3].data[5000] ^= 1;
    assert_eq!(first(&array(&devices).0), Ok(7));
    devices[3].data[17] ^= 1;
    assert_eq!(first(&array(&devices).0), Ok(7));
}
