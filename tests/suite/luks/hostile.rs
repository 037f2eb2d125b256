//! Headers that ask for too much, or contradict themselves: refused by name, and nothing is tried for hours.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest, Sha256};
use volfold::DiskSet;
use volfold::volume::lock::{Key, KeyKind, WorkBudget};
use volfold::volume::luks::Luks;
use volfold::volume::{Region, VolumeManager};
use volfold_block::{BlockDevice, BlockError, BlockErrorKind, BlockResult, MemoryDevice};

use super::{PASSWORD, bytes_of, codes, copy, find, open, patch};
use crate::common::fixtures::{EncryptedFacts, fixture};
use crate::common::program::Scratch;
use crate::common::sha256;
use crate::harness::{apply, test};

/// Bytes of a header and its metadata in the fixtures.
const HEADER: usize = 0x4000;

/// Rewrites the metadata of both headers of `path` by `change`, and their checksums.
fn change(path: &Path, change: impl Fn(&str) -> String) {
    let mut bytes = fs::read(path).expect("an image");
    for start in [0, HEADER] {
        let header = &mut bytes[start..start + HEADER];
        let end = header[0x1000..].iter().position(|byte| *byte == 0).expect("an end");
        let text = String::from_utf8(header[0x1000..0x1000 + end].to_vec()).expect("text");
        let changed = change(&text);
        assert_ne!(changed, text, "nothing was changed");
        header[0x1000..].fill(0);
        header[0x1000..0x1000 + changed.len()].copy_from_slice(changed.as_bytes());
        header[0x1C0..0x200].fill(0);
        let sum = Sha256::digest(&*header);
        header[0x1C0..0x1C0 + sum.len()].copy_from_slice(&sum);
    }
    fs::write(path, bytes).expect("an image");
}

/// `text` with the number after each `"key":` changed to `value`.
fn with_number(text: &str, key: &str, value: &str) -> String {
    let mark = format!("\"{key}\":");
    let mut parts = text.split(&mark);
    let mut changed = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        changed.push_str(&mark);
        changed.push_str(value);
        changed.push_str(part.trim_start_matches(|letter: char| letter.is_ascii_digit()));
    }
    changed
}

/// The set of a copy of `name`, changed by `change`.
fn changed(scratch: &Scratch, name: &str, by: impl Fn(&str) -> String) -> (PathBuf, DiskSet) {
    let path = copy(scratch, name);
    change(&path, by);
    let set = open(std::slice::from_ref(&path), &[PASSWORD.as_bytes()]);
    (path, set)
}

#[apply(test)]
fn what_takes_too_much_work_or_memory_is_refused() {
    for (name, key, value, reason) in [
        ("argon2id.img", "memory", "4194305", "takes 4194305 KiB of memory, above 4 GiB"),
        ("argon2id.img", "memory", "4294967295", "KiB of memory, above 4 GiB"),
        ("argon2id.img", "time", "4294967295", "more work than is allowed"),
        ("argon2id.img", "cpus", "16777215", "make no sense"),
        ("argon2id.img", "memory", "0", "make no sense"),
        ("argon2id.img", "stripes", "4294967295", "more key material than is read"),
        ("argon2id.img", "stripes", "0", "invalid length"),
        ("argon2id.img", "stripes", "8000", "smaller than its key material"),
        ("essiv.img", "iterations", "4294967295", "more work than is allowed"),
        ("essiv.img", "iterations", "0", "make no sense"),
        ("essiv.img", "key_size", "31", "with a key of 248 bits is not read"),
        ("essiv.img", "sector_size", "513", "sectors of 513 bytes are not read"),
        ("essiv.img", "sector_size", "65536", "sectors of 65536 bytes are not read"),
        ("essiv.img", "sector_size", "99999999999", "cannot be read"),
    ] {
        let scratch = Scratch::new("luks");
        let (_, set) = changed(&scratch, name, |text| with_number(text, key, value));
        let [volume] = set.volumes() else { panic!("one volume") };
        let error = volume.volume.device.read_at(0, &mut [0]).expect_err("a refusal");
        assert!(error.message().contains(reason), "{key} {value}: {error}");
        assert!(codes(set.findings()).contains(&"luks-volume-refused"), "{key} {value}");
    }
}

