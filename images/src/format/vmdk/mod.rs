//! VMDK, the disk image of VMware, in the forms that its hosted products and exports write.
//!
//! Specification: VMware Virtual Disk Format 5.0. A `descriptor`, text of its own or embedded in
//! the first extent, names the extents and the parent. An extent is flat, or `sparse`: made of
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
mod footer;
mod grain;
mod header;
mod layer;
mod scan;
mod sparse;
#[cfg(test)]
mod testing;

use std::path::Path;
use std::sync::Arc;

use crate::format::vmdk::directory::TableBudget;
use crate::format::vmdk::disk::{DiskExtent, VmdkDisk};
use crate::format::vmdk::layer::Layer;
use crate::format::{DiskImage, ImageFormat};
use crate::locator::Located;
use volfold_block::{
    BlockDevice, BlockError, BlockErrorKind, BlockResult, CachePool, Confidence, Mapped,
    MemoryDevice, bytes_to_index,
};

/// LIMIT: images of a chain. VMware allows 32 snapshots.
const MAX_CHAIN: usize = 64;

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

    fn extensions(&self) -> &'static [&'static str] {
        &["vmdk"]
    }

    fn probe(&self, file: &dyn BlockDevice) -> BlockResult<Confidence> {
        let mut bytes = vec![0; bytes_to_index(file.size().min(PROBE_BYTES))?];
        file.read_at(0, &mut bytes)?;
        let is_vmdk = bytes.starts_with(&header::MAGIC)
            || bytes.starts_with(&header::COWD_MAGIC)
            || descriptor::has_signature(&bytes);
        Ok(if is_vmdk { Confidence::Certain } else { Confidence::No })
    }

    fn open(&self, file: &Located, cache: &Arc<CachePool>) -> BlockResult<DiskImage> {
        open_with(file, &Arc::new(TableBudget::new()), cache)
    }
}

