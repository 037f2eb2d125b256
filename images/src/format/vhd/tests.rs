use super::testing::{VhdBuilder, put_checksum, utf16_le};
use super::*;
use crate::hostile::{Bent, Outcome, outcome};
use crate::testing::{Files, context, read};
use volfold_block::ExtentKind;

const BLOCK: usize = 16 << 10;
const SIZE: usize = 4 * BLOCK - 512;

/// A base with two blocks, and the disk that it holds.
fn base() -> (VhdBuilder, Vec<u8>) {
    let mut disk = vec![0; SIZE];
    let mut base = VhdBuilder::new(SIZE as u64, BLOCK);
    for (at, length, byte) in [(3 * BLOCK, BLOCK - 512, 3), (0, BLOCK, 1), (512, 1024, 2)] {
        base.write(at, &vec![byte; length]);
        disk[at..at + length].fill(byte);
    }
    (base, disk)
}

/// A snapshot of it, and its disk.
fn child() -> (VhdBuilder, Vec<u8>) {
    let (base, mut disk) = base();
    let mut child = VhdBuilder::over(&base, "base.vhd", 2);
    for (at, length, byte) in [(BLOCK + 1024, 512, 7), (4096, 3 * 512, 8), (2 * BLOCK, BLOCK, 9)] {
        child.write(at, &vec![byte; length]);
        disk[at..at + length].fill(byte);
    }
    (child, disk)
}

#[track_caller]
fn check(files: &Files, name: &str, disk: &[u8]) -> DiskImage {
    let image = files.open(name).unwrap();
    assert_eq!(image.device.size(), disk.len() as u64);
    assert!(read(&*image.device, 0, disk.len()).unwrap() == disk);
    for at in 0..disk.len() / 512 - 1 {
        assert!(
            read(&*image.device, at as u64 * 512 + 9, 600 - 9).unwrap()[..]
                == disk[at * 512 + 9..][..591]
        );
    }
    image
}

fn codes(image: &DiskImage) -> Vec<&'static str> {
    image.log.all().iter().map(|finding| finding.code.as_str()).collect()
}

#[test]
fn blocks_are_where_the_table_says() {
    let (base, disk) = base();
    let files = Files::default().with("a.vhd", base.build());
    let image = check(&files, "a.vhd", &disk);
    assert_eq!((image.format, image.variant.as_deref()), ("vhd", Some("dynamic")));
    assert!(codes(&image).is_empty());
    let hole = image.device.extent_at(BLOCK as u64).unwrap();
    assert_eq!((hole.kind, hole.length), (ExtentKind::Zero, 2 * BLOCK as u64));
}

#[test]
fn a_fixed_image_is_what_comes_before_its_footer() {
    let disk = base().1;
    let builder = VhdBuilder::new(SIZE as u64, BLOCK);
    let good = builder.clone().fixed(&disk);
    let image = check(&Files::default().with("a.vhd", &good[..]), "a.vhd", &disk);
    assert_eq!((image.variant.as_deref(), codes(&image).len()), (Some("fixed"), 0));
    // A footer of Virtual PC before 2004.
    let files = Files::default().with("a.vhd", &good[..good.len() - 1]);
    check(&files, "a.vhd", &disk);
    // The sector that a guest wrote is no copy of the footer.
    let mut nested = disk.clone();
    nested[..512].copy_from_slice(&VhdBuilder::new(512, 512).footer());
    check(&Files::default().with("a.vhd", builder.clone().fixed(&nested)), "a.vhd", &nested);
    // Nor is the mark of another format.
    nested[0x40..0x44].copy_from_slice(&0xBEDA_107F_u32.to_le_bytes());
    check(&Files::default().with("a.vhd", builder.clone().fixed(&nested)), "a.vhd", &nested);
    // A file with less, and one with more than the footer tells.
    for (length, is_short) in [(SIZE - 1024, true), (SIZE + 512, false)] {
        let mut bytes = disk.clone();
        bytes.resize(length, 4);
        let image = Files::default().with("a.vhd", builder.clone().fixed(&bytes));
        let image = image.open("a.vhd").unwrap();
        assert_eq!((codes(&image), image.device.size()), (vec!["vhd-sizes-differ"], SIZE as u64));
        let last = read(&*image.device, SIZE as u64 - 512, 512);
        assert_eq!(last.is_err(), is_short);
        if let Err(error) = last {
            assert!(error.message().starts_with("file ends early, after "), "{error}");
        }
    }
}

