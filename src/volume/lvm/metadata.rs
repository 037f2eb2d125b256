//! A volume group as the text of its metadata describes it.
//!
//! Source: `lib/format_text/import_vsn1.c` and the files of the segment types of lvm2. Extents are
//! counted from 0; sizes in the text are in sectors of 512 bytes, here in bytes.

use std::collections::BTreeMap;

use super::segment::Segment;
use super::text::Section;

/// LIMIT: segments of a volume; a volume is read by binary search over them.
const MAX_SEGMENTS: u64 = 1 << 18;

/// LIMIT: physical volumes of a group; each that is missing is told.
const MAX_DISKS: usize = 4096;

/// A volume group.
#[derive(Debug)]
pub(super) struct VolumeGroup {
    pub(super) name: String,
    pub(super) id: String,
    /// Counts the changes.
    pub(super) sequence: u64,
    /// In bytes.
    pub(super) extent_size: u64,
    /// By the names that segments use: `pv0`.
    pub(super) disks: BTreeMap<String, PhysicalVolume>,
    /// By name.
    pub(super) volumes: BTreeMap<String, LogicalVolume>,
}

/// A physical volume of the group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PhysicalVolume {
    pub(super) id: String,
    /// The first byte of its extents.
    pub(super) start: u64,
    pub(super) extents: u64,
    /// What the system called it last.
    pub(super) device: String,
    /// Whether a change of the group was made without it.
    pub(super) is_missing: bool,
}

/// A logical volume of the group.
#[derive(Debug)]
pub(super) struct LogicalVolume {
    pub(super) id: String,
    /// Whether it is one that users see.
    pub(super) is_visible: bool,
    pub(super) flags: Vec<String>,
    /// When it was made, in seconds since 1970.
    pub(super) created: Option<i64>,
    pub(super) extents: u64,
    /// Its segments in order, without gaps; or what is wrong with them.
    pub(super) segments: Result<Vec<Segment>, String>,
}

impl LogicalVolume {
    /// Whether its metadata has the flag `name`.
    pub(super) fn has(&self, name: &str) -> bool {
        self.flags.iter().any(|flag| flag == name)
    }

    /// The only segment; `None` if there are more.
    pub(super) fn only_segment(&self) -> Option<&Segment> {
        match self.segments.as_deref() {
            Ok([only]) => Some(only),
            _ => None,
        }
    }
}

impl VolumeGroup {
    /// The group that `text` describes.
    ///
    /// # Errors
    /// What is wrong with it, as a sentence.
    pub(super) fn parse(text: &[u8]) -> Result<Self, String> {
        let text = Section::parse(text)?;
        if text.text("contents") != Some("Text Format Volume Group")
            || text.number("version") != Some(1)
        {
            return Err("the metadata is not of a volume group in version 1".to_owned());
        }
        let mut groups = text.sections();
        let (Some((name, group)), None) = (groups.next(), groups.next()) else {
            return Err("the metadata is not of one volume group".to_owned());
        };
        let id = group.text("id").filter(|id| is_uuid(id));
        let id = id.ok_or("the volume group has no valid id")?.to_owned();
        let sequence = group.number("seqno").ok_or("the volume group has no number of changes")?;
        let extent_size = group.sectors("extent_size").filter(|size| *size > 0);
        let extent_size = extent_size.ok_or("the volume group has no size of extents")?;
        let disks = match group.section("physical_volumes") {
            Some(section) => disks(section)?,
            None => BTreeMap::new(),
        };
        let mut volumes = BTreeMap::new();
        if let Some(section) = group.section("logical_volumes") {
            for (name, section) in section.sections() {
                volumes.insert(name.to_owned(), volume(name, section)?);
            }
        }
        let name = name.to_owned();
        Ok(Self { name, id, sequence, extent_size, disks, volumes })
    }

    /// Where the segments of `volume` lie on the physical volume `id`: the segment, the place in its
    /// list, and the first extent.
    pub(super) fn places<'a>(
        &self,
        volume: &'a LogicalVolume,
        id: &str,
    ) -> Vec<(&'a Segment, usize, u64)> {
        let segments = volume.segments.as_deref().unwrap_or_default();
        let mut places = Vec::new();
        for segment in segments {
            for (index, area) in segment.areas().enumerate() {
                if self.disks.get(&area.name).is_some_and(|disk| disk.id == id) {
                    places.push((segment, index, area.extent));
                }
            }
        }
        places
    }
}

fn disks(section: &Section<'_>) -> Result<BTreeMap<String, PhysicalVolume>, String> {
    let mut disks = BTreeMap::new();
    for (name, section) in section.sections() {
        if disks.len() >= MAX_DISKS {
            return Err(format!("the volume group has more than {MAX_DISKS} physical volumes"));
        }
        let id = section.text("id").filter(|id| is_uuid(id));
        let id = id.ok_or_else(|| format!("physical volume {name} has no valid id"))?.to_owned();
        let (Some(start), Some(extents)) =
            (section.sectors("pe_start"), section.number("pe_count"))
        else {
            return Err(format!("physical volume {name} has no extents"));
        };
        let is_missing = has_flag(section, "MISSING");
        let device = section.text("device").unwrap_or("unknown").to_owned();
        disks.insert(name.to_owned(), PhysicalVolume { id, start, extents, device, is_missing });
    }
    Ok(disks)
}

