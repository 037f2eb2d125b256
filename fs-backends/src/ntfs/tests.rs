//! Volumes made by mkntfs and ntfscp, as they are and with one field bent.

use std::ops::ControlFlow;

use super::mounted::ROOT;
use super::*;
use volfold_block::{Finding, code};

use crate::error::Reason;
use crate::node::{DirCursor, FileExtentKind, FileKind, LinkTarget, NodeId, StreamName};
use crate::testing::{Scratch, content, exercise_bent, find, kind_of, list, mount, noise, read};

/// A volume with a resident and a non-resident file, the latter with an alternate stream.
pub(super) fn volume() -> Option<Vec<u8>> {
    let scratch = Scratch::new("ntfs");
    scratch.write("small", b"some text");
    scratch.write("big", &noise(300_000, 1));
    scratch.write("stream", &noise(20_000, 2));
    scratch.blank(8 << 20);
    let made = scratch.run("mkntfs", &["-F", "-q", "-Q", "-c", "4096", "-L", "A label", "image"])
        && scratch.run("ntfscp", &["image", "small", "Small file.txt"])
        && scratch.run("ntfscp", &["image", "big", "big.bin"])
        && scratch.run("ntfscp", &["-N", "alt", "image", "stream", "big.bin"]);
    made.then(|| scratch.image())
}

fn position_of(image: &[u8], path: &str) -> usize {
    let reader = VolumeReader::uncached(Arc::new(volfold_block::MemoryDevice::new(image)));
    let fs = NtfsFileSystem::mount(reader, ReadOptions::default()).unwrap();
    let record = match path {
        "$MFT" => 0,
        "" => ROOT,
        path => find(&fs, path).unwrap().0,
    };
    usize::try_from(fs.volume.record(record).unwrap().position()).unwrap()
}

/// The volume with the file record of `path` bent, and its update sequence put right.
fn bent(image: &[u8], path: &str, bend: impl FnOnce(&mut [u8])) -> Vec<u8> {
    let mut image = image.to_vec();
    let position = position_of(&image, path);
    let record = &mut image[position..position + 1024];
    let fixups = usize::from(record[4]);
    for (block, tail) in [(1, 510), (2, 1022)] {
        record.copy_within(fixups + 2 * block..fixups + 2 * block + 2, tail);
    }
    bend(record);
    for (block, tail) in [(1, 510), (2, 1022)] {
        record.copy_within(tail..tail + 2, fixups + 2 * block);
        record.copy_within(fixups..fixups + 2, tail);
    }
    image
}

/// Where the unnamed attribute `kind` begins in `record`.
fn attribute(record: &[u8], kind: u8) -> usize {
    let mut at = usize::from(record[0x14]);
    while record[at] != kind || record[at + 9] != 0 {
        assert!(record[at] < kind, "attribute {kind:x} is there");
        at += usize::from(u16::from_le_bytes([record[at + 4], record[at + 5]]));
    }
    at
}

/// Appends a resident attribute 0xC0 with `value`.
fn add_reparse(record: &mut [u8], value: &[u8]) {
    let used = usize::from(u16::from_le_bytes([record[0x18], record[0x19]]));
    let at = used - 8;
    let length = (0x18 + value.len()).next_multiple_of(8);
    record[at..at + length].fill(0);
    record[at] = 0xC0;
    record[at + 4] = length as u8;
    record[at + 0x0E] = 99;
    record[at + 0x10] = value.len() as u8;
    record[at + 0x14] = 0x18;
    record[at + 0x18..at + 0x18 + value.len()].copy_from_slice(value);
    record[at + length..at + length + 4].fill(0xFF);
    let used = u16::try_from(used + length).unwrap();
    record[0x18..0x1A].copy_from_slice(&used.to_le_bytes());
}

