//! `volfold list`: disks, partitions, volumes and findings.

use std::fmt::Write as _;
use std::io;
use std::path::PathBuf;

use clap::Args;
use serde::Serialize;
use volfold::volume::lock::KeyKind;
use volfold::volume::snapshot::Snapshot;
use volfold::volume::{Health, Layout, Membership, PartState, VolumeExtent, VolumeId, VolumeType};
use volfold::{Disk, DiskSet, SetVolume};
use volfold_block::{Finding, Severity, code, error_chain};

use super::outcome::Outcome;
use super::set::SetArguments;
use super::text;

/// Show the disks, the volumes on them, and what is odd about them
#[derive(Args)]
#[command(after_help = "\
Examples:
  volfold list disk.vmdk
  volfold list disk1.vmdk disk2.vmdk --json
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
    #[command(flatten)]
    set: SetArguments,
}

#[derive(Serialize)]
struct ListJson<'a> {
    version: u32,
    disks: Vec<DiskJson<'a>>,
    volumes: Vec<VolumeJson<'a>>,
    findings: Vec<Finding>,
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
    partition_scheme: Option<&'a str>,
}

#[derive(Serialize)]
struct VolumeJson<'a> {
    id: &'a VolumeId,
    name: &'a str,
    #[serde(rename = "type")]
    kind: VolumeType,
    layout: Layout,
    health: Health,
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
struct ComparisonJson {
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
    let Some((set, mut outcome)) = arguments.set.open(&arguments.disks) else {
        return Ok(Outcome::Nothing);
    };
    let mut findings = set.findings().to_vec();
    let volumes: Vec<VolumeJson<'_>> = set
        .volumes()
        .iter()
        .map(|volume| VolumeJson {
            comparison: arguments.verify.then(|| compare(volume, &mut findings)).flatten(),
            ..describe(volume, arguments.json, &mut findings)
        })
        .collect();
    if findings.iter().any(|finding| finding.severity == Severity::Error) {
        outcome = Outcome::Part;
    }
    let text = if arguments.json {
        let disks = set.disks().iter().enumerate().map(disk_json).collect();
        let json = ListJson { version: 1, disks, volumes, findings };
        let mut text = serde_json::to_string_pretty(&json)?;
        text.push('\n');
        text
    } else {
        human(&set, &volumes, &findings, arguments)
    };
    text::answer(text.as_bytes())?;
    Ok(outcome)
}

fn disk_json((index, disk): (usize, &Disk)) -> DiskJson<'_> {
    DiskJson {
        index,
        path: disk.path.display().to_string(),
        format: disk.format,
        variant: disk.variant.as_deref(),
        size: disk.size,
        sector_size: disk.sector_size,
        chain: &disk.chain,
        partition_scheme: disk.partition_scheme,
    }
}

/// Opens the volume's file system to tell of it; `used` reads whole bitmaps, so only on request.
fn describe<'a>(
    volume: &'a SetVolume,
    with_usage: bool,
    findings: &mut Vec<Finding>,
) -> VolumeJson<'a> {
    let id = &volume.volume.id;
    let mut reason = volume.reason.clone();
    let mut file_system = None;
    if reason.is_none() {
        match volume.file_system() {
            Ok(opened) => {
                let info = opened.info();
                findings
                    .extend(info.findings.iter().cloned().map(|finding| finding.on_volume(&id.0)));
                let used =
                    if with_usage { opened.usage().ok().map(|usage| usage.used) } else { None };
                file_system = Some(FileSystemJson {
                    kind: info.kind,
                    label: info.label.clone(),
                    uuid: info.uuid.clone(),
                    cluster_size: info.cluster_size,
                    size: info.size,
                    used,
                });
            }
            Err(error) => {
                let line = error_chain(&error);
                findings
                    .push(Finding::error(code::FILE_SYSTEM_DAMAGED, line.clone()).on_volume(&id.0));
                reason = Some(line);
            }
        }
    }
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
        health: volume.volume.health,
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
    }
}

/// Compares the copies of a volume that has some, and tells of differences.
fn compare(volume: &SetVolume, findings: &mut Vec<Finding>) -> Option<ComparisonJson> {
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
    findings.push(finding.on_volume(id));
    if result.unreadable > 0 && result.compared > 0 {
        let line = format!("{} could not be compared", text::size(result.unreadable));
        findings.push(Finding::warning(code::NOT_COMPARED, line).on_volume(id));
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
    findings: &[Finding],
    arguments: &ListArguments,
) -> String {
    let mut text = String::new();
    for (index, disk) in set.disks().iter().enumerate() {
        let variant =
            disk.variant.as_ref().map(|variant| format!(" ({variant})")).unwrap_or_default();
        let scheme = disk.partition_scheme.unwrap_or("no partitions");
        let _ = writeln!(
            text,
            "disk{index}  {}  {}{variant}, {}, {scheme}",
            disk.path.display(),
            disk.format,
            text::size(disk.size),
        );
        for parent in disk.chain.iter().skip(1) {
            let _ = writeln!(text, "       on top of {parent}");
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
    if !findings.is_empty() {
        text.push('\n');
    }
    for finding in findings {
        let severity = match finding.severity {
            Severity::Info => "note",
            Severity::Warning => "warning",
            Severity::Error => "error",
        };
        let object = match (&finding.volume, finding.disk) {
            (Some(volume), _) => format!("{volume}: "),
            (None, Some(disk)) => format!("disk{disk}: "),
            (None, None) => String::new(),
        };
        let _ = writeln!(text, "{severity}: {object}{finding} [{}]", finding.code);
    }
    text
}

/// How to come to what no driver reads: a command for each volume.
fn ways_to_bytes(volumes: &[VolumeJson<'_>], arguments: &ListArguments) -> String {
    let mut text = String::new();
    let mut command = String::from("volfold mount");
    for folder in &arguments.set.allow_path {
        let _ = write!(command, " --allow-path {}", text::argument(folder));
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
        let health = match volume.health {
            Health::Healthy => "healthy",
            Health::Degraded => "degraded",
            Health::Failed => "failed",
        };
        let (file_system, state) = match (&volume.file_system, &volume.reason) {
            (Some(file_system), _) => (file_system.kind.to_owned(), health.to_owned()),
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
