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
    let parts = &volume.membership.as_ref().unwrap().parts;
    assert_eq!((parts[0].state, parts[0].disk), (PartState::Missing, None));
    // The one that is there knows that the other one failed.
    let [_, two] = sides();
    let (_, findings) = array(&[Device { roles: vec![0xFFFE, 1], ..two }]);
    assert_eq!(findings[0].severity, Severity::Warning, "{findings:?}");
}

#[test]
fn a_device_of_another_time_is_not_read() {
    for (events, state) in [(8, PartState::Stale), (9, PartState::Present)] {
        let [one, two] = sides();
        let (volume, findings) = array(&[Device { events, ..one }, two]);
        let parts = &volume.membership.as_ref().unwrap().parts;
        assert_eq!(parts[0].state, state);
        let is_stale = state == PartState::Stale;
        assert_eq!(first(&volume), Ok(if is_stale { 9 } else { 7 }));
        assert_eq!(codes(&findings).contains(&"md-stale-device"), is_stale);
        assert_eq!(volume.health == Health::Degraded, is_stale);
    }
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
        (136, SIZE as u64),
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
    // A block that is not whole ends the log.
    let mut devices = journaled(&[0]);
    devices[3].data[5000] ^= 1;
    assert_eq!(first(&array(&devices).0), Ok(7));
    devices[3].data[17] ^= 1;
    assert_eq!(first(&array(&devices).0), Ok(7));
}
