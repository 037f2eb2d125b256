//! Fast commits, written by hand onto volumes of mke2fs, compared with what e2fsck makes of them.

use std::fs;
use std::process::{Command, Stdio};

use volfold_block::MemoryDevice;

use super::tests::{Scratch, content, mount, opened};
use super::*;
use crate::node::NodeId;
use crate::testing;

/// Blocks of the area, one of which stays free.
const AREA: u64 = 16;
const BLOCK: usize = 1024;
/// The transaction that the fast commits belong to; one was committed before.
const SEQUENCE: u32 = 2;

/// A volume whose journal has room for fast commits.
struct Volume {
    image: Vec<u8>,
    /// Where the area begins.
    area: usize,
    /// Bytes written of it.
    written: usize,
    sum: u32,
}

impl Volume {
    /// `None` without e2fsprogs.
    fn new(scratch: &Scratch) -> Option<Self> {
        let tree = scratch.tree();
        fs::create_dir(tree.join("dir")).unwrap();
        fs::write(tree.join("stay"), vec![1; 9000]).unwrap();
        fs::write(tree.join("old name"), b"renamed").unwrap();
        fs::write(tree.join("dir/gone"), b"gone").unwrap();
        fs::write(tree.join("donor"), vec![9; 4 * BLOCK]).unwrap();
        scratch.volume("8M", &["-t", "ext4", "-O", "fast_commit", "-b", "1024"])?;
        fs::write(scratch.tree().join("../block"), [0; BLOCK]).unwrap();
        let image = scratch.debugfs("jo -c -v 3\njw -b 8000 block\njc\n");
        let journal = journal_block(&image, 0);
        let mut volume = Self { image, area: 0, written: 0, sum: 0 };
        let superblock = &mut volume.image[journal..journal + BLOCK];
        superblock[0x2B] |= 0x20;
        superblock[0x54..0x58].copy_from_slice(&u32::try_from(AREA).unwrap().to_be_bytes());
        superblock[0xFC..0x100].fill(0);
        let sum = checksum::sum(superblock);
        superblock[0xFC..0x100].copy_from_slice(&sum.to_be_bytes());
        let blocks = u32::from_be_bytes(superblock[0x10..0x14].try_into().unwrap());
        volume.area = journal_block(&volume.image, u64::from(blocks) - AREA + 1);
        let mut head = 0_u32.to_le_bytes().to_vec();
        head.extend(SEQUENCE.to_le_bytes());
        volume.tag(9, &head);
        Some(volume)
    }

    fn tag(&mut self, tag: u16, value: &[u8]) {
        let mut bytes = tag.to_le_bytes().to_vec();
        bytes.extend(u16::try_from(value.len()).unwrap().to_le_bytes());
        bytes.extend(value);
        self.sum = checksum::update(self.sum, &bytes);
        self.write(&bytes);
    }

    fn write(&mut self, bytes: &[u8]) {
        let at = self.area + self.written;
        self.image[at..at + bytes.len()].copy_from_slice(bytes);
        self.written += bytes.len();
    }

    /// Ends the commit, and the block with it.
    fn commit(&mut self) {
        let left = BLOCK - (self.written + 4) % BLOCK;
        let mut tail = 8_u16.to_le_bytes().to_vec();
        tail.extend(u16::try_from(left).unwrap().to_le_bytes());
        tail.extend(SEQUENCE.to_le_bytes());
        let sum = checksum::update(self.sum, &tail);
        tail.extend(sum.to_le_bytes());
        tail.resize(4 + left, 0);
        self.write(&tail);
        self.sum = 0;
    }

    fn name(&mut self, tag: u16, parent: u64, inode: u64, name: &str) {
        let mut value = u32::try_from(parent).unwrap().to_le_bytes().to_vec();
        value.extend(u32::try_from(inode).unwrap().to_le_bytes());
        value.extend(name.as_bytes());
        self.tag(tag, &value);
    }

    fn range(&mut self, inode: u64, start: u32, length: u16, block: u64) {
        let mut value = u32::try_from(inode).unwrap().to_le_bytes().to_vec();
        value.extend(start.to_le_bytes());
        value.extend(length.to_le_bytes());
        value.extend(u16::try_from(block >> 32).unwrap().to_le_bytes());
        value.extend(u32::try_from(block & 0xFFFF_FFFF).unwrap().to_le_bytes());
        self.tag(1, &value);
    }

    fn hole(&mut self, inode: u64, start: u32, length: u32) {
        let mut value = u32::try_from(inode).unwrap().to_le_bytes().to_vec();
        value.extend(start.to_le_bytes());
        value.extend(length.to_le_bytes());
        self.tag(2, &value);
    }

