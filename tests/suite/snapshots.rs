//! The states of a disk that an image keeps beside the newest one: listed, and shown on request.

use std::path::Path;

use crate::common::fixtures::fixture;
use crate::common::program::{Output, Scratch, program, text, volfold};
use crate::harness::{apply, needs_programs, test};

/// An image in `folder` whose snapshot `before` is the disk of the fixture `ext4`, and whose newest
/// state, and snapshot `after`, are that of `fat16`.
fn image(scratch: &Scratch) -> std::path::PathBuf {
    let path = scratch.join("disk.qcow2");
    let (old, new) = (fixture("ext4").path(), fixture("fat16").path());
    let size = [&old, &new].map(|path| path.metadata().expect("a fixture").len());
    let bytes = size[0].max(size[1]).to_string();
    program("qemu-img", &["create", "-f", "qcow2", text(&path), &bytes]).code(0);
    for (from, name) in [(&old, "before"), (&new, "after it all")] {
        let raw = scratch.copy(from);
        program("truncate", &["-s", &bytes, text(&raw)]).code(0);
        let convert = ["convert", "-n", "-f", "raw", "-O", "qcow2", text(&raw), text(&path)];
        program("qemu-img", &convert).code(0);
        program("qemu-img", &["snapshot", "-c", name, text(&path)]).code(0);
    }
    path
}

fn hash(path: &Path, more: &[&str]) -> Output {
    let mut words = vec!["hash", text(path)];
    words.extend(more);
    volfold(words)
}

#[apply(test)]
fn a_state_that_the_image_keeps_is_shown_by_name_and_by_id() {
    needs_programs(&["qemu-img", "truncate"]);
    let scratch = Scratch::new("snapshots");
    let path = image(&scratch);
    let (old, new) = (fixture("ext4").path(), fixture("fat16").path());
    let (old, new) = (hash(&old, &[]).code(0), hash(&new, &[]).code(0));
    assert_ne!(old.text(), new.text());
    for (more, wanted) in [
        (&[][..], &new),
        (&["--snapshot", "before"], &old),
        (&["--snapshot", "1"], &old),
        (&["--snapshot", "after it all"], &new),
        (&["--snapshot", "2"], &new),
    ] {
        let output = hash(&path, more).code(0);
        assert_eq!(output.text(), wanted.text(), "{more:?}");
        // Nothing is said of the other states.
        assert_eq!(output.stderr, "", "{more:?}");
    }
    let wrong = hash(&path, &["--snapshot", "none"]).code(1);
    wrong.says("keeps no snapshot that is called none; `volfold list` shows those that exist");
    // An image that keeps none.
    let plain = scratch.copy(&fixture("ext2-1k").path());
    hash(&plain, &["--snapshot", "before"]).code(1).says("keeps no snapshot that is called before");
}

#[apply(test)]
fn the_states_that_an_image_keeps_are_listed() {
    needs_programs(&["qemu-img", "truncate"]);
    let scratch = Scratch::new("snapshots");
    let path = image(&scratch);
    let known = program("qemu-img", &["info", "--output", "json", text(&path)]).code(0).json();
    let list = volfold(["list", text(&path)]).code(0);
    assert_eq!(list.stderr, "");
    let json = volfold(["list", "--json", text(&path)]).code(0).json();
    let disk = &json["disks"][0];
    assert_eq!(disk["snapshot"], serde_json::Value::Null);
    assert_eq!(json["findings"].as_array().map(Vec::len), Some(0));
    for (index, name) in ["before", "after it all"].into_iter().enumerate() {
        let (ours, theirs) = (&disk["snapshots"][index], &known["snapshots"][index]);
        assert_eq!(ours["name"], name);
        assert_eq!((&ours["id"], &ours["name"]), (&theirs["id"], &theirs["name"]));
        assert_eq!(ours["size"], known["virtual-size"]);
        let time = ours["time"].as_str().expect("a time");
        let date = ["-u", "-d", time, "+%s"];
        let seconds = program("date", &date).code(0).text().trim().to_owned();
        assert_eq!(seconds, theirs["date-sec"].to_string());
        let line = format!("snapshot {}  {name}, {time}, ", index + 1);
        assert!(list.text().contains(&line), "no {line:?} in {}", list.text());
    }
    assert!(!list.text().contains("shown"), "{}", list.text());
    let list = volfold(["list", "--snapshot", "before", text(&path)]).code(0).text();
    let shown: Vec<&str> = list.lines().filter(|line| line.ends_with(", shown")).collect();
    assert!(matches!(&shown[..], [line] if line.contains("snapshot 1  before")), "{list}");
    // What is not read is had as bytes of the same state.
    let blank = scratch.join("blank.qcow2");
    program("qemu-img", &["create", "-f", "qcow2", text(&blank), "1M"]).code(0);
    program("qemu-img", &["snapshot", "-c", "a state", text(&blank)]).code(0);
    let list = volfold(["list", "--snapshot", "a state", text(&blank)]).code(0).text();
    assert!(list.contains("volfold mount --snapshot 'a state' "), "{list}");
    let words = ["list", "--json", "--snapshot", "2", text(&path)];
    let json = volfold(words).code(0).json();
    assert_eq!(json["disks"][0]["snapshot"]["name"], "after it all");
}

#[apply(test)]
fn a_folder_with_a_chain_or_a_data_file_is_one_disk() {
    needs_programs(&["qemu-img"]);
    let raw = fixture("ext4").path();
    let wanted = hash(&raw, &[]).code(0).text();
    let convert = |options: &[&str], target: &Path| {
        let mut words = vec!["convert", "-f", "raw", "-O", "qcow2"];
        words.extend(options);
        words.extend([text(&raw), text(target)]);
        program("qemu-img", &words).code(0);
    };
    let scratch = Scratch::new("chain");
    let base = scratch.join("base.qcow2");
    convert(&["-c"], &base);
    for (child, parent) in [("one.qcow2", "base.qcow2"), ("two.qcow2", "one.qcow2")] {
        let child = scratch.join(child);
        let words = ["create", "-f", "qcow2", "-b", parent, "-F", "qcow2", text(&child)];
        program("qemu-img", &words).code(0);
    }
    let beside = Scratch::new("data-file");
    let data = format!("data_file={}", text(&beside.join("disk.data")));
    convert(&["-o", &data], &beside.join("disk.qcow2"));
    for (folder, name, chain) in [(&scratch, "two.qcow2", 3), (&beside, "disk.qcow2", 1)] {
        let json = volfold(["list", "--json", text(folder.path())]).code(0).json();
        let disks = json["disks"].as_array().expect("disks");
        assert_eq!(disks.len(), 1, "{json}");
        assert!(disks[0]["path"].as_str().is_some_and(|path| path.ends_with(name)), "{json}");
        assert_eq!(disks[0]["chain"].as_array().map(Vec::len), Some(chain));
        let output = hash(folder.path(), &[]).code(0);
        assert_eq!((output.text().as_str(), output.stderr.as_str()), (wanted.as_str(), ""));
    }
    // Images of clouds are called as raw disks are.
    let cloud = beside.join("cloud.img");
    std::fs::copy(&base, &cloud).expect("a copy");
    assert_eq!(hash(&cloud, &[]).code(0).text(), wanted);
}
