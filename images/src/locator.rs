//! The policy on files that an image names.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use volfold_block::{BlockDevice, BlockResult};

/// A file that was opened on behalf of an image.
pub struct Located {
    /// Its bytes.
    pub device: Arc<dyn BlockDevice>,
    /// What messages call it.
    pub name: String,
    /// The policy for the files that this one names: relative references start beside it.
    pub files: Arc<dyn Locator>,
}

/// Opens the files that an image names (extents, parents), or refuses to.
///
/// INVARIANT: nothing else opens a file because an image says so.
pub trait Locator: Send + Sync {
    /// Opens what `reference` names, as written in the image. A relative one starts beside the
    /// image; `\` counts as a separator as well.
    ///
    /// # Errors
    /// `MissingPart` if there is no such file, `Refused` if policy forbids it.
    fn open(&self, reference: &Path) -> BlockResult<Located>;

    /// Every file that `reference` may mean, the likeliest first; at least one. Whose content
    /// tells, an id for example, can choose among them.
    ///
    /// # Errors
    /// As [`Locator::open`], if there is none.
    fn candidates(&self, reference: &Path) -> BlockResult<Vec<Located>> {
        self.open(reference).map(|one| vec![one])
    }

    /// Shows `visit` the files that an image may name and whose names end in `extension`, until it
    /// breaks off; for what is known by something in it, not by its name. A bounded number.
    fn neighbours(&self, _extension: &str, _visit: &mut dyn FnMut(Located) -> ControlFlow<()>) {}
}
