//! The segments of a logical volume: what lies where.
//!
//! Source: `text_import` of the segment types of lvm2: `lib/striped`, `lib/mirror`, `lib/raid`,
//! `lib/thin`, `lib/cache_segtype`, `lib/writecache`, `lib/snapshot`, `lib/zero`, `lib/error`.

use volfold_block::byte_count;

use crate::volume::map::{Raid5Layout, Raid6Layout};

use super::text::{Section, Value};

/// LIMIT: areas of a segment: the kernel's MD takes 253 devices for dm, lvm2 128 stripes.
const MAX_AREAS: usize = 256;

/// A run of extents of a volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    /// Its first extent in the volume.
    pub(super) start: u64,
    /// At least 1.
    pub(super) extents: u64,
    pub(super) kind: SegmentKind,
}

/// Where extents lie: on a physical volume or in another logical volume, from an extent on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SegmentArea {
    pub(super) name: String,
    pub(super) extent: u64,
}

/// A side of a RAID.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RaidSide {
    /// The volume that holds what the kernel knows of the side.
    pub(super) metadata: Option<String>,
    /// The volume that holds its bytes.
    pub(super) image: String,
}

/// How a RAID is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RaidKind {
    Raid0,
    Raid1,
    /// Parity in one column, which the metadata of the sides tells.
    Raid4,
    Raid5(Raid5Layout),
    Raid6(Raid6Layout),
    /// Mirrors side by side, with how many sides each has.
    Raid10(u64),
}

/// What a segment is; sizes in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum SegmentKind {
    /// One area, or several side by side in chunks.
    Striped {
        areas: Vec<SegmentArea>,
        chunk: u64,
    },
    /// Areas that hold the same, by the older driver.
    Mirror {
        areas: Vec<SegmentArea>,
        /// The volume that says which regions are in sync.
        log: Option<String>,
        /// The bytes of a region of the log.
        region: u64,
        /// Extents that are being moved from the first area to the second.
        is_move: bool,
    },
    Raid {
        kind: RaidKind,
        sides: Vec<RaidSide>,
        chunk: u64,
        /// Extents of each side that are left free, before or after its data, by a change of the layout.
        room: u64,
    },
    /// Zeros.
    Zero,
    /// No bytes.
    Error,
    ThinPool {
        data: String,
        metadata: String,
        chunk: u64,
        transaction: u64,
        has_messages: bool,
    },
    Thin {
        pool: String,
        device: u64,
        transaction: u64,
        /// The thin volume that it is a snapshot of.
        origin: Option<String>,
        /// The volume that is read where the pool has nothing.
        external: Option<String>,
    },
    /// The volume `store` has the chunks of `origin` that were overwritten since.
    Snapshot {
        origin: String,
        store: String,
        chunk: u64,
    },
    /// The snapshot `store` is being made the content of `origin`.
    Merging {
        origin: String,
        store: String,
    },
    CachePool {
        data: String,
        metadata: String,
        chunk: u64,
        mode: Option<String>,
    },
    Cache {
        pool: String,
        origin: String,
        /// Where metadata and data are in the pool, if that is one volume for both.
        in_one: Option<CacheVolume>,
        chunk: Option<u64>,
        mode: Option<String>,
    },
    WriteCache {
        cache: String,
        origin: String,
        /// The bytes of a block of the cache.
        chunk: Option<u64>,
    },
    /// What this build does not lay out, as a noun.
    Unknown(String),
}

/// The two parts of a cache volume; offsets and sizes in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct CacheVolume {
    pub(super) metadata: (u64, u64),
    pub(super) data: (u64, u64),
}

/// Says what a segment lacks.
type Parsed<T> = Result<T, String>;

impl Segment {
    /// The segment that `section` describes.
    ///
    /// # Errors
    /// What is wrong, as a sentence without its object.
    pub(super) fn parse(section: &Section<'_>) -> Parsed<Self> {
        let start = required(section, "start_extent")?;
        let extents = required(section, "extent_count")?;
        if extents == 0 {
            return Err("is empty".to_owned());
        }
        let name = section.text("type").ok_or("has no type")?;
        let kind = kind(name, section)?;
        let extents = match &kind {
            SegmentKind::Raid { kind, sides, room, .. } => {
                without_room(extents, *kind, byte_count(sides.len()), *room)?
            }
            _ => extents,
        };
        Ok(Self { start, extents, kind })
    }

    /// The areas on disks or in volumes that it names with a place.
    pub(super) fn areas(&self) -> impl Iterator<Item = &SegmentArea> {
        match &self.kind {
            SegmentKind::Striped { areas, .. } | SegmentKind::Mirror { areas, .. } => areas.iter(),
            _ => [].iter(),
        }
    }
}

