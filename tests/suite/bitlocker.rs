//! BitLocker: volumes that Windows made, of the public corpus, against what libbde reads of them.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use volfold::volume::lock::{Key, KeyKind, KeyRequest};
use volfold::{DiskSet, Incomplete, OpenOptions};
use volfold_block::BlockDevice;

use crate::common::corpus::{self, Entry};
use crate::common::fixtures::fixture;
use crate::common::program::{Scratch, text, volfold};
use crate::common::sha256;
use crate::harness::{apply, test};

/// Opens `disk` with these keys, tried in this order.
fn open(disk: &Path, keys: Vec<Key>) -> DiskSet {
    let mut options = OpenOptions::default();
    options.keys = Arc::new(move |request: &KeyRequest<'_>| Ok(keys.get(request.attempt).cloned()));
    DiskSet::open([disk], &options).unwrap_or_else(Incomplete::into_set)
}

/// The entries of the corpus, each with its unpacked image.
fn entries(folder: &Path) -> Vec<(Entry, PathBuf)> {
    let entries = corpus::manifest(folder).entries.into_iter();
    let entries = entries.filter(|entry| entry.decrypted.is_some());
    let unpacked = entries.map(|entry| {
        let place = corpus::unpack(folder, &entry);
        let image = place.join(&entry.files[0].name);
        (entry, image)
    });
    unpacked.collect()
}

fn keys(entry: &Entry, image: &Path) -> Vec<Key> {
    let key = |key: &corpus::CorpusKey| {
        let value = key.value.as_deref()?;
        Some(match key.kind.as_str() {
            "password" => Key::new(KeyKind::Password, value),
            "recovery-password" => Key::new(KeyKind::RecoveryKey, value),
            _ => Key::new(KeyKind::KeyFile, fs::read(image.with_file_name(value)).expect("a key")),
        })
    };
    entry.keys.iter().filter_map(key).collect()
}

#[apply(test)]
fn every_volume_of_the_public_corpus_holds_what_libbde_reads() {
    let folder = corpus::needed();
    let entries = entries(&folder);
    assert_eq!(entries.len(), 5);
    for (entry, image) in entries {
        let set = open(&image, keys(&entry, &image));
        let volume = &set.volumes()[0].volume;
        assert!(volume.lock.is_none(), "{}: {:?}", entry.id, set.findings());
        let facts = entry.decrypted.expect("facts");
        assert_eq!((volume.size, volume.device.size()), (facts.volume_size, facts.volume_size));
        let mut prefix = vec![0; facts.prefix_bytes as usize];
        volume.device.read_at(0, &mut prefix).expect("the prefix");
        assert_eq!(sha256(&prefix), facts.prefix_sha256, "{}", entry.id);
        // The public files end early.
        let error = volume.device.read_at(volume.size - 512, &mut [0; 512]).expect_err("an end");
        assert!(error.message().contains("the image ends before this"), "{error}");
    }
}

/// The bytes of text in hexadecimal.
fn bytes_of(text: &str) -> Vec<u8> {
    let pairs = text.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).expect("text"));
    pairs.map(|pair| u8::from_str_radix(pair, 16).expect("a byte")).collect()
}

