//! Volumes of mke2fs that say one thing twice, and differently.

use std::collections::BTreeMap;
use std::fs;
use std::ops::ControlFlow;

use volfold_block::{Finding, MemoryDevice};

use super::tests::{Scratch, content, mount};
use super::*;
use crate::error::FsErrorKind;
use crate::node::{DirCursor, FileKind, NodeId, StreamName};
use crate::registry::detect;
use crate::testing;

type Files = BTreeMap<String, Vec<u8>>;

fn plant(scratch: &Scratch) {
    let tree = scratch.tree();
    fs::create_dir_all(tree.join("dir/below")).unwrap();
    fs::write(tree.join("dir/below/file"), testing::noise(150_000, 3)).unwrap();
    fs::write(tree.join("other"), testing::noise(5000, 5)).unwrap();
    fs::hard_link(tree.join("other"), tree.join("dir/same")).unwrap();
    for number in 10..400 {
        fs::write(tree.join(format!("dir/name {number}")), format!("{number}")).unwrap();
    }
}

/// A volume with some files; `None` without mke2fs.
fn volume(scratch: &Scratch, size: &str, options: &str) -> Option<Vec<u8>> {
    if !scratch.tree().join("dir").exists() {
        plant(scratch);
    }
    let words: Vec<&str> = options.split(' ').collect();
    scratch.volume(size, &words)
}

fn codes(fs: &dyn FileSystem) -> Vec<&'static str> {
    fs.findings().iter().map(|finding| finding.code.as_str()).collect()
}

/// What a comparison of the whole volume reports.
fn checked(image: &[u8]) -> Vec<Finding> {
    let fs = mount(image.to_vec()).unwrap();
    let mut findings = Vec::new();
    fs.check(&mut |finding| findings.push(finding)).unwrap();
    findings
}

#[test]
fn what_was_not_taken_in_is_not_called_lost() {
    let scratch = Scratch::new();
    for layout in ["-t ext4 -b 1024", "-t ext2 -b 1024"] {
        let Some(image) = volume(&scratch, "24M", layout) else {
            return;
        };
        for budget in [0, 100, 600] {
            let mut found = Vec::new();
            let tell = &mut |finding: Finding| found.push(finding.code.as_str());
            check::run_within(budget, &opened(&image), tell).unwrap();
            assert_eq!(found, ["not-compared"], "{layout}, {budget} blocks");
        }
    }
}

fn same(image: &[u8], files: &Files, expected: &[&str]) {
    let fs = mount(image.to_vec()).unwrap();
    let found = testing::tree(&*fs);
    assert_eq!(found.len(), files.len());
    for (name, bytes) in files {
        assert!(found[name] == *bytes, "{name}");
    }
    assert_eq!(codes(&*fs), expected);
}

fn opened(image: &[u8]) -> Volume {
    Volume::read(VolumeReader::uncached(Arc::new(MemoryDevice::new(image)))).unwrap()
}

/// Where the inode `number` lies.
fn inode_at(image: &[u8], number: u64) -> usize {
    let number = u32::try_from(number).unwrap();
    let at = opened(image).read_inode_bytes(number, &mut Vec::new()).unwrap();
    usize::try_from(at).unwrap()
}

fn put(image: &mut [u8], at: usize, bytes: &[u8]) {
    image[at..at + bytes.len()].copy_from_slice(bytes);
}

fn find(image: &[u8], path: &str) -> u64 {
    testing::find(&*mount(image.to_vec()).unwrap(), path).unwrap().0
}

const LAYOUTS: [&str; 9] = [
    "-t ext2 -b 1024",
    "-t ext2 -b 1024 -O ^sparse_super,^resize_inode -g 2048",
    "-t ext2 -b 4096 -g 1024",
    "-t ext3 -b 2048 -g 4096",
    "-t ext4 -b 1024",
    "-t ext4 -b 1024 -O ^metadata_csum,uninit_bg",
    "-t ext4 -b 4096 -g 1024",
    "-t ext4 -b 1024 -O sparse_super2",
    "-t ext4 -b 1024 -O meta_bg,^resize_inode -g 1024",
];

