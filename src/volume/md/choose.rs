//! Which devices of an array count: those of one time that agree about it.

use std::collections::BTreeMap;

use volfold_block::{Finding, code};

use super::member::Member;
use super::superblock::{FEATURE_REPLACEMENT, FEATURE_RESHAPE, Role, Shape, Superblock};

/// The devices of an array, and what they say of it.
pub(super) struct Chosen<'a, 'b> {
    /// The superblock that counts.
    pub(super) newest: &'b Superblock,
    /// By the numbers of the columns.
    pub(super) columns: Vec<Place<'a, 'b>>,
    /// The devices that keep the journal.
    pub(super) journals: Vec<&'b Member<'a>>,
    /// Bytes of each device that are in sync by all of the newest superblocks; `None`: all.
    pub(super) synced: Option<u64>,
    /// The devices that are one event behind, by what they are called.
    pub(super) late: Vec<String>,
    /// Why nothing of the array is to be read, if so.
    pub(super) dispute: Option<String>,
}

/// What becomes of devices that are one event behind. Superblocks are written one after the other, so a machine
/// that stopped may have left them so, and their bytes are as new as those of the others; disks that were copied
/// one after the other look the same, and theirs are not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Late {
    Read,
    Withheld,
}

/// What is there for a column.
#[derive(Default)]
pub(super) struct Place<'a, 'b> {
    /// The device that is read.
    pub(super) member: Option<&'b Member<'a>>,
    /// A device that is there and must not be read, and why: a sentence without its object.
    pub(super) withheld: Option<(&'b Member<'a>, String)>,
    /// The bytes of the data of its device, if a superblock says so: only its own does.
    pub(super) size: Option<u64>,
}

/// LIMIT: columns, as many as a superblock has room for.
const MAX_COLUMNS: u32 = 1920;

/// Chooses among `members`, which say that they are of one array with at most `room` columns. `None` if none
/// of them has a column.
pub(super) fn choose<'a, 'b>(
    members: &'b [Member<'a>],
    room: usize,
    late: Late,
    findings: &mut Vec<Finding>,
) -> Option<Chosen<'a, 'b>> {
    let active: Vec<&'b Member<'a>> = members.iter().filter(|it| column(it).is_some()).collect();
    let events = active.iter().map(|member| member.superblock.events).max()?;
    let newest: Vec<&'b Member<'a>> =
        active.iter().copied().filter(|member| member.superblock.events == events).collect();
    let (shape, is_disputed) = agreed_shape(&newest)?;
    let of_shape = || newest.iter().filter(|member| member.superblock.shape == *shape);
    // What each of them says of all: a device cannot be of the newest time and have failed before.
    let said: Vec<(&Member<'a>, Vec<bool>)> = of_shape()
        .map(|member| (*member, of_shape().map(|other| knows(&member.superblock, other)).collect()))
        .collect();
    let mut sides: BTreeMap<&[bool], usize> = BTreeMap::new();
    for (_, said) in &said {
        let count = sides.entry(said).or_default();
        *count = count.saturating_add(1);
    }
    let votes = |said: &[bool]| sides.get(said).copied().unwrap_or(0);
    let (reference, own) = said.iter().min_by_key(|(member, said)| {
        (std::cmp::Reverse(votes(said)), member.superblock.number, member.what())
    })?;
    let has_most = votes(own).saturating_mul(2) > said.len();
    let reference = &reference.superblock;
    let rejected = said.iter().find(|(_, said)| !has_most && said.contains(&false));
    let mut dispute = None;
    if let Some((other, _)) = rejected {
        let line = format!(
            "its devices are of one time (event {events}) and say of each other that they failed, as \
             {} does: they were written to apart; give only those of one side",
            other.what()
        );
        dispute = Some(line);
    }
    if is_disputed {
        let line = format!(
            "its devices are of one time (event {events}) and do not agree about level, layout or sizes"
        );
        dispute.get_or_insert(line);
    }
    let synced = of_shape().filter_map(|member| member.superblock.synced).min();
    let keeps = |member: &&Member<'a>| member.superblock.role() == Role::Journal;
    let journals = members.iter().filter(keeps).collect();
    let mut count = reference.shape.raid_disks.min(MAX_COLUMNS);
    if usize::try_from(count).is_ok_and(|count| count > room) {
        dispute = Some("the arrays of the set have too many devices together".to_owned());
        count = 0;
    }
    let behind = active.iter().filter(|member| is_late(member, reference));
    let behind = behind.map(|member| member.what()).collect();
    let columns =
        (0..count).map(|number| place(number, &active, (reference, late), findings)).collect();
    report_others(members, &active, reference, findings);
    Some(Chosen { newest: reference, columns, journals, synced, late: behind, dispute })
}

/// The column that `member` says it has.
fn column(member: &Member<'_>) -> Option<u32> {
    match member.superblock.role() {
        Role::Active(column) => Some(column),
        _ => None,
    }
}

/// The shape that most of `members` have, and whether as many have another one.
fn agreed_shape<'b>(members: &[&'b Member<'_>]) -> Option<(&'b Shape, bool)> {
    let mut holders: BTreeMap<&Shape, usize> = BTreeMap::new();
    for member in members {
        let count = holders.entry(&member.superblock.shape).or_default();
        *count = count.saturating_add(1);
    }
    let most = holders.values().copied().max()?;
    let mut held = holders.into_iter().filter(|(_, count)| *count == most);
    let (shape, _) = held.next()?;
    Some((shape, held.next().is_some()))
}

