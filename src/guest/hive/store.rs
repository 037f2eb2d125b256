//! A hive as what keys and values are read from.

use volfold_fs::FsError;

use super::base_block::BaseBlock;
use super::pages::Pages;

/// The bins of a hive, and what the base block says of them.
pub(super) struct Store {
    pub(super) pages: Pages,
    pub(super) base_block: BaseBlock,
}

/// `error`, its sentence led by what it is about.
pub(super) fn within(part: &str, error: FsError) -> FsError {
    let outer = FsError::new(error.kind(), format!("{part}: {}", error.message()));
    match error.position() {
        Some(position) => outer.at(position).because(error),
        None => outer.because(error),
    }
}
