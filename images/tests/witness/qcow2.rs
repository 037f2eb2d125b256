//! QCOW2 images that `qemu-img` and `qemu-io` made, compared byte by byte with the disk as
//! `qemu-img convert -O raw` reads it.

use std::fs;
use std::path::Path;

use volfold_block::{BlockErrorKind, code};
use volfold_images::DiskImage;

use crate::tools::{DISK_SIZE, Folder, Numbers, compare, has_qemu, pattern, zero_bytes};

/// Writes here and there into the image `name`, as a guest would.
pub(crate) fn scribble(
    folder: &Folder,
    name: &str,
    format: &str,
    size: usize,
    numbers: &mut Numbers,
) {
    let mut commands = Vec::new();
    for _ in 0..40 {
        let at = numbers.below(size / 512) * 512;
        let most = [4096, 65_536, 600_000, 2_000_000][numbers.below(4)];
        let length = (1 + numbers.below(most / 512)) * 512;
        let length = length.min(size - at);
        let command = match numbers.below(8) {
            0 => format!("write -z {at} {length}"),
            1 => format!("write -z -u {at} {length}"),
            2 => format!("discard {at} {length}"),
            _ => format!("write -P {} {at} {length}", 1 + numbers.below(255)),
        };
        commands.push(command);
    }
    let mut arguments = vec!["-f", format, "-d", "unmap"];
    arguments.extend(commands.iter().flat_map(|command| ["-c", command.as_str()]));
    arguments.push(name);
    folder.run("qemu-io", &arguments);
}

/// The disk of the image `name` is what `qemu-img` says that it is.
#[track_caller]
pub(crate) fn agree(folder: &Folder, name: &str, format: &str) -> DiskImage {
    let image = folder.open(name);
    let notes = image.log.all();
    assert!(notes.is_empty(), "{notes:?}");
    compare(&*image.device, &folder.converted(name, format));
    image
}

fn check(options: &str, is_compressed: bool, variant: &str) {
    if !has_qemu() {
        return;
    }
    let folder = Folder::new();
    let disk = pattern(DISK_SIZE);
    fs::write(folder.file("disk.raw"), &disk).unwrap();
    let mut convert = vec!["convert", "-f", "raw", "-O", "qcow2", "-o", options];
    if is_compressed {
        convert.push("-c");
    }
    convert.extend(["disk.raw", "disk.qcow2"]);
    folder.run("qemu-img", &convert);
    let image = agree(&folder, "disk.qcow2", "qcow2");
    assert_eq!((image.format, image.variant.as_deref()), ("qcow2", Some(variant)));
    assert_eq!(image.is_decoded, is_compressed, "{options}");
    compare(&*image.device, &disk);
    if !options.contains("preallocation") {
        assert!(zero_bytes(&*image.device) > 1 << 20, "{options}");
    }
    let mut numbers = Numbers(7);
    scribble(&folder, "disk.qcow2", "qcow2", DISK_SIZE, &mut numbers);
    agree(&folder, "disk.qcow2", "qcow2");
}

#[test]
fn both_versions_read_as_their_disk() {
    check("compat=0.10", false, "v2");
    check("compat=1.1", false, "v3");
}

#[test]
fn clusters_of_all_sizes_read_as_their_disk() {
    for size in ["512", "4k", "16k", "256k", "2M"] {
        check(&format!("cluster_size={size}"), false, "v3");
    }
}

#[test]
fn compressed_clusters_of_all_sizes_read_as_their_disk() {
    for (options, variant) in [
        ("compat=0.10", "v2"),
        ("compression_type=zlib", "v3"),
        ("compression_type=zstd", "v3, zstd"),
        ("compression_type=zstd,cluster_size=2M", "v3, zstd"),
        ("compression_type=zlib,cluster_size=2M", "v3"),
        ("compression_type=zlib,cluster_size=512", "v3"),
        ("compression_type=zstd,cluster_size=4k", "v3, zstd"),
    ] {
        check(options, true, variant);
    }
}

