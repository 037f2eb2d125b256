//! `volfold list`: disks, partitions, volumes and findings.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::io;
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;
use volfold::volume::lock::KeyKind;
use volfold::volume::snapshot::Snapshot;
use volfold::volume::{Health, Layout, Membership, PartState, VolumeExtent, VolumeId, VolumeType};
use volfold::{Disk, DiskSet, MachineSnapshot, MachineStates, SetVolume};
use volfold_block::{Code, Finding, Severity, code, error_chain};
use volfold_fs::{FileSystem, FsResult, Timestamp};
use volfold_images::InnerSnapshot;

use super::allocated::{Allocated, Run};
use super::mount_record::mounted_paths;
use super::outcome::Outcome;
use super::report::{self, Failure, Report};
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

#[derive(Serialize)]
struct ListJson<'a> {
    version: u32,
    disks: Vec<DiskJson<'a>>,
    machines: Vec<MachineJson<'a>>,
    volumes: Vec<VolumeJson<'a>>,
    failures: &'a [Failure],
    findings: &'a [Finding],
}

#[derive(Serialize)]
struct DiskJson<'a> {
    index: usize,
    path: String,
    format: &'a str,
    variant: Option<&'a str>,
    size: u64,
    sector_size: u32,
    chain: &'a [String],
    /// The states that the image keeps, the oldest first, and the one of them that is shown.
    snapshots: Vec<InnerSnapshotJson<'a>>,
    snapshot: Option<InnerSnapshotJson<'a>>,
    partition_scheme: Option<&'a str>,
    recorded_hashes: Vec<HashJson<'a>>,
    /// With `--allocated`: all that is no hole.
    allocated: Option<&'a [Run]>,
}

/// The older states that the configuration of a machine knows.
#[derive(Serialize)]
struct MachineJson<'a> {
    path: String,
    snapshots: Vec<MachineSnapshotJson<'a>>,
    snapshot: Option<MachineSnapshotJson<'a>>,
}

impl<'a> MachineJson<'a> {
    fn of(machine: &'a MachineStates) -> Self {
        Self {
            path: machine.path.display().to_string(),
            snapshots: machine.snapshots.iter().map(MachineSnapshotJson::of).collect(),
            snapshot: machine.snapshot.as_ref().map(MachineSnapshotJson::of),
        }
    }
}

#[derive(Serialize)]
struct MachineSnapshotJson<'a> {
    id: &'a str,
    name: &'a str,
}

impl<'a> MachineSnapshotJson<'a> {
    fn of(snapshot: &'a MachineSnapshot) -> Self {
        let MachineSnapshot { id, name, .. } = snapshot;
        Self { id, name }
    }
}

/// A state of a disk that its image keeps.
#[derive(Serialize)]
struct InnerSnapshotJson<'a> {
    id: &'a str,
    name: &'a str,
    time: Option<String>,
    size: u64,
}

impl<'a> InnerSnapshotJson<'a> {
    fn of(snapshot: &'a InnerSnapshot) -> Self {
        let InnerSnapshot { id, name, size, .. } = snapshot;
        Self { id, name, time: time_of(snapshot), size: *size }
    }
}

/// A hash of the whole disk that the image keeps.
#[derive(Serialize)]
struct HashJson<'a> {
    algorithm: &'a str,
    value: &'a str,
}

#[derive(Serialize)]
struct VolumeJson<'a> {
    id: &'a VolumeId,
    name: &'a str,
    #[serde(rename = "type")]
    kind: VolumeType,
    layout: Layout,
    /// `null` where nobody knows what is there.
    health: Option<&'static str>,
    #[serde(skip)]
    state: Option<State>,
    size: u64,
    extents: &'a [VolumeExtent],
    partition: Option<PartitionJson>,
    membership: Option<&'a Membership>,
    file_system: Option<FileSystemJson>,
    comparison: Option<ComparisonJson>,
    locked: Option<LockJson<'a>>,
    snapshot: Option<&'a Snapshot>,
    readable: bool,
    reason: Option<String>,
    /// Where it is mounted now, by all the names that programs may use.
    mounted_as: Vec<String>,
}

