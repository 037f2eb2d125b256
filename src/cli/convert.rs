//! `volfold convert`: a whole disk, or one volume, as one file for another tool.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::{Args, ValueEnum};
use parking_lot::Mutex;
use serde::Serialize;
use volfold::DiskSet;
use volfold::info::Failure;
use volfold_block::{BlockDevice, BlockResult, CachePool, Finding, error_chain};
use volfold_images::convert::{self, Target};
use volfold_images::{FORMATS, ImageContext, host};
use volfold_projector::process::{self, ImageFiles, open_writable};

use super::devices::{self, Device};
use super::outcome::Outcome;
use super::paths::not_named;
use super::progress;
use super::report::Report;
use super::set::{self, ImageArguments};
use super::text;

/// Write a disk, or one volume, into one file
#[derive(Args)]
#[command(after_help = "\
Examples:
  volfold convert server-000002.vmdk -o server.raw
  volfold convert disk1.vmdk disk2.vmdk --volume E -o e.qcow2 --verify
  volfold convert disk.E01 -o disk.vmdk

The file is a new one; holes and zeros take no room in it. What is not readable ends the command with
its place, and then there is no file. For files that other tools take; to read the disk itself `mount`,
`export` and `attach` need no copy.")]
pub(crate) struct ConvertArguments {
    /// Disk images that belong together, or a folder with them
    #[arg(required = true, value_name = "DISK")]
    disks: Vec<PathBuf>,
    /// The file to write; there may be none of that name
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// The format of the file; by default the one that its name ends with, else raw
    #[arg(long, value_name = "FORMAT")]
    format: Option<Format>,
    /// The disk or volume (disk0, folder name or id); needed where there are several disks
    #[arg(long, value_name = "VOLUME")]
    volume: Option<String>,
    /// Read the file back, and compare it with the disk
    #[arg(long)]
    verify: bool,
    /// Replace a file of that name, unless it is an image that is read
    #[arg(long)]
    overwrite: bool,
    /// Print JSON, version 1
    #[arg(long)]
    json: bool,
    /// Take every image as one of this format, whatever its name and content (`volfold formats`)
    #[arg(long, value_name = "FORMAT", value_parser = set::image_formats(), help_heading = "Images")]
    source_format: Option<String>,
    #[command(flatten)]
    images: ImageArguments,
}

/// A format that files are written in.
#[derive(Clone, Copy, ValueEnum)]
enum Format {
    Raw,
    Qcow2,
    Vmdk,
}

impl Format {
    fn target(self) -> Target {
        match self {
            Self::Raw => Target::Raw,
            Self::Qcow2 => Target::Qcow2,
            Self::Vmdk => Target::Vmdk,
        }
    }
}

#[derive(Serialize)]
struct ConvertJson<'a> {
    version: u32,
    /// What was written; null if nothing was.
    written: Option<WrittenJson>,
    /// Why nothing was written of what could be opened.
    reason: Option<String>,
    failures: &'a [Failure],
    findings: &'a [Finding],
}

#[derive(Serialize)]
struct WrittenJson {
    path: String,
    format: &'static str,
    device: String,
    size: u64,
    /// Whether the file was read back and compared.
    verified: bool,
}

pub(crate) fn run(arguments: &ConvertArguments) -> io::Result<Outcome> {
    let options = arguments.images.options(arguments.source_format.as_deref());
    let (set, mut report) = set::open(&arguments.disks, &options);
    report.about_part();
    // The bytes of what is not read are copied too.
    let mut report = report.with_left_out(true);
    report.volumes(&set, |_| true);
    let (mut written, mut reason) = (None, None);
    if !set.disks().is_empty() {
        match convert(arguments, &set) {
            Ok(done) => written = Some(done),
            Err(line) => {
                text::complain(format_args!("{line}"));
                reason = Some(line);
            }
        }
    }
    report.later(&set);
    tell(arguments, written, reason, report)
}

