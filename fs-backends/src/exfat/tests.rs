//! Volumes that are as they should be, and with one thing odd about them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use volfold_block::{BlockDevice, BlockResult, Confidence};

use super::ExfatDriver;
use super::testing::*;
use crate::driver::{FileSystemDriver, Identity, ReadOptions, VolumeReader};
use crate::error::FsErrorKind;
use crate::node::{FileExtentKind, FileKind, Name, NodeId, StreamName, Timestamp};
use crate::testing::{exercise_bent, find, kind_of, list, noise, read};

#[test]
fn a_volume_is_listed_and_read() {
    let content = noise(3000, 7);
    let volume = Builder::new(1024, 40)
        .fill(10, &content)
        .used(&[11, 12])
        .chain(&[21, 20, 30])
        .fill(21, &content[..1024])
        .fill(20, &content[1024..2048])
        .fill(30, &content[2048..])
        .add(Set::file("Whole.bin", 10, 3000, true))
        .add(Set::file("chained.BIN", 21, 3000, false))
        .add(Set::file("empty", 0, 0, false))
        .add(Set::directory("sub", 15, &Builder::new(1024, 40)))
        .directory(15, &[Set::file("below", 0, 0, true)])
        .build();
    let fs = volume.clone().mount().unwrap();
    assert!(read(&*fs, "whole.BIN").unwrap() == content);
    assert!(read(&*fs, "CHAINED.bin").unwrap() == content);
    assert_eq!(read(&*fs, "empty").unwrap(), b"");
    let names: Vec<_> = list(&*fs, fs.root(), 1).unwrap().into_iter().map(|row| row.0).collect();
    assert_eq!(names, [&b"Whole.bin"[..], b"chained.BIN", b"empty", b"sub"]);
    let (info, sub) = (fs.info(), find(&*fs, "sub").unwrap());
    assert_eq!((info.kind, info.cluster_size), ("exfat", 1024));
    assert_eq!(fs.metadata(sub).unwrap().kind, FileKind::Directory);
    assert_eq!(list(&*fs, sub, 9).unwrap().len(), 1);
    assert_eq!(kind_of(list(&*fs, find(&*fs, "empty").unwrap(), 9)), FsErrorKind::NotADirectory);
    assert_eq!(kind_of(fs.open(sub, &StreamName::MAIN)), FsErrorKind::IsADirectory);
    assert_eq!(kind_of(find(&*fs, "none")), FsErrorKind::NotFound);
    assert_eq!(kind_of(fs.metadata(NodeId(1 << 47))), FsErrorKind::NotFound);
    assert_eq!(kind_of(fs.metadata(NodeId(u64::MAX))), FsErrorKind::NotFound);
    assert_eq!(kind_of(fs.read_link(sub)), FsErrorKind::NotALink);
    let usage = fs.usage().unwrap();
    assert_eq!(usage.size - usage.used, (40 - 3 - 3 - 3 - 1) * 1024);
    assert!(codes(&*fs).is_empty() && checked(&*fs).is_empty(), "{:?}", checked(&*fs));
    let reader = VolumeReader::uncached(Arc::new(volume));
    let expected = Identity::new(Some("A label".to_owned()), Some("1234-ABCD".to_owned()));
    assert_eq!(ExfatDriver.identify(reader).unwrap(), expected);
    assert_eq!((&info.label, &info.uuid), (&expected.label, &expected.uuid));
}

#[test]
fn bytes_after_the_valid_length_are_zeros() {
    let content = noise(3000, 8);
    for (is_contiguous, first) in [(true, 10), (false, 10)] {
        for valid in [0_u64, 1, 511, 1024, 1500, 2999, 3000] {
            let set = Set::file("a", first, 3000, is_contiguous);
            let builder = Builder::new(512, 40).chain(&[10, 11, 12, 13, 14, 15]);
            let volume =
                builder.fill(10, &content).add(set.with_stream(8, &valid.to_le_bytes())).build();
            let fs = volume.mount().unwrap();
            let mut expected = content.clone();
            expected[valid as usize..].fill(0);
            assert!(read(&*fs, "a").unwrap() == expected, "{valid}");
            let file = fs.open(find(&*fs, "a").unwrap(), &StreamName::MAIN).unwrap();
            if valid < 3000 {
                let extent = file.extent_at(valid).unwrap();
                assert_eq!((extent.kind, extent.length), (FileExtentKind::Hole, 3000 - valid));
            }
            assert!(codes(&*fs).is_empty() && checked(&*fs).is_empty());
        }
    }
}

