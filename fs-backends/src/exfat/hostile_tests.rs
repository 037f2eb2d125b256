//! Volumes that contradict themselves: what is damaged is refused and told, the rest is read.

use super::ExfatDriver;
use super::testing::*;
use crate::error::FsErrorKind;
use crate::node::{FileKind, FileSystem, NodeId, StreamName};
use crate::testing::{exercise, find, kind_of, list, noise, read};

/// What `fs` gives of the file `name`: how many bytes are read before an error.
fn readable(fs: &dyn FileSystem, name: &str) -> u64 {
    let file = fs.open(find(fs, name).unwrap(), &StreamName::MAIN).unwrap();
    let mut bytes = vec![0; 512];
    let mut offset = 0;
    while offset < file.size() {
        match file.read_at(offset, &mut bytes) {
            Ok(count) => offset += count as u64,
            Err(error) => {
                assert_eq!(error.kind(), FsErrorKind::Corrupt);
                break;
            }
        }
    }
    offset
}

#[test]
fn a_file_is_read_up_to_where_its_clusters_end() {
    let chained = |size: u64| Set::file("a", 10, size, false);
    let builder = || Builder::new(512, 40).chain(&[10, 12, 14, 11]);
    let short = ["exfat-chain-short"];
    for (link, to, blocks) in [
        (14, END, 3),
        (14, 0, 3),
        (14, 1, 3),
        (14, 42, 3),
        (14, 0xFFFF_FFF7, 3),
        (14, 14, 3),
        (14, 12, 3),
        (11, 10, 4),
        (10, 10, 1),
    ] {
        let fs = builder().link(link, to).add(chained(5 * 512)).build().mount().unwrap();
        assert_eq!(readable(&*fs, "a"), blocks * 512, "{link} {to}");
        assert_eq!(codes(&*fs), short, "{link} {to}");
        assert!(checked(&*fs).contains(&short[0]));
    }
    let fs = builder().add(chained(u64::MAX)).build().mount().unwrap();
    assert_eq!(readable(&*fs, "a"), 4 * 512);
    assert_eq!(codes(&*fs), short);
    // The chain goes on, or has no end mark.
    for (size, link, to) in [(3 * 512, 14, 11), (4 * 512, 11, 0), (1, 10, 12)] {
        let fs = builder().link(link, to).add(chained(size)).build().mount().unwrap();
        assert_eq!(readable(&*fs, "a"), size);
        assert_eq!(codes(&*fs), ["exfat-chain-long"]);
    }
    for (first, size, there) in [
        (39, 4 * 512, 3 * 512),
        (41, 513, 512),
        (42, 1, 0),
        (0, 1, 0),
        (1, 1, 0),
        (u32::MAX, 1, 0),
        (40, u64::MAX, 1024),
        (40, 1 << 62, 1024),
    ] {
        for is_contiguous in [true, false] {
            let set = Set::file("a", first, size, is_contiguous);
            let fs = Builder::new(512, 40).add(set).build().mount().unwrap();
            let there = if is_contiguous { there } else { there.min(512) };
            assert_eq!(readable(&*fs, "a"), there, "{first} {size} {is_contiguous}");
            assert_eq!(codes(&*fs), short, "{first} {size} {is_contiguous}");
        }
    }
}

#[test]
fn sizes_that_contradict_each_other_refuse_the_file() {
    let file = |valid: u64| {
        let set = Set::file("a", 10, 512, true).with_stream(8, &valid.to_le_bytes());
        Builder::new(512, 40).used(&[10]).add(set)
    };
    for volume in [
        file(513),
        file(u64::MAX),
        Builder::new(512, 40).used(&[10]).add(Set::file("a", 10, 512, true).with(1, 1, 2)),
    ] {
        let fs = volume.build().mount().unwrap();
        let node = find(&*fs, "a").unwrap();
        assert_eq!(fs.metadata(node).unwrap().unreadable, Some(FsErrorKind::Corrupt));
        assert_eq!(kind_of(fs.open(node, &StreamName::MAIN)), FsErrorKind::Corrupt);
        assert_eq!(codes(&*fs), ["exfat-sizes"]);
        assert!(checked(&*fs).contains(&"exfat-sizes"));
    }
    let fs = Builder::new(512, 40).used(&[10]).add(Set::file("a", 10, 0, true)).build();
    let fs = fs.mount().unwrap();
    assert_eq!(read(&*fs, "a").unwrap(), b"");
    assert_eq!(codes(&*fs), ["exfat-chain-long"]);
}

