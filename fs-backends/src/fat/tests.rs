//! Volumes made by mkfs.fat and mtools, as they are and with one field bent.

use std::collections::BTreeMap;

use super::boot::{Boot, Root};
use super::*;
use crate::deleted::DeletedTree;
use crate::error::{FsErrorKind, Reason};
use crate::node::{DirCursor, FileKind, FileSystem, NodeId, StreamName};
use crate::testing::{Scratch, exercise_bent, find, kind_of, list, mount, noise, read, tree};

/// The files of every volume here.
fn files() -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    for (name, length) in [
        ("A long name with \u{fc}ml\u{e4}uts.text", 5000),
        ("SHORT.TXT", 100),
        ("empty", 0),
        ("dir/Sub folder/deep file.bin", 70_001),
        ("dir/x", 4096),
    ] {
        files.insert(name.to_owned(), noise(length, length as u64));
    }
    for number in 0..60 {
        let name = format!("dir/many/File number {number:03}.data");
        files.insert(name, noise(number * 37, number as u64));
    }
    files
}

/// A volume of `kilobytes` with [`files`] in it.
fn volume(kilobytes: u64, options: &[&str]) -> Option<Vec<u8>> {
    let scratch = Scratch::new("fat");
    for (name, bytes) in files() {
        scratch.write(&format!("tree/{name}"), &bytes);
    }
    scratch.blank(kilobytes * 1024);
    let mut arguments = vec!["-n", "A LABEL", "-i", "1234ABCD"];
    arguments.extend(options);
    arguments.push("image");
    let tops = ["tree/A long name with \u{fc}ml\u{e4}uts.text", "tree/SHORT.TXT"];
    let made = scratch.run("mkfs.fat", &arguments)
        && scratch.run("mcopy", &["-i", "image", "-s", "-Q", "tree/dir", "::/"])
        && scratch.run("mcopy", &["-i", "image", tops[0], tops[1], "tree/empty", "::/"]);
    made.then(|| scratch.image())
}

fn fat12() -> Option<Vec<u8>> {
    volume(1440, &["-F", "12"])
}

/// Sets the entry of `cluster` in both tables of a FAT16 volume.
fn link(image: &mut [u8], cluster: u32, to: u16) {
    let boot = Boot::parse(image).unwrap();
    for table in 0..2 {
        let at = boot.table + boot.table_size * table + u64::from(cluster) * 2;
        let at = usize::try_from(at).unwrap();
        image[at..at + 2].copy_from_slice(&to.to_le_bytes());
    }
}

/// A FAT16 volume and the first cluster of its file of 70,001 bytes.
fn fat16() -> Option<(Vec<u8>, u32)> {
    let image = volume(20_000, &["-F", "16", "-s", "2"])?;
    let reader = VolumeReader::uncached(Arc::new(volfold_block::MemoryDevice::new(&image[..])));
    let fs = FatFileSystem::mount(reader, ReadOptions::default()).unwrap();
    let node = find(&fs, DEEP).unwrap();
    let first = fs.entry(node).unwrap().first_cluster(false);
    Some((image, first))
}

const DEEP: &str = "dir/Sub folder/deep file.bin";

#[test]
fn volumes_of_every_width_read_back() {
    let cases: [(u64, &[&str], &str); 8] = [
        (1440, &["-F", "12"], "fat12"),
        (20_000, &["-F", "16"], "fat16"),
        (80_000, &["-F", "32", "-s", "1"], "fat32"),
        (40_000, &["-F", "16", "-S", "4096", "-s", "1"], "fat16"),
        (4000, &["-F", "12", "-S", "2048", "-s", "1"], "fat12"),
        (20_000, &["-F", "16", "-S", "1024", "-s", "2"], "fat16"),
        (160_000, &["-F", "32", "-S", "2048", "-s", "1"], "fat32"),
        (270_000, &["-F", "32", "-S", "4096", "-s", "1"], "fat32"),
    ];
    for (kilobytes, options, kind) in cases {
        let Some(image) = volume(kilobytes, options) else {
            return;
        };
        let fs = mount(&FatDriver, image).unwrap();
        let info = fs.info();
        assert_eq!(info.kind, kind);
        assert_eq!(info.label.as_deref(), Some("A LABEL"));
        assert_eq!(info.uuid.as_deref(), Some("1234-ABCD"));
        assert!(info.findings.is_empty(), "{:?}", info.findings);
        assert!(tree(&*fs) == files(), "{kind} {options:?}");
        assert!((100_000..600_000).contains(&fs.usage().unwrap().used));
        assert!(fs.findings().is_empty() && checked(&*fs).is_empty());
    }
}

