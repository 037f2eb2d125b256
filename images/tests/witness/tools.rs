//! Folders, tools of others, disks with a pattern, and comparing devices with them.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use volfold_block::{BlockDevice, BlockError, BlockResult, CachePool, ExtentKind};
use volfold_images::host::open_image_file;
use volfold_images::{DiskImage, ImageContext};

pub(crate) const DISK_SIZE: usize = 40 * 1024 * 1024 + 512 * 3;

/// A folder that is removed in the end.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("volfold-witness-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Runs a tool of QEMU in the folder.
    #[track_caller]
    pub(crate) fn run(&self, tool: &str, arguments: &[&str]) {
        let output = Command::new(tool).args(arguments).current_dir(&self.0).output().unwrap();
        assert!(
            output.status.success(),
            "{tool} {arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }

    /// Opens the image in the file `name`, whatever its format.
    #[track_caller]
    pub(crate) fn open(&self, name: &str) -> DiskImage {
        self.try_open(name, None).unwrap()
    }

    /// The same in the state that it keeps as `snapshot`.
    pub(crate) fn try_open(&self, name: &str, snapshot: Option<&str>) -> BlockResult<DiskImage> {
        let file = open_image_file(&self.file(name), &[])?;
        let context = ImageContext::new(&CachePool::new(8 << 20)).with_snapshot(snapshot);
        volfold_images::open(&file, &context)
    }

    /// What opening the file `name` ends with.
    #[track_caller]
    pub(crate) fn error(&self, name: &str) -> BlockError {
        self.try_open(name, None).err().unwrap()
    }

    /// The disk in the file `name`, as `qemu-img convert -O raw` reads it.
    #[track_caller]
    pub(crate) fn converted(&self, name: &str, format: &str) -> Vec<u8> {
        self.run("qemu-img", &["convert", "-f", format, "-O", "raw", name, "converted.raw"]);
        fs::read(self.file("converted.raw")).unwrap()
    }

    /// The disk of the chain `names`, the newest first, as libvhdi reads it: sector by sector, as
    /// version 20210425 loses the end of a larger read that lies in a child and in its parent.
    #[track_caller]
    pub(crate) fn read_by_libvhdi(&self, names: &[String]) -> Vec<u8> {
        let program = "import sys, pyvhdi\n\
            files = [pyvhdi.file() for name in sys.argv[2:]]\n\
            for file, name in zip(files, sys.argv[2:]): file.open(name)\n\
            for child, parent in zip(files, files[1:]): child.set_parent(parent)\n\
            disk, out = files[0], open(sys.argv[1], 'wb')\n\
            left = disk.get_media_size()\n\
            while left > 0:\n    \
                part = disk.read_buffer(min(left, 512))\n    \
                out.write(part)\n    \
                left -= len(part)\n";
        let names = names.iter().map(String::as_str);
        let arguments: Vec<&str> = ["-c", program, "read.raw"].into_iter().chain(names).collect();
        self.run(PYTHON, &arguments);
        fs::read(self.file("read.raw")).unwrap()
    }
}

/// The Python that Debian's packages are for.
const PYTHON: &str = "/usr/bin/python3";

/// Whether libvhdi is there (Debian: python3-libvhdi). Without it a comparison is skipped, but in CI it
/// fails.
pub(crate) fn has_libvhdi() -> bool {
    let mut command = Command::new(PYTHON);
    command.args(["-c", "import pyvhdi"]).stderr(Stdio::null());
    let found = command.status().is_ok_and(|status| status.success());
    if !found {
        assert!(std::env::var_os("CI").is_none(), "CI needs python3-libvhdi");
        println!("skipped: needs python3-libvhdi");
    }
    found
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Whether QEMU's tools are there. Without them a test is skipped, but in CI it fails.
pub(crate) fn has_qemu() -> bool {
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

/// Whether `program` is there, which shows its version for `option`. Without it a test is skipped, but in
/// CI it fails.
pub(crate) fn has_tool(program: &str, option: &str) -> bool {
    let mut command = Command::new(program);
    command.arg(option).stdout(Stdio::null()).stderr(Stdio::null());
    let found = command.status().is_ok();
    if !found {
        assert!(std::env::var_os("CI").is_none(), "CI needs {program}");
        println!("skipped: needs {program}");
    }
    found
}

/// Numbers that look random and are always the same.
pub(crate) struct Numbers(pub(crate) u64);

impl Numbers {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub(crate) fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }
}

/// A disk with long and short holes, text that deflates well and noise that does not.
pub(crate) fn pattern(size: usize) -> Vec<u8> {
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

/// Compares the whole disk, in reads of many sizes, and what it says about extents.
#[track_caller]
pub(crate) fn compare(device: &dyn BlockDevice, wanted: &[u8]) {
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

pub(crate) fn zero_bytes(device: &dyn BlockDevice) -> u64 {
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

/// Where [`check_far_writes`] writes, and which byte: the first blocks of the file are the last of a
/// disk of 3 GiB.
pub(crate) const FAR_WRITES: [(u64, u8); 3] = [(3071 << 20, 3), (1 << 30, 2), (512, 1)];

/// A disk of `size` bytes into which `qemu-io` made `writes`, a sector each, reads as it was written,
/// and has no other bytes than theirs, in blocks of `block` bytes.
#[track_caller]
pub(crate) fn check_far_writes(
    format: &str,
    name: &str,
    options: &[&str],
    size: u64,
    writes: &[(u64, u8)],
    block: u64,
) {
    if !has_qemu() {
        return;
    }
    let folder = Folder::new();
    let shown = size.to_string();
    folder.run("qemu-img", &[&["create", "-f", format], options, &[name, &shown]].concat());
    for (at, byte) in writes {
        let write = format!("write -P {byte} {at} 512");
        folder.run("qemu-io", &["-f", format, "-c", &write, name]);
    }
    let image = folder.open(name);
    let mut sector = [0; 512];
    let holes = [(0, 0), (size / 3 * 2 / 512 * 512, 0)];
    for (at, byte) in writes.iter().copied().chain(holes) {
        image.device.read_at(at, &mut sector).unwrap();
        assert_eq!(sector, [byte; 512], "{at}");
    }
    assert_eq!(image.device.size(), size);
    assert_eq!(zero_bytes(&*image.device), size - writes.len() as u64 * block);
}