#[test]
fn the_creator_decides_whether_the_size_is_that_of_the_geometry() {
    // 3 * 2 * 20 sectors, of 124 and more that the size has.
    let by_geometry = 3 * 2 * 20 * 512;
    for (creator, geometry, size) in [
        (b"vpc ", [0, 3, 2, 20], by_geometry),
        (b"vs  ", [0, 3, 2, 20], by_geometry),
        (b"qemu", [0, 3, 2, 20], by_geometry),
        (b"qem2", [0, 3, 2, 20], SIZE),
        (b"win ", [0, 3, 2, 20], SIZE),
        (b"d2v ", [0, 3, 2, 20], SIZE),
        (b"tap\0", [0, 3, 2, 20], SIZE),
        (b"CTXS", [0, 3, 2, 20], SIZE),
        (b"vbox", [0, 3, 2, 20], SIZE),
        (b"vpc ", [0, 0, 2, 20], SIZE),
        (b"vpc ", [0, 3, 2, 22], SIZE),
        (b"vpc ", [0xFF, 0xFF, 16, 255], SIZE),
    ] {
        let (mut base, disk) = base();
        (base.creator, base.geometry) = (*creator, geometry);
        let image = check(&Files::default().with("a.vhd", base.build()), "a.vhd", &disk[..size]);
        let told = codes(&image) == ["vhd-size-by-geometry"];
        assert_eq!(told, size < SIZE, "{creator:?} {geometry:?}");
    }
}

#[test]
fn a_bitmap_of_a_dynamic_image_counts_if_it_was_kept() {
    let (mut base, mut disk) = base();
    // The sector was never written, whatever is there.
    base.blocks.get_mut(&0).unwrap().0[0] = 0xFE;
    disk[7 * 512..8 * 512].fill(0);
    let image = check(&Files::default().with("a.vhd", base.build()), "a.vhd", &disk);
    assert_eq!(image.device.extent_at(7 * 512).unwrap().length, 512);
    // A writer that sets no bits wrote all the same.
    base.blocks.get_mut(&0).unwrap().0.fill(0);
    disk[7 * 512..8 * 512].fill(1);
    check(&Files::default().with("a.vhd", base.build()), "a.vhd", &disk);
}

#[test]
fn what_a_snapshot_does_not_have_is_its_parents() {
    let (child, disk) = child();
    let files = Files::default().with("base.vhd", base().0.build()).with("c.avhd", child.build());
    let image = check(&files, "c.avhd", &disk);
    assert_eq!(image.chain, ["c.avhd", "base.vhd"]);
    assert_eq!(image.variant.as_deref(), Some("differencing"));
    // Known by its id alone.
    let files = Files::default().with("old.vhd", base().0.build()).with("c.avhd", child.build());
    assert_eq!(check(&files, "c.avhd", &disk).chain, ["c.avhd", "old.vhd"]);
    let lineage = Vhd.lineage(&files.located("c.avhd")).unwrap().unwrap();
    let base_lineage = Vhd.lineage(&files.located("old.vhd")).unwrap().unwrap();
    assert!(lineage.is_child_of("old.vhd", &base_lineage) && lineage.parent_was_beside);
    assert!(!base_lineage.is_child_of("c.avhd", &lineage));
}

