//! VHDX, the disk image of Hyper-V.
//!
//! Specification: [MS-VHDX]. Little-endian. Of two `header`s the one with the greater sequence
//! number holds; it tells where the `log` is. If that is not empty it is applied in memory
//! (`replay`), before anything else is read; the file stays as it is. One of two `region` tables
//! tells where the block allocation table and the `metadata` are, and those what the `disk` is
//! like. A differencing image holds what was written since a snapshot, whole blocks or sectors; the
//! rest shows through from the parent, which must still have the data write GUID that the child noted.
//!
//! | offset  | size   | structure            | rule                                            |
//! |---------|--------|----------------------|-------------------------------------------------|
//! | 0       | 8      | identifier           | `vhdxfile`                                      |
//! | 64 KiB  | 4 KiB  | header 1             | CRC-32C                                         |
//! | 128 KiB | 4 KiB  | header 2             | CRC-32C                                         |
//! | 192 KiB | 64 KiB | region table 1       | CRC-32C                                         |
//! | 256 KiB | 64 KiB | region table 2       | CRC-32C                                         |
//! | 1 MiB   |        | log, regions, blocks | each at a multiple of 1 MiB, in any order       |

#[cfg(test)]
mod damage_tests;
mod disk;
mod header;
mod log;
mod metadata;
mod region;
mod replay;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use volfold_block::{
    BlockDevice, BlockError, BlockErrorKind, BlockResult, Confidence, Finding, Mapped, code,
};

use crate::context::{Backing, ImageContext};
use crate::exclusive::Exclusive;
use crate::format::{DiskImage, ImageFormat, Lineage};
use crate::locator::Located;
use crate::note::PartLog;
use crate::parent::{self, Wanted};
use crate::table::{Entry, Tables};
use disk::VhdxDisk;
use header::Header;
use metadata::{Metadata, ParentLink};
use region::Regions;
use replay::Replayed;

/// Reads VHDX images.
pub struct Vhdx;

impl ImageFormat for Vhdx {
    fn id(&self) -> &'static str {
        "vhdx"
    }

    fn title(&self) -> &'static str {
        "VHDX (Hyper-V)"
    }

    fn extensions(&self) -> &'static [&'static str] {
        &["vhdx", "avhdx", "vhds"]
    }

    fn probe(&self, file: &dyn BlockDevice) -> BlockResult<Confidence> {
        Ok(if header::has_identifier(file)? {
            Confidence::Certain
        } else if header::looks_like_it(file)? {
            Confidence::Likely
        } else {
            Confidence::No
        })
    }

    fn open(&self, file: &Located, context: &ImageContext) -> BlockResult<DiskImage> {
        let log = context.part_log();
        let header = Header::read(&*file.device, &log)?;
        let device = replayed(&file.device, &header, context, &log)?;
        let regions = Regions::read(&*device, header.log.as_ref(), &log)?;
        let metadata = Metadata::read(&*device, regions.metadata)?;
        let variant = metadata.variant();
        let parent = match &metadata.parent {
            Some(link) => Some(open_parent(file, link, context)?),
            None => None,
        };
        if let Some(parent) = &parent
            && parent.device.sector_size() != metadata.sector_size
        {
            let (own, other) = (metadata.sector_size, parent.device.sector_size());
            let line = format!("image has sectors of {own} bytes, and its parent of {other}");
            return Err(BlockError::new(BlockErrorKind::Corrupt, line));
        }
        let disk = VhdxDisk {
            tables: Tables::new(Arc::clone(&device), Entry::U64Le, context.cache()),
            file: device,
            regions,
            metadata,
            below: Backing::of(parent.as_ref()),
        };
        disk.check()?;
        let (stored, block) = (Arc::clone(&disk.file), disk.metadata.block_size);
        let disk = Exclusive::new(disk, &stored, block, context.part_log());
        let image = DiskImage::new(self.id(), Arc::new(Mapped::new(disk)), file, context);
        let image = image.with_variant(variant);
        Ok(image.over(parent.as_ref()))
    }

    fn lineage(&self, file: &Located) -> BlockResult<Option<Lineage>> {
        let nowhere = PartLog::new(&Arc::default(), "");
        let context = ImageContext::new(&volfold_block::CachePool::new(0));
        let header = Header::read(&*file.device, &nowhere)?;
        let device = replayed(&file.device, &header, &context, &nowhere)?;
        let regions = Regions::read(&*device, header.log.as_ref(), &nowhere)?;
        let parent = Metadata::read(&*device, regions.metadata)?.parent;
        let names = parent.as_ref().map(|link| link.names.clone()).unwrap_or_default();
        Ok(Some(Lineage {
            uuid: header.data_write.known().map(|id| id.to_string()),
            parents: parent::named(file, &names),
            parent_was_beside: parent.as_ref().is_some_and(|link| link.was_beside),
            parent_uuid: parent.and_then(|link| Some(link.ids.first()?.to_string())),
            ..Lineage::default()
        }))
    }
}

/// `file` as it is once the log that `header` tells of is applied.
fn replayed(
    file: &Arc<dyn BlockDevice>,
    header: &Header,
    context: &ImageContext,
    log: &PartLog,
) -> BlockResult<Arc<dyn BlockDevice>> {
    let Some(place) = &header.log else { return Ok(Arc::clone(file)) };
    let sequence = log::active_sequence(&**file, place)?;
    let replayed = Replayed::new(Arc::clone(file), place, &sequence)?;
    let line = format!("{} entries of the log were applied in memory", sequence.entries.len());
    log.add(Finding::info(code::VHDX_LOG_REPLAYED, line));
    if sequence.last_file_offset() > file.size() {
        let (size, last) = (file.size(), sequence.last_file_offset());
        let line =
            format!("the file has {size} bytes, and {last} by its log; those missing are zeros");
        log.add(Finding::warning(code::VHDX_FILE_SHORT, line).at(size));
    }
    if sequence.is_torn {
        let sentence =
            "the log ends with an entry that is not whole; the last changes may be missing";
        log.add(Finding::warning(code::VHDX_LOG_TORN, sentence).at(place.span.start()));
    }
    Ok(Arc::new(Mapped::cached(replayed, context.cache())))
}

/// Opens the parent that the image in `file` has by `link`.
fn open_parent(
    file: &Located,
    link: &ParentLink,
    context: &ImageContext,
) -> BlockResult<DiskImage> {
    let called = match (link.names.first(), link.ids.first()) {
        (Some(name), _) => {
            let name = name.rsplit(['/', '\\']).next().unwrap_or_default();
            format!("parent {name}")
        }
        (None, Some(id)) => format!("parent {{{id}}}"),
        (None, None) => "parent".to_owned(),
    };
    let check = |other: &Located| {
        let nowhere = PartLog::new(&Arc::default(), "");
        let found = Header::read(&*other.device, &nowhere)?.data_write;
        if link.ids.contains(&found) {
            return Ok(());
        }
        let wanted = link.ids.first().copied().unwrap_or(found);
        let line = format!(
            "was changed after the snapshot: its data write GUID is {found}, not {wanted}: {}",
            other.name
        );
        Err(BlockError::new(BlockErrorKind::Corrupt, line))
    };
    let wanted = Wanted {
        called: &called,
        names: &link.names,
        extensions: Vhdx.extensions(),
        check: &check,
    };
    let parent = parent::find(file, &wanted, context)?;
    context.open_parent(file, parent, &called, Some(Vhdx.id()))
}