#[test]
fn extended_entries_read_as_their_disk() {
    check("extended_l2=on", false, "v3, extended L2");
    check("extended_l2=on,cluster_size=16k", false, "v3, extended L2");
    check("extended_l2=on,cluster_size=2M", false, "v3, extended L2");
    check("extended_l2=on,compression_type=zstd", true, "v3, zstd, extended L2");
}

#[test]
fn counts_of_all_widths_and_all_ways_to_allocate_read_as_their_disk() {
    for bits in [1, 2, 4, 8, 32, 64] {
        check(&format!("refcount_bits={bits}"), false, "v3");
    }
    for preallocation in ["metadata", "falloc", "full"] {
        check(&format!("preallocation={preallocation}"), false, "v3");
    }
    check("preallocation=metadata,extended_l2=on", false, "v3, extended L2");
}

#[test]
fn clusters_in_a_data_file_are_found_there() {
    if !has_qemu() {
        return;
    }
    for raw in ["off", "on"] {
        let folder = Folder::new();
        fs::write(folder.file("disk.raw"), pattern(DISK_SIZE)).unwrap();
        let options = format!("data_file=disk.data,data_file_raw={raw}");
        let convert =
            ["convert", "-f", "raw", "-O", "qcow2", "-o", &options, "disk.raw", "d.qcow2"];
        folder.run("qemu-img", &convert);
        let image = agree(&folder, "d.qcow2", "qcow2");
        assert_eq!(image.variant.as_deref(), Some("v3, data file"));
        let names: Vec<_> = image.extents.iter().map(|name| Path::new(name).file_name()).collect();
        assert_eq!(names, [Some("disk.data".as_ref())]);
        scribble(&folder, "d.qcow2", "qcow2", DISK_SIZE, &mut Numbers(3));
        agree(&folder, "d.qcow2", "qcow2");
        // One that was never filled.
        let options = format!("data_file=new.data,data_file_raw={raw}");
        let size = (5 << 20) + 512;
        let bytes = size.to_string();
        folder.run("qemu-img", &["create", "-f", "qcow2", "-o", &options, "new.qcow2", &bytes]);
        scribble(&folder, "new.qcow2", "qcow2", size, &mut Numbers(4));
        agree(&folder, "new.qcow2", "qcow2");
        fs::remove_file(folder.file("disk.data")).unwrap();
        let error = folder.error("d.qcow2");
        let sentence = "data file disk.data is missing; put it beside the image";
        assert_eq!((error.kind(), error.message()), (BlockErrorKind::MissingPart, sentence));
    }
}

#[test]
fn disks_of_all_sizes_read_as_they_were_written() {
    if !has_qemu() {
        return;
    }
    for size in [512, 1 << 20, (1 << 20) + 512, 5_000_192, (64 << 20) + 1024] {
        for options in ["cluster_size=64k", "cluster_size=512", "extended_l2=on"] {
            let folder = Folder::new();
            let bytes = size.to_string();
            folder.run("qemu-img", &["create", "-f", "qcow2", "-o", options, "d.qcow2", &bytes]);
            scribble(&folder, "d.qcow2", "qcow2", size, &mut Numbers(size as u64));
            agree(&folder, "d.qcow2", "qcow2");
        }
    }
}

#[test]
fn what_is_kept_beside_the_disk_changes_no_byte() {
    if !has_qemu() {
        return;
    }
    let folder = Folder::new();
    let size = 8 << 20;
    folder.run("qemu-img", &["create", "-f", "qcow2", "-o", "cluster_size=512", "d.qcow2", "8M"]);
    scribble(&folder, "d.qcow2", "qcow2", size, &mut Numbers(8));
    for name in ["one", "two"] {
        folder.run("qemu-img", &["bitmap", "--add", "d.qcow2", name]);
        scribble(&folder, "d.qcow2", "qcow2", size, &mut Numbers(9));
    }
    agree(&folder, "d.qcow2", "qcow2");
    folder.run("qemu-img", &["resize", "d.qcow2", "12M"]);
    scribble(&folder, "d.qcow2", "qcow2", 12 << 20, &mut Numbers(10));
    agree(&folder, "d.qcow2", "qcow2");
    // The first table has more entries than the disk needs.
    folder.run("qemu-img", &["resize", "--shrink", "d.qcow2", "3M"]);
    agree(&folder, "d.qcow2", "qcow2");
}