#[test]
fn every_way_to_name_the_parent_is_followed() {
    let wide = utf16_le("./p.vhd");
    for (code, name) in [
        (b"W2ru", wide.clone()),
        (b"W2ku", utf16_le("p.vhd\0rest")),
        (b"Wi2r", b"p.vhd\0".to_vec()),
        (b"Wi2k", b"p.vhd".to_vec()),
        (b"MacX", b"file://localhost/p%2Evhd".to_vec()),
    ] {
        let (mut child, _) = child();
        child.locators = vec![(*b"Mac ", vec![1; 40]), (*code, name)];
        child.parent_name = String::new();
        let footer = Footer::read(&volfold_block::MemoryDevice::new(child.build())).unwrap();
        let header =
            Header::read(&volfold_block::MemoryDevice::new(child.build()), &footer).unwrap();
        assert_eq!(header.parent_names.len(), 1);
        assert!(header.parent_names[0].ends_with("p.vhd"), "{:?}", header.parent_names);
    }
    let (mut child, disk) = child();
    child.locators = vec![(*b"W2ru", wide)];
    let files = Files::default().with("./p.vhd", base().0.build()).with("c.vhd", child.build());
    assert_eq!(check(&files, "c.vhd", &disk).chain, ["c.vhd", "./p.vhd"]);
    child.locators.clear();
    child.parent_name = "./p.vhd".to_owned();
    let files = files.with("c.vhd", child.build());
    assert_eq!(check(&files, "c.vhd", &disk).chain, ["c.vhd", "./p.vhd"]);
}

#[test]
fn a_parent_that_is_another_disk_or_missing_is_an_error() {
    use BlockErrorKind::{Corrupt, MissingPart};
    let files = Files::default().with("c.vhd", child().0.build());
    let error = files.error("c.vhd");
    let sentence = "parent base.vhd is missing; put it beside the image, or allow its folder with \
                    --allow-path";
    assert_eq!((error.0, error.2.as_str()), (MissingPart, sentence));
    let (mut other, _) = base();
    other.uuid = [9; 16];
    let (mut named, _) = child();
    named.parent_name = "base.vhd".to_owned();
    named.locators.clear();
    let files = files.with("c.vhd", named.build()).with("base.vhd", other.build());
    let error = files.error("c.vhd");
    assert_eq!(error.0, Corrupt);
    assert!(error.2.starts_with("parent base.vhd: has the UUID 09090909-"), "{}", error.2);
    // Two that are each other's parents.
    let (mut a, _) = child();
    (a.uuid, a.parent) = ([1; 16], [2; 16]);
    let files = Files::default().with("a.vhd", a.build()).with("b.vhd", child().0.build());
    assert!(files.error("a.vhd").2.ends_with("is also a child of this image"));
    let (mut orphan, _) = child();
    orphan.parent = [0; 16];
    let error = Files::default().with("a.vhd", orphan.build()).error("a.vhd");
    assert_eq!((error.0, error.1), (Corrupt, Some(512 + 0x28)));
}

#[test]
fn the_copy_of_the_footer_is_used_where_the_footer_is_damaged() {
    let (base, disk) = base();
    let good = base.build();
    let end = good.len() - 512;
    let open =
        |bytes: Vec<u8>| codes(&check(&Files::default().with("a.vhd", bytes), "a.vhd", &disk));
    let change = |at: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[at] = byte;
        bytes
    };
    assert_eq!(open(good[..end].to_vec()), ["vhd-footer-damaged"]);
    assert_eq!(open(change(end + 0x36, 1)), ["vhd-footer-damaged"]);
    assert_eq!(open(change(end, b'C')), ["vhd-footer-damaged"]);
    assert_eq!(open(change(0x36, 1)), ["vhd-footer-copy"]);
    assert_eq!(open([vec![0; 512], good[512..].to_vec()].concat()), ["vhd-footer-copy"]);
    // Both: the footer itself is used as it is, and so is a header.
    let mut bytes = change(0x40, 1);
    bytes[end + 0x40] = 1;
    assert_eq!(open(bytes), ["vhd-checksum"]);
    assert_eq!(open(change(512 + 0x24, 1)), ["vhd-checksum"]);
    let mut other = base.clone();
    other.uuid = [8; 16];
    let bytes = [other.footer(), good[512..].to_vec()].concat();
    assert_eq!(open(bytes), ["vhd-footers-differ"]);
}

