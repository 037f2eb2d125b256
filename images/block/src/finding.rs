//! What a layer noticed and went on.

use std::collections::HashSet;
use std::fmt;

use parking_lot::Mutex;
use serde::{Serialize, Serializer};

use crate::code::Code;

/// How much a finding matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Odd, and all is readable.
    Info,
    /// Something is damaged or doubtful.
    Warning,
    /// Something cannot be read.
    Error,
}

/// One thing that was noticed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finding {
    /// How much it matters.
    pub severity: Severity,
    /// What kind of thing it is.
    pub code: Code,
    /// The part of an image it is about: `parent base.vmdk`, `extent a-s001.vmdk`.
    pub part: Option<String>,
    /// The index of the disk it is about.
    pub disk: Option<usize>,
    /// The id of the volume it is about.
    pub volume: Option<String>,
    /// The path on the volume it is about.
    pub path: Option<String>,
    /// The byte position in the part, disk or volume.
    pub position: Option<u64>,
    /// A sentence for people: lower case, without a full stop, without what the other fields say.
    pub message: String,
}

impl Finding {
    /// Whether what is read may be less or older than what there was.
    pub fn bears_on_content(&self) -> bool {
        self.severity == Severity::Error || self.code.bears_on_content()
    }

    /// A finding of `severity` about nothing in particular yet.
    pub fn new(severity: Severity, code: Code, message: impl Into<String>) -> Self {
        Self {
            severity,
            code,
            part: None,
            disk: None,
            volume: None,
            path: None,
            position: None,
            message: message.into(),
        }
    }

    /// An odd thing that costs nothing.
    pub fn info(code: Code, message: impl Into<String>) -> Self {
        Self::new(Severity::Info, code, message)
    }

    /// A doubtful thing.
    pub fn warning(code: Code, message: impl Into<String>) -> Self {
        Self::new(Severity::Warning, code, message)
    }

    /// A thing that cannot be read.
    pub fn error(code: Code, message: impl Into<String>) -> Self {
        Self::new(Severity::Error, code, message)
    }

    /// The same finding about `part`, which the part it names already lies in.
    #[must_use]
    pub fn within(mut self, part: &str) -> Self {
        self.part = Some(match self.part {
            Some(inner) => format!("{part}: {inner}"),
            None => part.to_owned(),
        });
        self
    }

    /// The same finding about disk `disk`.
    #[must_use]
    pub fn on_disk(mut self, disk: usize) -> Self {
        self.disk = Some(disk);
        self
    }

    /// The same finding about the volume `id`.
    #[must_use]
    pub fn on_volume(mut self, id: &str) -> Self {
        self.volume = Some(id.to_owned());
        self
    }

    /// The same finding about `path` on its volume.
    #[must_use]
    pub fn on_path(mut self, path: &str) -> Self {
        self.path = Some(path.to_owned());
        self
    }

    /// The same finding with a byte position.
    #[must_use]
    pub fn at(mut self, position: u64) -> Self {
        self.position = Some(position);
        self
    }
}

/// Part, path, sentence and position; not the disk, the volume and the code, which tables have in
/// columns of their own.
impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for object in [&self.part, &self.path].into_iter().flatten() {
            write!(f, "{object}: ")?;
        }
        f.write_str(&self.message)?;
        match self.position {
            Some(position) => write!(f, " (at byte {position})"),
            None => Ok(()),
        }
    }
}

/// Unknown is `null`; `message` is what [`Finding`]'s `Display` shows.
impl Serialize for Finding {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Shape<'a> {
            severity: Severity,
            code: Code,
            disk: Option<usize>,
            volume: Option<&'a str>,
            part: Option<&'a str>,
            path: Option<&'a str>,
            position: Option<u64>,
            message: String,
        }
        Shape {
            severity: self.severity,
            code: self.code,
            disk: self.disk,
            volume: self.volume.as_deref(),
            part: self.part.as_deref(),
            path: self.path.as_deref(),
            position: self.position,
            message: self.to_string(),
        }
        .serialize(serializer)
    }
}

/// LIMIT: findings of one [`FindingLog`]; those after them are only counted.
const MAX_FINDINGS: usize = 1000;

/// What is noticed while bytes are read: grows, says each thing once, and is bounded.
#[derive(Debug, Default)]
pub struct FindingLog {
    state: Mutex<LogState>,
}

#[derive(Debug, Default)]
struct LogState {
    findings: Vec<Finding>,
    seen: HashSet<(Code, Option<String>, String)>,
    left_out: u64,
}

impl FindingLog {
    /// An empty log.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds `finding`, unless it was added before: the same code, path and sentence.
    pub fn add(&self, finding: Finding) {
        let mut state = self.state.lock();
        if state.findings.len() >= MAX_FINDINGS {
            state.left_out = state.left_out.saturating_add(1);
            return;
        }
        let key = (finding.code, finding.path.clone(), finding.message.clone());
        if state.seen.insert(key) {
            state.findings.push(finding);
        }
    }

    /// All that was added up to now.
    pub fn all(&self) -> Vec<Finding> {
        let state = self.state.lock();
        let mut findings = state.findings.clone();
        if state.left_out > 0 {
            let line = format!("{} more findings are left out", state.left_out);
            findings.push(Finding::warning(crate::code::TOO_MANY_FINDINGS, line));
        }
        findings
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::code;

    #[test]
    fn a_log_says_each_thing_once_and_is_bounded() {
        let log = FindingLog::new();
        for number in 0..2000 {
            let finding = || Finding::warning(code::FAT_TABLE, format!("entry {number}"));
            log.add(finding());
            log.add(finding());
        }
        let all = log.all();
        assert_eq!(all.len(), MAX_FINDINGS + 1);
        assert_eq!(all.last().map(|finding| finding.code), Some(code::TOO_MANY_FINDINGS));
    }

    #[test]
    fn a_finding_says_what_it_is_about() {
        let finding = Finding::warning(code::VMDK_EXTENT_SHORT, "the file has 1 of 2 bytes")
            .within("extent a")
            .within("parent b")
            .on_path("/x")
            .at(512);
        let text = "parent b: extent a: /x: the file has 1 of 2 bytes (at byte 512)";
        assert_eq!(finding.to_string(), text);
        assert_eq!(
            (finding.code.as_str(), finding.severity),
            ("vmdk-extent-short", Severity::Warning)
        );
    }
}
