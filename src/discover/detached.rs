//! Headers whose data lie on another disk: which one that is.
//!
//! Nothing in the data names its header, and nothing in the header its data. So every volume that nothing is
//! known of may be it, and the one is taken on which the key of the header opens what is known: a file
//! system, or what a volume manager claims.

use std::sync::Arc;

use volfold_block::{Finding, code};

use super::identify::probe;
use crate::signature::{Texture, signature_of, texture_of};
use crate::volume::lock::{Lock, Locked, Opener};
use crate::volume::refusal::Refusal;
use crate::volume::{Health, Volume, VolumeId};

/// LIMIT: volumes that are tried as the data of one header.
const MAX_TRIED: usize = 64;

/// What is said where nothing may be the data.
const NO_DATA: &str =
    "header is detached: its data lie on another disk, which is to be given with it";

/// LIMIT: volumes that are named in one message.
const MAX_NAMED: usize = 4;

/// A volume of which only the header was found.
pub(super) struct Header {
    pub(super) volume: Volume,
    pub(super) lock: Lock,
    /// How many groups lie below it, this one too.
    pub(super) depth: u32,
}

/// A volume with its data.
pub(super) struct Joined {
    pub(super) volume: Volume,
    pub(super) depth: u32,
    /// The volume that its data were.
    pub(super) data: VolumeId,
}

/// Which of `volumes` may be the data of a header: what is whole, and nothing is known of.
pub(super) fn candidates(volumes: &[Volume]) -> Vec<usize> {
    let may_be = |volume: &Volume| {
        let device = &*volume.device;
        let is_whole = volume.health != Health::Failed && volume.lock.is_none();
        is_whole
            && matches!(texture_of(device), Ok(Texture::Random | Texture::Other))
            && matches!(signature_of(device), Ok(None))
            && matches!(probe(device), Ok(None))
    };
    let found = volumes.iter().enumerate().filter(|(_, volume)| may_be(volume));
    found.map(|(index, _)| index).take(MAX_TRIED).collect()
}

impl Header {
    /// It with the one of `candidates`, numbers in `volumes`, on which `opener` opens what `is_known`; that one
    /// is no volume any more.
    ///
    /// # Errors
    /// It as a volume that is refused.
    pub(super) fn join(
        self,
        opener: &dyn Opener,
        (volumes, candidates): (&mut Vec<Volume>, &[usize]),
        is_known: &dyn Fn(&Volume) -> bool,
        findings: &mut Vec<Finding>,
    ) -> Result<Joined, Box<Volume>> {
        let open = |index: &usize| {
            let data = volumes.get(*index)?;
            let device = opener.over(&data.device, data.size).ok()?;
            let volume = Volume {
                health: data.health,
                size: device.size(),
                device,
                extents: data.extents.clone(),
                partition: data.partition.clone(),
                redundancy: data.redundancy.clone(),
                ..self.volume.clone()
            };
            is_known(&volume).then_some((*index, volume))
        };
        let mut opened: Vec<(usize, Volume)> = candidates.iter().filter_map(open).collect();
        if opened.len() == 1
            && let Some((index, volume)) = opened.pop()
        {
            let data = volumes.remove(index).id;
            let line = format!("its header is on disk{}, its data are {data}", self.disk());
            let finding = Finding::info(code::LUKS_HEADER_DETACHED, line);
            findings.push(finding.on_volume(&volume.id.0));
            return Ok(Joined { volume, depth: self.depth, data });
        }
        let names = |indices: &mut dyn Iterator<Item = usize>| {
            let named = indices.take(MAX_NAMED).filter_map(|index| volumes.get(index));
            named.map(|volume| &*volume.id.0).collect::<Vec<_>>().join(", ")
        };
        let line = match opened.as_slice() {
            [] if candidates.is_empty() => NO_DATA.to_owned(),
            [] => format!(
                "header is detached, and its key opens no file system or other volume on what may be its \
                 data ({})",
                names(&mut candidates.iter().copied())
            ),
            several => format!(
                "header is detached, and several volumes are its data, as copies of a disk are ({}); give \
                 only one",
                names(&mut several.iter().map(|(index, _)| *index))
            ),
        };
        Err(Box::new(self.refused(&line, findings)))
    }

    /// It as a volume that stays locked, where `candidates` may be its data, else is refused.
    pub(super) fn unopened(self, candidates: &[usize], findings: &mut Vec<Finding>) -> Volume {
        if candidates.is_empty() {
            return self.refused(NO_DATA, findings);
        }
        let device = Arc::new(Locked::new(self.volume.size, &self.lock));
        Volume { device, lock: Some(self.lock), ..self.volume }
    }

    fn refused(self, line: &str, findings: &mut Vec<Finding>) -> Volume {
        let line = format!("LUKS volume is refused: {line}");
        let finding = Finding::error(code::LUKS_VOLUME_REFUSED, line.clone());
        findings.push(finding.on_volume(&self.volume.id.0));
        let refusal = Refusal::missing(line.clone());
        Volume { device: refusal.device(self.volume.size, line), ..self.volume }
    }

    /// The disk that it lies on.
    fn disk(&self) -> usize {
        self.volume.extents.first().map_or(0, |extent| extent.disk)
    }
}