#[test]
fn a_volume_of_mkntfs_reads_back() {
    let Some(image) = volume() else { return };
    let fs = mount(&NtfsDriver, image).unwrap();
    assert_eq!(fs.info().label.as_deref(), Some("A label"));
    assert_eq!(fs.info().uuid.as_ref().map(String::len), Some(16));
    assert_eq!((fs.info().cluster_size, fs.info().size), (4096, (8 << 20) - 512));
    assert!(fs.info().findings.is_empty());
    assert!((1 << 20..4 << 20).contains(&fs.usage().unwrap().used));
    assert_eq!(read(&*fs, "small FILE.txt").unwrap(), b"some text");
    assert_eq!(read(&*fs, "big.bin").unwrap(), noise(300_000, 1));
    let names = list(&*fs, fs.root(), 1).unwrap();
    let shown: Vec<_> = names.iter().map(|(name, ..)| name.as_slice()).collect();
    assert_eq!(shown, [&b"big.bin"[..], b"Small file.txt"]);
    let big = find(&*fs, "BIG.BIN").unwrap();
    assert_eq!(names[0].2.as_ref(), Some(&fs.metadata(big).unwrap()));
    let streams = fs.streams(big).unwrap();
    assert_eq!((streams.len(), streams[0].size), (1, 20_000));
    let stream = fs.open(big, &StreamName(b"alt".to_vec())).unwrap();
    assert_eq!(content(&*stream).unwrap(), noise(20_000, 2));
}

/// The codes of what was noticed up to now.
fn codes(fs: &dyn FileSystem) -> Vec<&'static str> {
    fs.findings().iter().map(|finding| finding.code.as_str()).collect()
}

/// What `check` reports.
fn checked(fs: &dyn FileSystem) -> Vec<Finding> {
    let mut found = Vec::new();
    fs.check(&mut |finding| found.push(finding)).unwrap();
    found
}

#[test]
fn sizes_that_contradict_each_other_are_findings() {
    let Some(image) = volume() else { return };
    let cases: [(usize, u64, usize); 3] =
        [(0x30, 100_000, 100_000), (0x38, 300_001, 300_000), (0x28, 4096, 300_000)];
    for (at, value, length) in cases {
        let image = bent(&image, "big.bin", |record| {
            let data = attribute(record, 0x80);
            record[data + at..data + at + 8].copy_from_slice(&value.to_le_bytes());
        });
        let fs = mount(&NtfsDriver, image).unwrap();
        assert!(read(&*fs, "big.bin").unwrap() == noise(300_000, 1)[..length], "{at:x}");
        assert_eq!(codes(&*fs), ["ntfs-sizes"], "{at:x}");
        assert_eq!(checked(&*fs)[0].code.as_str(), "ntfs-sizes");
    }
}

#[test]
fn a_value_that_begins_in_its_header_is_refused() {
    let Some(image) = volume() else { return };
    for start in [0, 0x10, 0x17] {
        let image = bent(&image, "Small file.txt", |record| {
            let data = attribute(record, 0x80);
            record[data + 0x14] = start;
        });
        let fs = mount(&NtfsDriver, image).unwrap();
        assert_eq!(kind_of(read(&*fs, "Small file.txt")), FsErrorKind::Corrupt);
        assert!(read(&*fs, "big.bin").unwrap() == noise(300_000, 1));
        assert!(checked(&*fs).iter().any(|finding| finding.code == "ntfs-record"));
    }
}

#[test]
fn a_hole_is_zeros_in_a_sparse_stream_only() {
    let Some(image) = volume() else { return };
    let hole = |is_sparse: bool| {
        bent(&image, "big.bin", |record| {
            let data = attribute(record, 0x80);
            let runs = data + usize::from(record[data + 0x20]);
            record[runs] &= 0x0F;
            record[runs + 1 + usize::from(record[runs])] = 0;
            record[data + 0x0D] |= if is_sparse { 0x80 } else { 0 };
        })
    };
    let fs = mount(&NtfsDriver, hole(true)).unwrap();
    assert!(read(&*fs, "big.bin").unwrap().iter().all(|byte| *byte == 0));
    assert!(codes(&*fs).is_empty());
    let fs = mount(&NtfsDriver, hole(false)).unwrap();
    assert_eq!(kind_of(read(&*fs, "big.bin")), FsErrorKind::Corrupt);
    assert_eq!(codes(&*fs), ["ntfs-sparse"]);
}

