//! What is left out, or may be old, is told by every command in the same way: on stderr (by `list` and
//! `check` in the answer), by exit code 3, and in JSON.

use std::fs;
use std::path::{Path, PathBuf};

use crate::common::fixtures::fixture;
use crate::common::program::{Output, Scratch, volfold};
use crate::harness::{apply, test};
use crate::md::change_superblock;

/// The bytes of the only image of the fixture `name`.
fn bytes_of(name: &str) -> Vec<u8> {
    fs::read(fixture(name).path()).expect("the fixture")
}

/// A disk with an MBR and one partition for each of `volumes`.
fn disk_of(volumes: &[Vec<u8>]) -> Vec<u8> {
    const FIRST: usize = 64;
    let mut disk = vec![0; FIRST * 512];
    for (slot, volume) in volumes.iter().enumerate() {
        let (start, sectors) = (disk.len() / 512, volume.len().div_ceil(512));
        let entry = &mut disk[446 + slot * 16..][..16];
        entry[4] = 0x83;
        entry[8..12].copy_from_slice(&u32::try_from(start).expect("small").to_le_bytes());
        entry[12..16].copy_from_slice(&u32::try_from(sectors).expect("small").to_le_bytes());
        disk.extend_from_slice(volume);
        disk.resize((start + sectors) * 512, 0);
    }
    disk[440..444].copy_from_slice(&0x5EED_0777_u32.to_le_bytes());
    disk[510..512].copy_from_slice(&[0x55, 0xAA]);
    disk
}

/// `volume` with a label of LVM2 in its boot area that has a wrong checksum.
fn with_label(volume: &[u8]) -> Vec<u8> {
    let mut bytes = volume.to_vec();
    bytes[512..544].copy_from_slice(b"LABELONE\x01\0\0\0\0\0\0\0....\x20\0\0\0LVM2 001");
    bytes
}

/// The disks of a mirror whose superblocks say that it is not in sync.
fn not_stopped(scratch: &Scratch) -> Vec<PathBuf> {
    let paths = fixture("md-partitioned").paths();
    let changed = paths.iter().enumerate().map(|(number, path)| {
        let mut bytes = fs::read(path).expect("an image");
        let at = (bytes.len() - 8192) & !4095;
        change_superblock(&mut bytes[at..at + 4096], 208, &0_u64.to_le_bytes());
        let path = scratch.join(format!("not-stopped{number}.img"));
        fs::write(&path, bytes).expect("an image");
        path
    });
    changed.collect()
}

/// What is told of the structures of volume managers.
fn situations_of_managers(scratch: &Scratch) -> [Situation; 2] {
    let path = scratch.join("label.img");
    fs::write(&path, with_label(&bytes_of("ext4"))).expect("an image");
    [
        Situation {
            name: "a damaged label in a file system",
            disks: vec![path],
            word: "holds a file system",
            has_files: true,
        },
        Situation {
            name: "an array that was not stopped in order",
            disks: not_stopped(scratch),
            word: "its copies may differ",
            has_files: true,
        },
    ]
}

/// A situation: the images, a word that must be told, and whether files can be read all the same.
struct Situation {
    name: &'static str,
    disks: Vec<PathBuf>,
    word: &'static str,
    has_files: bool,
}

