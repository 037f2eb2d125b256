//! Findings about what has an entry in a directory.

use volfold_block::{Code, Finding, byte_count};

use crate::error::FsError;
use crate::node::NodeId;

/// The size of an entry; a node is the position of its entry in such units.
pub(crate) const ENTRY: usize = 32;

/// `line` about the file or directory `name`.
pub(crate) fn finding_of(node: NodeId, name: &str, code: Code, line: &str) -> Finding {
    let finding = Finding::warning(code, format!("{name}: {line}"));
    finding.at(node.0.saturating_mul(byte_count(ENTRY)))
}

/// Why a directory has not all its names.
pub(crate) fn not_whole(damage: &str) -> FsError {
    FsError::corrupt(format!("directory can be listed in part only: {damage}"))
}