#[test]
fn a_mark_of_a_reparse_point_alone_refuses_the_file() {
    let Some(image) = volume() else { return };
    let marked = bent(&image, "big.bin", |record| {
        let standard = attribute(record, 0x10);
        record[standard + 0x18 + 0x21] |= 4;
    });
    let fs = mount(&NtfsDriver, marked.as_slice()).unwrap();
    let metadata = fs.metadata(find(&*fs, "big.bin").unwrap()).unwrap();
    assert_eq!(metadata.unreadable, Some(FsErrorKind::Corrupt));
    assert_eq!(kind_of(read(&*fs, "big.bin")), FsErrorKind::Corrupt);
    assert_eq!(codes(&*fs), ["ntfs-reparse"]);
    // The attribute alone counts, and is a finding; both together are in order.
    let cloud = [&0x9000_601A_u32.to_le_bytes()[..], &[0; 4]].concat();
    for (image, wanted) in [(&image, &["ntfs-reparse"][..]), (&marked, &[])] {
        let image = bent(image, "big.bin", |record| add_reparse(record, &cloud));
        let fs = mount(&NtfsDriver, image).unwrap();
        assert!(read(&*fs, "big.bin").unwrap() == noise(300_000, 1));
        assert_eq!(codes(&*fs), wanted);
    }
}

#[test]
fn a_compressed_stream_without_its_reparse_point_refuses_the_file() {
    let scratch = Scratch::new("ntfs-wof");
    scratch.write("big", &noise(8193, 1));
    scratch.blank(8 << 20);
    let made = scratch.run("mkntfs", &["-F", "-q", "-Q", "image"])
        && scratch.run("ntfscp", &["image", "big", "big.bin"])
        && scratch.run("ntfscp", &["-N", "WofCompressedData", "image", "big", "big.bin"]);
    if !made {
        return;
    }
    let fs = mount(&NtfsDriver, scratch.image()).unwrap();
    assert_eq!(kind_of(read(&*fs, "big.bin")), FsErrorKind::Corrupt);
    assert_eq!(codes(&*fs), ["ntfs-reparse"]);
}

#[test]
fn a_name_of_another_kind_than_its_record_is_a_finding() {
    let Some(image) = volume() else { return };
    let image = bent(&image, "big.bin", |record| {
        let name = attribute(record, 0x30);
        record[name + 0x18 + 0x3B] |= 0x10;
    });
    let fs = mount(&NtfsDriver, image).unwrap();
    assert!(read(&*fs, "big.bin").unwrap() == noise(300_000, 1));
    assert_eq!(codes(&*fs), ["ntfs-directory-flag"]);
    let Some(image) = volume() else { return };
    let image = bent(&image, "big.bin", |record| record[0x16] |= 2);
    let fs = mount(&NtfsDriver, image).unwrap();
    assert_eq!(list(&*fs, fs.root(), 9).unwrap().len(), 2);
    assert_eq!(codes(&*fs)[0], "ntfs-directory-flag");
}

#[test]
fn a_directory_is_shown_where_it_says_that_it_lies() {
    let Some(image) = volume() else { return };
    // The file becomes a directory by its flag, with the names of another: no entry is its own.
    for (at, value) in [(0x42, b'X'), (0, 9)] {
        let image = bent(&image, "big.bin", |record| {
            record[0x16] |= 2;
            let name = attribute(record, 0x30);
            record[name + 0x18 + at] = value;
        });
        let fs = mount(&NtfsDriver, image).unwrap();
        let names = list(&*fs, fs.root(), 9).unwrap();
        assert_eq!(kind_of(fs.metadata(names[0].1)), FsErrorKind::Corrupt);
        assert_eq!(kind_of(list(&*fs, names[0].1, 9)), FsErrorKind::Corrupt);
        assert!(codes(&*fs).contains(&"ntfs-name"));
        let is_elsewhere = at == 0;
        assert_eq!(find(&*fs, "big.bin").is_err(), is_elsewhere);
    }
}

