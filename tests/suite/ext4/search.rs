//! A name among a million.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use volfold_block::{BlockDevice, BlockResult};
use volfold_fs::{DRIVERS, FsErrorKind, Name, ReadOptions, VolumeReader};

use super::programs::needs_kernel;
use crate::common::mounted::Mounted;
use crate::common::program::{Scratch, program, text};
use crate::harness::{apply, needs_programs, note, test};

const NAMES: u32 = 1_000_000;
/// Names that one inode may have.
const PER_FILE: u32 = 62_500;

/// A file of the host that counts what is read of it.
struct Counting {
    file: File,
    size: u64,
    reads: Arc<AtomicU64>,
}

impl BlockDevice for Counting {
    fn size(&self) -> u64 {
        self.size
    }

    fn sector_size(&self) -> u32 {
        512
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> BlockResult<()> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        self.file.read_exact_at(buf, offset).expect("bytes of the image");
        Ok(())
    }
}

fn name(number: u32) -> String {
    format!("n\u{e4}me {number}")
}

/// With blocks of 1 KiB so many names need the third level of large_dir.
#[apply(test)]
fn a_name_among_a_million_is_found_by_its_hash_path_alone() {
    needs_kernel();
    needs_programs(&["mke2fs", "debugfs"]);
    let scratch = Scratch::new("million");
    let image = scratch.join("image");
    File::create(&image).expect("a file").set_len(128 << 20).expect("a length");
    let features = "large_dir,^has_journal";
    program(
        "mke2fs",
        &["-q", "-F", "-t", "ext4", "-b", "1024", "-N", "64", "-O", features, text(&image)],
    )
    .code(0);
    let kernel = Mounted::new("ext4", "loop,noatime", &image);
    let many = kernel.path().join("many");
    fs::create_dir(&many).expect("a folder");
    for number in 0..NAMES {
        let first = number / PER_FILE * PER_FILE;
        let path = many.join(name(number));
        if number == first {
            fs::write(path, b"").expect("a file");
        } else {
            fs::hard_link(many.join(name(first)), path).expect("a link");
        }
    }
    kernel.end();
    let tree = program("debugfs", &["-R", "htree_dump /many", text(&image)]);
    let levels = tree
        .text()
        .lines()
        .take(12)
        .find(|line| line.contains("Indirect levels"))
        .map(str::to_owned);
    assert!(levels.as_deref().is_some_and(|line| line.trim_end().ends_with('2')), "{levels:?}");
    let reads = Arc::new(AtomicU64::new(0));
    let file = File::open(&image).expect("the image");
    let device = Counting { file, size: 128 << 20, reads: reads.clone() };
    let driver = DRIVERS.iter().find(|driver| driver.id() == "ext4").expect("the driver");
    let reader = VolumeReader::uncached(Arc::new(device));
    let fs = driver.mount(reader, ReadOptions::default()).expect("a volume");
    let dir = fs.lookup(fs.root(), Name::new("many")).expect("the directory");
    let mut most = 0;
    for number in (0..NAMES).step_by(2017) {
        let before = reads.load(Ordering::Relaxed);
        let node = fs.lookup(dir, Name::new(&name(number))).expect("a name");
        let first = fs.lookup(dir, Name::new(&name(number / PER_FILE * PER_FILE))).expect("a name");
        assert_eq!(node, first);
        most = most.max(reads.load(Ordering::Relaxed) - before);
        let error = fs.lookup(dir, Name::new(&name(NAMES + number))).expect_err("absent");
        assert_eq!(error.kind(), FsErrorKind::NotFound);
    }
    note!("at most {most} reads for two names");
    // The inode, the map of the directory, four blocks on the way, the inode that was found.
    assert!(most <= 2 * 8, "{most} reads");
    assert!(fs.findings().is_empty(), "{:?}", fs.findings());
}