fn situations(scratch: &Scratch) -> Vec<Situation> {
    let write = |name: &str, bytes: &[u8]| {
        let path = scratch.join(name);
        fs::write(&path, bytes).expect("an image");
        path
    };
    let ext4 = bytes_of("ext4");
    let mut damaged = bytes_of("fat16");
    // The superblock of a Btrfs file system, which this build does not read.
    let mut btrfs = vec![0; 1 << 20];
    btrfs[0x1_0040..0x1_0048].copy_from_slice(b"_BHRfS_M");
    // A root directory that lies outside of the file allocation table.
    damaged[0x0E..0x10].copy_from_slice(&[0xFF, 0xFF]);
    let both = disk_of(&[ext4.clone(), btrfs]);
    let cut = disk_of(&[bytes_of("ext2-1k"), ext4.clone()]);
    let foreign = [&b"AFF10\r\n\0"[..], &[0; 4096]].concat();
    let member = |name: &str, missing: &str| {
        let all = fixture(name).paths();
        all.into_iter().filter(|path| !path.ends_with(missing)).collect::<Vec<_>>()
    };
    vec![
        Situation {
            name: "a volume that is not read",
            disks: vec![write("both.img", &both)],
            word: "Btrfs",
            has_files: true,
        },
        Situation {
            name: "an image that is not there",
            disks: vec![write("ext4.img", &ext4), scratch.join("none.img")],
            word: "none.img",
            has_files: true,
        },
        Situation {
            name: "a foreign image",
            disks: vec![write("ext4-2.img", &ext4), write("x.aff", &foreign)],
            word: "AFF",
            has_files: true,
        },
        Situation {
            name: "an image that is cut short",
            disks: vec![write("cut.img", &cut[..cut.len() - (1 << 20)])],
            word: "past the end",
            has_files: true,
        },
        Situation {
            name: "a disk that is missing",
            disks: member("ldm-raid5", "disk3.img"),
            word: "is missing",
            has_files: true,
        },
        Situation {
            name: "a member that is stale",
            disks: fixture("ldm-stale").paths(),
            word: "is stale",
            has_files: true,
        },
        Situation {
            name: "foreign images alone",
            disks: vec![write("y.aff", &foreign)],
            word: "AFF",
            has_files: false,
        },
    ]
}

fn command(words: &[&str], disks: &[PathBuf], more: &[&str]) -> Output {
    let words = words.iter().map(|word| Path::new(*word).as_os_str());
    let disks = disks.iter().map(|disk| disk.as_os_str());
    volfold(words.chain(disks).chain(more.iter().map(|word| Path::new(*word).as_os_str())))
}

#[apply(test)]
fn every_command_tells_what_it_left_out() {
    let scratch = Scratch::new("told");
    let of_managers = situations_of_managers(&scratch);
    let all = situations(&scratch).into_iter().chain(of_managers);
    for (number, situation) in all.enumerate() {
        let Situation { name, disks, word, has_files } = &situation;
        let code = if *has_files { 3 } else { 1 };
        let out = scratch.join(format!("out{number}"));
        let out = out.to_str().expect("text");
        let commands: [(&[&str], &[&str]); 7] = [
            (&["list"], &[]),
            (&["ls"], &[]),
            (&["ls", "-R"], &[]),
            (&["hash"], &[]),
            (&["check"], &[]),
            (&["extract"], &["-o", out]),
            (&["ls", "-R", "-l"], &[]),
        ];
        for (words, more) in commands {
            let output = command(words, disks, more);
            let told = [output.stderr.as_str(), &output.text()].concat();
            assert_eq!(output.code, Some(code), "{name}: {words:?}: {told}");
            assert!(told.contains(word), "{name}: {words:?} does not say {word}: {told}");
            // What is no answer goes to stderr.
            let answers = matches!(words[0], "list" | "check");
            assert!(answers || output.stderr.contains(word), "{name}: {words:?}");
        }
        for words in
            [&["list", "--json"][..], &["ls", "--json"], &["hash", "--json"], &["check", "--json"]]
        {
            let output = command(words, disks, &[]);
            assert_eq!(output.code, Some(code), "{name}: {words:?}: {}", output.stderr);
            let json = output.json();
            let [failures, findings] =
                ["failures", "findings"].map(|key| json[key].as_array().expect("a list").to_vec());
            let all = serde_json::to_string(&[failures, findings]).expect("JSON");
            assert!(all.contains(word), "{name}: {words:?} has no {word}: {all}");
        }
    }
}

#[cfg(target_os = "linux")]
#[apply(test)]
fn a_mount_tells_what_it_left_out_and_writes_it_down() {
    use crate::common::mounted::Folder;

    let scratch = Scratch::new("told-mount");
    for situation in situations(&scratch).into_iter().chain(situations_of_managers(&scratch)) {
        let Situation { name, disks, word, has_files } = situation;
        let folder = Folder::new("told-mount");
        let output = folder.mount(&disks, &[]);
        let code = if has_files { 3 } else { 1 };
        assert_eq!(output.code, Some(code), "{name}: {}", output.stderr);
        assert!(output.stderr.contains(word), "{name}: {}", output.stderr);
        if !has_files {
            continue;
        }
        // The folders that were made are the answer.
        let answer = output.text();
        let shown: Vec<&str> = answer.lines().collect();
        assert!(
            !shown.is_empty() && shown.iter().all(|line| Path::new(line).is_dir()),
            "{name}: {answer}"
        );
        let record = folder.record().expect("a record");
        let log = fs::read_to_string(record["log"].as_str().expect("a log")).expect("the log");
        assert!(log.contains(word), "{name}: {log}");
    }
}