#[test]
fn a_boot_sector_that_contradicts_its_copy_is_a_finding() {
    let Some(image) = volume() else { return };
    for at in [0x0D, 0x28, 0x30, 0x38] {
        let mut image = image.clone();
        image[at] ^= 0x18;
        let fs = mount(&NtfsDriver, image).unwrap();
        assert_eq!(codes(&*fs)[0], "ntfs-boot-copies-differ", "{at:x}");
        assert!(read(&*fs, "big.bin").unwrap() == noise(300_000, 1));
    }
}

#[test]
fn check_compares_all_clusters() {
    let Some(image) = volume() else { return };
    let fs = mount(&NtfsDriver, image.as_slice()).unwrap();
    assert_eq!(checked(&*fs), []);
    // The runs of the stream are those of the file.
    let shared = bent(&image, "big.bin", |record| {
        let data = attribute(record, 0x80);
        let length = usize::from(record[data + 4]);
        let named = data + length;
        let (from, to) = (usize::from(record[data + 0x20]), usize::from(record[named + 0x20]));
        let sizes = record[data + from];
        let place = data + from + 1 + usize::from(sizes & 15);
        let other = named + to + 1 + usize::from(record[named + to] & 15);
        record.copy_within(place..place + usize::from(sizes >> 4), other);
    });
    let fs = mount(&NtfsDriver, shared).unwrap();
    let found = checked(&*fs);
    assert!(found[0].code == "ntfs-cross-link", "{found:?}");
    assert_eq!(found[0].path.as_deref(), Some("/big.bin"));
    assert!(found[1].code == "ntfs-lost-clusters");
    let mut free = image.clone();
    let bitmap = bitmap_of(&image);
    free[bitmap + 40..bitmap + 60].fill(0);
    let found = checked(&*mount(&NtfsDriver, free).unwrap());
    assert!(found.iter().any(|finding| finding.code == "ntfs-bitmap"), "{found:?}");
    let mut used = image;
    used[bitmap + 230] |= 0x10;
    let found = checked(&*mount(&NtfsDriver, used).unwrap());
    assert!(found[0].code == "ntfs-lost-clusters" && found.len() == 1, "{found:?}");
}

/// Where `$Bitmap` begins.
fn bitmap_of(image: &[u8]) -> usize {
    let reader = VolumeReader::uncached(Arc::new(volfold_block::MemoryDevice::new(image)));
    let fs = NtfsFileSystem::mount(reader, ReadOptions::default()).unwrap();
    let record = fs.volume.node(6).unwrap();
    let stream = fs.volume.stream(&record, 0x80, &[]).unwrap().unwrap();
    let stream::Content::Runs(runs) = stream.content else { panic!("it is not resident") };
    usize::try_from(runs.position(0).unwrap()).unwrap()
}

#[test]
fn names_that_are_not_there_say_why() {
    let Some(image) = volume() else { return };
    let fs = mount(&NtfsDriver, image).unwrap();
    let big = find(&*fs, "big.bin").unwrap();
    assert_eq!(kind_of(find(&*fs, "none")), FsErrorKind::NotFound);
    assert_eq!(kind_of(find(&*fs, "big.bin/x")), FsErrorKind::NotADirectory);
    assert_eq!(kind_of(fs.read_link(big)), FsErrorKind::NotALink);
    assert_eq!(kind_of(fs.metadata(NodeId(1 << 40))), FsErrorKind::NotFound);
    let none = StreamName(b"none".to_vec());
    assert_eq!(kind_of(fs.open(big, &none)), FsErrorKind::NotFound);
    let root = fs.open(fs.root(), &StreamName::MAIN);
    assert_eq!(kind_of(root), FsErrorKind::IsADirectory);
    // A metadata file is found, though it is not listed. Its first run begins at cluster 0.
    assert_eq!(&read(&*fs, "$Boot").unwrap()[3..7], b"NTFS");
}