/// Opens the image in `file` and its parents; all their tables share `budget`.
fn open_with(
    file: &Located,
    budget: &Arc<TableBudget>,
    cache: &Arc<CachePool>,
) -> BlockResult<DiskImage> {
    let mut layers = vec![Layer::open(file, budget)?];
    let mut chain = vec![file.name.clone()];
    let mut files = Arc::clone(&file.files);
    while let Some(link) = layers.last().and_then(|layer| layer.descriptor.parent.clone()) {
        if chain.len() >= MAX_CHAIN {
            let sentence = format!("chain of parents is longer than {MAX_CHAIN} images");
            return Err(BlockError::unsupported(sentence));
        }
        let name = format!("parent {}", link.hint);
        let parent = files
            .open(Path::new(&link.hint))
            .map_err(|error| layer::missing("parent", &link.hint, error))?;
        if chain.contains(&parent.name) {
            let sentence = format!("{name} is also a child of this image");
            return Err(BlockError::new(BlockErrorKind::Corrupt, sentence));
        }
        if Vmdk.probe(&*parent.device)? == Confidence::No {
            let sentence = format!("{name} is no VMDK and so has no content id to check");
            return Err(BlockError::unsupported(sentence));
        }
        let mut layer = Layer::open(&parent, budget).map_err(|error| error.within(&name))?;
        layer.prefix_messages(&name);
        check_content(&name, link.cid, layer.descriptor.cid)?;
        layers.push(layer);
        chain.push(parent.name);
        files = parent.files;
    }
    Ok(assemble(layers, chain, cache))
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
fn assemble(layers: Vec<Layer>, chain: Vec<String>, cache: &Arc<CachePool>) -> DiskImage {
    let variant = layers.first().and_then(|layer| layer.descriptor.create_type.clone());
    let is_decoded = layers.iter().flat_map(|layer| &layer.extents).any(DiskExtent::is_compressed);
    let mut findings = Vec::new();
    let mut device: Option<Arc<dyn BlockDevice>> = None;
    for layer in layers.into_iter().rev() {
        findings.splice(..0, layer.findings);
        let disk = VmdkDisk::new(layer.extents, layer.size, device);
        device = Some(Arc::new(Mapped::cached(disk, cache)));
    }
    DiskImage {
        device: device.unwrap_or_else(|| Arc::new(MemoryDevice::new([]))),
        format: Vmdk.id(),
        variant,
        chain,
        is_decoded,
        findings,
    }
}

#[cfg(test)]
mod tests {
    use super::testing::{Files, SparseBuilder, read};
    use super::*;
    use volfold_block::{ExtentKind, MemoryDevice};

    const CAPACITY: u64 = 1 << 20;

    fn text(lines: &str) -> Vec<u8> {
        format!("# Disk DescriptorFile\nCID=00000001\nparentCID=ffffffff\n{lines}\n").into_bytes()
    }

    #[track_caller]
    fn probe(bytes: &[u8]) -> Confidence {
        Vmdk.probe(&MemoryDevice::new(bytes)).unwrap()
    }

    #[test]
    fn the_signatures_are_certain_and_all_else_is_not_ours() {
        assert_eq!(probe(b"KDMV"), Confidence::Certain);
        assert_eq!(probe(b"COWD"), Confidence::Certain);
        assert_eq!(probe(b"\n# disk descriptorFile\n"), Confidence::Certain);
        assert_eq!(probe(b"# Disk"), Confidence::No);
        assert_eq!(probe(b""), Confidence::No);
    }

    #[test]
    fn extents_of_all_kinds_follow_each_other() {
        let files = Files::default()
            .with(
                "d.vmdk",
                text(
                    "createType=\"custom\"\nRW 8 FLAT \"f\" 1\nRDONLY 0 FLAT \"none\"\nRW 8 ZERO\n\
                     RW 2048 SPARSE \"s\"\nNOACCESS 8 FLAT \"gone\"\nRW 2 VMFS \"f\"",
                ),
            )
            .with("f", (0..16_u8).flat_map(|sector| [sector; 512]).collect::<Vec<_>>())
            .with("s", SparseBuilder::new(CAPACITY).descriptor(None).grain(0, 0x55).build());
        let image = files.open("d.vmdk").unwrap();
        assert_eq!(image.variant.as_deref(), Some("custom"));
        assert_eq!(image.chain, ["d.vmdk"]);
        assert_eq!(image.device.size(), (8 + 8 + 2048 + 8 + 2) * 512);
        let bytes = read(&*image.device, 7 * 512, 10 * 512).unwrap();
        let seen: Vec<_> = bytes.chunks(512).map(|sector| sector[9]).collect();
        assert_eq!(seen, [8, 0, 0, 0, 0, 0, 0, 0, 0, 0x55]);
        let last = (8 + 8 + 2048 + 8) * 512;
        assert_eq!(read(&*image.device, last + 512, 1).unwrap(), [1]);
        assert_eq!(image.device.extent_at(9 * 512).unwrap().kind, ExtentKind::Zero);
        assert_eq!(image.device.extent_at(9 * 512).unwrap().length, 7 * 512);
        assert_eq!(image.device.extent_at(5 * 512).unwrap().length, 3 * 512);
        let error = read(&*image.device, last - 512, 1024).unwrap_err();
        assert_eq!(error.kind(), BlockErrorKind::Refused);
        assert_eq!(error.message(), "extent gone: is marked NOACCESS");
    }

    #[test]
    fn a_short_flat_extent_opens_with_a_finding_and_lacks_only_its_end() {
        let files =
            Files::default().with("d.vmdk", text("RW 4 FLAT \"f\" 1")).with("f", vec![3; 4 * 512]);
        let image = files.open("d.vmdk").unwrap();
        assert!(
            image.findings[0].code == "vmdk-extent-short"
                && image.findings[0]
                    .to_string()
                    .starts_with("extent f: the file has 2048 of 2560 bytes")
        );
        assert_eq!(read(&*image.device, 2 * 512, 512).unwrap(), [3; 512]);
        let error = read(&*image.device, 3 * 512 - 1, 2).unwrap_err();
        assert_eq!((error.kind(), error.position()), (BlockErrorKind::Corrupt, Some(2048)));
        assert_eq!(image.device.extent_at(3 * 512).unwrap().length, 512);
    }

    #[test]
    fn a_sparse_extent_smaller_than_its_line_lacks_only_its_end() {
        let files = Files::default()
            .with("d.vmdk", text("RW 2056 SPARSE \"s\""))
            .with("s", SparseBuilder::new(CAPACITY).descriptor(None).build());
        let image = files.open("d.vmdk").unwrap();
        assert!(
            image.findings[0].code == "vmdk-extent-short"
                && image.findings[0].to_string().starts_with("extent s: the file has ")
        );
        assert_eq!(read(&*image.device, CAPACITY - 1, 1).unwrap(), [0]);
        let error = read(&*image.device, CAPACITY - 1, 2).unwrap_err();
        assert_eq!((error.kind(), error.position()), (BlockErrorKind::Corrupt, Some(CAPACITY)));
        assert_eq!(image.device.extent_at(CAPACITY).unwrap().kind, ExtentKind::Data);
    }

    #[test]
    fn an_extent_that_is_missing_is_named() {
        let error =
            Files::default().with("d.vmdk", text("RW 8 FLAT \"d-flat.vmdk\"")).error("d.vmdk");
        assert_eq!(error.0, BlockErrorKind::MissingPart);
        assert_eq!(error.2, "extent d-flat.vmdk is missing; put it beside the image");
    }

    #[test]
    fn formats_that_are_not_read_say_so() {
        use BlockErrorKind::{Refused, Unsupported};
        for (lines, kind, part) in [
            ("RW 8 VMFSSPARSE \"f\"", Unsupported, "extent f is of the type VMFSSPARSE"),
            ("RW 8 SESPARSE \"f\"", Unsupported, "extent f is of the type SESPARSE"),
            ("createType=\"fullDevice\"\nRW 8 FLAT \"f\"", Refused, "stands for a disk of"),
        ] {
            let files = Files::default().with("d.vmdk", text(lines)).with("f", [0; 4096]);
            let error = files.error("d.vmdk");
            assert_eq!(error.0, kind);
            assert!(error.2.starts_with(part), "{}", error.2);
        }
        let error = Files::default().with("d.vmdk", *b"COWD").error("d.vmdk");
        assert_eq!(error.0, Unsupported);
        let error = Files::default().with("d.vmdk", *b"KDMV").error("d.vmdk");
        assert_eq!((error.0, error.1), (BlockErrorKind::Corrupt, Some(0)));
    }

    #[test]
    fn errors_of_an_extent_carry_its_name() {
        for bytes in [&b"KDMV"[..], &[0; 4096]] {
            let error = Files::default()
                .with("d.vmdk", text("RW 8 SPARSE \"s\""))
                .with("s", bytes)
                .error("d.vmdk");
            assert_eq!((error.0, error.1), (BlockErrorKind::Corrupt, Some(0)));
            assert!(error.2.starts_with("extent s: sparse header "), "{}", error.2);
        }
    }

    #[test]
    fn an_extent_of_a_split_image_alone_is_not_an_image() {
        let bytes = SparseBuilder::new(CAPACITY).descriptor(None).build();
        let error = Files::default().with("s.vmdk", bytes).error("s.vmdk");
        assert_eq!(error.0, BlockErrorKind::MissingPart);
        let sentence = "is an extent of a split image; open its descriptor";
        assert_eq!(error.2, sentence);
        let bytes = SparseBuilder::new(CAPACITY).descriptor(Some("\0")).build();
        let error = Files::default().with("s.vmdk", bytes).error("s.vmdk");
        assert_eq!(error.2, sentence);
    }

    #[test]
    fn an_embedded_descriptor_has_one_extent_which_is_sparse() {
        for lines in ["RW 8 FLAT \"f\"", "RW 8 SPARSE \"a\"\nRW 8 SPARSE \"b\""] {
            let bytes = SparseBuilder::new(CAPACITY).descriptor(Some(lines)).build();
            let error = Files::default().with("s.vmdk", bytes).error("s.vmdk");
            assert_eq!((error.0, error.1), (BlockErrorKind::Corrupt, Some(512)));
        }
        let line = Some("NOACCESS 8 SPARSE \"s.vmdk\"");
        let bytes = SparseBuilder::new(CAPACITY).descriptor(line).build();
        let image = Files::default().with("s.vmdk", bytes).open("s.vmdk").unwrap();
        assert!(read(&*image.device, 0, 1).is_err());
    }

    #[test]
    fn an_embedded_descriptor_has_to_be_in_the_file_and_small() {
        use BlockErrorKind::{Corrupt, Unsupported};
        for (sectors, padding, kind) in [(2049_u64, 0, Corrupt), (2049, 1 << 21, Unsupported)] {
            let mut bytes = SparseBuilder::new(CAPACITY).build();
            bytes[0x24..0x2C].copy_from_slice(&sectors.to_le_bytes());
            bytes.resize(bytes.len() + padding, 0);
            let error = Files::default().with("s.vmdk", bytes).error("s.vmdk");
            assert_eq!((error.0, error.1), (kind, Some(512)));
        }
    }

    #[test]
    fn a_parent_has_to_be_there_unchanged_and_a_vmdk() {
        let child = SparseBuilder::new(CAPACITY).parent(0xABC, "base.vmdk").build();
        let files = Files::default().with("c.vmdk", child);
        let error = files.error("c.vmdk");
        assert_eq!(error.0, BlockErrorKind::MissingPart);
        assert_eq!(error.2, "parent base.vmdk is missing; put it beside the image");

        let base = SparseBuilder::new(CAPACITY).build();
        let error = files.clone().with("base.vmdk", base).error("c.vmdk");
        assert_eq!(error.0, BlockErrorKind::Corrupt);
        assert_eq!(
            error.2,
            "parent base.vmdk was changed after the snapshot: its CID is 00000001, not 00000abc"
        );

        let base = SparseBuilder::new(CAPACITY).descriptor(Some("RW 2048 SPARSE \"x\""));
        let error = files.clone().with("base.vmdk", base.build()).error("c.vmdk");
        assert_eq!(error.0, BlockErrorKind::Corrupt);
        assert_eq!(error.2, "parent base.vmdk has no CID, where 00000abc is wanted");

        let error = files.clone().with("base.vmdk", [0; 512]).error("c.vmdk");
        assert_eq!(error.0, BlockErrorKind::Unsupported);

        let error = files.with("base.vmdk", *b"KDMV").error("c.vmdk");
        assert_eq!(error.0, BlockErrorKind::Corrupt);
        assert_eq!(error.2, "parent base.vmdk: sparse header is cut short");
    }

    #[test]
    fn a_chain_that_leads_back_to_itself_is_corrupt() {
        let a = SparseBuilder::new(CAPACITY).parent(0xC, "b.vmdk").build();
        let b = SparseBuilder::new(CAPACITY).parent(0xC, "a.vmdk").build();
        let error = Files::default().with("a.vmdk", a).with("b.vmdk", b).error("a.vmdk");
        assert_eq!(error.0, BlockErrorKind::Corrupt);
        assert_eq!(error.2, "parent a.vmdk is also a child of this image");
    }

    #[test]
    fn a_chain_has_a_greatest_length() {
        let chain = |length: usize| {
            let mut files =
                Files::default().with("0", SparseBuilder::new(CAPACITY).grain(0, 5).build());
            for number in 1..length {
                let cid = if number == 1 { 1 } else { 0xC };
                let parent = (number - 1).to_string();
                let image = SparseBuilder::new(CAPACITY).parent(cid, &parent).build();
                files = files.with(&number.to_string(), image);
            }
            files
        };
        let image = chain(MAX_CHAIN).open("63").unwrap();
        assert_eq!(image.chain.len(), MAX_CHAIN);
        assert_eq!((image.chain[0].as_str(), image.chain[63].as_str()), ("63", "0"));
        assert_eq!(read(&*image.device, 0, 1).unwrap(), [5]);
        let error = chain(MAX_CHAIN + 1).error("64");
        assert_eq!(error.0, BlockErrorKind::Unsupported);
    }

    #[test]
    fn a_failed_read_of_the_parent_names_it() {
        let mut base = SparseBuilder::new(CAPACITY).grain(0, 1).build();
        base.truncate(base.len() - 1);
        let files = Files::default()
            .with("c.vmdk", SparseBuilder::new(CAPACITY).parent(1, "base.vmdk").build())
            .with("base.vmdk", base);
        let image = files.open("c.vmdk").unwrap();
        let error = read(&*image.device, 0, 4096).unwrap_err();
        let sentence = "parent base.vmdk: grain is cut short by the end of the file";
        assert_eq!((error.kind(), error.message()), (BlockErrorKind::Corrupt, sentence));
    }

    #[test]
    fn a_finding_names_the_parent_and_the_extent_it_is_about() {
        let mut extent = SparseBuilder::new(CAPACITY).descriptor(None).build();
        extent[0x48] = 1;
        let files = Files::default()
            .with("c.vmdk", SparseBuilder::new(CAPACITY).parent(1, "base.vmdk").build())
            .with("base.vmdk", text("RW 2048 SPARSE \"s\""))
            .with("s", extent);
        let findings = files.open("c.vmdk").unwrap().findings;
        let start = "parent base.vmdk: extent s: the file was not closed";
        assert_eq!(findings.len(), 1);
        assert!(findings[0].to_string().starts_with(start), "{}", findings[0]);
    }

    #[test]
    fn a_compressed_parent_makes_the_image_decoded() {
        let files = Files::default()
            .with("c.vmdk", SparseBuilder::new(CAPACITY).parent(1, "base.vmdk").build())
            .with("base.vmdk", SparseBuilder::new(CAPACITY).grain(2, 6).stream().build());
        let image = files.open("c.vmdk").unwrap();
        assert_eq!(read(&*image.device, 2 * 4096, 1).unwrap(), [6]);
    }
}
