//! What the documents name is there.

use std::fs;
use std::path::Path;

use crate::harness::{apply, test};

/// All text of the sources below `folder`.
fn sources(folder: &Path, all: &mut String) {
    for entry in fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry")) {
        let path = entry.path();
        if path.is_dir() {
            sources(&path, all);
        } else if path.extension().is_some_and(|extension| extension == "rs" || extension == "py") {
            all.push_str(&fs::read_to_string(path).expect("a source"));
        }
    }
}

#[apply(test)]
fn every_test_that_the_comparison_names_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut all = String::new();
    for folder in ["tests/suite", "capi", "bindings/python/tests"] {
        sources(&root.join(folder), &mut all);
    }
    let comparison = fs::read_to_string(root.join("docs/COMPARED.md")).expect("the comparison");
    let words = comparison.split('`').skip(1).step_by(2);
    let is_test = |word: &&str| word.matches('_').count() >= 3 && !word.contains(['(', ' ']);
    let names: Vec<&str> = words.filter(is_test).collect();
    assert!(names.len() > 50);
    for name in names {
        let is_there =
            all.contains(&format!("fn {name}(")) || all.contains(&format!("def {name}("));
        assert!(is_there, "{name}");
    }
}
