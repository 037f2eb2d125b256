//! Backups of whole machines, each one file: XVA as `tar` packs it, VMA as its specification has it; both cut
//! apart by other programs.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use md5::{Digest, Md5};

use crate::common::program::{Scratch, program, run, text, volfold};
use crate::harness::{apply, needs_programs, test};

const MIB: usize = 1 << 20;

fn sample() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("samples/sample.vmdk")
}

fn sums() -> String {
    fs::read_to_string(sample().with_extension("sha256")).expect("the list")
}

/// The disk of the sample, as `d.img` of `scratch`.
fn disk(scratch: &Scratch) -> Vec<u8> {
    let path = scratch.join("d.img");
    program("qemu-img", &["convert", "-O", "raw", text(&sample()), text(&path)]).code(0);
    fs::read(path).expect("the disk")
}

/// Whether the set that `path` gives has all files of the sample, twice if there are two disks of it.
#[track_caller]
fn has_sample(path: &Path) {
    assert_eq!(volfold(["hash", text(path)]).code(0).text(), sums());
}

fn member(name: &str, value: &str) -> String {
    format!("<member><name>{name}</name><value>{value}</value></member>")
}

/// The description of a machine with a disk of `size` bytes, and one of 1 MiB.
fn description(size: usize) -> String {
    let vdi = |id: &str, name: &str, size: usize| {
        let fields =
            [member("name_label", name), member("virtual_size", &size.to_string())].concat();
        let snapshot = member("snapshot", &format!("<struct>{fields}</struct>"));
        let all = [member("class", "VDI"), member("id", id), snapshot].concat();
        format!("<value><struct>{all}</struct></value>")
    };
    let vbd = |id: &str| {
        let fields = [member("VDI", id), member("type", "Disk")].concat();
        let snapshot = member("snapshot", &format!("<struct>{fields}</struct>"));
        let all = [member("class", "VBD"), member("id", "Ref:9"), snapshot].concat();
        format!("<value><struct>{all}</struct></value>")
    };
    let all = [vdi("Ref:2", "system &amp; data", size), vdi("Ref:3", "empty", MIB)].concat()
        + &vbd("Ref:2")
        + &vbd("Ref:3");
    let objects = member("objects", &format!("<array><data>{all}</data></array>"));
    format!("<?xml version=\"1.0\"?>\n<value><struct>{objects}</struct></value>")
}

/// An export of `disk`, which `split`, `sha1sum` and `tar` make; blocks of zeros are left out. With its
/// members.
fn xva(scratch: &Scratch, disk: &[u8]) -> (PathBuf, Vec<String>) {
    fs::write(scratch.join("ova.xml"), description(disk.len())).expect("a file");
    for (folder, bytes) in [("Ref:2", disk), ("Ref:3", &vec![0; MIB])] {
        let folder = scratch.join(folder);
        fs::create_dir(&folder).expect("a folder");
        fs::write(folder.join("all"), bytes).expect("a file");
        let split = ["-b", "1048576", "-d", "-a", "8", "all", ""];
        run(Command::new("split").args(split).current_dir(&folder)).code(0);
        fs::remove_file(folder.join("all")).expect("it goes");
    }
    let mut members = vec!["ova.xml".to_owned()];
    let last = disk.len().div_ceil(MIB) - 1;
    for (folder, last) in [("Ref:2", last), ("Ref:3", 0)] {
        for number in 0..=last {
            let name = format!("{folder}/{number:08}");
            let bytes = fs::read(scratch.join(&name)).expect("a block");
            if number != 0 && number != last && bytes.iter().all(|byte| *byte == 0) {
                continue;
            }
            let sum = program("sha1sum", &[text(&scratch.join(&name))]).code(0).text();
            let file = scratch.join(format!("{name}.checksum"));
            fs::write(file, sum.get(..40).expect("a sum")).expect("a file");
            members.extend([name.clone(), format!("{name}.checksum")]);
        }
    }
    (tar(scratch, "m.xva", "ustar", &members), members)
}

/// Packs `members` of the folder `scratch`.
fn tar(scratch: &Scratch, name: &str, format: &str, members: &[String]) -> PathBuf {
    let path = scratch.join(name);
    let mut command = Command::new("tar");
    command.arg("-C").arg(scratch.path()).arg(format!("--format={format}")).arg("--force-local");
    run(command.arg("-cf").arg(&path).args(members)).code(0);
    path
}

