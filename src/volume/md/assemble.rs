//! Joining the devices of one array: who is missing, what is refused, and what is shown.

use std::collections::BTreeMap;
use std::sync::Arc;

use volfold_block::{BlockDevice, Finding, Mapped, Severity, code, error_chain};

use super::build::{self, Body, Column, Level};
use super::choose::{Chosen, Late, Place, choose};
use super::find::{self, Found};
use super::journal::Journal;
use super::member::Member;
use super::superblock::{
    FEATURE_CLUSTERED, FEATURE_JOURNAL, FEATURE_RAID0_LAYOUT, FEATURE_RESHAPE, FEATURES, Role,
    Shape, Superblock, Version,
};
use crate::volume::map::Absent;
use crate::volume::refusal::Refusal;
use crate::volume::{
    Health, Membership, MembershipPart, PartState, Region, Volume, VolumeExtent, VolumeId,
    VolumeType,
};

/// LIMIT: columns of all arrays of a set together: what is kept of them stays below 64 MB.
const MAX_COLUMNS: usize = 1 << 16;

/// LIMIT: missing devices of an array that are named.
const MAX_NAMED: usize = 8;

/// The arrays on `regions`, by their UUIDs.
pub(super) fn assemble(regions: &[Region], findings: &mut Vec<Finding>) -> Vec<Volume> {
    let mut arrays: BTreeMap<String, Vec<Member<'_>>> = BTreeMap::new();
    for region in regions {
        let read = match find::find(&*region.device, region.size) {
            Ok(Found::Superblock(superblock)) => Member::read(region, *superblock),
            Ok(Found::Nothing) => continue,
            Ok(Found::Damaged(error)) | Err(error) => Err(error),
        };
        match read {
            Ok(member) => arrays.entry(member.superblock.array.clone()).or_default().push(member),
            Err(error) => {
                let line = format!("device of an MD array cannot be used: {}", error_chain(&error));
                let finding = Finding::error(code::MD_SUPERBLOCK_DAMAGED, line);
                findings.push(finding.on_disk(region.disk));
            }
        }
    }
    let mut room = MAX_COLUMNS;
    let joined = arrays.values().filter_map(|members| join(members, &mut room, findings));
    let mut volumes: Vec<Volume> = joined.collect();
    volumes.sort_by_cached_key(|volume| {
        let first = volume.extents.iter().map(|extent| (extent.disk, extent.offset)).min();
        (first.is_none(), first, volume.id.clone())
    });
    volumes
}