#[test]
fn names_may_be_long_odd_and_no_unicode() {
    let long = "n".repeat(255);
    let odd = [0x61, 0xD800, 0x2F, 0x0A, 0xDC00];
    let volume = Builder::new(1024, 40)
        .add(Set::file(&long, 0, 0, true))
        .add(Set::of(&odd, 0, 0, true))
        .add(Set::file("\u{e4}", 0, 0, true))
        .build();
    let fs = volume.mount().unwrap();
    let names: Vec<_> = list(&*fs, fs.root(), 9).unwrap();
    assert_eq!(names[0].0, long.as_bytes());
    assert_eq!(names[1].0, b"a\xED\xA0\x80/\n\xED\xB0\x80");
    assert_eq!(fs.lookup(fs.root(), Name::new(&names[1].0)).unwrap(), names[1].1);
    assert_eq!(
        fs.lookup(fs.root(), Name::new(b"A\xED\xA0\x80/\n\xED\xB0\x80")).unwrap(),
        names[1].1
    );
    assert_eq!(find(&*fs, &"N".repeat(255)).unwrap(), names[0].1);
    // The table of the volume has no upper case for it.
    assert_eq!(kind_of(find(&*fs, "\u{c4}")), FsErrorKind::NotFound);
    assert!(codes(&*fs).is_empty());
}

#[test]
fn times_count_hundredths_and_quarter_hours() {
    let mut set = Set::file("a", 0, 0, true);
    // 2000-03-01 12:34:56
    let stamp: u32 = (20 << 9 | 3 << 5 | 1) << 16 | 12 << 11 | 34 << 5 | 28;
    for at in [8, 12, 16] {
        set.0[0][at..at + 4].copy_from_slice(&stamp.to_le_bytes());
    }
    set.0[0][20..25].copy_from_slice(&[150, 199, 0x80 | 22, 0x80 | (0x80 - 14), 22]);
    let volume = Builder::new(512, 40).add(set.sealed()).build();
    let fs = volume.clone().mount().unwrap();
    let times = fs.metadata(find(&*fs, "a").unwrap()).unwrap().times;
    let at = |seconds, nanoseconds| Timestamp { seconds, nanoseconds };
    let noon = 951_914_096;
    assert_eq!(times.created, Some(at(noon + 1 - 22 * 900, 500_000_000)));
    assert_eq!(times.modified, at(noon + 1 + 14 * 900, 990_000_000));
    // Without the bit that makes it valid an offset says nothing.
    assert_eq!(times.accessed, at(noon, 0));
    assert_eq!(times.changed, times.modified);
    let time_zone = "+02:00".parse().unwrap();
    let options = ReadOptions { time_zone, ..ReadOptions::default() };
    let fs = ExfatDriver.mount(VolumeReader::uncached(Arc::new(volume)), options).unwrap();
    let in_zone = fs.metadata(find(&*fs, "a").unwrap()).unwrap().times;
    assert_eq!(in_zone.accessed, at(noon - 7200, 0));
    assert_eq!((in_zone.created, in_zone.modified), (times.created, times.modified));
}

#[test]
fn sets_that_cross_clusters_are_read_from_all_of_them() {
    // 16 entries in a cluster; the chain of the root directory jumps.
    let mut builder = Builder::new(512, 60).chain(&[ROOT, 20, 10, 30, 11, 40, 12]);
    let names: Vec<String> =
        (b'a'..b'e').map(|letter| char::from(letter).to_string().repeat(255)).collect();
    for (number, name) in (50..).zip(&names) {
        builder = builder.fill(number, b"content").add(Set::file(name, number, 7, true));
    }
    let fs = builder.build().mount().unwrap();
    let listed = list(&*fs, fs.root(), 9).unwrap();
    assert_eq!(listed.len(), 4);
    for ((name, node, metadata), wanted) in listed.into_iter().zip(&names) {
        assert_eq!(name, wanted.as_bytes());
        assert_eq!(metadata, fs.metadata(node).ok());
        assert_eq!(read(&*fs, wanted).unwrap(), b"content");
    }
    assert!(codes(&*fs).is_empty() && checked(&*fs).is_empty());
}