/// Mounts a volume whose root directory has `set` between two good files, which are listed.
fn between(set: Set) -> std::sync::Arc<dyn FileSystem> {
    let volume = Builder::new(4096, 40)
        .add(Set::file("before", 0, 0, true))
        .add(set)
        .add(Set::file("after", 0, 0, true));
    let fs = volume.build().mount().unwrap();
    for name in ["before", "after"] {
        assert!(find(&*fs, name).is_ok());
    }
    fs
}

/// What is not listed is told, and no lookup says that there is nothing else.
fn is_refused(fs: &dyn FileSystem) {
    assert_eq!(kind_of(list(fs, fs.root(), 9)), FsErrorKind::Corrupt);
    assert_eq!(kind_of(find(fs, "damaged")), FsErrorKind::Corrupt);
    let found = codes(fs);
    assert!(found.contains(&"exfat-directory") && found.contains(&"exfat-entry-set"), "{found:?}");
    assert!(checked(fs).contains(&"exfat-entry-set"));
}

#[test]
fn a_damaged_set_is_told_and_those_beside_it_are_listed() {
    let good = Set::file("damaged name of 33 characters.txt", 0, 0, true);
    assert_eq!(good.0.len(), 5);
    // A byte of each entry, without a new checksum.
    for (entry, at) in [(0, 4), (0, 9), (1, 24), (2, 2), (3, 31), (4, 2)] {
        let mut set = good.clone();
        set.0[entry][at] ^= 0x20;
        is_refused(&*between(set));
    }
    // Types: of the primary entry, of the others, in use or not.
    for entry in 0..5 {
        for kind in [0x05, 0x80, 0x81, 0x86, 0xA5, 0xC2, 0xE0] {
            let mut set = good.clone();
            set.0[entry][0] = kind;
            is_refused(&*between(set));
        }
    }
    // Counts, with a checksum that is right for the whole set.
    for count in [0, 1, 2, 3, 5, 18, 19, 255] {
        let mut set = good.clone();
        set.0[0][1] = count;
        is_refused(&*between(set.signed()));
    }
    // Lengths of the name.
    for length in [0, 46, 255] {
        is_refused(&*between(good.clone().with(1, 3, length)));
    }
    is_refused(&*between(good.clone().with(1, 3, 15)));
    // Critical entries that nobody knows.
    let mut unknown = [0; 32];
    unknown[0] = 0xC5;
    is_refused(&*between(good.clone().and(unknown)));
    unknown[0] = 0x86;
    is_refused(&*between(Set(vec![unknown]).sealed()));
    // A benign set with a bad checksum.
    unknown[0] = 0xA6;
    unknown[2] = 1;
    is_refused(&*between(Set(vec![unknown])));
}

#[test]
fn entries_for_parts_of_the_volume_belong_to_the_root() {
    for kind in [0x81, 0x82, 0x83] {
        let volume = Builder::new(512, 40);
        let set = Set::directory("sub", 10, &volume);
        let below = [Set(vec![part(kind, 0, 0, 0)]), Set::file("a", 0, 0, true)];
        let fs = volume.add(set).directory(10, &below).build().mount().unwrap();
        let sub = find(&*fs, "sub").unwrap();
        assert!(find(&*fs, "sub/a").is_ok());
        assert_eq!(kind_of(list(&*fs, sub, 9)), FsErrorKind::Corrupt);
        let fs = Builder::new(512, 40).entry(part(kind, 0, 0, 0)).build().mount().unwrap();
        assert_eq!(codes(&*fs), ["exfat-root"]);
    }
}

