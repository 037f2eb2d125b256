use super::super::header::tests::package;
use super::*;
use crate::guest::packages::lines::tests::Bytes;
use crate::guest::packages::purl::Distribution;

/// Bytes of a page.
const PAGE: usize = 512;

fn varint(number: usize) -> Vec<u8> {
    let low = u8::try_from(number & 0x7F).unwrap();
    match number >> 7 {
        0 => vec![low],
        high => vec![u8::try_from(high).unwrap() | 0x80, low],
    }
}

/// A page of rows, from byte `start` on.
fn leaf(start: usize, rows: &[(usize, Vec<u8>)]) -> Vec<u8> {
    let mut page = vec![0; PAGE];
    page[start] = 13;
    page[start + 4] = u8::try_from(rows.len()).unwrap();
    let mut end = PAGE;
    for (index, (number, payload)) in rows.iter().enumerate() {
        let cell = [varint(payload.len()), varint(*number), payload.clone()].concat();
        end -= cell.len();
        page[end..end + cell.len()].copy_from_slice(&cell);
        let at = start + 8 + index * 2;
        page[at..at + 2].copy_from_slice(&u16::try_from(end).unwrap().to_be_bytes());
    }
    page
}

fn schema(name: &str, root: u8) -> Vec<u8> {
    let kind = |text: &str| u8::try_from(text.len() * 2 + 13).unwrap();
    let types = [6, kind("table"), kind(name), kind(name), 1, kind("")];
    [&types, b"table".as_slice(), name.as_bytes(), name.as_bytes(), &[root]].concat()
}

fn row(name: &str) -> Vec<u8> {
    let blob = package(name);
    let kind = varint(blob.len() * 2 + 12);
    [vec![u8::try_from(kind.len()).unwrap() + 2, 0], kind, blob].concat()
}

/// A database whose table is an inner page 2 with the pages of rows 3 and 4.
fn database() -> Vec<u8> {
    let mut first = leaf(100, &[(1, schema("Basenames", 9)), (2, schema("Packages", 2))]);
    first[..16].copy_from_slice(b"SQLite format 3\0");
    first[16..18].copy_from_slice(&[2, 0]);
    first[18..20].copy_from_slice(&[1, 1]);
    first[59] = 1;
    let mut inner = vec![0; PAGE];
    inner[..14].copy_from_slice(&[5, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 4, 1, 0]);
    inner[256..261].copy_from_slice(&[0, 0, 0, 3, 1]);
    [first, inner, leaf(0, &[(1, row("bash"))]), leaf(0, &[(2, row("zlib"))])].concat()
}

fn parse(file: &[u8], log: Option<&[u8]>) -> FsResult<(Vec<String>, Vec<String>)> {
    let open = |bytes: &[u8]| -> Arc<dyn FileData> { Arc::new(Bytes(bytes.to_vec())) };
    let mut into = Collector::new(Distribution::default(), &crate::Monitor::default());
    read(open(file), log.map(open), &mut into)?;
    let (packages, findings) = into.end();
    let names = packages.into_iter().map(|package| package.name).collect();
    Ok((names, findings.into_iter().map(|finding| finding.message).collect()))
}

#[test]
fn rows_are_found_through_inner_pages() {
    let (names, findings) = parse(&database(), None).unwrap();
    assert_eq!(names, ["bash", "zlib"]);
    assert_eq!(findings, Vec::<String>::new());
}

#[test]
fn a_damaged_page_is_told_and_loses_no_other() {
    let mut file = database();
    file[2 * PAGE] = 10;
    let (names, findings) = parse(&file, None).unwrap();
    assert_eq!(names, ["zlib"]);
    assert_eq!(findings, ["page 3 is not a page of a table"]);
    let mut file = database();
    file[2 * PAGE + 4] = 0;
    let (names, findings) = parse(&file, None).unwrap();
    assert_eq!(names, ["zlib"]);
    assert_eq!(findings, ["page 3 of a table is empty"]);
}

#[test]
fn a_circle_of_pages_ends() {
    let mut file = database();
    file[PAGE + 256 + 3] = 2;
    let (names, findings) = parse(&file, None).unwrap();
    assert_eq!(names, ["zlib"]);
    assert_eq!(findings, ["page 2 is in its table twice"]);
}

#[test]
fn a_header_larger_than_its_database_is_refused_before_there_is_memory() {
    let mut file = database();
    let at = 2 * PAGE + 8;
    let cell = usize::from(u16::from_be_bytes([file[at], file[at + 1]]));
    // 101,600,039 bytes, of which 39 are on this page, as a number of variable length.
    file[2 * PAGE + cell..2 * PAGE + cell + 4].copy_from_slice(&[0xB0, 0xB9, 0x96, 0x27]);
    let (names, findings) = parse(&file, None).unwrap();
    assert_eq!(names, ["zlib"]);
    assert!(findings[0].starts_with("row on page 3: package header has"), "{findings:?}");
}

#[test]
fn every_cut_and_every_changed_byte_ends_in_packages_or_a_finding() {
    let file = database();
    for length in 0..file.len() {
        let told = parse(&file[..length], None);
        assert!(
            told.is_err() || told.is_ok_and(|(names, told)| names.len() == 2 || !told.is_empty())
        );
    }
    for at in 0..file.len() {
        for value in [0, 0x7F, 0xFF] {
            let mut file = file.clone();
            file[at] = value;
            let _ = parse(&file, None);
        }
    }
}

/// A log with `pages`, the last of each transaction marked.
fn log(pages: &[(u8, bool, Vec<u8>)]) -> Vec<u8> {
    let sums = |start: [u32; 2], bytes: &[u8]| {
        let number = |bytes: &[u8]| u32::from_be_bytes(bytes.try_into().unwrap());
        bytes.chunks(8).fold(start, |[one, two], pair| {
            let one = one.wrapping_add(number(&pair[..4])).wrapping_add(two);
            [one, two.wrapping_add(number(&pair[4..])).wrapping_add(one)]
        })
    };
    let mut log = [0x377F_0683_u32, 3_007_000, 512, 0, 7, 8].map(u32::to_be_bytes).concat();
    let mut checksum = sums([0; 2], &log);
    log.extend(checksum.map(u32::to_be_bytes).concat());
    for (number, is_last, page) in pages {
        let head = [0, 0, 0, *number, 0, 0, 0, if *is_last { 4 } else { 0 }];
        checksum = sums(sums(checksum, &head), page);
        log.extend([head.as_slice(), &[0, 0, 0, 7, 0, 0, 0, 8]].concat());
        log.extend(checksum.map(u32::to_be_bytes).concat());
        log.extend(page);
    }
    log
}

#[test]
fn what_a_log_has_committed_is_applied_and_nothing_else() {
    let file = database();
    let newer = leaf(0, &[(1, row("dash"))]);
    let open = leaf(0, &[(2, row("never"))]);
    let log = log(&[(3, true, newer), (4, false, open)]);
    let (names, findings) = parse(&file, Some(&log)).unwrap();
    assert_eq!(names, ["dash", "zlib"]);
    assert_eq!(findings, Vec::<String>::new());
    let mut damaged = log.clone();
    damaged[32 + 24 + 9] ^= 1;
    let (names, findings) = parse(&file, Some(&damaged)).unwrap();
    assert_eq!(names, ["bash", "zlib"]);
    assert_eq!(findings.len(), 1);
    let (_, findings) = parse(&file, Some(b"no log")).unwrap();
    assert!(findings[0].starts_with("write-ahead log is not applied"), "{findings:?}");
}
