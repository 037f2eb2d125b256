//! All extended attributes of a node, within bounds.

use crate::error::{FsError, FsResult};
use crate::node::{FileSystem, NodeId};

/// LIMIT: bytes of names and values of one node. Linux lists names of 64 KiB at most, and a value has no more.
const MAX_BYTES: usize = 16 << 20;

/// Gives the name and value of each extended attribute of `node` whose name is `wanted` to `visit`.
///
/// # Errors
/// Why one of them cannot be read, those before it were given; `Unsupported` if they have more than 16 MiB.
pub fn each_extended_attribute(
    fs: &dyn FileSystem,
    node: NodeId,
    wanted: impl Fn(&[u8]) -> bool,
    mut visit: impl FnMut(Vec<u8>, Vec<u8>),
) -> FsResult<()> {
    let mut left = MAX_BYTES;
    for name in fs.extended_attributes(node)?.into_iter().filter(|name| wanted(name)) {
        let value = fs.extended_attribute(node, &name)?;
        let size = name.len().saturating_add(value.len());
        left = left.checked_sub(size).ok_or_else(|| {
            FsError::unsupported("extended attributes of the file have more than 16 MiB")
        })?;
        visit(name, value);
    }
    Ok(())
}