/// What keeps a volume locked.
#[derive(Serialize)]
struct LockJson<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    keys: &'a [KeyKind],
}

/// What `--verify` found.
#[derive(Serialize)]
pub(super) struct ComparisonJson {
    compared: u64,
    differing: u64,
    first_difference: Option<u64>,
    unreadable: u64,
}

#[derive(Serialize)]
struct PartitionJson {
    number: u32,
    first_lba: u64,
    #[serde(rename = "type")]
    kind: String,
    type_name: Option<&'static str>,
    name: Option<String>,
}

#[derive(Serialize)]
struct FileSystemJson {
    #[serde(rename = "type")]
    kind: &'static str,
    label: Option<String>,
    uuid: Option<String>,
    cluster_size: u32,
    size: u64,
    used: Option<u64>,
}

pub(crate) fn run(arguments: &ListArguments) -> io::Result<Outcome> {
    let (set, report) = set::open(&arguments.disks, &arguments.set.options());
    let mut report = report.shown();
    report.volumes(&set, |_| true);
    let mut volumes = Vec::new();
    for volume in set.volumes() {
        // A set may have thousands: none is kept open.
        let opened = volume.reason.is_none().then(|| {
            let files = volume.file_system()?;
            report.file_system(volume.id(), &*files);
            Ok(FileSystemJson::of(&*files, arguments.json))
        });
        if let Some(Err(error)) = &opened {
            let finding = Finding::error(code::FILE_SYSTEM_DAMAGED, error_chain(error));
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
    let volumes: Vec<VolumeJson<'_>> = set
        .volumes()
        .iter()
        .zip(volumes)
        .map(|(volume, (opened, comparison))| VolumeJson {
            comparison,
            mounted_as: mounted.remove(&volume.name).unwrap_or_default(),
            ..describe(volume, opened, report.findings())
        })
        .collect();
    let text = if arguments.json {
        let disks = set.disks().iter().zip(&allocated).enumerate().map(disk_json).collect();
        let (failures, findings) = (report.failures(), report.findings());
        let machines = set.machines().iter().map(MachineJson::of).collect();
        let json = ListJson { version: 1, disks, machines, volumes, failures, findings };
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

fn disk_json<'a>(
    (index, (disk, allocated)): (usize, (&'a Disk, &'a Option<Allocated>)),
) -> DiskJson<'a> {
    DiskJson {
        index,
        path: disk.path.display().to_string(),
        format: disk.format,
        variant: disk.variant.as_deref(),
        size: disk.size,
        sector_size: disk.sector_size,
        chain: &disk.chain,
        snapshots: disk.snapshots.iter().map(InnerSnapshotJson::of).collect(),
        snapshot: disk.snapshot.as_ref().map(InnerSnapshotJson::of),
        partition_scheme: disk.partition_scheme,
        allocated: allocated.as_ref().map(|allocated| allocated.runs.as_slice()),
        recorded_hashes: disk
            .recorded_hashes
            .iter()
            .map(|hash| HashJson { algorithm: hash.algorithm, value: &hash.value })
            .collect(),
    }
}

/// When the state was taken, as text.
fn time_of(snapshot: &InnerSnapshot) -> Option<String> {
    snapshot.time.map(|seconds| text::time(Timestamp { seconds, nanoseconds: 0 }))
}

/// The line about a state that the image of `disk` keeps.
fn snapshot_line(disk: &Disk, snapshot: &InnerSnapshot) -> String {
    let InnerSnapshot { id, name, size, .. } = snapshot;
    let time = time_of(snapshot).map(|time| format!(", {time}")).unwrap_or_default();
    let is_shown = disk.snapshot.as_ref() == Some(snapshot);
    let end = if is_shown { ", shown" } else { "" };
    format!("       snapshot {id}  {name}{time}, {}{end}", text::size(*size))
}

impl FileSystemJson {
    /// What is told of `files`; how much is used takes whole bitmaps, so only on request.
    fn of(files: &dyn FileSystem, with_usage: bool) -> Self {
        let info = files.info();
        let usage = if with_usage { files.usage().ok() } else { None };
        Self {
            kind: info.kind,
            label: info.label.clone(),
            uuid: info.uuid.clone(),
            cluster_size: info.cluster_size,
            size: info.size,
            used: usage.map(|usage| usage.used),
        }
    }
}

/// What is told of a volume, with what its file system said of itself.
fn describe<'a>(
    volume: &'a SetVolume,
    opened: Option<FsResult<FileSystemJson>>,
    findings: &[Finding],
) -> VolumeJson<'a> {
    let id = &volume.volume.id;
    let (file_system, error) = match opened {
        Some(Ok(file_system)) => (Some(file_system), None),
        Some(Err(error)) => (None, Some(error_chain(&error))),
        None => (None, None),
    };
    let reason = error.or_else(|| volume.reason.clone());
    let state = State::of(volume, file_system.as_ref(), findings);
    let partition = volume.volume.partition.as_ref().map(|partition| PartitionJson {
        number: partition.number,
        first_lba: partition.first_lba,
        kind: partition.kind.to_string(),
        type_name: partition.kind.title(),
        name: partition.name.clone(),
    });
    VolumeJson {
        id,
        name: &volume.name,
        kind: volume.volume.kind,
        layout: volume.volume.layout,
        health: state.map(|state| state.word()),
        state,
        size: volume.volume.size,
        extents: &volume.volume.extents,
        partition,
        membership: volume.volume.membership.as_ref(),
        readable: file_system.is_some(),
        file_system,
        comparison: None,
        locked: volume
            .volume
            .lock
            .as_ref()
            .map(|lock| LockJson { kind: lock.kind, keys: &lock.keys }),
        snapshot: volume.volume.snapshot.as_ref(),
        reason,
        mounted_as: Vec::new(),
    }
}

