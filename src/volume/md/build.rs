//! From columns to the bytes of an array.

use std::sync::Arc;

use volfold_block::{BlockDevice, Mapped, Slice, byte_count};

use super::superblock::Shape;
use crate::volume::map::{
    Absent, Mirror, Raid5, Raid5Layout, Raid6, Raid6Layout, Raid10, Raid10Layout, Redundancy,
    Stripe, one_after_the_other,
};
use crate::volume::refusal::Refusal;
use crate::volume::{Health, Layout};

/// What an array of this `shape` is called in lists, whether it is read or not.
pub(super) fn layout(shape: &Shape) -> Layout {
    match shape.level {
        -1 => Layout::Spanned,
        0 => Layout::Striped,
        1 => Layout::Mirrored,
        4 => Layout::Raid4,
        5 => Layout::Raid5,
        6 => Layout::Raid6,
        10 => Layout::Raid10,
        _ => Layout::Simple,
    }
}

/// A RAID level that is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Level {
    Linear,
    Raid0,
    Raid1,
    /// RAID-4 and RAID-5.
    Raid5(Raid5Layout),
    Raid6(Raid6Layout),
    Raid10(Raid10Layout),
}

impl Level {
    /// What `shape` has.
    ///
    /// # Errors
    /// Why it is not read.
    pub(super) fn of(shape: &Shape) -> Result<Self, Refusal> {
        let unknown = |what: &str| {
            let line = format!("has the layout {} of {what}, which is not known", shape.layout);
            Refusal::unsupported(line)
        };
        Ok(match shape.level {
            -1 => Self::Linear,
            0 => Self::Raid0,
            1 => Self::Raid1,
            4 => Self::Raid5(Raid5Layout::ParityLast),
            5 => Self::Raid5(raid5_layout(shape.layout).ok_or_else(|| unknown("RAID-5"))?),
            6 => Self::Raid6(raid6_layout(shape.layout).ok_or_else(|| unknown("RAID-6"))?),
            10 => {
                let layout = Raid10Layout::of(shape.layout, u64::from(shape.raid_disks));
                Self::Raid10(layout.ok_or_else(|| unknown("RAID-10"))?)
            }
            -4 => {
                return Err(Refusal::unsupported(
                    "is of level multipath: its devices are ways to one disk, which is read by itself",
                ));
            }
            -5 => {
                return Err(Refusal::unsupported(
                    "is of level faulty, which tests errors of disks",
                ));
            }
            level => {
                let line = format!("has the level {level}, which is not known");
                return Err(Refusal::unsupported(line));
            }
        })
    }

    /// Whether all devices give the same number of bytes.
    pub(super) fn is_even(self) -> bool {
        !matches!(self, Self::Linear | Self::Raid0)
    }

    /// The fewest columns that it makes sense with.
    fn least(self) -> u32 {
        match self {
            Self::Raid6(_) => 4,
            Self::Raid5(_) => 2,
            _ => 1,
        }
    }

    /// Checks what the maps take for granted.
    ///
    /// # Errors
    /// Why it is not read.
    pub(super) fn check(self, shape: &Shape) -> Result<(), Refusal> {
        let corrupt = |line: String| Err(Refusal::corrupt(line));
        if shape.raid_disks < self.least() {
            return corrupt(format!("has {} devices, too few for its level", shape.raid_disks));
        }
        let needs_chunk = !matches!(self, Self::Linear | Self::Raid1);
        let is_power = matches!(self, Self::Raid5(_) | Self::Raid6(_) | Self::Raid10(_));
        let is_odd = shape.chunk == 0
            || !shape.chunk.is_multiple_of(512)
            || (is_power && !shape.chunk.is_power_of_two());
        if needs_chunk && is_odd {
            return corrupt(format!("has chunks of {} bytes", shape.chunk));
        }
        if self.is_even() && shape.component == 0 {
            return corrupt("uses no byte of its devices".to_owned());
        }
        if self.is_even() && needs_chunk && shape.chunk > shape.component {
            return corrupt(format!(
                "has chunks of {} bytes on devices of {}",
                shape.chunk, shape.component
            ));
        }
        Ok(())
    }
}

/// Numbers of `drivers/md/raid5.h`.
fn raid5_layout(number: u32) -> Option<Raid5Layout> {
    Some(match number {
        0 => Raid5Layout::LeftAsymmetric,
        1 => Raid5Layout::RightAsymmetric,
        2 => Raid5Layout::LeftSymmetric,
        3 => Raid5Layout::RightSymmetric,
        4 => Raid5Layout::ParityFirst,
        5 => Raid5Layout::ParityLast,
        _ => return None,
    })
}

