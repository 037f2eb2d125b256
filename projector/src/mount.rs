//! What is mounted: a folder of volumes, or the files under loop devices.

use crate::error::ProjectResult;

/// A mounted folder.
pub trait Mount: Send {
    /// What frees the folder from another thread, whether programs have files open in it or not.
    fn stopper(&self) -> Box<dyn Fn() + Send + Sync>;

    /// What programs may use in the place of the folder of `volume`: paths by the volume's device or
    /// number, where the host has such.
    fn other_names(&self, _volume: &[u8]) -> Vec<String> {
        Vec::new()
    }

    /// Answers requests until the folder is freed.
    ///
    /// # Errors
    /// Why the host ended it.
    fn serve(self: Box<Self>) -> ProjectResult<()>;
}