#[test]
fn names_are_found_in_any_case_and_by_their_short_form() {
    let Some(image) = fat12() else { return };
    let fs = mount(&FatDriver, image).unwrap();
    let deep = find(&*fs, DEEP).unwrap();
    assert_eq!(find(&*fs, "DIR/sub FOLDER/DEEP file.BIN").unwrap(), deep);
    assert_eq!(find(&*fs, "DIR/SUBFOL~1/DEEPFI~1.BIN").unwrap(), deep);
    assert_eq!(kind_of(find(&*fs, "none")), FsErrorKind::NotFound);
    assert_eq!(kind_of(find(&*fs, "SHORT.TXT/x")), FsErrorKind::NotADirectory);
    assert_eq!(kind_of(fs.read_link(deep)), FsErrorKind::NotALink);
    assert_eq!(kind_of(fs.metadata(NodeId(0))), FsErrorKind::NotFound);
    assert_eq!(kind_of(fs.metadata(NodeId(1 << 47))), FsErrorKind::NotFound);
    let dir = find(&*fs, "dir").unwrap();
    assert_eq!(kind_of(fs.open(dir, &StreamName::MAIN)), FsErrorKind::IsADirectory);
    assert_eq!(list(&*fs, find(&*fs, "dir/many").unwrap(), 7).unwrap().len(), 60);
}

#[test]
fn a_file_is_read_up_to_where_its_chain_ends() {
    let Some((image, first)) = fat16() else {
        return;
    };
    // The file has 69 clusters of 1024 bytes, one after the other.
    for (cluster, to, whole) in [
        (first + 10, 0xFFFF, 11),
        (first + 10, 0, 11),
        (first + 10, 0xFFF7, 11),
        (first + 10, 0xFFF0, 11),
        (first + 10, first as u16, 11),
        (first + 67, first as u16 + 3, 68),
        (first, first as u16, 1),
    ] {
        let mut image = image.clone();
        link(&mut image, cluster, to);
        let fs = mount(&FatDriver, image).unwrap();
        let file = fs.open(find(&*fs, DEEP).unwrap(), &StreamName::MAIN).unwrap();
        let mut bytes = vec![0; whole * 1024];
        assert_eq!(file.read_at(0, &mut bytes).unwrap(), bytes.len());
        assert!(bytes == files()[DEEP][..bytes.len()], "{cluster} {to}");
        assert_eq!(file.size(), 70_001);
        assert_eq!(kind_of(file.read_at(bytes.len() as u64, &mut [0])), FsErrorKind::Corrupt);
        assert_eq!(codes(&*fs), ["fat-chain-short"], "{cluster} {to}");
        assert_eq!(read(&*fs, "SHORT.TXT").unwrap().len(), 100);
        assert_eq!(checked(&*fs)[0], "fat-chain-short");
    }
}

/// The codes of what was noticed up to now.
fn codes(fs: &dyn FileSystem) -> Vec<&'static str> {
    fs.findings().iter().map(|finding| finding.code.as_str()).collect()
}

/// The codes of what `check` reports.
fn checked(fs: &dyn FileSystem) -> Vec<&'static str> {
    let mut codes = Vec::new();
    fs.check(&mut |finding| codes.push(finding.code.as_str())).unwrap();
    codes
}

/// Sets the entry of `cluster` in one table of a FAT16 volume.
fn link_in(image: &mut [u8], table: u64, cluster: u32, to: u16) {
    let boot = Boot::parse(image).unwrap();
    let at = boot.table + boot.table_size * table + u64::from(cluster) * 2;
    let at = usize::try_from(at).unwrap();
    image[at..at + 2].copy_from_slice(&to.to_le_bytes());
}

#[test]
fn where_one_table_cannot_be_right_the_other_is_read() {
    let Some((image, first)) = fat16() else { return };
    for (table, entry) in [(0, 0), (1, 0), (0, 0xFFF7), (1, 0xFFF0), (0, first as u16 + 10)] {
        let mut image = image.clone();
        link_in(&mut image, table, first + 10, entry);
        let fs = mount(&FatDriver, image).unwrap();
        assert!(read(&*fs, DEEP).unwrap() == files()[DEEP], "{table} {entry}");
        assert_eq!(codes(&*fs), ["fat-tables-differ"]);
        assert_eq!(checked(&*fs)[0], "fat-tables-differ");
    }
    // Where both may be, the bytes from there on are refused.
    for (table, entry) in [(0, 0xFFFF), (1, 0xFFFF), (0, first as u16 + 30)] {
        let mut image = image.clone();
        link_in(&mut image, table, first + 10, entry);
        let fs = mount(&FatDriver, image).unwrap();
        let file = fs.open(find(&*fs, DEEP).unwrap(), &StreamName::MAIN).unwrap();
        assert_eq!(file.read_at(0, &mut [0; 11 * 1024]).unwrap(), 11 * 1024);
        assert_eq!(kind_of(file.read_at(11 * 1024, &mut [0])), FsErrorKind::Corrupt);
        assert_eq!(codes(&*fs), ["fat-tables-differ", "fat-chain-short"]);
    }
}

