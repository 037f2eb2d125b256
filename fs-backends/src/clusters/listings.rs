//! Decoded directories that were used last.

use std::sync::Arc;

use parking_lot::Mutex;

use crate::error::FsResult;
use crate::kept::{Kept, Memory};
use crate::node::NodeId;

/// Bytes of decoded directories that a volume keeps, beside a large one.
const CAPACITY: u64 = 4 << 20;

/// The decoded directories of a volume, by their nodes.
pub(crate) struct Listings<T: Memory> {
    kept: Kept<T>,
    /// The last one that is too large for the others; it is fetched in pieces all the same.
    large: Mutex<Option<(NodeId, Arc<T>)>>,
}

impl<T: Memory> Listings<T> {
    /// Keeps nothing yet.
    pub(crate) fn new() -> FsResult<Self> {
        Ok(Self { kept: Kept::new(CAPACITY)?, large: Mutex::new(None) })
    }

    /// The directory `dir`, which `make` decodes where it is not kept.
    ///
    /// # Errors
    /// What `make` says.
    pub(crate) fn get(&self, dir: NodeId, make: impl FnOnce() -> FsResult<T>) -> FsResult<Arc<T>> {
        if let Some(kept) = self.kept.get(dir.0) {
            return Ok(kept);
        }
        if let Some((large, kept)) = &*self.large.lock()
            && *large == dir
        {
            return Ok(kept.clone());
        }
        let made = Arc::new(make()?);
        if made.memory() > CAPACITY / 2 {
            *self.large.lock() = Some((dir, made.clone()));
        } else {
            self.kept.insert(dir.0, made.clone());
        }
        Ok(made)
    }
}