#[test]
fn entries_after_the_end_of_a_directory_are_told() {
    let volume = Builder::new(4096, 40)
        .add(Set::file("a", 0, 0, true))
        .entry([0; 32])
        .add(Set::file("b", 0, 0, true));
    let fs = volume.build().mount().unwrap();
    assert_eq!(list(&*fs, fs.root(), 9).unwrap().len(), 1);
    assert_eq!(codes(&*fs), ["exfat-directory"]);
    // What was deleted before is nothing.
    let mut gone = Set::file("b", 0, 0, true);
    gone.0.iter_mut().for_each(|entry| entry[0] &= 0x7F);
    let volume = Builder::new(4096, 40).entry([0; 32]).add(gone);
    assert!(codes(&*volume.build().mount().unwrap()).is_empty());
}

#[test]
fn names_that_stand_twice_or_have_another_hash_are_told() {
    let fs = between(Set::file("BEFORE", 0, 0, true));
    assert_eq!(codes(&*fs), ["exfat-name"]);
    let listed = list(&*fs, fs.root(), 9).unwrap();
    assert_eq!(find(&*fs, "before").unwrap(), listed[0].1);
    assert_eq!(find(&*fs, "BEFORE").unwrap(), listed[1].1);
    // The same name: the second gets another one.
    let fs = between(Set::file("before", 0, 0, true));
    assert_eq!(codes(&*fs), ["exfat-name"]);
    let listed = list(&*fs, fs.root(), 9).unwrap();
    assert_eq!((&*listed[0].0, &*listed[1].0), (&b"before"[..], &b"before~2"[..]));
    assert_eq!(find(&*fs, "Before").unwrap(), listed[0].1);
    assert_eq!(find(&*fs, "BEFORE~2").unwrap(), listed[1].1);
    let fs = between(Set::file("other", 0, 0, true).with(1, 4, 0xEE));
    assert_eq!(codes(&*fs), ["exfat-name"]);
    assert!(find(&*fs, "other").is_ok());
}

#[test]
fn clusters_of_two_files_are_given_once() {
    let volume = || {
        Builder::new(512, 40)
            .chain(&[10, 11, 12])
            .add(Set::file("first", 10, 1536, false))
            .chain(&[20, 21])
            .link(21, 12)
            .add(Set::file("second", 20, 1536, false))
            .add(Set::file("third", 12, 512, true))
    };
    let fs = volume().build().mount().unwrap();
    assert_eq!(readable(&*fs, "first"), 1536);
    for _ in 0..2 {
        assert_eq!(readable(&*fs, "second"), 1024);
        assert_eq!(readable(&*fs, "third"), 0);
    }
    assert_eq!(codes(&*fs), ["exfat-cross-link", "exfat-cross-link"]);
    assert_eq!(checked(&*fs), ["exfat-cross-link", "exfat-cross-link"]);
    let fs = volume().build().mount().unwrap();
    assert_eq!(readable(&*fs, "third"), 512);
    assert_eq!(readable(&*fs, "first"), 1024);
    // What the volume itself needs is nobody's.
    for cluster in [BITMAP, UPCASE, ROOT] {
        let fs = Builder::new(512, 40).add(Set::file("a", cluster, 512, true)).build();
        let fs = fs.mount().unwrap();
        assert_eq!(readable(&*fs, "a"), 0);
        assert_eq!(codes(&*fs), ["exfat-cross-link"]);
    }
    let mut note = part(0xE1, 0, 10, 600);
    note[1] = 3;
    let vendor = Set::file("vendor", 0, 0, true).and(note);
    let fs = volume().add(vendor).chain(&[ROOT, 30]).build().mount().unwrap();
    let crossed = checked(&*fs).iter().filter(|code| **code == "exfat-cross-link").count();
    assert_eq!(crossed, 3);
}