/// Says what was written, and ends.
fn tell(
    arguments: &ConvertArguments,
    written: Option<WrittenJson>,
    reason: Option<String>,
    mut report: Report<'_>,
) -> io::Result<Outcome> {
    let outcome = match report.end() {
        _ if written.is_none() => Outcome::Nothing,
        outcome => outcome,
    };
    if arguments.json {
        let json = ConvertJson {
            version: 1,
            written,
            reason,
            failures: report.failures(),
            findings: report.findings(),
        };
        let mut answer = serde_json::to_vec_pretty(&json)?;
        answer.push(b'\n');
        text::answer(&answer)?;
    } else if let Some(written) = written {
        let WrittenJson { path, format, device, size, verified } = &written;
        let verified = if *verified { ", the same when read back" } else { "" };
        let path = text::plain(path);
        let line = format!("{path}: {device}, {} as {format}{verified}\n", text::size(*size));
        text::answer(line.as_bytes())?;
    }
    Ok(outcome)
}

/// Converts what is wanted of `set`, or says why there is no file then.
fn convert(arguments: &ConvertArguments, set: &DiskSet) -> Result<WrittenJson, String> {
    let device = choose(arguments, set)?;
    let target = target(arguments)?;
    let size = device.device.size();
    write(arguments, set, &device, target)?;
    Ok(WrittenJson {
        path: arguments.output.display().to_string(),
        format: target.id(),
        device: device.id,
        size,
        verified: arguments.verify,
    })
}

/// The one disk or volume that is wanted.
fn choose(arguments: &ConvertArguments, set: &DiskSet) -> Result<Device, String> {
    let mut all = devices::devices(set);
    match &arguments.volume {
        Some(name) => {
            let wanted = std::slice::from_ref(name);
            if let Some(unclear) = devices::choose(&mut all, wanted).first() {
                return Err(not_named(set, unclear));
            }
        }
        None => all.truncate(set.disks().len()),
    }
    match all.len() {
        1 => Ok(all.swap_remove(0)),
        count => Err(format!(
            "the set has {count} disks, and a file holds one; choose it with --volume (disk0, ... or \
             a volume of `volfold list`)"
        )),
    }
}

/// The format that is asked for, or told by the name of the file.
fn target(arguments: &ConvertArguments) -> Result<Target, String> {
    let extension = arguments.output.extension().unwrap_or_default().to_string_lossy();
    let by_name =
        Target::ALL.into_iter().find(|target| extension.eq_ignore_ascii_case(target.id()));
    let folded = extension.to_ascii_lowercase();
    let mut others = FORMATS.iter().filter(|format| format.id() != "raw");
    let other = others.find(|format| format.extensions().contains(&folded.as_str()));
    match (arguments.format.map(Format::target).or(by_name), other) {
        (Some(target), _) => Ok(target),
        (None, None) => Ok(Target::Raw),
        (None, Some(other)) => Err(format!(
            "{}: {} is not written; give --format raw, qcow2 or vmdk, or another name",
            arguments.output.display(),
            other.title()
        )),
    }
}

/// Writes `device` into a file beside the one that is wanted, which gets its name when it is whole.
fn write(
    arguments: &ConvertArguments,
    set: &DiskSet,
    device: &Device,
    target: Target,
) -> Result<(), String> {
    let output = &arguments.output;
    let shown = output.display();
    let images = devices::image_files(set, &arguments.disks);
    check_place(arguments, &images)?;
    let temporary = temporary(output).ok_or_else(|| format!("{shown}: is no name of a file"))?;
    let name = output.file_name().unwrap_or_default().to_string_lossy();
    let unfinished = Arc::new(Mutex::new(Some(temporary.clone())));
    end_with(&unfinished, format!("{shown}: asked to end; no file was written"));
    let done = write_file(&temporary, &name, &images, device, target)
        .and_then(|()| if arguments.verify { verify(&temporary, device, target) } else { Ok(()) });
    let done = done.and_then(|()| unchanged(set));
    // From here on the process ends by itself, and soon.
    let mut unfinished = unfinished.lock();
    unfinished.take();
    let done = done.and_then(|()| {
        let renamed = if arguments.overwrite {
            std::fs::rename(&temporary, output)
        } else {
            // A file that came meanwhile is kept.
            std::fs::hard_link(&temporary, output)
                .and_then(|()| std::fs::remove_file(&temporary))
                .or_else(|error| match output.exists() {
                    true => Err(error),
                    // Not every file system has two names for a file.
                    false => std::fs::rename(&temporary, output),
                })
        };
        renamed.map_err(|error| error.to_string())
    });
    done.map_err(|reason| {
        // Nobody takes half a disk for a whole one.
        let _ = std::fs::remove_file(&temporary);
        format!("{shown}: {reason}; no file was written")
    })
}

