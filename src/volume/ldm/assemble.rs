//! Joining the disks of one group: which copy of the database holds, and who is missing.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use super::build::{Builder, Member, Stale};
use super::database::Database;
use super::disk::{DatabaseCopy, DynamicDisk, read_copy};
use super::plan::{Plan, plans};
use super::problems::Problems;
use super::vmdb::State;
use crate::volume::{Health, Region, Volume, basic};
use volfold_block::{Finding, Severity, code};

/// One content of the database, and who has it.
struct Variant {
    /// Indices of members.
    members: Vec<usize>,
    database: Database,
    plans: BTreeMap<u64, Plan>,
}

/// The volumes of the group whose disks are `regions`.
///
/// Disks that the newest database does not know (moved away, or made anew in another machine) are a
/// set of their own, by their own databases.
pub(super) fn assemble(regions: &[Region], findings: &mut Vec<Finding>) -> Vec<Volume> {
    let (mut volumes, mut foreign) = assemble_newest(regions, false, findings);
    let mut left = regions.len();
    // Each round takes at least one disk away.
    while !foreign.is_empty() && foreign.len() < left {
        left = foreign.len();
        let (more, rest) = assemble_newest(&foreign, true, findings);
        // What lies on other disks alone is of the sets that were shown before.
        volumes.extend(more.into_iter().filter(|volume| !volume.extents.is_empty()));
        foreign = rest;
    }
    volumes
}

/// The volumes by the newest database of `regions`, and the disks that it does not know.
fn assemble_newest(
    regions: &[Region],
    is_apart: bool,
    findings: &mut Vec<Finding>,
) -> (Vec<Volume>, Vec<Region>) {
    let mut about = Vec::new();
    let (mut members, mut copies) = read_members(regions, &mut about);
    // Of disks apart all this was told at the first look.
    if !is_apart {
        findings.append(&mut about);
    }
    let Some(newest) = newest(&copies) else {
        for member in &members {
            let line = format!(
                "disk is dynamic, of group {}, and no copy of the group's database can be used; \
                 give the other disks of the group",
                member.header.group_name
            );
            findings.push(Finding::error(code::LDM_NO_DATABASE, line).on_disk(member.region.disk));
        }
        return (Vec::new(), Vec::new());
    };
    let variants = variants(&members, &copies, newest, findings);
    let Some(chosen) = variants.iter().max_by_key(|variant| rank(variant)) else {
        return (Vec::new(), Vec::new());
    };
    report_foreign(&members, &chosen.database, findings);
    let foreign = take_foreign(&mut members, &mut copies, &variants, newest);
    mark_stale(&mut members, &copies, newest, &chosen.database, findings);
    refuse_duplicates(&mut members, findings);
    let plans = agree(&variants);
    let mut volumes: Vec<Volume> = plans
        .values()
        .map(|plan| Builder { members: &members, plan, findings: &mut *findings }.build())
        .collect();
    if !is_apart {
        report_missing(&members, &chosen.database, &plans, &volumes, findings);
    }
    volumes.sort_by_cached_key(|volume| {
        let first = volume.extents.iter().map(|extent| (extent.disk, extent.offset)).min();
        (first.is_none(), first, volume.id.clone())
    });
    (volumes, foreign)
}

/// Takes away the members that no database of the transaction `newest` knows, unless none is known.
/// One that holds such a database is of today, whatever became of its name in it.
fn take_foreign(
    members: &mut Vec<Member<'_>>,
    copies: &mut Vec<Option<DatabaseCopy>>,
    variants: &[Variant],
    newest: u64,
) -> Vec<Region> {
    let disks = variants.iter().flat_map(|variant| variant.database.disks.values());
    let guids: BTreeSet<&str> = disks.map(|disk| disk.guid.as_str()).collect();
    let is_current = |copy: &Option<DatabaseCopy>| {
        copy.as_ref().is_some_and(|copy| copy.vmdb.transaction() == newest)
    };
    let knows = |member: &Member<'_>| guids.contains(member.header.disk_guid.as_str());
    if !members.iter().any(knows) {
        return Vec::new();
    }
    let known: Vec<bool> = members
        .iter()
        .zip(copies.iter())
        .map(|(member, copy)| knows(member) || is_current(copy))
        .collect();
    let foreign = members.iter().zip(&known).filter(|(_, known)| !**known);
    let foreign = foreign.map(|(member, _)| member.region.clone()).collect();
    let mut keep = known.iter().copied();
    members.retain(|_| keep.next().unwrap_or(true));
    let mut keep = known.iter().copied();
    copies.retain(|_| keep.next().unwrap_or(true));
    foreign
}

