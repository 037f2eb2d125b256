//! Names in large directories, found by hashes that e2fsprogs wrote.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use volfold_block::{BlockDevice, MemoryDevice};

use super::dir::Directory;
use super::hash_tree::{self, Answer};
use super::tests::{Scratch, mount};
use super::volume::Volume;
use super::{casefold, inode};
use crate::driver::VolumeReader;
use crate::error::FsErrorKind;
use crate::node::{FileSystem, Name, NodeId};
use crate::testing;

/// How many of `names` the hash tree of the directory `number` of `image` has.
fn found_by_hash(image: Vec<u8>, number: u32, names: &[Vec<u8>]) -> usize {
    let device: Arc<dyn BlockDevice> = Arc::new(MemoryDevice::new(image));
    let volume = Volume::read(VolumeReader::uncached(device)).unwrap();
    let mut bytes = Vec::new();
    let inode = volume.read_inode(number, &mut bytes).unwrap();
    let directory = Directory::open(&volume, inode, &bytes).unwrap();
    assert!(directory.has_hash_tree());
    let found = |name: &&Vec<u8>| {
        let key = |name: &[u8]| match directory.folds_case() {
            true => casefold::fold(name).into_owned(),
            false => name.to_vec(),
        };
        let wanted = key(name.as_slice());
        let answer = hash_tree::find(&directory, &wanted, &|other| key(other) == wanted).unwrap();
        matches!(answer, Answer::Found(_))
    };
    names.iter().filter(found).count()
}

/// e2fsck makes the trees, by each kind of hash; it knows those of machines whose `char` has no sign.
#[test]
fn names_are_found_by_hashes_of_every_kind() {
    let scratch = Scratch::new();
    let name =
        |number: u32| format!("name \u{e4}\u{ff}\u{65e5} {number} {}", "x".repeat(60)).into_bytes();
    let names: Vec<Vec<u8>> = (0..900).map(name).collect();
    for name in &names {
        fs::write(scratch.tree().join(OsStr::from_bytes(name)), b"").unwrap();
    }
    let absent: Vec<Vec<u8>> = (900..1000).map(name).collect();
    for (features, sum) in [("metadata_csum", true), ("^metadata_csum", false)] {
        for kind in ["legacy", "half_md4", "tea"] {
            for sign in [1, 2] {
                let options = ["-t", "ext4", "-b", "1024", "-N", "2000", "-O", features];
                if scratch.volume("16M", &options).is_none() {
                    return;
                }
                let hash = format!("hash_alg={kind}");
                assert!(scratch.run("tune2fs", &["-E", &hash, "image"]));
                let _ = scratch.debugfs(&format!("ssv flags {sign}\n"));
                // 1: the directories were made anew.
                scratch.run_any("e2fsck", &["-fyD", "image"]);
                let image = scratch.image();
                let case = format!("{features} {kind} {sign} {sum}");
                assert_eq!(
                    found_by_hash(image.clone(), inode::ROOT, &names),
                    names.len(),
                    "{case}"
                );
                assert_eq!(found_by_hash(image.clone(), inode::ROOT, &absent), 0, "{case}");
                let fs = mount(image).unwrap();
                for name in &names {
                    assert!(fs.lookup(fs.root(), Name::new(name)).is_ok(), "{case}");
                }
                assert!(fs.lookup(fs.root(), Name::new(&absent[0])).is_err());
                assert!(fs.findings().is_empty(), "{case}: {:?}", fs.findings());
            }
        }
    }
}

fn in_other_case(name: &[u8]) -> Vec<u8> {
    let text = std::str::from_utf8(name).unwrap();
    let mut other = String::new();
    for (index, letter) in text.chars().enumerate() {
        match index % 2 {
            0 => other.extend(letter.to_uppercase()),
            _ => other.extend(letter.to_lowercase()),
        }
    }
    other.into_bytes()
}