#[test]
fn clusters_in_two_chains_are_given_once() {
    let Some((mut image, first)) = fat16() else { return };
    let reader = VolumeReader::uncached(Arc::new(volfold_block::MemoryDevice::new(&image[..])));
    let fs = FatFileSystem::mount(reader, ReadOptions::default()).unwrap();
    let other = "A long name with \u{fc}ml\u{e4}uts.text";
    let entry = fs.entry(find(&fs, other).unwrap()).unwrap();
    // The other file has 5 clusters; the third leads into the middle of the first.
    link(&mut image, entry.first_cluster(false) + 2, first as u16 + 20);
    let fs = mount(&FatDriver, image.as_slice()).unwrap();
    assert!(read(&*fs, DEEP).unwrap() == files()[DEEP]);
    for _ in 0..2 {
        let file = fs.open(find(&*fs, other).unwrap(), &StreamName::MAIN).unwrap();
        assert_eq!(file.read_at(0, &mut [0; 3 * 1024]).unwrap(), 3 * 1024);
        assert_eq!(kind_of(file.read_at(3 * 1024, &mut [0])), FsErrorKind::Corrupt);
        assert!(read(&*fs, DEEP).unwrap() == files()[DEEP]);
    }
    assert_eq!(codes(&*fs), ["fat-chain-long", "fat-cross-link"]);
    assert!(checked(&*fs).contains(&"fat-cross-link"));
    let fsck = Scratch::new("fat-fsck");
    fsck.write("image", &image);
    // The tool ends with 1 where it would mend something.
    let said = std::process::Command::new("/usr/sbin/fsck.fat")
        .args(["-n", "image"])
        .current_dir(&fsck.0)
        .output();
    if let Ok(said) = said {
        assert!(String::from_utf8_lossy(&said.stdout).contains("share clusters"));
    }
}

#[test]
fn a_file_without_bytes_that_has_clusters_is_a_finding() {
    let Some((mut image, _)) = fat16() else { return };
    let at = position_of(&image, "SHORT.TXT");
    image[at + 0x1C..at + 0x20].fill(0);
    let fs = mount(&FatDriver, image).unwrap();
    assert_eq!(read(&*fs, "SHORT.TXT").unwrap(), b"");
    assert_eq!(codes(&*fs), ["fat-chain-long"]);
    assert_eq!(checked(&*fs), ["fat-chain-long", "fat-lost-clusters"]);
}

/// Where the short entry of `path` is.
fn position_of(image: &[u8], path: &str) -> usize {
    let reader = VolumeReader::uncached(Arc::new(volfold_block::MemoryDevice::new(image)));
    let fs = FatFileSystem::mount(reader, ReadOptions::default()).unwrap();
    usize::try_from(find(&fs, path).unwrap().0 * 32).unwrap()
}

/// Where the first cluster of `path` is.
fn content_of(image: &[u8], path: &str) -> usize {
    let reader = VolumeReader::uncached(Arc::new(volfold_block::MemoryDevice::new(image)));
    let fs = FatFileSystem::mount(reader, ReadOptions::default()).unwrap();
    let entry = fs.entry(find(&fs, path).unwrap()).unwrap();
    let first = entry.first_cluster(fs.is_fat32());
    usize::try_from(fs.boot.heap().position(first).unwrap()).unwrap()
}

#[test]
fn a_directory_that_is_not_its_own_is_refused() {
    let Some((image, _)) = fat16() else { return };
    let many = content_of(&image, "dir/many");
    // The entry for itself: another cluster, another name, none at all.
    for (at, value) in [(0x1A, 0xEE), (0, b'X'), (0, 0), (0x0B, 0x20)] {
        let mut image = image.clone();
        image[many + at] = value;
        let fs = mount(&FatDriver, image).unwrap();
        let node = find(&*fs, "dir/many").unwrap();
        assert_eq!(kind_of(list(&*fs, node, 9)), FsErrorKind::Corrupt, "{at}");
        assert!(codes(&*fs).iter().all(|code| *code == "fat-directory"));
        assert_eq!(read(&*fs, "SHORT.TXT").unwrap().len(), 100);
    }
    // Its entry leads to another directory, by name that of another parent.
    let mut other = image.clone();
    let (from, to) = (position_of(&image, "dir/many"), position_of(&image, "dir"));
    other.copy_within(to + 0x1A..to + 0x1C, from + 0x1A);
    let fs = mount(&FatDriver, other).unwrap();
    let node = find(&*fs, "dir/many").unwrap();
    assert_eq!(kind_of(list(&*fs, node, 9)), FsErrorKind::Corrupt);
    assert_eq!(codes(&*fs), ["fat-cross-link"]);
    // An entry `..` that leads nowhere says nothing against the names.
    let mut image = image;
    image[many + 32 + 0x1A..many + 32 + 0x1C].fill(0xEE);
    let fs = mount(&FatDriver, image).unwrap();
    let node = find(&*fs, "dir/many").unwrap();
    assert_eq!(list(&*fs, node, 9).unwrap().len(), 60);
    assert_eq!(codes(&*fs), ["fat-directory"]);
    assert_eq!(checked(&*fs), ["fat-directory"]);
}

