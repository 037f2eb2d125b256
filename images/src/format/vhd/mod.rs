//! VHD, the disk image of Virtual PC, Hyper-V, Azure and XenServer.
//!
//! Specification: Virtual Hard Disk Image Format 1.0 (Microsoft, 2006). Big-endian. A `footer` in
//! the last 512 bytes tells the size and the kind. A fixed image is the disk with a footer behind it.
//! Of a dynamic one a `header` tells where the block allocation table is: for each block of the
//! disk 32 bits, the sector of the file where its bitmap begins, which its bytes follow; or all ones
//! for a block that was never written. A differencing image holds what was written since a snapshot:
//! the sectors whose bit is set; the others show through from the parent, which is known by its UUID.
//!
//! | variant        | read                                                                       |
//! |----------------|----------------------------------------------------------------------------|
//! | `fixed`        | yes; known by its footer alone                                             |
//! | `dynamic`      | yes, also by the copy of the footer at the start                           |
//! | `differencing` | yes, with a parent of any variant                                          |

mod disk;
mod footer;
mod header;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use volfold_block::{
    BlockDevice, BlockError, BlockErrorKind, BlockResult, Confidence, Finding, Mapped, code,
};

use crate::context::{Backing, ImageContext};
use crate::exclusive::Exclusive;
use crate::format::{DiskImage, ImageFormat, Lineage};
use crate::locator::Located;
use crate::parent::{self, Wanted};
use crate::table::{Entry, Tables};
use disk::{FixedDisk, SparseDisk};
use footer::{Footer, Kind};
use header::Header;

/// How many seconds the times of one file differ in file systems and archives.
const TIME_SLACK: u64 = 2;

/// Reads VHD images.
pub struct Vhd;

impl ImageFormat for Vhd {
    fn id(&self) -> &'static str {
        "vhd"
    }

    fn title(&self) -> &'static str {
        "VHD (Virtual PC, Hyper-V)"
    }

    fn extensions(&self) -> &'static [&'static str] {
        &["vhd", "avhd", "vpc"]
    }

    fn probe(&self, file: &dyn BlockDevice) -> BlockResult<Confidence> {
        Ok(match footer::is_there(file)? {
            Some(true) => Confidence::Certain,
            Some(false) => Confidence::Likely,
            None => Confidence::No,
        })
    }

    fn open(&self, file: &Located, context: &ImageContext) -> BlockResult<DiskImage> {
        let footer = Footer::read(&*file.device)?;
        let log = context.part_log();
        footer.findings.iter().for_each(|finding| log.add(finding.clone()));
        let kind = footer.kind;
        if kind == Kind::Fixed {
            let finding = check_size(&footer);
            finding.into_iter().for_each(|finding| log.add(finding));
            let Footer { size, data_end, .. } = footer;
            let disk = FixedDisk { file: Arc::clone(&file.device), size, data_end };
            let image = DiskImage::new(self.id(), Arc::new(Mapped::new(disk)), file, context);
            return Ok(image.with_variant(kind.name()));
        }
        let header = Header::read(&*file.device, &footer)?;
        header.findings.iter().for_each(|finding| log.add(finding.clone()));
        let parent = match kind {
            Kind::Differencing => Some(open_parent(file, &header, context)?),
            _ => None,
        };
        let disk = SparseDisk {
            tables: Tables::new(Arc::clone(&file.device), Entry::U32Be, context.cache()),
            file: Arc::clone(&file.device),
            footer,
            header,
            below: Backing::of(parent.as_ref()),
        };
        let block = disk.header.block_size;
        let disk = Exclusive::new(disk, &file.device, block, log);
        let image = DiskImage::new(self.id(), Arc::new(Mapped::new(disk)), file, context);
        let image = image.with_variant(kind.name());
        Ok(image.over(parent.as_ref()))
    }

    fn lineage(&self, file: &Located) -> BlockResult<Option<Lineage>> {
        let footer = Footer::read(&*file.device)?;
        let mut lineage = Lineage {
            uuid: footer.uuid.known().map(|uuid| uuid.to_string()),
            ..Lineage::default()
        };
        if footer.kind == Kind::Differencing {
            let header = Header::read(&*file.device, &footer)?;
            lineage.parents = parent::named(file, &header.parent_names);
            lineage.parent_was_beside = header.was_beside;
            lineage.parent_uuid = header.parent.known().map(|uuid| uuid.to_string());
        }
        Ok(Some(lineage))
    }
}

/// Whether the file of a fixed image has the size that `footer` tells.
fn check_size(footer: &Footer) -> Option<Finding> {
    let Footer { size, current_size, data_end, .. } = *footer;
    // Between the two sizes the disk may end; writers round up to whole sectors and more.
    let is_as_told = (size..=current_size.max(size)).contains(&data_end);
    (!is_as_told).then(|| {
        let line =
            format!("the file has {data_end} bytes before its footer, which tells of {size}");
        Finding::warning(code::VHD_SIZES_DIFFER, line)
    })
}

/// Opens the parent of the image in `file`, which has `header`.
fn open_parent(file: &Located, header: &Header, context: &ImageContext) -> BlockResult<DiskImage> {
    let called = match header.parent_names.first() {
        Some(name) => {
            let name = name.rsplit(['/', '\\']).next().unwrap_or_default();
            format!("parent {name}")
        }
        None => format!("parent {{{}}}", header.parent),
    };
    let check = |other: &Located| {
        let uuid = Footer::read(&*other.device)?.uuid;
        if uuid == header.parent {
            return Ok(());
        }
        let wanted = header.parent;
        let line = format!("has the UUID {uuid}, where {wanted} is wanted: {}", other.name);
        Err(BlockError::new(BlockErrorKind::Corrupt, line))
    };
    let wanted = Wanted {
        called: &called,
        names: &header.parent_names,
        extensions: Vhd.extensions(),
        check: &check,
    };
    let parent = parent::find(file, &wanted, context)?;
    let changed = parent.device.file_facts().and_then(|facts| facts.modified);
    if let (Some(noted), Some(changed)) = (header.parent_time, changed)
        && let Some(noted) = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(noted))
        && !is_one_time(noted, changed)
    {
        let line = format!(
            "{called} was changed at another time than this image noted; if it was written to since, \
             what is shown is a mix"
        );
        context.part_log().add(Finding::warning(code::VHD_PARENT_TIME, line));
    }
    context.open_parent(file, parent, &called, Some(Vhd.id()))
}

/// Whether both are one time, as file systems keep it.
fn is_one_time(a: SystemTime, b: SystemTime) -> bool {
    let apart = a.duration_since(b).or_else(|_| b.duration_since(a)).unwrap_or_default();
    apart <= Duration::from_secs(TIME_SLACK)
}
