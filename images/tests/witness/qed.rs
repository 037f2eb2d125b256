//! QED images that `qemu-img` made.

use std::fs;

use volfold_block::code;

use crate::qcow2::{agree, scribble};
use crate::tools::{DISK_SIZE, Folder, Numbers, compare, has_qemu, pattern, zero_bytes};

#[test]
fn clusters_and_tables_of_all_sizes_read_as_their_disk() {
    if !has_qemu() {
        return;
    }
    for options in ["cluster_size=65536", "cluster_size=4096,table_size=2", "table_size=16"] {
        let folder = Folder::new();
        let disk = pattern(DISK_SIZE);
        fs::write(folder.file("disk.raw"), &disk).unwrap();
        let convert = ["convert", "-f", "raw", "-O", "qed", "-o", options, "disk.raw", "d.qed"];
        folder.run("qemu-img", &convert);
        let image = agree(&folder, "d.qed", "qed");
        assert_eq!(image.format, "qed");
        compare(&*image.device, &disk);
        assert!(zero_bytes(&*image.device) > 1 << 20);
        scribble(&folder, "d.qed", "qed", DISK_SIZE, &mut Numbers(2));
        agree(&folder, "d.qed", "qed");
    }
}

#[test]
fn chains_read_as_their_disk() {
    if !has_qemu() {
        return;
    }
    let size = (4 << 20) + 512;
    for count in [1, 2, 12] {
        let folder = Folder::new();
        fs::write(folder.file("base.raw"), pattern(size)).unwrap();
        let mut parent = "base.raw".to_owned();
        for index in 0..count {
            let name = format!("{index}.qed");
            let format = if index == 0 { "raw" } else { "qed" };
            let bytes = [size, size + (1 << 20), size / 1024 * 512][index % 3].to_string();
            folder.run(
                "qemu-img",
                &["create", "-f", "qed", "-b", &parent, "-F", format, &name, &bytes],
            );
            let bytes = bytes.parse().unwrap();
            scribble(&folder, &name, "qed", bytes, &mut Numbers(index as u64 + 1));
            parent = name;
        }
        let image = agree(&folder, &parent, "qed");
        assert_eq!(image.chain.len(), count + 1);
    }
}

#[test]
fn an_image_that_was_not_closed_is_told() {
    if !has_qemu() {
        return;
    }
    let folder = Folder::new();
    folder.run("qemu-img", &["create", "-f", "qed", "d.qed", "1M"]);
    let status = std::process::Command::new("qemu-io")
        .args(["-f", "qed", "-c", "write -P 7 0 64k", "-c", "flush", "-c", "sigraise 9"])
        .arg(folder.file("d.qed"))
        .status();
    assert!(!status.unwrap().success());
    let image = folder.open("d.qed");
    let codes: Vec<_> = image.log.all().iter().map(|finding| finding.code).collect();
    assert_eq!(codes, [code::QED_NEEDS_CHECK]);
    let mut wanted = vec![0; 1 << 20];
    wanted[..65_536].fill(7);
    compare(&*image.device, &wanted);
}
