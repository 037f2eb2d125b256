//! Volumes with one thing wrong, and volumes with anything wrong.

use std::fs;
use std::ops::ControlFlow;

use volfold_block::MemoryDevice;

use super::tests::Scratch;
use super::*;
use crate::error::FsErrorKind;
use crate::node::{DirCursor, Name, NodeId, StreamName};

/// A volume of half a megabyte, `None` without mke2fs.
fn small_volume(options: &[&str]) -> Option<Vec<u8>> {
    volume("512", options)
}

fn volume(size: &str, options: &[&str]) -> Option<Vec<u8>> {
    let scratch = Scratch::new();
    let tree = scratch.tree();
    fs::create_dir(tree.join("dir")).unwrap();
    fs::write(tree.join("dir/file"), vec![7; 50_000]).unwrap();
    fs::write(tree.join("other"), vec![8; 3000]).unwrap();
    std::os::unix::fs::symlink("t".repeat(100), tree.join("link")).unwrap();
    for number in 10..99 {
        fs::write(tree.join(format!("dir/name {number}")), b"").unwrap();
    }
    let mut words = vec!["-b", "1024", "-N", "128"];
    words.extend(options);
    scratch.volume(size, &words)
}

fn mount(image: &[u8]) -> FsResult<Arc<dyn FileSystem>> {
    crate::testing::mount(&Ext4Driver, image)
}