#[test]
fn stored_bytes_that_are_not_the_content_are_refused() {
    let Some(image) = volume() else { return };
    let compressed = FsErrorKind::Undecodable(Reason::NTFS_COMPRESSED);
    // A compressed stream without a unit, another format than LZNT1, an encrypted stream.
    let cases =
        [(0x0C, 1, compressed), (0x0C, 2, compressed), (0x0D, 0x40, FsErrorKind::Encrypted)];
    for (at, bit, kind) in cases {
        let image = bent(&image, "big.bin", |record| {
            let data = attribute(record, 0x80);
            record[data + at] |= bit;
        });
        let fs = mount(&NtfsDriver, image).unwrap();
        assert_eq!(kind_of(read(&*fs, "big.bin")), kind);
        let metadata = fs.metadata(find(&*fs, "big.bin").unwrap()).unwrap();
        assert_eq!((metadata.size, metadata.unreadable), (300_000, Some(kind)));
    }
    let image = bent(&image, "Small file.txt", |record| {
        let data = attribute(record, 0x80);
        record[data + 0x0C] |= 1;
    });
    let fs = mount(&NtfsDriver, image).unwrap();
    let text = read(&*fs, "Small file.txt").unwrap();
    assert_eq!(text, b"some text", "a resident value is never compressed");
}

#[test]
fn bytes_past_the_initialized_size_are_zero() {
    let Some(image) = volume() else { return };
    let image = bent(&image, "big.bin", |record| {
        let data = attribute(record, 0x80);
        record[data + 0x38..data + 0x40].copy_from_slice(&100_001_u64.to_le_bytes());
    });
    let fs = mount(&NtfsDriver, image).unwrap();
    let mut expected = noise(300_000, 1);
    expected[100_001..].fill(0);
    assert!(read(&*fs, "big.bin").unwrap() == expected);
    let file = fs.open(find(&*fs, "big.bin").unwrap(), &StreamName::MAIN).unwrap();
    let extent = file.extent_at(100_001).unwrap();
    assert_eq!((extent.kind, extent.length), (FileExtentKind::Hole, 199_999));
}

#[test]
fn reparse_points_are_links_or_refused() {
    let Some(image) = volume() else { return };
    for (tag, reason) in [
        (0x8000_0017_u32, Reason::WOF),
        (0x8000_0008, Reason::WOF_WIM),
        (0x8000_0013, Reason::DEDUPLICATED),
        (0xC000_0004, Reason::OFFLINE),
    ] {
        let image = bent(&image, "big.bin", |record| {
            let value = [&tag.to_le_bytes()[..], &[0; 4]].concat();
            add_reparse(record, &value);
        });
        let fs = mount(&NtfsDriver, image).unwrap();
        let kind = FsErrorKind::Undecodable(reason);
        assert_eq!(kind_of(read(&*fs, "big.bin")), kind);
        let (_, node, metadata) = list(&*fs, fs.root(), 9).unwrap().remove(0);
        let metadata = metadata.unwrap();
        assert_eq!((metadata.size, metadata.unreadable), (300_000, Some(kind)));
        let stream = fs.open(node, &StreamName(b"alt".to_vec())).unwrap();
        assert_eq!(stream.size(), 20_000, "other streams are as they were");
    }
    let image = bent(&image, "Small file.txt", |record| {
        let mut value = 0xA000_000C_u32.to_le_bytes().to_vec();
        value.extend([18, 0, 0, 0, 0, 0, 6, 0, 0, 0, 0, 0, 1, 0, 0, 0]);
        value.extend(*b"a\0\\\0b\0");
        add_reparse(record, &value);
    });
    let fs = mount(&NtfsDriver, image).unwrap();
    let node = find(&*fs, "Small file.txt").unwrap();
    assert_eq!(fs.metadata(node).unwrap().kind, FileKind::Symlink);
    assert_eq!(fs.read_link(node).unwrap(), LinkTarget(b"a/b".to_vec()));
}

#[test]
fn a_damaged_record_harms_only_its_own_file() {
    let Some(image) = volume() else { return };
    let torn = bent(&image, "big.bin", |record| record[0] = b'X');
    let reused = bent(&image, "big.bin", |record| record[0x10] += 1);
    for image in [torn, reused] {
        let fs = mount(&NtfsDriver, image).unwrap();
        let names = list(&*fs, fs.root(), 9).unwrap();
        assert!(names[0].2.is_none() && names[1].2.is_some());
        assert_eq!(kind_of(find(&*fs, "big.bin")), FsErrorKind::Corrupt);
        let node = names[0].1;
        assert_eq!(kind_of(fs.metadata(node)), FsErrorKind::Corrupt);
        assert_eq!(kind_of(fs.open(node, &StreamName::MAIN)), FsErrorKind::Corrupt);
        assert_eq!(read(&*fs, "Small file.txt").unwrap(), b"some text");
    }
}

