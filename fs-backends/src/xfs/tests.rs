//! Volumes that `mkfs.xfs` makes of a prototype, and what is left of them when bytes are bent.

use super::XfsDriver;
use crate::error::FsErrorKind;
use crate::node::{FileKind, FileSystem, Name, StreamName};
use crate::testing::{Scratch, content, exercise_bent, find, kind_of, list, mount, noise};

/// A volume of 16 MiB with a few files, `None` without `mkfs.xfs`.
pub(super) fn volume(options: &[&str]) -> Option<Vec<u8>> {
    volume_of(16 << 20, options)
}

/// The same of another size.
pub(super) fn volume_of(size: u64, options: &[&str]) -> Option<Vec<u8>> {
    let scratch = Scratch::new("xfs");
    scratch.blank(size);
    scratch.write("content", &noise(20_000, 7));
    let host = scratch.0.join("content");
    let host = host.to_str().unwrap();
    let mut lines = vec!["/unused".to_owned(), "0 0".to_owned(), "d--755 0 0".to_owned()];
    lines.push(format!("file ---644 5 6 {host}"));
    lines.push("link l--777 0 0 file".to_owned());
    lines.push("device c--600 0 0 5 259".to_owned());
    for (dir, count) in [("short", 3), ("block", 40), ("tree", 600)] {
        lines.push(format!("{dir} d--755 0 0"));
        lines.extend((0..count).map(|number| format!("name-{number} ---600 0 0 /dev/null")));
        lines.push("$".to_owned());
    }
    lines.push("$".to_owned());
    scratch.write("proto", (lines.join("\n") + "\n").as_bytes());
    let mut words = vec!["-q", "--unsupported", "-L", "proto", "-p", "proto"];
    words.extend(options);
    words.push("image");
    scratch.run("mkfs.xfs", &words).then(|| scratch.image())
}

pub(super) const VERSION_4: &[&str] = &["-m", "crc=0"];

#[test]
fn a_tree_of_a_prototype_reads_as_it_was_described() {
    for options in [VERSION_4, &["-m", "crc=0", "-n", "ftype=0"], &["-m", "crc=1"]] {
        let Some(image) = volume(options) else { return };
        let fs = mount(&XfsDriver, image).unwrap();
        let file = find(&*fs, "file").unwrap();
        let data = fs.open(file, &StreamName::MAIN).unwrap();
        assert_eq!(content(&*data).unwrap(), noise(20_000, 7));
        let metadata = fs.metadata(file).unwrap();
        assert_eq!((metadata.size, metadata.links, metadata.allocated), (20_000, 1, 20_480));
        let owner = metadata.owner.unwrap();
        assert_eq!((owner.uid, owner.gid, owner.mode), (5, 6, 0o644));
        assert_eq!(fs.read_link(find(&*fs, "link").unwrap()).unwrap().0, b"file");
        let device = fs.metadata(find(&*fs, "device").unwrap()).unwrap();
        assert_eq!((device.kind, device.device), (FileKind::CharDevice, Some((5, 259))));
        for (dir, count) in [("short", 3), ("block", 40), ("tree", 600)] {
            let dir = find(&*fs, dir).unwrap();
            for piece in [1, 7, 1000] {
                assert_eq!(list(&*fs, dir, piece).unwrap().len(), count);
            }
            for number in 0..count {
                fs.lookup(dir, Name::new(&format!("name-{number}"))).unwrap();
            }
            for absent in ["name-", ".", ".."] {
                assert_eq!(kind_of(fs.lookup(dir, Name::new(absent))), FsErrorKind::NotFound);
            }
        }
        assert_eq!(kind_of(fs.lookup(file, Name::new("a"))), FsErrorKind::NotADirectory);
        assert!(fs.usage().unwrap().used > 0);
        assert!(fs.findings().is_empty(), "{:?}", fs.findings());
    }
}

/// Where inode `number` lies, in a volume of one group with inodes of 256 bytes.
fn inode_position(number: u64) -> usize {
    usize::try_from(number * 256).unwrap()
}

#[test]
fn bent_bytes_of_version_4_do_no_harm() {
    let Some(image) = volume(VERSION_4) else { return };
    let root = mount(&XfsDriver, image.clone()).unwrap().root();
    let inodes = inode_position(root.0);
    exercise_bent(&XfsDriver, &image, 0..512, 300);
    exercise_bent(&XfsDriver, &image, inodes..inodes + 64 * 256, 300);
    // Blocks of names and indexes.
    let is_tree = |block: &[u8]| {
        block.starts_with(b"XD2") || matches!(block[8..10], [0xD2, _] | [0xFE, 0xBE])
    };
    let blocks = image.chunks(4096).enumerate().filter(|(_, block)| is_tree(block));
    for (index, _) in blocks.take(12) {
        exercise_bent(&XfsDriver, &image, index * 4096..index * 4096 + 4096, 30);
    }
}

