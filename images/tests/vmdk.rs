//! VMDK images that `qemu-img` made, compared byte by byte with the raw disk they were made from.
#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use volfold_block::{BlockDevice, CachePool, ExtentKind};
use volfold_images::DiskImage;
use volfold_images::host::open_image_file;

const DISK_SIZE: usize = 40 * 1024 * 1024 + 512 * 3;

/// A folder that is removed in the end.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("volfold-vmdk-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Runs a tool of QEMU in the folder.
    #[track_caller]
    fn run(&self, tool: &str, arguments: &[&str]) {
        let output = Command::new(tool).args(arguments).current_dir(&self.0).output().unwrap();
        assert!(
            output.status.success(),
            "{tool} {arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }

    fn open(&self, name: &str) -> DiskImage {
        let file = open_image_file(&self.file(name), &[]).unwrap();
        let image = volfold_images::open(&file, &CachePool::new(1 << 20)).unwrap();
        assert_eq!(image.format, "vmdk");
        image
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Whether QEMU's tools are there. Without them a test is skipped, but in CI it fails.
fn has_qemu() -> bool {
    let found = ["qemu-img", "qemu-io"].iter().all(|tool| {
        Command::new(tool)
            .arg("--version")
            .stdout(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
    });
    if !found {
        assert!(std::env::var_os("CI").is_none(), "CI needs qemu-img");
        println!("skipped: needs qemu-img");
    }
    found
}

/// Numbers that look random and are always the same.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }
}

/// A disk with long and short holes, text that deflates well and noise that does not.
fn pattern(size: usize) -> Vec<u8> {
    let mut disk = vec![0; size];
    let mut numbers = Numbers(0x9E37_79B9_7F4A_7C15);
    let mut at = 0;
    while at < size {
        let length = (1 + numbers.below(40 * 16)) * 4096;
        let end = (at + length).min(size);
        match numbers.next() % 3 {
            0 => {}
            1 => {
                for (index, byte) in disk[at..end].iter_mut().enumerate() {
                    *byte = b"volfold reads disks "[(at + index / 64) % 20];
                }
            }
            _ => {
                for chunk in disk[at..end].chunks_mut(8) {
                    let noise = numbers.next().to_le_bytes();
                    chunk.copy_from_slice(&noise[..chunk.len()]);
                }
            }
        }
        at = end;
    }
    let last = size - 1;
    disk[last] = 0xA5;
    disk
}

fn write_sparse(path: &Path, bytes: &[u8]) {
    let mut file = fs::File::create(path).unwrap();
    file.write_all(bytes).unwrap();
}

/// Compares the whole disk, in reads of many sizes, and what it says about extents.
#[track_caller]
fn compare(device: &dyn BlockDevice, wanted: &[u8]) {
    assert_eq!(device.size(), wanted.len() as u64);
    let mut buf = vec![0xEE; 3 << 20];
    let mut numbers = Numbers(42);
    let sizes = [1 << 20, 65536, 3 << 20, 4096];
    let mut at = 0;
    let mut turn = 0;
    while at < wanted.len() {
        let size = sizes[turn % sizes.len()].min(wanted.len() - at);
        turn += 1;
        device.read_at(at as u64, &mut buf[..size]).unwrap();
        assert!(buf[..size] == wanted[at..at + size], "{size} bytes at {at}");
        at += size;
    }
    for _ in 0..500 {
        let at = numbers.below(wanted.len());
        let size = 1 + numbers.below(200_000.min(wanted.len() - at));
        device.read_at(at as u64, &mut buf[..size]).unwrap();
        assert!(buf[..size] == wanted[at..at + size], "{size} bytes at {at}");
    }
    let mut at = 0;
    while at < wanted.len() {
        let extent = device.extent_at(at as u64).unwrap();
        let end = at + usize::try_from(extent.length).unwrap();
        assert!(extent.length > 0 && end <= wanted.len());
        if extent.kind == ExtentKind::Zero {
            assert!(wanted[at..end].iter().all(|byte| *byte == 0));
        }
        at = end;
    }
    assert!(device.extent_at(wanted.len() as u64).is_err());
    assert!(device.read_at(wanted.len() as u64, &mut buf[..1]).is_err());
}

fn zero_bytes(device: &dyn BlockDevice) -> u64 {
    let mut at = 0;
    let mut zeros = 0;
    while at < device.size() {
        let extent = device.extent_at(at).unwrap();
        if extent.kind == ExtentKind::Zero {
            zeros += extent.length;
        }
        at += extent.length;
    }
    zeros
}

fn check_subformat(subformat: &str, options: &str) {
    if !has_qemu() {
        return;
    }
    let folder = Folder::new();
    let disk = pattern(DISK_SIZE);
    write_sparse(&folder.file("disk.raw"), &disk);
    let options = format!("subformat={subformat}{options}");
    folder.run(
        "qemu-img",
        &["convert", "-f", "raw", "-O", "vmdk", "-o", &options, "disk.raw", "disk.vmdk"],
    );
    let image = folder.open("disk.vmdk");
    assert_eq!(image.variant.as_deref(), Some(subformat));
    assert!(image.findings.is_empty());
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
    let file = open_image_file(&folder.file("disk-s001.vmdk"), &[]).unwrap();
    let error = volfold_images::open(&file, &CachePool::new(1 << 20)).err().unwrap();
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
        write_sparse(&folder.file("disk.raw"), &disk);
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
        let names: Vec<_> = image
            .chain
            .iter()
            .map(|name| Path::new(name).file_name().unwrap().to_str().unwrap())
            .collect();
        assert_eq!(names, ["two.vmdk", "one.vmdk", "base.vmdk"]);

        fs::remove_file(folder.file("base.vmdk")).unwrap();
        let file = open_image_file(&folder.file("two.vmdk"), &[]).unwrap();
        let error = volfold_images::open(&file, &CachePool::new(1 << 20)).err().unwrap();
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
    let file = open_image_file(&folder.file("child.vmdk"), &[]).unwrap();
    let error = volfold_images::open(&file, &CachePool::new(1 << 20)).err().unwrap();
    let start =
        format!("parent base.vmdk was changed after the snapshot: its CID is {id:0>8}, not ");
    assert!(error.message().starts_with(&start), "{error}");
}
