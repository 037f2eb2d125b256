//! Images as people keep them: moved, renamed, copied in part, in folders with all that lies beside.
//! QEMU makes them, and says what they hold.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use crate::common::mounted::Folder;
use crate::common::program::{Output, Scratch, VOLFOLD, program, run, text};
use crate::harness::{apply, needs_path, needs_programs, test};

/// Sectors of the sample's disk.
const SECTORS: u64 = 45_056;

fn sample() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("samples/sample.vmdk")
}

/// The sample's own list: a line for each file.
fn sample_list() -> String {
    fs::read_to_string(sample().with_extension("sha256")).expect("the list of the sample")
}

#[track_caller]
fn qemu_img(arguments: &[&str]) {
    program("qemu-img", arguments).code(0);
}

/// A folder with the sample's disk as `name`, in the form `subformat`; `raw` is none.
fn converted(scratch: &Scratch, name: &str, subformat: &str) -> PathBuf {
    let target = scratch.join(name);
    let sample = sample();
    if subformat == "raw" {
        qemu_img(&["convert", "-O", "raw", text(&sample), text(&target)]);
    } else {
        let option = format!("subformat={subformat}");
        qemu_img(&["convert", "-O", "vmdk", "-o", &option, text(&sample), text(&target)]);
    }
    target
}

fn volfold_in(folder: &Path, arguments: &[&str]) -> Output {
    run(Command::new(VOLFOLD).args(arguments).current_dir(folder))
}

/// Every file of the sample is among those of `disks`, with its content.
#[track_caller]
fn has_sample(folder: &Path, disks: &[&str]) -> Output {
    let output = volfold_in(folder, &[&["hash"], disks].concat());
    let (found, list) = (output.text(), sample_list());
    let lost: Vec<&str> = list.lines().filter(|line| !found.contains(*line)).collect();
    assert!(lost.is_empty(), "{} files are missing: {:?} {output:?}", lost.len(), lost.first());
    output
}

/// The codes of the findings that `list` tells.
fn codes(folder: &Path, disks: &[&str]) -> Vec<String> {
    let json = volfold_in(folder, &[&["list", "--json"], disks].concat()).json();
    let findings = json["findings"].as_array().expect("findings").iter();
    findings.map(|finding| finding["code"].as_str().expect("a code").to_owned()).collect()
}

fn descriptor(kind: &str, extents: &str) -> String {
    format!(
        "# Disk DescriptorFile\nversion=1\nCID=5181a839\nparentCID=ffffffff\n\
         createType=\"{kind}\"\n\n# Extent description\n{extents}\n"
    )
}

fn write(scratch: &Scratch, name: &str, bytes: impl AsRef<[u8]>) {
    fs::write(scratch.join(name), bytes).expect("a file of the test");
}