#[test]
fn a_directory_with_two_names_is_entered_by_one() {
    let Some(mut image) = volume(VERSION_4) else { return };
    let fs = mount(&XfsDriver, image.clone()).unwrap();
    let (root, block) = (fs.root().0, find(&*fs, "block").unwrap().0);
    let short = find(&*fs, "short").unwrap().0;
    // The root directory lies in its inode; `block` becomes another name of `short`.
    let start = inode_position(root);
    let name = image[start..start + 256].windows(5).position(|bytes| bytes == b"block").unwrap();
    let at = (0..4).find_map(|skip| {
        let at = start + name + 5 + skip;
        let number = u32::from_be_bytes(image[at..at + 4].try_into().unwrap());
        (u64::from(number) == block).then_some(at)
    });
    let at = at.unwrap();
    image[at..at + 4].copy_from_slice(&u32::try_from(short).unwrap().to_be_bytes());
    let fs = mount(&XfsDriver, image).unwrap();
    let error = list(&*fs, fs.root(), 100).unwrap_err();
    assert_eq!(error.kind(), FsErrorKind::Corrupt);
    assert!(fs.findings().iter().any(|finding| finding.code == "xfs-directory-twice"));
    find(&*fs, "short").unwrap();
}

/// The blocks of `image` with `magic` where hash trees have it.
fn hash_blocks(image: &[u8], magic: u16) -> Vec<usize> {
    let blocks = image.chunks(4096).enumerate();
    let found = blocks.filter(|(_, block)| block[8..10] == magic.to_be_bytes());
    found.map(|(index, _)| index * 4096).collect()
}

#[test]
fn a_damaged_index_hides_no_name() {
    for (options, magic, count) in [(VERSION_4, 0xFEBE, 0x0C), (&["-m", "crc=1"], 0x3EBE, 0x38)] {
        let Some(image) = volume(options) else { return };
        let nodes = hash_blocks(&image, magic);
        assert_eq!(nodes.len(), 1);
        let node = nodes[0];
        // No entries, too many, and another hash than that of the leaf below.
        for (at, value) in [(count, 0_u16), (count, 0xFFFF), (count + 4, 1)] {
            let mut bent = image.clone();
            bent[node + at..node + at + 2].copy_from_slice(&value.to_be_bytes());
            super::checksum::store(&mut bent[node..node + 4096], 12).unwrap();
            if magic == 0xFEBE {
                bent[node + 12..node + 16].copy_from_slice(&image[node + 12..node + 16]);
                bent[node + at..node + at + 2].copy_from_slice(&value.to_be_bytes());
            }
            let fs = mount(&XfsDriver, bent).unwrap();
            let dir = find(&*fs, "tree").unwrap();
            for number in [0, 1, 299, 599] {
                fs.lookup(dir, Name::new(&format!("name-{number}"))).unwrap();
            }
        }
    }
}

#[test]
fn names_of_version_4_that_are_not_those_of_their_index_are_told() {
    let Some(image) = volume(VERSION_4) else { return };
    let leaf = hash_blocks(&image, 0xD2FF)[0];
    let one = image.chunks(4096).position(|block| block.starts_with(b"XD2B")).unwrap() * 4096;
    let name = image[one..one + 4096].windows(6).position(|bytes| bytes == b"name-7").unwrap();
    // A name, an entry of its index, an entry of a leaf, and the number of its entries.
    for (at, dir) in [
        (one + name + 5, "block"),
        (one + 4080, "block"),
        (leaf + 0x43, "tree"),
        (leaf + 0x0D, "tree"),
    ] {
        let mut bent = image.clone();
        bent[at] ^= 1;
        let fs = mount(&XfsDriver, bent).unwrap();
        let dir = find(&*fs, dir).unwrap();
        assert!(fs.findings().is_empty());
        let _ = list(&*fs, dir, 1000);
        assert!(
            fs.findings().iter().any(|finding| finding.code == "xfs-directory-index"),
            "{at:#x}"
        );
        fs.lookup(dir, Name::new("name-1")).unwrap();
    }
}

#[test]
fn counts_of_version_4_that_contradict_each_other_are_corrupt() {
    let Some(image) = volume(VERSION_4) else { return };
    let file = find(&*mount(&XfsDriver, image.clone()).unwrap(), "file").unwrap();
    // Blocks, extents, and the blocks of the extent.
    for at in [0x47, 0x4F, 0x64 + 15] {
        let mut bent = image.clone();
        bent[inode_position(file.0) + at] ^= 1;
        let fs = mount(&XfsDriver, bent).unwrap();
        assert_eq!(kind_of(fs.metadata(file)), FsErrorKind::Corrupt, "{at:#x}");
    }
}

#[test]
fn what_is_not_read_is_refused_by_name() {
    let Some(image) = volume(VERSION_4) else { return };
    let mut old = image.clone();
    old[0x64] &= !0x20;
    let error = mount(&XfsDriver, old).err().unwrap();
    assert_eq!(error.kind(), FsErrorKind::Unsupported);
    let fs = mount(&XfsDriver, image.clone()).unwrap();
    let file = find(&*fs, "file").unwrap();
    // The flag of files on the realtime device.
    let mut elsewhere = image.clone();
    elsewhere[inode_position(file.0) + 0x5B] |= 1;
    let fs = mount(&XfsDriver, elsewhere).unwrap();
    assert_eq!(fs.metadata(file).unwrap().unreadable, Some(FsErrorKind::MissingPart));
    assert_eq!(kind_of(fs.open(file, &StreamName::MAIN)), FsErrorKind::MissingPart);
    // A log on another device.
    let mut external = image;
    external[0x30..0x38].fill(0);
    let fs = mount(&XfsDriver, external).unwrap();
    assert!(fs.findings().iter().any(|finding| finding.code == "xfs-log-not-replayed"));
    let _: &dyn FileSystem = &*fs;
}