/// The kernel that makes the tests need not know of case; e2fsck hashes the directory anew.
#[test]
fn names_are_found_in_any_case_where_a_directory_says_so() {
    let scratch = Scratch::new();
    let folded = scratch.tree().join("folded");
    fs::create_dir(&folded).unwrap();
    fs::create_dir(scratch.tree().join("plain")).unwrap();
    fs::write(scratch.tree().join("plain/Name"), b"").unwrap();
    let mut names: Vec<Vec<u8>> = (0..400)
        .map(|number| format!("N\u{e4}me {number} \u{130}\u{1e9e}{}", "y".repeat(70)).into_bytes())
        .collect();
    names.push("A\u{30a}ngstr\u{f6}m".as_bytes().to_vec());
    names.push("\u{3a3}\u{3af}\u{3c3}\u{3c5}\u{3c6}\u{3bf}\u{3c2}".as_bytes().to_vec());
    for name in &names {
        fs::write(folded.join(OsStr::from_bytes(name)), b"").unwrap();
    }
    let no_text = b"No \xff Text";
    // e2fsck does not hash directories with such names.
    fs::create_dir(scratch.tree().join("small")).unwrap();
    fs::write(scratch.tree().join("small").join(OsStr::from_bytes(no_text)), b"").unwrap();
    for features in ["metadata_csum", "^metadata_csum"] {
        let all = format!("casefold,{features}");
        let options = ["-t", "ext4", "-b", "1024", "-O", &all, "-E", "encoding=utf8"];
        if scratch.volume("16M", &options).is_none() {
            return;
        }
        let _ = scratch.debugfs("sif folded flags 0x40080000\nsif small flags 0x40080000\n");
        scratch.run_any("e2fsck", &["-fyD", "image"]);
        assert!(scratch.run("e2fsck", &["-fn", "image"]), "its hashes are right");
        let image = scratch.image();
        let fs = mount(image.clone()).unwrap();
        let dir = fs.lookup(fs.root(), Name::new("folded")).unwrap();
        let others: Vec<Vec<u8>> = names.iter().map(|name| in_other_case(name)).collect();
        let number = u32::try_from(dir.0).unwrap();
        assert_eq!(found_by_hash(image.clone(), number, &names), names.len());
        assert_eq!(found_by_hash(image, number, &others), names.len());
        for (name, other) in names.iter().zip(&others) {
            let node = fs.lookup(dir, Name::new(name)).unwrap();
            assert_eq!(fs.lookup(dir, Name::new(other)).unwrap(), node, "{other:?}");
        }
        let single = fs.lookup(dir, Name::new("\u{212b}NGSTRO\u{308}M")).unwrap();
        assert_eq!(single, fs.lookup(dir, Name::new(&names[400])).unwrap());
        let small = fs.lookup(fs.root(), Name::new("small")).unwrap();
        assert!(fs.lookup(small, Name::new(no_text)).is_ok());
        is_absent(&*fs, small, b"no \xff text");
        is_absent(&*fs, dir, b"absent");
        let plain = fs.lookup(fs.root(), Name::new("plain")).unwrap();
        assert!(fs.lookup(plain, Name::new("Name")).is_ok());
        is_absent(&*fs, plain, b"name");
        is_absent(&*fs, fs.root(), b"FOLDED");
        assert!(fs.findings().is_empty(), "{:?}", fs.findings());
    }
}

#[test]
fn of_names_that_differ_in_case_the_one_that_is_spelt_so_is_meant() {
    let scratch = Scratch::new();
    for (folder, others) in [("small", 0), ("large", 400)] {
        let folder = scratch.tree().join(folder);
        fs::create_dir(&folder).unwrap();
        for name in ["B \u{e4}.txt", "b \u{c4}.TXT", "b \u{e4}.TXT"] {
            fs::write(folder.join(name), name).unwrap();
        }
        for number in 0..others {
            fs::write(folder.join(format!("{number} {}", "x".repeat(60))), b"").unwrap();
        }
    }
    let options = ["-t", "ext4", "-b", "1024", "-O", "casefold", "-E", "encoding=utf8"];
    if scratch.volume("16M", &options).is_none() {
        return;
    }
    let _ = scratch.debugfs("sif small flags 0x40080000\nsif large flags 0x40080000\n");
    let fs = mount(scratch.image()).unwrap();
    for folder in ["small", "large"] {
        for name in ["B \u{e4}.txt", "b \u{c4}.TXT", "b \u{e4}.TXT"] {
            let path = format!("{folder}/{name}");
            assert_eq!(testing::read(&*fs, &path).unwrap(), name.as_bytes(), "{path}");
        }
        assert!(testing::find(&*fs, &format!("{folder}/B \u{c4}.TXT")).is_ok());
    }
}