#[apply(test)]
fn extents_are_found_by_names_in_the_encoding_of_the_descriptor() {
    needs_programs(&["qemu-img"]);
    let scratch = Scratch::new("encodings");
    converted(&scratch, "src.vmdk", "twoGbMaxExtentSparse");
    for (number, (encoding, raw, name)) in [
        ("GBK", &b"\xCA\xFD\xBE\xDD\xC5\xCC"[..], "\u{6570}\u{636E}\u{76D8}"),
        ("Big5", b"\xB8\xEA\xAE\xC6", "\u{8CC7}\u{6599}"),
        ("Shift_JIS", b"\x83\x5C\x81\x5B\x83\x58\x95\x5C", "\u{30BD}\u{30FC}\u{30B9}\u{8868}"),
        ("EUC-KR", b"\xB5\xF0\xBD\xBA\xC5\xA9", "\u{B514}\u{C2A4}\u{D06C}"),
        ("windows-1251", b"\xC4\xE8\xF1\xEA", "\u{414}\u{438}\u{441}\u{43A}"),
        ("windows-1252", b"Gr\xF6\xDFe", "Gr\u{F6}\u{DF}e"),
        ("windows-1253", b"\xC4\xDF\xF3\xEA\xEF\xF2", "\u{394}\u{3AF}\u{3C3}\u{3BA}\u{3BF}\u{3C2}"),
        ("UTF-8", "Gr\u{F6}\u{DF}e".as_bytes(), "Gr\u{F6}\u{DF}e"),
        // The name was composed, and the host took it apart; or keeps another letter case.
        ("UTF-8", "Gr\u{F6}\u{DF}e".as_bytes(), "Gro\u{308}\u{DF}e"),
        ("UTF-8", "Gro\u{308}\u{DF}e".as_bytes(), "Gr\u{F6}\u{DF}e"),
        ("UTF-8", b"Disk", "dISK"),
    ]
    .into_iter()
    .enumerate()
    {
        let folder = scratch.join(number.to_string());
        fs::create_dir(&folder).expect("a folder");
        let line = format!("RW {SECTORS} SPARSE \"");
        let head = format!("# Disk DescriptorFile\r\nversion=1\r\nencoding=\"{encoding}\"\r\n");
        let ids = "CID=369b13fd\r\nparentCID=ffffffff\r\ncreateType=\"twoGbMaxExtentSparse\"\r\n";
        let bytes = [head.as_bytes(), ids.as_bytes(), line.as_bytes(), raw, b"-s001.vmdk\"\r\n"];
        fs::write(folder.join("d.vmdk"), bytes.concat()).expect("a descriptor");
        let extent = folder.join(format!("{name}-s001.vmdk"));
        fs::copy(scratch.join("src-s001.vmdk"), &extent).expect("an extent");
        has_sample(&folder, &["d.vmdk"]).code(0);
        // As a tool leaves it that does not know the encoding.
        let raw = OsStr::from_bytes(&[raw, b"-s001.vmdk"].concat()).to_owned();
        fs::rename(&extent, folder.join(raw)).expect("another name");
        has_sample(&folder, &["d.vmdk"]).code(0);
    }
}

#[apply(test)]
fn descriptors_that_qemu_opens_are_opened() {
    needs_programs(&["qemu-img"]);
    let scratch = Scratch::new("descriptors");
    converted(&scratch, "d-flat.vmdk", "raw");
    let plain = descriptor("vmfs", &format!("RW {SECTORS} VMFS \"d-flat.vmdk\""));
    let without_first = plain.split_once('\n').expect("lines").1.to_owned();
    for (number, changed) in [
        plain.replace("# Disk", "#Disk"),
        plain.replace("# Disk DescriptorFile", "# made by a script"),
        without_first.clone(),
        plain.replace('\n', "\r\n"),
        without_first.replace('\n', "\r\n"),
        plain.replace("RW 45056 VMFS", "RW   45056\tVMFS  "),
    ]
    .into_iter()
    .enumerate()
    {
        write(&scratch, "d.vmdk", &changed);
        let path = scratch.join("d.vmdk");
        let compared = program("qemu-img", &["compare", text(&path), text(&sample())]);
        assert_eq!(compared.code, Some(0), "{number}: QEMU opens it: {changed}");
        has_sample(scratch.path(), &["d.vmdk"]).code(0);
    }
    // QEMU opens none of these by itself; what they mean is clear.
    for changed in [
        plain.replace("version=1", "Version = 1").replace("createType", "createtype"),
        format!("\n{without_first}"),
        plain.replace("# Extent description\n", ""),
        plain.replace("createType=\"vmfs\"", "createType=\"vmfs\"  \nddb.x = \"1\""),
        plain.replace('\n', "\r"),
        plain.replace("# Disk DescriptorFile", "\n   "),
        plain.replace("# Disk DescriptorFile\nversion=1\n", ""),
    ] {
        write(&scratch, "d.vmdk", &changed);
        has_sample(scratch.path(), &["d.vmdk"]).code(0);
    }
    let wide: Vec<u8> =
        format!("\u{FEFF}{plain}").encode_utf16().flat_map(u16::to_le_bytes).collect();
    write(&scratch, "d.vmdk", wide);
    volfold_in(scratch.path(), &["list", "d.vmdk"]).code(1).says("UTF-16");
}

