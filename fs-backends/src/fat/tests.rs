//! Volumes made by mkfs.fat and mtools, as they are and with one field bent.

use std::collections::BTreeMap;

use super::*;
use crate::error::FsErrorKind;
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
    let fs = FatFileSystem::mount(reader).unwrap();
    let node = find(&fs, DEEP).unwrap();
    let first = fs.entry(node).unwrap().first_cluster(false);
    Some((image, first))
}

const DEEP: &str = "dir/Sub folder/deep file.bin";

#[test]
fn volumes_of_every_width_read_back() {
    let cases: [(u64, &[&str], &str); 4] = [
        (1440, &["-F", "12"], "fat12"),
        (20_000, &["-F", "16"], "fat16"),
        (80_000, &["-F", "32", "-s", "1"], "fat32"),
        (40_000, &["-F", "16", "-S", "4096", "-s", "1"], "fat16"),
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
fn a_chain_that_is_too_short_or_has_a_loop_is_corrupt() {
    let Some((image, first)) = fat16() else {
        return;
    };
    // The file has 69 clusters of 1024 bytes, one after the other.
    for (cluster, to, message) in [
        (first + 10, 0xFFFF, "shorter"),
        (first + 10, 0, "shorter"),
        (first + 10, 0xFFF7, "shorter"),
        (first + 10, 0xFFF0, "shorter"),
        (first + 10, first as u16, "loop"),
        (first + 67, first as u16 + 3, "loop"),
        (first, first as u16, "loop"),
    ] {
        let mut image = image.clone();
        link(&mut image, cluster, to);
        let fs = mount(&FatDriver, image).unwrap();
        let error = fs.open(find(&*fs, DEEP).unwrap(), &StreamName::MAIN).err().unwrap();
        assert_eq!(error.kind(), FsErrorKind::Corrupt);
        assert!(error.message().contains(message), "{cluster} {to}: {error}");
        assert_eq!(read(&*fs, "SHORT.TXT").unwrap().len(), 100);
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
}

#[test]
fn a_directory_with_a_loop_harms_only_itself() {
    let Some((mut image, _)) = fat16() else {
        return;
    };
    let reader = VolumeReader::uncached(Arc::new(volfold_block::MemoryDevice::new(&image[..])));
    let fs = FatFileSystem::mount(reader).unwrap();
    let many = fs.entry(find(&fs, "dir/many").unwrap()).unwrap();
    let first = many.first_cluster(false);
    link(&mut image, first, first as u16);
    let fs = mount(&FatDriver, image).unwrap();
    let node = find(&*fs, "dir/many").unwrap();
    assert_eq!(kind_of(list(&*fs, node, 9)), FsErrorKind::Corrupt);
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
