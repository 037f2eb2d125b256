//! QCOW2, the disk image of QEMU, and QCOW, its first version.
//!
//! Specification: QEMU, docs/interop/qcow2.txt. Big-endian. The first cluster has the header
//! (`header`), with the names of the parent and of a data file. Two levels of tables say where each
//! cluster of the disk is (`disk`): as it is, compressed (`packed`), in the parent, or nowhere.
//! A snapshot (`snapshot`) is another first table over the same clusters. Counts of how often a
//! cluster is used are for who writes, and not read.

use std::sync::Arc;

use volfold_block::{
    BlockDevice, BlockError, BlockErrorKind, BlockResult, Confidence, Finding, Mapped, Slice, Span,
    code,
};

use self::disk::{Qcow2Disk, Rules};
use self::header::{Compression, Header, MAGIC, MAX_L1, corrupt};
use self::name::{FileName, open_parent};
use self::snapshot::Snapshot;
use self::v1::HeaderV1;
use crate::context::{Backing, ImageContext};
use crate::exclusive::Exclusive;
use crate::format::{DiskImage, ImageFormat, Lineage};
use crate::levels::{Levels, Shape};
use crate::locator::Located;
use crate::table::Entry;

mod disk;
mod header;
pub(crate) mod name;
mod packed;
mod snapshot;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod v1;

/// Reads QCOW2 images, and those of version 1.
pub struct Qcow2;

impl ImageFormat for Qcow2 {
    fn id(&self) -> &'static str {
        "qcow2"
    }

    fn title(&self) -> &'static str {
        "QCOW2 (QEMU)"
    }

    fn extensions(&self) -> &'static [&'static str] {
        &["qcow2", "qcow", "qcow3"]
    }

    fn probe(&self, file: &dyn BlockDevice) -> BlockResult<Confidence> {
        let is_ours = file.size() >= 8 && head(file)?.0 == MAGIC;
        Ok(if is_ours { Confidence::Certain } else { Confidence::No })
    }

    fn open(&self, file: &Located, context: &ImageContext) -> BlockResult<DiskImage> {
        if is_version_1(&*file.device)? {
            return open_v1(self.id(), file, context);
        }
        let header = Header::read(&*file.device)?;
        let (snapshots, snapshot) = snapshots(file, &header, context)?;
        let data_file = open_data_file(file, &header)?;
        let parent = match &header.backing {
            Some(name) => Some(open_parent(file, name, header.backing_format.as_deref(), context)?),
            None => None,
        };
        note_state(&header, context);
        let shape = shape(&header, snapshot.as_ref())?;
        let (version, compression) = (header.version, header.compression);
        let rules = Rules {
            version,
            compression,
            has_data_file: header.has_data_file,
            is_encrypted: header.luks.is_some(),
            reserved: reserved(&header, &shape),
            file_size: file.device.size(),
        };
        check_l1(&shape, rules.file_size)?;
        let data = data_file.as_ref().map_or(&file.device, |data| &data.device);
        let data = match header.luks {
            Some(luks) => decrypted(file, luks, &header, context)?,
            None => Arc::clone(data),
        };
        let disk = Qcow2Disk {
            levels: Levels::new(Arc::clone(&file.device), shape, context.cache()),
            data,
            rules,
            below: Backing::of(parent.as_ref()),
        };
        let mut image = finish(self.id(), disk, file, parent.as_ref(), context)?
            .with_variant(variant(&header))
            .with_extents(data_file.map(|data| data.name));
        image.snapshots = snapshots;
        image.snapshot = snapshot.map(|snapshot| snapshot.shown);
        Ok(image)
    }

    fn lineage(&self, file: &Located) -> BlockResult<Option<Lineage>> {
        let (backing, data_file) = if is_version_1(&*file.device)? {
            (HeaderV1::read(&*file.device)?.backing, None)
        } else {
            let header = Header::read(&*file.device)?;
            (header.backing, header.data_file.filter(|_| header.has_data_file))
        };
        let named = |text: Option<String>| text.and_then(|it| FileName::parse(&it, "file").ok());
        let (backing, data_file) = (named(backing), named(data_file));
        Ok(Some(Lineage {
            extents: data_file.map(|name| name.candidates(file)).unwrap_or_default(),
            parent_was_beside: backing.as_ref().is_some_and(FileName::is_beside),
            parents: backing.map(|name| name.candidates(file)).unwrap_or_default(),
            ..Lineage::default()
        }))
    }
}

