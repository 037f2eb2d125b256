//! Body files for timelines, against those of The Sleuth Kit.

use std::collections::BTreeMap;
use std::process::Command;

use crate::common::fixtures::fixture;
use crate::common::program::{run, volfold};
use crate::harness::{apply, needs_programs, note, test};

/// Size, times and the kind of an entry, by its path in the volume.
type Lines = BTreeMap<String, Vec<String>>;

/// The lines of `text`; what is not of a living file is left out.
fn lines(text: &str, prefix: &str) -> Lines {
    let mut lines = Lines::new();
    for line in text.lines() {
        let columns: Vec<&str> = line.split('|').collect();
        let [_, name, inode, mode, uid, gid, rest @ ..] = &columns[..] else { panic!("{line}") };
        assert_eq!(rest.len(), 5, "{line}");
        // TSK has streams and short names beside the file, and says what is none of the directory's.
        let is_left_out = ["$", " (deleted)", "(Volume Label Entry)", " ($FILE_NAME)"]
            .iter()
            .any(|mark| name.contains(mark));
        let Some(path) = name.strip_prefix(prefix).filter(|path| !is_left_out && !path.is_empty())
        else {
            continue;
        };
        let number = inode.split('-').next().expect("a number");
        let kind = mode.get(..1).expect("a kind");
        let mut facts = vec![number.to_owned(), kind.to_owned(), (*mode).to_owned()];
        facts.extend([*uid, *gid].map(str::to_owned));
        facts.extend(rest.iter().map(|column| (*column).to_owned()));
        lines.insert(path.to_owned(), facts);
    }
    lines
}

/// The body files of the fixture `name`, TSK's and ours.
fn both(name: &str, zone: &str) -> (Lines, Lines) {
    let image = fixture(name).path();
    let image = image.to_str().expect("text");
    let theirs = run(Command::new("fls").args(["-r", "-z", zone, "-m", "/", image])).code(0).text();
    let ours = volfold(["ls", image, "-R", "--bodyfile", "--time-zone", zone]).code(0).text();
    let volume = ours.split('|').nth(1).expect("the folder of the volume").to_owned();
    (lines(&theirs, "/"), lines(&ours, &format!("{volume}/")))
}

#[apply(test)]
fn a_body_file_has_the_columns_of_the_sleuth_kit() {
    needs_programs(&["fls"]);
    // Which columns are compared: the number, kind, mode, owner, group, size, and four times.
    let ext: &[usize] = &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9];
    let ntfs: &[usize] = &[0, 1, 6, 7, 8, 9];
    let fat: &[usize] = &[1, 6, 7, 8, 9];
    for (name, zone, columns) in [
        ("ext4", "UTC", ext),
        ("ext4-times", "UTC", &[0, 1, 2, 3, 4, 5]),
        ("ntfs-plain", "UTC", ntfs),
        ("fat16", "UTC", fat),
        ("fat32", "Europe/Berlin", fat),
        ("fat12", "America/New_York", fat),
    ] {
        let (theirs, ours) = both(name, zone);
        let mut same = 0;
        for (path, own) in &ours {
            // TSK writes names that are no text otherwise, and links with their targets where it can read them.
            let Some(other) = theirs.get(path) else { continue };
            let pick = |facts: &[String]| {
                columns.iter().map(|column| facts[*column].clone()).collect::<Vec<_>>()
            };
            assert_eq!(pick(own), pick(other), "{name}: {path}");
            same += 1;
        }
        note!("{name}: {same} of {} lines", ours.len());
        assert!(same * 10 >= ours.len() * 9, "{name}: {same} of {}", ours.len());
    }
}

#[apply(test)]
fn what_would_end_a_column_is_written_otherwise() {
    let image = fixture("ext4").path();
    let image = image.to_str().expect("text");
    let body = volfold(["ls", image, "-R", "--bodyfile"]).code(0);
    for line in body.text().lines() {
        assert_eq!(line.matches('|').count(), 10, "{line}");
    }
    for wrong in [&["--json"][..], &["-l"]] {
        volfold([&["ls", image, "--bodyfile"], wrong].concat()).code(2);
    }
    let zone = volfold(["ls", image, "--time-zone", "Europe/Nowhere"]).code(2);
    zone.says("is no time zone");
    volfold(["ls", image, "--code-page", "1"]).code(2).says("is no code page that is known");
}
