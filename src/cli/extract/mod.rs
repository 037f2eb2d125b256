//! `volfold extract`: files out of the images, with their times and holes.
//!
//! Everything is created below one folder ([`Output`]), from names made legal for the host; links
//! are made last. So no name and no link of a guest can lead outside.

use std::ffi::OsString;
use std::fs::FileTimes;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::{Args, ValueEnum};
use indicatif::ProgressBar;
use volfold_fs::{Metadata, Timestamp};
use volfold_projector::process;

use super::outcome::Outcome;
use super::set::TreeArguments;
use super::text;

mod copy;
#[cfg(unix)]
mod keep;
mod output;
mod stop;
mod tar;

use copy::Extraction;
#[cfg(unix)]
use keep::KeepArguments;
use output::Output;
use stop::Stop;

/// Copy files out of the images, with their times and holes
#[derive(Args)]
#[command(after_help = "\
Examples:
  volfold extract disk.vmdk -o saved
  volfold extract disk.vmdk -p /System/Users/a -p /System/Users/b -o saved
  volfold extract disk.vmdk -o saved --resume
  volfold extract disk.vmdk -p /linux --tar - | tar -xf - -C restored

The folder must be new or empty, unless --merge or --resume is given. What is at /System/Users/a
comes out as saved/System/Users/a. A file has its name when it is whole: until then it is called
.volfold-*.part. Symbolic links lead where the guest means, and never out of their volume; --links
raw keeps them as they are stored. Device nodes, pipes and sockets (on Windows also symbolic links)
are named on stderr and left out, as is what cannot be read; the exit code is then 3.")]
pub(crate) struct ExtractArguments {
    /// Disk images that belong together, or a folder with them
    #[arg(required = true, value_name = "DISK")]
    disks: Vec<PathBuf>,
    /// What to copy: /<volume>/dir; may be given several times, without it everything
    #[arg(short, long, value_name = "PATH")]
    path: Vec<OsString>,
    /// Also copy alternate streams, as files FILE:STREAM beside their file
    #[arg(long)]
    streams: bool,
    /// Where to: a new or empty folder
    #[arg(short, long, value_name = "FOLDER", required_unless_present = "tar")]
    output: Option<PathBuf>,
    /// Write a tar archive (POSIX, with owners, modes and extended attributes) to this new file, or
    /// to stdout for `-`
    #[arg(long, value_name = "FILE", conflicts_with_all = ["output", "merge", "resume"])]
    tar: Option<PathBuf>,
    /// Copy into a folder that is not empty; what is there already is kept, and named
    #[arg(long)]
    merge: bool,
    /// With --merge or --resume: replace files that are there already
    #[arg(long)]
    overwrite: bool,
    /// Go on in a folder that a run left which was stopped: files that are there with the same size
    /// and time are whole
    #[arg(long)]
    resume: bool,
    /// What symbolic links become
    #[cfg(unix)]
    #[arg(long, value_enum, default_value_t = LinkStyle::Guest)]
    links: LinkStyle,
    #[cfg(unix)]
    #[command(flatten)]
    keep: KeepArguments,
    #[command(flatten)]
    set: TreeArguments,
}

/// What symbolic links become.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum LinkStyle {
    /// Links that lead where the guest means, and never out of their volume
    Guest,
    /// Links as they are stored
    Raw,
    /// Nothing
    Hide,
}

impl ExtractArguments {
    fn links(&self) -> LinkStyle {
        #[cfg(unix)]
        return self.links;
        #[cfg(not(unix))]
        return LinkStyle::Guest;
    }
}

/// What stands in the way of a new file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Existed {
    /// Nothing may; the folder was empty.
    Refuse,
    /// It is kept.
    Keep,
    /// It is taken for what is to be copied if size and time are the same.
    Compare,
}

pub(crate) fn run(arguments: &ExtractArguments) -> io::Result<Outcome> {
    if arguments.overwrite && !arguments.merge && !arguments.resume {
        super::usage_error("extract", "--overwrite goes with --merge or --resume");
    }
    let all = [OsString::from("/")];
    let paths = if arguments.path.is_empty() { &all[..] } else { &arguments.path };
    let mut opened = match arguments.set.open_tree(&arguments.disks, paths) {
        Ok(opened) => opened,
        Err(mut report) => {
            report.end();
            return Ok(Outcome::Nothing);
        }
    };
    let progress = spinner();
    opened.report.say_by({
        let progress = progress.clone();
        move |line| progress.suspend(|| text::complain(format_args!("{line}")))
    });
    let stop = Stop::default();
    if let Err(error) = process::on_termination({
        let stop = stop.clone();
        move || stop.by_signal()
    }) {
        text::complain(format_args!("no signal handler: a signal ends this at once: {error}"));
    }
    if let Some(file) = &arguments.tar {
        return tar::run(arguments, file, opened, &progress, &stop);
    }
    let folder = arguments.output.as_deref().unwrap_or(Path::new("."));
    let may_have_files = arguments.merge || arguments.resume;
    let output = match open_folder(folder, may_have_files) {
        Ok(output) => output,
        Err(error) => {
            text::complain(format_args!("{}: {error}", folder.display()));
            return Ok(Outcome::Nothing);
        }
    };
    let extraction =
        Extraction::new(arguments, &opened.set, &opened.tree, opened.report, &progress, &stop);
    let (files, report) = extraction.run(&output, &opened.paths);
    opened.report = report;
    progress.finish_and_clear();
    let failed = opened.report.is_part();
    let outcome = opened.end();
    if let Some(reason) = stop.reason() {
        let again = "`--resume` goes on in the folder";
        text::complain(format_args!("{reason}; {files} files are complete; {again}"));
        return Ok(if files == 0 { Outcome::Nothing } else { Outcome::Part });
    }
    Ok(if failed && files == 0 { Outcome::Nothing } else { outcome })
}

fn spinner() -> ProgressBar {
    let progress = ProgressBar::new_spinner();
    let style =
        indicatif::ProgressStyle::with_template("{spinner} {bytes} at {bytes_per_sec}  {wide_msg}");
    match style {
        Ok(style) => progress.with_style(style),
        Err(_) => progress,
    }
}

/// The folder `folder`, made if it is not there.
fn open_folder(folder: &Path, may_have_files: bool) -> io::Result<Output> {
    let output = Output::open(folder)?;
    if !may_have_files && !output.is_empty()? {
        let line = "is not empty; give a new or empty folder, or --merge to add to what is there, \
                    or --resume to go on";
        return Err(io::Error::other(line));
    }
    Ok(output)
}

fn file_times(metadata: &Metadata) -> FileTimes {
    FileTimes::new()
        .set_modified(system_time(metadata.times.modified))
        .set_accessed(system_time(metadata.times.accessed))
}

fn system_time(time: Timestamp) -> SystemTime {
    let seconds = Duration::from_secs(time.seconds.unsigned_abs());
    let whole = if time.seconds < 0 {
        UNIX_EPOCH.checked_sub(seconds)
    } else {
        UNIX_EPOCH.checked_add(seconds)
    };
    let nanoseconds = Duration::from_nanos(time.nanoseconds.into());
    whole.and_then(|whole| whole.checked_add(nanoseconds)).unwrap_or(UNIX_EPOCH)
}