/// Signature and version.
fn head(file: &dyn BlockDevice) -> BlockResult<([u8; 4], [u8; 4])> {
    let (mut magic, mut version) = ([0; 4], [0; 4]);
    file.read_at(0, &mut magic)?;
    file.read_at(4, &mut version)?;
    Ok((magic, version))
}

fn is_version_1(file: &dyn BlockDevice) -> BlockResult<bool> {
    Ok(file.size() >= 8 && head(file)? == (MAGIC, [0, 0, 0, 1]))
}

/// The snapshots of the image, and the one that is wanted.
fn snapshots(
    file: &Located,
    header: &Header,
    context: &ImageContext,
) -> BlockResult<(Vec<crate::InnerSnapshot>, Option<Snapshot>)> {
    let wanted = context.snapshot();
    match snapshot::read(&file.device, header, context.cache()) {
        Ok(all) => {
            let chosen = wanted.map(|wanted| choose(&all, wanted)).transpose()?.flatten();
            Ok((all.into_iter().map(|it| it.shown).collect(), chosen))
        }
        // The newest state does not need their table.
        Err(error) if wanted.is_none() => {
            let line = format!("the snapshots that the image keeps are not known: {error}");
            context.part_log().add(Finding::warning(code::QCOW2_SNAPSHOTS, line));
            Ok((Vec::new(), None))
        }
        Err(error) => Err(error),
    }
}

/// The one of `all` whose id is `wanted`, or whose name is, if there is just one.
fn choose(all: &[Snapshot], wanted: &str) -> BlockResult<Option<Snapshot>> {
    if let Some(found) = all.iter().find(|it| it.shown.id == wanted) {
        return Ok(Some(found.clone()));
    }
    let named: Vec<&Snapshot> = all.iter().filter(|it| it.shown.name == wanted).collect();
    match named.as_slice() {
        [] => Ok(None),
        [only] => Ok(Some((*only).clone())),
        several => {
            let ids: Vec<&str> = several.iter().map(|it| it.shown.id.as_str()).collect();
            let ids = ids.join(", ");
            let line = format!("several snapshots are called {wanted}; give an id: {ids}");
            Err(BlockError::new(BlockErrorKind::Refused, line))
        }
    }
}

/// The file with the clusters, if that is another one.
fn open_data_file(file: &Located, header: &Header) -> BlockResult<Option<Located>> {
    if !header.has_data_file {
        return Ok(None);
    }
    let Some(name) = &header.data_file else {
        let line = "the bytes of the disk are in another file, and the image does not name it";
        return Err(BlockError::missing(line));
    };
    FileName::parse(name, "data file")?.open(file, "data file").map(Some)
}

/// The bytes of `file` as they were before they were encrypted, the clusters among them: each sector has the
/// number of its place in the file.
fn decrypted(
    file: &Located,
    luks: Span,
    header: &Header,
    context: &ImageContext,
) -> BlockResult<Arc<dyn BlockDevice>> {
    if header.has_data_file {
        let line = "is encrypted with LUKS, and its clusters are in another file: that is not read";
        return Err(BlockError::unsupported(line).at(0x20));
    }
    let own = Slice::part(Arc::clone(&file.device), luks.start(), luks.length())
        .map_err(|_| BlockError::corrupt("header of LUKS is not in the file", luks.start(), 0))?;
    context.decryption()?.luks(&file.name, Arc::new(own), &file.device)
}

/// What the image says of its own state.
fn note_state(header: &Header, context: &ImageContext) {
    let log = context.part_log();
    if header.is_corrupt {
        let line = "QEMU has marked the image as corrupt; what is read may be wrong";
        log.add(Finding::warning(code::QCOW2_CORRUPT, line));
    }
    if header.is_dirty {
        let line = "image was not closed, or is in use; its last writes may be missing";
        log.add(Finding::warning(code::QCOW2_DIRTY, line));
    }
}

