//! Parallels images that `qemu-img` made.

use std::fs;

use crate::tools::{
    DISK_SIZE, FAR_WRITES, Folder, Numbers, check_far_writes, compare, has_qemu, pattern,
};

#[test]
fn images_of_every_cluster_size_read_as_their_disk() {
    if !has_qemu() {
        return;
    }
    for (cluster, size) in [
        ("64k", DISK_SIZE),
        ("256k", 5 << 20),
        ("1M", 1 << 20),
        ("1M", DISK_SIZE + 512),
        ("3M", DISK_SIZE),
        ("32256", (1 << 20) + 512),
    ] {
        let folder = Folder::new();
        let disk = pattern(size);
        fs::write(folder.file("disk.raw"), &disk).unwrap();
        let options = format!("cluster_size={cluster}");
        folder.run(
            "qemu-img",
            &["convert", "-f", "raw", "-O", "parallels", "-o", &options, "disk.raw", "disk.hdd"],
        );
        let image = folder.open("disk.hdd");
        assert_eq!((image.format, image.variant.as_deref()), ("parallels", Some("extended")));
        assert!(image.log.all().is_empty());
        let converted = folder.converted("disk.hdd", "parallels");
        compare(&*image.device, &converted);
        assert!(converted == disk, "{cluster} {size}");
    }
}

#[test]
fn a_disk_that_was_written_here_and_there_reads_as_it_was_written() {
    check_far_writes("parallels", "disk.hdd", &[], 3 << 30, &FAR_WRITES, 1 << 20);
}

#[test]
fn random_writes_read_as_qemu_reads_them() {
    if !has_qemu() {
        return;
    }
    let folder = Folder::new();
    folder.run("qemu-img", &["create", "-f", "parallels", "-o", "cluster_size=64k", "d.hdd", "9M"]);
    let mut numbers = Numbers(7);
    for _ in 0..5 {
        let mut arguments = vec!["-f".to_owned(), "parallels".to_owned()];
        for _ in 0..8 {
            let (at, length) = (numbers.below(9 * 2048 - 300), 1 + numbers.below(299));
            let (at, length) = (at * 512, length * 512);
            let byte = 1 + numbers.below(255);
            arguments.extend(["-c".to_owned(), format!("write -P {byte} {at} {length}")]);
        }
        arguments.push("d.hdd".to_owned());
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        folder.run("qemu-io", &arguments);
        let image = folder.open("d.hdd");
        compare(&*image.device, &folder.converted("d.hdd", "parallels"));
    }
}
