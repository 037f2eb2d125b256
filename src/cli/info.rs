//! `volfold info`: the systems that are installed on the disks.

use std::fmt::Write as _;
use std::io;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde::Serialize;
use volfold::DiskSet;
use volfold::guest::packages::{Package, Packages};
use volfold::guest::{GuestSystem, MountPoint, OsInfo};
use volfold::info::Failure;
use volfold_block::{Finding, Severity, code};
use volfold_fs::FsError;

use super::bom::{self, Installed};
use super::outcome::Outcome;
use super::report::Report;
use super::set::{self, SetArguments};
use super::text;

/// Show which systems are installed on the disks, and where they mount the volumes
#[derive(Args)]
#[command(after_help = "\
Examples:
  volfold info disk.vmdk
  volfold info disk1.vmdk disk2.vmdk --json
  volfold info disk.vmdk --packages
  volfold info disk.vmdk --sbom cyclonedx > bom.json

Only files of the disks are read: nothing is mounted or started. Exit code 3 says that something may be
missing or old: a file or a volume that cannot be read, a package database that is not there or not
known. The packages of several systems have a line each before them that begins with `#` and names the
system.")]
pub(crate) struct InfoArguments {
    /// Disk images that belong together, or a folder with them
    #[arg(required = true, value_name = "DISK")]
    disks: Vec<PathBuf>,
    /// Print JSON, version 1
    #[arg(long)]
    json: bool,
    /// Show what is installed: name, version and architecture of every package, separated by tabs
    #[arg(long)]
    packages: bool,
    /// Print what is installed as a software bill of materials
    #[arg(long, value_name = "KIND", value_enum, conflicts_with = "json")]
    sbom: Option<BomFormat>,
    #[command(flatten)]
    set: SetArguments,
}

/// The form of a bill of materials.
#[derive(Clone, Copy, ValueEnum)]
enum BomFormat {
    /// CycloneDX 1.5 as JSON
    Cyclonedx,
    /// SPDX 2.3 as JSON
    Spdx,
}

#[derive(Serialize)]
struct InfoJson<'a> {
    version: u32,
    systems: Vec<SystemJson<'a>>,
    failures: &'a [Failure],
    findings: &'a [Finding],
}

/// A system, with its packages where they are asked for.
#[derive(Serialize)]
struct SystemJson<'a> {
    #[serde(flatten)]
    system: &'a GuestSystem,
    #[serde(skip_serializing_if = "Option::is_none")]
    packages: Option<&'a [Package]>,
}

pub(crate) fn run(arguments: &InfoArguments) -> io::Result<Outcome> {
    let (set, mut report) = set::open(&arguments.disks, &arguments.set.options());
    report.volumes(&set, |_| true);
    let OsInfo { systems, findings, .. } = set.os_info().map_err(FsError::from)?;
    for finding in findings {
        // What costs nothing is said all the same: it is what the command is asked about.
        if finding.severity != Severity::Info && !finding.bears_on_content() {
            report.tell(&report.sentence(finding));
        }
        report.finding(finding.clone());
    }
    let has_packages = arguments.packages || arguments.sbom.is_some();
    let mut installed = Vec::new();
    for system in systems {
        installed.push(match has_packages {
            true => with_packages(&set, system, &mut report)?,
            false => Installed::system(system.clone()),
        });
    }
    if has_packages && installed.is_empty() && !set.disks().is_empty() {
        let line = "no installed system was found, so nothing is known of what is installed";
        report.finding(Finding::warning(code::GUEST_INCOMPLETE, line));
    }
    file_systems(&set, &mut report);
    report.later(&set);
    let outcome = report.end();
    installed.iter_mut().for_each(|system| system.is_incomplete = report.is_part());
    let text = match arguments.sbom {
        Some(BomFormat::Cyclonedx) => bom::cyclonedx(&installed)?,
        Some(BomFormat::Spdx) => bom::spdx(&installed)?,
        None if arguments.json => json(&installed, &report)?,
        None if installed.is_empty() && !set.disks().is_empty() => {
            "no installed system found\n".to_owned()
        }
        None => {
            let is_only = installed.len() == 1;
            let parts: Vec<String> = installed.iter().map(|it| lines(it, is_only, &set)).collect();
            parts.join("\n")
        }
    };
    text::answer(text.as_bytes())?;
    Ok(if set.disks().is_empty() { Outcome::Nothing } else { outcome })
}

/// `system` with its packages; what of them cannot be read is told.
fn with_packages(
    set: &DiskSet,
    system: &GuestSystem,
    report: &mut Report<'_>,
) -> io::Result<Installed> {
    let Packages { packages, findings, .. } = set.packages(system).map_err(FsError::from)?;
    findings.into_iter().for_each(|finding| report.finding(finding));
    Ok(Installed { system: system.clone(), packages: Some(packages), is_incomplete: false })
}

