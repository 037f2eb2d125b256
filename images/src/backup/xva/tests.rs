//! Exports that are made field by field, and damaged ones.

use super::*;
use crate::backup::testing::{FirstDisk, block, codes, content, description, member, open};
use crate::hostile::{Bent, Outcome, outcome};
use crate::testing::{Files, Recorder};
use volfold_block::ExtentKind;

const BLOCK: usize = 1024;

/// The disk of the export below: a block, a hole of two, a block, a part of one.
fn disk() -> Vec<u8> {
    let parts: [&[u8]; 4] = [&[1; BLOCK], &[0; 2 * BLOCK], &[2; BLOCK], &[3; 512]];
    parts.concat()
}

/// An export of `blocks` of `Ref:3`, whose size the description gives as `size`.
fn export(blocks: &[Vec<u8>], size: Option<u64>) -> Vec<u8> {
    let text = description(&[("Ref:3", "root", size)]);
    let end = vec![0; 1024];
    [&[member("ova.xml", text.as_bytes())], blocks, &[end]].concat().concat()
}

fn blocks(is_new: bool) -> Vec<Vec<u8>> {
    [(0, vec![1; BLOCK]), (3, vec![2; BLOCK]), (4, vec![3; 512])]
        .map(|(number, bytes)| block("Ref:3", number, &bytes, is_new))
        .to_vec()
}

fn good(is_new: bool) -> Vec<u8> {
    export(&blocks(is_new), Some(disk().len() as u64))
}

/// What the first disk holds, or why it cannot be read.
#[track_caller]
fn first(bytes: &[u8]) -> Result<Vec<u8>, String> {
    content(&open(&Xva, bytes).unwrap()).swap_remove(0).1
}

#[test]
fn numbers_that_are_left_out_are_holes() {
    for is_new in [false, true] {
        let backup = open(&Xva, &good(is_new)).unwrap();
        assert!(backup.damage.is_empty());
        assert_eq!(content(&backup), [("Ref:3 root".to_owned(), Ok(disk()))]);
        assert_eq!(codes(&backup, 0), [""; 0]);
        let device = &backup.disks[0].image.as_ref().unwrap().device;
        let hole = device.extent_at(BLOCK as u64 + 1).unwrap();
        assert_eq!((hole.kind, hole.length), (ExtentKind::Zero, 2 * BLOCK as u64 - 1));
        let mut small = [0; 700];
        device.read_at(3 * BLOCK as u64 + 500, &mut small).unwrap();
        assert_eq!((small[523], small[524]), (2, 3));
    }
}

#[test]
fn a_block_of_no_bytes_takes_a_number_and_no_place() {
    let empty = |number| block("Ref:3", number, &[], true);
    let mut blocks = [(0, 1), (4, 2)]
        .map(|(number, byte)| block("Ref:3", number, &[byte; BLOCK], true))
        .to_vec();
    blocks.insert(1, empty(2));
    blocks.push(empty(5));
    blocks.push(block("Ref:3", 6, &[3; 512], true));
    let backup = open(&Xva, &export(&blocks, Some(disk().len() as u64))).unwrap();
    assert_eq!(content(&backup)[0].1, Ok(disk()));
    assert_eq!(codes(&backup, 0), [""; 0]);
}

/// One that lost its bytes would move all that come after it.
#[test]
fn an_empty_block_has_to_have_the_checksum_of_nothing() {
    let mut empty = block("Ref:3", 1, &[], true);
    let size = Some(disk().len() as u64);
    let with = |empty: &[u8]| {
        let mut blocks = blocks(true);
        blocks.insert(1, empty.to_vec());
        first(&export(&blocks, size))
    };
    let fine = with(&empty);
    assert!(!fine.is_err_and(|line| line.contains("checksum")));
    empty[1024] = if empty[1024] == b'0' { b'1' } else { b'0' };
    assert_eq!(
        with(&empty).unwrap_err(),
        "its block 1, which is empty: block of the XVA export does not match its checksum; copy the \
         export again"
    );
}

