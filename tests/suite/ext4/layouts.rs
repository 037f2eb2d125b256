//! Volumes of every layout that mke2fs makes, filled by the kernel: each file as the kernel shows it.

use std::collections::BTreeMap;
use std::ffi::{CString, OsStr};
use std::fs::{self, File};
use std::ops::ControlFlow;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, chown, symlink};
use std::path::Path;

use rustix::fs::{
    AtFlags, CWD, FallocateFlags, FileType, Mode, StatxFlags, Timespec, Timestamps, XattrFlags,
};
use volfold_fs::{
    DirCursor, FileExtentKind, FileKind, FileSystem, Metadata, Name, NodeId, StreamName, Timestamp,
};

use super::programs::{needs_kernel, of_host};
use crate::common::mounted::Mounted;
use crate::common::program::{Scratch, program, text};
use crate::common::sha256;
use crate::harness::{apply, needs_programs, note, part_needs, test};

/// Arguments of mke2fs, and options of the mount that fills the volume.
const LAYOUTS: [(&str, &str); 42] = [
    ("-r 0 -O none -b 1024 -I 128", ""),
    ("-t ext2 -b 1024 -I 128", ""),
    ("-t ext2 -b 2048 -O ^filetype", ""),
    ("-t ext2 -b 4096 -O ^dir_index,^large_file", ""),
    ("-t ext2 -b 1024 -O ^sparse_super,^resize_inode", ""),
    ("-t ext3 -b 1024 -I 128", ""),
    ("-t ext3 -b 2048", ""),
    ("-t ext3 -b 4096 -O ^ext_attr", ""),
    ("-t ext4 -b 1024", ""),
    ("-t ext4 -b 2048", ""),
    ("-t ext4 -b 4096", ""),
    ("-t ext4 -b 4096 -I 128", ""),
    ("-t ext4 -b 4096 -I 1024", ""),
    ("-t ext4 -b 1024 -O ^metadata_csum,uninit_bg", ""),
    ("-t ext4 -b 4096 -O ^metadata_csum,^uninit_bg", ""),
    ("-t ext4 -b 1024 -O ^extent,^64bit", ""),
    ("-t ext4 -b 4096 -O ^64bit", ""),
    ("-t ext4 -b 2048 -O ^flex_bg", ""),
    ("-t ext4 -b 4096 -O ^has_journal", ""),
    ("-t ext4 -b 1024 -O ^resize_inode", ""),
    ("-t ext4 -b 1024 -O meta_bg,^resize_inode -g 1024", ""),
    ("-t ext4 -b 1024 -O sparse_super2", ""),
    ("-t ext4 -b 4096 -O metadata_csum_seed", ""),
    ("-t ext4 -b 4096 -O bigalloc -C 16384", ""),
    ("-t ext4 -b 1024 -O bigalloc -C 65536", ""),
    ("-t ext4 -b 4096 -O bigalloc,inline_data -C 65536 -I 512", ""),
    ("-t ext4 -b 1024 -O inline_data", ""),
    ("-t ext4 -b 4096 -O inline_data -I 4096", ""),
    ("-t ext4 -b 4096 -O ea_inode", ""),
    ("-t ext4 -b 1024 -O ea_inode,inline_data,^metadata_csum", ""),
    ("-t ext4 -b 1024 -O large_dir", ""),
    ("-t ext4 -b 4096 -O orphan_file", ""),
    ("-t ext4 -b 4096 -O quota", ""),
    ("-t ext4 -b 4096 -O quota,project -E quotatype=usrquota:grpquota:prjquota", ""),
    ("-t ext4 -b 4096 -O fast_commit", ""),
    ("-t ext4 -b 4096 -O mmp", ""),
    ("-t ext4 -b 4096 -O verity", ""),
    ("-t ext4 -b 4096 -O encrypt,stable_inodes", ""),
    ("-t ext4 -b 4096 -O ^huge_file,^dir_nlink,^extra_isize", ""),
    ("-t ext4 -b 4096", "data=journal"),
    ("-t ext4 -b 1024", "nodelalloc"),
    (
        "-t ext4 -b 1024 -I 512 -O bigalloc,inline_data,ea_inode,meta_bg,^resize_inode,\
         metadata_csum_seed,orphan_file,quota,project,large_dir,fast_commit,mmp,sparse_super2",
        "",
    ),
];