#[apply(test)]
fn an_xva_is_the_disks_of_its_machine() {
    needs_programs(&["tar", "qemu-img", "split", "sha1sum"]);
    let scratch = Scratch::new("xva");
    let disk = disk(&scratch);
    let (path, members) = xva(&scratch, &disk);
    assert!(members.len() < 2 * disk.len() / MIB, "some blocks are holes: {members:?}");
    has_sample(&path);
    let list = volfold(["list", text(&path), "--json"]).code(0).json();
    let disks = list["disks"].as_array().expect("a list");
    let seen = disks.iter().map(|disk| {
        let name = disk["chain"][0].as_str().and_then(|name| name.rsplit('/').next());
        (name.expect("a name").to_owned(), disk["format"].as_str(), disk["size"].as_u64())
    });
    let wanted = [
        ("Ref:2 system & data".to_owned(), Some("xva"), Some(disk.len() as u64)),
        ("Ref:3 empty".to_owned(), Some("xva"), Some(MIB as u64)),
    ];
    assert_eq!(seen.collect::<Vec<_>>(), wanted);
    let shown = volfold(["list", text(&path)]).code(0).text();
    assert!(shown.contains("m.xva/Ref:2 system & data"), "{shown}");
    let out = scratch.join("out.img");
    volfold(["convert", text(&path), "-o", text(&out), "--volume", "disk0"]).code(0);
    assert!(fs::read(&out).expect("the disk") == disk);
    volfold(["check", text(&path)]).code(0);
    // Of any tar, and by any name but that of a raw disk.
    for format in ["gnu", "pax", "v7"] {
        has_sample(&tar(&scratch, &format!("{format}.xva"), format, &members));
    }
    let other = scratch.join("export");
    fs::copy(&path, &other).expect("a copy");
    has_sample(&other);
    volfold(["list", text(&other), "--format", "xva"]).code(0);
    let called_ova = scratch.join("export.ova");
    fs::copy(&path, &called_ova).expect("a copy");
    has_sample(&called_ova);
    needs_programs(&["gzip"]);
    program("gzip", &["-k", text(&called_ova), text(&path)]).code(0);
    for packed in ["export.ova.gz", "m.xva.gz"] {
        has_sample(&scratch.join(packed));
    }
    let asked = volfold(["hash", text(&path), "--snapshot", "clean"]).code(1);
    asked.says("Ref:2 system & data: keeps no snapshot that is called clean");
    // In a folder it is not taken, which is no small thing.
    fs::create_dir(scratch.join("all")).expect("a folder");
    fs::copy(&path, scratch.join("all/m.xva")).expect("a copy");
    fs::copy(scratch.join("d.img"), scratch.join("all/d.img")).expect("a copy");
    volfold(["hash", text(&scratch.join("all"))]).code(3).says("m.xva: tar archive");
    let image = scratch.join("guest.img");
    fs::copy(&path, &image).expect("a copy");
    volfold(["list", text(&image)]).code(1).says("tar archive, as OVA and XVA files are");
}

#[apply(test)]
fn a_damaged_xva_is_told_and_never_read_as_zeros() {
    needs_programs(&["tar", "qemu-img", "split", "sha1sum"]);
    let scratch = Scratch::new("xva-damaged");
    let disk = disk(&scratch);
    let (path, members) = xva(&scratch, &disk);
    let whole = fs::read(&path).expect("the export");
    let bent = scratch.join("bent.xva");
    // In the data of the first block.
    let mut bytes = whole.clone();
    let at = 512 + description(disk.len()).len().next_multiple_of(512) + 512 + MIB / 2;
    bytes[at] ^= 0x10;
    fs::write(&bent, &bytes).expect("a file");
    let out = scratch.join("out.img");
    let convert = ["convert", text(&bent), "-o", text(&out), "--volume", "disk0"];
    volfold(convert).code(1).says("does not match its checksum");
    // Cut in the middle, and without the last block of the first disk.
    fs::write(&bent, &whole[..whole.len() / 2]).expect("a file");
    let list = volfold(["list", text(&bent)]).code(3);
    let (shown, said) = (list.text(), list.says("archive ends without its end mark"));
    assert!(shown.contains("[backup-blocks-missing]"), "{shown}");
    said.says("Ref:3 empty");
    volfold(convert).code(1).says("block is not in the XVA export");
    let short: Vec<String> = members
        .iter()
        .filter(|name| !name.starts_with(&format!("Ref:2/{:08}", disk.len() / MIB - 1)))
        .cloned()
        .collect();
    let short = tar(&scratch, "short.xva", "ustar", &short);
    let shown = volfold(["list", text(&short)]).code(3).text();
    assert!(shown.contains("[backup-blocks-missing]"), "{shown}");
    // No disk at all.
    let none = tar(&scratch, "none.xva", "ustar", &members[..1]);
    volfold(["list", text(&none)]).code(1).says("the export has no block of it");
}

