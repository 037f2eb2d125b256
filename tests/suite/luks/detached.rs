//! Volumes whose header lies on another disk than their data: which disk that is shows what the key opens.

use std::fs;
use std::path::PathBuf;

use volfold::volume::Health;
use volfold_block::BlockErrorKind;

use super::{PASSWORD, bytes_of, codes, find, open};
use crate::common::fixtures::{EncryptedFacts, fixture};
use crate::common::program::{Scratch, text, volfold};
use crate::common::sha256;
use crate::harness::{apply, test};

const KEY: &[u8] = PASSWORD.as_bytes();

/// Each volume, its header and its data.
fn volumes() -> impl Iterator<Item = (EncryptedFacts, PathBuf, PathBuf)> {
    let all = fixture("luks-detached");
    all.encrypted.clone().into_iter().map(move |facts| {
        let header = all.folder().join(facts.header.as_deref().expect("a header"));
        let data = all.folder().join(&facts.file);
        (facts, header, data)
    })
}

#[apply(test)]
fn a_header_and_its_data_are_found_among_other_disks() {
    let others = [fixture("luks").folder().join("essiv.img"), fixture("ext4").path()];
    let all = fixture("luks-detached").paths();
    assert_eq!(volumes().count(), 2);
    for (facts, header, data) in volumes() {
        let alone = vec![header.clone(), data.clone()];
        let turned = vec![data, header];
        for paths in [alone, turned, all.clone(), [&others[..], &all[..]].concat()] {
            let set = open(&paths, &[b"wrong", KEY]);
            let volume = find(&set, &facts.id);
            let place = format!("{}: {:?}", facts.file, set.findings());
            assert!(volume.reason.is_none() && volume.name.starts_with("LUKS"), "{place}");
            assert_eq!((volume.volume.health, volume.volume.size), (Health::Healthy, facts.size));
            assert_eq!(sha256(&bytes_of(&*volume.volume.device)), facts.sha256, "{place}");
            assert!(set.findings().iter().all(|it| it.code == "luks-header-detached"), "{place}");
            // The data are no volume by themselves any more, and the volume lies where they do.
            let headers = set.findings().len();
            assert!(set.volumes().iter().all(|it| it.reason.is_none()), "{place}");
            assert_eq!(set.volumes().len(), paths.len() - headers, "{place}");
            let [extent] = volume.volume.extents[..] else { panic!("{place}") };
            assert!(set.disks()[extent.disk].path.ends_with(&facts.file), "{place}");
        }
    }
}

#[apply(test)]
fn data_may_lie_in_a_partition() {
    let (facts, header, data) = volumes().next().expect("a volume");
    let scratch = Scratch::new("detached");
    let data = fs::read(data).expect("an image");
    let mut disk = vec![0; 64 << 10];
    disk[446 + 4] = 0x83;
    disk[446 + 8..][..4].copy_from_slice(&128_u32.to_le_bytes());
    disk[446 + 12..][..4].copy_from_slice(&(data.len() as u32 / 512).to_le_bytes());
    disk[510..512].copy_from_slice(&[0x55, 0xAA]);
    disk.extend(data);
    let path = scratch.join("disk.img");
    fs::write(&path, disk).expect("an image");
    let set = open(&[path, header], &[KEY]);
    let volume = find(&set, &facts.id);
    assert_eq!(sha256(&bytes_of(&*volume.volume.device)), facts.sha256);
    assert_eq!(volume.volume.extents[0].offset, 64 << 10);
    assert!(volume.volume.partition.is_some());
}

#[apply(test)]
fn without_a_key_it_is_locked_and_without_data_refused() {
    for (facts, header, data) in volumes() {
        let both = [header.clone(), data];
        for (keys, code) in [(&[][..], None), (&[&b"wrong"[..]][..], Some("key-wrong"))] {
            let set = open(&both, keys);
            let volume = find(&set, &facts.id);
            let lock = volume.volume.lock.as_ref().expect("a lock");
            assert!(lock.is_detached && lock.kind == facts.kind);
            assert!(lock.sentence().contains("header detached"), "{}", lock.sentence());
            assert_eq!(codes(set.findings()), code.into_iter().collect::<Vec<_>>());
            let error = volume.volume.device.read_at(0, &mut [0]).expect_err("locked");
            assert_eq!(error.kind(), BlockErrorKind::Refused);
            assert_eq!(set.volumes().len(), 2);
        }
        // What is known is no data.
        let known = [header, fixture("ext4").path()];
        for keys in [&[][..], &[KEY][..]] {
            let set = open(&known, keys);
            let error = find(&set, &facts.id).volume.device.read_at(0, &mut [0]);
            let error = error.expect_err("a refusal");
            assert_eq!(error.kind(), BlockErrorKind::MissingPart);
            assert!(
                error.message().contains("lie on another disk, which is to be given"),
                "{error}"
            );
            assert_eq!(codes(set.findings()), ["luks-volume-refused"]);
        }
    }
}

#[apply(test)]
fn what_the_key_does_not_open_is_not_taken() {
    let all: Vec<_> = volumes().collect();
    let [(facts, header, data), (_, _, other)] = &all[..] else { panic!("two volumes") };
    let refused = |paths: &[PathBuf]| {
        let set = open(paths, &[KEY]);
        assert!(codes(set.findings()).contains(&"luks-volume-refused"), "{:?}", set.findings());
        assert_eq!(set.volumes().len(), paths.len());
        let error = find(&set, &facts.id).volume.device.read_at(0, &mut [0; 512]);
        error.expect_err("a refusal").message().to_owned()
    };
    let told = refused(&[header.clone(), other.clone()]);
    assert!(told.contains("opens no file system or other volume on what may be"), "{told}");
    let scratch = Scratch::new("detached");
    // Part of the data is not all of it.
    let path = scratch.join("cut.img");
    let bytes = fs::read(data).expect("an image");
    fs::write(&path, &bytes[..bytes.len() - (64 << 10)]).expect("an image");
    let told = refused(&[header.clone(), path]);
    assert!(told.contains("opens no file system"), "{told}");
    // Of two copies nobody knows which is meant.
    let copy = scratch.copy(data);
    let told = refused(&[header.clone(), data.clone(), copy]);
    assert!(told.contains("several volumes are its data") && told.contains("disk"), "{told}");
}

#[apply(test)]
fn commands_read_what_is_apart_as_any_volume() {
    let (_, header, data) = volumes().next().expect("a volume");
    let scratch = Scratch::new("detached");
    let key = scratch.join("key");
    fs::write(&key, PASSWORD).expect("a key");
    let key = format!("file:{}", text(&key));
    let run = |words: &[&str]| {
        let images = [text(&header), text(&data), "--key", &key];
        volfold(words.iter().chain(&images).copied())
    };
    assert!(run(&["list"]).code(0).text().contains("[luks-header-detached]"));
    assert!(run(&["hash"]).code(0).text().contains("README.txt"));
    let readme = run(&["cat", "-p", "/LUKS40/README.txt"]).code(0);
    assert!(readme.text().contains("Every byte") && readme.stderr.is_empty());
}