/// The extents of a RAID, of `extents` with the `room` in each of its `sides`.
fn without_room(extents: u64, kind: RaidKind, sides: u64, room: u64) -> Parsed<u64> {
    let columns = match kind {
        // QUIRK: lvm2 counts it once for each side of a mirror, too.
        RaidKind::Raid0 | RaidKind::Raid1 | RaidKind::Raid10(_) => Some(sides),
        RaidKind::Raid4 | RaidKind::Raid5(_) => sides.checked_sub(1),
        RaidKind::Raid6(_) => sides.checked_sub(2),
    };
    let left = columns
        .and_then(|columns| columns.checked_mul(room))
        .and_then(|room| extents.checked_sub(room));
    left.filter(|left| *left > 0).ok_or_else(|| "has more room for reshaping than extents".into())
}

/// The kind of a segment of the type `name`. A type may have flags after `+`.
fn kind(name: &str, section: &Section<'_>) -> Parsed<SegmentKind> {
    /// Flags of a type that change no place.
    const HARMLESS: [&str; 5] = [
        "METADATA_FORMAT",
        "CACHE_USES_CACHEVOL",
        "CROP_METADATA",
        "RESHAPE",
        "RESHAPE_DATA_OFFSET",
    ];
    let mut words = name.split('+');
    let plain = words.next().unwrap_or_default();
    if let Some(flag) = words.find(|flag| !HARMLESS.contains(flag)) {
        return Ok(SegmentKind::Unknown(format!("a segment of type {plain} with {flag}")));
    }
    match plain {
        "striped" | "linear" => striped(section),
        "mirror" => mirror(section),
        "zero" => Ok(SegmentKind::Zero),
        "error" => Ok(SegmentKind::Error),
        "thin-pool" => thin_pool(section),
        "thin" => thin(section),
        "snapshot" => snapshot(section),
        "cache-pool" => cache_pool(section),
        "cache" => cache(section),
        "writecache" => {
            let cache = word(section, "writecache")?;
            let chunk = section.number("writecache_block_size");
            Ok(SegmentKind::WriteCache { cache, origin: word(section, "origin")?, chunk })
        }
        _ => match raid_kind(plain, section)? {
            Some(kind) => raid(kind, section),
            None => Ok(SegmentKind::Unknown(format!("a segment of type {plain}"))),
        },
    }
}

fn required(section: &Section<'_>, name: &str) -> Parsed<u64> {
    section.number(name).ok_or_else(|| format!("has no {name}"))
}

fn word(section: &Section<'_>, name: &str) -> Parsed<String> {
    section.text(name).map(str::to_owned).ok_or_else(|| format!("has no {name}"))
}

/// A size that must be there and not 0.
fn size(section: &Section<'_>, name: &str) -> Parsed<u64> {
    let size = section.sectors(name).filter(|size| *size > 0);
    size.ok_or_else(|| format!("has no valid {name}"))
}

/// The list `name` of names, each with the extent after it.
fn areas(section: &Section<'_>, name: &str, count: u64) -> Parsed<Vec<SegmentArea>> {
    let mut areas = Vec::new();
    for pair in section.list(name).chunks(2) {
        let invalid = || format!("has no valid {name}");
        let [Value::Text(of), Value::Number(extent)] = pair else {
            return Err(invalid());
        };
        let extent = u64::try_from(*extent).map_err(|_| invalid())?;
        areas.push(SegmentArea { name: of.to_string(), extent });
    }
    if areas.len() > MAX_AREAS {
        return Err(format!("has {} {name}, more than {MAX_AREAS}", areas.len()));
    }
    if areas.is_empty() || u64::try_from(areas.len()) != Ok(count) {
        return Err(format!("has {} {name} and should have {count}", areas.len()));
    }
    Ok(areas)
}

fn striped(section: &Section<'_>) -> Parsed<SegmentKind> {
    let count = section.number("stripe_count").or_else(|| section.number("area_count"));
    let count = count.ok_or("has no stripe_count")?;
    let areas = areas(section, "stripes", count)?;
    let chunk = if count > 1 { size(section, "stripe_size")? } else { 0 };
    Ok(SegmentKind::Striped { areas, chunk })
}

fn mirror(section: &Section<'_>) -> Parsed<SegmentKind> {
    let areas = areas(section, "mirrors", required(section, "mirror_count")?)?;
    Ok(SegmentKind::Mirror {
        areas,
        log: section.text("mirror_log").map(str::to_owned),
        region: section.sectors("region_size").unwrap_or(0),
        is_move: section.has("extents_moved"),
    })
}

