use volfold_block::{BlockErrorKind, code};

use super::testing::{CHUNK, File, adler, disk, image};
use crate::format::{DiskImage, RecordedHash};
use crate::testing::{Files, read};

fn open(bytes: Vec<u8>) -> DiskImage {
    Files::default().with("a.E01", bytes).open("a.E01").unwrap()
}

#[track_caller]
fn is_disk(image: &DiskImage, wanted: &[u8]) {
    assert_eq!(image.device.size(), wanted.len() as u64);
    assert!(read(&*image.device, 0, wanted.len()).unwrap() == wanted);
    for (at, size) in [(1, 1), (CHUNK - 1, 2), (700, 1200), (wanted.len() - 1, 1)] {
        let found = read(&*image.device, at as u64, size).unwrap();
        assert_eq!(found, wanted[at..at + size], "{at}+{size}");
    }
}

fn codes(image: &DiskImage) -> Vec<String> {
    image.log.all().iter().map(|finding| finding.code.to_string()).collect()
}

/// Where `needle` begins in `bytes`, the time number `number` from 0.
fn find(bytes: &[u8], needle: &[u8], number: usize) -> usize {
    let mut found = bytes.windows(needle.len()).enumerate().filter(|(_, it)| *it == needle);
    found.nth(number).unwrap().0
}

#[test]
fn chunks_of_both_kinds_are_read_and_the_hashes_shown() {
    let disk = disk(7);
    let found = open(image(&disk));
    is_disk(&found, &disk);
    assert_eq!((found.format, found.variant.as_deref()), ("ewf", Some("E01")));
    assert!(found.is_decoded && found.log.all().is_empty());
    let hash = |algorithm, value: &str| RecordedHash { algorithm, value: value.to_owned() };
    let mut hashes = found.recorded_hashes.clone();
    hashes.sort_by_key(|hash| hash.algorithm);
    assert_eq!(hashes, [hash("md5", &"01".repeat(16)), hash("sha1", &"02".repeat(20))]);
}

#[test]
fn smart_and_encase_1_have_chunks_in_the_table() {
    let disk = disk(7);
    let smart = File::new(1).short_shape(7).old_table(&disk, false).end("done");
    let found = open(smart.clone());
    is_disk(&found, &disk);
    assert_eq!(found.variant.as_deref(), Some("SMART"));
    let encase_1 = File::new(1).shape("volume", 7, [0; 16]).old_table(&disk, true).end("done");
    is_disk(&open(encase_1), &disk);
    // Without a checksum an entry has to lie between its neighbours.
    let table = find(&smart, b"table", 0) + 76 + 24;
    let mut bent = smart.clone();
    let second: [u8; 4] = smart[table + 4..table + 8].try_into().unwrap();
    bent[table + 8..table + 12].copy_from_slice(&second);
    let error = read(&*open(bent).device, 2048, 1).unwrap_err();
    assert_eq!(error.message(), "entry of a table contradicts its neighbours");
}

/// Three files with the disk `disk` of 12 sectors.
fn three(disk: &[u8]) -> [Vec<u8>; 3] {
    let first = File::new(1).shape("volume", 12, [7; 16]);
    let first = first.sectors(&disk[..2 * CHUNK]).table("table").table("table2");
    let second = File::new(2).shape("data", 12, [7; 16]);
    let second = second.sectors(&disk[2 * CHUNK..5 * CHUNK]).table("table").table("table2");
    let third = File::new(3).shape("data", 12, [7; 16]);
    let third = third.sectors(&disk[5 * CHUNK..]).table("table").table("table2");
    [first.end("next"), second.end("next"), third.hash([9; 16]).end("done")]
}

#[test]
fn several_files_are_one_disk_and_a_missing_or_foreign_one_is_named() {
    let disk = disk(12);
    let [first, second, third] = three(&disk);
    let files = Files::default().with("a.E01", first).with("a.E02", second.clone());
    let error = files.error("a.E01");
    assert_eq!(error.0, BlockErrorKind::MissingPart);
    let whole = files.clone().with("a.E03", third.clone());
    let found = whole.open("a.E01").unwrap();
    is_disk(&found, &disk);
    assert_eq!(found.variant.as_deref(), Some("E01, 3 files"));
    assert_eq!(found.extents, ["a.E02", "a.E03"]);
    let lineage = crate::lineage(&whole.located("a.E01")).unwrap().unwrap();
    assert_eq!(lineage.extents, ["a.E02", "a.E03"]);
    let error = whole.error("a.E02");
    assert_eq!(error.0, BlockErrorKind::MissingPart);
    assert!(error.2.contains("is segment 2"), "{}", error.2);
    let error = files.clone().with("a.E03", second).error("a.E01");
    assert_eq!(error.0, BlockErrorKind::MissingPart);
    assert_eq!(error.2, "a.E03: file is segment 2 of an EWF image, where segment 3 is needed");
    let foreign = File::new(3).shape("data", 12, [8; 16]).end("done");
    let error = files.with("a.E03", foreign).error("a.E01");
    assert_eq!(error.0, BlockErrorKind::MissingPart);
    assert_eq!(error.2, "a.E03: file is of another image than the first one");
}

