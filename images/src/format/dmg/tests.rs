use volfold_block::{BlockErrorKind, ExtentKind, code};

use super::testing::{ADC, BZIP2, IGNORED, Keep, LZFSE, LZMA, RAW, RunOf, ZERO, ZLIB, image, run};
use crate::format::DiskImage;
use crate::testing::{Files, read};

/// The xz stream of 1024 bytes, `volfold ` again and again, as `xz -9` writes it.
const XZ: &[u8] = include_bytes!("testing.xz");

fn text(sectors: usize) -> Vec<u8> {
    b"volfold ".repeat(sectors * 64)
}

fn noise(sectors: usize) -> Vec<u8> {
    let mut state = 0x2545_F491_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    };
    (0..sectors * 512).map(|_| next()).collect()
}

fn xz() -> RunOf {
    RunOf { kind: LZMA, sectors: 2, packed: XZ.to_vec(), plain: text(2) }
}

/// All kinds of runs in two partitions.
fn partitions() -> Vec<Vec<RunOf>> {
    let mixed = [text(1), noise(1), vec![0; 1024]].concat();
    let first = vec![run(ZLIB, &text(4)), run(ZERO, &[0; 2048]), run(RAW, &noise(2))];
    let second = vec![
        run(BZIP2, &mixed),
        run(IGNORED, &[0; 1024]),
        run(LZFSE, &mixed),
        xz(),
        run(ADC, &mixed),
    ];
    vec![first, second]
}

fn open(bytes: Vec<u8>) -> DiskImage {
    Files::default().with("a.dmg", bytes).open("a.dmg").unwrap()
}

#[test]
fn runs_of_every_kind_are_read_from_list_and_fork() {
    for keep in [Keep::List, Keep::Fork] {
        let (bytes, disk) = image(&partitions(), keep);
        let found = open(bytes);
        assert_eq!(found.device.size(), disk.len() as u64);
        assert!(read(&*found.device, 0, disk.len()).unwrap() == disk);
        for (at, size) in [(1, 1), (2047, 2), (5000, 3000), (disk.len() - 1, 1)] {
            assert_eq!(read(&*found.device, at as u64, size).unwrap(), disk[at..at + size]);
        }
        assert_eq!(found.variant.as_deref(), Some("ADC, LZFSE, LZMA, bzip2, zlib"));
        assert!(found.log.all().is_empty());
        let extent = found.device.extent_at(2048).unwrap();
        assert_eq!((extent.kind, extent.length), (ExtentKind::Zero, 2048));
        let lengths: Vec<Vec<u64>> = found
            .region_checksums
            .iter()
            .map(|sum| sum.pieces.iter().map(|piece| piece.length()).collect())
            .collect();
        assert_eq!(lengths, [vec![5120], vec![2048, 5120]]);
    }
}

#[test]
fn what_no_run_tells_of_is_an_error() {
    let runs = vec![run(RAW, &noise(2)), run(ZLIB, &text(2)), run(ZERO, &[0; 512])];
    let (mut bytes, disk) = image(&[runs], Keep::Fork);
    // The second run is of a kind that nobody knows.
    let at = bytes.windows(4).position(|four| four == ZLIB.to_be_bytes()).unwrap();
    let mut unknown = bytes.clone();
    unknown[at + 3] = 9;
    let found = open(unknown);
    assert!(read(&*found.device, 0, 1024).unwrap() == disk[..1024]);
    let error = read(&*found.device, 1024, 1).unwrap_err();
    assert_eq!(error.kind(), BlockErrorKind::Unsupported);
    assert_eq!(error.message(), "run of the DMG is packed in an unknown way (0x80000009)");
    // It is a comment, and so the place of its sectors is not known.
    bytes[at..at + 4].copy_from_slice(&0x7FFF_FFFE_u32.to_be_bytes());
    let found = open(bytes);
    assert_eq!(found.log.all()[0].code, code::DMG_GAP);
    let error = read(&*found.device, 1024, 1).unwrap_err();
    assert_eq!(error.message(), "no run of the DMG tells what is there");
    assert!(read(&*found.device, 2048, 512).unwrap() == disk[2048..]);
}

#[test]
fn runs_that_give_more_or_less_than_their_size_are_errors() {
    for kind in [ADC, ZLIB, BZIP2, LZFSE, LZMA] {
        let good = if kind == LZMA { xz() } else { run(kind, &text(2)) };
        for (sectors, length) in [(1, usize::MAX), (3, usize::MAX), (2, 9)] {
            let mut bent = good.clone();
            bent.sectors = sectors;
            bent.packed.truncate(length);
            bent.plain = text(sectors as usize);
            let (bytes, disk) = image(&[vec![bent, run(RAW, &noise(1))]], Keep::List);
            let found = open(bytes);
            let error = read(&*found.device, 0, 512).unwrap_err();
            assert_eq!(error.kind(), BlockErrorKind::Corrupt, "{kind:#x} {sectors}");
            let last = disk.len() - 512;
            assert!(read(&*found.device, last as u64, 512).unwrap() == disk[last..]);
        }
    }
}