#[test]
fn a_name_that_leads_to_the_record_of_another_file_is_refused() {
    let Some(image) = volume() else { return };
    // An entry of the index of the root has its reference 0x52 bytes before the name.
    let entries = |name: &str| {
        let name: Vec<u8> = name.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let places = (0..image.len()).step_by(2).filter(|at| image[*at..].starts_with(&name));
        let in_index = |at: &usize| image[at & !4095..].starts_with(b"INDX");
        places.filter(in_index).map(|at| at - 0x52).collect::<Vec<_>>()
    };
    let mut crossed = image.clone();
    let (from, to) = (entries("Small file.txt"), entries("big.bin"));
    assert!(!from.is_empty() && !to.is_empty());
    for to in to {
        crossed.copy_within(from[0]..from[0] + 8, to);
    }
    let fs = mount(&NtfsDriver, crossed).unwrap();
    assert_eq!(kind_of(find(&*fs, "big.bin")), FsErrorKind::Corrupt);
    let names = list(&*fs, fs.root(), 9).unwrap();
    assert!(names[0].2.is_none() && names[1].2.is_some());
    assert_eq!(kind_of(fs.open(names[0].1, &StreamName::MAIN)), FsErrorKind::Corrupt);
    assert_eq!(read(&*fs, "Small file.txt").unwrap(), b"some text");
    assert!(fs.findings().iter().any(|finding| finding.code.as_str() == "ntfs-name"));
    // Where only the name in the record is another, the entry is right.
    let renamed = bent(&image, "big.bin", |record| {
        let name = attribute(record, 0x30) + 0x18 + 0x42;
        record[name] = b'c';
    });
    let whole = mount(&NtfsDriver, image).unwrap();
    let fs = mount(&NtfsDriver, renamed).unwrap();
    assert!(read(&*fs, "big.bin").unwrap() == read(&*whole, "big.bin").unwrap());
    assert!(list(&*fs, fs.root(), 9).unwrap()[0].2.is_some());
    assert_eq!(fs.findings().last().map(|finding| finding.code.as_str()), Some("ntfs-name"));
    assert!(whole.findings().is_empty(), "{:?}", whole.findings());
}

#[test]
fn run_lists_that_do_not_fit_are_corrupt() {
    let Some(image) = volume() else { return };
    let short = bent(&image, "big.bin", |record| {
        let data = attribute(record, 0x80);
        record[data + 0x32] = 0xFF;
    });
    let miscounted = bent(&image, "big.bin", |record| {
        let data = attribute(record, 0x80);
        record[data + 0x18] += 1;
    });
    for image in [short, miscounted] {
        let fs = mount(&NtfsDriver, image).unwrap();
        assert_eq!(kind_of(read(&*fs, "big.bin")), FsErrorKind::Corrupt);
    }
    let far = bent(&image, "big.bin", |record| {
        let data = attribute(record, 0x80);
        let runs = data + usize::from(record[data + 0x20]);
        let sizes = record[runs];
        let last = runs + usize::from(sizes & 15) + usize::from(sizes >> 4);
        record[last] = 0x7F;
    });
    let fs = mount(&NtfsDriver, far).unwrap();
    assert_eq!(kind_of(read(&*fs, "big.bin")), FsErrorKind::Corrupt);
}

#[test]
fn a_damaged_boot_sector_is_taken_from_its_copy() {
    let Some(mut image) = volume() else { return };
    image[..512].fill(0);
    let device = volfold_block::MemoryDevice::new(image.as_slice());
    assert_eq!(NtfsDriver.probe(&device).unwrap(), Confidence::Likely);
    let fs = mount(&NtfsDriver, image.as_slice()).unwrap();
    assert!(fs.info().findings[0].code == "ntfs-boot");
    assert_eq!(read(&*fs, "small FILE.txt").unwrap(), b"some text");
    let last = image.len() - 512;
    image[last..].fill(0);
    assert_eq!(kind_of(mount(&NtfsDriver, image)), FsErrorKind::Corrupt);
}

