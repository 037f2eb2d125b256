//! The conformance suite: what every [`FileSystem`] must do, asked of any of them.
//!
//! A [`Case`] is a file system and what independent tools list of it. [`run`] asks for names,
//! content and refusals, and gives all that is wrong at once.

use std::collections::BTreeMap;
use std::fmt;

use volfold_fs::{FileKind, FileSystem, Metadata, NodeId};

use crate::common::compare;
use crate::common::fixtures::ExpectedError;
use crate::common::listing::Row;
use crate::harness::note;

mod content;
#[cfg(target_os = "linux")]
pub(crate) mod host;
mod names;

/// How much a file system is able to tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum View {
    /// All that the traits have.
    Whole,
    /// What programs of the host see of a mount: no codes, no nodes that are not in the tree.
    Mount,
}

/// One file system under test.
pub(crate) struct Case<'a> {
    pub(crate) name: String,
    pub(crate) fs: &'a dyn FileSystem,
    pub(crate) rows: &'a [Row],
    /// Files that are refused with a code if they are not read right.
    pub(crate) errors: &'a [ExpectedError],
    pub(crate) view: View,
}

/// One entry as the walk met it.
pub(crate) struct Seen {
    pub(crate) path: Vec<u8>,
    pub(crate) dir: NodeId,
    pub(crate) name: Vec<u8>,
    pub(crate) node: NodeId,
    pub(crate) metadata: Metadata,
}

impl Seen {
    fn shown(&self) -> String {
        String::from_utf8_lossy(&self.path).into_owned()
    }

    fn is_file(&self) -> bool {
        self.metadata.kind == FileKind::Regular
    }

    fn is_directory(&self) -> bool {
        self.metadata.kind == FileKind::Directory
    }
}

/// How often what was asked, and what was wrong.
#[derive(Default)]
pub(crate) struct Report {
    name: String,
    pub(crate) counts: BTreeMap<&'static str, u64>,
    pub(crate) problems: Vec<String>,
}

impl Report {
    /// Counts one question of the kind `what`; `problem` tells what was wrong if not `good`.
    fn check(&mut self, what: &'static str, good: bool, problem: impl FnOnce() -> String) {
        *self.counts.entry(what).or_default() += 1;
        if !good {
            self.problem(what, &problem());
        }
    }

    fn problem(&mut self, what: &str, problem: &str) {
        self.problems.push(format!("{}: {what}: {problem}", self.name));
    }

    /// Adds the counts and problems of `other`.
    pub(crate) fn add(&mut self, other: Self) {
        for (what, count) in other.counts {
            *self.counts.entry(what).or_default() += count;
        }
        self.problems.extend(other.problems);
    }

    /// Stops the test if anything was wrong.
    pub(crate) fn assert_good(&self) {
        note!("{self}");
        let count = self.problems.len();
        let shown: Vec<&str> = self.problems.iter().take(60).map(String::as_str).collect();
        assert!(count == 0, "{count} problems\n{}", shown.join("\n"));
        assert!(!self.counts.is_empty(), "nothing was asked");
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts: Vec<_> = self.counts.iter().map(|(what, n)| format!("{what} {n}")).collect();
        f.write_str(&counts.join(", "))
    }
}

/// Asks `case` everything.
pub(crate) fn run(case: &Case<'_>) -> Report {
    let mut report = Report { name: case.name.clone(), ..Report::default() };
    listing(case, &mut report);
    let seen = names::walk(case, &mut report);
    names::lookups(case, &seen, &mut report);
    names::cursors(case, &seen, &mut report);
    names::links(&seen, &mut report);
    names::absent_nodes(case, &seen, &mut report);
    content::check(case, &seen, &mut report);
    report
}

/// Names, kinds, sizes, hashes and link targets are those of the listing, and what is refused is
/// refused with the code that is expected.
fn listing(case: &Case<'_>, report: &mut Report) {
    let compared = match compare::compare(case.fs, case.rows) {
        Ok(compared) => compared,
        Err(error) => return report.problem("listing", &error.to_string()),
    };
    *report.counts.entry("listing").or_default() += compared.same as u64;
    for line in compared.differences {
        report.problem("listing", &line);
    }
    for (path, code) in compared.refused {
        let expected = |error: &ExpectedError| {
            error.path == path && (case.view == View::Mount || error.code == code)
        };
        report.check("refusal", case.errors.iter().any(expected), || {
            format!("{path} is refused ({code})")
        });
    }
}

/// Numbers that look random and are the same at every run: xorshift64*.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// A number below `bound`, which is not 0.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}
