//! Extended attributes as programs see them: below a mount, in JSON, and where they are extracted to.

use std::path::{Path, PathBuf};

use crate::common::attributes;
use crate::common::fixtures::fixture;
use crate::common::mounted::{Folder, Mounted, kernel_has};
use crate::common::program::{Scratch, program, text, volfold};
use crate::common::{needs_mount, sha256};
use crate::harness::{apply, needs, needs_path, needs_programs, test};

/// Ends the test as ignored unless the kernel mounts images of ext4 here.
pub(super) fn needs_kernel() {
    needs("root", rustix::process::geteuid().is_root());
    needs_path("/dev/loop-control");
    needs("ext4 of the kernel", kernel_has("ext4"));
}

/// The only folder in `folder`.
fn below(folder: &Path) -> PathBuf {
    let mut entries = std::fs::read_dir(folder).expect("a folder");
    entries.next().expect("a volume").expect("an entry").path()
}

/// The attributes of what lies at `path`: name, SHA-256 of the value.
pub(super) fn of_host(path: &Path) -> Vec<(Vec<u8>, String)> {
    let mut list = vec![0; 1 << 16];
    let length = rustix::fs::llistxattr(path, &mut list[..]).expect("a list of attributes");
    let names = list[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty());
    let mut found: Vec<_> = names
        .map(|name| {
            let mut value = vec![0; 1 << 16];
            let length = rustix::fs::lgetxattr(path, name, &mut value[..])
                .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            (name.to_vec(), sha256(&value[..length]))
        })
        .collect();
    found.sort();
    found
}

#[apply(test)]
fn rsync_finds_no_difference_between_a_mount_of_the_kernel_and_ours() {
    needs_mount();
    needs_kernel();
    needs_programs(&["rsync"]);
    for name in ["ext4-attributes", "ext3-attributes", "ext4", "ext3"] {
        let image = fixture(name).path();
        let folder = Folder::new("rsync");
        folder.mount(std::slice::from_ref(&image), &["--owner", "guest", "--links", "raw"]).code(0);
        let kernel = Mounted::new("ext4", "loop,ro,noload", &image);
        let (theirs, ours) = (kernel.path().join(""), below(folder.path()).join(""));
        // Attributes, lists of access, hard links, owners, times, content: a dry run names what differs.
        let options = ["-aHAXnic", "--delete", text(&theirs), text(&ours)];
        let output = program("rsync", &options).code(0);
        assert_eq!((output.text().as_str(), output.stderr.as_str()), ("", ""), "{name}");
        kernel.end();
        folder.unmount(&[]).code(0);
    }
}

#[apply(test)]
fn attributes_of_ext_are_listed_in_json_with_their_values() {
    let image = fixture("ext4-attributes").path();
    let output = volfold(["ls", "-R", "--json", "--xattrs", text(&image)]).code(0).json();
    let expected = attributes::listed("ext4-attributes");
    let mut count = 0;
    for entry in output["entries"].as_array().expect("entries") {
        let path = entry["path"].as_str().expect("a path");
        let below = path.trim_start_matches('/').split_once('/').map_or("", |(_, below)| below);
        let found = entry["xattrs"].as_array().expect("attributes");
        let wanted = expected.get(below.as_bytes()).map_or(0, std::collections::BTreeSet::len);
        assert_eq!(found.len(), wanted, "{path}");
        for attribute in found {
            let bytes = |field: &str| {
                let digits = attribute[field].as_str()?;
                Some(data_encoding::HEXLOWER.decode(digits.as_bytes()).expect("digits"))
            };
            let text = attribute["name"].as_str().expect("a name").as_bytes().to_vec();
            let name = bytes("name_hex").unwrap_or(text);
            let sum = sha256(&bytes("value_hex").expect("a value"));
            assert!(expected[below.as_bytes()].contains(&(name, sum)), "{path}");
            count += 1;
        }
    }
    assert!(count > 50, "{count}");
    let plain = volfold(["ls", "-R", "--json", text(&image)]).code(0).json();
    assert!(plain["entries"][0].get("xattrs").is_none());
}

#[apply(test)]
fn extract_gives_files_the_attributes_that_they_had() {
    needs("root", rustix::process::geteuid().is_root());
    let image = fixture("ext3-attributes").path();
    let scratch = Scratch::new("xattrs");
    let probe = scratch.join("probe");
    std::fs::write(&probe, b"").expect("a file");
    let flags = rustix::fs::XattrFlags::empty();
    let can = ["user.a", "security.a", "trusted.a"]
        .iter()
        .all(|name| rustix::fs::setxattr(&probe, *name, b"a", flags).is_ok());
    needs("a file system with extended attributes", can);
    let out = scratch.join("out");
    volfold(["extract", "--xattrs", "--owners", "--modes", text(&image), "-o", text(&out)]).code(3);
    let root = below(&out);
    let mut count = 0;
    for (path, expected) in attributes::listed("ext3-attributes") {
        let path = root.join(std::str::from_utf8(&path).expect("text"));
        // Pipes are left out, and links have none that could be set here.
        let is_set = std::fs::symlink_metadata(&path).is_ok_and(|facts| !facts.is_symlink());
        if is_set {
            let expected: Vec<_> = expected.into_iter().collect();
            assert_eq!(of_host(&path), expected, "{}", path.display());
            count += expected.len();
        }
    }
    assert!(count > 20, "{count}");
}