#[test]
fn a_superblock_that_is_gone_is_found_by_its_backup() {
    let scratch = Scratch::new();
    for layout in LAYOUTS {
        let Some(image) = volume(&scratch, "24M", layout) else {
            return;
        };
        let files = testing::tree(&*mount(image.clone()).unwrap());
        for (range, code) in [
            (1024 + 0x38..1024 + 0x3A, "ext4-backup-superblock"),
            (1024..2048, "ext4-superblock-gone"),
        ] {
            let mut bent = image.clone();
            bent[range].fill(0);
            let device = MemoryDevice::new(bent.clone());
            assert_eq!(Ext4Driver.probe(&device).unwrap(), Confidence::No);
            assert_eq!(Ext4Driver.probe_backup(&device).unwrap(), Confidence::Likely, "{layout}");
            assert_eq!(detect(&device).unwrap().unwrap().id(), "ext4");
            same(&bent, &files, &[code]);
        }
    }
}

#[test]
fn a_copy_inside_something_else_is_no_backup() {
    let scratch = Scratch::new();
    let Some(image) = volume(&scratch, "24M", "-t ext4 -b 1024") else {
        return;
    };
    for before in [512, 65536, 1 << 20] {
        let mut outer = vec![0; before];
        outer.extend(&image);
        outer[..before].fill(0x55);
        assert!(detect(&MemoryDevice::new(outer)).unwrap().is_none(), "{before}");
    }
    assert!(detect(&MemoryDevice::new(testing::noise(1 << 20, 7))).unwrap().is_none());
}

#[test]
fn group_descriptors_are_taken_from_their_copies() {
    let scratch = Scratch::new();
    for layout in LAYOUTS {
        let Some(image) = volume(&scratch, "24M", layout) else {
            return;
        };
        let files = testing::tree(&*mount(image.clone()).unwrap());
        let block = if layout.contains("-b 4096") { 4096 } else { 2048 };
        let mut bent = image.clone();
        bent[block..block + 1024].fill(0);
        same(&bent, &files, &["ext4-backup-descriptors"]);
        if layout.contains("ext4") {
            // One descriptor, of a group that has files: its checksum tells.
            let mut bent = image.clone();
            bent[block + 8] ^= 4;
            same(&bent, &files, &["ext4-backup-descriptors"]);
            let fs = mount(bent).unwrap();
            assert!(fs.findings()[0].message.starts_with("1 of "), "{:?}", fs.findings());
        }
    }
}

#[test]
fn nothing_contradicts_itself_on_a_volume_in_order() {
    let scratch = Scratch::new();
    for layout in LAYOUTS.into_iter().chain([
        "-t ext2 -r 0 -b 1024 -O none",
        "-t ext4 -b 4096 -O ^extent,^64bit",
        "-t ext4 -b 4096 -O bigalloc -C 16384",
        "-t ext4 -b 1024 -O bigalloc -C 8192",
        "-t ext4 -b 4096 -O inline_data -I 512",
        "-t ext4 -b 4096 -O mmp,quota,project -I 256",
        "-t ext4 -b 1024 -O ^flex_bg,^resize_inode",
        "-t ext4 -b 4096 -O ^has_journal,ea_inode,large_dir",
    ]) {
        let Some(image) = volume(&scratch, "24M", layout) else {
            return;
        };
        let fs = mount(image.clone()).unwrap();
        testing::tree(&*fs);
        assert!(fs.findings().is_empty(), "{layout}: {:?}", fs.findings());
        let found = checked(&image);
        assert!(found.is_empty(), "{layout}: {found:?}");
    }
}

#[test]
fn the_file_systems_own_blocks_belong_to_no_file() {
    let scratch = Scratch::new();
    for layout in ["-t ext2 -b 1024", "-t ext4 -b 1024 -O ^metadata_csum"] {
        let Some(image) = volume(&scratch, "16M", layout) else {
            return;
        };
        let node = find(&image, "other");
        let at = inode_at(&image, node);
        let has_extents = layout.contains("ext4");
        let groups = opened(&image).groups.inode_table(1).unwrap();
        let bitmap = opened(&image).groups.system.ranges()[0].end - 1;
        for own in [1, 2, 8193, groups, groups + 3, bitmap] {
            let mut bent = image.clone();
            let bytes = u32::try_from(own).unwrap().to_le_bytes();
            put(&mut bent, at + if has_extents { 0x3C } else { 0x28 }, &bytes);
            let fs = mount(bent.clone()).unwrap();
            let file = fs.open(NodeId(node), &StreamName::MAIN).unwrap();
            let error = file.read_at(0, &mut [0; 1024]).unwrap_err();
            assert_eq!(error.kind(), FsErrorKind::Corrupt, "{layout} {own}");
            let found = checked(&bent);
            assert!(found.iter().any(|finding| finding.code == "ext4-block-twice"), "{found:?}");
            // The same for a block of its map.
            if !has_extents {
                let mut bent = image.clone();
                let node = find(&image, "dir/below/file");
                put(&mut bent, inode_at(&image, node) + 0x28 + 48, &bytes);
                let fs = mount(bent).unwrap();
                let file = fs.open(NodeId(node), &StreamName::MAIN).unwrap();
                assert_eq!(file.read_at(0, &mut [0; 1024]).unwrap(), 1024);
                let error = file.read_at(12 * 1024, &mut [0; 1024]).unwrap_err();
                assert_eq!(error.kind(), FsErrorKind::Corrupt);
            }
        }
    }
}

