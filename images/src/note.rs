//! What is noticed about one part of an image, while it is opened and while it is read.

use std::sync::Arc;

use volfold_block::{Finding, FindingLog};

/// The log of an image, for one part of it.
#[derive(Clone)]
pub struct PartLog {
    log: Arc<FindingLog>,
    /// What findings call the part; empty if it is the image itself.
    part: Arc<str>,
}

impl PartLog {
    /// The log of `part`, or of the image itself if that is empty.
    pub fn new(log: &Arc<FindingLog>, part: &str) -> Self {
        Self { log: Arc::clone(log), part: part.into() }
    }

    /// Adds `finding`, which is about this part.
    pub fn add(&self, finding: Finding) {
        self.log.add(if self.part.is_empty() { finding } else { finding.within(&self.part) });
    }
}