#[test]
fn of_two_names_for_a_directory_that_counts_which_it_names_itself() {
    let Some((image, _)) = fat16() else { return };
    let at = |path: &str| position_of(&image, path);
    let (file, many) = (at("SHORT.TXT"), at("dir/many"));
    let mut two = image.clone();
    two[file + 0x0B] = 0x10;
    two.copy_within(many + 0x1A..many + 0x1C, file + 0x1A);
    for is_wrong_one_first in [true, false] {
        let fs = mount(&FatDriver, two.clone()).unwrap();
        let wrong = find(&*fs, "SHORT.TXT").unwrap();
        for _ in 0..2 {
            if is_wrong_one_first {
                assert_eq!(kind_of(list(&*fs, wrong, 9)), FsErrorKind::Corrupt);
            }
            assert_eq!(list(&*fs, find(&*fs, "dir/many").unwrap(), 9).unwrap().len(), 60);
            assert_eq!(kind_of(list(&*fs, wrong, 9)), FsErrorKind::Corrupt);
        }
        assert!(!codes(&*fs).is_empty());
    }
    // An entry `..` that leads to the directory itself names no other.
    let mut image = image.clone();
    let dots = content_of(&image, "dir/many") + 32 + 0x1A;
    image.copy_within(many + 0x1A..many + 0x1C, dots);
    let fs = mount(&FatDriver, image).unwrap();
    assert_eq!(list(&*fs, find(&*fs, "dir/many").unwrap(), 9).unwrap().len(), 60);
    assert_eq!(codes(&*fs), ["fat-directory"]);
}

#[test]
fn directories_that_share_their_clusters_end_a_walk() {
    let Some((mut image, _)) = fat16() else { return };
    // Twelve directories below each other; each of them is named by all 14 entries of the one above.
    let boot = Boot::parse(&image).unwrap();
    let first = boot.clusters - 20;
    let place = |cluster: u32| usize::try_from(boot.heap().position(cluster).unwrap()).unwrap();
    for level in first..first + 12 {
        link(&mut image, level, 0xFFFF);
        let above = if level == first { 0 } else { level - 1 };
        let mut directory = Vec::new();
        for index in 0..16 {
            let (name, to) = match index {
                0 => (".          ".to_owned(), level),
                1 => ("..         ".to_owned(), above),
                _ => (format!("D{index:02}        "), level + 1),
            };
            let mut entry = [0; 32];
            entry[..11].copy_from_slice(name.as_bytes());
            entry[0x0B] = 0x10;
            entry[0x1A..0x1C].copy_from_slice(&u16::try_from(to).unwrap().to_le_bytes());
            directory.extend(entry);
        }
        directory.resize(boot.cluster_size as usize, 0);
        image[place(level)..place(level) + directory.len()].copy_from_slice(&directory);
    }
    let at = position_of(&image, "dir");
    image[at + 0x1A..at + 0x1C].copy_from_slice(&u16::try_from(first).unwrap().to_le_bytes());
    let fs = mount(&FatDriver, image).unwrap();
    let (mut open, mut names, mut refused) = (vec![fs.root()], 0, 0);
    while let Some(dir) = open.pop() {
        match list(&*fs, dir, 1000) {
            Ok(listed) => {
                names += listed.len();
                let below = listed.iter().map(|(_, node, _)| *node);
                open.extend(
                    below.filter(|node| fs.metadata(*node).unwrap().kind == FileKind::Directory),
                );
            }
            Err(_) => refused += 1,
        }
        assert!(names < 1000);
    }
    // The last level leads to a cluster that is no directory.
    assert_eq!(refused, 11 * 13 + 14);
    assert!(codes(&*fs).contains(&"fat-cross-link"));
    assert!(checked(&*fs).contains(&"fat-cross-link"));
}