#[test]
fn a_directory_of_one_block_many_times_has_its_names_once() {
    let scratch = Scratch::new();
    let Some(image) = volume(&scratch, "16M", "-t ext2 -b 1024") else {
        return;
    };
    let dir = find(&image, "dir");
    let at = inode_at(&image, dir);
    let names = |image: &[u8]| {
        let fs = mount(image.to_vec()).unwrap();
        let mut names = Vec::new();
        let listed = fs.read_dir(NodeId(dir), DirCursor::START, &mut |entry| {
            names.push(entry.name.as_bytes().to_vec());
            ControlFlow::Continue(())
        });
        (names, listed.err().map(|error| error.kind()))
    };
    let (all, error) = names(&image);
    assert!(error.is_none() && all.len() == 392);
    let mut bent = image.clone();
    let first = image[at + 0x28..at + 0x2C].to_vec();
    for entry in 1..12 {
        put(&mut bent, at + 0x28 + 4 * entry, &first);
    }
    let (mut some, error) = names(&bent);
    assert_eq!(error, Some(FsErrorKind::Corrupt));
    let count = some.len();
    some.sort();
    some.dedup();
    assert!(count == some.len() && count > 10 && count < 392, "{count}");
}

#[test]
fn a_size_that_the_map_cannot_have_is_refused() {
    let scratch = Scratch::new();
    for (layout, largest) in [
        ("-t ext2 -b 1024", (12 + 256 + 65536 + 16_777_216) * 1024_u64),
        ("-t ext4 -b 1024 -O ^metadata_csum", 0xFFFF_FFFF * 1024_u64),
    ] {
        let Some(image) = volume(&scratch, "16M", layout) else {
            return;
        };
        let node = find(&image, "other");
        let at = inode_at(&image, node);
        for (size, good) in [(largest, true), (largest + 1, false), (1 << 50, false)] {
            let mut bent = image.clone();
            put(&mut bent, at + 4, &size.to_le_bytes()[..4]);
            put(&mut bent, at + 0x6C, &size.to_le_bytes()[4..]);
            let fs = mount(bent).unwrap();
            assert_eq!(fs.open(NodeId(node), &StreamName::MAIN).is_ok(), good, "{layout} {size}");
            let unreadable = fs.metadata(NodeId(node)).unwrap().unreadable;
            assert_eq!(unreadable, (!good).then_some(FsErrorKind::Corrupt));
        }
    }
    let options = "-t ext4 -b 1024 -O ^metadata_csum,inline_data -I 256";
    fs::write(scratch.tree().join("tiny"), b"inline").unwrap();
    let Some(mut image) = volume(&scratch, "16M", options) else {
        return;
    };
    let node = find(&image, "tiny");
    let at = inode_at(&image, node);
    image[at + 5] = 1;
    let fs = mount(image).unwrap();
    let error = fs.open(NodeId(node), &StreamName::MAIN).err().unwrap();
    assert_eq!(error.message(), "inline data is shorter than the file");
}

#[test]
fn a_journal_with_nothing_to_replay_is_told() {
    let scratch = Scratch::new();
    let layout = "-t ext4 -b 1024";
    let Some(clean) = volume(&scratch, "16M", layout) else {
        return;
    };
    let files = testing::tree(&*mount(clean.clone()).unwrap());
    fs::write(scratch.tree().join("../block"), [0; 1024]).unwrap();
    let dirty =
        scratch.debugfs("jo -c -v 3\njw -b 16000 block\njc\njo -c -v 3\njw -b 16001 block\njc\n");
    let (first, _) = tests::opened(&clean, NodeId(8));
    let journal = usize::try_from(first).unwrap() * 1024;
    same(&dirty, &files, &["ext4-journal-replayed"]);
    // The descriptor of the first transaction, the first commit, all of both.
    for (range, expected) in [
        (1024..1028, &["ext4-journal-damaged"][..]),
        (1024 * 3..1024 * 3 + 4, &["ext4-journal-damaged"]),
        (1024..1024 * 7, &["ext4-journal-empty"]),
        (0..4, &["ext4-journal-not-replayed"]),
        (0..65536, &["ext4-journal-not-replayed"]),
    ] {
        let mut bent = dirty.clone();
        bent[journal + range.start..journal + range.end].fill(0xEE);
        same(&bent, &files, expected);
    }
    // The superblock keeps what the inode of the journal says.
    let at = inode_at(&clean, 8);
    let mut bent = dirty.clone();
    bent[at + 4] ^= 0x55;
    same(&bent, &files, &["ext4-journal-replayed"]);
    // An empty journal of a volume that was not unmounted.
    scratch.volume("16M", &layout.split(' ').collect::<Vec<_>>());
    same(&scratch.debugfs("feature needs_recovery\n"), &files, &["ext4-journal-empty"]);
}

