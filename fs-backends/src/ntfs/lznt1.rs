//! Files that NTFS itself compressed.
//!
//! The clusters of a file are taken in units, mostly of 16. A unit without clusters is zeros; one
//! with all of its clusters is stored as it is; one with some clusters and then holes is compressed
//! with LZNT1 in those.

use std::sync::Arc;

use volfold_block::{BlockDevice, bytes_to_index};

use super::codec::lznt1;
use super::units::{UnitSource, with_scratch};
use crate::error::{FsError, FsResult};
use crate::extents::{Extents, Place};
use crate::node::{FileExtent, FileExtentKind};

/// The units of a file.
pub(super) struct Lznt1 {
    device: Arc<dyn BlockDevice>,
    extents: Extents,
    unit: u64,
}

/// How a unit is stored.
enum Form {
    Hole,
    Stored,
    /// In this many bytes.
    Compressed(u64),
}

impl Lznt1 {
    /// The file in `extents` of `device`, in units of `unit` bytes.
    pub(super) fn new(device: Arc<dyn BlockDevice>, extents: Extents, unit: u64) -> Self {
        Self { device, extents: extents.finish(), unit }
    }

    fn form(&self, number: u64) -> FsResult<Form> {
        let start = number.saturating_mul(self.unit);
        // The last unit of a file may lack its holes.
        let end = start.saturating_add(self.unit);
        let (mut at, mut stored, mut is_in_hole) = (start, 0_u64, false);
        while at < end {
            let missing = (Place::Hole, end.saturating_sub(at));
            let (place, length) = self.extents.at(at).unwrap_or(missing);
            let length = length.min(end.saturating_sub(at));
            match place {
                place if place.is_zero() => is_in_hole = true,
                _ if is_in_hole => {
                    return Err(FsError::corrupt("compressed unit of the file has a hole in it"));
                }
                _ => stored = stored.saturating_add(length),
            }
            at = at.saturating_add(length);
        }
        Ok(match stored {
            0 => Form::Hole,
            _ if stored == self.unit => Form::Stored,
            _ => Form::Compressed(stored),
        })
    }
}

impl UnitSource for Lznt1 {
    fn unit_size(&self) -> u64 {
        self.unit
    }

    fn memory(&self) -> u64 {
        self.extents.memory()
    }

    fn read_stored(&self, number: u64, skip: u64, out: &mut [u8]) -> FsResult<bool> {
        match self.form(number)? {
            Form::Hole => out.fill(0),
            Form::Stored => {
                let offset = number.saturating_mul(self.unit).saturating_add(skip);
                self.extents.read(&*self.device, offset, out)?;
            }
            Form::Compressed(_) => return Ok(false),
        }
        Ok(true)
    }

    fn needs_decoding(&self, number: u64) -> bool {
        matches!(self.form(number), Ok(Form::Compressed(_)))
    }

    fn will_need(&self, offset: u64, end: u64) {
        self.extents.will_need(&*self.device, offset, end);
    }

    fn decode(&self, number: u64, out: &mut [u8]) -> FsResult<()> {
        let stored = match self.form(number)? {
            Form::Compressed(stored) => stored,
            _ => return self.read_stored(number, 0, out).map(|_| ()),
        };
        with_scratch(bytes_to_index(stored)?, |bytes| {
            let start = number.saturating_mul(self.unit);
            self.extents.read(&*self.device, start, bytes)?;
            lznt1::decode(bytes, out).map_err(|broken| {
                FsError::corrupt("compressed unit of the file is damaged")
                    .at(self.extents.position(start).unwrap_or(0))
                    .because(broken)
            })
        })
    }

    fn extent(&self, number: u64, end: u64) -> FsResult<FileExtent> {
        let start = number.saturating_mul(self.unit);
        let hole = match self.extents.at(start) {
            Some((place, length)) if place.is_zero() => length.checked_div(self.unit).unwrap_or(0),
            Some(_) => 0,
            None => end,
        };
        Ok(if hole > 0 || matches!(self.form(number), Ok(Form::Hole)) {
            let length = hole.max(1).saturating_mul(self.unit);
            FileExtent { kind: FileExtentKind::Hole, length }
        } else {
            FileExtent { kind: FileExtentKind::Data, length: self.unit }
        })
    }
}

#[cfg(test)]
mod tests {
    use volfold_block::MemoryDevice;

    use super::*;
    use crate::error::FsErrorKind;
    use crate::node::FileData;
    use crate::ntfs::units::{UnitCache, UnitFile};

    /// A file in units of 16 KiB over `runs` of clusters of 4 KiB; a cluster's bytes are its number.
    fn file(runs: &[(Option<u64>, u64)], size: u64, valid: u64) -> UnitFile<Lznt1> {
        let bytes: Vec<u8> = (0..32_u8).flat_map(|number| [number; 4096]).collect();
        let mut extents = Extents::default();
        for (place, clusters) in runs {
            let place = place.map_or(Place::Hole, |place| Place::At(place * 4096));
            extents.push(place, clusters * 4096).unwrap();
        }
        let source = Lznt1::new(Arc::new(MemoryDevice::new(bytes)), extents, 16_384);
        UnitFile::new(source, size, valid, &UnitCache::new())
    }

    fn at(file: &UnitFile<Lznt1>, offset: u64) -> Result<u8, FsErrorKind> {
        let mut byte = [0xA5];
        file.read_at(offset, &mut byte).map(|_| byte[0]).map_err(|error| error.kind())
    }

    #[test]
    fn stored_units_holes_and_damage_are_told_apart() {
        let runs = [(Some(4), 4), (None, 4), (Some(8), 1), (None, 2), (Some(9), 1), (Some(12), 2)];
        let file = file(&runs, 60_000, 58_000);
        assert_eq!(at(&file, 4096 + 9), Ok(5), "all clusters: stored");
        assert_eq!(at(&file, 16_384 + 9), Ok(0), "no clusters: zeros");
        assert_eq!(at(&file, 32_768), Err(FsErrorKind::Corrupt), "a hole between clusters");
        assert_eq!(at(&file, 49_152), Err(FsErrorKind::Corrupt), "bytes that are no unit");
        assert_eq!(at(&file, 58_000), Ok(0), "past the initialized size");
        let kinds: Vec<_> = [0, 16_384, 49_200, 59_000]
            .iter()
            .map(|offset| file.extent_at(*offset).unwrap())
            .map(|extent| (extent.kind, extent.length))
            .collect();
        let (data, hole) = (FileExtentKind::Data, FileExtentKind::Hole);
        assert_eq!(kinds, [(data, 16_384), (hole, 16_384), (data, 8_800), (hole, 1000)]);
    }
}