#[test]
fn headers_that_cannot_be_are_refused() {
    use BlockErrorKind::{Corrupt, Unsupported};
    let good = child().0.build();
    let end = good.len() - 512;
    for (at, value, kind, sentence) in [
        (end + 0x0C, 0x0002_0001, Unsupported, "VHD of version 2.1 is not read; 1.x is"),
        (end + 0x3C, 6, Corrupt, "VHD footer has the unknown type 6"),
        (end + 0x34, 0, Corrupt, "VHD footer has the size 0"),
        (end + 0x30, 1, Corrupt, "VHD has 4 table entries for a disk of 4295032320 bytes"),
        (end + 0x14, 0x7FFF_0000, Corrupt, "VHD dynamic header is not in the file"),
        (end + 0x14, 1024, Corrupt, "VHD dynamic header has another cookie"),
        (
            512 + 0x18,
            0x0002_0000,
            Unsupported,
            "VHD dynamic header of version 2.0 is not read; 1.x is",
        ),
        (512 + 0x10, 1, Corrupt, "VHD block allocation table is not in the file"),
        (512 + 0x1C, 3, Corrupt, "VHD has 3 table entries for a disk of 65024 bytes"),
        (512 + 0x20, 0x2001, Corrupt, "VHD has blocks of 8193 bytes"),
        (512 + 0x20, 256, Corrupt, "VHD has blocks of 256 bytes"),
        (512 + 0x20, 1 << 29, Corrupt, "VHD has blocks of 536870912 bytes"),
    ] {
        let mut bytes = good.clone();
        bytes[at..at + 4].copy_from_slice(&u32::to_be_bytes(value));
        put_checksum(&mut bytes[end..], 0x40);
        let error = Files::default().with("a.vhd", bytes).error("a.vhd");
        assert_eq!((error.0, error.2.as_str()), (kind, sentence));
    }
    let file = Files::default().with("a.vhd", vec![0; 4096]).located("a.vhd");
    assert_eq!(Vhd.open(&file, &context()).err().unwrap().message(), "VHD has no footer");
}

#[test]
fn blocks_at_impossible_places_are_errors_and_harm_no_other() {
    let (base, disk) = base();
    let good = base.build();
    for (sector, sentence) in [
        (0_u32, "block lies in the header"),
        (3, "block lies in the block allocation table"),
        (0xFFFF_FFFE, "block lies past the end of the file"),
        (u32::try_from(good.len() / 512 - 2).unwrap(), "block lies past the end of the file"),
    ] {
        let mut bytes = good.clone();
        bytes[1536..1540].copy_from_slice(&sector.to_be_bytes());
        let image = Files::default().with("a.vhd", bytes).open("a.vhd").unwrap();
        let error = read(&*image.device, 0, 1).and(read(&*image.device, 512, 512)).unwrap_err();
        assert_eq!((error.kind(), error.message()), (BlockErrorKind::Corrupt, sentence));
        assert!(read(&*image.device, BLOCK as u64, SIZE - BLOCK).unwrap() == disk[BLOCK..]);
    }
}

#[test]
fn no_damage_ends_in_other_bytes_without_a_word() {
    let (base, base_disk) = base();
    let (child, child_disk) = child();
    let fixed = base.clone().fixed(&base_disk);
    let files = Files::default().with("base.vhd", base.build());
    for (name, bytes, disk, protected) in [
        ("a.vhd", base.build(), &base_disk, 0..1536),
        ("c.vhd", child.build(), &child_disk, 0..1536),
        ("f.vhd", fixed, &base_disk, 0..0),
    ] {
        let whole = Bent::new(&bytes);
        assert_eq!(outcome(&Vhd, &files, name, whole.clone(), disk), Outcome::Same);
        for size in (0..bytes.len()).step_by(512) {
            let found = outcome(&Vhd, &files, name, whole.cut(size), disk);
            assert!(found != Outcome::Silent, "{name} cut at {size}");
        }
        let footer = bytes.len() - 512..bytes.len();
        for at in protected.chain(footer) {
            for mask in [1, 0x80, 0xFF] {
                let found = outcome(&Vhd, &files, name, whole.changed(at, mask), disk);
                assert!(found != Outcome::Silent, "{name} with another byte at {at:#x}");
            }
        }
        // Nothing protects tables, names and bitmaps; all that counts is that it ends.
        let tables = 1536..bytes.len().min(5000);
        for at in tables {
            for mask in [1, 0x80, 0xFF] {
                outcome(&Vhd, &files, name, whole.changed(at, mask), disk);
            }
        }
    }
}
