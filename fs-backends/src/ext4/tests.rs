//! Volumes made by e2fsprogs, compared with the tree they were made of.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io::{Seek, SeekFrom, Write};
use std::ops::ControlFlow;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use volfold_block::MemoryDevice;

use super::*;
use crate::driver::OtherVolumes;
use crate::error::FsErrorKind;
use crate::node::{DirCursor, FileExtentKind, FileKind, Name, NodeId, StreamName};
use crate::testing;

/// A folder of the host with a folder `tree`, of which volumes are made.
pub(super) struct Scratch(testing::Scratch);

impl Scratch {
    pub(super) fn new() -> Self {
        let scratch = testing::Scratch::new("ext4");
        fs::create_dir_all(scratch.0.join("tree")).unwrap();
        Self(scratch)
    }

    pub(super) fn tree(&self) -> PathBuf {
        self.path("tree")
    }

    pub(super) fn run(&self, tool: &str, arguments: &[&str]) -> bool {
        self.0.run(tool, arguments)
    }

    /// Runs `tool`, whatever it says at its end.
    pub(super) fn run_any(&self, tool: &str, arguments: &[&str]) {
        let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap());
        let mut command = std::process::Command::new(tool);
        command.args(arguments).env("PATH", path).current_dir(&self.0.0);
        command.output().unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.0.join(name)
    }

    /// The bytes of a volume with the tree in it; `None` if mke2fs is not there.
    pub(super) fn volume(&self, size: &str, options: &[&str]) -> Option<Vec<u8>> {
        let mut arguments = vec!["-q", "-F", "-d", "tree", "-L", "a label"];
        arguments.extend(["-U", "01234567-89ab-cdef-0123-456789abcdef"]);
        arguments.extend(options);
        arguments.extend(["image", size]);
        let _ = fs::remove_file(self.path("image"));
        self.run("mke2fs", &arguments).then(|| self.image())
    }

    pub(super) fn image(&self) -> Vec<u8> {
        fs::read(self.path("image")).unwrap()
    }

    /// Lets debugfs do `commands` to the volume made last.
    pub(super) fn debugfs(&self, commands: &str) -> Vec<u8> {
        fs::write(self.path("commands"), commands).unwrap();
        assert!(self.run("debugfs", &["-w", "-f", "commands", "image"]));
        self.image()
    }
}

fn pattern(length: usize, seed: usize) -> Vec<u8> {
    (0..length).map(|index| u8::try_from((index / 7 + index * seed) % 251).unwrap()).collect()
}

fn plant(root: &Path) {
    fs::write(root.join("empty"), b"").unwrap();
    fs::write(root.join("tiny"), b"forty bytes or so fit into the inode").unwrap();
    fs::write(root.join("inline"), pattern(100, 3)).unwrap();
    fs::write(root.join("large"), pattern(700_001, 5)).unwrap();
    let mut sparse = fs::File::create(root.join("sparse")).unwrap();
    for at in [0, 200_000, 1_000_000] {
        sparse.seek(SeekFrom::Start(at)).unwrap();
        sparse.write_all(&pattern(5000, 11)).unwrap();
    }
    sparse.set_len(3_000_000).unwrap();
    fs::hard_link(root.join("large"), root.join("hard")).unwrap();
    symlink("tiny", root.join("short")).unwrap();
    symlink("x/".repeat(70), root.join("long")).unwrap();
    fs::create_dir_all(root.join("a/b/c")).unwrap();
    fs::write(root.join("a/b/c/deep"), b"deep").unwrap();
    for name in [&b"\xff\xfe odd"[..], b"two\nlines", b" ", "n\u{e4}me".as_bytes()] {
        fs::write(root.join(OsStr::from_bytes(name)), name).unwrap();
    }
    fs::write(root.join("n".repeat(255)), b"long name").unwrap();
    fs::create_dir(root.join("many")).unwrap();
    for number in 0..300 {
        fs::write(root.join(format!("many/name number {number}")), b"").unwrap();
    }
}

pub(super) fn mount(image: Vec<u8>) -> FsResult<Arc<dyn FileSystem>> {
    testing::mount(&Ext4Driver, image)
}