/// Touches everything that can be reached, within bounds.
fn exercise(image: &[u8]) {
    let Ok(fs) = mount(image) else {
        return;
    };
    let _ = fs.usage();
    let mut open = vec![fs.root()];
    let mut seen = 0;
    while let Some(node) = open.pop() {
        seen += 1;
        if seen > 200 {
            break;
        }
        let _ = fs.read_dir(node, DirCursor::START, &mut |entry| {
            open.push(entry.node);
            if open.len() > 200 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        let _ = fs.lookup(node, Name::new("name 59"));
        let _ = fs.read_link(node);
        let Ok(file) = fs.open(node, &StreamName::MAIN) else {
            continue;
        };
        let mut buf = [0; 4096];
        let _ = file.read_at(0, &mut buf);
        let _ = file.read_at(file.size().saturating_sub(10), &mut buf);
        if file.size() > 0 {
            assert!(file.extent_at(0).unwrap().length > 0);
        }
    }
}

#[test]
fn no_changed_byte_brings_the_reader_down() {
    for options in [
        &["-t", "ext4", "-O", "^has_journal,^metadata_csum"][..],
        &["-t", "ext2"],
        &["-t", "ext4", "-O", "^has_journal,^metadata_csum,inline_data"],
    ] {
        let Some(image) = small_volume(options) else {
            return;
        };
        let used: Vec<usize> = (0..image.len()).filter(|&at| image[at] != 0).collect();
        let mut random = 0x2545_F491_4F6C_DD1D_u64;
        for _ in 0..1500 {
            let mut bent = image.clone();
            for _ in 0..3 {
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                let near = used[usize::try_from(random >> 20).unwrap() % used.len()];
                let at = (near + usize::try_from(random % 8).unwrap()).min(bent.len() - 1);
                bent[at] = random.to_le_bytes()[7];
            }
            exercise(&bent);
        }
    }
}

#[test]
fn a_cut_volume_reads_as_far_as_it_goes() {
    let Some(image) = small_volume(&["-t", "ext4", "-O", "^has_journal"]) else {
        return;
    };
    for length in (0..image.len()).step_by(7919) {
        exercise(&image[..length]);
    }
    let fs = mount(&image[..200 * 1024]).unwrap();
    let finding = &fs.info().findings[0];
    assert!(finding.code == "ext4-cut-short");
    assert_eq!(finding.message, "cut short: 200 of 512 KiB");
}

#[test]
fn an_inode_with_a_bad_checksum_harms_only_itself() {
    let Some(mut image) = small_volume(&["-t", "ext4", "-O", "^has_journal"]) else {
        return;
    };
    let fs = mount(&image).unwrap();
    let node = fs.lookup(fs.root(), Name::new("other")).unwrap();
    let at = inode_position(&image, node);
    image[at + 4] ^= 1;
    let fs = mount(&image).unwrap();
    let error = fs.metadata(node).unwrap_err();
    assert_eq!(error.kind(), FsErrorKind::Corrupt);
    assert_eq!(error.position(), Some(u64::try_from(at).unwrap()));
    let mut without = Vec::new();
    fs.read_dir(fs.root(), DirCursor::START, &mut |entry| {
        if entry.metadata.is_none() {
            without.push(entry.node);
        }
        ControlFlow::Continue(())
    })
    .unwrap();
    assert_eq!(without, [node]);
}

#[test]
fn a_directory_block_with_a_bad_checksum_is_told_at_the_end() {
    let Some(mut image) = small_volume(&["-t", "ext4", "-O", "^has_journal"]) else {
        return;
    };
    let fs = mount(&image).unwrap();
    let dir = fs.lookup(fs.root(), Name::new("dir")).unwrap();
    let at = image.windows(7).position(|bytes| bytes == b"name 59").unwrap();
    image[at] = b'N';
    let fs = mount(&image).unwrap();
    let mut count = 0;
    let mut cursor = DirCursor::START;
    let error = loop {
        // One name at a time, so that the damage has to be remembered by the cursor.
        let before = count;
        let result = fs.read_dir(dir, cursor, &mut |entry| {
            count += 1;
            cursor = entry.next;
            ControlFlow::Break(())
        });
        match result {
            Err(error) => break error,
            Ok(()) => assert!(count > before, "the end came in silence"),
        }
    };
    assert_eq!(error.kind(), FsErrorKind::Corrupt);
    assert!(count > 0 && count < 90, "{count} names");
    let error = fs.lookup(dir, Name::new("name 59")).unwrap_err();
    assert_eq!(error.kind(), FsErrorKind::Corrupt, "it may have been there");
}

#[test]
fn a_block_outside_the_file_system_is_corrupt_not_zero() {
    let Some(mut image) = small_volume(&["-t", "ext2"]) else {
        return;
    };
    let fs = mount(&image).unwrap();
    let node = fs.lookup(fs.root(), Name::new("other")).unwrap();
    let at = inode_position(&image, node);
    image[at + 0x2C..at + 0x30].copy_from_slice(&5000_u32.to_le_bytes());
    let fs = mount(&image).unwrap();
    let file = fs.open(node, &StreamName::MAIN).unwrap();
    let mut buf = [0; 1024];
    assert_eq!(file.read_at(0, &mut buf).unwrap(), 1024);
    assert_eq!(buf, [8; 1024]);
    let error = file.read_at(1024, &mut buf).unwrap_err();
    assert_eq!(error.kind(), FsErrorKind::Corrupt);
    assert_eq!(file.read_at(2048, &mut buf).unwrap(), 3000 - 2048);
}

#[test]
fn a_superblock_with_one_thing_wrong_says_what() {
    let Some(image) = small_volume(&["-t", "ext2"]) else {
        return;
    };
    for (at, bytes, message) in [
        (0x38, &[0, 0][..], "superblock has a wrong magic number"),
        (0x18, &[7, 0, 0, 0], "superblock has an invalid block size"),
        (0x20, &[0, 0, 0, 0], "superblock has groups without blocks"),
        (0x28, &[0, 0, 0, 0], "superblock has an invalid number of inodes per group"),
        (0x58, &[0x81, 0], "superblock has an invalid inode size"),
        (0x04, &[0, 0, 0, 0], "superblock has fewer blocks than it begins at"),
    ] {
        let mut bent = image.clone();
        bent[1024 + at..1024 + at + bytes.len()].copy_from_slice(bytes);
        let error = mount(&bent).err().unwrap();
        assert_eq!((error.kind(), error.message()), (FsErrorKind::Corrupt, message));
        assert_eq!(error.position(), Some(1024 + u64::try_from(at).unwrap()));
    }
    let mut bent = image;
    bent[1024 + 0x61] |= 0x08;
    let error = mount(&bent).err().unwrap();
    assert_eq!(error.kind(), FsErrorKind::Unsupported);
    assert!(error.message().contains("0x800"));
}

#[test]
fn a_damaged_superblock_is_replaced_by_its_backup() {
    let options = ["-t", "ext4", "-O", "^has_journal"];
    let (Some(mut image), Some(mut small)) = (volume("9000", &options), small_volume(&options))
    else {
        return;
    };
    image[1024 + 0x100] ^= 1;
    let fs = mount(&image).unwrap();
    assert!(fs.info().findings[0].code == "ext4-backup-superblock");
    assert!(fs.lookup(fs.root(), Name::new("other")).is_ok());
    small[1024 + 0x100] ^= 1;
    let error = mount(&small).err().unwrap();
    assert_eq!(error.message(), "superblock has a bad checksum");
}

fn inode_position(image: &[u8], node: NodeId) -> usize {
    let reader = VolumeReader::uncached(Arc::new(MemoryDevice::new(image)));
    let volume = Volume::read(reader).unwrap();
    let table = volume.groups.inode_table(0).unwrap() * volume.superblock.block_size.get();
    let into = (node.0 - 1) * u64::from(volume.superblock.inode_size);
    usize::try_from(table + into).unwrap()
}