/// A FAT32 volume with one more directory of `count` files without bytes in `BIG`.
fn with_directory_of(count: u32) -> Option<Vec<u8>> {
    let mut image = volume(80_000, &["-F", "32", "-s", "1"])?;
    let boot = Boot::parse(&image).unwrap();
    let clusters = ((count + 2) * 32).div_ceil(boot.cluster_size);
    let first = boot.clusters + 2 - clusters;
    for cluster in first..first + clusters {
        let next = if cluster + 1 == first + clusters { 0x0FFF_FFFF } else { cluster + 1 };
        for table in 0..2 {
            let at = boot.table + boot.table_size * table + u64::from(cluster) * 4;
            let at = usize::try_from(at).unwrap();
            image[at..at + 4].copy_from_slice(&next.to_le_bytes());
        }
    }
    let entry = |name: &str, attributes: u8, to: u32| {
        let mut entry = [0; 32];
        entry[..11].copy_from_slice(name.as_bytes());
        entry[0x0B] = attributes;
        entry[0x14..0x16].copy_from_slice(&to.to_le_bytes()[2..]);
        entry[0x1A..0x1C].copy_from_slice(&to.to_le_bytes()[..2]);
        entry
    };
    let mut directory = entry(".          ", 0x10, first).to_vec();
    directory.extend(entry("..         ", 0x10, 0));
    for number in 0..count {
        directory.extend(entry(&format!("F{number:07}TXT"), 0x20, 0));
    }
    let start = usize::try_from(boot.heap().position(first).unwrap()).unwrap();
    image[start..start + directory.len()].copy_from_slice(&directory);
    let at = position_of(&image, "SHORT.TXT");
    image[at..at + 32].copy_from_slice(&entry("BIG        ", 0x10, first));
    Some(image)
}

#[test]
fn a_directory_is_read_to_its_end_or_refused_aloud() {
    let Some(image) = with_directory_of(70_000) else { return };
    let fs = mount(&FatDriver, image).unwrap();
    let names = list(&*fs, find(&*fs, "BIG").unwrap(), 30_000).unwrap();
    assert_eq!(names.len(), 70_000);
    assert_eq!(names[69_999].0, b"F0069999.TXT");
    assert_eq!(find(&*fs, "big/f0069999.txt").unwrap(), names[69_999].1);
    assert!(codes(&*fs).is_empty());
    let Some(image) = with_directory_of(530_000) else { return };
    let fs = mount(&FatDriver, image).unwrap();
    let big = find(&*fs, "BIG").unwrap();
    assert_eq!(kind_of(list(&*fs, big, 600_000)), FsErrorKind::Corrupt);
    assert_eq!(codes(&*fs), ["fat-chain-short"]);
}

#[test]
fn the_copy_of_the_boot_sector_is_used() {
    let Some(image) = volume(80_000, &["-F", "32", "-s", "1"]) else { return };
    let probe = |image: &[u8]| FatDriver.probe(&volfold_block::MemoryDevice::new(image)).unwrap();
    for garbage in [vec![0; 512], noise(512, 5)] {
        let mut image = image.clone();
        image[..512].copy_from_slice(&garbage);
        image[510..512].fill(0);
        assert_eq!(probe(&image), Confidence::Likely);
        let fs = mount(&FatDriver, image.as_slice()).unwrap();
        assert_eq!(codes(&*fs), ["fat-backup-boot"]);
        assert!(tree(&*fs) == files());
        // What lies beside a physical volume of LVM is a leftover.
        let mut lvm = image.clone();
        lvm[512..520].copy_from_slice(b"LABELONE");
        assert_eq!(probe(&lvm), Confidence::No);
        image[6 * 512 + 0x0D] = 64;
        assert_eq!(probe(&image), Confidence::No, "the copy does not fit its table");
    }
    let mut table = image.clone();
    table[..510].fill(0);
    assert_eq!(probe(&table), Confidence::No, "a partition table");
}

#[test]
fn a_boot_sector_that_contradicts_its_copy_is_a_finding() {
    let Some(image) = volume(80_000, &["-F", "32", "-s", "1"]) else { return };
    // The table does not fit clusters of that size; the copy is right.
    let mut large = image.clone();
    large[0x0D] = 16;
    let fs = mount(&FatDriver, large).unwrap();
    assert_eq!(codes(&*fs), ["fat-boot-copies-differ"]);
    assert!(tree(&*fs) == files());
    // The copy is wrong.
    let mut image = image;
    image[6 * 512 + 0x0D] = 16;
    let fs = mount(&FatDriver, image).unwrap();
    assert_eq!(codes(&*fs), ["fat-boot-copies-differ"]);
    assert!(tree(&*fs) == files());
}

#[test]
fn a_volume_without_the_usual_jump_is_known_by_its_numbers() {
    let Some(mut image) = fat12() else { return };
    image[0] = 0x60;
    image[0x36..0x3E].fill(0);
    image[510..512].fill(0);
    let probe = |image: &[u8]| FatDriver.probe(&volfold_block::MemoryDevice::new(image)).unwrap();
    assert_eq!(probe(&image), Confidence::Likely);
    assert!(tree(&*mount(&FatDriver, image.as_slice()).unwrap()) == files());
    for (at, value) in [(512, 0), (0x14, 0xFF), (0x16, 200), (0x0D, 3)] {
        let mut image = image.clone();
        image[at] = value;
        assert_eq!(probe(&image), Confidence::No, "{at}");
    }
}