#[test]
fn a_name_that_a_directory_has_twice_is_told() {
    let scratch = Scratch::new();
    fs::write(scratch.tree().join("one.txt"), b"1").unwrap();
    fs::write(scratch.tree().join("two.txt"), b"2").unwrap();
    let Some(mut image) = scratch.volume("4M", &["-t", "ext2", "-b", "1024"]) else { return };
    let at = image.windows(7).position(|bytes| bytes == b"two.txt").unwrap();
    image[at..at + 7].copy_from_slice(b"one.txt");
    let fs = mount(image).unwrap();
    let names = testing::list(&*fs, fs.root(), 100).unwrap();
    assert_eq!(names.iter().filter(|(name, ..)| name == b"one.txt").count(), 2);
    let told = |findings: &[volfold_block::Finding]| {
        findings.iter().any(|finding| finding.code == "ext4-name-twice")
    };
    assert!(told(&fs.findings()), "{:?}", fs.findings());
    let mut found = Vec::new();
    fs.check(&mut |finding| found.push(finding)).unwrap();
    assert!(told(&found), "{found:?}");
}

fn is_absent(fs: &dyn FileSystem, dir: NodeId, name: &[u8]) {
    let error = fs.lookup(dir, Name::new(name)).unwrap_err();
    assert_eq!(error.kind(), FsErrorKind::NotFound);
}

/// Without checksums a hash that was changed makes the tree lose names, which the index then finds.
#[test]
fn a_damaged_hash_tree_hides_no_name_and_is_told() {
    let scratch = Scratch::new();
    let name = |number: u32| format!("name {number} {}", "x".repeat(60)).into_bytes();
    let names: Vec<Vec<u8>> = (0..900).map(name).collect();
    for name in &names {
        fs::write(scratch.tree().join(OsStr::from_bytes(name)), b"").unwrap();
    }
    for features in ["metadata_csum", "^metadata_csum"] {
        let options = ["-t", "ext4", "-b", "1024", "-N", "2000", "-O", features];
        if scratch.volume("16M", &options).is_none() {
            return;
        }
        scratch.run_any("e2fsck", &["-fyD", "image"]);
        let image = scratch.image();
        let root = position_of_root(&image);
        for (at, value) in [(0x1C, 9), (0x1E, 2), (0x1F, 1), (0x20, 1), (0x2B, 0x7F), (0x2C, 200)] {
            let mut bent = image.clone();
            bent[root + at] ^= value;
            let fs = mount(bent).unwrap();
            let lost = names.iter().filter(|name| fs.lookup(fs.root(), Name::new(name)).is_err());
            let lost = lost.count();
            let told = fs.findings().iter().any(|finding| finding.code == "ext4-hash-tree");
            assert!(told, "{features} {at:x}: {lost} lost, {:?}", fs.findings());
            assert_eq!(lost, 0, "{features} {at:x}");
        }
    }
}

/// With encryption and without regard to case the hash has a key: all names are looked at, and nothing is wrong.
#[test]
fn names_with_keyed_hashes_are_found_one_by_one() {
    let scratch = Scratch::new();
    let names: Vec<Vec<u8>> =
        (0..900).map(|number| format!("name {number}").into_bytes()).collect();
    for name in &names {
        fs::write(scratch.tree().join(OsStr::from_bytes(name)), b"").unwrap();
    }
    let options = ["-t", "ext4", "-b", "1024", "-N", "2000", "-O", "^metadata_csum"];
    if scratch.volume("16M", &options).is_none() {
        return;
    }
    scratch.run_any("e2fsck", &["-fyD", "image"]);
    let mut image = scratch.image();
    let root = position_of_root(&image);
    image[root + 0x1C] = 6;
    let fs = mount(image).unwrap();
    assert!(names.iter().all(|name| fs.lookup(fs.root(), Name::new(name)).is_ok()));
    is_absent(&*fs, fs.root(), b"absent");
    assert!(fs.findings().is_empty(), "{:?}", fs.findings());
}

/// Where block 0 of the root directory lies.
fn position_of_root(image: &[u8]) -> usize {
    let start = [2, 0, 0, 0, 12, 0, 1, 2, b'.', 0, 0, 0, 2, 0, 0, 0];
    (0..image.len()).step_by(1024).find(|&at| image[at..].starts_with(&start)).unwrap()
}
