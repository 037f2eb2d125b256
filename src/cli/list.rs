//! `volfold list`: disks, partitions, volumes and findings.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};

use clap::Args;
use volfold::info::{
    ComparisonInfo, DiskInfo, FileSystemInfo, MachineInfo, SetInfo, SnapshotInfo, VolumeInfo,
    VolumeState,
};
use volfold::volume::{Membership, PartState, VolumeType};
use volfold::{Disk, DiskSet, MachineSnapshot, SetVolume};
use volfold_block::{Finding, Severity, code, error_chain};
use volfold_fs::FsResult;
use volfold_images::InnerSnapshot;

use super::allocated::Allocated;
use super::devices;
use super::mount_record::mounted_paths;
use super::outcome::Outcome;
use super::report::Report;
use super::set::{self, SetArguments};
use super::text;

/// Show the disks, the volumes on them, and what is odd about them
#[derive(Args)]
#[command(after_help = "\
Examples:
  volfold list disk.vmdk
  volfold list disk1.vmdk disk2.vmdk --json
  volfold list disk.vmdk --allocated --json
  volfold list folder-with-the-disks-of-a-set --verify

The name in the first column of a volume is its folder below a mount, and the first part of every PATH.")]
pub(crate) struct ListArguments {
    /// Disk images that belong together, or a folder with them
    #[arg(required = true, value_name = "DISK")]
    disks: Vec<PathBuf>,
    /// Print JSON, version 1
    #[arg(long)]
    json: bool,
    /// Read all volumes that hold their bytes more than once (mirrors, RAID-5) and compare
    #[arg(long)]
    verify: bool,
    /// Also tell which bytes of each disk are no holes; their offsets and lengths with --json
    #[arg(long)]
    allocated: bool,
    #[command(flatten)]
    set: SetArguments,
}

pub(crate) fn run(arguments: &ListArguments) -> io::Result<Outcome> {
    let (set, report) = set::open(&arguments.disks, &arguments.set.options());
    let mut report = report.shown();
    report.volumes(&set, |_| true);
    let mut volumes = Vec::new();
    for volume in set.volumes() {
        // A set may have thousands: none more is kept open than is already.
        let opened = volume.reason.is_none().then(|| {
            let files = volume.file_system()?;
            report.file_system(volume.id(), &*files);
            FsResult::Ok(FileSystemInfo::of(&*files, arguments.json))
        });
        if let Some(Err(error)) = &opened {
            let finding = Finding::error(error.kind().code_of_unopened(), error_chain(error));
            report.finding(finding.on_volume(volume.id()));
            report.not_entered(volume.id(), &volume.name, error);
        }
        if arguments.verify {
            // What the comparison adds comes after what opening tells.
            volumes.push((opened, compare(volume, &mut report)));
        } else {
            volumes.push((opened, None));
        }
    }
    report.later(&set);
    let allocated = allocated(&set, arguments, &mut report);
    let outcome = report.end();
    let mut mounted =
        if arguments.json { mounted_paths(&arguments.disks) } else { BTreeMap::new() };
    let volumes: Vec<VolumeInfo> = set
        .volumes()
        .iter()
        .zip(volumes)
        .map(|(volume, (opened, comparison))| {
            let mut info = VolumeInfo::of(volume, opened, report.findings());
            info.comparison = comparison;
            info.mounted_as = mounted.remove(&volume.name).unwrap_or_default();
            info
        })
        .collect();
    let text = if arguments.json {
        let mut json = SetInfo::default();
        json.disks = set.disks().iter().zip(allocated).enumerate().map(disk_info).collect();
        json.machines = set.machines().iter().map(MachineInfo::of).collect();
        json.volumes = volumes;
        json.failures = report.failures().to_vec();
        json.findings = report.findings().to_vec();
        let mut text = serde_json::to_string_pretty(&json)?;
        text.push('\n');
        text
    } else if set.disks().is_empty() {
        String::new()
    } else {
        human(&set, &volumes, &allocated, &report, arguments)
    };
    text::answer(text.as_bytes())?;
    Ok(if set.disks().is_empty() { Outcome::Nothing } else { outcome })
}

/// What of each disk is no hole, if that is asked for.
fn allocated(
    set: &DiskSet,
    arguments: &ListArguments,
    report: &mut Report<'_>,
) -> Vec<Option<Allocated>> {
    let mut of = |(index, disk): (usize, &Disk)| {
        if !arguments.allocated {
            return None;
        }
        let allocated = Allocated::of(disk);
        let wrong = match &allocated {
            Ok(allocated) => allocated
                .cut_at
                .map(|at| format!("has too many runs; those from {at} on are not told")),
            Err(error) => Some(format!("holes cannot be told: {}", error_chain(error))),
        };
        if let Some(line) = wrong {
            report.finding(Finding::error(code::DISK_UNREADABLE, line).on_disk(index));
        }
        allocated.ok()
    };
    set.disks().iter().enumerate().map(&mut of).collect()
}

