//! Files that hold images: machines that are packed into one file, and Parallels' folders.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use data_encoding::HEXLOWER;
use volfold::{DiskSet, Incomplete, OpenOptions};
use volfold_block::BlockDevice;

use crate::common::corpus;
use crate::common::program::{Output, Scratch, program, run, text, volfold};
use crate::harness::{apply, needs_programs, test};

fn sample() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("samples/sample.vmdk")
}

fn sums() -> String {
    fs::read_to_string(sample().with_extension("sha256")).expect("the list")
}

/// Whether the set that `path` gives has all files of the sample, and nothing is amiss.
#[track_caller]
fn has_sample(path: &Path) -> Output {
    let output = volfold(["hash", text(path)]).code(0);
    assert_eq!(output.text(), sums());
    output
}

/// Packs `members` of the folder `scratch`.
fn tar(scratch: &Scratch, name: &str, format: &str, members: &[&str]) -> PathBuf {
    let path = scratch.join(name);
    let mut command = Command::new("tar");
    command.arg("-C").arg(scratch.path()).arg(format!("--format={format}")).arg("-cf").arg(&path);
    run(command.args(members)).code(0);
    path
}

const DESCRIPTOR: &str = r#"<Envelope xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1"><References>
    <File ovf:href="disk%201.vmdk" ovf:id="f1"/><File ovf:href="cd.iso" ovf:id="f2"/></References>
    <DiskSection><Disk ovf:diskId="d1" ovf:fileRef="f1"/></DiskSection></Envelope>"#;

#[apply(test)]
fn the_disks_of_a_packed_machine_are_read_in_place() {
    needs_programs(&["tar", "qemu-img"]);
    let scratch = Scratch::new("ova");
    let sample = sample();
    let disk = scratch.join("disk 1.vmdk");
    let options = ["convert", "-O", "vmdk", "-o", "subformat=streamOptimized", text(&sample)];
    program("qemu-img", &[&options[..], &[text(&disk)]].concat()).code(0);
    fs::write(scratch.join("web.ovf"), DESCRIPTOR).expect("a file");
    fs::write(scratch.join("cd.iso"), vec![b'x'; 70_000]).expect("a file");
    fs::write(scratch.join("note.txt"), "a note\n").expect("a file");
    for format in ["ustar", "gnu", "pax", "v7"] {
        let members = ["web.ovf", "disk 1.vmdk", "cd.iso"];
        let path = tar(&scratch, &format!("{format}.ova"), format, &members);
        has_sample(&path);
        let list = volfold(["list", text(&path), "--json"]).code(0).json();
        let shown = list["disks"][0]["chain"][0].as_str().expect("a name").to_owned();
        assert!(shown.ends_with(&format!("{format}.ova/disk 1.vmdk")), "{shown}");
        assert_eq!(list["disks"].as_array().map(Vec::len), Some(1));
        // Without a descriptor it is what looks like a disk.
        let path = tar(&scratch, "bare.ova", format, &["note.txt", "./disk 1.vmdk"]);
        has_sample(&path);
    }
    let whole = fs::read(tar(&scratch, "whole.ova", "ustar", &["web.ovf", "disk 1.vmdk"]));
    let whole = whole.expect("the archive");
    // Cut in the disk, before it, and after it.
    let cut = scratch.join("cut.ova");
    fs::write(&cut, &whole[..whole.len() / 2]).expect("a file");
    volfold(["hash", text(&cut)]).code(1).says("disk 1.vmdk is cut off: the archive has");
    fs::write(&cut, &whole[..1024]).expect("a file");
    volfold(["hash", text(&cut)]).code(1).says(".vmdk is not in the archive");
    let padded = |length: usize| length.next_multiple_of(512);
    let size = fs::metadata(&disk).expect("the disk").len() as usize;
    let end = 512 + padded(DESCRIPTOR.len()) + 512 + padded(size);
    fs::write(&cut, &whole[..end]).expect("a file");
    let output = volfold(["hash", text(&cut)]).code(3);
    assert_eq!(output.text(), sums());
    output.says("archive ends without its end mark");
    // A header that is damaged, and what is no archive.
    let mut bent = whole.clone();
    bent[3] ^= 1;
    fs::write(&cut, &bent).expect("a file");
    volfold(["hash", text(&cut)]).code(1).says("tar header is damaged");
    fs::write(&cut, vec![7; 4096]).expect("a file");
    volfold(["list", text(&cut)]);
}

