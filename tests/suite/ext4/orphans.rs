//! Files that were deleted while they were open.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::ops::ControlFlow;

use volfold_fs::{DeletedIn, FileSystem};

use super::mount_file;
use super::programs::needs_kernel;
use crate::common::mounted::Mounted;
use crate::common::program::{Scratch, program, text};
use crate::harness::{apply, needs_programs, test};

/// Number and size of each deleted file, and how its content begins.
fn deleted(fs: &dyn FileSystem) -> BTreeMap<u64, (u64, Vec<u8>)> {
    let mut found = BTreeMap::new();
    let mut nodes = Vec::new();
    fs.deleted(&mut |file| {
        assert!(matches!(file.parent, DeletedIn::Unknown), "{file:?}");
        nodes.push(file.metadata);
        ControlFlow::Continue(())
    })
    .expect("the deleted files");
    for metadata in nodes {
        let file = fs.open_deleted(metadata.node).expect("content");
        let mut bytes = vec![0; 40];
        let count = file.read_at(0, &mut bytes).expect("bytes");
        bytes.truncate(count);
        found.insert(metadata.node.0, (metadata.size, bytes));
    }
    found
}

/// What e2fsck says that it clears: `Clearing orphaned inode 13 (uid=0, ..., size=100)`.
fn cleared(output: &str) -> BTreeMap<u64, u64> {
    let number = |text: &str, before: &str| {
        let (_, rest) = text.split_once(before)?;
        let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
        digits.parse().ok()
    };
    let lines = output.lines().filter(|line| line.contains("orphan"));
    lines.filter_map(|line| Some((number(line, "inode ")?, number(line, "size=")?))).collect()
}

#[apply(test)]
fn files_that_were_deleted_while_open_are_those_that_e2fsck_clears() {
    needs_kernel();
    needs_programs(&["mke2fs", "e2fsck"]);
    for features in ["^orphan_file", "orphan_file", "orphan_file,^metadata_csum,inline_data"] {
        let scratch = Scratch::new("orphans");
        let image = scratch.join("image");
        File::create(&image).expect("a file").set_len(32 << 20).expect("a length");
        program("mke2fs", &["-q", "-F", "-t", "ext4", "-O", features, text(&image)]).code(0);
        let kernel = Mounted::new("ext4", "loop", &image);
        let mut open = Vec::new();
        for number in 0..50 {
            let path = kernel.path().join(format!("file {number}"));
            fs::write(&path, format!("{number} was deleted ").repeat(number * 40)).expect("a file");
            open.push(File::open(&path).expect("a file"));
        }
        for number in (0..50).filter(|number| number % 2 == 0) {
            fs::remove_file(kernel.path().join(format!("file {number}"))).expect("removed");
        }
        program("sync", &["-f", text(kernel.path())]).code(0);
        let copy = scratch.join("copy");
        fs::copy(&image, &copy).expect("a copy");
        drop(open);
        kernel.end();
        let found = deleted(&*mount_file(&copy).expect("a volume"));
        assert_eq!(found.len(), 25, "{features}");
        for (size, bytes) in found.values() {
            let text = String::from_utf8_lossy(bytes);
            let (number, _) = text.split_once(" was").unwrap_or(("0", ""));
            let number: usize = number.parse().expect("a number");
            let whole = format!("{number} was deleted ").repeat(number * 40);
            assert_eq!(*size, whole.len() as u64, "{features}");
            assert!(whole.as_bytes().starts_with(bytes), "{features}");
        }
        let output = program("e2fsck", &["-fy", text(&copy)]);
        let sizes: BTreeMap<u64, u64> =
            found.iter().map(|(node, (size, _))| (*node, *size)).collect();
        assert_eq!(cleared(&output.text()), sizes, "{features}");
        // With all names gone there is nothing to list.
        assert!(deleted(&*mount_file(&image).expect("a volume")).is_empty(), "{features}");
    }
}