#[apply(test)]
fn more_memory_than_is_usual_takes_a_key_for_the_volume_alone() {
    let scratch = Scratch::new("luks");
    let more = |text: &str| with_number(text, "memory", "1048577");
    let (_, set) = changed(&scratch, "argon2id.img", more);
    assert!(set.volumes()[0].volume.lock.is_some());
    let [finding] = set.findings() else { panic!("{:?}", set.findings()) };
    assert_eq!(finding.code, "volume-unreadable");
    let told = "takes 1048577 KiB of memory, above 1 GiB; give the key for this volume alone";
    assert!(finding.message.contains(told), "{finding}");
}

#[apply(test)]
fn what_is_not_known_is_refused_by_its_name() {
    for (from, to, reason) in [
        ("aes-cbc-essiv:sha256", "aes-lrw-benbi", "cipher aes-lrw-benbi"),
        ("\"type\":\"crypt\"", "\"type\":\"hw-opal-crypt\"", "OPAL"),
        ("\"type\":\"crypt\"", "\"type\":\"other\"", "segments of type other"),
        (
            "\"sector_size\"",
            "\"integrity\":{\"type\":\"hmac(sha256)\"},\"sector_size\"",
            "integrity (hmac(sha256))",
        ),
        (
            "\"sector_size\"",
            "\"flags\":[\"in-reencryption\"],\"sector_size\"",
            "being encrypted anew",
        ),
        ("\"type\":\"luks2\"", "\"type\":\"other\"", "key slots of type other"),
        ("\"type\":\"raw\"", "\"type\":\"datashift\"", "areas and splitters of type datashift"),
        ("\"type\":\"pbkdf2\",\"hash\"", "\"type\":\"scrypt\",\"hash\"", "key derivation scrypt"),
        ("\"hash\":\"sha512\"", "\"hash\":\"sha3-512\"", "hash sha3-512 is not read"),
        ("\"keyslots\":{\"0\"", "\"keyslots\":{\"7\"", "no key slot holds its key"),
        ("\"size\":\"dynamic\"", "\"size\":\"1073741824\"", "outside of its device"),
        ("\"size\":\"dynamic\"", "\"size\":\"512k\"", "512k is no number"),
        ("\"iv_tweak\":\"0\"", "\"iv_tweak\":\"-1\"", "-1 is no number"),
    ] {
        let scratch = Scratch::new("luks");
        let (_, set) = changed(&scratch, "essiv.img", |text| text.replace(from, to));
        let [volume] = set.volumes() else { panic!("one volume") };
        let error = volume.volume.device.read_at(0, &mut [0]).expect_err("a refusal");
        assert!(error.message().contains(reason), "{to}: {error}");
    }
}

#[apply(test)]
fn a_requirement_that_is_not_known_is_refused() {
    let required = |text: &str| {
        let requirements = "\"config\":{\"requirements\":{\"mandatory\":[\"inline-hw-tags\"]},";
        text.replace("\"config\":{", requirements)
    };
    let scratch = Scratch::new("luks");
    let (_, set) = changed(&scratch, "essiv.img", required);
    let error = set.volumes()[0].volume.device.read_at(0, &mut [0]).expect_err("a refusal");
    assert!(error.message().contains("requires inline-hw-tags, which is not known"), "{error}");
}

#[apply(test)]
fn another_slot_opens_what_one_cannot() {
    // The first slot of two is of a kind that is not read: the key of the second still opens it.
    let name = "argon2i-4k.img";
    let facts = &fixture("luks").encrypted[1];
    let key_file = data_encoding::HEXLOWER.decode(facts.keys[1].as_bytes()).expect("hexadecimal");
    let scratch = Scratch::new("luks");
    let path = copy(&scratch, name);
    change(&path, |text| text.replace("argon2i", "argon9"));
    let set = open(&[path], &[PASSWORD.as_bytes(), &key_file]);
    assert!(find(&set, &facts.id).volume.lock.is_none());
    let [finding] = set.findings() else { panic!("{:?}", set.findings()) };
    assert_eq!(finding.code, "luks-slot-refused");
    assert!(finding.message.contains("slot 0 is not tried: key derivation argon9"), "{finding}");
}

