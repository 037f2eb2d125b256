//! VMDK, the disk image of VMware, in the forms that its hosted products and exports write.
//!
//! Specification: VMware Virtual Disk Format 5.0. A [`descriptor`], text of its own or embedded in
//! the first extent, names the extents and the parent. An extent is flat, or [`sparse`]: made of
//! grains, perhaps compressed. A disk with a parent holds what was written since a snapshot; the
//! rest shows through from the parent, which must still have the content id that the child noted.
//!
//! | variant                                       | read                                    |
//! |-----------------------------------------------|-----------------------------------------|
//! | `monolithicSparse`, `twoGbMaxExtentSparse`    | yes                                     |
//! | `monolithicFlat`, `twoGbMaxExtentFlat`        | yes                                     |
//! | `streamOptimized`                             | yes, also cut short, up to the cut      |
//! | `vmfs`, and others of flat extents            | yes                                     |
//! | `custom`, and names not known here            | if every extent is of a kind known here |
//! | `vmfsSparse`, `seSparse` (ESX snapshots)      | no: their extents are another format    |
//! | `fullDevice`, `partitionedDevice`, raw maps   | refused: they stand for a host's disk   |

mod descriptor;
mod directory;
mod disk;
mod grain;
mod header;
mod layer;
mod scan;
mod sparse;
#[cfg(test)]
mod testing;

use std::path::Path;
use std::sync::Arc;

use crate::bytes::bytes_to_index;
use crate::device::BlockDevice;
use crate::error::{BlockError, BlockErrorKind, BlockResult};
use crate::format::{Confidence, DiskImage, ImageFormat};
use crate::locator::Located;

use self::directory::TableBudget;
use self::disk::VmdkDisk;
use self::layer::Layer;

/// LIMIT: images of a chain. VMware allows 32 snapshots.
const MAX_CHAIN: usize = 64;

/// The first bytes of a sparse extent of ESX.
const COWD_MAGIC: [u8; 4] = *b"COWD";

/// How much [`Vmdk::probe`] looks at.
const PROBE_BYTES: u64 = 64;

/// Reads VMDK images.
pub struct Vmdk;

impl ImageFormat for Vmdk {
    fn id(&self) -> &'static str {
        "vmdk"
    }

    fn title(&self) -> &'static str {
        "VMDK (hosted)"
    }

    fn probe(&self, file: &dyn BlockDevice) -> BlockResult<Confidence> {
        let mut bytes = vec![0; bytes_to_index(file.size().min(PROBE_BYTES))?];
        file.read_at(0, &mut bytes)?;
        let is_vmdk = bytes.starts_with(&header::MAGIC)
            || bytes.starts_with(&COWD_MAGIC)
            || descriptor::has_signature(&bytes);
        Ok(if is_vmdk {
            Confidence::Certain
        } else {
            Confidence::No
        })
    }

    fn open(&self, file: &Located) -> BlockResult<DiskImage> {
        open_with(file, &Arc::new(TableBudget::new()))
    }
}

/// Opens the image in `file` and its parents; all their tables share `budget`.
fn open_with(file: &Located, budget: &Arc<TableBudget>) -> BlockResult<DiskImage> {
    let mut layers = vec![Layer::open(file, budget)?];
    let mut chain = vec![file.name.clone()];
    let mut files = Arc::clone(&file.files);
    while let Some(link) = layers
        .last()
        .and_then(|layer| layer.descriptor.parent.clone())
    {
        if chain.len() >= MAX_CHAIN {
            let sentence = format!("chain of parents is longer than {MAX_CHAIN} images");
            return Err(BlockError::unsupported(sentence));
        }
        let name = format!("parent {}", link.hint);
        let parent = files
            .open(Path::new(&link.hint))
            .map_err(|error| layer::missing("parent", &link.hint, error))
            .map_err(|error| within_unless_missing(error, &name))?;
        if chain.contains(&parent.name) {
            let sentence = format!("{name} is also a child of this image");
            return Err(BlockError::new(BlockErrorKind::Corrupt, sentence));
        }
        if Vmdk.probe(&*parent.device)? == Confidence::No {
            let sentence = format!("{name} is no VMDK and so has no content id to check");
            return Err(BlockError::unsupported(sentence));
        }
        let layer =
            Layer::open(&parent, budget).map_err(|error| within_unless_missing(error, &name))?;
        check_content(&name, link.cid, layer.descriptor.cid)?;
        layers.push(layer);
        chain.push(parent.name);
        files = parent.files;
    }
    Ok(assemble(layers, chain))
}

fn within_unless_missing(error: BlockError, part: &str) -> BlockError {
    match error.kind() {
        BlockErrorKind::MissingPart => error,
        _ => error.within(part),
    }
}

/// A parent that was written to after the snapshot would show wrong bytes through the holes.
fn check_content(parent: &str, wanted: u32, found: Option<u32>) -> BlockResult<()> {
    let sentence = match found {
        Some(found) if found == wanted => return Ok(()),
        Some(found) => format!(
            "{parent} was changed after the snapshot: its CID is {found:08x}, not {wanted:08x}"
        ),
        None => format!("{parent} has no CID, where {wanted:08x} is wanted"),
    };
    Err(BlockError::new(BlockErrorKind::Corrupt, sentence))
}

/// Stacks `layers`, the given image first.
fn assemble(layers: Vec<Layer>, chain: Vec<String>) -> DiskImage {
    let variant = layers
        .first()
        .and_then(|layer| layer.descriptor.create_type.clone());
    let dear_block = layers.iter().filter_map(|layer| layer.dear_block).max();
    let mut findings = Vec::new();
    let mut device: Option<Arc<dyn BlockDevice>> = None;
    for layer in layers.into_iter().rev() {
        findings.splice(..0, layer.findings);
        device = Some(Arc::new(VmdkDisk::new(layer.extents, layer.size, device)));
    }
    DiskImage {
        device: device.unwrap_or_else(|| Arc::new(VmdkDisk::new(Vec::new(), 0, None))),
        format: Vmdk.id(),
        variant,
        chain,
        // Grains that are compressed have a bound far below 32 bits.
        dear_block: dear_block.and_then(|size| u32::try_from(size).ok()),
        findings,
    }
}
