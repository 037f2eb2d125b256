use std::ops::Range;

use super::*;
use crate::hostile::{Bent, Outcome, outcome};
use crate::testing::{Files, converted_by_qemu, read};
use volfold_block::{BlockErrorKind, ExtentKind};

/// Clusters of 3 sectors: no power of two.
const CLUSTER: usize = 3 * 512;

/// An image whose BAT has `entries`, and whose data, from 512 on, are clusters of these bytes. The
/// second form begins its data at a cluster.
fn image(is_ext: bool, entries: &[u32], clusters: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; 64];
    bytes[..16].copy_from_slice(if is_ext { MAGIC_EXT } else { MAGIC });
    let mut put = |at: usize, value: u32| {
        bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
    };
    put(0x10, 2);
    put(0x1C, 3);
    put(0x20, u32::try_from(entries.len()).unwrap());
    put(0x24, u32::try_from(entries.len() * 3).unwrap());
    put(0x2C, CLOSED);
    put(0x30, if is_ext { 3 } else { 1 });
    bytes.extend(entries.iter().flat_map(|entry| entry.to_le_bytes()));
    bytes.resize(if is_ext { CLUSTER } else { 512 }, 0);
    bytes.extend(clusters.iter().flat_map(|byte| [*byte; CLUSTER]));
    bytes
}

/// The first byte of each cluster, or why it cannot be read.
fn seen(image: &DiskImage) -> Vec<Result<u8, String>> {
    let clusters = image.device.size() / CLUSTER as u64;
    let one = |cluster| read(&*image.device, cluster * CLUSTER as u64, CLUSTER);
    let one = |cluster| one(cluster).map(|bytes| bytes[0]).map_err(|e| e.message().to_owned());
    (0..clusters).map(one).collect()
}

#[test]
fn clusters_are_where_the_bat_says_in_the_units_of_its_form() {
    let files = Files::default()
        .with("old.hdd", image(false, &[4, 0, 1, 7], &[5, 6]))
        .with("new.hdd", image(true, &[2, 0, 1, 3], &[5, 6]))
        .with("head.hdd", image(true, &[0x4000_0000, 0, 1, u32::MAX], &[5]));
    for (name, variant) in [("old.hdd", "expanding"), ("new.hdd", "extended")] {
        let image = files.open(name).unwrap();
        assert_eq!((image.format, image.variant.as_deref()), ("parallels", Some(variant)));
        let behind = Err("cluster lies behind the end of the file".to_owned());
        assert_eq!(seen(&image), [Ok(6), Ok(0), Ok(5), behind]);
        let hole = image.device.extent_at(CLUSTER as u64).unwrap();
        assert_eq!((hole.kind, hole.length), (ExtentKind::Zero, CLUSTER as u64));
        assert!(image.log.all().is_empty());
    }
    assert_eq!(seen(&files.open("head.hdd").unwrap())[2], Ok(5));
    let low = Files::default().with("a.hdd", image(false, &[2], &[]));
    let mut bytes = image(false, &[1], &[5, 6]);
    bytes[0x30] = 2;
    assert!(seen(&low.open("a.hdd").unwrap())[0].is_err());
    let image = Files::default().with("a.hdd", bytes).open("a.hdd").unwrap();
    assert_eq!(seen(&image), [Err("cluster lies before the data".to_owned())]);
}

#[test]
fn qemu_reads_the_same_of_both_forms() {
    let mut odd = image(false, &[4, 0, 1, 7], &[5, 6, 7]);
    odd[0x24..0x28].copy_from_slice(&11_u32.to_le_bytes());
    let mut no_data_offset = image(false, &[1, 4], &[5, 6]);
    no_data_offset[0x30] = 0;
    let new = image(true, &[2, 0, 1, 0, 3], &[5, 6, 7]);
    for bytes in [odd, no_data_offset, new] {
        let image = Files::default().with("a.hdd", bytes.clone()).open("a.hdd").unwrap();
        let size = usize::try_from(image.device.size()).unwrap();
        let Some(wanted) = converted_by_qemu(&[("a.hdd", bytes)], "a.hdd", "parallels") else {
            return;
        };
        assert!(read(&*image.device, 0, size).unwrap() == wanted);
    }
}

