//! RAID and mirrors: which sides hold what they should, and how they are joined.

use std::sync::Arc;

use volfold_block::{BlockDevice, BlockErrorKind, Mapped, Slice, byte_count, error_chain};

use super::built::{Bodies, Body, Built};
use super::mirror_log;
use super::segment::{RaidKind, RaidSide};
use super::side::{Side, withhold_stale};
use super::superblock::{Superblock, unsettled_regions};
use crate::volume::map::{Mirror, Raid5, Raid5Layout, Raid6, Raid6Layout, Redundancy, Stripe};
use crate::volume::refusal::Refusal;
use crate::volume::{Health, Layout};

/// How the sides of a RAID are joined.
pub(super) struct RaidShape {
    pub(super) kind: RaidKind,
    /// In bytes; 0 for RAID-1.
    pub(super) chunk: u64,
    /// Of the RAID, in bytes.
    pub(super) size: u64,
    /// The bytes of each side that are left free, before or after its data.
    pub(super) room: u64,
    /// Whether the sides were made to agree once, as far as the metadata of the group knows.
    pub(super) is_synced: bool,
}

/// How the sides of a mirror of the older driver are joined.
pub(super) struct MirrorShape<'a> {
    /// The volume of its log.
    pub(super) log: Option<&'a str>,
    /// The bytes of a region of the log.
    pub(super) region: u64,
    /// Whether extents are being moved from the first side to the others.
    pub(super) is_move: bool,
}

/// The RAID of `sides`.
///
/// # Errors
/// Why it is not read.
pub(super) fn raid(
    bodies: &mut dyn Bodies<'_>,
    sides: &[RaidSide],
    shape: &RaidShape,
    below: usize,
) -> Built<Body> {
    let mut built = Vec::new();
    let mut superblocks = Vec::new();
    let mut unsettled = 0;
    for own in sides {
        let body = side(bodies, &own.image, below)?;
        let is_rebuilt =
            bodies.group().volumes.get(&own.image).is_some_and(|image| image.has("REBUILD"));
        let stale = is_rebuilt.then(|| format!("the side {} was being rebuilt", own.image));
        superblocks.push(match &own.metadata {
            Some(metadata) => {
                let (known, regions) = superblock(bodies, metadata, below)?;
                unsettled = unsettled.max(regions);
                known
            }
            None => Known::Nothing,
        });
        let recovered = is_rebuilt.then_some(0);
        built.push(Side { body, stale, recovered });
    }
    let state = judge(sides, &mut built, &superblocks, shape)?;
    let shape = RaidShape { kind: state.kind, is_synced: state.is_synced, ..*shape };
    for side in &mut built {
        side.begin_at(state.data_offset)?;
    }
    let size = shape.size;
    match shape.kind {
        RaidKind::Raid0 => striped(built, &shape),
        RaidKind::Raid1 => {
            if !shape.is_synced {
                keep_first(&mut built);
            }
            mirrored(built, size)
        }
        RaidKind::Raid10(copies) => striped_mirrors(built, copies, &shape),
        RaidKind::Raid4 => Err(Refusal::unsupported(
            "its sides do not tell in which column of the RAID-4 the parity is",
        )),
        RaidKind::Raid5(layout) => parity(built, &shape, Parity::One(layout), unsettled),
        RaidKind::Raid6(layout) => parity(built, &shape, Parity::Two(layout), unsettled),
    }
}

/// A volume that is a side; no RAID of its own.
fn side(bodies: &mut dyn Bodies<'_>, name: &str, below: usize) -> Built<Body> {
    let body = bodies.volume(name, below)?;
    // LIMIT: every layer of rebuilding multiplies the reads of a failed one.
    if body.is_raid {
        return Err(Refusal::unsupported(format!("a side of the RAID, {name}, is a RAID itself")));
    }
    let mut own = (*body).clone();
    own.parts.iter_mut().for_each(|part| part.plex = 0);
    Ok(own)
}