#[test]
fn damaged_first_records_are_taken_from_the_mirror() {
    let Some(image) = volume() else { return };
    for (path, number) in [("$MFT", 0), ("$Volume", 3)] {
        let mut image = image.clone();
        let position = position_of(&image, path);
        image[position..position + 1024].fill(0);
        let fs = mount(&NtfsDriver, image).unwrap();
        let finding = Finding::warning(
            code::NTFS_MIRROR,
            format!("file record {number} is taken from $MFTMirr"),
        );
        assert_eq!(fs.info().findings, [finding]);
        assert_eq!(fs.info().label.as_deref(), Some("A label"));
        assert_eq!(read(&*fs, "small FILE.txt").unwrap(), b"some text");
    }
}

#[test]
fn system_files_are_listed_if_wanted() {
    let Some(image) = volume() else { return };
    let reader = VolumeReader::uncached(Arc::new(volfold_block::MemoryDevice::new(image)));
    let fs = NtfsDriver.mount(reader, ReadOptions::default().with_system_files(true)).unwrap();
    let names = list(&*fs, fs.root(), 9).unwrap();
    let shown: Vec<_> = names.iter().map(|(name, ..)| name.as_slice()).collect();
    assert!(shown.contains(&b"$MFT".as_slice()) && shown.contains(&b"$Extend".as_slice()));
    assert!(!shown.contains(&b".".as_slice()));
}

#[test]
fn a_case_sensitive_directory_finds_the_very_name_only() {
    let Some(image) = volume() else { return };
    let image = bent(&image, "", |record| {
        let standard = attribute(record, 0x10);
        record[standard + 0x18 + 0x28] = 1;
    });
    let fs = mount(&NtfsDriver, image).unwrap();
    assert_eq!(read(&*fs, "Small file.txt").unwrap(), b"some text");
    assert_eq!(kind_of(find(&*fs, "small FILE.txt")), FsErrorKind::NotFound);
}

#[test]
fn a_file_of_the_cloud_is_read_if_all_of_it_is_here() {
    let Some(image) = volume() else { return };
    let tag = 0x9000_601A_u32.to_le_bytes();
    let here = bent(&image, "big.bin", |record| add_reparse(record, &[&tag[..], &[0; 4]].concat()));
    let fs = mount(&NtfsDriver, here.as_slice()).unwrap();
    assert!(read(&*fs, "big.bin").unwrap() == noise(300_000, 1));
    let cloud = FsErrorKind::Undecodable(Reason::CLOUD);
    let recalled = bent(&here, "big.bin", |record| {
        let standard = attribute(record, 0x10);
        record[standard + 0x18 + 0x22] |= 0x40;
    });
    let dehydrated = bent(&here, "big.bin", |record| {
        let data = attribute(record, 0x80);
        record[data + 0x28..data + 0x30].copy_from_slice(&4096_u64.to_le_bytes());
    });
    for image in [recalled, dehydrated] {
        let fs = mount(&NtfsDriver, image).unwrap();
        assert_eq!(kind_of(read(&*fs, "big.bin")), cloud);
        let metadata = fs.metadata(find(&*fs, "big.bin").unwrap()).unwrap();
        assert_eq!((metadata.size, metadata.unreadable), (300_000, Some(cloud)));
    }
}

/// A volume whose root has 400 names, so that its index has blocks; and how many it has.
fn many_names() -> Option<(Vec<u8>, Vec<usize>)> {
    let scratch = Scratch::new("ntfs-many");
    scratch.write("small", b"some text");
    scratch.blank(8 << 20);
    if !scratch.run("mkntfs", &["-F", "-q", "-Q", "-c", "4096", "image"]) {
        return None;
    }
    for number in 0..400 {
        let name = format!("a name that takes some room in the index {number:03}");
        if !scratch.run("ntfscp", &["image", "small", &name]) {
            return None;
        }
    }
    let image = scratch.image();
    let blocks = image.chunks(4096).enumerate();
    let blocks = blocks.filter(|(_, block)| block.starts_with(b"INDX"));
    let word = b"i\0n\0d\0e\0x\0";
    let root = blocks.filter(|(_, block)| block.windows(word.len()).any(|bytes| bytes == word));
    let places = root.map(|(number, _)| number * 4096).collect();
    Some((image, places))
}

