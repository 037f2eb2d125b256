//! Deleted files, against what was written before, and how The Sleuth Kit calls it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use crate::common::fixtures::{Fixture, fixtures_folder, index};
use crate::common::listing::{self, Row};
use crate::common::program::{Output, Scratch, volfold};
use crate::common::sha256;
use crate::harness::{apply, note, test};

/// The fixtures on which files were deleted, with the listing of those.
fn all() -> Vec<(&'static Fixture, Vec<Row>)> {
    let fixtures = index().fixtures.values();
    let with_list = fixtures.filter_map(|fixture| {
        let rows = listing::load(&fixtures_folder().join(fixture.deleted.as_ref()?));
        Some((fixture, rows))
    });
    with_list.collect()
}

fn on(fixture: &Fixture, command: &str, rest: &[&str]) -> Output {
    let path = fixture.path();
    let path = path.to_str().expect("text");
    volfold([&[command, path], rest].concat())
}

/// The paths of `rows` and of all directories above them.
fn with_parents(rows: &[Row]) -> BTreeSet<String> {
    let mut paths = BTreeSet::new();
    for row in rows {
        let path = String::from_utf8(row.path.clone()).expect("text");
        let ends = path.match_indices('/').map(|(end, _)| end).chain([path.len()]);
        paths.extend(ends.map(|end| path[..end].to_owned()));
    }
    paths
}

#[apply(test)]
fn what_was_deleted_is_listed_with_its_path_and_what_is_gone_says_so() {
    let mut files = 0;
    for (fixture, rows) in all() {
        let list = on(fixture, "ls", &["--deleted", "-R", "--json"]).code(0).json();
        let entries = list["entries"].as_array().expect("entries");
        let mut found = BTreeMap::new();
        for entry in entries {
            let path = entry["path"].as_str().expect("a path");
            let path = path.trim_start_matches('/');
            let Some((volume, below)) = path.split_once('/') else { continue };
            assert!(volume.ends_with("@deleted"), "{path}");
            found.insert(below.to_owned(), entry);
        }
        let paths: BTreeSet<String> = found.keys().cloned().collect();
        assert_eq!(paths, with_parents(&rows), "{}", fixture.name);
        for row in &rows {
            let entry = found[std::str::from_utf8(&row.path).expect("text")];
            assert_eq!(entry["type"], row.kind, "{entry}");
            if row.kind == "f" {
                assert_eq!(entry["size"].as_u64(), row.size, "{entry}");
                let reason =
                    if row.unreadable { "overwritten".into() } else { serde_json::Value::Null };
                assert_eq!(entry["unreadable"], reason, "{entry}");
                files += 1;
            }
        }
        // What is there is not among them, nor the reverse.
        let living = on(fixture, "ls", &["-R"]).code(0).text();
        for row in &rows {
            let line = format!("/{}\n", String::from_utf8_lossy(&row.path));
            assert!(!living.contains(&line), "{line}");
        }
    }
    note!("{files} files");
    assert!(files >= 14);
}

#[apply(test)]
fn what_was_deleted_has_the_bytes_that_were_written() {
    for (fixture, rows) in all() {
        let scratch = Scratch::new("deleted");
        let out = scratch.join("out");
        let gone = rows.iter().filter(|row| row.unreadable).count();
        let arguments = ["--deleted", "-o", out.to_str().expect("text")];
        let output = on(fixture, "extract", &arguments).code(if gone > 0 { 3 } else { 0 });
        assert_eq!(output.stderr.matches("[overwritten]").count(), gone, "{output:?}");
        let output = output.says("[deleted-files]");
        let volume = fs::read_dir(&out).expect("the output").flatten().next().expect("a volume");
        assert!(volume.file_name().to_string_lossy().ends_with("@deleted"), "{output:?}");
        for row in rows.iter().filter(|row| row.kind == "f") {
            let path = volume.path().join(std::str::from_utf8(&row.path).expect("text"));
            let found = fs::read(&path).ok().map(|bytes| sha256(&bytes));
            assert_eq!(found, row.sha256, "{}", path.display());
        }
    }
}

#[apply(test)]
fn a_volume_may_be_called_by_its_plain_name_and_paths_by_other_capitals() {
    let (fixture, _) =
        all().into_iter().find(|(fixture, _)| fixture.name == "ntfs-deleted").expect("it");
    let wanted = on(fixture, "cat", &["--deleted", "-p", "/ntfs@deleted/docs/tiny.txt"]).code(0);
    assert_eq!(wanted.text(), "in its record\n");
    for path in ["/ntfs/docs/tiny.txt", "/NTFS@DELETED/Docs/TINY.txt", "disk0/docs/tiny.txt"] {
        let found = on(fixture, "cat", &["--deleted", "-p", path]).code(0);
        assert_eq!(found.stdout, wanted.stdout, "{path}");
    }
    on(fixture, "cat", &["--deleted", "-p", "/ntfs/over.bin"]).code(1).says("given to another");
    on(fixture, "cat", &["--deleted", "-p", "/ntfs/README.txt"]).code(1).says("no such file");
}

#[apply(test)]
fn a_file_system_that_is_not_searched_says_so() {
    let path = crate::common::fixtures::fixture("xfs-1k").path();
    let path = path.to_str().expect("text");
    let output = volfold(["ls", path, "--deleted", "-R"]).code(3);
    output.says("deleted files are not looked for in xfs");
}