#[test]
fn disks_are_in_the_order_of_their_folders_and_missing_ones_are_told() {
    let text =
        description(&[("Ref:9", "", Some(512)), ("Ref:10", "a/b", None), ("Ref:2", "swap", None)]);
    let blocks = [block("Ref:10", 0, &[8; 1024], false), block("Ref:9", 0, &[9; 512], true)];
    let bytes = [member("ova.xml", text.as_bytes()), blocks.concat(), vec![0; 1024]].concat();
    let backup = open(&Xva, &bytes).unwrap();
    let names: Vec<&str> = backup.disks.iter().map(|disk| disk.name.as_str()).collect();
    assert_eq!(names, ["Ref:10 a_b", "Ref:9", "Ref:2 swap"]);
    assert_eq!(codes(&backup, 0), ["backup-size-doubtful"]);
    assert_eq!(codes(&backup, 1), [""; 0]);
    let error = backup.disks[2].image.as_ref().err().unwrap();
    assert_eq!(error.kind(), BlockErrorKind::MissingPart);
    let none = [member("ova.xml", description(&[]).as_bytes()), vec![0; 1024]].concat();
    assert_eq!(open(&Xva, &none).err().unwrap().message(), "XVA export holds no disk");
}

#[test]
fn a_checksum_is_compared_once_and_a_block_without_it_is_an_error() {
    for is_new in [false, true] {
        let mut blocks = blocks(is_new);
        blocks[1][512 + 77] ^= 1;
        let size = disk().len() as u64;
        let line = "block of the XVA export does not match its checksum; copy the export again";
        let backup = open(&Xva, &export(&blocks, Some(size))).unwrap();
        let device = &backup.disks[0].image.as_ref().unwrap().device;
        for (at, length) in [(3 * BLOCK, BLOCK), (3 * BLOCK + 5, 9), (0, disk().len())] {
            let error = device.read_at(at as u64, &mut vec![0; length]).unwrap_err();
            assert_eq!((error.kind(), error.message()), (BlockErrorKind::Corrupt, line));
        }
        assert!(device.read_at(0, &mut [0; 3 * BLOCK]).is_ok());
        // Digits that are none.
        let last = blocks[0].len() - 512;
        blocks[0][last] = b'g';
        assert_eq!(first(&export(&blocks, Some(size))), Err(line.to_owned()));
    }
    let recorder = Arc::new(Recorder::new(good(true)));
    let files = Files::default().with_device("x", recorder.clone());
    let backup = Xva.open(&files.located("x"), &CachePool::new(1 << 20)).unwrap();
    let device = &backup.disks[0].image.as_ref().unwrap().device;
    recorder.reads.lock().unwrap().clear();
    for _ in 0..2 {
        device.read_at(100, &mut [0; 50]).unwrap();
    }
    let lengths: Vec<usize> =
        recorder.reads.lock().unwrap().iter().map(|(_, size)| *size).collect();
    assert_eq!(lengths, [BLOCK, 16, 50]);
}

#[test]
fn blocks_that_are_missing_or_there_twice_are_errors_and_told() {
    let size = Some(disk().len() as u64);
    // Without the last one, and without the last two.
    for count in [2, 1] {
        let backup = open(&Xva, &export(&blocks(true)[..count], size)).unwrap();
        assert_eq!(codes(&backup, 0), ["backup-blocks-missing"]);
        let line = "block is not in the XVA export, which is cut off; copy the export again";
        assert_eq!(content(&backup)[0].1, Err(line.to_owned()));
        let device = &backup.disks[0].image.as_ref().unwrap().device;
        assert!(device.read_at(0, &mut [0; BLOCK]).is_ok());
        assert_eq!(device.extent_at(4 * BLOCK as u64).unwrap().kind, ExtentKind::Data);
    }
    let mut twice = blocks(true);
    twice.push(block("Ref:3", 3, &[9; BLOCK], true));
    let backup = open(&Xva, &export(&twice, size)).unwrap();
    assert_eq!(codes(&backup, 0), ["backup-blocks-repeated"]);
    assert_eq!(content(&backup)[0].1, Err("block is in the XVA export more than once".to_owned()));
    twice.push(block("Ref:3", 3, &[], true));
    assert_eq!(first(&export(&twice, size)), Err("its block 3 is there with several sizes".into()));
    // A checksum alone.
    let mut alone = blocks(true);
    alone[1].drain(..512 + BLOCK);
    let backup = open(&Xva, &export(&alone, size)).unwrap();
    assert_eq!(codes(&backup, 0), ["backup-blocks-missing"]);
    assert!(content(&backup)[0].1.as_ref().unwrap_err().ends_with("its checksum is there"));
    let line = "its block 3 is missing, its checksum is there";
    assert_eq!(first(&export(&alone, None)), Err(line.to_owned()));
}

