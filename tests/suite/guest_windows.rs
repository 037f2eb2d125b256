//! Windows on the disks: `volfold info` where hives are missing or contradict the disks.
//!
//! The hives are those of `tests/hives`. Their `C:` is the partition at [`OF_C`] of a disk with the signature
//! [`SIGNATURE`], and the system lies in `C:\Windows`.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;

use flate2::read::GzDecoder;
use serde_json::{Value, json};

use crate::common::program::{Scratch, run, text, volfold};
use crate::harness::{apply, needs_path, needs_programs, test};
use crate::ntfs_attributes::Other;

const SIGNATURE: u32 = 0x085B_7ABE;
const OF_C: u64 = 0x0650_0000;

/// Where a partition begins that the hives know nothing of.
const ELSEWHERE: u64 = 1 << 20;

/// What a table calls a volume.
const GUID: &str = "0a1b2c3d-1111-2222-3333-444455556666";

/// The size of each partition.
const SIZE: u64 = 8 << 20;

/// A hive of `tests/hives`.
fn hive(name: &str) -> Vec<u8> {
    let path = format!("{}/tests/hives/{name}.gz", env!("CARGO_MANIFEST_DIR"));
    let mut bytes = Vec::new();
    let packed = fs::File::open(path).expect("a hive");
    GzDecoder::new(packed).read_to_end(&mut bytes).expect("a hive");
    bytes
}

/// The bytes of a volume with these files.
fn volume(scratch: &Scratch, name: &str, files: &[(&str, &[u8])]) -> Vec<u8> {
    needs_programs(&["mke2fs"]);
    let (folder, image) = (scratch.join(format!("{name}-files")), scratch.join(name));
    for (path, content) in files {
        let path = folder.join(path);
        fs::create_dir_all(path.parent().expect("a folder")).expect("folders");
        fs::write(path, content).expect("a file");
    }
    let mut make = Command::new("mke2fs");
    make.args(["-q", "-F", "-t", "ext4", "-L", name, "-d"]).arg(folder).arg(&image);
    run(make.arg(format!("{}k", SIZE >> 10))).code(0);
    fs::read(image).expect("an image")
}

/// A volume with a Windows.
fn windows(scratch: &Scratch, name: &str) -> Vec<u8> {
    let (software, system) = (hive("software-11"), hive("system-10"));
    let files: [(&str, &[u8]); 2] = [
        ("Windows/System32/config/SOFTWARE", &software),
        ("Windows/System32/config/SYSTEM", &system),
    ];
    volume(scratch, name, &files)
}

/// A disk with these partitions, each at a byte.
fn disk(scratch: &Scratch, name: &str, partitions: &[(u64, &[u8])]) -> PathBuf {
    let mut bytes = vec![0; 512];
    bytes[440..444].copy_from_slice(&SIGNATURE.to_le_bytes());
    for (number, (start, content)) in partitions.iter().enumerate() {
        let entry = 446 + 16 * number;
        let sectors = |bytes: u64| u32::try_from(bytes / 512).expect("a sector").to_le_bytes();
        bytes[entry + 4] = 7;
        bytes[entry + 8..entry + 12].copy_from_slice(&sectors(*start));
        bytes[entry + 12..entry + 16].copy_from_slice(&sectors(SIZE));
        let end = usize::try_from(start + SIZE).expect("a size");
        let bytes_of_all = bytes.len().max(end);
        bytes.resize(bytes_of_all, 0);
        bytes[end - content.len()..end].copy_from_slice(content);
    }
    bytes[510..512].copy_from_slice(&[0x55, 0xAA]);
    let path = scratch.join(format!("{name}.img"));
    fs::write(&path, bytes).expect("a disk");
    path
}

fn info(disks: &[&Path], code: i32) -> Value {
    let disks = disks.iter().map(|disk| text(disk));
    volfold(["info", "--json"].into_iter().chain(disks)).code(code).json()
}

/// The findings of `answer`.
fn told(answer: &Value) -> Vec<&str> {
    let findings = answer["findings"].as_array().expect("findings").iter();
    findings.map(|finding| finding["message"].as_str().expect("a sentence")).collect()
}

/// Where the drive `letter` of the first system is: its volume, and why it is not shown.
fn drive<'a>(answer: &'a Value, letter: &str) -> (&'a Value, &'a Value) {
    let points = answer["systems"][0]["mount_points"].as_array().expect("mount points");
    let point = points.iter().find(|point| point["path"] == letter).expect("a drive");
    (&point["volume"], &point["reason"])
}

