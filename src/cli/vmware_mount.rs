//! `volfold vmware-mount`: the verbs of vmware-mount of Workstation and Server for Linux, so that scripts
//! written for it go on.

use std::fmt::Write;
use std::io;
use std::path::{Path, PathBuf};

use clap::{ArgAction, Args};
use volfold::volume::VolumeType;
use volfold::{DiskSet, Incomplete, OpenOptions, SetVolume};

use super::helper;
use super::mount_record::{MountRecord, same_case};
use super::outcome::Outcome;
use super::paths::plain_path;
use super::report::Report;
use super::text;

const HELP: &str = "\
Examples:
  volfold vmware-mount -p disk.vmdk
  volfold vmware-mount disk.vmdk 2 /mnt/data
  volfold vmware-mount -d /mnt/data

A link to this program that is called vmware-mount takes the same arguments. FOLDER is the volume
itself. Nothing is written to the disk, with -r and without. Disks of other machines are not read.";

/// The arguments of VMware's vmware-mount, for scripts that call it
#[derive(Args)]
#[command(disable_help_flag = true, after_help = HELP)]
#[command(override_usage = "\
volfold vmware-mount [-r] <DISK> [NUMBER] <FOLDER>
       volfold vmware-mount -f <DISK> <FOLDER>
       volfold vmware-mount -p | -l | -k | -K <DISK>
       volfold vmware-mount -d <FOLDER>
       volfold vmware-mount -L | -x | -X")]
pub(crate) struct VmwareMountArguments {
    #[command(flatten)]
    verb: Verb,
    /// Read only, which everything here is
    #[arg(short = 'r')]
    read_only: bool,
    /// What another machine needs; refused
    #[arg(short = 'h', short_aliases = ['u', 'F', 'P', 'v'], hide = true)]
    remote: Vec<String>,
    /// Print help
    #[arg(long, action = ArgAction::Help)]
    help: Option<bool>,
    #[arg(value_names = ["DISK", "NUMBER", "FOLDER"], num_args = 0..=3)]
    operands: Vec<PathBuf>,
}

#[derive(Args)]
#[group(multiple = false)]
struct Verb {
    /// List the partitions of DISK
    #[arg(short = 'p')]
    partitions: bool,
    /// List the partitions of DISK that are mounted
    #[arg(short = 'l')]
    mounted: bool,
    /// List the disks that are mounted
    #[arg(short = 'L')]
    disks: bool,
    /// Unmount FOLDER
    #[arg(short = 'd')]
    unmount: bool,
    /// Show the bytes of DISK as the file FOLDER/flat
    #[arg(short = 'f')]
    flat: bool,
    /// Unmount all partitions of DISK
    #[arg(short = 'k')]
    unmount_disk: bool,
    /// The same, also while programs have files open
    #[arg(short = 'K')]
    unmount_disk_by_force: bool,
    /// Unmount everything
    #[arg(short = 'x')]
    unmount_all: bool,
    /// The same, also while programs have files open
    #[arg(short = 'X')]
    unmount_all_by_force: bool,
}

impl VmwareMountArguments {
    /// Why the arguments are none of this command.
    pub(crate) fn contradiction(&self) -> Option<&'static str> {
        let Verb { partitions, mounted, disks, unmount, flat, .. } = self.verb;
        let Verb { unmount_disk, unmount_disk_by_force, .. } = self.verb;
        let Verb { unmount_all, unmount_all_by_force, .. } = self.verb;
        let operands = self.operands.len();
        if !self.remote.is_empty() {
            return Some("disks of other machines are not read; give the path of a file");
        }
        if disks || unmount_all || unmount_all_by_force {
            return (operands > 0).then_some("it takes no DISK and no FOLDER");
        }
        if unmount {
            return (operands != 1).then_some("give one FOLDER");
        }
        if partitions || mounted || unmount_disk || unmount_disk_by_force {
            return (operands != 1).then_some("give one DISK");
        }
        if flat {
            return (operands != 2).then_some("give DISK and FOLDER");
        }
        match &self.operands[..] {
            [_, _] => None,
            [_, number, _] if number_of(number).is_some() => None,
            [_, _, _] => Some("NUMBER is that of a partition, as -p lists them"),
            _ => Some("give DISK, the NUMBER of a partition if not the first one, and FOLDER"),
        }
    }
}