/// The shape of the tables for the newest state, or for `snapshot`.
fn shape(header: &Header, snapshot: Option<&Snapshot>) -> BlockResult<Shape> {
    let (l1_at, l1_entries, size) = match snapshot {
        Some(it) => (it.l1_at, it.l1_entries, it.shown.size),
        None => (header.l1_at, header.l1_entries, header.size),
    };
    let shape = Shape {
        entry: Entry::U64Be,
        l1_at,
        cluster_bits: header.cluster_bits,
        l2_bits: header.l2_bits(),
        words: if header.has_extended_l2 { 2 } else { 1 },
        size,
    };
    let needed = shape.l1_entries();
    if needed > MAX_L1 {
        let line = format!("disk of {size} bytes needs an L1 table of {needed} entries");
        return Err(BlockError::unsupported(line));
    }
    if size == 0 || needed > l1_entries {
        let line = format!("L1 table has {l1_entries} entries for a disk of {size} bytes");
        return corrupt(line, l1_at);
    }
    if l1_at & shape.cluster_size().saturating_sub(1) != 0 {
        return corrupt("L1 table does not begin at a cluster", l1_at);
    }
    Ok(shape)
}

/// Refuses an image whose first table is not there.
fn check_l1(shape: &Shape, file_size: u64) -> BlockResult<()> {
    let l1 = Span::new(shape.l1_at, shape.l1_entries().saturating_mul(8));
    if shape.l1_at == 0 || l1.is_none_or(|l1| l1.end() > file_size) {
        return corrupt("L1 table is not in the file", shape.l1_at);
    }
    Ok(())
}

/// What no cluster may lie in: the header, the L1 table, and that of the shown snapshot.
fn reserved(header: &Header, shape: &Shape) -> Vec<Span> {
    let active = Span::new(header.l1_at, header.l1_entries.saturating_mul(8));
    let shown = Span::new(shape.l1_at, shape.l1_entries().saturating_mul(8));
    let first = Some(Span::below(shape.cluster_size()));
    [first, active, shown, header.luks].into_iter().flatten().collect()
}

/// The name of the variant: `v3, zstd, extended L2`.
fn variant(header: &Header) -> String {
    let mut words = vec![format!("v{}", header.version)];
    if header.compression == Compression::Zstd {
        words.push("zstd".to_owned());
    }
    if header.has_extended_l2 {
        words.push("extended L2".to_owned());
    }
    if header.luks.is_some() {
        words.push("LUKS".to_owned());
    }
    if header.has_data_file {
        words.push("data file".to_owned());
    }
    words.join(", ")
}

/// The image whose disk is `disk`.
fn finish(
    id: &'static str,
    disk: Qcow2Disk,
    file: &Located,
    parent: Option<&DiskImage>,
    context: &ImageContext,
) -> BlockResult<DiskImage> {
    disk.levels.check(file.device.size(), |entry| disk.table_at(entry))?;
    let is_packed = disk.is_packed();
    let (data, cluster) = (Arc::clone(&disk.data), disk.levels.shape().cluster_size());
    let disk = Exclusive::new(disk, &data, cluster, context.part_log());
    let device = Arc::new(Mapped::cached(disk, context.cache()));
    Ok(DiskImage::new(id, device, file, context).decoded(is_packed).over(parent))
}

/// Opens an image of version 1.
fn open_v1(id: &'static str, file: &Located, context: &ImageContext) -> BlockResult<DiskImage> {
    let header = HeaderV1::read(&*file.device)?;
    let parent = match &header.backing {
        Some(name) => Some(open_parent(file, name, None, context)?),
        None => None,
    };
    let HeaderV1 { cluster_bits, l2_bits, size, l1_at, .. } = header;
    let shape = Shape { entry: Entry::U64Be, l1_at, cluster_bits, l2_bits, words: 1, size };
    if shape.l1_entries() > MAX_L1 {
        let line = format!("disk of {size} bytes needs an L1 table of too many entries");
        return Err(BlockError::unsupported(line));
    }
    check_l1(&shape, file.device.size())?;
    let l1 = Span::new(l1_at, shape.l1_entries().saturating_mul(8));
    let rules = Rules {
        version: 1,
        compression: Compression::Zlib,
        has_data_file: false,
        is_encrypted: false,
        reserved: [Some(Span::below(v1::HEADER_BYTES)), l1].into_iter().flatten().collect(),
        file_size: file.device.size(),
    };
    let disk = Qcow2Disk {
        levels: Levels::new(Arc::clone(&file.device), shape, context.cache()),
        data: Arc::clone(&file.device),
        rules,
        below: Backing::of(parent.as_ref()),
    };
    Ok(finish(id, disk, file, parent.as_ref(), context)?.with_variant("v1"))
}
