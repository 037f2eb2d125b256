//! VHDX images that `qemu-img` made, and chains of a writer of ours that libvhdi reads too.

use std::fs;

use crate::tools::{
    DISK_SIZE, Folder, Numbers, check_far_writes, compare, has_libvhdi, has_qemu, pattern,
};
use crate::vhdx_builder::VhdxBuilder;

fn check_qemu(options: &str, size: usize, variant: &str) {
    if !has_qemu() {
        return;
    }
    let folder = Folder::new();
    let disk = pattern(size);
    fs::write(folder.file("disk.raw"), &disk).unwrap();
    let convert = ["convert", "-f", "raw", "-O", "vhdx", "-o", options, "disk.raw", "disk.vhdx"];
    folder.run("qemu-img", &convert);
    let image = folder.open("disk.vhdx");
    assert_eq!((image.format, image.variant.as_deref()), ("vhdx", Some(variant)));
    assert!(image.log.all().is_empty(), "{:?}", image.log.all());
    compare(&*image.device, &disk);
    assert!(folder.converted("disk.vhdx", "vhdx") == disk);
}

#[test]
fn dynamic_and_fixed_images_read_as_their_disk() {
    for size in [1 << 20, DISK_SIZE] {
        check_qemu("subformat=dynamic", size, "dynamic");
        check_qemu("subformat=fixed", size, "fixed");
    }
}

#[test]
fn blocks_of_all_sizes_and_states_read_as_their_disk() {
    for options in [
        "block_size=1M",
        "block_size=4M,log_size=4M",
        "block_size=256M",
        "block_state_zero=off,block_size=1M",
    ] {
        check_qemu(options, DISK_SIZE, "dynamic");
    }
}

#[test]
fn a_disk_that_was_written_here_and_there_reads_as_it_was_written() {
    // More blocks than one chunk has.
    let writes = [(9215 << 20, 3), (4 << 30, 2), (512, 1), (4095 << 20, 4)];
    check_far_writes("vhdx", "disk.vhdx", &["-o", "block_size=1M"], 9 << 30, &writes, 1 << 20);
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
    for (length, block_size, sector) in [
        (1, 1 << 20, 512),
        (2, 1 << 20, 512),
        (2, 4 << 20, 512),
        (2, 1 << 20, 4096),
        (12, 1 << 20, 512),
    ] {
        let folder = Folder::new();
        let mut disk = vec![0; 11 * 1024 * 1024 + 4096];
        let mut numbers = Numbers(91 + length as u64);
        let mut layer = VhdxBuilder::new(disk.len() as u64, block_size);
        layer.sector_size = sector;
        let mut names = vec!["base.vhdx".to_owned()];
        for number in 0..length {
            if number > 0 {
                let parent = names.last().unwrap().clone();
                layer = VhdxBuilder::over(&layer, &parent, 0x40 + number);
                names.push(format!("snapshot {number}.avhdx"));
            }
            for _ in 0..25 {
                let most = if numbers.below(4) == 0 { 3000 * 512 / sector } else { 20 };
                let sectors = 1 + numbers.below(most);
                let unit = if is_judged { 8 } else { 1 };
                let sectors = sectors.next_multiple_of(unit);
                let at = numbers.below((disk.len() / sector - sectors) / unit) * unit * sector;
                let bytes: Vec<u8> =
                    (0..sectors * sector / 8).flat_map(|_| numbers.next().to_le_bytes()).collect();
                layer.write(at, &bytes);
                disk[at..at + bytes.len()].copy_from_slice(&bytes);
            }
            // A block that was zeroed as a whole hides the parent's; not so in libvhdi.
            if number > 0 && !is_judged {
                let block = numbers.below(disk.len() / block_size);
                layer.blocks.remove(&block);
                layer.states.insert(block, 2);
                disk[block * block_size..(block + 1) * block_size].fill(0);
            }
            fs::write(folder.file(names.last().unwrap()), layer.build()).unwrap();
        }
        let image = folder.open(names.last().unwrap());
        assert_eq!(image.chain.len(), usize::from(length));
        assert_eq!(image.device.sector_size() as usize, sector);
        assert!(image.log.all().is_empty(), "{:?}", image.log.all());
        compare(&*image.device, &disk);
        if is_judged && has_libvhdi() {
            names.reverse();
            assert!(folder.read_by_libvhdi(&names) == disk, "libvhdi reads {length} otherwise");
        }
    }
}