#[apply(test)]
fn a_path_in_a_whole_volume_is_not_spoilt_by_another() {
    let scratch = Scratch::new("told-path");
    let situations = situations(&scratch);
    let output = command(&["ls", "-R"], &situations[0].disks, &["-p", "/four/docs"]);
    assert_eq!((output.code, output.stderr.as_str()), (Some(0), ""));
}

#[apply(test)]
fn what_is_foreign_is_named_and_never_a_raw_disk() {
    let scratch = Scratch::new("foreign");
    let page = b"<!DOCTYPE html><html><title>404</title></html>\n".to_vec();
    for (name, bytes, word) in [
        ("x.aff", b"AFF10\r\n\0".to_vec(), "AFF image"),
        ("x.vmdk.gz", b"\x1F\x8B\x08\0\0\0\0\0\0\x03".to_vec(), "gzip file"),
        ("download.vmdk", page, "HTML page"),
        ("doc.pdf", b"%PDF-1.4\n".to_vec(), "PDF file"),
        ("passwd", b"root:x:0:0:root:/root:/bin/bash\n".to_vec(), "text"),
        ("x.img", b"version https://git-lfs.github.com/spec/v1\n".to_vec(), "Git LFS pointer"),
        ("empty.img", Vec::new(), "empty"),
    ] {
        let path = scratch.join(name);
        let size = if bytes.is_empty() { 0 } else { 4096 };
        let padding = vec![0; size - bytes.len()];
        fs::write(&path, [bytes, padding].concat()).expect("a file");
        let output = command(&["list"], std::slice::from_ref(&path), &[]);
        assert_eq!(output.code, Some(1), "{name}: {}", output.stderr);
        assert!(output.stderr.contains(word), "{name}: {}", output.stderr);
        if name != "empty.img" {
            let output = command(&["list", "--format", "raw"], &[path], &[]);
            assert_eq!(output.code, Some(0), "{name}: {}", output.stderr);
        }
    }
    let ext4 = scratch.join("ext4.img");
    fs::write(&ext4, bytes_of("ext4")).expect("an image");
    let output = command(&["list", "--format", "tape"], &[ext4], &[]);
    output.code(2).says("invalid value 'tape'").says("possible values: vmdk");
}

/// A guest that writes the header of an image into its raw disk opens no file of the host, and
/// cannot hide its disk.
#[apply(test)]
fn a_guest_can_neither_open_a_neighbour_nor_hide_its_disk() {
    let scratch = Scratch::new("nested");
    let secret = bytes_of("ext4");
    let descriptor = format!(
        "# Disk DescriptorFile\nversion=1\nCID=5181a839\nparentCID=ffffffff\n\
         createType=\"monolithicFlat\"\nRW {} FLAT \"secret.raw\" 0\n",
        secret.len() / 512
    );
    let descriptor = descriptor.as_bytes();
    fs::write(scratch.join("secret.raw"), secret).expect("a file");
    let mut disk = disk_of(&[bytes_of("ext2-1k")]);
    disk[..descriptor.len()].copy_from_slice(descriptor);
    for name in ["guest.raw", "guest.img", "guest.dd", "guest-flat.vmdk"] {
        let path = scratch.join(name);
        fs::write(&path, &disk).expect("an image");
        let output = command(&["hash"], std::slice::from_ref(&path), &[]);
        assert_eq!(output.code, Some(3), "{name}: {}", output.stderr);
        assert!(output.stderr.contains("[nested-format]"), "{name}: {}", output.stderr);
        assert!(output.text().contains("/two/") && !output.text().contains("/four/"), "{name}");
    }
    // A small one that is an image, by a name that does not say so.
    let path = scratch.join("guest");
    fs::write(&path, descriptor).expect("an image");
    command(&["hash"], std::slice::from_ref(&path), &[]).code(1).says("give --format vmdk");
    let output = command(&["hash", "--format", "vmdk"], &[path], &[]).code(0);
    assert!(output.text().contains("/four/"), "{}", output.stderr);
    // The mark of an image of Ghost in front of partitions.
    let mut disk = disk_of(&[bytes_of("ext2-1k")]);
    disk[..4].copy_from_slice(b"\xFE\xEF\x01\x01");
    let path = scratch.join("marked.img");
    fs::write(&path, &disk).expect("an image");
    let output = command(&["hash"], std::slice::from_ref(&path), &[]).code(0);
    assert!(output.text().contains("/two/"));
    let listed = command(&["list"], &[path], &[]).code(0);
    assert!(listed.text().contains("[foreign-mark]"), "{}", listed.text());
}