#[apply(test)]
fn every_cipher_and_protector_gives_what_libbde_reads() {
    let fixture = fixture("bitlocker");
    let scratch = Scratch::new("bitlocker-keys");
    for facts in &fixture.bitlocker {
        let image = fixture.folder().join(&facts.file);
        for own in &facts.keys {
            let key = match own.kind.as_str() {
                "password" => Key::new(KeyKind::Password, own.value.as_str()),
                "recovery-key" => Key::new(KeyKind::RecoveryKey, own.value.as_str()),
                _ => Key::new(KeyKind::KeyFile, bytes_of(&own.value)),
            };
            let place = format!("{} {}", facts.file, own.kind);
            let set = open(&image, vec![key.clone()]);
            let volume = &set.volumes()[0].volume;
            assert!(volume.lock.is_none(), "{place}: {:?}", set.findings());
            let mut bytes = vec![0; volume.device.size() as usize];
            volume.device.read_at(0, &mut bytes).expect("all of it");
            assert_eq!(
                (volume.size, sha256(&bytes)),
                (facts.size, facts.sha256.clone()),
                "{place}"
            );
            // As a user gives it: a file says by its content what it is.
            let path = scratch.join("key");
            fs::write(&path, key.bytes()).expect("a file");
            let key = format!("file:{}", text(&path));
            let shown = volfold(["ls", "-lR", "--key", &key, text(&image)]).code(0).text();
            assert!(shown.contains("README.txt"), "{place}: {shown}");
        }
        volfold(["ls", text(&image)]).code(1).says("locked: BitLocker, opened by a");
    }
}

#[apply(test)]
fn what_opens_a_volume_is_told_and_a_wrong_key_opens_none() {
    let folder = corpus::needed();
    let scratch = Scratch::new("bitlocker");
    for (entry, image) in entries(&folder) {
        let is_open = entry.keys.iter().all(|key| key.value.is_none());
        let wrong = open(
            &image,
            vec![Key::new(KeyKind::Password, "password12"), Key::new(KeyKind::KeyFile, [0; 156])],
        );
        assert_eq!(wrong.volumes()[0].volume.lock.is_none(), is_open, "{}", entry.id);
        if is_open {
            continue;
        }
        let told = volfold(["list", text(&image)]).code(3).text();
        let by_file = entry.id == "bde-startup-key";
        let kind = if by_file {
            "startup key b3411a58-3400-420a-8b7e-9b5f706425c0.bek"
        } else {
            "password"
        };
        assert!(
            told.contains("locked: BitLocker, opened by a password") && told.contains(kind),
            "{told}"
        );
        let key = match by_file {
            true => image.with_file_name("startup_key.bek"),
            false => {
                let path = scratch.join("password");
                fs::write(&path, "password12!@\n").expect("a file");
                path
            }
        };
        let key = format!("file:{}", text(&key));
        let listed = volfold(["list", "--json", "--key", &key, text(&image)]).json();
        assert!(listed["volumes"][0]["lock"].is_null(), "{listed}");
    }
}

#[apply(test)]
fn metadata_that_is_damaged_is_told_and_another_copy_is_used() {
    let folder = corpus::needed();
    let (entry, image) =
        entries(&folder).into_iter().find(|(entry, _)| entry.id == "bde-suspended").expect("it");
    let bytes = fs::read(&image).expect("the image");
    let scratch = Scratch::new("bitlocker-damage");
    let changed = scratch.join("disk.raw");
    let places = [0x021F_0000, 0x0294_6000, 0x0309_B000];
    let facts = entry.decrypted.expect("facts");
    for count in 1..=3 {
        for inside in [0, 0x0A, 0x20, 0x64, 0x70, 0x90, 0x200] {
            let mut bytes = bytes.clone();
            places[..count].iter().for_each(|place| bytes[place + inside] ^= 0x41);
            fs::write(&changed, &bytes).expect("an image");
            let set = open(&changed, Vec::new());
            let volume = &set.volumes()[0].volume;
            let mut prefix = vec![0; 1 << 20];
            let read = volume.device.read_at(0, &mut prefix);
            let codes: Vec<_> =
                set.findings().iter().map(|finding| finding.code.as_str()).collect();
            if count < 3 {
                assert!(codes.contains(&"bitlocker-metadata-damaged"), "{inside:#x}: {codes:?}");
                read.expect("another copy");
            } else {
                assert!(codes.contains(&"bitlocker-volume-refused"), "{inside:#x}: {codes:?}");
                read.expect_err("a refusal");
            }
        }
    }
    assert_eq!(facts.volume_size, 65_994_752);
}
