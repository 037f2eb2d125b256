//! Superblocks of version 4 that contradict each other, and volumes with the largest inode numbers.

use std::sync::Arc;

use super::XfsDriver;
use super::testing::SparseDevice;
use super::tests::{VERSION_4, volume, volume_of};
use crate::driver::{FileSystemDriver, ReadOptions, VolumeReader};
use crate::error::FsErrorKind;
use crate::node::{FileSystem, Name, StreamName};
use crate::testing::{content, find, list, mount, noise};

fn codes(fs: &dyn FileSystem) -> Vec<&'static str> {
    fs.findings().iter().map(|finding| finding.code.as_str()).collect()
}

/// Fields of the superblock, and changes of them that no other field contradicts.
const CHANGES: [(usize, u8); 6] =
    [(0x0F, 1), (0x37, 1), (0x3F, 1), (0xC0, 1), (0x2F, 0x80), (0x63, 1)];

#[test]
fn of_two_superblocks_of_version_4_the_third_decides() {
    let Some(image) = volume_of(64 << 20, &["-m", "crc=0", "-d", "agcount=4"]) else { return };
    for group in 0..2 {
        for (at, bits) in CHANGES {
            let mut bent = image.clone();
            bent[group * (16 << 20) + at] ^= bits;
            let fs = mount(&XfsDriver, bent).unwrap();
            let expected: &[&str] = if group == 0 { &["xfs-backup-superblock"] } else { &[] };
            assert_eq!(codes(&*fs), expected, "{group} {at:#x}");
            let file = fs.open(find(&*fs, "file").unwrap(), &StreamName::MAIN).unwrap();
            assert_eq!(content(&*file).unwrap(), noise(20_000, 7));
        }
    }
    // Where the second group should begin there is none.
    let mut other = image.clone();
    other[0x54..0x58].copy_from_slice(&4095_u32.to_be_bytes());
    other[0x0E..0x10].copy_from_slice(&(4 * 4095_u16).to_be_bytes());
    let fs = mount(&XfsDriver, other).unwrap();
    assert_eq!(codes(&*fs), ["xfs-backup-superblock"]);
    let mut alone = image;
    for group in 1..4 {
        alone[group * (16 << 20)] = 0;
    }
    let fs = mount(&XfsDriver, alone).unwrap();
    assert_eq!(codes(&*fs), ["xfs-superblock-unconfirmed"]);
}

#[test]
fn two_superblocks_of_version_4_that_differ_are_an_error() {
    let Some(image) = volume_of(32 << 20, &["-m", "crc=0", "-d", "agcount=2"]) else { return };
    assert!(codes(&*mount(&XfsDriver, image.clone()).unwrap()).is_empty());
    for (at, bits) in CHANGES {
        let mut bent = image.clone();
        bent[at] ^= bits;
        match mount(&XfsDriver, bent) {
            // What cannot be is read by the other one.
            Ok(fs) => assert_eq!((at, codes(&*fs)), (0x0F, vec!["xfs-backup-superblock"])),
            Err(error) => assert_eq!(error.kind(), FsErrorKind::Corrupt, "{at:#x}"),
        }
    }
}

#[test]
fn an_inode_with_a_number_of_more_than_48_bits_is_read() {
    let Some(mut image) = volume(VERSION_4) else { return };
    let file = find(&*mount(&XfsDriver, image.clone()).unwrap(), "file").unwrap().0;
    // Of 131072 groups of 1 TiB the first begins as before.
    image[0x08..0x10].copy_from_slice(&(1_u64 << 45).to_be_bytes());
    image[0x54..0x58].copy_from_slice(&(1_u32 << 28).to_be_bytes());
    image[0x58..0x5C].copy_from_slice(&(1_u32 << 17).to_be_bytes());
    image[0x7C] = 28;
    let group = (1_u64 << 16) + 1;
    let number = group << 32 | 64 << 4;
    let start = usize::try_from(file * 256).unwrap();
    let inode = image[start..start + 256].to_vec();
    let blocks = image.chunks(4096).position(|block| block.starts_with(b"XD2B")).unwrap();
    let block = &image[blocks * 4096..][..4096];
    let name = block.windows(7).position(|bytes| bytes == b"\x06name-3").unwrap();
    image[blocks * 4096 + name - 8..][..8].copy_from_slice(&number.to_be_bytes());
    let second = image[..512].to_vec();
    let pieces = vec![(0, image), (1 << 40, second), ((group << 40) + (64 << 12), inode)];
    let reader = VolumeReader::uncached(Arc::new(SparseDevice { size: 1 << 57, pieces }));
    let fs = XfsDriver.mount(reader, ReadOptions::default()).unwrap();
    let dir = find(&*fs, "block").unwrap();
    let node = fs.lookup(dir, Name::new("name-3")).unwrap();
    assert!(node.0 < 1 << 48 && node.0 != number);
    let data = fs.open(node, &StreamName::MAIN).unwrap();
    assert_eq!(content(&*data).unwrap(), noise(20_000, 7));
    let listed = list(&*fs, dir, 100).unwrap();
    let (_, found, metadata) = listed.iter().find(|(name, ..)| name == b"name-3").unwrap();
    assert_eq!((*found, metadata.as_ref().unwrap().node), (node, node));
    assert_eq!(fs.metadata(node).unwrap().size, 20_000);
    assert!(codes(&*fs).is_empty(), "{:?}", fs.findings());
}