#[test]
fn large_disks_are_read_here_and_there_and_opened_at_once() {
    if !has_qemu() {
        return;
    }
    let folder = Folder::new();
    folder.run("qemu-img", &["create", "-f", "qcow2", "d.qcow2", "3G"]);
    for (at, byte) in [("3071M", 3), ("1G", 2), ("512", 1)] {
        let write = format!("write -P {byte} {at} 512");
        folder.run("qemu-io", &["-f", "qcow2", "-c", &write, "d.qcow2"]);
    }
    let image = folder.open("d.qcow2");
    let mut sector = [0; 512];
    for (at, byte) in [(3071 << 20, 3), (1 << 30, 2), (512, 1), (0, 0), (2 << 30, 0)] {
        image.device.read_at(at, &mut sector).unwrap();
        assert_eq!(sector, [byte; 512], "{at}");
    }
    assert_eq!(zero_bytes(&*image.device), (3 << 30) - 3 * 65_536);

    folder.run("qemu-img", &["create", "-f", "qcow2", "huge.qcow2", "64T"]);
    let write = format!("write -P 9 {} 64k", (64_u64 << 40) - 65_536);
    folder.run("qemu-io", &["-f", "qcow2", "-c", &write, "huge.qcow2"]);
    let image = folder.open("huge.qcow2");
    image.device.read_at((64 << 40) - 512, &mut sector).unwrap();
    assert_eq!(sector, [9; 512]);
    assert_eq!(zero_bytes(&*image.device), (64 << 40) - 65_536);
}

/// A chain of `count` images over the base, each written to.
fn chain(folder: &Folder, base: (&str, &str), count: usize, sizes: &[usize]) -> Vec<String> {
    let mut numbers = Numbers(count as u64 + 99);
    let mut names = vec![base.0.to_owned()];
    let mut format = base.1;
    for index in 0..count {
        let name = format!("{index}.qcow2");
        let options = ["compat=0.10", "cluster_size=4k", "extended_l2=on", "cluster_size=64k"];
        let size = sizes[index % sizes.len()];
        let (parent, bytes) = (names.last().unwrap().clone(), size.to_string());
        folder.run(
            "qemu-img",
            &[
                "create",
                "-f",
                "qcow2",
                "-o",
                options[index % 4],
                "-b",
                &parent,
                "-F",
                format,
                &name,
                &bytes,
            ],
        );
        scribble(folder, &name, "qcow2", size, &mut numbers);
        names.push(name);
        format = "qcow2";
    }
    names.reverse();
    names
}

#[test]
fn chains_of_any_length_read_as_their_disk() {
    if !has_qemu() {
        return;
    }
    let size = 8 << 20;
    for count in [1, 2, 12] {
        let folder = Folder::new();
        fs::write(folder.file("disk.raw"), pattern(size)).unwrap();
        let names = chain(&folder, ("disk.raw", "raw"), count, &[size]);
        let image = agree(&folder, &names[0], "qcow2");
        let found: Vec<_> = image
            .chain
            .iter()
            .map(|name| Path::new(name).file_name().unwrap().to_str().unwrap().to_owned())
            .collect();
        assert_eq!(found, names);
        fs::remove_file(folder.file("disk.raw")).unwrap();
        let error = folder.error(&names[0]);
        let sentence = "parent disk.raw is missing; put it beside the image";
        assert!(error.message().ends_with(sentence), "{error}");
    }
}