#[apply(test)]
fn a_code_is_explained() {
    let output = volfold(["explain", "ext4-journal-not-replayed"]).code(0);
    assert!(output.text().contains("exit code 3"), "{}", output.text());
    assert!(volfold(["explain", "[corrupt]"]).code(0).text().contains("specification"));
    volfold(["explain", "no-such-code"]).code(1).says("no such code");
    assert!(volfold(["explain"]).code(0).text().lines().count() > 100);
}

#[apply(test)]
fn check_counts_what_can_be_read_and_what_cannot() {
    let check = |name: &str| {
        let fixture = fixture(name);
        command(&["check", "--json"], &fixture.paths(), &[])
    };
    let whole = check("ext4").code(0).json();
    let rows = fixture("ext4").volumes[0].rows();
    let files = rows.iter().filter(|row| row.kind == "f").count();
    assert_eq!(whole["volumes"][0]["files"], files);
    let bytes: u64 = rows.iter().filter(|row| row.kind == "f").filter_map(|row| row.size).sum();
    assert_eq!(whole["volumes"][0]["bytes"], bytes);
    let refused = check("ntfs-encrypted").code(3).json();
    assert_eq!(refused["volumes"][0]["refused"]["encrypted"], 1);
}

/// A DMG is known by its end alone, which a guest may write too.
#[apply(test)]
fn a_guest_cannot_hide_its_disk_behind_the_trailer_of_a_dmg() {
    let scratch = Scratch::new("trailer");
    let mut disk = disk_of(&[bytes_of("ext2-1k")]);
    let at = disk.len() - 512;
    disk[at..].fill(0);
    disk[at..at + 12].copy_from_slice(b"koly\0\0\0\x04\0\0\x02\0");
    for name in ["guest", "guest.bin", "guest.img"] {
        let path = scratch.join(name);
        fs::write(&path, &disk).expect("an image");
        let output = command(&["hash"], &[path], &[]);
        assert_eq!(output.code, Some(3), "{name}: {}", output.stderr);
        assert!(output.stderr.contains("[nested-format]"), "{name}: {}", output.stderr);
        assert!(output.text().contains("/two/"), "{name}");
    }
    let path = scratch.join("guest.dmg");
    fs::write(&path, &disk).expect("an image");
    let line = "DMG trailer names neither a property list nor a resource fork";
    command(&["list"], &[path], &[]).code(1).says(line);
}

#[apply(test)]
fn what_macos_keeps_in_other_ways_is_refused_by_name() {
    let scratch = Scratch::new("bundle");
    let bundle = scratch.join("disk.sparsebundle");
    fs::create_dir_all(bundle.join("bands")).expect("a folder");
    fs::write(bundle.join("bands/0"), [0; 4096]).expect("a file");
    fs::write(bundle.join("token"), []).expect("a file");
    command(&["list"], &[bundle], &[]).code(1).says("Apple sparse bundle is not read");
    let image = scratch.join("disk.sparseimage");
    let bytes = [&b"sprs\0\0\0\x03"[..], &[0; 4088]].concat();
    fs::write(&image, bytes).expect("a file");
    command(&["list"], &[image], &[]).code(1).says("Apple sparse bundle or image");
}