fn names(fs: &dyn FileSystem, dir: NodeId) -> BTreeMap<Vec<u8>, (NodeId, FileKind)> {
    let mut names = BTreeMap::new();
    let mut cursor = DirCursor::START;
    loop {
        let before = names.len();
        fs.read_dir(dir, cursor, &mut |entry| {
            let name = entry.name.as_bytes().to_vec();
            let twice = names.insert(name, (entry.node, entry.kind));
            assert!(twice.is_none(), "{:?} comes twice", entry.name);
            cursor = entry.next;
            if names.len() % 7 == 0 {
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        })
        .unwrap();
        if names.len() == before {
            return names;
        }
    }
}

pub(super) fn content(fs: &dyn FileSystem, node: NodeId) -> Vec<u8> {
    let file = fs.open(node, &StreamName::MAIN).unwrap();
    let mut bytes = vec![0xEE; usize::try_from(file.size()).unwrap() + 10];
    let count = file.read_at(0, &mut bytes).unwrap();
    bytes.truncate(count);
    bytes
}

fn same_as_source(fs: &dyn FileSystem, dir: NodeId, source: &Path) {
    let mut listed = names(fs, dir);
    listed.remove(&b"lost+found"[..]);
    assert_eq!(listed.len(), fs::read_dir(source).unwrap().count());
    for (name, (node, kind)) in listed {
        let path = source.join(OsStr::from_bytes(&name));
        let expected = fs::symlink_metadata(&path).unwrap();
        let found = fs.metadata(node).unwrap();
        assert_eq!(fs.lookup(dir, Name::new(&name)).unwrap(), node);
        assert_eq!(found.kind, kind);
        assert_eq!(found.times.modified.seconds, expected.mtime(), "{path:?}");
        let links = if kind == FileKind::Directory { found.links } else { 1 };
        assert!(found.links == links || u64::from(found.links) == expected.nlink());
        let owner = found.owner.unwrap();
        assert_eq!(u32::from(owner.mode), expected.mode() & 0o7777);
        assert_eq!((owner.uid, owner.gid), (expected.uid(), expected.gid()));
        if expected.is_dir() {
            same_as_source(fs, node, &path);
        } else if expected.is_symlink() {
            let target = fs::read_link(&path).unwrap();
            assert_eq!(fs.read_link(node).unwrap().0, target.as_os_str().as_bytes());
        } else {
            assert_eq!(found.size, expected.len());
            assert!(content(fs, node) == fs::read(&path).unwrap(), "{path:?}");
        }
    }
}

#[test]
fn every_layout_that_mke2fs_makes_reads_as_its_source() {
    let scratch = Scratch::new();
    plant(&scratch.tree());
    for (kind, options) in [
        ("ext2", "-t ext2 -b 1024"),
        ("ext2", "-t ext2 -b 4096 -I 128"),
        ("ext2", "-t ext2 -r 0 -b 1024 -O none"),
        ("ext3", "-t ext3 -b 1024"),
        ("ext4", "-t ext4 -b 1024"),
        ("ext4", "-t ext4 -b 2048 -O ^has_journal"),
        ("ext4", "-t ext4 -b 4096 -O ^metadata_csum,uninit_bg"),
        ("ext4", "-t ext4 -b 4096 -O ^extent,^64bit"),
        ("ext4", "-t ext4 -b 65536 -O ^has_journal"),
        ("ext4", "-t ext4 -b 1024 -O meta_bg,^resize_inode -g 1024"),
        ("ext4", "-t ext4 -b 4096 -O bigalloc -C 65536"),
        ("ext4", "-t ext4 -b 1024 -O bigalloc -C 16384"),
        ("ext4", "-t ext4 -b 1024 -O metadata_csum_seed,sparse_super2,flex_bg,ea_inode"),
        ("ext4", "-t ext4 -b 4096 -O inline_data -I 512"),
    ] {
        if options.contains("inline_data") {
            // QUIRK: mke2fs 1.47.0 cuts the hole at the end of a file off with inline_data.
            fs::remove_file(scratch.tree().join("sparse")).unwrap();
        }
        let words: Vec<&str> = options.split(' ').collect();
        let Some(image) = scratch.volume("32M", &words) else {
            return;
        };
        let device: Arc<dyn BlockDevice> = Arc::new(MemoryDevice::new(image));
        assert_eq!(Ext4Driver.probe(&*device).unwrap(), Confidence::Certain);
        let reader = VolumeReader::uncached(device);
        let fs = Ext4Driver.mount(reader, ReadOptions::default()).unwrap();
        println!("{options}: {:?}", fs.info());
        assert_eq!(fs.info().kind, kind, "{options}");
        assert_eq!(fs.info().label.as_deref(), Some("a label"));
        let uuid = "01234567-89ab-cdef-0123-456789abcdef";
        assert_eq!(fs.info().uuid.as_deref(), Some(uuid));
        assert!(fs.info().findings.is_empty(), "{options}: {:?}", fs.info());
        assert!(fs.usage().unwrap().used < fs.info().size);
        same_as_source(&*fs, fs.root(), &scratch.tree());
    }
}

#[test]
fn holes_are_told_apart_from_data() {
    let scratch = Scratch::new();
    plant(&scratch.tree());
    for kind in ["ext2", "ext4"] {
        let Some(image) = scratch.volume("16M", &["-t", kind, "-b", "4096"]) else {
            return;
        };
        let fs = mount(image).unwrap();
        let node = fs.lookup(fs.root(), Name::new("sparse")).unwrap();
        let file = fs.open(node, &StreamName::MAIN).unwrap();
        let first = file.extent_at(0).unwrap();
        assert_eq!((first.kind, first.length), (FileExtentKind::Data, 8192));
        let hole = file.extent_at(first.length).unwrap();
        assert_eq!(hole.kind, FileExtentKind::Hole);
        assert!(file.extent_at(2_999_999).unwrap().length == 1);
        assert!(fs.metadata(node).unwrap().allocated < 100_000);
    }
}

#[test]
fn five_thousand_names_are_listed_and_found() {
    let scratch = Scratch::new();
    for number in 0..5000 {
        fs::write(scratch.tree().join(format!("file {number}")), b"").unwrap();
    }
    for options in ["-t ext2 -b 1024", "-t ext4 -b 4096"] {
        let mut words: Vec<&str> = options.split(' ').collect();
        words.extend(["-N", "6000"]);
        let Some(image) = scratch.volume("16M", &words) else {
            return;
        };
        let fs = mount(image).unwrap();
        let listed = names(&*fs, fs.root());
        assert_eq!(listed.len(), 5001);
        for (name, (node, _)) in &listed {
            assert_eq!(fs.lookup(fs.root(), Name::new(name)).unwrap(), *node);
        }
        let error = fs.lookup(fs.root(), Name::new("file 5000")).unwrap_err();
        assert_eq!(error.kind(), FsErrorKind::NotFound);
    }
}

#[test]
fn nodes_that_are_no_files_say_what_they_are() {
    let scratch = Scratch::new();
    if scratch.volume("4M", &["-t", "ext4"]).is_none() {
        return;
    }
    let image = scratch.debugfs("mknod p p\nmknod c c 4 64\nmknod b b 300 60000\n");
    let fs = mount(image).unwrap();
    for (name, kind, device) in [
        ("p", FileKind::Fifo, None),
        ("c", FileKind::CharDevice, Some((4, 64))),
        ("b", FileKind::BlockDevice, Some((300, 60000))),
    ] {
        let node = fs.lookup(fs.root(), Name::new(name)).unwrap();
        let found = fs.metadata(node).unwrap();
        assert_eq!((found.kind, found.device), (kind, device));
        assert!(fs.open(node, &StreamName::MAIN).is_err());
    }
    let error = fs.metadata(NodeId(1 << 33)).unwrap_err();
    assert_eq!(error.kind(), FsErrorKind::NotFound);
}

#[test]
fn a_dirty_journal_is_read_as_if_it_were_replayed() {
    let scratch = Scratch::new();
    plant(&scratch.tree());
    fs::write(scratch.path("block"), pattern(4096, 17)).unwrap();
    for options in
        ["-t ext4 -b 4096", "-t ext4 -b 4096 -O ^metadata_csum,^64bit", "-t ext3 -b 4096"]
    {
        let words: Vec<&str> = options.split(' ').collect();
        let Some(clean) = scratch.volume("16M", &words) else {
            return;
        };
        let node_of = |fs: &dyn FileSystem| fs.lookup(fs.root(), Name::new("large")).unwrap();
        let fs = mount(clean).unwrap();
        let node = node_of(&*fs);
        let (inode, bytes) = opened(&fs::read(scratch.path("image")).unwrap(), node);
        assert!(!bytes.is_empty());
        let third = inode + 2;
        let sums = if options.contains('^') || options.contains("ext3") { "" } else { " -c -v 3" };
        let dirty = scratch.debugfs(&format!("jo{sums}\njw -b {third} block\njc\n"));
        let fs = mount(dirty.clone()).unwrap();
        let findings = &fs.info().findings;
        assert!(
            findings[0].code == "ext4-journal-replayed"
                && findings[0].to_string().starts_with("1 "),
            "{options}: {findings:?}"
        );
        let mut expected = pattern(700_001, 5);
        expected[8192..12288].copy_from_slice(&pattern(4096, 17));
        assert!(content(&*fs, node_of(&*fs)) == expected, "{options}");

        scratch.debugfs(&format!("jo{sums}\njw -r {third}\njc\n"));
        let fs = mount(scratch.image()).unwrap();
        assert!(content(&*fs, node_of(&*fs)) == pattern(700_001, 5), "revoked: {options}");
    }
}

/// The other volume of a set of two, and how many copies of it there are.
struct Beside(Vec<u8>, usize);

impl OtherVolumes for Beside {
    fn by_uuid(&self, uuid: &str) -> Vec<VolumeReader> {
        let reader = VolumeReader::uncached(Arc::new(MemoryDevice::new(self.0.clone())));
        let identity = Ext4Driver.identify(reader.clone()).unwrap();
        let fits = identity.uuid.as_deref() == Some(uuid);
        if fits { vec![reader; self.1] } else { Vec::new() }
    }
}

#[test]
fn a_journal_on_another_volume_is_replayed_from_there() {
    const UUID: &str = "76543210-89ab-cdef-0123-456789abcdef";
    for block in ["1024", "4096"] {
        let scratch = Scratch::new();
        fs::write(scratch.tree().join("file"), pattern(50_000, 5)).unwrap();
        let options = ["-t", "ext4", "-O", "^has_journal", "-b", block];
        let Some(image) = scratch.volume("8M", &options) else {
            return;
        };
        let fs = mount(image.clone()).unwrap();
        let node = fs.lookup(fs.root(), Name::new("file")).unwrap();
        let (first, _) = opened(&image, node);
        let changed = pattern(block.parse().unwrap(), 17);
        fs::write(scratch.path("block"), &changed).unwrap();
        let options = ["-q", "-F", "-O", "journal_dev", "-b", block, "-L", "log", "-U", UUID];
        assert!(scratch.run("mke2fs", &[&options[..], &["journal", "4M"]].concat()));
        let clean = fs::read(scratch.path("journal")).unwrap();
        // `-J device=` wants block devices; this makes the same superblock.
        let dirty = scratch.debugfs(&format!(
            "ssv journal_uuid {UUID}\nfeature has_journal\n\
             jo -c -v 3 -f journal\njw -b {first} block\njc\n"
        ));
        let journal = fs::read(scratch.path("journal")).unwrap();

        let mounted_beside = |journal: &[u8], copies| {
            let reader = VolumeReader::uncached(Arc::new(MemoryDevice::new(dirty.clone())));
            let reader = reader.with_others(Arc::new(Beside(journal.to_vec(), copies)));
            Ext4Driver.mount(reader, ReadOptions::default()).unwrap()
        };
        let mounted = |journal: &[u8]| mounted_beside(journal, 1);
        let told = |fs: &dyn FileSystem| {
            let findings = &fs.info().findings;
            assert_eq!(findings.len(), 1, "{findings:?}");
            (findings[0].code, findings[0].to_string())
        };
        let mut expected = pattern(50_000, 5);
        expected[..changed.len()].copy_from_slice(&changed);
        let fs = mounted(&journal);
        assert!(told(&*fs).0 == "ext4-journal-replayed");
        assert!(content(&*fs, node) == expected, "{block}");

        let alone = mount(dirty.clone()).unwrap();
        let (code, text) = told(&*alone);
        assert!(code == "ext4-journal-not-replayed" && text.contains(UUID), "{text}");
        assert!(text.contains("give its disk as well"), "{text}");
        assert!(content(&*alone, node) == pattern(50_000, 5));
        assert_eq!(told(&*mounted(&clean)).0, "ext4-journal-empty");

        let (code, text) = told(&*mounted_beside(&journal, 2));
        assert!(code == "ext4-journal-not-replayed" && text.contains("2 have its UUID"), "{text}");

        let mut shared = journal.clone();
        let users = 1024 * if block == "1024" { 2 } else { 4 } + 0x40;
        shared[users + 3] = 2;
        assert!(told(&*mounted(&shared)).0 == "ext4-journal-not-replayed");

        let reader = VolumeReader::uncached(Arc::new(MemoryDevice::new(journal)));
        let identity = Ext4Driver.identify(reader.clone()).unwrap();
        assert_eq!(identity.role, VolumeRole::Journal);
        assert_eq!(
            (identity.label.as_deref(), identity.uuid.as_deref()),
            (Some("log"), Some(UUID))
        );
        assert_eq!(Ext4Driver.probe(&*reader.data).unwrap(), Confidence::Certain);
        let error = Ext4Driver.mount(reader, ReadOptions::default()).err().unwrap();
        assert_eq!(error.message(), "volume is an external journal");
    }
}

/// The first block of the content of `node`, and its inode's bytes.
pub(super) fn opened(image: &[u8], node: NodeId) -> (u64, Vec<u8>) {
    let reader = VolumeReader::uncached(Arc::new(MemoryDevice::new(image.to_vec())));
    let volume = Volume::read(reader).unwrap();
    let mut bytes = Vec::new();
    let number = u32::try_from(node.0).unwrap();
    let inode = volume.read_inode(number, &mut bytes).unwrap();
    let first = map::read(&volume, &inode).unwrap().position(0).unwrap();
    (first / volume.superblock.block_size, bytes)
}