#[test]
fn a_damaged_table_is_replaced_by_its_copy_when_it_is_read() {
    let disk = disk(7);
    let good = image(&disk);
    for (name, at) in [("table\0", 76), ("table\0", 100), ("table2\0", 76)] {
        let mut bytes = good.clone();
        let at = find(&bytes, name.as_bytes(), 0) + at;
        bytes[at] ^= 4;
        let found = open(bytes);
        is_disk(&found, &disk);
        assert_eq!(codes(&found), [code::EWF_COPY_USED.as_str()], "{name}");
    }
    let mut bytes = good;
    for name in ["table\0", "table2\0"] {
        let at = find(&bytes, name.as_bytes(), 0) + 100;
        bytes[at] ^= 4;
    }
    let found = open(bytes);
    assert!(read(&*found.device, 0, 1).is_err());
    assert_eq!(codes(&found), [code::EWF_TABLE_LOST.as_str()]);
}

#[test]
fn chunks_past_a_lost_table_keep_their_place() {
    let disk = disk(12);
    let [first, mut second, third] = three(&disk);
    // The sections of the second file break off.
    let at = find(&second, b"table\0", 0);
    second[at + 20] ^= 1;
    let files = Files::default().with("a.E01", first).with("a.E02", second);
    let found = files.clone().with("a.E03", third).open("a.E01").unwrap();
    let (from, to) = (2 * CHUNK, 5 * CHUNK);
    assert!(read(&*found.device, 0, from).unwrap() == disk[..from]);
    assert!(read(&*found.device, to as u64, CHUNK).unwrap() == disk[to..]);
    for at in [from, to - 1] {
        assert!(read(&*found.device, at as u64, 1).is_err());
    }
    assert_eq!(codes(&found), ["ewf-section-damaged", "ewf-table-lost"]);
    // Where the end is not there either, nothing tells where chunks are.
    let found = files.open("a.E01").unwrap();
    assert!(read(&*found.device, 0, from).unwrap() == disk[..from]);
    assert!(read(&*found.device, from as u64, 1).is_err());
}

#[test]
fn a_damaged_chunk_is_an_error_of_its_own_bytes_alone() {
    let disk = disk(8);
    let good = image(&disk);
    let stored = find(&good, &disk[CHUNK..CHUNK + 64], 0);
    for (at, chunk, sentence) in [
        (stored + 9, 1, "chunk 1 has a bad checksum"),
        (stored - 3, 0, "chunk 0 cannot be inflated"),
    ] {
        let mut bytes = good.clone();
        bytes[at] ^= 0x10;
        let found = open(bytes);
        for other in 0..4 {
            let start = other * CHUNK;
            let result = read(&*found.device, start as u64, CHUNK);
            match other == chunk {
                true => assert_eq!(result.unwrap_err().message(), sentence),
                false => assert!(result.unwrap() == disk[start..start + CHUNK]),
            }
        }
    }
}

#[test]
fn sectors_that_could_not_be_read_are_a_finding() {
    let disk = disk(4);
    let bytes = File::new(1).shape("volume", 4, [0; 16]).sectors(&disk).table("table");
    let found = open(bytes.table("table2").errors(&[(3, 1), (1, 2)]).end("done"));
    is_disk(&found, &disk);
    let all = found.log.all();
    assert_eq!(all[0].code, code::EWF_READ_ERRORS);
    assert_eq!(
        all[0].message,
        "3 sectors in 2 places could not be read when the image was made, and are zeros; the first \
         is at byte 512 of the disk"
    );
}