/// Everything that is told of a file.
#[derive(Debug, Default, PartialEq, Eq)]
struct Facts {
    kind: char,
    size: u64,
    links: u64,
    owner: (u32, u32, u32),
    device: Option<(u32, u32)>,
    modified: (i64, u32),
    accessed: (i64, u32),
    changed: (i64, u32),
    created: Option<(i64, u32)>,
    content: String,
    attributes: Vec<(Vec<u8>, String)>,
}

fn noise(length: usize, mut state: u64) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        bytes.extend((state >> 16).to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// Fills a volume with blocks of `block` bytes.
fn fill(root: &Path, block: u64) {
    for size in [0, 1, 59, 60, 61, 100, 160, 1000, 4096, 4097, 70_001, 400_000] {
        fs::write(root.join(format!("size {size}")), noise(size, size as u64)).expect("a file");
    }
    contents(root, block);
    names(root);
    nodes(root);
    attributes(root);
    times(root);
}

/// Files with holes, many extents, and blocks that were reserved and not written.
fn contents(root: &Path, block: u64) {
    let create = |name: &str| File::create(root.join(name)).expect("a file");
    // A block map needs its third level from 12 + n + n^2 blocks on.
    let numbers = block / 4;
    let far = (12 + numbers + numbers * numbers + 5) * block;
    let sparse = create("sparse");
    for at in [0, 13 * block, (12 + numbers + 3) * block, far, far + numbers * numbers * block / 64]
    {
        sparse.write_all_at(&noise(3000, at), at).expect("a write");
    }
    sparse.set_len(far + numbers * numbers * block / 32 + 77).expect("a length");
    let pieces = create("pieces");
    for piece in 0..1500 {
        pieces.write_all_at(&noise(100, piece), piece * 2 * block).expect("a write");
    }
    for (name, flags, offset, length) in [
        ("reserved", FallocateFlags::empty(), 0, 40 * block),
        ("reserved past the end", FallocateFlags::KEEP_SIZE, 0, 90 * block),
        ("punched", FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, 3 * block, 5 * block),
        ("zeroed", FallocateFlags::ZERO_RANGE, 2 * block, 3 * block),
    ] {
        let file = create(name);
        file.write_all_at(&noise(20_000, 9), 0).expect("a write");
        // Block maps have no such blocks.
        let _ = rustix::fs::fallocate(&file, flags, offset, length);
        file.write_all_at(b"written", block + 5).expect("a write");
    }
}

fn names(root: &Path) {
    let odd: [&[u8]; 6] =
        [b"\xff\xfe odd", b"two\nlines", b" ", b"-n", "n\u{e4}me \u{65e5}".as_bytes(), b"a\\b"];
    for name in odd {
        fs::write(root.join(OsStr::from_bytes(name)), name).expect("a file");
    }
    fs::write(root.join("n".repeat(255)), b"long name").expect("a file");
    let many = root.join("many");
    fs::create_dir(&many).expect("a folder");
    for number in 0..1500 {
        fs::write(many.join(format!("file number {number} of many")), b"").expect("a file");
    }
    for number in (0..1500).filter(|number| number % 3 == 0) {
        fs::remove_file(many.join(format!("file number {number} of many"))).expect("removed");
    }
    for number in 0..40 {
        fs::create_dir_all(root.join(format!("dirs/{number}/below"))).expect("a folder");
    }
    fs::create_dir_all(root.join("deep/".repeat(40))).expect("folders");
    fs::rename(root.join("dirs/7"), root.join("deep/moved")).expect("renamed");
}

fn nodes(root: &Path) {
    let path = |name: &str| root.join(name);
    for (name, length) in [("fast", 1), ("fastest", 59), ("slow", 60), ("slow too", 900)] {
        symlink("t".repeat(length), path(&format!("link {name}"))).expect("a link");
    }
    let numbers = [(1, 3), (8, 17), (255, 255), (300, 60_000)];
    for (major, minor) in numbers {
        for (kind, letter) in [(FileType::CharacterDevice, 'c'), (FileType::BlockDevice, 'b')] {
            let device = rustix::fs::makedev(major, minor);
            let name = path(&format!("{letter} {major} {minor}"));
            rustix::fs::mknodat(CWD, &name, kind, Mode::from_raw_mode(0o640), device)
                .expect("a node");
        }
    }
    for (name, kind) in [("pipe", FileType::Fifo), ("socket", FileType::Socket)] {
        rustix::fs::mknodat(CWD, path(name), kind, Mode::from_raw_mode(0o600), 0).expect("a node");
    }
    for number in 0..5 {
        fs::hard_link(path("size 1000"), path(&format!("hard {number}"))).expect("a link");
    }
    for (name, mode, uid, gid) in [
        ("size 60", 0o4755, 70_000, 5),
        ("size 61", 0o2070, 0, 4_000_000_000),
        ("size 100", 0, 1, 2),
    ] {
        chown(path(name), Some(uid), Some(gid)).expect("an owner");
        fs::set_permissions(path(name), fs::Permissions::from_mode(mode)).expect("a mode");
    }
    fs::set_permissions(path("many"), fs::Permissions::from_mode(0o1777)).expect("a mode");
}

/// Not every layout has room for all of them.
fn attributes(root: &Path) {
    let set = |name: &str, attribute: &str, value: &[u8]| {
        let _ = rustix::fs::lsetxattr(root.join(name), attribute, value, XattrFlags::empty());
    };
    for number in 0..12_usize {
        set("size 1000", &format!("user.name {number}"), &noise(number * 3, 7));
    }
    set("size 1", "user.in the inode", b"value");
    set("size 59", "user.large", &noise(30_000, 3));
    set("size 59", "user.block", &noise(700, 3));
    set("link fast", "trusted.of a link", b"link");
    set("pipe", "security.of a pipe", b"pipe");
    let list = [
        &[2, 0, 0, 0][..],
        &[1, 0, 6, 0],
        &[0xFF; 4],
        &[2, 0, 5, 0, 9, 0, 0, 0],
        &[4, 0, 4, 0],
        &[0xFF; 4],
        &[16, 0, 7, 0],
        &[0xFF; 4],
        &[32, 0, 1, 0],
        &[0xFF; 4],
    ];
    set("size 160", "system.posix_acl_access", &list.concat());
    set("many", "system.posix_acl_default", &list.concat());
}

fn times(root: &Path) {
    for (name, seconds) in [
        ("size 0", -2_000_000_000),
        ("size 1", -1),
        ("size 4096", 1 << 31),
        ("size 4097", 4_102_444_800),
        ("size 70001", 15_032_385_000),
    ] {
        let time = |nanoseconds| Timespec { tv_sec: seconds, tv_nsec: nanoseconds };
        let times =
            Timestamps { last_access: time(123_456_789), last_modification: time(999_999_999) };
        rustix::fs::utimensat(CWD, root.join(name), &times, AtFlags::empty()).expect("times");
    }
}

/// What the kernel says of everything below `folder`.
fn of_kernel(folder: &Path) -> BTreeMap<Vec<u8>, Facts> {
    let mut found = BTreeMap::new();
    let mut open = vec![(folder.to_path_buf(), Vec::new())];
    while let Some((folder, above)) = open.pop() {
        for entry in fs::read_dir(&folder).expect("a folder").flatten() {
            let path = entry.path();
            let name = [above.as_slice(), b"/", entry.file_name().as_bytes()].concat();
            let facts = kernel_facts(&path);
            if facts.kind == 'd' {
                open.push((path, name.clone()));
            }
            found.insert(name, facts);
        }
    }
    found
}

fn kernel_facts(path: &Path) -> Facts {
    let facts = fs::symlink_metadata(path).expect("metadata");
    let name = CString::new(path.as_os_str().as_bytes()).expect("a path");
    let wanted = StatxFlags::BTIME;
    let more = rustix::fs::statx(CWD, &name, AtFlags::SYMLINK_NOFOLLOW, wanted).expect("statx");
    let has_creation = more.stx_mask & StatxFlags::BTIME.bits() != 0;
    let kind = match facts.mode() >> 12 {
        1 => 'p',
        2 => 'c',
        4 => 'd',
        6 => 'b',
        8 => 'f',
        10 => 'l',
        _ => 's',
    };
    let device = facts.rdev();
    let nanoseconds = |number: i64| u32::try_from(number).expect("nanoseconds");
    Facts {
        kind,
        size: facts.size(),
        links: facts.nlink(),
        owner: (facts.uid(), facts.gid(), facts.mode() & 0o7777),
        device: matches!(kind, 'c' | 'b')
            .then(|| (rustix::fs::major(device), rustix::fs::minor(device))),
        modified: (facts.mtime(), nanoseconds(facts.mtime_nsec())),
        accessed: (facts.atime(), nanoseconds(facts.atime_nsec())),
        changed: (facts.ctime(), nanoseconds(facts.ctime_nsec())),
        created: has_creation.then(|| (more.stx_btime.tv_sec, more.stx_btime.tv_nsec)),
        content: match kind {
            'f' => content_of_kernel(path, facts.size()),
            'l' => fs::read_link(path).expect("a link").to_string_lossy().into_owned(),
            _ => String::new(),
        },
        attributes: of_host(path),
    }
}

/// The hash of the parts of a file that are no holes; `lseek` would differ in what it calls a hole.
fn content_of_kernel(path: &Path, size: u64) -> String {
    let file = File::open(path).expect("a file");
    let mut parts = Vec::new();
    let mut end = 0;
    while let Ok(start) = rustix::fs::seek(&file, rustix::fs::SeekFrom::Data(end)) {
        end = rustix::fs::seek(&file, rustix::fs::SeekFrom::Hole(start)).expect("a hole");
        let mut bytes = vec![0; usize::try_from(end - start).expect("a length")];
        file.read_exact_at(&mut bytes, start).expect("content");
        note_data(&mut parts, start, &bytes);
    }
    format!("{size} {}", sha256(&parts))
}

/// Adds what is not zero, by blocks of 512 bytes with their places.
fn note_data(parts: &mut Vec<u8>, start: u64, bytes: &[u8]) {
    for (index, piece) in bytes.chunks(512).enumerate() {
        if piece.iter().any(|&byte| byte != 0) {
            parts.extend((start + index as u64 * 512).to_le_bytes());
            parts.extend(piece);
        }
    }
}

/// The same of our own reading.
fn of_volume(fs: &dyn FileSystem) -> BTreeMap<Vec<u8>, Facts> {
    let mut found = BTreeMap::new();
    let mut open = vec![(fs.root(), Vec::new())];
    while let Some((dir, above)) = open.pop() {
        let mut entries = Vec::new();
        fs.read_dir(dir, DirCursor::START, &mut |entry| {
            entries.push((entry.name.as_bytes().to_vec(), entry.node));
            ControlFlow::Continue(())
        })
        .expect("a directory");
        for (own, node) in entries {
            let path = [above.as_slice(), b"/", &own].concat();
            assert_eq!(fs.lookup(dir, Name::new(&own)).expect("by name"), node);
            let metadata = fs.metadata(node).expect("metadata");
            if metadata.kind == FileKind::Directory {
                open.push((node, path.clone()));
            }
            found.insert(path, facts(fs, node, &metadata));
        }
    }
    found
}

fn facts(fs: &dyn FileSystem, node: NodeId, metadata: &Metadata) -> Facts {
    let time = |time: Timestamp| (time.seconds, time.nanoseconds);
    let kind = match metadata.kind {
        FileKind::Regular => 'f',
        FileKind::Directory => 'd',
        FileKind::Symlink => 'l',
        FileKind::CharDevice => 'c',
        FileKind::BlockDevice => 'b',
        FileKind::Fifo => 'p',
        FileKind::Socket => 's',
    };
    let owner = metadata.owner.expect("an owner");
    let mut attributes: Vec<_> = fs
        .extended_attributes(node)
        .expect("attributes")
        .into_iter()
        .map(|name| {
            let value = fs.extended_attribute(node, &name).expect("a value");
            (name, sha256(&value))
        })
        .collect();
    attributes.sort();
    Facts {
        kind,
        size: metadata.size,
        links: u64::from(metadata.links),
        owner: (owner.uid, owner.gid, u32::from(owner.mode)),
        device: metadata.device,
        modified: time(metadata.times.modified),
        accessed: time(metadata.times.accessed),
        changed: time(metadata.times.changed),
        created: metadata.times.created.map(time),
        content: match kind {
            'f' => content_of_volume(fs, node),
            'l' => String::from_utf8_lossy(&fs.read_link(node).expect("a link").0).into_owned(),
            _ => String::new(),
        },
        attributes,
    }
}

fn content_of_volume(fs: &dyn FileSystem, node: NodeId) -> String {
    let file = fs.open(node, &StreamName::MAIN).expect("a file");
    let (mut parts, mut offset) = (Vec::new(), 0);
    while offset < file.size() {
        let extent = file.extent_at(offset).expect("an extent");
        if extent.kind != FileExtentKind::Hole {
            let mut bytes = vec![0; usize::try_from(extent.length).expect("a length")];
            assert_eq!(file.read_at(offset, &mut bytes).expect("content"), bytes.len());
            note_data(&mut parts, offset, &bytes);
        }
        offset += extent.length;
    }
    format!("{} {}", file.size(), sha256(&parts))
}

#[apply(test)]
fn every_layout_filled_by_the_kernel_reads_as_the_kernel_shows_it() {
    needs_kernel();
    needs_programs(&["mke2fs", "e2fsck"]);
    let scratch = Scratch::new("layouts");
    let (mut volumes, mut files) = (0, 0);
    for (layout, options) in LAYOUTS {
        let image = scratch.join("image");
        let _ = fs::remove_file(&image);
        File::create(&image).expect("a file").set_len(160 << 20).expect("a length");
        let arguments: Vec<&str> = layout.split_whitespace().collect();
        let common = ["-q", "-F", "-N", "4096"];
        program("mke2fs", &[&common[..], &arguments, &[text(&image)]].concat()).code(0);
        let block = arguments.iter().position(|word| *word == "-b").map(|at| arguments[at + 1]);
        let block: u64 = block.expect("a block size").parse().expect("a number");
        // What this kernel does not mount it cannot be a witness of.
        let probe = Scratch::new("layouts-probe");
        let tried =
            program("mount", &["-t", "ext4", "-o", "loop", text(&image), text(probe.path())]);
        if !part_needs(&format!("a kernel that mounts {layout}"), tried.code == Some(0)) {
            continue;
        }
        program("umount", &[text(probe.path())]).code(0);
        let filling =
            if options.is_empty() { "loop".to_owned() } else { format!("loop,{options}") };
        let kernel = Mounted::new("ext4", &filling, &image);
        fill(kernel.path(), block);
        kernel.end();
        let kernel = Mounted::new("ext4", "loop,ro,noload", &image);
        let expected = of_kernel(kernel.path());
        kernel.end();
        let fs = super::mount_file(&image).unwrap_or_else(|error| panic!("{layout}: {error}"));
        let found = of_volume(&*fs);
        let shown = |path: &[u8]| path.escape_ascii().to_string();
        for (path, expected) in &expected {
            assert_eq!(found.get(path), Some(expected), "{layout}: {}", shown(path));
        }
        assert_eq!(found.len(), expected.len(), "{layout}");
        assert!(fs.findings().is_empty(), "{layout}: {:?}", fs.findings());
        let mut report = Vec::new();
        fs.check(&mut |finding| report.push(finding)).expect("a comparison");
        assert!(report.is_empty(), "{layout}: {report:?}");
        volumes += 1;
        files += expected.len();
    }
    note!("{volumes} volumes with {files} files");
    assert!(volumes > 30 && files > 50_000, "{volumes} volumes with {files} files");
}