/// The number of a partition.
fn number_of(word: &Path) -> Option<u32> {
    word.to_str()?.parse().ok()
}

pub(crate) fn run(arguments: &VmwareMountArguments) -> io::Result<Outcome> {
    let verb = &arguments.verb;
    if verb.disks {
        return list_disks();
    }
    if verb.unmount_all || verb.unmount_all_by_force {
        return unmount_those(verb.unmount_all_by_force, |_| true);
    }
    let [first, rest @ ..] = &arguments.operands[..] else { return Ok(Outcome::Nothing) };
    if verb.partitions {
        list_partitions(first)
    } else if verb.mounted {
        list_mounted(first)
    } else if verb.unmount {
        call(["unmount".as_ref(), "--".as_ref(), first.as_path()])
    } else if verb.unmount_disk || verb.unmount_disk_by_force {
        unmount_those(verb.unmount_disk_by_force, |record| is_of(record, first))
    } else {
        let (number, folder) = match rest {
            [number, folder] => (number_of(number), folder),
            [folder] => (None, folder),
            _ => return Ok(Outcome::Nothing),
        };
        match verb.flat {
            true => mount(&["--raw", "--flat", "--volume", "disk0"], first, folder),
            false => mount_partition(first, number, folder),
        }
    }
}

/// The volumes of `set` with their numbers: those of partitions; what is no partition is counted after
/// them.
fn numbered(set: &DiskSet) -> Vec<(u32, &SetVolume)> {
    let number = |volume: &SetVolume| volume.volume.partition.as_ref().map(|own| own.number);
    let volumes = || set.volumes().iter().map(|volume| &**volume);
    let last = volumes().filter_map(number).max().unwrap_or(0);
    let others = volumes().filter(|volume| number(volume).is_none());
    let mut all: Vec<_> = volumes().filter_map(|volume| Some((number(volume)?, volume))).collect();
    all.extend((last.saturating_add(1)..).zip(others));
    all.sort_by_key(|(number, _)| *number);
    all
}

/// The set of `disk` alone.
fn open(disk: &Path) -> DiskSet {
    DiskSet::open([disk], &OpenOptions::default()).unwrap_or_else(Incomplete::into_set)
}

fn list_partitions(disk: &Path) -> io::Result<Outcome> {
    const SECTOR: u64 = 512;
    let set = open(disk);
    let mut report = Report::default().with_left_out(true);
    report.images(&set);
    report.about_part();
    report.volumes(&set, |_| true);
    if set.disks().is_empty() {
        return Ok(Outcome::Nothing);
    }
    // Written so by the original, and looked for by scripts.
    let mut table = "Nr      Start       Size Type Id Sytem                   \n\
                     -- ---------- ---------- ---- -- ------------------------\n"
        .to_owned();
    for (number, volume) in numbered(&set) {
        let own = &volume.volume;
        let start = own.extents.first().map_or(0, |extent| extent.offset / SECTOR);
        let size = own.device.size() / SECTOR;
        let file_system = volume.file_system().map_or("unknown", |files| files.info().kind);
        let (scheme, id, system) = match &own.partition {
            Some(partition) => {
                let kind = partition.kind.to_string();
                let title = partition.kind.title().unwrap_or(file_system);
                match kind.strip_prefix("0x") {
                    Some(id) => ("BIOS", id.to_owned(), title),
                    None => ("GPT", "--".to_owned(), title),
                }
            }
            None if own.extents.len() == 1 && own.extents[0].offset == 0 => {
                ("none", "--".to_owned(), file_system)
            }
            None if own.kind == VolumeType::Logical => ("LVM", "--".to_owned(), file_system),
            None if own.kind == VolumeType::Raid => ("MD", "--".to_owned(), file_system),
            None => ("LDM", "--".to_owned(), file_system),
        };
        let _ = writeln!(table, "{number:2} {start:10} {size:10} {scheme:4} {id:2} {system}");
    }
    text::answer(table.as_bytes())?;
    Ok(report.end())
}