#[test]
fn neighbours_are_one_piece_and_a_last_cluster_may_end_with_the_file() {
    let mut bytes = image(false, &[1, 4, 7], &[5, 6, 7]);
    bytes[0x24..0x28].copy_from_slice(&7_u32.to_le_bytes());
    bytes.truncate(512 + 2 * CLUSTER + 512);
    let image = Files::default().with("a.hdd", bytes.clone()).open("a.hdd").unwrap();
    assert_eq!(image.device.size(), 7 * 512);
    assert_eq!(read(&*image.device, 0, 7 * 512).unwrap(), bytes[512..]);
    assert_eq!(image.device.extent_at(0).unwrap().length, 7 * 512);
}

#[test]
fn an_image_that_was_not_closed_says_so() {
    for (in_use, told) in [(0_u32, false), (CLOSED, false), (0x746F_6E59, true), (1, true)] {
        let mut bytes = image(false, &[1], &[5]);
        bytes[0x2C..0x30].copy_from_slice(&in_use.to_le_bytes());
        let notes = Files::default().with("a.hdd", bytes).open("a.hdd").unwrap().log.all();
        assert_eq!(notes.iter().any(|note| note.code == code::PARALLELS_IN_USE), told);
    }
}

#[test]
fn headers_that_cannot_be_are_refused() {
    let max = 0xFFFF_FFFF_u32;
    for (is_ext, at, value, sentence) in [
        (false, 0x0C, 0, "Parallels header has another magic number"),
        (false, 0x10, 3, "Parallels image of version 3 is not read; 2 is"),
        (false, 0x1C, 0, "Parallels header has clusters of 0 sectors"),
        (false, 0x1C, max, "Parallels header has clusters of 4294967295 sectors"),
        (false, 0x20, 0, "Parallels header has 0 clusters of 3 sectors for a disk of 6 sectors"),
        (false, 0x20, max, "Parallels BAT is not in the file"),
        (false, 0x24, 7, "Parallels header has 2 clusters of 3 sectors for a disk of 7 sectors"),
        (false, 0x24, 0, "Parallels header has 2 clusters of 3 sectors for a disk of 0 sectors"),
        (
            true,
            0x28,
            1,
            "Parallels header has 2 clusters of 3 sectors for a disk of 4294967302 sectors",
        ),
        (true, 0x30, 0, "Parallels data begin before the end of the BAT"),
    ] {
        let mut bytes = image(is_ext, &[1, 0], &[1]);
        bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
        let file = Files::default().with("a.hdd", bytes);
        let error = Parallels.open(&file.located("a.hdd"), &crate::testing::context()).err();
        assert_eq!(error.unwrap().message(), sentence);
    }
    // The first form has 32 bits, and needs no data offset.
    let mut bytes = image(false, &[1], &[9]);
    (bytes[0x28], bytes[0x30]) = (1, 0);
    let image = Files::default().with("a.hdd", bytes).open("a.hdd").unwrap();
    assert_eq!(seen(&image), [Ok(9)]);
}

const BASE: &str = "{11111111-1111-1111-1111-111111111111}";
const TOP: &str = "{5fbaabe3-6958-40ff-92a7-860e329aab41}";
const NAME: &str = "DiskDescriptor.xml";
const NONE: &str = "{00000000-0000-0000-0000-000000000000}";

/// A descriptor of `images` (GUID, type, file) whose states follow each other as `shots` say.
fn descriptor(images: &[(&str, &str, &str)], shots: &[(&str, &str)]) -> String {
    let image = |(guid, kind, file): &(&str, &str, &str)| {
        format!("<Image><GUID>{guid}</GUID><Type>{kind}</Type><File>{file}</File></Image>")
    };
    let shot = |(guid, parent): &(&str, &str)| {
        format!("<Shot><GUID>{guid}</GUID><ParentGUID>{parent}</ParentGUID></Shot>")
    };
    format!(
        "<?xml version='1.0' encoding='UTF-8'?><Parallels_disk_image Version=\"1.0\">\
         <StorageData><Storage><Start>0</Start><End>9</End><Blocksize>3</Blocksize>{}</Storage>\
         </StorageData><Snapshots><TopGUID>{TOP}</TopGUID>{}</Snapshots></Parallels_disk_image>",
        images.iter().map(image).collect::<String>(),
        shots.iter().map(shot).collect::<String>()
    )
}

