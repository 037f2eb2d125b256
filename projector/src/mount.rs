//! What is mounted: a folder of volumes, or the files under loop devices.

use crate::error::ProjectResult;

/// A mounted folder.
pub trait Mount: Send {
    /// What frees the folder from another thread, whether programs have files open in it or not.
    fn stopper(&self) -> Box<dyn Fn() + Send + Sync>;

    /// Answers requests until the folder is freed.
    ///
    /// # Errors
    /// Why the host ended it.
    fn serve(self: Box<Self>) -> ProjectResult<()>;
}