/// Takes in what the file systems noticed while they were opened and read.
fn file_systems(set: &DiskSet, report: &mut Report<'_>) {
    for volume in set.volumes().iter().filter(|volume| volume.reason.is_none()) {
        match volume.file_system() {
            Ok(files) => report.file_system(volume.id(), &*files),
            Err(error) => report.not_entered(volume.id(), &volume.name, &error),
        }
    }
}

fn json(installed: &[Installed], report: &Report<'_>) -> io::Result<String> {
    let systems = installed
        .iter()
        .map(|it| SystemJson { system: &it.system, packages: it.packages.as_deref() })
        .collect();
    let (failures, findings) = (report.failures(), report.findings());
    let json = InfoJson { version: 1, systems, failures, findings };
    Ok(serde_json::to_string_pretty(&json)? + "\n")
}

/// The lines about one system: its packages where they are asked for, else what it is.
/// Of several systems a line that begins with `#` says whose packages follow.
fn lines(installed: &Installed, is_only: bool, set: &DiskSet) -> String {
    let Some(packages) = &installed.packages else { return human(&installed.system, set) };
    let mut lines = String::new();
    if !is_only {
        let GuestSystem { volume, folder, .. } = &installed.system;
        let (title, name) = (title(&installed.system), name_of(set, volume));
        let _ =
            writeln!(lines, "# {}", text::plain(&format!("{title}, {name} ({volume}), {folder}")));
    }
    for package in packages {
        let architecture = package.architecture.as_deref().unwrap_or("-");
        let fields = [&package.name, &package.version, architecture];
        let fields = fields
            .map(|field| String::from_utf8_lossy(&text::field(field.as_bytes())).into_owned());
        let _ = writeln!(lines, "{}", fields.join("\t"));
    }
    lines
}

/// What a system is called.
fn title(system: &GuestSystem) -> String {
    system.product.clone().unwrap_or_else(|| format!("{} system", system.family.word()))
}

/// The lines about one system.
fn human(system: &GuestSystem, set: &DiskSet) -> String {
    let mut text = String::new();
    let _ = writeln!(text, "{}", text::plain(&title(system)));
    let family = match system.is_default {
        Some(false) => format!("{}, not started by default", system.family.word()),
        _ => system.family.word().to_owned(),
    };
    line(&mut text, "family", &family);
    line(&mut text, "volume", &format!("{} ({})", name_of(set, &system.volume), system.volume));
    if system.folder != "/" {
        line(&mut text, "folder", &system.folder);
    }
    let host = match (&system.host_name, &system.domain) {
        (Some(host), Some(domain)) => Some(format!("{host}.{domain}")),
        (host, _) => host.clone(),
    };
    let fields = [
        ("vendor", &system.vendor),
        ("version", &system.version),
        ("build", &system.build),
        ("edition", &system.edition),
        ("architecture", &system.architecture),
        ("host name", &host),
        ("time zone", &system.time_zone),
        ("installed", &system.installed),
        ("machine id", &system.machine_id),
    ];
    for (name, value) in fields {
        if let Some(value) = value {
            line(&mut text, name, value);
        }
    }
    if !system.kernels.is_empty() {
        line(&mut text, "kernels", &system.kernels.join(", "));
    }
    if let Some(packages) = system.package_system {
        line(&mut text, "packages", packages.word());
    }
    if !system.swap_files.is_empty() {
        line(&mut text, "swap", &system.swap_files.join(", "));
    }
    for (number, point) in system.mount_points.iter().enumerate() {
        let name = if number == 0 { "mounts" } else { "" };
        line(&mut text, name, &mount_line(point, set));
    }
    text
}

fn mount_line(point: &MountPoint, set: &DiskSet) -> String {
    let MountPoint { path, source, volume, reason, .. } = point;
    let volume = volume.as_deref().map(|id| name_of(set, id));
    match (volume, reason) {
        (Some(volume), None) => format!("{path}  {volume} ({source})"),
        (Some(volume), Some(reason)) => format!("{path}  {volume} ({source}), not shown: {reason}"),
        (None, reason) => {
            format!("{path}  - ({source}): {}", reason.as_deref().unwrap_or("unknown"))
        }
    }
}

fn line(text: &mut String, name: &str, value: &str) {
    let _ = writeln!(text, "  {name:<13}{}", text::plain(value));
}

/// The folder name of the volume `id`.
fn name_of<'a>(set: &'a DiskSet, id: &'a str) -> &'a str {
    set.volume(id).map_or(id, |volume| &volume.name)
}