    /// The inode `number` as `like` is, with this size.
    fn inode(&mut self, number: u64, like: u64, size: u32) {
        let (_, mut bytes) = opened(&self.image, NodeId(like));
        bytes[4..8].copy_from_slice(&size.to_le_bytes());
        let mut value = u32::try_from(number).unwrap().to_le_bytes().to_vec();
        value.extend(&bytes[..160]);
        self.tag(6, &value);
    }
}

/// Where the block `number` of the journal lies.
fn journal_block(image: &[u8], number: u64) -> usize {
    let reader = VolumeReader::uncached(Arc::new(MemoryDevice::new(image)));
    let volume = volume::Volume::read(reader).unwrap();
    let inode = volume.read_inode(8, &mut Vec::new()).unwrap();
    let at = map::read(&volume, &inode).unwrap().position(number * 1024).unwrap();
    usize::try_from(at).unwrap()
}

/// The volume as e2fsck leaves it.
fn checked(scratch: &Scratch, image: &[u8]) -> Vec<u8> {
    let path = scratch.tree().join("../checked");
    fs::write(&path, image).unwrap();
    let path_variable = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap());
    let status = Command::new("e2fsck")
        .args(["-f", "-y"])
        .arg(&path)
        .env("PATH", path_variable)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .unwrap();
    assert!(status.code().is_some_and(|code| code < 4), "{status}");
    fs::read(&path).unwrap()
}

fn codes(fs: &dyn FileSystem) -> Vec<&'static str> {
    fs.findings().iter().map(|finding| finding.code.as_str()).collect()
}

#[test]
fn fast_commits_are_read_as_e2fsck_applies_them() {
    let scratch = Scratch::new();
    let Some(mut volume) = Volume::new(&scratch) else {
        return;
    };
    let before = mount(volume.image.clone()).unwrap();
    let find = |path: &str| testing::find(&*before, path).unwrap().0;
    let (root, dir, stay) = (before.root().0, find("dir"), find("stay"));
    let (old, gone, donor) = (find("old name"), find("dir/gone"), find("donor"));
    let (donated, _) = opened(&volume.image, NodeId(donor));
    let new = 40;
    // A rename, in a commit of its own.
    volume.name(4, dir, old, "new name");
    volume.name(5, root, old, "old name");
    volume.commit();
    // A new file with two of the blocks of one that goes, and a file that is gone.
    volume.name(5, root, donor, "donor");
    volume.inode(new, stay, 3000);
    volume.hole(new, 0, 8);
    volume.range(new, 0, 2, donated);
    volume.range(new, 2, 1, donated + 3);
    volume.name(3, root, new, "created");
    volume.inode(new, stay, 3000);
    volume.name(5, dir, gone, "gone");
    volume.commit();
    // A file that is larger now, with a hole and an extent that was never written.
    volume.hole(stay, 2, 1);
    volume.range(stay, 9, 0x8000 + 1, donated + 2);
    volume.inode(stay, stay, 10_000);
    volume.commit();
    // What was begun and has no end.
    volume.name(5, root, stay, "stay");

    let found = mount(volume.image.clone()).unwrap();
    assert_eq!(codes(&*found), ["ext4-journal-replayed"]);
    assert!(found.findings()[0].message.contains("3 fast commits"), "{:?}", found.findings());
    let files = testing::tree(&*found);
    let names: Vec<_> = files.keys().map(String::as_str).collect();
    assert_eq!(names, ["created", "dir/new name", "stay"]);
    assert_eq!(files["created"], [9; 3000]);
    assert_eq!(files["dir/new name"], b"renamed");
    let mut expected = vec![1; 9000];
    expected[2048..3072].fill(0);
    expected.resize(10_000, 0);
    assert!(files["stay"] == expected);
    found.check(&mut |finding| panic!("{finding}")).unwrap();

    let after = mount(checked(&scratch, &volume.image)).unwrap();
    let mut right = testing::tree(&*after);
    // Inodes that have lost their last name.
    right.retain(|name, _| !name.starts_with("lost+found/"));
    assert_eq!(right.keys().collect::<Vec<_>>(), files.keys().collect::<Vec<_>>());
    for (name, bytes) in &right {
        assert!(*bytes == files[name], "{name}");
    }
}