#[test]
fn offsets_of_32_bits_of_encase_6_7_are_read() {
    use std::sync::Arc;
    use volfold_block::{BlockDevice, BlockResult};
    /// A file whose chunks are far behind its tables.
    struct Far {
        head: Vec<u8>,
        chunk: Vec<u8>,
        places: [u64; 3],
        tail: Vec<u8>,
        tail_at: u64,
    }
    impl BlockDevice for Far {
        fn size(&self) -> u64 {
            self.tail_at + self.tail.len() as u64
        }
        fn read_at(&self, offset: u64, buf: &mut [u8]) -> BlockResult<()> {
            for (at, byte) in (offset..).zip(buf) {
                let of = |start: u64, bytes: &[u8]| {
                    let index = usize::try_from(at.checked_sub(start)?).ok()?;
                    bytes.get(index).copied()
                };
                let mut found = of(0, &self.head).or_else(|| of(self.tail_at, &self.tail));
                for place in self.places {
                    found = found.or_else(|| of(place, &self.chunk));
                }
                *byte = found.unwrap_or(0);
            }
            Ok(())
        }
    }
    let data: Vec<u8> = disk(2);
    let mut chunk = data.clone();
    chunk.extend(adler(&data).to_le_bytes());
    let places = [1 << 20, (2 << 30) - 4096, (2 << 30) + (1 << 20)];
    let tail_at = (2_u64 << 30) + (2 << 20);
    let mut head = File::new(1).shape("volume", 6, [0; 16]).bytes;
    let mut sectors = b"sectors".to_vec();
    sectors.resize(16, 0);
    sectors.extend(tail_at.to_le_bytes());
    sectors.extend((tail_at - head.len() as u64).to_le_bytes());
    sectors.resize(72, 0);
    sectors.extend(adler(&sectors).to_le_bytes());
    head.extend(&sectors);
    let mut table = b"table".to_vec();
    let size = 76 + 24 + 12 + 4;
    table.resize(16, 0);
    table.extend((tail_at + size).to_le_bytes());
    table.extend(size.to_le_bytes());
    table.resize(72, 0);
    table.extend(adler(&table).to_le_bytes());
    let mut numbers = vec![3, 0, 0, 0];
    numbers.resize(20, 0);
    numbers.extend(adler(&numbers).to_le_bytes());
    let entries: Vec<u8> =
        places.iter().flat_map(|at| u32::try_from(*at).unwrap().to_le_bytes()).collect();
    numbers.extend(&entries);
    numbers.extend(adler(&entries).to_le_bytes());
    table.extend(numbers);
    let mut done = b"done".to_vec();
    done.resize(16, 0);
    done.extend((tail_at + size).to_le_bytes());
    done.resize(72, 0);
    done.extend(adler(&done).to_le_bytes());
    let tail = [table, done].concat();
    let far = Far { head, chunk, places, tail, tail_at };
    let found = Files::default().with_device("a.E01", Arc::new(far)).open("a.E01").unwrap();
    is_disk(&found, &data.repeat(3));
}

#[test]
fn the_second_version_is_refused_by_name() {
    let mut bytes = b"EVF2\r\n\x81\0\x02\x01\x02\0\x01\0\0\0".to_vec();
    bytes.resize(256, 0);
    let error = Files::default().with("a.Ex01", bytes.clone()).error("a.Ex01");
    assert_eq!(error.0, BlockErrorKind::Unsupported);
    assert!(error.2.contains("compressed with bzip2"), "{}", error.2);
    let last = bytes.len() - 64;
    bytes[last] = 0x0F;
    bytes[last + 8] = 64;
    bytes[64] = 0x0B;
    let error = Files::default().with("a.Ex01", bytes).error("a.Ex01");
    assert_eq!(error.0, BlockErrorKind::Encrypted);
}

/// Opens and reads all of `bytes`, chunk by chunk; no other byte than that of `disk` may come out
/// without a word.
fn is_right_or_an_error(bytes: Vec<u8>, disk: &[u8], what: &str) {
    let files = Files::default().with("a.E01", bytes);
    if let Ok(found) =
        crate::registry::open_as("ewf", &files.located("a.E01"), &crate::testing::context())
    {
        assert_eq!(found.device.size(), disk.len() as u64, "{what}");
        for (index, wanted) in disk.chunks(512).enumerate() {
            if let Ok(found) = read(&*found.device, index as u64 * 512, wanted.len()) {
                assert!(found == wanted, "{what}: sector {index}");
            }
        }
        assert!(found.device.extent_at(0).is_ok());
    }
}

#[test]
fn no_cut_and_no_other_byte_gives_other_bytes_without_a_word() {
    let disk = disk(5);
    let smart = File::new(1).short_shape(5).old_table(&disk, false).hash([3; 16]).end("done");
    let encase_1 = File::new(1).shape("volume", 5, [0; 16]).old_table(&disk, true).end("done");
    let errors = File::new(1).shape("volume", 5, [0; 16]).sectors(&disk).table("table");
    let errors = errors.table("table2").errors(&[(1, 1)]).end("done");
    for (name, good) in [("new", image(&disk)), ("smart", smart), ("1", encase_1), ("e", errors)] {
        for cut in (0..good.len()).step_by(64) {
            is_right_or_an_error(good[..cut].to_vec(), &disk, &format!("{name} cut at {cut}"));
        }
        for at in 0..good.len() {
            for bits in [0x01, 0x80, 0xFF] {
                let mut bytes = good.clone();
                bytes[at] ^= bits;
                is_right_or_an_error(bytes, &disk, &format!("{name} {at} ^ {bits:#x}"));
            }
        }
    }
}
