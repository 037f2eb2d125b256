//! `volfold convert`: what is written, as QEMU and the host's own tools read it.

use std::fs;
use std::io::Read;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use crate::common::fixtures::fixture;
use crate::common::program::{DEADLINE, Output, Scratch, VOLFOLD, program, run, text, volfold};
use crate::harness::{apply, needs_programs, test};

fn convert(disks: &[PathBuf], arguments: &[&str]) -> Output {
    let disks = disks.iter().map(|disk| text(disk));
    volfold(std::iter::once("convert").chain(disks).chain(arguments.iter().copied()))
}

/// The disk in the file at `path`, as `qemu-img` reads it.
fn raw(scratch: &Scratch, path: &Path, format: &str) -> Vec<u8> {
    let out = scratch.join("by-qemu.raw");
    let words = ["convert", "-f", format, "-O", "raw", text(path), text(&out)];
    program("qemu-img", &words).code(0);
    fs::read(out).expect("the disk")
}

#[apply(test)]
fn a_disk_becomes_one_file_in_each_format() {
    needs_programs(&["qemu-img"]);
    let scratch = Scratch::new("convert");
    let disk = Path::new(env!("CARGO_MANIFEST_DIR")).join("samples/sample.vmdk");
    let wanted = raw(&scratch, &disk, "vmdk");
    for (format, name) in [("raw", "a.raw"), ("qcow2", "b.qcow2"), ("vmdk", "c.vmdk")] {
        let out = scratch.join(name);
        let done =
            convert(std::slice::from_ref(&disk), &["-o", text(&out), "--verify", "--json"]).code(0);
        let written = done.json()["written"].clone();
        assert_eq!((&written["format"], &written["verified"]), (&format.into(), &true.into()));
        assert!(raw(&scratch, &out, format) == wanted, "{format}");
        if format != "raw" {
            let checked = program("qemu-img", &["check", "-f", format, text(&out)]);
            // QEMU has no check for VMDK but one of its own tables.
            checked.code(0);
        }
        let taken = fs::metadata(&out).expect("the file").blocks() * 512;
        assert!(taken < wanted.len() as u64 / 2, "{format} takes {taken}");
        let list = volfold(["hash", text(&out)]).code(0).text();
        assert_eq!(list, volfold(["hash", text(&disk)]).code(0).text());
    }
    // The name tells the format, `--format` has the last word.
    let out = scratch.join("d.vmdk");
    convert(&[disk], &["-o", text(&out), "--format", "qcow2"]).code(0);
    assert!(raw(&scratch, &out, "qcow2") == wanted);
}

#[apply(test)]
fn a_volume_of_several_disks_becomes_one_file() {
    needs_programs(&["qemu-img"]);
    let scratch = Scratch::new("convert-volume");
    let disks = fixture("ldm-striped").paths();
    let out = scratch.join("volume.qcow2");
    let said = convert(&disks, &["-o", text(&out)]).code(1);
    said.says("disks, and a file holds one; choose it with --volume");
    let list = volfold(["list", "--json"].into_iter().chain(disks.iter().map(|d| text(d)))).json();
    let name = list["volumes"][0]["name"].as_str().expect("a name").to_owned();
    convert(&disks, &["-o", text(&out), "--volume", &name, "--verify"]).code(0);
    let hash = |disks: &[PathBuf]| {
        let disks = disks.iter().map(|disk| text(disk));
        let text = volfold(std::iter::once("hash").chain(disks)).text();
        let lines = text.lines().filter_map(|line| line.split_once('\t'));
        lines.map(|(_, rest)| rest.to_owned()).collect::<Vec<_>>()
    };
    let files = hash(&[out]);
    assert!(!files.is_empty());
    let all = hash(&disks);
    assert!(files.iter().all(|file| all.contains(file)));
    convert(&disks, &["-o", text(&scratch.join("x")), "--volume", "none"]).code(1);
}

#[apply(test)]
fn large_and_odd_disks_keep_their_holes_and_sizes() {
    needs_programs(&["qemu-img", "qemu-io"]);
    let scratch = Scratch::new("convert-odd");
    for (size, writes) in [
        (3_u64 << 30, &["write -P 7 3221225000 400", "write -P 8 0 512", "write -P 9 1g 1m"][..]),
        (1_048_576 + 512, &["write -P 5 1048576 512"]),
        (70_000 * 512, &[]),
    ] {
        let disk = scratch.join("disk.img");
        let _ = fs::remove_file(&disk);
        fs::File::create(&disk).and_then(|file| file.set_len(size)).expect("a disk");
        for write in writes {
            program("qemu-io", &["-f", "raw", "-c", write, text(&disk)]).code(0);
        }
        for format in ["raw", "qcow2", "vmdk"] {
            let out = scratch.join(format!("{size}.{format}"));
            let words = ["-o", text(&out), "--verify", "--source-format", "raw"];
            convert(std::slice::from_ref(&disk), &words).code(0);
            let words = ["compare", "-f", "raw", "-F", format, text(&disk), text(&out)];
            program("qemu-img", &words).code(0);
            assert!(fs::metadata(&out).expect("a file").blocks() * 512 < 16 << 20, "{format}");
        }
    }
}