/// The folder of a machine: a flat base and its snapshot, in which a name was written over.
fn machine(name: &str) -> Scratch {
    let scratch = Scratch::new(name);
    converted(&scratch, "srv-flat.vmdk", "raw");
    let base = descriptor("vmfs", &format!("RW {SECTORS} VMFS \"srv-flat.vmdk\""));
    write(&scratch, "srv.vmdk", base);
    let create = ["create", "-q", "-f", "vmdk", "-b", "srv.vmdk", "-F", "vmdk", "srv-000001.vmdk"];
    run(Command::new("qemu-img").args(create).current_dir(scratch.path())).code(0);
    // The text of README.txt on the ext4 volume.
    let write = "write -P 0x4e 15154176 512";
    let arguments = ["-f", "vmdk", "-c", write, "srv-000001.vmdk"];
    run(Command::new("qemu-io").args(arguments).current_dir(scratch.path())).code(0);
    scratch
}

#[apply(test)]
fn the_files_of_a_machine_mean_the_same_as_its_folder() {
    needs_programs(&["qemu-img", "qemu-io"]);
    let scratch = machine("glob");
    let files = ["srv-000001.vmdk", "srv-flat.vmdk", "srv.vmdk"];
    let cat = |disks: &[&str]| {
        let arguments = [&["cat"], disks, &["-p", "/linux/README.txt"]].concat();
        volfold_in(scratch.path(), &arguments).code(0).text()
    };
    let volumes = |disks: &[&str]| {
        let list = volfold_in(scratch.path(), &[&["list", "--json"], disks].concat()).code(0);
        list.json()["volumes"].clone()
    };
    let folder = (cat(&["."]), volumes(&["."]));
    assert!(folder.0.starts_with("NNNN"));
    for order in [[0, 1, 2], [2, 1, 0], [1, 0, 2]] {
        let disks = order.map(|index| files[index]);
        assert_eq!((cat(&disks), volumes(&disks)), folder);
        let told = codes(scratch.path(), &disks);
        assert_eq!(told, ["disk-part-of-another", "disk-part-of-another"]);
    }
    let told = volfold_in(scratch.path(), &["list", "--json", files[0], files[2]]).json();
    let line = "srv.vmdk is a part of srv-000001.vmdk, no disk";
    assert_eq!(told["findings"][0]["message"], line);
}

#[apply(test)]
fn a_base_whose_snapshot_lies_beside_it_is_told() {
    needs_programs(&["qemu-img", "qemu-io"]);
    let scratch = machine("beside");
    for base in ["srv.vmdk", "srv-flat.vmdk"] {
        has_sample(scratch.path(), &[base]);
        assert_eq!(codes(scratch.path(), &[base]), ["snapshot-beside"], "{base}");
    }
    assert!(codes(scratch.path(), &["srv-000001.vmdk"]).is_empty());
    fs::remove_file(scratch.join("srv-000001.vmdk")).expect("the snapshot goes");
    assert!(codes(scratch.path(), &["srv.vmdk"]).is_empty());
}

/// As VirtualBox lays them down.
#[apply(test)]
fn a_base_whose_snapshot_lies_in_the_folder_beside_it_is_told() {
    needs_programs(&["qemu-img"]);
    let scratch = Scratch::new("snapshots-beside");
    let base = scratch.join("disk.vdi");
    qemu_img(&["convert", "-O", "vdi", text(&sample()), text(&base)]);
    let mut bytes = fs::read(&base).expect("the base");
    assert!(codes(scratch.path(), &["disk.vdi"]).is_empty());
    let blocks = u32::from_le_bytes(bytes[0x180..0x184].try_into().expect("four bytes"));
    let map = 512..512 + 4 * blocks as usize;
    // Differencing, with an id of its own, of the base; no block is written.
    bytes[0x4C] = 4;
    bytes.copy_within(0x188..0x1A8, 0x1A8);
    bytes[0x188..0x1A8].fill(7);
    bytes[map].fill(0xFF);
    let child = scratch.join("Snapshots/{7}.vdi");
    fs::create_dir(scratch.join("Snapshots")).expect("a folder");
    fs::write(&child, &bytes[..2 << 20]).expect("the snapshot");
    assert_eq!(codes(scratch.path(), &["disk.vdi"]), ["snapshot-beside"]);
    let told = volfold_in(scratch.path(), &["list", "disk.vdi"]).text();
    let snapshot = Path::new("Snapshots").join("{7}.vdi");
    assert!(told.contains(&format!("its snapshot {} lies", snapshot.display())), "{told}");
    assert!(codes(scratch.path(), &["Snapshots/{7}.vdi", "--allow-path", "."]).is_empty());
}

