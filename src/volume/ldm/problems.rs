//! What is odd about a copy of the database, and text out of it.

/// What is odd about one copy of a database.
#[derive(Debug, Default)]
pub(super) struct Problems {
    pub(super) lines: Vec<String>,
    pub(super) more: usize,
}

impl Problems {
    /// LIMIT: lines that are kept; a database of rubbish has one for each of its blocks.
    const KEPT: usize = 8;

    pub(super) fn add(&mut self, line: String) {
        if self.lines.len() < Self::KEPT {
            self.lines.push(line);
        } else {
            self.more = self.more.saturating_add(1);
        }
    }

    pub(super) fn count(&self) -> usize {
        self.lines.len().saturating_add(self.more)
    }

    /// All in one sentence; `None` if there are none.
    pub(super) fn sentence(&self) -> Option<String> {
        let more = match self.more {
            0 => String::new(),
            more => format!("; and {more} more"),
        };
        (!self.lines.is_empty()).then(|| format!("{}{more}", self.lines.join("; ")))
    }
}

/// The text in a field that is filled up with NUL; control characters become `?`.
pub(super) fn text(bytes: &[u8]) -> String {
    let bytes = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
    let shown = String::from_utf8_lossy(bytes);
    shown.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}