/// What the volume `name` says of a side, and in how many regions writes were going on.
fn superblock(bodies: &mut dyn Bodies<'_>, name: &str, below: usize) -> Built<(Known, u64)> {
    let body = match bodies.volume(name, below) {
        Ok(body) => body,
        Err(refusal) => return Ok((Known::Unreadable(refusal.line), 0)),
    };
    let known = match Superblock::read(&*body.device) {
        Ok(Some(superblock)) => Known::State(superblock),
        Ok(None) => Known::Nothing,
        // The bytes are there, and what they say is not understood.
        Err(error) if error.kind() == BlockErrorKind::Unsupported => return Err(error.into()),
        Err(error) => Known::Unreadable(error_chain(&error)),
    };
    Ok((known, unsettled_regions(&*body.device).unwrap_or(0)))
}

/// The sides of a mirror of the older driver; one of its log that is not in sync is stale.
pub(super) fn mirror(
    bodies: &mut dyn Bodies<'_>,
    sides: Vec<Body>,
    shape: &MirrorShape<'_>,
    size: u64,
    below: usize,
) -> Built<Body> {
    if sides.iter().any(|side| side.is_raid) {
        return Err(Refusal::unsupported("a side of the mirror is a RAID itself"));
    }
    // Extents that are being moved are whole where they come from until that is done.
    if let Some(source) = sides.first().filter(|_| shape.is_move) {
        return Ok(source.clone());
    }
    let reason = {
        let log = shape.log.map(|log| bodies.volume(log, below));
        match log {
            Some(Ok(log)) => mirror_log::why_not_in_sync(&*log.device, size, shape.region),
            Some(Err(refusal)) => {
                Some(format!("the log of the mirror says nothing: {}", refusal.line))
            }
            None => Some("the mirror keeps no log on a disk".to_owned()),
        }
    };
    let sides = sides.into_iter().enumerate().map(|(number, body)| {
        let stale = reason.clone().filter(|_| number > 0);
        Side { body, stale, recovered: None }
    });
    mirrored(sides.collect(), size)
}

/// What a side says of the RAID.
enum Known {
    /// The RAID was never started, or keeps nothing.
    Nothing,
    Unreadable(String),
    State(Superblock),
}

/// What the sides together say of the RAID.
struct State {
    kind: RaidKind,
    is_synced: bool,
    /// Where the data of each side begins.
    data_offset: u64,
}

/// How many sides of a RAID of `kind` may be left out, of `count`.
fn bearable(kind: RaidKind, count: usize) -> usize {
    match kind {
        RaidKind::Raid0 => 0,
        RaidKind::Raid1 => count.saturating_sub(1),
        RaidKind::Raid4 | RaidKind::Raid5(_) | RaidKind::Raid10(_) => 1,
        RaidKind::Raid6(_) => 2,
    }
}

/// Tells of the sides that are one event before `newest`, which are read.
fn doubt_late(sides: &[RaidSide], built: &mut [Side], known: &[Known], newest: u64) {
    for ((side, built), known) in sides.iter().zip(built).zip(known) {
        if let Known::State(state) = known
            && state.events.saturating_add(1) == newest
        {
            built.body.doubt(format!(
                "the side {} is read, and is one event behind: parts of two times may be mixed",
                side.image
            ));
        }
    }
}

