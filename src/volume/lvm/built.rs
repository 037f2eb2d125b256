//! A logical volume as it was built, and why one was not.

use std::sync::Arc;

use volfold_block::BlockDevice;

use super::metadata::VolumeGroup;
use super::persistent::Nodes;
use crate::volume::map::Redundancy;
use crate::volume::refusal::Refusal;
use crate::volume::{Health, Layout, MembershipPart, PartState};

/// LIMIT: sentences about one volume; a group of rubbish has one for each of its parts.
const MAX_DOUBTS: usize = 16;

/// What building gives.
pub(super) type Built<T> = Result<T, Refusal>;

/// The bytes of a logical volume, or of a part of one.
#[derive(Clone)]
pub(super) struct Body {
    pub(super) device: Arc<dyn BlockDevice>,
    pub(super) health: Health,
    pub(super) layout: Layout,
    /// The sides of a mirror.
    pub(super) plexes: usize,
    pub(super) columns: Option<usize>,
    pub(super) chunk: Option<u64>,
    pub(super) parts: Vec<MembershipPart>,
    /// What is kept more than once, with where it begins.
    pub(super) redundant: Vec<(u64, Arc<dyn Redundancy>)>,
    /// Whether a RAID or mirror is in it.
    pub(super) is_raid: bool,
    /// Why what is read may not be what was written last: sentences, at most [`MAX_DOUBTS`].
    pub(super) doubts: Vec<String>,
}

impl Body {
    /// `device`, which is whole and lies nowhere.
    pub(super) fn plain(device: Arc<dyn BlockDevice>, layout: Layout) -> Self {
        Self {
            device,
            health: Health::Healthy,
            layout,
            plexes: 1,
            columns: None,
            chunk: None,
            parts: Vec::new(),
            redundant: Vec::new(),
            is_raid: false,
            doubts: Vec::new(),
        }
    }

    /// Whether a part of it is older than the rest may be.
    pub(super) fn is_stale(&self) -> bool {
        self.parts.iter().any(|part| part.state == PartState::StaleInUse)
    }

    /// Notes why what is read may be old.
    pub(super) fn doubt(&mut self, sentence: String) {
        if self.doubts.len() < MAX_DOUBTS && !self.doubts.contains(&sentence) {
            self.doubts.push(sentence);
        }
    }

    /// Takes over what is told of `other`, a member of it: parts, doubts, the worse health.
    pub(super) fn take(&mut self, other: &Self) {
        self.parts.extend(other.parts.iter().cloned());
        for doubt in &other.doubts {
            self.doubt(doubt.clone());
        }
        self.health = worse(self.health, other.health);
        self.is_raid |= other.is_raid;
    }
}

/// Gives the volumes of a group to those that lie in them.
pub(super) trait Bodies<'a> {
    /// The group.
    fn group(&self) -> &'a VolumeGroup;

    /// The nodes of tables that are kept.
    fn nodes(&self) -> Arc<Nodes>;

    /// The bytes of the volume `name`; `depth` counts the volumes above it.
    ///
    /// # Errors
    /// Why it is not read.
    fn volume(&mut self, name: &str, depth: usize) -> Built<Arc<Body>>;
}

/// The worse of two states.
pub(super) fn worse(one: Health, other: Health) -> Health {
    match (one, other) {
        (Health::Failed, _) | (_, Health::Failed) => Health::Failed,
        (Health::Degraded, _) | (_, Health::Degraded) => Health::Degraded,
        _ => Health::Healthy,
    }
}
