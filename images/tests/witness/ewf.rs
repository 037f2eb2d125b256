//! EWF images that libewf's `ewfacquirestream` and `ewfacquire` made and `ewfexport` read.

use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};

use crate::tools::{Folder, compare, has_tool, pattern};

/// Whether libewf's tools are there (Debian: ewf-tools).
fn has_ewf() -> bool {
    has_tool("ewfacquirestream", "-V") && has_tool("ewfexport", "-V")
}

/// Writes `disk` as the image `name` by `ewfacquirestream`.
fn acquire(folder: &Folder, disk: &[u8], name: &str, options: &[&str]) {
    let target = folder.file(name);
    let mut command = Command::new("ewfacquirestream");
    command.args(["-q", "-d", "sha1", "-t", target.to_str().unwrap()]).args(options);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(disk).unwrap();
    assert!(child.wait().unwrap().success());
}

/// The disk of the image `name`, as libewf reads it.
fn exported(folder: &Folder, name: &str) -> Vec<u8> {
    let arguments = ["-q", "-u", "-f", "raw", "-t", "exported", name];
    folder.run("ewfexport", &arguments);
    let bytes = fs::read(folder.file("exported.raw")).unwrap();
    fs::remove_file(folder.file("exported.raw")).unwrap();
    bytes
}

/// The hash `algorithm` of the file `name`, as coreutils have it.
fn sum(folder: &Folder, program: &str, name: &str) -> String {
    let output = Command::new(program).arg(folder.file(name)).output().unwrap();
    String::from_utf8(output.stdout).unwrap().split(' ').next().unwrap().to_owned()
}

/// Compares the image `name` with `disk`, its hashes with those of coreutils, and both with libewf.
#[track_caller]
fn is_disk(folder: &Folder, name: &str, disk: &[u8], has_sha1: bool) {
    let image = folder.open(name);
    assert_eq!(image.format, "ewf");
    assert!(image.log.all().is_empty(), "{name}: {:?}", image.log.all());
    compare(&*image.device, disk);
    assert!(exported(folder, name) == disk, "{name}");
    fs::write(folder.file("disk.raw"), disk).unwrap();
    let of = |algorithm| {
        let hash = image.recorded_hashes.iter().find(|hash| hash.algorithm == algorithm);
        hash.map(|hash| hash.value.clone())
    };
    assert_eq!(of("md5"), Some(sum(folder, "md5sum", "disk.raw")), "{name}");
    let sha1 = has_sha1.then(|| sum(folder, "sha1sum", "disk.raw"));
    assert_eq!(of("sha1"), sha1, "{name}");
}

#[test]
fn every_form_of_libewf_reads_as_its_disk() {
    if !has_ewf() {
        return;
    }
    let folder = Folder::new();
    let disk = pattern((3 << 20) + 512 * 7);
    for (format, end, has_sha1) in [
        ("ftk", "E01", false),
        ("encase2", "E01", false),
        ("encase3", "E01", false),
        ("encase4", "E01", false),
        ("encase5", "E01", false),
        ("encase6", "E01", true),
        ("encase7", "E01", true),
        ("linen5", "E01", false),
        ("linen6", "E01", true),
        ("linen7", "E01", true),
        ("ewfx", "e01", false),
    ] {
        for compression in ["none", "empty-block", "fast", "best"] {
            let name = format!("{format}-{compression}");
            acquire(&folder, &disk, &name, &["-f", format, "-c", compression]);
            is_disk(&folder, &format!("{name}.{end}"), &disk, has_sha1);
        }
    }
}

#[test]
fn the_first_forms_of_the_format_read_as_their_disk() {
    if !has_ewf() {
        return;
    }
    let folder = Folder::new();
    let disk = pattern((2 << 20) + 512 * 3);
    fs::write(folder.file("source.raw"), &disk).unwrap();
    for (format, end) in [("ewf", "e01"), ("smart", "s01")] {
        let arguments = ["-u", "-q", "-f", format, "-c", "fast", "-t", format, "source.raw"];
        folder.run("ewfacquire", &arguments);
        is_disk(&folder, &format!("{format}.{end}"), &disk, false);
    }
}

#[test]
fn chunks_of_every_size_and_odd_disks_are_read() {
    if !has_ewf() {
        return;
    }
    let folder = Folder::new();
    for (number, sectors) in ["16", "64", "128", "1024", "4096", "32768"].iter().enumerate() {
        for size in [512, 32768, (1 << 20) - 512, (5 << 20) + 1536] {
            let name = format!("{sectors}-{size}");
            let disk = pattern(size);
            let compression = if number % 2 == 0 { "fast" } else { "none" };
            acquire(&folder, &disk, &name, &["-b", sectors, "-c", compression]);
            is_disk(&folder, &format!("{name}.E01"), &disk, true);
        }
    }
    // Sectors of optical discs.
    let disk = pattern(1 << 20);
    acquire(&folder, &disk, "disc", &["-P", "2048", "-m", "optical"]);
    is_disk(&folder, "disc.E01", &disk, true);
}

#[test]
fn images_of_many_files_read_as_one_disk() {
    if !has_ewf() {
        return;
    }
    let folder = Folder::new();
    let disk = pattern(130 << 20);
    for (format, name) in [("encase6", "a"), ("encase4", "b")] {
        acquire(&folder, &disk, name, &["-f", format, "-S", "1048576", "-c", "none"]);
        // More than the numbers up to 99.
        assert!(folder.file(&format!("{name}.EAB")).exists());
        is_disk(&folder, &format!("{name}.E01"), &disk, format == "encase6");
    }
    fs::remove_file(folder.file("a.E50")).unwrap();
    let error = folder.error("a.E01");
    assert_eq!(error.message(), "a.E50 is missing; put it beside the image");
}

/// A disk of 3 GiB with little on it, of more chunks than a table of EnCase 5 has.
#[test]
fn a_disk_of_3_gib_has_several_tables() {
    if !has_ewf() {
        return;
    }
    let folder = Folder::new();
    let size = 3_usize << 30;
    let mut options = fs::OpenOptions::new();
    options.read(true).write(true).create_new(true);
    let source = options.open(folder.file("source.raw")).unwrap();
    source.set_len(size as u64).unwrap();
    use std::os::unix::fs::FileExt;
    let noise = pattern(1 << 20);
    let places = [0, 536_543_232, 536_576_000 - 4096, (2_u64 << 30) + 12345, (3 << 30) - (1 << 20)];
    for place in places {
        source.write_all_at(&noise, place).unwrap();
    }
    let target = folder.file("big");
    let stdin = fs::File::open(folder.file("source.raw")).unwrap();
    let mut command = Command::new("ewfacquirestream");
    command.args(["-q", "-f", "encase5", "-c", "fast", "-t", target.to_str().unwrap()]);
    command.stdin(stdin).stdout(Stdio::null()).stderr(Stdio::null());
    assert!(command.status().unwrap().success());
    let image = folder.open("big.E01");
    assert_eq!(image.device.size(), size as u64);
    let mut wanted = vec![0; 1 << 20];
    let mut found = vec![1; 1 << 20];
    for at in (0..size as u64).step_by(1 << 20) {
        source.read_exact_at(&mut wanted, at).unwrap();
        image.device.read_at(at, &mut found).unwrap();
        assert!(wanted == found, "{at}");
    }
}
