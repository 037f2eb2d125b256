//! EWF, the forensic image of EnCase (`.E01`), FTK Imager, `ewfacquire` and SMART (`.s01`).
//!
//! Specification: libyal, "Expert Witness Compression Format (EWF)", and ASR Data's description of
//! 2002, which it is about. Little-endian. An image is one or several files (`segment`), each a chain
//! of sections. They have the shape of the disk and its hashes (`shape`), and chunks of the disk,
//! packed or not, with tables that tell where they are (`table`). Everything has checksums, and all
//! that is used are checked (`disk`); where a copy is it is used for what is damaged (`walk`).
//!
//! Headers with the names of people and cases are not read. The second version of the format
//! (`.Ex01`) is refused by name.

use std::sync::Arc;

use volfold_block::{BlockDevice, BlockResult, Confidence, Mapped};

use self::disk::EwfDisk;
use self::segment::{SIGNATURE, check_file};
use self::table::tables_of;
use self::walk::Walk;
use crate::context::ImageContext;
use crate::format::{DiskImage, ImageFormat, Lineage};
use crate::locator::Located;

mod checksum;
mod disk;
mod segment;
mod shape;
mod table;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod version2;
mod walk;

/// Reads EWF images.
pub struct Ewf;

impl ImageFormat for Ewf {
    fn id(&self) -> &'static str {
        "ewf"
    }

    fn title(&self) -> &'static str {
        "EWF (EnCase, FTK Imager, SMART)"
    }

    fn extensions(&self) -> &'static [&'static str] {
        &["e01", "s01", "ex01"]
    }

    fn probe(&self, file: &dyn BlockDevice) -> BlockResult<Confidence> {
        let mut bytes = [0; 8];
        if file.size() < 8 {
            return Ok(Confidence::No);
        }
        file.read_at(0, &mut bytes)?;
        let is_ours = bytes == SIGNATURE || bytes == version2::SIGNATURE;
        Ok(if is_ours { Confidence::Certain } else { Confidence::No })
    }

    fn open(&self, file: &Located, context: &ImageContext) -> BlockResult<DiskImage> {
        if let Some(error) = version2::refusal(&*file.device)? {
            return Err(error);
        }
        check_file(&*file.device, 1)?;
        let (walk, shape) = Walk::of(file)?;
        let log = context.part_log();
        for finding in walk.findings {
            log.add(finding);
        }
        let names: Vec<String> =
            walk.segments.iter().skip(1).map(|segment| segment.name.clone()).collect();
        let tables =
            walk.segments.iter().map(|segment| tables_of(&segment.device, context.cache()));
        let disk = EwfDisk {
            tables: tables.collect(),
            segments: walk.segments,
            shape,
            groups: walk.groups,
            log,
        };
        let device = Arc::new(Mapped::cached(disk, context.cache()));
        let variant = match (shape.is_short, names.len()) {
            (true, 0) => "SMART".to_owned(),
            (true, more) => format!("SMART, {} files", more.saturating_add(1)),
            (false, 0) => "E01".to_owned(),
            (false, more) => format!("E01, {} files", more.saturating_add(1)),
        };
        let image = DiskImage::new(self.id(), device, file, context);
        let mut image = image.with_variant(variant).with_extents(names).decoded(true);
        image.recorded_hashes = walk.hashes;
        Ok(image)
    }

    fn lineage(&self, file: &Located) -> BlockResult<Option<Lineage>> {
        check_file(&*file.device, 1)?;
        let mut extents = Vec::new();
        // Also where one is missing, so that the others are no disks of their own.
        for number in 2.. {
            let Ok(segment) = segment::open_segment(file, number) else { break };
            extents.push(segment.name);
        }
        Ok(Some(Lineage { extents, ..Lineage::default() }))
    }
}