#[apply(test)]
fn nothing_is_replaced_and_no_half_file_stays() {
    let scratch = Scratch::new("convert-bad");
    let disk = fixture("fat12").path();
    let copy = scratch.copy(&disk);
    let out = scratch.join("out.raw");
    fs::write(&out, "mine").expect("a file");
    let taken = convert(std::slice::from_ref(&disk), &["-o", text(&out)]).code(1);
    taken.says("is there already; take another name, or --overwrite");
    assert_eq!(fs::read(&out).expect("it stays"), b"mine");
    convert(std::slice::from_ref(&disk), &["-o", text(&out), "--overwrite"]).code(0);
    assert_eq!(fs::read(&out).expect("new"), fs::read(&disk).expect("the disk"));
    let own = convert(std::slice::from_ref(&copy), &["-o", text(&copy), "--overwrite"]).code(1);
    own.says("is an image that is read, and images are never written");
    convert(&[disk], &["-o", text(&scratch.join("no/such/folder.raw"))]).code(1);
    // What cannot be read ends it.
    let cut = scratch.join("cut.vmdk");
    let text_of = "# Disk DescriptorFile\nCID=1\nparentCID=ffffffff\ncreateType=\"monolithicFlat\"\n\
                   RW 4096 FLAT \"out.raw\" 0\nRW 4096 FLAT \"gone.raw\" 0\n";
    fs::write(&cut, text_of).expect("a descriptor");
    let half = scratch.join("half.qcow2");
    let said = convert(&[cut], &["-o", text(&half)]).code(1);
    said.says("gone.raw").says("no file was written");
    let left: Vec<_> = fs::read_dir(scratch.path()).expect("a folder").flatten().collect();
    assert!(!half.exists() && left.len() == 3, "{left:?}");
    let mut device = Command::new(VOLFOLD);
    device.args(["convert", text(&copy), "-o", "/dev/null", "--overwrite"]);
    run(&mut device).code(1).says("never written");
}

#[apply(test)]
fn the_reason_why_there_is_no_file_is_in_the_json() {
    let scratch = Scratch::new("convert-reason");
    let out = scratch.join("out.vhd");
    let done = convert(&[fixture("fat16").path()], &["-o", text(&out), "--json"]).code(1);
    let json = done.json();
    assert!(json["written"].is_null());
    let reason = json["reason"].as_str().expect("a reason");
    assert!(reason.contains("is not written; give --format raw, qcow2 or vmdk"), "{reason}");
}

#[apply(test)]
fn a_command_that_is_asked_to_end_leaves_no_half_file() {
    let scratch = Scratch::new("convert-ended");
    let disk = scratch.join("disk.img");
    let file = fs::File::create(&disk).expect("a disk");
    for mebibyte in 0..4096 {
        file.write_all_at(&[0xB5; 512], mebibyte << 20).expect("some of it");
    }
    let out = scratch.path().join("out");
    fs::create_dir(&out).expect("a folder");
    let mut child = Command::new(VOLFOLD)
        .args(["convert", text(&disk), "-o", text(&out.join("disk.qcow2"))])
        .stderr(Stdio::piped())
        .spawn()
        .expect("volfold starts");
    let files = || fs::read_dir(&out).expect("the folder").count();
    let start = Instant::now();
    while files() == 0 {
        assert!(start.elapsed() < DEADLINE && child.try_wait().expect("a child").is_none());
    }
    program("kill", &["-TERM", &child.id().to_string()]).code(0);
    let mut said = String::new();
    child.stderr.take().expect("a pipe").read_to_string(&mut said).expect("text");
    assert_eq!(child.wait().expect("an end").code(), Some(1), "{said}");
    assert!(said.contains("disk.qcow2: asked to end; no file was written"), "{said}");
    assert_eq!(files(), 0);
}

#[apply(test)]
fn what_a_disk_holds_is_listed_as_qemu_does() {
    needs_programs(&["qemu-img", "qemu-io"]);
    let scratch = Scratch::new("allocated");
    // QEMU tells none of the holes of VHDX.
    for format in ["qcow2", "vmdk", "vdi", "vpc"] {
        let end = if format == "vpc" { "vhd" } else { format };
        let disk = scratch.join(format!("disk.{end}"));
        let create = ["create", "-q", "-f", format, text(&disk), "1G"];
        program("qemu-img", &create).code(0);
        for write in ["write -P 7 0 64k", "write -P 8 64k 1m", "write -P 9 900m 1k"] {
            program("qemu-io", &["-f", format, "-c", write, text(&disk)]).code(0);
        }
        // What is there is no file system.
        let list = volfold(["list", "--allocated", "--json", text(&disk)]).code(3).json();
        let runs = list["disks"][0]["allocated"].as_array().expect("runs").clone();
        let number = |value: &serde_json::Value| value.as_u64().expect("a number");
        let ours: Vec<(u64, u64)> =
            runs.iter().map(|run| (number(&run["offset"]), number(&run["length"]))).collect();
        let map = program("qemu-img", &["map", "--output=json", "-f", format, text(&disk)]);
        let map: serde_json::Value = serde_json::from_str(&map.code(0).text()).expect("JSON");
        let mut theirs: Vec<(u64, u64)> = Vec::new();
        for run in map.as_array().expect("runs").iter().filter(|run| run["data"] == true) {
            let (start, length) = (number(&run["start"]), number(&run["length"]));
            match theirs.last_mut() {
                Some((at, size)) if *at + *size == start => *size += length,
                _ => theirs.push((start, length)),
            }
        }
        assert_eq!(ours, theirs, "{format}");
        let line = volfold(["list", "--allocated", text(&disk)]).code(3).text();
        assert!(line.contains("allocated: ") && line.contains("runs"), "{line}");
    }
}