/// A disk that cannot be read from `bad` on, for 4 KiB.
struct BadSector {
    disk: MemoryDevice,
    bad: u64,
}

impl BlockDevice for BadSector {
    fn size(&self) -> u64 {
        self.disk.size()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> BlockResult<()> {
        if offset < self.bad + 4096 && offset + buf.len() as u64 > self.bad {
            return Err(BlockError::new(BlockErrorKind::Io, "bad sector"));
        }
        self.disk.read_at(offset, buf)
    }
}

#[apply(test)]
fn a_slot_that_cannot_be_read_keeps_no_other_from_being_tried() {
    let path = fixture("luks").folder().join("argon2i-4k.img");
    let facts = &fixture("luks").encrypted[1];
    let keys: Vec<Vec<u8>> = facts
        .keys
        .iter()
        .map(|key| data_encoding::HEXLOWER.decode(key.as_bytes()).expect("hexadecimal"))
        .collect();
    let bytes = fs::read(&path).expect("an image");
    let text = bytes[0x1000..].split(|byte| *byte == 0).next().expect("metadata");
    let metadata: serde_json::Value = serde_json::from_slice(text).expect("JSON");
    for (broken, why) in
        [0, 1].into_iter().flat_map(|slot| [(slot, "bad sector"), (slot, "erased")])
    {
        let area = |field: &str| -> usize {
            let number = metadata["keyslots"][broken.to_string()]["area"][field].as_str();
            number.expect("a field").parse().expect("a number")
        };
        let bad = area("offset");
        let device: Arc<dyn BlockDevice> = if why == "erased" {
            let mut erased = bytes.clone();
            erased[bad..bad + area("size")].fill(0);
            Arc::new(MemoryDevice::new(erased))
        } else {
            Arc::new(BadSector { disk: MemoryDevice::new(bytes.clone()), bad: bad as u64 })
        };
        let (size, label) = (device.size(), "disk".into());
        let region =
            Region { disk: 0, device, start: 0, size, label, partition: None, table_id: None };
        let claim = Luks.claim(&region).expect("a claim").expect("a volume");
        let volumes = Luks.assemble(&claim.group, &[region], &mut Vec::new());
        let lock = volumes[0].lock.as_ref().expect("a lock");
        let open = |key: &[u8]| {
            lock.unlock.unlock(&Key::new(KeyKind::KeyFile, key), &WorkBudget::default())
        };
        // The key of the other slot opens it, whichever is tried first.
        let opened = open(&keys[1 - broken]).expect("a readable slot").expect("the right key");
        assert_eq!(sha256(&bytes_of(&*opened)), facts.sha256);
        // Of any other key nobody knows whether it is wrong.
        for key in [&keys[broken][..], b"wrong"] {
            let error = open(key).err().expect("an error");
            let error = error.to_string();
            let told = format!("key material of slot {broken}");
            assert!(error.contains(&told) && error.contains(why), "{error}");
        }
    }
}

#[apply(test)]
fn headers_of_luks1_that_make_no_sense_are_refused() {
    let slot = |number: usize| 0xD0 + 48 * number;
    let huge = u32::MAX.to_be_bytes();
    for (offset, bytes, reason) in [
        (6, &[0, 3][..], "version 3 of LUKS"),
        (0x68, &[0; 4], "header is detached"),
        (0x68, &huge, "ends before its data begin"),
        (0x6C, &huge, "is not read"),
        (0x48, b"whirlpool\0", "hash whirlpool is not read"),
        (0x08, b"blowfish\0", "cipher blowfish-xts-plain64"),
        (0xA4, &huge, "more work than is allowed"),
        (slot(0), &[0; 4], "no key slot holds its key"),
        (slot(0) + 4, &huge, "slot 0: key derivation takes more work"),
        (slot(0) + 44, &huge, "slot 0: has more key material"),
    ] {
        let scratch = Scratch::new("luks");
        let path = copy(&scratch, "serpent.img");
        patch(&path, offset, bytes);
        let set = open(&[path], &[PASSWORD.as_bytes()]);
        let [volume] = set.volumes() else { panic!("one volume") };
        let error = volume.volume.device.read_at(0, &mut [0]).expect_err("a refusal");
        assert!(error.message().contains(reason), "{reason}: {error}");
    }
    // Key material past the end of the device is told when a key is tried.
    let scratch = Scratch::new("luks");
    let path = copy(&scratch, "serpent.img");
    patch(&path, slot(0) + 40, &huge);
    let set = open(&[path], &[PASSWORD.as_bytes()]);
    assert!(set.volumes()[0].volume.lock.is_some());
    let told = &set.findings()[0].message;
    assert!(told.contains("key material of slot 0"), "{told}");
}

/// A change of metadata.
type Change = fn(&str) -> String;

/// Changes of the metadata of `essiv.img` that put something in the place of something else, and what is said.
const MISPLACED: [(Change, &str); 5] = [
    (
        |text| text.replace("\"offset\":\"327680\"", "\"offset\":\"323584\""),
        "a segment begins before the key slots end",
    ),
    (
        |text| text.replace("\"offset\":\"327680\"", "\"offset\":\"4096\""),
        "a segment begins before the key slots end",
    ),
    (
        |text| text.replace("\"offset\":\"32768\"", "\"offset\":\"28672\""),
        "areas of key slots lie outside of their place",
    ),
    (
        |text| text.replace("\"keyslots_size\":\"294912\"", "\"keyslots_size\":\"98304\""),
        "areas of key slots lie outside of their place",
    ),
    (
        |text| {
            let second = "\"segments\":{\"1\":{\"type\":\"linear\",\"offset\":\"331776\",\
                          \"size\":\"dynamic\"},\"0\":{";
            let text = text.replace("\"size\":\"dynamic\"", "\"size\":\"65536\"");
            text.replace("\"segments\":{\"0\":{", second)
        },
        "segments overlap",
    ),
];

#[apply(test)]
fn what_lies_in_the_place_of_something_else_is_refused() {
    for (change, reason) in MISPLACED {
        let scratch = Scratch::new("luks");
        let (_, set) = changed(&scratch, "essiv.img", change);
        let [volume] = set.volumes() else { panic!("one volume") };
        let error = volume.volume.device.read_at(0, &mut [0]).expect_err("a refusal");
        assert!(error.message().contains(reason), "{reason}: {error}");
        assert_eq!(codes(set.findings()), ["luks-volume-refused"], "{reason}");
    }
    // The data of LUKS1 begin inside of the key material.
    let scratch = Scratch::new("luks");
    let path = copy(&scratch, "serpent.img");
    patch(&path, 0x68, &16_u32.to_be_bytes());
    let set = open(&[path], &[PASSWORD.as_bytes()]);
    let told = &set.findings()[0].message;
    assert!(told.contains("data of LUKS1 begin inside of key slot 0"), "{told}");
}

#[cfg(target_os = "linux")]
#[apply(test)]
fn cryptsetup_refuses_what_lies_in_the_place_of_something_else() {
    use crate::common::program::{program, text};
    crate::harness::needs_programs(&["cryptsetup"]);
    for (how, reason) in MISPLACED {
        let scratch = Scratch::new("luks");
        let path = copy(&scratch, "essiv.img");
        program("cryptsetup", &["luksDump", text(&path)]).code(0);
        change(&path, how);
        let output = program("cryptsetup", &["luksDump", text(&path)]);
        assert_ne!(output.code, Some(0), "{reason}: {output:?}");
    }
}

/// What is in the volume of `facts` in the image at `path`.
fn right(path: &Path, facts: &EncryptedFacts) -> Vec<u8> {
    let set = open(&[path.to_path_buf()], &[PASSWORD.as_bytes()]);
    let bytes = bytes_of(&*find(&set, &facts.id).volume.device);
    assert_eq!(sha256(&bytes), facts.sha256);
    bytes
}

/// Whether what is read of the volume of `set` with the id of `facts` is `right`, an error, or told.
fn is_right_or_told(set: &DiskSet, facts: &EncryptedFacts, right: &[u8]) -> bool {
    let volume = set.volumes().iter().find(|volume| volume.id() == facts.id);
    let Some(volume) = volume else { return set.volumes().iter().all(|it| it.is_left_out()) };
    let device = &volume.volume.device;
    let mut bytes = vec![0; usize::try_from(device.size().min(32 << 10)).expect("a size")];
    match device.read_at(0, &mut bytes) {
        Ok(()) => right.starts_with(&bytes) || !set.findings().is_empty(),
        Err(_) => volume.is_left_out(),
    }
}

#[apply(test)]
fn a_number_of_the_metadata_that_is_wrong_gives_no_wrong_byte_in_silence() {
    for (index, name) in [(0, "argon2id.img"), (2, "essiv.img")] {
        let facts = &fixture("luks").encrypted[index];
        assert_eq!(facts.file, name);
        let scratch = Scratch::new("luks");
        let path = copy(&scratch, name);
        let whole = fs::read(&path).expect("an image");
        let right = right(&path, facts);
        let text = std::cell::RefCell::new(String::new());
        change(&path, |found| {
            text.replace(found.to_owned());
            format!("{found} ")
        });
        let text = text.into_inner();
        // What lies where, and is encrypted how, only the header says.
        let end = text.find("\"segments\":{\"0\"").expect("segments");
        let after = end + text[end..].find("\"digests\"").expect("digests");
        let is_digit = |at: usize| text.as_bytes()[at].is_ascii_digit();
        let starts = (1..text.len()).filter(|at| is_digit(*at) && !is_digit(at - 1));
        for at in starts.filter(|at| !(end..after).contains(at)) {
            let old: String = text[at..].chars().take_while(char::is_ascii_digit).collect();
            for new in ["0", "1", "4294967295", "18446744073709551615"] {
                fs::write(&path, &whole).expect("an image");
                if new == old {
                    continue;
                }
                change(&path, |text| [&text[..at], new, &text[at + old.len()..]].concat());
                let set = open(std::slice::from_ref(&path), &[PASSWORD.as_bytes()]);
                let place = format!("{name}: {old} at {at} is {new}: {:?}", set.findings());
                assert!(is_right_or_told(&set, facts, &right), "{place}");
            }
        }
    }
}

#[apply(test)]
fn every_byte_of_a_header_of_luks1_may_be_wrong() {
    let facts = &fixture("luks").encrypted[3];
    let scratch = Scratch::new("luks");
    let path = copy(&scratch, &facts.file);
    let whole = fs::read(&path).expect("an image");
    let right = right(&path, facts);
    let start = whole.windows(6).position(|bytes| bytes == b"LUKS\xBA\xBE").expect("a header");
    // Where the data begin only the header says.
    // Of the slots that hold nothing a few bytes.
    let all = (0..0x100).chain((0x100..592).step_by(12));
    for at in all.filter(|at| !(0x68..0x6C).contains(at)) {
        let mut bytes = whole.clone();
        bytes[start + at] ^= 0x11;
        fs::write(&path, bytes).expect("an image");
        let set = open(std::slice::from_ref(&path), &[PASSWORD.as_bytes()]);
        let is_uuid = (0xA8..0xD0).contains(&at);
        let is_right = is_uuid || is_right_or_told(&set, facts, &right);
        assert!(is_right, "byte {at}: {:?}", set.findings());
    }
}

#[apply(test)]
fn every_byte_of_a_header_may_be_wrong() {
    let scratch = Scratch::new("luks");
    let path = copy(&scratch, "essiv.img");
    let whole = fs::read(&path).expect("an image");
    // A checksum is shorter than its field.
    for at in (0..0x1400).step_by(61).filter(|at| !(0x1E0..0x200).contains(at)) {
        let mut bytes = whole.clone();
        // The second header is gone, so that the first counts or nothing.
        bytes[HEADER..2 * HEADER].fill(0);
        bytes[at] ^= 0x55;
        fs::write(&path, bytes).expect("an image");
        let set = open(std::slice::from_ref(&path), &[PASSWORD.as_bytes()]);
        let [volume] = set.volumes() else { panic!("one volume") };
        let is_read = volume.volume.device.read_at(0, &mut [0; 512]).is_ok();
        assert!(!is_read || volume.id() == "disk0", "byte {at}: {:?}", set.findings());
    }
}
