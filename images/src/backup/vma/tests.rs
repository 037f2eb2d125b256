//! Backups that are made field by field, and damaged ones.

use super::*;
use crate::backup::testing::{FirstDisk, VmaBuilder, codes, content, open};
use crate::hostile::{Bent, Outcome, outcome};
use crate::testing::Files;
use volfold_block::ExtentKind;

/// A disk of three clusters and a half: whole, of some blocks, of zeros, and a part.
fn disk() -> Vec<u8> {
    let mut disk = vec![0; 3 * 65_536 + 5 * 512];
    disk[..65_536].fill(1);
    for (block, byte) in [(16, 2), (18, 3), (19, 4), (31, 5)] {
        disk[block * 4096..][..4096].fill(byte);
    }
    disk[3 * 65_536..].fill(6);
    disk
}

fn clusters(disk: &[u8]) -> Vec<&[u8]> {
    disk.chunks(65_536).collect()
}

/// A backup of that disk and of a second one of one cluster, out of order.
fn backup() -> VmaBuilder {
    let disk = disk();
    let parts = clusters(&disk);
    let size = disk.len() as u64;
    let mut vma = VmaBuilder::new(&[("drive-scsi0", size), ("drive-ide1", 65_536)]);
    vma.extent(&[(1, 3, parts[3]), (2, 0, &[7; 65_536]), (1, 1, parts[1])]);
    vma.extent(&[]);
    vma.extent(&[(1, 2, parts[2]), (1, 0, parts[0])]);
    vma
}

#[test]
fn clusters_are_where_the_extents_say() {
    let backup = open(&Vma, &backup().build()).unwrap();
    assert!(backup.damage.is_empty());
    let wanted = [("drive-scsi0", disk()), ("drive-ide1", vec![7; 65_536])];
    let wanted = wanted.map(|(name, bytes)| (name.to_owned(), Ok(bytes)));
    assert_eq!(content(&backup), wanted);
    let device = &backup.disks[0].image.as_ref().unwrap().device;
    let hole = device.extent_at(17 * 4096 + 5).unwrap();
    assert_eq!((hole.kind, hole.length), (ExtentKind::Zero, 4096 - 5));
    let hole = device.extent_at(2 * 65_536).unwrap();
    assert_eq!((hole.kind, hole.length), (ExtentKind::Zero, 65_536));
    assert_eq!(codes(&backup, 0), [""; 0]);
}

#[test]
fn memory_is_no_disk_and_names_are_plain_and_differ() {
    let names = [("vmstate", 4096), ("a/b\n", 65_536), ("a_b_", 65_536)];
    let mut vma = VmaBuilder::new(&names);
    vma.extent(&[(1, 900, &[9; 65_536]), (3, 0, &[1; 65_536]), (2, 0, &[2; 65_536])]);
    let backup = open(&Vma, &vma.build()).unwrap();
    let names: Vec<&str> = backup.disks.iter().map(|disk| disk.name.as_str()).collect();
    assert_eq!(names, ["a_b", "a_b_"]);
    let mut twins = VmaBuilder::new(&[("d", 1), ("d", 1)]);
    twins.extent(&[(1, 0, &[1]), (2, 0, &[2])]);
    let twins = content(&open(&Vma, &twins.build()).unwrap());
    assert_eq!(twins[1], ("d (2)".to_owned(), Ok(vec![2])));
}

#[test]
fn clusters_that_are_missing_or_there_twice_are_errors_and_told() {
    let mut vma = backup();
    vma.extents.pop();
    let lost = open(&Vma, &vma.build()).unwrap();
    assert!(lost.damage.is_empty());
    assert_eq!(codes(&lost, 0), ["backup-blocks-missing"]);
    let read = |backup: &Backup, cluster: u64| {
        let image = backup.disks[0].image.as_ref().unwrap();
        let error = image.device.read_at(cluster * 65_536 + 4096, &mut [0; 16]).err();
        error.map(|error| error.message().to_owned()).unwrap_or_default()
    };
    for cluster in [0, 2] {
        let line =
            format!("cluster {cluster} is not in the VMA backup, which is cut off or damaged");
        assert_eq!(read(&lost, cluster), line);
    }
    assert_eq!(read(&lost, 1), "");
    let mut vma = backup();
    vma.extent(&[(1, 2, &[1; 4096]), (1, 1, &[])]);
    let twice = open(&Vma, &vma.build()).unwrap();
    assert_eq!(codes(&twice, 0), ["backup-blocks-repeated"]);
    for cluster in [1, 2] {
        assert!(read(&twice, cluster).ends_with("more than once"), "{cluster}");
    }
    assert_eq!(read(&twice, 0), "");
}