#[test]
fn a_damaged_block_of_an_index_harms_its_own_names_only() {
    let Some((image, blocks)) = many_names() else { return };
    assert!(blocks.len() > 8, "{blocks:?}");
    let fs = mount(&NtfsDriver, image.as_slice()).unwrap();
    assert_eq!(list(&*fs, fs.root(), 1000).unwrap().len(), 400);
    let mut lost = Vec::new();
    for block in &blocks {
        let mut image = image.clone();
        image[block + 600] ^= 0xFF;
        image[block + 510] ^= 0xFF;
        let fs = mount(&NtfsDriver, image).unwrap();
        let (mut names, mut last) = (0, DirCursor::START);
        let result = fs.read_dir(fs.root(), DirCursor::START, &mut |entry| {
            (names, last) = (names + 1, entry.next);
            ControlFlow::Continue(())
        });
        assert_eq!(kind_of(result), FsErrorKind::Corrupt);
        // Who goes on after the last name meets it again.
        let result = fs.read_dir(fs.root(), last, &mut |_| panic!("a name after the last"));
        assert_eq!(kind_of(result), FsErrorKind::Corrupt);
        lost.push(400 - names);
    }
    // A block has some thirty names; what lies below a damaged one is found by the bitmap.
    assert!(lost.iter().all(|lost| (1..60).contains(lost)), "{lost:?}");
    assert_eq!(lost.iter().sum::<i32>() + root_names(&*fs, &image), 400, "{lost:?}");
}

/// The names that are in the root of the index itself.
fn root_names(fs: &dyn FileSystem, image: &[u8]) -> i32 {
    let reader = VolumeReader::uncached(Arc::new(volfold_block::MemoryDevice::new(image)));
    let own = NtfsFileSystem::mount(reader, ReadOptions::default()).unwrap();
    own.index(fs.root().0).unwrap().names_in_root()
}

#[test]
fn a_dirty_volume_and_a_short_one_are_findings() {
    let Some(image) = volume() else { return };
    let dirty = bent(&image, "$Volume", |record| {
        let information = attribute(record, 0x70);
        record[information + 0x18 + 10] |= 1;
    });
    let fs = mount(&NtfsDriver, dirty).unwrap();
    assert_eq!(codes(&*fs), ["ntfs-mirror-differs", "ntfs-dirty"]);
    let fs = mount(&NtfsDriver, &image[..7 << 20]).unwrap();
    assert!(fs.info().findings[0].code == "ntfs-truncated");
}

#[test]
fn probe_wants_the_name_and_sane_numbers() {
    let Some(image) = volume() else { return };
    let probe = |bytes: &[u8]| {
        let device = volfold_block::MemoryDevice::new(bytes);
        NtfsDriver.probe(&device).unwrap()
    };
    assert_eq!(probe(&image), Confidence::Certain);
    assert_eq!(probe(&image[..511]), Confidence::No);
    for at in [3, 0x0B, 0x0D] {
        let mut bytes = image.clone();
        bytes[at..at + 1].fill(0x7F);
        // The copy is there; but under another name the sector is of another file system.
        let wanted = if at == 3 { Confidence::No } else { Confidence::Likely };
        assert_eq!(probe(&bytes), wanted, "{at:x}");
    }
}

#[test]
fn bent_volumes_never_panic_or_hang() {
    let Some(image) = volume() else { return };
    let mft = position_of(&image, "$MFT");
    exercise_bent(&NtfsDriver, &image, mft..mft + 16 * 1024, 150);
    exercise_bent(&NtfsDriver, &image, mft + 5120..mft + 6144, 150);
    let file = position_of(&image, "big.bin");
    exercise_bent(&NtfsDriver, &image, file - 1024..file + 1024, 150);
    exercise_bent(&NtfsDriver, &image, 0..512, 100);
}