/// Takes the file that is `unfinished` away, says `line` and ends the process when it is asked to end.
fn end_with(unfinished: &Arc<Mutex<Option<PathBuf>>>, line: String) {
    let unfinished = Arc::clone(unfinished);
    let handled = process::on_termination(move || {
        if let Some(path) = unfinished.lock().take() {
            let _ = std::fs::remove_file(path);
            text::complain(format_args!("{line}"));
            std::process::exit(1);
        }
    });
    if let Err(error) = handled {
        text::complain(format_args!("no signal handler: a signal leaves the file half: {error}"));
    }
}

/// Refuses what was read of files that were written to meanwhile: it would be of two times.
fn unchanged(set: &DiskSet) -> Result<(), String> {
    for file in set.disks().iter().flat_map(|disk| &disk.files) {
        let Some(modified) = file.facts.modified else { continue };
        // By a name that is shown not every file is found.
        let Ok(now) = std::fs::metadata(&file.name) else { continue };
        if (now.len(), now.modified().ok()) != (file.facts.size, Some(modified)) {
            return Err(format!("{} was changed while it was read", file.name));
        }
    }
    Ok(())
}

/// Refuses a place where something is that may not be replaced.
fn check_place(arguments: &ConvertArguments, images: &ImageFiles) -> Result<(), String> {
    let output = &arguments.output;
    let shown = output.display();
    if std::fs::symlink_metadata(output).is_err() {
        return Ok(());
    }
    if !arguments.overwrite {
        return Err(format!("{shown}: is there already; take another name, or --overwrite"));
    }
    let opened = open_writable(output, OpenOptions::new().write(true), images);
    opened.map(drop).map_err(|error| format!("{shown}: {error}"))
}

/// A name beside `output` that no file has.
fn temporary(output: &Path) -> Option<PathBuf> {
    let name = output.file_name()?.to_string_lossy();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
    Some(output.with_file_name(format!(".volfold-{name}-{}-{now:x}.part", std::process::id())))
}

/// Writes `device` as `target` into a new file at `path`, which will be called `name`.
fn write_file(
    path: &Path,
    name: &str,
    images: &ImageFiles,
    device: &Device,
    target: Target,
) -> Result<(), String> {
    let file = open_writable(path, OpenOptions::new().write(true).create_new(true), images);
    let file = file.map_err(|error| error.to_string())?;
    let bar = progress::bar(device.device.size());
    let mut out = BufWriter::with_capacity(1 << 20, file);
    let progress = |done| bar.set_position(done);
    let done = convert::write(&*device.device, target, name, &mut out, &progress);
    bar.finish_and_clear();
    done.map_err(|error| error_chain(&error))?;
    let file = out.into_inner().map_err(|error| error.to_string())?;
    if target == Target::Raw {
        // Also where the file ends in a hole.
        file.set_len(device.device.size()).map_err(|error| error.to_string())?;
    }
    sync(&file).map_err(|error| error.to_string())
}

fn sync(mut file: &File) -> io::Result<()> {
    file.flush()?;
    file.sync_all()
}

/// Reads the file at `path` back, and compares it with `device`.
fn verify(path: &Path, device: &Device, target: Target) -> Result<(), String> {
    let bar = progress::bar(device.device.size());
    let compare = || -> BlockResult<()> {
        let file = host::open_image_file(path, &[])?;
        let context = ImageContext::new(&CachePool::new(8 << 20));
        let image = volfold_images::open_as(target.id(), &file, &context)?;
        convert::compare(&*device.device, &*image.device, &|done| bar.set_position(done))
    };
    let done = compare();
    bar.finish_and_clear();
    done.map_err(|error| format!("read back: {}", error_chain(&error)))
}
