//! The hashes that an image keeps of its disk: shown by `list`, compared by `check`.

use std::fs;
use std::path::PathBuf;

use crate::common::corpus;
use crate::common::program::{Scratch, text, volfold};
use crate::harness::{apply, test};
use data_encoding::HEXLOWER;

/// The file `name` of the entry `id` of the corpus.
fn corpus_file(id: &str, name: &str) -> PathBuf {
    let folder = corpus::needed();
    let manifest = corpus::manifest(&folder);
    let entry = manifest.entries.iter().find(|entry| entry.id == id).expect("the entry");
    corpus::unpack(&folder, entry).join(name)
}

/// Adler-32, as RFC 1950 computes it.
fn adler(bytes: &[u8]) -> u32 {
    let (low, high) = bytes.iter().fold((1_u32, 0_u32), |(low, high), byte| {
        let low = (low + u32::from(*byte)) % 65521;
        (low, (high + low) % 65521)
    });
    high << 16 | low
}

#[apply(test)]
fn list_shows_the_hashes_of_an_e01_and_check_compares_them() {
    let image = corpus_file("ewf-plaso-image", "image.E01");
    let json = volfold(["list", "--json", text(&image)]).code(0).json();
    let hashes = json["disks"][0]["recorded_hashes"].as_array().expect("hashes").clone();
    assert_eq!(hashes[0]["algorithm"], "md5");
    let md5 = hashes[0]["value"].as_str().expect("a hash").to_owned();
    assert_eq!(md5.len(), 32);
    let shown = volfold(["list", text(&image)]).code(0).text();
    assert!(shown.contains(&format!("recorded md5 {md5}")), "{shown}");
    let checked = volfold(["check", text(&image)]).code(0).text();
    assert!(checked.contains(&format!("disk0: md5 {md5}, as it was recorded")), "{checked}");
    assert!(checked.contains("all that is known can be read, and agrees"), "{checked}");
    let json = volfold(["check", "--json", text(&image)]).code(0).json();
    assert_eq!(json["disks"][0]["hashes"][0]["found"], md5.as_str());
    // The record is another one, with a good checksum of its own.
    let scratch = Scratch::new("recorded");
    let mut bytes = fs::read(&image).expect("the image");
    let record = HEXLOWER.decode(md5.as_bytes()).expect("digits");
    for start in 0..bytes.len() - 80 {
        if bytes[start..].starts_with(&record) {
            // `digest` has 76 bytes before its checksum, `hash` has 32.
            bytes[start] ^= 1;
            for length in [76, 32] {
                let end = start + length;
                let sum = adler(&fs::read(&image).expect("the image")[start..end]).to_le_bytes();
                if bytes[end..].starts_with(&sum) {
                    let sum = adler(&bytes[start..end]).to_le_bytes();
                    bytes[end..end + 4].copy_from_slice(&sum);
                }
            }
        }
    }
    let bent = scratch.path().join("bent.E01");
    fs::write(&bent, bytes).expect("a file");
    let checked = volfold(["check", text(&bent)]).code(3).says("[image-hash-differs]");
    assert!(checked.text().contains("not all can be read, or is certain"));
    // A byte of the disk is another one: its chunk is an error, and nothing is compared.
    let mut bytes = fs::read(&image).expect("the image");
    let sectors = bytes.windows(8).position(|it| it == b"sectors\0").expect("a section");
    bytes[sectors + 76 + 40] ^= 0x40;
    fs::write(&bent, bytes).expect("a file");
    volfold(["check", text(&bent)]).code(3).says("[image-hash-not-compared]");
}

#[apply(test)]
fn check_compares_the_checksums_of_a_dmg() {
    let image = corpus_file("dmg-dfvfs-hfsplus-zlib", "hfsplus_zlib.dmg");
    let checked = volfold(["check", "--json", text(&image)]);
    let json = checked.json();
    assert_eq!(json["disks"][0]["checksums"]["agreeing"], 6, "{json}");
    assert_eq!(json["disks"][0]["checksums"]["differing"], 0);
    let scratch = Scratch::new("recorded-dmg");
    // A run of zeros and a run that the checksum leaves out have changed their kinds.
    let mut bytes = fs::read(&image).expect("the image");
    let at = bytes.windows(8).position(|it| it == b"<key>CFN").expect("a list");
    let data = bytes[at..].windows(6).position(|it| it == b"<data>").expect("a table") + at;
    // The checksum of the first table is digits 96 to 101 of base64, past 6 bytes of tag and spaces.
    let digits: Vec<usize> =
        (data + 6..).filter(|at| !bytes[*at].is_ascii_whitespace()).take(120).collect();
    bytes[digits[97]] = if bytes[digits[97]] == b'A' { b'B' } else { b'A' };
    let bent = scratch.path().join("bent.dmg");
    fs::write(&bent, bytes).expect("a file");
    volfold(["check", text(&bent)]).code(3).says("[image-hash-differs]");
}