/// The layout that a type of RAID is; `None` if it is not known.
fn raid_kind(name: &str, section: &Section<'_>) -> Parsed<Option<RaidKind>> {
    use Raid5Layout::{LeftAsymmetric, LeftSymmetric, ParityLast, RightAsymmetric, RightSymmetric};
    Ok(Some(match name {
        "raid0" | "raid0_meta" => RaidKind::Raid0,
        "raid1" => RaidKind::Raid1,
        "raid4" => RaidKind::Raid4,
        "raid5" | "raid5_ls" => RaidKind::Raid5(LeftSymmetric),
        "raid5_la" => RaidKind::Raid5(LeftAsymmetric),
        "raid5_rs" => RaidKind::Raid5(RightSymmetric),
        "raid5_ra" => RaidKind::Raid5(RightAsymmetric),
        "raid5_n" => RaidKind::Raid5(ParityLast),
        "raid6" | "raid6_zr" => RaidKind::Raid6(Raid6Layout::ZeroRestart),
        "raid6_nr" => RaidKind::Raid6(Raid6Layout::NRestart),
        "raid6_nc" => RaidKind::Raid6(Raid6Layout::NContinue),
        "raid6_n_6" => RaidKind::Raid6(Raid6Layout::ParityLast),
        "raid6_la_6" => RaidKind::Raid6(Raid6Layout::AndLast(LeftAsymmetric)),
        "raid6_ra_6" => RaidKind::Raid6(Raid6Layout::AndLast(RightAsymmetric)),
        "raid6_ls_6" => RaidKind::Raid6(Raid6Layout::AndLast(LeftSymmetric)),
        "raid6_rs_6" => RaidKind::Raid6(Raid6Layout::AndLast(RightSymmetric)),
        "raid10" | "raid10_near" => {
            let copies = section.number("data_copies").unwrap_or(2);
            if copies < 2 {
                return Err("has no valid data_copies".to_owned());
            }
            RaidKind::Raid10(copies)
        }
        _ => return Ok(None),
    }))
}

fn raid(kind: RaidKind, section: &Section<'_>) -> Parsed<SegmentKind> {
    let count = section.number("device_count").or_else(|| section.number("stripe_count"));
    let count = count.ok_or("has no device_count")?;
    let names = |list| section.words(list).map(str::to_owned).collect::<Vec<String>>();
    let images = names("raid0_lvs");
    let sides: Vec<RaidSide> = if images.is_empty() {
        let names = names("raids");
        let sides = names.chunks(2).filter_map(|pair| match pair {
            [metadata, image] => {
                Some(RaidSide { metadata: Some(metadata.clone()), image: image.clone() })
            }
            _ => None,
        });
        sides.collect()
    } else {
        images.into_iter().map(|image| RaidSide { metadata: None, image }).collect()
    };
    if sides.is_empty() || sides.len() > MAX_AREAS || u64::try_from(sides.len()) != Ok(count) {
        return Err(format!("has {} sides and should have {count}", sides.len()));
    }
    let chunk = if kind == RaidKind::Raid1 { 0 } else { size(section, "stripe_size")? };
    let room = section.number("reshape_count").unwrap_or(0);
    Ok(SegmentKind::Raid { kind, sides, chunk, room })
}

fn thin_pool(section: &Section<'_>) -> Parsed<SegmentKind> {
    Ok(SegmentKind::ThinPool {
        data: word(section, "pool")?,
        metadata: word(section, "metadata")?,
        chunk: size(section, "chunk_size")?,
        transaction: required(section, "transaction_id")?,
        has_messages: section.sections().any(|(name, _)| name.starts_with("message")),
    })
}

fn thin(section: &Section<'_>) -> Parsed<SegmentKind> {
    if section.has("merge") {
        return Ok(SegmentKind::Unknown(
            "a thin volume that a snapshot is being merged into".into(),
        ));
    }
    Ok(SegmentKind::Thin {
        pool: word(section, "thin_pool")?,
        device: required(section, "device_id")?,
        transaction: required(section, "transaction_id")?,
        origin: section.text("origin").map(str::to_owned),
        external: section.text("external_origin").map(str::to_owned),
    })
}

fn snapshot(section: &Section<'_>) -> Parsed<SegmentKind> {
    if section.has("merging_store") {
        let store = word(section, "merging_store")?;
        return Ok(SegmentKind::Merging { origin: word(section, "origin")?, store });
    }
    Ok(SegmentKind::Snapshot {
        origin: word(section, "origin")?,
        store: word(section, "cow_store")?,
        chunk: size(section, "chunk_size")?,
    })
}

