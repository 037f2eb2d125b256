//! What discovery noticed and went on.

use serde::Serialize;

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

/// One thing that discovery noticed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How much it matters.
    pub severity: Severity,
    /// Stable: lower case, words joined by `-`.
    pub code: String,
    /// The index of the disk it is about.
    pub disk: Option<usize>,
    /// The id of the volume it is about.
    pub volume: Option<String>,
    /// A sentence for people.
    pub message: String,
}

impl Finding {
    /// A finding of `severity` about nothing in particular yet.
    pub fn new(severity: Severity, code: &str, message: impl Into<String>) -> Self {
        Self { severity, code: code.to_owned(), disk: None, volume: None, message: message.into() }
    }

    /// A doubtful thing.
    pub fn warning(code: &str, message: impl Into<String>) -> Self {
        Self::new(Severity::Warning, code, message)
    }

    /// A thing that cannot be read.
    pub fn error(code: &str, message: impl Into<String>) -> Self {
        Self::new(Severity::Error, code, message)
    }

    /// A warning from `code: sentence`, as image formats and file systems write theirs.
    pub fn from_line(line: &str) -> Self {
        match line.split_once(": ") {
            Some((code, message)) => Self::warning(code, message),
            None => Self::warning("note", line),
        }
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
}