/// Marks the sides that are stale.
///
/// Sides are written one after the other, so their counts of events may differ by one. A side that is one behind is
/// read if the others do not do without it, for disks that were copied at different times look the same.
fn judge(
    sides: &[RaidSide],
    built: &mut [Side],
    known: &[Known],
    shape: &RaidShape,
) -> Built<State> {
    let states = || {
        known.iter().filter_map(|known| match known {
            Known::State(state) => Some(state),
            _ => None,
        })
    };
    let Some(newest) = states().max_by_key(|state| state.events) else {
        if shape.room > 0 {
            return Err(Refusal::corrupt("its sides do not tell where their data begins"));
        }
        let is_synced = shape.is_synced && shape.kind == RaidKind::Raid0;
        return Ok(State { kind: shape.kind, is_synced, data_offset: 0 });
    };
    let kind = agreed_kind(newest, shape)?;
    let data_offset = newest.data_offset;
    if data_offset > shape.room {
        return Err(Refusal::corrupt("the data of its sides begins after the room for reshaping"));
    }
    let has_failed = |position| {
        let mut last = states().filter(|state| state.events == newest.events);
        last.any(|state| state.has_failed(position))
    };
    let late = states().filter(|state| state.events < newest.events).count();
    let is_late_spare = newest.is_synced && late <= bearable(kind, sides.len());
    if !is_late_spare {
        doubt_late(sides, built, known, newest.events);
    }
    for (position, ((side, built), known)) in sides.iter().zip(built).zip(known).enumerate() {
        let image = &side.image;
        let stale = match known {
            Known::Nothing => Some(format!("the side {image} has no metadata of the RAID")),
            Known::Unreadable(reason) => {
                Some(format!("the metadata of the side {image} cannot be read: {reason}"))
            }
            Known::State(state)
                if state.events.saturating_add(1) < newest.events
                    || (state.events < newest.events && is_late_spare) =>
            {
                Some(format!(
                    "the side {image} is stale (event {}, the RAID is at {})",
                    state.events, newest.events
                ))
            }
            Known::State(_) if has_failed(position) => Some(format!("the side {image} had failed")),
            Known::State(state) if state.recovered.is_some() => {
                built.recovered = built.recovered.or(state.recovered);
                Some(format!("the side {image} was being rebuilt"))
            }
            Known::State(state)
                if kind != RaidKind::Raid1
                    && u32::try_from(position).ok() != Some(state.position) =>
            {
                return Err(Refusal::corrupt(format!(
                    "the side {image} says that it is side {} of the RAID, not {position}",
                    state.position
                )));
            }
            Known::State(state) if state.data_offset != data_offset => {
                Some(format!("the data of the side {image} begins elsewhere"))
            }
            Known::State(_) => None,
        };
        // The bytes of RAID-0 are there once, so that all of them are current.
        if kind != RaidKind::Raid0 {
            built.stale = built.stale.take().or(stale);
        }
    }
    Ok(State { kind, is_synced: shape.is_synced && newest.is_synced, data_offset })
}

/// The kind of the RAID, if the group and the side `state` agree about it.
fn agreed_kind(state: &Superblock, shape: &RaidShape) -> Built<RaidKind> {
    let found = (state.level, state.layout);
    let kind = match (shape.kind, found) {
        (RaidKind::Raid4, (5, 4)) => RaidKind::Raid5(Raid5Layout::ParityFirst),
        (RaidKind::Raid4, (5, 5)) => RaidKind::Raid5(Raid5Layout::ParityLast),
        (kind, found) if is_kind(kind, found) => kind,
        (_, (level, layout)) => {
            return Err(Refusal::corrupt(format!(
                "its sides are of a RAID of level {level} and layout {layout}, the group says another"
            )));
        }
    };
    if kind != RaidKind::Raid1 && state.chunk != shape.chunk {
        return Err(Refusal::corrupt(format!(
            "its sides have chunks of {} bytes, the group says {}",
            state.chunk, shape.chunk
        )));
    }
    Ok(kind)
}

/// Whether level and layout are those that Linux has for `kind` (`drivers/md/raid5.h`, `raid10.c`).
fn is_kind(kind: RaidKind, (level, layout): (u32, u32)) -> bool {
    let rotation = |layout: Raid5Layout| match layout {
        Raid5Layout::LeftAsymmetric => 0,
        Raid5Layout::RightAsymmetric => 1,
        Raid5Layout::LeftSymmetric => 2,
        Raid5Layout::RightSymmetric => 3,
        Raid5Layout::ParityFirst => 4,
        Raid5Layout::ParityLast => 5,
    };
    match kind {
        RaidKind::Raid0 => level == 0,
        RaidKind::Raid1 => level == 1,
        RaidKind::Raid4 => false,
        RaidKind::Raid5(own) => (level, layout) == (5, rotation(own)),
        RaidKind::Raid6(own) => {
            let own = match own {
                Raid6Layout::ZeroRestart => 8,
                Raid6Layout::NRestart => 9,
                Raid6Layout::NContinue => 10,
                Raid6Layout::LeftAsymmetric => 0,
                Raid6Layout::RightAsymmetric => 1,
                Raid6Layout::LeftSymmetric => 2,
                Raid6Layout::RightSymmetric => 3,
                Raid6Layout::ParityLast => 5,
                Raid6Layout::AndLast(own) => rotation(own).saturating_add(16),
                // LVM has no name for it.
                Raid6Layout::ParityFirst => return false,
            };
            (level, layout) == (6, own)
        }
        // Near copies in the low byte, one far copy in the next.
        RaidKind::Raid10(copies) => {
            level == 10 && u64::from(layout) == copies.saturating_add(0x100)
        }
    }
}

