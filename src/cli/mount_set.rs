//! What `mount` shows of a set.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;

use volfold::guest::Arrangement;
use volfold::{DiskSet, Incomplete, OpenOptions, SetVolume};
use volfold_block::{Finding, code, error_chain};
use volfold_fs::TreeVolume;
use volfold_projector::block::{Export, raw};

use super::background::Talk;
use super::devices::{self, Device};
use super::outcome::Outcome;
use super::report::Report;
use super::set::{NO_VOLUME, look_into};

/// What the set of `disks` is called: the first one, and how many there are beside it.
pub(super) fn label(disks: &[PathBuf]) -> String {
    let name = disks.first().and_then(|disk| disk.file_stem()).unwrap_or_default();
    let name = name.to_string_lossy();
    match disks.len().saturating_sub(1) {
        0 => name.into_owned(),
        more => format!("{name} +{more}"),
    }
}

/// A number that tells the set from others, whatever the order of its disks.
pub(super) fn serial(set: &DiskSet) -> u32 {
    let mut ids: Vec<&str> = set.volumes().iter().map(|volume| volume.id()).collect();
    ids.sort_unstable();
    crc32fast::hash(ids.join("\n").as_bytes())
}

/// What is asked for of a set.
pub(super) struct Wanted<'a> {
    /// Names or ids of volumes; empty for all.
    pub(super) volumes: &'a [String],
    /// The name or id of a volume that is shown alone, with what lies in it by its system.
    pub(super) only: Option<&'a str>,
    /// Whether disks and volumes are shown as files too.
    pub(super) raw: bool,
    /// Whether volumes are shown in the places where their systems do.
    pub(super) guest: bool,
    pub(super) options: OpenOptions,
}

/// What a mount shows.
pub(super) struct Shown {
    pub(super) set: DiskSet,
    /// The volumes, entered.
    pub(super) volumes: Vec<TreeVolume>,
    /// What is shown as files.
    pub(super) files: Vec<Device>,
    /// In which places the volumes are shown.
    pub(super) arrangement: Arrangement,
    /// The name of the volume that is shown alone.
    pub(super) only: Option<String>,
    pub(super) outcome: Outcome,
}

/// Opens the set and chooses from it, and enters every volume that is shown: what is missing on it,
/// or may be old, is told before the folder is there. `None` if there is nothing to show.
pub(super) fn open_set<'a>(
    wanted: &Wanted<'_>,
    disks: &[PathBuf],
    talk: &'a Talk,
) -> (Report<'a>, Option<Shown>) {
    let set = DiskSet::open(disks, &wanted.options).unwrap_or_else(Incomplete::into_set);
    let report = Report::to(|line| talk.say(line)).without_left_out();
    // With --raw what no driver reads is shown as bytes.
    let mut report = report.with_left_out(wanted.raw);
    report.images(&set);
    let arrangement = match wanted.guest {
        true => arrange(&set, wanted.only, &mut report),
        false => Arrangement::default(),
    };
    let only = wanted.only.and_then(|name| set.volume(name)).map(|volume| volume.name.clone());
    if let (Some(name), Some(only)) = (wanted.only, &only)
        && let Some((root, below)) = arrangement.place_of(only)
        && root != only
    {
        let reason = format!("is {below} of the system on {root}; give --only {root}");
        report.refused(name.as_bytes(), "host", reason);
        return (report, None);
    }
    let asked: Vec<&str> = wanted.volumes.iter().map(String::as_str).chain(wanted.only).collect();
    // A name that several have is none of theirs: copies of a disk have one letter.
    let is_it = |name: &str, volume: &SetVolume| {
        set.volume(name).is_some_and(|named| std::ptr::eq(&**named, volume))
    };
    let is_in_only = |volume: &SetVolume| {
        let place = arrangement.place_of(&volume.name);
        place.is_some_and(|(root, _)| only.as_deref() == Some(root))
    };
    let named = |volume: &SetVolume| {
        asked.is_empty() || asked.iter().any(|name| is_it(name, volume)) || is_in_only(volume)
    };
    if !wanted.volumes.is_empty() {
        report.about_part();
    }
    if !asked.is_empty() {
        report.about_part();
    }
    report.volumes(&set, named);
    let all = devices::devices(&set);
    let volumes: Vec<&SetVolume> =
        set.volumes().iter().map(|volume| &**volume).filter(|volume| named(volume)).collect();
    let has_no_folder = tell_unreadable((&set, &volumes), &all, wanted.raw, talk);
    let mut is_part = has_no_folder && !asked.is_empty() && !wanted.raw;
    let mut files = if wanted.raw { all } else { Vec::new() };
    let shown = set.tree_volumes(|volume| named(volume));
    let mut missing = devices::choose(&mut files, wanted.volumes);
    missing.extend(wanted.only);
    missing.retain(|name| set.volume(name).is_none());
    for missing in missing {
        let reason = set.why_no_volume(missing).unwrap_or_else(|| "no such volume".to_owned());
        let reason = format!("{reason}; `volfold list` shows names and ids");
        report.refused(missing.as_bytes(), "not-found", reason);
        is_part = true;
    }
    if shown.is_empty() && files.is_empty() {
        if !set.disks().is_empty() && asked.is_empty() {
            talk.say(NO_VOLUME);
        }
        return (report, None);
    }
    for (number, tree) in shown.iter().enumerate() {
        let volume = volumes.iter().find(|volume| volume.name.as_bytes() == tree.name());
        if let Some(volume) = volume {
            look_into(volume, number, || Some(tree.open()), &mut report);
        }
    }
    report.later(&set);
    let is_part = is_part | (report.end() == Outcome::Part);
    let outcome = if is_part { Outcome::Part } else { Outcome::Done };
    (report, Some(Shown { set, volumes: shown, files, arrangement, only, outcome }))
}

