//! What no tool makes: images with one field bent, and every image that is cut or has another byte.

use std::sync::Arc;

use volfold_block::{BlockDevice, BlockErrorKind, BlockResult, ExtentKind, code};

use super::testing::*;
use crate::context::Decryption;
use crate::registry;
use crate::testing::{Files, context, read};

const BITS: u32 = 9;
const SIZE_OF: usize = 512;
const COPIED: u64 = 1 << 63;

fn at(index: u64) -> u64 {
    Builder::at(BITS, index)
}

/// The first byte of each cluster of the disk of `image`; or the sentence of the error.
fn seen(image: &crate::DiskImage, cluster: usize) -> Vec<Result<u8, String>> {
    let size = image.device.size();
    let all = (0..size.div_ceil(cluster as u64)).map(|index| {
        let bytes = read(&*image.device, index * cluster as u64, 1);
        bytes.map(|bytes| bytes[0]).map_err(|error| error.message().to_owned())
    });
    all.collect()
}

fn bytes_of(builder: &Builder) -> Vec<Result<u8, String>> {
    let image = Files::default().with("a.qcow2", builder.build()).open("a.qcow2").unwrap();
    seen(&image, builder.cluster_size())
}

/// What opening ends with: kind, position, sentence.
#[track_caller]
fn refused(builder: &Builder) -> (BlockErrorKind, Option<u64>, String) {
    Files::default().with("a.qcow2", builder.build()).error("a.qcow2")
}

#[test]
fn clusters_are_where_the_tables_say() {
    let words = [at(2) | COPIED, 0, 1, at(0), at(1), 1 | at(7)];
    let image = Builder::new(BITS, &words).data(5).data(6).data(6);
    assert_eq!(bytes_of(&image), [6, 0, 0, 5, 6, 0].map(Ok));
    let opened = Files::default().with("a.qcow2", image.build()).open("a.qcow2").unwrap();
    assert_eq!(opened.device.extent_at(512).unwrap().kind, ExtentKind::Zero);
    let (three, two) = (opened.device.extent_at(3 * 512).unwrap(), 2 * 512);
    assert_eq!((three.kind, three.length), (ExtentKind::Data, two));
    // No L2 table at all.
    let empty = image.u64(SIZE_OF, 0);
    assert_eq!(bytes_of(&empty), [0; 6].map(Ok));
}

#[test]
fn entries_that_cannot_be_are_errors_of_their_cluster_alone() {
    let cut = "cluster lies behind the end of the file";
    let header = "cluster lies in the header or an L1 table";
    let bits = "entry of an L2 table has bits that must be zero";
    for (word, sentence) in [
        (at(1), cut),
        (1 << 55, cut),
        (SIZE_OF as u64, header),
        (at(0) | 2, bits),
        (at(0) | 1 << 56, bits),
        (at(0) | 1 << 61, bits),
        (COPIED | 1 << 5, bits),
    ] {
        let image = Builder::new(BITS, &[at(0), word, 0]).data(5);
        assert_eq!(bytes_of(&image), [Ok(5), Err(sentence.to_owned()), Ok(0)], "{word:x}");
        let opened = Files::default().with("a.qcow2", image.build()).open("a.qcow2").unwrap();
        let error = read(&*opened.device, 0, 3 * SIZE_OF).unwrap_err();
        assert_eq!((error.kind(), error.message()), (BlockErrorKind::Corrupt, sentence));
        assert!(error.position().is_some());
    }
    // Zeros by a flag, and clusters between others, are not of these images.
    let v2 = Builder::new(BITS, &[1, at(0)]).data(5).u32(VERSION, 2);
    assert_eq!(bytes_of(&v2), [Err(bits.to_owned()), Ok(5)]);
    let word = Builder::at(12, 0) | 512;
    let between = "cluster does not begin at a multiple of its size";
    assert_eq!(bytes_of(&Builder::new(12, &[word]).data(5)), [Err(between.to_owned())]);
    // A cluster that is there in part.
    let mut file = Builder::new(12, &[Builder::at(12, 0)]).data(5).build();
    file.truncate(file.len() - 1000);
    let image = Files::default().with("a.qcow2", file).open("a.qcow2").unwrap();
    assert_eq!(read(&*image.device, 0, 3096).unwrap(), [5; 3096]);
    assert_eq!(read(&*image.device, 3095, 2).unwrap_err().message(), cut);
}