fn mount_partition(disk: &Path, number: Option<u32>, folder: &Path) -> io::Result<Outcome> {
    let set = open(disk);
    if set.disks().is_empty() {
        Report::default().images(&set);
        return Ok(Outcome::Nothing);
    }
    let all = numbered(&set);
    let found = match number {
        Some(number) => all.iter().find(|(own, _)| *own == number),
        None => all.iter().find(|(_, volume)| volume.reason.is_none()),
    };
    let Some((_, volume)) = found else {
        let disk = disk.display();
        match number {
            Some(number) => text::complain(format_args!(
                "{disk}: has no partition {number}; `volfold vmware-mount -p` lists them"
            )),
            None => text::complain(format_args!("{disk}: no partition has files that are read")),
        }
        return Ok(Outcome::Nothing);
    };
    mount(&["--only", volume.id()], disk, folder)
}

fn mount(words: &[&str], disk: &Path, folder: &Path) -> io::Result<Outcome> {
    let words = ["mount"].iter().chain(words).chain(&["--"]).map(Path::new);
    call(words.chain([disk, folder]))
}

/// Whether `record` is of a mount of `disk`.
fn is_of(record: &MountRecord, disk: &Path) -> bool {
    let disk = same_case(&plain_path(disk));
    record.images.iter().any(|image| same_case(image) == disk)
}

fn records() -> impl Iterator<Item = MountRecord> {
    MountRecord::all().into_iter().filter(|record| !record.attached)
}

/// Frees the folders of those mounts that `is_meant` says; none is no failure.
fn unmount_those(by_force: bool, is_meant: impl Fn(&MountRecord) -> bool) -> io::Result<Outcome> {
    let mut outcomes = Vec::new();
    // What lies in another one goes first.
    let meant: Vec<MountRecord> = records().filter(|record| is_meant(record)).collect();
    for record in meant.iter().rev() {
        let force = by_force.then_some(Path::new("--force"));
        let words = [Path::new("unmount")].into_iter().chain(force);
        outcomes.push(call(words.chain([Path::new("--"), &record.folder]))?);
    }
    Ok(match outcomes {
        done if done.iter().all(|one| *one == Outcome::Done) => Outcome::Done,
        done if done.contains(&Outcome::Done) => Outcome::Part,
        _ => Outcome::Nothing,
    })
}

fn list_disks() -> io::Result<Outcome> {
    let mut disks: Vec<PathBuf> = records().flat_map(|record| record.images).collect();
    disks.sort();
    disks.dedup();
    let mut answer = match disks.is_empty() {
        true => "No mounted disks.\n".to_owned(),
        false => "Disks with mounted partitions:\n\n".to_owned(),
    };
    for disk in disks {
        let _ = writeln!(answer, "{}", text::plain(&disk.display().to_string()));
    }
    text::answer(answer.as_bytes())?;
    Ok(Outcome::Done)
}

fn list_mounted(disk: &Path) -> io::Result<Outcome> {
    let set = open(disk);
    let numbers = numbered(&set);
    let mut answer = String::new();
    for record in records().filter(|record| is_of(record, disk)) {
        for (name, paths) in &record.paths {
            let number = numbers.iter().find(|(_, volume)| volume.name == *name);
            let number = number.map_or("-".to_owned(), |(number, _)| number.to_string());
            let path = paths.first().map(String::as_str).unwrap_or_default();
            let _ = writeln!(answer, "{number:>2} {}", text::plain(path));
        }
        if record.paths.is_empty() {
            let _ = writeln!(answer, " - {}", text::plain(&record.folder.display().to_string()));
        }
    }
    text::answer(answer.as_bytes())?;
    Ok(Outcome::Done)
}

/// What the command of `words` does.
fn call<'a>(words: impl IntoIterator<Item = &'a Path>) -> io::Result<Outcome> {
    let status = helper::own_process(words)?.status()?;
    Ok(match status.code() {
        Some(0) => Outcome::Done,
        Some(3) => Outcome::Part,
        _ => Outcome::Nothing,
    })
}