/// The first `size` bytes of `device`.
fn of_size(device: &Arc<dyn BlockDevice>, size: u64) -> Built<Arc<dyn BlockDevice>> {
    if device.size() == size {
        return Ok(device.clone());
    }
    let short = |_| Refusal::corrupt("a side of the RAID is too small");
    Ok(Arc::new(Slice::part(device.clone(), 0, size).map_err(short)?))
}

/// Sides that hold the same: the good ones are read; without one, the first that is there.
fn mirrored(mut sides: Vec<Side>, size: u64) -> Built<Body> {
    let good = sides.iter().filter(|side| side.is_good()).count();
    let all = sides.len();
    // What is being rebuilt is nothing yet.
    let is_usable = |side: &Side| side.is_there() && side.recovered.is_none();
    let chosen = sides.iter().position(|side| good == 0 && is_usable(side));
    let has_stale = |side: &Side| side.stale.is_some() || side.body.is_stale();
    for (number, side) in sides.iter_mut().enumerate() {
        side.body.parts.iter_mut().for_each(|part| part.plex = number);
        match chosen {
            Some(chosen) if chosen == number => side.use_though_stale(),
            // What is missing is told by the group.
            _ if has_stale(side) && side.is_there() => side.withhold(),
            _ => {}
        }
    }
    let health = match (good == all, good > 0 || chosen.is_some()) {
        (true, _) => Health::Healthy,
        (false, true) => Health::Degraded,
        (false, false) => Health::Failed,
    };
    let order = |side: &&Side| side.body.health == Health::Failed;
    let mut ordered: Vec<&Side> = sides.iter().collect();
    ordered.sort_by_key(order);
    let devices: Built<Vec<_>> =
        ordered.into_iter().map(|side| of_size(&side.body.device, size)).collect();
    let mirror = Arc::new(Mirror::new(devices?, size)?);
    let mut body = Body::plain(Arc::new(Mapped::over(mirror.clone())), Layout::Mirrored);
    for side in &sides {
        body.take(&side.body);
    }
    body.plexes = all;
    body.health = health;
    body.is_raid = true;
    body.redundant.push((0, mirror));
    Ok(body)
}

/// Sides side by side.
fn striped(sides: Vec<Side>, shape: &RaidShape) -> Built<Body> {
    let devices = sides.iter().map(|side| side.body.device.clone()).collect();
    let stripe = Stripe::new(devices, shape.chunk, shape.size)?;
    let mut body = Body::plain(Arc::new(Mapped::new(stripe)), Layout::Striped);
    body.columns = Some(sides.len());
    body.chunk = Some(shape.chunk);
    for (column, mut side) in sides.into_iter().enumerate() {
        side.body.parts.iter_mut().for_each(|part| part.column = column);
        body.take(&side.body);
    }
    Ok(body)
}