#[test]
fn directories_that_share_their_clusters_end_a_walk() {
    // Ten directories below each other; each of them is named five times by the one above, and has the
    // root and itself among its names.
    let mut builder = Builder::new(512, 40);
    let sets = |builder: &Builder, own: u32, below: u32| {
        let to = |name: &str, first| Set::directory(name, first, builder);
        [to("a", below), to("b", below), to("c", below), to("root", ROOT), to("own", own)]
    };
    for level in 10..20 {
        let below = sets(&builder, level, level + 1);
        builder = builder.directory(level, &below);
    }
    for set in sets(&builder, ROOT, 10) {
        builder = builder.add(set);
    }
    let fs = builder.chain(&[ROOT, 30]).used(&[20]).build().mount().unwrap();
    let (mut open, mut names, mut refused) = (vec![fs.root()], 0, 0);
    while let Some(dir) = open.pop() {
        match list(&*fs, dir, 9) {
            Ok(listed) => {
                names += listed.len();
                let below = listed.iter().map(|(_, node, _)| *node);
                open.extend(
                    below.filter(|node| fs.metadata(*node).unwrap().kind == FileKind::Directory),
                );
            }
            Err(error) => {
                assert_eq!(error.kind(), FsErrorKind::Corrupt);
                refused += 1;
            }
        }
        assert!(names < 100);
    }
    // Ten levels with five names each; the last one leads to an empty cluster.
    assert_eq!((names, refused), (11 * 5, 11 * 4));
    assert!(codes(&*fs).contains(&"exfat-cross-link"));
    assert!(checked(&*fs).contains(&"exfat-cross-link"));
}

#[test]
fn directories_with_odd_clusters_are_listed_as_far_as_they_go() {
    let full: Vec<Set> = (0..5).map(|number| Set::file(&number.to_string(), 0, 0, true)).collect();
    let more: Vec<Set> = (5..9).map(|number| Set::file(&number.to_string(), 0, 0, true)).collect();
    let volume = |size: u64, link: u32| {
        let sub = Set::file("sub", 10, size, false).with(0, 4, 0x10);
        let mut entries: Vec<_> = full.iter().flat_map(|set| set.0.clone()).collect();
        // The sixteenth entry of the cluster.
        entries.push([0x05; 32]);
        let builder = Builder::new(512, 40).add(sub).chain(&[10, 20]).link(10, link);
        builder.directory(10, &[Set(entries)]).directory(20, &more).build().mount().unwrap()
    };
    let fs = volume(1024, 20);
    assert_eq!(list(&*fs, find(&*fs, "sub").unwrap(), 3).unwrap().len(), 9);
    assert!(codes(&*fs).is_empty());
    for (size, link, code) in [
        (1024, END, "exfat-chain-short"),
        (1024, 10, "exfat-chain-short"),
        (1024, 0, "exfat-chain-short"),
        (1024, ROOT, "exfat-cross-link"),
    ] {
        let fs = volume(size, link);
        let sub = find(&*fs, "sub").unwrap();
        let mut names = 0;
        let listed = fs.read_dir(sub, crate::node::DirCursor::START, &mut |_| {
            names += 1;
            std::ops::ControlFlow::Continue(())
        });
        assert_eq!(kind_of(listed), FsErrorKind::Corrupt, "{link}");
        assert!(names >= 5 && codes(&*fs).contains(&code), "{link}");
        assert_eq!(kind_of(find(&*fs, "sub/7")), FsErrorKind::Corrupt);
    }
    for (size, code) in [(512, "exfat-chain-long"), (600, "exfat-directory")] {
        let fs = volume(size, 20);
        // What a length in the midst of a set cuts off is told.
        let listed = list(&*fs, find(&*fs, "sub").unwrap(), 9);
        assert_eq!(listed.is_ok(), size == 512);
        assert!(codes(&*fs).contains(&code), "{size}");
    }
    for set in [
        Set::file("sub", 41, 1024, true),
        Set::file("sub", 10, u64::MAX, true),
        Set::file("sub", 10, 1 << 30, true),
    ] {
        let volume = Builder::new(512, 40).add(set.with(0, 4, 0x10));
        let fs = volume.directory(10, &[]).build().mount().unwrap();
        let sub = find(&*fs, "sub").unwrap();
        let _ = list(&*fs, sub, 9);
        assert!(codes(&*fs).contains(&"exfat-chain-short"), "{:?}", codes(&*fs));
    }
    let fs =
        Builder::new(512, 40).add(Set::file("sub", 10, 512, true).with(1, 1, 0).with(0, 4, 0x10));
    let fs = fs.build().mount().unwrap();
    assert_eq!(kind_of(list(&*fs, find(&*fs, "sub").unwrap(), 9)), FsErrorKind::Corrupt);
    // One without clusters has no names.
    let fs = Builder::new(512, 40).add(Set::file("sub", 0, 0, false).with(0, 4, 0x10)).build();
    let fs = fs.mount().unwrap();
    assert!(list(&*fs, find(&*fs, "sub").unwrap(), 9).unwrap().is_empty());
    assert!(codes(&*fs).is_empty());
}

