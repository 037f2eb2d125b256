//! VMDK images that `qemu-img` made, compared byte by byte with the raw disk they were made from.

use std::fs;
use std::path::Path;

use crate::tools::{DISK_SIZE, Folder, compare, has_qemu, pattern, zero_bytes};

fn check_subformat(subformat: &str, options: &str) {
    if !has_qemu() {
        return;
    }
    let folder = Folder::new();
    let disk = pattern(DISK_SIZE);
    fs::write(folder.file("disk.raw"), &disk).unwrap();
    let options = format!("subformat={subformat}{options}");
    folder.run(
        "qemu-img",
        &["convert", "-f", "raw", "-O", "vmdk", "-o", &options, "disk.raw", "disk.vmdk"],
    );
    let image = folder.open("disk.vmdk");
    assert_eq!(image.variant.as_deref(), Some(subformat));
    assert!(image.log.all().is_empty());
    assert_eq!(image.chain.len(), 1);
    compare(&*image.device, &disk);
    if !subformat.contains("Flat") {
        assert!(zero_bytes(&*image.device) > 5 << 20);
    }
}

#[test]
fn a_monolithic_sparse_image_reads_as_its_disk() {
    check_subformat("monolithicSparse", "");
}

#[test]
fn a_sparse_image_with_zeroed_grains_reads_as_its_disk() {
    check_subformat("monolithicSparse", ",zeroed_grain=on");
}

#[test]
fn a_monolithic_flat_image_reads_as_its_disk() {
    check_subformat("monolithicFlat", "");
}

#[test]
fn a_split_sparse_image_reads_as_its_disk() {
    check_subformat("twoGbMaxExtentSparse", "");
}

#[test]
fn a_split_flat_image_reads_as_its_disk() {
    check_subformat("twoGbMaxExtentFlat", "");
}

#[test]
fn a_stream_optimized_image_reads_as_its_disk() {
    check_subformat("streamOptimized", "");
}

#[test]
fn a_split_image_larger_than_its_first_extent_is_joined() {
    if !has_qemu() {
        return;
    }
    for subformat in ["twoGbMaxExtentSparse", "twoGbMaxExtentFlat"] {
        let folder = Folder::new();
        let options = format!("subformat={subformat}");
        folder.run("qemu-img", &["create", "-f", "vmdk", "-o", &options, "disk.vmdk", "5G"]);
        // Each extent but the last has 2 GiB.
        let cut: u64 = 0x8000_0000;
        let write = format!("write -P 0x5A {} 256k", cut - 128 * 1024);
        folder.run("qemu-io", &["-f", "vmdk", "-c", &write, "disk.vmdk"]);
        let image = folder.open("disk.vmdk");
        assert_eq!(image.device.size(), 5 << 30);
        let mut buf = vec![0; 512 * 1024];
        image.device.read_at(cut - 256 * 1024, &mut buf).unwrap();
        let wanted: Vec<u8> = (0..512)
            .flat_map(|kib| [if (128..384).contains(&kib) { 0x5A } else { 0 }; 1024])
            .collect();
        assert!(buf == wanted);
        image.device.read_at((5 << 30) - 4096, &mut buf[..4096]).unwrap();
        assert!(buf[..4096].iter().all(|byte| *byte == 0));
        // A host file system with holes tells of them in flat extents, too.
        if subformat.ends_with("Sparse") {
            assert!(zero_bytes(&*image.device) > 4 << 30);
        }
    }
}

#[test]
fn an_extent_of_a_split_image_alone_says_what_to_open() {
    if !has_qemu() {
        return;
    }
    let folder = Folder::new();
    folder.run(
        "qemu-img",
        &["create", "-f", "vmdk", "-o", "subformat=twoGbMaxExtentSparse", "disk.vmdk", "4M"],
    );
    let error = folder.error("disk-s001.vmdk");
    let sentence = "is an extent of a split image; open its descriptor";
    assert_eq!(error.message(), sentence);
}

#[test]
fn a_renamed_sparse_image_is_its_own_extent() {
    if !has_qemu() {
        return;
    }
    let folder = Folder::new();
    folder.run("qemu-img", &["create", "-f", "vmdk", "old.vmdk", "4M"]);
    folder.run("qemu-io", &["-f", "vmdk", "-c", "write -P 7 1M 64k", "old.vmdk"]);
    fs::rename(folder.file("old.vmdk"), folder.file("new.vmdk")).unwrap();
    let image = folder.open("new.vmdk");
    let mut wanted = vec![0; 4 << 20];
    wanted[1 << 20..(1 << 20) + 65536].fill(7);
    compare(&*image.device, &wanted);
}

#[test]
fn a_chain_shows_the_newest_bytes_and_names_its_files() {
    if !has_qemu() {
        return;
    }
    for base_format in ["monolithicSparse", "streamOptimized", "monolithicFlat"] {
        let folder = Folder::new();
        let mut disk = pattern(8 << 20);
        fs::write(folder.file("disk.raw"), &disk).unwrap();
        let options = format!("subformat={base_format}");
        folder.run(
            "qemu-img",
            &["convert", "-f", "raw", "-O", "vmdk", "-o", &options, "disk.raw", "base.vmdk"],
        );
        let mut parent = "base.vmdk";
        for (index, child) in ["one.vmdk", "two.vmdk"].into_iter().enumerate() {
            folder.run("qemu-img", &["create", "-f", "vmdk", "-b", parent, "-F", "vmdk", child]);
            let at = 1_000_448 + index * 100_352;
            let write = format!("write -P {} {at} 300k", index + 17);
            folder.run("qemu-io", &["-f", "vmdk", "-c", &write, child]);
            disk[at..at + 300 * 1024].fill(u8::try_from(index).unwrap() + 17);
            parent = child;
        }
        let image = folder.open("two.vmdk");
        compare(&*image.device, &disk);
        assert!(folder.converted("two.vmdk", "vmdk") == disk);
        let names: Vec<_> = image
            .chain
            .iter()
            .map(|name| Path::new(name).file_name().unwrap().to_str().unwrap())
            .collect();
        assert_eq!(names, ["two.vmdk", "one.vmdk", "base.vmdk"]);

        fs::remove_file(folder.file("base.vmdk")).unwrap();
        let error = folder.error("two.vmdk");
        let sentence = "parent base.vmdk is missing; put it beside the image";
        assert_eq!(error.message(), sentence);
    }
}

#[test]
fn a_parent_that_was_written_to_is_refused_with_both_content_ids() {
    if !has_qemu() {
        return;
    }
    let folder = Folder::new();
    folder.run("qemu-img", &["create", "-f", "vmdk", "base.vmdk", "4M"]);
    folder
        .run("qemu-img", &["create", "-f", "vmdk", "-b", "base.vmdk", "-F", "vmdk", "child.vmdk"]);
    let mut base = fs::read(folder.file("base.vmdk")).unwrap();
    let at = base.windows(5).position(|bytes| bytes == b"\nCID=").unwrap() + 5;
    // As many digits as there are: it is written without leading zeros.
    let count = base[at..].iter().position(|byte| *byte == b'\n').unwrap();
    let id = &"0badc1d0"[8 - count..];
    base[at..at + count].copy_from_slice(id.as_bytes());
    fs::write(folder.file("base.vmdk"), base).unwrap();
    let error = folder.error("child.vmdk");
    let start =
        format!("parent base.vmdk was changed after the snapshot: its CID is {id:0>8}, not ");
    assert!(error.message().starts_with(&start), "{error}");
}