/// Numbers of `drivers/md/raid5.h`: those of RAID-5 mean the same with Q beside P, 8 to 10 are of DDF, and
/// from 16 on they are those of RAID-5 with Q in one more column.
fn raid6_layout(number: u32) -> Option<Raid6Layout> {
    Some(match number {
        0 => Raid6Layout::LeftAsymmetric,
        1 => Raid6Layout::RightAsymmetric,
        2 => Raid6Layout::LeftSymmetric,
        3 => Raid6Layout::RightSymmetric,
        4 => Raid6Layout::ParityFirst,
        5 => Raid6Layout::ParityLast,
        8 => Raid6Layout::ZeroRestart,
        9 => Raid6Layout::NRestart,
        10 => Raid6Layout::NContinue,
        16..=20 => Raid6Layout::AndLast(raid5_layout(number.checked_sub(16)?)?),
        _ => return None,
    })
}

/// A column of an array.
pub(super) struct Column {
    pub(super) device: Arc<dyn BlockDevice>,
    /// Whether every byte is there.
    pub(super) is_whole: bool,
    /// Whether there is any byte.
    pub(super) is_there: bool,
    /// Whether its size is known, and not taken from others.
    pub(super) is_sized: bool,
    pub(super) is_write_mostly: bool,
}

/// The bytes of an array.
pub(super) struct Body {
    pub(super) device: Arc<dyn BlockDevice>,
    pub(super) size: u64,
    pub(super) health: Health,
    pub(super) redundancy: Option<Arc<dyn Redundancy>>,
}

/// The array of `columns`. Past the first `synced` bytes of each the parity is not that of the data.
///
/// # Errors
/// Why it is not read.
pub(super) fn body(
    level: Level,
    shape: &Shape,
    columns: &[Column],
    synced: Option<u64>,
) -> Result<Body, Refusal> {
    match level {
        Level::Linear => linear(shape, columns),
        Level::Raid0 => striped(shape, columns),
        Level::Raid1 => mirrored(shape, columns),
        Level::Raid5(_) | Level::Raid6(_) => parity(level, shape, columns, synced),
        Level::Raid10(layout) => striped_mirrors(layout, shape, columns),
    }
}

fn devices(columns: &[Column]) -> Vec<Arc<dyn BlockDevice>> {
    columns.iter().map(|column| column.device.clone()).collect()
}

fn is_any_lost(columns: &[Column]) -> Health {
    let is_whole = columns.iter().all(|column| column.is_whole);
    if is_whole { Health::Healthy } else { Health::Failed }
}

/// The first `size` bytes of `device` from `start` on.
fn part(
    device: &Arc<dyn BlockDevice>,
    start: u64,
    end: u64,
) -> Result<Arc<dyn BlockDevice>, Refusal> {
    if start == 0 && end == device.size() {
        return Ok(device.clone());
    }
    Ok(Arc::new(Slice::part(device.clone(), start, end.saturating_sub(start))?))
}

/// `size` rounded down to whole chunks.
fn whole_chunks(size: u64, chunk: u64) -> u64 {
    size.saturating_sub(size.checked_rem(chunk).unwrap_or(0))
}

/// One device after the other, each rounded down to whole chunks. Where the size of one is not known, nothing
/// that follows it has a place.
fn linear(shape: &Shape, columns: &[Column]) -> Result<Body, Refusal> {
    let mut parts: Vec<Arc<dyn BlockDevice>> = Vec::new();
    let mut is_placed = true;
    for column in columns {
        let size = whole_chunks(column.device.size(), shape.chunk);
        is_placed = is_placed && column.is_sized;
        parts.push(match is_placed {
            true => part(&column.device, 0, size)?,
            false if column.is_there => {
                let line = "it lies after a device that is missing, whose size is not known";
                Arc::new(Absent::new(size, line))
            }
            false => column.device.clone(),
        });
    }
    let device = one_after_the_other(parts)?;
    let size = device.size();
    Ok(Body { device, size, health: is_any_lost(columns), redundancy: None })
}

/// Chunks in turn, in *zones*: where the smallest devices end, the others go on.
fn striped(shape: &Shape, columns: &[Column]) -> Result<Body, Refusal> {
    let ends: Vec<u64> =
        columns.iter().map(|column| whole_chunks(column.device.size(), shape.chunk)).collect();
    let mut borders = ends.clone();
    borders.sort_unstable();
    borders.dedup();
    if borders.len().saturating_mul(columns.len()) > MAX_ZONE_PARTS {
        return Err(Refusal::unsupported("has devices of too many different sizes"));
    }
    let mut zones: Vec<Arc<dyn BlockDevice>> = Vec::new();
    let (mut start, mut size, mut is_turned) = (0_u64, 0_u64, false);
    for end in borders.into_iter().filter(|end| *end > 0) {
        let longer = columns.iter().zip(&ends).filter(|(_, own)| **own >= end);
        let parts: Result<Vec<_>, Refusal> =
            longer.map(|(column, _)| part(&column.device, start, end)).collect();
        let mut parts = parts?;
        let count = byte_count(parts.len());
        // The original layout counts the columns of a zone from the start of the array, the alternate
        // one from that of the zone.
        let turn = size.checked_div(shape.chunk).and_then(|chunks| chunks.checked_rem(count));
        let turn = turn.and_then(|turn| usize::try_from(turn).ok()).unwrap_or(0);
        is_turned |= turn > 0;
        if shape.layout == ORIGINAL {
            parts.rotate_left(turn);
        }
        let length = end.saturating_sub(start).checked_mul(count);
        let length = length.ok_or_else(|| Refusal::corrupt("is too large"))?;
        zones.push(Arc::new(Mapped::new(Stripe::new(parts, shape.chunk, length)?)));
        start = end;
        size = size.checked_add(length).ok_or_else(|| Refusal::corrupt("is too large"))?;
    }
    if is_turned && !matches!(shape.layout, ORIGINAL | ALTERNATE) {
        return Err(Refusal::unsupported(
            "has devices of different sizes and does not say in which of two layouts: Linux before \
             3.14 and since lay it out differently. `mdadm --assemble --update=layout-original` or \
             `--update=layout-alternate` on copies writes it down",
        ));
    }
    let device = one_after_the_other(zones)?;
    Ok(Body { device, size, health: is_any_lost(columns), redundancy: None })
}

