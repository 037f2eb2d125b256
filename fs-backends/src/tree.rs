//! The tree of volumes.
/// The tree.
pub struct VolumeTree;
