//! VDI images that `qemu-img` made.

use std::fs;

use crate::tools::{
    DISK_SIZE, FAR_WRITES, Folder, check_far_writes, compare, has_qemu, pattern, zero_bytes,
};

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
    check_far_writes("vdi", "disk.vdi", &[], 3 << 30, &FAR_WRITES, 1 << 20);
}
