//! DMG images written field by field, as 7-Zip and QEMU read them.

use std::fs;
use std::process::{Command, Stdio};

use crate::dmg_builder::{
    ADC, BZIP2, IGNORED, Keep, LZFSE, LZMA, RAW, RunOf, ZERO, ZLIB, image, run,
};
use crate::tools::{Folder, compare, has_qemu, has_tool, pattern};

/// What `xz` makes of `plain`.
fn xz(folder: &Folder, plain: &[u8]) -> RunOf {
    fs::write(folder.file("plain"), plain).unwrap();
    let mut command = Command::new("xz");
    let output = command.args(["-c", "-6"]).arg(folder.file("plain")).output().unwrap();
    assert!(output.status.success());
    let sectors = (plain.len() / 512) as u64;
    RunOf { kind: LZMA, sectors, packed: output.stdout, plain: plain.to_vec() }
}

/// A disk of 6 MiB and a sector as runs of 512 KiB of `kind`, zeros where it has them, in two partitions.
fn runs(folder: &Folder, kind: u32) -> Vec<Vec<RunOf>> {
    let disk = pattern((6 << 20) + 512);
    let mut runs = Vec::new();
    for piece in disk.chunks(512 << 10) {
        let is_zero = piece.iter().all(|byte| *byte == 0);
        runs.push(match kind {
            _ if is_zero => run(if runs.len() % 2 == 0 { ZERO } else { IGNORED }, piece),
            LZMA => xz(folder, piece),
            _ => run(kind, piece),
        });
    }
    let second = runs.split_off(5);
    vec![runs, second]
}

#[test]
fn every_kind_of_run_reads_as_other_programs_read_it() {
    if !has_tool("7zz", "i") || !has_tool("xz", "-V") || !has_qemu() {
        return;
    }
    for (kind, name, by_qemu) in [
        (RAW, "raw", true),
        (ADC, "ADC", false),
        (ZLIB, "zlib", true),
        (BZIP2, "bzip2", false),
        (LZFSE, "LZFSE", false),
        (LZMA, "LZMA", false),
    ] {
        let folder = Folder::new();
        let partitions = runs(&folder, kind);
        let (bytes, disk) = image(&partitions, Keep::List);
        fs::write(folder.file("disk.dmg"), &bytes).unwrap();
        let found = folder.open("disk.dmg");
        assert_eq!((found.format, found.variant.as_deref()), ("dmg", Some(name)));
        assert!(found.log.all().is_empty());
        compare(&*found.device, &disk);
        // 7-Zip gives each partition as a file, and says if its checksum is wrong.
        folder.run("7zz", &["x", "-tdmg", "-oparts", "disk.dmg"]);
        let mut parts: Vec<_> =
            fs::read_dir(folder.file("parts")).unwrap().map(|part| part.unwrap().path()).collect();
        parts.sort();
        let joined: Vec<u8> = parts.iter().flat_map(|part| fs::read(part).unwrap()).collect();
        assert!(joined == disk, "{name}: {parts:?}");
        if by_qemu {
            assert!(folder.converted("disk.dmg", "dmg") == disk, "{name}");
        }
    }
}

#[test]
fn tables_in_a_resource_fork_are_read_as_qemu_reads_them() {
    if !has_qemu() {
        return;
    }
    let folder = Folder::new();
    let (bytes, disk) = image(&runs(&folder, ZLIB), Keep::Fork);
    fs::write(folder.file("disk.dmg"), &bytes).unwrap();
    compare(&*folder.open("disk.dmg").device, &disk);
    assert!(folder.converted("disk.dmg", "dmg") == disk);
}

#[test]
fn real_images_of_macos_read_as_qemu_reads_them() {
    let corpus = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpus/data");
    if !corpus.is_dir() || !has_qemu() {
        println!("skipped: needs the corpus");
        return;
    }
    for (program, path) in [
        ("bzcat", "qemu-dmg/simple-dmg.dmg.bz2"),
        ("xzcat", "dmg-dfvfs-hfsplus-zlib/hfsplus_zlib.dmg.xz"),
    ] {
        let folder = Folder::new();
        let output =
            Command::new(program).arg(corpus.join(path)).stderr(Stdio::null()).output().unwrap();
        fs::write(folder.file("disk.dmg"), output.stdout).unwrap();
        let found = folder.open("disk.dmg");
        let disk = folder.converted("disk.dmg", "dmg");
        compare(&*found.device, &disk);
        assert!(found.region_checksums.len() >= 5);
        for region in &found.region_checksums {
            let mut sum = crc32fast::Hasher::new();
            for piece in &region.pieces {
                let (start, end) = (piece.start() as usize, piece.end() as usize);
                sum.update(&disk[start..end]);
            }
            assert_eq!(sum.finalize(), region.crc32);
        }
    }
}