/// A folder of Windows: its name, the files in `System32/config`, and what is told of which.
type Case<'a> = (&'a str, &'a [(&'a str, &'a [u8])], &'a [(&'a str, &'a str)]);

#[apply(test)]
fn a_windows_is_found_by_what_is_left_of_it() {
    let scratch = Scratch::new("windows-left");
    let (software, system) = (hive("software-11"), hive("system-10"));
    let broken = b"regf and nothing more".as_slice();
    let missing = "hive is missing";
    let cut = "not a registry hive (at byte 0)";
    let cases: [Case<'_>; 5] = [
        ("Windows", &[("SYSTEM", &system)], &[("SOFTWARE", missing)]),
        ("WINNT", &[("SOFTWARE", &software)], &[("SYSTEM", missing)]),
        ("Windows", &[("SYSTEM", broken), ("SOFTWARE", &software)], &[("SYSTEM", cut)]),
        ("Old", &[("SYSTEM", broken), ("SOFTWARE", broken)], &[("SOFTWARE", cut), ("SYSTEM", cut)]),
        ("Windows", &[("../ntoskrnl.exe", b"MZ")], &[("SOFTWARE", missing), ("SYSTEM", missing)]),
    ];
    for (number, (folder, hives, expected)) in cases.into_iter().enumerate() {
        let paths: Vec<String> =
            hives.iter().map(|(name, _)| format!("{folder}/System32/config/{name}")).collect();
        let files: Vec<(&str, &[u8])> =
            paths.iter().map(String::as_str).zip(hives.iter().map(|(_, bytes)| *bytes)).collect();
        fs::create_dir_all(scratch.join(format!("v{number}-files/{folder}/System32/config")))
            .expect("folders");
        let content = volume(&scratch, &format!("v{number}"), &files);
        let disk = disk(&scratch, &format!("d{number}"), &[(OF_C, &content)]);
        let answer = info(&[&disk], 3);
        let systems = answer["systems"].as_array().expect("systems");
        assert_eq!(systems.len(), 1, "{number}");
        assert_eq!(systems[0]["family"], "windows");
        assert_eq!(systems[0]["folder"], format!("/{folder}"));
        let has = |name: &str| hives.iter().any(|(own, bytes)| *own == name && bytes.len() > 100);
        assert_eq!(systems[0]["product"].is_null(), !has("SOFTWARE"), "{number}");
        assert_eq!(systems[0]["host_name"].is_null(), !has("SYSTEM"), "{number}");
        let expected: Vec<String> = expected
            .iter()
            .map(|(name, line)| format!("{folder}/System32/config/{name}: {line}"))
            .collect();
        assert_eq!(told(&answer), expected, "{number}");
    }
}

#[apply(test)]
fn a_letter_names_the_volume_that_the_system_lies_on() {
    let scratch = Scratch::new("windows-letter");
    let content = windows(&scratch, "own");
    let disk = disk(&scratch, "disk", &[(OF_C, &content)]);
    let answer = info(&[&disk], 0);
    assert_eq!(told(&answer), Vec::<&str>::new());
    assert_eq!(drive(&answer, "C:"), (&json!("mbr:085b7abe-206848"), &Value::Null));
    volfold(["cat", text(&disk), "-p", "C:/Windows/System32/config/SYSTEM"]).code(0);
}

#[apply(test)]
fn a_letter_of_another_volume_than_the_system_s_own_is_told_and_names_none() {
    let scratch = Scratch::new("windows-cloned");
    let (content, other) = (windows(&scratch, "own"), volume(&scratch, "other", &[("file", b"x")]));
    let disk = disk(&scratch, "disk", &[(ELSEWHERE, &content), (OF_C, &other)]);
    let answer = info(&[&disk], 3);
    let line = r"Windows: the system says that it lies in C:\Windows, and its table that C: is another volume, other";
    assert_eq!(told(&answer), [line]);
    let (volume, reason) = drive(&answer, "C:");
    assert_eq!(volume, "mbr:085b7abe-206848");
    assert!(reason.is_string());
    volfold(["cat", text(&disk), "-p", "C:/file"]).code(1).says("which volume is C:");
    volfold(["cat", text(&disk), "-p", "other/file"]).code(0);
}

#[apply(test)]
fn a_system_whose_letter_is_on_no_disk_of_the_set_is_told() {
    let scratch = Scratch::new("windows-moved");
    let content = windows(&scratch, "own");
    let disk = disk(&scratch, "disk", &[(ELSEWHERE, &content)]);
    let line = "Windows: the system says that it lies in C:\\Windows, and its table that C: is the disk \
        085b7abe, partition at byte 105906176, which is not in the set";
    assert_eq!(told(&info(&[&disk], 3)), [line]);
}

