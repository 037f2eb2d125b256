//! VHD images that `qemu-img` made, and chains of a writer of ours that libvhdi reads too.

use std::fs;

use crate::tools::{
    DISK_SIZE, FAR_WRITES, Folder, Numbers, check_far_writes, compare, has_libvhdi, has_qemu,
    pattern, zero_bytes,
};
use crate::vhd_builder::VhdBuilder;

fn check_qemu(options: &str, size: usize, variant: &str) {
    if !has_qemu() {
        return;
    }
    let folder = Folder::new();
    fs::write(folder.file("disk.raw"), pattern(size)).unwrap();
    let convert = ["convert", "-f", "raw", "-O", "vpc", "-o", options, "disk.raw", "disk.vhd"];
    folder.run("qemu-img", &convert);
    let image = folder.open("disk.vhd");
    assert_eq!((image.format, image.variant.as_deref()), ("vhd", Some(variant)));
    assert!(image.log.all().is_empty(), "{:?}", image.log.all());
    // Without `force_size` the disk grows to whole cylinders.
    compare(&*image.device, &folder.converted("disk.vhd", "vpc"));
    assert!(size < 8 << 20 || variant == "fixed" || zero_bytes(&*image.device) > 1 << 20);
}

#[test]
fn dynamic_images_read_as_their_disk() {
    for size in [1 << 20, DISK_SIZE] {
        check_qemu("subformat=dynamic", size, "dynamic");
        check_qemu("subformat=dynamic,force_size=on", size, "dynamic");
    }
}

#[test]
fn fixed_images_read_as_their_disk() {
    for size in [1 << 20, DISK_SIZE] {
        check_qemu("subformat=fixed", size, "fixed");
        check_qemu("subformat=fixed,force_size=on", size, "fixed");
    }
}

#[test]
fn a_disk_that_was_written_here_and_there_reads_as_it_was_written() {
    let options = ["-o", "force_size=on"];
    check_far_writes("vpc", "disk.vhd", &options, 3 << 30, &FAR_WRITES, 2 << 20);
}

#[test]
fn chains_read_as_the_disk_that_was_written() {
    check_chains(false);
}

/// libvhdi 20210425 reads zeros in place of the parent's sectors where a byte of the child's bitmap
/// has set and clear bits; so all bits of a byte are alike here.
#[test]
fn chains_read_as_libvhdi_reads_them() {
    check_chains(true);
}

fn check_chains(is_judged: bool) {
    for (length, block_size) in [(1, 2 << 20), (2, 2 << 20), (2, 512 << 10), (12, 2 << 20)] {
        let folder = Folder::new();
        let mut disk = vec![0; 11 * 1024 * 1024 + 512];
        let mut numbers = Numbers(77 + length as u64);
        let mut layer = VhdBuilder::new(disk.len() as u64, block_size);
        let mut names = vec!["base.vhd".to_owned()];
        for number in 0..length {
            if number > 0 {
                let parent = names.last().unwrap().clone();
                layer = VhdBuilder::over(&layer, &parent, 2 + number);
                names.push(format!("snapshot {number}.avhd"));
            }
            for _ in 0..25 {
                let most = if numbers.below(4) == 0 { 3000 } else { 20 };
                let sectors = 1 + numbers.below(most);
                let unit = if is_judged { 8 } else { 1 };
                let sectors = sectors.next_multiple_of(unit);
                let at = numbers.below((disk.len() / 512 - sectors) / unit) * unit * 512;
                let bytes: Vec<u8> =
                    (0..sectors * 64).flat_map(|_| numbers.next().to_le_bytes()).collect();
                layer.write(at, &bytes);
                disk[at..at + bytes.len()].copy_from_slice(&bytes);
            }
            let is_fixed = number == 0 && length == 12;
            let file = if is_fixed { layer.clone().fixed(&disk) } else { layer.build() };
            fs::write(folder.file(names.last().unwrap()), file).unwrap();
        }
        let image = folder.open(names.last().unwrap());
        assert_eq!(image.chain.len(), usize::from(length));
        assert!(image.log.all().is_empty(), "{:?}", image.log.all());
        compare(&*image.device, &disk);
        if is_judged && has_libvhdi() {
            names.reverse();
            assert!(folder.read_by_libvhdi(&names) == disk, "libvhdi reads {length} otherwise");
        }
    }
}

#[test]
fn the_time_of_the_parent_is_compared_with_what_its_child_noted() {
    let folder = Folder::new();
    let base = VhdBuilder::new(1 << 20, 1 << 20);
    fs::write(folder.file("base.vhd"), base.build()).unwrap();
    let file = fs::File::options().write(true).open(folder.file("base.vhd")).unwrap();
    let epoch = std::time::Duration::from_secs(946_684_800);
    file.set_modified(std::time::UNIX_EPOCH + epoch + std::time::Duration::from_secs(1000))
        .unwrap();
    let mut child = VhdBuilder::over(&base, "base.vhd", 2);
    for (noted, findings) in [(0, 0), (1000, 0), (1002, 0), (990, 1), (5000, 1)] {
        child.parent_time = noted;
        fs::write(folder.file("child.vhd"), child.build()).unwrap();
        let found = folder.open("child.vhd").log.all();
        assert_eq!(found.len(), findings, "{noted}");
        assert!(found.iter().all(|finding| finding.code == "vhd-parent-time"));
    }
}
