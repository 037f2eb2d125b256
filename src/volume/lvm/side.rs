//! A side of a RAID or mirror: whether its bytes are current.

use std::sync::Arc;

use volfold_block::{BlockDevice, Slice};

use super::built::{Body, Built, worse};
use crate::volume::map::{Absent, one_after_the_other};
use crate::volume::refusal::Refusal;
use crate::volume::{Health, PartState};

/// A side, and why its bytes may be older than those of the others.
pub(super) struct Side {
    pub(super) body: Body,
    pub(super) stale: Option<String>,
    /// The bytes that hold what they should, of one that is being rebuilt.
    pub(super) recovered: Option<u64>,
}

impl Side {
    /// Leaves out the first `offset` bytes.
    ///
    /// # Errors
    /// `Corrupt` where it has not so many.
    pub(super) fn begin_at(&mut self, offset: u64) -> Built<()> {
        if offset > 0 {
            let device = &self.body.device;
            let short = |_| Refusal::corrupt("a side of the RAID is too small");
            let left = device.size().saturating_sub(offset);
            let part = Slice::part(device.clone(), offset, left).map_err(short)?;
            self.body.device = Arc::new(part);
        }
        Ok(())
    }

    /// Whether its bytes can be read.
    pub(super) fn is_there(&self) -> bool {
        self.body.health != Health::Failed
    }

    /// Whether they are current, all of them.
    pub(super) fn is_good(&self) -> bool {
        self.stale.is_none() && self.is_there() && !self.body.is_stale()
    }

    /// Makes its bytes such that are not read, but for what was rebuilt.
    pub(super) fn withhold(&mut self) {
        // What was current when its disk was last seen may not be any more.
        if self.body.is_stale() {
            self.recovered = Some(0);
        }
        let reason = self.stale.clone();
        let reason = reason.unwrap_or_else(|| "a side of the RAID is stale".to_owned());
        for part in &mut self.body.parts {
            if part.state.is_read() {
                part.state = PartState::Stale;
            }
        }
        let extent = match self.recovered {
            None | Some(0) => "not read",
            Some(_) => "read in part",
        };
        self.body.doubts = vec![format!("a side is {extent}: {reason}")];
        self.body.health = Health::Failed;
        self.body.device = self.recovered_part(&reason);
    }

    /// What is current of it, and errors that say `reason` after that.
    fn recovered_part(&self, reason: &str) -> Arc<dyn BlockDevice> {
        let (device, size) = (&self.body.device, self.body.device.size());
        let current = self.recovered.unwrap_or(0).min(size);
        let absent = |length| Arc::new(Absent::new(length, reason.to_owned()));
        let part = Slice::part(device.clone(), 0, current).ok().filter(|_| current > 0);
        let joined = part.map(|part| {
            one_after_the_other(vec![Arc::new(part), absent(size.saturating_sub(current))])
        });
        joined.and_then(Result::ok).unwrap_or_else(|| absent(size))
    }

    /// Reads its bytes though they may be old.
    pub(super) fn use_though_stale(&mut self) {
        for part in &mut self.body.parts {
            if part.state == PartState::Present {
                part.state = PartState::StaleInUse;
            }
        }
        if let Some(reason) = self.stale.take() {
            self.body.doubt(format!("a side is read though {reason}"));
        }
        self.body.health = worse(self.body.health, Health::Degraded);
    }
}

/// Makes stale sides such that are not read where one is current, and says whether there is one: parts of two
/// times are never mixed.
pub(super) fn withhold_stale(sides: &mut [Side]) -> bool {
    let is_any_good = sides.iter().any(Side::is_good);
    let is_stale = |side: &&mut Side| is_any_good && side.is_there() && !side.is_good();
    sides.iter_mut().filter(is_stale).for_each(Side::withhold);
    is_any_good
}