#[test]
fn unknown_benign_entries_are_passed_over() {
    let mut benign = [0; 32];
    benign[0] = 0xA5;
    let mut note = [0; 32];
    note[0] = 0xE2;
    let vendor = part(0xE1, 0, 20, 600);
    let mut padding = [0xEE; 32];
    padding[0] = 0xA1;
    let builder = Builder::new(512, 40)
        .entry(padding)
        .add(Set(vec![benign, note, note]).sealed())
        .add(Set::file("a", 0, 0, true).and(note).and(vendor))
        .chain(&[20, 25])
        .chain(&[ROOT, 30]);
    let with_flag = |flag: u8| {
        let set = Set::file("b", 0, 0, true).and(vendor).with(3, 1, flag);
        builder.clone().add(set).build().mount().unwrap()
    };
    let fs = with_flag(0);
    assert_eq!(list(&*fs, fs.root(), 9).unwrap().len(), 2);
    // Who does not say that it has clusters has none.
    assert_eq!(checked(&*fs), ["exfat-lost-clusters"]);
    let fs = with_flag(1);
    assert!(codes(&*fs).is_empty() && checked(&*fs).is_empty(), "{:?}", checked(&*fs));
}

#[test]
fn deleted_entries_are_not_listed() {
    let mut gone = Set::file("gone", 9, 7, true);
    for entry in &mut gone.0 {
        entry[0] &= 0x7F;
    }
    let fs = Builder::new(512, 40).add(gone).add(Set::file("here", 0, 0, true)).build();
    let fs = fs.mount().unwrap();
    assert_eq!(list(&*fs, fs.root(), 9).unwrap().len(), 1);
    assert_eq!(kind_of(find(&*fs, "gone")), FsErrorKind::NotFound);
    assert!(codes(&*fs).is_empty() && checked(&*fs).is_empty());
}

/// A device that counts how often it is asked.
struct Counted(Sparse, AtomicUsize);

