//! Which bytes of a disk its image holds.

use std::fmt::Write as _;

use volfold::Disk;
use volfold::info::RunInfo;
use volfold_block::{BlockResult, ExtentKind};

use super::text;

/// LIMIT: runs of one disk that are told.
const MAX_RUNS: usize = 1 << 20;

/// All of a disk that is no hole.
pub(super) struct Allocated {
    pub(super) runs: Vec<RunInfo>,
    /// The position from which on nothing is told; none in all but the strangest disks.
    pub(super) cut_at: Option<u64>,
}

impl Allocated {
    /// What of `disk` is no hole, by its tables alone.
    ///
    /// # Errors
    /// Why the tables cannot be read.
    pub(super) fn of(disk: &Disk) -> BlockResult<Self> {
        let mut runs: Vec<RunInfo> = Vec::new();
        let mut offset = 0;
        while offset < disk.size {
            let extent = disk.device.extent_at(offset)?;
            let next = offset.saturating_add(extent.length.max(1));
            if extent.kind == ExtentKind::Data {
                let is_full = runs.len() >= MAX_RUNS;
                match runs.last_mut() {
                    Some(last) if last.offset.saturating_add(last.length) == offset => {
                        last.length = last.length.saturating_add(extent.length);
                    }
                    _ if is_full => {
                        return Ok(Self { runs, cut_at: Some(offset) });
                    }
                    _ => runs.push(RunInfo { offset, length: extent.length }),
                }
            }
            offset = next;
        }
        Ok(Self { runs, cut_at: None })
    }

    /// A line for people.
    pub(super) fn line(&self, disk: &Disk) -> String {
        let bytes = self.runs.iter().fold(0, |sum: u64, run| sum.saturating_add(run.length));
        let mut line = format!(
            "       allocated: {} of {}, in {} runs",
            text::size(bytes),
            text::size(disk.size),
            self.runs.len()
        );
        if let Some(at) = self.cut_at {
            let _ = write!(line, ", up to byte {at}");
        }
        line
    }
}