/// Whether `superblock` has `member` in the column that it says itself.
fn knows(superblock: &Superblock, member: &Member<'_>) -> bool {
    superblock.role_of(member.superblock.number) == member.superblock.role()
}

/// Whether `member` is one event behind and read by all else.
fn is_late(member: &Member<'_>, newest: &Superblock) -> bool {
    member.superblock.events < newest.events && rejection(member, newest, Late::Read).is_none()
}

/// Why `member` is not read, by the newest superblock.
fn rejection(member: &Member<'_>, newest: &Superblock, late: Late) -> Option<String> {
    let own = &member.superblock;
    let behind = newest.events.saturating_sub(own.events);
    // Linux lets a device be one event late.
    if behind > 1 || (behind == 1 && late == Late::Withheld) {
        return Some(format!("is stale (event {}, the array is at {})", own.events, newest.events));
    }
    if own.shape != newest.shape {
        return Some("says that the array has another level, layout or size".to_owned());
    }
    // The data of one that is still being reshaped may begin at another place.
    if own.has(FEATURE_RESHAPE) != newest.has(FEATURE_RESHAPE) {
        return Some("says otherwise whether the array is being reshaped".to_owned());
    }
    match newest.role_of(own.number) {
        role if role == own.role() => None,
        Role::Faulty => Some("had failed, as the other devices say".to_owned()),
        Role::Active(other) => Some(format!("is in column {other}, as the other devices say")),
        _ => Some("was taken out of the array, as the other devices say".to_owned()),
    }
}

/// What there is for the column `number` among the `active` devices.
fn place<'a, 'b>(
    number: u32,
    active: &[&'b Member<'a>],
    (newest, late): (&Superblock, Late),
    findings: &mut Vec<Finding>,
) -> Place<'a, 'b> {
    let mut place = Place::default();
    let (mut own, mut replacements) = (Vec::new(), Vec::new());
    for member in active.iter().copied().filter(|member| column(member) == Some(number)) {
        match rejection(member, newest, late) {
            Some(reason) => {
                let line = format!("{} {reason}, and is not read", member.what());
                let finding = Finding::warning(code::MD_STALE_DEVICE, line);
                findings.push(finding.on_disk(member.region.disk));
                place.withheld.get_or_insert((member, reason));
            }
            None if member.superblock.has(FEATURE_REPLACEMENT) => replacements.push(member),
            None => own.push(member),
        }
    }
    for candidates in [own, replacements] {
        match candidates.as_slice() {
            [] => {}
            [only] => {
                place.member.get_or_insert(only);
            }
            [first, ..] => {
                let names: Vec<String> = candidates.iter().map(|member| member.what()).collect();
                let names = names.join(" and ");
                let line = format!(
                    "{names} are images of one device of an MD array (column {number}), a copy or a \
                     snapshot: none of them is used; give only one"
                );
                findings.push(Finding::error(code::MD_DUPLICATE_DEVICE, line));
                place.withheld = Some((first, format!("is given more than once: {names}")));
            }
        }
    }
    place.size = match place.member {
        Some(member) => Some(member.superblock.data_size),
        None => size_of_withheld(number, active, newest),
    };
    place
}

/// The bytes of the data of the devices in the column `number` that the array still has there, whether they
/// are read or not; `None` if there is none, or they differ.
fn size_of_withheld(number: u32, active: &[&Member<'_>], newest: &Superblock) -> Option<u64> {
    let is_its = |member: &&&Member<'_>| {
        let own = &member.superblock;
        column(member) == Some(number) && own.shape == newest.shape && knows(newest, member)
    };
    let mut sizes = active.iter().filter(is_its).map(|member| member.superblock.data_size);
    let size = sizes.next()?;
    sizes.all(|other| other == size).then_some(size)
}

/// Tells of devices that have no column.
fn report_others(
    members: &[Member<'_>],
    active: &[&Member<'_>],
    newest: &Superblock,
    findings: &mut Vec<Finding>,
) {
    for member in members {
        let own = &member.superblock;
        let what = member.what();
        let line = match own.role() {
            Role::Active(column) if column >= newest.shape.raid_disks.min(MAX_COLUMNS) => {
                format!("{what} says that it is column {column} of an MD array, which has fewer")
            }
            Role::Active(_) => continue,
            Role::Spare => {
                format!("{what} is a spare device of an MD array, and holds nothing of it")
            }
            Role::Faulty => format!("{what} failed in its MD array, and is not read"),
            Role::Journal => format!("{what} keeps the journal of an MD array"),
        };
        let finding = match active.is_empty() {
            true => Finding::warning(code::MD_SPARE, line),
            false => Finding::info(code::MD_SPARE, line),
        };
        findings.push(finding.on_disk(member.region.disk));
    }
}