#[test]
fn a_parent_may_be_shorter_or_longer_and_of_any_format() {
    if !has_qemu() {
        return;
    }
    let sizes = [5 << 20, (9 << 20) + 512, (3 << 20) + 1024, 7 << 20];
    for (format, options) in [
        ("raw", None),
        ("vmdk", Some("subformat=monolithicSparse")),
        ("vmdk", Some("subformat=streamOptimized")),
        ("vdi", None),
        ("qcow2", Some("compression_type=zstd")),
        ("qcow", None),
        ("qed", None),
    ] {
        let folder = Folder::new();
        fs::write(folder.file("disk.raw"), pattern((4 << 20) + 512)).unwrap();
        let base = format!("base.{format}");
        let mut convert = vec!["convert", "-f", "raw", "-O", format];
        convert.extend(options.into_iter().flat_map(|options| ["-o", options]));
        if options == Some("compression_type=zstd") {
            convert.push("-c");
        }
        convert.extend(["disk.raw", &base]);
        folder.run("qemu-img", &convert);
        let names = chain(&folder, (&base, format), 4, &sizes);
        for name in &names[..4] {
            agree(&folder, name, "qcow2");
        }
    }
}

#[test]
fn a_parent_is_named_in_the_ways_of_qemu() {
    if !has_qemu() {
        return;
    }
    let folder = Folder::new();
    fs::write(folder.file("base.raw"), pattern(1 << 20)).unwrap();
    let absolute = folder.file("base.raw");
    let absolute = absolute.to_str().unwrap();
    let json = r#"json:{"driver":"raw","file":{"driver":"file","filename":"PATH"}}"#;
    let dotted = r#"json:{"driver":"raw","file.filename":"PATH"}"#;
    for name in [json, dotted, "file:PATH", "PATH"] {
        let name = name.replace("PATH", absolute);
        let create = ["create", "-u", "-f", "qcow2", "-b", &name, "-F", "raw", "child.qcow2", "1M"];
        folder.run("qemu-img", &create);
        scribble(&folder, "child.qcow2", "qcow2", 1 << 20, &mut Numbers(1));
        let image = agree(&folder, "child.qcow2", "qcow2");
        assert_eq!(image.chain.len(), 2, "{name}");
    }
    let create = [
        "create",
        "-u",
        "-f",
        "qcow2",
        "-b",
        "nbd://localhost/disk",
        "-F",
        "qcow2",
        "child.qcow2",
        "1M",
    ];
    folder.run("qemu-img", &create);
    let error = folder.error("child.qcow2");
    let sentence = "parent nbd://localhost/disk is not a file of this machine; copy the whole \
                    chain into one folder";
    assert_eq!((error.kind(), error.message()), (BlockErrorKind::Unsupported, sentence));
}

#[test]
fn snapshots_within_an_image_are_listed_and_read() {
    if !has_qemu() {
        return;
    }
    for options in ["compat=1.1", "compat=0.10", "extended_l2=on"] {
        let folder = Folder::new();
        let size = 8 << 20;
        fs::write(folder.file("disk.raw"), pattern(size)).unwrap();
        let convert = ["convert", "-f", "raw", "-O", "qcow2", "-o", options, "disk.raw", "d.qcow2"];
        folder.run("qemu-img", &convert);
        let mut numbers = Numbers(11);
        // The name of the second is the id of the third.
        for name in ["first", "3", "third of all"] {
            folder.run("qemu-img", &["snapshot", "-c", name, "d.qcow2"]);
            scribble(&folder, "d.qcow2", "qcow2", size, &mut numbers);
        }
        let is_v2 = options == "compat=0.10";
        if !is_v2 {
            folder.run("qemu-img", &["resize", "d.qcow2", "9M"]);
        }
        let image = agree(&folder, "d.qcow2", "qcow2");
        let found: Vec<_> =
            image.snapshots.iter().map(|it| (it.id.as_str(), it.name.as_str(), it.size)).collect();
        let bytes = size as u64;
        assert_eq!(found, [("1", "first", bytes), ("2", "3", bytes), ("3", "third of all", bytes)]);
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        let age = i64::try_from(now.as_secs()).unwrap() - image.snapshots[0].time.unwrap();
        assert!((0..120).contains(&age), "{age}");
        assert_eq!(image.snapshot, None);
        for (wanted, id) in [("first", 1), ("2", 2), ("3", 3), ("third of all", 3)] {
            let image = folder.try_open("d.qcow2", Some(wanted)).unwrap();
            assert_eq!(image.snapshot.as_ref(), Some(&image.snapshots[id - 1]));
            let of = format!("snapshot.id={id}");
            let convert =
                ["convert", "-f", "qcow2", "-l", &of, "-O", "raw", "d.qcow2", "snapshot.raw"];
            folder.run("qemu-img", &convert);
            // It reads on to the size of the disk now (7.2).
            let wanted = fs::read(folder.file("snapshot.raw")).unwrap();
            compare(&*image.device, &wanted[..size]);
        }
        assert_eq!(folder.try_open("d.qcow2", Some("4")).unwrap().snapshot, None);
    }
}