#[test]
fn tables_that_cannot_be_are_errors_of_what_they_are_about() {
    let l2 = L2 << BITS;
    for (entry, sentence) in [
        (1 << 20, "L2 table is not in the file"),
        (SIZE_OF as u64, "L2 table lies in the header or an L1 table"),
        (l2 | 1, "entry of the L1 table has bits that must be zero"),
        (l2 | 1 << 56, "entry of the L1 table has bits that must be zero"),
    ] {
        let mut image = Builder::new(BITS, &[at(0)]).data(5).u64(SIZE_OF, entry);
        // A second L2 table, which is the first one again.
        image = image.u64(SIZE, 33_000).u32(L1_ENTRIES, 2).u64(SIZE_OF + 8, l2);
        let opened = Files::default().with("a.qcow2", image.build()).open("a.qcow2").unwrap();
        let error = read(&*opened.device, 5000, 1).unwrap_err();
        assert_eq!((error.kind(), error.message()), (BlockErrorKind::Corrupt, sentence));
        assert_eq!(read(&*opened.device, 32_768, 1).unwrap(), [5]);
        assert_eq!(opened.device.extent_at(0).unwrap().kind, ExtentKind::Data);
    }
    let between = Builder::new(12, &[0]).u64(4096, (L2 << 12) | 512);
    let sentence = "L2 table does not begin at a cluster".to_owned();
    assert_eq!(bytes_of(&between), [Err(sentence)]);
}

#[test]
fn parts_of_clusters_are_where_the_bitmap_says() {
    let bits = 14;
    let (first, second) = (Builder::at(bits, 0), Builder::at(bits, 1));
    let all = 0xFFFF_FFFF;
    let words = [
        first,
        all, // whole
        second,
        0b1010 | 1 << 32, // zero, there, hole, there
        0,
        1 << 33, // nowhere, the second part zeros
    ];
    let image = |words: &[u64]| Builder::new(bits, words).data(5).data(6).features(16);
    let build = image(&words).extension(0xE279_2ACA, b"raw").parent("base").build();
    let files = Files::default().with("a.qcow2", build).with("base", vec![9; 49_152]);
    let opened = files.open("a.qcow2").unwrap();
    assert_eq!(opened.variant.as_deref(), Some("v3, extended L2"));
    let bytes = read(&*opened.device, 0, 49_152).unwrap();
    let parts: Vec<u8> = bytes.chunks(512).map(|part| part[511]).collect();
    assert_eq!(parts[..32], [5; 32]);
    assert_eq!(parts[32..37], [0, 6, 9, 6, 9]);
    assert_eq!(parts[64..67], [9, 0, 9]);
    // A run does not end between two clusters.
    let run = image(&[first, all, second, 1]);
    let opened = Files::default().with("a.qcow2", run.build()).open("a.qcow2").unwrap();
    assert_eq!(opened.device.extent_at(100).unwrap().length, 16_384 + 512 - 100);
    assert_eq!(opened.device.extent_at(16_384 + 512).unwrap().kind, ExtentKind::Zero);
    for (words, sentence) in [
        ([first, 1 | 1 << 32], "entry of an L2 table contradicts itself"),
        ([0, 1 << 31], "entry of an L2 table contradicts itself"),
        ([first | 1, all], "entry of an L2 table has bits that must be zero"),
        ([packed(bits, first, 9), 1], "compressed cluster is said to have parts"),
    ] {
        assert_eq!(bytes_of(&image(&words)), [Err(sentence.to_owned())]);
    }
}