#[test]
fn a_table_in_a_bad_place_is_read_from_its_copy() {
    let Some((image, _)) = fat16() else { return };
    let boot = Boot::parse(&image).unwrap();
    let bad = boot.table..boot.table + 4096;
    let device = BadDevice { bytes: image, bad };
    let fs =
        FatDriver.mount(VolumeReader::uncached(Arc::new(device)), ReadOptions::default()).unwrap();
    assert!(read(&*fs, DEEP).unwrap() == files()[DEEP]);
    assert!(codes(&*fs).contains(&"fat-table-copy"));
}

/// A volume that cannot be read at `bad`.
struct BadDevice {
    bytes: Vec<u8>,
    bad: std::ops::Range<u64>,
}

impl BlockDevice for BadDevice {
    fn size(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> volfold_block::BlockResult<()> {
        if offset < self.bad.end && offset + buf.len() as u64 > self.bad.start {
            return Err(volfold_block::BlockError::corrupt("bad place", offset, 0));
        }
        let start = usize::try_from(offset).unwrap();
        buf.copy_from_slice(&self.bytes[start..start + buf.len()]);
        Ok(())
    }
}

#[test]
fn a_chain_in_pieces_or_longer_than_the_file_reads_right() {
    let Some((mut image, first)) = fat16() else {
        return;
    };
    // Cluster 20 of the file goes to the end of the volume, and its chain goes on after the file.
    let boot = Boot::parse(&image).unwrap();
    let spare = boot.clusters + 1;
    let place = |cluster: u32| {
        let offset = u64::from(cluster - 2) * u64::from(boot.cluster_size);
        usize::try_from(boot.data + offset).unwrap()
    };
    let moved = place(first + 20);
    image.copy_within(moved..moved + 1024, place(spare));
    image[moved..moved + 1024].fill(0xEE);
    link(&mut image, first + 19, u16::try_from(spare).unwrap());
    link(&mut image, spare, u16::try_from(first + 21).unwrap());
    link(&mut image, first + 68, u16::try_from(spare - 1).unwrap());
    let fs = mount(&FatDriver, image).unwrap();
    assert!(read(&*fs, DEEP).unwrap() == files()[DEEP]);
    assert_eq!(codes(&*fs), ["fat-chain-long"]);
}

#[test]
fn a_directory_with_a_loop_harms_only_itself() {
    let Some((mut image, _)) = fat16() else {
        return;
    };
    let reader = VolumeReader::uncached(Arc::new(volfold_block::MemoryDevice::new(&image[..])));
    let fs = FatFileSystem::mount(reader, ReadOptions::default()).unwrap();
    let many = fs.entry(find(&fs, "dir/many").unwrap()).unwrap();
    let first = many.first_cluster(false);
    link(&mut image, first, first as u16);
    let fs = mount(&FatDriver, image).unwrap();
    let node = find(&*fs, "dir/many").unwrap();
    let (mut names, mut last) = (0, DirCursor::START);
    let result = fs.read_dir(node, DirCursor::START, &mut |entry| {
        (names, last) = (names + 1, entry.next);
        ControlFlow::Continue(())
    });
    assert_eq!(kind_of(result), FsErrorKind::Corrupt);
    assert!(names > 0);
    // Who goes on after the last name meets it again.
    let result = fs.read_dir(node, last, &mut |_| panic!("a name after the last"));
    assert_eq!(kind_of(result), FsErrorKind::Corrupt);
    assert_eq!(read(&*fs, "SHORT.TXT").unwrap().len(), 100);
}

#[test]
fn a_volume_cut_short_is_a_finding_and_no_zeros() {
    let Some((image, first)) = fat16() else {
        return;
    };
    let boot = Boot::parse(&image).unwrap();
    let cut = usize::try_from(boot.data).unwrap() + (first as usize + 30) * 1024;
    let fs = mount(&FatDriver, &image[..cut]).unwrap();
    assert!(fs.info().findings[0].code == "fat-truncated");
    assert_eq!(kind_of(read(&*fs, DEEP)), FsErrorKind::Corrupt);
}

#[test]
fn a_dirty_volume_is_a_finding() {
    let Some((mut image, _)) = fat16() else {
        return;
    };
    link(&mut image, 1, 0x7FFF);
    let fs = mount(&FatDriver, image).unwrap();
    assert!(fs.info().findings[0].code == "fat-dirty");
}

#[test]
fn probe_tells_fat_from_what_looks_like_it() {
    let probe = |bytes: &[u8]| {
        let device = volfold_block::MemoryDevice::new(bytes);
        FatDriver.probe(&device).unwrap()
    };
    let mut mbr = vec![0; 1024];
    mbr[0] = 0xEB;
    mbr[510..512].copy_from_slice(&[0x55, 0xAA]);
    assert_eq!(probe(&mbr), Confidence::No);
    assert_eq!(probe(&mbr[..100]), Confidence::No);
    let Some(mut image) = fat12() else { return };
    assert_eq!(probe(&image), Confidence::Certain);
    image[0x36..0x3E].fill(b' ');
    assert_eq!(probe(&image), Confidence::Likely);
}

#[test]
fn bent_volumes_never_panic_or_hang() {
    let Some((image, _)) = fat16() else { return };
    let boot = Boot::parse(&image).unwrap();
    let (table, data) = (boot.table as usize, boot.data as usize);
    exercise_bent(&FatDriver, &image, 0..64, 60);
    exercise_bent(&FatDriver, &image, table..table + 512, 60);
    exercise_bent(&FatDriver, &image, data - 16384..data - 16000, 60);
    exercise_bent(&FatDriver, &image, data..data + 4096, 60);
}

/// What is left of the files of `image` after mtools deleted `paths`.
fn deleted(kilobytes: u64, options: &[&str], paths: &[&str]) -> Option<(Vec<u8>, DeletedTree)> {
    let scratch = Scratch::new("fat");
    scratch.write("image", &volume(kilobytes, options)?);
    let paths: Vec<String> = paths.iter().map(|path| format!("::{path}")).collect();
    let mut arguments = vec!["-i", "image"];
    arguments.extend(paths.iter().map(String::as_str));
    scratch.run("mdel", &arguments).then_some(())?;
    let image = scratch.image();
    let fs = mount(&FatDriver, image.clone()).unwrap();
    Some((image, DeletedTree::new(fs).unwrap()))
}

#[test]
fn deleted_files_have_their_bytes_where_their_place_is_known() {
    let long = "A long name with \u{fc}ml\u{e4}uts.text";
    let gone = [long, "SHORT.TXT", DEEP];
    let small: [(u64, &[&str]); 2] = [(1440, &["-F", "12"]), (66_068, &["-F", "32", "-s", "2"])];
    for (kilobytes, options) in small {
        let Some((_, tree)) = deleted(kilobytes, options, &gone) else { return };
        for (path, was) in [(long, long), ("_HORT.TXT", "SHORT.TXT"), (DEEP, DEEP)] {
            assert_eq!(read(&tree, path).unwrap(), files()[was], "{path} of {kilobytes} KiB");
        }
    }
    // The upper half of the first cluster may be lost, of which 0 is what is left.
    let Some((_, tree)) = deleted(80_000, &["-F", "32", "-s", "1"], &gone) else { return };
    let node = find(&tree, "_HORT.TXT").unwrap();
    let lost = FsErrorKind::Undecodable(Reason::PLACE_LOST);
    assert_eq!(kind_of(read(&tree, "_HORT.TXT")), lost);
    assert_eq!(tree.metadata(node).unwrap().unreadable, Some(lost));
}

#[test]
fn a_deleted_entry_that_makes_no_sense_harms_nothing() {
    let Some((image, _)) = deleted(1440, &["-F", "12"], &["SHORT.TXT"]) else { return };
    let boot = Boot::parse(&image).unwrap();
    let Root::Fixed { position, .. } = boot.root else { panic!("a root of its own") };
    let root = usize::try_from(position).unwrap();
    let entry =
        (0..64).map(|number| root + number * 32).find(|at| image[at + 1..].starts_with(b"HORT"));
    let entry = entry.unwrap();
    for bent in [
        [0xFF; 32],
        [0xE5; 32],
        [0; 32],
        *b"\xE5HORT   TXT\x10\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x02\0\xFF\xFF\xFF\xFF",
    ] {
        for first in 0..32 {
            let mut image = image.clone();
            image[entry + first..entry + 32].copy_from_slice(&bent[first..]);
            image[entry] = 0xE5;
            let fs = mount(&FatDriver, image).unwrap();
            let tree = DeletedTree::new(fs).unwrap();
            for (name, _, metadata) in list(&tree, tree.root(), 7).unwrap() {
                let name = String::from_utf8(name).unwrap();
                if let (Ok(bytes), Some(metadata)) = (read(&tree, &name), metadata) {
                    assert_eq!(bytes.len() as u64, metadata.size);
                }
            }
        }
    }
}

#[test]
fn a_floppy_of_dos_1_is_read_without_a_boot_sector() {
    for (kilobytes, name) in
        [("160", "A.TXT"), ("180", "B.TXT"), ("320", "C.TXT"), ("360", "D.TXT")]
    {
        let scratch = Scratch::new("fat");
        let bytes = noise(30_000, 5);
        scratch.write(name, &bytes);
        let format = ["-i", "image", "-C", "-f", kilobytes, "::"];
        if !scratch.run("mformat", &format) || !scratch.run("mcopy", &["-i", "image", name, "::"]) {
            return;
        }
        let mut image = scratch.image();
        image[..512].fill(0);
        // Of a program that starts the machine, and says nothing of the disk.
        image[..3].copy_from_slice(&[0xEB, 0x2F, 0x14]);
        scratch.write("image", &image);
        assert!(scratch.run("mdir", &["-i", "image", &format!("::{name}")]), "mtools reads it too");
        let fs = mount(&FatDriver, image.clone()).unwrap();
        assert_eq!(read(&*fs, name).unwrap(), bytes);
        assert_eq!(fs.info().kind, "fat12");
        assert_eq!(fs.info().size, image.len() as u64);
        image[512 + 1] = 0;
        assert_eq!(kind_of(mount(&FatDriver, image)), FsErrorKind::Corrupt);
    }
}

#[test]
fn short_names_are_of_the_code_page_that_is_wanted() {
    let Some(mut image) = fat12() else { return };
    let at = image.windows(11).position(|name| name == b"SHORT   TXT").unwrap();
    // What Python's codecs make of the name in each: the file is the same.
    image[at..at + 8].copy_from_slice(b"\x8F\xE0\xA8\xA2\xA5\xE2  ");
    for (number, name) in [
        ("437", "\u{c5}\u{3b1}\u{bf}\u{f3}\u{d1}\u{393}.TXT"),
        ("850", "\u{c5}\u{d3}\u{bf}\u{f3}\u{d1}\u{d4}.TXT"),
        ("866", "\u{41f}\u{440}\u{438}\u{432}\u{435}\u{442}.TXT"),
    ] {
        let options = ReadOptions { code_page: number.parse().unwrap(), ..ReadOptions::default() };
        let device = Arc::new(volfold_block::MemoryDevice::new(&image[..]));
        let fs = FatDriver.mount(VolumeReader::uncached(device), options).unwrap();
        let names = list(&*fs, fs.root(), 7).unwrap();
        assert!(names.iter().any(|(own, ..)| own == name.as_bytes()), "{number}");
        assert_eq!(read(&*fs, name).unwrap(), files()["SHORT.TXT"], "{number}");
        assert_eq!(read(&*fs, &name.to_lowercase()).unwrap(), files()["SHORT.TXT"], "{number}");
    }
}

#[test]
fn the_active_table_is_read_alone() {
    let Some(mut image) = volume(80_000, &["-F", "32", "-s", "1"]) else { return };
    let boot = Boot::parse(&image).unwrap();
    image[0x28] = 0x81;
    let first = usize::try_from(boot.table).unwrap();
    image[first..first + usize::try_from(boot.table_size).unwrap()].fill(0);
    let fs = mount(&FatDriver, image).unwrap();
    assert_eq!(tree(&*fs), files());
}

#[test]
fn a_directory_that_was_moved_is_not_a_deleted_one() {
    let scratch = Scratch::new("fat");
    let Some(image) = fat12() else { return };
    scratch.write("image", &image);
    let moved = scratch.run("mmd", &["-i", "image", "::new"])
        && scratch.run("mmove", &["-i", "image", "::dir", "::new"])
        && scratch.run("mdel", &["-i", "image", "::SHORT.TXT"]);
    assert!(moved);
    let fs = mount(&FatDriver, scratch.image()).unwrap();
    assert!(find(&*fs, "new/dir/x").is_ok());
    let tree = DeletedTree::new(fs).unwrap();
    let names = list(&tree, tree.root(), 7).unwrap();
    let names: Vec<&[u8]> = names.iter().map(|(name, ..)| name.as_slice()).collect();
    assert_eq!(names, [&b"_HORT.TXT"[..], b"_ir"]);
    assert!(list(&tree, find(&tree, "_ir").unwrap(), 7).unwrap().is_empty(), "it is there");
    assert_eq!(read(&tree, "_HORT.TXT").unwrap(), files()["SHORT.TXT"]);
}

#[test]
fn a_name_that_is_not_found_in_a_damaged_directory_may_be_there() {
    let Some((mut image, _)) = fat16() else { return };
    let node = |image: &[u8], path| {
        let reader = VolumeReader::uncached(Arc::new(volfold_block::MemoryDevice::new(image)));
        let fs = FatFileSystem::mount(reader, ReadOptions::default()).unwrap();
        fs.entry(find(&fs, path).unwrap()).unwrap().first_cluster(false)
    };
    let first = node(&image, "dir/many");
    link(&mut image, first, 0);
    let fs = mount(&FatDriver, image).unwrap();
    let names = (0..60).map(|number| format!("dir/many/File number {number:03}.data"));
    let (found, lost): (Vec<_>, Vec<_>) =
        names.map(|name| find(&*fs, &name)).partition(Result::is_ok);
    assert!(found.len() > 3 && lost.len() > 40, "{} found", found.len());
    assert!(lost.into_iter().all(|lost| kind_of(lost) == FsErrorKind::Corrupt));
}
