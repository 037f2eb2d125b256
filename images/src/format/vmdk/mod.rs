//! VMDK, the disk image of VMware.
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
//! | `vmfs`, `vmfsThin`, others of flat extents    | yes                                     |
//! | `vmfsSparse`, `seSparse` (ESX snapshots)      | yes, unless the journal is dirty        |
//! | `vmfsRDM` and other raw maps                  | if the file has the bytes of the disk   |
//! | `custom`, and names not known here            | if every extent is of a kind known here |
//! | `fullDevice`, `partitionedDevice`             | refused: they stand for a host's disk   |

mod descriptor;
mod directory;
mod disk;
mod esx;
mod footer;
mod grain;
mod header;
mod layer;
mod parent;
mod scan;
mod sparse;
mod table;
#[cfg(test)]
mod testing;

use std::sync::Arc;

use crate::context::{ImageContext, MAX_CHAIN};
use crate::format::vmdk::directory::TableBudget;
use crate::format::vmdk::disk::{DiskExtent, VmdkDisk};
use crate::format::vmdk::layer::{Head, Layer, Shared, is_vmdk, open_named};
use crate::format::vmdk::parent::Parents;
use crate::format::{DiskImage, ImageFormat, Lineage};
use crate::locator::Located;
use volfold_block::{BlockDevice, BlockError, BlockResult, Confidence, Mapped, MemoryDevice};

/// Reads VMDK images.
pub struct Vmdk;

impl ImageFormat for Vmdk {
    fn id(&self) -> &'static str {
        "vmdk"
    }

    fn title(&self) -> &'static str {
        "VMDK (VMware)"
    }

    fn extensions(&self) -> &'static [&'static str] {
        &["vmdk"]
    }

    fn probe(&self, file: &dyn BlockDevice) -> BlockResult<Confidence> {
        Ok(if is_vmdk(file)? { Confidence::Certain } else { Confidence::No })
    }

    fn open(&self, file: &Located, context: &ImageContext) -> BlockResult<DiskImage> {
        open_with(file, &Arc::new(TableBudget::new()), context)
    }

    fn lineage(&self, file: &Located) -> BlockResult<Option<Lineage>> {
        let descriptor = Head::read(file)?.descriptor;
        let extents = descriptor.extents.iter().filter(|line| !line.file.is_empty());
        let extents = extents.filter_map(|line| open_named(&*file.files, &line.file).ok());
        Ok(Some(Lineage {
            extents: extents.map(|extent| extent.name).collect(),
            parents: descriptor
                .parent
                .iter()
                .flat_map(|link| parent::named(link, &*file.files))
                .collect(),
            parent_was_beside: descriptor
                .parent
                .as_ref()
                .is_some_and(|link| !link.hint.shown.contains(['/', '\\'])),
            parent_cid: descriptor.parent.as_ref().and_then(|link| link.cid),
            parent_uuid: descriptor.parent.and_then(|link| link.uuid),
            cid: descriptor.cid,
            uuid: descriptor.uuid,
        }))
    }
}

/// The disk's database of the descriptor in `file`: its keys without `ddb.`, and their values, in their
/// order. Nothing is read by them.
///
/// # Errors
/// Why the descriptor cannot be read.
pub fn disk_database(file: &Located) -> BlockResult<Vec<(String, String)>> {
    Ok(Head::read(file)?.descriptor.database)
}

/// Opens the image in `file` and its parents; all their tables share `budget`.
fn open_with(
    file: &Located,
    budget: &Arc<TableBudget>,
    context: &ImageContext,
) -> BlockResult<DiskImage> {
    let shared = Shared {
        budget: Arc::clone(budget),
        log: Arc::clone(context.log()),
        cache: Arc::clone(context.cache()),
    };
    let mut layers = vec![Layer::open(file, Head::read(file)?, "", &shared)?];
    let mut parents = Parents::of(file);
    while let Some(link) = layers.last().and_then(|layer| layer.descriptor.parent.clone()) {
        if layers.len() >= MAX_CHAIN {
            let sentence = format!("chain of parents is longer than {MAX_CHAIN} images");
            return Err(BlockError::unsupported(sentence));
        }
        let (parent, head) = parents.find(&link)?;
        let name = parent::called(&link);
        let layer = Layer::open(&parent, head, &name, &shared);
        layers.push(layer.map_err(|error| error.within(&name))?);
        parents.go_to(parent);
    }
    Ok(assemble(layers, parents.into_chain(), context))
}

