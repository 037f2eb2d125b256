//! What lies in what lies in something else: the command that the README has.

use std::fs;
use std::path::Path;

use crate::common::fixtures::{Fixture, fixture};
use crate::common::program::{Scratch, program, text, volfold};
use crate::harness::{apply, needs, needs_programs, test};

/// The listing of the only volume of `fixture`.
fn listed(fixture: &Fixture) -> Vec<(String, Option<String>)> {
    let rows = fixture.volumes[0].rows();
    let files = rows.into_iter().filter(|row| row.kind == "f" && !row.unreadable);
    files.map(|row| (String::from_utf8_lossy(&row.path).into_owned(), row.sha256)).collect()
}

#[apply(test)]
fn xfs_on_luks_on_lvm_on_md_over_three_images_of_two_formats_opens_with_one_command() {
    needs("root", rustix::process::geteuid().is_root());
    needs_programs(&["python3", "cryptsetup", "lvm", "qemu-img"]);
    let fixture = fixture("xfs-1k");
    let scratch = Scratch::new("nested");
    let key = scratch.join("key");
    fs::write(&key, "secret").expect("a key");
    let recipe = Path::new(env!("CARGO_MANIFEST_DIR")).join("images/recipes/nest.py");
    let content = fixture.path();
    let words = ["-B", text(&recipe), text(&content), text(&key), text(scratch.path())];
    program("python3", &words).code(0);
    let disks = ["disk0.img", "disk1.qcow2", "disk2.img"].map(|name| scratch.join(name));
    let raw = scratch.join("disk1.img");
    program("qemu-img", &["convert", "-O", "qcow2", text(&raw), text(&disks[1])]).code(0);
    fs::remove_file(raw).expect("the raw disk");

    let key = format!("file:{}", text(&key));
    let all: Vec<&str> = disks.iter().map(|disk| text(disk)).collect();
    let wanted = listed(&fixture);
    assert!(wanted.len() > 10);
    for left_out in [None, Some(0), Some(1), Some(2)] {
        let kept = all.iter().enumerate().filter(|(index, _)| Some(*index) != left_out);
        let kept: Vec<&str> = kept.map(|(_, disk)| *disk).rev().collect();
        let words = ["hash", "--key", &key].into_iter().chain(kept.iter().copied());
        // Without a disk it is told, and the rest is rebuilt from parity.
        let told = volfold(words).code(if left_out.is_some() { 3 } else { 0 }).text();
        for (path, sha256) in &wanted {
            let line = told.lines().find(|line| line.starts_with(&format!("/xfs-1k/{path}\t")));
            assert_eq!(line.and_then(|line| line.rsplit('\t').next()), sha256.as_deref(), "{path}");
        }
        // Without the key nothing of it is shown.
        volfold(["hash"].into_iter().chain(kept)).code(1).says("locked: LUKS2");
    }
}