/// How well a volume can be read, as far as the set tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// All is there.
    Healthy,
    /// Parts are missing, all bytes can be had.
    Degraded,
    /// What is read may be old, or less than there was; findings say why.
    Doubtful,
    /// The image ends before the volume: the bytes that there are, and all.
    CutShort(u64, u64),
    /// Parts are missing and with them bytes.
    Failed,
}

impl State {
    /// The state of `volume` with `file_system`; `None` where nothing is known of what is on it.
    fn of(
        volume: &SetVolume,
        file_system: Option<&FileSystemJson>,
        findings: &[Finding],
    ) -> Option<Self> {
        const CUT_SHORT: [Code; 4] = [
            code::EXT4_CUT_SHORT,
            code::FAT_TRUNCATED,
            code::NTFS_TRUNCATED,
            code::PARTITION_PAST_END,
        ];
        let id = volume.id();
        let about = |finding: &&Finding| finding.volume.as_deref() == Some(id);
        // What is wrong with the bytes of a disk is wrong with all volumes on it.
        const OF_BYTES: [Code; 14] = [
            code::DISK_UNREADABLE,
            code::NESTED_FORMAT,
            code::QCOW2_CORRUPT,
            code::QCOW2_DIRTY,
            code::QED_NEEDS_CHECK,
            code::SNAPSHOT_BESIDE,
            code::VHD_CHECKSUM,
            code::VHD_FOOTER_DAMAGED,
            code::VHD_FOOTERS_DIFFER,
            code::VHD_SIZES_DIFFER,
            code::VHDX_HEADER_DAMAGED,
            code::VMDK_CUT_SHORT,
            code::VMDK_EXTENT_LOST,
            code::VMDK_EXTENT_SHORT,
        ];
        let lies_on = |disk: usize| volume.volume.extents.iter().any(|extent| extent.disk == disk);
        let is_doubt = |finding: &Finding| {
            let is_here = about(&finding)
                || (finding.volume.is_none()
                    && OF_BYTES.contains(&finding.code)
                    && finding.disk.is_some_and(lies_on));
            is_here && report::bears_on_content(finding)
        };
        let there = volume.volume.device.size();
        let all = file_system.map_or(0, |files| files.size).max(volume.volume.size);
        let is_cut = findings.iter().filter(about).any(|finding| CUT_SHORT.contains(&finding.code));
        match volume.volume.health {
            Health::Failed if volume.volume.membership.is_some() => Some(Self::Failed),
            // A disk that was cut off has other volumes too, which are whole.
            _ if there < volume.volume.size || (is_cut && there < all) => {
                Some(Self::CutShort(there, all))
            }
            _ if file_system.is_none() && volume.volume.membership.is_none() => None,
            Health::Failed => Some(Self::Failed),
            Health::Degraded => Some(Self::Degraded),
            Health::Healthy if findings.iter().any(is_doubt) => Some(Self::Doubtful),
            Health::Healthy => Some(Self::Healthy),
        }
    }