/// Stacks `layers`, the given image first.
fn assemble(layers: Vec<Layer>, chain: Vec<String>, context: &ImageContext) -> DiskImage {
    let variant = layers.first().and_then(|layer| layer.descriptor.create_type.clone());
    let is_decoded = layers.iter().flat_map(|layer| &layer.extents).any(DiskExtent::is_compressed);
    let extents = layers.iter().flat_map(|layer| layer.files.clone()).collect();
    let mut device: Option<Arc<dyn BlockDevice>> = None;
    for layer in layers.into_iter().rev() {
        let disk = VmdkDisk::new(layer.extents, layer.size, device);
        device = Some(Arc::new(Mapped::cached(disk, context.cache())));
    }
    DiskImage {
        device: device.unwrap_or_else(|| Arc::new(MemoryDevice::new([]))),
        format: Vmdk.id(),
        variant,
        chain,
        extents,
        is_decoded,
        snapshots: Vec::new(),
        snapshot: None,
        recorded_hashes: Vec::new(),
        region_checksums: Vec::new(),
        log: Arc::clone(context.log()),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::testing::SparseBuilder;
    use super::*;
    use crate::locator::Locator;
    use crate::testing::{Files, context, read};
    use volfold_block::{BlockErrorKind, ExtentKind, MemoryDevice};

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
            image.log.all()[0].code == "vmdk-extent-short"
                && image.log.all()[0]
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
            image.log.all()[0].code == "vmdk-sizes-differ"
                && image.log.all()[0].to_string().starts_with("extent s: the header tells of ")
        );
        assert_eq!(read(&*image.device, CAPACITY - 1, 1).unwrap(), [0]);
        let error = read(&*image.device, CAPACITY - 1, 2).unwrap_err();
        assert_eq!((error.kind(), error.position()), (BlockErrorKind::Corrupt, Some(CAPACITY)));
        assert_eq!(image.device.extent_at(CAPACITY).unwrap().kind, ExtentKind::Data);
    }

    #[test]
    fn the_database_of_a_disk_is_given_as_it_is() {
        let lines = "ddb.geometry.heads = \"255\"\nRW 8 ZERO\nDDB.adapterType=\"ide\"\nother=1";
        let files = Files::default().with("d.vmdk", text(lines));
        let database = disk_database(&files.located("d.vmdk")).unwrap();
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        assert_eq!(database, [pair("geometry.heads", "255"), pair("adapterType", "ide")]);
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
            ("RW 8 VMFSXYZ \"f\"", Unsupported, "extent f is of the type VMFSXYZ"),
            ("RW 9 VMFSRDM \"f\"", Refused, "extent f: stands for a disk of"),
            ("encryption.keySafe = \"v\"", BlockErrorKind::Encrypted, "is encrypted by VMware"),
            ("RW 8 FLAT \"f\"\nddb.iofilters = \"vmwarevmcrypt\"", BlockErrorKind::Encrypted, "is"),
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

    const ZERO_ID: &str = "00000000-0000-0000-0000-000000000000";
    const BASE_ID: &str = "11111111-2222-4333-8444-555555555555";
    const OTHER_ID: &str = "aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee";

    #[test]
    fn a_parent_that_is_known_by_an_id_is_found_whatever_it_is_called() {
        let base = SparseBuilder::new(CAPACITY).uuids(BASE_ID, ZERO_ID).grain(0, 5);
        let child = SparseBuilder::new(CAPACITY).uuids(OTHER_ID, BASE_ID).grain(1, 6);
        let files = Files::default()
            .with("a broken one.vmdk", *b"KDMV")
            .with("child.vmdk", child.build())
            .with("other.vmdk", SparseBuilder::new(CAPACITY).build());
        let (kind, _, sentence) = files.error("child.vmdk");
        assert_eq!(kind, BlockErrorKind::MissingPart);
        assert!(sentence.starts_with("parent {11111111-2222-4333-8444-555555555555} is missing"));
        let image = files.with("x.vmdk", base.build()).open("child.vmdk").unwrap();
        assert_eq!(image.chain, ["child.vmdk", "x.vmdk"]);
        assert_eq!(read(&*image.device, 4095, 2).unwrap(), [5, 6]);
    }

    #[test]
    fn a_parent_with_the_right_id_that_was_written_to_since_is_refused() {
        let ids = |own, parent, modification, parents: &str| {
            let text = format!(
                "CID=1\nparentCID=ffffffff\nRW 2048 SPARSE \"s\"\nddb.uuid.image=\"{own}\"\n\
                 ddb.uuid.parent=\"{parent}\"\nddb.uuid.modification=\"{modification}\"\n\
                 ddb.uuid.parentmodification=\"{parents}\"\n"
            );
            SparseBuilder::new(CAPACITY).descriptor(Some(&text)).build()
        };
        let child = ids(OTHER_ID, BASE_ID, OTHER_ID, BASE_ID);
        let files = Files::default().with("child.vmdk", child);
        let base = ids(BASE_ID, ZERO_ID, OTHER_ID, ZERO_ID);
        let error = files.clone().with("base.vmdk", base).error("child.vmdk");
        assert_eq!(error.0, BlockErrorKind::Corrupt);
        assert!(error.2.contains("was changed after the snapshot: its modification UUID is"));
        let base = ids(BASE_ID, ZERO_ID, ZERO_ID, ZERO_ID);
        let error = files.clone().with("base.vmdk", base).error("child.vmdk");
        assert!(error.2.contains("has no modification UUID, where"), "{error:?}");
        let base = ids(BASE_ID, ZERO_ID, BASE_ID, ZERO_ID);
        let files = files.with("base.vmdk", base);
        assert!(files.open("child.vmdk").is_ok());
        let bent = ids(OTHER_ID, BASE_ID, OTHER_ID, "5eed");
        let error = files.with("child.vmdk", bent).error("child.vmdk");
        assert!(error.2.contains("whose modification UUID is none"), "{error:?}");
    }

    #[test]
    fn images_that_are_each_other_s_parents_by_their_ids_are_corrupt() {
        let a = SparseBuilder::new(CAPACITY).uuids(BASE_ID, OTHER_ID).build();
        let b = SparseBuilder::new(CAPACITY).uuids(OTHER_ID, BASE_ID).build();
        let error = Files::default().with("a.vmdk", a).with("b.vmdk", b).error("a.vmdk");
        assert_eq!(error.0, BlockErrorKind::Corrupt);
        let own = SparseBuilder::new(CAPACITY).uuids(BASE_ID, BASE_ID).build();
        let error = Files::default().with("a.vmdk", own).error("a.vmdk");
        assert_eq!(error.0, BlockErrorKind::Corrupt);
    }

    /// A folder in which a name may mean several files, in their order.
    struct Ambiguous(Files);

    impl Locator for Ambiguous {
        fn open(&self, reference: &Path) -> BlockResult<Located> {
            Locator::open(&self.0, reference)
        }

        fn candidates(&self, reference: &Path) -> BlockResult<Vec<Located>> {
            let names = ["1", "2", "3"].map(|place| format!("{}{place}", reference.display()));
            Ok(names
                .iter()
                .filter_map(|name| Locator::open(&self.0, Path::new(name)).ok())
                .collect())
        }
    }

    #[test]
    fn of_several_files_of_the_name_the_one_with_the_right_content_is_the_parent() {
        let base = |byte, cid: &str| {
            let text = format!("CID={cid}\nparentCID=ffffffff\nRW 2048 SPARSE \"s\"");
            SparseBuilder::new(CAPACITY).descriptor(Some(&text)).grain(0, byte).build()
        };
        let files = Files::default()
            .with("c.vmdk", SparseBuilder::new(CAPACITY).parent(0xABC, "p").build())
            .with("p1", *b"no image")
            .with("p2", base(2, "00000def"))
            .with("p3", base(3, "00000abc"));
        let mut child = files.located("c.vmdk");
        child.files = Arc::new(Ambiguous(files.clone()));
        let open = |child: &Located| open_with(child, &Arc::new(TableBudget::new()), &context());
        let image = open(&child).unwrap();
        assert_eq!(image.chain, ["c.vmdk", "p3"]);
        assert_eq!(read(&*image.device, 0, 1).unwrap(), [3]);
        // Where none fits the first one's fault is told.
        child.files = Arc::new(Ambiguous(files.with("p3", base(3, "1"))));
        let error = open(&child).err().unwrap();
        assert_eq!(error.kind(), BlockErrorKind::Unsupported);
    }

    #[test]
    fn a_lost_extent_of_several_takes_only_its_own_bytes() {
        let sparse = || SparseBuilder::new(CAPACITY).descriptor(None).grain(0, 7).build();
        let lines = "RW 2048 SPARSE \"a\"\nRW 2048 SPARSE \"b\"\nRW 2048 SPARSE \"c\"";
        let files = Files::default().with("d.vmdk", text(lines)).with("a", sparse());
        let files = files.with("c", sparse());
        for lost in [None, Some(vec![0; 4096]), Some(b"KDMV".to_vec())] {
            let files = match lost {
                Some(bytes) => files.clone().with("b", bytes),
                None => files.clone(),
            };
            let image = files.open("d.vmdk").unwrap();
            assert_eq!(image.device.size(), 3 * CAPACITY);
            assert_eq!(image.log.all()[0].code, "vmdk-extent-lost");
            assert_eq!(image.log.all()[0].part.as_deref(), Some("extent b"));
            assert_eq!(read(&*image.device, 0, 1).unwrap(), [7]);
            assert_eq!(read(&*image.device, 2 * CAPACITY, 1).unwrap(), [7]);
            let error = read(&*image.device, 2 * CAPACITY - 1, 2).unwrap_err();
            assert!(error.message().starts_with("extent b: "), "{error}");
            assert_eq!(image.device.extent_at(CAPACITY).unwrap().kind, ExtentKind::Data);
        }
        // Of a parent as well, and never what lies below it.
        let child = SparseBuilder::new(3 * CAPACITY).parent(1, "d.vmdk").build();
        let image = files.with("e.vmdk", child).open("e.vmdk").unwrap();
        let error = read(&*image.device, CAPACITY, 1).unwrap_err();
        let sentence = "parent d.vmdk: extent b: is missing; put it beside the image";
        assert_eq!((error.kind(), error.message()), (BlockErrorKind::MissingPart, sentence));
        assert_eq!(image.log.all()[0].part.as_deref(), Some("parent d.vmdk: extent b"));
    }

    #[test]
    fn a_flat_file_that_is_longer_than_its_extents_is_told() {
        let lines = "RW 4 FLAT \"f\" 0\nRW 4 FLAT \"f\" 4";
        let files = Files::default().with("d.vmdk", text(lines));
        let image = files.clone().with("f", vec![3; 8 * 512]).open("d.vmdk").unwrap();
        assert!(image.log.all().is_empty());
        let image = files.with("f", vec![3; 9 * 512]).open("d.vmdk").unwrap();
        assert_eq!(image.log.all()[0].code, "vmdk-extent-long");
        assert_eq!(image.device.size(), 8 * 512);
    }

    #[test]
    fn a_header_and_a_descriptor_of_different_sizes_are_told() {
        for (sectors, is_told) in [(2048, false), (2041, false), (2040, true), (2049, true)] {
            let line = format!("RW {sectors} SPARSE \"s\"");
            let bytes = SparseBuilder::new(CAPACITY).descriptor(Some(&line)).build();
            let image = Files::default().with("s.vmdk", bytes).open("s.vmdk").unwrap();
            let codes: Vec<_> = image.log.all().iter().map(|it| it.code.as_str()).collect();
            assert_eq!(codes.contains(&"vmdk-sizes-differ"), is_told, "{sectors}");
        }
    }

    #[test]
    fn a_descriptor_in_utf_16_is_refused_by_its_name() {
        let wide: Vec<u8> = text("RW 8 ZERO").iter().flat_map(|byte| [*byte, 0]).collect();
        assert_eq!(probe(&wide), Confidence::Certain);
        let error = Files::default().with("d.vmdk", wide).error("d.vmdk");
        assert_eq!(error.0, BlockErrorKind::Unsupported);
        assert!(error.2.starts_with("is a descriptor in UTF-16"));
    }

    #[test]
    fn what_an_image_is_made_of_is_known_without_its_parent() {
        let files = Files::default()
            .with("c.vmdk", SparseBuilder::new(CAPACITY).parent(7, "gone.vmdk").build())
            .with("d.vmdk", text("RW 8 FLAT \"f\"\nRW 8 FLAT \"gone\""))
            .with("f", [0; 4096]);
        let lineage = |name| Vmdk.lineage(&files.located(name)).unwrap().unwrap();
        assert_eq!((lineage("c.vmdk").parent_cid, lineage("c.vmdk").cid), (Some(7), Some(0xC)));
        assert!(lineage("c.vmdk").parents.is_empty());
        assert_eq!(lineage("d.vmdk").extents, ["f"]);
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
        let findings = files.open("c.vmdk").unwrap().log.all();
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