/// Reads the header and the copy of the database of each disk.
fn read_members<'a>(
    regions: &'a [Region],
    findings: &mut Vec<Finding>,
) -> (Vec<Member<'a>>, Vec<Option<DatabaseCopy>>) {
    let (mut members, mut copies) = (Vec::new(), Vec::<Option<DatabaseCopy>>::new());
    for region in regions {
        let mut about = Vec::new();
        // The claim read the same and could; what cannot be read now is not a member.
        if let Some(found) = DynamicDisk::find(&*region.device) {
            about.extend(found.findings);
            match found.header {
                Some(header) => {
                    let mut copy = read_copy(&region.device, &header, &mut about);
                    if let Some(copy) = &mut copy {
                        let same = copies.iter().flatten().find(|one| one.bytes == copy.bytes);
                        copy.bytes = same.map_or(copy.bytes.clone(), |one| one.bytes.clone());
                    }
                    copies.push(copy);
                    members.push(Member { region, header, withheld: None, stale: None });
                }
                None => about.push(Finding::error(
                    code::LDM_NO_HEADER,
                    "disk is dynamic and has no valid private header: its volumes cannot be told, and \
                     its partitions are shown as they are",
                )),
            }
        }
        findings.extend(about.into_iter().map(|finding| finding.on_disk(region.disk)));
    }
    (members, copies)
}

fn is_usable(copy: &DatabaseCopy) -> bool {
    !matches!(copy.vmdb.state, State::Other(_))
}

/// The newest transaction of the copies; those marked as not usable count if there are no others.
fn newest(copies: &[Option<DatabaseCopy>]) -> Option<u64> {
    let all = || copies.iter().flatten();
    let usable = all().filter(|copy| is_usable(copy)).map(|copy| copy.vmdb.transaction()).max();
    usable.or_else(|| all().map(|copy| copy.vmdb.transaction()).max())
}

/// How much a variant is to be believed.
fn rank(variant: &Variant) -> (usize, Reverse<usize>, Reverse<usize>) {
    let first = variant.members.first().copied().unwrap_or(usize::MAX);
    (variant.members.len(), Reverse(variant.database.problems.count()), Reverse(first))
}