#[apply(test)]
fn a_snapshot_that_does_not_fit_hides_no_base() {
    needs_programs(&["qemu-img", "qemu-io"]);
    let scratch = machine("broken-chain");
    let arguments = ["-f", "vmdk", "-c", "write -P 1 21M 512", "srv.vmdk"];
    run(Command::new("qemu-io").args(arguments).current_dir(scratch.path())).code(0);
    for disks in [&["."][..], &["srv.vmdk", "srv-000001.vmdk", "srv-flat.vmdk"]] {
        let output = has_sample(scratch.path(), disks);
        output.code(3).says("srv-000001.vmdk: parent srv.vmdk was changed after the snapshot");
        assert!(codes(scratch.path(), disks).contains(&"snapshot-beside".to_owned()));
    }
}

#[apply(test)]
fn images_that_are_made_of_each_other_are_all_shown() {
    needs_programs(&["qemu-img"]);
    let scratch = Scratch::new("circle");
    for (name, other) in [("a", "b"), ("b", "a")] {
        let lines = format!("RW 2048 ZERO\nRW 8 FLAT \"{other}.vmdk\" 0");
        write(&scratch, &format!("{name}.vmdk"), descriptor("custom", &lines));
    }
    let list = volfold_in(scratch.path(), &["list", "--json", "a.vmdk", "b.vmdk"]);
    assert_eq!(list.json()["disks"].as_array().map(Vec::len), Some(2), "{list:?}");
}

#[apply(test)]
fn a_clone_that_bears_the_name_of_its_parent_does_not_find_itself() {
    needs_programs(&["qemu-img"]);
    let scratch = Scratch::new("clone");
    for folder in ["template", "clone", "other"] {
        fs::create_dir(scratch.join(folder)).expect("a folder");
    }
    let parent = converted(&scratch, "template/disk.vmdk", "monolithicSparse");
    // A file of the name that is another disk.
    let other = scratch.join("other/disk.vmdk");
    qemu_img(&["create", "-q", "-f", "vmdk", text(&other), "22M"]);
    let clone = scratch.join("clone/disk.vmdk");
    qemu_img(&["create", "-q", "-f", "vmdk", "-b", text(&parent), "-F", "vmdk", text(&clone)]);
    edit_descriptor(&clone, |text| {
        replace_line(text, "parentFileNameHint=", "\"/vmfs/volumes/5f1e/template/disk.vmdk\"")
    });
    let options = ["clone/disk.vmdk", "--allow-path", "template"];
    has_sample(scratch.path(), &options).code(0);
    // Whatever comes first.
    let both = ["clone/disk.vmdk", "--allow-path", "other", "--allow-path", "template"];
    has_sample(scratch.path(), &both).code(0);
    let alone = volfold_in(scratch.path(), &["list", "clone/disk.vmdk"]).code(1);
    alone.says("is the image itself");
    let wrong = volfold_in(scratch.path(), &["list", "clone/disk.vmdk", "--allow-path", "other"]);
    wrong.code(1).says("was changed after the snapshot");
}

/// Writes the embedded descriptor of the image at `path` anew.
fn edit_descriptor(path: &Path, edit: impl FnOnce(&str) -> String) {
    let mut bytes = fs::read(path).expect("an image");
    let number = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("8 bytes"));
    let (at, size) = (number(0x1C) as usize * 512, number(0x24) as usize * 512);
    let old = String::from_utf8(bytes[at..at + size].to_vec()).expect("text");
    let mut new = edit(old.trim_end_matches('\0')).into_bytes();
    new.resize(size, 0);
    bytes[at..at + size].copy_from_slice(&new);
    fs::write(path, bytes).expect("an image");
}

