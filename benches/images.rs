//! What reading a disk costs in each format: `cargo bench --bench images` (or `cargo xtask bench images`).
//!
//! One disk of 512 MiB, half of it holes, as `qemu-img` and libewf's `ewfacquire` write it in each format. In
//! each row, all in one run and with the files in the host's cache:
//!
//! - `MiB/s`: the disk read in sequence, in pieces of 4 MiB, as `convert` does, and its ratio to the raw file read so;
//! - `to its tool`: the ratio to `qemu-img convert`, or `ewfexport`, of the same image to nowhere;
//! - `random`: reads of 4 KiB in the second on one core.
//!
//! Arguments: names of rows; all without.

#![expect(clippy::expect_used, reason = "a benchmark stops by a panic")]

use std::io::{Seek, SeekFrom, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use volfold_block::CachePool;
use volfold_images::host::open_image_file;
use volfold_images::{DiskImage, ImageContext};

const SIZE: u64 = 512 << 20;
const PIECE: usize = 4 << 20;
const ROUNDS: usize = 5;
const RANDOM_READS: u64 = 100_000;

/// Names of rows, formats of `qemu-img` and their options.
const ROWS: &[(&str, &str, &[&str])] = &[
    ("raw", "raw", &[]),
    ("vmdk-sparse", "vmdk", &[]),
    ("vmdk-stream", "vmdk", &["-o", "subformat=streamOptimized"]),
    ("vdi", "vdi", &[]),
    ("qcow2", "qcow2", &[]),
    ("qcow2-zlib", "qcow2", &["-c"]),
    ("qcow2-zstd", "qcow2", &["-c", "-o", "compression_type=zstd"]),
    ("vhd", "vpc", &["-o", "force_size=on"]),
    ("vhdx", "vhdx", &[]),
    ("ewf-deflate", EWF, &["fast"]),
    ("ewf-stored", EWF, &["none"]),
];

/// What libewf writes; the one option is how it packs.
const EWF: &str = "E01";

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|it| !it.starts_with('-')).collect();
    let folder = std::env::temp_dir().join(format!("volfold-bench-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let raw = folder.join("disk.raw");
    write_disk(&raw);
    println!(
        "| image | MiB/s | to raw | to its tool | random 4 KiB/s |\n|---|---:|---:|---:|---:|"
    );
    for (name, format, options) in ROWS {
        if !wanted.is_empty() && !wanted.iter().any(|one| one == name) {
            continue;
        }
        let path = folder.join(format!("{name}.{}", if *format == "vpc" { "vhd" } else { format }));
        match *name {
            "raw" => {}
            _ if *format == EWF => {
                let mut make = Command::new("ewfacquire");
                make.args(["-u", "-q", "-S", "1.4GiB", "-c"]).args(*options).arg("-t");
                run(make.args([&path.with_extension(""), &raw]));
            }
            _ => {
                let mut make = Command::new("qemu-img");
                make.args(["convert", "-f", "raw", "-O", format]).args(*options);
                run(make.args([&raw, &path]));
            }
        }
        let path: &Path = if *name == "raw" { &raw } else { &path };
        let raw_time = sequential(&raw);
        let ours = sequential(path);
        let theirs = if *format == EWF { by_libewf(path) } else { by_qemu(path, format) };
        println!(
            "| {name} | {:.0} | {:.2} | {:.2} | {:.0} |",
            SIZE as f64 / (1 << 20) as f64 / ours,
            raw_time / ours,
            theirs / ours,
            RANDOM_READS as f64 / random(path)
        );
    }
    std::fs::remove_dir_all(folder).expect("the folder goes");
}

fn run(command: &mut Command) {
    let status = command.stdout(Stdio::null()).stderr(Stdio::null()).status();
    let status = status.expect("qemu-img and ewfacquire, of the packages qemu-utils and ewf-tools");
    assert!(status.success(), "{command:?}");
}

/// A disk of which every second mebibyte is a hole; the others are noise and text.
fn write_disk(path: &Path) {
    let mut file = std::fs::File::create(path).expect("a disk");
    let mut number: u64 = 0x9E37_79B9_7F4A_7C15;
    for piece in (0..SIZE >> 20).step_by(2) {
        let mut bytes = vec![0; 1 << 20];
        for (index, chunk) in bytes.chunks_mut(8).enumerate() {
            number ^= number << 13;
            number ^= number >> 7;
            number ^= number << 17;
            let text = u64::from_le_bytes(*b"volfold ");
            let word = if index % 4 == 0 { number } else { text };
            chunk.copy_from_slice(&word.to_le_bytes());
        }
        file.seek(SeekFrom::Start(piece << 20)).expect("a place");
        file.write_all(&bytes).expect("bytes");
    }
    file.set_len(SIZE).expect("a size");
    // What still has to be written back slows the first reads down.
    file.sync_all().expect("written back");
}

fn open(path: &Path) -> DiskImage {
    let file = open_image_file(path, &[]).expect("a file");
    let context = ImageContext::new(&CachePool::new(64 << 20));
    volfold_images::open(&file, &context).expect("an image")
}

/// The best time of reading all of the disk, in seconds.
fn sequential(path: &Path) -> f64 {
    let mut buf = vec![0; PIECE];
    best(|| {
        let image = open(path);
        for at in (0..SIZE).step_by(PIECE) {
            image.device.read_at(at, &mut buf).expect("a read");
        }
    })
}

/// The best time of `qemu-img` reading all of it, in seconds.
fn by_qemu(path: &Path, format: &str) -> f64 {
    // Some formats round sizes up.
    let target = format!("driver=null-co,size={}", SIZE * 2);
    best(|| {
        let mut convert = Command::new("qemu-img");
        convert.args(["convert", "-n", "-f", format, "--target-image-opts"]);
        run(convert.arg(path).arg(&target));
    })
}

/// The best time of `ewfexport` reading all of it, in seconds.
fn by_libewf(path: &Path) -> f64 {
    best(|| {
        let mut export = Command::new("ewfexport");
        run(export.args(["-u", "-q", "-f", "raw", "-t", "-"]).arg(path));
    })
}

/// The best time of as many random reads, in seconds.
fn random(path: &Path) -> f64 {
    let image = open(path);
    let mut buf = vec![0; 4096];
    let mut number: u64 = 0x9E37_79B9_7F4A_7C15;
    best(|| {
        for _ in 0..RANDOM_READS {
            number ^= number << 13;
            number ^= number >> 7;
            number ^= number << 17;
            let at = number % (SIZE / 4096) * 4096;
            image.device.read_at(at, &mut buf).expect("a read");
        }
    })
}

fn best(mut work: impl FnMut()) -> f64 {
    let times = (0..ROUNDS).map(|_| {
        let start = Instant::now();
        work();
        start.elapsed().as_secs_f64()
    });
    times.fold(f64::INFINITY, f64::min)
}