#[test]
fn a_pointer_that_is_lost_is_told_by_the_count_of_blocks() {
    let scratch = Scratch::new();
    for layout in ["-t ext2 -b 1024", "-t ext4 -b 1024 -O ^metadata_csum"] {
        let Some(image) = volume(&scratch, "16M", layout) else {
            return;
        };
        let node = find(&image, "other");
        let at = inode_at(&image, node);
        let mut bent = image.clone();
        if layout.contains("ext2") {
            put(&mut bent, at + 0x28 + 8, &[0; 4]);
        } else {
            bent[at + 0x28 + 12 + 4] -= 1;
        }
        let fs = mount(bent).unwrap();
        assert_eq!(content(&*fs, NodeId(node)).len(), 5000);
        assert_eq!(codes(&*fs), ["ext4-block-count"], "{layout}");
    }
}

#[test]
fn a_directory_without_its_dots_is_told() {
    let scratch = Scratch::new();
    let Some(mut image) = volume(&scratch, "16M", "-t ext2 -b 1024") else {
        return;
    };
    let below = find(&image, "dir/below");
    let start = usize::try_from(tests::opened(&image, NodeId(below)).0).unwrap() * 1024;
    put(&mut image, start, &[0, 0, 0, 0, 0, 4, 0, 0]);
    let fs = mount(image).unwrap();
    assert!(testing::list(&*fs, NodeId(below), 3).unwrap().is_empty());
    assert_eq!(codes(&*fs), ["ext4-directory-contradiction"]);
}

#[test]
fn a_name_that_does_not_fit_its_inode_is_told() {
    let scratch = Scratch::new();
    let Some(image) = volume(&scratch, "16M", "-t ext2 -b 1024") else {
        return;
    };
    let root = mount(image.clone()).unwrap().root();
    let other = find(&image, "other");
    let at = inode_at(&image, other);
    let list = |image: &[u8]| {
        let fs = mount(image.to_vec()).unwrap();
        let names = testing::list(&*fs, root, 3).unwrap();
        assert!(names.iter().any(|(name, ..)| name == b"other"));
        codes(&*fs)
    };
    assert!(list(&image).is_empty());
    // A character device.
    let mut bent = image.clone();
    bent[at + 1] = 0x21;
    assert_eq!(list(&bent), ["ext4-entry-type"]);
    let mut bent = image.clone();
    put(&mut bent, at + 0x14, &1_700_000_000_u32.to_le_bytes());
    assert_eq!(list(&bent), ["ext4-inode-unused"]);
    assert!(checked(&bent).iter().any(|finding| finding.code == "ext4-inode-unused"));
    let mut bent = image.clone();
    put(&mut bent, at + 0x1A, &[0, 0]);
    assert_eq!(list(&bent), ["ext4-inode-unused"]);
    let fs = mount(bent.clone()).unwrap();
    assert_eq!(fs.metadata(NodeId(other)).unwrap_err().message(), "inode is not in use");
    assert!(checked(&bent).iter().any(|finding| finding.code == "ext4-inode-unused"));
}

