use super::testing::{
    BAT_AT, BLOCKS_AT, METADATA_AT, VhdxBuilder, put, put_checksum, regions, written,
};
use super::*;
use crate::testing::{Files, read};
use volfold_block::ExtentKind;

pub(super) const BLOCK: usize = 1 << 20;
const SIZE: usize = 4 * BLOCK;

/// A base with two blocks, and the disk that it holds.
pub(super) fn base() -> (VhdxBuilder, Vec<u8>) {
    let mut disk = vec![0; SIZE];
    let mut base = VhdxBuilder::new(SIZE as u64, BLOCK);
    for (at, length, byte) in [(3 * BLOCK, BLOCK, 3), (0, BLOCK, 1), (512, 1024, 2)] {
        base.write(at, &vec![byte; length]);
        disk[at..at + length].fill(byte);
    }
    (base, disk)
}

/// A snapshot of it, and its disk.
pub(super) fn child() -> (VhdxBuilder, Vec<u8>) {
    let (base, mut disk) = base();
    let mut child = VhdxBuilder::over(&base, "base.vhdx", 0x44);
    // One sector of a hole, three of a block, one whole block.
    for (at, length, byte) in [(BLOCK + 1024, 512, 7), (4096, 3 * 512, 8), (2 * BLOCK, BLOCK, 9)] {
        child.write(at, &vec![byte; length]);
        disk[at..at + length].fill(byte);
    }
    // And one that was zeroed.
    child.states.insert(3, 2);
    disk[3 * BLOCK..].fill(0);
    (child, disk)
}

#[track_caller]
pub(super) fn check(files: &Files, name: &str, disk: &[u8]) -> DiskImage {
    let image = files.open(name).unwrap();
    assert_eq!(image.device.size(), disk.len() as u64);
    assert!(read(&*image.device, 0, disk.len()).unwrap() == disk);
    for at in (0..disk.len() - 700).step_by(7 * 512) {
        assert!(read(&*image.device, at as u64 + 9, 600).unwrap() == disk[at + 9..at + 609]);
    }
    image
}

pub(super) fn codes(image: &DiskImage) -> Vec<&'static str> {
    image.log.all().iter().map(|finding| finding.code.as_str()).collect()
}

#[test]
fn blocks_are_where_the_table_says() {
    let (mut base, disk) = base();
    base.states.extend([(1, 3), (2, 1)]);
    let image = check(&Files::default().with("a.vhdx", base.build()), "a.vhdx", &disk);
    assert_eq!((image.format, image.variant.as_deref()), ("vhdx", Some("dynamic")));
    assert!(codes(&image).is_empty());
    let hole = image.device.extent_at(BLOCK as u64).unwrap();
    assert_eq!((hole.kind, hole.length), (ExtentKind::Zero, 2 * BLOCK as u64));
    base.is_fixed = true;
    let image = check(&Files::default().with("a.vhdx", base.build()), "a.vhdx", &disk);
    assert_eq!(image.variant.as_deref(), Some("fixed"));
}

#[test]
fn the_entries_of_bitmaps_stand_between_those_of_blocks() {
    // A chunk of sectors of 512 bytes is 4 GiB, and has 16 blocks of 256 MiB.
    let mut builder = VhdxBuilder::new(9 << 30, 256 << 20);
    builder.states.insert(16, 2);
    let mut bytes = builder.build();
    let at = BLOCKS_AT as u64;
    bytes.resize(BLOCKS_AT, 0);
    bytes.extend(vec![5; BLOCK]);
    for block in [15, 17, 35] {
        put(&mut bytes, builder.entry_at(block), &(at | 6).to_le_bytes());
    }
    // The entry of the first bitmap.
    put(&mut bytes, BAT_AT + 16 * 8, &0xFFFF_FFFF_u64.to_le_bytes());
    let image = Files::default().with("a.vhdx", bytes).open("a.vhdx").unwrap();
    for (block, byte) in [(14, 0), (15, 5), (16, 0), (17, 5), (18, 0), (34, 0), (35, 5)] {
        let seen = read(&*image.device, block * (256 << 20), 512).unwrap();
        assert_eq!(seen, [byte; 512], "{block}");
    }
    let error = read(&*image.device, 15 * (256 << 20) + BLOCK as u64, 1).unwrap_err();
    assert_eq!(error.message(), "VHDX block lies past the end of the file");
}