/// Tells of those of `volumes` that have no folder, but bytes that `raw` shows; whether there are some.
fn tell_unreadable(
    (set, volumes): (&DiskSet, &[&SetVolume]),
    all: &[Device],
    raw: bool,
    talk: &Talk,
) -> bool {
    let mut is_told = false;
    for volume in volumes.iter().filter(|volume| volume.reason.is_some()) {
        let (id, reason) = (volume.id(), volume.reason.as_deref().unwrap_or_default());
        let (file, folder) = (devices::file_name(all, volume), raw::FOLDER);
        talk.say(&match raw {
            _ if devices::is_refused(set.findings(), id) => format!("{id}: not shown: {reason}"),
            true => format!("{id}: shown as {folder}/{file} alone: {reason}"),
            false => {
                format!("{id}: not shown: {reason}; with --raw its bytes are {folder}/{file}")
            }
        });
        is_told = true;
    }
    is_told
}

/// The places in which the systems of `set` show its volumes.
fn arrange(set: &DiskSet, only: Option<&str>, report: &mut Report<'_>) -> Arrangement {
    let info = match set.os_info() {
        Ok(info) => info,
        Err(error) => {
            report.tell(&error_chain(&error));
            return Arrangement::default();
        }
    };
    for finding in &info.findings {
        report.finding(finding.clone());
    }
    let arrangement =
        Arrangement::new(&info.systems, |id| set.volume(id).map(|volume| volume.name.clone()));
    for point in arrangement.not_shown() {
        let is_told = |finding: &Finding| {
            finding.message.contains(&point.source) && finding.message.contains(&point.path)
        };
        if !info.findings.iter().any(is_told) {
            let reason = point.reason.as_deref().unwrap_or_default();
            let line = format!("nothing is shown in {}: {reason}", point.path);
            report.finding(Finding::warning(code::GUEST_INCOMPLETE, line));
        }
    }
    if info.systems.is_empty() {
        let shown = match only {
            Some(_) => "the volume is shown alone",
            None => "the volumes are shown side by side",
        };
        report.tell(&format!("no installed system was found: {shown}"));
    }
    arrangement
}

/// A disk and the volume that takes all of it are one file.
pub(super) fn raw_files(devices: Vec<Device>) -> Vec<Arc<Export>> {
    let mut names = HashSet::new();
    let mut files = Vec::new();
    for Device { file_name, device, .. } in devices {
        if names.insert(file_name.clone()) {
            files.push(Arc::new(Export::read_only(file_name, device)));
        }
    }
    files
}