fn disk_info((index, (disk, allocated)): (usize, (&Disk, Option<Allocated>))) -> DiskInfo {
    let mut info = DiskInfo::of(index, disk);
    info.allocated = allocated.map(|allocated| allocated.runs);
    info
}

/// The line about a state that the image of `disk` keeps.
fn snapshot_line(disk: &Disk, snapshot: &InnerSnapshot) -> String {
    let InnerSnapshot { id, name, size, .. } = snapshot;
    let time = SnapshotInfo::of(snapshot).time.map(|time| format!(", {time}")).unwrap_or_default();
    let is_shown = disk.snapshot.as_ref() == Some(snapshot);
    let end = if is_shown { ", shown" } else { "" };
    format!("       snapshot {id}  {name}{time}, {}{end}", text::size(*size))
}

/// `state` for people.
fn state_text(state: VolumeState) -> String {
    match state {
        VolumeState::CutShort { there, all } => {
            format!("cut short: {} of {}", text::size(there), text::size(all))
        }
        VolumeState::Doubtful => "doubtful, see below".to_owned(),
        other => other.word().to_owned(),
    }
}

/// Compares the copies of a volume that has some, and tells of differences.
pub(super) fn compare(volume: &SetVolume, report: &mut Report<'_>) -> Option<ComparisonInfo> {
    let result = volume.volume.redundancy.as_ref()?.compare();
    let size = text::size(result.compared);
    let finding = match result.first {
        Some(first) => Finding::error(
            code::COPIES_DIFFER,
            format!(
                "{} of {size} differ between the sides of the mirror or from the parity, the \
                 first at byte {first}",
                text::size(result.differing)
            ),
        ),
        None if result.compared > 0 => {
            let line = format!("{size} compared, no difference");
            Finding::new(Severity::Info, code::COPIES_AGREE, line)
        }
        None => Finding::warning(code::NOT_COMPARED, "there is nothing to compare with"),
    };
    let id = volume.id();
    report.finding(finding.on_volume(id));
    if result.unreadable > 0 && result.compared > 0 {
        let line = format!("{} could not be compared", text::size(result.unreadable));
        report.finding(Finding::warning(code::NOT_COMPARED, line).on_volume(id));
    }
    Some(ComparisonInfo {
        compared: result.compared,
        differing: result.differing,
        first_difference: result.first,
        unreadable: result.unreadable,
    })
}

fn human(
    set: &DiskSet,
    volumes: &[VolumeInfo],
    allocated: &[Option<Allocated>],
    report: &Report<'_>,
    arguments: &ListArguments,
) -> String {
    let mut text = String::new();
    for (index, (disk, allocated)) in set.disks().iter().zip(allocated).enumerate() {
        let variant =
            disk.variant.as_ref().map(|variant| format!(" ({variant})")).unwrap_or_default();
        let scheme = disk.partition_scheme.unwrap_or("no partitions");
        let _ = writeln!(
            text,
            "disk{index}  {}  {}{variant}, {}, {scheme}",
            text::plain(&disk.path.display().to_string()),
            disk.format,
            text::size(disk.size),
        );
        for parent in disk.chain.iter().skip(1) {
            let _ = writeln!(text, "       on top of {}", text::plain(parent));
        }
        for snapshot in &disk.snapshots {
            let _ = writeln!(text, "{}", snapshot_line(disk, snapshot));
        }
        if let Some(allocated) = allocated {
            let _ = writeln!(text, "{}", allocated.line(disk));
        }
        for hash in &disk.recorded_hashes {
            let _ = writeln!(text, "       recorded {} {}", hash.algorithm, hash.value);
        }
    }
    for machine in set.machines() {
        let _ = writeln!(text, "machine  {}", text::plain(&machine.path.display().to_string()));
        for snapshot in &machine.snapshots {
            let is_shown = machine.snapshot.as_ref() == Some(snapshot);
            let MachineSnapshot { id, name, .. } = snapshot;
            let end = if is_shown { ", shown" } else { "" };
            let line = format!("snapshot {id}  {name}{end}");
            let _ = writeln!(text, "       {}", text::plain(&line));
        }
    }
    if !volumes.is_empty() {
        text.push('\n');
    }
    text.push_str(&volume_table(volumes));
    text.push_str(&ways_to_bytes(volumes, report, arguments));
    for volume in volumes {
        if let Some(membership) = &volume.membership {
            text.push('\n');
            text.push_str(&parts(volume, membership));
        }
    }
    if !report.findings().is_empty() {
        text.push('\n');
    }
    for finding in report.findings() {
        let _ = writeln!(text, "{}", text::plain(&report.sentence(finding)));
    }
    text
}

