//! Damaged structures of volume managers where a sound file system lies: the file system is shown, and told.

use std::fs;
use std::path::PathBuf;

use crate::common::fixtures::fixture;
use crate::common::program::{Scratch, volfold};
use crate::common::sets::{codes, open};
use crate::harness::{apply, test};

/// A structure with a wrong checksum, or none that makes sense.
struct Debris {
    name: &'static str,
    /// Where it lies in a volume of so many bytes.
    at: fn(usize) -> usize,
    bytes: Vec<u8>,
    /// What is told of it.
    told: &'static str,
}

fn debris() -> Vec<Debris> {
    let mut label = b"LABELONE".to_vec();
    label.extend(1_u64.to_le_bytes());
    label.extend([1, 2, 3, 4, 32, 0, 0, 0]);
    label.extend(b"LVM2 001");
    let superblock = |sector: u64| {
        let mut bytes = 0xA92B_4EFC_u32.to_le_bytes().to_vec();
        bytes.extend(1_u32.to_le_bytes());
        bytes.resize(144, 0);
        bytes.extend(sector.to_le_bytes());
        bytes.resize(256, 0);
        bytes
    };
    let mut old = 0xA92B_4EFC_u32.to_le_bytes().to_vec();
    old.extend([0, 0, 0, 0, 90, 0, 0, 0]);
    old.resize(4096, 0);
    let luks = |version: u8| [b"LUKS\xBA\xBE\0".as_slice(), &[version]].concat();
    let start = |_| 0;
    vec![
        Debris { name: "LVM2", at: |_| 512, bytes: label, told: "LVM2 label has a bad checksum" },
        Debris {
            name: "MD 1.2",
            at: |_| 4096,
            bytes: superblock(8),
            told: "MD superblock has a bad checksum",
        },
        Debris {
            name: "MD 0.90",
            at: |size| (size & !0xFFFF) - (64 << 10),
            bytes: old,
            told: "MD superblock has a bad checksum",
        },
        Debris { name: "LUKS1", at: start, bytes: luks(1), told: "header of LUKS" },
        Debris { name: "LUKS2", at: start, bytes: luks(2), told: "header of LUKS" },
        Debris { name: "LUKS", at: start, bytes: luks(9), told: "version 9 of LUKS" },
    ]
}

/// The volumes that have room for `debris` which the file system does not use.
fn hosts(debris: &Debris) -> &'static [&'static str] {
    match debris.name {
        // The boot area of NTFS has 8 KiB, the reserved sectors of FAT32 16 KiB.
        "LVM2" => &["ext2-1k", "ext4"],
        "MD 1.2" => &["ntfs-plain", "fat32"],
        // Near the end nothing is in use.
        "MD 0.90" => &["ext4", "fat16"],
        _ => &["ext2-1k", "ext4"],
    }
}

#[apply(test)]
fn a_damaged_claim_does_not_hide_the_file_system_around_it() {
    for debris in debris() {
        for host in hosts(&debris) {
            let place = format!("{} in {host}", debris.name);
            let scratch = Scratch::new("claims");
            let path = scratch.join("disk.img");
            let intact = fs::read(fixture(host).path()).expect("an image");
            let mut bytes = intact.clone();
            let at = (debris.at)(bytes.len());
            let part = &mut bytes[at..at + debris.bytes.len()];
            assert_ne!(part, debris.bytes, "{place}");
            part.copy_from_slice(&debris.bytes);
            fs::write(&path, &bytes).expect("an image");
            let set = open(std::slice::from_ref(&path));
            let [volume] = set.volumes() else { panic!("{place}: {:?}", set.findings()) };
            assert!(volume.reason.is_none(), "{place}: {:?}", set.findings());
            assert_eq!(codes(set.findings()), ["volume-claim-damaged"], "{place}");
            let told = &set.findings()[0];
            assert!(told.message.contains(debris.told), "{place}: {told}");
            assert!(told.message.contains("holds a file system"), "{place}: {told}");
            assert!(told.disk == Some(0) && told.position.is_some(), "{place}: {told:?}");
            // Its files are those of the volume without it.
            fs::write(scratch.join("intact.img"), &intact).expect("an image");
            let hash = |path: &PathBuf| volfold(["hash".as_ref(), path.as_os_str()]);
            let wanted = hash(&scratch.join("intact.img")).code(0).text();
            assert_eq!(hash(&path).code(3).text(), wanted, "{place}");
        }
    }
}

#[apply(test)]
fn a_damaged_claim_stands_where_no_sound_file_system_covers_it() {
    // The file system of an array with its superblock at the end lies at the start of each device, and is
    // none of the device.
    let fixture = fixture("md-partitioned");
    let scratch = Scratch::new("claims");
    let path = scratch.join("disk.img");
    let mut bytes = fs::read(&fixture.paths()[0]).expect("an image");
    let at = (bytes.len() - 8192) & !4095;
    bytes[at + 0x20] ^= 1;
    bytes[446..512].fill(0);
    let ext4 = fs::read(crate::common::fixtures::fixture("ext2-1k").path()).expect("an image");
    bytes[..ext4.len().min(at)].copy_from_slice(&ext4[..ext4.len().min(at)]);
    fs::write(&path, &bytes).expect("an image");
    let set = open(std::slice::from_ref(&path));
    assert_eq!(codes(set.findings()), ["md-superblock-damaged"]);
    assert!(set.volumes().is_empty());
    // Where the file system is damaged itself, nothing says that it is the owner.
    let mut bytes = fs::read(crate::common::fixtures::fixture("ext4").path()).expect("an image");
    bytes[..8].copy_from_slice(b"LUKS\xBA\xBE\0\x02");
    bytes[1024 + 56..1024 + 58].fill(0);
    fs::write(&path, &bytes).expect("an image");
    let set = open(std::slice::from_ref(&path));
    assert_eq!(codes(set.findings()), ["luks-volume-refused"]);
}