fn volume(name: &str, section: &Section<'_>) -> Result<LogicalVolume, String> {
    let id = section.text("id").filter(|id| is_uuid(id));
    let id = id.ok_or_else(|| format!("logical volume {name} has no valid id"))?.to_owned();
    let segments = segments(section);
    let extents = match &segments {
        Ok(segments) => segments.last().and_then(|last| last.start.checked_add(last.extents)),
        Err(_) => None,
    };
    let words = |list| section.words(list).map(str::to_owned);
    Ok(LogicalVolume {
        id,
        is_visible: has_flag(section, "VISIBLE"),
        flags: words("status").chain(words("flags")).collect(),
        created: section.number("creation_time").and_then(|time| i64::try_from(time).ok()),
        extents: extents.unwrap_or(0),
        segments,
    })
}

/// The segments of a volume: they lie one after the other, without gaps.
fn segments(volume: &Section<'_>) -> Result<Vec<Segment>, String> {
    let count = volume.number("segment_count").ok_or("it has no number of segments")?;
    if count > MAX_SEGMENTS {
        return Err(format!("it has {count} segments"));
    }
    let mut segments = Vec::new();
    let mut end = 0_u64;
    for number in 1..=count {
        let section = volume.section(&format!("segment{number}"));
        let section = section.ok_or_else(|| format!("it has no segment {number}"))?;
        let segment =
            Segment::parse(section).map_err(|problem| format!("its segment {number} {problem}"))?;
        if segment.start != end {
            return Err(format!("it has a gap before segment {number}"));
        }
        end = end.checked_add(segment.extents).ok_or("it is too large")?;
        segments.push(segment);
    }
    if segments.is_empty() {
        return Err("it has no segment".to_owned());
    }
    Ok(segments)
}

/// Whether one of the two lists of flags has `flag`.
fn has_flag(section: &Section<'_>, flag: &str) -> bool {
    ["status", "flags"].iter().any(|list| section.words(list).any(|word| word == flag))
}

/// Whether `id` is one as lvm2 writes it: 32 letters and digits in seven groups.
fn is_uuid(id: &str) -> bool {
    let letters: Vec<u8> = id.bytes().filter(|byte| *byte != b'-').collect();
    super::label::uuid(&letters).is_some_and(|uuid| uuid == id)
}

#[cfg(test)]
mod tests {
    use super::super::testing;
    use super::*;

    #[test]
    fn a_group_is_read_with_its_disks_and_volumes() {
        let text =
            testing::group_text(7, 2, &[("root", testing::LINEAR), ("swap-1", testing::LINEAR)]);
        let group = VolumeGroup::parse(text.as_bytes()).unwrap();
        assert_eq!((group.name.as_str(), group.sequence, group.extent_size), ("vg", 7, 4096));
        assert_eq!(group.disks["pv1"].start, 64 * 512);
        assert_eq!(group.disks["pv1"].id, testing::disk_id(1));
        let root = &group.volumes["root"];
        assert!(root.is_visible && root.has("WRITE") && !root.has("REBUILD"));
        assert_eq!((root.extents, root.created), (4, Some(1_700_000_000)));
        assert_eq!(group.places(root, &testing::disk_id(0)).len(), 1);
        assert!(group.places(root, &testing::disk_id(1)).is_empty());
    }

    #[test]
    fn what_lacks_a_part_is_refused_with_its_name() {
        let text = testing::group_text(7, 1, &[("root", testing::LINEAR)]);
        for (from, to, problem) in [
            ("version = 1", "version = 2", "the metadata is not of a volume group in version 1"),
            ("seqno", "seq", "the volume group has no number of changes"),
            ("extent_size = 8", "extent_size = 0", "the volume group has no size of extents"),
            ("pe_start", "start", "physical volume pv0 has no extents"),
            ("id = \"0000pv", "id = \"00pv", "physical volume pv0 has no valid id"),
            ("vg {", "other { }\nvg {", "the metadata is not of one volume group"),
        ] {
            let changed = text.replacen(from, to, 1);
            assert_ne!(changed, text, "{from}");
            assert_eq!(VolumeGroup::parse(changed.as_bytes()).unwrap_err(), problem);
        }
        for (from, to, problem) in [
            ("start_extent = 0", "start_extent = 1", "it has a gap before segment 1"),
            ("segment_count = 1", "segment_count = 0", "it has no segment"),
            ("segment_count = 1", "segment_count = 2", "it has no segment 2"),
            ("segment_count = 1", "segment_count = 999999999", "it has 999999999 segments"),
        ] {
            let changed = text.replacen(from, to, 1);
            let group = VolumeGroup::parse(changed.as_bytes()).unwrap();
            assert_eq!(group.volumes["root"].segments.as_ref().unwrap_err(), problem);
        }
    }
}