/// Writes the MD5 of `bytes` to `at`.
fn sign(bytes: &mut [u8], at: usize) {
    let sum = Md5::digest(&*bytes);
    bytes[at..at + 16].copy_from_slice(&sum);
}

/// A backup of `disk` and of one block, as `vma_spec.txt` has it: the clusters of the disk backwards, the
/// other one among them.
fn vma(disk: &[u8]) -> Vec<u8> {
    let uuid = [0x5A; 16];
    let mut blobs = vec![0];
    let mut header = vec![0; 12_288];
    header[..4].copy_from_slice(b"VMA\0");
    header[4..8].copy_from_slice(&1_u32.to_be_bytes());
    header[8..24].copy_from_slice(&uuid);
    for (id, name, size) in [(1, "drive-scsi0", disk.len() as u64), (2, "drive-efidisk0", 4096)] {
        let at = 4096 + 32 * id;
        header[at..at + 4].copy_from_slice(&(blobs.len() as u32).to_be_bytes());
        header[at + 8..at + 16].copy_from_slice(&size.to_be_bytes());
        blobs.extend((name.len() as u16 + 1).to_le_bytes());
        blobs.extend(name.bytes().chain([0]));
    }
    blobs.resize(512, 0);
    for (at, value) in [(48, 12_288), (52, 512), (56, 12_800_u32)] {
        header[at..at + 4].copy_from_slice(&value.to_be_bytes());
    }
    header.extend(blobs);
    sign(&mut header, 32);
    let mut clusters: Vec<(u8, u32, &[u8])> =
        (0..).zip(disk.chunks(65_536)).map(|(number, bytes)| (1, number, bytes)).collect();
    clusters.push((2, 0, &[0x77; 4096]));
    clusters.reverse();
    let mut file = header;
    for extent in clusters.chunks(59) {
        let mut head = vec![0; 512];
        head[..4].copy_from_slice(b"VMAE");
        head[8..24].copy_from_slice(&uuid);
        let mut data: Vec<u8> = Vec::new();
        for (index, (device, number, bytes)) in extent.iter().enumerate() {
            let mut mask = 0_u16;
            for (bit, block) in bytes.chunks(4096).enumerate() {
                if block.iter().any(|byte| *byte != 0) {
                    mask |= 1 << bit;
                    data.extend(block);
                }
            }
            let at = 40 + 8 * index;
            head[at..at + 2].copy_from_slice(&mask.to_be_bytes());
            head[at + 3] = *device;
            head[at + 4..at + 8].copy_from_slice(&number.to_be_bytes());
        }
        head[6..8].copy_from_slice(&((data.len() / 4096) as u16).to_be_bytes());
        sign(&mut head, 24);
        file.extend(head);
        file.extend(data);
    }
    file
}

/// Cuts a VMA apart into files that are called as its disks are: a second reading of the specification.
const CUT_APART: &str = r#"
import hashlib, struct, sys
data = open(sys.argv[1], "rb").read()
magic, version, uuid, ctime, md5, blob_at, blob_size, size = struct.unpack(">4sI16sQ16sIII", data[:60])
header = bytearray(data[:size])
header[32:48] = bytes(16)
assert magic == b"VMA\0" and version == 1 and hashlib.md5(header).digest() == md5
disks = {}
for number in range(1, 256):
    name, _, length = struct.unpack(">IIQ", data[4096 + 32 * number:][:16])
    if name:
        blob = data[blob_at + name:]
        text = blob[2:2 + int.from_bytes(blob[:2], "little")].rstrip(b"\0").decode()
        disks[number] = (text, bytearray(length), set())