/// LIMIT: columns of all zones of a RAID-0 together.
const MAX_ZONE_PARTS: usize = 1 << 16;

/// The layout of a RAID-0 by Linux before 3.14.
pub(super) const ORIGINAL: u32 = 1;
/// The layout of a RAID-0 by Linux since 3.14.
pub(super) const ALTERNATE: u32 = 2;

/// Sides that hold the same; whole ones are asked first, write-mostly ones last.
fn mirrored(shape: &Shape, columns: &[Column]) -> Result<Body, Refusal> {
    let mut ordered: Vec<&Column> = columns.iter().collect();
    ordered.sort_by_key(|column| (!column.is_there, !column.is_whole, column.is_write_mostly));
    let sides = ordered.iter().map(|column| column.device.clone()).collect();
    let mirror = Arc::new(Mirror::new(sides, shape.component)?);
    let health = match columns.iter().filter(|column| column.is_whole).count() {
        0 => Health::Failed,
        whole if whole == columns.len() => Health::Healthy,
        _ => Health::Degraded,
    };
    let device = Arc::new(Mapped::over(mirror.clone()));
    let redundancy: Arc<dyn Redundancy> = mirror;
    let redundancy = Some(redundancy).filter(|_| columns.len() > 1);
    Ok(Body { device, size: shape.component, health, redundancy })
}

/// Columns with parity.
fn parity(
    level: Level,
    shape: &Shape,
    columns: &[Column],
    synced: Option<u64>,
) -> Result<Body, Refusal> {
    let parities = if matches!(level, Level::Raid6(_)) { 2 } else { 1 };
    let data = u64::from(shape.raid_disks).checked_sub(parities);
    let size = data.and_then(|data| whole_chunks(shape.component, shape.chunk).checked_mul(data));
    let size = size.ok_or_else(|| Refusal::corrupt("is too large"))?;
    let until = synced.unwrap_or(u64::MAX);
    let (device, redundancy): (Arc<dyn BlockDevice>, Arc<dyn Redundancy>) = match level {
        Level::Raid6(layout) => {
            let raid = Raid6::new(devices(columns), layout, shape.chunk, size)?;
            let raid = Arc::new(raid.with_synced(until));
            (Arc::new(Mapped::over(raid.clone())), raid)
        }
        Level::Raid5(layout) => {
            let raid = Raid5::new(devices(columns), shape.chunk, size)?.with_layout(layout);
            let raid = Arc::new(raid.with_synced(until));
            (Arc::new(Mapped::over(raid.clone())), raid)
        }
        _ => return Err(Refusal::unsupported("has no parity")),
    };
    let lost = byte_count(columns.iter().filter(|column| !column.is_whole).count());
    let health = match lost {
        0 => Health::Healthy,
        lost if lost <= parities && until >= shape.component => Health::Degraded,
        _ => Health::Failed,
    };
    Ok(Body { device, size, health, redundancy: Some(redundancy) })
}

/// Chunks in turn, each several times.
fn striped_mirrors(
    layout: Raid10Layout,
    shape: &Shape,
    columns: &[Column],
) -> Result<Body, Refusal> {
    let raid = Raid10::new(devices(columns), layout, shape.chunk, shape.component)?;
    let raid = Arc::new(raid);
    let is_whole: Vec<bool> = columns.iter().map(|column| column.is_whole).collect();
    let health = match (is_whole.iter().all(|whole| *whole), raid.is_served_by(&is_whole)) {
        (true, _) => Health::Healthy,
        (_, true) => Health::Degraded,
        _ => Health::Failed,
    };
    let device: Arc<dyn BlockDevice> = Arc::new(Mapped::over(raid.clone()));
    let size = device.size();
    let redundancy: Option<Arc<dyn Redundancy>> = Some(raid);
    Ok(Body { device, size, health, redundancy })
}