/// One byte of the mark of a container, and it would be the disk itself.
#[apply(test)]
fn a_container_without_its_mark_is_told() {
    needs_programs(&["gzip", "bzip2", "xz", "zstd"]);
    let scratch = Scratch::new("marks");
    let disk = scratch.join("disk.img");
    program("qemu-img", &["convert", "-O", "raw", text(&sample()), text(&disk)]).code(0);
    for (tool, end) in [("gzip", "gz"), ("bzip2", "bz2"), ("xz", "xz"), ("zstd", "zst")] {
        program(tool, &["-q", "-k", "-f", text(&disk)]).code(0);
        let packed = scratch.join(format!("disk.img.{end}"));
        let mut bytes = fs::read(&packed).expect("a file");
        bytes[1] ^= 1;
        fs::write(&packed, bytes).expect("a file");
        let list = volfold(["list", text(&packed)]);
        let told = format!("{}{}", list.text(), list.stderr);
        assert!(matches!(list.code, Some(1 | 3)), "{end}: {told}");
        assert!(told.contains("has none of its marks") || list.code == Some(1), "{end}: {told}");
    }
}

/// As `ovftool` and VirtualBox write it.
#[apply(test)]
fn check_compares_the_files_of_a_packed_machine_with_its_manifest() {
    needs_programs(&["tar", "qemu-img", "sha1sum", "sha256sum"]);
    let scratch = Scratch::new("ova-manifest");
    let (sample, disk) = (sample(), scratch.join("disk 1.vmdk"));
    let options = ["convert", "-O", "vmdk", "-o", "subformat=streamOptimized", text(&sample)];
    program("qemu-img", &[&options[..], &[text(&disk)]].concat()).code(0);
    fs::write(scratch.join("web.ovf"), DESCRIPTOR).expect("a file");
    let sum = |program_name: &str, name: &str| {
        let output = program(program_name, &[text(&scratch.join(name))]).code(0).text();
        output.split(' ').next().expect("a digest").to_owned()
    };
    let manifest = format!(
        "SHA1(web.ovf)= {}\nSHA256(disk 1.vmdk)= {}\n",
        sum("sha1sum", "web.ovf"),
        sum("sha256sum", "disk 1.vmdk").to_uppercase()
    );
    fs::write(scratch.join("web.mf"), &manifest).expect("a file");
    let members = ["web.ovf", "web.mf", "disk 1.vmdk"];
    let path = tar(&scratch, "web.ova", "ustar", &members);
    for path in [&path, &scratch.join("web.ovf")] {
        let told = volfold(["check", text(path)]).code(0).text();
        let lines: Vec<&str> =
            told.lines().filter(|line| line.ends_with("as the manifest has it")).collect();
        assert_eq!(lines.len(), 2, "{told}");
    }
    fs::write(scratch.join("web.mf"), manifest.replace("SHA1", "SHA3")).expect("a file");
    let path = tar(&scratch, "other.ova", "ustar", &members);
    let said = volfold(["check", text(&path)]).code(3);
    said.says("web.ovf: the hash in the manifest is not compared: sha3 is not known");
    fs::write(scratch.join("web.mf"), format!("{manifest}SHA1 web.ovf = 0\n")).expect("a file");
    let path = tar(&scratch, "odd.ova", "ustar", &members);
    let said = volfold(["check", text(&path)]).code(3);
    said.says("lines of its manifest that are no hash of a file: 1");
    // One byte of the descriptor's blank space, which nothing else reads.
    fs::write(scratch.join("web.ovf"), format!("{DESCRIPTOR}\n")).expect("a file");
    fs::write(scratch.join("web.mf"), &manifest).expect("a file");
    let path = tar(&scratch, "changed.ova", "ustar", &members);
    let json = volfold(["check", text(&path), "--json"]).code(3).json();
    assert_ne!(json["manifest"][0]["found"], json["manifest"][0]["recorded"]);
    assert_eq!(json["manifest"][1]["found"], json["manifest"][1]["recorded"]);
    volfold(["check", text(&path)]).code(3).says("web.ovf: sha1 is ");
    // A file that is not there.
    let path = tar(&scratch, "missing.ova", "ustar", &["web.ovf", "web.mf"]);
    volfold(["check", text(&path)]).code(1).says("disk 1.vmdk: the hash in the manifest is not");
}

