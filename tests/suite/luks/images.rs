//! Images that QEMU encrypted with LUKS, opened with the keys of the set.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use volfold::volume::lock::{Key, KeyKind, KeyRequest, KeySource};
use volfold::{DiskSet, OpenOptions};

use super::{PASSWORD, open};
use crate::common::fixtures::fixture;
use crate::common::program::{Output, Scratch, program, text, volfold};
use crate::harness::{apply, needs_programs, test};

/// What QEMU takes its secret from.
fn secret(scratch: &Scratch) -> String {
    fs::write(scratch.join("key"), PASSWORD).expect("a key");
    format!("secret,id=s,file={}", text(&scratch.join("key")))
}

/// Runs `qemu-img`; again where it says that it could not tell how fast it is, as for short times it may.
fn qemu_img(words: &[&str]) {
    let is_busy = |output: &Output| output.stderr.contains("Unable to get accurate CPU usage");
    let mut outputs = (0..10).map(|_| program("qemu-img", words));
    let output = outputs.find(|output| !is_busy(output)).expect("a machine with time");
    output.code(0);
}

/// `disk` as an encrypted image.
fn encrypted(scratch: &Scratch, disk: &Path, name: &str, more: &str) -> PathBuf {
    let image = scratch.join(name);
    let secret = secret(scratch);
    let options = format!("encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10{more}");
    let words = [
        "convert",
        "--object",
        &secret,
        "-f",
        "raw",
        "-O",
        "qcow2",
        "-o",
        &options,
        text(disk),
        text(&image),
    ];
    qemu_img(&words);
    image
}

fn hash(scratch: &Scratch, image: &Path) -> Output {
    let key = format!("file:{}", text(&scratch.join("key")));
    volfold(["hash", text(image), "--key", &key])
}

#[apply(test)]
fn an_encrypted_image_is_read_as_its_disk() {
    needs_programs(&["qemu-img"]);
    let sample = fixture("ext4").path();
    let wanted = fs::read(&sample).expect("an image");
    for (number, more) in [
        "",
        ",cluster_size=4096,encrypt.cipher-alg=aes-128,encrypt.cipher-mode=cbc,encrypt.ivgen-alg=essiv",
        ",extended_l2=on,encrypt.cipher-alg=serpent-256",
    ]
    .into_iter()
    .enumerate()
    {
        let scratch = Scratch::new("qcow2-luks");
        let image = encrypted(&scratch, &sample, "disk.qcow2", more);
        let set = open(std::slice::from_ref(&image), &[b"wrong", PASSWORD.as_bytes()]);
        let [disk] = set.disks() else { panic!("{:?}", set.failures()) };
        assert!(disk.variant.as_deref().is_some_and(|it| it.contains("LUKS")), "{:?}", disk.variant);
        let mut bytes = vec![0; wanted.len()];
        disk.device.read_at(0, &mut bytes).expect("all bytes");
        assert!(bytes == wanted, "{number}");
        let plain = volfold(["hash", text(&sample)]).code(0);
        assert_eq!(hash(&scratch, &image).code(0).stdout, plain.stdout);
    }
}

#[apply(test)]
fn without_its_key_an_image_is_refused_and_says_what_opens_it() {
    needs_programs(&["qemu-img"]);
    let scratch = Scratch::new("qcow2-luks");
    let image = encrypted(&scratch, &fixture("fat12").path(), "disk.qcow2", "");
    let output = volfold(["list", text(&image)]).code(1);
    output.says("is locked (LUKS1, opened by a password or a key file (1 key slot))");
    fs::write(scratch.join("wrong"), "wrong").expect("a key");
    let wrong = format!("file:{}", text(&scratch.join("wrong")));
    let output = volfold(["list", text(&image), "--key", &wrong]).code(1);
    output.says(&format!("key 1 of 1 ({wrong}) does not open it"));
    // The key of one image, by the name of its file.
    let key = format!("{}=file:{}", text(&image), text(&scratch.join("key")));
    volfold(["list", text(&image), "--key", &key]).code(0);
    let key = format!("other=file:{}", text(&scratch.join("key")));
    let output = volfold(["list", text(&image), "--key", &key]).code(1);
    output.says("is for other, and no locked volume is called so");
}

#[apply(test)]
fn the_keys_of_an_encrypted_image_go_once_the_set_is_open() {
    needs_programs(&["qemu-img"]);
    let scratch = Scratch::new("qcow2-luks");
    let image = encrypted(&scratch, &fixture("ext2-1k").path(), "disk.qcow2", "");
    let keys: Arc<dyn KeySource> = Arc::new(|request: &KeyRequest<'_>| {
        Ok((request.attempt == 0).then(|| Key::new(KeyKind::Password, PASSWORD)))
    });
    let mut options = OpenOptions::default();
    options.keys = keys.clone();
    let set = DiskSet::open([image], &options).expect("a set");
    drop(options);
    assert!(set.volumes()[0].reason.is_none());
    assert_eq!(Arc::strong_count(&keys), 1, "the set has no key");
}

#[apply(test)]
fn a_chain_of_encrypted_images_is_read_with_its_keys() {
    needs_programs(&["qemu-img", "qemu-io"]);
    let scratch = Scratch::new("qcow2-luks");
    let sample = fixture("ext2-1k").path();
    let parent = encrypted(&scratch, &sample, "parent.qcow2", "");
    let child = scratch.join("child.qcow2");
    let secret = secret(&scratch);
    let size = fs::metadata(&sample).expect("an image").len();
    let options = "encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10";
    // QEMU takes the secret of the parent from who opens the chain, not from the image.
    qemu_img(&[
        "create",
        "-u",
        "--object",
        &secret,
        "-f",
        "qcow2",
        "-o",
        options,
        "-F",
        "qcow2",
        "-b",
        "parent.qcow2",
        text(&child),
        &size.to_string(),
    ]);
    let write = format!("write -P 7 {} 64k", size - (64 << 10));
    let opened = format!(
        "driver=qcow2,encrypt.key-secret=s,file.filename={},backing.driver=qcow2,\
         backing.encrypt.key-secret=s,backing.file.filename={}",
        text(&child),
        text(&parent)
    );
    program("qemu-io", &["--object", &secret, "--image-opts", &opened, "-c", &write]).code(0);
    let mut wanted = fs::read(&sample).expect("an image");
    let end = wanted.len() - (64 << 10);
    wanted[end..].fill(7);
    let set = open(&[child], &[PASSWORD.as_bytes()]);
    let [disk] = set.disks() else { panic!("{:?}", set.failures()) };
    let mut bytes = vec![0; wanted.len()];
    disk.device.read_at(0, &mut bytes).expect("all bytes");
    assert!(bytes == wanted);
}
