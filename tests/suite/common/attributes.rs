//! Extended attributes of a fixture, compared with those that the kernel lists.

use std::collections::{BTreeMap, BTreeSet};

use volfold_fs::{FileSystem, FsErrorKind, FsResult, Name, NodeId};

use super::fixtures::fixtures_folder;
use super::listing::unescape;
use super::sha256;

/// Name and SHA-256 of the value of each attribute, by path.
pub(crate) type Listed = BTreeMap<Vec<u8>, BTreeSet<(Vec<u8>, String)>>;

/// What `NAME.attributes.tsv` has.
pub(crate) fn listed(name: &str) -> Listed {
    let path = fixtures_folder().join(format!("{name}.attributes.tsv"));
    let bytes = std::fs::read(path).expect("a list");
    let mut all = Listed::new();
    for line in bytes.split(|byte| *byte == b'\n').skip(1).filter(|line| !line.is_empty()) {
        let columns: Vec<&[u8]> = line.split(|byte| *byte == b'\t').collect();
        let [path, attribute, sum] = columns[..] else { panic!("{}", line.escape_ascii()) };
        let sum = String::from_utf8(sum.to_vec()).expect("a sum");
        all.entry(unescape(path)).or_default().insert((unescape(attribute), sum));
    }
    all
}

fn find(fs: &dyn FileSystem, path: &[u8]) -> FsResult<NodeId> {
    let mut parts = path.split(|byte| *byte == b'/');
    parts.try_fold(fs.root(), |dir, part| fs.lookup(dir, Name::new(part)))
}

/// Compares those of `fs` with the list of the fixture `name`, and says how many there are.
pub(crate) fn compare(fs: &dyn FileSystem, name: &str) -> usize {
    let expected = listed(name);
    assert!(expected.len() >= 5, "{name}");
    let mut count = 0;
    for (path, expected) in expected {
        let shown = path.escape_ascii();
        let node = find(fs, &path).unwrap_or_else(|error| panic!("{name}: {shown}: {error}"));
        let names = fs.extended_attributes(node).expect("names");
        let value = |attribute: &Vec<u8>| match fs.extended_attribute(node, attribute) {
            Ok(value) => (attribute.clone(), sha256(&value)),
            Err(error) => panic!("{name}: {shown}: {}: {error}", attribute.escape_ascii()),
        };
        let found: BTreeSet<(Vec<u8>, String)> = names.iter().map(value).collect();
        assert_eq!(found, expected, "{name}: {shown}");
        assert_eq!(names.len(), found.len(), "{name}: {shown}: each once");
        count += found.len();
        for absent in [&b"user.absent"[..], b"trusted.a", b"system.posix_acl_nothing", b"x", b""] {
            let error = fs.extended_attribute(node, absent).expect_err("absent");
            assert_eq!(error.kind(), FsErrorKind::NotFound);
        }
    }
    count
}