fn replace_line(text: &str, key: &str, value: &str) -> String {
    let lines = text.lines().map(|line| {
        if line.starts_with(key) { format!("{key}{value}\n") } else { format!("{line}\n") }
    });
    lines.collect()
}

#[apply(test)]
fn a_snapshot_of_virtualbox_is_joined_with_its_base_by_its_id() {
    needs_programs(&["qemu-img", "qemu-io"]);
    let scratch = machine("virtualbox");
    let base = converted(&scratch, "a disk.vmdk", "monolithicSparse");
    let child = scratch.join("{aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee}.vmdk");
    fs::rename(scratch.join("srv-000001.vmdk"), &child).expect("another name");
    for name in ["srv.vmdk", "srv-flat.vmdk"] {
        fs::remove_file(scratch.join(name)).expect("it goes");
    }
    let ids = |own: &str, parent: &str, modification: &str| {
        format!(
            "ddb.uuid.image=\"{own}\"\nddb.uuid.parent=\"{parent}\"\n\
             ddb.uuid.modification=\"{modification}\"\n\
             ddb.uuid.parentmodification=\"4e1d0f9c-0000-4000-8000-000000000001\"\n"
        )
    };
    let (base_id, none) =
        ("11111111-2222-4333-8444-555555555555", "00000000-0000-0000-0000-000000000000");
    let child_id = "aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee";
    let modification = "4e1d0f9c-0000-4000-8000-000000000001";
    edit_descriptor(&base, |text| format!("{text}\n{}", ids(base_id, none, modification)));
    edit_descriptor(&child, |text| {
        let text = replace_line(text, "parentCID=", "ffffffff");
        let text: String =
            text.lines().filter(|line| !line.contains("Hint")).flat_map(|it| [it, "\n"]).collect();
        format!("{text}\n{}", ids(child_id, base_id, modification))
    });
    let disk = text(&child).to_owned();
    let cat = |disks: &[&str]| {
        volfold_in(scratch.path(), &[&["cat"], disks, &["-p", "/linux/README.txt"]].concat())
    };
    assert!(cat(&[&disk]).code(0).text().starts_with("NNNN"));
    assert!(cat(&["."]).code(0).text().starts_with("NNNN"));
    assert_eq!(codes(scratch.path(), &["a disk.vmdk"]), ["snapshot-beside"]);
    // Each file but the changed one is that of the base.
    let hash = volfold_in(scratch.path(), &["hash", &disk]).code(0).text();
    let list = sample_list();
    let lost: Vec<_> = list.lines().filter(|line| !hash.contains(*line)).collect();
    assert_eq!(lost.len(), 1, "{lost:?}");
    // The base was used again after the snapshot was made.
    edit_descriptor(&base, |text| {
        replace_line(text, "ddb.uuid.modification=", &format!("\"{child_id}\""))
    });
    cat(&[&disk]).code(1).says("was changed after the snapshot");
    fs::remove_file(base).expect("the base goes");
    cat(&[&disk]).code(1).says("parent {11111111-2222-4333-8444-555555555555} is missing");
}

#[apply(test)]
fn a_disk_of_more_files_than_may_be_open_is_read() {
    needs_programs(&["qemu-img"]);
    let scratch = Scratch::new("many-extents");
    converted(&scratch, "disk.raw", "raw");
    let bytes = fs::read(scratch.join("disk.raw")).expect("the disk");
    // 4096 extents, of 11 sectors each.
    let mut lines = String::new();
    for (index, part) in bytes.chunks(11 * 512).enumerate() {
        write(&scratch, &format!("d-f{index:04}.vmdk"), part);
        lines += &format!("RW {} FLAT \"d-f{index:04}.vmdk\" 0\n", part.len() / 512);
    }
    assert_eq!(lines.lines().count(), 4096);
    fs::remove_file(scratch.join("disk.raw")).expect("it goes");
    write(&scratch, "d.vmdk", descriptor("twoGbMaxExtentFlat", lines.trim_end()));
    let line = format!("ulimit -n 200; exec {VOLFOLD} hash d.vmdk");
    let mut shell = Command::new("sh");
    let hashed = run(shell.args(["-c", &line]).current_dir(scratch.path())).code(0).text();
    for line in sample_list().lines().take(40) {
        let (path, rest) = line.split_once('\t').expect("a line of the list");
        assert!(hashed.contains(rest.rsplit('\t').next().expect("a hash")), "{path}");
    }
}