    /// The state as one word of JSON.
    fn word(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Degraded => "degraded",
            Self::Doubtful => "doubtful",
            Self::CutShort(..) => "cut-short",
            Self::Failed => "failed",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CutShort(there, all) => {
                write!(f, "cut short: {} of {}", text::size(*there), text::size(*all))
            }
            Self::Doubtful => f.write_str("doubtful, see below"),
            other => f.write_str(other.word()),
        }
    }
}

/// Compares the copies of a volume that has some, and tells of differences.
pub(super) fn compare(volume: &SetVolume, report: &mut Report<'_>) -> Option<ComparisonJson> {
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
    Some(ComparisonJson {
        compared: result.compared,
        differing: result.differing,
        first_difference: result.first,
        unreadable: result.unreadable,
    })
}

fn human(
    set: &DiskSet,
    volumes: &[VolumeJson<'_>],
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
    text.push_str(&ways_to_bytes(volumes, arguments));
    for volume in volumes {
        if let Some(membership) = volume.membership {
            text.push('\n');
            text.push_str(&parts(volume, membership));
        }
    }
    if !report.findings().is_empty() {
        text.push('\n');
    }
    for finding in report.findings() {
        let _ = writeln!(text, "{}", report.sentence(finding));
    }
    text
}

/// How to come to what no driver reads: a command for each volume.
fn ways_to_bytes(volumes: &[VolumeJson<'_>], arguments: &ListArguments) -> String {
    let mut text = String::new();
    let mut command = String::from("volfold mount");
    for folder in &arguments.set.images.allow_path {
        let _ = write!(command, " --allow-path {}", text::argument(folder));
    }
    if let Some(snapshot) = &arguments.set.images.snapshot {
        let _ = write!(command, " --snapshot {}", text::argument(Path::new(snapshot)));
    }
    for disk in &arguments.disks {
        let _ = write!(command, " {}", text::argument(disk));
    }
    for volume in volumes.iter().filter(|volume| !volume.readable) {
        if text.is_empty() {
            text.push_str("\nWhat is not read can be had as bytes, in FOLDER/.raw:\n");
        }
        let _ = writeln!(text, "  {command} FOLDER --raw --volume {}", volume.id);
    }
    text
}

/// Which image holds which part of a volume.
fn parts(volume: &VolumeJson<'_>, membership: &Membership) -> String {
    let name = if volume.readable { volume.name } else { "-" };
    let mut text = format!("{name}  {}: {}", membership.name, volume.layout);
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
fn volume_table(volumes: &[VolumeJson<'_>]) -> String {
    let mut rows = vec![["VOLUME", "ID", "SIZE", "FILE SYSTEM", "STATE"].map(str::to_owned)];
    for volume in volumes {
        let (file_system, state) = match (&volume.file_system, &volume.reason) {
            (Some(file_system), _) => {
                let state = volume.state.map(|state| state.to_string());
                (file_system.kind.to_owned(), state.unwrap_or_default())
            }
            (None, reason) => ("-".to_owned(), reason.clone().unwrap_or_default()),
        };
        let name = if volume.readable { volume.name } else { "-" };
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