#[test]
fn compressed_clusters_give_exactly_a_cluster() {
    let (bits, size) = (12, 4096);
    let image = |data: &[u8]| {
        let word = packed(bits, Builder::at(bits, 0) + 7, data.len());
        let with = [&[0xEE; 7], data].concat();
        Builder::new(bits, &[word, Builder::at(bits, 1)]).bytes(&with).data(6)
    };
    let zstd = |bytes: &[u8]| {
        let level = ruzstd::encoding::CompressionLevel::Fastest;
        ruzstd::encoding::compress_to_vec(bytes, level)
    };
    type Pack<'a> = &'a dyn Fn(&[u8]) -> Vec<u8>;
    let methods: [(Pack<'_>, u64, u8); 2] = [(&raw_deflate, 0, 0), (&zstd, 8, 1)];
    for (pack, features, method) in methods {
        let image = |data: &[u8]| image(data).features(features).patch(METHOD, &[method]);
        let text: Vec<u8> = (0..size).map(|at| (at / 7 % 50) as u8 + 1).collect();
        let good = image(&pack(&text));
        let opened = Files::default().with("a.qcow2", good.build()).open("a.qcow2").unwrap();
        assert!(opened.is_decoded);
        assert_eq!(read(&*opened.device, 0, size).unwrap(), text);
        assert_eq!(read(&*opened.device, 4000, 97).unwrap()[..96], text[4000..]);
        assert_eq!(read(&*opened.device, 4096, 1).unwrap(), [6]);
        let sentence = |bytes: &[u8]| bytes_of(&image(bytes))[0].clone().unwrap_err();
        assert_eq!(sentence(&pack(&text[1..])), "compressed cluster is too short");
        let longer = [&text[..], &[7]].concat();
        let long =
            ["compressed cluster is longer than it should be", "compressed cluster is damaged"];
        let long = long[usize::from(method)];
        assert_eq!(sentence(&pack(&longer)), long);
        assert_eq!(sentence(&pack(&vec![7; 1 << 20])), long);
        let noise = sentence(&[0xFF; 90]);
        assert!(noise.starts_with("compressed cluster"), "{noise}");
        // The last sector need not be there, the bytes have to.
        let data = pack(&text);
        for missing in [0, 1] {
            let mut file = image(&data).build();
            file.truncate(
                usize::try_from(Builder::at(bits, 0)).unwrap() + 7 + data.len() - missing,
            );
            let opened = Files::default().with("a.qcow2", file).open("a.qcow2").unwrap();
            assert_eq!(read(&*opened.device, 0, size).is_ok(), missing == 0);
        }
    }
    let word = packed(bits, 1 << 30, 100);
    let behind = "compressed cluster lies behind the end of the file".to_owned();
    assert_eq!(bytes_of(&Builder::new(bits, &[word])), [Err(behind)]);
    let inside = "compressed cluster lies in the header or an L1 table".to_owned();
    assert_eq!(bytes_of(&Builder::new(bits, &[packed(bits, 100, 9)])), [Err(inside)]);
    let word = 1 << 62 | 1 << 57;
    let wide = "compressed cluster has an offset of more than 56 bits".to_owned();
    assert_eq!(bytes_of(&Builder::new(BITS, &[word])), [Err(wide)]);
}

/// A frame of Zstandard has a checksum if its writer wants one: no other byte goes unnoticed.
#[test]
fn a_frame_with_a_checksum_never_gives_other_bytes() {
    let (bits, size) = (12, 4096);
    let text: Vec<u8> = (0..size).map(|at| (at * at / 31 % 200) as u8).collect();
    let level = ruzstd::encoding::CompressionLevel::Fastest;
    let data = ruzstd::encoding::compress_to_vec(&text[..], level);
    assert_eq!(data[4] & 4, 4, "no checksum");
    let (mut errors, mut same) = (0, 0);
    for index in 0..data.len() {
        for flip in [1, 2, 4, 8, 16, 32, 64, 128, 255] {
            // Without the flag, and with a frame of another kind, there is no checksum.
            if index <= 4 {
                continue;
            }
            let mut data = data.clone();
            data[index] ^= flip;
            let word = packed(bits, Builder::at(bits, 0), data.len());
            let mut image = Builder::new(bits, &[word]).features(8).patch(METHOD, &[1]);
            image.clusters = data.chunks(size).map(<[u8]>::to_vec).collect();
            let opened = Files::default().with("a.qcow2", image.build()).open("a.qcow2").unwrap();
            match read(&*opened.device, 0, size) {
                Ok(bytes) => {
                    assert!(bytes == text, "{index} {flip}");
                    same += 1;
                }
                Err(error) => {
                    assert_eq!(error.kind(), BlockErrorKind::Corrupt, "{error}");
                    errors += 1;
                }
            }
        }
    }
    assert!(errors > 10 * same, "{errors} {same}");
}

#[test]
fn headers_that_cannot_be_are_refused() {
    use BlockErrorKind::{Corrupt, Unsupported};
    let image = Builder::new(BITS, &[at(0)]).data(5);
    let with = |at: usize, value: u32| image.clone().u32(at, value);
    for (image, kind, position, sentence) in [
        (with(VERSION, 4), Unsupported, 4, "QCOW2 of version 4 is not read; 1 to 3 are"),
        (with(CLUSTER_BITS, 8), Corrupt, 20, "QCOW2 header has clusters of 8 bits"),
        (with(CLUSTER_BITS, 22), Unsupported, 20, "QCOW2 header has clusters of 22 bits"),
        (with(CLUSTER_BITS, 99), Corrupt, 20, "QCOW2 header has clusters of 99 bits"),
        (with(HEADER_LENGTH, 96), Corrupt, 100, "QCOW2 header has a length of 96"),
        (with(HEADER_LENGTH, 108), Corrupt, 100, "QCOW2 header has a length of 108"),
        (
            with(HEADER_LENGTH, 1024),
            Corrupt,
            100,
            "QCOW2 header is longer than its cluster or the file",
        ),
        (with(L1_ENTRIES, 0), Corrupt, 512, "L1 table has 0 entries for a disk of 512 bytes"),
        (
            with(L1_ENTRIES, 5_000_000),
            Corrupt,
            36,
            "QCOW2 header has an L1 table of 5000000 entries",
        ),
        (with(L1_AT + 4, 1 << 20), Corrupt, 1 << 20, "L1 table is not in the file"),
        (with(L1_AT + 4, 0), Corrupt, 0, "L1 table is not in the file"),
        (with(L1_AT + 4, 520), Corrupt, 520, "L1 table does not begin at a cluster"),
    ] {
        assert_eq!(refused(&image), (kind, Some(position), sentence.to_owned()));
    }
    let huge = image.clone().u64(SIZE, u64::MAX);
    assert_eq!(refused(&huge).0, Unsupported);
    let long = image.extension(9, &[0; 100]).u32(116, 9000);
    assert_eq!(refused(&long).2, "QCOW2 header extension is cut short");
}

/// Every byte of `0`, mixed.
struct Mixed(Arc<dyn BlockDevice>);

impl BlockDevice for Mixed {
    fn size(&self) -> u64 {
        self.0.size()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> BlockResult<()> {
        self.0.read_at(offset, buf)?;
        buf.iter_mut().for_each(|byte| *byte ^= 0x5A);
        Ok(())
    }
}

/// Opens by a header of one cluster.
struct OneKey;

impl Decryption for OneKey {
    fn luks(
        &self,
        called: &str,
        header: Arc<dyn BlockDevice>,
        file: &Arc<dyn BlockDevice>,
    ) -> BlockResult<Arc<dyn BlockDevice>> {
        assert_eq!((called, header.size()), ("a.qcow2", 512));
        Ok(Arc::new(Mixed(file.clone())))
    }
}

#[test]
fn clusters_of_an_encrypted_image_are_read_where_they_are_in_the_file() {
    let (bits, header) = (9, Builder::at(9, 1) & !COPIED);
    let words = [Builder::at(bits, 0), 0, packed(bits, Builder::at(bits, 0), 9), header | COPIED];
    let place = [header.to_be_bytes(), 512_u64.to_be_bytes()].concat();
    let image = Builder::new(bits, &words).data(5).data(6).extension(0x0537_BE77, &place);
    let files = Files::default().with("a.qcow2", image.u32(ENCRYPTION, 2).build());
    let context = context().with_decryption(Arc::new(OneKey));
    let opened = registry::open(&files.located("a.qcow2"), &context).unwrap();
    assert_eq!(opened.variant.as_deref(), Some("v3, LUKS"));
    assert_eq!(read(&*opened.device, 0, 512).unwrap(), [5 ^ 0x5A; 512]);
    assert_eq!(read(&*opened.device, 512, 512).unwrap(), [0; 512]);
    for (offset, sentence) in [
        (1024, "compressed cluster in an image that is encrypted"),
        (1536, "cluster lies in the header or an L1 table"),
    ] {
        assert_eq!(read(&*opened.device, offset, 1).unwrap_err().message(), sentence);
    }
}

#[test]
fn the_header_of_luks_is_in_the_file() {
    use BlockErrorKind::{Corrupt, Unsupported};
    let encrypted = Builder::new(BITS, &[at(0)]).data(5).u32(ENCRYPTION, 2);
    for (offset, length, kind, sentence) in [
        (0_u64, 4096_u64, Corrupt, "QCOW2 header has an invalid place for that of LUKS"),
        (65_536, 0, Corrupt, "QCOW2 header has an invalid place for that of LUKS"),
        (65_536, u64::MAX, Corrupt, "QCOW2 header has an invalid place for that of LUKS"),
        (1 << 40, 4096, Corrupt, "header of LUKS is not in the file"),
        (
            8,
            16,
            Unsupported,
            "is encrypted with LUKS; decrypt it with `qemu-img convert`, which asks for its secret",
        ),
    ] {
        let place = [offset.to_be_bytes(), length.to_be_bytes()].concat();
        let image = encrypted.clone().extension(0x0537_BE77, &place);
        let (found, _, told) = refused(&image);
        assert_eq!((found, told.as_str()), (kind, sentence), "{offset} {length}");
    }
}

#[test]
fn features_that_are_not_read_are_named() {
    use BlockErrorKind::{Corrupt, MissingPart, Unsupported};
    let image = Builder::new(BITS, &[at(0)]).data(5);
    let with = |at: usize, value: u32| image.clone().u32(at, value);
    for (image, kind, position, sentence) in [
        (image.clone().u64(SIZE, 0), Corrupt, 24, "QCOW2 header has a disk of no bytes"),
        (
            with(FEATURES + 4, 8),
            Corrupt,
            104,
            "QCOW2 header contradicts itself about the compression",
        ),
        (
            image.clone().patch(METHOD, &[1]),
            Corrupt,
            104,
            "QCOW2 header contradicts itself about the compression",
        ),
        (
            with(FEATURES + 4, 8).patch(METHOD, &[2]),
            Unsupported,
            104,
            "QCOW2 is compressed by the unknown method 2",
        ),
        (
            with(FEATURES + 4, 16),
            Corrupt,
            72,
            "QCOW2 header has extended L2 entries for small clusters",
        ),
        (
            with(FEATURES, 1 << 31),
            Unsupported,
            72,
            "QCOW2 needs a feature that is not read: bit 63",
        ),
        (
            with(FEATURES + 4, 0x60).extension(0x6803_F857, &{
                let mut names = [0; 96];
                names[..14].copy_from_slice(b"\x01\x05not this one");
                names[48..58].copy_from_slice(b"\0\x06time box");
                names
            }),
            Unsupported,
            72,
            "QCOW2 needs a feature that is not read: bit 5, time box (bit 6)",
        ),
        (
            with(ENCRYPTION, 1),
            Unsupported,
            32,
            "is encrypted with AES by QEMU; decrypt it with `qemu-img convert`, which asks for its \
             secret",
        ),
        (with(ENCRYPTION, 2), Corrupt, 32, "QCOW2 header does not say where that of LUKS is"),
        (
            with(ENCRYPTION, 3),
            Unsupported,
            32,
            "is encrypted by the unknown method 3; decrypt it with `qemu-img convert`, which asks \
             for its secret",
        ),
    ] {
        assert_eq!(refused(&image), (kind, Some(position), sentence.to_owned()));
    }
    let unnamed = with(FEATURES + 4, 4);
    let sentence = "the bytes of the disk are in another file, and the image does not name it";
    assert_eq!(refused(&unnamed), (MissingPart, None, sentence.to_owned()));
}

#[test]
fn the_header_says_what_the_state_of_the_image_is() {
    let image = Builder::new(BITS, &[at(0)]).data(5).features(3);
    let opened = Files::default().with("a.qcow2", image.build()).open("a.qcow2").unwrap();
    let codes: Vec<_> = opened.log.all().iter().map(|finding| finding.code).collect();
    assert_eq!(codes, [code::QCOW2_CORRUPT, code::QCOW2_DIRTY]);
    // Of a parent as well.
    let child = Builder::new(BITS, &[0]).parent("a.qcow2").build();
    let files = Files::default().with("a.qcow2", image.build()).with("b.qcow2", child);
    let opened = files.open("b.qcow2").unwrap();
    let notes: Vec<_> = opened.log.all().into_iter().filter_map(|it| it.part).collect();
    assert_eq!(notes, ["parent a.qcow2"; 2]);
    assert_eq!(seen(&opened, 512), [Ok(5)]);
}

#[test]
fn parents_are_named_by_the_header() {
    let base = Builder::new(BITS, &[at(0)]).data(5).build();
    let child = |name: &str| Builder::new(BITS, &[0, 0]).parent(name);
    let files = |child: &Builder| {
        let files = Files::default().with("a.qcow2", child.build());
        files.with("base.qcow2", base.clone()).with("b.qed", [0; 100])
    };
    // The format is what the image says, or what the name of the parent does.
    let opened = files(&child("base.qcow2")).open("a.qcow2").unwrap();
    assert_eq!(seen(&opened, 512), [Ok(5), Ok(0)]);
    assert_eq!(opened.chain, ["a.qcow2", "base.qcow2"]);
    let raw = child("base.qcow2").extension(0xE279_2ACA, b"raw");
    assert_eq!(seen(&files(&raw).open("a.qcow2").unwrap(), 512)[0], Ok(b'Q'));
    let wrong = child("base.qcow2").extension(0xE279_2ACA, b"luks");
    let sentence = "parent base.qcow2 is said to be luks, which is not read";
    assert_eq!(files(&wrong).error("a.qcow2").2, sentence);
    let json = r#"json:{"driver":"raw","file":{"driver":"file","filename":"base.qcow2"}}"#;
    assert_eq!(seen(&files(&child(json)).open("a.qcow2").unwrap(), 512)[0], Ok(b'Q'));
    let circle = files(&child("a.qcow2")).error("a.qcow2");
    assert_eq!(circle.2, "parent a.qcow2 is also a child of this image");
    let gone = files(&child("gone.qcow2")).error("a.qcow2");
    let sentence = "parent gone.qcow2 is missing; put it beside the image";
    assert_eq!((gone.0, gone.2.as_str()), (BlockErrorKind::MissingPart, sentence));

    let long = child("x").u32(NAME_SIZE, 1024);
    let sentence = "QCOW2 header has a parent's name of 1024 bytes".to_owned();
    assert_eq!(refused(&long), (BlockErrorKind::Corrupt, Some(16), sentence));
    let outside = child("x").u64(NAME_AT, 600).u32(NAME_SIZE, 10);
    let sentence = "name of the parent is not in the first cluster".to_owned();
    assert_eq!(refused(&outside), (BlockErrorKind::Corrupt, Some(8), sentence));
    let latin = child("x").patch(120, &[0xE4]);
    assert_eq!(refused(&latin).0, BlockErrorKind::Unsupported);
    let located = files(&child("base.qcow2")).located("a.qcow2");
    let lineage = registry::lineage(&located).unwrap().unwrap();
    assert_eq!(lineage.parents, ["base.qcow2"]);
    assert!(lineage.parent_was_beside && lineage.extents.is_empty());
}

#[test]
fn clusters_of_a_data_file_are_where_they_are_on_the_disk() {
    let words = [COPIED, 512 | COPIED, 0, 1024 | COPIED, packed(BITS, at(0), 9)];
    let image = Builder::new(BITS, &words).data(5).features(4).extension(0x4441_5441, b"data");
    let mut data = vec![7; 512];
    data.extend([8; 512]);
    data.extend([9; 512]);
    let files = Files::default().with("a.qcow2", image.build()).with("data", data);
    let opened = files.open("a.qcow2").unwrap();
    assert_eq!(opened.extents, ["data"]);
    let other = "cluster is not where it has to be in the data file".to_owned();
    let packed = "compressed cluster in an image with a data file".to_owned();
    assert_eq!(seen(&opened, 512), [Ok(7), Ok(8), Ok(0), Err(other), Err(packed)]);
    let lineage = registry::lineage(&files.located("a.qcow2")).unwrap().unwrap();
    assert_eq!(lineage.extents, ["data"]);
}

#[test]
fn a_snapshot_is_another_table_over_the_same_clusters() {
    let bytes = 512;
    // Its L1 table is the second data cluster, its L2 table the third.
    let mut l1 = vec![0; bytes];
    l1[..8].copy_from_slice(&at(2).to_be_bytes());
    let mut l2 = vec![0; bytes];
    l2[8..16].copy_from_slice(&at(0).to_be_bytes());
    let image = Builder::new(BITS, &[at(0), 0, 0]).data(5).bytes(&l1).bytes(&l2);
    let all = [("1", "two", at(1), 1024), ("two", "named", at(1), 512), ("3", "bad", 1 << 30, 512)];
    let image = image.snapshots(&all);
    let open = |wanted: Option<&str>, image: &Builder| {
        let located = Files::default().with("a.qcow2", image.build()).located("a.qcow2");
        registry::open(&located, &context().with_snapshot(wanted))
    };
    let newest = open(None, &image).unwrap();
    assert_eq!((newest.snapshots.len(), &newest.snapshot), (3, &None));
    assert!(newest.log.all().is_empty());
    let first = open(Some("1"), &image).unwrap();
    let shown = first.snapshot.as_ref().unwrap();
    assert_eq!((shown.name.as_str(), shown.time, shown.size), ("two", Some(1_700_000_000), 1024));
    assert_eq!(seen(&first, 512), [Ok(0), Ok(5)]);
    assert_eq!(seen(&open(Some("named"), &image).unwrap(), 512), [Ok(0)]);
    // The id comes first.
    assert_eq!(open(Some("two"), &image).unwrap().snapshot.unwrap().name, "named");
    let error = open(Some("bad"), &image).err().unwrap();
    assert_eq!(error.message(), "L1 table is not in the file");
    assert_eq!(open(Some("none"), &image).unwrap().snapshot, None);

    for (image, sentence) in [
        (image.clone().u32(SNAPSHOT_COUNT, 65_537), "QCOW2 header has 65537 snapshots"),
        (image.clone().u64(SNAPSHOTS_AT, 1 << 40), "table of snapshots is not in the file"),
        (image.clone().u64(SNAPSHOTS_AT, u64::MAX), "table of snapshots is not in the file"),
        (image.clone().u32(3 * 512 + 36, 1025), "QCOW2 snapshot has 1025 extra bytes"),
    ] {
        assert_eq!(open(Some("1"), &image).err().unwrap().message(), sentence);
        let newest = open(None, &image).unwrap();
        assert_eq!(seen(&newest, 512), [Ok(5), Ok(0), Ok(0)]);
        let findings = newest.log.all();
        assert_eq!(findings.len(), 1);
        assert_eq!(findings[0].code, code::QCOW2_SNAPSHOTS);
        assert!(findings[0].message.contains(sentence) && !findings[0].code.bears_on_content());
    }
}

/// Version 1: header, L1 table at 48, L2 table at 512, clusters from 1024 on.
fn version_1(entries: &[u64], clusters: &[&[u8]]) -> Vec<u8> {
    let mut file = vec![0; 1024];
    let mut put = |at: usize, bytes: &[u8]| file[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, b"QFI\xFB\0\0\0\x01");
    put(24, &(entries.len() as u64 * 512).to_be_bytes());
    put(32, &[9, 6]);
    put(40, &48_u64.to_be_bytes());
    put(48, &512_u64.to_be_bytes());
    for (index, entry) in entries.iter().enumerate() {
        put(512 + index * 8, &entry.to_be_bytes());
    }
    for cluster in clusters {
        let mut bytes = cluster.to_vec();
        bytes.resize(512, 0xEE);
        file.extend(bytes);
    }
    file
}

#[test]
fn version_1_has_offsets_alone() {
    let data = raw_deflate(&[7; 512]);
    let packed = |length: usize| 1 << 63 | (length as u64) << 54 | 1536;
    let entries =
        [1024, 0, packed(data.len()), packed(data.len() - 1), 1 << 40, 512 * 3 + 1, 48, packed(0)];
    let file = version_1(&entries, &[&[5; 512], &data]);
    let image = Files::default().with("a.qcow", file).open("a.qcow").unwrap();
    assert_eq!((image.format, image.variant.as_deref()), ("qcow2", Some("v1")));
    let seen = seen(&image, 512);
    assert_eq!(seen[..3], [5, 0, 7].map(Ok));
    for (seen, sentence) in seen[3..].iter().zip([
        "compressed cluster is cut short",
        "cluster lies behind the end of the file",
        "cluster does not begin at a sector",
        "cluster does not begin at a sector",
        "compressed cluster lies in the header or an L1 table",
    ]) {
        assert_eq!(seen.as_ref().unwrap_err(), sentence);
    }
    for (at, bytes, sentence) in [
        (24, [0; 8].as_slice(), "QCOW header has a disk of no bytes"),
        (24, &[0x7F; 8], "disk of 9187201950435737471 bytes needs an L1 table of too many entries"),
        (32, &[17], "QCOW header has clusters of 17 bits"),
        (33, &[5], "QCOW header has L2 tables of 5 bits"),
        (
            36,
            &[0, 0, 0, 1],
            "is encrypted with AES by QEMU; decrypt it with `qemu-img convert`, which asks for its secret",
        ),
        (40, &[1], "L1 table is not in the file"),
        (8, &[0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 4, 0], "QCOW header has a parent's name of 1024 bytes"),
        (8, &[1, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 9], "name of the parent is not in the file"),
    ] {
        let mut file = version_1(&[1024], &[&[5; 512]]);
        file[at..at + bytes.len()].copy_from_slice(bytes);
        assert_eq!(Files::default().with("a.qcow", file).error("a.qcow").2, sentence);
    }
}

/// Opens `bytes` and reads of them what there is: an answer or an error.
fn survive(bytes: &[u8]) {
    let files = Files::default().with("base.raw", vec![3; 2000]).with("a.qcow2", bytes);
    for snapshot in [None, Some("1")] {
        let context = context().with_snapshot(snapshot);
        let Ok(image) = registry::open_as("qcow2", &files.located("a.qcow2"), &context) else {
            continue;
        };
        let size = image.device.size();
        let whole = usize::try_from(size.min(16 << 10)).unwrap();
        let _ = read(&*image.device, 0, whole);
        for at in [0, 512, 1024, 5000, size / 2, size.saturating_sub(1)] {
            let _ = read(&*image.device, at, 1);
            let _ = image.device.extent_at(at);
        }
    }
    let _ = registry::lineage(&files.located("a.qcow2"));
}

/// Cuts `file` at every sector, and changes each of the bytes `places` to each other value.
fn survive_all(file: &[u8], places: impl Iterator<Item = usize>) {
    for end in (0..=file.len()).step_by(512) {
        survive(&file[..end]);
    }
    for place in places {
        let mut changed = file.to_vec();
        for value in 0..=255 {
            changed[place] = value;
            survive(&changed);
        }
    }
}

#[test]
fn every_cut_and_every_other_byte_ends_in_an_answer_or_an_error() {
    let data = raw_deflate(&[7; 512]);
    let words = [at(0), 0, 1, packed(BITS, at(1), data.len()), at(0)];
    let image = Builder::new(BITS, &words).data(5).bytes(&data);
    let image = image.extension(0xE279_2ACA, b"raw").extension(0x6803_F857, &[0; 48]);
    let image = image.parent("base.raw").snapshots(&[("1", "first", L1 << BITS, 2048)]);
    let file = image.build();
    let tables = [512..520, 1024..1064, 1536..1536 + 64].into_iter().flatten();
    survive_all(&file, (0..224).chain(tables));
    let old =
        version_1(&[1024, 0, 1 << 63 | (data.len() as u64) << 54 | 1536], &[&[5; 512], &data]);
    survive_all(&old, (0..56).chain(512..536));
    let wide = Builder::new(14, &[Builder::at(14, 0), 0xF0F0, 0, 1 << 40]).data(5).features(16);
    let l2 = usize::try_from(L2 << 14).unwrap();
    survive_all(&wide.build(), (72..80).chain(l2..l2 + 32));
}