/// The array of `members`; `None` if none of them holds anything of it.
fn join(members: &[Member<'_>], room: &mut usize, findings: &mut Vec<Finding>) -> Option<Volume> {
    let mut about = Vec::new();
    let Some(chosen) = choose(members, *room, Late::Read, &mut about) else {
        for member in members {
            let line = format!(
                "{} is of the MD array {}, and holds nothing of it: a spare device, or one that failed",
                member.what(),
                member.superblock.array
            );
            let finding = Finding::warning(code::MD_SPARE, line);
            findings.push(finding.on_disk(member.region.disk));
        }
        return None;
    };
    let columns = chosen.columns.len();
    let mut volume = None;
    // What is in sync without those that are one event behind needs no doubt.
    if !chosen.late.is_empty() && chosen.synced.is_none() {
        let mut without = Vec::new();
        let chosen = choose(members, *room, Late::Withheld, &mut without)?;
        let found = Array::new(chosen).told(&mut without);
        if found.health != Health::Failed {
            volume = Some(found);
            about = without;
        }
    }
    *room = room.saturating_sub(columns);
    let volume = volume.unwrap_or_else(|| {
        let doubts: Vec<String> = chosen.late.iter().map(|late| late_sentence(late)).collect();
        let mut array = Array::new(chosen);
        array.doubts.extend(doubts);
        array.told(&mut about)
    });
    findings.append(&mut about);
    Some(volume)
}

/// What is told of a device that is one event behind and read: a sentence without its object.
fn late_sentence(late: &str) -> String {
    format!(
        "is read with {late}, which is one event behind the others: the machine stopped just then, or the disks \
         were copied at different times, and parts of two times may be mixed"
    )
}

/// The chosen devices, laid out.
struct Array<'a, 'b> {
    chosen: Chosen<'a, 'b>,
    shape: Shape,
    columns: Vec<Column>,
    parts: Vec<MembershipPart>,
    /// Why the array is not read, if so.
    refusal: Option<Refusal>,
    /// Why what is read may not be what was written last: sentences.
    doubts: Vec<String>,
    level: Option<Level>,
    /// What is newer than the devices, if there is a journal.
    journal: Option<Journal>,
}

impl<'a, 'b> Array<'a, 'b> {
    fn new(chosen: Chosen<'a, 'b>) -> Self {
        let newest = chosen.newest;
        let mut shape = newest.shape.clone();
        if shape.level == 0 && !newest.has(FEATURE_RAID0_LAYOUT) {
            shape.layout = 0;
        }
        let level = Level::of(&shape).and_then(|level| level.check(&shape).map(|()| level));
        let (level, mut refusal) = match level {
            Ok(level) => (Some(level), refusal(&chosen)),
            Err(refusal) => (None, Some(refusal)),
        };
        let mut journal = None;
        if refusal.is_none() && newest.has(FEATURE_JOURNAL) {
            match Journal::read(&chosen.journals, newest.events) {
                Ok(read) => journal = Some(read).filter(|read| !read.is_empty()),
                Err(line) => refusal = Some(line),
            }
        }
        let mut array = Self {
            chosen,
            shape,
            columns: Vec::new(),
            parts: Vec::new(),
            refusal,
            doubts: Vec::new(),
            level,
            journal,
        };
        array.lay_out();
        array
    }

    /// The bytes of the column `number` if all devices give the same number.
    fn column_size(&self, place: &Place<'_, '_>) -> u64 {
        if self.level.is_none_or(Level::is_even) {
            return self.shape.component;
        }
        // Of one that is missing nothing says how many. What is listed is a guess, and nothing is read by it.
        let known = self.chosen.columns.iter().filter_map(|place| place.size);
        place.size.unwrap_or_else(|| known.max().unwrap_or(0))
    }

    fn lay_out(&mut self) {
        let mut columns = Vec::new();
        let mut parts = Vec::new();
        for (number, place) in self.chosen.columns.iter().enumerate() {
            let size = self.column_size(place);
            let (column, part, problem) = column(number, place, size, self.chosen.newest);
            if let Some(line) = problem {
                self.refusal.get_or_insert(Refusal::corrupt(line));
            }
            columns.push(Column { is_sized: place.size.is_some(), ..column });
            parts.push(part);
        }
        (self.columns, self.parts) = (columns, parts);
    }

    /// The bytes, or why they are not read.
    fn body(&mut self) -> Result<Body, Refusal> {
        if let Some(refusal) = self.refusal.take() {
            return Err(refusal);
        }
        let level = self.level.ok_or_else(|| Refusal::unsupported("has no level"))?;
        self.judge_sizes(level)?;
        let newest = self.chosen.newest;
        let journal = self.journal.take();
        // What the journal holds may be on the devices in part.
        let synced = if journal.is_some() { Some(0) } else { self.chosen.synced };
        let mut body = build::body(level, &self.shape, &self.columns, synced)?;
        if let Some(journal) = journal {
            body.device = Arc::new(Mapped::new(journal.over(body.device)?));
            body.redundancy = None;
        }
        self.doubts.extend(self.doubt_of_sync(level, synced, body.size));
        if newest.has(FEATURE_CLUSTERED) {
            let line = "is of a cluster, other machines may have been writing to it";
            self.doubts.push(line.to_owned());
        }
        Ok(body)
    }

    /// What is told where the first `synced` bytes of each device, of `size` bytes of the array, are all that
    /// is in sync: a sentence without its object.
    fn doubt_of_sync(&self, level: Level, synced: Option<u64>, size: u64) -> Option<String> {
        let whole = if matches!(level, Level::Raid10(_)) { size } else { self.shape.component };
        let until = synced.filter(|until| *until < whole)?;
        let is_lost = self.columns.iter().any(|column| !column.is_whole);
        let why = match self.chosen.synced {
            None => "has writes in its journal".to_owned(),
            Some(0) => "was not stopped in order, or was never in sync".to_owned(),
            Some(_) => format!("was in sync up to {until} of {whole} bytes"),
        };
        match level {
            Level::Linear | Level::Raid0 => None,
            Level::Raid1 | Level::Raid10(_) if self.columns.len() < 2 => None,
            Level::Raid1 | Level::Raid10(_) => Some(format!(
                "{why}: its copies may differ, and of each block the first one that is there is read"
            )),
            Level::Raid5(_) | Level::Raid6(_) if is_lost => Some(format!(
                "{why}, so that parity may not fit the data: what its devices lack is not rebuilt"
            )),
            // What the journal holds is read from it, and the rest from the devices.
            Level::Raid5(_) | Level::Raid6(_) if self.chosen.synced.is_none() => None,
            Level::Raid5(_) | Level::Raid6(_) => {
                Some(format!("{why}: parity may not fit the data, and nothing is rebuilt from it"))
            }
        }
    }

    /// Says what is not known where devices of their own size are missing.
    ///
    /// # Errors
    /// If nothing has a place then.
    fn judge_sizes(&mut self, level: Level) -> Result<(), Refusal> {
        let places = &self.chosen.columns;
        if level.is_even() || places.iter().all(|place| place.size.is_some()) {
            return Ok(());
        }
        if level == Level::Linear {
            let line =
                "has a device missing whose size is not known: what follows it cannot be read";
            self.doubts.push(line.to_owned());
            return Ok(());
        }
        Err(Refusal::missing(
            "has a device missing, and no other one says how large it is: where it ends the others go on \
             by themselves, so that no byte has a certain place; give its image with the others",
        ))
    }

    /// The volume; what there is to tell goes to `findings`.
    fn told(self, findings: &mut Vec<Finding>) -> Volume {
        self.report_missing(findings);
        self.report_partial(findings);
        self.volume(findings)
    }

    fn volume(mut self, findings: &mut Vec<Finding>) -> Volume {
        let newest = self.chosen.newest;
        let id = VolumeId(format!("md:{}", newest.array));
        let own = newest.short_name();
        let body = self.body().unwrap_or_else(|refusal| {
            let line = format!("MD array {own} {}", refusal.line);
            let finding = Finding::error(code::MD_VOLUME_REFUSED, line.clone());
            findings.push(finding.on_volume(&id.0));
            let size = self.size_if_refused();
            let device = refusal.device(size, line);
            Body { device, size, health: Health::Failed, redundancy: None }
        });
        for doubt in &self.doubts {
            let line = format!("MD array {own} {doubt}");
            findings.push(Finding::warning(code::MD_VOLUME_DOUBTFUL, line).on_volume(&id.0));
        }
        let extents = self.parts.iter().filter_map(|part| {
            let (disk, offset) = (part.disk?, part.offset?);
            Some(VolumeExtent { disk, offset, length: part.length })
        });
        let is_mirror = self.level == Some(Level::Raid1);
        let has_chunks = !matches!(self.level, None | Some(Level::Raid1 | Level::Linear));
        Volume {
            fallback_name: match newest.version {
                Version::Old => own.clone(),
                _ => format!("md-{own}"),
            },
            hint: None,
            kind: VolumeType::Raid,
            layout: build::layout(&self.shape),
            health: body.health,
            size: body.size,
            device: body.device,
            extents: extents.collect(),
            partition: None,
            membership: Some(Membership {
                group: match newest.version {
                    Version::Old => own.clone(),
                    _ if newest.name.is_empty() => newest.array.clone(),
                    _ => newest.name.clone(),
                },
                group_id: newest.array.clone(),
                name: own,
                plexes: if is_mirror { self.parts.len() } else { 1 },
                columns: has_chunks.then_some(self.parts.len()),
                chunk_size: has_chunks.then_some(self.shape.chunk),
                parts: self.parts,
            }),
            redundancy: body.redundancy,
            lock: None,
            snapshot: None,
            id,
        }
    }

    /// About how large the array is, where it is not read.
    fn size_if_refused(&self) -> u64 {
        let columns = self.columns.iter().map(|column| column.device.size());
        match self.shape.level {
            1 => self.shape.component,
            _ => columns.fold(0, u64::saturating_add),
        }
    }

    /// Names the devices that are read in part.
    fn report_partial(&self, findings: &mut Vec<Finding>) {
        let places = self.chosen.columns.iter().zip(&self.columns);
        for (place, _) in places.filter(|(_, column)| column.is_there && !column.is_whole) {
            let Some(member) = place.member else { continue };
            let line = format!(
                "{} is not read as a whole: {}",
                member.what(),
                member.reason_in_part(self.column_size(place))
            );
            let finding = Finding::warning(code::MD_DEVICE_PARTIAL, line);
            findings.push(finding.on_disk(member.region.disk));
        }
    }

    /// The columns that have no device, and the numbers that their devices have by the newest superblock: no
    /// superblock has the id of another device.
    fn names_of_missing(&self) -> String {
        let newest = self.chosen.newest;
        let places = self.chosen.columns.iter().enumerate();
        let mut missing =
            places.filter(|(_, place)| place.member.is_none() && place.withheld.is_none());
        let name = |(column, _)| {
            let number = newest.roles.iter().position(|role| is_column(*role, column));
            match number {
                Some(number) => format!("column {column} (device {number})"),
                None => format!("column {column} (it had failed or was taken out)"),
            }
        };
        let mut names: Vec<String> = missing.by_ref().take(MAX_NAMED).map(name).collect();
        let more = missing.count();
        if more > 0 {
            names.push(format!("and {more} more"));
        }
        names.join(", ")
    }

    /// Names the columns that have no device.
    fn report_missing(&self, findings: &mut Vec<Finding>) {
        let is_missing =
            |place: &&Place<'_, '_>| place.member.is_none() && place.withheld.is_none();
        let missing = self.chosen.columns.iter().filter(is_missing).count();
        if missing == 0 {
            return;
        }
        let newest = self.chosen.newest;
        let known: usize = (0..self.chosen.columns.len())
            .filter(|column| newest.roles.iter().any(|role| is_column(*role, *column)))
            .count();
        let all = self.chosen.columns.len();
        let gone = all.saturating_sub(known).min(missing);
        let wanted = missing.saturating_sub(gone);
        let (name, array) = (newest.short_name(), &newest.array);
        let lacks = format!("MD array {name} ({array}) lacks {missing} of {all} devices");
        let names = self.names_of_missing();
        let (severity, line) = match wanted {
            0 => {
                let line = format!("{lacks}, as it did when it was last written to: {names}");
                (Severity::Warning, line)
            }
            _ => {
                let line = format!("{lacks}: {names}; give their images with the others");
                (Severity::Error, line)
            }
        };
        findings.push(Finding::new(severity, code::MD_MISSING_DEVICE, line));
    }
}

fn is_column(role: Role, column: usize) -> bool {
    matches!(role, Role::Active(own) if usize::try_from(own).ok() == Some(column))
}

/// Why nothing of the array is read, whatever devices are there.
fn refusal(chosen: &Chosen<'_, '_>) -> Option<Refusal> {
    let newest = chosen.newest;
    if let Some(line) = &chosen.dispute {
        return Some(Refusal::corrupt(format!("is not read: {line}")));
    }
    if newest.features & !FEATURES != 0 {
        let line = format!("has features that are not known ({:#x})", newest.features & !FEATURES);
        return Some(Refusal::unsupported(line));
    }
    if newest.has(FEATURE_RESHAPE) {
        let line = "is being reshaped: parts of it are in the old layout and parts in the new one; let \
                    the system finish it";
        return Some(Refusal::unsupported(line));
    }
    if newest.shape.raid_disks == 0 || newest.shape.raid_disks > 1920 {
        let line = format!("has {} devices", newest.shape.raid_disks);
        return Some(Refusal::corrupt(line));
    }
    None
}

/// The column `number`, and what lists say of it; the sentence is why the array cannot be read with it.
fn column(
    number: usize,
    place: &Place<'_, '_>,
    size: u64,
    newest: &Superblock,
) -> (Column, MembershipPart, Option<String>) {
    let mut part = MembershipPart {
        name: format!("column {number}"),
        plex: if newest.shape.level == 1 { number } else { 0 },
        column: if newest.shape.level == 1 { 0 } else { number },
        column_offset: 0,
        length: size,
        disk: None,
        offset: None,
        disk_name: format!("column {number}"),
        disk_id: format!("column {number}"),
        state: PartState::Missing,
    };
    let mut column = Column {
        device: Arc::new(Absent::new(size, String::new())),
        is_whole: false,
        is_there: false,
        is_sized: false,
        is_write_mostly: false,
    };
    let held = place.member.or(place.withheld.as_ref().map(|(member, _)| *member));
    if let Some(member) = held {
        let own = &member.superblock;
        part.disk = Some(member.region.disk);
        part.offset = member.region.start.checked_add(own.data_offset);
        part.disk_id.clone_from(&own.device);
        part.disk_name = format!("device {}", own.number);
        column.is_write_mostly = own.is_write_mostly;
    }
    let absent = |reason: String| -> Arc<dyn BlockDevice> { Arc::new(Absent::new(size, reason)) };
    let mut problem = None;
    match (place.member, &place.withheld) {
        (Some(member), _) => match member.data(size) {
            Ok(data) => {
                column.device = data.device;
                column.is_whole = data.is_whole;
                column.is_there = true;
                let is_short = data.is_cut_short;
                part.state = if is_short { PartState::CutShort } else { PartState::Present };
            }
            Err(error) => problem = Some(error_chain(&error)),
        },
        (None, Some((member, reason))) => {
            part.state = PartState::Stale;
            column.device = absent(format!("{} {reason}", member.what()));
        }
        (None, None) => {
            let name = newest.short_name();
            column.device = absent(format!("column {number} of MD array {name} is missing"));
        }
    }
    (column, part, problem)
}