/// Cuts the file `name` into parts of `size` bytes, called as `part` says.
fn cut(scratch: &Scratch, name: &str, size: usize, part: impl Fn(usize) -> String) {
    let bytes = fs::read(scratch.join(name)).expect("a file");
    for (index, bytes) in bytes.chunks(size).enumerate() {
        write(scratch, &part(index), bytes);
    }
    fs::remove_file(scratch.join(name)).expect("it goes");
}

#[apply(test)]
fn files_that_were_cut_are_put_together_whatever_they_are() {
    needs_programs(&["qemu-img"]);
    let scratch = Scratch::new("cut-raw");
    converted(&scratch, "disk.img", "raw");
    cut(&scratch, "disk.img", 7 << 20, |index| format!("disk.img.{:03}", index + 1));
    for disks in [&["disk.img.001"][..], &["."], &["disk.img.001", "disk.img.002"]] {
        has_sample(scratch.path(), disks);
    }
    let second = volfold_in(scratch.path(), &["list", "disk.img.002"]).code(1);
    second.says("is a part of a file that was cut; open the first part, disk.img.001");
    fs::remove_file(scratch.join("disk.img.002")).expect("it goes");
    let gap = volfold_in(scratch.path(), &["list", "disk.img.001"]).code(1);
    gap.says("part disk.img.002 is missing, and disk.img.003 is there; put it beside the others");

    let chunks = Scratch::new("cut-chunks");
    converted(&chunks, "disk.vmdk", "streamOptimized");
    cut(&chunks, "disk.vmdk", 10_000, |index| format!("disk.vmdk.{index:09}"));
    for disks in [&["disk.vmdk.000000000"][..], &["."]] {
        has_sample(chunks.path(), disks);
    }
    let letters = Scratch::new("cut-letters");
    converted(&letters, "disk.raw", "raw");
    cut(&letters, "disk.raw", 4 << 20, |index| format!("disk.a{}", char::from(b'a' + index as u8)));
    has_sample(letters.path(), &["disk.aa"]);
}

#[apply(test)]
fn what_lies_beside_the_disks_of_a_machine_is_no_failure() {
    needs_programs(&["qemu-img"]);
    let scratch = Scratch::new("esxi");
    converted(&scratch, "web-flat.vmdk", "raw");
    let base = descriptor("vmfs", &format!("RW {SECTORS} VMFS \"web-flat.vmdk\""));
    write(&scratch, "web.vmdk", base);
    for (name, content) in [
        ("web.vmsd", ""),
        ("web.vmx", "displayName = \"web\"\n"),
        ("web.vmxf", ""),
        ("web.nvram", "MRVN"),
        ("vmware.log", "x\n"),
        ("notes", ""),
        ("readme.html", "<html>"),
    ] {
        write(&scratch, name, content);
    }
    for command in ["list", "ls", "hash"] {
        volfold_in(scratch.path(), &[command, "."]).code(0);
    }
    let list = volfold_in(scratch.path(), &["list", "--json", "."]).json().to_string();
    assert!(list.contains("notes was left out: it is empty"), "{list}");
    assert!(list.contains("web.vmsd was left out: it is empty"), "{list}");
    // An empty image was one.
    write(&scratch, "web_1.vmdk", "");
    volfold_in(scratch.path(), &["list", "."]).code(3).says("web_1.vmdk: image is empty");
}