#[test]
fn holes_of_a_snapshot_are_its_parents_as_the_descriptor_tells() {
    let kinds = [
        ("Compressed", image(false, &[0, 1, 4], &[7, 8])),
        ("Plain", { [0_u8, 7, 8].iter().flat_map(|byte| [*byte; CLUSTER]).collect() }),
    ];
    let shots = [(BASE, NONE), (TOP, BASE)];
    for (kind, base) in kinds {
        let images = [(BASE, kind, "d.base.hds"), (TOP, "Compressed", "d.top.hds")];
        let files = Files::default()
            .with("d.base.hds", base)
            .with("d.top.hds", image(true, &[0, 1, 0], &[5]))
            .with(NAME, descriptor(&images, &shots));
        let image = files.open("d.top.hds").unwrap();
        assert_eq!(image.chain, ["d.top.hds", "d.base.hds"]);
        assert_eq!(seen(&image), [Ok(0), Ok(5), Ok(8)]);
        let lineage = Parallels.lineage(&files.located("d.top.hds")).unwrap().unwrap();
        assert_eq!((lineage.parents, lineage.parent_was_beside), (vec!["d.base.hds".into()], true));
    }
}

#[test]
fn descriptors_that_cannot_be_are_refused() {
    let images = [(BASE, "Compressed", "b.hds"), (TOP, "Compressed", "a.hds")];
    let whole = descriptor(&images, &[(BASE, NONE), (TOP, BASE)]);
    let split = whole.replace("<Storage>", "<Storage></Storage><Storage>");
    for (text, sentence) in [
        ("<a><b></a>".to_owned(), "descriptor is no XML"),
        (split, "disk is split into several storages, which is not read"),
        (descriptor(&images[1..], &[(TOP, BASE)]), "descriptor has no image of the parent {1111"),
        (descriptor(&images, &[(BASE, NONE)]), "descriptor has no snapshot {5fba"),
        (descriptor(&[("x", "Compressed", "a.hds")], &[]), "descriptor has the GUID \"x\""),
        (whole.clone(), "no such file"),
    ] {
        let files = Files::default().with("a.hds", image(false, &[0], &[])).with(NAME, text);
        let error = files.error("a.hds").2;
        assert!(error.contains(sentence), "{error}");
    }
    // A circle.
    let text = descriptor(&images, &[(BASE, TOP), (TOP, BASE)]);
    let files = Files::default().with("a.hds", image(false, &[0], &[])).with(NAME, text);
    let files = files.with("b.hds", image(false, &[0], &[]));
    assert!(files.error("a.hds").2.contains("is also a child of this image"));
    // Another disk's, and one of a single image.
    for own in [NONE, TOP] {
        let text = descriptor(&[(TOP, "Compressed", "a.hds")], &[(TOP, NONE)]);
        let text = if own == NONE { text.replace("a.hds", "z.hds") } else { text };
        let files = Files::default().with("a.hds", image(false, &[1], &[4])).with(NAME, text);
        assert_eq!(seen(&files.open("a.hds").unwrap()), [Ok(4)]);
    }
    let cut = Files::default().with("a.hds", &image(false, &[0], &[])[..64]).error("a.hds");
    assert_eq!(cut.0, BlockErrorKind::Corrupt);
}

#[test]
fn every_cut_and_every_other_byte_ends_in_an_answer_or_an_error() {
    for is_ext in [false, true] {
        let entries: &[u32] = if is_ext { &[2, 0, 1] } else { &[4, 0, 1] };
        let bytes = image(is_ext, entries, &[5, 6]);
        let whole = Files::default().with("a.hdd", bytes.clone()).open("a.hdd").unwrap();
        let wanted = read(&*whole.device, 0, 3 * CLUSTER).unwrap();
        let bent = Bent::new(&bytes);
        let files = Files::default();
        for size in (0..bytes.len()).step_by(512) {
            let result = outcome(&Parallels, &files, "a.hdd", bent.cut(size), &wanted);
            assert_eq!(result, Outcome::Error, "{size}");
        }
        // There are no checksums: other numbers are other places.
        let places: Range<usize> = 0..0x40 + 12;
        for (at, mask) in places.flat_map(|at| (1..=255).map(move |mask| (at, mask))) {
            let result = outcome(&Parallels, &files, "a.hdd", bent.changed(at, mask), &wanted);
            assert!(at >= 0x1C || result != Outcome::Silent, "{at} {mask}");
        }
    }
}