#[test]
fn disks_that_contradict_themselves_are_refused() {
    let one = |number, length: usize| block("Ref:3", number, &vec![5; length], true);
    for (blocks, line) in [
        (vec![one(1, 512)], "its first block, which tells their size, is missing"),
        (vec![one(0, 0), one(1, 512)], "its first block has 0 bytes"),
        (vec![one(0, 513)], "its first block has 513 bytes"),
        (
            vec![one(0, 1024), one(1, 512), one(2, 1024)],
            "its block 1 has 512 bytes, the first one 1024",
        ),
        (vec![one(0, 1024), one(1, 1536)], "its block 1 has 1536 bytes, the first one 1024"),
    ] {
        assert_eq!(first(&export(&blocks, Some(2048))), Err(line.to_owned()));
    }
    let backup = open(&Xva, &export(&[one(0, 1024), one(2, 1024)], Some(2048))).unwrap();
    assert_eq!(codes(&backup, 0), ["backup-size-doubtful"]);
    assert_eq!(content(&backup)[0].1.as_ref().unwrap().len(), 2048);
}

#[test]
fn blocks_in_no_order_are_read_unless_some_may_be_missing() {
    let mut mixed = blocks(false);
    // The checksums before their blocks, the last block first.
    for one in &mut mixed {
        let at = one.len() - 1024;
        one.rotate_left(at);
    }
    mixed.reverse();
    let bytes = export(&mixed, Some(disk().len() as u64));
    assert_eq!(first(&bytes), Ok(disk()));
    let cut = &bytes[..bytes.len() - 1024 - mixed[2].len()];
    let backup = open(&Xva, cut).unwrap();
    assert_eq!(backup.damage.len(), 1);
    let line = content(&backup).swap_remove(0).1.unwrap_err();
    assert!(line.starts_with("its blocks are in no order and the export is damaged"), "{line}");
}

#[test]
fn damage_is_never_silent() {
    let wanted = disk();
    for bytes in [good(false), good(true)] {
        let bent = Bent::new(&bytes);
        let result = |bent| outcome(&FirstDisk(&Xva), &Files::default(), "a.xva", bent, &wanted);
        for size in (0..bytes.len() - 1024).step_by(512).chain([bytes.len() - 1025]) {
            let result = result(bent.cut(size));
            assert!(matches!(result, Outcome::Error | Outcome::Same), "{size}: {result:?}");
        }
        let start = bytes.len() - 1024 - blocks(true).concat().len();
        for (at, mask) in (0..start)
            .step_by(3)
            .chain(start..bytes.len())
            .flat_map(|at| [1, 0x20, 0x80].map(|mask| (at, mask)))
        {
            let result = result(bent.changed(at, mask));
            assert_ne!(result, Outcome::Silent, "{at} {mask}");
        }
    }
}

#[test]
fn the_hashes_are_those_of_their_specifications() {
    // XXH64 with the seed 0, of nothing and of `abc`: the specification's own values.
    assert_eq!(XxHash64::oneshot(0, b""), 0xEF46_DB37_51D8_E999);
    assert_eq!(XxHash64::oneshot(0, b"abc"), 0x44BC_2CF5_AD77_0999);
}
