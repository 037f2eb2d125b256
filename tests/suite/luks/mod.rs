//! Encrypted volumes of Linux: those that cryptsetup and qemu-img made, whole and damaged, with right and
//! wrong keys, and what lies in them.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use data_encoding::HEXLOWER;
use volfold::volume::Health;
use volfold::volume::lock::{Key, KeyKind, KeyRequest, KeySource};
use volfold::{DiskSet, Incomplete, OpenOptions, SetVolume};
use volfold_block::{BlockDevice, BlockErrorKind, BlockResult, Finding};

use crate::common::fixtures::{EncryptedFacts, Fixture, fixture, index};
use crate::common::program::Scratch;
use crate::common::sha256;
use crate::harness::{apply, test};

#[cfg(target_os = "linux")]
mod commands;
mod detached;
mod hostile;
#[cfg(target_os = "linux")]
mod images;

/// The password of all fixtures.
const PASSWORD: &str = "a secret of LUKS";

/// The set of `paths`, opened with `keys`, each tried on every locked volume.
fn open(paths: &[PathBuf], keys: &[&[u8]]) -> DiskSet {
    let keys: Vec<Vec<u8>> = keys.iter().map(|key| key.to_vec()).collect();
    let mut options = OpenOptions::default();
    options.keys = Arc::new(move |request: &KeyRequest<'_>| -> BlockResult<Option<Key>> {
        let key = keys.get(request.attempt).cloned();
        Ok(key.map(|key| Key::new(KeyKind::KeyFile, key).from_origin("a key of the test")))
    });
    DiskSet::open(paths, &options).unwrap_or_else(Incomplete::into_set)
}

fn find<'a>(set: &'a DiskSet, id: &str) -> &'a SetVolume {
    let volume = set.volumes().iter().find(|volume| volume.id() == id);
    volume.unwrap_or_else(|| panic!("no {id}: {:?}", set.findings()))
}

fn codes(findings: &[Finding]) -> Vec<&str> {
    findings.iter().map(|finding| finding.code.as_str()).collect()
}

fn bytes_of(device: &dyn BlockDevice) -> Vec<u8> {
    let mut bytes = vec![0; device.size() as usize];
    device.read_at(0, &mut bytes).expect("all bytes");
    bytes
}

/// The encrypted volumes of all fixtures that are read, each from one image.
fn read() -> impl Iterator<Item = (&'static Fixture, &'static EncryptedFacts)> {
    let fixtures = index().fixtures.values();
    let all = fixtures.flat_map(|one| one.encrypted.iter().map(move |facts| (one, facts)));
    all.filter(|(_, facts)| facts.refused.is_none() && facts.header.is_none())
}

fn image(fixture: &Fixture, facts: &EncryptedFacts) -> PathBuf {
    fixture.folder().join(&facts.file)
}

/// A copy of the image `name` of the fixture `luks` in `scratch`.
fn copy(scratch: &Scratch, name: &str) -> PathBuf {
    let original = fixture("luks").folder().join(name);
    scratch.copy(&original)
}

/// Writes `bytes` over what `path` has at `offset`.
fn patch(path: &Path, offset: usize, bytes: &[u8]) {
    let mut all = fs::read(path).expect("an image");
    all[offset..offset + bytes.len()].copy_from_slice(bytes);
    fs::write(path, all).expect("an image");
}

#[apply(test)]
fn every_key_gives_the_bytes_that_were_encrypted() {
    let mut count = 0;
    for (fixture, facts) in read() {
        for key in &facts.keys {
            let key = HEXLOWER.decode(key.as_bytes()).expect("hexadecimal");
            let set = open(&[image(fixture, facts)], &[b"wrong", &key]);
            let volume = find(&set, &facts.id);
            let place = format!("{}: {:?}", facts.file, set.findings());
            assert!(volume.volume.lock.is_none() && set.findings().is_empty(), "{place}");
            let device = &*volume.volume.device;
            assert_eq!((volume.volume.health, device.size()), (Health::Healthy, facts.size));
            assert_eq!(volume.volume.size, facts.size);
            let bytes = bytes_of(device);
            assert_eq!(sha256(&bytes), facts.sha256, "{place}");
            check_parts(device, &bytes);
            assert!(volume.reason.is_none() && volume.name.starts_with("LUKS"), "{}", volume.name);
            count += 1;
        }
    }
    assert!(count >= 9, "{count} keys");
}

#[apply(test)]
fn keys_go_once_the_set_is_open() {
    let keys: Arc<dyn KeySource> = Arc::new(|request: &KeyRequest<'_>| {
        Ok((request.attempt == 0).then(|| Key::new(KeyKind::Password, PASSWORD)))
    });
    let mut options = OpenOptions::default();
    options.keys = keys.clone();
    let set = DiskSet::open(fixture("luks").paths(), &options).expect("a set");
    drop(options);
    assert!(set.volumes().iter().all(|volume| volume.volume.lock.is_none()));
    assert_eq!(Arc::strong_count(&keys), 1, "the set has no key");
}