#[apply(test)]
fn split_and_chained_members_of_a_packed_machine_find_each_other_alone() {
    needs_programs(&["tar", "qemu-img"]);
    let scratch = Scratch::new("ova-parts");
    let sample = sample();
    let disk = scratch.join("d.vmdk");
    let options = ["convert", "-O", "vmdk", "-o", "subformat=twoGbMaxExtentFlat", text(&sample)];
    program("qemu-img", &[&options[..], &[text(&disk)]].concat()).code(0);
    let create = ["create", "-q", "-f", "vmdk", "-b", "d.vmdk", "-F", "vmdk", "d-000001.vmdk"];
    run(Command::new("qemu-img").args(create).current_dir(scratch.path())).code(0);
    let members = ["d.vmdk", "d-f001.vmdk", "d-000001.vmdk"];
    has_sample(&tar(&scratch, "chain.ova", "gnu", &members));
    // What is not in it is not looked for outside.
    let path = tar(&scratch, "alone.ova", "gnu", &members[1..]);
    volfold(["hash", text(&path)]).code(3).says("parent d.vmdk is missing");
    let bytes = fs::read(&sample).expect("the sample");
    let half = bytes.len().div_ceil(2);
    for (index, part) in bytes.chunks(half).enumerate() {
        fs::write(scratch.join(format!("disk 1.vmdk.{index:09}")), part).expect("a part");
    }
    let content = DESCRIPTOR.replace("\"f1\"/><", &format!("\"f1\" ovf:chunkSize=\"{half}\"/><"));
    fs::write(scratch.join("x.ovf"), content).expect("a file");
    let members = ["x.ovf", "disk 1.vmdk.000000000", "disk 1.vmdk.000000001"];
    has_sample(&tar(&scratch, "parts.ova", "pax", &members));
}

#[apply(test)]
fn a_folder_of_parallels_is_its_newest_state() {
    needs_programs(&["qemu-img"]);
    let scratch = Scratch::new("hdd");
    let sample = sample();
    let base = scratch.join("d.hdd.0.base.hds");
    program("qemu-img", &["convert", "-O", "parallels", text(&sample), text(&base)]).code(0);
    // QEMU makes no snapshots of this format, but an image without a cluster is one.
    let top = scratch.join("d.hdd.0.top.hds");
    let size = fs::read(&base)
        .map(|bytes| u64::from_le_bytes(bytes[36..44].try_into().expect("eight bytes")) * 512);
    let size = size.expect("the image").to_string();
    program("qemu-img", &["create", "-q", "-f", "parallels", text(&top), &size]).code(0);
    let image = |guid: &str, name: &str| {
        format!("<Image><GUID>{guid}</GUID><Type>Compressed</Type><File>{name}</File></Image>")
    };
    let shot = |guid: &str, parent: &str| {
        format!("<Shot><GUID>{guid}</GUID><ParentGUID>{parent}</ParentGUID></Shot>")
    };
    let [none, one, two] =
        ["0", "1", "2"].map(|digit| format!("{{{digit}0000000-0000-0000-0000-000000000000}}"));
    let descriptor = format!(
        "<?xml version='1.0' encoding='UTF-8'?><Parallels_disk_image><StorageData><Storage>{}{}\
         </Storage></StorageData><Snapshots>{}{}</Snapshots></Parallels_disk_image>",
        image(&one, "d.hdd.0.base.hds"),
        image(&two, "d.hdd.0.top.hds"),
        shot(&two, &one),
        shot(&one, &none),
    );
    fs::write(scratch.join("DiskDescriptor.xml"), descriptor).expect("a file");
    has_sample(scratch.path());
    has_sample(&top);
    let list = volfold(["list", text(&base)]).code(3).text();
    assert!(list.contains("[snapshot-beside]"), "{list}");
    fs::remove_file(&base).expect("it goes");
    volfold(["list", text(&top)]).code(1).says("d.hdd.0.base.hds is missing");
}

#[apply(test)]
fn the_parallels_image_of_the_corpus_has_the_bytes_that_qemu_reads() {
    let folder = corpus::needed();
    let manifest = corpus::manifest(&folder);
    let entry = manifest.entries.iter().find(|entry| entry.id == "qemu-parallels");
    let entry = entry.expect("the entry");
    let disk = &entry.disks[0];
    let path = corpus::unpack(&folder, entry).join(&disk.name);
    let set = DiskSet::open(&[path], &OpenOptions::default()).unwrap_or_else(Incomplete::into_set);
    let device = &set.disks()[0].device;
    assert_eq!((set.disks()[0].format, Some(device.size())), ("parallels", disk.virtual_size));
    let mut bytes = vec![0; usize::try_from(device.size()).expect("a small disk")];
    device.read_at(0, &mut bytes).expect("bytes of a disk");
    let digest = HEXLOWER.encode(&<sha2::Sha256 as sha2::Digest>::digest(&bytes));
    assert_eq!(Some(digest), disk.content_sha256);
}