at = size
while at < len(data):
    head = bytearray(data[at:at + 512])
    magic, _, blocks, own, md5 = struct.unpack(">4sHH16s16s", head[:40])
    head[24:40] = bytes(16)
    assert magic == b"VMAE" and own == uuid and hashlib.md5(head).digest() == md5
    place = at + 512
    for mask, _, device, cluster in struct.iter_unpack(">HBBI", head[40:512]):
        if device:
            _, out, seen = disks[device]
            seen.add(cluster)
            for bit in range(16):
                if mask >> bit & 1:
                    start = cluster * 65536 + bit * 4096
                    out[start:start + 4096] = data[place:place + 4096][:len(out) - start]
                    place += 4096
    assert place == at + 512 + 4096 * blocks
    at = place
for name, out, seen in disks.values():
    assert len(seen) == -(-len(out) // 65536)
    open(sys.argv[2] + "/" + name, "wb").write(out)
"#;

#[apply(test)]
fn a_vma_is_the_disks_of_its_machine() {
    needs_programs(&["qemu-img", "python3", "zstd"]);
    let scratch = Scratch::new("vma");
    let disk = disk(&scratch);
    let path = scratch.join("vzdump.vma");
    fs::write(&path, vma(&disk)).expect("a file");
    has_sample(&path);
    program("python3", &["-c", CUT_APART, text(&path), text(scratch.path())]).code(0);
    let out = scratch.join("out.img");
    for (number, name) in ["drive-scsi0", "drive-efidisk0"].into_iter().enumerate() {
        let volume = format!("disk{number}");
        let convert =
            ["convert", text(&path), "-o", text(&out), "--volume", &volume, "--overwrite"];
        volfold(convert).code(0);
        let (ours, theirs) = (fs::read(&out), fs::read(scratch.join(name)));
        assert!(ours.expect("a disk") == theirs.expect("a disk"), "{name}");
    }
    assert!(fs::read(scratch.join("drive-scsi0")).expect("the disk") == disk);
    let shown = volfold(["list", text(&path)]).code(0).text();
    assert!(
        shown.contains("vzdump.vma/drive-scsi0") && shown.contains("drive-efidisk0"),
        "{shown}"
    );
    volfold(["check", text(&path)]).code(0);
    // In frames of Zstandard it is read in place, and in one that is small enough.
    program("zstd", &["-q", "-k", "-1", text(&path)]).code(0);
    has_sample(&scratch.join("vzdump.vma.zst"));
    // The mark of a backup does not hide the disk of a guest.
    let guest = scratch.join("guest.img");
    let mut bytes = disk.clone();
    bytes[..8].copy_from_slice(b"VMA\0\0\0\0\x01");
    fs::write(&guest, bytes).expect("a file");
    let shown = volfold(["list", text(&guest)]).text();
    assert!(shown.contains("guest.img  raw") && shown.contains("[foreign-mark]"), "{shown}");
    // In a folder it is not opened, and that is said.
    let folder = scratch.join("dump");
    fs::create_dir(&folder).expect("a folder");
    fs::copy(&path, folder.join("a.vma")).expect("a copy");
    volfold(["list", text(&folder)]).code(1).says("Proxmox VMA backup; give it alone");
}

#[apply(test)]
fn a_damaged_vma_is_told_and_never_read_as_zeros() {
    needs_programs(&["qemu-img"]);
    let scratch = Scratch::new("vma-damaged");
    let disk = disk(&scratch);
    let whole = vma(&disk);
    let path = scratch.join("bent.vma");
    let out = scratch.join("out.img");
    let convert = ["convert", text(&path), "-o", text(&out), "--volume", "disk0"];
    for (length, line) in
        [(whole.len() - 4096, "VMA file is cut off"), (12_900, "header is cut off")]
    {
        fs::write(&path, &whole[..length]).expect("a file");
        let list = volfold(["list", text(&path)]).code(3);
        assert!(list.text().contains("[backup-blocks-missing]"), "{}", list.text());
        list.says(line);
        volfold(convert).code(1).says("is not in the VMA backup");
    }
    for (at, line) in
        [(60, "VMA header has a bad checksum"), (12_800 + 45, "VMA extent header has a bad")]
    {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        fs::write(&path, bytes).expect("a file");
        volfold(["hash", text(&path)]).says(line);
        volfold(convert).code(1);
    }
}