#[test]
fn a_disk_of_the_greatest_size_opens() {
    let builder = VhdxBuilder::new(64 << 40, 32 << 20);
    let mut table = regions();
    // Its table has 16 MiB and more.
    put(&mut table, 0x28, &(17_u32 << 20).to_le_bytes());
    put(&mut table, 0x20, &(16_u64 << 20).to_le_bytes());
    put_checksum(&mut table, 4);
    let mut bytes = builder.build();
    put(&mut bytes, 192 << 10, &table);
    put(&mut bytes, 256 << 10, &table);
    bytes.resize(33 << 20, 0);
    let image = Files::default().with("a.vhdx", bytes).open("a.vhdx").unwrap();
    assert_eq!(read(&*image.device, (64 << 40) - 512, 512).unwrap(), [0; 512]);
}

#[test]
fn what_a_snapshot_does_not_have_is_its_parents() {
    let (child, disk) = child();
    for sector in [512, 4096] {
        let (mut base, mut child, mut disk) = (base().0, child.clone(), disk.clone());
        if sector == 4096 {
            base.sector_size = sector;
            child = VhdxBuilder::over(&base, "base.vhdx", 0x44);
            disk = self::base().1;
            child.write(2 * BLOCK + 8192, &[6; 4096]);
            disk[2 * BLOCK + 8192..2 * BLOCK + 12288].fill(6);
        }
        let base_bytes = base.build();
        let files = Files::default().with("base.vhdx", &base_bytes[..]);
        let files = files.with("c.avhdx", child.build());
        let image = check(&files, "c.avhdx", &disk);
        assert_eq!(image.chain, ["c.avhdx", "base.vhdx"]);
        assert_eq!(image.variant.as_deref(), Some("differencing"));
        // Known by its id alone.
        let files = Files::default().with("old.vhdx", base_bytes).with("c.avhdx", child.build());
        let image = check(&files, "c.avhdx", &disk);
        assert_eq!(image.chain, ["c.avhdx", "old.vhdx"]);
        assert_eq!(image.device.sector_size() as usize, sector);
        let lineage = Vhdx.lineage(&files.located("c.avhdx")).unwrap().unwrap();
        let base = Vhdx.lineage(&files.located("old.vhdx")).unwrap().unwrap();
        assert!(lineage.is_child_of("old.vhdx", &base) && lineage.parent_was_beside);
        assert!(!base.is_child_of("c.avhdx", &lineage));
    }
}

#[test]
fn a_parent_that_was_written_to_or_is_missing_is_an_error() {
    use BlockErrorKind::{Corrupt, MissingPart};
    let files = Files::default().with("c.vhdx", child().0.build());
    let error = files.error("c.vhdx");
    let sentence = "parent base.vhdx is missing; put it beside the image, or allow its folder with \
                    --allow-path";
    assert_eq!((error.0, error.2.as_str()), (MissingPart, sentence));
    let mut changed = base().0;
    changed.data_write = [9; 16];
    let mut named = child().0;
    named.parent = Some(vec![
        ("parent_linkage".to_owned(), written([0x11; 16])),
        ("relative_path".to_owned(), "base.vhdx".to_owned()),
    ]);
    let files = files.with("c.vhdx", named.build()).with("base.vhdx", changed.build());
    let error = files.error("c.vhdx");
    assert_eq!(error.0, Corrupt);
    let sentence =
        "parent base.vhdx: was changed after the snapshot: its data write GUID is 09090909-";
    assert!(error.2.starts_with(sentence), "{}", error.2);
    // The second id counts, too.
    named.parent.as_mut().unwrap().push(("parent_linkage2".to_owned(), written([9; 16])));
    assert!(files.clone().with("c.vhdx", named.build()).open("c.vhdx").is_ok());
    let mut other = base().0;
    other.sector_size = 4096;
    let error = files.clone().with("base.vhdx", other.build()).error("c.vhdx");
    assert_eq!(error.2, "image has sectors of 512 bytes, and its parent of 4096");
    for (pairs, sentence) in [
        (vec![], "VHDX is a snapshot and does not tell its parent's id"),
        (
            vec![("parent_linkage".to_owned(), "base".to_owned())],
            "VHDX parent locator has an id that is no GUID",
        ),
    ] {
        named.parent = Some(pairs);
        assert_eq!(files.clone().with("c.vhdx", named.build()).error("c.vhdx").2, sentence);
    }
}