/// Reads parts that begin and end inside of sectors: each is as in `whole`.
fn check_parts(device: &dyn BlockDevice, whole: &[u8]) {
    let lengths = [1, 7, 16, 511, 512, 513, 4095, 4096, 4097, 12_000, 70_001];
    for (number, length) in lengths.iter().cycle().take(200).enumerate() {
        let offset = number * 104_729 % (whole.len() - length);
        let mut part = vec![0; *length];
        device.read_at(offset as u64, &mut part).expect("a part");
        assert!(part == whole[offset..offset + length], "{length} bytes at {offset}");
    }
    let size = whole.len() as u64;
    let error = device.read_at(size - 1, &mut [0; 2]).expect_err("past the end");
    assert_eq!(error.kind(), BlockErrorKind::OutOfRange);
    assert_eq!(device.extent_at(0).expect("an extent").length, size);
}

#[apply(test)]
fn without_its_key_a_volume_is_listed_and_gives_no_byte() {
    let facts = fixture("luks").encrypted.clone();
    for (keys, wrong) in [(&[][..], 0), (&[&b"wrong"[..], b"wrong", b"other"][..], 1)] {
        let set = open(&fixture("luks").paths(), keys);
        for facts in &facts {
            let volume = find(&set, &facts.id);
            let lock = volume.volume.lock.as_ref().expect("a lock");
            assert_eq!(lock.kind, facts.kind);
            assert_eq!(lock.keys, [KeyKind::Password, KeyKind::KeyFile]);
            assert_eq!((volume.volume.size, volume.is_left_out()), (facts.size, true));
            let reason = volume.reason.as_deref().expect("a reason");
            assert!(reason.starts_with("locked: LUKS") && reason.contains("key slot"), "{reason}");
            let error = volume.volume.device.read_at(0, &mut [0; 512]).expect_err("locked");
            assert_eq!(error.kind(), BlockErrorKind::Refused);
            let about = |finding: &&Finding| finding.volume.as_deref() == Some(&facts.id);
            let told: Vec<&Finding> = set.findings().iter().filter(about).collect();
            assert_eq!(told.len(), wrong, "{told:?}");
            assert!(told.iter().all(|finding| finding.code == "key-wrong"), "{told:?}");
        }
    }
    let second = open(&[fixture("luks").folder().join("argon2i-4k.img")], &[]);
    let reason = second.volumes()[0].reason.as_deref().expect("a reason");
    let wanted = "locked: LUKS2, opened by a password or a key file (2 key slots; tokens are not \
                  used: luks2-keyring)";
    assert_eq!(reason, wanted);
}

#[apply(test)]
fn what_is_refused_is_listed_and_says_why() {
    for facts in &fixture("luks-refused").encrypted {
        let set = open(&[image(&fixture("luks-refused"), facts)], &[PASSWORD.as_bytes()]);
        let volume = find(&set, &facts.id);
        let reason = facts.refused.as_deref().expect("a reason");
        assert_eq!((volume.volume.health, volume.is_left_out()), (Health::Failed, true));
        let error = volume.volume.device.read_at(0, &mut [0; 512]).expect_err("a refusal");
        assert!(error.message().contains(reason), "{error}");
        assert_eq!(codes(set.findings()), ["luks-volume-refused"], "{:?}", set.findings());
    }
}

#[apply(test)]
fn either_header_of_luks2_is_enough() {
    let facts = &fixture("luks").encrypted[1];
    // The first as a whole, a byte of its metadata, its version; the second as a whole, a byte of it.
    for (number, (offset, length)) in
        [(0, 0x1000), (0x1100, 1), (6, 2), (0x4000, 0x1000), (0x5100, 1)].into_iter().enumerate()
    {
        let scratch = Scratch::new("luks");
        let path = copy(&scratch, "argon2i-4k.img");
        patch(&path, offset, &vec![0; length]);
        let set = open(&[path], &[PASSWORD.as_bytes()]);
        let volume = find(&set, &facts.id);
        assert_eq!(sha256(&bytes_of(&*volume.volume.device)), facts.sha256, "{number}");
        assert_eq!(codes(set.findings()), ["luks-header-damaged"], "{number}");
    }
    let scratch = Scratch::new("luks");
    let path = copy(&scratch, "argon2i-4k.img");
    patch(&path, 0x1100, &[0]);
    patch(&path, 0x5100, &[0]);
    let set = open(&[path], &[PASSWORD.as_bytes()]);
    let error = find(&set, &facts.id).volume.device.read_at(0, &mut [0]).expect_err("damaged");
    assert!(error.message().contains("wrong checksum"), "{error}");
}

