//! One physical volume: its label, and the texts of its metadata areas.

use std::sync::Arc;

use volfold_block::{BlockDevice, Finding, code, error_chain};

use super::area;
use super::label::{self, Found, Label};
use super::metadata::VolumeGroup;
use crate::volume::Region;

/// LIMIT: bytes of all texts that differ: what is kept of them stays below 256 MB.
const MAX_TEXTS: usize = 32 << 20;

/// A text, and what it says.
pub(super) struct Variant {
    text: Vec<u8>,
    pub(super) group: VolumeGroup,
}

/// The texts of all disks; most are the same on each.
#[derive(Default)]
pub(super) struct Texts {
    known: Vec<Arc<Variant>>,
    bytes: usize,
}

impl Texts {
    /// What `text` says.
    fn parse(&mut self, text: Vec<u8>) -> Result<Arc<Variant>, String> {
        if let Some(known) = self.known.iter().find(|known| known.text == text) {
            return Ok(known.clone());
        }
        self.bytes = self.bytes.saturating_add(text.len());
        if self.bytes > MAX_TEXTS {
            return Err(format!("the metadata of all disks has more than {MAX_TEXTS} bytes"));
        }
        let variant = Arc::new(Variant { group: VolumeGroup::parse(&text)?, text });
        self.known.push(variant.clone());
        Ok(variant)
    }
}

/// A physical volume.
pub(super) struct Disk<'a> {
    pub(super) region: &'a Region,
    pub(super) label: Label,
    /// The newest metadata on it, if there is any.
    pub(super) variant: Option<Arc<Variant>>,
}

impl<'a> Disk<'a> {
    /// Reads `region`, and tells what is wrong with it. `None` without a label that can be used.
    pub(super) fn read(
        region: &'a Region,
        texts: &mut Texts,
        findings: &mut Vec<Finding>,
    ) -> Option<Self> {
        let label = match label::find(&*region.device) {
            Ok(Found::Label(label)) => label,
            Ok(Found::Nothing) => return None,
            Ok(Found::Damaged(error)) | Err(error) => {
                let line = format!("physical volume of LVM2 cannot be used: {error}");
                findings.push(Finding::error(code::LVM_LABEL_DAMAGED, line).on_disk(region.disk));
                return None;
            }
        };
        let variant = newest(region, &label, texts, findings);
        Some(Self { region, label, variant })
    }

    /// The name and the id of its image.
    pub(super) fn what(&self) -> String {
        match &self.region.partition {
            Some(partition) => format!("{}, partition {}", self.region.label, partition.number),
            None => self.region.label.to_string(),
        }
    }
}

/// The newest metadata of the areas of one disk.
fn newest(
    region: &Region,
    label: &Label,
    texts: &mut Texts,
    findings: &mut Vec<Finding>,
) -> Option<Arc<Variant>> {
    let mut newest: Option<Arc<Variant>> = None;
    let device: &dyn BlockDevice = &*region.device;
    for place in &label.metadata_areas {
        let parsed = match area::read(device, *place) {
            Ok(content) => {
                if content.is_being_changed {
                    let line = format!(
                        "a change of the volume group was being written to physical volume {}; the \
                         state before it is used",
                        label.uuid
                    );
                    let finding = Finding::warning(code::LVM_UPDATE_UNFINISHED, line);
                    findings.push(finding.on_disk(region.disk));
                }
                content.text.map(|text| texts.parse(text))
            }
            Err(error) => Some(Err(error_chain(&error))),
        };
        match parsed {
            None => {}
            Some(Ok(variant)) => {
                let is_newer = |known: &Arc<Variant>| variant.group.sequence > known.group.sequence;
                if newest.as_ref().is_none_or(is_newer) {
                    newest = Some(variant);
                }
            }
            Some(Err(problem)) => {
                let line = format!("a metadata area of physical volume {}: {problem}", label.uuid);
                let at = region.start.saturating_add(place.offset);
                let finding = Finding::warning(code::LVM_AREA_DAMAGED, line);
                findings.push(finding.on_disk(region.disk).at(at));
            }
        }
    }
    newest
}