#[test]
fn the_newer_header_holds_and_a_damaged_one_is_told() {
    let (base, disk) = base();
    let good = base.build();
    let open = |bytes: Vec<u8>| Files::default().with("a.vhdx", bytes).open("a.vhdx");
    let change = |places: &[usize]| {
        let mut bytes = good.clone();
        places.iter().for_each(|at| bytes[*at] ^= 1);
        bytes
    };
    for (places, code) in [
        (&[64 << 10][..], "vhdx-header-damaged"),
        (&[(128 << 10) + 4000], "vhdx-header-damaged"),
        (&[(192 << 10) + 5], "vhdx-region-table-damaged"),
        (&[(256 << 10) + 60000], "vhdx-region-table-damaged"),
        (&[3], "vhdx-identifier-damaged"),
    ] {
        let files = Files::default().with("a.vhdx", change(places));
        assert_eq!(codes(&check(&files, "a.vhdx", &disk)), [code]);
    }
    let both = open(change(&[(64 << 10) + 9, (128 << 10) + 9])).err().unwrap();
    assert_eq!(
        (both.position(), both.message()),
        (Some((64 << 10) + 4), "VHDX header has a wrong checksum")
    );
    let both = open(change(&[(192 << 10) + 9, (256 << 10) + 9])).err().unwrap();
    assert_eq!(both.message(), "VHDX region table has a wrong checksum");
    // One number, and different headers.
    let mut bytes = good.clone();
    let mut other = base.clone();
    other.data_write = [0x99; 16];
    put(&mut bytes, 64 << 10, &other.header(8));
    assert_eq!(
        open(bytes).err().unwrap().message(),
        "VHDX headers differ and have one sequence number"
    );
    let mut bytes = good.clone();
    put(&mut bytes, 64 << 10, &base.header(8));
    assert!(open(bytes).is_ok());
    // The newer one is of an image in use.
    let mut bytes = good;
    other.log = Some(([0x77; 16], Vec::new()));
    put(&mut bytes, 64 << 10, &other.header(9));
    let sentence = "VHDX log is not empty and has no valid sequence of entries";
    assert_eq!(open(bytes).err().unwrap().message(), sentence);
}

#[test]
fn what_cannot_be_or_is_not_known_is_refused() {
    use BlockErrorKind::{Corrupt, Unsupported};
    let good = base().0.build();
    let item = METADATA_AT + (64 << 10);
    for (at, value, kind, sentence) in [
        (METADATA_AT, 0, Corrupt, "VHDX metadata table has another signature"),
        (METADATA_AT + 0x0A, 3000, Corrupt, "VHDX metadata table has 3000 entries"),
        (METADATA_AT + 0x0A, 1, Corrupt, "VHDX has no logical sector size"),
        (item, 3 << 20, Corrupt, "VHDX has blocks of 3145728 bytes"),
        (item, 1 << 19, Corrupt, "VHDX has blocks of 524288 bytes"),
        (item + 4, 2, Corrupt, "VHDX has no parent locator and is a snapshot"),
        (item + 8, 513, Corrupt, "VHDX has a disk of 513 bytes"),
        (item + 12, 1 << 30, Corrupt, "VHDX has a disk of 4611686018431582208 bytes"),
        (item + 32, 520, Corrupt, "VHDX has sectors of 520 bytes"),
        (
            item + 13,
            1,
            Corrupt,
            "VHDX block allocation table has 1048576 bytes, and the disk needs",
        ),
        (
            METADATA_AT + 0x30,
            5,
            Corrupt,
            "VHDX metadata {caa16737-fa36-4d43-b3b6-33f0aa44e76b} has an imp",
        ),
        (
            METADATA_AT + 0x34,
            2 << 20,
            Corrupt,
            "VHDX metadata {caa16737-fa36-4d43-b3b6-33f0aa44e76b} has",
        ),
        (
            METADATA_AT + 0x20,
            1,
            Unsupported,
            "VHDX needs the metadata {00000001-fa36-4d43-b3b6-33f0aa44",
        ),
    ] {
        let mut bytes = good.clone();
        put(&mut bytes, at, &u32::to_le_bytes(value));
        let error = Files::default().with("a.vhdx", bytes).error("a.vhdx");
        assert_eq!(error.0, kind, "{}", error.2);
        assert!(error.2.starts_with(sentence), "{}", error.2);
    }
}