#[apply(test)]
fn a_second_header_that_is_left_from_before_hides_nothing() {
    let scratch = Scratch::new("luks");
    let path = copy(&scratch, "argon2id.img");
    // Something else was written over the start since.
    let mut other = vec![0; 8192];
    other[..4].copy_from_slice(b"XFSB");
    patch(&path, 0, &other);
    let set = open(&[path], &[PASSWORD.as_bytes()]);
    let [volume] = set.volumes() else { panic!("one volume") };
    assert!(volume.id() == "disk0" && volume.volume.lock.is_none());
}

#[apply(test)]
fn a_disk_that_was_partitioned_since_shows_its_partitions() {
    // A table of one entry, and the mark, over the header of LUKS1, which stays there else.
    let mut entry = [0; 64];
    (entry[4], entry[8], entry[12]) = (0x83, 64, 128);
    let scratch = Scratch::new("luks");
    let path = copy(&scratch, "serpent.img");
    patch(&path, 446, &entry);
    patch(&path, 510, &[0x55, 0xAA]);
    let set = open(std::slice::from_ref(&path), &[PASSWORD.as_bytes()]);
    let [volume] = set.volumes() else { panic!("one volume") };
    assert!(volume.volume.lock.is_none() && volume.id().starts_with("mbr:"), "{}", volume.id());
    // Where the mark is part of a slot in use it is none.
    patch(&path, 0xD0 + 48 * 6, &0x00AC_71F3_u32.to_be_bytes());
    let set = open(&[path], &[PASSWORD.as_bytes()]);
    let [volume] = set.volumes() else { panic!("one volume") };
    assert!(volume.id().starts_with("luks:"), "{}", volume.id());
}

#[apply(test)]
fn an_image_that_ends_early_is_read_as_far_as_it_goes() {
    let scratch = Scratch::new("luks");
    let facts = &fixture("luks").encrypted[3];
    let path = copy(&scratch, &facts.file);
    let whole = open(std::slice::from_ref(&path), &[PASSWORD.as_bytes()]);
    let whole = bytes_of(&*find(&whole, &facts.id).volume.device);
    // The end of the partition, of 64 KiB after it, and of 100,000 bytes.
    let mut bytes = fs::read(&path).expect("an image");
    bytes.truncate(bytes.len() - (64 << 10) - 100_000);
    fs::write(&path, bytes).expect("an image");
    let set = open(&[path], &[PASSWORD.as_bytes()]);
    let volume = &find(&set, &facts.id).volume;
    assert_eq!((volume.health, volume.size), (Health::Failed, facts.size));
    let there = bytes_of(&*volume.device);
    let wanted = (whole.len() - 100_000) / 512 * 512;
    assert!(there.len() == wanted && there == whole[..wanted], "{} of {wanted}", there.len());
    let error = volume.device.read_at(facts.size - 512, &mut [0; 512]).expect_err("missing");
    assert_eq!(error.kind(), BlockErrorKind::OutOfRange);
}

#[apply(test)]
fn volumes_in_volumes_are_found_through_luks() {
    let nested = fixture("luks-nested");
    let facts = &nested.encrypted[0];
    let locked = open(&nested.paths(), &[]);
    let [volume] = locked.volumes() else { panic!("one volume") };
    assert!(volume.volume.lock.is_some() && volume.id().starts_with("luks:"));
    let set = open(&nested.paths(), &[PASSWORD.as_bytes()]);
    let [volume] = set.volumes() else { panic!("one volume") };
    assert_eq!((volume.id(), volume.name.as_str()), (facts.id.as_str(), "LUKS30"));
    let membership = volume.volume.membership.as_ref().expect("a group");
    assert_eq!((membership.group.as_str(), membership.parts[0].offset), ("inside", None));
    // Where it lies on disks is told by the volume that is outermost.
    let [extent] = volume.volume.extents[..] else { panic!("one extent") };
    assert_eq!((extent.disk, extent.offset), (0, 1 << 20));
}

#[apply(test)]
fn copies_of_a_disk_are_opened_each_by_itself() {
    let scratch = Scratch::new("luks");
    let (first, second) = (copy(&scratch, "essiv.img"), scratch.join("second.img"));
    fs::copy(&first, &second).expect("a copy");
    let facts = &fixture("luks").encrypted[2];
    let set = open(&[first, second], &[PASSWORD.as_bytes()]);
    assert_eq!(codes(set.findings()), ["duplicate-volume-id"]);
    assert_eq!(set.volumes().len(), 2);
    for volume in set.volumes() {
        assert_eq!(sha256(&bytes_of(&*volume.volume.device)), facts.sha256);
    }
}

#[apply(test)]
fn other_disks_of_the_set_are_as_without_it() {
    let mut paths = fixture("luks").paths();
    paths.push(fixture("ext2-1k").path());
    for (keys, readable) in [(&[][..], 1), (&[PASSWORD.as_bytes()][..], 8)] {
        let set = open(&paths, keys);
        let is_readable = |volume: &&Arc<SetVolume>| volume.reason.is_none();
        assert_eq!(set.volumes().iter().filter(is_readable).count(), readable);
        assert_eq!(set.volumes().len(), 8);
    }
}