/// Commands for a volume each; for more there is one for all.
const MAX_WAYS: usize = 4;

/// How to come to what no driver reads: a command for each volume.
fn ways_to_bytes(volumes: &[VolumeInfo], report: &Report<'_>, arguments: &ListArguments) -> String {
    let mut text = String::new();
    let mut command = String::from("volfold mount");
    for folder in &arguments.set.images.allow_path {
        let _ = write!(command, " --allow-path {}", text::argument(folder));
    }
    if let Some(snapshot) = &arguments.set.images.snapshot {
        let _ = write!(command, " --snapshot {}", text::argument(Path::new(snapshot)));
    }
    if arguments.set.images.snapshots {
        command.push_str(" --snapshots");
    }
    for disk in &arguments.disks {
        let _ = write!(command, " {}", text::argument(disk));
    }
    for key in &arguments.set.images.key {
        let _ = write!(command, " --key {}", text::argument(Path::new(&key.to_string())));
    }
    // These give no byte.
    let is_locked = |volume: &&VolumeInfo| volume.locked.is_some();
    let is_refused =
        |volume: &&VolumeInfo| devices::is_refused(report.findings(), &volume.id.to_string());
    let has_bytes = |volume: &&VolumeInfo| {
        !volume.readable && !is_locked(volume) && !is_refused(volume) && !volume.extents.is_empty()
    };
    let ids: Vec<String> =
        volumes.iter().filter(has_bytes).map(|volume| volume.id.to_string()).collect();
    if !ids.is_empty() {
        text.push_str("\nWhat is not read can be had as bytes, in FOLDER/.raw:\n");
    }
    match ids.len() > MAX_WAYS {
        true => {
            let _ = writeln!(text, "  {command} FOLDER --raw");
        }
        false => ids.iter().for_each(|id| {
            let _ = writeln!(text, "  {command} FOLDER --raw --volume {id}");
        }),
    }
    if volumes.iter().any(|volume| is_locked(&volume)) {
        text.push_str("\nWhat is locked opens with its key: --key prompt, or --key file:PATH\n");
    }
    text
}

/// Which image holds which part of a volume.
fn parts(volume: &VolumeInfo, membership: &Membership) -> String {
    let name = if volume.readable { &volume.name } else { "-" };
    let own = match volume.kind {
        VolumeType::Logical => format!("{}/{}", membership.group, membership.name),
        _ => membership.name.clone(),
    };
    let mut text = format!("{name}  {own}: {}", volume.layout);
    if let (Some(columns), Some(chunk)) = (membership.columns, membership.chunk_size) {
        let _ = write!(text, ", {columns} columns, chunks of {}", text::size(chunk));
    }
    let _ = writeln!(text, ", group {}", membership.group);
    let mut side = None;
    for part in &membership.parts {
        if membership.plexes > 1 && side != Some(part.plex) {
            side = Some(part.plex);
            let _ = writeln!(text, "  side {}", part.plex + 1);
        }
        let size = text::size(part.length);
        let disk = match (part.disk, part.offset) {
            (Some(disk), Some(offset)) => format!("disk{disk} at byte {offset}"),
            (Some(disk), None) => format!("in a volume on disk{disk}"),
            _ => format!("missing ({})", part.disk_id),
        };
        let state = match part.state {
            PartState::Present | PartState::Missing => "",
            PartState::CutShort => ", the image ends before it does",
            PartState::Stale => ", stale, not read",
            PartState::StaleInUse => ", stale",
        };
        let _ = writeln!(text, "  {}  {size} on {}: {disk}{state}", part.name, part.disk_name);
    }
    text
}

/// The volumes in columns, the last of them free.
fn volume_table(volumes: &[VolumeInfo]) -> String {
    let mut rows = vec![["VOLUME", "ID", "SIZE", "FILE SYSTEM", "STATE"].map(str::to_owned)];
    for volume in volumes {
        let (file_system, state) = match (&volume.file_system, &volume.reason) {
            (Some(file_system), _) => {
                let state = volume.state.map(state_text);
                (file_system.kind.to_owned(), state.unwrap_or_default())
            }
            (None, reason) => ("-".to_owned(), reason.clone().unwrap_or_default()),
        };
        let name = if volume.readable { &volume.name } else { "-" };
        rows.push([
            name.to_owned(),
            volume.id.to_string(),
            text::size(volume.size),
            file_system,
            state,
        ]);
    }
    if rows.len() == 1 {
        return "no volumes\n".to_owned();
    }
    let mut widths = [0; 5];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    for row in &rows {
        let cells: Vec<String> =
            row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        let _ = writeln!(text, "{}", cells.join("  ").trim_end());
    }
    text
}