fn cache_pool(section: &Section<'_>) -> Parsed<SegmentKind> {
    Ok(SegmentKind::CachePool {
        data: word(section, "data")?,
        metadata: word(section, "metadata")?,
        chunk: size(section, "chunk_size")?,
        mode: section.text("cache_mode").map(str::to_owned),
    })
}

fn cache(section: &Section<'_>) -> Parsed<SegmentKind> {
    let in_one = if section.has("data_start") {
        let part = |start, length| {
            let start = section.sectors(start).ok_or_else(|| format!("has no valid {start}"))?;
            Ok::<_, String>((start, size(section, length)?))
        };
        Some(CacheVolume {
            metadata: part("metadata_start", "metadata_len")?,
            data: part("data_start", "data_len")?,
        })
    } else {
        None
    };
    Ok(SegmentKind::Cache {
        pool: word(section, "cache_pool")?,
        origin: word(section, "origin")?,
        in_one,
        chunk: section.sectors("chunk_size").filter(|chunk| *chunk > 0),
        mode: section.text("cache_mode").map(str::to_owned),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(body: &str) -> Parsed<SegmentKind> {
        let text = format!("start_extent = 0\nextent_count = 4\n{body}");
        Segment::parse(&Section::parse(text.as_bytes()).unwrap()).map(|segment| segment.kind)
    }

    #[test]
    fn types_that_are_not_laid_out_are_named() {
        for (body, name) in [
            ("type = \"vdo\"", "a segment of type vdo"),
            ("type = \"integrity\"", "a segment of type integrity"),
            ("type = \"raid10_far\"", "a segment of type raid10_far"),
            ("type = \"raid6_0_6\"", "a segment of type raid6_0_6"),
            ("type = \"raid5_ls+NEW\"", "a segment of type raid5_ls with NEW"),
            (
                "type = \"thin\"\nmerge = \"x\"",
                "a thin volume that a snapshot is being merged into",
            ),
        ] {
            assert_eq!(parse(body), Ok(SegmentKind::Unknown(name.to_owned())), "{body}");
        }
    }

    #[test]
    fn what_a_segment_lacks_is_told() {
        for (body, problem) in [
            ("", "has no type"),
            ("type = \"striped\"", "has no stripe_count"),
            ("type = \"striped\"\nstripe_count = 1", "has 0 stripes and should have 1"),
            ("type = \"striped\"\nstripe_count = 1\nstripes = [\"pv0\"]", "has no valid stripes"),
            (
                "type = \"striped\"\nstripe_count = 1\nstripes = [\"pv0\", -1]",
                "has no valid stripes",
            ),
            (
                "type = \"striped\"\nstripe_count = 2\nstripes = [\"pv0\", 0, \"pv1\", 0]",
                "has no valid stripe_size",
            ),
            (
                "type = \"raid1\"\ndevice_count = 2\nraids = [\"m\", \"i\"]",
                "has 1 sides and should have 2",
            ),
            (
                "type = \"raid5\"\ndevice_count = 2\nraids = [\"m\", \"i\", \"n\", \"j\"]\nstripe_size = 8\nreshape_count = 4",
                "has more room for reshaping than extents",
            ),
            (
                "type = \"raid5\"\ndevice_count = 1\nraids = [\"m\", \"i\"]",
                "has no valid stripe_size",
            ),
            ("type = \"thin\"\nthin_pool = \"p\"", "has no device_id"),
            ("type = \"snapshot\"\norigin = \"o\"", "has no cow_store"),
        ] {
            assert_eq!(parse(body).unwrap_err(), problem, "{body}");
        }
    }

    #[test]
    fn a_raid_has_pairs_and_a_stripe_of_volumes_has_none() {
        let side = |metadata: Option<&str>, image: &str| RaidSide {
            metadata: metadata.map(str::to_owned),
            image: image.to_owned(),
        };
        let body = "type = \"raid6_zr\"\ndevice_count = 2\nstripe_size = 8\nraids = [\"m0\", \"i0\", \"m1\", \"i1\"]";
        let kind = RaidKind::Raid6(Raid6Layout::ZeroRestart);
        let sides = vec![side(Some("m0"), "i0"), side(Some("m1"), "i1")];
        assert_eq!(parse(body), Ok(SegmentKind::Raid { kind, sides, chunk: 4096, room: 0 }));
        let body =
            "type = \"raid0\"\nstripe_count = 2\nstripe_size = 8\nraid0_lvs = [\"i0\", \"i1\"]";
        let sides = vec![side(None, "i0"), side(None, "i1")];
        assert_eq!(
            parse(body),
            Ok(SegmentKind::Raid { kind: RaidKind::Raid0, sides, chunk: 4096, room: 0 })
        );
    }
}
