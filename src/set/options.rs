//! How a set is opened.

use std::path::PathBuf;
use std::sync::Arc;

use volfold_fs::ReadOptions;

use crate::monitor::Monitor;
use crate::volume::lock::{KeyRequest, KeySource, WorkBudget};

/// How a disk set is opened.
#[derive(Clone)]
#[non_exhaustive]
pub struct OpenOptions {
    /// Folders into which references of images may lead, beside the image's own.
    pub allowed: Vec<PathBuf>,
    /// The bound of all sector caches together, in bytes.
    pub cache_size: u64,
    /// The id of the format that all images have; `None` to find it out from name and content.
    pub format: Option<String>,
    /// The state that is wanted of images that keep several, by its name or its id; `None` for the
    /// newest.
    pub snapshot: Option<String>,
    /// Whether snapshots that are kept inside volumes (VSS) are volumes of the set too.
    pub snapshots: bool,
    /// Whether volumes show what was deleted on them, in place of what is there.
    pub deleted: bool,
    /// How the file systems of the volumes are mounted.
    pub mount: ReadOptions,
    /// Where the keys of locked volumes come from.
    pub keys: Arc<dyn KeySource>,
    /// What all keys of the set may cost together.
    pub(crate) work: Arc<WorkBudget>,
    /// What tells how far the work is, now and on the set later, and stops it.
    pub monitor: Monitor,
}

impl OpenOptions {
    /// The default of [`OpenOptions::cache_size`]. ARCHITECTURE.md, section 8, has the reason.
    pub const DEFAULT_CACHE_SIZE: u64 = 64 << 20;
}

impl Default for OpenOptions {
    fn default() -> Self {
        Self {
            allowed: Vec::new(),
            cache_size: Self::DEFAULT_CACHE_SIZE,
            format: None,
            snapshot: None,
            snapshots: false,
            deleted: false,
            mount: ReadOptions::default(),
            keys: Arc::new(|_: &KeyRequest<'_>| Ok(None)),
            work: Arc::default(),
            monitor: Monitor::default(),
        }
    }
}