#[test]
fn a_directory_with_two_names_is_entered_by_one() {
    let scratch = Scratch::new();
    for link in ["dir/loop", "dir/below/loop", "again", "dir/below/again"] {
        let Some(image) = volume(&scratch, "16M", "-t ext4 -b 1024") else {
            return;
        };
        let target = if link.ends_with("loop") { "/" } else { "dir/below" };
        assert!(find(&image, "dir/below") > 0);
        let image = scratch.debugfs(&format!("link {target} {link}\n"));
        let fs = mount(image.clone()).unwrap();
        let mut walked = 0;
        let mut open = vec![fs.root()];
        let mut errors = 0;
        while let Some(node) = open.pop() {
            walked += 1;
            assert!(walked < 20, "{link}");
            let listed = fs.read_dir(node, DirCursor::START, &mut |entry| {
                if entry.kind == FileKind::Directory {
                    open.push(entry.node);
                }
                ControlFlow::Continue(())
            });
            errors += usize::from(listed.is_err());
        }
        // The wrong name may be met first, and is entered once then.
        let expected = if link == "again" { (5, 0) } else { (4, 1) };
        assert_eq!((walked, errors), expected, "{link}");
        assert!(codes(&*fs).contains(&"ext4-directory-twice"), "{link}");
        assert!(testing::find(&*fs, link).is_err(), "{link}");
        assert!(testing::find(&*fs, "dir/below/file").is_ok());
        assert!(testing::list(&*fs, fs.root(), 2).is_err() == (link == "again"));
        let found = checked(&image);
        assert!(found.iter().any(|finding| finding.code == "ext4-link-count"), "{found:?}");
    }
}

#[test]
fn dots_that_lead_elsewhere_are_told() {
    let scratch = Scratch::new();
    let Some(image) = volume(&scratch, "16M", "-t ext2 -b 1024") else {
        return;
    };
    let (dir, below) = (find(&image, "dir"), find(&image, "dir/below"));
    let start = usize::try_from(tests::opened(&image, NodeId(below)).0).unwrap() * 1024;
    assert_eq!(image[start..start + 4], u32::try_from(below).unwrap().to_le_bytes());
    assert_eq!(image[start + 12..start + 16], u32::try_from(dir).unwrap().to_le_bytes());
    for at in [start, start + 12] {
        let mut bent = image.clone();
        put(&mut bent, at, &11_u32.to_le_bytes());
        let fs = mount(bent.clone()).unwrap();
        let files = testing::tree(&*fs);
        assert_eq!(files["dir/below/file"].len(), 150_000, "nothing is lost");
        assert_eq!(codes(&*fs), ["ext4-directory-contradiction"]);
        let found = checked(&bent);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].code == "ext4-directory-contradiction");
    }
}

#[test]
fn a_whole_comparison_finds_what_e2fsck_finds() {
    let scratch = Scratch::new();
    let layout = "-t ext4 -b 1024 -O ^metadata_csum";
    let Some(image) = volume(&scratch, "16M", layout) else {
        return;
    };
    let found = |bent: &[u8], code: &str| {
        let found = checked(bent);
        assert!(found.iter().any(|finding| finding.code == code), "{code}: {found:?}");
    };
    let (other, file) = (find(&image, "other"), find(&image, "dir/below/file"));
    let (at, from) = (inode_at(&image, other), inode_at(&image, file));
    // The first extent of one file is that of another.
    let mut bent = image.clone();
    let extent = image[from + 0x28 + 12 + 4 + 4..from + 0x28 + 24].to_vec();
    put(&mut bent, at + 0x28 + 12 + 4 + 4, &extent);
    found(&bent, "ext4-block-twice");
    let fs = mount(bent).unwrap();
    assert_eq!(content(&*fs, NodeId(other)).len(), 5000);
    // Three names.
    let mut bent = image.clone();
    bent[at + 0x1A] = 3;
    found(&bent, "ext4-link-count");
    // A bit of each bitmap.
    let volume = opened(&image);
    let mut places = Vec::new();
    groups::visit(&*volume.data(), &volume.superblock, 1, &mut |_, group| {
        places.extend(group.trusted().map(|found| (found.block_bitmap, found.inode_bitmap)));
        Ok(())
    })
    .unwrap();
    let (blocks, inodes) = places[0];
    for place in [blocks, inodes] {
        let start = usize::try_from(place).unwrap() * 1024;
        let mut bent = image.clone();
        bent[start + 2] &= 0xFE;
        found(&bent, "ext4-bitmap");
        let mut bent = image.clone();
        bent[start + if place == blocks { 900 } else { 200 }] |= 1;
        found(&bent, "ext4-space-lost");
    }
    // A backup of the superblock.
    let mut bent = image.clone();
    bent[8193 * 1024 + 0x38] ^= 1;
    found(&bent, "ext4-backup-damaged");
    let Some(summed) = self::volume(&scratch, "16M", "-t ext4 -b 1024") else {
        return;
    };
    let mut bent = summed.clone();
    let at = inode_at(&summed, find(&summed, "other"));
    bent[at + 8] ^= 1;
    found(&bent, "ext4-metadata-damaged");
}
