//! The records of the part of the log that counts, one after the other.
//!
//! The last writes before a crash may be there in part: such a *torn* end is none of the log, as for
//! the kernel. Anything else that is no record is damage: where the blocks say that they were written,
//! or lie before what can have been under way.

use volfold_block::bytes_to_index;

use super::ends::Dirty;
use super::record::Record;
use super::{Log, UNDER_WAY};
use crate::error::{FsError, FsResult};

/// The records from the tail on that are whole.
pub(super) struct Walk {
    tail: u64,
    records: u64,
    /// Why those after them do not count.
    pub(super) stopped: Option<Stopped>,
}

/// Why the end of a log does not count.
pub(in crate::xfs) struct Stopped {
    /// Whether it is what a crash leaves, and not damage.
    pub(in crate::xfs) is_torn: bool,
    /// What is there in its place.
    pub(in crate::xfs) why: FsError,
}

impl Walk {
    /// Looks at all records of the part `ends` of `log`.
    ///
    /// # Errors
    /// If they cannot be read.
    pub(super) fn new(log: &Log, ends: &Dirty) -> FsResult<Self> {
        let mut tail = ends.tail;
        if ends.is_overwritten(log, tail) {
            // What was under way when the machine stopped lies over the oldest records.
            let next = next_record(log, ends.head)?;
            tail = next.ok_or_else(|| FsError::corrupt("log has no record at its tail"))?;
        }
        let mut walk = Self { tail, records: 0, stopped: None };
        let mut at = tail;
        let mut left = log.distance(tail, ends.head);
        if left == 0 && ends.head != ends.whole_to {
            left = log.blocks;
        }
        let mut lsn = 0;
        while left > 0 {
            let record = Record::read(log, at)?;
            let record = record.filter(|record| record.blocks() <= left && record.lsn > lsn);
            let is_whole = match &record {
                Some(record) => record.data(log)?.is_some(),
                None => false,
            };
            let Some(record) = record.filter(|_| is_whole) else {
                walk.stopped = Some(stopped(log, ends, at)?);
                break;
            };
            left = left.saturating_sub(record.blocks());
            lsn = record.lsn;
            at = record.end(log);
            walk.records = walk.records.saturating_add(1);
        }
        Ok(walk)
    }

    /// Gives every record with its data to `visit`, in order.
    ///
    /// # Errors
    /// What `visit` says, or if they cannot be read.
    pub(super) fn each(
        &self,
        log: &Log,
        visit: &mut dyn FnMut(&Record, &[u8]) -> FsResult<()>,
    ) -> FsResult<()> {
        let mut at = self.tail;
        for _ in 0..self.records {
            let changed = || FsError::corrupt("record of the log has changed");
            let record = Record::read(log, at)?.ok_or_else(changed)?;
            let data = record.data(log)?.ok_or_else(changed)?;
            visit(&record, &data)?;
            at = record.end(log);
        }
        Ok(())
    }
}

/// The block of the first record from block `at` on, as far as those under way may reach.
fn next_record(log: &Log, at: u64) -> FsResult<Option<u64>> {
    for block in (at..).take(bytes_to_index(UNDER_WAY.min(log.blocks))?) {
        if Record::read(log, log.wrap(block))?.is_some() {
            return Ok(Some(log.wrap(block)));
        }
    }
    Ok(None)
}

/// What is at block `at`, where there is no whole record.
fn stopped(log: &Log, ends: &Dirty, at: u64) -> FsResult<Stopped> {
    let left = log.distance(at, ends.head);
    let is_written = match Record::read(log, at)? {
        Some(record) => record.is_written(log)?,
        None => false,
    };
    let is_torn = left <= UNDER_WAY && !is_written && ends.may_be_unwritten(log, at);
    let (mut begun, mut whole) = (0_u64, 0_u64);
    // LIMIT: of a large part only the begin is counted.
    for block in (at..).take(usize::try_from(left.min(UNDER_WAY)).unwrap_or_default()) {
        if let Some(record) = Record::read(log, log.wrap(block))? {
            begun = begun.saturating_add(1);
            whole = whole.saturating_add(u64::from(record.data(log)?.is_some()));
        }
    }
    let rest = if left > UNDER_WAY { "at least " } else { "" };
    let what = if is_torn { "was not written as a whole" } else { "is damaged" };
    let why = format!(
        "record of the log {what}: {rest}{begun} records that begin in its last {left} blocks are \
         not applied, of which {whole} are whole"
    );
    Ok(Stopped { is_torn, why: FsError::corrupt(why).at(log.position(at)) })
}

impl Dirty {
    /// Whether block `at` is one of the newest, after the last whole record.
    fn is_overwritten(&self, log: &Log, at: u64) -> bool {
        at != self.whole_to
            && log.distance(self.whole_to, at) < log.distance(self.whole_to, self.head)
    }

    /// Whether the blocks from `at` to the head are new, or such as were not written.
    fn may_be_unwritten(&self, log: &Log, at: u64) -> bool {
        let head = if self.head == 0 { log.blocks } else { self.head };
        if at < head {
            return self.cycles.may_be_unwritten(at, head, self.cycle);
        }
        let before = self.cycle.saturating_sub(1);
        self.cycles.may_be_unwritten(at, log.blocks, before)
            && self.cycles.may_be_unwritten(0, self.head, self.cycle)
    }
}
