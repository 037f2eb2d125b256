//! Volumes that were not unmounted, without their journals, against what Linux shows of them so.

use std::collections::BTreeMap;

use crate::common::fixtures::{Fixture, fixtures_folder, index};
use crate::common::listing::{self, Row};
use crate::common::program::{Output, volfold};
use crate::harness::{apply, test};

/// The files of `rows` with their hashes.
fn wanted(rows: &[Row]) -> BTreeMap<String, String> {
    let files = rows.iter().filter(|row| row.kind == "f");
    let text = |row: &Row| String::from_utf8(row.path.clone()).expect("text");
    files.map(|row| (text(row), row.sha256.clone().expect("a hash"))).collect()
}

/// The same of what `hash` prints.
fn found(output: &Output) -> BTreeMap<String, String> {
    let line = |line: &str| {
        let [path, _, hash] = line.split('\t').collect::<Vec<_>>()[..] else { panic!("{line}") };
        let (_, below) = path[1..].split_once('/').expect("a path in a volume");
        (below.to_owned(), hash.to_owned())
    };
    output.text().lines().map(line).collect()
}

#[apply(test)]
fn a_volume_as_it_is_has_the_files_that_linux_shows_without_the_journal() {
    let mut count = 0;
    for fixture in index().fixtures.values() {
        let [facts] = fixture.volumes.as_slice() else { continue };
        let Some(stale) = &facts.stale_listing else { continue };
        let run = |fixture: &Fixture, command: &str, rest: &[&str]| {
            let path = fixture.path();
            volfold([&[command, path.to_str().expect("text")], rest].concat())
        };
        let as_is = run(fixture, "hash", &["--as-is"]).code(0).says("[journal-left-out]");
        let stale = wanted(&listing::load(&fixtures_folder().join(stale)));
        assert!(found(&as_is) == stale, "{}", fixture.name);
        let replayed = run(fixture, "hash", &[]);
        assert!(!replayed.stderr.contains("journal-left-out"), "{replayed:?}");
        let replayed = found(&replayed);
        assert!(replayed == wanted(&facts.rows()), "{}", fixture.name);
        assert_ne!(replayed, stale, "{}: the journal has nothing new", fixture.name);
        let json = run(fixture, "ls", &["--as-is", "-R", "--json"]).code(0).json();
        let findings = json["findings"].as_array().expect("findings");
        assert!(findings.iter().any(|finding| finding["code"] == "journal-left-out"), "{json}");
        let clean = run(&crate::common::fixtures::fixture("ext4"), "ls", &["--as-is"]).code(0);
        assert!(clean.stderr.is_empty(), "{clean:?}");
        count += 1;
    }
    assert!(count >= 2);
}