impl BlockDevice for Counted {
    fn size(&self) -> u64 {
        self.0.size
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> BlockResult<()> {
        self.1.fetch_add(1, Ordering::Relaxed);
        self.0.read_at(offset, buf)
    }
}

#[test]
fn names_of_a_large_directory_are_found_without_reading_it_again() {
    const COUNT: u32 = 100_000;
    let (cluster, clusters) = (32_768, 400);
    let sets: Vec<Set> =
        (0..COUNT).map(|number| Set::file(&format!("file {number}"), 0, 0, true)).collect();
    let length = u64::from(COUNT) * 96;
    let size = length.next_multiple_of(cluster);
    let directory = Set::file("large", 20, size, true).with(0, 4, 0x10);
    let all: Vec<u32> = (20..20 + (size / cluster) as u32).collect();
    let builder = Builder::new(cluster, clusters).used(&all).directory(20, &sets).add(directory);
    let device = Arc::new(Counted(builder.build(), AtomicUsize::new(0)));
    let reader = VolumeReader::uncached(device.clone());
    let fs = ExfatDriver.mount(reader, ReadOptions::default()).unwrap();
    let large = find(&*fs, "large").unwrap();
    assert_eq!(list(&*fs, large, 4000).unwrap().len(), COUNT as usize);
    let before = device.1.load(Ordering::Relaxed);
    for number in 0..COUNT {
        let name = format!("FILE {number}");
        let node = fs.lookup(large, Name::new(&name)).unwrap();
        assert_eq!(
            node.0 * 32,
            fs.lookup(large, Name::new("file 0")).unwrap().0 * 32 + u64::from(number) * 96
        );
    }
    assert_eq!(device.1.load(Ordering::Relaxed), before);
    assert!(codes(&*fs).is_empty());
}

#[test]
fn clusters_of_32_mib_are_read_as_far_as_they_are_needed() {
    let cluster = 32 << 20;
    let volume = Builder::new(cluster, 8)
        .fill(5, b"small")
        .add(Set::file("small", 5, 5, true))
        .add(Set::file("large", 6, 2 * cluster - 1, true).with_stream(8, &9_u64.to_le_bytes()))
        .used(&[6, 7])
        .fill(6, b"beginning")
        .build();
    let fs = volume.mount().unwrap();
    assert_eq!(read(&*fs, "small").unwrap(), b"small");
    let large = fs.open(find(&*fs, "large").unwrap(), &StreamName::MAIN).unwrap();
    let mut bytes = [1; 12];
    assert_eq!(large.read_at(0, &mut bytes).unwrap(), 12);
    assert_eq!(&bytes, b"beginning\0\0\0");
    assert_eq!(large.read_at(2 * cluster - 3, &mut bytes).unwrap(), 2);
    let usage = fs.usage().unwrap();
    assert_eq!(usage.size - usage.used, 2 * cluster);
    assert!(codes(&*fs).is_empty() && checked(&*fs).is_empty());
}

#[test]
fn a_damaged_boot_region_is_replaced_by_its_backup() {
    let volume = Builder::new(512, 40).add(Set::file("a", 0, 0, true)).build();
    let probe = |volume: &Sparse| {
        (ExfatDriver.probe(volume).unwrap(), ExfatDriver.probe_backup(volume).unwrap())
    };
    assert_eq!(probe(&volume).0, Confidence::Certain);
    for damage in [(0x200, 1), (0x6D, 30), (0x60, 0), (0x1FE, 0), (0x5C, 200)] {
        let bent = volume.clone().with(damage.0, &[damage.1]);
        assert_eq!(probe(&bent).0, Confidence::Likely, "{damage:?}");
        let fs = bent.mount().unwrap();
        assert_eq!(codes(&*fs), ["exfat-backup-boot"], "{damage:?}");
        assert_eq!(list(&*fs, fs.root(), 9).unwrap().len(), 1);
    }
    // It makes sense, and leads elsewhere: which of the two is right is not certain.
    let fs = volume.clone().with(0x60, &[20]).mount().unwrap();
    assert_eq!(codes(&*fs), ["exfat-boot-differs"]);
    // What is changed without a new checksum.
    let fs = volume.clone().with(0x70, &[99]).mount().unwrap();
    assert!(codes(&*fs).is_empty());
    let fs = volume.clone().with(0x6A, &[6]).mount().unwrap();
    assert_eq!(codes(&*fs), ["exfat-dirty", "exfat-media-failure"]);
    // The first sectors are gone.
    let gone = volume.clone().with(0, &[0; 4096]);
    assert_eq!(probe(&gone), (Confidence::No, Confidence::Likely));
    let fs = gone.clone().mount().unwrap();
    assert_eq!(codes(&*fs), ["exfat-backup-boot"]);
    assert!(read(&*fs, "a").unwrap().is_empty());
    let table = 24 * 512;
    for (at, bytes) in [(table, &b"\0"[..]), (0x200, b"LABELONE"), (13 * 512, b"\x01")] {
        let other = gone.clone().with(at, bytes);
        assert_eq!(probe(&other), (Confidence::No, Confidence::No), "{at}");
        assert_eq!(kind_of(other.mount()), FsErrorKind::Corrupt);
    }
}

#[test]
fn with_two_damaged_boot_regions_the_first_is_used_if_it_can_be() {
    let volume = Builder::new(512, 40).add(Set::file("a", 0, 0, true)).build();
    let both = volume.clone().with(0x200, &[1]).with(13 * 512, &[1]);
    let fs = both.clone().mount().unwrap();
    assert_eq!(codes(&*fs), ["exfat-boot-checksum"]);
    assert_eq!(list(&*fs, fs.root(), 9).unwrap().len(), 1);
    let none = both.with(0x6E, &[3]);
    assert_eq!(ExfatDriver.probe(&none).unwrap(), Confidence::Likely);
    let error = none.mount().err().unwrap();
    assert_eq!((error.kind(), error.position()), (FsErrorKind::Corrupt, Some(0)));
    assert!(error.message().contains("number of file allocation tables"));
    // The backup alone is damaged.
    let fs = volume.clone().with(13 * 512, &[1]).mount().unwrap();
    assert!(codes(&*fs).is_empty());
    assert_eq!(checked(&*fs), ["exfat-boot-copy"]);
    let fs = volume.clone().with(12 * 512 + 0x6E, &[3]).mount().unwrap();
    assert_eq!(checked(&*fs), ["exfat-boot-copy"]);
    // Another revision is not damage.
    let error = volume.with(0x69, &[2]).mount().err().unwrap();
    assert_eq!(error.kind(), FsErrorKind::Unsupported);
}

#[test]
fn a_damaged_up_case_table_leaves_the_names_of_ascii() {
    let builder = || {
        let mut builder = Builder::new(512, 40).add(Set::file("abc \u{e4}", 0, 0, true));
        builder.upcase.extend([0xFF, 0xFF, 0xE4 - 128, 0, 0xC4, 0]);
        builder
    };
    let hashed = |volume: Sparse| {
        let fs = volume.mount().unwrap();
        (codes(&*fs), find(&*fs, "ABC \u{c4}").is_ok(), find(&*fs, "ABC \u{e4}").is_ok())
    };
    // The hash is that of another table.
    assert_eq!(hashed(builder().build()), (vec!["exfat-name"], true, true));
    let place = builder().place(UPCASE);
    let damaged = (vec!["exfat-upcase"], false, true);
    assert_eq!(hashed(builder().build().with(place + 9, &[7])), damaged);
    for length in [0, 1, 255, 257, 131_073, 1 << 40, u64::MAX] {
        let mut builder = builder();
        builder.upcase_length = Some(length);
        assert_eq!(hashed(builder.build()), damaged, "{length}");
    }
    let missing = builder().build().with(builder().place(ROOT) + 64, &[0x02]);
    assert_eq!(hashed(missing), damaged);
    let mut far = builder();
    far.upcase.extend([0xFF, 0xFF, 0xFF, 0xFF]);
    assert_eq!(hashed(far.build()), damaged);
}

#[test]
fn a_volume_cut_short_is_a_finding_and_no_zeros() {
    let mut volume = Builder::new(512, 40)
        .fill(30, &[7; 2048])
        .used(&[31, 32, 33])
        .add(Set::file("a", 30, 2048, true))
        .build();
    volume.size = Builder::new(512, 40).place(32);
    let fs = volume.mount().unwrap();
    assert_eq!(codes(&*fs), ["exfat-truncated"]);
    let file = fs.open(find(&*fs, "a").unwrap(), &StreamName::MAIN).unwrap();
    assert_eq!(file.read_at(0, &mut [0; 1024]).unwrap(), 1024);
    assert_eq!(kind_of(file.read_at(1024, &mut [0])), FsErrorKind::Corrupt);
}

#[test]
fn bent_volumes_never_panic_or_hang() {
    let builder = Builder::new(512, 60).chain(&[ROOT, 20, 10, 30]).chain(&[40, 42, 41]);
    let volume = builder
        .fill(40, &[1; 512])
        .add(Set::file("chained with a long name", 40, 1500, false))
        .add(Set::file("whole", 50, 1500, true))
        .add(Set::directory("sub", 15, &Builder::new(512, 60)))
        .directory(15, &[Set::file("below", 0, 0, true)])
        .build()
        .bytes();
    let at = |cluster: u32| Builder::new(512, 60).place(cluster) as usize;
    exercise_bent(&ExfatDriver, &volume, 0x40..0x72, 150);
    exercise_bent(&ExfatDriver, &volume, 24 * 512..24 * 512 + 256, 150);
    exercise_bent(&ExfatDriver, &volume, at(UPCASE)..at(UPCASE) + 256, 30);
    for cluster in [ROOT, 20, 15] {
        exercise_bent(&ExfatDriver, &volume, at(cluster)..at(cluster) + 512, 150);
    }
}
