//! DMG, the disk image of macOS (UDIF).
//!
//! Specification: none by Apple; `hdiutil(1)` and what QEMU, 7-Zip and libmodi agree on. Big-endian. A
//! trailer at the end of the file (`trailer`) tells where a property list is, or else a resource
//! fork (`plist`, `fork`), which hold a table of runs for each partition (`runs`). A run is a
//! piece of the disk: zeros, bytes as they are, or one packed unit (`unpack`).
//!
//! Each partition has a CRC-32 of its bytes. It can be known only when all of them were read, so it is
//! kept as a hash of that region, which `check` compares. Encrypted images are told from others;
//! images in several files, sparse images and sparse bundles are refused by name.

use std::sync::Arc;

use volfold_block::{
    BlockDevice, BlockError, BlockResult, Confidence, Finding, Mapped, bytes_to_index, code,
};

use self::disk::DmgDisk;
use self::runs::{Collected, Kind};
use self::trailer::Trailer;
use crate::context::ImageContext;
use crate::format::{DiskImage, ImageFormat};
use crate::locator::Located;

mod disk;
mod fork;
mod plist;
mod runs;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod trailer;
mod unpack;

/// LIMIT: bytes of the property list or of the resource fork. They are 150 bytes for each mebibyte or
/// so, so this is enough for some 100 GiB.
const MAX_LIST: u64 = 24 << 20;

/// Reads DMG images.
pub struct Dmg;

impl ImageFormat for Dmg {
    fn id(&self) -> &'static str {
        "dmg"
    }

    fn title(&self) -> &'static str {
        "DMG (macOS)"
    }

    fn extensions(&self) -> &'static [&'static str] {
        &["dmg"]
    }

    fn probe(&self, file: &dyn BlockDevice) -> BlockResult<Confidence> {
        let is_ours = trailer::is_there(file)? || trailer::is_encrypted(file)?;
        Ok(if is_ours { Confidence::Certain } else { Confidence::No })
    }

    fn open(&self, file: &Located, context: &ImageContext) -> BlockResult<DiskImage> {
        let device = &*file.device;
        if trailer::is_encrypted(device)? {
            return Err(BlockError::encrypted("DMG is encrypted, and no key opens it"));
        }
        let trailer = Trailer::read(device)?;
        let collected = collect(device, &trailer)?;
        let size = trailer.size.unwrap_or(collected.end);
        if size == 0 {
            return Err(BlockError::corrupt("DMG has a disk without a sector", 0, 0));
        }
        let log = context.part_log();
        if collected.end > size {
            let end = collected.end;
            let line = format!(
                "runs reach to byte {end} of a disk of {size}; what is past it is not shown"
            );
            log.add(Finding::warning(code::DMG_SIZES_DIFFER, line));
        }
        let gap = collected.first_gap(size);
        if let Some(at) = gap {
            let line =
                format!("no run tells what is at byte {at} of the disk, and maybe of others");
            log.add(Finding::error(code::DMG_GAP, line));
        }
        let variant = variant(&collected);
        let is_packed = collected.runs.iter().any(|run| run.kind.is_packed());
        let sums = collected.sums;
        let disk = DmgDisk { file: Arc::clone(&file.device), runs: collected.runs, size };
        let device = Arc::new(Mapped::cached(disk, context.cache()));
        let image = DiskImage::new(self.id(), device, file, context);
        let mut image = image.with_variant(variant).decoded(is_packed);
        image.region_checksums = sums;
        Ok(image)
    }
}

/// The runs of all partitions of the image in `file`.
fn collect(file: &dyn BlockDevice, trailer: &Trailer) -> BlockResult<Collected> {
    let mut collected = Collected::default();
    let span = match (trailer.list, trailer.fork) {
        (Some(list), _) => list,
        (None, Some(fork)) => fork,
        (None, None) => {
            let sentence = "DMG trailer names neither a property list nor a resource fork";
            return Err(BlockError::corrupt(sentence, trailer.at, 0));
        }
    };
    if span.length() > MAX_LIST {
        let size = span.length();
        let line = format!("DMG has tables of {size} bytes, which is more than are read");
        return Err(BlockError::unsupported(line));
    }
    if span.end() > file.size() {
        return Err(BlockError::corrupt("DMG tables are not in the file", span.start(), 0));
    }
    let mut bytes = vec![0; bytes_to_index(span.length())?];
    file.read_at(span.start(), &mut bytes)?;
    let at = span.start();
    let mut add = |table: &[u8]| collected.add(table, at, trailer.data_at);
    match trailer.list {
        Some(_) => plist::tables(bytes, at, &mut add)?,
        None => fork::tables(&bytes, at, &mut add)?,
    }
    collected.finish(at)?;
    Ok(collected)
}

/// How the runs are packed: `zlib`.
fn variant(collected: &Collected) -> String {
    let mut words: Vec<&str> = Vec::new();
    for run in &collected.runs {
        let word = match run.kind {
            Kind::Zero | Kind::Ignored => continue,
            Kind::Raw => "raw",
            Kind::Adc => "ADC",
            Kind::Zlib => "zlib",
            Kind::Bzip2 => "bzip2",
            Kind::Lzfse => "LZFSE",
            Kind::Lzma => "LZMA",
            Kind::Unknown(_) => "unknown",
        };
        if !words.contains(&word) {
            words.push(word);
        }
    }
    words.sort_unstable();
    // Parts that do not shrink are in all images.
    if words.len() > 1 {
        words.retain(|word| *word != "raw");
    }
    if words.is_empty() { "empty".to_owned() } else { words.join(", ") }
}