#[apply(test)]
fn copies_that_claim_one_letter_are_told() {
    let scratch = Scratch::new("windows-copies");
    let content = windows(&scratch, "own");
    let one = disk(&scratch, "one", &[(OF_C, &content)]);
    let other = disk(&scratch, "other", &[(OF_C, &content)]);
    let answer = info(&[&one, &other], 3);
    let told: Vec<&str> = told(&answer).into_iter().filter(|line| line.contains("C:")).collect();
    let line =
        "Windows: C: may be any of own, own-2, as copies of a disk; none of them is shown as it";
    assert_eq!(told, [line, line], "of both systems");
    volfold(["info", text(&one), text(&other)]).code(3).says("[guest-volume-ambiguous]");
}

#[apply(test)]
fn volumes_in_folders_of_a_drive_are_told_and_found() {
    needs_path("/dev/fuse");
    needs_programs(&["mkntfs", "ntfs-3g", "hivexregedit"]);
    let scratch = Scratch::new("windows-folders");
    let image = scratch.join("c.img");
    fs::File::create(&image).and_then(|file| file.set_len(SIZE)).expect("a file");
    run(Command::new("mkntfs").args(["-q", "-F", "-L", "c"]).arg(&image)).code(0);
    // The table has a GUID of its own for the second partition.
    let system = scratch.join("SYSTEM");
    fs::write(&system, hive("system-10")).expect("a hive");
    let place: Vec<String> = [&SIGNATURE.to_le_bytes()[..], &ELSEWHERE.to_le_bytes()]
        .concat()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let table = format!(
        "Windows Registry Editor Version 5.00\n\n[\\MountedDevices]\n\
         \"\\\\??\\\\Volume{{{GUID}}}\"=hex:{}\n",
        place.join(",")
    );
    let file = scratch.join("table.reg");
    fs::write(&file, table).expect("a file");
    let mut merge = Command::new("hivexregedit");
    run(merge.args(["--merge", "--prefix", ""]).arg(&system).arg(&file)).code(0);
    let other = Other::mounted_with(&image, "rw");
    let config = other.path().join("Windows/System32/config");
    fs::create_dir_all(&config).expect("folders");
    fs::copy(&system, config.join("SYSTEM")).expect("a hive");
    fs::write(config.join("SOFTWARE"), hive("software-11")).expect("a hive");
    fs::create_dir_all(other.path().join("Mounts/deep")).expect("folders");
    other.junction("Mounts/deep/data", &format!(r"\??\Volume{{{GUID}}}\"));
    // What every Windows since 10 makes of the disk and the place.
    other.junction("Mounts/again", r"\??\Volume{085b7abe-0000-0000-0000-100000000000}\");
    other.junction("Mounts/gone", r"\??\Volume{99999999-0000-0000-0000-100000000000}\");
    other.junction("Mounts/folder", r"\??\C:\Windows");
    drop(other);
    let data = volume(&scratch, "data", &[("notes.txt", b"hello")]);
    let c = fs::read(&image).expect("the volume");
    let disk = disk(&scratch, "disk", &[(ELSEWHERE, &data), (OF_C, &c)]);
    let answer = info(&[&disk], 3);
    let expected = r"the volume Volume{99999999-0000-0000-0000-100000000000}, which the system shows in \
        C:\Mounts\gone, is missing: no volume of the set is it";
    assert_eq!(told(&answer), [expected.replace("\\\n        ", "")]);
    let id = format!("mbr:{SIGNATURE:08x}-{}", ELSEWHERE / 512);
    assert_eq!(drive(&answer, r"C:\Mounts\deep\data"), (&json!(id), &Value::Null));
    assert_eq!(drive(&answer, r"C:\Mounts\again"), (&json!(id), &Value::Null));
    assert_eq!(drive(&answer, r"C:\Mounts\gone").0, &Value::Null);
    // The way by the folder leads into the volume, which keeps its label as its name.
    let cat = |path: &str| volfold(["cat", text(&disk), "-p", path]);
    assert_eq!(cat(r"C:\Mounts\deep\data\notes.txt").code(0).text(), "hello");
    assert_eq!(cat("/Mounts/again/notes.txt").code(0).text(), "hello");
    assert_eq!(cat("data/notes.txt").code(0).text(), "hello");
    assert_eq!(cat(&format!("Volume{{{GUID}}}/notes.txt")).code(0).text(), "hello");
}
