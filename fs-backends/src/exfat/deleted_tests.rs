//! Deleted files, on volumes that are built in memory.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use super::testing::*;
use crate::error::{FsErrorKind, Reason};
use crate::node::{Deleted, FileKind, FileSystem};
use crate::testing::{content, kind_of, noise};

/// The same set, deleted.
fn gone(mut set: Set) -> Set {
    set.0.iter_mut().for_each(|entry| entry[0] &= 0x7F);
    set
}

fn deleted(fs: &dyn FileSystem) -> BTreeMap<String, Deleted> {
    let mut found = BTreeMap::new();
    fs.deleted(&mut |one| {
        let path = String::from_utf8(one.path.join(&b'/')).unwrap();
        assert!(found.insert(path, one).is_none());
        ControlFlow::Continue(())
    })
    .unwrap();
    found
}

#[test]
fn what_was_deleted_has_its_name_its_directory_and_its_bytes() {
    let bytes = noise(1200, 5);
    let all = || Builder::new(512, 60);
    let below = [gone(Set::file("inner.bin", 40, 5, true)), Set::file("living there", 0, 0, true)];
    let mut builder = all()
        .fill(10, &bytes)
        .fill(20, &bytes[..512])
        .fill(22, &bytes[512..1024])
        .fill(21, &bytes[1024..])
        .fill(40, b"inner")
        .directory(30, &below)
        .directory(31, &[gone(Set::file("in a living one.txt", 0, 0, true))])
        .chain(&[20, 22, 21]);
    // What it had is free.
    builder.used = all().used;
    let valid = 700_u64;
    let fs = builder
        .used(&[31])
        .chain(&[ROOT, 50, 45])
        .add(gone(Set::file("Whole with a longer name.bin", 10, 1200, true)))
        .add(gone(Set::file("chained.bin", 20, 1200, false)))
        .add(gone(Set::file("valid", 10, 1200, true).with_stream(8, &valid.to_le_bytes())))
        .add(gone(Set::directory("gone", 30, &all())))
        .add(Set::directory("living", 31, &all()))
        .build()
        .mount()
        .unwrap();
    let found = deleted(&*fs);
    let paths: Vec<&str> = found.keys().map(String::as_str).collect();
    let wanted = [
        "Whole with a longer name.bin",
        "chained.bin",
        "gone",
        "gone/inner.bin",
        "gone/living there",
        "living/in a living one.txt",
        "valid",
    ];
    assert_eq!(paths, wanted);
    let read = |path: &str| content(&*fs.open_deleted(found[path].metadata.node).unwrap()).unwrap();
    assert!(read("Whole with a longer name.bin") == bytes);
    assert!(read("chained.bin") == bytes);
    assert_eq!(read("gone/inner.bin"), b"inner");
    let mut cut = bytes.clone();
    cut[700..].fill(0);
    assert!(read("valid") == cut);
    let directory = &found["gone"].metadata;
    assert_eq!(directory.kind, FileKind::Directory);
    assert_eq!(kind_of(fs.open_deleted(directory.node)), FsErrorKind::IsADirectory);
    assert!(found.values().all(|one| one.metadata.unreadable.is_none()));
    let pieces = found["chained.bin"].places.iter().map(|place| place.end - place.start);
    assert_eq!(pieces.collect::<Vec<_>>(), [512, 512, 512]);
    // By the living nodes nothing of it is given.
    assert_eq!(kind_of(fs.metadata(found["valid"].metadata.node)), FsErrorKind::NotFound);
    assert!(codes(&*fs).is_empty(), "{:?}", codes(&*fs));
}

#[test]
fn what_is_not_known_to_be_there_is_refused() {
    let builder = || Builder::new(512, 60).chain(&[ROOT, 50, 45]);
    let refused = |reason| Some(FsErrorKind::Undecodable(reason));
    let fs = builder()
        .used(&[12])
        .add(gone(Set::file("free", 10, 1024, true)))
        .add(gone(Set::file("over", 10, 1025, true)))
        .add(gone(Set::file("cleared", 20, 1025, false)))
        .add(gone(Set::file("one cluster", 20, 512, false)))
        .add(gone(Set::file("outside", 60, 5000, true)))
        .add(gone(Set::file("nowhere", 0, 5, true)))
        .add(gone(Set::file("sizes", 10, 100, true).with_stream(8, &[101])))
        .build()
        .mount()
        .unwrap();
    let found = deleted(&*fs);
    for (path, why) in [
        ("free", None),
        ("over", refused(Reason::OVERWRITTEN)),
        ("cleared", refused(Reason::PLACE_LOST)),
        ("one cluster", None),
        ("outside", refused(Reason::PLACE_LOST)),
        ("nowhere", refused(Reason::PLACE_LOST)),
        ("sizes", Some(FsErrorKind::Corrupt)),
    ] {
        let one = &found[path].metadata;
        assert_eq!(one.unreadable, why, "{path}");
        assert_eq!(fs.open_deleted(one.node).err().map(|error| error.kind()), why, "{path}");
    }
    // A set with a bad checksum, one that is deleted in part, and one whose end was overwritten.
    let mut bad = gone(Set::file("bad", 0, 0, true));
    bad.0[1][9] = 1;
    let mut part = Set::file("part", 0, 0, true);
    part.0[0][0] = 0x05;
    let mut cut = gone(Set::file("a name of two parts that is cut", 0, 0, true));
    cut.0.pop();
    let fs = builder().add(bad).add(part).add(cut).build().mount().unwrap();
    assert!(deleted(&*fs).is_empty());
    // Without a bitmap nobody knows what is free.
    let root = builder().place(ROOT);
    let fs = builder().build().with(root + 32, &[0x01]).mount().unwrap();
    assert_eq!(kind_of(fs.deleted(&mut |_| ControlFlow::Continue(()))), FsErrorKind::Corrupt);
}

#[test]
fn deleted_directories_in_each_other_end_a_walk() {
    let mut builder = Builder::new(512, 60);
    let sets = |own: u32, other: u32| {
        let to = |name: &str, first| gone(Set::directory(name, first, &Builder::new(512, 60)));
        [to("own", own), to("other", other), to("more", other)]
    };
    for level in 10..20 {
        builder = builder.directory(level, &sets(level, level + 1));
    }
    builder.used = Builder::new(512, 60).used;
    for set in sets(ROOT, 10) {
        builder = builder.add(set);
    }
    let fs = builder.chain(&[ROOT, 50]).build().mount().unwrap();
    let mut count = 0;
    fs.deleted(&mut |_| {
        count += 1;
        ControlFlow::Continue(())
    })
    .unwrap();
    assert_eq!(count, 11 * 3);
}