/// The work is bounded by what is in the file, not by the size that a disk claims.
#[test]
fn what_is_missing_of_a_huge_disk_is_told_in_few_pieces() {
    let size = 1 << 48;
    let mut vma = VmaBuilder::new(&[("drive-scsi0", size)]);
    vma.extent(&[(1, 5, &[1; 65_536]), (1, 1 << 30, &[2; 65_536])]);
    let backup = open(&Vma, &vma.build()).unwrap();
    let device = &backup.disks[0].image.as_ref().unwrap().device;
    let (mut offset, mut pieces) = (0, 0);
    while offset < size {
        offset += device.extent_at(offset).unwrap().length;
        pieces += 1;
    }
    assert_eq!(offset, size);
    assert!(pieces < 4 * PAGE, "{pieces}");
    for cluster in [4, 6, (1_u64 << 30) - 1, (1 << 30) + 1] {
        assert!(device.read_at(cluster * 65_536, &mut [0; 16]).is_err(), "{cluster}");
    }
    for cluster in [5, 1 << 30] {
        assert!(device.read_at(cluster * 65_536, &mut [0; 16]).is_ok(), "{cluster}");
    }
}

#[test]
fn headers_that_cannot_be_are_refused() {
    for (at, value, line) in [
        (0, 0, "VMA header has another magic"),
        (4, 2, "VMA of version 2 is not read; 1 is"),
        (56, 12_289, "VMA header says that it has 12289 bytes"),
        (56, 512, "VMA header says that it has 512 bytes"),
        (56, 1 << 24, "VMA header is cut short; copy the file again"),
        (48, 12_287, "VMA header has its blobs outside of it"),
        (52, 513, "VMA header has its blobs outside of it"),
        (4096 + 32, 2, "VMA header names device 1 by a blob that is none"),
        (4096 + 32, 600, "VMA header names device 1 by a blob that is none"),
        (4096 + 32 + 8, 1 << 20, "VMA header has a device 1 of 4503599627569664 bytes"),
    ] {
        let mut vma = backup();
        vma.header[at..at + 4].copy_from_slice(&u32::to_be_bytes(value));
        assert_eq!(open(&Vma, &vma.build()).err().unwrap().message(), line);
    }
    let none = VmaBuilder::new(&[]).build();
    assert_eq!(open(&Vma, &none).err().unwrap().message(), "VMA backup holds no disk");
}

#[test]
fn what_comes_before_a_bad_extent_is_read() {
    for (at, value, what) in [
        (0, 0, "header has another magic"),
        (8, 0, "is of another backup"),
        (4, 2, "has other blocks than its clusters"),
        (40, 0x0001_0003, "is of a cluster that no disk has"),
        (40, 0x0001_0000, "has other blocks than its clusters"),
        (44, 4, "is of a cluster that no disk has"),
    ] {
        let mut vma = backup();
        vma.extent(&[(1, 0, &[1; 4096])]);
        vma.extents.swap(2, 3);
        vma.extents[2][at..at + 4].copy_from_slice(&u32::to_be_bytes(value));
        let backup = open(&Vma, &vma.build()).unwrap();
        let line = format!("VMA extent {what}; what comes after it is lost: copy the file again");
        assert_eq!(backup.damage[0].message(), line);
        let device = &backup.disks[0].image.as_ref().unwrap().device;
        assert!(device.read_at(65_536, &mut [0; 16]).is_ok(), "{what}");
        assert!(device.read_at(0, &mut [0; 16]).is_err(), "{what}");
    }
}

#[test]
fn damage_is_never_silent() {
    let bytes = backup().build();
    let wanted = disk();
    let bent = Bent::new(&bytes);
    for size in (0..bytes.len()).step_by(512).chain([bytes.len() - 1]) {
        let result = outcome(&FirstDisk(&Vma), &Files::default(), "a.vma", bent.cut(size), &wanted);
        assert_eq!(result, Outcome::Error, "{size}");
    }
    let header = 12_288 + 512;
    let first = header + 512 + (1 + 16 + 4) * 4096;
    let headers = (0..header).step_by(7).chain(4090..4300).chain(header..header + 512);
    for at in headers.chain(0..64).chain(first..first + 1024) {
        for mask in [1, 0x80, 0xFF] {
            let bent = bent.changed(at, mask);
            let result = outcome(&FirstDisk(&Vma), &Files::default(), "a.vma", bent, &wanted);
            assert!(matches!(result, Outcome::Error | Outcome::Told), "{at} {mask}: {result:?}");
        }
    }
}

#[test]
fn pages_of_zeros_become_pages_of_places() {
    let mut room = Room { places: 1, zeros: 2 };
    let mut table = Clusters::of(3 * 512 * CLUSTER);
    for number in [5, 6, 511, 512] {
        table.note(number, entry(512 * 40, 0).unwrap(), &mut room).unwrap();
    }
    table.note(7, entry(512 * 50, 3).unwrap(), &mut room).unwrap();
    table.note(6, entry(512 * 60, 0).unwrap(), &mut room).unwrap();
    let seen = [4, 5, 6, 7, 511, 512, 513].map(|number| table.get(number));
    let zeros = 1 << 16;
    assert_eq!(seen, [UNKNOWN, zeros, REPEATED, 50 << 16 | 3, zeros, zeros, UNKNOWN]);
    assert_eq!(table.seen, 5);
    let full = table.note(600, entry(512 * 70, 1).unwrap(), &mut room).unwrap_err();
    assert_eq!(full.kind(), BlockErrorKind::Unsupported);
    assert!(table.note(1024, entry(512 * 70, 0).unwrap(), &mut room).is_err());
    assert!(entry(u64::MAX, 0xFFFF).is_err());
}
