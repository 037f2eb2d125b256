//! Files that NTFS itself compressed.
//!
//! The clusters of a file are taken in units, mostly of 16. A unit without clusters is zeros; one
//! with all of its clusters is stored as it is; one with some clusters and then holes is compressed
//! with LZNT1 in those.

use std::sync::Arc;

use volfold_images::{BlockDevice, bytes_to_index};

use super::codec::lznt1;
use super::units::{UnitSource, with_scratch};
use crate::error::{FsError, FsResult};
use crate::extents::Extents;
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
        let (mut at, mut stored, mut is_behind) = (start, 0_u64, false);
        while at < end {
            let (place, length) = self.extents.at(at).unwrap_or((None, end.saturating_sub(at)));
            let length = length.min(end.saturating_sub(at));
            match place {
                None => is_behind = true,
                Some(_) if is_behind => {
                    return Err(FsError::corrupt("compressed unit of the file has a hole in it"));
                }
                Some(_) => stored = stored.saturating_add(length),
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

    fn decode(&self, number: u64, out: &mut [u8]) -> FsResult<()> {
        let stored = match self.form(number)? {
            Form::Compressed(stored) => stored,
            _ => return self.read_stored(number, 0, out).map(|_| ()),
        };
        with_scratch(bytes_to_index(stored)?, |bytes| {
            let start = number.saturating_mul(self.unit);
            self.extents.read(&*self.device, start, bytes)?;
            lznt1::decode(bytes, out).map_err(|broken| {
                let place = self.extents.at(start).and_then(|(place, _)| place);
                FsError::corrupt("compressed unit of the file is damaged")
                    .at(place.unwrap_or(0))
                    .because(broken)
            })
        })
    }

    fn extent(&self, number: u64, end: u64) -> FsResult<FileExtent> {
        let start = number.saturating_mul(self.unit);
        let hole = match self.extents.at(start) {
            Some((None, length)) => length.checked_div(self.unit).unwrap_or(0),
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