#[test]
fn an_image_that_is_not_read_is_refused_by_name() {
    let (good, _) = image(&[vec![run(RAW, &noise(1))]], Keep::List);
    let trailer = good.len() - 512;
    let mut parts = good.clone();
    parts[trailer + 0x3F] = 3;
    let error = Files::default().with("a.dmg", parts).error("a.dmg");
    assert_eq!(error.0, BlockErrorKind::Unsupported);
    assert!(error.2.contains("DMG in 3 files (.dmgpart)"), "{}", error.2);
    let mut first = b"encrcdsa\0\0\0\x02".to_vec();
    first.resize(4096, 7);
    let mut last = vec![7; 4096];
    last.extend(b"cdsaencr");
    for bytes in [first, last] {
        let error = Files::default().with("a.dmg", bytes).error("a.dmg");
        assert_eq!(error.0, BlockErrorKind::Encrypted);
    }
    let mut none = good.clone();
    none[trailer + 0xE0..trailer + 0xE8].fill(0);
    let error = Files::default().with("a.dmg", none).error("a.dmg");
    assert_eq!(error.2, "DMG trailer names neither a property list nor a resource fork");
    for at in [trailer + 0xD8, trailer + 0xE0] {
        let mut outside = good.clone();
        outside[at] = 0x7F;
        let files = Files::default().with("a.dmg", outside);
        assert!(files.open("a.dmg").is_err());
    }
}

#[test]
fn a_list_that_grows_when_it_is_read_is_refused() {
    let (good, _) = image(&[vec![run(RAW, &noise(1))]], Keep::List);
    let at = good.windows(9).position(|nine| nine == b"<!DOCTYPE").unwrap();
    let end = at + good[at..].iter().position(|byte| *byte == b'>').unwrap();
    let mut bytes = good;
    let text = b"<!DOCTYPE plist [<!ENTITY a \"aa\">]";
    bytes[at..end].fill(b' ');
    bytes[at..at + text.len()].copy_from_slice(text);
    let error = Files::default().with("a.dmg", bytes).error("a.dmg");
    assert_eq!(error.2, "property list of the DMG defines entities");
}

#[test]
fn two_runs_of_one_sector_are_refused() {
    let (mut bytes, _) = image(&[vec![run(RAW, &noise(1)), run(ZLIB, &text(2))]], Keep::Fork);
    let at = bytes.windows(4).position(|four| four == ZLIB.to_be_bytes()).unwrap();
    bytes[at + 15] = 0;
    let error = Files::default().with("a.dmg", bytes).error("a.dmg");
    assert_eq!(error.2, "two runs of the DMG are about byte 0 of the disk");
}

/// Opens and reads all of `bytes`: other bytes than those of `disk` come out only where a checksum of
/// the image, which `check` compares, tells of it.
fn is_right_or_told(bytes: Vec<u8>, disk: &[u8]) -> bool {
    let files = Files::default().with("a.dmg", bytes);
    let context = crate::testing::context();
    let mut is_told = true;
    if let Ok(found) = crate::registry::open_as("dmg", &files.located("a.dmg"), &context) {
        assert!(found.device.extent_at(0).is_ok());
        let size = found.device.size();
        let mut is_other = size != disk.len() as u64 && found.log.all().is_empty();
        let mut whole = vec![0; usize::try_from(size.min(1 << 20)).unwrap()];
        for (index, sector) in whole.chunks_mut(512).enumerate() {
            let read = found.device.read_at(index as u64 * 512, sector);
            let wanted = disk.get(index * 512..(index + 1) * 512);
            is_other |= read.is_ok() && wanted != Some(&*sector);
        }
        // As `check` does.
        is_told = !is_other
            || found.region_checksums.iter().any(|region| {
                let mut sum = crc32fast::Hasher::new();
                let is_read = region.pieces.iter().all(|piece| {
                    let length = usize::try_from(piece.length().min(1 << 20)).unwrap();
                    let bytes = read(&*found.device, piece.start(), length);
                    bytes.map(|bytes| sum.update(&bytes)).is_ok()
                });
                !is_read || sum.finalize() != region.crc32
            });
    }
    is_told
}

#[test]
fn no_cut_and_no_other_byte_is_without_a_word() {
    for keep in [Keep::List, Keep::Fork] {
        let (good, disk) = image(&partitions(), keep);
        for cut in (0..good.len()).step_by(64) {
            // Without its trailer it is no DMG.
            is_right_or_told(good[..cut].to_vec(), &disk);
            let mut bytes = good[..cut].to_vec();
            bytes.extend(&good[good.len() - 512..]);
            is_right_or_told(bytes, &disk);
        }
        let bits: &[u8] = if keep == Keep::List { &[0x04] } else { &[0x01, 0x80, 0xFF] };
        for at in 0..good.len() {
            for bits in bits {
                let mut bytes = good.clone();
                bytes[at] ^= bits;
                assert!(is_right_or_told(bytes, &disk), "{at} ^ {bits:#x}");
            }
        }
    }
}