/// The different contents of the copies of transaction `newest`.
fn variants(
    members: &[Member<'_>],
    copies: &[Option<DatabaseCopy>],
    newest: u64,
    findings: &mut Vec<Finding>,
) -> Vec<Variant> {
    let current = |copy: &&DatabaseCopy| copy.vmdb.transaction() == newest;
    let any_usable = copies.iter().flatten().filter(current).any(is_usable);
    let mut groups: Vec<(&DatabaseCopy, Vec<usize>)> = Vec::new();
    for (index, (member, copy)) in members.iter().zip(copies).enumerate() {
        let Some(copy) = copy.as_ref().filter(current) else {
            continue;
        };
        report_state(member, copy, findings);
        if any_usable && !is_usable(copy) {
            continue;
        }
        let same = |known: &DatabaseCopy| known.vmdb == copy.vmdb && blocks(known) == blocks(copy);
        match groups.iter_mut().find(|(known, _)| same(known)) {
            Some((_, holders)) => holders.push(index),
            None => groups.push((copy, vec![index])),
        }
    }
    let variants: Vec<Variant> = groups
        .into_iter()
        .map(|(copy, holders)| {
            let mut database = Database::parse(&copy.vmdb, &copy.bytes);
            let mut problems = std::mem::take(&mut database.problems);
            let plans = plans(&database, &mut problems);
            database.problems = problems;
            Variant { members: holders, database, plans }
        })
        .collect();
    report_variants(members, &variants, findings);
    variants
}

fn blocks(copy: &DatabaseCopy) -> Option<&[u8]> {
    copy.bytes.get(copy.vmdb.header_size..copy.vmdb.size)
}

/// Says what an unfinished update left on one disk.
fn report_state(member: &Member<'_>, copy: &DatabaseCopy, findings: &mut Vec<Finding>) {
    let disk = member.region.disk;
    let line = match copy.vmdb.state {
        State::Clean => None,
        State::Change => Some("an update was being prepared; the state before it is used".into()),
        State::Commit => Some("an update was not finished; the state after it is used".into()),
        State::Other(4) => Some("the last update was taken back".to_owned()),
        State::Other(6) => Some("it is marked as stale".to_owned()),
        State::Other(state) => Some(format!("its state is {state}")),
    };
    if let Some(line) = line {
        let line = format!("the disk's copy of the database: {line}");
        findings.push(Finding::warning(code::LDM_UPDATE_UNFINISHED, line).on_disk(disk));
    } else if copy.vmdb.pending != copy.vmdb.committed {
        let line = format!(
            "the disk's copy of the database is clean at transaction {} and speaks of {}",
            copy.vmdb.committed, copy.vmdb.pending
        );
        findings.push(Finding::warning(code::LDM_UPDATE_UNFINISHED, line).on_disk(disk));
    }
    if copy.is_log_dirty {
        let line = "the log has entries that are not committed: the sides of a mirror, or data and \
                    parity, may differ; compare them with `volfold list --verify`";
        findings.push(Finding::warning(code::LDM_LOG_DIRTY, line).on_disk(disk));
    }
    if copy.vmdb.group_guid != member.header.group_guid {
        let line = "private header and database are of two groups";
        findings.push(Finding::warning(code::LDM_DATABASE_DAMAGED, line).on_disk(disk));
    }
}

fn report_variants(members: &[Member<'_>], variants: &[Variant], findings: &mut Vec<Finding>) {
    let disks = |variant: &Variant| {
        let names: Vec<String> = variant
            .members
            .iter()
            .filter_map(|index| members.get(*index))
            .map(|member| basic::disk_name(member.region))
            .collect();
        names.join(", ")
    };
    for variant in variants {
        if let Some(problems) = variant.database.problems.sentence() {
            let line = format!("the database on {} is damaged: {problems}", disks(variant));
            findings.push(Finding::warning(code::LDM_DATABASE_DAMAGED, line));
        }
    }
    if variants.len() > 1 {
        let sides: Vec<String> = variants.iter().map(disks).collect();
        let line = format!(
            "the copies of the database differ, though they are of one transaction: {}",
            sides.join(" against ")
        );
        findings.push(Finding::warning(code::LDM_COPIES_DIFFER, line));
    }
}

/// A disk whose copy is older was not there when the group changed last.
fn mark_stale(
    members: &mut [Member<'_>],
    copies: &[Option<DatabaseCopy>],
    newest: u64,
    database: &Database,
    findings: &mut Vec<Finding>,
) {
    let all_hold_copies = database.group.as_ref().is_none_or(|group| group.all_configs);
    for (member, copy) in members.iter_mut().zip(copies) {
        let Some(copy) = copy else { continue };
        let own = copy.vmdb.transaction().max(copy.vmdb.pending);
        if own >= newest {
            continue;
        }
        let line = format!(
            "disk is stale: its copy of the database is of transaction {own}, the group's is of \
             {newest}"
        );
        let severity = if all_hold_copies {
            let reason = format!("is stale (transaction {own}, the group is at {newest})");
            let database = Database::parse(&copy.vmdb, &copy.bytes);
            let own_plans = plans(&database, &mut Problems::default()).into_values().collect();
            member.stale = Some(Stale { reason, transaction: own, plans: own_plans });
            Severity::Warning
        } else {
            Severity::Info
        };
        let disk = member.region.disk;
        findings.push(Finding::new(severity, code::LDM_STALE_DISK, line).on_disk(disk));
    }
}

/// Two images of one disk: it is not known which is right, so neither is read.
fn refuse_duplicates(members: &mut [Member<'_>], findings: &mut Vec<Finding>) {
    let mut by_guid: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for member in members.iter() {
        let labels = by_guid.entry(member.header.disk_guid.clone()).or_default();
        labels.push(member.region.label.to_string());
    }
    for (guid, labels) in by_guid.iter().filter(|(_, labels)| labels.len() > 1) {
        let line = format!(
            "{} are images of one disk ({guid}), a copy or a snapshot: none of them is used; give \
             only one",
            labels.join(" and ")
        );
        findings.push(Finding::error(code::LDM_DUPLICATE_DISK, line));
    }
    for member in members.iter_mut() {
        let labels = by_guid.get(&member.header.disk_guid).filter(|labels| labels.len() > 1);
        member.withheld = labels.map(|labels| format!("is given twice: {}", labels.join(" and ")));
    }
}

fn report_foreign(members: &[Member<'_>], database: &Database, findings: &mut Vec<Finding>) {
    let known: BTreeSet<&str> = database.disks.values().map(|disk| disk.guid.as_str()).collect();
    for member in members.iter().filter(|one| !known.contains(one.header.disk_guid.as_str())) {
        let line = format!(
            "disk says that it belongs to group {}, whose newest database does not know it: it was \
             moved away or is left from before; what its own database has is shown apart",
            member.header.group_name
        );
        findings.push(Finding::warning(code::LDM_FOREIGN_DISK, line).on_disk(member.region.disk));
    }
}

/// One geometry of a volume, or its absence, and the copies that hold it.
struct Opinion<'a> {
    plan: Option<&'a Plan>,
    weight: usize,
    problems: usize,
    /// The weight of the variant that `plan` is of: names may differ where places do not.
    of_plan: usize,
}

impl Opinion<'_> {
    /// How much it is to be believed.
    fn rank(&self) -> (bool, usize, Reverse<usize>) {
        let good = self.plan.is_some_and(|plan| plan.refused.is_none());
        (good, self.weight, Reverse(self.problems))
    }
}

/// What the variants say of volume `id`, the most believable first.
fn opinions(variants: &[Variant], id: u64) -> Vec<Opinion<'_>> {
    let mut opinions: Vec<Opinion<'_>> = Vec::new();
    for variant in variants {
        let plan = variant.plans.get(&id);
        let (weight, problems) = (variant.members.len(), variant.database.problems.count());
        let same = |known: &&mut Opinion<'_>| match (known.plan, plan) {
            (Some(known), Some(plan)) => known.same_geometry(plan),
            (known, plan) => known.is_none() && plan.is_none(),
        };
        match opinions.iter_mut().find(same) {
            Some(known) => {
                if (weight, Reverse(problems)) > (known.of_plan, Reverse(known.problems)) {
                    known.plan = plan;
                    known.of_plan = weight;
                }
                known.weight = known.weight.saturating_add(weight);
                known.problems = problems.min(known.problems);
            }
            None => opinions.push(Opinion { plan, weight, problems, of_plan: weight }),
        }
    }
    opinions.sort_by_key(|opinion| Reverse(opinion.rank()));
    opinions
}

/// The plan of each volume that most copies hold; one in dispute is refused.
fn agree(variants: &[Variant]) -> BTreeMap<u64, Plan> {
    let ids: BTreeSet<u64> = variants.iter().flat_map(|one| one.plans.keys().copied()).collect();
    let mut agreed = BTreeMap::new();
    for id in ids {
        let opinions = opinions(variants, id);
        let Some(Opinion { plan: Some(plan), .. }) = opinions.first() else {
            continue;
        };
        let mut plan = (*plan).clone();
        if let [first, second, ..] = opinions.as_slice()
            && first.rank() == second.rank()
        {
            let reason = "the copies of the database disagree about it, and none has a majority";
            plan.refused.get_or_insert_with(|| reason.to_owned());
        }
        agreed.insert(id, plan);
    }
    same_places(&mut agreed);
    agreed
}

/// Volumes that different copies contribute may still claim the same sectors.
fn same_places(plans: &mut BTreeMap<u64, Plan>) {
    let mut places: Vec<(String, u64, u64, u64)> = Vec::new();
    for (id, plan) in plans.iter() {
        for part in plan.plexes.iter().flat_map(|plex| plex.columns.iter().flatten()) {
            let end = part.start.saturating_add(part.size);
            places.push((part.disk_guid.clone(), part.start, end, *id));
        }
    }
    places.sort();
    let mut guilty = BTreeSet::new();
    let mut furthest: Option<&(String, u64, u64, u64)> = None;
    for place in &places {
        let before = furthest.filter(|before| before.0 == place.0);
        if let Some(before) = before.filter(|before| place.1 < before.2) {
            guilty.extend([before.3, place.3]);
        }
        if before.is_none_or(|before| place.2 > before.2) {
            furthest = Some(place);
        }
    }
    for id in guilty {
        if let Some(plan) = plans.get_mut(&id) {
            let reason = "another volume lies on the same sectors";
            plan.refused.get_or_insert_with(|| reason.to_owned());
        }
    }
}

/// Names the disks that are not there, and the volumes that miss them.
fn report_missing(
    members: &[Member<'_>],
    database: &Database,
    plans: &BTreeMap<u64, Plan>,
    volumes: &[Volume],
    findings: &mut Vec<Finding>,
) {
    /// Names of volumes in one sentence.
    const NAMED: usize = 8;

    let present: BTreeSet<&str> =
        members.iter().map(|member| member.header.disk_guid.as_str()).collect();
    let group = members.first().map(|member| member.header.group_name.as_str()).unwrap_or_default();
    let failed = volumes.iter().filter(|volume| volume.health == Health::Failed);
    let failed: BTreeSet<&str> = failed.map(|volume| volume.id.0.as_str()).collect();
    let mut needing: BTreeMap<&str, BTreeMap<&str, bool>> = BTreeMap::new();
    for plan in plans.values() {
        let is_failed = failed.contains(format!("ldm:{}", plan.guid).as_str());
        for part in plan.plexes.iter().flat_map(|plex| plex.columns.iter().flatten()) {
            needing.entry(&part.disk_guid).or_default().insert(&plan.name, is_failed);
        }
    }
    let missing = database.disks.values().filter(|disk| !present.contains(disk.guid.as_str()));
    for disk in missing {
        let needing = needing.get(disk.guid.as_str());
        let names: Vec<&str> = needing.into_iter().flat_map(|map| map.keys().copied()).collect();
        let any_failed = needing.is_some_and(|map| map.values().any(|failed| *failed));
        let severity = match (names.is_empty(), any_failed) {
            (true, _) => Severity::Info,
            (false, false) => Severity::Warning,
            (false, true) => Severity::Error,
        };
        let shown = names.iter().take(NAMED).copied().collect::<Vec<_>>().join(", ");
        let wanted = match names.len().checked_sub(NAMED) {
            _ if names.is_empty() => "no volume lies on it".to_owned(),
            None | Some(0) => format!("it holds parts of {shown}; give its image with the others"),
            Some(more) => {
                format!("it holds parts of {shown} and {more} more; give its image with the others")
            }
        };
        let line = format!(
            "disk {} ({}) of group {group} is missing: {wanted}",
            disk.common.name, disk.guid
        );
        findings.push(Finding::new(severity, code::LDM_MISSING_DISK, line));
    }
}