#[test]
fn the_bitmap_is_compared_with_what_is_used() {
    let volume = || Builder::new(512, 40).used(&[10]).add(Set::file("a", 10, 1024, true));
    let fs = volume().build().mount().unwrap();
    assert!(codes(&*fs).is_empty());
    assert_eq!(checked(&*fs), ["exfat-bitmap"]);
    let fs = volume().used(&[11, 20]).build().mount().unwrap();
    assert_eq!(checked(&*fs), ["exfat-lost-clusters"]);
    let fs = volume().used(&[11, 20]).link(20, 0xFFFF_FFF7).build().mount().unwrap();
    assert!(checked(&*fs).is_empty(), "a bad cluster is nobody's");
    // Without a bitmap nothing is known of the rest.
    let root = Builder::new(512, 40).place(ROOT);
    let too_short = volume().build().with(root + 32 + 24, &[4]);
    for volume in [volume().build().with(root + 32, &[0x01]), too_short] {
        let fs = volume.mount().unwrap();
        assert_eq!(codes(&*fs), ["exfat-bitmap"]);
        assert_eq!(kind_of(fs.usage()), FsErrorKind::Corrupt);
        assert_eq!(readable(&*fs, "a"), 1024);
    }
}

#[test]
fn a_root_directory_that_cannot_be_followed_is_told() {
    let fs = Builder::new(512, 40).add(Set::file("a", 0, 0, true)).link(ROOT, ROOT).build();
    let fs = fs.mount().unwrap();
    assert_eq!(codes(&*fs), ["exfat-chain-short"]);
    assert!(find(&*fs, "a").is_ok());
    // The table lies outside the device.
    let mut cut = Builder::new(512, 40).build();
    cut.size = 24 * 512;
    let fs = cut.mount().unwrap();
    assert!(codes(&*fs).contains(&"exfat-root"));
    assert_eq!(kind_of(list(&*fs, fs.root(), 9)), FsErrorKind::Corrupt);
    assert_eq!(kind_of(fs.metadata(NodeId(2))), FsErrorKind::NotFound);
}

#[test]
fn sets_with_any_fields_and_right_checksums_never_panic_or_hang() {
    let all = || Builder::new(512, 60);
    for round in 0..400 {
        let mut numbers = noise(400, round * 7919 + 1).into_iter().map(usize::from);
        let mut next = |below: usize| numbers.next().unwrap_or(0) % below;
        let mut bend = |set: Set| {
            let mut set = set;
            for _ in 0..next(5) {
                let (entry, at) = (next(set.0.len()), next(32));
                set.0[entry][at] = [0, 1, 4, 30, 59, 0xC0, 0xFF][next(7)];
            }
            set.signed()
        };
        let below = [
            bend(Set::file("below", 40, 900, false)),
            bend(Set::directory("own", 30, &all())),
            bend(Set::directory("root", ROOT, &all())),
        ];
        let builder = all()
            .chain(&[20, 22, 21])
            .chain(&[ROOT, 50, 45])
            .directory(30, &below)
            .add(bend(Set::file("a longer name of two parts", 20, 1500, false)))
            .add(bend(Set::file("whole", 10, 3000, true)))
            .add(bend(Set::directory("sub", 30, &all())))
            .add(bend(Set::file("c", 25, 700, true).and(part(0xE1, 0, 35, 600))));
        let (from, to) = (4 + next(50), next(62));
        let volume = builder.link(u32::try_from(from).unwrap(), u32::try_from(to).unwrap());
        let bytes = volume.build().bytes();
        if let Ok(fs) = crate::testing::mount(&ExfatDriver, &bytes[..]) {
            fs.check(&mut |_| {}).unwrap();
            let _ = fs.deleted(&mut |_| std::ops::ControlFlow::Continue(()));
        }
        exercise(&ExfatDriver, bytes);
    }
}