#[test]
fn a_new_directory_has_the_names_of_its_fast_commits_alone() {
    let scratch = Scratch::new();
    let Some(mut volume) = Volume::new(&scratch) else {
        return;
    };
    let before = mount(volume.image.clone()).unwrap();
    let find = |path: &str| testing::find(&*before, path).unwrap().0;
    let (root, dir, stay) = (before.root().0, find("dir"), find("stay"));
    let (donated, _) = opened(&volume.image, NodeId(find("donor")));
    volume.inode(40, dir, 1024);
    // Its block was not written yet.
    volume.range(40, 0, 1, donated);
    volume.name(3, root, 40, "new");
    volume.name(4, 40, stay, "one");
    volume.name(4, 40, stay, "two");
    volume.name(5, 40, stay, "one");
    volume.commit();
    let found = mount(volume.image).unwrap();
    assert_eq!(codes(&*found), ["ext4-journal-replayed"]);
    let listed = testing::list(&*found, NodeId(40), 1).unwrap();
    assert_eq!(listed.iter().map(|(name, ..)| &name[..]).collect::<Vec<_>>(), [b"two"]);
    assert_eq!(found.metadata(NodeId(stay)).unwrap().links, 2);
    assert!(content(&*found, testing::find(&*found, "new/two").unwrap()) == [1; 9000]);
    assert_eq!(codes(&*found), ["ext4-journal-replayed"]);
}

#[test]
fn fast_commits_that_cannot_be_applied_are_told() {
    let scratch = Scratch::new();
    let Some(volume) = Volume::new(&scratch) else {
        return;
    };
    let stay = testing::find(&*mount(volume.image.clone()).unwrap(), "stay").unwrap().0;
    let Volume { image, area, .. } = volume;
    let volume = |tags: &dyn Fn(&mut Volume)| {
        let mut volume = Volume { image: image.clone(), area, written: 16 - 4, sum: 0 };
        volume.sum = checksum::update(0, &image[area..area + 12]);
        tags(&mut volume);
        volume
    };
    let told = |volume: &Volume, text: &str| {
        let fs = mount(volume.image.clone()).unwrap();
        let finding = fs.findings().into_iter().next().unwrap();
        assert!(finding.code == "ext4-fast-commits-not-replayed", "{finding:?}");
        assert!(finding.code.bears_on_content());
        assert!(finding.message.contains(text), "{finding:?}");
        assert!(finding.message.contains("fast commits"), "{finding:?}");
        assert!(content(&*fs, NodeId(stay)) == [1; 9000], "the rest is read as it is");
    };
    told(&volume(&|_| {}), "none of them ends");
    let mut bent = volume(&|volume| {
        volume.name(5, 2, stay, "stay");
        volume.commit();
    });
    bent.image[area + 20] ^= 1;
    told(&bent, "bad checksum");
    told(
        &volume(&|volume| {
            volume.name(4, 2, 5_000_000, "far");
            volume.commit();
        }),
        "does not exist",
    );
    told(
        &volume(&|volume| {
            volume.name(4, stay, stay, "below a file");
            volume.commit();
        }),
        "no directory",
    );
    let mut features = volume(&|_| {});
    features.image[area + 4] = 1;
    told(&features, "unknown features");
}

#[test]
fn no_tag_brings_the_reader_down() {
    let scratch = Scratch::new();
    let Some(start) = Volume::new(&scratch) else {
        return;
    };
    let (_, inode) = opened(&start.image, NodeId(2));
    for round in 0..100 {
        let mut volume = Volume { image: start.image.clone(), ..start };
        let mut random = testing::noise(2000, round * 31 + 7).into_iter();
        let mut next = |most: u32| {
            let bytes = [(); 4].map(|()| random.next().unwrap_or_default());
            u32::from_le_bytes(bytes) % most
        };
        for _ in 0..24 {
            let some_inode =
                u64::from([0_u32, 2, 11, 12, 13, 14, 15, 40, u32::MAX][next(9) as usize]);
            let other = u64::from([2_u32, 12, 13, 40, 41][next(5) as usize]);
            let length = [0, 1, 9, 0x8000, 0x8001, 0xFFFF][next(6) as usize];
            let block = [0, 1, 3, 900, 5000, 8191, u64::MAX >> 16][next(7) as usize];
            match next(7) {
                0 => volume.range(other, next(12), length, block),
                1 => volume.hole(other, next(12), next(u32::MAX)),
                2 => {
                    let mut value = u32::try_from(other).unwrap().to_le_bytes().to_vec();
                    value.extend(&inode[..160]);
                    let at = 4 + next(160) as usize;
                    value[at] ^= 1 << next(8);
                    volume.tag(6, &value);
                }
                kind => {
                    let name = ["stay", "dir", "gone", "x", "a/b"][next(5) as usize];
                    volume.name([3, 4, 5, 4][kind as usize - 3], some_inode, other, name);
                }
            }
            if volume.written % BLOCK > BLOCK - 400 {
                volume.commit();
            }
        }
        volume.commit();
        let image = volume.image;
        if let Ok(fs) = mount(image.clone()) {
            fs.check(&mut |_| {}).unwrap();
        }
        testing::exercise(&Ext4Driver, image);
    }
}
