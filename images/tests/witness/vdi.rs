//! VDI images that `qemu-img` made.

use std::fs;

use crate::tools::{DISK_SIZE, Folder, compare, has_qemu, pattern, zero_bytes};

#[test]
fn dynamic_and_fixed_images_read_as_their_disk() {
    if !has_qemu() {
        return;
    }
    for (options, variant) in [("static=off", "dynamic"), ("static=on", "fixed")] {
        let folder = Folder::new();
        let disk = pattern(DISK_SIZE);
        fs::write(folder.file("disk.raw"), &disk).unwrap();
        let convert = ["convert", "-f", "raw", "-O", "vdi", "-o", options, "disk.raw", "disk.vdi"];
        folder.run("qemu-img", &convert);
        let image = folder.open("disk.vdi");
        assert_eq!((image.format, image.variant.as_deref()), ("vdi", Some(variant)));
        assert!(image.log.all().is_empty());
        compare(&*image.device, &disk);
        assert!(folder.converted("disk.vdi", "vdi") == disk);
        assert!(variant == "fixed" || zero_bytes(&*image.device) > 1 << 20);
    }
}

#[test]
fn a_disk_that_was_written_here_and_there_reads_as_it_was_written() {
    if !has_qemu() {
        return;
    }
    let folder = Folder::new();
    folder.run("qemu-img", &["create", "-f", "vdi", "disk.vdi", "3G"]);
    // The first blocks of the file are the last of the disk.
    for (at, byte) in [("3071M", 3), ("1G", 2), ("512", 1)] {
        let write = format!("write -P {byte} {at} 512");
        folder.run("qemu-io", &["-f", "vdi", "-c", &write, "disk.vdi"]);
    }
    let image = folder.open("disk.vdi");
    let mut sector = [0; 512];
    for (at, byte) in [(3071 << 20, 3), (1 << 30, 2), (512, 1), (0, 0), (2 << 30, 0)] {
        image.device.read_at(at, &mut sector).unwrap();
        assert_eq!(sector, [byte; 512], "{at}");
    }
    assert_eq!(image.device.size(), 3 << 30);
    assert_eq!(zero_bytes(&*image.device), (3 << 30) - (3 << 20));
}