#[test]
fn the_state_of_an_image_is_told() {
    if !has_qemu() {
        return;
    }
    let folder = Folder::new();
    let create = ["create", "-f", "qcow2", "-o", "lazy_refcounts=on", "d.qcow2", "1M"];
    folder.run("qemu-img", &create);
    // QEMU that is killed after a write leaves the mark.
    let status = std::process::Command::new("qemu-io")
        .args(["-f", "qcow2", "-c", "write -P 7 0 64k", "-c", "flush", "-c", "sigraise 9"])
        .arg(folder.file("d.qcow2"))
        .status();
    assert!(!status.unwrap().success());
    let image = folder.open("d.qcow2");
    let codes: Vec<_> = image.log.all().iter().map(|finding| finding.code).collect();
    assert_eq!(codes, [code::QCOW2_DIRTY]);
    assert!(codes[0].bears_on_content());
    let mut wanted = vec![0; 1 << 20];
    wanted[..65_536].fill(7);
    compare(&*image.device, &wanted);

    for (format, sentence) in
        [("luks", "is encrypted with LUKS; "), ("aes", "is encrypted with AES")]
    {
        let name = format!("{format}.qcow2");
        let options = format!("encrypt.format={format},encrypt.key-secret=s");
        let secret = ["create", "--object", "secret,id=s,data=abc", "-f", "qcow2", "-o"];
        let create = || {
            let mut command = std::process::Command::new("qemu-img");
            command.args(secret).args([&options, folder.file(&name).to_str().unwrap(), "1M"]);
            command.status().unwrap().success()
        };
        // It measures how long a hash takes, and fails on a machine that is busy.
        assert!((0..20).any(|_| create()));
        let error = folder.error(&name);
        assert_eq!(error.kind(), BlockErrorKind::Unsupported);
        assert!(error.message().starts_with(sentence), "{error}");
    }
}

#[test]
fn images_of_version_1_read_as_their_disk() {
    if !has_qemu() {
        return;
    }
    for is_compressed in [false, true] {
        let folder = Folder::new();
        let disk = pattern(8 << 20);
        fs::write(folder.file("disk.raw"), &disk).unwrap();
        let mut convert = vec!["convert", "-f", "raw", "-O", "qcow", "disk.raw", "d.qcow"];
        if is_compressed {
            // It says that it failed (7.2), after all is written: the comparison tells.
            convert.insert(1, "-c");
            let mut command = std::process::Command::new("qemu-img");
            command.args(convert).current_dir(folder.file("")).status().unwrap();
        } else {
            folder.run("qemu-img", &convert);
        }
        let image = agree(&folder, "d.qcow", "qcow");
        assert_eq!((image.format, image.variant.as_deref()), ("qcow2", Some("v1")));
        assert_eq!(image.is_decoded, is_compressed);
        compare(&*image.device, &disk);
        scribble(&folder, "d.qcow", "qcow", 8 << 20, &mut Numbers(5));
        agree(&folder, "d.qcow", "qcow");
        folder.run("qemu-img", &["create", "-f", "qcow", "-b", "d.qcow", "-F", "qcow", "c.qcow"]);
        scribble(&folder, "c.qcow", "qcow", 8 << 20, &mut Numbers(6));
        assert_eq!(agree(&folder, "c.qcow", "qcow").chain.len(), 2);
    }
}