/// Mirrors of `copies` sides each, side by side.
fn striped_mirrors(mut sides: Vec<Side>, copies: u64, shape: &RaidShape) -> Built<Body> {
    let count = byte_count(sides.len());
    let columns =
        count.checked_div(copies).filter(|columns| columns.checked_mul(copies) == Some(count));
    let Some(columns) = columns.filter(|columns| *columns > 0) else {
        let line =
            format!("its RAID-10 has {count} sides, which is no multiple of {copies} copies");
        return Err(Refusal::unsupported(line));
    };
    withhold_stale(&mut sides);
    // A column has whole chunks, of which the last may be used in part.
    let rows = shape.size.div_ceil(columns).checked_next_multiple_of(shape.chunk.max(1));
    let column_size = rows.ok_or_else(|| Refusal::corrupt("it is too large"))?;
    let mut sides = sides.into_iter();
    let (mut bodies, mut devices) = (Vec::new(), Vec::new());
    for _ in 0..columns {
        let mut own: Vec<Side> =
            sides.by_ref().take(usize::try_from(copies).unwrap_or(0)).collect();
        if !shape.is_synced {
            keep_first(&mut own);
        }
        let body = mirrored(own, column_size)?;
        devices.push(body.device.clone());
        bodies.push(body);
    }
    let stripe = Stripe::new(devices, shape.chunk, shape.size)?;
    let mut body = Body::plain(Arc::new(Mapped::new(stripe)), Layout::Raid10);
    for (column, mut inner) in bodies.into_iter().enumerate() {
        inner.parts.iter_mut().for_each(|part| part.column = column);
        body.take(&inner);
    }
    body.plexes = usize::try_from(copies).unwrap_or(0);
    body.columns = usize::try_from(columns).ok();
    body.chunk = Some(shape.chunk);
    Ok(body)
}

/// The sides were never made to agree: all but the first are stale.
fn keep_first(sides: &mut [Side]) {
    for side in sides.iter_mut().skip(1) {
        let line = "the sides of the RAID were not in sync yet".to_owned();
        side.stale.get_or_insert(line);
    }
}

/// How much parity there is, and where.
enum Parity {
    One(Raid5Layout),
    Two(Raid6Layout),
}

/// Sides with parity. A stale one is as good as none. In `unsettled` regions writes were going on, so that
/// what is rebuilt there may be wrong.
fn parity(mut sides: Vec<Side>, shape: &RaidShape, parity: Parity, unsettled: u64) -> Built<Body> {
    if !withhold_stale(&mut sides) {
        for side in sides.iter_mut().filter(|side| side.is_there()) {
            match side.recovered {
                Some(_) => side.withhold(),
                None => side.use_though_stale(),
            }
        }
    }
    let lost = sides.iter().filter(|side| side.body.health != Health::Healthy).count();
    let current: Vec<bool> =
        sides.iter().map(|side| shape.is_synced && !side.body.is_stale()).collect();
    let is_current = current.iter().all(|current| *current);
    let devices = sides.iter().map(|side| side.body.device.clone()).collect();
    let (device, redundant, layout, bearable): (Arc<dyn BlockDevice>, Arc<dyn Redundancy>, _, _) =
        match parity {
            Parity::One(layout) => {
                let raid = Raid5::new(devices, shape.chunk, shape.size)?.with_layout(layout);
                let raid = Arc::new(raid.with_current(current));
                let is_raid4 = layout == Raid5Layout::ParityFirst;
                let name = if is_raid4 { Layout::Raid4 } else { Layout::Raid5 };
                (Arc::new(Mapped::over(raid.clone())), raid, name, 1)
            }
            Parity::Two(layout) => {
                let raid = Raid6::new(devices, layout, shape.chunk, shape.size)?;
                let raid = Arc::new(raid.with_current(current));
                (Arc::new(Mapped::over(raid.clone())), raid, Layout::Raid6, 2)
            }
        };
    let mut body = Body::plain(device, layout);
    body.columns = Some(sides.len());
    body.chunk = Some(shape.chunk);
    for (column, mut side) in sides.into_iter().enumerate() {
        side.body.parts.iter_mut().for_each(|part| part.column = column);
        body.take(&side.body);
    }
    if !shape.is_synced {
        body.doubt("data and parity were not in sync yet, so that nothing is rebuilt".into());
    }
    if lost > 0 && is_current && unsettled > 0 {
        body.doubt(format!(
            "writes were going on in {unsettled} regions, and what is rebuilt there may be wrong"
        ));
    }
    body.health = match lost {
        0 => Health::Healthy,
        lost if lost <= bearable && is_current => Health::Degraded,
        _ => Health::Failed,
    };
    body.is_raid = true;
    body.redundant.push((0, redundant));
    Ok(body)
}