#[test]
fn regions_and_headers_that_cannot_be_are_refused() {
    use BlockErrorKind::{Corrupt, Unsupported};
    let good = base().0.build();
    for (at, value, kind, sentence) in [
        (0x08, 3000_u32, Corrupt, "VHDX region table has 3000 entries"),
        (0x08, 1, Corrupt, "VHDX region table does not name the metadata"),
        (0x10, 1, Unsupported, "VHDX needs the region {00000001-f623-4200-9d64-115e9bfd4a08}"),
        (
            0x20,
            4096,
            Corrupt,
            "VHDX region {2dc27766-f623-4200-9d64-115e9bfd4a08} has an impossible",
        ),
        (0x28, 0, Corrupt, "VHDX region {2dc27766-f623-4200-9d64-115e9bfd4a08} has an impossible"),
        (0x20, 2 << 20, Corrupt, "VHDX regions overlap"),
        (0x20, 1 << 30, Corrupt, "VHDX region is not in the file"),
    ] {
        let mut table = regions();
        put(&mut table, at, &value.to_le_bytes());
        put_checksum(&mut table, 4);
        let mut bytes = good.clone();
        put(&mut bytes, 192 << 10, &table);
        let error = Files::default().with("a.vhdx", bytes).error("a.vhdx");
        assert_eq!(error.0, kind, "{}", error.2);
        assert!(error.2.starts_with(sentence), "{}", error.2);
    }
    for (at, value, sentence) in [
        (0x42, 2_u32, "VHDX of version 2 is not read; 1 is"),
        (0x40, 0x0001_0001, "VHDX log of version 1 is not read; 0 is"),
        (0x44, 5, "VHDX header tells of a log at an impossible place"),
        (0x44, 0, "VHDX header tells of a log at an impossible place"),
    ] {
        let mut used = base().0;
        used.log = Some(([0x77; 16], Vec::new()));
        let mut bytes = used.build();
        for copy in [64 << 10, 128 << 10] {
            put(&mut bytes, copy + at, &value.to_le_bytes());
            put_checksum(&mut bytes[copy..copy + 4096], 4);
        }
        assert_eq!(Files::default().with("a.vhdx", bytes).error("a.vhdx").2, sentence);
    }
}

#[test]
fn blocks_that_cannot_be_are_errors_and_harm_no_other() {
    let (base, disk) = base();
    let good = base.build();
    for (entry, sentence) in [
        (6_u64, "VHDX block lies in the header or a region"),
        (METADATA_AT as u64 | 6, "VHDX block lies in the header or a region"),
        (BAT_AT as u64 | 7, "VHDX block lies in the header or a region"),
        (u64::MAX - 1, "VHDX block lies in the header or a region"),
        (BLOCKS_AT as u64 | 7, "VHDX block is partially present, and there is no parent"),
        (BLOCKS_AT as u64 | 5, "VHDX block has an unknown state"),
        (1 << 40 | 6, "VHDX block lies past the end of the file"),
    ] {
        let mut bytes = good.clone();
        put(&mut bytes, BAT_AT, &entry.to_le_bytes());
        let image = Files::default().with("a.vhdx", bytes).open("a.vhdx").unwrap();
        let error = read(&*image.device, 0, 1).unwrap_err();
        assert_eq!((error.kind(), error.message()), (BlockErrorKind::Corrupt, sentence));
        assert!(read(&*image.device, BLOCK as u64, SIZE - BLOCK).unwrap() == disk[BLOCK..]);
    }
    let (child, _) = child();
    let mut bytes = child.build();
    put(&mut bytes, BAT_AT + 4096 * 8, &[0; 8]);
    let files = Files::default().with("base.vhdx", good).with("c.vhdx", bytes);
    let image = files.open("c.vhdx").unwrap();
    let error = read(&*image.device, 0, 1).unwrap_err();
    assert_eq!(error.message(), "VHDX block is partially present, and has no sector bitmap");
}