#[apply(test)]
fn images_that_were_compressed_in_blocks_are_read_in_place() {
    needs_programs(&["qemu-img", "xz", "zstd"]);
    let scratch = Scratch::new("packed");
    let sample = sample();
    for (name, format) in [("d.img", "raw"), ("d.qcow2", "qcow2"), ("d.vmdk", "vmdk")] {
        let path = scratch.join(name);
        program("qemu-img", &["convert", "-O", format, text(&sample), text(&path)]).code(0);
        program("xz", &["-k", "-1", "--block-size=1MiB", text(&path)]).code(0);
        program("zstd", &["-q", "-k", "-1", text(&path)]).code(0);
        has_sample(&scratch.join(format!("{name}.xz")));
        has_sample(&scratch.join(format!("{name}.zst")));
    }
    // In parts, which the compressed file was cut into.
    let bytes = fs::read(scratch.join("d.vmdk.xz")).expect("a file");
    let half = bytes.len().div_ceil(2);
    for (index, part) in bytes.chunks(half).enumerate() {
        fs::write(scratch.join(format!("s.vmdk.xz.{:03}", index + 1)), part).expect("a part");
    }
    has_sample(&scratch.join("s.vmdk.xz.001"));
    // Damage is an error, and never another byte.
    let cut = scratch.join("cut.img.xz");
    fs::write(&cut, &bytes[..bytes.len() - 5]).expect("a file");
    volfold(["hash", text(&cut)]).code(1).says("xz file is cut off or damaged at its end");
    let packed = scratch.join("d.img.xz");
    volfold(["list", text(&packed), "--format", "raw"]).code(0);
}

#[apply(test)]
fn images_that_were_compressed_by_gzip_or_bzip2_are_read_in_place() {
    needs_programs(&["qemu-img", "gzip", "bzip2", "tar"]);
    let scratch = Scratch::new("packed-once");
    let sample = sample();
    for (name, format) in [("d.raw", "raw"), ("d.qcow2", "qcow2"), ("d.vmdk", "vmdk")] {
        let path = scratch.join(name);
        program("qemu-img", &["convert", "-O", format, text(&sample), text(&path)]).code(0);
        program("gzip", &["-k", "-1", text(&path)]).code(0);
        program("bzip2", &["-k", "-1", text(&path)]).code(0);
        has_sample(&scratch.join(format!("{name}.gz")));
        has_sample(&scratch.join(format!("{name}.bz2")));
    }
    for (end, what) in [("gz", "gzip"), ("bz2", "bzip2")] {
        let path = scratch.join(format!("d.raw.{end}"));
        let bytes = fs::read(&path).expect("a file");
        let bent = scratch.join(format!("bent.raw.{end}"));
        let middle = bytes.len() / 2;
        let changed = [&bytes[..middle], &[!bytes[middle]], &bytes[middle + 1..]].concat();
        for (bytes, said) in [
            (bytes[..bytes.len() - 5].to_vec(), format!("{what} file is cut off")),
            (changed, format!("{what} ")),
            ([&bytes[..], b"more"].concat(), "has other bytes after its last".to_owned()),
        ] {
            fs::write(&bent, bytes).expect("a file");
            volfold(["hash", text(&bent)]).code(1).says(&said);
        }
        // Zeros after it are nothing; who wants the bytes of the file gets them; a wrong name tells.
        fs::write(&bent, [&bytes[..], &[0; 700]].concat()).expect("a file");
        has_sample(&bent);
        volfold(["list", text(&path), "--format", "raw"]).code(0);
        let other = scratch.join(format!("{end}.raw"));
        fs::write(&other, &bytes).expect("a file");
        let unpacks = if end == "gz" { "gunzip -k" } else { "bunzip2 -k" };
        volfold(["hash", text(&other)]).code(1).says(unpacks);
    }
    // What is no disk is not unpacked to its end.
    let mut state = 1_u64;
    let mut random = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        state >> 33
    };
    let lines: String = (0..400_000).map(|_| format!("{}\n", random())).collect();
    for (tool, end) in [("gzip", "gz"), ("bzip2", "bz2")] {
        let log = scratch.join("big.log");
        fs::write(&log, &lines).expect("a file");
        let archive = tar(&scratch, "big.tar", "ustar", &["big.log"]);
        for (path, word) in [(&log, "text; this is not a disk image"), (&archive, "tar archive")] {
            program(tool, &["-f", text(path)]).code(0);
            let packed = scratch.join(format!("{}.{end}", text(path)));
            let bytes = fs::read(&packed).expect("a file");
            assert!(bytes.len() > 1 << 20, "{}", bytes.len());
            fs::write(&packed, &bytes[..bytes.len() - 9]).expect("a file");
            volfold(["hash", text(&packed)]).code(1).says(word);
        }
    }
}