#[apply(test)]
fn a_lost_extent_takes_only_its_own_bytes() {
    needs_programs(&["qemu-img"]);
    let scratch = Scratch::new("lost-extent");
    let raw = fs::read(converted(&scratch, "s.raw", "raw")).expect("a disk");
    fs::remove_file(scratch.join("s.raw")).expect("it goes");
    // The last of four holds the end of the last volume.
    let piece = raw.len() / 4;
    let lines: Vec<String> = (0..4)
        .map(|number| {
            let name = format!("s-f{number}.vmdk");
            write(&scratch, &name, &raw[number * piece..(number + 1) * piece]);
            format!("RW {} FLAT \"{name}\" 0", piece / 512)
        })
        .collect();
    write(&scratch, "s.vmdk", descriptor("twoGbMaxExtentFlat", &lines.join("\n")));
    has_sample(scratch.path(), &["s.vmdk"]).code(0);
    fs::remove_file(scratch.join("s-f3.vmdk")).expect("an extent goes");
    let list = volfold_in(scratch.path(), &["list", "--json", "s.vmdk"]).code(3).json();
    assert_eq!(list["volumes"].as_array().map(Vec::len), Some(3));
    assert!(codes(scratch.path(), &["s.vmdk"]).contains(&"vmdk-extent-lost".to_owned()));
    let hash = volfold_in(scratch.path(), &["hash", "s.vmdk"]);
    let list = sample_list();
    let boot = list.lines().filter(|line| line.starts_with("/BOOT/"));
    let lost = boot.filter(|line| !hash.text().contains(*line)).count();
    assert_eq!(lost, 0, "{hash:?}");
}

#[apply(test)]
fn a_grain_about_which_the_tables_differ_is_an_error_and_no_zeros() {
    needs_programs(&["qemu-img"]);
    let scratch = Scratch::new("grain-tables");
    let path = converted(&scratch, "d.vmdk", "monolithicSparse");
    let whole = fs::read(&path).expect("an image");
    let sector = |bytes: &[u8], at: usize| {
        u32::from_le_bytes(bytes[at..at + 4].try_into().expect("4 bytes")) as usize * 512
    };
    // The grain of the text of README.txt on the ext4 volume.
    let grain = 15_154_176 / 65_536 * 4;
    for directory in [0x30, 0x38] {
        let table = sector(&whole, sector(&whole, directory));
        assert!(sector(&whole, table + grain) > 0, "the grain is stored");
        let mut bytes = whole.clone();
        bytes[table + grain..table + grain + 4].fill(0);
        fs::write(&path, &bytes).expect("an image");
        let hash = volfold_in(scratch.path(), &["hash", "d.vmdk"]).code(3);
        let hash = hash.says("grain table and its copy differ");
        let list = sample_list();
        let other = list.lines().filter(|line| line.starts_with("/BOOT/"));
        assert_eq!(other.filter(|line| !hash.text().contains(*line)).count(), 0);
        // An entry that cannot be is no doubt.
        bytes[table + grain..table + grain + 4].fill(0xFF);
        fs::write(&path, &bytes).expect("an image");
        has_sample(scratch.path(), &["d.vmdk"]);
    }
}

#[apply(test)]
fn an_image_that_changes_under_a_mount_gives_errors() {
    needs_path("/dev/fuse");
    needs_programs(&["qemu-img"]);
    for is_cut in [false, true] {
        let scratch = Scratch::new("changes");
        let raw = converted(&scratch, "s.raw", "raw");
        let folder = Folder::mounted("changes", std::slice::from_ref(&raw));
        let read = || {
            let names = fs::read_dir(folder.join("BOOT")).map(Iterator::count);
            (names.is_ok(), fs::read(folder.join("linux/README.txt")))
        };
        thread::sleep(Duration::from_millis(50));
        let file = fs::OpenOptions::new().write(true).open(&raw).expect("the image");
        if is_cut {
            file.set_len(16 << 20).expect("a shorter image");
        } else {
            use std::os::unix::fs::FileExt;
            file.write_all_at(&[0x4E; 512], 15_154_176).expect("other bytes");
        }
        assert!(read().1.is_err(), "no byte of another disk");
        assert!(read().1.is_err());
    }
}
